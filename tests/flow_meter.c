/* What the broker tells of itself, with the clock turned by hand: metrics and status_report hold
 * the same figures, and the right ones. */
#include "tests/kit_broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t value(const struct desk *d, size_t row, size_t series)
{
    return metrics_value(d->b->meter.metrics, row, series);
}

static struct message_status_report status_of(struct desk *d, struct peer *client)
{
    struct message_status_report report;
    struct message m;
    struct heard h;

    message_init(&m, MESSAGE_STATUS, 99);
    peer_say(client, &m, NULL);
    desk_turn(d, 0);
    assert_true(peer_hears(client, &h));
    assert_int_equal(h.m.type, MESSAGE_STATUS_REPORT);
    report = h.m.status_report;      /* its texts are not looked at */
    heard_release(&h);
    return report;
}

static void open_desk(struct desk *d, struct peer *client)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;

    desk_open(d, NULL, &options);
    client_join(d, client, LINK_DEALER);
}

static void wishes_for_long(struct peer *client, int64_t id, int64_t seed)
{
    struct message wish = wish_of(id, seed);

    wish.generate.deadline_ms = 600000;
    peer_say(client, &wish, NULL);
}

static void waits_are_measured_from_arrival_to_the_first_dispatch(void **state)
{
    struct message_status_report r;
    struct peer client, worker;
    struct job_seen job;
    struct desk d;

    (void)state;
    open_desk(&d, &client);
    worker_joins(&d, &worker, "host:1:1", 0);
    for (int64_t seed = 1; seed <= 3; seed++)
        wishes_for_long(&client, seed, seed);
    desk_turn(&d, 0);
    wishes_for_long(&client, 4, 1);    /* joins the first, later */
    desk_turn(&d, 1000);
    r = status_of(&d, &client);
    assert_int_equal(r.oldest_ms, 1000);
    assert_int_equal(r.wait_p50_ms, 0);
    assert_int_equal(r.clients, 1);
    assert_int_equal(value(&d, METER_QUEUE_OLDEST, 0), 1000);
    assert_int_equal(value(&d, METER_QUEUE_DEPTH, MESSAGE_NORMAL), 4);
    assert_int_equal(value(&d, METER_WAITERS, 0), 4);
    assert_int_equal(value(&d, METER_DEDUPE, 0), 1);
    worker_says_heartbeat(&worker, 1, 0, 0);
    desk_turn(&d, 7);
    job = worker_gets_one(&worker);
    assert_int_equal(value(&d, METER_QUEUE_WAIT, 0), 2);         /* the first and who joined it */
    worker_says(&worker, MESSAGE_HANDBACK, job.lease);
    worker_says_heartbeat(&worker, 3, 0, 1);
    desk_turn(&d, 1000);
    assert_int_equal(value(&d, METER_QUEUE_WAIT, 0), 4);         /* not counted again */
    assert_int_equal(value(&d, METER_RETRIED, 0), 1);
    r = status_of(&d, &client);
    assert_in_range(r.wait_p50_ms, 1007, 1007 + 1007 / 8);
    assert_in_range(r.wait_p99_ms, 2007, 2007 + 2007 / 8);
    assert_int_equal(r.oldest_ms, 0);
    worker_says_heartbeat(&worker, 3, 3, 2);
    desk_turn(&d, 2500);
    for (int i = 0; i < 35; i++) {   /* so that it is not silent */
        worker_says_heartbeat(&worker, 3, 3, 3 + i);
        desk_turn(&d, 2000);
    }
    r = status_of(&d, &client);
    assert_int_equal(r.wait_p99_ms, 0);          /* a minute later it is forgotten */
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&d);
}

static void what_came_back_is_as_old_as_it_was(void **state)
{
    struct peer client, worker;
    struct job_seen job;
    struct desk d;

    (void)state;
    open_desk(&d, &client);
    worker_joins(&d, &worker, "host:1:1", 1);
    wishes_for_long(&client, 1, 1);
    desk_turn(&d, 0);
    job = worker_gets_one(&worker);
    desk_turn(&d, 300);
    assert_int_equal(status_of(&d, &client).oldest_ms, 0);
    worker_says(&worker, MESSAGE_HANDBACK, job.lease);
    wishes_for_long(&client, 2, 2);
    desk_turn(&d, 50);
    assert_int_equal(status_of(&d, &client).oldest_ms, 350);
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&d);
}

static void pictures_are_counted_by_how_they_end(void **state)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct message unknown = wish_of(9, 9);
    struct peer client, worker;
    struct job_seen jobs[DESK_JOBS_MAX], *first = NULL;
    struct message wish;
    struct desk d;

    (void)state;
    options.grace_ms = 0;
    desk_open(&d, NULL, &options);
    client_join(&d, &client, LINK_DEALER);
    worker_joins(&d, &worker, "host:1:1", 8);
    for (int64_t seed = 1; seed <= 3; seed++)
        client_wishes(&client, seed, seed);
    wish = wish_of(4, 4);
    wish.generate.deadline_ms = 500;
    peer_say(&client, &wish, NULL);
    unknown.generate.model = text_of("dogs");
    peer_say(&client, &unknown, NULL);
    desk_turn(&d, 0);
    client_gets_error(&client, 9, ERR_UNKNOWN_MODEL);
    assert_int_equal(worker_gets(&worker, jobs), 4);
    for (int i = 0; i < 4; i++)      /* the nearest deadline comes first: not in order of seeds */
        if (jobs[i].recipe.seed == 1)
            worker_says_result(&worker, first = &jobs[i]);
        else if (jobs[i].recipe.seed == 2)
            worker_says_fail(&worker, jobs[i].lease, "withdrawn");
    client_cancels(&client, 8, 3);
    desk_turn(&d, 500);
    assert_int_equal(value(&d, METER_SUBMITTED, 0), 4);
    assert_int_equal(value(&d, METER_FINISHED, ERR_OK), 1);
    assert_int_equal(value(&d, METER_FINISHED, ERR_WITHDRAWN), 1);
    assert_int_equal(value(&d, METER_FINISHED, ERR_CANCELLED), 1);
    /* Without a ledger that is what a deadline says. */
    assert_int_equal(value(&d, METER_FINISHED, ERR_LEDGER_DOWN), 1);
    assert_int_equal(value(&d, METER_FINISHED, ERR_UNKNOWN_MODEL), 0);
    assert_int_equal(value(&d, METER_MESSAGES_FAILED, ERR_UNKNOWN_MODEL), 1);
    assert_int_equal(value(&d, METER_RESULT_BYTES, 0), 1);
    worker_says_result(&worker, first);          /* once more */
    desk_turn(&d, 0);
    assert_int_equal(value(&d, METER_LATE, 0), 1);
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&d);
}

static void workers_that_die_are_told_from_those_that_leave(void **state)
{
    struct message_status_report r;
    struct peer client, one, two, three;
    struct job_seen jobs[DESK_JOBS_MAX];
    struct desk d;

    (void)state;
    open_desk(&d, &client);
    worker_joins(&d, &one, "host:1:1", 0);
    worker_joins(&d, &two, "host:2:2", 4);
    desk_turn(&d, 0);
    assert_int_equal(value(&d, METER_WORKER_UP, 0), 2);
    client_wishes(&client, 1, 1);
    client_wishes(&client, 2, 2);
    desk_turn(&d, 0);
    assert_int_equal(worker_gets(&two, jobs), 2);
    worker_says_bye(&one);
    desk_turn(&d, 0);
    assert_int_equal(value(&d, METER_WORKERS_LOST, 0), 0);
    desk_turn(&d, BROKER_OPTIONS_DEFAULT.silence_ms + 1);
    r = status_of(&d, &client);
    assert_int_equal(r.workers_lost, 1);
    assert_int_equal(value(&d, METER_WORKERS_LOST, 0), 1);
    assert_int_equal(value(&d, METER_LEASES_LOST, 0), 2);
    assert_int_equal(value(&d, METER_WORKER_UP, 0), 0);
    worker_joins(&d, &three, "host:3:3", 4);     /* it hangs */
    desk_turn(&d, 0);
    assert_int_equal(worker_gets(&three, jobs), 2);
    for (int64_t ms = 0; ms <= BROKER_OPTIONS_DEFAULT.stall_ms; ms += 1000) {
        worker_says_heartbeat(&three, 4, 2, 0);
        desk_turn(&d, 1000);
    }
    assert_int_equal(value(&d, METER_WORKERS_LOST, 0), 2);
    assert_int_equal(value(&d, METER_LEASES_LOST, 0), 4);
    peer_leave(&client);
    peer_leave(&one);
    peer_leave(&two);
    peer_leave(&three);
    desk_close(&d);
}

static void what_cannot_be_read_is_counted(void **state)
{
    static const struct bytes GARBAGE = { "garbage", 7 };
    struct message_status_report r;
    struct peer client, worker;
    struct desk d;

    (void)state;
    open_desk(&d, &client);
    worker_joins(&d, &worker, "host:1:1", 1);
    peer_say_bytes(&client, &GARBAGE, 1);
    peer_say_bytes(&worker, &GARBAGE, 1);
    desk_turn(&d, 0);
    client_gets_error(&client, 0, ERR_INVALID);
    r = status_of(&d, &client);
    assert_int_equal(r.malformed, 2);
    assert_int_equal(value(&d, METER_MALFORMED, 0), 2);
    assert_int_equal(value(&d, METER_MESSAGES_FAILED, ERR_INVALID), 1);
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&d);
}

static void each_model_has_its_workers(void **state)
{
    struct peer client, worker;
    struct digest cats = desk_cats().digest;
    struct desk d;
    char *text, line[200];
    size_t len;
    struct err e;

    (void)state;
    open_desk(&d, &client);
    worker_joins(&d, &worker, "host:1:1", 1);
    desk_turn(&d, 1000);
    assert_int_equal(metrics_print(broker_metrics(d.b), &text, &len, &e), ERR_OK);
    snprintf(line, sizeof line, "\nseedpress_model_workers{model=\"cats@%.8s\"} 1\n",
             digest_hex(&cats).text);
    assert_non_null(strstr(text, line));
    assert_non_null(strstr(text, "\nseedpress_build_info{version=\"" SEEDPRESS_VERSION "\"} 1\n"));
    free(text);
    worker_says_bye(&worker);
    desk_turn(&d, 1000);
    assert_int_equal(value(&d, METER_MODEL_WORKERS, 0), 0);
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&d);
}

static void readiness_names_its_first_reason(void **state)
{
    struct peer client;
    struct desk d;

    (void)state;
    open_desk(&d, &client);
    assert_string_equal(health_why_not(broker_health(d.b)), "starting");
    desk_turn(&d, 0);
    assert_string_equal(health_why_not(broker_health(d.b)), "ledger down");
    assert_true(health_is_live(broker_health(d.b), d.now_ms));
    assert_false(health_is_live(broker_health(d.b), d.now_ms + HEALTH_STUCK_MS));
    broker_drain(d.b, d.now_ms);
    desk_turn(&d, 0);
    assert_string_equal(health_why_not(broker_health(d.b)), "draining");
    peer_leave(&client);
    desk_close(&d);
}

static void without_a_ledger_only_a_worker_is_missed(void **state)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct peer client;
    struct desk d;

    (void)state;
    options.without_ledger = true;
    desk_open(&d, NULL, &options);
    client_join(&d, &client, LINK_DEALER);
    desk_turn(&d, 0);
    assert_string_equal(health_why_not(broker_health(d.b)), "no worker");
    peer_leave(&client);
    desk_close(&d);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_are_measured_from_arrival_to_the_first_dispatch),
        cmocka_unit_test(what_came_back_is_as_old_as_it_was),
        cmocka_unit_test(pictures_are_counted_by_how_they_end),
        cmocka_unit_test(workers_that_die_are_told_from_those_that_leave),
        cmocka_unit_test(what_cannot_be_read_is_counted),
        cmocka_unit_test(each_model_has_its_workers),
        cmocka_unit_test(readiness_names_its_first_reason),
        cmocka_unit_test(without_a_ledger_only_a_worker_is_missed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
