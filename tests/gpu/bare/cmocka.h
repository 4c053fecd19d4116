/* What the kits call of cmocka, where there is none: a check that fails ends its process with words,
 * and tests/gpu gives every part a process of its own. */
#ifndef TESTS_GPU_BARE_CMOCKA_H
#define TESTS_GPU_BARE_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>

#define fail_msg(...)                                    \
    do {                                                 \
        printf("%s:%d: ", __FILE__, __LINE__);           \
        printf(__VA_ARGS__);                             \
        putchar('\n');                                   \
        exit(1);                                         \
    } while (0)
#define assert_true(holds)           \
    do {                             \
        if (!(holds))                \
            fail_msg("%s", #holds);  \
    } while (0)
#define assert_non_null(pointer) assert_true((pointer) != NULL)
#define assert_int_equal(a, b) assert_true((a) == (b))

#endif
