#include "worker/batcher.h"

#include "base/heap.h"
#include "proto/message.h"
#include "worker/library.h"

#include <pthread.h>
#include <stdlib.h>

struct batcher {
    struct batcher_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct heap jobs;
    struct job **aside;             /* [aside_room]: popped, not fitting this batch */
    size_t aside_room;
    uint64_t order;
    bool closed;
};

static bool is_before(const void *x, const void *y)
{
    const struct job *a = x, *b = y;

    if (a->level != b->level)
        return a->level < b->level;
    if (a->deadline_ms != b->deadline_ms)
        return a->deadline_ms < b->deadline_ms;
    return a->order < b->order;
}

enum err_code batcher_create(const struct batcher_options *options, struct batcher **out,
                             struct err *e)
{
    struct batcher *self = calloc(1, sizeof *self);

    *out = self;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the batcher");
    self->options = *options;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    heap_init(&self->jobs, offsetof(struct job, place), is_before);
    return ERR_OK;
}

void batcher_destroy(struct batcher **self)
{
    if (!*self)
        return;
    heap_release(&(*self)->jobs);
    free((*self)->aside);
    pthread_cond_destroy(&(*self)->changed);
    pthread_mutex_destroy(&(*self)->lock);
    free(*self);
    *self = NULL;
}

bool batcher_add(struct batcher *self, struct job *job)
{
    bool done = false;

    pthread_mutex_lock(&self->lock);
    if (self->aside_room <= self->jobs.count) {      /* room to set every job aside */
        size_t room = 2 * self->aside_room + 64;
        struct job **aside = realloc(self->aside, room * sizeof *aside);

        if (aside) {
            self->aside = aside;
            self->aside_room = room;
        }
    }
    if (!self->closed && self->aside_room > self->jobs.count) {
        job->order = self->order++;
        done = heap_push(&self->jobs, job);
        pthread_cond_signal(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    return done;
}

/* What keeps job out of a batch of count that first leads; DIALS_LEFT_EMPTY: nothing. */
static enum dials_left obstacle(const struct batcher *self, const struct job *first, size_t count,
                                size_t low, const struct job *job)
{
    int64_t cost_us = model_cost_us(job->model);

    if (job->model != first->model)
        return DIALS_LEFT_OTHER_MODEL;
    if (job->alone)
        return DIALS_LEFT_ALONE;
    if ((int64_t)(count + 1) * cost_us > self->options.batch_ms * 1000)
        return DIALS_LEFT_BATCH_MS;
    if (job->level != MESSAGE_LOW)
        return DIALS_LEFT_EMPTY;
    if (first->level == MESSAGE_LOW)
        return (int64_t)(count + 1) * cost_us > self->options.bulk_ms * 1000 ? DIALS_LEFT_BULK_MS
                                                                             : DIALS_LEFT_EMPTY;
    return (int64_t)(low + 1) * cost_us > self->options.fill_ms * 1000 ? DIALS_LEFT_FILL_MS
                                                                       : DIALS_LEFT_EMPTY;
}

/* Called locked, with at least one job there. *left: what kept the first one out that stays. */
static size_t form(struct batcher *self, struct job **batch, enum dials_left *left)
{
    size_t count = 1, aside = 0, low = 0;
    struct job *job;

    *left = DIALS_LEFT_ALONE;
    batch[0] = heap_pop(&self->jobs);
    if (batch[0]->alone)
        return 1;
    *left = DIALS_LEFT_EMPTY;
    while (count < self->options.batch_max && (job = heap_pop(&self->jobs))) {
        enum dials_left why = obstacle(self, batch[0], count, low, job);

        if (why == DIALS_LEFT_EMPTY) {
            low += job->level == MESSAGE_LOW;
            batch[count++] = job;
        } else {
            *left = aside == 0 ? why : *left;
            self->aside[aside++] = job;
        }
    }
    if (count == self->options.batch_max)
        *left = DIALS_LEFT_BATCH_MAX;
    while (aside > 0)                /* cannot fail: the heap had room for them before */
        heap_push(&self->jobs, self->aside[--aside]);
    return count;
}

size_t batcher_take(struct batcher *self, struct job **batch)
{
    enum dials_left left = DIALS_LEFT_EMPTY;
    size_t count = 0;

    pthread_mutex_lock(&self->lock);
    while (self->jobs.count == 0 && !self->closed)
        pthread_cond_wait(&self->changed, &self->lock);
    if (self->jobs.count > 0)
        count = form(self, batch, &left);
    pthread_mutex_unlock(&self->lock);
    if (count > 0)
        dials_batch(self->options.dials, count, left);
    return count;
}

/* The first job that matches; any broker when broker is SIZE_MAX, any lease when lease is 0. */
static struct job *recall(struct batcher *self, size_t broker, int64_t lease)
{
    struct job *found = NULL;

    pthread_mutex_lock(&self->lock);
    for (size_t i = 1; i <= self->jobs.count && !found; i++) {
        struct job *job = self->jobs.items[i];

        if ((broker == SIZE_MAX || job->broker == broker) && (lease == 0 || job->lease == lease))
            found = job;
    }
    if (found)
        heap_remove(&self->jobs, found);
    pthread_mutex_unlock(&self->lock);
    return found;
}

struct job *batcher_recall(struct batcher *self, size_t broker, int64_t lease)
{
    return recall(self, broker, lease);
}

struct job *batcher_recall_any(struct batcher *self)
{
    return recall(self, SIZE_MAX, 0);
}

struct job *batcher_recall_broker(struct batcher *self, size_t broker)
{
    return recall(self, broker, 0);
}

size_t batcher_count(struct batcher *self)
{
    pthread_mutex_lock(&self->lock);
    size_t count = self->jobs.count;

    pthread_mutex_unlock(&self->lock);
    return count;
}

int64_t batcher_cost_us(struct batcher *self)
{
    int64_t cost_us = 0;

    pthread_mutex_lock(&self->lock);
    for (size_t i = 1; i <= self->jobs.count; i++)
        cost_us += model_cost_us(((const struct job *)self->jobs.items[i])->model);
    pthread_mutex_unlock(&self->lock);
    return cost_us;
}

void batcher_close(struct batcher *self)
{
    pthread_mutex_lock(&self->lock);
    self->closed = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}
