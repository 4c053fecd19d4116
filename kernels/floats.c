#include "kernels/floats.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN_BYTES = 64 };

enum err_code floats_create(size_t a, size_t b, size_t c, float **out, struct err *e)
{
    size_t bytes;

    *out = NULL;
    if (__builtin_mul_overflow(a, b, &bytes) || __builtin_mul_overflow(bytes, c, &bytes) ||
        __builtin_mul_overflow(bytes, sizeof(float), &bytes) ||
        __builtin_add_overflow(bytes, (size_t)ALIGN_BYTES, &bytes))
        return err_set(e, ERR_NOMEM, "no memory for %zu * %zu * %zu floats", a, b, c);
    bytes = bytes / ALIGN_BYTES * ALIGN_BYTES;
    *out = aligned_alloc(ALIGN_BYTES, bytes);
    if (!*out)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes", bytes);
    memset(*out, 0, bytes);
    return ERR_OK;
}
