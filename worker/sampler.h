/* sampler -- renders what is stored once more, to see that it still comes out the same: one in N of
 * the pictures that this worker stores, whenever it is idle. What is rendered again is any picture
 * of the ledger that this worker's class and encoder made of a model that it has; a core hash that
 * differs is an alarm (README.md says what to do then). Nothing is stored and nobody waits for it.
 *
 * A thread of its own with its own connection to the ledger; at most one picture at a time, put
 * into the batcher as low work, so that whoever asks meanwhile goes first. */
#ifndef WORKER_SAMPLER_H
#define WORKER_SAMPLER_H

#include "proto/err.h"
#include "worker/batcher.h"
#include "worker/dials.h"
#include "worker/library.h"

#include <stdbool.h>
#include <stdint.h>

/* All borrowed; outlives the sampler, but for conninfo. */
struct sampler_parts {
    const char *conninfo;
    int64_t one_in;                 /* pictures stored for each that is rendered again */
    const char *numerics_class, *encoder;
    const struct library *library;
    struct batcher *batcher;
    struct dials *dials;
    int64_t (*stored)(void *arg);   /* pictures that the worker has stored since its start */
    bool (*is_idle)(void *arg);     /* nothing waits and nothing renders */
    void *arg;
};

struct sampler;
enum err_code sampler_create(const struct sampler_parts *parts, struct sampler **out,
                             struct err *e);
/* No new ones; what waits in the batcher is taken back. Before the batcher is closed. */
void sampler_stop(struct sampler *self);
/* What it rendered must have come out of the stages. */
void sampler_destroy(struct sampler **self);

#endif
