/* status -- what a broker has to do and who does it. */
#include "client/command.h"

#include "client/contact.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

const char cmd_status_help[] =
    "seedpress status - what the broker has to do, and its workers\n"
    "\n"
    "usage: seedpress status [--watch]\n"
    "\n"
    "  --watch   again every second, until it is interrupted\n"
    "\n"
    "examples:\n"
    "  seedpress status\n"
    "  seedpress --json status --watch\n";

enum { WATCH_EVERY_MS = 1000 };

#define CLEAR_SCREEN "\033[H\033[J"

static void print_uptime(int64_t uptime_ms)
{
    int64_t s = uptime_ms / 1000;

    if (s >= 86400)
        printf("%" PRId64 " d ", s / 86400);
    if (s >= 3600)
        printf("%" PRId64 " h ", s / 3600 % 24);
    if (s >= 60)
        printf("%" PRId64 " min ", s / 60 % 60);
    printf("%" PRId64 " s\n", s % 60);
}

static void print_text(const struct command_context *ctx, const struct seedpress_status *st)
{
    printf("%-12sseedpress %s at %s%s, up ", "broker", st->version, ctx->broker,
           st->draining ? ", draining" : "");
    print_uptime(st->uptime_ms);
    printf("%-12s%s\n", "ledger", st->ledger_up ? "up" : "cannot be reached");
    printf("%-12s%" PRId64 " high, %" PRId64 " normal, %" PRId64 " low; %" PRId64
           " being looked up\n", "queued", st->queued_high, st->queued_normal, st->queued_low,
           st->looking_up);
    printf("%-12s%" PRId64 " held, %" PRId64 " rendering, %" PRId64 " committing; %" PRId64
           " requests wait\n", "at work", st->held, st->rendering, st->committing, st->waiters);
    printf("%-12s%" PRId64 " asked for, %" PRId64 " answered (%" PRId64 " stored already, %" PRId64
           " joined), %" PRId64 " failed, %" PRId64 " cancelled\n", "pictures", st->submitted,
           st->answered, st->ledger_hits, st->joined, st->failed, st->cancelled);
    printf("%-12s%" PRId64 " given to another worker, %" PRId64 " late results\n", "renders",
           st->retried, st->late);
    if (st->worker_count == 0)
        printf("%-12snone\n", "workers");
    for (size_t i = 0; i < st->worker_count; i++) {
        const struct seedpress_worker *w = &st->workers[i];

        printf("%-12s%s: %s, %s; run %" PRId64 ", %" PRId64 " of %" PRId64 " leased, %" PRId64
               " rendered%s\n", i ? "" : "workers", w->worker, w->device, w->numerics_class, w->run,
               w->leased, w->credit, w->rendered, w->draining ? ", draining" : "");
    }
}

static void add(cJSON *object, const char *name, int64_t value)
{
    cJSON_AddNumberToObject(object, name, (double)value);
}

static void print_json(const struct seedpress_status *st)
{
    cJSON *line = cJSON_CreateObject(), *workers;

    cJSON_AddStringToObject(line, "version", st->version);
    add(line, "uptime_ms", st->uptime_ms);
    cJSON_AddBoolToObject(line, "ledger_up", st->ledger_up);
    cJSON_AddBoolToObject(line, "draining", st->draining);
    add(line, "looking_up", st->looking_up);
    add(line, "queued_high", st->queued_high);
    add(line, "queued_normal", st->queued_normal);
    add(line, "queued_low", st->queued_low);
    add(line, "held", st->held);
    add(line, "rendering", st->rendering);
    add(line, "committing", st->committing);
    add(line, "waiters", st->waiters);
    add(line, "submitted", st->submitted);
    add(line, "answered", st->answered);
    add(line, "failed", st->failed);
    add(line, "cancelled", st->cancelled);
    add(line, "joined", st->joined);
    add(line, "ledger_hits", st->ledger_hits);
    add(line, "retried", st->retried);
    add(line, "late", st->late);
    workers = cJSON_AddArrayToObject(line, "workers");
    for (size_t i = 0; i < st->worker_count; i++) {
        const struct seedpress_worker *w = &st->workers[i];
        cJSON *item = cJSON_CreateObject();

        cJSON_AddStringToObject(item, "worker", w->worker);
        cJSON_AddStringToObject(item, "numerics_class", w->numerics_class);
        cJSON_AddStringToObject(item, "device", w->device);
        add(item, "run", w->run);
        add(item, "credit", w->credit);
        add(item, "leased", w->leased);
        add(item, "rendered", w->rendered);
        add(item, "backlog_ms", w->backlog_ms);
        add(item, "silent_ms", w->silent_ms);
        cJSON_AddBoolToObject(item, "draining", w->draining);
        cJSON_AddItemToArray(workers, item);
    }
    command_print(line);
}

static int show(const struct command_context *ctx, struct seedpress *sp)
{
    struct seedpress_status status;
    struct seedpress_error error;

    if (seedpress_status(sp, &status, &error))
        return contact_fail(ctx, &error);
    if (ctx->json)
        print_json(&status);
    else
        print_text(ctx, &status);
    fflush(stdout);
    return EXIT_OK;
}

/* A broker that is away for a while is said, and waited for. */
static int watch(const struct command_context *ctx, struct seedpress *sp)
{
    bool is_screen = !ctx->json && isatty(STDOUT_FILENO);

    while (!*ctx->interrupted) {
        if (is_screen)
            fputs(CLEAR_SCREEN, stdout);
        show(ctx, sp);
        contact_pause(WATCH_EVERY_MS);
    }
    return err_info(ERR_CANCELLED)->exit_code;
}

int cmd_status_run(const struct command_context *ctx, int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        { "watch", no_argument, NULL, 'w' },
        { NULL, 0, NULL, 0 },
    };
    struct seedpress *sp = NULL;
    bool is_watched = false;
    int opt, code;

    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt != 'w')
            return command_bad_option(ctx, argv, opt);
        is_watched = true;
    }
    if (optind < argc)
        return command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    code = contact_open(ctx, &sp);
    if (!code)
        code = is_watched ? watch(ctx, sp) : show(ctx, sp);
    seedpress_destroy(&sp);
    return code;
}
