#include "kernels/mapping.h"

#include "kernels/lrelu.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The mapping network was trained a hundred times slower than the rest: its weights say so. */
static const float LEARNING_RATE = 0.01f;

enum err_code mapping_init(struct mapping *self, const struct model *model, struct err *e)
{
    const struct model_facts *facts = model_facts(model);
    char name[64];
    enum err_code rc = ERR_OK;

    *self = (struct mapping){
        .z_dim = facts->z_dim,
        .c_dim = facts->c_dim,
        .w_dim = facts->w_dim,
    };
    if (facts->c_dim > 0) {
        self->embed_weight = model_tensor_find(model, "mapping.embed.weight")->data;
        self->embed_bias = model_tensor_find(model, "mapping.embed.bias")->data;
    }
    for (int k = 0; k < model_stylegan2(model)->mapping_layers; k++) {
        int in = k > 0 ? facts->w_dim : facts->z_dim + (facts->c_dim > 0 ? facts->w_dim : 0);

        snprintf(name, sizeof name, "mapping.fc%d.weight", k);
        const float *weight = model_tensor_find(model, name)->data;

        snprintf(name, sizeof name, "mapping.fc%d.bias", k);
        const float *bias = model_tensor_find(model, name)->data;

        rc = fc_init(&self->layer[k], in, facts->w_dim, weight, LEARNING_RATE / sqrtf((float)in),
                     bias, LEARNING_RATE, e);
        if (rc)
            break;
        self->layers++;
    }
    if (rc)
        mapping_release(self);
    return rc;
}

void mapping_release(struct mapping *self)
{
    for (int k = 0; k < self->layers; k++)
        fc_release(&self->layer[k]);
    *self = (struct mapping){ 0 };
}

size_t mapping_scratch_count(const struct mapping *self)
{
    /* the joined input, and two vectors that layers take turns in */
    return (size_t)self->z_dim + 3 * (size_t)self->w_dim;
}

static void normalize(float *v, int count)
{
    float sum = 0.0f;

    for (int i = 0; i < count; i++)
        sum += v[i] * v[i];
    float scale = 1.0f / sqrtf(sum / (float)count + 1e-8f);

    for (int i = 0; i < count; i++)
        v[i] *= scale;
}

void mapping_cpu(const struct mapping *self, const float *z, int class_index, float *w,
                 float *scratch)
{
    float *joined = scratch, *turn = scratch + self->z_dim + self->w_dim;
    const float *in = joined;

    memcpy(joined, z, (size_t)self->z_dim * sizeof *z);
    normalize(joined, self->z_dim);
    if (self->c_dim > 0) {
        float *y = joined + self->z_dim, scale = 1.0f / sqrtf((float)self->c_dim);

        for (int i = 0; i < self->w_dim; i++)
            y[i] = self->embed_weight[(size_t)i * self->c_dim + class_index] * scale +
                   self->embed_bias[i];
        normalize(y, self->w_dim);
    }
    for (int k = 0; k < self->layers; k++) {
        float *out = k == self->layers - 1 ? w : turn + (size_t)(k % 2) * self->w_dim;

        fc_cpu(&self->layer[k], in, out);
        for (int i = 0; i < self->w_dim; i++)
            out[i] = lrelu(out[i]);
        in = out;
    }
}
