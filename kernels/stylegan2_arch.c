#include "kernels/stylegan2_arch.h"

#include "proto/number.h"
#include "proto/recipe.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNEL_BASE_MAX = 1 << 24 };

static enum err_code read_clamp(const struct notes *notes, float *out, struct err *e)
{
    const char *text;
    int64_t millionths;
    enum err_code rc = notes_need(notes, "conv_clamp", &text, e);

    if (rc)
        return rc;
    *out = 0.0f;
    if (strcmp(text, "none") == 0)
        return ERR_OK;
    if (!number_parse_millionths(text, strlen(text), &millionths) || millionths <= 0)
        return err_set(e, ERR_INVALID,
                       "metadata \"conv_clamp\" is \"%.40s\", neither none nor a number above 0",
                       text);
    *out = (float)((double)millionths / 1e6);
    return ERR_OK;
}

enum err_code stylegan2_arch_read(const struct notes *notes, struct stylegan2_arch *out,
                                  struct err *e)
{
    struct stylegan2_arch a = { 0 };
    int image_channels, half_blocks;
    const struct {
        const char *key;
        int min, max;
        int *value;
    } wholes[] = {
        { "z_dim", 1, STYLEGAN2_DIM_MAX, &a.z_dim },
        { "c_dim", 0, RECIPE_CLASS_MAX + 1, &a.c_dim },
        { "w_dim", 1, STYLEGAN2_DIM_MAX, &a.w_dim },
        { "img_resolution", 4, RECIPE_SIZE_MAX, &a.resolution },
        { "img_channels", 1, 65535, &image_channels },
        { "num_ws", 1, RECIPE_WS_MAX, &a.num_ws },
        { "mapping_layers", 1, STYLEGAN2_MAPPING_MAX, &a.mapping_layers },
        { "channel_base", 1, CHANNEL_BASE_MAX, &a.channel_base },
        { "channel_max", 1, STYLEGAN2_DIM_MAX, &a.channel_max },
        { "num_fp16_res", 0, 64, &half_blocks },   /* precision is the engine's choice */
    };
    enum err_code rc;

    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        rc = notes_need_whole(notes, wholes[i].key, wholes[i].min, wholes[i].max, wholes[i].value,
                              e);
        if (rc)
            return rc;
    }
    rc = notes_need_word(notes, "architecture", "skip", e);
    if (!rc)
        rc = notes_need_word(notes, "resample_filter", "1,3,3,1", e);
    if (!rc)
        rc = read_clamp(notes, &a.conv_clamp, e);
    if (rc)
        return rc;
    if (image_channels != 3)
        return err_set(e, ERR_UNSUPPORTED, "img_channels %d is not supported; 3 is",
                       image_channels);
    if (a.resolution & (a.resolution - 1))
        return err_set(e, ERR_INVALID, "img_resolution %d is not a power of two", a.resolution);
    if (a.num_ws != 2 * stylegan2_arch_blocks(&a))
        return err_set(e, ERR_INVALID, "num_ws is %d, but %d pixels need %d", a.num_ws,
                       a.resolution, 2 * stylegan2_arch_blocks(&a));
    if (a.channel_base < a.resolution)
        return err_set(e, ERR_INVALID, "channel_base %d leaves no channel at %d pixels",
                       a.channel_base, a.resolution);
    *out = a;
    return ERR_OK;
}

int stylegan2_arch_blocks(const struct stylegan2_arch *self)
{
    int blocks = 0;

    for (int size = 4; size <= self->resolution; size *= 2)
        blocks++;
    return blocks;
}

int stylegan2_arch_channels(const struct stylegan2_arch *self, int size)
{
    int channels = self->channel_base / size;

    return channels < self->channel_max ? channels : self->channel_max;
}

struct need_list {
    struct tensor_need *need;
    size_t count;
};

/* Adds the tensor called prefix + name, of the shape's first rank entries. */
static void add_need(struct need_list *list, const char *prefix, const char *name, int rank,
                     const int *shape)
{
    struct tensor_need *need = &list->need[list->count++];

    *need = (struct tensor_need){ .rank = rank };
    snprintf(need->name, sizeof need->name, "%s%s", prefix, name);
    for (int i = 0; i < rank; i++)
        need->shape[i] = shape[i];
}

static void add_linear(struct need_list *list, const char *prefix, const char *weight,
                       const char *bias, int out, int in)
{
    add_need(list, prefix, weight, 2, (int[]){ out, in });
    add_need(list, prefix, bias, 1, &out);
}

/* A modulated convolution with a kernel of k x k. */
static void add_conv(struct need_list *list, const char *prefix, int out, int in, int k, int w_dim)
{
    add_need(list, prefix, "weight", 4, (int[]){ out, in, k, k });
    add_need(list, prefix, "bias", 1, &out);
    add_linear(list, prefix, "affine.weight", "affine.bias", in, w_dim);
}

static void add_noise(struct need_list *list, const char *prefix, int size)
{
    add_need(list, prefix, "noise_const", 2, (int[]){ size, size });
    add_need(list, prefix, "noise_strength", 0, NULL);
}

static int by_name(const void *a, const void *b)
{
    const struct tensor_need *x = a, *y = b;

    return strcmp(x->name, y->name);
}

size_t stylegan2_arch_tensors(const struct stylegan2_arch *self, struct tensor_need *out)
{
    struct need_list list = { .need = out };
    char prefix[40];
    int w = self->w_dim, inner = stylegan2_arch_channels(self, 4);

    if (self->c_dim > 0)
        add_linear(&list, "mapping.", "embed.weight", "embed.bias", w, self->c_dim);
    for (int k = 0; k < self->mapping_layers; k++) {
        int in = k > 0 ? w : self->z_dim + (self->c_dim > 0 ? w : 0);

        snprintf(prefix, sizeof prefix, "mapping.fc%d.", k);
        add_linear(&list, prefix, "weight", "bias", w, in);
    }
    add_need(&list, "mapping.", "w_avg", 1, &w);
    add_need(&list, "synthesis.", "b4.const", 3, (int[]){ inner, 4, 4 });
    for (int size = 4; size <= self->resolution; size *= 2) {
        int channels = stylegan2_arch_channels(self, size);

        if (size > 4) {
            snprintf(prefix, sizeof prefix, "synthesis.b%d.conv0.", size);
            add_conv(&list, prefix, channels, inner, 3, w);
            add_noise(&list, prefix, size);
        }
        snprintf(prefix, sizeof prefix, "synthesis.b%d.conv1.", size);
        add_conv(&list, prefix, channels, channels, 3, w);
        add_noise(&list, prefix, size);
        snprintf(prefix, sizeof prefix, "synthesis.b%d.torgb.", size);
        add_conv(&list, prefix, 3, channels, 1, w);
        inner = channels;
    }
    qsort(out, list.count, sizeof out[0], by_name);
    return list.count;
}

size_t stylegan2_arch_text(const struct stylegan2_arch *self, char *out)
{
    char clamp[16] = "none";
    uint32_t bits;

    memcpy(&bits, &self->conv_clamp, sizeof bits);
    if (bits)
        snprintf(clamp, sizeof clamp, "%08" PRIx32, bits);
    int len = snprintf(out, STYLEGAN2_TEXT_MAX,
                       "arch=stylegan2\narchitecture=skip\nc_dim=%d\nconv_clamp=%s\n"
                       "img_channels=3\nimg_resolution=%d\nmapping_layers=%d\nnum_ws=%d\n"
                       "resample_filter=1,3,3,1\nw_dim=%d\nz_dim=%d\n",
                       self->c_dim, clamp, self->resolution, self->mapping_layers, self->num_ws,
                       self->w_dim, self->z_dim);
    return (size_t)len;
}
