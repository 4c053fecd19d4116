#include "proto/number.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct reading {
    const char *text;
    int64_t value;
};

static void whole_numbers_are_read_to_both_ends_of_int64(void **state)
{
    static const struct reading GOOD[] = {
        { "0", 0 }, { "7", 7 }, { "-7", -7 }, { "10", 10 }, { "4294967295", UINT32_MAX },
        { "9223372036854775807", INT64_MAX }, { "-9223372036854775808", INT64_MIN },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(GOOD); i++) {
        int64_t v = 99;

        assert_true(number_parse(GOOD[i].text, strlen(GOOD[i].text), &v));
        assert_true(v == GOOD[i].value);
    }
}

static void all_else_is_no_whole_number(void **state)
{
    static const char *const BAD[] = {
        "", "-", "+1", "-0", "00", "01", "-01", " 1", "1 ", "1.0", "1e3", "0x10", "--1", "1-",
        "9223372036854775808", "-9223372036854775809", "18446744073709551616",
        "92233720368547758070", "99999999999999999999999999", "\xd9\xa1", "1\n", "nan", "/", ":",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        int64_t v = 99;

        assert_false(number_parse(BAD[i], strlen(BAD[i]), &v));
        assert_true(v == 99);
    }
}

static void only_the_bytes_that_were_given_are_read(void **state)
{
    int64_t v;
    double d;

    (void)state;
    assert_true(number_parse("1234", 2, &v));
    assert_true(v == 12);
    assert_false(number_parse("12\0003", 4, &v));
    assert_true(number_parse_millionths("0.75", 3, &v));
    assert_true(v == 700000);
    assert_true(number_parse_double("0.75e", 4, &d));
    assert_true(d == 0.75);
    assert_false(number_parse_double("1\0002", 3, &d));
}

static void decimals_with_six_places_are_read(void **state)
{
    static const struct reading GOOD[] = {
        { "0", 0 }, { "0.0", 0 }, { "2", 2000000 }, { "0.7", 700000 }, { "-1.5", -1500000 },
        { "0.000001", 1 }, { "-0.000001", -1 }, { "1.999999", 1999999 }, { "0.700000", 700000 },
        { "1000000000", 1000000000000000 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(GOOD); i++) {
        int64_t v = 99;

        assert_true(number_parse_millionths(GOOD[i].text, strlen(GOOD[i].text), &v));
        assert_true(v == GOOD[i].value);
    }
}

static void all_else_is_no_decimal(void **state)
{
    static const char *const BAD[] = {
        "", "-", ".", "-.", ".5", "5.", "-.5", "1e3", "-0", "-0.0", "0.0000001", "0.1234567", "+1",
        "--1", "-", "1..2", "1.2.3", "1,5", "0.-1", "-0.-1", "1.+2", "0. 5", " 0.5", "01.5", "00.5",
        "1000000001", "99999999999999999999.5", "inf", "nan",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        int64_t v = 99;

        if (number_parse_millionths(BAD[i], strlen(BAD[i]), &v))
            fail_msg("\"%s\" was read as %lld", BAD[i], (long long)v);
        assert_true(v == 99);
    }
}

static void doubles_and_floats_that_stand_for_a_decimal_are_it(void **state)
{
    (void)state;
    for (int64_t m = -2000000; m <= 2000000; m += 37) {
        int64_t from_double = 99, from_float = 99;

        assert_true(number_millionths_of((double)m / 1e6, &from_double));
        assert_true(number_millionths_of((float)((double)m / 1e6), &from_float));
        assert_true(from_double == m);
        assert_true(from_float == m);
    }
}

static void what_is_finer_than_six_places_is_refused(void **state)
{
    static const double BAD[] = { 0.7000001, 0.70000001, 1.0 / 3, 5e-324, 1e-7, 0.30000000000000004,
                                  1.0000000000000002, 1e9 + 1, -1e9 - 1, 1e300, INFINITY, -INFINITY,
                                  NAN };
    int64_t v = 99;

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++)
        assert_false(number_millionths_of(BAD[i], &v));
    assert_true(v == 99);
}

static void minus_nought_is_nought(void **state)
{
    int64_t v = 99;

    (void)state;
    assert_true(number_millionths_of(-0.0, &v));
    assert_true(v == 0);
}

static void doubles_are_read_as_json_writes_them(void **state)
{
    static const struct { const char *text; double value; } GOOD[] = {
        { "0", 0 }, { "-0", -0.0 }, { "0.0", 0 }, { "1", 1 }, { "-1.25", -1.25 }, { "0.1", 0.1 },
        { "1e3", 1000 }, { "1E+3", 1000 }, { "-2.5e-3", -0.0025 }, { "1e-400", 0 },
        { "0.70710678118654757", 0.70710678118654757 }, { "1.7976931348623157e308", DBL_MAX },
        { "0.3333333333333333333333333333333333333333333333333333333333333", 1.0 / 3 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(GOOD); i++) {
        double v = 99;

        if (!number_parse_double(GOOD[i].text, strlen(GOOD[i].text), &v))
            fail_msg("\"%s\" was not read", GOOD[i].text);
        assert_memory_equal(&v, &GOOD[i].value, sizeof v);
    }
}

static void all_else_is_no_double(void **state)
{
    static const char *const BAD[] = {
        "", "-", "+1", ".5", "5.", "-.5", "01", "-00", "1e", "1e+", "1e1.5", "1.e3", "0x10", "1p3",
        "inf", "-inf", "nan", "infinity", " 1", "1 ", "1,5", "1e309", "-1e309", "1_0", "--1",
        "1.2.3",
        "0.33333333333333333333333333333333333333333333333333333333333333333",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        double v = 99;

        if (number_parse_double(BAD[i], strlen(BAD[i]), &v))
            fail_msg("\"%s\" was read as %g", BAD[i], v);
        assert_true(v == 99);
    }
}

static void the_shortest_decimal_is_written(void **state)
{
    static const struct reading PAIRS[] = {
        { "0", 0 }, { "0.7", 700000 }, { "-0.7", -700000 }, { "2", 2000000 }, { "-2", -2000000 },
        { "0.000001", 1 }, { "1.23", 1230000 }, { "10", 10000000 }, { "100", 100000000 },
        { "9223372036854.775807", INT64_MAX }, { "-9223372036854.775808", INT64_MIN },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(PAIRS); i++) {
        char text[24];

        assert_int_equal(number_format_millionths(PAIRS[i].value, text), strlen(PAIRS[i].text));
        assert_string_equal(text, PAIRS[i].text);
    }
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    for (int64_t m = -2000000; m <= 2000000; m += 41) {
        char text[24];
        int64_t v;

        assert_true(number_parse_millionths(text, number_format_millionths(m, text), &v));
        assert_true(v == m);
    }
}

/* A locale with a decimal comma must not change a byte. Where there is none, it is the C locale
 * twice, and the test still holds. */
static void no_locale_matters(void **state)
{
    char text[24];
    int64_t v;
    double d;

    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        setlocale(LC_ALL, "");
    number_format_millionths(-1500000, text);
    assert_string_equal(text, "-1.5");
    assert_true(number_parse_millionths("0.7", 3, &v));
    assert_false(number_parse_millionths("0,7", 3, &v));
    assert_true(number_parse_double("0.5", 3, &d));
    assert_true(d == 0.5);
    setlocale(LC_ALL, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_read_to_both_ends_of_int64),
        cmocka_unit_test(all_else_is_no_whole_number),
        cmocka_unit_test(only_the_bytes_that_were_given_are_read),
        cmocka_unit_test(decimals_with_six_places_are_read),
        cmocka_unit_test(all_else_is_no_decimal),
        cmocka_unit_test(doubles_and_floats_that_stand_for_a_decimal_are_it),
        cmocka_unit_test(what_is_finer_than_six_places_is_refused),
        cmocka_unit_test(minus_nought_is_nought),
        cmocka_unit_test(doubles_are_read_as_json_writes_them),
        cmocka_unit_test(all_else_is_no_double),
        cmocka_unit_test(the_shortest_decimal_is_written),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(no_locale_matters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
