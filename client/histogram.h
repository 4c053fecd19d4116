/* histogram -- how often which duration came. Buckets widen with the value, 64 to each doubling, so
 * that a percentile is right to 1.6 % and its memory is 18 KB whatever comes. */
#ifndef CLIENT_HISTOGRAM_H
#define CLIENT_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 36 * 64 };

struct histogram {                  /* begins as { 0 } */
    int64_t count, max_us;
    int64_t bucket[HISTOGRAM_BUCKETS];
};

/* Below 0 counts as 0; beyond 2^41 us (25 days) only max_us is right. */
void histogram_add(struct histogram *self, int64_t us);
void histogram_merge(struct histogram *self, const struct histogram *other);
/* The least duration that at least share hundred-thousandths of all do not exceed: 50000 gives the
 * median, 99900 p99.9, 100000 the maximum. 0 when nothing was added. */
int64_t histogram_percentile(const struct histogram *self, int64_t share);

#endif
