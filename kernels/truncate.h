/* truncate -- pulls latents toward the mean latent (the truncation trick), in place.
 *     w[b,l,:] = lerp(w_avg, w[b,l,:], psi)   for l < cutoff; other layers stay as they are
 * Source: StyleGAN2-ADA MappingNetwork.forward; lerp as PyTorch's, exact at psi = 1.
 *   w      [batch, num_ws, w_dim] float32, contiguous     psi     dimensionless; 0 gives w_avg
 *   w_avg  [w_dim] float32                                cutoff  layers, 0..num_ws
 * Every version returns the same bits: an element is one subtraction and one fused multiply-add,
 * with no sum whose order could differ. */
#ifndef KERNELS_TRUNCATE_H
#define KERNELS_TRUNCATE_H

struct truncate_shape {
    int batch, num_ws, w_dim;
};

void truncate_cpu(float *w, const float *w_avg, struct truncate_shape n, float psi, int cutoff);

#endif
