/* The parallel loop: every index once, no worker number twice at a time. */
#include "kernels/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <string.h>

enum { COUNT = 1000, LOOPS = 300 };

struct tally {
    int threads;
    atomic_int visits[COUNT];
    atomic_int busy[POOL_THREADS_MAX];
};

static void visit(void *arg, size_t index, int worker)
{
    struct tally *t = arg;

    /* a worker number that two steps share at once would be caught here */
    if (worker < 0 || worker >= t->threads || atomic_fetch_add(&t->busy[worker], 1) != 0)
        atomic_fetch_add(&t->visits[index], 100);
    atomic_fetch_add(&t->visits[index], 1);
    atomic_fetch_sub(&t->busy[worker], 1);
}

static void every_index_is_visited_once(void **state)
{
    static const int THREADS[] = { 1, 2, 3, 7 };

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct pool *pool;
        struct err e;
        static struct tally tally;

        assert_int_equal(pool_create(THREADS[i], &pool, &e), ERR_OK);
        assert_int_equal(pool_threads(pool), THREADS[i]);
        for (int loop = 0; loop < LOOPS; loop++) {
            size_t count = (size_t)(loop * 7 % COUNT);

            memset(&tally, 0, sizeof tally);
            tally.threads = THREADS[i];
            pool_run(pool, count, visit, &tally);
            for (size_t index = 0; index < COUNT; index++)
                assert_int_equal(atomic_load(&tally.visits[index]), index < count ? 1 : 0);
        }
        pool_destroy(&pool);
        assert_null(pool);
        pool_destroy(&pool);        /* NULL is fine */
    }
}

static void no_number_means_one_for_each_core(void **state)
{
    struct pool *pool;
    struct err e;

    (void)state;
    assert_int_equal(pool_create(0, &pool, &e), ERR_OK);
    assert_true(pool_threads(pool) >= 1);
    pool_destroy(&pool);
}

static void too_many_threads_are_refused(void **state)
{
    struct pool *pool;
    struct err e;

    (void)state;
    assert_int_equal(pool_create(-1, &pool, &e), ERR_RANGE);
    assert_int_equal(pool_create(POOL_THREADS_MAX + 1, &pool, &e), ERR_RANGE);
    assert_null(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_is_visited_once),
        cmocka_unit_test(no_number_means_one_for_each_core),
        cmocka_unit_test(too_many_threads_are_refused),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
