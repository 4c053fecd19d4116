/* What monitoring asks: whether the gateway lives, whether it takes work, its figures. */
#include "client/gateway/gateway.h"
#include "client/gateway/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer_words(struct visit *visit, unsigned status, const char *words)
{
    char text[128];
    int len = snprintf(text, sizeof text, "%s\n", words);
    struct response *response =
        response_create(status, "text/plain; charset=utf-8", text, (size_t)len);

    response_header(response, "Cache-Control", "no-store");
    visit_answer(visit, response);
}

void route_livez(struct gateway *gateway, struct visit *visit)
{
    (void)gateway;
    answer_words(visit, 200, "ok");
}

void route_readyz(struct gateway *gateway, struct visit *visit)
{
    const char *why_not = gateway->is_draining ? "draining" : catalogue_why_not(gateway->catalogue);

    answer_words(visit, why_not ? 503 : 200, why_not ? why_not : "ok");
}

void route_metrics(struct gateway *gateway, struct visit *visit)
{
    struct response *response;
    struct err e;
    char *text;
    size_t len;

    if (metrics_print(gateway->metrics, &text, &len, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    response = response_lend(200, "text/plain; version=0.0.4; charset=utf-8", text, len, free,
                             text);
    response_header(response, "Cache-Control", "no-store");
    visit_answer(visit, response);
}
