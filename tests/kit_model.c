#include "tests/kit_model.h"

#include "kernels/stylegan2_arch.h"

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

static struct stylegan2_arch tiny_arch(const struct kit_model_options *options)
{
    struct stylegan2_arch arch = { .z_dim = 4, .c_dim = options->c_dim, .w_dim = 4,
                                   .mapping_layers = 2 };

    arch.channel_max = options->channels ? options->channels : 4;
    arch.channel_base = 8 * arch.channel_max;
    arch.resolution = options->resolution ? options->resolution : 8;
    arch.num_ws = 2 * stylegan2_arch_blocks(&arch);
    return arch;
}

static void add_notes(struct text *t, const struct stylegan2_arch *a, const char *more)
{
    t->len += (size_t)sprintf(
        t->data + t->len,
        "{\"__metadata__\":{\"arch\":\"stylegan2\",\"z_dim\":\"%d\",\"c_dim\":\"%d\","
        "\"w_dim\":\"%d\",\"img_resolution\":\"%d\",\"img_channels\":\"3\",\"num_ws\":\"%d\","
        "\"mapping_layers\":\"%d\",\"channel_base\":\"%d\",\"channel_max\":\"%d\","
        "\"architecture\":\"skip\",\"resample_filter\":\"1,3,3,1\",\"conv_clamp\":\"none\","
        "\"num_fp16_res\":\"0\"%s}",
        a->z_dim, a->c_dim, a->w_dim, a->resolution, a->num_ws, a->mapping_layers, a->channel_base,
        a->channel_max, more ? more : "");
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
 * and not on the order of the file. */
static void fill(uint8_t *out, const char *name, size_t count, bool half, float scale)
{
    uint32_t state = 1;

    for (const char *p = name; *p; p++)
        state = state * 31 + (uint8_t)*p;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        int eighths = (int)(state >> 24) % 17 - 8;

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
    struct stylegan2_arch arch = tiny_arch(options);
    struct tensor_need need[ARCH_TENSORS_MAX];
    size_t tensors = stylegan2_arch_tensors(&arch, need), item = options->half ? 2 : 4;
    size_t room = 0, at = 0;
    struct text t = { .data = must(malloc(HEADER_ROOM)) };

    add_notes(&t, &arch, options->notes);
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
