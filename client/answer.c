#include "client/answer.h"

#include "proto/recipe.h"

#include <stdio.h>
#include <string.h>

/* The public header stands alone and repeats what proto/ says; here the two are held together. */
#define SAME(public_code, code) _Static_assert((int)(public_code) == (int)(code), #public_code)
SAME(SEEDPRESS_OK, ERR_OK);
SAME(SEEDPRESS_INVALID, ERR_INVALID);
SAME(SEEDPRESS_RANGE, ERR_RANGE);
SAME(SEEDPRESS_NO_MEMORY, ERR_NOMEM);
SAME(SEEDPRESS_DEVICE, ERR_DEVICE);
SAME(SEEDPRESS_UNKNOWN_TYPE, ERR_TYPE);
SAME(SEEDPRESS_VERSION_UNKNOWN, ERR_VERSION);
SAME(SEEDPRESS_USE_DEALER, ERR_USE_DEALER);
SAME(SEEDPRESS_UNKNOWN_MODEL, ERR_UNKNOWN_MODEL);
SAME(SEEDPRESS_CLASS_REQUIRED, ERR_CLASS_REQUIRED);
SAME(SEEDPRESS_UNSUPPORTED, ERR_UNSUPPORTED);
SAME(SEEDPRESS_NOT_FOUND, ERR_NOT_FOUND);
SAME(SEEDPRESS_CLASS_CONFLICT, ERR_CLASS_CONFLICT);
SAME(SEEDPRESS_WRONG_CLASS, ERR_WRONG_CLASS);
SAME(SEEDPRESS_NOT_REPRODUCIBLE, ERR_NOT_REPRODUCIBLE);
SAME(SEEDPRESS_WITHDRAWN, ERR_WITHDRAWN);
SAME(SEEDPRESS_OVERLOADED, ERR_OVERLOADED);
SAME(SEEDPRESS_DEADLINE, ERR_DEADLINE);
SAME(SEEDPRESS_NO_WORKER, ERR_NO_WORKER);
SAME(SEEDPRESS_LEDGER_DOWN, ERR_LEDGER_DOWN);
SAME(SEEDPRESS_RETRY, ERR_RETRY);
SAME(SEEDPRESS_POISON, ERR_POISON);
SAME(SEEDPRESS_CANCELLED, ERR_CANCELLED);
SAME(SEEDPRESS_TOO_LARGE, ERR_TOO_LARGE);
SAME(SEEDPRESS_UNREACHABLE, ERR_UNREACHABLE);
SAME(SEEDPRESS_DENIED, ERR_DENIED);
SAME(SEEDPRESS_FILE, ERR_FILE);
SAME(SEEDPRESS_BUG, ERR_BUG);
SAME(SEEDPRESS_CONFLICT, ERR_CONFLICT);
SAME(SEEDPRESS_CONFLICT + 1, ERR_COUNT);
SAME(SEEDPRESS_HEX, DIGEST_HEX_LEN + 1);
SAME(SEEDPRESS_SEEDS_MAX, MESSAGE_SEEDS_MAX);
SAME(SEEDPRESS_NOISE_NONE, RECIPE_NOISE_NONE);
SAME(SEEDPRESS_NOISE_STREAM, RECIPE_NOISE_STREAM);
SAME(SEEDPRESS_MARK_C2PA, RECIPE_MARK_C2PA);
SAME(SEEDPRESS_LOW, MESSAGE_LOW);
SAME(SEEDPRESS_WANT_RECEIPT, MESSAGE_WANT_RECEIPT);
SAME(SEEDPRESS_CACHE_BYPASS, MESSAGE_CACHE_BYPASS);
SAME(SEEDPRESS_SOURCE_MEMORY, MESSAGE_SOURCE_MEMORY);
SAME(SEEDPRESS_KEEP_REFILL, MESSAGE_KEEP_REFILL);
SAME(SEEDPRESS_LIKE_MAX, MESSAGE_LIKE_MAX);
_Static_assert(sizeof((struct seedpress_image *)0)->recipe == RECIPE_TEXT_MAX, "room for a recipe");

/* ---- checks ---- */

static bool hashes_to(const void *data, size_t len, const struct digest *named)
{
    struct digest sum = digest_of(data, len);

    return digest_equal(&sum, named);
}

static bool is_key_of(const struct digest *key, struct text recipe, struct recipe *out)
{
    return hashes_to(recipe.data, recipe.len, key) &&
           recipe_parse(recipe.data, recipe.len, out, NULL) == ERR_OK;
}

const char *answer_check_image(const struct message_image *image, const struct frame *file)
{
    struct recipe recipe;

    if (file && frame_len(file) == 0)
        return "the broker sent a picture without its bytes";
    if (file && !hashes_to(frame_data(file), frame_len(file), &image->sha256))
        return "the broker sent a damaged picture: its bytes do not have the hash named with them";
    if (!is_key_of(&image->recipe_key, image->recipe, &recipe))
        return "the broker sent a damaged recipe: it does not have the hash named with it";
    if (recipe.seed != image->seed || recipe.psi != image->psi ||
        !digest_equal(&recipe.model, &image->model))
        return "the broker sent a picture whose recipe is of another one";
    return NULL;
}

/* "cats@1a2b" and a whole digest name the model itself; a bare name may be bound to any. */
static bool is_model_asked(const struct digest *model, struct text asked)
{
    const char *at = memchr(asked.data, '@', asked.len);
    const char *digits = at ? at + 1 : asked.data;
    size_t len = asked.len - (size_t)(digits - asked.data);

    if (!at && len != DIGEST_HEX_LEN)
        return true;
    return len <= DIGEST_HEX_LEN && memcmp(digest_hex(model).text, digits, len) == 0;
}

const char *answer_check_asked(const struct message_image *image,
                               const struct message_generate *asked, uint32_t seed)
{
    struct recipe_request wish = message_recipe_request(asked, seed);
    struct recipe recipe;
    bool ok = recipe_parse(image->recipe.data, image->recipe.len, &recipe, NULL) == ERR_OK &&
              recipe.seed == seed && recipe.psi == asked->psi &&
              recipe.quality == asked->quality && recipe.rev == asked->rev &&
              is_model_asked(&recipe.model, asked->model);

    /* Some models have no classes and no noise: what was asked is then none. */
    ok = ok && (recipe.class_index == asked->class_index || recipe.class_index < 0);
    ok = ok && ((int)recipe.noise == (wish.noise < 0 ? RECIPE_NOISE_CONST : wish.noise) ||
                recipe.noise == RECIPE_NOISE_NONE);
    ok = ok && (int)recipe.mark == (wish.mark < 0 ? RECIPE_MARK_XMP : wish.mark);
    ok = ok && (recipe.noise != RECIPE_NOISE_RANDOM || recipe.noise_seed == wish.noise_seed);
    /* A cutoff may have become the number of the model's rows: by itself, or because of psi 1. */
    ok = ok && (wish.cutoff < 0 || recipe.cutoff <= wish.cutoff || wish.psi == 1000000);
    ok = ok && recipe_transform_is_same(&recipe.transform, &wish.transform);
    return ok ? NULL : "the broker sent another picture than the one asked for";
}

const char *answer_check_row(const struct message_row *row, const struct message_lookup *asked)
{
    static const struct digest none;
    struct recipe recipe;

    if (!is_key_of(&row->recipe_key, row->recipe, &recipe))
        return "the broker sent a damaged recipe: it does not have the hash named with it";
    if ((asked->seed >= 0 && recipe.seed != asked->seed) ||
        (asked->psi != INT64_MIN && recipe.psi != asked->psi) ||
        (!digest_equal(&asked->recipe_key, &none) &&
         !digest_equal(&asked->recipe_key, &row->recipe_key)) ||
        (!digest_equal(&asked->sha256, &none) && !digest_equal(&asked->sha256, &row->sha256)) ||
        (!digest_equal(&asked->core_sha256, &none) &&
         !digest_equal(&asked->core_sha256, &row->core_sha256)))
        return "the broker sent another row than those asked for";
    return NULL;
}

/* ---- copies ---- */

static void copy_hex(const struct digest *digest, char out[SEEDPRESS_HEX])
{
    memcpy(out, digest_hex(digest).text, SEEDPRESS_HEX);
}

#define COPY_TEXT(text, out) text_copy((text), (out), sizeof(out))

void answer_image(const struct message_image *image, const struct frame *file,
                  struct seedpress_image *out)
{
    static const struct digest none;

    *out = (struct seedpress_image){
        .data = file ? frame_data(file) : NULL,
        .len = file ? frame_len(file) : (size_t)image->bytes,
        .seed = (uint32_t)image->seed, .psi = (double)image->psi / 1e6, .run = image->run,
        .source = (int)image->source, .queue_ms = image->queue_ms, .render_ms = image->render_ms,
        .encode_ms = image->encode_ms, .store_ms = image->store_ms, .batch = (int)image->batch,
        .rendered_levels = -1, .rendered_psnr = -1,
    };
    copy_hex(&image->model, out->model);
    copy_hex(&image->recipe_key, out->recipe_key);
    copy_hex(&image->sha256, out->sha256);
    copy_hex(&image->core_sha256, out->core_sha256);
    COPY_TEXT(image->recipe, out->recipe);
    COPY_TEXT(image->numerics_class, out->numerics_class);
    COPY_TEXT(image->encoder, out->encoder);
    COPY_TEXT(image->warning, out->warning);
    if (!digest_equal(&image->rendered_sha256, &none)) {
        copy_hex(&image->rendered_sha256, out->rendered_sha256);
        copy_hex(&image->rendered_core_sha256, out->rendered_core_sha256);
        COPY_TEXT(image->rendered_class, out->rendered_class);
        out->rendered_run = image->rendered_run;
        out->rendered_levels = (int)image->rendered_levels;
        if (image->rendered_psnr >= 0)
            out->rendered_psnr = (double)image->rendered_psnr / 1e6;
    }
}

void answer_row(const struct message_row *row, struct seedpress_row *out)
{
    struct recipe recipe = { .seed = 0 };

    recipe_parse(row->recipe.data, row->recipe.len, &recipe, NULL);
    *out = (struct seedpress_row){
        .seed = recipe.seed, .psi = (double)recipe.psi / 1e6, .run = row->run,
        .batch = (int)row->batch, .bytes = row->bytes, .kept = row->kept,
        .withdrawn = row->withdrawn, .job = row->job, .distance = (int)row->distance,
    };
    copy_hex(&recipe.model, out->model);
    copy_hex(&row->recipe_key, out->recipe_key);
    copy_hex(&row->sha256, out->sha256);
    copy_hex(&row->core_sha256, out->core_sha256);
    COPY_TEXT(row->recipe, out->recipe);
    COPY_TEXT(row->model, out->model_name);
    COPY_TEXT(row->numerics_class, out->numerics_class);
    COPY_TEXT(row->encoder, out->encoder);
    COPY_TEXT(row->created, out->created);
    COPY_TEXT(row->worker, out->worker);
    COPY_TEXT(row->version, out->version);
    COPY_TEXT(row->backend, out->backend);
    COPY_TEXT(row->device, out->device);
    COPY_TEXT(row->driver, out->driver);
    COPY_TEXT(row->libraries, out->libraries);
}

void answer_model(const struct message_model *model, struct seedpress_model *out)
{
    *out = (struct seedpress_model){
        .width = (int)model->width, .height = (int)model->height, .num_ws = (int)model->num_ws,
        .z_dim = (int)model->z_dim, .w_dim = (int)model->w_dim, .c_dim = (int)model->c_dim,
        .noise_modes = (unsigned)model->noise_modes, .has_transform = model->has_transform,
        .bound = model->bound, .workers = model->workers,
    };
    copy_hex(&model->digest, out->digest);
    COPY_TEXT(model->name, out->name);
    COPY_TEXT(model->arch, out->arch);
    COPY_TEXT(model->licence, out->licence);
}

void answer_worker(const struct message_worker *worker, struct seedpress_worker *out)
{
    *out = (struct seedpress_worker){
        .run = worker->run, .credit = worker->credit, .leased = worker->leased,
        .rendered = worker->rendered, .backlog_ms = worker->backlog_ms,
        .silent_ms = worker->silent_ms, .draining = worker->draining,
    };
    COPY_TEXT(worker->worker, out->worker);
    COPY_TEXT(worker->numerics_class, out->numerics_class);
    COPY_TEXT(worker->device, out->device);
}

void answer_status(const struct message_status_report *report, struct seedpress_status *out)
{
    *out = (struct seedpress_status){
        .uptime_ms = report->uptime_ms, .ledger_up = report->ledger_up,
        .draining = report->draining, .looking_up = report->looking_up,
        .queued_high = report->queued_high, .queued_normal = report->queued_normal,
        .queued_low = report->queued_low, .held = report->held, .rendering = report->rendering,
        .committing = report->committing, .waiters = report->waiters,
        .submitted = report->submitted, .answered = report->answered, .failed = report->failed,
        .cancelled = report->cancelled, .joined = report->joined,
        .ledger_hits = report->ledger_hits, .retried = report->retried, .late = report->late,
        .memory_hits = report->memory_hits, .memory_bytes = report->memory_bytes,
        .refused = report->refused, .expired = report->expired, .poison = report->poison,
        .workers_lost = report->workers_lost, .clients = report->clients,
        .clients_dropped = report->clients_dropped, .denied = report->denied,
        .malformed = report->malformed, .oldest_ms = report->oldest_ms,
        .wait_p50_ms = report->wait_p50_ms, .wait_p99_ms = report->wait_p99_ms,
    };
    COPY_TEXT(report->version, out->version);
}

/* ---- errors ---- */

static void fill_error(enum err_code code, struct seedpress_error *out)
{
    const struct err_info *info = err_info(code);

    *out = (struct seedpress_error){ .code = (int)code, .retry = info->retry,
                                     .exit_code = info->exit_code,
                                     .http_status = info->http_status };
    snprintf(out->word, sizeof out->word, "%s", info->word);
}

void answer_error(const struct message_error *error, struct seedpress_error *out)
{
    enum err_code code = err_from_word(error->code.data, error->code.len);
    bool is_known = code != ERR_COUNT && code != ERR_OK;

    fill_error(is_known ? code : ERR_BUG, out);
    if (!is_known)                   /* a newer broker's: its word and its advice still help */
        COPY_TEXT(error->code, out->word);
    out->retry = error->retry;
    out->retry_after_ms = (int)error->retry_after_ms;
    COPY_TEXT(error->message, out->message);
    if (!*out->message)
        snprintf(out->message, sizeof out->message, "%s", err_info(code)->words);
}

void answer_own_error(const struct err *e, struct seedpress_error *out)
{
    if (!out)
        return;
    fill_error(e->code, out);
    snprintf(out->message, sizeof out->message, "%s", e->msg);
}
