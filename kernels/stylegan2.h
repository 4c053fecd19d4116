/* stylegan2 -- the generator of StyleGAN 2 and 2-ADA on the CPU: a network described over the
 * operations beside it. Source: Karras et al. 2020, figures 2 and 7 (the skip generator); tensor
 * names and details as the official PyTorch files have them.
 *
 * Samples go through the network in groups of a few, each layer shared out between the pool's
 * threads by sample and output channels. Every element is made by one thread, in an order that the
 * model alone decides: neither the group, nor the place in it, nor the threads can change a bit. */
#ifndef KERNELS_STYLEGAN2_H
#define KERNELS_STYLEGAN2_H

#include "kernels/backend.h"
#include "kernels/model.h"
#include "kernels/pool.h"
#include "proto/err.h"

#include <stdint.h>

struct stylegan2;

/* Prepares model, which must be a StyleGAN 2, for up to max_batch samples a call, and takes all the
 * memory that rendering needs. model and pool are borrowed and must outlive it. ERR_NOMEM. */
enum err_code stylegan2_create(const struct model *model, struct pool *pool, int max_batch,
                               struct stylegan2 **out, struct err *e);
void stylegan2_destroy(struct stylegan2 **self);

/* backend.h, render: the samples have been checked against the model's facts, count against
 * max_batch. ERR_DEVICE names layer and sample when a value is not finite. */
enum err_code stylegan2_render(struct stylegan2 *self, const struct sample *samples, int count,
                               uint8_t *rgb, const struct capture *capture, struct err *e);

#endif
