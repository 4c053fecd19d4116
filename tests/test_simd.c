/* The levels of vectors: which a machine has, and that a limit holds. That every operation gives
 * the same bits at each is shown beside the operation: test_conv, test_fir, ... */
#include "kernels/simd.h"
#include "tests/kit_floats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void limit_holds_and_is_lifted_again(void **state)
{
    int levels = levels_here();

    (void)state;
    assert_in_range(levels, 1, SIMD_LEVELS);
    for (int limit = 0; limit < SIMD_LEVELS; limit++) {
        simd_limit((enum simd_level)limit);
        assert_int_equal(simd_level(), limit < levels ? limit : levels - 1);
    }
    simd_limit(SIMD_PLAIN);
    assert_int_equal(levels_here(), levels);
}

static void every_level_has_its_word(void **state)
{
    (void)state;
    assert_string_equal(simd_word(SIMD_PLAIN), "plain");
    assert_string_equal(simd_word(SIMD_AVX2), "avx2");
    assert_string_equal(simd_word(SIMD_AVX512), "avx512");
}

/* A function of the header's pattern, as the operations have it. */
SIMD_ANY level_seen_any(int *out)
{
    *out = (int)simd_level();
}
SIMD_VERSIONS(level_seen, (int *out), (out))

static void versions_run_at_every_level(void **state)
{
    (void)state;
    for (int level = levels_here(); level-- > 0;) {
        int seen = -1;

        simd_limit((enum simd_level)level);
        level_seen(&seen);
        assert_int_equal(seen, level);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit_holds_and_is_lifted_again),
        cmocka_unit_test(every_level_has_its_word),
        cmocka_unit_test(versions_run_at_every_level),
    };

    return cmocka_run_group_tests_name("simd", tests, NULL, levels_restore);
}
