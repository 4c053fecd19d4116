/* The files of the TensorFlow era: a tuple of three networks (G, D, Gs), each with the options that
 * were set, its variables, and inner networks. Variables are first taken under their own names,
 * "synthesis/4x4/Conv/weight"; those of a StyleGAN 2 are then turned into views in PyTorch's layout
 * under PyTorch's names. */
#include "kernels/checkpoint_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARIABLES_MAX = CHECKPOINT_TENSORS_MAX, RESOLUTION_MAX = 1 << 14 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct network {
    const struct pickle_value *state;           /* a dict */
    const struct pickle_value *options;         /* static_kwargs, a dict */
    const struct pickle_value *variables;       /* a list */
};

enum { OF_MAPPING, OF_SYNTHESIS, SCOPES };

/* Every option that the build functions know. Those without values are read elsewhere, or matter to
 * training and to how a graph is laid out only. */
static const struct expected COMMON_OPTIONS[] = {
    { "num_channels", "3" },
    { "resolution", NULL },
    { "label_size", NULL },
    { "latent_size", NULL },
    { "dlatent_size", NULL },
    { "dlatent_broadcast", NULL },
    { "mapping_layers", NULL },
    { "mapping_fmaps", NULL },
    { "mapping_lrmul", "0.01" },
    { "mapping_nonlinearity", "lrelu" },
    { "normalize_latents", "True" },
    { "fmap_base", NULL },
    { "fmap_max", NULL },
    { "fmap_decay", "1" },
    { "nonlinearity", "lrelu" },
    { "dtype", "float32" },
    { "use_noise", "True" },
    { "randomize_noise", NULL },
    { "truncation_psi", NULL },
    { "truncation_cutoff", NULL },
    { "truncation_psi_val", NULL },
    { "truncation_cutoff_val", NULL },
    { "dlatent_avg_beta", NULL },
    { "style_mixing_prob", NULL },
    { "is_training", NULL },
    { "is_validation", NULL },
    { "is_template_graph", NULL },
    { "return_dlatents", NULL },
    { "structure", NULL },
    { "force_clean_graph", NULL },
    { "mapping_func", "G_mapping" },
};

static const struct expected STYLEGAN1_OPTIONS[] = {
    { "use_styles", "True" },
    { "const_input_layer", "True" },
    { "use_wscale", "True" },
    { "use_pixel_norm", "False" },
    { "use_instance_norm", "True" },
    { "fused_scale", "auto" },
    { "blur_filter", "[1,2,1]" },
    { "synthesis_func", "G_synthesis" },
};

static const struct expected STYLEGAN2_OPTIONS[] = {
    { "label_fmaps", NULL },
    { "fmap_min", "1" },
    { "architecture", "skip" },
    { "resample_kernel", "[1,3,3,1]" },
    { "num_fp16_res", NULL },
    { "conv_clamp", NULL },
    { "fused_modconv", NULL },
    { "conditioning", NULL },
    { "w_avg_beta", NULL },
    { "synthesis_func", "G_synthesis_stylegan2|G_synthesis" },
};

static const struct note_row COMMON_NOTES[] = {
    { "z_dim", OF_MAPPING, "latent_size", NOTE_WHOLE, "512" },
    { "c_dim", OF_MAPPING, "label_size", NOTE_WHOLE, "0" },
    { "w_dim", OF_MAPPING, "dlatent_size", NOTE_WHOLE, "512" },
    { "mapping_layers", OF_MAPPING, "mapping_layers", NOTE_WHOLE, "8" },
    { "img_resolution", OF_SYNTHESIS, "resolution", NOTE_WHOLE, "1024" },
    { "img_channels", OF_SYNTHESIS, "num_channels", NOTE_WHOLE, "3" },
};

static const struct note_row STYLEGAN1_NOTES[] = {
    { "mapping_fmaps", OF_MAPPING, "mapping_fmaps", NOTE_WHOLE, "512" },
    { "fmap_base", OF_SYNTHESIS, "fmap_base", NOTE_WHOLE, "8192" },
    { "fmap_max", OF_SYNTHESIS, "fmap_max", NOTE_WHOLE, "512" },
};

static const struct note_row STYLEGAN2_NOTES[] = {
    { "channel_base", OF_SYNTHESIS, "fmap_base", NOTE_TWICE, "32768" },
    { "channel_max", OF_SYNTHESIS, "fmap_max", NOTE_WHOLE, "512" },
    { "num_fp16_res", OF_SYNTHESIS, "num_fp16_res", NOTE_WHOLE, "0" },
    { "conv_clamp", OF_SYNTHESIS, "conv_clamp", NOTE_CLAMP, "none" },
};

/* ---- a network and its variables ---- */

static enum err_code read_network(const struct pickle_value *value, const char *name,
                                  struct network *out, struct err *e)
{
    const struct pickle_value *version;
    char shown[VALUE_SHOWN_MAX];

    if (!value_is_object(value, GLOBAL_NETWORK) || !value_dict(value->state))
        return err_set(e, ERR_INVALID, "%s is no network", name);
    out->state = value_dict(value->state);
    version = pickle_find(out->state, "version");
    if (!version || version->kind != PICKLE_INT || version->whole < 2 || version->whole > 5)
        return err_set(e, ERR_UNSUPPORTED, "version %s of network %s is not supported; 2 to 5 are",
                       value_show(version, shown), name);
    out->options = value_dict(pickle_find(out->state, "static_kwargs"));
    out->variables = pickle_find(out->state, "variables");
    if (!out->options || !out->variables || out->variables->kind != PICKLE_LIST)
        return err_set(e, ERR_INVALID, "network %s has no static_kwargs or no variables", name);
    return ERR_OK;
}

static enum err_code inner_network(const struct network *net, const char *name,
                                   struct network *out, struct err *e)
{
    const struct pickle_value *components = value_dict(pickle_find(net->state, "components"));

    return read_network(pickle_find(components, name), name, out, e);
}

/* prefix + the variable's name into out; false when it is no name. */
static bool variable_name(const struct pickle_value *pair, const char *prefix,
                          char out[CHECKPOINT_NAME_MAX + 1])
{
    const struct pickle_value *name;
    size_t len = strlen(prefix);

    if (pair->kind != PICKLE_TUPLE || pair->count != 2)
        return false;
    name = pair->item[0];
    if (name->kind != PICKLE_TEXT || name->len == 0 || memchr(name->data, '\0', name->len) ||
        name->len > CHECKPOINT_NAME_MAX - len)
        return false;
    memcpy(out, prefix, len);
    memcpy(out + len, name->data, name->len);
    out[len + name->len] = '\0';
    return true;
}

static enum err_code add_variables(struct checkpoint *file, const struct network *net,
                                   const char *prefix, struct err *e)
{
    char name[CHECKPOINT_NAME_MAX + 1];

    if (net->variables->count > VARIABLES_MAX)
        return err_set(e, ERR_INVALID, "more than %d variables", VARIABLES_MAX);
    for (size_t i = 0; i < net->variables->count; i++) {
        const struct pickle_value *pair = net->variables->item[i];
        struct checkpoint_tensor tensor;
        struct err why;
        enum err_code rc;

        if (!variable_name(pair, prefix, name))
            return err_set(e, ERR_INVALID, "variable %zu of \"%s\" has no valid name", i, prefix);
        rc = value_numpy_tensor(file, pair->item[1], &tensor, &why);
        if (rc)
            return err_set(e, rc, "%.100s (tensor \"%.80s\")", why.msg, name);
        rc = checkpoint_add(file, name, &tensor, e);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static const struct expected *find_option(const struct expected *table, size_t rows,
                                          const struct pickle_value *key)
{
    for (size_t i = 0; i < rows; i++)
        if (pickle_is_text(key, table[i].key))
            return &table[i];
    return NULL;
}

/* table[0..rows) are the options of the architecture. One that is not known could change the
 * picture, so it is refused, as the official converter does. */
static enum err_code check_options(const struct network *net, const struct expected *table,
                                   size_t rows, struct err *e)
{
    for (size_t i = 0; i < net->options->count; i += 2) {
        const struct pickle_value *key = net->options->item[i];
        const struct pickle_value *value = net->options->item[i + 1];
        const struct expected *row = find_option(table, rows, key);
        char shown[2][VALUE_SHOWN_MAX];
        enum err_code rc;

        if (!row)
            row = find_option(COMMON_OPTIONS, COUNT(COMMON_OPTIONS), key);
        if (!row)
            return err_set(e, ERR_UNSUPPORTED, "%s %s is not supported: the option is not known",
                           value_show(key, shown[0]), value_show(value, shown[1]));
        rc = expected_check(row, value, e);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* ---- both architectures ---- */

/* num_ws and what else follows from the picture's size. */
static enum err_code add_num_ws(struct checkpoint *file, const struct network *mapping,
                                int *resolution, struct err *e)
{
    const struct pickle_value *broadcast = pickle_find(mapping->options, "dlatent_broadcast");
    char text[16], shown[VALUE_SHOWN_MAX];
    int num_ws = 0;
    enum err_code rc =
        notes_need_whole(file->notes, "img_resolution", 4, RESOLUTION_MAX, resolution, e);

    if (rc)
        return rc;
    if (*resolution & (*resolution - 1))
        return err_set(e, ERR_INVALID, "resolution %d is not a power of two", *resolution);
    for (int size = 4; size <= *resolution; size *= 2)
        num_ws += 2;
    snprintf(text, sizeof text, "%d", num_ws);
    if (broadcast && broadcast->kind != PICKLE_NONE &&
        strcmp(value_show(broadcast, shown), text) != 0)
        return err_set(e, ERR_INVALID, "dlatent_broadcast is %s, but %d pixels need %d", shown,
                       *resolution, num_ws);
    return notes_add(file->notes, "num_ws", text, e);
}

/* The last layer that is noted is there, and none behind it. */
static enum err_code check_mapping(const struct checkpoint *file, int layers, struct err *e)
{
    char name[64];

    snprintf(name, sizeof name, "mapping/Dense%d/weight", layers - 1);
    if (!checkpoint_find(file, name))
        return err_set(e, ERR_INVALID, "tensor \"%s\" is missing", name);
    snprintf(name, sizeof name, "mapping/Dense%d/weight", layers);
    if (checkpoint_find(file, name))
        return err_set(e, ERR_INVALID, "there are more mapping layers than %d", layers);
    return ERR_OK;
}

/* ---- StyleGAN 1 ---- */

/* A network whose training was cut off shows pictures of a lower resolution, blended. */
static enum err_code check_lod(const struct checkpoint *file, const char *name, struct err *e)
{
    const struct checkpoint_tensor *tensor = checkpoint_find(file, name);
    char shown[VALUE_SHOWN_MAX];
    float lod;
    enum err_code rc;

    if (!tensor || tensor->count != 1)
        return ERR_OK;
    rc = checkpoint_floats(tensor, &lod, e);
    if (!rc && lod != 0.0f)
        rc = err_set(e, ERR_UNSUPPORTED, "%s %s is not supported; 0 is", name,
                     real_show((double)lod, shown));
    return rc;
}

static enum err_code read_stylegan1(struct checkpoint *file, const struct network *mapping,
                                    const struct scope *scopes, struct err *e)
{
    int resolution, layers;
    enum err_code rc = notes_add(file->notes, "arch", "stylegan1", e);

    if (!rc)
        rc = notes_from_scopes(file, COMMON_NOTES, COUNT(COMMON_NOTES), scopes, e);
    if (!rc)
        rc = notes_from_scopes(file, STYLEGAN1_NOTES, COUNT(STYLEGAN1_NOTES), scopes, e);
    if (!rc)
        rc = add_num_ws(file, mapping, &resolution, e);
    if (!rc)
        rc = notes_need_whole(file->notes, "mapping_layers", 1, 64, &layers, e);
    if (!rc)
        rc = check_mapping(file, layers, e);
    if (!rc)
        rc = check_lod(file, "lod", e);
    return rc ? rc : check_lod(file, "synthesis/lod", e);
}

/* ---- StyleGAN 2: PyTorch's names and layouts ---- */

enum layout {
    AS_IS,
    TRANSPOSED,             /* [in,out] to [out,in] */
    STYLE_BIAS,             /* + 1 */
    KERNEL,                 /* [k,k,in,out] to [out,in,k,k] */
    FLIPPED_KERNEL,         /* and both spatial axes turned round */
    PLANE,                  /* [1,1,h,w] to [h,w] */
    CUBE,                   /* [1,c,h,w] to [c,h,w] */
};

static const int LAYOUT_RANKS[] = {
    [AS_IS] = -1,          [TRANSPOSED] = 2, [STYLE_BIAS] = 1, [KERNEL] = 4,
    [FLIPPED_KERNEL] = 4,  [PLANE] = 4,      [CUBE] = 4,
};

struct conversion {
    const struct checkpoint *from;      /* under TensorFlow's names, sorted */
    struct checkpoint *into;
};

/* False when the tensor cannot have that layout. */
static bool lay_out(struct checkpoint_tensor *t, enum layout layout)
{
    if (LAYOUT_RANKS[layout] >= 0 && t->rank != LAYOUT_RANKS[layout])
        return false;
    switch (layout) {
    case AS_IS:
        return true;
    case TRANSPOSED:
        tensor_permute(t, (const int[]){ 1, 0 });
        return true;
    case STYLE_BIAS:
        t->plus = 1.0f;
        return true;
    case FLIPPED_KERNEL:
        if (t->count == 0)
            return false;
        tensor_flip(t, 0);
        tensor_flip(t, 1);
        tensor_permute(t, (const int[]){ 3, 2, 0, 1 });
        return true;
    case KERNEL:
        tensor_permute(t, (const int[]){ 3, 2, 0, 1 });
        return true;
    case PLANE:
        if (t->shape[0] != 1 || t->shape[1] != 1)
            return false;
        tensor_drop(t, 2);
        return true;
    case CUBE:
        if (t->shape[0] != 1)
            return false;
        tensor_drop(t, 1);
        return true;
    }
    return false;
}

static enum err_code convert(const struct conversion *self, const char *from, const char *to,
                             enum layout layout, struct err *e)
{
    const struct checkpoint_tensor *found = checkpoint_find(self->from, from);
    struct checkpoint_tensor tensor;

    if (!found)
        return err_set(e, ERR_INVALID, "tensor \"%s\" is missing", from);
    tensor = *found;
    if (!lay_out(&tensor, layout))
        return err_set(e, ERR_INVALID, "tensor \"%s\" has not the shape that it needs", from);
    return checkpoint_add(self->into, to, &tensor, e);
}

/* The parts of one layer: from + part.tf to to + part.torch. */
struct part {
    const char *tf, *torch;
    enum layout layout;
};

static const struct part DENSE[] = {
    { "weight", "weight", TRANSPOSED },
    { "bias", "bias", AS_IS },
};
static const struct part TORGB[] = {
    { "weight", "weight", KERNEL },
    { "bias", "bias", AS_IS },
    { "mod_weight", "affine.weight", TRANSPOSED },
    { "mod_bias", "affine.bias", STYLE_BIAS },
};
static const struct part CONV[] = {
    { "weight", "weight", KERNEL },
    { "bias", "bias", AS_IS },
    { "mod_weight", "affine.weight", TRANSPOSED },
    { "mod_bias", "affine.bias", STYLE_BIAS },
    { "noise_strength", "noise_strength", AS_IS },
};
static const struct part CONV_UP[] = {
    { "weight", "weight", FLIPPED_KERNEL },
    { "bias", "bias", AS_IS },
    { "mod_weight", "affine.weight", TRANSPOSED },
    { "mod_bias", "affine.bias", STYLE_BIAS },
    { "noise_strength", "noise_strength", AS_IS },
};

static enum err_code convert_layer(const struct conversion *self, const char *from, const char *to,
                                   const struct part *parts, size_t count, struct err *e)
{
    char tf[CHECKPOINT_NAME_MAX + 1], torch[CHECKPOINT_NAME_MAX + 1];
    enum err_code rc = ERR_OK;

    for (size_t i = 0; !rc && i < count; i++) {
        snprintf(tf, sizeof tf, "%s/%s", from, parts[i].tf);
        snprintf(torch, sizeof torch, "%s.%s", to, parts[i].torch);
        rc = convert(self, tf, torch, parts[i].layout, e);
    }
    return rc;
}

static enum err_code convert_noise(const struct conversion *self, int index, const char *to,
                                   struct err *e)
{
    char tf[64], torch[96];

    snprintf(tf, sizeof tf, "synthesis/noise%d", index);
    snprintf(torch, sizeof torch, "%s.noise_const", to);
    return convert(self, tf, torch, PLANE, e);
}

/* The block of size x size pixels; its first plane of noise has the index `noise`. */
static enum err_code convert_block(const struct conversion *self, int size, int noise,
                                   struct err *e)
{
    char from[64], to[64];
    enum err_code rc = ERR_OK;

    if (size > 4) {
        snprintf(from, sizeof from, "synthesis/%dx%d/Conv0_up", size, size);
        snprintf(to, sizeof to, "synthesis.b%d.conv0", size);
        rc = convert_layer(self, from, to, CONV_UP, COUNT(CONV_UP), e);
        if (!rc)
            rc = convert_noise(self, noise++, to, e);
    } else {
        rc = convert(self, "synthesis/4x4/Const/const", "synthesis.b4.const", CUBE, e);
    }
    if (rc)
        return rc;
    snprintf(from, sizeof from, "synthesis/%dx%d/%s", size, size, size > 4 ? "Conv1" : "Conv");
    snprintf(to, sizeof to, "synthesis.b%d.conv1", size);
    rc = convert_layer(self, from, to, CONV, COUNT(CONV), e);
    if (!rc)
        rc = convert_noise(self, noise, to, e);
    if (rc)
        return rc;
    snprintf(from, sizeof from, "synthesis/%dx%d/ToRGB", size, size);
    snprintf(to, sizeof to, "synthesis.b%d.torgb", size);
    return convert_layer(self, from, to, TORGB, COUNT(TORGB), e);
}

static enum err_code convert_mapping(const struct conversion *self, int layers, bool has_classes,
                                     struct err *e)
{
    enum err_code rc = convert(self, "dlatent_avg", "mapping.w_avg", AS_IS, e);

    if (!rc && has_classes)
        rc = convert_layer(self, "mapping/LabelEmbed", "mapping.embed", DENSE, COUNT(DENSE), e);
    for (int k = 0; !rc && k < layers; k++) {
        char from[64], to[64];

        snprintf(from, sizeof from, "mapping/Dense%d", k);
        snprintf(to, sizeof to, "mapping.fc%d", k);
        rc = convert_layer(self, from, to, DENSE, COUNT(DENSE), e);
    }
    return rc;
}

/* PyTorch's form has room for what a network of these widths and labels needs, and no other. */
static enum err_code check_widths(const struct checkpoint *file, int w_dim, struct err *e)
{
    static const struct {
        const char *name, *key;
    } WIDE[] = {
        { "mapping/LabelEmbed/weight", "label_fmaps" },
        { "mapping/Dense0/weight", "mapping_fmaps" },
    };

    if (checkpoint_find(file, "mapping/LabelConcat/weight"))
        return err_set(e, ERR_UNSUPPORTED, "a StyleGAN 2 with label_size above 0 is supported from "
                                           "StyleGAN2-ADA on only");
    for (size_t i = 0; i < COUNT(WIDE); i++) {
        const struct checkpoint_tensor *weight = checkpoint_find(file, WIDE[i].name);

        if (weight && weight->rank == 2 && weight->shape[1] != w_dim)
            return err_set(e, ERR_UNSUPPORTED, "%s %" PRId64 " is not supported; dlatent_size, %d, "
                                               "is", WIDE[i].key, weight->shape[1], w_dim);
    }
    return ERR_OK;
}

static enum err_code read_stylegan2(struct checkpoint *file, const struct network *mapping,
                                    const struct scope *scopes, struct err *e)
{
    struct checkpoint from = { 0 };     /* the variables, while file gets its own tensors */
    struct conversion conversion = { .from = &from, .into = file };
    int resolution, layers, w_dim, c_dim, noise = 0;
    enum err_code rc = notes_add(file->notes, "arch", "stylegan2", e);

    if (!rc)
        rc = notes_add(file->notes, "architecture", "skip", e);
    if (!rc)
        rc = notes_add(file->notes, "resample_filter", "1,3,3,1", e);
    if (!rc)
        rc = notes_from_scopes(file, COMMON_NOTES, COUNT(COMMON_NOTES), scopes, e);
    if (!rc)
        rc = notes_from_scopes(file, STYLEGAN2_NOTES, COUNT(STYLEGAN2_NOTES), scopes, e);
    if (!rc)
        rc = add_num_ws(file, mapping, &resolution, e);
    if (!rc)
        rc = notes_need_whole(file->notes, "mapping_layers", 1, 64, &layers, e);
    if (!rc)
        rc = notes_need_whole(file->notes, "w_dim", 1, 1 << 20, &w_dim, e);
    if (!rc)
        rc = notes_need_whole(file->notes, "c_dim", 0, 1 << 20, &c_dim, e);
    if (!rc)
        rc = check_mapping(file, layers, e);
    if (!rc)
        rc = check_widths(file, w_dim, e);
    if (rc)
        return rc;
    from.tensor = file->tensor;
    from.count = file->count;
    file->tensor = NULL;
    file->count = file->room = 0;
    for (size_t i = 0; i < from.count; i++)
        file->values_left += from.tensor[i].count;
    rc = convert_mapping(&conversion, layers, c_dim > 0, e);
    for (int size = 4; !rc && size <= resolution; size *= 2) {
        rc = convert_block(&conversion, size, noise, e);
        noise += size > 4 ? 2 : 1;
    }
    free(from.tensor);
    return rc ? rc : checkpoint_sort(file, e);
}

/* ---- the file ---- */

static bool is_built_by(const struct network *net, const char *word)
{
    return pickle_is_text(pickle_find(net->state, "build_func_name"), word);
}

static enum err_code refuse_function(const struct network *net, struct err *e)
{
    char shown[VALUE_SHOWN_MAX];

    return err_set(e, ERR_UNSUPPORTED, "build_func_name %s is not supported",
                   value_show(pickle_find(net->state, "build_func_name"), shown));
}

enum err_code checkpoint_tf_read(struct checkpoint *file, const struct pickle_value *root,
                                 struct err *e)
{
    struct network gs, inner[SCOPES];
    struct scope scopes[SCOPES];
    const struct expected *options;
    size_t rows;
    bool is_stylegan1;
    enum err_code rc;

    if (root->count != 3)
        return err_set(e, ERR_UNSUPPORTED, "the pickle is a tuple of %zu; (G, D, Gs) is supported",
                       root->count);
    rc = read_network(root->item[2], "Gs", &gs, e);
    if (!rc)
        rc = inner_network(&gs, "mapping", &inner[OF_MAPPING], e);
    if (!rc)
        rc = inner_network(&gs, "synthesis", &inner[OF_SYNTHESIS], e);
    if (rc)
        return rc;
    is_stylegan1 = is_built_by(&gs, "G_style");
    if (!is_stylegan1 && !is_built_by(&gs, "G_main"))
        return refuse_function(&gs, e);
    if (!is_built_by(&inner[OF_MAPPING], "G_mapping"))
        return refuse_function(&inner[OF_MAPPING], e);
    if (!is_built_by(&inner[OF_SYNTHESIS], "G_synthesis") &&
        (is_stylegan1 || !is_built_by(&inner[OF_SYNTHESIS], "G_synthesis_stylegan2")))
        return refuse_function(&inner[OF_SYNTHESIS], e);
    options = is_stylegan1 ? STYLEGAN1_OPTIONS : STYLEGAN2_OPTIONS;
    rows = is_stylegan1 ? COUNT(STYLEGAN1_OPTIONS) : COUNT(STYLEGAN2_OPTIONS);
    rc = check_options(&gs, options, rows, e);
    for (int i = 0; !rc && i < SCOPES; i++) {
        rc = check_options(&inner[i], options, rows, e);
        scopes[i] = (struct scope){ { inner[i].options, gs.options } };
    }
    if (!rc)
        rc = add_variables(file, &gs, "", e);
    if (!rc)
        rc = add_variables(file, &inner[OF_MAPPING], "mapping/", e);
    if (!rc)
        rc = add_variables(file, &inner[OF_SYNTHESIS], "synthesis/", e);
    if (!rc)
        rc = checkpoint_sort(file, e);
    if (rc)
        return rc;
    return is_stylegan1 ? read_stylegan1(file, &inner[OF_MAPPING], scopes, e)
                        : read_stylegan2(file, &inner[OF_MAPPING], scopes, e);
}
