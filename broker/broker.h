/* broker -- hands renders to workers and pictures to clients. One thread, one poll, no waiting: the
 * loop in main.c feeds messages in and calls broker_tick; time comes in as now_ms. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "base/keyring.h"
#include "base/link.h"
#include "base/link_gate.h"
#include "broker/finder.h"
#include "broker/scribe.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stdint.h>

struct broker_options {
    int64_t lookup_ms;              /* how long a render waits for the ledger's look-up */
    int64_t grace_ms;               /* how long a render waits for any worker that has its model */
    int64_t silence_ms;             /* a worker not heard for this long is lost */
    int64_t stall_ms;               /* a worker with leases and no progress for this long is hung;
                                       the bound until a batch has been measured */
    int64_t heartbeat_ms;
    int64_t drain_ms;               /* how long a drain waits for what has started */
    size_t waiters_max;             /* pictures waited for: in all, of a level, of an account */
    size_t level_waiters_max, client_waiters_max;
    size_t queue_bytes, client_bytes;           /* what they may take: in all, of an account */
    int64_t client_rate, client_burst;          /* pictures a second an account, and at once;
                                       rate 0: any number */
    int64_t affinity_ms;            /* cost for which a worker stays on its last model */
    size_t outbox_max;              /* bytes a client that does not read */
    size_t outbox_total_max;        /* of all of them; the fullest is dropped first */
    size_t cache_bytes;             /* of recent pictures in memory; 0: none */
    int attempts_max;               /* tries of a render that die before it counts as poison */
    int64_t first_lease;            /* leases count up from here: another number at every start, so
                                       that a late result is never taken for a new lease's */
    bool without_ledger;            /* nothing is stored: dummies alone may work here */
    struct scribe *finder_scribe;   /* borrowed; for look-ups by likeness; NULL: there are none
                                       here */
    struct finder *finder;          /* borrowed; belongs to that scribe's thread */
    struct scribe *bulk_scribe;     /* borrowed; for bulk jobs, so that they hold up no look-up;
                                       NULL: this broker knows nothing of them */
    const char *bulk_holder;        /* borrowed; its name in leases, another at every start */
    int64_t bulk_lease_ms;          /* how long a chunk must have stood still to be taken over */
    size_t bulk_chunks;             /* held at once, at most BULK_CHUNKS_MAX; 0: none */
    const struct keyring *keyring;  /* borrowed; NULL: keys are not in use */
    const struct link_gate *gate;   /* borrowed, for its counts; NULL: there is none */
};
#define BROKER_OPTIONS_DEFAULT                                                                     \
    ((struct broker_options){ .lookup_ms = 20, .grace_ms = 5000, .silence_ms = 3000,               \
                              .stall_ms = 30000, .heartbeat_ms = 1000, .drain_ms = 20000,          \
                              .waiters_max = 100000, .level_waiters_max = 80000,                   \
                              .client_waiters_max = 10000, .queue_bytes = 128u << 20,              \
                              .client_bytes = 16u << 20, .client_burst = 100,                      \
                              .affinity_ms = 200, .outbox_max = 64u << 20,                         \
                              .outbox_total_max = 512u << 20, .cache_bytes = 256u << 20,           \
                              .attempts_max = 3, .bulk_holder = "",                                \
                              .bulk_lease_ms = 10000, .bulk_chunks = 2 })

struct broker;
/* Links (ROUTERs) and scribe are borrowed and must outlive it. */
enum err_code broker_create(const struct broker_options *options, struct link *client_link,
                            struct link *worker_link, struct scribe *scribe, int64_t now_ms,
                            struct broker **out, struct err *e);
void broker_destroy(struct broker **self);

/* One message from a client or a worker. Consumes the parcel. */
void broker_on_client(struct broker *self, int64_t now_ms, struct parcel *parcel);
void broker_on_worker(struct broker *self, int64_t now_ms, struct parcel *parcel);
/* Ends the peers of connections that have closed. To be called each turn, after what came was fed
 * in; is_drained: nothing was left on either link. */
void broker_check_connections(struct broker *self, bool is_drained, int64_t now_ms);
/* Takes the scribe's answers, ends what is due, dispatches. Returns when it wants to be called
 * again though nothing came. */
int64_t broker_tick(struct broker *self, int64_t now_ms);

/* The keyring was read anew: who may speak no more ends, with what it has asked or holds. */
void broker_recheck(struct broker *self, int64_t now_ms);

/* Takes nothing new from now on: early waiters are told to ask again, what has started finishes.
 * The second call ends that: whoever still waits is told to ask again by the next tick. */
void broker_drain(struct broker *self, int64_t now_ms);
bool broker_is_drained(const struct broker *self, int64_t now_ms);

/* What the port for monitoring shows, from any thread; lent until broker_destroy. */
struct health;
struct metrics;
const struct metrics *broker_metrics(const struct broker *self);
const struct health *broker_health(const struct broker *self);

#endif
