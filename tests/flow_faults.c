/* What happens to real programs when one of them dies, hangs, leaves or loses its database: every
 * accepted picture is answered, once, and the ledger holds each exactly once. */
#include "base/clock.h"
#include "proto/message.h"
#include "tests/kit_load.h"
#include "tests/kit_stack.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { WAIT_MS = 180000, PSI = 700000 };
/* Under the sanitizers a render takes ten times as long. */
#ifdef __SANITIZE_ADDRESS__
enum { THOUSAND = 120 };
#else
enum { THOUSAND = 1000 };
#endif

static struct kit_stack stack;
static pid_t client;                /* a process of ours, 0: none; it holds what we have open */

static int set_up(void **state)
{
    (void)state;
    stack_start(&stack, NULL);
    return 0;
}

static void end_client(void)
{
    kill(client, SIGKILL);
    while (waitpid(client, NULL, 0) < 0 && errno == EINTR)
        ;
    client = 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (client)
        end_client();                /* the test failed before it did */
    stack_destroy(&stack);
    return 0;
}

/* Asks for first..first+count-1, a few hundred at most in one message. */
static void ask_for(struct kit_asker *a, int64_t first, int64_t count, int64_t deadline_ms)
{
    for (int64_t from = first; from < first + count;) {
        int64_t seeds[250], left = first + count - from;
        struct message m = generate_of(from + 1, -1, PSI);
        size_t n = left < 250 ? (size_t)left : 250;

        for (size_t i = 0; i < n; i++)
            seeds[i] = from + (int64_t)i;
        m.generate.seeds = (struct numbers){ seeds, n };
        m.generate.deadline_ms = deadline_ms;
        asker_send(a, &m);
        from += (int64_t)n;
    }
}

struct tally {
    int64_t images, errors, done;
    char error[32];                 /* code of the last one */
};

/* Takes answers until count pictures were answered, each once; seen is [count] flags by seed. */
static void collect(struct kit_asker *a, int64_t first, int64_t count, int64_t until,
                    bool *seen, struct tally *t)
{
    while (t->images + t->errors < until) {
        struct message m;
        struct parcel parcel;
        int64_t seed = -1;

        if (!asker_receive(a, &m, &parcel, WAIT_MS))
            fail_msg("nothing more came after %lld pictures and %lld errors", (long long)t->images,
                     (long long)t->errors);
        if (m.type == MESSAGE_IMAGE) {
            struct digest sha = digest_of(frame_data(&parcel.body[1]), frame_len(&parcel.body[1]));

            assert_true(digest_equal(&sha, &m.image.sha256));
            seed = m.image.seed;
            t->images++;
        } else if (m.type == MESSAGE_ERROR) {
            text_copy(m.error.code, t->error, sizeof t->error);
            seed = m.error.seed;
            t->errors++;
        } else
            t->done++;
        if (m.type != MESSAGE_DONE) {
            assert_in_range(seed, first, first + count - 1);
            assert_false(seen[seed - first]);
            seen[seed - first] = true;
        }
        message_release(&m);
        parcel_release(&parcel);
    }
}

static void expect_rows(int64_t first, int64_t count)
{
    char sql[400];

    /* Distinct keys by the primary key; the bytes are those that the row names. */
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM images JOIN blobs USING (key) WHERE sha256(data) = file_sha "
             "AND seed BETWEEN %lld AND %lld", (long long)first, (long long)(first + count - 1));
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, sql), count);
}

static void ask_status(struct message *m, struct parcel *parcel)
{
    struct kit_asker a;
    struct message status;

    message_init(&status, MESSAGE_STATUS, 0);
    asker_open(&a, stack.clients, LINK_REQ);
    asker_send(&a, &status);
    assert_true(asker_receive(&a, m, parcel, WAIT_MS));
    asker_close(&a);
}

/* ---- workers ---- */

static void a_thousand_pictures_survive_a_worker_killed_half_way(void **state)
{
    struct kit_asker a;
    struct tally t = { 0 };
    bool *seen = calloc(THOUSAND, 1);

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    stack_start_worker(&stack, 1, NULL);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, THOUSAND, 600000);
    collect(&a, 0, THOUSAND, THOUSAND / 2, seen, &t);
    program_kill(&stack.worker[0]);
    collect(&a, 0, THOUSAND, THOUSAND, seen, &t);
    assert_int_equal(t.images, THOUSAND);
    assert_int_equal(t.errors, 0);
    expect_rows(0, THOUSAND);
    asker_close(&a);
    free(seen);
}

/* Asks the broker again and again: each look is a round trip. */
static void await_count(int64_t (*look)(void), int64_t expected)
{
    int64_t give_up_ms = clock_ms() + WAIT_MS, seen;

    while ((seen = look()) != expected)
        if (clock_ms() > give_up_ms)
            fail_msg("%lld were seen, where %lld were expected", (long long)seen,
                     (long long)expected);
}

static int64_t leased(void)
{
    struct message m;
    struct parcel parcel;
    int64_t count = 0;

    ask_status(&m, &parcel);
    for (size_t i = 0; i < m.status_report.workers.count; i++)
        count += ((const struct message_worker *)m.status_report.workers.items)[i].leased;
    message_release(&m);
    parcel_release(&parcel);
    return count;
}

/* Nothing but the closed connection can tell in time: silence and stall are an hour away. */
static void what_a_killed_worker_held_is_answered_by_another_at_once(void **state)
{
    enum { HELD = 8 };
    static const char *const patient[] = { "--silence-ms", "600000", "--stall-ms", "3600000",
                                           NULL };
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[HELD] = { false };
    char line[512];

    (void)state;
    program_kill(&stack.broker);
    stack_restart_broker(&stack, patient);
    stack_start_worker(&stack, 0, NULL);
    program_wait_for(&stack.broker, " worker_ready ", NULL, 0);
    program_signal(&stack.worker[0], SIGSTOP);   /* so that it holds what it gets */
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, HELD, 600000);
    await_count(leased, HELD);
    stack_start_worker(&stack, 1, NULL);
    program_wait_for(&stack.broker, " worker_ready ", NULL, 0);
    program_signal(&stack.worker[0], SIGKILL);
    collect(&a, 0, HELD, HELD, seen, &t);
    program_wait_for(&stack.broker, " worker_lost ", line, sizeof line);
    assert_non_null(strstr(line, "its connection closed"));
    assert_non_null(strstr(line, "leases=8"));
    assert_int_equal(t.images, HELD);
    assert_int_equal(t.errors, 0);
    expect_rows(0, HELD);
    asker_close(&a);
}

static void the_only_worker_killed_and_started_again_loses_nothing(void **state)
{
    enum { COUNT = 100 };
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[COUNT] = { false };

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, COUNT, 600000);
    collect(&a, 0, COUNT, 20, seen, &t);
    program_kill(&stack.worker[0]);
    stack_start_worker(&stack, 0, NULL);
    collect(&a, 0, COUNT, COUNT, seen, &t);
    assert_int_equal(t.images, COUNT);
    expect_rows(0, COUNT);
    asker_close(&a);
}

static void a_hung_worker_loses_its_work_to_another(void **state)
{
    enum { COUNT = 60 };
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[COUNT] = { false };

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    stack_start_worker(&stack, 1, NULL);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, COUNT, 600000);
    collect(&a, 0, COUNT, 5, seen, &t);
    program_signal(&stack.worker[0], SIGSTOP);   /* alive, connected, silent */
    collect(&a, 0, COUNT, COUNT, seen, &t);
    assert_int_equal(t.images, COUNT);
    program_signal(&stack.worker[0], SIGCONT);   /* late results do no harm */
    ask_for(&a, COUNT, COUNT, 600000);
    memset(seen, 0, sizeof seen);
    t = (struct tally){ 0 };
    collect(&a, COUNT, COUNT, COUNT, seen, &t);
    assert_int_equal(t.images, COUNT);
    expect_rows(0, 2 * COUNT);
    asker_close(&a);
}

static void a_worker_that_is_asked_to_stop_hands_back_and_ends_well(void **state)
{
    enum { COUNT = 120 };
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[COUNT] = { false };

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    stack_start_worker(&stack, 1, NULL);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, COUNT, 600000);
    collect(&a, 0, COUNT, 5, seen, &t);
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
    collect(&a, 0, COUNT, COUNT, seen, &t);
    assert_int_equal(t.images, COUNT);
    expect_rows(0, COUNT);
    asker_close(&a);
}

static void a_request_before_the_first_worker_waits_for_it(void **state)
{
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[1] = { false };

    (void)state;
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, 1, 600000);
    stack_start_worker(&stack, 0, NULL);
    collect(&a, 0, 1, 1, seen, &t);
    assert_int_equal(t.images + t.errors, 1);
    if (t.errors)                    /* on a slow machine the worker came after the grace */
        assert_true(strcmp(t.error, "unknown_model") == 0 || strcmp(t.error, "no_worker") == 0);
    asker_close(&a);
}

static void without_any_worker_left_the_answer_is_no_worker(void **state)
{
    struct kit_asker a;
    struct message m;
    struct parcel parcel;
    char code[32];

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    program_kill(&stack.worker[0]);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, 1, 600000);
    /* of the picture, or of the whole request when the broker had missed the worker by then */
    assert_true(asker_receive(&a, &m, &parcel, WAIT_MS));
    assert_int_equal(m.type, MESSAGE_ERROR);
    text_copy(m.error.code, code, sizeof code);
    assert_string_equal(code, "no_worker");
    message_release(&m);
    parcel_release(&parcel);
    asker_close(&a);
}

/* ---- the broker ---- */

static void a_broker_killed_and_started_again_finds_its_workers(void **state)
{
    enum { COUNT = 40 };
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[COUNT] = { false };

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, COUNT, 600000);
    collect(&a, 0, COUNT, 5, seen, &t);
    asker_close(&a);
    program_kill(&stack.broker);
    stack_restart_broker(&stack, NULL);

    asker_open(&a, stack.clients, LINK_DEALER);  /* what a client does: it asks again for all */
    memset(seen, 0, sizeof seen);
    t = (struct tally){ 0 };
    ask_for(&a, 0, COUNT, 600000);
    collect(&a, 0, COUNT, COUNT, seen, &t);
    assert_int_equal(t.images, COUNT);
    expect_rows(0, COUNT);
    asker_close(&a);
}

static void a_broker_killed_under_load_costs_no_request(void **state)
{
    enum { BETWEEN = 40 };
    struct kit_load load;

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    load_start(&load, stack.clients, 4, 8, 1000, 60000);
    load_await(&load, BETWEEN);
    program_kill(&stack.broker);
    stack_restart_broker(&stack, NULL);
    load_await(&load, BETWEEN);
    load_end(&load);
    if (load.failed)
        fail_msg("%lld pictures failed; last: %s", (long long)load.failed, load.error);
    assert_int_equal(load.twice, 0);
}

static void a_broker_that_is_asked_to_stop_answers_everybody_first(void **state)
{
    enum { COUNT = 200 };
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[COUNT] = { false };

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, COUNT, 600000);
    collect(&a, 0, COUNT, 5, seen, &t);
    program_signal(&stack.broker, SIGTERM);
    collect(&a, 0, COUNT, COUNT, seen, &t);
    assert_true(t.errors > 0);
    assert_string_equal(t.error, "retry");
    assert_int_equal(program_wait(&stack.broker), 0);
    asker_close(&a);
}

/* ---- clients ---- */

/* The most memory that the broker ever had, in KiB. */
static long peak_of_broker(void)
{
    char path[64], line[256];
    long peak = 0;

    snprintf(path, sizeof path, "/proc/%d/status", (int)stack.broker.pid);
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &peak) == 1)
            break;
    fclose(file);
    return peak;
}

static void a_client_that_does_not_read_costs_bounded_memory_and_nobody_else(void **state)
{
    /* 16,000 answers of 3 KiB: 48 MiB, of which 1 MiB may wait here. */
    enum { COUNT = 2000, BOUND_KIB = 32 * 1024 };
    static const char *const flags[] = { "--outbox-bytes", "1048576", NULL };
    struct kit_asker frozen, other;
    struct message status;
    struct parcel parcel;
    struct tally t = { 0 };
    bool seen[8] = { false };

    (void)state;
    program_kill(&stack.broker);
    stack_restart_broker(&stack, flags);
    stack_start_worker(&stack, 0, NULL);
    asker_open(&other, stack.clients, LINK_DEALER);
    ask_for(&other, 0, 8, 600000);
    collect(&other, 0, 8, 8, seen, &t);

    /* The same stored pictures again and again: answers without renders, never read. */
    asker_open(&frozen, stack.clients, LINK_DEALER);
    for (int i = 0; i < COUNT; i++)
        ask_for(&frozen, 0, 8, 600000);
    long before = peak_of_broker();

    for (int i = 0; i < 5; i++) {
        memset(seen, 0, sizeof seen);
        t = (struct tally){ 0 };
        ask_for(&other, 0, 8, 600000);
        collect(&other, 0, 8, 8, seen, &t);
        assert_int_equal(t.images, 8);
    }
#ifndef __SANITIZE_ADDRESS__         /* whose quarantine keeps what was freed */
    assert_true(peak_of_broker() - before < BOUND_KIB);
#endif
    (void)before;
    ask_status(&status, &parcel);
    assert_int_equal(status.type, MESSAGE_STATUS_REPORT);
    message_release(&status);
    parcel_release(&parcel);
    asker_close(&frozen);
    asker_close(&other);
}

/* A process that asks for pages of eight from first on and, after its first answer, stops itself as
 * a whole: not even its I/O thread reads then. */
static void start_client(int pages, int64_t first)
{
    client = fork();
    assert_true(client >= 0);
    if (client == 0) {
        struct kit_asker a;
        struct message m;
        struct parcel parcel;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        asker_open(&a, stack.clients, LINK_DEALER);
        for (int i = 0; i < pages; i++)
            ask_for(&a, first, 8, 600000);
        asker_receive(&a, &m, &parcel, WAIT_MS);
        raise(SIGSTOP);
        _exit(0);
    }
}

static int64_t waiting(void)
{
    struct message m;
    struct parcel parcel;
    int64_t count;

    ask_status(&m, &parcel);
    count = m.status_report.waiters;
    message_release(&m);
    parcel_release(&parcel);
    return count;
}

static void a_frozen_client_costs_bounded_memory(void **state)
{
    /* 32,000 answers of 3 KiB are 96 MiB, of which 4 MiB may wait here. */
    enum { PAGES = 4000, BOUND_KIB = 32 * 1024 };
    static const char *const flags[] = { "--outbox-bytes", "4194304", NULL };
    struct kit_asker other;
    struct tally t = { 0 };
    bool seen[8] = { false };

    (void)state;
    program_kill(&stack.broker);
    stack_restart_broker(&stack, flags);
    stack_start_worker(&stack, 0, NULL);
    asker_open(&other, stack.clients, LINK_DEALER);
    ask_for(&other, 0, 8, 600000);
    collect(&other, 0, 8, 8, seen, &t);
    long before = peak_of_broker();

    start_client(PAGES, 0);
    assert_int_equal(waitpid(client, NULL, WUNTRACED), client);
    for (int i = 0; i < 5; i++) {
        memset(seen, 0, sizeof seen);
        t = (struct tally){ 0 };
        ask_for(&other, 0, 8, 600000);
        collect(&other, 0, 8, 8, seen, &t);
        assert_int_equal(t.images, 8);
    }
#ifndef __SANITIZE_ADDRESS__         /* whose quarantine keeps what was freed */
    assert_true(peak_of_broker() - before < BOUND_KIB);
#endif
    (void)before;
    end_client();
    asker_close(&other);
}

/* Nobody answers it, and its deadline is far: only the closed connection can tell. */
static void a_killed_clients_waiters_end_at_once(void **state)
{
    static const char *const patient[] = { "--silence-ms", "600000", "--stall-ms", "3600000",
                                           NULL };

    (void)state;
    program_kill(&stack.broker);
    stack_restart_broker(&stack, patient);
    stack_start_worker(&stack, 0, NULL);
    program_signal(&stack.worker[0], SIGSTOP);
    start_client(1, 100);
    await_count(waiting, 8);
    end_client();
    await_count(waiting, 0);
}

/* ---- the database ---- */

static void a_database_that_goes_and_comes_back_loses_nothing(void **state)
{
    enum { COUNT = 150 };
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[COUNT] = { false };

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, COUNT, 600000);
    collect(&a, 0, COUNT, 10, seen, &t);
    kit_postgres_stop_server(&stack.pg);         /* as a crash would */
    program_wait_for(&stack.worker[0], " ledger_down ", NULL, 0);
    kit_postgres_start_server(&stack.pg);
    collect(&a, 0, COUNT, COUNT, seen, &t);
    assert_int_equal(t.images, COUNT);
    assert_int_equal(t.errors, 0);
    expect_rows(0, COUNT);
    asker_close(&a);
}

static void without_a_database_the_answer_is_ledger_down_and_service_returns(void **state)
{
    struct kit_asker a;
    struct tally t = { 0 };
    bool seen[4] = { false };

    (void)state;
    stack_start_worker(&stack, 0, NULL);
    kit_postgres_stop_server(&stack.pg);
    program_wait_for(&stack.broker, " ledger_down ", NULL, 0);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, 1, 1500);
    collect(&a, 0, 1, 1, seen, &t);
    assert_int_equal(t.errors, 1);
    assert_string_equal(t.error, "ledger_down");
    kit_postgres_start_server(&stack.pg);
    memset(seen, 0, sizeof seen);
    t = (struct tally){ 0 };
    ask_for(&a, 1, 3, 600000);
    collect(&a, 1, 3, 3, seen, &t);
    assert_int_equal(t.images, 3);
    asker_close(&a);
}

static void a_worker_waits_for_a_database_that_is_not_there_yet(void **state)
{
    const char *argv[] = { "seedpress-worker", "--ledger", stack.pg.conninfo, "--brokers",
                           stack.workers, "--models-dir", "deploy/models", NULL };

    (void)state;
    kit_postgres_stop_server(&stack.pg);
    program_start(&stack.worker[0], argv);
    program_wait_for(&stack.worker[0], " ledger_down ", NULL, 0);
    kit_postgres_start_server(&stack.pg);
    program_wait_for(&stack.worker[0], " broker_joined ", NULL, 0);
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLOW(a_thousand_pictures_survive_a_worker_killed_half_way),
        FLOW(what_a_killed_worker_held_is_answered_by_another_at_once),
        FLOW(the_only_worker_killed_and_started_again_loses_nothing),
        FLOW(a_hung_worker_loses_its_work_to_another),
        FLOW(a_worker_that_is_asked_to_stop_hands_back_and_ends_well),
        FLOW(a_request_before_the_first_worker_waits_for_it),
        FLOW(without_any_worker_left_the_answer_is_no_worker),
        FLOW(a_broker_killed_and_started_again_finds_its_workers),
        FLOW(a_broker_killed_under_load_costs_no_request),
        FLOW(a_broker_that_is_asked_to_stop_answers_everybody_first),
        FLOW(a_client_that_does_not_read_costs_bounded_memory_and_nobody_else),
        FLOW(a_frozen_client_costs_bounded_memory),
        FLOW(a_killed_clients_waiters_end_at_once),
        FLOW(a_database_that_goes_and_comes_back_loses_nothing),
        FLOW(without_a_database_the_answer_is_ledger_down_and_service_returns),
        FLOW(a_worker_waits_for_a_database_that_is_not_there_yet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
