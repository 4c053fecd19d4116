#include "tests/kit_proxy.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

enum { CHUNK = 65536, BUFFER_MAX = 1 << 20, PATIENCE_S = 120, EVENTS = 64 };

struct chunk {                      /* bytes on their way */
    int64_t due_ms;
    size_t len, at;
    struct chunk *prev, *next;
    char data[];
};

struct way {                        /* one direction of a connection */
    int from, to;
    struct chunk *chunks;
    size_t bytes;
    bool is_from_target, is_over;   /* over: the sender has closed */
};

struct kit_proxy_pair {             /* a connection: two sockets, two ways */
    int fds[2];
    struct way ways[2];
    struct kit_proxy_pair *prev, *next;
};

static void die(const char *what)
{
    fprintf(stderr, "kit_proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- connections ---- */

static void end_pair(struct kit_proxy *self, struct kit_proxy_pair *pair)
{
    struct linger at_once = { 1, 0 };        /* a reset: what was on its way is lost */

    for (int i = 0; i < 2; i++) {
        struct chunk *c, *next;

        DL_FOREACH_SAFE(pair->ways[i].chunks, c, next)
            free(c);
        setsockopt(pair->fds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(pair->fds[i]);
    }
    DL_DELETE(self->pairs, pair);
    free(pair);
}

static void cut_pair(struct kit_proxy *self, struct kit_proxy_pair *pair)
{
    end_pair(self, pair);
    self->cuts++;
    pthread_cond_broadcast(&self->changed);
}

static void cut_all(struct kit_proxy *self)
{
    while (self->pairs)
        cut_pair(self, self->pairs);
}

static void watch(struct kit_proxy *self, int fd, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };

    if (epoll_ctl(self->epoll_fd, operation, fd, &event) != 0)
        die("could not watch a descriptor");
}

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void add_pair(struct kit_proxy *self)
{
    struct sockaddr_in to = loopback(self->target_port);
    int near = accept4(self->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), yes = 1;
    int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct kit_proxy_pair *pair = calloc(1, sizeof *pair);

    if (near < 0 || far < 0 || !pair || connect(far, (struct sockaddr *)&to, sizeof to) != 0) {
        close(near);                 /* nobody listens there now: so it is here */
        close(far);
        free(pair);
        return;
    }
    setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    pair->fds[0] = near;
    pair->fds[1] = far;
    pair->ways[0] = (struct way){ .from = near, .to = far };
    pair->ways[1] = (struct way){ .from = far, .to = near, .is_from_target = true };
    DL_APPEND(self->pairs, pair);
    for (int i = 0; i < 2; i++)
        watch(self, pair->fds[i], EPOLL_CTL_ADD, EPOLLIN);
}

/* ---- bytes ---- */

/* False: the connection broke, or is to be cut here. */
static bool take_in(struct kit_proxy *self, struct way *way, int64_t now_ms)
{
    static const size_t size = sizeof(struct chunk) + CHUNK;

    while (!way->is_over && way->bytes < BUFFER_MAX) {
        struct chunk *c = malloc(size);
        ssize_t got = c ? recv(way->from, c->data, CHUNK, MSG_DONTWAIT) : -1;

        if (got <= 0) {
            free(c);
            way->is_over = got == 0;
            return got == 0 || errno == EAGAIN || errno == EINTR;
        }
        *c = (struct chunk){ .due_ms = now_ms + self->delay_ms, .len = (size_t)got };
        DL_APPEND(way->chunks, c);
        way->bytes += c->len;
    }
    return true;
}

static bool give_out(struct kit_proxy *self, struct way *way, int64_t now_ms)
{
    struct chunk *c;

    while ((c = way->chunks) && c->due_ms <= now_ms) {
        size_t len = c->len - c->at;
        bool is_last = way->is_from_target && self->left >= 0 && (int64_t)len >= self->left;
        ssize_t sent = send(way->to, c->data + c->at, is_last ? (size_t)self->left : len,
                            MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        if (way->is_from_target && self->left >= 0)
            self->left -= sent;
        if (is_last && self->left <= 0) {
            self->left = -1;
            return false;
        }
        c->at += (size_t)sent;
        way->bytes -= (size_t)sent;
        if (c->at < c->len)
            return true;
        DL_DELETE(way->chunks, c);
        free(c);
    }
    return !(way->is_over && !way->chunks);
}

/* What each socket waits for now. */
static void watch_pair(struct kit_proxy *self, const struct kit_proxy_pair *pair, int64_t now_ms)
{
    for (int i = 0; i < 2; i++) {
        const struct way *in = &pair->ways[i], *out = &pair->ways[1 - i];
        bool has_due = out->chunks && out->chunks->due_ms <= now_ms;
        uint32_t events = (!in->is_over && in->bytes < BUFFER_MAX ? EPOLLIN : 0u) |
                          (has_due ? EPOLLOUT : 0u);

        watch(self, pair->fds[i], EPOLL_CTL_MOD, self->is_hole ? EPOLLET : events);
    }
}

static void work(struct kit_proxy *self, int64_t now_ms)
{
    struct kit_proxy_pair *pair, *next;

    DL_FOREACH_SAFE(self->pairs, pair, next) {
        bool is_well = true;

        for (int i = 0; i < 2 && is_well && !self->is_hole; i++)
            is_well = take_in(self, &pair->ways[i], now_ms) &&
                      give_out(self, &pair->ways[i], now_ms);
        if (is_well)
            watch_pair(self, pair, now_ms);
        else
            cut_pair(self, pair);
    }
}

/* ---- the thread ---- */

static int64_t next_ms(const struct kit_proxy *self)
{
    int64_t next = self->every_ms ? self->next_cut_ms : INT64_MAX;
    const struct kit_proxy_pair *pair;

    DL_FOREACH(self->pairs, pair)
        for (int i = 0; i < 2 && !self->is_hole; i++)
            if (pair->ways[i].chunks && pair->ways[i].chunks->due_ms < next)
                next = pair->ways[i].chunks->due_ms;
    return next;
}

static void set_timer(struct kit_proxy *self, int64_t now_ms)
{
    int64_t next = next_ms(self), wait_ms = next > now_ms ? next - now_ms : 0;
    struct itimerspec timer = { .it_value = { .tv_sec = 0 } };

    if (next != INT64_MAX && wait_ms > 0) {  /* what is due already waits for room, not for time */
        timer.it_value.tv_sec = wait_ms / 1000;
        timer.it_value.tv_nsec = wait_ms % 1000 * 1000000;
    }
    timerfd_settime(self->timer_fd, 0, &timer, NULL);
}

static void turn(struct kit_proxy *self, int64_t now_ms, bool has_new)
{
    if (self->every_ms && now_ms >= self->next_cut_ms) {
        self->is_cut = true;
        self->next_cut_ms = now_ms + self->every_ms;
    }
    if (self->is_cut)
        cut_all(self);
    self->is_cut = false;
    if (has_new && !self->is_hole)
        add_pair(self);
    work(self, now_ms);
    watch(self, self->listen_fd, EPOLL_CTL_MOD, self->is_hole ? EPOLLET : EPOLLIN);
    set_timer(self, now_ms);
}

static void *run(void *arg)
{
    struct kit_proxy *self = arg;
    struct epoll_event events[EVENTS];
    bool is_ending = false;

    while (!is_ending) {
        int count = epoll_wait(self->epoll_fd, events, EVENTS, -1);
        bool has_new = false;
        uint64_t drop;

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            has_new |= fd == self->listen_fd;
            if ((fd == self->wake_fd || fd == self->timer_fd) && read(fd, &drop, sizeof drop) < 0)
                continue;            /* the timer was set anew meanwhile */
        }
        pthread_mutex_lock(&self->lock);
        turn(self, clock_ms(), has_new);
        is_ending = self->is_ending;
        pthread_mutex_unlock(&self->lock);
    }
    return NULL;
}

/* ---- the test's side ---- */

static void wake(struct kit_proxy *self)
{
    uint64_t one = 1;

    if (write(self->wake_fd, &one, sizeof one) < 0)
        die("could not wake the proxy");
}

void proxy_start(struct kit_proxy *self, const char *target)
{
    struct sockaddr_in at = loopback(0);
    socklen_t len = sizeof at;
    const char *port = strrchr(target, ':');

    *self = (struct kit_proxy){ .target_port = port ? (int)strtol(port + 1, NULL, 10) : 0,
                                .left = -1 };
    self->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (self->listen_fd < 0 || self->wake_fd < 0 || self->timer_fd < 0 || self->epoll_fd < 0 ||
        bind(self->listen_fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(self->listen_fd, 64) != 0 ||
        getsockname(self->listen_fd, (struct sockaddr *)&at, &len) != 0)
        die("could not listen");
    snprintf(self->endpoint, sizeof self->endpoint, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    watch(self, self->listen_fd, EPOLL_CTL_ADD, EPOLLIN);
    watch(self, self->wake_fd, EPOLL_CTL_ADD, EPOLLIN);
    watch(self, self->timer_fd, EPOLL_CTL_ADD, EPOLLIN);
    if (pthread_create(&self->thread, NULL, run, self) != 0)
        die("no thread left");
}

/* Changes what the thread works by. */
#define CHANGE(self, ...)                                                                          \
    do {                                                                                           \
        pthread_mutex_lock(&(self)->lock);                                                         \
        __VA_ARGS__;                                                                               \
        pthread_mutex_unlock(&(self)->lock);                                                       \
        wake(self);                                                                                \
    } while (0)

void proxy_end(struct kit_proxy *self)
{
    CHANGE(self, self->is_ending = true);
    pthread_join(self->thread, NULL);
    cut_all(self);
    close(self->listen_fd);
    close(self->wake_fd);
    close(self->timer_fd);
    close(self->epoll_fd);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
}

void proxy_delay(struct kit_proxy *self, int64_t ms)
{
    CHANGE(self, self->delay_ms = ms);
}

void proxy_hole(struct kit_proxy *self, bool on)
{
    CHANGE(self, self->is_hole = on);
}

void proxy_cut(struct kit_proxy *self)
{
    CHANGE(self, self->is_cut = true);
}

void proxy_cut_after(struct kit_proxy *self, int64_t bytes)
{
    CHANGE(self, self->left = bytes);
}

void proxy_cut_every(struct kit_proxy *self, int64_t ms)
{
    CHANGE(self, self->every_ms = ms, self->next_cut_ms = clock_ms() + ms);
}

void proxy_await_cuts(struct kit_proxy *self, int64_t cuts)
{
    struct timespec end;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&self->lock);
    while (self->cuts < cuts)
        if (pthread_cond_timedwait(&self->changed, &self->lock, &end) == ETIMEDOUT)
            die("connections were not cut");
    pthread_mutex_unlock(&self->lock);
}
