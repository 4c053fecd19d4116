/* provenance -- where a picture came from: by file, seed, recipe, hash, job or time. What the
 * ledger says is graded by how it was found; what a file says of itself is a claim until it was
 * checked. */
#include "client/command.h"

#include "base/clock.h"
#include "base/file.h"
#include "client/contact.h"
#include "client/origin.h"
#include "client/origin_report.h"
#include "client/progress.h"
#include "client/when.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char cmd_provenance_help[] =
    "seedpress provenance - where a picture came from\n"
    "\n"
    "usage: seedpress provenance FILE [--trust CERTIFICATES] [--no-render]\n"
    "       seedpress provenance --seed N [--model M] [--psi P]\n"
    "       seedpress provenance --recipe KEY | --sha256 HEX\n"
    "       seedpress provenance --job N [--first I]\n"
    "       seedpress provenance --model M --since WHEN\n"
    "\n"
    "  FILE             a JPEG, PNG or WebP, 64 MiB at most, of any origin. Its bytes are\n"
    "                   looked up, then the picture without its metadata. If neither is\n"
    "                   known, the recipe that it names and pictures that look like it are\n"
    "                   fetched or rendered again and compared with it\n"
    "  --trust CERTS    a PEM file of certificates: whom to believe what Content Credentials\n"
    "                   (C2PA) in the file say; without it nobody\n"
    "  --no-render      compare with stored files only; nothing is rendered\n"
    "  --seed N         everything that was stored of a seed, newest first\n"
    "  --model M        with --seed: of this model only\n"
    "  --psi P          with --seed: at this psi only\n"
    "  --recipe KEY     64 hex digits\n"
    "  --sha256 HEX     of a file\n"
    "  --job N          pictures of a bulk job, in its order\n"
    "  --first I        with --job: from its item I on\n"
    "  --since WHEN     with --model: stored since 2026-01-31, 2026-01-31T12:00:00Z (UTC),\n"
    "                   or in the last 90min, 36h or 2d\n"
    "  --limit N        rows at most, 1..100; default 10\n"
    "\n"
    "grades of a FILE, the best first:\n"
    "  signed                    Content Credentials in the file hold, their signer is trusted,\n"
    "                            and they name the recipe\n"
    "  exact                     the ledger knows exactly this file\n"
    "  exact (metadata differs)  it knows this picture; only what stands around it differs\n"
    "  confirmed                 a picture was made again and compared: this one was made\n"
    "                            from it (scaled, cropped, framed or compressed)\n"
    "  possible                  something looks alike, but comparing did not confirm it\n"
    "  claimed                   the file names a recipe that could not be checked\n"
    "  no record                 nothing is known (which does not mean that a camera made it)\n"
    "\n"
    "exit codes: 0 for signed, exact and confirmed; 1 for possible, claimed and no record;\n"
    "7 for a file that is unknown and no picture\n"
    "\n"
    "examples:\n"
    "  seedpress provenance seed0000.jpg\n"
    "  seedpress provenance screenshot.png\n"
    "  seedpress provenance seed0000.jpg --trust our-certificate.pem\n"
    "  seedpress provenance --seed 42 --model avatars64 --psi 0.7\n"
    "  seedpress provenance --job 7 --first 1000 --limit 100\n"
    "  seedpress provenance --model avatars64 --since 2d\n";

enum { LIMIT_DEFAULT = 10 };

struct options {
    const char *file, *trust_file;
    struct seedpress_query query;
    bool has_job, has_first, no_render;
};

/* ---- the command line ---- */

enum { OPT_SEED = 256, OPT_MODEL, OPT_PSI, OPT_RECIPE, OPT_SHA256, OPT_LIMIT, OPT_JOB, OPT_FIRST,
       OPT_SINCE, OPT_NO_RENDER, OPT_TRUST };

static const struct option OPTIONS[] = {
    { "seed", required_argument, NULL, OPT_SEED },
    { "model", required_argument, NULL, OPT_MODEL },
    { "psi", required_argument, NULL, OPT_PSI },
    { "recipe", required_argument, NULL, OPT_RECIPE },
    { "sha256", required_argument, NULL, OPT_SHA256 },
    { "limit", required_argument, NULL, OPT_LIMIT },
    { "job", required_argument, NULL, OPT_JOB },
    { "first", required_argument, NULL, OPT_FIRST },
    { "since", required_argument, NULL, OPT_SINCE },
    { "no-render", no_argument, NULL, OPT_NO_RENDER },
    { "trust", required_argument, NULL, OPT_TRUST },
    { NULL, 0, NULL, 0 },
};

static enum err_code take_option(void *arg, int opt, struct err *e)
{
    struct options *out = arg;
    struct seedpress_query *q = &out->query;
    enum err_code rc = ERR_OK;
    int64_t v = 0;

    switch (opt) {
    case OPT_SEED:
        rc = command_read_whole("--seed", optarg, 0, UINT32_MAX, &v, e);
        q->has_seed = true;
        q->seed = (uint32_t)v;
        break;
    case OPT_MODEL:
        q->model = optarg;
        break;
    case OPT_PSI:
        rc = command_read_millionths("--psi", optarg, &v, e);
        q->has_psi = true;
        q->psi = (double)v / 1e6;
        break;
    case OPT_RECIPE:
        q->recipe_key = optarg;
        break;
    case OPT_SHA256:
        q->sha256 = optarg;
        break;
    case OPT_JOB:
        rc = command_read_whole("--job", optarg, 1, INT64_MAX, &q->job, e);
        out->has_job = true;
        break;
    case OPT_FIRST:
        rc = command_read_whole("--first", optarg, 0, INT64_MAX, &q->first, e);
        out->has_first = true;
        break;
    case OPT_SINCE:
        rc = when_parse("--since", optarg, (int64_t)time(NULL), &q->since, e);
        q->has_since = true;
        break;
    case OPT_TRUST:
        out->trust_file = optarg;
        break;
    case OPT_NO_RENDER:
        out->no_render = true;
        break;
    default:
        rc = command_read_whole("--limit", optarg, 1, SEEDPRESS_ROWS_MAX, &v, e);
        q->limit = (int)v;
        break;
    }
    return rc;
}

/* What options cannot be meant together; NULL: none. */
static const char *contradiction(const struct options *options)
{
    const struct seedpress_query *q = &options->query;

    if (!!options->file + q->has_seed + !!q->recipe_key + !!q->sha256 + options->has_job +
        q->has_since != 1)
        return "of what? Say one of a FILE, --seed, --recipe, --sha256, --job, --since";
    if (q->has_since && !q->model)
        return "--since goes with --model";
    if (!q->has_seed && (q->has_psi || (q->model && !q->has_since)))
        return "--model goes with --seed or --since, --psi with --seed";
    if (options->has_first && !options->has_job)
        return "--first goes with --job";
    if ((options->no_render || options->trust_file) && !options->file)
        return "--no-render and --trust go with a FILE";
    return NULL;
}

static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, int *code)
{
    const char *words;

    *out = (struct options){ .query = { .limit = LIMIT_DEFAULT } };
    if (!command_read_options(ctx, argc, argv, OPTIONS, take_option, out, code))
        return false;
    if (optind < argc)
        out->file = argv[optind++];
    words = contradiction(out);
    if (optind < argc)
        *code = command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    else if (words)
        *code = command_usage(ctx, argv[0], "%s", words);
    return *code == EXIT_OK;
}

/* ---- the answer ---- */

static void print_recipe(const char *text)
{
    for (const char *line = text; *line; ) {
        size_t len = strcspn(line, "\n");

        printf("%-12s%.*s\n", line == text ? "recipe" : "", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static void print_row(const struct seedpress_row *row)
{
    printf("%-12s%s\n", "model", contact_model_of(row->model_name, row->model).text);
    printf("%-12s%" PRIu32 "\n", "seed", row->seed);
    printf("%-12s%s\n", "psi", contact_psi_of(row->psi).text);
    printf("%-12s%s\n", "recipe key", row->recipe_key);
    printf("%-12s%s\n", "file", row->sha256);
    printf("%-12s%s\n", "picture", row->core_sha256);
    printf("%-12s%" PRId64 " bytes, %s\n", "size", row->bytes, row->kept ? "kept" : "not kept");
    printf("%-12s%s, in a batch of %d\n", "created", row->created, row->batch);
    printf("%-12s%" PRId64 " by worker %s, seedpress %s\n", "run", row->run, row->worker,
           row->version);
    if (row->job > 0)
        printf("%-12s%" PRId64 "\n", "job", row->job);
    printf("%-12s%s, %s%s%s\n", "device", row->backend, row->device, *row->driver ? ", " : "",
           row->driver);
    printf("%-12s%s\n", "numerics", row->numerics_class);
    printf("%-12s%s\n", "encoder", row->encoder);
    printf("%-12s%s\n", "libraries", row->libraries);
}

static void print_match(const struct origin_match *match)
{
    const struct compare_fit *fit = &match->fit;
    bool is_withdrawn = match->has_row && match->row.withdrawn;

    printf("%-12s%s%s\n", "grade", origin_grade_name(match->grade),
           is_withdrawn ? ", withdrawn" : "");
    if (match->has_fit)
        printf("%-12s%.4f with %s (1 is perfect); colours differ by %.1f levels\n",
               "correlation", fit->correlation,
               match->is_rendered ? "a new render" : "the stored file", fit->difference);
    if (match->has_fit)
        printf("%-12s%s\n", "place", origin_place_of(fit).text);
    if (match->why.code)
        printf("%-12snot compared: %s\n", "note", match->why.msg);
    if (!match->has_row)
        printf("%-12sthe ledger had no row of this recipe\n", "note");
    else
        print_row(&match->row);
    print_recipe(match->recipe.text);
}

static void print_credentials(const struct c2pa_finding *found)
{
    if (found->verdict == C2PA_BROKEN)
        printf("%-12sdo not hold: %s\n", "credentials", found->words);
    else if (found->verdict == C2PA_VALID && found->trusted)
        printf("%-12svalid, signed by %s\n", "credentials", found->signer);
    else if (found->verdict == C2PA_VALID)
        printf("%-12svalid, signed by %s, whom nobody vouches for: %s\n", "credentials",
               found->signer, found->words);
}

static void print_words(const struct origin *origin)
{
    for (size_t i = 0; i < origin->count; i++) {
        if (i > 0)
            putchar('\n');
        print_match(&origin->matches[i]);
    }
    if (origin->count == 0)
        printf("%-12sno record (which does not mean that a camera made it)\n", "grade");
    print_credentials(&origin->credentials);
    if (origin->claim.is_refuted)
        printf("%-12sthe recipe in the file makes another picture (correlation %.4f, colours "
               "differ by %.1f levels)\n", "note", origin->claim.fit.correlation,
               origin->claim.fit.difference);
}

/* Gives the exit code. */
static int print_origin(const struct command_context *ctx, const struct origin *origin)
{
    if (ctx->json) {
        for (size_t i = 0; i < origin_report_count(origin); i++)
            command_print(origin_report_object(origin, i));
    } else {
        print_words(origin);
    }
    return origin->grade <= ORIGIN_CONFIRMED ? EXIT_OK : EXIT_NO;
}

/* ---- asking ---- */

struct showing {
    const struct command_context *ctx;
    struct progress progress;
    bool is_begun;
};

static bool go_on(void *arg, size_t done, size_t count)
{
    struct showing *self = arg;

    if (!self->is_begun)
        progress_init(&self->progress, stderr,
                      self->ctx->json ? PROGRESS_SILENT : progress_style_of(stderr), count,
                      clock_ms());
    self->is_begun = true;
    progress_show(&self->progress, done, clock_ms());
    return !*self->ctx->interrupted;
}

static int grade_file(const struct command_context *ctx, struct seedpress *sp,
                      const struct options *options, const uint8_t *file, size_t len)
{
    struct showing showing = { .ctx = ctx };
    struct origin_search search = { .sp = sp, .name = options->file,
                                    .limit = options->query.limit,
                                    .no_render = options->no_render,
                                    .trust_file = options->trust_file, .go_on = go_on,
                                    .arg = &showing };
    struct origin origin;
    struct seedpress_error error;
    enum seedpress_code rc = origin_find(&search, file, len, &origin, &error);
    int code;

    if (showing.is_begun)
        progress_end(&showing.progress);
    code = rc ? contact_fail(ctx, &error) : print_origin(ctx, &origin);
    origin_release(&origin);
    return code;
}

static int grade_query(const struct command_context *ctx, struct seedpress *sp,
                       const struct seedpress_query *query)
{
    struct seedpress_error error;
    struct origin origin;
    int code;

    if (origin_look_up(sp, query, &origin, &error))
        code = contact_fail(ctx, &error);
    else
        code = print_origin(ctx, &origin);
    origin_release(&origin);
    return code;
}

int cmd_provenance_run(const struct command_context *ctx, int argc, char **argv)
{
    struct seedpress *sp = NULL;
    struct options options;
    uint8_t *file = NULL;
    size_t len = 0;
    struct err e;
    int code;

    if (!read_options(ctx, argc, argv, &options, &code))
        return code;
    if (options.file && file_read(options.file, IMAGE_FILE_MAX, &file, &len, &e))
        return command_fail(ctx, &e);
    code = contact_open(ctx, &sp);
    if (!code)
        code = file ? grade_file(ctx, sp, &options, file, len)
                    : grade_query(ctx, sp, &options.query);
    seedpress_destroy(&sp);
    free(file);
    return code;
}
