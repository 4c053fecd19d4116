/* The idle worker that renders what is stored once more: equal pictures are counted, a row that
 * somebody changed is an alarm, and nothing of it is stored or stands in anybody's way. */
#include "base/clock.h"
#include "tests/kit_http.h"
#include "tests/kit_stack.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WAIT_MS = 120000, PSI = 700000, PICTURES = 5 };

#define EQUAL "seedpress_replay_checks_total{outcome=\"equal\"}"
#define DIFFERS "seedpress_replay_checks_total{outcome=\"differs\"}"
#define RENDERED "seedpress_pictures_total{stage=\"rendered\"}"
#define STORED "seedpress_pictures_total{stage=\"stored\"}"

static struct kit_stack stack;
static char worker_at[64];          /* its port for monitoring */

static void start_worker(const char *one_in)
{
    const char *const argv[] = { "seedpress-worker", "--ledger", stack.pg.conninfo, "--brokers",
                                 stack.workers, "--models-dir", "deploy/models", "--backend", "cpu",
                                 "--replay-one-in", one_in, "--metrics-listen", "127.0.0.1:0",
                                 NULL };
    char line[512];
    const char *at;

    program_start(&stack.worker[0], argv);
    program_wait_for(&stack.worker[0], " metrics_ready ", line, sizeof line);
    at = strstr(line, " endpoint=");
    assert_non_null(at);
    snprintf(worker_at, sizeof worker_at, "%.*s", (int)strcspn(at + 10, " "), at + 10);
    http_await(worker_at, "/readyz", 200, "ok");
}

static int set_up(void **state)
{
    (void)state;
    stack_start(&stack, NULL);
    start_worker("1");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stack_destroy(&stack);
    return 0;
}

static void generate(int64_t first, int64_t count)
{
    struct kit_asker a;
    struct message m;
    struct parcel parcel;

    asker_open(&a, stack.clients, LINK_DEALER);
    for (int64_t i = 0; i < count; i++) {
        m = generate_of(i + 1, first + i, PSI);
        asker_send(&a, &m);
    }
    for (int64_t i = 0; i < count; i++) {
        assert_true(asker_receive(&a, &m, &parcel, WAIT_MS));
        assert_int_equal(m.type, MESSAGE_IMAGE);
        message_release(&m);
        parcel_release(&parcel);
    }
    asker_close(&a);
}

/* The figures are brought up to date once a turn of the worker's loop. */
static void await_value(const char *series, double value)
{
    int64_t give_up_ms = clock_ms() + WAIT_MS;
    double got;

    do {
        char *text = prometheus_scrape(worker_at);

        got = prometheus_value(text, series);
        free(text);
        if (clock_ms() > give_up_ms)
            fail_msg("%s is %g and not %g", series, got, value);
    } while (got < value);
}

static double value_of(const char *series)
{
    char *text = prometheus_scrape(worker_at);
    double got = prometheus_value(text, series);

    free(text);
    return got;
}

static void what_is_stored_is_rendered_again_when_nobody_asks(void **state)
{
    (void)state;
    generate(0, PICTURES);
    await_value(EQUAL, PICTURES);
    assert_true(value_of(DIFFERS) == 0);
    assert_true(value_of(EQUAL) == PICTURES);    /* one for each, and no more */
    await_value(RENDERED, 2 * PICTURES);
    assert_true(value_of(RENDERED) == 2 * PICTURES);
    await_value(STORED, PICTURES);
    assert_true(value_of(STORED) == PICTURES);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(*) FROM images"), PICTURES);
}

static void a_picture_that_comes_out_otherwise_is_an_alarm(void **state)
{
    char line[512];

    (void)state;
    kit_postgres_exec(stack.pg.conninfo, "UPDATE images SET core_sha = sha256(core_sha)");
    /* The next one too: which is rendered again is a matter of chance. */
    kit_postgres_exec(stack.pg.conninfo,
                      "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                      "NEW.core_sha = sha256(NEW.core_sha); RETURN NEW; END $$; "
                      "CREATE TRIGGER spoil BEFORE INSERT ON images FOR EACH ROW "
                      "EXECUTE FUNCTION spoil()");
    generate(0, PICTURES);           /* stored: nothing to check is owed for these */
    generate(100, 1);
    program_wait_for(&stack.worker[0], " replay_differs ", line, sizeof line);
    assert_non_null(strstr(line, " recipe="));
    assert_non_null(strstr(line, " class=cpu-fp32-"));
    assert_non_null(strstr(line, " stored_by_run=1"));
    await_value(DIFFERS, 1);
    /* The alarm changes nothing: the first picture still wins. */
    assert_int_equal(kit_postgres_int(stack.pg.conninfo,
                                      "SELECT count(*) FROM images WHERE kept"), PICTURES + 1);
}

static void a_worker_that_is_told_not_to_renders_nothing_again(void **state)
{
    (void)state;
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
    start_worker("0");
    generate(300, PICTURES);
    await_value(RENDERED, PICTURES);
    assert_true(value_of(RENDERED) == PICTURES);
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
    start_worker("1000000");
    generate(400, 1);
    await_value(RENDERED, 1);
    assert_true(value_of(RENDERED) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_rendered_again_when_nobody_asks),
        cmocka_unit_test(a_picture_that_comes_out_otherwise_is_an_alarm),
        cmocka_unit_test(a_worker_that_is_told_not_to_renders_nothing_again),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
