/* sine -- sin(2 pi v) and the grid it is taken on, in plain arithmetic, for CPU and device: a
 * library's sine would differ from machine to machine. No product here is added to anything but by
 * fmaf, so that no compiler can regroup a step: all agree to the bit. */
#ifndef KERNELS_SINE_H
#define KERNELS_SINE_H

#include "kernels/simd.h"

#include <math.h>

#if defined(__CUDACC__)
#define SINE_INLINE static __host__ __device__ __forceinline__
#else
#define SINE_INLINE SIMD_INLINE
#endif

/* sin(2 pi v); v must be below 2^22 for any digit to be left. */
SINE_INLINE float sine_of_turns(float v)
{
    const float round = 12582912.0f;            /* 1.5 * 2^23: adding it rounds to whole turns */
    float r = v - ((v + round) - round);        /* -0.5 to 0.5, exact */

    r = r > 0.25f ? 0.5f - r : r < -0.25f ? -0.5f - r : r;
    /* Taylor's series of sin(2 pi r) to r^13: 1e-9 off at a quarter turn */
    float q = r * r, sum = 3.81995258f;

    sum = fmaf(sum, q, -15.0946426f);
    sum = fmaf(sum, q, 42.0586939f);
    sum = fmaf(sum, q, -76.7058598f);
    sum = fmaf(sum, q, 81.6052493f);
    sum = fmaf(sum, q, -41.3417022f);
    sum = fmaf(sum, q, 6.28318531f);
    return sum * r;
}

/* ((2k + 1) / size - 1) * size / (2 rate): where pixel k of a row or column of size pixels lies. */
SINE_INLINE float sine_grid(int k, int size, double rate)
{
    return (float)(((2.0 * k + 1.0) / size - 1.0) * 0.5 * size / rate);
}

#endif
