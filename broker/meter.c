#include "broker/core.h"

#include <stdio.h>
#include <utlist.h>

enum { LOOK_EVERY_MS = 1000 };

static const char *const LEVELS[] = { "high", "normal", "low" };
static const char *const PORTS[] = { "clients", "workers" };
static const char *const STATES[] = { "lookup", "queued", "held", "rendering", "committing" };
enum dedupe { DEDUPE_INFLIGHT, DEDUPE_MEMORY, DEDUPE_STORE, DEDUPE_COUNT };
static const char *const DEDUPES[] = { "inflight", "memory", "store" };
enum bulk_outcome { BULK_DONE, BULK_FAILED };
static const char *const BULK_OUTCOMES[] = { "done", "failed" };

static const int64_t WAIT_MS[] = { 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000,
                                   30000, 60000, 300000 };
static const int64_t BYTES[] = { 4 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10,
                                 1 << 20, 4 << 20, 16 << 20 };

#define LABELLED(name, list)                                                                       \
    .label = { name }, .words = list, .series = sizeof list / sizeof list[0]
#define BOUNDED(list) .bounds = list, .bound_count = sizeof list / sizeof list[0]

const struct metric METER_TABLE[METER_ROWS] = {
    [METER_SUBMITTED] = { .name = "seedpress_jobs_submitted_total", .kind = METRIC_COUNTER,
        .help = "Pictures asked for, in messages that were taken." },
    [METER_FINISHED] = { .name = "seedpress_jobs_finished_total", .kind = METRIC_COUNTER,
        .label = { "outcome" }, .series = ERR_COUNT,
        .help = "Pictures that ended: ok, or the code of the error that answered them." },
    [METER_REFUSED] = { .name = "seedpress_jobs_refused_total", .kind = METRIC_COUNTER,
        .help = "Pictures refused at once, by a bound or because they would be late." },
    [METER_MESSAGES_FAILED] = { .name = "seedpress_messages_failed_total", .kind = METRIC_COUNTER,
        .label = { "reason" }, .series = ERR_COUNT,
        .help = "Messages of clients answered as a whole with an error, by its code." },
    [METER_DEDUPE] = { .name = "seedpress_dedupe_total", .kind = METRIC_COUNTER,
        LABELLED("kind", DEDUPES),
        .help = "Pictures that nobody had to render for: joined one in flight, or found." },
    [METER_QUEUE_DEPTH] = { .name = "seedpress_queue_depth", .kind = METRIC_GAUGE,
        LABELLED("level", LEVELS), .help = "Pictures that wait for a worker." },
    [METER_QUEUE_OLDEST] = { .name = "seedpress_queue_oldest_age_seconds", .kind = METRIC_GAUGE,
        .per = 1000,
        .help = "How long the picture has waited that has waited longest for a worker." },
    [METER_QUEUE_WAIT] = { .name = "seedpress_queue_wait_seconds", .kind = METRIC_HISTOGRAM,
        .per = 1000, BOUNDED(WAIT_MS), .help = "From a picture's arrival to its first dispatch." },
    [METER_RENDERS] = { .name = "seedpress_renders", .kind = METRIC_GAUGE,
        LABELLED("state", STATES), .help = "Renders, by state." },
    [METER_WAITERS] = { .name = "seedpress_waiters", .kind = METRIC_GAUGE,
        .help = "Pictures asked for and not yet answered." },
    [METER_RESULT_BYTES] = { .name = "seedpress_result_bytes", .kind = METRIC_HISTOGRAM,
        BOUNDED(BYTES), .help = "Size of the pictures that were answered." },
    [METER_WORKER_UP] = { .name = "seedpress_worker_up", .kind = METRIC_GAUGE,
        .help = "Workers that are alive." },
    [METER_MODEL_WORKERS] = { .name = "seedpress_model_workers", .kind = METRIC_GAUGE,
        .label = { "model" }, .series = MESSAGE_MODELS_MAX,
        .help = "Live workers that have the model: its first name, @, 8 digits of its digest." },
    [METER_WORKERS_LOST] = { .name = "seedpress_workers_lost_total", .kind = METRIC_COUNTER,
        .help = "Workers that died, fell silent or hung." },
    [METER_LEASES_LOST] = { .name = "seedpress_worker_leases_lost_total", .kind = METRIC_COUNTER,
        .help = "Leases that lost workers, or broken connections, took with them." },
    [METER_RETRIED] = { .name = "seedpress_renders_retried_total", .kind = METRIC_COUNTER,
        .help = "Renders queued again." },
    [METER_POISON] = { .name = "seedpress_renders_poison_total", .kind = METRIC_COUNTER,
        .help = "Renders given up after failing on every attempt." },
    [METER_LATE] = { .name = "seedpress_results_late_total", .kind = METRIC_COUNTER,
        .help = "Results of leases that had ended." },
    [METER_CONNECTIONS] = { .name = "seedpress_connections", .kind = METRIC_GAUGE,
        LABELLED("port", PORTS), .help = "Open connections, with handshakes under way." },
    [METER_HANDSHAKES_FAILED] = { .name = "seedpress_handshakes_failed_total",
        .kind = METRIC_COUNTER, .help = "Handshakes that were none, or ended early." },
    [METER_CLIENTS] = { .name = "seedpress_clients", .kind = METRIC_GAUGE,
        .help = "Clients that have asked within the last minute or still wait." },
    [METER_CLIENTS_DROPPED] = { .name = "seedpress_clients_dropped_total", .kind = METRIC_COUNTER,
        .help = "Clients that did not read their answers." },
    [METER_DENIED] = { .name = "seedpress_denied_total", .kind = METRIC_COUNTER,
        .help = "Messages and connections that were not allowed." },
    [METER_MALFORMED] = { .name = "seedpress_malformed_total", .kind = METRIC_COUNTER,
        .help = "Messages that could not be read." },
    [METER_LEDGER_UP] = { .name = "seedpress_ledger_up", .kind = METRIC_GAUGE,
        .help = "1 while the broker reaches the ledger." },
    [METER_MEMORY_BYTES] = { .name = "seedpress_memory_bytes", .kind = METRIC_GAUGE,
        .help = "Of pictures in the memory cache." },
    [METER_BUILD_INFO] = { .name = "seedpress_build_info", .kind = METRIC_GAUGE,
        .label = { "version" }, .series = 1, .help = "Always 1." },
    [METER_BULK_ITEMS] = { .name = "seedpress_bulk_items_total", .kind = METRIC_COUNTER,
        LABELLED("outcome", BULK_OUTCOMES),
        .help = "Items of bulk jobs in the chunks that this broker has finished." },
    [METER_BULK_CHUNKS] = { .name = "seedpress_bulk_chunks", .kind = METRIC_GAUGE,
        .help = "Chunks of bulk jobs that this broker holds." },
    [METER_BULK_WAITING] = { .name = "seedpress_bulk_waiting", .kind = METRIC_GAUGE,
        .help = "Pictures of bulk jobs among those asked for and not yet answered." },
};

_Static_assert(sizeof LEVELS / sizeof LEVELS[0] == MESSAGE_PRIORITY_COUNT, "a word for each level");
_Static_assert(sizeof PORTS / sizeof PORTS[0] == LINK_DOMAINS, "a word for each port");
_Static_assert(sizeof STATES / sizeof STATES[0] == RENDER_STATE_COUNT, "a word for each state");

enum err_code meter_init(struct meter *self, int64_t now_ms, struct err *e)
{
    enum err_code rc = metrics_create(METER_TABLE, METER_ROWS, &self->metrics, e);

    if (rc)
        return rc;
    health_init(&self->health, now_ms);
    recent_init(&self->waits, now_ms);
    for (int code = ERR_OK; code < ERR_COUNT; code++) {
        const char *word = err_info((enum err_code)code)->word;

        metrics_name(self->metrics, METER_FINISHED, (size_t)code, word, NULL);
        if (code != ERR_OK)
            metrics_name(self->metrics, METER_MESSAGES_FAILED, (size_t)code, word, NULL);
    }
    metrics_name(self->metrics, METER_BUILD_INFO, 0, SEEDPRESS_VERSION, NULL);
    metrics_set(self->metrics, METER_BUILD_INFO, 0, 1);
    return ERR_OK;
}

void meter_release(struct meter *self)
{
    metrics_destroy(&self->metrics);
}

/* ---- events ---- */

void meter_answered(struct meter *self, size_t bytes)
{
    metrics_add(self->metrics, METER_FINISHED, ERR_OK, 1);
    metrics_observe(self->metrics, METER_RESULT_BYTES, 0, (int64_t)bytes);
}

void meter_failed(struct meter *self, enum err_code code, int64_t seed)
{
    size_t series = code > ERR_OK && code < ERR_COUNT ? code : ERR_BUG;

    metrics_add(self->metrics, seed >= 0 ? METER_FINISHED : METER_MESSAGES_FAILED, series, 1);
}

void meter_dispatched(struct broker *b, const struct render *render, int64_t now_ms)
{
    const struct waiter *w;

    if (render->last_lease != 0)
        return;                      /* again: the first wait is the one that counts */
    DL_FOREACH(render->waiters, w) {
        int64_t wait_ms = now_ms - w->arrived_ms;

        if (w->only || w->request->chunk)
            continue;                /* it waits for the ledger alone; nobody waits */
        metrics_observe(b->meter.metrics, METER_QUEUE_WAIT, 0, wait_ms);
        recent_add(&b->meter.waits, now_ms, wait_ms);
    }
}

/* ---- what is looked for ---- */

static int64_t oldest_age_ms(const struct broker *b, int64_t now_ms)
{
    int64_t arrived_ms = queue_oldest_ms(&b->queue);

    return arrived_ms < now_ms ? now_ms - arrived_ms : 0;
}

static int64_t malformed(const struct broker *b)
{
    return b->count.malformed + link_malformed(b->clients.link) + link_malformed(b->worker_link);
}

static struct link_gate_counts gate_counts(const struct broker *b)
{
    struct link_gate_counts none = { .refused = 0 };

    return b->options.gate ? link_gate_counts(b->options.gate) : none;
}

static int64_t denied(const struct broker *b)
{
    return b->count.denied + gate_counts(b).refused;
}

static void copy_connections(struct broker *b)
{
    struct metrics *m = b->meter.metrics;
    struct link_gate_counts gate = gate_counts(b);

    for (size_t port = 0; port < LINK_DOMAINS; port++)
        metrics_set(m, METER_CONNECTIONS, port, (int64_t)gate.open[port]);
    metrics_set(m, METER_HANDSHAKES_FAILED, 0, gate.failed);
    metrics_set(m, METER_DENIED, 0, denied(b));
    metrics_set(m, METER_MALFORMED, 0, malformed(b));
    metrics_set(m, METER_CLIENTS_DROPPED, 0, b->clients.dropped);
    metrics_set(m, METER_CLIENTS, 0, HASH_COUNT(b->clients.by_peer));
}

static void look_at_models(struct broker *b)
{
    struct metrics *m = b->meter.metrics;
    size_t series = 0;

    /* Models are never forgotten, so that each keeps its place. */
    for (const struct model_entry *e = b->models.by_digest; e; e = e->hh.next, series++) {
        char name[METRIC_WORD_MAX];

        snprintf(name, sizeof name, "%s@%.8s", e->name, digest_hex(&e->digest).text);
        metrics_name(m, METER_MODEL_WORKERS, series, name, NULL);
        metrics_set(m, METER_MODEL_WORKERS, series, b->roster.shared[e->index][e->index]);
    }
}

static const char *why_not_ready(const struct broker *b)
{
    if (b->draining)
        return "draining";
    if (!ledger_is_fine(b))
        return "ledger down";
    return b->roster.by_peer ? NULL : "no worker";
}

static void copy_counts(struct broker *b)
{
    struct metrics *m = b->meter.metrics;
    const struct broker_counts *c = &b->count;

    metrics_set(m, METER_SUBMITTED, 0, c->submitted);
    metrics_set(m, METER_FINISHED, ERR_CANCELLED, c->cancelled);
    metrics_set(m, METER_REFUSED, 0, c->refused);
    metrics_set(m, METER_DEDUPE, DEDUPE_INFLIGHT, c->joined);
    metrics_set(m, METER_DEDUPE, DEDUPE_MEMORY, c->memory_hits);
    metrics_set(m, METER_DEDUPE, DEDUPE_STORE, c->ledger_hits);
    metrics_set(m, METER_WORKERS_LOST, 0, c->workers_lost);
    metrics_set(m, METER_LEASES_LOST, 0, c->leases_lost);
    metrics_set(m, METER_RETRIED, 0, c->retried);
    metrics_set(m, METER_POISON, 0, c->poison);
    metrics_set(m, METER_LATE, 0, c->late);
    metrics_set(m, METER_MEMORY_BYTES, 0, (int64_t)b->cache.bytes);
    metrics_set(m, METER_WAITERS, 0, (int64_t)b->waiters);
    metrics_set(m, METER_BULK_ITEMS, BULK_DONE, b->bulk.done);
    metrics_set(m, METER_BULK_ITEMS, BULK_FAILED, b->bulk.failed);
    metrics_set(m, METER_BULK_CHUNKS, 0, (int64_t)b->bulk.chunk_count);
    metrics_set(m, METER_BULK_WAITING, 0, (int64_t)b->bulk.waiters);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
        metrics_set(m, METER_QUEUE_DEPTH, (size_t)level, (int64_t)b->queue.count[level]);
    for (int state = 0; state < RENDER_STATE_COUNT; state++)
        metrics_set(m, METER_RENDERS, (size_t)state, (int64_t)b->renders.count[state]);
    metrics_set(m, METER_WORKER_UP, 0, HASH_COUNT(b->roster.by_peer));
    metrics_set(m, METER_LEDGER_UP, 0, scribe_ledger_is_up(b->scribe));
}

void meter_turn(struct broker *b, int64_t now_ms)
{
    health_turn(&b->meter.health, now_ms, why_not_ready(b));
    copy_counts(b);
    copy_connections(b);
    if (now_ms < b->meter.next_ms)
        return;
    b->meter.next_ms = now_ms + LOOK_EVERY_MS;
    metrics_set(b->meter.metrics, METER_QUEUE_OLDEST, 0, oldest_age_ms(b, now_ms));
    look_at_models(b);
}

void meter_report(struct broker *b, int64_t now_ms, struct message_status_report *out)
{
    const struct broker_counts *c = &b->count;

    out->memory_hits = c->memory_hits;
    out->memory_bytes = (int64_t)b->cache.bytes;
    out->refused = c->refused;
    out->expired = c->expired;
    out->poison = c->poison;
    out->workers_lost = c->workers_lost;
    out->clients = HASH_COUNT(b->clients.by_peer);
    out->clients_dropped = b->clients.dropped;
    out->denied = denied(b);
    out->malformed = malformed(b);
    out->oldest_ms = oldest_age_ms(b, now_ms);
    out->wait_p50_ms = recent_quantile(&b->meter.waits, now_ms, 500);
    out->wait_p99_ms = recent_quantile(&b->meter.waits, now_ms, 990);
}
