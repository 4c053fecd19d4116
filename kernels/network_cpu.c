#include "kernels/network.h"

#include "kernels/epilogue.h"
#include "kernels/fir.h"
#include "kernels/floats.h"
#include "kernels/mapping.h"
#include "kernels/normalize.h"
#include "kernels/quantize.h"
#include "kernels/seed.h"
#include "kernels/torgb.h"
#include "kernels/truncate.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GROUP_MAX = 8,              /* samples that go through the network side by side */
    GROUP_FLOATS = 64 << 20,    /* of activations, beyond which a group is one sample */
    RGB_RUN = 4096,             /* pixels of a torgb step */
    FIR_ROWS = 32,              /* rows of a FIR step, at least */
    FIR_PIXELS = 16384,         /* and pixels */
    ALIGN_FLOATS = 16,          /* where a sample's or a thread's part begins */
};

static const float DEMOD_EPSILON = 1e-8f;

/* A layer, prepared. What a sample's coefficients hold for it lies at the offsets. */
struct layer {
    struct plan_layer plan;     /* its tensors are copies, in kept[] */
    struct conv conv;           /* the picture's layers and those of no input have none */
    float *rgb_weight;          /* PICTURE: [3,in] */
    struct fc affine;
    struct fc energy;           /* style^2 -> sum_{i,a,b} (weight * style)^2 + epsilon [out] */
    size_t style_at;            /* [in], or [2 out] with normalize, or the waves' [4] */
    size_t demod_at;            /* [out]; PICTURE: [3,in] weights and [3] biases */
    size_t scale_at, shift_at;  /* [out], normalize: what the next layer reads its input with */
    size_t noise_at;            /* in a sample's own noise planes */
};

/* Memory of the samples of a group (or of the threads); a sample's part is `each` floats behind the
 * one before. */
struct planes {
    float *data;
    size_t each;
};

enum { PARTS = 10 };            /* struct planes of a network */

/* An offset that there is not. */
static const size_t NOWHERE = SIZE_MAX;

struct network {
    struct pool *pool;
    int resolution, num_ws, z_dim, w_dim;
    float picture_gain;
    bool accumulates;           /* several layers make the picture */
    struct mapping mapping;
    const float *w_avg;         /* [w_dim] */
    struct fourier waves;
    const float *transform;     /* [3,3] */
    struct layer layer[PLAN_LAYERS_MAX];
    int layers;
    float *kept[4 * PLAN_LAYERS_MAX + 8];   /* copies of the model's small tensors */
    int kept_count;

    int group;                  /* samples of a group */
    float *memory;              /* where all these lie */
    size_t memory_floats;
    struct planes ws;           /* [num_ws, w_dim] */
    struct planes coefficients;
    struct planes noise;        /* planes that a sample brings itself, all layers' */
    struct planes waved;        /* struct fourier_wave [channels] */
    struct planes x[2];         /* activations; layers take turns. A torgb's output, [3,size,size],
                                   lies in the one that is not its input */
    struct planes moments;      /* struct moments [channels, rows] */
    struct planes image[2];     /* the picture so far [3, size, size]; blocks take turns */
    struct planes scratch;      /* of a thread */

    /* The group at work. */
    const struct sample *samples;
    int first, count;           /* of samples */
    const struct capture *capture;
    uint8_t *pixels;            /* of the group's first sample; NULL: not wanted */
    int at;                     /* index in layer[] */
    int turn;                   /* x[] that holds the last layer's output */
    int picture;                /* image[] that holds the picture so far */
    struct conv_job job;
    struct conv_tiling tiling;
    atomic_int broken[GROUP_MAX];   /* 1 + index of the first layer with a value not finite */
};

/* What broken[] says of the mapping network and of the finished picture. */
enum { BROKEN_MAPPING = PLAN_LAYERS_MAX + 1, BROKEN_PICTURE };

static float *part(const struct planes *planes, int index)
{
    return planes->data + (size_t)index * planes->each;
}

static void report_broken(struct network *self, int index, int where)
{
    int none = 0;

    atomic_compare_exchange_strong(&self->broken[index], &none, where);
}

static size_t pixels_of(int size)
{
    return (size_t)size * (size_t)size;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static bool goes_up(const struct layer *layer)
{
    return layer->plan.conv.kind != CONV_PLAIN;
}

/* ---- Preparing ---- */

/* Replaces a borrowed tensor by a copy of its own. */
static enum err_code keep(struct network *self, const float **tensor, size_t count, struct err *e)
{
    float *copy;
    enum err_code rc;

    if (!*tensor)
        return ERR_OK;
    rc = floats_create(count, 1, 1, &copy, e);
    if (rc)
        return rc;
    memcpy(copy, *tensor, count * sizeof *copy);
    *tensor = self->kept[self->kept_count++] = copy;
    return ERR_OK;
}

/* energy: the squares of a kernel's weights summed once, so that a sample's demodulation is a
 * product of vector and matrix. */
static enum err_code prepare_energy(struct layer *layer, const float *gain, struct err *e)
{
    const struct plan_layer *plan = &layer->plan;
    int in = plan->conv.in, out = plan->conv.out, k = plan->conv.kernel;
    float *squares;
    enum err_code rc = floats_create((size_t)out, (size_t)in, 1, &squares, e);

    if (rc)
        return rc;
    for (int o = 0; o < out; o++)
        for (int i = 0; i < in; i++)
            for (int t = 0; t < k * k; t++) {
                float w = plan_weight(plan, o, i, t / k, t % k) * gain[o];

                squares[(size_t)o * (size_t)in + (size_t)i] += w * w;
            }
    rc = fc_init(&layer->energy,
                 &(struct fc_weights){ .in = in, .out = out, .weight = squares, .weight_gain = 1.0f,
                                       .bias_gain = DEMOD_EPSILON }, e);
    free(squares);
    return rc;
}

static enum err_code prepare_weights(struct layer *layer, struct err *e)
{
    struct plan_layer *plan = &layer->plan;
    size_t in = (size_t)plan->conv.in, out = (size_t)plan->conv.out;
    struct conv_weights weights = plan->weights;
    float *gain;
    enum err_code rc = floats_create(out, 1, 1, &gain, e);

    if (rc)
        return rc;
    plan_gains(plan, gain);
    weights.scale = gain;
    if (plan->finish == PLAN_PICTURE) {
        rc = floats_create(out, in, 1, &layer->rgb_weight, e);
        for (size_t i = 0; !rc && i < out * in; i++)
            layer->rgb_weight[i] = plan_weight(plan, (int)(i / in), (int)(i % in), 0, 0) *
                                   gain[i / in] * plan->out_gain;
    } else {
        rc = conv_init(&layer->conv, &plan->conv, &weights, e);
    }
    if (!rc && plan->demodulate)
        rc = prepare_energy(layer, gain, e);
    plan->weights.data = NULL;
    free(gain);
    return rc;
}

/* A place for count floats in a sample's coefficients. */
static size_t place(struct network *self, int count)
{
    size_t at = self->coefficients.each;

    self->coefficients.each += (size_t)count;
    return at;
}

static enum err_code add_layer(struct network *self, const struct plan_layer *plan, struct err *e)
{
    struct layer *layer = &self->layer[self->layers++];
    struct plan_layer *own = &layer->plan;
    int in = plan->conv.in, out = plan->conv.out;
    enum err_code rc = ERR_OK;

    layer->plan = *plan;
    self->accumulates |= plan->adds;
    rc = keep(self, &own->constant, (size_t)(in > 0 ? in : out) * pixels_of(plan->size), e);
    if (!rc)
        rc = keep(self, &own->bias, (size_t)out, e);
    if (!rc)
        rc = keep(self, &own->noise, pixels_of(plan->size), e);
    if (!rc)
        rc = keep(self, &own->noise_weight, (size_t)plan->noise_weights, e);
    if (!rc && in > 0)
        rc = prepare_weights(layer, e);
    if (!rc && plan->affine.out > 0)
        rc = fc_init(&layer->affine, &plan->affine, e);
    layer->style_at = place(self, plan->affine.out);
    layer->demod_at = place(self, plan->finish == PLAN_PICTURE ? TORGB_CHANNELS * (in + 1) : out);
    layer->scale_at = place(self, plan->normalize ? out : 0);
    layer->shift_at = place(self, plan->normalize ? out : 0);
    layer->noise_at = self->noise.each;
    if (plan->noise)
        self->noise.each += pixels_of(plan->size);
    own->affine = (struct fc_weights){ 0 };
    return rc;
}

/* A convolution's output, before what follows it. */
static size_t conv_count(const struct layer *layer)
{
    return (size_t)layer->plan.conv.out * (size_t)layer->conv.phases * pixels_of(layer->conv.rows);
}

static int fir_rows(const struct layer *layer)
{
    int rows = FIR_PIXELS / layer->plan.size;

    return rows > FIR_ROWS ? rows : FIR_ROWS;
}

static void need(size_t *each, size_t floats)
{
    *each = larger(*each, floats);
}

/* What a layer needs of each part of the memory; turn and picture as in a render. */
static void measure_layer(struct network *self, const struct layer *layer, int *turn, int *picture)
{
    const struct plan_layer *plan = &layer->plan;
    size_t pixels = pixels_of(plan->size), out = (size_t)plan->conv.out * pixels;

    if (plan->finish == PLAN_PICTURE) {
        *picture = !*picture;
        need(&self->x[!*turn].each, TORGB_CHANNELS * pixels);
        need(&self->image[*picture].each, TORGB_CHANNELS * pixels);
        need(&self->scratch.each, fir_scratch_count(plan->size / 2));
        return;
    }
    if (plan->source == PLAN_WAVES)
        need(&self->x[*turn].each, (size_t)plan->conv.in * pixels_of(plan->conv.size));
    need(&self->x[!*turn].each, plan->conv.in > 0 ? conv_count(layer) : out);
    need(&self->scratch.each, (size_t)plan->conv.in);
    if (goes_up(layer))
        need(&self->scratch.each, fir_scratch_count(plan->size / 2));
    if (plan->finish == PLAN_FILTER)
        need(&self->scratch.each, filtered_lrelu_scratch_count(&plan->filter));
    if (goes_up(layer) || plan->finish == PLAN_FILTER)
        need(&self->x[*turn].each, out);
    else
        *turn = !*turn;
    if (plan->normalize)
        need(&self->moments.each, (size_t)plan->conv.out * (size_t)plan->size *
                                      sizeof(struct moments) / sizeof(float));
}

struct memory_part {
    struct planes *planes;
    int count;                  /* samples or threads */
};

static void list_parts(struct network *self, struct memory_part out[PARTS])
{
    struct planes *const SAMPLES[PARTS - 1] = {
        &self->ws, &self->coefficients, &self->noise, &self->waved, &self->x[0], &self->x[1],
        &self->moments, &self->image[0], &self->image[1],
    };

    for (int i = 0; i < PARTS - 1; i++)
        out[i] = (struct memory_part){ SAMPLES[i], self->group };
    out[PARTS - 1] = (struct memory_part){ &self->scratch, pool_threads(self->pool) };
}

/* How much each part of the memory must hold. Sizes are products of numbers that the architectures
 * bound (4 * 4608^2 * 4096 floats at most, a few hundred times): none overflows. */
static void measure(struct network *self, int max_batch)
{
    int threads = pool_threads(self->pool), turn = 0, picture = 0;
    struct memory_part parts[PARTS];
    size_t activations;

    self->ws.each = (size_t)self->num_ws * (size_t)self->w_dim;
    self->scratch.each = mapping_scratch_count(&self->mapping) + (size_t)self->z_dim;
    self->waved.each = (size_t)self->waves.channels * sizeof(struct fourier_wave) / sizeof(float);
    for (int i = 0; i < self->layers; i++)
        measure_layer(self, &self->layer[i], &turn, &picture);

    /* Many small samples side by side keep all threads busy in the first layers; large ones do so
     * by themselves. */
    activations = self->x[0].each + self->x[1].each;
    self->group = 1;
    while (self->group < GROUP_MAX && self->group < max_batch &&
           (size_t)(self->group + 1) * activations <= GROUP_FLOATS)
        self->group++;
    for (int i = 0; i < self->layers; i++)
        if (self->layer[i].conv.packed)
            need(&self->scratch.each,
                 conv_scratch_count(&self->layer[i].conv, self->group, threads));

    list_parts(self, parts);
    for (int i = 0; i < PARTS; i++) {
        size_t *each = &parts[i].planes->each;

        *each = (*each + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
        self->memory_floats += *each * (size_t)parts[i].count;
    }
}

size_t network_reserve_bytes(const struct network *self)
{
    return self->memory_floats * sizeof *self->memory;
}

/* In one piece: a size that cannot be had is refused before a page is touched. */
enum err_code network_reserve(struct network *self, struct err *e)
{
    struct memory_part parts[PARTS];
    enum err_code rc = floats_create(self->memory_floats, 1, 1, &self->memory, e);
    float *at = self->memory;

    if (rc)
        return rc;
    list_parts(self, parts);
    for (int i = 0; i < PARTS; i++) {
        parts[i].planes->data = at;
        at += parts[i].planes->each * (size_t)parts[i].count;
    }
    return ERR_OK;
}

enum err_code network_create(const struct plan *plan, struct pool *pool, int max_batch,
                             struct network **out, struct err *e)
{
    struct network *self = calloc(1, sizeof *self);
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a network");
    self->pool = pool;
    self->resolution = plan->resolution;
    self->num_ws = plan->num_ws;
    self->z_dim = plan->mapping.z_dim;
    self->w_dim = plan->mapping.w_dim;
    self->picture_gain = plan->picture_gain;
    self->w_avg = plan->mapping.w_avg;
    self->waves = plan->waves;
    self->transform = plan->transform;
    rc = keep(self, &self->w_avg, (size_t)self->w_dim, e);
    if (!rc)
        rc = keep(self, &self->waves.freqs, 2 * (size_t)self->waves.channels, e);
    if (!rc)
        rc = keep(self, &self->waves.phases, (size_t)self->waves.channels, e);
    if (!rc)
        rc = keep(self, &self->transform, 9, e);
    if (!rc)
        rc = mapping_init(&self->mapping, &plan->mapping, e);
    for (int i = 0; !rc && i < plan->layers; i++)
        rc = add_layer(self, &plan->layer[i], e);
    if (rc)
        goto done;
    measure(self, max_batch);
    *out = self;
    self = NULL;
done:
    network_destroy(&self);
    return rc;
}

void network_destroy(struct network **self)
{
    struct network *s = *self;

    if (!s)
        return;
    for (int i = 0; i < s->layers; i++) {
        conv_release(&s->layer[i].conv);
        fc_release(&s->layer[i].affine);
        fc_release(&s->layer[i].energy);
        free(s->layer[i].rgb_weight);
    }
    for (int i = 0; i < s->kept_count; i++)
        free(s->kept[i]);
    mapping_release(&s->mapping);
    free(s->memory);
    free(s);
    *self = NULL;
}

/* ---- Rendering: before the first layer. index counts what the comment says. ---- */

/* A sample's own noise planes, layer after layer, from where stream stands. */
static void draw_noise(struct network *self, int index, struct seed_stream *stream)
{
    float *noise = part(&self->noise, index);

    for (int i = 0; i < self->layers; i++) {
        const struct layer *layer = &self->layer[i];

        for (size_t j = 0; layer->plan.noise && j < pixels_of(layer->plan.size); j++)
            noise[layer->noise_at + j] = (float)seed_normal(stream);
    }
}

/* Samples: seed -> z -> w -> ws, truncated; and the noise that depends on seeds. */
static void make_ws(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    const struct sample *sample = &self->samples[index];
    const struct capture *capture = self->capture;
    size_t place = (size_t)self->first + index, w_dim = (size_t)self->w_dim;
    float *ws = part(&self->ws, (int)index), *z = part(&self->scratch, worker);
    struct seed_stream stream;
    bool finite = true;

    seed_init(&stream, sample->seed);
    for (int i = 0; i < self->z_dim; i++) {
        double drawn = seed_normal(&stream);

        if (capture && capture->z)
            capture->z[place * (size_t)self->z_dim + (size_t)i] = drawn;
        z[i] = (float)drawn;
    }
    mapping_cpu(&self->mapping, z, sample->class_index, ws, z + self->z_dim);
    for (size_t i = 0; i < w_dim; i++)
        finite &= fabsf(ws[i]) <= FLT_MAX;
    if (!finite)
        report_broken(self, (int)index, BROKEN_MAPPING);
    for (int row = 1; row < self->num_ws; row++)
        memcpy(ws + (size_t)row * w_dim, ws, w_dim * sizeof *ws);
    if (sample->psi != 1.0f)
        truncate_cpu(ws, self->w_avg,
                     (struct truncate_shape){ .batch = 1, .num_ws = self->num_ws,
                                              .w_dim = self->w_dim },
                     sample->psi, sample->cutoff);
    if (capture && capture->ws)
        memcpy(capture->ws + place * (size_t)self->num_ws * w_dim, ws,
               (size_t)self->num_ws * w_dim * sizeof *ws);
    if (sample->noise == RECIPE_NOISE_RANDOM)
        seed_init(&stream, sample->noise_seed);
    if (sample->noise == RECIPE_NOISE_RANDOM || sample->noise == RECIPE_NOISE_STREAM)
        draw_noise(self, (int)index, &stream);
}

static void make_demod(const struct layer *layer, const float *style, float *demod, float *square)
{
    const struct plan_layer *plan = &layer->plan;

    for (int o = 0; o < plan->conv.out; o++)
        demod[o] = plan->out_gain;
    if (!plan->demodulate)
        return;
    for (int i = 0; i < plan->conv.in; i++)
        square[i] = style[i] * style[i];
    fc_cpu(&layer->energy, square, demod);
    for (int o = 0; o < plan->conv.out; o++)
        demod[o] = plan->out_gain / sqrtf(demod[o]);
}

/* Layers of each sample: style and demodulation. */
static void make_coefficients(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    int sample = (int)(index / (size_t)self->layers);
    const struct layer *layer = &self->layer[index % (size_t)self->layers];
    const struct plan_layer *plan = &layer->plan;
    float *coefficients = part(&self->coefficients, sample);
    float *style = coefficients + layer->style_at;

    if (layer->affine.out > 0)
        fc_cpu(&layer->affine, part(&self->ws, sample) + (size_t)plan->row * (size_t)self->w_dim,
               style);
    if (plan->unit_style) {
        float sum = 0.0f;

        for (int i = 0; i < plan->conv.in; i++)
            sum = fmaf(style[i], style[i], sum);
        float unit = 1.0f / sqrtf(sum / (float)plan->conv.in);

        for (int i = 0; i < plan->conv.in; i++)
            style[i] *= unit;
    }
    if (plan->finish != PLAN_PICTURE)
        make_demod(layer, style, coefficients + layer->demod_at, part(&self->scratch, worker));
    if (plan->source == PLAN_WAVES) {
        float transform[9];

        fourier_transform(transform, &self->samples[sample].transform, self->transform);
        fourier_waves_cpu((struct fourier_wave *)(void *)part(&self->waved, sample), &self->waves,
                          style, transform);
    }
}

/* Channels of each sample: the waves. */
static void make_waves(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    size_t channels = (size_t)self->waves.channels, channel = index % channels;
    int sample = (int)(index / channels);
    const struct fourier_wave *wave = (const void *)part(&self->waved, sample);

    (void)worker;
    fourier_plane_cpu(part(&self->x[self->turn], sample) + channel * pixels_of(self->waves.size),
                      &self->waves, &wave[channel]);
}

/* ---- Rendering: layers ---- */

/* What ends rows from first on of a channel. */
static struct epilogue epilogue_of(const struct network *self, const struct layer *layer,
                                   int sample, int channel, int first)
{
    const struct plan_layer *plan = &layer->plan;
    const float *noise = NULL;
    size_t row = (size_t)first * (size_t)plan->size;

    if (plan->noise)
        switch (self->samples[sample].noise) {
        case RECIPE_NOISE_CONST:
            noise = plan->noise + row;
            break;
        case RECIPE_NOISE_RANDOM:
        case RECIPE_NOISE_STREAM:
            noise = part(&self->noise, sample) + layer->noise_at + row;
            break;
        default:
            break;
        }
    return (struct epilogue){
        .demod = part(&self->coefficients, sample)[layer->demod_at + (size_t)channel],
        .noise = noise,
        .strength = noise ? plan->noise_weight[plan->noise_weights > 1 ? channel : 0] : 0.0f,
        .bias = plan->bias[channel],
        .gain = plan->gain,
        .clamp = plan->clamp,
    };
}

/* Rows of a channel as the layer leaves them: x may be where they go. */
static void finish_rows(struct network *self, int sample, int channel, int first, int rows,
                        float *out, const float *x, size_t pitch)
{
    const struct layer *layer = &self->layer[self->at];
    struct epilogue p = epilogue_of(self, layer, sample, channel, first);
    int size = layer->plan.size;

    if (!epilogue_cpu(out, x, pitch, rows, size, &p))
        report_broken(self, sample, 1 + self->at);
    if (layer->plan.normalize) {
        struct moments *moments = (struct moments *)(void *)part(&self->moments, sample);

        for (int r = 0; r < rows; r++)
            moments[(size_t)channel * (size_t)size + (size_t)(first + r)] =
                moments_cpu(out + (size_t)r * (size_t)size, size);
    }
}

/* What a convolution makes, into the activation that is not its input. */
static void store(void *arg, int sample, int channel, int phase, int first, int rows,
                  const float *y, size_t pitch)
{
    struct network *self = arg;
    const struct layer *layer = &self->layer[self->at];
    const struct plan_layer *plan = &layer->plan;
    int width = layer->conv.rows;
    float *out = part(&self->x[!self->turn], sample) +
                 ((size_t)channel * (size_t)layer->conv.phases + (size_t)phase) * pixels_of(width) +
                 (size_t)first * (size_t)width;
    float demod = part(&self->coefficients, sample)[layer->demod_at + (size_t)channel];

    if (goes_up(layer))         /* demodulated behind the FIR, with the rest of the epilogue */
        epilogue_scale_cpu(out, y, pitch, rows, width, 1.0f, 0.0f);
    else if (plan->finish == PLAN_ACTIVATE)
        finish_rows(self, sample, channel, first, rows, out, y, pitch);
    else
        epilogue_scale_cpu(out, y, pitch, rows, width, demod,
                           plan->finish == PLAN_FILTER ? plan->bias[channel] : 0.0f);
}

/* Items of the convolution. */
static void convolve(void *arg, size_t index, int worker)
{
    struct network *self = arg;

    conv_cpu(&self->job, &self->tiling, index, part(&self->scratch, worker));
}

/* Channels of each sample: a constant as the layer's input. */
static void finish_constant(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    const struct plan_layer *plan = &self->layer[self->at].plan;
    size_t pixels = pixels_of(plan->size), channel = index % (size_t)plan->conv.out;
    int sample = (int)(index / (size_t)plan->conv.out);

    (void)worker;
    finish_rows(self, sample, (int)channel, 0, plan->size,
                part(&self->x[!self->turn], sample) + channel * pixels,
                plan->constant + channel * pixels, (size_t)plan->size);
}

/* Bands of rows of the channels of each sample: the FIR behind an up-convolution, and the end. */
static void filter_up(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    const struct layer *layer = &self->layer[self->at];
    int size = layer->plan.size, band = fir_rows(layer), bands = (size + band - 1) / band;
    int first = (int)(index % (size_t)bands) * band;
    int channel = (int)(index / (size_t)bands % (size_t)layer->plan.conv.out);
    int sample = (int)(index / (size_t)bands / (size_t)layer->plan.conv.out);
    int rows = size - first < band ? size - first : band;
    size_t plane = pixels_of(layer->conv.rows);
    struct fir_phases y = {
        .data = part(&self->x[!self->turn], sample) + (size_t)channel * 4 * plane,
        .plane = plane,
        .rows = layer->conv.rows,
        .size = layer->plan.conv.kind == CONV_UP_SCATTER ? size + 1 : size,
    };
    float *out = part(&self->x[self->turn], sample) + (size_t)channel * pixels_of(size) +
                 (size_t)first * (size_t)size;

    fir_join_cpu(out, &y, layer->plan.fir, first, rows, size, part(&self->scratch, worker));
    finish_rows(self, sample, channel, first, rows, out, out, (size_t)size);
}

/* Channels of each sample: the filtered activation. */
static void filter_lrelu(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    const struct layer *layer = &self->layer[self->at];
    size_t out = (size_t)layer->plan.conv.out, channel = index % out;
    int sample = (int)(index / out);

    if (!filtered_lrelu_cpu(&layer->plan.filter,
                            part(&self->x[self->turn], sample) +
                                channel * pixels_of(layer->plan.size),
                            part(&self->x[!self->turn], sample) +
                                channel * pixels_of(layer->conv.rows),
                            part(&self->scratch, worker)))
        report_broken(self, sample, 1 + self->at);
}

/* Samples: the scale and shift that the next layer reads the channels with. */
static void fold_moments(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    const struct layer *layer = &self->layer[self->at];
    int channels = layer->plan.conv.out, size = layer->plan.size;
    float *coefficients = part(&self->coefficients, (int)index);
    const float *style = coefficients + layer->style_at;
    const struct moments *moments = (const void *)part(&self->moments, (int)index);

    (void)worker;
    for (int c = 0; c < channels; c++)
        normalize_cpu(&coefficients[layer->scale_at + (size_t)c],
                      &coefficients[layer->shift_at + (size_t)c],
                      moments + (size_t)c * (size_t)size, size, pixels_of(size), style[c],
                      style[channels + c]);
}

/* How the layer at work scales and shifts its input's channels: where in each sample's
 * coefficients; NOWHERE: not at all. */
struct input_scale {
    size_t scale_at, shift_at;
};

static struct input_scale input_scale(const struct network *self)
{
    const struct layer *layer = &self->layer[self->at];

    if (layer->plan.modulate)
        return (struct input_scale){ layer->style_at, NOWHERE };
    if (self->at > 0 && layer[-1].plan.normalize)
        return (struct input_scale){ layer[-1].scale_at, layer[-1].shift_at };
    return (struct input_scale){ NOWHERE, NOWHERE };
}

/* NULL for NOWHERE. */
static const float *coefficients_at(const struct network *self, int sample, size_t at)
{
    return at == NOWHERE ? NULL : part(&self->coefficients, sample) + at;
}

static void run_conv(struct network *self)
{
    const struct layer *layer = &self->layer[self->at];
    struct input_scale in = input_scale(self);
    bool constant = layer->plan.source == PLAN_CONSTANT;

    self->job = (struct conv_job){
        .conv = &layer->conv,
        .samples = self->count,
        .x = constant ? layer->plan.constant : self->x[self->turn].data,
        .x_each = constant ? 0 : self->x[self->turn].each,
        .scale = coefficients_at(self, 0, in.scale_at),
        .shift = coefficients_at(self, 0, in.shift_at),
        .scale_each = self->coefficients.each,
        .store = store,
        .arg = self,
    };
    self->tiling = conv_tile(&layer->conv, self->count, pool_threads(self->pool));
    pool_run(self->pool, self->tiling.items, convolve, self);
}

static void run_layer(struct network *self)
{
    const struct layer *layer = &self->layer[self->at];
    size_t count = (size_t)self->count, out = (size_t)layer->plan.conv.out;

    if (layer->plan.source == PLAN_WAVES)
        pool_run(self->pool, count * (size_t)self->waves.channels, make_waves, self);
    if (layer->plan.conv.in > 0)
        run_conv(self);
    else
        pool_run(self->pool, count * out, finish_constant, self);
    if (goes_up(layer)) {
        size_t bands = (size_t)((layer->plan.size + fir_rows(layer) - 1) / fir_rows(layer));

        pool_run(self->pool, count * out * bands, filter_up, self);
    } else if (layer->plan.finish == PLAN_FILTER) {
        pool_run(self->pool, count * out, filter_lrelu, self);
    } else {
        self->turn = !self->turn;
    }
    if (layer->plan.normalize)
        pool_run(self->pool, count, fold_moments, self);
}

/* ---- Rendering: the picture ---- */

static size_t rgb_runs(const struct layer *layer)
{
    return (pixels_of(layer->plan.size) + RGB_RUN - 1) / RGB_RUN;
}

/* Samples: the input's scale in the weights. */
static void fold_rgb(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    const struct layer *layer = &self->layer[self->at];
    const struct plan_layer *plan = &layer->plan;
    struct input_scale in = input_scale(self);
    float *weight = part(&self->coefficients, (int)index) + layer->demod_at;

    (void)worker;
    torgb_fold_cpu(weight, weight + TORGB_CHANNELS * plan->conv.in, layer->rgb_weight, plan->bias,
                   coefficients_at(self, (int)index, in.scale_at),
                   coefficients_at(self, (int)index, in.shift_at), plan->conv.in);
}

/* Runs of pixels of each sample. */
static void make_rgb(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    const struct layer *layer = &self->layer[self->at];
    int sample = (int)(index / rgb_runs(layer));
    size_t pixels = pixels_of(layer->plan.size), first = index % rgb_runs(layer) * RGB_RUN;
    const float *weight = part(&self->coefficients, sample) + layer->demod_at;
    struct torgb p = {
        .channels = layer->plan.conv.in,
        .pixels = pixels,
        .weight = weight,
        .bias = weight + TORGB_CHANNELS * layer->plan.conv.in,
        .clamp = layer->plan.clamp,
    };

    (void)worker;
    if (!torgb_cpu(part(&self->x[!self->turn], sample), part(&self->x[self->turn], sample), first,
                   pixels - first < RGB_RUN ? pixels - first : RGB_RUN, &p))
        report_broken(self, sample, 1 + self->at);
}

/* Colours of each sample: the picture so far, doubled, plus this layer's part. */
static void add_rgb(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    const struct layer *layer = &self->layer[self->at];
    int sample = (int)(index / TORGB_CHANNELS), before = layer->plan.size / 2;
    size_t pixels = pixels_of(layer->plan.size), colour = index % TORGB_CHANNELS;
    const float *rgb = part(&self->x[!self->turn], sample) + colour * pixels;
    const float *old = part(&self->image[!self->picture], sample) + colour * pixels_of(before);
    float *image = part(&self->image[self->picture], sample) + colour * pixels;

    if (!layer->plan.adds) {
        memcpy(image, rgb, pixels * sizeof *image);
        return;
    }
    fir_double_cpu(image, old, before, before, part(&self->scratch, worker));
    for (size_t i = 0; i < pixels; i++)
        image[i] += rgb[i];
}

static void run_picture(struct network *self)
{
    const struct layer *layer = &self->layer[self->at];
    size_t count = (size_t)self->count;

    pool_run(self->pool, count, fold_rgb, self);
    pool_run(self->pool, count * rgb_runs(layer), make_rgb, self);
    self->picture = !self->picture;
    pool_run(self->pool, count * TORGB_CHANNELS, add_rgb, self);
}

/* Samples: the finished picture, as floats and as bytes. */
static void finish_picture(void *arg, size_t index, int worker)
{
    struct network *self = arg;
    size_t pixels = pixels_of(self->resolution), floats = TORGB_CHANNELS * pixels;
    float *image = part(&self->image[self->picture], (int)index);
    const struct capture *capture = self->capture;
    bool finite = true;

    (void)worker;
    for (size_t i = 0; i < floats; i++) {
        image[i] *= self->picture_gain;
        finite &= fabsf(image[i]) <= FLT_MAX;
    }
    if (!finite)
        report_broken(self, (int)index, BROKEN_PICTURE);
    if (capture && capture->image)
        memcpy(capture->image + ((size_t)self->first + index) * floats, image,
               floats * sizeof *image);
    if (self->pixels)
        quantize_cpu(self->pixels + index * floats, image, pixels);
}

/* ---- Rendering: the order of the steps ---- */

/* A layer's output as its description says, with what the next layer would do to it on reading. */
static void trace_planes(const struct network *self, const char *name, const struct planes *planes,
                         const struct layer *normalized, int channels, int size)
{
    const struct capture *capture = self->capture;
    size_t pixels = pixels_of(size), floats = (size_t)channels * pixels;
    float *copy = malloc(floats * sizeof *copy);

    for (int i = 0; copy && i < self->count; i++) {
        const float *coefficients = part(&self->coefficients, i);

        memcpy(copy, part(planes, i), floats * sizeof *copy);
        for (size_t j = 0; normalized && j < floats; j++)
            copy[j] = fmaf(copy[j], coefficients[normalized->scale_at + j / pixels],
                           coefficients[normalized->shift_at + j / pixels]);
        capture->trace(capture->trace_arg, self->first + i, name, copy, channels, size, size);
    }
    free(copy);
}

static void trace_layer(const struct network *self)
{
    const struct layer *layer = &self->layer[self->at];
    const struct plan_layer *plan = &layer->plan;
    const struct planes *x = &self->x[self->turn];
    char name[PLAN_NAME_MAX];

    if (!self->capture || !self->capture->trace)
        return;
    if (plan->finish != PLAN_PICTURE) {
        trace_planes(self, plan->name, x, plan->normalize ? layer : NULL, plan->conv.out,
                     plan->size);
        return;
    }
    trace_planes(self, plan->name, &self->x[!self->turn], NULL, TORGB_CHANNELS, plan->size);
    if (!self->accumulates)
        return;
    snprintf(name, sizeof name, "b%d.x", plan->size);
    trace_planes(self, name, x, NULL, plan->conv.in, plan->size);
    snprintf(name, sizeof name, "b%d.img", plan->size);
    trace_planes(self, name, &self->image[self->picture], NULL, TORGB_CHANNELS, plan->size);
}

static enum err_code check_group(struct network *self, struct err *e)
{
    for (int i = 0; i < self->count; i++) {
        int where = atomic_load(&self->broken[i]);
        const char *name = where == BROKEN_MAPPING   ? "mapping"
                           : where == BROKEN_PICTURE ? "picture"
                           : where > 0               ? self->layer[where - 1].plan.name
                                                     : NULL;

        if (name)
            return err_set(e, ERR_DEVICE, "a value of %s is not finite: sample %d, seed %u", name,
                           self->first + i, (unsigned)self->samples[i].seed);
    }
    return ERR_OK;
}

enum err_code network_render(struct network *self, const struct sample *samples, int count,
                             uint8_t *rgb, const struct capture *capture, struct err *e)
{
    size_t bytes = TORGB_CHANNELS * pixels_of(self->resolution);
    enum err_code rc = ERR_OK;

    self->capture = capture;
    for (int first = 0; !rc && first < count; first += self->group) {
        self->samples = samples + first;
        self->first = first;
        self->count = count - first < self->group ? count - first : self->group;
        self->pixels = rgb ? rgb + (size_t)first * bytes : NULL;
        self->turn = self->picture = 0;
        for (int i = 0; i < self->count; i++)
            atomic_store(&self->broken[i], 0);
        pool_run(self->pool, (size_t)self->count, make_ws, self);
        pool_run(self->pool, (size_t)self->count * (size_t)self->layers, make_coefficients, self);
        for (self->at = 0; self->at < self->layers; self->at++) {
            if (self->layer[self->at].plan.finish == PLAN_PICTURE)
                run_picture(self);
            else
                run_layer(self);
            trace_layer(self);
        }
        pool_run(self->pool, (size_t)self->count, finish_picture, self);
        rc = check_group(self, e);
    }
    return rc;
}
