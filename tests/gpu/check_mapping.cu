/* From z to coefficients: the device's mapping network, truncation, styles and demodulation against
 * their definitions in double precision and against the CPU engine's ws, by cuBLAS and by `fc`; and
 * that a sample's bits are its own, whatever is beside it, wherever it is, captured or not. */
#include "kernels/cuda/mapping.cuh"

extern "C" {
#include "kernels/backend.h"
#include "kernels/seed.h"
#include "tests/gpu/check.h"
#include "tests/kit_arch.h"
}
#ifndef __CUDACC__
#include <cuda_emulator.h>
#endif

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = BLAS_COLUMNS, UNBROKEN = 0x7f7f7f7f, BROKEN = -3, PIXELS = 16 };

/* Of the CPU engine's ws: what golden vectors are held to. */
static const double WS_TOLERANCE = 2e-5;
/* Of the definition, relative to the peak of a sample's layer: up to 20 layers of float32. */
static const double TOLERANCE = 2e-5;
/* The same of each demodulation by itself: where all styles of a narrow layer nearly cancel. */
static const double DEMOD_TOLERANCE = 2e-4;

/* What one sample starts from. */
struct start {
    uint32_t seed;
    int class_index, cutoff;
    float psi;
};

struct bench {
    struct model *model;        /* NULL: the plan is not of a model */
    struct plan plan;
    float *down[PLAN_LAYERS_MAX];
    struct style_places places[PLAN_LAYERS_MAX];
    struct room *room;
    struct mapping_cuda *mapping;
    size_t ws_each, each;       /* floats of one sample */
    /* of the last run; on the device: of the next */
    float *z, *ws, *coefficients;
    int broken[COLUMNS];
    struct mapping_cuda_job job;
    cudaStream_t stream;
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- Setting up ---- */

static double weight_of(const struct plan_layer *layer, int o, int i, int tap)
{
    const struct conv_weights *w = &layer->weights;
    int k = layer->conv.kernel;

    return (double)w->data[o * w->out + i * w->in + tap / k * w->row + tap % k * w->column];
}

/* What an output's weights are multiplied with. */
static double gain_of(const struct plan_layer *layer, int o)
{
    int taps = layer->conv.kernel * layer->conv.kernel;
    double sum = 0.0;

    for (int i = 0; layer->unit_weights && i < layer->conv.in; i++)
        for (int t = 0; t < taps; t++)
            sum += weight_of(layer, o, i, t) * weight_of(layer, o, i, t);
    return layer->unit_weights
               ? (double)layer->weight_gain / sqrt(sum / ((double)layer->conv.in * taps))
               : (double)layer->weight_gain;
}

/* Sum over the taps of an output's weights from input i, squared. */
static double energy_of(const struct plan_layer *layer, int o, int i, double gain)
{
    double sum = 0.0;

    for (int t = 0; t < layer->conv.kernel * layer->conv.kernel; t++)
        sum += gain * weight_of(layer, o, i, t) * gain * weight_of(layer, o, i, t);
    return sum;
}

/* As conv_cuda_init would, but that nothing is rounded to a half. */
static void pack(const struct plan_layer *layer, float *down, float *energy)
{
    for (int o = 0; o < layer->conv.out; o++) {
        double gain = gain_of(layer, o), most = 0.0;
        int k;

        for (int i = 0; i < layer->conv.in; i++)
            for (int t = 0; t < layer->conv.kernel * layer->conv.kernel; t++)
                most = fmax(most, fabs(gain * weight_of(layer, o, i, t)));
        k = most > 0.0 ? (int)ceil(log2(most)) : 0;
        down[o] = ldexpf(1.0f, k);
        for (int i = 0; i < layer->conv.in; i++)
            energy[(size_t)o * (size_t)layer->conv.in + (size_t)i] =
                (float)(energy_of(layer, o, i, gain) / ((double)down[o] * (double)down[o]));
    }
}

static enum err_code add_layers(struct bench *self, struct err *e)
{
    enum err_code rc = ERR_OK;

    for (int i = 0; !rc && i < self->plan.layers; i++) {
        const struct plan_layer *layer = &self->plan.layer[i];
        size_t in = (size_t)layer->conv.in, out = (size_t)layer->conv.out;
        bool has_conv = in > 0 && layer->finish != PLAN_PICTURE;
        float *energy = NULL;

        if (has_conv) {
            energy = (float *)malloc(in * out * sizeof *energy);
            self->down[i] = (float *)malloc(out * sizeof *energy);
            pack(layer, self->down[i], energy);
        }
        rc = mapping_cuda_add(self->mapping, layer, self->down[i],
                              layer->demodulate ? energy : NULL, &self->places[i], e);
        free(energy);
    }
    return rc;
}

/* The plan is there; the rest is made. */
static enum err_code bench_prepare(struct bench *self, struct err *e)
{
    enum err_code rc = room_create(&self->room, e);

    if (!rc)
        rc = mapping_cuda_create(&self->plan, self->room, &self->mapping, e);
    if (!rc)
        rc = add_layers(self, e);
    if (!rc)
        rc = mapping_cuda_finish(self->mapping, e);
    if (rc)
        return rc;
    self->ws_each = (size_t)self->plan.num_ws * (size_t)self->plan.mapping.w_dim;
    self->each = mapping_cuda_each(self->mapping);
    size_t z_each = (size_t)self->plan.mapping.z_dim;

    self->z = (float *)calloc(COLUMNS * z_each, sizeof(float));
    self->ws = (float *)calloc(COLUMNS * self->ws_each, sizeof(float));
    self->coefficients = (float *)calloc(COLUMNS * larger(self->each, 1), sizeof(float));
    self->job.z = (const float *)room_take(self->room, COLUMNS * z_each * sizeof(float));
    self->job.class_index = (const int *)room_take(self->room, COLUMNS * sizeof(int));
    self->job.psi = (const float *)room_take(self->room, COLUMNS * sizeof(float));
    self->job.cutoff = (const int *)room_take(self->room, COLUMNS * sizeof(int));
    self->job.ws = (float *)room_take(self->room, COLUMNS * self->ws_each * sizeof(float));
    self->job.coefficients = (float *)room_take(self->room, COLUMNS * self->each * sizeof(float));
    self->job.broken = (int *)room_take(self->room, COLUMNS * sizeof(int));
    self->job.layer = BROKEN;
    if (cudaStreamCreateWithFlags(&self->stream, cudaStreamNonBlocking))
        return err_set(e, ERR_DEVICE, "no stream");
    return room_check(self->room, e);
}

static enum err_code bench_open(struct bench *self, const struct kit_arch *arch, struct err *e)
{
    const struct kit_weights weights = { 1.0f, 3 };
    size_t len;
    uint8_t *bytes = kit_arch_bytes(arch, &weights, &len);
    enum err_code rc = model_parse(bytes, len, &self->model, e);

    free(bytes);
    if (!rc)
        rc = plan_create(self->model, &self->plan, e);
    return rc ? rc : bench_prepare(self, e);
}

static void bench_close(struct bench *self)
{
    for (int i = 0; i < self->plan.layers; i++)
        free(self->down[i]);
    if (self->stream)
        cudaStreamDestroy(self->stream);
    mapping_cuda_destroy(&self->mapping);
    room_destroy(&self->room);
    free(self->z);
    free(self->ws);
    free(self->coefficients);
    model_destroy(&self->model);
    free(self);
}

static struct bench *bench_new(void)
{
    return (struct bench *)calloc(1, sizeof(struct bench));
}

/* Samples that differ in everything. */
static void make_starts(const struct bench *self, struct start out[COLUMNS], uint32_t seed)
{
    static const float PSI[] = { 0.7f, 1.0f, 0.3f, 0.0f, -0.5f, 1.3f, 0.5f, 0.49999997f };
    int classes = self->plan.mapping.c_dim, rows = self->plan.num_ws;

    for (int n = 0; n < COLUMNS; n++) {
        out[n].seed = seed + (uint32_t)n;
        out[n].class_index = classes > 0 ? (int)((seed + (uint32_t)n) % (uint32_t)classes) : -1;
        out[n].psi = PSI[(seed + (uint32_t)n) % 8];
        out[n].cutoff = n < 2 ? rows : (int)((seed + 3 * (uint32_t)n) % (uint32_t)(rows + 1));
    }
}

/* The device's inputs; what a run left there is spoilt. */
static void put_starts(struct bench *self, const struct start starts[COLUMNS])
{
    size_t z_dim = (size_t)self->plan.mapping.z_dim;
    int class_index[COLUMNS], cutoff[COLUMNS];
    float psi[COLUMNS];

    for (int n = 0; n < COLUMNS; n++) {
        struct seed_stream stream;

        class_index[n] = starts[n].class_index;
        cutoff[n] = starts[n].cutoff;
        psi[n] = starts[n].psi;
        seed_init(&stream, starts[n].seed);
        for (size_t i = 0; i < z_dim; i++)
            self->z[(size_t)n * z_dim + i] = (float)seed_normal(&stream);
    }
    cudaMemcpy((void *)self->job.z, self->z, COLUMNS * z_dim * sizeof(float),
               cudaMemcpyHostToDevice);
    cudaMemcpy((void *)self->job.class_index, class_index, sizeof class_index,
               cudaMemcpyHostToDevice);
    cudaMemcpy((void *)self->job.psi, psi, sizeof psi, cudaMemcpyHostToDevice);
    cudaMemcpy((void *)self->job.cutoff, cutoff, sizeof cutoff, cudaMemcpyHostToDevice);
    cudaMemset(self->job.ws, 0xff, COLUMNS * self->ws_each * sizeof(float));
    cudaMemset(self->job.coefficients, 0xff, COLUMNS * self->each * sizeof(float));
    cudaMemset(self->job.broken, UNBROKEN & 0xff, COLUMNS * sizeof(int));
    cudaDeviceSynchronize();
}

static enum err_code take_results(struct bench *self, struct err *e)
{
    cudaError_t st = cudaStreamSynchronize(self->stream);

    cudaMemcpy(self->ws, self->job.ws, COLUMNS * self->ws_each * sizeof(float),
               cudaMemcpyDeviceToHost);
    cudaMemcpy(self->coefficients, self->job.coefficients, COLUMNS * self->each * sizeof(float),
               cudaMemcpyDeviceToHost);
    cudaMemcpy(self->broken, self->job.broken, sizeof self->broken, cudaMemcpyDeviceToHost);
    return st ? err_set(e, ERR_DEVICE, "it did not end: %s", cudaGetErrorString(st)) : ERR_OK;
}

/* Another order of threads and streams, where there is a choice. */
static void shuffle(void)
{
#ifndef __CUDACC__
    static uint64_t seed;

    emulated_order_set(EMULATED_SHUFFLED);
    emulated_streams_set(seed % 2 ? EMULATED_STREAMS_DEFERRED : EMULATED_STREAMS_AT_ONCE);
    emulated_seed_set(++seed);
#endif
}

static enum err_code run(struct bench *self, const struct start starts[COLUMNS], struct blas *blas,
                         struct err *e)
{
    enum err_code rc;

    shuffle();
    put_starts(self, starts);
    rc = mapping_cuda_run(self->mapping, &self->job, blas, self->stream, e);
    return rc ? rc : take_results(self, e);
}

/* ---- The definition, in double precision ---- */

static void exact_n2(double *v, int count)
{
    double sum = 0.0;

    for (int i = 0; i < count; i++)
        sum += v[i] * v[i];
    for (int i = 0; i < count; i++)
        v[i] /= sqrt(sum / count + 1e-8);
}

static void exact_fc(double *y, const double *x, const struct fc_weights *w)
{
    for (int o = 0; o < w->out; o++) {
        y[o] = (w->bias ? (double)w->bias[o] : 1.0) * (double)w->bias_gain;
        for (int i = 0; i < w->in; i++)
            y[o] += (double)w->weight[w->transposed ? i * w->out + o : o * w->in + i] *
                    (double)w->weight_gain * x[i];
    }
}

/* w, before truncation. */
static void exact_w(double *w, const struct plan_mapping *p, const float *z, int class_index)
{
    int labels = p->embed.out, widest = p->z_dim + labels;

    for (int k = 0; k < p->layers; k++)
        widest = p->layer[k].out > widest ? p->layer[k].out : widest;
    double *v = (double *)malloc((size_t)widest * sizeof *v);
    double *y = (double *)malloc((size_t)widest * sizeof *y);

    for (int i = 0; i < p->z_dim; i++)
        v[i] = (double)z[i];
    for (int i = 0; i < labels; i++)
        v[p->z_dim + i] = (double)p->embed.weight[p->embed.transposed
                                                      ? class_index * labels + i
                                                      : i * p->c_dim + class_index] *
                              (double)p->embed.weight_gain +
                          (p->embed.bias ? (double)p->embed.bias[i] : 1.0) *
                              (double)p->embed.bias_gain;
    exact_n2(v, p->joint ? p->z_dim + labels : p->z_dim);
    if (!p->joint && labels > 0)
        exact_n2(v + p->z_dim, labels);
    for (int k = 0; k < p->layers; k++) {
        exact_fc(y, v, &p->layer[k]);
        for (int i = 0; i < p->layer[k].out; i++)
            v[i] = (y[i] >= 0.0 ? y[i] : 0.2 * y[i]) * (double)p->gain;
    }
    memcpy(w, v, (size_t)p->w_dim * sizeof *w);
    free(v);
    free(y);
}

static void exact_ws(double *ws, const struct plan *plan, const float *z, const struct start *start)
{
    size_t w_dim = (size_t)plan->mapping.w_dim;

    exact_w(ws, &plan->mapping, z, start->class_index);
    for (size_t row = (size_t)plan->num_ws; row-- > 0;)
        for (size_t i = 0; i < w_dim; i++) {
            double avg = (double)plan->mapping.w_avg[i];

            ws[row * w_dim + i] = (int)row < start->cutoff
                                      ? avg + (double)start->psi * (ws[i] - avg)
                                      : ws[i];
        }
}

static void exact_style(double *s, const struct plan_layer *layer, const double *w)
{
    double sum = 0.0;

    exact_fc(s, w, &layer->affine);
    for (int i = 0; i < layer->affine.out; i++)
        sum += s[i] * s[i];
    for (int i = 0; layer->unit_style && i < layer->affine.out; i++)
        s[i] /= sqrt(sum / layer->affine.out);
}

/* The largest errors of a bench's samples, relative as their checks say. */
struct errors {
    double ws, style, demod, rgb;
    int powers;                 /* styles that do not end between 1/2 and 1 */
};

static void add_error(double *worst, double error)
{
    if (!(error <= *worst))
        *worst = error;
}

/* What each output of the convolution must be multiplied with, weights packed and style scaled by
 * 2^power. */
static double exact_demod(const struct bench *self, int index, int o, const double *s, int power)
{
    const struct plan_layer *layer = &self->plan.layer[index];
    double down = self->down[index] ? (double)self->down[index][o] : 1.0, sum = 1e-8, gain;

    if (!layer->demodulate)
        return (double)layer->out_gain * down * exp2(power);
    gain = gain_of(layer, o);
    for (int i = 0; i < layer->conv.in; i++)
        sum += energy_of(layer, o, i, gain) * s[i] * s[i];
    return (double)layer->out_gain / sqrt(sum) * down * exp2(power);
}

static void compare_layer(const struct bench *self, int index, const double *w, const float *got,
                          struct errors *out)
{
    const struct plan_layer *layer = &self->plan.layer[index];
    const struct style_places *at = &self->places[index];
    int in = layer->conv.in, power = 0;
    double *s = (double *)malloc(larger((size_t)layer->affine.out, 1) * sizeof *s);
    double peak = 0.0, rgb_peak = 0.0, got_peak = check_peak(got + at->style,
                                                             (size_t)layer->affine.out);

    exact_style(s, layer, w);
    for (int i = 0; i < layer->affine.out; i++)
        peak = fmax(peak, fabs(s[i]));
    if (layer->modulate && layer->finish != PLAN_PICTURE && peak > 0.0) {
        out->powers += !(got_peak > 0.5 && got_peak <= 1.0);
        power = (int)lrint(log2(peak / got_peak));
    }
    for (int i = 0; peak > 0.0 && i < layer->affine.out; i++)
        add_error(&out->style,
                  fabs((double)got[at->style + (size_t)i] * exp2(power) - s[i]) / peak);
    for (int o = 0; layer->finish != PLAN_PICTURE && o < layer->conv.out; o++)
        add_error(&out->demod, fabs((double)got[at->demod + (size_t)o] /
                                        exact_demod(self, index, o, s, power) - 1.0));
    for (int pass = 0; layer->finish == PLAN_PICTURE && pass < 2; pass++)
        for (int i = 0; i < 3 * in; i++) {
            double v = weight_of(layer, i / in, i % in, 0) * gain_of(layer, i / in) *
                       (double)layer->out_gain * (layer->modulate ? s[i % in] : 1.0);

            if (pass == 0)
                rgb_peak = fmax(rgb_peak, fabs(v));
            else
                add_error(&out->rgb, fabs((double)got[at->rgb + (size_t)i] - v) / rgb_peak);
        }
    free(s);
}

static struct errors compare(const struct bench *self, const struct start starts[COLUMNS])
{
    size_t w_dim = (size_t)self->plan.mapping.w_dim, z_dim = (size_t)self->plan.mapping.z_dim;
    double *ws = (double *)malloc(self->ws_each * sizeof *ws);
    struct errors errors = {};

    for (int n = 0; n < COLUMNS; n++) {
        double peak = 1.0;

        exact_ws(ws, &self->plan, self->z + (size_t)n * z_dim, &starts[n]);
        for (size_t i = 0; i < self->ws_each; i++)
            peak = fmax(peak, fabs(ws[i]));
        for (size_t i = 0; i < self->ws_each; i++)
            add_error(&errors.ws,
                      fabs((double)self->ws[(size_t)n * self->ws_each + i] - ws[i]) / peak);
        for (int i = 0; i < self->plan.layers; i++)
            compare_layer(self, i, ws + (size_t)self->plan.layer[i].row * w_dim,
                          self->coefficients + (size_t)n * self->each, &errors);
    }
    free(ws);
    return errors;
}

/* ---- Checks of one network ---- */

static int check_unbroken(const struct bench *self, const char *name)
{
    int broken = 0;

    for (int n = 0; n < COLUMNS; n++)
        broken += self->broken[n] != UNBROKEN;
    return check_that(broken == 0, "%s: no sample is reported", name);
}

static int check_definition(struct bench *self, const char *name, struct blas *blas)
{
    struct start starts[COLUMNS];
    struct errors got;
    struct err e;

    make_starts(self, starts, 11);
    if (run(self, starts, blas, &e))
        return check_no_error(1, e.msg, "%s: runs", name);
    got = compare(self, starts);
    return check_within(got.ws, TOLERANCE, "%s: ws", name) +
           check_within(got.style, TOLERANCE, "%s: styles", name) +
           check_within(got.demod, DEMOD_TOLERANCE, "%s: demodulation", name) +
           check_within(got.rgb, TOLERANCE, "%s: colours", name) +
           check_that(got.powers == 0, "%s: styles end between 1/2 and 1", name) +
           check_unbroken(self, name);
}

/* The last run's ws beside the CPU engine's. */
static int check_cpu(const struct bench *self, const char *name)
{
    struct backend_options options = {};
    struct capture capture = {};
    struct sample samples[COLUMNS] = {};
    struct start starts[COLUMNS];
    struct engine *engine = NULL;
    struct net *net = NULL;
    struct err e = {};
    float *ws = (float *)calloc(COLUMNS * self->ws_each, sizeof *ws);
    int missed;

    options.threads = 1;
    capture.ws = ws;
    make_starts(self, starts, 11);
    for (int n = 0; n < COLUMNS; n++) {
        samples[n].seed = starts[n].seed;
        samples[n].psi = starts[n].psi;
        samples[n].cutoff = starts[n].cutoff;
        samples[n].class_index = starts[n].class_index;
        samples[n].noise = RECIPE_NOISE_NONE;
    }
    missed = check_no_error(backend_cpu.open(&options, &engine, &e) ||
                                backend_cpu.load(engine, self->model, COLUMNS, &net, &e) ||
                                backend_cpu.render(net, samples, COLUMNS, NULL, &capture, &e),
                            e.msg, "%s: the CPU engine renders", name);
    if (!missed)
        missed = check_within(check_max_error(self->ws, ws, COLUMNS * self->ws_each) /
                                  fmax(1.0, check_peak(ws, COLUMNS * self->ws_each)),
                              WS_TOLERANCE, "%s: ws of the CPU engine", name);
    if (net)
        backend_cpu.unload(&net);
    backend_cpu.close(&engine);
    free(ws);
    return missed;
}

/* One sample at each place among others of its own. */
static int check_places(struct bench *self, const char *name, struct blas *blas)
{
    size_t ws_bytes = self->ws_each * sizeof(float), bytes = self->each * sizeof(float);
    float *ws = (float *)malloc(ws_bytes), *coefficients = (float *)malloc(larger(bytes, 1));
    int other = 0, missed = 0, step = check_scale() == CHECK_TINY ? 3 : 1;
    struct err e;

    for (int place = 0; place < COLUMNS; place += step) {
        struct start starts[COLUMNS], one[COLUMNS];
        const float *got_ws = self->ws + (size_t)place * self->ws_each;
        const float *got = self->coefficients + (size_t)place * self->each;

        make_starts(self, one, 400);
        make_starts(self, starts, 500 + 10 * (uint32_t)place);
        starts[place] = one[0];
        if (run(self, starts, blas, &e)) {
            missed = check_no_error(1, e.msg, "%s: runs", name);
            break;
        }
        if (place == 0) {
            memcpy(ws, got_ws, ws_bytes);
            memcpy(coefficients, got, bytes);
        }
        other += memcmp(ws, got_ws, ws_bytes) || memcmp(coefficients, got, bytes);
    }
    free(ws);
    free(coefficients);
    return missed + check_that(other == 0, "%s: a sample is the same at all places", name);
}

/* A graph, captured before its inputs are there: with others it does what a call does. */
static int check_replay(struct bench *self, const char *name, struct blas *blas)
{
    size_t ws_bytes = COLUMNS * self->ws_each * sizeof(float);
    size_t bytes = COLUMNS * self->each * sizeof(float);
    float *ws = (float *)malloc(ws_bytes), *coefficients = (float *)malloc(larger(bytes, 1));
    struct start starts[COLUMNS];
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    struct err e = {};
    enum err_code rc;
    int missed = 0;

    cudaStreamBeginCapture(self->stream, cudaStreamCaptureModeThreadLocal);
    rc = mapping_cuda_run(self->mapping, &self->job, blas, self->stream, &e);
    if (cudaStreamEndCapture(self->stream, &graph) && !rc)
        rc = err_set(&e, ERR_DEVICE, "the capture does not end");
    if (!rc && cudaGraphInstantiate(&exec, graph, 0))
        rc = err_set(&e, ERR_DEVICE, "no graph comes of it");
    missed += check_no_error(rc, e.msg, "%s: is captured", name);
    for (uint32_t turn = 0; !missed && turn < 2; turn++) {
        make_starts(self, starts, 900 + 33 * turn);
        missed += check_no_error(run(self, starts, blas, &e), e.msg, "%s: runs", name);
        memcpy(ws, self->ws, ws_bytes);
        memcpy(coefficients, self->coefficients, bytes);
        put_starts(self, starts);
        cudaGraphLaunch(exec, self->stream);
        missed += check_no_error(take_results(self, &e), e.msg, "%s: is replayed", name);
        missed += check_that(!memcmp(ws, self->ws, ws_bytes) &&
                                 !memcmp(coefficients, self->coefficients, bytes),
                             "%s: replay %u has a call's bits", name, turn);
    }
    if (exec)
        cudaGraphExecDestroy(exec);
    if (graph)
        cudaGraphDestroy(graph);
    free(ws);
    free(coefficients);
    return missed;
}

/* The call's time on the device, in a graph: for the report of a run. */
static void note_time(struct bench *self, const char *name, struct blas *blas)
{
    enum { TURNS = 200 };
    struct start starts[COLUMNS];
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaEvent_t begun, ended;
    float ms = 0.0f;
    struct err e;

    make_starts(self, starts, 1);
    put_starts(self, starts);
    cudaEventCreate(&begun);
    cudaEventCreate(&ended);
    cudaStreamBeginCapture(self->stream, cudaStreamCaptureModeThreadLocal);
    mapping_cuda_run(self->mapping, &self->job, blas, self->stream, &e);
    cudaStreamEndCapture(self->stream, &graph);
    if (graph && !cudaGraphInstantiate(&exec, graph, 0)) {
        for (int turn = -10; turn < TURNS; turn++) {
            if (turn == 0)
                cudaEventRecord(begun, self->stream);
            cudaGraphLaunch(exec, self->stream);
        }
        cudaEventRecord(ended, self->stream);
        cudaStreamSynchronize(self->stream);
        cudaEventElapsedTime(&ms, begun, ended);
        check_note("%s: %.1f us for up to %d samples", name, (double)ms * 1000.0 / TURNS, COLUMNS);
        cudaGraphExecDestroy(exec);
    }
    if (graph)
        cudaGraphDestroy(graph);
    cudaEventDestroy(begun);
    cudaEventDestroy(ended);
}

static int check_network_of(const struct kit_arch *arch, const char *words, struct blas *blas,
                            bool large)
{
    struct bench *bench = bench_new();
    struct err e = {};
    int missed = check_no_error(bench_open(bench, arch, &e), e.msg, "%s: is prepared", words);

    for (int by_blas = 0; !missed && by_blas <= (blas != NULL); by_blas++) {
        struct blas *with = by_blas ? blas : NULL;
        char name[96];

        snprintf(name, sizeof name, "%s, %s", words, by_blas ? "blas" : "fc");
        missed += check_definition(bench, name, with);
        if (!large)
            missed += check_cpu(bench, name);
        missed += check_places(bench, name, with);
        missed += check_replay(bench, name, with);
        if (large)
            note_time(bench, name, with);
    }
    bench_close(bench);
    return missed;
}

/* ---- The networks ---- */

/* Wider than a warp and than a block, odd and even. */
static void describe(struct kit_arch *out, enum model_arch family, int c_dim, int size, int wide)
{
    int num_ws = 2;

    for (int pixels = 4; pixels < size; pixels *= 2)
        num_ws += 2;
    if (family == MODEL_STYLEGAN1) {
        struct stylegan1_arch a = {};

        a.z_dim = wide, a.c_dim = c_dim, a.w_dim = wide - 3, a.resolution = size;
        a.num_ws = num_ws, a.mapping_layers = 3, a.mapping_fmaps = wide + 5;
        a.fmap_base = 4 * wide, a.fmap_max = wide;
        kit_arch_stylegan1(out, &a);
    } else if (family == MODEL_STYLEGAN2) {
        struct stylegan2_arch a = {};

        a.z_dim = wide, a.c_dim = c_dim, a.w_dim = wide, a.resolution = size;
        a.num_ws = num_ws, a.mapping_layers = 8, a.channel_base = 32 * wide, a.channel_max = wide;
        a.conv_clamp = c_dim ? 256.0f : 0.0f;
        kit_arch_stylegan2(out, &a);
    } else {
        struct stylegan3_arch a = {};

        a.z_dim = wide + 1, a.c_dim = c_dim, a.w_dim = wide, a.resolution = size;
        a.num_ws = 8, a.mapping_layers = 2, a.channel_base = 8 * wide, a.channel_max = wide;
        a.num_layers = 6, a.num_critical = 2, a.first_cutoff = 2.0, a.first_stopband = 4.2871;
        a.last_stopband_rel = 1.2311, a.margin_size = 2, a.output_scale = 0.25;
        a.conv_kernel = c_dim ? 1 : 3, a.use_radial_filters = c_dim > 0, a.filter_size = 6;
        a.lrelu_upsampling = 2, a.conv_clamp = 256.0f;
        kit_arch_stylegan3(out, &a);
    }
}

static int check_networks(struct blas *blas)
{
    static const enum model_arch FAMILIES[] = { MODEL_STYLEGAN1, MODEL_STYLEGAN2, MODEL_STYLEGAN3 };
    struct kit_arch *arch = (struct kit_arch *)malloc(sizeof *arch);
    int randoms = check_scale() == CHECK_TINY ? 1 : check_scale() == CHECK_SHORT ? 3 : 8;
    int missed = 0;

    for (int f = 0; f < 3; f++) {
        for (int c_dim = check_scale() == CHECK_TINY ? 5 : 0; c_dim <= 5; c_dim += 5) {
            char name[48];

            describe(arch, FAMILIES[f], c_dim, PIXELS, c_dim ? 37 : 68);
            snprintf(name, sizeof name, "StyleGAN %d, %d classes", f + 1, c_dim);
            missed += check_network_of(arch, name, blas, false);
        }
        for (int i = 0; i < randoms; i++) {
            struct kit_random random = { (uint64_t)(100 * f + i + 1) };
            char name[48];

            kit_arch_random(arch, FAMILIES[f], PIXELS, true, &random);
            snprintf(name, sizeof name, "random %d-%d", f + 1, i + 1);
            missed += check_network_of(arch, name, blas, false);
        }
    }
    if (check_scale() == CHECK_FULL) {
        describe(arch, MODEL_STYLEGAN2, 0, 128, 512);
        missed += check_network_of(arch, "StyleGAN 2, 512 wide, 128 px", blas, true);
    }
    free(arch);
    return missed;
}

/* ---- Styles that no network has; and w that is not finite ---- */

enum { ODD_WIDTH = 5, ODD_STYLES = 12, ODD_OUT = 3 };

/* A plan whose layers' styles are numbers: their affines' biases. */
struct odd_plan {
    float w_avg[ODD_WIDTH], zeros[ODD_WIDTH * ODD_WIDTH], ones[ODD_WIDTH * ODD_WIDTH];
    float style[ODD_STYLES][ODD_WIDTH];
    float weight[ODD_OUT * ODD_WIDTH];      /* its last output has none but zeros */
};

static void describe_odd(struct plan *plan, struct odd_plan *odd)
{
    static const float PEAKS[ODD_STYLES] = { 0.0f,     1.0f,   0.5f,      2.0f,   0.50000006f,
                                             1e-20f,   1e20f,  3.4e38f,   1e-44f, 1.1754944e-38f,
                                             1.7e-23f, 65504.0f };
    struct plan_mapping *mapping = &plan->mapping;

    for (int i = 0; i < ODD_WIDTH * ODD_WIDTH; i++)
        odd->ones[i] = 1.0f;
    for (int i = 0; i < (ODD_OUT - 1) * ODD_WIDTH; i++)
        odd->weight[i] = (float)(i % 4 + 1) / (i % 3 ? 3.0f : -5.0f);
    mapping->z_dim = mapping->w_dim = ODD_WIDTH;
    mapping->layers = 1;
    mapping->gain = 1.0f;
    mapping->w_avg = odd->w_avg;
    mapping->layer[0] = { ODD_WIDTH, ODD_WIDTH, odd->ones, false, 1.0f, odd->zeros, 1.0f };
    plan->num_ws = 1;
    for (int k = 0; k < ODD_STYLES; k++) {
        struct plan_layer *layer = &plan->layer[plan->layers++];

        for (int i = 0; i < ODD_WIDTH; i++)
            odd->style[k][i] = i == 3 ? -PEAKS[k] : PEAKS[k] * 0.1f * (float)i;
        snprintf(layer->name, sizeof layer->name, "odd%d", k);
        layer->conv.in = ODD_WIDTH;
        layer->conv.out = ODD_OUT;
        layer->conv.kernel = 1;
        layer->weights.data = odd->weight;
        layer->weights.out = ODD_WIDTH;
        layer->weights.in = 1;
        layer->weight_gain = 1.0f;
        layer->modulate = true;
        layer->demodulate = k != 6;
        layer->affine = { ODD_WIDTH, ODD_WIDTH, odd->zeros, false, 1.0f, odd->style[k], 1.0f };
        layer->finish = PLAN_ACTIVATE;
        layer->out_gain = 0.75f;
    }
}

/* Zero, tiny, huge, powers of two: the convolution's result, x s' W' demod, is the definition's. */
static int check_odd_styles(struct blas *blas)
{
    struct bench *bench = bench_new();
    struct odd_plan odd = {};
    struct start starts[COLUMNS];
    struct err e = {};
    int missed;

    describe_odd(&bench->plan, &odd);
    missed = check_no_error(bench_prepare(bench, &e), e.msg, "styles of all sizes: are prepared");
    if (!missed) {
        make_starts(bench, starts, 1);
        missed += check_no_error(run(bench, starts, blas, &e), e.msg, "styles of all sizes: run");
    }
    for (int k = 0; !missed && k < ODD_STYLES; k++) {
        const struct plan_layer *layer = &bench->plan.layer[k];
        const struct style_places *at = &bench->places[k];
        double peak = (double)-odd.style[k][3], worst = 0.0, got_peak = 0.0;

        for (int o = 0; o < ODD_OUT; o++) {
            double sum = 1e-8, got = 0.0, expect = 0.0, gain;

            for (int i = 0; i < ODD_WIDTH; i++) {
                double s = (double)odd.style[k][i], weight = weight_of(layer, o, i, 0);
                double scaled = (double)bench->coefficients[at->style + (size_t)i];

                got_peak = fmax(got_peak, fabs(scaled));
                sum += s * s * weight * weight;
                got += scaled * weight / (double)bench->down[k][o];
                expect += s * weight;
            }
            gain = layer->demodulate ? 1.0 / sqrt(sum) : 1.0;
            got *= (double)bench->coefficients[at->demod + (size_t)o];
            expect *= gain * (double)layer->out_gain;
            /* of the largest that it could be, or of what no one can see */
            add_error(&worst, fabs(got - expect) /
                                  fmax(fabs(expect), layer->demodulate ? 1e-30 : FLT_MIN));
        }
        missed += check_within(worst, 1e-5, "style of peak %g: the layer's outputs", peak);
        missed += check_that(peak > 0.0 ? got_peak > 0.5 && got_peak <= 1.0 : got_peak == 0.0,
                             "style of peak %g: ends at %g", peak, got_peak);
    }
    bench_close(bench);
    return missed;
}

/* A class whose embedding overflows: its samples are reported, and no others. */
static int check_broken(struct blas *blas)
{
    struct kit_arch *arch = (struct kit_arch *)malloc(sizeof *arch);
    struct bench *whole = bench_new(), *bench = bench_new();
    struct start starts[COLUMNS];
    struct err e = {};
    float *weight = NULL;
    int missed, wrong = 0;

    describe(arch, MODEL_STYLEGAN2, 5, PIXELS, 37);
    missed = check_no_error(bench_open(whole, arch, &e), e.msg, "a broken class: is prepared");
    if (!missed) {
        struct fc_weights *embed = &bench->plan.mapping.embed;
        size_t count;

        bench->plan = whole->plan;
        count = (size_t)embed->in * (size_t)embed->out;
        weight = (float *)malloc(count * sizeof *weight);
        for (size_t i = 0; i < count; i++)
            weight[i] = i % 5 == 2 ? 3e38f : embed->weight[i] * 1e-1f;
        embed->weight = weight;
        embed->weight_gain *= 10.0f;
        missed += check_no_error(bench_prepare(bench, &e), e.msg, "a broken class: is prepared");
    }
    make_starts(whole, starts, 3);
    if (!missed)
        missed += check_no_error(run(bench, starts, blas, &e), e.msg, "a broken class: runs");
    for (int n = 0; !missed && n < COLUMNS; n++) {
        int bad = 0;

        for (size_t i = 0; i < bench->ws_each; i++)
            bad += !(fabsf(bench->ws[(size_t)n * bench->ws_each + i]) <= FLT_MAX);
        wrong += bench->broken[n] != (starts[n].class_index == 2 ? BROKEN : UNBROKEN);
        wrong += (starts[n].class_index == 2) != (bad > 0);
    }
    if (!missed)
        missed += check_that(wrong == 0, "a broken class: its samples are reported, no others");
    bench_close(bench);
    bench_close(whole);
    free(weight);
    free(arch);
    return missed;
}

/* ---- Device memory ---- */

/* A piece that fits on no device: from then on the room only counts, and says both numbers. */
static int check_room(void)
{
    static const char DATA[] = "what was put";
    struct room *room;
    struct err e = {};
    char back[sizeof DATA] = "";
    int missed = check_no_error(room_create(&room, &e), e.msg, "a room is created");
    void *first = room_put(room, DATA, sizeof DATA), *empty = room_take(room, 0);

    cudaMemcpy(back, first, sizeof DATA, cudaMemcpyDeviceToHost);
    missed += check_that(first && empty && (uintptr_t)first % 256 == 0 &&
                             memcmp(back, DATA, sizeof DATA) == 0,
                         "a room's pieces are aligned and hold what was put");
    missed += check_no_error(room_check(room, &e), e.msg, "a room that was enough says so");
    missed += check_that(!room_take(room, (size_t)1 << 50) && !room_put(room, DATA, sizeof DATA),
                         "a room that was not enough only counts");
    missed += check_that(room_bytes(room) == ((size_t)1 << 50) + 3 * 256, "and counts all");
    missed += check_that(room_check(room, &e) == ERR_NOMEM &&
                             strstr(e.msg, "model needs 1125899907 MB of device memory, "),
                         "and says so: %s", e.msg);
    room_destroy(&room);
    return missed + check_no_error(cudaGetLastError(), "left behind", "no error is left behind");
}

extern "C" int check_mapping(void)
{
    struct blas *blas = NULL;
    struct err e = {};
    int missed = check_room();

    if (blas_create(&blas, &e))
        check_skip("the mapping network by cuBLAS: %s", e.msg);
    missed += check_networks(blas);
    missed += check_odd_styles(NULL);
    missed += check_broken(NULL);
    if (blas)
        missed += check_odd_styles(blas) + check_broken(blas);
    blas_destroy(&blas);
    return missed;
}
