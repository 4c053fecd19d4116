/* likeness_index -- perceptual hashes of many pictures in memory, and which of them are most like a
 * query (base/likeness.h). Bounded in bytes: when it is full the pictures added first go. Belongs
 * to one thread. */
#ifndef BASE_LIKENESS_INDEX_H
#define BASE_LIKENESS_INDEX_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LIKENESS_NEAR = 18,             /* two windows at most so far apart are alike, by brightness as
                                       by their distance */
    LIKENESS_MATCHES_MAX = 128,
};

struct likeness_index;

/* bytes: at most so many are taken, as whole blocks of 1.1 MB (about 2500 pictures), but one. */
enum err_code likeness_index_create(size_t bytes, struct likeness_index **out, struct err *e);
void likeness_index_destroy(struct likeness_index **self);

/* Adds a picture as likeness_of_stored gave it, the whole first; count is even and at most 64, else
 * it is left out. ERR_NOMEM. */
enum err_code likeness_index_add(struct likeness_index *self, int64_t id, const uint64_t *hashes,
                                 size_t count, struct err *e);
size_t likeness_index_count(const struct likeness_index *self);
/* About how many fit. */
size_t likeness_index_capacity(const struct likeness_index *self);

struct likeness_match {
    int64_t id;
    int distance;                   /* of the nearest two windows: 0..LIKENESS_NEAR */
    uint32_t score;                 /* the sum over the query's windows of (2 * LIKENESS_NEAR - d)
                                       squared, d the bits by which the picture's nearest window
                                       differs, those too far apart left out */
};
/* The likeliest pictures for a query as likeness_of_query gave it, by score, then distance, then
 * id; at most max, LIKENESS_MATCHES_MAX at most. Returns how many; those without any window alike
 * are none. A query of one window is compared with whole pictures only, which is
 * hundreds of times faster. */
size_t likeness_index_search(const struct likeness_index *self, const uint64_t *query, size_t count,
                             struct likeness_match *matches, size_t max);

#endif
