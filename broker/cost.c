#include "broker/cost.h"

enum {
    BATCH_MAX = 4096,               /* as on the wire */
    TRUSTED_BATCHES = 3,            /* from here on one result moves the fit by a bounded step */
    STEP = 4,                       /* times, or one part of, what was expected */
};
static const double FORGET = 0.05;  /* a batch: the last twenty make the fit */
/* Below this spread of sizes (variance by mean square) a slope would be noise. */
static const double SPREAD_MIN = 1e-3;

static double clamp(double value, double min, double max)
{
    return value < min ? min : value > max ? max : value;
}

static void fit(struct cost *self)
{
    double det = self->batches * self->nn - self->n * self->n;

    if (det > SPREAD_MIN * self->batches * self->nn) {
        self->a = (self->batches * self->nus - self->n * self->us) / det;
        self->b = (self->us - self->a * self->n) / self->batches;
        if (self->a < 0) {
            self->a = 0;
            self->b = self->us / self->batches;
        } else if (self->b < 0) {
            self->b = 0;
            self->a = self->nus / self->nn;
        }
    } else {                         /* all of one size: what was learnt of b before stays */
        self->b = clamp(self->b, 0, self->us / self->batches);
        self->a = (self->us - self->b * self->batches) / self->n;
    }
    self->a = clamp(self->a, 0, COST_PICTURE_MAX_US);
    self->b = clamp(self->b, 0, COST_PICTURE_MAX_US);
}

void cost_learn(struct cost *self, int64_t render_us, int64_t batch, int64_t now_ms)
{
    double n = clamp((double)batch, 1, BATCH_MAX), weight = 1 / n, keep = 1 - FORGET * weight;
    double us = clamp((double)render_us, 0, n * COST_PICTURE_MAX_US);

    if (self->batches >= TRUSTED_BATCHES) {
        double expected = clamp(self->a * n + self->b, 1, n * COST_PICTURE_MAX_US);

        us = clamp(us, expected / STEP, expected * STEP);
    }
    self->batches = keep * self->batches + weight;
    self->n = keep * self->n + weight * n;
    self->nn = keep * self->nn + weight * n * n;
    self->us = keep * self->us + weight * us;
    self->nus = keep * self->nus + weight * n * us;
    fit(self);
    self->batch_max = (int64_t)n > self->batch_max ? (int64_t)n : self->batch_max;
    self->measured_ms = now_ms;
}

bool cost_is_known(const struct cost *self)
{
    return self->batches > 0;
}

bool cost_is_fresh(const struct cost *self, int64_t now_ms)
{
    return cost_is_known(self) && now_ms - self->measured_ms < COST_FRESH_MS;
}

int64_t cost_predict_us(const struct cost *self, int64_t n)
{
    return (int64_t)(self->a * (double)n + self->b);
}

int64_t cost_usual_batch(const struct cost *self)
{
    int64_t batch = cost_is_known(self) ? (int64_t)(self->n / self->batches + 0.5) : 1;

    return batch < 1 ? 1 : batch;
}

int64_t cost_picture_us(const struct cost *self)
{
    int64_t batch = cost_usual_batch(self);

    return cost_predict_us(self, batch) / batch;
}
