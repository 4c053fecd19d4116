/* channel -- a bounded queue of pointers between threads; what every stage of a program hands to
 * the next. Any number of threads may put and take. channel_fd lets a poll loop wait for items
 * beside its sockets. */
#ifndef BASE_CHANNEL_H
#define BASE_CHANNEL_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANNEL_FOREVER INT64_MAX

struct channel;

enum err_code channel_create(size_t capacity, struct channel **out, struct err *e);
/* No thread may be inside any more; items that are left stay their owner's problem: drain first. */
void channel_destroy(struct channel **self);

/* Waits for room until wake_ms (clock_ms's scale; 0: not at all). False: no room by then, or the
 * channel is closed; the item stays the caller's. */
bool channel_put(struct channel *self, void *item, int64_t wake_ms);
/* Waits for an item until wake_ms. NULL: none by then, or closed and empty. */
void *channel_take(struct channel *self, int64_t wake_ms);

/* No more puts; takes go on until it is empty. Wakes everybody. */
void channel_close(struct channel *self);
bool channel_is_closed(struct channel *self);
size_t channel_count(struct channel *self);
/* Readable while there are items. Poll it, do not read it. */
int channel_fd(const struct channel *self);

#endif
