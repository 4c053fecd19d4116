/* Architectures as data: the layers of StyleGAN 3 against the sizes that the official code gives
 * its networks, and numbers of which no network can be made. */
#include "kernels/stylegan1_arch.h"
#include "kernels/stylegan3_arch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct note {
    const char *key, *value;
};

/* What the official code takes for 1024 pixels. */
static const struct note STYLEGAN3_T[] = {
    { "z_dim", "512" },           { "c_dim", "0" },
    { "w_dim", "512" },           { "img_resolution", "1024" },
    { "img_channels", "3" },      { "num_ws", "16" },
    { "mapping_layers", "2" },    { "channel_base", "32768" },
    { "channel_max", "512" },     { "num_layers", "14" },
    { "num_critical", "2" },      { "first_cutoff", "2" },
    { "first_stopband", "4.2870938501451725" },
    { "last_stopband_rel", "1.2311444133449163" },
    { "margin_size", "10" },      { "output_scale", "0.25" },
    { "num_fp16_res", "4" },      { "conv_kernel", "3" },
    { "use_radial_filters", "false" },
    { "filter_size", "6" },       { "lrelu_upsampling", "2" },
    { "conv_clamp", "256" },
};

static const struct note STYLEGAN1[] = {
    { "z_dim", "512" },        { "c_dim", "0" },          { "w_dim", "512" },
    { "img_resolution", "1024" }, { "img_channels", "3" }, { "num_ws", "18" },
    { "mapping_layers", "8" }, { "mapping_fmaps", "512" }, { "fmap_base", "8192" },
    { "fmap_max", "512" },
};

/* The notes of table, but for those keys that changes names. For notes_destroy(). */
static struct notes *notes_with(const struct note *table, size_t rows, const struct note *changes,
                                size_t count)
{
    struct notes *notes = notes_create();
    struct err e;

    assert_non_null(notes);
    for (size_t i = 0; i < rows; i++) {
        const char *value = table[i].value;

        for (size_t k = 0; k < count; k++)
            if (strcmp(changes[k].key, table[i].key) == 0)
                value = changes[k].value;
        if (value)
            assert_int_equal(notes_add(notes, table[i].key, value, &e), ERR_OK);
    }
    return notes;
}

static struct stylegan3_arch stylegan3_with(const struct note *changes, size_t count)
{
    struct notes *notes = notes_with(STYLEGAN3_T, COUNT(STYLEGAN3_T), changes, count);
    struct stylegan3_arch arch;
    struct err e;

    if (stylegan3_arch_read(notes, &arch, &e))
        fail_msg("%s", e.msg);
    notes_destroy(&notes);
    return arch;
}

/* The one change is refused with this code, and the words hold `says`. */
static void check_stylegan3(const char *key, const char *value, enum err_code code,
                            const char *says)
{
    struct note change = { key, value };
    struct notes *notes = notes_with(STYLEGAN3_T, COUNT(STYLEGAN3_T), &change, 1);
    struct stylegan3_arch arch;
    struct err e = { 0 };

    if (stylegan3_arch_read(notes, &arch, &e) != code || !strstr(e.msg, says))
        fail_msg("%s %s: code %d, \"%s\"", key, value ? value : "missing", e.code, e.msg);
    notes_destroy(&notes);
}

static size_t parameters(const struct tensor_need *need, size_t count)
{
    size_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        size_t values = 1;

        for (int d = 0; d < need[i].rank; d++)
            values *= (size_t)need[i].shape[d];
        sum += values;
    }
    return sum;
}

static const char *const NAMES_T[] = {
    "L0_36_512",   "L1_36_512",   "L2_52_512",   "L3_52_512",  "L4_84_512",
    "L5_148_512",  "L6_148_512",  "L7_276_323",  "L8_276_203", "L9_532_128",
    "L10_1044_81", "L11_1044_51", "L12_1044_32", "L13_1024_32", "L14_1024_3",
};
static const char *const NAMES_R[] = {
    "L0_36_1024",   "L1_36_1024",   "L2_52_1024",  "L3_52_1024",  "L4_84_1024",
    "L5_148_1024",  "L6_148_1024",  "L7_276_645",  "L8_276_406",  "L9_532_256",
    "L10_1044_161", "L11_1044_102", "L12_1044_64", "L13_1024_64", "L14_1024_3",
};
static const int UP[] = { 2, 2, 4, 2, 4, 4, 2, 4, 2, 4, 4, 2, 2, 2, 1 };

static void layers_of_t_at_1024_are_the_official_ones(void **state)
{
    struct stylegan3_arch a = stylegan3_with(NULL, 0);
    struct tensor_need need[ARCH_TENSORS_MAX];

    (void)state;
    for (int i = 0; i <= a.num_layers; i++) {
        const struct stylegan3_layer *l = &a.layer[i];

        assert_string_equal(l->name, NAMES_T[i]);
        assert_int_equal(l->up, UP[i]);
        assert_int_equal(l->down, i < 14 ? 2 : 1);
        assert_int_equal(l->up_taps, i < 14 ? 6 * UP[i] : 1);
        assert_int_equal(l->down_taps, i < 14 ? 12 : 1);
        assert_int_equal(l->kernel, i < 14 ? 3 : 1);
        assert_int_equal(l->in_size, a.layer[i > 0 ? i - 1 : 0].out_size);
        assert_int_equal(l->in, a.layer[i > 0 ? i - 1 : 0].out);
        assert_int_equal(l->is_torgb, i == 14);
        assert_false(l->radial);
    }
    assert_int_equal(a.input.channels, 512);
    assert_int_equal(a.input.size, 36);
    assert_int_equal(a.input.rate, 16);
    assert_true(a.input.cutoff == 2.0);
    assert_int_equal(parameters(need, stylegan3_arch_tensors(&a, need)), 22315647);
}

static void layers_of_r_at_1024_are_the_official_ones(void **state)
{
    static const struct note R[] = { { "conv_kernel", "1" },
                                     { "channel_base", "65536" },
                                     { "channel_max", "1024" },
                                     { "use_radial_filters", "true" } };
    struct stylegan3_arch a = stylegan3_with(R, COUNT(R));
    struct tensor_need need[ARCH_TENSORS_MAX];

    (void)state;
    for (int i = 0; i <= a.num_layers; i++) {
        assert_string_equal(a.layer[i].name, NAMES_R[i]);
        assert_int_equal(a.layer[i].up, UP[i]);
        assert_int_equal(a.layer[i].radial, i < 12);
        assert_int_equal(a.layer[i].kernel, 1);
    }
    assert_int_equal(parameters(need, stylegan3_arch_tensors(&a, need)), 15098751);
}

/* At 256 pixels the stopband of layer 9 is a power of two but for rounding; a last bit more would
 * double the rate. */
static void layers_at_256_do_not_hang_on_a_last_bit(void **state)
{
    struct note change = { "img_resolution", "256" };
    struct stylegan3_arch a = stylegan3_with(&change, 1);

    (void)state;
    assert_int_equal(a.layer[9].rate, 128);
    assert_string_equal(a.layer[9].name, "L9_148_362");
    assert_string_equal(a.layer[10].name, "L10_276_256");
    assert_string_equal(a.layer[14].name, "L14_256_3");
}

/* Every sample is accounted for: what the padding makes is what the filters need. */
static void padding_gives_each_layer_its_size(void **state)
{
    static const char *const SIZES[] = { "16", "64", "256", "512", "1024", "4096" };

    (void)state;
    for (size_t s = 0; s < COUNT(SIZES); s++) {
        struct note change = { "img_resolution", SIZES[s] };
        struct stylegan3_arch a = stylegan3_with(&change, 1);

        for (int i = 0; i <= a.num_layers; i++) {
            const struct stylegan3_layer *l = &a.layer[i];
            int wide = (l->in_size + l->kernel - 1) * l->up + l->pad_lo + l->pad_hi;
            int fine = wide - (l->up_taps - 1) - (l->down_taps - 1);

            assert_int_equal((fine - 1) / l->down + 1, l->out_size);
            assert_int_equal((fine - 1) % l->down, 0);
            assert_in_range(l->pad_lo - l->pad_hi, l->up - 1, l->up);
        }
    }
}

static void each_missing_key_of_stylegan3_is_named(void **state)
{
    char says[64];

    (void)state;
    for (size_t i = 0; i < COUNT(STYLEGAN3_T); i++) {
        snprintf(says, sizeof says, "lacks \"%s\"", STYLEGAN3_T[i].key);
        check_stylegan3(STYLEGAN3_T[i].key, NULL, ERR_INVALID, says);
    }
}

static void reals_that_are_malformed_are_refused(void **state)
{
    static const char *const BAD[] = { "",    " 2",   "2 ",  "+2",  ".5",   "2.",  "2e",
                                       "nan", "inf",  "0x2", "2,5", "1e999", "two", "2.0.0" };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++)
        check_stylegan3("first_cutoff", BAD[i], ERR_INVALID, "\"first_cutoff\"");
}

static void reals_are_the_nearest_doubles(void **state)
{
    static const struct note CHANGES[] = { { "output_scale", "2.5e-1" },
                                           { "first_cutoff", "1.9999999999999998" } };
    struct stylegan3_arch a = stylegan3_with(CHANGES, COUNT(CHANGES));

    (void)state;
    assert_true(a.output_scale == 0.25);
    assert_true(a.first_cutoff == 0x1.fffffffffffffp+0);
    assert_true(a.first_stopband == 0x1.125fbee250664p+2);
}

static void impossible_stylegan3_is_refused_by_key(void **state)
{
    static const struct {
        const char *key, *value;
        enum err_code code;
        const char *says;
    } ROWS[] = {
        { "num_layers", "0", ERR_RANGE, "\"num_layers\"" },
        { "num_layers", "31", ERR_RANGE, "\"num_layers\"" },
        { "num_layers", "13", ERR_INVALID, "num_ws" },
        { "num_ws", "15", ERR_INVALID, "num_ws is 15, but 14 layers need 16" },
        { "num_critical", "0", ERR_RANGE, "\"num_critical\"" },
        { "num_critical", "14", ERR_INVALID, "num_critical 14" },
        { "num_critical", "13", ERR_RANGE, "num_layers 14" },     /* 16 to 1024 in one layer */
        { "img_resolution", "1000", ERR_INVALID, "img_resolution" },
        { "img_resolution", "8192", ERR_RANGE, "\"img_resolution\"" },
        { "first_cutoff", "0", ERR_RANGE, "\"first_cutoff\"" },
        { "first_cutoff", "-2", ERR_RANGE, "\"first_cutoff\"" },
        { "first_cutoff", "513", ERR_INVALID, "first_cutoff" },
        { "first_cutoff", "8", ERR_INVALID, "first_cutoff" },     /* half of the rate */
        { "first_stopband", "0.5", ERR_RANGE, "\"first_stopband\"" },
        { "first_stopband", "1e300", ERR_RANGE, "\"first_stopband\"" },
        { "last_stopband_rel", "0.9", ERR_RANGE, "\"last_stopband_rel\"" },
        { "margin_size", "-1", ERR_RANGE, "\"margin_size\"" },
        { "margin_size", "2000000000", ERR_RANGE, "\"margin_size\"" },
        { "output_scale", "0", ERR_RANGE, "\"output_scale\"" },
        { "conv_kernel", "5", ERR_UNSUPPORTED, "conv_kernel 5" },
        { "use_radial_filters", "True", ERR_INVALID, "use_radial_filters" },
        { "filter_size", "0", ERR_RANGE, "\"filter_size\"" },
        { "filter_size", "17", ERR_RANGE, "\"filter_size\"" },
        { "lrelu_upsampling", "0", ERR_RANGE, "\"lrelu_upsampling\"" },
        { "lrelu_upsampling", "16", ERR_RANGE, "lrelu_upsampling 16" },
        { "channel_base", "500", ERR_INVALID, "channel_base 500" },
        { "channel_max", "4097", ERR_RANGE, "\"channel_max\"" },
        { "conv_clamp", "0", ERR_INVALID, "conv_clamp" },
        { "conv_clamp", "1e39", ERR_INVALID, "conv_clamp" },
        { "img_channels", "4", ERR_UNSUPPORTED, "img_channels 4" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++)
        check_stylegan3(ROWS[i].key, ROWS[i].value, ROWS[i].code, ROWS[i].says);
}

/* The largest tables there can be, for ASan to look at. */
static void the_most_layers_fit(void **state)
{
    static const struct note CHANGES[] = {
        { "num_layers", "30" },     { "num_ws", "32" },        { "mapping_layers", "32" },
        { "c_dim", "65536" },       { "z_dim", "4096" },       { "w_dim", "4096" },
        { "channel_max", "4096" },  { "channel_base", "16777216" },
        { "img_resolution", "4096" }, { "margin_size", "256" }, { "filter_size", "16" },
    };
    struct stylegan3_arch a = stylegan3_with(CHANGES, COUNT(CHANGES));
    struct tensor_need need[ARCH_TENSORS_MAX];
    char text[ARCH_TEXT_MAX];
    size_t count = stylegan3_arch_tensors(&a, need);

    (void)state;
    assert_in_range(count, 1, ARCH_TENSORS_MAX);
    for (size_t i = 1; i < count; i++)
        assert_true(strcmp(need[i - 1].name, need[i].name) < 0);
    assert_in_range(stylegan3_arch_text(&a, text), 1, ARCH_TEXT_MAX - 1);
}

static void stylegan1_at_1024_is_the_official_one(void **state)
{
    struct notes *notes = notes_with(STYLEGAN1, COUNT(STYLEGAN1), NULL, 0);
    struct stylegan1_arch a;
    struct tensor_need need[ARCH_TENSORS_MAX];
    struct err e;
    size_t noise = 0;

    (void)state;
    if (stylegan1_arch_read(notes, &a, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(stylegan1_arch_channels(&a, 4), 512);
    assert_int_equal(stylegan1_arch_channels(&a, 64), 256);
    assert_int_equal(stylegan1_arch_channels(&a, 1024), 16);
    for (int size = 4; size <= 1024; size *= 2)
        noise += 2 * (size_t)size * (size_t)size;
    /* 26.2 million parameters, dlatent_avg and the planes of noise */
    assert_int_equal((parameters(need, stylegan1_arch_tensors(&a, need)) - noise - 512) / 100000,
                     262);
    notes_destroy(&notes);
}

static void impossible_stylegan1_is_refused_by_key(void **state)
{
    static const struct {
        const char *key, *value;
        enum err_code code;
        const char *says;
    } ROWS[] = {
        { "num_ws", "16", ERR_INVALID, "num_ws is 16, but 1024 pixels need 18" },
        { "fmap_base", "511", ERR_INVALID, "fmap_base 511" },
        { "fmap_base", "99999999", ERR_RANGE, "\"fmap_base\"" },
        { "fmap_max", "0", ERR_RANGE, "\"fmap_max\"" },
        { "mapping_fmaps", "5000", ERR_RANGE, "\"mapping_fmaps\"" },
        { "mapping_fmaps", NULL, ERR_INVALID, "lacks \"mapping_fmaps\"" },
        { "fmap_base", NULL, ERR_INVALID, "lacks \"fmap_base\"" },
        { "fmap_max", NULL, ERR_INVALID, "lacks \"fmap_max\"" },
        { "img_resolution", "96", ERR_INVALID, "img_resolution" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct note change = { ROWS[i].key, ROWS[i].value };
        struct notes *notes = notes_with(STYLEGAN1, COUNT(STYLEGAN1), &change, 1);
        struct stylegan1_arch a;
        struct err e = { 0 };

        if (stylegan1_arch_read(notes, &a, &e) != ROWS[i].code || !strstr(e.msg, ROWS[i].says))
            fail_msg("row %zu: code %d, \"%s\"", i, e.code, e.msg);
        notes_destroy(&notes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_of_t_at_1024_are_the_official_ones),
        cmocka_unit_test(layers_of_r_at_1024_are_the_official_ones),
        cmocka_unit_test(layers_at_256_do_not_hang_on_a_last_bit),
        cmocka_unit_test(padding_gives_each_layer_its_size),
        cmocka_unit_test(each_missing_key_of_stylegan3_is_named),
        cmocka_unit_test(reals_that_are_malformed_are_refused),
        cmocka_unit_test(reals_are_the_nearest_doubles),
        cmocka_unit_test(impossible_stylegan3_is_refused_by_key),
        cmocka_unit_test(the_most_layers_fit),
        cmocka_unit_test(stylegan1_at_1024_is_the_official_one),
        cmocka_unit_test(impossible_stylegan1_is_refused_by_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
