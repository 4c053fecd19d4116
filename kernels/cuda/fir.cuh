/* fir -- the filter behind an up-convolution on the device, and the end of its layer.
 *     out[Y,X] = sum_{s,t=0..3} f[s] f[t] y[Y+s-1,X+t-1]      kernels/fir.h, fir_join_cpu
 * y comes as four phases (conv.cuh), rows x rows each, of which y has `rows_of_y` rows and columns:
 * what lies beyond is zero. Sums in float32: columns first, then rows, first tap to last, fused; in
 * fp32 the bits are fir_join_cpu's and epilogue_cpu's. */
#ifndef KERNELS_CUDA_FIR_CUH
#define KERNELS_CUDA_FIR_CUH

#include "kernels/cuda/finish.cuh"

struct fir_job {
    enum precision precision;
    const void *y;              /* [sample][block][4][rows][rows][LANES] */
    int rows;                   /* of a phase */
    int rows_of_y;              /* 2 rows - 1 (StyleGAN 2) or 2 rows (StyleGAN 1) */
    int size;                   /* pixels a side of out; even */
    float f[4];
    void *out;                  /* [sample][block][size][size][LANES] */
    struct finish finish;
};

/* cudaErrorNotSupported with finish.rgb: no ToRGB reads what an up-convolution makes. */
cudaError_t fir_run(const struct fir_job *job, int samples, cudaStream_t stream);

#endif
