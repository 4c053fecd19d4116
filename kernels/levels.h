/* levels -- by how much two pictures of one size differ, in levels of 8 bit (0..255). */
#ifndef KERNELS_LEVELS_H
#define KERNELS_LEVELS_H

#include <stddef.h>
#include <stdint.h>

struct levels {
    int max;                        /* largest difference of a channel; 0: all are the same */
    double mean;                    /* mean difference of the channels */
    double psnr_db;                 /* 10 log10(255^2 / mean squared difference); 99 at most */
};
/* Of count values (three a pixel), 1 at least. */
struct levels levels_of(const uint8_t *a, const uint8_t *b, size_t count);
/* The same from a mean squared difference. */
double levels_psnr(double mean_square);

#endif
