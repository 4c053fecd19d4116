/* The convolution, its filter and what follows it against their definitions, over odd sizes and
 * channels that fill no block. */
#include "kernels/conv.h"
#include "kernels/epilogue.h"
#include "kernels/fir.h"
#include "kernels/quantize.h"
#include "kernels/torgb.h"
#include "kernels/truncate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* in, out, height, width */
static const struct conv_shape SHAPES[] = {
    { 1, 1, 1, 1 },  { 3, 5, 4, 4 },  { 2, 4, 5, 7 },   { 7, 3, 8, 8 },
    { 4, 9, 16, 3 }, { 5, 6, 9, 33 }, { 2, 2, 1, 200 }, { 1, 4, 70, 1 },
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0] };

struct data {
    float *x;                       /* [in, height, width] */
    float *padded, *weight, *raw;
};

/* In [-1, 1), the same on every run. */
static void fill(float *out, size_t count, uint32_t state)
{
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        out[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

static float *floats(size_t count)
{
    float *p = malloc(count * sizeof *p);

    assert_non_null(p);
    for (size_t i = 0; i < count; i++)
        p[i] = NAN;                 /* what is never written must never matter */
    return p;
}

static struct data data_create(struct conv_shape n)
{
    size_t pixels = (size_t)n.height * (size_t)n.width;
    struct data d = { .x = floats((size_t)n.in * pixels),
                      .padded = floats(conv_padded_count(n)),
                      .weight = floats((size_t)n.out * (size_t)n.in * 9),
                      .raw = floats(CONV_ROWS * 4 * conv_plane_count(n)) };

    fill(d.x, (size_t)n.in * pixels, 1);
    fill(d.weight, (size_t)n.out * (size_t)n.in * 9, 2);
    for (int i = 0; i < n.in; i++)
        conv_modulate_cpu(d.padded, d.x + (size_t)i * pixels, 0.5f, i, n);
    return d;
}

static void data_release(struct data *d)
{
    free(d->x);
    free(d->padded);
    free(d->weight);
    free(d->raw);
}

/* The input, scaled by the style, as data_create did; 0 outside. */
static float input(const struct data *d, struct conv_shape n, int i, int y, int x)
{
    if (y < 0 || y >= n.height || x < 0 || x >= n.width)
        return 0.0f;
    return d->x[((size_t)i * n.height + y) * n.width + x] * 0.5f;
}

static float plain_at(const struct data *d, struct conv_shape n, int o, int y, int x)
{
    float sum = 0.0f;

    for (int i = 0; i < n.in; i++)
        for (int t = 0; t < 9; t++)
            sum += d->weight[((size_t)o * n.in + i) * 9 + t] *
                   input(d, n, i, y + t / 3 - 1, x + t % 3 - 1);
    return sum;
}

static void plain_convolution_is_its_definition_to_the_bit(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPE_COUNT; s++) {
        struct conv_shape n = SHAPES[s];
        struct data d = data_create(n);

        for (int first = 0; first < n.out; first += CONV_ROWS) {
            conv_plain_cpu(d.raw, d.padded, d.weight, n, first);
            for (int o = first; o < n.out && o < first + CONV_ROWS; o++)
                for (int y = 0; y < n.height; y++)
                    for (int x = 0; x < n.width; x++)
                        assert_true(d.raw[(size_t)(o - first) * conv_plane_count(n) +
                                          (size_t)y * conv_pitch(n.width) + x] ==
                                    plain_at(&d, n, o, y, x));
        }
        data_release(&d);
    }
}

/* y of conv_up_cpu by its definition; 0 outside. */
static float up_at(const struct data *d, struct conv_shape n, int o, int row, int column)
{
    float sum = 0.0f;

    if (row < 0 || row > 2 * n.height || column < 0 || column > 2 * n.width)
        return 0.0f;
    for (int i = 0; i < n.in; i++)
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                if ((row - a) % 2 == 0 && (column - b) % 2 == 0)
                    sum += d->weight[((size_t)o * n.in + i) * 9 + a * 3 + b] *
                           input(d, n, i, (row - a) / 2, (column - b) / 2);
    return sum;
}

static void up_convolution_is_its_definition_to_the_bit(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPE_COUNT; s++) {
        struct conv_shape n = SHAPES[s];
        struct data d = data_create(n);
        size_t plane = conv_plane_count(n), pitch = conv_pitch(n.width);

        for (int first = 0; first < n.out; first += CONV_ROWS) {
            conv_up_cpu(d.raw, d.padded, d.weight, n, first);
            for (int o = first; o < n.out && o < first + CONV_ROWS; o++)
                for (int row = 0; row <= 2 * n.height; row++)
                    for (int column = 0; column <= 2 * n.width; column++) {
                        size_t phase = (size_t)(o - first) * 4 + (size_t)(row % 2 * 2 + column % 2);

                        assert_true(d.raw[phase * plane + (size_t)(row / 2) * pitch + column / 2] ==
                                    up_at(&d, n, o, row, column));
                    }
        }
        data_release(&d);
    }
}

static void filter_after_the_up_convolution_is_its_definition(void **state)
{
    static const double F[] = { 0.25, 0.75, 0.75, 0.25 };

    (void)state;
    for (int s = 0; s < SHAPE_COUNT; s++) {
        struct conv_shape n = SHAPES[s];
        struct data d = data_create(n);
        float *out = floats((size_t)4 * n.height * n.width);
        float *scratch = floats(fir_scratch_count(n.width));

        conv_up_cpu(d.raw, d.padded, d.weight, n, 0);
        fir_join_cpu(out, d.raw, conv_plane_count(n), conv_pitch(n.width), n.height, n.width,
                     scratch);
        for (int row = 0; row < 2 * n.height; row++)
            for (int column = 0; column < 2 * n.width; column++) {
                double sum = 0.0;

                for (int t = 0; t < 16; t++)
                    sum += F[t / 4] * F[t % 4] *
                           (double)up_at(&d, n, 0, row + t / 4 - 1, column + t % 4 - 1);
                /* 16 terms below 64: 16 * 64 * 2^-24 */
                assert_true(fabs(sum - (double)out[(size_t)row * 2 * n.width + column]) < 6e-5);
            }
        free(out);
        free(scratch);
        data_release(&d);
    }
}

static void doubled_picture_is_its_definition(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPE_COUNT; s++) {
        struct conv_shape n = SHAPES[s];
        struct data d = data_create(n);
        float *out = floats((size_t)4 * n.height * n.width);
        float *scratch = floats(fir_scratch_count(n.width));

        fir_double_cpu(out, d.x, n.height, n.width, scratch);
        for (int row = 0; row < 2 * n.height; row++)
            for (int column = 0; column < 2 * n.width; column++) {
                int far_y = row % 2 ? row / 2 + 1 : row / 2 - 1;
                int far_x = column % 2 ? column / 2 + 1 : column / 2 - 1;
                /* input() halves */
                double sum = 2.0 * (0.5625 * (double)input(&d, n, 0, row / 2, column / 2) +
                                    0.1875 * (double)input(&d, n, 0, far_y, column / 2) +
                                    0.1875 * (double)input(&d, n, 0, row / 2, far_x) +
                                    0.0625 * (double)input(&d, n, 0, far_y, far_x));

                assert_true(fabs(sum - (double)out[(size_t)row * 2 * n.width + column]) < 5e-7);
            }
        free(out);
        free(scratch);
        data_release(&d);
    }
}

static void epilogue_goes_in_the_stated_order(void **state)
{
    static const float X[] = { 1.0f, -1.0f, 4.0f, -40.0f }, NOISE[] = { 1.0f, -2.0f, 0.0f, 3.0f };
    struct epilogue p = { .demod = 2.0f, .noise = NOISE, .strength = 0.5f, .bias = 0.25f };
    float out[4];

    (void)state;
    assert_true(epilogue_cpu(out, X, 4, 1, 4, &p));
    assert_true(out[0] == 2.75f * 1.41421356f);
    assert_true(out[1] == -2.75f * 0.2f * 1.41421356f);
    p.noise = NULL;
    assert_true(epilogue_cpu(out, X, 4, 1, 4, &p));
    assert_true(out[0] == 2.25f * 1.41421356f);
    p.clamp = 1.5f;
    assert_true(epilogue_cpu(out, X, 4, 1, 4, &p));
    assert_true(out[2] == 1.5f && out[3] == -1.5f);
}

static void epilogue_sees_infinity_through_the_clamp(void **state)
{
    static const float BAD[] = { INFINITY, -INFINITY, NAN };
    struct epilogue p = { .demod = 1.0f, .clamp = 1.0f };

    (void)state;
    for (int i = 0; i < 3; i++) {
        float x[35] = { 0 }, out[35];

        assert_true(epilogue_cpu(out, x, 7, 5, 7, &p));
        x[34] = BAD[i];             /* the last one of the last row */
        assert_false(epilogue_cpu(out, x, 7, 5, 7, &p));
    }
}

static void torgb_is_its_definition_to_the_bit(void **state)
{
    enum { CHANNELS = 5, PIXELS = 150 };
    float x[CHANNELS * PIXELS], weight[3 * CHANNELS], style[CHANNELS], bias[3], out[3 * PIXELS];
    struct torgb p = { .channels = CHANNELS, .pixels = PIXELS, .weight = weight, .bias = bias,
                       .style = style };

    (void)state;
    fill(x, CHANNELS * PIXELS, 1);
    fill(weight, 3 * CHANNELS, 2);
    fill(style, CHANNELS, 3);
    fill(bias, 3, 4);
    assert_true(torgb_cpu(out, x, 0, 70, &p));      /* in parts, as threads do */
    assert_true(torgb_cpu(out, x, 70, 80, &p));
    for (int c = 0; c < 3; c++)
        for (int pixel = 0; pixel < PIXELS; pixel++) {
            float sum = 0.0f;

            for (int i = 0; i < CHANNELS; i++)
                sum += weight[c * CHANNELS + i] * style[i] * x[i * PIXELS + pixel];
            assert_true(out[c * PIXELS + pixel] == sum + bias[c]);
        }
    x[149] = INFINITY;
    assert_true(torgb_cpu(out, x, 0, 149, &p));
    assert_false(torgb_cpu(out, x, 140, 10, &p));
}

static void bytes_are_rounded_half_up_and_saturate(void **state)
{
    static const struct {
        float x;
        uint8_t byte;
    } ROWS[] = {
        { -1.0f, 0 },   { 1.0f, 255 },   { 0.0f, 128 },         { -0.00392157f, 127 },
        { -1.1f, 0 },   { 1.1f, 255 },   { 3e38f, 255 },        { -3e38f, 0 },
        { -1.003f, 0 }, { 0.9999f, 255 }, { -0.9961f, 0 },      { -0.9960f, 1 },
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

static void bytes_of_what_is_not_finite_are_refused(void **state)
{
    static const float BAD[] = { INFINITY, -INFINITY, NAN };

    (void)state;
    for (int i = 0; i < 3; i++) {
        float x[6] = { 0.0f, 0.0f, 0.0f, BAD[i], 0.0f, 0.0f };
        uint8_t out[6];

        assert_false(quantize_cpu(out, x, 2));
    }
}

static void truncation_is_exact_at_its_ends(void **state)
{
    enum { ROWS = 4, DIM = 9 };
    float w[ROWS * DIM], before[ROWS * DIM], w_avg[DIM];
    struct truncate_shape n = { .batch = 1, .num_ws = ROWS, .w_dim = DIM };

    (void)state;
    fill(w, ROWS * DIM, 1);
    fill(w_avg, DIM, 2);
    memcpy(before, w, sizeof w);
    truncate_cpu(w, w_avg, n, 1.0f, ROWS);
    assert_memory_equal(w, before, sizeof w);
    truncate_cpu(w, w_avg, n, 0.3f, 0);
    assert_memory_equal(w, before, sizeof w);
    truncate_cpu(w, w_avg, n, 0.0f, 2);
    assert_memory_equal(w, w_avg, sizeof w_avg);
    assert_memory_equal(w + DIM, w_avg, sizeof w_avg);
    assert_memory_equal(w + 2 * DIM, before + 2 * DIM, 2 * DIM * sizeof *w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_convolution_is_its_definition_to_the_bit),
        cmocka_unit_test(up_convolution_is_its_definition_to_the_bit),
        cmocka_unit_test(filter_after_the_up_convolution_is_its_definition),
        cmocka_unit_test(doubled_picture_is_its_definition),
        cmocka_unit_test(epilogue_goes_in_the_stated_order),
        cmocka_unit_test(epilogue_sees_infinity_through_the_clamp),
        cmocka_unit_test(torgb_is_its_definition_to_the_bit),
        cmocka_unit_test(bytes_are_rounded_half_up_and_saturate),
        cmocka_unit_test(bytes_of_what_is_not_finite_are_refused),
        cmocka_unit_test(truncation_is_exact_at_its_ends),
    };

    return cmocka_run_group_tests_name("conv", tests, NULL, NULL);
}
