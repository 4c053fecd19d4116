/* quantize -- a picture's floats to 8 bit, planes to pixels:
 *     out[p,c] = truncate(clamp(x[c,p] * 127.5 + 128, 0, 255))
 * Source: the generate tools of every official repository; multiply and add are rounded apart. */
#ifndef KERNELS_QUANTIZE_H
#define KERNELS_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* x [3, pixels], out [pixels, 3]. False when a value is not finite: out is then not to be used. */
bool quantize_cpu(uint8_t *out, const float *x, size_t pixels);

#endif
