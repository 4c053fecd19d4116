/* blas -- float32 products of matrix and vectors by cuBLAS in pinned form: always BLAS_COLUMNS
 * columns, whatever is in use, pedantic float32, a handle and a workspace of its own; opened at run
 * time, so that nothing is needed where it is not installed. */
#ifndef KERNELS_CUDA_BLAS_CUH
#define KERNELS_CUDA_BLAS_CUH

#include "kernels/cuda/device.cuh"

#include <stddef.h>

extern "C" {
#include "proto/err.h"
}

enum { BLAS_COLUMNS = 8 };

struct blas;                    /* opaque; one a device */

/* ERR_UNSUPPORTED, with the library's name, where it is not installed. */
enum err_code blas_create(struct blas **out, struct err *e);
void blas_destroy(struct blas **self);
/* "cublas-13.0.2": goes into the numerics class's notes. */
const char *blas_version(const struct blas *self);

/* y[n * y_each + o] = sum_i weight[o,i] x[n * x_each + i] for n = 0..BLAS_COLUMNS-1: x and y have
 * room for all of them. May be captured into a graph. */
enum err_code blas_product(struct blas *self, float *y, size_t y_each, const float *weight, int out,
                           int in, const float *x, size_t x_each, cudaStream_t stream,
                           struct err *e);

#endif
