/* floats -- memory for a net's numbers: taken once, when a model is loaded. */
#ifndef KERNELS_FLOATS_H
#define KERNELS_FLOATS_H

#include "proto/err.h"

#include <stddef.h>

/* a * b * c floats, all 0, aligned for vectors and really there: each page has been written. Freed
 * with free(). ERR_NOMEM, also when the product overflows: *out is then NULL. */
enum err_code floats_create(size_t a, size_t b, size_t c, float **out, struct err *e);

#endif
