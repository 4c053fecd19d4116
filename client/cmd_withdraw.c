/* withdraw -- takes a subject back for ever, by one of its pictures. */
#include "client/command.h"

#include "client/contact.h"
#include "client/upkeep.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char cmd_withdraw_help[] =
    "seedpress withdraw - take a picture back for ever\n"
    "\n"
    "usage: seedpress withdraw RECIPE --reason TEXT\n"
    "       seedpress withdraw --sha256 HEX --reason TEXT\n"
    "\n"
    "What is withdrawn is the subject: the picture of that model, seed and class, whatever\n"
    "its psi, format and other options. Its files are removed, none of it is stored or\n"
    "answered with bytes again, by any broker, and there is no way back. Its rows stay, to\n"
    "say that it existed. The same again does no harm.\n"
    "\n"
    "  RECIPE           recipe key of one of its pictures, 64 hex digits: \"recipe key\" in\n"
    "                   seedpress provenance, recipe_key in --json\n"
    "  --sha256 HEX     or the hash of one of its files\n"
    "  --reason TEXT    stays in the ledger; 1 to 200 bytes\n"
    "\n"
    "It prints the paths under which gateways gave the pictures out: purge them from caches\n"
    "in front. Copies that people already have are theirs. Needs a key with the role admin.\n"
    "\n"
    "examples:\n"
    "  seedpress withdraw 9c6e3172...d99a50 --reason 'looks like a person who asked'\n"
    "  seedpress withdraw --sha256 aab080d3...26fcca --reason 'ticket 17'\n";

enum { OPT_SHA256 = 256, OPT_REASON, REASON_MAX = 200 };

static const struct option OPTIONS[] = {
    { "sha256", required_argument, NULL, OPT_SHA256 },
    { "reason", required_argument, NULL, OPT_REASON },
    { NULL, 0, NULL, 0 },
};

struct options {
    const char *recipe_key, *sha256, *reason;
};

static enum err_code check(const struct options *options, struct err *e)
{
    struct digest ignored;

    if (!!options->recipe_key + !!options->sha256 != 1)
        return err_set(e, ERR_INVALID, "which picture? Say its recipe key or --sha256");
    if (!options->reason || !*options->reason)
        return err_set(e, ERR_INVALID, "why? Say --reason: it stays in the ledger");
    if (strlen(options->reason) > REASON_MAX)
        return err_set(e, ERR_INVALID, "--reason has %zu bytes, and at most %d fit",
                       strlen(options->reason), REASON_MAX);
    if (options->recipe_key)
        return upkeep_read_key("RECIPE", options->recipe_key, &ignored, e);
    return upkeep_read_key("--sha256", options->sha256, &ignored, e);
}

static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, int *code)
{
    struct err e;
    int opt;

    *out = (struct options){ .reason = NULL };
    *code = EXIT_OK;
    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while (!*code && (opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt == OPT_SHA256)
            out->sha256 = optarg;
        else if (opt == OPT_REASON)
            out->reason = optarg;
        else
            *code = command_bad_option(ctx, argv, opt);
    }
    if (!*code && optind < argc)
        out->recipe_key = argv[optind++];
    if (!*code && optind < argc)
        *code = command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    else if (!*code && check(out, &e))
        *code = command_usage(ctx, argv[0], "%s", e.msg);
    return *code == EXIT_OK;
}

/* ---- the answer ---- */

/* What a gateway gives the picture out under. */
struct path {
    char text[160];
};

static struct path path_of(const struct seedpress_row *row)
{
    struct path path;

    snprintf(path.text, sizeof path.text, "/v1/%s/%" PRIu32 ".jpg?psi=%s",
             contact_model_of(row->model_name, row->model).text, row->seed,
             contact_psi_of(row->psi).text);
    return path;
}

static void print_json(const struct seedpress_withdrawal *w)
{
    cJSON *line = cJSON_CreateObject();
    cJSON *rows;

    cJSON_AddStringToObject(line, "subject", w->subject);
    cJSON_AddNumberToObject(line, "pictures", (double)w->pictures);
    cJSON_AddNumberToObject(line, "files", (double)w->files);
    rows = cJSON_AddArrayToObject(line, "rows");
    for (size_t i = 0; i < w->row_count; i++) {
        cJSON *row = cJSON_CreateObject();

        cJSON_AddStringToObject(row, "recipe_key", w->rows[i].recipe_key);
        cJSON_AddStringToObject(row, "sha256", w->rows[i].sha256);
        cJSON_AddStringToObject(row, "path", path_of(&w->rows[i]).text);
        cJSON_AddItemToArray(rows, row);
    }
    command_print(line);
}

static void print_words(const struct seedpress_withdrawal *w)
{
    printf("withdrawn: subject %s\n", w->subject);
    printf("%" PRId64 " file%s removed, %" PRId64 " row%s stay%s\n", w->files,
           w->files == 1 ? "" : "s", w->pictures, w->pictures == 1 ? "" : "s",
           w->pictures == 1 ? "s" : "");
    printf("purge from caches in front of gateways:\n");
    for (size_t i = 0; i < w->row_count; i++)
        printf("  %s\n", path_of(&w->rows[i]).text);
    if ((int64_t)w->row_count < w->pictures)
        printf("  and %" PRId64 " older ones of that model and seed\n",
               w->pictures - (int64_t)w->row_count);
}

int cmd_withdraw_run(const struct command_context *ctx, int argc, char **argv)
{
    struct seedpress_withdrawal withdrawal;
    struct seedpress_error error;
    struct seedpress *sp = NULL;
    struct options options;
    int code;

    if (!read_options(ctx, argc, argv, &options, &code))
        return code;
    code = contact_open(ctx, &sp);
    if (!code && seedpress_withdraw(sp, options.recipe_key, options.sha256, options.reason,
                                    &withdrawal, &error))
        code = contact_fail(ctx, &error);
    else if (!code)
        (ctx->json ? print_json : print_words)(&withdrawal);
    seedpress_destroy(&sp);
    return code;
}
