/* The convolutions against their definitions: in double, from the header's formulas, and to the bit
 * in the order that the header states. */
#include "kernels/conv.h"
#include "tests/kit_floats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum layout { PYTORCH, TENSORFLOW, MIRRORED };

enum with { SHARED_X = 1, SCALE = 2, SHIFT = 4, WEIGHT_SCALE = 8, APART = 16 };

struct trial {
    struct conv_shape shape;
    int samples;
    enum layout layout;
    unsigned with;
};

static const int THREADS[] = { 1, 2, 7, 64 };

enum { THREAD_COUNTS = sizeof THREADS / sizeof THREADS[0], SAMPLES_MAX = 9 };

/* A trial's data, and what must come out of it: [samples, out, phases, rows, rows]. */
struct bench {
    const struct trial *trial;
    struct conv_shape shape;
    int phases, rows;
    float *kernel;                  /* W[o,i,a,b], row-major */
    float *stored;                  /* the same as the layout has it */
    float *weight_scale;
    struct conv_weights weights;
    float *x, *scale, *shift;
    size_t x_each, scale_each;
    size_t count;
    float *bits;
    double *exact, *size;           /* size: the sum of its terms' absolute values */
    char name[160];
};

static void name_trial(struct bench *bench)
{
    static const char *const KINDS[] = { "plain", "scatter", "nearest" };
    const struct trial *t = bench->trial;

    snprintf(bench->name, sizeof bench->name,
             "%s %d to %d channels, size %d, kernel %d, pad %d, %d samples, layout %d, with %u",
             KINDS[t->shape.kind], t->shape.in, t->shape.out, t->shape.size, t->shape.kernel,
             t->shape.pad, t->samples, (int)t->layout, t->with);
}

static int rows_of(const struct conv_shape *n)
{
    switch (n->kind) {
    case CONV_UP_SCATTER: return n->size + 1;
    case CONV_UP_NEAREST: return n->size;
    default: return n->size + 2 * n->pad + 1 - n->kernel;
    }
}

/* ---- The definitions ---- */

static float weight_at(const struct bench *b, int o, int i, int row, int column)
{
    int k = b->shape.kernel;

    return b->kernel[((o * b->shape.in + i) * k + row) * k + column];
}

static float times_scale(const struct bench *b, int o, float weight)
{
    return b->weight_scale ? weight * b->weight_scale[o] : weight;
}

/* The input as the convolution sees it: scaled, shifted, and 0 outside. */
static float input_at(const struct bench *b, int sample, int i, int y, int x)
{
    int size = b->shape.size;
    const float *plane = b->x + (size_t)sample * b->x_each + (size_t)i * size * size;
    size_t at = (size_t)sample * b->scale_each + (size_t)i;

    if (y < 0 || x < 0 || y >= size || x >= size)
        return 0.0f;
    return fmaf(plane[y * size + x], b->scale ? b->scale[at] : 1.0f,
                b->shift ? b->shift[at] : 0.0f);
}

/* The same in double. */
static double exact_input(const struct bench *b, int sample, int i, int y, int x)
{
    int size = b->shape.size;
    const float *plane = b->x + (size_t)sample * b->x_each + (size_t)i * size * size;
    size_t at = (size_t)sample * b->scale_each + (size_t)i;

    if (y < 0 || x < 0 || y >= size || x >= size)
        return 0.0;
    return (double)plane[y * size + x] * (b->scale ? (double)b->scale[at] : 1.0) +
           (b->shift ? (double)b->shift[at] : 0.0);
}

/* The pixel of x that kernel row (or column) a brings to row Y of the whole y; -1000: none. */
static int source(const struct conv_shape *n, int y, int a)
{
    switch (n->kind) {
    case CONV_UP_SCATTER: return (y - a) % 2 == 0 ? (y - a) / 2 : -1000;
    case CONV_UP_NEAREST: return y + a - 1 < 0 ? -1000 : (y + a - 1) / 2;
    default: return y + a - n->pad;
    }
}

/* y[o,Y,X], one term for each of W's. */
static double exact_at(const struct bench *b, int sample, int o, int y, int x, double *size)
{
    int k = b->shape.kernel;
    double sum = 0.0;

    *size = 0.0;
    for (int i = 0; i < b->shape.in; i++)
        for (int t = 0; t < k * k; t++) {
            double term = (double)weight_at(b, o, i, t / k, t % k) *
                          (b->weight_scale ? (double)b->weight_scale[o] : 1.0) *
                          exact_input(b, sample, i, source(&b->shape, y, t / k),
                                      source(&b->shape, x, t % k));

            sum += term;
            *size += fabs(term);
        }
    return sum;
}

/* The same as one chain: PLAIN and SCATTER have a tap for each weight. */
static float chain_at(const struct bench *b, int sample, int o, int y, int x)
{
    int k = b->shape.kernel;
    float sum = 0.0f;

    for (int i = 0; i < b->shape.in; i++)
        for (int row = 0; row < k; row++)
            for (int column = 0; column < k; column++)
                sum = fmaf(times_scale(b, o, weight_at(b, o, i, row, column)),
                           input_at(b, sample, i, source(&b->shape, y, row),
                                    source(&b->shape, x, column)), sum);
    return sum;
}

/* And NEAREST: the weights that meet the same pixel are one. */
static float nearest_chain_at(const struct bench *b, int sample, int o, int y, int x)
{
    int top = (y + 1) / 2 - 1, left = (x + 1) / 2 - 1;
    float sum = 0.0f;

    for (int i = 0; i < b->shape.in; i++)
        for (int t = 0; t < 4; t++) {
            float weight = 0.0f;

            for (int row = 0; row < 3; row++)
                for (int column = 0; column < 3; column++)
                    if ((y + row + 1) / 2 - 1 == top + t / 2 &&
                        (x + column + 1) / 2 - 1 == left + t % 2)
                        weight += weight_at(b, o, i, row, column);
            sum = fmaf(times_scale(b, o, weight), input_at(b, sample, i, top + t / 2, left + t % 2),
                       sum);
        }
    return sum;
}

static void define(struct bench *b)
{
    int stride = b->phases == 1 ? 1 : 2;
    size_t at = 0;

    for (int s = 0; s < b->trial->samples; s++)
        for (int o = 0; o < b->shape.out; o++)
            for (int p = 0; p < b->phases; p++)
                for (int m = 0; m < b->rows; m++)
                    for (int n = 0; n < b->rows; n++, at++) {
                        int y = stride * m + p / 2, x = stride * n + p % 2;

                        b->exact[at] = exact_at(b, s, o, y, x, &b->size[at]);
                        b->bits[at] = b->shape.kind == CONV_UP_NEAREST
                                          ? nearest_chain_at(b, s, o, y, x)
                                          : chain_at(b, s, o, y, x);
                    }
}

/* ---- Making a trial ---- */

/* Writes the kernel down as a model would have it. */
static void lay_out(struct bench *b)
{
    const struct conv_shape *n = &b->shape;
    int k = n->kernel;
    size_t count = (size_t)n->out * (size_t)n->in * (size_t)(k * k);
    struct conv_weights *w = &b->weights;

    b->stored = guarded_create(count);
    *w = (struct conv_weights){ .data = b->stored, .scale = b->weight_scale };
    switch (b->trial->layout) {
    case PYTORCH:                   /* [out,in,k,k] */
    case MIRRORED:
        w->out = (ptrdiff_t)n->in * k * k;
        w->in = (ptrdiff_t)k * k;
        w->row = k;
        w->column = 1;
        break;
    case TENSORFLOW:                /* [k,k,in,out] */
        w->out = 1;
        w->in = n->out;
        w->column = (ptrdiff_t)n->in * n->out;
        w->row = (ptrdiff_t)k * n->in * n->out;
        break;
    }
    if (b->trial->layout == MIRRORED) {
        w->data += (k - 1) * (w->row + w->column);
        w->row = -w->row;
        w->column = -w->column;
    }
    for (int o = 0; o < n->out; o++)
        for (int i = 0; i < n->in; i++)
            for (int t = 0; t < k * k; t++)
                b->stored[w->data - b->stored + o * w->out + i * w->in + t / k * w->row +
                          t % k * w->column] = weight_at(b, o, i, t / k, t % k);
}

static struct bench bench_create(const struct trial *trial)
{
    struct bench b = { .trial = trial, .shape = trial->shape };
    size_t in = (size_t)b.shape.in, plane = (size_t)b.shape.size * (size_t)b.shape.size;
    size_t samples = (size_t)trial->samples, apart = trial->with & APART ? 5 : 0;

    name_trial(&b);
    b.phases = b.shape.kind == CONV_PLAIN ? 1 : 4;
    b.rows = rows_of(&b.shape);
    b.kernel = guarded_even((size_t)(b.shape.out * b.shape.in * b.shape.kernel * b.shape.kernel),
                            1);
    if (trial->with & WEIGHT_SCALE)
        b.weight_scale = guarded_even((size_t)b.shape.out, 2);
    b.x_each = trial->with & SHARED_X ? 0 : in * plane + apart;
    b.scale_each = in + apart;
    b.x = guarded_even((samples - 1) * b.x_each + in * plane, 3);
    if (trial->with & SCALE)
        b.scale = guarded_even((samples - 1) * b.scale_each + in, 4);
    if (trial->with & SHIFT)
        b.shift = guarded_even((samples - 1) * b.scale_each + in, 5);
    b.count = samples * (size_t)(b.shape.out * b.phases * b.rows * b.rows);
    b.bits = guarded_create(b.count);
    b.exact = malloc(b.count * sizeof *b.exact);
    b.size = malloc(b.count * sizeof *b.size);
    assert_true(b.exact && b.size);
    lay_out(&b);
    define(&b);
    return b;
}

static void bench_release(struct bench *b)
{
    guarded_release(b->kernel);
    guarded_release(b->stored);
    guarded_release(b->weight_scale);
    guarded_release(b->x);
    guarded_release(b->scale);
    guarded_release(b->shift);
    guarded_release(b->bits);
    free(b->exact);
    free(b->size);
}

/* ---- Running one ---- */

/* What store was given. */
struct sink {
    const struct bench *bench;
    float *y;                       /* as bench's bits */
    unsigned char *calls;           /* [samples, out, phases, rows] */
};

static void take(void *arg, int sample, int channel, int phase, int first, int rows, const float *y,
                 size_t pitch)
{
    struct sink *sink = arg;
    const struct bench *b = sink->bench;
    size_t width = (size_t)b->rows;
    size_t at = ((size_t)(sample * b->shape.out + channel) * (size_t)b->phases + (size_t)phase) *
                    width + (size_t)first;

    if (sample < 0 || sample >= b->trial->samples || channel < 0 || channel >= b->shape.out ||
        phase < 0 || phase >= b->phases || first < 0 || rows < 1 || first + rows > b->rows)
        fail_msg("%s: stored sample %d, channel %d, phase %d, rows %d to %d", b->name, sample,
                 channel, phase, first, first + rows - 1);
    for (int r = 0; r < rows; r++, at++) {
        memcpy(sink->y + at * width, y + (size_t)r * pitch, width * sizeof *y);
        sink->calls[at]++;
    }
}

/* All items, the last first: none may count on the ones before it. */
static void run(const struct bench *b, const struct conv *conv, int threads)
{
    struct conv_tiling tiling = conv_tile(conv, b->trial->samples, threads);
    size_t lines = b->count / (size_t)b->rows;
    struct sink sink = { b, guarded_create(b->count), calloc(lines, 1) };
    struct conv_job job = { .conv = conv, .samples = b->trial->samples, .x = b->x,
                            .x_each = b->x_each, .scale = b->scale, .shift = b->shift,
                            .scale_each = b->scale_each, .store = take, .arg = &sink };
    float *scratch = guarded_create(tiling.scratch_floats);

    assert_non_null(sink.calls);
    assert_true(tiling.scratch_floats <= conv_scratch_count(conv, b->trial->samples, threads));
    assert_true(tiling.scratch_floats <= conv_scratch_count(conv, SAMPLES_MAX, threads));
    for (size_t index = tiling.items; index-- > 0;)
        conv_cpu(&job, &tiling, index, scratch);
    for (size_t i = 0; i < lines; i++)
        if (sink.calls[i] != 1)
            fail_msg("%s, %d threads: row %zu was stored %d times", b->name, threads, i,
                     sink.calls[i]);
    assert_same_bits(sink.y, b->bits, b->count, b->name);
    guarded_release(scratch);
    guarded_release(sink.y);
    free(sink.calls);
}

static void check(const struct trial *trial)
{
    struct bench b = bench_create(trial);
    struct conv conv;
    struct err e;

    /* a chain of n steps is off by n * 2^-24 at most, and its terms by 3 * 2^-24: 1e-5 is far more
     * than 130 * 9 steps ever come to */
    assert_near(b.bits, b.exact, b.size, 1e-5, b.count, b.name);
    assert_int_equal(conv_init(&conv, &trial->shape, &b.weights, &e), ERR_OK);
    assert_int_equal(conv.rows, b.rows);
    assert_int_equal(conv.phases, b.phases);
    guarded_clear(b.stored);        /* nothing of the weights is needed any more */
    if (b.weight_scale)
        guarded_clear(b.weight_scale);
    /* each tiling at one level; the slower ones with some */
    for (int level = 0, levels = levels_here(); level < levels; level++)
        for (int t = 0; t < THREAD_COUNTS; t += level < levels - 1 ? 2 : 1) {
            simd_limit((enum simd_level)level);
            run(&b, &conv, THREADS[t]);
        }
    conv_release(&conv);
    bench_release(&b);
}

/* ---- Tests ---- */

static struct conv_shape plain(int in, int out, int size, int kernel, int pad)
{
    return (struct conv_shape){ CONV_PLAIN, in, out, size, kernel, pad };
}

static struct conv_shape up(enum conv_kind kind, int in, int out, int size)
{
    return (struct conv_shape){ kind, in, out, size, 3, 0 };
}

static void every_number_of_channels_is_its_definition(void **state)
{
    static const int CHANNELS[] = { 1, 3, 7, 8, 9, 20 };

    (void)state;
    for (int i = 0; i < 36; i++) {
        int in = CHANNELS[i / 6], out = CHANNELS[i % 6];

        check(&(struct trial){ plain(in, out, 5, 3, 1), 2, PYTORCH, SCALE });
        check(&(struct trial){ plain(in, out, 4, 1, 0), 1, TENSORFLOW, SHIFT });
        check(&(struct trial){ up(CONV_UP_SCATTER, in, out, 4), 1, MIRRORED, WEIGHT_SCALE });
        check(&(struct trial){ up(CONV_UP_NEAREST, in, out, 3), 2, TENSORFLOW, SCALE | SHIFT });
    }
}

static void every_size_is_its_definition(void **state)
{
    (void)state;
    for (int size = 1; size <= 70; size += size < 20 ? 1 : 5) {
        check(&(struct trial){ plain(2, 1, size, 3, 1), 1, PYTORCH, SCALE | SHIFT });
        check(&(struct trial){ plain(1, 2, size, 3, 2), 2, PYTORCH, SHIFT });
        if (size >= 3)
            check(&(struct trial){ plain(1, 1, size, 3, 0), 2, PYTORCH, SHIFT });
        check(&(struct trial){ plain(3, 1, size, 1, 0), 1, PYTORCH, 0 });
        check(&(struct trial){ up(CONV_UP_SCATTER, 1, 1, size), 1, MIRRORED, SCALE | SHIFT });
        check(&(struct trial){ up(CONV_UP_NEAREST, 1, 1, size), 1, MIRRORED, SHIFT });
    }
}

static void frame_of_a_kernel_of_one_pixel_is_zero(void **state)
{
    (void)state;
    for (int pad = 1; pad <= 2; pad++)
        for (int size = 1; size <= 14; size++)
            check(&(struct trial){ plain(2, 9, size, 1, pad), 2, PYTORCH, SHIFT });
}

static void any_number_of_samples_gives_the_same_bits(void **state)
{
    (void)state;
    for (int samples = 1; samples <= SAMPLES_MAX; samples++)
        for (unsigned with = 0; with < 32; with += samples % 2 ? 7 : 5) {
            check(&(struct trial){ plain(3, 9, 6, 3, 1), samples, PYTORCH, with });
            check(&(struct trial){ plain(2, 3, 9, 3, 2), samples, MIRRORED, with });
            check(&(struct trial){ up(CONV_UP_SCATTER, 3, 2, 4), samples, TENSORFLOW, with });
            check(&(struct trial){ up(CONV_UP_NEAREST, 2, 3, 4), samples, PYTORCH, with });
        }
}

/* Fails when the case no longer cuts anything: then it shows nothing. */
static void check_cut(const struct trial *trial, int row_tiles, int out_tiles, int sample_tiles)
{
    struct bench b = bench_create(trial);
    struct conv conv;
    struct err e;
    struct conv_tiling tiling;

    assert_int_equal(conv_init(&conv, &trial->shape, &b.weights, &e), ERR_OK);
    tiling = conv_tile(&conv, trial->samples, 7);
    if (tiling.row_tiles < row_tiles || tiling.out_tiles < out_tiles ||
        tiling.sample_tiles < sample_tiles)
        fail_msg("%s: %d bands of rows, %d of outputs, %d of samples", b.name, tiling.row_tiles,
                 tiling.out_tiles, tiling.sample_tiles);
    conv_release(&conv);
    bench_release(&b);
    check(trial);
}

static void bands_of_rows_outputs_and_samples_meet_without_a_seam(void **state)
{
    (void)state;
    check_cut(&(struct trial){ plain(1, 60, 69, 3, 1), 1, PYTORCH, SHIFT }, 2, 1, 1);
    check_cut(&(struct trial){ plain(2, 70, 63, 1, 0), 2, PYTORCH, SHIFT | SHARED_X }, 2, 1, 2);
    check_cut(&(struct trial){ plain(3, 66, 58, 1, 0), 1, TENSORFLOW, SCALE }, 2, 1, 1);
    check_cut(&(struct trial){ plain(9, 70, 8, 3, 1), 3, MIRRORED, SHIFT }, 1, 2, 1);
    check_cut(&(struct trial){ plain(1, 100, 21, 3, 0), 5, PYTORCH, 0 }, 1, 2, 2);
    check_cut(&(struct trial){ up(CONV_UP_SCATTER, 1, 20, 51), 1, PYTORCH, SHIFT }, 2, 1, 1);
    check_cut(&(struct trial){ up(CONV_UP_NEAREST, 1, 9, 70), 1, TENSORFLOW, SHIFT }, 2, 1, 1);
    check_cut(&(struct trial){ up(CONV_UP_NEAREST, 1, 70, 20), 2, PYTORCH, SCALE }, 1, 2, 2);
}

static void chunks_of_input_channels_are_one_sum(void **state)
{
    (void)state;
    check(&(struct trial){ plain(130, 9, 6, 3, 1), 2, PYTORCH, SCALE | SHIFT });
    check(&(struct trial){ plain(65, 3, 7, 1, 0), 1, TENSORFLOW, SHIFT });
    check(&(struct trial){ plain(20, 1, 70, 3, 1), 1, PYTORCH, 0 });
    check(&(struct trial){ up(CONV_UP_SCATTER, 70, 8, 5), 1, TENSORFLOW, SCALE });
    check(&(struct trial){ up(CONV_UP_NEAREST, 129, 1, 4), 2, MIRRORED, 0 });
}

/* By hand: pixel (1,1) brings the kernel as it is, its corner at row and column 2 of y. */
static void one_bright_pixel_shows_the_kernel(void **state)
{
    enum { SIZE = 3, CENTRE = 4 };
    static const float KERNEL[9] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    struct trial trial = { up(CONV_UP_SCATTER, 1, 1, SIZE), 1, PYTORCH, 0 };
    struct bench b = bench_create(&trial);
    struct conv conv;
    struct err e;

    (void)state;
    memcpy(b.stored, KERNEL, sizeof KERNEL);
    memset(b.x, 0, SIZE * SIZE * sizeof *b.x);
    b.x[CENTRE] = 1.0f;
    for (int p = 0, at = 0; p < 4; p++)
        for (int i = 0; i < (SIZE + 1) * (SIZE + 1); i++, at++) {
            int row = 2 * (i / (SIZE + 1)) + p / 2 - 2, column = 2 * (i % (SIZE + 1)) + p % 2 - 2;

            b.bits[at] = row >= 0 && row < 3 && column >= 0 && column < 3 ? KERNEL[3 * row + column]
                                                                          : 0.0f;
        }
    assert_int_equal(conv_init(&conv, &trial.shape, &b.weights, &e), ERR_OK);
    run(&b, &conv, 1);
    conv_release(&conv);
    bench_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_of_channels_is_its_definition),
        cmocka_unit_test(every_size_is_its_definition),
        cmocka_unit_test(frame_of_a_kernel_of_one_pixel_is_zero),
        cmocka_unit_test(any_number_of_samples_gives_the_same_bits),
        cmocka_unit_test(bands_of_rows_outputs_and_samples_meet_without_a_seam),
        cmocka_unit_test(chunks_of_input_channels_are_one_sum),
        cmocka_unit_test(one_bright_pixel_shows_the_kernel),
    };

    return cmocka_run_group_tests_name("conv", tests, NULL, levels_restore);
}
