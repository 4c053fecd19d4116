/* meter -- the broker's metrics, and the figures of status_report that come from the same counts.
 * The loop fills it; the port for monitoring reads it from its own thread. */
#ifndef BROKER_METER_H
#define BROKER_METER_H

#include "base/health.h"
#include "base/metrics.h"
#include "base/recent.h"
#include "proto/message.h"

#include <stddef.h>
#include <stdint.h>

enum meter_row {
    METER_SUBMITTED, METER_FINISHED, METER_REFUSED, METER_MESSAGES_FAILED, METER_DEDUPE,
    METER_QUEUE_DEPTH, METER_QUEUE_OLDEST, METER_QUEUE_WAIT, METER_RENDERS, METER_WAITERS,
    METER_RESULT_BYTES, METER_WORKER_UP, METER_MODEL_WORKERS, METER_WORKERS_LOST,
    METER_LEASES_LOST, METER_RETRIED, METER_POISON, METER_LATE, METER_CONNECTIONS,
    METER_HANDSHAKES_FAILED, METER_CLIENTS, METER_CLIENTS_DROPPED, METER_DENIED,
    METER_MALFORMED, METER_LEDGER_UP, METER_MEMORY_BYTES, METER_BUILD_INFO,
    METER_BULK_ITEMS, METER_BULK_CHUNKS, METER_BULK_WAITING, METER_ROWS
};
extern const struct metric METER_TABLE[METER_ROWS];

struct meter {
    struct metrics *metrics;
    struct health health;
    struct recent waits;            /* ms from arrival to dispatch */
    int64_t next_ms;                /* when what is looked for is looked for again */
};

enum err_code meter_init(struct meter *self, int64_t now_ms, struct err *e);
void meter_release(struct meter *self);             /* all zero is fine */

/* One answer went out: to a picture's waiter (seed >= 0), or to a whole message. */
void meter_answered(struct meter *self, size_t bytes);
void meter_failed(struct meter *self, enum err_code code, int64_t seed);

struct broker;
struct render;
/* render goes to a worker. Its first dispatch is what its waiters have waited for. */
void meter_dispatched(struct broker *b, const struct render *render, int64_t now_ms);
/* Once a turn: stamps the health, and copies what the broker counts. */
void meter_turn(struct broker *b, int64_t now_ms);
/* The fields of the report that come from here. */
void meter_report(struct broker *b, int64_t now_ms, struct message_status_report *out);

#endif
