#include "base/http.h"

#include "base/clock.h"
#include "base/port.h"

#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    GUESTS_MAX = 64,                /* connections */
    GUESTS_KEPT = 48,               /* beyond this the oldest is closed */
    GUEST_BYTES = 8192,             /* a request's line and headers, and the answer's */
    IDLE_S = 10,
    BACKLOG = 256,
};

struct guest {
    int fd;                         /* -1: a free place */
    uint64_t serial;
};

struct http {
    const struct metrics *metrics;
    const struct health *health;
    struct MHD_Daemon *daemon;
    char endpoint[PORT_NAME_MAX];
    struct guest guests[GUESTS_MAX];        /* the thread's own */
    uint64_t last_serial;
};

/* ---- answers ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              char *text, size_t len, enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(len, text, mode);
    enum MHD_Result result;

    if (!response) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_words(struct MHD_Connection *connection, unsigned status,
                                    const char *words)
{
    char text[128];
    int len = snprintf(text, sizeof text, "%s\n", words);

    return answer(connection, status, "text/plain; charset=utf-8", text, (size_t)len,
                  MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result on_metrics(const struct http *self, struct MHD_Connection *connection)
{
    struct err e;
    char *text;
    size_t len;

    if (metrics_print(self->metrics, &text, &len, &e))
        return answer_words(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, e.msg);
    return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, len,
                  MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result on_livez(const struct http *self, struct MHD_Connection *connection)
{
    bool live = health_is_live(self->health, clock_ms());

    return answer_words(connection, live ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                        live ? "ok" : "the loop does not turn");
}

static enum MHD_Result on_readyz(const struct http *self, struct MHD_Connection *connection)
{
    bool live = health_is_live(self->health, clock_ms());
    const char *why_not = live ? health_why_not(self->health) : "the loop does not turn";

    return answer_words(connection, why_not ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK,
                        why_not ? why_not : "ok");
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_len, void **context)
{
    static const struct page {
        const char *path;
        enum MHD_Result (*show)(const struct http *self, struct MHD_Connection *connection);
    } PAGES[] = { { "/metrics", on_metrics }, { "/livez", on_livez }, { "/readyz", on_readyz } };

    (void)version;
    (void)body;
    (void)body_len;
    (void)context;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
    for (size_t i = 0; i < sizeof PAGES / sizeof PAGES[0]; i++)
        if (strcmp(url, PAGES[i].path) == 0)
            return PAGES[i].show(arg, connection);
    return answer_words(connection, MHD_HTTP_NOT_FOUND, "there are /metrics, /livez and /readyz");
}

/* ---- who is connected ---- */

static void welcome(struct http *self, int fd, void **context)
{
    struct guest *place = NULL, *oldest = NULL;
    int count = 1;

    for (struct guest *g = self->guests; g < self->guests + GUESTS_MAX; g++)
        if (g->fd < 0) {
            place = g;
        } else {
            count++;
            if (g->serial > 0 && (!oldest || g->serial < oldest->serial))
                oldest = g;
        }
    if (place)                       /* always: as many places as connections */
        *place = (struct guest){ fd, ++self->last_serial };
    *context = place;
    if (count > GUESTS_KEPT && oldest) {
        shutdown(oldest->fd, SHUT_RDWR);     /* the library sees its end and closes it */
        oldest->serial = 0;
    }
}

/* Runs on the library's thread, as on_request does. */
static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    if (code == MHD_CONNECTION_NOTIFY_STARTED && info) {
        welcome(arg, info->connect_fd, context);
    } else if (code == MHD_CONNECTION_NOTIFY_CLOSED && *context) {
        *(struct guest *)*context = (struct guest){ .fd = -1 };
        *context = NULL;
    }
}

/* ---- the port ---- */

/* Signals stay the loop's. */
static struct MHD_Daemon *start(struct http *self, int fd)
{
    struct MHD_Daemon *daemon;
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    daemon = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD, 0, NULL, NULL, on_request, self, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)GUESTS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)GUEST_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, self, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

enum err_code http_create(const struct http_options *options, struct http **out, struct err *e)
{
    const struct port_options port = {
        .setting = "metrics_listen", .listen = options->listen, .offset = options->port_offset,
        .backlog = BACKLOG, .remedy = ", or an empty one for none",
    };
    struct http *self;
    enum err_code rc;
    int fd;

    *out = NULL;
    if (!*options->listen)
        return ERR_OK;
    if ((rc = port_listen(&port, &fd, e)))
        return rc;
    self = calloc(1, sizeof *self);
    if (!self) {
        close(fd);
        return err_set(e, ERR_NOMEM, "no memory for the metrics port");
    }
    self->metrics = options->metrics;
    self->health = options->health;
    for (int i = 0; i < GUESTS_MAX; i++)
        self->guests[i].fd = -1;
    port_name(fd, self->endpoint);
    self->daemon = start(self, fd);
    if (!self->daemon) {
        close(fd);
        free(self);
        return err_set(e, ERR_NOMEM, "could not start the thread of the metrics port");
    }
    *out = self;
    return ERR_OK;
}

void http_destroy(struct http **self)
{
    if (!*self)
        return;
    MHD_stop_daemon((*self)->daemon);        /* closes its socket too */
    free(*self);
    *self = NULL;
}

const char *http_endpoint(const struct http *self)
{
    return self ? self->endpoint : "off";
}
