/* ledger -- the database by hand, with no broker between. Each word after it is a row in
 * SUBCOMMANDS[]. */
#include "client/command.h"

#include "sql/ledger.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cmd_ledger_help[] =
    "seedpress ledger - the database behind the brokers\n"
    "\n"
    "usage: seedpress ledger migrate [--dry-run] [--ledger CONNINFO]\n"
    "\n"
    "  migrate             brings the tables to what this program needs; doing it again,\n"
    "                      or from two places at once, does no harm\n"
    "  --dry-run           only says what would be done\n"
    "  --ledger CONNINFO   the database, as libpq takes it; default: $SEEDPRESS_LEDGER.\n"
    "                      A password belongs into ~/.pgpass, not here\n"
    "\n"
    "examples:\n"
    "  seedpress ledger migrate --ledger 'host=/run/postgresql dbname=seedpress'\n"
    "  seedpress ledger migrate --dry-run\n";

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

static const struct subcommand {
    const char *name;
    command_run *run;               /* argv[0] is the subcommand's name */
} SUBCOMMANDS[] = {
    { "migrate", migrate },
};
enum { SUBCOMMAND_COUNT = sizeof SUBCOMMANDS / sizeof SUBCOMMANDS[0] };

int cmd_ledger_run(const struct command_context *ctx, int argc, char **argv)
{
    if (argc == 1)
        return command_usage(ctx, argv[0], "ledger does what? Known: migrate");
    for (int i = 0; i < SUBCOMMAND_COUNT; i++)
        if (strcmp(argv[1], SUBCOMMANDS[i].name) == 0)
            return SUBCOMMANDS[i].run(ctx, argc - 1, argv + 1);
    return command_usage(ctx, argv[0], "unknown word \"%.40s\" after ledger; known: migrate",
                         argv[1]);
}
