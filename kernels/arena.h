/* arena -- memory that is taken bit by bit and given back all at once. */
#ifndef KERNELS_ARENA_H
#define KERNELS_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {                      /* all zero: empty */
    struct arena_chunk *chunks;     /* the newest first */
    size_t used, room;              /* bytes of the newest */
};

/* bytes of memory, all zero, aligned for anything; NULL when there is none. */
void *arena_take(struct arena *self, size_t bytes);
/* Frees all that was taken; self is empty again. */
void arena_release(struct arena *self);

#endif
