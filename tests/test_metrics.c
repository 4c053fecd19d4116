/* What monitoring reads, to the byte; and what the last minute brought. */
#include "base/health.h"
#include "base/metrics.h"
#include "base/recent.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { JOBS, DEPTH, AGE, WAIT, STAGE, MODELS, BUILD, ROWS };
static const char *const LEVELS[] = { "high", "low" };
static const int64_t BOUNDS[] = { 1, 50, 2500 };
static const struct metric TABLE[ROWS] = {
    [JOBS] = { .name = "t_jobs_total", .kind = METRIC_COUNTER, .help = "Jobs." },
    [DEPTH] = { .name = "t_depth", .kind = METRIC_GAUGE, .label = { "level" }, .words = LEVELS,
                .series = 2, .help = "Waiting." },
    [AGE] = { .name = "t_age_seconds", .kind = METRIC_GAUGE, .per = 1000, .help = "Oldest." },
    [WAIT] = { .name = "t_wait_seconds", .kind = METRIC_HISTOGRAM, .per = 1000, .bounds = BOUNDS,
               .bound_count = 3, .help = "Waits." },
    [STAGE] = { .name = "t_stage", .kind = METRIC_HISTOGRAM, .label = { "level" }, .words = LEVELS,
                .series = 2, .bounds = BOUNDS, .bound_count = 1, .help = "Stages." },
    [MODELS] = { .name = "t_bytes", .kind = METRIC_GAUGE, .label = { "model" }, .series = 3,
                 .help = "Bytes." },
    [BUILD] = { .name = "t_info", .kind = METRIC_GAUGE, .label = { "version", "class" },
                .series = 1, .help = "Always 1." },
};

static struct metrics *metrics_of_table(void)
{
    struct metrics *m;
    struct err e;

    if (metrics_create(TABLE, ROWS, &m, &e))
        fail_msg("%s", e.msg);
    return m;
}

static void assert_text(const struct metrics *m, const char *expect)
{
    char *text;
    size_t len;
    struct err e;

    if (metrics_print(m, &text, &len, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(len, strlen(text));
    assert_string_equal(text, expect);
    free(text);
}

static void what_prometheus_reads_is_exact(void **state)
{
    struct metrics *m = metrics_of_table();

    (void)state;
    metrics_add(m, JOBS, 0, 40);
    metrics_add(m, JOBS, 0, 2);
    metrics_set(m, DEPTH, 1, 7);
    metrics_add(m, DEPTH, 0, -3);
    metrics_set(m, AGE, 0, 12045);
    metrics_observe(m, WAIT, 0, 1);              /* a bound belongs to its bucket */
    metrics_observe(m, WAIT, 0, 2);
    metrics_observe(m, WAIT, 0, 2500);
    metrics_observe(m, WAIT, 0, 2501);
    metrics_observe(m, STAGE, 1, 1);
    metrics_name(m, MODELS, 2, "a\"b\\c\nd", NULL);
    metrics_set(m, MODELS, 2, 99);
    metrics_set(m, MODELS, 0, 5);                /* nameless: not printed */
    metrics_name(m, BUILD, 0, "1.0", "cpu-1");
    metrics_name(m, BUILD, 0, "2.0", "other");   /* the first name stays */
    metrics_set(m, BUILD, 0, 1);
    assert_text(m,
        "# HELP t_jobs_total Jobs.\n# TYPE t_jobs_total counter\nt_jobs_total 42\n"
        "# HELP t_depth Waiting.\n# TYPE t_depth gauge\n"
        "t_depth{level=\"high\"} -3\nt_depth{level=\"low\"} 7\n"
        "# HELP t_age_seconds Oldest.\n# TYPE t_age_seconds gauge\nt_age_seconds 12.045\n"
        "# HELP t_wait_seconds Waits.\n# TYPE t_wait_seconds histogram\n"
        "t_wait_seconds_bucket{le=\"0.001\"} 1\nt_wait_seconds_bucket{le=\"0.05\"} 2\n"
        "t_wait_seconds_bucket{le=\"2.5\"} 3\nt_wait_seconds_bucket{le=\"+Inf\"} 4\n"
        "t_wait_seconds_sum 5.004\nt_wait_seconds_count 4\n"
        "# HELP t_stage Stages.\n# TYPE t_stage histogram\n"
        "t_stage_bucket{level=\"high\",le=\"1\"} 0\nt_stage_bucket{level=\"high\",le=\"+Inf\"} 0\n"
        "t_stage_sum{level=\"high\"} 0\nt_stage_count{level=\"high\"} 0\n"
        "t_stage_bucket{level=\"low\",le=\"1\"} 1\nt_stage_bucket{level=\"low\",le=\"+Inf\"} 1\n"
        "t_stage_sum{level=\"low\"} 1\nt_stage_count{level=\"low\"} 1\n"
        "# HELP t_bytes Bytes.\n# TYPE t_bytes gauge\nt_bytes{model=\"a\\\"b\\\\c\\nd\"} 99\n"
        "# HELP t_info Always 1.\n# TYPE t_info gauge\n"
        "t_info{version=\"1.0\",class=\"cpu-1\"} 1\n");
    assert_int_equal(metrics_value(m, WAIT, 0), 4);
    assert_int_equal(metrics_value(m, DEPTH, 0), -3);
    metrics_destroy(&m);
}

static void nobody_counts_without_metrics(void **state)
{
    struct metrics *none = NULL;

    (void)state;
    metrics_add(none, JOBS, 0, 1);
    metrics_set(none, JOBS, 0, 1);
    metrics_observe(none, WAIT, 0, 1);
    metrics_destroy(&none);
}

static void the_manual_prints_the_same_table(void **state)
{
    char line[200], cut[10];

    (void)state;
    metric_describe(&TABLE[DEPTH], line, sizeof line);
    assert_string_equal(line, "| `t_depth` | gauge | `level`: high, low | Waiting. |");
    metric_describe(&TABLE[BUILD], line, sizeof line);
    assert_string_equal(line, "| `t_info` | gauge | `version`, `class` | Always 1. |");
    assert_int_equal(metric_describe(&TABLE[JOBS], cut, sizeof cut), sizeof cut - 1);
}

struct counting {
    struct metrics *metrics;
    atomic_bool done;
};

enum { TIMES = 20000 };

static void *count(void *arg)
{
    struct counting *c = arg;

    for (int i = 0; i < TIMES; i++) {
        metrics_add(c->metrics, JOBS, 0, 1);
        metrics_observe(c->metrics, WAIT, 0, i % 100);
        metrics_set(c->metrics, DEPTH, 0, i);
        if (i == TIMES / 2)
            metrics_name(c->metrics, MODELS, 1, "cats", NULL);
    }
    atomic_store(&c->done, true);
    return NULL;
}

static int64_t number_after(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    assert_non_null(at);
    return atoll(at + strlen(name));
}

/* Counters only grow, and a histogram's count is its last bucket, whenever one looks. */
static void a_reader_beside_the_writer_sees_whole_values(void **state)
{
    struct counting c = { .metrics = metrics_of_table() };
    int64_t jobs = 0, waits = 0;
    pthread_t thread;
    bool done;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, count, &c), 0);
    do {
        char *text;
        size_t len;
        struct err e;

        done = atomic_load(&c.done);
        assert_int_equal(metrics_print(c.metrics, &text, &len, &e), ERR_OK);
        assert_true(number_after(text, "\nt_jobs_total ") >= jobs);
        assert_true(number_after(text, "\nt_wait_seconds_count ") >= waits);
        jobs = number_after(text, "\nt_jobs_total ");
        waits = number_after(text, "\nt_wait_seconds_count ");
        assert_int_equal(number_after(text, "{le=\"+Inf\"} "), waits);
        assert_true(!strstr(text, "t_bytes{") || strstr(text, "t_bytes{model=\"cats\"} 0\n"));
        free(text);
    } while (!done);
    pthread_join(thread, NULL);
    assert_int_equal(jobs, TIMES);
    assert_int_equal(waits, TIMES);
    metrics_destroy(&c.metrics);
}

/* ---- the last minute ---- */

static void quantiles_are_exact_below_16_and_an_eighth_off_at_most(void **state)
{
    struct recent r;

    (void)state;
    recent_init(&r, 5000);
    assert_int_equal(recent_quantile(&r, 5000, 500), 0);
    for (int64_t v = 0; v < 100; v++)
        recent_add(&r, 5000, v < 99 ? 7 : 15);
    assert_int_equal(recent_quantile(&r, 5000, 500), 7);
    assert_int_equal(recent_quantile(&r, 5000, 990), 7);
    assert_int_equal(recent_quantile(&r, 5000, 999), 15);
    for (int64_t v = 16; v < INT32_MAX; v += v / 3 + 1) {
        recent_init(&r, 0);
        recent_add(&r, 0, v);
        int64_t got = recent_quantile(&r, 0, 500);

        assert_true(got >= v && got <= v + v / 8);
    }
    recent_init(&r, 0);
    recent_add(&r, 0, INT64_MAX);
    assert_int_equal(recent_quantile(&r, 0, 990), INT32_MAX);
}

static void a_minute_later_it_is_forgotten(void **state)
{
    struct recent r;

    (void)state;
    recent_init(&r, 0);
    recent_add(&r, 9999, 10);
    recent_add(&r, 30000, 3);
    assert_int_equal(recent_quantile(&r, 69999, 990), 10);
    assert_int_equal(recent_quantile(&r, 70000, 990), 3);
    assert_int_equal(recent_quantile(&r, 10000000, 990), 0);
    recent_add(&r, 10000001, 4);
    assert_int_equal(recent_quantile(&r, 10000001, 500), 4);
}

/* ---- health ---- */

static void a_loop_that_does_not_turn_is_not_live(void **state)
{
    struct health h;

    (void)state;
    health_init(&h, 1000);
    assert_string_equal(health_why_not(&h), "starting");
    health_turn(&h, 2000, NULL);
    assert_null(health_why_not(&h));
    assert_true(health_is_live(&h, 2000 + HEALTH_STUCK_MS - 1));
    assert_false(health_is_live(&h, 2000 + HEALTH_STUCK_MS));
    health_turn(&h, 9000, "draining");
    assert_true(health_is_live(&h, 9001));
    assert_string_equal(health_why_not(&h), "draining");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_prometheus_reads_is_exact),
        cmocka_unit_test(nobody_counts_without_metrics),
        cmocka_unit_test(the_manual_prints_the_same_table),
        cmocka_unit_test(a_reader_beside_the_writer_sees_whole_values),
        cmocka_unit_test(quantiles_are_exact_below_16_and_an_eighth_off_at_most),
        cmocka_unit_test(a_minute_later_it_is_forgotten),
        cmocka_unit_test(a_loop_that_does_not_turn_is_not_live),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
