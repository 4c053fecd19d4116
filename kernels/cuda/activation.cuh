/* activation -- how the device keeps what layers hand to each other, in three precisions.
 *
 * Channels lie in blocks of 16 bytes: a tensor of C channels and H x W pixels is
 *     [sample][block][H][W][LANES]      LANES = 8 (fp16) or 4 (tf32, fp32) channels
 * with C padded to a multiple of 16; padded channels are zero, and whoever writes a tensor writes
 * them. Eight neighbouring pixels of a block are 128 bytes in a row: what ldmatrix, a 16-byte load
 * and a store all want, without padding or swizzles (shared reference GPU.md, section 2).
 *
 * A precision is a type with the members of `struct fp16`. Whatever is a sum is float32. */
#ifndef KERNELS_CUDA_ACTIVATION_CUH
#define KERNELS_CUDA_ACTIVATION_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/mma.cuh"

#include <stddef.h>
#include <stdint.h>

extern "C" {
#include "kernels/precision.h"
}

enum { BLOCK_BYTES = 16, CHANNEL_PAD = 16 };

/* Channels of 16 bits, tensor cores. */
struct fp16 {
    typedef __half value;
    static const int LANES = 8;
    static const enum precision NAME = PRECISION_FP16;
    /* The largest magnitude that can be kept. */
    static __device__ __forceinline__ float limit() { return 65504.0f; }
    static __device__ __forceinline__ __half round(float v) { return __float2half_rn(v); }
    static __device__ __forceinline__ float wide(__half v) { return __half2float(v); }
};

/* Channels of 32 bits, of which the tensor cores see 19. */
struct tf32 {
    typedef float value;
    static const int LANES = 4;
    static const enum precision NAME = PRECISION_TF32;
    static __device__ __forceinline__ float limit() { return 3.4028234e38f; }
    static __device__ __forceinline__ float round(float v) { return round_tf32(v); }
    static __device__ __forceinline__ float wide(float v) { return v; }
};

/* Channels of 32 bits, fused multiply-adds; to check the others. */
struct fp32 {
    typedef float value;
    static const int LANES = 4;
    static const enum precision NAME = PRECISION_FP32;
    static __device__ __forceinline__ float limit() { return 3.4028234e38f; }
    static __device__ __forceinline__ float round(float v) { return v; }
    static __device__ __forceinline__ float wide(float v) { return v; }
};

static inline int precision_lanes(enum precision precision)
{
    return precision == PRECISION_FP16 ? 8 : 4;
}

static inline int divide_up(int value, int by)
{
    return (value + by - 1) / by;
}

static inline int padded_channels(int channels)
{
    return divide_up(channels, CHANNEL_PAD) * CHANNEL_PAD;
}

/* Blocks of a tensor of so many channels; always even. */
static inline int activation_blocks(enum precision precision, int channels)
{
    return padded_channels(channels) / precision_lanes(precision);
}

/* Bytes of one sample's tensor. */
static inline size_t activation_bytes(enum precision precision, int channels, size_t pixels)
{
    return (size_t)activation_blocks(precision, channels) * pixels * BLOCK_BYTES;
}

/* A block, as it lies in memory, and as floats. */
template <class P> struct alignas(16) block {
    typename P::value lane[P::LANES];
};

template <class P>
static __device__ __forceinline__ void block_load(float out[P::LANES], const void *tensor,
                                                  size_t index)
{
    struct block<P> b = ((const struct block<P> *)tensor)[index];

    for (int i = 0; i < P::LANES; i++)
        out[i] = P::wide(b.lane[i]);
}

template <class P>
static __device__ __forceinline__ void block_store(void *tensor, size_t index,
                                                   const float in[P::LANES])
{
    struct block<P> b;

    for (int i = 0; i < P::LANES; i++)
        b.lane[i] = P::round(in[i]);
    ((struct block<P> *)tensor)[index] = b;
}

/* Calls function<P>(...) for a precision known at run time; the value is function's. */
#define WITH_PRECISION(precision, function, ...)                   \
    ((precision) == PRECISION_FP16   ? function<fp16>(__VA_ARGS__) \
     : (precision) == PRECISION_TF32 ? function<tf32>(__VA_ARGS__) \
                                     : function<fp32>(__VA_ARGS__))

#endif
