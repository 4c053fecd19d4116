#include "tests/kit_pickle.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 2, NUMBERS_MAX = 64 };

/* A pickle of a network while it is written. */
struct maker {
    struct kit_pickle *to;
    const struct kit_net *net;
};

/* ---- opcodes ---- */

void kit_pickle_raw(struct kit_pickle *self, const void *bytes, size_t len)
{
    if (self->len + len > self->room) {
        self->room = (self->len + len) * 2;
        self->bytes = realloc(self->bytes, self->room);
        if (!self->bytes)
            abort();
    }
    memcpy(self->bytes + self->len, bytes, len);
    self->len += len;
}

static void put_number(struct kit_pickle *self, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        kit_pickle_raw(self, &(uint8_t){ (uint8_t)(value >> 8 * i) }, 1);
}

static void put_string(struct kit_pickle *self, char opcode, const void *data, size_t len)
{
    kit_pickle_raw(self, &opcode, 1);
    put_number(self, len, 4);
    kit_pickle_raw(self, data, len);
}

void kit_pickle_text(struct kit_pickle *self, const char *text)
{
    put_string(self, 'X', text, strlen(text));
}

void kit_pickle_bytes(struct kit_pickle *self, const void *bytes, size_t len)
{
    put_string(self, 'B', bytes, len);
}

void kit_pickle_int(struct kit_pickle *self, int64_t value)
{
    KIT_OPS(self, "\x8a\x08");
    put_number(self, (uint64_t)value, 8);
}

void kit_pickle_float(struct kit_pickle *self, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    KIT_OPS(self, "G");
    put_number(self, __builtin_bswap64(bits), 8);
}

void kit_pickle_global(struct kit_pickle *self, const char *module, const char *name)
{
    KIT_OPS(self, "c");
    kit_pickle_raw(self, module, strlen(module));
    KIT_OPS(self, "\n");
    kit_pickle_raw(self, name, strlen(name));
    KIT_OPS(self, "\n");
}

static void put_ints(struct kit_pickle *self, const int64_t *values, int count)
{
    KIT_OPS(self, "(");
    for (int i = 0; i < count; i++)
        kit_pickle_int(self, values[i]);
    KIT_OPS(self, "t");
}

/* Bytes as protocol 2 writes them: each one a character of a text. */
static void put_latin1(struct kit_pickle *self, const uint8_t *data, size_t len)
{
    struct kit_pickle text = { 0 };

    for (size_t i = 0; i < len; i++)
        if (data[i] < 0x80)
            kit_pickle_raw(&text, &data[i], 1);
        else
            kit_pickle_raw(&text, (uint8_t[]){ 0xc0 | data[i] >> 6, 0x80 | (data[i] & 0x3f) }, 2);
    kit_pickle_global(self, "_codecs", "encode");
    put_string(self, 'X', text.bytes ? text.bytes : (uint8_t *)"", text.len);
    kit_pickle_text(self, "latin1");
    KIT_OPS(self, "\x86R");
    free(text.bytes);
}

/* ---- dicts ---- */

static bool is_spoiled(const struct maker *m, const char *dict)
{
    return m->net->dict && strcmp(m->net->dict, dict) == 0;
}

/* The dict's key; false: it is to be left out. */
static bool put_key(struct maker *m, const char *dict, const char *key)
{
    if (is_spoiled(m, dict) && m->net->without && strcmp(m->net->without, key) == 0)
        return false;
    kit_pickle_text(m->to, key);
    return true;
}

static void put_int(struct maker *m, const char *dict, const char *key, int64_t value)
{
    if (put_key(m, dict, key))
        kit_pickle_int(m->to, value);
}

static void put_word(struct maker *m, const char *dict, const char *key, const char *value)
{
    if (put_key(m, dict, key))
        kit_pickle_text(m->to, value);
}

static void begin_dict(struct maker *m)
{
    KIT_OPS(m->to, "}(");
}

static void begin_ordered_dict(struct maker *m)
{
    kit_pickle_global(m->to, "collections", "OrderedDict");
    KIT_OPS(m->to, ")R(");
}

static void end_dict(struct maker *m, const char *dict)
{
    if (is_spoiled(m, dict) && m->net->ops)
        kit_pickle_raw(m->to, m->net->ops, m->net->ops_len);
    KIT_OPS(m->to, "u");
}

/* ---- tensors ---- */

static size_t fill(float *out, const int64_t *shape, int rank)
{
    size_t count = 1;

    for (int i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(i + 1) / 8.0f;
    return count;
}

static const struct kit_tensor *spoiled_tensor(const struct maker *m, const char *name)
{
    static const struct kit_tensor NONE = { 0 };

    return m->net->tensor.name && strcmp(m->net->tensor.name, name) == 0 ? &m->net->tensor : &NONE;
}

static size_t size_of(const char *type)
{
    static const struct {
        const char *word;
        size_t bytes;
    } SIZES[] = {
        { "HalfStorage", 2 }, { "BFloat16Storage", 2 }, { "DoubleStorage", 8 },
        { "LongStorage", 8 }, { "f2", 2 },              { "f8", 8 },
        { "i8", 8 },
    };

    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++)
        if (strcmp(SIZES[i].word, type) == 0)
            return SIZES[i].bytes;
    return 4;
}

static void put_storage(struct kit_pickle *to, const struct kit_tensor *t, const void *data,
                        size_t len)
{
    const char *type = t->storage ? t->storage : "FloatStorage";
    int64_t numbers = (int64_t)(len / size_of(type));
    struct kit_pickle blob = { 0 };

    KIT_OPS(&blob, "\x80\x02\x8a\x0al\xfc\x9c" "F\xf9 j\xa8P\x19.");
    KIT_OPS(&blob, "\x80\x02M\xe9\x03.");
    KIT_OPS(&blob, "\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    KIT_OPS(&blob, "\x80\x02(");
    kit_pickle_text(&blob, "storage");
    kit_pickle_global(&blob, "torch", type);
    kit_pickle_text(&blob, "1");
    kit_pickle_text(&blob, "cpu");
    kit_pickle_int(&blob, t->numbers_said ? t->numbers_said : numbers);
    KIT_OPS(&blob, "NtQ.");
    KIT_OPS(&blob, "\x80\x02]X\x01\0\0\0" "1a.");
    put_number(&blob, (uint64_t)numbers, 8);
    kit_pickle_raw(&blob, data, len);
    kit_pickle_global(to, "torch.storage", "_load_from_bytes");
    if (t->latin1)
        put_latin1(to, blob.bytes, blob.len);
    else
        kit_pickle_bytes(to, blob.bytes, blob.len);
    KIT_OPS(to, "\x85R");
    free(blob.bytes);
}

/* Key and parameter of a dict; name is the whole one, key its last part. */
static void put_torch_tensor(struct maker *m, const char *name, const char *key, int rank,
                             const int64_t *shape)
{
    const struct kit_tensor *t = spoiled_tensor(m, name);
    int64_t stride[6], step = 1;
    float numbers[NUMBERS_MAX];
    size_t count = fill(numbers, shape, rank);

    for (int i = rank; i-- > 0; step *= shape[i])
        stride[i] = step;
    kit_pickle_text(m->to, key);
    if (t->ops) {
        kit_pickle_raw(m->to, t->ops, t->ops_len);
        return;
    }
    kit_pickle_global(m->to, "torch._utils", "_rebuild_parameter");
    kit_pickle_global(m->to, "torch._utils", "_rebuild_tensor_v2");
    KIT_OPS(m->to, "(");
    if (t->data)
        put_storage(m->to, t, t->data, t->len);
    else
        put_storage(m->to, t, numbers, count * sizeof numbers[0]);
    kit_pickle_int(m->to, t->offset);
    put_ints(m->to, t->rank ? t->shape : shape, t->rank ? t->rank : rank);
    put_ints(m->to, t->rank ? t->stride : stride, t->rank ? t->rank : rank);
    KIT_OPS(m->to, "\x89");
    kit_pickle_global(m->to, "collections", "OrderedDict");
    KIT_OPS(m->to, ")RtR\x88");
    kit_pickle_global(m->to, "collections", "OrderedDict");
    KIT_OPS(m->to, ")R\x87R");
}

static void put_dtype(struct kit_pickle *to, const char *type, const char *order)
{
    kit_pickle_global(to, "numpy", "dtype");
    kit_pickle_text(to, type);
    KIT_OPS(to, "\x89\x88\x87R(K\x03");
    kit_pickle_text(to, order);
    KIT_OPS(to, "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb");
}

/* (name, array) of a list of variables; prefix + name is the whole name. */
static void put_variable(struct maker *m, const char *prefix, const char *name, int rank,
                         const int64_t *shape)
{
    char whole[96];
    float numbers[NUMBERS_MAX];
    size_t count = fill(numbers, shape, rank);

    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    const struct kit_tensor *t = spoiled_tensor(m, whole);
    const void *data = t->data ? t->data : numbers;
    size_t len = t->data ? t->len : count * sizeof numbers[0];

    if (strstr(name, "lod"))
        memset(numbers, 0, sizeof numbers);
    kit_pickle_text(m->to, name);
    if (t->ops) {
        kit_pickle_raw(m->to, t->ops, t->ops_len);
        KIT_OPS(m->to, "\x86");
        return;
    }
    if (rank == 0) {
        kit_pickle_global(m->to, "numpy.core.multiarray", "scalar");
        put_dtype(m->to, t->storage ? t->storage : "f4", t->order ? t->order : "<");
        kit_pickle_bytes(m->to, data, len);
        KIT_OPS(m->to, "\x86R\x86");
        return;
    }
    kit_pickle_global(m->to, "numpy.core.multiarray", "_reconstruct");
    kit_pickle_global(m->to, "numpy", "ndarray");
    KIT_OPS(m->to, "K\0\x85" "C\x01" "b\x87R(K\x01");
    put_ints(m->to, t->rank ? t->shape : shape, t->rank ? t->rank : rank);
    put_dtype(m->to, t->storage ? t->storage : "f4", t->order ? t->order : "<");
    kit_pickle_raw(m->to, t->columns ? "\x88" : "\x89", 1);
    if (t->latin1)
        put_latin1(m->to, data, len);
    else
        kit_pickle_bytes(m->to, data, len);
    KIT_OPS(m->to, "tb\x86");
}

/* ---- a StyleGAN 2 of PyTorch ---- */

static void begin_module(struct maker *m, const char *class_name)
{
    kit_pickle_global(m->to, "torch_utils.persistence", "_reconstruct_persistent_obj");
    begin_dict(m);
    put_word(m, "", "type", "class");
    put_int(m, "", "version", m->net->version ? m->net->version : 6);
    put_word(m, "", "module_src", "raise SystemExit");
    put_word(m, "", "class_name", class_name);
    kit_pickle_text(m->to, "state");
    begin_dict(m);
}

static void end_module(struct maker *m, const char *dict)
{
    end_dict(m, dict);
    end_dict(m, "");
    KIT_OPS(m->to, "\x85R");
}

/* A module's dict of tensors, or of modules, that holds nothing. */
static void put_nothing(struct maker *m, const char *dict, const char *key)
{
    if (put_key(m, dict, key)) {
        begin_ordered_dict(m);
        end_dict(m, "");
    }
}

static void put_linear(struct maker *m, const char *key, const char *dict, const char *name,
                       const char *activation, double gain)
{
    char weight[64], bias[64];

    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    kit_pickle_text(m->to, key);
    begin_module(m, "FullyConnectedLayer");
    kit_pickle_text(m->to, "_parameters");
    begin_ordered_dict(m);
    put_torch_tensor(m, weight, "weight", 2, (int64_t[]){ DIM, DIM });
    put_torch_tensor(m, bias, "bias", 1, (int64_t[]){ DIM });
    end_dict(m, "");
    put_nothing(m, dict, "_buffers");
    put_nothing(m, dict, "_modules");
    put_word(m, dict, "activation", activation);
    if (put_key(m, dict, "bias_gain"))
        kit_pickle_float(m->to, gain);
    end_module(m, dict);
}

static void put_mapping(struct maker *m)
{
    kit_pickle_text(m->to, "mapping");
    begin_module(m, "MappingNetwork");
    put_nothing(m, "mapping", "_parameters");
    kit_pickle_text(m->to, "_buffers");
    begin_ordered_dict(m);
    put_torch_tensor(m, "mapping.w_avg", "w_avg", 1, (int64_t[]){ DIM });
    end_dict(m, "");
    kit_pickle_text(m->to, "_modules");
    begin_ordered_dict(m);
    put_linear(m, "fc0", "fc0", "mapping.fc0", "lrelu", 0.01);
    end_dict(m, "");
    put_int(m, "mapping", "num_layers", 1);
    kit_pickle_text(m->to, "_init_kwargs");
    begin_dict(m);
    end_dict(m, "mapping_kwargs");
    end_module(m, "mapping");
}

static void put_conv1(struct maker *m)
{
    kit_pickle_text(m->to, "conv1");
    begin_module(m, m->net->class_name ? m->net->class_name : "SynthesisLayer");
    kit_pickle_text(m->to, "_parameters");
    begin_ordered_dict(m);
    put_torch_tensor(m, "synthesis.b4.conv1.weight", "weight", 4, (int64_t[]){ DIM, DIM, 3, 3 });
    put_torch_tensor(m, "synthesis.b4.conv1.noise_strength", "noise_strength", 0, NULL);
    put_torch_tensor(m, "synthesis.b4.conv1.bias", "bias", 1, (int64_t[]){ DIM });
    end_dict(m, "");
    kit_pickle_text(m->to, "_buffers");
    begin_ordered_dict(m);
    put_torch_tensor(m, "synthesis.b4.conv1.noise_const", "noise_const", 2, (int64_t[]){ 4, 4 });
    kit_pickle_text(m->to, "nothing");
    KIT_OPS(m->to, "N");
    end_dict(m, "");
    kit_pickle_text(m->to, "_modules");
    begin_ordered_dict(m);
    put_linear(m, "affine", "affine", "synthesis.b4.conv1.affine", "linear", 1.0);
    end_dict(m, "");
    put_word(m, "conv1", "activation", "lrelu");
    if (put_key(m, "conv1", "use_noise"))
        KIT_OPS(m->to, "\x88");
    if (put_key(m, "conv1", "conv_clamp"))
        KIT_OPS(m->to, "N");
    end_module(m, "conv1");
}

static void put_torgb(struct maker *m)
{
    kit_pickle_text(m->to, "torgb");
    begin_module(m, "ToRGBLayer");
    kit_pickle_text(m->to, "_parameters");
    begin_ordered_dict(m);
    put_torch_tensor(m, "synthesis.b4.torgb.weight", "weight", 4, (int64_t[]){ 3, DIM, 1, 1 });
    put_torch_tensor(m, "synthesis.b4.torgb.bias", "bias", 1, (int64_t[]){ 3 });
    end_dict(m, "");
    put_nothing(m, "torgb", "_buffers");
    kit_pickle_text(m->to, "_modules");
    begin_ordered_dict(m);
    put_linear(m, "affine", "affine", "synthesis.b4.torgb.affine", "linear", 1.0);
    end_dict(m, "");
    if (put_key(m, "torgb", "conv_clamp"))
        KIT_OPS(m->to, "N");
    end_module(m, "torgb");
}

static void put_synthesis(struct maker *m)
{
    kit_pickle_text(m->to, "synthesis");
    begin_module(m, "SynthesisNetwork");
    put_nothing(m, "synthesis", "_parameters");
    put_nothing(m, "synthesis", "_buffers");
    kit_pickle_text(m->to, "_modules");
    begin_ordered_dict(m);
    kit_pickle_text(m->to, "b4");
    begin_module(m, "SynthesisBlock");
    kit_pickle_text(m->to, "_parameters");
    begin_ordered_dict(m);
    put_torch_tensor(m, "synthesis.b4.const", "const", 3, (int64_t[]){ DIM, 4, 4 });
    end_dict(m, "");
    put_nothing(m, "b4", "_buffers");
    kit_pickle_text(m->to, "_modules");
    begin_ordered_dict(m);
    put_conv1(m);
    put_torgb(m);
    end_dict(m, "");
    put_word(m, "b4", "architecture", "skip");
    end_module(m, "b4");
    end_dict(m, "");
    kit_pickle_text(m->to, "_init_kwargs");
    begin_dict(m);
    put_int(m, "synthesis_kwargs", "channel_base", 8);
    put_int(m, "synthesis_kwargs", "channel_max", DIM);
    end_dict(m, "synthesis_kwargs");
    end_module(m, "synthesis");
}

static void put_generator(struct maker *m)
{
    begin_module(m, "Generator");
    put_nothing(m, "G_ema", "_parameters");
    put_nothing(m, "G_ema", "_buffers");
    if (put_key(m, "G_ema", "_modules")) {
        begin_ordered_dict(m);
        put_mapping(m);
        put_synthesis(m);
        end_dict(m, "modules");
    }
    put_int(m, "G_ema", "z_dim", DIM);
    put_int(m, "G_ema", "c_dim", 0);
    put_int(m, "G_ema", "w_dim", DIM);
    put_int(m, "G_ema", "img_resolution", 4);
    put_int(m, "G_ema", "img_channels", 3);
    put_int(m, "G_ema", "num_ws", 2);
    kit_pickle_text(m->to, "_init_kwargs");
    begin_dict(m);
    if (put_key(m, "kwargs", "synthesis_kwargs"))
        KIT_OPS(m->to, "}");
    end_dict(m, "kwargs");
    end_module(m, "G_ema");
}

struct kit_pickle kit_pickle_torch(const struct kit_net *net)
{
    struct kit_pickle out = { 0 };
    struct maker m = { .to = &out, .net = net };

    KIT_OPS(&out, "\x80\x03");
    begin_dict(&m);
    if (put_key(&m, "root", "G_ema"))
        put_generator(&m);
    kit_pickle_text(&out, "augment_pipe");
    KIT_OPS(&out, "N");
    end_dict(&m, "root");
    KIT_OPS(&out, ".");
    return out;
}

/* ---- networks of TensorFlow ---- */

static void begin_network(struct maker *m, const char *dict, const char *function, int version)
{
    kit_pickle_global(m->to, "dnnlib.tflib.network", "Network");
    KIT_OPS(m->to, ")\x81");
    begin_dict(m);
    put_int(m, dict, "version", m->net->version ? m->net->version : version);
    put_word(m, dict, "name", dict);
    put_word(m, dict, "build_module_src", "raise SystemExit");
    put_word(m, dict, "build_func_name", function);
}

static void end_network(struct maker *m, const char *dict)
{
    end_dict(m, dict);
    KIT_OPS(m->to, "b");
}

static void put_static_kwargs(struct maker *m)
{
    kit_pickle_text(m->to, "static_kwargs");
    begin_dict(m);
    put_int(m, "kwargs", "resolution", 4);
    put_int(m, "kwargs", "num_channels", 3);
    put_int(m, "kwargs", "latent_size", DIM);
    put_int(m, "kwargs", "dlatent_size", DIM);
    put_int(m, "kwargs", "mapping_fmaps", DIM);
    put_int(m, "kwargs", "mapping_layers", 1);
    put_int(m, "kwargs", "label_size", m->net->c_dim);
    put_int(m, "kwargs", "fmap_base", 8);
    put_int(m, "kwargs", "fmap_max", DIM);
    end_dict(m, "kwargs");
}

static void begin_variables(struct maker *m)
{
    kit_pickle_text(m->to, "variables");
    KIT_OPS(m->to, "](");
}

static void end_variables(struct maker *m)
{
    KIT_OPS(m->to, "e");
}

static void put_tf_mapping(struct maker *m, int version)
{
    kit_pickle_text(m->to, "mapping");
    begin_network(m, "mapping", "G_mapping", version);
    put_static_kwargs(m);
    begin_variables(m);
    put_variable(m, "mapping/", "Dense0/weight", 2, (int64_t[]){ DIM, DIM });
    put_variable(m, "mapping/", "Dense0/bias", 1, (int64_t[]){ DIM });
    if (m->net->c_dim)
        put_variable(m, "mapping/", "LabelConcat/weight", 2, (int64_t[]){ m->net->c_dim, DIM });
    end_variables(m);
    end_network(m, "mapping");
}

/* The parts that both architectures have. */
static void put_tf_synthesis(struct maker *m)
{
    put_variable(m, "synthesis/", "noise0", 4, (int64_t[]){ 1, 1, 4, 4 });
    put_variable(m, "synthesis/", "4x4/Const/const", 4, (int64_t[]){ 1, DIM, 4, 4 });
    put_variable(m, "synthesis/", "4x4/Conv/weight", 4, (int64_t[]){ 3, 3, DIM, DIM });
    put_variable(m, "synthesis/", "4x4/Conv/bias", 1, (int64_t[]){ DIM });
}

static void put_stylegan1_synthesis(struct maker *m)
{
    static const char *const LAYERS[] = { "4x4/Const", "4x4/Conv" };
    char name[64];

    put_tf_synthesis(m);
    put_variable(m, "synthesis/", "lod", 0, NULL);
    put_variable(m, "synthesis/", "noise1", 4, (int64_t[]){ 1, 1, 4, 4 });
    put_variable(m, "synthesis/", "4x4/Const/bias", 1, (int64_t[]){ DIM });
    put_variable(m, "synthesis/", "ToRGB_lod0/weight", 4, (int64_t[]){ 1, 1, DIM, 3 });
    put_variable(m, "synthesis/", "ToRGB_lod0/bias", 1, (int64_t[]){ 3 });
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/Noise/weight", LAYERS[i]);
        put_variable(m, "synthesis/", name, 1, (int64_t[]){ DIM });
        snprintf(name, sizeof name, "%s/StyleMod/weight", LAYERS[i]);
        put_variable(m, "synthesis/", name, 2, (int64_t[]){ DIM, 2 * DIM });
        snprintf(name, sizeof name, "%s/StyleMod/bias", LAYERS[i]);
        put_variable(m, "synthesis/", name, 1, (int64_t[]){ 2 * DIM });
    }
}

static void put_stylegan2_synthesis(struct maker *m)
{
    put_tf_synthesis(m);
    put_variable(m, "synthesis/", "4x4/Conv/mod_weight", 2, (int64_t[]){ DIM, DIM });
    put_variable(m, "synthesis/", "4x4/Conv/mod_bias", 1, (int64_t[]){ DIM });
    put_variable(m, "synthesis/", "4x4/Conv/noise_strength", 0, NULL);
    put_variable(m, "synthesis/", "4x4/ToRGB/weight", 4, (int64_t[]){ 1, 1, DIM, 3 });
    put_variable(m, "synthesis/", "4x4/ToRGB/bias", 1, (int64_t[]){ 3 });
    put_variable(m, "synthesis/", "4x4/ToRGB/mod_weight", 2, (int64_t[]){ DIM, DIM });
    put_variable(m, "synthesis/", "4x4/ToRGB/mod_bias", 1, (int64_t[]){ DIM });
}

static struct kit_pickle make_tf(const struct kit_net *net, bool is_stylegan1)
{
    struct kit_pickle out = { 0 };
    struct maker m = { .to = &out, .net = net };
    int version = is_stylegan1 ? 3 : 5;

    KIT_OPS(&out, "\x80\x04(NN");
    begin_network(&m, "Gs", is_stylegan1 ? "G_style" : "G_main", version);
    put_static_kwargs(&m);
    if (put_key(&m, "Gs", "components")) {
        begin_dict(&m);
        put_tf_mapping(&m, version);
        kit_pickle_text(&out, "synthesis");
        begin_network(&m, "synthesis", is_stylegan1 ? "G_synthesis" : "G_synthesis_stylegan2",
                      version);
        put_static_kwargs(&m);
        begin_variables(&m);
        if (is_stylegan1)
            put_stylegan1_synthesis(&m);
        else
            put_stylegan2_synthesis(&m);
        end_variables(&m);
        end_network(&m, "synthesis");
        end_dict(&m, "components");
    }
    begin_variables(&m);
    put_variable(&m, "", "lod", 0, NULL);
    put_variable(&m, "", "dlatent_avg", 1, (int64_t[]){ DIM });
    end_variables(&m);
    end_network(&m, "Gs");
    KIT_OPS(&out, "t.");
    return out;
}

struct kit_pickle kit_pickle_stylegan1(const struct kit_net *net)
{
    return make_tf(net, true);
}

struct kit_pickle kit_pickle_stylegan2(const struct kit_net *net)
{
    return make_tf(net, false);
}
