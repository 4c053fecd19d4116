/* conv_launch -- what conv's kernels are told, and where each of their blocks works: the same for
 * the products of a warp (conv.cu) and of a warpgroup (conv_wgmma.cu). T is a kind of tile with the
 * members HIGH, WIDE and OUTS: pixels and output channels of a block. */
#ifndef KERNELS_CUDA_CONV_LAUNCH_CUH
#define KERNELS_CUDA_CONV_LAUNCH_CUH

#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/conv_pack.cuh"

/* A phase as a tile sees it. */
struct phase_launch {
    int taps, dy, dx;           /* input pixel = pixel of the tile + these, at the halo's corner */
    int high, wide;             /* of the halo tile, in pixels */
    unsigned inverse;           /* of wide: see row_of */
    int buffers;                /* halo tiles in shared memory */
    int shift[CONV_TAPS_MAX];   /* bytes from the corner to the tap */
    size_t at;                  /* of its weights, in bytes */
};

struct conv_launch {
    const char *x, *weights;
    size_t x_each;
    void *y;
    int size, rows;             /* pixels a side of the input, and of a phase of the output */
    int blocks, chunks, pieces; /* blocks and chunks of the input, pieces of 16 outputs */
    int out_blocks, phases, splits, samples, rgb_groups;
    unsigned pixels;            /* of a channel of the output, all phases; times its blocks below
                                   2^31 */
    int out_tiles, tiles_across;
    int stages, ring;           /* of the weights; bytes from the start of shared memory to them */
    struct phase_launch phase[CONV_PHASES_MAX];
    struct finish finish;
};

/* Where a block works. */
struct place {
    int phase, row, column;     /* of the first pixel */
    int out, sample, split;     /* out: first channel */
    int chunk, end;             /* chunks of its part of the sum */
};

/* index / wide, for wide <= 64 and index < 4096: exact, as index * wide < 2^18. */
enum { INVERSE_BITS = 18 };

static __device__ __forceinline__ int row_of(int index, unsigned inverse)
{
    return (int)((unsigned)index * inverse >> INVERSE_BITS);
}

/* Blocks that share their input come one after the other: outputs, then phases, then tiles. */
template <class T>
static __device__ __forceinline__ struct place place_of_block(const struct conv_launch *p)
{
    struct place at;
    int index = (int)blockIdx.x, rest;

    rest = index / p->out_tiles;
    at.out = (index - rest * p->out_tiles) * T::OUTS;
    index = rest / p->phases;
    at.phase = rest - index * p->phases;
    rest = index / p->tiles_across;
    at.row = rest * T::HIGH;
    at.column = (index - rest * p->tiles_across) * T::WIDE;
    at.split = (int)blockIdx.y;
    at.sample = (int)blockIdx.z;
    at.chunk = p->chunks * at.split / p->splits;
    at.end = p->chunks * (at.split + 1) / p->splits;
    /* behind the last pixel that any tap can see, as in the odd phases of UP_SCATTER: all zero */
    if (at.row + p->phase[at.phase].dy >= p->size || at.column + p->phase[at.phase].dx >= p->size)
        at.end = at.chunk;
    return at;
}

/* Blocks that a chunk has: four, or two. */
static __device__ __forceinline__ int blocks_of_chunk(const struct conv_launch *p, int chunk)
{
    return min(CONV_CHUNK, p->blocks - chunk * CONV_CHUNK);
}

static inline int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Tiles of high x wide pixels that a phase has. */
static inline int pixel_tiles(const struct conv_cuda *self, int high, int wide)
{
    return divide_up(self->rows, high) * divide_up(self->rows, wide);
}

/* Those of them in which there is anything to do, times the phase's taps. */
static inline long long tile_taps(const struct conv_cuda *self, int high, int wide, int phase)
{
    int taps = self->phase[phase].taps, down = self->rows, across = self->rows;
    int dy = self->phase[phase].dy[0], dx = self->phase[phase].dx[0];

    for (int t = 1; t < taps; t++) {
        dy = smaller(dy, self->phase[phase].dy[t]);
        dx = smaller(dx, self->phase[phase].dx[t]);
    }
    down = smaller(down, self->shape.size - dy);
    across = smaller(across, self->shape.size - dx);
    return (long long)divide_up(down, high) * divide_up(across, wide) * taps;
}

/* What tiles of so many outputs have to do, in blocks of a phase's mean work: as many turns of so
 * many multiprocessors. */
static inline long long tile_turns(const struct conv_cuda *self, int high, int wide, int outs,
                                   int samples, int processors)
{
    long long work = 0, taps = 0, turn;

    for (int p = 0; p < self->phases; p++) {
        work += tile_taps(self, high, wide, p);
        taps += self->phase[p].taps;
    }
    work *= (long long)divide_up(self->shape.out, outs) * self->splits * samples;
    turn = taps * processors;       /* there are `phases` blocks to each tile */
    return (work * self->phases + turn - 1) / turn;
}

/* A phase's halo tile, of tiles of so many pixels. */
static inline void describe_phase(struct phase_launch *out, const struct conv_cuda *self, int index,
                                  int high, int wide)
{
    int taps = self->phase[index].taps;
    const int *dy = self->phase[index].dy, *dx = self->phase[index].dx;
    int low_y = dy[0], high_y = dy[0], low_x = dx[0], high_x = dx[0];

    for (int t = 1; t < taps; t++) {
        low_y = dy[t] < low_y ? dy[t] : low_y;
        high_y = dy[t] > high_y ? dy[t] : high_y;
        low_x = dx[t] < low_x ? dx[t] : low_x;
        high_x = dx[t] > high_x ? dx[t] : high_x;
    }
    out->taps = taps;
    out->dy = low_y;
    out->dx = low_x;
    out->high = high + high_y - low_y;
    out->wide = wide + high_x - low_x;
    out->inverse = (1u << INVERSE_BITS) / (unsigned)out->wide + 1;
    out->at = self->phase[index].at;
    for (int t = 0; t < taps; t++)
        out->shift[t] = ((dy[t] - low_y) * out->wide + dx[t] - low_x) * BLOCK_BYTES;
}

/* All of a launch but the halo tiles' buffers and the ring; the tile's sizes as above. */
static inline struct conv_launch describe_launch(const struct conv_cuda *self,
                                                 const struct conv_cuda_job *job, int samples,
                                                 int high, int wide, int outs)
{
    struct conv_launch p = {};

    p.x = (const char *)job->x;
    p.x_each = job->x_each;
    p.weights = (const char *)self->weights;
    p.y = job->y;
    p.size = self->shape.size;
    p.rows = self->rows;
    p.blocks = activation_blocks(self->precision, self->shape.in);
    p.chunks = divide_up(p.blocks, CONV_CHUNK);
    p.pieces = conv_pack_pieces(&self->shape);
    p.out_blocks = activation_blocks(self->precision, self->shape.out);
    p.phases = self->phases;
    p.pixels = (unsigned)(self->phases * self->rows * self->rows);
    p.splits = self->splits;
    p.samples = samples;
    p.out_tiles = divide_up(self->shape.out, outs);
    p.tiles_across = divide_up(self->rows, wide);
    p.rgb_groups = rgb_groups(job->finish.channels);
    p.finish = job->finish;
    for (int i = 0; i < self->phases; i++)
        describe_phase(&p.phase[i], self, i, high, wide);
    return p;
}

#endif
