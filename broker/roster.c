#include "broker/roster.h"

#include <stdlib.h>
#include <string.h>

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

struct worker *roster_put(struct roster *self, const struct address *address,
                          const struct message_ready *ready, int64_t now_ms)
{
    const struct message_model *models = ready->models.items;
    struct digest *digests = calloc(ready->models.count + 1, sizeof *digests);
    struct worker *w = roster_find(self, address);

    if (!digests)
        return NULL;
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w) {
            free(digests);
            return NULL;
        }
        w->progress_ms = now_ms;
        w->serial = ++self->last_serial;
        set_peer(self, w, address);
    }
    for (size_t i = 0; i < ready->models.count; i++)
        digests[i] = models[i].digest;
    free(w->models);
    w->models = digests;
    w->model_count = ready->models.count;
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
    free(worker->models);
    free(worker);
}

void roster_release(struct roster *self)
{
    struct worker *w, *next;

    HASH_ITER(hh, self->by_peer, w, next)
        roster_remove(self, w);
}

bool worker_has_model(const struct worker *self, const struct digest *model)
{
    for (size_t i = 0; i < self->model_count; i++)
        if (digest_equal(&self->models[i], model))
            return true;
    return false;
}

size_t worker_room(const struct worker *self)
{
    if (self->stalled || self->gone || self->leased >= self->credit)
        return 0;
    return self->credit - self->leased;
}

bool roster_has_other(const struct roster *roster, const struct worker *self,
                      const struct digest *model)
{
    for (const struct worker *w = roster->by_peer; w; w = w->hh.next)
        if (w != self && w->credit > 0 && !w->stalled && !w->gone &&
            worker_has_model(w, model))
            return true;
    return false;
}

bool roster_has_model(const struct roster *self, const struct digest *model)
{
    for (const struct worker *w = self->by_peer; w; w = w->hh.next)
        if (worker_has_model(w, model))
            return true;
    return false;
}

bool roster_can_store(const struct roster *self)
{
    for (const struct worker *w = self->by_peer; w; w = w->hh.next)
        if (!w->ledger_down)
            return true;
    return self->by_peer == NULL;
}
