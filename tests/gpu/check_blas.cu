/* cuBLAS in its pinned form: right, and a column's bits its own. The second is what batch
 * invariance rests on, and only a device can show it. */
#include "kernels/cuda/blas.cuh"
#include "kernels/cuda/room.cuh"
extern "C" {
#include "tests/gpu/check.h"
}

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 1e-6 is of the sum of the terms' magnitudes: a float32's 6e-8 each, roundings of both signs. */
static const double TOLERANCE = 1e-6;

struct shape {
    int out, in;
    size_t x_gap, y_gap;        /* floats between columns that belong to none */
};

/* Of mapping networks and styles: square, odd, few outputs, rows of ws, pieces of coefficients. */
static const struct shape SHAPES[] = {
    { 512, 512, 0, 0 }, { 33, 19, 0, 0 },        { 4, 512, 9 * 512, 131 }, { 96, 24, 8, 4 },
    { 1, 1, 0, 0 },     { 512, 1024, 1024, 64 }, { 32, 512, 17 * 512, 9000 },
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0], QUIRKS = 4 };

struct bench {
    struct shape n;
    size_t x_each, y_each, x_count, y_count;
    float *weight, *x, *y;      /* on the host: y is what the last product made */
    float *d_weight, *d_x, *d_y;
    struct room *room;
};

static float random_of(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(*state >> 40) / 8388608.0f - 1.0f;
}

static void fill(float *out, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        out[i] = random_of(&seed);
}

static bool bench_open(struct bench *self, const struct shape *n)
{
    struct err e;

    *self = (struct bench){};
    self->n = *n;
    self->x_each = (size_t)n->in + n->x_gap;
    self->y_each = (size_t)n->out + n->y_gap;
    self->x_count = self->x_each * BLAS_COLUMNS;
    self->y_count = self->y_each * BLAS_COLUMNS;
    size_t weights = (size_t)n->in * (size_t)n->out;

    self->weight = (float *)malloc(weights * sizeof(float));
    self->x = (float *)malloc(self->x_count * sizeof(float));
    self->y = (float *)malloc(self->y_count * sizeof(float));
    if (!self->weight || !self->x || !self->y || room_create(&self->room, &e))
        return false;
    fill(self->weight, weights, 1);
    self->d_weight = (float *)room_put(self->room, self->weight, weights * sizeof(float));
    self->d_x = (float *)room_take(self->room, self->x_count * sizeof(float));
    self->d_y = (float *)room_take(self->room, self->y_count * sizeof(float));
    return room_check(self->room, &e) == ERR_OK;
}

static void bench_close(struct bench *self)
{
    free(self->weight);
    free(self->x);
    free(self->y);
    room_destroy(&self->room);
}

static enum err_code multiply(struct bench *self, struct blas *blas, cudaStream_t stream,
                              struct err *e)
{
    const struct blas_job job = {
        .y = self->d_y, .y_each = self->y_each, .weight = self->d_weight, .out = self->n.out,
        .in = self->n.in, .x = self->d_x, .x_each = self->x_each, .lane = 0,
    };
    enum err_code rc;

    cudaMemcpy(self->d_x, self->x, self->x_count * sizeof(float), cudaMemcpyHostToDevice);
    cudaMemset(self->d_y, 0xff, self->y_count * sizeof(float));
    cudaDeviceSynchronize();
    rc = blas_product(blas, &job, stream, e);
    if (!rc && cudaStreamSynchronize(stream))
        rc = err_set(e, ERR_DEVICE, "the product did not end");
    cudaMemcpy(self->y, self->d_y, self->y_count * sizeof(float), cudaMemcpyDeviceToHost);
    return rc;
}

/* Column n of y against the definition: the largest error, of the terms' magnitudes. */
static double error_of(const struct bench *self, int n)
{
    const float *x = self->x + (size_t)n * self->x_each;
    double worst = 0.0;

    for (int o = 0; o < self->n.out; o++) {
        double sum = 0.0, magnitude = 1e-30, error;

        for (int i = 0; i < self->n.in; i++) {
            double term = (double)self->weight[(size_t)o * (size_t)self->n.in + (size_t)i] *
                          (double)x[i];

            sum += term;
            magnitude += fabs(term);
        }
        error = fabs(sum - (double)self->y[(size_t)n * self->y_each + (size_t)o]) / magnitude;
        if (!(error <= worst))
            worst = error;
    }
    return worst;
}

static int check_products(struct bench *self, struct blas *blas, cudaStream_t stream)
{
    double worst = 0.0;
    int gaps = 0;
    struct err e;

    fill(self->x, self->x_count, 2);
    if (multiply(self, blas, stream, &e))
        return check_no_error(1, e.msg, "product %d x %d", self->n.out, self->n.in);
    for (int n = 0; n < BLAS_COLUMNS; n++) {
        double error = error_of(self, n);

        worst = error > worst || error != error ? error : worst;
        for (size_t i = (size_t)self->n.out; i < self->y_each; i++)
            gaps += self->y[(size_t)n * self->y_each + i] == self->y[(size_t)n * self->y_each + i];
    }
    return check_within(worst, TOLERANCE, "%d x %d: the definition", self->n.out, self->n.in) +
           check_that(gaps == 0, "%d x %d: nothing is written between the columns", self->n.out,
                      self->n.in);
}

/* One vector at each place, among others of every kind: random, huge, zero, not a number. */
static int check_places(struct bench *self, struct blas *blas, cudaStream_t stream)
{
    static const char *const WORDS[QUIRKS] = { "random", "huge", "zero", "broken" };
    size_t in = (size_t)self->n.in, bytes = (size_t)self->n.out * sizeof(float);
    float *vector = (float *)malloc(in * sizeof(float)), *first = (float *)malloc(bytes);
    int missed = 0;
    struct err e;

    fill(vector, in, 77);
    for (int quirk = 0; quirk < QUIRKS; quirk++) {
        int other = 0;

        for (int place = 0; place < BLAS_COLUMNS; place++) {
            fill(self->x, self->x_count, (uint64_t)(100 * quirk + place));
            for (size_t i = 0; quirk > 0 && i < self->x_count; i++)
                self->x[i] = quirk == 1 ? self->x[i] * 3e38f : quirk == 2 ? 0.0f : NAN;
            memcpy(self->x + (size_t)place * self->x_each, vector, in * sizeof(float));
            if (multiply(self, blas, stream, &e)) {
                missed += check_no_error(1, e.msg, "product %d x %d", self->n.out, self->n.in);
                break;
            }
            const float *y = self->y + (size_t)place * self->y_each;

            if (quirk == 0 && place == 0)
                memcpy(first, y, bytes);
            other += memcmp(first, y, bytes) != 0;
        }
        missed += check_that(other == 0, "%d x %d: a column is the same at all %d places among %s "
                             "others", self->n.out, self->n.in, BLAS_COLUMNS, WORDS[quirk]);
    }
    free(vector);
    free(first);
    return missed;
}

/* A replay reads its vectors anew, and makes the bits that a call makes. */
static int check_replay(struct bench *self, struct blas *blas, cudaStream_t stream)
{
    const struct blas_job job = {
        .y = self->d_y, .y_each = self->y_each, .weight = self->d_weight, .out = self->n.out,
        .in = self->n.in, .x = self->d_x, .x_each = self->x_each, .lane = 1,
    };
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    size_t bytes = self->y_count * sizeof(float);
    float *replayed = (float *)malloc(bytes);
    int missed = 0;
    struct err e = {};
    enum err_code rc;

    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    rc = blas_product(blas, &job, stream, &e);
    if (cudaStreamEndCapture(stream, &graph) && !rc)
        rc = err_set(&e, ERR_DEVICE, "the capture does not end");
    if (!rc && cudaGraphInstantiate(&exec, graph, 0))
        rc = err_set(&e, ERR_DEVICE, "no graph comes of it");
    missed += check_no_error(rc, e.msg, "%d x %d: is captured", self->n.out, self->n.in);
    fill(self->x, self->x_count, 5);
    if (!missed && !multiply(self, blas, stream, &e)) {
        cudaMemset(self->d_y, 0xff, bytes);
        cudaDeviceSynchronize();
        cudaGraphLaunch(exec, stream);
        cudaStreamSynchronize(stream);
        cudaMemcpy(replayed, self->d_y, bytes, cudaMemcpyDeviceToHost);
        missed += check_same(replayed, self->y, bytes, "%d x %d: a replay's bits are a call's",
                             self->n.out, self->n.in);
    }
    if (exec)
        cudaGraphExecDestroy(exec);
    if (graph)
        cudaGraphDestroy(graph);
    free(replayed);
    return missed;
}

extern "C" int check_blas(void)
{
    struct blas *blas;
    struct err e;
    cudaStream_t stream;
    int missed = 0;

    if (blas_create(&blas, &e)) {
        check_skip("products by cuBLAS: %s", e.msg);
        return e.code == ERR_UNSUPPORTED ? 0 : check_no_error(e.code, e.msg, "cuBLAS opens");
    }
    check_note("%s", blas_version(blas));
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    for (int i = 0; i < SHAPE_COUNT; i++) {
        struct bench bench;

        if (check_scale() != CHECK_FULL && SHAPES[i].in * SHAPES[i].out > 20000)
            continue;
        if (bench_open(&bench, &SHAPES[i])) {
            missed += check_products(&bench, blas, stream);
            missed += check_places(&bench, blas, stream);
            missed += check_replay(&bench, blas, stream);
        } else {
            missed += check_that(false, "memory for %d x %d", SHAPES[i].out, SHAPES[i].in);
        }
        bench_close(&bench);
    }
    cudaStreamDestroy(stream);
    blas_destroy(&blas);
    return missed;
}
