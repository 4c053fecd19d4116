/* Who sits behind which descriptor, with every order in which messages and closed events of reused
 * descriptors can be met. */
#include "broker/connections.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct address peer_of(const char *name)
{
    struct address a = { .len = 0 };
    size_t len = strlen(name);

    a.bytes[0] = (uint8_t)len;
    memcpy(a.bytes + 1, name, len);
    a.len = a.peer_len = (uint16_t)(len + 1);
    return a;
}

static void note(struct connections *c, int fd, const char *name)
{
    struct address a = peer_of(name);

    connections_note(c, fd, &a);
}

static void expect_gone(struct connections *c, const char *name)
{
    struct address gone, expected = peer_of(name);

    if (!connections_take(c, &gone))
        fail_msg("%s is not gone", name);
    assert_true(address_same_peer(&gone, &expected));
}

static void expect_nobody_gone(struct connections *c)
{
    struct address gone;

    if (connections_take(c, &gone))
        fail_msg("%.*s is gone", gone.bytes[0], (const char *)gone.bytes + 1);
}

static void a_closed_connection_ends_its_peer_once(void **state)
{
    struct connections c = { .room = 0 };

    (void)state;
    note(&c, 7, "a");
    note(&c, 300, "b");
    connections_end_turn(&c);
    connections_closed(&c, 7);
    connections_closed(&c, 7);
    connections_closed(&c, 9);
    connections_closed(&c, 1 << 30);
    connections_end_turn(&c);
    expect_gone(&c, "a");
    expect_nobody_gone(&c);
    connections_closed(&c, 300);
    connections_end_turn(&c);
    expect_gone(&c, "b");
    expect_nobody_gone(&c);
    connections_release(&c);
}

static void inproc_peers_are_nobodys_business(void **state)
{
    struct connections c = { .room = 0 };

    (void)state;
    note(&c, -1, "a");
    note(&c, 1 << 30, "b");
    connections_end_turn(&c);
    connections_closed(&c, -1);
    connections_end_turn(&c);
    expect_nobody_gone(&c);
    connections_release(&c);
}

static void a_replaced_peer_is_gone_and_its_event_spares_the_new_one(void **state)
{
    struct connections c = { .room = 0 };

    (void)state;
    note(&c, 7, "a");
    connections_end_turn(&c);
    note(&c, 7, "b");
    connections_closed(&c, 7);               /* a's */
    connections_end_turn(&c);
    expect_gone(&c, "a");
    expect_nobody_gone(&c);
    connections_closed(&c, 7);
    connections_end_turn(&c);
    expect_gone(&c, "b");
    connections_release(&c);
}

static void one_who_never_spoke_between_two_costs_the_second_nothing(void **state)
{
    struct connections c = { .room = 0 };

    (void)state;
    note(&c, 7, "a");
    connections_end_turn(&c);
    note(&c, 7, "b");
    connections_closed(&c, 7);               /* a's */
    connections_closed(&c, 7);               /* of who never spoke */
    connections_end_turn(&c);
    expect_gone(&c, "a");
    expect_nobody_gone(&c);
    connections_release(&c);
}

static void what_the_old_one_had_sent_does_not_bring_it_back(void **state)
{
    struct connections c = { .room = 0 };

    (void)state;
    note(&c, 7, "a");
    connections_end_turn(&c);
    note(&c, 7, "b");
    note(&c, 7, "a");                        /* was still waiting in its pipe */
    note(&c, 7, "b");
    connections_closed(&c, 7);
    connections_end_turn(&c);
    expect_gone(&c, "a");
    expect_nobody_gone(&c);
    connections_closed(&c, 7);
    connections_end_turn(&c);
    expect_gone(&c, "b");
    connections_release(&c);
}

static void two_new_ones_on_one_descriptor_are_told_apart_a_turn_later(void **state)
{
    struct connections c = { .room = 0 };

    (void)state;
    note(&c, 7, "a");
    note(&c, 7, "b");                        /* which of them is gone? */
    note(&c, 7, "a");
    connections_closed(&c, 7);
    connections_end_turn(&c);
    expect_nobody_gone(&c);
    note(&c, 7, "b");
    connections_end_turn(&c);
    connections_closed(&c, 7);
    connections_end_turn(&c);
    expect_gone(&c, "b");
    expect_nobody_gone(&c);
    connections_release(&c);
}

static void a_peer_that_comes_back_with_its_own_id_is_where_it_spoke_last(void **state)
{
    struct connections c = { .room = 0 };

    (void)state;
    note(&c, 7, "mine");
    connections_end_turn(&c);
    note(&c, 9, "mine");
    connections_closed(&c, 7);
    connections_end_turn(&c);
    expect_nobody_gone(&c);
    connections_closed(&c, 9);
    connections_end_turn(&c);
    expect_gone(&c, "mine");
    connections_release(&c);
}

static void events_wait_for_an_empty_link_but_not_for_ever(void **state)
{
    struct connections c = { .room = 0 };
    int waited = 0;

    (void)state;
    assert_true(connections_may_check(&c, true));
    while (!connections_may_check(&c, false))
        assert_true(++waited < 1000);
    assert_true(waited > 1);
    assert_false(connections_may_check(&c, false));
    assert_true(connections_may_check(&c, true));
    connections_release(&c);
}

/* Against a model: what is open, who spoke, in real order of time; then nobody who is open may be
 * ended, and who closed after a quiet turn must be. */
static void no_order_of_reuse_ends_one_who_is_there(void **state)
{
    struct connections c = { .room = 0 };
    char open[4][16] = { "" };
    uint32_t random = 1;
    int names = 0, ended = 0;

    (void)state;
    for (int turn = 0; turn < 20000; turn++) {
        int events[32], event_count = 0;

        for (int i = 0; i < 4; i++) {
            int fd = (int)((random = random * 1664525u + 1013904223u) >> 28) & 3;

            switch ((random >> 20) & 3) {
            case 0:                          /* closes, somebody else comes */
                events[event_count++] = fd;
                snprintf(open[fd], sizeof open[fd], "p%d", ++names);
                break;
            case 1:
                events[event_count++] = fd;
                open[fd][0] = '\0';
                break;
            default:
                if (open[fd][0])
                    note(&c, fd, open[fd]);
            }
        }
        for (int i = 0; i < event_count; i++)
            connections_closed(&c, events[i]);
        connections_end_turn(&c);
        for (struct address gone; connections_take(&c, &gone); ended++)
            for (int fd = 0; fd < 4; fd++) {
                struct address there = peer_of(open[fd]);

                assert_false(address_same_peer(&gone, &there));
            }
    }
    assert_true(ended > 1000);
    connections_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_connection_ends_its_peer_once),
        cmocka_unit_test(inproc_peers_are_nobodys_business),
        cmocka_unit_test(a_replaced_peer_is_gone_and_its_event_spares_the_new_one),
        cmocka_unit_test(one_who_never_spoke_between_two_costs_the_second_nothing),
        cmocka_unit_test(what_the_old_one_had_sent_does_not_bring_it_back),
        cmocka_unit_test(two_new_ones_on_one_descriptor_are_told_apart_a_turn_later),
        cmocka_unit_test(a_peer_that_comes_back_with_its_own_id_is_where_it_spoke_last),
        cmocka_unit_test(events_wait_for_an_empty_link_but_not_for_ever),
        cmocka_unit_test(no_order_of_reuse_ends_one_who_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
