#include "kernels/cuda/conv_wgmma.cuh"

#include "kernels/cuda/conv_finish.cuh"
#include "kernels/cuda/hopper.cuh"

#include <stdlib.h>
#include <string.h>

/* A block makes a tile: HIGH x 16 pixels times OUTS output channels. Its first two warpgroups add
 * up and finish, each M pieces of 8 x 8 pixels, a product of m64 each; one warp behind them feeds.
 *     shared memory   a halo tile of a chunk's blocks, [block][pixel][16 bytes], 2 to 4 of them. 8
 *                     pixels side by side are a core matrix, the row below is the next one along m,
 *                     the next block along k: a piece of 8 x 8 pixels is one descriptor, and a tap
 *                     only shifts its address
 *                     a ring of the weights of a step (a tap of a chunk), [8 outputs][block]
 *                     [8 outputs of it][16 bytes]: one descriptor, however many outputs
 *                     what the channels need at the end
 *     barriers        full and free of each halo tile and each stage of the ring
 * All is fetched by bulk copies: the weights a piece of 16 outputs each, the halo tile a row of a
 * block each. What of it lies outside the picture is the same in every chunk: it is made zero once,
 * at the start. Adding up, a step's products are started before those of the step before are waited
 * for, so that the tensor cores always have some. */

enum {
    GROUP_THREADS = 128, GROUPS = 2, ADDERS = GROUPS * GROUP_THREADS,   /* threads that add up */
    THREADS = ADDERS + 32,
    BUFFERS_MAX = 4, STAGES_MAX = 8,
    BARRIER_BYTES = 256,
    OUTS_LEAST = 64, SIZE_LEAST = 32,
};

/* RESIDENT: blocks on a multiprocessor; 1 leaves a thread 168 registers, 2 leave 96: a quarter of a
 * multiprocessor has a quarter of its registers, for 3 or 5 of the warps. */
template <int HIGH_, int OUTS_, int RESIDENT_, int STAGES_>
struct wgmma_tile {
    static const int HIGH = HIGH_, WIDE = 16, OUTS = OUTS_, RESIDENT = RESIDENT_, STAGES = STAGES_;
    static const int M = HIGH * WIDE / 64 / GROUPS;     /* m64 pieces of a warpgroup */
    static const int N = OUTS / 8;
    static const int ENDS_BYTES = OUTS * (int)sizeof(struct channel_end);
    static const int STAGE_BYTES = OUTS / CONV_PIECE * CONV_CHUNK * CONV_PIECE_BLOCK_BYTES;

    /* Piece `index` of the tile, two side by side: its first row and column. */
    static __host__ __device__ __forceinline__ int piece_row(int index) { return index / 2 * 8; }
    static __host__ __device__ __forceinline__ int piece_column(int index) { return index % 2 * 8; }

    static __device__ __forceinline__ int lane_pixel(const struct conv_launch *p,
                                                     const struct place *at, int i, int h)
    {
        int thread = (int)threadIdx.x, lane = thread % 32;
        int piece = thread / GROUP_THREADS * M + i;
        int row = at->row + piece_row(piece) + thread / 32 % 4 * 2 + h;
        int column = at->column + piece_column(piece) + lane / 4;

        return row < p->rows && column < p->rows ? (at->phase * p->rows + row) * p->rows + column
                                                 : -1;
    }
};

/* In shared memory, behind the ends. */
struct barriers {
    uint64_t input_full[BUFFERS_MAX], input_free[BUFFERS_MAX];
    uint64_t weights_full[STAGES_MAX], weights_free[STAGES_MAX];
    uint64_t ends;
};
static_assert(sizeof(struct barriers) <= BARRIER_BYTES, "the halo tiles begin behind them");

#if HOPPER_CODE

/* A place in a ring: a slot, and the parity of the phase in which it is filled this time. It is
 * free for that when its other barrier has passed the phase of the other parity. */
struct turn {
    int slot;
    uint32_t parity;
};

static __device__ __forceinline__ void advance(struct turn *t, int slots)
{
    if (++t->slot < slots)
        return;
    t->slot = 0;
    t->parity ^= 1;
}

static __device__ __forceinline__ void make_barriers(struct barriers *b)
{
    for (int i = 0; i < BUFFERS_MAX; i++) {
        barrier_init(&b->input_full[i], 1);
        barrier_init(&b->input_free[i], ADDERS / 32);
    }
    for (int i = 0; i < STAGES_MAX; i++) {
        barrier_init(&b->weights_full[i], 1);
        barrier_init(&b->weights_free[i], ADDERS / 32);
    }
    barrier_init(&b->ends, ADDERS);
    barriers_made();
}

/* What of the halo tiles lies outside the picture: zero, by all threads. */
static __device__ __forceinline__ void clear_outside(const struct conv_launch *p,
                                                     const struct place *at, char *input)
{
    const struct phase_launch *phase = &p->phase[at->phase];
    int pixels = phase->high * phase->wide;

    for (int i = (int)threadIdx.x; i < pixels; i += THREADS) {
        int row = row_of(i, phase->inverse), column = i - row * phase->wide;
        int y = at->row + phase->dy + row, x = at->column + phase->dx + column;

        if ((unsigned)y < (unsigned)p->size && (unsigned)x < (unsigned)p->size)
            continue;
#pragma unroll 1
        for (int k = 0; k < phase->buffers * CONV_CHUNK; k++)
            copy_async16(input + (k * pixels + i) * BLOCK_BYTES, p->x, false);
    }
    copy_async_commit();
    copy_async_wait<0>();
    fence_async();
}

/* ---- The warp that feeds. ---- */

/* The part of the halo tile that lies in the picture: rows, and bytes of each. */
struct inside {
    int first, rows, bytes;
    size_t from;                    /* bytes into a block of the input */
    int to;                         /* bytes into a block of the halo tile */
};

static __device__ __forceinline__ struct inside find_inside(const struct conv_launch *p,
                                                            const struct place *at)
{
    const struct phase_launch *phase = &p->phase[at->phase];
    int y = at->row + phase->dy, x = at->column + phase->dx;
    int row = max(0, y), column = max(0, x);
    struct inside in;

    in.rows = max(0, min(p->size, y + phase->high) - row);
    in.bytes = max(0, min(p->size, x + phase->wide) - column) * BLOCK_BYTES;
    in.from = (size_t)(row * p->size + column) * BLOCK_BYTES;
    in.to = ((row - y) * phase->wide + column - x) * BLOCK_BYTES;
    return in;
}

/* A chunk's halo tile: each lane a row of every block. */
static __device__ __forceinline__ void feed_input(const struct conv_launch *p,
                                                  const struct phase_launch *phase,
                                                  const struct inside *in, const char *from,
                                                  int blocks, char *to, uint64_t *full)
{
    int lane = (int)threadIdx.x % 32, pitch = phase->wide * BLOCK_BYTES;
    size_t plane = (size_t)p->size * (size_t)p->size * BLOCK_BYTES;

    if (lane == 0)
        barrier_expect(full, blocks * in->rows * in->bytes);
    __syncwarp();
    if (lane >= in->rows || in->bytes == 0)
        return;
    from += in->from + (size_t)lane * (size_t)p->size * BLOCK_BYTES;
    to += in->to + lane * pitch;
    for (int k = 0; k < blocks; k++)
        bulk_copy(to + k * phase->high * pitch, from + (size_t)k * plane, in->bytes, full);
}

/* A step's weights: each lane a piece. Pieces that the layer does not have stay as they are: their
 * sums are nobody's. */
static __device__ __forceinline__ void feed_weights(const char *from, int pieces, int bytes,
                                                    char *to, uint64_t *full)
{
    int lane = (int)threadIdx.x % 32;

    if (lane == 0)
        barrier_expect(full, pieces * bytes);
    __syncwarp();
    if (lane < pieces)
        bulk_copy(to + lane * bytes, from, bytes, full);
}

template <class T>
static __device__ __forceinline__ void feed(const struct conv_launch *p, const struct place *at,
                                            struct barriers *bar, char *input, char *ring)
{
    const struct phase_launch *phase = &p->phase[at->phase];
    int lane = (int)threadIdx.x % 32, first = at->out / CONV_PIECE;
    int pieces = min(T::OUTS / CONV_PIECE, p->pieces - first);
    int input_bytes = CONV_CHUNK * phase->high * phase->wide * BLOCK_BYTES;
    size_t chunk_bytes = (size_t)p->size * (size_t)p->size * BLOCK_BYTES * CONV_CHUNK;
    const char *x = p->x + (size_t)at->sample * p->x_each;
    const char *weights = p->weights + phase->at +
                          (size_t)(first + lane) * (size_t)(p->blocks * phase->taps) *
                              CONV_PIECE_BLOCK_BYTES;
    struct inside in = find_inside(p, at);
    struct turn buffer = { 0, 0 }, stage = { 0, 0 };

    for (int chunk = at->chunk; chunk < at->end; chunk++) {
        int blocks = blocks_of_chunk(p, chunk), bytes = blocks * CONV_PIECE_BLOCK_BYTES;

        barrier_wait(&bar->input_free[buffer.slot], buffer.parity ^ 1);
        feed_input(p, phase, &in, x, blocks, input + buffer.slot * input_bytes,
                   &bar->input_full[buffer.slot]);
        advance(&buffer, phase->buffers);
        for (int tap = 0; tap < phase->taps; tap++) {
            barrier_wait(&bar->weights_free[stage.slot], stage.parity ^ 1);
            feed_weights(weights, pieces, bytes, ring + stage.slot * T::STAGE_BYTES,
                         &bar->weights_full[stage.slot]);
            weights += bytes;
            advance(&stage, T::STAGES);
        }
        x += chunk_bytes;
    }
}

/* ---- Warpgroups that add up. ---- */

/* Where the loop stands. */
struct adding {
    struct turn buffer, stage;
    int tap;
};

/* Chunks of 2 * HALVES blocks. No condition stands between products, and one loop has them all, or
 * the compiler would put them in a row. input: of the group's first piece; ring: addresses in
 * shared memory. All is waited for. */
template <class T, int HALVES>
static __device__ __forceinline__ void add_chunks(const struct phase_launch *phase, int chunks,
                                                  struct barriers *bar, uint64_t input,
                                                  uint32_t ring, int plane, struct adding *s,
                                                  float sum[T::M][T::N][4])
{
    const int k_step = 8 * BLOCK_BYTES, row_step = 2 * HALVES * k_step;
    bool speaks = threadIdx.x % 32 == 0;
    uint64_t *read_buffer = NULL, *read_stage = NULL;   /* by the products of the step before */

#pragma unroll
    for (int i = 0; i < T::M; i++)
        hold_registers<T::OUTS>(sum[i]);
#pragma unroll 1
    for (int step = chunks * phase->taps; step > 0; step--) {
        int at = s->buffer.slot * CONV_CHUNK * plane + phase->shift[s->tap];
        uint64_t a = input + operand_step(at);
        uint64_t b = operand_descriptor(ring + (uint32_t)(s->stage.slot * T::STAGE_BYTES), k_step,
                                        row_step);

        if (s->tap == 0)
            barrier_wait(&bar->input_full[s->buffer.slot], s->buffer.parity);
        barrier_wait(&bar->weights_full[s->stage.slot], s->stage.parity);
        wgmma_fence();
#pragma unroll
        for (int half = 0; half < HALVES; half++)
#pragma unroll
            for (int i = 0; i < T::M; i++)
                wgmma_f16<T::OUTS>(sum[i], a + operand_step(i * 8 * BLOCK_BYTES + 2 * half * plane),
                                   b + operand_step(2 * half * k_step));
        wgmma_commit();
        wgmma_wait<1>();
        if (speaks && read_stage)
            barrier_arrive(read_stage);
        if (speaks && read_buffer)
            barrier_arrive(read_buffer);
        read_stage = &bar->weights_free[s->stage.slot];
        read_buffer = NULL;
        advance(&s->stage, T::STAGES);
        if (++s->tap == phase->taps) {
            s->tap = 0;
            read_buffer = &bar->input_free[s->buffer.slot];
            advance(&s->buffer, phase->buffers);
        }
    }
    wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < T::M; i++)
        hold_registers<T::OUTS>(sum[i]);
    if (speaks && read_stage) {
        barrier_arrive(read_stage);
        barrier_arrive(read_buffer);
    }
}

template <class T>
static __device__ __forceinline__ void add_up(const struct conv_launch *p, const struct place *at,
                                              struct barriers *bar, char *input, char *ring,
                                              float sum[T::M][T::N][4])
{
    const struct phase_launch *phase = &p->phase[at->phase];
    int plane = phase->high * phase->wide * BLOCK_BYTES;
    int piece = (int)threadIdx.x / GROUP_THREADS * T::M;
    int corner = (T::piece_row(piece) * phase->wide + T::piece_column(piece)) * BLOCK_BYTES;
    uint64_t a = operand_descriptor(shared_address(input) + (uint32_t)corner, plane,
                                    phase->wide * BLOCK_BYTES);
    struct adding s = { { 0, 0 }, { 0, 0 }, 0 };

    add_chunks<T, CONV_CHUNK / 2>(phase, min(at->end, p->blocks / CONV_CHUNK), bar, a,
                                  shared_address(ring), plane, &s, sum);
    if (at->end > p->blocks / CONV_CHUNK)
        add_chunks<T, 1>(phase, 1, bar, a, shared_address(ring), plane, &s, sum);
}

template <class T, bool RGB>
static __device__ __forceinline__ void make_tile(const struct conv_launch *p,
                                                 const struct place *at, struct barriers *bar,
                                                 struct channel_end *ends, char *input, char *ring)
{
    int thread = (int)threadIdx.x;
    float sum[T::M][T::N][4];
    bool bad = false;

    load_ends<T, RGB>(p, at, ends, thread, ADDERS);
    barrier_arrive(&bar->ends);
#pragma unroll
    for (int i = 0; i < T::M; i++)
#pragma unroll
        for (int j = 0; j < T::N; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                sum[i][j][k] = 0.0f;
    add_up<T>(p, at, bar, input, ring, sum);
    barrier_wait(&bar->ends, 0);
#pragma unroll 1                    /* or addresses of one piece would be kept for the next */
    for (int i = 0; i < T::M; i++) {
        int channel = hold_value(thread % 4 * 2);

        finish_rows<fp16, T, RGB, 1>(p, at, sum, i, at->out + channel, ends + channel, &bad);
#pragma unroll
        for (int k = 1; k < T::M; k++)
#pragma unroll
            for (int j = 0; j < T::N; j++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    sum[k - 1][j][r] = sum[k][j][r];
    }
    finish_report(&p->finish, at->sample, bad);
}

#endif

template <class T, bool RGB>
static __global__ void __launch_bounds__(THREADS, T::RESIDENT)
    wgmma_kernel(const __grid_constant__ struct conv_launch p)
{
#if HOPPER_CODE
    DYNAMIC_SHARED(char, shared);
    struct channel_end *ends = (struct channel_end *)(void *)shared;
    struct barriers *bar = (struct barriers *)(void *)(shared + T::ENDS_BYTES);
    char *input = shared + T::ENDS_BYTES + BARRIER_BYTES, *ring = shared + p.ring;
    struct place at = place_of_block<T>(&p);

    if (threadIdx.x == 0)
        make_barriers(bar);
    clear_outside(&p, &at, input);
    __syncthreads();
    if (threadIdx.x < ADDERS)
        make_tile<T, RGB>(&p, &at, bar, ends, input, ring);
    else
        feed<T>(&p, &at, bar, input, ring);
#else
    __trap();                       /* conv_wgmma_suits is of no device that gets here */
#endif
}

/* ---- The host. ---- */

struct variant {
    void (*kernel)(const struct conv_launch);
    void (*rgb_kernel)(const struct conv_launch);
    int high, outs, input_at, stages, stage_bytes;
    float speed;                    /* of its inner loop, of the fastest */
};

template <class T> static struct variant variant_of(float speed)
{
    struct variant v = { wgmma_kernel<T, false>, wgmma_kernel<T, true>, T::HIGH, T::OUTS,
                         T::ENDS_BYTES + BARRIER_BYTES, T::STAGES, T::STAGE_BYTES, speed };
    return v;
}

enum { WIDE = 16, VARIANTS = 4 };

static void list_variants(struct variant list[VARIANTS])
{
    list[0] = variant_of<wgmma_tile<16, 128, 1, 8>>(1.0f);
    list[1] = variant_of<wgmma_tile<16, 64, 2, 8>>(0.85f);
    list[2] = variant_of<wgmma_tile<8, 128, 2, 5>>(0.9f);
    list[3] = variant_of<wgmma_tile<8, 64, 2, 8>>(0.75f);
}

int conv_wgmma_tiles(void)
{
    return VARIANTS;
}

bool conv_wgmma_device(void)
{
    int device, major = 0, minor = 0;

    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) ==
               cudaSuccess &&
           major == 9 && minor == 0;
}

bool conv_wgmma_suits(const struct conv_cuda *self)
{
    return self->precision == PRECISION_FP16 && self->splits == 1 &&
           self->shape.out >= OUTS_LEAST && self->shape.size >= SIZE_LEAST && conv_wgmma_device();
}

/* A step's weights of a piece, [block][16 outputs][16 bytes], as [8 outputs][block][8 of them]
 * [16 bytes]. */
static void turn_step(char *step, int blocks)
{
    enum { HALF = CONV_PIECE_BLOCK_BYTES / 2 };
    char old[CONV_CHUNK * CONV_PIECE_BLOCK_BYTES];

    memcpy(old, step, (size_t)blocks * CONV_PIECE_BLOCK_BYTES);
    for (int half = 0; half < 2; half++)
        for (int block = 0; block < blocks; block++)
            memcpy(step + (half * blocks + block) * HALF, old + (2 * block + half) * HALF, HALF);
}

static void turn_weights(char *packed, const struct conv_cuda *self)
{
    int all = activation_blocks(self->precision, self->shape.in);

    for (int i = 0; i < self->phases; i++) {
        char *step = packed + self->phase[i].at;

        for (int piece = 0; piece < conv_pack_pieces(&self->shape); piece++)
            for (int first = 0; first < all; first += CONV_CHUNK) {
                int blocks = all - first < CONV_CHUNK ? all - first : CONV_CHUNK;

                for (int tap = 0; tap < self->phase[i].taps; tap++) {
                    turn_step(step, blocks);
                    step += blocks * CONV_PIECE_BLOCK_BYTES;
                }
            }
    }
}

enum err_code conv_cuda_use_wgmma(struct conv_cuda *self, struct err *e)
{
    size_t bytes = 0;
    cudaError_t st;
    char *packed;

    self->wgmma = true;
    if (!self->weights)             /* the room only counts */
        return ERR_OK;
    for (int i = 0; i < self->phases; i++)
        bytes += conv_pack_bytes(&self->shape, self->precision, i);
    packed = (char *)malloc(bytes);
    if (!packed)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of weights", bytes);
    st = cudaMemcpy(packed, self->weights, bytes, cudaMemcpyDeviceToHost);
    turn_weights(packed, self);
    if (!st)
        st = cudaMemcpy(const_cast<void *>(self->weights), packed, bytes, cudaMemcpyHostToDevice);
    if (!st)                        /* as in room_put */
        st = cudaStreamSynchronize(NULL);
    free(packed);
    return st ? err_set(e, ERR_DEVICE, "could not reorder weights: %s", cudaGetErrorString(st))
              : ERR_OK;
}

/* About how long all blocks take, in no unit. */
static float time_of(const struct conv_cuda *self, const struct variant *v, int samples,
                     int processors)
{
    return (float)tile_turns(self, v->high, WIDE, v->outs, samples, processors) *
           (float)(v->high * v->outs) / v->speed;
}

static int choose(const struct conv_cuda *self, const struct variant *list, int samples,
                  int processors)
{
    int best = 0;

    for (int i = 1; i < VARIANTS; i++)
        if (time_of(self, &list[i], samples, processors) <
            time_of(self, &list[best], samples, processors))
            best = i;
    return best;
}

/* Says how many halo tiles each phase has, and where the ring begins; returns the bytes of it all.
 * A halo tile is asked for when all weights of the chunk before are: so many steps ahead. */
static int lay_out(struct conv_launch *p, const struct variant *v)
{
    p->stages = v->stages;
    p->ring = 0;
    for (int i = 0; i < p->phases; i++) {
        struct phase_launch *phase = &p->phase[i];
        int bytes = CONV_CHUNK * phase->high * phase->wide * BLOCK_BYTES;

        phase->buffers = smaller(1 + divide_up(v->stages, phase->taps), BUFFERS_MAX);
        p->ring = p->ring > phase->buffers * bytes ? p->ring : phase->buffers * bytes;
    }
    p->ring = divide_up(v->input_at + p->ring, 128) * 128;
    return p->ring + v->stages * v->stage_bytes;
}

cudaError_t conv_wgmma_run(const struct conv_cuda *self, const struct conv_cuda_job *job,
                           int samples, int tile, cudaStream_t stream)
{
    struct variant list[VARIANTS];
    int device, processors = 1, bytes;
    cudaError_t st = cudaGetDevice(&device);
    const struct variant *v;
    struct conv_launch p;

    if (!st)
        st = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (st || samples == 0)
        return st;
    list_variants(list);
    v = &list[tile < 0 ? choose(self, list, samples, processors) : tile];
    p = describe_launch(self, job, samples, v->high, WIDE, v->outs);
    bytes = lay_out(&p, v);

    dim3 grid((unsigned)(p.out_tiles * p.phases * pixel_tiles(self, v->high, WIDE)), 1,
              (unsigned)samples);

    return launch(job->finish.rgb ? v->rgb_kernel : v->kernel, grid, dim3(THREADS), (size_t)bytes,
                  stream, p);
}
