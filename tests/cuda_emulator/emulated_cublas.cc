/* emulated_cublas -- the few functions of cuBLAS that kernels/cuda/blas.cu looks for, over the
 * emulated device. It has the library's habits that a caller could trip over: choosing a stream
 * takes the workspace away, and sums are split in parts that lie in the workspace between two
 * kernels, so that two streams must not share one. */
#include "kernels/cuda/device.cuh"

#include <math.h>
#include <stdlib.h>

enum { DONE = 0, NOT_INITIALIZED = 1, ALLOC_FAILED = 3, INVALID_VALUE = 7, EXECUTION_FAILED = 13 };
enum { TRANSPOSED = 1, PEDANTIC = 2, PARTS = 3, BLOCK = 32 };

struct cublasContext {
    cudaStream_t stream;
    float *workspace;
    size_t bytes;
    int mode;
};

struct product {
    int m, n, k, lda, ldb, ldc;
    const float *a, *b;
    float *c, *parts;           /* parts [PARTS, n, m] */
};

/* One thread an element of a part. */
static void sum_part(struct product p)
{
    int row = (int)(blockIdx.x * BLOCK + threadIdx.x), column = (int)blockIdx.y;
    int part = (int)blockIdx.z;
    float sum = 0.0f;

    if (row >= p.m)
        return;
    for (int i = p.k * part / PARTS; i < p.k * (part + 1) / PARTS; i++)
        sum = fmaf(p.a[(size_t)row * (size_t)p.lda + (size_t)i],
                   p.b[(size_t)column * (size_t)p.ldb + (size_t)i], sum);
    p.parts[((size_t)part * (size_t)p.n + (size_t)column) * (size_t)p.m + (size_t)row] = sum;
}

static void sum_parts(struct product p)
{
    int row = (int)(blockIdx.x * BLOCK + threadIdx.x), column = (int)blockIdx.y;
    float sum = 0.0f;

    if (row >= p.m)
        return;
    for (int part = 0; part < PARTS; part++)
        sum += p.parts[((size_t)part * (size_t)p.n + (size_t)column) * (size_t)p.m + (size_t)row];
    p.c[(size_t)column * (size_t)p.ldc + (size_t)row] = sum;
}

extern "C" {

int cublasCreate_v2(struct cublasContext **out);
int cublasDestroy_v2(struct cublasContext *handle);
int cublasGetProperty(int which, int *value);
int cublasSetMathMode(struct cublasContext *handle, int mode);
int cublasSetStream_v2(struct cublasContext *handle, cudaStream_t stream);
int cublasSetWorkspace_v2(struct cublasContext *handle, void *workspace, size_t bytes);
int cublasSgemm_v2(struct cublasContext *handle, int transpose_a, int transpose_b, int m, int n,
                   int k, const float *alpha, const float *a, int lda, const float *b, int ldb,
                   const float *beta, float *c, int ldc);

int cublasCreate_v2(struct cublasContext **out)
{
    *out = (struct cublasContext *)calloc(1, sizeof **out);
    return *out ? DONE : ALLOC_FAILED;
}

int cublasDestroy_v2(struct cublasContext *handle)
{
    free(handle);
    return DONE;
}

/* No release of cuBLAS. */
int cublasGetProperty(int which, int *value)
{
    *value = 0;
    return which >= 0 && which < 3 ? DONE : INVALID_VALUE;
}

int cublasSetMathMode(struct cublasContext *handle, int mode)
{
    handle->mode = mode;
    return DONE;
}

int cublasSetStream_v2(struct cublasContext *handle, cudaStream_t stream)
{
    handle->stream = stream;
    handle->workspace = NULL;
    return DONE;
}

int cublasSetWorkspace_v2(struct cublasContext *handle, void *workspace, size_t bytes)
{
    handle->workspace = (float *)workspace;
    handle->bytes = bytes;
    return DONE;
}

/* What the engine asks for, and nothing else. */
int cublasSgemm_v2(struct cublasContext *handle, int transpose_a, int transpose_b, int m, int n,
                   int k, const float *alpha, const float *a, int lda, const float *b, int ldb,
                   const float *beta, float *c, int ldc)
{
    struct product p = { m, n, k, lda, ldb, ldc, a, b, c, handle->workspace };
    dim3 grid((unsigned)(m + BLOCK - 1) / BLOCK, (unsigned)n, PARTS);
    dim3 last(grid.x, grid.y, 1);

    if (handle->mode != PEDANTIC || !handle->workspace)
        return NOT_INITIALIZED;
    if (transpose_a != TRANSPOSED || transpose_b || *alpha != 1.0f || *beta != 0.0f || m < 1 ||
        n < 1 || k < 1 || lda < k || ldb < k || ldc < m ||
        (size_t)PARTS * (size_t)m * (size_t)n * sizeof(float) > handle->bytes)
        return INVALID_VALUE;
    if (launch(sum_part, grid, dim3(BLOCK), 0, handle->stream, p) ||
        launch(sum_parts, last, dim3(BLOCK), 0, handle->stream, p))
        return EXECUTION_FAILED;
    return DONE;
}
}
