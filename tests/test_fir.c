/* The short filters against upfirdn's definition in double, and to the bit in the order that the
 * header states. */
#include "kernels/fir.h"
#include "tests/kit_floats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const float STYLEGAN2[4] = { 0.25f, 0.75f, 0.75f, 0.25f };
static const float STYLEGAN1[4] = { 0.25f, 0.5f, 0.25f, 0.0f };

enum { SIZE_MAX_HERE = 70, Y_MAX = 2 * SIZE_MAX_HERE + 1 };

/* An up-convolution's y as a whole, and as conv.h hands it over. */
struct bench {
    int half, size;                 /* of the input; of y */
    float y[Y_MAX][Y_MAX];
    struct fir_phases phases;
    float *data;
};

/* size is 2 half + 1 (scatter) or 2 half (nearest). What a phase has beyond y must not matter. */
static void bench_create(struct bench *b, int half, int size, size_t apart)
{
    int rows = size % 2 ? half + 1 : half;

    b->half = half;
    b->size = size;
    fill_even(b->y[0], Y_MAX * Y_MAX, (uint32_t)size);
    b->phases = (struct fir_phases){ .plane = (size_t)(rows * rows) + apart, .rows = rows,
                                     .size = size };
    b->data = guarded_create(4 * b->phases.plane);
    b->phases.data = b->data;
    for (int row = 0; row < size; row++)
        for (int column = 0; column < size; column++)
            b->data[(size_t)(row % 2 * 2 + column % 2) * b->phases.plane +
                    (size_t)(row / 2 * rows + column / 2)] = b->y[row][column];
}

static float y_at(const struct bench *b, int row, int column)
{
    return row < 0 || column < 0 || row >= b->size || column >= b->size ? 0.0f : b->y[row][column];
}

/* upfirdn: y with a frame of zeros, one before and as many behind as the filter reaches. */
static double exact_at(const struct bench *b, const float f[4], int row, int column)
{
    double sum = 0.0;

    for (int t = 0; t < 16; t++)
        sum += (double)f[t / 4] * (double)f[t % 4] *
               (double)y_at(b, row + t / 4 - 1, column + t % 4 - 1);
    return sum;
}

/* Columns first: a chain down each of four columns, then one along them. */
static float chain_at(const struct bench *b, const float f[4], int row, int column)
{
    float sum = 0.0f;

    for (int t = 0; t < 4; t++) {
        float line = 0.0f;

        for (int s = 0; s < 4; s++)
            line = fmaf(f[s], y_at(b, row + s - 1, column + t - 1), line);
        sum = fmaf(f[t], line, sum);
    }
    return sum;
}

/* The whole in bands of so many rows at each level. */
static void check_bands(const struct bench *b, const float f[4], const float *expect)
{
    static const int BANDS[] = { 1, 2, 3, 7, 32, 1000 };
    int width = 2 * b->half;

    for (int level = levels_here(); level-- > 0;)
        for (int i = 0; i < 6; i++) {
            float *out = guarded_create((size_t)(width * width));
            float *scratch = guarded_create(fir_scratch_count(b->half));

            simd_limit((enum simd_level)level);
            for (int first = 0; first < width; first += BANDS[i]) {
                int count = width - first < BANDS[i] ? width - first : BANDS[i];

                fir_join_cpu(out + first * width, &b->phases, f, first, count, width, scratch);
            }
            assert_same_bits(out, expect, (size_t)(width * width),
                             simd_word((enum simd_level)level));
            guarded_release(out);
            guarded_release(scratch);
        }
}

static void check_join(int half, int size, const float f[4], size_t apart)
{
    static struct bench b;
    int width = 2 * half;
    float *expect = guarded_create((size_t)(width * width));

    bench_create(&b, half, size, apart);
    for (int i = 0; i < width * width; i++) {
        expect[i] = chain_at(&b, f, i / width, i % width);
        /* 16 terms below 1: 16 * 2^-24 */
        assert_true(fabs(exact_at(&b, f, i / width, i % width) - (double)expect[i]) < 1e-6);
    }
    check_bands(&b, f, expect);
    guarded_release(b.data);
    guarded_release(expect);
}

static void filter_of_stylegan2_joins_phases_as_defined(void **state)
{
    (void)state;
    for (int half = 1; half <= SIZE_MAX_HERE; half += half < 20 ? 1 : 10)
        check_join(half, 2 * half + 1, STYLEGAN2, (size_t)(half % 3));
}

static void filter_of_stylegan1_joins_phases_as_defined(void **state)
{
    (void)state;
    for (int half = 1; half <= SIZE_MAX_HERE; half += half < 20 ? 1 : 10)
        check_join(half, 2 * half, STYLEGAN1, (size_t)(half % 3));
}

static void any_four_taps_are_applied_first_to_last(void **state)
{
    static const float F[4] = { 0.1f, 0.9f, -0.7f, 0.3f };

    (void)state;
    for (int half = 1; half < 9; half++) {
        check_join(half, 2 * half, F, 0);
        check_join(half, 2 * half + 1, F, 0);
    }
}

/* ---- The picture doubled ---- */

/* Its source: zeros between, two before and one behind, [1,3,3,1] / 8 * 2 on each axis. */
static double doubled_at(const float *x, int height, int width, int row, int column)
{
    static const double F[] = { 0.25, 0.75, 0.75, 0.25 };
    double sum = 0.0;

    for (int t = 0; t < 16; t++) {
        int y = row + t / 4 - 2, z = column + t % 4 - 2;

        if (y >= 0 && y % 2 == 0 && y / 2 < height && z >= 0 && z % 2 == 0 && z / 2 < width)
            sum += F[t / 4] * F[t % 4] * (double)x[y / 2 * width + z / 2];
    }
    return sum;
}

static void check_double(int height, int width)
{
    size_t count = (size_t)(4 * height * width);
    float *x = guarded_even((size_t)(height * width), (uint32_t)(height + width)), *first = NULL;

    for (int level = levels_here(); level-- > 0;) {
        float *out = guarded_create(count), *scratch = guarded_create(fir_scratch_count(width));

        simd_limit((enum simd_level)level);
        fir_double_cpu(out, x, height, width, scratch);
        for (int i = 0; i < (int)count; i++)
            /* three roundings of numbers below 1 */
            assert_true(fabs(doubled_at(x, height, width, i / (2 * width), i % (2 * width)) -
                             (double)out[i]) < 2e-7);
        if (first)
            assert_same_bits(out, first, count, simd_word((enum simd_level)level));
        guarded_release(first);
        guarded_release(scratch);
        first = out;
    }
    guarded_release(first);
    guarded_release(x);
}

static void doubled_picture_is_its_definition(void **state)
{
    (void)state;
    for (int width = 1; width <= 40; width++) {
        check_double(1 + width % 7, width);
        check_double(width, 1 + width % 5);
    }
    check_double(64, 64);
}

/* Away from the borders a flat picture stays what it is: the gains of both axes are in. */
static void flat_picture_stays_flat_inside(void **state)
{
    enum { SIZE = 6, WIDE = 2 * SIZE };
    float x[SIZE * SIZE], out[WIDE * WIDE];
    float *scratch = guarded_create(fir_scratch_count(SIZE));

    (void)state;
    for (int i = 0; i < SIZE * SIZE; i++)
        x[i] = 3.0f;
    fir_double_cpu(out, x, SIZE, SIZE, scratch);
    for (int i = 0; i < WIDE * WIDE; i++) {
        bool row = i / WIDE == 0 || i / WIDE == WIDE - 1;
        bool column = i % WIDE == 0 || i % WIDE == WIDE - 1;

        assert_true(out[i] == 3.0f * (row ? 0.75f : 1.0f) * (column ? 0.75f : 1.0f));
    }
    guarded_release(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_of_stylegan2_joins_phases_as_defined),
        cmocka_unit_test(filter_of_stylegan1_joins_phases_as_defined),
        cmocka_unit_test(any_four_taps_are_applied_first_to_last),
        cmocka_unit_test(doubled_picture_is_its_definition),
        cmocka_unit_test(flat_picture_stays_flat_inside),
    };

    return cmocka_run_group_tests_name("fir", tests, NULL, levels_restore);
}
