/* network -- a plan prepared for a device, and the order of its steps.
 *
 * Samples go through in micro-batches of up to NETWORK_MICRO, fewer where they are huge: as fast as
 * larger ones, a quarter of the memory, and the first pictures sooner. For each number of samples
 * there is one CUDA graph, captured at the first use; everything that belongs to a sample is read
 * from the device's memory when the graph runs. While a micro-batch runs, the host prepares the next
 * one's inputs.
 *
 * All memory is taken when the network is created. */
#ifndef KERNELS_CUDA_NETWORK_CUH
#define KERNELS_CUDA_NETWORK_CUH

#include "kernels/cuda/blas.cuh"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {
#include "kernels/backend.h"
#include "kernels/plan.h"
#include "kernels/precision.h"
}

enum { NETWORK_MICRO = BLAS_COLUMNS };

struct network_cuda;

struct network_options {
    enum precision precision;   /* not AUTO */
    int max_batch;
    int tile;                   /* -1: what suits; for tests: the variant that every kernel takes,
                                   as far as it has so many */
    bool wgmma;                 /* the layers that conv_wgmma_suits take that way */
    struct blas *blas;          /* borrowed; NULL: own kernels make the products */
};

/* On the device that is current. Of the plan and its model nothing is needed afterwards. ERR_NOMEM
 * says how much would be needed and how much is free. */
enum err_code network_cuda_create(const struct plan *plan, const struct network_options *options,
                                  struct network_cuda **out, struct err *e);
void network_cuda_destroy(struct network_cuda **self);
size_t network_cuda_bytes(const struct network_cuda *self);

/* What a render is to bring; NULL: not wanted. Pixels or coefficients, not both. */
struct network_result {
    uint8_t *rgb;               /* [count, H, W, 3] */
    bool rgb_is_locked;         /* page-locked: the device writes into it, nobody copies once more */
    const int *qualities;       /* [count]; and then */
    int16_t *coefficients;      /* [count, jpeg_coefficients_layout().count], page-locked */
    const struct capture *capture;
};

/* backend.h, render and render_coefficients: samples and qualities have been checked. */
enum err_code network_cuda_render(struct network_cuda *self, const struct sample *samples,
                                  int count, const struct network_result *result, struct err *e);

/* Renders count samples once without the graph and tells what each layer took, in microseconds:
 * for the benchmark. */
enum err_code network_cuda_profile(struct network_cuda *self, int count,
                                   void (*row)(void *arg, const char *name, double us), void *arg,
                                   struct err *e);

#endif
