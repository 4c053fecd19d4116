/* The command seedpress from outside, on a real broker, worker and PostgreSQL: files, hashes,
 * words, exit codes. */
#include "base/file.h"
#include "base/mark.h"
#include "proto/digest.h"
#include "tests/kit_json.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL_FILE "deploy/models/avatars64.safetensors"

enum { FILE_BYTES_MAX = 1 << 20 };

/* A busy machine is no ledger that is away: what is stored is read, and not rendered once more. */
static const char *const PATIENT[] = { "--lookup-ms", "10000", NULL };

static struct kit_stack stack;
static struct temp temp;

/* ---- running it ---- */

static struct ran seedpress_at(const char *broker, const char *const *args)
{
    return run_seedpress((const char *const[]){ "--broker", broker, NULL }, args);
}
#define SEEDPRESS(...) seedpress_at(stack.clients, (const char *const[]){ __VA_ARGS__, NULL })

static void expect(struct ran *ran, int exit_code)
{
    if (ran->exit_code != exit_code)
        fail_msg("exit code %d and not %d: %s%s", ran->exit_code, exit_code, ran->out, ran->err);
    ran_release(ran);
}

static void expect_words(struct ran *ran, int exit_code, const char *out, const char *err)
{
    if (out && !strstr(ran->out, out))
        fail_msg("\"%s\" is not on standard output: %s%s", out, ran->out, ran->err);
    if (err && !strstr(ran->err, err))
        fail_msg("\"%s\" is not on standard error: %s%s", err, ran->out, ran->err);
    expect(ran, exit_code);
}

/* ---- files ---- */

struct file {
    uint8_t *data;
    size_t len;
};

static struct file read_temp(const char *name)
{
    struct temp_path path = temp_path(&temp, name);
    struct file file;
    struct err e;

    if (file_read(path.text, FILE_BYTES_MAX, &file.data, &file.len, &e))
        fail_msg("%s", e.msg);
    return file;
}

static struct digest_hex sha256_of(const char *name)
{
    struct file file = read_temp(name);
    struct digest sum = digest_of(file.data, file.len);

    free(file.data);
    return digest_hex(&sum);
}

static bool is_there(const char *name)
{
    return access(temp_path(&temp, name).text, F_OK) == 0;
}

/* The line-th object of NDJSON; the caller deletes it. */
static cJSON *object_at(const char *out, int line)
{
    cJSON *object;

    for (; line > 0; line--) {
        out = strchr(out, '\n');
        assert_non_null(out);
        out++;
    }
    object = cJSON_ParseWithOpts(out, NULL, 0);
    assert_non_null(object);
    return object;
}

/* ---- generate ---- */

static void seeds_become_files_named_as_the_official_tools_name_them(void **state)
{
    struct temp_path folder = temp_path(&temp, "named");
    struct ran ran = SEEDPRESS("generate", "--model", "avatars64", "--seeds", "0-3,12345", "--psi",
                               "0.7", "-o", folder.text);
    char *first;

    (void)state;
    expect_words(&ran, 0, "5 pictures in", NULL);
    assert_true(is_there("named/seed0000.jpg"));
    assert_true(is_there("named/seed0003.jpg"));
    assert_true(is_there("named/seed12345.jpg"));
    assert_false(is_there("named/seed0004.jpg"));

    first = strdup(sha256_of("named/seed0003.jpg").text);
    ran = SEEDPRESS("generate", "--model", "avatars64", "--seeds", "0-3,12345", "--psi", "0.7",
                    "-o", folder.text);
    expect_words(&ran, 0, "(5 were stored already)", NULL);
    assert_string_equal(sha256_of("named/seed0003.jpg").text, first);
    free(first);
}

static void json_says_what_each_file_is(void **state)
{
    struct temp_path path = temp_path(&temp, "one.jpg");
    struct ran ran = SEEDPRESS("--json", "generate", "--model", "avatars64", "--seed", "77", "-o",
                               path.text);
    struct file file;
    struct digest core;
    cJSON *line, *summary;

    (void)state;
    assert_int_equal(ran.exit_code, 0);
    assert_string_equal(ran.err, "");
    line = object_at(ran.out, 0);
    file = read_temp("one.jpg");
    assert_true(mark_core_sha256(file.data, file.len, &core));
    assert_int_equal((int)json_number(line, "seed"), 77);
    assert_string_equal(json_string(line, "file"), path.text);
    assert_string_equal(json_string(line, "sha256"), sha256_of("one.jpg").text);
    assert_string_equal(json_string(line, "core_sha256"), digest_hex(&core).text);
    assert_string_equal(json_string(line, "source"), "render");
    assert_true(json_number(line, "batch") >= 1);
    assert_true(json_number(line, "render_ms") >= 0);
    summary = object_at(ran.out, 1);
    assert_int_equal((int)json_number(summary, "images"), 1);
    assert_int_equal((int)json_number(summary, "missing"), 0);
    assert_int_equal((int)json_number(summary, "from_memory"), 0);
    cJSON_Delete(summary);
    cJSON_Delete(line);
    free(file.data);
    ran_release(&ran);

    ran = SEEDPRESS("--json", "generate", "--model", "avatars64", "--seed", "77", "-o", path.text);
    assert_int_equal(ran.exit_code, 0);
    line = object_at(ran.out, 0);
    summary = object_at(ran.out, 1);
    assert_string_equal(json_string(line, "source"), "memory");
    assert_int_equal((int)json_number(summary, "from_memory"), 1);
    assert_int_equal((int)json_number(summary, "from_ledger"), 0);
    cJSON_Delete(summary);
    cJSON_Delete(line);
    ran_release(&ran);
}

static void file_is_the_one_that_render_makes_alone(void **state)
{
    struct temp_path queued = temp_path(&temp, "queued.jpg");
    struct temp_path alone = temp_path(&temp, "alone.jpg");
    struct digest a, b;
    struct file file;
    struct ran ran;

    (void)state;
    ran = SEEDPRESS("generate", "--model", "avatars64", "--seed", "5", "--psi", "0.5", "-o",
                    queued.text);
    expect(&ran, 0);
    ran = SEEDPRESS("render", "--model-file", MODEL_FILE, "--seed", "5", "--psi", "0.5", "-o",
                    alone.text);
    expect(&ran, 0);
    file = read_temp("queued.jpg");
    assert_true(mark_core_sha256(file.data, file.len, &a));
    free(file.data);
    file = read_temp("alone.jpg");
    assert_true(mark_core_sha256(file.data, file.len, &b));
    free(file.data);
    assert_true(digest_equal(&a, &b));
}

static void receipt_writes_no_file(void **state)
{
    struct temp_path folder = temp_path(&temp, "receipts");
    struct ran ran = SEEDPRESS("generate", "--model", "avatars64", "--seeds", "1,2", "--want",
                               "receipt", "-o", folder.text);

    (void)state;
    expect_words(&ran, 0, "1 recipe ", NULL);
    assert_false(is_there("receipts"));
}

static void what_cannot_be_done_is_said_in_words(void **state)
{
    static const struct {
        int exit_code;
        const char *err, *args[8];
    } CASES[] = {
        { 1, "seedpress: unknown model \"cat\"; known: avatars64",
          { "--model", "cat", "--seed", "1" } },
        { 1, "seedpress: this picture is not stored",
          { "--model", "avatars64", "--seed", "4000000000", "--cache", "only" } },
        { 2, "--psi 2.1 is out of range",
          { "--model", "avatars64", "--seed", "1", "--psi", "2.1" } },
        { 2, "at most six places",
          { "--model", "avatars64", "--seed", "1", "--psi", "0.1234567" } },
        { 2, "4294967296 is out of range", { "--model", "avatars64", "--seed", "4294967296" } },
        { 2, "this model has no transform to translate and rotate with; only StyleGAN 3 models",
          { "--model", "avatars64", "--seed", "1", "--translate", "0.5,0" } },
        { 2, "this model has no transform; only StyleGAN 3 models have one",
          { "--model", "avatars64", "--seed", "1", "--transform", "2,0,0,0,1,0,0,0,1" } },
        { 2, "which model?", { "--seed", "1" } },
        { 2, "which pictures?", { "--model", "avatars64" } },
        { 2, "do not fit into one file",
          { "--model", "avatars64", "--seeds", "1-2", "-o", "x.jpg" } },
        { 2, "a .jpg file or a folder", { "--model", "avatars64", "--seed", "1", "-o", "x.png" } },
        { 2, "one of high, normal, low",
          { "--model", "avatars64", "--seed", "1", "--priority", "urgent" } },
        { 7, "could not make folder",
          { "--model", "avatars64", "--seed", "1", "-o", "/proc/nowhere/x" } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *args[10] = { "generate" };
        struct ran ran;

        for (size_t k = 0; k < 8 && CASES[i].args[k]; k++)
            args[k + 1] = CASES[i].args[k];
        ran = seedpress_at(stack.clients, args);
        expect_words(&ran, CASES[i].exit_code, NULL, CASES[i].err);
    }
}

static void class_of_a_model_without_classes_is_dropped_with_a_warning(void **state)
{
    struct temp_path path = temp_path(&temp, "class.jpg");
    struct ran ran = SEEDPRESS("generate", "--model", "avatars64", "--seed", "1", "--class", "3",
                               "-o", path.text);

    (void)state;
    expect_words(&ran, 0, NULL, "warning");
}

static void missing_seeds_are_listed_when_others_were_made(void **state)
{
    struct temp_path folder = temp_path(&temp, "partly");
    struct ran ran = SEEDPRESS("generate", "--model", "avatars64", "--seeds", "200-203", "-o",
                               folder.text);

    (void)state;
    expect(&ran, 0);
    ran = SEEDPRESS("generate", "--model", "avatars64", "--cache", "only", "--seeds", "199-206",
                    "-o", folder.text);
    expect_words(&ran, 3, "4 pictures in", "missing: --seeds 199,204-206");
    ran = SEEDPRESS("--json", "generate", "--model", "avatars64", "--cache", "only", "--seeds",
                    "199-206", "-o", folder.text);
    expect_words(&ran, 3, "{\"seed\":199,\"error\":{\"code\":\"not_found\"",
                 "\"code\":\"not_found\"");
}

static void nobody_there_is_said_with_the_endpoint(void **state)
{
    struct ran ran = seedpress_at("tcp://127.0.0.1:9",
                                  (const char *const[]){ "status", NULL });

    (void)state;
    expect_words(&ran, 5, NULL, "seedpress: no broker answered at tcp://127.0.0.1:9 within 3 s; is "
                                "seedpress-broker running?");
}

/* ---- provenance ---- */

/* Without its metadata: SOI, then everything behind the APPn segments. */
static void strip(const char *from, const char *to)
{
    struct file file = read_temp(from);
    struct err e;
    size_t at = 2;

    while (file.data[at] == 0xff && file.data[at + 1] >= 0xe0 && file.data[at + 1] <= 0xef)
        at += 2 + ((size_t)file.data[at + 2] << 8 | file.data[at + 3]);
    memmove(file.data + 2, file.data + at, file.len - at);
    assert_int_equal(file_write_atomic(temp_path(&temp, to).text, file.data, file.len - at + 2, &e),
                     ERR_OK);
    free(file.data);
}

static void file_is_found_by_its_bytes_and_by_its_picture(void **state)
{
    struct temp_path path = temp_path(&temp, "origin.jpg");
    struct temp_path stripped = temp_path(&temp, "stripped.jpg");
    struct ran ran = SEEDPRESS("generate", "--model", "avatars64", "--seed", "31", "--psi", "0.7",
                               "-o", path.text);
    cJSON *line;

    (void)state;
    expect(&ran, 0);
    ran = SEEDPRESS("provenance", path.text);
    assert_non_null(strstr(ran.out, "model       avatars64@"));
    assert_non_null(strstr(ran.out, "seed        31\n"));
    assert_non_null(strstr(ran.out, "psi         0.7\n"));
    assert_non_null(strstr(ran.out, "recipe      seedpress-recipe/1\n"));
    expect_words(&ran, 0, "grade       exact\n", NULL);

    strip("origin.jpg", "stripped.jpg");
    ran = SEEDPRESS("provenance", stripped.text);
    expect_words(&ran, 0, "grade       exact (metadata differs)\n", NULL);

    ran = SEEDPRESS("--json", "provenance", path.text);
    assert_int_equal(ran.exit_code, 0);
    line = object_at(ran.out, 0);
    assert_string_equal(json_string(line, "grade"), "exact");
    assert_string_equal(json_string(line, "model_name"), "avatars64");
    assert_string_equal(json_string(line, "sha256"), sha256_of("origin.jpg").text);
    assert_true(json_number(line, "run") >= 1);
    assert_true(*json_string(line, "worker") && *json_string(line, "numerics_class"));

    struct ran by_key = SEEDPRESS("provenance", "--recipe", json_string(line, "recipe_key"));

    expect_words(&by_key, 0, "seed        31\n", NULL);
    by_key = SEEDPRESS("provenance", "--sha256", json_string(line, "sha256"));
    expect_words(&by_key, 0, "seed        31\n", NULL);
    by_key = SEEDPRESS("provenance", "--seed", "31", "--model", "avatars64", "--psi", "0.7");
    expect_words(&by_key, 0, json_string(line, "recipe_key"), NULL);
    by_key = SEEDPRESS("provenance", "--seed", "31", "--psi", "0.6");
    expect_words(&by_key, 1, "no record", NULL);
    cJSON_Delete(line);
    ran_release(&ran);
}

/* The grades of edited files: flow_provenance. */
static void recipe_that_only_the_file_names_is_a_claim(void **state)
{
    struct temp_path path = temp_path(&temp, "claim.jpg");
    struct ran ran = SEEDPRESS("render", "--model-file", MODEL_FILE, "--seed", "31", "--psi", "-1",
                               "-o", path.text);

    (void)state;
    expect(&ran, 0);
    ran = SEEDPRESS("provenance", "--no-render", path.text);
    expect_words(&ran, 1, "grade       claimed", NULL);
    ran = SEEDPRESS("provenance", "--recipe",
                    "1111111111111111111111111111111111111111111111111111111111111111");
    expect_words(&ran, 1, "no record (which does not mean that a camera made it)", NULL);
    ran = SEEDPRESS("provenance", MODEL_FILE);
    expect_words(&ran, 7, NULL, "neither JPEG, PNG nor WebP");
    ran = SEEDPRESS("provenance", "nowhere.jpg");
    expect(&ran, 7);
    ran = SEEDPRESS("provenance", "--recipe", "abc");
    expect_words(&ran, 2, NULL, "64 lower-case hex digits");
    ran = SEEDPRESS("provenance");
    expect(&ran, 2);
}

/* ---- models, status, ledger ---- */

static void model_gets_a_second_name(void **state)
{
    struct ran ran = SEEDPRESS("--json", "model", "list");
    struct temp_path path = temp_path(&temp, "second.jpg");
    char use[64];
    cJSON *line;

    (void)state;
    assert_int_equal(ran.exit_code, 0);
    line = object_at(ran.out, 0);
    assert_string_equal(json_string(line, "name"), "avatars64");
    assert_int_equal((int)json_number(line, "workers"), 1);
    snprintf(use, sizeof use, "second@%.8s", json_string(line, "digest"));
    cJSON_Delete(line);
    ran_release(&ran);

    ran = SEEDPRESS("model", "use", use);
    expect(&ran, 0);
    ran = SEEDPRESS("generate", "--model", use, "--seed", "1", "-o", path.text);
    expect(&ran, 0);
    ran = SEEDPRESS("model", "list");
    expect_words(&ran, 0, "*avatars64@", NULL);
    ran = SEEDPRESS("model", "use", "second@00000000");
    expect(&ran, 1);
    ran = SEEDPRESS("model", "use", "second");
    expect_words(&ran, 2, NULL, "NAME@DIGEST");
}

static void status_shows_broker_and_worker(void **state)
{
    struct ran ran = SEEDPRESS("status");

    (void)state;
    expect_words(&ran, 0, "ledger      up\n", NULL);
    ran = SEEDPRESS("--json", "status");
    expect_words(&ran, 0, "\"workers\":[{\"worker\":", NULL);
    ran = SEEDPRESS("status", "--often");
    expect_words(&ran, 2, NULL, "unknown option --often");
}

static void ledger_is_migrated_once(void **state)
{
    struct kit_postgres fresh;
    struct ran ran;

    (void)state;
    kit_postgres_start(&fresh);
    ran = SEEDPRESS("ledger", "migrate", "--dry-run", "--ledger", fresh.conninfo);
    expect_words(&ran, 0, "would apply 1 initial", NULL);
    ran = SEEDPRESS("ledger", "migrate", "--ledger", fresh.conninfo);
    expect_words(&ran, 0, "applied 1 initial", NULL);
    ran = SEEDPRESS("ledger", "migrate", "--ledger", fresh.conninfo);
    expect_words(&ran, 0, "nothing to do", NULL);
    ran = SEEDPRESS("ledger", "mend");
    expect_words(&ran, 2, NULL, "unknown word \"mend\" after ledger; known: migrate, check");
    ran = SEEDPRESS("ledger", "migrate", "--ledger", "host=/nowhere dbname=x");
    expect(&ran, 4);
    kit_postgres_destroy(&fresh);
}

/* ---- what goes wrong on the way ---- */

static void start_generate(struct kit_program *program, const char *seeds, const char *folder)
{
    const char *const argv[] = { "seedpress", "--broker", stack.clients, "--json", "generate",
                                 "--model", "avatars64", "--seeds", seeds, "-o", folder, NULL };

    program_start(program, argv);
    program_wait_for(program, "recipe_key", NULL, 0);        /* the first file is there */
}

static void interrupt_cancels_at_the_broker(void **state)
{
    struct temp_path folder = temp_path(&temp, "interrupted");
    struct kit_program program;
    struct ran ran;

    (void)state;
    start_generate(&program, "1000000-1099999", folder.text);
    program_signal(&program, SIGINT);
    assert_int_equal(program_wait(&program), 130);
    ran = SEEDPRESS("--json", "status");
    expect_words(&ran, 0, "\"waiters\":0,", NULL);
}

static void killed_broker_is_waited_for(void **state)
{
    struct temp_path folder = temp_path(&temp, "survived");
    struct kit_program program;
    struct temp survived;

    (void)state;
    start_generate(&program, "2000000-2000023", folder.text);
    program_kill(&stack.broker);
    stack_restart_broker(&stack, PATIENT);
    assert_int_equal(program_wait(&program), 0);
    snprintf(survived.folder, sizeof survived.folder, "%.80s", folder.text);
    assert_int_equal(temp_count(&survived), 24);
}

static void without_a_worker_the_command_tries_until_its_time_is_over(void **state)
{
    struct temp_path path = temp_path(&temp, "late.jpg");
    struct ran ran;

    (void)state;
    program_kill(&stack.worker[0]);
    ran = SEEDPRESS("generate", "--model", "avatars64", "--seed", "3000000", "--timeout", "7", "-o",
                    path.text);
    expect_words(&ran, 4, NULL, "trying again for");
    assert_false(is_there("late.jpg"));
}

static int set_up(void **state)
{
    (void)state;
    temp = temp_create();
    stack_start(&stack, PATIENT);
    stack_start_worker(&stack, 0, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stack_destroy(&stack);
    temp_destroy(&temp);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(seeds_become_files_named_as_the_official_tools_name_them),
        cmocka_unit_test(json_says_what_each_file_is),
        cmocka_unit_test(file_is_the_one_that_render_makes_alone),
        cmocka_unit_test(receipt_writes_no_file),
        cmocka_unit_test(what_cannot_be_done_is_said_in_words),
        cmocka_unit_test(class_of_a_model_without_classes_is_dropped_with_a_warning),
        cmocka_unit_test(missing_seeds_are_listed_when_others_were_made),
        cmocka_unit_test(nobody_there_is_said_with_the_endpoint),
        cmocka_unit_test(file_is_found_by_its_bytes_and_by_its_picture),
        cmocka_unit_test(recipe_that_only_the_file_names_is_a_claim),
        cmocka_unit_test(model_gets_a_second_name),
        cmocka_unit_test(status_shows_broker_and_worker),
        cmocka_unit_test(ledger_is_migrated_once),
        cmocka_unit_test(interrupt_cancels_at_the_broker),
        cmocka_unit_test(killed_broker_is_waited_for),
        cmocka_unit_test(without_a_worker_the_command_tries_until_its_time_is_over),
    };

    return cmocka_run_group_tests(TESTS, set_up, tear_down);
}
