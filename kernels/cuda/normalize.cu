/* Three kernels. Moments: a block of threads has a strip of one block of channels in its registers,
 * so that memory is read once and the squares are of what lies about the strip's own mean; the tree
 * of both sums is a thread's pixels ascending, a warp's lanes by halves, the warps ascending.
 * Combine: a warp has a channel, a lane every 32nd strip; lanes by halves. Apply: a thread has a
 * pixel's block. What a strip lacks counts nothing: no tree depends on more than the pixels.
 *
 * Each value is read twice, the second time from the second-level cache where the tensor is small,
 * and written once. */
#include "kernels/cuda/normalize.cuh"

#include <string.h>

enum { WARP = 32, THREADS = 256, WARPS = THREADS / WARP, EACH = NORMALIZE_STRIP / THREADS };

static const unsigned ALL_LANES = 0xffffffffu;
static const float EPSILON = 1e-8f;

static __host__ __device__ __forceinline__ int strips_of(size_t pixels)
{
    return (int)((pixels + NORMALIZE_STRIP - 1) / NORMALIZE_STRIP);
}

/* Pixels of a strip. */
static __device__ __forceinline__ int strip_pixels(size_t pixels, int strip)
{
    size_t left = pixels - (size_t)strip * NORMALIZE_STRIP;

    return left < NORMALIZE_STRIP ? (int)left : NORMALIZE_STRIP;
}

/* The same sum in all lanes. */
static __device__ __forceinline__ float sum_warp(float v)
{
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        v = __fadd_rn(v, __shfl_xor_sync(ALL_LANES, v, distance));
    return v;
}

/* v [lanes] becomes the sums over all threads of the block; shared [WARPS * lanes]. */
template <int lanes>
static __device__ __forceinline__ void sum_block(float v[lanes], float *shared)
{
    int warp = (int)threadIdx.x / WARP;

    for (int c = 0; c < lanes; c++) {
        v[c] = sum_warp(v[c]);
        if (threadIdx.x % WARP == 0)
            shared[warp * lanes + c] = v[c];
    }
    __syncthreads();
    for (int c = 0; c < lanes; c++) {
        v[c] = shared[c];
        for (int w = 1; w < WARPS; w++)
            v[c] = __fadd_rn(v[c], shared[w * lanes + c]);
    }
    __syncthreads();
}

template <class P>
static __global__ void __launch_bounds__(THREADS, 2) moments_kernel(const struct normalize_job job)
{
    DYNAMIC_SHARED(float, shared);              /* [WARPS][LANES] */
    int strip = (int)blockIdx.x, count = strip_pixels(job.pixels, strip);
    const uint4 *x = (const uint4 *)job.x + (size_t)blockIdx.y * job.pixels +
                     (size_t)strip * NORMALIZE_STRIP;
    float divisor = (float)count, mean[P::LANES], squares[P::LANES];
    struct block<P> kept[EACH];

    for (int c = 0; c < P::LANES; c++)
        mean[c] = squares[c] = 0.0f;
    for (int k = 0; k < EACH; k++) {
        uint4 packed = make_uint4(0, 0, 0, 0);

        if ((int)threadIdx.x + k * THREADS < count)
            packed = x[(int)threadIdx.x + k * THREADS];
        memcpy(&kept[k], &packed, sizeof packed);
    }
    for (int k = 0; k < EACH; k++)
        for (int c = 0; c < P::LANES; c++)
            mean[c] = __fadd_rn(mean[c], P::wide(kept[k].lane[c]));
    sum_block<P::LANES>(mean, shared);
    for (int c = 0; c < P::LANES; c++)
        mean[c] = __fdiv_rn(mean[c], divisor);
    for (int k = 0; k < EACH; k++)
        for (int c = 0; c < P::LANES; c++) {
            float off = __fadd_rn(P::wide(kept[k].lane[c]), -mean[c]);

            if ((int)threadIdx.x + k * THREADS < count)
                squares[c] = __fmaf_rn(off, off, squares[c]);
        }
    sum_block<P::LANES>(squares, shared);
    if (threadIdx.x == 0)
        for (int c = 0; c < P::LANES; c++) {
            float *out = job.moments +
                         (((size_t)blockIdx.y * P::LANES + c) * gridDim.x + strip) * 2;

            out[0] = mean[c];
            out[1] = squares[c];
        }
}

/* Of one channel of one sample, by a warp: the mean of the plane, and what x - mean is multiplied
 * by. */
static __global__ void __launch_bounds__(WARP)
    combine_kernel(const struct normalize_job job, int padded)
{
    const struct finish *finish = &job.finish;
    int channel = (int)blockIdx.x, sample = (int)blockIdx.y, strips = strips_of(job.pixels);
    const float *moments = job.moments + ((size_t)sample * padded + channel) * strips * 2;
    float *applied = job.applied + (size_t)sample * 2 * padded;
    float divisor = (float)job.pixels, mean = 0.0f, squares = 0.0f, scale = 0.0f;

    for (int s = (int)threadIdx.x; s < strips; s += WARP)
        mean = __fmaf_rn((float)strip_pixels(job.pixels, s), moments[2 * s], mean);
    mean = __fdiv_rn(sum_warp(mean), divisor);
    for (int s = (int)threadIdx.x; s < strips; s += WARP) {
        float off = __fadd_rn(moments[2 * s], -mean);

        squares = __fadd_rn(squares, __fmaf_rn(__fmul_rn(off, off),
                                               (float)strip_pixels(job.pixels, s),
                                               moments[2 * s + 1]));
    }
    squares = sum_warp(squares);
    if (channel < finish->channels) {
        float style = job.style[(size_t)sample * finish->each + channel];
        float root = __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, divisor), EPSILON));

        scale = __fdiv_rn(__fadd_rn(style, 1.0f), root);
    }
    if (threadIdx.x == 0) {
        applied[channel] = channel < finish->channels ? mean : 0.0f;
        applied[padded + channel] = scale;
    }
}

template <class P>
static __global__ void __launch_bounds__(THREADS)
    apply_kernel(const struct normalize_job job, int blocks)
{
    const struct finish *finish = &job.finish;
    int sample = (int)blockIdx.y / blocks, base = (int)blockIdx.y % blocks * P::LANES;
    const float *applied = job.applied + (size_t)sample * 2 * blocks * P::LANES + base;
    const float *style = job.style + (size_t)sample * finish->each + finish->channels + base;
    /* The strips whose moments were taken last come first: the cache may still have them. */
    size_t first = (size_t)(gridDim.x - 1 - blockIdx.x) * NORMALIZE_STRIP;
    float mean[P::LANES], scale[P::LANES], shift[P::LANES];
    bool bad = false;

    for (int c = 0; c < P::LANES; c++) {
        mean[c] = applied[c];
        scale[c] = applied[blocks * P::LANES + c];
        shift[c] = base + c < finish->channels ? style[c] : 0.0f;
    }
    for (size_t pixel = first + threadIdx.x; pixel < min(first + NORMALIZE_STRIP, job.pixels);
         pixel += THREADS) {
        float v[P::LANES];

        block_load<P>(v, job.x, (size_t)blockIdx.y * job.pixels + pixel);
        for (int c = 0; c < P::LANES; c++) {
            v[c] = __fmaf_rn(__fadd_rn(v[c], -mean[c]), scale[c], shift[c]);
            bad |= !(fabsf(v[c]) <= P::limit());
            if (finish->trace && base + c < finish->channels)
                finish->trace[((size_t)sample * finish->channels + base + c) * job.pixels +
                              pixel] = v[c];
        }
        block_store<P>(job.x, (size_t)blockIdx.y * job.pixels + pixel, v);
    }
    finish_report(finish, sample, bad);
}

size_t normalize_moments_count(enum precision precision, int channels, size_t pixels)
{
    (void)precision;
    return (size_t)padded_channels(channels) * strips_of(pixels) * 2;
}

template <class P>
static cudaError_t run(const struct normalize_job *job, int samples, cudaStream_t stream)
{
    int blocks = activation_blocks(P::NAME, job->finish.channels), padded = blocks * P::LANES;
    dim3 strips((unsigned)strips_of(job->pixels), (unsigned)(samples * blocks));
    cudaError_t st = launch(moments_kernel<P>, strips, dim3(THREADS),
                            WARPS * P::LANES * sizeof(float), stream, *job);

    if (!st)
        st = launch(combine_kernel, dim3((unsigned)padded, (unsigned)samples), dim3(WARP), 0,
                    stream, *job, padded);
    if (!st)
        st = launch(apply_kernel<P>, strips, dim3(THREADS), 0, stream, *job, blocks);
    return st;
}

cudaError_t normalize_run(const struct normalize_job *job, int samples, cudaStream_t stream)
{
    return WITH_PRECISION(job->precision, run, job, samples, stream);
}
