#include "broker/queue.h"

#include "broker/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include <cmocka.h>

enum { ACCOUNTS = 4, MODELS = 3, WORKERS = 3, WAITERS = 4096, MS = 1000, AFFINITY_MS = 200 };

/* A few accounts with one request each, models, workers that have all of them, and as many renders
 * as a test wants. */
struct world {
    struct accounts accounts;
    struct queue queue;
    struct roster roster;
    struct model_entry models[MODELS];
    struct worker workers[WORKERS];
    struct account *account[ACCOUNTS];
    struct request *requests[ACCOUNTS];
    struct waiter waiters[WAITERS];
    struct render renders[WAITERS];
    size_t used;
    int64_t now_ms;
    uint64_t random;
};

static uint32_t dice(struct world *w, uint32_t sides)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % sides;
}

static int create_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    queue_init(&w->queue, &w->accounts, AFFINITY_MS);
    for (int i = 0; i < MODELS; i++)
        w->models[i].index = i;
    for (int i = 0; i < WORKERS; i++) {
        w->workers[i].serial = i + 1;
        w->workers[i].credit = 8;
        w->workers[i].peer[0] = (uint8_t)i;
        HASH_ADD_KEYPTR(hh, w->roster.by_peer, w->workers[i].peer, 1, &w->workers[i]);
        for (int k = 0; k < MODELS; k++)
            model_set_add(&w->workers[i].models, &w->models[k]);
    }
    for (int i = 0; i < ACCOUNTS; i++) {
        char name = (char)('a' + i);
        struct account_key key = account_key(ACCOUNT_USER, &name, 1);

        w->account[i] = accounts_get(&w->accounts, &key, 0);
        assert_non_null(w->account[i]);
        account_hold(&w->accounts, w->account[i]);
        w->requests[i] = calloc(1, sizeof *w->requests[i]);
        assert_non_null(w->requests[i]);
        w->requests[i]->account = w->account[i];
    }
    w->random = 20260101;
    *state = w;
    return 0;
}

static int destroy_world(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < w->used; i++)
        queue_remove_render(&w->queue, &w->renders[i]);
    assert_null(w->queue.active);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++) {
        assert_int_equal(w->queue.count[level], 0);
        assert_int_equal(w->accounts.active[level], 0);
    }
    for (int i = 0; i < ACCOUNTS; i++) {
        assert_null(w->account[i]->lines);
        account_drop(&w->accounts, w->account[i]);
        free(w->requests[i]);
    }
    HASH_CLEAR(hh, w->roster.by_peer);
    queue_release(&w->queue);
    accounts_release(&w->accounts);
    free(w);
    return 0;
}

/* A waiter of an account for render, queued, with an hour of time. */
static struct waiter *add_to(struct world *w, struct render *render, int account, int level)
{
    struct waiter *waiter = &w->waiters[w->used++];

    assert_true(w->used <= WAITERS);
    *waiter = (struct waiter){ .render = render, .request = w->requests[account],
                               .level = (uint8_t)level, .deadline_ms = w->now_ms + 3600000 };
    DL_APPEND(render->waiters, waiter);
    assert_true(queue_add(&w->queue, waiter));
    return waiter;
}

static struct render *add_model(struct world *w, int account, int level, int model)
{
    struct render *render = &w->renders[w->used];

    render->model = &w->models[model];
    return add_to(w, render, account, level)->render;
}

/* A new render of the first model that account waits for. */
static struct render *add(struct world *w, int account, int level)
{
    return add_model(w, account, level, 0);
}

static struct render *add_by(struct world *w, int account, int64_t deadline_ms)
{
    struct render *render = &w->renders[w->used];
    struct waiter *waiter = &w->waiters[w->used++];

    render->model = &w->models[0];
    *waiter = (struct waiter){ .render = render, .request = w->requests[account],
                               .level = MESSAGE_NORMAL, .deadline_ms = deadline_ms };
    DL_APPEND(render->waiters, waiter);
    assert_true(queue_add(&w->queue, waiter));
    return render;
}

static struct render *next_for(struct world *w, int worker, int lowest, int64_t cost_us)
{
    struct pick pick;

    if (!queue_peek(&w->queue, &w->roster, &w->workers[worker], lowest, &pick))
        return NULL;
    queue_take(&w->queue, &w->workers[worker], &pick, cost_us);
    return pick.render;
}

static struct render *next(struct world *w)
{
    return next_for(w, 0, MESSAGE_LOW, MS);
}

static int account_of(const struct world *w, const struct render *render)
{
    for (int i = 0; i < ACCOUNTS; i++)
        if (w->waiters[render - w->renders].request == w->requests[i])
            return i;
    return -1;
}

static void an_empty_queue_has_nothing(void **state)
{
    struct world *w = *state;

    assert_null(next(w));
    queue_remove(&w->queue, &w->waiters[0]);             /* not queued: nothing happens */
    w->renders[0].model = &w->models[0];
    queue_remove_render(&w->queue, &w->renders[0]);
    assert_null(next(w));
    assert_null(queue_any(&w->queue, &w->models[0]));
}

static void an_account_is_served_in_the_order_of_its_requests(void **state)
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

static void the_nearest_deadline_of_an_account_goes_first(void **state)
{
    struct world *w = *state;
    struct render *far = add_by(w, 0, 9000), *near = add_by(w, 0, 2000);
    struct render *same = add_by(w, 0, 2000), *mid = add_by(w, 0, 5000);
    struct render *other = add_by(w, 1, 100);

    assert_ptr_equal(next(w), near);
    assert_ptr_equal(next(w), other);        /* an account's deadlines are its own */
    assert_ptr_equal(next(w), same);
    assert_ptr_equal(next(w), mid);
    assert_ptr_equal(next(w), far);
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

/* One who asked for nothing while others worked has saved up no turns. */
static void who_comes_back_waits_for_its_turn(void **state)
{
    struct world *w = *state;
    int given[2] = { 0 };

    for (int i = 0; i < 100; i++)
        add(w, 0, MESSAGE_NORMAL);
    for (int i = 0; i < 50; i++)
        next(w);
    for (int i = 0; i < 50; i++)
        add(w, 1, MESSAGE_NORMAL);
    for (int i = 0; i < 40; i++)
        given[account_of(w, next(w))]++;
    assert_in_range(given[0], 19, 21);
}

/* By cost, not by number: for each dear picture of one the other gets ten cheap ones. */
static void turns_are_fair_by_cost(void **state)
{
    struct world *w = *state;
    int64_t given_us[2] = { 0 };

    for (int i = 0; i < 1000; i++)
        add_model(w, i % 2, MESSAGE_NORMAL, i % 2);
    w->queue.affinity_us = 0;
    for (int i = 0; i < 400; i++) {
        struct pick pick;

        assert_true(queue_peek(&w->queue, &w->roster, &w->workers[0], MESSAGE_LOW, &pick));
        int account = account_of(w, pick.render);
        int64_t cost_us = account ? 100 * MS : 10 * MS;

        queue_take(&w->queue, &w->workers[0], &pick, cost_us);
        given_us[account] += cost_us;
        assert_true(llabs(given_us[0] - given_us[1]) <= 200 * MS);
    }
    assert_true(given_us[0] > 1000 * MS);
}

/* Stated bound: two accounts that always have work differ by at most the two dearest pictures (one
 * by turns, one by the share of the oldest), and where their models differ by the affinity too;
 * whatever others do. */
static void who_always_has_work_gets_as_much_as_another(void **state)
{
    struct world *w = *state;
    int64_t given_us[ACCOUNTS] = { 0 }, dearest_us = 90 * MS;
    int64_t most_us = 0;

    for (int round = 0; round < 1500; round++) {
        int account = (int)dice(w, ACCOUNTS);

        for (int busy = 0; busy < 2; busy++)
            while (w->account[busy]->queued[MESSAGE_NORMAL] < 2)
                add_model(w, busy, MESSAGE_NORMAL, (int)dice(w, MODELS));
        if (account >= 2 && dice(w, 3) == 0)
            add_model(w, account, MESSAGE_NORMAL, (int)dice(w, MODELS));
        struct pick pick;
        struct worker *worker = &w->workers[dice(w, WORKERS)];

        assert_true(queue_peek(&w->queue, &w->roster, worker, MESSAGE_LOW, &pick));
        int64_t cost_us = (int64_t)(1 + pick.render->model->index * 44) * MS + dice(w, MS);

        given_us[account_of(w, pick.render)] += cost_us;
        queue_take(&w->queue, worker, &pick, cost_us);
        if (llabs(given_us[0] - given_us[1]) > most_us)
            most_us = llabs(given_us[0] - given_us[1]);
        if (w->used > WAITERS - 8)
            break;
    }
    assert_true(most_us <= 2 * dearest_us + AFFINITY_MS * MS);
    assert_true(most_us > dearest_us);       /* else nothing here tries the bound */
    assert_true(given_us[0] > 10000 * MS);
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

/* One part in twenty of the cost, however much more urgent work there is. */
static void the_oldest_get_their_share_under_a_flood_of_urgent_work(void **state)
{
    struct world *w = *state;
    int low = 0;

    for (int i = 0; i < 20; i++)
        add(w, 0, MESSAGE_LOW);
    for (int i = 0; i < 200; i++) {
        add(w, 1, MESSAGE_HIGH);
        low += account_of(w, next(w)) == 0;
    }
    assert_in_range(low, 9, 10);
}

static void a_dear_picture_waits_for_no_more_than_the_greatest_debt(void **state)
{
    struct world *w = *state;
    struct render *slow = add_model(w, 0, MESSAGE_LOW, 1);
    int turns = 0;

    roster_learn(&w->roster, &w->workers[0], &w->models[1], 600000000, 1, 0);
    roster_learn(&w->roster, &w->workers[0], &w->models[0], 1000000, 1, 0);
    do
        add(w, 1, MESSAGE_HIGH);
    while (++turns < 1000 && next_for(w, 0, MESSAGE_LOW, 1000 * MS) != slow);
    assert_in_range(turns, 100, 250);        /* ten seconds of debt, 50 ms each */
}

static void an_express_place_is_for_urgent_work_only(void **state)
{
    struct world *w = *state;
    struct render *back = add(w, 0, MESSAGE_NORMAL), *urgent_back = add(w, 0, MESSAGE_HIGH);

    queue_remove_render(&w->queue, back);
    queue_add_front(&w->queue, back);
    queue_remove_render(&w->queue, urgent_back);
    add(w, 0, MESSAGE_NORMAL);
    add(w, 0, MESSAGE_LOW);
    assert_null(next_for(w, 0, MESSAGE_HIGH, MS));
    struct render *high = add(w, 0, MESSAGE_HIGH);

    queue_add_front(&w->queue, urgent_back);
    assert_ptr_equal(next_for(w, 0, MESSAGE_HIGH, MS), urgent_back);
    assert_ptr_equal(next_for(w, 0, MESSAGE_HIGH, MS), high);
    assert_null(next_for(w, 0, MESSAGE_HIGH, MS));
    for (int i = 0; i < 19; i++) {
        add(w, 1, MESSAGE_HIGH);
        next_for(w, 0, MESSAGE_HIGH, MS);
    }
    add(w, 1, MESSAGE_HIGH);
    assert_null(next_for(w, 0, MESSAGE_HIGH, MS));       /* the next place is the oldest's */
    assert_ptr_equal(next(w), back);
    assert_int_equal(account_of(w, next(w)), 0);
    assert_int_equal(account_of(w, next_for(w, 0, MESSAGE_HIGH, MS)), 1);
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
    assert_int_equal(w->account[1]->virtual_us[MESSAGE_HIGH], MS);      /* and pays */
    assert_int_equal(w->account[1]->virtual_us[MESSAGE_NORMAL], 0);
    assert_int_equal(w->account[0]->virtual_us[MESSAGE_LOW], 0);
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
    assert_ptr_equal(queue_any(&w->queue, &w->models[0]), a);
    assert_ptr_equal(next(w), a);
    assert_ptr_equal(next(w), b);
    assert_ptr_equal(next(w), high);
    assert_null(next(w));
    assert_false(a->at_front);
}

static void what_failed_on_a_worker_goes_to_another_while_there_is_one(void **state)
{
    struct world *w = *state;
    struct render *back = add(w, 0, MESSAGE_LOW), *line = add(w, 1, MESSAGE_LOW);

    queue_remove_render(&w->queue, back);
    back->avoid = w->workers[0].serial;
    queue_add_front(&w->queue, back);
    assert_ptr_equal(next_for(w, 0, MESSAGE_LOW, MS), line);
    assert_null(next_for(w, 0, MESSAGE_LOW, MS));
    assert_ptr_equal(next_for(w, 1, MESSAGE_LOW, MS), back);
    queue_add_front(&w->queue, back);
    w->workers[1].credit = w->workers[2].credit = 0;
    assert_ptr_equal(next_for(w, 0, MESSAGE_LOW, MS), back);
}

static void removal_takes_one_waiter_or_all(void **state)
{
    struct world *w = *state;
    struct render *a = add(w, 0, MESSAGE_NORMAL);
    struct waiter *second = add_to(w, a, 1, MESSAGE_NORMAL);

    queue_remove(&w->queue, &w->waiters[0]);
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 1);
    assert_null(w->account[0]->lines);
    queue_remove(&w->queue, &w->waiters[0]);
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 1);
    assert_non_null(second->line);
    queue_remove_render(&w->queue, a);
    assert_int_equal(w->queue.count[MESSAGE_NORMAL], 0);
    assert_null(next(w));
    assert_null(w->queue.active);
}

static void a_worker_gets_only_models_that_it_has(void **state)
{
    struct world *w = *state;
    struct render *cat = add_model(w, 0, MESSAGE_HIGH, 0), *dog = add_model(w, 0, MESSAGE_LOW, 1);
    struct render *back = add_model(w, 1, MESSAGE_HIGH, 2);

    queue_remove_render(&w->queue, back);
    queue_add_front(&w->queue, back);
    w->workers[1].models = (struct model_set){ 0 };
    model_set_add(&w->workers[1].models, &w->models[1]);
    assert_int_equal(queue_demand(&w->queue, &w->workers[0]), 3);
    assert_int_equal(queue_demand(&w->queue, &w->workers[1]), 1);
    assert_ptr_equal(next_for(w, 1, MESSAGE_LOW, MS), dog);
    assert_null(next_for(w, 1, MESSAGE_LOW, MS));
    assert_ptr_equal(next_for(w, 0, MESSAGE_LOW, MS), back);
    assert_ptr_equal(next_for(w, 0, MESSAGE_LOW, MS), cat);
}

/* Few switches, and yet nobody waits behind more than the affinity. */
static void a_worker_stays_on_its_model_for_a_bounded_cost(void **state)
{
    struct world *w = *state;
    int last = 0, switches = 0, longest = 0, streak = 0;

    for (int i = 0; i < 1000; i++)
        add_model(w, i % 2, MESSAGE_NORMAL, i % 2);
    for (int i = 0; i < 900; i++) {
        int model = next_for(w, 0, MESSAGE_LOW, 10 * MS)->model->index;

        switches += model != last;
        streak = model == last ? streak + 1 : 1;
        longest = streak > longest ? streak : longest;
        last = model;
    }
    assert_true(longest <= AFFINITY_MS / 10 + 2);
    assert_true(switches < 200);             /* without it: nearly 900 */
}

/* The same account's own models: its deadlines decide once the worker has stayed long enough. */
static void an_account_cannot_wait_for_itself_on_another_model(void **state)
{
    struct world *w = *state;
    struct render *dog = NULL, *r;
    int turns = 0;

    w->now_ms = 1000;                        /* all of these are due after the dog */
    for (int i = 0; i < 50; i++)
        add_model(w, 0, MESSAGE_NORMAL, 0);
    next_for(w, 0, MESSAGE_LOW, 10 * MS);
    w->now_ms = 0;
    dog = add_model(w, 0, MESSAGE_NORMAL, 1);
    do {
        r = next_for(w, 0, MESSAGE_LOW, 10 * MS);
        assert_true(++turns <= AFFINITY_MS / 10 + 2);
    } while (r != dog);
    assert_true(turns > 5);
}

/* One whose only worker is slow falls behind the clock; those who come to it later do not wait for
 * all that it lacks. */
static void a_slow_models_waiters_do_not_save_turns_up(void **state)
{
    struct world *w = *state;
    int turns = 0;

    w->workers[0].models = (struct model_set){ 0 };
    model_set_add(&w->workers[0].models, &w->models[0]);
    w->workers[1].models = (struct model_set){ 0 };
    model_set_add(&w->workers[1].models, &w->models[1]);
    for (int i = 0; i < 1000; i++)
        add_model(w, 0, MESSAGE_NORMAL, 0);          /* served one in a hundred turns */
    for (int i = 0; i < 2000; i++) {
        add_model(w, 1, MESSAGE_NORMAL, 1);
        next_for(w, 1, MESSAGE_LOW, 100 * MS);
    }
    assert_int_equal(w->account[0]->virtual_us[MESSAGE_NORMAL], 0);
    struct render *late = add_model(w, 2, MESSAGE_NORMAL, 0);

    while (next_for(w, 0, MESSAGE_LOW, 10 * MS) != late)
        turns++;
    assert_in_range(turns, 1, 130);          /* a second and two pictures of lag */
}

int main(void)
{
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, create_world, destroy_world)
    const struct CMUnitTest tests[] = {
        IN_WORLD(an_empty_queue_has_nothing),
        IN_WORLD(an_account_is_served_in_the_order_of_its_requests),
        IN_WORLD(the_nearest_deadline_of_an_account_goes_first),
        IN_WORLD(who_asks_for_much_does_not_starve_who_asks_for_little),
        IN_WORLD(who_comes_back_waits_for_its_turn),
        IN_WORLD(turns_are_fair_by_cost),
        IN_WORLD(who_always_has_work_gets_as_much_as_another),
        IN_WORLD(higher_levels_go_first_whoever_asks),
        IN_WORLD(the_oldest_get_their_share_under_a_flood_of_urgent_work),
        IN_WORLD(a_dear_picture_waits_for_no_more_than_the_greatest_debt),
        IN_WORLD(an_express_place_is_for_urgent_work_only),
        IN_WORLD(a_render_leaves_with_all_who_wait_for_it),
        IN_WORLD(what_came_back_goes_before_everybody_in_its_order),
        IN_WORLD(what_failed_on_a_worker_goes_to_another_while_there_is_one),
        IN_WORLD(removal_takes_one_waiter_or_all),
        IN_WORLD(a_worker_gets_only_models_that_it_has),
        IN_WORLD(a_worker_stays_on_its_model_for_a_bounded_cost),
        IN_WORLD(an_account_cannot_wait_for_itself_on_another_model),
        IN_WORLD(a_slow_models_waiters_do_not_save_turns_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
