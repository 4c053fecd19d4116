/* bulk -- jobs of up to billions of pictures: what becomes of them, and their reins. Each word
 * after it is a row in WORDS[]. */
#include "client/command.h"

#include "base/clock.h"
#include "client/contact.h"
#include "client/job_report.h"
#include "client/picture_options.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char cmd_bulk_help[] =
    "seedpress bulk - jobs of up to billions of pictures, made while nobody waits\n"
    "\n"
    "usage: seedpress bulk submit -f FILE [--dry-run]\n"
    "       seedpress bulk submit --model M --seeds LIST [OPTIONS]\n"
    "       seedpress bulk list [--limit N]\n"
    "       seedpress bulk status JOB [--watch] [--interval S]\n"
    "       seedpress bulk pause|resume|cancel JOB\n"
    "       seedpress bulk export JOB -o FOLDER     (more: seedpress bulk export --help)\n"
    "\n"
    "JOB is a job's number or its name. The same submission again is the same job.\n"
    "\n"
    "options of submit:\n"
    "  -f, --file FILE      a job file, or the manifest of an export; -: standard input. Other\n"
    "                       than --name, --keep, --priority and --chunk nothing goes beside it\n"
    "  --model M            a name (cats), name and digest (cats@1a2b3c4d), or a digest\n"
    PICTURE_OPTIONS_HELP
    "  --class-rule RULE    in place of --class: seed%N, the seed's rest by N\n"
    "  --keep WHAT          image; provenance: files go to an exporter only; default image\n"
    "  --name NAME          yours for the job; default: its model and a digest of its content\n"
    "  --priority LEVEL     high, normal or low; default low\n"
    "  --chunk N            pictures that a broker takes on at once, 1..10000; default 1000\n"
    "  --dry-run            only says how many pictures, bytes and hours it would be\n"
    "  --save FILE          also writes the job as a job file\n"
    "\n"
    "options of status:\n"
    "  --watch              until the job is done: a bar on a terminal, elsewhere a line each\n"
    "                       time; with --json an object each time\n"
    "  --interval S         seconds between two, 0.1..3600; default 1\n"
    "\n"
    "resume also tries the failed pictures of a job that is done again.\n"
    "\n"
    "a job file:\n"
    "  {\"name\": \"faces\", \"keep\": \"image\", \"parts\": [\n"
    "    {\"model\": \"avatars64\", \"seeds\": \"0-999999\", \"psi\": [0.5, 0.7]},\n"
    "    {\"model\": \"cats\", \"seeds\": [1, 2, \"10-19\"], \"class_rule\": \"seed%10\"}]}\n"
    "\n"
    "examples:\n"
    "  seedpress bulk submit --model avatars64 --seeds 0-999999 --psi 0.7 --dry-run\n"
    "  seedpress bulk submit --model avatars64 --seeds 0-999999 --psi 0.7 --name faces\n"
    "  seedpress bulk submit -f job.json\n"
    "  seedpress bulk status faces --watch\n"
    "  seedpress --json bulk list\n"
    "  seedpress bulk pause 7\n"
    "  seedpress bulk export faces -o faces\n"
    "\n"
    "exit codes of status --watch: 0 done; 3 done, but some pictures failed; 1 cancelled\n";

enum { LIST_LIMIT = 20, LIST_MAX = 100, FAILURES_SHOWN = 5, MILLIONTHS_A_MS = 1000,
       INTERVAL_MS = 1000, INTERVAL_MIN_MS = 100, INTERVAL_MAX_MS = 3600000, SLICE_MS = 500 };

#define WIPE_LINE "\r\033[K"

/* ---- which job ---- */

/* The one word that is left in argv. */
static const char *take_word(const struct command_context *ctx, int argc, char **argv, int *code)
{
    *code = EXIT_OK;
    if (optind == argc)
        *code = command_usage(ctx, "bulk", "which job? Say its number or name");
    else if (optind + 1 < argc)
        *code = command_usage(ctx, "bulk", "unexpected argument \"%.40s\"", argv[optind + 1]);
    return *code ? NULL : argv[optind];
}

/* ---- list ---- */

static int print_list(const struct command_context *ctx, struct seedpress *sp, int limit)
{
    const struct seedpress_job *jobs;
    struct seedpress_error error;
    size_t count;

    if (seedpress_bulk_list(sp, 0, NULL, limit, &jobs, &count, &error))
        return contact_fail(ctx, &error);
    if (!ctx->json && count == 0)
        printf("no bulk job has been submitted yet\n");
    else if (!ctx->json)
        job_report_head(stdout);
    for (size_t i = 0; i < count; i++)
        if (ctx->json)
            command_print(job_report_object(&jobs[i], NULL));
        else
            job_report_row(stdout, &jobs[i]);
    return EXIT_OK;
}

static int list(const struct command_context *ctx, int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        { "limit", required_argument, NULL, 'l' },
        { NULL, 0, NULL, 0 },
    };
    struct seedpress *sp;
    int opt, code, limit = LIST_LIMIT;
    struct err e;

    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt != 'l')
            return command_bad_option(ctx, argv, opt);
        if (command_read_int("--limit", optarg, 1, LIST_MAX, &limit, &e))
            return command_usage(ctx, "bulk", "%s", e.msg);
    }
    if (optind < argc)
        return command_usage(ctx, "bulk", "unexpected argument \"%.40s\"", argv[optind]);
    code = contact_open(ctx, &sp);
    if (!code)
        code = print_list(ctx, sp, limit);
    seedpress_destroy(&sp);
    return code;
}

/* ---- pause, resume, cancel ---- */

static int control(const struct command_context *ctx, int argc, char **argv, int action)
{
    static const struct option NO_OPTIONS[] = { { NULL, 0, NULL, 0 } };
    struct seedpress *sp;
    struct seedpress_error error;
    struct seedpress_job job;
    const char *word;
    int opt, code;

    optind = 0;
    opterr = 0;
    if ((opt = getopt_long(argc, argv, ":", NO_OPTIONS, NULL)) != -1)
        return command_bad_option(ctx, argv, opt);
    if (!(word = take_word(ctx, argc, argv, &code)) || (code = contact_open(ctx, &sp)))
        return code;
    if (contact_find_job(sp, word, &job, &error) ||
        seedpress_bulk_control(sp, job.job, action, &job, &error))
        code = contact_fail(ctx, &error);
    else if (ctx->json)
        command_print(job_report_object(&job, NULL));
    else
        printf("job %" PRId64 " %s: %s, %" PRId64 " of %" PRId64 " pictures\n", job.job, job.name,
               job_report_state(&job), job.done, job.total);
    seedpress_destroy(&sp);
    return code;
}

static int pause_job(const struct command_context *ctx, int argc, char **argv)
{
    return control(ctx, argc, argv, SEEDPRESS_BULK_PAUSE);
}

static int resume_job(const struct command_context *ctx, int argc, char **argv)
{
    return control(ctx, argc, argv, SEEDPRESS_BULK_RESUME);
}

static int cancel_job(const struct command_context *ctx, int argc, char **argv)
{
    return control(ctx, argc, argv, SEEDPRESS_BULK_CANCEL);
}

/* ---- status ---- */

struct status_options {
    const char *word;
    bool is_watched;
    int64_t interval_ms;
};

static bool read_status(const struct command_context *ctx, int argc, char **argv,
                        struct status_options *out, int *code)
{
    static const struct option OPTIONS[] = {
        { "watch", no_argument, NULL, 'w' },
        { "interval", required_argument, NULL, 'i' },
        { NULL, 0, NULL, 0 },
    };
    int64_t millionths;
    struct err e;
    int opt;

    *out = (struct status_options){ .interval_ms = INTERVAL_MS };
    *code = EXIT_OK;
    optind = 0;
    opterr = 0;
    while (!*code && (opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt == 'w')
            out->is_watched = true;
        else if (opt != 'i')
            *code = command_bad_option(ctx, argv, opt);
        else if (command_read_millionths("--interval", optarg, &millionths, &e))
            *code = command_usage(ctx, "bulk", "%s", e.msg);
        else if ((out->interval_ms = millionths / MILLIONTHS_A_MS) < INTERVAL_MIN_MS ||
                 out->interval_ms > INTERVAL_MAX_MS)
            *code = command_usage(ctx, "bulk", "--interval %.20s is out of range: 0.1..3600 s",
                                  optarg);
    }
    if (!*code)
        out->word = take_word(ctx, argc, argv, code);
    return *code == EXIT_OK;
}

/* The first few, by item. */
static int print_failures(const struct command_context *ctx, struct seedpress *sp, int64_t job)
{
    struct seedpress_plan plan;
    struct seedpress_error error;

    if (seedpress_bulk_show(sp, job, -1, &plan, &error))
        return contact_fail(ctx, &error);
    for (size_t i = 0; i < plan.failure_count && i < FAILURES_SHOWN; i++)
        printf("%-12sseed %" PRIu32 " (item %" PRId64 "): %s: %s\n", i ? "" : "failed",
               plan.failures[i].seed, plan.failures[i].item, plan.failures[i].code,
               plan.failures[i].message);
    return EXIT_OK;
}

static int show_once(const struct command_context *ctx, struct seedpress *sp,
                     const struct seedpress_job *job)
{
    if (ctx->json) {
        command_print(job_report_object(job, NULL));
        return EXIT_OK;
    }
    job_report_page(stdout, job);
    return job->failed > 0 ? print_failures(ctx, sp, job->job) : EXIT_OK;
}

static void show_progress(const struct command_context *ctx, const struct seedpress_job *job,
                          const struct job_pace *pace)
{
    bool is_bar = isatty(STDOUT_FILENO);

    if (ctx->json) {
        command_print(job_report_object(job, pace));
        return;
    }
    if (is_bar)
        fputs(WIPE_LINE, stdout);
    job_report_progress(stdout, is_bar ? JOB_REPORT_BAR : JOB_REPORT_PLAIN, job, pace);
    if (!is_bar || job->state >= SEEDPRESS_BULK_CANCELLED)
        fputc('\n', stdout);
    fflush(stdout);
}

/* In slices: a signal that comes just before one is seen after it. */
static void pause_until(const struct command_context *ctx, int64_t until_ms)
{
    for (int64_t left_ms; !*ctx->interrupted && (left_ms = until_ms - clock_ms()) > 0;)
        contact_pause(left_ms < SLICE_MS ? left_ms : SLICE_MS);
}

static int exit_code_of(const struct seedpress_job *job)
{
    if (job->state == SEEDPRESS_BULK_CANCELLED)
        return EXIT_NO;
    return job->failed > 0 ? EXIT_PARTLY : EXIT_OK;
}

/* A broker or a ledger that is away for a while is said, and waited for. */
static int watch(const struct command_context *ctx, struct seedpress *sp, struct seedpress_job job,
                 int64_t interval_ms)
{
    struct job_pace pace = { .count = 0 };
    struct seedpress_error error;
    const struct seedpress_job *jobs;
    size_t count;

    for (bool known = true; !*ctx->interrupted && !ferror(stdout);) {
        int64_t from_ms = clock_ms();

        if (known) {
            job_pace_note(&pace, &job, from_ms);
            show_progress(ctx, &job, &pace);
        }
        if (job.state >= SEEDPRESS_BULK_CANCELLED)
            return exit_code_of(&job);
        pause_until(ctx, from_ms + interval_ms);
        known = !*ctx->interrupted && !seedpress_bulk_list(sp, job.job, NULL, 1, &jobs, &count,
                                                           &error) && count == 1;
        if (known)
            job = jobs[0];
        else if (!*ctx->interrupted)
            contact_fail(ctx, &error);
    }
    if (!ctx->json && isatty(STDOUT_FILENO))
        fputc('\n', stdout);
    return err_info(ERR_CANCELLED)->exit_code;
}

static int status(const struct command_context *ctx, int argc, char **argv)
{
    struct status_options options;
    struct seedpress_error error;
    struct seedpress_job job;
    struct seedpress *sp;
    int code;

    if (!read_status(ctx, argc, argv, &options, &code) || (code = contact_open(ctx, &sp)))
        return code;
    if (contact_find_job(sp, options.word, &job, &error))
        code = contact_fail(ctx, &error);
    else
        code = options.is_watched ? watch(ctx, sp, job, options.interval_ms)
                                  : show_once(ctx, sp, &job);
    seedpress_destroy(&sp);
    return code;
}

/* ---- the words after "bulk" ---- */

static const struct command_word WORDS[] = {
    { "submit", cmd_bulk_submit_run },
    { "list", list },
    { "status", status },
    { "pause", pause_job },
    { "resume", resume_job },
    { "cancel", cancel_job },
    { "export", cmd_bulk_export_run },
};

int cmd_bulk_run(const struct command_context *ctx, int argc, char **argv)
{
    return command_run_word(ctx, WORDS, sizeof WORDS / sizeof WORDS[0], argc, argv);
}
