/* block -- what a piece of memory really takes, for the bounds in bytes. */
#ifndef BROKER_BLOCK_H
#define BROKER_BLOCK_H

#include <stddef.h>

enum {
    BLOCK_PLACE = 16,               /* of an item in a heap or a table, which double as they grow */
    BLOCK_MAPPED_MIN = 128 << 10,   /* from here on malloc may take whole pages */
    BLOCK_PAGE = 4096,
};

/* A malloc of that size, with glibc's head and rounding. */
static inline size_t block_bytes(size_t size)
{
    size_t whole = (size + sizeof(size_t) + 15) & ~(size_t)15;

    if (size >= BLOCK_MAPPED_MIN)
        return (size + 2 * sizeof(size_t) + BLOCK_PAGE - 1) / BLOCK_PAGE * BLOCK_PAGE;
    return whole < 32 ? 32 : whole;
}

#endif
