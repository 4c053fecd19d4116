#include "client/again.h"

#include "client/answer.h"

#include <string.h>

enum { LOOK_UP_MS = 200 };

void again_init(struct again *self, const struct recipe *recipe)
{
    struct seedpress_request *r = &self->request;
    const struct recipe_transform *transform = &recipe->transform;

    memcpy(self->model, digest_hex(&recipe->model).text, sizeof self->model);
    seedpress_request_init(r);
    r->model = self->model;
    r->seed = recipe->seed;
    r->psi = recipe->psi / 1e6;
    r->cutoff = recipe->cutoff;
    r->class_index = recipe->class_index;
    r->noise_mode = (int)recipe->noise;
    if (recipe->noise == RECIPE_NOISE_RANDOM)
        r->noise_seed = recipe->noise_seed;
    if (transform->kind == RECIPE_TRANSFORM_TR) {
        r->translate[0] = (double)transform->tx / 1e6;
        r->translate[1] = (double)transform->ty / 1e6;
        r->rotate = (double)transform->degrees / 1e6;
    } else if (transform->kind == RECIPE_TRANSFORM_MATRIX) {
        for (int i = 0; i < 9; i++)
            self->transform[i] = transform->m[i];
        r->transform = self->transform;
    }
    r->quality = recipe->quality;
    r->mark = (int)recipe->mark;
    r->rev = recipe->rev;
}

static enum seedpress_code give_up(struct seedpress *sp, int64_t id, struct seedpress_error *error)
{
    struct err e;

    seedpress_cancel(sp, id, NULL);
    err_set(&e, ERR_CANCELLED, "interrupted before the picture came");
    answer_own_error(&e, error);
    return SEEDPRESS_CANCELLED;
}

enum seedpress_code again_generate(struct seedpress *sp, const struct seedpress_request *request,
                                   again_go_on *go_on, void *arg, struct seedpress_image *image,
                                   struct seedpress_error *error)
{
    struct seedpress_event event;
    enum seedpress_code rc;
    int64_t id;

    if (!go_on)
        return seedpress_generate(sp, request, image, error);
    rc = seedpress_submit(sp, request, &id, error);
    while (!rc) {
        if (!go_on(arg))
            return give_up(sp, id, error);
        /* What is left of an earlier one has another id. */
        if (!seedpress_next(sp, LOOK_UP_MS, &event) || event.id != id)
            continue;
        if (event.kind == SEEDPRESS_EVENT_IMAGE) {
            *image = event.image;
            return SEEDPRESS_OK;
        }
        if (error)
            *error = event.error;
        return (enum seedpress_code)event.error.code;
    }
    return rc;
}
