#include "base/heap.h"

#include <stdlib.h>

static size_t *place_of(const struct heap *self, void *item)
{
    return (size_t *)((char *)item + self->place_offset);
}

static void put(struct heap *self, size_t at, void *item)
{
    self->items[at] = item;
    *place_of(self, item) = at;
}

static void sift_up(struct heap *self, size_t at)
{
    void *item = self->items[at];

    for (; at > 1 && self->before(item, self->items[at / 2]); at /= 2)
        put(self, at, self->items[at / 2]);
    put(self, at, item);
}

static void sift_down(struct heap *self, size_t at)
{
    void *item = self->items[at];

    for (size_t child; (child = 2 * at) <= self->count; at = child) {
        if (child < self->count && self->before(self->items[child + 1], self->items[child]))
            child++;
        if (!self->before(self->items[child], item))
            break;
        put(self, at, self->items[child]);
    }
    put(self, at, item);
}

void heap_init(struct heap *self, size_t place_offset, bool (*before)(const void *a, const void *b))
{
    *self = (struct heap){ .place_offset = place_offset, .before = before };
}

void heap_release(struct heap *self)
{
    free(self->items);
    self->items = NULL;
    self->count = self->room = 0;
}

bool heap_push(struct heap *self, void *item)
{
    if (self->count + 1 >= self->room) {
        size_t room = self->room ? 2 * self->room : 4;
        void **items = realloc(self->items, room * sizeof *items);

        if (!items)
            return false;
        self->items = items;
        self->room = room;
    }
    put(self, ++self->count, item);
    sift_up(self, self->count);
    return true;
}

void *heap_peek(const struct heap *self)
{
    return self->count ? self->items[1] : NULL;
}

void *heap_pop(struct heap *self)
{
    void *item = heap_peek(self);

    if (item)
        heap_remove(self, item);
    return item;
}

void heap_remove(struct heap *self, void *item)
{
    size_t at = *place_of(self, item);

    if (at == HEAP_OUT)
        return;
    *place_of(self, item) = HEAP_OUT;
    void *last = self->items[self->count--];

    if (last == item)
        return;
    put(self, at, last);
    sift_up(self, at);
    sift_down(self, *place_of(self, last));
}

void heap_update(struct heap *self, void *item)
{
    sift_up(self, *place_of(self, item));
    sift_down(self, *place_of(self, item));
}
