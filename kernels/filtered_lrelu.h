/* filtered_lrelu -- StyleGAN 3's activation of one channel: up to a finer grid, through the leaky
 * rectifier there, and down again, so that no frequency folds over.
 *     z[v]   x's samples `up` apart, zeros between, pad_lo zeros before (negative: cropped)
 *     u[v] = clamp(lrelu(up sum_k up_filter[taps-1-k] z[v+k], gain), -clamp, clamp)   on both axes
 *     y[m] = sum_k down_filter[taps-1-k] u[down m + k]
 * The up filter is separable, rows (y) first; the down filter is separable, columns (x) first, or
 * radial, [taps,taps].
 * Source: Karras et al. 2021, section 3.2; the official filtered_lrelu reference.
 *
 * Only what StyleGAN 3 has: filters of 6 taps for each factor, up by 2 or 4, down by 2. A radial
 * filter must be symmetric in x: mirrored taps share one product. Sums run over ascending k, fused;
 * polyphase, without the products by inserted zeros. Neither memory nor the bits depend on how rows
 * are blocked. */
#ifndef KERNELS_FILTERED_LRELU_H
#define KERNELS_FILTERED_LRELU_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    FILTERED_LRELU_TAPS = 6,        /* for each factor */
    FILTERED_LRELU_UP_MAX = 4,
    FILTERED_LRELU_DOWN = 2,
    FILTERED_LRELU_DOWN_TAPS = FILTERED_LRELU_TAPS * FILTERED_LRELU_DOWN,
};

struct filtered_lrelu {
    int in, out;                    /* pixels a side of x and y */
    int up, pad_lo;
    bool radial;
    float gain, clamp;              /* clamp 0: none */
    /* u[up q + p] starts with x[q + start[p]] and has so many taps, ascending */
    int start[FILTERED_LRELU_UP_MAX];
    float up_tap[FILTERED_LRELU_UP_MAX][FILTERED_LRELU_TAPS];
    float down_tap[FILTERED_LRELU_DOWN_TAPS];                                   /* separable */
    float half_tap[FILTERED_LRELU_DOWN_TAPS][FILTERED_LRELU_DOWN_TAPS / 2];     /* radial */
};

/* What a model asks for. */
struct filtered_lrelu_shape {
    int in, out;                    /* pixels a side of x and y */
    int up, down, up_taps, down_taps, pad_lo;
    bool radial;
    float gain, clamp;              /* clamp 0: none */
};

/* Fills *self; up_filter [6 up], down_filter [12] or [12,12] are not needed afterwards.
 * ERR_UNSUPPORTED for other factors or taps, before it looks at a filter, and for a radial filter
 * that is not symmetric. */
enum err_code filtered_lrelu_init(struct filtered_lrelu *self,
                                  const struct filtered_lrelu_shape *shape, const float *up_filter,
                                  const float *down_filter, struct err *e);

/* Floats of scratch, aligned to 64 bytes. */
size_t filtered_lrelu_scratch_count(const struct filtered_lrelu *self);

/* x [in,in], y [out,out]. False when a value was not finite before the clamp. */
bool filtered_lrelu_cpu(const struct filtered_lrelu *self, float *y, const float *x,
                        float *scratch);

#endif
