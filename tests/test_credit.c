/* How a worker's places are split between brokers. */
#include "worker/credit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static size_t sum(const struct credit_side *sides, size_t count)
{
    size_t all = 0;

    for (size_t i = 0; i < count; i++)
        all += sides[i].credit;
    return all;
}

/* As the uplink begins: everybody is there, nobody was told more than the least share. */
static void begin(struct credit_side *sides, size_t count, size_t capacity)
{
    for (size_t i = 0; i < count; i++)
        sides[i] = (struct credit_side){ .is_there = true,
                                         .credit = credit_least(capacity, count) };
}

static void demand(struct credit_side *side, int64_t pictures)
{
    for (int i = 0; i < 32; i++)
        credit_note_demand(side, pictures);
}

static void one_broker_has_everything(void **state)
{
    struct credit_side side;

    (void)state;
    begin(&side, 1, 48);
    credit_split(&side, 1, 48);
    assert_int_equal(side.credit, 48);
    demand(&side, 7);
    credit_split(&side, 1, 48);
    assert_int_equal(side.credit, 48);
}

static void idle_brokers_share_evenly(void **state)
{
    struct credit_side sides[3];

    (void)state;
    begin(sides, 3, 48);
    credit_split(sides, 3, 48);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sides[i].credit, 16);
}

static void who_has_work_gets_the_places_and_nobody_less_than_the_least(void **state)
{
    struct credit_side sides[2];

    (void)state;
    begin(sides, 2, 48);
    demand(&sides[0], 1000);
    credit_split(sides, 2, 48);
    assert_int_equal(sides[0].credit, 42);
    assert_int_equal(sides[1].credit, 6);
    demand(&sides[1], 1000);
    credit_split(sides, 2, 48);
    assert_int_equal(sides[0].credit, 24);
    assert_int_equal(sides[1].credit, 24);
    demand(&sides[0], 0);
    sides[1].held = 24;
    credit_split(sides, 2, 48);
    assert_int_equal(sides[0].credit, 6);
    assert_int_equal(sides[1].credit, 42);
}

static void places_that_are_still_held_are_not_promised_to_another(void **state)
{
    struct credit_side sides[2];

    (void)state;
    begin(sides, 2, 48);
    demand(&sides[0], 1000);
    credit_split(sides, 2, 48);
    sides[0].held = 40;
    demand(&sides[0], 0);
    demand(&sides[1], 100000);
    credit_split(sides, 2, 48);
    assert_int_equal(sides[0].credit, 6);
    assert_int_equal(sides[1].credit, 8);
    sides[0].held = 0;
    credit_split(sides, 2, 48);
    assert_int_equal(sides[1].credit, 42);
}

static void who_is_away_leaves_his_places_but_the_least(void **state)
{
    struct credit_side sides[2];

    (void)state;
    begin(sides, 2, 48);
    demand(&sides[0], 10);
    demand(&sides[1], 10);
    credit_split(sides, 2, 48);
    sides[0].is_there = false;
    credit_split(sides, 2, 48);
    assert_int_equal(sides[0].credit, 6);
    assert_int_equal(sides[1].credit, 42);
    sides[0].is_there = true;
    credit_split(sides, 2, 48);
    assert_in_range(sides[0].credit, 6, 24);
}

static void demand_is_smoothed_and_bounded(void **state)
{
    struct credit_side side = { .demand = 0 };

    (void)state;
    credit_note_demand(&side, 100);
    assert_int_equal(side.demand, 50 * CREDIT_UNIT);
    credit_note_demand(&side, 100);
    assert_int_equal(side.demand, 75 * CREDIT_UNIT);
    demand(&side, INT64_C(9007199254740992));
    assert_in_range(side.demand, 0, INT64_C(1000000) * CREDIT_UNIT);
    demand(&side, 0);
    assert_int_equal(side.demand, 0);
}

static void the_sum_never_exceeds_the_capacity(void **state)
{
    uint32_t random = 1;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct credit_side sides[16];
        size_t count = 1 + (size_t)round % 16, capacity = count + (size_t)round % 57;

        begin(sides, count, capacity);
        for (int step = 0; step < 100; step++) {
            random = random * 1664525u + 1013904223u;
            struct credit_side *side = &sides[(random >> 16) % count];

            credit_note_demand(side, random >> (random >> 28));
            side->is_there = (random >> 8 & 7) != 0;
            side->held = (random >> 4) % (side->credit + 1);
            credit_split(sides, count, capacity);
            assert_in_range(sum(sides, count), 1, capacity);
            for (size_t i = 0; i < count; i++)
                assert_true(sides[i].credit >= credit_least(capacity, count));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_broker_has_everything),
        cmocka_unit_test(idle_brokers_share_evenly),
        cmocka_unit_test(who_has_work_gets_the_places_and_nobody_less_than_the_least),
        cmocka_unit_test(places_that_are_still_held_are_not_promised_to_another),
        cmocka_unit_test(who_is_away_leaves_his_places_but_the_least),
        cmocka_unit_test(demand_is_smoothed_and_bounded),
        cmocka_unit_test(the_sum_never_exceeds_the_capacity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
