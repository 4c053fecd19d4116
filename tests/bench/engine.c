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

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 2048, ROUNDS_MAX = 99, SMALL_BATCH = 16, FILE_TEXT = 1 << 17 };

void openblas_set_num_threads(int threads);

static void die(const char *words)
{
    fprintf(stderr, "engine: %s\n", words);
    exit(1);
}

/* ---- Networks of random weights ---- */

struct network_row {
    const char *name;
    const char *notes;      /* of the file: architecture with no default open */
};

#define SIZES(z, size, ws) "\"z_dim\":\"" z "\",\"c_dim\":\"0\",\"w_dim\":\"512\","                \
    "\"img_resolution\":\"" size "\",\"img_channels\":\"3\",\"num_ws\":\"" ws "\","
#define STYLEGAN1(size, ws) "\"arch\":\"stylegan1\"," SIZES("512", size, ws)                       \
    "\"mapping_layers\":\"8\",\"mapping_fmaps\":\"512\",\"fmap_base\":\"8192\",\"fmap_max\":\"512\""
#define STYLEGAN2(size, ws, base) "\"arch\":\"stylegan2\"," SIZES("512", size, ws)                 \
    "\"mapping_layers\":\"8\",\"channel_base\":\"" base "\",\"channel_max\":\"512\","              \
    "\"architecture\":\"skip\",\"resample_filter\":\"1,3,3,1\",\"conv_clamp\":\"none\","           \
    "\"num_fp16_res\":\"4\""
#define STYLEGAN3(base, max, kernel, radial) "\"arch\":\"stylegan3\"," SIZES("512", "1024", "16")  \
    "\"mapping_layers\":\"2\",\"channel_base\":\"" base "\",\"channel_max\":\"" max "\","          \
    "\"num_layers\":\"14\",\"num_critical\":\"2\",\"first_cutoff\":\"2\","                         \
    "\"first_stopband\":\"4.2870938501451725\",\"last_stopband_rel\":\"1.2311444133449163\","      \
    "\"margin_size\":\"10\",\"output_scale\":\"0.25\",\"num_fp16_res\":\"4\","                     \
    "\"conv_kernel\":\"" kernel "\",\"use_radial_filters\":\"" radial "\","                        \
    "\"filter_size\":\"6\",\"lrelu_upsampling\":\"2\",\"conv_clamp\":\"256\""

static const struct network_row NETWORKS[] = {
    { "avatars64", NULL },
    { "stylegan2-256", STYLEGAN2("256", "14", "16384") },
    { "stylegan2-1024", STYLEGAN2("1024", "18", "32768") },
    { "stylegan1-256", STYLEGAN1("256", "14") },
    { "stylegan1-1024", STYLEGAN1("1024", "18") },
    { "stylegan3-t-1024", STYLEGAN3("32768", "512", "3", "false") },
    { "stylegan3-r-1024", STYLEGAN3("65536", "1024", "1", "true") },
};

static bool ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);

    return n >= m && strcmp(name + n - m, ending) == 0;
}

/* Numbers of about unit variance; filters let half of the spectrum through and nothing explodes. */
static void fill_tensor(float *out, const struct tensor_need *need, size_t count)
{
    static uint32_t state = 1;
    bool flat = ends_in(need->name, "_filter");

    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        out[i] = flat ? 1.0f / (float)count : (float)(state >> 8) / 4843480.0f - 1.732f;
        if (ends_in(need->name, "magnitude_ema"))
            out[i] = 1.0f;
        if (ends_in(need->name, "transform"))
            out[i] = i % 4 == 0 ? 1.0f : 0.0f;
    }
}

/* The architecture of notes, by a file that has nothing else. */
static size_t list_tensors(const struct network_row *row, struct tensor_need *need)
{
    struct notes *notes = notes_create();
    char copy[2048];
    struct err e;
    size_t count = 0;
    struct stylegan1_arch a1;
    struct stylegan2_arch a2;
    static struct stylegan3_arch a3;

    snprintf(copy, sizeof copy, "%s", row->notes);
    for (char *rest = copy, *key; (key = strsep(&rest, "\"")) && (key = strsep(&rest, "\""));) {
        strsep(&rest, "\"");
        if (notes_add(notes, key, strsep(&rest, "\""), &e))
            die(e.msg);
    }
    const char *arch = notes_find(notes, "arch");

    if (ends_in(arch, "1") && !stylegan1_arch_read(notes, &a1, &e))
        count = stylegan1_arch_tensors(&a1, need);
    else if (ends_in(arch, "2") && !stylegan2_arch_read(notes, &a2, &e))
        count = stylegan2_arch_tensors(&a2, need);
    else if (ends_in(arch, "3") && !stylegan3_arch_read(notes, &a3, &e))
        count = stylegan3_arch_tensors(&a3, need);
    else
        die(e.msg);
    notes_destroy(&notes);
    return count;
}

static struct model *make_model(const struct network_row *row)
{
    static struct tensor_need need[ARCH_TENSORS_MAX];
    static char header[FILE_TEXT];
    size_t tensors = list_tensors(row, need), at = 0, bytes = 0;
    struct model *model;
    struct err e;

    at += (size_t)snprintf(header, sizeof header, "{\"__metadata__\":{%s}", row->notes);
    for (size_t i = 0; i < tensors; i++) {
        size_t count = 1;

        at += (size_t)snprintf(header + at, sizeof header - at, ",\"%s\":{\"dtype\":\"F32\","
                               "\"shape\":[", need[i].name);
        for (int d = 0; d < need[i].rank; d++) {
            at += (size_t)snprintf(header + at, sizeof header - at, "%s%d", d ? "," : "",
                                   need[i].shape[d]);
            count *= (size_t)need[i].shape[d];
        }
        at += (size_t)snprintf(header + at, sizeof header - at, "],\"data_offsets\":[%zu,%zu]}",
                               bytes, bytes + 4 * count);
        bytes += 4 * count;
    }
    header[at++] = '}';
    while (at % 8)
        header[at++] = ' ';
    uint8_t *file = malloc(8 + at + bytes);
    float *data = (float *)(void *)(file + 8 + at);

    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)at >> 8 * i);
    memcpy(file + 8, header, at);
    for (size_t i = 0; i < tensors; i++) {
        size_t count = 1;

        for (int d = 0; d < need[i].rank; d++)
            count *= (size_t)need[i].shape[d];
        fill_tensor(data, &need[i], count);
        data += count;
    }
    if (model_parse(file, 8 + at + bytes, &model, &e))
        die(e.msg);
    free(file);
    return model;
}

static struct model *open_model(const struct network_row *row)
{
    struct model *model;
    struct err e;

    if (row->notes)
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
    int batch = row->notes ? 1 : SMALL_BATCH, repeat = row->notes ? 1 : 20;
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
