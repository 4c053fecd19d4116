#include "worker/encoders.h"

#include "base/clock.h"
#include "kernels/thumbnail.h"
#include "worker/job.h"
#include "worker/renderer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct encoder {
    struct encoders *all;
    struct jpeg_encoder *jpeg;
    pthread_t thread;
    bool running;
};

struct encoders {
    struct encoders_parts parts;
    int count;
    struct encoder encoder[];       /* [count] */
};

/* Of the pixels; of the file, where the device gave coefficients. Without memory there are none:
 * the picture is stored all the same. */
static void take_likeness(struct job *job, struct picture_source source)
{
    enum { LEAST = 128 };           /* pixels of a side that hashes can use */
    struct thumbnail small;
    struct err e;

    if (source.rgb) {
        job->likeness_count = likeness_of_stored(source.rgb, job->recipe.width, job->recipe.height,
                                                 3 * (size_t)job->recipe.width, job->likeness);
    } else if (!thumbnail_make(job->picture.file, job->picture.len, LEAST, &small, &e)) {
        job->likeness_count = likeness_of_stored(small.rgb, small.width, small.height,
                                                 3 * (size_t)small.width, job->likeness);
        free(small.rgb);
    }
}

/* What is only compared needs neither signature nor hashes. */
static enum err_code make_file(struct encoder *self, struct job *job)
{
    const struct encoders_parts *parts = &self->all->parts;
    enum err_code rc = picture_encode(self->jpeg, &job->recipe, rendered_source(job),
                                      &job->picture, &job->why);

    if (rc || job->own)
        return rc;
    rc = picture_sign(parts->signer, &job->recipe, &job->picture, &job->why);
    if (rc)
        picture_release(&job->picture);
    else if (parts->likeness)
        take_likeness(job, rendered_source(job));
    return rc;
}

static void *run(void *arg)
{
    struct encoder *self = arg;
    const struct encoders_parts *parts = &self->all->parts;
    struct job *job;

    while ((job = channel_take(parts->encode, CHANNEL_FOREVER))) {
        int64_t from_us = clock_us();
        enum err_code rc = make_file(self, job);

        rendered_release(job);
        job->encode_us = clock_us() - from_us;
        job->encoded_ms = clock_ms();
        if (job->own)
            channel_put(job->own, &job->ended, CHANNEL_FOREVER);
        else if (rc)
            channel_put(parts->events, &job->ended, CHANNEL_FOREVER);
        else
            channel_put(parts->archive, job, CHANNEL_FOREVER);
    }
    return NULL;
}

enum err_code encoders_create(int threads, const struct encoders_parts *parts,
                              struct encoders **out, struct err *e)
{
    struct encoders *self = calloc(1, sizeof *self + (size_t)threads * sizeof self->encoder[0]);
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for %d encoders", threads);
    self->parts = *parts;
    for (; !rc && self->count < threads; self->count++) {
        struct encoder *encoder = &self->encoder[self->count];

        encoder->all = self;
        rc = jpeg_encoder_create(&encoder->jpeg, e);
        if (!rc && pthread_create(&encoder->thread, NULL, run, encoder) != 0)
            rc = err_set(e, ERR_NOMEM, "could not start an encoder thread");
        encoder->running = !rc;
    }
    if (rc) {
        channel_close(parts->encode);
        encoders_destroy(&self);
    }
    *out = self;
    return rc;
}

void encoders_destroy(struct encoders **self)
{
    for (int i = 0; *self && i < (*self)->count; i++) {
        if ((*self)->encoder[i].running)
            pthread_join((*self)->encoder[i].thread, NULL);
        jpeg_encoder_destroy(&(*self)->encoder[i].jpeg);
    }
    free(*self);
    *self = NULL;
}
