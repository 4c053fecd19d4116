/* bulk_work -- what bulk jobs have the ledger's thread do: the questions of broker/bulk, each a
 * struct that goes there in an errand and comes back with its answer. Nothing here knows the
 * broker; what takes long (keys by the thousand) is done there too. */
#ifndef BROKER_BULK_WORK_H
#define BROKER_BULK_WORK_H

#include "proto/err.h"
#include "sql/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BULK_CHUNKS_MAX = 64,           /* that a broker holds at once */
    BULK_SHUNNED_MAX = 16,          /* jobs that it passes over for a while */
    BULK_WATCHED_MAX = 1000,        /* chunks that others hold and it watches */
};

/* The items of a chunk, and which of them have a row. */
struct bulk_items {
    char owner[80];                 /* of the job */
    int priority;
    struct ledger_part *parts;      /* owned, [part_count]: those that the chunk lies in */
    size_t part_count;
    struct digest *keys;            /* owned, [count of the chunk]; NULL: not known yet */
    bool *present;                  /* owned, as keys */
};
void bulk_items_release(struct bulk_items *self);
/* The keys of the chunk's items, whose parts are there. ERR_NOMEM, ERR_BUG: its count. */
enum err_code bulk_items_make_keys(struct bulk_items *self, const struct ledger_chunk *chunk,
                                   struct err *e);
struct recipe bulk_items_recipe(const struct bulk_items *self, int64_t item);

/* Each call is an errand's, its extra the struct of that name; end is its end_extra. */

enum bulk_open_kind { BULK_LEASE, BULK_TAKE, BULK_LOOK };
struct bulk_chunk;
struct bulk_open {
    struct bulk_chunk *asker;       /* the loop's; LOOK: whose items */
    enum bulk_open_kind kind;
    const char *holder;             /* borrowed for ever */
    int64_t except[BULK_SHUNNED_MAX];           /* LEASE: not of these jobs */
    size_t except_count;
    struct ledger_chunk chunk;      /* TAKE: as it was seen; LOOK: held already */
    bool found;                     /* chunk is held */
    struct bulk_items items;        /* of it; keys are NULL when only the lease came about */
};
enum err_code bulk_open_call(struct ledger *ledger, void *extra, struct err *e);
void bulk_open_end(void *extra);

struct bulk_renew {
    struct ledger_chunk chunks[BULK_CHUNKS_MAX];
    enum ledger_bulk_state states[BULK_CHUNKS_MAX];
    bool held[BULK_CHUNKS_MAX];
    size_t count;
};
enum err_code bulk_renew_call(struct ledger *ledger, void *extra, struct err *e);

struct bulk_watch {
    int64_t asked_ms;               /* the loop's */
    unsigned connection;            /* over which it was seen */
    struct ledger_chunk chunks[BULK_WATCHED_MAX];
    size_t count;
};
enum err_code bulk_watch_call(struct ledger *ledger, void *extra, struct err *e);

struct bulk_finish {
    struct bulk_chunk *asker;       /* the loop's */
    struct ledger_chunk chunk;
    struct digest *keys;            /* owned */
    struct ledger_failure *failures;            /* owned, [failure_count] */
    size_t failure_count;
    bool held;
};
enum err_code bulk_finish_call(struct ledger *ledger, void *extra, struct err *e);
void bulk_finish_end(void *extra);

/* extra is a struct ledger_chunk. */
enum err_code bulk_return_call(struct ledger *ledger, void *extra, struct err *e);

#endif
