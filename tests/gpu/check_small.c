/* What compute-sanitizer looks at: whole renders of every family at 16 to 32 pixels, each precision,
 * batches that end unevenly, pixels and every capture. Errors show in the sanitizer's own words. */
#include "kernels/jpeg_transform.h"
#include "tests/gpu/check.h"
#include "tests/gpu/rig.h"

#include <stdlib.h>
#include <string.h>

static const char *const MODELS[] = {
    "tests/golden/sg1_cond_16/sg1_cond_16.pkl",
    "tests/golden/sg2_cond_32/sg2_cond_32.pkl",
    "tests/golden/sg3t_32/sg3t_32.pkl",
    "tests/golden/sg3r_32/sg3r_32.pkl",
    "random-1-2",
    "random-2-2",
};
enum { MODEL_COUNT = sizeof MODELS / sizeof MODELS[0], BATCH = 3 };

static void ignore_layer(void *arg, int index, const char *name, const float *data, int channels,
                         int height, int width)
{
    (void)index, (void)name, (void)data, (void)channels, (void)height, (void)width;
    ++*(int *)arg;
}

/* JPEG coefficients, where the backend has them. */
static enum err_code render_coefficients(struct rig *r, const struct sample *samples, struct err *e)
{
    const int qualities[BATCH] = { 90, 50, 100 };
    size_t count = jpeg_coefficients_layout(r->facts->width, r->facts->height).count;
    void *memory = NULL;
    enum err_code rc;

    if (!seedpress_backend.render_coefficients)
        return ERR_OK;
    rc = seedpress_backend.pin(r->engine, BATCH * count * sizeof(int16_t), &memory, e);
    if (rc == ERR_OK)
        rc = seedpress_backend.render_coefficients(r->net, samples, qualities, BATCH, memory, e);
    seedpress_backend.unpin(r->engine, &memory);
    return rc;
}

/* Pixels into page-locked memory: the bytes of the render before. */
static int check_locked(struct rig *r, const struct sample *samples, int batch, const char *words)
{
    size_t bytes = (size_t)batch * r->values;
    struct err e = { 0 };
    void *memory = NULL;
    enum err_code rc = ERR_OK;
    int missed = 0;

    if (!seedpress_backend.pin)
        return 0;
    rc = seedpress_backend.pin(r->engine, bytes, &memory, &e);
    if (rc == ERR_OK)
        rc = seedpress_backend.render(r->net, samples, batch, memory, NULL, &e);
    if (rc != ERR_OK || memcmp(memory, r->rgb, bytes) != 0)
        missed = rc ? check_no_error(rc, e.msg, "%s into page-locked memory", words)
                    : check_same(memory, r->rgb, bytes, "%s into page-locked memory", words);
    seedpress_backend.unpin(r->engine, &memory);
    return missed;
}

static int check_model(const char *name, enum precision precision)
{
    struct sample samples[BATCH];
    struct rig r;
    struct err e = { 0 };
    int layers = 0, missed = 0, batch = check_scale() == CHECK_TINY ? 2 : BATCH;
    struct capture capture = { .trace = ignore_layer, .trace_arg = &layers };
    enum err_code rc = rig_open(&r, rig_model(name, &e), precision, BATCH, &e);

    if (rc)
        return check_no_error(1, e.msg, "%s %s", name, precision_word(precision));
    rig_samples(samples, BATCH, r.facts);
    rc = rig_render(&r, samples, batch, &e);
    if (rc == ERR_OK)
        missed = check_locked(&r, samples, batch, name);
    if (rc == ERR_OK)
        rc = seedpress_backend.render(r.net, samples, 1, NULL, &capture, &e);
    if (rc == ERR_OK)
        rc = render_coefficients(&r, samples, &e);
    rig_close(&r);
    return missed + check_no_error(rc, e.msg, "%s %s, %d layers", name, precision_word(precision), layers);
}

int check_small(void)
{
    int missed = 0;

    /* A sanitizer takes long over every kernel that it sees first: half precision whole, of the others
     * two families. */
    for (int precision = PRECISION_FP16; precision < PRECISION_COUNT; precision++)
        for (int i = 0; i < MODEL_COUNT; i++)
            if (precision == PRECISION_FP16 || check_scale() != CHECK_TINY || i == 1 || i == 2)
                missed += check_model(MODELS[i], (enum precision)precision);
    return missed;
}
