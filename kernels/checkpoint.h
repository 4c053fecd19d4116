/* checkpoint -- reads the official .pkl files of StyleGAN 1, 2, 2-ADA and 3 as what a .safetensors
 * file holds: notes with no default left open, and the tensors of the averaged generator (G_ema,
 * Gs) under the names and in the layouts that this project uses. PyTorch files keep theirs, a
 * TensorFlow StyleGAN 2 gets those of PyTorch, a StyleGAN 1 keeps TensorFlow's.
 *
 * Nothing of a file is ever run: see pickle.h. Every byte is hostile: a tensor's place in the file,
 * its strides and sizes are checked before they are used, and all tensors together have no more
 * values than the file has bytes. */
#ifndef KERNELS_CHECKPOINT_H
#define KERNELS_CHECKPOINT_H

#include "kernels/notes.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHECKPOINT_RANK_MAX = 4,
    CHECKPOINT_NAME_MAX = 200,          /* bytes of a tensor's name */
    CHECKPOINT_TENSORS_MAX = 8192,
};

enum checkpoint_type {
    CHECKPOINT_F16,
    CHECKPOINT_BF16,
    CHECKPOINT_F32,
    CHECKPOINT_F64,
    CHECKPOINT_I32,
    CHECKPOINT_I64,
};

/* A tensor is a view of numbers that lie in the file in some order: value [i,j] is number
 * start + i * stride[0] + j * stride[1], plus `plus`. */
struct checkpoint_tensor {
    const char *name;
    int rank;
    int64_t shape[CHECKPOINT_RANK_MAX];
    size_t count;                       /* product of shape; 1 for a scalar */
    int64_t stride[CHECKPOINT_RANK_MAX];
    int64_t start;
    enum checkpoint_type type;
    bool big_endian;
    const uint8_t *data;                /* [numbers] of type, unaligned */
    size_t numbers;
    float plus;                         /* added to each in float32 */
};

struct checkpoint;

/* True when data look like a pickle of protocol 2 to 5. */
bool checkpoint_recognises(const void *data, size_t len);

/* Reads data[0..len), which is borrowed and must outlive *out. ERR_FILE when it ends too early,
 * ERR_INVALID when it is malformed, ERR_UNSUPPORTED for a global, an opcode, a class or an option
 * that is not known (e names it, and its value), ERR_NOMEM. On success *out is the caller's to
 * destroy; on failure it is NULL. */
enum err_code checkpoint_parse(const void *data, size_t len, struct checkpoint **out,
                               struct err *e);
void checkpoint_destroy(struct checkpoint **self);

/* Gives the notes away: the caller destroys them. Once only. They hold the keys that a .safetensors
 * file of the architecture has, and source_sha256. */
struct notes *checkpoint_take_notes(struct checkpoint *self);

size_t checkpoint_count(const struct checkpoint *self);
/* In name order. */
const struct checkpoint_tensor *checkpoint_at(const struct checkpoint *self, size_t index);
/* NULL when there is none of that name. */
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *self, const char *name);

/* Writes tensor's values to out [tensor->count] as float32, row-major. ERR_INVALID for a value that
 * is not finite, or not as float32: e names the tensor. */
enum err_code checkpoint_floats(const struct checkpoint_tensor *tensor, float *out, struct err *e);

#endif
