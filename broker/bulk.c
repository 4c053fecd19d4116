#include "broker/core.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    SECOND_MS = 1000,               /* how soon a new job, or a chunk that came back, is seen */
    RENEWALS = 3,                   /* of a lease */
    FEED_MAX = 256,                 /* pictures queued in one turn of the loop */
    DEADLINE_MS = 3600000,          /* the longest that there is; then it is queued again */
    PAUSE_MIN_MS = 1000, PAUSE_MAX_MS = 60000,
    SHUN_MS = 30000,
};

/* Of an item. */
enum item_state { ITEM_MISSING, ITEM_WAITING, ITEM_ENDED };

struct bulk_chunk {
    struct ledger_chunk lease;
    struct bulk_items items;
    uint8_t *state;                 /* owned, enum item_state, [count]; NULL with items.keys */
    int missing, waiting;           /* items in these states */
    int next;                       /* where to look for a missing one */
    struct request *request;        /* whose waiters they are; NULL: none waits */
    struct ledger_failure *failures;            /* owned, [failure_count of failure_cap] */
    size_t failure_count, failure_cap;
    bool is_asked;                  /* an errand of its own is on its way and points here */
    bool is_stopped;                /* its job is not running, or this broker leaves */
    bool is_lost;                   /* it is another's */
    int64_t pause_ms, retry_ms;     /* nothing is tried before; how long the last pause was */
    int64_t unserved_ms;            /* since when nobody here has a model of it; 0: somebody has */
    struct bulk_chunk *prev, *next_chunk;
};

/* A chunk of another broker, as it stands. */
struct bulk_watched {
    int64_t place[2];               /* the key: job, item */
    struct ledger_chunk chunk;
    int64_t since_ms;               /* no later seen otherwise */
    int64_t stood_ms;               /* for how long it was seen to stand */
    bool is_there;                  /* in this look */
    UT_hash_handle hh;
};

/* ---- the ledger's thread ---- */

bool bulk_ask(struct bulk *self, const struct bulk_question *question, void *extra, struct err *e)
{
    struct errand *errand = extra ? errand_create(ERRAND_CALL) : NULL;

    if (!errand) {
        if (extra)
            question->end_extra(extra);
        err_set(e, ERR_NOMEM, "no memory for another errand to the ledger");
        return false;
    }
    errand->call = question->call;
    errand->extra = extra;
    errand->end_extra = question->end_extra;
    errand->take = question->take;
    errand->to = question->to;
    errand->id = question->id;
    if (self->scribe && scribe_ask(self->scribe, errand)) {
        self->errands++;
        return true;
    }
    errand_destroy(&errand);
    if (self->scribe)
        err_set(e, ERR_OVERLOADED, "too many errands of bulk jobs wait for the ledger");
    else
        err_set(e, ERR_LEDGER_DOWN, "this broker has no ledger, and bulk jobs live there");
    return false;
}

/* ---- chunks ---- */

static void pause_chunk(struct bulk_chunk *c, int64_t now_ms)
{
    if (now_ms < c->retry_ms)
        return;
    c->pause_ms = c->pause_ms * 2 < PAUSE_MIN_MS ? PAUSE_MIN_MS : c->pause_ms * 2;
    if (c->pause_ms > PAUSE_MAX_MS)
        c->pause_ms = PAUSE_MAX_MS;
    c->retry_ms = now_ms + c->pause_ms;
}

static void forget_items(struct bulk_chunk *c)
{
    bulk_items_release(&c->items);
    free(c->state);
    free(c->failures);
    c->state = NULL;
    c->failures = NULL;
    c->failure_count = c->failure_cap = 0;
    c->missing = 0;
}

/* Nothing of it waits any more. */
static void end_chunk(struct bulk *self, struct bulk_chunk *c)
{
    DL_DELETE2(self->chunks, c, prev, next_chunk);
    self->chunk_count--;
    self->may_open = true;
    forget_items(c);
    free(c);
}

static void take_returned(struct broker *b, struct errand *errand, int64_t now_ms)
{
    (void)b;
    (void)now_ms;
    if (errand->rc)
        log_event(LOG_WARN, "bulk_return_failed", "reason=\"%s\"", errand->err.msg);
}

/* Others may have it at once. If the ledger cannot be told, they see it stand still. */
static void give_back(struct broker *b, struct bulk_chunk *c)
{
    struct ledger_chunk *lease = malloc(sizeof *lease);
    struct err e;

    if (lease)
        *lease = c->lease;
    if (!bulk_ask(&b->bulk, &(struct bulk_question){ .call = bulk_return_call, .end_extra = free,
                                                     .take = take_returned }, lease, &e))
        log_event(LOG_WARN, "bulk_return_failed", "reason=\"%s\"", e.msg);
    log_event(LOG_INFO, "bulk_return", "job=%lld item=%lld", (long long)c->lease.job,
              (long long)c->lease.item);
    end_chunk(&b->bulk, c);
}

/* What has not started. */
static void drop_early(struct broker *b, struct bulk_chunk *c)
{
    struct waiter *w, *next;

    if (!c->request)
        return;
    c->request->left++;              /* so that it outlives the loop */
    DL_FOREACH_SAFE2(c->request->waiters, w, next, request_next)
        if (w->render->state < RENDER_RENDERING)
            waiter_drop(b, w);
    request_end_if_done(b, c->request);
}

static void stop_chunk(struct broker *b, struct bulk_chunk *c)
{
    if (!c->is_stopped)
        drop_early(b, c);
    c->is_stopped = true;
}

static void lose_chunk(struct broker *b, struct bulk_chunk *c)
{
    log_event(LOG_WARN, "bulk_lost", "job=%lld item=%lld epoch=%lld", (long long)c->lease.job,
              (long long)c->lease.item, (long long)c->lease.epoch);
    c->is_lost = true;
    if (c->request)
        request_drop(b, c->request);
}

/* ---- its items ---- */

static bool add_failure(struct bulk_chunk *c, int64_t item, const struct err *e)
{
    if (c->failure_count == c->failure_cap) {
        size_t cap = c->failure_cap ? c->failure_cap * 2 : 16;
        struct ledger_failure *more = realloc(c->failures, cap * sizeof *more);

        if (!more)
            return false;
        c->failures = more;
        c->failure_cap = cap;
    }
    struct ledger_failure *f = &c->failures[c->failure_count++];

    f->item = item;
    snprintf(f->code, sizeof f->code, "%s", err_info(e->code)->word);
    snprintf(f->message, sizeof f->message, "%s", e->msg);
    return true;
}

void bulk_ended(struct bulk *self, const struct waiter *waiter, const struct err *e)
{
    struct bulk_chunk *c = waiter->request->chunk;
    bool dropped = e && e->code == ERR_CANCELLED;
    bool passes = e && (dropped || err_info(e->code)->retry);

    self->waiters--;
    c->waiting--;
    if (e && !passes && !add_failure(c, c->lease.item + waiter->item, e))
        passes = true;               /* no memory: it will fail again */
    c->state[waiter->item] = passes ? ITEM_MISSING : ITEM_ENDED;
    c->missing += passes;
    if (!e)
        c->pause_ms = 0;
    else if (passes && !dropped)
        pause_chunk(c, self->now_ms);
}

void bulk_request_ended(struct bulk_chunk *chunk)
{
    chunk->request = NULL;
}

static struct message wish_of(const struct bulk_chunk *c)
{
    struct message m;

    message_init(&m, MESSAGE_GENERATE, 0);
    m.generate.priority = c->items.priority;
    m.generate.deadline_ms = DEADLINE_MS;
    m.generate.want = MESSAGE_WANT_RECEIPT;
    m.generate.job = c->lease.job;
    return m;
}

static bool open_request(struct broker *b, struct bulk_chunk *c, const struct message *wish)
{
    struct account_key key = account_key(ACCOUNT_USER, c->items.owner, strlen(c->items.owner));
    struct account *account = accounts_get(&b->accounts, &key, b->bulk.now_ms);
    struct address nobody = { .len = 0 };

    if (account)
        c->request = request_open(&b->bulk.inside, &b->accounts, account, &nobody, 0,
                                  &wish->generate);
    if (!c->request)
        return false;
    c->request->chunk = c;
    b->request_bytes += request_bytes(c->request);
    return true;
}

/* Its presence was asked for together with that of all others: no look-up, and no admission, for
 * nobody waits. */
static bool add_item(struct broker *b, struct bulk_chunk *c, int at,
                     const struct model_entry *model, const struct recipe *recipe,
                     const struct message *wish)
{
    int64_t now_ms = b->bulk.now_ms;
    struct render *render = renders_find(&b->renders, &c->items.keys[at]);
    bool is_new = !render;
    struct waiter *w;

    if (is_new && !(render = renders_add(&b->renders, recipe, model, &c->items.keys[at], now_ms)))
        return false;
    w = waiter_add(b, render, c->request, &wish->generate, NULL, now_ms);
    if (!w) {
        if (is_new)
            renders_end(&b->renders, render);
        return false;
    }
    w->item = (uint16_t)at;
    c->request->left++;
    c->state[at] = ITEM_WAITING;
    c->missing--;
    c->waiting++;
    b->bulk.waiters++;
    b->count.submitted++;
    b->count.joined += !is_new;
    if (is_new)
        render_enqueue(b, render, now_ms);
    return true;
}

static bool is_served(const struct broker *b, const struct digest *digest,
                      const struct model_entry **model)
{
    *model = models_find(&b->models, digest);
    return *model && roster_has_model(&b->roster, *model);
}

/* Queues up to most missing items whose model is served; returns how many it met. */
static int feed_some(struct broker *b, struct bulk_chunk *c, const struct message *wish, int most)
{
    int fed = 0;

    for (int looked = 0; looked < c->lease.count && c->missing > 0 && fed < most; looked++) {
        int at = c->next;
        const struct model_entry *model;
        struct recipe recipe;

        c->next = at + 1 < c->lease.count ? at + 1 : 0;
        if (c->state[at] != ITEM_MISSING)
            continue;
        recipe = bulk_items_recipe(&c->items, c->lease.item + at);
        if (!is_served(b, &recipe.model, &model))
            continue;
        if (!add_item(b, c, at, model, &recipe, wish)) {
            pause_chunk(c, b->bulk.now_ms);
            break;
        }
        fed++;
    }
    return fed;
}

/* Another broker's workers may have the model: the chunk goes back after the grace. */
static void leave_unserved(struct broker *b, struct bulk_chunk *c, int64_t now_ms)
{
    struct bulk *self = &b->bulk;
    struct bulk_shunned *shunned;

    if (c->unserved_ms == 0)
        c->unserved_ms = now_ms;
    c->retry_ms = now_ms + SECOND_MS;
    if (now_ms < c->unserved_ms + b->options.grace_ms || c->waiting > 0)
        return;
    if (self->shunned_count == BULK_SHUNNED_MAX)    /* the oldest makes room */
        memmove(self->shunned, self->shunned + 1, --self->shunned_count * sizeof *shunned);
    shunned = &self->shunned[self->shunned_count++];
    *shunned = (struct bulk_shunned){ c->lease.job, now_ms + SHUN_MS };
    log_event(LOG_WARN, "bulk_unserved", "job=%lld reason=\"no worker here has its model\"",
              (long long)c->lease.job);
    give_back(b, c);
}

/* Queues what there is room for. True: there is more to queue at once. May end the chunk. */
static bool feed(struct broker *b, struct bulk_chunk *c, int64_t now_ms)
{
    size_t room = b->bulk.waiters_max - b->bulk.waiters;
    int most = room < FEED_MAX ? (int)room : FEED_MAX, fed;
    struct message wish = wish_of(c);

    if (c->missing == 0 || most == 0 || now_ms < c->retry_ms)
        return false;
    if (!c->request && !open_request(b, c, &wish)) {
        pause_chunk(c, now_ms);
        return false;
    }
    c->request->left++;              /* so that it outlives the loop */
    fed = feed_some(b, c, &wish, most);
    request_end_if_done(b, c->request);
    if (fed > 0)
        c->unserved_ms = 0;
    else if (now_ms >= c->retry_ms)
        leave_unserved(b, c, now_ms);
    return fed == FEED_MAX;
}

/* ---- what a chunk asks of the ledger ---- */

static void take_finished(struct broker *b, struct errand *errand, int64_t now_ms)
{
    struct bulk_finish *f = errand->extra;
    struct bulk_chunk *c = f->asker;

    c->is_asked = false;
    if (!errand->rc) {
        if (f->held) {
            int64_t failed = (int64_t)f->failure_count;

            b->bulk.done += c->lease.count - failed;
            b->bulk.failed += failed;
            log_event(LOG_INFO, "bulk_chunk", "job=%lld item=%lld count=%d failed=%lld",
                      (long long)c->lease.job, (long long)c->lease.item, c->lease.count,
                      (long long)failed);
        } else
            lose_chunk(b, c);
        end_chunk(&b->bulk, c);
        return;
    }
    log_event(LOG_WARN, "bulk_finish_failed", "job=%lld item=%lld reason=\"%s\"",
              (long long)c->lease.job, (long long)c->lease.item, errand->err.msg);
    pause_chunk(c, now_ms);
    if (errand->rc != ERR_LEDGER_DOWN) {
        forget_items(c);             /* a row that was there is not: look again */
        return;
    }
    c->items.keys = f->keys;         /* moved back */
    c->failures = f->failures;
    c->failure_count = c->failure_cap = f->failure_count;
    f->keys = NULL;
    f->failures = NULL;
}

static void finish_chunk(struct broker *b, struct bulk_chunk *c, int64_t now_ms)
{
    struct bulk_finish *f = malloc(sizeof *f);
    struct err e;

    if (!f) {
        pause_chunk(c, now_ms);
        return;
    }
    *f = (struct bulk_finish){ .asker = c, .chunk = c->lease, .keys = c->items.keys,
                               .failures = c->failures, .failure_count = c->failure_count };
    c->items.keys = NULL;            /* moved; state stays to tell this from items not known */
    c->failures = NULL;
    c->failure_count = c->failure_cap = 0;
    c->is_asked = bulk_ask(&b->bulk, &(struct bulk_question){ .call = bulk_finish_call,
                                                              .end_extra = bulk_finish_end,
                                                              .take = take_finished }, f, &e);
    if (!c->is_asked) {
        forget_items(c);
        pause_chunk(c, now_ms);
    }
}

/* The chunk's items are known: which are missing? */
static bool take_items(struct bulk_chunk *c, struct bulk_items *items)
{
    c->state = malloc((size_t)c->lease.count);
    if (!c->state)
        return false;
    c->items = *items;
    *items = (struct bulk_items){ .owner = "" };
    c->missing = 0;
    for (int at = 0; at < c->lease.count; at++) {
        c->state[at] = c->items.present[at] ? ITEM_ENDED : ITEM_MISSING;
        c->missing += !c->items.present[at];
    }
    c->next = 0;
    return true;
}

static void take_looked(struct broker *b, struct errand *errand, int64_t now_ms)
{
    struct bulk_open *o = errand->extra;
    struct bulk_chunk *c = o->asker;

    (void)b;
    c->is_asked = false;
    if (!errand->rc && take_items(c, &o->items))
        return;
    log_event(LOG_WARN, "bulk_look_failed", "job=%lld item=%lld reason=\"%s\"",
              (long long)c->lease.job, (long long)c->lease.item,
              errand->rc ? errand->err.msg : "no memory");
    pause_chunk(c, now_ms);
}

static void look_again(struct broker *b, struct bulk_chunk *c, int64_t now_ms)
{
    struct bulk_open *o = calloc(1, sizeof *o);
    struct err e;

    if (o) {
        o->kind = BULK_LOOK;
        o->asker = c;
        o->chunk = c->lease;
    }
    c->is_asked = bulk_ask(&b->bulk, &(struct bulk_question){ .call = bulk_open_call,
                                                              .end_extra = bulk_open_end,
                                                              .take = take_looked }, o, &e);
    if (!c->is_asked)
        pause_chunk(c, now_ms);
}

/* Returns when it wants its next turn; may end the chunk. */
static int64_t step(struct broker *b, struct bulk_chunk *c, int64_t now_ms)
{
    if (c->is_asked)
        return INT64_MAX;
    if (c->is_lost)
        end_chunk(&b->bulk, c);      /* its waiters have gone */
    else if (c->is_stopped && c->waiting == 0 && (!c->state || c->missing > 0))
        give_back(b, c);
    else if (now_ms < c->retry_ms)
        return c->retry_ms;
    else if (!c->state)
        look_again(b, c, now_ms);
    else if (c->missing == 0 && c->waiting == 0)
        finish_chunk(b, c, now_ms);
    else if (!c->is_stopped && feed(b, c, now_ms))
        return now_ms;
    return INT64_MAX;
}

/* ---- leases ---- */

static struct bulk_chunk *find_chunk(struct bulk *self, const struct ledger_chunk *lease)
{
    struct bulk_chunk *c;

    DL_FOREACH2(self->chunks, c, next_chunk)
        if (c->lease.job == lease->job && c->lease.item == lease->item &&
            c->lease.epoch == lease->epoch)
            return c;
    return NULL;
}

static void take_opened(struct broker *b, struct errand *errand, int64_t now_ms)
{
    struct bulk *self = &b->bulk;
    struct bulk_open *o = errand->extra;
    struct bulk_chunk *c;

    self->is_opening = false;
    if (!o->found)
        return;                      /* until the next second */
    self->may_open = true;
    c = calloc(1, sizeof *c);
    if (!c)
        return;                      /* it stands still, and is taken over */
    c->lease = o->chunk;
    c->is_stopped = b->draining;
    DL_APPEND2(self->chunks, c, prev, next_chunk);
    self->chunk_count++;
    if (errand->rc || !take_items(c, &o->items))
        pause_chunk(c, now_ms);
    log_event(LOG_INFO, o->kind == BULK_TAKE ? "bulk_take" : "bulk_lease",
              "job=%lld item=%lld count=%d epoch=%lld missing=%d", (long long)c->lease.job,
              (long long)c->lease.item, c->lease.count, (long long)c->lease.epoch, c->missing);
}

/* A chunk that stood still for a whole lease; NULL: none did. */
static struct bulk_watched *find_dead(const struct bulk *self)
{
    for (struct bulk_watched *w = self->watched; w; w = w->hh.next)
        if (w->stood_ms >= self->lease_ms)
            return w;
    return NULL;
}

static void forget_watched(struct bulk *self, struct bulk_watched *w)
{
    HASH_DEL(self->watched, w);
    free(w);
}

static void forget_all_watched(struct bulk *self)
{
    struct bulk_watched *w, *next;

    HASH_ITER(hh, self->watched, w, next)
        forget_watched(self, w);
}

static void fill_except(struct bulk *self, struct bulk_open *o)
{
    size_t kept = 0;

    for (size_t i = 0; i < self->shunned_count; i++)
        if (self->now_ms < self->shunned[i].until_ms) {
            self->shunned[kept++] = self->shunned[i];
            o->except[o->except_count++] = self->shunned[i].job;
        }
    self->shunned_count = kept;
}

static void open_chunk(struct bulk *self)
{
    struct bulk_watched *dead = find_dead(self);
    struct bulk_open *o = calloc(1, sizeof *o);
    struct err e;

    if (o) {
        o->kind = dead ? BULK_TAKE : BULK_LEASE;
        o->holder = self->holder;
        fill_except(self, o);
        if (dead)
            o->chunk = dead->chunk;
    }
    if (dead)
        forget_watched(self, dead);
    self->may_open = dead != NULL;   /* there may be others, and new ones */
    self->is_opening = bulk_ask(self, &(struct bulk_question){ .call = bulk_open_call,
                                                               .end_extra = bulk_open_end,
                                                               .take = take_opened }, o, &e);
}

static void take_renewed(struct broker *b, struct errand *errand, int64_t now_ms)
{
    struct bulk_renew *r = errand->extra;

    (void)now_ms;
    b->bulk.is_renewing = false;
    for (size_t i = 0; !errand->rc && i < r->count; i++) {
        struct bulk_chunk *c = find_chunk(&b->bulk, &r->chunks[i]);

        if (!c || c->is_lost)
            continue;
        if (!r->held[i])
            lose_chunk(b, c);
        else if (r->states[i] != LEDGER_BULK_RUNNING)
            stop_chunk(b, c);
        else
            c->is_stopped = b->draining;
    }
}

static void renew(struct bulk *self)
{
    struct bulk_renew *r;
    struct bulk_chunk *c;
    struct err e;

    self->next_renew_ms = self->now_ms + self->lease_ms / RENEWALS;
    if (self->chunk_count == 0 || self->is_renewing)
        return;
    r = malloc(sizeof *r);
    if (r) {
        r->count = 0;
        DL_FOREACH2(self->chunks, c, next_chunk)
            r->chunks[r->count++] = c->lease;
    }
    self->is_renewing = bulk_ask(self, &(struct bulk_question){ .call = bulk_renew_call,
                                                                .end_extra = free,
                                                                .take = take_renewed }, r, &e);
}

/* ---- watching the others ---- */

static void note_watched(struct bulk *self, const struct ledger_chunk *chunk, int64_t asked_ms,
                         int64_t now_ms)
{
    int64_t place[2] = { chunk->job, chunk->item };
    struct bulk_watched *w = NULL;

    HASH_FIND(hh, self->watched, place, sizeof place, w);
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w)
            return;
        memcpy(w->place, place, sizeof place);
        HASH_ADD(hh, self->watched, place, sizeof w->place, w);
    }
    w->is_there = true;
    /* From when the answer was there to when the next question went: no less has passed. */
    if (w->chunk.epoch == chunk->epoch && w->chunk.beat == chunk->beat) {
        w->stood_ms = asked_ms - w->since_ms;
        return;
    }
    w->chunk = *chunk;
    w->since_ms = now_ms;
    w->stood_ms = 0;
}

static void take_watched(struct broker *b, struct errand *errand, int64_t now_ms)
{
    struct bulk *self = &b->bulk;
    const struct bulk_watch *seen = errand->extra;
    struct bulk_watched *w, *next;

    self->is_watching = false;
    if (errand->rc || seen->connection != self->connection) {
        forget_all_watched(self);    /* it was the ledger that stood still, perhaps */
        self->connection = seen->connection;
    }
    if (errand->rc)
        return;
    for (w = self->watched; w; w = w->hh.next)
        w->is_there = false;
    for (size_t i = 0; i < seen->count; i++)
        if (!find_chunk(self, &seen->chunks[i]))
            note_watched(self, &seen->chunks[i], seen->asked_ms, now_ms);
    HASH_ITER(hh, self->watched, w, next)
        if (!w->is_there)
            forget_watched(self, w);
    self->may_open |= find_dead(self) != NULL;
}

static void watch(struct bulk *self)
{
    struct bulk_watch *seen;
    struct err e;

    if (self->is_watching)
        return;
    seen = malloc(sizeof *seen);
    if (seen) {
        seen->asked_ms = self->now_ms;
        seen->connection = 0;
        seen->count = 0;
    }
    self->is_watching = bulk_ask(self, &(struct bulk_question){ .call = bulk_watch_call,
                                                                .end_extra = free,
                                                                .take = take_watched }, seen, &e);
}

/* ---- the turn ---- */

static size_t lesser(size_t a, size_t b)
{
    return a < b ? a : b;
}

void bulk_init(struct bulk *self, const struct broker_options *options, int64_t now_ms)
{
    size_t client = lesser(options->client_waiters_max,
                           lesser(options->waiters_max, options->level_waiters_max));

    *self = (struct bulk){ .scribe = options->bulk_scribe, .holder = options->bulk_holder,
                           .lease_ms = options->bulk_lease_ms,
                           .chunks_max = lesser(options->bulk_chunks, BULK_CHUNKS_MAX),
                           .waiters_max = lesser(BULK_WAITERS_MAX, (client + 1) / 2),
                           .now_ms = now_ms, .next_second_ms = now_ms,
                           .next_renew_ms = now_ms };
}

void bulk_release(struct broker *b)
{
    struct bulk *self = &b->bulk;
    struct bulk_chunk *c, *next;

    while (self->inside.requests)
        request_drop(b, self->inside.requests);
    DL_FOREACH_SAFE2(self->chunks, c, next, next_chunk)
        end_chunk(self, c);
    forget_all_watched(self);
}

int64_t bulk_turn(struct broker *b, int64_t now_ms)
{
    struct bulk *self = &b->bulk;
    int64_t wake_ms;
    struct bulk_chunk *c, *next;
    struct errand *errand;

    if (!self->scribe)
        return INT64_MAX;
    self->now_ms = now_ms;
    while ((errand = scribe_answer(self->scribe))) {
        self->errands--;
        errand->take(b, errand, now_ms);
        errand_destroy(&errand);
    }
    if (now_ms >= self->next_second_ms && self->chunks_max > 0 && !b->draining) {
        self->next_second_ms = now_ms + SECOND_MS;
        self->may_open = true;
        watch(self);
    }
    if (now_ms >= self->next_renew_ms)
        renew(self);
    wake_ms = self->next_renew_ms;
    if (self->chunks_max > 0 && !b->draining && self->next_second_ms < wake_ms)
        wake_ms = self->next_second_ms;
    DL_FOREACH_SAFE2(self->chunks, c, next, next_chunk) {
        int64_t due_ms = step(b, c, now_ms);

        wake_ms = due_ms < wake_ms ? due_ms : wake_ms;
    }
    if (self->may_open && !self->is_opening && !b->draining &&
        self->chunk_count < self->chunks_max)
        open_chunk(self);
    return wake_ms;
}

void bulk_wake(struct bulk *self)
{
    self->shunned_count = 0;
    self->may_open = true;
}

void bulk_recheck(struct bulk *self)
{
    self->next_renew_ms = self->now_ms;
    bulk_wake(self);
}

void bulk_drain(struct broker *b)
{
    struct bulk_chunk *c;

    DL_FOREACH2(b->bulk.chunks, c, next_chunk)
        stop_chunk(b, c);
}

bool bulk_is_idle(const struct bulk *self)
{
    return self->chunk_count == 0 && self->errands == 0;
}
