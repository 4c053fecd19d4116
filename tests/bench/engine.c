/* engine -- how fast the CPU engine is beside the machine's own limit: its arithmetic rate as a
 * ratio to cblas_sgemm (n = 2048, as many threads) in the same run.
 *
 *     engine [ROUNDS] [THREADS] [NETWORK|all] [avx2]
 *
 * Networks have random weights: what they compute is noise, how long it takes is not. Operations
 * are counted as the reference does, two for each multiplication of a convolution by the definition
 * of its family (StyleGAN 3: and of the FIRs, polyphase), whatever this engine really does. Prints
 * images/s, GFLOP/s, the ratio to sgemm (median, lowest, highest), and the memory that model and
 * net take, everything included. The shipped model renders 16 pictures at a time, others one. */
#include "base/clock.h"
#include "kernels/backend.h"
#include "kernels/model.h"
#include "kernels/plan.h"
#include "kernels/simd.h"
#include "tests/kit_arch.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 2048, ROUNDS_MAX = 99, SMALL_BATCH = 16 };

void openblas_set_num_threads(int threads);

static void die(const char *words)
{
    fprintf(stderr, "engine: %s\n", words);
    exit(1);
}

/* ---- Networks of random weights ---- */

struct network_row {
    const char *name;
    enum model_arch family;
    int resolution;         /* 0: the shipped model */
    int base, max;          /* of channels, as the family counts them */
    bool radial;            /* StyleGAN 3-r and not -t */
};

static const struct network_row NETWORKS[] = {
    { "avatars64", MODEL_STYLEGAN2, 0, 0, 0, false },
    { "stylegan2-256", MODEL_STYLEGAN2, 256, 16384, 512, false },
    { "stylegan2-1024", MODEL_STYLEGAN2, 1024, 32768, 512, false },
    { "stylegan1-256", MODEL_STYLEGAN1, 256, 8192, 512, false },
    { "stylegan1-1024", MODEL_STYLEGAN1, 1024, 8192, 512, false },
    { "stylegan3-t-1024", MODEL_STYLEGAN3, 1024, 32768, 512, false },
    { "stylegan3-r-1024", MODEL_STYLEGAN3, 1024, 65536, 1024, true },
};

/* The rest of a network as the official tools build it. */
static void describe(const struct network_row *row, struct kit_arch *out)
{
    int num_ws = 2 * arch_blocks(row->resolution);
    struct stylegan1_arch a1 = { 512, 0, 512, row->resolution, num_ws, 8, 512, row->base,
                                 row->max };
    struct stylegan2_arch a2 = { 512, 0, 512, row->resolution, num_ws, 8, row->base, row->max, 0 };
    struct stylegan3_arch a3 = {
        .z_dim = 512,
        .w_dim = 512,
        .resolution = row->resolution,
        .num_ws = 16,
        .mapping_layers = 2,
        .channel_base = row->base,
        .channel_max = row->max,
        .num_layers = 14,
        .num_critical = 2,
        .first_cutoff = 2,
        .first_stopband = 4.2870938501451725,
        .last_stopband_rel = 1.2311444133449163,
        .margin_size = 10,
        .output_scale = 0.25,
        .conv_kernel = row->radial ? 1 : 3,
        .use_radial_filters = row->radial,
        .filter_size = 6,
        .lrelu_upsampling = 2,
        .conv_clamp = 256,
    };

    switch (row->family) {
    case MODEL_STYLEGAN1: kit_arch_stylegan1(out, &a1); break;
    case MODEL_STYLEGAN2: kit_arch_stylegan2(out, &a2); break;
    case MODEL_STYLEGAN3: kit_arch_stylegan3(out, &a3); break;
    }
}

static struct model *make_model(const struct network_row *row)
{
    static struct kit_arch arch;
    struct model *model;
    struct err e;
    size_t len;

    describe(row, &arch);
    uint8_t *file = kit_arch_bytes(&arch, &(struct kit_weights){ .scale = 1, .seed = 1 }, &len);

    if (model_parse(file, len, &model, &e))
        die(e.msg);
    free(file);
    return model;
}

static struct model *open_model(const struct network_row *row)
{
    struct model *model;
    struct err e;

    if (row->resolution)
        return make_model(row);
    if (model_open("deploy/models/avatars64.safetensors", &model, &e))
        die(e.msg);
    return model;
}

/* ---- Counting ---- */

static double filter_operations(const struct filtered_lrelu *f)
{
    double in = f->in, out = f->out, wide = 2.0 * (out - 1) + FILTERED_LRELU_DOWN_TAPS;
    double up = FILTERED_LRELU_TAPS * (wide * in + wide * wide);
    double taps = FILTERED_LRELU_DOWN_TAPS;

    return 2.0 * (up + (f->radial ? taps * taps * out * out : taps * (wide * out + out * out)));
}

/* Of one picture. */
static double count_operations(const struct plan *plan)
{
    double sum = 0.0;

    for (int i = 0; i < plan->layers; i++) {
        const struct plan_layer *layer = &plan->layer[i];
        const struct conv_shape *n = &layer->conv;
        double pairs = 2.0 * n->in * n->out, in = n->size, side = in + 2 * n->pad + 1 - n->kernel;

        switch (n->kind) {
        case CONV_PLAIN:
            sum += pairs * n->kernel * n->kernel * side * side;
            break;
        case CONV_UP_SCATTER:
            sum += pairs * 9.0 * in * in;
            break;
        case CONV_UP_NEAREST:       /* by the definition of its size: stylegan1.c */
            sum += pairs * (layer->size < 128 ? 36.0 : 16.0) * in * in;
            break;
        }
        if (layer->finish == PLAN_FILTER)
            sum += n->out * filter_operations(&layer->filter);
    }
    return sum;
}

/* ---- Timing ---- */

static double sgemm_rate(float *a, float *b, float *c)
{
    int64_t from = clock_us();

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1.0f, a, N, b, N, 0.0f, c, N);
    return 2.0 * N * N * N / (double)(clock_us() - from) / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Kilobytes that /proc/self/status says under key. */
static long memory_kb(const char *key)
{
    char line[128];
    long kb = 0;
    FILE *file = fopen("/proc/self/status", "re");

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), ": %ld", &kb);
    if (file)
        fclose(file);
    return kb;
}

static void measure(const struct network_row *row, int rounds, int threads, float *const gemm[3])
{
    static struct plan plan;
    double ratio[ROUNDS_MAX], images[ROUNDS_MAX], rate[ROUNDS_MAX], operations;
    struct sample sample = { .psi = 0.7f, .class_index = -1, .seed = 1 }, samples[SMALL_BATCH];
    int batch = row->resolution ? 1 : SMALL_BATCH, repeat = row->resolution ? 1 : 20;
    long before = memory_kb("VmRSS");
    struct model *model = open_model(row);
    struct engine *engine;
    struct net *net;
    uint8_t *rgb;
    struct err e;

    if (plan_create(model, &plan, &e) ||
        backend_cpu.open(&(struct backend_options){ .threads = threads,
                                                      .drop_values = true }, &engine, &e) ||
        backend_cpu.load(engine, model, batch, &net, &e))
        die(e.msg);
    operations = count_operations(&plan);
    sample.cutoff = model_facts(model)->num_ws;
    sample.noise = model_facts(model)->noise_modes >> RECIPE_NOISE_CONST & 1 ? RECIPE_NOISE_CONST
                                                                             : RECIPE_NOISE_NONE;
    rgb = malloc((size_t)model_facts(model)->width * (size_t)model_facts(model)->height * 3 *
                 (size_t)batch);
    for (int i = 0; i < batch; i++)
        samples[i] = sample;
    for (int i = -1; i < rounds; i++) {     /* the first to warm up */
        double sgemm = sgemm_rate(gemm[0], gemm[1], gemm[2]);
        int64_t from = clock_us();

        for (int j = 0; j < repeat; j++)
            if (backend_cpu.render(net, samples, batch, rgb, NULL, &e))
                die(e.msg);
        double us = (double)(clock_us() - from) / repeat / batch;

        if (i < 0)
            continue;
        images[i] = 1e6 / us;
        rate[i] = operations / us / 1e3;
        ratio[i] = rate[i] / sgemm;
    }
    qsort(ratio, (size_t)rounds, sizeof *ratio, by_value);
    qsort(images, (size_t)rounds, sizeof *images, by_value);
    qsort(rate, (size_t)rounds, sizeof *rate, by_value);
    printf("%-18s %8.1f GFLOP %8.3f images/s %7.1f GFLOP/s  ratio to sgemm %.2f (%.2f to %.2f)"
           "  memory %ld MB\n",
           row->name, operations / 1e9, images[rounds / 2], rate[rounds / 2], ratio[rounds / 2],
           ratio[0], ratio[rounds - 1], (memory_kb("VmRSS") - before) / 1024);
    fflush(stdout);
    free(rgb);
    backend_cpu.unload(&net);
    backend_cpu.close(&engine);
    model_destroy(&model);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 5;
    int threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    float *gemm[3];

    if (rounds < 1 || rounds > ROUNDS_MAX || threads < 1)
        die("usage: engine [ROUNDS] [THREADS] [NETWORK|all] [avx2]");
    if (argc > 4 && strcmp(argv[4], "avx2") == 0)   /* and OPENBLAS_CORETYPE=Haswell beside it */
        simd_limit(SIMD_AVX2);
    openblas_set_num_threads(threads);
    for (int i = 0; i < 3; i++) {
        gemm[i] = malloc((size_t)N * N * sizeof(float));
        for (size_t j = 0; j < (size_t)N * N; j++)
            gemm[i][j] = (float)(j % 7) - 3.0f;
    }
    printf("%d threads, %s, %d rounds\n", threads, simd_word(simd_level()), rounds);
    for (size_t i = 0; i < sizeof NETWORKS / sizeof NETWORKS[0]; i++)
        if (argc < 4 || strcmp(argv[3], "all") == 0 ||
            strcmp(argv[3], NETWORKS[i].name) == 0)
            measure(&NETWORKS[i], rounds, threads, gemm);
    for (int i = 0; i < 3; i++)
        free(gemm[i]);
    return 0;
}
