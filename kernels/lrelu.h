/* lrelu -- the activation of all StyleGAN 2 layers: a leaky rectifier with slope 0.2, times sqrt 2
 * so that it keeps the variance of a normal input. NaN stays NaN. */
#ifndef KERNELS_LRELU_H
#define KERNELS_LRELU_H

static inline float lrelu(float v)
{
    return (v >= 0.0f ? v : v * 0.2f) * 1.41421356f;
}

#endif
