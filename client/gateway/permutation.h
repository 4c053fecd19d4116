/* permutation -- all numbers below 2^bits in an order that only the key's owner knows: each comes
 * once before any comes twice, and a few of them tell nothing of the next. A Feistel network over
 * SHA-256 (Luby and Rackoff, "How to construct pseudorandom permutations from pseudorandom
 * functions", 1988). */
#ifndef GATEWAY_PERMUTATION_H
#define GATEWAY_PERMUTATION_H

#include "proto/digest.h"
#include "proto/err.h"

#include <stdint.h>

struct permutation {
    struct digest key;
    int bits;                       /* even, 2..32 */
};

struct permutation permutation_of(const struct digest *key, int bits);
/* A key of the system's random numbers, or out of a file of 16 bytes at least. ERR_FILE,
 * ERR_RANGE. */
enum err_code permutation_read_key(const char *path, struct digest *out, struct err *e);
enum err_code permutation_draw_key(struct digest *out, struct err *e);

/* n < 2^bits, as is what they give; one undoes the other. */
uint32_t permutation_apply(const struct permutation *self, uint32_t n);
uint32_t permutation_invert(const struct permutation *self, uint32_t n);

#endif
