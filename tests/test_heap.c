#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct item {
    uint32_t key;
    uint32_t id;                    /* tells items of one key apart */
    size_t place;
};

static bool is_before(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    return x->key != y->key ? x->key < y->key : x->id < y->id;
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static struct heap empty_heap(void)
{
    struct heap heap;

    heap_init(&heap, offsetof(struct item, place), is_before);
    return heap;
}

static void an_empty_heap_gives_nothing(void **state)
{
    struct heap heap = empty_heap();

    (void)state;
    assert_null(heap_peek(&heap));
    assert_null(heap_pop(&heap));
    heap_release(&heap);
    heap_release(&heap);             /* twice is fine */
}

static void items_come_out_smallest_first(void **state)
{
    struct heap heap = empty_heap();
    struct item items[1000];
    uint32_t random = 5;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        items[i] = (struct item){ next_random(&random) % 200, i, HEAP_OUT };
        assert_true(heap_push(&heap, &items[i]));
    }
    const struct item *last = NULL;

    for (size_t left = 1000; left > 0; left--) {
        struct item *peeked = heap_peek(&heap), *popped = heap_pop(&heap);

        assert_ptr_equal(peeked, popped);
        assert_int_equal(popped->place, HEAP_OUT);
        assert_true(!last || is_before(last, popped));
        last = popped;
    }
    assert_int_equal(heap.count, 0);
    heap_release(&heap);
}

static void an_item_that_is_in_no_heap_is_left_alone(void **state)
{
    struct heap heap = empty_heap();
    struct item in = { 1, 1, HEAP_OUT }, out = { 2, 2, HEAP_OUT };

    (void)state;
    assert_true(heap_push(&heap, &in));
    heap_remove(&heap, &out);
    assert_int_equal(heap.count, 1);
    heap_remove(&heap, &in);
    heap_remove(&heap, &in);
    assert_int_equal(heap.count, 0);
    heap_release(&heap);
}

/* ---- against a sorted array ---- */

struct model {
    struct item *items[512];
    size_t count;
};

static void model_add(struct model *m, struct item *item)
{
    size_t at = m->count++;

    for (; at > 0 && is_before(item, m->items[at - 1]); at--)
        m->items[at] = m->items[at - 1];
    m->items[at] = item;
}

static void model_remove(struct model *m, const struct item *item)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->items[i] == item) {
            memmove(&m->items[i], &m->items[i + 1], (--m->count - i) * sizeof m->items[0]);
            return;
        }
    fail();
}

static void assert_whole(const struct heap *heap, const struct model *model)
{
    assert_int_equal(heap->count, model->count);
    assert_ptr_equal(heap_peek(heap), model->count ? model->items[0] : NULL);
    for (size_t i = 1; i <= heap->count; i++) {
        const struct item *item = heap->items[i];

        assert_int_equal(item->place, i);
        if (i > 1)
            assert_false(is_before(item, heap->items[i / 2]));
    }
}

static void random_operations_agree_with_a_sorted_array(void **state)
{
    static struct item items[512];
    struct heap heap = empty_heap();
    struct model model = { .count = 0 };
    uint32_t random = 1;

    (void)state;
    memset(items, 0, sizeof items);
    for (int step = 0; step < 40000; step++) {
        struct item *item = &items[next_random(&random) % 512];
        bool is_growing = step / 4000 % 2 == 0;  /* fills up, runs empty, and again */
        uint32_t what = next_random(&random) % 8;

        if (item->place == HEAP_OUT && (is_growing || what < 2)) {
            *item = (struct item){ next_random(&random) % 64, (uint32_t)step, HEAP_OUT };
            assert_true(heap_push(&heap, item));
            model_add(&model, item);
        } else if (item->place != HEAP_OUT && what < (is_growing ? 2 : 6)) {
            heap_remove(&heap, item);
            assert_int_equal(item->place, HEAP_OUT);
            model_remove(&model, item);
        } else if (what == 7 && model.count > 0) {
            struct item *expect = model.items[0];

            model_remove(&model, expect);
            assert_ptr_equal(heap_pop(&heap), expect);
        } else if (item->place != HEAP_OUT && what == 6) {
            model_remove(&model, item);
            item->key = next_random(&random) % 64;
            heap_update(&heap, item);
            model_add(&model, item);
        }
        if (step % 16 == 0)
            assert_whole(&heap, &model);
    }
    assert_whole(&heap, &model);
    heap_release(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_gives_nothing),
        cmocka_unit_test(items_come_out_smallest_first),
        cmocka_unit_test(an_item_that_is_in_no_heap_is_left_alone),
        cmocka_unit_test(random_operations_agree_with_a_sorted_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
