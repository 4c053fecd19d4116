/* segment -- one step after the other over a JPEG's segments (ITU T.81, annex B), up to what is
 * entropy-coded. Every byte is hostile. */
#ifndef BASE_SEGMENT_H
#define BASE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SEGMENT_TEM = 0x01, SEGMENT_RST0 = 0xd0, SEGMENT_RST7 = 0xd7, SEGMENT_SOI = 0xd8,
    SEGMENT_EOI = 0xd9, SEGMENT_SOS = 0xda, SEGMENT_APP0 = 0xe0, SEGMENT_APP1 = 0xe1,
    SEGMENT_APP11 = 0xeb, SEGMENT_APP14 = 0xee, SEGMENT_APP15 = 0xef, SEGMENT_COM = 0xfe,
};

struct segment {
    uint8_t marker;
    const uint8_t *start;           /* of its FF; fill bytes before it are not of it */
    const uint8_t *body;            /* behind marker and length */
    size_t body_len;
    size_t len;                     /* from start */
};

/* The segment that begins at *at, after any fill bytes; steps *at behind it. False at the end, on
 * anything that is no marker, and on a length that is too small or goes past the end. */
bool segment_next(const uint8_t *file, size_t len, size_t *at, struct segment *out);
bool segment_starts_with(const struct segment *self, const void *prefix, size_t prefix_len);

#endif
