/* queue -- the order of work. Each waiter queues under its own account, level and deadline; the
 * first one popped dispatches the render for all and pays for it.
 *
 * What a worker gets next, of the models that it has:
 * 1. what came back from another worker, before everybody; not on the worker where it failed while
 *    another could take it;
 * 2. when the oldest's share is owed, 5 % of the cost given out: who has waited longest, whatever
 *    the level;
 * 3. the highest level that has something; there the account with the least virtual time; of its
 *    waiters the one with the nearest deadline. A worker stays on its last model for a bounded
 *    amount of cost.
 *
 * Nothing here looks at all who wait: a push or a pop costs the logarithm of a line's length and a
 * step for each model that somebody waits for. */
#ifndef BROKER_QUEUE_H
#define BROKER_QUEUE_H

#include "base/heap.h"
#include "broker/account.h"
#include "broker/models.h"
#include "broker/render.h"
#include "broker/roster.h"

/* One account's waiters for one model at one level. */
struct line {
    struct account *account;
    struct lane *lane;
    int level;
    int64_t order;                  /* counts lines, for those of one virtual time */
    struct heap waiters;            /* nearest deadline first, then in order of arrival */
    size_t place;                   /* in the lane's heap */
    struct line *prev, *next;       /* of the account */
};

/* All that waits for one model. */
struct lane {
    const struct model_entry *model;
    struct heap lines[MESSAGE_PRIORITY_COUNT];  /* least virtual time first */
    size_t count[MESSAGE_PRIORITY_COUNT];       /* waiters */
    struct waiter *oldest;          /* all of them, in the order in which they were queued */
    struct render *front;           /* what came back */
    size_t front_count;
    bool is_active;
    struct lane *prev, *next;       /* of the active ones */
};

struct queue {
    struct accounts *accounts;      /* borrowed */
    int64_t affinity_us;
    struct lane lanes[MESSAGE_MODELS_MAX];      /* by the model's index */
    struct lane *active;            /* lanes in which somebody waits */
    size_t count[MESSAGE_PRIORITY_COUNT];       /* waiters */
    size_t front_count;             /* renders */
    int64_t last_order;
    int64_t owed_us;                /* to the oldest */
};

void queue_init(struct queue *self, struct accounts *accounts, int64_t affinity_ms);
void queue_release(struct queue *self);
/* False: no memory, it is not queued. */
bool queue_add(struct queue *self, struct waiter *waiter);
void queue_remove(struct queue *self, struct waiter *waiter);      /* not queued: nothing happens */
/* Puts a render before everybody; its waiters are then in no line. */
void queue_add_front(struct queue *self, struct render *render);
/* Takes a render and its waiters out of the order. */
void queue_remove_render(struct queue *self, struct render *render);
/* Some render that waits for the model; NULL: none does. */
struct render *queue_any(const struct queue *self, const struct model_entry *model);
/* Pictures that wait for a model that the worker has; a render that two wait for counts twice. */
size_t queue_demand(const struct queue *self, const struct worker *worker);

struct pick {
    struct render *render;
    struct waiter *waiter;          /* whose turn it is; NULL: the render came back */
    bool is_oldest;                 /* by the share of the oldest */
};
/* What the worker gets next, of levels 0..lowest (MESSAGE_HIGH: only what is urgent); false when
 * there is nothing for it, or when the next place is owed to an older one of a lower level. Changes
 * nothing. */
bool queue_peek(const struct queue *self, const struct roster *roster, const struct worker *worker,
                int lowest, struct pick *out);
/* Takes the pick out with all its waiters; the one whose turn it was pays. */
void queue_take(struct queue *self, struct worker *worker, const struct pick *pick,
                int64_t cost_us);

/* When the waiter arrived that has been queued longest; INT64_MAX: none is. */
int64_t queue_oldest_ms(const struct queue *self);

#endif
