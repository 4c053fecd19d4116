/* The files of StyleGAN2-ADA (PyTorch) and StyleGAN 3: a dict of modules, each an object that keeps
 * its class's name and its instance's dict. What was built is in those dicts, so they are asked
 * before the arguments it was built from; a default of the class comes last. */
#include "kernels/checkpoint_inside.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { MODULES_MAX = 4096, MODULE_DEPTH_MAX = 6, PERSISTENCE_VERSION = 6 };

struct module {
    const struct pickle_value *class_name;      /* text */
    const struct pickle_value *state;           /* a dict */
    const struct pickle_value *kwargs;          /* a dict, or NULL */
};

struct walk {
    struct checkpoint *file;
    size_t modules;                             /* so far */
    char path[CHECKPOINT_NAME_MAX + 1];         /* "synthesis.b4.conv1." */
    const struct pickle_value *clamped;         /* state of the first layer that has conv_clamp */
};

/* What the engine takes for granted of the instances of a class: the first row counts whose class
 * fits and whose place begins the module's path. */
static const struct {
    const char *class_name, *place;
    struct expected attribute[2];
} CLASSES[] = {
    { "Generator", "", { { "img_channels", "3" } } },
    { "MappingNetwork", "", { { NULL, NULL } } },
    { "FullyConnectedLayer", "mapping.fc", { { "activation", "lrelu" }, { "bias_gain", "0.01" } } },
    { "FullyConnectedLayer", "", { { "activation", "linear" }, { "bias_gain", "1" } } },
    { "SynthesisNetwork", "", { { "img_channels", "3" } } },
    { "SynthesisBlock", "", { { "architecture", "skip" } } },
    { "SynthesisLayer", "", { { "use_noise", "True" }, { "activation", "lrelu" } } },
    { "SynthesisInput", "", { { NULL, NULL } } },
    { "ToRGBLayer", "", { { NULL, NULL } } },
};

/* The same of the arguments that networks are built from. */
static const struct expected MAPPING_KWARGS[] = {
    { "activation", "lrelu" },
    { "lr_multiplier", "0.01" },
};
static const struct expected SYNTHESIS_KWARGS[] = {
    { "architecture", "skip" },
    { "resample_filter", "[1,3,3,1]" },
    { "use_noise", "True" },
    { "activation", "lrelu" },
};

enum { OF_GENERATOR, OF_MAPPING, OF_SYNTHESIS, OF_LAYER, SCOPES };

static const struct note_row COMMON_NOTES[] = {
    { "z_dim", OF_GENERATOR, "z_dim", NOTE_WHOLE, NULL },
    { "c_dim", OF_GENERATOR, "c_dim", NOTE_WHOLE, NULL },
    { "w_dim", OF_GENERATOR, "w_dim", NOTE_WHOLE, NULL },
    { "img_resolution", OF_GENERATOR, "img_resolution", NOTE_WHOLE, NULL },
    { "img_channels", OF_GENERATOR, "img_channels", NOTE_WHOLE, NULL },
    { "num_ws", OF_GENERATOR, "num_ws", NOTE_WHOLE, NULL },
    { "channel_base", OF_SYNTHESIS, "channel_base", NOTE_WHOLE, "32768" },
    { "channel_max", OF_SYNTHESIS, "channel_max", NOTE_WHOLE, "512" },
};

/* StyleGAN 2 as its own repository writes it. */
static const struct note_row STYLEGAN2_NOTES[] = {
    { "mapping_layers", OF_MAPPING, "num_layers", NOTE_WHOLE, "8" },
    { "num_fp16_res", OF_SYNTHESIS, "num_fp16_res", NOTE_WHOLE, "0" },
    { "conv_clamp", OF_LAYER, "conv_clamp", NOTE_CLAMP, "none" },
};

/* StyleGAN 2 as the repository of StyleGAN 3 writes it: the arguments are flat. */
static const struct note_row FLAT_STYLEGAN2_NOTES[] = {
    { "mapping_layers", OF_MAPPING, "num_layers", NOTE_WHOLE, "8" },
    { "num_fp16_res", OF_SYNTHESIS, "num_fp16_res", NOTE_WHOLE, "4" },
    { "conv_clamp", OF_LAYER, "conv_clamp", NOTE_CLAMP, "256" },
};

static const struct note_row STYLEGAN3_NOTES[] = {
    { "mapping_layers", OF_MAPPING, "num_layers", NOTE_WHOLE, "2" },
    { "num_layers", OF_SYNTHESIS, "num_layers", NOTE_WHOLE, "14" },
    { "num_critical", OF_SYNTHESIS, "num_critical", NOTE_WHOLE, "2" },
    { "first_cutoff", OF_SYNTHESIS, "first_cutoff", NOTE_REAL, "2" },
    { "first_stopband", OF_SYNTHESIS, "first_stopband", NOTE_REAL, "4.2870938501451725" },
    { "last_stopband_rel", OF_SYNTHESIS, "last_stopband_rel", NOTE_REAL, "1.2311444133449163" },
    { "margin_size", OF_SYNTHESIS, "margin_size", NOTE_WHOLE, "10" },
    { "output_scale", OF_SYNTHESIS, "output_scale", NOTE_REAL, "0.25" },
    { "num_fp16_res", OF_SYNTHESIS, "num_fp16_res", NOTE_WHOLE, "4" },
    { "conv_kernel", OF_SYNTHESIS, "conv_kernel", NOTE_WHOLE, "3" },
    { "use_radial_filters", OF_SYNTHESIS, "use_radial_filters", NOTE_TRUTH, "false" },
    { "filter_size", OF_SYNTHESIS, "filter_size", NOTE_WHOLE, "6" },
    { "lrelu_upsampling", OF_SYNTHESIS, "lrelu_upsampling", NOTE_WHOLE, "2" },
    { "conv_clamp", OF_LAYER, "conv_clamp", NOTE_CLAMP, "256" },
};

/* name without its last dot, for messages. */
static const char *module_name(const struct walk *self, char out[CHECKPOINT_NAME_MAX + 1])
{
    size_t len = strlen(self->path);

    snprintf(out, CHECKPOINT_NAME_MAX + 1, "%.*s", (int)(len ? len - 1 : 0), self->path);
    return len ? out : "G_ema";
}

static enum err_code read_module(const struct walk *self, const struct pickle_value *value,
                                 struct module *out, struct err *e)
{
    const struct pickle_value *parts, *version;
    char shown[VALUE_SHOWN_MAX], name[CHECKPOINT_NAME_MAX + 1];

    if (!value_is_object(value, GLOBAL_MODULE) || value->args->count != 1 ||
        !value_dict(value->args->item[0]))
        return err_set(e, ERR_INVALID, "module %.100s is not one", module_name(self, name));
    parts = value_dict(value->args->item[0]);
    version = pickle_find(parts, "version");
    if (!pickle_is_text(pickle_find(parts, "type"), "class") || !version ||
        version->kind != PICKLE_INT || version->whole != PERSISTENCE_VERSION)
        return err_set(e, ERR_UNSUPPORTED,
                       "persistence version %s of module %.80s is not supported; %d is",
                       value_show(version, shown), module_name(self, name), PERSISTENCE_VERSION);
    out->class_name = pickle_find(parts, "class_name");
    out->state = value_dict(pickle_find(parts, "state"));
    if (!out->class_name || !out->state)
        return err_set(e, ERR_INVALID, "module %.100s has no class or no state",
                       module_name(self, name));
    out->kwargs = value_dict(pickle_find(out->state, "_init_kwargs"));
    return ERR_OK;
}

static enum err_code check_options(const struct expected *table, size_t rows,
                                   const struct scope *scope, struct err *e)
{
    enum err_code rc = ERR_OK;

    for (size_t i = 0; !rc && i < rows && table[i].key; i++)
        rc = expected_check(&table[i], scope_find(scope, table[i].key), e);
    return rc;
}

static enum err_code check_class(const struct walk *self, const struct module *module,
                                 struct err *e)
{
    const struct scope scope = { { module->state } };
    char shown[VALUE_SHOWN_MAX], name[CHECKPOINT_NAME_MAX + 1];

    for (size_t i = 0; i < COUNT(CLASSES); i++)
        if (pickle_is_text(module->class_name, CLASSES[i].class_name) &&
            strncmp(self->path, CLASSES[i].place, strlen(CLASSES[i].place)) == 0)
            return check_options(CLASSES[i].attribute, COUNT(CLASSES[i].attribute), &scope, e);
    return err_set(e, ERR_UNSUPPORTED, "class %s of module %.80s is not supported",
                   value_show(module->class_name, shown), module_name(self, name));
}

/* One clamp is noted for the whole network. */
static enum err_code check_clamp(struct walk *self, const struct module *module, struct err *e)
{
    const struct pickle_value *clamp = pickle_find(module->state, "conv_clamp");
    char shown[VALUE_SHOWN_MAX], first[VALUE_SHOWN_MAX];

    if (!clamp)
        return ERR_OK;
    if (!self->clamped)
        self->clamped = module->state;
    value_show(clamp, shown);
    value_show(pickle_find(self->clamped, "conv_clamp"), first);
    if (strcmp(shown, first) != 0)
        return err_set(e, ERR_UNSUPPORTED, "conv_clamp %s beside conv_clamp %s is not supported",
                       shown, first);
    return ERR_OK;
}

/* Puts key behind path[0..len); false when it cannot be part of a tensor's name. */
static bool extend_path(struct walk *self, size_t len, const struct pickle_value *key,
                        const char *end)
{
    if (key->kind != PICKLE_TEXT || key->len == 0 || memchr(key->data, '\0', key->len) ||
        key->len + strlen(end) > CHECKPOINT_NAME_MAX - len)
        return false;
    memcpy(self->path + len, key->data, key->len);
    memcpy(self->path + len + key->len, end, strlen(end) + 1);
    return true;
}

static enum err_code add_tensors(struct walk *self, const struct pickle_value *dict, struct err *e)
{
    size_t len = strlen(self->path);

    for (size_t i = 0; i < dict->count; i += 2) {
        struct checkpoint_tensor tensor;
        struct err why;
        enum err_code rc;

        if (dict->item[i + 1]->kind == PICKLE_NONE)
            continue;
        if (!extend_path(self, len, dict->item[i], ""))
            return err_set(e, ERR_INVALID, "a tensor's name is empty, too long or no text");
        rc = value_torch_tensor(self->file, dict->item[i + 1], &tensor, &why);
        if (rc)
            return err_set(e, rc, "%.100s (tensor \"%.80s\")", why.msg, self->path);
        rc = checkpoint_add(self->file, self->path, &tensor, e);
        if (rc)
            return rc;
    }
    self->path[len] = '\0';
    return ERR_OK;
}

/* Takes the tensors of module and of all in it. Modules may hold each other in a hostile file. */
static enum err_code walk_module(struct walk *self, const struct pickle_value *value, int depth,
                                 struct err *e)
{
    static const char *const DICTS[] = { "_parameters", "_buffers" };
    const struct pickle_value *inner;
    struct module module;
    size_t len = strlen(self->path);
    enum err_code rc;

    if (depth > MODULE_DEPTH_MAX || ++self->modules > MODULES_MAX)
        return err_set(e, ERR_INVALID, "there are too many modules, or they are nested too deep");
    rc = read_module(self, value, &module, e);
    if (!rc)
        rc = check_class(self, &module, e);
    if (!rc)
        rc = check_clamp(self, &module, e);
    if (rc)
        return rc;
    for (size_t i = 0; !rc && i < COUNT(DICTS); i++) {
        const struct pickle_value *dict = value_dict(pickle_find(module.state, DICTS[i]));

        rc = dict ? add_tensors(self, dict, e)
                  : err_set(e, ERR_INVALID, "a module has no %s", DICTS[i]);
    }
    inner = value_dict(pickle_find(module.state, "_modules"));
    for (size_t i = 0; !rc && inner && i < inner->count; i += 2) {
        if (inner->item[i + 1]->kind == PICKLE_NONE)
            continue;
        if (!extend_path(self, len, inner->item[i], "."))
            return err_set(e, ERR_INVALID, "a module's name is empty, too long or no text");
        rc = walk_module(self, inner->item[i + 1], depth + 1, e);
        self->path[len] = '\0';
    }
    return rc;
}

/* The module called name in module. */
static enum err_code inner_module(struct walk *self, const struct module *module, const char *name,
                                  struct module *out, struct err *e)
{
    const struct pickle_value *modules = value_dict(pickle_find(module->state, "_modules"));
    const struct pickle_value *value = pickle_find(modules, name);

    if (!value)
        return err_set(e, ERR_INVALID, "module %s is missing", name);
    snprintf(self->path, sizeof self->path, "%s.", name);
    return read_module(self, value, out, e);
}

/* The mapping network has as many layers as noted, all w_dim wide. */
static enum err_code check_mapping(const struct checkpoint *file, struct err *e)
{
    static const struct {
        const char *name, *key;
    } WIDE[] = {
        { "mapping.embed.weight", "embed_features" },
        { "mapping.fc0.weight", "layer_features" },
    };
    char name[64];
    int layers, w_dim;
    enum err_code rc = notes_need_whole(file->notes, "mapping_layers", 1, 64, &layers, e);

    if (!rc)
        rc = notes_need_whole(file->notes, "w_dim", 1, 1 << 20, &w_dim, e);
    if (rc)
        return rc;
    for (size_t i = 0; i < COUNT(WIDE); i++) {
        const struct checkpoint_tensor *weight = checkpoint_find(file, WIDE[i].name);

        if (weight && weight->rank == 2 && weight->shape[0] != w_dim)
            return err_set(e, ERR_UNSUPPORTED, "%s %lld is not supported; w_dim, %d, is",
                           WIDE[i].key, (long long)weight->shape[0], w_dim);
    }
    snprintf(name, sizeof name, "mapping.fc%d.weight", layers - 1);
    if (!checkpoint_find(file, name))
        return err_set(e, ERR_INVALID, "tensor \"%s\" is missing", name);
    snprintf(name, sizeof name, "mapping.fc%d.weight", layers);
    if (checkpoint_find(file, name))
        return err_set(e, ERR_INVALID, "there are more mapping layers than %d", layers);
    return ERR_OK;
}

static enum err_code add_stylegan2_notes(struct checkpoint *file, const struct scope *scopes,
                                         bool flat, struct err *e)
{
    enum err_code rc = notes_add(file->notes, "arch", "stylegan2", e);

    if (!rc)
        rc = notes_add(file->notes, "architecture", "skip", e);
    if (!rc)
        rc = notes_add(file->notes, "resample_filter", "1,3,3,1", e);
    if (!rc)
        rc = check_options(SYNTHESIS_KWARGS, COUNT(SYNTHESIS_KWARGS), &scopes[OF_SYNTHESIS], e);
    if (rc)
        return rc;
    if (flat)
        return notes_from_scopes(file, FLAT_STYLEGAN2_NOTES, COUNT(FLAT_STYLEGAN2_NOTES), scopes,
                                 e);
    return notes_from_scopes(file, STYLEGAN2_NOTES, COUNT(STYLEGAN2_NOTES), scopes, e);
}

static enum err_code add_notes(struct walk *self, const struct pickle_value *g_ema, struct err *e)
{
    struct checkpoint *file = self->file;
    const struct pickle_value *mapping_kwargs, *synthesis_kwargs;
    struct module net, mapping, synthesis;
    struct scope scopes[SCOPES];
    enum err_code rc = read_module(self, g_ema, &net, e);

    if (!rc)
        rc = inner_module(self, &net, "mapping", &mapping, e);
    if (!rc)
        rc = inner_module(self, &net, "synthesis", &synthesis, e);
    if (rc)
        return rc;
    mapping_kwargs = value_dict(pickle_find(net.kwargs, "mapping_kwargs"));
    synthesis_kwargs = value_dict(pickle_find(net.kwargs, "synthesis_kwargs"));
    scopes[OF_GENERATOR] = (struct scope){ { net.state, net.kwargs } };
    scopes[OF_MAPPING] = (struct scope){ { mapping.state, mapping.kwargs, mapping_kwargs } };
    scopes[OF_SYNTHESIS] =
        (struct scope){ { synthesis.state, synthesis.kwargs, synthesis_kwargs, net.kwargs } };
    scopes[OF_LAYER] =
        (struct scope){ { self->clamped, synthesis.kwargs, synthesis_kwargs, net.kwargs } };
    rc = check_options(MAPPING_KWARGS, COUNT(MAPPING_KWARGS), &scopes[OF_MAPPING], e);
    if (!rc)
        rc = notes_from_scopes(file, COMMON_NOTES, COUNT(COMMON_NOTES), scopes, e);
    if (rc)
        return rc;
    if (checkpoint_find(file, "synthesis.b4.const"))
        return add_stylegan2_notes(file, scopes, !synthesis_kwargs, e);
    if (!checkpoint_find(file, "synthesis.input.freqs"))
        return err_set(e, ERR_UNSUPPORTED, "G_ema has the tensors of neither StyleGAN 2 nor 3");
    rc = notes_add(file->notes, "arch", "stylegan3", e);
    return rc ? rc : notes_from_scopes(file, STYLEGAN3_NOTES, COUNT(STYLEGAN3_NOTES), scopes, e);
}

enum err_code checkpoint_torch_read(struct checkpoint *file, const struct pickle_value *root,
                                    struct err *e)
{
    const struct pickle_value *g_ema = pickle_find(value_dict(root), "G_ema");
    struct walk walk = { .file = file };
    enum err_code rc;

    if (!g_ema)
        return err_set(e, ERR_INVALID, "no network of StyleGAN 2-ADA or 3: G_ema is missing");
    rc = walk_module(&walk, g_ema, 0, e);
    if (!rc)
        rc = checkpoint_sort(file, e);
    if (!rc)
        rc = add_notes(&walk, g_ema, e);
    return rc ? rc : check_mapping(file, e);
}
