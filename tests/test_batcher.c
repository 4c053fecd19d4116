#include "worker/batcher.h"

#include "proto/message.h"
#include "worker/library.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH_MAX = 8 };

static struct loaded_model quick = { .name = "quick", .cost_us = 10000 };
static struct loaded_model other = { .name = "other", .cost_us = 10000 };
static struct loaded_model unmeasured = { .name = "unmeasured", .cost_us = 0 };

static const struct batcher_options WIDE = { .batch_max = BATCH_MAX, .batch_ms = 1000,
                                             .fill_ms = 1000, .bulk_ms = 1000 };

static struct batcher *batcher_of(const struct batcher_options *options)
{
    struct batcher *batcher;
    struct err e;

    assert_int_equal(batcher_create(options, &batcher, &e), ERR_OK);
    return batcher;
}

static struct job job_of(int level, int64_t deadline_ms)
{
    return (struct job){ .model = &quick, .level = level, .deadline_ms = deadline_ms };
}

static void add(struct batcher *batcher, struct job *job)
{
    assert_true(batcher_add(batcher, job));
}

static void assert_batch(struct batcher *batcher, size_t count, struct job *const *expect)
{
    struct job *batch[BATCH_MAX];

    assert_int_equal(batcher_take(batcher, batch), count);
    for (size_t i = 0; i < count; i++)
        assert_ptr_equal(batch[i], expect[i]);
}

#define BATCH(batcher, ...)                                                                        \
    assert_batch(batcher, sizeof((struct job *[]){ __VA_ARGS__ }) / sizeof(struct job *),          \
                 (struct job *[]){ __VA_ARGS__ })

/* Takes until it is empty, so that it can go. */
static void end(struct batcher **batcher)
{
    while (batcher_recall_any(*batcher))
        ;
    assert_int_equal(batcher_count(*batcher), 0);
    batcher_destroy(batcher);
    assert_null(*batcher);
}

static void jobs_go_by_priority_then_deadline_then_arrival(void **state)
{
    struct batcher *batcher = batcher_of(&WIDE);
    struct job low = job_of(MESSAGE_LOW, 1), late = job_of(MESSAGE_NORMAL, 900);
    struct job early = job_of(MESSAGE_NORMAL, 100), high = job_of(MESSAGE_HIGH, 5000);
    struct job early_too = job_of(MESSAGE_NORMAL, 100);

    (void)state;
    add(batcher, &low);
    add(batcher, &late);
    add(batcher, &early);
    add(batcher, &high);
    add(batcher, &early_too);
    BATCH(batcher, &high, &early, &early_too, &late, &low);
    end(&batcher);
}

static void a_batch_takes_what_is_there_and_no_more_than_its_places(void **state)
{
    struct batcher *batcher = batcher_of(&WIDE);
    struct job jobs[BATCH_MAX + 3], *batch[BATCH_MAX];

    (void)state;
    for (int i = 0; i < BATCH_MAX + 3; i++) {
        jobs[i] = job_of(MESSAGE_NORMAL, 100);
        add(batcher, &jobs[i]);
    }
    assert_int_equal(batcher_count(batcher), BATCH_MAX + 3);
    assert_int_equal(batcher_take(batcher, batch), BATCH_MAX);
    for (int i = 0; i < BATCH_MAX; i++)
        assert_ptr_equal(batch[i], &jobs[i]);
    BATCH(batcher, &jobs[8], &jobs[9], &jobs[10]);
    end(&batcher);
}

static void a_batch_holds_one_model_and_leaves_the_others_in_their_order(void **state)
{
    struct batcher *batcher = batcher_of(&WIDE);
    struct job jobs[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        jobs[i] = job_of(MESSAGE_NORMAL, 100);
        jobs[i].model = i % 2 ? &other : &quick;
        add(batcher, &jobs[i]);
    }
    BATCH(batcher, &jobs[0], &jobs[2], &jobs[4]);
    BATCH(batcher, &jobs[1], &jobs[3], &jobs[5]);
    end(&batcher);
}

static void a_batch_is_shared_whatever_the_options(void **state)
{
    struct batcher *batcher = batcher_of(&WIDE);
    struct job turned = job_of(MESSAGE_NORMAL, 1), shifted = job_of(MESSAGE_NORMAL, 2);
    struct job noisy = job_of(MESSAGE_NORMAL, 3), plain = job_of(MESSAGE_NORMAL, 4);

    (void)state;
    turned.recipe.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR,
                                                         .degrees = 1 };
    shifted.recipe.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_MATRIX };
    noisy.recipe.noise = RECIPE_NOISE_RANDOM;
    add(batcher, &turned);
    add(batcher, &shifted);
    add(batcher, &noisy);
    add(batcher, &plain);
    BATCH(batcher, &turned, &shifted, &noisy, &plain);
    end(&batcher);
}

static void a_job_that_must_be_alone_is_alone(void **state)
{
    struct batcher *batcher = batcher_of(&WIDE);
    struct job a = job_of(MESSAGE_NORMAL, 1), suspect = job_of(MESSAGE_NORMAL, 2);
    struct job b = job_of(MESSAGE_NORMAL, 3);

    (void)state;
    suspect.alone = true;
    add(batcher, &a);
    add(batcher, &suspect);
    add(batcher, &b);
    BATCH(batcher, &a, &b);
    BATCH(batcher, &suspect);
    add(batcher, &suspect);
    add(batcher, &b);
    BATCH(batcher, &suspect);
    BATCH(batcher, &b);
    end(&batcher);
}

static void a_batch_is_no_longer_than_batch_ms(void **state)
{
    struct batcher_options options = { .batch_max = BATCH_MAX, .batch_ms = 35, .fill_ms = 1000,
                                       .bulk_ms = 1000 };
    struct batcher *batcher = batcher_of(&options);
    struct job jobs[5];

    (void)state;
    for (int i = 0; i < 5; i++) {
        jobs[i] = job_of(MESSAGE_HIGH, i);
        add(batcher, &jobs[i]);
    }
    BATCH(batcher, &jobs[0], &jobs[1], &jobs[2]);        /* 30 ms; a fourth would be 40 */
    BATCH(batcher, &jobs[3], &jobs[4]);
    end(&batcher);
}

static void a_picture_longer_than_batch_ms_still_goes(void **state)
{
    struct batcher_options options = { .batch_max = BATCH_MAX, .batch_ms = 1, .fill_ms = 0,
                                       .bulk_ms = 0 };
    struct batcher *batcher = batcher_of(&options);
    struct job a = job_of(MESSAGE_LOW, 1), b = job_of(MESSAGE_LOW, 2);

    (void)state;
    add(batcher, &a);
    add(batcher, &b);
    BATCH(batcher, &a);
    BATCH(batcher, &b);
    end(&batcher);
}

static void low_work_lengthens_a_mixed_batch_by_fill_ms_at_most(void **state)
{
    struct batcher_options options = { .batch_max = BATCH_MAX, .batch_ms = 1000, .fill_ms = 25,
                                       .bulk_ms = 1000 };
    struct batcher *batcher = batcher_of(&options);
    struct job low[4], normal[2];

    (void)state;
    for (int i = 0; i < 4; i++) {
        low[i] = job_of(MESSAGE_LOW, i);
        add(batcher, &low[i]);
    }
    for (int i = 0; i < 2; i++) {
        normal[i] = job_of(MESSAGE_NORMAL, i);
        add(batcher, &normal[i]);
    }
    BATCH(batcher, &normal[0], &normal[1], &low[0], &low[1]);    /* 20 ms of it is low work */
    BATCH(batcher, &low[2], &low[3]);
    end(&batcher);
}

static void with_no_fill_ms_low_work_waits(void **state)
{
    struct batcher_options options = { .batch_max = BATCH_MAX, .batch_ms = 1000, .fill_ms = 0,
                                       .bulk_ms = 1000 };
    struct batcher *batcher = batcher_of(&options);
    struct job low = job_of(MESSAGE_LOW, 1), high = job_of(MESSAGE_HIGH, 1);

    (void)state;
    add(batcher, &low);
    add(batcher, &high);
    BATCH(batcher, &high);
    BATCH(batcher, &low);
    end(&batcher);
}

static void a_batch_of_low_work_alone_lasts_bulk_ms_at_most(void **state)
{
    struct batcher_options options = { .batch_max = BATCH_MAX, .batch_ms = 1000, .fill_ms = 1000,
                                       .bulk_ms = 29 };
    struct batcher *batcher = batcher_of(&options);
    struct job low[5];

    (void)state;
    for (int i = 0; i < 5; i++) {
        low[i] = job_of(MESSAGE_LOW, i);
        add(batcher, &low[i]);
    }
    BATCH(batcher, &low[0], &low[1]);
    BATCH(batcher, &low[2], &low[3]);
    BATCH(batcher, &low[4]);
    end(&batcher);
}

static void what_was_never_measured_is_bounded_by_places_alone(void **state)
{
    struct batcher_options options = { .batch_max = BATCH_MAX };
    struct batcher *batcher = batcher_of(&options);
    struct job jobs[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        jobs[i] = job_of(MESSAGE_LOW, i);
        jobs[i].model = &unmeasured;
        add(batcher, &jobs[i]);
    }
    BATCH(batcher, &jobs[0], &jobs[1], &jobs[2]);
    end(&batcher);
}

static void the_cost_of_all_that_waits_is_known(void **state)
{
    struct batcher *batcher = batcher_of(&WIDE);
    struct job a = job_of(MESSAGE_LOW, 1), b = job_of(MESSAGE_HIGH, 2);

    (void)state;
    assert_int_equal(batcher_cost_us(batcher), 0);
    add(batcher, &a);
    add(batcher, &b);
    assert_int_equal(batcher_cost_us(batcher), 20000);
    end(&batcher);
}

static void a_job_is_recalled_by_its_broker_and_lease(void **state)
{
    struct batcher *batcher = batcher_of(&WIDE);
    struct job jobs[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        jobs[i] = job_of(MESSAGE_NORMAL, i);
        jobs[i].broker = (size_t)(i % 2);
        jobs[i].lease = 1 + i / 2;               /* two brokers count their leases alike */
        add(batcher, &jobs[i]);
    }
    assert_ptr_equal(batcher_recall(batcher, 1, 2), &jobs[3]);
    assert_null(batcher_recall(batcher, 1, 2));
    assert_null(batcher_recall(batcher, 1, 9));
    assert_null(batcher_recall(batcher, 2, 1));
    assert_int_equal(batcher_recall_broker(batcher, 1)->broker, 1);
    assert_int_equal(batcher_recall_broker(batcher, 1)->broker, 1);
    assert_null(batcher_recall_broker(batcher, 1));
    BATCH(batcher, &jobs[0], &jobs[2], &jobs[4]);
    assert_null(batcher_recall_any(batcher));
    end(&batcher);
}

static void a_closed_batcher_gives_what_is_left_and_then_nothing(void **state)
{
    struct batcher *batcher = batcher_of(&WIDE);
    struct job a = job_of(MESSAGE_NORMAL, 1), b = job_of(MESSAGE_NORMAL, 2), *batch[BATCH_MAX];

    (void)state;
    add(batcher, &a);
    batcher_close(batcher);
    assert_false(batcher_add(batcher, &b));
    BATCH(batcher, &a);
    assert_int_equal(batcher_take(batcher, batch), 0);
    assert_int_equal(batcher_take(batcher, batch), 0);
    end(&batcher);
}

/* ---- threads ---- */

struct taker {
    struct batcher *batcher;
    size_t taken, empty;
};

static void *take_all(void *arg)
{
    struct taker *t = arg;
    struct job *batch[BATCH_MAX];
    size_t count;

    while ((count = batcher_take(t->batcher, batch)) > 0) {
        t->taken += count;
        for (size_t i = 0; i < count; i++)
            batch[i]->batch_size++;              /* each job once, in one batch */
    }
    t->empty++;
    return NULL;
}

static void takers_wait_for_work_and_closing_wakes_them(void **state)
{
    enum { JOBS = 2000, TAKERS = 3 };
    static struct job jobs[JOBS];
    struct batcher *batcher = batcher_of(&WIDE);
    struct taker takers[TAKERS];
    pthread_t threads[TAKERS];
    size_t taken = 0;

    (void)state;
    for (int i = 0; i < TAKERS; i++) {
        takers[i] = (struct taker){ .batcher = batcher };
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, &takers[i]), 0);
    }
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = job_of(i % MESSAGE_PRIORITY_COUNT, i);
        add(batcher, &jobs[i]);
    }
    batcher_close(batcher);
    for (int i = 0; i < TAKERS; i++) {
        pthread_join(threads[i], NULL);
        taken += takers[i].taken;
        assert_int_equal(takers[i].empty, 1);
    }
    assert_int_equal(taken, JOBS);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].batch_size, 1);
    end(&batcher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_go_by_priority_then_deadline_then_arrival),
        cmocka_unit_test(a_batch_takes_what_is_there_and_no_more_than_its_places),
        cmocka_unit_test(a_batch_holds_one_model_and_leaves_the_others_in_their_order),
        cmocka_unit_test(a_batch_is_shared_whatever_the_options),
        cmocka_unit_test(a_job_that_must_be_alone_is_alone),
        cmocka_unit_test(a_batch_is_no_longer_than_batch_ms),
        cmocka_unit_test(a_picture_longer_than_batch_ms_still_goes),
        cmocka_unit_test(low_work_lengthens_a_mixed_batch_by_fill_ms_at_most),
        cmocka_unit_test(with_no_fill_ms_low_work_waits),
        cmocka_unit_test(a_batch_of_low_work_alone_lasts_bulk_ms_at_most),
        cmocka_unit_test(what_was_never_measured_is_bounded_by_places_alone),
        cmocka_unit_test(the_cost_of_all_that_waits_is_known),
        cmocka_unit_test(a_job_is_recalled_by_its_broker_and_lease),
        cmocka_unit_test(a_closed_batcher_gives_what_is_left_and_then_nothing),
        cmocka_unit_test(takers_wait_for_work_and_closing_wakes_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
