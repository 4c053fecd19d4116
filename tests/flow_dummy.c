/* Dummy workers: what they answer, what they cost, who takes them, and what becomes of their jobs
 * when they are killed. */
#include "base/clock.h"
#include "tests/kit_broker.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WAIT_MS = 60000 };

/* ---- its options, beside test_dummy ---- */

static void a_worker_with_options_that_cannot_be_says_so(void **state)
{
    const char *build = getenv("SEEDPRESS_BUILD");
    char path[256];
    struct ran ran;

    (void)state;
    snprintf(path, sizeof path, "%s/seedpress-worker", build ? build : "build");
    ran = run_program((const char *[]){ path, "--dummy", "bytes=0", NULL });
    assert_int_equal(ran.exit_code, 2);
    assert_non_null(strstr(ran.err, "bytes 0 is out of range"));
    ran_release(&ran);
    /* More sockets than one poll waits for. */
    ran = run_program((const char *[]){ path, "--dummy", "count=16", "--brokers",
                                        "tcp://127.0.0.1:1,tcp://127.0.0.1:2,tcp://127.0.0.1:3,"
                                        "tcp://127.0.0.1:4", NULL });
    assert_int_equal(ran.exit_code, 2);
    assert_non_null(strstr(ran.err, "start another process"));
    ran_release(&ran);
}

/* ---- who takes them ---- */

/* The name tells workers apart; the model is of 64 x 64 and has no noise. */
static void say_ready(struct peer *peer, const char *model, bool dummy)
{
    struct message_model models[] = {
        { .name = text_of(model), .digest = digest_of("d", 1), .arch = text_of("dummy"),
          .width = 64, .height = 64, .num_ws = 10, .z_dim = 512, .w_dim = 512, .noise_modes = 1 },
    };
    struct message m;

    message_init(&m, MESSAGE_READY, 0);
    m.ready = (struct message_ready){
        .worker = text_of("host:1:1"), .version = text_of("0"), .numerics_class = text_of("dummy"),
        .encoder = text_of("dummy"), .device = text_of("none"), .credit = 8, .batch_max = 8,
        .dummy = dummy, .models = { models, 1 },
    };
    peer_say(peer, &m, NULL);
}

static void expect_workers(bool without_ledger, const char *model, bool dummy, unsigned workers)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct link_options dealer = { .kind = LINK_DEALER, .frame_max = MESSAGE_MAP_MAX };
    struct desk desk;
    struct peer peer;
    struct err e;

    options.without_ledger = without_ledger;
    desk_open(&desk, NULL, &options);
    assert_int_equal(link_create(desk.context, &dealer, &peer.link, &e), ERR_OK);
    assert_int_equal(link_connect(peer.link, "inproc://workers", &e), ERR_OK);
    say_ready(&peer, model, dummy);
    desk_turn(&desk, 1);
    assert_int_equal(HASH_COUNT(desk.b->roster.by_peer), workers);
    assert_int_equal(HASH_COUNT(desk.b->models.by_digest), workers);
    peer_leave(&peer);
    desk_close(&desk);
}

static void a_broker_with_a_ledger_takes_no_dummy(void **state)
{
    (void)state;
    expect_workers(false, "dummy", true, 0);
    expect_workers(false, "dummy", false, 1);        /* the name alone makes none */
}

static void a_broker_without_a_ledger_takes_dummies_only(void **state)
{
    (void)state;
    expect_workers(true, "cats", false, 0);
    expect_workers(true, "dummy", false, 0);
    expect_workers(true, "dummy", true, 1);
}

static void a_dummy_has_no_model_but_its_own(void **state)
{
    (void)state;
    expect_workers(true, "cats", true, 0);
}

static void without_a_ledger_a_deadline_is_a_deadline(void **state)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct link_options dealer = { .kind = LINK_DEALER, .frame_max = MESSAGE_MAP_MAX };
    struct peer worker, client;
    struct message m;
    struct desk desk;
    struct err e;

    (void)state;
    options.without_ledger = true;
    options.silence_ms = 600000;
    desk_open(&desk, NULL, &options);
    assert_int_equal(link_create(desk.context, &dealer, &worker.link, &e), ERR_OK);
    assert_int_equal(link_connect(worker.link, "inproc://workers", &e), ERR_OK);
    say_ready(&worker, "dummy", true);
    client_join(&desk, &client, LINK_DEALER);
    desk_turn(&desk, 1);
    m = wish_of(1, 7);
    m.generate.model = text_of("dummy");
    m.generate.deadline_ms = 5000;
    peer_say(&client, &m, NULL);
    desk_turn(&desk, 1);
    desk_turn(&desk, 6000);
    client_gets_error(&client, 1, ERR_DEADLINE);     /* and not ledger_down */
    m.generate.seed = 8;
    m.generate.cache = MESSAGE_CACHE_ONLY;
    peer_say(&client, &m, NULL);
    desk_turn(&desk, 1);
    client_gets_error(&client, 1, ERR_LEDGER_DOWN);
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&desk);
}

/* Nothing can be withdrawn there: memory is trusted for ever. */
static void without_a_ledger_memory_answers_all_the_same(void **state)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct link_options dealer = { .kind = LINK_DEALER, .frame_max = MESSAGE_MAP_MAX };
    struct peer worker, client;
    struct job_seen job;
    struct message m;
    struct heard h;
    struct desk desk;
    struct err e;

    (void)state;
    options.without_ledger = true;
    options.silence_ms = 600000;
    desk_open(&desk, NULL, &options);
    assert_int_equal(link_create(desk.context, &dealer, &worker.link, &e), ERR_OK);
    assert_int_equal(link_connect(worker.link, "inproc://workers", &e), ERR_OK);
    say_ready(&worker, "dummy", true);
    client_join(&desk, &client, LINK_DEALER);
    desk_turn(&desk, 1);
    m = wish_of(1, 7);
    m.generate.model = text_of("dummy");
    peer_say(&client, &m, NULL);
    desk_turn(&desk, 1);
    job = worker_gets_one(&worker);
    worker_says_result(&worker, &job);
    desk_turn(&desk, 1);
    client_gets_image(&client, 1, 7);
    for (int64_t ms = 0; ms <= 2 * CACHE_TRUST_MS; ms += 1000)
        desk_turn(&desk, 1000);
    peer_say(&client, &m, NULL);
    desk_turn(&desk, 1);
    assert_true(peer_hears(&client, &h));
    assert_int_equal(h.m.type, MESSAGE_IMAGE);
    assert_int_equal(h.m.image.source, MESSAGE_SOURCE_MEMORY);
    heard_release(&h);
    peer_hears_nothing(&worker);
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&desk);
}

/* Nothing to wait for: who does not answer what it has made is hung. */
static void without_a_ledger_a_dummy_can_hang_in_its_last_stage(void **state)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct link_options dealer = { .kind = LINK_DEALER, .frame_max = MESSAGE_MAP_MAX };
    struct peer worker, client;
    struct job_seen job;
    struct message m;
    struct desk desk;
    struct err e;

    (void)state;
    options.without_ledger = true;
    options.stall_ms = 2000;
    desk_open(&desk, NULL, &options);
    assert_int_equal(link_create(desk.context, &dealer, &worker.link, &e), ERR_OK);
    assert_int_equal(link_connect(worker.link, "inproc://workers", &e), ERR_OK);
    say_ready(&worker, "dummy", true);
    client_join(&desk, &client, LINK_DEALER);
    desk_turn(&desk, 1);
    m = wish_of(1, 7);
    m.generate.model = text_of("dummy");
    peer_say(&client, &m, NULL);
    desk_turn(&desk, 1);
    job = worker_gets_one(&worker);
    worker_says(&worker, MESSAGE_STARTED, job.lease);
    worker_says(&worker, MESSAGE_RENDERED, job.lease);
    for (int i = 0; i < 5; i++) {
        worker_says_heartbeat(&worker, 8, 1, 2);
        desk_turn(&desk, 1000);
    }
    assert_int_equal(desk.b->renders.count[RENDER_COMMITTING], 0);
    assert_int_equal(desk.b->renders.count[RENDER_QUEUED], 1);
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&desk);
}

static void without_a_ledger_nobody_runs_errands(void **state)
{
    struct errand *errand = errand_create(ERRAND_NAMES);
    struct scribe *scribe;
    struct err e;

    (void)state;
    assert_int_equal(scribe_create(NULL, "", &scribe, &e), ERR_OK);
    assert_false(scribe_ledger_is_up(scribe));
    assert_false(scribe_ask(scribe, errand));
    assert_null(scribe_answer(scribe));
    errand_destroy(&errand);
    scribe_destroy(&scribe);
}

/* ---- what they answer ---- */

static struct message dummy_wish(int64_t id)
{
    struct message m = generate_of(id, id, 1000000);

    m.generate.model = text_of("dummy");
    return m;
}

struct answers {
    int64_t count, twice, batched;
    bool seen[1000];                /* by id */
};

/* Takes answers until count are there; each must be a picture of bytes whose hashes are right, and
 * that took a_us * batch + b_us. */
static void collect(struct kit_asker *asker, struct answers *all, int64_t count, size_t bytes,
                    int64_t a_us, int64_t b_us)
{
    while (all->count < count) {
        struct message m;
        struct parcel parcel;
        struct digest sha;

        assert_true(asker_receive(asker, &m, &parcel, WAIT_MS));
        assert_int_equal(m.type, MESSAGE_IMAGE);
        assert_int_equal(m.image.seed, m.id);
        assert_int_equal(frame_len(&parcel.body[1]), bytes);
        sha = digest_of(frame_data(&parcel.body[1]), bytes);
        assert_true(digest_equal(&sha, &m.image.sha256));
        assert_true(digest_equal(&sha, &m.image.core_sha256));
        sha = digest_of(m.image.recipe.data, m.image.recipe.len);
        assert_true(digest_equal(&sha, &m.image.recipe_key));
        assert_true(text_is(m.image.numerics_class, "dummy"));
        assert_int_equal(m.image.render_ms, (a_us * m.image.batch + b_us) / 1000);
        assert_true(m.id > 0 && m.id < 1000);
        all->twice += all->seen[m.id];
        all->seen[m.id] = true;
        all->batched += m.image.batch > 1;
        all->count++;
        message_release(&m);
        parcel_release(&parcel);
    }
}

static void ask_for(struct kit_asker *asker, int64_t first, int64_t count)
{
    for (int64_t id = first; id < first + count; id++) {
        struct message m = dummy_wish(id);

        asker_send(asker, &m);
    }
}

static void every_recipe_gets_the_same_bytes_with_true_hashes(void **state)
{
    struct answers all = { .count = 0 };
    struct kit_asker asker;
    struct kit_stack stack;

    (void)state;
    stack_start_bare(&stack, NULL);
    stack_start_dummies(&stack, 0, "bytes=5000,count=3", 3);
    asker_open(&asker, stack.clients, LINK_DEALER);
    ask_for(&asker, 1, 200);
    collect(&asker, &all, 200, 5000, 0, 0);
    assert_int_equal(all.twice, 0);
    asker_close(&asker);
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
    program_signal(&stack.broker, SIGTERM);
    assert_int_equal(program_wait(&stack.broker), 0);
    stack_destroy(&stack);
}

/* Waits until the broker has leased that many renders, and so many of them have started. */
static void await_leases(struct kit_asker *asker, int64_t leased, int64_t started)
{
    struct message_status_report st = { .held = 0 };

    while (st.held + st.rendering < leased || st.rendering < started) {
        struct parcel parcel;
        struct message m;

        message_init(&m, MESSAGE_STATUS, 5000);
        asker_send(asker, &m);
        assert_true(asker_receive(asker, &m, &parcel, WAIT_MS));
        assert_int_equal(m.type, MESSAGE_STATUS_REPORT);
        st = m.status_report;        /* its texts are not read */
        message_release(&m);
        parcel_release(&parcel);
    }
}

static void a_batch_costs_what_it_was_told_to(void **state)
{
    enum { A_US = 10000, B_US = 400000 };
    struct answers all = { .count = 0 };
    struct kit_asker asker;
    struct kit_stack stack;
    int64_t from_ms;

    (void)state;
    stack_start_bare(&stack, NULL);
    stack_start_dummies(&stack, 0, "a_us=10000,b_us=400000", 1);
    asker_open(&asker, stack.clients, LINK_DEALER);
    from_ms = clock_ms();
    ask_for(&asker, 1, 1);
    await_leases(&asker, 1, 1);
    ask_for(&asker, 2, 9);           /* while the first is at work: they go together */
    collect(&asker, &all, 10, 64, A_US, B_US);
    assert_true(clock_ms() - from_ms >= 2 * B_US / 1000);
    assert_true(all.batched > 0);
    asker_close(&asker);
    stack_destroy(&stack);
}

static void jobs_of_a_killed_dummy_are_answered_by_another(void **state)
{
    struct answers all = { .count = 0 };
    struct kit_asker asker;
    struct kit_stack stack;

    (void)state;
    stack_start_bare(&stack, NULL);
    stack_start_dummies(&stack, 0, "b_us=600000000", 1);
    asker_open(&asker, stack.clients, LINK_DEALER);
    ask_for(&asker, 1, 8);
    await_leases(&asker, 8, 0);
    stack_start_dummies(&stack, 1, "bytes=64", 1);
    program_kill(&stack.worker[0]);
    collect(&asker, &all, 8, 64, 0, 0);
    assert_int_equal(all.twice, 0);
    asker_close(&asker);
    stack_destroy(&stack);
}

static void a_dummy_that_leaves_hands_back_what_has_not_started(void **state)
{
    struct answers all = { .count = 0 };
    struct kit_asker asker;
    struct kit_stack stack;

    (void)state;
    stack_start_bare(&stack, NULL);
    stack_start_dummies(&stack, 0, "b_us=600000000", 1);
    asker_open(&asker, stack.clients, LINK_DEALER);
    ask_for(&asker, 1, 1);
    await_leases(&asker, 1, 1);
    ask_for(&asker, 2, 7);
    await_leases(&asker, 8, 1);
    stack_start_dummies(&stack, 1, "bytes=64", 1);
    program_signal(&stack.worker[0], SIGTERM);
    collect(&asker, &all, 7, 64, 0, 0);              /* all but the one that has started */
    assert_int_equal(all.twice, 0);
    asker_close(&asker);
    stack_destroy(&stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_with_options_that_cannot_be_says_so),
        cmocka_unit_test(a_broker_with_a_ledger_takes_no_dummy),
        cmocka_unit_test(a_broker_without_a_ledger_takes_dummies_only),
        cmocka_unit_test(a_dummy_has_no_model_but_its_own),
        cmocka_unit_test(without_a_ledger_a_deadline_is_a_deadline),
        cmocka_unit_test(without_a_ledger_memory_answers_all_the_same),
        cmocka_unit_test(without_a_ledger_a_dummy_can_hang_in_its_last_stage),
        cmocka_unit_test(without_a_ledger_nobody_runs_errands),
        cmocka_unit_test(every_recipe_gets_the_same_bytes_with_true_hashes),
        cmocka_unit_test(a_batch_costs_what_it_was_told_to),
        cmocka_unit_test(jobs_of_a_killed_dummy_are_answered_by_another),
        cmocka_unit_test(a_dummy_that_leaves_hands_back_what_has_not_started),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
