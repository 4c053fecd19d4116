/* A new version goes in without anybody noticing: two brokers, two workers, one database, clients
 * that never stop asking. Each program is asked to stop, ends well and is started again, one after
 * another; every picture asked for is answered. */
#include "tests/kit_load.h"
#include "tests/kit_stack.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

enum { BETWEEN = 40, DEADLINE_MS = 30000 };

static void expect_all_answered(struct kit_load *load)
{
    if (load->failed)
        fail_msg("%lld of %lld pictures failed; last: %s", (long long)load->failed,
                 (long long)(load->answered + load->failed), load->error);
    assert_int_equal(load->twice, 0);
}

static void restart_worker(struct kit_stack *stack, int index, const char *brokers)
{
    program_signal(&stack->worker[index], SIGTERM);
    assert_int_equal(program_wait(&stack->worker[index]), 0);
    stack_run_worker(stack, index, brokers, NULL);
    program_wait_for(&stack->worker[index], " broker_joined ", NULL, 0);    /* the other one too */
}

/* Until both workers have found it again. */
static void await_workers(struct kit_program *broker)
{
    program_wait_for(broker, " worker_ready ", NULL, 0);
    program_wait_for(broker, " worker_ready ", NULL, 0);
}

static void every_program_is_restarted_under_load_and_nothing_is_lost(void **state)
{
    char clients[64] = "tcp://127.0.0.1:*", workers[64] = "tcp://127.0.0.1:*";
    char for_clients[140], for_workers[140];
    struct kit_program second;
    struct kit_stack stack;
    struct kit_load load;

    (void)state;
    stack_start(&stack, NULL);
    stack_run_broker(&stack, &second, clients, workers, NULL);
    snprintf(for_clients, sizeof for_clients, "%s,%s", stack.clients, clients);
    snprintf(for_workers, sizeof for_workers, "%s,%s", stack.workers, workers);
    for (int i = 0; i < 2; i++)
        stack_run_worker(&stack, i, for_workers, NULL);
    await_workers(&stack.broker);
    await_workers(&second);
    load_start(&load, for_clients, 4, 8, 1000, DEADLINE_MS);
    load_await(&load, BETWEEN);

    program_signal(&stack.broker, SIGTERM);
    assert_int_equal(program_wait(&stack.broker), 0);
    stack_restart_broker(&stack, NULL);
    await_workers(&stack.broker);
    load_await(&load, BETWEEN);
    restart_worker(&stack, 0, for_workers);
    load_await(&load, BETWEEN);
    program_signal(&second, SIGTERM);
    assert_int_equal(program_wait(&second), 0);
    stack_run_broker(&stack, &second, clients, workers, NULL);
    await_workers(&second);
    load_await(&load, BETWEEN);
    restart_worker(&stack, 1, for_workers);
    load_await(&load, BETWEEN);

    load_end(&load);
    expect_all_answered(&load);
    program_kill(&second);
    stack_destroy(&stack);
}

/* The same with one broker: clients wait for it to come back. */
static void the_only_broker_is_restarted_under_load_and_nothing_is_lost(void **state)
{
    struct kit_stack stack;
    struct kit_load load;

    (void)state;
    stack_start(&stack, NULL);
    stack_start_worker(&stack, 0, NULL);
    load_start(&load, stack.clients, 4, 8, 1000, DEADLINE_MS);
    load_await(&load, BETWEEN);
    program_signal(&stack.broker, SIGTERM);
    assert_int_equal(program_wait(&stack.broker), 0);
    stack_restart_broker(&stack, NULL);
    load_await(&load, BETWEEN);
    load_end(&load);
    expect_all_answered(&load);
    stack_destroy(&stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_program_is_restarted_under_load_and_nothing_is_lost),
        cmocka_unit_test(the_only_broker_is_restarted_under_load_and_nothing_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
