/* network -- a plan prepared for the CPU, and the order of its steps.
 *
 * Samples go through the network in groups of a few, each step shared out between the pool's
 * threads. Every element is made by one thread, in an order that the model alone decides: neither
 * the group, nor the place in it, nor the threads can change a bit.
 *
 * Memory: the weights, packed, and for each sample of a group two activations, which the layers
 * take turns in. */
#ifndef KERNELS_NETWORK_H
#define KERNELS_NETWORK_H

#include "kernels/backend.h"
#include "kernels/plan.h"
#include "kernels/pool.h"
#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

struct network;

/* Prepares plan for up to max_batch samples a call. pool is borrowed and must outlive it; of the
 * plan and its model nothing is needed afterwards. ERR_NOMEM says how many bytes. */
enum err_code network_create(const struct plan *plan, struct pool *pool, int max_batch,
                             struct network **out, struct err *e);
/* Takes all the memory that rendering needs; once, before the first render. ERR_NOMEM says how many
 * bytes, and none of them has been touched. */
enum err_code network_reserve(struct network *self, struct err *e);
/* How much that is; what network_create took, the weights, is not in it. */
size_t network_reserve_bytes(const struct network *self);
void network_destroy(struct network **self);

/* backend.h, render: the samples have been checked against the model's facts, count against
 * max_batch. ERR_DEVICE names layer and sample when a value is not finite. */
enum err_code network_render(struct network *self, const struct sample *samples, int count,
                             uint8_t *rgb, const struct capture *capture, struct err *e);

#endif
