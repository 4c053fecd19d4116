#include "kernels/fc.h"

#include "kernels/floats.h"
#include "kernels/simd.h"

#include <stddef.h>
#include <stdlib.h>

enum err_code fc_init(struct fc *self, int in, int out, const float *weight, float weight_scale,
                      const float *bias, float bias_scale, struct err *e)
{
    enum err_code rc;

    *self = (struct fc){ .in = in, .out = out };
    rc = floats_create((size_t)in, (size_t)out, 1, &self->weight, e);
    if (!rc)
        rc = floats_create((size_t)out, 1, 1, &self->bias, e);
    if (rc) {
        fc_release(self);
        return rc;
    }
    for (int o = 0; o < out; o++) {
        self->bias[o] = bias ? bias[o] * bias_scale : bias_scale;
        for (int i = 0; i < in; i++)
            self->weight[(size_t)i * out + o] = weight[(size_t)o * in + i] * weight_scale;
    }
    return ERR_OK;
}

void fc_release(struct fc *self)
{
    free(self->weight);
    free(self->bias);
    *self = (struct fc){ 0 };
}

SIMD_CLONES
void fc_cpu(const struct fc *self, const float *x, float *restrict y)
{
    int out = self->out;

    for (int o = 0; o < out; o++)
        y[o] = 0.0f;
    for (int i = 0; i < self->in; i++) {
        const float *weight = &self->weight[(size_t)i * out];

        for (int o = 0; o < out; o++)
            y[o] += x[i] * weight[o];
    }
    for (int o = 0; o < out; o++)
        y[o] += self->bias[o];
}
