/* conv_wgmma -- conv's large layers by the products of warpgroups that only compute capability 9.0
 * has (hopper.cuh): fp16, from 64 output channels and 32 pixels on. The order of each sum is
 * conv.cuh's; what the tensor cores make of it inside a product may differ between wgmma and
 * mma.sync, so a network that uses this is of a numerics class of its own: a layer takes it always
 * or never.
 *
 * Off until conv_cuda_use_wgmma; then conv_cuda_tiles and conv_cuda_run of conv.cuh mean these
 * tiles.
 *
 * Not here yet, for want of a device to measure on: the halo tile by one copy of the tensor memory
 * accelerator (a 5-D box {8, wide, high, 4, 1}, zeros outside) in place of feed_input's rows and of
 * clear_outside; pairs of blocks in a cluster that share a stage of the weights; blocks that stay
 * and finish one tile while they add the next one up. */
#ifndef KERNELS_CUDA_CONV_WGMMA_CUH
#define KERNELS_CUDA_CONV_WGMMA_CUH

#include "kernels/cuda/conv.cuh"

/* Whether the device that is current is such a device; and whether this is such a layer too. */
bool conv_wgmma_device(void);
bool conv_wgmma_suits(const struct conv_cuda *self);

/* From here on the layer, which suits, takes this way; its packed weights change their order in
 * place. ERR_NOMEM (of the host), ERR_DEVICE. */
enum err_code conv_cuda_use_wgmma(struct conv_cuda *self, struct err *e);

/* For conv.cu: what conv_cuda_tiles and conv_cuda_run are then. */
int conv_wgmma_tiles(void);
cudaError_t conv_wgmma_run(const struct conv_cuda *self, const struct conv_cuda_job *job,
                           int samples, int tile, cudaStream_t stream);

#endif
