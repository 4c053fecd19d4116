#include "kernels/thumbnail.h"

#include "base/likeness.h"
#include "kernels/jpeg.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Waves of two colours, as a JPEG and as pixels. */
struct shot {
    int width, height;
    uint8_t *rgb, *file;
    size_t len;
};

static struct shot shot_of(int width, int height)
{
    struct shot s = { .width = width, .height = height };
    struct jpeg_encoder *encoder;
    struct err e;

    s.rgb = malloc((size_t)width * (size_t)height * 3);
    assert_non_null(s.rgb);
    for (int i = 0; i < width * height; i++) {
        double x = (i % width + 0.5) / width, y = (i / width + 0.5) / height;
        double wave = sin(9 * x + 4 * y) + sin(17 * x * y + 2) + sin(23 * (x - 0.3) * (y - 0.6));
        double hue = cos(11 * y - 5 * x * x) + sin(13 * x);
        uint8_t pixel[3] = { (uint8_t)(128 + 38 * wave), (uint8_t)(128 + 60 * hue),
                             (uint8_t)(128 + 25 * wave - 25 * hue) };

        memcpy(s.rgb + 3 * i, pixel, sizeof pixel);
    }
    assert_int_equal(jpeg_encoder_create(&encoder, &e), ERR_OK);
    struct jpeg_picture picture = { .rgb = s.rgb, .width = width, .height = height, .quality = 90 };

    assert_int_equal(jpeg_encode(encoder, &picture, &s.file, &s.len, &e), ERR_OK);
    jpeg_encoder_destroy(&encoder);
    return s;
}

static void shot_release(struct shot *s)
{
    free(s->rgb);
    free(s->file);
}

static void it_is_as_small_as_its_shorter_side_may_be(void **state)
{
    static const struct { int width, height, least, out_width, out_height; } CASES[] = {
        { 64, 64, 128, 64, 64 },    { 255, 255, 128, 255, 255 }, { 256, 256, 128, 128, 128 },
        { 512, 1000, 128, 128, 250 }, { 1030, 1024, 128, 129, 128 }, { 2048, 2048, 128, 256, 256 },
        { 9, 8, 1, 2, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct shot s = shot_of(CASES[i].width, CASES[i].height);
        struct thumbnail small;
        struct err e;

        assert_int_equal(thumbnail_make(s.file, s.len, CASES[i].least, &small, &e), ERR_OK);
        assert_int_equal(small.width, CASES[i].out_width);
        assert_int_equal(small.height, CASES[i].out_height);
        free(small.rgb);
        shot_release(&s);
    }
}

static void its_hashes_are_those_of_the_pixels(void **state)
{
    static const int SIDES[] = { 64, 256, 1024 };

    (void)state;
    for (size_t i = 0; i < sizeof SIDES / sizeof SIDES[0]; i++) {
        struct shot s = shot_of(SIDES[i], SIDES[i]);
        uint64_t of_pixels[LIKENESS_STORED_MAX], of_file[LIKENESS_STORED_MAX];
        struct thumbnail small;
        struct err e;

        assert_int_equal(thumbnail_make(s.file, s.len, 128, &small, &e), ERR_OK);
        assert_true(likeness_of_stored(s.rgb, s.width, s.height, 3 * (size_t)s.width, of_pixels));
        assert_true(likeness_of_stored(small.rgb, small.width, small.height,
                                       3 * (size_t)small.width, of_file));
        assert_true(likeness_distance(of_pixels, of_file) <= 2);
        free(small.rgb);
        shot_release(&s);
    }
}

static void what_is_damaged_is_refused(void **state)
{
    struct shot s = shot_of(100, 80);
    struct thumbnail small;
    struct err e = { .code = ERR_OK };

    (void)state;
    assert_int_equal(thumbnail_make((const uint8_t *)"GIF89a", 6, 8, &small, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "could not decode a picture: "));
    assert_int_equal(thumbnail_make(s.file, 0, 8, &small, &e), ERR_INVALID);
    assert_int_equal(thumbnail_make(s.file, s.len / 2, 8, &small, &e), ERR_INVALID);
    assert_null(small.rgb);
    shot_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_as_small_as_its_shorter_side_may_be),
        cmocka_unit_test(its_hashes_are_those_of_the_pixels),
        cmocka_unit_test(what_is_damaged_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
