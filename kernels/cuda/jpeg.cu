#include "kernels/cuda/jpeg.cuh"

/* One CUDA block makes MCUS neighbours of one row of MCUs: a thread a row of a block, then a column
 * of it. 1024 x 1024 px are 1024 CUDA blocks of 13 KB of shared memory. */
enum {
    MCUS = 4,
    BLOCKS_AN_MCU = 6,              /* two by two of Y, Cb, Cr */
    BLOCKS = MCUS * BLOCKS_AN_MCU,
    THREADS = 8 * BLOCKS,
    TILE_WIDTH = 16 * MCUS,
    PITCH = 9,                      /* of a row of samples: rows and columns meet no bank twice */
    BLOCK_PITCH = 8 * PITCH,
};

struct jpeg_shared {
    uint8_t rgb[16][TILE_WIDTH * 3];
    int32_t samples[BLOCKS * BLOCK_PITCH];   /* less 128; then the rows' transforms */
    int16_t out[BLOCKS][JPEG_BLOCK];
};

struct jpeg_place {                 /* what this CUDA block makes */
    int width, height, mcu_row, first_column;    /* of MCUs */
};

/* A row of 192 bytes at a time; outside the picture its last column or row again. */
static __device__ void load_pixels(struct jpeg_shared *tile, const uint8_t *rgb,
                                   struct jpeg_place at)
{
    for (int y = 0; y < 16; y++)
        for (int i = threadIdx.x; i < TILE_WIDTH * 3; i += THREADS) {
            int from_y = jpeg_inside(16 * at.mcu_row + y, at.height);
            int from_x = jpeg_inside(16 * at.first_column + i / 3, at.width);

            tile->rgb[y][i] = rgb[((size_t)from_y * at.width + from_x) * 3 + i % 3];
        }
}

static __device__ void make_brightness(struct jpeg_shared *tile)
{
    for (int i = threadIdx.x; i < 16 * TILE_WIDTH; i += THREADS) {
        int y = i / TILE_WIDTH, x = i % TILE_WIDTH;
        int block = x / 16 * BLOCKS_AN_MCU + y / 8 * 2 + x % 16 / 8;
        const uint8_t *p = &tile->rgb[y][3 * x];

        tile->samples[block * BLOCK_PITCH + y % 8 * PITCH + x % 8] = jpeg_y(p[0], p[1], p[2]) - 128;
    }
}

static __device__ void make_colours(struct jpeg_shared *tile, struct jpeg_place at)
{
    for (int i = threadIdx.x; i < 8 * TILE_WIDTH / 2; i += THREADS) {
        int y = i / (TILE_WIDTH / 2), x = i % (TILE_WIDTH / 2);
        int block = x / 8 * BLOCKS_AN_MCU + 4;
        int top = 2 * (jpeg_colour_row(8 * at.mcu_row + y, at.height) - 8 * at.mcu_row);
        int cb = 0, cr = 0;

        for (int k = 0; k < 4; k++) {
            const uint8_t *p = &tile->rgb[top + k / 2][3 * (2 * x + k % 2)];

            cb += jpeg_cb(p[0], p[1], p[2]);
            cr += jpeg_cr(p[0], p[1], p[2]);
        }
        int32_t *sample = &tile->samples[block * BLOCK_PITCH + y * PITCH + x % 8];

        sample[0] = jpeg_mean(cb, x) - 128;
        sample[BLOCK_PITCH] = jpeg_mean(cr, x) - 128;
    }
}

static __device__ void transform_row(struct jpeg_shared *tile)
{
    int32_t *row = &tile->samples[threadIdx.x / 8 * BLOCK_PITCH + threadIdx.x % 8 * PITCH];
    int32_t v[8];

    for (int i = 0; i < 8; i++)
        v[i] = row[i];
    jpeg_dct_row(v);
    for (int i = 0; i < 8; i++)
        row[i] = v[i];
}

static __device__ void transform_column(struct jpeg_shared *tile, const uint16_t *tables)
{
    int block = threadIdx.x / 8, x = threadIdx.x % 8;
    const uint16_t *q = tables + (block % BLOCKS_AN_MCU < 4 ? 0 : JPEG_BLOCK);
    int32_t v[8];

    for (int i = 0; i < 8; i++)
        v[i] = tile->samples[block * BLOCK_PITCH + i * PITCH + x];
    jpeg_dct_column(v);
    for (int i = 0; i < 8; i++)
        tile->out[block][8 * i + x] = jpeg_quantize(v[i], q[8 * i + x]);
}

/* A warp stores a block: 128 bytes that lie together. */
static __device__ void store(const struct jpeg_shared *tile, int16_t *coefficients,
                             const struct jpeg_coefficients_layout *layout, struct jpeg_place at)
{
    for (int i = threadIdx.x; i < BLOCKS * JPEG_BLOCK / 2; i += THREADS) {
        int block = i / (JPEG_BLOCK / 2), pair = i % (JPEG_BLOCK / 2);
        int k = block % BLOCKS_AN_MCU, mcu_column = at.first_column + block / BLOCKS_AN_MCU;
        int c = k < 4 ? 0 : k - 3;
        int row = c == 0 ? 2 * at.mcu_row + k / 2 : at.mcu_row;
        int column = c == 0 ? 2 * mcu_column + k % 2 : mcu_column;

        if (mcu_column >= layout->mcu_columns)
            continue;                /* the last tile of a row may be partial */
        size_t first = layout->first[c] + ((size_t)row * layout->columns[c] + column) * JPEG_BLOCK;

        ((int32_t *)(coefficients + first))[pair] = ((const int32_t *)tile->out[block])[pair];
    }
}

/* Grid: tiles of a row, rows of MCUs, samples. */
static __global__ void jpeg_kernel(const uint8_t *rgb, int16_t *coefficients,
                                   const uint16_t *tables, int width, int height)
{
    DYNAMIC_SHARED(struct jpeg_shared, tile);
    struct jpeg_coefficients_layout layout = jpeg_coefficients_layout(width, height);
    struct jpeg_place at = { width, height, (int)blockIdx.y, (int)blockIdx.x * MCUS };
    size_t sample = blockIdx.z;

    load_pixels(tile, rgb + sample * width * height * 3, at);
    __syncthreads();
    make_brightness(tile);
    make_colours(tile, at);
    __syncthreads();
    transform_row(tile);
    __syncthreads();
    transform_column(tile, tables + sample * 2 * JPEG_BLOCK);
    __syncthreads();
    store(tile, coefficients + sample * layout.count, &layout, at);
}

cudaError_t cuda_jpeg_run(const uint8_t *rgb, int16_t *coefficients, const uint16_t *tables,
                          int width, int height, int samples, cudaStream_t stream)
{
    struct jpeg_coefficients_layout layout = jpeg_coefficients_layout(width, height);
    dim3 grid((layout.mcu_columns + MCUS - 1) / MCUS, layout.mcu_rows, samples);

    if (samples == 0)
        return cudaSuccess;          /* to CUDA a grid of no blocks is an error, not a no-op */
    return launch(jpeg_kernel, grid, dim3(THREADS), sizeof(struct jpeg_shared), stream, rgb,
                  coefficients, tables, width, height);
}
