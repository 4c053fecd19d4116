/* PROTOCOL.md against the tables that the codec reads, in both directions: every row of the tables
 * is on the page, in its place, and the page has no other. What a section should hold is printed
 * when it does not: copy it over. */
#include "base/file.h"
#include "proto/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE "proto/PROTOCOL.md"

static char *page;                  /* ended by NUL */

static int read_page(void **state)
{
    uint8_t *data;
    size_t len;
    struct err e;

    (void)state;
    if (file_read(PAGE, 1 << 20, &data, &len, &e)) {
        print_error("%s\n", e.msg);
        return -1;
    }
    page = malloc(len + 1);
    memcpy(page, data, len);
    page[len] = '\0';
    free(data);
    return 0;
}

static int free_page(void **state)
{
    (void)state;
    free(page);
    return 0;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The lines of the section under head that the tables speak of, up to the next heading of its rank
 * or above. NULL: there is no such section. */
static char *section_lines(const char *head)
{
    size_t rank = strspn(head, "#"), len;
    char *text = NULL;
    bool is_inside = false, was_there = false;
    FILE *out = open_memstream(&text, &len);

    for (const char *line = page; *line;) {
        size_t line_len = strcspn(line, "\n"), line_rank = strspn(line, "#");

        if (line_rank > 0 && line_rank <= rank) {
            is_inside = line_len == strlen(head) && begins(line, head);
            was_there |= is_inside;
        }
        if (is_inside && (begins(line, "| `") || begins(line, "> ") || begins(line, "From ") ||
                          begins(line, "#### ")))
            fprintf(out, "%.*s\n", (int)line_len, line);
        line += line_len + (line[line_len] == '\n');
    }
    fclose(out);
    if (!was_there) {
        free(text);
        text = NULL;
    }
    return text;
}

static void assert_section(const char *head, const char *expect)
{
    char *got = section_lines(head);

    if (!got)
        fail_msg(PAGE " has no section \"%s\"; it should hold\n%s", head, expect);
    if (strcmp(got, expect) != 0)
        fail_msg(PAGE ", section \"%s\" should hold\n%s\nbut holds\n%s", head, expect, got);
    free(got);
}

/* ---- what a section should hold ---- */

static const char *who_sends(enum message_type type)
{
    switch (message_info(type)->from) {
    case MESSAGE_FROM_CLIENT:
        return "From a client to the broker.";
    case MESSAGE_FROM_WORKER:
        return "From a worker to the broker.";
    case MESSAGE_FROM_WORKER | MESSAGE_FROM_BROKER:
        return "From a worker to the broker, and back.";
    default:
        return type < MESSAGE_READY ? "From the broker to a client."
                                    : "From the broker to a worker.";
    }
}

static void write_rows(FILE *out, const struct field_table *table)
{
    assert_true(table->count <= MESSAGE_FIELDS_MAX);
    for (size_t i = 0; i < table->count; i++) {
        char line[600];

        assert_true(message_describe(&table->fields[i], line, sizeof line) < sizeof line - 1);
        fprintf(out, "%s\n", line);
    }
}

static char *expected_section(enum message_type type)
{
    const struct message_info *info = message_info(type);
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (info->frame)
        fprintf(out, "%s Two frames: the map, then %s.\n> %s\n", who_sends(type), info->frame,
                info->help);
    else
        fprintf(out, "%s One frame.\n> %s\n", who_sends(type), info->help);
    write_rows(out, info->table);
    for (size_t i = 0; i < info->table->count; i++)
        if (info->table->fields[i].kind == FIELD_RECORDS) {
            fprintf(out, "#### `%s` of `%s`\n", info->table->fields[i].name, info->word);
            write_rows(out, info->table->fields[i].sub);
        }
    fclose(out);
    return text;
}

static void each_message_has_a_section_with_its_fields(void **state)
{
    (void)state;
    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++) {
        char *expect = expected_section((enum message_type)type), head[64];

        snprintf(head, sizeof head, "### `%s`", message_word((enum message_type)type));
        assert_section(head, expect);
        free(expect);
    }
}

static void the_page_has_no_message_that_the_code_has_not(void **state)
{
    int sections = 0;

    (void)state;
    for (const char *at = page; (at = strstr(at, "\n### `")); at++)
        sections++;
    assert_int_equal(sections, MESSAGE_TYPE_COUNT);
}

/* Rows of fields stand in the sections of messages, those of errors in theirs, and nowhere else. */
static void the_page_has_no_rows_elsewhere(void **state)
{
    bool is_table = false;

    (void)state;
    for (const char *line = page; *line;) {
        size_t len = strcspn(line, "\n");

        if (begins(line, "## "))
            is_table = begins(line, "## Errors\n");
        else if (begins(line, "### "))
            is_table = begins(line, "### `");
        else if (begins(line, "| `") && !is_table)
            fail_msg("a row in no table: %.*s", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static void the_table_of_errors_is_the_code_s(void **state)
{
    char *expect = NULL;
    size_t len;
    FILE *out = open_memstream(&expect, &len);

    (void)state;
    for (int code = 0; code < ERR_COUNT; code++) {
        const struct err_info *info = err_info((enum err_code)code);

        fprintf(out, "| `%s` | %s | %d | %d | %s |\n", info->word, info->words, info->http_status,
                info->exit_code, info->retry ? "yes" : "no");
    }
    fclose(out);
    assert_section("## Errors", expect);
    free(expect);
}

static void every_exit_code_is_explained(void **state)
{
    (void)state;
    for (int code = 0; code < ERR_COUNT; code++) {
        char row[32];

        snprintf(row, sizeof row, "\n| %d | ", err_info((enum err_code)code)->exit_code);
        if (!strstr(page, row))
            fail_msg("exit code %d is not explained", err_info((enum err_code)code)->exit_code);
    }
}

static void limits_are_the_code_s(void **state)
{
    char line[200];

    (void)state;
    snprintf(line, sizeof line, "\n| a map | %d bytes |\n", MESSAGE_MAP_MAX);
    assert_non_null(strstr(page, line));
    snprintf(line, sizeof line, "\n| the frame after it | %d bytes |\n", MESSAGE_IMAGE_MAX);
    assert_non_null(strstr(page, line));
    snprintf(line, sizeof line, "\n- `v`: the version, %d. ", MESSAGE_VERSION);
    assert_non_null(strstr(page, line));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_message_has_a_section_with_its_fields),
        cmocka_unit_test(the_page_has_no_message_that_the_code_has_not),
        cmocka_unit_test(the_page_has_no_rows_elsewhere),
        cmocka_unit_test(the_table_of_errors_is_the_code_s),
        cmocka_unit_test(every_exit_code_is_explained),
        cmocka_unit_test(limits_are_the_code_s),
    };

    return cmocka_run_group_tests(tests, read_page, free_page);
}
