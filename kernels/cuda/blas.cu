#include "kernels/cuda/blas.cuh"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Of one lane. Fixed, as the sum's split may depend on it; what cuBLAS itself takes on devices
 * before Hopper, and far more than eight columns need. */
enum { WORKSPACE_BYTES = 4 << 20 };

/* What cublas_api.h says, for compilers that have no such file: names, numbers and types are part
 * of the library's binary interface. */
typedef struct cublasContext *cublas_handle;
enum { CUBLAS_DONE = 0, CUBLAS_AS_IT_IS = 0, CUBLAS_TRANSPOSED = 1, CUBLAS_PEDANTIC = 2 };

/* Weak: NULL unless the program has a cuBLAS in it already, as it has with the emulator. */
#define WEAK __attribute__((weak))
extern "C" {
int cublasCreate_v2(cublas_handle *out) WEAK;
int cublasDestroy_v2(cublas_handle handle) WEAK;
int cublasGetProperty(int which, int *value) WEAK;      /* 0: major, 1: minor, 2: patch level */
int cublasSetMathMode(cublas_handle handle, int mode) WEAK;
int cublasSetStream_v2(cublas_handle handle, cudaStream_t stream) WEAK;
int cublasSetWorkspace_v2(cublas_handle handle, void *workspace, size_t bytes) WEAK;
int cublasSgemm_v2(cublas_handle handle, int transpose_a, int transpose_b, int m, int n, int k,
                   const float *alpha, const float *a, int lda, const float *b, int ldb,
                   const float *beta, float *c, int ldc) WEAK;
}

struct functions {
    decltype(&cublasCreate_v2) create;
    decltype(&cublasDestroy_v2) destroy;
    decltype(&cublasGetProperty) property;
    decltype(&cublasSetMathMode) math_mode;
    decltype(&cublasSetStream_v2) stream;
    decltype(&cublasSetWorkspace_v2) workspace;
    decltype(&cublasSgemm_v2) sgemm;
};

struct blas {
    struct functions call;
    cublas_handle handle;
    void *workspace[BLAS_LANES];
    char version[48];
};

static bool find(struct functions *out, void *library)
{
    struct symbol {
        const char *name;
        void *function;         /* where its address goes */
    };
    const struct symbol SYMBOLS[] = {
        { "cublasCreate_v2", &out->create },
        { "cublasDestroy_v2", &out->destroy },
        { "cublasGetProperty", &out->property },
        { "cublasSetMathMode", &out->math_mode },
        { "cublasSetStream_v2", &out->stream },
        { "cublasSetWorkspace_v2", &out->workspace },
        { "cublasSgemm_v2", &out->sgemm },
    };

    for (size_t i = 0; i < sizeof SYMBOLS / sizeof SYMBOLS[0]; i++) {
        void *found = dlsym(library, SYMBOLS[i].name);

        if (!found)
            return false;
        memcpy(SYMBOLS[i].function, &found, sizeof found);
    }
    return true;
}

static enum err_code open_library(struct blas *self, struct err *e)
{
    /* the last two: a toolkit of which the loader was not told */
    static const char *const NAMES[] = { "libcublas.so.13", "libcublas.so.12",
                                         "/usr/local/cuda/lib64/libcublas.so.13",
                                         "/usr/local/cuda/lib64/libcublas.so.12" };

    self->call = (struct functions){
        cublasCreate_v2,    cublasDestroy_v2,      cublasGetProperty, cublasSetMathMode,
        cublasSetStream_v2, cublasSetWorkspace_v2, cublasSgemm_v2,
    };
    if (self->call.create)
        return ERR_OK;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        /* Stays open to the end of the process: reading 600 MB anew for each engine takes long, and
         * what it has registered with the driver is not made to be taken away. */
        void *library = dlopen(NAMES[i], RTLD_NOW | RTLD_LOCAL);

        if (!library)
            continue;
        if (find(&self->call, library))
            return ERR_OK;
        return err_set(e, ERR_UNSUPPORTED, "library \"%s\" lacks functions", NAMES[i]);
    }
    return err_set(e, ERR_UNSUPPORTED, "library \"%s\" (or .12) is not installed", NAMES[0]);
}

static enum err_code refused(int status, const char *what, struct err *e)
{
    return err_set(e, ERR_DEVICE, "cuBLAS could not %s: status %d", what, status);
}

static enum err_code prepare(struct blas *self, struct err *e)
{
    int version[3] = { 0, 0, 0 }, status;

    for (int i = 0; i < 3; i++)
        self->call.property(i, &version[i]);
    snprintf(self->version, sizeof self->version, "cublas-%d.%d.%d", version[0], version[1],
             version[2]);
    status = self->call.create(&self->handle);
    if (status)
        return refused(status, "start", e);
    status = self->call.math_mode(self->handle, CUBLAS_PEDANTIC);
    if (status)
        return refused(status, "promise pedantic arithmetic", e);
    for (int lane = 0; lane < BLAS_LANES; lane++)
        if (cudaMalloc(&self->workspace[lane], WORKSPACE_BYTES)) {
            cudaGetLastError();
            self->workspace[lane] = NULL;
            return err_set(e, ERR_NOMEM, "no device memory for %d MB of cuBLAS's workspaces",
                           BLAS_LANES * WORKSPACE_BYTES / 1000000);
        }
    return ERR_OK;
}

enum err_code blas_create(struct blas **out, struct err *e)
{
    struct blas *self = (struct blas *)calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for cuBLAS's handle");
    rc = open_library(self, e);
    if (!rc)
        rc = prepare(self, e);
    if (!rc) {
        *out = self;
        self = NULL;
    }
    blas_destroy(&self);
    return rc;
}

void blas_destroy(struct blas **self)
{
    struct blas *s = *self;

    if (!s)
        return;
    if (s->handle)
        s->call.destroy(s->handle);
    for (int lane = 0; lane < BLAS_LANES; lane++)
        cudaFree(s->workspace[lane]);
    free(s);
    *self = NULL;
}

const char *blas_version(const struct blas *self)
{
    return self->version;
}

/* The library's matrices lie column by column: weight [out,in] is to it one of in x out. */
enum err_code blas_product(struct blas *self, const struct blas_job *job, cudaStream_t stream,
                           struct err *e)
{
    const float one = 1.0f, zero = 0.0f;
    int status = self->call.stream(self->handle, stream);

    /* choosing a stream takes the workspace away */
    if (!status)
        status = self->call.workspace(self->handle, self->workspace[job->lane], WORKSPACE_BYTES);
    if (!status)
        status = self->call.sgemm(self->handle, CUBLAS_TRANSPOSED, CUBLAS_AS_IT_IS, job->out,
                                  BLAS_COLUMNS, job->in, &one, job->weight, job->in, job->x,
                                  (int)job->x_each, &zero, job->y, (int)job->y_each);
    return status ? refused(status, "multiply", e) : ERR_OK;
}
