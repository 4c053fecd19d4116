#include "kernels/picture.h"

#include "base/mark.h"

#include <stdlib.h>

enum err_code picture_encode(struct jpeg_encoder *encoder, const struct recipe *recipe,
                             struct picture_source source, struct picture *out, struct err *e)
{
    char xmp[MARK_XMP_MAX];
    struct jpeg_picture jpeg = { .rgb = source.rgb, .coefficients = source.coefficients,
                                 .width = recipe->width, .height = recipe->height,
                                 .quality = recipe->quality };
    enum err_code rc;

    *out = (struct picture){ .file = NULL };
    if (recipe->mark != RECIPE_MARK_NONE) {
        struct recipe_text text = recipe_text(recipe);

        if (!mark_xmp(&text, xmp, sizeof xmp))
            return err_set(e, ERR_BUG, "a recipe of %zu bytes does not fit into its mark",
                           text.len);
        jpeg.xmp = xmp;
    }
    rc = source.coefficients
             ? jpeg_encode_coefficients(encoder, &jpeg, &out->file, &out->len, e)
             : jpeg_encode(encoder, &jpeg, &out->file, &out->len, e);
    if (rc)
        return rc;
    out->file_sha = digest_of(out->file, out->len);
    if (!mark_core_sha256(out->file, out->len, &out->core_sha)) {
        picture_release(out);
        return err_set(e, ERR_BUG, "the JPEG just made is malformed");
    }
    return ERR_OK;
}

enum err_code picture_sign(const struct c2pa_signer *signer, const struct recipe *recipe,
                           struct picture *picture, struct err *e)
{
    struct c2pa_unsigned plain = { picture->file, picture->len, picture->file_sha };
    struct recipe_text text = recipe_text(recipe);
    uint8_t *file;
    size_t len;
    enum err_code rc;

    if (recipe->mark != RECIPE_MARK_C2PA)
        return ERR_OK;
    rc = c2pa_sign(signer, &text, &plain, &file, &len, e);
    if (rc)
        return rc;
    free(picture->file);
    picture->file = file;
    picture->len = len;
    picture->file_sha = digest_of(file, len);
    return ERR_OK;
}

void picture_release(struct picture *self)
{
    free(self->file);
    *self = (struct picture){ .file = NULL };
}
