/* items -- what a bulk job is made of: from an item's number to its seed and its whole recipe.
 * Memory and time go with the job's ranges, never with its pictures. */
#ifndef CLIENT_ITEMS_H
#define CLIENT_ITEMS_H

#include "client/seedpress.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Item n of the range is seed first + n - item; its recipe is recipe with that seed and, with
 * class_mod, class seed % class_mod. */
struct items_range {
    int64_t item;                   /* number of its first one */
    uint32_t first, last;           /* seeds, inclusive */
    int class_mod;                  /* 0: the recipe's class */
    struct recipe recipe;           /* of seed first */
};

struct items {
    struct items_range *ranges;     /* [count], by item, without gaps */
    size_t count;                   /* 1..SEEDPRESS_PARTS_MAX */
    int64_t total;
};

/* Checks that ranges begin at item 0, have no gap, and that each recipe is canonical and of its
 * first seed and class. On success *out is the caller's to release; on failure it is all zero.
 * ERR_INVALID (names the range, from 0), ERR_NOMEM. */
enum err_code items_init(struct items *out, const struct seedpress_range *ranges, size_t count,
                         struct err *e);
void items_release(struct items *self);

/* The range in which an item lies; 0 <= item < total. */
const struct items_range *items_range_of(const struct items *self, int64_t item);
/* An item's recipe; likewise. */
struct recipe items_recipe(const struct items *self, int64_t item);

/* True when both give the same recipe for every item, range by range. */
bool items_are_same(const struct items *a, const struct items *b);

/* A request for the pictures of a range: model, options and class as its recipe says them, so that
 * a broker resolves the same recipe. Seeds are the caller's to set, and the class where the range
 * has class_mod. Its texts lie in *room, which must stay as long as it. */
struct items_room {
    char model[SEEDPRESS_HEX];
    double matrix[9];
};
void items_request(const struct items_range *range, struct items_room *room,
                   struct seedpress_request *out);

#endif
