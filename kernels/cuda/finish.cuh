/* finish -- what ends a layer, whichever kernel made its sums:
 *     v   = fma(x, demod[c], fma(noise[pixel], strength[c], bias[c]))
 *     v   = clamp(lrelu(v, 0.2) * gain, -clamp, clamp)          where the layer activates
 *     rgb = sum_c v * rgb[colour,c]                             where a ToRGB reads the layer
 *     y   = round(v * next[c])                                  as the next convolution wants it
 * The style of the next convolution is multiplied in here, in float32, before the one rounding: so
 * that convolution is a plain one, and can be fed by copies. Every multiplication and addition is
 * named, so that no compiler regroups them.
 *
 * A value that is not finite before the clamp, or that the precision cannot hold, is reported, never
 * hidden: broken[sample] becomes the smallest index of such a layer. */
#ifndef KERNELS_CUDA_FINISH_CUH
#define KERNELS_CUDA_FINISH_CUH

#include "kernels/cuda/activation.cuh"

#include <stdbool.h>
#include <stddef.h>

/* Which noise a sample wants. */
enum noise_kind { NOISE_NONE, NOISE_CONST, NOISE_OWN };

/* What a sample's coefficients hold for each channel lies [sample * each + channel]. NULL pointers
 * stand for what the comment says. */
struct finish {
    int channels;               /* without padding */
    int layer;                  /* index, for broken */
    int *broken;                /* [samples] */
    size_t each;                /* floats from one sample's coefficients to the next */
    const float *demod;         /* of sample 0, [channels]; NULL: 1 */
    const float *bias;          /* [channels]; NULL: 0 */
    const float *noise;         /* the layer's plane [pixels]; NULL: the layer has none */
    const float *own_noise;     /* of sample 0: a plane that it brings itself */
    size_t own_each;            /* floats from one sample's to the next */
    const int *noise_kind;      /* [samples] */
    const float *noise_weight;  /* [noise_weights]: one for all channels, or one each */
    int noise_weights;
    bool activate;
    float gain, clamp;          /* clamp 0: none */
    const float *next;          /* of sample 0, [channels]; NULL: 1 */
    /* Sums for a ToRGB, a group of RGB_GROUP channels each, so that no tile can change a bit. */
    const float *rgb;           /* of sample 0's coefficients, [3, channels]; NULL: none */
    float *rgb_out;             /* [sample][group][3][pixels] */
    float *trace;               /* [sample][channels][pixels]: v, for whoever looks; NULL: nobody */
};

enum { RGB_GROUP = 32 };

static inline int rgb_groups(int channels)
{
    return (channels + RGB_GROUP - 1) / RGB_GROUP;
}

/* A channel's numbers for one sample. A padded channel's make zeros. */
struct finish_channel {
    float demod, bias, strength, next;
};

static __device__ __forceinline__ struct finish_channel finish_channel(const struct finish *p,
                                                                       int sample, int channel)
{
    struct finish_channel c = { 0.0f, 0.0f, 0.0f, 0.0f };
    size_t at = (size_t)sample * p->each + (size_t)channel;

    if (channel >= p->channels)
        return c;
    c.demod = p->demod ? p->demod[at] : 1.0f;
    c.bias = p->bias ? p->bias[channel] : 0.0f;
    if (p->noise)
        c.strength = p->noise_weight[p->noise_weights > 1 ? channel : 0];
    c.next = p->next ? p->next[at] : 1.0f;
    return c;
}

/* The noise at a pixel of the layer's output (row * size + column). */
static __device__ __forceinline__ float finish_noise(const struct finish *p, int sample,
                                                     size_t pixel)
{
    if (!p->noise || p->noise_kind[sample] == NOISE_NONE)
        return 0.0f;
    return p->noise_kind[sample] == NOISE_CONST
               ? p->noise[pixel]
               : p->own_noise[(size_t)sample * p->own_each + pixel];
}

/* v; *bad becomes true when something is wrong with it. */
static __device__ __forceinline__ float finish_value(const struct finish *p,
                                                     const struct finish_channel *c, float noise,
                                                     float x, bool *bad)
{
    float v = __fmaf_rn(x, c->demod, __fmaf_rn(noise, c->strength, c->bias));

    if (p->activate)
        v = __fmul_rn(v > 0.0f ? v : __fmul_rn(v, 0.2f), p->gain);
    *bad |= !(fabsf(v) <= 3.4028234e38f);
    if (p->clamp > 0.0f)
        v = fminf(fmaxf(v, -p->clamp), p->clamp);
    return v;
}

/* What is stored; the caller rounds it. */
template <class P>
static __device__ __forceinline__ float finish_stored(const struct finish_channel *c, float v,
                                                      bool *bad)
{
    float y = __fmul_rn(v, c->next);

    *bad |= !(fabsf(y) <= P::limit());
    return y;
}

/* At the end of a thread's work on a sample. */
static __device__ __forceinline__ void finish_report(const struct finish *p, int sample, bool bad)
{
    if (bad)
        atomicMin(&p->broken[sample], p->layer);
}

#endif
