/* likeness -- perceptual hashes: 64 bits that stay nearly the same when a picture is scaled,
 * recompressed or slightly changed; the number of bits that differ says how alike two are. Those of
 * a picture and of overlapping windows of it find candidates for what was cropped or framed; only
 * rendering a candidate and comparing it decides.
 *
 * The hash is pHash of the field: luma, 32 x 32 by area, DCT-II, the 8 x 8 lowest frequencies
 * without DC against their median. */
#ifndef BASE_LIKENESS_H
#define BASE_LIKENESS_H

#include <stddef.h>
#include <stdint.h>

enum { LIKENESS_MAX = 64 };         /* hashes of one picture */

/* Of pixels rgb[height][stride] with 3 bytes a pixel (stride in bytes): the whole, then windows as a
 * stored picture has them. Returns how many were written; at least 1 for pictures of 8 x 8 on. */
size_t likeness_of_stored(const uint8_t *rgb, int width, int height, size_t stride,
                          uint64_t hashes[LIKENESS_MAX]);
/* The same as a picture of unknown origin is asked for: the whole, and windows that leave away what
 * may be a border. */
size_t likeness_of_query(const uint8_t *rgb, int width, int height, size_t stride,
                         uint64_t hashes[LIKENESS_MAX]);
/* Bits that differ: 0..64. */
int likeness_distance(uint64_t a, uint64_t b);

#endif
