#include "client/gateway/gateway.h"

#include "base/clock.h"
#include "client/gateway/tally.h"

enum err_code gateway_find_model(struct gateway *self, const char *segment,
                                 struct seedpress_model *out, struct err *e)
{
    char name[65], digest[65];
    enum err_code rc = permalink_read_model(segment, name, digest, e);

    return rc ? rc : catalogue_find(self->catalogue, name, digest, out, e);
}

bool gateway_admit(struct gateway *self, struct visit *visit)
{
    struct seedpress_error error;
    struct err e;
    int retry_ms;

    if (rates_take(self->rates, visit_visitor(visit), clock_ms(), &retry_ms))
        return true;
    metrics_add(self->metrics, TALLY_LIMITED, 0, 1);
    err_set(&e, ERR_OVERLOADED, "you ask too often; ask again in %d ms", retry_ms);
    e.retry_after_ms = retry_ms;
    response_error_of(&e, &error);
    visit_answer(visit, response_error_as(429, &error));
    return false;
}

bool gateway_post(struct gateway *self, struct visit *visit, struct agent_task *task)
{
    struct err e;

    visit_suspend(visit);
    if (agent_post(self->agent, task))
        return true;
    if (self->is_draining)
        err_set(&e, ERR_RETRY, "the gateway is going away");
    else
        err_set(&e, ERR_OVERLOADED, "too many requests wait for the broker");
    e.retry_after_ms = 1000;
    visit_refuse(visit, &e);
    return false;
}
