/* arch -- what the architectures share: limits of what a model file may ask for, readers of the
 * keys that all files have, and the list of tensors that a network cannot do without. */
#ifndef KERNELS_ARCH_H
#define KERNELS_ARCH_H

#include "kernels/notes.h"
#include "proto/err.h"

#include <stddef.h>

enum {
    ARCH_DIM_MAX = 4096,            /* z_dim, w_dim, channels of a layer */
    ARCH_MAPPING_MAX = 32,          /* layers of the mapping network */
    ARCH_CHANNEL_BASE_MAX = 1 << 24,
    ARCH_TENSORS_MAX = 320,         /* of one network */
    ARCH_TEXT_MAX = 1024,           /* bytes of an architecture's lines of the digest */
};

/* A tensor that the network cannot do without. */
struct tensor_need {
    char name[56];
    int rank;
    int shape[4];
};

/* A key whose value is a whole number from min to max. */
struct arch_whole {
    const char *key;
    int min, max;
    int *value;
};

/* Each of them from notes: ERR_INVALID or ERR_RANGE, and e names the key. */
enum err_code arch_read_wholes(const struct notes *notes, const struct arch_whole *wholes,
                               size_t count, struct err *e);
/* img_resolution, a power of two from 4 to RECIPE_SIZE_MAX, and img_channels, which must be 3. */
enum err_code arch_read_picture(const struct notes *notes, int *resolution, struct err *e);
/* conv_clamp: "none" gives 0. */
enum err_code arch_read_clamp(const struct notes *notes, float *out, struct err *e);

/* How many picture sizes there are from 4 x 4 to resolution, each twice the one before. */
int arch_blocks(int resolution);

struct need_list {
    struct tensor_need *need;       /* [ARCH_TENSORS_MAX] */
    size_t count;
};

/* Adds the tensor called prefix + name, of the shape's first rank entries. */
void need_list_add(struct need_list *self, const char *prefix, const char *name, int rank,
                   const int *shape);
/* prefix + "weight" [out, in] and prefix + "bias" [out], as PyTorch files have them. */
void need_list_add_linear(struct need_list *self, const char *prefix, int out, int in);
/* The mapping network of the PyTorch files: "mapping.embed", "mapping.fc0" ..., "mapping.w_avg". */
void need_list_add_mapping(struct need_list *self, int z_dim, int c_dim, int w_dim, int layers);
/* By the bytes of the names. */
void need_list_sort(struct need_list *self);

/* A clamp in the digest's words: "none", or the float32's bits in 8 hex digits. Returns out. */
const char *arch_clamp_text(float clamp, char out[16]);

#endif
