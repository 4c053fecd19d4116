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

/* ---- one value: jccolor.c, jcsample.c, jcdctmgr.c ---- */

JPEG_INLINE int jpeg_y(int r, int g, int b)
{
    return (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
}

JPEG_INLINE int jpeg_cb(int r, int g, int b)
{
    return (-11059 * r - 21709 * g + 32768 * b + (128 << 16) + 32767) >> 16;
}

JPEG_INLINE int jpeg_cr(int r, int g, int b)
{
    return (32768 * r - 27439 * g - 5329 * b + (128 << 16) + 32767) >> 16;
}

/* The colour of four pixels, their sum given, in column x: rounded down and up by turns. */
JPEG_INLINE int jpeg_mean(int sum, int x)
{
    return (sum + 1 + (x & 1)) >> 2;
}

/* Outside the picture lies its last column or row again. */
JPEG_INLINE int jpeg_inside(int at, int size)
{
    return at < size ? at : size - 1;
}

/* But below it the last row of *colours* is repeated, not that of pixels: of an even height that is
 * the mean of the last two rows. */
JPEG_INLINE int jpeg_colour_row(int row, int height)
{
    return jpeg_inside(row, (height + 1) / 2);
}

/* t is eight times the coefficient. */
JPEG_INLINE int16_t jpeg_quantize(int32_t t, int32_t q)
{
    int32_t magnitude = ((t < 0 ? -t : t) + 4 * q) / (8 * q);

    return (int16_t)(t < 0 ? -magnitude : magnitude);
}

/* ---- the DCT of eight values in place: jfdctint.c ---- */

/* What both passes share: all but the scaling of terms 0 and 4, which are sums only. The others come
 * with 13 fraction bits more, to be shifted by shift with rounding. Right shifts of negative numbers
 * are arithmetic on every compiler that this is built with. */
JPEG_INLINE void jpeg_dct(int32_t v[8], int shift)
{
    int32_t half = (int32_t)1 << (shift - 1);
    int32_t s0 = v[0] + v[7], s1 = v[1] + v[6], s2 = v[2] + v[5], s3 = v[3] + v[4];
    int32_t d0 = v[0] - v[7], d1 = v[1] - v[6], d2 = v[2] - v[5], d3 = v[3] - v[4];
    int32_t e0 = s0 + s3, e1 = s1 + s2, e2 = s1 - s2, e3 = s0 - s3;
    int32_t even = (e2 + e3) * 4433;
    int32_t z5 = (d3 + d1 + d2 + d0) * 9633;
    int32_t z1 = (d3 + d0) * -7373, z2 = (d2 + d1) * -20995;
    int32_t z3 = (d3 + d1) * -16069 + z5, z4 = (d2 + d0) * -3196 + z5;

    v[0] = e0 + e1;
    v[4] = e0 - e1;
    v[2] = (even + e3 * 6270 + half) >> shift;
    v[6] = (even - e2 * 15137 + half) >> shift;
    v[7] = (d3 * 2446 + z1 + z3 + half) >> shift;
    v[5] = (d2 * 16819 + z2 + z4 + half) >> shift;
    v[3] = (d1 * 25172 + z2 + z3 + half) >> shift;
    v[1] = (d0 * 12299 + z1 + z4 + half) >> shift;
}

/* A row of samples less 128; the results are 4 times too large. */
JPEG_INLINE void jpeg_dct_row(int32_t v[8])
{
    jpeg_dct(v, 11);
    v[0] *= 4;
    v[4] *= 4;
}

/* A column of those; the results are 8 times the coefficients. */
JPEG_INLINE void jpeg_dct_column(int32_t v[8])
{
    jpeg_dct(v, 15);
    v[0] = (v[0] + 2) >> 2;
    v[4] = (v[4] + 2) >> 2;
}

/* ---- a picture, on the CPU ---- */

/* The standard's tables for a quality of 1..100, as libjpeg scales them. */
struct jpeg_tables jpeg_tables_of(int quality);

/* rgb [height, width, 3]; out [jpeg_coefficients_layout(width, height).count]. */
void jpeg_coefficients(const uint8_t *rgb, int width, int height, const struct jpeg_tables *tables,
                       int16_t *out);

#endif
