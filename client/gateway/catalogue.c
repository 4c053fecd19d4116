#include "client/gateway/catalogue.h"

#include "base/clock.h"
#include "base/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EVERY_S = 2, OLD_MS = 10000 };

struct catalogue {
    struct catalogue_options options;
    struct seedpress *sp;           /* the thread's own */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_ending, is_told;        /* is_told: models were told once */
    struct seedpress_model *models; /* owned, [count] */
    size_t count;
    int64_t told_ms;
    struct err failure;             /* of the last question */
};

/* ---- asking ---- */

static const struct seedpress_model *find_in(const struct seedpress_model *models, size_t count,
                                             const struct seedpress_model *wanted, bool by_name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(by_name ? models[i].name : models[i].digest,
                   by_name ? wanted->name : wanted->digest) == 0)
            return &models[i];
    return NULL;
}

/* What a broker that was started anew has not heard of yet stays: permanent URLs are no 404 till
 * then. A name that is another model's by now is not. */
static size_t keep(const struct catalogue *self, struct seedpress_model *copy, size_t count)
{
    size_t told = count;

    for (size_t i = 0; i < self->count && count < CATALOGUE_MAX; i++) {
        if (find_in(copy, told, &self->models[i], false))
            continue;
        copy[count] = self->models[i];
        copy[count].workers = 0;
        if (find_in(copy, told, &self->models[i], true))
            copy[count].name[0] = '\0';
        count++;
    }
    return count;
}

static void take(struct catalogue *self, const struct seedpress_model *models, size_t count)
{
    struct seedpress_model *copy;

    count = count < CATALOGUE_MAX ? count : CATALOGUE_MAX;
    copy = malloc((count + self->count + 1) * sizeof *copy);
    if (!copy)
        return;                      /* the old list stays */
    memcpy(copy, models, count * sizeof *copy);
    count = keep(self, copy, count);
    pthread_mutex_lock(&self->lock);
    free(self->models);
    self->models = copy;
    self->count = count;
    self->is_told = true;
    self->told_ms = clock_ms();
    self->failure = (struct err){ .code = ERR_OK };
    pthread_mutex_unlock(&self->lock);
}

static void fail(struct catalogue *self, const struct seedpress_error *error)
{
    bool is_new;

    pthread_mutex_lock(&self->lock);
    is_new = self->failure.code != (enum err_code)error->code;
    err_set(&self->failure, (enum err_code)error->code, "%s", error->message);
    self->failure.retry_after_ms = EVERY_S * 1000;
    pthread_mutex_unlock(&self->lock);
    if (is_new)
        log_event(LOG_WARN, "models_unknown", "code=%s reason=\"%s\"", error->word, error->message);
}

static void ask(struct catalogue *self)
{
    const struct seedpress_model *models;
    struct seedpress_error error;
    size_t count;

    if (seedpress_models(self->sp, &models, &count, &error)) {
        fail(self, &error);
        return;
    }
    take(self, models, count);
    if (self->options.on_news)       /* the copy: what was lent ends with the next call */
        self->options.on_news(self->options.arg, self->sp, self->models, self->count);
}

static void *run(void *arg)
{
    struct catalogue *self = arg;
    struct timespec until;

    pthread_mutex_lock(&self->lock);
    while (!self->is_ending) {
        pthread_mutex_unlock(&self->lock);
        ask(self);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += EVERY_S;
        pthread_mutex_lock(&self->lock);
        if (!self->is_ending)
            pthread_cond_timedwait(&self->wake, &self->lock, &until);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* ---- life ---- */

static void release(struct catalogue *self)
{
    seedpress_destroy(&self->sp);
    pthread_cond_destroy(&self->wake);
    pthread_mutex_destroy(&self->lock);
    free(self->models);
    free(self);
}

enum err_code catalogue_create(const struct catalogue_options *options, struct catalogue **out,
                               struct err *e)
{
    struct catalogue *self = calloc(1, sizeof *self);
    struct seedpress_options broker = options->broker;
    struct seedpress_error error;
    pthread_condattr_t monotonic;
    sigset_t all, before;
    int failed;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the list of models");
    self->options = *options;
    err_set(&self->failure, ERR_UNREACHABLE, "the broker has not answered yet");
    self->failure.retry_after_ms = 1000;
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    broker.answer_ms = EVERY_S * 1000;
    if (seedpress_create(&broker, &self->sp, &error)) {
        release(self);
        return err_set(e, (enum err_code)error.code, "%s", error.message);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&self->thread, NULL, run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        release(self);
        return err_set(e, ERR_NOMEM, "could not start the thread that asks for models");
    }
    *out = self;
    return ERR_OK;
}

void catalogue_destroy(struct catalogue **self)
{
    if (!*self)
        return;
    pthread_mutex_lock(&(*self)->lock);
    (*self)->is_ending = true;
    pthread_cond_signal(&(*self)->wake);
    pthread_mutex_unlock(&(*self)->lock);
    pthread_join((*self)->thread, NULL);
    release(*self);
    *self = NULL;
}

/* ---- answering ---- */

static bool is_meant(const struct seedpress_model *model, const char *name, const char *digest)
{
    if (*digest)
        return strncmp(model->digest, digest, strlen(digest)) == 0;
    return strcmp(model->name, name) == 0;
}

/* A name may stand at the model that the ledger binds to it and at others, whose file has it. */
static enum err_code find(const struct catalogue *self, const char *name, const char *digest,
                          struct seedpress_model *out, struct err *e)
{
    const struct seedpress_model *found = NULL;

    for (size_t i = 0; i < self->count; i++) {
        const struct seedpress_model *m = &self->models[i];

        if (!is_meant(m, name, digest))
            continue;
        if (found && *digest)
            return err_set(e, ERR_CONFLICT, "several models begin with %s; give more digits",
                           digest);
        if (!found || (m->bound && !found->bound))
            found = m;
    }
    if (!found)
        return err_set(e, ERR_UNKNOWN_MODEL, "unknown model \"%s%s%.64s\"; /v1/models lists all",
                       name, *digest ? "@" : "", digest);
    *out = *found;
    if (!*out->name)                 /* no name is bound to it: the one that was asked for stays */
        snprintf(out->name, sizeof out->name, "%s", name);
    return ERR_OK;
}

enum err_code catalogue_find(struct catalogue *self, const char *name, const char *digest,
                             struct seedpress_model *out, struct err *e)
{
    enum err_code rc;

    pthread_mutex_lock(&self->lock);
    if (self->is_told) {
        rc = find(self, name, digest, out, e);
    } else {
        *e = self->failure;
        rc = e->code;
    }
    pthread_mutex_unlock(&self->lock);
    return rc;
}

enum err_code catalogue_list(struct catalogue *self, struct seedpress_model *out, size_t cap,
                             size_t *count, struct err *e)
{
    enum err_code rc = ERR_OK;

    pthread_mutex_lock(&self->lock);
    *count = self->count < cap ? self->count : cap;
    if (!self->is_told) {
        *e = self->failure;
        rc = e->code;
    } else
        memcpy(out, self->models, *count * sizeof *out);
    pthread_mutex_unlock(&self->lock);
    return rc;
}

const char *catalogue_why_not(struct catalogue *self)
{
    const char *words = NULL;
    int64_t workers = 0;

    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->count; i++)
        workers += self->models[i].workers;
    if (!self->is_told)
        words = "no broker has answered yet";
    else if (clock_ms() - self->told_ms > OLD_MS)
        words = "no broker has answered for 10 s";
    else if (workers == 0)
        words = "no worker has a model";
    pthread_mutex_unlock(&self->lock);
    return words;
}
