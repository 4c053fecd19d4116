#include "tests/kit_arch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, ENTRY_ROOM = 192, NOTES_ROOM = sizeof ((struct kit_arch *)0)->notes };

/* ---- Random numbers ---- */

static uint32_t next(struct kit_random *self)
{
    self->state = self->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(self->state >> 32);
}

int kit_random_whole(struct kit_random *self, int low, int high)
{
    return low + (int)(next(self) % (uint32_t)(high - low + 1));
}

double kit_random_real(struct kit_random *self, double low, double high)
{
    return low + (high - low) * ((double)next(self) / 4294967296.0);
}

static bool chance(struct kit_random *self, int of)
{
    return next(self) % (uint32_t)of == 0;
}

/* ---- Architectures ---- */

/* Keys that all have. */
static int put_common(char *out, const char *arch, int z_dim, int c_dim, int w_dim, int resolution,
                      int num_ws, int mapping_layers)
{
    return snprintf(out, NOTES_ROOM,
                    "\"arch\":\"%s\",\"z_dim\":\"%d\",\"c_dim\":\"%d\",\"w_dim\":\"%d\","
                    "\"img_resolution\":\"%d\",\"img_channels\":\"3\",\"num_ws\":\"%d\","
                    "\"mapping_layers\":\"%d\",",
                    arch, z_dim, c_dim, w_dim, resolution, num_ws, mapping_layers);
}

static const char *clamp_text(float clamp, char out[32])
{
    if (clamp > 0.0f)
        snprintf(out, 32, "%.9g", (double)clamp);
    else
        snprintf(out, 32, "none");
    return out;
}

void kit_arch_stylegan1(struct kit_arch *out, const struct stylegan1_arch *a)
{
    out->family = MODEL_STYLEGAN1;
    int len = put_common(out->notes, "stylegan1", a->z_dim, a->c_dim, a->w_dim, a->resolution,
                         a->num_ws, a->mapping_layers);

    snprintf(out->notes + len, NOTES_ROOM - (size_t)len,
             "\"mapping_fmaps\":\"%d\",\"fmap_base\":\"%d\",\"fmap_max\":\"%d\"", a->mapping_fmaps,
             a->fmap_base, a->fmap_max);
    out->tensors = stylegan1_arch_tensors(a, out->need);
    out->supported = true;
}

void kit_arch_stylegan2(struct kit_arch *out, const struct stylegan2_arch *a)
{
    char clamp[32];

    out->family = MODEL_STYLEGAN2;
    int len = put_common(out->notes, "stylegan2", a->z_dim, a->c_dim, a->w_dim, a->resolution,
                         a->num_ws, a->mapping_layers);

    snprintf(out->notes + len, NOTES_ROOM - (size_t)len,
             "\"channel_base\":\"%d\",\"channel_max\":\"%d\",\"architecture\":\"skip\","
             "\"resample_filter\":\"1,3,3,1\",\"conv_clamp\":\"%s\",\"num_fp16_res\":\"0\"",
             a->channel_base, a->channel_max, clamp_text(a->conv_clamp, clamp));
    out->tensors = stylegan2_arch_tensors(a, out->need);
    out->supported = true;
}

void kit_arch_stylegan3(struct kit_arch *out, struct stylegan3_arch *a)
{
    char clamp[32];
    struct err e;

    out->family = MODEL_STYLEGAN3;
    int len = put_common(out->notes, "stylegan3", a->z_dim, a->c_dim, a->w_dim, a->resolution,
                         a->num_ws, a->mapping_layers);

    snprintf(out->notes + len, NOTES_ROOM - (size_t)len,
             "\"channel_base\":\"%d\",\"channel_max\":\"%d\",\"num_layers\":\"%d\","
             "\"num_critical\":\"%d\",\"first_cutoff\":\"%.17g\",\"first_stopband\":\"%.17g\","
             "\"last_stopband_rel\":\"%.17g\",\"margin_size\":\"%d\",\"output_scale\":\"%.17g\","
             "\"num_fp16_res\":\"4\",\"conv_kernel\":\"%d\",\"use_radial_filters\":\"%s\","
             "\"filter_size\":\"%d\",\"lrelu_upsampling\":\"%d\",\"conv_clamp\":\"%s\"",
             a->channel_base, a->channel_max, a->num_layers, a->num_critical, a->first_cutoff,
             a->first_stopband, a->last_stopband_rel, a->margin_size, a->output_scale,
             a->conv_kernel, a->use_radial_filters ? "true" : "false", a->filter_size,
             a->lrelu_upsampling, clamp_text(a->conv_clamp, clamp));
    out->tensors = 0;
    out->supported = false;
    if (stylegan3_arch_plan(a, &e))
        return;
    out->tensors = stylegan3_arch_tensors(a, out->need);
    out->supported = a->filter_size == 6;
    for (int i = 0; i < a->num_layers; i++) {
        const struct stylegan3_layer *l = &a->layer[i];

        out->supported &= (l->up == 2 || l->up == 4) && l->down == 2;
    }
}

static float random_clamp(struct kit_random *random)
{
    return chance(random, 3) ? 0.0f : chance(random, 2) ? 256.0f : 1.5f;
}

static int random_size(struct kit_random *random, int pixels)
{
    int size = 4;

    while (size < pixels && !chance(random, 4))
        size *= 2;
    return size;
}

static void random_stylegan1(struct kit_arch *out, int pixels, struct kit_random *random)
{
    struct stylegan1_arch a = {
        .z_dim = kit_random_whole(random, 1, 20),
        .c_dim = chance(random, 3) ? kit_random_whole(random, 1, 5) : 0,
        .w_dim = kit_random_whole(random, 1, 20),
        .mapping_layers = kit_random_whole(random, 1, 4),
        .mapping_fmaps = kit_random_whole(random, 1, 20),
        .fmap_max = kit_random_whole(random, 1, 20),
        .resolution = random_size(random, pixels),
    };

    a.num_ws = 2 * stylegan1_arch_blocks(&a);
    a.fmap_base = (a.resolution * kit_random_whole(random, 2, 10) + 3) / 4;
    kit_arch_stylegan1(out, &a);
}

static void random_stylegan2(struct kit_arch *out, int pixels, struct kit_random *random)
{
    struct stylegan2_arch a = {
        .z_dim = kit_random_whole(random, 1, 20),
        .c_dim = chance(random, 3) ? kit_random_whole(random, 1, 5) : 0,
        .w_dim = kit_random_whole(random, 1, 20),
        .mapping_layers = kit_random_whole(random, 1, 4),
        .channel_max = kit_random_whole(random, 1, 20),
        .resolution = random_size(random, pixels),
        .conv_clamp = random_clamp(random),
    };

    a.num_ws = 2 * stylegan2_arch_blocks(&a);
    a.channel_base = (a.resolution * kit_random_whole(random, 2, 10) + 1) / 2;
    kit_arch_stylegan2(out, &a);
}

static void random_stylegan3(struct kit_arch *out, int pixels, struct kit_random *random)
{
    struct stylegan3_arch a = {
        .z_dim = kit_random_whole(random, 1, 20),
        .c_dim = chance(random, 3) ? kit_random_whole(random, 1, 5) : 0,
        .w_dim = kit_random_whole(random, 1, 20),
        .mapping_layers = kit_random_whole(random, 1, 4),
        .channel_max = kit_random_whole(random, 1, 12),
        .resolution = random_size(random, pixels),
        .num_layers = kit_random_whole(random, 1, 9),
        .margin_size = chance(random, 8) ? 40 : kit_random_whole(random, 0, 10),
        .output_scale = kit_random_real(random, 0.1, 2.0),
        .conv_kernel = chance(random, 2) ? 3 : 1,
        .use_radial_filters = chance(random, 2),
        .filter_size = chance(random, 12) ? kit_random_whole(random, 1, 16) : 6,
        .lrelu_upsampling = chance(random, 12) ? kit_random_whole(random, 1, 5) : 2,
        .conv_clamp = random_clamp(random),
    };

    a.num_ws = a.num_layers + 2;
    a.num_critical = kit_random_whole(random, 1, (a.num_layers + 1) / 2);
    a.channel_base = a.resolution * kit_random_whole(random, 1, 12);
    a.first_cutoff = kit_random_real(random, 0.4, a.resolution / 2.0);
    a.first_stopband = a.first_cutoff * kit_random_real(random, 1.0, 2.0);
    if (a.first_stopband < 1.0)
        a.first_stopband = 1.0;
    a.last_stopband_rel = kit_random_real(random, 1.0, 2.0);
    kit_arch_stylegan3(out, &a);
}

void kit_arch_random(struct kit_arch *out, enum model_arch family, int pixels, bool sound,
                     struct kit_random *random)
{
    switch (family) {
    case MODEL_STYLEGAN1:
        random_stylegan1(out, pixels, random);
        break;
    case MODEL_STYLEGAN2:
        random_stylegan2(out, pixels, random);
        break;
    case MODEL_STYLEGAN3:
        do
            random_stylegan3(out, pixels, random);
        while (sound && !out->supported);
        break;
    }
}

/* ---- Files ---- */

static bool has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

/* Positive and of sum 1; a square one is the same when mirrored left to right. */
static void fill_filter(float *out, const struct tensor_need *need, size_t count,
                        struct kit_random *random)
{
    size_t width = need->rank == 2 ? (size_t)need->shape[1] : 0;
    double sum = 0.0;

    for (size_t i = 0; i < count; i++) {
        size_t mirror = width ? i / width * width + width - 1 - i % width : i;

        out[i] = mirror < i ? out[mirror] : (float)kit_random_real(random, 0.0, 1.0);
        sum += (double)out[i];
    }
    for (size_t i = 0; i < count; i++)
        out[i] = (float)((double)out[i] / sum);
}

/* About normal in mean and variance, then what the tensor's place in its network asks for. */
static void fill_tensor(float *out, const struct tensor_need *need, size_t count, float scale,
                        struct kit_random *random)
{
    const char *name = need->name;
    double size = 1.7320508, middle = 0.0;

    if (has(name, "_filter")) {
        fill_filter(out, need, count, random);
        return;
    }
    if (has(name, "mapping.fc") || has(name, "Dense"))
        size *= has(name, "weight") ? 100.0 : 30.0;     /* times the mapping's rate of 0.01 */
    else if (has(name, "magnitude_ema"))
        middle = 1.2, size = 1.0;
    else if (has(name, "noise_strength") || has(name, "Noise/weight"))
        size = 0.3;
    else if (has(name, "affine.bias"))
        middle = has(name, "input") ? 0.0 : 1.0, size = 0.5;
    else if (has(name, "bias"))
        size = 0.3;
    if (has(name, "synthesis") && has(name, "weight") && !has(name, "affine") &&
        !has(name, "StyleMod"))
        size *= (double)scale;
    for (size_t i = 0; i < count; i++)
        out[i] = (float)kit_random_real(random, middle - size, middle + size);
    if (has(name, "input.affine.bias"))
        out[0] += 2.0f;                                 /* a rotation, well away from 0, 0 */
    if (has(name, "input.transform")) {
        for (size_t i = 0; i < 6; i++)
            out[i] = out[i] * 0.2f + (i % 4 == 0 ? 1.0f : 0.0f);
        out[6] = out[7] = 0.0f;
        out[8] = 1.0f;
    }
}

static size_t count_of(const struct tensor_need *need)
{
    size_t count = 1;

    for (int i = 0; i < need->rank; i++)
        count *= (size_t)need->shape[i];
    return count;
}

uint8_t *kit_arch_bytes(const struct kit_arch *self, const struct kit_weights *weights,
                        size_t *len)
{
    struct kit_random random = { .state = weights->seed };
    size_t room = strlen(self->notes) + ENTRY_ROOM * (self->tensors + 1), floats = 0, at;

    for (size_t i = 0; i < self->tensors; i++)
        floats += count_of(&self->need[i]);
    uint8_t *bytes = malloc(LENGTH_BYTES + room + 4 * floats);
    char *header = (char *)bytes + LENGTH_BYTES;

    if (!bytes)
        abort();
    at = (size_t)snprintf(header, room, "{\"__metadata__\":{%s}", self->notes);
    floats = 0;
    for (size_t i = 0; i < self->tensors; i++) {
        const struct tensor_need *need = &self->need[i];
        size_t end = floats + count_of(need);

        at += (size_t)snprintf(header + at, room - at, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[",
                               need->name);
        for (int d = 0; d < need->rank; d++)
            at += (size_t)snprintf(header + at, room - at, "%s%d", d ? "," : "", need->shape[d]);
        at += (size_t)snprintf(header + at, room - at, "],\"data_offsets\":[%zu,%zu]}", 4 * floats,
                               4 * end);
        floats = end;
    }
    header[at++] = '}';
    while (at % 8)
        header[at++] = ' ';
    for (int i = 0; i < LENGTH_BYTES; i++)
        bytes[i] = (uint8_t)((uint64_t)at >> 8 * i);

    float *data = (float *)(void *)(header + at);       /* of a little-endian machine */

    for (size_t i = 0; i < self->tensors; i++) {
        size_t count = count_of(&self->need[i]);

        fill_tensor(data, &self->need[i], count, weights->scale, &random);
        data += count;
    }
    *len = LENGTH_BYTES + at + 4 * floats;
    return bytes;
}
