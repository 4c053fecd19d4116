/* desk -- threads with a libseedpress handle each, for what blocks: look-ups, and files that are
 * decoded, made again and compared. The queue before them is bounded; what it cannot hold is
 * refused at once. Whoever closes the connection need not be answered: their work ends early. */
#ifndef GATEWAY_DESK_H
#define GATEWAY_DESK_H

#include "client/gateway/visit.h"
#include "client/seedpress.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct desk_options {
    struct seedpress_options broker;        /* its texts are borrowed */
    int threads;
    size_t queue;                           /* visits that may wait */
    const char *name;                       /* of what is full, in words. Static */
};

struct desk;
/* ERR_NOMEM, and as seedpress_create. */
enum err_code desk_create(const struct desk_options *options, struct desk **out, struct err *e);
/* Takes no more; what it has may go on until end_ms (clock_ms), then what runs is ended and what
 * waits refused. NULL is fine. */
void desk_finish(struct desk *self, int64_t end_ms);
/* Nothing is handed to it any more. NULL is fine. */
void desk_destroy(struct desk **self);

/* Where a visit is worked on: one thread and its handle. */
struct desk_seat;
struct seedpress *desk_handle(struct desk_seat *seat);
/* False when nobody wants the answer any more, or the program ends; for again_generate. */
bool desk_goes_on(void *seat);

/* Suspends the visit and has work called with it on a thread of the desk. work gives the answer. A
 * full queue is answered with `overloaded`. */
typedef struct response *desk_work(struct desk_seat *seat, struct visit *visit);
void desk_hand(struct desk *self, struct visit *visit, desk_work *work);

#endif
