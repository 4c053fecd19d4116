/* conv -- the convolutions of all StyleGANs on the CPU: an implicit matrix product of packed
 * weights and panels of the input, in tiles that fit a core's caches.
 *
 * Modulation in the cheaper equal form: the input's channels are scaled, the weights stay as the
 * model has them, and the output channels are scaled afterwards (epilogue):
 *     corr(x, W * s)[o] = corr(x * s, W)[o],   demod[o] = 1 / sqrt(sum_{i,a,b} (W * s)^2 + 1e-8)
 * Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", eq. 1 and 3.
 *
 * Kinds, for a kernel W[o,i,a,b] and an input of size x size pixels:
 *   PLAIN       y[o,m,n] = sum_{i,a,b} W[o,i,a,b] x[i,m+a-pad,n+b-pad], zeros outside;
 *               one phase of size + 2 pad + 1 - kernel rows and columns
 *   UP_SCATTER  the transposed convolution with stride 2, of 2 size + 1 rows and columns,
 *               y[o,2m+a,2n+b] += sum_i W[o,i,a,b] x[i,m,n] (StyleGAN 2)
 *   UP_NEAREST  PLAIN with pad 1 over the input with every pixel doubled, 2 size rows and columns
 *               (StyleGAN 1)
 * The last two come as four phases, the even and odd rows and columns of y: phase 2p+q holds
 * y[o,2m+p,2n+q], in size + 1 (SCATTER) or size (NEAREST) rows and columns. SCATTER has 4, 2, 2 and
 * 1 of the nine taps in them (what falls beyond y is zero), NEAREST 4 in each, each the sum of one,
 * two or four weights.
 *
 * Order of each output's sum: input channels ascending, in each the taps, rows before columns; one
 * fused multiply-add each, from 0. Lanes of vectors are different pixels; neither the tile nor the
 * samples beside it nor the vectors' width can change a bit. */
#ifndef KERNELS_CONV_H
#define KERNELS_CONV_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

enum conv_kind { CONV_PLAIN, CONV_UP_SCATTER, CONV_UP_NEAREST };

enum { CONV_TAPS_MAX = 9, CONV_PHASES_MAX = 4 };

struct conv_shape {
    enum conv_kind kind;
    int in, out;                /* channels */
    int size;                   /* pixels a side of the input */
    int kernel;                 /* 1 or 3; UP_*: 3 */
    int pad;                    /* PLAIN: 0 to 2 */
};

/* Where a model has its weights: W[o,i,a,b] lies at data[o * out + i * in + a * row + b * column].
 * Negative strides mirror the kernel. */
struct conv_weights {
    const float *data;
    ptrdiff_t out, in, row, column;
    const float *scale;         /* [out]: W[o] is multiplied by scale[o]; NULL: by nothing */
};

struct conv_phase {
    int taps;
    int dy[CONV_TAPS_MAX], dx[CONV_TAPS_MAX];   /* a tap's place in a framed input, from 0 */
    size_t at;                  /* of its weights in packed */
};

struct conv {
    struct conv_shape shape;
    int frame;                  /* zeros that a panel has around the input */
    int reach;                  /* rows and columns that a phase's taps span */
    int rows;                   /* and columns of each phase */
    int phases;
    struct conv_phase phase[CONV_PHASES_MAX];
    float *packed;              /* [phase][block of outputs][in][tap][outputs of a block] */
};

/* Packs the weights; nothing of *weights is needed afterwards. ERR_NOMEM. */
enum err_code conv_init(struct conv *self, const struct conv_shape *shape,
                        const struct conv_weights *weights, struct err *e);
void conv_release(struct conv *self);

/* One convolution of some samples. */
struct conv_job {
    const struct conv *conv;
    int samples;
    const float *x;             /* of the first sample, [in,size,size] */
    size_t x_each;              /* floats from one sample's x to the next; 0: one x for all */
    /* What a channel is multiplied by, and what is then added, [in] for each sample; NULL: 1 and 0.
     * The frame stays zero. */
    const float *scale, *shift;
    size_t scale_each;          /* floats from one sample's scale and shift to the next */
    /* Takes rows first..first+rows-1 of a phase of an output channel: row r begins at y + r *
     * pitch. Called once for each, from the threads that run the items. */
    void (*store)(void *arg, int sample, int channel, int phase, int first, int rows,
                  const float *y, size_t pitch);
    void *arg;
};

/* How a job is cut into items that threads can share. */
struct conv_tiling {
    int samples, rows, outs;    /* of a tile: whole samples, or a band of rows of one */
    int sample_tiles, row_tiles, out_tiles;
    int chunk;                  /* input channels of a panel */
    size_t items;
    size_t panel_floats, scratch_floats;
};

/* The tiling of samples samples for so many threads. */
struct conv_tiling conv_tile(const struct conv *self, int samples, int threads);
/* Floats of scratch, aligned to 64 bytes, that a thread needs for any number of samples up to so
 * many. */
size_t conv_scratch_count(const struct conv *self, int samples, int threads);

/* Item index of a job, 0..items-1. */
void conv_cpu(const struct conv_job *job, const struct conv_tiling *tiling, size_t index,
              float *scratch);

#endif
