/* A worker and the command with the CUDA backend, opened at run time as a GPU's is: its kernels on
 * the emulator, in programs of their own beside it. What is stored is what the command makes of each
 * seed alone; the ledger says what made it; and the pictures are the CPU's, as far as half precision
 * goes. Few of them: the emulator is slow. */
#include "base/npy.h"
#include "proto/digest.h"
#include "tests/kit_golden.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL  "deploy/models/avatars64.safetensors"
#define CUDA   "--backend", "cuda", "--threads", "1"
#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

enum {
    ARGS_MAX = 32, PATIENCE_MS = 300000, FIRST = 40,
#ifdef __SANITIZE_ADDRESS__
    SEEDS = 4,
#else
    SEEDS = 12,
#endif
};

static struct kit_stack stack;
static char programs[240];          /* where they lie beside the backend */

static int begin(void **state)
{
    const char *build = getenv("SEEDPRESS_BUILD");

    (void)state;
    snprintf(programs, sizeof programs, "%s/emulated/bin", build ? build : "build");
    assert_int_equal(setenv("SEEDPRESS_BUILD", programs, 1), 0);
    stack_start(&stack, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    stack_destroy(&stack);
    return 0;
}

/* ---- the command ---- */

static struct ran seedpress(const char *const *words)
{
    const char *argv[ARGS_MAX];
    char program[256];
    size_t count = 1;

    snprintf(program, sizeof program, "%s/seedpress", programs);
    argv[0] = program;
    while (*words && count < ARGS_MAX - 1)
        argv[count++] = *words++;
    argv[count] = NULL;
    return run_program(argv);
}

/* file_sha256 of SEEDS files, each rendered alone. */
static void made_by_command(struct digest_hex out[SEEDS])
{
    struct temp temp = temp_create();
    struct temp_path folder = temp_path(&temp, "pictures");
    char seeds[32];

    snprintf(seeds, sizeof seeds, "%d-%d", FIRST, FIRST + SEEDS - 1);
    struct ran ran = seedpress(WORDS("--json", "render", "--model-file", MODEL, CUDA, "--seeds", seeds,
                                     "--psi", "0.7", "--batch", "1", "-o", folder.text));
    const char *at = ran.out;

    if (ran.exit_code != 0)
        fail_msg("%s", ran.err);
    for (int i = 0; i < SEEDS; i++) {
        cJSON *line = cJSON_ParseWithOpts(at, &at, 0);
        const char *sha = cJSON_GetStringValue(cJSON_GetObjectItem(line, "file_sha256"));

        assert_non_null(sha);
        snprintf(out[i].text, sizeof out[i].text, "%s", sha);
        cJSON_Delete(line);
    }
    ran_release(&ran);
    temp_destroy(&temp);
}

/* ---- the worker ---- */

static int64_t stored_with(const char *sha)
{
    char sql[500];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM images JOIN blobs USING (key) JOIN runs ON "
             "run_id = runs.id WHERE sha256(blobs.data) = '\\x%s' AND backend = 'cuda' AND "
             "numerics_class LIKE 'cuda-sm80-fp16-%%'", sha);
    return kit_postgres_int(stack.pg.conninfo, sql);
}

/* Asks for all seeds at once. How large the batches become, the machine's load decides; that a batch
 * changes nothing is for tests/gpu/check_network.cu to show. */
static void ask(const struct digest_hex expect[SEEDS])
{
    struct kit_asker a;
    int64_t largest = 0;

    asker_open(&a, stack.clients, LINK_DEALER);
    for (int i = 0; i < SEEDS; i++) {
        struct message m = generate_of(i, FIRST + i, 700000);

        asker_send(&a, &m);
    }
    for (int i = 0; i < SEEDS; i++) {
        struct message m;
        struct parcel parcel;
        struct digest sha;

        assert_true(asker_receive(&a, &m, &parcel, PATIENCE_MS));
        if (m.type == MESSAGE_ERROR)
            fail_msg("%.*s", (int)m.error.message.len, m.error.message.data);
        assert_int_equal(m.type, MESSAGE_IMAGE);
        assert_in_range(m.id, 0, SEEDS - 1);
        sha = digest_of(frame_data(&parcel.body[1]), frame_len(&parcel.body[1]));
        assert_string_equal(digest_hex(&sha).text, expect[m.id].text);
        assert_int_equal(stored_with(expect[m.id].text), 1);
        largest = m.image.batch > largest ? m.image.batch : largest;
        message_release(&m);
        parcel_release(&parcel);
    }
    asker_close(&a);
    print_message("# largest batch: %lld\n", (long long)largest);
}

static void stored_files_are_those_that_the_command_makes_of_each_seed_alone(void **state)
{
    struct digest_hex expect[SEEDS];

    (void)state;
    made_by_command(expect);
    stack_start_worker(&stack, 0, WORDS(CUDA, "--batch-max", "4", "--reserve-batches", "6"));
    ask(expect);
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(*) FROM runs WHERE "
                     "backend = 'cuda' AND numerics_class LIKE 'cuda-sm80-fp16-%' AND "
                     "device LIKE 'emulated device, % multiprocessors, % MB' AND "
                     "driver LIKE 'CUDA driver %, runtime %, %cublas-%' AND "
                     "encoder LIKE 'libjpeg-turbo%'"), 1);
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
}

static void each_precision_is_a_class_of_its_own(void **state)
{
    static const char *const PRECISIONS[] = { "tf32", "fp32" };

    (void)state;
    for (int i = 0; i < 2; i++) {
        char sql[200];

        stack_start_worker(&stack, 0, WORDS(CUDA, "--precision", PRECISIONS[i], "--batch-max", "1"));
        snprintf(sql, sizeof sql, "SELECT count(*) FROM runs WHERE backend = 'cuda' AND "
                 "numerics_class LIKE 'cuda-sm80-%s-%%'", PRECISIONS[i]);
        assert_int_equal(kit_postgres_int(stack.pg.conninfo, sql), 1);
        program_signal(&stack.worker[0], SIGTERM);
        assert_int_equal(program_wait(&stack.worker[0]), 0);
    }
    assert_int_equal(kit_postgres_int(stack.pg.conninfo, "SELECT count(DISTINCT numerics_class) "
                     "FROM runs WHERE backend = 'cuda'"), 3);
}

static void a_device_that_is_not_there_is_refused_in_words(void **state)
{
    const char *argv[] = { "seedpress-worker", CUDA, "--models-dir", "deploy/models", "--ledger",
                           stack.pg.conninfo, "--brokers", stack.workers, "--device", "5", NULL };
    struct kit_program worker;

    (void)state;
    program_start(&worker, argv);
    program_wait_for(&worker, "backend cuda has no device 5, only 0 to 0", NULL, 0);
    assert_int_equal(program_wait(&worker), 70);

    struct ran ran = seedpress(WORDS("render", "--model-file", MODEL, CUDA, "--device", "5", "--seed",
                                     "1", "-o", "/nonexistent.jpg"));

    assert_int_equal(ran.exit_code, 70);
    assert_non_null(strstr(ran.err, "backend cuda has no device 5, only 0 to 0"));
    ran_release(&ran);
}

/* ---- the pictures ---- */

static struct npy pixels_of(const char *backend, const char *file)
{
    struct ran ran = seedpress(WORDS("render", "--model-file", MODEL, "--backend", backend, "--threads",
                                     "1", "--seed", "42", "--psi", "0.7", "--dump-u8", file));
    struct npy out;
    struct err e;

    if (ran.exit_code != 0)
        fail_msg("%s", ran.err);
    ran_release(&ran);
    if (npy_read(file, &out, &e))
        fail_msg("%s", e.msg);
    return out;
}

static void a_picture_is_the_cpus_within_50_decibels(void **state)
{
    struct temp temp = temp_create();
    struct temp_path file = temp_path(&temp, "pixels.npy");
    struct npy by_cuda = pixels_of("cuda", file.text), by_cpu = pixels_of("cpu", file.text);
    int levels;
    double psnr;

    (void)state;
    assert_int_equal(by_cuda.count, by_cpu.count);
    psnr = golden_psnr(by_cuda.data, by_cpu.data, by_cpu.count, &levels);
    print_message("# seed 42, fp16: %.1f dB, %d levels\n", psnr, levels);
    assert_true(psnr >= 50.0);
    npy_release(&by_cuda);
    npy_release(&by_cpu);
    temp_destroy(&temp);
}

static void inspect_says_how_far_the_backend_may_be_trusted(void **state)
{
    struct ran ran = seedpress(WORDS("model", "inspect", MODEL));

    (void)state;
    assert_int_equal(ran.exit_code, 0);
    assert_non_null(strstr(ran.out, "cpu, cuda (not yet run on a device)"));
    ran_release(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_files_are_those_that_the_command_makes_of_each_seed_alone),
        cmocka_unit_test(each_precision_is_a_class_of_its_own),
        cmocka_unit_test(a_device_that_is_not_there_is_refused_in_words),
        cmocka_unit_test(a_picture_is_the_cpus_within_50_decibels),
        cmocka_unit_test(inspect_says_how_far_the_backend_may_be_trusted),
    };

    return cmocka_run_group_tests_name("cuda", tests, begin, end);
}
