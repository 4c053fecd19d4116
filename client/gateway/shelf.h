/* shelf -- pictures in memory, the least used ones dropped first. What is found is trusted for a
 * while after the broker last said that the picture stands; then it is to be asked again, so that a
 * withdrawal is heard. From any thread. */
#ifndef GATEWAY_SHELF_H
#define GATEWAY_SHELF_H

#include "base/metrics.h"
#include "client/gateway/permalink.h"
#include "client/gateway/picture.h"
#include "client/gateway/response.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shelf_options {
    size_t bytes_max;               /* of pictures and their books; 0: none is kept */
    int64_t fresh_ms;               /* how long one is trusted */
    /* The answer that everybody gets who asks for the picture by its permanent URL and nothing
     * special; made once, then shared. NULL is fine. */
    struct response *(*make)(void *arg, struct picture *picture);
    void *arg;
    struct metrics *metrics;
};

struct shelf;
enum err_code shelf_create(const struct shelf_options *options, struct shelf **out, struct err *e);
void shelf_destroy(struct shelf **self);

enum shelf_found { SHELF_FRESH, SHELF_OLD /* the broker is to be asked */, SHELF_NOTHING };
/* Both are the caller's to unref; NULL where it found nothing. ready (NULL: not wanted) may be NULL
 * all the same. */
enum shelf_found shelf_find(struct shelf *self, const struct permalink_key *key, int64_t now_ms,
                            struct picture **picture, struct response **ready);
/* Keeps a share of it. Trusted from now on. */
void shelf_put(struct shelf *self, struct picture *picture, int64_t now_ms);
/* The broker has said that it stands. */
void shelf_trust(struct shelf *self, const struct permalink_key *key, int64_t now_ms);
void shelf_drop(struct shelf *self, const struct permalink_key *key);

#endif
