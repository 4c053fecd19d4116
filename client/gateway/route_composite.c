/* GET /v1/composite: pictures of several models that belong together, made with one deadline and
 * answered once, with what is there by then. */
#include "client/gateway/composition.h"
#include "client/gateway/gather.h"
#include "client/gateway/routes.h"
#include "client/gateway/series.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

enum { DEADLINE_MAX_MS = 60000, DEADLINE_DEFAULT_MS = 10000 };

struct wish {
    uint32_t seed;
    int64_t psi, quality, deadline_ms;
    struct composition parts;
};

static enum err_code read_wish(const struct url *url, struct wish *out, struct err *e)
{
    static const char *const NAMES[] = { "items", "seed", "deadline_ms", "psi", "q" };
    const char *items = url_param(url, "items");
    int64_t seed = 0;
    enum err_code rc;

    *out = (struct wish){ .psi = PERMALINK_PSI, .quality = PERMALINK_QUALITY,
                          .deadline_ms = DEADLINE_DEFAULT_MS };
    if ((rc = url_check_params(url, NAMES, sizeof NAMES / sizeof NAMES[0], e)) ||
        (rc = permalink_read_number(url, "seed", 0, UINT32_MAX, &seed, e)) ||
        (rc = permalink_read_number(url, "deadline_ms", 1, DEADLINE_MAX_MS, &out->deadline_ms,
                                    e)) ||
        (rc = permalink_read_number(url, "q", 1, 100, &out->quality, e)) ||
        (rc = permalink_read_psi(url, "psi", &out->psi, e)))
        return rc;
    out->seed = (uint32_t)seed;
    if (!items)
        return err_set(e, ERR_INVALID, "items is missing: say items=rooms:4,host:1");
    return composition_read(items, &out->parts, e);
}

/* The pictures' names, part after part. */
static enum err_code name_pieces(struct gather *gather, const struct wish *wish, struct err *e)
{
    const struct gateway *g = gather->gateway;
    size_t index = 0;

    for (size_t i = 0; i < wish->parts.part_count; i++) {
        const struct composition_part *part = &wish->parts.part[i];
        struct seedpress_model model;
        enum err_code rc = catalogue_find(g->catalogue, part->name, part->digest, &model, e);

        if (rc)
            return rc;
        for (int k = 0; k < part->count; k++) {
            struct permalink *link = &gather->piece[index++].ask.what;

            *link = permalink_of(&model, composition_seed(wish->seed, model.digest, k),
                                 series_psi(g, wish->psi));
            link->key.quality = (int32_t)wish->quality;
            if ((rc = permalink_set_class(link, &model, part->class_index, e)))
                return rc;
        }
    }
    return ERR_OK;
}

static void add_piece(struct cJSON *list, const struct gather_piece *piece)
{
    const struct permalink *link = &piece->ask.what;
    struct cJSON *item = cJSON_CreateObject();
    char url[PERMALINK_MAX];

    permalink_write(link, url);
    cJSON_AddStringToObject(item, "model", link->name);
    cJSON_AddNumberToObject(item, "seed", link->key.seed);
    cJSON_AddStringToObject(item, "url", url);
    cJSON_AddBoolToObject(item, "ok", !piece->error.code);
    if (piece->error.code) {
        cJSON_AddStringToObject(item, "code", piece->error.word);
        cJSON_AddStringToObject(item, "message", piece->error.message);
    }
    cJSON_AddItemToArray(list, item);
}

static struct response *make_answer(const struct gather *gather)
{
    struct cJSON *top = cJSON_CreateObject(), *list;
    const uint32_t *seed = gather->arg;
    struct response *response;
    size_t failed = 0;

    for (size_t i = 0; i < gather->count; i++)
        failed += gather->piece[i].error.code != SEEDPRESS_OK;
    cJSON_AddNumberToObject(top, "seed", *seed);
    cJSON_AddNumberToObject(top, "ready", (double)(gather->count - failed));
    cJSON_AddNumberToObject(top, "failed", (double)failed);
    list = cJSON_AddArrayToObject(top, "items");
    for (size_t i = 0; i < gather->count; i++)
        add_piece(list, &gather->piece[i]);
    response = response_json(200, top);
    response_header(response, "Cache-Control", failed ? "no-store" : "public, max-age=60");
    return response;
}

static void end(struct gather *gather, struct agent *agent, bool is_gone)
{
    (void)agent;
    visit_answer(gather->visit, is_gone ? NULL : make_answer(gather));
}

static const struct gather_kind COMPOSITE = { .end = end };

void route_composite(struct gateway *gateway, struct visit *visit)
{
    struct gather *gather;
    struct wish wish;
    struct err e;

    if (read_wish(visit_url(visit), &wish, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    if (!gateway_admit(gateway, visit))
        return;
    gather = gather_create(gateway, visit, &COMPOSITE, wish.parts.count, (int)wish.deadline_ms);
    if (gather)
        gather->arg = malloc(sizeof wish.seed);
    if (!gather || !gather->arg) {
        if (gather)
            gather_destroy(gather);
        err_set(&e, ERR_NOMEM, "no memory for %zu pictures", wish.parts.count);
        visit_refuse(visit, &e);
        return;
    }
    memcpy(gather->arg, &wish.seed, sizeof wish.seed);
    if (name_pieces(gather, &wish, &e)) {
        gather_destroy(gather);
        visit_refuse(visit, &e);
        return;
    }
    gather_start(gather);
}
