/* conv -- the convolutions of all StyleGANs on the device: kernels/conv.h's kinds and phases, as
 * implicit matrix products on the tensor cores (fp16, tf32) or by fused multiply-adds (fp32).
 *
 * The weights are kept scaled, W' = round(W * 2^k_o) with 1/2 < max |W'_o| <= 1 for each output o:
 * conv_cuda_init() gives 2^-k_o, which belongs into finish.demod. Powers of two, so that the scaling
 * itself rounds nothing.
 *
 * Order of an output's sum: chunks of four blocks of input channels ascending, in each the taps in
 * the phase's order, in each the blocks two at a time (a k16 of fp16, a k8 of tf32, eight fused
 * multiply-adds in the order of the channels of fp32); where a layer's sum is split (at 16 pixels
 * and below, by the layer's size alone) the parts are added by `gather` in index order. The tile and
 * the place of a sample change nothing. */
#ifndef KERNELS_CUDA_CONV_CUH
#define KERNELS_CUDA_CONV_CUH

#include "kernels/cuda/finish.cuh"
#include "kernels/cuda/room.cuh"

extern "C" {
#include "kernels/conv.h"
}

enum { CONV_CUDA_SPLITS_MAX = 8 };

struct conv_cuda {
    struct conv_shape shape;
    enum precision precision;
    int rows;                   /* and columns of each phase of the output */
    int phases;                 /* 1, or 4: [sample][block][phase][rows][rows][LANES] */
    int splits;                 /* above 1: the result is float32 parts, see conv_cuda_run */
    struct {
        int taps, dy[CONV_TAPS_MAX], dx[CONV_TAPS_MAX];  /* input pixel = output pixel + these */
        size_t at;              /* of its packed weights, in bytes */
    } phase[CONV_PHASES_MAX];
    const void *weights;        /* on the device */
    bool wgmma;                 /* by conv_wgmma.cuh's kernels; set by conv_cuda_use_wgmma alone */
};

/* Packs and uploads the weights (conv_pack.cuh); weights->scale as in kernels/conv.h. down [out] takes
 * 2^-k_o (1 where W_o is zero), energy [out,in] (NULL: not wanted) the sums over the taps of all
 * phases of the squares of W'. Nothing of *weights is needed afterwards. ERR_NOMEM is of the host; the
 * room keeps count of the device. ERR_UNSUPPORTED: a sample's output has 2^31 blocks or more. */
enum err_code conv_cuda_init(struct conv_cuda *self, const struct conv_shape *shape,
                             const struct conv_weights *weights, enum precision precision,
                             struct room *room, float *down, float *energy, struct err *e);

/* How many variants of tiles there are for this convolution; all give the same bits. */
int conv_cuda_tiles(const struct conv_cuda *self);

struct conv_cuda_job {
    const void *x;              /* of sample 0: [block][size][size][LANES] */
    size_t x_each;              /* bytes from one sample's x to the next; 0: one for all */
    /* splits 1: the tensor, finished (phases: before the FIR); NULL when only finish.rgb_out is
     * wanted. splits above 1: [split][sample][block][phase][rows][rows][LANES] float32, LANES as the
     * precision has; nothing of finish is used, `gather` ends the layer. */
    void *y;
    struct finish finish;
};

/* tile -1: the variant that suits the samples and the device; else 0..tiles-1. finish.trace and its
 * noise go by the pixel of all phases, [phase][rows][rows]. */
cudaError_t conv_cuda_run(const struct conv_cuda *self, const struct conv_cuda_job *job,
                          int samples, int tile, cudaStream_t stream);

#endif
