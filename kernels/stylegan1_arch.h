/* stylegan1_arch -- the architecture of a StyleGAN 1 generator with no default left open, and the
 * tensors that follow from it, by the names of the official TensorFlow files. Nothing here computes
 * a pixel. */
#ifndef KERNELS_STYLEGAN1_ARCH_H
#define KERNELS_STYLEGAN1_ARCH_H

#include "kernels/arch.h"
#include "kernels/notes.h"
#include "proto/err.h"

#include <stddef.h>

enum { STYLEGAN1_BLOCKS_MAX = 11 };   /* 4 x 4 to 4096 x 4096 pixels, two layers each */

struct stylegan1_arch {
    int z_dim, c_dim, w_dim;        /* c_dim 0: unconditional */
    int resolution;                 /* pixels a side; a power of two, 4..4096 */
    int num_ws;                     /* also the layers: row l of ws belongs to layer l */
    int mapping_layers;
    int mapping_fmaps;              /* width of all layers of the mapping network but the last */
    int fmap_base, fmap_max;
};

/* Reads the keys of a StyleGAN 1 file. Missing or malformed ones are ERR_INVALID, numbers outside
 * what the engine can hold ERR_RANGE, other channels of the picture ERR_UNSUPPORTED; e names the
 * key. */
enum err_code stylegan1_arch_read(const struct notes *notes, struct stylegan1_arch *out,
                                  struct err *e);

int stylegan1_arch_blocks(const struct stylegan1_arch *self);
/* Channels of the layers at size x size pixels. */
int stylegan1_arch_channels(const struct stylegan1_arch *self, int size);

/* Fills out [ARCH_TENSORS_MAX] in name order; returns how many. Only the last ToRGB is among them;
 * that nothing else is needed holds for lod 0 alone, which is for the reader of a file to check. */
size_t stylegan1_arch_tensors(const struct stylegan1_arch *self, struct tensor_need *out);

/* What of the architecture decides the pixels and is not in the tensors' shapes, as lines of the
 * model's digest (kernels/README.md). out holds ARCH_TEXT_MAX bytes; returns the length. */
size_t stylegan1_arch_text(const struct stylegan1_arch *self, char *out);

#endif
