#include "client/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void plain_lines_come_every_two_seconds_at_most(void **state)
{
    struct progress progress;
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    (void)state;
    progress_init(&progress, to, PROGRESS_LINES, 1000, 50000);
    for (int64_t ms = 0; ms <= 5000; ms += 10)   /* ten pictures a second */
        progress_show(&progress, (uint64_t)ms / 100, 50000 + ms);
    progress_end(&progress);
    assert_string_equal(text, "20 of 1000 pictures, 10.0/s, 1 min 38 s left\n"
                              "40 of 1000 pictures, 10.0/s, 1 min 36 s left\n");
    fclose(to);
    free(text);
}

static void a_terminal_has_one_line_that_is_wiped_at_the_end(void **state)
{
    struct progress progress;
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    (void)state;
    progress_init(&progress, to, PROGRESS_TERMINAL, 40000, 0);
    progress_show(&progress, 1, 1999);
    progress_show(&progress, 2, 2000);
    progress_show(&progress, 3, 2199);
    progress_show(&progress, 39999, 2200);
    progress_show(&progress, 40000, 9999);
    progress_end(&progress);
    progress_end(&progress);
    assert_string_equal(text, "\r\033[K2 of 40000 pictures, 1.0/s, 11 h 6 min left"
                              "\r\033[K39999 of 40000 pictures, 18181.4/s, 0 s left"
                              "\r\033[K");
    fclose(to);
    free(text);
}

static void what_is_short_or_silent_writes_nothing(void **state)
{
    struct progress progress;
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    (void)state;
    progress_init(&progress, to, PROGRESS_TERMINAL, 10, 0);
    progress_show(&progress, 10, 1500);
    progress_end(&progress);
    progress_init(&progress, to, PROGRESS_SILENT, 10, 0);
    progress_show(&progress, 5, 100000);
    progress_end(&progress);
    fclose(to);
    assert_int_equal(len, 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lines_come_every_two_seconds_at_most),
        cmocka_unit_test(a_terminal_has_one_line_that_is_wiped_at_the_end),
        cmocka_unit_test(what_is_short_or_silent_writes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
