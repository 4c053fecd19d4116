/* The filtered lrelu of the device against the CPU's, which sees the same rounded inputs: by fused
 * multiply-adds the same values (so that what is close to the CPU is close to that way too), on the
 * tensor cores close ones; and the promises of the header. */
#include "kernels/cuda/filtered_lrelu.cuh"
#include "tests/gpu/check.h"

extern "C" {
#include "kernels/precision.h"
}

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAYER = 5, TAPS_MAX = FILTERED_LRELU_TAPS * FILTERED_LRELU_UP_MAX, EACH_MORE = 7 };

struct trial {
    int in, out, up, pad_lo;
    bool radial;
    float clamp;
    int channels, samples;
};

enum way { BY_TILE, PLAIN };

/* ---- Numbers ---- */

static uint32_t random_bits(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Roughly normal: what a convolution leaves. */
static float random_value(uint32_t *state)
{
    float sum = 0.0f;

    for (int i = 0; i < 4; i++)
        sum += (float)random_bits(state) / (1 << 23) - 1.0f;
    return 0.87f * sum;
}

static float rounded(enum precision precision, float v)
{
    return precision == PRECISION_FP16   ? __half2float(__float2half_rn(v))
           : precision == PRECISION_TF32 ? round_tf32(v)
                                         : v;
}

static double window(double at, double half)
{
    return at * at >= half * half ? 0.0 : 0.54 + 0.46 * cos(3.14159265358979 * at / half);
}

/* A low pass of so many taps with its middle a little off, so that no mirrored tap is the same, and
 * of sum 1: what the official designs come to, but for the symmetry. */
static void design(float *filter, int taps, double factor)
{
    double sum = 0.0, value[TAPS_MAX];

    for (int i = 0; i < taps; i++) {
        double at = i - (taps - 1) / 2.0 + 0.13, turn = 3.14159265358979 * at / factor;

        value[i] = sin(turn) / turn * window(at, taps / 2.0 + 0.5);
        sum += value[i];
    }
    for (int i = 0; i < taps; i++)
        filter[i] = (float)(value[i] / sum);
}

/* Round in x, with its middle a little off in y. */
static void design_radial(float filter[FILTERED_LRELU_DOWN_TAPS * FILTERED_LRELU_DOWN_TAPS])
{
    const int taps = FILTERED_LRELU_DOWN_TAPS;
    double sum = 0.0, value[FILTERED_LRELU_DOWN_TAPS * FILTERED_LRELU_DOWN_TAPS];

    for (int i = 0; i < taps * taps; i++) {
        double y = i / taps - (taps - 1) / 2.0 + 0.13, x = i % taps - (taps - 1) / 2.0;
        double turn = 3.14159265358979 * sqrt(x * x + y * y) / 2.0;

        value[i] = 2.0 * j1(turn) / turn * window(x, taps / 2.0 + 0.5) *
                   window(y, taps / 2.0 + 0.5);
        sum += value[i];
    }
    for (int i = 0; i < taps * taps; i++)
        filter[i] = (float)(value[i] / sum);
}

/* ---- A trial's data, on the host ---- */

struct bench {
    struct trial t;
    struct filtered_lrelu filter;
    float *x;                       /* [samples][channels][in][in], not rounded */
    float *next;                    /* [samples][each]; NULL: none */
    size_t each, in_pixels, out_pixels;
    char name[120];
};

static struct bench bench_create(struct trial t, uint32_t seed)
{
    struct bench b;
    float up[TAPS_MAX], down[FILTERED_LRELU_DOWN_TAPS * FILTERED_LRELU_DOWN_TAPS];
    struct err e;

    memset(&b, 0, sizeof b);
    b.t = t;
    b.each = (size_t)t.channels + EACH_MORE;
    b.in_pixels = (size_t)t.in * (size_t)t.in;
    b.out_pixels = (size_t)t.out * (size_t)t.out;
    design(up, FILTERED_LRELU_TAPS * t.up, t.up);
    design(down, FILTERED_LRELU_DOWN_TAPS, 2.0);
    if (t.radial)
        design_radial(down);

    struct filtered_lrelu_shape shape;
    memset(&shape, 0, sizeof shape);
    shape.in = t.in;
    shape.out = t.out;
    shape.up = t.up;
    shape.down = FILTERED_LRELU_DOWN;
    shape.up_taps = FILTERED_LRELU_TAPS * t.up;
    shape.down_taps = FILTERED_LRELU_DOWN_TAPS;
    shape.pad_lo = t.pad_lo;
    shape.radial = t.radial;
    shape.gain = 1.41421356f;
    shape.clamp = t.clamp;
    if (filtered_lrelu_init(&b.filter, &shape, up, down, &e))
        check_that(false, "%s", e.msg);

    size_t count = (size_t)t.samples * (size_t)t.channels * b.in_pixels;
    b.x = (float *)malloc(count * sizeof *b.x);
    for (size_t i = 0; i < count; i++)
        b.x[i] = random_value(&seed);
    count = (size_t)t.samples * b.each;
    b.next = (float *)malloc(count * sizeof *b.next);
    for (size_t i = 0; i < count; i++)
        b.next[i] = random_value(&seed);
    snprintf(b.name, sizeof b.name, "%d>%d px up %d pad %d %s clamp %g C=%d N=%d", t.in, t.out,
             t.up, t.pad_lo, t.radial ? "radial" : "separable", (double)t.clamp, t.channels,
             t.samples);
    return b;
}

static void bench_release(struct bench *b)
{
    free(b->x);
    free(b->next);
}

/* ---- On the device ---- */

/* What came back. */
struct result {
    unsigned char *y;               /* as it lies on the device */
    float *trace;                   /* [samples][channels][out][out] */
    int *broken;                    /* [samples] */
    size_t y_bytes, trace_count;
    cudaError_t status;
};

static void result_release(struct result *r)
{
    free(r->y);
    free(r->trace);
    free(r->broken);
}

static size_t value_at(enum precision precision, int channels, size_t pixels, int sample,
                       int channel, size_t pixel)
{
    size_t lanes = (size_t)precision_lanes(precision), c = (size_t)channel;
    size_t blocks = (size_t)activation_blocks(precision, channels);

    return (((size_t)sample * blocks + c / lanes) * pixels + pixel) * lanes + c % lanes;
}

/* b's samples from first on, as a tensor. */
static unsigned char *packed(const struct bench *b, enum precision precision, int first,
                             int samples)
{
    size_t each = activation_bytes(precision, b->t.channels, b->in_pixels);
    unsigned char *out = (unsigned char *)calloc((size_t)samples, each);

    for (int s = 0; s < samples; s++)
        for (int c = 0; c < b->t.channels; c++) {
            const float *x =
                b->x + ((size_t)(first + s) * (size_t)b->t.channels + (size_t)c) * b->in_pixels;

            for (size_t i = 0; i < b->in_pixels; i++) {
                size_t at = value_at(precision, b->t.channels, b->in_pixels, s, c, i);

                if (precision == PRECISION_FP16)
                    ((__half *)out)[at] = __float2half_rn(x[i]);
                else
                    ((float *)out)[at] = rounded(precision, x[i]);
            }
        }
    return out;
}

static float stored_value(const struct bench *b, enum precision precision, const struct result *r,
                          int sample, int channel, size_t pixel)
{
    size_t at = value_at(precision, b->t.channels, b->out_pixels, sample, channel, pixel);

    return precision == PRECISION_FP16 ? __half2float(((const __half *)r->y)[at])
                                       : ((const float *)r->y)[at];
}

template <class T> static T *on_device(const T *from, size_t count)
{
    T *to = NULL;

    if (cudaMalloc(&to, count * sizeof(T)) == cudaSuccess)
        cudaMemcpy(to, from, count * sizeof(T), cudaMemcpyHostToDevice);
    return to;
}

/* Samples first .. first + samples of b; tile as filtered_lrelu_cuda_run has it. */
static struct result run(const struct bench *b, enum precision precision, enum way way, int tile,
                         int first, int samples)
{
    struct result r;
    struct filtered_lrelu_job job;
    size_t in_bytes = (size_t)samples * activation_bytes(precision, b->t.channels, b->in_pixels);

    memset(&r, 0, sizeof r);
    memset(&job, 0, sizeof job);
    r.y_bytes = (size_t)samples * activation_bytes(precision, b->t.channels, b->out_pixels);
    r.trace_count = (size_t)samples * (size_t)b->t.channels * b->out_pixels;
    r.y = (unsigned char *)malloc(r.y_bytes);
    r.trace = (float *)malloc(r.trace_count * sizeof *r.trace);
    r.broken = (int *)malloc((size_t)samples * sizeof *r.broken);
    memset(r.y, 0xff, r.y_bytes);           /* what is not written must show */
    memset(r.trace, 0xff, r.trace_count * sizeof *r.trace);
    for (int i = 0; i < samples; i++)
        r.broken[i] = INT_MAX;

    unsigned char *x = packed(b, precision, first, samples);
    unsigned char *d_x = on_device(x, in_bytes), *d_y = on_device(r.y, r.y_bytes);
    float *d_trace = on_device(r.trace, r.trace_count);
    float *d_next =
        b->next ? on_device(b->next + (size_t)first * b->each, (size_t)samples * b->each) : NULL;
    int *d_broken = on_device(r.broken, (size_t)samples);

    job.precision = precision;
    job.filter = &b->filter;
    job.x = d_x;
    job.y = d_y;
    job.finish.channels = b->t.channels;
    job.finish.layer = LAYER;
    job.finish.broken = d_broken;
    job.finish.each = b->each;
    job.finish.next = d_next;
    job.finish.trace = d_trace;
    r.status = way == PLAIN ? filtered_lrelu_cuda_plain(&job, samples, 0)
                            : filtered_lrelu_cuda_run(&job, samples, tile, 0);
    if (!r.status)
        r.status = cudaDeviceSynchronize();
    cudaMemcpy(r.y, d_y, r.y_bytes, cudaMemcpyDeviceToHost);
    cudaMemcpy(r.trace, d_trace, r.trace_count * sizeof *r.trace, cudaMemcpyDeviceToHost);
    cudaMemcpy(r.broken, d_broken, (size_t)samples * sizeof *r.broken, cudaMemcpyDeviceToHost);
    cudaFree(d_x);
    cudaFree(d_y);
    cudaFree(d_trace);
    cudaFree(d_next);
    cudaFree(d_broken);
    free(x);
    return r;
}

/* ---- On the CPU ---- */

static float *expected(const struct bench *b, enum precision precision)
{
    size_t planes = (size_t)b->t.samples * (size_t)b->t.channels;
    float *y = (float *)malloc(planes * b->out_pixels * sizeof *y);
    float *x = (float *)malloc(b->in_pixels * sizeof *x), *scratch = NULL;

    if (posix_memalign((void **)&scratch, 64,
                       filtered_lrelu_scratch_count(&b->filter) * sizeof *scratch))
        return y;
    for (size_t i = 0; i < planes; i++) {
        for (size_t k = 0; k < b->in_pixels; k++)
            x[k] = rounded(precision, b->x[i * b->in_pixels + k]);
        filtered_lrelu_cpu(&b->filter, y + i * b->out_pixels, x, scratch);
    }
    free(scratch);
    free(x);
    return y;
}

static double decibels(const float *got, const float *expect, size_t count)
{
    double sum = 0.0, peak = check_peak(expect, count);

    for (size_t i = 0; i < count; i++)
        sum += ((double)got[i] - expect[i]) * ((double)got[i] - expect[i]);
    return 10.0 * log10(peak * peak * (double)count / (sum > 1e-300 ? sum : 1e-300));
}

/* ---- Checks ---- */

/* Of y's peak. By fused multiply-adds in the CPU's order: no value differs. On the tensor cores
 * some roundings to 11 bits lie between x and y, and taps have 11 bits: 2^-12 each, of what may be
 * a few times the peak before the filters take from it; measured are 2e-4 to 1.3e-3. */
static double tolerance(enum precision precision, enum way way)
{
    return way == PLAIN || precision != PRECISION_FP16 ? 0.0 : 2e-3;
}

enum { LEAST_DECIBELS = 70 };       /* against the peak, in fp16; measured are 72 to 92 */

/* What is stored: v * next, rounded; zeros in padded channels. */
static int check_stored(const struct bench *b, enum precision precision, const struct result *r)
{
    int padded = padded_channels(b->t.channels);
    size_t wrong = 0, dirty = 0;

    for (int s = 0; s < b->t.samples; s++)
        for (int c = 0; c < padded; c++)
            for (size_t i = 0; i < b->out_pixels; i++) {
                float got = stored_value(b, precision, r, s, c, i);

                if (c >= b->t.channels) {
                    dirty += !(got == 0.0f);
                    continue;
                }
                float v = r->trace[((size_t)s * b->t.channels + c) * b->out_pixels + i];

                if (b->next)
                    v *= b->next[(size_t)s * b->each + (size_t)c];
                wrong += !(got == rounded(precision, v));
            }
    return check_that(wrong == 0 && dirty == 0,
                      "%s %s: stores what it traces (%zu other values, %zu in padding)",
                      precision_word(precision), b->name, wrong, dirty);
}

static int check_values(const struct bench *b, enum precision precision, enum way way)
{
    struct result r = run(b, precision, way, -1, 0, b->t.samples);
    float *expect = expected(b, precision);
    double peak = check_peak(expect, r.trace_count);
    int missed = check_no_error(r.status, cudaGetErrorString(r.status), "%s %s: runs",
                                precision_word(precision), b->name);

    for (int s = 0; s < b->t.samples; s++)
        missed += r.broken[s] == INT_MAX ? 0 : check_that(false, "%s: nothing broke", b->name);
    missed += check_within(check_max_error(r.trace, expect, r.trace_count) / peak,
                           tolerance(precision, way), "%s %s %s, of the peak",
                           precision_word(precision), way == PLAIN ? "plain" : "chosen", b->name);
    if (precision == PRECISION_FP16 && way == BY_TILE)
        missed += check_at_least(decibels(r.trace, expect, r.trace_count), LEAST_DECIBELS,
                                 "%s %s, dB", precision_word(precision), b->name);
    missed += check_stored(b, precision, &r);
    free(expect);
    result_release(&r);
    return missed;
}

/* Every tile's bits, and each sample's when it is alone. */
static int check_same_bits(const struct bench *b, enum precision precision)
{
    struct result all = run(b, precision, BY_TILE, -1, 0, b->t.samples);
    size_t y_each = all.y_bytes / (size_t)b->t.samples;
    int missed = 0, tiles = filtered_lrelu_cuda_tiles(precision, &b->filter);

    for (int tile = 0; tile < tiles && tiles > 1; tile++) {
        struct result r = run(b, precision, BY_TILE, tile, 0, b->t.samples);

        missed += check_same(r.y, all.y, all.y_bytes, "%s %s: tile %d", precision_word(precision),
                             b->name, tile);
        missed += check_same(r.trace, all.trace, all.trace_count * sizeof *all.trace,
                             "%s %s: trace of tile %d", precision_word(precision), b->name, tile);
        result_release(&r);
    }
    for (int s = 0; s < b->t.samples && b->t.samples > 1; s++) {
        struct result r = run(b, precision, BY_TILE, s % tiles, s, 1);

        missed += check_same(r.y, all.y + (size_t)s * y_each, y_each, "%s %s: place %d alone",
                             precision_word(precision), b->name, s);
        result_release(&r);
    }
    result_release(&all);
    return missed;
}

/* One value of one channel of the sample in the middle is bad: that sample alone is reported. */
static int check_report(struct trial t, enum precision precision, enum way way, float bad,
                        float next, bool breaks)
{
    struct bench b = bench_create(t, 77);
    struct result r;
    bool holds;

    for (size_t i = 0; i < (size_t)t.samples * b.each; i++)
        b.next[i] = next;
    for (size_t i = 0; i < b.in_pixels; i++)    /* a patch, so that filters cannot thin it out */
        if (i % (size_t)t.in / 9 == 1 && i / (size_t)t.in / 9 == 1)
            b.x[((size_t)t.channels + (size_t)t.channels - 1) * b.in_pixels + i] = bad;
    r = run(&b, precision, way, -1, 0, t.samples);
    holds = r.broken[0] == INT_MAX && r.broken[1] == (breaks ? LAYER : INT_MAX);
    int missed = check_that(holds, "%s %s %s: %g with next %g is %s", precision_word(precision),
                            way == PLAIN ? "plain" : "chosen", b.name, (double)bad, (double)next,
                            breaks ? "reported" : "fine");

    result_release(&r);
    bench_release(&b);
    return missed;
}

static int check_reports(enum precision precision, enum way way)
{
    int missed = 0;

    for (int form = 0; form < 4; form++) {
        struct trial t = { 22, form % 2 ? 40 : 24, form % 2 ? 4 : 2, form % 2 ? 10 : 9, form > 1,
                           256.0f, 5, 2 };

        missed += check_report(t, precision, way, NAN, 1.0f, true);
        missed += check_report(t, precision, way, INFINITY, 1.0f, true);
        missed += check_report(t, precision, way, -INFINITY, 1.0f, true);
        missed += check_report(t, precision, way, 30000.0f, 1.0f, false);
        missed += check_report(t, precision, way, 30000.0f, 100.0f, false);
        missed += check_report(t, precision, way, 30000.0f, 1000.0f,
                               precision == PRECISION_FP16);
        t.clamp = 0.0f;
        missed += check_report(t, precision, way, 30000.0f, 1.0f, false);
        missed += check_report(t, precision, way, 30000.0f, 2.0f, precision == PRECISION_FP16);
        if (precision != PRECISION_FP16)
            missed += check_report(t, precision, way, FLT_MAX, 1.0f, true);
    }
    return missed;
}

/* A device alone has time for these. */
static const struct trial LARGE_TRIALS[] = {
    { 1046, 1044, 2, 9, false, 256.0f, 32, 2 },
    { 534, 1044, 4, -6, false, 256.0f, 3, 1 },
    { 532, 1044, 4, -2, true, 256.0f, 19, 2 },
    { 1044, 1024, 2, -9, true, 256.0f, 3, 1 },
};

static const struct trial TRIALS[] = {
    /* layers of small networks, t and r */
    { 36, 36, 2, 11, true, 256.0f, 16, 1 },
    { 38, 52, 4, -6, false, 256.0f, 21, 1 },
    { 36, 52, 4, -2, true, 256.0f, 9, 1 },
    { 54, 32, 2, -11, false, 256.0f, 16, 1 },
    { 38, 36, 2, 9, false, 256.0f, 16, 1 },
    /* of large ones */
    { 86, 148, 4, -6, false, 256.0f, 3, 1 },
    { 84, 148, 4, -2, true, 256.0f, 3, 1 },
    { 148, 148, 2, 11, true, 256.0f, 3, 1 },
    /* odd ones */
    { 5, 1, 2, 5, false, 0.0f, 1, 3 },
    { 5, 3, 4, 7, true, 0.0f, 17, 2 },
    { 11, 13, 2, -7, false, 0.5f, 3, 2 },
    { 9, 29, 4, 33, false, 0.0f, 2, 3 },
    { 11, 8, 2, -13, true, 0.5f, 2, 2 },
    { 23, 70, 4, 3, true, 0.0f, 1, 1 },
    { 37, 65, 2, 40, false, 0.0f, 1, 1 },
    { 40, 66, 2, 26, true, 0.0f, 5, 1 },
};

enum {
    TRIAL_COUNT = sizeof TRIALS / sizeof TRIALS[0],
    LARGE_COUNT = sizeof LARGE_TRIALS / sizeof LARGE_TRIALS[0],
};

static int check_trial(struct trial t, enum precision precision, uint32_t seed)
{
    struct bench b = bench_create(t, seed);
    int missed = check_values(&b, precision, BY_TILE);

    if (precision == PRECISION_FP16 && (seed % 2 || check_scale() == CHECK_FULL))
        missed += check_values(&b, precision, PLAIN);
    missed += check_same_bits(&b, precision);
    if (seed % 4 == 1) {
        free(b.next);
        b.next = NULL;
        missed += check_values(&b, precision, BY_TILE);
    }
    bench_release(&b);
    return missed;
}

/* Each padding's phases start differently. */
static int check_paddings(enum precision precision)
{
    int missed = 0;

    for (int pad = -4; pad <= 4; pad++)
        for (int form = 0; form < 4; form++) {
            struct bench b = bench_create({ 9, 10, form % 2 ? 4 : 2, pad, form > 1, 3.0f, 1, 1 },
                                          (uint32_t)pad);

            missed += check_values(&b, precision, BY_TILE);
            bench_release(&b);
        }
    return missed;
}

int check_filtered_lrelu(void)
{
    const enum check_scale scale = check_scale();
    int missed = 0;

    for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++) {
        enum precision precision = (enum precision)p;
        /* tf32 and fp32 are one kernel, but for a rounding */
        int by = scale == CHECK_TINY ? 4 : scale == CHECK_SHORT && p == PRECISION_TF32 ? 3 : 1;

        for (int i = 0; i < TRIAL_COUNT; i += by)
            missed += check_trial(TRIALS[i], precision, (uint32_t)i);
        for (int i = 0; scale == CHECK_FULL && i < LARGE_COUNT; i++)
            missed += check_trial(LARGE_TRIALS[i], precision, (uint32_t)i);
        if (scale != CHECK_TINY && by == 1)
            missed += check_paddings(precision);
        missed += check_reports(precision, BY_TILE);
    }
    return missed + check_reports(PRECISION_FP16, PLAIN);
}
