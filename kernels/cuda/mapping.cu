#include "kernels/cuda/mapping.cuh"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WARP = 32,
    WARPS = 4,                  /* of a block of `fc` and `demodulate`: outputs that it makes */
    STYLE_THREADS = 128,        /* of a block of `styles` */
    ALIGN_FLOATS = 4,           /* where a piece of coefficients begins */
    COLOURS = 3,
    SIDES = BLAS_LANES - 1,     /* streams beside the caller's */
};

/* The root of the demodulation's 1e-8, so that what it is multiplied with need not be squared. */
#define ROOT_EPSILON 1e-4f

/* A matrix and what follows it, on the device. */
struct product {
    const float *weight;        /* [out,in], scaled */
    const float *bias;          /* [out], scaled */
    int in, out;
};

/* A layer's way to its coefficients, as the kernels see it. */
struct style {
    struct product affine;      /* out 0: no style */
    int row;                    /* of ws */
    int in, out;                /* of the convolution */
    bool unit, modulate, demodulate;
    float out_gain;
    const float *down, *energy; /* NULL: 1; and [out,in] */
    const float *rgb_weight;    /* [3,in], with its gains; NULL: no picture */
    size_t style_at, demod_at, rgb_at;
};

/* Outputs first..first+WARPS-1 of a layer: what a block makes. */
struct span {
    int layer, first;
};

struct spans {
    struct span *span;          /* on the host until mapping_cuda_finish */
    const struct span *d_span;
    int count, room;
};

struct mapping_cuda {
    struct room *room;
    int z_dim, c_dim, w_dim, num_ws;
    bool joint;
    float gain;
    int labels;                 /* width of the embedded class */
    const float *d_embed;       /* [c_dim, labels], with its bias */
    const float *d_w_avg;
    struct product layer[PLAN_MAPPING_MAX];
    int layers;
    struct style style[PLAN_LAYERS_MAX];
    int styles, lane[PLAN_LAYERS_MAX];
    const struct style *d_style;
    struct spans affine, demod;
    size_t each;

    size_t vector_each;         /* floats of a vector below */
    float *d_vector[2];         /* [BLAS_COLUMNS, vector_each]; layers take turns */
    int *d_power;               /* [PLAN_LAYERS_MAX, BLAS_COLUMNS]: m of each style */

    cudaStream_t side[SIDES];
    cudaEvent_t begun, ended[SIDES];
};

/* ---- Sums ---- */

/* The same in every lane. */
static __device__ __forceinline__ float sum_of_lanes(float v)
{
    for (int apart = WARP / 2; apart > 0; apart /= 2)
        v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, apart));
    return v;
}

static __device__ __forceinline__ float largest_of_lanes(float v)
{
    for (int apart = WARP / 2; apart > 0; apart /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, apart));
    return v;
}

/* ---- From z to w ---- */

struct join_job {
    const float *z, *embed;
    const int *class_index;
    float *v;
    size_t v_each;
    int z_dim, c_dim, labels;
    bool joint;
};

/* n2 of v[0..count), in place. */
static __device__ __forceinline__ void normalize(float *v, int count, int lane)
{
    float sum = 0.0f, scale;

    for (int i = lane; i < count; i += WARP)
        sum = __fmaf_rn(v[i], v[i], sum);
    sum = sum_of_lanes(sum);
    scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(sum, (float)count), 1e-8f)));
    for (int i = lane; i < count; i += WARP)
        v[i] = __fmul_rn(v[i], scale);
}

/* One warp a column: what the first layer reads. A lane reads again only what it wrote. */
static __global__ void join(struct join_job p)
{
    int n = (int)blockIdx.x, lane = (int)threadIdx.x, c = p.class_index[n];
    float *v = p.v + (size_t)n * p.v_each;
    bool has_class = c >= 0 && c < p.c_dim;

    for (int i = lane; i < p.z_dim + p.labels; i += WARP) {
        if (i < p.z_dim)
            v[i] = p.z[(size_t)n * (size_t)p.z_dim + (size_t)i];
        else
            v[i] = has_class ? p.embed[(size_t)c * (size_t)p.labels + (size_t)(i - p.z_dim)] : 0.0f;
    }
    __syncwarp();               /* normalize deals the second part out anew */
    if (p.joint) {
        normalize(v, p.z_dim + p.labels, lane);
        return;
    }
    normalize(v, p.z_dim, lane);
    if (p.labels > 0)
        normalize(v + p.z_dim, p.labels, lane);
}

static __device__ __forceinline__ float bend(float v, float gain)
{
    return __fmul_rn(v >= 0.0f ? v : __fmul_rn(v, 0.2f), gain);
}

/* One warp: output o of all columns; y[n] of lane n is it, before the bias. */
static __device__ __forceinline__ float multiply(const struct product *p, int o, const float *x,
                                                 size_t x_each, int lane)
{
    const float *weight = p->weight + (size_t)o * (size_t)p->in;
    float sum[BLAS_COLUMNS] = {}, mine = 0.0f;

    for (int i = lane; i < p->in; i += WARP) {
        float w = weight[i];

        for (int n = 0; n < BLAS_COLUMNS; n++)
            sum[n] = __fmaf_rn(w, x[(size_t)n * x_each + (size_t)i], sum[n]);
    }
    for (int n = 0; n < BLAS_COLUMNS; n++) {
        float all = sum_of_lanes(sum[n]);

        mine = lane == n ? all : mine;
    }
    return mine;
}

/* Where a product's vectors lie. */
struct columns {
    const float *x;
    float *y;
    size_t x_each, y_each;
};

/* One warp an output: a layer of the mapping network, its bias and activation; gain 0: only the
 * product, for `truncate_rows` has the rest. */
static __global__ void __launch_bounds__(WARP * WARPS)
    fc(struct product p, struct columns at, float gain)
{
    int lane = (int)threadIdx.x, o = (int)(blockIdx.x * WARPS + threadIdx.y);
    float v;

    if (o >= p.out)
        return;
    v = multiply(&p, o, at.x, at.x_each, lane);
    if (lane < BLAS_COLUMNS)
        at.y[(size_t)lane * at.y_each + (size_t)o] =
            gain > 0.0f ? bend(__fadd_rn(v, p.bias[o]), gain) : v;
}

/* One thread an element: bias and activation behind a product of cuBLAS's, in place. */
static __global__ void activate(float *y, size_t y_each, const float *bias, int out, float gain)
{
    int o = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    float *v = y + (size_t)blockIdx.y * y_each + (size_t)o;

    if (o < out)
        *v = bend(__fadd_rn(*v, bias[o]), gain);
}

struct truncate_job {
    const float *y;             /* of the last layer, before bias and activation */
    size_t y_each;
    const float *bias, *w_avg;
    const float *psi;
    const int *cutoff;
    float *ws;
    int *broken;
    int w_dim, num_ws, layer;
    float gain;
};

/* One thread an element of w, in all rows of ws: kernels/truncate.h, to the bit. */
static __global__ void truncate_rows(struct truncate_job p)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), n = (int)blockIdx.y;
    float psi = p.psi[n], w, pulled, d;
    int cutoff = psi != 1.0f ? p.cutoff[n] : 0;

    if (i >= p.w_dim)
        return;
    w = bend(__fadd_rn(p.y[(size_t)n * p.y_each + (size_t)i], p.bias[i]), p.gain);
    if (!(fabsf(w) <= FLT_MAX))
        atomicMin(&p.broken[n], p.layer);
    d = __fsub_rn(w, p.w_avg[i]);
    pulled = fabsf(psi) < 0.5f ? __fmaf_rn(psi, d, p.w_avg[i])
                               : __fmaf_rn(__fsub_rn(psi, 1.0f), d, w);
    for (int row = 0; row < p.num_ws; row++)
        p.ws[((size_t)n * (size_t)p.num_ws + (size_t)row) * (size_t)p.w_dim + (size_t)i] =
            row < cutoff ? pulled : w;
}

/* ---- From ws to coefficients ---- */

struct style_job {
    const struct style *style;
    const struct span *span;
    const float *ws;
    float *coefficients;
    size_t each;
    int *power;                 /* [style, BLAS_COLUMNS] */
    int w_dim, num_ws;
};

/* One warp an output of an affine, of all layers: the product alone. */
static __global__ void __launch_bounds__(WARP * WARPS) fc_styles(struct style_job p)
{
    struct span span = p.span[blockIdx.x];
    const struct style *style = &p.style[span.layer];
    int lane = (int)threadIdx.x, o = span.first + (int)threadIdx.y;
    float v;

    if (o >= style->affine.out)
        return;
    v = multiply(&style->affine, o, p.ws + (size_t)style->row * (size_t)p.w_dim,
                 (size_t)p.num_ws * (size_t)p.w_dim, lane);
    if (lane < BLAS_COLUMNS)
        p.coefficients[(size_t)lane * p.each + style->style_at + (size_t)o] = v;
}

/* m of the power of two with 1/2 < largest / 2^m <= 1; 0 where there is none. */
static __device__ __forceinline__ int power_of(float largest)
{
    int m;

    if (!(largest > 0.0f && largest <= FLT_MAX))
        return 0;
    return frexpf(largest, &m) == 0.5f ? m - 1 : m;
}

static __device__ __forceinline__ float power_of_two(int e)
{
    return __int_as_float((127 + e) << 23);
}

/* v * 2^e, -252 <= e <= 254. */
static __device__ __forceinline__ float scaled(float v, int e)
{
    return __fmul_rn(__fmul_rn(v, power_of_two(e / 2)), power_of_two(e - e / 2));
}

/* The sum and the maximum over a block's threads, in all of them. */
static __device__ __forceinline__ void gather_block(float *sum, float *largest)
{
    DYNAMIC_SHARED(float, part);            /* [2, warps of the block] */
    int warp = (int)threadIdx.x / WARP, warps = STYLE_THREADS / WARP;
    float warp_sum = sum_of_lanes(*sum), warp_largest = largest_of_lanes(*largest);

    if (threadIdx.x % WARP == 0) {
        part[warp] = warp_sum;
        part[warps + warp] = warp_largest;
    }
    __syncthreads();
    *sum = *largest = 0.0f;
    for (int i = 0; i < warps; i++) {
        *sum = __fadd_rn(*sum, part[i]);
        *largest = fmaxf(*largest, part[warps + i]);
    }
}

/* One block a layer and column: bias, unit_style, the power of two, and the colours' weights. A
 * thread reads again only what it wrote. */
static __global__ void __launch_bounds__(STYLE_THREADS) styles(struct style_job p)
{
    const struct style *style = &p.style[blockIdx.x];
    int n = (int)blockIdx.y, m = 0, first = (int)threadIdx.x, count = style->affine.out;
    float *coefficients = p.coefficients + (size_t)n * p.each;
    float *s = coefficients + style->style_at, *rgb = coefficients + style->rgb_at;
    float sum = 0.0f, largest = 0.0f, unit = 1.0f;

    for (int i = first; i < count; i += STYLE_THREADS) {
        float v = __fadd_rn(s[i], style->affine.bias[i]);

        s[i] = v;
        sum = __fmaf_rn(v, v, sum);
        largest = fmaxf(largest, fabsf(v));
    }
    if (style->unit || style->modulate)     /* the same in the whole block */
        gather_block(&sum, &largest);
    if (style->unit)
        unit = __fdiv_rn(1.0f, __fsqrt_rn(__fdiv_rn(sum, (float)count)));
    if (style->modulate && !style->rgb_weight)
        m = power_of(__fmul_rn(largest, unit));
    for (int i = first; i < count; i += STYLE_THREADS)
        s[i] = scaled(__fmul_rn(s[i], unit), -m);
    if (first == 0)
        p.power[(size_t)blockIdx.x * BLAS_COLUMNS + (size_t)n] = m;
    if (!style->rgb_weight)
        return;
    for (int i = first; i < style->in; i += STYLE_THREADS)
        for (int colour = 0; colour < COLOURS; colour++) {
            size_t at = (size_t)colour * (size_t)style->in + (size_t)i;

            rgb[at] = __fmul_rn(style->rgb_weight[at], style->modulate ? s[i] : 1.0f);
        }
}

/* sum_i energy[i] s[i]^2 of output o in all columns; lane n has column n's. */
static __device__ __forceinline__ float sum_energy(const struct style *style, int o, const float *s,
                                                   size_t each, int lane)
{
    const float *energy = style->energy + (size_t)o * (size_t)style->in;
    float sum[BLAS_COLUMNS] = {}, mine = 0.0f;

    for (int i = lane; i < style->in; i += WARP) {
        float w = energy[i];

        for (int n = 0; n < BLAS_COLUMNS; n++) {
            float v = s[(size_t)n * each + (size_t)i];

            sum[n] = __fmaf_rn(w, __fmul_rn(v, v), sum[n]);
        }
    }
    for (int n = 0; n < BLAS_COLUMNS; n++) {
        float all = sum_of_lanes(sum[n]);

        mine = lane == n ? all : mine;
    }
    return mine;
}

/* out_gain / sqrt(sum + t^2), where t^2 may be more, or less, than a float32 holds. */
static __device__ __forceinline__ float demodulation(float out_gain, float sum, float t)
{
    float square = __fmaf_rn(t, t, sum);
    float root = square > 0.0f && square <= FLT_MAX ? __fsqrt_rn(square) : t;

    /* NaN stays */
    return square == square ? fminf(__fdiv_rn(out_gain, root), FLT_MAX) : square;
}

/* One warp an output of a layer that is no picture, all columns. */
static __global__ void __launch_bounds__(WARP * WARPS) demodulate(struct style_job p)
{
    struct span span = p.span[blockIdx.x];
    const struct style *style = &p.style[span.layer];
    int lane = (int)threadIdx.x, o = span.first + (int)threadIdx.y;
    float sum = 0.0f, down, v;
    int m;

    if (o >= style->out)
        return;
    if (style->demodulate)
        sum = sum_energy(style, o, p.coefficients + style->style_at, p.each, lane);
    if (lane >= BLAS_COLUMNS)
        return;
    down = style->down ? style->down[o] : 1.0f;
    m = p.power[(size_t)span.layer * BLAS_COLUMNS + (size_t)lane];
    if (style->demodulate)
        v = demodulation(style->out_gain, sum, scaled(__fdiv_rn(ROOT_EPSILON, down), -m));
    else
        v = fminf(__fmul_rn(style->out_gain, scaled(down, m)), FLT_MAX);
    p.coefficients[(size_t)lane * p.each + style->demod_at + (size_t)o] = v;
}

/* ---- Preparing ---- */

static float *host_floats(size_t count, struct err *e)
{
    float *data = (float *)malloc((count > 0 ? count : 1) * sizeof *data);

    if (!data)
        err_set(e, ERR_NOMEM, "no memory for %zu floats", count);
    return data;
}

/* The weights as the kernels read them, scaled once. */
static enum err_code put_product(struct product *out, struct room *room,
                                 const struct fc_weights *w, struct err *e)
{
    size_t in = (size_t)w->in, outs = (size_t)w->out;
    float *data = host_floats((in + 1) * outs, e), *bias = data + in * outs;

    if (!data)
        return ERR_NOMEM;
    for (size_t o = 0; o < outs; o++) {
        bias[o] = w->bias ? w->bias[o] * w->bias_gain : w->bias_gain;
        for (size_t i = 0; i < in; i++)
            data[o * in + i] = w->weight[w->transposed ? i * outs + o : o * in + i] *
                               w->weight_gain;
    }
    *out = (struct product){
        .weight = (const float *)room_put(room, data, in * outs * sizeof *data),
        .bias = (const float *)room_put(room, bias, outs * sizeof *data),
        .in = w->in,
        .out = w->out,
    };
    free(data);
    return ERR_OK;
}

/* What each class's one-hot vector becomes. */
static enum err_code put_embed(struct mapping_cuda *self, const struct fc_weights *w,
                               struct err *e)
{
    size_t classes = (size_t)w->in, labels = (size_t)w->out;
    float *data = host_floats(classes * labels, e);

    if (!data)
        return ERR_NOMEM;
    for (size_t c = 0; c < classes; c++)
        for (size_t i = 0; i < labels; i++)
            data[c * labels + i] =
                w->weight[w->transposed ? c * labels + i : i * classes + c] * w->weight_gain +
                (w->bias ? w->bias[i] * w->bias_gain : w->bias_gain);
    self->d_embed = (const float *)room_put(self->room, data, classes * labels * sizeof *data);
    self->labels = w->out;
    free(data);
    return ERR_OK;
}

static enum err_code open_streams(struct mapping_cuda *self, struct err *e)
{
    cudaError_t st = cudaEventCreateWithFlags(&self->begun, cudaEventDisableTiming);

    for (int i = 0; !st && i < SIDES; i++) {
        st = cudaStreamCreateWithFlags(&self->side[i], cudaStreamNonBlocking);
        if (!st)
            st = cudaEventCreateWithFlags(&self->ended[i], cudaEventDisableTiming);
    }
    return st ? err_set(e, ERR_DEVICE, "could not create a stream: %s", cudaGetErrorString(st))
              : ERR_OK;
}

static void widen(struct mapping_cuda *self, int count)
{
    size_t each = ((size_t)count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;

    self->vector_each = each > self->vector_each ? each : self->vector_each;
}

enum err_code mapping_cuda_create(const struct plan *plan, struct room *room,
                                  struct mapping_cuda **out, struct err *e)
{
    const struct plan_mapping *from = &plan->mapping;
    struct mapping_cuda *self = (struct mapping_cuda *)calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a mapping network");
    self->room = room;
    self->z_dim = from->z_dim;
    self->c_dim = from->c_dim;
    self->w_dim = from->w_dim;
    self->num_ws = plan->num_ws;
    self->joint = from->joint;
    self->gain = from->gain;
    rc = open_streams(self, e);
    if (!rc && from->c_dim > 0)
        rc = put_embed(self, &from->embed, e);
    widen(self, self->z_dim + self->labels);
    for (int k = 0; !rc && k < from->layers; k++) {
        rc = put_product(&self->layer[self->layers++], room, &from->layer[k], e);
        widen(self, from->layer[k].out);
    }
    if (!rc) {
        self->d_w_avg = (const float *)room_put(room, from->w_avg,
                                                (size_t)from->w_dim * sizeof *from->w_avg);
        *out = self;
        self = NULL;
    }
    mapping_cuda_destroy(&self);
    return rc;
}

void mapping_cuda_destroy(struct mapping_cuda **self)
{
    struct mapping_cuda *s = *self;

    if (!s)
        return;
    for (int i = 0; i < SIDES; i++) {
        if (s->side[i])
            cudaStreamDestroy(s->side[i]);
        if (s->ended[i])
            cudaEventDestroy(s->ended[i]);
    }
    if (s->begun)
        cudaEventDestroy(s->begun);
    free(s->affine.span);
    free(s->demod.span);
    free(s);
    *self = NULL;
}

static size_t place(struct mapping_cuda *self, size_t count)
{
    size_t at = self->each;

    self->each += (count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return at;
}

/* Blocks for outs outputs of the last layer. */
static enum err_code add_spans(struct spans *spans, int layer, int outs, struct err *e)
{
    for (int first = 0; first < outs; first += WARPS) {
        if (spans->count == spans->room) {
            int room = spans->room > 0 ? 2 * spans->room : 64;
            struct span *more = (struct span *)realloc(spans->span, (size_t)room * sizeof *more);

            if (!more)
                return err_set(e, ERR_NOMEM, "no memory for %d blocks", room);
            spans->span = more;
            spans->room = room;
        }
        spans->span[spans->count++] = (struct span){ layer, first };
    }
    return ERR_OK;
}

/* A picture's weights times their gains. None of them is of unit_weights: plan.h's ToRGBs. */
static enum err_code put_rgb(struct style *style, struct room *room, const struct plan_layer *layer,
                             struct err *e)
{
    const struct conv_weights *w = &layer->weights;
    size_t in = (size_t)layer->conv.in;
    float *data;

    if (layer->unit_weights || layer->conv.out != COLOURS || layer->conv.kernel != 1)
        return err_set(e, ERR_BUG, "layer %s: no picture is made of such weights", layer->name);
    data = host_floats(COLOURS * in, e);
    if (!data)
        return ERR_NOMEM;
    for (size_t i = 0; i < COLOURS * in; i++)
        data[i] = w->data[(ptrdiff_t)(i / in) * w->out + (ptrdiff_t)(i % in) * w->in] *
                  layer->weight_gain * layer->out_gain;
    style->rgb_weight = (const float *)room_put(room, data, COLOURS * in * sizeof *data);
    free(data);
    return ERR_OK;
}

enum err_code mapping_cuda_add(struct mapping_cuda *self, const struct plan_layer *layer,
                               const float *down, const float *energy, struct style_places *out,
                               struct err *e)
{
    bool picture = layer->finish == PLAN_PICTURE;
    int index = self->styles++, in = layer->conv.in, outs = layer->conv.out;
    struct style *style = &self->style[index];
    enum err_code rc = ERR_OK;

    *style = (struct style){
        .affine = { NULL, NULL, 0, 0 },
        .row = layer->row,
        .in = in,
        .out = outs,
        .unit = layer->unit_style,
        .modulate = layer->modulate,
        .demodulate = layer->demodulate,
        .out_gain = layer->out_gain,
        .down = NULL,
        .energy = NULL,
        .rgb_weight = NULL,
        .style_at = place(self, (size_t)layer->affine.out),
        .demod_at = place(self, picture ? 0 : (size_t)outs),
        .rgb_at = place(self, picture ? COLOURS * (size_t)in : 0),
    };
    *out = (struct style_places){ style->style_at, style->demod_at, style->rgb_at };
    if (layer->affine.out > 0)
        rc = put_product(&style->affine, self->room, &layer->affine, e);
    if (!rc)
        rc = add_spans(&self->affine, index, layer->affine.out, e);
    if (!rc && picture)
        rc = put_rgb(style, self->room, layer, e);
    if (rc || picture)
        return rc;
    if (down)
        style->down = (const float *)room_put(self->room, down, (size_t)outs * sizeof *down);
    if (layer->demodulate)
        style->energy = (const float *)room_put(self->room, energy,
                                                (size_t)outs * (size_t)in * sizeof *energy);
    return add_spans(&self->demod, index, outs, e);
}

static void put_spans(struct mapping_cuda *self, struct spans *spans)
{
    spans->d_span = (const struct span *)room_put(self->room, spans->span,
                                                  (size_t)spans->count * sizeof *spans->span);
    free(spans->span);
    spans->span = NULL;
}

/* Each product to the lane that has least to do so far. */
static void share_out(struct mapping_cuda *self)
{
    long busy[BLAS_LANES] = {};

    for (int i = 0; i < self->styles; i++) {
        int least = 0;

        for (int lane = 1; lane < BLAS_LANES; lane++)
            least = busy[lane] < busy[least] ? lane : least;
        self->lane[i] = least;
        /* a launch takes as long as some hundred outputs */
        busy[least] += self->style[i].affine.out > 0 ? self->style[i].affine.out + 512 : 0;
    }
}

enum err_code mapping_cuda_finish(struct mapping_cuda *self, struct err *e)
{
    size_t vectors = BLAS_COLUMNS * self->vector_each * sizeof(float);
    void *zeros = calloc(BLAS_COLUMNS, self->vector_each * sizeof(float));

    if (!zeros)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes", vectors);
    share_out(self);
    self->d_style = (const struct style *)room_put(self->room, self->style,
                                                   (size_t)self->styles * sizeof *self->style);
    put_spans(self, &self->affine);
    put_spans(self, &self->demod);
    for (int i = 0; i < 2; i++)
        self->d_vector[i] = (float *)room_put(self->room, zeros, vectors);
    self->d_power = (int *)room_take(self->room, (size_t)self->styles * BLAS_COLUMNS *
                                                     sizeof *self->d_power);
    free(zeros);
    return ERR_OK;
}

size_t mapping_cuda_each(const struct mapping_cuda *self)
{
    return self->each;
}

/* ---- Running ---- */

static enum err_code refused(cudaError_t status, struct err *e)
{
    return status ? err_set(e, ERR_DEVICE, "could not launch the mapping network: %s",
                            cudaGetErrorString(status))
                  : ERR_OK;
}

static unsigned blocks_of(int count, int of_a_block)
{
    return (unsigned)((count + of_a_block - 1) / of_a_block);
}

/* Layer k from one vector to the other; the last one's product alone. */
static enum err_code run_layer(struct mapping_cuda *self, int k, struct blas *blas,
                               cudaStream_t stream, struct err *e)
{
    const struct product *p = &self->layer[k];
    float *x = self->d_vector[k % 2], *y = self->d_vector[!(k % 2)];
    size_t each = self->vector_each;
    bool last = k == self->layers - 1;
    struct columns at = { x, y, each, each };
    enum err_code rc;

    if (!blas)
        return refused(launch(fc, dim3(blocks_of(p->out, WARPS)), dim3(WARP, WARPS), 0, stream, *p,
                              at, last ? 0.0f : self->gain), e);
    const struct blas_job job = {
        .y = y, .y_each = each, .weight = p->weight, .out = p->out, .in = p->in, .x = x,
        .x_each = each, .lane = 0,
    };

    rc = blas_product(blas, &job, stream, e);
    if (rc || last)
        return rc;
    return refused(launch(activate, dim3(blocks_of(p->out, STYLE_THREADS), BLAS_COLUMNS),
                          dim3(STYLE_THREADS), 0, stream, y, each, p->bias, p->out, self->gain), e);
}

static enum err_code run_network(struct mapping_cuda *self, const struct mapping_cuda_job *job,
                                 struct blas *blas, cudaStream_t stream, struct err *e)
{
    const struct product *last = &self->layer[self->layers - 1];
    struct join_job begin = {
        .z = job->z, .embed = self->d_embed, .class_index = job->class_index,
        .v = self->d_vector[0], .v_each = self->vector_each, .z_dim = self->z_dim,
        .c_dim = self->c_dim, .labels = self->labels, .joint = self->joint,
    };
    struct truncate_job end = {
        .y = self->d_vector[self->layers % 2], .y_each = self->vector_each, .bias = last->bias,
        .w_avg = self->d_w_avg, .psi = job->psi, .cutoff = job->cutoff, .ws = job->ws,
        .broken = job->broken, .w_dim = self->w_dim, .num_ws = self->num_ws, .layer = job->layer,
        .gain = self->gain,
    };
    enum err_code rc = refused(launch(join, dim3(BLAS_COLUMNS), dim3(WARP), 0, stream, begin), e);

    for (int k = 0; !rc && k < self->layers; k++)
        rc = run_layer(self, k, blas, stream, e);
    if (rc)
        return rc;
    return refused(launch(truncate_rows, dim3(blocks_of(self->w_dim, STYLE_THREADS), BLAS_COLUMNS),
                          dim3(STYLE_THREADS), 0, stream, end), e);
}

/* All affines by cuBLAS, on the caller's stream and the ones beside it. */
static enum err_code run_affines(struct mapping_cuda *self, const struct mapping_cuda_job *job,
                                 struct blas *blas, cudaStream_t stream, struct err *e)
{
    enum err_code rc = refused(cudaEventRecord(self->begun, stream), e);

    for (int i = 0; !rc && i < SIDES; i++)
        rc = refused(cudaStreamWaitEvent(self->side[i], self->begun, 0), e);
    for (int i = 0; !rc && i < self->styles; i++) {
        const struct style *style = &self->style[i];
        int lane = self->lane[i];
        const struct blas_job product = {
            .y = job->coefficients + style->style_at,
            .y_each = self->each,
            .weight = style->affine.weight,
            .out = style->affine.out,
            .in = style->affine.in,
            .x = job->ws + (size_t)style->row * (size_t)self->w_dim,
            .x_each = (size_t)self->num_ws * (size_t)self->w_dim,
            .lane = lane,
        };

        if (style->affine.out > 0)
            rc = blas_product(blas, &product, lane > 0 ? self->side[lane - 1] : stream, e);
    }
    for (int i = 0; !rc && i < SIDES; i++) {
        rc = refused(cudaEventRecord(self->ended[i], self->side[i]), e);
        if (!rc)
            rc = refused(cudaStreamWaitEvent(stream, self->ended[i], 0), e);
    }
    return rc;
}

enum err_code mapping_cuda_run(struct mapping_cuda *self, const struct mapping_cuda_job *job,
                               struct blas *blas, cudaStream_t stream, struct err *e)
{
    struct style_job p = {
        .style = self->d_style, .span = self->affine.d_span, .ws = job->ws,
        .coefficients = job->coefficients, .each = self->each, .power = self->d_power,
        .w_dim = self->w_dim, .num_ws = self->num_ws,
    };
    enum err_code rc = run_network(self, job, blas, stream, e);

    if (!rc && blas)
        rc = run_affines(self, job, blas, stream, e);
    else if (!rc)
        rc = refused(launch(fc_styles, dim3((unsigned)self->affine.count), dim3(WARP, WARPS), 0,
                            stream, p), e);
    if (!rc)
        rc = refused(launch(styles, dim3((unsigned)self->styles, BLAS_COLUMNS),
                            dim3(STYLE_THREADS), 2 * STYLE_THREADS / WARP * sizeof(float), stream,
                            p), e);
    p.span = self->demod.d_span;
    if (!rc)
        rc = refused(launch(demodulate, dim3((unsigned)self->demod.count), dim3(WARP, WARPS), 0,
                            stream, p), e);
    return rc;
}
