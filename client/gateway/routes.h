/* routes -- every URL that the gateway answers, in one table. */
#ifndef GATEWAY_ROUTES_H
#define GATEWAY_ROUTES_H

#include "client/gateway/picture.h"
#include "client/gateway/server.h"

#include <stddef.h>
#include <stdio.h>

extern const struct route ROUTES[];
extern const size_t ROUTE_COUNT;

/* "GET /v1/models" a line, for --routes. */
void routes_print(FILE *out);

/* Handlers, each in a file route_*.c. */
void route_livez(struct gateway *gateway, struct visit *visit);
void route_readyz(struct gateway *gateway, struct visit *visit);
void route_metrics(struct gateway *gateway, struct visit *visit);
void route_models(struct gateway *gateway, struct visit *visit);
void route_random(struct gateway *gateway, struct visit *visit);
void route_latest(struct gateway *gateway, struct visit *visit);
void route_page(struct gateway *gateway, struct visit *visit);
void route_ladder(struct gateway *gateway, struct visit *visit);
void route_events(struct gateway *gateway, struct visit *visit);
void route_composite(struct gateway *gateway, struct visit *visit);
void route_verify(struct gateway *gateway, struct visit *visit);
void route_provenance(struct gateway *gateway, struct visit *visit);
void route_grade(struct gateway *gateway, struct visit *visit);
void route_openapi(struct gateway *gateway, struct visit *visit);
void route_site(struct gateway *gateway, struct visit *visit);
bool route_site_is_there(const struct gateway *gateway);
void route_picture(struct gateway *gateway, struct visit *visit);

/* album_options.make of a gateway. */
struct response *route_picture_ready(void *gateway, struct picture *picture);

#endif
