#include "kernels/cuda/conv.cuh"

#include "kernels/cuda/conv_finish.cuh"
#include "kernels/cuda/conv_wgmma.cuh"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A block of threads makes a tile: HIGH x WIDE pixels of one phase of one sample, times OUTS output
 * channels; DOWN x ACROSS warps share it, each with m16n8 pieces. Its loop runs over steps, a tap of
 * a chunk of input channels each:
 *     shared memory   a halo tile of the chunk's blocks, [block][pixel][16 bytes], in which a tap is a
 *                     shift of the address; two or more of them, as the taps ask for
 *                     a ring of the weights of a step, [piece][block][16 outputs][16 bytes]
 *     one barrier     a step: what it reads came by cp.async `stages - 1` steps before
 *     two halves      a step: two blocks each, k16 (fp16) or k8 (tf32) of the tensor cores
 * All reads are of 8 rows of 16 bytes that lie side by side: no two meet in a bank. */

/* RESIDENT: blocks that should fit a multiprocessor; STAGES: of the ring, if they still fit then. */
template <int HIGH_, int WIDE_, int OUTS_, int DOWN_, int ACROSS_, int RESIDENT_, int STAGES_>
struct tile {
    static const int HIGH = HIGH_, WIDE = WIDE_, OUTS = OUTS_, DOWN = DOWN_, ACROSS = ACROSS_;
    static const int RESIDENT = RESIDENT_, STAGES = STAGES_;
    static const int THREADS = 32 * DOWN * ACROSS;
    static const int M = HIGH * WIDE / 16 / DOWN;   /* m16 pieces of a warp */
    static const int N = OUTS / 8 / ACROSS;         /* n8 pieces of a warp; even */
    static const int GROUPS = WIDE / 8;             /* of 8 pixels in a row */
    static const int STAGE_BYTES = OUTS / CONV_PIECE * CONV_CHUNK * CONV_PIECE_BLOCK_BYTES;

    static __device__ __forceinline__ int lane_pixel(const struct conv_launch *p,
                                                     const struct place *at, int i, int h)
    {
        int lane = (int)threadIdx.x % 32, warp_down = (int)threadIdx.x / 32 % DOWN;
        int group = 2 * (M * warp_down + i) + h;
        int row = at->row + group / GROUPS;
        int column = at->column + group % GROUPS * 8 + lane / 4;

        return row < p->rows && column < p->rows ? (at->phase * p->rows + row) * p->rows + column
                                                 : -1;
    }
};

enum { STAGES_MAX = 6, STAGES_MIN = 2, STAGES_GOOD = 3 };

/* Starts the copy of a chunk's halo tile; what lies outside the picture becomes zero. */
template <class T>
static __device__ __forceinline__ void fetch_input(const struct conv_launch *p,
                                                   const struct place *at, int chunk, char *to)
{
    const struct phase_launch *phase = &p->phase[at->phase];
    int blocks = blocks_of_chunk(p, chunk), pixels = phase->high * phase->wide;
    size_t plane = (size_t)p->size * (size_t)p->size * BLOCK_BYTES;
    const char *from = p->x + (size_t)at->sample * p->x_each + (size_t)chunk * CONV_CHUNK * plane;

    for (int i = (int)threadIdx.x; i < pixels; i += T::THREADS) {
        int row = row_of(i, phase->inverse), column = i - row * phase->wide;
        int y = at->row + phase->dy + row, x = at->column + phase->dx + column;
        bool inside = (unsigned)y < (unsigned)p->size && (unsigned)x < (unsigned)p->size;
        const char *pixel = from + (inside ? (size_t)(y * p->size + x) * BLOCK_BYTES : 0);

#pragma unroll
        for (int b = 0; b < CONV_CHUNK; b++)
            if (b < blocks)
                copy_async16(to + (b * pixels + i) * BLOCK_BYTES, pixel + (size_t)b * plane, inside);
    }
}

/* Starts the copy of a step's weights; pieces that the layer does not have become zero. from: this
 * thread's first row of the step. */
template <class T>
static __device__ __forceinline__ void fetch_weights(const struct conv_launch *p,
                                                     const struct place *at, int blocks,
                                                     const char *from, char *to)
{
    const int rows = CONV_CHUNK * CONV_PIECE;   /* of a piece */
    size_t piece_bytes = (size_t)(p->blocks * p->phase[at->phase].taps) * CONV_PIECE_BLOCK_BYTES;
    int first = (int)threadIdx.x;

#pragma unroll
    for (int i = 0; i < T::STAGE_BYTES / BLOCK_BYTES; i += T::THREADS) {
        int piece = (i + first) / rows;
        bool there = at->out / CONV_PIECE + piece < p->pieces;

        if ((i + first) % rows < blocks * CONV_PIECE && i + first < T::STAGE_BYTES / BLOCK_BYTES)
            copy_async16(to + (i + first) * BLOCK_BYTES,
                         there ? from + (size_t)(i / rows) * piece_bytes : p->weights, there);
    }
}

/* The wait for a stage: behind it `newest` groups of copies may still be under way. */
static __device__ __forceinline__ void wait_for_stage(int newest)
{
    switch (newest) {
    case 0: copy_async_wait<0>(); break;
    case 1: copy_async_wait<1>(); break;
    case 2: copy_async_wait<2>(); break;
    case 3: copy_async_wait<3>(); break;
    default: copy_async_wait<4>(); break;
    }
}

/* ---- Half a step: two blocks. a and b are where the lane reads, plane the bytes of a block of the
 * halo tile, m_step those from one m16 piece of the warp to the next. A lane's sums, of all three:
 * pixels g and g + 8 of each m16, outputs 2t and 2t + 1 of each n8 (g = lane / 4, t = lane % 4). */

/* A lane's first addresses, relative to the halo tile and to the stage. */
template <class P, class T>
static __device__ __forceinline__ int input_lane(int wide, int plane, int warp_down)
{
    int lane = (int)threadIdx.x % 32;
    bool tensor = P::NAME != PRECISION_FP32;
    int group = 2 * T::M * warp_down + (tensor ? lane / 8 % 2 : 0);
    int pixel = group / T::GROUPS * wide + group % T::GROUPS * 8 + (tensor ? lane % 8 : lane / 4);

    return pixel * BLOCK_BYTES + (tensor ? lane / 16 * plane : 0);
}

template <class P, class T> static __device__ __forceinline__ int weights_lane(int warp_across)
{
    int lane = (int)threadIdx.x % 32;
    int piece = warp_across * (T::N / 2) * CONV_CHUNK * CONV_PIECE_BLOCK_BYTES;

    if (P::NAME == PRECISION_FP32)
        return piece + 2 * (lane % 4) * BLOCK_BYTES;
    return piece + lane / 8 % 2 * CONV_PIECE_BLOCK_BYTES + (lane / 16 * 8 + lane % 8) * BLOCK_BYTES;
}

static __device__ __forceinline__ void product(fp16, float d[4], const uint32_t a[4],
                                               const uint32_t b[2])
{
    mma_f16(d, a, b);
}

static __device__ __forceinline__ void product(tf32, float d[4], const uint32_t a[4],
                                               const uint32_t b[2])
{
    mma_tf32(d, a, b);
}

template <class P, class T>
static __device__ __forceinline__ void half_step_tensor(float sum[T::M][T::N][4],
                                                        const char *a, const char *b, int m_step)
{
    uint32_t left[T::M][4];

#pragma unroll
    for (int i = 0; i < T::M; i++)
        ldmatrix_x4(left[i], a + i * m_step);
#pragma unroll
    for (int j = 0; j < T::N; j += 2) {
        uint32_t right[4];

        ldmatrix_x4(right, b + j / 2 * CONV_CHUNK * CONV_PIECE_BLOCK_BYTES);
#pragma unroll
        for (int i = 0; i < T::M; i++) {
            product(P(), sum[i][j], left[i], right);
            product(P(), sum[i][j + 1], left[i], right + 2);
        }
    }
}

static __device__ __forceinline__ float dot4(float sum, float4 a, float4 b)
{
    sum = __fmaf_rn(a.x, b.x, sum);
    sum = __fmaf_rn(a.y, b.y, sum);
    sum = __fmaf_rn(a.z, b.z, sum);
    return __fmaf_rn(a.w, b.w, sum);
}

template <class T>
static __device__ __forceinline__ void half_step_fused(float sum[T::M][T::N][4], const char *a,
                                                       const char *b, int plane, int m_step)
{
    /* the second 8 pixels of an m16: in the same row, or in the next */
    int second = T::GROUPS > 1 ? 8 * BLOCK_BYTES : m_step / 2;

    for (int block = 0; block < 2; block++, a += plane, b += CONV_PIECE_BLOCK_BYTES) {
        float4 left[T::M][2];

#pragma unroll
        for (int i = 0; i < T::M; i++) {
            left[i][0] = *(const float4 *)(a + i * m_step);
            left[i][1] = *(const float4 *)(a + i * m_step + second);
        }
#pragma unroll
        for (int j = 0; j < T::N; j++) {
            const char *at = b + j / 2 * CONV_CHUNK * CONV_PIECE_BLOCK_BYTES + j % 2 * 8 * BLOCK_BYTES;
            float4 even = *(const float4 *)at, odd = *(const float4 *)(at + BLOCK_BYTES);

#pragma unroll
            for (int i = 0; i < T::M; i++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    sum[i][j][2 * h] = dot4(sum[i][j][2 * h], left[i][h], even);
                    sum[i][j][2 * h + 1] = dot4(sum[i][j][2 * h + 1], left[i][h], odd);
                }
        }
    }
}

template <class P, class T>
static __device__ __forceinline__ void half_step(float sum[T::M][T::N][4], const char *a,
                                                 const char *b, int plane, int m_step)
{
    if constexpr (P::NAME == PRECISION_FP32)
        half_step_fused<T>(sum, a, b, plane, m_step);
    else
        half_step_tensor<P, T>(sum, a, b, m_step);
}

/* ---- The loop. ---- */

/* A step, and where its operands lie in shared memory. */
struct cursor {
    int chunk, tap, buffer, stage;
};

static __device__ __forceinline__ void advance(struct cursor *c, const struct phase_launch *phase,
                                               int stages)
{
    c->stage = c->stage + 1 == stages ? 0 : c->stage + 1;
    if (++c->tap < phase->taps)
        return;
    c->tap = 0;
    c->chunk++;
    c->buffer = c->buffer + 1 == phase->buffers ? 0 : c->buffer + 1;
}

/* This thread's first row of a chunk's first step. Steps follow each other in memory. */
static __device__ __forceinline__ const char *first_weights(const struct conv_launch *p,
                                                            const struct place *at)
{
    const struct phase_launch *phase = &p->phase[at->phase];
    int rows = CONV_CHUNK * CONV_PIECE, thread = (int)threadIdx.x;
    size_t piece = (size_t)(at->out / CONV_PIECE + thread / rows);

    return p->weights + phase->at + thread % rows * BLOCK_BYTES +
           (piece * (size_t)p->blocks + (size_t)at->chunk * CONV_CHUNK) * (size_t)phase->taps *
               CONV_PIECE_BLOCK_BYTES;
}

/* Starts the copies of a step, if there is one, as one group. A chunk's halo tile comes with its
 * first tap. */
template <class T>
static __device__ __forceinline__ void fetch(const struct conv_launch *p, const struct place *at,
                                             struct cursor *c, const char **weights, char *shared,
                                             int input_bytes)
{
    if (c->chunk < at->end) {
        int blocks = blocks_of_chunk(p, c->chunk);

        if (c->tap == 0)
            fetch_input<T>(p, at, c->chunk, shared + c->buffer * input_bytes);
        fetch_weights<T>(p, at, blocks, *weights, shared + p->ring + c->stage * T::STAGE_BYTES);
        *weights += blocks * CONV_PIECE_BLOCK_BYTES;
        advance(c, &p->phase[at->phase], p->stages);
    }
    copy_async_commit();
}

template <class P, class T>
static __device__ __forceinline__ void add_up(const struct conv_launch *p, const struct place *at,
                                              float sum[T::M][T::N][4], char *shared)
{
    const struct phase_launch *phase = &p->phase[at->phase];
    int warp = (int)threadIdx.x / 32;
    int plane = phase->high * phase->wide * BLOCK_BYTES, input_bytes = CONV_CHUNK * plane;
    int m_step = 2 / T::GROUPS * phase->wide * BLOCK_BYTES;
    const char *a = shared + input_lane<P, T>(phase->wide, plane, warp % T::DOWN);
    const char *b = shared + p->ring + weights_lane<P, T>(warp / T::DOWN);
    const char *weights = first_weights(p, at);
    struct cursor next = { at->chunk, 0, 0, 0 }, now = next;

    for (int s = 1; s < p->stages; s++)
        fetch<T>(p, at, &next, &weights, shared, input_bytes);
    while (now.chunk < at->end) {
        const char *left = a + now.buffer * input_bytes + phase->shift[now.tap];
        const char *right = b + now.stage * T::STAGE_BYTES;

        wait_for_stage(p->stages - 2);
        __syncthreads();
        fetch<T>(p, at, &next, &weights, shared, input_bytes);
        half_step<P, T>(sum, left, right, plane, m_step);
        if (blocks_of_chunk(p, now.chunk) > 2)
            half_step<P, T>(sum, left + 2 * plane, right + 2 * CONV_PIECE_BLOCK_BYTES, plane,
                            m_step);
        advance(&now, phase, p->stages);
    }
}

/* ---- The end. ---- */

/* Part of a split sum. channel: the lane's first. */
template <class P, class T>
static __device__ __forceinline__ void store_part(const struct conv_launch *p,
                                                  const struct place *at,
                                                  float sum[T::M][T::N][4], int channel)
{
    size_t tensor = (size_t)at->split * (size_t)p->samples + (size_t)at->sample;
    float *y = (float *)p->y + tensor * (size_t)p->out_blocks * p->pixels * P::LANES;

#pragma unroll
    for (int i = 0; i < T::M; i++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int pixel = T::lane_pixel(p, at, i, h);

#pragma unroll
            for (int j = 0; j < T::N; j++) {
                int block = (channel + 8 * j) / P::LANES, lane = (channel + 8 * j) % P::LANES;
                struct pair<float> v = { sum[i][j][2 * h], sum[i][j][2 * h + 1] };

                if (pixel >= 0 && block < p->out_blocks)
                    *(struct pair<float> *)(y + (size_t)(block * p->pixels + pixel) * P::LANES +
                                            lane) = v;
            }
        }
}

/* m16 pieces that are finished together: sums for the picture take registers. */
template <class T, bool RGB> struct together {
    static const int ROWS = RGB ? 1 : T::M;
};

template <class P, class T, bool RGB>
static __global__ void __launch_bounds__(T::THREADS, T::RESIDENT)
    conv_kernel(const __grid_constant__ struct conv_launch p)
{
    DYNAMIC_SHARED(char, shared);
    const int ROWS = together<T, RGB>::ROWS;
    struct channel_end *ends = (struct channel_end *)(void *)shared;
    struct place at = place_of_block<T>(&p);
    int channel = (int)threadIdx.x / 32 / T::DOWN * T::N * 8 + (int)threadIdx.x % 4 * 2;
    float sum[T::M][T::N][4];
    bool bad = false;

#pragma unroll
    for (int i = 0; i < T::M; i++)
#pragma unroll
        for (int j = 0; j < T::N; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                sum[i][j][k] = 0.0f;
    add_up<P, T>(&p, &at, sum, shared);
    if (p.splits > 1) {
        store_part<P, T>(&p, &at, sum, at.out + channel);
        return;
    }
    __syncthreads();                /* the last step's operands lay here */
    load_ends<T, RGB>(&p, &at, ends, (int)threadIdx.x, T::THREADS);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < T::M; i += ROWS)
        finish_rows<P, T, RGB, ROWS>(&p, &at, sum + i, i, at.out + channel, ends + channel, &bad);
    finish_report(&p.finish, at.sample, bad);
}

/* ---- The host. ---- */

/* A variant of tiles, for a precision. */
struct variant {
    void (*kernel)(const struct conv_launch);
    void (*rgb_kernel)(const struct conv_launch);
    int high, wide, outs, threads, resident, stages, stage_bytes;
    float speed;                /* of its inner loop, of the fastest */
};

template <class P, class T> static struct variant variant_of(float speed)
{
    struct variant v = { conv_kernel<P, T, false>, conv_kernel<P, T, true>, T::HIGH, T::WIDE,
                         T::OUTS, T::THREADS, T::RESIDENT, T::STAGES, T::STAGE_BYTES, speed };
    return v;
}

enum { VARIANTS_MAX = 7 };

typedef tile<16, 16, 128, 4, 2, 1, 4> tile_256x128;
typedef tile<8, 16, 128, 2, 4, 2, 4> tile_128x128;
typedef tile<16, 16, 64, 4, 2, 2, 4> tile_256x64;
typedef tile<16, 16, 32, 4, 1, 3, 4> tile_256x32;
typedef tile<8, 8, 64, 2, 2, 4, 6> tile_64x64;
typedef tile<8, 8, 32, 4, 1, 4, 6> tile_64x32;
typedef tile<16, 16, 16, 4, 1, 4, 4> tile_256x16;

/* The variants of a precision; returns how many. The last one is for 16 outputs only. */
template <class P> static int list_variants(struct variant list[VARIANTS_MAX])
{
    int count = 0;

    if constexpr (P::NAME != PRECISION_FP32) {  /* whose operands take more registers */
        list[count++] = variant_of<P, tile_256x128>(1.0f);
        list[count++] = variant_of<P, tile_128x128>(0.85f);
        list[count++] = variant_of<P, tile_256x64>(0.85f);
    }
    list[count++] = variant_of<P, tile_256x32>(0.7f);
    list[count++] = variant_of<P, tile_64x64>(0.55f);
    list[count++] = variant_of<P, tile_64x32>(0.4f);
    list[count++] = variant_of<P, tile_256x16>(0.5f);
    return count;
}

static int list_of(const struct conv_cuda *self, struct variant list[VARIANTS_MAX])
{
    int count = WITH_PRECISION(self->precision, list_variants, list);

    return self->shape.out > CONV_PIECE ? count - 1 : count;
}

int conv_cuda_tiles(const struct conv_cuda *self)
{
    struct variant list[VARIANTS_MAX];

    return self->wgmma ? conv_wgmma_tiles() : list_of(self, list);
}

/* Parts of the sum; by the size alone, so that a class has one order. */
static int splits_of(const struct conv_shape *shape, enum precision precision)
{
    int chunks = divide_up(activation_blocks(precision, shape->in), CONV_CHUNK);
    int wanted = shape->size <= 4 ? 8 : shape->size <= 16 ? 4 : 1;

    return smaller(wanted, chunks);
}

enum err_code conv_cuda_init(struct conv_cuda *self, const struct conv_shape *shape,
                             const struct conv_weights *weights, enum precision precision,
                             struct room *room, float *down, float *energy, struct err *e)
{
    size_t bytes = 0;
    void *packed;

    memset(self, 0, sizeof *self);
    self->shape = *shape;
    self->precision = precision;
    self->rows = conv_phase_rows(shape);
    self->phases = conv_phase_count(shape);
    self->splits = splits_of(shape, precision);
    if ((double)activation_blocks(precision, shape->out) * self->phases * self->rows * self->rows >
        INT_MAX)
        return err_set(e, ERR_UNSUPPORTED, "%d channels of %d x %d pixels are more than a kernel counts",
                       shape->out, self->rows, self->rows);
    for (int p = 0; p < self->phases; p++) {
        struct conv_taps taps = conv_phase_taps(shape, p);

        self->phase[p].taps = taps.count;
        memcpy(self->phase[p].dy, taps.dy, sizeof taps.dy);
        memcpy(self->phase[p].dx, taps.dx, sizeof taps.dx);
        self->phase[p].at = bytes;
        bytes += conv_pack_bytes(shape, precision, p);
    }
    packed = calloc(bytes, 1);
    if (!packed)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of weights", bytes);
    conv_pack(packed, shape, weights, precision, down, energy);
    self->weights = room_put(room, packed, bytes);
    free(packed);
    return ERR_OK;
}

/* What of the device decides. */
struct device_limits {
    int processors;
    int block_bytes, processor_bytes, reserved_bytes;   /* of shared memory */
};

static cudaError_t read_limits(struct device_limits *out)
{
    const struct {
        enum cudaDeviceAttr attribute;
        int *value;
    } wanted[] = {
        { cudaDevAttrMultiProcessorCount, &out->processors },
        { cudaDevAttrMaxSharedMemoryPerBlockOptin, &out->block_bytes },
        { cudaDevAttrMaxSharedMemoryPerMultiprocessor, &out->processor_bytes },
        { cudaDevAttrReservedSharedMemoryPerBlock, &out->reserved_bytes },
    };
    int device;
    cudaError_t st = cudaGetDevice(&device);

    for (size_t i = 0; !st && i < sizeof wanted / sizeof wanted[0]; i++)
        st = cudaDeviceGetAttribute(wanted[i].value, wanted[i].attribute, device);
    return st;
}

/* About how long all blocks take, in no unit: turns of all multiprocessors, times a tile's work. Few
 * threads hide little of the waiting. */
static float time_of(const struct conv_cuda *self, const struct variant *v, int samples,
                     const struct device_limits *device)
{
    long long turns = tile_turns(self, v->high, v->wide, v->outs, samples, device->processors);
    int together;
    float busy;

    together = turns < v->resident ? (int)turns : v->resident;
    busy = (float)smaller(together * v->threads, 256) / 256.0f;
    return (float)turns * (float)(v->high * v->wide * v->outs) / (v->speed * (0.5f + 0.5f * busy));
}

static int choose(const struct conv_cuda *self, const struct variant *list, int count, int samples,
                  const struct device_limits *device)
{
    int best = 0;

    for (int i = 1; i < count; i++)
        if (time_of(self, &list[i], samples, device) < time_of(self, &list[best], samples, device))
            best = i;
    return best;
}

/* Lays shared memory out for so many stages; returns its bytes. A halo tile's buffer is free again
 * when the last step that reads it is over, one before the first that may be fetched into it; there
 * need be no more of them than chunks. */
static int lay_out(struct conv_launch *p, const struct variant *v, int stages)
{
    p->stages = stages;
    p->ring = 0;
    for (int i = 0; i < p->phases; i++) {
        struct phase_launch *phase = &p->phase[i];
        int bytes = CONV_CHUNK * phase->high * phase->wide * BLOCK_BYTES;

        phase->buffers = smaller(1 + divide_up(stages - 1, phase->taps),
                                 divide_up(p->chunks, p->splits));
        p->ring = p->ring > phase->buffers * bytes ? p->ring : phase->buffers * bytes;
    }
    p->ring = divide_up(p->ring, 128) * 128;
    return p->ring + stages * v->stage_bytes;
}

/* As many stages as the variant wants, if that leaves room for as many blocks as it wants. */
static int fit(struct conv_launch *p, const struct variant *v, const struct device_limits *device)
{
    for (int stages = v->stages; stages > STAGES_MIN; stages--) {
        int bytes = lay_out(p, v, stages);

        if (bytes <= device->block_bytes &&
            (stages <= STAGES_GOOD ||
             (bytes + device->reserved_bytes) * v->resident <= device->processor_bytes))
            return bytes;
    }
    return lay_out(p, v, STAGES_MIN);
}

cudaError_t conv_cuda_run(const struct conv_cuda *self, const struct conv_cuda_job *job,
                          int samples, int tile, cudaStream_t stream)
{
    struct variant list[VARIANTS_MAX];
    int count = list_of(self, list), bytes;
    struct device_limits device;
    struct conv_launch p;
    const struct variant *v;
    cudaError_t st = cudaSuccess;

    if (self->wgmma)
        return conv_wgmma_run(self, job, samples, tile, stream);
    st = read_limits(&device);
    if (st || samples == 0)
        return st;
    v = &list[tile < 0 ? choose(self, list, count, samples, &device) : tile];
    p = describe_launch(self, job, samples, v->high, v->wide, v->outs);
    bytes = fit(&p, v, &device);

    dim3 grid((unsigned)(p.out_tiles * p.phases * pixel_tiles(self, v->high, v->wide)),
              (unsigned)p.splits, (unsigned)samples);

    return launch(job->finish.rgb && self->splits == 1 ? v->rgb_kernel : v->kernel, grid,
                  dim3((unsigned)v->threads), (size_t)bytes, stream, p);
}
