/* plan -- what a generator computes: where its w comes from, and its layers in order of execution,
 * described over a few operations, with every tensor found. stylegan1.c, stylegan2.c and
 * stylegan3.c each describe one family; a backend prepares a plan and runs it (network.h on the
 * CPU).
 *
 * A plan borrows from the model that it was made of. */
#ifndef KERNELS_PLAN_H
#define KERNELS_PLAN_H

#include "kernels/arch.h"
#include "kernels/conv.h"
#include "kernels/fc.h"
#include "kernels/filtered_lrelu.h"
#include "kernels/fourier.h"
#include "kernels/model.h"
#include "proto/err.h"

#include <stdbool.h>

enum { PLAN_LAYERS_MAX = 64, PLAN_MAPPING_MAX = ARCH_MAPPING_MAX, PLAN_NAME_MAX = 32 };

/* The gain of most activations. */
#define PLAN_SQRT2 1.41421356f
/* Mapping networks were trained a hundred times slower than the rest: their weights say so. */
#define PLAN_MAPPING_RATE 0.01f

struct plan_mapping {
    int z_dim, c_dim, w_dim;
    struct fc_weights embed;    /* of a one-hot class; out is 0 without classes */
    bool joint;                 /* z and the embedded class are normalised as one vector */
    int layers;
    struct fc_weights layer[PLAN_MAPPING_MAX];
    float gain;                 /* of each layer's lrelu */
    const float *w_avg;         /* [w_dim] */
};

/* What a layer starts with. */
enum plan_source {
    PLAN_LAST,                  /* the output of the layer before */
    PLAN_CONSTANT,              /* a learned constant, [out,size,size] */
    PLAN_WAVES,                 /* StyleGAN 3's; the style turns and shifts them (fourier.h) */
};

/* What follows the convolution. */
enum plan_finish {
    PLAN_NOTHING,               /* only the scale of the outputs */
    PLAN_ACTIVATE,              /* noise, bias, lrelu, clamp (epilogue.h); after an up-convolution
                                   the FIR before them */
    PLAN_FILTER,                /* bias, then the filtered lrelu (filtered_lrelu.h) */
    PLAN_PICTURE,               /* bias, clamp: a layer's part of the picture (torgb.h) */
};

struct plan_layer {
    char name[PLAN_NAME_MAX];   /* as in tests/golden: "b8.conv0" */
    int row;                    /* of ws: where its style comes from */
    enum plan_source source;
    const float *constant;      /* CONSTANT */
    struct conv_shape conv;     /* in, out, size; a CONSTANT layer has none: conv.in is 0 */
    struct conv_weights weights;    /* without scale */
    float weight_gain;
    bool unit_weights;          /* each output's kernel is divided by the root of its mean square */
    int size;                   /* pixels a side of the output */

    /* Style. Either of the input's channels, before the convolution (StyleGAN 2 and 3): */
    bool modulate, demodulate;
    struct fc_weights affine;   /* ws row -> style [in]; normalize: [2 out]; WAVES: [4] */
    bool unit_style;            /* the style is divided by the root of its mean square first */
    /* or of the output's, behind the activation (StyleGAN 1): each channel to mean 0 and variance
     * 1, then times style[c] + 1, plus style[out + c]. */
    bool normalize;

    enum plan_finish finish;
    float out_gain;             /* of the convolution's outputs, next to the demodulation */
    const float *bias;          /* [out] */
    const float *noise;         /* [size,size]; NULL: the layer has none */
    const float *noise_weight;  /* [noise_weights]: one for all channels, or one each */
    int noise_weights;
    float gain;                 /* of the lrelu */
    float clamp;                /* 0: none */
    float fir[4];               /* behind an up-convolution (fir.h) */
    struct filtered_lrelu filter;   /* FILTER; its gain and clamp are its own */
    bool adds;                  /* PICTURE: to the picture so far, doubled; else it begins one */
};

struct plan {
    int resolution, num_ws;
    struct plan_mapping mapping;
    struct fourier waves;       /* WAVES */
    const float *transform;     /* [3,3], of the waves unless a sample brings its own */
    struct plan_layer layer[PLAN_LAYERS_MAX];
    int layers;
    float picture_gain;         /* of the finished picture */
};

/* Describes model, whatever its family. ERR_UNSUPPORTED names what no operation here does,
 * ERR_INVALID a tensor of which nothing can come. */
enum err_code plan_create(const struct model *model, struct plan *out, struct err *e);

/* What it calls for each family. */
void stylegan1_describe(const struct model *model, struct plan *out);
void stylegan2_describe(const struct model *model, struct plan *out);
enum err_code stylegan3_describe(const struct model *model, struct plan *out, struct err *e);

/* The data of a tensor that the model is known to have; name as for printf. */
const float *plan_tensor(const struct model *model, const char *name, ...)
    __attribute__((format(printf, 2, 3)));

/* W[o,i,a,b] of a layer's convolution, as the model has it. */
static inline float plan_weight(const struct plan_layer *layer, int o, int i, int a, int b)
{
    const struct conv_weights *w = &layer->weights;

    return w->data[o * w->out + i * w->in + a * w->row + b * w->column];
}

/* What each output's weights are multiplied by, once: gain [conv.out]. */
void plan_gains(const struct plan_layer *layer, float *gain);

/* What StyleGAN 2 and 3 have in common: the mapping network, and the style of synthesis.<layer>, of
 * out numbers, times gain. */
void plan_mapping_pytorch(struct plan_mapping *out, const struct model *model, int layers);
struct fc_weights plan_affine(const struct model *model, const char *layer, int out, float gain);

#endif
