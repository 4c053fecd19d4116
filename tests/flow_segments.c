/* A whole seedpress whose files lie in segments: real programs, a worker killed while it writes, a
 * broker that answers from the segments alone. */
#include "proto/message.h"
#include "sql/ledger.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
enum { PICTURES = 60 };
#else
enum { PICTURES = 240 };
#endif
enum { WAIT_MS = 180000, PSI = 700000 };

static struct kit_stack stack;
static struct temp temp;
static const char *flags[3];

static int set_up(void **state)
{
    (void)state;
    temp = temp_create();
    flags[0] = "--segments";
    flags[1] = temp.folder;
    stack_start(&stack, flags);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stack_destroy(&stack);
    temp_destroy(&temp);
    return 0;
}

/* Asks for seeds 0..PICTURES-1 and takes until answers, each of its seed once and with the bytes
 * that it names, into seen. */
static void ask_all(struct kit_asker *a, enum message_cache cache)
{
    int64_t seeds[PICTURES];
    struct message m = generate_of(1, -1, PSI);

    for (int i = 0; i < PICTURES; i++)
        seeds[i] = i;
    m.generate.seeds = (struct numbers){ seeds, PICTURES };
    m.generate.deadline_ms = 600000;
    m.generate.cache = cache;
    asker_send(a, &m);
}

static void take(struct kit_asker *a, int until, bool *seen, int *count)
{
    while (*count < until) {
        struct message m;
        struct parcel parcel;

        assert_true(asker_receive(a, &m, &parcel, WAIT_MS));
        if (m.type == MESSAGE_ERROR)
            fail_msg("%.*s", (int)m.error.message.len, m.error.message.data);
        if (m.type == MESSAGE_IMAGE) {
            struct digest sha = digest_of(frame_data(&parcel.body[1]), frame_len(&parcel.body[1]));

            assert_true(digest_equal(&sha, &m.image.sha256));
            assert_in_range(m.image.seed, 0, PICTURES - 1);
            assert_false(seen[m.image.seed]);
            seen[m.image.seed] = true;
            (*count)++;
        }
        message_release(&m);
        parcel_release(&parcel);
    }
}

static int segment_files(void)
{
    DIR *folder = opendir(temp.folder);
    int count = 0;

    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        count += strstr(entry->d_name, ".seg") != NULL;
    closedir(folder);
    return count;
}

/* Every row's bytes come out of the ledger, and are the row's. */
static void check_ledger(void)
{
    struct ledger_segments segments = { .folder = temp.folder };
    struct ledger *ledger;
    struct err e;
    int found = 0;

    assert_int_equal(ledger_open(stack.pg.conninfo, "test", &ledger, &e), ERR_OK);
    assert_int_equal(ledger_use_segments(ledger, &segments, &e), ERR_OK);
    for (uint32_t seed = 0; seed < PICTURES; seed++) {
        struct ledger_query by = { .by = LEDGER_BY_SEED, .any_model = true, .seed = seed,
                                   .psi = INT64_MIN, .limit = 2 };
        struct ledger_rows rows, whole;

        assert_int_equal(ledger_find(ledger, &by, &rows, &e), ERR_OK);
        assert_int_equal(rows.count, 1);
        assert_int_equal(ledger_find_keys(ledger, &rows.row[0].key, 1, true, &whole, &e), ERR_OK);
        assert_int_equal(whole.count, 1);
        assert_non_null(whole.row[0].data);
        struct digest sha = digest_of(whole.row[0].data, whole.row[0].len);

        assert_true(digest_equal(&sha, &whole.row[0].file_sha));
        ledger_rows_release(&rows);
        ledger_rows_release(&whole);
        found++;
    }
    assert_int_equal(found, PICTURES);
    ledger_close(&ledger);
}

static void a_worker_killed_while_it_writes_segments_loses_nothing(void **state)
{
    bool seen[PICTURES] = { false };
    struct kit_asker a;
    int count = 0;

    (void)state;
    stack_start_worker(&stack, 0, flags);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_all(&a, MESSAGE_CACHE_USE);
    take(&a, PICTURES / 3, seen, &count);
    program_kill(&stack.worker[0]);             /* in the middle of what it has in hand */
    stack_start_worker(&stack, 1, flags);
    take(&a, 2 * PICTURES / 3, seen, &count);
    program_kill(&stack.worker[1]);
    stack_start_worker(&stack, 2, flags);
    take(&a, PICTURES, seen, &count);
    asker_close(&a);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(*) FROM blobs"), 0);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(*) FROM images "
                                      "WHERE kept AND segment IS NOT NULL"), PICTURES);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(*) FROM segments"), 3);
    assert_int_equal(segment_files(), 3);
    check_ledger();
}

static void a_broker_answers_from_the_segments_alone(void **state)
{
    bool seen[PICTURES] = { false };
    struct kit_asker a;
    int count = 0;

    (void)state;
    stack_start_worker(&stack, 0, flags);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_all(&a, MESSAGE_CACHE_USE);
    take(&a, PICTURES, seen, &count);
    asker_close(&a);
    program_kill(&stack.worker[0]);
    program_kill(&stack.broker);                /* nothing is in memory */
    stack_restart_broker(&stack, flags);
    stack_start_worker(&stack, 1, flags);       /* so that the model is known */
    memset(seen, 0, sizeof seen);
    count = 0;
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_all(&a, MESSAGE_CACHE_ONLY);            /* nothing is rendered */
    take(&a, PICTURES, seen, &count);
    asker_close(&a);
}

static void a_folder_that_is_not_there_is_told_at_the_start(void **state)
{
    static const char *const WORKER[] = { "seedpress-worker", "--segments", "/nowhere/segments",
                                          "--models-dir", "deploy/models", "--metrics-listen", "",
                                          "--threads", "1", NULL };
    static const char *const BROKER[] = { "seedpress-broker", "--segments", "/nowhere/segments",
                                          "--listen", "tcp://127.0.0.1:*", "--worker-listen",
                                          "tcp://127.0.0.1:*", "--metrics-listen", "",
                                          "--supervise", "0", NULL };
    struct kit_program program;

    (void)state;
    program_start(&program, WORKER);
    program_wait_for(&program, "could not open the folder of segments \"/nowhere/segments\"", NULL,
                     0);
    assert_int_equal(program_wait(&program), 7);
    program_start(&program, BROKER);
    program_wait_for(&program, "could not open the folder of segments \"/nowhere/segments\"", NULL,
                     0);
    assert_int_equal(program_wait(&program), 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_worker_killed_while_it_writes_segments_loses_nothing),
        TEST(a_broker_answers_from_the_segments_alone),
        TEST(a_folder_that_is_not_there_is_told_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
