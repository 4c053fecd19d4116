/* cost -- how long a worker takes for n pictures of a model: a * n + b, fitted to its results by
 * least squares in which older batches weigh less. a and b are never negative. What one result can
 * change is bounded, since workers may stumble or lie. */
#ifndef BROKER_COST_H
#define BROKER_COST_H

#include <stdbool.h>
#include <stdint.h>

enum {
    COST_PICTURE_MAX_US = 600000000,        /* nobody is believed to be slower */
    COST_UNKNOWN_US = 1000,         /* what a picture counts as while nothing is measured */
    COST_FRESH_MS = 60000,
};

/* All zeros: nothing is known. */
struct cost {
    double batches, n, nn, us, nus; /* weighted sums: 1, n, n * n, time, n * time */
    double a, b;
    int64_t batch_max;              /* largest batch seen */
    int64_t measured_ms;
};

/* A result of a batch. All results of one batch say the same and count as one together. */
void cost_learn(struct cost *self, int64_t render_us, int64_t batch, int64_t now_ms);
bool cost_is_known(const struct cost *self);
/* Known, and of the last minute. Nobody is refused for an older one: else what has once been
 * measured as too slow would never be tried, and so never be measured, again. */
bool cost_is_fresh(const struct cost *self, int64_t now_ms);
/* A batch of n; 0 when nothing is known. */
int64_t cost_predict_us(const struct cost *self, int64_t n);
/* One picture as its share of a batch of the usual size; 0 when nothing is known. */
int64_t cost_picture_us(const struct cost *self);
/* The batch that it comes in on average, at least 1. */
int64_t cost_usual_batch(const struct cost *self);

#endif
