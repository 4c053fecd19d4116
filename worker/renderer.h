/* renderer -- the thread that owns the engine: takes batches, renders them, hands on what came of
 * them: JPEG coefficients where the backend makes them, else pixels. Two buffers, taken at start,
 * let it render one batch while the last is encoded; neither is used again before every job of its
 * batch has let go of it. */
#ifndef WORKER_RENDERER_H
#define WORKER_RENDERER_H

#include "base/channel.h"
#include "proto/err.h"
#include "worker/batcher.h"
#include "worker/library.h"

#include <stdbool.h>
#include <stdint.h>

/* What came of one batch. The last rendered_release gives the buffer back to the renderer. */
struct rendered;
struct picture_source rendered_source(const struct job *job);
void rendered_release(struct job *job);

struct renderer;
/* Everything is borrowed and outlives it. Rendered jobs go into encode, failed ones and what the
 * brokers are told into events; both must have room for all jobs that the worker can hold. dials
 * may be NULL. */
enum err_code renderer_create(const struct library *library, size_t batch_max,
                              struct batcher *batcher, struct channel *encode,
                              struct channel *events, struct dials *dials, struct renderer **out,
                              struct err *e);
/* Waits for the thread, which ends when the batcher is closed and empty. */
void renderer_finish(struct renderer *self);
/* Finishes. Nobody may hold a rendered job any more. */
void renderer_destroy(struct renderer **self);

/* The device is lost to this process: what is still to be rendered fails at once. */
bool renderer_is_lost(const struct renderer *self);

/* Pictures since the start; how much longer the batch on the device takes, by the measured cost. */
int64_t renderer_started(const struct renderer *self);
int64_t renderer_rendered(const struct renderer *self);
int64_t renderer_left_us(const struct renderer *self, int64_t now_us);

#endif
