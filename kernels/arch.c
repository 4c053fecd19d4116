#include "kernels/arch.h"

#include "proto/recipe.h"

#include <float.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum err_code arch_read_wholes(const struct notes *notes, const struct arch_whole *wholes,
                               size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        enum err_code rc = notes_need_whole(notes, wholes[i].key, wholes[i].min, wholes[i].max,
                                            wholes[i].value, e);

        if (rc)
            return rc;
    }
    return ERR_OK;
}

enum err_code arch_read_picture(const struct notes *notes, int *resolution, struct err *e)
{
    int size, channels;
    const struct arch_whole wholes[] = {
        { "img_resolution", 4, RECIPE_SIZE_MAX, &size },
        { "img_channels", 1, 65535, &channels },
    };
    enum err_code rc = arch_read_wholes(notes, wholes, sizeof wholes / sizeof wholes[0], e);

    if (rc)
        return rc;
    if (channels != 3)
        return err_set(e, ERR_UNSUPPORTED, "img_channels %d is not supported; 3 is", channels);
    if (size & (size - 1))
        return err_set(e, ERR_INVALID, "img_resolution %d is not a power of two", size);
    *resolution = size;
    return ERR_OK;
}

enum err_code arch_read_clamp(const struct notes *notes, float *out, struct err *e)
{
    const char *text;
    double v;
    enum err_code rc = notes_need(notes, "conv_clamp", &text, e);

    if (rc)
        return rc;
    *out = 0.0f;
    if (strcmp(text, "none") == 0)
        return ERR_OK;
    rc = notes_need_real(notes, "conv_clamp", &v, e);
    if (rc)
        return rc;
    if (!(v >= FLT_MIN && v <= FLT_MAX))
        return err_set(e, ERR_INVALID,
                       "metadata \"conv_clamp\" is \"%.40s\", neither none nor a number above 0",
                       text);
    *out = (float)v;
    return ERR_OK;
}

int arch_blocks(int resolution)
{
    int blocks = 0;

    for (int size = 4; size <= resolution; size *= 2)
        blocks++;
    return blocks;
}

void need_list_add(struct need_list *self, const char *prefix, const char *name, int rank,
                   const int *shape)
{
    struct tensor_need *need = &self->need[self->count++];

    *need = (struct tensor_need){ .rank = rank };
    snprintf(need->name, sizeof need->name, "%s%s", prefix, name);
    for (int i = 0; i < rank; i++)
        need->shape[i] = shape[i];
}

void need_list_add_linear(struct need_list *self, const char *prefix, int out, int in)
{
    need_list_add(self, prefix, "weight", 2, (int[]){ out, in });
    need_list_add(self, prefix, "bias", 1, &out);
}

void need_list_add_mapping(struct need_list *self, int z_dim, int c_dim, int w_dim, int layers)
{
    char prefix[32];

    if (c_dim > 0)
        need_list_add_linear(self, "mapping.embed.", w_dim, c_dim);
    for (int k = 0; k < layers; k++) {
        int in = k > 0 ? w_dim : z_dim + (c_dim > 0 ? w_dim : 0);

        snprintf(prefix, sizeof prefix, "mapping.fc%d.", k);
        need_list_add_linear(self, prefix, w_dim, in);
    }
    need_list_add(self, "mapping.", "w_avg", 1, &w_dim);
}

static int by_name(const void *a, const void *b)
{
    const struct tensor_need *x = a, *y = b;

    return strcmp(x->name, y->name);
}

void need_list_sort(struct need_list *self)
{
    qsort(self->need, self->count, sizeof self->need[0], by_name);
}

const char *arch_clamp_text(float clamp, char out[16])
{
    uint32_t bits;

    memcpy(&bits, &clamp, sizeof bits);
    if (bits)
        snprintf(out, 16, "%08" PRIx32, bits);
    else
        snprintf(out, 16, "none");
    return out;
}
