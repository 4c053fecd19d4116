/* notify -- tells systemd how the program is doing, over the datagram socket that NOTIFY_SOCKET
 * names; without one nothing happens. The protocol is one line of text a message, so libsystemd is
 * not needed for it. */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdint.h>

struct notify {
    int fd;                         /* -1: nobody listens */
    int64_t every_ms, next_ms;      /* the watchdog's; every_ms 0: there is none */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. What is malformed counts as not there. */
void notify_init(struct notify *self);
void notify_release(struct notify *self);

void notify_ready(struct notify *self);             /* READY=1 */
void notify_stopping(struct notify *self);          /* STOPPING=1 */
/* WATCHDOG=1 twice an interval, however often it is called. Returns when it wants the next call;
 * INT64_MAX: never. */
int64_t notify_turn(struct notify *self, int64_t now_ms);

#endif
