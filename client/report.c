#include "client/report.h"

#include "client/command.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void report_keep(struct report *self, const struct seedpress_status *st)
{
    report_release(self);
    self->uptime_ms = st->uptime_ms;
    self->submitted = st->submitted;
    self->answered = st->answered;
    self->failed = st->failed;
    self->workers = calloc(st->worker_count + 1, sizeof *self->workers);
    if (!self->workers)
        return;
    for (; self->worker_count < st->worker_count; self->worker_count++) {
        struct report_worker *w = &self->workers[self->worker_count];

        memcpy(w->worker, st->workers[self->worker_count].worker, sizeof w->worker);
        w->rendered = st->workers[self->worker_count].rendered;
    }
}

void report_release(struct report *self)
{
    free(self->workers);
    *self = (struct report){ .workers = NULL };
}

/* ---- rates ---- */

struct rate {
    bool known;                     /* not after a restart, nor at first */
    double per_s;
};

static struct rate rate_of(const struct seedpress_status *st, const struct report *before,
                           int64_t now, int64_t then)
{
    int64_t ms = st->uptime_ms - before->uptime_ms;

    if (before->uptime_ms == 0 || ms <= 0 || now < then)
        return (struct rate){ .known = false };
    return (struct rate){ true, (double)(now - then) * 1000 / (double)ms };
}

/* index: the worker's place in st, which is mostly the one that it had before too. */
static struct rate worker_rate(const struct seedpress_status *st, const struct report *before,
                               size_t index)
{
    const struct seedpress_worker *w = &st->workers[index];

    for (size_t i = 0; i < before->worker_count; i++) {
        const struct report_worker *then = &before->workers[(index + i) % before->worker_count];

        if (strcmp(then->worker, w->worker) == 0)
            return rate_of(st, before, w->rendered, then->rendered);
    }
    return (struct rate){ .known = false };
}

static void print_rate(FILE *out, const char *lead, struct rate rate, const char *tail)
{
    if (rate.known)
        fprintf(out, "%s%.1f/s%s", lead, rate.per_s, tail);
}

/* ---- a page ---- */

static void print_uptime(FILE *out, int64_t uptime_ms)
{
    int64_t s = uptime_ms / 1000;

    if (s >= 86400)
        fprintf(out, "%" PRId64 " d ", s / 86400);
    if (s >= 3600)
        fprintf(out, "%" PRId64 " h ", s / 3600 % 24);
    if (s >= 60)
        fprintf(out, "%" PRId64 " min ", s / 60 % 60);
    fprintf(out, "%" PRId64 " s", s % 60);
}

static void print_workers(FILE *out, const struct seedpress_status *st, const struct report *before)
{
    if (st->worker_count == 0)
        fprintf(out, "%-12snone\n", "workers");
    for (size_t i = 0; i < st->worker_count; i++) {
        const struct seedpress_worker *w = &st->workers[i];

        fprintf(out, "%-12s%s: %s, %s; run %" PRId64 ", %" PRId64 " of %" PRId64 " leased, %" PRId64
                     " rendered", i ? "" : "workers", w->worker, w->device, w->numerics_class,
                w->run, w->leased, w->credit, w->rendered);
        print_rate(out, ", ", worker_rate(st, before, i), "");
        fputs(w->draining ? ", draining\n" : "\n", out);
    }
}

void report_page(FILE *out, const char *broker, const struct seedpress_status *st,
                 const struct report *before)
{
    fprintf(out, "%-12sseedpress %s at %s%s, up ", "broker", st->version, broker,
            st->draining ? ", draining" : "");
    print_uptime(out, st->uptime_ms);
    fprintf(out, "\n%-12s%s\n", "ledger", st->ledger_up ? "up" : "cannot be reached");
    fprintf(out, "%-12s%" PRId64 " high, %" PRId64 " normal, %" PRId64 " low; %" PRId64
            " being looked up\n", "queued", st->queued_high, st->queued_normal, st->queued_low,
            st->looking_up);
    fprintf(out, "%-12shalf at most %" PRId64 " ms, all but 1 %% at most %" PRId64 " ms, in the "
            "last minute; the oldest now %" PRId64 " ms\n", "wait", st->wait_p50_ms,
            st->wait_p99_ms, st->oldest_ms);
    fprintf(out, "%-12s%" PRId64 " held, %" PRId64 " rendering, %" PRId64 " committing; %" PRId64
            " requests wait\n", "at work", st->held, st->rendering, st->committing, st->waiters);
    fprintf(out, "%-12s%" PRId64 " asked for, %" PRId64 " answered (%" PRId64 " stored already, %"
            PRId64 " in memory, %" PRId64 " joined), %" PRId64 " failed, %" PRId64 " cancelled\n",
            "pictures", st->submitted, st->answered, st->ledger_hits, st->memory_hits, st->joined,
            st->failed, st->cancelled);
    fprintf(out, "%-12s%" PRId64 " refused at once, %" PRId64 " too late", "of them", st->refused,
            st->expired);
    print_rate(out, "; now ", rate_of(st, before, st->submitted, before->submitted), " asked for");
    print_rate(out, ", ", rate_of(st, before, st->answered, before->answered), " answered");
    fprintf(out, "\n%-12s%" PRId64 " given to another worker, %" PRId64 " late results, %" PRId64
            " given up; %" PRId64 " workers lost\n", "renders", st->retried, st->late, st->poison,
            st->workers_lost);
    fprintf(out, "%-12s%" PRId64 " now, %" PRId64 " did not read; messages: %" PRId64 " denied, %"
            PRId64 " malformed\n", "clients", st->clients, st->clients_dropped, st->denied,
            st->malformed);
    print_workers(out, st, before);
}

void report_line(FILE *out, const struct seedpress_status *st, const struct report *before)
{
    fputs("up ", out);
    print_uptime(out, st->uptime_ms);
    fprintf(out, "%s%s, queued %" PRId64 "/%" PRId64 "/%" PRId64 ", oldest %" PRId64
            " ms, wait %" PRId64 "/%" PRId64 " ms, at work %" PRId64 ", answered %" PRId64,
            st->ledger_up ? "" : ", ledger away", st->draining ? ", draining" : "",
            st->queued_high, st->queued_normal, st->queued_low, st->oldest_ms, st->wait_p50_ms,
            st->wait_p99_ms, st->held + st->rendering + st->committing, st->answered);
    print_rate(out, " (", rate_of(st, before, st->answered, before->answered), ")");
    fprintf(out, ", failed %" PRId64 ", workers %zu\n", st->failed, st->worker_count);
}

/* ---- an object ---- */

static void add(cJSON *object, const char *name, int64_t value)
{
    cJSON_AddNumberToObject(object, name, (double)value);
}

static void add_rate(cJSON *object, const char *name, struct rate rate)
{
    if (rate.known)
        cJSON_AddNumberToObject(object, name, rate.per_s);
}

static void add_counts(cJSON *line, const struct seedpress_status *st)
{
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
    add(line, "memory_hits", st->memory_hits);
    add(line, "memory_bytes", st->memory_bytes);
    add(line, "refused", st->refused);
    add(line, "expired", st->expired);
    add(line, "poison", st->poison);
    add(line, "workers_lost", st->workers_lost);
    add(line, "clients", st->clients);
    add(line, "clients_dropped", st->clients_dropped);
    add(line, "denied", st->denied);
    add(line, "malformed", st->malformed);
    add(line, "oldest_ms", st->oldest_ms);
    add(line, "wait_p50_ms", st->wait_p50_ms);
    add(line, "wait_p99_ms", st->wait_p99_ms);
}

void report_json(const struct seedpress_status *st, const struct report *before)
{
    cJSON *line = cJSON_CreateObject(), *workers;

    cJSON_AddStringToObject(line, "version", st->version);
    add(line, "uptime_ms", st->uptime_ms);
    cJSON_AddBoolToObject(line, "ledger_up", st->ledger_up);
    cJSON_AddBoolToObject(line, "draining", st->draining);
    add_counts(line, st);
    add_rate(line, "submitted_per_s", rate_of(st, before, st->submitted, before->submitted));
    add_rate(line, "answered_per_s", rate_of(st, before, st->answered, before->answered));
    add_rate(line, "failed_per_s", rate_of(st, before, st->failed, before->failed));
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
        add_rate(item, "rendered_per_s", worker_rate(st, before, i));
        add(item, "backlog_ms", w->backlog_ms);
        add(item, "silent_ms", w->silent_ms);
        cJSON_AddBoolToObject(item, "draining", w->draining);
        cJSON_AddItemToArray(workers, item);
    }
    command_print(line);
}
