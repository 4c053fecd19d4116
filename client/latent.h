/* latent -- w of a picture, computed from its model's file without rendering it: what `render
 * --dump-ws` writes, as the CPU engine computes it. */
#ifndef CLIENT_LATENT_H
#define CLIENT_LATENT_H

#include "proto/err.h"
#include "proto/recipe.h"

#include <stddef.h>

struct latent;

/* Opens a model file (.safetensors, or an official .pkl). ERR_FILE (cannot be read, is no model),
 * ERR_NOMEM. On failure *out is NULL. */
enum err_code latent_create(const char *path, struct latent **out, struct err *e);
void latent_destroy(struct latent **self);      /* NULL is fine */

const struct model_facts *latent_facts(const struct latent *self);

/* ws after truncation, float32 [num_ws, w_dim]: lent until the next call. The recipe is of this
 * model. */
const float *latent_compute(struct latent *self, const struct recipe *recipe);

#endif
