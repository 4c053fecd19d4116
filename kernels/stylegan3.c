/* StyleGAN 3, t and r, as a plan. Source: Karras et al. 2021, section 3; the official
 * SynthesisNetwork. */
#include "kernels/plan.h"

#include <math.h>
#include <stdio.h>

static void add_input(struct plan *plan, const struct model *model)
{
    const struct stylegan3_arch *arch = model_stylegan3(model);
    int channels = arch->input.channels;
    struct plan_layer *layer = &plan->layer[plan->layers++];

    plan->waves = (struct fourier){
        .channels = channels,
        .size = arch->input.size,
        .freqs = plan_tensor(model, "synthesis.input.freqs"),
        .phases = plan_tensor(model, "synthesis.input.phases"),
        .rate = arch->input.rate,
        .cutoff = arch->input.cutoff,
    };
    plan->transform = plan_tensor(model, "synthesis.input.transform");
    *layer = (struct plan_layer){
        .name = "input",
        .source = PLAN_WAVES,
        .conv = { .in = channels, .out = channels, .size = arch->input.size, .kernel = 1 },
        .weights = { .data = plan_tensor(model, "synthesis.input.weight"),
                     .out = channels,
                     .in = 1 },
        .weight_gain = 1.0f / sqrtf((float)channels),
        .size = arch->input.size,
        .affine = plan_affine(model, "input", 4, 1.0f),
        .finish = PLAN_NOTHING,
        .out_gain = 1.0f,
    };
}

/* What ends a layer other than ToRGB. A layer that resamples by nothing has no filters, and is
 * refused before they are looked at. */
static enum err_code add_filter(struct plan_layer *layer, const struct model *model,
                                const struct stylegan3_layer *from, struct err *e)
{
    const struct filtered_lrelu_shape shape = {
        .in = from->in_size + from->kernel - 1,
        .out = from->out_size,
        .up = from->up,
        .down = from->down,
        .up_taps = from->up_taps,
        .down_taps = from->down_taps,
        .pad_lo = from->pad_lo,
        .radial = from->radial,
        .gain = PLAN_SQRT2,
        .clamp = layer->clamp,
    };
    const float *up = NULL, *down = NULL;
    struct err why;
    enum err_code rc;

    if (from->up_taps > 1)
        up = plan_tensor(model, "synthesis.%s.up_filter", from->name);
    if (from->down_taps > 1)
        down = plan_tensor(model, "synthesis.%s.down_filter", from->name);
    rc = filtered_lrelu_init(&layer->filter, &shape, up, down, &why);
    return rc ? err_set(e, rc, "layer %s: %s", from->name, why.msg) : ERR_OK;
}

static enum err_code add_layer(struct plan *plan, const struct model *model,
                               const struct stylegan3_layer *from, struct err *e)
{
    struct plan_layer *layer = &plan->layer[plan->layers++];
    int k = from->kernel;
    float style_gain = from->is_torgb ? 1.0f / sqrtf((float)(from->in * k * k)) : 1.0f;
    float magnitude = *plan_tensor(model, "synthesis.%s.magnitude_ema", from->name);

    if (!(magnitude > 0.0f))
        return err_set(e, ERR_INVALID, "tensor \"synthesis.%s.magnitude_ema\" is %g, not above 0",
                       from->name, (double)magnitude);
    *layer = (struct plan_layer){
        .row = plan->layers - 1,
        .conv = { .kind = CONV_PLAIN, .in = from->in, .out = from->out, .size = from->in_size,
                  .kernel = k, .pad = k - 1 },
        .weights = { .data = plan_tensor(model, "synthesis.%s.weight", from->name),
                     .out = (ptrdiff_t)from->in * k * k, .in = (ptrdiff_t)k * k, .row = k,
                     .column = 1 },
        .weight_gain = 1.0f,
        .unit_weights = !from->is_torgb,
        .size = from->out_size,
        .modulate = true,
        .demodulate = !from->is_torgb,
        .unit_style = !from->is_torgb,
        .affine = plan_affine(model, from->name, from->in, style_gain),
        .finish = from->is_torgb ? PLAN_PICTURE : PLAN_FILTER,
        .out_gain = 1.0f / sqrtf(magnitude),
        .bias = plan_tensor(model, "synthesis.%s.bias", from->name),
        .clamp = model_stylegan3(model)->conv_clamp,
    };
    snprintf(layer->name, sizeof layer->name, "%s", from->name);
    return from->is_torgb ? ERR_OK : add_filter(layer, model, from, e);
}

enum err_code stylegan3_describe(const struct model *model, struct plan *out, struct err *e)
{
    const struct stylegan3_arch *arch = model_stylegan3(model);
    enum err_code rc = ERR_OK;

    plan_mapping_pytorch(&out->mapping, model, arch->mapping_layers);
    out->picture_gain = (float)arch->output_scale;
    add_input(out, model);
    for (int i = 0; !rc && i <= arch->num_layers; i++)
        rc = add_layer(out, model, &arch->layer[i], e);
    return rc;
}
