#include "kernels/cuda/quantize.cuh"

enum { THREADS = 256 };

/* One thread a pixel. Grid: pixels, samples. */
static __global__ void quantize_kernel(const float *x, float gain, uint8_t *rgb, int *broken,
                                       int layer, size_t pixels)
{
    size_t p = (size_t)blockIdx.x * THREADS + threadIdx.x, sample = blockIdx.y;
    bool finite = true;

    if (p >= pixels)
        return;                      /* the last block is partial */
    for (size_t c = 0; c < 3; c++)
        rgb[(sample * pixels + p) * 3 + c] =
            quantize_value(x[(sample * 3 + c) * pixels + p], gain, &finite);
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
