#include "kernels/cuda/filtered_lrelu.cuh"

enum {
    TAPS = FILTERED_LRELU_TAPS,
    DOWN_TAPS = FILTERED_LRELU_DOWN_TAPS,
    HALF = DOWN_TAPS / 2,
};

/* ---- By fused multiply-adds ----
 *
 * A block of threads makes SIDE x SIDE pixels of four channels; all that lies between is float32 in
 * shared memory, in two places that are used by turns:
 *     x [X][X] -> up y -> [U][X] -> up x, lrelu -> u [U][U] -> down x -> [U][SIDE] -> down y -> y
 * A thread runs along its filter's axis, so that a value is read once for RUN sums; threads beside
 * each other read across it, rows an odd number of quads apart: no two of a quarter-warp want the
 * same banks. Where phases of the up filter start at different pixels, X has one more. */

/* Four channels of a pixel. */
struct alignas(16) quad {
    float v[4];
};

/* The same as tensors keep them. */
template <class P> struct alignas(4 * sizeof(typename P::value)) piece {
    typename P::value lane[4];
};

enum {
    PLAIN_THREADS = 128,
    SIDE = 16,
    UP_RUN = 3, DOWN_RUN = 4, RADIAL_RUN = 2,
    U = 2 * (SIDE - 1) + DOWN_TAPS,             /* of u a side */
    SUM_PITCH = SIDE + 1,
};

template <int UP> struct plain {
    static const int Q = (U + UP * UP_RUN - 1) / (UP * UP_RUN) * UP_RUN;    /* of a phase of u */
    static const int X = Q + TAPS;
    static const int X_PITCH = X | 1, U_PITCH = (Q * UP) | 1;
    static const int FIRST = U * U_PITCH;       /* quads of x, then u */
    static const int SECOND = U * X_PITCH;      /* of x filtered in y, then u filtered in x */
    static const int BYTES = (FIRST + SECOND) * (int)sizeof(struct quad);
};

struct plain_work {
    struct filtered_lrelu filter;
    const void *x;
    void *y;
    int pieces;                 /* of four channels, of a pixel */
    int tiles;                  /* in a row */
    struct finish finish;
};

/* sum[j] += sum over t of tap[t] * from[(STEP j + t) * stride], t ascending, fused. */
template <int RUN, int STEP, int COUNT>
static __device__ __forceinline__ void add_filtered(struct quad sum[RUN], const struct quad *from,
                                                    int stride, const float *tap)
{
#pragma unroll
    for (int k = 0; k < STEP * (RUN - 1) + COUNT; k++) {
        struct quad value = from[k * stride];

#pragma unroll
        for (int j = 0; j < RUN; j++)
            if (k >= STEP * j && k < STEP * j + COUNT)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    sum[j].v[i] = __fmaf_rn(tap[k - STEP * j], value.v[i], sum[j].v[i]);
    }
}

/* Where a sample's piece starts: [sample][block][pixels][LANES], a block being LANES / 4 pieces. */
template <class P>
static __device__ __forceinline__ size_t piece_at(const struct plain_work *w, size_t pixels)
{
    const int parts = P::LANES / 4;
    size_t block = (size_t)blockIdx.z * (size_t)(w->pieces / parts) + blockIdx.y / parts;

    return block * pixels * parts + blockIdx.y % parts;
}

/* x from pixel (row, column) on, zeros where there is none. */
template <class P, int UP>
static __device__ __forceinline__ void plain_load(const struct plain_work *w, struct quad *x,
                                                  int row, int column)
{
    const int in = w->filter.in, count = plain<UP>::X;
    const struct piece<P> *from =
        (const struct piece<P> *)w->x + piece_at<P>(w, (size_t)in * (size_t)in);

    for (int i = threadIdx.x; i < count * count; i += PLAIN_THREADS) {
        int r = row + i / count, c = column + i % count;
        struct quad to = { { 0.0f, 0.0f, 0.0f, 0.0f } };

        if (r >= 0 && r < in && c >= 0 && c < in) {
            struct piece<P> p = from[((size_t)r * in + c) * (P::LANES / 4)];

            for (int k = 0; k < 4; k++)
                to.v[k] = P::wide(p.lane[k]);
        }
        x[i / count * plain<UP>::X_PITCH + i % count] = to;
    }
}

template <int UP>
static __device__ __forceinline__ void plain_up_y(const struct filtered_lrelu *f,
                                                  const struct quad *x, struct quad *mid)
{
    const int columns = plain<UP>::X, pitch = plain<UP>::X_PITCH;

    for (int i = threadIdx.x; i < plain<UP>::Q / UP_RUN * columns; i += PLAIN_THREADS) {
        int column = i % columns, q = i / columns * UP_RUN;

#pragma unroll
        for (int p = 0; p < UP; p++) {
            struct quad sum[UP_RUN] = {};

            add_filtered<UP_RUN, 1, TAPS>(
                sum, x + (q + f->start[p] - f->start[0]) * pitch + column, pitch, f->up_tap[p]);
            for (int j = 0; j < UP_RUN; j++)
                if (UP * (q + j) + p < U)
                    mid[(UP * (q + j) + p) * pitch + column] = sum[j];
        }
    }
}

static __device__ __forceinline__ float activate(const struct filtered_lrelu *f, float v, bool *bad)
{
    v = __fmul_rn(v >= 0.0f ? v : __fmul_rn(v, 0.2f), f->gain);
    *bad |= !(fabsf(v) <= 3.4028234e38f);
    return f->clamp > 0.0f ? fminf(fmaxf(v, -f->clamp), f->clamp) : v;
}

/* Only rows and columns below those of u are looked at: what y's last pixels do not reach is no
 * reason to fail. */
template <int UP>
static __device__ __forceinline__ bool plain_up_x(const struct filtered_lrelu *f,
                                                  const struct quad *mid, struct quad *u, int rows,
                                                  int columns)
{
    bool bad = false;

    for (int i = threadIdx.x; i < plain<UP>::Q / UP_RUN * U; i += PLAIN_THREADS) {
        int row = i % U, q = i / U * UP_RUN;

#pragma unroll
        for (int p = 0; p < UP; p++) {
            struct quad sum[UP_RUN] = {};

            add_filtered<UP_RUN, 1, TAPS>(
                sum, mid + row * plain<UP>::X_PITCH + q + f->start[p] - f->start[0], 1,
                f->up_tap[p]);
            for (int j = 0; j < UP_RUN; j++) {
                int column = UP * (q + j) + p;
                bool wrong = false;

                for (int k = 0; k < 4; k++)
                    sum[j].v[k] = activate(f, sum[j].v[k], &wrong);
                u[row * plain<UP>::U_PITCH + column] = sum[j];
                bad |= wrong && row < rows && column < columns;
            }
        }
    }
    return bad;
}

template <int UP>
static __device__ __forceinline__ void plain_down_x(const struct filtered_lrelu *f,
                                                    const struct quad *u, struct quad *sums)
{
    for (int i = threadIdx.x; i < SIDE / DOWN_RUN * U; i += PLAIN_THREADS) {
        int row = i % U, m = i / U * DOWN_RUN;
        struct quad sum[DOWN_RUN] = {};

        add_filtered<DOWN_RUN, 2, DOWN_TAPS>(sum, u + row * plain<UP>::U_PITCH + 2 * m, 1,
                                             f->down_tap);
        for (int j = 0; j < DOWN_RUN; j++)
            sums[row * SUM_PITCH + m + j] = sum[j];
    }
}

template <class P>
static __device__ __forceinline__ bool plain_store(const struct plain_work *w, const struct quad *v,
                                                   int row, int column)
{
    const int out = w->filter.out, channel = (int)blockIdx.y * 4;
    const size_t pixels = (size_t)out * (size_t)out, pixel = (size_t)row * out + column;
    struct piece<P> to;
    bool bad = false;

    if (row >= out || column >= out)
        return false;
    for (int i = 0; i < 4; i++) {
        struct finish_channel c = finish_channel(&w->finish, blockIdx.z, channel + i);

        to.lane[i] = P::round(finish_stored<P>(&c, v->v[i], &bad));
        if (w->finish.trace && channel + i < w->finish.channels)
            w->finish.trace[((size_t)blockIdx.z * w->finish.channels + channel + i) * pixels +
                            pixel] = v->v[i];
    }
    ((struct piece<P> *)w->y)[piece_at<P>(w, pixels) + pixel * (P::LANES / 4)] = to;
    return bad;
}

template <class P>
static __device__ __forceinline__ bool plain_down_y(const struct plain_work *w,
                                                    const struct quad *sums, int row, int column)
{
    bool bad = false;

    for (int i = threadIdx.x; i < SIDE / DOWN_RUN * SIDE; i += PLAIN_THREADS) {
        int x = i % SIDE, m = i / SIDE * DOWN_RUN;
        struct quad sum[DOWN_RUN] = {};

        add_filtered<DOWN_RUN, 2, DOWN_TAPS>(sum, sums + 2 * m * SUM_PITCH + x, SUM_PITCH,
                                             w->filter.down_tap);
        for (int j = 0; j < DOWN_RUN; j++)
            bad |= plain_store<P>(w, &sum[j], row + m + j, column + x);
    }
    return bad;
}

/* Mirrored columns are added once for all rows of y. */
template <class P, int UP>
static __device__ __forceinline__ bool plain_radial(const struct plain_work *w,
                                                    const struct quad *u, int row, int column)
{
    bool bad = false;

    for (int i = threadIdx.x; i < SIDE / RADIAL_RUN * SIDE; i += PLAIN_THREADS) {
        int x = i % SIDE, m = i / SIDE * RADIAL_RUN;
        struct quad sum[RADIAL_RUN] = {};

#pragma unroll
        for (int k = 0; k < 2 * (RADIAL_RUN - 1) + DOWN_TAPS; k++)
#pragma unroll
            for (int t = 0; t < HALF; t++) {
                const struct quad *at = u + (2 * m + k) * plain<UP>::U_PITCH + 2 * x;
                struct quad both = at[t], right = at[DOWN_TAPS - 1 - t];

                for (int c = 0; c < 4; c++)
                    both.v[c] = __fadd_rn(both.v[c], right.v[c]);
#pragma unroll
                for (int j = 0; j < RADIAL_RUN; j++)
                    if (k >= 2 * j && k < 2 * j + DOWN_TAPS)
                        for (int c = 0; c < 4; c++)
                            sum[j].v[c] = __fmaf_rn(w->filter.half_tap[k - 2 * j][t], both.v[c],
                                                    sum[j].v[c]);
            }
        for (int j = 0; j < RADIAL_RUN; j++)
            bad |= plain_store<P>(w, &sum[j], row + m + j, column + x);
    }
    return bad;
}

/* Block: x a tile of SIDE x SIDE pixels, y four channels, z the sample. */
template <class P, int UP, bool RADIAL>
static __global__ void __launch_bounds__(PLAIN_THREADS) plain_kernel(const struct plain_work w)
{
    DYNAMIC_SHARED(struct quad, first);
    struct quad *second = first + plain<UP>::FIRST;
    const struct filtered_lrelu *f = &w.filter;
    int row = (int)blockIdx.x / w.tiles * SIDE, column = (int)blockIdx.x % w.tiles * SIDE;
    bool bad;

    plain_load<P, UP>(&w, first, 2 * row / UP + f->start[0], 2 * column / UP + f->start[0]);
    __syncthreads();
    plain_up_y<UP>(f, first, second);
    __syncthreads();
    bad = plain_up_x<UP>(f, second, first, 2 * (f->out - 1 - row) + DOWN_TAPS,
                         2 * (f->out - 1 - column) + DOWN_TAPS);
    __syncthreads();
    if (RADIAL) {
        bad |= plain_radial<P, UP>(&w, first, row, column);
    } else {
        plain_down_x<UP>(f, first, second);
        __syncthreads();
        bad |= plain_down_y<P>(&w, second, row, column);
    }
    finish_report(&w.finish, blockIdx.z, bad);
}

template <class P>
static cudaError_t plain_run(const struct filtered_lrelu_job *job, int samples, cudaStream_t stream)
{
    struct plain_work w;
    int up = job->filter->up;
    bool radial = job->filter->radial;

    w.filter = *job->filter;
    w.x = job->x;
    w.y = job->y;
    w.pieces = padded_channels(job->finish.channels) / 4;
    w.tiles = divide_up(job->filter->out, SIDE);
    w.finish = job->finish;
    return launch(up == 2 ? (radial ? plain_kernel<P, 2, true> : plain_kernel<P, 2, false>)
                          : (radial ? plain_kernel<P, 4, true> : plain_kernel<P, 4, false>),
                  dim3((unsigned)(w.tiles * w.tiles), (unsigned)w.pieces, (unsigned)samples),
                  dim3(PLAIN_THREADS), up == 2 ? plain<2>::BYTES : plain<4>::BYTES, stream, w);
}

cudaError_t filtered_lrelu_cuda_plain(const struct filtered_lrelu_job *job, int samples,
                                      cudaStream_t stream)
{
    return WITH_PRECISION(job->precision, plain_run, job, samples, stream);
}

/* ---- Which way ---- */

int filtered_lrelu_cuda_tiles(enum precision precision, const struct filtered_lrelu *filter)
{
    (void)filter;
    return precision == PRECISION_FP16 ? filtered_lrelu_cuda_mma_tiles() : 1;
}

cudaError_t filtered_lrelu_cuda_run(const struct filtered_lrelu_job *job, int samples, int tile,
                                    cudaStream_t stream)
{
    if (job->precision == PRECISION_FP16)
        return filtered_lrelu_cuda_mma(job, samples, tile, stream);
    return filtered_lrelu_cuda_plain(job, samples, stream);
}
