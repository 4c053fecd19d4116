/* pool -- a few threads that share one loop at a time: `parallel for`. The caller works too.
 *
 * Which thread takes which index is left to chance; so a body writes what belongs to its index and
 * nothing else, and what it computes depends on the index alone. That is what keeps an engine's
 * results the same for every number of threads. */
#ifndef KERNELS_POOL_H
#define KERNELS_POOL_H

#include "proto/err.h"

#include <stddef.h>

enum { POOL_THREADS_MAX = 256 };

struct pool;

/* One step of a loop. worker is 0..threads-1 and no two steps that run at once share it: the index
 * of a thread's own scratch memory. */
typedef void pool_step(void *arg, size_t index, int worker);

/* threads counts the caller's; 0 means one for each core this process may use. More than
 * POOL_THREADS_MAX is ERR_RANGE; ERR_NOMEM when the system gives no thread. */
enum err_code pool_create(int threads, struct pool **out, struct err *e);
void pool_destroy(struct pool **self);

int pool_threads(const struct pool *self);

/* step(arg, index, ...) for each index in 0..count-1, in any order; returns when all are done.
 * One caller at a time; a step must not call pool_run on its own pool. */
void pool_run(struct pool *self, size_t count, pool_step *step, void *arg);

#endif
