#include "broker/core.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    RETRY_AFTER_MS = 1000,          /* advice with errors that may pass */
    RETRY_AFTER_MAX_MS = 3600000,   /* as on the wire */
};

void reply_message(struct broker *b, struct client *client, const struct address *to,
                   const struct message *message, struct frame *payload)
{
    struct frame map;
    struct err e;

    if (frame_init_message(&map, message, &e)) {
        log_event(LOG_ERROR, "reply_failed", "type=%s reason=\"%s\"", message_word(message->type),
                  e.msg);
        if (message->type != MESSAGE_ERROR)  /* whose own failure ends here */
            reply_error(b, client, to, message->id, -1, &e);
        return;
    }
    clients_send(&b->clients, client, to, &map, payload);
}

bool send_worker(struct broker *b, struct worker *worker, const struct message *message)
{
    struct frame map;
    struct err e;
    enum link_sent sent;

    if (frame_init_message(&map, message, &e)) {
        log_event(LOG_ERROR, "send_failed", "type=%s reason=\"%s\"", message_word(message->type),
                  e.msg);
        return false;
    }
    sent = link_send(b->worker_link, &worker->to, &map, NULL);
    frame_release(&map);
    if (sent == LINK_GONE)
        worker->gone = true;         /* the next second ends it: not while others hold it */
    return sent == LINK_SENT;
}

void reply_error(struct broker *b, struct client *client, const struct address *to, int64_t id,
                 int64_t seed, const struct err *e)
{
    const struct err_info *info = err_info(e->code);
    struct message m;
    int64_t after_ms = e->retry_after_ms > 0 ? e->retry_after_ms : RETRY_AFTER_MS;

    meter_failed(&b->meter, e->code, seed);
    if (after_ms > RETRY_AFTER_MAX_MS)
        after_ms = RETRY_AFTER_MAX_MS;
    message_init(&m, MESSAGE_ERROR, id);
    m.error = (struct message_error){
        .code = text_of(info->word), .message = text_of(e->msg), .retry = info->retry,
        .retry_after_ms = info->retry ? after_ms : 0, .seed = seed,
    };
    reply_message(b, client, to, &m, NULL);
}

struct picture picture_of_row(const struct ledger_row *row, struct frame *jpeg)
{
    return (struct picture){
        .recipe = &row->recipe, .key = row->key, .file_sha = row->file_sha,
        .core_sha = row->core_sha, .numerics_class = row->numerics_class, .encoder = row->encoder,
        .run = row->run_id, .batch = row->batch_size, .source = MESSAGE_SOURCE_LEDGER,
        .bytes = (int64_t)frame_len(jpeg), .jpeg = jpeg,
    };
}

static void fill_image(struct message_image *image, const struct picture *p,
                       const struct recipe_text *text)
{
    image->seed = p->recipe->seed;
    image->psi = p->recipe->psi;
    image->model = p->recipe->model;
    image->recipe_key = p->key;
    image->sha256 = p->file_sha;
    image->core_sha256 = p->core_sha;
    image->recipe = (struct text){ text->text, text->len };
    image->numerics_class = text_of(p->numerics_class);
    image->encoder = text_of(p->encoder);
    image->run = p->run;
    image->bytes = p->bytes;
    image->source = p->source;
    image->render_ms = p->render_us / 1000;
    image->encode_ms = p->encode_us / 1000;
    image->store_ms = p->store_us / 1000;
    image->batch = p->batch;
    image->rendered_sha256 = p->rendered_sha;
    image->rendered_core_sha256 = p->rendered_core_sha;
    image->rendered_class = p->rendered_class;
    image->rendered_run = p->rendered_run;
    if (p->rendered_run > 0) {
        image->rendered_levels = p->rendered_levels;
        image->rendered_psnr = p->rendered_psnr;
    }
}

void reply_picture(struct broker *b, const struct request *request, const struct picture *picture,
                   int64_t queue_ms, const char *warning)
{
    bool receipt = request->want == MESSAGE_WANT_RECEIPT;
    struct recipe_text text = recipe_text(picture->recipe);
    struct address to = request_address(request);
    struct message m;

    meter_answered(&b->meter, (size_t)picture->bytes);
    message_init(&m, receipt ? MESSAGE_RECEIPT : MESSAGE_IMAGE, request->id);
    fill_image(&m.image, picture, &text);
    m.image.queue_ms = queue_ms;
    if (warning)
        m.image.warning = text_of(warning);
    reply_message(b, request->client, &to, &m, receipt ? NULL : picture->jpeg);
}

/* As it goes out under any id; NULL: it cannot be encoded, or there is no memory for it. */
static const uint8_t *cached_map(struct broker *b, struct cache_entry *entry,
                                 const struct picture *picture)
{
    struct recipe_text text;
    struct message m;
    struct frame map;
    struct err e;

    if (entry->map)
        return entry->map;
    text = recipe_text(picture->recipe);
    message_init(&m, MESSAGE_IMAGE, MESSAGE_ID_BLANK);
    fill_image(&m.image, picture, &text);
    if (!frame_init_message(&map, &m, &e))
        cache_put_map(&b->cache, entry, &map);
    frame_release(&map);
    return entry->map;
}

void reply_cached(struct broker *b, const struct request *request, struct cache_entry *entry,
                  const char *warning)
{
    struct picture picture = cache_picture(entry);
    uint8_t bytes[CACHE_MAP_MAX + MESSAGE_ID_MORE];
    const uint8_t *cached = NULL;
    struct frame map;

    if (!warning && request->want == MESSAGE_WANT_IMAGE)
        cached = cached_map(b, entry, &picture);
    if (!cached ||
        !frame_init_copy(&map, bytes,
                         message_with_id(cached, entry->map_len, request->id, bytes))) {
        reply_picture(b, request, &picture, 0, warning);
        return;
    }
    struct address to = request_address(request);

    meter_answered(&b->meter, frame_len(&entry->file));
    clients_send(&b->clients, request->client, &to, &map, &entry->file);
}

void reply_fetch(struct broker *b, struct client *client, const struct address *to, int64_t id,
                 const struct picture *picture)
{
    struct recipe_text text = recipe_text(picture->recipe);
    struct message m;

    message_init(&m, MESSAGE_IMAGE, id);
    fill_image(&m.image, picture, &text);
    reply_message(b, client, to, &m, picture->jpeg);
}

/* Sends m with rows as its list, which is a part of m. */
static void reply_rows(struct broker *b, struct client *client, const struct address *to,
                       const struct ledger_rows *rows, struct message *m, struct records *list)
{
    struct message_row *out = calloc(rows->count + 1, sizeof *out);
    struct recipe_text *texts = calloc(rows->count + 1, sizeof *texts);

    for (size_t i = 0; out && texts && i < rows->count; i++) {
        const struct ledger_row *r = &rows->row[i];

        texts[i] = recipe_text(&r->recipe);
        out[i] = (struct message_row){
            .recipe_key = r->key, .sha256 = r->file_sha, .core_sha256 = r->core_sha,
            .recipe = { texts[i].text, texts[i].len },
            .model = text_of(models_name_of(&b->models, &r->recipe.model)),
            .numerics_class = text_of(r->numerics_class), .encoder = text_of(r->encoder),
            .run = r->run_id, .batch = r->batch_size, .bytes = r->bytes, .kept = r->kept,
            .withdrawn = r->withdrawn, .created = text_of(r->created),
            .worker = text_of(r->worker), .version = text_of(r->version),
            .backend = text_of(r->backend), .device = text_of(r->device),
            .driver = text_of(r->driver), .libraries = text_of(r->libraries),
            .job = r->job_id, .distance = r->distance,
        };
    }
    *list = (struct records){ out, out && texts ? rows->count : 0 };
    reply_message(b, client, to, m, NULL);
    free(texts);
    free(out);
}

void reply_provenance(struct broker *b, struct client *client, const struct address *to,
                      int64_t id, const struct ledger_rows *rows)
{
    struct message m;

    message_init(&m, MESSAGE_PROVENANCE, id);
    reply_rows(b, client, to, rows, &m, &m.provenance.rows);
}

void reply_withdrawal(struct broker *b, struct client *client, const struct address *to,
                      int64_t id, const struct ledger_withdrawal *withdrawal)
{
    struct message m;

    message_init(&m, MESSAGE_WITHDRAWAL, id);
    m.withdrawal.subject = withdrawal->subject;
    m.withdrawal.pictures = withdrawal->pictures;
    m.withdrawal.files = withdrawal->files;
    reply_rows(b, client, to, &withdrawal->rows, &m, &m.withdrawal.rows);
}

static int64_t count_workers(const struct roster *roster, const struct model_entry *model)
{
    int64_t count = 0;

    for (const struct worker *w = roster->by_peer; w; w = w->hh.next)
        count += w->credit > 0 && worker_has_model(w, model);
    return count;
}

void reply_models(struct broker *b, struct client *client, const struct address *to, int64_t id)
{
    struct message_model list[MESSAGE_MODELS_MAX];
    struct message m;
    size_t count = 0;

    for (struct model_entry *e = b->models.by_digest; e && count < MESSAGE_MODELS_MAX;
         e = e->hh.next) {
        const char *name = models_name_of(&b->models, &e->digest);

        list[count++] = (struct message_model){
            .name = text_of(name), .digest = e->digest, .arch = text_of(e->arch),
            .licence = text_of(e->licence), .width = e->facts.width, .height = e->facts.height,
            .num_ws = e->facts.num_ws, .z_dim = e->facts.z_dim, .w_dim = e->facts.w_dim,
            .c_dim = e->facts.c_dim, .noise_modes = e->facts.noise_modes,
            .has_transform = e->facts.has_transform,
            .bound = models_is_bound(&b->models, name, &e->digest),
            .workers = count_workers(&b->roster, e),
        };
    }
    message_init(&m, MESSAGE_MODEL_LIST, id);
    m.model_list.models = (struct records){ list, count };
    reply_message(b, client, to, &m, NULL);
}

void reply_status(struct broker *b, struct client *client, const struct address *to, int64_t id,
                  int64_t now_ms)
{
    const size_t most = 1024;        /* the message's own bound on workers */
    struct message_worker *list = calloc(most, sizeof *list);
    struct message m;
    size_t count = 0;

    for (struct worker *w = b->roster.by_peer; list && w && count < most; w = w->hh.next)
        list[count++] = (struct message_worker){
            .worker = text_of(w->name),
            .numerics_class = text_of(w->numerics_class),
            .device = text_of(w->device),
            .run = w->run,
            .credit = (int64_t)w->credit,
            .leased = (int64_t)w->leased,
            .rendered = w->rendered,
            .backlog_ms = w->backlog_ms,
            .silent_ms = now_ms > w->heard_ms ? now_ms - w->heard_ms : 0,
            .draining = w->credit == 0,
        };
    message_init(&m, MESSAGE_STATUS_REPORT, id);
    m.status_report = (struct message_status_report){
        .version = text_of(SEEDPRESS_VERSION), .uptime_ms = now_ms - b->started_ms,
        .ledger_up = scribe_ledger_is_up(b->scribe), .draining = b->draining,
        .looking_up = (int64_t)b->renders.count[RENDER_LOOKUP],
        .queued_high = (int64_t)b->queue.count[MESSAGE_HIGH],
        .queued_normal = (int64_t)b->queue.count[MESSAGE_NORMAL],
        .queued_low = (int64_t)b->queue.count[MESSAGE_LOW],
        .held = (int64_t)b->renders.count[RENDER_HELD],
        .rendering = (int64_t)b->renders.count[RENDER_RENDERING],
        .committing = (int64_t)b->renders.count[RENDER_COMMITTING],
        .waiters = (int64_t)b->waiters, .submitted = b->count.submitted,
        .answered = b->count.answered, .failed = b->count.failed, .cancelled = b->count.cancelled,
        .joined = b->count.joined, .ledger_hits = b->count.ledger_hits,
        .retried = b->count.retried, .late = b->count.late,
        .workers = { list, count },
    };
    meter_report(b, now_ms, &m.status_report);
    reply_message(b, client, to, &m, NULL);
    free(list);
}
