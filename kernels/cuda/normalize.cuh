/* normalize -- StyleGAN 1's instance norm and style on the device, in place:
 *     x[c] = (x[c] - mean) / sqrt(var + 1e-8) * (style[c] + 1) + style[channels + c]
 * in float32, rounded once. Mean and variance over the plane, combined from strips of
 * NORMALIZE_STRIP pixels: the same tree whatever the batch. A strip's squares are of what lies
 * about its own mean, and x - mean is taken before it is scaled: a mean far from 0 costs no digits.
 * kernels/normalize.h has the formula's source. */
#ifndef KERNELS_CUDA_NORMALIZE_CUH
#define KERNELS_CUDA_NORMALIZE_CUH

#include "kernels/cuda/finish.cuh"

enum { NORMALIZE_STRIP = 2048 };

struct normalize_job {
    enum precision precision;
    void *x;                    /* [sample][block][pixels][LANES] */
    size_t pixels;
    const float *style;         /* of sample 0's coefficients: [2 channels] */
    float *moments;             /* scratch: [sample][blocks * LANES][strips][2], mean and sum
                                   of (x - mean)^2 */
    float *applied;             /* scratch: [sample][2][blocks * LANES]: mean, and what x - mean
                                   is multiplied by */
    struct finish finish;       /* channels, layer, broken, each, trace (of the result) */
};

/* Floats of moments for one sample. */
size_t normalize_moments_count(enum precision precision, int channels, size_t pixels);
cudaError_t normalize_run(const struct normalize_job *job, int samples, cudaStream_t stream);

#endif
