#include "base/channel.h"

#include "base/clock.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PUTTERS = 4, TAKERS = 3, EACH = 5000 };

static struct channel *channel_of(size_t capacity)
{
    struct channel *channel;
    struct err e;

    assert_int_equal(channel_create(capacity, &channel, &e), ERR_OK);
    return channel;
}

static bool is_readable(const struct channel *channel)
{
    struct pollfd p = { .fd = channel_fd(channel), .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

static void items_come_out_in_order_round_the_ring(void **state)
{
    struct channel *channel = channel_of(3);
    int items[100];
    int put = 0, taken = 0;

    (void)state;
    while (taken < 100) {
        while (put < 100 && channel_put(channel, &items[put], 0))
            put++;
        assert_int_equal(channel_count(channel), put - taken);
        for (int i = 0; i < 2 && taken < put; i++)
            assert_ptr_equal(channel_take(channel, 0), &items[taken++]);
    }
    assert_null(channel_take(channel, 0));
    channel_destroy(&channel);
    assert_null(channel);
    channel_destroy(&channel);       /* twice is fine */
}

static void no_more_than_its_capacity_goes_in(void **state)
{
    struct channel *channel = channel_of(2);
    int item;

    (void)state;
    assert_true(channel_put(channel, &item, 0));
    assert_true(channel_put(channel, &item, 0));
    assert_false(channel_put(channel, &item, 0));
    assert_false(channel_put(channel, &item, clock_ms() + 1));   /* nor later */
    assert_int_equal(channel_count(channel), 2);
    channel_destroy(&channel);
}

static void waiting_ends_at_the_time_that_was_said(void **state)
{
    struct channel *channel = channel_of(1);
    int64_t wake_ms = clock_ms() + 3;

    (void)state;
    assert_null(channel_take(channel, wake_ms));
    assert_true(clock_ms() >= wake_ms);
    assert_null(channel_take(channel, wake_ms - 1000));          /* past: not at all */
    assert_null(channel_take(channel, -5));
    channel_destroy(&channel);
}

static void its_descriptor_is_readable_while_there_are_items(void **state)
{
    struct channel *channel = channel_of(2);
    int item;

    (void)state;
    assert_false(is_readable(channel));
    for (int round = 0; round < 3; round++) {
        channel_put(channel, &item, 0);
        assert_true(is_readable(channel));
        channel_put(channel, &item, 0);
        assert_true(is_readable(channel));
        channel_take(channel, 0);
        assert_true(is_readable(channel));
        channel_take(channel, 0);
        assert_false(is_readable(channel));
    }
    channel_destroy(&channel);
}

static void a_closed_channel_takes_nothing_and_gives_what_is_left(void **state)
{
    struct channel *channel = channel_of(4);
    int a, b;

    (void)state;
    channel_put(channel, &a, 0);
    channel_put(channel, &b, 0);
    assert_false(channel_is_closed(channel));
    channel_close(channel);
    assert_true(channel_is_closed(channel));
    assert_false(channel_put(channel, &a, CHANNEL_FOREVER));
    assert_true(is_readable(channel));
    assert_ptr_equal(channel_take(channel, CHANNEL_FOREVER), &a);
    assert_ptr_equal(channel_take(channel, CHANNEL_FOREVER), &b);
    assert_null(channel_take(channel, CHANNEL_FOREVER));
    assert_false(is_readable(channel));
    channel_destroy(&channel);
}

/* ---- threads ---- */

struct waiter {
    struct channel *channel;
    void *got;
    bool put;
};

static void *take_for_ever(void *arg)
{
    struct waiter *w = arg;

    w->got = channel_take(w->channel, CHANNEL_FOREVER);
    return NULL;
}

static void *put_for_ever(void *arg)
{
    struct waiter *w = arg;

    w->put = channel_put(w->channel, w, CHANNEL_FOREVER);
    return NULL;
}

static void closing_wakes_everybody_who_waits(void **state)
{
    struct channel *empty = channel_of(1), *full = channel_of(1);
    struct waiter takers[3] = { { empty, empty, true },
                                { empty, empty, true },
                                { empty, empty, true } };
    struct waiter putters[3] = { { full, NULL, true }, { full, NULL, true }, { full, NULL, true } };
    pthread_t threads[6];

    (void)state;
    channel_put(full, full, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_for_ever, &takers[i]), 0);
        assert_int_equal(pthread_create(&threads[3 + i], NULL, put_for_ever, &putters[i]), 0);
    }
    channel_close(empty);
    channel_close(full);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) {
        assert_null(takers[i].got);
        assert_false(putters[i].put);
    }
    assert_int_equal(channel_count(full), 1);
    channel_destroy(&empty);
    channel_destroy(&full);
}

static void a_taker_wakes_a_putter_and_a_putter_a_taker(void **state)
{
    struct channel *channel = channel_of(1);
    struct waiter w = { channel, NULL, false };
    pthread_t thread;
    int item;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, take_for_ever, &w), 0);
    assert_true(channel_put(channel, &item, CHANNEL_FOREVER));
    pthread_join(thread, NULL);
    assert_ptr_equal(w.got, &item);

    assert_true(channel_put(channel, &item, 0));
    assert_int_equal(pthread_create(&thread, NULL, put_for_ever, &w), 0);
    assert_ptr_equal(channel_take(channel, CHANNEL_FOREVER), &item);
    pthread_join(thread, NULL);
    assert_true(w.put);
    assert_ptr_equal(channel_take(channel, 0), &w);
    channel_destroy(&channel);
}

static struct {
    struct channel *channel;
    atomic_int seen[PUTTERS * EACH];
    int numbers[PUTTERS * EACH];
    atomic_int most;
} crowd;

static void *crowd_put(void *arg)
{
    int *first = arg;

    for (int i = 0; i < EACH; i++)
        if (!channel_put(crowd.channel, first + i, CHANNEL_FOREVER))
            return arg;
    return NULL;
}

static void *crowd_take(void *arg)
{
    int *item;

    (void)arg;
    while ((item = channel_take(crowd.channel, CHANNEL_FOREVER))) {
        int count = (int)channel_count(crowd.channel);

        atomic_fetch_add(&crowd.seen[*item], 1);
        if (count > atomic_load(&crowd.most))
            atomic_store(&crowd.most, count);
    }
    return NULL;
}

static void many_threads_lose_nothing_and_get_nothing_twice(void **state)
{
    pthread_t putters[PUTTERS], takers[TAKERS];
    void *failed;

    (void)state;
    crowd.channel = channel_of(8);
    for (int i = 0; i < PUTTERS * EACH; i++)
        crowd.numbers[i] = i;
    for (int i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_create(&takers[i], NULL, crowd_take, NULL), 0);
    for (int i = 0; i < PUTTERS; i++)
        assert_int_equal(pthread_create(&putters[i], NULL, crowd_put, &crowd.numbers[i * EACH]), 0);
    for (int i = 0; i < PUTTERS; i++) {
        pthread_join(putters[i], &failed);
        assert_null(failed);
    }
    channel_close(crowd.channel);
    for (int i = 0; i < TAKERS; i++)
        pthread_join(takers[i], NULL);
    for (int i = 0; i < PUTTERS * EACH; i++)
        assert_int_equal(crowd.seen[i], 1);
    assert_in_range(crowd.most, 0, 8);
    assert_false(is_readable(crowd.channel));
    channel_destroy(&crowd.channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_order_round_the_ring),
        cmocka_unit_test(no_more_than_its_capacity_goes_in),
        cmocka_unit_test(waiting_ends_at_the_time_that_was_said),
        cmocka_unit_test(its_descriptor_is_readable_while_there_are_items),
        cmocka_unit_test(a_closed_channel_takes_nothing_and_gives_what_is_left),
        cmocka_unit_test(closing_wakes_everybody_who_waits),
        cmocka_unit_test(a_taker_wakes_a_putter_and_a_putter_a_taker),
        cmocka_unit_test(many_threads_lose_nothing_and_get_nothing_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
