/* The moves of a render through its states; README.md has the table that this file is. */
#include "broker/core.h"

#include "base/log.h"
#include "broker/admission.h"
#include "broker/block.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- waiters ---- */

enum { WAITER_PLACES = 2 };         /* in the heaps of deadlines and of its line */

static size_t bytes_without_render(void)
{
    return block_bytes(sizeof(struct waiter)) + WAITER_PLACES * BLOCK_PLACE;
}

size_t waiter_bytes(const struct recipe_transform *transform)
{
    return bytes_without_render() + render_bytes() +
           (transform->kind == RECIPE_TRANSFORM_NONE ? 0 : block_bytes(sizeof *transform));
}

/* For its account: a render that several wait for counts for each. */
static size_t bytes_of(const struct waiter *w)
{
    static const struct recipe_transform NONE = { .kind = RECIPE_TRANSFORM_NONE };

    return waiter_bytes(w->render->transform ? w->render->transform : &NONE);
}

size_t waiters_bytes(const struct broker *b)
{
    return b->waiters * bytes_without_render() + renders_bytes(&b->renders) + b->request_bytes;
}

struct waiter *waiter_add(struct broker *b, struct render *render, struct request *request,
                          const struct message_generate *g, const char *warning,
                          int64_t arrived_ms)
{
    struct waiter *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->render = render;
    w->request = request;
    w->level = (uint8_t)g->priority;
    w->arrived_ms = arrived_ms;
    w->deadline_ms = arrived_ms + g->deadline_ms;
    w->only = g->cache == MESSAGE_CACHE_ONLY;
    w->warning = warning;
    if (!heap_push(&b->deadlines, w)) {
        free(w);
        return NULL;
    }
    if (render->state == RENDER_QUEUED && !w->only && !render->at_front &&
        !queue_add(&b->queue, w)) {
        heap_remove(&b->deadlines, w);
        free(w);
        return NULL;
    }
    DL_APPEND(render->waiters, w);
    DL_APPEND2(request->waiters, w, request_prev, request_next);
    request->account->waiting++;
    request->account->bytes += bytes_of(w);
    b->waiters++;
    b->level_waiters[w->level]++;
    return w;
}

static void end_request(struct broker *b, struct request *request)
{
    struct address to = request_address(request);
    struct message done;

    if (request->many) {
        message_init(&done, MESSAGE_DONE, request->id);
        done.done = (struct message_done){ request->count, request->failed };
        reply_message(b, request->client, &to, &done, NULL);
    }
    if (request->chunk)
        bulk_request_ended(request->chunk);
    b->request_bytes -= request_bytes(request);
    request_close(request, &b->accounts);
}

void request_end_if_done(struct broker *b, struct request *request)
{
    if (--request->left == 0)
        end_request(b, request);
}

/* Takes the waiter out of everything; ends its request when it was the last. */
static void detach(struct broker *b, struct waiter *w)
{
    struct request *request = w->request;

    queue_remove(&b->queue, w);
    heap_remove(&b->deadlines, w);
    DL_DELETE(w->render->waiters, w);
    DL_DELETE2(request->waiters, w, request_prev, request_next);
    request->account->waiting--;
    request->account->bytes -= bytes_of(w);
    b->waiters--;
    b->level_waiters[w->level]--;
    free(w);
    request_end_if_done(b, request);
}

/* A waiter has gone: is its render still wanted? False: it has ended. */
static bool settle(struct broker *b, struct render *render)
{
    struct message recall;

    if (render->waiters && (render_is_wanted(render) || render->state == RENDER_LOOKUP))
        return true;
    switch (render->state) {
    case RENDER_LOOKUP:
        renders_end(&b->renders, render);
        return false;
    case RENDER_QUEUED:
        queue_remove_render(&b->queue, render);
        if (render->waiters && render->asked) {  /* the ledger has not said yet */
            renders_set_state(&b->renders, render, RENDER_LOOKUP, render->since_ms);
            return true;
        }
        if (render->waiters)         /* they would have taken a stored one only */
            render_fail(b, render, ERR_NOT_FOUND, "this picture is not stored");
        else
            renders_end(&b->renders, render);
        return false;
    case RENDER_HELD:
        message_init(&recall, MESSAGE_RECALL, 0);
        recall.leases.leases = (struct numbers){ &render->lease->number, 1 };
        send_worker(b, render->lease->worker, &recall);
        render->lease->recalled = true;
        return true;
    default:
        return true;                 /* it finishes and is stored: the work is done anyway */
    }
}

static void answer_err(struct broker *b, struct waiter *w, const struct err *e)
{
    struct address to = request_address(w->request);

    w->request->count++;
    w->request->failed++;
    b->count.failed++;
    if (w->request->chunk) {
        meter_failed(&b->meter, e->code, w->render->seed);
        bulk_ended(&b->bulk, w, e);
    } else
        reply_error(b, w->request->client, &to, w->request->id, w->render->seed, e);
    detach(b, w);
}

static void answer_error(struct broker *b, struct waiter *w, enum err_code code, const char *words)
{
    struct err e;

    err_set(&e, code, "%s", words);
    answer_err(b, w, &e);
}

void waiter_fail(struct broker *b, struct waiter *waiter, enum err_code code,
                 const char *fmt, ...)
{
    struct render *render = waiter->render;
    char words[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    answer_error(b, waiter, code, words);
    settle(b, render);
}

void waiter_drop(struct broker *b, struct waiter *waiter)
{
    static const struct err CANCELLED = { .code = ERR_CANCELLED };
    struct render *render = waiter->render;

    b->count.cancelled++;
    if (waiter->request->chunk)
        bulk_ended(&b->bulk, waiter, &CANCELLED);
    detach(b, waiter);
    settle(b, render);
}

int64_t request_drop(struct broker *b, struct request *request)
{
    int64_t count = 0;

    request->many = false;
    request->left++;                 /* so that it outlives the loop */
    for (; request->waiters; count++)
        waiter_drop(b, request->waiters);
    request_end_if_done(b, request);
    return count;
}

/* ---- renders ---- */

static bool ask_ledger(struct broker *b, struct render *render)
{
    struct errand *errand;

    if (render->bypass || !scribe_ledger_is_up(b->scribe))
        return false;
    errand = errand_create(ERRAND_FIND);
    if (!errand)
        return false;
    errand->key = render->key;
    if (!scribe_ask(b->scribe, errand)) {
        errand_destroy(&errand);
        return false;
    }
    render->asked = true;
    return true;
}

bool render_fail_only(struct broker *b, struct render *render, enum err_code code,
                      const char *words)
{
    struct waiter *w, *next;

    DL_FOREACH_SAFE(render->waiters, w, next)
        if (w->only)
            answer_error(b, w, code, words);
    return settle(b, render);
}

void render_start(struct broker *b, struct render *render, int64_t now_ms)
{
    if (ask_ledger(b, render))
        return;
    if (render_fail_only(b, render, ERR_LEDGER_DOWN, "the ledger cannot be reached now"))
        render_enqueue(b, render, now_ms);
}

/* Somebody has the model, or had it within the grace. */
static enum err_code check_served(struct broker *b, const struct model_entry *model,
                                  int64_t now_ms, struct err *e)
{
    if (roster_has_model(&b->roster, model) || now_ms < model->served_ms + b->options.grace_ms)
        return ERR_OK;
    return models_no_worker(models_name_of(&b->models, &model->digest), &model->digest, e);
}

static enum err_code enqueue(struct broker *b, struct waiter *w, int64_t now_ms, struct err *e)
{
    enum err_code rc = check_served(b, w->render->model, now_ms, e);

    if (rc)
        return rc;
    if (!w->request->chunk) {        /* else nobody waits for it */
        struct forecast forecast = admission_forecast(&b->roster, &b->queue, w->request->account,
                                                      w->render->model, w->level, now_ms);

        rc = admission_judge(&forecast, w->deadline_ms - now_ms, e);
    }
    if (rc) {
        b->count.refused++;
        w->request->account->refused++;
    } else if (!queue_add(&b->queue, w))
        rc = err_set(e, ERR_NOMEM, "no memory for another request");
    return rc;
}

void render_enqueue(struct broker *b, struct render *render, int64_t now_ms)
{
    struct waiter *w, *next;
    struct err e;

    renders_set_state(&b->renders, render, RENDER_QUEUED, now_ms);
    DL_FOREACH_SAFE(render->waiters, w, next)
        if (!w->only && enqueue(b, w, now_ms, &e))
            answer_err(b, w, &e);
    settle(b, render);
}

void render_refer(struct broker *b, struct render *render)
{
    render_fail(b, render, ERR_RETRY, "this broker is going away");
}

void render_return(struct broker *b, struct render *render, int64_t now_ms)
{
    if (b->draining) {               /* nothing starts again */
        render_refer(b, render);
        return;
    }
    renders_clear_lease(&b->renders, render);
    renders_set_state(&b->renders, render, RENDER_QUEUED, now_ms);
    queue_add_front(&b->queue, render);
    b->count.retried++;
    settle(b, render);
}

void render_retry(struct broker *b, struct render *render, int64_t now_ms, const char *why)
{
    render->avoid = render->lease->worker->serial;
    if (++render->attempts < b->options.attempts_max) {
        render_return(b, render, now_ms);
        return;
    }
    b->count.poison++;
    log_event(LOG_ERROR, "render_poison", "recipe=%s attempts=%d reason=\"%s\"",
              digest_hex(&render->key).text, render->attempts, why);
    render_fail(b, render, ERR_POISON, "the render failed %d times; last: %s",
                render->attempts, why);
}

void render_lost(struct broker *b, struct render *render, int64_t now_ms, const char *why)
{
    if (render->state == RENDER_RENDERING)
        render_retry(b, render, now_ms, why);
    else
        render_return(b, render, now_ms);
}

static void answer_picture(struct broker *b, struct waiter *w, const struct picture *picture)
{
    struct request *request = w->request;
    const struct lease *lease = w->render->lease;
    int64_t queue_ms = lease ? lease->dispatched_ms - w->arrived_ms : 0;
    struct err e;

    if (request_check_class(request, picture->numerics_class, &e)) {
        answer_err(b, w, &e);
        return;
    }
    request->count++;
    b->count.answered++;
    if (request->chunk) {
        meter_answered(&b->meter, (size_t)picture->bytes);     /* a receipt has no file */
        bulk_ended(&b->bulk, w, NULL);
    } else
        reply_picture(b, request, picture, queue_ms < 0 ? 0 : queue_ms, w->warning);
    detach(b, w);
}

/* Nobody, or one piece of bulk work, waits: few will ask for it again. */
static enum cache_interest interest_in(const struct render *render)
{
    const struct waiter *first = render->waiters;

    return !first || (!first->next && first->level == MESSAGE_LOW) ? CACHE_BULK : CACHE_ASKED;
}

/* A result may have been on its way while its subject was withdrawn. Who was given the work after
 * that was heard of has committed after it: the ledger would have refused. */
static bool may_be_withdrawn(const struct broker *b, const struct render *render,
                             const struct picture *picture)
{
    int64_t lease = render->lease ? render->lease->number : render->last_lease;

    return picture->source == MESSAGE_SOURCE_RENDER && lease <= b->withdrawn_lease;
}

/* Whether the worker did for it what it asks for: who joined a render under way may want a file
 * that nobody wanted before, or one put back into the ledger. */
static bool is_served(const struct waiter *w, const struct picture *picture)
{
    const struct lease *lease = w->render->lease;
    uint8_t keep = lease ? lease->keep : MESSAGE_KEEP_IMAGE;

    if (!picture->jpeg && w->request->want == MESSAGE_WANT_IMAGE)
        return false;
    return w->request->keep != MESSAGE_KEEP_REFILL || keep == MESSAGE_KEEP_REFILL;
}

void render_take_result(struct broker *b, struct render *render, const struct picture *picture,
                        int64_t now_ms)
{
    bool all_served = true;
    struct waiter *w, *next;

    DL_FOREACH(render->waiters, w)
        all_served = all_served && is_served(w, picture);
    if (all_served) {
        render_finish(b, render, picture);
        return;
    }
    DL_FOREACH_SAFE(render->waiters, w, next)
        if (is_served(w, picture))
            answer_picture(b, w, picture);
    if (b->draining) {
        render_refer(b, render);
        return;
    }
    queue_remove_render(&b->queue, render);
    if (render->lease)
        renders_clear_lease(&b->renders, render);
    renders_set_state(&b->renders, render, RENDER_LOOKUP, now_ms);
    render_start(b, render, now_ms);
}

void render_finish(struct broker *b, struct render *render, const struct picture *picture)
{
    struct waiter *w, *next;

    queue_remove_render(&b->queue, render);
    if (picture->jpeg && ledger_is_fine(b) && !may_be_withdrawn(b, render, picture))
        cache_put(&b->cache, picture, interest_in(render));
    DL_FOREACH_SAFE(render->waiters, w, next)
        answer_picture(b, w, picture);
    renders_end(&b->renders, render);
}

void render_finish_only(struct broker *b, struct render *render, const struct picture *picture)
{
    struct waiter *w, *next;

    DL_FOREACH_SAFE(render->waiters, w, next)
        if (w->only)
            answer_picture(b, w, picture);
    settle(b, render);
}

void render_fail(struct broker *b, struct render *render, enum err_code code,
                 const char *fmt, ...)
{
    struct waiter *w, *next;
    char words[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    queue_remove_render(&b->queue, render);
    DL_FOREACH_SAFE(render->waiters, w, next)
        answer_error(b, w, code, words);
    renders_end(&b->renders, render);
}

void render_withdraw(struct broker *b, const struct recipe *recipe)
{
    struct render *r, *next_render;
    struct waiter *w, *next;

    HASH_ITER(hh, b->renders.by_key, r, next_render) {
        if (r->seed != recipe->seed || r->class_index != recipe->class_index ||
            !digest_equal(&r->model->digest, &recipe->model))
            continue;
        DL_FOREACH_SAFE(r->waiters, w, next)     /* the last one may end the render */
            waiter_fail(b, w, ERR_WITHDRAWN, "this picture has been withdrawn");
    }
}

/* ---- those who leave ---- */

void worker_lost(struct broker *b, struct worker *worker, int64_t now_ms, const char *why)
{
    struct lease *l, *next;

    log_event(worker->leased ? LOG_WARN : LOG_INFO, "worker_lost",
              "worker=%s reason=\"%s\" leases=%zu", worker->name, why, worker->leased);
    b->count.workers_lost += !worker->left;
    b->count.leases_lost += (int64_t)worker->leased;
    DL_FOREACH_SAFE(worker->leases, l, next) {
        if (l->render->state == RENDER_RENDERING)
            blame_add(&b->blame, worker->name, worker->serial, &l->render->key);
        render_lost(b, l->render, now_ms, "its worker died");
    }
    roster_remove(&b->roster, worker);
}

void client_gone(struct broker *b, struct client *client)
{
    client->gone = true;             /* nothing more is sent to it */
    while (client->requests)
        request_drop(b, client->requests);
    clients_end(&b->clients, client);
}

/* ---- to the workers ---- */

/* The strongest wish of those who wait: a file put back is a file kept. */
static enum message_keep stronger(enum message_keep a, enum message_keep b)
{
    if (a == MESSAGE_KEEP_REFILL || b == MESSAGE_KEEP_REFILL)
        return MESSAGE_KEEP_REFILL;
    return a == MESSAGE_KEEP_IMAGE ? a : b;
}

static void fill_job(struct message_job *job, struct recipe_text *text, const struct render *render,
                     int64_t now_ms)
{
    struct recipe recipe = render_recipe(render);
    int64_t deadline_ms = INT64_MAX;
    const struct waiter *w;

    *text = recipe_text(&recipe);
    *job = (struct message_job){
        .lease = render->lease->number, .recipe = { text->text, text->len },
        .priority = render_level(render), .alone = render->attempts > 0,
        .want = MESSAGE_WANT_RECEIPT, .keep = MESSAGE_KEEP_PROVENANCE,
    };
    DL_FOREACH(render->waiters, w) {
        const struct request *request = w->request;

        deadline_ms = w->deadline_ms < deadline_ms ? w->deadline_ms : deadline_ms;
        if (request->want == MESSAGE_WANT_IMAGE)
            job->want = MESSAGE_WANT_IMAGE;
        job->keep = stronger((enum message_keep)job->keep, (enum message_keep)request->keep);
        if (job->bulk == 0)
            job->bulk = request->job;
    }
    job->deadline_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
    render->lease->want = (uint8_t)job->want;
    render->lease->keep = (uint8_t)job->keep;
}

/* Ends a waiter whose turn has come too late for its deadline. */
static bool is_too_late(struct broker *b, const struct worker *worker, struct waiter *w,
                        int64_t now_ms)
{
    if (!w || admission_fits(&b->roster, worker, w->render->model, w->deadline_ms - now_ms, now_ms))
        return false;
    b->count.expired++;
    waiter_fail(b, w, ERR_DEADLINE,
                "its turn came %lld ms before its deadline of %lld ms, which is too late for a "
                "picture of this model",
                (long long)(w->deadline_ms - now_ms), (long long)(w->deadline_ms - w->arrived_ms));
    return true;
}

/* The next render for the worker, leased; NULL: there is none, or no memory for its lease. */
static struct render *lease_next(struct broker *b, struct worker *worker, int lowest,
                                 int64_t now_ms)
{
    struct render *r;
    struct pick pick;
    int64_t cost_us;

    do {
        if (!queue_peek(&b->queue, &b->roster, worker, lowest, &pick))
            return NULL;
    } while (is_too_late(b, worker, pick.waiter, now_ms));
    r = pick.render;
    cost_us = roster_picture_us(&b->roster, worker, r->model);
    if (!renders_set_lease(&b->renders, r, worker, ++b->last_lease, cost_us))
        return NULL;
    queue_take(&b->queue, worker, &pick, cost_us);
    meter_dispatched(b, r, now_ms);
    renders_set_state(&b->renders, r, RENDER_HELD, now_ms);
    r->lease->dispatched_ms = now_ms;
    return r;
}

/* What one message should bring to do: less is not worth it to spread a short queue. */
enum { MESSAGE_WORTH_US = 300 };

/* Leases renders of levels 0..lowest to worker, in one message: share of them, or as many as are
 * worth it, and at most room. Returns how many. */
static size_t lease_to(struct broker *b, struct worker *worker, size_t share, size_t room,
                       int lowest, int64_t now_ms)
{
    struct message_job jobs[MESSAGE_JOBS_MAX];
    struct recipe_text texts[MESSAGE_JOBS_MAX];
    struct render *leased[MESSAGE_JOBS_MAX];
    struct message m;
    int64_t worth_us = 0;
    size_t count = 0;

    if (worker->leased == 0)
        worker->progress_ms = now_ms;        /* it was idle: its clock of progress starts now */
    while (count < room && count < MESSAGE_JOBS_MAX &&
           (count < share || worth_us < MESSAGE_WORTH_US)) {
        struct render *r = lease_next(b, worker, lowest, now_ms);

        if (!r)
            break;
        fill_job(&jobs[count], &texts[count], r, now_ms);
        worth_us += r->lease->cost_us;
        leased[count++] = r;
    }
    if (count == 0)
        return 0;
    message_init(&m, MESSAGE_JOBS, 0);
    m.jobs.jobs = (struct records){ jobs, count };
    if (!send_worker(b, worker, &m)) {
        worker->credit = 0;          /* until its next heartbeat */
        for (size_t i = 0; i < count; i++)
            render_return(b, leased[i], now_ms);
        return 0;
    }
    return count;
}

static void fill_worker(struct broker *b, struct worker *worker, size_t share, int lowest,
                        int64_t now_ms)
{
    while (share > 0) {
        size_t got = lease_to(b, worker, share, worker_room(worker, lowest), lowest, now_ms);

        if (got == 0)
            return;
        share -= got < share ? got : share;
    }
}

void dispatch(struct broker *b, int64_t now_ms)
{
    size_t queued = b->renders.count[RENDER_QUEUED], workers = HASH_COUNT(b->roster.by_peer);

    if (queued == 0 || workers == 0)
        return;
    /* Everybody gets a share first, to spread a short queue; then who has room takes more; then
     * what is urgent takes the express places of those who are full. */
    for (size_t share = (queued + workers - 1) / workers, round = 0; round < 2; round++)
        for (struct worker *w = b->roster.by_peer; w; w = w->hh.next) {
            size_t room = worker_room(w, MESSAGE_LOW);

            fill_worker(b, w, round == 0 && share < room ? share : room, MESSAGE_LOW, now_ms);
        }
    if (b->queue.count[MESSAGE_HIGH] + b->queue.front_count > 0)
        for (struct worker *w = b->roster.by_peer; w; w = w->hh.next)
            fill_worker(b, w, worker_room(w, MESSAGE_HIGH), MESSAGE_HIGH, now_ms);
}
