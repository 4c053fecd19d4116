/* ledger prune -- removes old files, now or by the rules that are recorded. */
#include "client/upkeep.h"

#include "base/clock.h"
#include "proto/number.h"
#include "sql/ledger_prune.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *conninfo, *segments, *model;
    int64_t days, bytes;            /* 0: not given */
    bool set, dry;
};

/* ---- the command line ---- */

enum { OPT_MODEL = 256, OPT_DAYS, OPT_BYTES, OPT_SET, OPT_DRY, OPT_SEGMENTS, OPT_LEDGER,
       DAYS_MAX = 36500 };

static const struct option OPTIONS[] = {
    { "model", required_argument, NULL, OPT_MODEL },
    { "keep-days", required_argument, NULL, OPT_DAYS },
    { "keep-bytes", required_argument, NULL, OPT_BYTES },
    { "set", no_argument, NULL, OPT_SET },
    { "dry-run", no_argument, NULL, OPT_DRY },
    { "segments", required_argument, NULL, OPT_SEGMENTS },
    { "ledger", required_argument, NULL, OPT_LEDGER },
    { NULL, 0, NULL, 0 },
};

/* "500M", "10G": powers of 1024. */
static enum err_code read_bytes(const char *text, int64_t *out, struct err *e)
{
    static const char UNITS[] = "KMGT";
    size_t len = strlen(text);
    const char *unit = len > 1 ? strchr(UNITS, text[len - 1]) : NULL;
    int shift = unit ? 10 * (int)(unit - UNITS + 1) : 0;
    int64_t v;

    if (!number_parse(text, unit ? len - 1 : len, &v) || v < 1 || v > INT64_MAX >> shift)
        return err_set(e, ERR_INVALID, "--keep-bytes needs a size such as 500M or 10G, not "
                       "\"%.40s\"", text);
    *out = v << shift;
    return ERR_OK;
}

static enum err_code take_option(void *arg, int opt, struct err *e)
{
    struct options *out = arg;

    switch (opt) {
    case OPT_MODEL:
        out->model = optarg;
        return ERR_OK;
    case OPT_DAYS:
        return command_read_whole("--keep-days", optarg, 1, DAYS_MAX, &out->days, e);
    case OPT_BYTES:
        return read_bytes(optarg, &out->bytes, e);
    case OPT_SET:
        out->set = true;
        return ERR_OK;
    case OPT_DRY:
        out->dry = true;
        return ERR_OK;
    case OPT_SEGMENTS:
        out->segments = optarg;
        return ERR_OK;
    default:
        out->conninfo = optarg;
        return ERR_OK;
    }
}

static bool read_options(const struct command_context *ctx, int argc, char **argv,
                         struct options *out, int *code)
{
    *out = (struct options){ .model = NULL };
    command_read_options(ctx, argc, argv, OPTIONS, take_option, out, code);
    if (*code)
        return false;
    if (optind < argc)
        *code = command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    else if (!out->model && (out->days || out->bytes || out->set))
        *code = command_usage(ctx, argv[0], "of which model? Say --model with --keep-days, "
                                            "--keep-bytes and --set");
    else if (out->set && out->dry)
        *code = command_usage(ctx, argv[0], "--set removes nothing, so there is nothing to try "
                                            "with --dry-run");
    return *code == EXIT_OK;
}

/* ---- rules ---- */

static int set_rule(const struct command_context *ctx, struct ledger *ledger,
                    const struct options *options, const struct ledger_rule *rule)
{
    struct err e;

    if (ledger_set_rule(ledger, rule, &e))
        return command_fail(ctx, &e);
    if (ctx->json) {
        cJSON *line = cJSON_CreateObject();

        cJSON_AddStringToObject(line, "model", digest_hex(&rule->model).text);
        cJSON_AddNumberToObject(line, "keep_days", rule->days);
        cJSON_AddNumberToObject(line, "keep_bytes", (double)rule->bytes);
        command_print(line);
        return EXIT_OK;
    }
    printf("%s: ", options->model);
    if (rule->days)
        printf("files of the last %d days are kept", rule->days);
    if (rule->bytes)
        printf("%s%" PRId64 " bytes are kept", rule->days ? ", and at most " : "at most ",
               rule->bytes);
    puts(rule->days || rule->bytes ? "; seedpress ledger prune removes the others"
                                   : "no rule any more, all files are kept");
    return EXIT_OK;
}

/* What is to be done: one rule from the command line, one that is recorded, or all of these. */
static enum err_code choose_rules(struct ledger *ledger, const struct options *options,
                                  const struct ledger_rule *own, struct ledger_rule *rules,
                                  size_t *count, struct err *e)
{
    enum err_code rc;
    size_t recorded;

    if (own->days || own->bytes) {
        rules[0] = *own;
        *count = 1;
        return ERR_OK;
    }
    rc = ledger_rules(ledger, rules, LEDGER_RULES_MAX, &recorded, e);
    *count = options->model ? 0 : recorded;
    for (size_t i = 0; !rc && options->model && i < recorded; i++)
        if (digest_equal(&rules[i].model, &own->model)) {
            rules[0] = rules[i];
            *count = 1;
            return ERR_OK;
        }
    if (!rc && options->model)
        return err_set(e, ERR_NOT_FOUND, "no rule is recorded for %.80s: say --keep-days or "
                       "--keep-bytes, with --set to record it", options->model);
    return rc;
}

/* ---- pruning ---- */

struct pruning {
    const struct command_context *ctx;
    struct ledger_prune prune;
    struct progress progress;
};

static void show(struct pruning *self)
{
    const struct ledger_prune *p = &self->prune;
    double share = p->to_us > p->from_us ? (double)(p->at_us - p->from_us) /
                                           (double)(p->to_us - p->from_us) : 1;

    if (share <= 0)
        return;
    self->progress.total = (uint64_t)((double)p->files / share) + 1;
    progress_show(&self->progress, (uint64_t)p->files, clock_ms());
}

static void print_pruned(const struct pruning *self)
{
    const struct ledger_prune *p = &self->prune;
    struct digest_hex model = digest_hex(&p->rule.model);
    cJSON *line;

    if (!self->ctx->json) {
        printf("%.8s: %" PRId64 " files of %" PRId64 " bytes %s\n", model.text, p->files, p->bytes,
               p->dry ? "would be removed" : "removed");
        return;
    }
    line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "model", model.text);
    cJSON_AddNumberToObject(line, "files", (double)p->files);
    cJSON_AddNumberToObject(line, "bytes", (double)p->bytes);
    cJSON_AddBoolToObject(line, "dry_run", p->dry);
    command_print(line);
}

static int prune_one(const struct command_context *ctx, struct ledger *ledger,
                     const struct ledger_rule *rule, bool dry)
{
    struct pruning self = { .ctx = ctx, .prune = { .rule = *rule, .dry = dry } };
    struct err e;
    enum err_code rc;

    progress_init(&self.progress, stderr, ctx->json ? PROGRESS_SILENT : progress_style_of(stderr),
                  0, clock_ms());
    rc = ledger_prune_begin(ledger, &self.prune, ctx->interrupted, &e);
    while (!rc && !self.prune.done && !*ctx->interrupted) {
        rc = ledger_prune_step(ledger, &self.prune, &e);
        show(&self);
    }
    progress_end(&self.progress);
    print_pruned(&self);             /* what is removed is removed, however it ended */
    if (rc)
        return command_fail(ctx, &e);
    return self.prune.done ? EXIT_OK : err_info(ERR_CANCELLED)->exit_code;
}

/* Also what an earlier pruning, or a withdrawal, was interrupted at. Without the folder the rows go
 * on naming what is to be erased. */
static int erase(const struct command_context *ctx, struct ledger *ledger)
{
    bool more = true;
    size_t erased;
    struct err e;

    while (more && !*ctx->interrupted)
        if (ledger_erase(ledger, NULL, &erased, &more, &e))
            return command_fail(ctx, &e);
    return more ? err_info(ERR_CANCELLED)->exit_code : EXIT_OK;
}

int cmd_ledger_prune_run(const struct command_context *ctx, int argc, char **argv)
{
    struct ledger_rule rules[LEDGER_RULES_MAX], own;
    struct ledger *ledger;
    struct options options;
    size_t count = 0;
    struct err e;
    int code;

    if (!read_options(ctx, argc, argv, &options, &code))
        return code;
    code = upkeep_open(ctx, options.conninfo, options.segments, &ledger);
    if (code)
        return code;
    own = (struct ledger_rule){ .days = (int)options.days, .bytes = options.bytes };
    if (options.model && upkeep_model(ledger, options.model, &own.model, &e))
        code = command_fail(ctx, &e);
    else if (options.set)
        code = set_rule(ctx, ledger, &options, &own);
    else if (choose_rules(ledger, &options, &own, rules, &count, &e))
        code = command_fail(ctx, &e);
    else if (count == 0 && !ctx->json)
        puts("nothing to do: no rule is recorded, so all files are kept");
    for (size_t i = 0; !code && i < count; i++)
        code = prune_one(ctx, ledger, &rules[i], options.dry);
    if (!code && !options.set && !options.dry)
        code = erase(ctx, ledger);
    ledger_close(&ledger);
    return code;
}
