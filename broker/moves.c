/* The moves of a render through its states; README.md has the table that this file is. */
#include "broker/core.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- waiters ---- */

struct waiter *waiter_add(struct broker *b, struct render *render, struct request *request,
                          const struct message_generate *g, const char *warning,
                          int64_t arrived_ms)
{
    struct waiter *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->render = render;
    w->request = request;
    w->level = (int)g->priority;
    w->arrived_ms = arrived_ms;
    w->deadline_ms = arrived_ms + g->deadline_ms;
    w->only = g->cache == MESSAGE_CACHE_ONLY;
    w->warning = warning;
    if (!heap_push(&b->deadlines, w)) {
        free(w);
        return NULL;
    }
    DL_APPEND(render->waiters, w);
    DL_APPEND2(request->waiters, w, request_prev, request_next);
    request->client->waiting++;
    b->waiters++;
    if (render->state == RENDER_QUEUED && !w->only && !render->at_front)
        queue_add(&b->queue, w);
    return w;
}

static void end_request(struct broker *b, struct request *request)
{
    struct message done;

    if (request->many) {
        message_init(&done, MESSAGE_DONE, request->id);
        done.done = (struct message_done){ request->count, request->failed };
        reply_message(b, request->client, &request->to, &done, NULL);
    }
    DL_DELETE(request->client->requests, request);
    free(request);
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
    request->client->waiting--;
    b->waiters--;
    free(w);
    request_end_if_done(b, request);
}

/* A waiter has gone: is its render still wanted? */
static void settle(struct broker *b, struct render *render)
{
    struct message recall;

    if (render->waiters && (render_is_wanted(render) || render->state == RENDER_LOOKUP))
        return;
    switch (render->state) {
    case RENDER_LOOKUP:
        renders_end(&b->renders, render);
        break;
    case RENDER_QUEUED:
        queue_remove_render(&b->queue, render);
        if (render->waiters)         /* they would have taken a stored one only */
            render_fail(b, render, ERR_NOT_FOUND, "this picture is not stored");
        else
            renders_end(&b->renders, render);
        break;
    case RENDER_HELD:
        message_init(&recall, MESSAGE_RECALL, 0);
        recall.leases.leases = (struct numbers){ &render->lease, 1 };
        send_worker(b, render->worker, &recall);
        render->recalled = true;
        break;
    default:
        break;                       /* it finishes and is stored: the work is done anyway */
    }
}

static void answer_error(struct broker *b, struct waiter *w, enum err_code code, const char *words)
{
    struct err e;

    err_set(&e, code, "%s", words);
    w->request->count++;
    w->request->failed++;
    b->count.failed++;
    reply_error(b, w->request->client, &w->request->to, w->request->id, w->render->recipe.seed, &e);
    detach(b, w);
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

static void waiter_drop(struct broker *b, struct waiter *waiter)
{
    struct render *render = waiter->render;

    b->count.cancelled++;
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

void render_fail_only(struct broker *b, struct render *render, enum err_code code,
                      const char *words)
{
    struct waiter *w, *next;

    DL_FOREACH_SAFE(render->waiters, w, next)
        if (w->only)
            answer_error(b, w, code, words);
    settle(b, render);
}

void render_start(struct broker *b, struct render *render, int64_t now_ms)
{
    if (ask_ledger(b, render))
        return;
    render_enqueue(b, render, now_ms);
    render_fail_only(b, render, ERR_LEDGER_DOWN, "the ledger cannot be reached now");
}

void render_enqueue(struct broker *b, struct render *render, int64_t now_ms)
{
    struct waiter *w;

    renders_set_state(&b->renders, render, RENDER_QUEUED, now_ms);
    DL_FOREACH(render->waiters, w)
        if (!w->only)
            queue_add(&b->queue, w);
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
    render->avoid = render->worker->serial;
    if (++render->attempts < b->options.attempts_max) {
        render_return(b, render, now_ms);
        return;
    }
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
    int64_t queue_ms = w->render->dispatched_ms - w->arrived_ms;

    if (*request->require_class && strcmp(request->require_class, picture->numerics_class) != 0) {
        char words[200];

        snprintf(words, sizeof words, "the picture was made by %s, not %s",
                 picture->numerics_class, request->require_class);
        answer_error(b, w, ERR_CLASS_CONFLICT, words);
        return;
    }
    request->count++;
    b->count.answered++;
    reply_picture(b, request, picture, queue_ms < 0 ? 0 : queue_ms, w->warning);
    detach(b, w);
}

/* Nobody, or one piece of bulk work, waits: few will ask for it again. */
static enum cache_interest interest_in(const struct render *render)
{
    const struct waiter *first = render->waiters;

    return !first || (!first->next && first->level == MESSAGE_LOW) ? CACHE_BULK : CACHE_ASKED;
}

void render_finish(struct broker *b, struct render *render, const struct picture *picture)
{
    struct waiter *w, *next;

    queue_remove_render(&b->queue, render);
    keep_picture(b, picture, interest_in(render));
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

/* ---- those who leave ---- */

void worker_lost(struct broker *b, struct worker *worker, int64_t now_ms, const char *why)
{
    struct render *r, *next;

    log_event(worker->leased ? LOG_WARN : LOG_INFO, "worker_lost",
              "worker=%s reason=\"%s\" leases=%zu", worker->name, why, worker->leased);
    DL_FOREACH_SAFE2(worker->leases, r, next, lease_next) {
        if (r->state == RENDER_RENDERING)
            blame_add(&b->blame, worker->name, worker->serial, &r->key);
    b->count.workers_lost += !worker->left;
    b->count.leases_lost += (int64_t)worker->leased;
    DL_FOREACH_SAFE2(worker->leases, r, next, lease_next)
        render_lost(b, r, now_ms, "its worker died");
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

struct parting {                    /* what a worker is offered in one message */
    struct broker *b;
    struct worker *worker;
};

static bool accepts(void *arg, const struct render *render)
{
    const struct parting *p = arg;

    if (!worker_has_model(p->worker, &render->recipe.model))
        return false;
    return render->avoid != p->worker->serial ||
           !roster_has_other(&p->b->roster, p->worker, &render->recipe.model);
}

static void fill_job(struct message_job *job, struct recipe_text *text, const struct render *render,
                     int64_t now_ms)
{
    int level = MESSAGE_LOW;
    int64_t deadline_ms = INT64_MAX;
    const struct waiter *w;

    DL_FOREACH(render->waiters, w) {
        level = w->level < level ? w->level : level;
        deadline_ms = w->deadline_ms < deadline_ms ? w->deadline_ms : deadline_ms;
    }
    *text = recipe_text(&render->recipe);
    *job = (struct message_job){
        .lease = render->lease, .recipe = { text->text, text->len }, .priority = level,
        .deadline_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0,
        .alone = render->attempts > 0,
    };
}

/* Leases up to most renders to worker, in one message. Returns how many. */
static size_t lease_to(struct broker *b, struct worker *worker, size_t most, int64_t now_ms)
{
    struct message_job jobs[MESSAGE_JOBS_MAX];
    struct recipe_text texts[MESSAGE_JOBS_MAX];
    struct render *leased[MESSAGE_JOBS_MAX];
    struct parting parting = { b, worker };
    struct message m;
    size_t count = 0;

    while (count < most && count < MESSAGE_JOBS_MAX) {
        struct render *r = queue_next(&b->queue, accepts, &parting);

        if (!r)
            break;
        if (worker->leased == 0)
            worker->progress_ms = now_ms;    /* it was idle: its clock of progress starts now */
        renders_set_state(&b->renders, r, RENDER_HELD, now_ms);
        renders_set_lease(&b->renders, r, worker, ++b->last_lease);
        meter_dispatched(b, r, now_ms);
        r->dispatched_ms = now_ms;
        fill_job(&jobs[count], &texts[count], r, now_ms);
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

void dispatch(struct broker *b, int64_t now_ms)
{
    size_t queued = b->renders.count[RENDER_QUEUED], workers = HASH_COUNT(b->roster.by_peer);

    if (queued == 0 || workers == 0)
        return;
    /* Everybody gets a share first, to spread a short queue; then who has room takes more. */
    for (size_t share = (queued + workers - 1) / workers, round = 0; round < 2; round++)
        for (struct worker *w = b->roster.by_peer; w; w = w->hh.next) {
            size_t room = worker_room(w), most = round == 0 && share < room ? share : room;

            while (most > 0) {
                size_t got = lease_to(b, w, most, now_ms);

                if (got == 0)
                    break;
                most -= got;
            }
        }
}
