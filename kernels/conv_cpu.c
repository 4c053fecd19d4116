#include "kernels/conv.h"

#include "kernels/conv_phases.h"
#include "kernels/floats.h"
#include "kernels/simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    BLOCK = 8,                  /* output channels whose weights lie side by side */
    ALIGN = 16,                 /* floats; a vector at its widest */
    SLACK = 64,                 /* floats that a run of columns may read behind a panel */
    COLUMNS_MIN = 256,          /* of a tile, where the picture has as many */
    SUMS_MAX = 3 << 16,         /* floats: the tile's sums stay in a second-level cache of 1 MiB */
    PANEL_MAX = 48 << 10,       /* floats, likewise */
    CHUNK_ROWS = 48,            /* a panel's input channels times the rows that taps reach: a run of
                                   columns fits a first-level cache */
    OUTS_MIN = 32,              /* below, framing the input would cost more than sharing it gains */
    ITEMS_PER_THREAD = 3,
};

static size_t round_up(size_t value, size_t step)
{
    return (value + step - 1) / step * step;
}

static int divide_up(int value, int by)
{
    return (value + by - 1) / by;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* ---- Packing ---- */

static void pack_phase(struct conv *self, int index, const struct conv_weights *weights)
{
    const struct conv_shape *shape = &self->shape;
    struct conv_phase *phase = &self->phase[index];
    struct conv_taps taps = conv_phase_taps(shape, index);
    float *to = self->packed + phase->at;

    for (int block = 0; block < shape->out; block += BLOCK)
        for (int i = 0; i < shape->in; i++)
            for (int t = 0; t < taps.count; t++)
                for (int o = block; o < block + BLOCK; o++)
                    *to++ = o < shape->out ? conv_tap_weight(&taps, t, weights, o, i) : 0.0f;
    for (int t = 0; t < taps.count; t++) {
        phase->dy[t] = taps.dy[t] + self->frame;
        phase->dx[t] = taps.dx[t] + self->frame;
    }
}

enum err_code conv_init(struct conv *self, const struct conv_shape *shape,
                        const struct conv_weights *weights, struct err *e)
{
    size_t pairs = round_up((size_t)shape->out, BLOCK) * (size_t)shape->in, floats = 0;
    enum err_code rc;

    *self = (struct conv){ .shape = *shape };
    self->phases = conv_phase_count(shape);
    self->frame = shape->kind == CONV_PLAIN ? shape->pad : 1;
    self->reach = shape->kind == CONV_UP_SCATTER ? 2 : shape->kernel;
    self->rows = conv_phase_rows(shape);
    for (int p = 0; p < self->phases; p++) {
        self->phase[p].taps = conv_phase_taps(shape, p).count;
        self->phase[p].at = floats;
        floats += pairs * (size_t)self->phase[p].taps;
    }
    rc = floats_create(floats, 1, 1, &self->packed, e);
    for (int p = 0; !rc && p < self->phases; p++)
        pack_phase(self, p, weights);
    return rc;
}

void conv_release(struct conv *self)
{
    free(self->packed);
    *self = (struct conv){ 0 };
}

/* ---- Tiles ---- */

/* A panel holds the tile's input rows, framed with zeros, as one line of numbers for each channel.
 * The frame on the right of a row is the one on the left of the next, and the frame below a sample
 * the one above the next: a tap is a constant step, whatever the row. What falls on the frame is
 * computed too and never looked at. */
static size_t panel_pitch(const struct conv *self)
{
    return (size_t)(self->shape.size + self->frame);
}

/* Panel rows from one sample to the next. */
static int sample_step(const struct conv *self)
{
    return self->shape.size + self->frame;
}

/* Columns of the product: from the first output of the tile to the last. A row of outputs may be
 * longer than the pitch (kernel 1 with a frame): its end lies on the frame of the next. */
static size_t tile_columns(const struct conv *self, int samples, int rows)
{
    return ((size_t)(samples - 1) * (size_t)sample_step(self) + (size_t)rows - 1) *
               panel_pitch(self) + (size_t)self->rows;
}

/* Floats of one channel's panel. */
static size_t panel_plane(const struct conv *self, int samples, int rows)
{
    return round_up(tile_columns(self, samples, rows) + (size_t)self->reach * panel_pitch(self) +
                        (size_t)self->frame + SLACK, ALIGN);
}

struct conv_tiling conv_tile(const struct conv *self, int samples, int threads)
{
    struct conv_tiling t = { .samples = 1, .rows = self->rows };
    int wanted = threads > 1 ? ITEMS_PER_THREAD * threads : 1;
    int blocks = divide_up(self->shape.out, BLOCK);
    size_t one = tile_columns(self, 1, self->rows), share = one * (size_t)samples / (size_t)wanted;
    size_t columns = (size_t)(SUMS_MAX / (self->phases * blocks * BLOCK));

    /* as many as the caches hold, but enough tiles for all threads, if tiles of use they are */
    columns = share < columns ? share : columns;
    columns = columns < COLUMNS_MIN ? COLUMNS_MIN : columns;
    if (one > columns)
        t.rows = larger(1, (int)(columns / panel_pitch(self)));
    else
        t.samples = larger(1, smaller(samples, (int)(columns / one)));
    t.row_tiles = divide_up(self->rows, t.rows);
    /* few tiles: as many as the threads share evenly */
    if (t.row_tiles > 1 && t.row_tiles * samples < 4 * threads)
        t.row_tiles = smaller(self->rows, divide_up(threads * divide_up(t.row_tiles * samples,
                                                                        threads), samples));
    t.rows = divide_up(self->rows, t.row_tiles);
    t.row_tiles = divide_up(self->rows, t.rows);
    t.sample_tiles = divide_up(samples, t.samples);
    t.samples = divide_up(samples, t.sample_tiles);

    /* The outputs are shared out where the sums would not fit, or there are too few tiles. */
    size_t sums = (size_t)self->phases * round_up(tile_columns(self, t.samples, t.rows), ALIGN);
    int fit = larger(1, (int)(SUMS_MAX / (sums * BLOCK)));
    int tiles = t.row_tiles * t.sample_tiles;
    int split = smaller(divide_up(wanted, tiles), larger(1, self->shape.out / OUTS_MIN));

    t.outs = BLOCK * smaller(smaller(fit, blocks), divide_up(blocks, split));
    t.out_tiles = divide_up(self->shape.out, t.outs);
    t.items = (size_t)tiles * (size_t)t.out_tiles;

    size_t plane = panel_plane(self, t.samples, t.rows);

    t.chunk = smaller(smaller(CHUNK_ROWS / self->reach, self->shape.in),
                      larger(4, (int)(PANEL_MAX / plane)));
    t.panel_floats = (size_t)t.chunk * plane;
    t.scratch_floats = t.panel_floats + sums * (size_t)t.outs;
    return t;
}

size_t conv_scratch_count(const struct conv *self, int samples, int threads)
{
    size_t most = 0;

    for (int i = 1; i <= samples; i++) {
        size_t floats = conv_tile(self, i, threads).scratch_floats;

        most = floats > most ? floats : most;
    }
    return most;
}

/* A tile at work. */
struct tile {
    int sample, samples;
    int row, rows;              /* of the output */
    int out, outs;
    size_t columns, pitch;      /* of the sums: pitch floats from one output to the next */
    size_t plane;               /* floats from one channel of the panel to the next */
    float *panel, *sums;        /* sums: [phase][outs][pitch] */
};

SIMD_ANY frame_row_any(float *restrict to, const float *restrict x, int count, float scale,
                       float shift)
{
    for (int i = 0; i < count; i++)
        to[i] = fmaf(x[i], scale, shift);
}
SIMD_VERSIONS(frame_row, (float *restrict to, const float *restrict x, int count, float scale,
                          float shift), (to, x, count, scale, shift))

/* One channel of one sample: its input rows that the tile's output rows reach. */
static void frame_rows(const struct conv_job *job, const struct tile *tile, int sample, int channel,
                       float *to)
{
    const struct conv *conv = job->conv;
    int size = conv->shape.size, frame = conv->frame;
    size_t at = (size_t)sample * job->scale_each + (size_t)channel;
    float scale = job->scale ? job->scale[at] : 1.0f, shift = job->shift ? job->shift[at] : 0.0f;
    const float *x = job->x + (size_t)sample * job->x_each + (size_t)channel * size * size;

    for (int r = 0; r < tile->rows + conv->reach - 1; r++, to += panel_pitch(conv)) {
        int y = tile->row + r - frame;

        if (y < 0 || y >= size) {
            memset(to, 0, panel_pitch(conv) * sizeof *to);
            continue;
        }
        for (int i = 0; i < frame; i++)
            to[i] = 0.0f;
        frame_row(to + frame, x + (size_t)y * (size_t)size, size, scale, shift);
    }
    for (int i = 0; i < frame; i++)
        to[i] = 0.0f;
}

static void fill_panel(const struct conv_job *job, const struct tile *tile, int first, int channels)
{
    const struct conv *conv = job->conv;
    size_t step = (size_t)sample_step(conv) * panel_pitch(conv);

    for (int i = 0; i < channels; i++)
        for (int s = 0; s < tile->samples; s++)
            frame_rows(job, tile, tile->sample + s, first + i,
                       tile->panel + (size_t)i * tile->plane + (size_t)s * step);
}

/* ---- The product ---- */

/* Some blocks of outputs over some columns: in block b,
 *     sums[r][c] += sum_{i,t} weight[i,t,r] * panel[i][c + offset[t]] */
struct product {
    float *sums;                /* [BLOCK, pitch] for each block */
    size_t pitch;
    const float *panel;
    size_t plane;
    const float *weight;        /* [channels, taps, BLOCK] for each block */
    size_t weight_step;         /* from one block to the next */
    int blocks, channels, taps;
    size_t offset[CONV_TAPS_MAX];
    bool from_zero;             /* the sums begin here */
};

/* outs outputs of a block, from its first'th, times vectors vectors of columns. */
#define DEFINE_PRODUCT(name, target, vector, lanes, outs, vectors, load, store, zero, spread, fma) \
    target SIMD_UNCHECKED static void name(const struct product *p, int block, int first,          \
                                           size_t column)                                          \
    {                                                                                              \
        float *sums = p->sums + (size_t)(block * BLOCK + first) * p->pitch + column;               \
        const float *weight = p->weight + (size_t)block * p->weight_step + first;                  \
        const float *plane = p->panel + column;                                                    \
        vector sum[outs][vectors];                                                                 \
                                                                                                   \
        _Pragma("GCC unroll 8") for (int r = 0; r < outs; r++)                                     \
            _Pragma("GCC unroll 8") for (int v = 0; v < vectors; v++)                              \
                sum[r][v] = p->from_zero ? zero() : load(sums + (size_t)r * p->pitch + v * lanes); \
        for (int i = 0; i < p->channels; i++, plane += p->plane)                                   \
            for (int t = 0; t < p->taps; t++, weight += BLOCK) {                                   \
                vector x[vectors];                                                                 \
                                                                                                   \
                _Pragma("GCC unroll 8") for (int v = 0; v < vectors; v++)                          \
                    x[v] = load(plane + p->offset[t] + v * lanes);                                 \
                _Pragma("GCC unroll 8") for (int r = 0; r < outs; r++) {                           \
                    vector w = spread(weight[r]);                                                  \
                                                                                                   \
                    _Pragma("GCC unroll 8") for (int v = 0; v < vectors; v++)                      \
                        sum[r][v] = fma(w, x[v], sum[r][v]);                                       \
                }                                                                                  \
            }                                                                                      \
        _Pragma("GCC unroll 8") for (int r = 0; r < outs; r++)                                     \
            _Pragma("GCC unroll 8") for (int v = 0; v < vectors; v++)                              \
                store(sums + (size_t)r * p->pitch + v * lanes, sum[r][v]);                         \
    }

typedef void product_step(const struct product *p, int block, int first, size_t column);

/* A run of columns: all blocks take their turn while the panel's part is in the first cache. */
static void run_blocks(const struct product *p, product_step *step, int outs, size_t column)
{
    for (int block = 0; block < p->blocks; block++)
        for (int first = 0; first < BLOCK; first += outs)
            step(p, block, first, column);
}

#if defined(__x86_64__)
#define AVX512_PRODUCT(name, vectors)                                                              \
    DEFINE_PRODUCT(name, SIMD_TARGET_AVX512, __m512, 16, 8, vectors, _mm512_loadu_ps,              \
                   _mm512_storeu_ps, _mm512_setzero_ps, _mm512_set1_ps, _mm512_fmadd_ps)
AVX512_PRODUCT(product_avx512_48, 3)
AVX512_PRODUCT(product_avx512_32, 2)
AVX512_PRODUCT(product_avx512_16, 1)

#define AVX2_PRODUCT(name, vectors)                                                                \
    DEFINE_PRODUCT(name, SIMD_TARGET_AVX2, __m256, 8, 4, vectors, _mm256_loadu_ps,                 \
                   _mm256_storeu_ps, _mm256_setzero_ps, _mm256_set1_ps, _mm256_fmadd_ps)
AVX2_PRODUCT(product_avx2_24, 3)
AVX2_PRODUCT(product_avx2_16, 2)
AVX2_PRODUCT(product_avx2_8, 1)

static void multiply_avx512(const struct product *p, size_t columns)
{
    size_t at = 0;

    for (; at + 32 < columns; at += 48)
        run_blocks(p, product_avx512_48, 8, at);
    if (at < columns)
        run_blocks(p, at + 16 < columns ? product_avx512_32 : product_avx512_16, 8, at);
}

static void multiply_avx2(const struct product *p, size_t columns)
{
    size_t at = 0;

    for (; at + 16 < columns; at += 24)
        run_blocks(p, product_avx2_24, 4, at);
    if (at < columns)
        run_blocks(p, at + 8 < columns ? product_avx2_16 : product_avx2_8, 4, at);
}
#endif

#define PLAIN_ZERO() 0.0f
#define PLAIN_LOAD(at) (*(at))
#define PLAIN_STORE(at, value) (*(at) = (value))
#define PLAIN_SPREAD(value) (value)
DEFINE_PRODUCT(product_plain, , float, 1, 4, 2, PLAIN_LOAD, PLAIN_STORE, PLAIN_ZERO, PLAIN_SPREAD,
               fmaf)

static void multiply(const struct product *p, size_t columns)
{
#if defined(__x86_64__)
    switch (simd_level()) {
    case SIMD_AVX512: multiply_avx512(p, columns); return;
    case SIMD_AVX2: multiply_avx2(p, columns); return;
    default: break;
    }
#endif
    for (size_t at = 0; at < columns; at += 2)
        run_blocks(p, product_plain, 4, at);
}

/* Adds channels first..first+channels-1, which the panel holds, to all sums of the tile. */
static void add_chunk(const struct conv *conv, const struct tile *tile, int first, int channels)
{
    for (int index = 0; index < conv->phases; index++) {
        const struct conv_phase *phase = &conv->phase[index];
        struct product p = { .pitch = tile->pitch,
                             .panel = tile->panel,
                             .plane = tile->plane,
                             .weight_step = (size_t)conv->shape.in * (size_t)phase->taps * BLOCK,
                             .channels = channels,
                             .taps = phase->taps,
                             .from_zero = first == 0 };

        for (int t = 0; t < phase->taps; t++)
            p.offset[t] = (size_t)phase->dy[t] * panel_pitch(conv) + (size_t)phase->dx[t];
        size_t row = (size_t)tile->out * (size_t)conv->shape.in + (size_t)first * BLOCK;

        p.sums = tile->sums + (size_t)index * (size_t)tile->outs * tile->pitch;
        p.weight = conv->packed + phase->at + row * (size_t)phase->taps;
        p.blocks = tile->outs / BLOCK;
        multiply(&p, tile->columns);
    }
}

static void store_tile(const struct conv_job *job, const struct tile *tile)
{
    const struct conv *conv = job->conv;
    size_t step = (size_t)sample_step(conv) * panel_pitch(conv);

    for (int o = 0; o < tile->outs && tile->out + o < conv->shape.out; o++)
        for (int s = 0; s < tile->samples; s++)
            for (int index = 0; index < conv->phases; index++)
                job->store(job->arg, tile->sample + s, tile->out + o, index, tile->row, tile->rows,
                           tile->sums +
                               ((size_t)index * (size_t)tile->outs + (size_t)o) * tile->pitch +
                               (size_t)s * step,
                           panel_pitch(conv));
}

void conv_cpu(const struct conv_job *job, const struct conv_tiling *tiling, size_t index,
              float *scratch)
{
    const struct conv *conv = job->conv;
    int out = (int)(index % (size_t)tiling->out_tiles);
    int rest = (int)(index / (size_t)tiling->out_tiles);
    struct tile tile = {
        .sample = rest / tiling->row_tiles * tiling->samples,
        .row = rest % tiling->row_tiles * tiling->rows,
        .out = out * tiling->outs,
        .panel = scratch,
        .sums = scratch + tiling->panel_floats,
    };

    tile.samples = smaller(tiling->samples, job->samples - tile.sample);
    tile.rows = smaller(tiling->rows, conv->rows - tile.row);
    tile.outs = smaller(tiling->outs, (int)round_up((size_t)(conv->shape.out - tile.out), BLOCK));
    tile.columns = tile_columns(conv, tile.samples, tile.rows);
    tile.pitch = round_up(tile.columns, ALIGN);
    tile.plane = panel_plane(conv, tile.samples, tile.rows);
    for (int first = 0; first < conv->shape.in; first += tiling->chunk) {
        int channels = smaller(tiling->chunk, conv->shape.in - first);

        fill_panel(job, &tile, first, channels);
        add_chunk(conv, &tile, first, channels);
    }
    store_tile(job, &tile);
}
