/* roster -- the workers that are alive, what they have, and how much more they take. */
#ifndef BROKER_ROSTER_H
#define BROKER_ROSTER_H

#include "base/link.h"
#include "broker/access.h"
#include "broker/cost.h"
#include "broker/models.h"
#include "broker/render.h"
#include "proto/message.h"

#include <uthash.h>

/* A second; who hands back more gets nothing before the next. */
enum { ROSTER_HANDBACKS_MAX = 64 };

/* A model that a worker has. */
struct service {
    const struct model_entry *model;
    struct cost cost;
    size_t leased;
};

struct worker {
    uint8_t peer[256];              /* the key */
    size_t peer_len;
    struct address to;
    struct access access;
    char name[128];                 /* "host:pid:start" */
    char numerics_class[64], encoder[64], device[128], version[64];
    int64_t serial;                 /* counts the workers of this broker's life, from 1 */
    int64_t run;
    struct service *services;       /* [service_count] */
    size_t service_count;
    struct model_set models;        /* of the services */
    size_t credit;                  /* leases it takes from this broker */
    size_t leased;
    bool left;                      /* it said goodbye */
    int64_t leased_us;              /* what they were expected to take */
    int64_t others_us;              /* what it had to do for other brokers at its last heartbeat */
    const struct model_entry *last_model;       /* of what it was leased last; NULL: nothing yet */
    int64_t streak_us;              /* given to it while other models' work waited */
    size_t handbacks;               /* unasked, in this second */
    bool gone;                      /* unroutable; the next second ends it */
    bool ledger_down;               /* it cannot store now, as its last heartbeat said */
    bool stalled;                   /* no progress for too long; cleared by the next progress */
    int64_t heard_ms;
    int64_t progress, progress_ms;  /* sum of its stages' counters, and when it last moved */
    int64_t rendered, backlog_ms;
    struct lease *leases;
    UT_hash_handle hh;
};

struct roster {
    struct worker *by_peer;
    int64_t last_serial;
    /* Workers that have both models, by their index; one model twice: workers that have it. */
    uint16_t shared[MESSAGE_MODELS_MAX][MESSAGE_MODELS_MAX];
    struct cost cost[MESSAGE_MODELS_MAX];       /* of a model, whoever made it */
};

struct worker *roster_find(struct roster *self, const struct address *address);
/* The one of that name; NULL: none. */
struct worker *roster_find_name(struct roster *self, struct text name);
/* Adds the worker, or brings the one at that address up to date, with what was measured of it. Of
 * its models those that are in models count. NULL: no memory, or too many workers. */
struct worker *roster_put(struct roster *self, const struct models *models,
                          const struct address *address, const struct message_ready *ready,
                          int64_t now_ms);
/* Its leases must have ended. */
void roster_remove(struct roster *self, struct worker *worker);
void roster_release(struct roster *self);

/* Some worker can store, or there is none to ask. */
bool roster_can_store(const struct roster *self);
bool worker_has_model(const struct worker *self, const struct model_entry *model);
/* Leases of that level (enum message_priority) that it takes now. A full worker has an express
 * place for one of MESSAGE_HIGH. */
size_t worker_room(const struct worker *self, int level);
/* The books of its leases; renders_set_lease and renders_clear_lease keep them. */
void worker_take(struct worker *self, struct lease *lease);
void worker_give(struct worker *self, struct lease *lease);
/* Whether another worker than self could take a render of the model, now or when it has room. */
bool roster_has_other(const struct roster *roster, const struct worker *self,
                      const struct model_entry *model);
/* Any worker that has the model, with credit or without. */
bool roster_has_model(const struct roster *self, const struct model_entry *model);

/* A result of a batch of the worker's; a late one of a lease that it has lost. Who was taken for
 * hung and was only much slower than before is measured anew from that. */
void roster_learn_late(struct roster *self, struct worker *worker, const struct model_entry *model,
                       int64_t render_us, int64_t batch, int64_t now_ms);
void roster_learn(struct roster *self, struct worker *worker, const struct model_entry *model,
                  int64_t render_us, int64_t batch, int64_t now_ms);
/* What is known of the worker with the model, else of the model with any; may know nothing. worker
 * may be NULL. */
const struct cost *roster_cost(const struct roster *self, const struct worker *worker,
                               const struct model_entry *model);
/* What a picture counts as: COST_UNKNOWN_US while nothing is known. */
int64_t roster_picture_us(const struct roster *self, const struct worker *worker,
                          const struct model_entry *model);
/* All that the worker holds, each model in a batch, which is at least as large as the largest seen:
 * other brokers may feed it too. 0: something that it holds has never been measured. */
int64_t roster_held_us(const struct roster *self, const struct worker *worker);

#endif
