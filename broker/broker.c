#include "broker/core.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    SECOND_MS = 1000,
    NAMES_MS = 2000,                /* how old the ledger's bindings may be */
    FLUSH_MS = 5,                   /* how soon a full socket is tried again */
    STALL_MIN_MS = 2000,            /* less would be a hiccup of the machine, not a stall */
    ACCOUNTS_SWEEP = 1000,          /* idle accounts looked at each second */
    CLIENT_IDLE_MS = 60000,         /* a client that asks nothing is forgotten */
};

static bool is_due_earlier(const void *a, const void *b)
{
    return ((const struct waiter *)a)->deadline_ms < ((const struct waiter *)b)->deadline_ms;
}

enum err_code broker_create(const struct broker_options *options, struct link *client_link,
                            struct link *worker_link, struct scribe *scribe, int64_t now_ms,
                            struct broker **out, struct err *e)
{
    struct broker *b = calloc(1, sizeof *b);

    *out = b;
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for the broker");
    b->options = *options;
    b->clients.link = client_link;
    b->clients.outbox_max = options->outbox_max;
    b->clients.outbox_total_max = options->outbox_total_max;
    b->worker_link = worker_link;
    b->scribe = scribe;
    b->started_ms = now_ms;
    b->last_lease = options->first_lease;
    cache_init(&b->cache, options->cache_bytes, now_ms);
    b->next_second_ms = now_ms;
    b->accounts.rate = options->client_rate;
    b->accounts.burst = options->client_burst;
    queue_init(&b->queue, &b->accounts, options->affinity_ms);
    heap_init(&b->deadlines, offsetof(struct waiter, deadline_place), is_due_earlier);
    bulk_init(&b->bulk, options, now_ms);
    if (meter_init(&b->meter, now_ms, e)) {
        broker_destroy(out);
        return e->code;
    }
    return ERR_OK;
}

void broker_destroy(struct broker **self)
{
    struct broker *b = *self;
    struct client *client, *next;
    struct parked *p, *p_next;

    if (!b)
        return;
    HASH_ITER(hh, b->clients.by_peer, client, next)
        client_gone(b, client);
    bulk_release(b);
    renders_release(&b->renders);
    roster_release(&b->roster);
    clients_release(&b->clients);
    queue_release(&b->queue);
    accounts_release(&b->accounts);
    models_release(&b->models);
    connections_release(&b->client_connections);
    connections_release(&b->worker_connections);
    blame_release(&b->blame);
    cache_release(&b->cache);
    heap_release(&b->deadlines);
    DL_FOREACH_SAFE(b->parked, p, p_next) {
        parcel_release(&p->parcel);
        free(p);
    }
    meter_release(&b->meter);
    free(b);
    *self = NULL;
}

/* ---- what is due ---- */

bool ledger_is_fine(const struct broker *b)
{
    return b->options.without_ledger || scribe_ledger_is_up(b->scribe);
}

/* The ledger may answer the broker's look-ups and yet take nothing, as with a full disk. Of one that
 * hangs, whichever thread waits for it hears first. */
static bool ledger_works(const struct broker *b)
{
    const struct scribe *others[] = { b->options.bulk_scribe, b->options.finder_scribe };

    if (b->options.without_ledger)
        return true;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i] && !scribe_ledger_is_up(others[i]))
            return false;
    return scribe_ledger_is_up(b->scribe) && roster_can_store(&b->roster);
}

static void end_deadlines(struct broker *b, int64_t now_ms)
{
    struct waiter *w;

    while ((w = heap_peek(&b->deadlines)) && w->deadline_ms <= now_ms) {
        b->count.expired++;
        if (ledger_works(b))
            waiter_fail(b, w, ERR_DEADLINE, "no picture within the deadline of %lld ms",
                        (long long)(w->deadline_ms - w->arrived_ms));
        else
            waiter_fail(b, w, ERR_LEDGER_DOWN,
                        "the ledger takes no pictures now: it is down, "
                        "unreachable or its disk is full");
    }
}

/* Renders that have waited long enough for the look-up go on without it; where everybody wants a
 * stored picture only, the look-up gets another turn. */
static void end_lookups(struct broker *b, int64_t now_ms)
{
    struct render *first = b->renders.lookups, *last = first ? first->prev : NULL, *r = NULL;

    /* Another turn puts it behind last, so that each is met once. */
    while (r != last && (r = b->renders.lookups) && now_ms >= r->since_ms + b->options.lookup_ms)
        if (render_is_wanted(r))
            render_enqueue(b, r, now_ms);
        else
            renders_set_state(&b->renders, r, RENDER_LOOKUP, now_ms);
}

/* Progress comes once a batch. The next one may be larger than any before: as large as all that it
 * holds of a model. */
static int64_t stall_bound(const struct broker *b, const struct worker *w)
{
    int64_t held_us = roster_held_us(&b->roster, w), measured = 3 * (held_us / 1000);

    if (held_us == 0)
        return b->options.stall_ms;
    return measured > STALL_MIN_MS ? measured : STALL_MIN_MS;
}

/* Hung: alive, but nothing moves. What waits for its commit counts only when the ledger works, and
 * has shown it since: one that is frozen is known to be down only seconds later. */
static void end_stalled(struct broker *b, struct worker *w, int64_t now_ms)
{
    int64_t due_ms = w->progress_ms + stall_bound(b, w);
    struct lease *l, *next;
    bool ledger_up = ledger_works(b);
    size_t ended = 0;

    if (w->leased == 0 || now_ms < due_ms)
        return;
    DL_FOREACH_SAFE(w->leases, l, next) {
        if (l->render->state == RENDER_COMMITTING && (!ledger_up || b->ledger_seen_ms < due_ms))
            continue;
        ended++;
        render_lost(b, l->render, now_ms, "its worker made no progress");
    }
    if (ended > 0) {
        b->count.workers_lost++;
        b->count.leases_lost += (int64_t)ended;
        log_event(LOG_WARN, "worker_stalled", "worker=%s leases=%zu", w->name, ended);
        w->stalled = true;
    } else if (!ledger_up)
        w->progress_ms = now_ms;     /* it has its whole time again once the ledger is back */
}

static void check_workers(struct broker *b, int64_t now_ms)
{
    struct worker *w, *next;
    struct message heartbeat;

    message_init(&heartbeat, MESSAGE_HEARTBEAT, 0);
    HASH_ITER(hh, b->roster.by_peer, w, next) {
        heartbeat.heartbeat.demand = (int64_t)queue_demand(&b->queue, w);
        send_worker(b, w, &heartbeat);
        w->handbacks = 0;
        if (w->gone)
            worker_lost(b, w, now_ms, "its connection is gone");
        else if (now_ms - b->options.silence_ms > w->heard_ms)
            worker_lost(b, w, now_ms, "it is silent");
        else
            end_stalled(b, w, now_ms);
    }
}

/* Models that nobody serves any more: what waits for them ends after the grace. */
static void check_models(struct broker *b, int64_t now_ms)
{
    struct render *r;
    struct err e;

    for (struct model_entry *m = b->models.by_digest; m; m = m->hh.next) {
        if (roster_has_model(&b->roster, m))
            m->served_ms = now_ms;
        if (now_ms < m->served_ms + b->options.grace_ms || !queue_any(&b->queue, m))
            continue;
        models_no_worker(models_name_of(&b->models, &m->digest), &m->digest, &e);
        while ((r = queue_any(&b->queue, m)))
            render_fail(b, r, e.code, "%s", e.msg);
    }
}

static void ask_names(struct broker *b, int64_t now_ms)
{
    struct errand *errand;

    if (b->names_asked_ms && now_ms < b->names_asked_ms + NAMES_MS)
        return;
    if (!scribe_ledger_is_up(b->scribe) || !(errand = errand_create(ERRAND_NAMES)))
        return;
    b->names_asked_ms = now_ms;
    if (!scribe_ask(b->scribe, errand))
        errand_destroy(&errand);
}

static void sweep_clients(struct broker *b, int64_t now_ms)
{
    struct client *c, *next;

    HASH_ITER(hh, b->clients.by_peer, c, next)
        if (c->gone)
            client_gone(b, c);
        else if (!c->requests && !c->outbox.first && now_ms > c->seen_ms + CLIENT_IDLE_MS)
            clients_end(&b->clients, c);
}

/* What has not finished by the end of a drain gets an answer all the same. */
static void end_drain(struct broker *b, int64_t now_ms)
{
    struct render *r, *next;

    if (!b->draining || now_ms < b->drain_since_ms + b->options.drain_ms)
        return;
    HASH_ITER(hh, b->renders.by_key, r, next)
        render_refer(b, r);
}

static void every_second(struct broker *b, int64_t now_ms)
{
    if (now_ms < b->next_second_ms)
        return;
    b->next_second_ms = now_ms + SECOND_MS;
    check_workers(b, now_ms);
    check_models(b, now_ms);
    sweep_clients(b, now_ms);
    accounts_sweep(&b->accounts, now_ms, ACCOUNTS_SWEEP);
    if (now_ms >= b->started_ms + b->options.grace_ms)
        retry_parked(b, now_ms);     /* no longer early: they get their answer */
}

/* ---- connections ---- */

void broker_check_connections(struct broker *b, bool is_drained, int64_t now_ms)
{
    struct address peer;

    if (!connections_may_check(&b->worker_connections, is_drained))
        return;
    connections_check(&b->worker_connections, b->worker_link);
    connections_check(&b->client_connections, b->clients.link);
    while (connections_take(&b->worker_connections, &peer)) {
        struct worker *w = roster_find(&b->roster, &peer);

        if (w)
            worker_lost(b, w, now_ms, "its connection closed");
    }
    while (connections_take(&b->client_connections, &peer)) {
        struct client *c = clients_find(&b->clients, &peer);

        drop_parked(b, &peer);
        if (c)
            client_gone(b, c);
    }
}

int64_t broker_tick(struct broker *b, int64_t now_ms)
{
    struct errand *errand;
    const struct waiter *w;
    int64_t wake_ms, parked_ms, bulk_ms;

    while ((errand = scribe_answer(b->scribe)))
        take_errand(b, errand, now_ms);
    while (b->options.finder_scribe && (errand = scribe_answer(b->options.finder_scribe)))
        take_alike(b, errand, now_ms);
    if (b->options.without_ledger)
        b->ledger_seen_ms = now_ms;  /* no commit waits for it */
    if (ledger_is_fine(b))
        cache_trust(&b->cache, now_ms);
    end_deadlines(b, now_ms);
    parked_ms = end_parked(b, now_ms);
    end_lookups(b, now_ms);
    every_second(b, now_ms);
    ask_names(b, now_ms);
    end_drain(b, now_ms);
    bulk_ms = bulk_turn(b, now_ms);
    dispatch(b, now_ms);
    clients_flush(&b->clients);
    meter_turn(b, now_ms);

    wake_ms = b->next_second_ms < parked_ms ? b->next_second_ms : parked_ms;
    wake_ms = bulk_ms < wake_ms ? bulk_ms : wake_ms;
    if ((w = heap_peek(&b->deadlines)) && w->deadline_ms < wake_ms)
        wake_ms = w->deadline_ms;
    if (b->renders.count[RENDER_LOOKUP] > 0 && now_ms + b->options.lookup_ms < wake_ms)
        wake_ms = now_ms + b->options.lookup_ms;
    if (b->draining && b->drain_since_ms + b->options.drain_ms < wake_ms)
        wake_ms = b->drain_since_ms + b->options.drain_ms;
    if (b->clients.letters > 0 && now_ms + FLUSH_MS < wake_ms)
        wake_ms = now_ms + FLUSH_MS;
    return wake_ms;
}

/* ---- keys that are taken away ---- */

static void recheck_client(struct broker *b, struct client *client)
{
    struct err e;

    if (!client->access.is_known)
        return;
    access_update(&client->access, b->options.keyring, NULL);
    if (!access_check_port(&client->access, LINK_CLIENTS, &e))
        return;
    while (client->requests)
        waiter_fail(b, client->requests->waiters, e.code, "%s", e.msg);
}

void broker_recheck(struct broker *b, int64_t now_ms)
{
    struct client *client, *next_client;
    struct worker *w, *next;
    struct err e;

    HASH_ITER(hh, b->clients.by_peer, client, next_client)
        recheck_client(b, client);
    HASH_ITER(hh, b->roster.by_peer, w, next) {
        access_update(&w->access, b->options.keyring, NULL);
        if (access_check_port(&w->access, LINK_WORKERS, &e))
            worker_lost(b, w, now_ms, e.msg);
    }
    retry_parked(b, now_ms);         /* those whose sender may not ask any more are told */
}

/* ---- drain ---- */

void broker_drain(struct broker *b, int64_t now_ms)
{
    struct render *r, *next;
    struct message drain;

    if (b->draining) {
        b->options.drain_ms = 0;     /* enough */
        return;
    }
    b->draining = true;
    b->drain_since_ms = now_ms;
    message_init(&drain, MESSAGE_DRAIN, 0);
    for (struct worker *w = b->roster.by_peer; w; w = w->hh.next)
        send_worker(b, w, &drain);
    retry_parked(b, now_ms);
    bulk_drain(b);
    HASH_ITER(hh, b->renders.by_key, r, next)
        if (r->state < RENDER_RENDERING)
            render_refer(b, r);
}

bool broker_is_drained(const struct broker *b, int64_t now_ms)
{
    bool working = b->renders.count[RENDER_RENDERING] + b->renders.count[RENDER_COMMITTING] > 0;

    return b->draining && ((!working && b->asking == 0 && b->clients.letters == 0 &&
                            bulk_is_idle(&b->bulk)) ||
                           now_ms >= b->drain_since_ms + b->options.drain_ms);
}

/* ---- for the port for monitoring ---- */

const struct metrics *broker_metrics(const struct broker *b)
{
    return b->meter.metrics;
}

const struct health *broker_health(const struct broker *b)
{
    return &b->meter.health;
}
