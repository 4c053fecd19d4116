/* The public calls: from seedpress.h's structs to messages, through the exchange, and back. */
#include "client/seedpress.h"

#include "base/clock.h"
#include "client/answer.h"
#include "client/exchange.h"
#include "proto/number.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SILENCE_MS = 3000, UNREACHABLE_MS = 30000, ANSWER_MS = 10000 };

struct seedpress {
    struct exchange *exchange;
    int answer_ms;
    struct frame lent_file;         /* until the next call */
    void *lent_list;
};

/* ---- entering and leaving ---- */

/* What the last call lent comes back. */
static void enter(struct seedpress *self)
{
    frame_release(&self->lent_file);
    free(self->lent_list);
    self->lent_list = NULL;
}

static enum seedpress_code leave(struct seedpress *self, enum seedpress_code code)
{
    exchange_arm(self->exchange, clock_ms());
    return code;
}

static enum seedpress_code report(const struct err *e, struct seedpress_error *error)
{
    answer_own_error(e, error);
    return (enum seedpress_code)e->code;
}

static enum seedpress_code refuse(struct seedpress_error *error, enum err_code code,
                                  const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static enum seedpress_code refuse(struct seedpress_error *error, enum err_code code,
                                  const char *fmt, ...)
{
    struct err e = { .code = code };
    va_list args;

    va_start(args, fmt);
    vsnprintf(e.msg, sizeof e.msg, fmt, args);
    va_end(args);
    return report(&e, error);
}

static enum seedpress_code succeed(struct seedpress_error *error)
{
    if (error)
        *error = (struct seedpress_error){ .code = SEEDPRESS_OK, .word = "ok",
                                           .http_status = err_info(ERR_OK)->http_status };
    return SEEDPRESS_OK;
}

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
        return refuse(error, ERR_NOMEM, "no memory for a handle");
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
        return report(&e, error);
    }
    self->answer_ms = o.answer_ms > 0 ? o.answer_ms : ANSWER_MS;
    frame_init(&self->lent_file);
    code = exchange_create(&inner, &self->exchange, &e);
    key_pair_wipe(&inner.own);
    if (code) {
        free(self);
        return report(&e, error);
    }
    *out = self;
    return succeed(error);
}

void seedpress_destroy(struct seedpress **self)
{
    if (!*self)
        return;
    enter(*self);
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

static struct text text_or_none(const char *string)
{
    return string ? text_of(string) : (struct text){ NULL, 0 };
}

static enum err_code read_decimal(const char *name, double value, int64_t *out, struct err *e)
{
    if (!number_millionths_of(value, out))
        return err_set(e, ERR_RANGE, "%s needs to be a number with at most six decimal places",
                       name);
    return ERR_OK;
}

static enum err_code read_matrix(const double *matrix, struct floats *out, struct err *e)
{
    out->count = MESSAGE_FLOATS_MAX;
    for (size_t i = 0; i < out->count; i++) {
        if (!(fabs(matrix[i]) <= FLT_MAX))       /* also refuses NaN */
            return err_set(e, ERR_RANGE, "transform needs nine numbers that float32 can hold");
        out->items[i] = (float)matrix[i];
    }
    return ERR_OK;
}

/* What is 0 is left out: it moves nothing. */
static enum err_code read_transform(const struct seedpress_request *request,
                                    struct message_generate *out, struct err *e)
{
    const double *shift = request->translate;
    bool is_shifted = shift[0] != 0 || shift[1] != 0, is_turned = request->rotate != 0;
    enum err_code rc = ERR_OK;

    if (request->transform && (is_shifted || is_turned))
        return err_set(e, ERR_INVALID, "give either transform or translate and rotate");
    if (request->transform)
        return read_matrix(request->transform, &out->transform, e);
    if (is_shifted) {
        out->translate.count = 2;
        for (int i = 0; !rc && i < 2; i++)
            rc = read_decimal("translate", shift[i], &out->translate.items[i], e);
    }
    if (!rc && is_turned)
        rc = read_decimal("rotate", request->rotate, &out->rotate, e);
    return rc;
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
    if (!request->model || !*request->model)
        return err_set(e, ERR_INVALID, "a request needs a model");
    ask->generate.model = text_of(request->model);
    ask->generate.cutoff = request->cutoff;
    ask->generate.class_index = request->class_index;
    ask->generate.noise_mode = request->noise_mode;
    ask->generate.noise_seed = request->noise_seed;
    ask->generate.quality = request->quality;
    ask->generate.mark = request->mark;
    ask->generate.rev = request->rev;
    ask->generate.priority = request->priority;
    ask->generate.deadline_ms = request->deadline_ms;
    ask->generate.want = request->want;
    ask->generate.cache = request->cache;
    ask->generate.require_class = text_or_none(request->require_class);
    ask->generate.trace = text_or_none(request->trace);
    rc = read_decimal("psi", request->psi, &ask->generate.psi, e);
    if (!rc)
        rc = read_transform(request, &ask->generate, e);
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

static enum seedpress_code fill_unreachable(const struct seedpress *self, const struct request *r,
                                            struct seedpress_error *error)
{
    int64_t tenths = (r->ended_ms - r->asked_ms + 50) / 100;
    char seconds[32];

    if (tenths % 10)
        snprintf(seconds, sizeof seconds, "%d.%d", (int)(tenths / 10), (int)(tenths % 10));
    else
        snprintf(seconds, sizeof seconds, "%d", (int)(tenths / 10));
    return refuse(error, ERR_UNREACHABLE, "no broker answered at %.100s within %s s; is "
                                          "seedpress-broker running?",
                  exchange_brokers(self->exchange), seconds);
}

static enum seedpress_code fill_refusal(const struct message *m, struct seedpress_error *error)
{
    struct seedpress_error words;

    answer_error(&m->error, &words);
    if (error)
        *error = words;
    return (enum seedpress_code)words.code;
}

/* Decodes a reply that has ended into *m, which borrows from it and is to be released. What is not
 * SEEDPRESS_OK is the reply's error. */
static enum seedpress_code read_reply(const struct seedpress *self, const struct reply *reply,
                                      struct message *m, struct seedpress_error *error)
{
    struct err e;

    *m = (struct message){ .zone = NULL };
    if (reply->state == REPLY_FAILED)
        return reply->code == ERR_UNREACHABLE
                   ? fill_unreachable(self, reply->request, error)
                   : refuse(error, reply->code, "%s", reply->words);
    /* It was decoded when it came, so only memory can be missing now. */
    if (message_decode(frame_data(&reply->map), frame_len(&reply->map), MESSAGE_FROM_BROKER, m, &e))
        return report(&e, error);
    return reply->state == REPLY_REFUSED ? fill_refusal(m, error) : succeed(error);
}

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
    enum seedpress_code code = read_reply(self, reply, &m, error);

    if (!code)
        lend_image(self, reply, &m, image);
    message_release(&m);
    frame_release(&reply->map);
    return code;
}

static void wait_for(struct seedpress *self, const struct request *request)
{
    for (;;) {
        exchange_work(self->exchange, clock_ms());
        if (request->waiting == 0)
            return;
        exchange_sleep(self->exchange, INT64_MAX);
    }
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

    enter(self);
    *image = (struct seedpress_image){ .data = NULL };
    if (request->count > 1)
        return refuse(error, ERR_INVALID, "one picture is waited for at a time; submit takes %zu",
                      request->count);
    if (ask_pictures(self, request, true, &r, &e))
        return report(&e, error);
    wait_for(self, r);
    code = fill_image(self, &r->replies[0], image, error);
    request_destroy(&r);
    return leave(self, code);
}

enum seedpress_code seedpress_submit(struct seedpress *self,
                                     const struct seedpress_request *request, int64_t *id,
                                     struct seedpress_error *error)
{
    struct request *r;
    struct err e;

    enter(self);
    *id = 0;
    if (ask_pictures(self, request, false, &r, &e))
        return report(&e, error);
    *id = r->ask.id;
    exchange_work(self->exchange, clock_ms());
    return leave(self, succeed(error));
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

    enter(self);
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
    leave(self, SEEDPRESS_OK);
    return reply != NULL;
}

enum seedpress_code seedpress_cancel(struct seedpress *self, int64_t id,
                                     struct seedpress_error *error)
{
    enter(self);
    if (!exchange_cancel(self->exchange, id, clock_ms()))
        return leave(self, refuse(error, ERR_NOT_FOUND, "nothing is waiting under that id"));
    return leave(self, succeed(error));
}

int seedpress_fd(struct seedpress *self)
{
    int fd = exchange_fd(self->exchange);

    exchange_arm(self->exchange, clock_ms());
    return fd;
}

/* ---- one question, one answer ---- */

struct talk {
    struct request *request;
    struct message answer;          /* borrows from request */
};

static void talk_release(struct talk *talk)
{
    message_release(&talk->answer);
    request_destroy(&talk->request);
}

/* Asks and waits. SEEDPRESS_OK: talk->answer is of that type. Release talk in any case. */
static enum seedpress_code talk(struct seedpress *self, const struct message *ask, int timeout_ms,
                                enum message_type type, struct talk *talk,
                                struct seedpress_error *error)
{
    enum seedpress_code code;
    struct err e;

    *talk = (struct talk){ .request = NULL };
    if (exchange_ask(self->exchange, ask, timeout_ms, true, clock_ms(), &talk->request, &e))
        return report(&e, error);
    wait_for(self, talk->request);
    code = read_reply(self, &talk->request->replies[0], &talk->answer, error);
    if (!code && talk->answer.type != type)
        code = refuse(error, ERR_BUG, "the broker answered \"%s\" to \"%s\"",
                      message_word(talk->answer.type), message_word(ask->type));
    return code;
}

/* Room for a list to lend; never NULL when it gives true. */
static bool take_list(struct seedpress *self, size_t count, size_t size,
                      struct seedpress_error *error)
{
    self->lent_list = calloc(count ? count : 1, size);
    if (!self->lent_list)
        refuse(error, ERR_NOMEM, "no memory for an answer of %zu items", count);
    return self->lent_list != NULL;
}

static enum err_code read_digest(const char *name, const char *hex, struct digest *out,
                                 struct err *e)
{
    if (hex && !digest_parse(hex, strlen(hex), out))
        return err_set(e, ERR_INVALID, "%s needs 64 lower-case hex digits", name);
    return ERR_OK;
}

static enum err_code read_query(const struct seedpress_query *query, struct message *ask,
                                struct err *e)
{
    struct message_lookup *l = &ask->lookup;
    int given = !!query->recipe_key + !!query->sha256 + !!query->core_sha256 + query->has_seed;
    enum err_code rc;

    message_init(ask, MESSAGE_LOOKUP, 0);
    if (given != 1)
        return err_set(e, ERR_INVALID, "a query needs one of recipe key, file hash, core hash and "
                                       "seed");
    if (!query->has_seed && (query->model || query->has_psi))
        return err_set(e, ERR_INVALID, "model and psi go with a seed only");
    if ((rc = read_digest("recipe key", query->recipe_key, &l->recipe_key, e)) ||
        (rc = read_digest("file hash", query->sha256, &l->sha256, e)) ||
        (rc = read_digest("core hash", query->core_sha256, &l->core_sha256, e)) ||
        (query->has_psi && (rc = read_decimal("psi", query->psi, &l->psi, e))))
        return rc;
    l->model = text_or_none(query->model);
    if (query->has_seed)
        l->seed = query->seed;
    if (query->limit)
        l->limit = query->limit;
    return ERR_OK;
}

static enum seedpress_code fill_rows(struct seedpress *self, const struct message *ask,
                                     const struct message *answer, struct seedpress_error *error)
{
    const struct message_row *row = answer->provenance.rows.items;
    size_t count = answer->provenance.rows.count;

    if (!take_list(self, count, sizeof(struct seedpress_row), error))
        return SEEDPRESS_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const char *why = answer_check_row(&row[i], &ask->lookup);

        if (why)
            return refuse(error, ERR_BUG, "%s", why);
        answer_row(&row[i], (struct seedpress_row *)self->lent_list + i);
    }
    return SEEDPRESS_OK;
}

enum seedpress_code seedpress_lookup(struct seedpress *self, const struct seedpress_query *query,
                                     const struct seedpress_row **rows, size_t *count,
                                     struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;
    struct err e;

    enter(self);
    *rows = NULL;
    *count = 0;
    if (read_query(query, &ask, &e))
        return report(&e, error);
    code = talk(self, &ask, self->answer_ms, MESSAGE_PROVENANCE, &t, error);
    if (!code)
        code = fill_rows(self, &ask, &t.answer, error);
    if (!code) {
        *rows = self->lent_list;
        *count = t.answer.provenance.rows.count;
    }
    talk_release(&t);
    return leave(self, code);
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

    enter(self);
    *image = (struct seedpress_image){ .data = NULL };
    message_init(&ask, MESSAGE_FETCH, 0);
    if (!recipe_key == !sha256)
        return refuse(error, ERR_INVALID, "fetch needs either a recipe key or a file hash");
    if (read_digest("recipe key", recipe_key, &ask.fetch.recipe_key, &e) ||
        read_digest("file hash", sha256, &ask.fetch.sha256, &e))
        return report(&e, error);
    code = talk(self, &ask, self->answer_ms, MESSAGE_IMAGE, &t, error);
    if (!code) {
        const char *why = check_fetched(&ask, &t);

        if (why)
            code = refuse(error, ERR_BUG, "%s", why);
        else
            lend_image(self, &t.request->replies[0], &t.answer, image);
    }
    talk_release(&t);
    return leave(self, code);
}

enum seedpress_code seedpress_models(struct seedpress *self,
                                     const struct seedpress_model **models, size_t *count,
                                     struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    enter(self);
    *models = NULL;
    *count = 0;
    message_init(&ask, MESSAGE_MODELS, 0);
    code = talk(self, &ask, self->answer_ms, MESSAGE_MODEL_LIST, &t, error);
    if (!code) {
        const struct records *list = &t.answer.model_list.models;

        if (take_list(self, list->count, sizeof **models, error)) {
            for (size_t i = 0; i < list->count; i++)
                answer_model((const struct message_model *)list->items + i,
                             (struct seedpress_model *)self->lent_list + i);
            *models = self->lent_list;
            *count = list->count;
        } else
            code = SEEDPRESS_NO_MEMORY;
    }
    talk_release(&t);
    return leave(self, code);
}

enum seedpress_code seedpress_model_use(struct seedpress *self, const char *name,
                                        const char *digest, struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    enter(self);
    message_init(&ask, MESSAGE_MODEL_USE, 0);
    ask.model_use.name = text_or_none(name);
    ask.model_use.digest = text_or_none(digest);
    code = talk(self, &ask, self->answer_ms, MESSAGE_DONE, &t, error);
    talk_release(&t);
    return leave(self, code);
}

enum seedpress_code seedpress_status(struct seedpress *self, struct seedpress_status *status,
                                     struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    enter(self);
    *status = (struct seedpress_status){ .workers = NULL };
    message_init(&ask, MESSAGE_STATUS, 0);
    code = talk(self, &ask, self->answer_ms, MESSAGE_STATUS_REPORT, &t, error);
    if (!code) {
        const struct records *list = &t.answer.status_report.workers;

        if (take_list(self, list->count, sizeof *status->workers, error)) {
            answer_status(&t.answer.status_report, status);
            for (size_t i = 0; i < list->count; i++)
                answer_worker((const struct message_worker *)list->items + i,
                              (struct seedpress_worker *)self->lent_list + i);
            status->workers = self->lent_list;
            status->worker_count = list->count;
        } else
            code = SEEDPRESS_NO_MEMORY;
    }
    talk_release(&t);
    return leave(self, code);
}

enum seedpress_code seedpress_ping(struct seedpress *self, int timeout_ms,
                                   struct seedpress_error *error)
{
    enum seedpress_code code;
    struct message ask;
    struct talk t;

    enter(self);
    message_init(&ask, MESSAGE_PING, 0);
    code = talk(self, &ask, timeout_ms, MESSAGE_PONG, &t, error);
    talk_release(&t);
    return leave(self, code);
}
