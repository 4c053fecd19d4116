/* bulk -- the chunks of bulk jobs that this broker makes. It leases them, puts what is missing into
 * the queue as pictures that nobody outside waits for, tells the ledger how each ended, and watches
 * the chunks of others for one that stands still. README.md has the table of states that this
 * module is. All its questions go to a ledger's thread of its own; the loop never waits. */
#ifndef BROKER_BULK_H
#define BROKER_BULK_H

#include "broker/bulk_work.h"
#include "broker/client.h"
#include "broker/scribe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BULK_WAITERS_MAX = 4096 };   /* pictures of all chunks that wait at once, at most */

struct broker;
struct broker_options;
struct bulk_chunk;
struct bulk_watched;

struct bulk_shunned {               /* a job that nobody here can serve */
    int64_t job, until_ms;
};

struct bulk {
    struct scribe *scribe;          /* borrowed; NULL: there are no bulk jobs here */
    const char *holder;             /* borrowed */
    int64_t lease_ms;
    size_t chunks_max;
    struct client inside;           /* whose requests its pictures are; in no table */
    struct bulk_chunk *chunks;
    size_t chunk_count;
    size_t waiters, waiters_max;    /* half of what one client may have, so that the owner of a job
                                       is not shut out by it */
    struct bulk_watched *watched;   /* by job and item */
    unsigned connection;            /* over which they were seen */
    struct bulk_shunned shunned[BULK_SHUNNED_MAX];
    size_t shunned_count;
    bool is_opening, is_renewing, is_watching;  /* an errand is on its way */
    bool may_open;                  /* there may be a chunk to be had */
    size_t errands;                 /* all that are on their way */
    int64_t now_ms, next_second_ms, next_renew_ms;
    int64_t done, failed;           /* items of finished chunks, since the start */
};

void bulk_init(struct bulk *self, const struct broker_options *options, int64_t now_ms);
/* Ends its requests too, so before the broker's renders. */
void bulk_release(struct broker *b);

/* Takes answers, moves the chunks on, asks what is due. Returns when it wants to be called
 * again. */
int64_t bulk_turn(struct broker *b, int64_t now_ms);
/* A job was submitted or resumed, a worker came: there may be a chunk to be had, for any job. */
void bulk_wake(struct bulk *self);
/* Somebody has paused, resumed or cancelled a job through this broker. */
void bulk_recheck(struct bulk *self);
/* Its pictures in the queue are taken out, its chunks go back; what has started finishes. */
void bulk_drain(struct broker *b);
/* Nothing of it is left that a drain should wait for. */
bool bulk_is_idle(const struct bulk *self);

/* For moves.c: a waiter of a chunk's request ends, stored (e is NULL) or not. */
void bulk_ended(struct bulk *self, const struct waiter *waiter, const struct err *e);
/* Its request ends. */
void bulk_request_ended(struct bulk_chunk *chunk);

/* Has the ledger's thread do call(extra); take then gets the errand with the answer. Takes extra
 * (NULL: there was no memory for it). False: it was not asked, extra is ended, and *e says why:
 * ERR_OVERLOADED, ERR_LEDGER_DOWN, ERR_NOMEM. */
struct bulk_question {
    enum err_code (*call)(struct ledger *ledger, void *extra, struct err *e);
    void (*end_extra)(void *extra);
    void (*take)(struct broker *b, struct errand *errand, int64_t now_ms);
    struct address to;              /* of the client that waits, if one does */
    int64_t id;
};
bool bulk_ask(struct bulk *self, const struct bulk_question *question, void *extra, struct err *e);

#endif
