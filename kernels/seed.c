#include "kernels/seed.h"

#include <math.h>

enum { SHIFT = 397 };           /* MT19937's m */

void seed_init(struct seed_stream *self, uint32_t seed)
{
    self->word[0] = seed;
    for (uint32_t i = 1; i < SEED_WORDS; i++) {
        uint32_t before = self->word[i - 1];

        self->word[i] = 1812433253u * (before ^ before >> 30) + i;
    }
    self->index = SEED_WORDS;
    self->has_kept = false;
    self->kept = 0.0;
}

static void draw_words(struct seed_stream *self)
{
    uint32_t *w = self->word;

    for (int i = 0; i < SEED_WORDS; i++) {
        uint32_t joined = (w[i] & 0x80000000u) | (w[(i + 1) % SEED_WORDS] & 0x7fffffffu);

        w[i] = w[(i + SHIFT) % SEED_WORDS] ^ joined >> 1 ^ (joined & 1 ? 0x9908b0dfu : 0);
    }
    self->index = 0;
}

static uint32_t next_word(struct seed_stream *self)
{
    if (self->index == SEED_WORDS)
        draw_words(self);
    uint32_t v = self->word[self->index++];

    v ^= v >> 11;
    v ^= v << 7 & 0x9d2c5680u;
    v ^= v << 15 & 0xefc60000u;
    return v ^ v >> 18;
}

/* Uniform in [0, 1), 53 bits. */
static double next_uniform(struct seed_stream *self)
{
    uint32_t high = next_word(self) >> 5, low = next_word(self) >> 6;

    return (high * 67108864.0 + low) / 9007199254740992.0;
}

double seed_normal(struct seed_stream *self)
{
    double p, q, r;

    if (self->has_kept) {
        self->has_kept = false;
        return self->kept;
    }
    do {
        p = 2.0 * next_uniform(self) - 1.0;
        q = 2.0 * next_uniform(self) - 1.0;
        r = p * p + q * q;
    } while (r >= 1.0 || r == 0.0);
    double scale = sqrt(-2.0 * log(r) / r);

    self->kept = scale * p;
    self->has_kept = true;
    return scale * q;
}
