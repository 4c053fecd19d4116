#include "kernels/cuda/room.cuh"

#include <cuda_runtime.h>

#include <stdlib.h>

enum { MEGABYTE = 1000000 };

struct piece {
    struct piece *before;
    void *data;
};

struct room {
    struct piece *last;
    size_t bytes;               /* asked for */
    size_t taken, free;         /* when a piece did not fit: what was taken, what was left */
    bool full;                  /* from now on it only counts */
    cudaError_t failed;         /* of what else went wrong, the first */
};

enum err_code room_create(struct room **out, struct err *e)
{
    *out = (struct room *)calloc(1, sizeof **out);
    return *out ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for a list of device memory");
}

void room_destroy(struct room **self)
{
    struct room *s = *self;

    if (!s)
        return;
    while (s->last) {
        struct piece *piece = s->last;

        s->last = piece->before;
        cudaFree(piece->data);
        free(piece);
    }
    free(s);
    *self = NULL;
}

static void note_failure(struct room *self, cudaError_t status)
{
    cudaGetLastError();         /* else the next launch would report it */
    if (!self->failed)
        self->failed = status;
}

/* What is free now, before what this room took is given back. */
static void note_full(struct room *self, size_t bytes)
{
    size_t all;

    cudaGetLastError();
    self->full = true;
    self->taken = self->bytes - bytes;
    if (cudaMemGetInfo(&self->free, &all))
        cudaGetLastError();
}

void *room_take(struct room *self, size_t bytes)
{
    struct piece *piece;
    cudaError_t status;

    /* what cudaMalloc makes of it: pieces of no bytes too are some of their own */
    bytes = bytes > 0 ? (bytes + 255) / 256 * 256 : 256;
    self->bytes += bytes;
    if (self->full || self->failed)
        return NULL;
    piece = (struct piece *)malloc(sizeof *piece);
    if (!piece) {
        note_full(self, bytes);
        return NULL;
    }
    status = cudaMalloc(&piece->data, bytes);
    if (status) {
        if (status == cudaErrorMemoryAllocation)
            note_full(self, bytes);
        else
            note_failure(self, status);
        free(piece);
        return NULL;
    }
    piece->before = self->last;
    self->last = piece;
    return piece->data;
}

void *room_put(struct room *self, const void *data, size_t bytes)
{
    void *piece = room_take(self, bytes);
    cudaError_t status = cudaSuccess;

    if (piece && bytes > 0)
        status = cudaMemcpy(piece, data, bytes, cudaMemcpyHostToDevice);
    if (piece && bytes > 0 && !status)      /* a copy from pageable memory may return before it is
                                               there, and no other stream waits for it */
        status = cudaStreamSynchronize(NULL);
    if (status)
        note_failure(self, status);
    return piece;
}

size_t room_bytes(const struct room *self)
{
    return self->bytes;
}

enum err_code room_check(const struct room *self, struct err *e)
{
    if (self->failed)
        return err_set(e, ERR_DEVICE, "could not fill device memory: %s",
                       cudaGetErrorString(self->failed));
    if (self->full)
        return err_set(e, ERR_NOMEM, "model needs %zu MB of device memory, %zu MB are free",
                       (self->bytes + MEGABYTE - 1) / MEGABYTE,
                       (self->taken + self->free) / MEGABYTE);
    return ERR_OK;
}
