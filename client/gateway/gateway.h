/* gateway -- what the routes' handlers work with. Made by main, then only read; each part is safe
 * from any thread. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "base/metrics.h"
#include "client/gateway/agent.h"
#include "client/gateway/catalogue.h"
#include "client/gateway/server.h"
#include "client/gateway/album.h"
#include "client/gateway/visit.h"
#include "client/seedpress.h"

#include <stdatomic.h>
#include <stdbool.h>

struct gateway {
    struct seedpress_options broker;    /* for handles of one's own; texts live as long as main */
    int deadline_ms;                    /* of a picture */
    bool any_psi;                       /* strangers may ask for every psi */
    bool immutable;
    struct server *server;
    struct agent *agent;
    struct catalogue *catalogue;
    struct album *album;
    struct metrics *metrics;
    atomic_bool is_draining;
};

/* The model that a segment "cats@1a2b3c4d" or "cats" means. */
enum err_code gateway_find_model(struct gateway *self, const char *segment,
                                 struct seedpress_model *out, struct err *e);

#endif
