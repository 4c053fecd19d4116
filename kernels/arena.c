#include "kernels/arena.h"

#include <stdalign.h>
#include <stdlib.h>

enum { ALIGN = alignof(max_align_t), CHUNK_MIN = 2048, CHUNK_MAX = 1 << 18 };

struct arena_chunk {
    struct arena_chunk *next;
    alignas(ALIGN) unsigned char bytes[];
};

void *arena_take(struct arena *self, size_t bytes)
{
    size_t need = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;

    if (need < bytes)
        return NULL;
    if (need > self->room - self->used) {
        size_t room = self->room * 2;
        struct arena_chunk *chunk;

        room = room < CHUNK_MIN ? CHUNK_MIN : room > CHUNK_MAX ? CHUNK_MAX : room;
        room = room < need ? need : room;
        if (room > (size_t)-1 / 2)
            return NULL;
        chunk = calloc(1, sizeof *chunk + room);
        if (!chunk)
            return NULL;
        chunk->next = self->chunks;
        *self = (struct arena){ .chunks = chunk, .room = room };
    }
    self->used += need;
    return self->chunks->bytes + self->used - need;
}

void arena_release(struct arena *self)
{
    while (self->chunks) {
        struct arena_chunk *next = self->chunks->next;

        free(self->chunks);
        self->chunks = next;
    }
    *self = (struct arena){ 0 };
}
