#include "client/gateway/permutation.h"

#include "base/file.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { ROUNDS = 8, KEY_LEAST = 16, KEY_MOST = 4096 };

struct permutation permutation_of(const struct digest *key, int bits)
{
    return (struct permutation){ *key, bits };
}

enum err_code permutation_read_key(const char *path, struct digest *out, struct err *e)
{
    uint8_t *data;
    size_t len;
    enum err_code rc = file_read(path, KEY_MOST, &data, &len, e);

    if (rc)
        return rc;
    if (len < KEY_LEAST)
        rc = err_set(e, ERR_RANGE, "the key \"%.80s\" has %zu bytes; it needs %d at least", path,
                     len, KEY_LEAST);
    else
        *out = digest_of(data, len);
    OPENSSL_cleanse(data, len);
    free(data);
    return rc;
}

enum err_code permutation_draw_key(struct digest *out, struct err *e)
{
    if (getrandom(out->bytes, sizeof out->bytes, 0) != (ssize_t)sizeof out->bytes)
        return err_set(e, ERR_FILE, "the system gives no random numbers");
    return ERR_OK;
}

static uint32_t mix(const struct permutation *self, int round, uint32_t half)
{
    uint8_t text[DIGEST_LEN + 6];
    struct digest digest;

    memcpy(text, self->key.bytes, DIGEST_LEN);
    text[DIGEST_LEN] = (uint8_t)self->bits;
    text[DIGEST_LEN + 1] = (uint8_t)round;
    for (int i = 0; i < 4; i++)
        text[DIGEST_LEN + 2 + i] = (uint8_t)(half >> (8 * i));
    digest = digest_of(text, sizeof text);
    return (uint32_t)digest.bytes[0] | (uint32_t)digest.bytes[1] << 8;
}

/* (left, right) becomes (right, left ^ mix(right)), round by round; the halves have bits / 2. */
uint32_t permutation_apply(const struct permutation *self, uint32_t n)
{
    int half = self->bits / 2;
    uint32_t mask = (UINT32_C(1) << half) - 1, left = n >> half, right = n & mask;

    for (int round = 0; round < ROUNDS; round++) {
        uint32_t next = left ^ (mix(self, round, right) & mask);

        left = right;
        right = next;
    }
    return left << half | right;
}

uint32_t permutation_invert(const struct permutation *self, uint32_t n)
{
    int half = self->bits / 2;
    uint32_t mask = (UINT32_C(1) << half) - 1, left = n >> half, right = n & mask;

    for (int round = ROUNDS - 1; round >= 0; round--) {
        uint32_t before = right ^ (mix(self, round, left) & mask);

        right = left;
        left = before;
    }
    return left << half | right;
}
