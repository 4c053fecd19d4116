/* model -- a generator's file in memory: its architecture with no default left open, and its
 * tensors by name, checked against each other before anything is computed. Also the way back, into
 * a .safetensors file. */
#ifndef KERNELS_MODEL_H
#define KERNELS_MODEL_H

#include "kernels/stylegan1_arch.h"
#include "kernels/stylegan2_arch.h"
#include "kernels/stylegan3_arch.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stddef.h>
#include <stdint.h>

enum model_arch { MODEL_STYLEGAN1, MODEL_STYLEGAN2, MODEL_STYLEGAN3 };

struct model_tensor {
    const char *name;               /* "synthesis.b8.conv0.weight" */
    int rank;
    int shape[4];                   /* row-major */
    const float *data;              /* [product of shape]; NULL after model_drop_values */
    size_t count;
};

struct model;                       /* opaque; immutable, so threads may share it */

/* Opens path (.safetensors, or an official .pkl) and checks it whole; what it is shows in its first
 * bytes, not in its name. Every byte of it is hostile: sizes, offsets and shapes are bounded before
 * use; non-finite weights are refused. While it is read, file and tensors are both in memory.
 * ERR_FILE (cannot read, truncated), ERR_INVALID (malformed; e names key or tensor),
 * ERR_UNSUPPORTED, ERR_NOMEM. On success *out is the caller's to destroy. */
enum err_code model_open(const char *path, struct model **out, struct err *e);
/* The same from memory (borrowed for the call only); what the fuzzer calls. */
enum err_code model_parse(const void *data, size_t len, struct model **out, struct err *e);
void model_destroy(struct model **self);

/* Frees the tensors' values, for a net that has made its own of them: model_tensor.data is NULL
 * from then on; names, shapes, facts and notes stay. Not while another thread uses the model. */
void model_drop_values(struct model *self);

/* The bytes of a .safetensors file of the same digest: the tensors that are used, as F32, and all
 * notes. For free(). ERR_NOMEM; ERR_BUG when the values have been dropped. */
enum err_code model_format(const struct model *self, uint8_t **out, size_t *len, struct err *e);

enum model_arch model_arch(const struct model *self);
const char *model_arch_word(const struct model *self);   /* "stylegan2" */
/* The kind of file that it was read from: "safetensors", "pkl". */
const char *model_file_word(const struct model *self);
/* NULL when the model is of another architecture. */
const struct stylegan1_arch *model_stylegan1(const struct model *self);
const struct stylegan2_arch *model_stylegan2(const struct model *self);
const struct stylegan3_arch *model_stylegan3(const struct model *self);
const struct model_facts *model_facts(const struct model *self);

/* A value of the file's metadata, NULL when it has none under that key ("licence", "name"). */
const char *model_note(const struct model *self, const char *key);

/* The tensors that the architecture uses, in name order; what else the file held is not kept. */
size_t model_tensor_count(const struct model *self);
const struct model_tensor *model_tensor_at(const struct model *self, size_t index);
/* NULL when there is none of that name. */
const struct model_tensor *model_tensor_find(const struct model *self, const char *name);

#endif
