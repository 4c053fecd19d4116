/* What is no question to seedpress: the files of --sites, and the description of all routes. */
#include "client/gateway/gateway.h"
#include "client/gateway/openapi.h"
#include "client/gateway/routes.h"
#include "client/gateway/site.h"

#include "proto/digest.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The text lives as long as the program. */
static void let_be(void *arg)
{
    (void)arg;
}

/* True: the visit's copy is as good; it has been answered. */
static bool is_not_modified(struct visit *visit, const char *etag)
{
    const char *list = visit_header(visit, "If-None-Match");
    struct response *response;

    if (!list || !picture_tag_is_in(list, etag))
        return false;
    response = response_create(304, NULL, "", 0);
    response_header(response, "ETag", etag);
    response_header(response, "Cache-Control", "no-cache");
    visit_answer(visit, response);
    return true;
}

void route_openapi(struct gateway *gateway, struct visit *visit)
{
    size_t len = strlen(OPENAPI);
    struct digest sum = digest_of(OPENAPI, len);
    struct response *response;
    char etag[PICTURE_TAG_MAX];
    struct err e;

    (void)gateway;
    if (url_check_params(visit_url(visit), NULL, 0, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    picture_write_tag(digest_hex(&sum).text, etag);
    if (is_not_modified(visit, etag))
        return;
    response = response_lend(200, "application/json", OPENAPI, len, let_be, NULL);
    response_header(response, "ETag", etag);
    response_header(response, "Cache-Control", "no-cache");
    visit_answer(visit, response);
}

bool route_site_is_there(const struct gateway *gateway)
{
    return gateway->site != NULL;
}

static void answer_file(struct visit *visit, const struct site_file *file)
{
    struct response *response = response_file(200, file->type, file->fd, (uint64_t)file->len);

    response_header(response, "ETag", file->etag);
    response_header(response, "Last-Modified", file->modified);
    response_header(response, "Cache-Control", "no-cache");
    response_header(response, "Content-Security-Policy",
                    "default-src 'self'; img-src 'self' blob: data:");
    response_header(response, "Referrer-Policy", "same-origin");
    visit_answer(visit, response);
}

/* The path as the URL's segments say it: whatever was strange in it has been refused. */
static bool write_path(const struct url *url, char out[SITE_PATH_MAX])
{
    size_t len = 0;

    for (size_t i = 0; i < url->segment_count; i++) {
        int more = snprintf(out + len, SITE_PATH_MAX - len, "/%s", url->segment[i]);

        if (more < 0 || (size_t)more >= SITE_PATH_MAX - len - 1)
            return false;
        len += (size_t)more;
    }
    if (url->is_folder || url->segment_count == 0)
        out[len++] = '/';
    out[len] = '\0';
    return true;
}

/* To the same with a slash behind the path, encoded as it came. */
static void send_into_folder(struct visit *visit)
{
    const char *target = visit_target(visit);
    int len = (int)strcspn(target, "?");
    char location[URL_MAX + 1];
    struct response *response;

    snprintf(location, sizeof location, "%.*s/%s", len, target, target + len);
    response = response_redirect(308, location);
    response_header(response, "Cache-Control", "no-cache");
    visit_answer(visit, response);
}

void route_site(struct gateway *gateway, struct visit *visit)
{
    enum site_answer answer = SITE_NOT_FOUND;
    char path[SITE_PATH_MAX];
    struct site_file file;
    struct err e;

    if (write_path(visit_url(visit), path))
        answer = site_open(gateway->site, path, &file);
    if (answer == SITE_FILE) {
        if (is_not_modified(visit, file.etag))
            close(file.fd);
        else
            answer_file(visit, &file);
    } else if (answer == SITE_FOLDER) {
        send_into_folder(visit);
    } else {
        err_set(&e, ERR_NOT_FOUND, "no page is at \"%.80s\"", visit_target(visit));
        visit_refuse(visit, &e);
    }
}
