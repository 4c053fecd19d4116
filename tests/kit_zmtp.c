#include "tests/kit_zmtp.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { GREETING_LEN = 64, COMMAND = 4, PATIENCE_MS = 20000 };

bool zmtp_try(const char *endpoint, struct zmtp *out)
{
    struct sockaddr_in to = { .sin_family = AF_INET };
    struct zmtp self = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    int port = 0;

    assert_true(self.fd >= 0);
    assert_int_equal(sscanf(endpoint, "tcp://127.0.0.1:%d", &port), 1);
    to.sin_port = htons((uint16_t)port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *out = self;
    if (connect(self.fd, (struct sockaddr *)&to, sizeof to) == 0)
        return true;
    zmtp_close(out);
    return false;
}

struct zmtp zmtp_connect(const char *endpoint)
{
    struct zmtp self;

    if (!zmtp_try(endpoint, &self))
        fail_msg("could not connect to %s", endpoint);
    return self;
}

static void put(struct zmtp *self, const void *data, size_t len)
{
    ssize_t sent = send(self->fd, data, len, MSG_NOSIGNAL);

    (void)sent;                      /* who has hung up is seen when it is read */
}

/* False: the other side closed before. */
static bool get(struct zmtp *self, void *data, size_t len)
{
    uint8_t *at = data;

    while (len > 0) {
        struct pollfd fd = { self->fd, POLLIN, 0 };
        ssize_t got;

        if (poll(&fd, 1, PATIENCE_MS) <= 0)
            fail_msg("the other side says nothing");
        got = recv(self->fd, at, len, 0);
        if (got <= 0)
            return false;
        at += got;
        len -= (size_t)got;
    }
    return true;
}

bool zmtp_greet(struct zmtp *self)
{
    uint8_t greeting[GREETING_LEN] = { 0xff, [9] = 0x7f, 3, 0, 'N', 'U', 'L', 'L' };

    put(self, greeting, sizeof greeting);
    return get(self, greeting, sizeof greeting);
}

static size_t add_property(uint8_t *at, const char *name, const void *value, size_t len)
{
    size_t name_len = strlen(name);

    at[0] = (uint8_t)name_len;
    memcpy(at + 1, name, name_len);
    memset(at + 1 + name_len, 0, 4);
    at[4 + name_len] = (uint8_t)len;
    if (len > 0)
        memcpy(at + 5 + name_len, value, len);
    return 5 + name_len + len;
}

void zmtp_ready(struct zmtp *self, const void *identity, size_t len, const char *property,
                const char *value)
{
    uint8_t frame[512] = { COMMAND, 0, 5, 'R', 'E', 'A', 'D', 'Y' };
    size_t at = 8;

    at += add_property(frame + at, "Socket-Type", "DEALER", 6);
    at += add_property(frame + at, "Identity", identity, len);
    if (property)
        at += add_property(frame + at, property, value, strlen(value));
    assert_true(at - 2 < 256);
    frame[1] = (uint8_t)(at - 2);
    put(self, frame, at);
}

bool zmtp_is_ready(struct zmtp *self)
{
    uint8_t head[2], body[256];

    return get(self, head, sizeof head) && head[0] == COMMAND && get(self, body, head[1]) &&
           memcmp(body, "\5READY", 6) == 0;
}

struct zmtp zmtp_open(const char *endpoint, const void *identity, size_t len)
{
    struct zmtp self = zmtp_connect(endpoint);

    assert_true(zmtp_greet(&self));
    zmtp_ready(&self, identity, len, NULL, NULL);
    assert_true(zmtp_is_ready(&self));
    return self;
}

void zmtp_send(struct zmtp *self, const void *data, size_t len)
{
    uint8_t frame[258] = { 0, (uint8_t)len };

    assert_true(len < 256);
    memcpy(frame + 2, data, len);
    put(self, frame, len + 2);
}

bool zmtp_await_close(struct zmtp *self, int wait_ms)
{
    int64_t end_ms = clock_ms() + wait_ms;

    for (;;) {
        struct pollfd fd = { self->fd, POLLIN, 0 };
        int64_t left_ms = end_ms - clock_ms();
        uint8_t dropped[4096];

        if (left_ms <= 0 || poll(&fd, 1, (int)left_ms) <= 0)
            return false;
        if (recv(self->fd, dropped, sizeof dropped, 0) <= 0)
            return true;
    }
}

void zmtp_close(struct zmtp *self)
{
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
}
