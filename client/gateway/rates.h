/* rates -- how often each visitor may ask: a bucket of tokens each, for as many visitors as there
 * is room for; beyond that the one not seen for longest is forgotten. From any thread. */
#ifndef GATEWAY_RATES_H
#define GATEWAY_RATES_H

#include "base/metrics.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stdint.h>

struct rates_options {
    int64_t rate;                   /* questions a second; 0: any number */
    int64_t burst;                  /* that may come at once */
    size_t visitors_max;
    struct metrics *metrics;        /* borrowed, NULL is fine */
};

struct rates;
enum err_code rates_create(const struct rates_options *options, struct rates **out, struct err *e);
void rates_destroy(struct rates **self);

/* Takes a token. False: there is none, and *retry_ms is when there will be one. */
bool rates_take(struct rates *self, const char *visitor, int64_t now_ms, int *retry_ms);
/* What one question costs beyond its token; who has not so many owes them, up to burst.
 * Negative gives back. */
void rates_charge(struct rates *self, const char *visitor, int64_t now_ms, int64_t tokens);

#endif
