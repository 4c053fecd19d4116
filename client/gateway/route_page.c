/* What is answered without rendering: the permanent URLs of seeds in a row, and of one seed at
 * several psi. */
#include "client/gateway/routes.h"
#include "client/gateway/series.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_DEFAULT = 11 };

static void answer(struct visit *visit, struct cJSON *json)
{
    struct response *response = response_json(200, json);

    response_header(response, "Cache-Control", "public, max-age=60");
    visit_answer(visit, response);
}

static void add_url(struct cJSON *to, const char *name, const struct permalink *link)
{
    char url[PERMALINK_MAX];

    permalink_write(link, url);
    cJSON_AddStringToObject(to, name, url);
}

static struct cJSON *begin(const struct permalink *link, const struct seedpress_model *model)
{
    struct cJSON *top = cJSON_CreateObject();

    cJSON_AddStringToObject(top, "model", link->name);
    cJSON_AddStringToObject(top, "digest", model->digest);
    return top;
}

/* ---- a page ---- */

/* Where the next one is: the same options, from the seed after the last. */
static void add_next(struct cJSON *top, const struct series *series)
{
    struct permalink next = series->first;
    char url[PERMALINK_MAX], page[2 * PERMALINK_MAX];
    const char *options;

    if (UINT32_MAX - next.key.seed < (uint32_t)series->count) {
        cJSON_AddNullToObject(top, "next");
        return;
    }
    next.key.seed += (uint32_t)series->count;
    permalink_write(&next, url);
    options = strchr(url, '?');
    snprintf(page, sizeof page, "/v1/%s@%.*s/page?seed=%" PRIu32 "&n=%d%s%s", next.name,
             PERMALINK_DIGEST8, series->model.digest, next.key.seed, series->count,
             options ? "&" : "", options ? options + 1 : "");
    cJSON_AddStringToObject(top, "next", page);
}

void route_page(struct gateway *gateway, struct visit *visit)
{
    struct cJSON *top, *list;
    struct permalink link;
    struct series series;
    struct err e;

    if (series_read(gateway, visit_url(visit), &series, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    link = series.first;
    top = begin(&link, &series.model);
    cJSON_AddNumberToObject(top, "psi", (double)link.key.psi / PERMALINK_PSI);
    cJSON_AddNumberToObject(top, "width", series.model.width);
    cJSON_AddNumberToObject(top, "height", series.model.height);
    list = cJSON_AddArrayToObject(top, "pictures");
    for (int i = 0; i < series.count; i++) {
        struct cJSON *picture = cJSON_CreateObject();

        link.key.seed = series.first.key.seed + (uint32_t)i;
        cJSON_AddNumberToObject(picture, "seed", link.key.seed);
        add_url(picture, "url", &link);
        cJSON_AddItemToArray(list, picture);
    }
    add_next(top, &series);
    answer(visit, top);
}

/* ---- a ladder ---- */

struct ladder {
    struct seedpress_model model;
    struct permalink link;
    int64_t from, to, steps;        /* psi in millionths */
};

static enum err_code read_ladder(struct gateway *gateway, const struct url *url,
                                 struct ladder *out, struct err *e)
{
    static const char *const NAMES[] = { "seed", "from", "to", "steps", "class", "q" };
    int64_t seed = 0;
    enum err_code rc;

    out->from = 0;
    out->to = PERMALINK_PSI;
    out->steps = STEPS_DEFAULT;
    if ((rc = url_check_params(url, NAMES, sizeof NAMES / sizeof NAMES[0], e)) ||
        (rc = permalink_read_number(url, "seed", 0, UINT32_MAX, &seed, e)) ||
        (rc = permalink_read_psi(url, "from", &out->from, e)) ||
        (rc = permalink_read_psi(url, "to", &out->to, e)) ||
        (rc = permalink_read_number(url, "steps", 2, SERIES_MAX, &out->steps, e)) ||
        (rc = series_read_model(gateway, url, &out->model, &out->link, e)))
        return rc;
    out->link.key.seed = (uint32_t)seed;
    return series_read_options(url, &out->model, &out->link, e);
}

/* Steps that strangers' psi makes one are named once. */
static void add_steps(const struct gateway *gateway, const struct ladder *ladder,
                      struct cJSON *list)
{
    struct permalink link = ladder->link;

    for (int64_t i = 0; i < ladder->steps; i++) {
        struct cJSON *picture;
        int64_t psi = ladder->from + (ladder->to - ladder->from) * i / (ladder->steps - 1);

        psi = series_psi(gateway, psi);
        if (i > 0 && psi == link.key.psi)
            continue;
        link.key.psi = psi;
        picture = cJSON_CreateObject();
        cJSON_AddNumberToObject(picture, "psi", (double)psi / PERMALINK_PSI);
        add_url(picture, "url", &link);
        cJSON_AddItemToArray(list, picture);
    }
}

void route_ladder(struct gateway *gateway, struct visit *visit)
{
    struct ladder ladder;
    struct cJSON *top;
    struct err e;

    if (read_ladder(gateway, visit_url(visit), &ladder, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    top = begin(&ladder.link, &ladder.model);
    cJSON_AddNumberToObject(top, "seed", ladder.link.key.seed);
    add_steps(gateway, &ladder, cJSON_AddArrayToObject(top, "pictures"));
    answer(visit, top);
}
