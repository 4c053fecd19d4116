/* png -- RGB in, the bytes of a PNG file out, with the same XMP packet that a JPEG carries, in an
 * iTXt chunk. For pixels that must be looked at as they are; what the service stores is JPEG. */
#ifndef CLIENT_PNG_H
#define CLIENT_PNG_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

/* rgb [height, width, 3]; xmp may be NULL. On success *out is the caller's to free(); on failure it
 * is NULL. ERR_RANGE (an empty picture), ERR_NOMEM, ERR_BUG (libpng's words). */
enum err_code png_encode(const uint8_t *rgb, int width, int height, const char *xmp, uint8_t **out,
                         size_t *len, struct err *e);

#endif
