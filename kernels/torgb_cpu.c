#include "kernels/torgb.h"

#include "kernels/simd.h"

#include <float.h>
#include <math.h>

/* lanes pixels from x and to out on. */
static inline __attribute__((always_inline)) int sum_run(const size_t lanes, float *out,
                                                         const float *x, const struct torgb *p)
{
    float sum[TORGB_CHANNELS][TORGB_LANES];
    float limit = p->clamp > 0.0f ? p->clamp : INFINITY;
    int broken = 0;

    for (int c = 0; c < TORGB_CHANNELS; c++)
        for (size_t j = 0; j < lanes; j++)
            sum[c][j] = 0.0f;
    for (int i = 0; i < p->channels; i++)
        for (int c = 0; c < TORGB_CHANNELS; c++) {
            float weight = p->weight[(size_t)c * p->channels + i] * p->style[i];

            for (size_t j = 0; j < lanes; j++)
                sum[c][j] += weight * x[(size_t)i * p->pixels + j];
        }
    for (int c = 0; c < TORGB_CHANNELS; c++)
        for (size_t j = 0; j < lanes; j++) {
            float v = sum[c][j] + p->bias[c];

            broken += !(fabsf(v) <= FLT_MAX);
            v = v > limit ? limit : v;
            out[(size_t)c * p->pixels + j] = v < -limit ? -limit : v;
        }
    return broken;
}

SIMD_CLONES
bool torgb_cpu(float *out, const float *x, size_t first, size_t count, const struct torgb *p)
{
    size_t at = first, end = first + count;
    int broken = 0;

    for (; end - at >= TORGB_LANES; at += TORGB_LANES)
        broken |= sum_run(TORGB_LANES, out + at, x + at, p);
    if (at < end)
        broken |= sum_run(end - at, out + at, x + at, p);
    return broken == 0;
}
