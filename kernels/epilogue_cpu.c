#include "kernels/epilogue.h"

#include "kernels/lrelu.h"
#include "kernels/simd.h"

#include <float.h>
#include <math.h>

/* The end of one value; counts in *broken when it is not finite. */
static inline __attribute__((always_inline)) float finish(float v, float limit, int *broken)
{
    v = lrelu(v);
    *broken += !(fabsf(v) <= FLT_MAX);
    v = v > limit ? limit : v;
    return v < -limit ? -limit : v;
}

/* How many of a row's values are not finite. */
SIMD_CLONES
static int finish_row(float *out, const float *x, const float *noise, int width,
                      const struct epilogue *p)
{
    float demod = p->demod, strength = p->strength, bias = p->bias;
    float limit = p->clamp > 0.0f ? p->clamp : INFINITY;
    int broken = 0;

    if (noise)
        for (int i = 0; i < width; i++)
            out[i] = finish(x[i] * demod + noise[i] * strength + bias, limit, &broken);
    else
        for (int i = 0; i < width; i++)
            out[i] = finish(x[i] * demod + bias, limit, &broken);
    return broken;
}

bool epilogue_cpu(float *out, const float *x, size_t pitch, int height, int width,
                  const struct epilogue *p)
{
    int broken = 0;

    for (int y = 0; y < height; y++)
        broken |= finish_row(out + (size_t)y * width, x + (size_t)y * pitch,
                             p->noise ? p->noise + (size_t)y * width : NULL, width, p);
    return broken == 0;
}
