#include "broker/scribe.h"

#include "base/channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/models.h"
#include "sql/segments.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    ASKED_MAX = 4096,               /* errands that wait for the thread */
    ANSWERED_MAX = 512,             /* answers that wait for the loop; they may hold pictures */
    NAMES_MAX = 4096,
    PING_MS = 1000,                 /* how soon an idle thread sees the ledger go or come back */
};

struct scribe {
    struct channel *asked, *answered;
    struct ledger *ledger;          /* the thread's own */
    char *conninfo, *segments;
    atomic_bool up;
    pthread_t thread;
    bool running;
};

struct errand *errand_create(enum errand_kind kind)
{
    struct errand *self = calloc(1, sizeof *self);

    if (self)
        self->kind = kind;
    return self;
}

void errand_destroy(struct errand **self)
{
    if (!*self)
        return;
    ledger_rows_release(&(*self)->rows);
    ledger_rows_release(&(*self)->withdrawal.rows);
    free((*self)->names);
    free((*self)->models);
    if ((*self)->end_extra)
        (*self)->end_extra((*self)->extra);
    free(*self);
    *self = NULL;
}

/* ---- the thread ---- */

static void note_state(struct scribe *self, enum err_code rc, const struct err *e)
{
    bool up = rc != ERR_LEDGER_DOWN && rc != ERR_VERSION;

    if (atomic_exchange(&self->up, up) != up)
        log_event(up ? LOG_INFO : LOG_WARN, up ? "ledger_up" : "ledger_down", "reason=\"%s\"",
                  up ? "" : e->msg);
}

static void answer(struct scribe *self, struct errand *errand)
{
    if (!channel_put(self->answered, errand, CHANNEL_FOREVER))
        errand_destroy(&errand);    /* closed: the broker is going away */
}

/* Connects when there is no ledger object yet: at first, or after a schema that does not fit. */
static enum err_code open_ledger(struct scribe *self, struct err *e)
{
    struct ledger_segments segments = { .folder = self->segments };
    enum err_code rc;
    struct err why;

    if (self->ledger)
        return ERR_OK;
    rc = ledger_open(self->conninfo, "seedpress-broker", &self->ledger, e);
    if (self->ledger && *self->segments && ledger_use_segments(self->ledger, &segments, &why)) {
        ledger_close(&self->ledger);
        rc = err_set(e, ERR_LEDGER_DOWN, "%s", why.msg);
    }
    return rc;
}

static bool take_row(struct ledger_rows *from, const struct digest *key, struct ledger_rows *out)
{
    for (size_t i = 0; i < from->count; i++) {
        if (!digest_equal(&from->row[i].key, key))
            continue;
        out->row = malloc(sizeof *out->row);
        if (!out->row)
            return false;
        *out->row = from->row[i];
        from->row[i].data = NULL;   /* moved */
        out->count = 1;
        return true;
    }
    return true;
}

/* Answers first and the other FINDs that wait; at most one errand of another kind is met on the way
 * and given back. */
static struct errand *find_together(struct scribe *self, struct errand *first)
{
    struct errand *batch[LEDGER_BATCH_MAX] = { first }, *other = NULL;
    struct digest keys[LEDGER_BATCH_MAX];
    struct ledger_rows rows = { 0 };
    struct err e = { 0 };
    size_t count = 1;

    while (count < LEDGER_BATCH_MAX && (other = channel_take(self->asked, 0))) {
        if (other->kind != ERRAND_FIND)
            break;
        batch[count++] = other;
        other = NULL;
    }
    for (size_t i = 0; i < count; i++)
        keys[i] = batch[i]->key;
    enum err_code rc = ledger_find_keys(self->ledger, keys, count, true, &rows, &e);

    note_state(self, rc, &e);
    for (size_t i = 0; i < count; i++) {
        batch[i]->rc = rc;
        batch[i]->err = e;
        if (!rc && !take_row(&rows, &keys[i], &batch[i]->rows))
            batch[i]->rc = err_set(&batch[i]->err, ERR_NOMEM, "no memory for a stored picture");
        answer(self, batch[i]);
    }
    ledger_rows_release(&rows);
    return other;
}

static void fetch(struct scribe *self, struct errand *errand)
{
    struct ledger_rows rows = { 0 };

    errand->rc = ledger_find(self->ledger, &errand->query, &rows, &errand->err);
    if (!errand->rc && rows.count > 0)
        errand->rc = ledger_find_keys(self->ledger, &rows.row[0].key, 1, true, &errand->rows,
                                      &errand->err);
    ledger_rows_release(&rows);
}

static void read_names(struct scribe *self, struct errand *errand)
{
    errand->names = calloc(NAMES_MAX, sizeof *errand->names);
    errand->models = calloc(MODELS_STORED_MAX, sizeof *errand->models);
    errand->rc = errand->names && errand->models
                     ? ledger_names(self->ledger, errand->names, NAMES_MAX, &errand->name_count,
                                    &errand->err)
                     : err_set(&errand->err, ERR_NOMEM, "no memory for names");
    if (!errand->rc)
        errand->rc = ledger_models(self->ledger, errand->models, MODELS_STORED_MAX,
                                   &errand->model_count, &errand->err);
    if (!errand->rc)
        errand->rc = ledger_withdrawals(self->ledger, &errand->withdrawals, &errand->err);
}

/* False: files are left, and the errand waits for its next turn behind those of others. */
static bool withdraw(struct scribe *self, struct errand *errand)
{
    do
        errand->rc = ledger_withdraw(self->ledger, errand->query.by, &errand->query.digest,
                                     errand->reason, &errand->withdrawal, &errand->err);
    while (!errand->rc && errand->withdrawal.more && !channel_put(self->asked, errand, 0));
    return errand->rc || !errand->withdrawal.more;
}

static void run_errand(struct scribe *self, struct errand *errand)
{
    switch (errand->kind) {
    case ERRAND_LOOKUP:
        errand->rc = ledger_find(self->ledger, &errand->query, &errand->rows, &errand->err);
        break;
    case ERRAND_FETCH:
        fetch(self, errand);
        break;
    case ERRAND_NAMES:
        read_names(self, errand);
        break;
    case ERRAND_BIND:
        errand->rc = ledger_bind_name(self->ledger, errand->name, &errand->digest, &errand->err);
        break;
    case ERRAND_WITHDRAW:
        if (!withdraw(self, errand))
            return;
        break;
    case ERRAND_CALL:
        errand->rc = errand->call(self->ledger, errand->extra, &errand->err);
        break;
    case ERRAND_FIND:
        break;                      /* find_together's */
    }
    note_state(self, errand->rc, &errand->err);
    answer(self, errand);
}

static void refuse(struct scribe *self, struct errand *errand, enum err_code rc,
                   const struct err *e)
{
    errand->rc = rc;
    errand->err = *e;
    answer(self, errand);
}

static void *run(void *arg)
{
    struct scribe *self = arg;
    struct errand *errand = NULL;

    while (errand || !channel_is_closed(self->asked)) {
        struct err e = { 0 };
        enum err_code rc;

        if (!errand)
            errand = channel_take(self->asked, clock_ms() + PING_MS);
        rc = open_ledger(self, &e);
        if (!rc && !errand)
            rc = ledger_ping(self->ledger, &e);
        if (!self->ledger || !errand)
            note_state(self, rc, &e);
        if (!errand)
            continue;
        if (!self->ledger) {
            refuse(self, errand, rc, &e);
            errand = NULL;
        } else if (errand->kind == ERRAND_FIND) {
            errand = find_together(self, errand);
        } else {
            run_errand(self, errand);
            errand = NULL;
        }
    }
    ledger_close(&self->ledger);
    return NULL;
}

/* ---- the loop's side ---- */

/* Whoever starts a broker is told of a wrong folder then, not by the first look-up. */
static enum err_code check_segments(const char *folder, struct err *e)
{
    struct segments *segments;
    enum err_code rc = *folder ? segments_open(folder, SEGMENTS_READ, 0, &segments, e) : ERR_OK;

    if (!rc && *folder)
        segments_close(&segments);
    return rc;
}

enum err_code scribe_create(const char *conninfo, const char *segments, struct scribe **out,
                            struct err *e)
{
    struct scribe *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self || !(self->segments = strdup(segments)) ||
        (conninfo && !(self->conninfo = strdup(conninfo)))) {
        rc = err_set(e, ERR_NOMEM, "no memory for the ledger's thread");
        goto done;
    }
    if ((rc = check_segments(segments, e)))
        goto done;
    /* Until it is seen to be down: the first change is logged. */
    atomic_init(&self->up, conninfo != NULL);
    if ((rc = channel_create(ASKED_MAX, &self->asked, e)) ||
        (rc = channel_create(ANSWERED_MAX, &self->answered, e)))
        goto done;
    if (conninfo && pthread_create(&self->thread, NULL, run, self) != 0) {
        rc = err_set(e, ERR_NOMEM, "could not start the ledger's thread");
        goto done;
    }
    self->running = conninfo != NULL;
    *out = self;
    self = NULL;
done:
    scribe_destroy(&self);
    return rc;
}

static void end_errands(struct channel *channel)
{
    struct errand *errand;

    while (channel && (errand = channel_take(channel, 0)))
        errand_destroy(&errand);
}

void scribe_destroy(struct scribe **self)
{
    if (!*self)
        return;
    if ((*self)->running) {
        end_errands((*self)->asked);
        channel_close((*self)->asked);
        channel_close((*self)->answered);   /* a put that waits for room gives up */
        pthread_join((*self)->thread, NULL);
    }
    end_errands((*self)->asked);
    end_errands((*self)->answered);
    channel_destroy(&(*self)->asked);
    channel_destroy(&(*self)->answered);
    free((*self)->conninfo);
    free((*self)->segments);
    free(*self);
    *self = NULL;
}

bool scribe_ask(struct scribe *self, struct errand *errand)
{
    return self->running && channel_put(self->asked, errand, 0);
}

struct errand *scribe_answer(struct scribe *self)
{
    return channel_take(self->answered, 0);
}

int scribe_fd(const struct scribe *self)
{
    return channel_fd(self->answered);
}

bool scribe_ledger_is_up(const struct scribe *self)
{
    return atomic_load(&self->up);
}
