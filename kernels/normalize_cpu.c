#include "kernels/normalize.h"

#include "kernels/simd.h"

#include <math.h>

enum { LANES = 8 };

static const double EPSILON = 1e-8;

SIMD_ANY add_lanes_any(const float *x, int width, double *sum, double *squares)
{
    double s[LANES] = { 0 }, q[LANES] = { 0 };
    int i = 0;

    for (; i + LANES <= width; i += LANES)
        for (int l = 0; l < LANES; l++) {
            double v = (double)x[i + l];

            s[l] += v;
            q[l] = fma(v, v, q[l]);
        }
    for (int l = 0; i + l < width; l++) {
        double v = (double)x[i + l];

        s[l] += v;
        q[l] = fma(v, v, q[l]);
    }
    for (int l = 0; l < LANES; l++) {
        *sum += s[l];
        *squares += q[l];
    }
}
SIMD_VERSIONS(add_lanes, (const float *x, int width, double *sum, double *squares),
              (x, width, sum, squares))

struct moments moments_cpu(const float *x, int width)
{
    struct moments m = { 0 };

    add_lanes(x, width, &m.sum, &m.squares);
    return m;
}

void normalize_cpu(float *scale, float *shift, const struct moments *row, int rows, size_t pixels,
                   float style_scale, float style_shift)
{
    struct moments all = { 0 };

    for (int y = 0; y < rows; y++) {
        all.sum += row[y].sum;
        all.squares += row[y].squares;
    }
    double mean = all.sum / (double)pixels, var = all.squares / (double)pixels - mean * mean;
    double factor = ((double)style_scale + 1.0) / sqrt((var > 0.0 ? var : 0.0) + EPSILON);

    *scale = (float)factor;
    *shift = (float)((double)style_shift - mean * factor);
}
