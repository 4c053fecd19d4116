/* What proto/digest.c calls of libcrypto, by sha256: no other digest is here. */
#ifndef TESTS_GPU_BARE_EVP_H
#define TESTS_GPU_BARE_EVP_H

#include "tests/gpu/bare/sha256.h"

#include <stdlib.h>

typedef struct bare_sha256 EVP_MD_CTX;

static inline EVP_MD_CTX *EVP_MD_CTX_new(void)
{
    return malloc(sizeof(EVP_MD_CTX));
}

static inline void EVP_MD_CTX_free(EVP_MD_CTX *ctx)
{
    free(ctx);
}

static inline const void *EVP_sha256(void)
{
    return NULL;
}

static inline int EVP_DigestInit_ex(EVP_MD_CTX *ctx, const void *type, void *engine)
{
    (void)type;
    (void)engine;
    bare_sha256_init(ctx);
    return 1;
}

static inline int EVP_DigestUpdate(EVP_MD_CTX *ctx, const void *data, size_t len)
{
    bare_sha256_add(ctx, data, len);
    return 1;
}

static inline int EVP_DigestFinal_ex(EVP_MD_CTX *ctx, unsigned char *out, unsigned *len)
{
    (void)len;
    bare_sha256_finish(ctx, out);
    return 1;
}

#endif
