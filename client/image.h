/* image -- a picture file of any origin as pixels: JPEG, PNG and WebP by Debian's own libraries.
 * What the file is, its first bytes say, not its name. Every byte is hostile: sizes are checked
 * before memory is taken, and the work is bounded.
 *
 * Pixels are as the file has them: an orientation in its metadata is not applied. Grey becomes RGB,
 * what is transparent lies over white, 16 bits become 8. */
#ifndef CLIENT_IMAGE_H
#define CLIENT_IMAGE_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    IMAGE_FILE_MAX = 64 << 20,      /* bytes */
    IMAGE_PIXELS_MAX = 100000000,   /* of a JPEG: JPEG_PIXELS_MAX, the same */
};

enum image_format { IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP };

struct image {
    enum image_format format;
    int width, height;
    uint8_t *rgb;                   /* [height, width, 3] */
};

/* On failure out->rgb is NULL. ERR_FILE: no such picture (the words say what it is instead), too
 * large, damaged, cut short, an animation; ERR_NOMEM. */
enum err_code image_decode(const uint8_t *file, size_t len, struct image *out, struct err *e);
void image_release(struct image *self);         /* all zero is fine, and left */

/* "JPEG", "PNG" or "WebP". Static. */
const char *image_format_name(enum image_format format);

#endif
