/* provenance -- where a picture came from: by file, seed, recipe or hash. What the ledger says is
 * graded by how it was found; what a file says of itself is a claim. */
#include "client/command.h"

#include "base/file.h"
#include "base/mark.h"
#include "client/contact.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cmd_provenance_help[] =
    "seedpress provenance - where a picture came from\n"
    "\n"
    "usage: seedpress provenance FILE\n"
    "       seedpress provenance --seed N [--model M] [--psi P]\n"
    "       seedpress provenance --recipe KEY | --sha256 HEX\n"
    "\n"
    "  FILE             a picture; its bytes are looked up, then the picture without its\n"
    "                   metadata, then the recipe that it names\n"
    "  --seed N         everything that was stored of a seed, newest first\n"
    "  --model M        with --seed: of this model only\n"
    "  --psi P          with --seed: at this psi only\n"
    "  --recipe KEY     64 hex digits\n"
    "  --sha256 HEX     of a file\n"
    "  --limit N        rows at most, 1..100; default 10\n"
    "\n"
    "grades:\n"
    "  exact                     the ledger knows exactly this file, or recipe, or seed\n"
    "  exact (metadata differs)  it knows this picture; only what stands around it differs\n"
    "  claimed                   the file names a recipe, but nothing shows that it is true\n"
    "  no record                 nothing is known (which does not mean that a camera made it)\n"
    "\n"
    "exit codes: 0 for the exact grades, 1 for claimed and no record\n"
    "\n"
    "examples:\n"
    "  seedpress provenance seed0000.jpg\n"
    "  seedpress provenance --seed 42 --model avatars64 --psi 0.7\n";

enum { FILE_MAX = 64 << 20 };

struct options {
    const char *file;
    struct seedpress_query query;
};

/* ---- the command line ---- */

enum { OPT_SEED = 256, OPT_MODEL, OPT_PSI, OPT_RECIPE, OPT_SHA256, OPT_LIMIT };

static const struct option OPTIONS[] = {
    { "seed", required_argument, NULL, OPT_SEED },
    { "model", required_argument, NULL, OPT_MODEL },
    { "psi", required_argument, NULL, OPT_PSI },
    { "recipe", required_argument, NULL, OPT_RECIPE },
    { "sha256", required_argument, NULL, OPT_SHA256 },
    { "limit", required_argument, NULL, OPT_LIMIT },
    { NULL, 0, NULL, 0 },
};

static enum err_code take_option(struct options *out, int opt, struct err *e)
{
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
    default:
        rc = command_read_whole("--limit", optarg, 1, SEEDPRESS_ROWS_MAX, &v, e);
        q->limit = (int)v;
        break;
    }
    return rc;
}

static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, int *code)
{
    struct seedpress_query *q = &out->query;
    struct err e;
    int opt;

    *out = (struct options){ .file = NULL };
    *code = EXIT_OK;
    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt == '?' || opt == ':')
            *code = command_bad_option(ctx, argv, opt);
        else if (take_option(out, opt, &e))
            *code = command_usage(ctx, argv[0], "%s", e.msg);
        if (*code)
            return false;
    }
    if (optind < argc)
        out->file = argv[optind++];
    if (optind < argc)
        *code = command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    else if (!!out->file + q->has_seed + !!q->recipe_key + !!q->sha256 != 1)
        *code = command_usage(ctx, argv[0], "of what? Say a FILE, --seed, --recipe or --sha256");
    else if (!q->has_seed && (q->model || q->has_psi))
        *code = command_usage(ctx, argv[0], "--model and --psi go with --seed");
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

static void print_row(const char *grade, const struct seedpress_row *row)
{
    printf("%-12s%s%s\n", "grade", grade, row->withdrawn ? ", withdrawn" : "");
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
    printf("%-12s%s, %s%s%s\n", "device", row->backend, row->device, *row->driver ? ", " : "",
           row->driver);
    printf("%-12s%s\n", "numerics", row->numerics_class);
    printf("%-12s%s\n", "encoder", row->encoder);
    printf("%-12s%s\n", "libraries", row->libraries);
    print_recipe(row->recipe);
}

static void print_row_json(const char *grade, const struct seedpress_row *row)
{
    cJSON *line = cJSON_CreateObject();

    cJSON_AddStringToObject(line, "grade", grade);
    cJSON_AddStringToObject(line, "model_name", row->model_name);
    cJSON_AddStringToObject(line, "model", row->model);
    cJSON_AddNumberToObject(line, "seed", row->seed);
    cJSON_AddNumberToObject(line, "psi", row->psi);
    cJSON_AddStringToObject(line, "recipe", row->recipe);
    cJSON_AddStringToObject(line, "recipe_key", row->recipe_key);
    cJSON_AddStringToObject(line, "sha256", row->sha256);
    cJSON_AddStringToObject(line, "core_sha256", row->core_sha256);
    cJSON_AddNumberToObject(line, "bytes", (double)row->bytes);
    cJSON_AddBoolToObject(line, "kept", row->kept);
    cJSON_AddBoolToObject(line, "withdrawn", row->withdrawn);
    cJSON_AddStringToObject(line, "created", row->created);
    cJSON_AddNumberToObject(line, "batch", row->batch);
    cJSON_AddNumberToObject(line, "run", (double)row->run);
    cJSON_AddStringToObject(line, "worker", row->worker);
    cJSON_AddStringToObject(line, "version", row->version);
    cJSON_AddStringToObject(line, "backend", row->backend);
    cJSON_AddStringToObject(line, "device", row->device);
    cJSON_AddStringToObject(line, "driver", row->driver);
    cJSON_AddStringToObject(line, "numerics_class", row->numerics_class);
    cJSON_AddStringToObject(line, "encoder", row->encoder);
    cJSON_AddStringToObject(line, "libraries", row->libraries);
    command_print(line);
}

static void print_rows(const struct command_context *ctx, const char *grade,
                       const struct seedpress_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!ctx->json && i > 0)
            putchar('\n');
        (ctx->json ? print_row_json : print_row)(grade, &rows[i]);
    }
}

static int print_no_record(const struct command_context *ctx)
{
    if (ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddStringToObject(line, "grade", "no record");
        command_print(line);
    } else
        printf("%-12sno record (which does not mean that a camera made it)\n", "grade");
    return EXIT_NO;
}

/* other_row: the ledger has a picture of that recipe, and it is not this one. */
static int print_claim(const struct command_context *ctx, const struct recipe_text *text,
                       const struct digest_hex *key, const struct seedpress_row *other_row)
{
    if (ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddStringToObject(line, "grade", "claimed");
        cJSON_AddStringToObject(line, "recipe", text->text);
        cJSON_AddStringToObject(line, "recipe_key", key->text);
        cJSON_AddBoolToObject(line, "other_picture_stored", other_row != NULL);
        command_print(line);
        return EXIT_NO;
    }
    printf("%-12sclaimed: the file names a recipe; %s\n", "grade",
           other_row ? "the ledger has another picture of it" : "the ledger does not know it");
    printf("%-12s%s\n", "recipe key", key->text);
    print_recipe(text->text);
    return EXIT_NO;
}

/* ---- asking ---- */

/* False: *code is the exit code. */
static bool look_up(const struct command_context *ctx, struct seedpress *sp,
                    const struct seedpress_query *query, const struct seedpress_row **rows,
                    size_t *count, int *code)
{
    struct seedpress_error error;

    if (!seedpress_lookup(sp, query, rows, count, &error))
        return true;
    *code = contact_fail(ctx, &error);
    return false;
}

static int grade_claim(const struct command_context *ctx, struct seedpress *sp,
                       const struct recipe_text *text)
{
    struct digest sum = digest_of(text->text, text->len);
    struct digest_hex key = digest_hex(&sum);
    struct seedpress_query query = { .recipe_key = key.text };
    const struct seedpress_row *rows;
    size_t count;
    int code;

    if (!look_up(ctx, sp, &query, &rows, &count, &code))
        return code;
    return print_claim(ctx, text, &key, count > 0 ? rows : NULL);
}

static int grade_file(const struct command_context *ctx, struct seedpress *sp, int limit,
                      const uint8_t *file, size_t len)
{
    struct digest sum = digest_of(file, len);
    struct digest_hex hex = digest_hex(&sum);
    struct seedpress_query query = { .sha256 = hex.text, .limit = limit };
    const struct seedpress_row *rows;
    struct recipe_text text;
    size_t count = 0;
    int code;

    if (!look_up(ctx, sp, &query, &rows, &count, &code))
        return code;
    if (count > 0) {
        print_rows(ctx, "exact", rows, count);
        return EXIT_OK;
    }
    if (mark_core_sha256(file, len, &sum)) {
        hex = digest_hex(&sum);
        query = (struct seedpress_query){ .core_sha256 = hex.text, .limit = limit };
        if (!look_up(ctx, sp, &query, &rows, &count, &code))
            return code;
        if (count > 0) {
            print_rows(ctx, "exact (metadata differs)", rows, count);
            return EXIT_OK;
        }
    }
    return mark_find(file, len, &text) ? grade_claim(ctx, sp, &text) : print_no_record(ctx);
}

static int grade_query(const struct command_context *ctx, struct seedpress *sp,
                       const struct seedpress_query *query)
{
    const struct seedpress_row *rows;
    size_t count;
    int code;

    if (!look_up(ctx, sp, query, &rows, &count, &code))
        return code;
    if (count == 0)
        return print_no_record(ctx);
    print_rows(ctx, "exact", rows, count);
    return EXIT_OK;
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
    if (options.file && file_read(options.file, FILE_MAX, &file, &len, &e))
        return command_fail(ctx, &e);
    code = contact_open(ctx, &sp);
    if (!code)
        code = file ? grade_file(ctx, sp, options.query.limit, file, len)
                    : grade_query(ctx, sp, &options.query);
    seedpress_destroy(&sp);
    free(file);
    return code;
}
