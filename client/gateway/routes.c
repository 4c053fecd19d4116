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
    { VISIT_GET, "v1/*/*", route_picture, "picture", NULL },
};
const size_t ROUTE_COUNT = sizeof ROUTES / sizeof ROUTES[0];

void routes_print(FILE *out)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        fprintf(out, "%s%s /%s\n", ROUTES[i].methods & VISIT_GET ? "GET" : "",
                ROUTES[i].methods & VISIT_POST ? "POST" : "", ROUTES[i].pattern);
}
