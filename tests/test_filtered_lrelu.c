/* The filtered lrelu against its definition in double, from the header's formulas on the whole grid
 * with its zeros, and to the bit in the order that the header states. */
#include "kernels/filtered_lrelu.h"
#include "tests/kit_floats.h"

#include <float.h>
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

enum {
    SIZE_MAX_HERE = 60,
    DOWN = FILTERED_LRELU_DOWN,
    DOWN_TAPS = FILTERED_LRELU_DOWN_TAPS,
    UP_TAPS_MAX = FILTERED_LRELU_TAPS * FILTERED_LRELU_UP_MAX,
    U_MAX = DOWN * (SIZE_MAX_HERE - 1) + DOWN_TAPS,
};

struct trial {
    int in, out, up, pad_lo;
    bool radial;
    float gain, clamp;
};

/* A trial's data. */
struct bench {
    struct trial t;
    float up_filter[UP_TAPS_MAX], down_filter[DOWN_TAPS * DOWN_TAPS];
    float *x;                       /* [in,in] */
    char name[120];
};

static struct bench bench_create(struct trial t, uint32_t seed)
{
    struct bench b = { .t = t };

    b.x = guarded_even((size_t)(t.in * t.in), seed);
    fill_even(b.up_filter, UP_TAPS_MAX, seed + 1);
    fill_even(b.down_filter, DOWN_TAPS * DOWN_TAPS, seed + 2);
    for (int y = 0; t.radial && y < DOWN_TAPS; y++)
        for (int x = 0; x < DOWN_TAPS / 2; x++)
            b.down_filter[y * DOWN_TAPS + DOWN_TAPS - 1 - x] = b.down_filter[y * DOWN_TAPS + x];
    snprintf(b.name, sizeof b.name, "%d to %d pixels, up %d, pad %d, %s, gain %g, clamp %g", t.in,
             t.out, t.up, t.pad_lo, t.radial ? "radial" : "separable", (double)t.gain,
             (double)t.clamp);
    return b;
}

static enum err_code prepare(const struct bench *b, struct filtered_lrelu *out, struct err *e)
{
    const struct trial *t = &b->t;

    const struct filtered_lrelu_shape shape = {
        .in = t->in, .out = t->out, .up = t->up, .down = DOWN,
        .up_taps = FILTERED_LRELU_TAPS * t->up, .down_taps = DOWN_TAPS, .pad_lo = t->pad_lo,
        .radial = t->radial, .gain = t->gain, .clamp = t->clamp,
    };

    return filtered_lrelu_init(out, &shape, b->up_filter, b->down_filter, e);
}

/* What pad_lo the official code takes where nothing was cut by hand (reference: section 5). */
static int official_pad(int in, int out, int up)
{
    int total = (out - 1) * DOWN + 1 - in * up + FILTERED_LRELU_TAPS * up + DOWN_TAPS - 2;
    int both = total + up;

    return both >= 0 ? both / 2 : -((1 - both) / 2);
}

/* The pixel of x at z[j]; -1: one of the zeros. */
static int pixel_at(const struct trial *t, int j)
{
    int from = j - t->pad_lo;

    return from >= 0 && from % t->up == 0 && from / t->up < t->in ? from / t->up : -1;
}

/* ---- In double ---- */

static double tap_at(const float *filter, int taps, int k)
{
    return (double)filter[taps - 1 - k];
}

/* u[U_MAX,U_MAX], and above[] what it could be at most: the same with absolute values. */
struct exact {
    double u[U_MAX][U_MAX], above[U_MAX][U_MAX];
    double lines[U_MAX][SIZE_MAX_HERE], lines_above[U_MAX][SIZE_MAX_HERE];
};

static void exact_up(const struct bench *b, struct exact *out)
{
    const struct trial *t = &b->t;
    int taps = FILTERED_LRELU_TAPS * t->up, size = DOWN * (t->out - 1) + DOWN_TAPS;

    for (int v = 0; v < size; v++)
        for (int x = 0; x < t->in; x++) {
            double sum = 0.0, above = 0.0;

            for (int k = 0; k < taps; k++) {
                int y = pixel_at(t, v + k);
                double term = y < 0 ? 0.0 : t->up * tap_at(b->up_filter, taps, k) *
                                                (double)b->x[y * t->in + x];

                sum += term;
                above += fabs(term);
            }
            out->lines[v][x] = sum;
            out->lines_above[v][x] = above;
        }
    for (int v = 0; v < size; v++)
        for (int w = 0; w < size; w++) {
            double sum = 0.0, above = 0.0, gain = (double)t->gain;
            double limit = t->clamp > 0.0f ? (double)t->clamp : HUGE_VAL;

            for (int k = 0; k < taps; k++) {
                int x = pixel_at(t, w + k);

                if (x < 0)
                    continue;
                sum += t->up * tap_at(b->up_filter, taps, k) * out->lines[v][x];
                above += fabs(t->up * tap_at(b->up_filter, taps, k)) * out->lines_above[v][x];
            }
            sum = (sum >= 0.0 ? sum : 0.2 * sum) * gain;
            out->u[v][w] = sum > limit ? limit : sum < -limit ? -limit : sum;
            out->above[v][w] = above * gain;
        }
}

static double down_tap_at(const struct bench *b, int k, int l)
{
    if (b->t.radial)
        return (double)b->down_filter[(DOWN_TAPS - 1 - k) * DOWN_TAPS + DOWN_TAPS - 1 - l];
    return tap_at(b->down_filter, DOWN_TAPS, k) * tap_at(b->down_filter, DOWN_TAPS, l);
}

static void exact_down(const struct bench *b, const struct exact *from, double *y, double *above)
{
    for (int i = 0; i < b->t.out * b->t.out; i++) {
        int row = DOWN * (i / b->t.out), column = DOWN * (i % b->t.out);

        y[i] = above[i] = 0.0;
        for (int k = 0; k < DOWN_TAPS; k++)
            for (int l = 0; l < DOWN_TAPS; l++) {
                y[i] += down_tap_at(b, k, l) * from->u[row + k][column + l];
                above[i] += fabs(down_tap_at(b, k, l)) * from->above[row + k][column + l];
            }
    }
}

/* ---- To the bit: chains of fused steps over ascending k, without the products by zeros ---- */

struct chain {
    float u[U_MAX][U_MAX], lines[U_MAX][SIZE_MAX_HERE];
};

/* u at v of one axis, from a line of x whose values are `step` apart. */
static float chain_up_at(const struct bench *b, int v, const float *line, int step)
{
    int up = b->t.up, taps = FILTERED_LRELU_TAPS * up;
    float sum = 0.0f;

    for (int k = 0; k < taps; k++) {
        int i = pixel_at(&b->t, v + k);

        if (i >= 0)
            sum = fmaf((float)up * b->up_filter[taps - 1 - k], line[i * step], sum);
    }
    return sum;
}

static void chain_up(const struct bench *b, struct chain *out)
{
    const struct trial *t = &b->t;
    int size = DOWN * (t->out - 1) + DOWN_TAPS;

    for (int v = 0; v < size; v++) {
        for (int x = 0; x < t->in; x++)
            out->lines[v][x] = chain_up_at(b, v, b->x + x, t->in);
        for (int w = 0; w < size; w++) {
            float sum = chain_up_at(b, w, out->lines[v], 1);

            sum = (sum >= 0.0f ? sum : sum * 0.2f) * t->gain;
            if (t->clamp > 0.0f)
                sum = fminf(fmaxf(sum, -t->clamp), t->clamp);
            out->u[v][w] = sum;
        }
    }
}

static float radial_at(const struct bench *b, const struct chain *from, int row, int column)
{
    float sum = 0.0f;

    for (int k = 0; k < DOWN_TAPS; k++)
        for (int l = 0; l < DOWN_TAPS / 2; l++)
            sum = fmaf((float)down_tap_at(b, k, l),
                       from->u[row + k][column + l] + from->u[row + k][column + DOWN_TAPS - 1 - l],
                       sum);
    return sum;
}

static float separable_at(const struct bench *b, const struct chain *from, int row, int column)
{
    float sum = 0.0f;

    for (int k = 0; k < DOWN_TAPS; k++) {
        float line = 0.0f;

        for (int l = 0; l < DOWN_TAPS; l++)
            line = fmaf(b->down_filter[DOWN_TAPS - 1 - l], from->u[row + k][column + l], line);
        sum = fmaf(b->down_filter[DOWN_TAPS - 1 - k], line, sum);
    }
    return sum;
}

static void chain_down(const struct bench *b, const struct chain *from, float *y)
{
    for (int i = 0; i < b->t.out * b->t.out; i++) {
        int row = DOWN * (i / b->t.out), column = DOWN * (i % b->t.out);

        y[i] = b->t.radial ? radial_at(b, from, row, column) : separable_at(b, from, row, column);
    }
}

/* ---- Tests ---- */

/* What the operation makes of bench at one level; the caller's. */
static float *run(const struct bench *b, enum simd_level level, bool *finite)
{
    struct filtered_lrelu f;
    struct err e;
    float *scratch, *y = guarded_create((size_t)(b->t.out * b->t.out));

    assert_int_equal(prepare(b, &f, &e), ERR_OK);
    scratch = guarded_create(filtered_lrelu_scratch_count(&f));
    simd_limit(level);
    *finite = filtered_lrelu_cpu(&f, y, b->x, scratch);
    guarded_release(scratch);
    guarded_check(y);
    guarded_check(b->x);
    return y;
}

static void check(struct trial t)
{
    static struct exact exact;
    static struct chain chain;
    size_t count = (size_t)(t.out * t.out);
    struct bench b = bench_create(t, (uint32_t)(t.in * 61 + t.out));
    double *y = malloc(count * sizeof *y), *above = malloc(count * sizeof *above);
    float *expect = guarded_create(count);
    bool finite;

    assert_true(y && above);
    exact_up(&b, &exact);
    exact_down(&b, &exact, y, above);
    chain_up(&b, &chain);
    chain_down(&b, &chain, expect);
    /* up 6 and 6 steps, down 144: each of them 2^-24 of the sum of absolute values at most */
    assert_near(expect, y, above, 156.0 / (1 << 24), count, b.name);
    for (int level = levels_here(); level-- > 0;) {
        float *got = run(&b, (enum simd_level)level, &finite);

        assert_true(finite);
        for (size_t i = 0; i < count; i++) {
            got[i] += 0.0f;         /* a sum of zeros may have either sign */
            expect[i] += 0.0f;
        }
        assert_same_bits(got, expect, count, b.name);
        guarded_release(got);
    }
    guarded_release(expect);
    guarded_release(b.x);
    free(y);
    free(above);
}

static void official_paddings_are_the_definition(void **state)
{
    static const int SIZES[][2] = { { 5, 5 },   { 8, 15 },  { 14, 9 },  { 21, 20 }, { 22, 36 },
                                    { 38, 52 }, { 54, 33 }, { 60, 60 }, { 36, 59 }, { 59, 32 } };

    (void)state;
    for (size_t row = 0; row < sizeof SIZES / sizeof SIZES[0]; row++)
        for (int form = 0; form < 4; form++) {
            int in = SIZES[row][0], out = SIZES[row][1], up = form % 2 ? 4 : 2;

            check((struct trial){ in, out, up, official_pad(in, out, up), form / 2, 1.41421356f,
                                  256.0f });
        }
}

static void every_padding_is_the_definition(void **state)
{
    (void)state;
    for (int pad = -41; pad <= 27; pad += pad < -9 || pad > 9 ? 5 : 1)
        for (int form = 0; form < 4; form++) {
            int up = form % 2 ? 4 : 2;

            check((struct trial){ 11, 8, up, pad, form / 2, 1.41421356f, 0.0f });
            check((struct trial){ 6, 13, up, pad, form / 2, 1.0f, 3.0f });
        }
}

static void every_size_of_the_output_is_the_definition(void **state)
{
    (void)state;
    for (int out = 1; out <= 35; out += out < 12 ? 1 : 4)
        for (int form = 0; form < 4; form++)
            check((struct trial){ 5 + out % 3, out, form % 2 ? 4 : 2, 3 - out, form / 2, 1.5f,
                                  10.0f });
}

static void clamp_is_between_the_filters(void **state)
{
    struct trial t = { 12, 10, 2, 6, false, 1.41421356f, 0.5f };
    struct bench b = bench_create(t, 1);
    bool finite;
    double reach = 0.0;
    float *y;

    (void)state;
    for (int k = 0; k < DOWN_TAPS; k++)
        reach += fabs((double)b.down_filter[k]);
    for (int i = 0; i < t.in * t.in; i++)
        b.x[i] *= 1e6f;             /* nearly all of u is then at the clamp */
    y = run(&b, SIMD_PLAIN, &finite);
    assert_true(finite);
    for (int i = 0; i < t.out * t.out; i++)
        assert_true(fabs((double)y[i]) <= 0.5 * reach * reach * 1.0001);
    guarded_release(y);
    guarded_release(b.x);
}

static void values_that_are_not_finite_are_seen_through_the_clamp(void **state)
{
    static const float BAD[] = { INFINITY, -INFINITY, NAN, FLT_MAX };
    static const int AT[] = { 0, 77, 143 };

    (void)state;
    for (int form = 0; form < 4; form++)
        for (int i = 0; i < 12; i++)
            for (int level = levels_here(); level-- > 0;) {
                int up = form % 2 ? 4 : 2;
                struct bench b = bench_create((struct trial){ 12, 13, up, official_pad(12, 13, up),
                                                              form / 2, 1.41421356f, 256.0f }, 1);
                bool finite;

                for (int k = 0; k < UP_TAPS_MAX; k++)   /* overflows, and to one side alone */
                    b.up_filter[k] = 1.0f + fabsf(b.up_filter[k]);
                guarded_release(run(&b, (enum simd_level)level, &finite));
                assert_true(finite);
                b.x[AT[i / 4]] = BAD[i % 4];
                guarded_release(run(&b, (enum simd_level)level, &finite));
                assert_false(finite);
                guarded_release(b.x);
            }
}

/* A trial's init with other factors and taps. */
static void refuse(int up, int down, int up_taps, int down_taps, const char *words)
{
    struct bench b = bench_create((struct trial){ .in = 8, .out = 8, .up = 2 }, 1);
    struct filtered_lrelu f;
    struct err e;

    const struct filtered_lrelu_shape shape = {
        .in = 8, .out = 8, .up = up, .down = down, .up_taps = up_taps, .down_taps = down_taps,
        .pad_lo = 5, .gain = 1.0f,
    };

    assert_int_equal(filtered_lrelu_init(&f, &shape, b.up_filter, b.down_filter, &e),
                     ERR_UNSUPPORTED);
    if (!strstr(e.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
    guarded_release(b.x);
}

static void other_factors_and_taps_are_refused(void **state)
{
    (void)state;
    refuse(1, 2, 6, 12, "up by 1 and down by 2 is not supported");
    refuse(3, 2, 18, 12, "up by 3");
    refuse(8, 2, 48, 12, "up by 8");
    refuse(0, 2, 0, 12, "up by 0");
    refuse(2, 1, 12, 6, "down by 1");
    refuse(2, 4, 12, 24, "down by 4");
    refuse(2, 2, 8, 12, "filters of 8 and 12 taps are not supported");
    refuse(4, 2, 12, 12, "filters of 12 and 12");
    refuse(2, 2, 12, 1, "filters of 12 and 1");
    refuse(2, 2, 12, 24, "filters of 12 and 24");
}

static void radial_filter_must_be_symmetric_in_x(void **state)
{
    struct trial t = { 8, 8, 2, 5, true, 1.0f, 0.0f };
    struct filtered_lrelu f;
    struct err e;

    (void)state;
    for (int at = 0; at < DOWN_TAPS * DOWN_TAPS; at++) {
        struct bench b = bench_create(t, 1);

        b.down_filter[at] += 0.001f;
        assert_int_equal(prepare(&b, &f, &e), ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, "is not symmetric"));
        guarded_release(b.x);
    }
    /* what rounding leaves between the halves is averaged away */
    struct bench b = bench_create(t, 1);

    b.down_filter[0] += 1e-6f;
    assert_int_equal(prepare(&b, &f, &e), ERR_OK);
    assert_true(f.half_tap[DOWN_TAPS - 1][0] ==
                0.5f * (b.down_filter[0] + b.down_filter[DOWN_TAPS - 1]));
    guarded_release(b.x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_paddings_are_the_definition),
        cmocka_unit_test(every_padding_is_the_definition),
        cmocka_unit_test(every_size_of_the_output_is_the_definition),
        cmocka_unit_test(clamp_is_between_the_filters),
        cmocka_unit_test(values_that_are_not_finite_are_seen_through_the_clamp),
        cmocka_unit_test(other_factors_and_taps_are_refused),
        cmocka_unit_test(radial_filter_must_be_symmetric_in_x),
    };

    return cmocka_run_group_tests_name("filtered_lrelu", tests, NULL, levels_restore);
}
