/* mapping -- the mapping network: from z (and a class) to w.
 *     v = n2(z)                            unconditional
 *     v = [n2(z) ; n2(E[:,class] / sqrt(c_dim) + e)]    conditional; each part normalised by itself
 *     v = lrelu(v . W_k^T * 0.01 / sqrt(inputs) + 0.01 * b_k)    for each layer
 *     n2(v) = v / sqrt(mean(v^2) + 1e-8)
 * Source: StyleGAN2-ADA MappingNetwork.forward (also that of StyleGAN 3). */
#ifndef KERNELS_MAPPING_H
#define KERNELS_MAPPING_H

#include "kernels/fc.h"
#include "kernels/model.h"
#include "proto/err.h"

enum { MAPPING_LAYERS_MAX = ARCH_MAPPING_MAX };

struct mapping {
    int z_dim, c_dim, w_dim, layers;
    const float *embed_weight;      /* [w_dim, c_dim], the model's; NULL: unconditional */
    const float *embed_bias;        /* [w_dim] */
    struct fc layer[MAPPING_LAYERS_MAX];
};

/* Prepares model's mapping network; model is borrowed and must outlive it. ERR_NOMEM. */
enum err_code mapping_init(struct mapping *self, const struct model *model, struct err *e);
void mapping_release(struct mapping *self);

/* Floats of scratch that mapping_cpu needs. */
size_t mapping_scratch_count(const struct mapping *self);

/* z [z_dim]; w [w_dim]; class_index 0..c_dim-1, ignored by an unconditional network. */
void mapping_cpu(const struct mapping *self, const float *z, int class_index, float *w,
                 float *scratch);

#endif
