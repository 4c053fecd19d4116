/* stylegan3_arch -- the architecture of a StyleGAN 3 generator (t and r) with no default left open,
 * the geometry of its layers, and the tensors that follow. Nothing here computes a pixel.
 *
 * Source: Karras et al. 2021, section 3.2 and appendix C; the official SynthesisNetwork and
 * SynthesisLayer, whose doubles are followed operation by operation, because the layers' names hold
 * the sizes that come out. */
#ifndef KERNELS_STYLEGAN3_ARCH_H
#define KERNELS_STYLEGAN3_ARCH_H

#include "kernels/arch.h"
#include "kernels/notes.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    STYLEGAN3_LAYERS_MAX = 31,      /* num_layers is 1..30, and ToRGB comes on top */
    STYLEGAN3_MARGIN_MAX = 256,
    STYLEGAN3_FACTOR_MAX = 16,      /* up, down */
    STYLEGAN3_FILTER_MAX = 16,      /* filter_size; taps are that times the factor */
    STYLEGAN3_TAPS_MAX = STYLEGAN3_FILTER_MAX * STYLEGAN3_FACTOR_MAX,
};

/* Fourier features, from row 0 of ws. */
struct stylegan3_input {
    int channels;                   /* frequencies */
    int size;                       /* pixels a side */
    int rate;                       /* samples a picture's width, s_0 */
    double cutoff;                  /* c_0, in periods a picture's width; below rate / 2 */
};

/* Layer i, from row i + 1 of ws. */
struct stylegan3_layer {
    char name[32];                  /* "L6_148_512": its tensors are "synthesis.L6_148_512.*" */
    int in, out;                    /* channels */
    int in_size, out_size;          /* pixels a side */
    int kernel;                     /* a side; the convolution pads by kernel - 1 on both sides */
    int up, down;                   /* around the activation */
    int up_taps, down_taps;         /* 1: no filter, and no tensor of it */
    int pad_lo, pad_hi;             /* of the zero-inserted signal, in x and y; < 0 crops */
    bool is_torgb;                  /* the last: no demodulation, linear activation of gain 1 */
    bool radial;                    /* down_filter is [down_taps, down_taps], not [down_taps] */
    int rate;                       /* samples a picture's width behind it, s_i */
    double cutoff;                  /* c_i */
};

struct stylegan3_arch {
    int z_dim, c_dim, w_dim;        /* c_dim 0: unconditional */
    int resolution;                 /* pixels a side; a power of two, 4..4096 */
    int num_ws;                     /* num_layers + 2 */
    int mapping_layers;
    int channel_base, channel_max;
    int num_layers;                 /* ToRGB, the layer of that index, is not counted */
    int num_critical;               /* layers at the end that are critically sampled */
    double first_cutoff, first_stopband, last_stopband_rel;
    int margin_size;
    double output_scale;
    int conv_kernel;                /* 3 (t) or 1 (r) */
    bool use_radial_filters;
    int filter_size, lrelu_upsampling;
    float conv_clamp;               /* 0: none */

    /* What stylegan3_arch_plan makes of the above. */
    struct stylegan3_input input;
    struct stylegan3_layer layer[STYLEGAN3_LAYERS_MAX];   /* [num_layers + 1] */
};

/* Reads the keys of a StyleGAN 3 file and plans its layers. Missing or malformed keys are
 * ERR_INVALID, numbers outside what the engine can hold ERR_RANGE, other kernels or channels of the
 * picture ERR_UNSUPPORTED; e names the key. */
enum err_code stylegan3_arch_read(const struct notes *notes, struct stylegan3_arch *out,
                                  struct err *e);

/* Fills input and layer from the other fields, which are within their ranges. ERR_INVALID or
 * ERR_RANGE for numbers that no network can be made of; e names the key to blame. */
enum err_code stylegan3_arch_plan(struct stylegan3_arch *self, struct err *e);

/* Fills out [ARCH_TENSORS_MAX] in name order; returns how many. The filters are among them. */
size_t stylegan3_arch_tensors(const struct stylegan3_arch *self, struct tensor_need *out);

/* What of the architecture decides the pixels and is not in the tensors' shapes, as lines of the
 * model's digest (kernels/README.md). out holds ARCH_TEXT_MAX bytes; returns the length. */
size_t stylegan3_arch_text(const struct stylegan3_arch *self, char *out);

#endif
