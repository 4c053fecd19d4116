#include "client/seeds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void ranges_and_single_seeds_come_in_the_order_given(void **state)
{
    static const uint32_t EXPECT[] = { 0, 1, 2, 12, 7, 8, 12 };
    struct seeds seeds;
    struct seeds_walk walk = { 0 };
    uint32_t seed;
    struct err e;

    (void)state;
    assert_int_equal(seeds_parse("0-2,12,7-8,12", &seeds, &e), ERR_OK);
    assert_int_equal(seeds.count, COUNT(EXPECT));
    for (size_t i = 0; i < COUNT(EXPECT); i++) {
        assert_true(seeds_next(&seeds, &walk, &seed));
        assert_int_equal(seed, EXPECT[i]);
    }
    assert_false(seeds_next(&seeds, &walk, &seed));
    assert_false(seeds_next(&seeds, &walk, &seed));
    seeds_release(&seeds);
    assert_null(seeds.ranges);
}

static void the_largest_seed_is_the_last_of_its_range(void **state)
{
    struct seeds seeds;
    struct seeds_walk walk = { 0 };
    uint32_t seed;
    struct err e;

    (void)state;
    assert_int_equal(seeds_parse("4294967294-4294967295", &seeds, &e), ERR_OK);
    assert_true(seeds_next(&seeds, &walk, &seed));
    assert_true(seeds_next(&seeds, &walk, &seed));
    assert_int_equal(seed, UINT32_MAX);
    assert_false(seeds_next(&seeds, &walk, &seed));
    seeds_release(&seeds);
}

static void ten_million_seeds_are_the_most(void **state)
{
    struct seeds seeds;
    struct err e;

    (void)state;
    assert_int_equal(seeds_parse("0-9999999", &seeds, &e), ERR_OK);
    assert_int_equal(seeds.count, SEEDS_MAX);
    seeds_release(&seeds);
    assert_int_equal(seeds_parse("0-9999998,4,4", &seeds, &e), ERR_RANGE);
    assert_int_equal(seeds_parse("0-4294967295", &seeds, &e), ERR_RANGE);
    assert_non_null(strstr(e.msg, "10000000"));
}

static void what_is_no_list_of_seeds_is_refused_in_words(void **state)
{
    static const struct {
        const char *text, *words;
        enum err_code code;
    } CASES[] = {
        { "", "\"\" is not a seed", ERR_INVALID },
        { ",", "\"\" is not a seed", ERR_INVALID },
        { "1,", "\"\" is not a seed", ERR_INVALID },
        { "1,,2", "\"\" is not a seed", ERR_INVALID },
        { "9-0", "\"9-0\" run backwards", ERR_INVALID },
        { "3,9-8,1", "\"9-8\" run backwards", ERR_INVALID },
        { "-", "\"-\" is not a seed", ERR_INVALID },
        { "1-", "\"\" is not a seed", ERR_INVALID },
        { "-1", "seed -1 is out of range", ERR_RANGE },
        { "1--2", "seed -2 is out of range", ERR_RANGE },
        { "1-2-3", "\"2-3\" is not a seed", ERR_INVALID },
        { "01", "\"01\" is not a seed", ERR_INVALID },
        { "+1", "\"+1\" is not a seed", ERR_INVALID },
        { " 1", "\" 1\" is not a seed", ERR_INVALID },
        { "1, 2", "\" 2\" is not a seed", ERR_INVALID },
        { "1e3", "\"1e3\" is not a seed", ERR_INVALID },
        { "0x10", "\"0x10\" is not a seed", ERR_INVALID },
        { "4294967296", "seed 4294967296 is out of range: 0..4294967295", ERR_RANGE },
        { "0-4294967296", "seed 4294967296 is out of range", ERR_RANGE },
        { "99999999999999999999", "seed 99999999999999999999 is out of range", ERR_RANGE },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct seeds seeds;
        struct err e = { .code = ERR_OK };

        assert_int_equal(seeds_parse(CASES[i].text, &seeds, &e), CASES[i].code);
        if (!strstr(e.msg, CASES[i].words))
            fail_msg("\"%s\": \"%s\" lacks \"%s\"", CASES[i].text, e.msg, CASES[i].words);
        assert_null(seeds.ranges);
        assert_int_equal(seeds.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_and_single_seeds_come_in_the_order_given),
        cmocka_unit_test(the_largest_seed_is_the_last_of_its_range),
        cmocka_unit_test(ten_million_seeds_are_the_most),
        cmocka_unit_test(what_is_no_list_of_seeds_is_refused_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
