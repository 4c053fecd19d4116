/* stream -- the body of an answer that grows while it is sent: one thread writes, the server reads.
 * While there is nothing to send the connection waits and holds no thread. */
#ifndef GATEWAY_STREAM_H
#define GATEWAY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct MHD_Connection;

struct stream;
/* bytes_max: what is kept for a reader that is slow. Two hold it: who writes, until stream_end, and
 * the response made of it. NULL: no memory. */
struct stream *stream_create(size_t bytes_max);

/* False: the connection is gone, or its reader too slow; nothing more will arrive. */
bool stream_write(struct stream *self, const char *text, size_t len);
/* No more comes. The writer's hold ends. */
void stream_end(struct stream *self);

/* The server's side. */
void stream_attach(struct stream *self, struct MHD_Connection *connection);
/* 0: nothing is there now, the connection waits; -1: it has ended. */
ssize_t stream_read(struct stream *self, char *out, size_t cap);
void stream_close(struct stream *self);

#endif
