/* album -- pictures in memory, the least used ones dropped first. What is found is trusted for a
 * while after the broker last said that the picture stands; then it is to be asked again, so that a
 * withdrawal is heard. From any thread. */
#ifndef GATEWAY_ALBUM_H
#define GATEWAY_ALBUM_H

#include "base/metrics.h"
#include "client/gateway/permalink.h"
#include "client/gateway/picture.h"
#include "client/gateway/response.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct album_options {
    size_t bytes_max;               /* of pictures and their books; 0: none is kept */
    int64_t fresh_ms;               /* how long one is trusted */
    /* The answer that everybody gets who asks for the picture by its permanent URL and nothing
     * special; made once, then shared. NULL is fine. */
    struct response *(*make)(void *arg, struct picture *picture);
    void *arg;
    struct metrics *metrics;
};

struct album;
enum err_code album_create(const struct album_options *options, struct album **out, struct err *e);
void album_destroy(struct album **self);

enum album_found { ALBUM_FRESH, ALBUM_OLD /* the broker is to be asked */, ALBUM_NOTHING };
/* Both are the caller's to unref; NULL where it found nothing. ready (NULL: not wanted) may be NULL
 * all the same. */
enum album_found album_find(struct album *self, const struct permalink_key *key, int64_t now_ms,
                            struct picture **picture, struct response **ready);
/* Keeps a share of it. Trusted from now on. */
void album_put(struct album *self, struct picture *picture, int64_t now_ms);
/* The broker has said that it stands. */
void album_trust(struct album *self, const struct permalink_key *key, int64_t now_ms);
void album_drop(struct album *self, const struct permalink_key *key);

#endif
