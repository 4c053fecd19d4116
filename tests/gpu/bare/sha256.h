/* sha256 -- SHA-256 (FIPS 180-4) where there is no libcrypto: a machine with the CUDA toolkit and a
 * compiler. openssl/ beside this file gives it the names that proto/digest.c calls; nothing but the
 * checks of tests/gpu is built with it. tests/test_bare.c holds it to libcrypto. */
#ifndef TESTS_GPU_BARE_SHA256_H
#define TESTS_GPU_BARE_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct bare_sha256 {
    uint32_t h[8];
    uint64_t bytes;                 /* added so far */
    uint8_t block[64];              /* the first bytes % 64 of it are filled */
};

void bare_sha256_init(struct bare_sha256 *self);
void bare_sha256_add(struct bare_sha256 *self, const void *data, size_t len);
void bare_sha256_finish(struct bare_sha256 *self, uint8_t out[32]);

#endif
