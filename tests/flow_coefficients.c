/* A worker whose backend makes JPEG coefficients, on two devices: backend_coefficients.c, opened at
 * run time as a GPU's backend is. Its files are those of the CPU's pixels, byte for byte; and devices
 * that die are started again while the others serve. */
#include "kernels/backend.h"
#include "kernels/model.h"
#include "kernels/picture.h"
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

#define MODEL    "deploy/models/avatars64.safetensors"
#define BACKEND  "--backend", "coefficients", "--threads", "1"
#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

enum { ARGS_MAX = 32, PATIENCE_MS = 120000, SEEDS = 48 };

static struct kit_stack stack;

/* ---- what the CPU makes ---- */

static struct cpu {
    struct model *model;
    struct engine *engine;
    struct net *net;
    struct jpeg_encoder *encoder;
    uint8_t *rgb;
} cpu;

static void must(enum err_code rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

static int begin(void **state)
{
    const struct model_facts *facts;
    struct err e = { .code = ERR_OK };

    (void)state;
    must(model_open(MODEL, &cpu.model, &e), &e);
    must(backend_cpu.open(&(struct backend_options){ .threads = 1 }, &cpu.engine, &e), &e);
    must(backend_cpu.load(cpu.engine, cpu.model, 1, &cpu.net, &e), &e);
    must(jpeg_encoder_create(&cpu.encoder, &e), &e);
    facts = model_facts(cpu.model);
    cpu.rgb = malloc((size_t)facts->width * (size_t)facts->height * 3);
    assert_non_null(cpu.rgb);
    stack_start(&stack, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    stack_destroy(&stack);
    free(cpu.rgb);
    jpeg_encoder_destroy(&cpu.encoder);
    backend_cpu.unload(&cpu.net);
    backend_cpu.close(&cpu.engine);
    model_destroy(&cpu.model);
    return 0;
}

static struct picture made_by_cpu(const struct recipe *recipe)
{
    struct sample sample = sample_of_recipe(recipe);
    struct picture picture;
    struct err e;

    must(backend_cpu.render(cpu.net, &sample, 1, cpu.rgb, NULL, &e), &e);
    must(picture_encode(cpu.encoder, recipe, (struct picture_source){ .rgb = cpu.rgb }, &picture,
                        &e), &e);
    return picture;
}

/* ---- pictures through the broker ---- */

static int64_t stored_with(const struct digest *key, const struct digest *sha)
{
    char sql[400];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM images JOIN blobs USING (key) "
             "WHERE images.key = '\\x%s' AND sha256(blobs.data) = '\\x%s'", digest_hex(key).text,
             digest_hex(sha).text);
    return kit_postgres_int(stack.pg.conninfo, sql);
}

/* What came and what is stored are the CPU's file. */
static void check_image(struct message *m, struct parcel *parcel)
{
    struct recipe recipe;
    struct picture expect;
    struct err e;

    if (m->type == MESSAGE_ERROR)
        fail_msg("%.*s", (int)m->error.message.len, m->error.message.data);
    assert_int_equal(m->type, MESSAGE_IMAGE);
    must(recipe_parse(m->image.recipe.data, m->image.recipe.len, &recipe, &e), &e);
    expect = made_by_cpu(&recipe);
    assert_int_equal(frame_len(&parcel->body[1]), expect.len);
    assert_memory_equal(frame_data(&parcel->body[1]), expect.file, expect.len);
    assert_true(digest_equal(&m->image.core_sha256, &expect.core_sha));
    assert_int_equal(stored_with(&m->image.recipe_key, &expect.file_sha), 1);
    picture_release(&expect);
}

/* Asks for count pictures at once, of a quality each, and checks them as they come; returns the
 * largest batch. */
static int64_t ask(int64_t first_seed, int count)
{
    struct kit_asker a;
    int64_t largest = 0;

    asker_open(&a, stack.clients, LINK_DEALER);
    for (int i = 0; i < count; i++) {
        struct message m = generate_of(i + 1, first_seed + i, 700000);

        m.generate.quality = 100 - 2 * i % 70;
        asker_send(&a, &m);
    }
    for (int i = 0; i < count; i++) {
        struct message m;
        struct parcel parcel;

        assert_true(asker_receive(&a, &m, &parcel, PATIENCE_MS));
        check_image(&m, &parcel);
        largest = m.image.batch > largest ? m.image.batch : largest;
        message_release(&m);
        parcel_release(&parcel);
    }
    asker_close(&a);
    return largest;
}

static void stored_files_are_those_of_the_cpus_pixels(void **state)
{
    (void)state;
    stack_start_worker(&stack, 0, WORDS(BACKEND, "--batch-max", "4", "--reserve-batches", "6",
                                        "--encoders", "1"));
    assert_true(ask(1000, SEEDS) > 1);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(*) FROM runs WHERE "
                     "backend = 'coefficients' AND driver = 'driver of no device' AND "
                     "device LIKE 'coefficients 0 on %' AND numerics_class = 'cpu-fp32-fma-1'"), 1);
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
}

static void another_device_is_used_when_it_is_named(void **state)
{
    (void)state;
    stack_start_worker(&stack, 0, WORDS(BACKEND, "--device", "1", "--precision", "fp32"));
    ask(2000, 3);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(*) FROM runs WHERE "
                     "device LIKE 'coefficients 1 on %'"), 1);
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
}

/* ---- all devices ---- */

static pid_t pid_in(const char *line)
{
    const char *at = strstr(line, " pid=");

    assert_non_null(at);
    return (pid_t)atol(at + 5);
}

/* Both devices serve; one is killed, comes back by itself, and nothing asked for meanwhile is lost;
 * and one SIGTERM ends all three processes. */
static void every_device_has_a_worker_that_is_started_again_when_it_dies(void **state)
{
    struct kit_program *worker = &stack.worker[0];
    char line[512];
    pid_t second;

    (void)state;
    stack_start_worker(&stack, 0, WORDS(BACKEND, "--device", "all"));
    program_wait_for(worker, " broker_joined ", NULL, 0);
    ask(3000, 12);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(DISTINCT worker) FROM runs "
                     "WHERE device LIKE 'coefficients %' AND id > (SELECT max(id) - 2 FROM "
                     "runs)"), 2);
    worker->seen = 0;
    program_wait_for(worker, " fleet_worker_started device=1 ", line, sizeof line);
    second = pid_in(line);
    assert_int_equal(kill(second, SIGKILL), 0);
    ask(4000, 12);
    program_wait_for(worker, " fleet_worker_lost device=1 ", line, sizeof line);
    assert_int_equal(pid_in(line), second);
    assert_non_null(strstr(line, "code=137 again_ms=1000"));
    program_wait_for(worker, " fleet_worker_started device=1 ", line, sizeof line);
    assert_true(pid_in(line) != second);
    assert_int_equal(kill(pid_in(line), SIGKILL), 0);       /* before it has served for long */
    program_wait_for(worker, " fleet_worker_lost device=1 ", line, sizeof line);
    assert_non_null(strstr(line, "code=137 again_ms=2000"));
    program_wait_for(worker, " fleet_worker_started device=1 ", NULL, 0);
    program_wait_for(worker, " broker_joined ", NULL, 0);
    ask(5000, 12);
    program_signal(worker, SIGTERM);
    assert_int_equal(program_wait(worker), 0);
}

/* Its process ends, as nothing it does can help, and another one serves. */
static void a_lost_device_gets_another_process(void **state)
{
    struct temp temp = temp_create();
    struct temp_path lose = temp_path(&temp, "lose");
    struct kit_program *worker = &stack.worker[0];
    struct kit_asker a;
    struct message m = generate_of(1, 8000, 700000);
    struct parcel parcel;
    char line[512];

    (void)state;
    setenv("SEEDPRESS_TEST_LOSE", lose.text, 1);
    stack_start_worker(&stack, 0, WORDS(BACKEND, "--device", "all"));
    unsetenv("SEEDPRESS_TEST_LOSE");
    program_wait_for(worker, " broker_joined ", NULL, 0);
    fclose(fopen(lose.text, "w"));
    asker_open(&a, stack.clients, LINK_DEALER);
    asker_send(&a, &m);
    program_wait_for(worker, " device_lost ", NULL, 0);
    program_wait_for(worker, " worker_drain reason=device_lost", NULL, 0);
    program_wait_for(worker, " fleet_worker_lost ", line, sizeof line);
    assert_non_null(strstr(line, "code=70 again_ms=1000"));
    program_wait_for(worker, " broker_joined ", NULL, 0);
    assert_true(asker_receive(&a, &m, &parcel, PATIENCE_MS));    /* from another, or a refusal */
    message_release(&m);
    parcel_release(&parcel);
    asker_close(&a);
    ask(8100, 12);
    program_signal(worker, SIGTERM);
    assert_int_equal(program_wait(worker), 0);
    temp_destroy(&temp);
}

/* Nobody looks after them any more: they hand back what they have and go, as after SIGTERM. */
static void workers_go_when_the_first_process_is_killed(void **state)
{
    (void)state;
    stack_start_worker(&stack, 0, WORDS(BACKEND, "--device", "all"));
    program_wait_for(&stack.worker[0], " broker_joined ", NULL, 0);
    stack.broker.seen = lseek(stack.broker.log_fd, 0, SEEK_END);
    program_kill(&stack.worker[0]);
    program_wait_for(&stack.broker, "reason=\"it left\"", NULL, 0);
    program_wait_for(&stack.broker, "reason=\"it left\"", NULL, 0);
}

/* A device whose worker was told to go stays away; the others serve on. */
static void a_worker_that_was_told_to_go_is_not_started_again(void **state)
{
    struct kit_program *worker = &stack.worker[0];
    char line[512];

    (void)state;
    stack_start_worker(&stack, 0, WORDS(BACKEND, "--device", "all"));
    program_wait_for(worker, " broker_joined ", NULL, 0);
    worker->seen = 0;
    program_wait_for(worker, " fleet_worker_started device=0 ", line, sizeof line);
    assert_int_equal(kill(pid_in(line), SIGTERM), 0);
    program_wait_for(worker, " fleet_worker_ended device=0 ", line, sizeof line);
    assert_non_null(strstr(line, "code=0"));
    ask(6000, 4);
    worker->seen = 0;
    program_wait_for(worker, " fleet_worker_started device=1 ", line, sizeof line);
    assert_int_equal(kill(pid_in(line), SIGTERM), 0);
    assert_int_equal(program_wait(worker), 0);
}

/* The workers' own words come first; the one that looks after them adds that nobody is left. */
static void settings_that_no_device_can_meet_end_the_program(void **state)
{
    static const struct {
        const char *device, *precision, *says;
        int code;
    } CASES[] = {
        { "all", "fp16", "no worker of 2 devices is left", 70 },
        { "1", "tf32", "backend cpu computes in fp32, not in tf32", 2 },
        { "2", "auto", "there is no device 2", 70 },
        { "many", "auto", "device \"many\" is neither all nor a number of 0..63", 2 },
        { "-1", "auto", "is neither all nor a number", 2 },
        { "0", "bf16", "\"bf16\" is no precision; auto, fp16, tf32 or fp32", 2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *argv[] = { "seedpress-worker", BACKEND, "--models-dir", "deploy/models",
                               "--ledger", stack.pg.conninfo, "--brokers", stack.workers,
                               "--device", CASES[i].device, "--precision", CASES[i].precision,
                               NULL };
        struct kit_program worker;

        program_start(&worker, argv);
        program_wait_for(&worker, CASES[i].says, NULL, 0);
        assert_int_equal(program_wait(&worker), CASES[i].code);
    }
}

/* ---- seedpress render ---- */

static struct ran render(const char *const *words)
{
    const char *build = getenv("SEEDPRESS_BUILD");
    const char *argv[ARGS_MAX] = { NULL, "--json", "render", "--model-file", MODEL, "--threads",
                                   "1" };
    char program[256];
    size_t count = 7;

    snprintf(program, sizeof program, "%s/seedpress", build ? build : "build");
    argv[0] = program;
    while (*words && count < ARGS_MAX - 1)
        argv[count++] = *words++;
    argv[count] = NULL;
    return run_program(argv);
}

static void assert_same_sums(const char *a, const char *b)
{
    for (int i = 0; i < 10; i++) {
        cJSON *x = cJSON_ParseWithOpts(a, &a, 0), *y = cJSON_ParseWithOpts(b, &b, 0);

        assert_non_null(cJSON_GetStringValue(cJSON_GetObjectItem(x, "file_sha256")));
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(x, "file_sha256")),
                            cJSON_GetStringValue(cJSON_GetObjectItem(y, "file_sha256")));
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(x, "recipe_key")),
                            cJSON_GetStringValue(cJSON_GetObjectItem(y, "recipe_key")));
        cJSON_Delete(x);
        cJSON_Delete(y);
    }
}

static void the_command_makes_the_same_files_on_either_backend(void **state)
{
    struct temp temp = temp_create();
    struct temp_path folder = temp_path(&temp, "pictures"), png = temp_path(&temp, "a.png");
    struct temp_path u8 = temp_path(&temp, "a.npy"), jpg = temp_path(&temp, "a.jpg");
    struct ran by_cpu = render(WORDS("--seeds", "0-9", "--backend", "cpu", "--batch", "3", "-o",
                                     folder.text, "--quality", "83"));
    struct ran by_other = render(WORDS("--seeds", "0-9", "--backend", "coefficients", "--device",
                                       "1", "--batch", "4", "-o", folder.text, "--quality", "83"));

    (void)state;
    if (by_other.exit_code != 0)
        fail_msg("%s", by_other.err);
    assert_int_equal(by_cpu.exit_code, 0);
    assert_same_sums(by_cpu.out, by_other.out);
    ran_release(&by_cpu);
    ran_release(&by_other);

    /* what is of pixels is made of pixels */
    struct ran ran = render(WORDS("--seed", "3", "--backend", "coefficients", "-o", png.text));

    assert_int_equal(ran.exit_code, 0);
    ran_release(&ran);
    ran = render(WORDS("--seed", "3", "--backend", "coefficients", "-o", jpg.text, "--dump-u8",
                       u8.text));
    assert_int_equal(ran.exit_code, 0);
    ran_release(&ran);
    temp_destroy(&temp);
}

static void the_command_refuses_what_the_device_does_not_do(void **state)
{
    static const struct {
        const char *option, *value, *says;
        int code;
    } CASES[] = {
        { "--precision", "fp16", "not in fp16", 2 },
        { "--precision", "half", "is no precision; auto, fp16, tf32 or fp32", 2 },
        { "--device", "2", "there is no device 2", 70 },
        { "--device", "64", "--device", 2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct ran ran = render(WORDS("--seed", "1", "--backend", "coefficients", "-o",
                                      "/nonexistent.jpg", CASES[i].option, CASES[i].value));

        if (!strstr(ran.err, CASES[i].says) && !strstr(ran.out, CASES[i].says))
            fail_msg("%s %s: %s%s", CASES[i].option, CASES[i].value, ran.err, ran.out);
        assert_int_equal(ran.exit_code, CASES[i].code);
        ran_release(&ran);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_files_are_those_of_the_cpus_pixels),
        cmocka_unit_test(another_device_is_used_when_it_is_named),
        cmocka_unit_test(every_device_has_a_worker_that_is_started_again_when_it_dies),
        cmocka_unit_test(a_lost_device_gets_another_process),
        cmocka_unit_test(workers_go_when_the_first_process_is_killed),
        cmocka_unit_test(a_worker_that_was_told_to_go_is_not_started_again),
        cmocka_unit_test(settings_that_no_device_can_meet_end_the_program),
        cmocka_unit_test(the_command_makes_the_same_files_on_either_backend),
        cmocka_unit_test(the_command_refuses_what_the_device_does_not_do),
    };

    return cmocka_run_group_tests_name("coefficients", tests, begin, end);
}
