#include "tests/kit_broker.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000 };       /* of real time, for what other threads do */

static const char CLIENTS[] = "inproc://clients", WORKERS[] = "inproc://workers";
static const char NO_LEDGER[] = "host=/nonexistent dbname=none";

static void must(enum err_code rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

/* ---- the broker ---- */

static void await_scribe(struct scribe *scribe)
{
    struct link_wait wait = { .fd = scribe_fd(scribe) };
    int64_t give_up_ms = clock_ms() + PATIENCE_MS;

    while (!wait.ready) {
        if (clock_ms() > give_up_ms)
            fail_msg("the scribe does not answer");
        link_poll(&wait, 1, give_up_ms);
    }
}

/* The scribe says what it knows of the ledger only after it was asked something. */
static void ask_once(struct scribe *scribe)
{
    struct errand *errand = errand_create(ERRAND_FIND);

    assert_non_null(errand);
    assert_true(scribe_ask(scribe, errand));
    await_scribe(scribe);
    errand = scribe_answer(scribe);
    errand_destroy(&errand);
}

void desk_open(struct desk *self, const char *conninfo, const struct broker_options *options)
{
    struct link_options client_side = { .kind = LINK_ROUTER, .send_hwm = 8,
                                        .frame_max = MESSAGE_MAP_MAX };
    struct link_options worker_side = { .kind = LINK_ROUTER, .frame_max = MESSAGE_IMAGE_MAX };
    struct err e;

    *self = (struct desk){ .now_ms = 1000000 };
    must(link_context_create(&self->context, &e), &e);
    must(link_create(self->context, &client_side, &self->clients, &e), &e);
    must(link_create(self->context, &worker_side, &self->workers, &e), &e);
    must(link_bind(self->clients, CLIENTS, &e), &e);
    must(link_bind(self->workers, WORKERS, &e), &e);
    must(scribe_create(conninfo ? conninfo : NO_LEDGER, "", &self->scribe, &e), &e);
    ask_once(self->scribe);
    assert_true(scribe_ledger_is_up(self->scribe) == (conninfo != NULL));
    must(broker_create(options, self->clients, self->workers, self->scribe, self->now_ms,
                       &self->b, &e), &e);
}

void desk_close(struct desk *self)
{
    desk_audit(self);
    broker_destroy(&self->b);
    scribe_destroy(&self->scribe);
    link_destroy(&self->clients);
    link_destroy(&self->workers);
    link_context_destroy(&self->context);
}

void desk_feed(struct desk *self)
{
    struct parcel parcel;

    while (link_receive(self->workers, &parcel))
        broker_on_worker(self->b, self->now_ms, &parcel);
    while (link_receive(self->clients, &parcel))
        broker_on_client(self->b, self->now_ms, &parcel);
}

int64_t desk_turn(struct desk *self, int64_t ms)
{
    int64_t wake_ms;

    self->now_ms += ms;
    desk_feed(self);
    wake_ms = broker_tick(self->b, self->now_ms);
    desk_audit(self);
    return wake_ms;
}

void desk_await_scribe(struct desk *self)
{
    await_scribe(self->scribe);
}

static void audit_render(const struct render *r, size_t *waiters)
{
    const struct waiter *w;
    bool is_leased = r->state == RENDER_HELD || r->state >= RENDER_RENDERING;

    assert_true(is_leased == (r->lease != NULL));
    assert_true(r->waiters || is_leased);
    assert_true(!r->at_front || r->state == RENDER_QUEUED);
    DL_FOREACH(r->waiters, w) {
        ++*waiters;
        assert_ptr_equal(w->render, r);
        assert_true(w->deadline_place != HEAP_OUT);
        assert_true((w->line != NULL) ==
                    (r->state == RENDER_QUEUED && !r->at_front && !w->only));
    }
}

static void audit_lane(const struct queue *queue, const struct lane *lane, size_t *in_lanes)
{
    size_t count[MESSAGE_PRIORITY_COUNT] = { 0 }, front = 0;
    const struct waiter *w;
    const struct render *r;
    bool is_listed = false;
    const struct lane *active;

    DL_FOREACH2(lane->oldest, w, age_next) {
        count[w->level]++;
        assert_ptr_equal(w->line->lane, lane);
        assert_int_equal(w->line->level, w->level);
        assert_ptr_equal(w->line->account, w->request->account);
        assert_ptr_equal(w->line->waiters.items[w->line_place], w);
    }
    DL_FOREACH(lane->front, r) {
        front++;
        assert_true(r->at_front && r->model == lane->model);
    }
    assert_int_equal(front, lane->front_count);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++) {
        const struct heap *lines = &lane->lines[level];
        size_t of_lines = 0;

        for (size_t i = 1; i <= lines->count; i++) {
            const struct line *line = lines->items[i], *above = lines->items[i / 2];

            of_lines += line->waiters.count;
            assert_true(line->waiters.count > 0);
            if (i > 1)
                assert_false(lines->before(line, above));
        }
        assert_int_equal(count[level], lane->count[level]);
        assert_int_equal(count[level], of_lines);
        in_lanes[level] += count[level];
    }
    DL_FOREACH(queue->active, active)
        is_listed |= active == lane;
    assert_true(is_listed == lane->is_active);
    assert_true(lane->is_active == (lane->oldest || lane->front));
}

static void audit_queue(const struct broker *b)
{
    size_t in_lanes[MESSAGE_PRIORITY_COUNT] = { 0 };

    for (const struct model_entry *m = b->models.by_digest; m; m = m->hh.next)
        audit_lane(&b->queue, &b->queue.lanes[m->index], in_lanes);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
        assert_int_equal(in_lanes[level], b->queue.count[level]);
}

/* The one inside the broker, which asks for bulk jobs, and then those of the table. */
static const struct client *client_after(const struct broker *b, const struct client *c)
{
    return c == &b->bulk.inside ? b->clients.by_peer : c->hh.next;
}

/* What the account's requests say of it. */
static void audit_account(const struct broker *b, const struct account *a)
{
    size_t waiting = 0, requests = 0, bytes = 0, queued[MESSAGE_PRIORITY_COUNT] = { 0 };

    for (const struct client *c = &b->bulk.inside; c; c = client_after(b, c)) {
        const struct request *q;
        const struct waiter *w;

        DL_FOREACH(c->requests, q) {
            if (q->account != a)
                continue;
            requests++;
            bytes += request_bytes(q);
            DL_FOREACH2(q->waiters, w, request_next) {
                struct recipe recipe = render_recipe(w->render);

                waiting++;
                queued[w->level] += w->line != NULL;
                bytes += waiter_bytes(&recipe.transform);
            }
        }
    }
    assert_int_equal(a->requests, requests);
    assert_int_equal(a->waiting, waiting);
    assert_int_equal(a->bytes, bytes);
    assert_true(waiting <= b->options.client_waiters_max);
    assert_true(bytes <= b->options.client_bytes);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
        assert_int_equal(a->queued[level], queued[level]);
}

static void audit_accounts(const struct broker *b)
{
    size_t active[MESSAGE_PRIORITY_COUNT] = { 0 }, idle = 0;

    for (const struct account *a = b->accounts.by_key; a; a = a->hh.next) {
        audit_account(b, a);
        idle += a->requests == 0;
        for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
            active[level] += a->queued[level] > 0;
    }
    assert_int_equal(idle, b->accounts.idle_count);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
        assert_int_equal(active[level], b->accounts.active[level]);
}

static void audit_roster(const struct broker *b)
{
    for (const struct model_entry *x = b->models.by_digest; x; x = x->hh.next)
        for (const struct model_entry *y = b->models.by_digest; y; y = y->hh.next) {
            size_t both = 0;

            for (const struct worker *w = b->roster.by_peer; w; w = w->hh.next)
                both += worker_has_model(w, x) && worker_has_model(w, y);
            assert_int_equal(both, b->roster.shared[x->index][y->index]);
        }
}

static void audit_clients(const struct broker *b)
{
    size_t letters = 0, of_requests = 0, all_bytes = 0;

    for (const struct client *c = &b->bulk.inside; c; c = client_after(b, c)) {
        const struct request *q;
        const struct outbox_letter *l;
        size_t bytes = 0;

        DL_FOREACH(c->requests, q) {
            const struct waiter *w;
            int64_t left = 0;

            DL_FOREACH2(q->waiters, w, request_next)
                left++;
            assert_int_equal(q->left, left);
            assert_true(left > 0);
            of_requests += (size_t)left;
        }
        DL_FOREACH(c->outbox.first, l) {
            letters++;
            bytes += sizeof *l + frame_len(&l->map) + frame_len(&l->payload);
        }
        assert_int_equal(c->outbox.bytes, bytes);
        all_bytes += bytes;
        assert_true(bytes <= b->options.outbox_max);
    }
    assert_int_equal(of_requests, b->waiters);
    assert_int_equal(letters, b->clients.letters);
    assert_int_equal(all_bytes, b->clients.outbox_bytes);
    assert_true(all_bytes <= b->options.outbox_total_max);
}

/* Every picture ends once, and what monitoring shows says so. */
static void audit_meter(const struct broker *b)
{
    int64_t failed = 0;

    for (size_t code = ERR_OK + 1; code < ERR_COUNT; code++)
        if (code != ERR_CANCELLED)   /* copied from the count */
            failed += metrics_value(b->meter.metrics, METER_FINISHED, code);
    assert_int_equal(failed, b->count.failed);
    assert_int_equal(metrics_value(b->meter.metrics, METER_FINISHED, ERR_OK), b->count.answered);
    assert_int_equal(b->count.submitted, b->count.answered + failed + b->count.cancelled +
                                             (int64_t)b->waiters);
}

void desk_audit(struct desk *self)
{
    const struct broker *b = self->b;
    size_t count[RENDER_STATE_COUNT] = { 0 }, waiters = 0, leases = 0;

    for (const struct render *r = b->renders.by_key; r; r = r->hh.next) {
        count[r->state]++;
        audit_render(r, &waiters);
    }
    for (int state = 0; state < RENDER_STATE_COUNT; state++)
        assert_int_equal(count[state], b->renders.count[state]);
    assert_int_equal(waiters, b->waiters);
    assert_int_equal(waiters, b->deadlines.count);
    assert_true(b->waiters <= b->options.waiters_max);
    assert_true(waiters_bytes(b) <= b->options.queue_bytes);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++) {
        assert_true(b->level_waiters[level] <= b->options.level_waiters_max);
        waiters -= b->level_waiters[level];
    }
    assert_int_equal(waiters, 0);
    for (const struct worker *w = b->roster.by_peer; w; w = w->hh.next) {
        const struct lease *l;
        size_t leased = 0;
        int64_t leased_us = 0;

        DL_FOREACH(w->leases, l) {
            leased++;
            leased_us += l->cost_us;
            assert_ptr_equal(l->worker, w);
            assert_ptr_equal(l->render->lease, l);
        }
        assert_int_equal(leased, w->leased);
        assert_int_equal(leased_us, w->leased_us);
        assert_true(w->others_us >= 0);
        leases += leased;
    }
    assert_int_equal(leases, count[RENDER_HELD] + count[RENDER_RENDERING] +
                             count[RENDER_COMMITTING]);
    assert_int_equal(leases, HASH_COUNT(b->renders.by_lease));
    audit_clients(b);
    audit_meter(b);
    audit_queue(b);
    audit_accounts(b);
    audit_roster(b);
}

/* ---- who talks to it ---- */

static void join(struct desk *desk, struct peer *self, const char *endpoint,
                 const struct link_options *options)
{
    struct err e;

    must(link_create(desk->context, options, &self->link, &e), &e);
    must(link_connect(self->link, endpoint, &e), &e);
}

void client_join(struct desk *desk, struct peer *self, enum link_kind kind)
{
    struct link_options options = { .kind = kind, .frame_max = MESSAGE_IMAGE_MAX };

    join(desk, self, CLIENTS, &options);
}

void client_join_slow(struct desk *desk, struct peer *self)
{
    struct link_options options = { .kind = LINK_DEALER, .frame_max = MESSAGE_IMAGE_MAX,
                                    .receive_hwm = 1 };

    join(desk, self, CLIENTS, &options);
}

void peer_leave(struct peer *self)
{
    link_destroy(&self->link);
}

void peer_say(struct peer *self, const struct message *message, const char *payload)
{
    struct frame map, bytes;
    struct err e;

    must(frame_init_message(&map, message, &e), &e);
    if (payload)
        assert_true(frame_init_copy(&bytes, payload, strlen(payload)));
    else
        frame_init(&bytes);
    assert_int_equal(link_send(self->link, NULL, &map, payload ? &bytes : NULL), LINK_SENT);
    frame_release(&bytes);
    frame_release(&map);
}

void peer_say_bytes(struct peer *self, const struct bytes *frames, size_t count)
{
    struct frame map, bytes;

    assert_true(count == 1 || count == 2);
    assert_true(frame_init_copy(&map, frames[0].data, frames[0].len));
    frame_init(&bytes);
    if (count == 2)
        assert_true(frame_init_copy(&bytes, frames[1].data, frames[1].len));
    assert_int_equal(link_send(self->link, NULL, &map, count == 2 ? &bytes : NULL), LINK_SENT);
    frame_release(&bytes);
    frame_release(&map);
}

bool peer_hears(struct peer *self, struct heard *out)
{
    struct err e = { .code = ERR_OK };

    while (link_receive(self->link, &out->parcel)) {
        must(message_decode(frame_data(&out->parcel.body[0]), frame_len(&out->parcel.body[0]),
                            MESSAGE_FROM_BROKER, &out->m, &e), &e);
        if (out->m.type != MESSAGE_HEARTBEAT)
            return true;
        heard_release(out);
    }
    return false;
}

void heard_release(struct heard *self)
{
    message_release(&self->m);
    parcel_release(&self->parcel);
}

static void hear(struct peer *self, enum message_type type, struct heard *out)
{
    if (!peer_hears(self, out))
        fail_msg("nothing came, where %s was expected", message_word(type));
    if (out->m.type == MESSAGE_ERROR && type != MESSAGE_ERROR)
        fail_msg("error %.*s came, where %s was expected: %.*s", (int)out->m.error.code.len,
                 out->m.error.code.data, message_word(type), (int)out->m.error.message.len,
                 out->m.error.message.data);
    if (out->m.type != type)
        fail_msg("%s came, where %s was expected", message_word(out->m.type), message_word(type));
}

void peer_hears_nothing(struct peer *self)
{
    struct heard h;

    if (peer_hears(self, &h))
        fail_msg("%s came, where nothing was expected", message_word(h.m.type));
}

/* ---- clients ---- */

struct message wish_of(int64_t id, int64_t seed)
{
    struct message m;

    message_init(&m, MESSAGE_GENERATE, id);
    m.generate.model = text_of("cats");
    m.generate.seed = seed;
    m.generate.deadline_ms = 60000;
    return m;
}

void client_wishes(struct peer *self, int64_t id, int64_t seed)
{
    struct message m = wish_of(id, seed);

    peer_say(self, &m, NULL);
}

void client_cancels(struct peer *self, int64_t id, int64_t request)
{
    struct message m;

    message_init(&m, MESSAGE_CANCEL, id);
    m.cancel.request = request;
    peer_say(self, &m, NULL);
}

void desk_picture(int64_t seed, char out[32])
{
    snprintf(out, 32, "jpeg of seed %lld", (long long)seed);
}

void client_gets_image(struct peer *self, int64_t id, int64_t seed)
{
    char jpeg[32];
    struct heard h;

    hear(self, MESSAGE_IMAGE, &h);
    desk_picture(seed, jpeg);
    assert_int_equal(h.m.id, id);
    assert_int_equal(h.m.image.seed, seed);
    assert_int_equal(h.parcel.count, 2);
    assert_int_equal(h.m.image.bytes, frame_len(&h.parcel.body[1]));
    assert_int_equal(frame_len(&h.parcel.body[1]), strlen(jpeg));
    assert_memory_equal(frame_data(&h.parcel.body[1]), jpeg, strlen(jpeg));
    heard_release(&h);
}

void client_gets_error(struct peer *self, int64_t id, enum err_code code)
{
    struct heard h;

    hear(self, MESSAGE_ERROR, &h);
    assert_int_equal(h.m.id, id);
    if (!text_is(h.m.error.code, err_info(code)->word))
        fail_msg("error %.*s came, where %s was expected: %.*s", (int)h.m.error.code.len,
                 h.m.error.code.data, err_info(code)->word, (int)h.m.error.message.len,
                 h.m.error.message.data);
    assert_true(h.m.error.message.len > 0);
    assert_true(h.m.error.retry == err_info(code)->retry);
    heard_release(&h);
}

void client_gets_done(struct peer *self, int64_t id, int64_t count, int64_t failed)
{
    struct heard h;

    hear(self, MESSAGE_DONE, &h);
    assert_int_equal(h.m.id, id);
    assert_int_equal(h.m.done.count, count);
    assert_int_equal(h.m.done.failed, failed);
    heard_release(&h);
}

/* ---- workers ---- */

struct model_facts desk_cats(void)
{
    return (struct model_facts){ .digest = digest_of("cats", 4), .width = 64, .height = 64,
                                 .num_ws = 10, .z_dim = 512, .w_dim = 512, .noise_modes = 3 };
}

void worker_says_ready(struct peer *self, const char *name, int64_t credit)
{
    worker_says_ready_with(self, name, credit, 7);
}

void worker_says_ready_with(struct peer *self, const char *name, int64_t credit, unsigned chosen)
{
    struct model_facts f = desk_cats();
    struct message_model models[] = {
        { .name = text_of("cats"), .digest = f.digest, .arch = text_of("stylegan2"),
          .width = f.width, .height = f.height, .num_ws = f.num_ws, .z_dim = f.z_dim,
          .w_dim = f.w_dim, .noise_modes = f.noise_modes },
        { .name = text_of("kinds"), .digest = digest_of("kinds", 5), .arch = text_of("stylegan2"),
          .width = 32, .height = 32, .num_ws = 8, .z_dim = 512, .w_dim = 512, .c_dim = 3,
          .noise_modes = 1 },
        { .name = text_of("moves"), .digest = digest_of("moves", 5), .arch = text_of("stylegan3"),
          .width = 32, .height = 32, .num_ws = 16, .z_dim = 512, .w_dim = 512, .noise_modes = 15,
          .has_transform = true },
    };
    struct message m;
    size_t count = 0;

    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (chosen >> i & 1)
            models[count++] = models[i];
    message_init(&m, MESSAGE_READY, 0);
    m.ready = (struct message_ready){
        .worker = text_of(name), .run = 1, .version = text_of("0"),
        .numerics_class = text_of("cpu-test-1"), .encoder = text_of("test-1"),
        .device = text_of("none"), .credit = credit, .batch_max = 8,
        .models = { models, count },
    };
    peer_say(self, &m, NULL);
}

void worker_joins(struct desk *desk, struct peer *self, const char *name, int64_t credit)
{
    struct link_options options = { .kind = LINK_DEALER, .frame_max = MESSAGE_MAP_MAX };

    join(desk, self, WORKERS, &options);
    worker_says_ready(self, name, credit);
    desk_turn(desk, 0);
}

static size_t take_jobs(const struct message *m, struct job_seen *jobs, size_t room)
{
    const struct message_job *in = m->jobs.jobs.items;
    struct err e;

    for (size_t i = 0; i < m->jobs.jobs.count; i++) {
        assert_true(i < room);
        jobs[i] = (struct job_seen){ .lease = in[i].lease, .priority = in[i].priority,
                                     .deadline_ms = in[i].deadline_ms, .want = in[i].want,
                                     .keep = in[i].keep, .bulk = in[i].bulk,
                                     .alone = in[i].alone };
        must(recipe_parse(in[i].recipe.data, in[i].recipe.len, &jobs[i].recipe, &e), &e);
    }
    return m->jobs.jobs.count;
}

size_t worker_gets(struct peer *self, struct job_seen *jobs)
{
    struct heard h;
    size_t count = 0;

    while (peer_hears(self, &h)) {
        if (h.m.type != MESSAGE_JOBS)
            fail_msg("%s came, where jobs were expected", message_word(h.m.type));
        count += take_jobs(&h.m, jobs + count, DESK_JOBS_MAX - count);
        heard_release(&h);
    }
    return count;
}

struct job_seen worker_gets_one(struct peer *self)
{
    struct job_seen jobs[DESK_JOBS_MAX];

    assert_int_equal(worker_gets(self, jobs), 1);
    return jobs[0];
}

int64_t worker_hears(struct peer *self, enum message_type type)
{
    int64_t lease = 0;
    struct heard h;

    hear(self, type, &h);
    if (type == MESSAGE_RECALL)
        lease = h.m.leases.leases.items[0];
    heard_release(&h);
    return lease;
}

void worker_says(struct peer *self, enum message_type type, int64_t lease)
{
    struct message m;

    message_init(&m, type, 0);
    m.leases.leases = (struct numbers){ &lease, 1 };
    peer_say(self, &m, NULL);
}

void worker_says_result(struct peer *self, const struct job_seen *job)
{
    worker_says_result_after(self, job, 5000);
}

void worker_says_result_after(struct peer *self, const struct job_seen *job, int64_t render_us)
{
    char jpeg[32];
    struct message m;

    desk_picture(job->recipe.seed, jpeg);
    struct message_result result = {
        .lease = job->lease, .recipe_key = recipe_key(&job->recipe),
        .sha256 = digest_of(jpeg, strlen(jpeg)), .core_sha256 = digest_of(jpeg, strlen(jpeg)),
        .numerics_class = text_of("cpu-test-1"), .encoder = text_of("test-1"), .run = 1,
        .render_us = render_us, .batch = 1, .bytes = (int64_t)strlen(jpeg), .want = job->want,
    };
    message_init(&m, MESSAGE_RESULTS, 0);
    m.results.results = (struct records){ &result, 1 };
    peer_say(self, &m, job->want == MESSAGE_WANT_RECEIPT ? NULL : jpeg);
}

void worker_says_fail(struct peer *self, int64_t lease, const char *code)
{
    struct message m;

    message_init(&m, MESSAGE_FAIL, 0);
    m.fail = (struct message_fail){ lease, text_of(code), text_of("as the test wants it") };
    peer_say(self, &m, NULL);
}

void worker_says_heartbeat(struct peer *self, int64_t credit, int64_t held, int64_t progress)
{
    struct message m;

    message_init(&m, MESSAGE_HEARTBEAT, 0);
    m.heartbeat = (struct message_heartbeat){ .credit = credit, .held = held, .started = progress,
                                              .ledger_up = true };
    peer_say(self, &m, NULL);
}

void worker_says_bye(struct peer *self)
{
    struct message m;

    message_init(&m, MESSAGE_BYE, 0);
    peer_say(self, &m, NULL);
}

/* ---- what most tests begin with ---- */

void stage_open(struct stage *self, struct broker_options options, int64_t credit)
{
    desk_open(&self->d, NULL, &options);
    client_join(&self->d, &self->client, LINK_DEALER);
    worker_joins(&self->d, &self->worker, "host:1:1", credit);
}

void stage_close(struct stage *self)
{
    peer_leave(&self->client);
    peer_leave(&self->worker);
    desk_close(&self->d);
}

struct broker_options desk_patient(void)
{
    const int64_t long_ms = 1000000000;
    struct broker_options o = BROKER_OPTIONS_DEFAULT;

    o.silence_ms = o.stall_ms = long_ms;
    return o;
}
