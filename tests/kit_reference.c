#include "tests/kit_reference.h"

#include "kernels/seed.h"
#include "kernels/simd.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* ---- Numbers ---- */

static double *zeros(size_t count)
{
    double *p = calloc(count ? count : 1, sizeof *p);

    if (!p)
        abort();
    return p;
}

__attribute__((format(printf, 2, 3)))
static const float *tensor(const struct model *model, const char *name, ...)
{
    char full[96];
    va_list args;

    va_start(args, name);
    vsnprintf(full, sizeof full, name, args);
    va_end(args);
    const struct model_tensor *t = model_tensor_find(model, full);

    if (!t) {
        fprintf(stderr, "no tensor \"%s\"\n", full);
        abort();
    }
    return t->data;
}

static double lrelu(double v)
{
    return v >= 0.0 ? v : 0.2 * v;
}

static double clamp(double v, double limit)     /* limit 0: none */
{
    return limit > 0.0 ? fmax(-limit, fmin(limit, v)) : v;
}

/* Planes of one sample. */
struct map {
    int channels, size;
    double *at;                 /* [channels, size, size] */
};

static struct map map_create(int channels, int size)
{
    return (struct map){ channels, size, zeros((size_t)channels * (size_t)size * (size_t)size) };
}

static double *plane(const struct map *m, int channel)
{
    return m->at + (size_t)channel * (size_t)m->size * (size_t)m->size;
}

/* Zero outside. */
static inline double pixel(const struct map *m, int channel, int y, int x)
{
    return y < 0 || y >= m->size || x < 0 || x >= m->size ? 0.0
                                                           : plane(m, channel)[y * m->size + x];
}

static void replace(struct map *m, struct map by)
{
    free(m->at);
    *m = by;
}

static struct map map_of(int channels, int size, const float *data)
{
    struct map m = map_create(channels, size);

    for (int i = 0; i < channels * size * size; i++)
        m.at[i] = (double)data[i];
    return m;
}

/* A kernel [out, in, k, k]. */
struct kernel {
    int out, in, k;
    double *at;
};

static double *tap(const struct kernel *w, int o, int i)
{
    return w->at + ((size_t)o * (size_t)w->in + (size_t)i) * (size_t)(w->k * w->k);
}

static struct kernel kernel_create(int out, int in, int k)
{
    return (struct kernel){ out, in, k, zeros((size_t)out * (size_t)in * (size_t)(k * k)) };
}

/* PyTorch's layout, [out, in, k, k], and TensorFlow's, [k, k, in, out]. */
static struct kernel kernel_pytorch(const float *data, int out, int in, int k)
{
    struct kernel w = kernel_create(out, in, k);

    for (int i = 0; i < out * in * k * k; i++)
        w.at[i] = (double)data[i];
    return w;
}

static struct kernel kernel_tensorflow(const float *data, int out, int in, int k, double gain)
{
    struct kernel w = kernel_create(out, in, k);

    for (int t = 0; t < k * k; t++)
        for (int i = 0; i < in; i++)
            for (int o = 0; o < out; o++)
                tap(&w, o, i)[t] = gain * (double)data[(t * in + i) * out + o];
    return w;
}

/* out[o,y,x] = sum W[o,i,a,b] in[i,y+a-pad,x+b-pad] */
SIMD_UNCHECKED static struct map correlate(const struct map *in, const struct kernel *w, int pad)
{
    struct map out = map_create(w->out, in->size + 2 * pad + 1 - w->k);

    for (int o = 0; o < w->out; o++)
        for (int i = 0; i < w->in; i++)
            for (int a = 0; a < w->k; a++)
                for (int b = 0; b < w->k; b++) {
                    double weight = tap(w, o, i)[a * w->k + b];

                    for (int y = 0; y < out.size; y++) {
                        double *row = plane(&out, o) + y * out.size;

                        for (int x = 0; x < out.size; x++)
                            row[x] += weight * pixel(in, i, y + a - pad, x + b - pad);
                    }
                }
    return out;
}

/* out[o, 2y+a-crop, 2x+b-crop] += W[o,i,a,b] in[i,y,x], of size pixels */
SIMD_UNCHECKED static struct map scatter(const struct map *in, const struct kernel *w, int crop,
                                         int size)
{
    struct map out = map_create(w->out, size);

    for (int o = 0; o < w->out; o++)
        for (int i = 0; i < w->in; i++)
            for (int y = 0; y < in->size; y++)
                for (int x = 0; x < in->size; x++)
                    for (int a = 0; a < w->k; a++)
                        for (int b = 0; b < w->k; b++) {
                            int v = 2 * y + a - crop, u = 2 * x + b - crop;

                            if (v >= 0 && v < size && u >= 0 && u < size)
                                plane(&out, o)[v * size + u] +=
                                    tap(w, o, i)[a * w->k + b] * pixel(in, i, y, x);
                        }
    return out;
}

/* Every channel with a small filter [taps, taps], zero outside; out has size pixels and its first
 * sees the input from -before on; every step-th is kept. A convolution: the filter is turned. */
SIMD_UNCHECKED static struct map filter(const struct map *in, const double *f, int taps, int before,
                                        int step, int size)
{
    struct map out = map_create(in->channels, size);

    for (int c = 0; c < in->channels; c++)
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++)
                for (int a = 0; a < taps; a++)
                    for (int b = 0; b < taps; b++) {
                        double weight = f[(taps - 1 - a) * taps + taps - 1 - b];

                        if (weight != 0.0)
                            plane(&out, c)[y * size + x] +=
                                weight * pixel(in, c, step * y + a - before, step * x + b - before);
                    }
    return out;
}

/* The square filter of a line. */
static void outer(double *out, const double *line, int taps)
{
    for (int i = 0; i < taps * taps; i++)
        out[i] = line[i / taps] * line[i % taps];
}

/* Every pixel by `by` zeros and itself. */
static struct map insert_zeros(const struct map *in, int by)
{
    struct map out = map_create(in->channels, by * in->size);

    for (int c = 0; c < in->channels; c++)
        for (int y = 0; y < in->size; y++)
            for (int x = 0; x < in->size; x++)
                plane(&out, c)[by * y * out.size + by * x] = pixel(in, c, y, x);
    return out;
}

/* ---- From the seed to ws ---- */

static void normalize(double *v, int count)
{
    double sum = 0.0;

    for (int i = 0; i < count; i++)
        sum += v[i] * v[i];
    for (int i = 0; i < count; i++)
        v[i] /= sqrt(sum / count + 1e-8);
}

/* v . W, with W [in, out] or (turned) [out, in]. */
static double dot(const double *v, const float *weight, int in, int out, int o, bool turned)
{
    double sum = 0.0;

    for (int i = 0; i < in; i++)
        sum += v[i] * (double)weight[turned ? o * in + i : i * out + o];
    return sum;
}

/* Everything of the sample that the layers read. */
struct source {
    const struct model *model;
    const struct sample *sample;
    int w_dim;
    double *ws;                 /* [num_ws, w_dim] */
    struct seed_stream stream;  /* for the noise planes, layer after layer */
};

static void map_stylegan1(struct source *s, const double *z, double *w)
{
    const struct stylegan1_arch *a = model_stylegan1(s->model);
    double v[2 * ARCH_DIM_MAX], next[ARCH_DIM_MAX];
    int in = a->z_dim;

    memcpy(v, z, (size_t)in * sizeof *v);
    if (a->c_dim > 0) {
        const float *embed = tensor(s->model, "mapping/LabelConcat/weight");

        for (int i = 0; i < a->z_dim; i++)
            v[in + i] = (double)embed[s->sample->class_index * a->z_dim + i];
        in *= 2;
    }
    normalize(v, in);
    for (int k = 0; k < a->mapping_layers; k++) {
        int out = k == a->mapping_layers - 1 ? a->w_dim : a->mapping_fmaps;
        const float *weight = tensor(s->model, "mapping/Dense%d/weight", k);
        const float *bias = tensor(s->model, "mapping/Dense%d/bias", k);

        for (int o = 0; o < out; o++)
            next[o] = lrelu(0.01 * sqrt(2.0) / sqrt(in) * dot(v, weight, in, out, o, false) +
                            0.01 * (double)bias[o]);
        memcpy(v, next, (size_t)out * sizeof *v);
        in = out;
    }
    memcpy(w, v, (size_t)a->w_dim * sizeof *w);
}

static void map_pytorch(struct source *s, const double *z, double *w, int layers)
{
    const struct model_facts *f = model_facts(s->model);
    double v[2 * ARCH_DIM_MAX], next[ARCH_DIM_MAX];
    int in = f->z_dim;

    memcpy(v, z, (size_t)in * sizeof *v);
    normalize(v, in);
    if (f->c_dim > 0) {
        const float *weight = tensor(s->model, "mapping.embed.weight");
        const float *bias = tensor(s->model, "mapping.embed.bias");

        for (int o = 0; o < f->w_dim; o++)
            v[in + o] = (double)weight[o * f->c_dim + s->sample->class_index] / sqrt(f->c_dim) +
                        (double)bias[o];
        normalize(v + in, f->w_dim);
        in += f->w_dim;
    }
    for (int k = 0; k < layers; k++) {
        const float *weight = tensor(s->model, "mapping.fc%d.weight", k);
        const float *bias = tensor(s->model, "mapping.fc%d.bias", k);

        for (int o = 0; o < f->w_dim; o++)
            next[o] = sqrt(2.0) * lrelu(0.01 / sqrt(in) * dot(v, weight, in, f->w_dim, o, true) +
                                        0.01 * (double)bias[o]);
        memcpy(v, next, (size_t)f->w_dim * sizeof *v);
        in = f->w_dim;
    }
    memcpy(w, v, (size_t)f->w_dim * sizeof *w);
}

static struct source source_create(const struct model *model, const struct sample *sample)
{
    const struct model_facts *f = model_facts(model);
    struct source s = { .model = model, .sample = sample, .w_dim = f->w_dim };
    double z[ARCH_DIM_MAX], w[ARCH_DIM_MAX];
    const float *w_avg = tensor(model, model_stylegan1(model) ? "dlatent_avg" : "mapping.w_avg");

    seed_init(&s.stream, sample->seed);
    for (int i = 0; i < f->z_dim; i++)
        z[i] = (double)(float)seed_normal(&s.stream);
    if (model_stylegan1(model))
        map_stylegan1(&s, z, w);
    else if (model_stylegan2(model))
        map_pytorch(&s, z, w, model_stylegan2(model)->mapping_layers);
    else
        map_pytorch(&s, z, w, model_stylegan3(model)->mapping_layers);
    s.ws = zeros((size_t)f->num_ws * (size_t)f->w_dim);
    for (int row = 0; row < f->num_ws; row++)
        for (int i = 0; i < f->w_dim; i++) {
            double mean = (double)w_avg[i];

            s.ws[row * f->w_dim + i] =
                row < sample->cutoff ? mean + (double)sample->psi * (w[i] - mean) : w[i];
        }
    if (sample->noise == RECIPE_NOISE_RANDOM)
        seed_init(&s.stream, sample->noise_seed);
    return s;
}

/* The noise plane of the next layer [size, size], of zeros where there is none; free() it. */
static double *next_noise(struct source *s, const float *stored, int size)
{
    double *noise = zeros((size_t)size * (size_t)size);

    for (int i = 0; i < size * size; i++)
        switch (s->sample->noise) {
        case RECIPE_NOISE_CONST: noise[i] = (double)stored[i]; break;
        case RECIPE_NOISE_RANDOM:
        case RECIPE_NOISE_STREAM: noise[i] = (double)(float)seed_normal(&s->stream); break;
        default: break;
        }
    return noise;
}

/* ---- StyleGAN 1 ---- */

static void finish_stylegan1(struct source *s, struct map *m, const char *scope, int index)
{
    int pixels = m->size * m->size;
    const float *strength = tensor(s->model, "%s/Noise/weight", scope);
    const float *bias = tensor(s->model, "%s/bias", scope);
    const float *style = tensor(s->model, "%s/StyleMod/weight", scope);
    const float *style_bias = tensor(s->model, "%s/StyleMod/bias", scope);
    const double *w = s->ws + index * s->w_dim;
    double *noise = next_noise(s, tensor(s->model, "synthesis/noise%d", index), m->size);

    for (int c = 0; c < m->channels; c++) {
        double *x = plane(m, c), mean = 0.0, var = 0.0, scale[2];

        for (int i = 0; i < pixels; i++)
            x[i] = lrelu(x[i] + noise[i] * (double)strength[c] + (double)bias[c]);
        for (int i = 0; i < pixels; i++)
            mean += x[i] / pixels;
        for (int i = 0; i < pixels; i++)
            var += (x[i] - mean) * (x[i] - mean) / pixels;
        for (int half = 0; half < 2; half++) {
            int o = half * m->channels + c;

            scale[half] = dot(w, style, s->w_dim, 2 * m->channels, o, false) / sqrt(s->w_dim) +
                          (double)style_bias[o];
        }
        for (int i = 0; i < pixels; i++)
            x[i] = (x[i] - mean) / sqrt(var + 1e-8) * (scale[0] + 1.0) + scale[1];
    }
    free(noise);
}

/* What a layer of 3 x 3 starts with. */
static struct kernel kernel_stylegan1(struct source *s, const char *scope, int out, int in)
{
    return kernel_tensorflow(tensor(s->model, "%s/weight", scope), out, in, 3,
                             sqrt(2.0) / sqrt(9.0 * in));
}

/* Below 128 pixels doubled and correlated, from there on scattered with a kernel of 4 x 4. */
static struct map up_stylegan1(const struct map *in, const struct kernel *w, int size)
{
    struct map out;

    if (size < 128) {
        struct map doubled = map_create(in->channels, size);

        for (int c = 0; c < in->channels; c++)
            for (int y = 0; y < size; y++)
                for (int x = 0; x < size; x++)
                    plane(&doubled, c)[y * size + x] = pixel(in, c, y / 2, x / 2);
        out = correlate(&doubled, w, 1);
        free(doubled.at);
        return out;
    }
    struct kernel wide = kernel_create(w->out, w->in, 4);

    for (int o = 0; o < w->out; o++)
        for (int i = 0; i < w->in; i++)
            for (int t = 0; t < 9; t++)
                for (int d = 0; d < 4; d++)
                    tap(&wide, o, i)[(t / 3 + d / 2) * 4 + t % 3 + d % 2] += tap(w, o, i)[t];
    out = scatter(in, &wide, 1, size);
    free(wide.at);
    return out;
}

static double *image_stylegan1(struct source *s)
{
    static const double BLUR[3] = { 0.25, 0.5, 0.25 };
    const struct stylegan1_arch *a = model_stylegan1(s->model);
    int channels = a->fmap_max < a->fmap_base / 2 ? a->fmap_max : a->fmap_base / 2, layer = 0;
    struct map m = map_of(channels, 4, tensor(s->model, "synthesis/4x4/Const/const"));
    double blur[9];
    char scope[64];
    struct kernel w;

    outer(blur, BLUR, 3);
    finish_stylegan1(s, &m, "synthesis/4x4/Const", layer++);
    for (int size = 4; size <= a->resolution; size *= 2) {
        channels = 2 * a->fmap_base / size;
        channels = channels < a->fmap_max ? channels : a->fmap_max;
        if (size > 4) {
            snprintf(scope, sizeof scope, "synthesis/%dx%d/Conv0_up", size, size);
            w = kernel_stylegan1(s, scope, channels, m.channels);
            replace(&m, up_stylegan1(&m, &w, size));
            replace(&m, filter(&m, blur, 3, 1, 1, size));
            finish_stylegan1(s, &m, scope, layer++);
            free(w.at);
        }
        snprintf(scope, sizeof scope, "synthesis/%dx%d/%s", size, size,
                 size > 4 ? "Conv1" : "Conv");
        w = kernel_stylegan1(s, scope, channels, channels);
        replace(&m, correlate(&m, &w, 1));
        finish_stylegan1(s, &m, scope, layer++);
        free(w.at);
    }
    const float *bias = tensor(s->model, "synthesis/ToRGB_lod0/bias");

    w = kernel_tensorflow(tensor(s->model, "synthesis/ToRGB_lod0/weight"), 3, m.channels, 1,
                          1.0 / sqrt(m.channels));
    replace(&m, correlate(&m, &w, 0));
    for (int i = 0; i < 3 * m.size * m.size; i++)
        m.at[i] += (double)bias[i / (m.size * m.size)];
    free(w.at);
    return m.at;
}

/* ---- Modulation, of StyleGAN 2 and 3 ---- */

/* Row row of ws through synthesis.<layer>.affine: [out], times gain; free() it. */
static double *style_of(struct source *s, const char *layer, int row, int out, double gain)
{
    const float *weight = tensor(s->model, "synthesis.%s.affine.weight", layer);
    const float *bias = tensor(s->model, "synthesis.%s.affine.bias", layer);
    double *style = zeros((size_t)out);

    for (int o = 0; o < out; o++)
        style[o] = gain * (dot(s->ws + row * s->w_dim, weight, s->w_dim, out, o, true) /
                               sqrt(s->w_dim) + (double)bias[o]);
    return style;
}

static void modulate(struct kernel *w, const double *style, bool demodulate)
{
    for (int o = 0; o < w->out; o++) {
        double sum = 1e-8;

        for (int i = 0; i < w->in; i++)
            for (int t = 0; t < w->k * w->k; t++) {
                tap(w, o, i)[t] *= style[i];
                sum += tap(w, o, i)[t] * tap(w, o, i)[t];
            }
        for (int i = 0; demodulate && i < w->in * w->k * w->k; i++)
            tap(w, o, 0)[i] /= sqrt(sum);
    }
}

/* ---- StyleGAN 2 ---- */

static struct map conv_stylegan2(struct source *s, const struct map *in, const char *layer, int row,
                                 int out, int size)
{
    static const double LINE[4] = { 0.25, 0.75, 0.75, 0.25 };
    struct kernel w = kernel_pytorch(tensor(s->model, "synthesis.%s.weight", layer), out,
                                     in->channels, 3);
    const float *bias = tensor(s->model, "synthesis.%s.bias", layer);
    double strength = (double)*tensor(s->model, "synthesis.%s.noise_strength", layer);
    double *noise = next_noise(s, tensor(s->model, "synthesis.%s.noise_const", layer), size);
    double *style = style_of(s, layer, row, in->channels, 1.0), f[16];
    struct map m;

    modulate(&w, style, true);
    outer(f, LINE, 4);
    if (size == in->size) {
        m = correlate(in, &w, 1);
    } else {
        m = scatter(in, &w, 0, 2 * in->size + 1);
        replace(&m, filter(&m, f, 4, 1, 1, size));
    }
    for (int c = 0; c < out; c++)
        for (int i = 0; i < size * size; i++) {
            double v = plane(&m, c)[i] + noise[i] * strength + (double)bias[c];

            plane(&m, c)[i] = clamp(sqrt(2.0) * lrelu(v),
                                    (double)model_stylegan2(s->model)->conv_clamp);
        }
    free(style);
    free(noise);
    free(w.at);
    return m;
}

static struct map rgb_stylegan2(struct source *s, const struct map *in, const char *layer, int row)
{
    struct kernel w = kernel_pytorch(tensor(s->model, "synthesis.%s.weight", layer), 3,
                                     in->channels, 1);
    const float *bias = tensor(s->model, "synthesis.%s.bias", layer);
    double *style = style_of(s, layer, row, in->channels, 1.0 / sqrt(in->channels));
    int pixels = in->size * in->size;

    modulate(&w, style, false);
    struct map m = correlate(in, &w, 0);

    for (int i = 0; i < 3 * pixels; i++)
        m.at[i] = clamp(m.at[i] + (double)bias[i / pixels],
                        (double)model_stylegan2(s->model)->conv_clamp);
    free(style);
    free(w.at);
    return m;
}

static double *image_stylegan2(struct source *s)
{
    static const double LINE[4] = { 0.25, 0.75, 0.75, 0.25 };
    const struct stylegan2_arch *a = model_stylegan2(s->model);
    int channels = a->channel_base / 4 < a->channel_max ? a->channel_base / 4 : a->channel_max;
    struct map m = map_of(channels, 4, tensor(s->model, "synthesis.b4.const"));
    struct map image = map_create(3, 2);
    double f[16];
    char layer[32];

    outer(f, LINE, 4);
    for (int size = 4, n = 2; size <= a->resolution; size *= 2, n++) {
        channels = a->channel_base / size < a->channel_max ? a->channel_base / size
                                                           : a->channel_max;
        if (size > 4) {
            snprintf(layer, sizeof layer, "b%d.conv0", size);
            replace(&m, conv_stylegan2(s, &m, layer, 2 * n - 5, channels, size));
        }
        snprintf(layer, sizeof layer, "b%d.conv1", size);
        replace(&m, conv_stylegan2(s, &m, layer, 2 * n - 4, channels, size));
        /* the picture so far, doubled: at first it is nothing */
        replace(&image, insert_zeros(&image, 2));
        replace(&image, filter(&image, f, 4, 2, 1, size));
        snprintf(layer, sizeof layer, "b%d.torgb", size);
        struct map rgb = rgb_stylegan2(s, &m, layer, 2 * n - 3);

        for (int i = 0; i < 3 * size * size; i++)
            image.at[i] += rgb.at[i];
        free(rgb.at);
    }
    free(m.at);
    return image.at;
}

/* ---- StyleGAN 3 ---- */

/* What is behind layer i, and behind the input where i is 0. */
struct stage {
    double cutoff, stopband;
    int rate, size, channels;
};

static struct stage stage_of(const struct stylegan3_arch *a, int i)
{
    double last = a->resolution / 2.0, exponent = (double)i / (a->num_layers - a->num_critical);
    struct stage s;

    exponent = exponent > 1.0 ? 1.0 : exponent;
    s.cutoff = a->first_cutoff * pow(last / a->first_cutoff, exponent);
    s.stopband = a->first_stopband *
                 pow(last * a->last_stopband_rel / a->first_stopband, exponent);
    s.rate = 1;
    while (s.rate < a->resolution && s.rate < 2.0 * s.stopband * (1.0 - 1e-12))
        s.rate *= 2;
    s.size = i > a->num_layers - 2 ? a->resolution : s.rate + 2 * a->margin_size;
    s.channels = (int)nearbyint(fmin(a->channel_base / 2.0 / s.cutoff, a->channel_max));
    if (i == a->num_layers)
        s.channels = 3;
    return s;
}

/* out = a . b, [3, 3] */
static void multiply(double *out, const double *a, const double *b)
{
    for (int i = 0; i < 9; i++) {
        out[i] = 0.0;
        for (int k = 0; k < 3; k++)
            out[i] += a[i / 3 * 3 + k] * b[k * 3 + i % 3];
    }
}

/* The matrix that undoes what the sample asks for. */
static void transform_of(struct source *s, double out[9])
{
    const struct recipe_transform *t = &s->sample->transform;
    const float *stored = tensor(s->model, "synthesis.input.transform");
    double angle = (double)t->degrees / 1e6 / 180.0 * PI;
    const double back[9] = { 1, 0, -(double)t->tx / 1e6, 0, 1, -(double)t->ty / 1e6, 0, 0, 1 };
    const double turn[9] = { cos(angle), -sin(angle), 0, sin(angle), cos(angle), 0, 0, 0, 1 };

    if (t->kind == RECIPE_TRANSFORM_TR) {
        /* forth, it is a turn by -angle followed by a shift */
        multiply(out, turn, back);
        return;
    }
    for (int i = 0; i < 9; i++)
        out[i] = (double)(t->kind == RECIPE_TRANSFORM_MATRIX ? t->m[i] : stored[i]);
}

static struct map waves(struct source *s, const struct stage *stage)
{
    int n = stage->size, channels = stage->channels;
    const float *freqs = tensor(s->model, "synthesis.input.freqs");
    const float *phases = tensor(s->model, "synthesis.input.phases");
    double *style = style_of(s, "input", 0, 4, 1.0), user[9], both[9], t[9];
    double norm = sqrt(style[0] * style[0] + style[1] * style[1]);

    for (int i = 0; i < 4; i++)
        style[i] /= norm;
    const double turn[9] = { style[0], -style[1], 0, style[1], style[0], 0, 0, 0, 1 };
    const double shift[9] = { 1, 0, -style[2], 0, 1, -style[3], 0, 0, 1 };
    struct map f = map_create(channels, n);

    transform_of(s, user);
    multiply(both, turn, shift);
    multiply(t, both, user);
    for (int j = 0; j < channels; j++) {
        double x = (double)freqs[2 * j], y = (double)freqs[2 * j + 1];
        double phase = (double)phases[j] + x * t[2] + y * t[5];
        double fx = x * t[0] + y * t[3], fy = x * t[1] + y * t[4];
        double amplitude = 1.0 - (sqrt(fx * fx + fy * fy) - stage->cutoff) /
                                     (stage->rate / 2.0 - stage->cutoff);

        amplitude = fmin(fmax(amplitude, 0.0), 1.0);
        for (int i = 0; i < n * n; i++) {
            double gx = ((2.0 * (i % n) + 1.0) / n - 1.0) * 0.5 * n / stage->rate;
            double gy = ((2.0 * (i / n) + 1.0) / n - 1.0) * 0.5 * n / stage->rate;

            plane(&f, j)[i] = amplitude * sin(2.0 * PI * (gx * fx + gy * fy + phase));
        }
    }
    free(style);
    struct kernel w = kernel_pytorch(tensor(s->model, "synthesis.input.weight"), channels, channels,
                                     1);

    for (int i = 0; i < channels * channels; i++)
        w.at[i] /= sqrt(channels);
    replace(&f, correlate(&f, &w, 0));
    free(w.at);
    return f;
}

/* Value at of a line with up - 1 zeros behind each of its count values, `before` more zeros before
 * it and zeros outside, filtered up. The products by inserted zeros are left out. */
static double stretch(const double *line, int count, int step, const float *filter, int up,
                      int before, int at)
{
    double sum = 0.0;

    for (int k = ((before - at) % up + up) % up; k < 6 * up; k += up) {
        int i = (at + k - before) / up;

        if (at + k >= before && i < count)
            sum += up * (double)filter[6 * up - 1 - k] * line[i * step];
    }
    return sum;
}

/* The filtered lrelu of a channel: in [n, n], out [size, size]. f is the square filter down. */
SIMD_UNCHECKED static void filter_channel(double *out, int size, const double *in, int n,
                                          const float *up_filter, int up, const double *f, int down,
                                          double limit)
{
    int up_taps = 6 * up, down_taps = 6 * down, inner = (size - 1) * down + down_taps;
    int total = (size - 1) * down + 1 - n * up + up_taps + down_taps - 2;
    int lo = (int)floor((total + up) / 2.0);
    double *tall = zeros((size_t)inner * (size_t)n), *u = zeros((size_t)inner * (size_t)inner);

    for (int v = 0; v < inner; v++)
        for (int x = 0; x < n; x++)
            tall[v * n + x] = stretch(in + x, n, n, up_filter, up, lo, v);
    for (int v = 0; v < inner; v++)
        for (int x = 0; x < inner; x++) {
            double wide = stretch(tall + v * n, n, 1, up_filter, up, lo, x);

            u[v * inner + x] = clamp(sqrt(2.0) * lrelu(wide), limit);
        }
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            double sum = 0.0;

            for (int t = 0; t < down_taps * down_taps; t++)
                sum += f[down_taps * down_taps - 1 - t] *
                       u[(y * down + t / down_taps) * inner + x * down + t % down_taps];
            out[y * size + x] = sum;
        }
    free(tall);
    free(u);
}

static struct map filter_stylegan3(struct source *s, const struct map *in, const char *name, int up,
                                   int down, int size, bool radial)
{
    const float *up_filter = tensor(s->model, "synthesis.%s.up_filter", name);
    const float *down_filter = tensor(s->model, "synthesis.%s.down_filter", name);
    int taps = 6 * down;
    double *f = zeros((size_t)(taps * taps));
    struct map out = map_create(in->channels, size);

    for (int i = 0; i < taps * taps; i++)
        f[i] = radial ? (double)down_filter[i]
                      : (double)down_filter[i / taps] * (double)down_filter[i % taps];
    for (int c = 0; c < in->channels; c++)
        filter_channel(plane(&out, c), size, plane(in, c), in->size, up_filter, up, f, down,
                       (double)model_stylegan3(s->model)->conv_clamp);
    free(f);
    return out;
}

static struct map layer_stylegan3(struct source *s, const struct map *in, int i)
{
    const struct stylegan3_arch *a = model_stylegan3(s->model);
    struct stage from = stage_of(a, i > 0 ? i - 1 : 0), to = stage_of(a, i);
    bool is_torgb = i == a->num_layers;
    int k = is_torgb ? 1 : a->conv_kernel, inner = 2 * (from.rate > to.rate ? from.rate : to.rate);
    char name[48];

    snprintf(name, sizeof name, "L%d_%d_%d", i, to.size, to.channels);
    struct kernel w = kernel_pytorch(tensor(s->model, "synthesis.%s.weight", name), to.channels,
                                     from.channels, k);
    const float *bias = tensor(s->model, "synthesis.%s.bias", name);
    double magnitude = (double)*tensor(s->model, "synthesis.%s.magnitude_ema", name);
    double *style = style_of(s, name, i + 1, from.channels,
                             is_torgb ? 1.0 / sqrt(from.channels * k * k) : 1.0);
    int count = from.channels * k * k;

    if (!is_torgb) {
        double sum = 0.0;

        for (int c = 0; c < from.channels; c++)
            sum += style[c] * style[c] / from.channels;
        for (int c = 0; c < from.channels; c++)
            style[c] /= sqrt(sum);
        for (int o = 0; o < to.channels; o++) {
            sum = 0.0;
            for (int t = 0; t < count; t++)
                sum += tap(&w, o, 0)[t] * tap(&w, o, 0)[t] / count;
            for (int t = 0; t < count; t++)
                tap(&w, o, 0)[t] /= sqrt(sum);
        }
    }
    modulate(&w, style, !is_torgb);
    for (int t = 0; t < to.channels * count; t++)
        w.at[t] /= sqrt(magnitude);
    struct map m = correlate(in, &w, k - 1);

    for (int t = 0; t < m.channels * m.size * m.size; t++)
        m.at[t] += (double)bias[t / (m.size * m.size)];
    if (!is_torgb)
        replace(&m, filter_stylegan3(s, &m, name, inner / from.rate, inner / to.rate, to.size,
                                     a->use_radial_filters && i < a->num_layers - a->num_critical));
    for (int t = 0; is_torgb && t < m.channels * m.size * m.size; t++)
        m.at[t] = a->output_scale * clamp(m.at[t], (double)a->conv_clamp);
    free(style);
    free(w.at);
    return m;
}

static double *image_stylegan3(struct source *s)
{
    const struct stylegan3_arch *a = model_stylegan3(s->model);
    struct stage first = stage_of(a, 0);
    struct map m = waves(s, &first);

    for (int i = 0; i <= a->num_layers; i++)
        replace(&m, layer_stylegan3(s, &m, i));
    return m.at;
}

double *kit_reference_image(const struct model *model, const struct sample *sample)
{
    struct source s = source_create(model, sample);
    double *image = model_stylegan1(model)   ? image_stylegan1(&s)
                    : model_stylegan2(model) ? image_stylegan2(&s)
                                             : image_stylegan3(&s);

    free(s.ws);
    return image;
}
