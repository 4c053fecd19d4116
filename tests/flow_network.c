/* Real programs with a bad network between them: silence, slowness, connections that break at any
 * byte. Every picture asked for is answered, exactly once. */
#include "client/seedpress.h"
#include "tests/kit_proxy.h"
#include "tests/kit_stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

enum { WAIT_MS = 120000, DEADLINE_MS = 100000, COUNT_MAX = 100 };

static struct kit_stack stack;
static struct kit_proxy to_clients, to_workers;     /* before the broker's ports */

static void start(const char *const *broker_flags)
{
    stack_start(&stack, broker_flags);
    proxy_start(&to_clients, stack.clients);
    proxy_start(&to_workers, stack.workers);
}

static int set_up(void **state)
{
    (void)state;
    start(NULL);
    return 0;
}

static int set_up_impatient(void **state)
{
    static const char *const flags[] = { "--silence-ms", "1500", NULL };

    (void)state;
    start(flags);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    proxy_end(&to_clients);
    proxy_end(&to_workers);
    stack_destroy(&stack);
    return 0;
}

/* ---- a client with libseedpress ---- */

struct asker {
    struct seedpress *sp;
    int64_t id;
    uint32_t first;
    int count, answered;
    bool seen[COUNT_MAX];
};

static void asker_begin(struct asker *a, const char *brokers, uint32_t first, int count)
{
    struct seedpress_options options = { .brokers = brokers, .silence_ms = 1000 };
    struct seedpress_request request;
    struct seedpress_error error;

    *a = (struct asker){ .first = first, .count = count };
    seedpress_request_init(&request);
    request.model = "avatars64";
    request.psi = 0.7;
    request.seed = first;
    request.count = (size_t)count;
    request.deadline_ms = DEADLINE_MS;
    if (seedpress_create(&options, &a->sp, &error) ||
        seedpress_submit(a->sp, &request, &a->id, &error))
        fail_msg("%s", error.message);
}

/* Takes answers until so many pictures came, each once. */
static void asker_take(struct asker *a, int until)
{
    struct seedpress_event event;

    while (a->answered < until) {
        if (!seedpress_next(a->sp, WAIT_MS, &event))
            fail_msg("nothing more came after %d pictures", a->answered);
        if (event.kind != SEEDPRESS_EVENT_IMAGE)
            fail_msg("no picture of seed %u: %s", event.seed, event.error.message);
        assert_in_range(event.seed, a->first, a->first + (uint32_t)a->count - 1);
        assert_false(a->seen[event.seed - a->first]);
        a->seen[event.seed - a->first] = true;
        a->answered++;
    }
}

/* All, and then the last word and nothing more. */
static void asker_finish(struct asker *a)
{
    struct seedpress_event event;

    asker_take(a, a->count);
    assert_true(seedpress_next(a->sp, WAIT_MS, &event));
    assert_int_equal(event.kind, SEEDPRESS_EVENT_DONE);
    assert_int_equal(event.failed, 0);
    assert_false(seedpress_next(a->sp, 0, &event));
}

static void asker_end(struct asker *a)
{
    seedpress_destroy(&a->sp);
}

static void expect_rows(uint32_t first, int count)
{
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM images JOIN blobs USING (key) WHERE "
             "sha256(data) = file_sha AND seed BETWEEN %u AND %u", first,
             first + (uint32_t)count - 1);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, sql), count);
}

/* ---- silence ---- */

static void a_client_leaves_a_path_that_fell_silent(void **state)
{
    char brokers[140];
    struct asker a;

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    snprintf(brokers, sizeof brokers, "%s,%s", to_clients.endpoint, stack.clients);
    asker_begin(&a, brokers, 0, 60);
    asker_take(&a, 5);
    proxy_hole(&to_clients, true);
    asker_take(&a, 60);              /* over the other path */
    proxy_hole(&to_clients, false);  /* what was held back comes too late, to nobody */
    asker_finish(&a);
    expect_rows(0, 60);
    asker_end(&a);
}

/* A client that counts every message: a second answer would show. */
static void take_images(struct kit_asker *a, int64_t first, int count, bool *seen)
{
    for (int i = 0; i < count; i++) {
        struct parcel parcel;
        struct message m;

        assert_true(asker_receive(a, &m, &parcel, WAIT_MS));
        if (m.type != MESSAGE_IMAGE)
            fail_msg("%s came after %d pictures: %.*s", message_word(m.type), i,
                     m.type == MESSAGE_ERROR ? (int)m.error.message.len : 0,
                     m.type == MESSAGE_ERROR ? m.error.message.data : "");
        assert_false(seen[m.image.seed - first]);
        seen[m.image.seed - first] = true;
        message_release(&m);
        parcel_release(&parcel);
    }
}

static void ask_each(struct kit_asker *a, int64_t first, int count)
{
    for (int64_t seed = first; seed < first + count; seed++) {
        struct message m = generate_of(seed + 1, seed, 700000);

        asker_send(a, &m);
    }
}

/* The next message is the answer to a ping: nothing else was on its way. */
static void expect_nothing_more(struct kit_asker *a)
{
    struct message ping, m;
    struct parcel parcel;

    message_init(&ping, MESSAGE_PING, 4711);
    asker_send(a, &ping);
    assert_true(asker_receive(a, &m, &parcel, WAIT_MS));
    assert_int_equal(m.type, MESSAGE_PONG);
    message_release(&m);
    parcel_release(&parcel);
}

static void a_worker_that_fell_silent_is_given_up_and_comes_back(void **state)
{
    bool seen[120] = { false };
    struct kit_asker a;

    (void)state;
    stack_run_worker(&stack, 0, to_workers.endpoint, NULL);
    stack_start_worker(&stack, 1, NULL);
    for (int i = 0; i < 2; i++)
        program_wait_for(&stack.broker, " worker_ready ", NULL, 0);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_each(&a, 0, 80);
    take_images(&a, 0, 5, seen);
    proxy_hole(&to_workers, true);
    take_images(&a, 0, 75, seen);
    program_wait_for(&stack.broker, " worker_lost ", NULL, 0);
    proxy_hole(&to_workers, false);
    program_wait_for(&stack.broker, " worker_ready ", NULL, 0);      /* its late results first */
    ask_each(&a, 80, 40);
    take_images(&a, 0, 40, seen);
    expect_nothing_more(&a);
    expect_rows(0, 120);
    asker_close(&a);
}

/* ---- broken connections ---- */

static void a_connection_that_breaks_inside_a_picture_costs_nothing(void **state)
{
    struct asker a;

    (void)state;
    stack_run_worker(&stack, 0, to_workers.endpoint, NULL);
    asker_begin(&a, to_clients.endpoint, 0, 60);
    asker_take(&a, 5);
    proxy_cut_after(&to_clients, 10000);     /* a picture has 3 KiB */
    proxy_await_cuts(&to_clients, 1);
    asker_finish(&a);
    asker_end(&a);

    asker_begin(&a, to_clients.endpoint, 100, 60);
    proxy_cut_after(&to_workers, 2000);      /* inside the jobs */
    asker_take(&a, 1);
    proxy_await_cuts(&to_workers, 1);
    asker_finish(&a);
    asker_end(&a);
    expect_rows(0, 60);
    expect_rows(100, 60);
}

static void connections_that_break_all_the_time_lose_nothing(void **state)
{
    enum { COUNT = 100, CUTS = 20 };
    struct asker a;

    (void)state;
    stack_run_worker(&stack, 0, to_workers.endpoint, NULL);
    asker_begin(&a, to_clients.endpoint, 0, COUNT);
    proxy_cut_every(&to_clients, 50);
    proxy_cut_every(&to_workers, 50);
    asker_take(&a, 1);
    proxy_await_cuts(&to_workers, CUTS);
    proxy_cut_every(&to_workers, 0);
    proxy_cut_every(&to_clients, 0);
    asker_finish(&a);
    asker_end(&a);
    expect_rows(0, COUNT);
}

/* ---- slowness ---- */

static int64_t retried(void)
{
    struct message status, m;
    struct parcel parcel;
    struct kit_asker a;
    int64_t count;

    message_init(&status, MESSAGE_STATUS, 0);
    asker_open(&a, stack.clients, LINK_REQ);
    asker_send(&a, &status);
    assert_true(asker_receive(&a, &m, &parcel, WAIT_MS));
    count = m.status_report.retried;
    message_release(&m);
    parcel_release(&parcel);
    asker_close(&a);
    return count;
}

static void a_slow_network_is_only_slow(void **state)
{
    struct asker a;

    (void)state;
    proxy_delay(&to_clients, 200);
    proxy_delay(&to_workers, 200);
    stack_run_worker(&stack, 0, to_workers.endpoint, NULL);
    asker_begin(&a, to_clients.endpoint, 0, 100);
    asker_finish(&a);
    assert_int_equal(retried(), 0);  /* no lease was given up, nobody was taken for dead */
    asker_end(&a);
    expect_rows(0, 100);
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLOW(a_client_leaves_a_path_that_fell_silent),
        cmocka_unit_test_setup_teardown(a_worker_that_fell_silent_is_given_up_and_comes_back,
                                        set_up_impatient, tear_down),
        FLOW(a_connection_that_breaks_inside_a_picture_costs_nothing),
        FLOW(connections_that_break_all_the_time_lose_nothing),
        FLOW(a_slow_network_is_only_slow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
