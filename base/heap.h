/* heap -- a binary heap of borrowed pointers, smallest first by the caller's order. Items that may
 * leave from the middle keep their place: the heap writes it into the size_t at place_offset. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

enum { HEAP_OUT = 0 };              /* the place of an item that is in no heap; places start at 1 */

struct heap {
    void **items;                   /* [1..count]; items[0] is not used */
    size_t count, room;
    size_t place_offset;
    bool (*before)(const void *a, const void *b);
};

void heap_init(struct heap *self, size_t place_offset,
               bool (*before)(const void *a, const void *b));
void heap_release(struct heap *self);               /* the items stay their owner's */
bool heap_push(struct heap *self, void *item);      /* false: no memory, the heap is as it was */
void *heap_peek(const struct heap *self);           /* NULL when empty */
void *heap_pop(struct heap *self);                  /* NULL when empty */
void heap_remove(struct heap *self, void *item);    /* an item that is in no heap is left alone */
void heap_update(struct heap *self, void *item);    /* its order has changed; it must be in */

#endif
