#include "client/gateway/routes.h"

#include "client/gateway/gateway.h"

/* The first that fits counts. */
const struct route ROUTES[] = {
    { VISIT_GET, "livez", route_livez, "livez", NULL },
    { VISIT_GET, "readyz", route_readyz, "readyz", NULL },
    { VISIT_GET, "metrics", route_metrics, "metrics", NULL },
    { VISIT_GET, "v1/models", route_models, "models", NULL },
    { VISIT_GET, "v1/*/random.jpg", route_random, "random", NULL },
    { VISIT_GET, "v1/*/latest.jpg", route_latest, "latest", NULL },
    { VISIT_GET, "v1/openapi.json", route_openapi, "openapi", NULL },
    { VISIT_GET, "v1/composite", route_composite, "composite", NULL },
    { VISIT_POST, "v1/verify", route_verify, "verify", NULL },
    { VISIT_GET, "v1/provenance", route_provenance, "provenance", NULL },
    { VISIT_POST, "v1/provenance", route_grade, "grade", NULL },
    { VISIT_GET, "v1/*/page", route_page, "page", NULL },
    { VISIT_GET, "v1/*/ladder", route_ladder, "ladder", NULL },
    { VISIT_GET, "v1/*/events", route_events, "events", NULL },
    { VISIT_GET, "v1/*/*", route_picture, "picture", NULL },
    { VISIT_GET, "**", route_site, "site", route_site_is_there },
};
const size_t ROUTE_COUNT = sizeof ROUTES / sizeof ROUTES[0];

void routes_print(FILE *out)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        fprintf(out, "%s%s /%s\n", ROUTES[i].methods & VISIT_GET ? "GET" : "",
                ROUTES[i].methods & VISIT_POST ? "POST" : "", ROUTES[i].pattern);
}
