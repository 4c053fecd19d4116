#include "client/origin.h"

#include "base/likeness.h"
#include "base/mark.h"
#include "client/again.h"
#include "client/answer.h"
#include "client/image.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RENDER_DEADLINE_MS = 60000 };

const char *origin_grade_name(enum origin_grade grade)
{
    static const char *const NAMES[] = { "signed", "exact", "exact (metadata differs)", "confirmed",
                                         "possible", "claimed", "no record" };

    return NAMES[grade];
}

void origin_release(struct origin *self)
{
    free(self->matches);
    *self = (struct origin){ .grade = ORIGIN_NO_RECORD };
}

/* A search under way. */
struct work {
    const struct origin_search *search;
    struct origin *out;
    struct image image;             /* of the file */
    struct seedpress_error *error;
};

static enum seedpress_code fail(struct work *work, const struct err *e)
{
    answer_own_error(e, work->error);
    return (enum seedpress_code)e->code;
}

/* ---- rows of the ledger ---- */

static void take_row(struct origin_match *match, enum origin_grade grade,
                     const struct seedpress_row *row)
{
    *match = (struct origin_match){ .grade = grade, .has_row = true, .row = *row };
    match->recipe.len = strnlen(row->recipe, sizeof match->recipe.text - 1);
    memcpy(match->recipe.text, row->recipe, match->recipe.len);
}

/* Appends what query finds, limit matches in all. */
static enum seedpress_code look_up(struct work *work, const struct seedpress_query *query,
                                   enum origin_grade grade)
{
    struct origin *out = work->out;
    const struct seedpress_row *rows;
    size_t count;
    enum seedpress_code rc = seedpress_lookup(work->search->sp, query, &rows, &count, work->error);

    for (size_t i = 0; !rc && i < count && out->count < (size_t)work->search->limit; i++)
        take_row(&out->matches[out->count++], grade, &rows[i]);
    return rc;
}

static enum seedpress_code by_hashes(struct work *work, const uint8_t *file, size_t len)
{
    struct digest sum = digest_of(file, len);
    struct digest_hex hex = digest_hex(&sum);
    struct seedpress_query query = { .sha256 = hex.text, .limit = work->search->limit };
    enum seedpress_code rc = look_up(work, &query, ORIGIN_EXACT);

    if (!rc && work->out->count == 0 && mark_core_sha256(file, len, &sum)) {
        hex = digest_hex(&sum);
        query = (struct seedpress_query){ .core_sha256 = hex.text, .limit = work->search->limit };
        rc = look_up(work, &query, ORIGIN_EXACT_PICTURE);
    }
    return rc;
}

/* ---- Content Credentials ---- */

/* Whether they prove the recipe by themselves. Rows of the ledger are then shown with them. */
static bool is_signed(const struct origin *out)
{
    const struct c2pa_finding *found = &out->credentials;

    return found->verdict == C2PA_VALID && found->trusted && found->recipe.len > 0;
}

static enum seedpress_code by_signature(struct work *work)
{
    struct origin *out = work->out;
    const struct recipe_text *recipe = &out->credentials.recipe;
    struct digest key = digest_of(recipe->text, recipe->len);
    struct digest_hex hex = digest_hex(&key);
    struct seedpress_query query = { .recipe_key = hex.text, .limit = 1 };
    enum seedpress_code rc = SEEDPRESS_OK;

    for (size_t i = 0; i < out->count; i++)
        out->matches[i].grade = ORIGIN_SIGNED;
    if (out->count == 0)
        rc = look_up(work, &query, ORIGIN_SIGNED);
    if (!rc && out->count == 0)
        out->matches[out->count++] = (struct origin_match){ .grade = ORIGIN_SIGNED,
                                                            .recipe = *recipe };
    return rc;
}

/* ---- made again, and compared ---- */

/* One of count candidates. */
struct turn {
    const struct origin_search *search;
    size_t done, count;
};

static bool goes_on(void *arg)
{
    const struct turn *turn = arg;

    return !turn->search->go_on ||
           turn->search->go_on(turn->search->arg, turn->done, turn->count);
}

/* The picture of match's recipe, decoded; false: match->why says why not. */
static bool make_again(struct turn *turn, struct origin_match *match, struct image *out)
{
    const struct origin_search *search = turn->search;
    struct seedpress_image image;
    struct seedpress_error error;
    struct recipe recipe;
    struct again again;

    if (recipe_parse(match->recipe.text, match->recipe.len, &recipe, &match->why))
        return false;
    again_init(&again, &recipe);
    again.request.deadline_ms = RENDER_DEADLINE_MS;
    again.request.visitor = search->visitor;
    again.request.cache = search->no_render ? SEEDPRESS_CACHE_ONLY : SEEDPRESS_CACHE_USE;
    /* A question is no reason to fill the ledger with files that nobody asked to keep. */
    if (!match->has_row)
        again.request.keep = SEEDPRESS_KEEP_PROVENANCE;
    if (again_generate(search->sp, &again.request, goes_on, turn, &image, &error)) {
        err_set(&match->why, (enum err_code)error.code, "%.190s", error.message);
        return false;
    }
    match->is_rendered = image.source == SEEDPRESS_SOURCE_RENDER;
    return image_decode(image.data, image.len, out, &match->why) == ERR_OK;
}

/* Gives match its fit, or the reason why it has none. ERR_CANCELLED, ERR_NOMEM. */
static enum seedpress_code compare(struct work *work, struct origin_match *match, size_t done,
                                   size_t count)
{
    struct turn turn = { .search = work->search, .done = done, .count = count };
    struct image original;
    struct err e;
    bool is_made = goes_on(&turn) && make_again(&turn, match, &original);

    if (!goes_on(&turn)) {
        if (is_made)
            image_release(&original);
        err_set(&e, ERR_CANCELLED, "interrupted after %zu of %zu pictures were compared", done,
                count);
        return fail(work, &e);
    }
    if (!is_made)
        return SEEDPRESS_OK;
    if (compare_fit(&work->image, &original, &match->fit, &e))
        match->why = e;
    else
        match->has_fit = true;
    image_release(&original);
    return match->why.code == ERR_NOMEM ? fail(work, &match->why) : SEEDPRESS_OK;
}

/* ---- the recipe that the file names ---- */

static enum seedpress_code by_claim(struct work *work, const uint8_t *file, size_t len)
{
    struct origin *out = work->out;
    struct origin_claim *claim = &out->claim;
    struct origin_match *match = out->matches;
    enum seedpress_code rc;

    claim->is_made = mark_find(file, len, &claim->recipe);
    if (!claim->is_made)
        return SEEDPRESS_OK;

    struct digest key = digest_of(claim->recipe.text, claim->recipe.len);
    struct digest_hex hex = digest_hex(&key);
    struct seedpress_query query = { .recipe_key = hex.text, .limit = 1 };

    rc = look_up(work, &query, ORIGIN_CLAIMED);
    if (rc)
        return rc;
    if (out->count == 0)
        *match = (struct origin_match){ .grade = ORIGIN_CLAIMED, .recipe = claim->recipe };
    out->count = 1;
    rc = compare(work, match, 0, 1);
    if (rc || !match->has_fit)
        return rc;
    if (compare_confirms(&match->fit)) {
        match->grade = ORIGIN_CONFIRMED;
        return SEEDPRESS_OK;
    }
    claim->is_refuted = true;
    claim->fit = match->fit;
    out->count = 0;
    return SEEDPRESS_OK;
}

/* ---- what looks alike ---- */

/* A candidate whose picture could not be made is still worth naming when so few bits differ. */
enum { NEAR_BITS = 6 };

static bool is_known(const struct origin *out, const struct origin_match *match)
{
    const struct recipe_text *claim = &out->claim.recipe;

    return out->claim.is_made && claim->len == match->recipe.len &&
           memcmp(claim->text, match->recipe.text, claim->len) == 0;
}

/* Looks up pictures that look alike and compares each; those that do not hold are dropped. */
static enum seedpress_code by_likeness(struct work *work)
{
    struct origin *out = work->out;
    const struct image *image = &work->image;
    uint64_t hashes[LIKENESS_MAX];
    size_t first = out->count, kept = out->count;
    size_t count = likeness_of_query(image->rgb, image->width, image->height,
                                     (size_t)image->width * 3, hashes);
    struct seedpress_query query = {
        .like = hashes, .like_count = count < SEEDPRESS_LIKE_MAX ? count : SEEDPRESS_LIKE_MAX,
        .limit = work->search->limit,
    };
    enum seedpress_code rc = SEEDPRESS_OK;

    if (query.like_count > 0)
        rc = look_up(work, &query, ORIGIN_POSSIBLE);
    for (size_t i = first; !rc && i < out->count; i++) {
        struct origin_match *match = &out->matches[i];

        if (is_known(out, match))
            continue;
        rc = compare(work, match, i - first, out->count - first);
        if (match->has_fit && compare_confirms(&match->fit))
            match->grade = ORIGIN_CONFIRMED;
        if (match->has_fit ? compare_resembles(&match->fit) : match->row.distance <= NEAR_BITS)
            out->matches[kept++] = *match;
    }
    out->count = kept;
    return rc;
}

/* What only looks alike says nothing beside what is confirmed. */
static void drop_lesser(struct origin *out)
{
    size_t confirmed = 0;

    while (confirmed < out->count && out->matches[confirmed].grade == ORIGIN_CONFIRMED)
        confirmed++;
    if (confirmed > 0)
        out->count = confirmed;
}

/* ---- the whole search ---- */

/* The best first; equal ones as they came. */
static int by_grade(const void *a, const void *b)
{
    const struct origin_match *x = a, *y = b;

    if (x->grade != y->grade)
        return (int)x->grade - (int)y->grade;
    return (x->fit.difference > y->fit.difference) - (x->fit.difference < y->fit.difference);
}

static enum seedpress_code by_picture(struct work *work, const uint8_t *file, size_t len)
{
    struct err why, e;
    enum seedpress_code rc;

    if (image_decode(file, len, &work->image, &why)) {
        err_set(&e, why.code,
                "the ledger does not know \"%.80s\", and it cannot be compared: %.90s",
                work->search->name, why.msg);
        return fail(work, &e);
    }
    rc = by_claim(work, file, len);
    if (!rc && (work->out->count == 0 || work->out->matches[0].grade != ORIGIN_CONFIRMED))
        rc = by_likeness(work);
    qsort(work->out->matches, work->out->count, sizeof *work->out->matches, by_grade);
    drop_lesser(work->out);
    image_release(&work->image);
    return rc;
}

/* Room for limit matches. */
static enum seedpress_code begin(struct work *work)
{
    int limit = work->search->limit;
    struct err e;

    *work->out = (struct origin){ .grade = ORIGIN_NO_RECORD };
    work->out->matches = calloc((size_t)limit, sizeof *work->out->matches);
    if (work->out->matches)
        return SEEDPRESS_OK;
    err_set(&e, ERR_NOMEM, "no memory for %d pictures", limit);
    return fail(work, &e);
}

enum seedpress_code origin_find(const struct origin_search *search, const uint8_t *file,
                                size_t len, struct origin *out, struct seedpress_error *error)
{
    struct work work = { .search = search, .out = out, .error = error };
    enum seedpress_code rc = begin(&work);
    struct err e;

    if (!rc && c2pa_check(file, len, search->trust_file, &out->credentials, &e))
        rc = fail(&work, &e);
    if (!rc)
        rc = by_hashes(&work, file, len);
    if (!rc && is_signed(out))
        rc = by_signature(&work);
    if (!rc && out->count == 0)
        rc = by_picture(&work, file, len);
    if (!rc && out->count > 0)
        out->grade = out->matches[0].grade;
    return rc;
}

enum seedpress_code origin_look_up(struct seedpress *sp, const struct seedpress_query *query,
                                   struct origin *out, struct seedpress_error *error)
{
    struct origin_search search = { .sp = sp, .limit = query->limit };
    struct work work = { .search = &search, .out = out, .error = error };
    enum seedpress_code rc = begin(&work);

    if (!rc)
        rc = look_up(&work, query, ORIGIN_EXACT);
    out->grade = out->count > 0 ? ORIGIN_EXACT : ORIGIN_NO_RECORD;
    return rc;
}

/* ---- words ---- */

struct origin_place origin_place_of(const struct compare_fit *fit)
{
    static const double WHOLE = 0.97, SAME_SIZE = 1;    /* of an area; percent */
    double percent = 100 * sqrt(fit->scale_x * fit->scale_y);
    struct origin_place out;
    char *to = out.text;
    size_t cap = sizeof out.text;
    int len;

    if (fit->shows >= WHOLE && fit->covers >= WHOLE)
        len = snprintf(to, cap, "all of it");
    else if (fit->covers >= WHOLE)
        len = snprintf(to, cap, "a crop that shows %.0f %% of it", 100 * fit->shows);
    else if (fit->shows >= WHOLE)
        len = snprintf(to, cap, "all of it, in %.0f %% of this picture, at %.0f,%.0f",
                       100 * fit->covers, fit->x, fit->y);
    else
        len = snprintf(to, cap, "%.0f %% of it, in %.0f %% of this picture", 100 * fit->shows,
                       100 * fit->covers);
    if (len > 0 && (size_t)len < cap && fabs(percent - 100) > SAME_SIZE)
        snprintf(to + len, cap - (size_t)len, ", scaled to %.0f %%", percent);
    return out;
}
