/* StyleGAN 2 and 2-ADA as a plan. Source: Karras et al. 2020, figures 2 and 7 (the skip generator);
 * tensor names and details as the official PyTorch files have them. */
#include "kernels/plan.h"

#include <math.h>
#include <stdio.h>

/* synthesis.<block>.<name> with a kernel of k x k, whatever follows it. */
static struct plan_layer *add_layer(struct plan *plan, const struct model *model, int size,
                                    const char *name, int row, int in, int out, int k,
                                    float style_gain)
{
    struct plan_layer *layer = &plan->layer[plan->layers++];

    *layer = (struct plan_layer){ .row = row, .size = size };
    snprintf(layer->name, sizeof layer->name, "b%d.%s", size, name);
    layer->conv = (struct conv_shape){
        .kind = CONV_PLAIN, .in = in, .out = out, .size = size, .kernel = k, .pad = k / 2
    };
    layer->weights = (struct conv_weights){
        .data = plan_tensor(model, "synthesis.%s.weight", layer->name),
        .out = (ptrdiff_t)in * k * k,
        .in = (ptrdiff_t)k * k,
        .row = k,
        .column = 1,
    };
    layer->weight_gain = 1.0f;
    layer->modulate = true;
    layer->affine = plan_affine(model, layer->name, in, style_gain);
    layer->out_gain = 1.0f;
    layer->bias = plan_tensor(model, "synthesis.%s.bias", layer->name);
    layer->clamp = model_stylegan2(model)->conv_clamp;
    return layer;
}

static struct plan_layer *add_conv(struct plan *plan, const struct model *model, int size,
                                   const char *name, int row, int in, int out)
{
    struct plan_layer *layer = add_layer(plan, model, size, name, row, in, out, 3, 1.0f);

    layer->demodulate = true;
    layer->finish = PLAN_ACTIVATE;
    layer->noise = plan_tensor(model, "synthesis.%s.noise_const", layer->name);
    layer->noise_weight = plan_tensor(model, "synthesis.%s.noise_strength", layer->name);
    layer->noise_weights = 1;
    layer->gain = PLAN_SQRT2;
    return layer;
}

static void add_up(struct plan *plan, const struct model *model, int size, int row, int in, int out)
{
    static const float FIR[4] = { 0.25f, 0.75f, 0.75f, 0.25f };     /* [1,3,3,1] / 4 */
    struct plan_layer *layer = add_conv(plan, model, size, "conv0", row, in, out);

    layer->conv.kind = CONV_UP_SCATTER;
    layer->conv.size = size / 2;
    for (int i = 0; i < 4; i++)
        layer->fir[i] = FIR[i];
}

/* Not demodulated, so its style carries the scale, bias and all. */
static void add_torgb(struct plan *plan, const struct model *model, int size, int row, int in)
{
    struct plan_layer *layer = add_layer(plan, model, size, "torgb", row, in, 3, 1,
                                         1.0f / sqrtf((float)in));

    layer->finish = PLAN_PICTURE;
    layer->adds = size > 4;
}

/* A block's torgb and the next one's conv0 share a row of ws. */
void stylegan2_describe(const struct model *model, struct plan *out)
{
    const struct stylegan2_arch *arch = model_stylegan2(model);
    int channels = stylegan2_arch_channels(arch, 4), row = 1;
    struct plan_layer *first;

    plan_mapping_pytorch(&out->mapping, model, arch->mapping_layers);
    first = add_conv(out, model, 4, "conv1", 0, channels, channels);
    first->source = PLAN_CONSTANT;
    first->constant = plan_tensor(model, "synthesis.b4.const");
    add_torgb(out, model, 4, row, channels);
    for (int size = 8; size <= arch->resolution; size *= 2, row += 2) {
        int in = channels;

        channels = stylegan2_arch_channels(arch, size);
        add_up(out, model, size, row, in, channels);
        add_conv(out, model, size, "conv1", row + 1, channels, channels);
        add_torgb(out, model, size, row + 2, channels);
    }
}
