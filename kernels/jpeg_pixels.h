/* jpeg_pixels -- a JPEG file of any origin as RGB, by libjpeg-turbo. Every byte is hostile: sizes
 * are checked before memory is taken, scans are bounded, and what is cut short is refused rather
 * than filled with grey. Grey and CMYK (Adobe's way round) become RGB. */
#ifndef KERNELS_JPEG_PIXELS_H
#define KERNELS_JPEG_PIXELS_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum { JPEG_PIXELS_MAX = 100000000 };

/* On success *rgb [height, width, 3] is the caller's to free(); on failure it is NULL. ERR_FILE
 * (the words say what is wrong), ERR_NOMEM. */
enum err_code jpeg_pixels_read(const uint8_t *file, size_t len, uint8_t **rgb, int *width,
                               int *height, struct err *e);

#endif
