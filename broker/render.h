/* render -- the one piece of work that answers all requests for a recipe key. Its requests are its
 * waiters, each of which ends by itself, exactly once. The table of states is in README.md; this
 * module holds the states and who waits, broker.c moves them. */
#ifndef BROKER_RENDER_H
#define BROKER_RENDER_H

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
    int level;                      /* enum message_priority */
    int64_t arrived_ms, deadline_ms;
    size_t deadline_place;          /* in the heap of deadlines */
    bool only;                      /* cache: only */
    const char *warning;            /* static words, or NULL */
    struct line *line;              /* where it queues; NULL: it does not */
    struct waiter *prev, *next;                 /* of the render */
    struct waiter *request_prev, *request_next; /* of the request */
    struct waiter *line_prev, *line_next;       /* of the line */
};

struct render {
    struct digest key;
    struct recipe recipe;
    enum render_state state;
    int64_t since_ms;               /* in this state */
    int64_t dispatched_ms;
    struct waiter *waiters;
    bool asked;                     /* the ledger's answer is still to come */
    bool bypass;                    /* never look up: somebody wants a new render */
    int attempts;                   /* tries that died or failed */
    bool at_front;                  /* queued before everybody else */
    struct render *front_prev, *front_next;     /* of the queue's front */
    struct render *lookup_prev, *lookup_next;

    int64_t avoid;                  /* serial of the worker where the last try failed; 0: none */

    int64_t lease;                  /* HELD and later; 0: none */
    struct worker *worker;
    int64_t last_lease;             /* that ended without a result; 0: none */
    bool recalled;                  /* the worker was asked to hand it back */
    struct render *lease_prev, *lease_next;     /* of the worker */
    UT_hash_handle hh;              /* by key */
    UT_hash_handle lease_hh;        /* by lease */
};

struct renders {
    struct render *by_key, *by_lease;
    struct render *lookups;         /* those in LOOKUP, longest there first */
    size_t count[RENDER_STATE_COUNT];
};

struct render *renders_find(struct renders *self, const struct digest *key);
struct render *renders_find_lease(struct renders *self, int64_t lease);
/* A new one in LOOKUP. NULL: no memory. */
struct render *renders_add(struct renders *self, const struct recipe *recipe,
                           const struct digest *key, int64_t now_ms);
/* Nobody waits any more and no worker holds it. */
void renders_end(struct renders *self, struct render *render);
void renders_set_state(struct renders *self, struct render *render, enum render_state state,
                       int64_t now_ms);
void renders_set_lease(struct renders *self, struct render *render, struct worker *worker,
                       int64_t lease);
void renders_clear_lease(struct renders *self, struct render *render);
/* Somebody waits who would take a new picture too. */
bool render_is_wanted(const struct render *render);
void renders_release(struct renders *self);

#endif
