/* offline -- one picture from a model file, with no broker between: the same recipe gives the same
 * file as from a worker of that numerics class. */
#ifndef CLIENT_OFFLINE_H
#define CLIENT_OFFLINE_H

#include "kernels/picture.h"
#include "kernels/precision.h"
#include "proto/err.h"
#include "proto/recipe.h"

struct offline {
    const char *model_file, *backend;
    enum precision precision;
};

/* On success *out is to be released, and numerics_class says what made its pixels. A recipe with
 * Content Credentials is made with none: signing takes the operator's key, and the picture is the
 * same. ERR_FILE: the file is no model, or another model than the recipe's; else as the engine. */
enum err_code offline_render(const struct offline *self, const struct recipe *recipe,
                             struct picture *out, char numerics_class[64], struct err *e);

#endif
