/* quantize -- a finished picture's value to 8 bit: kernels/quantize.h on a GPU, to the last bit.
 *     out = truncate(clamp(x * gain * 127.5 + 128, 0, 255)), each step rounded */
#ifndef KERNELS_CUDA_QUANTIZE_CUH
#define KERNELS_CUDA_QUANTIZE_CUH

#include "kernels/cuda/device.cuh"

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

#endif
