#include "kernels/plan.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* Two layers a block and a ToRGB; three layers a block; the input, the layers and ToRGB. */
_Static_assert(2 * STYLEGAN1_BLOCKS_MAX + 1 <= PLAN_LAYERS_MAX &&
               3 * STYLEGAN2_BLOCKS_MAX <= PLAN_LAYERS_MAX &&
               1 + STYLEGAN3_LAYERS_MAX <= PLAN_LAYERS_MAX, "a plan holds every architecture");

const float *plan_tensor(const struct model *model, const char *name, ...)
{
    char full[64];
    va_list args;

    va_start(args, name);
    vsnprintf(full, sizeof full, name, args);
    va_end(args);
    return model_tensor_find(model, full)->data;    /* model_parse saw to it */
}

enum err_code plan_create(const struct model *model, struct plan *out, struct err *e)
{
    *out = (struct plan){
        .resolution = model_facts(model)->width,
        .num_ws = model_facts(model)->num_ws,
        .picture_gain = 1.0f,
    };
    switch (model_arch(model)) {
    case MODEL_STYLEGAN1:
        stylegan1_describe(model, out);
        return ERR_OK;
    case MODEL_STYLEGAN2:
        stylegan2_describe(model, out);
        return ERR_OK;
    case MODEL_STYLEGAN3:
        return stylegan3_describe(model, out, e);
    }
    return err_set(e, ERR_UNSUPPORTED, "architecture \"%s\" is not supported",
                   model_arch_word(model));
}

void plan_gains(const struct plan_layer *layer, float *gain)
{
    const struct conv_shape *n = &layer->conv;

    for (int o = 0; o < n->out; o++) {
        double sum = 0.0;

        gain[o] = layer->weight_gain;
        if (!layer->unit_weights)
            continue;
        for (int i = 0; i < n->in; i++)
            for (int t = 0; t < n->kernel * n->kernel; t++) {
                double w = (double)plan_weight(layer, o, i, t / n->kernel, t % n->kernel);

                sum += w * w;
            }
        gain[o] *= (float)(1.0 / sqrt(sum / ((double)n->in * n->kernel * n->kernel)));
    }
}

void plan_mapping_pytorch(struct plan_mapping *out, const struct model *model, int layers)
{
    const struct model_facts *facts = model_facts(model);

    *out = (struct plan_mapping){
        .z_dim = facts->z_dim,
        .c_dim = facts->c_dim,
        .w_dim = facts->w_dim,
        .layers = layers,
        .gain = PLAN_SQRT2,
        .w_avg = plan_tensor(model, "mapping.w_avg"),
    };
    if (facts->c_dim > 0)
        out->embed = (struct fc_weights){
            .in = facts->c_dim,
            .out = facts->w_dim,
            .weight = plan_tensor(model, "mapping.embed.weight"),
            .weight_gain = 1.0f / sqrtf((float)facts->c_dim),
            .bias = plan_tensor(model, "mapping.embed.bias"),
            .bias_gain = 1.0f,
        };
    for (int k = 0; k < layers; k++) {
        int in = k > 0 ? facts->w_dim : facts->z_dim + out->embed.out;

        out->layer[k] = (struct fc_weights){
            .in = in,
            .out = facts->w_dim,
            .weight = plan_tensor(model, "mapping.fc%d.weight", k),
            .weight_gain = PLAN_MAPPING_RATE / sqrtf((float)in),
            .bias = plan_tensor(model, "mapping.fc%d.bias", k),
            .bias_gain = PLAN_MAPPING_RATE,
        };
    }
}

struct fc_weights plan_affine(const struct model *model, const char *layer, int out, float gain)
{
    int w_dim = model_facts(model)->w_dim;

    return (struct fc_weights){
        .in = w_dim,
        .out = out,
        .weight = plan_tensor(model, "synthesis.%s.affine.weight", layer),
        .weight_gain = gain / sqrtf((float)w_dim),
        .bias = plan_tensor(model, "synthesis.%s.affine.bias", layer),
        .bias_gain = gain,
    };
}
