#include "proto/digest.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

static const char HEX[] = "0123456789abcdef";

struct digest digest_of(const void *data, size_t len)
{
    struct digest d;

    SHA256(data, len, d.bytes);
    return d;
}

struct digest_state *digest_create(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        ctx = NULL;
    }
    return (struct digest_state *)ctx;   /* opaque: the header shows no OpenSSL type */
}

void digest_add(struct digest_state *self, const void *data, size_t len)
{
    if (self)
        EVP_DigestUpdate((EVP_MD_CTX *)self, data, len);
}

struct digest digest_finish(struct digest_state **self)
{
    struct digest d = { { 0 } };

    if (*self) {
        EVP_DigestFinal_ex((EVP_MD_CTX *)*self, d.bytes, NULL);
        EVP_MD_CTX_free((EVP_MD_CTX *)*self);
        *self = NULL;
    }
    return d;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, DIGEST_LEN) == 0;
}

struct digest_hex digest_hex(const struct digest *self)
{
    struct digest_hex h;

    for (int i = 0; i < DIGEST_LEN; i++) {
        h.text[2 * i] = HEX[self->bytes[i] >> 4];
        h.text[2 * i + 1] = HEX[self->bytes[i] & 15];
    }
    h.text[DIGEST_HEX_LEN] = '\0';
    return h;
}

bool digest_parse(const char *text, size_t len, struct digest *out)
{
    struct digest d;

    if (len != DIGEST_HEX_LEN)
        return false;
    for (int i = 0; i < DIGEST_LEN; i++) {
        const char *hi = memchr(HEX, text[2 * i], 16), *lo = memchr(HEX, text[2 * i + 1], 16);

        if (!hi || !lo)
            return false;
        d.bytes[i] = (uint8_t)((hi - HEX) << 4 | (lo - HEX));
    }
    *out = d;
    return true;
}
