/* StyleGAN 3's waves against sin() in double, and the caller's transform against its definition. */
#include "kernels/fourier.h"
#include "tests/kit_floats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double PI = 3.14159265358979323846;

/* ---- The sine ---- */

/* sin(2 pi phase) as a plane of one pixel has it: its one grid point is 0. */
static float sine(float phase, float amplitude)
{
    struct fourier one = { .channels = 1, .size = 1, .rate = 16.0, .cutoff = 2.0 };
    struct fourier_wave wave = { .fx = 3.0f, .fy = -5.0f, .phase = phase, .amplitude = amplitude };
    float out;

    fourier_plane_cpu(&out, &one, &wave);
    return out;
}

/* In double; whole turns are taken off first, which is exact. */
static double exact_sine(double turns)
{
    return sin(2.0 * PI * (turns - rint(turns)));
}

static void sine_is_right_to_5e_7(void **state)
{
    enum { STEPS = 100000 };
    double most = 0.0;

    (void)state;
    for (int i = -STEPS; i <= STEPS; i++) {
        static const float REACH[] = { 0.5f, 8.0f, 1000.0f };

        for (int r = 0; r < 3; r++) {
            float phase = REACH[r] * (float)i / STEPS;
            double off = fabs((double)sine(phase, 1.0f) - exact_sine((double)phase));

            most = off > most ? off : most;
        }
    }
    assert_true(most < 5e-7);
}

static void quarters_of_a_turn_have_no_step(void **state)
{
    (void)state;
    for (int quarter = -8; quarter <= 8; quarter++) {
        static const float SINES[] = { 0.0f, 1.0f, 0.0f, -1.0f };
        float at = (float)quarter / 4.0f, expect = SINES[(quarter + 8) % 4];

        assert_true(fabsf(sine(at, 1.0f) - expect) < 5e-7f);
        assert_true(fabsf(sine(nextafterf(at, -9.0f), 1.0f) - expect) < 4e-6f);
        assert_true(fabsf(sine(nextafterf(at, 9.0f), 1.0f) - expect) < 4e-6f);
    }
    assert_true(sine(0.25f, 0.5f) == 0.5f * sine(0.25f, 1.0f));
    assert_true(isnan(sine(NAN, 1.0f)) && isnan(sine(0.25f, NAN)));
}

/* ---- Planes ---- */

static const struct fourier_wave WAVES[] = {
    { 0.0f, 0.0f, 0.0f, 1.0f },      { 1.9f, -0.7f, 0.3f, 1.0f }, { -3.25f, 2.5f, -7.6f, 0.4f },
    { 7.75f, 7.75f, 100.3f, 0.01f }, { 0.1f, 6.0f, -0.2f, 0.0f },
};

static void check_plane(int size, double rate, const struct fourier_wave *wave)
{
    struct fourier self = { .channels = 1, .size = size, .rate = rate, .cutoff = 2.0 };
    size_t count = (size_t)(size * size);
    double *expect = malloc(count * sizeof *expect), *scale = malloc(count * sizeof *scale);
    float *first = NULL;

    assert_true(expect && scale);
    for (int i = 0; i < size * size; i++) {
        double gx = ((2.0 * (i % size) + 1.0) / size - 1.0) * size / (2.0 * rate);
        double gy = ((2.0 * (i / size) + 1.0) / size - 1.0) * size / (2.0 * rate);
        double turns[] = { gx * (double)wave->fx, gy * (double)wave->fy, (double)wave->phase };

        expect[i] = (double)wave->amplitude * exact_sine(turns[0] + turns[1] + turns[2]);
        /* the sine's own error, and two roundings of the argument and one of each grid point */
        scale[i] = 5e-7 + 2.0 * PI * 2.0 / (1 << 24) *
                              (fabs(turns[0]) + fabs(turns[1]) + fabs(turns[2]));
    }
    for (int level = levels_here(); level-- > 0;) {
        float *out = guarded_create(count);

        simd_limit((enum simd_level)level);
        fourier_plane_cpu(out, &self, wave);
        assert_near(out, expect, scale, 1.0, count, simd_word((enum simd_level)level));
        if (first)
            assert_same_bits(out, first, count, simd_word((enum simd_level)level));
        guarded_release(first);
        first = out;
    }
    guarded_release(first);
    free(expect);
    free(scale);
}

static void planes_are_their_definition_at_every_size(void **state)
{
    (void)state;
    for (int size = 1; size <= 150; size += size < 70 ? 1 : 16)
        check_plane(size, 16.0, &WAVES[size % 5]);
    for (int w = 0; w < 5; w++) {
        check_plane(36, 16.0, &WAVES[w]);
        check_plane(52, 30.7, &WAVES[w]);
        check_plane(129, 64.0, &WAVES[w]);
    }
}

/* ---- Style and transform ---- */

/* out = a . b, [3,3] */
static void multiply(double out[9], const double a[9], const double b[9])
{
    for (int i = 0; i < 9; i++) {
        out[i] = 0.0;
        for (int k = 0; k < 3; k++)
            out[i] += a[i / 3 * 3 + k] * b[k * 3 + i % 3];
    }
}

/* freqs, phases and what becomes of them, in double. */
static void check_waves(const float style[4], const float transform[9])
{
    enum { CHANNELS = 50 };
    float *freqs = guarded_even(2 * CHANNELS, 1), *phases = guarded_even(CHANNELS, 2);
    struct fourier self = { CHANNELS, 36, freqs, phases, 16.0, 2.0 };
    struct fourier_wave wave[CHANNELS];
    double norm = hypot((double)style[0], (double)style[1]);
    double rc = style[0] / norm, rs = style[1] / norm, tx = style[2] / norm, ty = style[3] / norm;
    const double turn[9] = { rc, -rs, 0, rs, rc, 0, 0, 0, 1 };
    const double move[9] = { 1, 0, -tx, 0, 1, -ty, 0, 0, 1 };
    double asked[9], both[9], t[9];

    for (int i = 0; i < 2 * CHANNELS; i++)
        freqs[i] *= 8.0f;           /* both sides of where they fade, 2 to 8 */
    for (int i = 0; i < 9; i++)
        asked[i] = (double)transform[i];
    multiply(both, turn, move);
    multiply(t, both, asked);
    fourier_waves_cpu(wave, &self, style, transform);
    for (int j = 0; j < CHANNELS; j++) {
        double x = (double)freqs[2 * j], y = (double)freqs[2 * j + 1];
        double fx = x * t[0] + y * t[3], fy = x * t[1] + y * t[4];
        double phase = (double)phases[j] + x * t[2] + y * t[5];
        double fade = 1.0 - (hypot(fx, fy) - 2.0) / (8.0 - 2.0);
        /* a handful of roundings of numbers up to 8 * 8 and their sums */
        double near = 64.0 * 16.0 / (1 << 24);

        fade = fade < 0.0 ? 0.0 : fade > 1.0 ? 1.0 : fade;
        assert_true(fabs(fx - (double)wave[j].fx) < near);
        assert_true(fabs(fy - (double)wave[j].fy) < near);
        assert_true(fabs(phase - (double)wave[j].phase) < near);
        assert_true(fabs(fade - (double)wave[j].amplitude) < near);
    }
    guarded_release(freqs);
    guarded_release(phases);
}

static const float IDENTITY[9] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };

static void style_and_transform_turn_and_shift_the_waves(void **state)
{
    static const float STYLES[][4] = {
        { 1, 0, 0, 0 }, { 0.1f, 0, 0, 0 }, { 0.6f, -0.8f, 0, 0 }, { -2, 3, 1.5f, -0.25f },
        { 0, 1, -3, 2 }, { 0.03f, 0.04f, 0.01f, 0.2f },
    };
    static const float MATRICES[][9] = {
        { 1, 0, 0, 0, 1, 0, 0, 0, 1 },
        { 0.8f, -0.6f, 0.25f, 0.6f, 0.8f, -1.5f, 0, 0, 1 },
        { 1.1f, 0.3f, -0.2f, 0.05f, 0.7f, 0.9f, 0.5f, -0.5f, 2 },
    };

    (void)state;
    for (int s = 0; s < 6; s++)
        for (int m = 0; m < 3; m++)
            check_waves(STYLES[s], MATRICES[m]);
}

/* Nothing may hide that the style has no direction. */
static void style_without_a_direction_gives_no_number(void **state)
{
    static const float NONE[4] = { 0, 0, 1, 1 }, FREQS[2] = { 1, 1 }, PHASE[1] = { 0.5f };
    struct fourier self = { 1, 4, FREQS, PHASE, 16.0, 2.0 };
    struct fourier_wave wave;

    (void)state;
    fourier_waves_cpu(&wave, &self, NONE, IDENTITY);
    assert_true(isnan(wave.amplitude));
}

static void stored_or_given_matrix_is_taken_as_it_is(void **state)
{
    struct recipe_transform asked = { .kind = RECIPE_TRANSFORM_NONE };
    float stored[9], out[9];

    (void)state;
    fill_even(stored, 9, 1);
    fill_even(asked.m, 9, 2);
    fourier_transform(out, &asked, stored);
    assert_memory_equal(out, stored, sizeof out);
    asked.kind = RECIPE_TRANSFORM_MATRIX;
    fourier_transform(out, &asked, stored);
    assert_memory_equal(out, asked.m, sizeof out);
}

/* As the official generate tool makes it: the inverse of [c,s,tx; -s,c,ty; 0,0,1]. */
static void translating_and_rotating_is_the_inverse_of_that_transform(void **state)
{
    static const double TX[] = { 0.0, 0.25, -1.5 }, TY[] = { 0.0, -0.125, 3.000001 };
    static const double DEGREES[] = { 0.0, 30.0, 90.0, -45.5, 180.0, 359.999999, 725.25 };

    (void)state;
    for (int i = 0; i < 3 * 3 * 7; i++) {
        double tx = TX[i % 3], ty = TY[i / 3 % 3], degrees = DEGREES[i / 9];
        double c = cos(degrees / 360.0 * PI * 2.0), s = sin(degrees / 360.0 * PI * 2.0);
        const double wanted[9] = { c, s, tx, -s, c, ty, 0, 0, 1 };
        struct recipe_transform asked = { .kind = RECIPE_TRANSFORM_TR,
                                          .tx = llrint(tx * 1e6),
                                          .ty = llrint(ty * 1e6),
                                          .degrees = llrint(degrees * 1e6) };
        float out[9];
        double inverse[9], product[9];

        fourier_transform(out, &asked, IDENTITY);
        for (int k = 0; k < 9; k++)
            inverse[k] = (double)out[k];
        multiply(product, wanted, inverse);
        for (int k = 0; k < 9; k++)
            assert_true(fabs(product[k] - (double)IDENTITY[k]) < 1e-6);
        multiply(product, inverse, wanted);
        for (int k = 0; k < 9; k++)
            assert_true(fabs(product[k] - (double)IDENTITY[k]) < 1e-6);
    }
}

static void no_translation_and_rotation_is_the_identity(void **state)
{
    struct recipe_transform asked = { .kind = RECIPE_TRANSFORM_TR };
    float stored[9], out[9];

    (void)state;
    fill_even(stored, 9, 1);        /* does not enter */
    fourier_transform(out, &asked, stored);
    for (int i = 0; i < 9; i++)
        assert_true(out[i] == IDENTITY[i]);
}

/* What the matrix does: a picture moved by tx has at x what the unmoved one has at x - tx. */
static void waves_move_with_the_translation(void **state)
{
    enum { SIZE = 32, STEP = 4 };
    static const float STYLE[4] = { 1, 0, 0, 0 }, FREQS[2] = { 1.25f, -0.5f }, PHASE[1] = { 0.1f };
    struct fourier self = { 1, SIZE, FREQS, PHASE, SIZE, 2.0 };
    /* one pixel is 1 / rate */
    struct recipe_transform asked = { .kind = RECIPE_TRANSFORM_TR, .tx = 1000000 * STEP / SIZE };
    float transform[9], still[SIZE * SIZE], moved[SIZE * SIZE];
    struct fourier_wave wave;

    (void)state;
    fourier_waves_cpu(&wave, &self, STYLE, IDENTITY);
    fourier_plane_cpu(still, &self, &wave);
    fourier_transform(transform, &asked, IDENTITY);
    fourier_waves_cpu(&wave, &self, STYLE, transform);
    fourier_plane_cpu(moved, &self, &wave);
    for (int y = 0; y < SIZE; y++)
        for (int x = STEP; x < SIZE; x++)
            assert_true(fabsf(moved[y * SIZE + x] - still[y * SIZE + x - STEP]) < 5e-6f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sine_is_right_to_5e_7),
        cmocka_unit_test(quarters_of_a_turn_have_no_step),
        cmocka_unit_test(planes_are_their_definition_at_every_size),
        cmocka_unit_test(style_and_transform_turn_and_shift_the_waves),
        cmocka_unit_test(style_without_a_direction_gives_no_number),
        cmocka_unit_test(stored_or_given_matrix_is_taken_as_it_is),
        cmocka_unit_test(translating_and_rotating_is_the_inverse_of_that_transform),
        cmocka_unit_test(no_translation_and_rotation_is_the_identity),
        cmocka_unit_test(waves_move_with_the_translation),
    };

    return cmocka_run_group_tests_name("fourier", tests, NULL, levels_restore);
}
