/* ledger -- the database by hand, with no broker between. Each word after it is a row in
 * WORDS[]. */
#include "client/command.h"

#include "client/upkeep.h"
#include "sql/ledger.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cmd_ledger_help[] =
    "seedpress ledger - the database behind the brokers\n"
    "\n"
    "usage: seedpress ledger migrate [--dry-run]\n"
    "       seedpress ledger check [--model M] [--sample N] [--decode] [--from KEY]\n"
    "       seedpress ledger prune [--model M] [--keep-days N] [--keep-bytes SIZE]\n"
    "                              [--set | --dry-run]\n"
    "       seedpress ledger refill [--model M] [--job N] [--since DAY] [--pruned]\n"
    "                               [--from KEY]\n"
    "each with --ledger CONNINFO: the database, as libpq takes it; default:\n"
    "$SEEDPRESS_LEDGER. A password belongs into ~/.pgpass, not here. Where files lie in\n"
    "segments, check and prune need --segments FOLDER as well.\n"
    "\n"
    "migrate: brings the tables to what this program needs; doing it again, or from two\n"
    "places at once, does no harm\n"
    "  --dry-run           only says what would be done\n"
    "\n"
    "check: reads every picture's row and file and says what does not hold; changes\n"
    "nothing. Exit code 1 when anything was found. A line is a word, a key and why:\n"
    "  model_missing, options_missing, run_missing, recipe_key, subject\n"
    "                      the row does not say what it should\n"
    "  bytes_missing, bytes_unknown, withdrawn_bytes, orphan_blob\n"
    "                      a file is not there, or is there and should not be\n"
    "  bytes_length, bytes_hash, core_hash, unreadable\n"
    "                      a file is not the one that was stored\n"
    "  --model M           of this model only (files without a row are of none)\n"
    "  --sample N          reads the files of one picture in N; all rows all the same\n"
    "  --decode            decodes every file that is read, not one in 20\n"
    "  --from KEY          goes on where another check stopped\n"
    "\n"
    "prune: removes files, never rows; oldest first. Without --keep-days and --keep-bytes\n"
    "by the rules that are recorded, of all models or of one\n"
    "  --keep-days N       files stored in the last N days stay\n"
    "  --keep-bytes SIZE   the newest files that take no more stay: 500M, 10G (1024 each)\n"
    "  --set               records that as the model's rule and removes nothing now;\n"
    "                      without either, the model has no rule any more\n"
    "  --dry-run           only counts\n"
    "\n"
    "refill: has a broker render again what is lost, as after a backup without files was\n"
    "restored. A file comes back if it is the same to a byte. Exit code 3 when some did not\n"
    "  --job N             pictures that this bulk job had made\n"
    "  --since DAY         pictures stored from then on: 2026-11-22\n"
    "  --pruned            also those whose files were pruned or never kept\n"
    "  --from KEY          goes on where another refill stopped\n"
    "\n"
    "examples:\n"
    "  seedpress ledger migrate --ledger 'host=/run/postgresql dbname=seedpress'\n"
    "  seedpress ledger check --sample 100\n"
    "  seedpress ledger prune --model cats --keep-days 30 --set\n"
    "  seedpress ledger prune --dry-run\n"
    "  seedpress ledger refill --model cats\n";

/* ---- ledger migrate ---- */

struct migration_log {
    const struct command_context *ctx;
    bool dry_run;
    int count;
};

static void report(void *arg, int number, const char *name)
{
    struct migration_log *log = arg;

    log->count++;
    if (log->ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddNumberToObject(line, "migration", number);
        cJSON_AddStringToObject(line, "name", name);
        cJSON_AddBoolToObject(line, "applied", !log->dry_run);
        command_print(line);
    } else
        printf("%s %d %s\n", log->dry_run ? "would apply" : "applied", number, name);
}

static int migrate(const struct command_context *ctx, int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        { "dry-run", no_argument, NULL, 'n' },
        { "ledger", required_argument, NULL, 'l' },
        { NULL, 0, NULL, 0 },
    };
    struct migration_log log = { .ctx = ctx };
    const char *conninfo = getenv("SEEDPRESS_LEDGER");
    struct err e;
    int opt;

    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt == 'n')
            log.dry_run = true;
        else if (opt == 'l')
            conninfo = optarg;
        else
            return command_usage(ctx, "ledger", opt == ':' ? "option %s needs a value"
                                                           : "unknown option %s", argv[optind - 1]);
    }
    if (optind < argc)
        return command_usage(ctx, "ledger", "unexpected argument \"%.40s\"", argv[optind]);
    if (!conninfo || !*conninfo)
        return command_usage(ctx, "ledger", "which database? Say --ledger CONNINFO, or set "
                                            "SEEDPRESS_LEDGER");
    if (ledger_migrate(conninfo, log.dry_run, report, &log, &e))
        return command_fail(ctx, &e);
    if (!ctx->json && log.count == 0)
        printf("nothing to do: the ledger is up to date\n");
    return EXIT_OK;
}

/* ---- the words after "ledger" ---- */

static const struct command_word WORDS[] = {
    { "migrate", migrate }, { "check", cmd_ledger_check_run }, { "prune", cmd_ledger_prune_run },
    { "refill", cmd_ledger_refill_run },
};

int cmd_ledger_run(const struct command_context *ctx, int argc, char **argv)
{
    return command_run_word(ctx, WORDS, sizeof WORDS / sizeof WORDS[0], argc, argv);
}
