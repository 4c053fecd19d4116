/* archive -- the thread that stores pictures: many in one transaction, and an answer only after the
 * commit. When the ledger is away it keeps what it has and tries again; the worker's bounded credit
 * is what then stops the flow. */
#ifndef WORKER_ARCHIVE_H
#define WORKER_ARCHIVE_H

#include "base/channel.h"
#include "proto/err.h"
#include "sql/ledger.h"
#include "worker/dials.h"

#include <stdbool.h>
#include <stdint.h>

struct archive_run {                /* recorded with every picture */
    int64_t run_id;
    const char *numerics_class, *encoder;
    struct dials *dials;            /* borrowed; NULL: nobody counts */
};

struct archive;
/* Takes jobs from files and puts them, stored or refused, into events; both are borrowed. ledger
 * becomes the thread's own until destroy. */
enum err_code archive_create(struct ledger *ledger, const struct archive_run *run,
                             struct channel *files, struct channel *events, struct archive **out,
                             struct err *e);
/* From now on the ledger is asked once more at most: what it does not take fails with `retry`. */
void archive_hurry(struct archive *self);
/* Waits for the thread, which ends when files is closed and empty. */
void archive_destroy(struct archive **self);

int64_t archive_stored(const struct archive *self);         /* pictures since the start */
bool archive_ledger_is_up(const struct archive *self);
/* When the oldest picture came that is not stored yet; 0: there is none. */
int64_t archive_oldest_ms(const struct archive *self);

#endif
