/* bulk submit -- a bulk job out of a job file or of options, submitted or only tried. */
#include "client/command.h"

#include "base/file.h"
#include "client/contact.h"
#include "client/job_file.h"
#include "client/job_report.h"
#include "client/picture_options.h"
#include "client/progress.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MAX = 10000 };

struct options {
    struct picture_options picture;
    const char *file, *save;        /* NULL: not given */
    const char *name, *model, *rule;
    int keep, priority, chunk;      /* -1: not given */
    bool dry;
};

/* ---- the command line ---- */

enum { OPT_MODEL = PICTURE_OPTIONS_OWN, OPT_RULE, OPT_KEEP, OPT_NAME, OPT_PRIORITY, OPT_CHUNK,
       OPT_DRY, OPT_SAVE };

static const struct option OPTIONS[] = {
    { "file", required_argument, NULL, 'f' },
    { "model", required_argument, NULL, OPT_MODEL },
    { "class-rule", required_argument, NULL, OPT_RULE },
    { "keep", required_argument, NULL, OPT_KEEP },
    { "name", required_argument, NULL, OPT_NAME },
    { "priority", required_argument, NULL, OPT_PRIORITY },
    { "chunk", required_argument, NULL, OPT_CHUNK },
    { "dry-run", no_argument, NULL, OPT_DRY },
    { "save", required_argument, NULL, OPT_SAVE },
    { NULL, 0, NULL, 0 },
};

static const char *const KEEP_WORDS[] = { "image", "provenance", NULL };
static const char *const PRIORITY_WORDS[] = { "high", "normal", "low", NULL };

static enum err_code take_option(void *command, int opt, struct err *e)
{
    struct options *out = command;

    switch (opt) {
    case 'f':
        out->file = optarg;
        return ERR_OK;
    case OPT_MODEL:
        out->model = optarg;
        return ERR_OK;
    case OPT_RULE:
        out->rule = optarg;
        return ERR_OK;
    case OPT_KEEP:
        return command_read_word("--keep", optarg, KEEP_WORDS, &out->keep, e);
    case OPT_NAME:
        out->name = optarg;
        return ERR_OK;
    case OPT_PRIORITY:
        return command_read_word("--priority", optarg, PRIORITY_WORDS, &out->priority, e);
    case OPT_CHUNK:
        return command_read_int("--chunk", optarg, 1, CHUNK_MAX, &out->chunk, e);
    case OPT_DRY:
        out->dry = true;
        return ERR_OK;
    default:
        out->save = optarg;
        return ERR_OK;
    }
}

/* Nothing of a picture was said on the command line. */
static bool says_no_picture(const struct options *o)
{
    const struct recipe_request *wish = &o->picture.wish;
    struct recipe_request plain = RECIPE_REQUEST_DEFAULT;

    return !o->model && !o->rule && !o->picture.seed && !o->picture.seeds &&
           wish->psi == plain.psi && wish->cutoff == plain.cutoff &&
           wish->class_index == plain.class_index && wish->noise == plain.noise &&
           wish->noise_seed == plain.noise_seed && wish->quality == plain.quality &&
           wish->mark == plain.mark && wish->rev == plain.rev &&
           wish->transform.kind == plain.transform.kind;
}

static enum err_code read_part(const struct options *o, struct job_file *job, struct err *e)
{
    const char *seeds = o->picture.seed ? o->picture.seed : o->picture.seeds;
    struct job_part part = { .wish = o->picture.wish };

    if (strlen(o->model) > JOB_FILE_MODEL_MAX)
        return err_set(e, ERR_RANGE, "--model is too long: at most %d bytes", JOB_FILE_MODEL_MAX);
    snprintf(part.model, sizeof part.model, "%s", o->model);
    if (o->picture.seed && strpbrk(o->picture.seed, "-,"))
        return err_set(e, ERR_INVALID, "--seed is one seed; for several there is --seeds");
    if (o->rule && part.wish.class_index >= 0)
        return err_set(e, ERR_INVALID, "give either --class or --class-rule");
    if (o->rule && job_file_read_rule(o->rule, &part.class_mod, e))
        return e->code;
    return job_file_add(job, &part, seeds, e);
}

/* False: *code is the exit code. job is the caller's to release in any case. */
static bool read_job(const struct command_context *ctx, const struct options *o,
                     struct job_file *job, int *code)
{
    struct err e = { .code = ERR_OK };

    job_file_init(job);
    *code = EXIT_OK;
    if (o->picture.output)
        *code = command_usage(ctx, "bulk", "bulk submit writes no files: -o is bulk export's");
    else if (o->file && !says_no_picture(o))
        *code = command_usage(ctx, "bulk", "-f says what is made: no model, seeds or options of a "
                                           "picture beside it");
    else if (o->file && job_file_load(o->file, job, &e))
        *code = command_fail(ctx, &e);
    else if (!o->file && (!o->model || !o->picture.seed == !o->picture.seeds))
        *code = command_usage(ctx, "bulk", "which pictures? Say -f FILE, or --model NAME and "
                                           "--seeds LIST");
    else if (!o->file && read_part(o, job, &e))
        *code = command_usage(ctx, "bulk", "%s", e.msg);
    return *code == EXIT_OK;
}

/* What the command line says goes before what the file says. */
static bool settle(const struct command_context *ctx, const struct options *o,
                   struct job_file *job, int *code)
{
    struct err e;

    if (o->name && !recipe_name_is_valid(o->name, strlen(o->name))) {
        *code = command_usage(ctx, "bulk", "--name is 1 to %d letters, digits, '.', '_' and '-', "
                                           "not '.' or '-' first", RECIPE_NAME_MAX);
        return false;
    }
    if (o->name)
        snprintf(job->name, sizeof job->name, "%s", o->name);
    job->keep = o->keep >= 0 ? o->keep : job->keep;
    job->priority = o->priority >= 0 ? o->priority : job->priority;
    job->chunk = o->chunk >= 0 ? o->chunk : job->chunk;
    if (job_file_name(job, &e))
        *code = command_fail(ctx, &e);
    return *code == EXIT_OK;
}

static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, struct job_file *job, int *code)
{
    struct picture_own own = { OPTIONS, take_option, out, "f:" };

    *out = (struct options){ .keep = -1, .priority = -1, .chunk = -1 };
    job_file_init(job);
    return picture_options_read(ctx, argc, argv, &own, &out->picture, code) &&
           read_job(ctx, out, job, code) && settle(ctx, out, job, code);
}

/* ---- the answer ---- */

/* Both are unknown until something of the kind was made. */
static void print_tried(const struct job_file *file, const struct seedpress_job *job)
{
    printf("%-12s%s: %" PRId64 " pictures in %zu %s\n", "job", job->name, job->total,
           file->part_count, file->part_count == 1 ? "part" : "parts");
    printf("%-12s", "bytes");
    if (job->picture_bytes > 0)
        printf("about %s, as recent files of its first model are\n",
               job_report_bytes_of((double)job->total * (double)job->picture_bytes).text);
    else
        printf("unknown: no picture of its first model is stored yet\n");
    printf("%-12s", "time");
    if (job->picture_us > 0) {
        printf("about ");
        progress_print_duration(stdout, (int64_t)((double)job->total * (double)job->picture_us /
                                                  1e6 + 0.5));
        printf(", by what the workers that are there take\n");
    } else
        printf("unknown: no worker has measured pictures of its models yet\n");
}

static void print_tried_object(const struct seedpress_job *job)
{
    cJSON *o = cJSON_CreateObject();
    double total = (double)job->total;

    cJSON_AddBoolToObject(o, "dry_run", true);
    cJSON_AddStringToObject(o, "name", job->name);
    cJSON_AddNumberToObject(o, "pictures", total);
    if (job->picture_bytes > 0)
        cJSON_AddNumberToObject(o, "bytes", total * (double)job->picture_bytes);
    else
        cJSON_AddNullToObject(o, "bytes");
    if (job->picture_us > 0)
        cJSON_AddNumberToObject(o, "hours", total * (double)job->picture_us / 3.6e9);
    else
        cJSON_AddNullToObject(o, "hours");
    command_print(o);
}

static void print_submitted(const struct seedpress_job *job, bool is_new)
{
    if (is_new)
        printf("job %" PRId64 " %s: %" PRId64 " pictures, %s\n", job->job, job->name, job->total,
               job_report_state(job));
    else
        printf("job %" PRId64 " %s is there already: %s, %" PRId64 " of %" PRId64 " pictures\n",
               job->job, job->name, job_report_state(job), job->done, job->total);
}

static void print_answer(const struct command_context *ctx, const struct options *o,
                         const struct job_file *file, const struct seedpress_job *job, bool is_new)
{
    if (o->dry && ctx->json)
        print_tried_object(job);
    else if (o->dry)
        print_tried(file, job);
    else if (ctx->json) {
        cJSON *line = job_report_object(job, NULL);

        cJSON_AddBoolToObject(line, "is_new", is_new);
        command_print(line);
    } else
        print_submitted(job, is_new);
}

static int ask(const struct command_context *ctx, struct seedpress *sp, const struct options *o,
               const struct job_file *file)
{
    struct seedpress_part *parts = calloc(file->part_count, sizeof *parts);
    struct job_file_matrix *matrices = calloc(file->part_count, sizeof *matrices);
    struct seedpress_submission submission;
    struct seedpress_error error;
    struct seedpress_job job;
    struct err e;
    bool is_new;
    int code = EXIT_OK;

    if (!parts || !matrices) {
        err_set(&e, ERR_NOMEM, "no memory for %zu parts", file->part_count);
        code = command_fail(ctx, &e);
        goto done;
    }
    submission = job_file_submission(file, parts, matrices);
    submission.dry = o->dry;
    if (seedpress_bulk_submit(sp, &submission, &job, &is_new, &error))
        code = contact_fail(ctx, &error);
    else
        print_answer(ctx, o, file, &job, is_new);
done:
    free(matrices);
    free(parts);
    return code;
}

static int save(const struct command_context *ctx, const char *path, const struct job_file *job)
{
    struct err e;
    char *text;
    int code = EXIT_OK;

    if (job_file_text(job, &text, &e))
        return command_fail(ctx, &e);
    if (file_write_atomic(path, text, strlen(text), &e))
        code = command_fail(ctx, &e);
    free(text);
    return code;
}

int cmd_bulk_submit_run(const struct command_context *ctx, int argc, char **argv)
{
    struct seedpress *sp = NULL;
    struct options options;
    struct job_file job;
    int code;

    if (read_options(ctx, argc, argv, &options, &job, &code)) {
        code = options.save ? save(ctx, options.save, &job) : EXIT_OK;
        if (!code)
            code = contact_open(ctx, &sp);
        if (!code)
            code = ask(ctx, sp, &options, &job);
    }
    job_file_release(&job);
    seedpress_destroy(&sp);
    return code;
}
