#include "kernels/epilogue.h"

#include "kernels/lrelu.h"
#include "kernels/simd.h"

#include <float.h>
#include <math.h>

/* The end of one value; counts in *broken when it is not finite. */
SIMD_INLINE float finish(float v, float gain, float limit, int *broken)
{
    v = lrelu(v, gain);
    *broken += !(fabsf(v) <= FLT_MAX);
    v = v > limit ? limit : v;
    return v < -limit ? -limit : v;
}

SIMD_ANY finish_row_any(float *out, const float *x, const float *noise, int width,
                        const struct epilogue *p, int *broken)
{
    float demod = p->demod, strength = p->strength, bias = p->bias, gain = p->gain;
    float limit = p->clamp > 0.0f ? p->clamp : INFINITY;
    int count = 0;

    if (noise)
        for (int i = 0; i < width; i++)
            out[i] = finish(fmaf(x[i], demod, fmaf(noise[i], strength, bias)), gain, limit, &count);
    else
        for (int i = 0; i < width; i++)
            out[i] = finish(fmaf(x[i], demod, bias), gain, limit, &count);
    *broken += count;
}
SIMD_VERSIONS(finish_row, (float *out, const float *x, const float *noise, int width,
                           const struct epilogue *p, int *broken),
              (out, x, noise, width, p, broken))

bool epilogue_cpu(float *out, const float *x, size_t pitch, int rows, int width,
                  const struct epilogue *p)
{
    int broken = 0;

    for (int y = 0; y < rows; y++)
        finish_row(out + (size_t)y * (size_t)width, x + (size_t)y * pitch,
                   p->noise ? p->noise + (size_t)y * (size_t)width : NULL, width, p, &broken);
    return broken == 0;
}

SIMD_ANY scale_row_any(float *out, const float *x, int width, float demod, float bias)
{
    for (int i = 0; i < width; i++)
        out[i] = fmaf(x[i], demod, bias);
}
SIMD_VERSIONS(scale_row, (float *out, const float *x, int width, float demod, float bias),
              (out, x, width, demod, bias))

void epilogue_scale_cpu(float *out, const float *x, size_t pitch, int rows, int width, float demod,
                        float bias)
{
    for (int y = 0; y < rows; y++)
        scale_row(out + (size_t)y * (size_t)width, x + (size_t)y * pitch, width, demod, bias);
}
