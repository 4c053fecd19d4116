#include "kernels/fc.h"

#include "kernels/floats.h"
#include "kernels/simd.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

enum err_code fc_init(struct fc *self, const struct fc_weights *w, struct err *e)
{
    size_t in = (size_t)w->in, out = (size_t)w->out;
    enum err_code rc;

    *self = (struct fc){ .in = w->in, .out = w->out };
    rc = floats_create(in, out, 1, &self->weight, e);
    if (!rc)
        rc = floats_create(out, 1, 1, &self->bias, e);
    if (rc) {
        fc_release(self);
        return rc;
    }
    for (size_t o = 0; o < out; o++) {
        self->bias[o] = w->bias ? w->bias[o] * w->bias_gain : w->bias_gain;
        for (size_t i = 0; i < in; i++)
            self->weight[i * out + o] =
                w->weight[w->transposed ? i * out + o : o * in + i] * w->weight_gain;
    }
    return ERR_OK;
}

void fc_release(struct fc *self)
{
    free(self->weight);
    free(self->bias);
    *self = (struct fc){ 0 };
}

SIMD_ANY add_input_any(float *restrict y, const float *restrict weight, float x, int out)
{
    for (int o = 0; o < out; o++)
        y[o] = fmaf(x, weight[o], y[o]);
}
SIMD_VERSIONS(add_input, (float *restrict y, const float *restrict weight, float x, int out),
              (y, weight, x, out))

void fc_cpu(const struct fc *self, const float *x, float *y)
{
    for (int o = 0; o < self->out; o++)
        y[o] = 0.0f;
    for (int i = 0; i < self->in; i++)
        add_input(y, self->weight + (size_t)i * (size_t)self->out, x[i], self->out);
    for (int o = 0; o < self->out; o++)
        y[o] += self->bias[o];
}
