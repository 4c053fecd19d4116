#include "worker/renderer.h"

#include "base/clock.h"
#include "base/log.h"
#include "kernels/output.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BUFFERS = 2 };

struct rendered {
    struct channel *home;           /* where the buffer waits when nobody uses it */
    struct output output;           /* room for batch_max pictures of the largest model */
    atomic_size_t users;
};

struct renderer {
    const struct library *library;
    size_t batch_max;
    struct batcher *batcher;
    struct channel *encode, *events;
    struct dials *dials;
    struct channel *buffers;        /* free ones */
    struct rendered rendered_in[BUFFERS];
    struct job **batch;             /* [batch_max] */
    struct sample *samples;         /* [batch_max] */
    int *qualities;                 /* [batch_max] */
    atomic_bool lost;
    _Atomic int64_t started, rendered, ends_us;
    pthread_t thread;
    bool running;
};

struct picture_source rendered_source(const struct job *job)
{
    return output_at(&job->rendered->output, job->slot);
}

void rendered_release(struct job *job)
{
    struct rendered *rendered = job->rendered;

    job->rendered = NULL;
    if (rendered && atomic_fetch_sub(&rendered->users, 1) == 1)
        channel_put(rendered->home, rendered, CHANNEL_FOREVER);
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
        channel_put(job->own ? job->own : self->events, &job->ended, CHANNEL_FOREVER);
    }
}

static void hand_on(struct renderer *self, struct rendered *rendered, size_t count,
                    int64_t took_us)
{
    atomic_store(&rendered->users, count);
    for (size_t i = 0; i < count; i++) {
        struct job *job = self->batch[i];

        job->rendered = rendered;
        job->slot = i;
        job->batch_size = (int)count;
        job->render_us = took_us;
        channel_put(self->encode, job, CHANNEL_FOREVER);
    }
}

/* Before anybody is told of the failure. */
static void look_for_loss(struct renderer *self, const struct err *e)
{
    const struct backend *backend = self->library->backend;

    if (e->code != ERR_DEVICE || !backend->lost || !backend->lost(self->library->engine) ||
        atomic_exchange(&self->lost, true))
        return;
    log_event(LOG_ERROR, "device_lost", "device=\"%s\"", backend->device(self->library->engine));
}

static void render_batch(struct renderer *self, struct rendered *rendered, size_t count)
{
    struct loaded_model *model = self->batch[0]->model;
    struct output_batch batch = { model->net, model->facts, self->samples, self->qualities,
                                  (int)count };
    int64_t from_us = clock_us();
    struct err e = { 0 };

    for (size_t i = 0; i < count; i++) {
        self->samples[i] = sample_of_recipe(&self->batch[i]->recipe);
        self->qualities[i] = self->batch[i]->recipe.quality;
    }
    atomic_store(&self->ends_us, from_us + (int64_t)count * model_cost_us(model));
    atomic_fetch_add(&self->started, (int64_t)count);
    tell(self, EVENT_STARTED, count);
    if (output_render(&rendered->output, &batch, NULL, &e)) {
        log_event(LOG_ERROR, "render_failed", "model=%s batch=%zu reason=\"%s\"", model->name,
                  count, e.msg);
        channel_put(self->buffers, rendered, CHANNEL_FOREVER);
        look_for_loss(self, &e);
        fail_batch(self, count, &e);
        return;
    }
    int64_t took_us = clock_us() - from_us;

    model_measured(model, took_us, count);
    dials_took(self->dials, DIALS_RENDER, took_us);
    atomic_fetch_add(&self->rendered, (int64_t)count);
    tell(self, EVENT_RENDERED, count);
    hand_on(self, rendered, count, took_us);
}

static void *run(void *arg)
{
    struct renderer *self = arg;
    struct rendered *rendered;
    size_t count;

    /* A buffer first, then the batch: work that cannot start yet may still gain company. */
    while ((rendered = channel_take(self->buffers, CHANNEL_FOREVER)) &&
           (count = batcher_take(self->batcher, self->batch)) > 0)
        render_batch(self, rendered, count);
    return NULL;
}

/* ---- its owner's side ---- */

enum err_code renderer_create(const struct library *library, size_t batch_max,
                              struct batcher *batcher, struct channel *encode,
                              struct channel *events, struct dials *dials, struct renderer **out,
                              struct err *e)
{
    struct renderer *self = calloc(1, sizeof *self);
    size_t bytes = batch_max * library->picture_max;
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the renderer");
    self->library = library;
    self->batch_max = batch_max;
    self->batcher = batcher;
    self->encode = encode;
    self->events = events;
    self->dials = dials;
    self->batch = calloc(batch_max, sizeof *self->batch);
    self->samples = calloc(batch_max, sizeof *self->samples);
    self->qualities = calloc(batch_max, sizeof *self->qualities);
    rc = channel_create(BUFFERS, &self->buffers, e);
    for (int i = 0; !rc && i < BUFFERS; i++) {
        struct rendered *rendered = &self->rendered_in[i];

        rendered->home = self->buffers;
        rc = output_init(&rendered->output, library->backend, library->engine, library->kind,
                         bytes, e);
        if (!rc)
            channel_put(self->buffers, rendered, 0);
    }
    if (!rc && (!self->batch || !self->samples || !self->qualities))
        rc = err_set(e, ERR_NOMEM, "no memory for a batch of %zu", batch_max);
    if (!rc && pthread_create(&self->thread, NULL, run, self) != 0)
        rc = err_set(e, ERR_NOMEM, "could not start the render thread");
    self->running = !rc;
    if (rc)
        renderer_destroy(&self);
    *out = self;
    return rc;
}

void renderer_finish(struct renderer *self)
{
    if (self->running)
        pthread_join(self->thread, NULL);
    self->running = false;
}

void renderer_destroy(struct renderer **self)
{
    if (!*self)
        return;
    renderer_finish(*self);
    for (int i = 0; i < BUFFERS; i++)
        output_release(&(*self)->rendered_in[i].output);
    channel_destroy(&(*self)->buffers);
    free((*self)->qualities);
    free((*self)->samples);
    free((*self)->batch);
    free(*self);
    *self = NULL;
}

bool renderer_is_lost(const struct renderer *self)
{
    return atomic_load(&self->lost);
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
