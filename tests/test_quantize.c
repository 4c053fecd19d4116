/* A picture's floats to bytes. */
#include "kernels/quantize.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void bytes_are_rounded_half_up_and_saturate(void **state)
{
    static const struct {
        float x;
        uint8_t byte;
    } ROWS[] = {
        { -1.0f, 0 },   { 1.0f, 255 },    { 0.0f, 128 },    { -0.00392157f, 127 },
        { -1.1f, 0 },   { 1.1f, 255 },    { 3e38f, 255 },   { -3e38f, 0 },
        { -1.003f, 0 }, { 0.9999f, 255 }, { -0.9961f, 0 },  { -0.9960f, 1 },
    };

    (void)state;
    for (size_t row = 0; row < sizeof ROWS / sizeof ROWS[0]; row++) {
        float x[3] = { ROWS[row].x, 0.0f, 1.0f };
        uint8_t out[3];

        assert_true(quantize_cpu(out, x, 1));
        assert_int_equal(out[0], ROWS[row].byte);
        assert_int_equal(out[1], 128);
        assert_int_equal(out[2], 255);
    }
}

/* Planes in, pixels out. */
static void channels_of_a_pixel_lie_side_by_side(void **state)
{
    static const float X[6] = { -1.0f, -0.5f, 0.0f, 0.25f, 0.5f, 1.0f };
    static const uint8_t PIXELS[6] = { 0, 128, 191, 64, 159, 255 };
    uint8_t out[6];

    (void)state;
    assert_true(quantize_cpu(out, X, 2));
    assert_memory_equal(out, PIXELS, sizeof out);
}

static void bytes_of_what_is_not_finite_are_refused(void **state)
{
    static const float BAD[] = { INFINITY, -INFINITY, NAN };

    (void)state;
    for (int i = 0; i < 18; i++) {
        float x[6] = { 0 };
        uint8_t out[6];

        x[i / 3] = BAD[i % 3];
        assert_false(quantize_cpu(out, x, 2));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_rounded_half_up_and_saturate),
        cmocka_unit_test(channels_of_a_pixel_lie_side_by_side),
        cmocka_unit_test(bytes_of_what_is_not_finite_are_refused),
    };

    return cmocka_run_group_tests_name("quantize", tests, NULL, NULL);
}
