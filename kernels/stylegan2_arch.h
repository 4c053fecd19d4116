/* stylegan2_arch -- the architecture of a StyleGAN 2 or 2-ADA generator with no default left open,
 * and the tensors that follow from it. Nothing here computes a pixel. */
#ifndef KERNELS_STYLEGAN2_ARCH_H
#define KERNELS_STYLEGAN2_ARCH_H

#include "kernels/arch.h"
#include "kernels/notes.h"
#include "proto/err.h"

#include <stddef.h>

enum { STYLEGAN2_BLOCKS_MAX = 11 };   /* 4 x 4 to 4096 x 4096 pixels */

struct stylegan2_arch {
    int z_dim, c_dim, w_dim;        /* c_dim 0: unconditional */
    int resolution;                 /* pixels a side; a power of two, 4..4096 */
    int num_ws;
    int mapping_layers;
    int channel_base, channel_max;
    float conv_clamp;               /* 0: none */
};

/* Reads the keys of a StyleGAN 2 file. Missing or malformed ones are ERR_INVALID, numbers outside
 * what the engine can hold ERR_RANGE, other architectures, filters or channels of the picture
 * ERR_UNSUPPORTED; e names the key. */
enum err_code stylegan2_arch_read(const struct notes *notes, struct stylegan2_arch *out,
                                  struct err *e);

int stylegan2_arch_blocks(const struct stylegan2_arch *self);
/* Channels of the layers at size x size pixels. */
int stylegan2_arch_channels(const struct stylegan2_arch *self, int size);

/* Fills out [ARCH_TENSORS_MAX] in name order; returns how many. */
size_t stylegan2_arch_tensors(const struct stylegan2_arch *self, struct tensor_need *out);

/* What of the architecture decides the pixels and is not in the tensors' shapes, as lines of the
 * model's digest (kernels/README.md). out holds ARCH_TEXT_MAX bytes; returns the length. */
size_t stylegan2_arch_text(const struct stylegan2_arch *self, char *out);

#endif
