#include "broker/queue.h"

#include <utlist.h>

enum { LOOK_AHEAD = 16 };           /* waiters of a line that are offered to a worker */

void queue_add(struct queue *self, struct waiter *waiter)
{
    struct line *line = &waiter->request->client->lines[waiter->level];

    if (waiter->line)
        return;
    waiter->line = line;
    self->count[waiter->level]++;
    DL_APPEND2(line->first, waiter, line_prev, line_next);
    if (!line->in_ring) {
        line->in_ring = true;
        DL_APPEND(self->ring[waiter->level], line);
    }
}

void queue_remove(struct queue *self, struct waiter *waiter)
{
    struct line *line = waiter->line;

    if (!line)
        return;
    waiter->line = NULL;
    self->count[waiter->level]--;
    DL_DELETE2(line->first, waiter, line_prev, line_next);
    if (!line->first) {
        line->in_ring = false;
        DL_DELETE(self->ring[waiter->level], line);
    }
}

void queue_add_front(struct queue *self, struct render *render)
{
    if (render->at_front)
        return;
    render->at_front = true;
    DL_APPEND2(self->front, render, front_prev, front_next);
}

void queue_remove_render(struct queue *self, struct render *render)
{
    struct waiter *w;

    if (render->at_front) {
        render->at_front = false;
        DL_DELETE2(self->front, render, front_prev, front_next);
    }
    DL_FOREACH(render->waiters, w)
        queue_remove(self, w);
}

static struct waiter *acceptable(const struct line *line,
                                 bool (*accept)(void *arg, const struct render *render), void *arg)
{
    int looked = 0;

    for (struct waiter *w = line->first; w && looked < LOOK_AHEAD; w = w->line_next, looked++)
        if (accept(arg, w->render))
            return w;
    return NULL;
}

struct render *queue_next(struct queue *self,
                          bool (*accept)(void *arg, const struct render *render), void *arg)
{
    struct render *render;

    DL_FOREACH2(self->front, render, front_next)
        if (accept(arg, render)) {
            queue_remove_render(self, render);
            return render;
        }
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++) {
        struct line *line;

        DL_FOREACH(self->ring[level], line) {
            struct waiter *w = acceptable(line, accept, arg);

            if (!w)
                continue;
            DL_DELETE(self->ring[level], line);     /* it had its turn: to the end of the ring */
            DL_APPEND(self->ring[level], line);
            render = w->render;
            queue_remove_render(self, render);
            return render;
        }
    }
    return NULL;
}

static int64_t earlier(const struct waiter *w, int64_t oldest_ms)
{
    return w && w->arrived_ms < oldest_ms ? w->arrived_ms : oldest_ms;
}

int64_t queue_oldest_ms(const struct queue *self)
{
    int64_t oldest_ms = INT64_MAX;
    const struct render *render;
    const struct line *line;

    DL_FOREACH2(self->front, render, front_next)
        oldest_ms = earlier(render->waiters, oldest_ms);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
        DL_FOREACH(self->ring[level], line)
            oldest_ms = earlier(line->first, oldest_ms);
    return oldest_ms;
}
