/* dials -- the worker's metrics. Every stage turns its own; the port for monitoring reads them from
 * its own thread. */
#ifndef WORKER_DIALS_H
#define WORKER_DIALS_H

#include "base/health.h"
#include "base/metrics.h"
#include "sql/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dials_row {
    DIALS_WORKER_UP, DIALS_BROKERS, DIALS_PICTURES, DIALS_BATCH_SIZE, DIALS_BATCH_LEFT,
    DIALS_STAGE, DIALS_REPLAY, DIALS_LEDGER_UP, DIALS_LEDGER_LAG, DIALS_MODEL_BYTES,
    DIALS_BUILD_INFO, DIALS_ROWS
};
extern const struct metric DIALS_TABLE[DIALS_ROWS];

/* Why a batch was not larger. */
enum dials_left {
    DIALS_LEFT_EMPTY,               /* nothing more waited */
    DIALS_LEFT_BATCH_MAX,
    DIALS_LEFT_BATCH_MS,
    DIALS_LEFT_FILL_MS,
    DIALS_LEFT_BULK_MS,
    DIALS_LEFT_ALONE,               /* its job, or the next one, shares with nobody */
    DIALS_LEFT_OTHER_MODEL,
    DIALS_LEFT_COUNT
};

/* The engine does mapping and synthesis in one call, so that they are one stage here. */
enum dials_stage { DIALS_RENDER, DIALS_ENCODE, DIALS_STORE, DIALS_STAGE_COUNT };

struct dials {
    struct metrics *metrics;
    struct health health;
};

enum err_code dials_init(struct dials *self, int64_t now_ms, const char *numerics_class,
                         struct err *e);
void dials_release(struct dials *self);             /* all zero is fine */

/* self NULL is fine in these: nothing is counted. From any thread. */
void dials_batch(struct dials *self, size_t count, enum dials_left left);
void dials_took(struct dials *self, enum dials_stage stage, int64_t us);
/* What the ledger said of a picture by a worker of that class and encoder. */
void dials_stored(struct dials *self, const struct ledger_stored *stored,
                  const char *numerics_class, const char *encoder);
/* A picture of this class and encoder was rendered again. */
void dials_replayed(struct dials *self, bool is_same);

/* At start: index < MESSAGE_MODELS_MAX. */
void dials_model(struct dials *self, size_t index, const char *name, int64_t bytes);

struct dials_state {
    int64_t started, rendered, stored;          /* pictures since the start */
    int64_t oldest_ms;              /* arrival of what waits longest to be stored; 0: none */
    size_t brokers;                 /* that know this worker */
    bool ledger_up, draining;
};
/* Once a turn of the loop. */
void dials_turn(struct dials *self, int64_t now_ms, const struct dials_state *state);

#endif
