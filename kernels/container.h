/* container -- a model file of any kind while it is read: its notes, and its tensors by name, as
 * safetensors or checkpoint give them. What reads a model sees no difference. */
#ifndef KERNELS_CONTAINER_H
#define KERNELS_CONTAINER_H

#include "kernels/notes.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct container;

/* A tensor in a container; lives as long as that. */
struct container_tensor {
    int rank;
    const int64_t *shape;           /* [rank] */
    size_t count;                   /* product of shape */
    const void *stored;             /* the reader's own */
};

/* Reads data[0..len), which is borrowed and must outlive *out. What it is shows in its first bytes.
 * All tensors together have no more values than the file has bytes. ERR_FILE when it
 * ends too early, ERR_INVALID when it is malformed, ERR_UNSUPPORTED, ERR_NOMEM. On success *out is
 * the caller's to destroy; on failure it is NULL. */
enum err_code container_parse(const void *data, size_t len, struct container **out,
                              struct err *e);
void container_destroy(struct container **self);

/* What kind of file it is: "safetensors" or "pkl". */
const char *container_word(const struct container *self);

/* Gives the notes away: the caller destroys them. Once only. */
struct notes *container_take_notes(struct container *self);

/* False when there is none of that name. */
bool container_find(const struct container *self, const char *name, struct container_tensor *out);

/* Writes tensor's values to out [tensor->count]. ERR_UNSUPPORTED for types that are not floats,
 * ERR_INVALID for a value that is not finite: e names the tensor. */
enum err_code container_floats(const struct container *self, const struct container_tensor *tensor,
                               float *out, struct err *e);

#endif
