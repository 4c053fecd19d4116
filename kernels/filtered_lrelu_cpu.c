#include "kernels/filtered_lrelu.h"

#include "kernels/lrelu.h"
#include "kernels/simd.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    TAPS = FILTERED_LRELU_TAPS,
    DOWN_TAPS = FILTERED_LRELU_DOWN_TAPS,
    HALF = DOWN_TAPS / 2,
    ALIGN = 16,
    SLACK = 64,                 /* floats that a run may touch behind a row */
    RING = 32,                  /* rows of u, or of u down-sampled in x, that are kept */
    BLOCK = 4,                  /* rows of y that a radial filter makes at a time */
    BLOCK_ROWS = 2 * (BLOCK - 1) + DOWN_TAPS,
    RUN = 64,                   /* columns of a radial step */
};

static int divide_up(int value, int by)     /* by > 0; toward plus infinity */
{
    return value >= 0 ? (value + by - 1) / by : -(-value / by);
}

static size_t round_up(size_t value)
{
    return (value + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- Preparing ---- */

static enum err_code read_radial(struct filtered_lrelu *self, const float *filter, struct err *e)
{
    float most = 0.0f;

    for (int i = 0; i < DOWN_TAPS * DOWN_TAPS; i++)
        most = fabsf(filter[i]) > most ? fabsf(filter[i]) : most;
    for (int y = 0; y < DOWN_TAPS; y++)
        for (int x = 0; x < HALF; x++) {
            /* the last row first: a filter is applied as a convolution */
            const float *row = filter + (DOWN_TAPS - 1 - y) * DOWN_TAPS;
            float a = row[DOWN_TAPS - 1 - x], b = row[x];

            if (fabsf(a - b) > 1e-5f * most)
                return err_set(e, ERR_UNSUPPORTED,
                               "down_filter [%d,%d] is not symmetric: %g and %g", y, x, (double)a,
                               (double)b);
            self->half_tap[y][x] = 0.5f * (a + b);
        }
    return ERR_OK;
}

enum err_code filtered_lrelu_init(struct filtered_lrelu *self,
                                  const struct filtered_lrelu_shape *shape, const float *up_filter,
                                  const float *down_filter, struct err *e)
{
    int up = shape->up, taps = TAPS * shape->up;

    if ((up != 2 && up != 4) || shape->down != FILTERED_LRELU_DOWN)
        return err_set(e, ERR_UNSUPPORTED,
                       "up by %d and down by %d is not supported; up by 2 or 4 and down by 2 are",
                       up, shape->down);
    if (shape->up_taps != taps || shape->down_taps != DOWN_TAPS)
        return err_set(e, ERR_UNSUPPORTED, "filters of %d and %d taps are not supported; %d and "
                       "%d are", shape->up_taps, shape->down_taps, taps, DOWN_TAPS);
    *self = (struct filtered_lrelu){ .in = shape->in, .out = shape->out, .up = up,
                                     .pad_lo = shape->pad_lo, .radial = shape->radial,
                                     .gain = shape->gain, .clamp = shape->clamp };
    for (int p = 0; p < up; p++) {
        self->start[p] = divide_up(p - shape->pad_lo, up);
        for (int t = 0; t < TAPS; t++) {
            int k = (self->start[p] + t) * up + shape->pad_lo - p;

            self->up_tap[p][t] = (float)up * up_filter[taps - 1 - k];
        }
    }
    if (shape->radial)
        return read_radial(self, down_filter, e);
    for (int t = 0; t < DOWN_TAPS; t++)
        self->down_tap[t] = down_filter[DOWN_TAPS - 1 - t];
    return ERR_OK;
}

/* ---- Memory of a call ---- */

/* Values of each phase of a row of u. */
static int phase_count(const struct filtered_lrelu *self)
{
    return divide_up(2 * (self->out - 1) + DOWN_TAPS, self->up);
}

/* Zeros before x[0] in a line. */
static int guard(const struct filtered_lrelu *self)
{
    return self->start[0] < 0 ? -self->start[0] : 0;
}

static size_t line_count(const struct filtered_lrelu *self)
{
    int reach = phase_count(self) + self->start[self->up - 1] + TAPS;

    return round_up((size_t)guard(self) + (size_t)(reach > self->in ? reach : self->in) + SLACK);
}

/* Floats of a phase of a row of u, and of a row down-sampled in x. */
static size_t row_count(const struct filtered_lrelu *self)
{
    return round_up((size_t)phase_count(self) + SLACK);
}

size_t filtered_lrelu_scratch_count(const struct filtered_lrelu *self)
{
    return line_count(self) + round_up((size_t)self->in) +
           ((size_t)RING + BLOCK) * (size_t)self->up * row_count(self);
}

struct work {
    const struct filtered_lrelu *f;
    const float *x;
    float *line;                /* one row of x, filtered in y, with zeros on both sides */
    float *zero;                /* a row of x that is outside */
    float *ring;                /* [RING][up][row_count] */
    float *rows;                /* [BLOCK][up][row_count]: what is not kept */
    size_t row;                 /* row_count */
    int broken;
};

static float *ring_row(const struct work *work, int v)
{
    return work->ring + (size_t)(v % RING) * (size_t)work->f->up * work->row;
}

/* ---- Up, and the activation ---- */

SIMD_ANY filter_y_any(float *restrict out, const float *const row[TAPS], const float *tap,
                      int count)
{
    for (int i = 0; i < count; i++) {
        float sum = tap[0] * row[0][i];

        for (int t = 1; t < TAPS; t++)
            sum = fmaf(tap[t], row[t][i], sum);
        out[i] = sum;
    }
}
SIMD_VERSIONS(filter_y, (float *restrict out, const float *const row[TAPS], const float *tap,
                         int count), (out, row, tap, count))

SIMD_ANY filter_x_any(float *restrict out, const float *x, const float *tap, int count, float gain,
                      float limit, int *broken)
{
    int bad = 0;

    for (int q = 0; q < count; q++) {
        float v = tap[0] * x[q];

        for (int t = 1; t < TAPS; t++)
            v = fmaf(tap[t], x[q + t], v);
        v = lrelu(v, gain);
        bad += !(fabsf(v) <= FLT_MAX);
        v = v > limit ? limit : v;
        out[q] = v < -limit ? -limit : v;
    }
    *broken += bad;
}
SIMD_VERSIONS(filter_x, (float *restrict out, const float *x, const float *tap, int count,
                         float gain, float limit, int *broken),
              (out, x, tap, count, gain, limit, broken))

/* Row v of u, its columns by phase: out[p][q] = u[v][up q + p]. */
static void make_row(struct work *work, int v, float *out)
{
    const struct filtered_lrelu *f = work->f;
    float limit = f->clamp > 0.0f ? f->clamp : INFINITY;
    int p = v % f->up, first = v / f->up + f->start[p];
    const float *row[TAPS];

    for (int t = 0; t < TAPS; t++) {
        bool inside = first + t >= 0 && first + t < f->in;

        row[t] = inside ? work->x + (size_t)(first + t) * (size_t)f->in : work->zero;
    }
    filter_y(work->line + guard(f), row, f->up_tap[p], f->in);
    for (int q = 0; q < f->up; q++)
        filter_x(out + (size_t)q * work->row, work->line + guard(f) + f->start[q], f->up_tap[q],
                 phase_count(f), f->gain, limit, &work->broken);
}

/* ---- Down ---- */

/* Where column 2 (K m + r) + t of u lies in a row by phases, for m = 0; K = up / 2. */
static size_t column_at(const struct work *work, int r, int t)
{
    int column = 2 * r + t;

    return (size_t)(column % work->f->up) * work->row + (size_t)(column / work->f->up);
}

/* Values of y's row that share r. */
static int share_count(const struct filtered_lrelu *self)
{
    return divide_up(self->out, self->up / 2);
}

/* y[K m + r] = from[r][m], from's rows `pitch` apart. */
static void write_row(const struct filtered_lrelu *self, float *y, const float *from, size_t pitch)
{
    if (self->up == 2) {
        memcpy(y, from, (size_t)self->out * sizeof *y);
        return;
    }
    for (int m = 0; m < self->out / 2; m++) {
        y[2 * m] = from[m];
        y[2 * m + 1] = from[pitch + (size_t)m];
    }
    if (self->out % 2)
        y[self->out - 1] = from[self->out / 2];
}

SIMD_ANY sum_rows_any(float *restrict out, const float *const row[DOWN_TAPS], const float *tap,
                      int count)
{
    for (int i = 0; i < count; i++) {
        float sum = tap[0] * row[0][i];

        for (int t = 1; t < DOWN_TAPS; t++)
            sum = fmaf(tap[t], row[t][i], sum);
        out[i] = sum;
    }
}
SIMD_VERSIONS(sum_rows, (float *restrict out, const float *const row[DOWN_TAPS], const float *tap,
                         int count), (out, row, tap, count))

static void filter_separable(struct work *work, float *y)
{
    const struct filtered_lrelu *f = work->f;
    const float *tap[DOWN_TAPS];
    int made = 0;

    for (int m = 0; m < f->out; m++, y += f->out) {
        for (; made < 2 * m + DOWN_TAPS; made++) {
            make_row(work, made, work->rows);
            for (int r = 0; r < f->up / 2; r++) {
                for (int t = 0; t < DOWN_TAPS; t++)
                    tap[t] = work->rows + column_at(work, r, t);
                sum_rows(ring_row(work, made) + (size_t)r * work->row, tap, f->down_tap,
                         share_count(f));
            }
        }
        for (int r = 0; r < f->up / 2; r++) {
            for (int t = 0; t < DOWN_TAPS; t++)
                tap[t] = ring_row(work, 2 * m + t) + (size_t)r * work->row;
            sum_rows(work->rows + (size_t)r * work->row, tap, f->down_tap, share_count(f));
        }
        write_row(f, y, work->rows, work->row);
    }
}

/* BLOCK rows of y from BLOCK_ROWS rows of u. Each pair of mirrored columns is added once and serves
 * all rows; tap has a row of zeros wherever a row of u is not one of y's. */
struct radial {
    const float *row[BLOCK_ROWS];
    size_t left[HALF], right[HALF];     /* in a row: the columns of a pair */
    const float (*tap)[HALF];           /* [row of u + 2 (BLOCK - 1)], see radial_taps */
    float *out;                         /* [BLOCK], pitch apart */
    size_t pitch;
};

SIMD_ANY radial_rows_any(const struct radial *p, int count)
{
    for (int at = 0; at < count; at += RUN) {
        float sum[BLOCK][RUN] = { { 0 } };

        for (int v = 0; v < BLOCK_ROWS; v++)
            for (int t = 0; t < HALF; t++) {
                const float *left = p->row[v] + p->left[t] + at;
                const float *right = p->row[v] + p->right[t] + at;
                float both[RUN];

                for (int i = 0; i < RUN; i++)
                    both[i] = left[i] + right[i];
                for (int m = 0; m < BLOCK; m++) {
                    float tap = p->tap[v + 2 * (BLOCK - 1 - m)][t];

                    for (int i = 0; i < RUN; i++)
                        sum[m][i] = fmaf(tap, both[i], sum[m][i]);
                }
            }
        for (int m = 0; m < BLOCK; m++)
            memcpy(p->out + (size_t)m * p->pitch + at, sum[m], sizeof sum[m]);
    }
}
SIMD_VERSIONS(radial_rows, (const struct radial *p, int count), (p, count))

enum { RADIAL_TAPS = BLOCK_ROWS + 2 * (BLOCK - 1) };

static void filter_radial(struct work *work, float *y)
{
    const struct filtered_lrelu *f = work->f;
    float tap[RADIAL_TAPS][HALF] = { { 0 } };
    int made = 0;

    memcpy(tap[2 * (BLOCK - 1)], f->half_tap, sizeof f->half_tap);
    for (int first = 0; first < f->out; first += BLOCK) {
        struct radial p = { .tap = (const float (*)[HALF])tap,
                            .pitch = (size_t)f->up * work->row };

        for (; made < 2 * first + BLOCK_ROWS; made++)
            make_row(work, made, ring_row(work, made));
        for (int v = 0; v < BLOCK_ROWS; v++)
            p.row[v] = ring_row(work, 2 * first + v);
        for (int r = 0; r < f->up / 2; r++) {
            for (int t = 0; t < HALF; t++) {
                p.left[t] = column_at(work, r, t);
                p.right[t] = column_at(work, r, DOWN_TAPS - 1 - t);
            }
            p.out = work->rows + (size_t)r * work->row;
            radial_rows(&p, share_count(f));
        }
        for (int m = 0; m < BLOCK && first + m < f->out; m++, y += f->out)
            write_row(f, y, work->rows + (size_t)m * p.pitch, work->row);
    }
}

bool filtered_lrelu_cpu(const struct filtered_lrelu *self, float *y, const float *x, float *scratch)
{
    struct work work = { .f = self, .x = x, .line = scratch, .row = row_count(self) };

    work.zero = work.line + line_count(self);
    work.rows = work.zero + round_up((size_t)self->in);
    work.ring = work.rows + (size_t)BLOCK * (size_t)self->up * work.row;
    memset(scratch, 0, (line_count(self) + (size_t)self->in) * sizeof *scratch);
    if (self->radial)
        filter_radial(&work, y);
    else
        filter_separable(&work, y);
    return work.broken == 0;
}
