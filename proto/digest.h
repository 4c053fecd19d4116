/* digest -- SHA-256 and its hex form: recipe keys, model digests, file and core hashes.
 * libcrypto does the arithmetic. */
#ifndef PROTO_DIGEST_H
#define PROTO_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGEST_LEN = 32, DIGEST_HEX_LEN = 64 };

struct digest {
    uint8_t bytes[DIGEST_LEN];
};

struct digest_hex {
    char text[DIGEST_HEX_LEN + 1];   /* lower case, ends in NUL */
};

/* SHA-256 of data[0..len). */
struct digest digest_of(const void *data, size_t len);

/* Incremental: create, any number of adds, one finish that also destroys (sets *self NULL).
 * create gives NULL when there is no memory; with NULL add and finish do nothing (all zeros). */
struct digest_state;
struct digest_state *digest_create(void);
void digest_add(struct digest_state *self, const void *data, size_t len);
struct digest digest_finish(struct digest_state **self);

bool digest_equal(const struct digest *a, const struct digest *b);

/* By value: the text lives as long as the caller's copy. */
struct digest_hex digest_hex(const struct digest *self);

/* Reads exactly 64 lower-case hex digits; false (and *out untouched) otherwise. */
bool digest_parse(const char *text, size_t len, struct digest *out);

#endif
