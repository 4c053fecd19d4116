/* likeness -- perceptual hashes: bits that stay nearly the same when a picture is scaled,
 * recompressed or slightly changed; the number of bits that differ says how alike two are. Those of
 * a picture and of overlapping windows of it find candidates for what was cropped or framed; only
 * rendering a candidate and comparing it decides.
 *
 * A window has two hashes, one after the other:
 *     brightness  the DCT hash of pHash (Zauner, "Implementation and Benchmarking of Perceptual
 *                 Image Hash Functions", 2010, 3.2.1): luma, 32 x 32 by area, DCT-II, the 8 x 8
 *                 lowest frequencies against their median, without DC (bit 0 is never set)
 *     colour      the same of Cb (bits 0..31) and Cr (32..63), the 32 lowest frequencies of each in
 *                 JPEG's zigzag order without DC; 0: the picture has no colour there
 * Colour is what tells pictures of one model apart: base/README.md has the figures. All of it is
 * integer arithmetic, the same on every machine.
 *
 * A stored picture: the whole, then 25 windows of 4/7 of its shorter side. A query: the whole, what
 * lies inside of plain borders, then windows of that size if it is a crop of 60 to 95 %, for seven
 * sizes of crops.
 * Windows without contrast are left away, so that counts differ. */
#ifndef BASE_LIKENESS_H
#define BASE_LIKENESS_H

#include <stddef.h>
#include <stdint.h>

enum {
    LIKENESS_WINDOW = 2,            /* hashes of a window */
    LIKENESS_STORED_MAX = 52,       /* hashes of a stored picture */
    LIKENESS_MAX = 144,             /* hashes of a query */
};

/* Of pixels rgb[height][stride] with 3 bytes a pixel (stride in bytes): hashes as a stored picture
 * has them. Returns how many were written, always whole windows: at least one window for pictures
 * of 8 x 8 on; 0 for smaller ones, for sides above 500000 pixels and for want of memory. */
size_t likeness_of_stored(const uint8_t *rgb, int width, int height, size_t stride,
                          uint64_t hashes[LIKENESS_STORED_MAX]);
/* The same as a picture of unknown origin is asked for. */
size_t likeness_of_query(const uint8_t *rgb, int width, int height, size_t stride,
                         uint64_t hashes[LIKENESS_MAX]);
/* Bits by which a window's two hashes differ from another's; twice those of brightness where one of
 * them has no colour. Here, because a search asks it of millions. */
static inline int likeness_bits(uint64_t brightness, uint64_t colour,
                                const uint64_t other[LIKENESS_WINDOW])
{
    int bits = __builtin_popcountll(brightness ^ other[0]);

    return colour == 0 || other[1] == 0 ? 2 * bits
                                        : bits + __builtin_popcountll(colour ^ other[1]);
}

/* How far two windows are apart: half the bits that differ in both hashes, rounded down; of
 * brightness alone where one of them has no colour. 0..64. */
int likeness_distance(const uint64_t a[LIKENESS_WINDOW], const uint64_t b[LIKENESS_WINDOW]);

#endif
