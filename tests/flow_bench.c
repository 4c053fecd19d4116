/* `seedpress bench` against a real broker with dummy workers: that it counts what happens, and that
 * a broker which stands still cannot hide it. */
#include "base/key.h"
#include "base/keyring.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000, ARGS_MAX = 40, PAUSE_MS = 300 };

static struct kit_stack stack;
static struct kit_asker asker;

static int set_up(void **state)
{
    (void)state;
    stack_start_bare(&stack, NULL);
    stack_start_dummies(&stack, 0, "bytes=100,count=2", 2);
    asker_open(&asker, stack.clients, LINK_DEALER);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    asker_close(&asker);
    stack_destroy(&stack);
    return 0;
}

static struct message_status_report status(void)
{
    struct message_status_report out;
    struct parcel parcel;
    struct message m;

    message_init(&m, MESSAGE_STATUS, 1);
    asker_send(&asker, &m);
    assert_true(asker_receive(&asker, &m, &parcel, WAIT_MS));
    assert_int_equal(m.type, MESSAGE_STATUS_REPORT);
    out = m.status_report;           /* its texts are not read */
    message_release(&m);
    parcel_release(&parcel);
    return out;
}

static const char *program(char path[256])
{
    const char *build = getenv("SEEDPRESS_BUILD");

    snprintf(path, 256, "%s/seedpress", build ? build : "build");
    return path;
}

/* seedpress --json bench at that broker, with these options. */
static struct ran bench_at(const char *broker, const char *const *options)
{
    char path[256];
    const char *argv[ARGS_MAX] = { program(path), "--json", "--broker", broker, "bench" };
    size_t count = 5;

    for (; *options; options++) {
        assert_true(count < ARGS_MAX - 1);
        argv[count++] = *options;
    }
    return run_program(argv);
}
#define BENCH(...) bench_at(stack.clients, (const char *const[]){ __VA_ARGS__, NULL })

static cJSON *figures_of(struct ran *ran, int exit_code)
{
    cJSON *json = cJSON_Parse(ran->out);

    if (ran->exit_code != exit_code || !json)
        fail_msg("exit code %d and not %d: %s%s", ran->exit_code, exit_code, ran->out, ran->err);
    ran_release(ran);
    return json;
}

static const cJSON *find(const cJSON *json, const char *outer, const char *name)
{
    if (outer)
        json = cJSON_GetObjectItemCaseSensitive(json, outer);
    return cJSON_GetObjectItemCaseSensitive(json, name);
}

static int64_t number(const cJSON *json, const char *outer, const char *name)
{
    const cJSON *item = find(json, outer, name);

    if (!cJSON_IsNumber(item))
        fail_msg("no number \"%s\"", name);
    return (int64_t)item->valuedouble;
}

static void expect_ordered(const cJSON *latency)
{
    static const char *const NAMES[] = { "p50", "p90", "p99", "p99_9", "max" };

    assert_true(number(latency, NULL, NAMES[0]) > 0);
    for (int i = 1; i < 5; i++)
        assert_true(number(latency, NULL, NAMES[i]) >= number(latency, NULL, NAMES[i - 1]));
}

/* What holds of every run in which all went well. */
static void expect_whole(const cJSON *json, const struct message_status_report *before)
{
    struct message_status_report after = status();
    int64_t asked = number(json, "in_all", "asked"), ok = number(json, NULL, "ok");

    assert_true(ok > 0);
    assert_int_equal(number(json, NULL, "failed"), 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "errors")), 0);
    assert_int_equal(asked, number(json, "in_all", "ended"));
    assert_int_equal(asked, after.submitted - before->submitted);
    assert_int_equal(asked, after.answered - before->answered);
    assert_true(ok <= asked);
    assert_int_equal(number(json, "latency_us", "count"), ok);
    assert_int_equal(number(json, "sources", "render") + number(json, "sources", "ledger") +
                     number(json, "sources", "memory"), ok);
    expect_ordered(cJSON_GetObjectItem(json, "latency_us"));
}

static void a_closed_loop_counts_what_the_broker_answers(void **state)
{
    struct message_status_report before = status();
    struct ran ran = BENCH("--model", "dummy", "--connections", "2", "--window", "4", "--seconds",
                           "0.5", "--warmup", "0.1", "--verify");
    cJSON *json = figures_of(&ran, 0);

    (void)state;
    expect_whole(json, &before);
    assert_int_equal(number(json, "sources", "render"), number(json, NULL, "ok"));
    assert_int_equal(number(json, NULL, "bytes_per_s") / 100,
                     number(json, NULL, "requests_per_s"));
    assert_int_equal(number(json, "settings", "window"), 4);
    assert_string_equal(find(json, "settings", "loop")->valuestring, "closed");
    assert_true(number(json, NULL, "request_bytes") > 40);
    /* The warm-up is not in the figures, and it is in the whole. */
    assert_true(number(json, "in_all", "asked") > number(json, NULL, "ok") + 2);
    cJSON_Delete(json);
}

static void an_open_loop_asks_at_its_own_rate(void **state)
{
    struct message_status_report before = status();
    struct ran ran = BENCH("--model", "dummy", "--rate", "400", "--seconds", "1", "--warmup",
                           "0.1", "--mix", "high=20,normal=60,low=20");
    cJSON *json = figures_of(&ran, 0);
    int64_t ok;

    (void)state;
    expect_whole(json, &before);
    ok = number(json, NULL, "ok");
    assert_true(ok > 280 && ok < 520);               /* 400, deviation 20 */
    assert_int_equal(number(cJSON_GetObjectItem(json, "levels"), "high", "count") +
                     number(cJSON_GetObjectItem(json, "levels"), "normal", "count") +
                     number(cJSON_GetObjectItem(json, "levels"), "low", "count"), ok);
    expect_ordered(find(json, "levels", "low"));
    cJSON_Delete(json);
}

static void pages_and_receipts_are_counted_by_the_picture(void **state)
{
    struct message_status_report before = status();
    struct ran ran = BENCH("--model", "dummy", "--connections", "1", "--window", "2", "--page",
                           "20", "--receipts", "--seconds", "0.3", "--warmup", "0", "--verify");
    cJSON *json = figures_of(&ran, 0);

    (void)state;
    expect_whole(json, &before);
    assert_int_equal(number(json, NULL, "bytes_per_s"), 0);
    assert_int_equal((number(json, "in_all", "asked") - 1) % 20, 0);    /* one asked first */
    assert_int_equal(number(json, NULL, "pictures_per_s") / 20,
                     number(json, NULL, "requests_per_s"));
    cJSON_Delete(json);
}

static void a_pause_makes_room_between_requests(void **state)
{
    struct ran ran = BENCH("--model", "dummy", "--connections", "1", "--window", "1", "--pause-us",
                           "20000", "--seconds", "0.5", "--warmup", "0");
    cJSON *json = figures_of(&ran, 0);

    (void)state;
    assert_true(number(json, NULL, "ok") > 0 && number(json, NULL, "ok") <= 26);
    cJSON_Delete(json);
}

/* The same seeds each time, so that hits can be asked for. */
static void seeds_begin_where_they_are_told_to(void **state)
{
    struct message_status_report before = status(), after;
    struct ran ran = BENCH("--model", "dummy", "--seeds-from", "4294967290", "--connections", "1",
                           "--window", "1", "--duplicates", "50", "--verify", "--seconds", "0.3",
                           "--warmup", "0");
    cJSON *json = figures_of(&ran, 0);

    (void)state;
    after = status();
    assert_int_equal(after.failed, before.failed);   /* also behind the last seed */
    assert_int_equal(number(json, "settings", "seeds_from"), 4294967290);
    cJSON_Delete(json);
}

enum who { BROKER, BENCH_ITSELF };

/* An open loop of 200 requests a second for 1.5 s, in which one side stands still for PAUSE_MS. */
static void expect_pause_to_show(enum who who)
{
    struct message_status_report before = status();
    const char *argv[] = { "seedpress", "--json", "--broker", stack.clients, "bench", "--model",
                           "dummy", "--rate", "200", "--seconds", "1.5", "--warmup", "0", NULL };
    struct kit_program bench, *paused = who == BROKER ? &stack.broker : &bench;
    char text[8192];
    cJSON *json;

    program_start(&bench, argv);
    while (status().answered < before.answered + 50)
        ;                            /* it is under way */
    program_signal(paused, SIGSTOP);
    poll(NULL, 0, PAUSE_MS);         /* the fault itself */
    program_signal(paused, SIGCONT);
    program_wait_for(&bench, "latency_us", text, sizeof text);
    json = cJSON_Parse(text);
    assert_non_null(json);
    assert_int_equal(program_wait(&bench), 0);
    expect_whole(json, &before);
    /* A fifth of the requests fell into the pause, and waited for its rest: not one, but many. */
    assert_true(number(json, "latency_us", "p99") > PAUSE_MS * 1000 / 2);
    assert_true(number(json, "latency_us", "max") > PAUSE_MS * 1000 * 3 / 4);
    cJSON_Delete(json);
}

static void a_broker_that_stands_still_shows_in_the_open_loop(void **state)
{
    (void)state;
    expect_pause_to_show(BROKER);
}

/* What could not be sent in time counts from the time at which it should have been. */
static void requests_that_were_sent_late_show_too(void **state)
{
    (void)state;
    expect_pause_to_show(BENCH_ITSELF);
}

static void connections_take_turns_with_several_brokers(void **state)
{
    struct message_status_report before = status();
    struct kit_stack second;
    char both[160];
    struct ran ran;
    cJSON *json;
    int64_t here;

    (void)state;
    stack_start_bare(&second, NULL);
    stack_start_dummies(&second, 0, "bytes=100", 1);
    snprintf(both, sizeof both, "%s,%s", stack.clients, second.clients);
    ran = bench_at(both, (const char *const[]){ "--model", "dummy", "--rate", "200",
                                                "--connections", "4", "--seconds", "0.5",
                                                "--warmup", "0", NULL });
    json = figures_of(&ran, 0);
    here = status().submitted - before.submitted;
    assert_true(here > 0 && here < number(json, "in_all", "asked"));
    cJSON_Delete(json);
    stack_destroy(&second);
}

/* Makes a pair of keys in folder, and adds its line to the keyring. */
static void make_keys(const struct temp *temp, const char *name, enum keyring_role role)
{
    FILE *ring = fopen(temp_path(temp, "keyring").text, "a");
    struct key_pair pair;
    struct err e;

    assert_non_null(ring);
    assert_int_equal(key_pair_create(&pair, &e), ERR_OK);
    assert_int_equal(key_pair_write(&pair, temp_path(temp, name).text, name, &e), ERR_OK);
    if (role != KEYRING_NONE)
        fprintf(ring, "%s %s %s\n", keyring_role_word(role), pair.public_key, name);
    key_pair_wipe(&pair);
    fclose(ring);
}

static void keys_are_used_on_both_sides_of_the_broker(void **state)
{
    struct temp temp = temp_create();
    struct temp_path broker_key = temp_path(&temp, "broker.key"),
                     broker_pub = temp_path(&temp, "broker.pub"),
                     worker_key = temp_path(&temp, "worker.key"),
                     client_key = temp_path(&temp, "client.key"),
                     ring = temp_path(&temp, "keyring");
    struct kit_stack fort;
    struct ran ran;
    cJSON *json;

    (void)state;
    make_keys(&temp, "broker", KEYRING_NONE);
    make_keys(&temp, "worker", KEYRING_WORKER);
    make_keys(&temp, "client", KEYRING_CLIENT);
    stack_start_bare(&fort, (const char *const[]){ "--key-file", broker_key.text, "--keyring",
                                                   ring.text, NULL });
    program_start(&fort.worker[0], (const char *const[]){
        "seedpress-worker", "--brokers", fort.workers, "--dummy", "bytes=100", "--key-file",
        worker_key.text, "--broker-key", broker_pub.text, NULL });
    program_wait_for(&fort.worker[0], " broker_joined ", NULL, 0);
    ran = bench_at(fort.clients, (const char *const[]){
        "--key-file", client_key.text, "--broker-key", broker_pub.text, "--model", "dummy",
        "--seconds", "0.2", "--warmup", "0", "--verify", NULL });
    json = figures_of(&ran, 0);
    assert_true(number(json, NULL, "ok") > 0);
    assert_int_equal(number(json, NULL, "failed"), 0);
    cJSON_Delete(json);
    /* Without a key nobody answers. */
    ran = bench_at(fort.clients, (const char *const[]){ "--model", "dummy", NULL });
    assert_int_equal(ran.exit_code, 5);
    ran_release(&ran);
    stack_destroy(&fort);
    temp_destroy(&temp);
}

static void what_fails_is_counted_by_its_code(void **state)
{
    struct kit_stack slow;
    struct kit_asker other;
    struct ran ran;
    cJSON *json;

    (void)state;
    stack_start_bare(&slow, NULL);
    stack_start_dummies(&slow, 0, "b_us=300000", 1);
    asker_open(&other, slow.clients, LINK_DEALER);
    ran = bench_at(slow.clients, (const char *const[]){
        "--model", "dummy", "--connections", "1", "--window", "3", "--deadline-ms", "100",
        "--seconds", "1", "--warmup", "0", NULL });
    json = figures_of(&ran, 4);
    assert_int_equal(number(json, NULL, "ok"), 0);
    assert_true(number(json, "errors", "deadline") > 0);
    assert_int_equal(number(json, "errors", "deadline"), number(json, NULL, "failed"));
    assert_int_equal(number(json, "latency_us", "count"), 0);
    cJSON_Delete(json);
    asker_close(&other);
    stack_destroy(&slow);
}

static void what_cannot_be_is_said_in_words(void **state)
{
    static const struct {
        const char *options[8];
        int exit_code;
        const char *words;
    } ROWS[] = {
        { { "--model", "nobody", "--seconds", "1" }, 1, "unknown model \\\"nobody\\\"" },
        { { "--seconds", "1" }, 2, "--model is missing" },
        { { "--model", "dummy", "--rate", "5", "--window", "2" }, 2, "open loop" },
        { { "--model", "dummy", "--rate", "5", "--pause-us", "2" }, 2, "--pause-us" },
        { { "--model", "dummy", "--rate", "0" }, 2, "--rate 0 is out of range" },
        { { "--model", "dummy", "--connections", "49" }, 2, "1..48" },
        { { "--model", "dummy", "--mix", "high" }, 2, "--mix needs shares" },
        { { "--model", "dummy", "--cache", "only" }, 2, "use, bypass" },
        { { "--model", "dummy", "--seconds", "0" }, 2, "more than 0" },
        { { "--model", "dummy", "--seconds", "1e3" }, 2, "--seconds" },
        { { "--model", "dummy", "--colour", "1" }, 2, "unknown option" },
        { { "--model", "dummy", "more" }, 2, "unexpected argument" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct ran ran = bench_at(stack.clients, ROWS[i].options);

        if (ran.exit_code != ROWS[i].exit_code || !strstr(ran.err, ROWS[i].words))
            fail_msg("row %zu: exit code %d, %s", i, ran.exit_code, ran.err);
        ran_release(&ran);
    }
}

static void no_broker_is_unreachable(void **state)
{
    struct ran ran = bench_at("ipc:///tmp/seedpress-nobody-is-here", (const char *const[]){
                                  "--model", "dummy", "--seconds", "1", NULL });

    (void)state;
    assert_int_equal(ran.exit_code, 5);
    assert_non_null(strstr(ran.err, "no broker answers"));
    ran_release(&ran);
}

static void people_get_a_table(void **state)
{
    char path[256];
    struct ran ran = run_program((const char *[]){
        program(path), "--broker", stack.clients, "bench", "--model", "dummy", "--seconds", "0.2",
        "--warmup", "0", NULL });

    (void)state;
    assert_int_equal(ran.exit_code, 0);
    assert_non_null(strstr(ran.out, "closed loop, 8 connections with 8 requests each"));
    assert_non_null(strstr(ran.out, "p99.9"));
    assert_non_null(strstr(ran.out, " ok, 0 failed"));
    ran_release(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_loop_counts_what_the_broker_answers),
        cmocka_unit_test(an_open_loop_asks_at_its_own_rate),
        cmocka_unit_test(pages_and_receipts_are_counted_by_the_picture),
        cmocka_unit_test(a_pause_makes_room_between_requests),
        cmocka_unit_test(seeds_begin_where_they_are_told_to),
        cmocka_unit_test(a_broker_that_stands_still_shows_in_the_open_loop),
        cmocka_unit_test(requests_that_were_sent_late_show_too),
        cmocka_unit_test(connections_take_turns_with_several_brokers),
        cmocka_unit_test(keys_are_used_on_both_sides_of_the_broker),
        cmocka_unit_test(what_fails_is_counted_by_its_code),
        cmocka_unit_test(what_cannot_be_is_said_in_words),
        cmocka_unit_test(no_broker_is_unreachable),
        cmocka_unit_test(people_get_a_table),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
