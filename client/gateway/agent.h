/* agent -- the one thread that speaks to the broker for pictures; it owns a libseedpress handle.
 * Other threads hand it tasks over a bounded channel. Whatever is asked twice at once is asked the
 * broker once. What is marked (agent) below is for tasks alone: it runs on the agent's thread.
 *
 *     handler:   if (!gateway_post(gateway, visit, &mine->task)) free(mine);
 *     task:      agent_watch(...); agent_ask(agent, &mine->ask);
 *     done:      agent_unwatch(...); visit_answer(mine->visit, response)
 *     gone:      agent_drop(agent, &mine->ask); visit_answer(mine->visit, NULL) */
#ifndef GATEWAY_AGENT_H
#define GATEWAY_AGENT_H

#include "base/metrics.h"
#include "client/gateway/permalink.h"
#include "client/gateway/picture.h"
#include "client/gateway/album.h"
#include "client/gateway/visitor.h"
#include "client/seedpress.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent;

struct agent_options {
    struct seedpress_options broker;        /* its texts are read once */
    size_t tasks_max;               /* that wait for the thread */
    size_t asks_max;                /* questions at once; beyond it they fail with overloaded */
    struct album *album;            /* borrowed; pictures that come go there */
    struct metrics *metrics;        /* borrowed */
};
enum err_code agent_create(const struct agent_options *options, struct agent **out, struct err *e);
/* Takes no more tasks; waits up to drain_ms for what was asked, then ends it with an error. Every
 * task has run and every ask is done when it returns. */
void agent_finish(struct agent *self, int drain_ms);
void agent_destroy(struct agent **self);

/* ---- tasks, from any thread ---- */

struct agent_task {                 /* part of something of the caller's */
    void (*run)(struct agent_task *self, struct agent *agent);
};
/* False: too many wait, or the agent is ending; run is not called then. */
bool agent_post(struct agent *self, struct agent_task *task);

/* ---- asking (agent) ---- */

enum ask_kind {
    ASK_RENDER,                     /* the picture, rendered if it is not stored */
    ASK_STORED,                     /* the picture if it is stored */
    ASK_CHECK                       /* whether it is stored, and not withdrawn */
};
struct job;
/* Filled by the caller, who keeps it until done or agent_drop. */
struct ask {
    struct permalink what;
    enum ask_kind kind;
    char visitor[VISITOR_MAX];      /* for the broker's fairness; "": the gateway itself */
    int deadline_ms;                /* from agent_ask on */
    int priority;                   /* enum seedpress_priority */
    /* Once, unless dropped, and then the ask is the caller's again. error->code is 0: picture is
     * lent for the call (NULL of ASK_CHECK), times are those of its making. recipe is its key. */
    void (*done)(struct ask *self, struct agent *agent, const struct seedpress_error *error,
                 struct picture *picture, const struct picture_times *times, const char *recipe);
    /* The agent's own. */
    struct job *job;
    int64_t deadline_at_ms;
    struct ask *prev, *next;
};
/* done may be called before this returns. */
void agent_ask(struct agent *self, struct ask *ask);
/* Nobody wants it any more; done is not called. NULL of a done one is fine: it has no job. */
void agent_drop(struct agent *self, struct ask *ask);

/* ---- watching whether somebody still listens (agent) ---- */

struct agent_watch {                /* zeroed by the caller */
    void (*gone)(struct agent_watch *self, struct agent *agent);    /* once; it is unwatched then */
    int fd;                         /* a copy; 0: none */
};
/* visit_fd's descriptor. False: no descriptor is left; nobody will hear then. */
bool agent_watch(struct agent *self, struct agent_watch *watch, int fd);
void agent_unwatch(struct agent *self, struct agent_watch *watch);

/* Calls run at the first turn after at_ms (clock_ms), once. False: no memory. */
struct agent_alarm {
    void (*ring)(struct agent_alarm *self, struct agent *agent);
    int64_t at_ms;
    size_t place;
};
bool agent_set_alarm(struct agent *self, struct agent_alarm *alarm);
void agent_clear_alarm(struct agent *self, struct agent_alarm *alarm);

#endif
