/* Model files: what a good one gives, and that every kind of bad one is refused with words that say
 * what is wrong. Each bad file is a good one (kit_model) with one thing spoiled. */
#include "kernels/model.h"

#include "base/file.h"
#include "tests/kit_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct kit_model_options TINY = { 0 };

/* One of each architecture, with all that it can have. */
static const struct kit_model_options KINDS[] = {
    { .arch = "stylegan1", .c_dim = 2 },
    { .arch = "stylegan2", .c_dim = 2 },
    { .arch = "stylegan3", .c_dim = 2 },
    { .arch = "stylegan3", .radial = true },
};

struct file {
    uint8_t *bytes;
    size_t len;
};

static struct file make(const struct kit_model_options *options)
{
    struct file f;

    f.bytes = kit_model_bytes(options, &f.len);
    return f;
}

static struct model *parse(const struct file *f)
{
    struct model *model;
    struct err e;

    if (model_parse(f->bytes, f->len, &model, &e))
        fail_msg("%s", e.msg);
    return model;
}

/* The file is refused with this code, and the words hold `says`. Frees it. */
static void check_refused(struct file f, enum err_code code, const char *says)
{
    struct model *model = (struct model *)&f;
    struct err e = { 0 };
    enum err_code rc = model_parse(f.bytes, f.len, &model, &e);

    assert_int_equal(rc, code);
    assert_int_equal(e.code, code);
    assert_null(model);
    if (!strstr(e.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    free(f.bytes);
}

/* The tiny file with the first `from` of its header made `to`. */
static void check_edit(const char *from, const char *to, enum err_code code, const char *says)
{
    struct file f = make(&TINY);

    assert_true(kit_model_edit(&f.bytes, &f.len, from, to));
    check_refused(f, code, says);
}

static struct digest digest_with(const struct kit_model_options *options)
{
    struct file f = make(options);
    struct model *model = parse(&f);
    struct digest digest = model_facts(model)->digest;

    model_destroy(&model);
    free(f.bytes);
    return digest;
}

static bool is_digest_of_tiny(const struct kit_model_options *options)
{
    struct digest a = digest_with(&TINY), b = digest_with(options);

    return digest_equal(&a, &b);
}

/* A file of this JSON and so many zero bytes behind it. */
static struct file make_raw(const char *json, size_t data_len)
{
    size_t json_len = strlen(json);
    struct file f = { .bytes = calloc(1, 8 + json_len + data_len), .len = 8 + json_len + data_len };

    assert_non_null(f.bytes);
    for (int i = 0; i < 8; i++)
        f.bytes[i] = (uint8_t)(json_len >> 8 * i);
    memcpy(f.bytes + 8, json, json_len);
    return f;
}

/* ---- good files ---- */

static void shipped_model_gives_its_facts(void **state)
{
    struct model *model;
    struct err e;

    (void)state;
    if (model_open("deploy/models/avatars64.safetensors", &model, &e))
        fail_msg("%s", e.msg);
    const struct model_facts *facts = model_facts(model);

    assert_int_equal(model_arch(model), MODEL_STYLEGAN2);
    assert_string_equal(model_arch_word(model), "stylegan2");
    assert_int_equal(facts->width, 64);
    assert_int_equal(facts->height, 64);
    assert_int_equal(facts->num_ws, 10);
    assert_int_equal(facts->z_dim, 128);
    assert_int_equal(facts->w_dim, 128);
    assert_int_equal(facts->c_dim, 0);
    assert_int_equal(facts->noise_modes, (1 << RECIPE_NOISE_COUNT) - 1);
    assert_false(facts->has_transform);
    assert_string_equal(model_note(model, "licence"), "CC0-1.0");
    assert_null(model_note(model, "no such key"));
    model_destroy(&model);
}

/* These names are in databases: the digest's definition must never change. */
static void digests_are_those_recorded(void **state)
{
    static const struct {
        const char *path, *digest;
    } ROWS[] = {
        { "deploy/models/avatars64.safetensors",
          "4a9f879dadf762235758a47883ce6d9ebc2e129a38ac4d79d2dac6acc74d2572" },
        { "tests/golden/sg2_32/sg2_32.safetensors",
          "3d756d87864d0ba02ea032328bb3bb3ff4f51cf477be248d54e25f1fdc35e1ce" },
        { "tests/golden/sg2_cond_32/sg2_cond_32.safetensors",
          "27e07056e327ad08f123ca6dd74ee3ea0f73fe2fed788485b4b047a092ab3c33" },
        { "tests/golden/sg2_fp16_64/sg2_fp16_64.safetensors",
          "9fcd84fdd2aff45e434235c6687d049cd59732c64e3b5396ed856d9d609f0369" },
        { "tests/golden/sg1_128/sg1_128.safetensors",
          "2c2c6d91fd214618c14c98a021bba77cf3da537e785d18846e4c702779034b13" },
        { "tests/golden/sg1_32/sg1_32.safetensors",
          "9f64a4db1a037b6aebb5151e3f0b59ce98a0ed3edbeb1d2ed47a4c30ec30de9b" },
        { "tests/golden/sg1_cond_16/sg1_cond_16.safetensors",
          "7b4952e400a2500c592b33c20845cd5cce950e8105acd54318d7c90be5a204c2" },
        { "tests/golden/sg2_flat_32/sg2_flat_32.safetensors",
          "b6e702bade9190a1c424b939432b2c254d42193c5fc72364a9f1f7fc6c30ffec" },
        { "tests/golden/sg2_64_z512/sg2_64_z512.pkl",
          "30b05d9fedb3bac4c5b3bfe32d0098ff6c7a54cea370e27266d6502132a51df9" },
        { "tests/golden/sg3r_32/sg3r_32.safetensors",
          "d81e953a5317cb0777933961e4c2f25ebe2601e200d432e77dee9ca167c6d227" },
        { "tests/golden/sg3t_32/sg3t_32.safetensors",
          "88883dcc85aa59b652a8c1bb5caa3cbeff7e5762243ba806c33f0a9c27f3efdd" },
        { "tests/golden/sg3t_64_deep/sg3t_64_deep.safetensors",
          "55a4a2440fd6e25fff7a5626ba90d95b8f2052099207a7cb118e56a2a3f1edf6" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        struct model *model;
        struct err e;

        if (model_open(ROWS[row].path, &model, &e))
            fail_msg("%s", e.msg);
        assert_string_equal(digest_hex(&model_facts(model)->digest).text, ROWS[row].digest);
        model_destroy(&model);
    }
}

/* An official file and its .safetensors hold the same bits; a TensorFlow StyleGAN 2 those of the
 * PyTorch file that it becomes, since 1 is added to its biases as the official converter does. */
static void digest_is_that_of_the_network_not_of_the_file(void **state)
{
    static const char *const ROWS[][2] = {
        { "sg1_32/sg1_32.pkl", "sg1_32/sg1_32.safetensors" },
        { "sg1_128/sg1_128.pkl", "sg1_128/sg1_128.safetensors" },
        { "sg1_cond_16/sg1_cond_16.pkl", "sg1_cond_16/sg1_cond_16.safetensors" },
        { "sg2_32/sg2_32.pkl", "sg2_32/sg2_32.safetensors" },
        { "sg2_cond_32/sg2_cond_32.pkl", "sg2_cond_32/sg2_cond_32.safetensors" },
        { "sg2_flat_32/sg2_flat_32.pkl", "sg2_flat_32/sg2_flat_32.safetensors" },
        { "sg2_fp16_64/sg2_fp16_64.pkl", "sg2_fp16_64/sg2_fp16_64.safetensors" },
        { "sg2_tf_32/sg2_tf_32.pkl", "sg2_32/sg2_32.safetensors" },
        { "sg2_tf_cond_32/sg2_tf_cond_32.pkl", "sg2_cond_32/sg2_cond_32.safetensors" },
        { "sg3r_32/sg3r_32.pkl", "sg3r_32/sg3r_32.safetensors" },
        { "sg3t_32/sg3t_32.pkl", "sg3t_32/sg3t_32.safetensors" },
        { "sg3t_64_deep/sg3t_64_deep.pkl", "sg3t_64_deep/sg3t_64_deep.safetensors" },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        struct digest digest[2];

        for (int i = 0; i < 2; i++) {
            struct model *model;
            struct err e;
            char path[128];

            snprintf(path, sizeof path, "tests/golden/%s", ROWS[row][i]);
            if (model_open(path, &model, &e))
                fail_msg("%s", e.msg);
            digest[i] = model_facts(model)->digest;
            assert_string_equal(model_file_word(model), i == 0 ? "pkl" : "safetensors");
            model_destroy(&model);
        }
        if (!digest_equal(&digest[0], &digest[1]))
            fail_msg("%s is another model than %s", ROWS[row][0], ROWS[row][1]);
    }
}

static void tensors_are_listed_in_name_order_and_found(void **state)
{
    struct file f = make(&TINY);
    struct model *model = parse(&f);

    (void)state;
    for (size_t i = 0; i < model_tensor_count(model); i++) {
        const struct model_tensor *t = model_tensor_at(model, i);

        assert_ptr_equal(model_tensor_find(model, t->name), t);
        assert_true(i == 0 || strcmp(model_tensor_at(model, i - 1)->name, t->name) < 0);
    }
    const struct model_tensor *weight = model_tensor_find(model, "synthesis.b8.conv0.weight");

    assert_int_equal(weight->rank, 4);
    assert_int_equal(weight->shape[2], 3);
    assert_int_equal(weight->count, 4 * 4 * 3 * 3);
    assert_int_equal(model_tensor_find(model, "synthesis.b8.conv0.noise_strength")->rank, 0);
    assert_null(model_tensor_find(model, "mapping.fc9.weight"));
    assert_null(model_tensor_find(model, ""));
    model_destroy(&model);
    free(f.bytes);
}

static void digest_ignores_the_order_of_the_file(void **state)
{
    (void)state;
    assert_true(is_digest_of_tiny(&(struct kit_model_options){ .reversed = true }));
}

static void digest_ignores_optional_metadata(void **state)
{
    (void)state;
    assert_true(is_digest_of_tiny(&(struct kit_model_options){
        .notes = ",\"name\":\"x\",\"licence\":\"y\",\"kimg\":\"1\",\"unknown\":\"z\"" }));
}

static void digest_ignores_tensors_that_are_not_used(void **state)
{
    (void)state;
    assert_true(is_digest_of_tiny(&(struct kit_model_options){
        .entries = ",\"a.b\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[0,0]}" }));
}

static void digest_of_f16_is_that_of_the_same_numbers_in_f32(void **state)
{
    (void)state;
    assert_true(is_digest_of_tiny(&(struct kit_model_options){ .half = true }));
}

static void digest_sees_a_single_changed_weight(void **state)
{
    struct file f = make(&TINY);
    struct digest before = digest_with(&TINY);

    (void)state;
    kit_model_data(f.bytes, f.len, "synthesis.b4.torgb.bias")[2] ^= 1;
    struct model *model = parse(&f);

    assert_false(digest_equal(&before, &model_facts(model)->digest));
    model_destroy(&model);
    free(f.bytes);
}

static void digest_sees_the_clamp(void **state)
{
    struct file f = make(&TINY);
    struct digest before = digest_with(&TINY);

    (void)state;
    assert_true(kit_model_edit(&f.bytes, &f.len, "\"conv_clamp\":\"none\"",
                               "\"conv_clamp\":\"256\""));
    struct model *model = parse(&f);

    assert_false(digest_equal(&before, &model_facts(model)->digest));
    assert_true(model_stylegan2(model)->conv_clamp == 256.0f);
    model_destroy(&model);
    free(f.bytes);
}

static void f16_is_widened_exactly(void **state)
{
    static const struct {
        uint16_t half;
        float wide;
    } ROWS[] = {
        { 0x0000, 0.0f },        { 0x8000, -0.0f },       { 0x3c00, 1.0f },
        { 0xc000, -2.0f },       { 0x7bff, 65504.0f },    { 0x0400, 0x1p-14f },
        { 0x0001, 0x1p-24f },    { 0x8001, -0x1p-24f },   { 0x03ff, 0x3ffp-24f },
        { 0x0200, 0x1p-15f },    { 0x3555, 0x1.554p-2f }, { 0xfbff, -65504.0f },
    };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        struct file f = make(&(struct kit_model_options){ .half = true });
        uint8_t *at = kit_model_data(f.bytes, f.len, "mapping.w_avg");

        at[0] = (uint8_t)ROWS[row].half;
        at[1] = (uint8_t)(ROWS[row].half >> 8);
        struct model *model = parse(&f);

        assert_memory_equal(model_tensor_find(model, "mapping.w_avg")->data, &ROWS[row].wide, 4);
        model_destroy(&model);
        free(f.bytes);
    }
}

static void header_may_end_in_spaces(void **state)
{
    struct file f = make(&(struct kit_model_options){ .entries = "" });

    (void)state;
    assert_true(kit_model_edit(&f.bytes, &f.len, "{\"__metadata__\"", " \n{\"__metadata__\""));
    struct model *model = parse(&f);

    model_destroy(&model);
    model_destroy(&model);      /* NULL is fine */
    free(f.bytes);
}

static void conditional_model_has_its_classes(void **state)
{
    struct file f = make(&(struct kit_model_options){ .c_dim = 3 });
    struct model *model = parse(&f);

    (void)state;
    assert_int_equal(model_facts(model)->c_dim, 3);
    assert_int_equal(model_tensor_find(model, "mapping.embed.weight")->count, 12);
    model_destroy(&model);
    free(f.bytes);
}

/* ---- StyleGAN 1 and 3 ---- */

static void each_architecture_gives_its_facts(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(KINDS); k++) {
        struct file f = make(&KINDS[k]);
        struct model *model = parse(&f);
        const struct model_facts *facts = model_facts(model);
        bool is3 = strcmp(KINDS[k].arch, "stylegan3") == 0;

        assert_string_equal(model_arch_word(model), KINDS[k].arch);
        assert_string_equal(model_file_word(model), "safetensors");
        assert_int_equal(model_stylegan1(model) != NULL, k == 0);
        assert_int_equal(model_stylegan2(model) != NULL, k == 1);
        assert_int_equal(model_stylegan3(model) != NULL, is3);
        assert_int_equal(facts->width, 8);
        assert_int_equal(facts->height, 8);
        assert_int_equal(facts->num_ws, is3 ? 5 : 4);
        assert_int_equal(facts->c_dim, KINDS[k].c_dim);
        assert_true(facts->noise_modes & 1u << RECIPE_NOISE_NONE);
        assert_int_equal(facts->noise_modes >> RECIPE_NOISE_CONST & 1, !is3);
        model_destroy(&model);
        free(f.bytes);
    }
}

/* What decides the pixels and shows in no shape. */
static void digest_sees_the_keys_of_stylegan3(void **state)
{
    static const char *const EDITS[][2] = {
        { "\"output_scale\":\"0.25\"", "\"output_scale\":\"0.5\"" },
        { "\"first_cutoff\":\"1\"", "\"first_cutoff\":\"1.0000000000000002\"" },
        { "\"first_stopband\":\"1.5\"", "\"first_stopband\":\"1.6\"" },
        { "\"last_stopband_rel\":\"1.25\"", "\"last_stopband_rel\":\"1.5\"" },
        { "\"conv_clamp\":\"256\"", "\"conv_clamp\":\"none\"" },
    };
    const struct kit_model_options options = { .arch = "stylegan3" };
    struct digest before = digest_with(&options);

    (void)state;
    for (size_t i = 0; i < COUNT(EDITS); i++) {
        struct file f = make(&options);

        assert_true(kit_model_edit(&f.bytes, &f.len, EDITS[i][0], EDITS[i][1]));
        struct model *model = parse(&f);

        assert_false(digest_equal(&before, &model_facts(model)->digest));
        model_destroy(&model);
        free(f.bytes);
    }
}

static void digest_sees_no_other_way_to_write_a_number(void **state)
{
    const struct kit_model_options options = { .arch = "stylegan3" };
    struct digest before = digest_with(&options);
    struct file f = make(&options);

    (void)state;
    assert_true(kit_model_edit(&f.bytes, &f.len, "\"0.25\"", "\"2.50e-01\""));
    assert_true(kit_model_edit(&f.bytes, &f.len, "\"256\"", "\"256.0\""));
    assert_true(kit_model_edit(&f.bytes, &f.len, "num_fp16_res\":\"4", "num_fp16_res\":\"0"));
    struct model *model = parse(&f);

    assert_true(digest_equal(&before, &model_facts(model)->digest));
    model_destroy(&model);
    free(f.bytes);
}

static void network_that_is_not_fully_grown_is_refused(void **state)
{
    static const char *const NAMES[] = { "lod", "synthesis/lod" };

    (void)state;
    for (size_t i = 0; i < COUNT(NAMES); i++) {
        struct file f;
        struct err e;

        assert_int_equal(file_read("tests/golden/sg1_cond_16/sg1_cond_16.safetensors", 1 << 20,
                                   &f.bytes, &f.len, &e), ERR_OK);
        kit_model_data(f.bytes, f.len, NAMES[i])[3] = 0x3f;   /* 0.5 */
        check_refused(f, ERR_UNSUPPORTED, NAMES[i]);
    }
}

/* ---- writing ---- */

static struct file format(const struct model *model)
{
    struct file f;
    struct err e;

    if (model_format(model, &f.bytes, &f.len, &e))
        fail_msg("%s", e.msg);
    return f;
}

static void what_is_written_is_the_same_model(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(KINDS); k++) {
        struct kit_model_options options = KINDS[k];

        options.notes = ",\"name\":\"\\u0001 \\\"\\\\ \u00fc\",\"unknown\":\"\"";
        options.entries = ",\"a.b\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[0,0]}";
        options.half = true;
        struct file in = make(&options);
        struct model *model = parse(&in);
        struct file out = format(model);
        struct model *again = parse(&out);
        struct file twice = format(again);

        assert_true(digest_equal(&model_facts(model)->digest, &model_facts(again)->digest));
        assert_string_equal(model_note(again, "name"), "\001 \"\\ \u00fc");
        assert_string_equal(model_note(again, "unknown"), "");
        assert_int_equal(out.len, twice.len);
        assert_memory_equal(out.bytes, twice.bytes, out.len);
        assert_int_equal((8 + out.bytes[0] + 256 * out.bytes[1]) % 64, 0);
        model_destroy(&model);
        model_destroy(&again);
        free(in.bytes);
        free(out.bytes);
        free(twice.bytes);
    }
}

static void dropped_values_leave_everything_else(void **state)
{
    struct file f = make(&TINY);
    struct model *model = parse(&f);
    struct digest digest = model_facts(model)->digest;
    struct err e;

    (void)state;
    model_drop_values(model);
    model_drop_values(model);       /* again is fine */
    for (size_t i = 0; i < model_tensor_count(model); i++)
        assert_null(model_tensor_at(model, i)->data);
    assert_int_equal(model_tensor_find(model, "mapping.fc0.weight")->count, 16);
    assert_true(digest_equal(&digest, &model_facts(model)->digest));
    assert_string_equal(model_note(model, "arch"), "stylegan2");
    free(f.bytes);
    f.bytes = (uint8_t *)&f;
    assert_int_equal(model_format(model, &f.bytes, &f.len, &e), ERR_BUG);
    assert_null(f.bytes);
    model_destroy(&model);
}

/* ---- files that end too early or too late ---- */

static void missing_file_is_named(void **state)
{
    struct model *model;
    struct err e;

    (void)state;
    assert_int_equal(model_open("tests/no-such.safetensors", &model, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "tests/no-such.safetensors"));
    assert_null(model);
    assert_int_equal(model_open("tests", &model, &e), ERR_FILE);
}

static void bad_file_is_named_with_the_reason(void **state)
{
    struct model *model;
    struct err e;

    (void)state;
    assert_int_equal(model_open("tests/golden/sg2_32/cases.tsv", &model, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "cases.tsv"));
    assert_non_null(strstr(e.msg, "header"));
}

static void file_cut_anywhere_is_refused(void **state)
{
    struct file f = make(&TINY);

    (void)state;
    for (size_t len = 0; len < f.len; len++) {
        uint8_t *cut = malloc(len ? len : 1);   /* of its own, so that ASan sees one byte too far */
        struct model *model;
        struct err e;

        assert_non_null(cut);
        memcpy(cut, f.bytes, len);
        enum err_code rc = model_parse(cut, len, &model, &e);

        assert_true(rc == ERR_FILE || rc == ERR_INVALID);
        assert_null(model);
        free(cut);
    }
    free(f.bytes);
}

static void file_without_a_whole_length_is_refused(void **state)
{
    struct file f = make(&TINY);

    (void)state;
    f.len = 7;
    check_refused(f, ERR_FILE, "too few");
}

static void file_that_ends_in_its_header_is_refused(void **state)
{
    struct file f = make(&TINY);

    (void)state;
    f.len = 100;
    check_refused(f, ERR_FILE, "ends inside its header");
}

static void file_that_ends_in_its_data_is_refused(void **state)
{
    struct file f = make(&TINY);

    (void)state;
    f.len -= 1;
    check_refused(f, ERR_FILE, "ends behind the end");
}

static void bytes_behind_the_last_tensor_are_refused(void **state)
{
    struct file f = make(&TINY);

    (void)state;
    f.bytes = realloc(f.bytes, f.len + 3);
    assert_non_null(f.bytes);
    memset(f.bytes + f.len, 0, 3);
    f.len += 3;
    check_refused(f, ERR_INVALID, "3 bytes follow");
}

/* ---- headers ---- */

static void header_length_that_lies_is_refused(void **state)
{
    struct file f = make(&TINY);

    (void)state;
    memset(f.bytes, 0xff, 8);
    check_refused(f, ERR_INVALID, "header's length");
    f = make(&TINY);
    f.bytes[3] = 0x02;          /* 32 MiB */
    check_refused(f, ERR_INVALID, "header's length");
    f = make(&TINY);
    memset(f.bytes, 0, 8);
    check_refused(f, ERR_INVALID, "header's length");
}

static void header_that_is_no_json_is_refused(void **state)
{
    (void)state;
    check_edit("{\"__metadata__\"", "{\"__metadata__", ERR_INVALID, "not valid JSON");
    check_edit("{\"__metadata__\"", "}\"__metadata__\"", ERR_INVALID, "not valid JSON");
}

static void header_with_something_behind_its_json_is_refused(void **state)
{
    (void)state;
    check_refused(make_raw("{} x", 0), ERR_INVALID, "not valid JSON");
}

static void header_that_is_no_object_is_refused(void **state)
{
    (void)state;
    check_refused(make_raw("[1]", 0), ERR_INVALID, "not a JSON object");
    check_refused(make_raw("12", 0), ERR_INVALID, "not a JSON object");
}

static void header_of_too_many_values_is_refused_before_it_is_read(void **state)
{
    enum { COMMAS = 200000 };
    char *json = malloc(COMMAS + 3);

    (void)state;
    assert_non_null(json);
    memset(json, ',', COMMAS);
    json[0] = '[';
    json[COMMAS] = ']';
    json[COMMAS + 1] = '\0';
    check_refused(make_raw(json, 0), ERR_INVALID, "values");
    free(json);
}

static void header_of_too_many_tensors_is_refused(void **state)
{
    enum { TENSORS = 8300, ENTRY = 64 };
    char *json = malloc((size_t)TENSORS * ENTRY), *at = json;

    (void)state;
    assert_non_null(json);
    *at++ = '{';
    for (int i = 0; i < TENSORS; i++)
        at += sprintf(at, "%s\"%d\":{\"dtype\":\"U8\"}", i ? "," : "", i);
    strcpy(at, "}");
    check_refused(make_raw(json, 0), ERR_INVALID, "more than 8192 tensors");
    free(json);
}

static void header_nested_too_deep_is_refused(void **state)
{
    char json[4096];

    (void)state;
    memset(json, '[', sizeof json - 1);
    json[sizeof json - 1] = '\0';
    check_refused(make_raw(json, 0), ERR_INVALID, "not valid JSON");
}

/* ---- entries of tensors ---- */

static void unknown_dtype_is_refused(void **state)
{
    (void)state;
    check_edit("\"F32\"", "\"Q4_0\"", ERR_UNSUPPORTED, "no known dtype");
    check_edit("\"F32\"", "7", ERR_UNSUPPORTED, "no known dtype");
}

static void other_dtype_of_a_used_tensor_is_refused(void **state)
{
    (void)state;
    check_edit("\"F32\"", "\"I32\"", ERR_UNSUPPORTED, "is I32; F32 and F16 are supported");
}

static void dimension_that_is_no_whole_number_is_refused(void **state)
{
    (void)state;
    check_edit("\"shape\":[4", "\"shape\":[-4", ERR_INVALID, "not a whole number");
    check_edit("\"shape\":[4", "\"shape\":[4.5", ERR_INVALID, "not a whole number");
    check_edit("\"shape\":[4", "\"shape\":[1e300", ERR_INVALID, "not a whole number");
    check_edit("\"shape\":[4", "\"shape\":[\"4\"", ERR_INVALID, "not a whole number");
    check_edit("\"shape\":[4", "\"shape\":[null", ERR_INVALID, "not a whole number");
}

static void shape_whose_product_overflows_is_refused(void **state)
{
    (void)state;
    check_edit("\"shape\":[4", "\"shape\":[4294967296,4294967296,4", ERR_INVALID,
               "too many values");
    check_edit("\"shape\":[4", "\"shape\":[4611686018427387904,4", ERR_INVALID,
               "not a whole number");
    check_edit("\"shape\":[4", "\"shape\":[4503599627370496,1024", ERR_INVALID, "disagree");
}

static void shape_of_too_many_dimensions_is_refused(void **state)
{
    (void)state;
    check_edit("\"shape\":[4", "\"shape\":[1,1,1,1,1,1,1,1,4", ERR_INVALID, "dimensions");
}

static void missing_shape_is_refused(void **state)
{
    (void)state;
    check_edit("\"shape\":[4", "\"shapes\":[4", ERR_INVALID, "has no shape");
}

static void offsets_that_are_malformed_are_refused(void **state)
{
    (void)state;
    check_edit("\"data_offsets\":[0,", "\"data_offsets\":[-1,", ERR_INVALID, "data_offsets");
    check_edit("\"data_offsets\":[0,", "\"data_offsets\":[0.5,", ERR_INVALID, "data_offsets");
    check_edit("\"data_offsets\":[0,", "\"data_offsets\":[0,0,", ERR_INVALID, "data_offsets");
    check_edit("\"data_offsets\":[0,", "\"data_offsets\":[99999,", ERR_INVALID, "data_offsets");
    check_edit("\"data_offsets\"", "\"data_offset\"", ERR_INVALID, "data_offsets");
}

static void offsets_behind_the_file_are_refused(void **state)
{
    (void)state;
    check_edit("\"data_offsets\":[0,", "\"data_offsets\":[0,999999", ERR_FILE, "behind the end");
    check_edit("\"data_offsets\":[0,", "\"data_offsets\":[0,900719925474099", ERR_INVALID,
               "data_offsets");
}

static void offsets_that_contradict_the_shape_are_refused(void **state)
{
    (void)state;
    check_edit("\"shape\":[4]", "\"shape\":[5]", ERR_INVALID, "disagree");
    check_edit("\"shape\":[4]", "\"shape\":[0]", ERR_INVALID, "disagree");
}

static void tensors_that_overlap_are_refused(void **state)
{
    (void)state;
    check_refused(make_raw("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                           "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6),
                  ERR_INVALID, "\"b\" overlaps another");
    check_refused(make_raw("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                           "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4),
                  ERR_INVALID, "overlaps another");
}

static void bytes_between_tensors_are_refused(void **state)
{
    (void)state;
    check_refused(make_raw("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                           "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[5,9]}}", 9),
                  ERR_INVALID, "\"b\" follows bytes that no tensor has");
}

static void tensor_that_is_there_twice_is_refused(void **state)
{
    (void)state;
    check_refused(make_raw("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                           "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", 8),
                  ERR_INVALID, "\"a\" is there twice");
}

static void name_that_cannot_be_printed_is_refused(void **state)
{
    (void)state;
    check_refused(make_raw("{\"\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1),
                  ERR_INVALID, "name");
    check_refused(make_raw("{\"a\\n\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1),
                  ERR_INVALID, "name");
}

static void entry_that_is_no_object_is_refused(void **state)
{
    (void)state;
    check_refused(make_raw("{\"a\":5}", 0), ERR_UNSUPPORTED, "no known dtype");
    check_refused(make_raw("{\"a\":[1,2]}", 0), ERR_UNSUPPORTED, "no known dtype");
}

/* ---- metadata ---- */

static void missing_metadata_is_refused(void **state)
{
    (void)state;
    check_refused(make_raw("{}", 0), ERR_INVALID, "lacks \"arch\"");
}

static void metadata_that_is_no_object_of_strings_is_refused(void **state)
{
    (void)state;
    check_edit("\"z_dim\":\"4\"", "\"z_dim\":4", ERR_INVALID, "\"z_dim\" is not a string");
    check_refused(make_raw("{\"__metadata__\":[]}", 0), ERR_INVALID, "not an object");
}

static void metadata_key_that_is_there_twice_is_refused(void **state)
{
    (void)state;
    check_edit("\"c_dim\":\"0\"", "\"c_dim\":\"0\",\"c_dim\":\"1\"", ERR_INVALID,
               "\"c_dim\" twice");
    check_edit("{\"__metadata__\"", "{\"__metadata__\":{},\"__metadata__\"", ERR_INVALID, "twice");
}

static void each_missing_key_is_named(void **state)
{
    static const char *const KEYS[] = {
        "arch", "z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "num_ws",
        "mapping_layers", "channel_base", "channel_max", "architecture", "resample_filter",
        "conv_clamp", "num_fp16_res",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(KEYS); i++) {
        char from[64], to[64], says[64];

        snprintf(from, sizeof from, "\"%s\":", KEYS[i]);
        snprintf(to, sizeof to, "\"no_%s\":", KEYS[i]);
        snprintf(says, sizeof says, "lacks \"%s\"", KEYS[i]);
        check_edit(from, to, ERR_INVALID, says);
    }
}

static void numbers_that_are_malformed_are_refused(void **state)
{
    static const char *const BAD[] = { "", " 4", "4 ", "+4", "04", "4.0", "0x4", "four",
                                       "99999999999999999999" };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        char to[64];

        snprintf(to, sizeof to, "\"z_dim\":\"%s\"", BAD[i]);
        check_edit("\"z_dim\":\"4\"", to, ERR_INVALID, "\"z_dim\"");
    }
}

static void numbers_out_of_bounds_are_refused(void **state)
{
    (void)state;
    check_edit("\"z_dim\":\"4\"", "\"z_dim\":\"0\"", ERR_RANGE, "\"z_dim\"");
    check_edit("\"z_dim\":\"4\"", "\"z_dim\":\"-4\"", ERR_RANGE, "\"z_dim\"");
    check_edit("\"z_dim\":\"4\"", "\"z_dim\":\"1000000\"", ERR_RANGE, "\"z_dim\"");
    check_edit("\"w_dim\":\"4\"", "\"w_dim\":\"4097\"", ERR_RANGE, "\"w_dim\"");
    check_edit("\"c_dim\":\"0\"", "\"c_dim\":\"65537\"", ERR_RANGE, "\"c_dim\"");
    check_edit("_resolution\":\"8\"", "_resolution\":\"8192\"", ERR_RANGE, "\"img_resolution\"");
    check_edit("_resolution\":\"8\"", "_resolution\":\"2\"", ERR_RANGE, "\"img_resolution\"");
    check_edit("_layers\":\"2\"", "_layers\":\"33\"", ERR_RANGE, "\"mapping_layers\"");
    check_edit("_layers\":\"2\"", "_layers\":\"0\"", ERR_RANGE, "\"mapping_layers\"");
    check_edit("_max\":\"4\"", "_max\":\"5000\"", ERR_RANGE, "\"channel_max\"");
    check_edit("_base\":\"32\"", "_base\":\"99999999\"", ERR_RANGE, "\"channel_base\"");
}

static void numbers_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    check_edit("_resolution\":\"8\"", "_resolution\":\"12\"", ERR_INVALID, "power of two");
    check_edit("_resolution\":\"8\"", "_resolution\":\"16\"", ERR_INVALID, "num_ws");
    check_edit("\"num_ws\":\"4\"", "\"num_ws\":\"5\"", ERR_INVALID, "num_ws");
    check_edit("_base\":\"32\"", "_base\":\"7\"", ERR_INVALID, "channel_base");
}

static void clamp_that_is_no_number_above_0_is_refused(void **state)
{
    (void)state;
    check_edit("clamp\":\"none\"", "clamp\":\"None\"", ERR_INVALID, "conv_clamp");
    check_edit("clamp\":\"none\"", "clamp\":\"0\"", ERR_INVALID, "conv_clamp");
    check_edit("clamp\":\"none\"", "clamp\":\"-1\"", ERR_INVALID, "conv_clamp");
    check_edit("clamp\":\"none\"", "clamp\":\"nan\"", ERR_INVALID, "conv_clamp");
}

static void other_architectures_are_refused_by_name(void **state)
{
    (void)state;
    check_edit("\"stylegan2\"", "\"biggan\"", ERR_UNSUPPORTED,
               "architecture \"biggan\" is not known");
    check_edit("\"stylegan2\"", "\"stylegan1\"", ERR_INVALID, "lacks \"mapping_fmaps\"");
    check_edit("\"stylegan2\"", "\"stylegan3\"", ERR_INVALID, "lacks \"num_layers\"");
}

static void other_forms_of_stylegan2_are_refused_by_name(void **state)
{
    (void)state;
    check_edit("\"skip\"", "\"resnet\"", ERR_UNSUPPORTED, "architecture \"resnet\"");
    check_edit("\"1,3,3,1\"", "\"1,2,1\"", ERR_UNSUPPORTED, "resample_filter \"1,2,1\"");
    check_edit("img_channels\":\"3\"", "img_channels\":\"1\"", ERR_UNSUPPORTED, "img_channels 1");
}

/* ---- tensors ---- */

static void each_missing_tensor_is_named(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(KINDS); k++) {
        struct file f = make(&KINDS[k]);
        struct model *model = parse(&f);

        for (size_t i = 0; i < model_tensor_count(model); i++) {
            struct file spoiled = make(&KINDS[k]);
            char from[80], says[96];

            snprintf(from, sizeof from, "\"%s\":", model_tensor_at(model, i)->name);
            snprintf(says, sizeof says, "tensor \"%s\" is missing",
                     model_tensor_at(model, i)->name);
            assert_true(kit_model_edit(&spoiled.bytes, &spoiled.len, from, "\"other\":"));
            check_refused(spoiled, ERR_INVALID, says);
        }
        model_destroy(&model);
        free(f.bytes);
    }
}

static void wrong_shapes_are_named_with_the_right_one(void **state)
{
    (void)state;
    check_edit("\"shape\":[4,4,3,3]", "\"shape\":[4,36]", ERR_INVALID, "the shape [4,4,3,3]");
    check_edit("\"shape\":[4,4,3,3]", "\"shape\":[3,4,4,3]", ERR_INVALID, "the shape [4,4,3,3]");
    check_edit("\"shape\":[]", "\"shape\":[1]", ERR_INVALID, "the shape []");
}

static void values_that_are_not_finite_are_refused(void **state)
{
    static const uint32_t BAD[] = { 0x7fc00000u, 0x7f800000u, 0xff800000u, 0x7f800001u,
                                    0xffffffffu };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        struct file f = make(&TINY);
        uint8_t *at = kit_model_data(f.bytes, f.len, "synthesis.b8.conv1.weight");

        for (int b = 0; b < 4; b++)
            at[4 * 143 + b] = (uint8_t)(BAD[i] >> 8 * b);   /* the tensor's last value */
        check_refused(f, ERR_INVALID,
                      "tensor \"synthesis.b8.conv1.weight\" holds a value that is not finite");
    }
}

static void f16_values_that_are_not_finite_are_refused(void **state)
{
    static const uint16_t BAD[] = { 0x7c00, 0xfc00, 0x7e00, 0x7c01 };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        struct file f = make(&(struct kit_model_options){ .half = true });
        uint8_t *at = kit_model_data(f.bytes, f.len, "mapping.fc1.bias");

        at[0] = (uint8_t)BAD[i];
        at[1] = (uint8_t)(BAD[i] >> 8);
        check_refused(f, ERR_INVALID, "\"mapping.fc1.bias\" holds a value that is not finite");
    }
}

/* w_avg is looked for by its bytes: G and G_ema have their own. */
static void values_of_a_pkl_that_are_not_finite_are_refused(void **state)
{
    static const struct {
        const char *path, *tensor;
    } ROWS[] = { { "tests/golden/sg3t_32/sg3t_32", "mapping.w_avg" },
                 { "tests/golden/sg1_32/sg1_32", "dlatent_avg" } };

    (void)state;
    for (size_t row = 0; row < COUNT(ROWS); row++) {
        char path[64], says[96];
        struct model *model;
        struct file f;
        struct err e;

        snprintf(path, sizeof path, "%s.safetensors", ROWS[row].path);
        assert_int_equal(model_open(path, &model, &e), ERR_OK);
        const struct model_tensor *t = model_tensor_find(model, ROWS[row].tensor);

        snprintf(path, sizeof path, "%s.pkl", ROWS[row].path);
        assert_int_equal(file_read(path, 1 << 22, &f.bytes, &f.len, &e), ERR_OK);
        uint8_t *at = memmem(f.bytes, f.len, t->data, 4 * t->count);

        assert_non_null(at);
        memcpy(at + 4, &(uint32_t){ 0x7fc00000u }, 4);
        model_destroy(&model);
        snprintf(says, sizeof says, "tensor \"%s\"", ROWS[row].tensor);
        check_refused(f, ERR_INVALID, says);
    }
}

static void what_people_take_for_a_model_is_called_what_it_is(void **state)
{
    static const struct {
        const char *begins, *words;
    } CASES[] = {
        { "PK\3\4", "this is a zip file, as torch.save writes it" },
        { "<!DOCTYPE html>\n", "this is a web page" },
        { "<!doctype html>\n", "this is a web page" },
        { "<html>", "this is a web page" },
        { "version https://git-lfs.github.com/spec/v1\noid sha256:", "a pointer of Git LFS" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct file f = make(&TINY);

        memcpy(f.bytes, CASES[i].begins, strlen(CASES[i].begins));
        check_refused(f, ERR_UNSUPPORTED, CASES[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_people_take_for_a_model_is_called_what_it_is),
        cmocka_unit_test(shipped_model_gives_its_facts),
        cmocka_unit_test(digests_are_those_recorded),
        cmocka_unit_test(digest_is_that_of_the_network_not_of_the_file),
        cmocka_unit_test(tensors_are_listed_in_name_order_and_found),
        cmocka_unit_test(digest_ignores_the_order_of_the_file),
        cmocka_unit_test(digest_ignores_optional_metadata),
        cmocka_unit_test(digest_ignores_tensors_that_are_not_used),
        cmocka_unit_test(digest_of_f16_is_that_of_the_same_numbers_in_f32),
        cmocka_unit_test(digest_sees_a_single_changed_weight),
        cmocka_unit_test(digest_sees_the_clamp),
        cmocka_unit_test(f16_is_widened_exactly),
        cmocka_unit_test(header_may_end_in_spaces),
        cmocka_unit_test(conditional_model_has_its_classes),
        cmocka_unit_test(each_architecture_gives_its_facts),
        cmocka_unit_test(digest_sees_the_keys_of_stylegan3),
        cmocka_unit_test(digest_sees_no_other_way_to_write_a_number),
        cmocka_unit_test(network_that_is_not_fully_grown_is_refused),
        cmocka_unit_test(what_is_written_is_the_same_model),
        cmocka_unit_test(dropped_values_leave_everything_else),
        cmocka_unit_test(missing_file_is_named),
        cmocka_unit_test(bad_file_is_named_with_the_reason),
        cmocka_unit_test(file_cut_anywhere_is_refused),
        cmocka_unit_test(file_without_a_whole_length_is_refused),
        cmocka_unit_test(file_that_ends_in_its_header_is_refused),
        cmocka_unit_test(file_that_ends_in_its_data_is_refused),
        cmocka_unit_test(bytes_behind_the_last_tensor_are_refused),
        cmocka_unit_test(header_length_that_lies_is_refused),
        cmocka_unit_test(header_that_is_no_json_is_refused),
        cmocka_unit_test(header_with_something_behind_its_json_is_refused),
        cmocka_unit_test(header_that_is_no_object_is_refused),
        cmocka_unit_test(header_of_too_many_values_is_refused_before_it_is_read),
        cmocka_unit_test(header_of_too_many_tensors_is_refused),
        cmocka_unit_test(header_nested_too_deep_is_refused),
        cmocka_unit_test(unknown_dtype_is_refused),
        cmocka_unit_test(other_dtype_of_a_used_tensor_is_refused),
        cmocka_unit_test(dimension_that_is_no_whole_number_is_refused),
        cmocka_unit_test(shape_whose_product_overflows_is_refused),
        cmocka_unit_test(shape_of_too_many_dimensions_is_refused),
        cmocka_unit_test(missing_shape_is_refused),
        cmocka_unit_test(offsets_that_are_malformed_are_refused),
        cmocka_unit_test(offsets_behind_the_file_are_refused),
        cmocka_unit_test(offsets_that_contradict_the_shape_are_refused),
        cmocka_unit_test(tensors_that_overlap_are_refused),
        cmocka_unit_test(bytes_between_tensors_are_refused),
        cmocka_unit_test(tensor_that_is_there_twice_is_refused),
        cmocka_unit_test(name_that_cannot_be_printed_is_refused),
        cmocka_unit_test(entry_that_is_no_object_is_refused),
        cmocka_unit_test(missing_metadata_is_refused),
        cmocka_unit_test(metadata_that_is_no_object_of_strings_is_refused),
        cmocka_unit_test(metadata_key_that_is_there_twice_is_refused),
        cmocka_unit_test(each_missing_key_is_named),
        cmocka_unit_test(numbers_that_are_malformed_are_refused),
        cmocka_unit_test(numbers_out_of_bounds_are_refused),
        cmocka_unit_test(numbers_that_contradict_each_other_are_refused),
        cmocka_unit_test(clamp_that_is_no_number_above_0_is_refused),
        cmocka_unit_test(other_architectures_are_refused_by_name),
        cmocka_unit_test(other_forms_of_stylegan2_are_refused_by_name),
        cmocka_unit_test(each_missing_tensor_is_named),
        cmocka_unit_test(wrong_shapes_are_named_with_the_right_one),
        cmocka_unit_test(values_that_are_not_finite_are_refused),
        cmocka_unit_test(f16_values_that_are_not_finite_are_refused),
        cmocka_unit_test(values_of_a_pkl_that_are_not_finite_are_refused),
    };

    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
