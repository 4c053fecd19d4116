/* picture -- from a render to the file that is stored and sent: the one place where a
 * recipe's format and mark become bytes, so that the worker and `seedpress render` agree. */
#ifndef KERNELS_PICTURE_H
#define KERNELS_PICTURE_H

#include "base/c2pa.h"
#include "kernels/jpeg.h"
#include "proto/digest.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stddef.h>
#include <stdint.h>

/* What a render gave: one of the two, the other NULL. The file is the same from either. */
struct picture_source {
    const uint8_t *rgb;             /* [height, width, 3] of the recipe */
    const int16_t *coefficients;    /* kernels/jpeg_transform.h, of the recipe's quality */
};

struct picture {
    uint8_t *file;                  /* a JPEG; picture_release frees it, or take it and set NULL */
    size_t len;
    struct digest file_sha;         /* SHA-256 of file */
    struct digest core_sha;         /* the same without metadata: base/mark.h */
};

/* With the mark c2pa the file has its XMP and awaits picture_sign; its core hash is final. On
 * failure *out is all zero. ERR_RANGE, ERR_NOMEM, ERR_BUG. */
enum err_code picture_encode(struct jpeg_encoder *encoder, const struct recipe *recipe,
                             struct picture_source source, struct picture *out, struct err *e);
/* Signs what picture_encode made, when the recipe's mark is c2pa; else does nothing. signer may be
 * NULL. On failure (c2pa_sign's errors) *picture is as it was. */
enum err_code picture_sign(const struct c2pa_signer *signer, const struct recipe *recipe,
                           struct picture *picture, struct err *e);
void picture_release(struct picture *self);

#endif
