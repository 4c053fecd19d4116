#include "kernels/cuda/waves.cuh"

#include "kernels/sine.h"

enum { THREADS = 128, BLOCKS_EACH = 8 };

/* out = a . b, [3,3], in the order of fourier_cpu.c. */
static __device__ __forceinline__ void multiply(float out[9], const float a[9], const float b[9])
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            out[3 * i + j] = __fadd_rn(__fadd_rn(__fmul_rn(a[3 * i], b[j]),
                                                 __fmul_rn(a[3 * i + 1], b[3 + j])),
                                       __fmul_rn(a[3 * i + 2], b[6 + j]));
}

/* a x + b y, rounded three times. */
static __device__ __forceinline__ float two_products(float a, float x, float b, float y)
{
    return __fadd_rn(__fmul_rn(a, x), __fmul_rn(b, y));
}

/* A thread has a wave. */
static __global__ void __launch_bounds__(THREADS)
    turn_kernel(const struct waves_job job, float cutoff, float slope)
{
    int channel = (int)(blockIdx.x * THREADS + threadIdx.x), sample = (int)blockIdx.y;
    const float *style = job.style + (size_t)sample * job.each;
    float norm = __fsqrt_rn(two_products(style[0], style[0], style[1], style[1]));
    float rc = __fdiv_rn(style[0], norm), rs = __fdiv_rn(style[1], norm);
    float tx = __fdiv_rn(style[2], norm), ty = __fdiv_rn(style[3], norm);
    const float turn[9] = { rc, -rs, 0, rs, rc, 0, 0, 0, 1 };
    const float move[9] = { 1, 0, -tx, 0, 1, -ty, 0, 0, 1 };
    float both[9], t[9];

    if (channel >= job.waves.channels)
        return;
    multiply(both, turn, move);
    multiply(t, both, job.transform + (size_t)sample * 9);

    float x = job.waves.freqs[2 * channel], y = job.waves.freqs[2 * channel + 1];
    struct fourier_wave w;

    w.fx = two_products(x, t[0], y, t[3]);
    w.fy = two_products(x, t[1], y, t[4]);
    w.phase = __fadd_rn(job.waves.phases[channel], two_products(x, t[2], y, t[5]));
    float length = __fsqrt_rn(two_products(w.fx, w.fx, w.fy, w.fy));
    float fade = __fadd_rn(1.0f, -__fdiv_rn(__fadd_rn(length, -cutoff), slope));

    w.amplitude = fade > 1.0f ? 1.0f : fade < 0.0f ? 0.0f : fade;   /* NaN stays NaN */
    job.wave[(size_t)sample * job.waves.channels + channel] = w;
}

/* A thread has a pixel of BLOCKS_EACH blocks of channels. */
template <class P>
static __global__ void __launch_bounds__(THREADS)
    plane_kernel(const struct waves_job job, int blocks)
{
    int size = job.waves.size, pixels = size * size, sample = (int)blockIdx.z;
    int pixel = (int)(blockIdx.x * THREADS + threadIdx.x), first = (int)blockIdx.y * BLOCKS_EACH;
    const struct fourier_wave *wave = job.wave + (size_t)sample * job.waves.channels;

    if (pixel >= pixels)
        return;
    float gx = sine_grid(pixel % size, size, job.waves.rate);
    float gy = sine_grid(pixel / size, size, job.waves.rate);

    for (int b = first; b < min(first + BLOCKS_EACH, blocks); b++) {
        float v[P::LANES];

        for (int c = 0; c < P::LANES; c++) {
            int channel = b * P::LANES + c;

            v[c] = 0.0f;
            if (channel < job.waves.channels) {
                struct fourier_wave w = wave[channel];

                v[c] = __fmul_rn(w.amplitude,
                                 sine_of_turns(__fmaf_rn(gx, w.fx,
                                                         __fmaf_rn(gy, w.fy, w.phase))));
            }
        }
        block_store<P>(job.x, ((size_t)sample * blocks + b) * pixels + pixel, v);
    }
}

template <class P>
static cudaError_t run(const struct waves_job *job, int samples, cudaStream_t stream)
{
    int channels = job->waves.channels, pixels = job->waves.size * job->waves.size;
    int blocks = activation_blocks(P::NAME, channels);
    dim3 waves((unsigned)(channels + THREADS - 1) / THREADS, (unsigned)samples);
    dim3 planes((unsigned)(pixels + THREADS - 1) / THREADS,
                (unsigned)(blocks + BLOCKS_EACH - 1) / BLOCKS_EACH, (unsigned)samples);
    cudaError_t st = launch(turn_kernel, waves, dim3(THREADS), 0, stream, *job,
                            (float)job->waves.cutoff,
                            (float)(job->waves.rate / 2 - job->waves.cutoff));

    return st ? st : launch(plane_kernel<P>, planes, dim3(THREADS), 0, stream, *job, blocks);
}

cudaError_t waves_run(const struct waves_job *job, int samples, cudaStream_t stream)
{
    return WITH_PRECISION(job->precision, run, job, samples, stream);
}
