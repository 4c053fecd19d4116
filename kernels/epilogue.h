/* epilogue -- what follows a convolution, rows of one channel of one sample:
 *     v = fma(x, demod, fma(noise, strength, bias));  out = clamp(lrelu(v, gain), -clamp, clamp)
 * Source: StyleGAN2-ADA SynthesisLayer.forward; StyleGAN 1's layer_epilogue as far as its lrelu. */
#ifndef KERNELS_EPILOGUE_H
#define KERNELS_EPILOGUE_H

#include <stdbool.h>
#include <stddef.h>

struct epilogue {
    float demod;                    /* of this channel and sample (conv.h) */
    const float *noise;             /* the layer's one plane, from the first row on; NULL: none */
    float strength;
    float bias;
    float gain;                     /* of the lrelu */
    float clamp;                    /* 0: none */
};

/* x has rows of pitch floats, out and noise rows of width; x == out is fine when pitch is width.
 * False when a value was not finite (looked at before the clamp, which would hide an infinity). */
bool epilogue_cpu(float *out, const float *x, size_t pitch, int rows, int width,
                  const struct epilogue *p);

/* Only v = fma(x, demod, bias). Whoever filters or sums v looks whether it is finite. */
void epilogue_scale_cpu(float *out, const float *x, size_t pitch, int rows, int width, float demod,
                        float bias);

#endif
