/* A warp has PAIRS pairs of columns and marches down a strip of rows; a lane has the blocks of one
 * pair, y's columns 2j and 2j + 1. A row that arrives is added to the three rows of out it has a
 * part in and completes a fourth; what a lane needs of its neighbours' columns it gets from their
 * registers. The outermost two lanes do nothing else than to hand theirs over.
 *
 * Each y is read from memory once, by its own lane, but for a strip's three rows of overlap and a
 * warp's two pairs, which the second-level cache has; each block of out is written once, in whole
 * sectors. For 2 bytes a channel that is 2 read and 2 written a value. */
#include "kernels/cuda/fir.cuh"

#include <string.h>

enum { WARP = 32, PAIRS = WARP - 2, WARPS = 4 };

static const unsigned ALL_LANES = 0xffffffffu;

/* A block as it lies in memory. */
template <class P> static __device__ __forceinline__ void widen(float out[P::LANES], uint4 packed)
{
    struct block<P> b;

    memcpy(&b, &packed, sizeof b);
    for (int c = 0; c < P::LANES; c++)
        out[c] = P::wide(b.lane[c]);
}

template <class P> static __device__ __forceinline__ uint4 narrow(const float in[P::LANES])
{
    struct block<P> b;
    uint4 packed;

    for (int c = 0; c < P::LANES; c++)
        b.lane[c] = P::round(in[c]);
    memcpy(&packed, &b, sizeof packed);
    return packed;
}

static __device__ __forceinline__ uint4 from_lane(uint4 v, int lane)
{
    return make_uint4(__shfl_sync(ALL_LANES, v.x, lane), __shfl_sync(ALL_LANES, v.y, lane),
                      __shfl_sync(ALL_LANES, v.z, lane), __shfl_sync(ALL_LANES, v.w, lane));
}

/* Columns 2j and 2j + 1 of a row of y: zeros where y has none. */
struct pair {
    uint4 even, odd;
};

static __device__ __forceinline__ struct pair load_pair(const struct fir_job *job, const uint4 *y,
                                                        int row, int j)
{
    struct pair p = { make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0) };

    if (row < 0 || row >= job->rows_of_y || j < 0)
        return p;
    y += ((size_t)(row % 2 * 2) * job->rows + row / 2) * job->rows + j;
    if (2 * j < job->rows_of_y)
        p.even = y[0];
    if (2 * j + 1 < job->rows_of_y)
        p.odd = y[(size_t)job->rows * job->rows];
    return p;
}

/* f[0] a + f[1] b + f[2] c + f[3] d */
static __device__ __forceinline__ float four_taps(const float f[4], float a, float b, float c,
                                                  float d)
{
    return __fmaf_rn(f[3], d, __fmaf_rn(f[2], c, __fmaf_rn(f[1], b, __fmul_rn(f[0], a))));
}

/* Rows of out that are under way: sums that have had three taps and two, and the row of y that has
 * begun a third. */
template <class P> struct marching {
    float three[P::LANES], two[P::LANES];
    uint4 last;
};

/* Adds a row; out is the row that it completes. */
template <class P>
static __device__ __forceinline__ void add_row(struct marching<P> *sum, float out[P::LANES],
                                               const float f[4], uint4 packed)
{
    float y[P::LANES], last[P::LANES];

    widen<P>(y, packed);
    widen<P>(last, sum->last);
    for (int c = 0; c < P::LANES; c++) {
        out[c] = __fmaf_rn(f[3], y[c], sum->three[c]);
        sum->three[c] = __fmaf_rn(f[2], y[c], sum->two[c]);
        sum->two[c] = __fmaf_rn(f[1], y[c], __fmul_rn(f[0], last[c]));
    }
    sum->last = packed;
}

/* Stores two blocks of each of PAIRS lanes; neighbours swap, so that each store fills sectors. */
static __device__ __forceinline__ void store_pairs(uint4 *out, uint4 even, uint4 odd, int first,
                                                   int size)
{
    int lane = (int)threadIdx.x % WARP, side = (lane - 1) & 1;
    uint4 other = from_lane(side ? even : odd, (((lane - 1) ^ 1) + 1) & (WARP - 1));
    int column = first + ((lane - 1) & ~1) * 2 + side;

    if (lane < 1 || lane > PAIRS)
        return;
    if (column < size)
        out[column] = side ? other : even;
    if (column + 2 < size)
        out[column + 2] = side ? odd : other;
}

/* TRACED apart, as its addresses would cost the other one registers. */
template <class P, bool TRACED>
static __global__ void __launch_bounds__(WARPS *WARP, TRACED ? 3 : 4)
    fir_kernel(const struct fir_job job, int blocks, int groups, int strip)
{
    DYNAMIC_SHARED(struct finish_channel, channel);
    const struct finish *finish = &job.finish;
    int sample = (int)blockIdx.y / blocks, base = (int)blockIdx.y % blocks * P::LANES;
    int lane = (int)threadIdx.x % WARP;
    int unit = (int)blockIdx.x * WARPS + (int)threadIdx.x / WARP;
    int j = unit % groups * PAIRS + lane - 1, top = unit / groups * strip;
    int bottom = min(top + strip, job.size);
    bool mine = lane >= 1 && lane <= PAIRS && j < job.size / 2, bad = false;

    if ((int)threadIdx.x < P::LANES)
        channel[threadIdx.x] = finish_channel(finish, sample, base + (int)threadIdx.x);
    __syncthreads();
    if (top >= job.size)
        return;

    const uint4 *y = (const uint4 *)job.y + (size_t)blockIdx.y * 4 * job.rows * job.rows;
    uint4 *out = (uint4 *)job.out + (size_t)blockIdx.y * job.size * job.size;
    struct marching<P> even = {}, odd = {};
    struct pair next = load_pair(&job, y, top - 1, j);

    for (int row = top - 1; row < bottom + 2; row++) {
        float b[P::LANES], c[P::LANES], left[P::LANES], right[P::LANES];
        struct pair now = next;
        int done = row - 2;

        if (row + 1 < bottom + 2)
            next = load_pair(&job, y, row + 1, j);
        add_row<P>(&even, b, job.f, now.even);
        add_row<P>(&odd, c, job.f, now.odd);
        if (done < top)
            continue;

        size_t pixel = (size_t)done * job.size + 2 * j;
        float noise[2] = { 0.0f, 0.0f };

        if (mine) {
            noise[0] = finish_noise(finish, sample, pixel);
            noise[1] = finish_noise(finish, sample, pixel + 1);
        }
        for (int k = 0; k < P::LANES; k++) {
            float a = __shfl_up_sync(ALL_LANES, c[k], 1);
            float d = __shfl_down_sync(ALL_LANES, b[k], 1);
            float e = __shfl_down_sync(ALL_LANES, c[k], 1);
            struct finish_channel at = channel[k];
            bool wrong = false;

            float v = finish_value(finish, &at, noise[0], four_taps(job.f, a, b[k], c[k], d),
                                   &wrong);
            float w = finish_value(finish, &at, noise[1], four_taps(job.f, b[k], c[k], d, e),
                                   &wrong);
            left[k] = finish_stored<P>(&at, v, &wrong);
            right[k] = finish_stored<P>(&at, w, &wrong);
            bad |= mine && wrong;
            if (TRACED && mine && base + k < finish->channels) {
                float *trace = finish->trace + ((size_t)sample * finish->channels + base + k) *
                                                   job.size * job.size + pixel;

                trace[0] = v;
                trace[1] = w;
            }
        }
        store_pairs(out + (size_t)done * job.size, narrow<P>(left), narrow<P>(right),
                    unit % groups * PAIRS * 2, job.size);
    }
    finish_report(finish, sample, bad);
}

/* Rows of out that a warp makes: more cost less overlap, fewer wait less for each other. */
static int strip_rows(int size)
{
    return size <= 32 ? 4 : size <= 128 ? 8 : size <= 256 ? 16 : 32;
}

template <class P>
static cudaError_t run(const struct fir_job *job, int samples, cudaStream_t stream)
{
    int blocks = activation_blocks(P::NAME, job->finish.channels);
    int groups = (job->size / 2 + PAIRS - 1) / PAIRS, strip = strip_rows(job->size);
    int units = groups * ((job->size + strip - 1) / strip);
    dim3 grid((unsigned)(units + WARPS - 1) / WARPS, (unsigned)(samples * blocks));

    return launch(job->finish.trace ? fir_kernel<P, true> : fir_kernel<P, false>, grid,
                  dim3(WARPS * WARP), P::LANES * sizeof(struct finish_channel), stream, *job,
                  blocks, groups, strip);
}

cudaError_t fir_run(const struct fir_job *job, int samples, cudaStream_t stream)
{
    if (job->finish.rgb)
        return cudaErrorNotSupported;
    return WITH_PRECISION(job->precision, run, job, samples, stream);
}
