#include "broker/account.h"

#include "broker/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LEVEL = MESSAGE_NORMAL };

static struct account *get(struct accounts *accounts, const char *name, int64_t now_ms)
{
    struct account_key key = account_key(ACCOUNT_USER, name, strlen(name));
    struct account *a = accounts_get(accounts, &key, now_ms);

    assert_non_null(a);
    return a;
}

static struct account *get_and_hold(struct accounts *accounts, const char *name)
{
    struct account *a = get(accounts, name, 0);

    account_hold(accounts, a);       /* until then the next one that comes may end it */
    return a;
}

static void the_same_key_is_the_same_account_of_its_kind(void **state)
{
    struct accounts accounts = { 0 };
    struct account_key behalf = account_key(ACCOUNT_BEHALF, "ann", 3);
    struct account *ann = get_and_hold(&accounts, "ann");

    (void)state;
    assert_ptr_equal(get(&accounts, "ann", 0), ann);
    assert_ptr_not_equal(get(&accounts, "bob", 0), ann);
    assert_ptr_not_equal(accounts_get(&accounts, &behalf, 0), ann);
    accounts_release(&accounts);
    assert_null(accounts.by_key);
}

static void an_account_with_nothing_to_remember_ends_with_its_last_request(void **state)
{
    struct accounts accounts = { 0 };
    struct account *ann = get(&accounts, "ann", 0);

    (void)state;
    account_hold(&accounts, ann);
    account_hold(&accounts, ann);
    account_drop(&accounts, ann);
    accounts_sweep(&accounts, 0, 100);
    assert_int_equal(HASH_COUNT(accounts.by_key), 1);
    account_drop(&accounts, ann);
    accounts_sweep(&accounts, 0, 100);
    assert_int_equal(HASH_COUNT(accounts.by_key), 0);
    assert_int_equal(accounts.idle_count, 0);
    accounts_release(&accounts);
}

/* Else it could ask, be served, cancel and ask again, each time as one who is new. */
static void who_is_ahead_of_the_clock_is_remembered_until_it_catches_up(void **state)
{
    struct accounts accounts = { 0 };
    struct account *ann = get_and_hold(&accounts, "ann"), *bob = get_and_hold(&accounts, "bob");

    (void)state;
    account_enter(&accounts, bob, LEVEL);
    account_enter(&accounts, ann, LEVEL);
    account_charge(&accounts, ann, LEVEL, 5000);
    account_leave(&accounts, ann, LEVEL);
    account_drop(&accounts, ann);
    accounts_sweep(&accounts, 0, 100);
    assert_ptr_equal(get(&accounts, "ann", 0), ann);
    assert_int_equal(ann->virtual_us[LEVEL], 5000);
    account_leave(&accounts, bob, LEVEL);        /* nobody waits: nobody is ahead */
    accounts_sweep(&accounts, 0, 100);
    assert_int_equal(HASH_COUNT(accounts.by_key), 1);
    account_drop(&accounts, bob);
    accounts_release(&accounts);
}

static void who_comes_new_starts_at_the_clock(void **state)
{
    struct accounts accounts = { 0 };
    struct account *ann = get_and_hold(&accounts, "ann"), *bob = get_and_hold(&accounts, "bob");

    (void)state;
    account_enter(&accounts, ann, LEVEL);
    account_charge(&accounts, ann, LEVEL, 3000);
    account_charge(&accounts, ann, LEVEL, 4000);
    account_enter(&accounts, bob, LEVEL);
    assert_int_equal(bob->virtual_us[LEVEL], 3000);      /* where the last turn began */
    assert_int_equal(ann->virtual_us[LEVEL], 7000);
    account_enter(&accounts, bob, MESSAGE_HIGH);         /* each level has its own */
    assert_int_equal(bob->virtual_us[MESSAGE_HIGH], 0);
    assert_int_equal(accounts.active[LEVEL], 2);
    account_leave(&accounts, ann, LEVEL);
    account_leave(&accounts, bob, LEVEL);
    account_leave(&accounts, bob, MESSAGE_HIGH);
    assert_int_equal(accounts.active[LEVEL], 0);
    account_enter(&accounts, bob, LEVEL);
    assert_int_equal(bob->virtual_us[LEVEL], 7000);
    account_leave(&accounts, bob, LEVEL);
    accounts_release(&accounts);
}

static void the_idle_ones_are_bounded(void **state)
{
    struct accounts accounts = { .rate = 1, .burst = 1 };
    char name[32];
    int64_t wait_ms;

    (void)state;
    for (int i = 0; i < 3 * ACCOUNTS_IDLE_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        struct account *a = get(&accounts, name, 0);

        account_hold(&accounts, a);
        assert_true(account_spend(&accounts, a, 0, &wait_ms));       /* to remember it by */
        account_drop(&accounts, a);
        assert_true(HASH_COUNT(accounts.by_key) <= ACCOUNTS_IDLE_MAX + 1);
    }
    assert_int_equal(accounts.idle_count, ACCOUNTS_IDLE_MAX);
    accounts_sweep(&accounts, 1000, 3 * ACCOUNTS_IDLE_MAX);
    assert_int_equal(HASH_COUNT(accounts.by_key), 0);
    accounts_release(&accounts);
}

static void a_bucket_gives_its_burst_and_then_its_rate(void **state)
{
    struct accounts accounts = { .rate = 10, .burst = 3 };
    struct account *ann = get(&accounts, "ann", 1000);
    int64_t wait_ms = 0;

    (void)state;
    account_hold(&accounts, ann);
    for (int i = 0; i < 3; i++)
        assert_true(account_spend(&accounts, ann, 1000, &wait_ms));
    assert_false(account_spend(&accounts, ann, 1000, &wait_ms));
    assert_int_equal(wait_ms, 100);
    assert_false(account_spend(&accounts, ann, 1099, &wait_ms));
    assert_int_equal(wait_ms, 1);
    assert_true(account_spend(&accounts, ann, 1100, &wait_ms));
    assert_false(account_spend(&accounts, ann, 1100, &wait_ms));
    for (int i = 0; i < 3; i++)      /* a year later it is full, and no fuller */
        assert_true(account_spend(&accounts, ann, INT64_C(31536000000), &wait_ms));
    assert_false(account_spend(&accounts, ann, INT64_C(31536000000), &wait_ms));
    accounts_release(&accounts);
}

static void without_a_rate_any_number_may_be_asked(void **state)
{
    struct accounts accounts = { .burst = 1 };
    struct account *ann = get(&accounts, "ann", 0);
    int64_t wait_ms;

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_true(account_spend(&accounts, ann, 0, &wait_ms));
    accounts_release(&accounts);
}

static void who_pays_is_who_asks_or_whom_it_speaks_for(void **state)
{
    struct client client = { .peer = "peer", .peer_len = 4 };
    struct account_key key;

    (void)state;
    key = client_account(&client, text_of(""));
    assert_memory_equal(key.bytes, "cpeer", key.len);
    text_copy(text_of("uid:1000"), client.access.user, sizeof client.access.user);
    key = client_account(&client, text_of(""));
    assert_memory_equal(key.bytes, "uuid:1000", key.len);
    key = client_account(&client, text_of("uid:1000"));  /* is another one all the same */
    assert_memory_equal(key.bytes, "fuid:1000", key.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_key_is_the_same_account_of_its_kind),
        cmocka_unit_test(an_account_with_nothing_to_remember_ends_with_its_last_request),
        cmocka_unit_test(who_is_ahead_of_the_clock_is_remembered_until_it_catches_up),
        cmocka_unit_test(who_comes_new_starts_at_the_clock),
        cmocka_unit_test(the_idle_ones_are_bounded),
        cmocka_unit_test(a_bucket_gives_its_burst_and_then_its_rate),
        cmocka_unit_test(without_a_rate_any_number_may_be_asked),
        cmocka_unit_test(who_pays_is_who_asks_or_whom_it_speaks_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
