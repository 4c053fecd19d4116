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
#include "tests/kit_networks.h"

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

static struct model *open_model(const struct kit_network *row)
{
    struct model *model;
    struct err e;

    if (row->resolution ? kit_network_model(row, 0.0f, &model, &e)
                        : model_open("deploy/models/avatars64.safetensors", &model, &e))
        die(e.msg);
    return model;
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

static void measure(const struct kit_network *row, int rounds, int threads, float *const gemm[3])
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
    operations = kit_network_operations(&plan);
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
    static const struct kit_network SHIPPED = { .name = "avatars64" };

    for (int i = -1; i < KIT_NETWORK_COUNT; i++) {
        const struct kit_network *row = i < 0 ? &SHIPPED : &KIT_NETWORKS[i];

        if (argc < 4 || strcmp(argv[3], "all") == 0 || strcmp(argv[3], row->name) == 0)
            measure(row, rounds, threads, gemm);
    }
    for (int i = 0; i < 3; i++)
        free(gemm[i]);
    return 0;
}
