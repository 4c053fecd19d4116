/* npy -- arrays in NumPy's file format (version 1.0, C order, little-endian): what
 * `render --dump-*` writes and what the golden vectors are kept in. */
#ifndef BASE_NPY_H
#define BASE_NPY_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum npy_dtype { NPY_FLOAT64, NPY_FLOAT32, NPY_UINT8, NPY_DTYPE_COUNT };

enum { NPY_RANK_MAX = 4, NPY_FILE_MAX_BYTES = 1 << 30 };

struct npy {
    enum npy_dtype dtype;
    int rank;                       /* 0..NPY_RANK_MAX; 0 is one value */
    int shape[NPY_RANK_MAX];        /* row-major; the rest is 0 */
    void *data;                     /* [count] of dtype */
    size_t count;                   /* product of shape */
};

/* Bytes of one element. */
size_t npy_item_bytes(enum npy_dtype dtype);

/* The bytes of a file with shape and data (count is not read). On success *out is the caller's to
 * free(); on failure it is NULL. ERR_RANGE for a rank or a length that cannot be, ERR_NOMEM. */
enum err_code npy_encode(const struct npy *array, uint8_t **out, size_t *len, struct err *e);

/* Writes shape and data (count is not read) as path, whole or not at all. As npy_encode, and as
 * file_write_atomic. */
enum err_code npy_write(const char *path, const struct npy *array, struct err *e);

/* Reads path; every byte of it is hostile. On success *out is the caller's to release; on failure
 * it is all zero. ERR_FILE (cannot be read, cut short, longer than its shape says), ERR_INVALID
 * (not such a file), ERR_UNSUPPORTED (another dtype, order, version or rank), ERR_NOMEM. */
enum err_code npy_read(const char *path, struct npy *out, struct err *e);
void npy_release(struct npy *self);

#endif
