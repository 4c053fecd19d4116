#include "client/gateway/rates.h"

#include "client/gateway/tally.h"
#include "client/gateway/visitor.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

/* Counted in thousandths, so that a millisecond brings rate of them. */
enum { TOKEN = 1000 };

struct bucket {
    char visitor[VISITOR_MAX];
    int64_t tokens, seen_ms;
    UT_hash_handle hh;              /* in the order of use */
};

struct rates {
    struct rates_options options;
    pthread_mutex_t lock;
    struct bucket *buckets;
};

enum err_code rates_create(const struct rates_options *options, struct rates **out, struct err *e)
{
    struct rates *self = calloc(1, sizeof *self);

    *out = self;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the rates of visitors");
    self->options = *options;
    pthread_mutex_init(&self->lock, NULL);
    return ERR_OK;
}

void rates_destroy(struct rates **self)
{
    struct bucket *bucket, *next;

    if (!*self)
        return;
    HASH_ITER(hh, (*self)->buckets, bucket, next) {
        HASH_DEL((*self)->buckets, bucket);
        free(bucket);
    }
    pthread_mutex_destroy(&(*self)->lock);
    free(*self);
    *self = NULL;
}

/* The visitor's, which becomes the last one used. NULL: no memory. */
static struct bucket *touch(struct rates *self, const char *visitor, int64_t now_ms)
{
    struct bucket *bucket;

    HASH_FIND_STR(self->buckets, visitor, bucket);
    if (bucket) {
        HASH_DEL(self->buckets, bucket);
    } else if ((bucket = calloc(1, sizeof *bucket))) {
        snprintf(bucket->visitor, sizeof bucket->visitor, "%s", visitor);
        bucket->tokens = self->options.burst * TOKEN;
        bucket->seen_ms = now_ms;
    }
    if (bucket)
        HASH_ADD_STR(self->buckets, visitor, bucket);
    if (HASH_COUNT(self->buckets) > self->options.visitors_max) {
        struct bucket *oldest = self->buckets;

        HASH_DEL(self->buckets, oldest);
        free(oldest);
    }
    metrics_set(self->options.metrics, TALLY_VISITORS, 0, HASH_COUNT(self->buckets));
    return bucket;
}

void rates_charge(struct rates *self, const char *visitor, int64_t now_ms, int64_t tokens)
{
    const struct rates_options *o = &self->options;
    struct bucket *bucket;

    if (o->rate == 0)
        return;
    pthread_mutex_lock(&self->lock);
    bucket = touch(self, visitor, now_ms);
    if (bucket) {
        int64_t left = bucket->tokens - tokens * TOKEN;

        bucket->tokens = left > -o->burst * TOKEN ? left : -o->burst * TOKEN;
    }
    pthread_mutex_unlock(&self->lock);
}

bool rates_take(struct rates *self, const char *visitor, int64_t now_ms, int *retry_ms)
{
    const struct rates_options *o = &self->options;
    struct bucket *bucket;
    bool is_fine = true;

    *retry_ms = 0;
    if (o->rate == 0)
        return true;
    pthread_mutex_lock(&self->lock);
    bucket = touch(self, visitor, now_ms);
    if (bucket) {
        int64_t most = o->burst * TOKEN, more = (now_ms - bucket->seen_ms) * o->rate;

        bucket->tokens = more < most - bucket->tokens ? bucket->tokens + more : most;
        bucket->seen_ms = now_ms;
        is_fine = bucket->tokens >= TOKEN;
        if (is_fine)
            bucket->tokens -= TOKEN;
        else
            *retry_ms = (int)((TOKEN - bucket->tokens + o->rate - 1) / o->rate);
    }
    pthread_mutex_unlock(&self->lock);
    return is_fine;
}
