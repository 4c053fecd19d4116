/* conv_peers -- the engine's convolution beside the libraries that it could have used: oneDNN's
 * convolution (its own choice of memory layout and algorithm "auto", weights reordered beforehand,
 * input and output in its layout) and OpenBLAS's sgemm over columns (im2col). GFLOP/s of a 3 x 3
 * convolution with padding 1, median of rounds that take turns; ratios to sgemm (n = 2048).
 *
 *     conv_peers [ROUNDS] [THREADS]
 *
 * None of them modulates, demodulates, adds noise or activates here; the engine's convolution reads
 * plain planes and writes plain planes, as the network has them. */
#include "base/clock.h"
#include "kernels/conv.h"
#include "kernels/pool.h"

#include <cblas.h>
#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 2048, ROUNDS_MAX = 99 };

void openblas_set_num_threads(int threads);

struct shape {
    int in, out, size;
};

static const struct shape SHAPES[] = {
    { 512, 512, 16 }, { 512, 512, 64 }, { 256, 256, 128 }, { 128, 128, 256 }, { 64, 64, 512 },
    { 32, 32, 1024 },
};

static void die(const char *words)
{
    fprintf(stderr, "conv_peers: %s\n", words);
    exit(1);
}

static float *numbers(size_t count)
{
    float *out = aligned_alloc(64, (count * sizeof *out + 63) / 64 * 64);

    if (!out)
        die("no memory");
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(i % 13) - 6.0f;
    return out;
}

static double rate(double operations, int64_t from)
{
    return operations / (double)(clock_us() - from) / 1e3;
}

/* ---- Ours ---- */

struct ours {
    struct conv conv;
    struct conv_job job;
    struct conv_tiling tiling;
    struct pool *pool;
    float *y, *scratch;
    size_t scratch_each;
};

static void put_rows(void *arg, int sample, int channel, int phase, int first, int rows,
                     const float *y, size_t pitch)
{
    struct ours *self = arg;
    size_t size = (size_t)self->conv.rows;

    (void)sample, (void)phase;
    for (int r = 0; r < rows; r++)
        memcpy(self->y + ((size_t)channel * size + (size_t)(first + r)) * size,
               y + (size_t)r * pitch, size * sizeof *y);
}

static void run_item(void *arg, size_t index, int worker)
{
    struct ours *self = arg;

    conv_cpu(&self->job, &self->tiling, index, self->scratch + (size_t)worker * self->scratch_each);
}

static void ours_open(struct ours *self, const struct shape *n, const float *x, const float *w,
                      int threads)
{
    struct conv_shape shape = { .kind = CONV_PLAIN, .in = n->in, .out = n->out, .size = n->size,
                                .kernel = 3, .pad = 1 };
    struct conv_weights weights = { .data = w, .out = 9 * n->in, .in = 9, .row = 3, .column = 1 };
    struct err e;

    if (pool_create(threads, &self->pool, &e) || conv_init(&self->conv, &shape, &weights, &e))
        die(e.msg);
    self->y = numbers((size_t)n->out * (size_t)n->size * (size_t)n->size);
    self->scratch_each = (conv_scratch_count(&self->conv, 1, threads) + 15) / 16 * 16;
    self->scratch = numbers(self->scratch_each * (size_t)threads);
    self->job = (struct conv_job){ .conv = &self->conv, .samples = 1, .x = x, .store = put_rows,
                                   .arg = self };
    self->tiling = conv_tile(&self->conv, 1, threads);
}

static void ours_close(struct ours *self)
{
    conv_release(&self->conv);
    pool_destroy(&self->pool);
    free(self->y);
    free(self->scratch);
}

/* ---- OpenBLAS: columns, then one product ---- */

static void fill_columns(float *columns, const float *x, const struct shape *n)
{
    int size = n->size;

#pragma omp parallel for
    for (int k = 0; k < n->in * 9; k++) {
        const float *from = x + (size_t)(k / 9) * (size_t)size * (size_t)size;
        float *to = columns + (size_t)k * (size_t)size * (size_t)size;
        int dy = k % 9 / 3 - 1, dx = k % 3 - 1;

        for (int r = 0; r < size; r++)
            for (int c = 0; c < size; c++) {
                int sy = r + dy, sx = c + dx;

                to[r * size + c] = sy < 0 || sx < 0 || sy >= size || sx >= size
                                       ? 0.0f : from[sy * size + sx];
            }
    }
}

static void blas_run(float *y, float *columns, const float *x, const float *w,
                     const struct shape *n)
{
    int pixels = n->size * n->size;

    fill_columns(columns, x, n);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n->out, pixels, 9 * n->in, 1.0f, w,
                9 * n->in, columns, pixels, 0.0f, y, pixels);
}

/* ---- oneDNN ---- */

struct dnn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t conv;
    dnnl_memory_t src, weights, dst;
    char impl[64];
};

static void check(dnnl_status_t status)
{
    if (status != dnnl_success)
        die("oneDNN refuses");
}

static void dnn_open(struct dnn *self, const struct shape *n)
{
    dnnl_dims_t src = { 1, n->in, n->size, n->size }, dst = { 1, n->out, n->size, n->size };
    dnnl_dims_t weights = { n->out, n->in, 3, 3 }, strides = { 1, 1 }, pad = { 1, 1 };
    dnnl_memory_desc_t s, w, d;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd;
    const char *impl;

    check(dnnl_engine_create(&self->engine, dnnl_cpu, 0));
    check(dnnl_stream_create(&self->stream, self->engine, dnnl_stream_default_flags));
    check(dnnl_memory_desc_init_by_tag(&s, 4, src, dnnl_f32, dnnl_format_tag_any));
    check(dnnl_memory_desc_init_by_tag(&w, 4, weights, dnnl_f32, dnnl_format_tag_any));
    check(dnnl_memory_desc_init_by_tag(&d, 4, dst, dnnl_f32, dnnl_format_tag_any));
    check(dnnl_convolution_forward_desc_init(&desc, dnnl_forward_inference,
                                             dnnl_convolution_auto, &s, &w, NULL, &d, strides, pad,
                                             pad));
    check(dnnl_primitive_desc_create(&pd, &desc, NULL, self->engine, NULL));
    check(dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&impl));
    snprintf(self->impl, sizeof self->impl, "%s", impl);
    check(dnnl_memory_create(&self->src, dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0),
                             self->engine, DNNL_MEMORY_ALLOCATE));
    check(dnnl_memory_create(&self->weights,
                             dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0),
                             self->engine, DNNL_MEMORY_ALLOCATE));
    check(dnnl_memory_create(&self->dst, dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0),
                             self->engine, DNNL_MEMORY_ALLOCATE));
    check(dnnl_primitive_create(&self->conv, pd));
    check(dnnl_primitive_desc_destroy(pd));
    void *data;

    check(dnnl_memory_get_data_handle(self->src, &data));
    memset(data, 0, (size_t)n->in * (size_t)n->size * (size_t)n->size * sizeof(float));
    check(dnnl_memory_get_data_handle(self->weights, &data));
    memset(data, 0, (size_t)n->in * (size_t)n->out * 9 * sizeof(float));
}

static void dnn_run(struct dnn *self)
{
    dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, self->src }, { DNNL_ARG_WEIGHTS, self->weights },
                               { DNNL_ARG_DST, self->dst } };

    check(dnnl_primitive_execute(self->conv, self->stream, 3, args));
    check(dnnl_stream_wait(self->stream));
}

static void dnn_close(struct dnn *self)
{
    dnnl_memory_destroy(self->src);
    dnnl_memory_destroy(self->weights);
    dnnl_memory_destroy(self->dst);
    dnnl_primitive_destroy(self->conv);
    dnnl_stream_destroy(self->stream);
    dnnl_engine_destroy(self->engine);
}

/* ---- Side by side ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

static void compare(const struct shape *n, int rounds, int threads, float *const gemm[3])
{
    size_t pixels = (size_t)n->size * (size_t)n->size;
    double operations = 18.0 * n->in * n->out * (double)pixels, all = 2.0 * N * N * (double)N;
    float *x = numbers((size_t)n->in * pixels), *w = numbers((size_t)n->in * (size_t)n->out * 9);
    float *y = numbers((size_t)n->out * pixels), *columns = numbers((size_t)n->in * 9 * pixels);
    double sgemm[ROUNDS_MAX], own[ROUNDS_MAX], dnn[ROUNDS_MAX], blas[ROUNDS_MAX];
    struct ours ours;
    struct dnn peer;

    ours_open(&ours, n, x, w, threads);
    dnn_open(&peer, n);
    for (int i = -1; i < rounds; i++) {
        int at = i < 0 ? 0 : i;
        int64_t from = clock_us();

        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1.0f, gemm[0], N, gemm[1],
                    N, 0.0f, gemm[2], N);
        sgemm[at] = rate(all, from);
        from = clock_us();
        pool_run(ours.pool, ours.tiling.items, run_item, &ours);
        own[at] = rate(operations, from);
        from = clock_us();
        dnn_run(&peer);
        dnn[at] = rate(operations, from);
        from = clock_us();
        blas_run(y, columns, x, w, n);
        blas[at] = rate(operations, from);
    }
    double limit = median(sgemm, rounds), a = median(own, rounds), b = median(dnn, rounds);
    double c = median(blas, rounds);

    printf("%4d -> %4d at %4d  sgemm %6.1f  engine %6.1f (%.2f)  oneDNN %6.1f (%.2f, %s)  im2col + "
           "sgemm %6.1f (%.2f)\n", n->in, n->out, n->size, limit, a, a / limit, b, b / limit,
           peer.impl, c, c / limit);
    fflush(stdout);
    dnn_close(&peer);
    ours_close(&ours);
    free(x);
    free(w);
    free(y);
    free(columns);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 9;
    int threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    float *gemm[3];

    if (rounds < 1 || rounds > ROUNDS_MAX || threads < 1)
        die("usage: conv_peers [ROUNDS] [THREADS]");
    openblas_set_num_threads(threads);
    omp_set_num_threads(threads);
    for (int i = 0; i < 3; i++)
        gemm[i] = numbers((size_t)N * N);
    printf("GFLOP/s, %d threads, %d rounds\n", threads, rounds);
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++)
        compare(&SHAPES[i], rounds, threads, gemm);
    for (int i = 0; i < 3; i++)
        free(gemm[i]);
    return 0;
}
