#include "kernels/stylegan1_arch.h"

#include "proto/recipe.h"

#include <stdio.h>

enum err_code stylegan1_arch_read(const struct notes *notes, struct stylegan1_arch *out,
                                  struct err *e)
{
    struct stylegan1_arch a = { 0 };
    const struct arch_whole wholes[] = {
        { "z_dim", 1, ARCH_DIM_MAX, &a.z_dim },
        { "c_dim", 0, RECIPE_CLASS_MAX + 1, &a.c_dim },
        { "w_dim", 1, ARCH_DIM_MAX, &a.w_dim },
        { "num_ws", 1, RECIPE_WS_MAX, &a.num_ws },
        { "mapping_layers", 1, ARCH_MAPPING_MAX, &a.mapping_layers },
        { "mapping_fmaps", 1, ARCH_DIM_MAX, &a.mapping_fmaps },
        { "fmap_base", 1, ARCH_CHANNEL_BASE_MAX, &a.fmap_base },
        { "fmap_max", 1, ARCH_DIM_MAX, &a.fmap_max },
    };
    enum err_code rc = arch_read_wholes(notes, wholes, sizeof wholes / sizeof wholes[0], e);

    if (!rc)
        rc = arch_read_picture(notes, &a.resolution, e);
    if (rc)
        return rc;
    if (a.num_ws != 2 * stylegan1_arch_blocks(&a))
        return err_set(e, ERR_INVALID, "num_ws is %d, but %d pixels need %d", a.num_ws,
                       a.resolution, 2 * stylegan1_arch_blocks(&a));
    if (2 * a.fmap_base < a.resolution)
        return err_set(e, ERR_INVALID, "fmap_base %d leaves no channel at %d pixels", a.fmap_base,
                       a.resolution);
    *out = a;
    return ERR_OK;
}

int stylegan1_arch_blocks(const struct stylegan1_arch *self)
{
    return arch_blocks(self->resolution);
}

int stylegan1_arch_channels(const struct stylegan1_arch *self, int size)
{
    int channels = 2 * self->fmap_base / size;

    return channels < self->fmap_max ? channels : self->fmap_max;
}

static void add_mapping(struct need_list *list, const struct stylegan1_arch *self)
{
    int in = self->z_dim;

    if (self->c_dim > 0) {
        need_list_add(list, "mapping/", "LabelConcat/weight", 2,
                      (int[]){ self->c_dim, self->z_dim });
        in = 2 * self->z_dim;
    }
    for (int k = 0; k < self->mapping_layers; k++) {
        int out = k < self->mapping_layers - 1 ? self->mapping_fmaps : self->w_dim;
        char prefix[32];

        snprintf(prefix, sizeof prefix, "mapping/Dense%d/", k);
        need_list_add(list, prefix, "weight", 2, (int[]){ in, out });
        need_list_add(list, prefix, "bias", 1, &out);
        in = out;
    }
    need_list_add(list, "", "dlatent_avg", 1, &self->w_dim);
}

/* What ends layer index, of so many channels: noise, bias and style. scope ends in '/'. */
static void add_epilogue(struct need_list *list, const char *scope, int index, int size,
                         int channels, int w_dim)
{
    char noise[24];
    int doubled = 2 * channels;     /* scale and shift */

    snprintf(noise, sizeof noise, "noise%d", index);
    need_list_add(list, "synthesis/", noise, 4, (int[]){ 1, 1, size, size });
    need_list_add(list, scope, "Noise/weight", 1, &channels);
    need_list_add(list, scope, "bias", 1, &channels);
    need_list_add(list, scope, "StyleMod/weight", 2, (int[]){ w_dim, doubled });
    need_list_add(list, scope, "StyleMod/bias", 1, &doubled);
}

size_t stylegan1_arch_tensors(const struct stylegan1_arch *self, struct tensor_need *out)
{
    struct need_list list = { .need = out };
    char scope[48];
    int layer = 0, inner = stylegan1_arch_channels(self, 4);

    add_mapping(&list, self);
    for (int size = 4; size <= self->resolution; size *= 2) {
        int channels = stylegan1_arch_channels(self, size);

        if (size == 4) {
            snprintf(scope, sizeof scope, "synthesis/4x4/Const/");
            need_list_add(&list, scope, "const", 4, (int[]){ 1, channels, 4, 4 });
        } else {
            snprintf(scope, sizeof scope, "synthesis/%dx%d/Conv0_up/", size, size);
            need_list_add(&list, scope, "weight", 4, (int[]){ 3, 3, inner, channels });
        }
        add_epilogue(&list, scope, layer++, size, channels, self->w_dim);
        snprintf(scope, sizeof scope, "synthesis/%dx%d/%s/", size, size,
                 size == 4 ? "Conv" : "Conv1");
        need_list_add(&list, scope, "weight", 4, (int[]){ 3, 3, channels, channels });
        add_epilogue(&list, scope, layer++, size, channels, self->w_dim);
        inner = channels;
    }
    need_list_add(&list, "synthesis/", "ToRGB_lod0/weight", 4, (int[]){ 1, 1, inner, 3 });
    need_list_add(&list, "synthesis/", "ToRGB_lod0/bias", 1, (int[]){ 3 });
    need_list_sort(&list);
    return list.count;
}

size_t stylegan1_arch_text(const struct stylegan1_arch *self, char *out)
{
    int len = snprintf(out, ARCH_TEXT_MAX,
                       "arch=stylegan1\nc_dim=%d\nimg_channels=3\nimg_resolution=%d\n"
                       "mapping_layers=%d\nnum_ws=%d\nw_dim=%d\nz_dim=%d\n",
                       self->c_dim, self->resolution, self->mapping_layers, self->num_ws,
                       self->w_dim, self->z_dim);
    return (size_t)len;
}
