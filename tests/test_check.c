/* The frame of tests/gpu: a part that hangs, dies or says nothing is a miss of its own and stops no
 * other. Started again with arguments, this program is such a check. */
#include "tests/gpu/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OUTPUT_MAX = 1 << 16 };

/* ---- The parts ---- */

static int good(void)
{
    return check_that(true, "one") + check_within(1e-6, 1e-5, "two of %d", 3) +
           check_at_least(50.0, 50.0, "three") + check_same("abc", "abc", 3, "four") +
           check_no_error(0, "unused", "five");
}

static int bad(void)
{
    return check_that(false, "one") + check_within(1e-4, 1e-5, "two") +
           check_within((double)NAN, 1e-5, "three") + check_at_least((double)NAN, 50.0, "four") +
           check_same("abc", "abd", 3, "five") + check_no_error(7, "no such thing", "six");
}

/* A whole family of hangs: what the part started must end with it. */
static int hangs(void)
{
    check_that(true, "before it hangs");
    if (fork() == 0)
        signal(SIGTERM, SIG_IGN);
    while (pause() < 0)
        continue;
    return 0;
}

static int dies(void)
{
    check_that(true, "before it dies");
    raise(SIGKILL);
    return 0;
}

static int leaves(void)
{
    exit(3);
}

static int silent(void)
{
    return 0;
}

static int skips(void)
{
    check_skip("there is none");
    return 0;
}

static int probes(void)
{
    check_switch_off("wgmma");
    check_switch_off("tma");
    return check_that(true, "probed");
}

static int asks(void)
{
    const char *off = getenv("SEEDPRESS_CUDA_OFF");

    return check_that(off && strcmp(off, "wgmma,tma") == 0, "off is %s", off ? off : "nothing");
}

static const struct check_part PARTS[] = {
    { "good", "", good, 20 },     { "bad", "", bad, 20 },       { "hangs", "", hangs, 1 },
    { "dies", "", dies, 20 },     { "leaves", "", leaves, 20 }, { "silent", "", silent, 20 },
    { "absent", "", NULL, 20 },   { "skips", "", skips, 20 },   { "probes", "", probes, 20 },
    { "asks", "", asks, 20 },     { "named", "", good, 0 },
};

/* ---- The tests ---- */

static char output[OUTPUT_MAX];

/* Runs this program as a check; its exit status. */
static int run(const char *arguments)
{
    char command[200];
    size_t len;

    snprintf(command, sizeof command, "/proc/%d/exe %s 2>&1", (int)getpid(), arguments);
    FILE *from = popen(command, "r");

    assert_non_null(from);
    len = fread(output, 1, sizeof output - 1, from);
    output[len] = '\0';
    int status = pclose(from);

    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(const char *words)
{
    if (!strstr(output, words))
        fail_msg("no \"%s\" in:\n%s", words, output);
}

static int count_of(const char *words)
{
    int count = 0;

    for (const char *at = output; (at = strstr(at, words)); at++)
        count++;
    return count;
}

static void what_holds_is_counted(void **state)
{
    (void)state;
    assert_int_equal(run("good"), 0);
    expect("check: 5 checks, 0 missed, 0 skipped");
    expect("error 1e-06, at most 1e-05");
}

static void every_kind_of_miss_is_one(void **state)
{
    (void)state;
    assert_int_equal(run("bad"), 1);
    expect("check: 6 checks, 6 missed");
    expect("1 of 3 bytes differ, the first at 2");
    expect("no such thing");
    expect("missed bad: one");          /* once more, at the end */
}

static void no_part_stops_another(void **state)
{
    time_t from = time(NULL);

    (void)state;
    assert_int_equal(run(""), 1);
    assert_true(time(NULL) - from < 60);
    expect("hangs was stopped after its 1 s");
    expect("dies died of signal 9");
    expect("leaves ended with status 3");
    expect("silent checked nothing");
    expect("off is wgmma,tma");
    assert_null(strstr(output, "absent"));
    assert_null(strstr(output, "named"));
    expect("15 checks, 10 missed, 1 skipped");
}

static void all_parts_together_have_a_limit(void **state)
{
    (void)state;
    assert_int_equal(run("--total 0 good"), 1);
    expect("good was stopped after its 0 s");
}

static void tap_is_what_the_run_counts(void **state)
{
    (void)state;
    assert_int_equal(run("--tap good bad dies skips"), 1);
    expect("\nok - good: two of 3");
    expect("\nnot ok - bad: one");
    expect("\nnot ok - dies: died of signal 9");
    expect("\n# skipped: there is none");
    assert_int_equal(count_of("\nok - "), 6);
    assert_int_equal(count_of("\nnot ok - "), 7);
}

static void a_part_alone_runs_in_its_own_process(void **state)
{
    (void)state;
    assert_int_equal(run("--part named"), 0);
    assert_int_equal(run("--part leaves"), 3);
    assert_int_equal(run("nonsense"), 2);
    assert_int_equal(run("--nonsense"), 2);
}

static void every_check_has_a_part(void **state)
{
    static char text[OUTPUT_MAX];
    glob_t found;
    FILE *file = fopen("tests/gpu/main.c", "r");

    (void)state;
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_int_equal(glob("tests/gpu/check_*.c*", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *name = strrchr(found.gl_pathv[i], '/') + 1;
        char call[80];

        snprintf(call, sizeof call, " %.*s,", (int)strcspn(name, "."), name);
        if (!strstr(text, call))
            fail_msg("tests/gpu/main.c has no part for %s", name);
    }
    globfree(&found);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_holds_is_counted),
        cmocka_unit_test(every_kind_of_miss_is_one),
        cmocka_unit_test(no_part_stops_another),
        cmocka_unit_test(all_parts_together_have_a_limit),
        cmocka_unit_test(tap_is_what_the_run_counts),
        cmocka_unit_test(a_part_alone_runs_in_its_own_process),
        cmocka_unit_test(every_check_has_a_part),
    };

    if (argc > 1 || getenv("SEEDPRESS_TEST_CHECK"))
        return check_main(argc, argv, PARTS, (int)(sizeof PARTS / sizeof PARTS[0]));
    setenv("SEEDPRESS_TEST_CHECK", "1", 1);
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
