#include "client/gateway/response.h"

#include "client/gateway/stream.h"

#include <cjson/cJSON.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_MAX = 1024, STREAM_BLOCK = 4096 };

struct response {
    struct MHD_Response *inner;
    unsigned status;
    bool is_frozen;
    struct stream *stream;          /* lent by inner */
    atomic_int users;
};

static struct response *wrap(unsigned status, const char *type, struct MHD_Response *inner)
{
    struct response *self = inner ? calloc(1, sizeof *self) : NULL;

    if (!self) {
        if (inner)
            MHD_destroy_response(inner);
        return NULL;
    }
    self->inner = inner;
    self->status = status;
    atomic_init(&self->users, 1);
    if (type)
        response_header(self, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    return self;
}

struct response *response_create(unsigned status, const char *type, const void *body, size_t len)
{
    return wrap(status, type,
                MHD_create_response_from_buffer(len, (void *)body, MHD_RESPMEM_MUST_COPY));
}

struct response *response_lend(unsigned status, const char *type, const void *body, size_t len,
                               void (*release)(void *arg), void *arg)
{
    struct MHD_Response *inner = MHD_create_response_from_buffer_with_free_callback_cls(
        len, (void *)body, release, arg);

    if (!inner)
        release(arg);
    return wrap(status, type, inner);
}

struct response *response_file(unsigned status, const char *type, int fd, uint64_t len)
{
    struct MHD_Response *inner = MHD_create_response_from_fd64(len, fd);

    if (!inner)
        close(fd);
    return wrap(status, type, inner);
}

static ssize_t read_stream(void *arg, uint64_t at, char *out, size_t cap)
{
    ssize_t len = stream_read(arg, out, cap);

    (void)at;
    return len < 0 ? MHD_CONTENT_READER_END_OF_STREAM : len;
}

static void close_stream(void *arg)
{
    stream_close(arg);
}

struct response *response_stream(const char *type, struct stream *stream)
{
    struct MHD_Response *inner = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, stream, close_stream);
    struct response *self;

    if (!inner)
        stream_close(stream);
    self = wrap(MHD_HTTP_OK, type, inner);
    if (self)
        self->stream = stream;
    return self;
}

static ssize_t read_nothing(void *arg, uint64_t at, char *out, size_t cap)
{
    (void)arg;
    (void)at;
    (void)out;
    (void)cap;
    return MHD_CONTENT_READER_END_OF_STREAM;
}

struct response *response_stream_head(const char *type)
{
    struct MHD_Response *inner = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                                   read_nothing, NULL, NULL);

    if (inner)
        MHD_set_response_options(inner, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    return wrap(MHD_HTTP_OK, type, inner);
}

struct response *response_json(unsigned status, struct cJSON *json)
{
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;

    cJSON_Delete(json);
    return text ? response_lend(status, "application/json", text, strlen(text), free, text) : NULL;
}

void response_error_of(const struct err *e, struct seedpress_error *out)
{
    const struct err_info *info = err_info(e->code);

    *out = (struct seedpress_error){ .code = (int)e->code, .retry = info->retry,
                                     .retry_after_ms = (int)e->retry_after_ms,
                                     .exit_code = info->exit_code,
                                     .http_status = info->http_status };
    snprintf(out->word, sizeof out->word, "%s", info->word);
    snprintf(out->message, sizeof out->message, "%s", e->msg);
}

void response_hide_address(struct seedpress_error *error)
{
    if (error->code == SEEDPRESS_UNREACHABLE)
        snprintf(error->message, sizeof error->message, "no broker answers the gateway now");
}

struct response *response_error_as(unsigned status, const struct seedpress_error *error)
{
    struct cJSON *json = cJSON_CreateObject();
    struct seedpress_error said = *error;
    int retry_ms = error->retry && error->retry_after_ms <= 0 ? 1000 : error->retry_after_ms;
    struct response *self;

    cJSON_AddStringToObject(json, "code", error->word);
    response_hide_address(&said);
    cJSON_AddStringToObject(json, "message", said.message);
    cJSON_AddBoolToObject(json, "retry", error->retry);
    cJSON_AddNumberToObject(json, "retry_after_ms", error->retry_after_ms);
    self = response_json(status, json);
    response_header(self, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (error->retry)
        response_header_format(self, MHD_HTTP_HEADER_RETRY_AFTER, "%d", (retry_ms + 999) / 1000);
    return self;
}

struct response *response_error(const struct seedpress_error *error)
{
    return response_error_as((unsigned)error->http_status, error);
}

struct response *response_refuse(const struct err *e)
{
    struct seedpress_error error;

    response_error_of(e, &error);
    return response_error(&error);
}

struct response *response_redirect(unsigned status, const char *location)
{
    struct response *self = response_create(status, NULL, "", 0);

    response_header(self, MHD_HTTP_HEADER_LOCATION, location);
    return self;
}

struct response *response_ref(struct response *self)
{
    if (self)
        atomic_fetch_add_explicit(&self->users, 1, memory_order_relaxed);
    return self;
}

void response_unref(struct response **self)
{
    if (*self && atomic_fetch_sub_explicit(&(*self)->users, 1, memory_order_acq_rel) == 1) {
        MHD_destroy_response((*self)->inner);
        free(*self);
    }
    *self = NULL;
}

void response_header(struct response *self, const char *name, const char *value)
{
    if (self)
        MHD_add_response_header(self->inner, name, value);
}

void response_header_format(struct response *self, const char *name, const char *fmt, ...)
{
    char value[HEADER_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(value, sizeof value, fmt, args);
    va_end(args);
    response_header(self, name, value);
}

void response_freeze(struct response *self)
{
    if (self)
        self->is_frozen = true;
}

bool response_is_frozen(const struct response *self)
{
    return self->is_frozen;
}

unsigned response_status(const struct response *self)
{
    return self->status;
}

struct MHD_Response *response_inner(const struct response *self)
{
    return self->inner;
}

struct stream *response_stream_of(const struct response *self)
{
    return self->stream;
}
