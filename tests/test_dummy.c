/* The options of dummy workers; what they do is flow_dummy's. */
#include "worker/dummy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void options_are_read_strictly(void **state)
{
    static const struct {
        const char *text;
        enum err_code code;
        struct dummy_options want;
        const char *words;
    } ROWS[] = {
        { "bytes=64", ERR_OK, { 0, 0, 64, 1 }, "" },
        { "a_us=1,b_us=2,bytes=3,count=4", ERR_OK, { 1, 2, 3, 4 }, "" },
        { "count=16,b_us=600000000", ERR_OK, { 0, 600000000, 64, 16 }, "" },
        { "", ERR_INVALID, { 0 }, "a_us=0" },
        { "1", ERR_INVALID, { 0 }, "\"1\"" },
        { "bytes", ERR_INVALID, { 0 }, "\"bytes\"" },
        { "bytes=", ERR_INVALID, { 0 }, "bytes needs a whole number" },
        { "bytes=64,", ERR_INVALID, { 0 }, "\"\"" },
        { "bytes=64, count=2", ERR_INVALID, { 0 }, "\" count=2\"" },
        { "bytes=64,bytes=64", ERR_INVALID, { 0 }, "bytes twice" },
        { "colour=1", ERR_INVALID, { 0 }, "\"colour=1\"" },
        { "bytes=0", ERR_RANGE, { 0 }, "bytes 0" },
        { "bytes=67108865", ERR_RANGE, { 0 }, "1..67108864" },
        { "count=17", ERR_RANGE, { 0 }, "1..16" },
        { "a_us=-1", ERR_RANGE, { 0 }, "a_us -1" },
        { "b_us=1e3", ERR_INVALID, { 0 }, "\"1e3\"" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct dummy_options got;
        struct err e = { 0 };

        if (dummy_parse(ROWS[i].text, &got, &e) != ROWS[i].code || !strstr(e.msg, ROWS[i].words))
            fail_msg("\"%s\": %s", ROWS[i].text, e.msg);
        if (ROWS[i].code == ERR_OK)
            assert_memory_equal(&got, &ROWS[i].want, sizeof got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(options_are_read_strictly) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
