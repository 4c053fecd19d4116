/* The manuals' tables of metrics against the tables that the programs print from, in both
 * directions; what a section should hold is printed when it does not: copy it over. */
#include "base/file.h"
#include "broker/meter.h"
#include "client/gateway/tally.h"
#include "worker/dials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The lines of a page that speak of metrics. */
static char *rows_of(const char *path)
{
    char *rows = NULL, *page;
    uint8_t *data;
    size_t len;
    FILE *out;
    struct err e;

    if (file_read(path, 1 << 20, &data, &len, &e))
        fail_msg("%s", e.msg);
    page = strndup((const char *)data, len);
    free(data);
    assert_non_null(page);
    out = open_memstream(&rows, &len);
    for (char *rest = page, *line; (line = strsep(&rest, "\n"));)
        if (strncmp(line, "| `seedpress_", 13) == 0)
            fprintf(out, "%s\n", line);
    fclose(out);
    free(page);
    return rows;
}

static void assert_page(const char *path, const struct metric *table, size_t rows)
{
    char *expect = NULL, *got = rows_of(path);
    size_t len;
    FILE *out = open_memstream(&expect, &len);

    for (size_t i = 0; i < rows; i++) {
        char line[600];

        assert_true(metric_describe(&table[i], line, sizeof line) < sizeof line - 1);
        fprintf(out, "%s\n", line);
    }
    fclose(out);
    if (strcmp(got, expect) != 0) {
        fprintf(stderr, "%s should hold\n%s", path, expect);    /* more than fail_msg takes */
        fail_msg("%s holds other rows", path);
    }
    free(expect);
    free(got);
}

static void the_manuals_hold_every_metric(void **state)
{
    (void)state;
    assert_page("broker/README.md", METER_TABLE, METER_ROWS);
    assert_page("worker/README.md", DIALS_TABLE, DIALS_ROWS);
    assert_page("client/gateway/README.md", TALLY, TALLY_ROWS);
}

static bool ends_in(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

/* What Prometheus' own linter asks for, and what a table can get wrong. */
static void assert_sound(const struct metric *table, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        const struct metric *m = &table[i];

        if (!m->name || !m->help)
            fail_msg("row %zu has no name or no help", i);
        if (strncmp(m->name, "seedpress_", 10) != 0 || !*m->help || strpbrk(m->help, "\\\n|"))
            fail_msg("%s: its name or help is not fit", m->name);
        if ((m->kind == METRIC_COUNTER) != ends_in(m->name, "_total"))
            fail_msg("%s: counters, and only they, end in _total", m->name);
        if ((m->per > 1) != ends_in(m->name, "_seconds"))
            fail_msg("%s: seconds, and only they, are scaled", m->name);
        if ((m->kind == METRIC_HISTOGRAM) != (m->bound_count > 0))
            fail_msg("%s: histograms, and only they, have bounds", m->name);
        for (size_t k = 1; k < m->bound_count; k++)
            assert_true(m->bounds[k] > m->bounds[k - 1]);
        for (size_t k = 0; m->words && k < m->series; k++)
            assert_non_null(m->words[k]);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(m->name, table[k].name);
    }
}

static void every_row_is_sound(void **state)
{
    (void)state;
    assert_sound(METER_TABLE, METER_ROWS);
    assert_sound(DIALS_TABLE, DIALS_ROWS);
    assert_sound(TALLY, TALLY_ROWS);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_manuals_hold_every_metric),
        cmocka_unit_test(every_row_is_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
