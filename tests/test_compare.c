/* Two pictures compared: what was done to a copy is found again, and others do not match. */
#include "client/compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { W = 96, H = 80, BLOBS = 60 };

#ifdef __SANITIZE_ADDRESS__          /* ten times as slow */
enum { CROP_STEP = 35, OTHERS = 3 };
#else
enum { CROP_STEP = 5, OTHERS = 20 };
#endif

/* ---- pictures ---- */

static struct image blank(int width, int height, uint8_t level)
{
    struct image image = { .width = width, .height = height };

    image.rgb = malloc((size_t)width * (size_t)height * 3);
    assert_non_null(image.rgb);
    memset(image.rgb, level, (size_t)width * (size_t)height * 3);
    return image;
}

static uint8_t *at(const struct image *image, int x, int y)
{
    return image->rgb + ((size_t)y * (size_t)image->width + (size_t)x) * 3;
}

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Coloured discs on each other: structure at every size, another one for each index. */
static struct image discs(int width, int height, uint32_t index)
{
    struct image image = blank(width, height, 120);
    uint32_t state = 12345 + index * 7919;

    for (int k = 0; k < BLOBS; k++) {
        int cx = (int)(draw(&state) % (uint32_t)width), cy = (int)(draw(&state) % (uint32_t)height);
        int r = width / 30 + (int)(draw(&state) % (uint32_t)(width / 8));
        uint8_t colour[3] = { (uint8_t)draw(&state), (uint8_t)draw(&state), (uint8_t)draw(&state) };

        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                if ((x - cx) * (x - cx) + (y - cy) * (y - cy) <= r * r)
                    memcpy(at(&image, x, y), colour, 3);
    }
    return image;
}

static struct image cut(const struct image *from, int x, int y, int width, int height)
{
    struct image image = blank(width, height, 0);

    for (int row = 0; row < height; row++)
        memcpy(at(&image, 0, row), at(from, x, y + row), (size_t)width * 3);
    return image;
}

static struct image framed(const struct image *from, int x, int y, int width, int height)
{
    struct image image = blank(width, height, 235);

    for (int row = 0; row < from->height; row++)
        memcpy(at(&image, x, y + row), at(from, 0, row), (size_t)from->width * 3);
    return image;
}

/* By the mean of 4 x 4 points in each pixel. */
static struct image resized(const struct image *from, int width, int height)
{
    struct image image = blank(width, height, 0);

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                int sum = 0;

                for (int k = 0; k < 16; k++)
                    sum += at(from, (4 * x + k % 4) * from->width / (4 * width),
                              (4 * y + k / 4) * from->height / (4 * height))[c];
                at(&image, x, y)[c] = (uint8_t)(sum / 16);
            }
    return image;
}

static void expect_fit(const struct image *picture, const struct image *original, double x,
                       double y, double scale_x, double scale_y)
{
    struct compare_fit fit;
    struct err e;

    assert_int_equal(compare_fit(picture, original, &fit, &e), ERR_OK);
    if (fit.correlation < 0.97 || !compare_confirms(&fit) || fabs(fit.x - x) > 1.2 * scale_x ||
        fabs(fit.y - y) > 1.2 * scale_y || fabs(fit.scale_x / scale_x - 1) > 0.03 ||
        fabs(fit.scale_y / scale_y - 1) > 0.03)
        fail_msg("correlation %.4f at %.2f,%.2f by %.4f,%.4f, not at %.2f,%.2f by %.4f,%.4f",
                 fit.correlation, fit.x, fit.y, fit.scale_x, fit.scale_y, x, y, scale_x, scale_y);
}

/* ---- the same size ---- */

static void levels_are_those_of_their_formulas(void **state)
{
    struct image a = discs(W, H, 1), b = discs(W, H, 1);
    struct levels levels = levels_of(a.rgb, b.rgb, W * H * 3);

    (void)state;
    assert_true(levels.max == 0 && levels.mean == 0 && levels.psnr_db == 99);
    b.rgb[W * H * 3 - 1] ^= 5;
    levels = levels_of(a.rgb, b.rgb, W * H * 3);
    assert_true(levels.max >= 1 && levels.max <= 5 && levels.mean > 0 && levels.psnr_db > 70);
    memset(a.rgb, 100, W * H * 3);
    memset(b.rgb, 110, W * H * 3);
    levels = levels_of(a.rgb, b.rgb, W * H * 3);
    assert_true(levels.max == 10 && levels.mean == 10);
    assert_true(fabs(levels.psnr_db - 20 * log10(25.5)) < 1e-9);
    image_release(&a);
    image_release(&b);
}

/* ---- copies ---- */

static void a_copy_fits_where_it_is(void **state)
{
    struct image a = discs(W, H, 2);

    (void)state;
    expect_fit(&a, &a, 0, 0, 1, 1);
    for (size_t i = 0; i < W * H * 3; i++)      /* paler and brighter */
        a.rgb[i] = (uint8_t)(a.rgb[i] / 2 + 90);

    struct image b = discs(W, H, 2);

    struct compare_fit fit;
    struct err e;

    /* Other colours: it resembles the original, which confirms nothing. */
    assert_int_equal(compare_fit(&a, &b, &fit, &e), ERR_OK);
    assert_true(compare_resembles(&fit) && !compare_confirms(&fit));
    assert_true(fit.correlation > 0.99 && fit.difference > COMPARE_CONFIRMED_LEVELS);
    image_release(&a);
    image_release(&b);
}

static void scaled_copies_fit(void **state)
{
    static const int SIZES[][2] = { { W / 2, H / 2 }, { W * 3, H * 3 }, { 61, 51 }, { W, 64 } };
    struct image original = discs(W, H, 3);

    (void)state;
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        struct image copy = resized(&original, SIZES[i][0], SIZES[i][1]);

        expect_fit(&copy, &original, 0, 0, (double)SIZES[i][0] / W, (double)SIZES[i][1] / H);
        expect_fit(&original, &copy, 0, 0, (double)W / SIZES[i][0], (double)H / SIZES[i][1]);
        image_release(&copy);
    }
    image_release(&original);
}

static void cropped_copies_fit(void **state)
{
    struct image original = discs(W, H, 4);

    (void)state;
    for (int percent = 60; percent <= 95; percent += CROP_STEP) {
        int w = W * percent / 100, h = H * percent / 100;
        int x = (W - w) * (percent % 3) / 2, y = (H - h) * ((percent + 1) % 3) / 2;
        struct image crop = cut(&original, x, y, w, h), larger = resized(&crop, 2 * w, 2 * h);

        expect_fit(&crop, &original, -x, -y, 1, 1);
        expect_fit(&larger, &original, -2 * x, -2 * y, 2, 2);
        image_release(&crop);
        image_release(&larger);
    }
    image_release(&original);
}

static void framed_copies_fit(void **state)
{
    struct image original = discs(W, H, 5), large = resized(&original, 5 * W / 2, 5 * H / 2);
    struct image shot = framed(&original, 31, 12, 160, 110);
    struct image wide = framed(&large, 150, 40, 560, 330);

    (void)state;
    expect_fit(&shot, &original, 31, 12, 1, 1);
    expect_fit(&wide, &original, 150, 40, 2.5, 2.5);
    image_release(&original);
    image_release(&large);
    image_release(&shot);
    image_release(&wide);
}

static void large_pictures_fit_too(void **state)
{
    struct image original = discs(1024, 1024, 6), crop = cut(&original, 200, 100, 700, 700);

    (void)state;
    expect_fit(&crop, &original, -200, -100, 1, 1);
    image_release(&original);
    image_release(&crop);
}

/* ---- what does not match ---- */

static void other_pictures_do_not_fit(void **state)
{
    struct image original = discs(W, H, 7);

    (void)state;
    for (uint32_t i = 100; i < 100 + OTHERS; i++) {
        struct image other = discs(W, H, i);
        struct compare_fit fit;
        struct err e;

        assert_int_equal(compare_fit(&other, &original, &fit, &e), ERR_OK);
        if (fit.correlation > 0.8)
            fail_msg("picture %u correlates by %.3f", i, fit.correlation);
        image_release(&other);
    }
    image_release(&original);
}

static void flat_pictures_correlate_with_nothing(void **state)
{
    struct image original = discs(W, H, 8), flat = blank(W, H, 77);
    struct compare_fit fit;
    struct err e;

    (void)state;
    assert_int_equal(compare_fit(&flat, &original, &fit, &e), ERR_OK);
    assert_true(fit.correlation < 0.1);
    assert_int_equal(compare_fit(&original, &flat, &fit, &e), ERR_OK);
    assert_true(fit.correlation < 0.1);
    assert_int_equal(compare_fit(&flat, &flat, &fit, &e), ERR_OK);
    assert_true(fit.correlation < 0.1);
    image_release(&original);
    image_release(&flat);
}

static void strange_forms_are_said_or_survived(void **state)
{
    static const int SIZES[][2] = { { 8, 8 }, { 8, 4000 }, { 4000, 9 }, { 9, 8 } };
    struct image original = discs(W, H, 9), small = blank(7, 100, 0);
    struct compare_fit fit;
    struct err e;

    (void)state;
    assert_int_equal(compare_fit(&small, &original, &fit, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "7 x 100 pixels are too few"));
    assert_int_equal(compare_fit(&original, &small, &fit, &e), ERR_FILE);
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        struct image strip = resized(&original, SIZES[i][0], SIZES[i][1]);

        assert_int_equal(compare_fit(&strip, &original, &fit, &e), ERR_OK);
        assert_true(fit.correlation >= -1 && fit.correlation <= 1.0001);
        assert_int_equal(compare_fit(&original, &strip, &fit, &e), ERR_OK);
        assert_true(fit.correlation >= -1 && fit.correlation <= 1.0001);
        image_release(&strip);
    }
    image_release(&original);
    image_release(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_those_of_their_formulas),
        cmocka_unit_test(a_copy_fits_where_it_is),
        cmocka_unit_test(scaled_copies_fit),
        cmocka_unit_test(cropped_copies_fit),
        cmocka_unit_test(framed_copies_fit),
        cmocka_unit_test(large_pictures_fit_too),
        cmocka_unit_test(other_pictures_do_not_fit),
        cmocka_unit_test(flat_pictures_correlate_with_nothing),
        cmocka_unit_test(strange_forms_are_said_or_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
