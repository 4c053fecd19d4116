/* visit -- one HTTP request on its way to its one answer.
 *
 * A route's handler runs on one of the server's few threads and may not wait. It either answers, or
 * suspends the visit first and then hands it to whoever will answer. A suspended visit stays where
 * it is until visit_answer, which gives it back to the server: it may not be touched after that. */
#ifndef GATEWAY_VISIT_H
#define GATEWAY_VISIT_H

#include "client/gateway/response.h"
#include "client/gateway/url.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct MHD_Connection;
struct server;

/* Bits, for a route's list. HEAD is answered as GET is; the server leaves the body out. */
enum visit_method { VISIT_GET = 1, VISIT_POST = 2, VISIT_OPTIONS = 4, VISIT_OTHER = 8 };

struct visit;

enum visit_method visit_method(const struct visit *self);
bool visit_is_head(const struct visit *self);                  /* nobody will read a body */
const struct url *visit_url(const struct visit *self);
/* As it was sent, "/v1/models?x=1": cut off at what a URL may have. */
const char *visit_target(const struct visit *self);
const char *visit_header(const struct visit *self, const char *name);       /* NULL: it has none */
const char *visit_visitor(struct visit *self);                 /* visitor.h; for `for` and rates */
const void *visit_body(const struct visit *self, size_t *len); /* of POST, whole */
int64_t visit_arrived_us(const struct visit *self);
/* The connection's descriptor, for agent_watch. */
int visit_fd(const struct visit *self);
/* Where the page of another origin that asks may read the answer; NULL: it may not, or there is
 * none. */
const char *visit_origin(const struct visit *self);

void visit_suspend(struct visit *self);
/* Takes response; NULL closes the connection. From a handler, or with a suspended visit from any
 * thread. */
void visit_answer(struct visit *self, struct response *take);
void visit_refuse(struct visit *self, const struct err *e);

/* ---- the server's side ---- */

/* A request line has come. NULL: no memory. */
struct visit *visit_create(struct server *server, struct MHD_Connection *connection,
                           const char *target);
void visit_destroy(struct visit **self);

/* What on_request has to do next. */
enum visit_turn { VISIT_READS, VISIT_RUNS, VISIT_ANSWERS, VISIT_FAILS };
/* Takes part of the body (*len, which becomes 0), or learns that all is there. */
enum visit_turn visit_turn(struct visit *self, const char *method, const char *data, size_t *len);
/* Sends the answer, if there is one. False: the connection is to be closed. */
bool visit_deliver(struct visit *self);
bool visit_has_run(const struct visit *self);       /* visit_turn has said VISIT_RUNS */
bool visit_is_suspended(const struct visit *self);
const struct response *visit_response(const struct visit *self);    /* lent; NULL: none yet */
/* Why the URL cannot be read; NULL: it was. */
const struct err *visit_url_error(const struct visit *self);

#endif
