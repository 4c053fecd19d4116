/* conv_pack -- a convolution's weights as the device's kernel eats them, made on the host.
 *     [phase][piece of 16 outputs][chunk of 4 blocks of inputs][tap][block][16 outputs][16 bytes]
 * where a block is 16 bytes of input channels (activation.cuh), the last chunk has two blocks when no
 * more are left, and padded inputs and outputs are zero. A piece is one run of bytes, and a tap of a
 * chunk one of 1024 (or 512) in it: any multiple of 16 outputs can be fetched with few copies.
 *
 * Rounding is the device's: fp16 to nearest even, tf32 to nearest, ties away from zero. */
#ifndef KERNELS_CUDA_CONV_PACK_CUH
#define KERNELS_CUDA_CONV_PACK_CUH

#include "kernels/cuda/activation.cuh"
extern "C" {
#include "kernels/conv_phases.h"
}

enum { CONV_CHUNK = 4, CONV_PIECE = 16, CONV_PIECE_BLOCK_BYTES = CONV_PIECE * BLOCK_BYTES };

/* Pieces of the outputs. */
int conv_pack_pieces(const struct conv_shape *shape);
/* Bytes of one phase. */
size_t conv_pack_bytes(const struct conv_shape *shape, enum precision precision, int phase);
/* Fills to, which holds zeros, with all phases one behind the other. down and energy as in conv.cuh;
 * energy may be NULL. */
void conv_pack(void *to, const struct conv_shape *shape, const struct conv_weights *weights,
               enum precision precision, float *down, float *energy);

#endif
