#include "tests/gpu/conv_bench.cuh"

#include "kernels/cuda/conv_wgmma.cuh"
#include "tests/gpu/check.h"
#ifndef __CUDACC__
#include "tests/cuda_emulator/cuda_emulator.h"
#endif

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* ---- Numbers ---- */

static uint64_t state = 1;

/* Between -1 and 1. */
static float even(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(state >> 32) * (1.0f / 2147483648.0f);
}

static float *floats(size_t count, float scale)
{
    float *f = (float *)calloc(count ? count : 1, sizeof *f);

    for (size_t i = 0; f && i < count; i++)
        f[i] = even() * scale;
    return f;
}

static float rounded(enum precision precision, float v)
{
    return precision == PRECISION_FP16   ? __half2float(__float2half_rn(v))
           : precision == PRECISION_TF32 ? round_tf32(v)
                                         : v;
}

/* A value as a tensor of the precision has it. */
size_t conv_bench_value_bytes(enum precision precision)
{
    return precision == PRECISION_FP16 ? sizeof(__half) : sizeof(float);
}

void conv_bench_put(enum precision precision, char *to, float v)
{
    __half half = __float2half_rn(v);

    if (precision == PRECISION_FP16)
        memcpy(to, &half, sizeof half);
    else
        memcpy(to, &v, sizeof v);
}

/* Where channel c of a pixel lies in a sample's tensor, in values. */
static size_t value_at(enum precision precision, int c, size_t pixels, size_t pixel)
{
    int lanes = precision_lanes(precision);

    return ((size_t)(c / lanes) * pixels + pixel) * (size_t)lanes + (size_t)(c % lanes);
}

/* ---- A trial's data ---- */

static void name_bench(struct conv_bench *b)
{
    static const char *const KINDS[] = { "plain", "scatter", "nearest" };
    static const char *const PRECISIONS[] = { "", "fp16", "tf32", "fp32" };
    const struct conv_shape *n = &b->shape;

    snprintf(b->name, sizeof b->name, "%s %s %d>%d %d px k%d pad %d N=%d with %u",
             PRECISIONS[b->precision], KINDS[n->kind], n->in, n->out, n->size, n->kernel, n->pad,
             b->samples, b->trial.with);
}

static void make_weights(struct conv_bench *b)
{
    const struct conv_shape *n = &b->shape;
    int k = n->kernel, taps = k * k;

    b->kernel = floats(b->pairs * (size_t)taps, 1.0f / sqrtf((float)(n->in * taps)));
    b->stored = floats(b->pairs * (size_t)taps, 1.0f);
    b->scale = floats((size_t)n->out, 1.0f);
    if (n->out > 2)                 /* one whose kernel is zero */
        memset(b->kernel + 2 * n->in * taps, 0, (size_t)(n->in * taps) * sizeof(float));
    for (int o = 0; o < n->out && b->trial.with & SCALED; o++)
        b->scale[o] = ldexpf(b->scale[o], o % 41 - 20);
    if (b->trial.with & MIRRORED)
        b->weights = (struct conv_weights){ b->stored + taps - 1, n->in * taps, taps, -k, -1, NULL };
    else                            /* [a][b][i][o] */
        b->weights = (struct conv_weights){ b->stored, 1, n->out, (ptrdiff_t)k * n->in * n->out,
                                            (ptrdiff_t)n->in * n->out, NULL };
    b->weights.scale = b->trial.with & SCALED ? b->scale : NULL;
    for (int o = 0; o < n->out; o++)
        for (int i = 0; i < n->in; i++)
            for (int t = 0; t < taps; t++)
                ((float *)b->weights.data)[o * b->weights.out + i * b->weights.in +
                                           t / k * b->weights.row + t % k * b->weights.column] =
                    b->kernel[((size_t)o * n->in + i) * taps + t];
}

static void make_input(struct conv_bench *b)
{
    const struct conv_shape *n = &b->shape;
    size_t area = (size_t)n->size * n->size, bytes;
    int inputs = b->trial.with & SHARED_X ? 1 : b->samples;
    char *tensor;

    bytes = activation_bytes(b->precision, n->in, area);
    b->x_each = b->trial.with & SHARED_X ? 0 : bytes;
    b->x = floats((size_t)b->samples * n->in * area, 1.0f);
    tensor = (char *)calloc((size_t)inputs, bytes);
    for (int s = 0; s < b->samples; s++)
        for (int i = 0; i < n->in; i++)
            for (size_t p = 0; p < area; p++) {
                float *v = &b->x[((size_t)s * n->in + i) * area + p];

                *v = s < inputs ? rounded(b->precision, *v) : b->x[(size_t)i * area + p];
                if (s < inputs)
                    conv_bench_put(b->precision,
                              tensor + (size_t)s * bytes +
                                  value_at(b->precision, i, area, p) * conv_bench_value_bytes(b->precision),
                              *v);
            }
    b->d_x = (char *)room_put(b->room, tensor, (size_t)inputs * bytes);
    free(tensor);
}

static void make_finish(struct conv_bench *b)
{
    size_t out = (size_t)b->shape.out, samples = (size_t)b->samples;

    b->each = out * 5 + 3;
    b->coefficients = floats(samples * b->each, 2.0f);
    b->bias = floats(out, 0.5f);
    b->noise = floats(b->pixels, 1.0f);
    b->own_noise = floats(samples * (b->pixels + 5), 1.0f);
    b->noise_weight = floats(out, 0.5f);
    b->noise_kind = (int *)calloc(samples, sizeof(int));
    for (int s = 0; s < b->samples; s++)
        b->noise_kind[s] = (s + 1) % 3 == 0 ? NOISE_NONE : (s + 1) % 3 == 1 ? NOISE_CONST
                                                                            : NOISE_OWN;
    b->d_coefficients = (float *)room_put(b->room, b->coefficients, samples * b->each * 4);
    b->d_bias = (float *)room_put(b->room, b->bias, out * 4);
    b->d_noise = (float *)room_put(b->room, b->noise, b->pixels * 4);
    b->d_own_noise = (float *)room_put(b->room, b->own_noise, samples * (b->pixels + 5) * 4);
    b->d_noise_weight = (float *)room_put(b->room, b->noise_weight, out * 4);
    b->d_noise_kind = (int *)room_put(b->room, b->noise_kind, samples * sizeof(int));
}

int conv_bench_make(struct conv_bench *b, const struct conv_trial *trial, enum precision precision)
{
    const struct conv_shape *n = &trial->shape;
    struct err e;

    memset(b, 0, sizeof *b);
    b->trial = *trial;
    b->precision = precision;
    b->shape = *n;
    b->samples = trial->samples;
    b->phases = n->kind == CONV_PLAIN ? 1 : 4;
    b->rows = n->kind == CONV_UP_SCATTER   ? n->size + 1
              : n->kind == CONV_UP_NEAREST ? n->size
                                           : n->size + 2 * n->pad + 1 - n->kernel;
    b->pixels = (size_t)b->phases * b->rows * b->rows;
    b->pairs = (size_t)n->in * n->out;
    b->sums = (size_t)b->samples * n->out * b->pixels;
    name_bench(b);
    if (room_create(&b->room, &e))
        return 1;
    make_weights(b);
    make_input(b);
    make_finish(b);
    b->down = floats((size_t)n->out, 1.0f);
    b->energy = floats(b->pairs, 1.0f);
    if (conv_cuda_init(&b->conv, n, &b->weights, precision, b->room, b->down, b->energy, &e) ||
        room_check(b->room, &e))
        return 1;
    return trial->with & WGMMA ? conv_cuda_use_wgmma(&b->conv, &e) : 0;
}

void conv_bench_release(struct conv_bench *b)
{
    float *all[] = { b->kernel, b->stored, b->scale, b->x, b->down, b->energy, b->coefficients,
                     b->bias, b->noise, b->own_noise, b->noise_weight, b->sum };

    for (int i = 0; i < COUNT(all); i++)
        free(all[i]);
    free(b->noise_kind);
    room_destroy(&b->room);
}

/* ---- The definition ---- */

/* The pixel of x that kernel row (or column) a brings to row y of the whole output; -1: none. */
static int source(const struct conv_shape *n, int y, int a)
{
    int at;

    switch (n->kind) {
    case CONV_UP_SCATTER: at = (y - a) % 2 == 0 && y >= a ? (y - a) / 2 : -1; break;
    case CONV_UP_NEAREST: at = y + a - 1 < 0 ? -1 : (y + a - 1) / 2; break;
    default: at = y + a - n->pad;
    }
    return at < 0 || at >= n->size ? -1 : at;
}

/* W'[o,i] as the taps that meet input pixel (row, column) have it: the weights in row-major order. */
static float met_weight(const struct conv_bench *b, int o, int i, int y, int x, int row, int column)
{
    const struct conv_shape *n = &b->shape;
    int k = n->kernel;
    float sum = 0.0f;

    for (int a = 0; a < k; a++)
        for (int c = 0; c < k; c++)
            if (source(n, y, a) == row && source(n, x, c) == column)
                sum += b->kernel[((size_t)o * n->in + i) * k * k + a * k + c];
    if (b->weights.scale)
        sum *= b->weights.scale[o];
    return rounded(b->precision, sum / b->down[o]);
}

/* The sum of one output, and of its terms' magnitudes. */
static double exact_at(const struct conv_bench *b, int s, int o, size_t pixel, double *magnitude)
{
    const struct conv_shape *n = &b->shape;
    int area = b->rows * b->rows, phase = (int)pixel / area, k = n->kernel;
    int y = (int)pixel % area / b->rows, x = (int)pixel % b->rows;
    double sum = 0.0;

    *magnitude = 0.0;
    if (b->phases > 1) {
        y = 2 * y + phase / 2;
        x = 2 * x + phase % 2;
    }
    for (int a = 0; a < k; a++)
        for (int c = 0; c < k; c++) {
            int row = source(n, y, a), column = source(n, x, c);

            /* of the weights that meet the same pixel the first brings them all */
            if (row < 0 || column < 0 || (a > 0 && source(n, y, a - 1) == row) ||
                (c > 0 && source(n, x, c - 1) == column))
                continue;
            for (int i = 0; i < n->in; i++) {
                double term = (double)met_weight(b, o, i, y, x, row, column) *
                              b->x[(((size_t)s * n->in + i) * n->size + row) * n->size + column];

                sum += term;
                *magnitude += fabs(term);
            }
        }
    return sum;
}

static int check_sums(const struct conv_bench *b)
{
    /* a float32 sum of n terms is within n * 2^-24 of their magnitudes; tensor cores may cut off
     * where they should round */
    double tolerance = 1e-5, worst = 0.0;
    size_t terms = (size_t)b->shape.in * b->shape.kernel * b->shape.kernel;
    size_t budget = check_scale() == CHECK_FULL ? 3000000 : 1000000;
    size_t step = b->sums * terms / budget + 1;

    for (size_t at = step / 2; at < b->sums; at += step) {
        size_t pixel = at % b->pixels, o = at / b->pixels % (size_t)b->shape.out;
        double magnitude, exact = exact_at(b, (int)(at / b->pixels / (size_t)b->shape.out), (int)o,
                                           pixel, &magnitude);
        double error = fabs((double)b->sum[at] - exact) / (magnitude + 1e-30);

        worst = error <= worst ? worst : error;
    }
    return check_within(worst, tolerance, "%s: sums, of their terms", b->name);
}

/* down and energy: what conv.cuh says of them. */
static int check_scales(const struct conv_bench *b)
{
    const struct conv_shape *n = &b->shape;
    double worst = 0.0;
    bool good = true;
    int k = n->kernel;

    if (n->kind == CONV_UP_NEAREST)     /* has no use for them */
        return 0;
    for (int o = 0; o < n->out; o++) {
        float most = 0.0f;
        int exponent;

        for (int i = 0; i < n->in; i++) {
            double sum = 0.0;

            for (int t = 0; t < k * k; t++) {
                float w = b->kernel[((size_t)o * n->in + i) * k * k + t] *
                          (b->weights.scale ? b->weights.scale[o] : 1.0f) / b->down[o];

                most = fabsf(w) > most ? fabsf(w) : most;
                w = rounded(b->precision, w);
                sum += (double)w * w;
            }
            worst = fmax(worst, fabs(sum - b->energy[(size_t)o * n->in + i]) / (sum + 1e-30));
        }
        good &= frexpf(b->down[o], &exponent) == 0.5f;
        good &= most > 0.0f ? most > 0.5f && most <= 1.0f : b->down[o] == 1.0f;
    }
    return check_that(good, "%s: weights scaled by powers of two", b->name) +
           check_within(worst, 1e-6, "%s: energy", b->name);
}

/* ---- Runs ---- */

void conv_output_release(struct conv_output *o)
{
    free(o->y);
    free(o->rgb);
    free(o->trace);
}


static struct finish describe_finish(const struct conv_bench *b, int first,
                                     enum conv_finishing finishing)
{
    unsigned with = finishing == WHOLE ? b->trial.with : 0;
    const float *coefficients = b->d_coefficients + (size_t)first * b->each;
    struct finish f = {};

    f.channels = b->shape.out;
    f.layer = 7;
    f.each = b->each;
    if (finishing == BARE)
        return f;
    f.demod = coefficients;
    f.bias = b->d_bias;
    if (with & (NOISE | NOISE_EACH)) {
        f.noise = b->d_noise;
        f.own_noise = b->d_own_noise + (size_t)first * (b->pixels + 5);
        f.own_each = b->pixels + 5;
        f.noise_kind = b->d_noise_kind + first;
        f.noise_weight = b->d_noise_weight;
        f.noise_weights = with & NOISE_EACH ? b->shape.out : 1;
    }
    f.activate = with & ACTIVATED;
    f.gain = 1.25f;
    f.clamp = with & CLAMPED ? 0.75f : 0.0f;
    if (with & NEXT)
        f.next = coefficients + b->shape.out;
    if (with & RGB)
        f.rgb = coefficients + 2 * b->shape.out;
    return f;
}

/* Another order of threads and of copies for each tile: none may show. */
static void vary_emulator(int turn)
{
#ifndef __CUDACC__
    emulated_order_set((enum emulated_order)((turn + 1) % 3));
    emulated_copies_set((enum emulated_copies)((turn + 2) % 3));
#else
    (void)turn;
#endif
}

int conv_bench_run(const struct conv_bench *b, int first, int count, int tile,
                   enum conv_finishing finishing, struct conv_output *out)
{
    struct conv_cuda_job job = {};
    struct err e;
    struct room *room = NULL;
    bool parts = b->conv.splits > 1;
    size_t blocks = (size_t)activation_blocks(b->precision, b->shape.out);
    cudaError_t st;
    int broken[8];

    memset(out, 0, sizeof *out);
    for (int i = 0; i < COUNT(broken); i++)
        broken[i] = INT_MAX;
    if (room_create(&room, &e))
        return check_no_error(e.code, e.msg, "%s", b->name);
    out->y_bytes = parts ? (size_t)b->conv.splits * count * blocks * b->pixels *
                               (size_t)precision_lanes(b->precision) * sizeof(float)
                         : (size_t)count * blocks * b->pixels * BLOCK_BYTES;
    if (finishing == BARE ? !parts : (b->trial.with & ONLY_RGB) != 0)
        out->y_bytes = 0;
    out->trace_count = parts ? 0 : (size_t)count * b->shape.out * b->pixels;
    out->rgb_count = parts || finishing == BARE || !(b->trial.with & RGB)
                         ? 0
                         : (size_t)count * rgb_groups(b->shape.out) * 3 * b->pixels;
    out->y = (char *)malloc(out->y_bytes + 1);
    out->trace = floats(out->trace_count, 9.0f);
    out->rgb = floats(out->rgb_count, 9.0f);
    memset(out->y, 0x77, out->y_bytes);

    job.x = b->d_x + (size_t)first * b->x_each;
    job.x_each = b->x_each;
    job.finish = describe_finish(b, first, finishing);
    job.finish.broken = (int *)room_put(room, broken, sizeof broken);
    if (out->y_bytes)
        job.y = room_put(room, out->y, out->y_bytes);
    if (out->trace_count)
        job.finish.trace = (float *)room_put(room, out->trace, out->trace_count * 4);
    if (out->rgb_count)
        job.finish.rgb_out = (float *)room_put(room, out->rgb, out->rgb_count * 4);
    vary_emulator(tile + first);
    st = conv_cuda_run(&b->conv, &job, count, tile, NULL);
    if (!st)
        st = cudaDeviceSynchronize();
    cudaMemcpy(out->broken, job.finish.broken, sizeof broken, cudaMemcpyDeviceToHost);
    if (out->y_bytes)
        cudaMemcpy(out->y, job.y, out->y_bytes, cudaMemcpyDeviceToHost);
    if (out->trace_count)
        cudaMemcpy(out->trace, job.finish.trace, out->trace_count * 4, cudaMemcpyDeviceToHost);
    if (out->rgb_count)
        cudaMemcpy(out->rgb, job.finish.rgb_out, out->rgb_count * 4, cudaMemcpyDeviceToHost);
    room_destroy(&room);
    return st ? check_no_error(st, cudaGetErrorString(st), "%s tile %d", b->name, tile) : 0;
}

/* The bare sums: traced, or the parts added in index order. */
static float *sums_of(const struct conv_bench *b, const struct conv_output *o)
{
    float *sum = floats(b->sums, 0.0f), *parts = (float *)o->y;
    int lanes = precision_lanes(b->precision);
    size_t tensor = (size_t)activation_blocks(b->precision, b->shape.out) * b->pixels * lanes;

    for (size_t at = 0; at < b->sums; at++) {
        size_t s = at / b->pixels / (size_t)b->shape.out;
        int c = (int)(at / b->pixels % (size_t)b->shape.out);

        if (b->conv.splits == 1) {
            sum[at] = o->trace[at];
            continue;
        }
        for (int k = 0; k < b->conv.splits; k++) {
            float v = parts[((size_t)k * b->samples + s) * tensor +
                            value_at(b->precision, c, b->pixels, at % b->pixels)];

            sum[at] = k ? sum[at] + v : v;
        }
    }
    return sum;
}

/* ---- What follows the sum ---- */

static float finished(const struct conv_bench *b, int s, int c, size_t pixel)
{
    unsigned with = b->trial.with;
    const float *own = b->own_noise + (size_t)s * (b->pixels + 5);
    float noise = b->noise_kind[s] == NOISE_NONE    ? 0.0f
                  : b->noise_kind[s] == NOISE_CONST ? b->noise[pixel]
                                                    : own[pixel];
    float strength = with & NOISE_EACH ? b->noise_weight[c] : with & NOISE ? b->noise_weight[0] : 0;
    float v;

    if (!(with & (NOISE | NOISE_EACH)))
        noise = 0.0f;
    v = fmaf(b->sum[((size_t)s * b->shape.out + c) * b->pixels + pixel],
             b->coefficients[(size_t)s * b->each + c], fmaf(noise, strength, b->bias[c]));
    if (with & ACTIVATED)
        v = (v > 0.0f ? v : v * 0.2f) * 1.25f;
    if (with & CLAMPED)
        v = fminf(fmaxf(v, -0.75f), 0.75f);
    return v;
}

/* A group of RGB: each of four lanes adds its channels, then pairs, then pairs of pairs. */
static float group_of(const struct conv_bench *b, int s, int group, int colour, size_t pixel)
{
    const float *rgb = b->coefficients + (size_t)s * b->each + 2 * b->shape.out +
                       colour * b->shape.out;
    float lane[4];

    for (int t = 0; t < 4; t++) {
        lane[t] = 0.0f;
        for (int k = 0; k < RGB_GROUP / 4; k++) {
            int c = group * RGB_GROUP + k / 2 * 8 + 2 * t + k % 2;

            if (c < b->shape.out)
                lane[t] = fmaf(finished(b, s, c, pixel), rgb[c], lane[t]);
        }
    }
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

static int check_finish(const struct conv_bench *b, const struct conv_output *o)
{
    enum precision precision = b->precision;
    int blocks = activation_blocks(precision, b->shape.out), lanes = precision_lanes(precision);
    int groups = rgb_groups(b->shape.out), misses = 0;
    struct conv_output e;

    memset(&e, 0, sizeof e);
    e.y = (char *)malloc(o->y_bytes + 1);
    e.trace = floats(o->trace_count, 1.0f);
    e.rgb = floats(o->rgb_count, 1.0f);
    for (int s = 0; s < b->samples; s++)
        for (size_t p = 0; p < b->pixels; p++) {
            for (int c = 0; c < blocks * lanes; c++) {
                float v = c < b->shape.out ? finished(b, s, c, p) : 0.0f;
                float next = b->trial.with & NEXT && c < b->shape.out
                                 ? b->coefficients[(size_t)s * b->each + b->shape.out + c]
                                 : 1.0f;

                if (c < b->shape.out)
                    e.trace[((size_t)s * b->shape.out + c) * b->pixels + p] = v;
                if (o->y_bytes)
                    conv_bench_put(precision,
                              e.y + ((size_t)s * blocks * lanes * b->pixels +
                                     value_at(precision, c, b->pixels, p)) * conv_bench_value_bytes(precision),
                              rounded(precision, v * next));
            }
            for (int g = 0; o->rgb_count && g < groups; g++)
                for (int colour = 0; colour < 3; colour++)
                    e.rgb[((size_t)(s * groups + g) * 3 + colour) * b->pixels + p] =
                        group_of(b, s, g, colour, p);
        }
    misses += check_same(o->trace, e.trace, o->trace_count * 4, "%s: finished", b->name);
    if (o->y_bytes)
        misses += check_same(o->y, e.y, o->y_bytes, "%s: stored", b->name);
    if (o->rgb_count)
        misses += check_same(o->rgb, e.rgb, o->rgb_count * 4, "%s: rgb", b->name);
    conv_output_release(&e);
    return misses;
}

/* ---- Invariance ---- */

bool conv_output_same(const struct conv_output *a, const struct conv_output *b)
{
    return memcmp(a->y, b->y, a->y_bytes) == 0 &&
           memcmp(a->trace, b->trace, a->trace_count * 4) == 0 &&
           memcmp(a->rgb, b->rgb, a->rgb_count * 4) == 0;
}

/* Sample s of whole, and alone as a batch of one, tile by choice. Parts lie apart for each split. */
static bool same_alone(const struct conv_bench *b, const struct conv_output *whole, int s,
                       const struct conv_output *alone)
{
    int splits = b->conv.splits;
    size_t part = alone->y_bytes / (size_t)splits;

    for (int k = 0; k < splits; k++)
        if (memcmp(whole->y + ((size_t)k * b->samples + s) * part, alone->y + (size_t)k * part, part))
            return false;
    return memcmp(whole->trace + (size_t)s * alone->trace_count, alone->trace,
                  alone->trace_count * 4) == 0 &&
           memcmp(whole->rgb + (size_t)s * alone->rgb_count, alone->rgb, alone->rgb_count * 4) == 0;
}

static int check_tiles(const struct conv_bench *b, const struct conv_output *first)
{
    int misses = 0, same = 1;

    for (int tile = 1; tile < conv_cuda_tiles(&b->conv); tile++) {
        struct conv_output o;

        misses += conv_bench_run(b, 0, b->samples, tile, WHOLE, &o);
        if (!conv_output_same(first, &o))
            misses += check_that(false, "%s: tile %d makes other bits than tile 0", b->name, tile);
        else
            same++;
        conv_output_release(&o);
    }
    return misses + check_that(same == conv_cuda_tiles(&b->conv), "%s: %d tiles make the same bits",
                               b->name, same);
}

static int check_places(const struct conv_bench *b, const struct conv_output *whole)
{
    int misses = 0, same = 0;

    for (int s = 0; s < b->samples; s++) {
        struct conv_output o;

        misses += conv_bench_run(b, s, 1, -1, WHOLE, &o);
        same += same_alone(b, whole, s, &o);
        conv_output_release(&o);
    }
    return misses + check_that(same == b->samples, "%s: a sample alone makes the same bits", b->name);
}

int conv_bench_check(const struct conv_trial *trial, enum precision precision)
{
    struct conv_bench b;
    struct conv_output bare, whole;
    int misses = 0;

    if (conv_bench_make(&b, trial, precision)) {
        conv_bench_release(&b);
        return check_that(false, "%s: could not be prepared", b.name);
    }
    misses += check_scales(&b);
    misses += conv_bench_run(&b, 0, b.samples, 0, BARE, &bare);
    b.sum = sums_of(&b, &bare);
    misses += check_sums(&b);
    misses += conv_bench_run(&b, 0, b.samples, 0, WHOLE, &whole);
    if (b.conv.splits == 1)
        misses += check_finish(&b, &whole);
    misses += check_tiles(&b, &whole);
    misses += check_places(&b, &whole);
    for (int s = 0; s < b.samples; s++)
        if (whole.broken[s] != INT_MAX)
            misses += check_that(false, "%s: sample %d reported as broken", b.name, s);
    conv_output_release(&bare);
    conv_output_release(&whole);
    conv_bench_release(&b);
    return misses;
}
