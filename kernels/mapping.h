/* mapping -- the mapping network: from z (and a class) to w.
 *     v = n2(z)                        without classes
 *     v = [n2(z) ; n2(y)]              with them: y is the embedded class (StyleGAN 2-ADA and 3)
 *     v = n2([z ; y])                  joint (StyleGAN 1)
 *     v = lrelu(fc_k(v))               for each layer
 *     n2(v) = v / sqrt(mean(v^2) + 1e-8)
 * Source: StyleGAN2-ADA MappingNetwork.forward (also that of StyleGAN 3); StyleGAN G_mapping. */
#ifndef KERNELS_MAPPING_H
#define KERNELS_MAPPING_H

#include "kernels/fc.h"
#include "kernels/plan.h"
#include "proto/err.h"

struct mapping {
    int z_dim, c_dim, w_dim, layers;
    bool joint;
    float gain;                     /* of each lrelu */
    struct fc embed;                /* [c_dim, y]; empty without classes */
    struct fc layer[PLAN_MAPPING_MAX];
};

/* Nothing of *plan is needed afterwards. ERR_NOMEM. */
enum err_code mapping_init(struct mapping *self, const struct plan_mapping *plan, struct err *e);
void mapping_release(struct mapping *self);

/* Floats of scratch that mapping_cpu needs. */
size_t mapping_scratch_count(const struct mapping *self);

/* z [z_dim]; w [w_dim]; class_index 0..c_dim-1, ignored by an unconditional network. */
void mapping_cpu(const struct mapping *self, const float *z, int class_index, float *w,
                 float *scratch);

#endif
