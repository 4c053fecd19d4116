/* kit_floats -- for tests of the engine's operations: numbers that are the same on every run,
 * memory that tells when it was left, and the levels of kernels/simd.h. Failures end the test
 * through cmocka. */
#ifndef TESTS_KIT_FLOATS_H
#define TESTS_KIT_FLOATS_H

#include "kernels/simd.h"

#include <stddef.h>
#include <stdint.h>

/* Between -1 and 1, evenly, the same for the same seed. */
void fill_even(float *out, size_t count, uint32_t seed);

/* count floats, aligned to 64 bytes, all of them NaN: what is never written must never matter.
 * Marks lie before and behind them. */
float *guarded_create(size_t count);
/* The same, filled. */
float *guarded_even(size_t count, uint32_t seed);
/* All NaN once more. */
void guarded_clear(float *self);
/* Fails when a mark is gone. */
void guarded_check(const float *self);
/* Checks and frees; NULL is fine. */
void guarded_release(float *self);

/* Fails at the first of count values that differs in a bit; what names the case. */
void assert_same_bits(const float *got, const float *expect, size_t count, const char *what);
/* Fails at the first of count values further from expect than times * scale of the same index. NaN
 * is never near. */
void assert_near(const float *got, const double *expect, const double *scale, double times,
                 size_t count, const char *what);

/* Levels that this machine has; they are 0..levels_here()-1. */
int levels_here(void);
/* As an operation finds it when no test has limited it: the teardown of each test that does. */
int levels_restore(void **state);

#endif
