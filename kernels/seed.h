/* seed -- from a seed to latents: the normal numbers of numpy's legacy RandomState(seed).randn, bit
 * for bit, because that is how every official tool names its pictures.
 *
 * Source: Matsumoto and Nishimura's MT19937 with its scalar initialiser; 53-bit doubles from two
 * outputs; Marsaglia's polar method, whose second value comes out first. All in double. */
#ifndef KERNELS_SEED_H
#define KERNELS_SEED_H

#include <stdbool.h>
#include <stdint.h>

enum { SEED_WORDS = 624 };

struct seed_stream {
    uint32_t word[SEED_WORDS];
    int index;                      /* of the next word; SEED_WORDS: draw new ones first */
    bool has_kept;
    double kept;                    /* the polar method makes two values at a time */
};

void seed_init(struct seed_stream *self, uint32_t seed);
/* The next number of the normal distribution. */
double seed_normal(struct seed_stream *self);

#endif
