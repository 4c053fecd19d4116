/* conv_phases -- what the versions of conv share: how many phases a convolution has, which pixels
 * each reads, and the weights that meet them there (conv.h has the formulas). */
#ifndef KERNELS_CONV_PHASES_H
#define KERNELS_CONV_PHASES_H

#include "kernels/conv.h"

/* The taps of a phase, rows before columns. */
struct conv_taps {
    int count;
    int dy[CONV_TAPS_MAX], dx[CONV_TAPS_MAX];   /* input pixel = pixel of the phase + these */
    /* The kernel's rows and columns whose weights a tap sums. */
    struct { int first, last; } rows[CONV_TAPS_MAX], columns[CONV_TAPS_MAX];
};

int conv_phase_count(const struct conv_shape *shape);
/* Rows, and columns, of each phase. */
int conv_phase_rows(const struct conv_shape *shape);
struct conv_taps conv_phase_taps(const struct conv_shape *shape, int phase);
/* Tap t's weight between output o and input i: the sum in row-major order, then the scale. */
float conv_tap_weight(const struct conv_taps *taps, int t, const struct conv_weights *weights,
                      int o, int i);

#endif
