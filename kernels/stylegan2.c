#include "kernels/stylegan2.h"

#include "kernels/conv.h"
#include "kernels/epilogue.h"
#include "kernels/fc.h"
#include "kernels/fir.h"
#include "kernels/floats.h"
#include "kernels/mapping.h"
#include "kernels/quantize.h"
#include "kernels/seed.h"
#include "kernels/torgb.h"
#include "kernels/truncate.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LAYERS_MAX = 3 * STYLEGAN2_BLOCKS_MAX,
    GROUP_MAX = 8,              /* samples that go through the network side by side */
    RGB_RUN = 1024,             /* pixels of a torgb step */
};

static const float DEMOD_EPSILON = 1e-8f;

enum layer_kind { LAYER_CONV, LAYER_UP_CONV, LAYER_TORGB };

/* A modulated convolution with what follows it. */
struct layer {
    enum layer_kind kind;
    char name[16];              /* "b8.conv0" */
    int row;                    /* of ws: where its style comes from */
    int size;                   /* pixels a side of its output */
    int in, out;                /* channels */
    const float *weight, *bias; /* [out,in,3,3] (torgb [3,in]), [out] */
    const float *noise;         /* [size,size]; NULL for torgb */
    float noise_strength;
    struct fc affine;           /* ws row -> style [in] */
    struct fc energy;           /* style^2 -> sum_{i,a,b} (weight * style)^2 + epsilon [out] */
    size_t style_at, demod_at;  /* in a sample's coefficients */
};

/* Memory of the samples of a group; a sample's part is `each` floats behind the one before. */
struct planes {
    float *data;
    size_t each;
};

struct stylegan2 {
    const struct model *model;
    const struct stylegan2_arch *arch;
    struct pool *pool;
    struct mapping mapping;
    const float *w_avg;         /* [w_dim] */
    const float *constant;      /* b4.const [channels,4,4] */
    struct layer layer[LAYERS_MAX];   /* in order of execution */
    int layers;

    int group;                  /* samples of a group */
    struct planes ws;           /* [num_ws, w_dim] */
    struct planes coefficients; /* styles and demodulation of all layers */
    struct planes x;            /* a layer's output [out, size, size] */
    struct planes padded;       /* a convolution's input (conv.h) */
    struct planes rgb;          /* a torgb's output [3, size, size] */
    struct planes image[2];     /* the picture so far [3, size, size]; blocks take turns */
    struct planes scratch;      /* of a thread */

    /* The group at work. */
    const struct sample *samples;
    int first, count;           /* of samples */
    const struct capture *capture;
    uint8_t *pixels;            /* of the group's first sample; NULL: not wanted */
    int at;                     /* index in layer[] */
    int picture;                /* image[] that holds the picture so far */
    atomic_int broken[GROUP_MAX];   /* 1 + index of the first layer with a value not finite */
};

/* What broken[] says of the mapping network and of the finished picture. */
enum { BROKEN_MAPPING = LAYERS_MAX + 1, BROKEN_PICTURE };

static float *part(const struct planes *planes, int index)
{
    return planes->data + (size_t)index * planes->each;
}

static void report_broken(struct stylegan2 *self, int index, int where)
{
    int none = 0;

    atomic_compare_exchange_strong(&self->broken[index], &none, where);
}

static size_t pixels_of(int size)
{
    return (size_t)size * (size_t)size;
}

static struct conv_shape shape_of(const struct layer *layer)
{
    int size = layer->kind == LAYER_UP_CONV ? layer->size / 2 : layer->size;

    return (struct conv_shape){
        .in = layer->in, .out = layer->out, .height = size, .width = size
    };
}

/* ---- Preparing ---- */

static const float *tensor(const struct stylegan2 *self, const struct layer *layer,
                           const char *name)
{
    char full[64];

    snprintf(full, sizeof full, "synthesis.%s.%s", layer->name, name);
    return model_tensor_find(self->model, full)->data;   /* model_parse saw to it */
}

/* energy: the squares of a kernel's weights summed once, so that a sample's demodulation is a
 * product of vector and matrix. */
static enum err_code prepare_energy(struct layer *layer, struct err *e)
{
    size_t pairs = (size_t)layer->out * (size_t)layer->in;
    float *squares;
    enum err_code rc = floats_create(pairs, 1, 1, &squares, e);

    if (rc)
        return rc;
    for (size_t i = 0; i < pairs; i++)
        for (int t = 0; t < 9; t++)
            squares[i] += layer->weight[9 * i + t] * layer->weight[9 * i + t];
    rc = fc_init(&layer->energy, layer->in, layer->out, squares, 1.0f, NULL, DEMOD_EPSILON, e);
    free(squares);
    return rc;
}

static enum err_code add_layer(struct stylegan2 *self, enum layer_kind kind, int size,
                               const char *name, int row, struct err *e)
{
    const struct stylegan2_arch *arch = self->arch;
    struct layer *layer = &self->layer[self->layers++];
    float gain = 1.0f / sqrtf((float)arch->w_dim), bias_gain = 1.0f;
    enum err_code rc;

    *layer = (struct layer){ .kind = kind, .row = row, .size = size };
    snprintf(layer->name, sizeof layer->name, "b%d.%s", size, name);
    layer->in = stylegan2_arch_channels(arch, kind == LAYER_UP_CONV ? size / 2 : size);
    layer->out = kind == LAYER_TORGB ? TORGB_CHANNELS : stylegan2_arch_channels(arch, size);
    layer->weight = tensor(self, layer, "weight");
    layer->bias = tensor(self, layer, "bias");
    if (kind == LAYER_TORGB) {
        /* not demodulated, so its style carries the scale, bias and all */
        bias_gain = 1.0f / sqrtf((float)layer->in);
        gain *= bias_gain;
    } else {
        layer->noise = tensor(self, layer, "noise_const");
        layer->noise_strength = tensor(self, layer, "noise_strength")[0];
        rc = prepare_energy(layer, e);
        if (rc)
            return rc;
    }
    layer->style_at = self->coefficients.each;
    layer->demod_at = layer->style_at + (size_t)layer->in;
    self->coefficients.each = layer->demod_at + (size_t)layer->out;
    return fc_init(&layer->affine, arch->w_dim, layer->in, tensor(self, layer, "affine.weight"),
                   gain, tensor(self, layer, "affine.bias"), bias_gain, e);
}

/* The network. A block's torgb and the next one's conv0 share a row of ws. */
static enum err_code add_layers(struct stylegan2 *self, struct err *e)
{
    enum err_code rc = add_layer(self, LAYER_CONV, 4, "conv1", 0, e);

    if (!rc)
        rc = add_layer(self, LAYER_TORGB, 4, "torgb", 1, e);
    for (int size = 8, row = 1; !rc && size <= self->arch->resolution; size *= 2, row += 2) {
        rc = add_layer(self, LAYER_UP_CONV, size, "conv0", row, e);
        if (!rc)
            rc = add_layer(self, LAYER_CONV, size, "conv1", row + 1, e);
        if (!rc)
            rc = add_layer(self, LAYER_TORGB, size, "torgb", row + 2, e);
    }
    return rc;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Sizes are products of numbers that stylegan2_arch bounds (4096^3 at most): none overflows. */
static void measure(struct stylegan2 *self)
{
    const struct stylegan2_arch *arch = self->arch;

    self->ws.each = (size_t)arch->num_ws * (size_t)arch->w_dim;
    self->scratch.each = mapping_scratch_count(&self->mapping) + (size_t)arch->z_dim;
    for (int i = 0; i < self->layers; i++) {
        const struct layer *layer = &self->layer[i];
        struct conv_shape n = shape_of(layer);
        size_t out = (size_t)layer->out * pixels_of(layer->size), scratch;

        if (layer->kind == LAYER_TORGB)
            continue;
        scratch = CONV_ROWS * conv_plane_count(n);
        if (layer->kind == LAYER_UP_CONV)
            scratch = 4 * scratch + fir_scratch_count(n.width);
        self->x.each = larger(self->x.each, out);
        self->padded.each = larger(self->padded.each, conv_padded_count(n));
        self->scratch.each = larger(self->scratch.each, scratch);
        self->scratch.each = larger(self->scratch.each, (size_t)layer->in);
        self->scratch.each = larger(self->scratch.each, fir_scratch_count(layer->size));
    }
    self->rgb.each = self->image[0].each = self->image[1].each =
        TORGB_CHANNELS * pixels_of(arch->resolution);
}

static enum err_code take_memory(struct stylegan2 *self, struct err *e)
{
    struct {
        struct planes *planes;
        int count;
    } all[] = {
        { &self->ws, self->group },       { &self->coefficients, self->group },
        { &self->x, self->group },        { &self->padded, self->group },
        { &self->rgb, self->group },      { &self->image[0], self->group },
        { &self->image[1], self->group }, { &self->scratch, pool_threads(self->pool) },
    };
    enum err_code rc = ERR_OK;

    for (size_t i = 0; !rc && i < sizeof all / sizeof all[0]; i++)
        rc = floats_create(all[i].planes->each, (size_t)all[i].count, 1, &all[i].planes->data, e);
    return rc;
}

/* Enough samples that threads seldom wait for each other at the end of a layer, and few, so that
 * what one layer leaves is still in the caches when the next one comes for it. */
static int pick_group(int max_batch, int threads)
{
    int group = 2 * threads < GROUP_MAX ? 2 * threads : GROUP_MAX;

    return max_batch < group ? max_batch : group;
}

enum err_code stylegan2_create(const struct model *model, struct pool *pool, int max_batch,
                               struct stylegan2 **out, struct err *e)
{
    struct stylegan2 *self = calloc(1, sizeof *self);
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a network");
    self->model = model;
    self->arch = model_stylegan2(model);
    self->pool = pool;
    self->group = pick_group(max_batch, pool_threads(pool));
    self->w_avg = model_tensor_find(model, "mapping.w_avg")->data;
    self->constant = model_tensor_find(model, "synthesis.b4.const")->data;
    rc = mapping_init(&self->mapping, model, e);
    if (!rc)
        rc = add_layers(self, e);
    if (rc)
        goto done;
    measure(self);
    rc = take_memory(self, e);
    if (rc)
        goto done;
    *out = self;
    self = NULL;
done:
    stylegan2_destroy(&self);
    return rc;
}

void stylegan2_destroy(struct stylegan2 **self)
{
    struct stylegan2 *s = *self;

    if (!s)
        return;
    for (int i = 0; i < s->layers; i++) {
        fc_release(&s->layer[i].affine);
        fc_release(&s->layer[i].energy);
    }
    mapping_release(&s->mapping);
    free(s->ws.data);
    free(s->coefficients.data);
    free(s->x.data);
    free(s->padded.data);
    free(s->rgb.data);
    free(s->image[0].data);
    free(s->image[1].data);
    free(s->scratch.data);
    free(s);
    *self = NULL;
}

/* ---- Rendering: steps of the pool. index counts what the comment says. ---- */

/* Samples: seed -> z -> w -> ws, truncated. */
static void make_ws(void *arg, size_t index, int worker)
{
    struct stylegan2 *self = arg;
    const struct stylegan2_arch *arch = self->arch;
    const struct sample *sample = &self->samples[index];
    const struct capture *capture = self->capture;
    size_t place = (size_t)self->first + index;
    float *ws = part(&self->ws, (int)index), *z = part(&self->scratch, worker);
    struct seed_stream stream;
    bool finite = true;

    seed_init(&stream, sample->seed);
    for (int i = 0; i < arch->z_dim; i++) {
        double drawn = seed_normal(&stream);

        if (capture && capture->z)
            capture->z[place * (size_t)arch->z_dim + (size_t)i] = drawn;
        z[i] = (float)drawn;
    }
    mapping_cpu(&self->mapping, z, sample->class_index, ws, z + arch->z_dim);
    for (int i = 0; i < arch->w_dim; i++)
        finite &= fabsf(ws[i]) <= FLT_MAX;
    if (!finite)
        report_broken(self, (int)index, BROKEN_MAPPING);
    for (int row = 1; row < arch->num_ws; row++)
        memcpy(ws + (size_t)row * arch->w_dim, ws, (size_t)arch->w_dim * sizeof *ws);
    if (sample->psi != 1.0f)
        truncate_cpu(ws, self->w_avg,
                     (struct truncate_shape){ .batch = 1, .num_ws = arch->num_ws,
                                              .w_dim = arch->w_dim },
                     sample->psi, sample->cutoff);
    if (capture && capture->ws)
        memcpy(capture->ws + place * self->ws.each, ws, self->ws.each * sizeof *ws);
}

/* Layers of each sample: style and demodulation. */
static void make_coefficients(void *arg, size_t index, int worker)
{
    struct stylegan2 *self = arg;
    int sample = (int)(index / (size_t)self->layers);
    const struct layer *layer = &self->layer[index % (size_t)self->layers];
    float *style = part(&self->coefficients, sample) + layer->style_at;
    float *demod = part(&self->coefficients, sample) + layer->demod_at;
    float *square = part(&self->scratch, worker);

    fc_cpu(&layer->affine, part(&self->ws, sample) + (size_t)layer->row * self->arch->w_dim,
           style);
    if (layer->kind == LAYER_TORGB)
        return;
    for (int i = 0; i < layer->in; i++)
        square[i] = style[i] * style[i];
    fc_cpu(&layer->energy, square, demod);
    for (int o = 0; o < layer->out; o++)
        demod[o] = 1.0f / sqrtf(demod[o]);
}

/* Input channels of each sample: scaled and framed for the convolution. */
static void modulate(void *arg, size_t index, int worker)
{
    struct stylegan2 *self = arg;
    const struct layer *layer = &self->layer[self->at];
    struct conv_shape n = shape_of(layer);
    int sample = (int)(index / (size_t)n.in), channel = (int)(index % (size_t)n.in);
    const float *x = self->at == 0 ? self->constant : part(&self->x, sample);
    const float *style = part(&self->coefficients, sample) + layer->style_at;

    (void)worker;
    conv_modulate_cpu(part(&self->padded, sample),
                      x + (size_t)channel * n.height * n.width, style[channel], channel, n);
}

static struct epilogue epilogue_of(const struct stylegan2 *self, const struct layer *layer,
                                   int sample, int channel)
{
    bool noisy = self->samples[sample].noise == RECIPE_NOISE_CONST;

    return (struct epilogue){
        .demod = part(&self->coefficients, sample)[layer->demod_at + (size_t)channel],
        .noise = noisy ? layer->noise : NULL,
        .strength = layer->noise_strength,
        .bias = layer->bias[channel],
        .clamp = self->arch->conv_clamp,
    };
}

/* Blocks of CONV_ROWS output channels of each sample. The sample changes fastest: threads that work
 * side by side share the weights. */
static void convolve(void *arg, size_t index, int worker)
{
    struct stylegan2 *self = arg;
    const struct layer *layer = &self->layer[self->at];
    struct conv_shape n = shape_of(layer);
    size_t plane = conv_plane_count(n), pitch = conv_pitch(n.width);
    int sample = (int)(index % (size_t)self->count);
    int first = (int)(index / (size_t)self->count) * CONV_ROWS;
    float *raw = part(&self->scratch, worker);
    bool up = layer->kind == LAYER_UP_CONV;

    if (up)
        conv_up_cpu(raw, part(&self->padded, sample), layer->weight, n, first);
    else
        conv_plain_cpu(raw, part(&self->padded, sample), layer->weight, n, first);
    for (int o = first; o < layer->out && o < first + CONV_ROWS; o++) {
        struct epilogue p = epilogue_of(self, layer, sample, o);
        float *x = part(&self->x, sample) + (size_t)o * pixels_of(layer->size);
        const float *from = raw + (size_t)(o - first) * plane;
        size_t from_pitch = pitch;

        if (up) {
            fir_join_cpu(x, raw + (size_t)(o - first) * 4 * plane, plane, pitch, n.height, n.width,
                         raw + CONV_ROWS * 4 * plane);
            from = x;
            from_pitch = (size_t)layer->size;
        }
        if (!epilogue_cpu(x, from, from_pitch, layer->size, layer->size, &p))
            report_broken(self, sample, 1 + self->at);
    }
}

static size_t rgb_runs(const struct layer *layer)
{
    return (pixels_of(layer->size) + RGB_RUN - 1) / RGB_RUN;
}

/* Runs of pixels of each sample. */
static void make_rgb(void *arg, size_t index, int worker)
{
    struct stylegan2 *self = arg;
    const struct layer *layer = &self->layer[self->at];
    int sample = (int)(index / rgb_runs(layer));
    size_t pixels = pixels_of(layer->size), first = index % rgb_runs(layer) * RGB_RUN;
    struct torgb p = {
        .channels = layer->in,
        .pixels = pixels,
        .weight = layer->weight,
        .bias = layer->bias,
        .style = part(&self->coefficients, sample) + layer->style_at,
        .clamp = self->arch->conv_clamp,
    };

    (void)worker;
    if (!torgb_cpu(part(&self->rgb, sample), part(&self->x, sample), first,
                   pixels - first < RGB_RUN ? pixels - first : RGB_RUN, &p))
        report_broken(self, sample, 1 + self->at);
}

/* Colours of each sample: the picture so far, doubled, plus this layer's part. */
static void add_rgb(void *arg, size_t index, int worker)
{
    struct stylegan2 *self = arg;
    const struct layer *layer = &self->layer[self->at];
    int sample = (int)(index / TORGB_CHANNELS), before = layer->size / 2;
    size_t pixels = pixels_of(layer->size), colour = index % TORGB_CHANNELS;
    const float *rgb = part(&self->rgb, sample) + colour * pixels;
    const float *old = part(&self->image[!self->picture], sample) + colour * pixels_of(before);
    float *image = part(&self->image[self->picture], sample) + colour * pixels;

    if (layer->size == 4) {
        memcpy(image, rgb, pixels * sizeof *image);
        return;
    }
    fir_double_cpu(image, old, before, before, part(&self->scratch, worker));
    for (size_t i = 0; i < pixels; i++)
        image[i] += rgb[i];
}

/* Samples: the finished picture, as floats and as bytes. */
static void finish_picture(void *arg, size_t index, int worker)
{
    struct stylegan2 *self = arg;
    size_t pixels = pixels_of(self->arch->resolution), floats = TORGB_CHANNELS * pixels;
    const float *image = part(&self->image[self->picture], (int)index);
    const struct capture *capture = self->capture;
    bool finite = true;

    (void)worker;
    for (size_t i = 0; i < floats; i++)
        finite &= fabsf(image[i]) <= FLT_MAX;
    if (!finite)
        report_broken(self, (int)index, BROKEN_PICTURE);
    if (capture && capture->image)
        memcpy(capture->image + ((size_t)self->first + index) * floats, image,
               floats * sizeof *image);
    if (self->pixels)
        quantize_cpu(self->pixels + index * floats, image, pixels);
}

/* ---- Rendering: the order of the steps ---- */

static void trace(const struct stylegan2 *self, const char *name, const struct planes *planes,
                  int channels, int size)
{
    const struct capture *capture = self->capture;

    if (!capture || !capture->trace)
        return;
    for (int i = 0; i < self->count; i++)
        capture->trace(capture->trace_arg, self->first + i, name, part(planes, i), channels, size,
                       size);
}

static void run_layer(struct stylegan2 *self)
{
    const struct layer *layer = &self->layer[self->at];
    size_t count = (size_t)self->count;
    char name[24];

    if (layer->kind != LAYER_TORGB) {
        pool_run(self->pool, count * (size_t)layer->in, modulate, self);
        pool_run(self->pool, count * (size_t)((layer->out + CONV_ROWS - 1) / CONV_ROWS), convolve,
                 self);
        trace(self, layer->name, &self->x, layer->out, layer->size);
        return;
    }
    pool_run(self->pool, count * rgb_runs(layer), make_rgb, self);
    self->picture = !self->picture;
    pool_run(self->pool, count * TORGB_CHANNELS, add_rgb, self);
    trace(self, layer->name, &self->rgb, TORGB_CHANNELS, layer->size);
    snprintf(name, sizeof name, "b%d.x", layer->size);
    trace(self, name, &self->x, layer->in, layer->size);
    snprintf(name, sizeof name, "b%d.img", layer->size);
    trace(self, name, &self->image[self->picture], TORGB_CHANNELS, layer->size);
}

static enum err_code check_group(struct stylegan2 *self, struct err *e)
{
    for (int i = 0; i < self->count; i++) {
        int where = atomic_load(&self->broken[i]);
        const char *name = where == BROKEN_MAPPING   ? "mapping"
                           : where == BROKEN_PICTURE ? "picture"
                           : where > 0               ? self->layer[where - 1].name
                                                     : NULL;

        if (name)
            return err_set(e, ERR_DEVICE, "a value of %s is not finite: sample %d, seed %u", name,
                           self->first + i, (unsigned)self->samples[i].seed);
    }
    return ERR_OK;
}

enum err_code stylegan2_render(struct stylegan2 *self, const struct sample *samples, int count,
                               uint8_t *rgb, const struct capture *capture, struct err *e)
{
    size_t bytes = TORGB_CHANNELS * pixels_of(self->arch->resolution);
    enum err_code rc = ERR_OK;

    self->capture = capture;
    for (int first = 0; !rc && first < count; first += self->group) {
        self->samples = samples + first;
        self->first = first;
        self->count = count - first < self->group ? count - first : self->group;
        self->pixels = rgb ? rgb + (size_t)first * bytes : NULL;
        for (int i = 0; i < self->count; i++)
            atomic_store(&self->broken[i], 0);
        pool_run(self->pool, (size_t)self->count, make_ws, self);
        pool_run(self->pool, (size_t)self->count * (size_t)self->layers, make_coefficients, self);
        for (self->at = 0; self->at < self->layers; self->at++)
            run_layer(self);
        pool_run(self->pool, (size_t)self->count, finish_picture, self);
        rc = check_group(self, e);
    }
    return rc;
}
