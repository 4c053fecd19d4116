#ifndef TESTS_GPU_BARE_SHA_H
#define TESTS_GPU_BARE_SHA_H

#include "tests/gpu/bare/sha256.h"

typedef struct bare_sha256 SHA256_CTX;

static inline int SHA256_Init(SHA256_CTX *state)
{
    bare_sha256_init(state);
    return 1;
}

static inline int SHA256_Update(SHA256_CTX *state, const void *data, size_t len)
{
    bare_sha256_add(state, data, len);
    return 1;
}

static inline int SHA256_Final(unsigned char *out, SHA256_CTX *state)
{
    bare_sha256_finish(state, out);
    return 1;
}

#endif
