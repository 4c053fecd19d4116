#include "kernels/fir.h"

#include "kernels/simd.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static const float OUTER = 0.25f, INNER = 0.75f;    /* [1,3,3,1] / 4 */

enum { GUARD = 1 };             /* zeros beside a row of scratch */

static size_t row_count(int width)
{
    return (size_t)width + 1 + 2 * GUARD;           /* y has width + 1 even columns at most */
}

size_t fir_scratch_count(int width)
{
    return 3 * row_count(width);
}

SIMD_ANY filter_columns_any(float *restrict out, const float *const tap[4], const float *f,
                            int count)
{
    const float *a = tap[0], *b = tap[1], *c = tap[2], *d = tap[3];

    for (int i = 0; i < count; i++)
        out[i] = fmaf(f[3], d[i], fmaf(f[2], c[i], fmaf(f[1], b[i], f[0] * a[i])));
}
SIMD_VERSIONS(filter_columns, (float *restrict out, const float *const tap[4], const float *f,
                               int count), (out, tap, f, count))

SIMD_ANY filter_row_any(float *restrict out, const float *even, const float *odd, const float *f,
                        int pairs)
{
    for (int i = 0; i < pairs; i++) {
        float a = odd[i - 1], b = even[i], c = odd[i], d = even[i + 1], e = odd[i + 1];

        out[2 * i] = fmaf(f[3], d, fmaf(f[2], c, fmaf(f[1], b, f[0] * a)));
        out[2 * i + 1] = fmaf(f[3], e, fmaf(f[2], d, fmaf(f[1], c, f[0] * b)));
    }
}
SIMD_VERSIONS(filter_row, (float *restrict out, const float *even, const float *odd, const float *f,
                           int pairs), (out, even, odd, f, pairs))

/* y[row] of one column parity; rows outside y are zeros. */
static const float *y_row(const struct fir_phases *y, int row, int parity, const float *zero)
{
    if (row < 0 || row >= y->size)
        return zero;
    return y->data + (size_t)(row % 2 * 2 + parity) * y->plane +
           (size_t)(row / 2) * (size_t)y->rows;
}

void fir_join_cpu(float *out, const struct fir_phases *y, const float f[4], int first, int count,
                  int width, float *scratch)
{
    int columns[2] = { (y->size + 1) / 2, y->size / 2 };
    float *line[2] = { scratch + GUARD, scratch + GUARD + row_count(width / 2) };
    const float *zero = scratch + GUARD + 2 * row_count(width / 2);

    memset(scratch, 0, fir_scratch_count(width / 2) * sizeof *scratch);
    for (int row = first; row < first + count; row++) {
        for (int q = 0; q < 2; q++) {
            const float *tap[4];

            for (int s = 0; s < 4; s++)
                tap[s] = y_row(y, row + s - 1, q, zero);
            filter_columns(line[q], tap, f, columns[q]);
        }
        filter_row(out, line[0], line[1], f, width / 2);
        out += width;
    }
}

SIMD_ANY blend_rows_any(float *restrict out, const float *far, const float *near, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = fmaf(INNER, near[i], OUTER * far[i]);
}
SIMD_VERSIONS(blend_rows, (float *restrict out, const float *far, const float *near, int count),
              (out, far, near, count))

SIMD_ANY double_row_any(float *restrict out, const float *x, int width)
{
    for (int i = 0; i < width; i++) {
        out[2 * i] = fmaf(INNER, x[i], OUTER * x[i - 1]);
        out[2 * i + 1] = fmaf(INNER, x[i], OUTER * x[i + 1]);
    }
}
SIMD_VERSIONS(double_row, (float *restrict out, const float *x, int width), (out, x, width))

void fir_double_cpu(float *out, const float *x, int height, int width, float *scratch)
{
    float *line = scratch + GUARD, *zero = line + row_count(width);

    memset(scratch, 0, fir_scratch_count(width) * sizeof *scratch);
    for (int row = 0; row < 2 * height; row++) {
        int near = row / 2, far = row % 2 ? near + 1 : near - 1;
        bool inside = far >= 0 && far < height;

        blend_rows(line, inside ? x + (size_t)far * (size_t)width : zero,
                   x + (size_t)near * (size_t)width, width);
        double_row(out + (size_t)row * 2 * (size_t)width, line, width);
    }
}
