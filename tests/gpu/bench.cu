/* bench -- how fast the backend is beside this device's own limits, measured in turn with it: dense
 * fp16 products by cuBLAS, and copies. Networks have random weights of the real shapes. A line as
 * soon as it is known; the same figures as JSON lines in the file that SEEDPRESS_BENCH_OUT names,
 * for tests/bench/gpu_peer.py. Times are those of a whole render: seeds in, pixels in the host's
 * page-locked memory out, as the peer's are; beside them those of JPEG coefficients, as a worker takes
 * them. */
#include <cuda_runtime.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/clock.h"
#include "kernels/backend.h"
#include "kernels/jpeg_transform.h"
#include "kernels/plan.h"
#include "tests/gpu/check.h"
#include "tests/gpu/rig.h"
#include "tests/kit_networks.h"

enum err_code seedpress_cuda_profile(struct net *self, int count,
                                     void (*row)(void *arg, const char *name, double us), void *arg,
                                     struct err *e);
}

enum {
    PEAK_N = 8192,
    PEAK_REPEAT = 8,
    ROUNDS = 5,
    BATCH_MAX = 32,
    ROUND_US = 120000,              /* renders of a round fill as much time */
    RENDERS_MAX = 4000,
    LAYERS_MAX = 200,
};
static const size_t COPY_BYTES = (size_t)1 << 30;

/* What the picture of a StyleGAN 2 at 1024 pixels is counted as, never what an engine saves of it. */
static const double STYLEGAN2_1024_FLOP = 148.1e9;

static FILE *json;

/* ---- The device's limits ---- */

/* The part of cuBLAS's interface that is used; its library is opened at run time. */
struct gemm {
    void *library, *handle;
    int (*multiply)(void *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha,
                    const void *a, int type_a, int lda, const void *b, int type_b, int ldb,
                    const void *beta, void *c, int type_c, int ldc, int compute, int algorithm);
    unsigned short *a, *b, *c;      /* on the device, [PEAK_N, PEAK_N] halves */
    cudaEvent_t from, to;
};

static bool gemm_open(struct gemm *self)
{
    static const char *const NAMES[] = { "libcublas.so.13", "libcublas.so.12", "libcublas.so",
                                         "/usr/local/cuda/lib64/libcublas.so" };
    size_t count = (size_t)PEAK_N * PEAK_N;
    unsigned short *host = (unsigned short *)malloc(count * sizeof *host);
    unsigned state = 1;
    int (*create)(void **);

    memset(self, 0, sizeof *self);
    for (const char *name : NAMES)
        if (!self->library)
            self->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!self->library || !host) {
        free(host);
        return false;
    }
    *(void **)&create = dlsym(self->library, "cublasCreate_v2");
    *(void **)&self->multiply = dlsym(self->library, "cublasGemmEx");
    /* Halves of +-1 to 2 with random mantissas: what a matrix of zeros takes says nothing. */
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        host[i] = (unsigned short)(0x3c00u | (state >> 8 & 0x3ffu) | (state >> 16 & 0x8000u));
    }
    bool good = create && self->multiply && create(&self->handle) == 0 &&
                cudaMalloc(&self->a, 2 * count) == cudaSuccess &&
                cudaMalloc(&self->b, 2 * count) == cudaSuccess &&
                cudaMalloc(&self->c, 2 * count) == cudaSuccess &&
                cudaMemcpy(self->a, host, 2 * count, cudaMemcpyHostToDevice) == cudaSuccess &&
                cudaMemcpy(self->b, host, 2 * count, cudaMemcpyHostToDevice) == cudaSuccess &&
                cudaEventCreate(&self->from) == cudaSuccess &&
                cudaEventCreate(&self->to) == cudaSuccess;
    free(host);
    return good;
}

/* TFLOP/s now; 0 when it failed. */
static double gemm_rate(struct gemm *self)
{
    enum { HALF = 2, COMPUTE_32F = 68, ALGORITHM_DEFAULT = -1 };
    const float one = 1.0f, zero = 0.0f;
    float ms = 0.0f;

    cudaEventRecord(self->from, NULL);
    for (int i = 0; i < PEAK_REPEAT; i++)
        if (self->multiply(self->handle, 1, 0, PEAK_N, PEAK_N, PEAK_N, &one, self->a, HALF, PEAK_N,
                           self->b, HALF, PEAK_N, &zero, self->c, HALF, PEAK_N, COMPUTE_32F,
                           ALGORITHM_DEFAULT) != 0)
            return 0.0;
    cudaEventRecord(self->to, NULL);
    if (cudaEventSynchronize(self->to) != cudaSuccess ||
        cudaEventElapsedTime(&ms, self->from, self->to) != cudaSuccess || ms <= 0.0f)
        return 0.0;
    return 2.0 * PEAK_N * PEAK_N * PEAK_N * PEAK_REPEAT / (double)ms / 1e9;
}

static void gemm_close(struct gemm *self)
{
    cudaFree(self->a);
    cudaFree(self->b);
    cudaFree(self->c);              /* handle and library stay to the end */
}

/* TB/s of a copy within the device, bytes read and bytes written. */
static double copy_rate(void)
{
    void *a = NULL, *b = NULL;
    cudaEvent_t from, to;
    float best = 1e9f, ms = 0.0f;

    if (cudaMalloc(&a, COPY_BYTES) == cudaSuccess && cudaMalloc(&b, COPY_BYTES) == cudaSuccess &&
        cudaEventCreate(&from) == cudaSuccess && cudaEventCreate(&to) == cudaSuccess) {
        cudaMemset(a, 1, COPY_BYTES);
        for (int i = 0; i < 6; i++) {
            cudaEventRecord(from, NULL);
            cudaMemcpyAsync(b, a, COPY_BYTES, cudaMemcpyDeviceToDevice, NULL);
            cudaEventRecord(to, NULL);
            cudaEventSynchronize(to);
            if (cudaEventElapsedTime(&ms, from, to) == cudaSuccess && i > 0)
                best = ms < best ? ms : best;
        }
    }
    cudaFree(a);
    cudaFree(b);
    return 2.0 * (double)COPY_BYTES / (double)best / 1e9;
}

/* ---- Renders ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static size_t device_bytes_free(void)
{
    size_t left = 0, all = 0;

    cudaMemGetInfo(&left, &all);
    return left;
}

struct subject {
    const char *name;
    enum precision precision;
    double flop;                    /* of a picture */
    struct rig rig;
    struct sample samples[BATCH_MAX];
    int qualities[BATCH_MAX];
    void *rgb, *coefficients;       /* page-locked; coefficients is what is wanted where not NULL */
};

static enum err_code render(struct subject *s, int count, struct err *e)
{
    return s->coefficients
               ? seedpress_backend.render_coefficients(s->rig.net, s->samples, s->qualities, count,
                                                       (int16_t *)s->coefficients, e)
               : seedpress_backend.render(s->rig.net, s->samples, count, (uint8_t *)s->rgb, NULL, e);
}

/* Median ms of a render of count samples, and its spread over the rounds; and the median of what
 * the matrix units made of their own rate meanwhile, 0 where there is no cuBLAS. */
struct timing {
    double ms, low, high, fraction, fraction_low, fraction_high;
};

static enum err_code take_times(struct subject *s, int count, struct gemm *gemm, struct timing *out,
                                struct err *e)
{
    static double each[RENDERS_MAX];
    double round[ROUNDS], fraction[ROUNDS];

    for (int i = -1; i < ROUNDS; i++) {         /* the first to warm up, and to capture graphs */
        double peak = gemm ? gemm_rate(gemm) : 0.0;
        int64_t until = clock_us() + ROUND_US;
        int n = 0;

        do {
            int64_t from = clock_us();
            enum err_code rc = render(s, count, e);

            if (rc)
                return rc;
            each[n++] = (double)(clock_us() - from) / 1e3;
        } while (n < RENDERS_MAX && (clock_us() < until || n < 3));
        if (i < 0)
            continue;
        qsort(each, (size_t)n, sizeof *each, by_value);
        round[i] = each[n / 2];
        fraction[i] = peak > 0.0 ? count * s->flop / (round[i] * 1e9) / peak : 0.0;
    }
    qsort(round, ROUNDS, sizeof *round, by_value);
    qsort(fraction, ROUNDS, sizeof *fraction, by_value);
    *out = (struct timing){ round[ROUNDS / 2], round[0], round[ROUNDS - 1], fraction[ROUNDS / 2],
                            fraction[0], fraction[ROUNDS - 1] };
    return ERR_OK;
}

struct layer_times {
    struct {
        char name[48];
        double us;
    } row[LAYERS_MAX];
    int count;
};

static void keep_layer(void *arg, const char *name, double us)
{
    struct layer_times *times = (struct layer_times *)arg;

    if (times->count < LAYERS_MAX) {
        snprintf(times->row[times->count].name, sizeof times->row[0].name, "%s", name);
        times->row[times->count++].us = us;
    }
}

/* Of a micro-batch of 8, without its graph: the second of two runs. */
static int print_layers(struct subject *s)
{
    static struct layer_times times;
    double sum = 0.0;
    struct err e = {};

    for (int i = 0; i < 2; i++) {
        times.count = 0;
        if (seedpress_cuda_profile(s->rig.net, 8, keep_layer, &times, &e))
            return check_no_error(1, e.msg, "%s: layer times", s->name);
    }
    for (int i = 0; i < times.count; i++)
        sum += times.row[i].us;
    for (int i = 0; i < times.count; i++)
        check_note("  %-28s %9.1f us of 8 pictures  %4.1f %%", times.row[i].name, times.row[i].us,
                   100.0 * times.row[i].us / sum);
    check_note("  %-28s %9.1f us of 8 pictures, %.1f us a picture", "all layers", sum, sum / 8);
    return 0;
}

static void print_timing(const struct subject *s, int count, const struct timing *t)
{
    check_note("%-18s %s N=%-2d %9.3f ms (%.3f to %.3f) %9.1f images/s   of the fp16 peak %.3f "
               "(%.3f to %.3f)",
               s->name, precision_word(s->precision), count, t->ms, t->low, t->high,
               1e3 * count / t->ms, t->fraction, t->fraction_low, t->fraction_high);
    if (!json)
        return;
    fprintf(json, "{\"net\":\"%s\",\"precision\":\"%s\",\"batch\":%d,\"ms\":%.4f,\"low\":%.4f,"
                  "\"high\":%.4f,\"images_s\":%.2f,\"fraction\":%.4f}\n",
            s->name, precision_word(s->precision), count, t->ms, t->low, t->high,
            1e3 * count / t->ms, t->fraction);
    fflush(json);
}

/* The largest batch as a worker asks for it. */
static enum err_code measure_coefficients(struct subject *s, int count, struct err *e)
{
    size_t each = jpeg_coefficients_layout(s->rig.facts->width, s->rig.facts->height).count;
    struct timing t;
    enum err_code rc = seedpress_backend.pin(s->rig.engine, (size_t)count * each * sizeof(int16_t),
                                             &s->coefficients, e);

    for (int i = 0; i < count; i++)
        s->qualities[i] = 90;
    if (rc == ERR_OK)
        rc = take_times(s, count, NULL, &t, e);
    seedpress_backend.unpin(s->rig.engine, &s->coefficients);
    if (rc)
        return rc;
    check_note("%-18s %s N=%-2d %9.3f ms (%.3f to %.3f) %9.1f images/s   as JPEG coefficients", s->name,
               precision_word(s->precision), count, t.ms, t.low, t.high, 1e3 * count / t.ms);
    if (json)
        fprintf(json, "{\"net\":\"%s\",\"precision\":\"%s\",\"batch\":%d,\"coefficients_ms\":%.4f}\n",
                s->name, precision_word(s->precision), count, t.ms);
    return ERR_OK;
}

static int measure(const struct kit_network *network, enum precision precision, struct gemm *gemm,
                   const int *batches, bool layers)
{
    static struct plan plan;
    struct subject s = {};
    struct model *model = NULL;
    struct err e = {};
    size_t before = device_bytes_free();
    enum err_code rc = kit_network_model(network, 256.0f, &model, &e);
    int missed = 0, most = 1;

    s.name = network->name;
    s.precision = precision;
    for (const int *n = batches; *n; n++)
        most = *n > most ? *n : most;
    if (rc == ERR_OK)
        rc = plan_create(model, &plan, &e);
    if (rc == ERR_OK)
        s.flop = strcmp(s.name, "stylegan2-1024") == 0 ? STYLEGAN2_1024_FLOP
                                                       : kit_network_operations(&plan);
    if (rc)
        return check_no_error(rc, e.msg, "%s: its model", s.name);
    rc = rig_open(&s.rig, model, precision, most, &e);
    if (rc)
        return check_no_error(rc, e.msg, "%s %s loads", s.name, precision_word(precision));
    rig_samples(s.samples, BATCH_MAX, s.rig.facts);
    rc = seedpress_backend.pin(s.rig.engine, (size_t)most * s.rig.values, &s.rgb, &e);
    if (rc) {
        rig_close(&s.rig);
        return check_no_error(rc, e.msg, "%s: memory for its pixels", s.name);
    }
    for (int i = 0; i < BATCH_MAX; i++) {       /* as a plain request would come */
        s.samples[i].psi = 0.7f;
        s.samples[i].noise = s.rig.facts->noise_modes >> RECIPE_NOISE_CONST & 1
                                 ? RECIPE_NOISE_CONST
                                 : RECIPE_NOISE_NONE;
        s.samples[i].transform = (struct recipe_transform){};
    }
    for (const int *n = batches; *n; n++) {
        struct timing t;

        rc = take_times(&s, *n, gemm, &t, &e);
        if (rc) {
            missed += check_no_error(rc, e.msg, "%s %s N=%d", s.name, precision_word(precision), *n);
            break;
        }
        print_timing(&s, *n, &t);
    }
    if (rc == ERR_OK && (rc = measure_coefficients(&s, most, &e)))
        missed += check_no_error(rc, e.msg, "%s %s N=%d as JPEG coefficients", s.name,
                                 precision_word(precision), most);
    double gb = ((double)before - (double)device_bytes_free()) / 1e9;

    if (layers && rc == ERR_OK)
        missed += print_layers(&s);
    missed += check_that(gb < 8.0, "%-18s %s takes %.2f GB of device memory for batches of %d",
                         s.name, precision_word(precision), gb, most);
    if (json)
        fprintf(json, "{\"net\":\"%s\",\"precision\":\"%s\",\"memory_gb\":%.3f}\n", s.name,
                precision_word(precision), gb);
    seedpress_backend.unpin(s.rig.engine, &s.rgb);
    rig_close(&s.rig);
    return missed;
}

extern "C" int check_bench(void)
{
    static const int BATCHES[] = { 1, 8, 32, 0 }, EIGHT[] = { 8, 0 };
    /* What matters most first: the run may be cut off. */
    static const char *const ORDER[] = { "stylegan2-1024", "stylegan2-256", "stylegan3-t-1024",
                                         "stylegan3-r-1024", "stylegan1-1024" };
    const char *out = getenv("SEEDPRESS_BENCH_OUT");
    struct gemm gemm;
    int missed = 0;
    double copy;

    cudaFree(NULL);                 /* the context, so that nobody's memory counts it */
    json = out ? fopen(out, "w") : NULL;
    copy = copy_rate();
    bool has_gemm = gemm_open(&gemm);
    double first = has_gemm ? gemm_rate(&gemm) : 0.0, peak = has_gemm ? gemm_rate(&gemm) : 0.0;

    peak = first > peak ? first : peak;
    check_note("copy within the device %.2f TB/s; dense fp16 by cuBLAS, n = %d: %.0f TFLOP/s%s", copy,
               PEAK_N, peak, has_gemm ? "" : " (no cuBLAS here: no fractions)");
    missed += check_that(copy > 0.0, "the device copies");
    if (json)
        fprintf(json, "{\"peak_tflops\":%.1f,\"copy_tbs\":%.3f}\n", peak, copy);
    for (const char *name : ORDER)
        for (int i = 0; i < KIT_NETWORK_COUNT; i++)
            if (strcmp(KIT_NETWORKS[i].name, name) == 0)
                missed += measure(&KIT_NETWORKS[i], PRECISION_FP16, has_gemm ? &gemm : NULL, BATCHES,
                                  true);
    for (int i = 0; i < KIT_NETWORK_COUNT; i++)
        if (strcmp(KIT_NETWORKS[i].name, "stylegan2-1024") == 0) {
            missed += measure(&KIT_NETWORKS[i], PRECISION_TF32, has_gemm ? &gemm : NULL, EIGHT,
                              false);
            missed += measure(&KIT_NETWORKS[i], PRECISION_FP32, has_gemm ? &gemm : NULL, EIGHT,
                              false);
        }
    if (has_gemm)
        gemm_close(&gemm);
    if (json)
        fclose(json);
    return missed;
}
