/* fir -- the short filters that StyleGAN 1 and 2 use wherever they double a size, on the CPU.
 * Separable: columns first, then rows, each sum from the first tap to the last, fused.
 * Source: StyleGAN2-ADA upfirdn2d with setup_filter([1,3,3,1]); StyleGAN blur2d with [1,2,1]. */
#ifndef KERNELS_FIR_H
#define KERNELS_FIR_H

#include <stddef.h>

/* Floats of scratch that either function needs for an input of width pixels. */
size_t fir_scratch_count(int width);

/* An up-convolution's y, of `rows` rows and columns in each of its four phases (conv.h). */
struct fir_phases {
    const float *data;          /* [4, plane], rows of `rows` floats */
    size_t plane;
    int rows;
    int size;                   /* rows and columns of y: 2 rows - 1 or 2 rows */
};

/* Rows first..first+count-1 of out, each of width values, width even: y padded by 1 and filtered,
 *     out[Y,X] = sum_{s,t=0..3} f[s] f[t] y[Y+s-1,X+t-1]
 * StyleGAN 2 has f = [1,3,3,1] / 4 (the gain 4 of both axes is in it), StyleGAN 1 [1,2,1,0] / 4. */
void fir_join_cpu(float *out, const struct fir_phases *y, const float f[4], int first, int count,
                  int width, float *scratch);

/* The picture so far, doubled: out[2i] = (x[i-1] + 3x[i]) / 4, out[2i+1] = (3x[i] + x[i+1]) / 4 on
 * each axis.
 *   x  [height, width]      out  [2 height, 2 width] */
void fir_double_cpu(float *out, const float *x, int height, int width, float *scratch);

#endif
