/* Moments as people write them. */
#include "client/when.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const int64_t NOW = 1800000000;

static void dates_and_spans_become_seconds(void **state)
{
    static const struct {
        const char *text;
        int64_t s;
    } CASES[] = {
        { "1970-01-01", 0 },
        { "2026-01-31", 1769817600 },
        { "2026-01-31T12:30:59Z", 1769862659 },
        { "2028-02-29", 1835395200 },
        { "0s", 1800000000 },
        { "90min", 1800000000 - 5400 },
        { "36h", 1800000000 - 129600 },
        { "2d", 1800000000 - 172800 },
    };
    struct err e;
    int64_t s;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(when_parse("--since", CASES[i].text, NOW, &s, &e), ERR_OK);
        assert_true(s == CASES[i].s);
    }
}

static void what_is_no_moment_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
    } CASES[] = {
        { "", ERR_INVALID }, { "d", ERR_INVALID }, { "2", ERR_INVALID }, { "2w", ERR_INVALID },
        { "-2d", ERR_INVALID }, { "02d", ERR_INVALID }, { "2d ", ERR_INVALID },
        { "2026-1-31", ERR_INVALID }, { "2026-01-31 ", ERR_INVALID },
        { "2026-01-31T12:30Z", ERR_INVALID }, { "2026-01-31T12:30:00", ERR_INVALID },
        { "99999999999999999999d", ERR_INVALID }, { "9223372036854775807d", ERR_INVALID },
        { "2026-02-29", ERR_RANGE }, { "2026-13-01", ERR_RANGE }, { "2026-00-10", ERR_RANGE },
        { "2026-01-31T24:00:00Z", ERR_RANGE }, { "1969-12-31", ERR_RANGE },
        { "30000d", ERR_RANGE },
    };
    struct err e;
    int64_t s;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(when_parse("--since", CASES[i].text, NOW, &s, &e), CASES[i].code);
        assert_non_null(strstr(e.msg, "--since"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_and_spans_become_seconds),
        cmocka_unit_test(what_is_no_moment_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
