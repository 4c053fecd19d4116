#include "kernels/cuda/network.cuh"

#include "kernels/cuda/conv.cuh"
#include "kernels/cuda/conv_wgmma.cuh"
#include "kernels/cuda/filtered_lrelu.cuh"
#include "kernels/cuda/fir.cuh"
#include "kernels/cuda/gather.cuh"
#include "kernels/cuda/jpeg.cuh"
#include "kernels/cuda/mapping.cuh"
#include "kernels/cuda/normalize.cuh"
#include "kernels/cuda/rgb.cuh"
#include "kernels/cuda/room.cuh"
#include "kernels/cuda/waves.cuh"

extern "C" {
#include "kernels/jpeg_transform.h"
#include "kernels/seed.h"
}

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOTS = 2,                  /* micro-batches under way: one runs, the next is prepared */
    COLOURS = 3,
    UNBROKEN = 0x7f7f7f7f,      /* of broken[], by memset: above every layer */
    /* What broken[] says of the mapping network, before all layers, and of the finished picture. */
    BROKEN_MAPPING = -1, BROKEN_PICTURE = PLAN_LAYERS_MAX,
};

/* An offset that there is not. */
static const size_t NOWHERE = SIZE_MAX;
/* Bytes of activations beyond which a micro-batch has fewer samples: StyleGAN 3 at 1024 px in
 * float32. */
static const size_t ACTIVATIONS_MAX = 6000000000;

/* What belongs to a micro-batch's samples, as it goes to the device in one copy. Offsets in bytes
 * into a block of memory, the same on both sides. */
struct inputs {
    size_t z;                   /* float [NETWORK_MICRO, z_dim] */
    size_t psi;                 /* float [NETWORK_MICRO] */
    size_t cutoff, class_index, noise;   /* int [NETWORK_MICRO] */
    size_t transform;           /* float [NETWORK_MICRO, 9] */
    size_t tables;              /* uint16 [NETWORK_MICRO, 2, 64] */
    size_t bytes;
};

struct layer {
    struct plan_layer plan;     /* its tensors are the device's, its affine is empty */
    struct conv_cuda conv;
    struct style_places places;
    size_t next;                /* style of the convolution that reads the layer; or NOWHERE */
    const struct layer *torgb;  /* the PICTURE that reads it where its sums are made; or NULL */
    bool stored;                /* somebody else reads it */
    bool made;                  /* PICTURE: the layer before makes its sums */
    size_t noise_at;            /* in a sample's own noise planes */
};

/* A micro-batch under way. Its results lie in memory of its own, on the device too, so that they can
 * be copied while the next one runs. */
struct slot {
    uint8_t *inputs;            /* page-locked; struct inputs */
    int *broken;                /* page-locked [NETWORK_MICRO] */
    uint8_t *rgb;               /* page-locked [NETWORK_MICRO, H, W, 3] */
    int *device_broken;
    void *device_result;        /* pixels or coefficients, whichever are copied to the host */
    cudaGraphExec_t graph[NETWORK_MICRO + 1][2];    /* by samples, for pixels or JPEG; or NULL */
    cudaEvent_t rendered, done;
    int first, count;           /* of the batch's samples; count 0: nothing */
};

struct network_cuda {
    enum precision precision;
    int tile;
    bool wgmma;
    int resolution, num_ws, z_dim, w_dim;
    float picture_gain;
    struct fourier waves;
    float transform[9];         /* the model's own */
    struct layer layer[PLAN_LAYERS_MAX];
    int layers;
    size_t noise_each;          /* floats of a sample's own noise planes */

    struct room *room;
    struct mapping_cuda *mapping;
    struct blas *blas;
    cudaStream_t stream, copies;

    int micro;                  /* samples of a micro-batch */
    struct inputs at;
    uint8_t *inputs;
    float *ws, *coefficients, *noise, *parts, *moments, *applied, *rgb_out, *image[2];
    struct fourier_wave *wave;
    void *x[2];                 /* activations; layers take turns */
    size_t x_bytes[2];          /* of one sample */
    /* The last picture's sums are made in x[last_sums]; in the other one, which nobody reads any
     * more, it is finished. */
    int last_sums;
    float *finished;            /* [micro, 3, H, W] */
    uint8_t *unseen;            /* behind it, [micro, H, W, 3]: pixels that no host wants */
    struct jpeg_coefficients_layout layout;
    struct slot slot[SLOTS];
    float *drawn;               /* on the host: a sample's own noise planes */
    bool ran_bare;              /* once without a graph, because a capture failed */

    /* What is being enqueued. */
    struct slot *at_work;
    int samples;
    uint8_t *pixels;            /* where the finished picture's go */
    float *trace;               /* a layer's values for whoever looks; NULL: nobody */
    int turn;                   /* x[] that holds the last layer's output */
    int picture;                /* image[] that holds the picture so far, but the last */
};

static enum err_code said(cudaError_t rc, const char *what, struct err *e)
{
    if (rc == cudaSuccess)
        return ERR_OK;
    return err_set(e, ERR_DEVICE, "the device failed at %s: %s", what, cudaGetErrorString(rc));
}

static size_t pixels_of(int size)
{
    return (size_t)size * (size_t)size;
}

static bool goes_up(const struct layer *layer)
{
    return layer->plan.conv.kind != CONV_PLAIN;
}

static bool is_last(const struct network_cuda *self, const struct layer *layer)
{
    return layer == &self->layer[self->layers - 1];
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- Preparing ---- */

/* A learned constant in blocks of channels, as gather reads its parts. */
static enum err_code put_constant(struct network_cuda *self, const float **out,
                                  const struct plan_layer *plan, struct err *e)
{
    int lanes = precision_lanes(self->precision);
    size_t channels = (size_t)(plan->conv.in > 0 ? plan->conv.in : plan->conv.out);
    size_t pixels = pixels_of(plan->size), padded = (size_t)padded_channels((int)channels);
    float *blocks = (float *)calloc(padded * pixels, sizeof *blocks);

    if (!blocks)
        return err_set(e, ERR_NOMEM, "no memory for layer %s", plan->name);
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++)
            blocks[(c / lanes * pixels + i) * lanes + c % lanes] = plan->constant[c * pixels + i];
    *out = (const float *)room_put(self->room, blocks, padded * pixels * sizeof *blocks);
    free(blocks);
    return ERR_OK;
}

static void put(struct network_cuda *self, const float **tensor, size_t count)
{
    if (*tensor)
        *tensor = (const float *)room_put(self->room, *tensor, count * sizeof **tensor);
}

/* The convolution's weights, and what the coefficients need of them. */
static enum err_code prepare_conv(struct network_cuda *self, struct layer *layer,
                                  const struct plan_layer *plan, struct err *e)
{
    size_t in = (size_t)plan->conv.in, out = (size_t)plan->conv.out;
    float *gain = (float *)malloc((2 * out + out * in) * sizeof *gain);
    float *down = gain + out, *energy = down + out;
    struct conv_weights weights = plan->weights;
    enum err_code rc;

    if (!gain)
        return err_set(e, ERR_NOMEM, "no memory for layer %s", plan->name);
    plan_gains(plan, gain);
    weights.scale = gain;
    rc = conv_cuda_init(&layer->conv, &plan->conv, &weights, self->precision, self->room, down,
                        plan->demodulate ? energy : NULL, e);
    if (!rc && self->wgmma && conv_wgmma_suits(&layer->conv))
        rc = conv_cuda_use_wgmma(&layer->conv, e);
    if (!rc)
        rc = mapping_cuda_add(self->mapping, plan, down, plan->demodulate ? energy : NULL,
                              &layer->places, e);
    free(gain);
    return rc;
}

static enum err_code add_layer(struct network_cuda *self, const struct plan_layer *plan,
                               struct err *e)
{
    struct layer *layer = &self->layer[self->layers++];
    struct plan_layer *own = &layer->plan;
    const struct fc_weights none = {};
    enum err_code rc;

    *own = *plan;
    if (plan->conv.in > 0 && plan->finish != PLAN_PICTURE)
        rc = prepare_conv(self, layer, plan, e);
    else
        rc = mapping_cuda_add(self->mapping, plan, NULL, NULL, &layer->places, e);
    if (!rc && plan->constant)
        rc = put_constant(self, &own->constant, plan, e);
    own->weights.data = NULL;
    own->affine = none;
    put(self, &own->bias, (size_t)plan->conv.out);
    put(self, &own->noise, pixels_of(plan->size));
    put(self, &own->noise_weight, (size_t)plan->noise_weights);
    layer->noise_at = self->noise_each;
    if (plan->noise)
        self->noise_each += pixels_of(plan->size);
    return rc;
}

/* Who reads each layer: the next convolution, whose style is multiplied in as the layer is stored,
 * and a ToRGB, whose sums the layer's last kernel makes where it has all channels in float32. */
static void link_layers(struct network_cuda *self)
{
    for (int i = 0; i < self->layers; i++) {
        struct layer *layer = &self->layer[i];
        const struct layer *after = i + 1 < self->layers ? layer + 1 : NULL;
        const struct layer *reader = after;

        layer->next = NOWHERE;
        if (layer->plan.finish == PLAN_PICTURE)
            continue;
        if (after && after->plan.finish == PLAN_PICTURE) {
            if (layer->plan.finish == PLAN_ACTIVATE && !goes_up(layer) && !layer->plan.normalize) {
                layer->torgb = after;
                layer[1].made = true;
            }
            reader = i + 2 < self->layers ? layer + 2 : NULL;
        }
        if (reader && reader->plan.modulate && reader->plan.finish != PLAN_PICTURE)
            layer->next = reader->places.style;
        layer->stored = reader != NULL || !layer->torgb;
    }
}

static size_t conv_bytes(const struct network_cuda *self, const struct layer *layer)
{
    size_t pixels = (size_t)layer->conv.phases * pixels_of(layer->conv.rows);

    return activation_bytes(self->precision, layer->plan.conv.out, pixels);
}

struct memory {                 /* floats of one sample */
    size_t parts, moments, applied, rgb_out, image[2];
};

static void need(size_t *each, size_t count)
{
    *each = larger(*each, count);
}

/* What a layer needs; turn as in a render. */
static void measure_layer(struct network_cuda *self, const struct layer *layer, int *turn,
                          struct memory *m)
{
    const struct plan_layer *plan = &layer->plan;
    size_t pixels = pixels_of(plan->size);
    size_t out = activation_bytes(self->precision, plan->conv.out, pixels);

    if (plan->finish == PLAN_PICTURE) {
        size_t sums = (size_t)rgb_groups(plan->conv.in) * COLOURS * pixels;

        if (!is_last(self, layer)) {
            need(&m->rgb_out, sums);
            return;
        }
        /* A layer that made the sums has taken its turn since. */
        self->last_sums = layer->made ? *turn : !*turn;
        need(&self->x_bytes[self->last_sums], sums * sizeof(float));
        need(&self->x_bytes[!self->last_sums], COLOURS * pixels * (sizeof(float) + 1));
        return;
    }
    if (plan->source != PLAN_LAST && plan->conv.in > 0)
        need(&self->x_bytes[*turn],
             activation_bytes(self->precision, plan->conv.in, pixels_of(plan->conv.size)));
    if (plan->conv.in > 0 && layer->conv.splits > 1)
        need(&m->parts, (size_t)layer->conv.splits * conv_bytes(self, layer) /
                            (self->precision == PRECISION_FP16 ? 2 : 4));
    if (goes_up(layer) || plan->finish == PLAN_FILTER) {
        need(&self->x_bytes[!*turn], conv_bytes(self, layer));
        need(&self->x_bytes[*turn], out);
    } else {
        if (layer->stored)
            need(&self->x_bytes[!*turn], out);
        *turn = !*turn;
    }
    if (plan->normalize) {
        need(&m->moments, normalize_moments_count(self->precision, plan->conv.out, pixels));
        need(&m->applied, 2 * (size_t)padded_channels(plan->conv.out));
    }
}

static size_t place(size_t *bytes, size_t size)
{
    size_t at = (*bytes + 15) / 16 * 16;

    *bytes = at + size;
    return at;
}

static void place_inputs(struct inputs *at, int z_dim)
{
    size_t n = NETWORK_MICRO;

    at->z = place(&at->bytes, n * (size_t)z_dim * sizeof(float));
    at->psi = place(&at->bytes, n * sizeof(float));
    at->cutoff = place(&at->bytes, n * sizeof(int));
    at->class_index = place(&at->bytes, n * sizeof(int));
    at->noise = place(&at->bytes, n * sizeof(int));
    at->transform = place(&at->bytes, n * 9 * sizeof(float));
    at->tables = place(&at->bytes, n * sizeof(struct jpeg_tables));
}

static float *take_floats(struct network_cuda *self, size_t each)
{
    return (float *)room_take(self->room, (size_t)self->micro * each * sizeof(float));
}

/* All the memory that rendering needs. */
static enum err_code take_memory(struct network_cuda *self, struct err *e)
{
    struct memory m = {};
    size_t columns = NETWORK_MICRO, pixels = pixels_of(self->resolution);
    size_t rgb_bytes, jpeg_bytes;
    int turn = 0, picture = 0, size = 0;
    cudaError_t rc = cudaSuccess;

    for (int i = 0; i < self->layers; i++) {
        measure_layer(self, &self->layer[i], &turn, &m);
        if (self->layer[i].plan.finish == PLAN_PICTURE && !is_last(self, &self->layer[i])) {
            size = self->layer[i].plan.size;
            picture = !picture;
            need(&m.image[picture], COLOURS * pixels_of(size));
        }
    }
    while (self->micro > 1 &&
           (size_t)self->micro * (self->x_bytes[0] + self->x_bytes[1]) > ACTIVATIONS_MAX)
        self->micro--;
    rgb_bytes = (size_t)self->micro * pixels * COLOURS;
    place_inputs(&self->at, self->z_dim);
    self->layout = jpeg_coefficients_layout(self->resolution, self->resolution);
    jpeg_bytes = (size_t)self->micro * self->layout.count * sizeof(int16_t);
    self->inputs = (uint8_t *)room_take(self->room, self->at.bytes);
    self->ws = (float *)room_take(self->room, columns * (size_t)self->num_ws *
                                                  (size_t)self->w_dim * sizeof(float));
    self->coefficients = (float *)room_take(
        self->room, columns * mapping_cuda_each(self->mapping) * sizeof(float));
    self->wave = (struct fourier_wave *)room_take(
        self->room, columns * (size_t)self->waves.channels * sizeof *self->wave);
    self->noise = take_floats(self, self->noise_each);
    self->parts = take_floats(self, m.parts);
    self->moments = take_floats(self, m.moments);
    self->applied = take_floats(self, m.applied);
    self->rgb_out = take_floats(self, m.rgb_out);
    for (int i = 0; i < 2; i++) {
        self->image[i] = take_floats(self, m.image[i]);
        self->x[i] = room_take(self->room, (size_t)self->micro * self->x_bytes[i]);
    }
    for (int i = 0; i < SLOTS && rc == cudaSuccess; i++) {
        struct slot *slot = &self->slot[i];

        slot->device_broken = (int *)room_take(self->room, columns * sizeof *slot->device_broken);
        slot->device_result = room_take(self->room, larger(rgb_bytes, jpeg_bytes));
        rc = cudaMallocHost((void **)&slot->inputs, self->at.bytes);
        if (rc == cudaSuccess)
            rc = cudaMallocHost((void **)&slot->broken, columns * sizeof *slot->broken);
        if (rc == cudaSuccess)
            rc = cudaMallocHost((void **)&slot->rgb, rgb_bytes);
        if (rc == cudaSuccess)
            rc = cudaEventCreateWithFlags(&slot->rendered, cudaEventDisableTiming);
        if (rc == cudaSuccess)
            rc = cudaEventCreateWithFlags(&slot->done, cudaEventDisableTiming);
        if (rc == cudaSuccess)
            memset(slot->inputs, 0, self->at.bytes);
    }
    self->drawn = (float *)malloc((self->noise_each + 1) * sizeof *self->drawn);
    if (rc != cudaSuccess || !self->drawn)
        return err_set(e, ERR_NOMEM, "no page-locked memory for %d pictures of %d pixels",
                       self->micro, self->resolution);
    if (room_check(self->room, e))
        return e->code;
    self->finished = (float *)self->x[!self->last_sums];
    self->unseen = (uint8_t *)(self->finished + (size_t)self->micro * COLOURS * pixels);
    return ERR_OK;
}

static enum err_code fill_slots(struct network_cuda *self, struct err *e);

enum err_code network_cuda_create(const struct plan *plan, const struct network_options *options,
                                  struct network_cuda **out, struct err *e)
{
    struct network_cuda *self = (struct network_cuda *)calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a network");
    self->precision = options->precision;
    self->tile = options->tile;
    self->wgmma = options->wgmma;
    self->blas = options->blas;
    self->micro = options->max_batch < NETWORK_MICRO ? options->max_batch : NETWORK_MICRO;
    self->resolution = plan->resolution;
    self->num_ws = plan->num_ws;
    self->z_dim = plan->mapping.z_dim;
    self->w_dim = plan->mapping.w_dim;
    self->picture_gain = plan->picture_gain;
    self->waves = plan->waves;
    if (plan->transform)
        memcpy(self->transform, plan->transform, sizeof self->transform);
    rc = said(cudaStreamCreateWithFlags(&self->stream, cudaStreamNonBlocking), "start", e);
    if (!rc)
        rc = said(cudaStreamCreateWithFlags(&self->copies, cudaStreamNonBlocking), "start", e);
    if (!rc)
        rc = room_create(&self->room, e);
    if (!rc)
        rc = mapping_cuda_create(plan, self->room, &self->mapping, e);
    for (int i = 0; !rc && i < plan->layers; i++)
        rc = add_layer(self, &plan->layer[i], e);
    if (!rc)
        rc = mapping_cuda_finish(self->mapping, e);
    if (!rc) {
        put(self, &self->waves.freqs, 2 * (size_t)self->waves.channels);
        put(self, &self->waves.phases, (size_t)self->waves.channels);
        link_layers(self);
        rc = take_memory(self, e);
    }
    if (!rc)
        rc = fill_slots(self, e);
    if (rc) {
        network_cuda_destroy(&self);
        return rc;
    }
    *out = self;
    return ERR_OK;
}

static void release_slot(struct slot *slot)
{
    for (int n = 0; n <= NETWORK_MICRO; n++)
        for (int kind = 0; kind < 2; kind++)
            if (slot->graph[n][kind])
                cudaGraphExecDestroy(slot->graph[n][kind]);
    cudaFreeHost(slot->inputs);
    cudaFreeHost(slot->broken);
    cudaFreeHost(slot->rgb);
    if (slot->rendered)
        cudaEventDestroy(slot->rendered);
    if (slot->done)
        cudaEventDestroy(slot->done);
}

void network_cuda_destroy(struct network_cuda **self)
{
    struct network_cuda *s = *self;

    if (!s)
        return;
    if (s->stream)
        cudaStreamSynchronize(s->stream);
    if (s->copies)
        cudaStreamSynchronize(s->copies);
    for (int i = 0; i < SLOTS; i++)
        release_slot(&s->slot[i]);
    mapping_cuda_destroy(&s->mapping);
    room_destroy(&s->room);
    if (s->copies)
        cudaStreamDestroy(s->copies);
    if (s->stream)
        cudaStreamDestroy(s->stream);
    free(s->drawn);
    free(s);
    *self = NULL;
}

size_t network_cuda_bytes(const struct network_cuda *self)
{
    return room_bytes(self->room);
}

/* ---- Enqueueing: what a graph is captured from ---- */

static const float *coefficients_at(const struct network_cuda *self, size_t at)
{
    return at == NOWHERE ? NULL : self->coefficients + at;
}

/* What every kernel of a layer is told. */
static struct finish begin_finish(const struct network_cuda *self, const struct layer *layer)
{
    struct finish f = {};

    f.channels = layer->plan.conv.out;
    f.layer = (int)(layer - self->layer);
    f.broken = self->at_work->device_broken;
    f.each = mapping_cuda_each(self->mapping);
    return f;
}

static void add_demod(const struct network_cuda *self, const struct layer *layer, struct finish *f)
{
    f->demod = coefficients_at(self, layer->places.demod);
}

static void add_activation(const struct network_cuda *self, const struct layer *layer,
                           struct finish *f)
{
    const struct plan_layer *plan = &layer->plan;

    f->bias = plan->bias;
    f->activate = true;
    f->gain = plan->gain;
    f->clamp = plan->clamp;
    if (!plan->noise)
        return;
    f->noise = plan->noise;
    f->own_noise = self->noise + layer->noise_at;
    f->own_each = self->noise_each;
    f->noise_kind = (const int *)(self->inputs + self->at.noise);
    f->noise_weight = plan->noise_weight;
    f->noise_weights = plan->noise_weights;
}

/* Where a ToRGB's sums go: for the last one, into the activation that will not be written. */
static float *sums_of(const struct network_cuda *self, const struct layer *torgb)
{
    return is_last(self, torgb) ? (float *)self->x[self->last_sums] : self->rgb_out;
}

/* A ToRGB's picture, with those before it. */
static float *picture_of(const struct network_cuda *self, const struct layer *torgb)
{
    return is_last(self, torgb) ? self->finished : self->image[self->picture];
}

/* What the kernel that ends the layer is told besides. */
static void add_readers(const struct network_cuda *self, const struct layer *layer,
                        struct finish *f)
{
    f->next = coefficients_at(self, layer->next);
    f->trace = self->trace;
    if (layer->torgb) {
        f->rgb = coefficients_at(self, layer->torgb->places.rgb);
        f->rgb_out = sums_of(self, layer->torgb);
    }
}

static cudaError_t run_gather(const struct network_cuda *self, const float *parts, int count,
                              size_t pixels, bool each, void *y, const struct finish *finish)
{
    int channels = padded_channels(finish->channels);
    struct gather_job job = {};

    job.precision = self->precision;
    job.parts = parts;
    job.count = count;
    job.sample_each = each ? (size_t)channels * pixels : 0;
    job.part_each = (size_t)self->samples * job.sample_each;
    job.pixels = pixels;
    job.y = y;
    job.finish = *finish;
    return gather_run(&job, self->samples, self->stream);
}

/* The input of a layer that begins with something else than the last layer's output. */
static cudaError_t run_source(struct network_cuda *self, const struct layer *layer)
{
    const struct plan_layer *plan = &layer->plan;

    if (plan->source == PLAN_WAVES) {
        struct waves_job job = {};

        job.precision = self->precision;
        job.waves = self->waves;
        job.style = coefficients_at(self, layer->places.style);
        job.each = mapping_cuda_each(self->mapping);
        job.transform = (const float *)(self->inputs + self->at.transform);
        job.wave = self->wave;
        job.x = self->x[self->turn];
        return waves_run(&job, self->samples, self->stream);
    }
    if (plan->source == PLAN_CONSTANT && plan->conv.in > 0) {
        struct finish f = begin_finish(self, layer);

        f.channels = plan->conv.in;
        if (plan->modulate)
            f.next = coefficients_at(self, layer->places.style);
        return run_gather(self, plan->constant, 1, pixels_of(plan->size), false,
                          self->x[self->turn], &f);
    }
    return cudaSuccess;
}

/* The convolution as far as finish says, into y. */
static cudaError_t run_conv(const struct network_cuda *self, const struct layer *layer, void *y,
                            const struct finish *finish)
{
    size_t pixels = (size_t)layer->conv.phases * pixels_of(layer->conv.rows);
    int tiles = conv_cuda_tiles(&layer->conv);
    struct conv_cuda_job job = {};
    cudaError_t rc;

    job.x = self->x[self->turn];
    job.x_each = activation_bytes(self->precision, layer->plan.conv.in,
                                  pixels_of(layer->plan.conv.size));
    job.y = layer->conv.splits > 1 ? self->parts : y;
    job.finish = *finish;
    rc = conv_cuda_run(&layer->conv, &job, self->samples,
                       self->tile < 0 ? -1 : self->tile % tiles, self->stream);
    if (rc == cudaSuccess && layer->conv.splits > 1)
        rc = run_gather(self, self->parts, layer->conv.splits, pixels, true, y, finish);
    return rc;
}

static cudaError_t run_up(struct network_cuda *self, const struct layer *layer)
{
    struct finish sums = begin_finish(self, layer), end = sums;
    struct fir_job job = {};
    cudaError_t rc;

    add_demod(self, layer, &sums);
    rc = run_conv(self, layer, self->x[!self->turn], &sums);
    if (rc != cudaSuccess)
        return rc;
    add_activation(self, layer, &end);
    add_readers(self, layer, &end);
    job.precision = self->precision;
    job.y = self->x[!self->turn];
    job.rows = layer->conv.rows;
    job.rows_of_y = layer->plan.conv.kind == CONV_UP_SCATTER ? layer->plan.size + 1
                                                             : layer->plan.size;
    job.size = layer->plan.size;
    memcpy(job.f, layer->plan.fir, sizeof job.f);
    job.out = self->x[self->turn];
    job.finish = end;
    return fir_run(&job, self->samples, self->stream);
}

static cudaError_t run_filter(struct network_cuda *self, const struct layer *layer)
{
    const struct filtered_lrelu *filter = &layer->plan.filter;
    struct finish sums = begin_finish(self, layer), end = sums;
    struct filtered_lrelu_job job = {};
    cudaError_t rc;

    add_demod(self, layer, &sums);
    sums.bias = layer->plan.bias;
    rc = run_conv(self, layer, self->x[!self->turn], &sums);
    if (rc != cudaSuccess)
        return rc;
    add_readers(self, layer, &end);
    job.precision = self->precision;
    job.filter = filter;
    job.x = self->x[!self->turn];
    job.y = self->x[self->turn];
    job.finish = end;
    return filtered_lrelu_cuda_run(
        &job, self->samples,
        self->tile < 0 ? -1 : self->tile % filtered_lrelu_cuda_tiles(self->precision, filter),
        self->stream);
}

static cudaError_t run_plain(struct network_cuda *self, const struct layer *layer)
{
    const struct plan_layer *plan = &layer->plan;
    struct finish f = begin_finish(self, layer);
    void *y = layer->stored ? self->x[!self->turn] : NULL;
    cudaError_t rc;

    if (plan->finish == PLAN_ACTIVATE)
        add_activation(self, layer, &f);
    add_readers(self, layer, &f);
    if (plan->normalize)
        f.trace = NULL;         /* of what the norm makes */
    if (plan->conv.in > 0) {
        add_demod(self, layer, &f);
        rc = run_conv(self, layer, y, &f);
    } else {
        rc = run_gather(self, plan->constant, 1, pixels_of(plan->size), false, y, &f);
    }
    self->turn = !self->turn;
    return rc;
}

static cudaError_t run_normalize(struct network_cuda *self, const struct layer *layer)
{
    struct normalize_job job = {};

    job.precision = self->precision;
    job.x = self->x[self->turn];
    job.pixels = pixels_of(layer->plan.size);
    job.style = coefficients_at(self, layer->places.style);
    job.moments = self->moments;
    job.applied = self->applied;
    job.finish = begin_finish(self, layer);
    job.finish.trace = self->trace;
    return normalize_run(&job, self->samples, self->stream);
}

static cudaError_t run_layer(struct network_cuda *self, const struct layer *layer)
{
    cudaError_t rc = run_source(self, layer);

    if (rc == cudaSuccess)
        rc = goes_up(layer)                           ? run_up(self, layer)
             : layer->plan.finish == PLAN_FILTER ? run_filter(self, layer)
                                                      : run_plain(self, layer);
    if (rc == cudaSuccess && layer->plan.normalize)
        rc = run_normalize(self, layer);
    return rc;
}

static cudaError_t run_picture(struct network_cuda *self, const struct layer *layer)
{
    const struct plan_layer *plan = &layer->plan;
    size_t pixels = pixels_of(plan->size);
    float *sums = sums_of(self, layer);
    struct skip_job job = {};

    if (!layer->made) {
        struct torgb_job torgb = {};
        cudaError_t rc;

        torgb.precision = self->precision;
        torgb.x = self->x[self->turn];
        torgb.channels = plan->conv.in;
        torgb.pixels = pixels;
        torgb.weight = coefficients_at(self, layer->places.rgb);
        torgb.each = mapping_cuda_each(self->mapping);
        torgb.rgb_out = sums;
        rc = torgb_run(&torgb, self->samples, self->stream);
        if (rc != cudaSuccess)
            return rc;
    }
    job.rgb_out = sums;
    job.groups = rgb_groups(plan->conv.in);
    job.size = plan->size;
    job.bias = plan->bias;
    job.clamp = plan->clamp;
    job.before = plan->adds ? self->image[self->picture] : NULL;
    self->picture = !self->picture;
    job.image = picture_of(self, layer);
    job.trace = self->trace;
    job.layer = (int)(layer - self->layer);
    job.broken = self->at_work->device_broken;
    if (is_last(self, layer)) {
        job.bytes = self->pixels;
        job.gain = self->picture_gain;
        job.picture = BROKEN_PICTURE;
    }
    return skip_run(&job, self->samples, self->stream);
}

/* From the inputs to the layers' coefficients. */
static enum err_code run_mapping(struct network_cuda *self, struct err *e)
{
    struct mapping_cuda_job job = {};
    int *broken = self->at_work->device_broken;
    cudaError_t rc = cudaMemsetAsync(broken, UNBROKEN & 0xff, NETWORK_MICRO * sizeof *broken,
                                     self->stream);

    if (rc != cudaSuccess)
        return said(rc, "memset", e);
    job.z = (const float *)(self->inputs + self->at.z);
    job.class_index = (const int *)(self->inputs + self->at.class_index);
    job.psi = (const float *)(self->inputs + self->at.psi);
    job.cutoff = (const int *)(self->inputs + self->at.cutoff);
    job.ws = self->ws;
    job.coefficients = self->coefficients;
    job.broken = broken;
    job.layer = BROKEN_MAPPING;
    return mapping_cuda_run(self->mapping, &job, self->blas, self->stream, e);
}

/* The finished picture's bytes to coefficients. */
static enum err_code run_jpeg(const struct network_cuda *self, struct err *e)
{
    return said(cuda_jpeg_run(self->pixels, (int16_t *)self->at_work->device_result,
                              (const uint16_t *)(self->inputs + self->at.tables), self->resolution,
                              self->resolution, self->samples, self->stream), "jpeg", e);
}

static void begin(struct network_cuda *self, struct slot *slot, int samples)
{
    self->at_work = slot;
    self->pixels = (uint8_t *)slot->device_result;
    self->samples = samples;
    self->turn = self->picture = 0;
    self->trace = NULL;
}

static enum err_code run_step(struct network_cuda *self, const struct layer *layer, struct err *e)
{
    return said(layer->plan.finish == PLAN_PICTURE ? run_picture(self, layer)
                                                   : run_layer(self, layer),
                layer->plan.name, e);
}

static enum err_code enqueue(struct network_cuda *self, struct slot *slot, bool jpeg,
                             struct err *e)
{
    enum err_code rc;

    begin(self, slot, slot->count);
    if (jpeg)
        self->pixels = self->unseen;
    rc = run_mapping(self, e);
    for (int i = 0; !rc && i < self->layers; i++)
        rc = run_step(self, &self->layer[i], e);
    return rc || !jpeg ? rc : run_jpeg(self, e);
}

/* The graph of so many samples, captured at its first use. */
static enum err_code find_graph(struct network_cuda *self, struct slot *slot, bool jpeg,
                                cudaGraphExec_t *out, struct err *e)
{
    cudaGraphExec_t *exec = &slot->graph[slot->count][jpeg];
    cudaGraph_t graph = NULL;
    enum err_code rc;
    cudaError_t ended;

    if (!*exec) {
        /* Relaxed: a kernel's first launch, cuBLAS's too, may load its code in the middle of it. */
        rc = said(cudaStreamBeginCapture(self->stream, cudaStreamCaptureModeRelaxed), "capture", e);
        if (rc)
            return rc;
        rc = enqueue(self, slot, jpeg, e);
        ended = cudaStreamEndCapture(self->stream, &graph);
        if (!rc)
            rc = said(ended, "capture", e);
        if (!rc)
            rc = said(cudaGraphInstantiate(exec, graph, 0), "the graph", e);
        if (graph)
            cudaGraphDestroy(graph);
        if (rc)
            return rc;
    }
    *out = *exec;
    return ERR_OK;
}

/* ---- Tracing: without the graph, a layer at a time ---- */

static enum err_code show(struct network_cuda *self, const struct capture *capture, int first,
                          const char *name, const float *from, int channels, int size, float *host,
                          struct err *e)
{
    size_t each = (size_t)channels * pixels_of(size);
    enum err_code rc = said(cudaMemcpyAsync(host, from, (size_t)self->samples * each * sizeof *host,
                                            cudaMemcpyDeviceToHost, self->stream), name, e);

    if (!rc)
        rc = said(cudaStreamSynchronize(self->stream), name, e);
    for (int i = 0; !rc && i < self->samples; i++)
        capture->trace(capture->trace_arg, first + i, name, host + (size_t)i * each, channels, size,
                       size);
    return rc;
}

static enum err_code show_picture(struct network_cuda *self, const struct capture *capture,
                                  int first, const struct layer *layer, float *x, float *host,
                                  struct err *e)
{
    const struct plan_layer *plan = &layer->plan;
    char name[PLAN_NAME_MAX];
    enum err_code rc = show(self, capture, first, plan->name, self->trace, COLOURS, plan->size,
                            host, e);

    if (rc || !layer->made)
        return rc;
    snprintf(name, sizeof name, "b%d.x", plan->size);
    rc = show(self, capture, first, name, x, plan->conv.in, plan->size, host, e);
    snprintf(name, sizeof name, "b%d.img", plan->size);
    return rc ? rc : show(self, capture, first, name, picture_of(self, layer), COLOURS, plan->size,
                          host, e);
}

/* Two traces are kept: a ToRGB shows its input once more. */
static enum err_code trace(struct network_cuda *self, struct slot *slot,
                           const struct capture *capture, struct err *e)
{
    int samples = slot->count, first = slot->first;
    size_t most = 0;
    float *device[2] = { NULL, NULL }, *host;
    enum err_code rc = ERR_OK;
    int turn = 0;

    for (int i = 0; i < self->layers; i++)
        most = larger(most, (size_t)larger(COLOURS, (size_t)self->layer[i].plan.conv.out) *
                                pixels_of(self->layer[i].plan.size));
    most *= (size_t)samples * sizeof(float);
    host = (float *)malloc(most);
    if (!host || cudaMalloc((void **)&device[0], most) || cudaMalloc((void **)&device[1], most))
        rc = err_set(e, ERR_NOMEM, "no memory to trace %d pictures", samples);
    begin(self, slot, samples);
    if (!rc)
        rc = run_mapping(self, e);
    for (int i = 0; !rc && i < self->layers; i++) {
        const struct layer *layer = &self->layer[i];

        self->trace = device[turn];
        rc = run_step(self, layer, e);
        if (rc)
            break;
        if (layer->plan.finish == PLAN_PICTURE) {
            rc = show_picture(self, capture, first, layer, device[!turn], host, e);
        } else {
            rc = show(self, capture, first, layer->plan.name, self->trace, layer->plan.conv.out,
                      layer->plan.size, host, e);
            turn = !turn;
        }
    }
    self->trace = NULL;
    cudaStreamSynchronize(self->stream);
    cudaFree(device[0]);
    cudaFree(device[1]);
    free(host);
    return rc;
}

/* ---- Rendering ---- */

/* A sample's own noise planes, layer after layer, from where stream stands. */
static enum err_code draw_noise(struct network_cuda *self, int index, struct seed_stream *stream,
                                struct err *e)
{
    for (size_t i = 0; i < self->noise_each; i++)
        self->drawn[i] = (float)seed_normal(stream);
    /* From pageable memory: the call returns when it has taken everything. */
    return said(cudaMemcpyAsync(self->noise + (size_t)index * self->noise_each, self->drawn,
                                self->noise_each * sizeof(float), cudaMemcpyHostToDevice,
                                self->stream), "the noise", e);
}

/* What a sample wants, into the slot's inputs. place: in the whole batch. */
static enum err_code fill_sample(struct network_cuda *self, struct slot *slot, int index,
                                 const struct sample *sample, int place,
                                 const struct network_result *result, struct err *e)
{
    const struct capture *capture = result->capture;
    const struct inputs *at = &self->at;
    float *z = (float *)(slot->inputs + at->z) + (size_t)index * (size_t)self->z_dim;
    bool own = sample->noise == RECIPE_NOISE_RANDOM || sample->noise == RECIPE_NOISE_STREAM;
    struct seed_stream stream;

    seed_init(&stream, sample->seed);
    for (int i = 0; i < self->z_dim; i++) {
        double drawn = seed_normal(&stream);

        if (capture && capture->z)
            capture->z[(size_t)place * (size_t)self->z_dim + (size_t)i] = drawn;
        z[i] = (float)drawn;
    }
    ((float *)(slot->inputs + at->psi))[index] = sample->psi;
    ((int *)(slot->inputs + at->cutoff))[index] = sample->cutoff;
    ((int *)(slot->inputs + at->class_index))[index] = sample->class_index;
    ((int *)(slot->inputs + at->noise))[index] = own ? NOISE_OWN
                                                 : sample->noise == RECIPE_NOISE_CONST
                                                     ? NOISE_CONST
                                                     : NOISE_NONE;
    fourier_transform((float *)(slot->inputs + at->transform) + 9 * index, &sample->transform,
                      self->transform);
    if (result->qualities)
        ((struct jpeg_tables *)(slot->inputs + at->tables))[index] =
            jpeg_tables_of(result->qualities[place]);
    if (!own || self->noise_each == 0)
        return ERR_OK;
    if (sample->noise == RECIPE_NOISE_RANDOM)
        seed_init(&stream, sample->noise_seed);
    return draw_noise(self, index, &stream, e);
}

static enum err_code fill_inputs(struct network_cuda *self, struct slot *slot,
                                 const struct sample *samples, const struct network_result *result,
                                 struct err *e)
{
    enum err_code rc = ERR_OK;

    for (int i = 0; !rc && i < slot->count; i++)
        rc = fill_sample(self, slot, i, &samples[slot->first + i], slot->first + i, result, e);
    if (rc)
        return rc;
    return said(cudaMemcpyAsync(self->inputs, slot->inputs, self->at.bytes, cudaMemcpyHostToDevice,
                                self->stream), "the inputs", e);
}

/* Columns that no sample has are computed too. They begin as seed 0's and stay what was there last:
 * always numbers, so that no path is another. */
static enum err_code fill_slots(struct network_cuda *self, struct err *e)
{
    struct sample nobody = {};
    const struct network_result nothing = {};
    enum err_code rc = ERR_OK;

    nobody.noise = RECIPE_NOISE_CONST;
    nobody.psi = 1.0f;
    for (int s = 0; s < SLOTS; s++)
        for (int i = 0; !rc && i < NETWORK_MICRO; i++)
            rc = fill_sample(self, &self->slot[s], i, &nobody, 0, &nothing, e);
    return rc;
}

/* What the host wants of a micro-batch that has been enqueued: on a stream of its own, beside the next
 * micro-batch, but for what that one would write over. */
static enum err_code fetch(struct network_cuda *self, struct slot *slot,
                           const struct network_result *result, struct err *e)
{
    const struct capture *capture = result->capture;
    size_t count = (size_t)slot->count, first = (size_t)slot->first;
    size_t values = COLOURS * pixels_of(self->resolution);
    size_t ws = (size_t)self->num_ws * (size_t)self->w_dim;
    const cudaMemcpyKind down = cudaMemcpyDeviceToHost;
    cudaError_t rc = cudaSuccess;

    if (capture && capture->ws)
        rc = cudaMemcpyAsync(capture->ws + first * ws, self->ws, count * ws * sizeof(float), down,
                             self->stream);
    if (rc == cudaSuccess && capture && capture->image)
        rc = cudaMemcpyAsync(capture->image + first * values, self->finished,
                             count * values * sizeof(float), down, self->stream);
    if (rc == cudaSuccess)
        rc = cudaEventRecord(slot->rendered, self->stream);
    if (rc == cudaSuccess)
        rc = cudaStreamWaitEvent(self->copies, slot->rendered, 0);
    if (rc == cudaSuccess)
        rc = cudaMemcpyAsync(slot->broken, slot->device_broken, count * sizeof *slot->broken, down,
                             self->copies);
    if (rc == cudaSuccess && result->rgb)
        rc = cudaMemcpyAsync(result->rgb_is_locked ? result->rgb + first * values : slot->rgb,
                             slot->device_result, count * values, down, self->copies);
    if (rc == cudaSuccess && result->coefficients)
        rc = cudaMemcpyAsync(result->coefficients + first * self->layout.count,
                             slot->device_result,
                             count * self->layout.count * sizeof *result->coefficients, down,
                             self->copies);
    if (rc == cudaSuccess)
        rc = cudaEventRecord(slot->done, self->copies);
    return said(rc, "the results", e);
}

/* Should a capture fail the first time, the steps run without a graph: what they load is there then,
 * and what is wrong with one of them says its own name. */
static enum err_code run(struct network_cuda *self, struct slot *slot, bool jpeg, struct err *e)
{
    cudaGraphExec_t graph;
    enum err_code rc = find_graph(self, slot, jpeg, &graph, e);

    if (!rc)
        return said(cudaGraphLaunch(graph, self->stream), "launch", e);
    if (self->ran_bare)
        return rc;
    self->ran_bare = true;
    cudaGetLastError();
    return enqueue(self, slot, jpeg, e);
}

static enum err_code start(struct network_cuda *self, struct slot *slot,
                           const struct sample *samples, const struct network_result *result,
                           struct err *e)
{
    const struct capture *capture = result->capture;
    enum err_code rc = fill_inputs(self, slot, samples, result, e);

    if (rc)
        return rc;
    rc = capture && capture->trace ? trace(self, slot, capture, e)
                                   : run(self, slot, result->coefficients != NULL, e);
    return rc ? rc : fetch(self, slot, result, e);
}

static enum err_code check_slot(const struct network_cuda *self, const struct slot *slot, int index,
                                const struct sample *samples, struct err *e)
{
    int where = slot->broken[index];
    bool layer = where >= 0 && where < self->layers;
    const char *name = where == BROKEN_MAPPING   ? "the mapping network"
                       : where == BROKEN_PICTURE ? "the picture"
                       : layer                   ? self->layer[where].plan.name
                                                 : NULL;

    if (!name)
        return ERR_OK;
    return err_set(e, ERR_DEVICE,
                   "a value of %s%s is not finite or beyond what %s holds: sample %d, seed %u%s",
                   layer ? "layer " : "", name, precision_word(self->precision),
                   slot->first + index, (unsigned)samples[slot->first + index].seed,
                   self->precision == PRECISION_FP16 ? "; precision tf32 may hold it" : "");
}

/* Waits for a micro-batch and hands its pixels over. */
static enum err_code finish_slot(struct network_cuda *self, struct slot *slot,
                                 const struct sample *samples, const struct network_result *result,
                                 struct err *e)
{
    const struct capture *capture = result->capture;
    size_t values = COLOURS * pixels_of(self->resolution);
    enum err_code rc;

    if (slot->count == 0)
        return ERR_OK;
    rc = said(cudaEventSynchronize(slot->done), "a render", e);
    for (int i = 0; !rc && i < slot->count; i++)
        rc = check_slot(self, slot, i, samples, e);
    if (!rc && result->rgb && !result->rgb_is_locked)
        memcpy(result->rgb + (size_t)slot->first * values, slot->rgb, (size_t)slot->count * values);
    if (!rc && capture && capture->image)
        for (size_t i = 0; i < (size_t)slot->count * values; i++)
            capture->image[(size_t)slot->first * values + i] *= self->picture_gain;
    slot->count = 0;
    return rc;
}

enum err_code network_cuda_render(struct network_cuda *self, const struct sample *samples,
                                  int count, const struct network_result *result, struct err *e)
{
    enum err_code rc = ERR_OK;
    int turn = 0;

    for (int first = 0; !rc && first < count; first += self->micro) {
        struct slot *slot = &self->slot[turn];

        rc = finish_slot(self, slot, samples, result, e);
        slot->first = first;
        slot->count = count - first < self->micro ? count - first : self->micro;
        if (!rc)
            rc = start(self, slot, samples, result, e);
        turn = !turn;
    }
    for (int i = 0; i < SLOTS; i++, turn = !turn) {
        enum err_code last = rc ? ERR_OK : finish_slot(self, &self->slot[turn], samples, result, e);

        rc = rc ? rc : last;
        self->slot[turn].count = 0;
    }
    if (rc)
        cudaDeviceSynchronize();    /* nothing writes into the caller's memory later */
    return rc;
}

enum err_code network_cuda_profile(struct network_cuda *self, int count,
                                   void (*row)(void *arg, const char *name, double us), void *arg,
                                   struct err *e)
{
    enum { MARKS = PLAN_LAYERS_MAX + 3 };
    cudaEvent_t mark[MARKS] = {};
    enum err_code rc = ERR_OK;
    int marks = self->layers + 3;

    for (int i = 0; !rc && i < marks; i++)
        rc = said(cudaEventCreate(&mark[i]), "an event", e);
    begin(self, &self->slot[0], count);
    self->pixels = self->unseen;
    for (int i = 0; !rc && i < marks; i++) {
        rc = said(cudaEventRecord(mark[i], self->stream), "an event", e);
        if (!rc && i == 0)
            rc = run_mapping(self, e);
        else if (!rc && i <= self->layers)
            rc = run_step(self, &self->layer[i - 1], e);
        else if (!rc && i == self->layers + 1)
            rc = run_jpeg(self, e);
    }
    if (!rc)
        rc = said(cudaStreamSynchronize(self->stream), "a render", e);
    for (int i = 0; !rc && i + 1 < marks; i++) {
        float ms = 0.0f;

        rc = said(cudaEventElapsedTime(&ms, mark[i], mark[i + 1]), "an event", e);
        if (!rc)
            row(arg, i == 0 ? "mapping" : i <= self->layers ? self->layer[i - 1].plan.name
                                                            : "jpeg", 1e3 * (double)ms);
    }
    for (int i = 0; i < marks; i++)
        if (mark[i])
            cudaEventDestroy(mark[i]);
    return rc;
}
