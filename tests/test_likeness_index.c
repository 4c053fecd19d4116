#include "base/likeness_index.h"

#include "base/likeness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK_BYTES = 1200000, MANY = 9000, WINDOWS = 26 };

/* Splitmix: numbers of neighbouring states have nothing in common. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The hashes of picture id: any bits, always the same ones. */
static void hashes_of(int64_t id, uint64_t hashes[2 * WINDOWS])
{
    uint64_t state = (uint64_t)id << 32;

    for (int i = 0; i < 2 * WINDOWS; i++)
        hashes[i] = next_random(&state);
}

static struct likeness_index *index_of(size_t bytes, int64_t first, int64_t last)
{
    struct likeness_index *index;
    uint64_t hashes[2 * WINDOWS];
    struct err e;

    assert_int_equal(likeness_index_create(bytes, &index, &e), ERR_OK);
    for (int64_t id = first; id <= last; id++) {
        hashes_of(id, hashes);
        assert_int_equal(likeness_index_add(index, id, hashes, 2 * WINDOWS, &e), ERR_OK);
    }
    return index;
}

/* Turns over the lowest bits of a hash. */
static uint64_t turned(uint64_t hash, int bits)
{
    return hash ^ ((UINT64_C(1) << bits) - 1);
}

static void the_nearest_comes_first_with_its_distance(void **state)
{
    struct likeness_index *index = index_of(16 * BLOCK_BYTES, 1, MANY);
    struct likeness_match m[4];
    uint64_t a[2 * WINDOWS], b[2 * WINDOWS], query[4];

    (void)state;
    assert_int_equal(likeness_index_count(index), MANY);
    hashes_of(77, a);
    hashes_of(8888, b);
    memcpy(query, (uint64_t[]){ turned(b[50], 3), turned(b[51], 4), turned(a[10], 8), a[11] },
           sizeof query);
    assert_int_equal(likeness_index_search(index, query, 4, m, 4), 2);
    assert_int_equal(m[0].id, 8888);
    assert_int_equal(m[0].distance, 3);         /* 7 bits of two hashes */
    assert_int_equal(m[0].score, 29 * 29);
    assert_int_equal(m[1].id, 77);
    assert_int_equal(m[1].distance, 4);
    assert_int_equal(likeness_index_search(index, query, 4, m, 1), 1);
    assert_int_equal(m[0].id, 8888);
    likeness_index_destroy(&index);
}

static void many_windows_that_are_alike_outweigh_one_that_is_nearer(void **state)
{
    struct likeness_index *index = index_of(4 * BLOCK_BYTES, 1, 100);
    struct likeness_match m[4];
    uint64_t a[2 * WINDOWS], b[2 * WINDOWS], query[6];

    (void)state;
    hashes_of(5, a);
    hashes_of(6, b);
    memcpy(query, (uint64_t[]){ a[0], a[1], turned(b[2], 12), b[3], turned(b[4], 9), b[5] },
           sizeof query);
    assert_int_equal(likeness_index_search(index, query, 6, m, 4), 2);
    assert_int_equal(m[0].id, 6);
    assert_int_equal(m[0].score, 24 * 24 + 27 * 27);
    assert_int_equal(m[1].id, 5);
    assert_int_equal(m[1].score, 36 * 36);
    likeness_index_destroy(&index);
}

static void what_is_too_far_is_no_match(void **state)
{
    struct likeness_index *index = index_of(BLOCK_BYTES, 1, 50);
    struct likeness_match m;
    uint64_t a[2 * WINDOWS], query[4] = { 0 };

    (void)state;
    hashes_of(9, a);
    memcpy(query, (uint64_t[]){ turned(a[4], 18), turned(a[5], 18), 0x5555555555555555, 1 },
           sizeof query);
    assert_int_equal(likeness_index_search(index, query, 4, &m, 1), 1);
    assert_int_equal(m.distance, 18);
    query[1] = turned(a[5], 19);
    assert_int_equal(likeness_index_search(index, query, 4, &m, 1), 0);
    query[0] = turned(a[4], 19);
    query[1] = a[5];
    assert_int_equal(likeness_index_search(index, query, 4, &m, 1), 0);
    likeness_index_destroy(&index);
}

static void without_colour_brightness_counts_twice(void **state)
{
    struct likeness_index *index = index_of(BLOCK_BYTES, 1, 50);
    uint64_t a[2 * WINDOWS], grey[4] = { 0x1234123412341234, 0, 0x7777000077770000, 0 };
    struct likeness_match m;
    struct err e;

    (void)state;
    hashes_of(9, a);
    uint64_t query[4] = { turned(a[4], 5), 0, a[9], a[8] };

    assert_int_equal(likeness_index_search(index, query, 4, &m, 1), 1);
    assert_true(m.id == 9 && m.distance == 5);
    assert_int_equal(likeness_index_add(index, 100, grey, 4, &e), ERR_OK);
    memcpy(query, (uint64_t[]){ turned(grey[2], 6), 0xfff, a[9], a[8] }, sizeof query);
    assert_int_equal(likeness_index_search(index, query, 4, &m, 1), 1);
    assert_true(m.id == 100 && m.distance == 6);
    likeness_index_destroy(&index);
}

static void one_window_is_compared_with_whole_pictures(void **state)
{
    struct likeness_index *index = index_of(4 * BLOCK_BYTES, 1, MANY);
    struct likeness_match m;
    uint64_t a[2 * WINDOWS];

    (void)state;
    hashes_of(4321, a);
    assert_int_equal(likeness_index_search(index, a, 2, &m, 1), 1);
    assert_true(m.id == 4321 && m.distance == 0);
    assert_int_equal(likeness_index_search(index, a + 2, 2, &m, 1), 0);
    likeness_index_destroy(&index);
}

static void when_it_is_full_the_first_go(void **state)
{
    struct likeness_index *index = index_of(2 * BLOCK_BYTES, 1, MANY);
    struct likeness_match m;
    uint64_t a[2 * WINDOWS];

    (void)state;
    assert_true(likeness_index_count(index) <= 2 * likeness_index_capacity(index));
    assert_true(likeness_index_count(index) < MANY);
    hashes_of(MANY, a);
    assert_int_equal(likeness_index_search(index, a, 2 * WINDOWS, &m, 1), 1);
    assert_int_equal(m.id, MANY);
    hashes_of(1, a);
    if (likeness_index_search(index, a, 2 * WINDOWS, &m, 1) > 0)
        assert_int_not_equal(m.id, 1);
    likeness_index_destroy(&index);
}

static void odd_counts_are_left_out(void **state)
{
    struct likeness_index *index = index_of(BLOCK_BYTES, 1, 0);
    uint64_t hashes[66] = { 1, 2, 3 };
    struct likeness_match m[1];
    struct err e;

    (void)state;
    assert_int_equal(likeness_index_search(index, hashes, 2, m, 1), 0);
    assert_int_equal(likeness_index_add(index, 1, hashes, 0, &e), ERR_OK);
    assert_int_equal(likeness_index_add(index, 1, hashes, 3, &e), ERR_OK);
    assert_int_equal(likeness_index_add(index, 1, hashes, 66, &e), ERR_OK);
    assert_int_equal(likeness_index_count(index), 0);
    assert_int_equal(likeness_index_add(index, 1, hashes, 64, &e), ERR_OK);
    assert_int_equal(likeness_index_search(index, hashes, 0, m, 1), 0);
    assert_int_equal(likeness_index_search(index, hashes, 2, m, 0), 0);
    assert_int_equal(likeness_index_search(index, hashes, 3, m, 1), 1);
    likeness_index_destroy(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_comes_first_with_its_distance),
        cmocka_unit_test(many_windows_that_are_alike_outweigh_one_that_is_nearer),
        cmocka_unit_test(what_is_too_far_is_no_match),
        cmocka_unit_test(without_colour_brightness_counts_twice),
        cmocka_unit_test(one_window_is_compared_with_whole_pictures),
        cmocka_unit_test(when_it_is_full_the_first_go),
        cmocka_unit_test(odd_counts_are_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
