/* room -- a device's memory for one model: what was taken is given back in one go. After the first
 * piece that did not fit it only counts, so that whoever loads a model goes on to the end and can
 * say how much would have been needed. */
#ifndef KERNELS_CUDA_ROOM_CUH
#define KERNELS_CUDA_ROOM_CUH

#include <stddef.h>

extern "C" {
#include "proto/err.h"
}

struct room;                    /* opaque; of the device that is current when it is created */

enum err_code room_create(struct room **out, struct err *e);
void room_destroy(struct room **self);

/* bytes, aligned to 256, whatever is in them; NULL when the room only counts (which is no error
 * yet). Of no bytes too a piece comes. */
void *room_take(struct room *self, size_t bytes);
/* The same, filled with data. Synchronous. */
void *room_put(struct room *self, const void *data, size_t bytes);
/* Bytes asked for so far, each piece rounded up to 256. */
size_t room_bytes(const struct room *self);
/* ERR_NOMEM with both numbers ("model needs 812 MB of device memory, 640 MB are free"; free counts
 * what this room took) when something did not fit, ERR_DEVICE when a copy failed. */
enum err_code room_check(const struct room *self, struct err *e);

#endif
