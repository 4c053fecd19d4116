#include "tests/kit_floats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MARKS = 1024 };              /* floats on each side: a row beyond the end lands on them */

static const uint32_t MARK = 0x7fc5eed5;    /* a NaN: whoever reads it shows it */

struct head {
    size_t count;
};

void fill_even(float *out, size_t count, uint32_t seed)
{
    uint32_t state = seed * 2654435761u + 12345u;

    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        out[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

static void mark(float *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        memcpy(at + i, &MARK, sizeof MARK);
}

static void check_marks(const float *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(at + i, &MARK, sizeof MARK) != 0)
            fail_msg("memory was written outside its bounds");
}

/* The block of a guarded array begins with its head and ends with marks. */
static float *block_of(const float *self)
{
    return (float *)(uintptr_t)(self - MARKS);
}

static size_t count_of(const float *self)
{
    struct head head;

    memcpy(&head, block_of(self), sizeof head);
    return head.count;
}

float *guarded_create(size_t count)
{
    size_t bytes = (count + 2 * MARKS) * sizeof(float);
    float *block = aligned_alloc(64, (bytes + 63) / 64 * 64);
    struct head head = { count };

    assert_non_null(block);
    mark(block, count + 2 * MARKS);
    memcpy(block, &head, sizeof head);
    return block + MARKS;
}

float *guarded_even(size_t count, uint32_t seed)
{
    float *self = guarded_create(count);

    fill_even(self, count, seed);
    return self;
}

void guarded_clear(float *self)
{
    mark(self, count_of(self));
}

void guarded_check(const float *self)
{
    size_t used = sizeof(struct head) / sizeof(float);

    check_marks(block_of(self) + used, MARKS - used);
    check_marks(self + count_of(self), MARKS);
}

void guarded_release(float *self)
{
    if (!self)
        return;
    guarded_check(self);
    free(block_of(self));
}

void assert_same_bits(const float *got, const float *expect, size_t count, const char *what)
{
    if (memcmp(got, expect, count * sizeof *got) == 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (memcmp(got + i, expect + i, sizeof *got) != 0)
            fail_msg("%s: value %zu is %a, not %a", what, i, (double)got[i], (double)expect[i]);
}

void assert_near(const float *got, const double *expect, const double *scale, double times,
                 size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - expect[i]) <= times * scale[i]))
            fail_msg("%s: value %zu is %.9g, not %.9g within %.3g", what, i, (double)got[i],
                     expect[i], times * scale[i]);
}

int levels_here(void)
{
    simd_limit(SIMD_LEVELS - 1);
    return (int)simd_level() + 1;
}

int levels_restore(void **state)
{
    (void)state;
    simd_limit(SIMD_LEVELS - 1);
    return 0;
}
