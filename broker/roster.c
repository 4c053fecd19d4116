#include "broker/roster.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    WORKERS_MAX = UINT16_MAX,       /* what roster.shared can count */
    SLOWER = 3,                     /* times what was expected: as slow as one that hangs */
};

struct worker *roster_find(struct roster *self, const struct address *address)
{
    struct worker *w = NULL;

    HASH_FIND(hh, self->by_peer, address->bytes, address->peer_len, w);
    return w;
}

struct worker *roster_find_name(struct roster *self, struct text name)
{
    for (struct worker *w = self->by_peer; w; w = w->hh.next)
        if (text_is(name, w->name))
            return w;
    return NULL;
}

static void set_peer(struct roster *self, struct worker *w, const struct address *address)
{
    memcpy(w->peer, address->bytes, address->peer_len);
    w->peer_len = address->peer_len;
    w->to = *address;
    HASH_ADD(hh, self->by_peer, peer, w->peer_len, w);
}

static struct service *find_service(const struct worker *w, const struct model_entry *model)
{
    for (size_t i = 0; i < w->service_count; i++)
        if (w->services[i].model == model)
            return &w->services[i];
    return NULL;
}

/* In by 1: the worker's models are counted; by -1: no longer. */
static void count_shared(struct roster *self, const struct worker *w, int by)
{
    for (size_t i = 0; i < w->service_count; i++)
        for (size_t k = 0; k < w->service_count; k++)
            self->shared[w->services[i].model->index][w->services[k].model->index] += (uint16_t)by;
}

/* What it is known by stays; a model that it no longer has is forgotten. */
static bool set_services(struct roster *self, struct worker *w, const struct models *models,
                         const struct message_ready *ready)
{
    const struct message_model *list = ready->models.items;
    struct service *services = calloc(ready->models.count + 1, sizeof *services);
    struct model_set set = { 0 };
    const struct lease *lease;
    size_t count = 0;

    if (!services)
        return false;
    for (size_t i = 0; i < ready->models.count; i++) {
        const struct model_entry *model = models_find(models, &list[i].digest);
        const struct service *known = model ? find_service(w, model) : NULL;

        if (!model || model_set_has(&set, model))
            continue;
        model_set_add(&set, model);
        services[count].model = model;
        if (known)
            services[count].cost = known->cost;
        count++;
    }
    count_shared(self, w, -1);
    free(w->services);
    w->services = services;
    w->service_count = count;
    w->models = set;
    count_shared(self, w, 1);
    DL_FOREACH(w->leases, lease) {
        struct service *service = find_service(w, lease->render->model);

        if (service)
            service->leased++;
    }
    return true;
}

static struct worker *get(struct roster *self, const struct address *address, int64_t now_ms)
{
    struct worker *w = roster_find(self, address);

    if (w)
        return w;
    w = HASH_COUNT(self->by_peer) < WORKERS_MAX ? calloc(1, sizeof *w) : NULL;
    if (!w)
        return NULL;
    w->progress_ms = now_ms;
    w->serial = ++self->last_serial;
    set_peer(self, w, address);
    return w;
}

struct worker *roster_put(struct roster *self, const struct models *models,
                          const struct address *address, const struct message_ready *ready,
                          int64_t now_ms)
{
    struct worker *w = get(self, address, now_ms);

    if (!w)
        return NULL;
    if (!set_services(self, w, models, ready)) {
        if (!w->leases)
            roster_remove(self, w);
        return NULL;
    }
    text_copy(ready->worker, w->name, sizeof w->name);
    text_copy(ready->numerics_class, w->numerics_class, sizeof w->numerics_class);
    text_copy(ready->encoder, w->encoder, sizeof w->encoder);
    text_copy(ready->device, w->device, sizeof w->device);
    text_copy(ready->version, w->version, sizeof w->version);
    w->run = ready->run;
    w->credit = (size_t)ready->credit;
    w->gone = false;
    w->heard_ms = now_ms;
    return w;
}

void roster_remove(struct roster *self, struct worker *worker)
{
    HASH_DEL(self->by_peer, worker);
    count_shared(self, worker, -1);
    free(worker->services);
    free(worker);
}

void roster_release(struct roster *self)
{
    struct worker *w, *next;

    HASH_ITER(hh, self->by_peer, w, next)
        roster_remove(self, w);
}

bool worker_has_model(const struct worker *self, const struct model_entry *model)
{
    return model_set_has(&self->models, model);
}

size_t worker_room(const struct worker *self, int level)
{
    if (self->stalled || self->gone || self->credit == 0 || self->leased > self->credit ||
        self->handbacks > ROSTER_HANDBACKS_MAX)
        return 0;
    if (self->leased == self->credit)
        return level == MESSAGE_HIGH;
    return self->credit - self->leased;
}

void worker_take(struct worker *self, struct lease *lease)
{
    struct service *service = find_service(self, lease->render->model);

    DL_APPEND(self->leases, lease);
    self->leased++;
    self->leased_us += lease->cost_us;
    if (service)
        service->leased++;
}

void worker_give(struct worker *self, struct lease *lease)
{
    struct service *service = find_service(self, lease->render->model);

    DL_DELETE(self->leases, lease);
    self->leased--;
    self->leased_us -= lease->cost_us;
    if (service)
        service->leased--;
}

bool roster_has_other(const struct roster *roster, const struct worker *self,
                      const struct model_entry *model)
{
    for (const struct worker *w = roster->by_peer; w; w = w->hh.next)
        if (w != self && w->credit > 0 && !w->stalled && !w->gone &&
            worker_has_model(w, model))
            return true;
    return false;
}

bool roster_has_model(const struct roster *self, const struct model_entry *model)
{
    return self->shared[model->index][model->index] > 0;
}

bool roster_can_store(const struct roster *self)
{
    for (const struct worker *w = self->by_peer; w; w = w->hh.next)
        if (!w->ledger_down)
            return true;
    return self->by_peer == NULL;
}

/* ---- cost ---- */

void roster_learn(struct roster *self, struct worker *worker, const struct model_entry *model,
                  int64_t render_us, int64_t batch, int64_t now_ms)
{
    struct service *service = find_service(worker, model);

    if (service)
        cost_learn(&service->cost, render_us, batch, now_ms);
    cost_learn(&self->cost[model->index], render_us, batch, now_ms);
}

void roster_learn_late(struct roster *self, struct worker *worker, const struct model_entry *model,
                       int64_t render_us, int64_t batch, int64_t now_ms)
{
    struct service *service = find_service(worker, model);

    if (service && render_us / SLOWER > cost_predict_us(&service->cost, batch))
        service->cost = (struct cost){ 0 };
    roster_learn(self, worker, model, render_us, batch, now_ms);
}

const struct cost *roster_cost(const struct roster *self, const struct worker *worker,
                               const struct model_entry *model)
{
    const struct service *service = worker ? find_service(worker, model) : NULL;

    return service && cost_is_known(&service->cost) ? &service->cost : &self->cost[model->index];
}

int64_t roster_picture_us(const struct roster *self, const struct worker *worker,
                          const struct model_entry *model)
{
    const struct cost *cost = roster_cost(self, worker, model);

    return cost_is_known(cost) ? cost_picture_us(cost) : COST_UNKNOWN_US;
}

int64_t roster_held_us(const struct roster *self, const struct worker *worker)
{
    int64_t held_us = 0;

    for (size_t i = 0; i < worker->service_count; i++) {
        const struct service *s = &worker->services[i];
        const struct cost *cost = roster_cost(self, worker, s->model);
        int64_t batch = cost->batch_max;

        if (s->leased == 0)
            continue;
        if (!cost_is_known(cost))
            return 0;
        held_us += cost_predict_us(cost, (int64_t)s->leased > batch ? (int64_t)s->leased : batch);
    }
    return held_us;
}
