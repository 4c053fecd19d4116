#include "base/recent.h"

#include <string.h>

enum { SLOT_MS = 10000, EXACT = 16 /* values below have a bucket each */, STEPS = 8 };

/* Powers of two from 16 on, each cut into eighths. */
static int bucket_of(int64_t value)
{
    int power;

    if (value < EXACT)
        return value < 0 ? 0 : (int)value;
    if (value > INT32_MAX)
        value = INT32_MAX;
    power = 63 - __builtin_clzll((unsigned long long)value);
    return EXACT + (power - 4) * STEPS + (int)(value >> (power - 3) & (STEPS - 1));
}

/* The largest value that falls into a bucket. */
static int64_t top_of(int bucket)
{
    int step, power;

    if (bucket < EXACT)
        return bucket;
    power = (bucket - EXACT) / STEPS + 4;
    step = (bucket - EXACT) % STEPS;
    return ((int64_t)(STEPS + step + 1) << (power - 3)) - 1;
}

void recent_init(struct recent *self, int64_t now_ms)
{
    memset(self, 0, sizeof *self);
    self->slot = now_ms / SLOT_MS;
}

static void turn(struct recent *self, int64_t now_ms)
{
    int64_t slot = now_ms / SLOT_MS;

    if (slot - self->slot >= RECENT_SLOTS)
        recent_init(self, now_ms);
    while (self->slot < slot)
        memset(self->counts[++self->slot % RECENT_SLOTS], 0, sizeof self->counts[0]);
}

void recent_add(struct recent *self, int64_t now_ms, int64_t value)
{
    turn(self, now_ms);
    self->counts[self->slot % RECENT_SLOTS][bucket_of(value)]++;
}

int64_t recent_quantile(struct recent *self, int64_t now_ms, int permille)
{
    int64_t all = 0, rank, seen = 0;

    turn(self, now_ms);
    for (int slot = 0; slot < RECENT_SLOTS; slot++)
        for (int i = 0; i < RECENT_BUCKETS; i++)
            all += self->counts[slot][i];
    rank = (all * permille + 999) / 1000;
    for (int i = 0; all > 0 && i < RECENT_BUCKETS; i++) {
        for (int slot = 0; slot < RECENT_SLOTS; slot++)
            seen += self->counts[slot][i];
        if (seen >= rank && seen > 0)
            return top_of(i);
    }
    return 0;
}
