/* ledger refill -- has brokers render again what the ledger has lost. The worker that stores a
 * picture puts its file back where it is the same, to a byte; whether it did the ledger is asked,
 * page by page. */
#include "client/upkeep.h"

#include "base/clock.h"
#include "client/contact.h"
#include "client/items.h"
#include "client/when.h"
#include "sql/ledger_lost.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WINDOW = 64,                    /* pictures asked for at once */
    DEADLINE_MS = 600000,
    TURN_MS = 200,
    ROUNDS = 20,                    /* times that a page is asked for again what may pass */
    PAUSE_MS = 1000,                /* before a round, if nobody says a longer time */
};

struct options {
    const char *conninfo, *model;
    int64_t job, since_s;
    bool pruned, has_from;
    struct digest from;
};

enum fate { OPEN, ASKED, ANSWERED, FAILED };

struct run {
    const struct command_context *ctx;
    struct seedpress *sp;
    struct ledger *ledger;
    struct ledger_lost lost;
    enum fate fate[LEDGER_LOST_PAGE];
    struct seedpress_error why[LEDGER_LOST_PAGE];   /* of FAILED, and of what is OPEN again */
    int64_t id[LEDGER_LOST_PAGE];   /* of ASKED */
    size_t flying;
    int64_t wait_ms;                /* before the next round */
    int64_t asked, refilled, differs, failed;
    struct progress progress;
};

/* ---- the command line ---- */

enum { OPT_MODEL = 256, OPT_JOB, OPT_SINCE, OPT_PRUNED, OPT_FROM, OPT_LEDGER };

static const struct option OPTIONS[] = {
    { "model", required_argument, NULL, OPT_MODEL },
    { "job", required_argument, NULL, OPT_JOB },
    { "since", required_argument, NULL, OPT_SINCE },
    { "pruned", no_argument, NULL, OPT_PRUNED },
    { "from", required_argument, NULL, OPT_FROM },
    { "ledger", required_argument, NULL, OPT_LEDGER },
    { NULL, 0, NULL, 0 },
};

static enum err_code take_option(void *arg, int opt, struct err *e)
{
    struct options *out = arg;

    switch (opt) {
    case OPT_MODEL:
        out->model = optarg;
        return ERR_OK;
    case OPT_JOB:
        return command_read_whole("--job", optarg, 1, (int64_t)1 << 53, &out->job, e);
    case OPT_SINCE:
        return when_parse("--since", optarg, (int64_t)time(NULL), &out->since_s, e);
    case OPT_PRUNED:
        out->pruned = true;
        return ERR_OK;
    case OPT_FROM:
        out->has_from = true;
        return upkeep_read_key("--from", optarg, &out->from, e);
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
    if (!*code && optind < argc)
        *code = command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    return *code == EXIT_OK;
}

/* ---- a page ---- */

static void ask(struct run *self, size_t i)
{
    const struct ledger_lost_row *row = &self->lost.rows[i];
    struct items_range range = { .first = row->recipe.seed, .last = row->recipe.seed,
                                 .recipe = row->recipe };
    struct seedpress_request request;
    struct items_room room;

    items_request(&range, &room, &request);
    request.seed = row->recipe.seed;
    request.priority = SEEDPRESS_LOW;
    request.deadline_ms = DEADLINE_MS;
    request.want = SEEDPRESS_WANT_RECEIPT;
    request.cache = SEEDPRESS_CACHE_BYPASS;      /* a broker's memory puts nothing back */
    request.keep = SEEDPRESS_KEEP_REFILL;
    if (seedpress_submit(self->sp, &request, &self->id[i], &self->why[i])) {
        self->fate[i] = FAILED;
        return;
    }
    self->fate[i] = ASKED;
    self->flying++;
}

static void take_event(struct run *self, const struct seedpress_event *event)
{
    size_t i = 0;

    if (event->kind == SEEDPRESS_EVENT_DONE)
        return;
    while (i < self->lost.count && (self->fate[i] != ASKED || self->id[i] != event->id))
        i++;
    if (i == self->lost.count)
        return;
    self->flying--;
    self->fate[i] = ANSWERED;
    if (event->kind == SEEDPRESS_EVENT_IMAGE)
        return;
    self->why[i] = event->error;
    self->fate[i] = event->error.retry ? OPEN : FAILED;
    if (event->error.retry && event->error.retry_after_ms > self->wait_ms)
        self->wait_ms = event->error.retry_after_ms;
}

/* Asks for what is open, WINDOW at a time. How many are open again. */
static size_t ask_round(struct run *self)
{
    struct seedpress_event event;
    size_t next = 0, open = 0;

    self->wait_ms = PAUSE_MS;
    while (!*self->ctx->interrupted && (next < self->lost.count || self->flying > 0)) {
        for (; next < self->lost.count && self->flying < WINDOW; next++)
            if (self->fate[next] == OPEN)
                ask(self, next);
        if (seedpress_next(self->sp, TURN_MS, &event))
            do
                take_event(self, &event);
            while (seedpress_next(self->sp, 0, &event));
    }
    for (size_t i = 0; i < self->lost.count; i++)
        open += self->fate[i] == OPEN;
    return open;
}

static void print_loss(const struct run *self, const char *word, size_t i)
{
    const char *why = self->fate[i] == ANSWERED ? "rendered again, it is another file"
                                                : self->why[i].message;
    struct digest_hex key = digest_hex(&self->lost.rows[i].key);
    cJSON *line;

    if (!self->ctx->json) {
        printf("%s %s %s\n", word, key.text, why);
        return;
    }
    line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "outcome", word);
    cJSON_AddStringToObject(line, "recipe_key", key.text);
    cJSON_AddStringToObject(line, "message", why);
    command_print(line);
}

/* Row i of what was asked for is lost still. */
static void count_loss(struct run *self, size_t i)
{
    bool differs = self->fate[i] == ANSWERED ||
                   self->why[i].code == SEEDPRESS_NOT_REPRODUCIBLE ||
                   self->why[i].code == SEEDPRESS_WRONG_CLASS;

    if (differs)
        self->differs++;
    else
        self->failed++;
    print_loss(self, differs ? "differs" : "failed", i);
}

static enum err_code refill_page(struct run *self, struct err *e)
{
    size_t asked = self->lost.count;
    struct ledger_lost *left;
    enum err_code rc;

    memset(self->fate, 0, sizeof self->fate);
    for (int round = 0; ask_round(self) > 0 && round < ROUNDS && !*self->ctx->interrupted; round++)
        contact_pause(self->wait_ms);
    if (*self->ctx->interrupted)
        return ERR_OK;
    left = malloc(sizeof *left);
    if (!left)
        return err_set(e, ERR_NOMEM, "no memory for a page of the ledger");
    *left = self->lost;
    rc = ledger_lost_again(self->ledger, left, e);
    progress_end(&self->progress);
    for (size_t i = 0, at = 0; !rc && i < asked; i++)    /* left is a part, in the same order */
        if (at < left->count && digest_equal(&left->rows[at].key, &self->lost.rows[i].key)) {
            count_loss(self, i);
            at++;
        } else
            self->refilled++;
    if (!rc)
        self->asked += (int64_t)asked;
    free(left);
    return rc;
}

/* ---- all of it ---- */

static void print_summary(const struct run *self)
{
    cJSON *line;

    if (!self->ctx->json) {
        if (self->asked == 0)
            puts("nothing to do: no file is lost");
        else
            printf("%" PRId64 " files were lost: %" PRId64 " refilled, %" PRId64 " differ, "
                   "%" PRId64 " failed\n", self->asked, self->refilled, self->differs,
                   self->failed);
        return;
    }
    line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "lost", (double)self->asked);
    cJSON_AddNumberToObject(line, "refilled", (double)self->refilled);
    cJSON_AddNumberToObject(line, "differs", (double)self->differs);
    cJSON_AddNumberToObject(line, "failed", (double)self->failed);
    command_print(line);
}

static int refill(struct run *self)
{
    struct digest first = self->lost.has_after ? self->lost.after : (struct digest){ { 0 } };
    struct digest before = first;
    struct err e = { .code = ERR_OK };
    char words[160];

    while (!self->lost.done && !e.code && !*self->ctx->interrupted) {
        before = self->lost.after;
        if (ledger_lost_page(self->ledger, &self->lost, &e) ||
            (self->lost.count > 0 && refill_page(self, &e)))
            break;
        upkeep_show(&self->progress, &first, &self->lost.after, self->asked);
    }
    progress_end(&self->progress);
    print_summary(self);
    if (e.code || *self->ctx->interrupted) {
        snprintf(words, sizeof words, "stopped; to go on: seedpress ledger refill --from %s",
                 digest_hex(&before).text);
        command_warn(self->ctx, words);
        return e.code ? command_fail(self->ctx, &e) : err_info(ERR_CANCELLED)->exit_code;
    }
    return self->refilled < self->asked ? EXIT_PARTLY : EXIT_OK;
}

int cmd_ledger_refill_run(const struct command_context *ctx, int argc, char **argv)
{
    struct run *self = calloc(1, sizeof *self);
    struct options options;
    struct err e;
    int code;

    if (!self) {
        err_set(&e, ERR_NOMEM, "no memory for a page of the ledger");
        return command_fail(ctx, &e);
    }
    self->ctx = ctx;
    if (!read_options(ctx, argc, argv, &options, &code) ||
        (code = upkeep_open(ctx, options.conninfo, NULL, &self->ledger)) ||
        (code = contact_open(ctx, &self->sp)))
        goto done;
    self->lost.one_model = options.model;
    self->lost.job = options.job;
    self->lost.since_s = options.since_s;
    self->lost.pruned = options.pruned;
    self->lost.has_after = options.has_from;
    self->lost.after = options.from;
    progress_init(&self->progress, stderr,
                  ctx->json ? PROGRESS_SILENT : progress_style_of(stderr), 0, clock_ms());
    code = options.model && upkeep_model(self->ledger, options.model, &self->lost.model, &e)
               ? command_fail(ctx, &e) : refill(self);
done:
    seedpress_destroy(&self->sp);
    ledger_close(&self->ledger);
    free(self);
    return code;
}
