/* uplink -- the worker's side of the protocol: one socket a broker, credit, heartbeats, jobs in,
 * results out. One thread, one poll; time comes in as now_ms. */
#ifndef WORKER_UPLINK_H
#define WORKER_UPLINK_H

#include "base/c2pa.h"
#include "base/channel.h"
#include "base/link.h"
#include "proto/err.h"
#include "worker/batcher.h"
#include "worker/library.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UPLINK_BROKERS_MAX = 16 };

/* How far the stages are, for heartbeats: pictures since the start, and how much longer the device
 * is busy with the batch that it has. */
struct stages_report {
    int64_t started, rendered, stored, left_us;
    bool ledger_up;
};

/* All borrowed; outlives the uplink. */
struct uplink_parts {
    const struct library *library;
    struct batcher *batcher;
    struct channel *events;
    struct stages_report (*report)(void *arg, int64_t now_ms);
    void *report_arg;
    int64_t batch_max;
    const struct c2pa_signer *signer;   /* NULL: what is to be signed is refused */
    bool dummy;                     /* what comes of it is no picture */
    const char *worker, *numerics_class, *encoder, *device;
    int64_t run_id;
    const struct link_curve *curve; /* NULL: no encryption */
    bool allow_plain;               /* TCP beyond loopback without it */
    size_t capacity;                /* jobs in the worker, of all brokers; see uplink_most */
};

/* Jobs that can be in the worker at once: a place for every broker at least, and one express place
 * each beyond that. */
size_t uplink_most(size_t capacity);

struct uplink;
/* Connects to the brokers of endpoints ("tcp://...,tcp://..."), which need not be there yet. */
enum err_code uplink_create(struct link_context *context, const char *endpoints,
                            const struct uplink_parts *parts, struct uplink **out, struct err *e);
/* Jobs that are still in some stage must have ended. */
void uplink_destroy(struct uplink **self);

/* What to wait for: at least UPLINK_BROKERS_MAX + 1 places; returns how many are used. */
size_t uplink_waits(const struct uplink *self, struct link_wait *waits);
/* Takes what has come, tells brokers what has happened. Returns when it wants the next call. */
int64_t uplink_turn(struct uplink *self, int64_t now_ms);

/* Brokers that know this worker now. */
size_t uplink_brokers(const struct uplink *self);

/* Takes nothing more, hands back what has not started. */
void uplink_drain(struct uplink *self, int64_t now_ms);
/* Nothing is left in any stage, and every result was sent or its broker is gone. */
bool uplink_is_drained(const struct uplink *self);
/* Says goodbye to the brokers. */
void uplink_leave(struct uplink *self);

#endif
