/* key -- CURVE keys: pairs of 40 characters of Z85 each, and the files that hold them. NAME.key has
 * both, is its owner's alone (0600) and is refused where others may read it; NAME.pub has the
 * public one. Nothing here prints, logs or puts into an error what is secret. */
#ifndef BASE_KEY_H
#define BASE_KEY_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { KEY_SIZE = 41 };             /* with its NUL */

struct key_pair {
    char public_key[KEY_SIZE], secret_key[KEY_SIZE];
};

/* ERR_UNSUPPORTED: the message library was built without CURVE. */
enum err_code key_pair_create(struct key_pair *out, struct err *e);
/* Overwrites both. */
void key_pair_wipe(struct key_pair *self);

/* Reads NAME.key. ERR_FILE, in words: missing, readable by others, malformed, of two halves that do
 * not belong together. */
enum err_code key_pair_read(const char *path, struct key_pair *out, struct err *e);
/* Writes BASE.key and BASE.pub; name goes into their comments. Neither may be there before: a key
 * that is in use is not overwritten. ERR_FILE; nothing is left then. */
enum err_code key_pair_write(const struct key_pair *self, const char *base, const char *name,
                             struct err *e);

/* A public key from text: the 40 characters themselves, else the path of a .pub or .key file.
 * ERR_FILE. */
enum err_code key_find_public(const char *text, char out[KEY_SIZE], struct err *e);

/* The keys of a side that connects, as settings and options name them: both given or neither ("" or
 * NULL). *has says which. ERR_INVALID: one without the other; what reading them gives. */
enum err_code key_find_both(const char *key_file, const char *broker_key, struct key_pair *own,
                            char broker[KEY_SIZE], bool *has, struct err *e);

bool key_is_valid(const char *text, size_t len);

#endif
