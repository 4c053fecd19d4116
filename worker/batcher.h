/* batcher -- forms batches out of waiting jobs: by priority, then deadline, then arrival. A batch
 * holds one model; it starts as soon as the device is free, so under load batches grow by
 * themselves and alone a job waits for nobody.
 *
 * Low work fills the empty places of a batch that somebody waits for only as far as that lengthens
 * it by fill_ms at most; a batch of low work alone is at most bulk_ms long. Both by the measured
 * cost of a picture, so that urgent work never sits behind a long batch.
 *
 * Safe from any thread. */
#ifndef WORKER_BATCHER_H
#define WORKER_BATCHER_H

#include "proto/err.h"
#include "worker/dials.h"
#include "worker/job.h"

#include <stdbool.h>

struct batcher_options {
    size_t batch_max;               /* pictures of a batch */
    int64_t batch_ms;               /* length of any batch, beyond its first picture */
    int64_t fill_ms, bulk_ms;
    struct dials *dials;            /* borrowed; NULL: nobody counts */
};

struct batcher;
enum err_code batcher_create(const struct batcher_options *options, struct batcher **out,
                             struct err *e);
void batcher_destroy(struct batcher **self);        /* must be empty */

/* Takes the job. False: no memory or closed; it stays the caller's. */
bool batcher_add(struct batcher *self, struct job *job);
/* Waits for work and fills batch[0..batch_max); returns how many, all of one model. 0: closed and
 * empty. */
size_t batcher_take(struct batcher *self, struct job **batch);
/* Takes a job that has not started out again, NULL when it is not here. */
struct job *batcher_recall(struct batcher *self, size_t broker, int64_t lease);
/* Takes out any job, or any of one broker; NULL when there is none. */
struct job *batcher_recall_any(struct batcher *self);
struct job *batcher_recall_broker(struct batcher *self, size_t broker);
size_t batcher_count(struct batcher *self);
int64_t batcher_cost_us(struct batcher *self);      /* of all that waits */
/* No more adds; takes go on until it is empty. */
void batcher_close(struct batcher *self);

#endif
