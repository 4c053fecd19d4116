/* gateway -- what the routes' handlers work with. Made by main, then only read; each part is safe
 * from any thread. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "base/metrics.h"
#include "client/gateway/agent.h"
#include "client/gateway/album.h"
#include "client/gateway/catalogue.h"
#include "client/gateway/desk.h"
#include "client/gateway/gallery.h"
#include "client/gateway/permutation.h"
#include "client/gateway/rates.h"
#include "client/gateway/server.h"
#include "client/gateway/site.h"
#include "client/gateway/visit.h"
#include "client/seedpress.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gateway {
    struct seedpress_options broker;    /* for handles of one's own; texts live as long as main */
    int deadline_ms;                    /* of a picture */
    bool any_psi;                       /* strangers may ask for every psi */
    bool immutable;
    struct server *server;
    struct agent *agent;
    struct catalogue *catalogue;
    struct album *album;
    struct gallery *gallery;
    struct rates *rates;
    struct desk *proofs, *look_ups;     /* for files; for short questions */
    struct site *site;                  /* NULL: none is served */
    struct metrics *metrics;
    struct permutation seeds;           /* the order in which random.jpg draws */
    _Atomic uint32_t drawn;             /* how many; where it begins is main's */
    atomic_bool is_draining;
};

/* The model that a segment "cats@1a2b3c4d" or "cats" means. */
enum err_code gateway_find_model(struct gateway *self, const char *segment,
                                 struct seedpress_model *out, struct err *e);
/* Whether visitor_rate lets the visitor ask the broker something now; if not, it has been answered
 * with 429. What memory answers is free. */
bool gateway_admit(struct gateway *self, struct visit *visit);
/* Suspends the visit and hands the agent its task. False: there is no room, or nothing is taken any
 * more; the visit has been refused with 503, and the task is still the caller's. */
bool gateway_post(struct gateway *self, struct visit *visit, struct agent_task *task);

#endif
