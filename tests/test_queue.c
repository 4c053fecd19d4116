#include "broker/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <cmocka.h>

enum { CLIENTS = 3, WAITERS = 64 };

/* Three clients with one request each, and as many renders as a test wants. */
struct world {
    struct queue queue;
    struct client clients[CLIENTS];
    struct request requests[CLIENTS];
    struct waiter waiters[WAITERS];
    struct render renders[WAITERS];
    size_t used;
};

static int create_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    for (int i = 0; i < CLIENTS; i++) {
        w->requests[i].client = &w->clients[i];
        for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
            w->clients[i].lines[level].client = &w->clients[i];
    }
    *state = w;
    return 0;
}

static int destroy_world(void **state)
{
    free(*state);
    return 0;
}

/* A waiter of client for render, queued. */
static struct waiter *add_to(struct world *w, struct render *render, int client, int level)
{
    struct waiter *waiter = &w->waiters[w->used++];

    assert_true(w->used <= WAITERS);
    *waiter = (struct waiter){ .render = render, .request = &w->requests[client], .level = level };
    DL_APPEND(render->waiters, waiter);
    queue_add(&w->queue, waiter);
    return waiter;
}

/* A new render that client waits for. */
static struct render *add(struct world *w, int client, int level)
{
    struct render *render = &w->renders[w->used];

    return add_to(w, render, client, level)->render;
}

static bool accept_all(void *arg, const struct render *render)
{
    (void)arg;
    (void)render;
    return true;
}

static bool accept_one(void *arg, const struct render *render)
{
    return arg == render;
}

static bool accept_model(void *arg, const struct render *render)
{
    return digest_equal(arg, &render->recipe.model);
}

static struct render *next(struct world *w)
{
    return queue_next(&w->queue, accept_all, NULL);
}

static void an_empty_queue_has_nothing(void **state)
{
    struct world *w = *state;

    assert_null(next(w));
    queue_remove(&w->queue, &w->waiters[0]);             /* not queued: nothing happens */
    queue_remove_render(&w->queue, &w->renders[0]);
    assert_null(next(w));
}

static void a_client_is_served_in_the_order_of_its_requests(void **state)
{
    struct world *w = *state;
    struct render *r[5];

    for (int i = 0; i < 5; i++)
        r[i] = add(w, 0, MESSAGE_NORMAL);
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 5);
    for (int i = 0; i < 5; i++)
        assert_ptr_equal(next(w), r[i]);
    assert_null(next(w));
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 0);
}

static void who_asks_for_much_does_not_starve_who_asks_for_little(void **state)
{
    struct world *w = *state;
    struct render *a[10], *b, *c[2];

    for (int i = 0; i < 10; i++)
        a[i] = add(w, 0, MESSAGE_NORMAL);
    b = add(w, 1, MESSAGE_NORMAL);
    c[0] = add(w, 2, MESSAGE_NORMAL);
    c[1] = add(w, 2, MESSAGE_NORMAL);
    assert_ptr_equal(next(w), a[0]);
    assert_ptr_equal(next(w), b);
    assert_ptr_equal(next(w), c[0]);
    assert_ptr_equal(next(w), a[1]);
    assert_ptr_equal(next(w), c[1]);
    for (int i = 2; i < 10; i++)
        assert_ptr_equal(next(w), a[i]);
    assert_null(next(w));
}

static void a_client_that_comes_back_waits_for_its_turn(void **state)
{
    struct world *w = *state;
    struct render *a = add(w, 0, MESSAGE_NORMAL), *b = add(w, 1, MESSAGE_NORMAL);
    struct render *a2;

    assert_ptr_equal(next(w), a);
    a2 = add(w, 0, MESSAGE_NORMAL);
    assert_ptr_equal(next(w), b);
    assert_ptr_equal(next(w), a2);
}

static void higher_levels_go_first_whoever_asks(void **state)
{
    struct world *w = *state;
    struct render *low = add(w, 0, MESSAGE_LOW), *normal = add(w, 0, MESSAGE_NORMAL);
    struct render *high = add(w, 1, MESSAGE_HIGH), *high2 = add(w, 0, MESSAGE_HIGH);

    assert_int_equal(w->queue.count[MESSAGE_LOW], 1);
    assert_int_equal(w->queue.count[MESSAGE_HIGH], 2);
    assert_ptr_equal(next(w), high);
    assert_ptr_equal(next(w), high2);
    assert_ptr_equal(next(w), normal);
    assert_ptr_equal(next(w), low);
}

static void a_render_leaves_with_all_who_wait_for_it(void **state)
{
    struct world *w = *state;
    struct render *shared = add(w, 0, MESSAGE_LOW), *other = add(w, 0, MESSAGE_LOW);

    add_to(w, shared, 1, MESSAGE_NORMAL);        /* the first one popped dispatches for all */
    add_to(w, shared, 1, MESSAGE_HIGH);
    assert_ptr_equal(next(w), shared);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
        assert_int_equal(w->queue.count[level], level == MESSAGE_LOW);
    assert_ptr_equal(next(w), other);
    assert_null(next(w));
    for (size_t i = 0; i < w->used; i++)
        assert_null(w->waiters[i].line);
}

static void what_came_back_goes_before_everybody_in_its_order(void **state)
{
    struct world *w = *state;
    struct render *high = add(w, 0, MESSAGE_HIGH);
    struct render *a = add(w, 1, MESSAGE_LOW), *b = add(w, 2, MESSAGE_LOW);

    queue_remove_render(&w->queue, a);
    queue_remove_render(&w->queue, b);
    queue_add_front(&w->queue, a);
    queue_add_front(&w->queue, b);
    queue_add_front(&w->queue, a);               /* twice is once */
    assert_ptr_equal(next(w), a);
    assert_ptr_equal(next(w), b);
    assert_ptr_equal(next(w), high);
    assert_null(next(w));
    assert_false(a->at_front);
}

static void what_came_back_and_is_refused_does_not_block_the_others(void **state)
{
    struct world *w = *state;
    struct render *front = add(w, 0, MESSAGE_LOW), *line = add(w, 1, MESSAGE_LOW);

    queue_remove_render(&w->queue, front);
    queue_add_front(&w->queue, front);
    assert_ptr_equal(queue_next(&w->queue, accept_one, line), line);
    assert_null(queue_next(&w->queue, accept_one, line));
    assert_ptr_equal(next(w), front);
}

static void removal_takes_one_waiter_or_all(void **state)
{
    struct world *w = *state;
    struct render *a = add(w, 0, MESSAGE_NORMAL), *b = add(w, 0, MESSAGE_NORMAL);
    struct waiter *second = add_to(w, a, 1, MESSAGE_NORMAL);

    queue_remove(&w->queue, a->waiters);         /* the other still waits, under its own client */
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 2);
    queue_remove(&w->queue, a->waiters);
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 2);
    assert_ptr_equal(next(w), b);
    assert_ptr_equal(next(w), a);
    assert_null(second->line);

    queue_add(&w->queue, second);
    queue_add(&w->queue, second);                /* twice is once */
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 1);
    queue_remove_render(&w->queue, a);
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 0);
    assert_null(next(w));
    assert_null(w->queue.ring[MESSAGE_NORMAL]);
}

static void a_worker_without_the_first_model_gets_the_next_one(void **state)
{
    struct world *w = *state;
    struct digest cats = { { 1 } }, dogs = { { 2 } };
    struct render *cat = add(w, 0, MESSAGE_NORMAL), *dog = add(w, 0, MESSAGE_NORMAL);

    cat->recipe.model = cats;
    dog->recipe.model = dogs;
    assert_ptr_equal(queue_next(&w->queue, accept_model, &dogs), dog);
    assert_null(queue_next(&w->queue, accept_model, &dogs));
    assert_ptr_equal(queue_next(&w->queue, accept_model, &cats), cat);
}

/* A worker is offered the first sixteen of a line, so that one turn stays short. */
static void the_look_ahead_of_a_line_is_bounded(void **state)
{
    struct world *w = *state;
    struct render *r[18];

    for (int i = 0; i < 18; i++)
        r[i] = add(w, 0, MESSAGE_NORMAL);
    assert_null(queue_next(&w->queue, accept_one, r[16]));
    assert_ptr_equal(queue_next(&w->queue, accept_one, r[15]), r[15]);
    assert_ptr_equal(queue_next(&w->queue, accept_one, r[16]), r[16]);
    struct render *other = add(w, 1, MESSAGE_NORMAL);

    assert_ptr_equal(queue_next(&w->queue, accept_one, other), other);
}

static void a_refused_turn_is_not_lost(void **state)
{
    struct world *w = *state;
    struct render *a = add(w, 0, MESSAGE_NORMAL), *a2 = add(w, 0, MESSAGE_NORMAL);
    struct render *b = add(w, 1, MESSAGE_NORMAL);

    assert_ptr_equal(queue_next(&w->queue, accept_one, b), b);   /* nothing for it from client 0 */
    struct render *b2 = add(w, 1, MESSAGE_NORMAL);

    assert_ptr_equal(next(w), a);
    assert_ptr_equal(next(w), b2);
    assert_ptr_equal(next(w), a2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_queue_has_nothing, create_world, destroy_world),
        cmocka_unit_test_setup_teardown(a_client_is_served_in_the_order_of_its_requests,
                                        create_world, destroy_world),
        cmocka_unit_test_setup_teardown(who_asks_for_much_does_not_starve_who_asks_for_little,
                                        create_world, destroy_world),
        cmocka_unit_test_setup_teardown(a_client_that_comes_back_waits_for_its_turn, create_world,
                                        destroy_world),
        cmocka_unit_test_setup_teardown(higher_levels_go_first_whoever_asks, create_world,
                                        destroy_world),
        cmocka_unit_test_setup_teardown(a_render_leaves_with_all_who_wait_for_it, create_world,
                                        destroy_world),
        cmocka_unit_test_setup_teardown(what_came_back_goes_before_everybody_in_its_order,
                                        create_world, destroy_world),
        cmocka_unit_test_setup_teardown(what_came_back_and_is_refused_does_not_block_the_others,
                                        create_world, destroy_world),
        cmocka_unit_test_setup_teardown(removal_takes_one_waiter_or_all, create_world,
                                        destroy_world),
        cmocka_unit_test_setup_teardown(a_worker_without_the_first_model_gets_the_next_one,
                                        create_world, destroy_world),
        cmocka_unit_test_setup_teardown(the_look_ahead_of_a_line_is_bounded, create_world,
                                        destroy_world),
        cmocka_unit_test_setup_teardown(a_refused_turn_is_not_lost, create_world, destroy_world),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
