/* dummy -- workers that make bytes instead of pictures, for measuring brokers: they speak the whole
 * protocol through the same uplink and batcher, and cost what they are told to. No engine, no
 * models, no ledger. Several in one process and one thread.
 *
 * Each has one model, "dummy", of 64 x 64 pixels, and answers every recipe with the same bytes,
 * whose hash is therefore made once: what differs between two answers is their recipe key. Only a
 * broker without a ledger takes them. */
#ifndef WORKER_DUMMY_H
#define WORKER_DUMMY_H

#include "base/link.h"
#include "proto/err.h"
#include "worker/batcher.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DUMMY_MAX = 16 };

struct dummy_options {
    int64_t a_us, b_us;             /* a batch of n pictures lasts a_us * n + b_us */
    int64_t bytes;                  /* of each answer */
    int64_t count;                  /* workers, 1..DUMMY_MAX */
};
/* Reads "a_us=0,b_us=0,bytes=64,count=1": any of these keys, each once; those are the values of
 * keys that are not there. ERR_INVALID, ERR_RANGE: e names the key. */
enum err_code dummy_parse(const char *text, struct dummy_options *out, struct err *e);

/* All borrowed for the call. */
struct dummy_parts {
    struct dummy_options options;
    struct batcher_options batches;
    const char *brokers;            /* as uplink_create takes them */
    const char *name;               /* "host:pid:start"; a number is added for each worker */
    const struct link_curve *curve; /* NULL: no encryption */
    bool allow_plain;               /* TCP beyond loopback without it */
    size_t capacity;                /* jobs in each worker */
    int64_t drain_ms;
    int stop_fd;                    /* of stop_open */
};
/* Works until stop_fd asks to stop, then as a worker does: what has started finishes. */
enum err_code dummy_run(const struct dummy_parts *parts, struct err *e);

#endif
