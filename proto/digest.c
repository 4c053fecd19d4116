/* A recipe key is asked for with every picture. OpenSSL 3 looks the algorithm up anew in each of
 * its one-shot calls, which for 260 bytes takes longer than the hash itself; the older functions
 * below it do not. */
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

/* Every byte of an answer's four digests comes by here: eight digits at a time, one a byte. */
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

/* Four bytes of what eight characters say, if they are hex digits; else of anything. Bit 6 tells
 * letters from digits. */
static uint32_t bytes_of(uint64_t text)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t digits = (text & 0x0f * ones) + 9 * (text >> 6 & ones);
    uint64_t bytes = (digits << 4 | digits >> 8) & UINT64_C(0x00ff00ff00ff00ff);

    bytes = (bytes | bytes >> 8) & UINT64_C(0x0000ffff0000ffff);
    return (uint32_t)(bytes | bytes >> 16);
}

bool digest_parse(const char *text, size_t len, struct digest *out)
{
    struct digest d;

    if (len != DIGEST_HEX_LEN)
        return false;
    for (int i = 0; i < DIGEST_LEN; i += 4) {
        uint64_t eight;
        uint32_t four;

        memcpy(&eight, text + 2 * i, sizeof eight);
        four = htole32(bytes_of(le64toh(eight)));
        memcpy(&d.bytes[i], &four, sizeof four);
    }
    if (memcmp(digest_hex(&d).text, text, DIGEST_HEX_LEN) != 0)
        return false;               /* something else than a digit stood there */
    *out = d;
    return true;
}
