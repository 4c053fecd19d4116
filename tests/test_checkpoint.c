/* Official .pkl files: each golden network gives the notes and the bits of the .safetensors beside
 * it, and every kind of bad file is refused with words that say what is wrong. Each bad file is a
 * tiny good one (kit_pickle) with one thing spoiled. */
#include "base/file.h"
#include "kernels/checkpoint.h"
#include "kernels/safetensors.h"
#include "tests/kit_pickle.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* Opcodes and their number. */
#define OPS(literal) literal, sizeof(literal) - 1
/* The opcodes of a key of up to 255 bytes. */
#define KEY(length, text) "\x8c" length text

static const size_t FILE_MAX = 1 << 30;

struct file {
    uint8_t *bytes;
    size_t len;
};

static struct file read_golden(const char *name, const char *end)
{
    char path[128];
    struct file f;
    struct err e;

    snprintf(path, sizeof path, "tests/golden/%s/%s%s", name, name, end);
    if (file_read(path, FILE_MAX, &f.bytes, &f.len, &e))
        fail_msg("%s", e.msg);
    return f;
}

static struct checkpoint *parse(const void *data, size_t len)
{
    struct checkpoint *file;
    struct err e;

    assert_true(checkpoint_recognises(data, len));
    if (checkpoint_parse(data, len, &file, &e))
        fail_msg("%s", e.msg);
    return file;
}

static float *floats_of(const struct checkpoint_tensor *tensor)
{
    float *out = malloc(tensor->count * sizeof out[0] + 1);
    struct err e;

    assert_non_null(out);
    if (checkpoint_floats(tensor, out, &e))
        fail_msg("%s", e.msg);
    return out;
}

/* ---- golden networks ---- */

static void check_same_tensor(const struct checkpoint_tensor *got,
                              const struct safetensors_tensor *expect)
{
    float *want = malloc(expect->count * sizeof want[0] + 1), *have;
    struct err e;

    assert_non_null(want);
    assert_int_equal(got->rank, expect->rank);
    for (int i = 0; i < got->rank; i++)
        assert_int_equal(got->shape[i], expect->shape[i]);
    assert_int_equal(got->count, expect->count);
    have = floats_of(got);
    assert_int_equal(safetensors_floats(expect, want, &e), ERR_OK);
    assert_memory_equal(have, want, expect->count * sizeof want[0]);
    free(have);
    free(want);
}

/* Numbers may be written in several ways, "0.25" or "2.5e-1". */
static void check_same_note(const char *key, const char *got, const char *expect)
{
    char *got_end, *expect_end;
    double a, b;

    if (!got)
        fail_msg("there is no note %s", key);
    a = strtod(got, &got_end);
    b = strtod(expect, &expect_end);
    if (*got_end || *expect_end)
        assert_string_equal(got, expect);
    else
        assert_true(a == b);
}

static void golden_networks_give_the_notes_and_bits_of_their_safetensors(void **state)
{
    static const char *const NAMES[] = {
        "sg1_128",     "sg1_32",      "sg1_cond_16", "sg2_32",  "sg2_cond_32",
        "sg2_flat_32", "sg2_fp16_64", "sg3r_32",     "sg3t_32", "sg3t_64_deep",
    };
    static const char *const KEYS[] = {
        "arch",           "z_dim",         "c_dim",
        "w_dim",          "img_resolution", "img_channels",
        "num_ws",         "mapping_layers", "mapping_fmaps",
        "fmap_base",      "fmap_max",      "channel_base",
        "channel_max",    "architecture",  "resample_filter",
        "conv_clamp",     "num_fp16_res",  "num_layers",
        "num_critical",   "first_cutoff",  "first_stopband",
        "last_stopband_rel", "margin_size", "output_scale",
        "conv_kernel",    "use_radial_filters", "filter_size",
        "lrelu_upsampling",
    };

    (void)state;
    for (size_t row = 0; row < COUNT(NAMES); row++) {
        struct file pkl = read_golden(NAMES[row], ".pkl");
        struct file plain = read_golden(NAMES[row], ".safetensors");
        struct checkpoint *got = parse(pkl.bytes, pkl.len);
        struct safetensors *expect;
        struct err e;

        assert_int_equal(safetensors_parse(plain.bytes, plain.len, &expect, &e), ERR_OK);
        assert_int_equal(checkpoint_count(got), safetensors_count(expect));
        for (size_t i = 0; i < checkpoint_count(got); i++) {
            const struct checkpoint_tensor *tensor = checkpoint_at(got, i);

            assert_string_equal(tensor->name, safetensors_at(expect, i)->name);
            assert_ptr_equal(checkpoint_find(got, tensor->name), tensor);
            check_same_tensor(tensor, safetensors_at(expect, i));
        }
        struct notes *notes = checkpoint_take_notes(got);
        struct notes *want = safetensors_take_notes(expect);

        for (size_t i = 0; i < COUNT(KEYS); i++)
            if (notes_find(want, KEYS[i]))
                check_same_note(KEYS[i], notes_find(notes, KEYS[i]), notes_find(want, KEYS[i]));
            else
                assert_null(notes_find(notes, KEYS[i]));
        assert_int_equal(strlen(notes_find(notes, "source_sha256")), 64);
        notes_destroy(&want);
        notes_destroy(&notes);
        safetensors_destroy(&expect);
        checkpoint_destroy(&got);
        free(plain.bytes);
        free(pkl.bytes);
    }
}

/* All that the engine reads: the filters of StyleGAN 2 are a note. */
static void tensorflow_files_give_the_bits_of_the_same_network_of_pytorch(void **state)
{
    static const char *const PAIRS[][2] = {
        { "sg2_tf_32", "sg2_32" },
        { "sg2_tf_cond_32", "sg2_cond_32" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(PAIRS); row++) {
        struct file tf = read_golden(PAIRS[row][0], ".pkl");
        struct file plain = read_golden(PAIRS[row][1], ".safetensors");
        struct checkpoint *got = parse(tf.bytes, tf.len);
        struct safetensors *expect;
        struct err e;
        size_t seen = 0;

        assert_int_equal(safetensors_parse(plain.bytes, plain.len, &expect, &e), ERR_OK);
        for (size_t i = 0; i < safetensors_count(expect); i++) {
            const struct safetensors_tensor *want = safetensors_at(expect, i);

            if (strstr(want->name, "resample_filter"))
                continue;
            seen++;
            assert_non_null(checkpoint_find(got, want->name));
            check_same_tensor(checkpoint_find(got, want->name), want);
        }
        assert_int_equal(seen, checkpoint_count(got));
        safetensors_destroy(&expect);
        checkpoint_destroy(&got);
        free(plain.bytes);
        free(tf.bytes);
    }
}

static void network_with_g_and_g_ema_in_one_is_read(void **state)
{
    struct file f = read_golden("sg2_64_z512", ".pkl");
    struct checkpoint *file = parse(f.bytes, f.len);
    struct notes *notes = checkpoint_take_notes(file);

    (void)state;
    assert_string_equal(notes_find(notes, "z_dim"), "512");
    assert_string_equal(notes_find(notes, "num_ws"), "10");
    assert_string_equal(notes_find(notes, "mapping_layers"), "2");
    assert_string_equal(notes_find(notes, "conv_clamp"), "none");
    assert_int_equal(checkpoint_find(file, "mapping.fc0.weight")->count, 512 * 512);
    assert_null(checkpoint_find(file, "mapping.fc2.weight"));
    notes_destroy(&notes);
    checkpoint_destroy(&file);
    checkpoint_destroy(&file);      /* NULL is fine */
    free(f.bytes);
}

/* ---- tiny networks ---- */

static void only_pickles_are_recognised(void **state)
{
    (void)state;
    assert_false(checkpoint_recognises("", 0));
    assert_false(checkpoint_recognises("\x80", 1));
    assert_false(checkpoint_recognises("\x80\x01", 2));
    assert_true(checkpoint_recognises("\x80\x02", 2));
    assert_true(checkpoint_recognises("\x80\x05", 2));
    assert_false(checkpoint_recognises("\x80\x06", 2));
    assert_false(checkpoint_recognises("\x68\x04\0\0\0\0\0\0{", 9));
    assert_false(checkpoint_recognises("PK\3\4", 4));
}

static void check_note(struct kit_pickle p, const char *key, const char *value)
{
    struct checkpoint *file = parse(p.bytes, p.len);
    struct notes *notes = checkpoint_take_notes(file);

    if (!notes_find(notes, key) || strcmp(notes_find(notes, key), value) != 0)
        fail_msg("%s is %s, not %s", key, notes_find(notes, key), value);
    notes_destroy(&notes);
    checkpoint_destroy(&file);
    free(p.bytes);
}

static void check_torch_note(struct kit_net net, const char *key, const char *value)
{
    check_note(kit_pickle_torch(&net), key, value);
}

static void keys_that_are_missing_take_their_defaults(void **state)
{
    (void)state;
    check_torch_note((struct kit_net){ "synthesis_kwargs", .without = "channel_base" },
                     "channel_base", "32768");
    check_torch_note((struct kit_net){ "synthesis_kwargs", .without = "channel_max" },
                     "channel_max", "512");
    check_torch_note((struct kit_net){ 0 }, "num_fp16_res", "0");
    check_torch_note((struct kit_net){ "kwargs", .without = "synthesis_kwargs" }, "num_fp16_res",
                     "4");
    check_note(kit_pickle_stylegan1(&(struct kit_net){ "kwargs", .without = "fmap_base" }),
               "fmap_base", "8192");
    check_note(kit_pickle_stylegan1(&(struct kit_net){ "kwargs", .without = "mapping_fmaps" }),
               "mapping_fmaps", "512");
    check_note(kit_pickle_stylegan2(&(struct kit_net){ "kwargs", .without = "fmap_base" }),
               "channel_base", "32768");
    check_note(kit_pickle_stylegan2(&(struct kit_net){ "kwargs", .without = "label_size" }),
               "c_dim", "0");
}

static void numbers_of_numpy_are_read_as_notes(void **state)
{
    (void)state;
    check_torch_note(
        (struct kit_net){ "synthesis_kwargs",
                          .ops = OPS(KEY("\x0c", "channel_base") "cnumpy.core.multiarray\nscalar\n"
                                     "cnumpy\ndtype\n" KEY("\x02", "i8") "\x89\x88\x87R(K\x03"
                                     KEY("\x01", "<") "NNNK\0K\0K\0tb"
                                     "C\x08\x10\0\0\0\0\0\0\0\x86R") },
        "channel_base", "16");
}

/* The tensor called name of a file is these numbers. */
static void check_tensor(struct kit_pickle p, const char *name, const float *expect, size_t count)
{
    struct checkpoint *file = parse(p.bytes, p.len);
    const struct checkpoint_tensor *tensor = checkpoint_find(file, name);
    float *got;

    assert_non_null(tensor);
    assert_int_equal(tensor->count, count);
    got = floats_of(tensor);
    assert_memory_equal(got, expect, count * sizeof got[0]);
    free(got);
    checkpoint_destroy(&file);
    free(p.bytes);
}

static const char WEIGHT[] = "mapping.fc0.weight";

static void check_weight(struct kit_tensor tensor, float a, float b, float c, float d)
{
    tensor.name = WEIGHT;
    check_tensor(kit_pickle_torch(&(struct kit_net){ .tensor = tensor }), WEIGHT,
                 (float[]){ a, b, c, d }, 4);
}

static void offset_and_strides_are_honoured(void **state)
{
    static const float DATA[] = { 0, 1, 2, 3, 4, 5, 6, 7 };

    (void)state;
    check_weight((struct kit_tensor){ .data = DATA, .len = sizeof DATA, .offset = 4 }, 4, 5, 6, 7);
    check_weight((struct kit_tensor){ .data = DATA, .len = 16, .rank = 2, .shape = { 2, 2 },
                                      .stride = { 1, 2 } }, 0, 2, 1, 3);
    check_weight((struct kit_tensor){ .data = DATA, .len = 32, .rank = 2, .shape = { 2, 2 },
                                      .stride = { -4, -1 }, .offset = 7 }, 7, 6, 3, 2);
}

static void every_kind_of_storage_is_read(void **state)
{
    static const uint16_t HALF[] = { 0x3c00, 0xc000, 0x0001, 0x7bff };
    static const uint16_t BRAIN[] = { 0x3f80, 0xc000, 0x4049, 0x0000 };
    static const double WIDE[] = { 0.1, -2.0, 1e30, 3.0 };
    static const int64_t LONG[] = { 1, -2, 1 << 20, 0 };

    (void)state;
    check_weight((struct kit_tensor){ .storage = "HalfStorage", .data = HALF, .len = sizeof HALF },
                 1.0f, -2.0f, 0x1p-24f, 65504.0f);
    check_weight((struct kit_tensor){ .storage = "BFloat16Storage", .data = BRAIN,
                                      .len = sizeof BRAIN }, 1.0f, -2.0f, 3.140625f, 0.0f);
    check_weight((struct kit_tensor){ .storage = "DoubleStorage", .data = WIDE,
                                      .len = sizeof WIDE }, 0.1f, -2.0f, 1e30f, 3.0f);
    check_weight((struct kit_tensor){ .storage = "LongStorage", .data = LONG, .len = sizeof LONG },
                 1.0f, -2.0f, 1048576.0f, 0.0f);
}

static void bytes_written_as_text_are_read(void **state)
{
    static const float DATA[] = { -1.5f, 3.25e20f, -7e-12f, 255.0f };

    (void)state;
    check_weight((struct kit_tensor){ .latin1 = 1, .data = DATA, .len = sizeof DATA }, DATA[0],
                 DATA[1], DATA[2], DATA[3]);
}

static void check_dense(struct kit_tensor tensor, float a, float b, float c, float d)
{
    tensor.name = "mapping/Dense0/weight";
    check_tensor(kit_pickle_stylegan1(&(struct kit_net){ .tensor = tensor }), tensor.name,
                 (float[]){ a, b, c, d }, 4);
    check_tensor(kit_pickle_stylegan2(&(struct kit_net){ .tensor = tensor }), WEIGHT,
                 (float[]){ a, c, b, d }, 4);
}

static void every_kind_of_array_is_read(void **state)
{
    static const float DATA[] = { 1.0f, -2.5f, 3e9f, 200.0f };
    static const uint8_t BIG[] = { 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0, 0x40, 0x40, 0, 0, 0, 0, 0, 0 };
    static const double WIDE[] = { 0.1, 2.0, 3.0, 4.0 };
    static const int32_t INTS[] = { 1, -2, 3, -4 };

    (void)state;
    check_dense((struct kit_tensor){ 0 }, 0.125f, 0.25f, 0.375f, 0.5f);
    check_dense((struct kit_tensor){ .data = DATA, .len = 16, .columns = 1 }, 1.0f, 3e9f, -2.5f,
                200.0f);
    check_dense((struct kit_tensor){ .data = DATA, .len = 16, .latin1 = 1 }, 1.0f, -2.5f, 3e9f,
                200.0f);
    check_dense((struct kit_tensor){ .data = BIG, .len = 16, .order = ">" }, 1.0f, -2.0f, 3.0f,
                0.0f);
    check_dense((struct kit_tensor){ .data = WIDE, .len = 32, .storage = "f8" }, 0.1f, 2.0f, 3.0f,
                4.0f);
    check_dense((struct kit_tensor){ .data = INTS, .len = 16, .storage = "i4" }, 1.0f, -2.0f, 3.0f,
                -4.0f);
}

/* As numpy writes arrays with protocol 5. */
static void array_from_a_buffer_is_read(void **state)
{
    (void)state;
    check_dense((struct kit_tensor){
                    .ops = OPS("cnumpy._core.numeric\n_frombuffer\n("
                               "\x96\x10\0\0\0\0\0\0\0"
                               "\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40"
                               "cnumpy\ndtype\n" KEY("\x02", "f4") "\x89\x88\x87R(K\x03"
                               KEY("\x01", "<") "NNNK\0K\0K\0tbK\x02K\x02\x86"
                               KEY("\x01", "C") "tR") }, 1.0f, 2.0f, 3.0f, 4.0f);
}

static void style_biases_of_tensorflow_get_their_one(void **state)
{
    (void)state;
    check_tensor(kit_pickle_stylegan2(&(struct kit_net){ 0 }), "synthesis.b4.conv1.affine.bias",
                 (float[]){ 1.125f, 1.25f }, 2);
}

/* ---- what is refused ---- */

static void check_refused(struct kit_pickle p, enum err_code code, const char *says)
{
    uint8_t *copy = malloc(p.len);      /* of its own, so that ASan sees one byte too far */
    struct checkpoint *file = (struct checkpoint *)&p;
    struct err e = { 0 };

    assert_non_null(copy);
    memcpy(copy, p.bytes, p.len);
    enum err_code rc = checkpoint_parse(copy, p.len, &file, &e);

    if (rc != code || !strstr(e.msg, says))
        fail_msg("%d \"%s\", not %d \"%s\"", rc, e.msg, code, says);
    assert_int_equal(e.code, code);
    assert_null(file);
    free(copy);
    free(p.bytes);
}

static void check_refused_ops(const char *ops, size_t len, enum err_code code, const char *says)
{
    struct kit_pickle p = { 0 };

    kit_pickle_raw(&p, ops, len);
    check_refused(p, code, says);
}

static void other_pickles_are_refused(void **state)
{
    (void)state;
    check_refused_ops(OPS("\x80\x02" "cos\nsystem\n(X\x02\x00\x00\x00idtR."), ERR_UNSUPPORTED,
                      "refused: global os.system");
    check_refused_ops(OPS("\x80\x04" "cbuiltins\neval\n."), ERR_UNSUPPORTED,
                      "refused: global builtins.eval");
    check_refused_ops(OPS("\x80\x04\x8c\x05posix\x8c\x06system\x93."), ERR_UNSUPPORTED,
                      "refused: global posix.system");
    check_refused_ops(OPS("\x80\x02K\x05."), ERR_UNSUPPORTED, "neither a dict");
    check_refused_ops(OPS("\x80\x02]q\0h\0a."), ERR_UNSUPPORTED, "neither a dict");
    check_refused_ops(OPS("\x80\x02)."), ERR_UNSUPPORTED, "tuple of 0");
    check_refused_ops(OPS("\x80\x02NN\x86."), ERR_UNSUPPORTED, "tuple of 2");
    check_refused_ops(OPS("\x80\x02NNN\x87."), ERR_INVALID, "Gs is no network");
    check_refused_ops(OPS("\x80\x02}."), ERR_INVALID, "G_ema is missing");
    check_refused_ops(OPS("\x80\x02}" KEY("\x05", "G_ema") "Ns."), ERR_INVALID, "is not one");
    check_refused_ops(OPS("\x80\x02}q\0" KEY("\x05", "G_ema") "h\0s."), ERR_INVALID, "is not one");
    check_refused_ops(OPS("\x80\x02}.N"), ERR_INVALID, "1 bytes follow the pickle");
}

/* The tiny file of PyTorch with the first `from` made `to`, which is as long. */
static void check_edit(const char *from, const char *to, size_t len, enum err_code code,
                       const char *says)
{
    struct kit_pickle p = kit_pickle_torch(&(struct kit_net){ 0 });
    uint8_t *at = memmem(p.bytes, p.len, from, len);

    assert_non_null(at);
    memcpy(at, to, len);
    check_refused(p, code, says);
}

static void storages_of_another_form_are_refused(void **state)
{
    (void)state;
    check_edit("l\xfc\x9c", "l\xfc\x9d", 3, ERR_INVALID, "not one of torch");
    check_edit("M\xe9\x03.", "M\xea\x03.", 4, ERR_UNSUPPORTED, "another protocol than 1001");
    check_edit("little_endian\x88", "little_endian\x89", 14, ERR_UNSUPPORTED,
               "not little-endian");
    check_edit("storagec", "Storagec", 8, ERR_INVALID, "no valid id");
    check_edit("NtQ.", "\x88tQ.", 4, ERR_INVALID, "no valid id");
    check_edit("1a.", "1" "0.", 3, ERR_INVALID, "not one key");
}

static void networks_of_neither_architecture_are_refused(void **state)
{
    (void)state;
    check_edit("\5\0\0\0const", "\5\0\0\0Const", 9, ERR_UNSUPPORTED,
               "neither StyleGAN 2 nor 3");
    check_edit("\7\0\0\0mapping", "\7\0\0\0Mapping", 11, ERR_UNSUPPORTED, "activation lrelu");
    check_edit("\3\0\0\0fc0", "\3\0\0\0fc1", 7, ERR_INVALID, "mapping.fc0.weight");
}

static void file_cut_anywhere_is_refused(void **state)
{
    struct kit_pickle files[] = {
        kit_pickle_torch(&(struct kit_net){ 0 }),
        kit_pickle_stylegan1(&(struct kit_net){ 0 }),
        kit_pickle_stylegan2(&(struct kit_net){ 0 }),
    };

    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        for (size_t len = 0; len < files[i].len; len++) {
            uint8_t *cut = malloc(len ? len : 1);
            struct checkpoint *file;
            struct err e;

            assert_non_null(cut);
            memcpy(cut, files[i].bytes, len);
            assert_int_equal(checkpoint_parse(cut, len, &file, &e), ERR_FILE);
            assert_null(file);
            free(cut);
        }
        free(files[i].bytes);
    }
}

/* A file of PyTorch with one thing spoiled. */
static void check_bad_torch(struct kit_net net, enum err_code code, const char *says)
{
    check_refused(kit_pickle_torch(&net), code, says);
}

static void other_classes_and_versions_are_refused(void **state)
{
    (void)state;
    check_bad_torch((struct kit_net){ .version = 5 }, ERR_UNSUPPORTED, "persistence version 5");
    check_bad_torch((struct kit_net){ .class_name = "Conv2dLayer" }, ERR_UNSUPPORTED,
                    "class Conv2dLayer of module synthesis.b4.conv1 is not supported");
    check_bad_torch((struct kit_net){ "b4", .ops = OPS(KEY("\x0c", "architecture")
                                                       KEY("\x06", "resnet")) },
                    ERR_UNSUPPORTED, "architecture resnet is not supported");
}

static void missing_parts_are_named(void **state)
{
    (void)state;
    check_bad_torch((struct kit_net){ "root", .without = "G_ema" }, ERR_INVALID,
                    "G_ema is missing");
    check_bad_torch((struct kit_net){ "G_ema", .without = "z_dim" }, ERR_INVALID,
                    "z_dim is missing");
    check_bad_torch((struct kit_net){ "G_ema", .without = "_parameters" }, ERR_INVALID,
                    "no _parameters");
    check_bad_torch((struct kit_net){ "G_ema", .without = "_modules" }, ERR_INVALID,
                    "there is no tensor");
    check_bad_torch((struct kit_net){ "modules", .ops = OPS(KEY("\x07", "mapping") "N") },
                    ERR_INVALID, "module mapping");
}

static void options_that_change_the_picture_are_refused_by_name(void **state)
{
    static const struct {
        const char *dict, *ops;
        size_t ops_len;
        enum err_code code;
        const char *says;
    } ROWS[] = {
        { "conv1", OPS(KEY("\x09", "use_noise") "\x89"), ERR_UNSUPPORTED, "use_noise False" },
        { "conv1", OPS(KEY("\x0a", "activation") KEY("\x04", "relu")), ERR_UNSUPPORTED,
          "activation relu is not supported; lrelu is" },
        { "conv1", OPS(KEY("\x0a", "conv_clamp") "M\0\1"), ERR_UNSUPPORTED,
          "conv_clamp None beside conv_clamp 256" },
        { "fc0", OPS(KEY("\x0a", "activation") KEY("\x06", "linear")), ERR_UNSUPPORTED,
          "activation linear" },
        { "fc0", OPS(KEY("\x09", "bias_gain") "K\1"), ERR_UNSUPPORTED, "bias_gain 1" },
        { "affine", OPS(KEY("\x0a", "activation") KEY("\x05", "lrelu")), ERR_UNSUPPORTED,
          "activation lrelu" },
        { "G_ema", OPS(KEY("\x0c", "img_channels") "K\1"), ERR_UNSUPPORTED,
          "img_channels 1 is not supported; 3 is" },
        { "G_ema", OPS(KEY("\x05", "z_dim") "N"), ERR_INVALID, "z_dim is None" },
        { "G_ema", OPS(KEY("\x05", "w_dim") "K\3"), ERR_UNSUPPORTED, "layer_features 2" },
        { "mapping_kwargs", OPS(KEY("\x0d", "lr_multiplier") "G?\x84z\xe1G\xae\x14{"), ERR_OK, "" },
        { "mapping_kwargs", OPS(KEY("\x0d", "lr_multiplier") "K\1"), ERR_UNSUPPORTED,
          "lr_multiplier 1 is not supported; 0.01 is" },
        { "mapping_kwargs", OPS(KEY("\x0a", "activation") KEY("\x03", "elu")), ERR_UNSUPPORTED,
          "activation elu" },
        { "mapping", OPS(KEY("\x0a", "num_layers") "K\2"), ERR_INVALID,
          "\"mapping.fc1.weight\" is missing" },
        { "synthesis_kwargs", OPS(KEY("\x0f", "resample_filter") "](K\1K\1e"), ERR_UNSUPPORTED,
          "resample_filter [1,1]" },
        { "synthesis_kwargs", OPS(KEY("\x0f", "resample_filter") "](K\1K\3K\3K\1e"), ERR_OK, "" },
        { "synthesis_kwargs", OPS(KEY("\x0c", "architecture") KEY("\x04", "orig")),
          ERR_UNSUPPORTED, "architecture orig" },
        { "synthesis_kwargs", OPS(KEY("\x0c", "channel_base") KEY("\x01", "x")), ERR_INVALID,
          "channel_base is x, no whole number" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        struct kit_net net = { ROWS[row].dict, .ops = ROWS[row].ops,
                               .ops_len = ROWS[row].ops_len };

        if (ROWS[row].code)
            check_bad_torch(net, ROWS[row].code, ROWS[row].says);
        else
            check_torch_note(net, "arch", "stylegan2");
    }
}

static void bad_tensors_are_refused_by_name(void **state)
{
    enum { HUGE_SIZE = 1 << 30 };
    static const float DATA[] = { 1, 2, 3, 4 };
    static const struct {
        struct kit_tensor tensor;
        enum err_code code;
        const char *says;
    } ROWS[] = {
        { { .storage = "IntStorage" }, ERR_UNSUPPORTED, "refused: global torch.IntStorage" },
        { { .storage = "eval" }, ERR_UNSUPPORTED, "refused: global torch.eval" },
        { { .offset = 1 }, ERR_INVALID, "reaches beyond its storage" },
        { { .offset = -1 }, ERR_INVALID, "reaches beyond its storage" },
        { { .offset = INT64_MAX }, ERR_INVALID, "strides that are too large" },
        { { .offset = INT64_MIN }, ERR_INVALID, "reaches beyond its storage" },
        { { .rank = 2, .shape = { 2, 2 }, .stride = { 3, 1 } }, ERR_INVALID, "reaches beyond" },
        { { .rank = 2, .shape = { 2, 2 }, .stride = { -2, 1 } }, ERR_INVALID, "reaches beyond" },
        { { .rank = 2, .shape = { 2, 3 }, .stride = { 0, 1 } }, ERR_INVALID, "more values than" },
        { { .rank = 2, .shape = { HUGE_SIZE, 2 }, .stride = { 0, 1 } }, ERR_INVALID,
          "more values than" },
        { { .rank = 2, .shape = { 3, 3 }, .stride = { INT64_MAX, 1 } }, ERR_INVALID,
          "strides that are too large" },
        { { .rank = 2, .shape = { 2, 2 }, .stride = { INT64_MIN, INT64_MIN } }, ERR_INVALID,
          "strides that are too large" },
        { { .rank = 2, .shape = { -2, 2 }, .stride = { 2, 1 } }, ERR_INVALID, "negative size" },
        { { .rank = 3, .shape = { INT64_MAX, INT64_MAX, 2 } }, ERR_INVALID, "too many values" },
        { { .rank = 5, .shape = { 1, 1, 1, 2, 2 } }, ERR_INVALID, "has 5 dimensions" },
        { { .numbers_said = 5 }, ERR_INVALID, "not the length that it says" },
        { { .numbers_said = INT64_MAX }, ERR_INVALID, "not the length that it says" },
        { { .numbers_said = -1 }, ERR_INVALID, "no valid id" },
        { { .data = DATA, .len = 15 }, ERR_INVALID, "not the length that it says" },
        { { .ops = OPS("K\1") }, ERR_INVALID, "it is no tensor" },
        { { .ops = OPS("]2a") }, ERR_INVALID, "it is no tensor" },
        { { .ops = OPS("ctorch._utils\n_rebuild_parameter\n)R") }, ERR_INVALID,
          "it is no tensor" },
        { { .ops = OPS("ctorch._utils\n_rebuild_tensor_v2\n)R") }, ERR_INVALID,
          "it has no storage" },
        { { .ops = OPS("ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n)RK\0"
                       "))tR") }, ERR_INVALID, "bytes are missing" },
        { { .ops = OPS("ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n"
                       "C\0\x85RK\0))tR") }, ERR_FILE, "too few for a pickle" },
        { { .ops = OPS("ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n"
                       "C\x04\x80\x02N.\x85RK\0))tR") }, ERR_INVALID, "not one of torch" },
        { { .ops = OPS("ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n"
                       "C\x0d\x80\x02" "cos\nsystem\n\x85RK\0))tR") }, ERR_UNSUPPORTED,
          "refused: global os.system" },
        { { .ops = OPS("ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n"
                       "c_codecs\nencode\nX\2\0\0\0\xc4\x80X\6\0\0\0latin1\x86R\x85RK\0))tR") },
          ERR_INVALID, "are not latin1" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        struct kit_net net = { .tensor = ROWS[row].tensor };

        net.tensor.name = WEIGHT;
        check_bad_torch(net, ROWS[row].code, ROWS[row].says);
        check_bad_torch(net, ROWS[row].code, "(tensor \"mapping.fc0.weight\")");
    }
}

static void values_that_are_not_finite_name_the_tensor(void **state)
{
    static const double TOO_LARGE[] = { 1, 1e39, 3, 4 };
    static const uint16_t INFINITE[] = { 0, 0x7c00, 0, 0 };
    static const float NAN_INSIDE[] = { 1, 2, NAN, 4 };
    static const struct kit_tensor ROWS[] = {
        { .name = WEIGHT, .data = NAN_INSIDE, .len = sizeof NAN_INSIDE },
        { .name = WEIGHT, .data = TOO_LARGE, .len = sizeof TOO_LARGE, .storage = "DoubleStorage" },
        { .name = WEIGHT, .data = INFINITE, .len = sizeof INFINITE, .storage = "HalfStorage" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        struct kit_pickle p = kit_pickle_torch(&(struct kit_net){ .tensor = ROWS[row] });
        struct checkpoint *file = parse(p.bytes, p.len);
        struct err e;
        float out[4];

        assert_int_equal(checkpoint_floats(checkpoint_find(file, WEIGHT), out, &e), ERR_INVALID);
        assert_string_equal(e.msg,
                            "tensor \"mapping.fc0.weight\" holds a value that is not finite");
        checkpoint_destroy(&file);
        free(p.bytes);
    }
}

static void names_that_cannot_be_tensors_are_refused(void **state)
{
    char ops[300] = "\x8c\xff";

    (void)state;
    check_bad_torch((struct kit_net){ "modules", .ops = OPS("K\1K\1") }, ERR_INVALID, "no text");
    check_bad_torch((struct kit_net){ "modules", .ops = OPS(KEY("\2", "a\0") "K\1") }, ERR_INVALID,
                    "name is empty");
    memset(ops + 2, 'x', 255);
    ops[257] = 'K';
    check_bad_torch((struct kit_net){ "modules", .ops = ops, .ops_len = 259 }, ERR_INVALID,
                    "too long");
}

/* The generator is put into its own modules: {..., 'x': G_ema}. */
static void modules_that_hold_themselves_are_refused(void **state)
{
    struct kit_pickle p = { 0 };

    (void)state;
    KIT_OPS(&p, "\x80\x04}" KEY("\x05", "G_ema"));
    KIT_OPS(&p, "ctorch_utils.persistence\n_reconstruct_persistent_obj\n}q\0\x85Rq\1");
    KIT_OPS(&p, "sh\0(" KEY("\4", "type") KEY("\5", "class") KEY("\7", "version") "K\6");
    KIT_OPS(&p, KEY("\x0a", "class_name") KEY("\x09", "Generator") KEY("\5", "state") "}(");
    KIT_OPS(&p, KEY("\x0b", "_parameters") "}" KEY("\x08", "_buffers") "}");
    KIT_OPS(&p, KEY("\x08", "_modules") "}(");
    for (char name = 'a'; name <= 'z'; name++) {
        KIT_OPS(&p, "\x8c\1");
        kit_pickle_raw(&p, &name, 1);
        KIT_OPS(&p, "h\1");
    }
    KIT_OPS(&p, "uuu0.");
    check_refused(p, ERR_INVALID, "too many modules");
}

static void storage_that_many_tensors_share_does_not_multiply_it(void **state)
{
    float data[1024] = { 0 };
    struct kit_tensor tensor = { .name = WEIGHT, .data = data, .len = sizeof data, .rank = 1,
                                 .shape = { 1024 }, .stride = { 1 } };
    struct kit_pickle p = kit_pickle_torch(&(struct kit_net){ .tensor = tensor }), ops = { 0 };

    (void)state;
    /* The tensor once more and again, out of the memo. */
    for (int i = 0; i < 26; i++) {
        char key[] = { '\x8c', 1, (char)('a' + i) };

        kit_pickle_raw(&ops, key, sizeof key);
        KIT_OPS(&ops, "h\1");
    }
    uint8_t *at = memmem(p.bytes, p.len, "X\4\0\0\0bias", 9);
    struct kit_pickle shared = { 0 };

    assert_non_null(at);
    kit_pickle_raw(&shared, p.bytes, (size_t)(at - p.bytes));
    KIT_OPS(&shared, "q\1");
    kit_pickle_raw(&shared, ops.bytes, ops.len);
    kit_pickle_raw(&shared, at, p.len - (size_t)(at - p.bytes));
    check_refused(shared, ERR_INVALID, "more values than the file has bytes");
    free(ops.bytes);
    free(p.bytes);
}

/* ---- what is refused of TensorFlow ---- */

static void options_of_tensorflow_are_refused_by_name(void **state)
{
    static const struct {
        int arch;
        const char *ops;
        size_t ops_len;
        enum err_code code;
        const char *says;
    } ROWS[] = {
        { 1, OPS(KEY("\x0a", "use_styles") "\x89"), ERR_UNSUPPORTED,
          "use_styles False is not supported; True is" },
        { 1, OPS(KEY("\x0c", "nonlinearity") KEY("\4", "relu")), ERR_UNSUPPORTED,
          "nonlinearity relu" },
        { 1, OPS(KEY("\x0b", "blur_filter") "N"), ERR_UNSUPPORTED, "blur_filter None" },
        { 1, OPS(KEY("\x0b", "blur_filter") "](K\1K\3K\3K\1e"), ERR_UNSUPPORTED,
          "blur_filter [1,3,3,1]" },
        { 1, OPS(KEY("\x0b", "blur_filter") "](K\1K\2K\1e"), ERR_OK, "" },
        { 1, OPS(KEY("\x0e", "use_pixel_norm") "\x88"), ERR_UNSUPPORTED, "use_pixel_norm True" },
        { 1, OPS(KEY("\x0b", "fused_scale") "\x88"), ERR_UNSUPPORTED, "fused_scale True" },
        { 1, OPS(KEY("\x0a", "fmap_decay") "G?\xf0\0\0\0\0\0\0"), ERR_OK, "" },
        { 1, OPS(KEY("\x0a", "fmap_decay") "K\2"), ERR_UNSUPPORTED, "fmap_decay 2" },
        { 1, OPS(KEY("\x0c", "num_channels") "K\1"), ERR_UNSUPPORTED, "num_channels 1" },
        { 1, OPS(KEY("\x0a", "resolution") "K\x0c"), ERR_INVALID, "not a power of two" },
        { 1, OPS(KEY("\x0a", "resolution") "K\0"), ERR_RANGE, "img_resolution" },
        { 1, OPS(KEY("\x11", "dlatent_broadcast") "K\4"), ERR_INVALID, "dlatent_broadcast is 4" },
        { 1, OPS(KEY("\x0c", "architecture") KEY("\4", "skip")), ERR_UNSUPPORTED,
          "architecture skip is not supported: the option is not known" },
        { 1, OPS("K\1K\2"), ERR_UNSUPPORTED, "1 2 is not supported" },
        { 2, OPS(KEY("\x0c", "architecture") KEY("\6", "resnet")), ERR_UNSUPPORTED,
          "architecture resnet" },
        { 2, OPS(KEY("\x0f", "resample_kernel") "N"), ERR_UNSUPPORTED, "resample_kernel None" },
        { 2, OPS(KEY("\x09", "use_noise") "\x89"), ERR_UNSUPPORTED, "use_noise False" },
        { 2, OPS(KEY("\x0d", "mapping_lrmul") "K\1"), ERR_UNSUPPORTED, "mapping_lrmul 1" },
        { 2, OPS(KEY("\x0c", "dlatent_size") "K\3"), ERR_UNSUPPORTED, "mapping_fmaps 2" },
        { 2, OPS(KEY("\x0e", "mapping_layers") "K\2"), ERR_INVALID,
          "\"mapping/Dense1/weight\" is missing" },
        { 2, OPS(KEY("\x0a", "resolution") "K\x08"), ERR_INVALID,
          "\"synthesis/8x8/Conv0_up/weight\" is missing" },
        { 2, OPS(KEY("\x09", "fmap_base") "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"), ERR_INVALID,
          "fmap_base is" },
        { 2, OPS(KEY("\x0a", "conv_clamp") "\x88"), ERR_INVALID, "conv_clamp is True" },
        { 2, OPS(KEY("\x0a", "conv_clamp") "M\0\1"), ERR_OK, "" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        struct kit_net net = { "kwargs", .ops = ROWS[row].ops, .ops_len = ROWS[row].ops_len };
        struct kit_pickle p = ROWS[row].arch == 1 ? kit_pickle_stylegan1(&net)
                                                  : kit_pickle_stylegan2(&net);

        if (ROWS[row].code)
            check_refused(p, ROWS[row].code, ROWS[row].says);
        else
            check_note(p, "img_channels", "3");
    }
}

static void networks_of_another_kind_are_refused(void **state)
{
    (void)state;
    check_refused(kit_pickle_stylegan1(&(struct kit_net){ .version = 6 }), ERR_UNSUPPORTED,
                  "version 6 of network Gs");
    check_refused(kit_pickle_stylegan1(&(struct kit_net){ "Gs", .without = "components" }),
                  ERR_INVALID, "mapping is no network");
    check_refused(kit_pickle_stylegan1(&(struct kit_net){ "Gs", .without = "build_func_name" }),
                  ERR_UNSUPPORTED, "build_func_name None");
    check_refused(kit_pickle_stylegan2(&(struct kit_net){
                      "synthesis", .ops = OPS(KEY("\x0f", "build_func_name")
                                              KEY("\x1c", "G_synthesis_stylegan_revised")) }),
                  ERR_UNSUPPORTED, "build_func_name G_synthesis_stylegan_revised");
    check_refused(kit_pickle_stylegan1(&(struct kit_net){
                      "synthesis", .ops = OPS(KEY("\x0f", "build_func_name")
                                              KEY("\x15", "G_synthesis_stylegan2")) }),
                  ERR_UNSUPPORTED, "build_func_name G_synthesis_stylegan2");
    check_refused(kit_pickle_stylegan2(&(struct kit_net){ .c_dim = 3 }), ERR_UNSUPPORTED,
                  "label_size above 0");
    check_note(kit_pickle_stylegan1(&(struct kit_net){ .c_dim = 3 }), "c_dim", "3");
}

static void level_of_detail_above_0_is_refused(void **state)
{
    static const float LOD[] = { 1.5f };

    (void)state;
    check_refused(kit_pickle_stylegan1(&(struct kit_net){
                      .tensor = { .name = "lod", .data = LOD, .len = 4 } }),
                  ERR_UNSUPPORTED, "lod 1.5 is not supported; 0 is");
    check_refused(kit_pickle_stylegan1(&(struct kit_net){
                      .tensor = { .name = "synthesis/lod", .data = LOD, .len = 4 } }),
                  ERR_UNSUPPORTED, "synthesis/lod 1.5");
}

static void bad_arrays_are_refused_by_name(void **state)
{
    static const float DATA[9] = { 0 };
    static const struct {
        struct kit_tensor tensor;
        enum err_code code;
        const char *says;
    } ROWS[] = {
        { { .storage = "c8" }, ERR_UNSUPPORTED, "dtype c8 is not supported" },
        { { .order = "|" }, ERR_UNSUPPORTED, "no byte order" },
        { { .data = DATA, .len = 15 }, ERR_INVALID, "reaches beyond" },
        { { .data = DATA, .len = 17 }, ERR_INVALID, "17 bytes for 4 values" },
        { { .data = DATA, .len = 20 }, ERR_INVALID, "20 bytes for 4 values" },
        { { .rank = 2, .shape = { -2, 2 } }, ERR_INVALID, "negative size" },
        { { .rank = 2, .shape = { INT64_MAX, 2 } }, ERR_INVALID, "too many values" },
        { { .rank = 2, .shape = { INT64_MAX, 2 }, .columns = 1 }, ERR_INVALID, "too many values" },
        { { .rank = 2, .shape = { 1 << 30, 2 } }, ERR_INVALID, "reaches beyond" },
        { { .rank = 5, .shape = { 1, 1, 1, 2, 2 } }, ERR_INVALID, "has 5 dimensions" },
        { { .ops = OPS("N") }, ERR_INVALID, "it is no array" },
        { { .ops = OPS("cnumpy.core.multiarray\n_reconstruct\n)R") }, ERR_INVALID,
          "it is no array" },
        { { .ops = OPS("cnumpy.core.multiarray\nscalar\n)R") }, ERR_INVALID, "no dtype" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        struct kit_net net = { .tensor = ROWS[row].tensor };

        net.tensor.name = "mapping/Dense0/weight";
        check_refused(kit_pickle_stylegan1(&net), ROWS[row].code, ROWS[row].says);
        check_refused(kit_pickle_stylegan2(&net), ROWS[row].code, "(tensor \"mapping/Dense0/we");
    }
}

/* More variables stand in the place of the first network's dlatent_avg. */
#define SCALAR                                                                                     \
    "cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n" KEY("\x02", "f4")                           \
    "\x89\x88\x87R(K\x03" KEY("\x01", "<") "NNNK\0K\0K\0tbC\x04\0\0\0\0\x86R"

static void names_of_variables_are_checked(void **state)
{
    static const struct {
        const char *ops;
        size_t ops_len;
        const char *says;
    } ROWS[] = {
        { OPS(SCALAR "\x86" KEY("\x0b", "dlatent_avg") SCALAR), "\"dlatent_avg\" is there twice" },
        { OPS(SCALAR "\x86" KEY("\x15", "mapping/Dense0/weight") SCALAR), "is there twice" },
        { OPS(SCALAR "\x86" KEY("\x03", "a\nb") SCALAR), "not printable" },
        { OPS(SCALAR "\x86" KEY("\x03", "a\0b") SCALAR), "variable 2 of \"\" has no valid name" },
        { OPS(SCALAR "\x86K\1" SCALAR), "has no valid name" },
        { OPS(SCALAR "\x86N" KEY("\x01", "a") SCALAR), "has no valid name" },
        { OPS(SCALAR "\x86" KEY("\x15", "mapping/Dense1/weight") SCALAR),
          "there are more mapping layers than 1" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++)
        check_refused(kit_pickle_stylegan1(&(struct kit_net){
                          .tensor = { .name = "dlatent_avg", .ops = ROWS[row].ops,
                                      .ops_len = ROWS[row].ops_len } }),
                      ERR_INVALID, ROWS[row].says);
}

static void arrays_that_cannot_be_converted_are_refused_by_name(void **state)
{
    static const float DATA[64] = { 0 };
    static const struct {
        struct kit_tensor tensor;
        const char *says;
    } ROWS[] = {
        { { .name = "synthesis/noise0", .data = DATA, .len = 64, .rank = 2, .shape = { 4, 4 } },
          "\"synthesis/noise0\" has not the shape" },
        { { .name = "synthesis/noise0", .data = DATA, .len = 64, .rank = 4,
            .shape = { 4, 1, 2, 2 } }, "\"synthesis/noise0\" has not the shape" },
        { { .name = "synthesis/4x4/Const/const", .data = DATA, .len = 64, .rank = 4,
            .shape = { 2, 2, 2, 2 } }, "\"synthesis/4x4/Const/const\" has not the shape" },
        { { .name = "synthesis/4x4/Conv/weight", .data = DATA, .len = 64, .rank = 1,
            .shape = { 16 } }, "\"synthesis/4x4/Conv/weight\" has not the shape" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++)
        check_refused(kit_pickle_stylegan2(&(struct kit_net){ .tensor = ROWS[row].tensor }),
                      ERR_INVALID, ROWS[row].says);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_networks_give_the_notes_and_bits_of_their_safetensors),
        cmocka_unit_test(tensorflow_files_give_the_bits_of_the_same_network_of_pytorch),
        cmocka_unit_test(network_with_g_and_g_ema_in_one_is_read),
        cmocka_unit_test(only_pickles_are_recognised),
        cmocka_unit_test(keys_that_are_missing_take_their_defaults),
        cmocka_unit_test(numbers_of_numpy_are_read_as_notes),
        cmocka_unit_test(offset_and_strides_are_honoured),
        cmocka_unit_test(every_kind_of_storage_is_read),
        cmocka_unit_test(bytes_written_as_text_are_read),
        cmocka_unit_test(every_kind_of_array_is_read),
        cmocka_unit_test(array_from_a_buffer_is_read),
        cmocka_unit_test(style_biases_of_tensorflow_get_their_one),
        cmocka_unit_test(other_pickles_are_refused),
        cmocka_unit_test(storages_of_another_form_are_refused),
        cmocka_unit_test(networks_of_neither_architecture_are_refused),
        cmocka_unit_test(file_cut_anywhere_is_refused),
        cmocka_unit_test(other_classes_and_versions_are_refused),
        cmocka_unit_test(missing_parts_are_named),
        cmocka_unit_test(options_that_change_the_picture_are_refused_by_name),
        cmocka_unit_test(bad_tensors_are_refused_by_name),
        cmocka_unit_test(values_that_are_not_finite_name_the_tensor),
        cmocka_unit_test(names_that_cannot_be_tensors_are_refused),
        cmocka_unit_test(modules_that_hold_themselves_are_refused),
        cmocka_unit_test(storage_that_many_tensors_share_does_not_multiply_it),
        cmocka_unit_test(options_of_tensorflow_are_refused_by_name),
        cmocka_unit_test(networks_of_another_kind_are_refused),
        cmocka_unit_test(level_of_detail_above_0_is_refused),
        cmocka_unit_test(bad_arrays_are_refused_by_name),
        cmocka_unit_test(names_of_variables_are_checked),
        cmocka_unit_test(arrays_that_cannot_be_converted_are_refused_by_name),
    };

    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
