#include "broker/cost.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A batch of n pictures, each of which brings its result. */
static void batch(struct cost *cost, int64_t n, int64_t us)
{
    for (int64_t i = 0; i < n; i++)
        cost_learn(cost, us, n, 0);
}

static void is_about(int64_t got, int64_t want)
{
    assert_in_range(got, want - want / 50 - 2, want + want / 50 + 2);
}

static void nothing_is_known_at_first(void **state)
{
    struct cost cost = { 0 };

    (void)state;
    assert_false(cost_is_known(&cost));
    assert_false(cost_is_fresh(&cost, 0));
    assert_int_equal(cost_predict_us(&cost, 10), 0);
    assert_int_equal(cost_picture_us(&cost), 0);
    assert_int_equal(cost_usual_batch(&cost), 1);
}

static void the_first_batch_is_scaled_by_its_pictures(void **state)
{
    struct cost cost = { 0 };

    (void)state;
    batch(&cost, 4, 8000);
    assert_true(cost_is_known(&cost));
    is_about(cost_predict_us(&cost, 4), 8000);
    is_about(cost_predict_us(&cost, 1), 2000);
    is_about(cost_predict_us(&cost, 100), 200000);
    is_about(cost_picture_us(&cost), 2000);
    assert_int_equal(cost_usual_batch(&cost), 4);
    assert_int_equal(cost.batch_max, 4);
}

static void batches_of_several_sizes_give_both_parts(void **state)
{
    struct cost cost = { 0 };

    (void)state;
    for (int i = 0; i < 40; i++) {
        int64_t n = 1 + i % 8;

        batch(&cost, n, 500 * n + 3000);
    }
    is_about(cost_predict_us(&cost, 1), 3500);
    is_about(cost_predict_us(&cost, 8), 7000);
    is_about(cost_predict_us(&cost, 56), 31000);
}

/* All results of a batch carry the same pair: a batch of 16 is one measurement, as one of 1 is. */
static void the_results_of_a_batch_count_as_one_together(void **state)
{
    struct cost cost = { 0 };

    (void)state;
    for (int i = 0; i < 60; i++) {
        batch(&cost, 1, 1000);
        batch(&cost, 15, 15000);
    }
    assert_in_range(cost_usual_batch(&cost), 7, 9);
    assert_in_range((int64_t)cost.batches, 18, 21);      /* a twentieth is forgotten a batch */
}

/* Who gets batches of one size for hours still knows what the next single picture takes. */
static void what_was_learnt_of_the_fixed_part_stays(void **state)
{
    struct cost cost = { 0 };

    (void)state;
    for (int i = 0; i < 40; i++)
        batch(&cost, 1 + i % 8, 500 * (1 + i % 8) + 3000);
    for (int i = 0; i < 1000; i++)
        batch(&cost, 8, 7000);
    is_about(cost_predict_us(&cost, 8), 7000);
    assert_in_range(cost_predict_us(&cost, 1), 3000, 4000);
}

static void neither_part_is_ever_negative(void **state)
{
    struct cost fewer = { 0 }, steeper = { 0 };

    (void)state;
    for (int i = 0; i < 20; i++) {
        batch(&fewer, 1, 4000);          /* larger ones are faster: no slope */
        batch(&fewer, 8, 2000);
        batch(&steeper, 4, 4000);        /* more than in proportion: no fixed part */
        batch(&steeper, 8, 15000);
    }
    assert_true(fewer.a >= 0 && fewer.b >= 0);
    assert_true(cost_predict_us(&fewer, 100) <= 4000);
    assert_true(steeper.a >= 0 && steeper.b >= 0);
    assert_true(cost_predict_us(&steeper, 1) > 0);
}

static void one_outlier_moves_little(void **state)
{
    struct cost cost = { 0 };

    (void)state;
    for (int i = 0; i < 30; i++)
        batch(&cost, 1, 10000);
    batch(&cost, 1, INT64_C(1) << 53);
    assert_in_range(cost_picture_us(&cost), 10000, 12000);
    batch(&cost, 1, 0);
    assert_in_range(cost_picture_us(&cost), 9500, 12000);
}

static void a_change_of_speed_is_followed(void **state)
{
    struct cost cost = { 0 };

    (void)state;
    for (int i = 0; i < 30; i++)
        batch(&cost, 1, 10000);
    for (int i = 0; i < 100; i++)
        batch(&cost, 1, 1000000);
    assert_in_range(cost_picture_us(&cost), 900000, 1000000);
    for (int i = 0; i < 150; i++)
        batch(&cost, 1, 10000);
    assert_in_range(cost_picture_us(&cost), 10000, 12000);
}

static void hostile_numbers_stay_within_bounds(void **state)
{
    static const int64_t US[] = { INT64_MIN, -1, 0, 1, INT64_C(1) << 53, INT64_MAX };
    static const int64_t N[] = { INT64_MIN, -1, 0, 1, 4096, INT64_MAX };
    struct cost cost = { 0 };
    uint64_t random = 1;

    (void)state;
    for (int i = 0; i < 10000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        cost_learn(&cost, US[(random >> 33) % 6], N[(random >> 43) % 6], i);
        assert_true(cost.a >= 0 && cost.a <= COST_PICTURE_MAX_US);
        assert_true(cost.b >= 0 && cost.b <= COST_PICTURE_MAX_US);
        assert_in_range(cost_usual_batch(&cost), 1, 4096);
        assert_true(cost_predict_us(&cost, 100000) >= 0);
    }
    assert_true(cost.batches <= 21);
}

static void what_is_old_is_known_but_not_fresh(void **state)
{
    struct cost cost = { 0 };

    (void)state;
    cost_learn(&cost, 1000, 1, 5000);
    assert_true(cost_is_fresh(&cost, 5000 + COST_FRESH_MS - 1));
    assert_false(cost_is_fresh(&cost, 5000 + COST_FRESH_MS));
    assert_true(cost_is_known(&cost));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(the_first_batch_is_scaled_by_its_pictures),
        cmocka_unit_test(batches_of_several_sizes_give_both_parts),
        cmocka_unit_test(the_results_of_a_batch_count_as_one_together),
        cmocka_unit_test(what_was_learnt_of_the_fixed_part_stays),
        cmocka_unit_test(neither_part_is_ever_negative),
        cmocka_unit_test(one_outlier_moves_little),
        cmocka_unit_test(a_change_of_speed_is_followed),
        cmocka_unit_test(hostile_numbers_stay_within_bounds),
        cmocka_unit_test(what_is_old_is_known_but_not_fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
