#include "client/histogram.h"

#include <stddef.h>

enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, SHARE_ALL = 100000 };

static size_t bucket_of(int64_t us)
{
    int exponent;
    size_t at;

    if (us < SUB)
        return us > 0 ? (size_t)us : 0;
    exponent = 63 - __builtin_clzll((unsigned long long)us) - SUB_BITS;
    at = ((size_t)exponent << SUB_BITS) + (size_t)(us >> exponent);
    return at < HISTOGRAM_BUCKETS ? at : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into it. */
static int64_t top_of(size_t bucket)
{
    size_t exponent = bucket < 2 * SUB ? 0 : (bucket >> SUB_BITS) - 1;

    return (int64_t)((((bucket - (exponent << SUB_BITS)) + 1) << exponent) - 1);
}

void histogram_add(struct histogram *self, int64_t us)
{
    self->bucket[bucket_of(us)]++;
    self->count++;
    self->max_us = us > self->max_us ? us : self->max_us;
}

void histogram_merge(struct histogram *self, const struct histogram *other)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        self->bucket[i] += other->bucket[i];
    self->count += other->count;
    self->max_us = other->max_us > self->max_us ? other->max_us : self->max_us;
}

int64_t histogram_percentile(const struct histogram *self, int64_t share)
{
    int64_t wanted = (self->count * share + SHARE_ALL - 1) / SHARE_ALL, seen = 0;

    for (size_t i = 0; i < HISTOGRAM_BUCKETS - 1 && wanted > 0; i++) {
        seen += self->bucket[i];
        if (seen >= wanted)
            return top_of(i) < self->max_us ? top_of(i) : self->max_us;
    }
    return self->max_us;
}
