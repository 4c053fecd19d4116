/* conv_bench -- a convolution on the device beside its definition: what check_conv and check_wgmma
 * hold the kernels to. */
#ifndef TESTS_GPU_CONV_BENCH_CUH
#define TESTS_GPU_CONV_BENCH_CUH

#include "kernels/cuda/conv.cuh"

enum conv_with {
    SHARED_X = 1,                   /* one input for all samples */
    SCALED = 2,                     /* weights with a scale, and of very different sizes */
    MIRRORED = 4,                   /* negative strides */
    NOISE = 8, NOISE_EACH = 16,     /* one weight for all channels, or one each */
    ACTIVATED = 32, CLAMPED = 64,
    NEXT = 128,
    RGB = 256, ONLY_RGB = 512,
    WGMMA = 1024,                   /* conv_cuda_use_wgmma */
};

struct conv_trial {
    struct conv_shape shape;
    int samples;
    unsigned with;
};

/* A trial on the host: rows of samples, channels, pixels (of all phases). */
struct conv_bench {
    struct conv_trial trial;
    enum precision precision;
    struct conv_shape shape;
    int phases, rows, samples;
    size_t pixels, pairs, sums;     /* of a channel; in * out; samples * out * pixels */
    float *kernel, *stored, *scale; /* W[o,i,a,b]; the same as the layout has it; its scale */
    struct conv_weights weights;
    float *x;                       /* [sample][in][size][size], rounded */
    float *down, *energy;
    float *coefficients;            /* [sample][each]: demod, next, rgb */
    float *bias, *noise, *own_noise, *noise_weight;
    int *noise_kind;
    size_t each;
    float *sum;                     /* what the device made: bare sums */
    struct conv_cuda conv;
    struct room *room;
    char *d_x;
    size_t x_each;
    float *d_coefficients, *d_bias, *d_noise, *d_own_noise, *d_noise_weight;
    int *d_noise_kind;
    char name[120];
};

/* What a run leaves behind. */
struct conv_output {
    char *y;                        /* as it lies in memory; NULL: not wanted */
    size_t y_bytes;
    float *rgb, *trace;
    size_t rgb_count, trace_count;
    int broken[8];
};

enum conv_finishing { BARE, WHOLE };   /* sums alone, or all that follows them */

/* Fills a bench with data; 0 when all went well. To be released either way. */
int conv_bench_make(struct conv_bench *b, const struct conv_trial *trial, enum precision precision);
void conv_bench_release(struct conv_bench *b);

/* Runs samples first..first+count-1 and brings the result here; returns misses. */
int conv_bench_run(const struct conv_bench *b, int first, int count, int tile,
                   enum conv_finishing finishing, struct conv_output *out);
void conv_output_release(struct conv_output *o);
bool conv_output_same(const struct conv_output *a, const struct conv_output *b);

/* Writes v as a tensor of the precision has it, conv_bench_value_bytes bytes. */
void conv_bench_put(enum precision precision, char *to, float v);
size_t conv_bench_value_bytes(enum precision precision);

/* Sums against the definition in double, what follows them and other tiles and places to the bit;
 * returns misses. */
int conv_bench_check(const struct conv_trial *trial, enum precision precision);

#endif
