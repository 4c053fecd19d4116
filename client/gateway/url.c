#include "client/gateway/url.h"

#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What is decoded, up to one of the stops, goes to *to, with a NUL behind it. Gives where it ended;
 * NULL: it cannot be decoded. */
static const char *decode(const char *from, const char *end, const char *stops, char **to)
{
    for (; from < end && !(*from && strchr(stops, *from)); from++) {
        int c = (unsigned char)*from;

        if (c == '%') {
            int high = end - from > 2 ? hex_value(from[1]) : -1;
            int low = high >= 0 ? hex_value(from[2]) : -1;

            if (low < 0)
                return NULL;
            c = high * 16 + low;
            from += 2;
        }
        if (c < 0x20 || c > 0x7e)
            return NULL;
        *(*to)++ = (char)c;
    }
    *(*to)++ = '\0';
    return from;
}

static enum err_code undecodable(struct err *e)
{
    return err_set(e, ERR_INVALID, "the URL holds what is no printable ASCII, or a bad %%XX");
}

static enum err_code read_path(const char **at, const char *end, char **to, struct url *out,
                               struct err *e)
{
    while (*at < end && **at == '/') {
        char *segment = *to;

        ++*at;
        if (*at == end || **at == '?') {
            out->is_folder = true;
            return ERR_OK;
        }
        if (out->segment_count == URL_SEGMENTS_MAX)
            return err_set(e, ERR_TOO_LARGE, "the path has more than %d parts", URL_SEGMENTS_MAX);
        *at = decode(*at, end, "/?#", to);
        if (!*at)
            return undecodable(e);
        if (*segment == '.' || *segment == '\0' || strchr(segment, '/'))
            return err_set(e, ERR_INVALID, "a part of the path is empty, begins with a dot, or "
                                           "holds a slash");
        out->segment[out->segment_count++] = segment;
    }
    return ERR_OK;
}

static enum err_code read_param(const char **at, const char *end, char **to, struct url *out,
                                struct err *e)
{
    struct url_param param = { *to, "" };

    *at = decode(*at, end, "=&#", to);
    if (!*at)
        return undecodable(e);
    if (*at < end && **at == '=') {
        ++*at;
        param.value = *to;
        *at = decode(*at, end, "&#", to);
        if (!*at)
            return undecodable(e);
    }
    if (*param.name == '\0')
        return err_set(e, ERR_INVALID, "a parameter has no name");
    if (url_param(out, param.name))
        return err_set(e, ERR_INVALID, "the parameter \"%.40s\" comes twice", param.name);
    if (out->param_count == URL_PARAMS_MAX)
        return err_set(e, ERR_TOO_LARGE, "there are more than %d parameters", URL_PARAMS_MAX);
    out->param[out->param_count++] = param;
    return ERR_OK;
}

enum err_code url_parse(const char *target, size_t len, struct url *out, struct err *e)
{
    const char *at = target, *end = target + len;
    char *to = out->text;
    enum err_code rc;

    out->segment_count = out->param_count = 0;
    out->is_folder = false;
    /* Decoded text is never longer than its source: each part's NUL takes its separator's place. */
    if (len >= URL_MAX)
        return err_set(e, ERR_TOO_LARGE, "the URL has %zu bytes, at most %d are read", len,
                       URL_MAX - 1);
    if (len == 0 || *at != '/')
        return err_set(e, ERR_INVALID, "the URL's path does not begin with a slash");
    if ((rc = read_path(&at, end, &to, out, e)))
        return rc;
    for (bool first = true; at < end; first = false) {
        if (*at != (first ? '?' : '&'))
            return err_set(e, ERR_INVALID, "the URL goes on after its query");
        if (++at == end)
            break;
        if ((rc = read_param(&at, end, &to, out, e)))
            return rc;
    }
    return ERR_OK;
}

const char *url_param(const struct url *self, const char *name)
{
    for (size_t i = 0; i < self->param_count; i++)
        if (strcmp(self->param[i].name, name) == 0)
            return self->param[i].value;
    return NULL;
}

enum err_code url_check_params(const struct url *self, const char *const *names, size_t count,
                               struct err *e)
{
    for (size_t i = 0; i < self->param_count; i++) {
        size_t known = 0;

        while (known < count && strcmp(self->param[i].name, names[known]) != 0)
            known++;
        if (known == count)
            return err_set(e, ERR_INVALID, "there is no parameter \"%.60s\" here",
                           self->param[i].name);
    }
    return ERR_OK;
}
