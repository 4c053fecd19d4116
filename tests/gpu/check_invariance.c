/* The promise of every backend on this one: a sample's bits are the same whatever the batch's size,
 * its place in it, and the tiles that a layer is cut into. Every model's pictures, rendered one at a
 * time, are the measure for all other renders of them; their digest is printed, and compared with
 * the one that digests.tsv keeps for the numerics class, if it does. */
#include "proto/digest.h"
#include "tests/gpu/check.h"
#include "tests/gpu/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 32, TILES_MAX = 8 };

/* Each family; kernels of 1x1, radial filters, labels, odd numbers of channels. How many of a scale. */
static const char *const MODELS[] = {
    "random-1-1", "random-2-1", "random-3-1",
    "tests/golden/sg1_cond_16/sg1_cond_16.pkl",
    "tests/golden/sg2_cond_32/sg2_cond_32.pkl",
    "tests/golden/sg3r_32/sg3r_32.pkl",
    "tests/golden/sg3t_32/sg3t_32.pkl",
    "random-1-2", "random-2-2", "random-3-2", "random-1-3", "random-2-3", "random-3-3",
    "tests/golden/sg2_fp16_64/sg2_fp16_64.pkl",
    "tests/golden/sg1_128/sg1_128.pkl",
    "deploy/models/avatars64.safetensors",
};
static const int MODEL_COUNTS[] = { [CHECK_FULL] = sizeof MODELS / sizeof MODELS[0],
                                    [CHECK_SHORT] = 6, [CHECK_TINY] = 2 };
/* Of a scale too: pictures, and of them those that every tile makes. */
static const int SAMPLE_COUNTS[] = { SAMPLES, 3, 2 }, TILE_SAMPLE_COUNTS[] = { 8, 2, 2 };
static const int BATCHES[] = { 2, 3, 5, 8, 16, 32 };
static const char DIGESTS[] = "tests/gpu/digests.tsv";

/* One model in one precision. */
struct series {
    const char *name;
    enum precision precision;
    int count;                      /* samples */
    struct sample samples[SAMPLES];
    size_t values;                  /* of a picture */
    float *image;                   /* [count, values]: each rendered alone */
    uint8_t *rgb;
    int others;                     /* of the renders since the last note: with other bits */
    int renders;                    /* kinds of them: batch sizes, places, tiles */
    char others_in[300];            /* "": the same bits everywhere */
};

/* Of the last render of r, of samples first + turn, ...: one by one against the measure. */
static void compare(struct series *s, const struct rig *r, int first, int count)
{
    for (int i = 0; i < count; i++) {
        size_t expect = (size_t)((first + i) % s->count) * s->values, got = (size_t)i * s->values;

        if (memcmp(r->image + got, s->image + expect, s->values * sizeof(float)) != 0 ||
            memcmp(r->rgb + got, s->rgb + expect, s->values) != 0)
            s->others++;
    }
}

/* Of a kind of render, "N=3": what went wrong, if anything did, goes into s->others_in. */
static void note(struct series *s, const char *what, enum err_code rc, const struct err *e)
{
    size_t len = strlen(s->others_in);

    if (rc)
        snprintf(s->others_in + len, sizeof s->others_in - len, " %s: %s;", what, e->msg);
    else if (s->others)
        snprintf(s->others_in + len, sizeof s->others_in - len, " %s: %d pictures;", what,
                 s->others);
    s->others = 0;
    s->renders++;
}

/* The measure: every sample alone. */
static enum err_code render_alone(struct series *s, struct rig *r, struct err *e)
{
    for (int i = 0; i < s->count; i++) {
        enum err_code rc = rig_render(r, &s->samples[i], 1, e);

        if (rc)
            return rc;
        memcpy(s->image + (size_t)i * s->values, r->image, s->values * sizeof(float));
        memcpy(s->rgb + (size_t)i * s->values, r->rgb, s->values);
    }
    return ERR_OK;
}

static void check_batches(struct series *s, struct rig *r)
{
    struct err e = { 0 };

    for (size_t b = 0; b < sizeof BATCHES / sizeof BATCHES[0]; b++) {
        enum err_code rc = ERR_OK;
        char what[16];

        if (BATCHES[b] > s->count)
            break;
        for (int first = 0; first < s->count && rc == ERR_OK; first += BATCHES[b]) {
            int count = s->count - first < BATCHES[b] ? s->count - first : BATCHES[b];

            rc = rig_render(r, s->samples + first, count, &e);
            if (rc == ERR_OK)
                compare(s, r, first, count);
        }
        snprintf(what, sizeof what, "N=%d", BATCHES[b]);
        note(s, what, rc, &e);
    }
}

/* Every sample in every place of the largest batch. */
static void check_places(struct series *s, struct rig *r)
{
    struct sample turned[SAMPLES];
    enum err_code rc = ERR_OK;
    struct err e = { 0 };

    for (int turn = 1; turn < s->count && rc == ERR_OK; turn++) {
        for (int i = 0; i < s->count; i++)
            turned[i] = s->samples[(i + turn) % s->count];
        rc = rig_render(r, turned, s->count, &e);
        if (rc == ERR_OK)
            compare(s, r, turn, s->count);
    }
    note(s, "other places", rc, &e);
}

/* With each way to cut layers into tiles that can be asked for; what a layer has no tile for, it
 * does as always. */
static void check_tiles(struct series *s)
{
    int tiles = check_scale() == CHECK_TINY ? 1 : TILES_MAX;

    for (int tile = 0; tile < tiles; tile++) {
        int count = TILE_SAMPLE_COUNTS[check_scale()];
        char what[24], number[12];
        struct rig r;
        struct err e = { 0 };
        enum err_code rc;

        snprintf(number, sizeof number, "%d", tile);
        setenv("SEEDPRESS_CUDA_TILE", number, 1);
        rc = rig_open(&r, rig_model(s->name, &e), s->precision, count, &e);
        unsetenv("SEEDPRESS_CUDA_TILE");
        if (rc == ERR_OK) {
            rc = rig_render(&r, s->samples, count, &e);
            if (rc == ERR_OK)
                compare(s, &r, 0, count);
            if (rc == ERR_OK)
                rc = rig_render(&r, s->samples, 1, &e);
            if (rc == ERR_OK)
                compare(s, &r, 0, 1);
            rig_close(&r);
        }
        snprintf(what, sizeof what, "tile %d", tile);
        note(s, what, rc, &e);
    }
}

/* The digest on record, "" when there is none. Lines: class, model, pictures, digest. */
static void recorded_digest(const char *numerics_class, const char *model, int pictures,
                            char out[DIGEST_HEX_LEN + 1])
{
    char line[400], in_class[100], in_model[160], digest[80];
    FILE *file = fopen(DIGESTS, "r");
    int in_pictures;

    out[0] = '\0';
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%99s %159s %d %79s", in_class, in_model, &in_pictures, digest) == 4 &&
            strcmp(in_class, numerics_class) == 0 && strcmp(in_model, model) == 0 &&
            in_pictures == pictures)
            snprintf(out, DIGEST_HEX_LEN + 1, "%.64s", digest);
    if (file)
        fclose(file);
}

/* What the emulator sums is no device's arithmetic, whatever class it plays. */
static int check_digest(const struct series *s, const char *played_class)
{
    char numerics_class[100];
    struct digest digest = digest_of(s->image, (size_t)s->count * s->values * sizeof(float));
    struct digest_hex hex = digest_hex(&digest);
    char recorded[DIGEST_HEX_LEN + 1];

    snprintf(numerics_class, sizeof numerics_class, "%s%s",
             check_is_emulated() ? "emulated-" : "", played_class);
    check_note("%s\t%s\t%d\t%s", numerics_class, s->name, s->count, hex.text);
    recorded_digest(numerics_class, s->name, s->count, recorded);
    if (!*recorded)
        return 0;
    return check_that(strcmp(recorded, hex.text) == 0, "%s of class %s makes the recorded bits",
                      s->name, numerics_class);
}

static int check_series(struct series *s)
{
    struct rig r;
    struct err e = { 0 };
    enum err_code rc = rig_open(&r, rig_model(s->name, &e), s->precision, s->count, &e);
    const char *precision = precision_word(s->precision);
    int missed = 0;

    if (rc)
        return check_no_error(rc, e.msg, "%s %s", s->name, precision);
    s->values = r.values;
    s->image = malloc((size_t)s->count * s->values * sizeof *s->image);
    s->rgb = malloc((size_t)s->count * s->values);
    rig_samples(s->samples, s->count, r.facts);
    if (!s->image || !s->rgb)
        rc = err_set(&e, ERR_NOMEM, "no memory for %d pictures", s->count);
    else
        rc = render_alone(s, &r, &e);
    if (rc == ERR_OK) {
        missed += check_digest(s, seedpress_backend.numerics_class(r.engine));
        check_batches(s, &r);
        check_places(s, &r);
    }
    rig_close(&r);
    if (rc == ERR_OK)
        check_tiles(s);
    free(s->image);
    free(s->rgb);
    /* Random weights may be more than half precision holds, and then the engine says so. */
    if (rc == ERR_DEVICE && s->precision == PRECISION_FP16 && strncmp(s->name, "random-", 7) == 0)
        check_skip("%s %s: %s", s->name, precision, e.msg);
    else if (rc)
        missed += check_no_error(rc, e.msg, "%s %s", s->name, precision);
    else
        missed += check_that(!*s->others_in, "%s %s, %d pictures in %d kinds of render%s%s", s->name,
                             precision, s->count, s->renders, *s->others_in ? ": others in" : "",
                             s->others_in);
    return missed;
}

int check_invariance(void)
{
    int missed = 0;

    for (int precision = PRECISION_FP16; precision < PRECISION_COUNT; precision++)
        for (int i = 0; i < MODEL_COUNTS[check_scale()]; i++) {
            struct series s = { .name = MODELS[i], .precision = (enum precision)precision,
                                .count = SAMPLE_COUNTS[check_scale()] };

            missed += check_series(&s);
        }
    return missed;
}
