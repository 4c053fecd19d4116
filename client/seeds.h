/* seeds -- the seeds of one command: "0-9,12" is ten seeds and one more, in the order given. */
#ifndef CLIENT_SEEDS_H
#define CLIENT_SEEDS_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than this is a bulk job, not something to wait for at a terminal. */
enum { SEEDS_MAX = 10000000 };

struct seed_range {
    uint32_t first, last;           /* inclusive */
};

struct seeds {
    struct seed_range *ranges;
    size_t range_count;
    uint32_t count;                 /* seeds in all, 1..SEEDS_MAX; named twice counts twice */
};

struct seeds_walk {                 /* a place in them; begins as { 0 } */
    size_t range;
    uint32_t offset;
};

/* "N" or "N-M", N <= M, each 0..4294967295, several with ',' between; no spaces. On success *out is
 * the caller's to release; on failure it is all zero. ERR_INVALID (names the part that is wrong),
 * ERR_RANGE (a seed too large, too many seeds), ERR_NOMEM. */
enum err_code seeds_parse(const char *text, struct seeds *out, struct err *e);
/* The same for work that nobody waits for: any number of seeds, which is not counted (out->count is
 * 0), in at most max ranges. */
enum err_code seeds_parse_ranges(const char *text, size_t max, struct seeds *out, struct err *e);
/* The same for a command's options: either seed, which names one, or seeds; the other is NULL. */
enum err_code seeds_choose(const char *seed, const char *seeds, struct seeds *out, struct err *e);
void seeds_release(struct seeds *self);

/* The next seed; false when there is none left. */
bool seeds_next(const struct seeds *self, struct seeds_walk *walk, uint32_t *seed);

#endif
