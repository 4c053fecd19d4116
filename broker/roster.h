/* roster -- the workers that are alive, what they have, and how much more they take. */
#ifndef BROKER_ROSTER_H
#define BROKER_ROSTER_H

#include "base/link.h"
#include "broker/access.h"
#include "broker/render.h"
#include "proto/message.h"

#include <uthash.h>

struct worker {
    uint8_t peer[256];              /* the key */
    size_t peer_len;
    struct address to;
    struct access access;
    char name[128];                 /* "host:pid:start" */
    char numerics_class[64], encoder[64], device[128], version[64];
    int64_t serial;                 /* counts the workers of this broker's life, from 1 */
    int64_t run;
    struct digest *models;          /* [model_count] */
    size_t model_count;
    size_t credit;                  /* leases it takes from this broker */
    size_t leased;
    bool left;                      /* it said goodbye */
    bool gone;                      /* unroutable; the next second ends it */
    bool ledger_down;               /* it cannot store now, as its last heartbeat said */
    bool stalled;                   /* no progress for too long; cleared by the next progress */
    int64_t heard_ms;
    int64_t progress, progress_ms;  /* sum of its stages' counters, and when it last moved */
    int64_t rendered, backlog_ms;
    int64_t picture_us_max;         /* dearest picture seen, as its share of a batch */
    int64_t batch_max;              /* largest batch seen */
    struct render *leases;
    UT_hash_handle hh;
};

struct roster {
    struct worker *by_peer;
    int64_t last_serial;
};

struct worker *roster_find(struct roster *self, const struct address *address);
/* The one of that name; NULL: none. */
struct worker *roster_find_name(struct roster *self, struct text name);
/* Adds the worker, or brings the one at that address up to date. NULL: no memory. */
struct worker *roster_put(struct roster *self, const struct address *address,
                          const struct message_ready *ready, int64_t now_ms);
/* Its leases must have ended. */
void roster_remove(struct roster *self, struct worker *worker);
void roster_release(struct roster *self);

/* Some worker can store, or there is none to ask. */
bool roster_can_store(const struct roster *self);
bool worker_has_model(const struct worker *self, const struct digest *model);
/* Leases that it takes now. */
size_t worker_room(const struct worker *self);
/* Whether another worker than self could take a render of the model, now or when it has room. */
bool roster_has_other(const struct roster *roster, const struct worker *self,
                      const struct digest *model);
/* Any worker that has the model, with credit or without. */
bool roster_has_model(const struct roster *self, const struct digest *model);

#endif
