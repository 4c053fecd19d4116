#include "tests/kit_networks.h"

#include "tests/kit_arch.h"

#include <stdlib.h>

const struct kit_network KIT_NETWORKS[KIT_NETWORK_COUNT] = {
    { "stylegan2-256", MODEL_STYLEGAN2, 256, 16384, 512, false },
    { "stylegan2-1024", MODEL_STYLEGAN2, 1024, 32768, 512, false },
    { "stylegan1-256", MODEL_STYLEGAN1, 256, 8192, 512, false },
    { "stylegan1-1024", MODEL_STYLEGAN1, 1024, 8192, 512, false },
    { "stylegan3-t-1024", MODEL_STYLEGAN3, 1024, 32768, 512, false },
    { "stylegan3-r-1024", MODEL_STYLEGAN3, 1024, 65536, 1024, true },
};

/* The rest of a network as the official tools build it. */
static void describe(const struct kit_network *row, float conv_clamp, struct kit_arch *out)
{
    int num_ws = 2 * arch_blocks(row->resolution);
    struct stylegan1_arch a1 = { 512, 0, 512, row->resolution, num_ws, 8, 512, row->base,
                                 row->max };
    struct stylegan2_arch a2 = { 512, 0, 512, row->resolution, num_ws, 8, row->base, row->max,
                                 conv_clamp };
    struct stylegan3_arch a3 = {
        .z_dim = 512,
        .w_dim = 512,
        .resolution = row->resolution,
        .num_ws = 16,
        .mapping_layers = 2,
        .channel_base = row->base,
        .channel_max = row->max,
        .num_layers = 14,
        .num_critical = 2,
        .first_cutoff = 2,
        .first_stopband = 4.2870938501451725,
        .last_stopband_rel = 1.2311444133449163,
        .margin_size = 10,
        .output_scale = 0.25,
        .conv_kernel = row->radial ? 1 : 3,
        .use_radial_filters = row->radial,
        .filter_size = 6,
        .lrelu_upsampling = 2,
        .conv_clamp = 256,
    };

    switch (row->family) {
    case MODEL_STYLEGAN1: kit_arch_stylegan1(out, &a1); break;
    case MODEL_STYLEGAN2: kit_arch_stylegan2(out, &a2); break;
    case MODEL_STYLEGAN3: kit_arch_stylegan3(out, &a3); break;
    }
}

enum err_code kit_network_model(const struct kit_network *self, float conv_clamp,
                                struct model **out, struct err *e)
{
    static struct kit_arch arch;
    enum err_code rc;
    size_t len;

    describe(self, conv_clamp, &arch);
    uint8_t *file = kit_arch_bytes(&arch, &(struct kit_weights){ .scale = 1, .seed = 1 }, &len);

    rc = model_parse(file, len, out, e);
    free(file);
    return rc;
}

/* ---- Counting ---- */

static double filter_operations(const struct filtered_lrelu *f)
{
    double in = f->in, out = f->out, wide = 2.0 * (out - 1) + FILTERED_LRELU_DOWN_TAPS;
    double up = FILTERED_LRELU_TAPS * (wide * in + wide * wide);
    double taps = FILTERED_LRELU_DOWN_TAPS;

    return 2.0 * (up + (f->radial ? taps * taps * out * out : taps * (wide * out + out * out)));
}

double kit_network_operations(const struct plan *plan)
{
    double sum = 0.0;

    for (int i = 0; i < plan->layers; i++) {
        const struct plan_layer *layer = &plan->layer[i];
        const struct conv_shape *n = &layer->conv;
        double pairs = 2.0 * n->in * n->out, in = n->size, side = in + 2 * n->pad + 1 - n->kernel;

        switch (n->kind) {
        case CONV_PLAIN:
            sum += pairs * n->kernel * n->kernel * side * side;
            break;
        case CONV_UP_SCATTER:
            sum += pairs * 9.0 * in * in;
            break;
        case CONV_UP_NEAREST:       /* by the definition of its size: stylegan1.c */
            sum += pairs * (layer->size < 128 ? 36.0 : 16.0) * in * in;
            break;
        }
        if (layer->finish == PLAN_FILTER)
            sum += n->out * filter_operations(&layer->filter);
    }
    return sum;
}
