/* keyring -- which public key has which role. A file of lines
 *     client|proxy|worker|admin  KEY  NAME
 * with blanks between, '#' lines and empty lines; KEY is 40 characters of Z85, NAME a word of up to
 * 64 printable characters for people. One thread reads it in again, any thread may ask. */
#ifndef BASE_KEYRING_H
#define BASE_KEYRING_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum { KEYRING_KEYS_MAX = 20000, KEYRING_NAME_MAX = 65 /* with its NUL */ };

enum keyring_role {
    KEYRING_NONE,                   /* not on it */
    KEYRING_CLIENT,                 /* asks for pictures */
    KEYRING_PROXY,                  /* a client that speaks for others */
    KEYRING_WORKER,
    KEYRING_ADMIN,                  /* a proxy that may also change what all see */
};
const char *keyring_role_word(enum keyring_role role);
/* KEYRING_NONE: no role has that word. */
enum keyring_role keyring_role_of_word(const char *word, size_t len);

struct keyring;
/* ERR_FILE, ERR_INVALID (names the line), ERR_NOMEM. */
enum err_code keyring_create(const char *path, struct keyring **out, struct err *e);
/* The same from text[0..len), which keyring_reload cannot read again. */
enum err_code keyring_create_text(const char *text, size_t len, struct keyring **out,
                                  struct err *e);
void keyring_destroy(struct keyring **self);

/* Reads the file again. On failure, as keyring_create's, everything stays as it was. */
enum err_code keyring_reload(struct keyring *self, struct err *e);

/* key is 40 characters or anything else, which is on no keyring. name may be NULL; else it is given
 * the key's name, "" if none. */
enum keyring_role keyring_find(const struct keyring *self, const char *key,
                               char name[KEYRING_NAME_MAX]);
/* Counts how often the file was read, from 1: what keyring_find said holds until it changes. */
int64_t keyring_generation(const struct keyring *self);
size_t keyring_count(const struct keyring *self);

#endif
