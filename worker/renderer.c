#include "worker/renderer.h"

#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BUFFERS = 2 };

struct pixels {
    struct channel *home;           /* where the buffer waits when nobody uses it */
    uint8_t *rgb;                   /* [batch_max] pictures of the largest model */
    size_t stride;                  /* bytes of a picture in this batch */
    atomic_size_t users;
};

struct renderer {
    const struct library *library;
    size_t batch_max;
    struct batcher *batcher;
    struct channel *encode, *events;
    struct channel *buffers;        /* free ones */
    struct pixels pixels[BUFFERS];
    struct job **batch;             /* [batch_max] */
    struct sample *samples;         /* [batch_max] */
    _Atomic int64_t started, rendered, ends_us;
    pthread_t thread;
    bool running;
};

const uint8_t *pixels_of(const struct job *job)
{
    return job->pixels->rgb + job->slot * job->pixels->stride;
}

void pixels_release(struct job *job)
{
    struct pixels *pixels = job->pixels;

    job->pixels = NULL;
    if (pixels && atomic_fetch_sub(&pixels->users, 1) == 1)
        channel_put(pixels->home, pixels, CHANNEL_FOREVER);
}

/* ---- the thread ---- */

/* Without memory for it the broker learns from the result. */
static void tell(struct renderer *self, enum event_kind kind, size_t count)
{
    struct event *event = malloc(sizeof *event + count * sizeof event->leases[0]);

    if (!event)
        return;
    *event = (struct event){ .kind = kind, .count = count };
    for (size_t i = 0; i < count; i++)
        event->leases[i] = (struct event_lease){ self->batch[i]->broker, self->batch[i]->lease };
    if (!channel_put(self->events, event, CHANNEL_FOREVER))
        free(event);
}

static void fail_batch(struct renderer *self, size_t count, const struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        struct job *job = self->batch[i];

        job->why = *e;
        channel_put(self->events, &job->ended, CHANNEL_FOREVER);
    }
}

static void hand_on(struct renderer *self, struct pixels *pixels, size_t count, int64_t took_us)
{
    atomic_store(&pixels->users, count);
    for (size_t i = 0; i < count; i++) {
        struct job *job = self->batch[i];

        job->pixels = pixels;
        job->slot = i;
        job->batch_size = (int)count;
        job->render_us = took_us;
        channel_put(self->encode, job, CHANNEL_FOREVER);
    }
}

static void render_batch(struct renderer *self, struct pixels *pixels, size_t count)
{
    struct loaded_model *model = self->batch[0]->model;
    int64_t from_us = clock_us();
    struct err e = { 0 };

    for (size_t i = 0; i < count; i++)
        self->samples[i] = sample_of_recipe(&self->batch[i]->recipe);
    pixels->stride = (size_t)model->facts->width * (size_t)model->facts->height * 3;
    atomic_store(&self->ends_us, from_us + (int64_t)count * model_cost_us(model));
    atomic_fetch_add(&self->started, (int64_t)count);
    tell(self, EVENT_STARTED, count);
    if (self->library->backend->render(model->net, self->samples, (int)count, pixels->rgb, NULL,
                                       &e)) {
        log_event(LOG_ERROR, "render_failed", "model=%s batch=%zu reason=\"%s\"", model->name,
                  count, e.msg);
        channel_put(self->buffers, pixels, CHANNEL_FOREVER);
        fail_batch(self, count, &e);
        return;
    }
    int64_t took_us = clock_us() - from_us;

    model_measured(model, took_us, count);
    atomic_fetch_add(&self->rendered, (int64_t)count);
    tell(self, EVENT_RENDERED, count);
    hand_on(self, pixels, count, took_us);
}

static void *run(void *arg)
{
    struct renderer *self = arg;
    struct pixels *pixels;
    size_t count;

    /* A buffer first, then the batch: work that cannot start yet may still gain company. */
    while ((pixels = channel_take(self->buffers, CHANNEL_FOREVER)) &&
           (count = batcher_take(self->batcher, self->batch)) > 0)
        render_batch(self, pixels, count);
    return NULL;
}

/* ---- its owner's side ---- */

enum err_code renderer_create(const struct library *library, size_t batch_max,
                              struct batcher *batcher, struct channel *encode,
                              struct channel *events, struct renderer **out, struct err *e)
{
    struct renderer *self = calloc(1, sizeof *self);
    size_t bytes = batch_max * library->rgb_max;
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the renderer");
    self->library = library;
    self->batch_max = batch_max;
    self->batcher = batcher;
    self->encode = encode;
    self->events = events;
    self->batch = calloc(batch_max, sizeof *self->batch);
    self->samples = calloc(batch_max, sizeof *self->samples);
    rc = channel_create(BUFFERS, &self->buffers, e);
    for (int i = 0; !rc && i < BUFFERS; i++) {
        self->pixels[i].home = self->buffers;
        self->pixels[i].rgb = malloc(bytes);
        if (!self->pixels[i].rgb)
            rc = err_set(e, ERR_NOMEM, "no memory for %zu bytes of pixels", bytes);
        else
            channel_put(self->buffers, &self->pixels[i], 0);
    }
    if (!rc && (!self->batch || !self->samples))
        rc = err_set(e, ERR_NOMEM, "no memory for a batch of %zu", batch_max);
    if (!rc && pthread_create(&self->thread, NULL, run, self) != 0)
        rc = err_set(e, ERR_NOMEM, "could not start the render thread");
    self->running = !rc;
    if (rc)
        renderer_destroy(&self);
    *out = self;
    return rc;
}

void renderer_destroy(struct renderer **self)
{
    if (!*self)
        return;
    if ((*self)->running)
        pthread_join((*self)->thread, NULL);
    for (int i = 0; i < BUFFERS; i++)
        free((*self)->pixels[i].rgb);
    channel_destroy(&(*self)->buffers);
    free((*self)->samples);
    free((*self)->batch);
    free(*self);
    *self = NULL;
}

int64_t renderer_started(const struct renderer *self)
{
    return atomic_load(&self->started);
}

int64_t renderer_rendered(const struct renderer *self)
{
    return atomic_load(&self->rendered);
}

int64_t renderer_left_us(const struct renderer *self, int64_t now_us)
{
    int64_t left_us = atomic_load(&self->ends_us) - now_us;

    return left_us > 0 ? left_us : 0;
}
