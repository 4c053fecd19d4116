#include "worker/archive.h"

#include "base/clock.h"
#include "base/log.h"
#include "kernels/jpeg_pixels.h"
#include "worker/job.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PAUSE_MIN_MS = 50, PAUSE_MAX_MS = 1000 };

struct archive {
    struct ledger *ledger;
    struct archive_run run;
    struct channel *files, *events;
    struct channel *wake;           /* never holds anything: closed by hurry, it ends a pause */
    _Atomic int64_t stored;
    _Atomic int64_t oldest_ms;      /* of the batch in hand; 0: none is */
    atomic_bool up, hurry;
    pthread_t thread;
    bool running;
};

static bool has_key(struct job *const *batch, size_t count, const struct digest *key)
{
    for (size_t i = 0; i < count; i++)
        if (digest_equal(&batch[i]->key, key))
            return true;
    return false;
}

/* Waits for a job, then takes what is there as well. A recipe that is there twice (two brokers may
 * ask for it) waits for the next batch: *left. */
static size_t gather(struct archive *self, struct job **batch, struct job **left)
{
    size_t count = 0;
    struct job *job = *left ? *left : channel_take(self->files, CHANNEL_FOREVER);

    *left = NULL;
    for (; job; job = count < LEDGER_BATCH_MAX ? channel_take(self->files, 0) : NULL) {
        if (has_key(batch, count, &job->key)) {
            *left = job;
            break;
        }
        batch[count++] = job;
    }
    return count;
}

static void describe(const struct archive *self, const struct job *job, struct ledger_image *image)
{
    *image = (struct ledger_image){
        .recipe = job->recipe, .file_sha = job->picture.file_sha,
        .core_sha = job->picture.core_sha, .run_id = self->run.run_id,
        .numerics_class = self->run.numerics_class, .encoder = self->run.encoder,
        .batch_size = job->batch_size, .render_us = job->render_us, .data = job->picture.file,
        .len = job->picture.len, .keep = job->keep != MESSAGE_KEEP_PROVENANCE,
        .refill = job->keep == MESSAGE_KEEP_REFILL, .job_id = job->bulk,
        .likeness = job->likeness, .likeness_count = job->likeness_count,
    };
}

/* Repeats until the ledger has taken the batch, or there is no more time for it. */
static enum err_code store(struct archive *self, const struct ledger_image *images, size_t count,
                           struct ledger_stored *stored, struct err *e)
{
    int64_t pause_ms = PAUSE_MIN_MS;
    enum err_code rc;

    while ((rc = ledger_store(self->ledger, images, count, stored, e))) {
        if (atomic_exchange(&self->up, false))
            log_event(LOG_WARN, "ledger_down", "waiting=%zu reason=\"%s\"",
                      count + channel_count(self->files), e->msg);
        if (rc != ERR_LEDGER_DOWN || atomic_load(&self->hurry))
            return rc;
        channel_take(self->wake, clock_ms() + pause_ms);
        pause_ms = 2 * pause_ms < PAUSE_MAX_MS ? 2 * pause_ms : PAUSE_MAX_MS;
    }
    if (!atomic_exchange(&self->up, true))
        log_event(LOG_INFO, "ledger_up", "stored=%zu", count);
    return ERR_OK;
}

/* Other pixels won: by how much do ours differ? Seldom: two classes, or an alarm. */
static void measure(struct job *job)
{
    const struct ledger_stored *won = &job->stored;
    uint8_t *ours = NULL, *theirs = NULL;
    int size[4];
    struct err e;

    if (won->outcome != LEDGER_WINNER || digest_equal(&won->core_sha, &job->picture.core_sha))
        return;
    if (!jpeg_pixels_read(job->picture.file, job->picture.len, &ours, &size[0], &size[1], &e) &&
        !jpeg_pixels_read(won->data, won->len, &theirs, &size[2], &size[3], &e) &&
        size[0] == size[2] && size[1] == size[3]) {
        job->off = levels_of(ours, theirs, (size_t)size[0] * (size_t)size[1] * 3);
        job->is_measured = true;
    }
    free(ours);
    free(theirs);
}

static void store_batch(struct archive *self, struct job **batch, size_t count)
{
    struct ledger_image images[LEDGER_BATCH_MAX];
    struct ledger_stored stored[LEDGER_BATCH_MAX];
    int64_t from_us = clock_us(), oldest_ms = INT64_MAX;
    struct err e = { 0 };
    enum err_code rc;

    memset(stored, 0, sizeof stored);
    for (size_t i = 0; i < count; i++) {
        describe(self, batch[i], &images[i]);
        oldest_ms = batch[i]->encoded_ms < oldest_ms ? batch[i]->encoded_ms : oldest_ms;
    }
    atomic_store(&self->oldest_ms, oldest_ms);
    rc = store(self, images, count, stored, &e);
    atomic_store(&self->oldest_ms, 0);
    dials_took(self->run.dials, DIALS_STORE, clock_us() - from_us);
    for (size_t i = 0; i < count; i++) {
        struct job *job = batch[i];

        job->store_us = clock_us() - from_us;
        job->stored = stored[i];
        measure(job);
        if (rc)
            err_set(&job->why, rc == ERR_LEDGER_DOWN ? ERR_RETRY : rc, "%s", e.msg);
        else if (stored[i].outcome == LEDGER_REFUSED)
            job->why = stored[i].why;
        dials_took(self->run.dials, DIALS_ENCODE, job->encode_us);
        if (!rc)
            dials_stored(self->run.dials, &stored[i], self->run.numerics_class,
                         self->run.encoder);
        if (!rc && stored[i].alarm)
            log_event(LOG_ERROR, "replay_differs", "recipe=%s class=%s run=%lld",
                      digest_hex(&job->key).text, self->run.numerics_class,
                      (long long)self->run.run_id);
        atomic_fetch_add(&self->stored, !rc);
        channel_put(self->events, &job->ended, CHANNEL_FOREVER);
    }
}

static void *run(void *arg)
{
    struct archive *self = arg;
    struct job *batch[LEDGER_BATCH_MAX], *left = NULL;
    size_t count;

    while ((count = gather(self, batch, &left)) > 0)
        store_batch(self, batch, count);
    return NULL;
}

enum err_code archive_create(struct ledger *ledger, const struct archive_run *run_of,
                             struct channel *files, struct channel *events, struct archive **out,
                             struct err *e)
{
    struct archive *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the archive");
    self->ledger = ledger;
    self->run = *run_of;
    self->files = files;
    self->events = events;
    atomic_init(&self->up, true);
    rc = channel_create(1, &self->wake, e);
    if (!rc && pthread_create(&self->thread, NULL, run, self) != 0)
        rc = err_set(e, ERR_NOMEM, "could not start the archive thread");
    self->running = !rc;
    if (rc)
        archive_destroy(&self);
    *out = self;
    return rc;
}

void archive_hurry(struct archive *self)
{
    atomic_store(&self->hurry, true);
    channel_close(self->wake);
}

void archive_destroy(struct archive **self)
{
    if (!*self)
        return;
    if ((*self)->running)
        pthread_join((*self)->thread, NULL);
    channel_destroy(&(*self)->wake);
    free(*self);
    *self = NULL;
}

int64_t archive_stored(const struct archive *self)
{
    return atomic_load(&self->stored);
}

bool archive_ledger_is_up(const struct archive *self)
{
    return atomic_load(&self->up);
}

int64_t archive_oldest_ms(const struct archive *self)
{
    return atomic_load(&self->oldest_ms);
}
