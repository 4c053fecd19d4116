/* kit_zmtp -- ZeroMQ's wire protocol (ZMTP 3.0, mechanism NULL) by hand over TCP: peers that say
 * what no libzmq socket would. Failures end the test through cmocka. */
#ifndef TESTS_KIT_ZMTP_H
#define TESTS_KIT_ZMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zmtp {
    int fd;                         /* -1: closed */
};

/* Connects to "tcp://127.0.0.1:PORT" and says nothing yet. */
struct zmtp zmtp_connect(const char *endpoint);
/* The same; false: nobody listens there. */
bool zmtp_try(const char *endpoint, struct zmtp *out);
/* Sends a greeting and reads the other's. False: it hung up. */
bool zmtp_greet(struct zmtp *self);
/* Sends READY as a DEALER, with an identity (len 0: none) and one more property (NULL: none). */
void zmtp_ready(struct zmtp *self, const void *identity, size_t len, const char *property,
                const char *value);
/* Reads the other's READY. False: it closed the connection instead. */
bool zmtp_is_ready(struct zmtp *self);
/* All of it. */
struct zmtp zmtp_open(const char *endpoint, const void *identity, size_t len);
/* One frame that is a whole message, below 256 bytes. */
void zmtp_send(struct zmtp *self, const void *data, size_t len);
/* Reads and drops what comes until the other side closes; false: it has not within wait_ms. */
bool zmtp_await_close(struct zmtp *self, int wait_ms);
void zmtp_close(struct zmtp *self);

#endif
