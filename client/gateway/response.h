/* response -- what an HTTP request is answered with: status, headers, body. Counted, so that one
 * may answer many requests at once; one that is shared so is not changed any more. Every function
 * takes NULL for one that memory was missing for: the connection is then closed. */
#ifndef GATEWAY_RESPONSE_H
#define GATEWAY_RESPONSE_H

#include "client/seedpress.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct MHD_Response;
struct stream;
struct cJSON;

struct response;
/* body[len] is copied. NULL: no memory. */
struct response *response_create(unsigned status, const char *type, const void *body, size_t len);
/* body stays the caller's until release(arg); release is called in any case. */
struct response *response_lend(unsigned status, const char *type, const void *body, size_t len,
                               void (*release)(void *arg), void *arg);
/* The body is len bytes of the file fd, which is closed in any case. */
struct response *response_file(unsigned status, const char *type, int fd, uint64_t len);
/* The body is what the stream is given (stream.h). */
struct response *response_stream(const char *type, struct stream *stream);
/* The answer to HEAD of what would be a stream. The connection ends after it: the library would
 * send the end of a chunked body, which the next answer's reader would trip over. */
struct response *response_stream_head(const char *type);
/* json is deleted. */
struct response *response_json(unsigned status, struct cJSON *json);
/* {"code", "message", "retry", "retry_after_ms"} with the table's status, and Retry-After. */
struct response *response_error(const struct seedpress_error *error);
/* The same with a status of HTTP's own: 405, 429. */
struct response *response_error_as(unsigned status, const struct seedpress_error *error);
struct response *response_refuse(const struct err *e);
/* A redirection without a body. */
struct response *response_redirect(unsigned status, const char *location);
void response_error_of(const struct err *e, struct seedpress_error *out);
/* Puts other words where libseedpress says at what address it looked for the broker: strangers read
 * this. What makes an error's response does so itself. */
void response_hide_address(struct seedpress_error *error);

struct response *response_ref(struct response *self);
void response_unref(struct response **self);

void response_header(struct response *self, const char *name, const char *value);
void response_header_format(struct response *self, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* From now on it may be shared, and the server adds nothing. */
void response_freeze(struct response *self);
bool response_is_frozen(const struct response *self);
unsigned response_status(const struct response *self);
struct MHD_Response *response_inner(const struct response *self);
struct stream *response_stream_of(const struct response *self);     /* NULL: it has none */

#endif
