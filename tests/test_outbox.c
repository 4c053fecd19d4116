/* Messages that wait for a socket: in order, within their bytes and their time. */
#include "base/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PLENTY = 1 << 20 };

static bool keep(struct outbox *box, int number, size_t bytes_max, int64_t now_ms)
{
    struct frame map, payload;
    char text[16];
    bool kept;

    snprintf(text, sizeof text, "%d", number);
    assert_true(frame_init_copy(&map, text, strlen(text)));
    assert_true(frame_init_copy(&payload, "payload", 7));
    kept = outbox_keep(box, NULL, &map, number % 2 ? &payload : NULL, bytes_max, now_ms);
    assert_int_equal(frame_len(&map), strlen(text));         /* the caller's own is as it was */
    frame_release(&map);
    frame_release(&payload);
    return kept;
}

struct pair {
    struct link_context *context;
    struct link *from, *to;
};

/* The other end takes few messages before they are received. */
static void open_pair(struct pair *p)
{
    struct link_options in = { .kind = LINK_ROUTER, .receive_hwm = 2, .frame_max = 1000 };
    struct link_options out = { .kind = LINK_DEALER, .send_hwm = 2, .frame_max = 1000 };
    struct err e;

    assert_int_equal(link_context_create(&p->context, &e), ERR_OK);
    assert_int_equal(link_create(p->context, &in, &p->to, &e), ERR_OK);
    assert_int_equal(link_bind(p->to, "inproc://outbox", &e), ERR_OK);
    assert_int_equal(link_create(p->context, &out, &p->from, &e), ERR_OK);
    assert_int_equal(link_connect(p->from, "inproc://outbox", &e), ERR_OK);
}

static void close_pair(struct pair *p)
{
    link_destroy(&p->from);
    link_destroy(&p->to);
    link_context_destroy(&p->context);
}

static void what_waits_goes_out_in_order_when_there_is_room(void **state)
{
    enum { COUNT = 50 };
    struct outbox box = { .count = 0 };
    struct parcel parcel;
    struct pair p;
    int next = 0;
    bool was_full = false;

    (void)state;
    open_pair(&p);
    for (int i = 0; i < COUNT; i++)
        assert_true(keep(&box, i, PLENTY, 0));
    assert_int_equal(box.count, COUNT);
    while (next < COUNT) {
        was_full |= outbox_flush(&box, p.from) == LINK_FULL;
        while (link_receive(p.to, &parcel)) {
            char text[16];

            snprintf(text, sizeof text, "%d", next);
            assert_int_equal(parcel.count, next % 2 ? 2 : 1);
            assert_int_equal(frame_len(&parcel.body[0]), strlen(text));
            assert_memory_equal(frame_data(&parcel.body[0]), text, strlen(text));
            parcel_release(&parcel);
            next++;
        }
    }
    assert_true(was_full);
    assert_int_equal(outbox_flush(&box, p.from), LINK_SENT);
    assert_int_equal(box.count, 0);
    assert_int_equal(box.bytes, 0);
    close_pair(&p);
}

static void there_are_never_more_bytes_than_the_bound(void **state)
{
    struct outbox box = { .count = 0 };
    size_t bytes;

    (void)state;
    assert_true(keep(&box, 1, PLENTY, 0));
    bytes = box.bytes;
    assert_true(bytes > sizeof(struct outbox_letter) + 7);
    assert_true(keep(&box, 3, 2 * bytes, 0));
    assert_false(keep(&box, 5, 3 * bytes - 1, 0));
    assert_int_equal(box.count, 2);
    assert_int_equal(box.bytes, 2 * bytes);
    assert_true(keep(&box, 5, 3 * bytes, 0));
    outbox_clear(&box);
    assert_int_equal(box.count, 0);
    assert_int_equal(box.bytes, 0);
}

static void what_is_too_old_is_forgotten(void **state)
{
    struct outbox box = { .count = 0 };

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(keep(&box, i, PLENTY, 100 + i));
    outbox_expire(&box, 100);
    assert_int_equal(box.count, 5);
    outbox_expire(&box, 103);
    assert_int_equal(box.count, 2);
    assert_int_equal(box.first->since_ms, 103);
    outbox_expire(&box, 1000);
    assert_int_equal(box.count, 0);
    assert_int_equal(box.bytes, 0);
}

static void a_peer_that_is_not_there_keeps_its_letters(void **state)
{
    struct address nobody = { .len = 6, .peer_len = 6, .bytes = { 5, 'a', 'b', 'c', 'd', 'e' } };
    struct outbox box = { .count = 0 };
    struct frame map;
    struct pair p;

    (void)state;
    open_pair(&p);
    assert_true(frame_init_copy(&map, "x", 1));
    assert_true(outbox_keep(&box, &nobody, &map, NULL, PLENTY, 0));
    assert_int_equal(outbox_flush(&box, p.to), LINK_GONE);
    assert_int_equal(box.count, 1);
    outbox_clear(&box);
    frame_release(&map);
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_waits_goes_out_in_order_when_there_is_room),
        cmocka_unit_test(there_are_never_more_bytes_than_the_bound),
        cmocka_unit_test(what_is_too_old_is_forgotten),
        cmocka_unit_test(a_peer_that_is_not_there_keeps_its_letters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
