#ifndef TESTS_GPU_BARE_SHA_H
#define TESTS_GPU_BARE_SHA_H

#include "tests/gpu/bare/sha256.h"

static inline unsigned char *SHA256(const void *data, size_t len, unsigned char *out)
{
    struct bare_sha256 state;

    bare_sha256_init(&state);
    bare_sha256_add(&state, data, len);
    bare_sha256_finish(&state, out);
    return out;
}

#endif
