/* torgb -- a layer's part of the picture: a 1 x 1 convolution to three channels, without
 * demodulation, noise or activation.
 *     out[c,p] = clamp((sum over i, ascending, of weight[c,i] * x[i,p], fused) + bias[c])
 * The input's scale and shift are folded into weight and bias first.
 * Source: StyleGAN2-ADA ToRGBLayer.forward; style already holds that layer's 1 / sqrt(channels). */
#ifndef KERNELS_TORGB_H
#define KERNELS_TORGB_H

#include <stdbool.h>
#include <stddef.h>

enum { TORGB_CHANNELS = 3, TORGB_LANES = 64 };

struct torgb {
    int channels;                   /* of x */
    size_t pixels;                  /* of a plane of x and out */
    const float *weight;            /* [3, channels] */
    const float *bias;              /* [3] */
    float clamp;                    /* 0: none */
};

/* weight[c,i] = model_weight[c,i] * scale[i]; bias[c] = model_bias[c] + sum_i model_weight[c,i]
 * shift[i]. scale, shift [channels]; NULL: 1 and 0. */
void torgb_fold_cpu(float *weight, float *bias, const float *model_weight, const float *model_bias,
                    const float *scale, const float *shift, int channels);

/* Pixels first..first+count-1 of all three channels; x [channels, pixels], out [3, pixels]. False
 * when a value was not finite before the clamp. */
bool torgb_cpu(float *out, const float *x, size_t first, size_t count, const struct torgb *p);

#endif
