/* filtered_lrelu -- StyleGAN 3's activation on the device (kernels/filtered_lrelu.h has the
 * formulas): up, leaky rectifier, clamp, down, without the full-size intermediate in memory. fp16
 * runs its filters on the tensor cores, the other precisions by fused multiply-adds in float32. */
#ifndef KERNELS_CUDA_FILTERED_LRELU_CUH
#define KERNELS_CUDA_FILTERED_LRELU_CUH

#include "kernels/cuda/finish.cuh"

extern "C" {
#include "kernels/filtered_lrelu.h"
}

struct filtered_lrelu_job {
    enum precision precision;
    const struct filtered_lrelu *filter;    /* on the host; copied into the launch */
    const void *x;              /* [sample][block][in][in][LANES] */
    void *y;                    /* [sample][block][out][out][LANES] */
    struct finish finish;       /* channels, layer, broken, each, next, trace; v: the filter's y */
};

/* tile -1: the variant that suits; else 0..filtered_lrelu_cuda_tiles()-1: all of the same bits. */
int filtered_lrelu_cuda_tiles(enum precision precision, const struct filtered_lrelu *filter);
cudaError_t filtered_lrelu_cuda_run(const struct filtered_lrelu_job *job, int samples, int tile,
                                    cudaStream_t stream);

/* The same by fused multiply-adds, whatever the precision: sums in float32, each in the order that
 * kernels/filtered_lrelu.h states. What tf32 and fp32 run, and what fp16 is checked against. */
cudaError_t filtered_lrelu_cuda_plain(const struct filtered_lrelu_job *job, int samples,
                                      cudaStream_t stream);

/* fp16 on the tensor cores; tile as above. What filtered_lrelu_cuda_run does in that precision. */
int filtered_lrelu_cuda_mma_tiles(void);
cudaError_t filtered_lrelu_cuda_mma(const struct filtered_lrelu_job *job, int samples, int tile,
                                    cudaStream_t stream);

#endif
