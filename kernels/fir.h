/* fir -- the [1,3,3,1] filter that StyleGAN 2 uses wherever it doubles a size, on the CPU. Per axis
 * f = [1,3,3,1] / 4, which holds the gain 4 of both axes together; zeros outside. Separable:
 * columns first, then rows, each sum from the first tap to the last.
 * Source: StyleGAN2-ADA upfirdn2d with setup_filter([1,3,3,1]). */
#ifndef KERNELS_FIR_H
#define KERNELS_FIR_H

#include <stddef.h>

/* Floats of scratch that either function needs for an input of width pixels. */
size_t fir_scratch_count(int width);

/* After an up-convolution (conv.h): its y, of (2 height + 1) x (2 width + 1) pixels, is padded by 1
 * and filtered: out[Y,X] = sum_{s,t=0..3} f[s] f[t] y[Y+s-1,X+t-1].
 *   phase  [4, plane], the phases of one channel, rows of pitch floats
 *   out    [2 height, 2 width] */
void fir_join_cpu(float *out, const float *phase, size_t plane, size_t pitch, int height, int width,
                  float *scratch);

/* The picture so far, doubled: out[2i] = (x[i-1] + 3x[i]) / 4, out[2i+1] = (3x[i] + x[i+1]) / 4 on
 * each axis.
 *   x  [height, width]      out  [2 height, 2 width] */
void fir_double_cpu(float *out, const float *x, int height, int width, float *scratch);

#endif
