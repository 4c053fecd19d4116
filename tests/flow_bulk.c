/* The command seedpress bulk from outside, on a real broker, worker and PostgreSQL: jobs that are
 * tried, submitted, followed and steered; words and exit codes. */
#include "proto/recipe.h"
#include "tests/kit_json.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { ARGS_MAX = 32 };

static struct kit_stack stack;
static struct temp temp;

/* ---- running it ---- */

static const char *program(void)
{
    static char path[256];
    const char *build = getenv("SEEDPRESS_BUILD");

    snprintf(path, sizeof path, "%s/seedpress", build ? build : "build");
    return path;
}

static struct ran seedpress(const char *const *args)
{
    const char *argv[ARGS_MAX] = { program(), "--broker", stack.clients };
    size_t count = 3;

    while (*args) {
        assert_true(count < ARGS_MAX - 1);
        argv[count++] = *args++;
    }
    argv[count] = NULL;
    return run_program(argv);
}
#define SEEDPRESS(...) seedpress((const char *const[]){ __VA_ARGS__, NULL })

static void expect(struct ran ran, int exit_code, const char *out, const char *err)
{
    if (ran.exit_code != exit_code)
        fail_msg("exit code %d and not %d: %s%s", ran.exit_code, exit_code, ran.out, ran.err);
    if (out && !strstr(ran.out, out))
        fail_msg("\"%s\" is not on standard output: %s%s", out, ran.out, ran.err);
    if (err && !strstr(ran.err, err))
        fail_msg("\"%s\" is not on standard error: %s%s", err, ran.out, ran.err);
    ran_release(&ran);
}

/* The last line of what was printed, as an object that the caller deletes; one line a call. */
static cJSON *last_object(struct ran ran, int exit_code)
{
    const char *line = ran.out;
    cJSON *object = NULL;

    assert_int_equal(ran.exit_code, exit_code);
    for (; *line; line = strchr(line, '\n') + 1) {
        cJSON_Delete(object);
        object = cJSON_ParseWithOpts(line, NULL, 0);
        assert_non_null(object);
    }
    assert_non_null(object);
    ran_release(&ran);
    return object;
}

static bool is_null(const cJSON *object, const char *name)
{
    return cJSON_IsNull(cJSON_GetObjectItem(object, name));
}

static int64_t count_of(const char *sql)
{
    return kit_postgres_int(stack.pg.conninfo, sql);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* ---- tests ---- */

static void what_would_be_is_told_and_nothing_is_written(void **state)
{
    cJSON *o;

    (void)state;
    expect(SEEDPRESS("bulk", "list"), 0, "no bulk job has been submitted yet", NULL);
    expect(SEEDPRESS("bulk", "submit", "--model", "avatars64", "--seeds", "0-999999,2000000",
                     "--psi", "0.7", "--dry-run"), 0, ": 1000001 pictures in 2 parts", NULL);
    expect(SEEDPRESS("bulk", "submit", "--model", "avatars64", "--seeds", "0-9", "--dry-run"), 0,
           "unknown: no picture of its first model is stored yet", NULL);
    expect(SEEDPRESS("bulk", "submit", "--model", "avatars64", "--seeds", "0-9", "--dry-run"), 0,
           "unknown: no worker has measured", NULL);
    o = last_object(SEEDPRESS("--json", "bulk", "submit", "--model", "avatars64", "--seeds",
                              "0-999", "--dry-run"), 0);
    assert_int_equal(json_number(o, "pictures"), 1000);
    assert_true(is_null(o, "bytes") && is_null(o, "hours"));
    cJSON_Delete(o);
    assert_int_equal(count_of("SELECT count(*) FROM bulk_jobs"), 0);
}

static void a_job_is_followed_to_its_end(void **state)
{
    cJSON *o = last_object(SEEDPRESS("--json", "bulk", "submit", "--model", "avatars64", "--seeds",
                                     "0-39", "--psi", "0.7", "--chunk", "8"), 0);
    char number[24], sql[120], name[80];

    (void)state;
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(o, "is_new")));
    assert_string_equal(json_string(o, "state"), "running");
    assert_int_equal(json_number(o, "total"), 40);
    assert_int_equal(json_number(o, "chunk"), 8);
    snprintf(number, sizeof number, "%.0f", json_number(o, "job"));
    snprintf(name, sizeof name, "%s", json_string(o, "name"));
    assert_int_equal(strncmp(name, "avatars64-", 10), 0);
    cJSON_Delete(o);
    expect(SEEDPRESS("bulk", "status", number, "--watch", "--interval", "0.1"), 0,
           "40 of 40 pictures (100.0 %)", "");
    o = last_object(SEEDPRESS("--json", "bulk", "status", name, "--watch"), 0);
    assert_string_equal(json_string(o, "state"), "done");
    assert_int_equal(json_number(o, "done"), 40);
    assert_int_equal(json_number(o, "failed"), 0);
    assert_true(json_number(o, "picture_us") > 0 && json_number(o, "picture_bytes") > 0);
    cJSON_Delete(o);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM images JOIN blobs USING (key) WHERE kept AND "
                              "job_id = %s", number);
    assert_int_equal(count_of(sql), 40);
    expect(SEEDPRESS("bulk", "status", name), 0, "40 of 40 (100.0 %)", NULL);

    /* The same line is the same job; what is known now is told of the next one. */
    expect(SEEDPRESS("bulk", "submit", "--model", "avatars64", "--seeds", "0-39", "--psi", "0.7",
                     "--chunk", "8"), 0, "is there already: done, 40 of 40 pictures", NULL);
    o = last_object(SEEDPRESS("--json", "bulk", "submit", "--model", "avatars64", "--seeds",
                              "100-199", "--dry-run"), 0);
    assert_true(json_number(o, "bytes") > 0 && json_number(o, "hours") > 0);
    cJSON_Delete(o);
    expect(SEEDPRESS("bulk", "submit", "--model", "avatars64", "--seeds", "0-40", "--name", name),
           1, NULL, "has other content");
}

static void one_that_waits_for_its_exporter_is_steered(void **state)
{
    static const char *const SUBMIT[] = { "bulk", "submit", "--model", "avatars64", "--seeds",
                                          "0-9", "--keep", "provenance", "--name", "waits",
                                          "--priority", "normal", NULL };
    cJSON *o;

    (void)state;
    expect(seedpress(SUBMIT), 0, "waits: 10 pictures, waiting for exporter", NULL);
    expect(SEEDPRESS("bulk", "status", "waits"), 0, "files go to an exporter, priority normal",
           NULL);
    expect(SEEDPRESS("bulk", "list"), 0, "waiting for exporter                  0 of 10", NULL);
    expect(SEEDPRESS("bulk", "pause", "waits"), 0, "waits: paused, 0 of 10 pictures", NULL);
    expect(SEEDPRESS("bulk", "pause", "waits"), 0, "paused", NULL);
    expect(seedpress(SUBMIT), 0, "is there already: paused", NULL);
    expect(SEEDPRESS("bulk", "resume", "waits"), 0, "waiting for exporter", NULL);
    o = last_object(SEEDPRESS("--json", "bulk", "status", "waits"), 0);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(o, "waiting_for_exporter")));
    assert_true(json_number(o, "picture_us") > 0 && is_null(o, "left_s")); /* nobody works at it */
    cJSON_Delete(o);
    o = last_object(SEEDPRESS("--json", "bulk", "cancel", "waits"), 0);
    assert_string_equal(json_string(o, "state"), "cancelled");
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(o, "waiting_for_exporter")));
    cJSON_Delete(o);
    expect(SEEDPRESS("bulk", "resume", "waits"), 1, NULL, "is cancelled");
    expect(SEEDPRESS("bulk", "status", "waits", "--watch"), 1, "cancelled\n", NULL);
    expect(SEEDPRESS("bulk", "status", "nobodys"), 1, NULL, "there is no bulk job \"nobodys\"");
    expect(SEEDPRESS("bulk", "pause", "999999"), 1, NULL, "there is no bulk job \"999999\"");
}

static void a_job_file_is_saved_and_submitted(void **state)
{
    struct temp_path path = temp_path(&temp, "job.json"), copy = temp_path(&temp, "copy.json");
    cJSON *o;

    (void)state;
    write_text(path.text, "{\"name\": \"two-parts\", \"chunk\": 4, \"parts\": [\n"
                          "  {\"model\": \"avatars64\", \"seeds\": [500, \"502-503\"],\n"
                          "   \"psi\": [0.5, 0.7]},\n"
                          "  {\"model\": \"avatars64\", \"seeds\": 501}]}\n");
    expect(SEEDPRESS("bulk", "submit", "-f", path.text, "--save", copy.text, "--priority", "high"),
           0, "two-parts: 7 pictures, running", NULL);
    expect(SEEDPRESS("bulk", "submit", "--file", copy.text), 0, "two-parts is there already",
           NULL);
    o = last_object(SEEDPRESS("--json", "bulk", "status", "two-parts", "--watch", "--interval",
                              "0.1"), 0);
    assert_string_equal(json_string(o, "state"), "done");
    assert_string_equal(json_string(o, "priority"), "high");
    assert_int_equal(json_number(o, "done"), 7);
    cJSON_Delete(o);
    assert_int_equal(count_of("SELECT count(*) FROM images WHERE seed BETWEEN 500 AND 503"), 7);
    write_text(path.text, "{\"parts\": [{\"model\": \"avatars64\", \"seeds\": 1, \"pis\": 1}]}");
    expect(SEEDPRESS("bulk", "submit", "-f", path.text), 7, NULL,
           "job.json\": part 1: unknown key \"pis\"");
    expect(SEEDPRESS("bulk", "submit", "-f", "/nowhere/job.json"), 7, NULL, "/nowhere/job.json");
}

static void pictures_that_fail_are_told_and_tried_again(void **state)
{
    struct ran models = SEEDPRESS("--json", "model", "list");
    cJSON *o = cJSON_Parse(models.out);
    struct recipe recipe = { .seed = 702, .class_index = -1 };
    const char *hex = json_string(o, "digest");
    struct digest subject;
    char sql[200];

    (void)state;
    assert_true(digest_parse(hex, strlen(hex), &recipe.model));
    cJSON_Delete(o);
    ran_release(&models);
    subject = recipe_subject(&recipe);
    snprintf(sql, sizeof sql, "INSERT INTO withdrawn (subject, reason) VALUES ('\\x%s', 'asked')",
             digest_hex(&subject).text);
    kit_postgres_exec(stack.pg.conninfo, sql);
    expect(SEEDPRESS("bulk", "submit", "--model", "avatars64", "--seeds", "700-705", "--name",
                     "fails"), 0, "fails: 6 pictures", NULL);
    expect(SEEDPRESS("bulk", "status", "fails", "--watch", "--interval", "0.1"), 3,
           "6 of 6 pictures (100.0 %), ", NULL);
    expect(SEEDPRESS("bulk", "status", "fails"), 0, "5 of 6 (100.0 %), 1 failed", NULL);
    expect(SEEDPRESS("bulk", "status", "fails"), 0, "seed 702 (item 2): withdrawn: ", NULL);
    kit_postgres_exec(stack.pg.conninfo, "DELETE FROM withdrawn");
    expect(SEEDPRESS("bulk", "resume", "fails"), 0, "fails: running", NULL);
    expect(SEEDPRESS("bulk", "status", "fails", "--watch", "--interval", "0.1"), 0, "6 of 6", NULL);
}

/* What stands on a terminal. */
static void a_terminal_shows_a_bar(void **state)
{
    const char *argv[] = { program(), "--broker", stack.clients, "bulk", "status", "two-parts",
                           "--watch", NULL };
    char out[4096];
    size_t len = 0;
    ssize_t got;
    int fd, status;
    pid_t pid = forkpty(&fd, NULL, NULL, NULL);

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    while (len < sizeof out - 1 && (got = read(fd, out + len, sizeof out - 1 - len)) > 0)
        len += (size_t)got;
    out[len] = '\0';
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_non_null(strstr(out, "\r\033[K[########################] 7 of 7 pictures (100.0 %)"));
}

static void command_lines_that_cannot_be_meant_are_refused(void **state)
{
    static const struct {
        const char *args[10];
        const char *words;
    } CASES[] = {
        { { "bulk" }, "bulk does what? One of: submit, list, status" },
        { { "bulk", "make" }, "unknown word \"make\" after bulk" },
        { { "bulk", "status" }, "which job?" },
        { { "bulk", "pause" }, "which job?" },
        { { "bulk", "cancel", "a", "b" }, "unexpected argument \"b\"" },
        { { "bulk", "list", "a" }, "unexpected argument \"a\"" },
        { { "bulk", "list", "--limit", "0" }, "--limit 0 is out of range" },
        { { "bulk", "status", "a", "--interval", "0.01" }, "--interval 0.01 is out of range" },
        { { "bulk", "status", "a", "--fast" }, "unknown option --fast" },
        { { "bulk", "submit" }, "which pictures?" },
        { { "bulk", "submit", "--model", "m" }, "which pictures?" },
        { { "bulk", "submit", "--seeds", "1" }, "which pictures?" },
        { { "bulk", "submit", "-f", "a", "--psi", "0.5" }, "-f says what is made" },
        { { "bulk", "submit", "-f", "a", "--seed", "5" }, "-f says what is made" },
        { { "bulk", "submit", "--model", "m", "--seeds", "9-5" }, "run backwards" },
        { { "bulk", "submit", "--model", "m", "--seed", "1-2" }, "--seed is one seed" },
        { { "bulk", "submit", "--model", "m", "--seed", "1", "-o", "x" }, "writes no files" },
        { { "bulk", "submit", "--model", "m", "--seed", "1", "--class-rule", "seed%0" },
          "out of range" },
        { { "bulk", "submit", "--model", "m", "--seed", "1", "--class", "1", "--class-rule",
            "seed%2" }, "give either --class or --class-rule" },
        { { "bulk", "submit", "--model", "m", "--seed", "1", "--keep", "refill" },
          "--keep is one of image, provenance" },
        { { "bulk", "submit", "--model", "m", "--seed", "1", "--name", "a b" }, "--name is 1 to" },
        { { "bulk", "submit", "--model", "m", "--seed", "1", "--chunk", "10001" }, "out of range" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *args[11] = { NULL };

        memcpy(args, CASES[i].args, sizeof CASES[i].args);
        expect(seedpress(args), 2, NULL, CASES[i].words);
    }
}

static void what_the_broker_refuses_is_said(void **state)
{
    (void)state;
    expect(SEEDPRESS("bulk", "submit", "--model", "nobodys", "--seed", "1"), 1, NULL,
           "part 1: unknown model \"nobodys\"");
    expect(SEEDPRESS("bulk", "submit", "--model", "avatars64", "--seeds", "0-9,5-12"), 2, NULL,
           "part 2: it overlaps part 1");
}

static int begin(void **state)
{
    (void)state;
    temp = temp_create();
    stack_start(&stack, NULL);
    stack_start_worker(&stack, 0, (const char *const[]){ "--batch-max", "8", NULL });
    return 0;
}

static int end(void **state)
{
    (void)state;
    stack_destroy(&stack);
    temp_destroy(&temp);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_would_be_is_told_and_nothing_is_written),
        cmocka_unit_test(a_job_is_followed_to_its_end),
        cmocka_unit_test(one_that_waits_for_its_exporter_is_steered),
        cmocka_unit_test(a_job_file_is_saved_and_submitted),
        cmocka_unit_test(a_terminal_shows_a_bar),
        cmocka_unit_test(pictures_that_fail_are_told_and_tried_again),
        cmocka_unit_test(command_lines_that_cannot_be_meant_are_refused),
        cmocka_unit_test(what_the_broker_refuses_is_said),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
