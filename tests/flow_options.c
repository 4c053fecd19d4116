/* Every family of models and every option through the real programs: what comes over the broker is,
 * byte for byte, what `seedpress render` makes alone; what cannot be meant is refused in words; bad
 * files in the models folder are told and stop nobody. */
#include "base/file.h"
#include "client/seedpress.h"
#include "kernels/model.h"
#include "tests/kit_golden.h"
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
#include <sys/stat.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define GOLDEN   "tests/golden/"

enum { ARGS_MAX = 32, FILE_BYTES_MAX = 4 << 20, NAME_BYTES = 300 };

/* What lies in the models folder. A model is named after its file. */
static const struct served {
    const char *name, *suffix, *folder, *from;
    int c_dim;
} MODELS[] = {
    { "sg1", ".pkl", "sg1_cond_16", GOLDEN "sg1_cond_16/sg1_cond_16.pkl", 6 },
    { "sg2", ".pkl", "sg2_tf_32", GOLDEN "sg2_tf_32/sg2_tf_32.pkl", 0 },
    { "sg2ada", ".safetensors", "sg2_cond_32", GOLDEN "sg2_cond_32/sg2_cond_32.safetensors", 10 },
    { "sg3t", ".pkl", "sg3t_32", GOLDEN "sg3t_32/sg3t_32.pkl", 0 },
    { "sg3r", ".safetensors", "sg3r_32", GOLDEN "sg3r_32/sg3r_32.safetensors", 0 },
};

static struct kit_stack stack;
static struct temp temp;

/* ---- files ---- */

struct file {
    uint8_t *data;
    size_t len;
};

static struct file load(const char *path)
{
    struct file file;
    struct err e;

    if (file_read(path, FILE_BYTES_MAX, &file.data, &file.len, &e))
        fail_msg("%s", e.msg);
    return file;
}

static void save(const char *path, const void *data, size_t len)
{
    struct err e;

    if (file_write_atomic(path, data, len, &e))
        fail_msg("%s", e.msg);
}

static void copy(const char *from, const char *to)
{
    struct file file = load(from);

    save(to, file.data, file.len);
    free(file.data);
}

static const struct served *model_of(const char *name)
{
    for (size_t i = 0; i < COUNT(MODELS); i++)
        if (strcmp(MODELS[i].name, name) == 0)
            return &MODELS[i];
    fail_msg("no model \"%s\"", name);
    return NULL;
}

/* ---- running the command ---- */

/* The words of head, then those of tail; both end in NULL. */
static struct ran seedpress(const char *const *head, const char *const *tail)
{
    const char *build = getenv("SEEDPRESS_BUILD");
    const char *argv[ARGS_MAX] = { NULL, "--broker", stack.clients };
    char program[NAME_BYTES];
    size_t count = 3;

    snprintf(program, sizeof program, "%s/seedpress", build ? build : "build");
    argv[0] = program;
    for (; *head && count < ARGS_MAX - 1; head++)
        argv[count++] = *head;
    for (; tail && *tail && count < ARGS_MAX - 1; tail++)
        argv[count++] = *tail;
    argv[count] = NULL;
    return run_program(argv);
}
#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static cJSON *object_of(const char *text)
{
    cJSON *object = cJSON_ParseWithOpts(text, NULL, 0);

    if (!object)
        fail_msg("no JSON: %s", text);
    return object;
}

/* A picture that the command has made. */
struct made {
    char key[SEEDPRESS_HEX], core[SEEDPRESS_HEX], source[16];
    char warning[200];              /* what was said on standard error */
    struct file file;
};

static struct made made_of(struct ran *ran, const char *path)
{
    struct made made = { .source = "" };

    if (ran->exit_code != 0)
        fail_msg("exit code %d: %s", ran->exit_code, ran->err);
    cJSON *line = object_of(ran->out);

    snprintf(made.key, sizeof made.key, "%s", json_string(line, "recipe_key"));
    snprintf(made.core, sizeof made.core, "%s", json_string(line, "core_sha256"));
    if (cJSON_HasObjectItem(line, "source"))
        snprintf(made.source, sizeof made.source, "%s", json_string(line, "source"));
    snprintf(made.warning, sizeof made.warning, "%s", ran->err);
    made.file = load(path);
    cJSON_Delete(line);
    ran_release(ran);
    return made;
}

static void made_release(struct made *made)
{
    free(made->file.data);
    *made = (struct made){ .source = "" };
}

/* Over the broker. options ends in NULL. */
static struct made generate(const char *model, const char *const *options)
{
    struct temp_path path = temp_path(&temp, "over-the-broker.jpg");
    struct ran ran = seedpress(WORDS("--json", "generate", "--model", model, "-o", path.text),
                               options);

    return made_of(&ran, path.text);
}

/* From the file that the test took the model from, without the broker. */
static struct made render(const char *model, const char *const *options)
{
    struct temp_path path = temp_path(&temp, "alone.jpg");
    struct ran ran = seedpress(WORDS("--json", "render", "--model-file", model_of(model)->from,
                                     "-o", path.text), options);

    return made_of(&ran, path.text);
}

static void expect_same(const struct made *a, const struct made *b, const char *what)
{
    if (strcmp(a->key, b->key) != 0)
        fail_msg("%s: recipe keys differ", what);
    if (a->file.len != b->file.len || memcmp(a->file.data, b->file.data, a->file.len) != 0)
        fail_msg("%s: files differ", what);
}

/* ---- over the broker as alone ---- */

static void every_option_gives_the_bytes_that_render_makes_alone(void **state)
{
    static const struct {
        const char *model, *options[9];
    } CASES[] = {
        { "sg1", { "--class", "5", "--psi", "0.7" } },
        { "sg1", { "--class", "0", "--psi", "-0.7", "--cutoff", "3" } },
        { "sg1", { "--class", "1", "--noise-mode", "none" } },
        { "sg1", { "--class", "1", "--noise-mode", "const" } },
        { "sg1", { "--class", "1", "--noise-mode", "random", "--noise-seed", "4294967295" } },
        { "sg1", { "--class", "1", "--noise-mode", "stream" } },
        { "sg2", { "--psi", "0.5" } },
        { "sg2", { "--psi", "0.5", "--cutoff", "0" } },
        { "sg2", { "--noise-mode", "none", "--quality", "75" } },
        { "sg2", { "--noise-mode", "random", "--noise-seed", "7" } },
        { "sg2", { "--noise-mode", "stream", "--psi", "0.7" } },
        { "sg2ada", { "--class", "9", "--psi", "0.7" } },
        { "sg2ada", { "--class", "3", "--psi", "2", "--cutoff", "7" } },
        { "sg2ada", { "--class", "3", "--noise-mode", "random", "--noise-seed", "0" } },
        { "sg3t", { "--psi", "0.7" } },
        { "sg3t", { "--psi", "0.7", "--cutoff", "4" } },
        { "sg3t", { "--translate", "0.25,-0.125", "--rotate", "30" } },
        { "sg3t", { "--rotate", "-1000" } },
        { "sg3t", { "--transform", "1.7,0,0,0,1.7,0,0,0,1", "--psi", "0.5" } },
        { "sg3t", { "--transform", "0,0,0,0,0,0,0,0,0" } },
        { "sg3r", { "--psi", "-1" } },
        { "sg3r", { "--translate", "0.2,0", "--rotate", "15", "--cutoff", "2" } },
        { "sg3r", { "--transform", "0.9,-0.3,-0.12,0.3,0.9,0.025,0,0,1", "--psi", "0.7" } },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        const char *options[12] = { "--seed", "42" };
        char what[NAME_BYTES];

        for (size_t k = 0; CASES[i].options[k]; k++)
            options[2 + k] = CASES[i].options[k];
        struct made ours = generate(CASES[i].model, options);
        struct made alone = render(CASES[i].model, options);

        snprintf(what, sizeof what, "case %zu, %s", i, CASES[i].model);
        expect_same(&ours, &alone, what);
        assert_string_equal(ours.source, "render");
        assert_string_equal(ours.warning, "");
        made_release(&ours);
        made_release(&alone);
    }
}

/* Rendered, not read: the same noise seed makes the same bytes again, each other one others. */
static void noise_is_drawn_from_its_seed(void **state)
{
    static const char *const NOISES[][5] = {
        { "--noise-mode", "none" }, { "--noise-mode", "const" }, { "--noise-mode", "stream" },
        { "--noise-mode", "random", "--noise-seed", "1" },
        { "--noise-mode", "random", "--noise-seed", "2" },
    };
    static const char *const FAMILIES[] = { "sg1", "sg2", "sg2ada" };

    (void)state;
    for (size_t f = 0; f < COUNT(FAMILIES); f++) {
        struct made made[COUNT(NOISES)];

        for (size_t i = 0; i < COUNT(NOISES); i++) {
            const char *options[12] = { "--seed", "3", "--cache", "bypass" };
            size_t count = 4;

            for (size_t k = 0; NOISES[i][k]; k++)
                options[count++] = NOISES[i][k];
            if (model_of(FAMILIES[f])->c_dim > 0) {
                options[count++] = "--class";
                options[count] = "2";
            }
            made[i] = generate(FAMILIES[f], options);
            struct made again = generate(FAMILIES[f], options);

            assert_string_equal(again.source, "render");
            expect_same(&made[i], &again, NOISES[i][1]);
            made_release(&again);
            for (size_t other = 0; other < i; other++) {
                assert_string_not_equal(made[i].core, made[other].core);
                assert_string_not_equal(made[i].key, made[other].key);
            }
        }
        for (size_t i = 0; i < COUNT(NOISES); i++)
            made_release(&made[i]);
    }
}

static void what_moves_nothing_is_no_transform(void **state)
{
    static const char *const NOTHING[][9] = {
        { "--seed", "5", "--transform", "1,-0,0,0,1.0,0,0,0,1e0" },
        { "--seed", "5", "--translate", "0,0.0", "--rotate", "0" },
        { "--seed", "5", "--noise-mode", "const", "--cutoff", "64" },
    };
    struct made plain = generate("sg3t", WORDS("--seed", "5"));

    (void)state;
    for (size_t i = 0; i < COUNT(NOTHING); i++) {
        struct made made = generate("sg3t", NOTHING[i]);

        expect_same(&plain, &made, NOTHING[i][3]);
        made_release(&made);
    }
    made_release(&plain);
}

static void what_has_no_effect_is_a_warning_and_changes_no_key(void **state)
{
    static const struct {
        const char *model, *warning, *options[7];
    } CASES[] = {
        { "sg2", "seedpress: warning: class has no effect on an unconditional model\n",
          { "--seed", "6", "--class", "3" } },
        { "sg3r", "seedpress: warning: class has no effect on an unconditional model\n",
          { "--seed", "6", "--class", "0" } },
        { "sg3t", "seedpress: warning: noise mode has no effect on a model without noise inputs\n",
          { "--seed", "6", "--noise-mode", "random", "--noise-seed", "5" } },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct ran ran = seedpress(WORDS("generate", "--model", CASES[i].model, "-o",
                                         temp_path(&temp, "warned.jpg").text), CASES[i].options);

        assert_int_equal(ran.exit_code, 0);
        assert_string_equal(ran.err, CASES[i].warning);
        ran_release(&ran);
        struct made plain = generate(CASES[i].model, WORDS("--seed", "6"));
        struct made said = render(CASES[i].model, CASES[i].options);

        expect_same(&plain, &said, CASES[i].model);
        made_release(&plain);
        made_release(&said);
    }
}

static void provenance_shows_the_options(void **state)
{
    static const struct {
        const char *model, *options[13], *lines[5];
    } CASES[] = {
        { "sg2ada", { "--seed", "8", "--class", "4", "--cutoff", "3", "--psi", "0.6",
                      "--noise-mode", "random", "--noise-seed", "77" },
          { "class=4\n", "cutoff=3\n", "noise=random:77\n", "psi         0.6\n" } },
        { "sg1", { "--seed", "8", "--class", "0", "--noise-mode", "stream" },
          { "class=0\n", "noise=stream\n", "transform=none\n", "size=16x16:native\n" } },
        { "sg3r", { "--seed", "8", "--translate", "0.2,-1", "--rotate", "12.5" },
          { "transform=tr:200000,-1000000,12500000\n", "noise=none\n", "class=none\n" } },
        { "sg3t", { "--seed", "8", "--transform", "2,0,0,0,2,0,0,0,1" },
          { "transform=m:40000000,00000000,00000000,00000000,40000000,00000000,00000000,00000000,"
            "3f800000\n" } },
    };
    struct temp_path path = temp_path(&temp, "origin.jpg");

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct ran ran = seedpress(WORDS("generate", "--model", CASES[i].model, "-o", path.text),
                                   CASES[i].options);
        char model[40];

        assert_int_equal(ran.exit_code, 0);
        ran_release(&ran);
        ran = seedpress(WORDS("provenance", path.text), NULL);
        snprintf(model, sizeof model, "model       %s@", CASES[i].model);
        assert_int_equal(ran.exit_code, 0);
        assert_non_null(strstr(ran.out, "grade       exact\n"));
        assert_non_null(strstr(ran.out, model));
        for (size_t k = 0; CASES[i].lines[k]; k++)
            if (!strstr(ran.out, CASES[i].lines[k]))
                fail_msg("\"%s\" is not in: %s", CASES[i].lines[k], ran.out);
        ran_release(&ran);
    }
}

/* ---- together ---- */

enum { EACH = 8, MIXED = 3 * EACH };

/* Eight wishes to each of three models, no two alike in what they ask for. */
static struct seedpress_request wish_of(int i, double matrix[9])
{
    static const char *const NAMES[] = { "sg3t", "sg3r", "sg2ada" };
    struct seedpress_request r;
    int n = i / 3;

    seedpress_request_init(&r);
    r.model = NAMES[i % 3];
    r.seed = 100 + (uint32_t)n / 2;              /* some seeds twice, in other ways */
    r.psi = 0.25 * (n - 3);
    r.cutoff = n % 4 == 3 ? 2 + n : -1;
    r.deadline_ms = 300000;
    if (strcmp(r.model, "sg2ada") == 0) {
        r.class_index = n;
        r.noise_mode = n % 4;
        r.noise_seed = r.noise_mode == SEEDPRESS_NOISE_RANDOM ? n : -1;
    } else if (n % 3 == 1) {
        r.translate[0] = 0.125 * n;
        r.rotate = -11.5 * n;
    } else if (n % 3 == 2) {
        for (int k = 0; k < 9; k++)
            matrix[k] = (k % 4 == 0) + 0.01 * n * k;
        r.transform = matrix;
    }
    return r;
}

/* The same wish in the command's words. */
static struct made render_wish(const struct seedpress_request *r)
{
    static const char *const MODES[] = { "none", "const", "random", "stream" };
    char seed[24], psi[24], cutoff[24], class[24], noise_seed[24], translate[60], rotate[24];
    char transform[300];
    const char *options[20] = { "--seed", seed, "--psi", psi };
    size_t count = 4, len = 0;

    snprintf(seed, sizeof seed, "%u", r->seed);
    snprintf(psi, sizeof psi, "%.6f", r->psi);
    snprintf(cutoff, sizeof cutoff, "%d", r->cutoff);
    snprintf(class, sizeof class, "%d", r->class_index);
    snprintf(noise_seed, sizeof noise_seed, "%lld", (long long)r->noise_seed);
    snprintf(translate, sizeof translate, "%.6f,%.6f", r->translate[0], r->translate[1]);
    snprintf(rotate, sizeof rotate, "%.6f", r->rotate);
    for (int k = 0; r->transform && k < 9; k++)
        len += (size_t)snprintf(transform + len, sizeof transform - len, "%s%.17g", k ? "," : "",
                                r->transform[k]);
    const struct {
        bool is_said;
        const char *name, *value;
    } MORE[] = {
        { r->cutoff >= 0, "--cutoff", cutoff },
        { r->class_index >= 0, "--class", class },
        { r->noise_mode >= 0, "--noise-mode", MODES[r->noise_mode >= 0 ? r->noise_mode : 0] },
        { r->noise_seed >= 0, "--noise-seed", noise_seed },
        { r->translate[0] != 0, "--translate", translate },
        { r->rotate != 0, "--rotate", rotate },
        { r->transform != NULL, "--transform", transform },
    };

    for (size_t k = 0; k < COUNT(MORE); k++)
        if (MORE[k].is_said) {
            options[count++] = MORE[k].name;
            options[count++] = MORE[k].value;
        }
    options[count] = NULL;
    return render(r->model, options);
}

static struct seedpress *open_library(void)
{
    struct seedpress_options options = { .brokers = stack.clients };
    struct seedpress *sp;
    struct seedpress_error error;

    if (seedpress_create(&options, &sp, &error))
        fail_msg("%s", error.message);
    return sp;
}

/* Asks while the worker stands still, so that everything is there when it goes on. */
static void submit_all(struct seedpress *sp, const struct seedpress_request *wishes,
                       int64_t ids[MIXED])
{
    struct seedpress_status status;
    struct seedpress_error error;

    program_signal(&stack.worker[0], SIGSTOP);
    for (int i = 0; i < MIXED; i++)
        if (seedpress_submit(sp, &wishes[i], &ids[i], &error))
            fail_msg("wish %d: %s", i, error.message);
    do {
        if (seedpress_status(sp, &status, &error))
            fail_msg("%s", error.message);
    } while (status.looking_up > 0);
    assert_int_equal(status.waiters, MIXED);
    program_signal(&stack.worker[0], SIGCONT);
}

static void different_wishes_share_batches_and_keep_their_bytes(void **state)
{
    struct seedpress *sp = open_library();
    struct seedpress_request wishes[MIXED];
    struct seedpress_event event;
    double matrices[MIXED][9];
    int64_t ids[MIXED];
    int done = 0, batch_max[3] = { 0 };

    (void)state;
    for (int i = 0; i < MIXED; i++)
        wishes[i] = wish_of(i, matrices[i]);
    submit_all(sp, wishes, ids);
    while (done < MIXED) {
        int i = 0;

        assert_true(seedpress_next(sp, -1, &event));
        if (event.kind == SEEDPRESS_EVENT_ERROR)
            fail_msg("%s", event.error.message);
        if (event.kind == SEEDPRESS_EVENT_DONE) {
            done++;
            continue;
        }
        while (i < MIXED && ids[i] != event.id)
            i++;
        assert_true(i < MIXED);
        struct made alone = render_wish(&wishes[i]);

        assert_string_equal(event.image.recipe_key, alone.key);
        assert_int_equal(event.image.len, alone.file.len);
        assert_memory_equal(event.image.data, alone.file.data, alone.file.len);
        if (event.image.batch > batch_max[i % 3])
            batch_max[i % 3] = event.image.batch;
        made_release(&alone);
    }
    for (int m = 0; m < 3; m++)
        assert_true(batch_max[m] > 1);
    seedpress_destroy(&sp);
}

/* ---- refused ---- */

static void wrong_combinations_are_refused_in_words(void **state)
{
    static const struct {
        int exit_code;
        const char *code, *words, *model, *options[7];
    } CASES[] = {
        { 2, "unsupported", "this model has no transform; only StyleGAN 3 models have one",
          "sg2ada", { "--class", "1", "--transform", "2,0,0,0,1,0,0,0,1" } },
        { 2, "unsupported", "this model has no transform to translate and rotate with; only "
          "StyleGAN 3 models have one", "sg1", { "--class", "1", "--rotate", "15" } },
        { 2, "class_required", "this model needs a class: 0..9", "sg2ada", { NULL } },
        { 2, "class_required", "this model needs a class: 0..5", "sg1", { "--psi", "0.5" } },
        { 2, "range", "class 10 is out of range: the model has 0..9", "sg2ada",
          { "--class", "10" } },
        { 2, "range", "class 6 is out of range: the model has 0..5", "sg1", { "--class", "6" } },
        { 2, "invalid", "--noise-mode random needs --noise-seed N, 0..4294967295", "sg2",
          { "--noise-mode", "random" } },
        { 2, "invalid", "--noise-seed goes with --noise-mode random only", "sg2",
          { "--noise-mode", "stream", "--noise-seed", "1" } },
        { 2, "invalid", "--transform goes without --translate and --rotate", "sg3t",
          { "--transform", "1,0,0,0,1,0,0,0,1", "--rotate", "15" } },
        { 1, "unknown_model", "unknown model \"broken\"; known: ", "broken", { NULL } },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct ran ran = seedpress(WORDS("--json", "generate", "--model", CASES[i].model, "--seed",
                                         "1", "-o", temp_path(&temp, "never.jpg").text),
                                   CASES[i].options);

        if (ran.exit_code != CASES[i].exit_code)
            fail_msg("case %zu ends with %d: %s%s", i, ran.exit_code, ran.out, ran.err);
        cJSON *object = object_of(ran.err), *error = cJSON_GetObjectItem(object, "error");

        assert_string_equal(json_string(error, "code"), CASES[i].code);
        if (!strstr(json_string(error, "message"), CASES[i].words))
            fail_msg("case %zu says: %s", i, json_string(error, "message"));
        cJSON_Delete(object);
        ran_release(&ran);
    }
}

static void library_is_told_the_same(void **state)
{
    static const double MATRIX[9] = { 2, 0, 0, 0, 2, 0, 0, 0, 1 };
    struct seedpress *sp = open_library();
    const struct {
        int code, exit_code;
        const char *words, *model;
        int class_index, noise_mode;
        double rotate;
        const double *transform;
    } CASES[] = {
        { SEEDPRESS_UNSUPPORTED, 2, "has no transform", "sg2", -1, -1, 0, MATRIX },
        { SEEDPRESS_CLASS_REQUIRED, 2, "needs a class: 0..9", "sg2ada", -1, -1, 0, NULL },
        { SEEDPRESS_RANGE, 2, "class 10 is out of range", "sg2ada", 10, -1, 0, NULL },
        { SEEDPRESS_INVALID, 2, "noise", "sg2", -1, SEEDPRESS_NOISE_RANDOM, 0, NULL },
        { SEEDPRESS_INVALID, 2, "transform", "sg3t", -1, -1, 15, MATRIX },
    };
    struct seedpress_request request;
    struct seedpress_image image;
    struct seedpress_error error;

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        seedpress_request_init(&request);
        request.model = CASES[i].model;
        request.class_index = CASES[i].class_index;
        request.noise_mode = CASES[i].noise_mode;
        request.rotate = CASES[i].rotate;
        request.transform = CASES[i].transform;
        assert_int_equal(seedpress_generate(sp, &request, &image, &error), CASES[i].code);
        assert_int_equal(error.exit_code, CASES[i].exit_code);
        if (!strstr(error.message, CASES[i].words))
            fail_msg("case %zu says: %s", i, error.message);
    }
    seedpress_request_init(&request);
    request.model = "sg3r";
    request.class_index = 2;
    if (seedpress_generate(sp, &request, &image, &error))
        fail_msg("%s", error.message);
    assert_string_equal(image.warning, "class has no effect on an unconditional model");
    seedpress_destroy(&sp);
}

/* ---- the models folder ---- */

static void refused_files_are_told_and_the_others_serve(void **state)
{
    /* In the order of the files' names, as they are read. */
    static const char *const LINES[][2] = {
        { "file=a name with spaces.pkl", "a model's name is" },
        { "file=broken.pkl", "refused: global os.system" },
        { "file=cut.safetensors", "cut" },
        { "file=sg3t.safetensors", "has the name \"sg3t\"" },
        { "file=twin-of-sg1.safetensors", "the same model is served as \"sg1\"" },
    };
    struct seedpress *sp = open_library();
    const struct seedpress_model *models;
    struct seedpress_error error;
    char line[1024];
    size_t count;

    (void)state;
    stack.worker[0].seen = 0;
    for (size_t i = 0; i < COUNT(LINES); i++) {
        program_wait_for(&stack.worker[0], " error model_refused ", line, sizeof line);
        if (!strstr(line, LINES[i][0]) || !strstr(line, LINES[i][1]))
            fail_msg("no \"%s\" with \"%s\" in: %s", LINES[i][0], LINES[i][1], line);
    }
    if (seedpress_models(sp, &models, &count, &error))
        fail_msg("%s", error.message);
    assert_int_equal(count, COUNT(MODELS));
    for (size_t i = 0; i < count; i++) {
        const struct served *m = model_of(models[i].name);
        struct model *file;
        struct err e;

        assert_int_equal(model_open(m->from, &file, &e), ERR_OK);
        assert_string_equal(models[i].digest, digest_hex(&model_facts(file)->digest).text);
        assert_int_equal(models[i].c_dim, m->c_dim);
        assert_int_equal(models[i].workers, 1);
        model_destroy(&file);
    }
    seedpress_destroy(&sp);
}

static const char BROKEN[] = "\x80\x02" "cos\nsystem\n" "X\x04\0\0\0" "true" "\x85R.";

static void folder_of_broken_files_alone_ends_the_worker_in_words(void **state)
{
    struct temp_path folder = temp_path(&temp, "hopeless"), file;
    struct kit_program worker;
    const char *const argv[] = { "seedpress-worker", "--ledger", stack.pg.conninfo, "--brokers",
                                 stack.workers, "--models-dir", folder.text, NULL };

    (void)state;
    assert_int_equal(mkdir(folder.text, 0700), 0);
    file = temp_path(&temp, "hopeless/only.pkl");
    save(file.text, BROKEN, sizeof BROKEN - 1);
    program_start(&worker, argv);
    program_wait_for(&worker, "file=only.pkl reason=", NULL, 0);
    program_wait_for(&worker, "no usable model (*.safetensors, *.pkl) in folder", NULL, 0);
    assert_int_equal(program_wait(&worker), 7);

    struct ran ran = seedpress(WORDS("render", "--model-file", file.text, "--seed", "1"), NULL);

    assert_int_equal(ran.exit_code, 7);
    assert_non_null(strstr(ran.err, "only.pkl\": refused: global os.system at offset 2\n"));
    ran_release(&ran);
}

/* A name stays with the model that had it first. */
static void other_model_under_a_bound_name_is_told_with_what_to_do(void **state)
{
    struct temp_path folder = temp_path(&temp, "other"), file;
    const char *const flags[] = { "--models-dir", folder.text, NULL };
    char line[1024];

    (void)state;
    assert_int_equal(mkdir(folder.text, 0700), 0);
    file = temp_path(&temp, "other/sg3t.safetensors");
    copy(GOLDEN "sg2_flat_32/sg2_flat_32.safetensors", file.text);
    stack_start_worker(&stack, 1, flags);
    stack.worker[1].seen = 0;
    program_wait_for(&stack.worker[1], " warn name_is_taken ", line, sizeof line);
    assert_non_null(strstr(line, "name=sg3t bound_to=88883dcc here="));
    assert_non_null(strstr(line, "hint=\"seedpress model use sg3t@"));
    program_kill(&stack.worker[1]);
}

/* ---- the official pictures ---- */

/* `render --dump-u8` in the words of one recorded case. */
static void check_case(const struct served *m, const struct golden_case *c, const char *noise)
{
    struct temp_path path = temp_path(&temp, "u8.npy");
    char seed[24], psi[24], cutoff[24], class[24], transform[300];
    const char *options[20] = { "--seed", seed, "--psi", psi, "--cutoff", cutoff, "--dump-u8",
                                path.text, "--noise-mode", noise };
    size_t count = 10, len = 0;
    struct npy got, expect = golden_array(m->folder, c->rgb);
    int worst;
    struct err e;

    snprintf(seed, sizeof seed, "%u", c->sample.seed);
    snprintf(psi, sizeof psi, "%.4f", (double)c->sample.psi);
    snprintf(cutoff, sizeof cutoff, "%d", c->sample.cutoff);
    if (c->sample.class_index >= 0) {
        snprintf(class, sizeof class, "%d", c->sample.class_index);
        options[count++] = "--class";
        options[count++] = class;
    }
    if (c->sample.transform.kind != RECIPE_TRANSFORM_NONE) {
        for (int k = 0; k < 9; k++)
            len += (size_t)snprintf(transform + len, sizeof transform - len, "%s%.9g",
                                    k ? "," : "", (double)c->sample.transform.m[k]);
        options[count++] = "--transform";
        options[count++] = transform;
    }
    struct ran ran = seedpress(WORDS("render", "--model-file", m->from), options);

    if (ran.exit_code != 0)
        fail_msg("%s %s: %s", m->name, c->id, ran.err);
    if (npy_read(path.text, &got, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(got.count, expect.count);
    golden_psnr(got.data, expect.data, got.count, &worst);
    if (worst > 1)
        fail_msg("%s %s is %d levels off", m->name, c->id, worst);
    npy_release(&got);
    npy_release(&expect);
    ran_release(&ran);
}

static void render_makes_the_official_pictures(void **state)
{
    static struct golden_case cases[GOLDEN_CASES_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(MODELS); i++) {
        bool is_stream = strcmp(MODELS[i].name, "sg2") == 0;
        struct model *model;
        struct err e;

        assert_int_equal(model_open(MODELS[i].from, &model, &e), ERR_OK);
        int count = golden_cases(MODELS[i].folder,
                                 is_stream ? "cases_seednoise.tsv" : "cases.tsv",
                                 model_facts(model), cases);

        for (int k = 0; k < count; k++)
            check_case(&MODELS[i], &cases[k], is_stream ? "stream" : "const");
        model_destroy(&model);
    }
}

/* ---- the stack ---- */

static void fill_models_folder(const char *folder)
{
    char path[NAME_BYTES];

    assert_int_equal(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < COUNT(MODELS); i++) {
        snprintf(path, sizeof path, "%s/%s%s", folder, MODELS[i].name, MODELS[i].suffix);
        copy(MODELS[i].from, path);
    }
    snprintf(path, sizeof path, "%s/sg3t.safetensors", folder);
    copy(GOLDEN "sg2_flat_32/sg2_flat_32.safetensors", path);
    snprintf(path, sizeof path, "%s/twin-of-sg1.safetensors", folder);
    copy(GOLDEN "sg1_cond_16/sg1_cond_16.safetensors", path);
    snprintf(path, sizeof path, "%s/a name with spaces.pkl", folder);
    copy(GOLDEN "sg2_32/sg2_32.pkl", path);
    snprintf(path, sizeof path, "%s/broken.pkl", folder);
    save(path, BROKEN, sizeof BROKEN - 1);

    struct file whole = load(GOLDEN "sg2_32/sg2_32.safetensors");

    snprintf(path, sizeof path, "%s/cut.safetensors", folder);
    save(path, whole.data, whole.len / 2);
    free(whole.data);
}

static int set_up(void **state)
{
    /* Batches as long as they like, or a slow machine would make them of one. */
    const char *flags[] = { "--models-dir", NULL, "--batch-max", "32", "--batch-ms", "600000",
                            NULL };
    struct temp_path folder;

    (void)state;
    temp = temp_create();
    folder = temp_path(&temp, "models");
    fill_models_folder(folder.text);
    flags[1] = folder.text;
    stack_start(&stack, NULL);
    stack_start_worker(&stack, 0, flags);
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
        cmocka_unit_test(every_option_gives_the_bytes_that_render_makes_alone),
        cmocka_unit_test(noise_is_drawn_from_its_seed),
        cmocka_unit_test(what_moves_nothing_is_no_transform),
        cmocka_unit_test(what_has_no_effect_is_a_warning_and_changes_no_key),
        cmocka_unit_test(provenance_shows_the_options),
        cmocka_unit_test(different_wishes_share_batches_and_keep_their_bytes),
        cmocka_unit_test(wrong_combinations_are_refused_in_words),
        cmocka_unit_test(library_is_told_the_same),
        cmocka_unit_test(refused_files_are_told_and_the_others_serve),
        cmocka_unit_test(folder_of_broken_files_alone_ends_the_worker_in_words),
        cmocka_unit_test(other_model_under_a_bound_name_is_told_with_what_to_do),
        cmocka_unit_test(render_makes_the_official_pictures),
    };

    return cmocka_run_group_tests(TESTS, set_up, tear_down);
}
