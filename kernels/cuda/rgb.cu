#include "kernels/cuda/rgb.cuh"

#include "kernels/cuda/quantize.cuh"

enum { THREADS = 128, COLOURS = 3 };

static const float OUTER = 0.25f, INNER = 0.75f;    /* [1,3,3,1] / 4 */

/* A thread has a pixel of a group of channels, and reads each of its blocks once. */
template <class P>
static __global__ void __launch_bounds__(THREADS)
    torgb_kernel(const struct torgb_job job, int blocks)
{
    const int each = RGB_GROUP / P::LANES;
    DYNAMIC_SHARED(float, weight);              /* [COLOURS][RGB_GROUP], padded with zeros */
    int group = (int)blockIdx.y, sample = (int)blockIdx.z;
    size_t pixel = (size_t)blockIdx.x * THREADS + threadIdx.x;
    float sum[COLOURS] = { 0.0f, 0.0f, 0.0f };

    if (threadIdx.x < COLOURS * RGB_GROUP) {
        int colour = (int)threadIdx.x / RGB_GROUP;
        int channel = group * RGB_GROUP + (int)threadIdx.x % RGB_GROUP;

        weight[threadIdx.x] = channel < job.channels
                                  ? job.weight[(size_t)sample * job.each +
                                               (size_t)colour * job.channels + channel]
                                  : 0.0f;
    }
    __syncthreads();
    if (pixel >= job.pixels)
        return;
    for (int b = 0; b < each && group * each + b < blocks; b++) {
        float x[P::LANES];

        block_load<P>(x, job.x,
                      ((size_t)sample * blocks + group * each + b) * job.pixels + pixel);
        for (int c = 0; c < P::LANES; c++)
            for (int colour = 0; colour < COLOURS; colour++)
                sum[colour] = __fmaf_rn(weight[colour * RGB_GROUP + b * P::LANES + c], x[c],
                                        sum[colour]);
    }
    for (int colour = 0; colour < COLOURS; colour++)
        job.rgb_out[(((size_t)sample * gridDim.y + group) * COLOURS + colour) * job.pixels +
                    pixel] = sum[colour];
}

template <class P>
static cudaError_t torgb(const struct torgb_job *job, int samples, cudaStream_t stream)
{
    dim3 grid((unsigned)((job->pixels + THREADS - 1) / THREADS),
              (unsigned)rgb_groups(job->channels), (unsigned)samples);

    return launch(torgb_kernel<P>, grid, dim3(THREADS), COLOURS * RGB_GROUP * sizeof(float),
                  stream, *job, activation_blocks(P::NAME, job->channels));
}

cudaError_t torgb_run(const struct torgb_job *job, int samples, cudaStream_t stream)
{
    return WITH_PRECISION(job->precision, torgb, job, samples, stream);
}

/* x [half, half] at a row and column, zero outside. */
static __device__ __forceinline__ float inside(const float *x, int half, int row, int column)
{
    bool is_inside = row >= 0 && row < half && column >= 0 && column < half;

    return is_inside ? x[(size_t)row * half + column] : 0.0f;
}

/* A pixel of x [half, half], doubled: rows first. */
static __device__ __forceinline__ float doubled(const float *x, int half, int row, int column)
{
    int near_row = row / 2, far_row = row % 2 ? near_row + 1 : near_row - 1;
    int near = column / 2, far = column % 2 ? near + 1 : near - 1;
    float a = __fmaf_rn(INNER, inside(x, half, near_row, near),
                        __fmul_rn(OUTER, inside(x, half, far_row, near)));
    float b = __fmaf_rn(INNER, inside(x, half, near_row, far),
                        __fmul_rn(OUTER, inside(x, half, far_row, far)));

    return __fmaf_rn(INNER, a, __fmul_rn(OUTER, b));
}

/* A thread has a pixel. For each it reads 12 bytes a group and 3 of the image before, and writes
 * 12 of the image and 3 of the bytes. */
static __global__ void __launch_bounds__(THREADS) skip_kernel(const struct skip_job job)
{
    size_t pixels = (size_t)job.size * job.size;
    size_t pixel = (size_t)blockIdx.x * THREADS + threadIdx.x;
    int sample = (int)blockIdx.y, half = job.size / 2;
    bool bad = false, finite = true;

    if (pixel >= pixels)
        return;
    int row = (int)(pixel / job.size), column = (int)(pixel % job.size);

    for (int colour = 0; colour < COLOURS; colour++) {
        const float *sums = job.rgb_out +
                            ((size_t)sample * job.groups * COLOURS + colour) * pixels + pixel;
        size_t plane = (size_t)sample * COLOURS + colour;
        float v = sums[0];

        for (int g = 1; g < job.groups; g++)
            v = __fadd_rn(v, sums[(size_t)g * COLOURS * pixels]);
        v = __fadd_rn(v, job.bias[colour]);
        bad |= !(fabsf(v) <= 3.4028234e38f);
        if (job.clamp > 0.0f)
            v = fminf(fmaxf(v, -job.clamp), job.clamp);
        if (job.trace)
            job.trace[plane * pixels + pixel] = v;
        if (job.before)
            v = __fadd_rn(doubled(job.before + plane * half * half, half, row, column), v);
        if (job.image)
            job.image[plane * pixels + pixel] = v;
        if (job.bytes)
            job.bytes[((size_t)sample * pixels + pixel) * COLOURS + colour] =
                quantize_value(v, job.gain, &finite);
    }
    if (bad)
        atomicMin(&job.broken[sample], job.layer);
    if (!finite)
        atomicMin(&job.broken[sample], job.picture);
}

cudaError_t skip_run(const struct skip_job *job, int samples, cudaStream_t stream)
{
    size_t pixels = (size_t)job->size * (size_t)job->size;
    dim3 grid((unsigned)((pixels + THREADS - 1) / THREADS), (unsigned)samples);

    return launch(skip_kernel, grid, dim3(THREADS), 0, stream, *job);
}
