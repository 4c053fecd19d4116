#include "kernels/conv_phases.h"

int conv_phase_count(const struct conv_shape *shape)
{
    return shape->kind == CONV_PLAIN ? 1 : 4;
}

int conv_phase_rows(const struct conv_shape *shape)
{
    return shape->kind == CONV_PLAIN ? shape->size + 2 * shape->pad + 1 - shape->kernel
                                     : shape->size + (shape->kind == CONV_UP_SCATTER);
}

/* One axis of a tap: an offset, and a range of the kernel's rows (or columns). */
struct axis_tap {
    int offset, first, last;
};

/* The taps of phase p of an axis; returns how many. */
static int axis_taps(const struct conv_shape *shape, int p, struct axis_tap tap[3])
{
    int taps = 0;

    switch (shape->kind) {
    case CONV_PLAIN:
        for (; taps < shape->kernel; taps++)
            tap[taps] = (struct axis_tap){ taps - shape->pad, taps, taps };
        break;
    case CONV_UP_SCATTER:
        /* y[2m+p] gets kernel row a from input row m - (a - p) / 2, where a - p is even */
        for (int a = p; a < 3; a += 2, taps++)
            tap[taps] = (struct axis_tap){ -(a - p) / 2, a, a };
        break;
    case CONV_UP_NEAREST:
        /* y[2m+p] sees input rows m-1+p and m+p, one of them through two kernel rows */
        tap[taps++] = (struct axis_tap){ p - 1, 0, p };
        tap[taps++] = (struct axis_tap){ p, 1 + p, 2 };
        break;
    }
    return taps;
}

struct conv_taps conv_phase_taps(const struct conv_shape *shape, int phase)
{
    struct axis_tap down[3], across[3];
    int high = axis_taps(shape, phase / 2, down), wide = axis_taps(shape, phase % 2, across);
    struct conv_taps taps = { .count = high * wide };

    for (int t = 0; t < taps.count; t++) {
        const struct axis_tap *row = &down[t / wide], *column = &across[t % wide];

        taps.dy[t] = row->offset;
        taps.dx[t] = column->offset;
        taps.rows[t].first = row->first;
        taps.rows[t].last = row->last;
        taps.columns[t].first = column->first;
        taps.columns[t].last = column->last;
    }
    return taps;
}

float conv_tap_weight(const struct conv_taps *taps, int t, const struct conv_weights *weights,
                      int o, int i)
{
    float sum = 0.0f;

    for (int a = taps->rows[t].first; a <= taps->rows[t].last; a++)
        for (int b = taps->columns[t].first; b <= taps->columns[t].last; b++)
            sum += weights->data[o * weights->out + i * weights->in + a * weights->row +
                                 b * weights->column];
    return weights->scale ? sum * weights->scale[o] : sum;
}
