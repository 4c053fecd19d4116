/* render -- the one piece of work that answers all requests for a recipe key. Its requests are its
 * waiters, each of which ends by itself, exactly once. The table of states is in README.md; this
 * module holds the states and who waits, broker.c moves them.
 *
 * A hundred thousand of them may be queued, so what only some need lies in structs of its own. */
#ifndef BROKER_RENDER_H
#define BROKER_RENDER_H

#include "broker/models.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

enum render_state {
    RENDER_LOOKUP,                  /* the ledger is asked */
    RENDER_QUEUED,
    RENDER_HELD,                    /* leased, not started */
    RENDER_RENDERING,
    RENDER_COMMITTING,              /* pixels made, not yet committed */
    RENDER_STATE_COUNT
};

struct request;
struct worker;
struct line;

struct waiter {
    struct render *render;
    struct request *request;
    int64_t arrived_ms, deadline_ms;
    size_t deadline_place;          /* in the heap of deadlines */
    const char *warning;            /* static words, or NULL */
    uint8_t level;                  /* enum message_priority */
    bool only;                      /* cache: only */
    uint16_t item;                  /* of its request's chunk, from 0 */
    struct waiter *prev, *next;                 /* of the render */
    struct waiter *request_prev, *request_next; /* of the request */

    struct line *line;              /* queue.c's: where it queues; NULL: it does not */
    size_t line_place;              /* in the line's heap */
    int64_t order;                  /* counts what was queued */
    struct waiter *age_prev, *age_next;         /* of the queue's, by age */
};

/* A worker holds a render. */
struct lease {
    int64_t number;                 /* the key */
    struct render *render;
    struct worker *worker;
    int64_t dispatched_ms;
    int64_t cost_us;                /* what it was expected to take */
    bool recalled;                  /* the worker was asked to hand it back */
    uint8_t want, keep;             /* as the worker was told; enum message_want, message_keep */
    struct lease *prev, *next;      /* of the worker */
    UT_hash_handle hh;
};

struct render {
    struct digest key;
    const struct model_entry *model;
    struct recipe_transform *transform;         /* owned; NULL: none */
    uint32_t seed, noise_seed, rev;
    int32_t psi, cutoff, class_index;
    uint16_t width, height;
    uint8_t noise, quality, mark;
    uint8_t attempts;               /* tries that died or failed */
    enum render_state state;
    bool asked;                     /* the ledger's answer is still to come */
    bool bypass;                    /* never look up: somebody wants a new render */
    bool at_front;                  /* queued before everybody else */
    int64_t since_ms;               /* in this state */
    int64_t avoid;                  /* serial of the worker where the last try failed; 0: none */
    struct waiter *waiters;
    struct lease *lease;            /* HELD and later; NULL: none */
    int64_t last_lease;             /* that ended without a result; 0: none */
    struct render *prev, *next;     /* LOOKUP: of the look-ups; at_front: of the queue's front */
    UT_hash_handle hh;              /* by key */
};

struct renders {
    struct render *by_key;
    struct lease *by_lease;
    struct render *lookups;         /* those in LOOKUP, longest there first */
    size_t count[RENDER_STATE_COUNT];
    size_t transforms;              /* renders that have one */
};

struct render *renders_find(struct renders *self, const struct digest *key);
struct render *renders_find_lease(struct renders *self, int64_t lease);
/* A new one in LOOKUP; recipe is of model, which is borrowed for ever. NULL: no memory. */
struct render *renders_add(struct renders *self, const struct recipe *recipe,
                           const struct model_entry *model, const struct digest *key,
                           int64_t now_ms);
/* Nobody waits any more and no worker holds it. */
void renders_end(struct renders *self, struct render *render);
void renders_set_state(struct renders *self, struct render *render, enum render_state state,
                       int64_t now_ms);
/* False: no memory, it has none. */
bool renders_set_lease(struct renders *self, struct render *render, struct worker *worker,
                       int64_t number, int64_t cost_us);
void renders_clear_lease(struct renders *self, struct render *render);
/* Bytes that all of them take without leases (whose number workers bound), with what malloc and the
 * table of keys add; and what one without a transform takes. */
size_t renders_bytes(const struct renders *self);
size_t render_bytes(void);
/* Somebody waits who would take a new picture too. */
bool render_is_wanted(const struct render *render);
/* The most urgent of those who wait; MESSAGE_LOW when nobody does. */
int render_level(const struct render *render);
struct recipe render_recipe(const struct render *render);
void renders_release(struct renders *self);

#endif
