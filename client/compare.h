/* compare -- how alike two pictures are: pixel by pixel where they have the same size, and where one
 * is a scaled, cropped or framed copy of the other, by finding how it lies in the other first. */
#ifndef CLIENT_COMPARE_H
#define CLIENT_COMPARE_H

#include "client/image.h"

#include <stdbool.h>

/* Levels are those of 8 bit, 0..255. */
struct compare_levels {
    bool same;                      /* every pixel is */
    int max;                        /* largest difference of a channel */
    double mean;                    /* mean difference of the channels */
    double psnr_db;                 /* 10 log10(255^2 / mean squared difference); 99 when same */
};
/* False, and *out undefined, when they differ in size. */
bool compare_levels(const struct image *a, const struct image *b, struct compare_levels *out);

/* Where an original lies in a picture, and how well it fits there. Rotated and mirrored copies are
 * not looked for. */
struct compare_fit {
    double correlation;             /* normalised cross-correlation of luma where both are, -1..1;
                                       brightness and contrast do not count. 0: nothing found */
    double x, y;                    /* the original's upper left corner in the picture, its pixels */
    double scale_x, scale_y;        /* pixels of the picture for one of the original */
    double shared;                  /* of the smaller of both (in the picture): how much both show */
    double psnr_db;                 /* of luma where both are, at the size compared; 99 at most */
};
/* Looks from coarse to fine over scales at which the original is 0.4 to 2.2 times as wide as the
 * picture, at offsets where both share at least half of the smaller. Bounded work whatever the size:
 * both are first brought to at most 512 pixels a side. ERR_FILE: one has less than 8 pixels a
 * side; ERR_NOMEM. */
enum err_code compare_fit(const struct image *picture, const struct image *original,
                          struct compare_fit *out, struct err *e);

/* Correlation from which a picture counts as made from an original. Chosen by measurement:
 * tests/bench/RESULTS.md, "Finding a picture again". */
#define COMPARE_CONFIRMED 0.97

#endif
