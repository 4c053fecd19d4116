#include "kernels/cuda/quantize.cuh"

#include <float.h>

enum { THREADS = 256 };

/* One thread a pixel. Grid: pixels, samples. */
static __global__ void quantize_kernel(const float *x, float gain, uint8_t *rgb, int *broken,
                                       int layer, size_t pixels)
{
    size_t p = (size_t)blockIdx.x * THREADS + threadIdx.x, sample = blockIdx.y;
    bool finite = true;

    if (p >= pixels)
        return;                      /* the last block is partial */
    for (size_t c = 0; c < 3; c++) {
        float v = __fmul_rn(x[(sample * 3 + c) * pixels + p], gain);

        finite &= fabsf(v) <= FLT_MAX;
        v = __fadd_rn(__fmul_rn(v, 127.5f), 128.0f);
        v = v > 0.0f ? v : 0.0f;     /* NaN too: its conversion would be undefined */
        rgb[(sample * pixels + p) * 3 + c] = (uint8_t)(v < 255.0f ? v : 255.0f);
    }
    if (!finite)
        atomicMin(&broken[sample], layer);
}

cudaError_t cuda_quantize_run(const float *x, uint8_t *rgb, float gain, int width, int height,
                              int samples, int layer, int *broken, cudaStream_t stream)
{
    size_t pixels = (size_t)width * height;
    dim3 grid((unsigned)((pixels + THREADS - 1) / THREADS), samples);

    if (samples == 0)
        return cudaSuccess;          /* to CUDA a grid of no blocks is an error, not a no-op */
    return launch(quantize_kernel, grid, dim3(THREADS), 0, stream, x, gain, rgb, broken, layer,
                  pixels);
}
