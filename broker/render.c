#include "broker/render.h"

#include "broker/roster.h"

#include <stdlib.h>
#include <utlist.h>

struct render *renders_find(struct renders *self, const struct digest *key)
{
    struct render *r = NULL;

    HASH_FIND(hh, self->by_key, key, sizeof *key, r);
    return r;
}

struct render *renders_find_lease(struct renders *self, int64_t lease)
{
    struct render *r = NULL;

    HASH_FIND(lease_hh, self->by_lease, &lease, sizeof lease, r);
    return r;
}

struct render *renders_add(struct renders *self, const struct recipe *recipe,
                           const struct digest *key, int64_t now_ms)
{
    struct render *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->key = *key;
    r->recipe = *recipe;
    r->since_ms = now_ms;
    self->count[r->state]++;
    DL_APPEND2(self->lookups, r, lookup_prev, lookup_next);
    HASH_ADD(hh, self->by_key, key, sizeof r->key, r);
    return r;
}

static void leave_state(struct renders *self, struct render *render)
{
    self->count[render->state]--;
    if (render->state == RENDER_LOOKUP)
        DL_DELETE2(self->lookups, render, lookup_prev, lookup_next);
}

bool render_is_wanted(const struct render *render)
{
    const struct waiter *w;

    DL_FOREACH(render->waiters, w)
        if (!w->only)
            return true;
    return false;
}

void renders_end(struct renders *self, struct render *render)
{
    if (render->lease)
        renders_clear_lease(self, render);
    leave_state(self, render);
    HASH_DELETE(hh, self->by_key, render);
    free(render);
}

void renders_set_state(struct renders *self, struct render *render, enum render_state state,
                       int64_t now_ms)
{
    leave_state(self, render);
    self->count[state]++;
    if (state == RENDER_LOOKUP)
        DL_APPEND2(self->lookups, render, lookup_prev, lookup_next);
    render->state = state;
    render->since_ms = now_ms;
}

void renders_set_lease(struct renders *self, struct render *render, struct worker *worker,
                       int64_t lease)
{
    render->lease = lease;
    render->worker = worker;
    worker->leased++;
    DL_APPEND2(worker->leases, render, lease_prev, lease_next);
    HASH_ADD(lease_hh, self->by_lease, lease, sizeof render->lease, render);
}

void renders_clear_lease(struct renders *self, struct render *render)
{
    struct worker *worker = render->worker;

    HASH_DELETE(lease_hh, self->by_lease, render);
    DL_DELETE2(worker->leases, render, lease_prev, lease_next);
    worker->leased--;
    render->last_lease = render->lease;
    render->worker = NULL;
    render->lease = 0;
    render->recalled = false;
}

void renders_release(struct renders *self)
{
    struct render *r, *next;

    HASH_ITER(hh, self->by_key, r, next)
        renders_end(self, r);
}
