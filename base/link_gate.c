#include "base/link_gate.h"

#include "base/clock.h"
#include "base/link_inside.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>
#include <zmq.h>

enum {
    ZAP_FRAMES = 8,                 /* more are read and dropped */
    ZAP_FRAMES_MIN = 6,
    KEY_BYTES = 32,
    LOG_EVERY_MS = 1000,            /* who is refused all the time does not fill a log */
    EVENTS_A_ROUND = 256,           /* of a port, before a question is looked at again */
};
/* Not in the public header of 4.3.4, but there: without it a socket whose handler is missing lets
 * everybody in. */
#define ZAP_ENFORCE_DOMAIN 93

static const char ZAP_ENDPOINT[] = "inproc://zeromq.zap.01";
static const char *const DOMAIN_WORDS[LINK_DOMAINS] = { "clients", "workers" };

struct visitor {                    /* an address with open connections */
    char address[64];
    size_t count[LINK_DOMAINS];
    UT_hash_handle hh;
};

struct entry {                      /* a descriptor; who is NULL: no connection of ours */
    struct visitor *who;
    enum link_domain domain;
};

struct port {
    void *monitor;                  /* from libzmq; NULL: no such link */
    void *news;                     /* to the link */
};

struct link_gate {
    struct link_context *context;
    struct link_gate_options options;
    pthread_t thread;
    bool is_running;
    int wake_fd;
    atomic_bool stop;
    void *zap;
    pthread_mutex_t lock;           /* of ports, between link_create and the thread */
    struct port ports[LINK_DOMAINS];
    struct visitor *visitors;       /* the thread's own, by address */
    struct entry *entries;          /* the thread's own, by descriptor */
    size_t entry_count;
    atomic_size_t open[LINK_DOMAINS];
    _Atomic int64_t refused, failed;
    int64_t logged_ms, unlogged;
};

bool link_domain_admits(enum link_domain domain, enum keyring_role role)
{
    if (domain == LINK_WORKERS)
        return role == KEYRING_WORKER;
    return role == KEYRING_CLIENT || role == KEYRING_PROXY || role == KEYRING_ADMIN;
}

/* ---- who is connected ---- */

/* The same words for an address wherever it came from. */
static void name_address(const char *text, size_t len, char out[64])
{
    if (len > 7 && memcmp(text, "::ffff:", 7) == 0 && memchr(text, '.', len)) {
        text += 7;
        len -= 7;
    }
    if (len >= 10 && memcmp(text, "localhost:", 10) == 0) {  /* ipc: "localhost:uid:gid:pid" */
        text = "ipc";
        len = 3;
    }
    snprintf(out, 64, "%.*s", (int)(len < 63 ? len : 63), text);
}

/* The other end of a descriptor. It may have been closed and taken by another file already: the
 * count is then another address's for as long as it takes to read the next event. */
static void address_of_fd(int fd, char out[64])
{
    struct sockaddr_storage peer = { 0 };
    socklen_t len = sizeof peer;
    char text[INET6_ADDRSTRLEN] = "ipc";

    if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0)
        snprintf(text, sizeof text, "gone");
    else if (peer.ss_family == AF_INET)
        inet_ntop(AF_INET, &((struct sockaddr_in *)&peer)->sin_addr, text, sizeof text);
    else if (peer.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&peer)->sin6_addr, text, sizeof text);
    name_address(text, strlen(text), out);
}

static void on_closed(struct link_gate *self, int fd)
{
    struct entry *entry = fd >= 0 && (size_t)fd < self->entry_count ? &self->entries[fd] : NULL;
    struct visitor *who = entry ? entry->who : NULL;

    if (!who)
        return;
    entry->who = NULL;
    who->count[entry->domain]--;
    atomic_fetch_sub(&self->open[entry->domain], 1);
    if (who->count[LINK_CLIENTS] + who->count[LINK_WORKERS] > 0)
        return;
    HASH_DEL(self->visitors, who);
    free(who);
}

static bool make_entry(struct link_gate *self, int fd)
{
    size_t count = self->entry_count ? self->entry_count : 256;
    struct entry *grown;

    if (fd < 0)
        return false;
    while (count <= (size_t)fd)
        count *= 2;
    if (count == self->entry_count)
        return true;
    grown = realloc(self->entries, count * sizeof *grown);
    if (!grown)
        return false;
    memset(grown + self->entry_count, 0, (count - self->entry_count) * sizeof *grown);
    self->entries = grown;
    self->entry_count = count;
    return true;
}

static void on_opened(struct link_gate *self, enum link_domain domain, int fd)
{
    struct visitor *who = NULL;
    char address[64];

    on_closed(self, fd);             /* its end was not told: there is none twice */
    if (!make_entry(self, fd))
        return;
    address_of_fd(fd, address);
    HASH_FIND_STR(self->visitors, address, who);
    if (!who) {
        who = calloc(1, sizeof *who);
        if (!who)
            return;
        snprintf(who->address, sizeof who->address, "%s", address);
        HASH_ADD_STR(self->visitors, address, who);
    }
    who->count[domain]++;
    self->entries[fd] = (struct entry){ who, domain };
    atomic_fetch_add(&self->open[domain], 1);
}

/* ---- the monitor ---- */

/* Two frames: number and value, then an endpoint, which goes on unread. */
static bool take_event(struct link_gate *self, enum link_domain domain)
{
    struct port *port = &self->ports[domain];
    zmq_msg_t head, tail;
    uint16_t number = 0;
    uint32_t value = 0;

    zmq_msg_init(&head);
    zmq_msg_init(&tail);
    if (zmq_msg_recv(&head, port->monitor, ZMQ_DONTWAIT) < 0 ||
        zmq_msg_recv(&tail, port->monitor, 0) < 0) {
        zmq_msg_close(&head);
        zmq_msg_close(&tail);
        return false;
    }
    if (zmq_msg_size(&head) >= sizeof number + sizeof value) {
        memcpy(&number, zmq_msg_data(&head), sizeof number);
        memcpy(&value, (char *)zmq_msg_data(&head) + sizeof number, sizeof value);
    }
    if (number == ZMQ_EVENT_ACCEPTED)
        on_opened(self, domain, (int)value);
    else if (number == ZMQ_EVENT_DISCONNECTED)
        on_closed(self, (int)value);
    else if (number != ZMQ_EVENT_ACCEPT_FAILED)
        atomic_fetch_add(&self->failed, 1);
    if (number == ZMQ_EVENT_DISCONNECTED || number == ZMQ_EVENT_ACCEPT_FAILED)
        if (zmq_msg_send(&head, port->news, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0)
            zmq_msg_send(&tail, port->news, 0);
    zmq_msg_close(&head);
    zmq_msg_close(&tail);
    return true;
}

static void take_events(struct link_gate *self)
{
    for (int domain = 0; domain < LINK_DOMAINS; domain++)
        for (int i = 0; self->ports[domain].monitor && i < EVENTS_A_ROUND; i++)
            if (!take_event(self, (enum link_domain)domain))
                break;
}

/* ---- questions ---- */

static bool is_text(const struct link_gate_frame *frame, const char *text)
{
    return frame->len == strlen(text) && memcmp(frame->data, text, frame->len) == 0;
}

bool link_gate_read(const struct link_gate_frame *frames, size_t count, struct link_gate_ask *out)
{
    int domain = 0;

    if (count < ZAP_FRAMES_MIN || !is_text(&frames[0], "1.0"))
        return false;
    while (domain < LINK_DOMAINS && !is_text(&frames[2], DOMAIN_WORDS[domain]))
        domain++;
    if (domain == LINK_DOMAINS)
        return false;
    out->domain = (enum link_domain)domain;
    name_address(frames[3].data, frames[3].len, out->address);
    out->key[0] = '\0';
    if (is_text(&frames[5], "NULL"))
        return count == ZAP_FRAMES_MIN;
    return is_text(&frames[5], "CURVE") && count == ZAP_FRAMES_MIN + 1 &&
           frames[6].len == KEY_BYTES && zmq_z85_encode(out->key, frames[6].data, KEY_BYTES);
}

static bool is_near(const char *address)
{
    return strcmp(address, "ipc") == 0 || strncmp(address, "127.", 4) == 0 ||
           strcmp(address, "::1") == 0;
}

static size_t open_from(const struct link_gate *self, const struct link_gate_ask *ask)
{
    const struct visitor *who = NULL;

    HASH_FIND_STR(self->visitors, ask->address, who);
    return who ? who->count[ask->domain] : 0;
}

/* ZAP's status: 200 in, 300 not now (the peer may try again), 400 no. The connection that asks has
 * been counted. *name is that of its key. */
static const char *decide(const struct link_gate *self, const struct link_gate_ask *ask,
                          char name[KEYRING_NAME_MAX], const char **why)
{
    const struct link_gate_options *o = &self->options;
    enum keyring_role role = KEYRING_NONE;

    name[0] = '\0';
    *why = "";
    if (ask->key[0] && o->keyring)
        role = keyring_find(o->keyring, ask->key, name);
    if (ask->key[0] && role == KEYRING_NONE)
        *why = "its key is not on the keyring";
    else if (ask->key[0] && !link_domain_admits(ask->domain, role))
        *why = "its key has another role";
    else if (!ask->key[0] && !o->allow_plain && !is_near(ask->address))
        *why = "plain sockets are served on this machine only";
    if (**why)
        return "400";
    if (o->connections_max && atomic_load(&self->open[ask->domain]) > o->connections_max)
        *why = "as many connections are open as connections_max says";
    else if (o->per_address_max && strcmp(ask->address, "ipc") != 0 &&
             open_from(self, ask) > o->per_address_max)
        *why = "as many connections of its address are open as connections_address_max says";
    return **why ? "300" : "200";
}

static void log_refusal(struct link_gate *self, const struct link_gate_ask *ask, const char *name,
                        const char *why)
{
    int64_t now_ms = clock_ms();

    if (self->logged_ms && now_ms < self->logged_ms + LOG_EVERY_MS) {
        self->unlogged++;
        return;
    }
    log_event(LOG_WARN, "peer_refused", "port=%s address=%s key=%s name=%s unlogged=%lld "
              "reason=\"%s\"", DOMAIN_WORDS[ask->domain], ask->address,
              ask->key[0] ? ask->key : "-", *name ? name : "-", (long long)self->unlogged, why);
    self->logged_ms = now_ms;
    self->unlogged = 0;
}

static void answer(struct link_gate *self, const struct link_gate_frame *request,
                   const char *status, const char *user)
{
    const struct link_gate_frame frames[] = { { "1.0", 3 }, *request, { status, 3 }, { "", 0 },
                                              { user, strlen(user) }, { "", 0 } };
    const size_t count = sizeof frames / sizeof frames[0];

    for (size_t i = 0; i < count; i++)
        if (zmq_send(self->zap, frames[i].data, frames[i].len, i + 1 < count ? ZMQ_SNDMORE : 0) < 0)
            return;
}

static void take_question(struct link_gate *self)
{
    zmq_msg_t parts[ZAP_FRAMES];
    struct link_gate_frame frames[ZAP_FRAMES];
    struct link_gate_ask ask = { .domain = LINK_CLIENTS, .address = "?" };
    char name[KEYRING_NAME_MAX] = "";
    const char *status = "500", *why = "its handshake is not understood";
    size_t count = 0;
    int more = 1;

    for (; more; count += count < ZAP_FRAMES) {
        size_t at = count < ZAP_FRAMES ? count : ZAP_FRAMES - 1;

        if (count == ZAP_FRAMES)     /* too many to be a question */
            zmq_msg_close(&parts[at]);
        zmq_msg_init(&parts[at]);
        if (zmq_msg_recv(&parts[at], self->zap, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&parts[at]);
            break;
        }
        more = zmq_msg_more(&parts[at]);
        frames[at] = (struct link_gate_frame){ zmq_msg_data(&parts[at]), zmq_msg_size(&parts[at]) };
    }
    if (count == 0)
        return;
    if (link_gate_read(frames, count, &ask))
        status = decide(self, &ask, name, &why);
    if (strcmp(status, "200") != 0) {
        atomic_fetch_add(&self->refused, 1);
        log_refusal(self, &ask, name, why);
    }
    answer(self, &frames[count > 1], status, strcmp(status, "200") == 0 ? ask.key : "");
    for (size_t i = 0; i < count; i++)
        zmq_msg_close(&parts[i]);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct link_gate *self = arg;

    while (!atomic_load(&self->stop)) {
        zmq_pollitem_t items[2 + LINK_DOMAINS] = { { self->zap, 0, ZMQ_POLLIN, 0 },
                                                   { NULL, self->wake_fd, ZMQ_POLLIN, 0 } };
        int count = 2;
        uint64_t woken;

        pthread_mutex_lock(&self->lock);
        for (int domain = 0; domain < LINK_DOMAINS; domain++)
            if (self->ports[domain].monitor)
                items[count++] = (zmq_pollitem_t){ self->ports[domain].monitor, 0, ZMQ_POLLIN, 0 };
        pthread_mutex_unlock(&self->lock);
        zmq_poll(items, count, -1);
        if (items[1].revents && read(self->wake_fd, &woken, sizeof woken) < 0)
            continue;
        pthread_mutex_lock(&self->lock);
        take_events(self);           /* first: who asks has been accepted, and was counted */
        pthread_mutex_unlock(&self->lock);
        if (items[0].revents)
            take_question(self);
    }
    return NULL;
}

static void wake(struct link_gate *self)
{
    const uint64_t one = 1;
    ssize_t ignored = write(self->wake_fd, &one, sizeof one);

    (void)ignored;
}

/* ---- life ---- */

static void *pair_socket(struct link_context *context)
{
    void *socket = zmq_socket(context->zmq, ZMQ_PAIR);
    int none = 0;

    if (!socket)
        return NULL;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    /* No bound: libzmq's thread would wait at one, and with it every connection of the program. */
    zmq_setsockopt(socket, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    return socket;
}

static bool join_sockets(struct link_gate *self, void *socket, struct port *port, void **watch)
{
    const int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED | ZMQ_EVENT_DISCONNECTED |
                       ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;
    unsigned serial = atomic_fetch_add(&self->context->watches, 1);
    char monitor_name[48], news_name[48];

    snprintf(monitor_name, sizeof monitor_name, "inproc://watch-%u", serial);
    snprintf(news_name, sizeof news_name, "inproc://news-%u", serial);
    return port->monitor && port->news && *watch &&
           zmq_socket_monitor(socket, monitor_name, events) == 0 &&
           zmq_connect(port->monitor, monitor_name) == 0 && zmq_bind(port->news, news_name) == 0 &&
           zmq_connect(*watch, news_name) == 0;
}

bool link_gate_guard(struct link_gate *self, void *socket, enum link_domain domain, void **watch)
{
    const char *word = DOMAIN_WORDS[domain];
    struct port port = { pair_socket(self->context), pair_socket(self->context) };
    int yes = 1;
    bool good;

    *watch = pair_socket(self->context);
    good = !self->ports[domain].monitor && join_sockets(self, socket, &port, watch) &&
           zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, word, strlen(word)) == 0 &&
           zmq_setsockopt(socket, ZAP_ENFORCE_DOMAIN, &yes, sizeof yes) == 0;
    if (!good) {
        if (port.monitor)
            zmq_close(port.monitor);
        if (port.news)
            zmq_close(port.news);
        return false;                /* *watch is the link's, and ends with it */
    }
    pthread_mutex_lock(&self->lock); /* also hands the sockets over to the thread */
    self->ports[domain] = port;
    pthread_mutex_unlock(&self->lock);
    wake(self);
    return true;
}

enum err_code link_gate_create(struct link_context *context,
                               const struct link_gate_options *options, struct link_gate **out,
                               struct err *e)
{
    struct link_gate *self = calloc(1, sizeof *self);
    int none = 0;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a gate");
    pthread_mutex_init(&self->lock, NULL);
    self->context = context;
    self->options = *options;
    self->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    self->zap = zmq_socket(context->zmq, ZMQ_REP);
    if (self->zap)
        zmq_setsockopt(self->zap, ZMQ_LINGER, &none, sizeof none);
    if (self->zap && zmq_bind(self->zap, ZAP_ENDPOINT) != 0) {
        err_set(e, ERR_CONFLICT, "could not guard connections: %s", zmq_strerror(errno));
        link_gate_destroy(&self);
        return ERR_CONFLICT;
    }
    if (self->wake_fd >= 0 && self->zap)
        self->is_running = pthread_create(&self->thread, NULL, run, self) == 0;
    if (!self->is_running) {
        link_gate_destroy(&self);
        return err_set(e, ERR_NOMEM, "no memory or descriptors for a gate");
    }
    *out = self;
    return ERR_OK;
}

void link_gate_destroy(struct link_gate **self)
{
    struct link_gate *gate = *self;

    if (!gate)
        return;
    if (gate->is_running) {
        atomic_store(&gate->stop, true);
        wake(gate);
        pthread_join(gate->thread, NULL);
    }
    for (int domain = 0; domain < LINK_DOMAINS; domain++)
        if (gate->ports[domain].monitor) {
            zmq_close(gate->ports[domain].monitor);
            zmq_close(gate->ports[domain].news);
        }
    for (size_t fd = 0; fd < gate->entry_count; fd++)
        on_closed(gate, (int)fd);
    if (gate->zap)
        zmq_close(gate->zap);
    if (gate->wake_fd >= 0)
        close(gate->wake_fd);
    pthread_mutex_destroy(&gate->lock);
    free(gate->entries);
    free(gate);
    *self = NULL;
}

struct link_gate_counts link_gate_counts(const struct link_gate *self)
{
    return (struct link_gate_counts){
        .open = { atomic_load(&self->open[LINK_CLIENTS]), atomic_load(&self->open[LINK_WORKERS]) },
        .refused = atomic_load(&self->refused), .failed = atomic_load(&self->failed),
    };
}
