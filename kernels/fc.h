/* fc -- a fully connected layer on the CPU.
 *     y[o] = (sum over i, ascending, of x[i] * weight[i,o], fused) + bias[o]
 * Source: StyleGAN2-ADA FullyConnectedLayer; the equalised scale is multiplied into the weights
 * once, when the layer is prepared, as that code does on every call.
 * The weights are kept transposed, so that vectors run over outputs and no sum is split. */
#ifndef KERNELS_FC_H
#define KERNELS_FC_H

#include "proto/err.h"

#include <stdbool.h>

/* Where a model has a layer's numbers: weight(o,i) * weight_gain, bias[o] * bias_gain. */
struct fc_weights {
    int in, out;
    const float *weight;            /* [out,in], or [in,out] when transposed */
    bool transposed;
    float weight_gain;
    const float *bias;              /* [out]; NULL: all 1 */
    float bias_gain;
};

struct fc {
    int in, out;
    float *weight;                  /* [in,out], scaled */
    float *bias;                    /* [out], scaled */
};

/* Nothing of *weights is needed afterwards. ERR_NOMEM. */
enum err_code fc_init(struct fc *self, const struct fc_weights *weights, struct err *e);
void fc_release(struct fc *self);

/* x [in], y [out]; they do not overlap. */
void fc_cpu(const struct fc *self, const float *x, float *y);

#endif
