/* A PostgreSQL that is away for longer than every bound of the broker, while pictures are asked
 * for: nothing is rendered twice, nobody is condemned, and what has time left gets its picture.
 * With the real programs; the outage lasts for three answers of 1.5 s each, at least. */
#include "proto/message.h"
#include "tests/kit_stack.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    WAIT_MS = 180000,
    PSI = 700000,
    BEFORE = 200, DURING = 100, ALL = BEFORE + DURING,
    SHORT_MS = 1500, SHORT_COUNT = 3,
    LAST = ALL - 1,                 /* a seed asked for during the outage */
};

static struct kit_stack stack;

static int set_up(void **state)
{
    /* Shorter than the outage, all of them. */
    static const char *const flags[] = { "--stall-ms", "500", "--lookup-ms", "20", "--silence-ms",
                                         "3000", "--grace-ms", "2000", NULL };

    (void)state;
    stack_start(&stack, flags);
    stack_start_worker(&stack, 0, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stack_destroy(&stack);
    return 0;
}

static void ask_for(struct kit_asker *a, int64_t first, size_t count, int64_t deadline_ms)
{
    struct message m = generate_of(first + 1, -1, PSI);
    int64_t seeds[BEFORE];

    for (size_t i = 0; i < count; i++)
        seeds[i] = first + (int64_t)i;
    m.generate.seeds = (struct numbers){ seeds, count };
    m.generate.deadline_ms = deadline_ms;
    asker_send(a, &m);
}

/* Takes pictures, each once, until there are until of them. */
static void collect(struct kit_asker *a, bool seen[ALL], int *images, int until)
{
    while (*images < until) {
        struct message m;
        struct parcel parcel;

        if (!asker_receive(a, &m, &parcel, WAIT_MS))
            fail_msg("nothing more came after %d pictures", *images);
        if (m.type == MESSAGE_ERROR)
            fail_msg("error %.*s for seed %d: %.*s", (int)m.error.code.len, m.error.code.data,
                     (int)m.error.seed, (int)m.error.message.len, m.error.message.data);
        if (m.type == MESSAGE_IMAGE) {
            assert_in_range(m.image.seed, 0, ALL - 1);
            assert_false(seen[m.image.seed]);
            seen[m.image.seed] = true;
            ++*images;
        }
        message_release(&m);
        parcel_release(&parcel);
    }
}

/* Those who have little time learn what it is that they lack. */
static void ask_in_a_hurry(void)
{
    for (int i = 0; i < SHORT_COUNT; i++) {
        struct message wish = generate_of(1, LAST, PSI), m;
        struct kit_asker a;
        struct parcel parcel;

        wish.generate.deadline_ms = SHORT_MS;
        asker_open(&a, stack.clients, LINK_REQ);
        asker_send(&a, &wish);
        assert_true(asker_receive(&a, &m, &parcel, WAIT_MS));
        assert_int_equal(m.type, MESSAGE_ERROR);
        if (!text_is(m.error.code, "ledger_down"))
            fail_msg("%.*s: %.*s", (int)m.error.code.len, m.error.code.data,
                     (int)m.error.message.len, m.error.message.data);
        message_release(&m);
        parcel_release(&parcel);
        asker_close(&a);
    }
}

static int64_t ask_rendered(int64_t *retried)
{
    struct message status, m;
    struct kit_asker a;
    struct parcel parcel;
    int64_t rendered;

    message_init(&status, MESSAGE_STATUS, 0);
    asker_open(&a, stack.clients, LINK_REQ);
    asker_send(&a, &status);
    assert_true(asker_receive(&a, &m, &parcel, WAIT_MS));
    assert_int_equal(m.type, MESSAGE_STATUS_REPORT);
    assert_int_equal(m.status_report.workers.count, 1);
    rendered = ((const struct message_worker *)m.status_report.workers.items)[0].rendered;
    *retried = m.status_report.retried;
    assert_int_equal(m.status_report.late, 0);
    message_release(&m);
    parcel_release(&parcel);
    asker_close(&a);
    return rendered;
}

/* Its heartbeat tells, once a second. */
static void every_picture_was_rendered_once(void)
{
    int64_t rendered, retried;

    while ((rendered = ask_rendered(&retried)) < ALL)
        ;
    assert_int_equal(rendered, ALL);
    assert_int_equal(retried, 0);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo,
                                      "SELECT count(*) FROM images JOIN blobs USING (key) "
                                      "WHERE sha256(data) = file_sha"), ALL);
}

static void a_database_that_is_stopped_for_a_while_costs_nothing_but_time(void **state)
{
    bool seen[ALL] = { false };
    struct kit_asker a;
    int images = 0;

    (void)state;
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, BEFORE, 600000);
    collect(&a, seen, &images, 10);          /* measured now: the bound is two seconds */
    kit_postgres_shut_down(&stack.pg);
    program_wait_for(&stack.broker, " ledger_down ", NULL, 0);
    ask_for(&a, BEFORE, DURING, 600000);
    ask_in_a_hurry();
    kit_postgres_start_server(&stack.pg);
    collect(&a, seen, &images, ALL);
    every_picture_was_rendered_once();
    asker_close(&a);
}

static void a_database_that_hangs_for_a_while_costs_nothing_but_time(void **state)
{
    bool seen[ALL] = { false };
    struct kit_asker a;
    int images = 0;

    (void)state;
    asker_open(&a, stack.clients, LINK_DEALER);
    ask_for(&a, 0, BEFORE, 600000);
    collect(&a, seen, &images, 10);
    kit_postgres_freeze(&stack.pg);
    ask_for(&a, BEFORE, DURING, 600000);
    program_wait_for(&stack.broker, " ledger_down ", NULL, 0);
    ask_in_a_hurry();
    kit_postgres_thaw(&stack.pg);
    collect(&a, seen, &images, ALL);
    every_picture_was_rendered_once();
    asker_close(&a);
}

#define FLOW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FLOW(a_database_that_is_stopped_for_a_while_costs_nothing_but_time),
        FLOW(a_database_that_hangs_for_a_while_costs_nothing_but_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
