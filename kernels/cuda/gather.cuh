/* gather -- ends a layer whose sums lie there as float32: parts of a split convolution, added in
 * index order, or a learned constant (one part, the same for all samples). In fp32 the bits behind
 * the sums are epilogue_cpu's. */
#ifndef KERNELS_CUDA_GATHER_CUH
#define KERNELS_CUDA_GATHER_CUH

#include "kernels/cuda/finish.cuh"

struct gather_job {
    enum precision precision;
    const float *parts;         /* [parts][sample][block][pixels][LANES] */
    int count;                  /* of parts */
    size_t part_each;           /* floats from one part to the next */
    size_t sample_each;         /* floats from one sample to the next; 0: one for all */
    size_t pixels;              /* of a channel; with phases, of all four */
    void *y;                    /* [sample][block][pixels][LANES]; NULL: only finish.rgb_out */
    struct finish finish;       /* its noise is by pixel, as above */
};

cudaError_t gather_run(const struct gather_job *job, int samples, cudaStream_t stream);

#endif
