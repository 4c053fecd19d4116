/* Any bytes as an HTTP request's target: what is read is printable and strictly made, the link that
 * is written of it is read back as the same, and its parameters hold what their readers say. */
#include "client/gateway/permalink.h"
#include "client/gateway/picture.h"
#include "client/gateway/url.h"
#include "client/gateway/visitor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_text(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            abort();
}

static void check_parts(const struct url *url)
{
    if (url->segment_count > URL_SEGMENTS_MAX || url->param_count > URL_PARAMS_MAX)
        abort();
    for (size_t i = 0; i < url->segment_count; i++) {
        check_text(url->segment[i]);
        if (*url->segment[i] == '.' || *url->segment[i] == '\0' || strchr(url->segment[i], '/'))
            abort();
    }
    for (size_t i = 0; i < url->param_count; i++) {
        check_text(url->param[i].name);
        check_text(url->param[i].value);
        if (url_param(url, url->param[i].name) != url->param[i].value)
            abort();
    }
}

/* A picture's link, as route_picture reads it; false: it is none. */
static bool read_link(const struct url *url, struct permalink *link, char digest[65])
{
    return url->segment_count == 3 &&
           !permalink_read_seed(url->segment[2], &link->key.seed, NULL) &&
           !permalink_read_model(url->segment[1], link->name, digest, NULL) &&
           !permalink_read_options(url, link, NULL);
}

static void check_link(const struct permalink *link)
{
    struct permalink again = { .name = "" };
    char text[PERMALINK_MAX], digest[65];
    struct url url;

    permalink_write(link, text);
    if (strlen(text) + 1 >= sizeof text || url_parse(text, strlen(text), &url, NULL) ||
        !read_link(&url, &again, digest) || memcmp(&again.key, &link->key, sizeof again.key) != 0 ||
        strcmp(again.name, link->name) != 0 || strcmp(digest, "00000000") != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct permalink link = { .name = "" };
    struct visitor_proxies proxies;
    char digest[65], visitor[VISITOR_MAX];
    struct err e = { 0 };
    struct url url;
    char *text = malloc(len + 1);

    if (!text)
        return 0;
    memcpy(text, data, len);
    text[len] = '\0';
    picture_tag_is_in(text, "W/\"0123\"");
    if (!visitor_read_proxies(text, &proxies, NULL))
        visitor_name(&proxies, NULL, text, visitor);
    visitor_read_proxies("::/0", &proxies, NULL);
    visitor_name(&proxies, NULL, text, visitor);
    if (url_parse(text, len, &url, &e)) {
        if ((e.code != ERR_INVALID && e.code != ERR_TOO_LARGE) || strlen(e.msg) == 0)
            abort();
    } else {
        check_parts(&url);
        if (read_link(&url, &link, digest))
            check_link(&link);
    }
    free(text);
    return 0;
}
