#include "tests/gpu/rig.h"

#include "tests/kit_arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_PIXELS = 32 };

static enum err_code take_memory(struct rig *self, struct err *e)
{
    size_t n = (size_t)self->max_batch;

    self->z = malloc(n * (size_t)self->facts->z_dim * sizeof *self->z);
    self->ws = malloc(n * self->ws_values * sizeof *self->ws);
    self->image = malloc(n * self->values * sizeof *self->image);
    self->rgb = malloc(n * self->values);
    if (!self->z || !self->ws || !self->image || !self->rgb)
        return err_set(e, ERR_NOMEM, "no memory for a batch of %d", self->max_batch);
    return ERR_OK;
}

enum err_code rig_open(struct rig *self, struct model *model, enum precision precision,
                       int max_batch, struct err *e)
{
    const struct backend_options options = { .precision = precision, .threads = 1 };
    enum err_code rc;

    *self = (struct rig){ .model = model, .max_batch = max_batch };
    if (!model)
        return e->code;
    self->facts = model_facts(model);
    self->values = (size_t)self->facts->width * (size_t)self->facts->height * 3;
    self->ws_values = (size_t)self->facts->num_ws * (size_t)self->facts->w_dim;
    rc = take_memory(self, e);
    if (rc == ERR_OK)
        rc = seedpress_backend.open(&options, &self->engine, e);
    if (rc == ERR_OK)
        rc = seedpress_backend.load(self->engine, model, max_batch, &self->net, e);
    if (rc != ERR_OK)
        rig_close(self);
    return rc;
}

void rig_close(struct rig *self)
{
    if (self->net)
        seedpress_backend.unload(&self->net);
    if (self->engine)
        seedpress_backend.close(&self->engine);
    if (self->model)
        model_destroy(&self->model);
    free(self->z);
    free(self->ws);
    free(self->image);
    free(self->rgb);
    *self = (struct rig){ 0 };
}

enum err_code rig_render(struct rig *self, const struct sample *samples, int count, struct err *e)
{
    struct capture capture = { .z = self->z, .ws = self->ws, .image = self->image };
    size_t n = (size_t)self->max_batch;

    /* What a render does not write must show. */
    memset(self->z, 0xff, n * (size_t)self->facts->z_dim * sizeof *self->z);
    memset(self->ws, 0xff, n * self->ws_values * sizeof *self->ws);
    memset(self->image, 0xff, n * self->values * sizeof *self->image);
    memset(self->rgb, 0xa5, n * self->values);
    return seedpress_backend.render(self->net, samples, count, self->rgb, &capture, e);
}

static struct model *random_model(int family, unsigned seed, struct err *e)
{
    static const enum model_arch FAMILY[] = { MODEL_STYLEGAN1, MODEL_STYLEGAN2, MODEL_STYLEGAN3 };
    static struct kit_arch arch;
    struct kit_random random = { .state = seed };
    struct model *model = NULL;
    size_t len;

    do
        kit_arch_random(&arch, FAMILY[family - 1], RANDOM_PIXELS, true, &random);
    while (arch.tensors == 0 || !arch.supported);
    uint8_t *file = kit_arch_bytes(&arch, &(struct kit_weights){ .scale = 1, .seed = seed }, &len);

    model_parse(file, len, &model, e);
    free(file);
    return model;
}

struct model *rig_model(const char *name, struct err *e)
{
    struct model *model = NULL;
    unsigned seed;
    int family;

    if (sscanf(name, "random-%d-%u", &family, &seed) == 2 && family >= 1 && family <= 3)
        return random_model(family, seed, e);
    model_open(name, &model, e);
    return model;
}

void rig_samples(struct sample *out, int count, const struct model_facts *facts)
{
    static const float PSI[] = { 1.0f, 0.7f, 0.0f, -0.7f, 0.5f };
    static const enum recipe_noise NOISE[] = { RECIPE_NOISE_CONST, RECIPE_NOISE_NONE,
                                               RECIPE_NOISE_CONST, RECIPE_NOISE_RANDOM,
                                               RECIPE_NOISE_STREAM };

    for (int i = 0; i < count; i++) {
        out[i] = (struct sample){
            .seed = (uint32_t)i * 2654435761u,
            .psi = PSI[i % 5],
            .cutoff = i % 3 == 0 ? facts->num_ws / 2 : facts->num_ws,
            .class_index = facts->c_dim ? i % facts->c_dim : -1,
            .noise = RECIPE_NOISE_NONE,
            .noise_seed = (uint32_t)i,
        };
        if (facts->noise_modes >> NOISE[i % 5] & 1)
            out[i].noise = NOISE[i % 5];
        if (facts->has_transform && i % 3 == 1)
            out[i].transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR,
                                                          .tx = 10000 * i,
                                                          .degrees = 7000000 * i };
    }
}
