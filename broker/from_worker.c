/* What workers send. HANDLERS is the index. */
#include "broker/core.h"

#include "base/log.h"

#include <string.h>
#include <utlist.h>

enum { BACKLOG_MAX_MS = 3600000 };  /* nobody is believed to have more to do */

struct news {                       /* a worker's message */
    struct worker *worker;
    int64_t now_ms;
    const struct message *message;
    struct parcel *parcel;
};

static void moved(struct news *n)   /* progress was seen */
{
    n->worker->progress_ms = n->now_ms;
    n->worker->stalled = false;
}

/* The render under that lease, if this worker still holds it. */
static struct render *held(struct broker *b, const struct news *n, int64_t lease)
{
    struct render *r = renders_find_lease(&b->renders, lease);

    return r && r->lease->worker == n->worker ? r : NULL;
}

static void on_credit(struct broker *b, struct news *n)
{
    (void)b;
    n->worker->credit = (size_t)n->message->credit.credit;
}

/* What was on its way when a connection broke is lost, leases and results alike. Only the worker's
 * own count shows it: it holds fewer than the leases that must have reached it by now. Which of
 * them is not known, so all go to the front; a result that comes after all does no harm. */
static void end_lost(struct broker *b, const struct news *n, size_t held_there)
{
    int64_t before_ms = n->now_ms - b->options.silence_ms;
    struct lease *l, *next;
    size_t old = 0;

    DL_FOREACH(n->worker->leases, l)
        old += l->dispatched_ms <= before_ms;
    if (old <= held_there)
        return;
    b->count.leases_lost += (int64_t)old;
    log_event(LOG_WARN, "leases_lost", "worker=%s leases=%zu held=%zu", n->worker->name, old,
              held_there);
    DL_FOREACH_SAFE(n->worker->leases, l, next)
        if (l->dispatched_ms <= before_ms)
            render_return(b, l->render, n->now_ms);
}

/* What it says that it has to do and this broker knows nothing of is other brokers' work. */
static int64_t others_us(const struct worker *w)
{
    int64_t backlog_us = (w->backlog_ms < BACKLOG_MAX_MS ? w->backlog_ms : BACKLOG_MAX_MS) * 1000;

    return backlog_us > w->leased_us ? backlog_us - w->leased_us : 0;
}

static void on_heartbeat(struct broker *b, struct news *n)
{
    const struct message_heartbeat *h = &n->message->heartbeat;
    int64_t progress = h->started + h->rendered + h->stored;

    if (progress != n->worker->progress)
        moved(n);
    if (h->held == 0)
        n->worker->stalled = false;  /* it has nothing that it could hang on */
    end_lost(b, n, (size_t)h->held);
    n->worker->progress = progress;
    n->worker->rendered = h->rendered;
    n->worker->backlog_ms = h->backlog_ms;
    n->worker->others_us = others_us(n->worker);
    n->worker->ledger_down = !h->ledger_up;
    n->worker->credit = (size_t)h->credit;
}

static void on_started(struct broker *b, struct news *n)
{
    const struct numbers *leases = &n->message->leases.leases;

    moved(n);
    for (size_t i = 0; i < leases->count; i++) {
        struct render *r = held(b, n, leases->items[i]);

        if (r && r->state == RENDER_HELD)
            renders_set_state(&b->renders, r, RENDER_RENDERING, n->now_ms);
    }
}

static void on_rendered(struct broker *b, struct news *n)
{
    const struct numbers *leases = &n->message->leases.leases;

    moved(n);
    for (size_t i = 0; i < leases->count; i++) {
        struct render *r = held(b, n, leases->items[i]);

        if (r && (r->state == RENDER_HELD || r->state == RENDER_RENDERING))
            renders_set_state(&b->renders, r, RENDER_COMMITTING, n->now_ms);
    }
}

static void measure(struct broker *b, const struct news *n, const struct message_result *m,
                    const struct render *leased)
{
    const struct render *r = leased ? leased : renders_find(&b->renders, &m->recipe_key);

    if (leased)
        roster_learn(&b->roster, n->worker, r->model, m->render_us, m->batch, n->now_ms);
    else if (r)
        roster_learn_late(&b->roster, n->worker, r->model, m->render_us, m->batch, n->now_ms);
}

/* The file of one result: the frame itself when it holds nothing else, else a copy, because a share
 * would keep the whole frame. */
static bool cut_file(struct frame *files, size_t at, size_t len, struct frame *out)
{
    if (at == 0 && len == frame_len(files)) {
        frame_init_share(out, files);
        return true;
    }
    return frame_init_copy(out, (const char *)frame_data(files) + at, len);
}

/* The render that this lease was of, if it waits in the queue again: its worker was only cut off,
 * and the picture is committed. */
static struct render *given_up(struct broker *b, const struct message_result *m)
{
    struct render *r = renders_find(&b->renders, &m->recipe_key);

    return r && r->state == RENDER_QUEUED && r->last_lease == m->lease ? r : NULL;
}

/* file NULL: a receipt. */
static void take_result(struct broker *b, struct news *n, const struct message_result *m,
                        struct frame *file)
{
    struct render *r = held(b, n, m->lease);
    char numerics_class[64], encoder[64];

    measure(b, n, m, r);
    if (!r) {
        b->count.late++;
        r = given_up(b, m);
    }
    if (!r)
        return;
    if (!digest_equal(&m->recipe_key, &r->key)) {
        log_event(LOG_ERROR, "result_wrong", "worker=%s lease=%lld", n->worker->name,
                  (long long)m->lease);
        render_retry(b, r, n->now_ms, "its worker answered with another recipe's picture");
        return;
    }
    if (!file && r->lease && r->lease->want == MESSAGE_WANT_IMAGE) {
        log_event(LOG_ERROR, "result_wrong", "worker=%s lease=%lld", n->worker->name,
                  (long long)m->lease);
        render_retry(b, r, n->now_ms, "its worker sent a receipt where a file was asked for");
        return;
    }
    struct recipe recipe = render_recipe(r);
    struct picture picture = {
        .recipe = &recipe, .key = r->key, .file_sha = m->sha256, .core_sha = m->core_sha256,
        .numerics_class = text_copy(m->numerics_class, numerics_class, sizeof numerics_class),
        .encoder = text_copy(m->encoder, encoder, sizeof encoder), .run = m->run,
        .render_us = m->render_us, .encode_us = m->encode_us, .store_us = m->store_us,
        .batch = m->batch, .source = MESSAGE_SOURCE_RENDER, .bytes = m->bytes, .jpeg = file,
        .rendered_sha = m->rendered_sha256, .rendered_core_sha = m->rendered_core_sha256,
        .rendered_class = m->rendered_class, .rendered_run = m->rendered_run,
        .rendered_levels = m->rendered_levels, .rendered_psnr = m->rendered_psnr,
    };

    render_take_result(b, r, &picture, n->now_ms);
}

/* Bytes that the frame has of it. */
static size_t len_in_frame(const struct message_result *m)
{
    return m->want == MESSAGE_WANT_RECEIPT ? 0 : (size_t)m->bytes;
}

/* Their lengths must make up the frame to a byte: else nobody knows whose bytes are whose. */
static bool lengths_agree(const struct news *n)
{
    const struct records *list = &n->message->results.results;
    const struct message_result *results = list->items;
    size_t left = n->parcel->count == 2 ? frame_len(&n->parcel->body[1]) : 0;

    for (size_t i = 0; i < list->count; i++) {
        if (len_in_frame(&results[i]) > left)
            return false;
        left -= len_in_frame(&results[i]);
    }
    return left == 0;
}

static void on_results(struct broker *b, struct news *n)
{
    const struct records *list = &n->message->results.results;
    const struct message_result *results = list->items;
    bool agree = lengths_agree(n);
    size_t at = 0;

    moved(n);
    for (size_t i = 0; i < list->count; i++) {
        size_t len = len_in_frame(&results[i]);
        struct render *r = held(b, n, results[i].lease);
        struct frame file;

        if (!agree) {
            log_event(LOG_ERROR, "result_wrong", "worker=%s lease=%lld", n->worker->name,
                      (long long)results[i].lease);
            if (r)
                render_retry(b, r, n->now_ms, "its worker's files are not as long as it says");
            continue;
        }
        if (results[i].want == MESSAGE_WANT_RECEIPT) {
            take_result(b, n, &results[i], NULL);
            continue;
        }
        if (!cut_file(&n->parcel->body[1], at, len, &file)) {
            if (r)
                render_retry(b, r, n->now_ms, "no memory for the picture");
        } else
            take_result(b, n, &results[i], &file);
        frame_release(&file);
        at += len;
    }
}

static void on_fail(struct broker *b, struct news *n)
{
    const struct message_fail *m = &n->message->fail;
    struct render *r = held(b, n, m->lease);
    enum err_code code = err_from_word(m->code.data, m->code.len);
    char words[200];

    moved(n);
    if (!r) {
        b->count.late++;
        return;
    }
    text_copy(m->message, words, sizeof words);
    if (code == ERR_COUNT || code == ERR_OK)
        code = ERR_BUG;
    log_event(LOG_WARN, "render_failed", "worker=%s recipe=%s code=%s reason=\"%s\"",
              n->worker->name, digest_hex(&r->key).text, err_info(code)->word, words);
    if (code == ERR_WITHDRAWN)
        cache_remove(&b->cache, &r->key);
    if (code == ERR_RETRY) {         /* the worker is leaving: no fault of the picture's */
        n->worker->credit = 0;
        n->worker->handbacks++;
        render_return(b, r, n->now_ms);
    } else if (err_info(code)->retry)
        render_retry(b, r, n->now_ms, words);
    else
        render_fail(b, r, code, "%s", words);
}

static void on_handback(struct broker *b, struct news *n)
{
    const struct numbers *leases = &n->message->leases.leases;

    for (size_t i = 0; i < leases->count; i++) {
        struct render *r = held(b, n, leases->items[i]);

        if (!r)
            continue;
        if (!r->lease->recalled) {
            n->worker->credit = 0;   /* it has no room, whatever it said, until its next word */
            n->worker->handbacks++;
        }
        render_return(b, r, n->now_ms);
    }
}

static void on_bye(struct broker *b, struct news *n)
{
    n->worker->left = true;
    worker_lost(b, n->worker, n->now_ms, "it left");
}

static void (*const HANDLERS[MESSAGE_TYPE_COUNT])(struct broker *b, struct news *n) = {
    [MESSAGE_CREDIT] = on_credit, [MESSAGE_HEARTBEAT] = on_heartbeat,
    [MESSAGE_STARTED] = on_started, [MESSAGE_RENDERED] = on_rendered,
    [MESSAGE_RESULTS] = on_results, [MESSAGE_FAIL] = on_fail, [MESSAGE_HANDBACK] = on_handback,
    [MESSAGE_BYE] = on_bye,
};

/* What a dummy makes nobody can prove, so it works only where nothing is stored; and there nobody
 * else may: no image without provenance. NULL: it may work here. */
static const char *unfit(const struct broker *b, const struct message_ready *ready)
{
    const struct message_model *models = ready->models.items;

    if (!ready->dummy)
        return b->options.without_ledger ? "this broker has no ledger: no image without provenance"
                                         : NULL;
    if (!b->options.without_ledger)
        return "it is a dummy, whose bytes are no pictures: they need a broker with ledger = none";
    for (size_t i = 0; i < ready->models.count; i++)
        if (!text_is(models[i].name, "dummy"))
            return "a dummy has no other model than dummy";
    return NULL;
}

/* READY comes from peers that are not in the roster yet. */
static void on_ready(struct broker *b, const struct address *from,
                     const struct access *access, const struct message_ready *ready,
                     int64_t now_ms)
{
    struct worker *w = roster_find_name(&b->roster, ready->worker);
    const char *why = unfit(b, ready);

    if (why) {
        log_event(LOG_ERROR, "worker_refused", "worker=%.*s reason=\"%s\"", (int)ready->worker.len,
                  ready->worker.data, why);
        return;
    }
    /* A new connection begins anew: what the old one has swallowed nobody knows. */
    if (w && !address_same_peer(&w->to, from))
        worker_lost(b, w, now_ms, "it came back over another connection");
    models_put(&b->models, ready->models.items, ready->models.count, now_ms);
    w = roster_put(&b->roster, &b->models, from, ready, now_ms);
    if (!w)
        return;
    w->access = *access;
    blame_forgive(&b->blame, w->name, &b->renders);
    b->names_asked_ms = 0;           /* it may have bound a new name */
    log_event(LOG_INFO, "worker_ready", "worker=%s class=%s models=%zu credit=%zu", w->name,
              w->numerics_class, w->service_count, w->credit);
    retry_parked(b, now_ms);
    bulk_wake(&b->bulk);
}

/* Says nothing to it: whom the keyring does not know learns nothing either. */
static void deny(struct broker *b, struct worker *worker, int64_t now_ms, const struct err *e)
{
    b->count.denied++;
    if (worker)
        worker_lost(b, worker, now_ms, e->msg);
}

static void introduce(struct broker *b, const struct address *from)
{
    struct worker stranger = { .to = *from };
    struct message m;

    message_init(&m, MESSAGE_INTRODUCE, 0);
    send_worker(b, &stranger, &m);
}

void broker_on_worker(struct broker *b, int64_t now_ms, struct parcel *parcel)
{
    struct worker *w = roster_find(&b->roster, &parcel->from);
    struct access access = w ? w->access : (struct access){ .is_known = false };
    struct message m;
    struct err e = { 0 };

    access_update(&access, b->options.keyring, parcel);
    if (access_check_port(&access, LINK_WORKERS, &e)) {
        deny(b, w, now_ms, &e);
        parcel_release(parcel);
        return;
    }
    if (w)
        w->access = access;
    connections_note(&b->worker_connections, parcel_fd(parcel), &parcel->from);
    if (message_decode(frame_data(&parcel->body[0]), frame_len(&parcel->body[0]),
                       MESSAGE_FROM_WORKER, &m, &e)) {
        b->count.malformed++;
        log_event(LOG_WARN, "worker_malformed", "worker=%s reason=\"%s\"", w ? w->name : "-",
                  e.msg);
    } else if (m.type == MESSAGE_READY) {
        on_ready(b, &parcel->from, &access, &m.ready, now_ms);
    } else if (!w) {
        b->count.late += m.type == MESSAGE_RESULTS ? (int64_t)m.results.results.count
                                                   : m.type == MESSAGE_FAIL;
        if (m.type == MESSAGE_HEARTBEAT)
            introduce(b, &parcel->from);
    } else {
        struct news n = { w, now_ms, &m, parcel };

        w->heard_ms = now_ms;
        HANDLERS[m.type](b, &n);
    }
    message_release(&m);
    parcel_release(parcel);
}
