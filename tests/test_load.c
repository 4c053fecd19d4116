/* What a benchmark asks and when, and how durations are counted. */
#include "client/histogram.h"
#include "client/load.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DRAWS = 200000 };

static struct load_options options(void)
{
    return (struct load_options){ .rate = 1000, .weight = { 0, 100, 0 }, .seeds_from = 5000,
                                  .dice = 7 };
}

/* ---- the histogram ---- */

static void short_durations_are_exact(void **state)
{
    struct histogram h = { .count = 0 };

    (void)state;
    assert_int_equal(histogram_percentile(&h, 50000), 0);
    for (int64_t us = 1; us <= 100; us++)
        histogram_add(&h, us);
    assert_int_equal(h.count, 100);
    assert_int_equal(histogram_percentile(&h, 50000), 50);
    assert_int_equal(histogram_percentile(&h, 50001), 51);
    assert_int_equal(histogram_percentile(&h, 99000), 99);
    assert_int_equal(histogram_percentile(&h, 99001), 100);
    assert_int_equal(histogram_percentile(&h, 100000), 100);
    assert_int_equal(histogram_percentile(&h, 1), 1);
}

static void long_durations_are_right_to_two_percent(void **state)
{
    (void)state;
    for (int64_t us = 1; us < INT64_C(1) << 40; us = us * 9 / 7 + 1) {
        struct histogram h = { .count = 0 };
        int64_t got;

        histogram_add(&h, us);
        histogram_add(&h, us * 1000);            /* so that the maximum does not answer */
        got = histogram_percentile(&h, 50000);
        assert_true(got >= us && got <= us + us / 60);
        assert_int_equal(histogram_percentile(&h, 100000), us * 1000);
    }
}

static void a_percentile_is_never_beyond_the_maximum(void **state)
{
    struct histogram h = { .count = 0 };

    (void)state;
    for (int i = 0; i < 1000; i++)
        histogram_add(&h, 1000001);
    for (int64_t share = 1000; share <= 100000; share += 1000)
        assert_int_equal(histogram_percentile(&h, share), 1000001);
}

static void the_extremes_have_a_place(void **state)
{
    struct histogram h = { .count = 0 };

    (void)state;
    histogram_add(&h, -5);
    histogram_add(&h, 0);
    histogram_add(&h, INT64_MAX);
    assert_int_equal(h.count, 3);
    assert_int_equal(histogram_percentile(&h, 60000), 0);
    assert_true(histogram_percentile(&h, 100000) == INT64_MAX);
}

static void histograms_add_up(void **state)
{
    struct histogram a = { .count = 0 }, b = { .count = 0 };

    (void)state;
    for (int64_t us = 1; us <= 10; us++)
        histogram_add(us % 2 ? &a : &b, us);
    histogram_merge(&a, &b);
    assert_int_equal(a.count, 10);
    assert_int_equal(a.max_us, 10);
    assert_int_equal(histogram_percentile(&a, 50000), 5);
}

/* ---- the load ---- */

static void arrivals_are_a_poisson_process(void **state)
{
    struct load_options o = options();
    double sum = 0, squares = 0;
    int beyond_mean = 0;
    int64_t last = 0;
    struct load load;

    (void)state;
    load_init(&load, &o);
    for (int i = 0; i < DRAWS; i++) {
        int64_t at = load_next_arrival_us(&load);
        double gap = (double)(at - last);

        assert_true(at >= last);
        last = at;
        sum += gap;
        squares += gap * gap;
        beyond_mean += gap > 1000;
    }
    /* Mean 1000 us and, as of no other process, as large a deviation; e^-1 of the gaps are longer
     * than the mean. Four deviations of the estimates are 0.9 %, 1.3 % and 1.2 %. */
    double mean = sum / DRAWS, deviation = sqrt(squares / DRAWS - mean * mean);

    assert_true(fabs(mean - 1000) < 9);
    assert_true(fabs(deviation - 1000) < 13);
    assert_true(fabs((double)beyond_mean / DRAWS - exp(-1)) < 0.0045);
}

static void the_same_dice_give_the_same_load(void **state)
{
    struct load_options o = options();
    struct load a, b, other;
    int same = 0;

    (void)state;
    o.duplicates = 50;
    load_init(&a, &o);
    load_init(&b, &o);
    o.dice = 8;
    load_init(&other, &o);
    for (int i = 0; i < 1000; i++) {
        int64_t at = load_next_arrival_us(&a);

        assert_int_equal(at, load_next_arrival_us(&b));
        same += at == load_next_arrival_us(&other);
        assert_int_equal(load_next_seed(&a), load_next_seed(&b));
        load_next_seed(&other);
    }
    assert_true(same < 10);
}

static void levels_come_in_their_shares(void **state)
{
    struct load_options o = options();
    int seen[MESSAGE_PRIORITY_COUNT] = { 0 };
    struct load load;

    (void)state;
    o.weight[MESSAGE_HIGH] = 1;
    o.weight[MESSAGE_NORMAL] = 8;
    o.weight[MESSAGE_LOW] = 1;
    load_init(&load, &o);
    for (int i = 0; i < DRAWS; i++)
        seen[load_next_level(&load)]++;
    assert_true(abs(seen[MESSAGE_HIGH] - DRAWS / 10) < DRAWS / 200);
    assert_true(abs(seen[MESSAGE_NORMAL] - DRAWS * 8 / 10) < DRAWS / 200);
    assert_true(abs(seen[MESSAGE_LOW] - DRAWS / 10) < DRAWS / 200);
}

static void a_level_without_a_share_never_comes(void **state)
{
    struct load_options o = options();
    struct load load;

    (void)state;
    load_init(&load, &o);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(load_next_level(&load), MESSAGE_NORMAL);
}

static void fresh_seeds_follow_each_other_behind_the_hot_ones(void **state)
{
    struct load_options o = options();
    struct load load;

    (void)state;
    load_init(&load, &o);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(load_next_seed(&load), 5000 + LOAD_HOT_SEEDS + i);
}

static void duplicates_are_drawn_from_the_hot_seeds(void **state)
{
    struct load_options o = options();
    int hot = 0, seen[LOAD_HOT_SEEDS] = { 0 };
    struct load load;

    (void)state;
    o.duplicates = 30;
    load_init(&load, &o);
    for (int i = 0; i < DRAWS; i++) {
        uint32_t seed = load_next_seed(&load);

        if (seed < 5000 + LOAD_HOT_SEEDS) {
            hot++;
            seen[seed - 5000]++;
        }
    }
    assert_true(abs(hot - DRAWS * 3 / 10) < DRAWS / 200);
    for (int i = 0; i < LOAD_HOT_SEEDS; i++)
        assert_true(abs(seen[i] - hot / LOAD_HOT_SEEDS) < 200);      /* 938 each; deviation 30 */
}

static void seeds_begin_anew_behind_the_last_one(void **state)
{
    struct load_options o = options();
    struct load load;

    (void)state;
    o.seeds_from = UINT32_MAX - LOAD_HOT_SEEDS;
    load_init(&load, &o);
    assert_true(load_next_seed(&load) == UINT32_MAX);
    assert_int_equal(load_next_seed(&load), 0);
}

static void a_mix_is_read_strictly(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
        int weight[MESSAGE_PRIORITY_COUNT];
    } ROWS[] = {
        { "high=10,normal=80,low=10", ERR_OK, { 10, 80, 10 } },
        { "low=1", ERR_OK, { 0, 0, 1 } },
        { "normal=0,high=3", ERR_OK, { 3, 0, 0 } },
        { "", ERR_INVALID, { 0 } },
        { "high=0", ERR_INVALID, { 0 } },
        { "high", ERR_INVALID, { 0 } },
        { "high=", ERR_INVALID, { 0 } },
        { "high=1,", ERR_INVALID, { 0 } },
        { "high=1,high=2", ERR_INVALID, { 0 } },
        { "urgent=1", ERR_INVALID, { 0 } },
        { "high=1.5", ERR_INVALID, { 0 } },
        { "high=-1", ERR_RANGE, { 0 } },
        { "high=1000001", ERR_RANGE, { 0 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        int weight[MESSAGE_PRIORITY_COUNT];
        struct err e = { 0 };

        if (load_parse_mix(ROWS[i].text, weight, &e) != ROWS[i].code)
            fail_msg("\"%s\": %s", ROWS[i].text, e.msg);
        if (ROWS[i].code == ERR_OK)
            assert_memory_equal(weight, ROWS[i].weight, sizeof weight);
        else
            assert_non_null(strstr(e.msg, "--mix"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_durations_are_exact),
        cmocka_unit_test(long_durations_are_right_to_two_percent),
        cmocka_unit_test(a_percentile_is_never_beyond_the_maximum),
        cmocka_unit_test(the_extremes_have_a_place),
        cmocka_unit_test(histograms_add_up),
        cmocka_unit_test(arrivals_are_a_poisson_process),
        cmocka_unit_test(the_same_dice_give_the_same_load),
        cmocka_unit_test(levels_come_in_their_shares),
        cmocka_unit_test(a_level_without_a_share_never_comes),
        cmocka_unit_test(fresh_seeds_follow_each_other_behind_the_hot_ones),
        cmocka_unit_test(duplicates_are_drawn_from_the_hot_seeds),
        cmocka_unit_test(seeds_begin_anew_behind_the_last_one),
        cmocka_unit_test(a_mix_is_read_strictly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
