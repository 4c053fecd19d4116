#include "base/settings.h"

#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ARGV(...) ((char *[]){ "program", __VA_ARGS__, NULL })
#define NO_FLAGS  ((char *[]){ "program", NULL })

enum { LEASE, LISTEN, SECRET, ROWS };
static const struct setting TABLE[ROWS] = {
    [LEASE] = { "lease_ms", SETTING_INT, 10, 5000, 300, NULL, "how long a lease lasts" },
    [LISTEN] = { "listen", SETTING_TEXT, 0, 60, 0, "tcp://127.0.0.1:*", "where clients come" },
    [SECRET] = { "ledger", SETTING_SECRET, 0, 250, 0, "", "the database" },
};

static int count_of(char *const *argv)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    return argc;
}

/* getopt may move argv's entries about: each call gets its own. */
static enum err_code create(char *const *argv, struct settings **s, enum settings_action *action,
                            struct err *e)
{
    char *copy[16];
    int argc = count_of(argv);

    memcpy(copy, argv, ((size_t)argc + 1) * sizeof *copy);
    return settings_create(TABLE, ROWS, argc, copy, s, action, e);
}

static struct settings *settings_of(char *const *argv)
{
    enum settings_action action;
    struct settings *s;
    struct err e;

    if (create(argv, &s, &action, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(action, SETTINGS_RUN);
    return s;
}

static void assert_refused(char *const *argv, enum err_code code, const char *words)
{
    enum settings_action action;
    struct settings *s;
    struct err e = { 0 };

    if (create(argv, &s, &action, &e) != code)
        fail_msg("%s \"%s\" instead of %s (%s)", err_info(e.code)->word, e.msg,
                 err_info(code)->word, words);
    assert_null(s);
    if (!strstr(e.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static int clear_environment(void **state)
{
    (void)state;
    unsetenv("SEEDPRESS_LEASE_MS");
    unsetenv("SEEDPRESS_LISTEN");
    unsetenv("SEEDPRESS_LEDGER");
    return 0;
}

/* ---- where values come from ---- */

static void without_anything_the_defaults_hold(void **state)
{
    struct settings *s = settings_of(NO_FLAGS);

    (void)state;
    assert_int_equal(settings_int(s, LEASE), 300);
    assert_string_equal(settings_text(s, LISTEN), "tcp://127.0.0.1:*");
    assert_string_equal(settings_text(s, SECRET), "");
    settings_destroy(&s);
    assert_null(s);
    settings_destroy(&s);            /* twice is fine */
}

static void a_flag_beats_the_environment_beats_the_file_beats_the_default(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "conf");
    struct settings *s;

    (void)state;
    write_text(path.text, "lease_ms = 20\nlisten = ipc:///file\n");
    s = settings_of(ARGV("--config", path.text));
    assert_int_equal(settings_int(s, LEASE), 20);
    settings_destroy(&s);
    setenv("SEEDPRESS_LEASE_MS", "30", 1);
    s = settings_of(ARGV("--config", path.text));
    assert_int_equal(settings_int(s, LEASE), 30);
    assert_string_equal(settings_text(s, LISTEN), "ipc:///file");
    settings_destroy(&s);
    s = settings_of(ARGV("--lease-ms", "40", "--config", path.text));   /* wherever it stands */
    assert_int_equal(settings_int(s, LEASE), 40);
    settings_destroy(&s);
    s = settings_of(ARGV("--config", path.text, "--lease-ms=40", "--lease-ms=50"));
    assert_int_equal(settings_int(s, LEASE), 50);
    settings_destroy(&s);
    temp_destroy(&temp);
}

/* ---- the file ---- */

static void comments_blanks_and_indentation_are_fine_in_a_file(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "conf");
    struct settings *s;

    (void)state;
    write_text(path.text, "# a comment\n; another\n\n   \nlease_ms=77   ; and one here\r\n"
                          "\tlisten = ipc:///a b   \n  ledger = host=/x dbname=y");
    s = settings_of(ARGV("--config", path.text));
    assert_int_equal(settings_int(s, LEASE), 77);
    assert_string_equal(settings_text(s, LISTEN), "ipc:///a b");
    assert_string_equal(settings_text(s, SECRET), "host=/x dbname=y");
    settings_destroy(&s);
    temp_destroy(&temp);
}

static void a_bad_file_is_refused_with_the_place(void **state)
{
    static const struct { const char *text; enum err_code code; const char *words; } BAD[] = {
        { "lease_ms = 20\nleese_ms = 3\n", ERR_INVALID, "unknown setting \"leese_ms\" in \"" },
        { "[broker]\nlease_ms = 20\n", ERR_INVALID, "unknown setting \"lease_ms\" in \"" },
        { "lease_ms = 9\n", ERR_RANGE, "\"lease_ms\" in \"" },
        { "lease_ms = 5001\n", ERR_RANGE, "is out of range: 10..5000" },
        { "lease_ms = ten\n", ERR_INVALID, "needs a whole number, not \"ten\"" },
        { "lease_ms =\n", ERR_INVALID, "needs a whole number, not \"\"" },
        { "lease_ms = 20\nlisten\n", ERR_INVALID, "line 2 of \"" },
        { " = 5\n", ERR_INVALID, "unknown setting \"\"" },
        { "lease_ms = 1\nlease_ms = 20\n", ERR_RANGE, "is out of range" },
        { "listen = 1234567890123456789012345678901234567890123456789012345678901\n", ERR_RANGE,
          "is too long: at most 60 bytes" },
        { "listen = a\n  leese_ms = 3\n", ERR_INVALID, "unknown setting \"leese_ms\"" },
    };
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "conf");

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        write_text(path.text, BAD[i].text);
        assert_refused(ARGV("--config", path.text), BAD[i].code, BAD[i].words);
    }
    temp_destroy(&temp);
}

/* inih would cut such a line in two, and take the second half for a line of its own. */
static void a_line_that_is_too_long_is_refused_and_the_longest_is_read_whole(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "conf");
    struct settings *s;
    char text[260];

    (void)state;
    for (int is_last = 0; is_last < 2; is_last++) {
        int len = snprintf(text, sizeof text, "ledger = %0189d%s", 7, is_last ? "" : "\n");

        assert_int_equal(len, is_last ? 198 : 199);
        write_text(path.text, text);
        s = settings_of(ARGV("--config", path.text));
        assert_int_equal(strlen(settings_text(s, SECRET)), 189);
        settings_destroy(&s);
    }
    snprintf(text, sizeof text, "\nledger = %0190d lease_ms=7\n", 7);
    write_text(path.text, text);
    assert_refused(ARGV("--config", path.text), ERR_INVALID, "line 2 of \"");
    assert_refused(ARGV("--config", path.text), ERR_INVALID, "is too long: at most 198 bytes");
    temp_destroy(&temp);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "nobody");

    (void)state;
    assert_refused(ARGV("--config", path.text), ERR_FILE, "nobody\": No such file or directory");
    assert_refused(ARGV("--config", temp.folder), ERR_FILE, "could not read \"");
    temp_destroy(&temp);
}

/* ---- environment and flags ---- */

static void a_bad_variable_is_named(void **state)
{
    (void)state;
    setenv("SEEDPRESS_LEASE_MS", "7x", 1);
    assert_refused(NO_FLAGS, ERR_INVALID, "SEEDPRESS_LEASE_MS needs a whole number, not \"7x\"");
    setenv("SEEDPRESS_LEASE_MS", "5001", 1);
    assert_refused(NO_FLAGS, ERR_RANGE, "SEEDPRESS_LEASE_MS is out of range: 10..5000");
}

static void a_bad_flag_is_named(void **state)
{
    (void)state;
    assert_refused(ARGV("--leese-ms", "5"), ERR_INVALID, "unknown flag \"--leese-ms\"; see --help");
    assert_refused(ARGV("--lease_ms", "50"), ERR_INVALID, "unknown flag \"--lease_ms\"");
    assert_refused(ARGV("--listen"), ERR_INVALID, "flag \"--listen\" needs a value");
    assert_refused(ARGV("--lease-ms", "9"), ERR_RANGE, "--lease-ms is out of range: 10..5000");
    assert_refused(ARGV("--lease-ms", "1e3"), ERR_INVALID, "--lease-ms needs a whole number");
    assert_refused(ARGV("--lease-ms="), ERR_INVALID, "--lease-ms needs a whole number");
    assert_refused(ARGV("--print-config=yes"), ERR_INVALID, "unknown flag \"--print-config=yes\"");
    assert_refused(ARGV("stray"), ERR_INVALID, "unexpected argument \"stray\"");
    assert_refused(ARGV("--", "--lease-ms"), ERR_INVALID, "unexpected argument \"--lease-ms\"");
    assert_refused(ARGV("-x"), ERR_INVALID, "unknown flag \"-x\"");
    assert_refused(ARGV("-xy"), ERR_INVALID, "unknown flag \"-x\"");
}

/* getopt's own answers are '?' (63) and ':' (58): a table may have as many rows and more. */
static void a_long_table_works_to_its_last_row(void **state)
{
    static char keys[80][24];
    struct setting table[80];
    enum settings_action action;
    struct settings *s;
    struct err e;

    (void)state;
    for (int row = 0; row < 80; row++) {
        snprintf(keys[row], sizeof keys[row], "key_%02d", row);
        table[row] = (struct setting){ keys[row], SETTING_INT, 0, 99, 1, NULL, "" };
    }
    for (int row = 0; row < 80; row++) {
        char flag[32];
        char *argv[] = { "program", flag, "42", NULL };

        snprintf(flag, sizeof flag, "--key-%02d", row);
        if (settings_create(table, 80, 3, argv, &s, &action, &e))
            fail_msg("row %d: %s", row, e.msg);
        assert_int_equal(settings_int(s, (size_t)row), 42);
        settings_destroy(&s);
    }
}

static void help_and_version_are_answered_whatever_else_is_wrong(void **state)
{
    enum settings_action action;
    struct settings *s;
    struct err e;

    (void)state;
    setenv("SEEDPRESS_LEASE_MS", "nonsense", 1);
    assert_int_equal(create(ARGV("--help", "--config", "/nobody/here"), &s, &action, &e), ERR_OK);
    assert_int_equal(action, SETTINGS_HELP);
    settings_destroy(&s);
    assert_int_equal(create(ARGV("--config", "/nobody/here", "--version"), &s, &action, &e),
                     ERR_OK);
    assert_int_equal(action, SETTINGS_VERSION);
    settings_destroy(&s);
    assert_refused(ARGV("--print-config"), ERR_INVALID, "SEEDPRESS_LEASE_MS");
}

/* ---- what is printed ---- */

static char *printed(const struct settings *s)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    settings_print(s, out);
    fclose(out);
    return text;
}

static void the_print_says_where_each_value_comes_from_and_hides_secrets(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "conf");
    enum settings_action action;
    struct settings *s;
    struct err e;
    char *text;

    (void)state;
    write_text(path.text, "listen = ipc:///x\n");
    setenv("SEEDPRESS_LEDGER", "password=geheim", 1);
    assert_int_equal(create(ARGV("--config", path.text, "--lease-ms", "12", "--print-config"), &s,
                            &action, &e), ERR_OK);
    assert_int_equal(action, SETTINGS_PRINT);
    text = printed(s);
    assert_string_equal(text, "lease_ms = 12    ; from: flag\nlisten = ipc:///x    ; from: file\n"
                              "; ledger is set and not shown, from: environment\n");
    free(text);
    settings_destroy(&s);

    clear_environment(NULL);
    s = settings_of(NO_FLAGS);
    text = printed(s);
    assert_non_null(strstr(text, "lease_ms = 300    ; from: default\n"));
    assert_non_null(strstr(text, "ledger =     ; from: default\n"));
    free(text);
    settings_destroy(&s);
    temp_destroy(&temp);
}

static void a_secret_is_in_no_error(void **state)
{
    enum settings_action action;
    struct settings *s;
    struct err e;
    char secret[300];

    (void)state;
    memset(secret, 'S', sizeof secret - 1);
    secret[sizeof secret - 1] = '\0';
    setenv("SEEDPRESS_LEDGER", secret, 1);
    assert_int_equal(create(NO_FLAGS, &s, &action, &e), ERR_RANGE);
    assert_null(strstr(e.msg, "SSSS"));
}

static void what_is_printed_can_be_read_back(void **state)
{
    struct temp temp = temp_create();
    struct temp_path path = temp_path(&temp, "conf");
    struct settings *s = settings_of(ARGV("--lease-ms", "123", "--listen", "tcp://127.0.0.1:7701"));
    char *text = printed(s);

    (void)state;
    settings_destroy(&s);
    write_text(path.text, text);
    free(text);
    s = settings_of(ARGV("--config", path.text));
    assert_int_equal(settings_int(s, LEASE), 123);
    assert_string_equal(settings_text(s, LISTEN), "tcp://127.0.0.1:7701");
    assert_string_equal(settings_text(s, SECRET), "");
    settings_destroy(&s);
    temp_destroy(&temp);
}

static void help_shows_every_flag_with_its_range(void **state)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    settings_print_help(TABLE, ROWS, "seedpress-x", out);
    fclose(out);
    assert_non_null(strstr(text, "usage: seedpress-x "));
    assert_non_null(strstr(text, "--lease-ms "));
    assert_non_null(strstr(text, "how long a lease lasts"));
    assert_non_null(strstr(text, "default 300, 10..5000"));
    assert_non_null(strstr(text, "default \"tcp://127.0.0.1:*\""));
    assert_non_null(strstr(text, "--config FILE"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(without_anything_the_defaults_hold, clear_environment),
        cmocka_unit_test_setup(a_flag_beats_the_environment_beats_the_file_beats_the_default,
                               clear_environment),
        cmocka_unit_test_setup(comments_blanks_and_indentation_are_fine_in_a_file,
                               clear_environment),
        cmocka_unit_test_setup(a_bad_file_is_refused_with_the_place, clear_environment),
        cmocka_unit_test_setup(a_line_that_is_too_long_is_refused_and_the_longest_is_read_whole,
                               clear_environment),
        cmocka_unit_test_setup(a_file_that_is_not_there_is_named, clear_environment),
        cmocka_unit_test_setup(a_bad_variable_is_named, clear_environment),
        cmocka_unit_test_setup(a_bad_flag_is_named, clear_environment),
        cmocka_unit_test_setup(a_long_table_works_to_its_last_row, clear_environment),
        cmocka_unit_test_setup(help_and_version_are_answered_whatever_else_is_wrong,
                               clear_environment),
        cmocka_unit_test_setup(the_print_says_where_each_value_comes_from_and_hides_secrets,
                               clear_environment),
        cmocka_unit_test_setup(a_secret_is_in_no_error, clear_environment),
        cmocka_unit_test_setup(what_is_printed_can_be_read_back, clear_environment),
        cmocka_unit_test_setup(help_shows_every_flag_with_its_range, clear_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
