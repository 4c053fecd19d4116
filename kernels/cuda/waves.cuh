/* waves -- StyleGAN 3's input on the device: kernels/fourier.h's waves, turned and shifted by each
 * sample's style and transform, as a tensor. Float32; its sine is the polynomial of kernels/sine.h,
 * and in fp32 the bits are fourier_waves_cpu's and fourier_plane_cpu's. */
#ifndef KERNELS_CUDA_WAVES_CUH
#define KERNELS_CUDA_WAVES_CUH

#include "kernels/cuda/activation.cuh"

extern "C" {
#include "kernels/fourier.h"
}

struct waves_job {
    enum precision precision;
    struct fourier waves;       /* freqs and phases on the device */
    const float *style;         /* of sample 0's coefficients, [4] */
    size_t each;
    const float *transform;     /* [sample][9], what fourier_transform made */
    struct fourier_wave *wave;  /* scratch [sample][channels] */
    void *x;                    /* [sample][block][size][size][LANES] */
};

cudaError_t waves_run(const struct waves_job *job, int samples, cudaStream_t stream);

#endif
