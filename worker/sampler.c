#include "worker/sampler.h"

#include "base/channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "proto/message.h"
#include "sql/ledger.h"
#include "worker/job.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    LOOK_MS = 200,                  /* how often it looks whether the worker is idle */
    IDLE_LOOKS = 3,                 /* as often in a row, so that it never runs into a burst */
    OWED_MAX = 1000,                /* a worker that is never idle does not owe for ever more */
};

struct sampler {
    struct sampler_parts parts;
    char *conninfo;
    struct channel *ended;          /* what comes out of the stages; at most one */
    struct channel *wake;           /* never holds anything: closed, it ends the thread */
    atomic_bool stopping;
    pthread_t thread;
    bool running;
};

static void end_job(struct job *job)
{
    picture_release(&job->picture);
    free(job);
}

/* Some picture that could be made here again; NULL: none was met. */
static struct job *draw(struct sampler *self, struct ledger *ledger, struct digest *core_sha,
                        int64_t *run_id, struct err *e)
{
    struct ledger_rows rows = { 0 };
    struct loaded_model *model = NULL;
    struct digest from;
    struct job *job = NULL;

    if (getrandom(from.bytes, sizeof from.bytes, 0) != (ssize_t)sizeof from.bytes ||
        ledger_sample(ledger, self->parts.numerics_class, self->parts.encoder, &from, &rows, e))
        return NULL;
    if (rows.count > 0)
        model = library_find(self->parts.library, &rows.row[0].recipe.model);
    if (model && (job = calloc(1, sizeof *job))) {
        *job = (struct job){ .broker = JOB_OWN, .own = self->ended, .recipe = rows.row[0].recipe,
                             .key = rows.row[0].key, .level = MESSAGE_LOW, .model = model,
                             .deadline_ms = INT64_MAX };
        job->ended = (struct event){ .kind = EVENT_ENDED, .job = job };
        *core_sha = rows.row[0].core_sha;
        *run_id = rows.row[0].run_id;
    }
    ledger_rows_release(&rows);
    return job;
}

static void judge(struct sampler *self, const struct job *job, const struct digest *core_sha,
                  int64_t run_id)
{
    bool is_same = digest_equal(&job->picture.core_sha, core_sha);

    if (job->why.code) {
        log_event(LOG_WARN, "replay_failed", "recipe=%s reason=\"%s\"", digest_hex(&job->key).text,
                  job->why.msg);
        return;
    }
    dials_replayed(self->parts.dials, is_same);
    if (!is_same)
        log_event(LOG_ERROR, "replay_differs", "recipe=%s class=%s stored_by_run=%lld",
                  digest_hex(&job->key).text, self->parts.numerics_class, (long long)run_id);
}

/* True when one was rendered again, or tried. */
static bool check_one(struct sampler *self, struct ledger *ledger)
{
    struct digest core_sha;
    struct event *event;
    struct err e = { 0 };
    int64_t run_id;
    struct job *job = draw(self, ledger, &core_sha, &run_id, &e);

    if (!job)
        return e.code == ERR_OK;
    if (atomic_load(&self->stopping) || !batcher_add(self->parts.batcher, job)) {
        end_job(job);
        return true;
    }
    /* Its end always comes: out of the stages, or from sampler_stop. */
    event = channel_take(self->ended, CHANNEL_FOREVER);
    if (!event)
        return true;
    if (event->job->picture.file || event->job->why.code)
        judge(self, event->job, &core_sha, run_id);
    end_job(event->job);
    return true;
}

static void *run(void *arg)
{
    struct sampler *self = arg;
    struct ledger *ledger = NULL;
    int64_t done = 0;
    int looks = 0;

    while (!atomic_load(&self->stopping)) {
        int64_t owed = self->parts.stored(self->parts.arg) / self->parts.one_in - done;
        struct err e;

        channel_take(self->wake, clock_ms() + LOOK_MS);
        if (owed > OWED_MAX)
            done += owed - OWED_MAX;
        looks = owed > 0 && self->parts.is_idle(self->parts.arg) ? looks + 1 : 0;
        if (looks < IDLE_LOOKS)
            continue;
        if (!ledger)                 /* down: it is there all the same, and connects when it can */
            ledger_open(self->conninfo, "seedpress-sampler", &ledger, &e);
        done += ledger && check_one(self, ledger);
    }
    ledger_close(&ledger);
    return NULL;
}

enum err_code sampler_create(const struct sampler_parts *parts, struct sampler **out,
                             struct err *e)
{
    struct sampler *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self || !(self->conninfo = strdup(parts->conninfo))) {
        free(self);
        return err_set(e, ERR_NOMEM, "no memory for the sampler");
    }
    self->parts = *parts;
    rc = channel_create(1, &self->ended, e);
    if (!rc)
        rc = channel_create(1, &self->wake, e);
    if (!rc && pthread_create(&self->thread, NULL, run, self) != 0)
        rc = err_set(e, ERR_NOMEM, "could not start the sampler's thread");
    self->running = !rc;
    if (rc)
        sampler_destroy(&self);
    *out = self;
    return rc;
}

void sampler_stop(struct sampler *self)
{
    struct job *job;

    atomic_store(&self->stopping, true);
    channel_close(self->wake);
    if ((job = batcher_recall_broker(self->parts.batcher, JOB_OWN)))
        channel_put(self->ended, &job->ended, 0);
}

void sampler_destroy(struct sampler **self)
{
    if (!*self)
        return;
    if ((*self)->running) {
        sampler_stop(*self);
        pthread_join((*self)->thread, NULL);
    }
    channel_destroy(&(*self)->ended);
    channel_destroy(&(*self)->wake);
    free((*self)->conninfo);
    free(*self);
    *self = NULL;
}
