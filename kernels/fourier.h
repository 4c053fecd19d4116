/* fourier -- StyleGAN 3's input: waves over the plane, turned and shifted by the style and by the
 * caller's transform.
 *     t = style / sqrt(style[0]^2 + style[1]^2);  rc, rs, tx, ty = t
 *     T = [rc,-rs,0; rs,rc,0; 0,0,1] . [1,0,-tx; 0,1,-ty; 0,0,1] . transform
 *     phase'_j = phase_j + freq_j . T[0:2,2];  freq'_j = freq_j . T[0:2,0:2]
 *     amp_j = clamp(1 - (|freq'_j| - cutoff) / (rate / 2 - cutoff), 0, 1)
 *     F_j(y,x) = amp_j sin(2 pi (g_x freq'_j,x + g_y freq'_j,y + phase'_j))
 *     g_k = ((2k + 1) / size - 1) * size / (2 rate)
 * Source: Karras et al. 2021, appendix F; the official SynthesisInput.forward. The sine is computed
 * here, by one polynomial: a library's would differ from machine to machine. */
#ifndef KERNELS_FOURIER_H
#define KERNELS_FOURIER_H

#include "proto/recipe.h"

struct fourier {
    int channels, size;
    const float *freqs;             /* [channels, 2] */
    const float *phases;            /* [channels] */
    double rate, cutoff;
};

/* A wave as the transform leaves it. */
struct fourier_wave {
    float fx, fy, phase, amplitude;
};

/* The matrix that a sample asks for: its own, or what translating by (tx, ty) and rotating by
 * degrees comes to (the inverse of that transform, as the official generate tool stores it), or
 * stored. All [3,3], row-major. */
void fourier_transform(float out[9], const struct recipe_transform *asked, const float stored[9]);

/* wave [channels]; style [4]. */
void fourier_waves_cpu(struct fourier_wave *wave, const struct fourier *self, const float style[4],
                       const float transform[9]);

/* One channel's plane [size, size]. */
void fourier_plane_cpu(float *out, const struct fourier *self, const struct fourier_wave *wave);

#endif
