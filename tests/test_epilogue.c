/* What follows a convolution: noise, bias, activation and clamp; StyleGAN 1's normalisation; the
 * layers' parts of the picture. */
#include "kernels/epilogue.h"
#include "kernels/normalize.h"
#include "kernels/torgb.h"
#include "tests/kit_floats.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const float BAD[] = { INFINITY, -INFINITY, NAN };

enum { BAD_COUNT = 3 };

static const float SQRT2 = 1.41421356f;

/* ---- Epilogue ---- */

static void epilogue_goes_in_the_stated_order(void **state)
{
    static const float X[] = { 1.0f, -1.0f, 4.0f, -40.0f }, NOISE[] = { 1.0f, -2.0f, 0.0f, 3.0f };
    struct epilogue p = { .demod = 2.0f, .noise = NOISE, .strength = 0.5f, .bias = 0.25f,
                          .gain = SQRT2 };
    float out[4];

    (void)state;
    assert_true(epilogue_cpu(out, X, 4, 1, 4, &p));
    assert_true(out[0] == 2.75f * SQRT2);
    assert_true(out[1] == -2.75f * 0.2f * SQRT2);
    p.noise = NULL;
    p.gain = 1.0f;
    assert_true(epilogue_cpu(out, X, 4, 1, 4, &p));
    assert_true(out[0] == 2.25f && out[1] == -1.75f * 0.2f);
    p.clamp = 1.5f;
    assert_true(epilogue_cpu(out, X, 4, 1, 4, &p));
    assert_true(out[2] == 1.5f && out[3] == -1.5f);
}

/* A value in double; *size is the sum of its terms' absolute values. */
static double finished(double x, const struct epilogue *p, size_t at, double *size)
{
    double noise = p->noise ? (double)p->noise[at] * (double)p->strength : 0.0;
    double v = x * (double)p->demod + noise + (double)p->bias;

    *size = (fabs(x * (double)p->demod) + fabs(noise) + fabs((double)p->bias)) * (double)p->gain;
    v = (v >= 0.0 ? v : 0.2 * v) * (double)p->gain;
    if (p->clamp > 0.0f)
        v = fmin(fmax(v, -(double)p->clamp), (double)p->clamp);
    return v;
}

/* The same in float, in the header's order. */
static float finished_chain(float x, const struct epilogue *p, size_t at)
{
    float v = fmaf(x, p->demod, p->noise ? fmaf(p->noise[at], p->strength, p->bias) : p->bias);

    v = (v >= 0.0f ? v : v * 0.2f) * p->gain;
    return p->clamp > 0.0f ? fminf(fmaxf(v, -p->clamp), p->clamp) : v;
}

static void check_epilogue(int rows, int width, size_t pitch, const struct epilogue *p)
{
    size_t count = (size_t)(rows * width);
    float *x = guarded_even((size_t)(rows - 1) * pitch + (size_t)width, (uint32_t)width);
    float *expect = guarded_create(count);

    for (size_t i = 0; i < count; i++) {
        float from = x[i / (size_t)width * pitch + i % (size_t)width];
        double size, exact = finished((double)from, p, i, &size);

        expect[i] = finished_chain(from, p, i);
        /* five roundings */
        assert_true(fabs(exact - (double)expect[i]) <= size * 5.0 / (1 << 24));
    }
    for (int level = levels_here(); level-- > 0;) {
        float *out = guarded_create(count);

        simd_limit((enum simd_level)level);
        assert_true(epilogue_cpu(out, x, pitch, rows, width, p));
        assert_same_bits(out, expect, count, simd_word((enum simd_level)level));
        guarded_release(out);
        if (pitch == (size_t)width) {           /* in place */
            out = guarded_create(count);
            memcpy(out, x, count * sizeof *out);
            assert_true(epilogue_cpu(out, out, pitch, rows, width, p));
            assert_same_bits(out, expect, count, "in place");
            guarded_release(out);
        }
    }
    guarded_release(x);
    guarded_release(expect);
}

static void epilogue_is_its_definition_at_every_width(void **state)
{
    float *noise = guarded_even(7 * 80, 9);

    (void)state;
    for (int width = 1; width <= 70; width++)
        for (int form = 0; form < 16; form++) {
            struct epilogue p = { .demod = form & 1 ? 1.7f : -0.3f,
                                  .noise = form & 2 ? noise : NULL,
                                  .strength = 0.4f,
                                  .bias = form & 4 ? -0.2f : 0.0f,
                                  .gain = form & 1 ? SQRT2 : 1.0f,
                                  .clamp = form & 8 ? 0.5f : 0.0f };

            check_epilogue(1 + form % 7, width, (size_t)(width + form % 3), &p);
        }
    guarded_release(noise);
}

static void epilogue_sees_what_is_not_finite_through_the_clamp(void **state)
{
    enum { ROWS = 5, WIDTH = 37 };

    (void)state;
    for (int level = levels_here(); level-- > 0;)
        for (int i = 0; i < BAD_COUNT * ROWS * WIDTH; i++) {
            struct epilogue p = { .demod = 1.0f, .gain = SQRT2, .clamp = 1.0f };
            float x[ROWS * WIDTH] = { 0 }, out[ROWS * WIDTH];

            simd_limit((enum simd_level)level);
            x[i / BAD_COUNT] = BAD[i % BAD_COUNT];
            assert_false(epilogue_cpu(out, x, WIDTH, ROWS, WIDTH, &p));
            x[i / BAD_COUNT] = FLT_MAX;         /* finite, until the gain */
            assert_false(epilogue_cpu(out, x, WIDTH, ROWS, WIDTH, &p));
            p.gain = 1.0f;
            assert_true(epilogue_cpu(out, x, WIDTH, ROWS, WIDTH, &p));
        }
}

static void scale_alone_is_one_fused_step(void **state)
{
    (void)state;
    for (int width = 1; width <= 70; width++) {
        size_t pitch = (size_t)(width + width % 4), count = 3 * (size_t)width;
        float *x = guarded_even(2 * pitch + (size_t)width, 1), *expect = guarded_create(count);

        for (size_t i = 0; i < count; i++)
            expect[i] = fmaf(x[i / (size_t)width * pitch + i % (size_t)width], 0.7f, -0.1f);
        for (int level = levels_here(); level-- > 0;) {
            float *out = guarded_create(count);

            simd_limit((enum simd_level)level);
            epilogue_scale_cpu(out, x, pitch, 3, width, 0.7f, -0.1f);
            assert_same_bits(out, expect, count, simd_word((enum simd_level)level));
            guarded_release(out);
        }
        guarded_release(x);
        guarded_release(expect);
    }
}

/* ---- Normalisation ---- */

static void moments_are_added_in_eight_lanes(void **state)
{
    (void)state;
    for (int width = 1; width <= 70; width++) {
        float *x = guarded_even((size_t)width, (uint32_t)width);
        double sum[8] = { 0 }, squares[8] = { 0 }, all = 0.0, all_squares = 0.0;

        for (int i = 0; i < width; i++) {
            sum[i % 8] += (double)x[i];
            squares[i % 8] += (double)x[i] * (double)x[i];      /* exact: 48 bits */
        }
        for (int lane = 0; lane < 8; lane++) {
            all += sum[lane];
            all_squares += squares[lane];
        }
        for (int level = levels_here(); level-- > 0;) {
            struct moments m;

            simd_limit((enum simd_level)level);
            m = moments_cpu(x, width);
            assert_memory_equal(&m.sum, &all, sizeof all);
            assert_memory_equal(&m.squares, &all_squares, sizeof all_squares);
        }
        guarded_release(x);
    }
}

/* Normalises a plane of width * rows and holds it against two passes in double. */
static void check_normalize(const float *x, int rows, int width, float style_scale,
                            float style_shift, double near)
{
    struct moments *row = malloc((size_t)rows * sizeof *row);
    int count = rows * width;
    double mean = 0.0, var = 0.0;
    float scale, shift;

    assert_non_null(row);
    for (int i = 0; i < count; i++)
        mean += (double)x[i] / count;
    for (int i = 0; i < count; i++)
        var += ((double)x[i] - mean) * ((double)x[i] - mean) / count;
    for (int y = 0; y < rows; y++)
        row[y] = moments_cpu(x + y * width, width);
    normalize_cpu(&scale, &shift, row, rows, (size_t)count, style_scale, style_shift);
    for (int i = 0; i < count; i++) {
        double expect = ((double)x[i] - mean) / sqrt(var + 1e-8) * ((double)style_scale + 1.0) +
                        (double)style_shift;

        assert_true(fabs(expect - (double)fmaf(x[i], scale, shift)) <= near);
    }
    free(row);
}

static void normalised_plane_has_its_mean_and_deviation_from_the_style(void **state)
{
    (void)state;
    for (int size = 2; size <= 41; size += 3) {
        float *x = guarded_even((size_t)(size * size), (uint32_t)size);

        check_normalize(x, size, size, 0.0f, 0.0f, 2e-6);
        check_normalize(x, size, size, -1.75f, 3.0f, 5e-6);
        guarded_release(x);
    }
}

static void mean_of_1000_deviations_leaves_four_digits(void **state)
{
    enum { SIZE = 256 };
    float *x = guarded_even(SIZE * SIZE, 1);

    (void)state;
    for (int i = 0; i < SIZE * SIZE; i++)
        x[i] = 1000.0f + x[i] * 1.7320508f;     /* even over +-sqrt 3: deviation 1 */
    /* shift is near 1000 and a float: 1000 * 2^-24 = 6e-5; one more from the last step, and 1000
     * times the rounding of scale */
    check_normalize(x, SIZE, SIZE, 0.0f, 0.0f, 2e-4);
    for (int i = 0; i < SIZE * SIZE; i++)
        x[i] = 0.001f * (x[i] - 1000.0f);       /* and small ones, of which epsilon takes part */
    check_normalize(x, SIZE, SIZE, 0.0f, 0.0f, 2e-5);
    guarded_release(x);
}

static void flat_plane_is_the_style_shift(void **state)
{
    static const float LEVELS[] = { 0.0f, 3.0f, -1e6f };

    (void)state;
    for (int i = 0; i < 3; i++) {
        float x[9];
        struct moments m[3];
        float scale, shift;

        for (int k = 0; k < 9; k++)
            x[k] = LEVELS[i];
        for (int y = 0; y < 3; y++)
            m[y] = moments_cpu(x + 3 * y, 3);
        normalize_cpu(&scale, &shift, m, 3, 9, 0.0f, 0.5f);
        assert_true(scale == 10000.0f);         /* 1 / sqrt 1e-8: no root of a negative number */
        assert_true(fabs((double)fmaf(x[0], scale, shift) - 0.5) <= 10000.0 * fabs((double)x[0]) /
                                                                        (1 << 23));
    }
}

/* ---- The picture ---- */

enum { CHANNELS = 5, PIXELS = 333 };

static void torgb_is_its_definition_in_any_runs(void **state)
{
    static const int RUNS[] = { 1, 7, 63, 64, 65, 200, 333 };
    float *x = guarded_even(CHANNELS * PIXELS, 1), *weight = guarded_even(3 * CHANNELS, 2);
    float *bias = guarded_even(3, 3), *expect = guarded_create(3 * PIXELS);
    struct torgb p = { .channels = CHANNELS, .pixels = PIXELS, .weight = weight, .bias = bias };

    (void)state;
    for (int clamp = 0; clamp < 2; clamp++) {
        p.clamp = clamp ? 0.25f : 0.0f;
        for (int i = 0; i < 3 * PIXELS; i++) {
            float sum = 0.0f;
            double exact = (double)bias[i / PIXELS];

            for (int c = 0; c < CHANNELS; c++) {
                float w = weight[i / PIXELS * CHANNELS + c], v = x[c * PIXELS + i % PIXELS];

                sum = fmaf(w, v, sum);
                exact += (double)w * (double)v;
            }
            expect[i] = sum + bias[i / PIXELS];
            assert_true(fabs(exact - (double)expect[i]) < 6.0 * 6.0 / (1 << 24));
            if (clamp)
                expect[i] = fminf(fmaxf(expect[i], -0.25f), 0.25f);
        }
        for (int level = levels_here(); level-- > 0;)
            for (int r = 0; r < 7; r++) {
                float *out = guarded_create(3 * PIXELS);

                simd_limit((enum simd_level)level);
                for (int first = 0; first < PIXELS; first += RUNS[r]) {
                    int count = PIXELS - first < RUNS[r] ? PIXELS - first : RUNS[r];

                    assert_true(torgb_cpu(out, x, (size_t)first, (size_t)count, &p));
                }
                assert_same_bits(out, expect, 3 * PIXELS, simd_word((enum simd_level)level));
                guarded_release(out);
            }
    }
    guarded_release(x);
    guarded_release(weight);
    guarded_release(bias);
    guarded_release(expect);
}

static void torgb_sees_what_is_not_finite_in_its_own_pixels(void **state)
{
    static const int AT[] = { 0, 63, 64, 250, 332 };

    (void)state;
    for (int level = levels_here(); level-- > 0;)
        for (int i = 0; i < BAD_COUNT * 5; i++) {
            float *x = guarded_even(CHANNELS * PIXELS, 1), *out = guarded_create(3 * PIXELS);
            float weight[3 * CHANNELS], bias[3] = { 0 };
            struct torgb p = { CHANNELS, PIXELS, weight, bias, 1.0f };
            size_t at = (size_t)AT[i / BAD_COUNT];

            fill_even(weight, 3 * CHANNELS, 2);
            simd_limit((enum simd_level)level);
            x[3 * PIXELS + at] = BAD[i % BAD_COUNT];
            assert_false(torgb_cpu(out, x, 0, PIXELS, &p));
            assert_false(torgb_cpu(out, x, at, 1, &p));
            assert_true(torgb_cpu(out, x, 0, at, &p));
            assert_true(torgb_cpu(out, x, at + 1, PIXELS - at - 1, &p));
            guarded_release(x);
            guarded_release(out);
        }
}

/* Folded weights on x, and the model's weights on x * scale + shift. */
static void torgb_folds_the_inputs_scale_and_shift(void **state)
{
    float *x = guarded_even(CHANNELS * PIXELS, 1), *model = guarded_even(3 * CHANNELS, 2);
    float *scale = guarded_even(CHANNELS, 3), *shift = guarded_even(CHANNELS, 4);
    float *model_bias = guarded_even(3, 5), *out = guarded_create(3 * PIXELS);
    float *weight = guarded_create(3 * CHANNELS), *bias = guarded_create(3);
    struct torgb p = { CHANNELS, PIXELS, weight, bias, 0.0f };

    (void)state;
    for (int shifted = 0; shifted < 2; shifted++) {
        torgb_fold_cpu(weight, bias, model, model_bias, scale, shifted ? shift : NULL, CHANNELS);
        if (!shifted)
            assert_same_bits(bias, model_bias, 3, "bias");
        for (int i = 0; i < 3 * CHANNELS; i++)
            assert_true(weight[i] == model[i] * scale[i % CHANNELS]);
        assert_true(torgb_cpu(out, x, 0, PIXELS, &p));
        for (int i = 0; i < 3 * PIXELS; i++) {
            double exact = (double)model_bias[i / PIXELS];

            for (int c = 0; c < CHANNELS; c++)
                exact += (double)model[i / PIXELS * CHANNELS + c] *
                         ((double)x[c * PIXELS + i % PIXELS] * (double)scale[c] +
                          (shifted ? (double)shift[c] : 0.0));
            /* 16 roundings of sums below 11 */
            assert_true(fabs(exact - (double)out[i]) < 16.0 * 11.0 / (1 << 24));
        }
    }
    guarded_release(x);
    guarded_release(model);
    guarded_release(scale);
    guarded_release(shift);
    guarded_release(model_bias);
    guarded_release(out);
    guarded_release(weight);
    guarded_release(bias);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epilogue_goes_in_the_stated_order),
        cmocka_unit_test(epilogue_is_its_definition_at_every_width),
        cmocka_unit_test(epilogue_sees_what_is_not_finite_through_the_clamp),
        cmocka_unit_test(scale_alone_is_one_fused_step),
        cmocka_unit_test(moments_are_added_in_eight_lanes),
        cmocka_unit_test(normalised_plane_has_its_mean_and_deviation_from_the_style),
        cmocka_unit_test(mean_of_1000_deviations_leaves_four_digits),
        cmocka_unit_test(flat_plane_is_the_style_shift),
        cmocka_unit_test(torgb_is_its_definition_in_any_runs),
        cmocka_unit_test(torgb_sees_what_is_not_finite_in_its_own_pixels),
        cmocka_unit_test(torgb_folds_the_inputs_scale_and_shift),
    };

    return cmocka_run_group_tests_name("epilogue", tests, NULL, levels_restore);
}
