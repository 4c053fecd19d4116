/* The public calls: from seedpress.h's structs to messages, through the exchange, and back. */
#include "client/seedpress.h"

#include "base/clock.h"
#include "client/answer.h"
#include "client/handle.h"
#include "client/wish.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SILENCE_MS = 3000, UNREACHABLE_MS = 30000, ANSWER_MS = 10000 };

/* ---- life ---- */

const char *seedpress_version(void)
{
    return SEEDPRESS_VERSION;
}

static const char *or_environment(const char *text, const char *name)
{
    return text ? text : getenv(name);
}

enum seedpress_code seedpress_create(const struct seedpress_options *options,
                                     struct seedpress **out, struct seedpress_error *error)
{
    struct seedpress_options o = { .brokers = NULL };
    struct seedpress *self = calloc(1, sizeof *self);
    struct exchange_options inner;
    enum err_code code;
    struct err e;

    *out = NULL;
    if (!self)
        return handle_refuse(error, ERR_NOMEM, "no memory for a handle");
    if (options)
        o = *options;
    if (!o.brokers)
        o.brokers = getenv("SEEDPRESS_BROKER");
    if (!o.brokers || !*o.brokers)
        o.brokers = SEEDPRESS_DEFAULT_BROKER;
    inner = (struct exchange_options){
        .brokers = o.brokers, .allow_plain = o.allow_plain,
        .silence_ms = o.silence_ms > 0 ? o.silence_ms : SILENCE_MS,
        .unreachable_ms = o.unreachable_ms > 0 ? o.unreachable_ms : UNREACHABLE_MS,
    };
    if (key_find_both(or_environment(o.key_file, "SEEDPRESS_KEY_FILE"),
                      or_environment(o.broker_key, "SEEDPRESS_BROKER_KEY"), &inner.own,
                      inner.broker_key, &inner.has_keys, &e)) {
        free(self);
        return handle_report(&e, error);
    }
    self->answer_ms = o.answer_ms > 0 ? o.answer_ms : ANSWER_MS;
    frame_init(&self->lent_file);
    code = exchange_create(&inner, &self->exchange, &e);
    key_pair_wipe(&inner.own);
    if (code) {
        free(self);
        return handle_report(&e, error);
    }
    *out = self;
    return handle_succeed(error);
}

void seedpress_destroy(struct seedpress **self)
{
    if (!*self)
        return;
    handle_enter(*self);
    exchange_destroy(&(*self)->exchange);
    free(*self);
    *self = NULL;
}

/* ---- requests for pictures ---- */

void seedpress_request_init(struct seedpress_request *request)
{
    *request = (struct seedpress_request){
        .count = 1, .psi = 1, .cutoff = -1, .class_index = -1,
        .noise_mode = SEEDPRESS_NOISE_DEFAULT, .noise_seed = -1, .quality = 90,
        .mark = SEEDPRESS_MARK_DEFAULT, .priority = SEEDPRESS_NORMAL, .deadline_ms = 10000,
        .want = SEEDPRESS_WANT_IMAGE, .cache = SEEDPRESS_CACHE_USE,
    };
}

/* *seeds holds ask's and is the caller's to free. */
static enum err_code read_seeds(const struct seedpress_request *request, struct message *ask,
                                int64_t **seeds, struct err *e)
{
    *seeds = NULL;
    if (request->count == 0)
        return err_set(e, ERR_INVALID, "a request needs at least one seed");
    if (request->count > SEEDPRESS_SEEDS_MAX)
        return err_set(e, ERR_RANGE, "%zu seeds are too many for one request: at most %d, the rest "
                                     "in others", request->count, SEEDPRESS_SEEDS_MAX);
    if (!request->seeds && request->seed > UINT32_MAX - (request->count - 1))
        return err_set(e, ERR_RANGE, "seeds end at 4294967295: %zu from %u on go beyond",
                       request->count, (unsigned)request->seed);
    if (request->count == 1) {
        ask->generate.seed = request->seeds ? request->seeds[0] : request->seed;
        return ERR_OK;
    }
    *seeds = malloc(request->count * sizeof **seeds);
    if (!*seeds)
        return err_set(e, ERR_NOMEM, "no memory for %zu seeds", request->count);
    for (size_t i = 0; i < request->count; i++)
        (*seeds)[i] = request->seeds ? (int64_t)request->seeds[i] : (int64_t)(request->seed + i);
    ask->generate.seeds = (struct numbers){ *seeds, request->count };
    return ERR_OK;
}

static enum err_code read_request(const struct seedpress_request *request, struct message *ask,
                                  int64_t **seeds, struct err *e)
{
    enum err_code rc;

    *seeds = NULL;
    message_init(ask, MESSAGE_GENERATE, 0);
    ask->generate.priority = request->priority;
    ask->generate.deadline_ms = request->deadline_ms;
    ask->generate.want = request->want;
    ask->generate.cache = request->cache;
    ask->generate.require_class = wish_text(request->require_class);
    ask->generate.trace = wish_text(request->trace);
    ask->generate.on_behalf = wish_text(request->visitor);
    ask->generate.keep = request->keep;
    ask->generate.job = request->job;
    rc = wish_read(request, &ask->generate, e);
    return rc ? rc : read_seeds(request, ask, seeds, e);
}

static enum err_code ask_pictures(struct seedpress *self, const struct seedpress_request *request,
                                  bool awaited, struct request **out, struct err *e)
{
    struct message ask;
    int64_t *seeds;
    enum err_code rc = read_request(request, &ask, &seeds, e);

    if (!rc)
        rc = exchange_ask(self->exchange, &ask, request->deadline_ms, awaited, clock_ms(), out, e);
    free(seeds);
    return rc;
}

/* ---- replies ---- */

/* The bytes of a picture move from the reply to what the handle lends. */
static void lend_image(struct seedpress *self, struct reply *reply, const struct message *m,
                       struct seedpress_image *image)
{
    bool has_file = m->type == MESSAGE_IMAGE;

    frame_init_share(&self->lent_file, &reply->payload);
    frame_release(&reply->payload);
    answer_image(&m->image, has_file ? &self->lent_file : NULL, image);
}

static enum seedpress_code fill_image(struct seedpress *self, struct reply *reply,
                                      struct seedpress_image *image, struct seedpress_error *error)
{
    struct message m;
    enum seedpress_code code = handle_read_reply(self, reply, &m, error);

    if (!code)
        lend_image(self, reply, &m, image);
    message_release(&m);
    frame_release(&reply->map);
    return code;
}

/* ---- pictures ---- */

enum seedpress_code seedpress_generate(struct seedpress *self,
                                       const struct seedpress_request *request,
                                       struct seedpress_image *image,
                                       struct seedpress_error *error)
{
    struct request *r;
    enum seedpress_code code;
    struct err e;

    handle_enter(self);
    *image = (struct seedpress_image){ .data = NULL };
    if (request->count > 1)
        return handle_refuse(error, ERR_INVALID,
                             "one picture is waited for at a time; submit takes %zu",
                             request->count);
    if (ask_pictures(self, request, true, &r, &e))
        return handle_report(&e, error);
    handle_wait(self, r);
    code = fill_image(self, &r->replies[0], image, error);
    request_destroy(&r);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_submit(struct seedpress *self,
                                     const struct seedpress_request *request, int64_t *id,
                                     struct seedpress_error *error)
{
    struct request *r;
    struct err e;

    handle_enter(self);
    *id = 0;
    if (ask_pictures(self, request, false, &r, &e))
        return handle_report(&e, error);
    *id = r->ask.id;
    exchange_work(self->exchange, clock_ms());
    return handle_leave(self, handle_succeed(error));
}

static void fill_event(struct seedpress *self, struct reply *reply, struct seedpress_event *event)
{
    struct request *r = reply->request;

    *event = (struct seedpress_event){ .id = r->ask.id };
    if (reply == &r->replies[r->count]) {
        event->kind = SEEDPRESS_EVENT_DONE;
        event->count = r->count;
        event->failed = r->failed;
        request_destroy(&r);
        return;
    }
    event->seed = reply->seed;
    event->kind = fill_image(self, reply, &event->image, &event->error) ? SEEDPRESS_EVENT_ERROR
                                                                        : SEEDPRESS_EVENT_IMAGE;
}

bool seedpress_next(struct seedpress *self, int timeout_ms, struct seedpress_event *event)
{
    int64_t now_ms = clock_ms(), end_ms = timeout_ms < 0 ? INT64_MAX : now_ms + timeout_ms;
    struct reply *reply;

    handle_enter(self);
    for (;;) {
        exchange_work(self->exchange, now_ms);
        reply = exchange_take(self->exchange);
        if (reply || exchange_is_idle(self->exchange) || now_ms >= end_ms)
            break;
        exchange_sleep(self->exchange, end_ms);
        now_ms = clock_ms();
    }
    if (reply)
        fill_event(self, reply, event);
    handle_leave(self, SEEDPRESS_OK);
    return reply != NULL;
}

enum seedpress_code seedpress_cancel(struct seedpress *self, int64_t id,
                                     struct seedpress_error *error)
{
    handle_enter(self);
    if (!exchange_cancel(self->exchange, id, clock_ms()))
        return handle_leave(self, handle_refuse(error, ERR_NOT_FOUND,
                                                "nothing is waiting under that id"));
    return handle_leave(self, handle_succeed(error));
}

int seedpress_fd(struct seedpress *self)
{
    int fd = exchange_fd(self->exchange);

    exchange_arm(self->exchange, clock_ms());
    return fd;
}

/* ---- one question, one answer ---- */

enum { HASH_HEX = 16 };             /* digits of a perceptual hash */

/* hex holds the texts of *out. */
static enum err_code read_like(const struct seedpress_query *query,
                               char hex[HASH_HEX * SEEDPRESS_LIKE_MAX + 1],
                               struct message_lookup *out, struct err *e)
{
    if (query->like_count > SEEDPRESS_LIKE_MAX)
        return err_set(e, ERR_RANGE, "%zu perceptual hashes are too many for one query: at most %d",
                       query->like_count, SEEDPRESS_LIKE_MAX);
    for (size_t i = 0; i < query->like_count; i++)
        snprintf(hex + HASH_HEX * i, HASH_HEX + 1, "%016" PRIx64, query->like[i]);
    out->like = (struct text){ hex, HASH_HEX * query->like_count };
    return ERR_OK;
}

/* The message borrows from hex. */
static enum err_code read_query(const struct seedpress_query *query, struct message *ask,
                                char hex[HASH_HEX * SEEDPRESS_LIKE_MAX + 1], struct err *e)
{
    struct message_lookup *l = &ask->lookup;
    int given = !!query->recipe_key + !!query->sha256 + !!query->core_sha256 + query->has_seed +
                (query->job != 0) + query->has_since + (query->like_count > 0);
    enum err_code rc;

    message_init(ask, MESSAGE_LOOKUP, 0);
    if (given != 1)
        return err_set(e, ERR_INVALID, "a query needs one of recipe key, file hash, core hash, "
                                       "seed, job, since and like");
    if (!query->has_seed && (query->has_psi || (query->model && !query->has_since)))
        return err_set(e, ERR_INVALID, "psi goes with a seed only, model with a seed or since");
    if (query->job == 0 && query->first != 0)
        return err_set(e, ERR_INVALID, "first goes with a job only");
    if ((rc = wish_read_digest("recipe key", query->recipe_key, &l->recipe_key, e)) ||
        (rc = wish_read_digest("file hash", query->sha256, &l->sha256, e)) ||
        (rc = wish_read_digest("core hash", query->core_sha256, &l->core_sha256, e)) ||
        (query->has_psi && (rc = wish_read_decimal("psi", query->psi, &l->psi, e))))
        return rc;
    l->model = wish_text(query->model);
    if (query->has_seed)
        l->seed = query->seed;
    l->job = query->job;
    l->first = query->first;
    if (query->has_since)
        l->since = query->since;
    if (query->limit)
        l->limit = query->limit;
    return read_like(query, hex, l, e);
}

static enum seedpress_code fill_rows(struct seedpress *self, const struct message_lookup *asked,
                                     const struct records *rows, struct seedpress_error *error)
{
    const struct message_row *row = rows->items;
    size_t count = rows->count;

    if (!handle_take_list(self, count, sizeof(struct seedpress_row), error))
        return SEEDPRESS_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const char *why = answer_check_row(&row[i], asked);

        if (why)
            return handle_refuse(error, ERR_BUG, "%s", why);
        answer_row(&row[i], (struct seedpress_row *)self->lent_list + i);
    }
    return SEEDPRESS_OK;
}

enum seedpress_code seedpress_lookup(struct seedpress *self, const struct seedpress_query *query,
                                     const struct seedpress_row **rows, size_t *count,
                                     struct seedpress_error *error)
{
    char hex[HASH_HEX * SEEDPRESS_LIKE_MAX + 1];
    enum seedpress_code code;
    struct message ask;
    struct talk t;
    struct err e;

    handle_enter(self);
    *rows = NULL;
    *count = 0;
    if (read_query(query, &ask, hex, &e))
        return handle_report(&e, error);
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_PROVENANCE, &t, error);
    if (!code)
        code = fill_rows(self, &ask.lookup, &t.answer.provenance.rows, error);
    if (!code) {
        *rows = self->lent_list;
        *count = t.answer.provenance.rows.count;
    }
    handle_talk_release(&t);
    return handle_leave(self, code);
}

static const char *check_fetched(const struct message *ask, const struct talk *t)
{
    const struct message_image *image = &t->answer.image;
    const struct message_fetch *asked = &ask->fetch;
    const char *why = answer_check_image(image, &t->request->replies[0].payload);

    if (!why && !digest_equal(&asked->recipe_key, &image->recipe_key) &&
        !digest_equal(&asked->sha256, &image->sha256))
        why = "the broker sent another picture than the one asked for";
    return why;
}

enum seedpress_code seedpress_fetch(struct seedpress *self, const char *recipe_key,
                                    const char *sha256, struct seedpress_image *image,
                                    struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;
    struct err e;

    handle_enter(self);
    *image = (struct seedpress_image){ .data = NULL };
    message_init(&ask, MESSAGE_FETCH, 0);
    if (!recipe_key == !sha256)
        return handle_refuse(error, ERR_INVALID, "fetch needs either a recipe key or a file hash");
    if (wish_read_digest("recipe key", recipe_key, &ask.fetch.recipe_key, &e) ||
        wish_read_digest("file hash", sha256, &ask.fetch.sha256, &e))
        return handle_report(&e, error);
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_IMAGE, &t, error);
    if (!code) {
        const char *why = check_fetched(&ask, &t);

        if (why)
            code = handle_refuse(error, ERR_BUG, "%s", why);
        else
            lend_image(self, &t.request->replies[0], &t.answer, image);
    }
    handle_talk_release(&t);
    return handle_leave(self, code);
}

static enum seedpress_code fill_withdrawal(struct seedpress *self,
                                           const struct message_withdrawal *answer,
                                           struct seedpress_withdrawal *out,
                                           struct seedpress_error *error)
{
    struct message any;
    enum seedpress_code code;

    message_init(&any, MESSAGE_LOOKUP, 0);
    code = fill_rows(self, &any.lookup, &answer->rows, error);
    if (code)
        return code;
    memcpy(out->subject, digest_hex(&answer->subject).text, sizeof out->subject);
    out->pictures = answer->pictures;
    out->files = answer->files;
    out->rows = self->lent_list;
    out->row_count = answer->rows.count;
    return SEEDPRESS_OK;
}

enum seedpress_code seedpress_withdraw(struct seedpress *self, const char *recipe_key,
                                       const char *sha256, const char *reason,
                                       struct seedpress_withdrawal *out,
                                       struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;
    struct err e;

    handle_enter(self);
    *out = (struct seedpress_withdrawal){ .rows = NULL };
    message_init(&ask, MESSAGE_WITHDRAW, 0);
    if (!recipe_key == !sha256)
        return handle_refuse(error, ERR_INVALID, "withdraw needs either a recipe key or a file "
                                                 "hash");
    if (wish_read_digest("recipe key", recipe_key, &ask.withdraw.recipe_key, &e) ||
        wish_read_digest("file hash", sha256, &ask.withdraw.sha256, &e))
        return handle_report(&e, error);
    ask.withdraw.reason = wish_text(reason);
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_WITHDRAWAL, &t, error);
    if (!code)
        code = fill_withdrawal(self, &t.answer.withdrawal, out, error);
    handle_talk_release(&t);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_models(struct seedpress *self,
                                     const struct seedpress_model **models, size_t *count,
                                     struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    handle_enter(self);
    *models = NULL;
    *count = 0;
    message_init(&ask, MESSAGE_MODELS, 0);
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_MODEL_LIST, &t, error);
    if (!code) {
        const struct records *list = &t.answer.model_list.models;

        if (handle_take_list(self, list->count, sizeof **models, error)) {
            for (size_t i = 0; i < list->count; i++)
                answer_model((const struct message_model *)list->items + i,
                             (struct seedpress_model *)self->lent_list + i);
            *models = self->lent_list;
            *count = list->count;
        } else
            code = SEEDPRESS_NO_MEMORY;
    }
    handle_talk_release(&t);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_model_use(struct seedpress *self, const char *name,
                                        const char *digest, struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    handle_enter(self);
    message_init(&ask, MESSAGE_MODEL_USE, 0);
    ask.model_use.name = wish_text(name);
    ask.model_use.digest = wish_text(digest);
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_DONE, &t, error);
    handle_talk_release(&t);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_status(struct seedpress *self, struct seedpress_status *status,
                                     struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    handle_enter(self);
    *status = (struct seedpress_status){ .workers = NULL };
    message_init(&ask, MESSAGE_STATUS, 0);
    code = handle_talk(self, &ask, self->answer_ms, MESSAGE_STATUS_REPORT, &t, error);
    if (!code) {
        const struct records *list = &t.answer.status_report.workers;

        if (handle_take_list(self, list->count, sizeof *status->workers, error)) {
            answer_status(&t.answer.status_report, status);
            for (size_t i = 0; i < list->count; i++)
                answer_worker((const struct message_worker *)list->items + i,
                              (struct seedpress_worker *)self->lent_list + i);
            status->workers = self->lent_list;
            status->worker_count = list->count;
        } else
            code = SEEDPRESS_NO_MEMORY;
    }
    handle_talk_release(&t);
    return handle_leave(self, code);
}

enum seedpress_code seedpress_ping(struct seedpress *self, int timeout_ms,
                                   struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    handle_enter(self);
    message_init(&ask, MESSAGE_PING, 0);
    code = handle_talk(self, &ask, timeout_ms, MESSAGE_PONG, &t, error);
    handle_talk_release(&t);
    return handle_leave(self, code);
}
