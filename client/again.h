/* again -- the request that asks for a recipe's picture once more. */
#ifndef CLIENT_AGAIN_H
#define CLIENT_AGAIN_H

#include "client/seedpress.h"
#include "proto/recipe.h"

#include <stdbool.h>

struct again {
    struct seedpress_request request;       /* points into this struct: do not move it */
    char model[SEEDPRESS_HEX];
    double transform[9];
};

/* All that the recipe says; what else a request has (cache, keep, deadline) is as
 * seedpress_request_init leaves it, and may be set. */
void again_init(struct again *self, const struct recipe *recipe);

/* Asks several times a second whether somebody still wants the answer. NULL: nobody asks. */
typedef bool again_go_on(void *arg);
/* seedpress_generate, given up with SEEDPRESS_CANCELLED as soon as go_on(arg) is false. */
enum seedpress_code again_generate(struct seedpress *sp, const struct seedpress_request *request,
                                   again_go_on *go_on, void *arg, struct seedpress_image *image,
                                   struct seedpress_error *error);

#endif
