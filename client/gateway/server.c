#include "client/gateway/server.h"

#include "base/log.h"
#include "base/port.h"
#include "client/gateway/tally.h"

#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 1024, CONNECTION_BYTES = 16384, SETTLE_S = 1 };

static const char EXPOSED[] = "ETag, Content-Digest, Server-Timing, X-Seed, X-Psi, X-Recipe, Link, "
                              "Location, Retry-After, X-Fresh";

struct server {
    struct server_options options;
    struct MHD_Daemon *daemon;
    int fd;                         /* -1: the daemon's */
    char endpoint[PORT_NAME_MAX];
    _Atomic int64_t body_bytes;
    pthread_mutex_t lock;
    pthread_cond_t settled;
    size_t running;                 /* visits that a handler had and that are not answered whole */
};

/* ---- what visit.c asks ---- */

const struct server_options *server_options(const struct server *self)
{
    return &self->options;
}

bool server_take_body(struct server *self, int64_t bytes)
{
    int64_t now = atomic_fetch_add(&self->body_bytes, bytes) + bytes;

    if (bytes <= 0 || now <= (int64_t)self->options.bodies_max)
        return true;
    atomic_fetch_sub(&self->body_bytes, bytes);
    return false;
}

const char *server_allows(const struct server *self, const char *origin)
{
    const char *list = self->options.cors;
    size_t len = origin ? strlen(origin) : 0;

    if (strcmp(list, "*") == 0)
        return "*";
    for (const char *at = list; len > 0 && *at;) {
        size_t part;

        at += strspn(at, ", ");
        part = strcspn(at, ", ");
        if (part == len && memcmp(at, origin, len) == 0)
            return origin;
        at += part;
    }
    return NULL;
}

void server_dress(const struct server *self, struct response *response, const char *origin)
{
    bool by_origin = *self->options.cors && strcmp(self->options.cors, "*") != 0;

    response_header(response, "X-Content-Type-Options", "nosniff");
    if (by_origin)
        response_header(response, MHD_HTTP_HEADER_VARY, "Origin");
    if (!origin)
        return;
    response_header(response, "Access-Control-Allow-Origin", origin);
    response_header(response, "Access-Control-Expose-Headers", EXPOSED);
}

const char *server_endpoint(const struct server *self)
{
    return self->endpoint;
}

/* ---- routes ---- */

/* What follows is compared with the pattern's segments, one after another. */
static bool fits(const struct route *route, const struct url *url)
{
    const char *at = route->pattern;
    size_t i = 0;

    for (; *at; i++) {
        size_t len = strcspn(at, "/");

        if (len == 2 && memcmp(at, "**", 2) == 0)
            return true;
        if (i == url->segment_count)
            return false;
        if (!(len == 1 && *at == '*') &&
            (strlen(url->segment[i]) != len || memcmp(url->segment[i], at, len) != 0))
            return false;
        at += len + (at[len] == '/');
    }
    return i == url->segment_count && (url->is_folder == (i == 0));
}

static struct response *allow(const struct server *self, const struct visit *visit,
                              unsigned methods)
{
    static const struct seedpress_error WORDS = { .code = SEEDPRESS_INVALID, .word = "invalid",
                                                  .message = "this method is not for this URL" };
    bool is_question = visit_method(visit) == VISIT_OPTIONS;
    struct response *response = is_question
                                    ? response_create(MHD_HTTP_NO_CONTENT, NULL, "", 0)
                                    : response_error_as(MHD_HTTP_METHOD_NOT_ALLOWED, &WORDS);
    const char *list = methods == (VISIT_GET | VISIT_POST) ? "GET, HEAD, POST, OPTIONS"
                       : methods == VISIT_POST             ? "POST, OPTIONS"
                                                           : "GET, HEAD, OPTIONS";

    response_header(response, MHD_HTTP_HEADER_ALLOW, list);
    if (is_question && server_allows(self, visit_header(visit, MHD_HTTP_HEADER_ORIGIN))) {
        response_header(response, "Access-Control-Allow-Methods", list);
        response_header(response, "Access-Control-Allow-Headers", "Content-Type, If-None-Match");
        response_header(response, "Access-Control-Max-Age", "86400");
    }
    return response;
}

/* The row of "nothing fits" comes after the routes'. */
static void run(struct server *self, struct visit *visit)
{
    const struct server_options *o = &self->options;
    const struct url *url = visit_url(visit);
    unsigned methods = 0;
    struct err e;

    if (visit_url_error(visit)) {
        visit_refuse(visit, visit_url_error(visit));
        return;
    }
    for (size_t i = 0; i < o->route_count; i++) {
        const struct route *route = &o->routes[i];

        if (!fits(route, url) || (route->is_there && !route->is_there(o->gateway)))
            continue;
        if (route->methods & visit_method(visit)) {
            metrics_add(o->metrics, TALLY_REQUESTS, i, 1);
            route->handle(o->gateway, visit);
            return;
        }
        methods |= route->methods;
    }
    metrics_add(o->metrics, TALLY_REQUESTS, o->route_count, 1);
    if (methods) {
        visit_answer(visit, allow(self, visit, methods));
        return;
    }
    err_set(&e, ERR_NOT_FOUND, "nothing is at \"%.80s\"; /v1/openapi.json says what there is",
            visit_target(visit));
    visit_refuse(visit, &e);
}

/* ---- the library's side ---- */

static void count_running(struct server *self, int by)
{
    pthread_mutex_lock(&self->lock);
    self->running += (size_t)by;
    if (self->running == 0)
        pthread_cond_signal(&self->settled);
    pthread_mutex_unlock(&self->lock);
}

static void *on_target(void *arg, const char *target, struct MHD_Connection *connection)
{
    return visit_create(arg, connection, target);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct visit *visit = *context;

    (void)connection;
    (void)code;
    if (visit && visit_has_run(visit))
        count_running(arg, -1);
    visit_destroy(&visit);
    *context = NULL;
}

static enum MHD_Result deliver(struct server *self, struct visit *visit,
                               const struct response *response)
{
    if (response)
        metrics_add(self->options.metrics, TALLY_ANSWERS, tally_status(response_status(response)),
                    1);
    return visit_deliver(visit) ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_len, void **context)
{
    struct visit *visit = *context;

    (void)connection;
    (void)path;
    (void)version;
    if (!visit)
        return MHD_NO;               /* no memory for it */
    switch (visit_turn(visit, method, body, body_len)) {
    case VISIT_READS:
        return MHD_YES;
    case VISIT_FAILS:
        return MHD_NO;
    case VISIT_RUNS:
        count_running(arg, 1);
        run(arg, visit);
        /* Handed on: whoever has it may have answered already, and the rest is the next turn's. */
        if (visit_is_suspended(visit))
            return MHD_YES;
        break;
    case VISIT_ANSWERS:
        break;
    }
    return deliver(arg, visit, visit_response(visit));
}

/* ---- life ---- */

enum err_code server_create(const struct server_options *options, struct server **out,
                            struct err *e)
{
    const struct port_options port = { .setting = "listen", .listen = options->listen,
                                       .backlog = BACKLOG, .remedy = "" };
    pthread_condattr_t monotonic;
    struct server *self;
    enum err_code rc;
    int fd;

    *out = NULL;
    if ((rc = port_listen(&port, &fd, e)))
        return rc;
    self = calloc(1, sizeof *self);
    if (!self) {
        close(fd);
        return err_set(e, ERR_NOMEM, "no memory for the server");
    }
    self->options = *options;
    self->fd = fd;
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->settled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    port_name(fd, self->endpoint);
    *out = self;
    return ERR_OK;
}

/* Signals stay the main thread's. */
enum err_code server_start(struct server *self, struct err *e)
{
    const struct server_options *o = &self->options;
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    self->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, self,
        MHD_OPTION_LISTEN_SOCKET, self->fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)o->threads,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)o->address_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)o->idle_s, MHD_OPTION_URI_LOG_CALLBACK, on_target,
        self, MHD_OPTION_NOTIFY_COMPLETED, on_completed, self, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!self->daemon)
        return err_set(e, ERR_NOMEM, "could not start %d threads of the server", o->threads);
    self->fd = -1;
    return ERR_OK;
}

void server_quiesce(struct server *self)
{
    int fd = self->daemon ? MHD_quiesce_daemon(self->daemon) : -1;

    if (fd >= 0)
        close(fd);
}

/* The library would cut off answers that are on their way. Who does not read has a second. */
static void settle(struct server *self)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SETTLE_S;
    pthread_mutex_lock(&self->lock);
    while (self->running > 0 &&
           pthread_cond_timedwait(&self->settled, &self->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&self->lock);
}

void server_destroy(struct server **self)
{
    if (!*self)
        return;
    if ((*self)->daemon) {
        settle(*self);
        MHD_stop_daemon((*self)->daemon);
    }
    pthread_cond_destroy(&(*self)->settled);
    pthread_mutex_destroy(&(*self)->lock);
    if ((*self)->fd >= 0)
        close((*self)->fd);
    free(*self);
    *self = NULL;
}
