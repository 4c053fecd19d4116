/* Pixels to coefficients in integers: held to what libjpeg-turbo itself makes, which it tells of the
 * files that it wrote. */
#include "kernels/jpeg.h"
#include "kernels/jpeg_transform.h"
#include "kernels/picture.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum { SIDE_MAX = 1024 };

/* ---- pictures ---- */

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

static void fill_noise(uint8_t *rgb, int width, int height, int index)
{
    uint32_t state = (uint32_t)index * 7919u + 1;

    for (size_t i = 0; i < (size_t)width * (size_t)height * 3; i++)
        rgb[i] = (uint8_t)next_random(&state);
}

/* 0 and 255 only: the largest steps there are, in every channel apart. */
static void fill_extremes(uint8_t *rgb, int width, int height, int index)
{
    uint32_t state = (uint32_t)index * 104729u + 5;

    for (size_t i = 0; i < (size_t)width * (size_t)height * 3; i++)
        rgb[i] = next_random(&state) & 1 ? 255 : 0;
}

/* Squares of 1, 2, 4 or 8 pixels: the largest coefficients of the highest frequencies. */
static void fill_checkers(uint8_t *rgb, int width, int height, int index)
{
    int side = 1 << index % 4;

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                rgb[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c] =
                    (x / side + y / side + c * (index & 1)) % 2 ? 255 : 0;
}

static void fill_gradient(uint8_t *rgb, int width, int height, int index)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                rgb[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c] =
                    (uint8_t)((c + 1) * x + (3 - c) * y + index);
}

static void fill_flat(uint8_t *rgb, int width, int height, int index)
{
    static const uint8_t COLOURS[][3] = { { 0, 0, 0 }, { 255, 255, 255 }, { 255, 0, 0 },
                                          { 0, 0, 255 }, { 0, 255, 0 }, { 1, 254, 77 } };

    for (size_t p = 0; p < (size_t)width * (size_t)height; p++)
        memcpy(rgb + 3 * p, COLOURS[(size_t)index % COUNT(COLOURS)], 3);
}

static void (*const FILL[])(uint8_t *rgb, int width, int height, int index) = {
    fill_noise, fill_extremes, fill_checkers, fill_gradient, fill_flat, fill_waves,
};

/* ---- what libjpeg made ---- */

struct rig {
    struct jpeg_encoder *encoder, *other;
    uint8_t *rgb;                   /* [SIDE_MAX, SIDE_MAX, 3] */
    int16_t *coefficients;
    size_t compared;                /* coefficients, in all */
};

static int begin(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct err e;

    assert_non_null(r);
    assert_int_equal(jpeg_encoder_create(&r->encoder, &e), ERR_OK);
    assert_int_equal(jpeg_encoder_create(&r->other, &e), ERR_OK);
    r->rgb = malloc((size_t)SIDE_MAX * SIDE_MAX * 3);
    r->coefficients = malloc(jpeg_coefficients_layout(SIDE_MAX, SIDE_MAX).count *
                             sizeof *r->coefficients);
    assert_true(r->rgb && r->coefficients);
    *state = r;
    return 0;
}

static int end(void **state)
{
    struct rig *r = *state;

    jpeg_encoder_destroy(&r->encoder);
    jpeg_encoder_destroy(&r->other);
    free(r->coefficients);
    free(r->rgb);
    free(r);
    return 0;
}

/* The file's coefficients are ours. */
static void compare_with_file(struct rig *r, const uint8_t *file, size_t len, const char *what)
{
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr on_error;
    jvirt_barray_ptr *arrays;

    cinfo.err = jpeg_std_error(&on_error);
    jpeg_create_decompress(&cinfo);
    jpeg_mem_src(&cinfo, file, (unsigned long)len);
    jpeg_read_header(&cinfo, TRUE);
    arrays = jpeg_read_coefficients(&cinfo);

    struct jpeg_coefficients_layout layout =
        jpeg_coefficients_layout((int)cinfo.image_width, (int)cinfo.image_height);

    for (int c = 0; c < JPEG_COMPONENTS; c++) {
        const jpeg_component_info *info = &cinfo.comp_info[c];

        assert_true((int)info->width_in_blocks <= layout.columns[c]);
        assert_true((int)info->height_in_blocks <= layout.rows[c]);
        for (JDIMENSION row = 0; row < info->height_in_blocks; row++) {
            JBLOCKARRAY blocks = cinfo.mem->access_virt_barray((j_common_ptr)&cinfo, arrays[c],
                                                               row, 1, FALSE);
            const int16_t *ours = r->coefficients + layout.first[c] +
                                  (size_t)row * (size_t)layout.columns[c] * JPEG_BLOCK;

            for (size_t i = 0; i < (size_t)info->width_in_blocks * JPEG_BLOCK; i++)
                if (blocks[0][i / JPEG_BLOCK][i % JPEG_BLOCK] != ours[i])
                    fail_msg("%s: component %d, block %zu,%u, coefficient %zu: %d, not %d", what,
                             c, i / JPEG_BLOCK, row, i % JPEG_BLOCK, ours[i],
                             blocks[0][i / JPEG_BLOCK][i % JPEG_BLOCK]);
            r->compared += (size_t)info->width_in_blocks * JPEG_BLOCK;
        }
    }
    jpeg_finish_decompress(&cinfo);
    jpeg_destroy_decompress(&cinfo);
}

/* Pixels through libjpeg and through us: coefficients and files are the same. */
static void check(struct rig *r, size_t content, int width, int height, int quality)
{
    struct jpeg_tables tables = jpeg_tables_of(quality);
    struct jpeg_picture picture = { .rgb = r->rgb, .width = width, .height = height,
                                    .quality = quality, .coefficients = r->coefficients,
                                    .xmp = quality % 2 ? "<x/>" : NULL };
    uint8_t *whole, *ours;
    size_t whole_len, ours_len;
    char what[80];
    struct err e = { .code = ERR_OK };

    snprintf(what, sizeof what, "content %zu, %dx%d, quality %d", content, width, height, quality);
    jpeg_coefficients(r->rgb, width, height, &tables, r->coefficients);
    if (jpeg_encode(r->encoder, &picture, &whole, &whole_len, &e) ||
        jpeg_encode_coefficients(r->other, &picture, &ours, &ours_len, &e))
        fail_msg("%s: %s", what, e.msg);
    compare_with_file(r, whole, whole_len, what);
    if (ours_len != whole_len || memcmp(ours, whole, whole_len) != 0)
        fail_msg("%s: another file", what);
    free(ours);
    free(whole);
}

static void check_contents(struct rig *r, int width, int height, const int *qualities, size_t count)
{
    for (size_t content = 0; content < COUNT(FILL); content++) {
        FILL[content](r->rgb, width, height, width + height);
        for (size_t i = 0; i < count; i++)
            check(r, content, width, height, qualities[i]);
    }
}

/* ---- the tests ---- */

static void every_small_size_has_libjpegs_coefficients(void **state)
{
    static const int QUALITIES[] = { 1, 50, 90, 100 };
    struct rig *r = *state;

    for (int height = 1; height <= 35; height += height < 20 ? 1 : 5)
        for (int width = 1; width <= 35; width += width < 20 ? 1 : 5)
            check_contents(r, width, height, &QUALITIES[(width + height) % 3], 2);
    print_message("%zu coefficients\n", r->compared);
}

static void every_quality_has_libjpegs_coefficients(void **state)
{
    static const int SIZES[][2] = { { 16, 16 }, { 37, 53 }, { 64, 64 } };
    int qualities[100];

    for (int i = 0; i < 100; i++)
        qualities[i] = i + 1;
    for (size_t i = 0; i < COUNT(SIZES); i++)
        check_contents(*state, SIZES[i][0], SIZES[i][1], qualities, COUNT(qualities));
}

static void large_pictures_have_libjpegs_coefficients(void **state)
{
    static const int SIZES[][2] = { { 128, 128 }, { 36, 52 }, { 256, 256 }, { 255, 129 },
                                    { 300, 2 }, { 3, 301 } };
    static const int QUALITIES[] = { 30, 75, 90, 97, 100 };
    struct rig *r = *state;

    for (size_t i = 0; i < COUNT(SIZES); i++)
        check_contents(r, SIZES[i][0], SIZES[i][1], QUALITIES, COUNT(QUALITIES));
    fill_noise(r->rgb, 1024, 1024, 3);
    check(r, 0, 1024, 1024, 90);
    fill_waves(r->rgb, 1024, 1024, 3);
    check(r, 5, 1024, 1024, 95);
}

/* A grid of colours, the corners among them; greys have no colour. */
static void colours_stay_in_a_byte(void **state)
{
    (void)state;
    for (int i = 0; i < 1 << 15; i++) {
        int r = (i & 31) * 255 / 31, g = (i >> 5 & 31) * 255 / 31, b = (i >> 10) * 255 / 31;
        int y = jpeg_y(r, g, b), cb = jpeg_cb(r, g, b), cr = jpeg_cr(r, g, b);

        assert_true(y >= 0 && y <= 255 && cb >= 0 && cb <= 255 && cr >= 0 && cr <= 255);
        if (r == g && g == b)
            assert_true(y == r && cb == 128 && cr == 128);
    }
}

/* libjpeg divides by multiplying; the two are one over all that can come (a DCT's values stay below
 * 16384) when it is a half away from zero that is rounded up. */
static void halves_are_rounded_away_from_zero(void **state)
{
    (void)state;
    for (int q = 1; q <= 255; q++)
        for (int t = -16384; t <= 16384; t++) {
            int expect = t < 0 ? -((-t * 2 + 8 * q) / (16 * q)) : (t * 2 + 8 * q) / (16 * q);

            if (jpeg_quantize(t, q) != expect)
                fail_msg("%d / %d: %d", t, q, jpeg_quantize(t, q));
        }
}

static void a_layout_holds_whole_mcus(void **state)
{
    struct jpeg_coefficients_layout layout = jpeg_coefficients_layout(17, 16);

    (void)state;
    assert_true(layout.mcu_columns == 2 && layout.mcu_rows == 1);
    assert_true(layout.columns[0] == 4 && layout.rows[0] == 2 && layout.first[0] == 0);
    assert_true(layout.columns[1] == 2 && layout.rows[1] == 1 && layout.first[1] == 512);
    assert_true(layout.columns[2] == 2 && layout.rows[2] == 1 && layout.first[2] == 640);
    assert_int_equal(layout.count, 768);
    assert_int_equal(jpeg_coefficients_layout(1024, 1024).count, 1024 * 1024 * 3 / 2);
}

/* One encoder makes files of both kinds by turns, and what a picture is does not depend on it. */
static void an_encoder_takes_pixels_and_coefficients_by_turns(void **state)
{
    struct rig *r = *state;
    struct recipe recipe = { .psi = 700000, .cutoff = 10, .class_index = -1,
                             .noise = RECIPE_NOISE_CONST, .width = 36, .height = 52,
                             .mark = RECIPE_MARK_XMP };

    for (int turn = 0; turn < 12; turn++) {
        struct picture from_pixels, from_coefficients;
        struct jpeg_tables tables;
        struct err e;

        recipe.quality = 100 - 9 * turn;
        recipe.seed = (uint32_t)turn;
        tables = jpeg_tables_of(recipe.quality);
        fill_noise(r->rgb, recipe.width, recipe.height, turn);
        jpeg_coefficients(r->rgb, recipe.width, recipe.height, &tables, r->coefficients);
        assert_int_equal(picture_encode(r->encoder, &recipe,
                                        (struct picture_source){ .coefficients = r->coefficients },
                                        &from_coefficients, &e), ERR_OK);
        assert_int_equal(picture_encode(r->encoder, &recipe,
                                        (struct picture_source){ .rgb = r->rgb }, &from_pixels,
                                        &e), ERR_OK);
        assert_true(digest_equal(&from_pixels.file_sha, &from_coefficients.file_sha));
        assert_true(digest_equal(&from_pixels.core_sha, &from_coefficients.core_sha));
        picture_release(&from_pixels);
        picture_release(&from_coefficients);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_size_has_libjpegs_coefficients),
        cmocka_unit_test(every_quality_has_libjpegs_coefficients),
        cmocka_unit_test(large_pictures_have_libjpegs_coefficients),
        cmocka_unit_test(colours_stay_in_a_byte),
        cmocka_unit_test(halves_are_rounded_away_from_zero),
        cmocka_unit_test(a_layout_holds_whole_mcus),
        cmocka_unit_test(an_encoder_takes_pixels_and_coefficients_by_turns),
    };

    return cmocka_run_group_tests_name("jpeg_transform", tests, begin, end);
}
