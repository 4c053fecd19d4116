#include "kernels/jpeg_transform.h"

/* ITU-T T.81, tables K.1 and K.2. */
static const uint8_t STANDARD[2][JPEG_BLOCK] = {
    { 16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,
      14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,
      18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,
      49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99 },
    { 17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
      24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
      99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
      99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99 },
};

/* One MCU's samples, less 128: four blocks of Y (two by two), one each of Cb and Cr. */
struct mcu {
    int32_t block[6][JPEG_BLOCK];
};

struct jpeg_tables jpeg_tables_of(int quality)
{
    int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    struct jpeg_tables out;

    for (int t = 0; t < 2; t++)
        for (int i = 0; i < JPEG_BLOCK; i++) {
            int q = (STANDARD[t][i] * scale + 50) / 100;

            out.q[t][i] = (uint16_t)(q < 1 ? 1 : q > 255 ? 255 : q);
        }
    return out;
}

static void read_mcu(const uint8_t *rgb, int width, int height, int column, int row,
                     struct mcu *out)
{
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 16; x++) {
            const uint8_t *p = rgb + ((size_t)jpeg_inside(16 * row + y, height) * (size_t)width +
                                      (size_t)jpeg_inside(16 * column + x, width)) * 3;

            out->block[y / 8 * 2 + x / 8][y % 8 * 8 + x % 8] = jpeg_y(p[0], p[1], p[2]) - 128;
        }
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 8; x++) {
            int cb = 0, cr = 0;

            for (int k = 0; k < 4; k++) {
                int from_y = 2 * jpeg_colour_row(8 * row + y, height) + k / 2;
                int from_x = 2 * (8 * column + x) + k % 2;
                const uint8_t *p = rgb + ((size_t)jpeg_inside(from_y, height) * (size_t)width +
                                          (size_t)jpeg_inside(from_x, width)) * 3;

                cb += jpeg_cb(p[0], p[1], p[2]);
                cr += jpeg_cr(p[0], p[1], p[2]);
            }
            out->block[4][8 * y + x] = jpeg_mean(cb, x) - 128;
            out->block[5][8 * y + x] = jpeg_mean(cr, x) - 128;
        }
}

static void transform_block(int32_t block[JPEG_BLOCK], const uint16_t q[JPEG_BLOCK], int16_t *out)
{
    for (int y = 0; y < 8; y++)
        jpeg_dct_row(block + 8 * y);
    for (int x = 0; x < 8; x++) {
        int32_t v[8];

        for (int y = 0; y < 8; y++)
            v[y] = block[8 * y + x];
        jpeg_dct_column(v);
        for (int y = 0; y < 8; y++)
            out[8 * y + x] = jpeg_quantize(v[y], q[8 * y + x]);
    }
}

void jpeg_coefficients(const uint8_t *rgb, int width, int height, const struct jpeg_tables *tables,
                       int16_t *out)
{
    struct jpeg_coefficients_layout layout = jpeg_coefficients_layout(width, height);
    struct mcu mcu;

    for (int row = 0; row < layout.mcu_rows; row++)
        for (int column = 0; column < layout.mcu_columns; column++) {
            read_mcu(rgb, width, height, column, row, &mcu);
            for (int b = 0; b < 6; b++) {
                int c = b < 4 ? 0 : b - 3;
                int block_row = c == 0 ? 2 * row + b / 2 : row;
                int block_column = c == 0 ? 2 * column + b % 2 : column;
                size_t at = (size_t)block_row * (size_t)layout.columns[c] + (size_t)block_column;

                transform_block(mcu.block[b], tables->q[c > 0],
                                out + layout.first[c] + at * JPEG_BLOCK);
            }
        }
}
