/* gather -- several pictures that one visit asks for together. Each is taken from the album or
 * asked of the broker; who closes the connection cancels what is left. All of it but gather_create,
 * gather_destroy and gather_start runs on the agent's thread. */
#ifndef GATEWAY_GATHER_H
#define GATEWAY_GATHER_H

#include "client/gateway/gateway.h"

#include <stdbool.h>
#include <stddef.h>

struct gather;

struct gather_piece {
    struct ask ask;                 /* the caller fills what; the rest is gather's */
    bool is_ended;
    struct seedpress_error error;   /* is_ended: code 0 when the picture is there */
    struct gather *gather;
};

struct gather_kind {
    /* Before the first picture is asked for. NULL: nothing is to be done then. False: it cannot go
     * on; end is called next. */
    bool (*begin)(struct gather *self, struct agent *agent);
    /* As each piece ends. NULL: nobody waits for it. False: nobody listens any more. */
    bool (*each)(struct gather *self, const struct gather_piece *piece);
    /* After the last, or as soon as nobody listens any more. Answers the visit, if begin has not.
     * The gather goes after it. */
    void (*end)(struct gather *self, struct agent *agent, bool is_gone);
};

struct gather {
    struct agent_task task;
    struct agent_watch watch;
    const struct gather_kind *kind; /* static */
    void *arg;                      /* the caller's; NULL, or freed with the gather */
    struct gateway *gateway;
    struct visit *visit;
    int64_t end_ms;
    bool is_asking, is_unwanted;
    size_t count, left, asked;      /* asked: not found in the album */
    struct gather_piece piece[];    /* [count] */
};

/* NULL: no memory. */
struct gather *gather_create(struct gateway *gateway, struct visit *visit,
                             const struct gather_kind *kind, size_t count, int deadline_ms);
/* One that is not started. */
void gather_destroy(struct gather *self);
/* After gateway_admit, which is for one picture; the others that the broker is asked for are
 * charged to the visitor as well. Suspends the visit, and answers it at the end. What is too much
 * is refused at once; none of kind's functions is called then. */
void gather_start(struct gather *take);

#endif
