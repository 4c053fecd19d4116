#include "kernels/mapping.h"

#include "kernels/lrelu.h"

#include <math.h>
#include <string.h>

enum err_code mapping_init(struct mapping *self, const struct plan_mapping *plan, struct err *e)
{
    enum err_code rc = ERR_OK;

    *self = (struct mapping){
        .z_dim = plan->z_dim,
        .c_dim = plan->c_dim,
        .w_dim = plan->w_dim,
        .joint = plan->joint,
        .gain = plan->gain,
    };
    if (plan->c_dim > 0)
        rc = fc_init(&self->embed, &plan->embed, e);
    for (int k = 0; !rc && k < plan->layers; k++) {
        rc = fc_init(&self->layer[k], &plan->layer[k], e);
        if (!rc)
            self->layers++;
    }
    if (rc)
        mapping_release(self);
    return rc;
}

void mapping_release(struct mapping *self)
{
    fc_release(&self->embed);
    for (int k = 0; k < self->layers; k++)
        fc_release(&self->layer[k]);
    *self = (struct mapping){ 0 };
}

static size_t widest(const struct mapping *self)
{
    size_t most = 0;

    for (int k = 0; k < self->layers; k++)
        most = (size_t)self->layer[k].out > most ? (size_t)self->layer[k].out : most;
    return most;
}

size_t mapping_scratch_count(const struct mapping *self)
{
    /* the joined input, and two vectors that layers take turns in */
    return (size_t)self->z_dim + (size_t)self->embed.out + 2 * widest(self);
}

static void normalize(float *v, int count)
{
    float sum = 0.0f;

    for (int i = 0; i < count; i++)
        sum = fmaf(v[i], v[i], sum);
    float scale = 1.0f / sqrtf(sum / (float)count + 1e-8f);

    for (int i = 0; i < count; i++)
        v[i] *= scale;
}

void mapping_cpu(const struct mapping *self, const float *z, int class_index, float *w,
                 float *scratch)
{
    int labels = self->embed.out;
    float *y = scratch + self->z_dim, *turn = y + labels;
    const float *in = scratch;

    memcpy(scratch, z, (size_t)self->z_dim * sizeof *z);
    for (int i = 0; i < labels; i++)
        y[i] = self->embed.weight[(size_t)class_index * (size_t)labels + (size_t)i] +
               self->embed.bias[i];
    if (self->joint) {
        normalize(scratch, self->z_dim + labels);
    } else {
        normalize(scratch, self->z_dim);
        if (labels > 0)
            normalize(y, labels);
    }
    for (int k = 0; k < self->layers; k++) {
        float *out = k == self->layers - 1 ? w : turn + (size_t)(k % 2) * widest(self);

        fc_cpu(&self->layer[k], in, out);
        for (int i = 0; i < self->layer[k].out; i++)
            out[i] = lrelu(out[i], self->gain);
        in = out;
    }
}
