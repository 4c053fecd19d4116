/* A broker under thousands of random messages, with a simple model beside it: whatever clients and
 * workers do, every request ends exactly once, no worker gets more than its credit, and the books
 * agree after every step (desk_turn audits them). The same sequence on every run;
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

enum { STEPS = 8000, CLIENTS = 3, WORKERS = 3, SEEDS = 12, CREDIT_MAX = 6, HELD_MAX = 64 };

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
};

static uint32_t dice(struct world *w, uint32_t sides)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % sides;
}

/* ---- clients ---- */

static void ask(struct world *w)
{
    int client = (int)dice(w, CLIENTS);
    struct message wish = wish_of(w->next_id, (int64_t)dice(w, SEEDS));
    struct asked *a = &w->asked[w->next_id++];
    int64_t seeds[5];

    *a = (struct asked){ .client = client, .left = 1 };
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
    m->credit = dice(w, CREDIT_MAX);
    worker_joins(&w->d, &m->peer, m->name, m->credit);
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
        worker_says_result(&m->peer, &job);
        worker_says_result(&m->peer, &job);          /* twice */
        break;
    case 7:
        break;                       /* forgotten: a message that was lost */
    default:
        worker_says_result(&m->peer, &job);
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

static void take(struct world *w, struct maker *m, const struct message_jobs *jobs)
{
    const struct message_job *in = jobs->jobs.items;
    struct worker *known = NULL;
    struct err e;

    for (struct worker *k = w->d.b->roster.by_peer; k; k = k->hh.next)
        if (strcmp(k->name, m->name) == 0)
            known = k;
    assert_non_null(known);
    assert_true((int64_t)known->leased <= m->credit + 1);        /* the express place */
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
    struct heard h;

    while (m->peer.link && peer_hears(&m->peer, &h)) {
        if (h.m.type == MESSAGE_JOBS)
            take(w, m, &h.m.jobs);
        else if (h.m.type == MESSAGE_RECALL)
            recall(m, &h.m.leases);
        else if (h.m.type == MESSAGE_INTRODUCE)
            worker_says_ready(&m->peer, m->name, m->credit);
        else
            fail_msg("a worker got %s", message_word(h.m.type));
        heard_release(&h);
    }
}

/* ---- steps ---- */

static void step(struct world *w)
{
    struct maker *m = &w->maker[dice(w, WORKERS)];
    uint32_t what = dice(w, 100);

    if (what < 35)
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
}

static void every_request_ends_exactly_once_whatever_happens(void **state)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct world *w = calloc(1, sizeof *w);
    const char *random = getenv("SEEDPRESS_TEST_RANDOM");

    (void)state;
    assert_non_null(w);
    w->random = random ? strtoull(random, NULL, 10) : 20260101;
    w->next_id = 1;
    options.waiters_max = 60;
    options.client_waiters_max = 30;
    options.stall_ms = 6000;
    desk_open(&w->d, NULL, &options);
    for (int i = 0; i < CLIENTS; i++)
        client_join(&w->d, &w->client[i], LINK_DEALER);
    for (int i = 1; i < STEPS; i++)
        step(w);
    for (int i = 0; i < WORKERS; i++)
        peer_leave(&w->maker[i].peer);
    for (int i = 0; i < 30; i++) {   /* nobody works any more: all are told so */
        desk_turn(&w->d, 1000);
        hear_clients(w);
    }
    compare_owed(w);
    assert_int_equal(w->d.b->waiters, 0);
    assert_null(w->d.b->renders.by_key);
    assert_int_equal(w->d.b->count.answered, w->images);
    assert_true(w->images > STEPS / 10);             /* else the model has become too hostile */
    for (int64_t id = 1; id < w->next_id; id++)
        assert_true(w->asked[id].closed);
    for (int i = 0; i < CLIENTS; i++)
        peer_leave(&w->client[i]);
    desk_close(&w->d);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_ends_exactly_once_whatever_happens),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
