/* generate -- pictures over the broker, into files. A bounded number of seeds is in flight; what
 * cannot be done now is asked again until the time is over; every seed ends as a file or in the
 * list of those that are missing. */
#include "client/command.h"

#include "base/clock.h"
#include "base/file.h"
#include "client/contact.h"
#include "client/picture_options.h"
#include "client/progress.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cmd_generate_help[] =
    "seedpress generate - make pictures through the broker\n"
    "\n"
    "usage: seedpress generate --model M --seeds LIST [OPTIONS]\n"
    "\n"
    "  --model M            a name (cats), name and digest (cats@1a2b3c4d), or a digest\n"
    PICTURE_OPTIONS_HELP
    "  -o, --output WHERE   a .jpg file (one seed) or a folder; default: this folder; files\n"
    "                       in folders are named seed0000.jpg and so on, and replaced\n"
    "  --want WHAT          image, or receipt: no file, only hashes; default image\n"
    "  --cache HOW          use; only: what is stored, nothing is rendered; bypass: rendered\n"
    "                       even when stored (the stored picture wins); default use\n"
    "  --require-class NC   the numerics class that must have made the pictures\n"
    "  --priority LEVEL     high, normal or low; default normal\n"
    "  --deadline-ms N      of each picture; default: what is left of --timeout\n"
    "  --timeout S          seconds for everything, 1..86400; default 600. Until then a broker\n"
    "                       that is full, has no worker or no ledger is asked again\n"
    "\n"
    "examples:\n"
    "  seedpress generate --model avatars64 --seeds 0-99 --psi 0.7 -o pictures\n"
    "  seedpress generate --model avatars64 --seed 42 -o 42.jpg\n"
    "  seedpress --json generate --model avatars64 --seeds 0-9 --want receipt\n"
    "  seedpress generate --model cats --seed 42 --noise-mode random --noise-seed 7\n"
    "  seedpress generate --model faces3 --seed 42 --translate 0.2,0 --rotate 15\n"
    "\n"
    "exit code 3: some pictures are there, those that are missing are listed\n";

enum {
    WINDOW = 256,                   /* seeds in flight */
    TIMEOUT_S = 600, TIMEOUT_S_MAX = 86400,
    DEADLINE_MS_MAX = 3600000,      /* of one request */
    RETRY_MS = 1000,                /* when the broker does not say */
    TURN_MS = 200,                  /* a signal is noticed within it */
    GOODBYE_MS = 500,               /* for a broker to take in what was cancelled */
    SAID_MAX = 20,                  /* failures that are told one by one */
};

struct options {
    struct picture_options picture;
    struct seedpress_request request;
    double matrix[9];               /* the request's transform, if it has one */
    struct target target;
    int timeout_s;
};

struct flight {
    int64_t id;                     /* 0: this place is free */
    uint32_t seed;
};
struct retry {
    int64_t due_ms;
    uint32_t seed;
};

struct run {
    const struct command_context *ctx;
    const struct options *options;
    struct seedpress *sp;
    struct seeds seeds;
    struct seeds_walk walk;
    struct flight flights[WINDOW];
    size_t flying;
    struct retry retries[WINDOW];   /* a seed keeps its place in the window until it ends */
    size_t waiting;
    uint32_t *missing;              /* [missing_count], grows */
    size_t missing_count, missing_room;
    struct progress progress;
    int64_t start_ms, end_ms;
    uint64_t made, from_ledger, from_memory;
    bool is_stopped;                /* nothing new: interrupted, or the rest would fail likewise */
    struct seedpress_error first_error;         /* code 0: none */
    unsigned warned;                /* reasons to wait that were told, as bits of RETRY_CODES */
    bool warned_of_picture;
};

/* ---- the command line ---- */

enum {
    OPT_MODEL = PICTURE_OPTIONS_OWN, OPT_WANT, OPT_CACHE, OPT_REQUIRE_CLASS, OPT_PRIORITY,
    OPT_DEADLINE_MS, OPT_TIMEOUT,
};

static const struct option OPTIONS[] = {
    { "model", required_argument, NULL, OPT_MODEL },
    { "want", required_argument, NULL, OPT_WANT },
    { "cache", required_argument, NULL, OPT_CACHE },
    { "require-class", required_argument, NULL, OPT_REQUIRE_CLASS },
    { "priority", required_argument, NULL, OPT_PRIORITY },
    { "deadline-ms", required_argument, NULL, OPT_DEADLINE_MS },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { NULL, 0, NULL, 0 },
};

/* In the order of seedpress.h's enums, from 0 on. */
static const char *const WANT_WORDS[] = { "image", "receipt", NULL };
static const char *const CACHE_WORDS[] = { "use", "only", "bypass", NULL };
static const char *const PRIORITY_WORDS[] = { "high", "normal", "low", NULL };

static enum err_code take_option(void *command, int opt, struct err *e)
{
    struct options *out = command;
    struct seedpress_request *r = &out->request;

    switch (opt) {
    case OPT_MODEL:
        r->model = optarg;
        return ERR_OK;
    case OPT_WANT:
        return command_read_word("--want", optarg, WANT_WORDS, &r->want, e);
    case OPT_CACHE:
        return command_read_word("--cache", optarg, CACHE_WORDS, &r->cache, e);
    case OPT_REQUIRE_CLASS:
        r->require_class = optarg;
        return ERR_OK;
    case OPT_PRIORITY:
        return command_read_word("--priority", optarg, PRIORITY_WORDS, &r->priority, e);
    case OPT_DEADLINE_MS:
        return command_read_int("--deadline-ms", optarg, 1, DEADLINE_MS_MAX, &r->deadline_ms, e);
    default:
        return command_read_int("--timeout", optarg, 1, TIMEOUT_S_MAX, &out->timeout_s, e);
    }
}

/* The wish as the library takes it. */
static void set_wish(struct options *options)
{
    const struct recipe_request *wish = &options->picture.wish;
    struct seedpress_request *r = &options->request;

    r->psi = (double)wish->psi / 1e6;
    r->cutoff = wish->cutoff;
    r->class_index = wish->class_index;
    r->noise_mode = wish->noise;
    r->noise_seed = wish->noise_seed;
    r->quality = wish->quality;
    r->mark = wish->mark;
    r->translate[0] = (double)wish->transform.tx / 1e6;
    r->translate[1] = (double)wish->transform.ty / 1e6;
    r->rotate = (double)wish->transform.degrees / 1e6;
    for (int i = 0; i < 9; i++)
        options->matrix[i] = wish->transform.m[i];
    if (wish->transform.kind == RECIPE_TRANSFORM_MATRIX)
        r->transform = options->matrix;
}

static enum err_code find_target(struct options *options, struct err *e)
{
    enum err_code rc = target_of(options->picture.output, &options->target, e);

    if (options->request.want == SEEDPRESS_WANT_RECEIPT)
        options->target.kind = TARGET_NONE;
    if (!rc && options->target.kind == TARGET_PNG)
        rc = err_set(e, ERR_INVALID, "a broker makes JPEGs: -o is a .jpg file or a folder");
    return rc;
}

/* False: *code is the exit code. */
static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, struct seeds *seeds, int *code)
{
    struct picture_own own = { OPTIONS, take_option, out, NULL };
    struct err e;

    *out = (struct options){ .timeout_s = TIMEOUT_S };
    seedpress_request_init(&out->request);
    out->request.deadline_ms = 0;    /* not given */
    if (!picture_options_read(ctx, argc, argv, &own, &out->picture, code))
        return false;
    if (!out->request.model)
        *code = command_usage(ctx, argv[0], "which model? Say --model NAME");
    else if (find_target(out, &e))
        *code = command_usage(ctx, argv[0], "%s", e.msg);
    else
        picture_options_settle(ctx, argv[0], &out->picture, &out->target, seeds, code);
    set_wish(out);
    return *code == EXIT_OK;
}

/* ---- pictures that are there ---- */

static void print_json(const struct seedpress_image *image, const char *file)
{
    cJSON *line = cJSON_CreateObject();

    cJSON_AddNumberToObject(line, "seed", image->seed);
    if (file)
        cJSON_AddStringToObject(line, "file", file);
    else
        cJSON_AddNullToObject(line, "file");
    cJSON_AddStringToObject(line, "recipe_key", image->recipe_key);
    cJSON_AddStringToObject(line, "sha256", image->sha256);
    cJSON_AddStringToObject(line, "core_sha256", image->core_sha256);
    cJSON_AddStringToObject(line, "numerics_class", image->numerics_class);
    cJSON_AddStringToObject(line, "source",
                            image->source == SEEDPRESS_SOURCE_MEMORY   ? "memory"
                            : image->source == SEEDPRESS_SOURCE_LEDGER ? "ledger"
                                                                       : "render");
    cJSON_AddNumberToObject(line, "queue_ms", (double)image->queue_ms);
    cJSON_AddNumberToObject(line, "render_ms", (double)image->render_ms);
    cJSON_AddNumberToObject(line, "encode_ms", (double)image->encode_ms);
    cJSON_AddNumberToObject(line, "store_ms", (double)image->store_ms);
    cJSON_AddNumberToObject(line, "batch", image->batch);
    command_print(line);
}

static enum err_code take_picture(struct run *run, const struct seedpress_image *image,
                                  struct err *e)
{
    const struct target *target = &run->options->target;
    bool has_file = target->kind != TARGET_NONE;
    struct target_file file;
    enum err_code rc = ERR_OK;

    if (has_file)
        rc = target_file_of(target, image->seed, &file, e);
    if (has_file && !rc)
        rc = file_write_atomic(file.path, image->data, image->len, e);
    if (rc)
        return rc;
    run->made++;
    run->from_ledger += image->source == SEEDPRESS_SOURCE_LEDGER;
    run->from_memory += image->source == SEEDPRESS_SOURCE_MEMORY;
    if (run->ctx->json)
        print_json(image, has_file ? file.path : NULL);
    else if (!has_file)
        printf("%" PRIu32 " recipe %s file %s\n", image->seed, image->recipe_key, image->sha256);
    if (*image->warning && !run->warned_of_picture) {
        progress_end(&run->progress);
        command_warn(run->ctx, image->warning);
        run->warned_of_picture = true;           /* the same for every seed */
    }
    return ERR_OK;
}

/* ---- pictures that are not ---- */

static void add_missing(struct run *run, uint32_t seed)
{
    if (run->missing_count == run->missing_room) {
        size_t room = run->missing_room ? 2 * run->missing_room : 64;
        uint32_t *grown = realloc(run->missing, room * sizeof *grown);

        if (!grown)
            return;                  /* counted by what was made; only the list is short */
        run->missing = grown;
        run->missing_room = room;
    }
    run->missing[run->missing_count++] = seed;
}

static void say_failure(const struct run *run, uint32_t seed, const struct seedpress_error *error)
{
    if (run->ctx->json) {
        cJSON *line = cJSON_CreateObject(), *why;

        cJSON_AddNumberToObject(line, "seed", seed);
        why = cJSON_AddObjectToObject(line, "error");
        cJSON_AddStringToObject(why, "code", error->word);
        cJSON_AddStringToObject(why, "message", error->message);
        command_print(line);
    } else if (run->seeds.count > 1 && run->missing_count <= SAID_MAX) {
        fprintf(stderr, "seedpress: seed %" PRIu32 ": %s\n", seed, error->message);
        if (run->missing_count == SAID_MAX)
            fprintf(stderr, "seedpress: what fails from here on is only listed at the end\n");
    }
}

/* Other seeds may still succeed after these; any other error is of the request, and of them all. */
static bool is_of_one_seed(int code)
{
    static const int CODES[] = { SEEDPRESS_DEVICE, SEEDPRESS_NOT_FOUND, SEEDPRESS_CLASS_CONFLICT,
                                 SEEDPRESS_WRONG_CLASS, SEEDPRESS_NOT_REPRODUCIBLE,
                                 SEEDPRESS_WITHDRAWN, SEEDPRESS_DEADLINE, SEEDPRESS_POISON,
                                 SEEDPRESS_BUG, SEEDPRESS_NO_MEMORY };

    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++)
        if (CODES[i] == code)
            return true;
    return false;
}

static void fail_seed(struct run *run, uint32_t seed, const struct seedpress_error *error)
{
    add_missing(run, seed);
    if (run->is_stopped)
        return;                      /* ended by us; the reason has been said */
    if (!run->first_error.code)
        run->first_error = *error;
    if (!is_of_one_seed(error->code)) {
        run->first_error = *error;
        run->is_stopped = true;
        return;
    }
    progress_end(&run->progress);
    say_failure(run, seed, error);
}

static const int RETRY_CODES[] = { SEEDPRESS_OVERLOADED, SEEDPRESS_NO_WORKER, SEEDPRESS_RETRY,
                                   SEEDPRESS_LEDGER_DOWN };
enum { RETRY_CODE_COUNT = sizeof RETRY_CODES / sizeof RETRY_CODES[0] };

/* Why there is a pause, once for each reason. */
static void warn_of_wait(struct run *run, int k, const struct seedpress_error *error,
                         int64_t now_ms)
{
    char words[400];

    if (run->warned & 1u << k)
        return;
    run->warned |= 1u << k;
    snprintf(words, sizeof words, "%s; trying again for %" PRId64 " s", error->message,
             (run->end_ms - now_ms) / 1000);
    progress_end(&run->progress);
    command_warn(run->ctx, words);
}

/* True: the seed will be asked for again. */
static bool retry_seed(struct run *run, uint32_t seed, const struct seedpress_error *error,
                       int64_t now_ms)
{
    int64_t due_ms = now_ms + (error->retry_after_ms > 0 ? error->retry_after_ms : RETRY_MS);

    if (run->is_stopped || !error->retry || due_ms >= run->end_ms)
        return false;
    for (int k = 0; k < RETRY_CODE_COUNT; k++)
        if (error->code == RETRY_CODES[k]) {
            warn_of_wait(run, k, error, now_ms);
            run->retries[run->waiting++] = (struct retry){ due_ms, seed };
            return true;
        }
    return false;
}

/* ---- the window ---- */

static void end_flight(struct run *run, int64_t id)
{
    for (size_t i = 0; i < run->flying; i++)
        if (run->flights[i].id == id) {
            run->flights[i] = run->flights[--run->flying];
            return;
        }
}

static void submit(struct run *run, uint32_t seed, int64_t now_ms)
{
    struct seedpress_request request = run->options->request;
    int64_t left_ms = run->end_ms - now_ms;
    struct seedpress_error error;
    int64_t id;

    request.seed = seed;
    if (left_ms > DEADLINE_MS_MAX)
        left_ms = DEADLINE_MS_MAX;
    if (left_ms < 1)
        left_ms = 1;
    if (request.deadline_ms == 0 || request.deadline_ms > left_ms)
        request.deadline_ms = (int)left_ms;
    if (seedpress_submit(run->sp, &request, &id, &error))
        fail_seed(run, seed, &error);
    else
        run->flights[run->flying++] = (struct flight){ id, seed };
}

/* Fills the window: first with what is due again, then with new seeds. */
static void submit_more(struct run *run, int64_t now_ms)
{
    uint32_t seed;

    for (size_t i = 0; i < run->waiting && !run->is_stopped; )
        if (run->retries[i].due_ms <= now_ms && run->flying < WINDOW) {
            seed = run->retries[i].seed;
            run->retries[i] = run->retries[--run->waiting];
            submit(run, seed, now_ms);
        } else
            i++;
    while (!run->is_stopped && now_ms < run->end_ms && run->flying + run->waiting < WINDOW &&
           seeds_next(&run->seeds, &run->walk, &seed))
        submit(run, seed, now_ms);
}

static void on_event(struct run *run, const struct seedpress_event *event, int64_t now_ms)
{
    struct seedpress_error error;
    struct err e;

    switch (event->kind) {
    case SEEDPRESS_EVENT_IMAGE:
        if (take_picture(run, &event->image, &e) == ERR_OK)
            break;
        error = (struct seedpress_error){ .code = (int)e.code };
        snprintf(error.word, sizeof error.word, "%s", err_info(e.code)->word);
        snprintf(error.message, sizeof error.message, "%s", e.msg);
        fail_seed(run, event->seed, &error);     /* a full disk is full for every seed */
        break;
    case SEEDPRESS_EVENT_ERROR:
        if (!retry_seed(run, event->seed, &event->error, now_ms))
            fail_seed(run, event->seed, &event->error);
        break;
    default:
        end_flight(run, event->id);
        break;
    }
}

/* The broker is told; a round trip shows that it has heard it before the socket goes. */
static void cancel_all(struct run *run)
{
    for (size_t i = 0; i < run->flying; i++)
        seedpress_cancel(run->sp, run->flights[i].id, NULL);
    if (run->flying > 0)
        seedpress_ping(run->sp, GOODBYE_MS, NULL);
}

static void generate_all(struct run *run)
{
    struct seedpress_event event;
    int64_t now_ms = clock_ms();

    for (;;) {
        if (*run->ctx->interrupted)
            run->is_stopped = true;
        submit_more(run, now_ms);
        if (run->is_stopped || (run->flying == 0 && run->waiting == 0))
            break;
        if (run->flying == 0)
            contact_pause(TURN_MS);
        if (seedpress_next(run->sp, TURN_MS, &event))
            on_event(run, &event, clock_ms());
        now_ms = clock_ms();
        progress_show(&run->progress, run->made, now_ms);
    }
    if (!run->is_stopped)
        return;
    cancel_all(run);                 /* what was on its way is taken; the rest is missing */
    while (seedpress_next(run->sp, 0, &event))
        on_event(run, &event, now_ms);
}

/* Seeds that were never asked for, or wait for another try. */
static void count_rest(struct run *run)
{
    uint32_t seed;

    for (size_t i = 0; i < run->waiting; i++)
        add_missing(run, run->retries[i].seed);
    while (seeds_next(&run->seeds, &run->walk, &seed))
        add_missing(run, seed);
}

/* ---- the end ---- */

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* As --seeds takes them: "3,7-12". */
static void print_missing(struct run *run)
{
    const uint32_t *seeds = run->missing;

    qsort(run->missing, run->missing_count, sizeof *run->missing, by_number);
    fprintf(stderr, "seedpress: missing: --seeds ");
    for (size_t i = 0, last; i < run->missing_count; i = last + 1) {
        for (last = i; last + 1 < run->missing_count && seeds[last + 1] - seeds[last] <= 1; )
            last++;
        fprintf(stderr, "%s%" PRIu32, i ? "," : "", seeds[i]);
        if (seeds[last] > seeds[i])
            fprintf(stderr, "-%" PRIu32, seeds[last]);
    }
    fprintf(stderr, "\n");
}

static void print_summary(const struct run *run, int64_t elapsed_ms)
{
    double seconds = (double)(elapsed_ms > 0 ? elapsed_ms : 1) / 1000;
    double rate = (double)run->made / seconds;

    if (run->ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddNumberToObject(line, "images", (double)run->made);
        cJSON_AddNumberToObject(line, "from_ledger", (double)run->from_ledger);
        cJSON_AddNumberToObject(line, "from_memory", (double)run->from_memory);
        cJSON_AddNumberToObject(line, "missing", (double)(run->seeds.count - run->made));
        cJSON_AddNumberToObject(line, "seconds", seconds);
        cJSON_AddNumberToObject(line, "images_per_s", rate);
        command_print(line);
        return;
    }
    printf("%" PRIu64 " picture%s", run->made, run->made == 1 ? "" : "s");
    if (run->options->target.kind != TARGET_NONE)
        printf(" in %s", run->options->target.path);
    printf(": %.2f s, %.1f images/s", seconds, rate);
    if (run->from_ledger + run->from_memory > 0)
        printf(" (%" PRIu64 " were stored already)", run->from_ledger + run->from_memory);
    putchar('\n');
}

static int finish(struct run *run)
{
    const struct command_context *ctx = run->ctx;
    uint64_t left = run->seeds.count - run->made;
    struct err e;
    int code;

    progress_end(&run->progress);
    if (run->made > 0 || run->seeds.count > 1)
        print_summary(run, clock_ms() - run->start_ms);
    if (left == 0)
        return EXIT_OK;
    fflush(stdout);                  /* what is there stands before what is not */
    if (*ctx->interrupted)
        err_set(&e, ERR_CANCELLED, "interrupted after %" PRIu64 " of %" PRIu32 " pictures",
                run->made, run->seeds.count);
    else if (run->first_error.code)
        err_set(&e, (enum err_code)run->first_error.code, "%s", run->first_error.message);
    else
        err_set(&e, ERR_DEADLINE, "the time is over: %d s", run->options->timeout_s);
    code = command_fail(ctx, &e);
    if (!ctx->json && run->seeds.count > 1)
        print_missing(run);
    return run->made > 0 && !*ctx->interrupted ? EXIT_PARTLY : code;
}

int cmd_generate_run(const struct command_context *ctx, int argc, char **argv)
{
    struct options options;
    struct run run = { .ctx = ctx, .options = &options };
    struct err e;
    int code;

    if (!read_options(ctx, argc, argv, &options, &run.seeds, &code))
        goto done;
    code = contact_open(ctx, &run.sp);
    if (code)
        goto done;
    if (target_prepare(&options.target, &e)) {
        code = command_fail(ctx, &e);
        goto done;
    }
    run.start_ms = clock_ms();
    run.end_ms = run.start_ms + (int64_t)options.timeout_s * 1000;
    progress_init(&run.progress, stderr, ctx->json ? PROGRESS_SILENT : progress_style_of(stderr),
                  run.seeds.count, run.start_ms);
    generate_all(&run);
    count_rest(&run);
    code = finish(&run);
done:
    free(run.missing);
    seedpress_destroy(&run.sp);
    seeds_release(&run.seeds);
    return code;
}
