#include "kernels/fir.h"

#include "kernels/simd.h"

#include <stdbool.h>
#include <string.h>

static const float OUTER = 0.25f, INNER = 0.75f;    /* f = [OUTER, INNER, INNER, OUTER] */

enum { GUARD = 1 };             /* zeros beside a row of scratch */

static size_t row_count(int width)
{
    return (size_t)width + 1 + 2 * GUARD;           /* y has width + 1 even columns */
}

size_t fir_scratch_count(int width)
{
    return 3 * row_count(width);
}

SIMD_CLONES
static void filter_columns(float *restrict out, const float *a, const float *b, const float *c,
                           const float *d, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = OUTER * a[i] + INNER * b[i] + INNER * c[i] + OUTER * d[i];
}

SIMD_CLONES
static void filter_row(float *restrict out, const float *even, const float *odd, int width)
{
    for (int i = 0; i < width; i++) {
        float a = odd[i - 1], b = even[i], c = odd[i], d = even[i + 1], e = odd[i + 1];

        out[2 * i] = OUTER * a + INNER * b + INNER * c + OUTER * d;
        out[2 * i + 1] = OUTER * b + INNER * c + INNER * d + OUTER * e;
    }
}

/* y[row] of one column parity; rows outside y are zeros. phase: the two row parities of that column
 * parity lie 2 planes apart. */
static const float *y_row(const float *phase, size_t plane, size_t pitch, int height, int row,
                          const float *zero)
{
    if (row < 0 || row > 2 * height)
        return zero;
    return phase + (size_t)(row % 2) * 2 * plane + (size_t)(row / 2) * pitch;
}

void fir_join_cpu(float *out, const float *phase, size_t plane, size_t pitch, int height, int width,
                  float *scratch)
{
    float *even = scratch + GUARD, *odd = even + row_count(width), *zero = odd + row_count(width);

    memset(scratch, 0, fir_scratch_count(width) * sizeof *scratch);
    for (int row = 0; row < 2 * height; row++) {
        for (int q = 0; q < 2; q++) {
            const float *tap[4];

            for (int s = 0; s < 4; s++)
                tap[s] = y_row(phase + (size_t)q * plane, plane, pitch, height, row + s - 1, zero);
            filter_columns(q ? odd : even, tap[0], tap[1], tap[2], tap[3], width + 1 - q);
        }
        filter_row(out + (size_t)row * 2 * (size_t)width, even, odd, width);
    }
}

SIMD_CLONES
static void blend_rows(float *restrict out, const float *far, const float *near, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = OUTER * far[i] + INNER * near[i];
}

SIMD_CLONES
static void double_row(float *restrict out, const float *x, int width)
{
    for (int i = 0; i < width; i++) {
        out[2 * i] = OUTER * x[i - 1] + INNER * x[i];
        out[2 * i + 1] = INNER * x[i] + OUTER * x[i + 1];
    }
}

void fir_double_cpu(float *out, const float *x, int height, int width, float *scratch)
{
    float *line = scratch + GUARD, *zero = line + row_count(width);

    memset(scratch, 0, fir_scratch_count(width) * sizeof *scratch);
    for (int row = 0; row < 2 * height; row++) {
        int near = row / 2, far = row % 2 ? near + 1 : near - 1;
        bool inside = far >= 0 && far < height;

        blend_rows(line, inside ? x + (size_t)far * width : zero, x + (size_t)near * width, width);
        double_row(out + (size_t)row * 2 * (size_t)width, line, width);
    }
}
