#include "client/verdict.h"

#include "base/mark.h"
#include "client/again.h"
#include "client/answer.h"
#include "client/image.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RENDER_DEADLINE_MS = 60000 };

/* What two numerics classes' files of one recipe may differ by: measured, kernels/README.md. */
static const double TOLERANCE_DB = 40;

const char *verdict_answer_name(enum verdict_answer answer)
{
    static const char *const NAMES[] = { "identical", "same pixels", "within tolerance",
                                         "different", "no record" };

    return NAMES[answer];
}

void verdict_init(struct verdict *self, const uint8_t *file, size_t len)
{
    *self = (struct verdict){ .file = file, .len = len, .answer = VERDICT_NO_RECORD };
    self->sha = digest_of(file, len);
    self->has_core = mark_core_sha256(file, len, &self->core);
}

void verdict_release(struct verdict *self)
{
    free(self->new_file);
    self->new_file = NULL;
}

static enum seedpress_code fail(const struct err *e, struct seedpress_error *error)
{
    answer_own_error(e, error);
    return (enum seedpress_code)e->code;
}

/* ---- the recipe ---- */

/* Takes the newest row for one hash, unless there is one already. */
static enum seedpress_code find_row(struct verdict *self, struct seedpress *sp,
                                    const struct seedpress_query *query, const char *found,
                                    struct seedpress_error *error)
{
    const struct seedpress_row *rows;
    enum seedpress_code rc;
    size_t count;

    if (self->is_stored)
        return SEEDPRESS_OK;
    rc = seedpress_lookup(sp, query, &rows, &count, error);
    if (rc || count == 0)
        return rc;
    self->found = found;
    self->is_stored = true;
    self->text.len = strnlen(rows->recipe, sizeof self->text.text - 1);
    memcpy(self->text.text, rows->recipe, self->text.len);
    self->text.text[self->text.len] = '\0';
    memcpy(self->stored_class, rows->numerics_class, sizeof self->stored_class);
    return SEEDPRESS_OK;
}

static enum seedpress_code find_by_hashes(struct verdict *self, struct seedpress *sp,
                                          struct seedpress_error *error)
{
    struct digest_hex sha = digest_hex(&self->sha), core = digest_hex(&self->core);
    struct seedpress_query query = { .sha256 = sha.text, .limit = 1 };
    enum seedpress_code rc = find_row(self, sp, &query, "by the file's hash", error);

    query = (struct seedpress_query){ .core_sha256 = core.text, .limit = 1 };
    if (!rc && self->has_core)
        rc = find_row(self, sp, &query, "by the picture's hash", error);
    return rc;
}

static enum seedpress_code find_by_mark(struct verdict *self, struct seedpress *sp,
                                        struct seedpress_error *error)
{
    struct seedpress_query query;
    struct digest_hex hex;
    struct digest key;

    if (!mark_find(self->file, self->len, &self->text))
        return SEEDPRESS_OK;
    self->found = "in the file's metadata";
    key = digest_of(self->text.text, self->text.len);
    hex = digest_hex(&key);
    query = (struct seedpress_query){ .recipe_key = hex.text, .limit = 1 };
    return sp ? find_row(self, sp, &query, self->found, error) : SEEDPRESS_OK;
}

enum seedpress_code verdict_find(struct verdict *self, struct seedpress *sp,
                                 struct seedpress_error *error)
{
    enum seedpress_code rc = sp ? find_by_hashes(self, sp, error) : SEEDPRESS_OK;
    struct image image;
    struct err e = { .code = ERR_OK };

    if (!rc && !self->found)
        rc = find_by_mark(self, sp, error);
    if (rc)
        return rc;
    if (self->found) {
        recipe_parse(self->text.text, self->text.len, &self->recipe, &e);
    } else {
        /* Of a text one should not say that no camera made it. */
        image_decode(self->file, self->len, &image, &e);
        image_release(&image);
    }
    return e.code ? fail(&e, error) : SEEDPRESS_OK;
}

/* ---- a new render ---- */

static bool is_hex(const char *text, struct digest *out)
{
    return digest_parse(text, strlen(text), out);
}

/* The answer is the stored picture where there is one; what the render gave stands beside it. */
static enum seedpress_code take_answer(struct verdict *self, const struct seedpress_image *image,
                                       struct seedpress_error *error)
{
    bool says = is_hex(image->rendered_sha256, &self->new_sha) &&
                is_hex(image->rendered_core_sha256, &self->new_core);
    struct err e;

    if (image->source != SEEDPRESS_SOURCE_RENDER || (self->is_stored && !says)) {
        err_set(&e, ERR_RETRY, "the picture was not rendered anew, so that nothing is verified");
        return fail(&e, error);
    }
    snprintf(self->new_class, sizeof self->new_class, "%s",
             says ? image->rendered_class : image->numerics_class);
    self->run = says ? image->rendered_run : image->run;
    if (!says) {                     /* new to the ledger: the answer is the render */
        is_hex(image->sha256, &self->new_sha);
        is_hex(image->core_sha256, &self->new_core);
    }
    if (!says || strcmp(image->rendered_core_sha256, image->core_sha256) == 0) {
        self->new_file = malloc(image->len);
        if (!self->new_file) {
            err_set(&e, ERR_NOMEM, "no memory for a picture of %zu bytes", image->len);
            return fail(&e, error);
        }
        memcpy(self->new_file, image->data, image->len);
        self->new_len = image->len;
        return SEEDPRESS_OK;
    }
    /* Other pixels than the stored ones, of which the file may be a copy. */
    self->has_off = image->rendered_levels >= 0 && self->has_core &&
                    strcmp(image->core_sha256, digest_hex(&self->core).text) == 0;
    self->off = (struct levels){ .max = image->rendered_levels, .mean = -1,
                                 .psnr_db = image->rendered_psnr };
    return SEEDPRESS_OK;
}

enum seedpress_code verdict_render(struct verdict *self, struct seedpress *sp,
                                   struct seedpress_error *error)
{
    struct seedpress_image image;
    enum seedpress_code rc;
    struct again again;

    again_init(&again, &self->recipe);
    again.request.cache = SEEDPRESS_CACHE_BYPASS;
    again.request.deadline_ms = RENDER_DEADLINE_MS;
    again.request.visitor = self->visitor;
    /* A question is no reason to fill the ledger with files that nobody asked to keep. */
    if (!self->is_stored)
        again.request.keep = SEEDPRESS_KEEP_PROVENANCE;
    rc = again_generate(sp, &again.request, self->go_on, self->arg, &image, error);
    return rc ? rc : take_answer(self, &image, error);
}

/* ---- the verdict ---- */

/* Decodes both and fills off, or says in note why that cannot be. */
static void measure(struct verdict *self)
{
    struct image file = { .rgb = NULL }, render = { .rgb = NULL };
    struct err e;

    if (image_decode(self->file, self->len, &file, &e) ||
        image_decode(self->new_file, self->new_len, &render, &e)) {
        snprintf(self->note, sizeof self->note, "%.150s", e.msg);
    } else {
        self->has_off = file.width == render.width && file.height == render.height;
        if (self->has_off)
            self->off = levels_of(file.rgb, render.rgb,
                                  (size_t)file.width * (size_t)file.height * 3);
        else
            snprintf(self->note, sizeof self->note, "it has %d x %d pixels and the render %d x "
                     "%d; `seedpress provenance` compares scaled and cropped copies", file.width,
                     file.height, render.width, render.height);
    }
    image_release(&file);
    image_release(&render);
}

static enum verdict_answer judge(struct verdict *self)
{
    if (digest_equal(&self->sha, &self->new_sha))
        return VERDICT_IDENTICAL;
    if (self->has_core && digest_equal(&self->core, &self->new_core))
        return VERDICT_SAME_PIXELS;
    if (!self->has_off && self->new_file)
        measure(self);
    if (!self->has_off)
        return VERDICT_DIFFERENT;
    if (self->off.max == 0)
        return VERDICT_SAME_PIXELS;
    return self->off.psnr_db >= TOLERANCE_DB ? VERDICT_TOLERABLE : VERDICT_DIFFERENT;
}

/* What a reader should know beside the figures. */
static void add_note(struct verdict *self)
{
    bool other_class = self->is_stored && strcmp(self->stored_class, self->new_class) != 0;

    if (self->answer <= VERDICT_SAME_PIXELS || *self->note)
        return;
    if (!self->new_file && other_class)
        snprintf(self->note, sizeof self->note, "the stored picture was made by another numerics "
                 "class, %s", self->stored_class);
    else if (!self->new_file)
        snprintf(self->note, sizeof self->note, "the same numerics class now makes other pixels "
                 "than those stored: an alarm, see the worker's log");
}

void verdict_conclude(struct verdict *self)
{
    if (!self->found)
        return;
    self->answer = judge(self);
    add_note(self);
}

struct cJSON *verdict_object(const struct verdict *self)
{
    cJSON *line = cJSON_CreateObject();

    cJSON_AddStringToObject(line, "answer", verdict_answer_name(self->answer));
    cJSON_AddStringToObject(line, "sha256", digest_hex(&self->sha).text);
    if (self->has_core)
        cJSON_AddStringToObject(line, "core_sha256", digest_hex(&self->core).text);
    if (self->answer == VERDICT_NO_RECORD)
        return line;
    cJSON_AddStringToObject(line, "rendered_sha256", digest_hex(&self->new_sha).text);
    cJSON_AddStringToObject(line, "rendered_core_sha256", digest_hex(&self->new_core).text);
    cJSON_AddStringToObject(line, "rendered_class", self->new_class);
    if (self->run > 0)
        cJSON_AddNumberToObject(line, "run", (double)self->run);
    if (self->is_stored)
        cJSON_AddStringToObject(line, "stored_class", self->stored_class);
    if (self->has_off) {
        cJSON_AddNumberToObject(line, "max_levels", self->off.max);
        cJSON_AddNumberToObject(line, "psnr_db", self->off.psnr_db);
    }
    if (*self->note)
        cJSON_AddStringToObject(line, "note", self->note);
    cJSON_AddStringToObject(line, "recipe_found", self->found);
    cJSON_AddStringToObject(line, "recipe", self->text.text);
    return line;
}
