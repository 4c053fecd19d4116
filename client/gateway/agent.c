#include "client/gateway/agent.h"

#include "base/channel.h"
#include "base/clock.h"
#include "base/heap.h"
#include "base/log.h"
#include "client/gateway/tally.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

enum { TURN_MAX = 256, PENDING_MS = 500, IDLE_MS = 60000, LATE_MS = 50, RETRY_MS = 1000 };

struct job_key {
    struct permalink_key what;
    int32_t kind, zero;
};

struct job {                        /* one question to the broker */
    struct job_key key;
    int64_t id, asked_ms, deadline_ms;
    bool is_open;                   /* found by its key: others may join */
    char visitor[VISITOR_MAX];      /* whom the broker counts it for */
    struct ask *asks;
    UT_hash_handle hh_id, hh_key;
};

struct agent {
    struct agent_options options;
    struct seedpress *sp;
    struct channel *tasks;
    int watch_fd;
    pthread_t thread;
    struct job *by_id, *by_key;
    struct heap alarms;
    struct agent_task ending;
    _Atomic int drain_ms;
    bool is_ending, is_refusing;    /* no more tasks come; no more asks are taken */
    int64_t end_ms;
};

/* ---- asks ---- */

static void count_jobs(struct agent *self)
{
    metrics_set(self->options.metrics, TALLY_WAITING, 0, HASH_CNT(hh_id, self->by_id));
}

static void close_job(struct agent *self, struct job *job)
{
    if (job->is_open)
        HASH_DELETE(hh_key, self->by_key, job);
    job->is_open = false;
    HASH_DELETE(hh_id, self->by_id, job);
    count_jobs(self);
}

/* Every ask is for a model that a broker once told: one that was started anew and does not know it
 * waits for its workers. */
static void say_what_is_missing(struct seedpress_error *error)
{
    struct err e;

    err_set(&e, ERR_NO_WORKER, "no worker with this model has come to the broker yet");
    e.retry_after_ms = RETRY_MS;
    response_error_of(&e, error);
}

static void end_ask(struct agent *self, struct ask *ask, const struct seedpress_error *error)
{
    const struct picture_times none = { 0, 0, 0, 0, SEEDPRESS_SOURCE_RENDER };
    struct seedpress_error said = *error;

    if (said.code == SEEDPRESS_UNKNOWN_MODEL)
        say_what_is_missing(&said);
    response_hide_address(&said);
    ask->job = NULL;
    ask->done(ask, self, &said, NULL, &none, "");
}

static void refuse(struct agent *self, struct ask *ask, enum err_code code, const char *words)
{
    struct seedpress_error error;
    struct err e;

    err_set(&e, code, "%s", words);
    e.retry_after_ms = RETRY_MS;
    response_error_of(&e, &error);
    end_ask(self, ask, &error);
}

static enum seedpress_code submit(struct agent *self, const struct ask *ask, int64_t *id,
                                  struct seedpress_error *error)
{
    struct seedpress_request request;
    char model[SEEDPRESS_HEX];

    permalink_fill(&ask->what, model, &request);
    request.deadline_ms = ask->deadline_ms;
    request.priority = ask->priority;
    request.visitor = ask->visitor;
    request.cache = ask->kind == ASK_RENDER ? SEEDPRESS_CACHE_USE : SEEDPRESS_CACHE_ONLY;
    request.want = ask->kind == ASK_CHECK ? SEEDPRESS_WANT_RECEIPT : SEEDPRESS_WANT_IMAGE;
    return seedpress_submit(self->sp, &request, id, error);
}

static void start_job(struct agent *self, struct ask *ask, const struct job_key *key, bool is_open)
{
    struct job *job = calloc(1, sizeof *job);
    struct seedpress_error error;

    if (!job) {
        refuse(self, ask, ERR_NOMEM, "no memory for another question");
        return;
    }
    if (submit(self, ask, &job->id, &error)) {
        free(job);
        end_ask(self, ask, &error);
        return;
    }
    metrics_add(self->options.metrics, TALLY_ASKED, (size_t)ask->kind, 1);
    job->key = *key;
    job->asked_ms = clock_ms();
    job->deadline_ms = ask->deadline_at_ms;
    job->is_open = is_open;
    memcpy(job->visitor, ask->visitor, sizeof job->visitor);
    HASH_ADD(hh_id, self->by_id, id, sizeof job->id, job);
    if (is_open)
        HASH_ADD(hh_key, self->by_key, key, sizeof job->key, job);
    DL_APPEND(job->asks, ask);
    ask->job = job;
    count_jobs(self);
}

void agent_ask(struct agent *self, struct ask *ask)
{
    struct job_key key = { .what = ask->what.key, .kind = (int32_t)ask->kind };
    struct job *job;

    ask->job = NULL;
    ask->deadline_at_ms = clock_ms() + ask->deadline_ms;
    if (self->is_refusing) {
        refuse(self, ask, ERR_RETRY, "the gateway is going away");
        return;
    }
    HASH_FIND(hh_key, self->by_key, &key, sizeof key, job);
    /* Who wants it sooner than those before asks on his own: the broker renders it once anyway. */
    if (job && job->deadline_ms <= ask->deadline_at_ms + LATE_MS) {
        metrics_add(self->options.metrics, TALLY_JOINED, 0, 1);
        DL_APPEND(job->asks, ask);
        ask->job = job;
    } else if (HASH_CNT(hh_id, self->by_id) >= self->options.asks_max) {
        refuse(self, ask, ERR_OVERLOADED, "too many pictures are asked for at once");
    } else
        start_job(self, ask, &key, job == NULL);
}

void agent_drop(struct agent *self, struct ask *ask)
{
    struct job *job = ask->job;

    if (!job)
        return;
    ask->job = NULL;
    DL_DELETE(job->asks, ask);
    if (job->asks)
        return;
    close_job(self, job);            /* first: its events are nobody's now */
    seedpress_cancel(self->sp, job->id, NULL);
    metrics_add(self->options.metrics, TALLY_CANCELLED, 0, 1);
    free(job);
}

/* ---- answers ---- */

/* A joined ask may have more time than the one that its job was started for, and be another
 * visitor's than the one of whom the broker had enough. */
static bool asks_again(struct agent *self, const struct job *job, struct ask *ask,
                       const struct seedpress_error *error, int64_t now_ms)
{
    int64_t left_ms = ask->deadline_at_ms - now_ms;
    bool is_others = error->code == SEEDPRESS_OVERLOADED && strcmp(job->visitor, ask->visitor) != 0;

    if ((error->code != SEEDPRESS_DEADLINE && !is_others) || left_ms <= LATE_MS ||
        self->is_refusing)
        return false;
    ask->deadline_ms = (int)left_ms;
    agent_ask(self, ask);
    return true;
}

static void learn(struct agent *self, const struct job *job, const struct seedpress_event *event,
                  struct picture *picture, int64_t now_ms)
{
    struct album *album = self->options.album;

    if (picture)
        album_put(album, picture, now_ms);
    else if (event->kind == SEEDPRESS_EVENT_IMAGE)
        album_trust(album, &job->key.what, now_ms);
    else if (event->error.code == SEEDPRESS_WITHDRAWN || event->error.code == SEEDPRESS_NOT_FOUND)
        album_drop(album, &job->key.what);
}

static void end_job(struct agent *self, struct job *job, const struct seedpress_event *event)
{
    const struct seedpress_image *image = &event->image;
    const struct picture_times times = { image->queue_ms, image->render_ms, image->encode_ms,
                                         image->store_ms, image->source };
    bool is_there = event->kind == SEEDPRESS_EVENT_IMAGE;
    struct picture *picture = NULL;
    int64_t now_ms = clock_ms();

    close_job(self, job);
    metrics_observe(self->options.metrics, TALLY_ASK_SECONDS, (size_t)job->key.kind,
                    now_ms - job->asked_ms);
    if (is_there && job->key.kind != ASK_CHECK)
        picture = picture_create(&job->key.what, image);
    learn(self, job, event, picture, now_ms);
    while (job->asks) {
        struct ask *ask = job->asks;

        DL_DELETE(job->asks, ask);
        ask->job = NULL;
        if (is_there && !picture && job->key.kind != ASK_CHECK)
            refuse(self, ask, ERR_NOMEM, "no memory for the picture");
        else if (is_there)
            ask->done(ask, self, &event->error, picture, &times, image->recipe_key);
        else if (!asks_again(self, job, ask, &event->error, now_ms))
            end_ask(self, ask, &event->error);
    }
    picture_unref(&picture);
    free(job);
}

static void take_events(struct agent *self)
{
    struct seedpress_event event;
    struct job *job;

    for (int i = 0; i < TURN_MAX && seedpress_next(self->sp, 0, &event); i++) {
        HASH_FIND(hh_id, self->by_id, &event.id, sizeof event.id, job);
        if (job && event.kind != SEEDPRESS_EVENT_DONE)
            end_job(self, job, &event);
    }
}

/* ---- who still listens ---- */

bool agent_watch(struct agent *self, struct agent_watch *watch, int fd)
{
    struct epoll_event event = { .events = EPOLLRDHUP | EPOLLONESHOT, .data = { .ptr = watch } };

    /* A copy, since the server may close its own at any time once it has the connection back. */
    watch->fd = fd > 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : 0;
    if (watch->fd > 0 && epoll_ctl(self->watch_fd, EPOLL_CTL_ADD, watch->fd, &event) == 0)
        return true;
    if (watch->fd > 0)
        close(watch->fd);
    watch->fd = 0;
    return false;
}

void agent_unwatch(struct agent *self, struct agent_watch *watch)
{
    if (watch->fd <= 0)
        return;
    epoll_ctl(self->watch_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    close(watch->fd);
    watch->fd = 0;
}

/* One at a time: what one of them does may end the watch of another. */
static void take_leaves(struct agent *self)
{
    struct epoll_event event;

    for (int i = 0; i < TURN_MAX && epoll_wait(self->watch_fd, &event, 1, 0) == 1; i++) {
        struct agent_watch *watch = event.data.ptr;

        agent_unwatch(self, watch);
        watch->gone(watch, self);
    }
}

/* ---- alarms ---- */

static bool rings_before(const void *a, const void *b)
{
    return ((const struct agent_alarm *)a)->at_ms < ((const struct agent_alarm *)b)->at_ms;
}

bool agent_set_alarm(struct agent *self, struct agent_alarm *alarm)
{
    heap_remove(&self->alarms, alarm);
    return heap_push(&self->alarms, alarm);
}

void agent_clear_alarm(struct agent *self, struct agent_alarm *alarm)
{
    heap_remove(&self->alarms, alarm);
}

static void ring(struct agent *self)
{
    int64_t now_ms = clock_ms();

    for (;;) {
        struct agent_alarm *first = heap_peek(&self->alarms);

        if (!first || first->at_ms > now_ms)
            return;
        heap_pop(&self->alarms);
        first->ring(first, self);
    }
}

/* ---- the thread ---- */

bool agent_post(struct agent *self, struct agent_task *task)
{
    return channel_put(self->tasks, task, 0);
}

static void take_tasks(struct agent *self)
{
    for (int i = 0; i < TURN_MAX; i++) {
        struct agent_task *task = channel_take(self->tasks, 0);

        if (!task)
            return;
        task->run(task, self);
    }
}

static void fail_all(struct agent *self)
{
    struct seedpress_event event = { .kind = SEEDPRESS_EVENT_ERROR };
    struct err e;

    err_set(&e, ERR_RETRY, "the gateway is going away");
    response_error_of(&e, &event.error);
    self->is_refusing = true;
    while (self->by_id)
        end_job(self, self->by_id, &event);
}

static int sleep_ms(const struct agent *self)
{
    const struct agent_alarm *first = heap_peek(&self->alarms);
    int64_t now_ms = clock_ms();
    int64_t wake_ms = now_ms + (self->by_id ? PENDING_MS : IDLE_MS);

    if (first && first->at_ms < wake_ms)
        wake_ms = first->at_ms;
    if (self->is_ending && self->end_ms < wake_ms)
        wake_ms = self->end_ms;
    return wake_ms > now_ms ? (int)(wake_ms - now_ms) : 0;
}

static void *run(void *arg)
{
    struct agent *self = arg;

    while (!self->is_ending || self->by_id || channel_count(self->tasks) > 0) {
        struct pollfd fds[] = { { .fd = channel_fd(self->tasks), .events = POLLIN },
                                { .fd = seedpress_fd(self->sp), .events = POLLIN },
                                { .fd = self->watch_fd, .events = POLLIN } };

        poll(fds, sizeof fds / sizeof fds[0], sleep_ms(self));
        take_tasks(self);
        take_leaves(self);
        ring(self);
        take_events(self);
        if (self->is_ending && clock_ms() >= self->end_ms)
            fail_all(self);
    }
    return NULL;
}

static void begin_end(struct agent_task *task, struct agent *self)
{
    (void)task;
    self->is_ending = true;
    self->end_ms = clock_ms() + self->drain_ms;
}

/* ---- life ---- */

static void release(struct agent *self)
{
    seedpress_destroy(&self->sp);
    channel_destroy(&self->tasks);
    heap_release(&self->alarms);
    if (self->watch_fd >= 0)
        close(self->watch_fd);
    free(self);
}

enum err_code agent_create(const struct agent_options *options, struct agent **out, struct err *e)
{
    struct agent *self = calloc(1, sizeof *self);
    struct seedpress_error error;
    sigset_t all, before;
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the agent");
    self->options = *options;
    self->ending.run = begin_end;
    heap_init(&self->alarms, offsetof(struct agent_alarm, place), rings_before);
    self->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    rc = channel_create(options->tasks_max, &self->tasks, e);
    if (!rc && self->watch_fd < 0)
        rc = err_set(e, ERR_NOMEM, "no file descriptor for epoll");
    if (!rc && seedpress_create(&options->broker, &self->sp, &error))
        rc = err_set(e, (enum err_code)error.code, "%s", error.message);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!rc && pthread_create(&self->thread, NULL, run, self))
        rc = err_set(e, ERR_NOMEM, "could not start the agent's thread");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        release(self);
        return rc;
    }
    *out = self;
    return ERR_OK;
}

void agent_finish(struct agent *self, int drain_ms)
{
    self->drain_ms = drain_ms;
    channel_put(self->tasks, &self->ending, CHANNEL_FOREVER);
    channel_close(self->tasks);
    pthread_join(self->thread, NULL);
}

void agent_destroy(struct agent **self)
{
    if (!*self)
        return;
    release(*self);
    *self = NULL;
}
