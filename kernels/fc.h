/* fc -- a fully connected layer on the CPU.
 *     y[o] = (sum over i, ascending, of x[i] * weight[i,o]) + bias[o]
 * Source: StyleGAN2-ADA FullyConnectedLayer; the equalised scale is multiplied into the weights
 * once, when the layer is prepared, as that code does on every call.
 * The weights are kept transposed, so that vectors run over outputs and no sum is split. */
#ifndef KERNELS_FC_H
#define KERNELS_FC_H

#include "proto/err.h"

struct fc {
    int in, out;
    float *weight;                  /* [in, out], scaled */
    float *bias;                    /* [out], scaled */
};

/* weight [out, in] and bias [out] as a model stores them; both are copied. bias NULL: all
 * bias_scale. ERR_NOMEM. */
enum err_code fc_init(struct fc *self, int in, int out, const float *weight, float weight_scale,
                      const float *bias, float bias_scale, struct err *e);
void fc_release(struct fc *self);

/* x [in], y [out]; they do not overlap. */
void fc_cpu(const struct fc *self, const float *x, float *y);

#endif
