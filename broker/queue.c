#include "broker/queue.h"

#include "broker/client.h"

#include <stdlib.h>
#include <utlist.h>

enum {
    LOOK_AHEAD = 16,                /* what came back, of a model, that is offered to a worker */
    OLDEST_PART = 20,               /* the oldest get one part in so many of the cost */
    OWED_MAX_US = 10000000,         /* more is not saved up */
};

static int64_t virtual_us(const struct line *line)
{
    return line->account->virtual_us[line->level];
}

static bool is_next_line(const void *a, const void *b)
{
    const struct line *x = a, *y = b;

    return virtual_us(x) != virtual_us(y) ? virtual_us(x) < virtual_us(y) : x->order < y->order;
}

static bool is_next_waiter(const void *a, const void *b)
{
    const struct waiter *x = a, *y = b;

    return x->deadline_ms != y->deadline_ms ? x->deadline_ms < y->deadline_ms
                                            : x->order < y->order;
}

void queue_init(struct queue *self, struct accounts *accounts, int64_t affinity_ms)
{
    *self = (struct queue){ .accounts = accounts, .affinity_us = affinity_ms * 1000 };
    for (int i = 0; i < MESSAGE_MODELS_MAX; i++)
        for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
            heap_init(&self->lanes[i].lines[level], offsetof(struct line, place), is_next_line);
}

void queue_release(struct queue *self)
{
    for (int i = 0; i < MESSAGE_MODELS_MAX; i++)
        for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
            heap_release(&self->lanes[i].lines[level]);
}

/* ---- in and out ---- */

static struct lane *open_lane(struct queue *self, const struct model_entry *model)
{
    struct lane *lane = &self->lanes[model->index];

    lane->model = model;
    if (!lane->is_active) {
        lane->is_active = true;
        DL_APPEND(self->active, lane);
    }
    return lane;
}

static void close_lane_if_empty(struct queue *self, struct lane *lane)
{
    if (!lane->is_active || lane->oldest || lane->front)
        return;
    lane->is_active = false;
    DL_DELETE(self->active, lane);
}

static struct line *find_line(const struct account *account, const struct lane *lane, int level)
{
    struct line *line;

    DL_FOREACH(account->lines, line)
        if (line->lane == lane && line->level == level)
            return line;
    return NULL;
}

/* Not yet in the lane: the account's virtual time is about to be set. */
static struct line *new_line(struct queue *self, struct account *account, struct lane *lane,
                             int level)
{
    struct line *line = calloc(1, sizeof *line);

    if (!line)
        return NULL;
    line->account = account;
    line->lane = lane;
    line->level = level;
    line->order = ++self->last_order;
    heap_init(&line->waiters, offsetof(struct waiter, line_place), is_next_waiter);
    DL_PREPEND(account->lines, line);
    return line;
}

static void end_line(struct line *line)
{
    heap_remove(&line->lane->lines[line->level], line);
    DL_DELETE(line->account->lines, line);
    heap_release(&line->waiters);
    free(line);
}

bool queue_add(struct queue *self, struct waiter *waiter)
{
    struct account *account = waiter->request->account;
    struct lane *lane = &self->lanes[waiter->render->model->index];
    struct line *line;

    if (waiter->line)
        return true;
    line = find_line(account, lane, waiter->level);
    if (!line && !(line = new_line(self, account, lane, waiter->level)))
        return false;
    waiter->order = ++self->last_order;
    account_enter(self->accounts, account, waiter->level);
    if (!heap_push(&line->waiters, waiter) ||
        (line->place == HEAP_OUT && !heap_push(&lane->lines[waiter->level], line))) {
        heap_remove(&line->waiters, waiter);
        account_leave(self->accounts, account, waiter->level);
        if (line->waiters.count == 0)
            end_line(line);
        return false;
    }
    open_lane(self, waiter->render->model);
    waiter->line = line;
    lane->count[waiter->level]++;
    self->count[waiter->level]++;
    DL_APPEND2(lane->oldest, waiter, age_prev, age_next);
    return true;
}

void queue_remove(struct queue *self, struct waiter *waiter)
{
    struct line *line = waiter->line;
    struct lane *lane;

    if (!line)
        return;
    lane = line->lane;
    waiter->line = NULL;
    lane->count[waiter->level]--;
    self->count[waiter->level]--;
    DL_DELETE2(lane->oldest, waiter, age_prev, age_next);
    heap_remove(&line->waiters, waiter);
    account_leave(self->accounts, line->account, waiter->level);
    if (line->waiters.count == 0)
        end_line(line);
    close_lane_if_empty(self, lane);
}

void queue_add_front(struct queue *self, struct render *render)
{
    struct lane *lane;

    if (render->at_front)
        return;
    lane = open_lane(self, render->model);
    render->at_front = true;
    DL_APPEND(lane->front, render);
    lane->front_count++;
    self->front_count++;
}

void queue_remove_render(struct queue *self, struct render *render)
{
    struct waiter *w;

    if (render->at_front) {
        struct lane *lane = &self->lanes[render->model->index];

        render->at_front = false;
        DL_DELETE(lane->front, render);
        lane->front_count--;
        self->front_count--;
        close_lane_if_empty(self, lane);
    }
    DL_FOREACH(render->waiters, w)
        queue_remove(self, w);
}

struct render *queue_any(const struct queue *self, const struct model_entry *model)
{
    const struct lane *lane = &self->lanes[model->index];

    return lane->front ? lane->front : lane->oldest ? lane->oldest->render : NULL;
}

size_t queue_demand(const struct queue *self, const struct worker *worker)
{
    const struct lane *lane;
    size_t demand = 0;

    DL_FOREACH(self->active, lane) {
        if (!worker_has_model(worker, lane->model))
            continue;
        demand += lane->front_count;
        for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
            demand += lane->count[level];
    }
    return demand;
}

/* ---- whose turn it is ---- */

static struct render *front_of(const struct lane *lane, const struct roster *roster,
                               const struct worker *worker, int lowest)
{
    struct render *r;
    int looked = 0;

    DL_FOREACH(lane->front, r) {
        if (looked++ == LOOK_AHEAD)
            break;
        if ((lowest == MESSAGE_LOW || render_level(r) <= lowest) &&
            (r->avoid != worker->serial || !roster_has_other(roster, worker, lane->model)))
            return r;
    }
    return NULL;
}

static struct render *find_front(const struct queue *self, const struct roster *roster,
                                 const struct worker *worker, int lowest)
{
    struct render *first = NULL;
    const struct lane *lane;

    if (self->front_count == 0)
        return NULL;
    DL_FOREACH(self->active, lane) {
        struct render *r = worker_has_model(worker, lane->model)
                               ? front_of(lane, roster, worker, lowest) : NULL;

        if (r && (!first || r->since_ms < first->since_ms))
            first = r;
    }
    return first;
}

static struct waiter *find_oldest(const struct queue *self, const struct roster *roster,
                                  const struct worker *worker)
{
    struct waiter *first = NULL;
    const struct lane *lane;
    int64_t cost_us;

    if (self->owed_us <= 0)
        return NULL;
    DL_FOREACH(self->active, lane)
        if (lane->oldest && worker_has_model(worker, lane->model) &&
            (!first || lane->oldest->order < first->order))
            first = lane->oldest;
    if (!first)
        return NULL;
    cost_us = roster_picture_us(roster, worker, first->render->model);
    return self->owed_us >= (cost_us < OWED_MAX_US ? cost_us : OWED_MAX_US) ? first : NULL;
}

static bool is_before(const struct line *a, const struct line *b)
{
    const struct waiter *x = heap_peek(&a->waiters), *y = heap_peek(&b->waiters);

    return virtual_us(a) != virtual_us(b) ? virtual_us(a) < virtual_us(b) : is_next_waiter(x, y);
}

/* The line whose turn it is at a level, and whether other models than the worker's last wait. */
static struct line *find_line_of_level(const struct queue *self, const struct worker *worker,
                                       int level)
{
    struct line *best = NULL, *stay = NULL;
    const struct lane *lane;

    DL_FOREACH(self->active, lane) {
        struct line *line = heap_peek(&lane->lines[level]);

        if (!line || !worker_has_model(worker, lane->model))
            continue;
        if (!best || is_before(line, best))
            best = line;
        if (lane->model == worker->last_model)
            stay = line;
    }
    if (stay && worker->streak_us < self->affinity_us &&
        virtual_us(stay) <= virtual_us(best) + self->affinity_us)
        return stay;
    return best;
}

bool queue_peek(const struct queue *self, const struct roster *roster, const struct worker *worker,
                int lowest, struct pick *out)
{
    *out = (struct pick){ .render = find_front(self, roster, worker, lowest) };
    if (out->render)
        return true;
    out->waiter = find_oldest(self, roster, worker);
    out->is_oldest = out->waiter != NULL;
    if (out->waiter && out->waiter->level > lowest)
        return false;                /* else express places alone would starve the oldest */
    for (int level = 0; !out->waiter && level <= lowest; level++) {
        struct line *line = self->count[level] ? find_line_of_level(self, worker, level) : NULL;

        out->waiter = line ? heap_peek(&line->waiters) : NULL;
    }
    out->render = out->waiter ? out->waiter->render : NULL;
    return out->render != NULL;
}

static bool others_wait(const struct queue *self, const struct worker *worker,
                        const struct model_entry *model)
{
    const struct lane *lane;

    DL_FOREACH(self->active, lane)
        if (lane->model != model && worker_has_model(worker, lane->model))
            return true;
    return false;
}

/* The account's lines stand by its virtual time in the lanes of several models. */
static void charge(struct queue *self, struct account *account, int level, int64_t cost_us)
{
    struct line *line;

    account_charge(self->accounts, account, level, cost_us);
    DL_FOREACH(account->lines, line)
        if (line->level == level)
            heap_update(&line->lane->lines[level], line);
}

static void count_share(struct queue *self, const struct pick *pick, int64_t cost_us)
{
    if (pick->is_oldest)
        self->owed_us -= cost_us;
    else
        self->owed_us += cost_us / (OLDEST_PART - 1);
    if (self->owed_us > OWED_MAX_US)
        self->owed_us = OWED_MAX_US;
}

void queue_take(struct queue *self, struct worker *worker, const struct pick *pick,
                int64_t cost_us)
{
    const struct model_entry *model = pick->render->model;

    if (pick->waiter) {
        charge(self, pick->waiter->request->account, pick->waiter->level, cost_us);
        count_share(self, pick, cost_us);
    }
    queue_remove_render(self, pick->render);
    if (model != worker->last_model || !others_wait(self, worker, model))
        worker->streak_us = 0;
    else
        worker->streak_us += cost_us;
    worker->last_model = model;
}

int64_t queue_oldest_ms(const struct queue *self)
{
    int64_t oldest_ms = INT64_MAX;
    const struct lane *lane;

    DL_FOREACH(self->active, lane) {
        const struct waiter *back = lane->front ? lane->front->waiters : NULL;

        if (lane->oldest && lane->oldest->arrived_ms < oldest_ms)
            oldest_ms = lane->oldest->arrived_ms;
        if (back && back->arrived_ms < oldest_ms)
            oldest_ms = back->arrived_ms;
    }
    return oldest_ms;
}
