#include "kernels/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct pool {
    int threads;                /* with the caller's */
    int started;                /* of the threads - 1 helpers */
    pthread_mutex_t mutex;      /* guards everything below but next */
    pthread_cond_t wake, idle;
    unsigned turn;              /* raised for each loop */
    bool open;                  /* helpers may join the loop of this turn */
    bool quit;
    int inside;                 /* helpers in the loop */
    int joined;                 /* helpers that ever joined this loop: gives worker numbers */
    pool_step *step;
    void *arg;
    size_t count;
    atomic_size_t next;         /* first index that nobody has taken */
    pthread_t helper[];         /* [threads - 1] */
};

static void take_steps(struct pool *self, pool_step *step, void *arg, size_t count, int worker)
{
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&self->next, 1, memory_order_relaxed);

        if (index >= count)
            return;
        step(arg, index, worker);
    }
}

static void *help(void *arg)
{
    struct pool *self = arg;
    unsigned seen = 0;

    pthread_mutex_lock(&self->mutex);
    for (;;) {
        /* A helper that wakes when the others have finished finds the loop closed and sleeps on:
         * nobody waits for it. */
        while (!self->quit && !(self->open && self->turn != seen))
            pthread_cond_wait(&self->wake, &self->mutex);
        if (self->quit)
            break;
        seen = self->turn;
        self->inside++;
        int worker = ++self->joined;
        pool_step *step = self->step;
        void *step_arg = self->arg;
        size_t count = self->count;

        pthread_mutex_unlock(&self->mutex);
        take_steps(self, step, step_arg, count, worker);
        pthread_mutex_lock(&self->mutex);
        if (--self->inside == 0)
            pthread_cond_signal(&self->idle);
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static int usable_cores(void)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return cores < 1 ? 1 : cores > POOL_THREADS_MAX ? POOL_THREADS_MAX : cores;
}

enum err_code pool_create(int threads, struct pool **out, struct err *e)
{
    struct pool *self = NULL;
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (threads < 0 || threads > POOL_THREADS_MAX)
        return err_set(e, ERR_RANGE, "%d threads; 0 to %d are possible", threads,
                       POOL_THREADS_MAX);
    if (threads == 0)
        threads = usable_cores();
    self = calloc(1, sizeof *self + (size_t)(threads - 1) * sizeof self->helper[0]);
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for %d threads", threads);
    self->threads = threads;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->wake, NULL);
    pthread_cond_init(&self->idle, NULL);
    while (self->started < threads - 1) {
        int failure = pthread_create(&self->helper[self->started], NULL, help, self);

        if (failure) {
            rc = err_set(e, ERR_NOMEM, "could not start thread %d: %s", self->started + 2,
                         strerror(failure));
            goto done;
        }
        self->started++;
    }
    *out = self;
    self = NULL;
done:
    pool_destroy(&self);
    return rc;
}

void pool_destroy(struct pool **self)
{
    struct pool *p = *self;

    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->quit = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (int i = 0; i < p->started; i++)
        pthread_join(p->helper[i], NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p);
    *self = NULL;
}

int pool_threads(const struct pool *self)
{
    return self->threads;
}

void pool_run(struct pool *self, size_t count, pool_step *step, void *arg)
{
    if (self->threads == 1 || count <= 1) {
        for (size_t index = 0; index < count; index++)
            step(arg, index, 0);
        return;
    }
    pthread_mutex_lock(&self->mutex);
    self->step = step;
    self->arg = arg;
    self->count = count;
    self->joined = 0;
    atomic_store_explicit(&self->next, 0, memory_order_relaxed);
    self->open = true;
    self->turn++;
    pthread_cond_broadcast(&self->wake);
    pthread_mutex_unlock(&self->mutex);

    take_steps(self, step, arg, count, 0);

    pthread_mutex_lock(&self->mutex);
    self->open = false;
    while (self->inside > 0)
        pthread_cond_wait(&self->idle, &self->mutex);
    pthread_mutex_unlock(&self->mutex);
}
