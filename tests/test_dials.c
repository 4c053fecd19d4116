/* What a worker counts: why batches were not larger, what replays showed, the ledger's lag. */
#include "worker/dials.h"

#include "proto/message.h"
#include "worker/batcher.h"
#include "worker/library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH_MAX = 4 };

static struct loaded_model cats = { .name = "cats", .cost_us = 10000 };
static struct loaded_model dogs = { .name = "dogs", .cost_us = 10000 };
static struct dials dials;

static int set_up(void **state)
{
    struct err e;

    (void)state;
    return dials_init(&dials, 1000, "cpu-test-1", &e);
}

static int tear_down(void **state)
{
    (void)state;
    dials_release(&dials);
    return 0;
}

static int64_t value(size_t row, size_t series)
{
    return metrics_value(dials.metrics, row, series);
}

/* Forms one batch of jobs[0..count) and leaves the rest. */
static void take_one(struct batcher_options options, struct job *jobs, size_t count, size_t expect)
{
    struct job *batch[BATCH_MAX];
    struct batcher *batcher;
    struct err e;

    options.batch_max = BATCH_MAX;
    options.dials = &dials;
    assert_int_equal(batcher_create(&options, &batcher, &e), ERR_OK);
    for (size_t i = 0; i < count; i++)
        assert_true(batcher_add(batcher, &jobs[i]));
    assert_int_equal(batcher_take(batcher, batch), expect);
    while (batcher_recall_any(batcher))
        ;
    batcher_destroy(&batcher);
}

static void each_batch_says_why_it_was_not_larger(void **state)
{
    const struct batcher_options WIDE = { .batch_ms = 1000, .fill_ms = 1000,
                                          .bulk_ms = 1000 };
    const struct job NORMAL = { .level = MESSAGE_NORMAL, .model = &cats };
    const struct job LOW = { .level = MESSAGE_LOW, .model = &cats };
    const struct job OTHER = { .level = MESSAGE_LOW, .model = &dogs };
    const struct job ALONE = { .level = MESSAGE_LOW, .model = &cats, .alone = true };
    const struct {
        struct batcher_options options;
        struct job jobs[BATCH_MAX + 1];
        size_t count, expect;
        enum dials_left left;
    } CASES[] = {
        { WIDE, { NORMAL, NORMAL }, 2, 2, DIALS_LEFT_EMPTY },
        { WIDE, { NORMAL, NORMAL, NORMAL, NORMAL, NORMAL }, 5, 4, DIALS_LEFT_BATCH_MAX },
        { WIDE, { NORMAL, NORMAL, NORMAL, NORMAL }, 4, 4, DIALS_LEFT_BATCH_MAX },
        { { .batch_ms = 25 }, { NORMAL, NORMAL, NORMAL }, 3, 2, DIALS_LEFT_BATCH_MS },
        { { .batch_ms = 1000, .fill_ms = 5 }, { NORMAL, LOW }, 2, 1, DIALS_LEFT_FILL_MS },
        { { .batch_ms = 1000, .bulk_ms = 25 }, { LOW, LOW, LOW }, 3, 2, DIALS_LEFT_BULK_MS },
        { WIDE, { NORMAL, OTHER }, 2, 1, DIALS_LEFT_OTHER_MODEL },
        { WIDE, { NORMAL, ALONE }, 2, 1, DIALS_LEFT_ALONE },
        { WIDE, { ALONE, LOW }, 2, 1, DIALS_LEFT_ALONE },
        /* The first that stays is the reason, whatever keeps out those behind it. */
        { { .batch_ms = 1000, .fill_ms = 5 }, { NORMAL, OTHER, LOW }, 3, 1,
          DIALS_LEFT_OTHER_MODEL },
    };
    int64_t expect[DIALS_LEFT_COUNT] = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct job jobs[BATCH_MAX + 1];

        memcpy(jobs, CASES[i].jobs, sizeof jobs);
        take_one(CASES[i].options, jobs, CASES[i].count, CASES[i].expect);
        expect[CASES[i].left]++;
        for (size_t left = 0; left < DIALS_LEFT_COUNT; left++)
            if (value(DIALS_BATCH_LEFT, left) != expect[left])
                fail_msg("case %zu: reason %zu", i, left);
        assert_int_equal(value(DIALS_BATCH_SIZE, 0), i + 1);
    }
}

static void a_replay_is_equal_or_differs_or_of_another_class(void **state)
{
    enum { EQUAL, DIFFERS, OTHER_CLASS };
    static const char HERE[] = "cpu-1", ENCODER[] = "jpeg 1";
    static const struct {
        struct ledger_stored stored;
        int outcome;                /* -1: nothing was compared */
    } CASES[] = {
        { { .outcome = LEDGER_STORED, .numerics_class = "cpu-1", .encoder = "jpeg 1" }, -1 },
        { { .outcome = LEDGER_SAME, .numerics_class = "cpu-2", .encoder = "jpeg 1" }, EQUAL },
        { { .outcome = LEDGER_WINNER, .numerics_class = "cpu-1", .encoder = "jpeg 1" }, EQUAL },
        { { .outcome = LEDGER_WINNER, .numerics_class = "cpu-2", .encoder = "jpeg 1" },
          OTHER_CLASS },
        { { .outcome = LEDGER_WINNER, .numerics_class = "cpu-1", .encoder = "jpeg 2" },
          OTHER_CLASS },
        { { .outcome = LEDGER_WINNER, .alarm = true, .numerics_class = "cpu-1",
            .encoder = "jpeg 1" }, DIFFERS },
        { { .outcome = LEDGER_REFUSED, .alarm = true, .numerics_class = "cpu-1",
            .encoder = "jpeg 1", .why = { .code = ERR_NOT_REPRODUCIBLE } }, DIFFERS },
        { { .outcome = LEDGER_REFUSED, .numerics_class = "cpu-2", .encoder = "jpeg 1",
            .why = { .code = ERR_WRONG_CLASS } }, OTHER_CLASS },
        { { .outcome = LEDGER_REFUSED, .why = { .code = ERR_WITHDRAWN } }, -1 },
        { { .outcome = LEDGER_REFUSED, .why = { .code = ERR_INVALID } }, -1 },
    };
    int64_t expect[3] = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        dials_stored(&dials, &CASES[i].stored, HERE, ENCODER);
        if (CASES[i].outcome >= 0)
            expect[CASES[i].outcome]++;
        for (size_t k = 0; k < 3; k++)
            if (value(DIALS_REPLAY, k) != expect[k])
                fail_msg("case %zu: outcome %zu", i, k);
    }
}

static void a_turn_tells_lag_and_readiness(void **state)
{
    struct dials_state s = { .started = 3, .rendered = 2, .stored = 1, .brokers = 1,
                             .ledger_up = true };

    (void)state;
    dials_turn(&dials, 9000, &s);
    assert_null(health_why_not(&dials.health));
    assert_true(health_is_live(&dials.health, 9000));
    assert_int_equal(value(DIALS_LEDGER_LAG, 0), 0);
    assert_int_equal(value(DIALS_PICTURES, 1), 2);
    assert_int_equal(value(DIALS_WORKER_UP, 0), 1);
    s.oldest_ms = 2000;
    s.brokers = 0;
    dials_turn(&dials, 9000, &s);
    assert_int_equal(value(DIALS_LEDGER_LAG, 0), 7000);
    assert_string_equal(health_why_not(&dials.health), "no broker");
    s.oldest_ms = 9001;              /* its thread's clock was read later */
    s.ledger_up = false;
    dials_turn(&dials, 9000, &s);
    assert_int_equal(value(DIALS_LEDGER_LAG, 0), 0);
    assert_string_equal(health_why_not(&dials.health), "ledger down");
    s.draining = true;
    dials_turn(&dials, 9000, &s);
    assert_string_equal(health_why_not(&dials.health), "draining");
    assert_int_equal(value(DIALS_WORKER_UP, 0), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_batch_says_why_it_was_not_larger, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_replay_is_equal_or_differs_or_of_another_class, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_turn_tells_lag_and_readiness, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
