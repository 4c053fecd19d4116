/* safetensors -- bounded reader and writer of the .safetensors container: 8 bytes little-endian
 * length, that many bytes of JSON, then the tensors' bytes. Knows nothing of models. Every byte
 * that is read is hostile: each length, shape and offset is checked against the file before it is
 * used.
 *
 * As the format asks, the tensors cover the bytes after the JSON exactly: no hole, no overlap, no
 * rest. (A hole could hide a second file.) */
#ifndef KERNELS_SAFETENSORS_H
#define KERNELS_SAFETENSORS_H

#include "kernels/notes.h"
#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    SAFETENSORS_HEADER_MAX = 16 << 20,   /* bytes of JSON */
    SAFETENSORS_VALUES_MAX = 1 << 17,    /* values in it: a JSON tree takes 80 bytes for each */
    SAFETENSORS_TENSORS_MAX = 8192,
    SAFETENSORS_RANK_MAX = 8,
    SAFETENSORS_NAME_MAX = 200,          /* bytes of a tensor's name */
};

struct safetensors_tensor {
    const char *name;
    const char *dtype;              /* "F32", "F16", "I64" ... one of the format's words */
    int rank;
    int64_t shape[SAFETENSORS_RANK_MAX];
    size_t count;                   /* product of shape; 1 for a scalar */
    const uint8_t *data;            /* [len], unaligned, in the caller's memory */
    size_t len;
};

struct safetensors;

/* Reads data[0..len), which is borrowed and must outlive *out. ERR_FILE when it ends too early,
 * ERR_INVALID (e names what) when it is malformed, ERR_UNSUPPORTED for a dtype that the format does
 * not have, ERR_NOMEM. On success *out is the caller's to destroy; on failure it is NULL. */
enum err_code safetensors_parse(const void *data, size_t len, struct safetensors **out,
                                struct err *e);
void safetensors_destroy(struct safetensors **self);

/* Gives the notes (__metadata__) away: the caller destroys them. Once only. */
struct notes *safetensors_take_notes(struct safetensors *self);

size_t safetensors_count(const struct safetensors *self);
/* In name order. */
const struct safetensors_tensor *safetensors_at(const struct safetensors *self, size_t index);
/* NULL when there is none of that name. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *self,
                                                  const char *name);

/* Writes tensor's values to out [tensor->count] as float32; F16 is widened exactly. ERR_UNSUPPORTED
 * for other dtypes, ERR_INVALID for a value that is not finite: e names the tensor. */
enum err_code safetensors_floats(const struct safetensors_tensor *tensor, float *out,
                                 struct err *e);

/* A tensor to be written. */
struct safetensors_item {
    const char *name;               /* differs from all others */
    int rank;
    const int *shape;               /* [rank] */
    const float *data;              /* [count], the product of shape */
    size_t count;
};

/* The bytes of a file that holds items[0..count), as F32 and in that order, and notes. On success
 * *out is the caller's to free(); on failure it is NULL. ERR_RANGE when a reader would refuse it
 * for its size, ERR_NOMEM. */
enum err_code safetensors_format(const struct notes *notes, const struct safetensors_item *items,
                                 size_t count, uint8_t **out, size_t *len, struct err *e);

/* values[0..count) as little-endian float32, whatever this machine is; out [4 * count] bytes. */
void safetensors_put_floats(uint8_t *out, const float *values, size_t count);

#endif
