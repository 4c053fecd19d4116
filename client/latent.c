#include "client/latent.h"

#include "client/command.h"
#include "kernels/mapping.h"
#include "kernels/model.h"
#include "kernels/plan.h"
#include "kernels/seed.h"
#include "kernels/truncate.h"

#include <stdlib.h>
#include <string.h>

struct latent {
    struct model *model;
    struct mapping mapping;
    const float *w_avg;             /* [w_dim], the model's */
    float *z, *scratch, *ws;
};

static enum err_code prepare(struct latent *self, struct err *e)
{
    const struct model_facts *facts = model_facts(self->model);
    struct plan *plan = malloc(sizeof *plan);    /* its layers are too many for a stack */
    enum err_code rc;

    if (!plan)
        return err_set(e, ERR_NOMEM, "no memory for a mapping network");
    rc = plan_create(self->model, plan, e);
    if (!rc) {
        self->w_avg = plan->mapping.w_avg;
        rc = mapping_init(&self->mapping, &plan->mapping, e);
    }
    free(plan);
    if (rc)
        return rc;
    self->z = malloc((size_t)facts->z_dim * sizeof *self->z);
    self->scratch = malloc(mapping_scratch_count(&self->mapping) * sizeof *self->scratch);
    self->ws = malloc((size_t)facts->num_ws * (size_t)facts->w_dim * sizeof *self->ws);
    return self->z && self->scratch && self->ws
               ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for w");
}

enum err_code latent_create(const char *path, struct latent **out, struct err *e)
{
    struct latent *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a mapping network");
    rc = model_open(path, &self->model, e);
    if (!rc)
        rc = prepare(self, e);
    if (rc) {
        latent_destroy(&self);
        return command_blame_file(e);
    }
    *out = self;
    return ERR_OK;
}

void latent_destroy(struct latent **self)
{
    struct latent *s = *self;

    if (!s)
        return;
    mapping_release(&s->mapping);
    model_destroy(&s->model);
    free(s->z);
    free(s->scratch);
    free(s->ws);
    free(s);
    *self = NULL;
}

const struct model_facts *latent_facts(const struct latent *self)
{
    return model_facts(self->model);
}

const float *latent_compute(struct latent *self, const struct recipe *recipe)
{
    const struct model_facts *facts = model_facts(self->model);
    size_t w_dim = (size_t)facts->w_dim;
    struct seed_stream stream;

    seed_init(&stream, recipe->seed);
    for (int i = 0; i < facts->z_dim; i++)
        self->z[i] = (float)seed_normal(&stream);
    mapping_cpu(&self->mapping, self->z, recipe->class_index, self->ws, self->scratch);
    for (int row = 1; row < facts->num_ws; row++)
        memcpy(self->ws + (size_t)row * w_dim, self->ws, w_dim * sizeof *self->ws);
    if (recipe->psi != 1000000)
        truncate_cpu(self->ws, self->w_avg,
                     (struct truncate_shape){ .batch = 1, .num_ws = facts->num_ws,
                                              .w_dim = facts->w_dim },
                     recipe_psi_float(recipe->psi), recipe->cutoff);
    return self->ws;
}
