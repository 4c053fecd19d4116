/* rgb -- the picture's part of the work: a 1x1 convolution to three colours, the sum of the skips
 * (StyleGAN 2), in float32 throughout.
 *     part  = clamp(sum over groups ascending of rgb_out + bias, -clamp, clamp)
 *     image = adds ? doubled(image before) + part : part         kernels/fir.h, fir_double_cpu
 * In fp32 the bits are torgb_cpu's and fir_double_cpu's where there is one group. */
#ifndef KERNELS_CUDA_RGB_CUH
#define KERNELS_CUDA_RGB_CUH

#include "kernels/cuda/finish.cuh"

/* rgb_out [sample][group][3][pixels] of a tensor that no kernel left it of: sums over channels
 * ascending in groups of RGB_GROUP. */
struct torgb_job {
    enum precision precision;
    const void *x;              /* [sample][block][pixels][LANES] */
    int channels;
    size_t pixels;
    const float *weight;        /* of sample 0's coefficients, [3, channels] */
    size_t each;
    float *rgb_out;
};

cudaError_t torgb_run(const struct torgb_job *job, int samples, cudaStream_t stream);

struct skip_job {
    const float *rgb_out;       /* [sample][group][3][pixels] */
    int groups, size;
    const float *bias;          /* [3] */
    float clamp;                /* 0: none */
    const float *before;        /* [sample][3][size/2][size/2]; NULL: nothing is added to */
    float *image;               /* [sample][3][size][size]; NULL: bytes is all that is wanted */
    float *trace;               /* the same shape: part alone; NULL: nobody looks */
    int layer;
    int *broken;                /* [samples]; as finish.cuh has it */
    /* The finished picture's: what quantize.cuh makes of image. */
    uint8_t *bytes;             /* [sample][size][size][3]; NULL: not wanted */
    float gain;                 /* of the plan's picture */
    int picture;                /* for broken: image times gain is not finite */
};

cudaError_t skip_run(const struct skip_job *job, int samples, cudaStream_t stream);

#endif
