/* StyleGAN 1 as a plan. Source: Karras et al. 2019, figure 1; the official G_mapping and
 * G_synthesis. */
#include "kernels/plan.h"

#include <math.h>
#include <stdio.h>

enum { MIRRORED_FROM = 128 };   /* pixels: see add_up */

static void describe_mapping(struct plan_mapping *out, const struct model *model)
{
    const struct stylegan1_arch *arch = model_stylegan1(model);

    *out = (struct plan_mapping){
        .z_dim = arch->z_dim,
        .c_dim = arch->c_dim,
        .w_dim = arch->w_dim,
        .joint = true,
        .layers = arch->mapping_layers,
        .gain = 1.0f,
        .w_avg = plan_tensor(model, "dlatent_avg"),
    };
    if (arch->c_dim > 0)
        out->embed = (struct fc_weights){
            .in = arch->c_dim,
            .out = arch->z_dim,
            .weight = plan_tensor(model, "mapping/LabelConcat/weight"),
            .transposed = true,
            .weight_gain = 1.0f,
        };
    for (int k = 0, in = arch->z_dim + out->embed.out; k < arch->mapping_layers; k++) {
        struct fc_weights *layer = &out->layer[k];

        *layer = (struct fc_weights){
            .in = in,
            .out = k < arch->mapping_layers - 1 ? arch->mapping_fmaps : arch->w_dim,
            .weight = plan_tensor(model, "mapping/Dense%d/weight", k),
            .transposed = true,
            .weight_gain = PLAN_MAPPING_RATE * PLAN_SQRT2 / sqrtf((float)in),
            .bias = plan_tensor(model, "mapping/Dense%d/bias", k),
            .bias_gain = PLAN_MAPPING_RATE,
        };
        in = layer->out;
    }
}

/* A kernel of TensorFlow's layout, [k,k,in,out]. */
static struct conv_weights weights_of(const float *data, int kernel, int in, int out)
{
    return (struct conv_weights){
        .data = data,
        .out = 1,
        .in = out,
        .column = (ptrdiff_t)in * out,
        .row = (ptrdiff_t)kernel * in * out,
    };
}

/* A layer as far as its epilogue: noise, bias, lrelu, instance norm, style. */
static struct plan_layer *add_layer(struct plan *plan, const struct model *model, int size,
                                    const char *name, int out)
{
    int w_dim = model_facts(model)->w_dim, index = plan->layers++;
    struct plan_layer *layer = &plan->layer[index];
    char scope[32];

    snprintf(scope, sizeof scope, "synthesis/%dx%d/%s", size, size, name);
    *layer = (struct plan_layer){
        .row = index,
        .size = size,
        .normalize = true,
        .affine = { .in = w_dim,
                    .out = 2 * out,
                    .weight = plan_tensor(model, "%s/StyleMod/weight", scope),
                    .transposed = true,
                    .weight_gain = 1.0f / sqrtf((float)w_dim),
                    .bias = plan_tensor(model, "%s/StyleMod/bias", scope),
                    .bias_gain = 1.0f },
        .conv = { .out = out },
        .finish = PLAN_ACTIVATE,
        .out_gain = 1.0f,
        .bias = plan_tensor(model, "%s/bias", scope),
        .noise = plan_tensor(model, "synthesis/noise%d", index),
        .noise_weight = plan_tensor(model, "%s/Noise/weight", scope),
        .noise_weights = out,
        .gain = 1.0f,
    };
    snprintf(layer->name, sizeof layer->name, "%dx%d_%s", size, size, name);
    return layer;
}

static struct plan_layer *add_conv(struct plan *plan, const struct model *model, int size,
                                   const char *name, int in, int out)
{
    struct plan_layer *layer = add_layer(plan, model, size, name, out);

    layer->conv = (struct conv_shape){
        .kind = CONV_PLAIN, .in = in, .out = out, .size = size, .kernel = 3, .pad = 1
    };
    layer->weights = weights_of(plan_tensor(model, "synthesis/%dx%d/%s/weight", size, size, name),
                                3, in, out);
    layer->weight_gain = PLAN_SQRT2 / sqrtf(9.0f * (float)in);
    return layer;
}

static void add_up(struct plan *plan, const struct model *model, int size, int in, int out)
{
    struct plan_layer *layer = add_conv(plan, model, size, "Conv0_up", in, out);
    struct conv_weights *w = &layer->weights;

    layer->conv.kind = CONV_UP_NEAREST;
    layer->conv.size = size / 2;
    layer->fir[0] = layer->fir[2] = 0.25f;      /* [1,2,1] / 4 */
    layer->fir[1] = 0.5f;
    /* From 128 pixels on the official code takes its fused path, a transposed convolution: the same
     * as this one with the kernel mirrored on both axes. */
    if (size >= MIRRORED_FROM) {
        w->data += 2 * (w->row + w->column);
        w->row = -w->row;
        w->column = -w->column;
    }
}

void stylegan1_describe(const struct model *model, struct plan *out)
{
    const struct stylegan1_arch *arch = model_stylegan1(model);
    int channels = stylegan1_arch_channels(arch, 4);
    struct plan_layer *layer;

    describe_mapping(&out->mapping, model);
    layer = add_layer(out, model, 4, "Const", channels);
    layer->source = PLAN_CONSTANT;
    layer->constant = plan_tensor(model, "synthesis/4x4/Const/const");
    add_conv(out, model, 4, "Conv", channels, channels);
    for (int size = 8; size <= arch->resolution; size *= 2) {
        int in = channels;

        channels = stylegan1_arch_channels(arch, size);
        add_up(out, model, size, in, channels);
        add_conv(out, model, size, "Conv1", channels, channels);
    }
    layer = &out->layer[out->layers++];
    *layer = (struct plan_layer){
        .name = "ToRGB_lod0",
        .conv = { .in = channels, .out = 3, .size = arch->resolution, .kernel = 1 },
        .weights = weights_of(plan_tensor(model, "synthesis/ToRGB_lod0/weight"), 1, channels, 3),
        .weight_gain = 1.0f / sqrtf((float)channels),
        .size = arch->resolution,
        .finish = PLAN_PICTURE,
        .out_gain = 1.0f,
        .bias = plan_tensor(model, "synthesis/ToRGB_lod0/bias"),
    };
}
