/* conv -- the 3 x 3 convolutions of a StyleGAN 2 layer on the CPU, by definition: no transform, no
 * matrix product. One call makes CONV_ROWS output channels of one sample, so that callers can share
 * the channels out between threads.
 *
 * Modulation in the cheaper equal form: the input's channels are scaled by the style, the weights
 * stay as the model has them, and the output channels are scaled by `demod` afterwards (epilogue):
 *     corr(x, W * s)[o] = corr(x * s, W)[o],   demod[o] = 1 / sqrt(sum_{i,a,b} (W * s)^2 + 1e-8)
 * Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", eq. 1 and 3.
 *
 * Order of each output's sum: input channels ascending, in each the kernel's rows, in each its
 * columns; one product and one addition at a time. Lanes of vectors are neighbouring pixels.
 *
 * Padded planes: an input plane of height x width pixels lies in (height + 2) rows of
 * conv_pitch(width) floats, with a frame of zeros, plane after plane. A plane can so be walked as
 * one line of numbers; what falls on the frame is computed too and never looked at. */
#ifndef KERNELS_CONV_H
#define KERNELS_CONV_H

#include <stddef.h>

enum {
    CONV_ROWS = 4,      /* output channels of one call */
    CONV_LANES = 64,    /* outputs are written in runs of up to so many */
};

struct conv_shape {
    int in, out;        /* channels */
    int height, width;  /* pixels of an input plane */
};

/* Floats from one row of a padded or an output plane to the next. */
static inline size_t conv_pitch(int width)
{
    return (size_t)width + 2;
}

/* Floats of n.in padded planes, with what reading in runs touches behind the last; what is there
 * does not matter. */
size_t conv_padded_count(struct conv_shape n);
/* Floats of one output plane of conv_plain_cpu, and of one phase of conv_up_cpu. */
size_t conv_plane_count(struct conv_shape n);

/* Writes channel's padded plane: x [height, width] * style, and the frame. */
void conv_modulate_cpu(float *padded, const float *x, float style, int channel,
                       struct conv_shape n);

/* out[o,y,x] = sum_{i,a,b} weight[o,i,a,b] * in[i,y+a-1,x+b-1] for o in first..first+3, o < n.out.
 *   padded  [n.in] padded planes      weight  [n.out, n.in, 3, 3]
 *   out     [CONV_ROWS, conv_plane_count(n)], rows of conv_pitch(n.width) */
void conv_plain_cpu(float *out, const float *padded, const float *weight, struct conv_shape n,
                    int first);

/* The transposed convolution with stride 2, y[o,2m+a,2n+b] += sum_i weight[o,i,a,b] * in[i,m,n] of
 * size (2 height + 1) x (2 width + 1), as its four phases (even and odd rows and columns of y):
 *     out[r][2p+q][m,n] = y[first+r,2m+p,2n+q]
 * A phase has 4, 2, 2 or 1 of the nine taps, and (height + 1 - p) x (width + 1 - q) pixels.
 *   out  [CONV_ROWS, 4, conv_plane_count(n)], rows of conv_pitch(n.width) */
void conv_up_cpu(float *out, const float *padded, const float *weight, struct conv_shape n,
                 int first);

#endif
