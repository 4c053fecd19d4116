/* composition -- what a composite is made of: "rooms:4,host:1:2" as models, counts and classes, and
 * the seed of each picture, which follows from the composite's own. */
#ifndef GATEWAY_COMPOSITION_H
#define GATEWAY_COMPOSITION_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum { COMPOSITION_PICTURES_MAX = 100 };

struct composition_part {
    char name[65], digest[65];      /* as permalink_read_model gives them */
    int count;                      /* 1.. */
    int class_index;                /* -1: none was said */
};

struct composition {
    struct composition_part part[COMPOSITION_PICTURES_MAX];
    size_t part_count;
    size_t count;                   /* pictures of all parts, 1..COMPOSITION_PICTURES_MAX */
};

/* ERR_INVALID, ERR_RANGE: e says which part. *out is then undefined. */
enum err_code composition_read(const char *text, struct composition *out, struct err *e);

/* Of picture index (from 0) of a model, by its whole digest: the same for the same question, unlike
 * for unlike ones. A model that is named twice shows the same pictures twice. */
uint32_t composition_seed(uint32_t seed, const char *digest, int index);

#endif
