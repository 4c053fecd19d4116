/* compare -- whether one picture is a scaled, cropped or framed copy of another, and how it lies in
 * it. By how much pictures of one size differ, pixel by pixel, says kernels/levels.h. */
#ifndef CLIENT_COMPARE_H
#define CLIENT_COMPARE_H

#include "client/image.h"

#include "kernels/levels.h"

#include <stdbool.h>

/* Where an original lies in a picture, and how well it fits there. Rotated and mirrored copies are
 * not looked for. */
struct compare_fit {
    double correlation;             /* normalised cross-correlation of luma where both are, -1..1;
                                       brightness and contrast do not count. 0: nothing found */
    double x, y;                    /* the original's upper left corner, in pixels of the picture */
    double scale_x, scale_y;        /* pixels of the picture for one of the original */
    double shows;                   /* how much of the original the picture shows, 0..1 */
    double covers;                  /* how much of the picture that is, 0..1 */
    double pixels;                  /* that were compared, at the size of the smaller one */
    double difference;              /* of their colours' means over 8 x 8 pixels: root mean square, in
                                       levels (0..255); compression hardly shows in means */
};
/* Looks from coarse to fine over scales at which the original is 0.4 to 2.2 times as wide as the
 * picture, at offsets where both share at least half of the smaller. Bounded work whatever the
 * size: both are first brought to at most 512 pixels a side. ERR_FILE: one has less than 8 pixels a
 * side; ERR_NOMEM. */
enum err_code compare_fit(const struct image *picture, const struct image *original,
                          struct compare_fit *out, struct err *e);

/* Whether a fit shows that the picture was made from the original; and whether it is at least worth
 * naming. Pictures of one model are alike: of 1500 avatars two unlike ones correlate by 0.989, so
 * that only their colours tell them apart. All limits were chosen by measurement
 * (tests/bench/RESULTS.md, "Finding a picture again"). The limit of levels is for 64 x 64 pixels and
 * more, and smaller with the side of less; too few pixels confirm nothing. */
#define COMPARE_CONFIRMED_LEVELS 3.2
#define COMPARE_CONFIRMED 0.95
#define COMPARE_POSSIBLE 0.90
enum { COMPARE_PIXELS_MIN = 28 * 28 };
bool compare_confirms(const struct compare_fit *fit);
bool compare_resembles(const struct compare_fit *fit);

#endif
