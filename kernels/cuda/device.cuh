/* device -- what every .cu file of this folder starts from: the runtime's headers, a kernel's dynamic
 * shared memory, a checked launch, and a bound for waits.
 *
 * Compiled by nvcc, or by a C++ compiler against headers of the same names that emulate the device
 * (-I of their folder): __CUDACC__ tells which. Kernels have no static __shared__ arrays of their
 * own and are never started with <<<>>>. */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __CUDACC__

/* Declares `type *name`: the bytes that the launch asked for, aligned to 128. */
#define DYNAMIC_SHARED(type, name)                                            \
    extern __shared__ __align__(128) unsigned char dynamic_shared_bytes[];    \
    type *name = reinterpret_cast<type *>(dynamic_shared_bytes)

/* Above this a kernel must be allowed its dynamic shared memory first. */
enum { SHARED_BYTES_PLAIN = 48 << 10 };

template <class T> struct launch_parameter {
    typedef T type;
};

/* Lets kernel have as much dynamic shared memory as the device offers a block: the same value
 * whoever asks, so that threads which launch one kernel cannot take it from each other. */
static inline cudaError_t launch_allow_shared(const void *kernel, size_t shared_bytes)
{
    struct cudaFuncAttributes has;
    int device, most = 0;
    cudaError_t st = cudaFuncGetAttributes(&has, kernel);

    if (st || (size_t)has.maxDynamicSharedSizeBytes >= shared_bytes)
        return st;
    st = cudaGetDevice(&device);
    if (!st)
        st = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    if (!st)
        st = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  most - (int)has.sharedSizeBytes);
    return st;
}

/* Queues kernel on stream, its arguments converted as in a call; may be captured. The error is of
 * the launch alone: what goes wrong while the kernel runs shows at a later synchronisation. */
template <class... P>
static inline cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                                 cudaStream_t stream, typename launch_parameter<P>::type... args)
{
    const void *function = reinterpret_cast<const void *>(kernel);
    void *values[] = { const_cast<void *>(static_cast<const void *>(&args))..., nullptr };

    if (shared_bytes > SHARED_BYTES_PLAIN) {
        cudaError_t st = launch_allow_shared(function, shared_bytes);
        if (st)
            return st;
    }
    return cudaLaunchKernel(function, grid, block, values, shared_bytes, stream);
}

/* Some seconds of waiting, whatever the clock: far beyond anything that is not a fault. */
enum { SPIN_LIMIT = 1 << 26 };

#else

#include <emulated_launch.h>    /* DYNAMIC_SHARED, launch and SPIN_LIMIT, the same to look at */

#endif

/* For each turn of a loop that waits for something of the device: counts in *turns, which starts at
 * 0, and ends the kernel with what's name when that never comes, so that no fault is a hang. */
static __device__ __forceinline__ void spin_bound(unsigned *turns, const char *what)
{
    if (++*turns < SPIN_LIMIT) {
        __nanosleep(20);
        return;
    }
    printf("waited in vain for %s: block %u %u %u thread %u %u %u\n", what, blockIdx.x, blockIdx.y,
           blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    __trap();
}

#endif
