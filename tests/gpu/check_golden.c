/* Every recorded network on the backend, in every precision: z to the bit; ws, the picture, its
 * bytes and its layers within tolerances. One row a network and precision. */
#include "kernels/backend.h"
#include "tests/gpu/check.h"
#include "tests/gpu/rig.h"
#include "tests/kit_golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* fp32: as tests/golden/README.md asks of every engine. The others: mapping and truncation are
 * float32 in them too; a picture is looked at within its range of -1..1, and a layer's values
 * relative to its largest. */
static const struct tolerance {
    double ws, image, psnr, trace;
    int levels;                     /* of 8 bit; 255: any */
} TOLERANCES[PRECISION_COUNT] = {
    [PRECISION_FP16] = { 2e-5, 1e-2, 50.0, 1e-2, 255 },
    [PRECISION_TF32] = { 2e-5, 1e-2, 50.0, 1e-2, 255 },
    [PRECISION_FP32] = { 2e-5, 5e-5, 70.0, 1e-4, 1 },
};

static const struct row {
    const char *file;               /* tests/golden/<file>/<file>.pkl */
    const char *folder, *table;     /* its cases */
    bool traced;
    enum recipe_noise noise;        /* instead of const; NONE: as the cases say */
} ROWS[] = {
    { "sg1_32", "sg1_32", "cases.tsv", true, RECIPE_NOISE_NONE },
    { "sg1_128", "sg1_128", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg1_cond_16", "sg1_cond_16", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg2_32", "sg2_32", "cases.tsv", true, RECIPE_NOISE_NONE },
    { "sg2_64_z512", "sg2_64_z512", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg2_cond_32", "sg2_cond_32", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg2_flat_32", "sg2_flat_32", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg2_fp16_64", "sg2_fp16_64", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg2_tf_32", "sg2_32", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg2_tf_32", "sg2_tf_32", "cases_seednoise.tsv", false, RECIPE_NOISE_STREAM },
    { "sg2_tf_cond_32", "sg2_cond_32", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg3t_32", "sg3t_32", "cases.tsv", true, RECIPE_NOISE_NONE },
    { "sg3t_64_deep", "sg3t_64_deep", "cases.tsv", false, RECIPE_NOISE_NONE },
    { "sg3r_32", "sg3r_32", "cases.tsv", true, RECIPE_NOISE_NONE },
};
enum { ROW_COUNT = sizeof ROWS / sizeof ROWS[0] };

/* The worst of all cases of a row. */
struct worst {
    int cases, levels;              /* levels -1: no bytes are recorded */
    bool z_same;
    double ws, image, psnr, trace;
    char layer[48];                 /* where trace is */
};

/* NaN wins and stays. */
static void take_worse(double *worst, double error)
{
    if (!(error <= *worst) && !isnan(*worst))
        *worst = error;
}

static void look_at_floats(const char *folder, const char *file, const float *got, size_t count,
                           bool in_range, double *worst)
{
    struct npy expect = golden_array(folder, file);
    const float *want = expect.data;
    double error = 0.0;

    if (expect.dtype != NPY_FLOAT32 || expect.count != count)
        error = NAN;
    for (size_t i = 0; i < count && !isnan(error); i++) {
        double a = (double)got[i], b = (double)want[i];

        if (in_range && !isnan(a)) {
            a = fmin(fmax(a, -1.0), 1.0);
            b = fmin(fmax(b, -1.0), 1.0);
        }
        take_worse(&error, fabs(a - b));
    }
    take_worse(worst, error);
    npy_release(&expect);
}

static void look_at_case(const struct rig *r, const struct row *row, enum precision precision,
                         const struct golden_case *c, int place, struct worst *worst)
{
    size_t n = (size_t)place, z_dim = (size_t)r->facts->z_dim;
    int levels;

    worst->cases++;
    if (strcmp(c->z, "-") != 0) {
        struct npy z = golden_array(row->folder, c->z);

        if (z.count != z_dim || memcmp(r->z + n * z_dim, z.data, z_dim * sizeof(double)) != 0)
            worst->z_same = false;
        npy_release(&z);
    }
    if (strcmp(c->ws, "-") != 0)
        look_at_floats(row->folder, c->ws, r->ws + n * r->ws_values, r->ws_values, false,
                       &worst->ws);
    look_at_floats(row->folder, c->image, r->image + n * r->values, r->values,
                   precision != PRECISION_FP32, &worst->image);

    struct npy rgb = golden_array(row->folder, c->rgb);
    double psnr = rgb.count == r->values
                      ? golden_psnr(r->rgb + n * r->values, rgb.data, r->values, &levels)
                      : (levels = 255, 0.0);

    worst->psnr = fmin(worst->psnr, psnr);
    worst->levels = levels > worst->levels ? levels : worst->levels;
    npy_release(&rgb);
}

/* ---- Traces ---- */

struct trace {
    const char *folder;
    int seen;
    struct worst *worst;
};

static void look_at_layer(void *arg, int index, const char *name, const float *data, int channels,
                          int height, int width)
{
    struct trace *trace = arg;
    size_t count = (size_t)channels * (size_t)height * (size_t)width;
    char file[80];
    double error;

    (void)index;
    if (strcmp(name, "ToRGB_lod0") == 0)    /* not recorded: it is the picture itself */
        return;
    snprintf(file, sizeof file, "trace/%02d_%s.npy", trace->seen++, name);
    struct npy expect = golden_array(trace->folder, file);

    error = expect.count == count
                ? check_max_error(data, expect.data, count) / check_peak(expect.data, count)
                : NAN;
    if (!(error <= trace->worst->trace) && !isnan(trace->worst->trace)) {
        trace->worst->trace = error;
        snprintf(trace->worst->layer, sizeof trace->worst->layer, "%s", name);
    }
    npy_release(&expect);
}

/* The case of each trace/case.txt is seed 0, psi 0.7. */
static enum err_code look_at_trace(struct rig *r, const char *folder, struct worst *worst,
                                   struct err *e)
{
    struct trace trace = { .folder = folder, .worst = worst };
    struct capture capture = { .trace = look_at_layer, .trace_arg = &trace };
    struct sample sample = { .psi = 0.7f, .cutoff = r->facts->num_ws, .class_index = -1,
                             .noise = RECIPE_NOISE_NONE };
    enum err_code rc;

    if (r->facts->noise_modes >> RECIPE_NOISE_CONST & 1)
        sample.noise = RECIPE_NOISE_CONST;
    rc = seedpress_backend.render(r->net, &sample, 1, NULL, &capture, e);
    if (rc == ERR_OK && trace.seen < 2)
        rc = err_set(e, ERR_BUG, "%d layers were traced", trace.seen);
    return rc;
}

/* ---- Rows ---- */

/* How many cases at a time: an odd number, so that batches end unevenly. */
static int batch_of(enum check_scale scale)
{
    return scale == CHECK_FULL ? 7 : scale == CHECK_SHORT ? 2 : 1;
}

static enum err_code look_at_row(const struct row *row, enum precision precision,
                                 struct worst *worst, struct err *e)
{
    struct golden_case cases[GOLDEN_CASES_MAX];
    struct sample samples[GOLDEN_CASES_MAX];
    int batch = batch_of(check_scale());
    char path[160];
    struct rig r;
    enum err_code rc;

    snprintf(path, sizeof path, "tests/golden/%s/%s.pkl", row->file, row->file);
    rc = rig_open(&r, rig_model(path, e), precision, batch, e);
    if (rc)
        return rc;
    int count = golden_cases(row->folder, row->table, r.facts, cases);

    if (check_scale() != CHECK_FULL) {      /* the first and, where two are looked at, the last */
        cases[1] = cases[count - 1];
        count = count < batch ? count : batch;
    }
    for (int i = 0; i < count; i++) {
        samples[i] = cases[i].sample;
        if (row->noise != RECIPE_NOISE_NONE)
            samples[i].noise = row->noise;
    }
    for (int first = 0; first < count && rc == ERR_OK; first += batch) {
        int now = count - first < batch ? count - first : batch;

        rc = rig_render(&r, samples + first, now, e);
        for (int i = 0; i < now && rc == ERR_OK; i++)
            look_at_case(&r, row, precision, &cases[first + i], i, worst);
    }
    if (rc == ERR_OK && row->traced)
        rc = look_at_trace(&r, row->folder, worst, e);
    rig_close(&r);
    return rc;
}

static int judge(const struct row *row, enum precision precision, const struct worst *w)
{
    const struct tolerance *t = &TOLERANCES[precision];
    char trace[80] = "-", bytes[40] = "-";

    if (w->levels >= 0)
        snprintf(bytes, sizeof bytes, "%.1f dB%s, levels %d%s", w->psnr,
                 w->psnr >= t->psnr ? "" : "!", w->levels, w->levels <= t->levels ? "" : "!");

    if (row->traced)
        snprintf(trace, sizeof trace, "%.2g%s in %s", w->trace, w->trace <= t->trace ? "" : "!",
                 w->layer);
    return check_that(w->z_same && w->ws <= t->ws && w->image <= t->image && w->psnr >= t->psnr &&
                          w->levels <= t->levels && (!row->traced || w->trace <= t->trace),
                      "%-14s %s %2d cases  z %s  ws %.2g%s  image %.2g%s  bytes %s  trace %s",
                      row->file, precision_word(precision), w->cases, w->z_same ? "same" : "other!",
                      w->ws, w->ws <= t->ws ? "" : "!", w->image, w->image <= t->image ? "" : "!",
                      bytes, trace);
}

/* ---- The shipped model: its trainer recorded w at psi 1 and pictures ---- */

static int check_shipped(enum precision precision)
{
    static const unsigned SEEDS[] = { 0, 1, 42 };
    struct row row = { .file = "avatars64", .folder = "avatars64" };
    struct worst worst = { .levels = -1, .z_same = true, .psnr = 200.0 };
    char file[64];
    struct rig r;
    struct err e = { 0 };

    if (rig_open(&r, rig_model("deploy/models/avatars64.safetensors", &e), precision, 1, &e))
        return check_no_error(1, e.msg, "avatars64 %s", precision_word(precision));
    for (int i = 0; i < (check_scale() == CHECK_FULL ? 6 : 1); i++) {
        struct sample sample = { .seed = SEEDS[i / 2], .psi = i % 2 ? 0.7f : 1.0f,
                                 .cutoff = r.facts->num_ws, .class_index = -1,
                                 .noise = RECIPE_NOISE_CONST };

        if (rig_render(&r, &sample, 1, &e)) {
            rig_close(&r);
            return check_no_error(1, e.msg, "avatars64 %s", precision_word(precision));
        }
        worst.cases++;
        snprintf(file, sizeof file, "seed%u-psi%s.npy", SEEDS[i / 2], i % 2 ? "0.7" : "1.0");
        look_at_floats(row.folder, file, r.image, r.values, precision != PRECISION_FP32,
                       &worst.image);
        snprintf(file, sizeof file, "seed%u-w.npy", SEEDS[i / 2]);
        if (i % 2 == 0)
            look_at_floats(row.folder, file, r.ws, (size_t)r.facts->w_dim, false, &worst.ws);
    }
    rig_close(&r);
    return judge(&row, precision, &worst);
}

int check_golden(void)
{
    int missed = 0;

    check_note("largest errors; ! marks what is too large. fp32: ws 2e-5, image 5e-5, 70 dB, "
               "trace 1e-4; else 2e-5, 1e-2, 50 dB, 1e-2");
    for (int precision = PRECISION_FP16; precision < PRECISION_COUNT; precision++) {
        for (int i = 0; i < ROW_COUNT; i++) {
            struct worst worst = { .z_same = true, .psnr = 200.0 };
            struct err e = { 0 };

            if (check_scale() == CHECK_TINY && !ROWS[i].traced)
                continue;
            if (look_at_row(&ROWS[i], (enum precision)precision, &worst, &e))
                missed += check_no_error(1, e.msg, "%s %s", ROWS[i].file,
                                         precision_word((enum precision)precision));
            else
                missed += judge(&ROWS[i], (enum precision)precision, &worst);
        }
        if (check_scale() != CHECK_TINY)
            missed += check_shipped((enum precision)precision);
    }
    return missed;
}
