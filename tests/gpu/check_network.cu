/* Whole networks through the backend's table: their pictures against the CPU engine's, and what the
 * table promises besides. A sample's bits are its own in any batch, any capture and beside any other
 * net; coefficients are those of the pixels; what cannot be rendered, loaded or held is refused in
 * words that are true, and nothing is left behind. */
extern "C" {
#include "kernels/backend.h"
#include "kernels/jpeg_transform.h"
#include "kernels/model.h"
#include "kernels/quantize.h"
#include "tests/gpu/check.h"
#include "tests/gpu/rig.h"
#include "tests/kit_arch.h"
#include "tests/kit_golden.h"
#include "tests/kit_networks.h"
}
#ifndef __CUDACC__
#include <cuda_emulator.h>
#endif

#include <cuda_runtime.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 19, PIXELS = 32, VALUES_MAX = PIXELS * PIXELS * 3 };

/* fp32 sums in other orders; of the picture's range, -1..1 or what a random net makes of it. */
static const double FP32_TOLERANCE = 1e-4;
/* As golden networks are held to; and of ws, whose mapping is float32 in all precisions. */
static const double WS_TOLERANCE = 2e-5;
/* 11 bits a factor, on networks that amplify; official ones are held to 50 dB (check_golden). */
static const double LEAST_DB = 40.0;

/* What a sample is, however it is rendered: each of SAMPLES alone. */
struct measure {
    uint8_t rgb[SAMPLES][VALUES_MAX];
    float image[SAMPLES][VALUES_MAX];
};
static struct measure measure;

/* ---- The device, emulated or not ---- */

/* What is allocated on the device and page-locked. */
static size_t held(void)
{
#ifdef __CUDACC__
    size_t left = 0, all = 0;

    cudaMemGetInfo(&left, &all);
    return all - left;
#else
    struct emulated_holdings h = emulated_held();

    return h.device_bytes + h.host_bytes + (size_t)(h.device_pieces + h.host_pieces + h.streams +
                                                    h.events + h.graphs + h.execs);
#endif
}

/* Work is done as late as waiting allows, and threads run in the other order; or all as always. */
static void be_late(bool late)
{
#ifdef __CUDACC__
    (void)late;
#else
    emulated_streams_set(late ? EMULATED_STREAMS_DEFERRED : EMULATED_STREAMS_AT_ONCE);
    emulated_order_set(late ? EMULATED_REVERSE : EMULATED_FORWARD);
#endif
}

/* ---- Pictures alone, and in batches ---- */

static enum err_code measure_alone(struct rig *r, const struct sample *samples, int count,
                                   struct err *e)
{
    enum err_code rc = ERR_OK;

    for (int i = 0; !rc && i < count; i++) {
        rc = rig_render(r, &samples[i], 1, e);
        memcpy(measure.rgb[i], r->rgb, r->values);
        memcpy(measure.image[i], r->image, r->values * sizeof(float));
    }
    return rc;
}

/* How many of the last render's pictures are not the measure's, from its first on. */
static int others(const struct rig *r, int count)
{
    size_t values = r->values;
    int other = 0;

    for (int i = 0; i < count; i++)
        other += memcmp(r->rgb + (size_t)i * values, measure.rgb[i], values) != 0 ||
                 memcmp(r->image + (size_t)i * values, measure.image[i],
                        values * sizeof(float)) != 0;
    return other;
}

static int check_open(enum err_code rc, const struct err *e, const char *name,
                      enum precision precision)
{
    return rc ? check_no_error(rc, e->msg, "%s %s opens", name, precision_word(precision)) : 0;
}

/* ---- Against the CPU ---- */

/* On a CPU engine of its own. */
static enum err_code render_by_cpu(struct model *model, const struct sample *samples, int count,
                                   const struct capture *capture, uint8_t *rgb, struct err *e)
{
    struct backend_options options = {};
    struct engine *engine = NULL;
    struct net *net = NULL;
    enum err_code rc;

    options.threads = 1;
    rc = backend_cpu.open(&options, &engine, e);
    if (!rc)
        rc = backend_cpu.load(engine, model, count, &net, e);
    if (!rc)
        rc = backend_cpu.render(net, samples, count, rgb, capture, e);
    if (net)
        backend_cpu.unload(&net);
    if (engine)
        backend_cpu.close(&engine);
    return rc;
}

static int compare_with_cpu(struct rig *r, const char *name, enum precision precision, int count)
{
    size_t n = (size_t)count, z_values = n * (size_t)r->facts->z_dim;
    double *z = (double *)malloc(z_values * sizeof *z);
    float *ws = (float *)malloc(n * r->ws_values * sizeof *ws);
    float *image = (float *)malloc(n * r->values * sizeof *image);
    uint8_t *rgb = (uint8_t *)malloc(n * r->values);
    const char *word = precision_word(precision);
    struct capture capture = {};
    struct sample samples[SAMPLES];
    struct err e = {};
    int missed = 0, levels;
    enum err_code rc;

    rig_samples(samples, count, r->facts);
    capture.z = z;
    capture.ws = ws;
    capture.image = image;
    rc = render_by_cpu(r->model, samples, count, &capture, rgb, &e);
    if (!rc)
        rc = rig_render(r, samples, count, &e);
    if (rc == ERR_DEVICE && precision == PRECISION_FP16) {
        check_skip("%s %s: %s", name, word, e.msg);     /* random weights may be more than it holds */
    } else if (rc) {
        missed += check_no_error(rc, e.msg, "%s %s is rendered", name, word);
    } else {
        missed += check_same(r->z, z, z_values * sizeof *z, "%s %s: z, to the bit", name, word);
        missed += check_within(check_max_error(r->ws, ws, n * r->ws_values) /
                                   fmax(1.0, check_peak(ws, n * r->ws_values)),
                               WS_TOLERANCE, "%s %s: ws", name, word);
        if (precision == PRECISION_FP32)
            missed += check_within(check_max_error(r->image, image, n * r->values) /
                                       fmax(1.0, check_peak(image, n * r->values)),
                                   FP32_TOLERANCE, "%s %s %d px: picture", name, word,
                                   r->facts->width);
        else
            missed += check_at_least(golden_psnr(r->rgb, rgb, n * r->values, &levels), LEAST_DB,
                                     "%s %s %d px: dB", name, word, r->facts->width);
    }
    free(z);
    free(ws);
    free(image);
    free(rgb);
    return missed;
}

static int check_against_cpu(const char *name, enum precision precision)
{
    const int count = check_scale() == CHECK_FULL ? 5 : 2;
    struct err e = {};
    struct rig r;
    int missed;

    if (rig_open(&r, rig_model(name, &e), precision, count, &e))
        return check_open(e.code, &e, name, precision);
    missed = compare_with_cpu(&r, name, precision, count);
    rig_close(&r);
    return missed;
}

/* ---- Batches over several micro-batches ---- */

static int check_batches(const char *name, enum precision precision)
{
    static const int COUNTS[] = { 9, 16, 17, 19 };
    struct sample samples[SAMPLES];
    struct err e = {};
    struct rig r;
    enum err_code rc = rig_open(&r, rig_model(name, &e), precision, 32, &e);
    int missed = 0, count = check_scale() == CHECK_TINY ? 9 : SAMPLES;

    if (rc)
        return check_open(rc, &e, name, precision);
    rig_samples(samples, SAMPLES, r.facts);
    rc = measure_alone(&r, samples, count, &e);
    be_late(true);
    for (int i = 0; !rc && i < 4 && COUNTS[i] <= count; i++) {
        rc = rig_render(&r, samples, COUNTS[i], &e);
        if (!rc)
            missed += check_that(others(&r, COUNTS[i]) == 0, "%s %s: %d of 32 are each as alone",
                                 name, precision_word(precision), COUNTS[i]);
    }
    /* From graphs that others have used since. */
    for (int i = 0; !rc && i < 3; i++) {
        rc = rig_render(&r, &samples[i], 1, &e);
        if (!rc && memcmp(r.rgb, measure.rgb[i], r.values) != 0)
            rc = err_set(&e, ERR_BUG, "sample %d has other bits than before", i);
    }
    be_late(false);
    missed += check_no_error(rc, e.msg, "%s %s: alone again", name, precision_word(precision));
    rig_close(&r);
    for (int max = 1; max <= 3 && !rc; max += 2) {
        rc = rig_open(&r, rig_model(name, &e), precision, max, &e);
        if (!rc) {
            rc = rig_render(&r, samples, max, &e);
            missed += check_that(!rc && others(&r, max) == 0, "%s %s: loaded for %d", name,
                                 precision_word(precision), max);
            rig_close(&r);
        }
    }
    return missed;
}

/* ---- Two nets of one engine ---- */

static int check_two_nets(const char *name, const char *beside)
{
    struct sample samples[2], other_samples[3];
    struct model *model = NULL;
    struct net *net = NULL;
    uint8_t rgb[3 * VALUES_MAX], again[3 * VALUES_MAX];
    struct err e = {};
    struct rig r;
    size_t bytes = 0;
    enum err_code rc = rig_open(&r, rig_model(name, &e), PRECISION_TF32, 2, &e);
    int missed = 0;

    if (rc)
        return check_open(rc, &e, name, PRECISION_TF32);
    model = rig_model(beside, &e);
    rc = model ? seedpress_backend.load(r.engine, model, 3, &net, &e) : e.code;
    if (!rc) {
        const struct model_facts *f = model_facts(model);

        bytes = 3 * (size_t)f->width * (size_t)f->height * 3;
        rig_samples(samples, 2, r.facts);
        rig_samples(other_samples, 3, f);
        rc = measure_alone(&r, samples, 2, &e);
    }
    be_late(true);
    for (int turn = 0; !rc && turn < 3; turn++) {
        rc = seedpress_backend.render(net, other_samples, 3, turn ? again : rgb, NULL, &e);
        if (!rc && turn)
            missed += check_same(again, rgb, bytes, "%s, turn %d beside %s", beside, turn, name);
        if (!rc)
            rc = rig_render(&r, samples, 2, &e);
        if (!rc)
            missed += check_that(others(&r, 2) == 0, "%s, turn %d beside %s", name, turn, beside);
    }
    be_late(false);
    missed += check_no_error(rc, e.msg, "%s beside %s", name, beside);
    if (net)
        seedpress_backend.unload(&net);
    if (!rc) {
        rc = rig_render(&r, samples, 2, &e);
        missed += check_that(!rc && others(&r, 2) == 0, "%s, when %s is unloaded", name, beside);
    }
    if (model)
        model_destroy(&model);
    rig_close(&r);
    return missed;
}

/* ---- Coefficients ---- */

/* Those of count pictures of the measure. */
static void expect_coefficients(const struct rig *r, const int *qualities, int count, int16_t *out)
{
    size_t each = jpeg_coefficients_layout(r->facts->width, r->facts->height).count;

    for (int i = 0; i < count; i++) {
        struct jpeg_tables tables = jpeg_tables_of(qualities[i]);

        jpeg_coefficients(measure.rgb[i], r->facts->width, r->facts->height, &tables,
                          out + (size_t)i * each);
    }
}

static int check_coefficients(const char *name, enum precision precision)
{
    static const int COUNTS[] = { 11, 1, 9, 3 };
    struct sample samples[SAMPLES];
    int qualities[2][SAMPLES], missed = 0, renders = check_scale() == CHECK_TINY ? 2 : 4;
    void *pinned[2] = { NULL, NULL };
    struct err e = {};
    struct rig r;
    enum err_code rc = rig_open(&r, rig_model(name, &e), precision, 11, &e);

    if (rc)
        return check_open(rc, &e, name, precision);
    size_t each = jpeg_coefficients_layout(r.facts->width, r.facts->height).count;
    size_t bytes = 11 * each * sizeof(int16_t);
    int16_t *expect = (int16_t *)malloc(bytes);

    rig_samples(samples, SAMPLES, r.facts);
    rc = measure_alone(&r, samples, 11, &e);
    for (int k = 0; !rc && k < 2; k++)
        rc = seedpress_backend.pin(r.engine, bytes, &pinned[k], &e);
    missed += check_no_error(rc, e.msg, "%s %s: two buffers", name, precision_word(precision));
    be_late(true);
    /* The other buffer is looked at after each render: nothing writes into it any more. */
    for (int turn = 0; !rc && turn < renders; turn++) {
        int *q = qualities[turn % 2];

        for (int i = 0; i < 11; i++)
            q[i] = 1 + (37 * i + 61 * turn) % 100;
        memset(pinned[turn % 2], 0x5a, bytes);
        rc = seedpress_backend.render_coefficients(r.net, samples, q, COUNTS[turn],
                                                   (int16_t *)pinned[turn % 2], &e);
        for (int back = 0; !rc && back < 2 && back <= turn; back++) {
            int count = COUNTS[turn - back];

            expect_coefficients(&r, qualities[(turn - back) % 2], count, expect);
            missed += check_same(pinned[(turn - back) % 2], expect,
                                 (size_t)count * each * sizeof(int16_t),
                                 "%s %s: coefficients of %d%s", name, precision_word(precision),
                                 count, back ? ", after the next render" : "");
        }
    }
    be_late(false);
    missed += check_no_error(rc, e.msg, "%s %s: coefficients", name, precision_word(precision));
    free(expect);
    seedpress_backend.unpin(r.engine, &pinned[0]);
    seedpress_backend.unpin(r.engine, &pinned[1]);
    rig_close(&r);
    return missed;
}

/* ---- Captures ---- */

/* What a trace said: names by layer, calls by sample, and each sample's largest value by layer. */
struct traced {
    char name[2 * PLAN_LAYERS_MAX][PLAN_NAME_MAX];
    float peak[3][2 * PLAN_LAYERS_MAX];
    int layers, calls[3];
};

static void note_layer(void *arg, int index, const char *name, const float *data, int channels,
                       int height, int width)
{
    struct traced *t = (struct traced *)arg;
    int at = t->calls[index]++;

    snprintf(t->name[at], PLAN_NAME_MAX, "%s", name);
    t->peak[index][at] = (float)check_peak(data, (size_t)channels * (size_t)height * (size_t)width);
    t->layers = at + 1;
}

static bool same_layers(const struct traced *a, const struct traced *b, int count)
{
    bool same = a->layers == b->layers;

    for (int i = 0; i < count; i++)
        same &= a->calls[i] == a->layers && b->calls[i] == b->layers;
    for (int i = 0; same && i < a->layers; i++)
        same &= strcmp(a->name[i], b->name[i]) == 0;
    return same;
}

static int check_captures(const char *name, enum precision precision)
{
    static struct traced by_device, by_cpu;
    struct sample samples[3];
    uint8_t rgb[3 * VALUES_MAX], cpu_rgb[3 * VALUES_MAX];
    struct capture capture = {};
    struct err e = {};
    struct rig r;
    const char *word = precision_word(precision);
    enum err_code rc = rig_open(&r, rig_model(name, &e), precision, 3, &e);
    int missed = 0;

    if (rc)
        return check_open(rc, &e, name, precision);
    rig_samples(samples, 3, r.facts);
    rc = measure_alone(&r, samples, 3, &e);
    if (!rc)
        rc = seedpress_backend.render(r.net, samples, 3, rgb, NULL, &e);
    for (int i = 0; !rc && i < 3; i++) {
        missed += check_same(rgb + (size_t)i * r.values, measure.rgb[i], r.values,
                             "%s %s: sample %d without a capture", name, word, i);
        quantize_cpu(cpu_rgb, measure.image[i], r.values / 3);
        missed += check_same(cpu_rgb, measure.rgb[i], r.values, "%s %s: its bytes are its floats'",
                             name, word);
    }
    by_device = by_cpu = {};
    capture.trace = note_layer;
    capture.trace_arg = &by_device;
    memset(rgb, 0xa5, sizeof rgb);
    be_late(true);
    if (!rc)
        rc = seedpress_backend.render(r.net, samples, 3, rgb, &capture, &e);
    be_late(false);
    for (int i = 0; !rc && i < 3; i++)
        missed += check_same(rgb + (size_t)i * r.values, measure.rgb[i], r.values,
                             "%s %s: sample %d, traced", name, word, i);
    capture.trace_arg = &by_cpu;
    if (!rc)
        rc = render_by_cpu(r.model, samples, 3, &capture, cpu_rgb, &e);
    missed += check_no_error(rc, e.msg, "%s %s: captures", name, word);
    missed += check_that(rc || same_layers(&by_device, &by_cpu, 3),
                         "%s %s: %d layers traced, the CPU's by name", name, word,
                         by_device.layers);
    if (!rc) {
        rc = rig_render(&r, samples, 3, &e);
        missed += check_that(!rc && others(&r, 3) == 0, "%s %s: after a trace", name, word);
    }
    rig_close(&r);
    return missed;
}

/* ---- Overflow ---- */

/* Networks without clamps, one layer of which is given more than half precision holds: by its noise,
 * and only samples with noise are concerned; or by its bias, and all are. */
static const struct flood {
    enum model_arch family;
    const char *first, *last;       /* of the tensor's name */
    const char *layer;              /* that a refusal is to name: how its name begins */
    int sample;                     /* and its place in the batch, in the second micro-batch */
} FLOODS[] = {
    { MODEL_STYLEGAN2, "synthesis.b8.conv0.noise_", "strength", "b8.conv0", 9 },
    { MODEL_STYLEGAN2, "synthesis.b8.conv1.noise_", "strength", "b8.conv1", 9 },
    { MODEL_STYLEGAN1, "synthesis/4x4/Const/Noise", "weight", "4x4_Const", 9 },
    { MODEL_STYLEGAN1, "synthesis/8x8/Conv0_up/Noise", "weight", "8x8_Conv0_up", 9 },
    { MODEL_STYLEGAN1, "synthesis/8x8/Conv1/Noise", "weight", "8x8_Conv1", 9 },
    { MODEL_STYLEGAN3, "synthesis.L1_", ".bias", "L1_", 0 },
};
enum { FLOOD_COUNT = sizeof FLOODS / sizeof FLOODS[0], FLOOD_SAMPLES = 10 };
static const float HALF_MOST = 65504.0f;

static uint8_t *flood_file(enum model_arch family, size_t *len)
{
    static struct kit_arch arch;
    struct stylegan1_arch a1 = {};
    struct stylegan2_arch a2 = {};
    struct stylegan3_arch a3 = {};
    struct kit_weights weights = { 1, 7 };

    a1.z_dim = a1.w_dim = a2.z_dim = a2.w_dim = a3.z_dim = a3.w_dim = 8;
    a1.mapping_fmaps = 8;
    a1.mapping_layers = a2.mapping_layers = a3.mapping_layers = 2;
    a1.resolution = a2.resolution = a3.resolution = 16;
    a1.num_ws = a2.num_ws = 6;
    a1.fmap_base = 64, a1.fmap_max = 12;
    a2.channel_base = 128, a2.channel_max = 12;
    a3.channel_base = 128, a3.channel_max = 12;
    a3.num_layers = 4, a3.num_ws = 6, a3.num_critical = 1;
    a3.first_cutoff = 2, a3.first_stopband = 3, a3.last_stopband_rel = 1.3;
    a3.margin_size = 10, a3.output_scale = 0.25, a3.conv_kernel = 3;
    a3.filter_size = 6, a3.lrelu_upsampling = 2;
    switch (family) {
    case MODEL_STYLEGAN1: kit_arch_stylegan1(&arch, &a1); break;
    case MODEL_STYLEGAN2: kit_arch_stylegan2(&arch, &a2); break;
    case MODEL_STYLEGAN3: kit_arch_stylegan3(&arch, &a3); break;
    }
    return kit_arch_bytes(&arch, &weights, len);
}

static struct model *flood_model(enum model_arch family, struct err *e)
{
    struct model *model = NULL;
    size_t len;
    uint8_t *file = flood_file(family, &len);

    model_parse(file, len, &model, e);
    free(file);
    return model;
}

/* Its tensor of that beginning and end, filled with value. */
static bool fill_tensor(struct model *model, const char *first, const char *last, float value)
{
    for (size_t i = 0; i < model_tensor_count(model); i++) {
        const struct model_tensor *t = model_tensor_at(model, i);
        size_t len = strlen(t->name), tail = strlen(last);

        if (strncmp(t->name, first, strlen(first)) != 0 || strstr(t->name, "affine") ||
            len < tail || strcmp(t->name + len - tail, last) != 0)
            continue;
        for (size_t k = 0; k < t->count; k++)
            const_cast<float *>(t->data)[k] = value;
        return true;
    }
    return false;
}

/* Nobody has noise but the one in question. */
static void flood_samples(struct sample *out, const struct flood *flood,
                          const struct model_facts *facts)
{
    rig_samples(out, FLOOD_SAMPLES, facts);
    for (int i = 0; i < FLOOD_SAMPLES; i++)
        out[i].noise = i == flood->sample && flood->sample > 0 ? RECIPE_NOISE_CONST
                                                               : RECIPE_NOISE_NONE;
}

/* "... layer b8.conv0 ... sample 9 ..." */
static bool names(const struct err *e, const char *layer, int sample)
{
    char at[80], place[32];

    snprintf(at, sizeof at, "layer %s", layer);
    snprintf(place, sizeof place, "sample %d,", sample);
    return e->code == ERR_DEVICE && strstr(e->msg, at) && strstr(e->msg, place);
}

/* Where the CPU's values first are more than half precision holds. Not of StyleGAN 1: a trace shows
 * what instance norm has made of them. */
static int check_traced_layer(const struct flood *flood, struct model *model,
                              const struct sample *sample)
{
    static struct traced traced;
    struct capture capture = {};
    uint8_t rgb[VALUES_MAX];
    struct err e = {};
    int at = 0;

    if (flood->family == MODEL_STYLEGAN1)
        return 0;
    traced = {};
    capture.trace = note_layer;
    capture.trace_arg = &traced;
    if (render_by_cpu(model, sample, 1, &capture, rgb, &e))
        return check_no_error(e.code, e.msg, "the CPU renders it");
    while (at < traced.layers && traced.peak[0][at] <= HALF_MOST)
        at++;
    return check_that(at < traced.layers &&
                          strncmp(traced.name[at], flood->layer, strlen(flood->layer)) == 0,
                      "%s is where the CPU's values exceed half precision", flood->layer);
}

/* Half precision refuses; samples that are not concerned are rendered as ever. */
static int check_refused_flood(const struct flood *flood)
{
    struct sample samples[FLOOD_SAMPLES];
    struct err e = {};
    struct rig r;
    struct model *model = flood_model(flood->family, &e);
    bool poured = model && fill_tensor(model, flood->first, flood->last, 1e5f);
    enum err_code rc = rig_open(&r, model, PRECISION_FP16, FLOOD_SAMPLES, &e);
    int missed = check_that(poured, "%s..%s is there", flood->first, flood->last);

    if (rc)
        return missed + check_open(rc, &e, flood->layer, PRECISION_FP16);
    flood_samples(samples, flood, r.facts);
    if (flood->sample > 0) {
        rc = measure_alone(&r, samples, flood->sample, &e);
        missed += check_no_error(rc, e.msg, "%s: samples without noise", flood->layer);
    }
    rig_render(&r, samples, FLOOD_SAMPLES, &e);
    missed += check_that(names(&e, flood->layer, flood->sample), "fp16: %s", e.msg);
    missed += check_that(strstr(e.msg, "tf32") != NULL, "and what may help");
    if (flood->sample > 0) {
        rc = rig_render(&r, samples, flood->sample, &e);
        missed += check_that(!rc && others(&r, flood->sample) == 0,
                             "%s: the others are as they were", flood->layer);
    }
    missed += check_traced_layer(flood, r.model, &samples[flood->sample]);
    rig_close(&r);
    return missed;
}

/* tf32 has the range. */
static int check_held_flood(const struct flood *flood)
{
    struct sample samples[FLOOD_SAMPLES];
    struct err e = {};
    struct rig r;
    struct model *model = flood_model(flood->family, &e);
    float image[VALUES_MAX];
    uint8_t rgb[VALUES_MAX];
    struct capture capture = {};
    enum err_code rc;
    int missed = 0;

    if (model)
        fill_tensor(model, flood->first, flood->last, 1e5f);
    rc = rig_open(&r, model, PRECISION_TF32, 1, &e);
    if (rc)
        return check_open(rc, &e, flood->layer, PRECISION_TF32);
    flood_samples(samples, flood, r.facts);
    capture.image = image;
    rc = rig_render(&r, &samples[flood->sample], 1, &e);
    if (!rc)
        rc = render_by_cpu(r.model, &samples[flood->sample], 1, &capture, rgb, &e);
    missed += check_no_error(rc, e.msg, "tf32: %s", flood->layer);
    if (!rc)
        missed += check_within(check_max_error(r.image, image, r.values) /
                                   check_peak(image, r.values), 1e-2, "tf32: %s", flood->layer);
    rig_close(&r);
    return missed;
}

/* More than any float holds: CPU and device refuse alike. */
static int check_infinite_flood(const struct flood *flood)
{
    struct sample samples[FLOOD_SAMPLES];
    struct err e = {}, by_cpu = {};
    struct rig r;
    struct model *model = flood_model(flood->family, &e);
    uint8_t rgb[VALUES_MAX];
    char layer[PLAN_NAME_MAX + 16];
    enum err_code rc;
    int missed;

    if (model)
        fill_tensor(model, flood->first, flood->last, 3e38f);
    rc = rig_open(&r, model, PRECISION_FP32, FLOOD_SAMPLES, &e);
    if (rc)
        return check_open(rc, &e, flood->layer, PRECISION_FP32);
    flood_samples(samples, flood, r.facts);
    rig_render(&r, samples, FLOOD_SAMPLES, &e);
    render_by_cpu(r.model, &samples[flood->sample], 1, NULL, rgb, &by_cpu);
    snprintf(layer, sizeof layer, "value of %s", flood->layer);
    missed = check_that(names(&e, flood->layer, flood->sample), "fp32: %s", e.msg) +
             check_that(by_cpu.code == ERR_DEVICE && strstr(by_cpu.msg, layer), "CPU: %s",
                        by_cpu.msg);
    rig_close(&r);
    return missed;
}

static int check_floods(void)
{
    int missed = 0, step = check_scale() == CHECK_TINY ? 4 : 1;

    for (int i = 0; i < FLOOD_COUNT; i += step)
        missed += check_refused_flood(&FLOODS[i]) + check_held_flood(&FLOODS[i]);
    for (int i = 0; i < FLOOD_COUNT - 1; i += step)     /* a bias cannot reach infinity */
        missed += check_infinite_flood(&FLOODS[i]);
    return missed;
}

/* ---- What is refused ---- */

/* A file of such weights is refused. Those that come into memory in another way are, when they are
 * loaded or rendered: no picture comes of them. */
static int check_no_numbers(void)
{
    static const float VALUES[] = { NAN, INFINITY };
    int missed = 0;

    for (int i = 0; i < 2; i++) {
        struct err e = {};
        size_t len;
        uint8_t *file = flood_file(MODEL_STYLEGAN2, &len);
        struct model *model = NULL;
        struct sample sample;
        struct rig r;
        enum err_code rc;

        memcpy(file + len - sizeof(float), &VALUES[i], sizeof(float));
        rc = model_parse(file, len, &model, &e);
        free(file);
        missed += check_that(rc == ERR_INVALID && !model, "a file with %g: %s", (double)VALUES[i],
                             e.msg);
        model = flood_model(MODEL_STYLEGAN2, &e);
        if (model)
            fill_tensor(model, "synthesis.b8.conv1.weight", "", VALUES[i]);
        rc = rig_open(&r, model, PRECISION_FP16, 1, &e);
        if (!rc) {
            rig_samples(&sample, 1, r.facts);
            rc = rig_render(&r, &sample, 1, &e);
            rig_close(&r);
        }
        missed += check_that(rc == ERR_DEVICE || rc == ERR_INVALID, "weights of %g: %s",
                             (double)VALUES[i], e.msg);
    }
    return missed;
}

static int check_refused_engine(int device)
{
    struct backend_options options = {};
    struct engine *engine = NULL;
    struct err e = {};

    options.device = device;
    enum err_code rc = seedpress_backend.open(&options, &engine, &e);

    return check_that(rc == ERR_DEVICE && !engine, "device %d: %s", device, e.msg);
}

static int check_refused_load(const struct rig *r, int max_batch)
{
    struct net *net = NULL;
    struct err e = {};
    enum err_code rc = seedpress_backend.load(r->engine, r->model, max_batch, &net, &e);

    return check_that(rc == ERR_RANGE && !net, "loaded for %d: %s", max_batch, e.msg);
}

/* Refused, and the next render is as ever. */
static int check_refusals(const char *name)
{
    static const int BAD_QUALITIES[] = { 0, 101, -1 };
    struct sample samples[3], bad;
    int qualities[3] = { 90, 90, 90 }, missed = 0;
    void *pinned = NULL;
    struct err e = {};
    struct rig r;
    enum err_code rc = rig_open(&r, rig_model(name, &e), PRECISION_FP16, 2, &e);

    if (rc)
        return check_open(rc, &e, name, PRECISION_FP16);
    rig_samples(samples, 3, r.facts);
    rc = measure_alone(&r, samples, 2, &e);
    if (!rc)
        rc = seedpress_backend.pin(r.engine, 1 << 20, &pinned, &e);
    missed += check_no_error(rc, e.msg, "%s", name);
    for (int i = 0; !rc && i < 3; i++) {
        qualities[1] = BAD_QUALITIES[i];
        missed += check_that(seedpress_backend.render_coefficients(r.net, samples, qualities, 2,
                                                                   (int16_t *)pinned, &e) ==
                                 ERR_RANGE, "%s", e.msg);
    }
    qualities[1] = 90;
    missed += check_that(seedpress_backend.render(r.net, samples, 3, r.rgb, NULL, &e) == ERR_RANGE,
                         "%s", e.msg);
    missed += check_that(seedpress_backend.render_coefficients(
                             r.net, samples, qualities, 3, (int16_t *)pinned, &e) == ERR_RANGE,
                         "%s", e.msg);
    missed += check_that(seedpress_backend.render(r.net, samples, -1, r.rgb, NULL, &e) == ERR_RANGE,
                         "%s", e.msg);
    missed += check_no_error(seedpress_backend.render(r.net, samples, 0, r.rgb, NULL, &e), e.msg,
                             "a batch of none is none");
    bad = samples[0];
    bad.cutoff = r.facts->num_ws + 1;
    missed += check_that(seedpress_backend.render(r.net, &bad, 1, r.rgb, NULL, &e) == ERR_RANGE,
                         "%s", e.msg);
    missed += check_refused_load(&r, 0) + check_refused_load(&r, 4097);
    rc = rig_render(&r, samples, 2, &e);
    missed += check_that(!rc && others(&r, 2) == 0, "%s: after refusals as before", name);
    seedpress_backend.unpin(r.engine, &pinned);
    missed += check_that(!pinned, "unpinned");
    seedpress_backend.unpin(r.engine, &pinned);
    rig_close(&r);
    return missed + check_refused_engine(-1) + check_refused_engine(64);
}

/* Everything that open, load and a render of each kind took is given back. */
static int check_nothing_left(const char *name)
{
    struct sample samples[3];
    int qualities[3] = { 1, 50, 100 }, missed = 0;
    size_t before = 0;
    struct err e = {};

    for (int turn = 0; turn < 3; turn++) {
        void *pinned = NULL;
        struct rig r;
        enum err_code rc = rig_open(&r, rig_model(name, &e), PRECISION_TF32, 3, &e);

        if (rc)
            return check_open(rc, &e, name, PRECISION_TF32);
        rig_samples(samples, 3, r.facts);
        rc = rig_render(&r, samples, 3, &e);
        if (!rc)
            rc = seedpress_backend.pin(r.engine, 1 << 20, &pinned, &e);
        if (!rc)
            rc = seedpress_backend.render_coefficients(r.net, samples, qualities, 3,
                                                       (int16_t *)pinned, &e);
        missed += check_no_error(rc, e.msg, "%s opened and closed", name);
        seedpress_backend.unpin(r.engine, &pinned);
        rig_close(&r);
        if (turn == 0)
            before = held();        /* on a device the first one leaves what the runtime keeps */
        else
            missed += check_that(held() == before, "time %d leaves nothing: %zu", turn, held());
        if (check_is_emulated())
            missed += check_that(held() == 0, "nor does the emulator hold anything");
    }
    return missed;
}

/* ---- Memory ---- */

#ifndef __CUDACC__

enum { DEVICE_BYTES_SHIFT = 32, MEGABYTE = 1000000 };

/* Loads the model on a device of which so many bytes are free, beside what an engine takes; 0, or
 * the MB that the refusal names. */
static size_t refused_for(struct model *model, enum precision precision, int max_batch,
                          size_t bytes, size_t *free_mb, struct err *e)
{
    struct backend_options options = {};
    struct engine *engine = NULL;
    struct net *net = NULL;
    size_t need = 0;
    enum err_code rc;

    options.precision = precision;
    *free_mb = 0;
    rc = seedpress_backend.open(&options, &engine, e);
    emulated_memory_set(emulated_held().device_bytes + bytes);
    if (!rc)
        rc = seedpress_backend.load(engine, model, max_batch, &net, e);
    if (rc && sscanf(e->msg, "model needs %zu MB of device memory, %zu MB are free", &need,
                     free_mb) != 2)
        need = 0;
    if (net)
        seedpress_backend.unload(&net);
    if (engine)
        seedpress_backend.close(&engine);
    emulated_memory_set((size_t)1 << DEVICE_BYTES_SHIFT);
    return rc ? need : 0;
}

/* What a refusal says is true: with so much the model loads, with a MB less it does not. */
static int check_refused_memory(void)
{
    static const char NAME[] = "deploy/models/avatars64.safetensors";
    struct err e = {};
    struct model *model = rig_model(NAME, &e);
    size_t need, left, other;
    int missed;

    if (!model)
        return check_no_error(e.code, e.msg, "%s", NAME);
    need = refused_for(model, PRECISION_FP16, 3, 3 * MEGABYTE, &left, &e);
    missed = check_that(e.code == ERR_NOMEM && need > 3 && left == 3, "%s", e.msg);
    missed += check_that(held() == 0, "what had been taken is given back: %zu", held());
    e = {};
    missed += check_that(refused_for(model, PRECISION_FP16, 3, need * MEGABYTE, &other, &e) == 0 &&
                             e.code == ERR_OK, "%zu MB suffice%s%s", need, *e.msg ? ": " : "",
                         e.msg);
    missed += check_that(refused_for(model, PRECISION_FP16, 3, (need - 1) * MEGABYTE, &other, &e) ==
                             need, "%s", e.msg);
    missed += check_that(held() == 0, "nothing is left");
    model_destroy(&model);
    return missed;
}

enum { ANY_MEGABYTES = 8000 };      /* in every precision */

/* Of networks in use, at most in fp16, with what the engine holds. Not in it: what the driver takes
 * for a context and for graphs. */
static const struct target {
    int network;                    /* of KIT_NETWORKS */
    int max_batch;
    size_t megabytes;
} TARGETS[] = {
    { 1, 8, 1500 },                 /* stylegan2-1024 */
    { 0, 32, ANY_MEGABYTES }, { 3, 32, ANY_MEGABYTES }, { 4, 32, ANY_MEGABYTES },
    { 5, 32, ANY_MEGABYTES },
};

/* What an engine holds by itself. */
static size_t engine_bytes(enum precision precision)
{
    struct backend_options options = {};
    struct engine *engine = NULL;
    struct err e = {};
    size_t bytes = 0;

    options.precision = precision;
    if (seedpress_backend.open(&options, &engine, &e) == ERR_OK) {
        bytes = emulated_held().device_bytes;
        seedpress_backend.close(&engine);
    }
    return bytes;
}

static int check_need(const struct target *target)
{
    const struct kit_network *network = &KIT_NETWORKS[target->network];
    struct model *model = NULL;
    struct err e = {};
    int missed = 0, last = check_scale() == CHECK_FULL ? PRECISION_COUNT : PRECISION_FP16 + 1;

    if (kit_network_model(network, 256.0f, &model, &e))
        return check_no_error(e.code, e.msg, "%s", network->name);
    for (int p = PRECISION_FP16; p < last; p++) {
        enum precision precision = (enum precision)p;
        size_t left, need = refused_for(model, precision, target->max_batch, MEGABYTE, &left, &e);
        size_t all = need + (engine_bytes(precision) + MEGABYTE - 1) / MEGABYTE;
        size_t most = precision == PRECISION_FP16 ? target->megabytes : (size_t)ANY_MEGABYTES;

        missed += check_within(need ? (double)all : NAN, (double)most, "%s %s, batch %d: MB",
                               network->name, precision_word(precision), target->max_batch);
    }
    model_destroy(&model);
    return missed + check_that(held() == 0, "nothing is left of %s", network->name);
}

static int check_memory(void)
{
    int missed = check_refused_memory();
    int targets = check_scale() == CHECK_FULL ? 5 : check_scale() == CHECK_SHORT ? 1 : 0;

    for (int i = 0; i < targets; i++)
        missed += check_need(&TARGETS[i]);
    return missed;
}

#else

static int check_memory(void)
{
    check_skip("a device's memory cannot be made smaller; the benchmark says what networks need");
    return 0;
}

#endif

/* ---- The part ---- */

/* Random networks first; how many of a scale. */
static const char *const MODELS[] = {
    "random-2-39", "random-1-39", "random-3-32",
    "tests/golden/sg2_32/sg2_32.pkl", "tests/golden/sg3t_32/sg3t_32.pkl",
    "tests/golden/sg1_32/sg1_32.pkl",
    "random-1-4", "random-2-4", "random-3-4", "random-1-5", "random-2-5", "random-3-5",
    "tests/golden/sg3r_32/sg3r_32.pkl", "tests/golden/sg2_cond_32/sg2_cond_32.pkl",
};
static const int MODEL_COUNTS[] = { sizeof MODELS / sizeof MODELS[0], 6, 1 };

int check_network(void)
{
    int missed = 0, models = MODEL_COUNTS[check_scale()], small = check_scale() == CHECK_TINY ? 1 : 3;

    for (int p = PRECISION_FP16; p < PRECISION_COUNT; p++)
        for (int i = 0; i < models; i++)
            missed += check_against_cpu(MODELS[i], (enum precision)p);
    for (int i = 0; i < small; i++) {
        missed += check_batches(MODELS[i], PRECISION_TF32);
        missed += check_coefficients(MODELS[i], PRECISION_FP16);
        missed += check_captures(MODELS[i], PRECISION_FP16);
    }
    missed += check_two_nets(MODELS[0], MODELS[1]);
    missed += check_floods();
    missed += check_no_numbers();
    missed += check_refusals(MODELS[0]);
    missed += check_nothing_left(MODELS[0]);
    return missed + check_memory();
}
