#include "base/segment.h"

#include <string.h>

static bool has_length(uint8_t marker)
{
    return marker != SEGMENT_SOI && marker != SEGMENT_EOI;
}

bool segment_next(const uint8_t *file, size_t len, size_t *at, struct segment *out)
{
    size_t i = *at;

    if (i >= len || file[i] != 0xff)
        return false;
    while (i < len && file[i] == 0xff)
        i++;
    if (i == len)
        return false;
    *out = (struct segment){ .marker = file[i], .start = file + i - 1, .len = 2 };
    /* Neither stuffing nor RSTn nor TEM has a place between segments. */
    if (out->marker <= SEGMENT_TEM || (out->marker >= SEGMENT_RST0 && out->marker <= SEGMENT_RST7))
        return false;
    i++;
    if (has_length(out->marker)) {
        size_t segment_len;

        if (len - i < 2)
            return false;
        segment_len = (size_t)file[i] << 8 | file[i + 1];
        if (segment_len < 2 || segment_len > len - i)
            return false;
        out->body = file + i + 2;
        out->body_len = segment_len - 2;
        out->len += segment_len;
        i += segment_len;
    }
    *at = i;
    return true;
}

bool segment_starts_with(const struct segment *self, const void *prefix, size_t prefix_len)
{
    return self->body_len >= prefix_len && memcmp(self->body, prefix, prefix_len) == 0;
}
