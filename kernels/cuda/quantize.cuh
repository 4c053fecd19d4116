/* quantize -- a batch of finished pictures to 8 bit: kernels/quantize.h on a GPU, to the last bit.
 *     out[n,p,c] = truncate(clamp(x[n,c,p] * gain * 127.5 + 128, 0, 255)), each step rounded */
#ifndef KERNELS_CUDA_QUANTIZE_CUH
#define KERNELS_CUDA_QUANTIZE_CUH

#include "kernels/cuda/device.cuh"

#include <stddef.h>
#include <stdint.h>

/* One value; *finite becomes false when it times gain is not. */
static __device__ __forceinline__ uint8_t quantize_value(float v, float gain, bool *finite)
{
    v = __fmul_rn(v, gain);
    *finite &= fabsf(v) <= 3.4028234e38f;
    v = __fadd_rn(__fmul_rn(v, 127.5f), 128.0f);
    v = v > 0.0f ? v : 0.0f;        /* NaN too: its conversion would be undefined */
    return (uint8_t)(v < 255.0f ? v : 255.0f);
}

/* All in device memory, queued on stream and not awaited; what could not be launched is returned.
 *   x       [samples, 3, height, width]   gain    of the plan's picture
 *   rgb     [samples, height, width, 3]   broken  [samples]; becomes layer, if that is less, where a
 *                                                 value times gain is not finite */
cudaError_t cuda_quantize_run(const float *x, uint8_t *rgb, float gain, int width, int height,
                              int samples, int layer, int *broken, cudaStream_t stream);

#endif
