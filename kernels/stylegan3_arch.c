#include "kernels/stylegan3_arch.h"

#include "proto/recipe.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- keys ---- */

struct real {
    const char *key;
    double min, max;
    double *value;
};

static enum err_code read_reals(const struct notes *notes, const struct real *reals, size_t count,
                                struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        const struct real *r = &reals[i];
        enum err_code rc = notes_need_real(notes, r->key, r->value, e);

        if (rc)
            return rc;
        if (!(*r->value >= r->min && *r->value <= r->max))
            return err_set(e, ERR_RANGE, "metadata \"%s\" is %g; %g to %g are possible", r->key,
                           *r->value, r->min, r->max);
    }
    return ERR_OK;
}

static enum err_code read_radial(const struct notes *notes, bool *out, struct err *e)
{
    const char *text;
    enum err_code rc = notes_need(notes, "use_radial_filters", &text, e);

    if (rc)
        return rc;
    *out = strcmp(text, "true") == 0;
    if (!*out && strcmp(text, "false") != 0)
        return err_set(e, ERR_INVALID,
                       "metadata \"use_radial_filters\" is \"%.40s\", neither true nor false",
                       text);
    return ERR_OK;
}

enum err_code stylegan3_arch_read(const struct notes *notes, struct stylegan3_arch *out,
                                  struct err *e)
{
    struct stylegan3_arch a = { 0 };
    int half_layers;
    const struct arch_whole wholes[] = {
        { "z_dim", 1, ARCH_DIM_MAX, &a.z_dim },
        { "c_dim", 0, RECIPE_CLASS_MAX + 1, &a.c_dim },
        { "w_dim", 1, ARCH_DIM_MAX, &a.w_dim },
        { "num_ws", 1, RECIPE_WS_MAX, &a.num_ws },
        { "mapping_layers", 1, ARCH_MAPPING_MAX, &a.mapping_layers },
        { "channel_base", 1, ARCH_CHANNEL_BASE_MAX, &a.channel_base },
        { "channel_max", 1, ARCH_DIM_MAX, &a.channel_max },
        { "num_layers", 1, STYLEGAN3_LAYERS_MAX - 1, &a.num_layers },
        { "num_critical", 1, STYLEGAN3_LAYERS_MAX - 1, &a.num_critical },
        { "margin_size", 0, STYLEGAN3_MARGIN_MAX, &a.margin_size },
        { "num_fp16_res", 0, 64, &half_layers },   /* precision is the engine's choice */
        { "conv_kernel", 1, 65535, &a.conv_kernel },
        { "filter_size", 1, STYLEGAN3_FILTER_MAX, &a.filter_size },
        { "lrelu_upsampling", 1, STYLEGAN3_FACTOR_MAX, &a.lrelu_upsampling },
    };
    const struct real reals[] = {
        { "first_cutoff", 0.001, RECIPE_SIZE_MAX, &a.first_cutoff },
        { "first_stopband", 1.0, RECIPE_SIZE_MAX, &a.first_stopband },
        { "last_stopband_rel", 1.0, 16.0, &a.last_stopband_rel },
        { "output_scale", 1e-6, 1e6, &a.output_scale },
    };
    enum err_code rc = arch_read_wholes(notes, wholes, sizeof wholes / sizeof wholes[0], e);

    if (!rc)
        rc = read_reals(notes, reals, sizeof reals / sizeof reals[0], e);
    if (!rc)
        rc = arch_read_picture(notes, &a.resolution, e);
    if (!rc)
        rc = read_radial(notes, &a.use_radial_filters, e);
    if (!rc)
        rc = arch_read_clamp(notes, &a.conv_clamp, e);
    if (rc)
        return rc;
    if (a.conv_kernel != 1 && a.conv_kernel != 3)
        return err_set(e, ERR_UNSUPPORTED, "conv_kernel %d is not supported; 1 and 3 are",
                       a.conv_kernel);
    if (a.num_ws != a.num_layers + 2)
        return err_set(e, ERR_INVALID, "num_ws is %d, but %d layers need %d", a.num_ws,
                       a.num_layers, a.num_layers + 2);
    rc = stylegan3_arch_plan(&a, e);
    if (!rc)
        *out = a;
    return rc;
}

/* ---- geometry ---- */

/* What is behind layer i, and the input too where i is 0. */
struct stage {
    double cutoff;
    int rate, size, channels;
};

static struct stage stage_at(const struct stylegan3_arch *self, int i)
{
    double last_cutoff = self->resolution / 2.0;
    double last_stopband = last_cutoff * self->last_stopband_rel;
    double e = fmin((double)i / (self->num_layers - self->num_critical), 1.0);
    double cutoff = self->first_cutoff * pow(last_cutoff / self->first_cutoff, e);
    double stopband = self->first_stopband * pow(last_stopband / self->first_stopband, e);
    /* Behind the logarithm a last bit of the stopband no longer matters: at 256 pixels layer 9
     * comes out at a power of two. */
    int rate = (int)exp2(ceil(log2(fmin(stopband * 2.0, self->resolution))));
    bool full = i >= self->num_layers - 1;

    return (struct stage){
        .cutoff = cutoff,
        .rate = rate,
        .size = full ? self->resolution : rate + 2 * self->margin_size,
        .channels = i == self->num_layers
                        ? 3
                        : (int)rint(fmin(self->channel_base / 2.0 / cutoff, self->channel_max)),
    };
}

static int floor_div(int a, int b)
{
    return a / b - (a % b < 0);
}

static struct stylegan3_layer plan_layer(const struct stylegan3_arch *self, int i)
{
    struct stage in = stage_at(self, i > 0 ? i - 1 : 0), out = stage_at(self, i);
    bool is_torgb = i == self->num_layers;
    int inner_rate = (in.rate > out.rate ? in.rate : out.rate) *
                     (is_torgb ? 1 : self->lrelu_upsampling);
    struct stylegan3_layer l = {
        .in = in.channels,
        .out = out.channels,
        .in_size = in.size,
        .out_size = out.size,
        .kernel = is_torgb ? 1 : self->conv_kernel,
        .up = inner_rate / in.rate,
        .down = inner_rate / out.rate,
        .is_torgb = is_torgb,
        .rate = out.rate,
        .cutoff = out.cutoff,
    };

    l.up_taps = l.up > 1 && !is_torgb ? self->filter_size * l.up : 1;
    l.down_taps = l.down > 1 && !is_torgb ? self->filter_size * l.down : 1;
    l.radial = self->use_radial_filters && l.down_taps > 1 &&
               i < self->num_layers - self->num_critical;
    /* Of what the filters leave, every down-th sample is to make out_size of them; the halves of
     * pad differ by up, so that samples stay where the picture has them (equation C.3). */
    int pad = (l.out_size - 1) * l.down + 1 - (l.in_size + l.kernel - 1) * l.up + l.up_taps +
              l.down_taps - 2;

    l.pad_lo = floor_div(pad + l.up, 2);
    l.pad_hi = pad - l.pad_lo;
    snprintf(l.name, sizeof l.name, "L%d_%d_%d", i, l.out_size, l.out);
    return l;
}

enum err_code stylegan3_arch_plan(struct stylegan3_arch *self, struct err *e)
{
    struct stage first = { 0 };

    if (self->num_critical >= self->num_layers)
        return err_set(e, ERR_INVALID, "num_critical %d is not below num_layers, %d",
                       self->num_critical, self->num_layers);
    if (self->first_cutoff > self->resolution / 2.0)
        return err_set(e, ERR_INVALID, "first_cutoff %g is more than half of img_resolution, %d",
                       self->first_cutoff, self->resolution);
    first = stage_at(self, 0);
    if (first.cutoff >= first.rate / 2.0)
        return err_set(e, ERR_INVALID,
                       "first_cutoff %g is not below half of the rate, %d, that first_stopband "
                       "gives", self->first_cutoff, first.rate);
    self->input = (struct stylegan3_input){ .channels = first.channels,
                                            .size = first.size,
                                            .rate = first.rate,
                                            .cutoff = first.cutoff };
    for (int i = 0; i <= self->num_layers; i++) {
        struct stylegan3_layer l = plan_layer(self, i);

        if (l.out < 1)
            return err_set(e, ERR_INVALID, "channel_base %d leaves layer %d no channel",
                           self->channel_base, i);
        if (l.up > STYLEGAN3_FACTOR_MAX || l.down > STYLEGAN3_FACTOR_MAX)
            return err_set(e, ERR_RANGE,
                           "num_layers %d and lrelu_upsampling %d make layer %d resample by %d; "
                           "%d is the most", self->num_layers, self->lrelu_upsampling, i,
                           l.up > l.down ? l.up : l.down, STYLEGAN3_FACTOR_MAX);
        self->layer[i] = l;
    }
    return ERR_OK;
}

/* ---- tensors and digest ---- */

static void add_layer(struct need_list *list, const struct stylegan3_layer *l, int w_dim)
{
    char prefix[48];

    snprintf(prefix, sizeof prefix, "synthesis.%s.", l->name);
    need_list_add(list, prefix, "weight", 4, (int[]){ l->out, l->in, l->kernel, l->kernel });
    need_list_add(list, prefix, "bias", 1, &l->out);
    need_list_add(list, prefix, "magnitude_ema", 0, NULL);
    need_list_add(list, prefix, "affine.weight", 2, (int[]){ l->in, w_dim });
    need_list_add(list, prefix, "affine.bias", 1, &l->in);
    if (l->up_taps > 1)
        need_list_add(list, prefix, "up_filter", 1, &l->up_taps);
    if (l->down_taps > 1)
        need_list_add(list, prefix, "down_filter", l->radial ? 2 : 1,
                      (int[]){ l->down_taps, l->down_taps });
}

size_t stylegan3_arch_tensors(const struct stylegan3_arch *self, struct tensor_need *out)
{
    struct need_list list = { .need = out };
    int channels = self->input.channels;

    need_list_add_mapping(&list, self->z_dim, self->c_dim, self->w_dim, self->mapping_layers);
    need_list_add_linear(&list, "synthesis.input.affine.", 4, self->w_dim);
    need_list_add(&list, "synthesis.input.", "weight", 2, (int[]){ channels, channels });
    need_list_add(&list, "synthesis.input.", "freqs", 2, (int[]){ channels, 2 });
    need_list_add(&list, "synthesis.input.", "phases", 1, &channels);
    need_list_add(&list, "synthesis.input.", "transform", 2, (int[]){ 3, 3 });
    for (int i = 0; i <= self->num_layers; i++)
        add_layer(&list, &self->layer[i], self->w_dim);
    need_list_sort(&list);
    return list.count;
}

static uint64_t bits_of(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

size_t stylegan3_arch_text(const struct stylegan3_arch *self, char *out)
{
    char clamp[16];
    int len = snprintf(
        out, ARCH_TEXT_MAX,
        "arch=stylegan3\nc_dim=%d\nconv_clamp=%s\nfirst_cutoff=%016" PRIx64
        "\nfirst_stopband=%016" PRIx64 "\nimg_channels=3\nimg_resolution=%d\n"
        "last_stopband_rel=%016" PRIx64 "\nlrelu_upsampling=%d\nmapping_layers=%d\n"
        "margin_size=%d\nnum_critical=%d\nnum_ws=%d\noutput_scale=%016" PRIx64
        "\nw_dim=%d\nz_dim=%d\n",
        self->c_dim, arch_clamp_text(self->conv_clamp, clamp), bits_of(self->first_cutoff),
        bits_of(self->first_stopband), self->resolution, bits_of(self->last_stopband_rel),
        self->lrelu_upsampling, self->mapping_layers, self->margin_size, self->num_critical,
        self->num_ws, bits_of(self->output_scale), self->w_dim, self->z_dim);
    return (size_t)len;
}
