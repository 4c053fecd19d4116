/* A block of threads has WARP pixels of the channels of one group of a ToRGB, a thread one pixel's
 * block of channels: the group's sums are the blocks' in index order, each of its channels
 * ascending. */
#include "kernels/cuda/gather.cuh"

enum { WARP = 32, COLOURS = 3 };

/* The parts' sum. */
template <class P>
static __device__ __forceinline__ void add_parts(float out[P::LANES], const struct gather_job *job,
                                                 int sample, size_t at)
{
    const float *part = job->parts + (size_t)sample * job->sample_each + at * P::LANES;

    for (int k = 0; k < job->count; k++) {
        for (int i = 0; i < P::LANES; i += 4) {
            float4 v = *(const float4 *)(part + (size_t)k * job->part_each + i);

            out[i] = k ? __fadd_rn(out[i], v.x) : v.x;
            out[i + 1] = k ? __fadd_rn(out[i + 1], v.y) : v.y;
            out[i + 2] = k ? __fadd_rn(out[i + 2], v.z) : v.z;
            out[i + 3] = k ? __fadd_rn(out[i + 3], v.w) : v.w;
        }
    }
}

/* A block's part of the three sums for the ToRGB. */
template <class P>
static __device__ __forceinline__ void sum_colours(float out[COLOURS], const struct finish *finish,
                                                   int sample, int base, const float v[P::LANES])
{
    const float *weight = finish->rgb + (size_t)sample * finish->each;

    for (int colour = 0; colour < COLOURS; colour++) {
        out[colour] = 0.0f;
        for (int c = 0; c < P::LANES; c++)
            if (base + c < finish->channels)
                out[colour] = __fmaf_rn(v[c], weight[colour * finish->channels + base + c],
                                        out[colour]);
    }
}

template <class P>
static __global__ void __launch_bounds__(WARP *RGB_GROUP / P::LANES)
    gather_kernel(const struct gather_job job, int blocks)
{
    DYNAMIC_SHARED(float, colours);             /* [block of the group][COLOURS][WARP] */
    const struct finish *finish = &job.finish;
    size_t pixel = (size_t)blockIdx.x * WARP + threadIdx.x;
    int group = (int)blockIdx.y, sample = (int)blockIdx.z;
    int index = group * (RGB_GROUP / P::LANES) + (int)threadIdx.y, base = index * P::LANES;
    float x[P::LANES], v[P::LANES], y[P::LANES], sum[COLOURS];
    bool bad = false;

    if (pixel < job.pixels && index < blocks) {
        float noise = finish_noise(finish, sample, pixel);

        add_parts<P>(x, &job, sample, (size_t)index * job.pixels + pixel);
        for (int c = 0; c < P::LANES; c++) {
            struct finish_channel at = finish_channel(finish, sample, base + c);

            v[c] = finish_value(finish, &at, noise, x[c], &bad);
            y[c] = job.y ? finish_stored<P>(&at, v[c], &bad) : 0.0f;
            if (finish->trace && base + c < finish->channels)
                finish->trace[((size_t)sample * finish->channels + base + c) * job.pixels +
                              pixel] = v[c];
        }
        if (job.y)
            block_store<P>(job.y, ((size_t)sample * blocks + index) * job.pixels + pixel, y);
        finish_report(finish, sample, bad);
        if (finish->rgb) {
            sum_colours<P>(sum, finish, sample, base, v);
            for (int colour = 0; colour < COLOURS; colour++)
                colours[((int)threadIdx.y * COLOURS + colour) * WARP + threadIdx.x] = sum[colour];
        }
    }
    if (!finish->rgb)
        return;
    __syncthreads();

    int colour = (int)threadIdx.y, there = min((int)blockDim.y, blocks - group * (int)blockDim.y);

    if (pixel >= job.pixels || colour >= COLOURS)
        return;
    float all = colours[colour * WARP + threadIdx.x];

    for (int k = 1; k < there; k++)
        all = __fadd_rn(all, colours[(k * COLOURS + colour) * WARP + threadIdx.x]);
    finish->rgb_out[(((size_t)sample * gridDim.y + group) * COLOURS + colour) * job.pixels +
                    pixel] = all;
}

template <class P>
static cudaError_t run(const struct gather_job *job, int samples, cudaStream_t stream)
{
    dim3 block(WARP, RGB_GROUP / P::LANES);
    dim3 grid((unsigned)((job->pixels + WARP - 1) / WARP),
              (unsigned)rgb_groups(job->finish.channels), (unsigned)samples);

    return launch(gather_kernel<P>, grid, block,
                  job->finish.rgb ? block.y * COLOURS * WARP * sizeof(float) : 0, stream, *job,
                  activation_blocks(P::NAME, job->finish.channels));
}

cudaError_t gather_run(const struct gather_job *job, int samples, cudaStream_t stream)
{
    return WITH_PRECISION(job->precision, run, job, samples, stream);
}
