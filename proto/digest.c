/* A recipe key is asked for with every picture. OpenSSL 3 looks the algorithm up anew in each of its
 * one-shot calls, 2.9 us for 260 bytes; the older functions below it take 0.4 us. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "proto/digest.h"

#include <endian.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

struct digest digest_of(const void *data, size_t len)
{
    struct digest d;
    SHA256_CTX state;

    SHA256_Init(&state);
    SHA256_Update(&state, data, len);
    SHA256_Final(d.bytes, &state);
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

/* Every byte of an answer's five digests comes by here: eight digits at a time, one in each byte. */
static uint64_t hex_of(const uint8_t four[4])
{
    const uint64_t ones = 0x0101010101010101;
    uint64_t v;
    uint32_t word;

    memcpy(&word, four, sizeof word);
    v = le32toh(word);
    v = (v | v << 16) & 0x0000ffff0000ffff;
    v = (v | v << 8) & 0x00ff00ff00ff00ff;

    uint64_t digits = (v >> 4 | v << 8) & 15 * ones;
    uint64_t letters = (digits + 6 * ones) >> 4 & ones;     /* 1 from 10 on */

    return digits + '0' * ones + letters * ('a' - '0' - 10);
}

struct digest_hex digest_hex(const struct digest *self)
{
    struct digest_hex h;

    for (int i = 0; i < DIGEST_LEN; i += 4) {
        uint64_t text = htole64(hex_of(&self->bytes[i]));

        memcpy(&h.text[2 * i], &text, sizeof text);
    }
    h.text[DIGEST_HEX_LEN] = '\0';
    return h;
}

/* One more than what the digit stands for; 0: no lower-case hex digit. */
static const uint8_t DIGITS[256] = {
    ['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

bool digest_parse(const char *text, size_t len, struct digest *out)
{
    const uint8_t *at = (const uint8_t *)text;
    struct digest d;
    unsigned seen = 0;

    if (len != DIGEST_HEX_LEN)
        return false;
    for (int i = 0; i < DIGEST_LEN; i++, at += 2) {
        unsigned hi = DIGITS[at[0]] - 1u, lo = DIGITS[at[1]] - 1u;

        seen |= hi | lo;             /* what is no digit sets high bits */
        d.bytes[i] = (uint8_t)(hi << 4 | lo);
    }
    if (seen > 15)
        return false;
    *out = d;
    return true;
}
