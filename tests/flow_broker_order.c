/* Who gets a worker next, who is refused and why, and what a queued picture costs: with clients and
 * workers that the test plays, a clock turned by hand, and a ledger that is away. */
#include "tests/kit_broker.h"

#include "base/log.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONG_MS = 1000000000, MS = 1000, HOUR_MS = 3600000 };

/* Workers may be silent: these tests turn the clock without them. */
static struct broker_options patient(void)
{
    struct broker_options o = BROKER_OPTIONS_DEFAULT;

    o.silence_ms = LONG_MS;
    o.stall_ms = LONG_MS;
    return o;
}

struct scene {
    struct desk d;
    struct peer client, other, worker;
    struct job_seen jobs[2 * DESK_JOBS_MAX];    /* [count] what the worker holds in serve() */
    size_t count;
    int got[MESSAGE_PRIORITY_COUNT];
};

static void open_scene(struct scene *s, struct broker_options options, int64_t credit)
{
    desk_open(&s->d, NULL, &options);
    client_join(&s->d, &s->client, LINK_DEALER);
    client_join(&s->d, &s->other, LINK_DEALER);
    worker_joins(&s->d, &s->worker, "host:1:1", credit);
}

static void close_scene(struct scene *s)
{
    peer_leave(&s->client);
    peer_leave(&s->other);
    peer_leave(&s->worker);
    desk_close(&s->d);
}

static void wish(struct peer *peer, int64_t id, int64_t seed, int64_t priority,
                 int64_t deadline_ms)
{
    struct message m = wish_of(id, seed);

    m.generate.priority = priority;
    m.generate.deadline_ms = deadline_ms;
    peer_say(peer, &m, NULL);
}

/* Seeds first..first + count - 1 as one request. */
static void wish_page(struct peer *peer, int64_t id, int64_t first, size_t count,
                      int64_t deadline_ms, const char *on_behalf)
{
    int64_t seeds[MESSAGE_SEEDS_MAX];
    struct message m = wish_of(id, -1);

    for (size_t i = 0; i < count; i++)
        seeds[i] = first + (int64_t)i;
    m.generate.seeds = (struct numbers){ seeds, count };
    m.generate.deadline_ms = deadline_ms;
    m.generate.on_behalf = text_of(on_behalf);
    peer_say(peer, &m, NULL);
}

static void drop_answers(struct peer *peer)
{
    struct heard h;

    while (peer_hears(peer, &h))
        heard_release(&h);
}

/* The worker, of credit 1, ends what it holds first, after us of rendering, and gets the next: its
 * seed, -1 when there is nothing. */
static int64_t serve(struct scene *s, int64_t us)
{
    if (s->count > 0) {
        worker_says_result_after(&s->worker, &s->jobs[0], us);
        desk_turn(&s->d, us / MS);
        memmove(&s->jobs[0], &s->jobs[1], --s->count * sizeof s->jobs[0]);
    }
    size_t count = worker_gets(&s->worker, &s->jobs[s->count]);

    for (size_t i = 0; i < count; i++)
        s->got[s->jobs[s->count + i].priority]++;
    s->count += count;
    assert_true(s->count <= 2);      /* the credit and the express place */
    return count ? (int64_t)s->jobs[s->count - 1].recipe.seed : -1;
}

/* Lets the broker know what a picture takes; a few of them, so that it trusts the figure. The
 * worker is idle afterwards. */
static void measure(struct scene *s, int64_t us)
{
    for (int64_t seed = 900001; seed <= 900005; seed++) {
        client_wishes(&s->other, 1, seed);
        desk_turn(&s->d, 0);
        assert_int_equal(serve(s, us), seed);
    }
    assert_int_equal(serve(s, us), -1);
    drop_answers(&s->other);
}

static void says_backlog(struct scene *s, int64_t credit, int64_t held, int64_t backlog_ms)
{
    struct message m;

    message_init(&m, MESSAGE_HEARTBEAT, 0);
    m.heartbeat = (struct message_heartbeat){ .credit = credit, .held = held, .ledger_up = true,
                                              .backlog_ms = backlog_ms };
    peer_say(&s->worker, &m, NULL);
}

/* The next message is that error, with these words in it. Returns when it says to ask again. */
static int64_t refused(struct peer *peer, int64_t id, enum err_code code, const char *words)
{
    char text[256];
    struct heard h;
    int64_t after_ms;

    assert_true(peer_hears(peer, &h));
    assert_int_equal(h.m.type, MESSAGE_ERROR);
    assert_int_equal(h.m.id, id);
    text_copy(h.m.error.message, text, sizeof text);
    if (!text_is(h.m.error.code, err_info(code)->word) || !strstr(text, words))
        fail_msg("%.*s: \"%s\" came, where %s: \"%s\" was expected", (int)h.m.error.code.len,
                 h.m.error.code.data, text, err_info(code)->word, words);
    after_ms = h.m.error.retry_after_ms;
    assert_true(after_ms > 0);
    heard_release(&h);
    return after_ms;
}

/* ---- turns ---- */

static void one_picture_does_not_wait_behind_a_page(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    wish_page(&s.client, 1, 100, 56, HOUR_MS, "");
    desk_turn(&s.d, 0);
    client_wishes(&s.other, 1, 5);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 0), 100);
    assert_int_equal(serve(&s, 10 * MS), 5);
    assert_int_equal(serve(&s, 10 * MS), 101);
    close_scene(&s);
}

/* Two clients that always have work, one with pictures four times as dear as the other's. */
static void clients_that_always_have_work_get_the_same_cost(void **state)
{
    int64_t given_us[2] = { 0 }, id = 0;
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    for (int i = 0; i < 300; i++) {
        struct message dear = wish_of(++id, 1000 + i), cheap = wish_of(++id, 2000 + i);

        dear.generate.model = text_of("moves");
        dear.generate.deadline_ms = cheap.generate.deadline_ms = HOUR_MS;
        peer_say(&s.client, &dear, NULL);
        peer_say(&s.other, &cheap, NULL);
        desk_turn(&s.d, 0);
    }
    for (int64_t turn = 0, us = 0, seed; turn < 300; turn++) {
        assert_true((seed = serve(&s, us)) > 0);
        us = seed < 2000 ? 400 * MS : 100 * MS;
        if (turn < 20)
            continue;                /* what they cost is being learnt */
        given_us[seed >= 2000] += us;
        /* The two dearest pictures, and the affinity. */
        assert_true(llabs(given_us[0] - given_us[1]) <= (2 * 400 + 200) * MS);
    }
    assert_true(given_us[0] > 10000 * MS);
    close_scene(&s);
}

static void a_proxy_speaks_for_clients_that_take_turns_of_their_own(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    wish_page(&s.client, 1, 100, 20, HOUR_MS, "ann");
    desk_turn(&s.d, 0);
    wish_page(&s.client, 2, 200, 2, HOUR_MS, "bob");
    wish_page(&s.other, 3, 300, 2, HOUR_MS, "ann");      /* the same ann over another connection */
    desk_turn(&s.d, 0);
    assert_int_equal(HASH_COUNT(s.d.b->accounts.by_key), 2);
    assert_int_equal(serve(&s, 0), 100);
    assert_int_equal(serve(&s, 10 * MS), 200);
    assert_int_equal(serve(&s, 10 * MS), 101);
    assert_int_equal(serve(&s, 10 * MS), 201);
    assert_int_equal(serve(&s, 10 * MS), 102);
    close_scene(&s);
}

static void the_nearest_deadline_of_a_client_goes_first(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 0);
    wish(&s.client, 1, 1, MESSAGE_NORMAL, 60000);
    wish(&s.client, 2, 2, MESSAGE_NORMAL, 20000);
    wish(&s.client, 3, 3, MESSAGE_NORMAL, 40000);
    wish(&s.client, 4, 4, MESSAGE_NORMAL, 20000);
    worker_says_heartbeat(&s.worker, 1, 0, 0);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 0), 2);
    assert_int_equal(serve(&s, 10 * MS), 4);
    assert_int_equal(serve(&s, 10 * MS), 3);
    assert_int_equal(serve(&s, 10 * MS), 1);
    close_scene(&s);
}

static void low_work_goes_on_under_a_flood_of_urgent_work(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    for (int64_t i = 0; i < 30; i++)
        wish(&s.other, i, 500000 + i, MESSAGE_LOW, HOUR_MS);
    for (int64_t i = 0; i < 400; i++) {
        wish(&s.client, i, 1000 + i, MESSAGE_HIGH, HOUR_MS);
        desk_turn(&s.d, 0);
        serve(&s, i ? 10 * MS : 0);
        if (i % 50 == 0)
            drop_answers(&s.client);
    }
    assert_in_range(s.got[MESSAGE_LOW], 18, 21);         /* 5 % of 400 */
    assert_in_range(s.got[MESSAGE_HIGH], 378, 382);
    close_scene(&s);
}

static void urgent_work_has_a_place_on_a_full_worker(void **state)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 2);
    for (int64_t id = 1; id <= 3; id++)
        client_wishes(&s.client, id, id);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 2);
    wish(&s.other, 1, 11, MESSAGE_HIGH, 60000);
    wish(&s.other, 2, 12, MESSAGE_HIGH, 60000);
    desk_turn(&s.d, 0);
    struct job_seen express = worker_gets_one(&s.worker);

    assert_int_equal(express.recipe.seed, 11);           /* one, and only one */
    assert_int_equal(express.priority, MESSAGE_HIGH);
    worker_says_result(&s.worker, &jobs[0]);             /* two are out: full again */
    desk_turn(&s.d, 0);
    express = worker_gets_one(&s.worker);
    assert_int_equal(express.recipe.seed, 12);
    worker_says_result(&s.worker, &express);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);                       /* the place is not for normal work */
    worker_says_heartbeat(&s.worker, 0, 2, 1);           /* who takes nothing has no place either */
    wish(&s.other, 3, 13, MESSAGE_HIGH, 60000);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);
    close_scene(&s);
}

static void what_is_too_late_for_its_deadline_reaches_no_worker(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    client_wishes(&s.other, 1, 1);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 0), 1);
    wish(&s.client, 1, 5, MESSAGE_NORMAL, 1100);         /* nothing is measured: it may wait */
    wish(&s.client, 2, 6, MESSAGE_NORMAL, 60000);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 1000 * MS), 6);           /* 100 ms are left, a second needed */
    assert_true(refused(&s.client, 1, ERR_DEADLINE, "its turn came 100 ms before") > 0);
    assert_int_equal(s.d.b->count.expired, 1);
    close_scene(&s);
}

static void the_others_who_wait_for_the_same_picture_still_get_it(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    client_wishes(&s.other, 1, 1);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 0), 1);
    wish(&s.client, 1, 5, MESSAGE_NORMAL, 1100);
    wish(&s.client, 2, 5, MESSAGE_NORMAL, 60000);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 1000 * MS), 5);
    assert_true(refused(&s.client, 1, ERR_DEADLINE, "too late") > 0);
    assert_int_equal(serve(&s, 1000 * MS), -1);
    client_gets_image(&s.client, 2, 5);
    close_scene(&s);
}

/* ---- admission ---- */

static void nobody_is_refused_while_nothing_is_measured(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    wish_page(&s.client, 1, 100, 1000, 1, "");
    desk_feed(&s.d);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->waiters, 1000);
    desk_turn(&s.d, 1);
    close_scene(&s);
}

static void what_would_be_late_is_refused_at_once_with_the_figures(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    measure(&s, 100 * MS);
    wish(&s.client, 1, 1, MESSAGE_NORMAL, 50);           /* not even alone */
    desk_turn(&s.d, 0);
    refused(&s.client, 1, ERR_DEADLINE, "a picture takes about 100 ms, the deadline is 50 ms");
    wish_page(&s.client, 2, 100, 50, HOUR_MS, "");
    desk_turn(&s.d, 0);
    wish(&s.client, 3, 3, MESSAGE_NORMAL, 1000);         /* 1 held, 49 queued, and it */
    desk_turn(&s.d, 0);
    assert_int_equal(refused(&s.client, 3, ERR_OVERLOADED,
                             "would take about 5100 ms, the deadline is 1000 ms"), 4100);
    wish(&s.client, 4, 4, MESSAGE_NORMAL, 5100);         /* just enough */
    wish(&s.client, 5, 5, MESSAGE_NORMAL, 5150);         /* and now no longer */
    desk_turn(&s.d, 0);
    refused(&s.client, 5, ERR_OVERLOADED, "would take about 5200 ms, the deadline is 5150 ms");
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->count.refused, 3);
    close_scene(&s);
}

static void a_page_is_admitted_as_far_as_it_fits(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    measure(&s, 100 * MS);
    wish_page(&s.client, 1, 100, 56, 3000, "");
    desk_turn(&s.d, 0);
    assert_int_equal(s.d.b->waiters, 30);
    for (int i = 30; i < 56; i++)
        refused(&s.client, 1, ERR_OVERLOADED, "would take about 3100 ms");
    peer_hears_nothing(&s.client);
    for (int64_t i = 0; i < 30; i++)         /* and all that was admitted is in time */
        assert_int_equal(serve(&s, i ? 100 * MS : 0), 100 + i);
    assert_int_equal(serve(&s, 100 * MS), -1);
    for (int64_t i = 0; i < 30; i++)
        client_gets_image(&s.client, 1, 100 + i);
    client_gets_done(&s.client, 1, 56, 26);
    close_scene(&s);
}

static void anothers_long_queue_refuses_nobody_whose_turn_comes_in_time(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    measure(&s, 100 * MS);
    wish_page(&s.client, 1, 100, 500, HOUR_MS, "");
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 0), 100);
    wish(&s.other, 1, 1, MESSAGE_NORMAL, 500);           /* its turn is the second */
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.other);
    wish(&s.client, 2, 2, MESSAGE_NORMAL, 500);          /* behind its own five hundred */
    wish(&s.client, 3, 3, MESSAGE_HIGH, 500);            /* before them */
    wish(&s.other, 4, 4, MESSAGE_LOW, 500);              /* behind all of them */
    desk_turn(&s.d, 0);
    refused(&s.client, 2, ERR_OVERLOADED, "would take about 50");
    refused(&s.other, 4, ERR_OVERLOADED, "would take about 50");
    peer_hears_nothing(&s.client);
    assert_int_equal(serve(&s, 100 * MS), 3);            /* over the express place */
    assert_int_equal(serve(&s, 100 * MS), 1);
    close_scene(&s);
}

static void more_workers_take_more(void **state)
{
    struct scene s = { 0 };
    struct peer second;

    (void)state;
    open_scene(&s, patient(), 1);
    measure(&s, 100 * MS);
    worker_joins(&s.d, &second, "host:2:2", 1);
    wish_page(&s.client, 1, 100, 40, 2150, "");          /* 20 for each, and its own batch */
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    worker_says_bye(&second);
    desk_turn(&s.d, 0);
    wish(&s.client, 2, 2, MESSAGE_NORMAL, 2150);
    desk_turn(&s.d, 0);
    refused(&s.client, 2, ERR_OVERLOADED, "would take about 41");
    peer_leave(&second);
    close_scene(&s);
}

static void what_a_worker_does_for_other_brokers_counts(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 8);
    worker_says_heartbeat(&s.worker, 1, 0, 0);
    measure(&s, 100 * MS);
    says_backlog(&s, 1, 0, 20000);
    wish(&s.client, 1, 1, MESSAGE_HIGH, 10000);
    desk_turn(&s.d, 0);
    refused(&s.client, 1, ERR_OVERLOADED, "would take about 20100 ms, the deadline is 10000 ms");
    says_backlog(&s, 1, 0, 2000);
    wish(&s.client, 2, 2, MESSAGE_HIGH, 10000);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 0), 2);
    says_backlog(&s, 1, 1, 2100);            /* with ours: it is not counted twice */
    wish(&s.client, 3, 3, MESSAGE_HIGH, 2210);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 100 * MS), 3);
    close_scene(&s);
}

/* Else a model that was once measured as too slow would be refused for ever. */
static void an_old_measure_refuses_nobody(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    measure(&s, 5000 * MS);
    wish(&s.client, 1, 1, MESSAGE_NORMAL, 1000);
    desk_turn(&s.d, 0);
    refused(&s.client, 1, ERR_DEADLINE, "a picture takes about 5000 ms");
    desk_turn(&s.d, COST_FRESH_MS);
    wish(&s.client, 2, 2, MESSAGE_NORMAL, 1000);
    desk_turn(&s.d, 0);
    assert_int_equal(serve(&s, 0), 2);
    assert_int_equal(serve(&s, 10 * MS), -1);
    client_gets_image(&s.client, 2, 2);
    close_scene(&s);
}

static void who_joins_a_render_is_not_refused(void **state)
{
    struct scene s = { 0 };

    (void)state;
    open_scene(&s, patient(), 1);
    measure(&s, 100 * MS);
    wish_page(&s.client, 1, 100, 50, HOUR_MS, "");
    desk_turn(&s.d, 0);
    wish(&s.client, 2, 149, MESSAGE_NORMAL, 1000);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    close_scene(&s);
}

/* ---- bounds ---- */

static void full_of(struct broker_options options, const char *words)
{
    struct scene s = { 0 };

    open_scene(&s, options, 0);
    for (int64_t id = 1; id <= 4; id++) {
        wish(&s.client, id, id, MESSAGE_LOW, 60000);
        desk_turn(&s.d, 0);
    }
    assert_int_equal(s.d.b->waiters, 3);
    refused(&s.client, 4, ERR_OVERLOADED, words);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->count.refused, 1);
    client_cancels(&s.client, 9, 1);         /* room again */
    client_wishes(&s.client, 5, 5);
    desk_turn(&s.d, 0);
    client_gets_done(&s.client, 9, 1, 0);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->waiters, 3);
    close_scene(&s);
}

static void every_bound_refuses_in_words(void **state)
{
    struct broker_options options = patient();
    struct recipe_transform none = { .kind = RECIPE_TRANSFORM_NONE };
    size_t bytes = 3 * waiter_bytes(&none) + 3 * 96;     /* and what requests take */

    (void)state;
    options.waiters_max = 3;
    full_of(options, "the broker has 3 pictures waiting, and waiters_max is 3;");
    options = patient();
    options.level_waiters_max = 3;
    full_of(options, "level low has 3 pictures waiting, and level_waiters_max is 3;");
    options = patient();
    options.client_waiters_max = 3;
    full_of(options, "this client has 3 pictures waiting, and client_waiters_max is 3;");
    options = patient();
    options.queue_bytes = bytes;
    full_of(options, "bytes, and queue_bytes is");
    options = patient();
    options.client_bytes = bytes;
    full_of(options, "bytes, and client_bytes is");
}

static void a_client_may_ask_for_so_many_a_second(void **state)
{
    struct broker_options options = patient();
    struct scene s = { 0 };

    (void)state;
    options.client_rate = 10;
    options.client_burst = 2;
    open_scene(&s, options, 0);
    wish_page(&s.client, 1, 100, 3, 60000, "");
    client_wishes(&s.other, 1, 5);           /* another client's rate is its own */
    desk_turn(&s.d, 0);
    assert_int_equal(refused(&s.client, 1, ERR_OVERLOADED,
                             "this client may ask for 10 pictures a second"), 100);
    peer_hears_nothing(&s.other);
    desk_turn(&s.d, 100);
    client_wishes(&s.client, 2, 6);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    close_scene(&s);
}

/* A full queue says when about a tenth of it has left. */
static void a_full_queue_says_when_to_ask_again(void **state)
{
    struct broker_options options = patient();
    struct scene s = { 0 };

    (void)state;
    options.client_waiters_max = 101;
    open_scene(&s, options, 1);
    measure(&s, 100 * MS);
    wish_page(&s.client, 1, 100, 101, HOUR_MS, "");
    desk_turn(&s.d, 0);
    wish(&s.client, 2, 2, MESSAGE_NORMAL, HOUR_MS);
    desk_turn(&s.d, 0);
    assert_int_equal(refused(&s.client, 2, ERR_OVERLOADED, "client_waiters_max is 101"), 1000);
    close_scene(&s);
}

/* ---- memory ---- */

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

static void a_hundred_thousand_queued_pictures_take_500_bytes_each(void **state)
{
    enum { CLIENTS = 20, EACH = 5000, AT_ONCE = 250, BYTES = 500 };
    struct broker_options options = patient();
    struct peer clients[CLIENTS];
    struct scene s = { 0 };
    size_t before, after;

    (void)state;
    options.level_waiters_max = CLIENTS * EACH;
    open_scene(&s, options, 1);
    for (int i = 0; i < CLIENTS; i++) {
        client_join(&s.d, &clients[i], LINK_DEALER);
        client_wishes(&clients[i], 1, i);    /* what a client takes by itself, and libzmq */
    }
    desk_turn(&s.d, 0);
    before = in_use();
    for (int64_t id = 2; id <= EACH; id++) {
        for (int i = 0; i < CLIENTS; i++)
            client_wishes(&clients[i], id, id * CLIENTS + i);
        if (id % AT_ONCE == 0)
            desk_feed(&s.d);
    }
    desk_feed(&s.d);
    assert_int_equal(s.d.b->waiters, CLIENTS * EACH);
    after = in_use();
    print_message("%zu bytes a picture, counted as %zu\n", (after - before) / (CLIENTS * EACH),
                  waiters_bytes(s.d.b) / (CLIENTS * EACH));
    if (after > before) {            /* a sanitizer's malloc does not say */
        assert_in_range((after - before) / (CLIENTS * EACH), BYTES / 4, BYTES);
        /* The books are as good as malloc's own: no less, and no more than a tenth above. */
        assert_in_range(waiters_bytes(s.d.b), after - before, (after - before) / 10 * 11);
    }
    desk_turn(&s.d, 0);
    for (int i = 0; i < CLIENTS; i++)
        peer_leave(&clients[i]);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_picture_does_not_wait_behind_a_page),
        cmocka_unit_test(clients_that_always_have_work_get_the_same_cost),
        cmocka_unit_test(a_proxy_speaks_for_clients_that_take_turns_of_their_own),
        cmocka_unit_test(the_nearest_deadline_of_a_client_goes_first),
        cmocka_unit_test(low_work_goes_on_under_a_flood_of_urgent_work),
        cmocka_unit_test(urgent_work_has_a_place_on_a_full_worker),
        cmocka_unit_test(what_is_too_late_for_its_deadline_reaches_no_worker),
        cmocka_unit_test(the_others_who_wait_for_the_same_picture_still_get_it),
        cmocka_unit_test(nobody_is_refused_while_nothing_is_measured),
        cmocka_unit_test(what_would_be_late_is_refused_at_once_with_the_figures),
        cmocka_unit_test(a_page_is_admitted_as_far_as_it_fits),
        cmocka_unit_test(anothers_long_queue_refuses_nobody_whose_turn_comes_in_time),
        cmocka_unit_test(more_workers_take_more),
        cmocka_unit_test(what_a_worker_does_for_other_brokers_counts),
        cmocka_unit_test(an_old_measure_refuses_nobody),
        cmocka_unit_test(who_joins_a_render_is_not_refused),
        cmocka_unit_test(every_bound_refuses_in_words),
        cmocka_unit_test(a_client_may_ask_for_so_many_a_second),
        cmocka_unit_test(a_full_queue_says_when_to_ask_again),
        cmocka_unit_test(a_hundred_thousand_queued_pictures_take_500_bytes_each),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
