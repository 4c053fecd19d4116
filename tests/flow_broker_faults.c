/* What faulty, lying, hanging and dying peers do to a broker, row by row of the table of states in
 * broker/README.md: nobody else pays for it, nothing is lost, nothing grows without a bound. In one
 * thread, the clock turned by hand; flow_broker.c has the rows for peers that behave. */
#include "tests/kit_broker.h"

#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONG_MS = 1000000000, PATIENCE_MS = 60000 };

/* Seed 5 under request 1, brought to that state. */
static struct job_seen lease_one(struct stage *s, enum render_state to)
{
    struct job_seen job;

    client_wishes(&s->client, 1, 5);
    desk_turn(&s->d, 0);
    job = worker_gets_one(&s->worker);
    if (to >= RENDER_RENDERING)
        worker_says(&s->worker, MESSAGE_STARTED, job.lease);
    if (to >= RENDER_COMMITTING)
        worker_says(&s->worker, MESSAGE_RENDERED, job.lease);
    desk_turn(&s->d, 0);
    assert_int_equal(s->d.b->renders.count[to], 1);
    return job;
}

/* ---- workers that are gone ---- */

enum going { LEAVES, IS_KILLED, FALLS_SILENT, HANGS, GOINGS };

/* Until its lease has ended. */
static void go(struct stage *s, enum going how)
{
    int64_t give_up_ms = clock_ms() + PATIENCE_MS;

    if (how == LEAVES) {
        worker_says_bye(&s->worker);
        desk_turn(&s->d, 0);
    } else if (how == IS_KILLED) {           /* no bye: what is sent finds nobody */
        struct message heartbeat;

        message_init(&heartbeat, MESSAGE_HEARTBEAT, 0);
        peer_leave(&s->worker);
        while (!s->d.b->roster.by_peer->gone) {
            assert_true(clock_ms() < give_up_ms);
            send_worker(s->d.b, s->d.b->roster.by_peer, &heartbeat);
            desk_feed(&s->d);        /* libzmq closes its end when all before that was read */
        }
        desk_turn(&s->d, 1000);
    } else {
        for (int i = 0; i < 4; i++) {
            if (how == HANGS)
                worker_says_heartbeat(&s->worker, 4, 1, 7);  /* never another number */
            desk_turn(&s->d, 1000);
        }
    }
}

/* In each state, whatever way the worker goes: the render is another's, and only where it was on
 * the device that was an attempt. */
static void a_worker_that_goes_costs_an_attempt_only_what_it_was_rendering(void **state)
{
    (void)state;
    for (int at = RENDER_HELD; at < RENDER_STATE_COUNT; at++)
        for (int how = LEAVES; how < GOINGS; how++) {
            struct broker_options options = BROKER_OPTIONS_DEFAULT;
            struct peer second;
            struct stage s;

            if (at == RENDER_COMMITTING && how == HANGS)
                continue;            /* needs a ledger that works: flow_broker_ledger */
            options.stall_ms = how == HANGS ? 2000 : LONG_MS;
            options.silence_ms = how == FALLS_SILENT ? 3000 : LONG_MS;
            stage_open(&s, options, 4);
            lease_one(&s, (enum render_state)at);
            go(&s, (enum going)how);
            assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
            assert_int_equal(s.d.b->renders.by_key->attempts, at == RENDER_RENDERING);
            assert_int_equal(s.d.b->count.retried, 1);
            worker_joins(&s.d, &second, "host:2:2", 4);
            struct job_seen job = worker_gets_one(&second);

            assert_true(job.alone == (at == RENDER_RENDERING));
            worker_says_result(&second, &job);
            desk_turn(&s.d, 0);
            client_gets_image(&s.client, 1, 5);
            peer_hears_nothing(&s.client);
            peer_leave(&second);
            stage_close(&s);
        }
}

/* Hung, its lease given to another, and then it answers after all. */
static void a_result_after_the_lease_ended_answers_nobody_and_frees_nothing(void **state)
{
    struct broker_options options = desk_patient();
    struct job_seen late, job, jobs[DESK_JOBS_MAX];
    struct peer second;
    struct stage s;

    (void)state;
    options.stall_ms = 2000;
    stage_open(&s, options, 2);
    late = lease_one(&s, RENDER_RENDERING);
    go(&s, HANGS);
    worker_joins(&s.d, &second, "host:2:2", 2);
    job = worker_gets_one(&second);
    worker_says_result(&s.worker, &late);    /* the right recipe, under a lease that has ended */
    worker_says_result(&s.worker, &late);
    worker_says(&s.worker, MESSAGE_STARTED, late.lease);
    worker_says(&s.worker, MESSAGE_HANDBACK, late.lease);
    worker_says_fail(&s.worker, late.lease, "invalid");
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->count.late, 3);
    assert_int_equal(s.d.b->renders.count[RENDER_HELD], 1);
    worker_says_result(&second, &job);
    worker_says_result(&second, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->count.late, 4);
    worker_says_heartbeat(&s.worker, 2, 0, 8);
    for (int64_t seed = 10; seed < 20; seed++)
        client_wishes(&s.client, seed, seed);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 2);       /* no more than it has said */
    assert_int_equal(worker_gets(&second, jobs), 2);
    peer_leave(&second);
    stage_close(&s);
}

/* ---- poison ---- */

enum { DEADLY = 3, MATES = 8 };

/* Takes jobs as a worker does: what may share a batch first, what is to run alone after it, each by
 * itself. Says bye when the deadly one is on the device, true then. */
static bool work_until_death(struct stage *s, struct peer *worker, bool *was_alone)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    size_t count = worker_gets(worker, jobs);

    for (int alone = 0; alone <= 1; alone++) {
        for (size_t i = 0; i < count; i++)
            if (jobs[i].alone == alone) {
                worker_says(worker, MESSAGE_STARTED, jobs[i].lease);
                if (alone && jobs[i].recipe.seed != DEADLY)
                    worker_says_result(worker, &jobs[i]);
                if (alone && jobs[i].recipe.seed == DEADLY)
                    break;
            }
        for (size_t i = 0; i < count; i++)
            if (jobs[i].alone == alone && jobs[i].recipe.seed == DEADLY) {
                *was_alone = alone;
                worker_says_bye(worker);
                desk_turn(&s->d, 0);
                return true;
            }
        for (size_t i = 0; i < count && !alone; i++)
            if (!jobs[i].alone)
                worker_says_result(worker, &jobs[i]);
    }
    desk_turn(&s->d, 0);
    return false;
}

static void what_kills_its_worker_is_poison_and_its_mates_are_answered(void **state)
{
    struct broker_options options = desk_patient();
    bool answered[MATES] = { false }, alone = true;
    int deaths = 0, alone_deaths = 0;
    struct heard h;
    struct stage s;

    (void)state;
    stage_open(&s, options, 0);
    for (int64_t seed = 0; seed < MATES; seed++)
        client_wishes(&s.client, seed + 1, seed);
    desk_turn(&s.d, 0);
    for (int i = 0; s.d.b->waiters > 0 && i < 20; i++) {
        struct peer worker;
        char name[32];

        snprintf(name, sizeof name, "host:%d:%d", 10 + i, i);
        worker_joins(&s.d, &worker, name, 2 * MATES);
        if (work_until_death(&s, &worker, &alone)) {
            deaths++;
            alone_deaths += alone;
        } else {
            worker_says_bye(&worker);
            desk_turn(&s.d, 0);
        }
        peer_leave(&worker);
    }
    assert_int_equal(s.d.b->waiters, 0);
    while (peer_hears(&s.client, &h)) {
        assert_in_range(h.m.id, 1, MATES);
        assert_false(answered[h.m.id - 1]);
        answered[h.m.id - 1] = true;
        if (h.m.id - 1 == DEADLY)
            assert_true(h.m.type == MESSAGE_ERROR && text_is(h.m.error.code, "poison"));
        else
            assert_int_equal(h.m.type, MESSAGE_IMAGE);
        heard_release(&h);
    }
    for (int i = 0; i < MATES; i++)
        assert_true(answered[i]);
    assert_int_equal(deaths, options.attempts_max);
    assert_int_equal(alone_deaths, options.attempts_max - 1);    /* the first was in a batch */
    stage_close(&s);
}

/* ---- workers that lie ---- */

/* The broker passes files on without hashing them: whoever reads one does (libseedpress refuses
 * it). */
static void a_file_with_another_hash_is_passed_on_with_the_hash_that_tells(void **state)
{
    struct message m;
    struct heard h;
    struct stage s;

    (void)state;
    stage_open(&s, desk_patient(), 4);
    struct job_seen job = lease_one(&s, RENDER_HELD);
    struct message_result result = {
        .lease = job.lease, .recipe_key = recipe_key(&job.recipe), .numerics_class = text_of("x"),
        .encoder = text_of("x"), .sha256 = digest_of("good", 4), .core_sha256 = digest_of("x", 1),
        .bytes = 4,
    };

    message_init(&m, MESSAGE_RESULTS, 0);
    m.results.results = (struct records){ &result, 1 };
    peer_say(&s.worker, &m, "evil");
    desk_turn(&s.d, 0);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_IMAGE);
    struct digest real = digest_of(frame_data(&h.parcel.body[1]), frame_len(&h.parcel.body[1]));

    assert_true(digest_equal(&h.m.image.sha256, &result.sha256));
    assert_false(digest_equal(&h.m.image.sha256, &real));
    heard_release(&h);
    stage_close(&s);
}

/* Two results in a frame that is a byte too long: nobody knows whose bytes are whose. */
static void of_results_whose_lengths_do_not_add_up_none_is_believed(void **state)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    struct message_result results[2];
    struct peer second;
    struct message m;
    struct stage s;

    (void)state;
    stage_open(&s, desk_patient(), 4);
    client_wishes(&s.client, 1, 1);
    client_wishes(&s.client, 2, 2);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 2);
    for (int i = 0; i < 2; i++)
        results[i] = (struct message_result){
            .lease = jobs[i].lease, .recipe_key = recipe_key(&jobs[i].recipe), .bytes = 4,
            .numerics_class = text_of("x"), .encoder = text_of("x"),
            .sha256 = digest_of("file", 4), .core_sha256 = digest_of("file", 4),
        };
    message_init(&m, MESSAGE_RESULTS, 0);
    m.results.results = (struct records){ results, 2 };
    peer_say(&s.worker, &m, "filefile+");
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    worker_joins(&s.d, &second, "host:2:2", 4);
    worker_says_bye(&s.worker);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&second, jobs), 2);
    for (int i = 0; i < 2; i++) {
        assert_true(jobs[i].alone);
        worker_says_result(&second, &jobs[i]);
    }
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, jobs[0].recipe.seed, jobs[0].recipe.seed);
    client_gets_image(&s.client, jobs[1].recipe.seed, jobs[1].recipe.seed);
    peer_leave(&second);
    stage_close(&s);
}

static void leases_that_were_never_given_are_nobodys(void **state)
{
    static const int64_t LEASES[] = { 1, 77, INT64_C(1) << 52 };
    struct stage s;

    (void)state;
    stage_open(&s, desk_patient(), 4);
    struct job_seen job = lease_one(&s, RENDER_HELD);

    for (int i = 0; i < 3; i++) {
        struct job_seen none = job;

        none.lease = LEASES[i] == job.lease ? 99 : LEASES[i];
        worker_says(&s.worker, MESSAGE_STARTED, none.lease);
        worker_says(&s.worker, MESSAGE_RENDERED, none.lease);
        worker_says(&s.worker, MESSAGE_HANDBACK, none.lease);
        worker_says_result(&s.worker, &none);
        worker_says_fail(&s.worker, none.lease, "device");
    }
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&s.worker);
    assert_int_equal(s.d.b->renders.count[RENDER_HELD], 1);
    assert_int_equal(s.d.b->count.late, 6);
    assert_int_equal(s.d.b->count.retried, 0);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    stage_close(&s);
}

/* Says that it has room for everything, and gives everything back, as fast as it can. */
static void hand_back_for_ever(struct stage *s, const char *fail, size_t *dispatched)
{
    struct job_seen jobs[DESK_JOBS_MAX];

    for (int round = 0; round < 1000; round++) {
        size_t count = worker_gets(&s->worker, jobs);

        *dispatched += count;
        for (size_t i = 0; i < count; i++)
            if (fail)
                worker_says_fail(&s->worker, jobs[i].lease, fail);
            else
                worker_says(&s->worker, MESSAGE_HANDBACK, jobs[i].lease);
        worker_says_heartbeat(&s->worker, 4096, 0, round);
        desk_turn(&s->d, 0);
    }
}

static void a_worker_that_hands_back_for_ever_makes_no_storm(void **state)
{
    static const char *const WAYS[] = { NULL, "retry" };
    enum { WISHES = 20, BOUND = ROSTER_HANDBACKS_MAX + WISHES };

    (void)state;
    for (int way = 0; way < 2; way++) {
        struct job_seen jobs[DESK_JOBS_MAX];
        size_t dispatched = 0;
        struct peer second;
        struct stage s;

        stage_open(&s, desk_patient(), 4096);
        for (int64_t seed = 1; seed <= WISHES; seed++)
            client_wishes(&s.client, seed, seed);
        desk_turn(&s.d, 0);
        hand_back_for_ever(&s, WAYS[way], &dispatched);
        assert_in_range(dispatched, WISHES, BOUND);
        desk_turn(&s.d, 1000);               /* another second, another chance */
        hand_back_for_ever(&s, WAYS[way], &dispatched);
        assert_in_range(dispatched, 2 * WISHES, 2 * BOUND);
        worker_joins(&s.d, &second, "host:2:2", 4096);
        assert_int_equal(worker_gets(&second, jobs), WISHES);
        for (int i = 0; i < WISHES; i++)
            worker_says_result(&second, &jobs[i]);
        desk_turn(&s.d, 0);
        for (int i = 0; i < WISHES; i++)
            client_gets_image(&s.client, jobs[i].recipe.seed, jobs[i].recipe.seed);
        peer_leave(&second);
        stage_close(&s);
    }
}

/* ---- clients that do not read ---- */

enum { FROZEN = 3, BIG = 100000 };

/* One render for all of them: every outbox shares the same bytes, and counts them. */
static void say_big_result(struct stage *s, const struct job_seen *job)
{
    char *jpeg = malloc(BIG + 1);
    struct message m;

    assert_non_null(jpeg);
    memset(jpeg, 'x', BIG);
    jpeg[BIG] = '\0';
    struct message_result result = {
        .lease = job->lease, .recipe_key = recipe_key(&job->recipe), .numerics_class = text_of("x"),
        .encoder = text_of("x"), .sha256 = digest_of(jpeg, BIG), .core_sha256 = digest_of("x", 1),
        .bytes = BIG,
    };

    message_init(&m, MESSAGE_RESULTS, 0);
    m.results.results = (struct records){ &result, 1 };
    peer_say(&s->worker, &m, jpeg);
    free(jpeg);
}

static void wish_and_make(struct stage *s, struct peer *clients, int count, int64_t id)
{
    struct job_seen job;

    for (int i = 0; i < count; i++)
        client_wishes(&clients[i], id, id);
    desk_turn(&s->d, 0);
    job = worker_gets_one(&s->worker);
    say_big_result(s, &job);
    desk_turn(&s->d, 0);             /* audits every outbox, and all of them together */
}

static void shared_pictures_count_for_every_client_that_does_not_read(void **state)
{
    struct broker_options options = desk_patient();
    struct peer frozen[FROZEN];
    struct stage s;

    (void)state;
    options.outbox_max = 10 * BIG;
    stage_open(&s, options, 4);
    for (int i = 0; i < FROZEN; i++)
        client_join_slow(&s.d, &frozen[i]);
    for (int64_t id = 1; id <= 60 && s.d.b->clients.dropped < FROZEN; id++)
        wish_and_make(&s, frozen, FROZEN, id);
    assert_int_equal(s.d.b->clients.dropped, FROZEN);
    assert_int_equal(s.d.b->clients.outbox_bytes, 0);        /* at once, not with the next second */
    desk_turn(&s.d, 1000);
    wish_and_make(&s, &s.client, 1, 100);
    struct heard h;

    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(frame_len(&h.parcel.body[1]), BIG);
    heard_release(&h);
    for (int i = 0; i < FROZEN; i++)
        peer_leave(&frozen[i]);
    stage_close(&s);
}

/* Reads all that comes, and how many pictures that is. */
static int read_all(struct stage *s, struct peer *client)
{
    int count = 0;
    struct heard h;

    for (int turn = 0; turn < 100; turn++) {
        while (peer_hears(client, &h)) {
            count++;
            assert_int_equal(h.m.id, count);
            heard_release(&h);
        }
        desk_turn(&s->d, 5);
    }
    return count;
}

static void when_all_outboxes_are_full_the_fullest_goes_first(void **state)
{
    enum { MODEST = 25 };            /* answers to the two that have few */
    struct broker_options options = desk_patient();
    struct peer frozen[FROZEN];
    struct stage s;
    int64_t id = 0;

    (void)state;
    options.outbox_total_max = 60 * BIG;
    stage_open(&s, options, 4);
    for (int i = 0; i < FROZEN; i++)
        client_join_slow(&s.d, &frozen[i]);
    while (id < MODEST)
        wish_and_make(&s, frozen, FROZEN, ++id);
    assert_int_equal(s.d.b->clients.dropped, 0);
    assert_true(s.d.b->clients.outbox_bytes > 3 * 10 * BIG);
    while (s.d.b->clients.dropped == 0 && id < 200)
        wish_and_make(&s, &frozen[2], 1, ++id);
    assert_int_equal(s.d.b->clients.dropped, 1);
    assert_int_equal(read_all(&s, &frozen[0]), MODEST);      /* the others lose nothing */
    assert_int_equal(read_all(&s, &frozen[1]), MODEST);
    assert_int_equal(s.d.b->clients.letters, 0);
    for (int i = 0; i < FROZEN; i++)
        peer_leave(&frozen[i]);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_goes_costs_an_attempt_only_what_it_was_rendering),
        cmocka_unit_test(a_result_after_the_lease_ended_answers_nobody_and_frees_nothing),
        cmocka_unit_test(what_kills_its_worker_is_poison_and_its_mates_are_answered),
        cmocka_unit_test(a_file_with_another_hash_is_passed_on_with_the_hash_that_tells),
        cmocka_unit_test(of_results_whose_lengths_do_not_add_up_none_is_believed),
        cmocka_unit_test(leases_that_were_never_given_are_nobodys),
        cmocka_unit_test(a_worker_that_hands_back_for_ever_makes_no_storm),
        cmocka_unit_test(shared_pictures_count_for_every_client_that_does_not_read),
        cmocka_unit_test(when_all_outboxes_are_full_the_fullest_goes_first),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
