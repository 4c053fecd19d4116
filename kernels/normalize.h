/* normalize -- StyleGAN 1's instance norm and style of a channel, folded into one scale and shift
 * that the next layer applies when it reads the channel:
 *     (x - mean) / sqrt(var + 1e-8) * (style_scale + 1) + style_shift = x * scale + shift
 * mean and var (biased) over the whole plane. Sums run in double: in float32 a plane of a million
 * pixels would lose half of its digits.
 * Source: StyleGAN instance_norm and style_mod. */
#ifndef KERNELS_NORMALIZE_H
#define KERNELS_NORMALIZE_H

#include <stddef.h>

struct moments {
    double sum, squares;
};

/* Of one row: value i is added to lane i % 8, the lanes from 0 to 7. */
struct moments moments_cpu(const float *x, int width);

/* row [rows]: the moments of a plane's rows, taken from the first to the last; pixels: of the
 * plane. */
void normalize_cpu(float *scale, float *shift, const struct moments *row, int rows, size_t pixels,
                   float style_scale, float style_shift);

#endif
