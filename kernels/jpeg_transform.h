/* jpeg_transform -- pixels to quantized DCT coefficients: what libjpeg-turbo does between RGB and its
 * entropy coder, in integers, so that every device makes the same ones to the last bit. 4:2:0, the
 * "islow" DCT of jfdctint.c, plain division where the library multiplies by a reciprocal (the two
 * agree for every table entry of 1..255 and every value that a DCT can have).
 *
 * The functions that make one value or one block are here, for C and for CUDA alike; jpeg_coefficients
 * runs them over a picture on the CPU, kernels/cuda/jpeg.cu on a GPU. */
#ifndef KERNELS_JPEG_TRANSFORM_H
#define KERNELS_JPEG_TRANSFORM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define JPEG_INLINE static inline __host__ __device__
#else
#define JPEG_INLINE static inline
#endif

enum { JPEG_COMPONENTS = 3, JPEG_BLOCK = 64 };

/* Where the coefficients of one picture lie: three components (Y, Cb, Cr), each a plane of blocks,
 * row by row; a block is 64 int16 in natural order [v][u], as libjpeg's JBLOCK. Planes hold whole
 * MCUs of 16 x 16 pixels: two by two blocks of Y, one of each colour. Blocks of Y that lie wholly
 * outside the picture are made of repeated pixels; no file has them. */
struct jpeg_coefficients_layout {
    int mcu_columns, mcu_rows;
    int columns[JPEG_COMPONENTS], rows[JPEG_COMPONENTS];    /* of blocks */
    size_t first[JPEG_COMPONENTS];  /* the component's first int16 */
    size_t count;                   /* int16 of a picture: 384 an MCU */
};

/* Two tables, of Y and of both colours, in natural order. */
struct jpeg_tables {
    uint16_t q[2][JPEG_BLOCK];
};

JPEG_INLINE struct jpeg_coefficients_layout jpeg_coefficients_layout(int width, int height)
{
    struct jpeg_coefficients_layout out;
    size_t at = 0;

    out.mcu_columns = (width + 15) / 16;
    out.mcu_rows = (height + 15) / 16;
    for (int c = 0; c < JPEG_COMPONENTS; c++) {
        out.columns[c] = out.mcu_columns * (c == 0 ? 2 : 1);
        out.rows[c] = out.mcu_rows * (c == 0 ? 2 : 1);
        out.first[c] = at;
        at += (size_t)out.columns[c] * (size_t)out.rows[c] * JPEG_BLOCK;
    }
    out.count = at;
    return out;
}

#endif
