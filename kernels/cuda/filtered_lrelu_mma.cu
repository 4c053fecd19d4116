/* The filtered lrelu in fp16 on the tensor cores: each filter along an axis is a product of the
 * pixels with a band matrix ("Toeplitz") of its taps, which is the same everywhere and stays in
 * registers, as both sides of an mma m16n8k16 have it:
 *     up y      band [16 rows of u][16 of x]  x  [16 of x][8 channels], a column at a time
 *     up x      separable: [2 rows x 8 channels][16 of x]  x  band [16 of x][8 of u], so that the
 *               product, through the rectifier, is the left side of the next without leaving
 *               registers; radial: as up y
 *     down x    [2 rows x 8 channels][16 of u]  x  band [16 of u][8 of out]
 *     down y    [2 channels x 8 columns][16 rows of u]  x  band [16 rows of u][8 of out]
 *     radial    [2 columns x 8 channels][16 rows of u]  x  band [16 rows of u][8 of out], for each
 *               of the six pairs of mirrored columns, which are added first
 * Eight pixels of y reach 26 of u: two stretches of 16. So a stretch of u takes part in two
 * products, as the end of eight pixels and as the start of the next eight, whose sums wait in
 * registers.
 *
 * A block of 8 warps makes a strip of y, WIDE columns of eight channels, and marches down it, eight
 * rows a step. x comes in by asynchronous copies, the rows of a step while the one before is
 * computed, into a ring; x filtered in y, and u filtered in x (radial: u), lie in shared memory.
 *
 * Rounded to fp16 are taps (so that sums of them stay, see round_taps), x filtered in y, u before
 * the rectifier and behind it, then u filtered in x, or the sum of two mirrored columns; all sums
 * are float32. With the official designs all of it together is 72 to 80 dB below the signal, 65 for
 * white noise in the critically sampled layers; storing y in fp16 is 73.
 *
 * Where a band has no tap it has a zero, and what meets it is finite unless x is not, or is above
 * 43000: then the layer is reported broken a few pixels wider than by definition, never less.
 *
 * For a step of 64 x 8 pixels of eight channels, up 2 (up 4):
 *                  mma                              through shared memory    shared memory
 *     separable    80 (48) + 288 + 64               104 (73) KB              68 (42) KB
 *     radial       80 (48) + 144 + 384              178 (146) KB             98 (71) KB
 * against 311 (radial: 460) thousand multiply-adds one by one. u is 144 columns wide for 128, x 80
 * (48) for 64 (32); a strip of S steps makes S + 1 stretches of u. Rows are an odd number of cells
 * apart, so that neither ldmatrix nor a store of a warp meets a bank twice. */
#include "kernels/cuda/filtered_lrelu.cuh"

#include <string.h>

enum {
    TAPS = FILTERED_LRELU_TAPS,
    DOWN_TAPS = FILTERED_LRELU_DOWN_TAPS,
    HALF = DOWN_TAPS / 2,
    THREADS = 256, WARPS = THREADS / 32,
    LANES = 8,                  /* channels of a block */
    GROUP = 8,                  /* pixels of y that a product makes; as many rows are a step */
    STRETCH = 16,               /* pixels of u that a product takes */
    GROUPS = 8,                 /* of a strip's width */
    WIDE = GROUPS * GROUP,
    RADIAL_SCALE = 2,           /* half of u is kept, so that two of it can be added */
    SUM_PITCH = WIDE + 1, U_PITCH = (GROUPS + 1) * STRETCH + 1, STAGE_PITCH = GROUP + 1,
};

typedef struct block<fp16> cell;                /* eight channels of a pixel */

/* Shared memory, in cells. */
template <int UP, bool RADIAL> struct strip_size {
    static const int ADVANCE = STRETCH / UP;    /* rows of x from step to step */
    static const int KEEP = UP == 2 ? 16 : 12;  /* rows of x that a step looks at */
    static const int RING = KEEP + ADVANCE;
    static const int PER_RUN = UP / 2;          /* stretches of u over eight columns of x: a run */
    static const int RUNS = (GROUPS + PER_RUN) / PER_RUN;
    static const int PITCH = GROUP * (RUNS + 1) + 1;
    static const int MID = RING * PITCH;        /* x filtered in y starts here */
    static const int LAST = MID + STRETCH * PITCH;      /* and here what goes down in y */
    static const int STAGE = LAST + STRETCH * (RADIAL ? U_PITCH : SUM_PITCH);
    static const int NEXT = STAGE + (RADIAL ? WARPS * GROUP * STAGE_PITCH : 0);
    static const int CELLS = NEXT + LANES * (int)sizeof(float) / BLOCK_BYTES;
    static_assert(PITCH % 8 == 1 && RING % 8 == 0, "eight rows in eight times four banks");
};

struct strip_work {
    struct filtered_lrelu filter;               /* its taps are fp16 already */
    float up_x_tap[FILTERED_LRELU_UP_MAX][TAPS];    /* the same, with the rectifier's gain */
    __half2 least, most;                        /* the clamp */
    bool clamps;
    const cell *x;
    cell *y;
    int strips;                 /* side by side */
    int steps;                  /* of a strip */
    struct finish finish;
};

/* A thread's place, and what of the strip is the same for all. */
struct strip {
    int warp, lane;
    int g, t;                   /* lane / 4, lane % 4: which part of an operand it holds */
    int row, column;            /* of y, where the strip starts */
    int steps;                  /* with rows of y in them */
    int groups;                 /* with columns of y in them */
    int runs;                   /* of eight columns of x that they need */
};

/* ---- Operands ---- */

static __device__ __forceinline__ uint32_t bits_of(__half2 v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static __device__ __forceinline__ __half2 halves_of(uint32_t bits)
{
    __half2 v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static __device__ __forceinline__ uint32_t packed(float low, float high)
{
    return bits_of(__floats2half2_rn(low, high));
}

/* Bands: what stands at value `from` of the line filtered and value `to` of the result. */

/* x, counted from where the first phase starts, to u. */
template <int UP> struct up_band {
    const struct filtered_lrelu *f;
    const float (*tap)[TAPS];

    __device__ __forceinline__ float at(int from, int to) const
    {
        int phase = to % UP, k = from - to / UP - (f->start[phase] - f->start[0]);

        return k >= 0 && k < TAPS ? tap[phase][k] : 0.0f;
    }
};

/* u to y. */
struct down_band {
    const struct filtered_lrelu *f;

    __device__ __forceinline__ float at(int from, int to) const
    {
        int k = from - 2 * to;

        return k >= 0 && k < DOWN_TAPS ? f->down_tap[k] : 0.0f;
    }
};

/* Rows of u to rows of y, in one pair of mirrored columns. */
struct pair_band {
    const struct filtered_lrelu *f;
    int pair;

    __device__ __forceinline__ float at(int from, int to) const
    {
        int k = from - 2 * to;

        return k >= 0 && k < DOWN_TAPS ? f->half_tap[k][pair] : 0.0f;
    }
};

/* The band of 16 values from first_from on to 16 results from first_to on, as mma's left side. */
template <class B>
static __device__ __forceinline__ void band_left(uint32_t a[4], const B &band, int first_from,
                                                 int first_to, const struct strip *s)
{
    for (int i = 0; i < 4; i++) {
        int from = first_from + 2 * s->t + i / 2 * 8, to = first_to + s->g + i % 2 * 8;

        a[i] = packed(band.at(from, to), band.at(from + 1, to));
    }
}

/* To 8 results, as its right side. */
template <class B>
static __device__ __forceinline__ void band_right(uint32_t b[2], const B &band, int first_from,
                                                  int first_to, const struct strip *s)
{
    for (int i = 0; i < 2; i++) {
        int from = first_from + 2 * s->t + i * 8, to = first_to + s->g;

        b[i] = packed(band.at(from, to), band.at(from + 1, to));
    }
}

/* From a stretch of u to the group of y that starts with it, and to the one before. */
template <class B>
static __device__ __forceinline__ void band_down(uint32_t begins[2], uint32_t ends[2],
                                                 const B &band, const struct strip *s)
{
    band_right(begins, band, 0, 0, s);
    band_right(ends, band, STRETCH, 0, s);
}

/* ---- The steps ---- */

/* Cells before those of the block's channels, in a tensor of side x side pixels. */
static __device__ __forceinline__ size_t plane_at(int side)
{
    return (blockIdx.z * (size_t)gridDim.y + blockIdx.y) * (size_t)side * (size_t)side;
}

/* Rows first .. first + count of x, counted from the strip's first, to their places in the ring. */
template <int UP, bool RADIAL>
static __device__ __forceinline__ void load_rows(const struct strip_work *w, const struct strip *s,
                                                 cell *ring, int first, int count)
{
    typedef struct strip_size<UP, RADIAL> size;
    const int in = w->filter.in, columns = GROUP * (s->runs + 1);
    const int row = 2 * s->row / UP + w->filter.start[0];
    const int column = 2 * s->column / UP + w->filter.start[0];

    for (int r = first + s->warp; r < first + count; r += WARPS) {
        const bool inside = row + r >= 0 && row + r < in;
        const cell *from = w->x + plane_at(in) + (inside ? (size_t)(row + r) * (size_t)in : 0);
        cell *to = ring + r % size::RING * size::PITCH;

        for (int c = s->lane; c < columns; c += 32) {
            bool valid = inside && column + c >= 0 && column + c < in;

            copy_async16(to + c, from + (valid ? column + c : 0), valid);
        }
    }
    copy_async_commit();
}

/* *bad becomes NaN when v is not finite, and stays it; else it is 0. */
static __device__ __forceinline__ uint32_t checked(uint32_t v, __half2 *bad)
{
    *bad = __hfma2(halves_of(v), __floats2half2_rn(0.0f, 0.0f), *bad);
    return v;
}

/* Rows of x in the ring -> STRETCH rows of u's height in mid. */
template <int UP, bool RADIAL>
static __device__ __forceinline__ void up_y(const struct strip *s, const cell *ring, cell *mid,
                                            const uint32_t band[4], int step, __half2 *bad)
{
    typedef struct strip_size<UP, RADIAL> size;
    /* no tap reaches the rows that are not kept: any will do */
    const int i = s->lane % 16, row = i < size::KEEP ? i : i - (16 - size::KEEP);
    const int slot = (step * size::ADVANCE + row) % size::RING;
    const cell *from = ring + slot * size::PITCH + s->lane / 16;
    uint32_t *to = (uint32_t *)(mid + s->g * size::PITCH) + s->t;
    const int below = 8 * size::PITCH * 4;

    for (int column = 2 * s->warp; column < GROUP * (s->runs + 1); column += 2 * WARPS) {
        float left[4] = { 0.0f }, right[4] = { 0.0f };
        uint32_t x[4];

        ldmatrix_x4_trans(x, from + column);
        mma_f16(left, band, x);
        mma_f16(right, band, x + 2);
        to[column * 4] = checked(packed(left[0], left[1]), bad);
        to[column * 4 + below] = checked(packed(left[2], left[3]), bad);
        to[column * 4 + 4] = checked(packed(right[0], right[1]), bad);
        to[column * 4 + 4 + below] = checked(packed(right[2], right[3]), bad);
    }
}

/* Two of u; the gain is in them already. Whatever came in was finite; without a clamp it may still
 * be too large for fp16. */
static __device__ __forceinline__ uint32_t rectified(const struct strip_work *w, float low,
                                                     float high, __half2 *bad)
{
    __half2 v = __floats2half2_rn(low, high);

    v = __hmax2(v, __hmul2(v, __floats2half2_rn(0.2f, 0.2f)));
    if (!w->clamps)
        return checked(bits_of(v), bad);
    return bits_of(__hmin2(__hmax2(v, w->least), w->most));
}

/* Two rows of mid: eight columns, and eight more. Runs share the eight between them, so that only
 * every other run loads. */
template <int UP, bool RADIAL>
static __device__ __forceinline__ void load_run(const struct strip *s, const cell *mid,
                                                uint32_t now[2], uint32_t next[2])
{
    typedef struct strip_size<UP, RADIAL> size;
    const int matrix = s->lane / 8;
    uint32_t x[4];

    ldmatrix_x4_trans(x, mid + (2 * s->warp + matrix % 2) * size::PITCH + matrix / 2 * 8 +
                             s->lane % 8);
    now[0] = x[0];
    now[1] = x[1];
    next[0] = x[2];
    next[1] = x[3];
}

/* Two rows of mid, up in x, rectified, down in x -> two rows of sums. A row of sums keeps a group's
 * columns by channel: [group][channel][column]. */
template <int UP>
static __device__ __forceinline__ void up_and_down_x(const struct strip_work *w,
                                                     const struct strip *s, const cell *mid,
                                                     cell *sums, const uint32_t up[UP][2],
                                                     const uint32_t begins[2],
                                                     const uint32_t ends[2], __half2 *bad)
{
    typedef struct strip_size<UP, false> size;
    uint32_t x[size::RUNS + 2][2];
    uint32_t *to = (uint32_t *)(sums + 2 * s->warp * SUM_PITCH + s->g) + s->t;
    float sum[4] = { 0.0f };

#pragma unroll
    for (int run = 0; run < size::RUNS; run++) {
        if (run >= s->runs)
            break;
        if (run == 0)
            load_run<UP, false>(s, mid, x[0], x[1]);
        if (run % 2)
            load_run<UP, false>(s, mid + GROUP * (run + 1), x[run + 1], x[run + 2]);

        const uint32_t pixels[4] = { x[run][0], x[run][1], x[run + 1][0], x[run + 1][1] };

#pragma unroll
        for (int part = 0; part < size::PER_RUN; part++) {
            const int stretch = run * size::PER_RUN + part;
            float first[4] = { 0.0f }, second[4] = { 0.0f };

            if (stretch > s->groups)
                break;
            mma_f16(first, pixels, up[2 * part]);
            mma_f16(second, pixels, up[2 * part + 1]);

            const uint32_t u[4] = { rectified(w, first[0], first[1], bad),
                                    rectified(w, first[2], first[3], bad),
                                    rectified(w, second[0], second[1], bad),
                                    rectified(w, second[2], second[3], bad) };

            mma_f16(sum, u, ends);
            if (stretch > 0) {
                to[(stretch - 1) * GROUP * 4] = packed(sum[0], sum[1]);
                to[(stretch - 1) * GROUP * 4 + SUM_PITCH * 4] = packed(sum[2], sum[3]);
            }
            for (int i = 0; i < 4; i++)
                sum[i] = 0.0f;
            mma_f16(sum, u, begins);
        }
    }
}

/* Two rows of mid, up in x, rectified -> two rows of u. */
template <int UP>
static __device__ __forceinline__ void up_x(const struct strip_work *w, const struct strip *s,
                                            const cell *mid, cell *u,
                                            const uint32_t up[UP / 2][4], __half2 *bad)
{
    typedef struct strip_size<UP, true> size;
    uint32_t x[size::RUNS + 2][2];
    uint32_t *to = (uint32_t *)(u + 2 * s->warp * U_PITCH + s->g) + s->t;

#pragma unroll
    for (int run = 0; run < size::RUNS; run++) {
        if (run >= s->runs)
            break;
        if (run == 0)
            load_run<UP, true>(s, mid, x[0], x[1]);
        if (run % 2)
            load_run<UP, true>(s, mid + GROUP * (run + 1), x[run + 1], x[run + 2]);

#pragma unroll
        for (int part = 0; part < size::PER_RUN; part++) {
            const int stretch = run * size::PER_RUN + part;

            if (stretch > s->groups)
                break;
#pragma unroll
            for (int row = 0; row < 2; row++) {
                const uint32_t pixels[2] = { x[run][row], x[run + 1][row] };
                uint32_t *at = to + (stretch * STRETCH + row * U_PITCH) * 4;
                float v[4] = { 0.0f };

                mma_f16(v, up[part], pixels);
                at[0] = rectified(w, v[0], v[1], bad);
                at[8 * 4] = rectified(w, v[2], v[3], bad);
            }
        }
    }
}

/* ---- What leaves ---- */

static __device__ __forceinline__ void trace(const struct strip_work *w, int channel, int row,
                                             int column, float v)
{
    const size_t out = (size_t)w->filter.out, channels = (size_t)w->finish.channels;

    if (channel < w->finish.channels)
        w->finish.trace[((blockIdx.z * channels + (size_t)channel) * out + (size_t)row) * out +
                        (size_t)column] = v;
}

/* Two channels of a pixel as they are stored. */
static __device__ __forceinline__ uint32_t ended(const float next[2], float low, float high,
                                                 bool *bad)
{
    struct finish_channel first = {}, second = {};

    first.next = next[0];
    second.next = next[1];
    low = finish_stored<fp16>(&first, low, bad);
    high = finish_stored<fp16>(&second, high, bad);
    return packed(low, high);
}

/* STRETCH rows of sums down in y: a warp a group of columns, two channels a product. What began
 * with the stretch before, in sum, is ended and stored, and sum begins anew. */
static __device__ __forceinline__ bool down_y(const struct strip_work *w, const struct strip *s,
                                              const cell *sums, const float next[LANES],
                                              float sum[LANES / 2][4], const uint32_t begins[2],
                                              const uint32_t ends[2], int step)
{
    const int matrix = s->lane / 8, out = w->filter.out;
    const int row = s->row + GROUP * (step - 1) + 2 * s->t;
    const int column = s->column + GROUP * s->warp + s->g;
    const cell *from =
        sums + (matrix / 2 * 8 + s->lane % 8) * SUM_PITCH + GROUP * s->warp + matrix % 2;
    const bool kept[2] = { step > 0 && column < out && row < out,
                           step > 0 && column < out && row + 1 < out };
    uint32_t done[2][LANES / 2];
    bool bad[2] = { false, false };

    if (s->warp >= s->groups)
        return false;
    for (int pair = 0; pair < LANES / 2; pair++) {
        uint32_t u[4];

        ldmatrix_x4_trans(u, from + 2 * pair);
        mma_f16(sum[pair], u, ends);
        for (int r = 0; r < 2; r++)
            done[r][pair] = ended(next + 2 * pair, sum[pair][r], sum[pair][2 + r], &bad[r]);
        for (int i = 0; w->finish.trace && i < 4; i++)
            if (kept[i % 2])
                trace(w, (int)blockIdx.y * LANES + 2 * pair + i / 2, row + i % 2, column,
                      sum[pair][i]);
        for (int i = 0; i < 4; i++)
            sum[pair][i] = 0.0f;
        mma_f16(sum[pair], u, begins);
    }
    for (int r = 0; r < 2; r++)
        if (kept[r]) {
            cell to;

            memcpy(&to, done[r], sizeof to);
            w->y[plane_at(out) + (size_t)(row + r) * out + column] = to;
        }
    return (bad[0] && kept[0]) || (bad[1] && kept[1]);
}

/* STRETCH rows of u down: a warp a group of columns, two columns a product. sum as above. The
 * thread's channel is the g-th; pixels come together in the warp's own stage. */
static __device__ __forceinline__ bool down_radial(const struct strip_work *w,
                                                   const struct strip *s, const cell *u,
                                                   cell *stage, float sum[GROUP / 2][4],
                                                   const uint32_t begins[HALF][2],
                                                   const uint32_t ends[HALF][2],
                                                   const struct finish_channel *channel, int step)
{
    const int out = w->filter.out, row = s->row + GROUP * (step - 1);
    const int column = s->column + GROUP * s->warp, c = (int)blockIdx.y * LANES + s->g;
    const cell *from = u + s->lane % 16 * U_PITCH + 2 * GROUP * s->warp + s->lane / 16;
    uint32_t x[2 * GROUP + DOWN_TAPS - 2][2];   /* columns of u; fourteen live at a time */
    bool bad = false;

    if (s->warp >= s->groups)
        return false;
    stage += s->warp * GROUP * STAGE_PITCH;
#pragma unroll
    for (int pair = 0; pair < GROUP / 2; pair++) {
#pragma unroll
        for (int i = pair ? DOWN_TAPS - 2 : 0; i < DOWN_TAPS + 2; i += 2) {
            uint32_t two[4];

            ldmatrix_x4_trans(two, from + 4 * pair + i);
            x[4 * pair + i][0] = two[0];
            x[4 * pair + i][1] = two[1];
            x[4 * pair + i + 1][0] = two[2];
            x[4 * pair + i + 1][1] = two[3];
        }

        uint32_t both[HALF][4];

#pragma unroll
        for (int t = 0; t < HALF; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int at = 4 * pair + i % 2 * 2;

                both[t][i] = bits_of(__hadd2(halves_of(x[at + t][i / 2]),
                                             halves_of(x[at + DOWN_TAPS - 1 - t][i / 2])));
            }
#pragma unroll
        for (int t = 0; t < HALF; t++)
            mma_f16(sum[pair], both[t], ends[t]);
        for (int i = 0; i < 4; i++) {
            int r = 2 * s->t + i % 2, k = 2 * pair + i / 2;

            if (step > 0 && row + r < out && column + k < out) {
                stage[r * STAGE_PITCH + k].lane[s->g] =
                    fp16::round(finish_stored<fp16>(channel, sum[pair][i], &bad));
                if (w->finish.trace)
                    trace(w, c, row + r, column + k, sum[pair][i]);
            }
            sum[pair][i] = 0.0f;
        }
#pragma unroll
        for (int t = 0; t < HALF; t++)
            mma_f16(sum[pair], both[t], begins[t]);
    }
    __syncwarp();
    for (int i = s->lane; i < GROUP * GROUP; i += 32) {
        int r = i / GROUP, k = i % GROUP;

        if (step > 0 && row + r < out && column + k < out)
            w->y[plane_at(out) + (size_t)(row + r) * out + column + k] = stage[r * STAGE_PITCH + k];
    }
    __syncwarp();                               /* before the next step writes there */
    return bad;
}

/* ---- The kernels ---- */

static __device__ __forceinline__ struct strip strip_here(const struct strip_work *w, int per_run)
{
    struct strip s;

    s.warp = threadIdx.x / 32;
    s.lane = threadIdx.x % 32;
    s.g = s.lane / 4;
    s.t = s.lane % 4;
    s.row = (int)blockIdx.x / w->strips * w->steps * GROUP;
    s.column = (int)blockIdx.x % w->strips * WIDE;
    s.steps = min(w->steps, (w->filter.out - s.row + GROUP - 1) / GROUP);
    s.groups = min((int)GROUPS, (w->filter.out - s.column + GROUP - 1) / GROUP);
    s.runs = (s.groups + per_run) / per_run;
    return s;
}

static __device__ __forceinline__ bool is_bad(__half2 v)
{
    return !(__low2float(v) == 0.0f && __high2float(v) == 0.0f);
}

/* Block: x the strip, y the block of channels, z the sample. Between two barriers a step reads what
 * was written before the first of them, and the copies for the next step go where the step before
 * was the last to look. */
template <int UP>
static __global__ void __launch_bounds__(THREADS, 3) separable_kernel(const struct strip_work w)
{
    typedef struct strip_size<UP, false> size;
    DYNAMIC_SHARED(cell, ring);
    cell *mid = ring + size::MID, *sums = ring + size::LAST;
    float *next = (float *)(ring + size::NEXT);
    const struct strip s = strip_here(&w, size::PER_RUN);
    const struct up_band<UP> y_band = { &w.filter, w.filter.up_tap };
    const struct up_band<UP> x_band = { &w.filter, w.up_x_tap };
    uint32_t up_left[4], up_right[UP][2], begins[2], ends[2];
    float sum[LANES / 2][4] = {};
    __half2 wide = __floats2half2_rn(0.0f, 0.0f);
    bool bad = false;

    band_left(up_left, y_band, 0, 0, &s);
    for (int i = 0; i < UP; i++)
        band_right(up_right[i], x_band, 0, GROUP * i, &s);
    band_down(begins, ends, down_band{ &w.filter }, &s);
    if (threadIdx.x < LANES)
        next[threadIdx.x] =
            finish_channel(&w.finish, blockIdx.z, (int)(blockIdx.y * LANES + threadIdx.x)).next;

    load_rows<UP, false>(&w, &s, ring, 0, size::KEEP);
    copy_async_wait<0>();
    __syncthreads();
    for (int step = 0; step <= s.steps; step++) {
        if (step < s.steps)
            load_rows<UP, false>(&w, &s, ring, size::KEEP + step * size::ADVANCE, size::ADVANCE);
        up_y<UP, false>(&s, ring, mid, up_left, step, &wide);
        __syncthreads();
        up_and_down_x<UP>(&w, &s, mid, sums, up_right, begins, ends, &wide);
        copy_async_wait<0>();
        __syncthreads();
        bad |= down_y(&w, &s, sums, next, sum, begins, ends, step);
    }
    finish_report(&w.finish, blockIdx.z, bad || is_bad(wide));
}

template <int UP>
static __global__ void __launch_bounds__(THREADS, 2) radial_kernel(const struct strip_work w)
{
    typedef struct strip_size<UP, true> size;
    DYNAMIC_SHARED(cell, ring);
    cell *mid = ring + size::MID, *u = ring + size::LAST, *stage = ring + size::STAGE;
    const struct strip s = strip_here(&w, size::PER_RUN);
    const struct up_band<UP> y_band = { &w.filter, w.filter.up_tap };
    const struct up_band<UP> x_band = { &w.filter, w.up_x_tap };
    uint32_t up_left[4], up_x_left[UP / 2][4], begins[HALF][2], ends[HALF][2];
    const struct finish_channel channel =
        finish_channel(&w.finish, blockIdx.z, (int)blockIdx.y * LANES + s.g);
    float sum[GROUP / 2][4] = {};
    __half2 wide = __floats2half2_rn(0.0f, 0.0f);
    bool bad = false;

    band_left(up_left, y_band, 0, 0, &s);
    for (int i = 0; i < UP / 2; i++)
        band_left(up_x_left[i], x_band, 0, STRETCH * i, &s);
    for (int t = 0; t < HALF; t++)
        band_down(begins[t], ends[t], pair_band{ &w.filter, t }, &s);

    load_rows<UP, true>(&w, &s, ring, 0, size::KEEP);
    copy_async_wait<0>();
    __syncthreads();
    for (int step = 0; step <= s.steps; step++) {
        if (step < s.steps)
            load_rows<UP, true>(&w, &s, ring, size::KEEP + step * size::ADVANCE, size::ADVANCE);
        up_y<UP, true>(&s, ring, mid, up_left, step, &wide);
        __syncthreads();
        up_x<UP>(&w, &s, mid, u, up_x_left, &wide);
        copy_async_wait<0>();
        __syncthreads();
        bad |= down_radial(&w, &s, u, stage, sum, begins, ends, &channel, step);
    }
    finish_report(&w.finish, blockIdx.z, bad || is_bad(wide));
}

/* ---- On the host ---- */

static float rounded(float v)
{
    return __half2float(__float2half_rn(v));
}

/* scale * tap[0..count) as fp16. What a tap loses is made up for by the next smaller one, so that
 * their sum stays: a flat picture keeps its brightness through all layers. */
static void round_taps(float *tap, int count, float scale)
{
    bool done[DOWN_TAPS * HALF] = { false };
    float lost = 0.0f;

    for (int n = 0; n < count; n++) {
        int next = -1;

        for (int i = 0; i < count; i++)
            if (!done[i] && (next < 0 || fabsf(tap[i]) > fabsf(tap[next])))
                next = i;
        float want = scale * tap[next] + lost;

        tap[next] = rounded(want);
        lost = want - tap[next];
        done[next] = true;
    }
}

/* The filter as the kernels want it. */
static void prepare(struct strip_work *w, const struct filtered_lrelu *filter)
{
    const float scale = filter->radial ? 1.0f / RADIAL_SCALE : 1.0f;
    const float clamp = scale * filter->clamp;
    struct filtered_lrelu *f = &w->filter;

    *f = *filter;
    memcpy(w->up_x_tap, f->up_tap, sizeof w->up_x_tap);
    for (int p = 0; p < f->up; p++) {
        round_taps(f->up_tap[p], TAPS, 1.0f);
        round_taps(w->up_x_tap[p], TAPS, scale * f->gain);
    }
    if (f->radial)
        round_taps(&f->half_tap[0][0], DOWN_TAPS * HALF, RADIAL_SCALE);
    else
        round_taps(f->down_tap, DOWN_TAPS, 1.0f);
    w->least = __floats2half2_rn(-clamp, -clamp);
    w->most = __floats2half2_rn(clamp, clamp);
    w->clamps = filter->clamp > 0.0f;
}

/* Steps of a strip. A strip makes one row of groups more than it stores; many short strips share a
 * device better. */
static const int STEPS[] = { 2, 4, 8, 16 };
enum { TILES = sizeof STEPS / sizeof STEPS[0], SLOTS = 264 };   /* blocks at a time, on an H100 */

static int choose_steps(int out, int planes)
{
    long best = 0;
    int steps = 0;

    for (int i = 0; i < TILES; i++) {
        long blocks = (long)divide_up(out, WIDE) * divide_up(out, STEPS[i] * GROUP) * planes;
        long time = (blocks + SLOTS - 1) / SLOTS * (STEPS[i] + 2);

        if (steps == 0 || time <= best) {
            best = time;
            steps = STEPS[i];
        }
    }
    return steps;
}

template <int UP>
static cudaError_t start(const struct strip_work *w, dim3 grid, cudaStream_t stream)
{
    if (w->filter.radial)
        return launch(radial_kernel<UP>, grid, dim3(THREADS),
                      strip_size<UP, true>::CELLS * sizeof(cell), stream, *w);
    return launch(separable_kernel<UP>, grid, dim3(THREADS),
                  strip_size<UP, false>::CELLS * sizeof(cell), stream, *w);
}

int filtered_lrelu_cuda_mma_tiles(void)
{
    return TILES;
}

cudaError_t filtered_lrelu_cuda_mma(const struct filtered_lrelu_job *job, int samples, int tile,
                                    cudaStream_t stream)
{
    struct strip_work w;
    const int out = job->filter->out;
    const int blocks = activation_blocks(PRECISION_FP16, job->finish.channels);

    prepare(&w, job->filter);
    w.x = (const cell *)job->x;
    w.y = (cell *)job->y;
    w.strips = divide_up(out, WIDE);
    w.steps = tile < 0 ? choose_steps(out, blocks * samples) : STEPS[tile];
    w.finish = job->finish;

    dim3 grid((unsigned)(w.strips * divide_up(out, w.steps * GROUP)), (unsigned)blocks,
              (unsigned)samples);

    return w.filter.up == 2 ? start<2>(&w, grid, stream) : start<4>(&w, grid, stream);
}
