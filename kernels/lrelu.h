/* lrelu -- the activation of all StyleGANs: a leaky rectifier with slope 0.2, times gain (sqrt 2
 * keeps the variance of a normal input; StyleGAN 1 has 1). NaN stays NaN. */
#ifndef KERNELS_LRELU_H
#define KERNELS_LRELU_H

static inline float lrelu(float v, float gain)
{
    return (v >= 0.0f ? v : v * 0.2f) * gain;
}

#endif
