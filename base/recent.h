/* recent -- quantiles of what the last minute brought, in memory that does not grow: counts in
 * buckets that are an eighth of their value wide, forgotten ten seconds at a time. */
#ifndef BASE_RECENT_H
#define BASE_RECENT_H

#include <stdint.h>

enum {
    RECENT_SLOTS = 7,               /* six whole ones and the one that is being filled */
    RECENT_BUCKETS = 16 + 27 * 8,   /* up to 2^31 - 1 */
};

struct recent {
    int64_t slot;                   /* number of the one being filled */
    uint32_t counts[RECENT_SLOTS][RECENT_BUCKETS];
};

void recent_init(struct recent *self, int64_t now_ms);
/* value >= 0; what is larger than 2^31 - 1 counts as that. */
void recent_add(struct recent *self, int64_t now_ms, int64_t value);
/* The value that permille of 1000 do not exceed, at most an eighth too large; 0 when the last
 * minute brought nothing. */
int64_t recent_quantile(struct recent *self, int64_t now_ms, int permille);

#endif
