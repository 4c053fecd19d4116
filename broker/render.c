#include "broker/render.h"

#include "broker/block.h"
#include "broker/hashed.h"
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
    struct lease *l = NULL;

    HASH_FIND(hh, self->by_lease, &lease, sizeof lease, l);
    return l ? l->render : NULL;
}

static bool pack(struct renders *self, struct render *r, const struct recipe *recipe)
{
    r->seed = recipe->seed;
    r->psi = recipe->psi;
    r->cutoff = recipe->cutoff;
    r->class_index = recipe->class_index;
    r->noise = (uint8_t)recipe->noise;
    r->noise_seed = recipe->noise_seed;
    r->width = (uint16_t)recipe->width;
    r->height = (uint16_t)recipe->height;
    r->quality = (uint8_t)recipe->quality;
    r->mark = (uint8_t)recipe->mark;
    r->rev = recipe->rev;
    if (recipe->transform.kind == RECIPE_TRANSFORM_NONE)
        return true;
    if (!(r->transform = malloc(sizeof *r->transform)))
        return false;
    *r->transform = recipe->transform;
    self->transforms++;
    return true;
}

struct recipe render_recipe(const struct render *r)
{
    struct recipe recipe = {
        .model = r->model->digest, .seed = r->seed, .psi = r->psi, .cutoff = r->cutoff,
        .class_index = r->class_index, .noise = (enum recipe_noise)r->noise,
        .noise_seed = r->noise_seed, .width = r->width, .height = r->height,
        .quality = r->quality, .mark = (enum recipe_mark)r->mark, .rev = r->rev,
    };

    if (r->transform)
        recipe.transform = *r->transform;
    return recipe;
}

struct render *renders_add(struct renders *self, const struct recipe *recipe,
                           const struct model_entry *model, const struct digest *key,
                           int64_t now_ms)
{
    struct render *r = calloc(1, sizeof *r);

    if (!r || !pack(self, r, recipe)) {
        free(r);
        return NULL;
    }
    r->key = *key;
    r->model = model;
    r->since_ms = now_ms;
    self->count[r->state]++;
    DL_APPEND(self->lookups, r);
    HASH_ADD(hh, self->by_key, key, sizeof r->key, r);
    return r;
}

static void leave_state(struct renders *self, struct render *render)
{
    self->count[render->state]--;
    if (render->state == RENDER_LOOKUP)
        DL_DELETE(self->lookups, render);
}

bool render_is_wanted(const struct render *render)
{
    const struct waiter *w;

    DL_FOREACH(render->waiters, w)
        if (!w->only)
            return true;
    return false;
}

int render_level(const struct render *render)
{
    int level = MESSAGE_LOW;
    const struct waiter *w;

    DL_FOREACH(render->waiters, w)
        level = w->level < level ? w->level : level;
    return level;
}

void renders_end(struct renders *self, struct render *render)
{
    if (render->lease)
        renders_clear_lease(self, render);
    leave_state(self, render);
    HASH_DELETE(hh, self->by_key, render);
    self->transforms -= render->transform != NULL;
    free(render->transform);
    free(render);
}

void renders_set_state(struct renders *self, struct render *render, enum render_state state,
                       int64_t now_ms)
{
    leave_state(self, render);
    self->count[state]++;
    if (state == RENDER_LOOKUP)
        DL_APPEND(self->lookups, render);
    render->state = state;
    render->since_ms = now_ms;
}

bool renders_set_lease(struct renders *self, struct render *render, struct worker *worker,
                       int64_t number, int64_t cost_us)
{
    struct lease *lease = calloc(1, sizeof *lease);

    if (!lease)
        return false;
    lease->number = number;
    lease->render = render;
    lease->worker = worker;
    lease->cost_us = cost_us;
    render->lease = lease;
    worker_take(worker, lease);
    HASH_ADD(hh, self->by_lease, number, sizeof lease->number, lease);
    return true;
}

void renders_clear_lease(struct renders *self, struct render *render)
{
    struct lease *lease = render->lease;

    HASH_DELETE(hh, self->by_lease, lease);
    worker_give(lease->worker, lease);
    render->last_lease = lease->number;
    render->lease = NULL;
    free(lease);
}

size_t render_bytes(void)
{
    return block_bytes(sizeof(struct render)) + BLOCK_PLACE;
}

size_t renders_bytes(const struct renders *self)
{
    return HASH_COUNT(self->by_key) * render_bytes() +
           self->transforms * block_bytes(sizeof(struct recipe_transform));
}

void renders_release(struct renders *self)
{
    struct render *r, *next;

    HASH_ITER(hh, self->by_key, r, next)
        renders_end(self, r);
}
