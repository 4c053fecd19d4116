#include "kernels/torgb.h"

#include "kernels/simd.h"

#include <float.h>
#include <math.h>

void torgb_fold_cpu(float *weight, float *bias, const float *model_weight, const float *model_bias,
                    const float *scale, const float *shift, int channels)
{
    for (int c = 0; c < TORGB_CHANNELS; c++) {
        const float *from = model_weight + (size_t)c * (size_t)channels;
        float sum = model_bias[c];

        for (int i = 0; i < channels; i++) {
            weight[c * channels + i] = scale ? from[i] * scale[i] : from[i];
            if (shift)
                sum = fmaf(from[i], shift[i], sum);
        }
        bias[c] = sum;
    }
}

/* lanes pixels from x and to out on. */
SIMD_INLINE int sum_run(const size_t lanes, float *out, const float *x, const struct torgb *p)
{
    float sum[TORGB_CHANNELS][TORGB_LANES];
    float limit = p->clamp > 0.0f ? p->clamp : INFINITY;
    int broken = 0;

    for (int c = 0; c < TORGB_CHANNELS; c++)
        for (size_t j = 0; j < lanes; j++)
            sum[c][j] = 0.0f;
    for (int i = 0; i < p->channels; i++)
        for (int c = 0; c < TORGB_CHANNELS; c++) {
            float weight = p->weight[(size_t)c * (size_t)p->channels + (size_t)i];

            for (size_t j = 0; j < lanes; j++)
                sum[c][j] = fmaf(weight, x[(size_t)i * p->pixels + j], sum[c][j]);
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

SIMD_ANY sum_all_any(float *out, const float *x, size_t first, size_t count, const struct torgb *p,
                     int *broken)
{
    size_t at = first, end = first + count;

    for (; end - at >= TORGB_LANES; at += TORGB_LANES)
        *broken += sum_run(TORGB_LANES, out + at, x + at, p);
    if (at < end)
        *broken += sum_run(end - at, out + at, x + at, p);
}
SIMD_VERSIONS(sum_all, (float *out, const float *x, size_t first, size_t count,
                        const struct torgb *p, int *broken), (out, x, first, count, p, broken))

bool torgb_cpu(float *out, const float *x, size_t first, size_t count, const struct torgb *p)
{
    int broken = 0;

    sum_all(out, x, first, count, p, &broken);
    return broken == 0;
}
