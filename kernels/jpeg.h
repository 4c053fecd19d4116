/* jpeg -- RGB in, or its coefficients, the bytes of a JPEG file out: baseline, 4:2:0, standard
 * Huffman tables, JFIF header, integer ("islow") DCT. The same picture and quality give the same
 * bytes, whatever the encoder made before, with and without SIMD; a device that computes the
 * coefficients itself can meet them exactly (all of it is integer arithmetic).
 *
 * An encoder belongs to one thread at a time. It only ever encodes in this one mode: a libjpeg
 * handle that changes modes keeps the last one's Huffman tables and writes damaged files. */
#ifndef KERNELS_JPEG_H
#define KERNELS_JPEG_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

struct jpeg_encoder;

struct jpeg_picture {
    const uint8_t *rgb;             /* [height, width, 3]; of jpeg_encode */
    int width, height;              /* 1..65500 */
    int quality;                    /* 1..100, libjpeg's scale */
    const char *xmp;                /* packet for APP1, at most 65504 bytes; NULL: none */
    const int16_t *coefficients;    /* of jpeg_encode_coefficients: as jpeg_coefficients makes them
                                       with quality's tables (kernels/jpeg_transform.h) */
};

/* ERR_NOMEM. */
enum err_code jpeg_encoder_create(struct jpeg_encoder **out, struct err *e);
void jpeg_encoder_destroy(struct jpeg_encoder **self);

/* On success *out is the caller's to free(); on failure it is NULL and the encoder as good as new.
 * ERR_RANGE (size, quality or packet outside its limits), ERR_NOMEM, ERR_BUG (libjpeg's words). */
enum err_code jpeg_encode(struct jpeg_encoder *self, const struct jpeg_picture *picture,
                          uint8_t **out, size_t *len, struct err *e);

/* The same from coefficients, that is without colours, DCT and quantization: the file is the one that
 * jpeg_encode makes of the pixels that they were made of. */
enum err_code jpeg_encode_coefficients(struct jpeg_encoder *self,
                                       const struct jpeg_picture *picture, uint8_t **out,
                                       size_t *len, struct err *e);

/* "libjpeg-turbo-2.1.5-islow-420": recorded with every picture. The version is that of the headers
 * compiled against: the library tells no other at run time. Static. */
const char *jpeg_encoder_name(void);

#endif
