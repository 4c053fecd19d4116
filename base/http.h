/* http -- a port for monitoring; the one file that sees microhttpd.h. It only reads:
 *     GET /metrics   the figures, as Prometheus' text
 *     GET /livez     200 while the program's loop turns, else 503
 *     GET /readyz    200 while it takes work, else 503 and why not
 * HEAD works too. It has one thread of its own, which the loop never waits for. Connections, their
 * memory and their time are bounded; when many are open, the oldest goes, so that peers that send
 * nothing cannot keep a scrape out. No password and no encryption: anybody who reaches it may read
 * it. */
#ifndef BASE_HTTP_H
#define BASE_HTTP_H

#include "base/health.h"
#include "base/metrics.h"
#include "proto/err.h"

struct http_options {
    const char *listen;             /* "127.0.0.1:7703", "[::1]:7703"; port 0: any; "": no port */
    int port_offset;                /* added to a port other than 0 */
    const struct metrics *metrics;  /* borrowed, as is health */
    const struct health *health;
};

struct http;
/* Listens and starts the thread. *out is NULL where there is to be no port. ERR_INVALID: no numeric
 * address; ERR_CONFLICT: it is taken; ERR_DENIED, ERR_NOMEM. */
enum err_code http_create(const struct http_options *options, struct http **out, struct err *e);
/* Ends the thread and closes all connections. NULL is fine. */
void http_destroy(struct http **self);

/* Where it listens, with the real port; "off" for NULL. */
const char *http_endpoint(const struct http *self);

#endif
