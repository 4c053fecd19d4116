#include "client/again.h"

#include <string.h>

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
