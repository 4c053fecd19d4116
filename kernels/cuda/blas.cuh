/* blas -- float32 products of matrix and vectors by cuBLAS in pinned form: always BLAS_COLUMNS
 * columns, whatever is in use, pedantic float32, a handle and workspaces of its own; opened at run
 * time, so that nothing is needed where it is not installed.
 *
 * cuBLAS picks its kernel by the shapes: with these pinned, a column's bits depend on its own
 * vector, not on the others nor on its place (tests/gpu/check_blas.cu shows it on the device that
 * is there). Its promise of the same bits again holds for one release on one kind of device, with a
 * workspace for each stream: so the release goes into the numerics class's notes, and a lane has a
 * workspace. */
#ifndef KERNELS_CUDA_BLAS_CUH
#define KERNELS_CUDA_BLAS_CUH

#include "kernels/cuda/device.cuh"

#include <stddef.h>

extern "C" {
#include "proto/err.h"
}

enum { BLAS_COLUMNS = 8, BLAS_LANES = 5 };

struct blas;                    /* opaque; one a device, of the one that is current */

/* ERR_UNSUPPORTED, with the library's name, where it is not installed; ERR_NOMEM, ERR_DEVICE. */
enum err_code blas_create(struct blas **out, struct err *e);
/* Not before all that was queued is done. */
void blas_destroy(struct blas **self);
/* "cublas-13.0.2": goes into the numerics class's notes. */
const char *blas_version(const struct blas *self);

/* y[n * y_each + o] = sum_i weight[o,i] x[n * x_each + i] for n = 0..BLAS_COLUMNS-1: x and y have
 * room for all of them. All on the device. */
struct blas_job {
    float *y;
    size_t y_each;
    const float *weight;        /* [out,in] */
    int out, in;
    const float *x;
    size_t x_each;
    int lane;                   /* 0..BLAS_LANES-1: products of one never run beside each other */
};

/* Queued on stream, not awaited; may be captured into a graph. ERR_DEVICE. */
enum err_code blas_product(struct blas *self, const struct blas_job *job, cudaStream_t stream,
                           struct err *e);

#endif
