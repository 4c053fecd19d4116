/* epilogue -- what follows each convolution of a StyleGAN 2 layer, one channel of one sample:
 *     v = x * demod + noise * strength + bias;  out = clamp(lrelu(v), -clamp, clamp)
 * in this order, each step rounded by itself; lrelu has the gain sqrt 2 (lrelu.h).
 * Source: StyleGAN2-ADA SynthesisLayer.forward. */
#ifndef KERNELS_EPILOGUE_H
#define KERNELS_EPILOGUE_H

#include <stdbool.h>
#include <stddef.h>

struct epilogue {
    float demod;                    /* of this channel and sample (conv.h) */
    const float *noise;             /* [height, width], the layer's one plane; NULL: no noise */
    float strength;
    float bias;
    float clamp;                    /* 0: none */
};

/* x has rows of pitch floats, out [height, width]; x == out is fine when pitch is width. False when
 * a value was not finite (looked at before the clamp, which would hide an infinity). */
bool epilogue_cpu(float *out, const float *x, size_t pitch, int height, int width,
                  const struct epilogue *p);

#endif
