#include "kernels/truncate.h"

#include <math.h>
#include <stddef.h>

void truncate_cpu(float *w, const float *w_avg, struct truncate_shape n, float psi, int cutoff)
{
    for (int b = 0; b < n.batch; b++)
        for (int l = 0; l < cutoff; l++)
            for (int i = 0; i < n.w_dim; i++) {
                float *p = &w[((size_t)b * n.num_ws + l) * n.w_dim + i];
                float d = *p - w_avg[i];

                *p = fabsf(psi) < 0.5f ? fmaf(psi, d, w_avg[i]) : fmaf(psi - 1.0f, d, *p);
            }
}
