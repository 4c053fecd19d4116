/* server -- HTTP for many connections on few threads: the routes, limits on what a connection may
 * hold, headers that every answer has. Slow readers and those who wait hold their connection and
 * nothing else. */
#ifndef GATEWAY_SERVER_H
#define GATEWAY_SERVER_H

#include "base/metrics.h"
#include "client/gateway/visit.h"
#include "client/gateway/visitor.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

struct gateway;

/* One row of the table in routes.c. Segments of pattern: words, "*" for any one, at the end "**"
 * for all that is left. The first row that fits counts. */
struct route {
    unsigned methods;               /* bits of enum visit_method; HEAD goes with GET */
    const char *pattern;            /* "v1/models"; "": "/" alone */
    void (*handle)(struct gateway *gateway, struct visit *visit);
    const char *name;               /* in the metrics */
    bool (*is_there)(const struct gateway *gateway);    /* NULL: always */
};

struct server_options {
    const char *listen;
    int threads;
    int connections_max;
    int address_max;                /* connections of one address; 0: no bound */
    int idle_s;                     /* a connection without a word for so long is closed */
    size_t body_max, bodies_max;    /* bytes of a POST's body; of all of them together */
    const char *cors;               /* origins, ',' between; "*": all; "": none */
    struct visitor_proxies proxies;
    const struct route *routes;     /* borrowed, [route_count], as is all below */
    size_t route_count;
    struct gateway *gateway;
    struct metrics *metrics;
};

struct server;
/* Takes no connections before server_start. ERR_INVALID, ERR_CONFLICT, ERR_DENIED, ERR_NOMEM. */
enum err_code server_create(const struct server_options *options, struct server **out,
                            struct err *e);
enum err_code server_start(struct server *self, struct err *e);
/* No new connections. */
void server_quiesce(struct server *self);
/* No visit may be suspended any more. NULL is fine. */
void server_destroy(struct server **self);
const char *server_endpoint(const struct server *self);

/* For visit.c. */
const struct server_options *server_options(const struct server *self);
/* Room for bytes more of bodies; negative gives back. False: there is none. */
bool server_take_body(struct server *self, int64_t bytes);
/* The origin's own text where its pages may read answers, "*" where all may, else NULL. */
const char *server_allows(const struct server *self, const char *origin);
/* The headers that every answer has; for what is frozen by its maker, who gives the origin that
 * server_allows gave (NULL: none). */
void server_dress(const struct server *self, struct response *response, const char *origin);

#endif
