#include "base/link_inside.h"

#include "base/clock.h"
#include "base/log.h"
#include "proto/message.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

enum {
    HWM_DEFAULT = 1000,
    FRAMES_MAX = LINK_ENVELOPE_MAX + 4,     /* id, envelope, empty, map, bytes */
    MALFORMED_MAX = 16,             /* that one call of link_receive reads */
    GENERATED_LEN = 5,              /* of an id that libzmq makes: 0, then a count */
    IPC_MODE = 0660,
    SILENT_HEARTBEATS = 3,
    KEEPALIVE_IDLE_S = 30, KEEPALIVE_EVERY_S = 10, KEEPALIVE_COUNT = 3,
    LISTEN_AGAIN_MS = 1000,         /* after a pause, if no connection closes before */
};

_Static_assert(sizeof(struct frame) == sizeof(zmq_msg_t), "a frame is a zmq_msg_t");

/* ---- frames ---- */

static zmq_msg_t *msg(const struct frame *self)
{
    return (zmq_msg_t *)(uintptr_t)self->opaque;   /* libzmq reads through non-const pointers */
}

static void free_data(void *data, void *hint)
{
    (void)hint;
    free(data);
}

void frame_init(struct frame *self)
{
    zmq_msg_init(msg(self));
}

bool frame_init_copy(struct frame *self, const void *data, size_t len)
{
    if (zmq_msg_init_size(msg(self), len) != 0) {
        frame_init(self);
        return false;
    }
    if (len > 0)
        memcpy(zmq_msg_data(msg(self)), data, len);
    return true;
}

bool frame_init_take(struct frame *self, void *data, size_t len)
{
    if (zmq_msg_init_data(msg(self), data, len, free_data, NULL) != 0) {
        free(data);
        frame_init(self);
        return false;
    }
    return true;
}

enum err_code frame_init_message(struct frame *self, const struct message *message, struct err *e)
{
    char room[4096];                 /* nearly all fit: then one copy is all that they cost */
    void *data;
    size_t len;
    enum err_code rc = message_encode_in(message, room, sizeof room, &data, &len, e);

    if (rc) {
        frame_init(self);
        return rc;
    }
    return (data == room ? frame_init_copy(self, data, len) : frame_init_take(self, data, len))
               ? ERR_OK
               : err_set(e, ERR_NOMEM, "no memory for a frame of %zu bytes", len);
}

void frame_init_share(struct frame *self, struct frame *other)
{
    zmq_msg_init(msg(self));
    zmq_msg_copy(msg(self), msg(other));
}

void frame_release(struct frame *self)
{
    zmq_msg_close(msg(self));
    zmq_msg_init(msg(self));
}

const void *frame_data(const struct frame *self)
{
    return zmq_msg_data(msg(self));
}

size_t frame_len(const struct frame *self)
{
    return zmq_msg_size(msg(self));
}

/* ---- addresses ---- */

bool address_same_peer(const struct address *a, const struct address *b)
{
    return a->peer_len == b->peer_len && memcmp(a->bytes, b->bytes, a->peer_len) == 0;
}

bool address_is_chosen(const struct address *self)
{
    return self->peer_len != 1 + GENERATED_LEN || self->bytes[0] != GENERATED_LEN ||
           self->bytes[1] != 0;
}

static bool address_add(struct address *self, const struct frame *frame)
{
    size_t len = frame_len(frame);

    if (len > 255 || self->len + 1 + len > LINK_ADDRESS_MAX)
        return false;
    self->bytes[self->len++] = (uint8_t)len;
    if (len > 0)
        memcpy(self->bytes + self->len, frame_data(frame), len);
    self->len = (uint16_t)(self->len + len);
    return true;
}

void parcel_release(struct parcel *self)
{
    for (int i = 0; i < self->count; i++)
        frame_release(&self->body[i]);
    self->count = 0;
}

/* What libzmq notes about a connection hangs on each of its frames. */
int parcel_fd(const struct parcel *self)
{
    return self->count > 0 ? zmq_msg_get(msg(&self->body[0]), ZMQ_SRCFD) : -1;
}

void parcel_user(const struct parcel *self, char out[LINK_USER_MAX])
{
    const char *user = NULL, *peer = NULL;

    out[0] = '\0';
    if (self->count > 0) {
        user = zmq_msg_gets(msg(&self->body[0]), "User-Id");
        peer = zmq_msg_gets(msg(&self->body[0]), "Peer-Address");
    }
    if (user && *user)
        snprintf(out, LINK_USER_MAX, "%s", user);
    else if (peer && strncmp(peer, "localhost:", 10) == 0)   /* ipc: "localhost:uid:gid:pid" */
        snprintf(out, LINK_USER_MAX, "uid:%.*s", (int)strcspn(peer + 10, ":"), peer + 10);
}

/* ---- links ---- */

enum err_code link_context_create(struct link_context **out, struct err *e)
{
    struct link_context *self = calloc(1, sizeof *self);

    *out = NULL;
    if (!self || !(self->zmq = zmq_ctx_new())) {
        free(self);
        return err_set(e, ERR_NOMEM, "could not start the message library: %s",
                       zmq_strerror(errno));
    }
    zmq_ctx_set(self->zmq, ZMQ_MAX_SOCKETS, 16384);
    *out = self;
    return ERR_OK;
}

void link_context_destroy(struct link_context **self)
{
    while (*self && zmq_ctx_term((*self)->zmq) != 0 && errno == EINTR)
        ;                            /* a signal ends the wait, not the context */
    free(*self);
    *self = NULL;
}

static void set_int(struct link *self, int option, int value)
{
    zmq_setsockopt(self->socket, option, &value, sizeof value);
}

/* The monitor speaks over a socket of its own. Its name is new each time: libzmq gives names back
 * some time after their socket was closed. */
static bool watch_socket(struct link_context *context, struct link *self)
{
    const int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    char name[48];
    int none = 0;

    snprintf(name, sizeof name, "inproc://watch-%u", atomic_fetch_add(&context->watches, 1));
    self->watch = zmq_socket(context->zmq, ZMQ_PAIR);
    if (!self->watch)
        return false;
    zmq_setsockopt(self->watch, ZMQ_LINGER, &none, sizeof none);
    /* No bound: libzmq's thread would wait at one, and with it every connection of the program. */
    zmq_setsockopt(self->watch, ZMQ_RCVHWM, &none, sizeof none);
    return zmq_socket_monitor(self->socket, name,
                              self->kind == LINK_ROUTER
                                  ? ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_ACCEPT_FAILED
                                  : events) == 0 &&
           zmq_connect(self->watch, name) == 0;
}

/* A machine that was switched off or cut away says nothing: the kernel and libzmq ask. */
static void notice_silence(struct link *self, const struct link_options *options)
{
    set_int(self, ZMQ_TCP_KEEPALIVE, 1);
    set_int(self, ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S);
    set_int(self, ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_EVERY_S);
    set_int(self, ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT);
    if (options->handshake_ms)
        set_int(self, ZMQ_HANDSHAKE_IVL, options->handshake_ms);
    if (options->heartbeat_ms) {
        set_int(self, ZMQ_HEARTBEAT_IVL, options->heartbeat_ms);
        set_int(self, ZMQ_HEARTBEAT_TIMEOUT, SILENT_HEARTBEATS * options->heartbeat_ms);
    }
}

static int fd_of(void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;

    zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    return fd;
}

/* Keys, the gate, the watch. */
static enum err_code secure(struct link_context *context, const struct link_options *options,
                            struct link *self, struct err *e)
{
    bool watched = true;

    self->is_encrypted = options->curve != NULL;
    if (options->curve && !link_curve_apply(self->socket, options->curve))
        return err_set(e, ERR_INVALID, "could not use a key: it is none, or %s knows no encryption",
                       link_library());
    if (options->gate)
        watched = link_gate_guard(options->gate, self->socket, (enum link_domain)options->domain,
                                  &self->watch);
    else if (options->watch)
        watched = watch_socket(context, self);
    return watched ? ERR_OK : err_set(e, ERR_NOMEM, "could not watch a socket: %s",
                                      zmq_strerror(errno));
}

enum err_code link_create(struct link_context *context, const struct link_options *options,
                          struct link **out, struct err *e)
{
    static const int TYPES[] = { ZMQ_ROUTER, ZMQ_DEALER, ZMQ_REQ };
    struct link *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self || !(self->socket = zmq_socket(context->zmq, TYPES[options->kind]))) {
        free(self);
        return err_set(e, ERR_NOMEM, "could not make a socket: %s", zmq_strerror(errno));
    }
    self->kind = options->kind;
    self->allow_plain = options->allow_plain;
    self->ipc_mode = (mode_t)(options->ipc_mode ? options->ipc_mode : IPC_MODE);
    self->lock_fd = -1;
    set_int(self, ZMQ_LINGER, options->linger_ms);
    set_int(self, ZMQ_SNDHWM, options->send_hwm ? options->send_hwm : HWM_DEFAULT);
    set_int(self, ZMQ_RCVHWM, options->receive_hwm ? options->receive_hwm : HWM_DEFAULT);
    set_int(self, ZMQ_RECONNECT_IVL, 50);
    set_int(self, ZMQ_RECONNECT_IVL_MAX, 1000);
    zmq_setsockopt(self->socket, ZMQ_MAXMSGSIZE, &options->frame_max, sizeof options->frame_max);
    if (options->kind == LINK_ROUTER)
        set_int(self, ZMQ_ROUTER_MANDATORY, 1);
    else
        set_int(self, ZMQ_IMMEDIATE, 1);    /* nothing queues for a peer that is not there */
    notice_silence(self, options);
    if ((rc = secure(context, options, self, e))) {
        link_destroy(&self);
        return rc;
    }
    self->fd = fd_of(self->socket);
    self->watch_fd = self->watch ? fd_of(self->watch) : -1;
    *out = self;
    return ERR_OK;
}

void link_destroy(struct link **self)
{
    if (!*self)
        return;
    if ((*self)->watch) {
        zmq_socket_monitor((*self)->socket, NULL, 0);
        zmq_close((*self)->watch);
    }
    zmq_close((*self)->socket);
    if ((*self)->lock_fd >= 0)
        close((*self)->lock_fd);
    free(*self);
    *self = NULL;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* host as the whole of a tcp:// endpoint's host: not the begin of a longer name, and no source
 * address before another host ("127.0.0.1:0;10.0.0.1"). Bad ports are libzmq's to refuse. */
static bool is_host(const char *at, const char *host, const char *host_bytes)
{
    if (!begins(at, host))
        return false;
    at += strlen(host);
    at += strspn(at, host_bytes);
    return *at == '\0' || (*at == ':' && !strchr(at, ';'));
}

static bool is_local(const char *endpoint)
{
    if (begins(endpoint, "ipc://") || begins(endpoint, "inproc://"))
        return true;
    if (!begins(endpoint, "tcp://"))
        return false;
    endpoint += strlen("tcp://");
    return is_host(endpoint, "127.", "0123456789.") || is_host(endpoint, "localhost", "") ||
           is_host(endpoint, "[::1]", "");
}

/* IPv6 stays off otherwise: with it "localhost" may become ::1 where only 127.0.0.1 is served. */
static void allow_ipv6(struct link *self, const char *endpoint)
{
    if (begins(endpoint, "tcp://["))
        set_int(self, ZMQ_IPV6, 1);
}

/* libzmq lets a second program bind a live ipc path and take it over without a word; a lock file
 * beside it does not. It stays when the program dies, the lock does not. */
static enum err_code lock_path(struct link *self, const char *path, struct err *e)
{
    char lock[256];

    if (*path == '@' || strcmp(path, "*") == 0)
        return ERR_OK;               /* no file, or one with a new name */
    if (self->lock_fd >= 0)
        return err_set(e, ERR_UNSUPPORTED, "a link serves one ipc path, not \"%.120s\" too", path);
    if ((size_t)snprintf(lock, sizeof lock, "%s.lock", path) >= sizeof lock)
        return err_set(e, ERR_INVALID, "ipc path \"%.80s...\" is too long", path);
    self->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (self->lock_fd < 0)
        return err_set(e, ERR_FILE, "could not open \"%.120s\": %s", lock, strerror(errno));
    if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        close(self->lock_fd);
        self->lock_fd = -1;
        return err_set(e, ERR_CONFLICT, "another program serves \"%.120s\"", path);
    }
    return ERR_OK;
}

/* Over ipc the kernel names the user at the other end, and the file's mode says who may be one. */
static void choose_mechanism(struct link *self, const char *endpoint)
{
    if (self->is_encrypted && begins(endpoint, "ipc://"))
        set_int(self, ZMQ_CURVE_SERVER, 0);     /* which is how libzmq goes back to plain */
}

/* libzmq makes an ipc path's file under the process's umask. */
static bool listen_on(struct link *self, const char *endpoint)
{
    mode_t old = umask(0777 & ~self->ipc_mode);
    bool good = zmq_bind(self->socket, endpoint) == 0;
    int why = errno;

    umask(old);
    errno = why;
    return good;
}

enum err_code link_bind(struct link *self, const char *endpoint, struct err *e)
{
    size_t len = sizeof self->endpoint;
    enum err_code rc;

    if (!is_local(endpoint) && !self->allow_plain && !self->is_encrypted)
        return err_set(e, ERR_DENIED,
                       "endpoint \"%.90s\" is not on loopback, and plain sockets are only served "
                       "there: give a key_file, or allow_plain 1",
                       endpoint);
    if (begins(endpoint, "ipc://") && (rc = lock_path(self, endpoint + strlen("ipc://"), e)))
        return rc;
    allow_ipv6(self, endpoint);
    choose_mechanism(self, endpoint);
    if (!listen_on(self, endpoint))
        return err_set(e, errno == EADDRINUSE ? ERR_CONFLICT : ERR_INVALID,
                       "could not listen on \"%.120s\": %s", endpoint, zmq_strerror(errno));
    zmq_getsockopt(self->socket, ZMQ_LAST_ENDPOINT, self->endpoint, &len);
    return ERR_OK;
}

enum err_code link_connect(struct link *self, const char *endpoint, struct err *e)
{
    if (!is_local(endpoint) && !self->allow_plain && !self->is_encrypted)
        return err_set(e, ERR_DENIED,
                       "endpoint \"%.90s\" is not on loopback, and plain sockets are only used "
                       "there: give a key_file and a broker_key, or allow_plain",
                       endpoint);
    allow_ipv6(self, endpoint);
    choose_mechanism(self, endpoint);
    if (zmq_connect(self->socket, endpoint) != 0)
        return err_set(e, ERR_INVALID, "could not connect to \"%.120s\": %s", endpoint,
                       zmq_strerror(errno));
    return ERR_OK;
}

const char *link_endpoint(const struct link *self)
{
    return self->endpoint;
}

int64_t link_malformed(const struct link *self)
{
    return self->malformed;
}

/* Reads one whole multipart message into frames; those beyond the array are read and dropped. */
static int receive_frames(struct link *self, struct frame frames[FRAMES_MAX], bool *too_many)
{
    int count = 0, more = 1;
    struct frame extra;

    *too_many = false;
    while (more) {
        struct frame *f = count < FRAMES_MAX ? &frames[count] : &extra;

        frame_init(f);
        if (zmq_msg_recv(msg(f), self->socket, ZMQ_DONTWAIT) < 0) {
            self->is_dry |= errno == EAGAIN;
            return count;           /* between messages only: parts arrive together */
        }
        more = zmq_msg_more(msg(f));
        if (f == &extra) {
            frame_release(&extra);
            *too_many = true;
        } else
            count++;
    }
    return count;
}

/* frames = [peer id (ROUTER)] [envelope... empty] map [bytes]. Moves the body into out. */
static bool sort_frames(const struct link *self, struct frame *frames, int count,
                        struct parcel *out)
{
    int at = 0, body;

    memset(&out->from, 0, sizeof out->from);
    out->count = 0;
    if (self->kind == LINK_ROUTER) {
        if (!address_add(&out->from, &frames[at++]))
            return false;
        out->from.peer_len = out->from.len;
    }
    body = at;
    for (int i = at; self->kind == LINK_ROUTER && i < count && i <= at + LINK_ENVELOPE_MAX; i++)
        if (frame_len(&frames[i]) == 0) {       /* the first empty frame ends the envelope */
            out->from.delimited = true;
            body = i + 1;
            break;
        }
    for (; at < body; at++)
        if (!address_add(&out->from, &frames[at]))
            return false;
    if (count - body < 1 || count - body > 2)
        return false;
    for (int i = body; i < count; i++) {
        frame_init(&out->body[out->count]);
        zmq_msg_move(msg(&out->body[out->count++]), msg(&frames[i]));
    }
    return true;
}

bool link_receive(struct link *self, struct parcel *out)
{
    struct frame frames[FRAMES_MAX];
    bool too_many, good = false;

    for (int bad = 0; !good && bad < MALFORMED_MAX; bad++) {
        int count = receive_frames(self, frames, &too_many);

        if (count == 0)
            return false;
        good = !too_many && sort_frames(self, frames, count, out);
        if (!good)
            self->malformed++;
        for (int i = 0; i < count; i++)
            frame_release(&frames[i]);
    }
    return good;
}

/* The next thing that the watch has seen: libzmq's number for it, and a descriptor or an error. An
 * event is two frames: number and value, then an endpoint. */
static bool take_event(struct link *self, int *number, int *value)
{
    uint16_t head = 0;
    uint32_t rest = 0;
    struct frame f;
    bool good;

    frame_init(&f);
    good = zmq_msg_recv(msg(&f), self->watch, ZMQ_DONTWAIT) >= 0;
    self->watch_is_dry = !good;
    if (good && frame_len(&f) >= sizeof head + sizeof rest) {
        memcpy(&head, frame_data(&f), sizeof head);
        memcpy(&rest, (const char *)frame_data(&f) + sizeof head, sizeof rest);
    }
    if (good)
        zmq_msg_recv(msg(&f), self->watch, 0);
    frame_release(&f);
    *number = head;
    *value = (int)rest;
    return good;
}

/* Nobody could be accepted. libzmq would try again at once, and again: better the others get no
 * answer here and go elsewhere. */
static void pause_listening(struct link *self, int why)
{
    self->is_dry = false;            /* any call may take news in */
    if (self->is_paused || zmq_unbind(self->socket, self->endpoint) != 0)
        return;
    self->is_paused = true;
    self->again_ms = clock_ms() + LISTEN_AGAIN_MS;
    log_event(LOG_ERROR, "listen_paused",
              "endpoint=%s reason=\"%s\" hint=\"raise the limit of open files, or lower "
              "connections_max\"", self->endpoint, strerror(why));
}

static void listen_again(struct link *self)
{
    self->again_ms = clock_ms() + LISTEN_AGAIN_MS;
    self->is_dry = false;
    if (!listen_on(self, self->endpoint))
        return;                      /* libzmq may not have closed the old one yet */
    self->is_paused = false;
    log_event(LOG_INFO, "listen_resumed", "endpoint=%s", self->endpoint);
}

size_t link_take_closed(struct link *self, int *fds, size_t most)
{
    size_t count = 0;
    int number, value;

    while (self->watch && count < most && take_event(self, &number, &value))
        if (number == ZMQ_EVENT_DISCONNECTED)
            fds[count++] = value;
        else if (number == ZMQ_EVENT_ACCEPT_FAILED)
            pause_listening(self, value);
    if (self->is_paused && (count > 0 || clock_ms() >= self->again_ms))
        listen_again(self);
    return count;
}

bool link_was_lost(struct link *self)
{
    bool lost = false;
    int number, value;

    while (self->watch && take_event(self, &number, &value)) {
        lost |= number == ZMQ_EVENT_DISCONNECTED;
        if (number == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
            self->is_refused = false;
        else if (number == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH ||
                 value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
            self->is_refused = true;
    }
    return lost;
}

bool link_is_refused(const struct link *self)
{
    return self->is_refused;
}

static enum link_sent send_failed(void)
{
    return errno == EHOSTUNREACH ? LINK_GONE : LINK_FULL;
}

enum link_sent link_send(struct link *self, const struct address *to, struct frame *map,
                         struct frame *payload)
{
    /* Only the first frame of a message can be refused; what follows it is then accepted whole. */
    int flags = ZMQ_DONTWAIT;

    self->is_dry = self->is_quiet = false;
    for (size_t at = 0; to && at < to->len; at += 1u + to->bytes[at], flags = 0)
        if (zmq_send(self->socket, to->bytes + at + 1, to->bytes[at], flags | ZMQ_SNDMORE) < 0 &&
            flags)
            return send_failed();
    if (zmq_msg_send(msg(map), self->socket, flags | (payload ? ZMQ_SNDMORE : 0)) < 0) {
        if (flags)
            return send_failed();
        frame_release(map);         /* the peer went in the middle: libzmq drops the rest */
    }
    if (payload) {
        struct frame share;

        frame_init_share(&share, payload);
        if (zmq_msg_send(msg(&share), self->socket, 0) < 0)
            frame_release(&share);
    }
    return LINK_SENT;
}

/* After it the socket's descriptor tells of whatever comes next, unless something is there. */
static int events_of(void *socket)
{
    int events = 0;
    size_t size = sizeof events;

    zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size);
    return events;
}

/* zmq_poll asks every socket before and after it waits, which is a system call each time. A socket
 * whose news were all taken needs no question: its descriptor tells of the next. That is so after a
 * receive that found nothing, until something is sent: that may take news in, silently. */
static void ask_link(struct link_wait *wait)
{
    struct link *link = wait->link;
    int events = events_of(link->socket);

    link->is_dry = !(events & ZMQ_POLLIN);
    wait->ready |= (events & (wait->wants_room ? ZMQ_POLLIN | ZMQ_POLLOUT : ZMQ_POLLIN)) != 0;
}

static void ask_watch(struct link_wait *wait)
{
    struct link *link = wait->link;

    link->watch_is_dry = !(events_of(link->watch) & ZMQ_POLLIN);
    wait->ready |= !link->watch_is_dry;
}

static int list_descriptors(struct link_wait *waits, size_t count, struct pollfd *fds, bool *any)
{
    int used = 0;

    for (size_t i = 0; i < count; i++) {
        struct link *link = waits[i].link;

        waits[i].ready = false;
        fds[used++] = (struct pollfd){ link ? link->fd : waits[i].fd, POLLIN, 0 };
        if (link && (!link->is_dry || waits[i].wants_room))
            ask_link(&waits[i]);
        if (link && link->watch) {
            fds[used++] = (struct pollfd){ link->watch_fd, POLLIN, 0 };
            if (!link->watch_is_dry)
                ask_watch(&waits[i]);
        }
        *any |= waits[i].ready;
    }
    return used;
}

/* One wait. True when something is ready, or a signal came; a descriptor may have told of what
 * concerns nobody. */
static bool poll_once(struct link_wait *waits, size_t count, int64_t wait_ms)
{
    struct pollfd fds[2 * LINK_POLL_MAX];   /* a watched link is two */
    bool any = false;
    int used = list_descriptors(waits, count, fds, &any), at = 0;

    any |= poll(fds, (nfds_t)used, any ? 0 : wait_ms > 60000 ? 60000 : (int)wait_ms) < 0;
    for (size_t i = 0; i < count; i++) {
        struct link *link = waits[i].link;
        bool told = fds[at++].revents != 0;

        if (!link)
            waits[i].ready = told;
        else if (told)
            ask_link(&waits[i]);
        if (link && link->watch && fds[at++].revents != 0)
            ask_watch(&waits[i]);
        if (link)
            link->is_quiet = !waits[i].ready;
        any |= waits[i].ready;
    }
    return any;
}

void link_poll(struct link_wait *waits, size_t count, int64_t wake_ms)
{
    int64_t now_ms = clock_ms();

    if (count > LINK_POLL_MAX)
        count = LINK_POLL_MAX;
    while (!poll_once(waits, count, wake_ms > now_ms ? wake_ms - now_ms : 0) && now_ms < wake_ms)
        now_ms = clock_ms();
}

bool link_is_quiet(const struct link *self)
{
    return self->is_quiet;
}

int link_fd(const struct link *self)
{
    return self->fd;
}

bool link_is_readable(struct link *self)
{
    self->is_quiet = false;          /* who asks does not use link_poll */
    return events_of(self->socket) & ZMQ_POLLIN;
}

bool link_has_room(const struct link *self)
{
    return events_of(self->socket) & ZMQ_POLLOUT;
}

const char *link_library(void)
{
    static char text[32];
    int major, minor, patch;

    zmq_version(&major, &minor, &patch);
    snprintf(text, sizeof text, "libzmq %d.%d.%d", major, minor, patch);
    return text;
}
