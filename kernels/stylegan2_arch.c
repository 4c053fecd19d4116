#include "kernels/stylegan2_arch.h"

#include "proto/recipe.h"

#include <stdio.h>

enum err_code stylegan2_arch_read(const struct notes *notes, struct stylegan2_arch *out,
                                  struct err *e)
{
    struct stylegan2_arch a = { 0 };
    int half_blocks;
    const struct arch_whole wholes[] = {
        { "z_dim", 1, ARCH_DIM_MAX, &a.z_dim },
        { "c_dim", 0, RECIPE_CLASS_MAX + 1, &a.c_dim },
        { "w_dim", 1, ARCH_DIM_MAX, &a.w_dim },
        { "num_ws", 1, RECIPE_WS_MAX, &a.num_ws },
        { "mapping_layers", 1, ARCH_MAPPING_MAX, &a.mapping_layers },
        { "channel_base", 1, ARCH_CHANNEL_BASE_MAX, &a.channel_base },
        { "channel_max", 1, ARCH_DIM_MAX, &a.channel_max },
        { "num_fp16_res", 0, 64, &half_blocks },   /* precision is the engine's choice */
    };
    enum err_code rc = arch_read_wholes(notes, wholes, sizeof wholes / sizeof wholes[0], e);

    if (!rc)
        rc = arch_read_picture(notes, &a.resolution, e);
    if (!rc)
        rc = notes_need_word(notes, "architecture", "skip", e);
    if (!rc)
        rc = notes_need_word(notes, "resample_filter", "1,3,3,1", e);
    if (!rc)
        rc = arch_read_clamp(notes, &a.conv_clamp, e);
    if (rc)
        return rc;
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
    return arch_blocks(self->resolution);
}

int stylegan2_arch_channels(const struct stylegan2_arch *self, int size)
{
    int channels = self->channel_base / size;

    return channels < self->channel_max ? channels : self->channel_max;
}

/* A modulated convolution with a kernel of k x k. */
static void add_conv(struct need_list *list, const char *prefix, int out, int in, int k, int w_dim)
{
    need_list_add(list, prefix, "weight", 4, (int[]){ out, in, k, k });
    need_list_add(list, prefix, "bias", 1, &out);
    need_list_add(list, prefix, "affine.weight", 2, (int[]){ in, w_dim });
    need_list_add(list, prefix, "affine.bias", 1, &in);
}

static void add_noise(struct need_list *list, const char *prefix, int size)
{
    need_list_add(list, prefix, "noise_const", 2, (int[]){ size, size });
    need_list_add(list, prefix, "noise_strength", 0, NULL);
}

size_t stylegan2_arch_tensors(const struct stylegan2_arch *self, struct tensor_need *out)
{
    struct need_list list = { .need = out };
    char prefix[40];
    int w = self->w_dim, inner = stylegan2_arch_channels(self, 4);

    need_list_add_mapping(&list, self->z_dim, self->c_dim, w, self->mapping_layers);
    need_list_add(&list, "synthesis.", "b4.const", 3, (int[]){ inner, 4, 4 });
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
    need_list_sort(&list);
    return list.count;
}

size_t stylegan2_arch_text(const struct stylegan2_arch *self, char *out)
{
    char clamp[16];
    int len = snprintf(out, ARCH_TEXT_MAX,
                       "arch=stylegan2\narchitecture=skip\nc_dim=%d\nconv_clamp=%s\n"
                       "img_channels=3\nimg_resolution=%d\nmapping_layers=%d\nnum_ws=%d\n"
                       "resample_filter=1,3,3,1\nw_dim=%d\nz_dim=%d\n",
                       self->c_dim, arch_clamp_text(self->conv_clamp, clamp), self->resolution,
                       self->mapping_layers, self->num_ws, self->w_dim, self->z_dim);
    return (size_t)len;
}
