/* thumbnail -- a JPEG that this program has just made, back as pixels at a whole fraction of its
 * size: for perceptual hashes where a device gave coefficients and the pixels never were on the
 * host. */
#ifndef KERNELS_THUMBNAIL_H
#define KERNELS_THUMBNAIL_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

struct thumbnail {
    uint8_t *rgb;                   /* [height, width, 3]; the caller's to free() */
    int width, height;
};

/* Decodes at 1/1, 1/2, 1/4 or 1/8, the smallest whose shorter side still has at least `least`
 * pixels. On failure *out is all zero. ERR_INVALID: file[0..len) is no JPEG, or is damaged, in
 * libjpeg's words; ERR_NOMEM. */
enum err_code thumbnail_make(const uint8_t *file, size_t len, int least, struct thumbnail *out,
                             struct err *e);

#endif
