/* Several brokers, several workers, one database: each worker serves all brokers, clients fail
 * over, the ledger has one winner. */
#include "base/clock.h"
#include "tests/kit_load.h"
#include "tests/kit_stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

enum { WAIT_MS = 120000, BETWEEN = 60, DEADLINE_MS = 30000 };

static struct kit_stack stack;      /* with the first broker */
static struct kit_program second;
static char second_clients[64], second_workers[64];
static char for_clients[140], for_workers[140];

static int set_up(void **state)
{
    (void)state;
    stack_start(&stack, NULL);
    snprintf(second_clients, sizeof second_clients, "tcp://127.0.0.1:*");
    snprintf(second_workers, sizeof second_workers, "tcp://127.0.0.1:*");
    stack_run_broker(&stack, &second, second_clients, second_workers, NULL);
    snprintf(for_clients, sizeof for_clients, "%s,%s", stack.clients, second_clients);
    snprintf(for_workers, sizeof for_workers, "%s,%s", stack.workers, second_workers);
    for (int i = 0; i < 2; i++) {
        stack_run_worker(&stack, i, for_workers, NULL);
        program_wait_for(&stack.worker[i], " broker_joined ", NULL, 0);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    program_kill(&second);
    stack_destroy(&stack);
    return 0;
}

/* The answer of the broker at that endpoint: the file's hash. */
static struct digest picture_from(struct kit_asker *a)
{
    struct digest sha;
    struct parcel parcel;
    struct message m;

    assert_true(asker_receive(a, &m, &parcel, WAIT_MS));
    if (m.type != MESSAGE_IMAGE)
        fail_msg("%s came, where a picture was expected", message_word(m.type));
    sha = digest_of(frame_data(&parcel.body[1]), frame_len(&parcel.body[1]));
    assert_true(digest_equal(&sha, &m.image.sha256));
    message_release(&m);
    parcel_release(&parcel);
    return sha;
}

static void ask(struct kit_asker *a, int64_t seed)
{
    struct message m = generate_of(seed + 1, seed, 700000);

    asker_send(a, &m);
}

static void a_killed_broker_costs_no_request_and_serves_again(void **state)
{
    struct kit_load first, other;
    struct kit_asker a;
    char turned[140];

    (void)state;
    snprintf(turned, sizeof turned, "%s,%s", second_clients, stack.clients);
    load_start(&first, for_clients, 2, 8, 100000, DEADLINE_MS);
    load_start(&other, turned, 2, 8, 200000, DEADLINE_MS);
    load_await(&first, BETWEEN);
    load_await(&other, BETWEEN);
    program_kill(&stack.broker);
    load_await(&first, BETWEEN);
    load_await(&other, BETWEEN);
    stack_restart_broker(&stack, NULL);
    for (int i = 0; i < 2; i++)
        program_wait_for(&stack.broker, " worker_ready ", NULL, 0);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask(&a, 1);                      /* while the other one has the load */
    picture_from(&a);
    asker_close(&a);
    load_end(&first);
    load_end(&other);
    if (first.failed + other.failed > 0)
        fail_msg("%lld pictures failed; last: %s%s", (long long)(first.failed + other.failed),
                 first.error, other.error);
    assert_int_equal(first.twice + other.twice, 0);
}

static void the_same_recipe_at_both_brokers_has_one_winner(void **state)
{
    enum { COUNT = 20 };
    struct kit_asker a, b;

    (void)state;
    asker_open(&a, stack.clients, LINK_DEALER);
    asker_open(&b, second_clients, LINK_DEALER);
    for (int64_t seed = 500; seed < 500 + COUNT; seed++) {
        ask(&a, seed);
        ask(&b, seed);
        struct digest of_a = picture_from(&a), of_b = picture_from(&b);

        assert_true(digest_equal(&of_a, &of_b));
    }
    assert_int_equal(kit_postgres_int(stack.pg.conninfo,
                                      "SELECT count(*) FROM images WHERE seed BETWEEN 500 AND 519"),
                     COUNT);
    asker_close(&a);
    asker_close(&b);
}

/* What the broker at that endpoint may have in all workers. */
static int64_t credit_at(const char *endpoint)
{
    struct kit_asker a;
    struct message status, m;
    struct parcel parcel;
    int64_t credit = 0;

    message_init(&status, MESSAGE_STATUS, 0);
    asker_open(&a, endpoint, LINK_REQ);
    asker_send(&a, &status);
    assert_true(asker_receive(&a, &m, &parcel, WAIT_MS));
    for (size_t i = 0; i < m.status_report.workers.count; i++)
        credit += ((const struct message_worker *)m.status_report.workers.items)[i].credit;
    message_release(&m);
    parcel_release(&parcel);
    asker_close(&a);
    return credit;
}

/* Two workers with 48 places each. */
static void credit_goes_where_the_work_is(void **state)
{
    enum { PLACES = 96 };
    struct kit_load load;
    int64_t end_ms = clock_ms() + WAIT_MS;

    (void)state;
    while (credit_at(stack.clients) != PLACES / 2 || credit_at(second_clients) != PLACES / 2)
        assert_true(clock_ms() < end_ms);
    load_start(&load, second_clients, 8, 64, 300000, DEADLINE_MS);
    while (credit_at(second_clients) < PLACES * 3 / 4 || credit_at(stack.clients) > PLACES / 4)
        assert_true(clock_ms() < end_ms);
    assert_true(credit_at(stack.clients) >= PLACES / 8);     /* the least share */
    load_end(&load);
    assert_int_equal(load.failed, 0);
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLOW(a_killed_broker_costs_no_request_and_serves_again),
        FLOW(the_same_recipe_at_both_brokers_has_one_winner),
        FLOW(credit_goes_where_the_work_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
