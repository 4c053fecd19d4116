/* url -- the target of an HTTP request, taken apart: segments of its path and parameters of its
 * query, with %XX decoded. Strict: what no page of ours links to is an error, not a guess. */
#ifndef GATEWAY_URL_H
#define GATEWAY_URL_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { URL_MAX = 2048, URL_SEGMENTS_MAX = 8, URL_PARAMS_MAX = 16 };

struct url_param {
    const char *name, *value;
};

struct url {
    char text[URL_MAX];             /* what the pointers below point into */
    const char *segment[URL_SEGMENTS_MAX];
    size_t segment_count;           /* 0: "/" */
    bool is_folder;                 /* the path ends in '/' */
    struct url_param param[URL_PARAMS_MAX];     /* in their order */
    size_t param_count;
};

/* Reads "/v1/cats/42.jpg?psi=0.7" of len bytes. Decoded text is printable ASCII; a segment is
 * neither empty nor begins with '.'; a parameter comes once. ERR_TOO_LARGE: longer than URL_MAX - 1
 * bytes, or too many parts; ERR_INVALID. */
enum err_code url_parse(const char *target, size_t len, struct url *out, struct err *e);

/* NULL: it is not there. */
const char *url_param(const struct url *self, const char *name);
/* That every parameter is one of names[count]; ERR_INVALID names the first that is none. */
enum err_code url_check_params(const struct url *self, const char *const *names, size_t count,
                               struct err *e);

#endif
