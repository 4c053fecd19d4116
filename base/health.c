#include "base/health.h"

#include <stddef.h>

void health_init(struct health *self, int64_t now_ms)
{
    atomic_init(&self->turned_ms, now_ms);
    atomic_init(&self->why_not, "starting");
}

void health_turn(struct health *self, int64_t now_ms, const char *why_not)
{
    atomic_store_explicit(&self->why_not, why_not, memory_order_relaxed);
    atomic_store_explicit(&self->turned_ms, now_ms, memory_order_relaxed);
}

bool health_is_live(const struct health *self, int64_t now_ms)
{
    return now_ms - atomic_load_explicit(&self->turned_ms, memory_order_relaxed) < HEALTH_STUCK_MS;
}

const char *health_why_not(const struct health *self)
{
    return atomic_load_explicit(&self->why_not, memory_order_relaxed);
}
