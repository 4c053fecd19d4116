/* A broker under thousands of random messages, with a simple model beside it: whatever clients and
 * workers do, every request ends exactly once, no worker gets more than its credit and one express
 * place for urgent work, two who always ask get the same cost within the stated bound, and the
 * bounds and books agree after every step (desk_turn audits them). The same sequence on every run;
 * SEEDPRESS_TEST_RANDOM=N gives another. */
#include "base/log.h"
#include "tests/kit_broker.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 8000, CLIENTS = 3, WORKERS = 3, SEEDS = 12, CREDIT_MAX = 6, HELD_MAX = 64,
       AFFINITY_MS = 200, BUSY = 2, BUSY_WAITING = 24 };

static const char *const BUSY_NAMES[] = { "x", "y" };

/* A generate, by its id; a cancel's id is STEPS more than its own number. */
struct asked {
    int client;
    bool many, closed;
    int64_t left;                   /* answers to come, without the done of many */
    int64_t cancels;                /* a cancel: of which generate */
};

/* A worker as it sees itself. */
struct maker {
    struct peer peer;               /* link NULL: not there */
    char name[32];
    unsigned models;                /* bits, as for worker_says_ready_with */
    int64_t credit, progress;
    struct job_seen held[HELD_MAX];
    bool started[HELD_MAX];
    size_t count;
};

struct world {
    struct desk d;
    struct peer client[CLIENTS];
    struct maker maker[WORKERS];
    struct asked asked[STEPS], cancel[STEPS];
    uint64_t random;
    int64_t next_id, next_cancel, next_name;
    int64_t images, errors;
    int64_t result_us_max;          /* of rendering */
    int64_t compared;               /* steps at which both of them waited */
    bool busy;                      /* clients 0 and 1 always ask; every worker has every model */
};

static uint32_t dice(struct world *w, uint32_t sides)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % sides;
}

/* ---- clients ---- */

static void ask_as(struct world *w, int client)
{
    struct message wish = wish_of(w->next_id, (int64_t)dice(w, SEEDS));
    struct asked *a = &w->asked[w->next_id++];
    int64_t seeds[5];

    *a = (struct asked){ .client = client, .left = 1 };
    static const char *const NAMES[] = { "", "", "ann", "bob" };
    static const char *const MODELS[] = { "cats", "cats", "cats", "moves" };

    wish.generate.on_behalf = text_of(w->busy ? "" : NAMES[dice(w, 4)]);
    wish.generate.model = text_of(MODELS[dice(w, 4)]);
    wish.generate.priority = dice(w, 3);
    wish.generate.deadline_ms = 1 + dice(w, 8) * 1500;
    if (dice(w, 6) == 0)
        wish.generate.cache = dice(w, 3);
    if (dice(w, 20) == 0)
        wish.generate.require_class = text_of("cuda-test-1");
    if (dice(w, 25) == 0)
        wish.generate.model = text_of("dogs");           /* nobody has it */
    if (dice(w, 25) == 0)
        wish.generate.noise_mode = RECIPE_NOISE_STREAM;  /* no recipe */
    if (dice(w, 4) == 0) {
        a->many = true;
        a->left = 1 + dice(w, 5);
        for (int64_t i = 0; i < a->left; i++)
            seeds[i] = dice(w, SEEDS);
        wish.generate.seed = -1;
        wish.generate.seeds = (struct numbers){ seeds, (size_t)a->left };
    }
    peer_say(&w->client[client], &wish, NULL);
}

static void ask(struct world *w)
{
    ask_as(w, w->busy ? BUSY : (int)dice(w, CLIENTS));
}

/* NULL: it waits for nothing and is forgotten. */
static const struct account *busy_account(const struct world *w, int client)
{
    struct account_key key = account_key(ACCOUNT_BEHALF, BUSY_NAMES[client], 1);
    const struct account *a;

    HASH_FIND(hh, w->d.b->accounts.by_key, key.bytes, key.len, a);
    return a;
}

/* Tops up with pictures that nobody else asks for, with time enough, so that it always waits. */
static void keep_busy(struct world *w, int client)
{
    const struct account *a = busy_account(w, client);

    for (size_t i = a ? a->queued[MESSAGE_NORMAL] : 0; i < BUSY_WAITING; i++) {
        int64_t id = w->next_id++;
        struct message wish = wish_of(id, SEEDS + id);

        w->asked[id] = (struct asked){ .client = client, .left = 1 };
        wish.generate.model = text_of(dice(w, 2) ? "cats" : "moves");
        wish.generate.deadline_ms = 3600000;
        wish.generate.on_behalf = text_of(BUSY_NAMES[client]);
        peer_say(&w->client[client], &wish, NULL);
    }
}

/* While both wait (no worker at all for the grace ends that), what they were given differs by at
 * most the two dearest pictures and the affinity, whatever workers and others do. */
static void compare_busy(struct world *w)
{
    const struct account *x = busy_account(w, 0), *y = busy_account(w, 1);
    int64_t ahead_us;

    if (!x || !y || x->queued[MESSAGE_NORMAL] == 0 || y->queued[MESSAGE_NORMAL] == 0)
        return;
    w->compared++;
    ahead_us = llabs(x->virtual_us[MESSAGE_NORMAL] - y->virtual_us[MESSAGE_NORMAL]);
    assert_true(ahead_us <= 2 * w->d.b->accounts.dearest_us + AFFINITY_MS * 1000);
}

static void cancel(struct world *w)
{
    int client = (int)dice(w, CLIENTS);
    int64_t back = dice(w, 20), of = w->next_id > back ? w->next_id - back : 0;

    w->cancel[w->next_cancel] = (struct asked){ .client = client, .cancels = of };
    client_cancels(&w->client[client], STEPS + w->next_cancel++, of);
}

static void hear_done(struct world *w, int client, const struct message *m)
{
    if (m->id < STEPS) {
        struct asked *a = &w->asked[m->id];

        assert_true(a->many && !a->closed);
        assert_int_equal(a->left, 0);
        a->closed = true;
        return;
    }
    struct asked *a = &w->asked[w->cancel[m->id - STEPS].cancels];
    bool open = a->client == client && !a->closed;

    assert_int_equal(m->done.count, open ? a->left : 0);
    a->closed |= open;
}

static void hear_answer(struct world *w, int client, const struct message *m)
{
    struct asked *a = &w->asked[m->id];

    assert_true(m->id > 0 && m->id < w->next_id);
    assert_int_equal(a->client, client);
    assert_true(!a->closed && a->left > 0);
    w->images += m->type == MESSAGE_IMAGE;
    w->errors += m->type == MESSAGE_ERROR;
    if (m->type == MESSAGE_ERROR && m->error.seed < 0) {
        a->closed = true;            /* the request as a whole */
        return;
    }
    a->left--;
    a->closed = a->left == 0 && !a->many;
}

static void hear_clients(struct world *w)
{
    struct heard h;

    for (int i = 0; i < CLIENTS; i++)
        while (peer_hears(&w->client[i], &h)) {
            if (h.m.type == MESSAGE_DONE) {
                hear_done(w, i, &h.m);
            } else {
                assert_true(h.m.type == MESSAGE_IMAGE || h.m.type == MESSAGE_ERROR);
                hear_answer(w, i, &h.m);
            }
            heard_release(&h);
        }
}

/* What clients still wait for is what the broker still owes. */
static void compare_owed(struct world *w)
{
    int64_t waited = 0, owed = (int64_t)w->d.b->waiters;

    for (int64_t id = 1; id < w->next_id; id++)
        waited += w->asked[id].closed ? 0 : w->asked[id].left;
    for (const struct parked *p = w->d.b->parked; p; p = p->next)
        owed += p->count;
    assert_int_equal(waited, owed);
}

/* ---- workers ---- */

static void drop_held(struct maker *m, size_t at)
{
    m->count--;
    m->held[at] = m->held[m->count];
    m->started[at] = m->started[m->count];
}

static void join_maker(struct world *w, struct maker *m)
{
    m->credit = w->busy ? 1 + dice(w, CREDIT_MAX) : dice(w, CREDIT_MAX);
    worker_joins(&w->d, &m->peer, m->name, m->credit);
    if (!w->busy && dice(w, 2)) {            /* and says at once that it has only some models */
        m->models = 1 + dice(w, 7);
        worker_says_ready_with(&m->peer, m->name, m->credit, m->models);
    } else
        m->models = 7;
}

static void new_maker(struct world *w, struct maker *m)
{
    *m = (struct maker){ .count = 0 };
    snprintf(m->name, sizeof m->name, "host:%" PRId64 ":1", w->next_name++);
    join_maker(w, m);
}

static void beat(struct maker *m)
{
    worker_says_heartbeat(&m->peer, m->credit, (int64_t)m->count, m->progress);
}

/* Something that may happen to a job that it holds. */
static void work_on(struct world *w, struct maker *m, size_t at)
{
    struct job_seen job = m->held[at];

    switch (dice(w, 12)) {
    case 0: case 1:
        worker_says(&m->peer, MESSAGE_STARTED, job.lease);
        m->started[at] = true;
        m->progress++;
        return;
    case 2:
        worker_says(&m->peer, MESSAGE_RENDERED, job.lease);
        m->started[at] = true;
        m->progress++;
        return;
    case 3:
        worker_says(&m->peer, MESSAGE_HANDBACK, job.lease);
        break;
    case 4:
        worker_says_fail(&m->peer, job.lease, dice(w, 2) ? "device" : "withdrawn");
        break;
    case 5:
        job.recipe.seed++;           /* a lie */
        worker_says_result(&m->peer, &job);
        break;
    case 6:
        worker_says_result_after(&m->peer, &job, dice(w, (uint32_t)w->result_us_max));
        worker_says_result(&m->peer, &job);          /* twice */
        break;
    case 7:
        break;                       /* forgotten: a message that was lost */
    default:
        worker_says_result_after(&m->peer, &job, dice(w, (uint32_t)w->result_us_max));
        break;
    }
    m->progress++;
    drop_held(m, at);
}

/* Comings and goings of whole workers. */
static void turn_worker(struct world *w, struct maker *m)
{
    if (!m->peer.link) {
        new_maker(w, m);
        return;
    }
    switch (dice(w, 3)) {
    case 0:
        worker_says_bye(&m->peer);
        peer_leave(&m->peer);
        break;
    case 1:
        peer_leave(&m->peer);        /* without a word */
        break;
    default:
        peer_leave(&m->peer);        /* over a new connection, some of its leases lost */
        while (m->count > 0 && dice(w, 3))
            drop_held(m, 0);
        join_maker(w, m);
        break;
    }
}

static void recall(struct maker *m, const struct message_leases *leases)
{
    for (size_t i = 0; i < leases->leases.count; i++)
        for (size_t at = 0; at < m->count; at++)
            if (m->held[at].lease == leases->leases.items[i] && !m->started[at]) {
                worker_says(&m->peer, MESSAGE_HANDBACK, m->held[at].lease);
                drop_held(m, at);
                break;
            }
}

/* A full worker has one more place, which only urgent work takes. */
static void check_credit(const struct world *w, const struct maker *m, bool urgent)
{
    const struct worker *known = NULL;

    for (const struct worker *k = w->d.b->roster.by_peer; k; k = k->hh.next)
        if (strcmp(k->name, m->name) == 0)
            known = k;
    assert_non_null(known);
    assert_true((int64_t)known->leased <= m->credit + urgent);
}

static bool is_urgent(const struct message_jobs *jobs)
{
    const struct message_job *in = jobs->jobs.items;
    bool urgent = false;

    for (size_t i = 0; i < jobs->jobs.count; i++)
        urgent |= in[i].priority == MESSAGE_HIGH;
    return urgent;
}

static void take(struct world *w, struct maker *m, const struct message_jobs *jobs)
{
    const struct message_job *in = jobs->jobs.items;
    struct err e;

    for (size_t i = 0; i < jobs->jobs.count; i++) {
        if (m->count == HELD_MAX)
            drop_held(m, dice(w, HELD_MAX));
        m->held[m->count] = (struct job_seen){ .lease = in[i].lease, .alone = in[i].alone };
        assert_int_equal(recipe_parse(in[i].recipe.data, in[i].recipe.len,
                                      &m->held[m->count].recipe, &e), ERR_OK);
        m->started[m->count++] = false;
    }
}

static void hear_worker(struct world *w, struct maker *m)
{
    bool got = false, urgent = false;
    struct heard h;

    while (m->peer.link && peer_hears(&m->peer, &h)) {
        if (h.m.type == MESSAGE_JOBS) {
            take(w, m, &h.m.jobs);
            got = true;
            urgent |= is_urgent(&h.m.jobs);
        } else if (h.m.type == MESSAGE_RECALL)
            recall(m, &h.m.leases);
        else if (h.m.type == MESSAGE_INTRODUCE)
            worker_says_ready_with(&m->peer, m->name, m->credit, m->models);
        else
            fail_msg("a worker got %s", message_word(h.m.type));
        heard_release(&h);
    }
    if (got)
        check_credit(w, m, urgent);
}

/* ---- steps ---- */

static void step(struct world *w)
{
    struct maker *m = &w->maker[dice(w, WORKERS)];
    uint32_t what = dice(w, 100);

    for (int client = 0; w->busy && w->d.b->roster.by_peer && client < BUSY; client++)
        keep_busy(w, client);
    if (what < (w->busy ? 10 : 35))
        ask(w);
    else if (what < 42)
        cancel(w);
    else if (what < 80 && m->peer.link && m->count > 0)
        work_on(w, m, dice(w, (uint32_t)m->count));
    else if (what < 96 && m->peer.link) {
        m->credit = dice(w, 4) ? m->credit : dice(w, CREDIT_MAX);
        beat(m);
    } else if (what >= 98)
        turn_worker(w, m);
    desk_turn(&w->d, dice(w, 3) ? 0 : dice(w, 12) ? dice(w, 60) : dice(w, 3000));
    hear_clients(w);
    for (int i = 0; i < WORKERS; i++)
        hear_worker(w, &w->maker[i]);
    compare_owed(w);
    if (w->busy)
        compare_busy(w);
}

static struct world *open_world(int64_t result_us_max, bool busy)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct world *w = calloc(1, sizeof *w);
    const char *random = getenv("SEEDPRESS_TEST_RANDOM");

    assert_non_null(w);
    w->random = random ? strtoull(random, NULL, 10) : 20260101;
    w->next_id = 1;
    w->result_us_max = result_us_max;
    w->busy = busy;
    if (!busy) {
        options.waiters_max = 60;
        options.level_waiters_max = 50;
        options.client_waiters_max = 30;
        options.queue_bytes = 28 << 10;
        options.client_bytes = 14 << 10;
    }
    options.stall_ms = 6000;
    options.affinity_ms = AFFINITY_MS;
    desk_open(&w->d, NULL, &options);
    for (int i = 0; i < CLIENTS; i++)
        client_join(&w->d, &w->client[i], LINK_DEALER);
    return w;
}

static void end_world(struct world *w)
{
    for (int i = 0; i < WORKERS; i++)
        peer_leave(&w->maker[i].peer);
    for (int i = 0; i < 30; i++) {   /* nobody works any more: all are told so */
        desk_turn(&w->d, 1000);
        hear_clients(w);
    }
    compare_owed(w);
    assert_int_equal(w->d.b->waiters, 0);
    assert_null(w->d.b->renders.by_key);
    assert_int_equal(w->d.b->request_bytes, 0);
    assert_int_equal(w->d.b->count.answered, w->images);
    for (int64_t id = 1; id < w->next_id; id++)
        assert_true(w->asked[id].closed);
    for (int i = 0; i < CLIENTS; i++)
        peer_leave(&w->client[i]);
    desk_close(&w->d);
    free(w);
}

static void every_request_ends_exactly_once_whatever_happens(void **state)
{
    struct world *w = open_world(300000, false);
    const struct broker_counts *count = &w->d.b->count;

    (void)state;
    for (int i = 1; i < STEPS; i++)
        step(w);
    /* Else the model has become too hostile, or too tame. */
    assert_true(w->images > STEPS / 10);
    assert_true(count->refused > 100 && count->expired > 100 && count->joined > 100);
    end_world(w);
}

static void two_who_always_ask_get_the_same_cost_whatever_happens(void **state)
{
    struct world *w = open_world(300000, true);

    (void)state;
    for (int i = 1; i < STEPS && w->next_id < STEPS - BUSY * BUSY_WAITING - 1; i++)
        step(w);
    assert_true(w->compared > 500);
    assert_true(w->images > 500);
    assert_true(w->d.b->accounts.clock_us[MESSAGE_NORMAL] > 10 * 1000000);   /* they paid */
    end_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_ends_exactly_once_whatever_happens),
        cmocka_unit_test(two_who_always_ask_get_the_same_cost_whatever_happens),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
