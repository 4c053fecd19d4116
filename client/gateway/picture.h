/* picture -- a picture's file and what its headers say, shared by all who send it: it does not
 * change, and is counted. */
#ifndef GATEWAY_PICTURE_H
#define GATEWAY_PICTURE_H

#include "client/gateway/permalink.h"
#include "client/seedpress.h"

#include <stddef.h>
#include <stdint.h>

enum { PICTURE_TAG_MAX = 48, PICTURE_DIGEST_MAX = 64 };

struct picture_times {              /* ms */
    int64_t queue, render, encode, store;
    int source;                     /* enum seedpress_source */
};

struct picture {
    struct permalink_key key;
    char recipe[SEEDPRESS_HEX];     /* its recipe's key */
    char tag[PICTURE_TAG_MAX];      /* W/"..." */
    char digest[PICTURE_DIGEST_MAX];/* sha-256=:...: */
    size_t len;
    uint8_t data[];
};

/* A copy of image's bytes. NULL: no memory. */
struct picture *picture_create(const struct permalink_key *key,
                               const struct seedpress_image *image);
struct picture *picture_ref(struct picture *self);
void picture_unref(struct picture **self);

/* W/"<32 hex digits of the recipe's key>" */
void picture_write_tag(const char *recipe, char out[PICTURE_TAG_MAX]);
/* Whether an If-None-Match header names the tag. "*" names every one. */
bool picture_tag_is_in(const char *list, const char *tag);

#endif
