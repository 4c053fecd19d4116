#include "client/gateway/picture.h"

#include "proto/digest.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_DIGITS = 32 };

/* The count stands before what everybody may read. */
struct counted {
    atomic_int users;
    struct picture picture;
};

static struct counted *counted_of(struct picture *picture)
{
    return (struct counted *)(void *)((char *)picture - offsetof(struct counted, picture));
}

void picture_write_tag(const char *recipe, char out[PICTURE_TAG_MAX])
{
    snprintf(out, PICTURE_TAG_MAX, "W/\"%.*s\"", TAG_DIGITS, recipe);
}

static void write_digest(const char *sha256, char out[PICTURE_DIGEST_MAX])
{
    unsigned char text[4 * ((DIGEST_LEN + 2) / 3) + 1];
    struct digest digest = { { 0 } };

    digest_parse(sha256, DIGEST_HEX_LEN, &digest);
    EVP_EncodeBlock(text, digest.bytes, DIGEST_LEN);
    snprintf(out, PICTURE_DIGEST_MAX, "sha-256=:%s:", (const char *)text);
}

struct picture *picture_create(const struct permalink_key *key,
                               const struct seedpress_image *image)
{
    struct counted *self = malloc(sizeof *self + image->len);
    struct picture *p;

    if (!self)
        return NULL;
    atomic_init(&self->users, 1);
    p = &self->picture;
    p->key = *key;
    memcpy(p->recipe, image->recipe_key, sizeof p->recipe);
    picture_write_tag(p->recipe, p->tag);
    write_digest(image->sha256, p->digest);
    p->len = image->len;
    memcpy(p->data, image->data, image->len);
    return p;
}

struct picture *picture_ref(struct picture *self)
{
    atomic_fetch_add_explicit(&counted_of(self)->users, 1, memory_order_relaxed);
    return self;
}

void picture_unref(struct picture **self)
{
    if (*self &&
        atomic_fetch_sub_explicit(&counted_of(*self)->users, 1, memory_order_acq_rel) == 1)
        free(counted_of(*self));
    *self = NULL;
}

/* Both sides are compared without W/: If-None-Match compares weakly (RFC 9110, 13.1.2). */
bool picture_tag_is_in(const char *list, const char *tag)
{
    const char *bare = strncmp(tag, "W/", 2) == 0 ? tag + 2 : tag;
    size_t len = strlen(bare);

    if (strcmp(list, "*") == 0)
        return true;
    for (const char *at = list; *at;) {
        size_t part;

        at += strspn(at, ", \t");
        if (strncmp(at, "W/", 2) == 0)
            at += 2;
        part = strcspn(at, ", \t");
        if (part == len && memcmp(at, bare, len) == 0)
            return true;
        at += part;
    }
    return false;
}
