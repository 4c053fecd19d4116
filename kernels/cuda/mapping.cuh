/* mapping -- from z to each layer's coefficients on the device, in float32: the mapping network,
 * truncation, styles, demodulation. Products by cuBLAS (blas.cuh), or, where it is not installed or
 * not wanted, by `fc` with a fixed order of its own: a class of its own.
 *
 * For every layer with a style (kernels/plan.h has the formulas and their sources):
 *   s  = affine(ws[row]);  unit_style: s / root of its mean square
 *   modulate:   s' = s / 2^m, 2^m the power of two with 1/2 < max |s'| <= 1 (s = 0: s)
 *   demodulate: demod[o] = out_gain / sqrt(sum_i energy[o,i] s'[i]^2 + 1e-8 / (down[o] 2^m)^2)
 *               where energy is of the packed weights W' = W / down (conv.cuh): the definition,
 *               epsilon and all
 *   else        demod[o] = out_gain * down[o] * 2^m      (m = 0 without modulation)
 *   picture:    rgb[colour,i] = rgb_weight[colour,i] * out_gain * s[i]    (s = 1 without)
 * A demod too large for a float32 is the largest one.
 *
 * Order of the sums, whatever the batch: `fc`, energies and norms in 32 parts (terms 0, 32, 64 ..,
 * 1, 33, 65 ..), each ascending from 0 by fused multiply-adds, then the parts in a butterfly, 16
 * apart first. A unit_style's squares: in 128 parts the same way, the four butterflies' results
 * ascending. */
#ifndef KERNELS_CUDA_MAPPING_CUH
#define KERNELS_CUDA_MAPPING_CUH

#include "kernels/cuda/blas.cuh"
#include "kernels/cuda/room.cuh"

extern "C" {
#include "kernels/plan.h"
}

struct mapping_cuda;            /* opaque; its device memory lies in a room */

/* What mapping_cuda_add made of a layer: where its coefficients are in a sample's, in floats, each
 * a multiple of 4. What a layer has not got means nothing. */
struct style_places {
    size_t style;               /* modulate: s' [in]; normalize: [2 out]; waves: [4]. PICTURE: s */
    size_t demod;               /* [out]; not PICTURE */
    size_t rgb;                 /* PICTURE: [3,in] */
};

/* plan's mapping network. room is borrowed and must outlive it; of the plan and its model nothing
 * is needed afterwards. That the room has become too small is for room_check to say. ERR_NOMEM,
 * ERR_DEVICE. */
enum err_code mapping_cuda_create(const struct plan *plan, struct room *room,
                                  struct mapping_cuda **out, struct err *e);
void mapping_cuda_destroy(struct mapping_cuda **self);

/* Next layer of the plan, in order. down [out] and energy [out,in] as conv_cuda_init gave them
 * (PICTURE and layers without convolution: NULL; energy is looked at for demodulate alone); on the
 * host, copied. ERR_NOMEM. */
enum err_code mapping_cuda_add(struct mapping_cuda *self, const struct plan_layer *layer,
                               const float *down, const float *energy, struct style_places *out,
                               struct err *e);
/* After the last layer: uploads what is left, takes scratch for BLAS_COLUMNS samples. ERR_NOMEM. */
enum err_code mapping_cuda_finish(struct mapping_cuda *self, struct err *e);

/* Floats of a sample's coefficients; known after mapping_cuda_finish. */
size_t mapping_cuda_each(const struct mapping_cuda *self);

/* All on the device; read anew by each replay of a graph. ws and coefficients begin at a multiple
 * of 16 bytes, so that cuBLAS's choice of a kernel depends on the model alone. */
struct mapping_cuda_job {
    const float *z;             /* [BLAS_COLUMNS, z_dim]; all of them numbers */
    const int *class_index;     /* [BLAS_COLUMNS], below c_dim; -1: none, its embedding is 0 */
    const float *psi;           /* [BLAS_COLUMNS] */
    const int *cutoff;          /* [BLAS_COLUMNS] */
    float *ws;                  /* [BLAS_COLUMNS, num_ws, w_dim], truncated */
    float *coefficients;        /* [BLAS_COLUMNS, each] */
    int *broken;                /* [BLAS_COLUMNS]: see finish.cuh; w not finite: layer */
    int layer;
};

/* All BLAS_COLUMNS columns are computed, whatever is in use. blas NULL: `fc`. Queued on stream
 * (with blas beside it on streams of its own, which begin and end there), not awaited; may be
 * captured. Two runs of one mapping_cuda never run beside each other: they share its scratch.
 * ERR_DEVICE. */
enum err_code mapping_cuda_run(struct mapping_cuda *self, const struct mapping_cuda_job *job,
                               struct blas *blas, cudaStream_t stream, struct err *e);

#endif
