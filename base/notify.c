#include "base/notify.h"

#include "proto/number.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool read_number(const char *variable, int64_t *out)
{
    const char *text = getenv(variable);

    return text && number_parse(text, strlen(text), out);
}

static int64_t watchdog_ms(void)
{
    int64_t us = 0, pid;

    /* Another process is meant; but not when it looks after this one, as base/guard does. */
    if (read_number("WATCHDOG_PID", &pid) && pid != (int64_t)getpid() && pid != (int64_t)getppid())
        return 0;
    return read_number("WATCHDOG_USEC", &us) && us >= 2000 ? us / 1000 / 2 : 0;
}

/* "@name" is an abstract address: its first byte is 0. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = strlen(path);
    int fd;

    if ((*path != '/' && *path != '@') || len >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, path, len);
    if (*path == '@')
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void notify_init(struct notify *self)
{
    const char *path = getenv("NOTIFY_SOCKET");

    *self = (struct notify){ .fd = path ? connect_to(path) : -1 };
    if (self->fd >= 0)
        self->every_ms = watchdog_ms();
}

void notify_release(struct notify *self)
{
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
}

/* A supervisor that does not read loses the message; the loop does not wait for it. */
static void say(const struct notify *self, const char *words)
{
    if (self->fd >= 0)
        (void)!send(self->fd, words, strlen(words), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void notify_ready(struct notify *self)
{
    say(self, "READY=1");
}

void notify_stopping(struct notify *self)
{
    say(self, "STOPPING=1");
}

int64_t notify_turn(struct notify *self, int64_t now_ms)
{
    if (self->every_ms == 0)
        return INT64_MAX;
    if (now_ms >= self->next_ms) {
        say(self, "WATCHDOG=1");
        self->next_ms = now_ms + self->every_ms;
    }
    return self->next_ms;
}
