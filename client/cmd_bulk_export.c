/* bulk export -- the pictures of a bulk job as a dataset: shards, or a folder as the official tools
 * make it, and a manifest from which the same dataset can be made again. */
#include "client/command.h"

#include "base/clock.h"
#include "client/audit.h"
#include "client/contact.h"
#include "client/depot.h"
#include "client/exporter.h"
#include "client/items.h"
#include "client/labels.h"
#include "client/latent.h"
#include "client/manifest.h"
#include "proto/number.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "bulk export"

const char cmd_bulk_export_help[] =
    "seedpress bulk export - the pictures of a bulk job as a dataset\n"
    "\n"
    "usage: seedpress bulk export JOB -o FOLDER [OPTIONS]\n"
    "       seedpress bulk export --verify -o FOLDER\n"
    "\n"
    "JOB is a job's number or name. The job may still be rendering: its export follows it.\n"
    "An export that was stopped or killed goes on with the same line; shards that are whole\n"
    "are not made again. manifest.json in the folder is a job file: seedpress bulk submit -f\n"
    "takes it, now or next year.\n"
    "\n"
    "  -o, --output WHERE   a folder; - writes one tar to standard output, without manifest\n"
    "  --format KIND        webdataset: shards 00000.tar of .jpg and .json; folder: files\n"
    "                       named seed0000.jpg, and dataset.json with the classes; default\n"
    "                       webdataset\n"
    "  --shard-size N       items of a shard, 1..100000; default 10000\n"
    "  --part K/N           every Nth shard from the Kth on: for N hosts side by side, into\n"
    "                       one folder or several\n"
    "  --shard N            make this one again (3, or 00003.tar): it must come out as the\n"
    "                       manifest says\n"
    "  --with-w             also w of each picture, float32 [num_ws, w_dim], as .w.npy\n"
    "  --model-file FILE    the model, for --with-w; once for each model of the job\n"
    "  --retry-failed       ask again for pictures that failed, and take shards as they come\n"
    "                       out now\n"
    "  --timeout S          seconds to bear that brokers, workers or the ledger give nothing;\n"
    "                       default 3600. Waiting for the job itself does not count\n"
    "  --verify             check a folder: every hash, every recipe, every picture decoded,\n"
    "                       nothing missing\n"
    "\n"
    "examples:\n"
    "  seedpress bulk export cats-1m -o cats\n"
    "  seedpress bulk export 12 --part 2/4 -o /mnt/shared/cats\n"
    "  seedpress bulk export cats-1m -o - | aws s3 cp - s3://bucket/cats.tar\n"
    "  seedpress bulk export cats-1m --format folder -o cats-folder\n"
    "  seedpress bulk export cats-1m --shard 00003.tar -o cats\n"
    "  seedpress bulk export --verify -o cats\n"
    "\n"
    "exit code 3: all is there but pictures that failed; they are listed in the manifest.\n"
    "exit code 1: --verify found something wrong\n";

enum {
    SHARD_SIZE = 10000, TIMEOUT_S = 3600, TIMEOUT_S_MAX = 30 * 86400, MODELS_MAX = 64,
    WRONG_SAID = 100, GOODBYE_MS = 500,
};

struct options {
    const char *job, *output;       /* NULL: not given */
    const char *model_files[MODELS_MAX];
    size_t model_file_count;
    int kind;                       /* enum manifest_kind */
    int64_t shard_size, shard;      /* shard_size 0, shard -1: not given */
    int part, of;
    bool with_w, retry_failed, verify;
    int timeout_s;
};

/* ---- the command line ---- */

enum { OPT_FORMAT = 512, OPT_SHARD_SIZE, OPT_PART, OPT_SHARD, OPT_WITH_W, OPT_MODEL_FILE,
       OPT_RETRY_FAILED, OPT_TIMEOUT, OPT_VERIFY };

static const struct option OPTIONS[] = {
    { "output", required_argument, NULL, 'o' },
    { "format", required_argument, NULL, OPT_FORMAT },
    { "shard-size", required_argument, NULL, OPT_SHARD_SIZE },
    { "part", required_argument, NULL, OPT_PART },
    { "shard", required_argument, NULL, OPT_SHARD },
    { "with-w", no_argument, NULL, OPT_WITH_W },
    { "model-file", required_argument, NULL, OPT_MODEL_FILE },
    { "retry-failed", no_argument, NULL, OPT_RETRY_FAILED },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { "verify", no_argument, NULL, OPT_VERIFY },
    { NULL, 0, NULL, 0 },
};

static const char *const KINDS[] = { "webdataset", "folder", NULL };

/* "2/4" */
static enum err_code read_part(const char *text, struct options *out, struct err *e)
{
    const char *slash = strchr(text, '/');
    int64_t part, of;

    if (!slash || !number_parse(text, (size_t)(slash - text), &part) ||
        !number_parse(slash + 1, strlen(slash + 1), &of))
        return err_set(e, ERR_INVALID, "--part needs K/N, such as 2/4, not \"%.40s\"", text);
    if (of < 1 || of > MANIFEST_PARTS_MAX || part < 1 || part > of)
        return err_set(e, ERR_RANGE, "--part %.40s is out of range: K/N with K 1..N and N 1..%d",
                       text, MANIFEST_PARTS_MAX);
    out->part = (int)part;
    out->of = (int)of;
    return ERR_OK;
}

/* "3", "00003" or "00003.tar" */
static enum err_code read_shard(const char *text, struct options *out, struct err *e)
{
    size_t len = strlen(text), zeros;
    int64_t number;

    if (len > 4 && strcmp(text + len - 4, ".tar") == 0)
        len -= 4;
    zeros = strspn(text, "0");
    if (zeros >= len)
        zeros = len ? len - 1 : 0;
    if (!number_parse(text + zeros, len - zeros, &number) || number < 0)
        return err_set(e, ERR_INVALID, "--shard needs a shard's number or name, such as 00003.tar, "
                                       "not \"%.40s\"", text);
    out->shard = number;
    return ERR_OK;
}

static enum err_code take_option(struct options *out, int opt, struct err *e)
{
    switch (opt) {
    case 'o':
        out->output = optarg;
        return ERR_OK;
    case OPT_FORMAT:
        return command_read_word("--format", optarg, KINDS, &out->kind, e);
    case OPT_SHARD_SIZE:
        return command_read_whole("--shard-size", optarg, 1, MANIFEST_SHARD_SIZE_MAX,
                                  &out->shard_size, e);
    case OPT_PART:
        return read_part(optarg, out, e);
    case OPT_SHARD:
        return read_shard(optarg, out, e);
    case OPT_WITH_W:
        out->with_w = true;
        return ERR_OK;
    case OPT_MODEL_FILE:
        if (out->model_file_count == MODELS_MAX)
            return err_set(e, ERR_RANGE, "--model-file can be given %d times", MODELS_MAX);
        out->model_files[out->model_file_count++] = optarg;
        return ERR_OK;
    case OPT_RETRY_FAILED:
        out->retry_failed = true;
        return ERR_OK;
    case OPT_TIMEOUT:
        return command_read_int("--timeout", optarg, 1, TIMEOUT_S_MAX, &out->timeout_s, e);
    default:
        out->verify = true;
        return ERR_OK;
    }
}

/* What cannot be meant together; NULL: nothing. */
static const char *contradiction(const struct options *o)
{
    bool to_stdout = o->output && strcmp(o->output, "-") == 0;

    if (!o->output)
        return "where to? Say -o FOLDER";
    if (o->verify)
        return to_stdout ? "--verify checks a folder, not standard output" : NULL;
    if (!o->job)
        return "which job? Give its number or name; seedpress bulk list shows them";
    if (to_stdout && o->kind == MANIFEST_FOLDER)
        return "standard output takes a tar: --format folder needs a folder";
    if (to_stdout && isatty(STDOUT_FILENO))
        return "a tar is nothing for a terminal: pipe it somewhere, or give a folder";
    if (o->with_w && o->kind == MANIFEST_FOLDER)
        return "--with-w goes with --format webdataset only";
    if (o->with_w != (o->model_file_count > 0))
        return "--with-w and --model-file go together";
    if (o->shard >= 0 && o->of > 1)
        return "give either --shard or --part";
    return NULL;
}

/* False: *code is the exit code. */
static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, int *code)
{
    const char *words;
    struct err e;
    int opt;

    *out = (struct options){ .shard = -1, .part = 1, .of = 1, .timeout_s = TIMEOUT_S };
    opterr = 0;
    optind = 0;                      /* glibc: from the start, whoever may have read before */
    while ((opt = getopt_long(argc, argv, ":o:", OPTIONS, NULL)) != -1) {
        if (opt == '?' || opt == ':') {
            *code = command_bad_option(ctx, argv, opt);
            return false;
        }
        if (take_option(out, opt, &e)) {
            *code = command_usage(ctx, NAME, "%s", e.msg);
            return false;
        }
    }
    if (optind < argc)
        out->job = argv[optind++];
    if (optind < argc)
        *code = command_usage(ctx, NAME, "one job at a time: \"%.60s\" is too much", argv[optind]);
    else if ((words = contradiction(out)))
        *code = command_usage(ctx, NAME, "%s", words);
    else
        return true;
    return false;
}

/* ---- the job ---- */

struct run {
    const struct command_context *ctx;
    const struct options *options;
    struct seedpress *sp;
    struct seedpress_job job;
    struct manifest manifest;
    struct latent *latents[MODELS_MAX];
    size_t latent_count;
    struct depot depot;
    bool has_depot;
};

/* What an export in that folder was begun with, where the command line leaves it open. */
static int64_t shard_size_of(const struct run *run)
{
    const struct options *o = run->options;
    int64_t size = o->shard_size ? o->shard_size : SHARD_SIZE;
    struct manifest there;
    char path[PATH_MAX];
    struct err e;
    bool found;

    if (o->shard_size ||
        snprintf(path, sizeof path, "%s/%s", o->output, manifest_name(o->part, o->of).text) >=
            (int)sizeof path ||
        manifest_load(path, &there, &found, &e))
        return size;                 /* depot_open says what is wrong */
    if (found)
        size = there.subject.shard_size;
    manifest_release(&there);
    return size;
}

static enum err_code read_plan(struct run *run, struct err *e)
{
    const struct options *o = run->options;
    struct manifest_subject subject = { .kind = (enum manifest_kind)o->kind, .part = o->part,
                                        .of = o->of, .with_w = o->with_w };
    struct seedpress_error error;
    struct seedpress_plan plan;
    struct items items;
    int64_t number;
    enum err_code rc;

    if (contact_find_job(run->sp, o->job, &run->job, &error) ||
        seedpress_bulk_show(run->sp, run->job.job, -1, &plan, &error))
        return err_set(e, (enum err_code)error.code, "%s", error.message);
    run->job = plan.job;
    number = plan.job.job;
    rc = items_init(&items, plan.ranges, plan.range_count, e);
    if (rc)
        return err_set(e, ERR_BUG, "the broker's plan of job %" PRId64 " cannot be: %.120s", number,
                       e->msg);
    subject.job = number;
    subject.keep = plan.job.keep;
    subject.priority = plan.job.priority;
    subject.chunk = plan.job.chunk;
    snprintf(subject.name, sizeof subject.name, "%s", plan.job.name);
    subject.shard_size = shard_size_of(run);
    manifest_init(&run->manifest, &subject, &items);
    number = manifest_shards_of(&run->manifest);
    if (number > MANIFEST_SHARDS_MAX)
        return err_set(e, ERR_RANGE, "%" PRId64 " shards are too many: at most %d; choose a larger "
                                     "--shard-size", number, MANIFEST_SHARDS_MAX);
    if (o->shard >= number)
        return err_set(e, ERR_RANGE, "--shard %" PRId64 " is out of range: the job has %" PRId64
                                     " shards, from 0 on", o->shard, number);
    return ERR_OK;
}

/* A file for each model, and a model for each file. */
static enum err_code open_models(struct run *run, struct err *e)
{
    const struct options *o = run->options;
    const struct items *items = &run->manifest.items;
    enum err_code rc = ERR_OK;

    for (size_t i = 0; !rc && i < o->model_file_count; i++) {
        rc = latent_create(o->model_files[i], &run->latents[i], e);
        run->latent_count += !rc;
    }
    for (size_t k = 0; !rc && o->with_w && k < items->count; k++) {
        const struct digest *model = &items->ranges[k].recipe.model;
        bool found = false;

        for (size_t i = 0; i < run->latent_count; i++)
            found |= digest_equal(&latent_facts(run->latents[i])->digest, model);
        if (!found)
            rc = err_set(e, ERR_INVALID, "no --model-file is the job's model %.12s",
                         digest_hex(model).text);
    }
    return rc;
}

static enum err_code open_run(struct run *run, struct err *e)
{
    enum err_code rc = read_plan(run, e);

    if (!rc)
        rc = open_models(run, e);
    if (!rc && strcmp(run->options->output, "-") != 0) {
        rc = depot_open(&run->depot, run->options->output, &run->manifest, e);
        run->has_depot = !rc;
    }
    return rc;
}

static void close_run(struct run *run)
{
    if (run->has_depot)
        depot_close(&run->depot);
    for (size_t i = 0; i < run->latent_count; i++)
        latent_destroy(&run->latents[i]);
    manifest_release(&run->manifest);
    seedpress_destroy(&run->sp);
}

/* ---- the end ---- */

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_summary(const struct run *run, const struct exporter_result *result,
                          int64_t elapsed_ms)
{
    double seconds = (double)(elapsed_ms > 0 ? elapsed_ms : 1) / 1000;
    FILE *to = run->has_depot ? stdout : stderr;

    if (run->ctx->json) {
        cJSON *line = cJSON_CreateObject();
        char *text;

        cJSON_AddNumberToObject(line, "job", (double)run->job.job);
        cJSON_AddNumberToObject(line, "pictures", (double)result->pictures);
        cJSON_AddNumberToObject(line, "failed", (double)result->failed);
        cJSON_AddNumberToObject(line, "shards", (double)result->shards);
        cJSON_AddNumberToObject(line, "skipped", (double)result->skipped);
        cJSON_AddNumberToObject(line, "bytes", (double)result->bytes);
        cJSON_AddNumberToObject(line, "seconds", seconds);
        cJSON_AddNumberToObject(line, "images_per_s", (double)result->pictures / seconds);
        text = cJSON_PrintUnformatted(line);
        fprintf(to, "%s\n", text ? text : "{}");
        cJSON_free(text);
        cJSON_Delete(line);
        return;
    }
    fprintf(to, "%" PRId64 " picture%s in %" PRId64 " shard%s", result->pictures,
            plural(result->pictures), result->shards, plural(result->shards));
    if (run->has_depot)
        fprintf(to, " in %s", run->depot.folder);
    fprintf(to, ": %.1f MB, %.2f s, %.1f images/s", (double)result->bytes / 1e6, seconds,
            (double)result->pictures / seconds);
    if (result->skipped > 0)
        fprintf(to, " (%" PRId64 " shard%s there already)", result->skipped,
                result->skipped == 1 ? " was" : "s were");
    fputc('\n', to);
}

static int finish(const struct run *run, const struct exporter_result *result, int64_t elapsed_ms,
                  const struct err *e)
{
    char words[200];

    print_summary(run, result, elapsed_ms);
    if (e->code) {
        fflush(stdout);
        return command_fail(run->ctx, e);
    }
    if (result->failed == 0)
        return EXIT_OK;
    snprintf(words, sizeof words, "%" PRId64 " pictures have failed and are left out%s",
             result->failed,
             run->has_depot ? "; the manifest lists them, --retry-failed asks for them again" : "");
    command_warn(run->ctx, words);
    return EXIT_PARTLY;
}

static int export(struct run *run)
{
    const struct options *o = run->options;
    struct exporter_options options = {
        .ctx = run->ctx, .sp = run->sp, .job = run->job, .manifest = &run->manifest,
        .depot = run->has_depot ? &run->depot : NULL, .stream_fd = STDOUT_FILENO,
        .latents = run->latents, .latent_count = run->latent_count, .only = o->shard,
        .retry_failed = o->retry_failed, .timeout_ms = (int64_t)o->timeout_s * 1000,
    };
    struct exporter_result result;
    struct err e = { .code = ERR_OK };
    int64_t start_ms = clock_ms();

    signal(SIGPIPE, SIG_IGN);        /* a reader that goes away is an error with words */
    if (!exporter_run(&options, &result, &e) && o->kind == MANIFEST_FOLDER)
        labels_write(&run->manifest, run->depot.folder, &e);
    if (e.code)
        seedpress_ping(run->sp, GOODBYE_MS, NULL);      /* it has heard what was cancelled */
    return finish(run, &result, clock_ms() - start_ms, &e);
}

/* ---- --verify ---- */

struct wrong {
    const struct command_context *ctx;
    int64_t said;
};

static void say_wrong(void *arg, const char *words)
{
    struct wrong *wrong = arg;

    wrong->said++;
    if (wrong->ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddStringToObject(line, "wrong", words);
        command_print(line);
    } else if (wrong->said <= WRONG_SAID)
        printf("%s\n", words);
}

static int verify(const struct command_context *ctx, const char *folder)
{
    struct wrong wrong = { .ctx = ctx };
    struct audit_options options = {
        .folder = folder, .interrupted = ctx->interrupted, .progress_to = stderr,
        .style = ctx->json ? PROGRESS_SILENT : progress_style_of(stderr), .tell = say_wrong,
        .arg = &wrong,
    };
    struct audit_report report;
    struct err e;

    if (audit_run(&options, &report, &e)) {
        fflush(stdout);
        return command_fail(ctx, &e);
    }
    if (ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddNumberToObject(line, "shards", (double)report.shards);
        cJSON_AddNumberToObject(line, "pictures", (double)report.pictures);
        cJSON_AddNumberToObject(line, "failed", (double)report.failed);
        cJSON_AddNumberToObject(line, "wrong", (double)report.wrong);
        command_print(line);
    } else {
        if (report.wrong > WRONG_SAID)
            printf("... and %" PRId64 " more\n", report.wrong - WRONG_SAID);
        printf("%" PRId64 " shard%s, %" PRId64 " picture%s: %s", report.shards,
               plural(report.shards), report.pictures, plural(report.pictures),
               report.wrong ? "something is wrong" : "all as the manifest says");
        if (report.failed > 0)
            printf("; %" PRId64 " failed when they were made", report.failed);
        putchar('\n');
    }
    return report.wrong ? EXIT_NO : EXIT_OK;
}

int cmd_bulk_export_run(const struct command_context *ctx, int argc, char **argv)
{
    struct options options;
    struct run run = { .ctx = ctx, .options = &options };
    struct err e;
    char name[] = NAME;
    int code;

    argv[0] = name;                  /* whose help errors point to */
    if (!read_options(ctx, argc, argv, &options, &code))
        return code;
    if (options.verify)
        return verify(ctx, options.output);
    code = contact_open(ctx, &run.sp);
    if (!code && open_run(&run, &e))
        code = command_fail(ctx, &e);
    if (!code)
        code = export(&run);
    close_run(&run);
    return code;
}
