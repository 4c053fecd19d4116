/* torgb -- a layer's contribution to the picture: a 1 x 1 modulated convolution to three channels,
 * without demodulation, noise or activation.
 *     out[c,p] = clamp((sum over i, ascending, of (weight[c,i] * style[i]) * x[i,p]) + bias[c])
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
    const float *style;             /* [channels] */
    float clamp;                    /* 0: none */
};

/* Pixels first..first+count-1 of all three channels; x [channels, pixels], out [3, pixels]. False
 * when a value was not finite before the clamp. */
bool torgb_cpu(float *out, const float *x, size_t first, size_t count, const struct torgb *p);

#endif
