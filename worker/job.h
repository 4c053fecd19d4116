/* job -- one picture on its way through a worker. Exactly one stage owns it at a time; it carries
 * what each stage found. The uplink creates and destroys it. */
#ifndef WORKER_JOB_H
#define WORKER_JOB_H

#include "base/likeness.h"
#include "kernels/levels.h"
#include "kernels/picture.h"
#include "proto/message.h"
#include "proto/recipe.h"
#include "sql/ledger.h"

#include <stddef.h>
#include <stdint.h>

struct channel;
struct loaded_model;
struct rendered;
struct job;

/* What the stages tell the uplink, which alone talks to brokers. */
enum event_kind {
    EVENT_STARTED,                  /* these leases are being rendered */
    EVENT_RENDERED,                 /* these have come from the device */
    EVENT_ENDED,                    /* job is stored or failed; the uplink owns it again */
};
struct event {
    enum event_kind kind;
    struct job *job;                /* ENDED: the event is a part of it */
    size_t count;                   /* STARTED, RENDERED: the event is the uplink's to free() */
    struct event_lease {
        size_t broker;
        int64_t lease;
    } leases[];
};

/* In place of a broker: the worker's own, for nobody. */
enum { JOB_OWN = 1 << 16 };

struct job {
    /* from the broker */
    size_t broker;                  /* index in the uplink's list, or JOB_OWN */
    struct channel *own;            /* JOB_OWN: where it goes when it is encoded or has failed */
    int64_t lease;
    struct recipe recipe;
    struct digest key;
    int level;                      /* enum message_priority */
    int64_t deadline_ms;            /* clock_ms's scale */
    bool alone;                     /* must not share a batch */
    bool is_receipt;                /* nobody waits for its file */
    enum message_keep keep;
    int64_t bulk;                   /* bulk job for its row; 0: none */
    bool express;                   /* in its broker's place beyond the credit */

    /* batcher */
    struct loaded_model *model;
    size_t place;                   /* in the batcher's heap */
    uint64_t order;                 /* of arrival */

    /* renderer */
    struct rendered *rendered;      /* shared by the batch; slot is ours */
    size_t slot;
    int batch_size;
    int64_t render_us;              /* of the batch */

    /* encoder */
    struct picture picture;
    uint64_t likeness[LIKENESS_STORED_MAX];     /* [likeness_count] */
    size_t likeness_count;
    int64_t encode_us;              /* file and hashes */
    int64_t encoded_ms;             /* when that was done; clock_ms's scale */

    /* archive */
    struct ledger_stored stored;
    struct levels off;              /* is_measured: how far our render is from the stored picture */
    bool is_measured;
    int64_t store_us;

    struct err why;                 /* code set: the job failed at some stage */
    struct event ended;             /* last: it ends in an array of no length */
};

#endif
