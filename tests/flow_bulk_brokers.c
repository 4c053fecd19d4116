/* A bulk job through the real programs, two brokers and two workers: submitted here, made by both,
 * counted in the ledger. */
#include "base/clock.h"
#include "tests/kit_stack.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

enum { WAIT_MS = 120000, SEEDS = 200, CHUNK = 20 };

/* The only job that the answer tells of. */
static struct message_bulk_job ask_of_job(struct kit_asker *a, const struct message *question)
{
    struct message_bulk_job job;
    struct parcel parcel;
    struct message m;

    asker_send(a, question);
    assert_true(asker_receive(a, &m, &parcel, WAIT_MS));
    if (m.type == MESSAGE_ERROR)
        fail_msg("%.*s", (int)m.error.message.len, m.error.message.data);
    assert_int_equal(m.type, MESSAGE_BULK_REPORT);
    assert_int_equal(m.bulk_report.jobs.count, 1);
    job = *(const struct message_bulk_job *)m.bulk_report.jobs.items;
    message_release(&m);
    parcel_release(&parcel);
    return job;
}

static struct message submit_of(const struct message *like, struct message_bulk_part *part)
{
    struct message m;

    *part = (struct message_bulk_part){
        .model = like->generate.model, .first = 1000, .last = 1000 + SEEDS - 1, .psi = 700000,
        .cutoff = -1, .class_index = -1, .noise_mode = -1, .noise_seed = -1,
        .rotate = INT64_MIN, .quality = 90, .mark = -1,
    };
    message_init(&m, MESSAGE_BULK_SUBMIT, 1);
    m.bulk_submit.name = text_of("two-hundred");
    m.bulk_submit.chunk = CHUNK;
    m.bulk_submit.parts = (struct records){ part, 1 };
    return m;
}

static void a_job_is_made_by_both_brokers_and_counted(void **state)
{
    struct kit_stack stack;
    struct kit_program second;
    char clients[64] = "tcp://127.0.0.1:*", workers[64] = "tcp://127.0.0.1:*", both[140];
    struct message like = generate_of(1, 1000, 700000), submit, list;
    struct message_bulk_part part;
    struct message_bulk_job job;
    int64_t end_ms = clock_ms() + WAIT_MS;
    struct kit_asker a;

    (void)state;
    stack_start(&stack, NULL);
    stack_run_broker(&stack, &second, clients, workers, NULL);
    snprintf(both, sizeof both, "%s,%s", stack.workers, workers);
    for (int i = 0; i < 2; i++) {
        stack_run_worker(&stack, i, both, NULL);
        program_wait_for(&stack.worker[i], " broker_joined ", NULL, 0);
    }
    asker_open(&a, stack.clients, LINK_DEALER);
    submit = submit_of(&like, &part);
    for (int i = 0; i < 2; i++)      /* else the first may be done before the other one looks */
        program_signal(&stack.worker[i], SIGSTOP);
    job = ask_of_job(&a, &submit);
    assert_int_equal(job.total, SEEDS);
    program_wait_for(&second, " bulk_lease ", NULL, 0);
    for (int i = 0; i < 2; i++)
        program_signal(&stack.worker[i], SIGCONT);
    message_init(&list, MESSAGE_BULK_LIST, 2);
    list.bulk_list.job = job.job;
    program_wait_for(&second, " bulk_chunk ", NULL, 0);     /* the other one does its part */
    while (ask_of_job(&a, &list).state != MESSAGE_BULK_DONE)
        assert_true(clock_ms() < end_ms);
    job = ask_of_job(&a, &list);
    assert_int_equal(job.done, SEEDS);
    assert_int_equal(job.failed, 0);
    assert_int_equal(job.rendering, 0);
    assert_true(job.picture_bytes > 0);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo,
                                      "SELECT count(*) FROM images JOIN blobs USING (key)"
                                      " WHERE seed BETWEEN 1000 AND 1199"), SEEDS);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo,
                                      "SELECT sum(count) FROM chunks WHERE state = 'done'"), SEEDS);
    asker_close(&a);
    program_kill(&second);
    stack_destroy(&stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_made_by_both_brokers_and_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
