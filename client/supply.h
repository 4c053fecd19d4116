/* supply -- the pictures of a bulk job, in the order of its items, over libseedpress: a bounded
 * number is asked for ahead; what the broker refuses for now is asked again; what ended in an error
 * takes its place in the order as a failure.
 *
 * A job that keeps its files is followed: what is not there yet is waited for, never rendered out
 * of turn; a file that was pruned since is rendered again, and so is everything of a job without
 * files, whose brokers learn every five seconds that an exporter is alive. */
#ifndef CLIENT_SUPPLY_H
#define CLIENT_SUPPLY_H

#include "client/items.h"
#include "client/seedpress.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct supply;

/* Items first .. first + count - 1, in rising order. */
struct supply_range {
    int64_t first, count;
};

struct supply_options {
    struct seedpress *sp;           /* borrowed, as items and ranges are; nobody else submits with
                                       it or takes its events */
    const struct items *items;
    struct seedpress_job job;       /* as it stands */
    const struct supply_range *ranges;          /* [range_count]; which items are wanted */
    size_t range_count;
    bool retry_failed;              /* ask also for what the ledger has as failed */
    int64_t timeout_ms;             /* how long to bear that nobody gives anything. Waiting for a
                                       job's own progress does not count */
};

/* ERR_NOMEM. On failure *out is NULL. */
enum err_code supply_create(const struct supply_options *options, struct supply **out,
                            struct err *e);
void supply_destroy(struct supply **self);      /* what is asked for is given up; NULL is fine */

/* Lent until the next call. */
struct supply_item {
    int64_t item;
    const struct seedpress_image *image;        /* with its file; NULL: failed */
    const char *code, *message;                 /* of a failure; its code as a word */
};
enum supply_state {
    SUPPLY_ITEM,                    /* the next one */
    SUPPLY_IDLE,                    /* nothing for about 200 ms: look around, and call again */
    SUPPLY_END,                     /* all have been given */
    SUPPLY_FAILED                   /* e says why it cannot go on */
};
enum supply_state supply_next(struct supply *self, struct supply_item *out, struct err *e);

/* Why nothing comes, in words for a person: "no live worker has ..."; NULL: it comes. Static or
 * lent until the next call. */
const char *supply_waits_for(const struct supply *self);

#endif
