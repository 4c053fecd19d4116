/* model -- a generator's file in memory: its architecture with no default left open, and its
 * tensors by name, checked against each other before anything is computed. */
#ifndef KERNELS_MODEL_H
#define KERNELS_MODEL_H

#include "kernels/stylegan2_arch.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stddef.h>
#include <stdint.h>

enum model_arch { MODEL_STYLEGAN1, MODEL_STYLEGAN2, MODEL_STYLEGAN3 };

struct model_tensor {
    const char *name;               /* "synthesis.b8.conv0.weight" */
    int rank;
    int shape[4];                   /* row-major */
    const float *data;              /* [product of shape] */
    size_t count;
};

struct model;                       /* opaque; immutable, so threads may share it */

/* Opens path (.safetensors) and checks it whole. Every byte of it is hostile: sizes, offsets and
 * shapes are bounded before use; non-finite weights are refused. ERR_FILE (cannot read, truncated),
 * ERR_INVALID (malformed; e names key or tensor), ERR_UNSUPPORTED, ERR_NOMEM. On success *out is
 * the caller's to destroy. */
enum err_code model_open(const char *path, struct model **out, struct err *e);
/* The same from memory (borrowed for the call only); what the fuzzer calls. */
enum err_code model_parse(const void *data, size_t len, struct model **out, struct err *e);
void model_destroy(struct model **self);

enum model_arch model_arch(const struct model *self);
const char *model_arch_word(const struct model *self);   /* "stylegan2" */
/* NULL when the model is of another architecture. */
const struct stylegan2_arch *model_stylegan2(const struct model *self);
const struct model_facts *model_facts(const struct model *self);

/* A value of the file's metadata, NULL when it has none under that key ("licence", "name"). */
const char *model_note(const struct model *self, const char *key);

/* The tensors that the architecture uses, in name order; what else the file held is not kept. */
size_t model_tensor_count(const struct model *self);
const struct model_tensor *model_tensor_at(const struct model *self, size_t index);
/* NULL when there is none of that name. */
const struct model_tensor *model_tensor_find(const struct model *self, const char *name);

#endif
