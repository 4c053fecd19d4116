/* What clients send, and what the ledger answers them. HANDLERS is the index. */
#include "broker/core.h"

#include "base/log.h"
#include "broker/admission.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static void refuse(struct broker *b, const struct call *c, const struct err *e)
{
    reply_error(b, c->client, c->to, c->id, -1, e);
}

/* ---- generate ---- */

static enum err_code answer_cached(struct broker *b, struct request *request,
                                   struct cache_entry *entry, const char *warning,
                                   struct err *e)
{
    enum err_code rc = request_check_class(request, cache_picture(entry).numerics_class, e);

    if (rc)
        return rc;
    reply_cached(b, request, entry, warning);
    b->count.memory_hits++;
    b->count.answered++;
    request->count++;
    request->left--;
    return ERR_OK;
}

/* Whether one more picture fits under the bounds and into its account's rate. */
static enum err_code check_bounds(struct broker *b, const struct call *c, struct account *account,
                                  size_t bytes, struct err *e)
{
    int64_t level = c->message->generate.priority;
    static const char *const LEVELS[] = { "level high has", "level normal has", "level low has" };
    const struct broker_options *o = &b->options;
    const struct bound bounds[] = {
        { "the broker has", "pictures waiting", "waiters_max", b->waiters, 1, o->waiters_max },
        { LEVELS[level], "pictures waiting", "level_waiters_max", b->level_waiters[level], 1,
          o->level_waiters_max },
        { "this client has", "pictures waiting", "client_waiters_max", account->waiting, 1,
          o->client_waiters_max },
        { "what waits takes", "bytes", "queue_bytes", waiters_bytes(b), bytes,
          o->queue_bytes },
        { "what this client waits for takes", "bytes", "client_bytes", account->bytes, bytes,
          o->client_bytes },
    };
    enum err_code rc = admission_check(bounds, sizeof bounds / sizeof bounds[0], &b->queue,
                                       &b->roster, e);
    int64_t wait_ms;

    if (!rc && !account_spend(&b->accounts, account, c->now_ms, &wait_ms)) {
        rc = err_set(e, ERR_OVERLOADED, "this client may ask for %lld pictures a second, which is "
                                        "client_rate; ask again in %lld ms",
                     (long long)o->client_rate, (long long)wait_ms);
        e->retry_after_ms = wait_ms;
    }
    if (rc) {
        b->count.refused++;
        account->refused++;
    }
    return rc;
}

/* One picture of a generate: joins the render in flight or begins a new one. */
static enum err_code admit(struct broker *b, const struct call *c, struct request *request,
                           const struct model_entry *model, int64_t seed, struct err *e)
{
    const struct message_generate *g = &c->message->generate;
    struct recipe_request wish = message_recipe_request(g, (uint32_t)seed);
    const char *warning;
    struct recipe recipe;
    enum err_code rc = recipe_resolve(&wish, &model->facts, &recipe, &warning, e);

    if (rc)
        return rc;
    struct digest key = recipe_key(&recipe);
    /* What is in memory does not say whether the ledger still has the file. */
    bool may_be_cached = g->cache != MESSAGE_CACHE_BYPASS && g->keep != MESSAGE_KEEP_REFILL;
    struct cache_entry *entry = may_be_cached ? cache_find(&b->cache, &key, c->now_ms) : NULL;

    if (entry)                       /* costs next to nothing: no bound, no rate */
        return answer_cached(b, request, entry, warning, e);
    if ((rc = check_bounds(b, c, request->account, waiter_bytes(&recipe.transform), e)))
        return rc;
    struct render *render = renders_find(&b->renders, &key);
    bool is_new = !render;

    if (is_new && !(render = renders_add(&b->renders, &recipe, model, &key, c->now_ms)))
        return err_set(e, ERR_NOMEM, "no memory for another render");
    if (!waiter_add(b, render, request, g, warning, c->arrived_ms)) {
        if (is_new)
            renders_end(&b->renders, render);
        return err_set(e, ERR_NOMEM, "no memory for another request");
    }
    render->bypass |= g->cache == MESSAGE_CACHE_BYPASS;
    b->count.joined += !is_new;
    if (is_new)
        render_start(b, render, c->now_ms);
    else if (render->bypass && render->state == RENDER_LOOKUP)
        render_enqueue(b, render, c->now_ms);
    return ERR_OK;
}

static bool park(struct broker *b, const struct call *c)
{
    const struct message_generate *g = &c->message->generate;
    size_t bytes = frame_len(&c->parcel->body[0]);
    struct parked *p = NULL;

    if (b->parked_count < PARKED_MAX && b->parked_bytes + bytes <= PARKED_BYTES_MAX)
        p = calloc(1, sizeof *p);
    if (!p)
        return false;
    p->id = c->id;
    p->count = g->seeds.count ? (int64_t)g->seeds.count : 1;
    p->arrived_ms = c->arrived_ms;
    p->deadline_ms = c->arrived_ms + g->deadline_ms;
    p->parcel.from = c->parcel->from;
    p->parcel.count = 1;
    frame_init_share(&p->parcel.body[0], &c->parcel->body[0]);
    DL_APPEND(b->parked, p);
    b->parked_count++;
    b->parked_bytes += bytes;
    return true;
}

static void unpark(struct broker *b, struct parked *p)
{
    DL_DELETE(b->parked, p);
    b->parked_count--;
    b->parked_bytes -= frame_len(&p->parcel.body[0]);
    parcel_release(&p->parcel);
    free(p);
}

void drop_parked(struct broker *b, const struct address *peer)
{
    struct parked *p, *next;

    DL_FOREACH_SAFE(b->parked, p, next)
        if (address_same_peer(&p->parcel.from, peer))
            unpark(b, p);
}

/* Who asks and who pays, and the request that its pictures will wait for. */
static enum err_code open_request(struct broker *b, const struct call *c, struct request **out,
                                  struct err *e)
{
    const struct message_generate *g = &c->message->generate;
    struct account_key key;
    struct account *account;

    key = client_account(c->client, g->on_behalf);
    account = accounts_get(&b->accounts, &key, c->now_ms);
    *out = account ? request_open(c->client, &b->accounts, account, c->to, c->id, g) : NULL;
    if (!*out)
        return err_set(e, ERR_NOMEM, "no memory for another request");
    b->request_bytes += request_bytes(*out);
    return ERR_OK;
}

static void on_generate(struct broker *b, const struct call *c)
{
    const struct message_generate *g = &c->message->generate;
    size_t count = g->seeds.count ? g->seeds.count : 1;
    const struct model_entry *model;
    struct request *request;
    struct err e;

    if (b->draining) {
        err_set(&e, ERR_RETRY, "this broker is going away");
        refuse(b, c, &e);
        return;
    }
    if (g->seeds.count && c->to->delimited) {
        err_set(&e, ERR_USE_DEALER, "\"seeds\" has several answers and needs a DEALER socket");
        refuse(b, c, &e);
        return;
    }
    if (models_resolve(&b->models, g->model, &model, &e)) {
        bool early = c->now_ms < b->started_ms + b->options.grace_ms;

        /* Just after the start its worker may still be on its way. */
        if ((e.code == ERR_UNKNOWN_MODEL || e.code == ERR_NO_WORKER) && early &&
            park(b, c))
            return;
        refuse(b, c, &e);
        return;
    }
    if (open_request(b, c, &request, &e)) {
        refuse(b, c, &e);
        return;
    }
    request->left = (int32_t)count + 1; /* one for this function, so that it outlives the loop */
    b->count.submitted += (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        int64_t seed = request->many ? g->seeds.items[i] : g->seed;

        if (admit(b, c, request, model, seed, &e)) {
            request->count++;
            request->failed++;
            request->left--;
            b->count.failed++;
            reply_error(b, c->client, c->to, c->id, seed, &e);
        }
    }
    request_end_if_done(b, request);
}

static void take_parcel(struct broker *b, int64_t now_ms, int64_t arrived_ms,
                        struct parcel *parcel);

void retry_parked(struct broker *b, int64_t now_ms)
{
    struct parked *list = b->parked, *p, *next;

    b->parked = NULL;
    b->parked_count = b->parked_bytes = 0;
    DL_FOREACH_SAFE(list, p, next) {
        take_parcel(b, now_ms, p->arrived_ms, &p->parcel);   /* parks it again if still too early */
        free(p);
    }
}

int64_t end_parked(struct broker *b, int64_t now_ms)
{
    int64_t wake_ms = INT64_MAX;
    struct parked *p, *next;

    DL_FOREACH_SAFE(b->parked, p, next) {
        struct client *client;
        struct err e;

        if (p->deadline_ms > now_ms) {
            wake_ms = p->deadline_ms < wake_ms ? p->deadline_ms : wake_ms;
            continue;
        }
        err_set(&e, ERR_DEADLINE, "no worker with its model came within the deadline of %lld ms",
                (long long)(p->deadline_ms - p->arrived_ms));
        if ((client = clients_get(&b->clients, &p->parcel.from, now_ms)))
            reply_error(b, client, &p->parcel.from, p->id, -1, &e);
        unpark(b, p);
    }
    return wake_ms;
}

/* ---- what goes to the ledger ---- */

static void ask_scribe(struct broker *b, const struct call *c, struct scribe *scribe,
                       struct errand *errand)
{
    struct err e;

    if (errand && scribe_ledger_is_up(scribe)) {
        errand->to = *c->to;
        errand->id = c->id;
        if (scribe_ask(scribe, errand)) {
            b->asking++;
            return;
        }
        err_set(&e, ERR_OVERLOADED, "too many look-ups wait for the ledger");
    } else if (errand)
        err_set(&e, ERR_LEDGER_DOWN, "the ledger cannot be reached now");
    else
        err_set(&e, ERR_NOMEM, "no memory for another look-up");
    errand_destroy(&errand);
    refuse(b, c, &e);
}

static void ask(struct broker *b, const struct call *c, struct errand *errand)
{
    ask_scribe(b, c, b->scribe, errand);
}

/* Searches take up to seconds, one after the other: few may wait. */
static void on_lookup_alike(struct broker *b, const struct call *c)
{
    enum { ALIKE_MAX = 16, AGAIN_MS = 1000 };
    const struct message_lookup *l = &c->message->lookup;
    struct errand *errand;
    size_t asking = b->asking;
    struct err e;

    if (!b->options.finder_scribe) {
        err_set(&e, ERR_LEDGER_DOWN, "this broker has no ledger to search");
        refuse(b, c, &e);
    } else if (b->asking_alike >= ALIKE_MAX) {
        err_set(&e, ERR_OVERLOADED, "%d look-ups by likeness wait already", ALIKE_MAX);
        e.retry_after_ms = AGAIN_MS;
        refuse(b, c, &e);
    } else if (finder_ask(b->options.finder, l->like, (size_t)l->limit, &errand, &e)) {
        refuse(b, c, &e);
    } else {
        ask_scribe(b, c, b->options.finder_scribe, errand);
        b->asking_alike += b->asking - asking;
    }
}

/* The model of a look-up where it may be left away. False: the client has its answer. */
static bool set_model(struct broker *b, const struct call *c, struct ledger_query *q)
{
    struct text model = c->message->lookup.model;
    struct err e;

    q->any_model = model.len == 0;
    if (q->any_model || !models_digest_of(&b->models, model, &q->model, &e))
        return true;
    refuse(b, c, &e);
    return false;
}

static void on_lookup(struct broker *b, const struct call *c)
{
    static const struct digest none;
    const struct message_lookup *l = &c->message->lookup;
    struct ledger_query q = { .limit = (size_t)l->limit, .psi = l->psi, .any_model = true };
    struct errand *errand;

    if (l->like.len > 0) {
        on_lookup_alike(b, c);
        return;
    }
    if ((l->seed >= 0 || l->since >= 0) && !set_model(b, c, &q))
        return;
    if (l->seed >= 0) {
        q.by = LEDGER_BY_SEED;
        q.seed = (uint32_t)l->seed;
    } else if (l->since >= 0) {
        q.by = LEDGER_BY_SINCE;
        q.since = l->since;
    } else if (l->job > 0) {
        q.by = LEDGER_BY_JOB;
        q.job = l->job;
        q.first = l->first;
    } else {
        bool by_key = !digest_equal(&l->recipe_key, &none);
        bool by_file = !digest_equal(&l->sha256, &none);

        q.by = by_key ? LEDGER_BY_KEY : by_file ? LEDGER_BY_FILE_SHA : LEDGER_BY_CORE_SHA;
        q.digest = by_key ? l->recipe_key : by_file ? l->sha256 : l->core_sha256;
    }
    errand = errand_create(ERRAND_LOOKUP);
    if (errand)
        errand->query = q;
    ask(b, c, errand);
}

static void on_fetch(struct broker *b, const struct call *c)
{
    static const struct digest none;
    const struct message_fetch *f = &c->message->fetch;
    bool by_key = !digest_equal(&f->recipe_key, &none);
    struct errand *errand = errand_create(ERRAND_FETCH);

    if (errand)
        errand->query = (struct ledger_query){
            .by = by_key ? LEDGER_BY_KEY : LEDGER_BY_FILE_SHA,
            .digest = by_key ? f->recipe_key : f->sha256, .psi = INT64_MIN, .limit = 1,
        };
    ask(b, c, errand);
}

static void on_model_use(struct broker *b, const struct call *c)
{
    const struct message_model_use *use = &c->message->model_use;
    const struct model_entry *model;
    struct errand *errand;
    struct err e;

    if (!recipe_name_is_valid(use->name.data, use->name.len)) {
        err_set(&e, ERR_INVALID, "\"%.*s\" is no valid name for a model", (int)use->name.len,
                use->name.data);
        refuse(b, c, &e);
        return;
    }
    if (models_find_prefix(&b->models, use->digest, &model, &e)) {
        refuse(b, c, &e);
        return;
    }
    errand = errand_create(ERRAND_BIND);
    if (errand) {
        errand->digest = model->digest;
        text_copy(use->name, errand->name, sizeof errand->name);
    }
    ask(b, c, errand);
}

static void on_withdraw(struct broker *b, const struct call *c)
{
    static const struct digest none;
    const struct message_withdraw *w = &c->message->withdraw;
    bool by_key = !digest_equal(&w->recipe_key, &none);
    struct errand *errand = errand_create(ERRAND_WITHDRAW);

    if (errand) {
        errand->query.by = by_key ? LEDGER_BY_KEY : LEDGER_BY_FILE_SHA;
        errand->query.digest = by_key ? w->recipe_key : w->sha256;
        text_copy(w->reason, errand->reason, sizeof errand->reason);
    }
    ask(b, c, errand);
}

/* ---- the others ---- */

/* Returns how many pictures were waited for. */
static int64_t cancel_parked(struct broker *b, const struct call *c)
{
    struct parked *p, *next;
    int64_t count = 0;

    DL_FOREACH_SAFE(b->parked, p, next)
        if (p->id == c->message->cancel.request && address_same_peer(&p->parcel.from, c->to)) {
            count += p->count;
            unpark(b, p);
        }
    return count;
}

static struct request *find_request(const struct client *client, int64_t id)
{
    struct request *request;

    DL_FOREACH(client->requests, request)
        if (request->id == id)
            return request;
    return NULL;
}

static void on_cancel(struct broker *b, const struct call *c)
{
    struct request *request;
    struct message done;

    message_init(&done, MESSAGE_DONE, c->id);
    done.done.count = cancel_parked(b, c);
    while ((request = find_request(c->client, c->message->cancel.request)))
        done.done.count += request_drop(b, request);
    reply_message(b, c->client, c->to, &done, NULL);
}

static void on_models(struct broker *b, const struct call *c)
{
    reply_models(b, c->client, c->to, c->id);
}

static void on_status(struct broker *b, const struct call *c)
{
    reply_status(b, c->client, c->to, c->id, c->now_ms);
}

static void on_ping(struct broker *b, const struct call *c)
{
    struct message pong;

    message_init(&pong, MESSAGE_PONG, c->id);
    reply_message(b, c->client, c->to, &pong, NULL);
}

static void (*const HANDLERS[MESSAGE_TYPE_COUNT])(struct broker *b, const struct call *c) = {
    [MESSAGE_GENERATE] = on_generate, [MESSAGE_CANCEL] = on_cancel, [MESSAGE_LOOKUP] = on_lookup,
    [MESSAGE_FETCH] = on_fetch, [MESSAGE_MODELS] = on_models, [MESSAGE_MODEL_USE] = on_model_use,
    [MESSAGE_STATUS] = on_status, [MESSAGE_PING] = on_ping, [MESSAGE_WITHDRAW] = on_withdraw,
    [MESSAGE_BULK_SUBMIT] = on_bulk_submit, [MESSAGE_BULK_LIST] = on_bulk_list,
    [MESSAGE_BULK_SHOW] = on_bulk_show, [MESSAGE_BULK_CONTROL] = on_bulk_control,
    [MESSAGE_BULK_EXPORTED] = on_bulk_exported,
};

static void take_parcel(struct broker *b, int64_t now_ms, int64_t arrived_ms,
                        struct parcel *parcel)
{
    struct client *client = clients_get(&b->clients, &parcel->from, now_ms);
    struct address from = parcel->from;
    struct message m;
    struct err e = { 0 };

    if (!client || client->gone) {
        parcel_release(parcel);
        return;
    }
    enum err_code rc = message_decode(frame_data(&parcel->body[0]), frame_len(&parcel->body[0]),
                                      MESSAGE_FROM_CLIENT, &m, &e);
    struct call call = { client, &from, m.id, now_ms, arrived_ms, &m, parcel };

    if (!rc && parcel->count != 1)
        rc = err_set(&e, ERR_INVALID, "a client's message is one frame");
    b->count.malformed += rc != ERR_OK;
    access_update(&client->access, b->options.keyring, parcel);
    if (!rc && (rc = access_check_message(&client->access, &m, &e)))
        b->count.denied++;
    if (rc)
        refuse(b, &call, &e);
    else
        HANDLERS[m.type](b, &call);
    message_release(&m);
    parcel_release(parcel);
}

void broker_on_client(struct broker *b, int64_t now_ms, struct parcel *parcel)
{
    connections_note(&b->client_connections, parcel_fd(parcel), &parcel->from);
    take_parcel(b, now_ms, now_ms, parcel);
}

/* ---- the ledger's answers ---- */

static void take_find(struct broker *b, struct errand *errand, int64_t now_ms)
{
    struct render *render = renders_find(&b->renders, &errand->key);
    const struct ledger_row *row = errand->rows.count ? &errand->rows.row[0] : NULL;

    if (!render || !render->asked)
        return;                      /* it ended meanwhile */
    render->asked = false;
    if (render->state != RENDER_LOOKUP && render->state != RENDER_QUEUED)
        return;                      /* too late: the worker's commit will find the winner */
    if (row && row->withdrawn) {
        render_fail(b, render, ERR_WITHDRAWN, "this picture has been withdrawn");
    } else if (row && row->data) {
        struct frame jpeg;
        uint8_t *data = errand->rows.row[0].data;

        errand->rows.row[0].data = NULL;
        if (frame_init_take(&jpeg, data, row->len)) {
            struct picture picture = picture_of_row(row, &jpeg);

            b->count.ledger_hits++;
            if (render->bypass)      /* the others want a new one */
                render_finish_only(b, render, &picture);
            else
                render_finish(b, render, &picture);
        }
        frame_release(&jpeg);
    } else {
        if (render_fail_only(b, render, errand->rc ? ERR_LEDGER_DOWN : ERR_NOT_FOUND,
                             errand->rc ? errand->err.msg : "this picture is not stored") &&
            render->state == RENDER_LOOKUP)
            render_enqueue(b, render, now_ms);
    }
}

static void take_fetch(struct broker *b, struct client *client, struct errand *errand)
{
    struct ledger_row *row = errand->rows.count ? &errand->rows.row[0] : NULL;
    struct frame jpeg;
    struct err e;

    if (row && row->data) {
        uint8_t *data = row->data;

        row->data = NULL;
        if (frame_init_take(&jpeg, data, row->len)) {
            struct picture picture = picture_of_row(row, &jpeg);

            reply_fetch(b, client, &errand->to, errand->id, &picture);
        }
        frame_release(&jpeg);
        return;
    }
    if (row && row->withdrawn)
        err_set(&e, ERR_WITHDRAWN, "this picture has been withdrawn");
    else
        err_set(&e, ERR_NOT_FOUND, row ? "the bytes of this picture are not kept"
                                       : "no such picture is stored");
    reply_error(b, client, &errand->to, errand->id, -1, &e);
}

static void take_client_errand(struct broker *b, struct errand *errand, int64_t now_ms)
{
    struct client *client = clients_get(&b->clients, &errand->to, now_ms);
    struct message done;

    b->asking--;
    if (!client)
        return;
    if (errand->rc) {
        reply_error(b, client, &errand->to, errand->id, -1, &errand->err);
    } else if (errand->kind == ERRAND_LOOKUP) {
        reply_provenance(b, client, &errand->to, errand->id, &errand->rows);
    } else if (errand->kind == ERRAND_FETCH) {
        take_fetch(b, client, errand);
    } else if (errand->kind == ERRAND_WITHDRAW) {
        reply_withdrawal(b, client, &errand->to, errand->id, &errand->withdrawal);
    } else {
        b->names_asked_ms = 0;       /* read the bindings again at once */
        message_init(&done, MESSAGE_DONE, errand->id);
        done.done.count = 1;
        reply_message(b, client, &errand->to, &done, NULL);
    }
}

/* What the ledger says of withdrawals ends in memory what they may have meant: a subject has many
 * recipes, so a new one empties it. */
static void forget_withdrawn(struct broker *b, const struct errand *errand)
{
    const struct ledger_rows *own = &errand->withdrawal.rows;

    for (size_t i = 0; i < errand->rows.count; i++)
        if (errand->rows.row[i].withdrawn)
            cache_remove(&b->cache, &errand->rows.row[i].key);
    if (errand->kind == ERRAND_NAMES && !errand->rc && errand->withdrawals != b->withdrawals) {
        cache_empty(&b->cache);
        b->withdrawals = errand->withdrawals;
        b->withdrawn_lease = b->last_lease;
    }
    if (errand->kind == ERRAND_WITHDRAW && !errand->rc) {
        cache_empty(&b->cache);
        b->withdrawn_lease = b->last_lease;
        if (own->count > 0)
            render_withdraw(b, &own->row[0].recipe);
    }
}

void take_alike(struct broker *b, struct errand *errand, int64_t now_ms)
{
    b->asking_alike--;
    errand->rows = finder_rows(errand);
    errand->kind = ERRAND_LOOKUP;    /* answered as one */
    take_errand(b, errand, now_ms);
}

void take_errand(struct broker *b, struct errand *errand, int64_t now_ms)
{
    if (!errand->rc)
        b->ledger_seen_ms = now_ms;
    forget_withdrawn(b, errand);
    if (errand->kind == ERRAND_FIND)
        take_find(b, errand, now_ms);
    else if (errand->kind == ERRAND_NAMES) {
        if (!errand->rc) {
            models_take_names(&b->models, errand->names, errand->name_count);
            errand->names = NULL;
            if (models_put_stored(&b->models, errand->models, errand->model_count,
                                  b->started_ms))
                retry_parked(b, now_ms);
        }
    } else
        take_client_errand(b, errand, now_ms);
    errand_destroy(&errand);
}
