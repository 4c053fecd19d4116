#include "tests/kit_model.h"

#include "kernels/stylegan1_arch.h"
#include "kernels/stylegan2_arch.h"
#include "kernels/stylegan3_arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, HEADER_ROOM = 64 * 1024 };

struct text {
    char *data;
    size_t len;
};

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

static void write_length(uint8_t *bytes, size_t header_len)
{
    for (int i = 0; i < LENGTH_BYTES; i++)
        bytes[i] = (uint8_t)(header_len >> 8 * i);
}

static size_t read_length(const uint8_t *bytes)
{
    size_t len = 0;

    for (int i = LENGTH_BYTES; i-- > 0;)
        len = len << 8 | bytes[i];
    return len;
}

/* Keys that all architectures have; leaves __metadata__ open. */
static void add_common_notes(struct text *t, const char *arch, int c_dim, int resolution,
                             int num_ws)
{
    t->len += (size_t)sprintf(
        t->data + t->len,
        "{\"__metadata__\":{\"arch\":\"%s\",\"z_dim\":\"4\",\"c_dim\":\"%d\",\"w_dim\":\"4\","
        "\"img_resolution\":\"%d\",\"img_channels\":\"3\",\"num_ws\":\"%d\","
        "\"mapping_layers\":\"2\",",
        arch, c_dim, resolution, num_ws);
}

static size_t add_stylegan1(struct text *t, const struct kit_model_options *options,
                            struct tensor_need *need)
{
    struct stylegan1_arch a = { .z_dim = 4, .c_dim = options->c_dim, .w_dim = 4,
                                .mapping_layers = 2, .mapping_fmaps = 5 };

    a.fmap_max = options->channels ? options->channels : 4;
    a.fmap_base = 4 * a.fmap_max;
    a.resolution = options->resolution ? options->resolution : 8;
    a.num_ws = 2 * stylegan1_arch_blocks(&a);
    add_common_notes(t, "stylegan1", a.c_dim, a.resolution, a.num_ws);
    t->len += (size_t)sprintf(
        t->data + t->len, "\"mapping_fmaps\":\"5\",\"fmap_base\":\"%d\",\"fmap_max\":\"%d\"",
        a.fmap_base, a.fmap_max);
    return stylegan1_arch_tensors(&a, need);
}

static size_t add_stylegan2(struct text *t, const struct kit_model_options *options,
                            struct tensor_need *need)
{
    struct stylegan2_arch a = { .z_dim = 4, .c_dim = options->c_dim, .w_dim = 4,
                                .mapping_layers = 2 };

    a.channel_max = options->channels ? options->channels : 4;
    a.channel_base = 8 * a.channel_max;
    a.resolution = options->resolution ? options->resolution : 8;
    a.num_ws = 2 * stylegan2_arch_blocks(&a);
    add_common_notes(t, "stylegan2", a.c_dim, a.resolution, a.num_ws);
    t->len += (size_t)sprintf(t->data + t->len,
                              "\"channel_base\":\"%d\",\"channel_max\":\"%d\","
                              "\"architecture\":\"skip\",\"resample_filter\":\"1,3,3,1\","
                              "\"conv_clamp\":\"none\",\"num_fp16_res\":\"0\"",
                              a.channel_base, a.channel_max);
    return stylegan2_arch_tensors(&a, need);
}

/* Three layers and ToRGB. */
static size_t add_stylegan3(struct text *t, const struct kit_model_options *options,
                            struct tensor_need *need)
{
    struct stylegan3_arch a = {
        .z_dim = 4,
        .c_dim = options->c_dim,
        .w_dim = 4,
        .num_ws = 5,
        .mapping_layers = 2,
        .num_layers = 3,
        .num_critical = 1,
        .first_cutoff = 1,
        .first_stopband = 1.5,
        .last_stopband_rel = 1.25,
        .margin_size = 2,
        .output_scale = 0.25,
        .conv_kernel = options->radial ? 1 : 3,
        .use_radial_filters = options->radial,
        .filter_size = 6,
        .lrelu_upsampling = 2,
        .conv_clamp = 256,
    };
    struct err e;

    a.channel_max = options->channels ? options->channels : 4;
    a.channel_base = 8 * a.channel_max;
    a.resolution = options->resolution ? options->resolution : 8;
    if (stylegan3_arch_plan(&a, &e))
        abort();
    add_common_notes(t, "stylegan3", a.c_dim, a.resolution, a.num_ws);
    t->len += (size_t)sprintf(
        t->data + t->len,
        "\"channel_base\":\"%d\",\"channel_max\":\"%d\",\"num_layers\":\"3\","
        "\"num_critical\":\"1\",\"first_cutoff\":\"1\",\"first_stopband\":\"1.5\","
        "\"last_stopband_rel\":\"1.25\",\"margin_size\":\"2\",\"output_scale\":\"0.25\","
        "\"num_fp16_res\":\"4\",\"conv_kernel\":\"%d\",\"use_radial_filters\":\"%s\","
        "\"filter_size\":\"6\",\"lrelu_upsampling\":\"2\",\"conv_clamp\":\"256\"",
        a.channel_base, a.channel_max, a.conv_kernel, options->radial ? "true" : "false");
    return stylegan3_arch_tensors(&a, need);
}

/* The notes into t, the tensors into need; returns how many. */
static size_t add_arch(struct text *t, const struct kit_model_options *options,
                       struct tensor_need *need)
{
    const char *arch = options->arch ? options->arch : "stylegan2";
    size_t tensors;

    if (strcmp(arch, "stylegan1") == 0)
        tensors = add_stylegan1(t, options, need);
    else if (strcmp(arch, "stylegan2") == 0)
        tensors = add_stylegan2(t, options, need);
    else if (strcmp(arch, "stylegan3") == 0)
        tensors = add_stylegan3(t, options, need);
    else
        abort();
    t->len += (size_t)sprintf(t->data + t->len, "%s}", options->notes ? options->notes : "");
    return tensors;
}

/* Returns the tensor's number of values. */
static size_t add_tensor(struct text *t, const struct tensor_need *need, size_t item, size_t at)
{
    size_t count = 1;

    t->len += (size_t)sprintf(t->data + t->len, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                              need->name, item == 2 ? "F16" : "F32");
    for (int i = 0; i < need->rank; i++) {
        t->len += (size_t)sprintf(t->data + t->len, "%s%d", i ? "," : "", need->shape[i]);
        count *= (size_t)need->shape[i];
    }
    t->len += (size_t)sprintf(t->data + t->len, "],\"data_offsets\":[%zu,%zu]}", at,
                              at + count * item);
    return count;
}

/* Multiples of 1/8 from -1 to 1, which float32 and float16 both hold exactly. Depends on the name
 * and not on the order of the file. What a network needs above 0 or symmetric is 1/8. */
static void fill(uint8_t *out, const char *name, size_t count, bool half, float scale)
{
    bool flat = strstr(name, "_filter") || strstr(name, "magnitude_ema");
    uint32_t state = 1;

    for (const char *p = name; *p; p++)
        state = state * 31 + (uint8_t)*p;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        int eighths = flat ? 1 : (int)(state >> 24) % 17 - 8;

        if (half) {
            static const uint16_t EIGHTHS[] = { 0x0000, 0x3000, 0x3400, 0x3600, 0x3800,
                                                0x3900, 0x3a00, 0x3b00, 0x3c00 };
            uint16_t bits = (uint16_t)(EIGHTHS[abs(eighths)] | (eighths < 0 ? 0x8000 : 0));

            out[2 * i] = (uint8_t)bits;
            out[2 * i + 1] = (uint8_t)(bits >> 8);
        } else {
            float v = (float)eighths / 8.0f * scale;
            uint32_t bits;

            memcpy(&bits, &v, sizeof bits);
            for (int b = 0; b < 4; b++)
                out[4 * i + b] = (uint8_t)(bits >> 8 * b);
        }
    }
}

uint8_t *kit_model_bytes(const struct kit_model_options *options, size_t *len)
{
    struct tensor_need need[ARCH_TENSORS_MAX];
    struct text t = { .data = must(malloc(HEADER_ROOM)) };
    size_t tensors = add_arch(&t, options, need), item = options->half ? 2 : 4;
    size_t room = 0, at = 0;

    for (size_t i = 0; i < tensors; i++) {
        size_t count = 1;

        for (int d = 0; d < need[i].rank; d++)
            count *= (size_t)need[i].shape[d];
        room += count * item;
    }
    uint8_t *data = must(malloc(room));

    for (size_t i = 0; i < tensors; i++) {
        const struct tensor_need *n = &need[options->reversed ? tensors - 1 - i : i];
        size_t count = add_tensor(&t, n, item, at);

        fill(data + at, n->name, count, options->half, options->scale != 0 ? options->scale : 1);
        at += count * item;
    }
    t.len += (size_t)sprintf(t.data + t.len, "%s}", options->entries ? options->entries : "");
    *len = LENGTH_BYTES + t.len + room;
    uint8_t *bytes = must(malloc(*len));

    write_length(bytes, t.len);
    memcpy(bytes + LENGTH_BYTES, t.data, t.len);
    memcpy(bytes + LENGTH_BYTES + t.len, data, room);
    free(data);
    free(t.data);
    return bytes;
}

bool kit_model_edit(uint8_t **bytes, size_t *len, const char *from, const char *to)
{
    size_t header_len = read_length(*bytes), from_len = strlen(from), to_len = strlen(to);
    uint8_t *header = *bytes + LENGTH_BYTES;
    uint8_t *found = memmem(header, header_len, from, from_len);

    if (!found)
        return false;
    size_t before = (size_t)(found - *bytes), after = *len - before - from_len;
    uint8_t *edited = must(malloc(before + to_len + after));

    memcpy(edited, *bytes, before);
    memcpy(edited + before, to, to_len);
    memcpy(edited + before + to_len, found + from_len, after);
    write_length(edited, header_len - from_len + to_len);
    *len = before + to_len + after;
    free(*bytes);
    *bytes = edited;
    return true;
}

uint8_t *kit_model_data(uint8_t *bytes, size_t len, const char *name)
{
    static const char OFFSETS[] = "\"data_offsets\":[";
    char entry[96];
    size_t header_len = read_length(bytes);

    snprintf(entry, sizeof entry, "\"%s\":{", name);
    uint8_t *at = must(memmem(bytes + LENGTH_BYTES, header_len, entry, strlen(entry)));
    uint8_t *offsets = must(memmem(at, len - (size_t)(at - bytes), OFFSETS, sizeof OFFSETS - 1));
    size_t begin = 0;

    for (uint8_t *p = offsets + sizeof OFFSETS - 1; *p >= '0' && *p <= '9'; p++)
        begin = begin * 10 + (size_t)(*p - '0');
    return bytes + LENGTH_BYTES + header_len + begin;
}
