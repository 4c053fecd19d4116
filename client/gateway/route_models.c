/* GET /v1/models: what the broker knows, and how many workers draw it now. */
#include "client/gateway/gateway.h"
#include "client/gateway/routes.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

static void add_model(struct cJSON *list, const struct seedpress_model *m)
{
    struct cJSON *o = cJSON_CreateObject();
    char digest8[PERMALINK_DIGEST8 + 1], url[96];

    snprintf(digest8, sizeof digest8, "%.8s", m->digest);
    snprintf(url, sizeof url, "/v1/%s@%s/", m->name, digest8);
    cJSON_AddStringToObject(o, "name", m->name);
    cJSON_AddStringToObject(o, "digest", m->digest);
    cJSON_AddStringToObject(o, "digest8", digest8);
    cJSON_AddStringToObject(o, "arch", m->arch);
    cJSON_AddStringToObject(o, "licence", m->licence);
    cJSON_AddNumberToObject(o, "width", m->width);
    cJSON_AddNumberToObject(o, "height", m->height);
    cJSON_AddNumberToObject(o, "classes", m->c_dim);
    cJSON_AddNumberToObject(o, "workers", (double)m->workers);
    cJSON_AddStringToObject(o, "url", url);
    cJSON_AddItemToArray(list, o);
}

void route_models(struct gateway *gateway, struct visit *visit)
{
    struct seedpress_model *models = malloc(CATALOGUE_MAX * sizeof *models);
    struct cJSON *top, *list;
    struct response *response;
    size_t count;
    struct err e;

    if (url_check_params(visit_url(visit), NULL, 0, &e)) {
        visit_refuse(visit, &e);
    } else if (!models) {
        visit_answer(visit, NULL);
    } else if (catalogue_list(gateway->catalogue, models, CATALOGUE_MAX, &count, &e)) {
        visit_refuse(visit, &e);
    } else {
        top = cJSON_CreateObject();
        list = cJSON_AddArrayToObject(top, "models");
        for (size_t i = 0; i < count; i++)
            if (*models[i].name)     /* without a name it has no URL */
                add_model(list, &models[i]);
        response = response_json(200, top);
        response_header(response, "Cache-Control", "public, max-age=5");
        visit_answer(visit, response);
    }
    free(models);
}
