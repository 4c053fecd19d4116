/* queue -- the order of work. Each waiter queues under its own client and level; the first one
 * popped dispatches the render for all. Levels are strict; inside a level clients take turns, so
 * that one who asks for 56 does not starve one who asks for 1. Renders that a worker gave back or
 * lost go before everybody.
 *
 * Finer order (cost, deadlines, a share for the oldest, model affinity) has its place in
 * queue_next. */
#ifndef BROKER_QUEUE_H
#define BROKER_QUEUE_H

#include "broker/client.h"
#include "broker/render.h"

struct queue {
    struct line *ring[MESSAGE_PRIORITY_COUNT];      /* whose turn is next at each level */
    size_t count[MESSAGE_PRIORITY_COUNT];           /* waiters */
    struct render *front;
};

void queue_add(struct queue *self, struct waiter *waiter);
void queue_remove(struct queue *self, struct waiter *waiter);      /* not queued: nothing happens */
/* Puts a render before everybody; its waiters are then in no line. */
void queue_add_front(struct queue *self, struct render *render);
/* Takes a render and its waiters out of the order. */
void queue_remove_render(struct queue *self, struct render *render);

/* The next render that accept(arg, render) agrees to, taken out with all its waiters; NULL when
 * there is none within the look-ahead of each line. */
struct render *queue_next(struct queue *self,
                          bool (*accept)(void *arg, const struct render *render), void *arg);

/* When the waiter arrived that has been queued longest; INT64_MAX: none is. Looks at every line. */
int64_t queue_oldest_ms(const struct queue *self);

#endif
