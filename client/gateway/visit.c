#include "client/gateway/visit.h"

#include "base/clock.h"
#include "client/gateway/server.h"
#include "client/gateway/stream.h"
#include "client/gateway/visitor.h"

#include <microhttpd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct visit {
    struct server *server;
    struct MHD_Connection *connection;
    enum visit_method method;
    bool is_begun, is_head, has_run, is_suspended;
    int64_t arrived_us;
    struct response *response;      /* what it will be answered with */
    char *body;                     /* [body_len], room for body_room */
    size_t body_len, body_room;
    struct err body_error;          /* why it is dropped and not kept; code 0: it is kept */
    size_t dropped;
    char visitor[VISITOR_MAX];
    struct err url_error;
    struct url url;
    char target[URL_MAX];
};

enum { BODY_FIRST = 4096, RETRY_MS = 1000 };

struct visit *visit_create(struct server *server, struct MHD_Connection *connection,
                           const char *target)
{
    struct visit *self = malloc(sizeof *self);
    size_t len = strlen(target), kept = len < URL_MAX ? len : URL_MAX - 1;

    if (!self)
        return NULL;
    memset(self, 0, offsetof(struct visit, url));
    self->server = server;
    self->connection = connection;
    self->arrived_us = clock_us();
    memcpy(self->target, target, kept);
    self->target[kept] = '\0';
    url_parse(target, len, &self->url, &self->url_error);
    return self;
}

void visit_destroy(struct visit **self)
{
    if (!*self)
        return;
    server_take_body((*self)->server, -(int64_t)(*self)->body_room);
    response_unref(&(*self)->response);
    free((*self)->body);
    free(*self);
    *self = NULL;
}

/* ---- what it says ---- */

enum visit_method visit_method(const struct visit *self)
{
    return self->method;
}

bool visit_is_head(const struct visit *self)
{
    return self->is_head;
}

const struct url *visit_url(const struct visit *self)
{
    return &self->url;
}

const struct err *visit_url_error(const struct visit *self)
{
    return self->url_error.code ? &self->url_error : NULL;
}

const char *visit_target(const struct visit *self)
{
    return self->target;
}

const char *visit_header(const struct visit *self, const char *name)
{
    return MHD_lookup_connection_value(self->connection, MHD_HEADER_KIND, name);
}

static enum MHD_Result keep_forwarded(void *arg, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    const char **last = arg;

    (void)kind;
    if (strcasecmp(name, "X-Forwarded-For") == 0)
        *last = value;
    return MHD_YES;
}

/* Some proxies add a line of their own behind what the visitor claims: the last line counts. */
static const char *last_forwarded(const struct visit *self)
{
    const char *last = NULL;

    MHD_get_connection_values(self->connection, MHD_HEADER_KIND, keep_forwarded, &last);
    return last;
}

const char *visit_visitor(struct visit *self)
{
    const union MHD_ConnectionInfo *info;

    if (self->visitor[0])
        return self->visitor;
    info = MHD_get_connection_info(self->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    visitor_name(&server_options(self->server)->proxies, info ? info->client_addr : NULL,
                 last_forwarded(self), self->visitor);
    return self->visitor;
}

const void *visit_body(const struct visit *self, size_t *len)
{
    *len = self->body_len;
    return self->body;
}

int64_t visit_arrived_us(const struct visit *self)
{
    return self->arrived_us;
}

int visit_fd(const struct visit *self)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(self->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

const char *visit_origin(const struct visit *self)
{
    return server_allows(self->server, visit_header(self, MHD_HTTP_HEADER_ORIGIN));
}

/* ---- its body ---- */

static bool grow_body(struct visit *self, size_t wanted)
{
    size_t room = self->body_room ? self->body_room : BODY_FIRST;
    char *body;

    while (room < wanted)
        room *= 2;
    if (room == self->body_room)
        return true;
    if (!server_take_body(self->server, (int64_t)(room - self->body_room)))
        return false;
    body = realloc(self->body, room);
    if (!body) {
        server_take_body(self->server, -(int64_t)(room - self->body_room));
        return false;
    }
    self->body = body;
    self->body_room = room;
    return true;
}

static void set_too_large(struct visit *self)
{
    err_set(&self->body_error, ERR_TOO_LARGE, "the body is larger than %zu bytes",
            server_options(self->server)->body_max);
}

static enum visit_turn refuse_body(struct visit *self)
{
    visit_refuse(self, &self->body_error);
    response_header(self->response, MHD_HTTP_HEADER_CONNECTION, "close");
    return VISIT_ANSWERS;
}

/* In the middle of a body the library takes no answer. What is left is read and forgotten, as much
 * as a body may have; beyond that the connection ends without a word. */
static enum visit_turn drop_body(struct visit *self, size_t more)
{
    server_take_body(self->server, -(int64_t)self->body_room);
    free(self->body);
    self->body = NULL;
    self->body_len = self->body_room = 0;
    self->dropped += more;
    return self->dropped <= server_options(self->server)->body_max ? VISIT_READS : VISIT_FAILS;
}

static enum visit_turn take_body(struct visit *self, const char *data, size_t *len)
{
    size_t more = *len;

    *len = 0;
    if (self->method != VISIT_POST)
        return VISIT_READS;          /* nobody reads it */
    if (!self->body_error.code && self->body_len + more > server_options(self->server)->body_max)
        set_too_large(self);
    if (!self->body_error.code && !grow_body(self, self->body_len + more)) {
        err_set(&self->body_error, ERR_OVERLOADED, "too many files are being sent at once");
        self->body_error.retry_after_ms = RETRY_MS;
    }
    if (self->body_error.code)
        return drop_body(self, more);
    memcpy(self->body + self->body_len, data, more);
    self->body_len += more;
    return VISIT_READS;
}

static enum visit_method read_method(const char *method)
{
    static const struct {
        const char *word;
        enum visit_method method;
    } METHODS[] = { { "GET", VISIT_GET }, { "HEAD", VISIT_GET }, { "POST", VISIT_POST },
                    { "OPTIONS", VISIT_OPTIONS } };

    for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++)
        if (strcmp(method, METHODS[i].word) == 0)
            return METHODS[i].method;
    return VISIT_OTHER;
}

static bool says_too_much(const struct visit *self)
{
    const char *text = visit_header(self, MHD_HTTP_HEADER_CONTENT_LENGTH);

    /* The library has read it already: it is a number. */
    return text && strtoull(text, NULL, 10) > server_options(self->server)->body_max;
}

enum visit_turn visit_turn(struct visit *self, const char *method, const char *data, size_t *len)
{
    if (self->is_suspended) {
        self->is_suspended = false;
        return self->response ? VISIT_ANSWERS : VISIT_FAILS;
    }
    if (!self->is_begun) {
        self->is_begun = true;
        self->method = read_method(method);
        self->is_head = strcmp(method, "HEAD") == 0;
        if (self->method != VISIT_POST || !says_too_much(self))
            return VISIT_READS;
        set_too_large(self);
        return refuse_body(self);
    }
    if (*len > 0)
        return take_body(self, data, len);
    if (self->body_error.code)
        return refuse_body(self);
    self->has_run = true;
    return VISIT_RUNS;
}

/* ---- its answer ---- */

void visit_suspend(struct visit *self)
{
    self->is_suspended = true;
    MHD_suspend_connection(self->connection);
}

bool visit_has_run(const struct visit *self)
{
    return self->has_run;
}

bool visit_is_suspended(const struct visit *self)
{
    return self->is_suspended;
}

const struct response *visit_response(const struct visit *self)
{
    return self->response;
}

void visit_answer(struct visit *self, struct response *take)
{
    self->response = take;
    if (self->is_suspended)
        MHD_resume_connection(self->connection);
}

void visit_refuse(struct visit *self, const struct err *e)
{
    visit_answer(self, response_refuse(e));
}

bool visit_deliver(struct visit *self)
{
    struct response *response = self->response;

    if (!response)
        return false;
    if (!response_is_frozen(response))
        server_dress(self->server, response, visit_origin(self));
    if (response_stream_of(response))
        stream_attach(response_stream_of(response), self->connection);
    return MHD_queue_response(self->connection, response_status(response),
                              response_inner(response)) == MHD_YES;
}
