/* Links against plain libzmq sockets, as programs in other languages use them. */
#include "base/link.h"

#include "base/clock.h"
#include "tests/kit_temp.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000 };       /* how long a test waits for what must come */

/* ---- our side ---- */

static struct link_context *context_of(void)
{
    struct link_context *context;
    struct err e;

    assert_int_equal(link_context_create(&context, &e), ERR_OK);
    return context;
}

static struct link *link_with(struct link_context *context, const struct link_options *options)
{
    struct link *link;
    struct err e;

    if (link_create(context, options, &link, &e))
        fail_msg("%s", e.msg);
    return link;
}

static struct link *link_of(struct link_context *context, enum link_kind kind)
{
    return link_with(context, &(struct link_options){ .kind = kind, .frame_max = 1 << 20 });
}

static struct link *router_at(struct link_context *context, const char *endpoint)
{
    struct link *link = link_of(context, LINK_ROUTER);
    struct err e;

    if (link_bind(link, endpoint, &e))
        fail_msg("%s", e.msg);
    return link;
}

static bool waits_for(struct link *link, bool wants_room)
{
    struct link_wait wait = { .link = link, .wants_room = wants_room };

    link_poll(&wait, 1, clock_ms() + PATIENCE_MS);
    return wait.ready;
}

static struct parcel received(struct link *link)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    struct parcel parcel;

    while (!link_receive(link, &parcel)) {
        assert_true(clock_ms() < end_ms);
        waits_for(link, false);
    }
    return parcel;
}

static struct frame frame_of(const char *text)
{
    struct frame frame;

    assert_true(frame_init_copy(&frame, text, strlen(text)));
    return frame;
}

static void assert_frame(const struct frame *frame, const char *text)
{
    assert_int_equal(frame_len(frame), strlen(text));
    assert_memory_equal(frame_data(frame), text, strlen(text));
}

static enum link_sent send_text(struct link *link, const struct address *to, const char *text)
{
    struct frame frame = frame_of(text);
    enum link_sent sent = link_send(link, to, &frame, NULL);

    assert_int_equal(frame_len(&frame), sent == LINK_SENT ? 0 : strlen(text));
    frame_release(&frame);
    return sent;
}

/* ---- the other side: plain sockets in a context of their own ---- */

struct plain {
    void *zmq, *socket;
};

static void *plain_socket(void *zmq, int type)
{
    int no = 0, patience = PATIENCE_MS;
    void *socket = zmq_socket(zmq, type);

    assert_non_null(socket);
    zmq_setsockopt(socket, ZMQ_LINGER, &no, sizeof no);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    zmq_setsockopt(socket, ZMQ_SNDTIMEO, &patience, sizeof patience);
    return socket;
}

static struct plain plain_of(int type, const char *endpoint)
{
    struct plain p = { .zmq = zmq_ctx_new() };

    p.socket = plain_socket(p.zmq, type);
    assert_int_equal(zmq_connect(p.socket, endpoint), 0);
    return p;
}

static void plain_end(struct plain *p)
{
    zmq_close(p->socket);
    zmq_ctx_term(p->zmq);
}

/* frames end in NULL; "" is an empty frame. */
static void plain_send(const struct plain *p, const char *const *frames)
{
    for (; *frames; frames++)
        assert_int_equal(zmq_send(p->socket, *frames, strlen(*frames), frames[1] ? ZMQ_SNDMORE : 0),
                         (int)strlen(*frames));
}

static void plain_expect(const struct plain *p, const char *const *frames)
{
    for (; *frames; frames++) {
        char got[256];
        int more, len = zmq_recv(p->socket, got, sizeof got, 0);
        size_t size = sizeof more;

        assert_int_equal(len, strlen(*frames));
        assert_memory_equal(got, *frames, (size_t)len);
        zmq_getsockopt(p->socket, ZMQ_RCVMORE, &more, &size);
        assert_int_equal(more, frames[1] != NULL);
    }
}

#define SEND(plain, ...)   plain_send(plain, (const char *const[]){ __VA_ARGS__, NULL })
#define EXPECT(plain, ...) plain_expect(plain, (const char *const[]){ __VA_ARGS__, NULL })

/* ---- requests and answers ---- */

static void a_req_socket_is_answered(const char *endpoint, bool is_correlated)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, endpoint);
    struct plain p = { .zmq = zmq_ctx_new() };
    int yes = 1;

    p.socket = plain_socket(p.zmq, ZMQ_REQ);
    if (is_correlated)
        zmq_setsockopt(p.socket, ZMQ_REQ_CORRELATE, &yes, sizeof yes);
    assert_int_equal(zmq_connect(p.socket, link_endpoint(router)), 0);
    for (int round = 0; round < 3; round++) {
        SEND(&p, "question");
        struct parcel parcel = received(router);

        assert_int_equal(parcel.count, 1);
        assert_true(parcel.from.delimited);
        assert_frame(&parcel.body[0], "question");
        assert_int_equal(send_text(router, &parcel.from, "answer"), LINK_SENT);
        parcel_release(&parcel);
        EXPECT(&p, "answer");
    }
    plain_end(&p);
    link_destroy(&router);
    link_context_destroy(&context);
    assert_null(router);
    assert_null(context);
}

static void a_plain_req_socket_is_answered_over_tcp_and_ipc(void **state)
{
    struct temp temp = temp_create();
    char endpoint[300];

    (void)state;
    a_req_socket_is_answered("tcp://127.0.0.1:*", false);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", temp_path(&temp, "s").text);
    a_req_socket_is_answered(endpoint, false);
    temp_destroy(&temp);
}

static void a_correlated_req_socket_is_answered(void **state)
{
    (void)state;
    a_req_socket_is_answered("tcp://127.0.0.1:*", true);
}

static void a_bare_dealer_gets_bare_answers_with_their_bytes(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://127.0.0.1:*");
    struct plain p = plain_of(ZMQ_DEALER, link_endpoint(router));
    struct frame map = frame_of("map"),
                 bytes = frame_of("a picture that is longer than a short one");
    struct parcel parcel;

    (void)state;
    SEND(&p, "hello", "bytes");
    parcel = received(router);
    assert_false(parcel.from.delimited);
    assert_int_equal(parcel.count, 2);
    assert_frame(&parcel.body[0], "hello");
    assert_frame(&parcel.body[1], "bytes");
    assert_int_equal(link_send(router, &parcel.from, &map, &bytes), LINK_SENT);
    assert_int_equal(frame_len(&map), 0);
    assert_frame(&bytes, "a picture that is longer than a short one");   /* shared, not taken */
    EXPECT(&p, "map", "a picture that is longer than a short one");
    frame_release(&map);
    frame_release(&bytes);
    parcel_release(&parcel);
    plain_end(&p);
    link_destroy(&router);
    link_context_destroy(&context);
}

static void eight_envelope_frames_are_echoed(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://127.0.0.1:*");
    struct plain p = plain_of(ZMQ_DEALER, link_endpoint(router));
    struct frame map = frame_of("map"), bytes = frame_of("bytes");
    struct parcel parcel;

    (void)state;
    SEND(&p, "1", "2", "3", "4", "5", "6", "7", "8", "", "body");
    parcel = received(router);
    assert_int_equal(parcel.count, 1);
    assert_true(parcel.from.delimited);
    assert_frame(&parcel.body[0], "body");
    assert_int_equal(link_send(router, &parcel.from, &map, &bytes), LINK_SENT);
    EXPECT(&p, "1", "2", "3", "4", "5", "6", "7", "8", "", "map", "bytes");
    assert_int_equal(link_malformed(router), 0);
    frame_release(&map);
    frame_release(&bytes);
    parcel_release(&parcel);
    plain_end(&p);
    link_destroy(&router);
    link_context_destroy(&context);
}

static void malformed_messages_are_dropped_and_counted(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://127.0.0.1:*");
    struct plain p = plain_of(ZMQ_DEALER, link_endpoint(router));
    char longest[256], longer[257];
    struct parcel parcel;

    (void)state;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    SEND(&p, "");                                                        /* no body */
    SEND(&p, "1", "");
    SEND(&p, "", "map", "bytes", "more");                                /* too long a body */
    SEND(&p, "map", "bytes", "more");
    SEND(&p, "1", "2", "3", "4", "5", "6", "7", "8", "9", "", "body");   /* nine */
    SEND(&p, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "", "body");
    SEND(&p, longer, "", "body");                                        /* too long an address */
    SEND(&p, longest, longest, "", "body");
    SEND(&p, longest, "", "good");
    parcel = received(router);
    assert_int_equal(parcel.count, 1);
    assert_frame(&parcel.body[0], "good");
    assert_int_equal(link_malformed(router), 8);
    assert_int_equal(send_text(router, &parcel.from, "answer"), LINK_SENT);
    EXPECT(&p, longest, "", "answer");
    parcel_release(&parcel);
    plain_end(&p);
    link_destroy(&router);
    link_context_destroy(&context);
}

static void a_peer_that_sends_nothing_right_cannot_hold_the_loop(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://127.0.0.1:*");
    struct plain p = plain_of(ZMQ_DEALER, link_endpoint(router));
    struct parcel parcel;
    int64_t before = 0;
    bool got = false;

    (void)state;
    for (int i = 0; i < 500; i++)
        SEND(&p, "");
    SEND(&p, "good");
    while (!got) {
        assert_true(waits_for(router, false));
        got = link_receive(router, &parcel);
        assert_true(link_malformed(router) - before <= 16);
        before = link_malformed(router);
    }
    assert_int_equal(link_malformed(router), 500);
    assert_frame(&parcel.body[0], "good");
    parcel_release(&parcel);
    plain_end(&p);
    link_destroy(&router);
    link_context_destroy(&context);
}

/* A routing id may have 255 bytes, and with its length 256: one more than a byte can count. */
static void peers_with_the_longest_ids_are_told_apart(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://127.0.0.1:*");
    struct plain p[2];
    struct parcel parcel[2];
    char id[255];

    (void)state;
    for (int i = 0; i < 2; i++) {
        memset(id, 'i', sizeof id);
        id[254] = (char)('0' + i);
        p[i].zmq = zmq_ctx_new();
        p[i].socket = plain_socket(p[i].zmq, ZMQ_DEALER);
        zmq_setsockopt(p[i].socket, ZMQ_ROUTING_ID, id, sizeof id);
        assert_int_equal(zmq_connect(p[i].socket, link_endpoint(router)), 0);
        SEND(&p[i], "hello");
        parcel[i] = received(router);
    }
    assert_int_equal(parcel[0].from.peer_len, 256);
    assert_false(address_same_peer(&parcel[0].from, &parcel[1].from));
    assert_true(address_same_peer(&parcel[0].from, &parcel[0].from));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(send_text(router, &parcel[i].from, i ? "one" : "nought"), LINK_SENT);
        EXPECT(&p[i], i ? "one" : "nought");
        parcel_release(&parcel[i]);
        plain_end(&p[i]);
    }
    link_destroy(&router);
    link_context_destroy(&context);
}

static void the_envelope_is_no_part_of_the_peer(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://127.0.0.1:*");
    struct plain p = plain_of(ZMQ_DEALER, link_endpoint(router));
    struct parcel a, b;

    (void)state;
    SEND(&p, "bare");
    SEND(&p, "envelope", "", "delimited");
    a = received(router);
    b = received(router);
    assert_true(address_same_peer(&a.from, &b.from));
    assert_true(a.from.len < b.from.len);
    parcel_release(&a);
    parcel_release(&b);
    plain_end(&p);
    link_destroy(&router);
    link_context_destroy(&context);
}

/* ---- peers that are gone, slow, or not there yet ---- */

static void a_peer_that_never_was_is_gone(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://127.0.0.1:*");
    struct address to = { .len = 6, .peer_len = 6, .bytes = { 5, 0, 1, 2, 3, 4 } };

    (void)state;
    assert_int_equal(send_text(router, &to, "answer"), LINK_GONE);
    link_destroy(&router);
    link_context_destroy(&context);
}

static void a_peer_that_left_is_gone(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://127.0.0.1:*");
    struct plain p = plain_of(ZMQ_DEALER, link_endpoint(router));
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    struct parcel parcel;

    (void)state;
    SEND(&p, "hello");
    parcel = received(router);
    plain_end(&p);
    while (send_text(router, &parcel.from, "answer") != LINK_GONE) {
        struct pollfd something = { .fd = link_fd(router), .events = POLLIN };

        assert_true(clock_ms() < end_ms);
        poll(&something, 1, 10);
        link_is_readable(router);
    }
    parcel_release(&parcel);
    link_destroy(&router);
    link_context_destroy(&context);
}

/* Trap: without MANDATORY most of what a slow peer is sent vanishes; without DONTWAIT it blocks
 * everybody. */
static void a_slow_peer_is_full_and_loses_nothing_and_blocks_nobody(void **state)
{
    enum { LEN = 100000 };
    struct link_context *context = context_of();
    struct link *router = link_with(context, &(struct link_options){ .kind = LINK_ROUTER,
                                                                     .send_hwm = 4,
                                                                     .frame_max = 1 << 20 });
    struct plain slow = { .zmq = zmq_ctx_new() }, quick;
    struct parcel from_slow, from_quick;
    char *data = calloc(1, LEN), *got = malloc(LEN);
    int two = 2, small = 4096;
    uint32_t sent = 0;
    struct frame bytes;

    (void)state;
    assert_int_equal(link_bind(router, "tcp://127.0.0.1:*", NULL), ERR_OK);
    slow.socket = plain_socket(slow.zmq, ZMQ_DEALER);
    zmq_setsockopt(slow.socket, ZMQ_RCVHWM, &two, sizeof two);
    zmq_setsockopt(slow.socket, ZMQ_RCVBUF, &small, sizeof small);
    assert_int_equal(zmq_connect(slow.socket, link_endpoint(router)), 0);
    quick = plain_of(ZMQ_DEALER, link_endpoint(router));
    SEND(&slow, "slow");
    from_slow = received(router);
    SEND(&quick, "quick");
    from_quick = received(router);

    assert_true(frame_init_copy(&bytes, data, LEN));
    for (;; sent++) {
        struct frame number;
        enum link_sent answer;

        assert_true(frame_init_copy(&number, &sent, sizeof sent));
        answer = link_send(router, &from_slow.from, &number, &bytes);
        assert_int_equal(frame_len(&number), answer == LINK_SENT ? 0 : sizeof sent);
        frame_release(&number);
        if (answer == LINK_FULL)
            break;
        assert_int_equal(answer, LINK_SENT);
        assert_true(sent < 10000);
    }
    assert_int_equal(send_text(router, &from_quick.from, "still here"), LINK_SENT);
    EXPECT(&quick, "still here");
    for (uint32_t i = 0; i < sent; i++) {
        uint32_t number = 0;

        assert_int_equal(zmq_recv(slow.socket, &number, sizeof number, 0), sizeof number);
        assert_int_equal(number, i);
        assert_int_equal(zmq_recv(slow.socket, got, LEN, 0), LEN);
    }
    assert_int_equal(zmq_recv(slow.socket, got, LEN, ZMQ_DONTWAIT), -1);

    frame_release(&bytes);
    parcel_release(&from_slow);
    parcel_release(&from_quick);
    plain_end(&slow);
    plain_end(&quick);
    link_destroy(&router);
    link_context_destroy(&context);
    free(data);
    free(got);
}

/* Trap: a message that nobody is there for would wait in a queue for hours, then be acted on. */
static void nothing_is_queued_for_a_side_that_is_not_there_yet(void **state)
{
    struct temp temp = temp_create();
    struct link_context *context = context_of();
    struct link *dealer = link_of(context, LINK_DEALER), *router;
    struct address nobody = { .len = 0 };
    char endpoint[300];
    struct parcel parcel;

    (void)state;
    snprintf(endpoint, sizeof endpoint, "ipc://%s", temp_path(&temp, "late").text);
    assert_int_equal(link_connect(dealer, endpoint, NULL), ERR_OK);
    assert_false(link_has_room(dealer));
    for (int i = 0; i < 10; i++)
        assert_int_equal(send_text(dealer, &nobody, "too early"), LINK_FULL);

    router = router_at(context, endpoint);
    assert_true(waits_for(dealer, true));
    assert_true(link_has_room(dealer));
    assert_int_equal(send_text(dealer, &nobody, "in time"), LINK_SENT);
    parcel = received(router);
    assert_frame(&parcel.body[0], "in time");
    parcel_release(&parcel);
    assert_false(link_receive(router, &parcel));
    link_destroy(&dealer);
    link_destroy(&router);
    link_context_destroy(&context);
    temp_destroy(&temp);
}

static void a_lost_connection_is_told_once(void **state)
{
    struct temp temp = temp_create();
    struct link_context *context = context_of();
    struct link *dealer = link_with(context, &(struct link_options){ .kind = LINK_DEALER,
                                                                     .frame_max = 1 << 20,
                                                                     .watch = true });
    struct address nobody = { .len = 0 };
    char endpoint[300];
    struct link *router;
    struct parcel parcel;

    (void)state;
    snprintf(endpoint, sizeof endpoint, "ipc://%s", temp_path(&temp, "s").text);
    router = router_at(context, endpoint);
    assert_int_equal(link_connect(dealer, endpoint, NULL), ERR_OK);
    assert_true(waits_for(dealer, true));
    assert_int_equal(send_text(dealer, &nobody, "hello"), LINK_SENT);
    parcel = received(router);
    parcel_release(&parcel);
    assert_false(link_was_lost(dealer));
    link_destroy(&router);
    assert_true(waits_for(dealer, false));       /* the loss alone ends the wait */
    assert_true(link_was_lost(dealer));
    assert_false(link_was_lost(dealer));

    router = router_at(context, endpoint);       /* libzmq connects again by itself */
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; !link_receive(router, &parcel);) {
        struct link_wait wait = { .link = router };

        assert_true(clock_ms() < end_ms);
        send_text(dealer, &nobody, "again");     /* may still go to the one that ends */
        link_poll(&wait, 1, clock_ms() + 20);
    }
    assert_frame(&parcel.body[0], "again");
    parcel_release(&parcel);
    link_destroy(&dealer);
    link_destroy(&router);
    link_context_destroy(&context);
    temp_destroy(&temp);
}

/* ---- endpoints ---- */

/* Trap: libzmq lets a second program take a live ipc path over without a word. */
static void a_second_bind_on_a_live_ipc_path_is_refused(void **state)
{
    struct temp temp = temp_create();
    struct link_context *context = context_of(), *other = context_of();
    struct link *first, *second = link_of(other, LINK_ROUTER);
    char endpoint[300];
    struct plain p;
    struct parcel parcel;
    struct err e;

    (void)state;
    snprintf(endpoint, sizeof endpoint, "ipc://%s", temp_path(&temp, "s").text);
    first = router_at(context, endpoint);
    assert_int_equal(link_bind(second, endpoint, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "another program serves \""));
    p = plain_of(ZMQ_DEALER, endpoint);
    SEND(&p, "to the first");
    parcel = received(first);
    assert_frame(&parcel.body[0], "to the first");
    parcel_release(&parcel);
    plain_end(&p);

    link_destroy(&first);
    link_context_destroy(&context);
    assert_int_equal(link_bind(second, endpoint, &e), ERR_OK);   /* the lock ends with its owner */
    link_destroy(&second);
    link_context_destroy(&other);
    temp_destroy(&temp);
}

static void a_link_serves_one_ipc_path(void **state)
{
    struct temp temp = temp_create();
    struct link_context *context = context_of();
    struct link *link;
    char endpoint[300];
    struct err e;

    (void)state;
    snprintf(endpoint, sizeof endpoint, "ipc://%s", temp_path(&temp, "a").text);
    link = router_at(context, endpoint);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", temp_path(&temp, "b").text);
    assert_int_equal(link_bind(link, endpoint, &e), ERR_UNSUPPORTED);
    link_destroy(&link);
    link_context_destroy(&context);
    temp_destroy(&temp);
}

static void ipc_names_without_a_file_leave_no_lock(void **state)
{
    struct link_context *context = context_of();
    struct link *wild = link_of(context, LINK_ROUTER), *abstract = link_of(context, LINK_ROUTER);
    struct link *second = link_of(context, LINK_ROUTER);
    char endpoint[64];

    (void)state;
    assert_int_equal(link_bind(wild, "ipc://*", NULL), ERR_OK);
    assert_int_equal(access("*.lock", F_OK), -1);
    snprintf(endpoint, sizeof endpoint, "ipc://@seedpress-test-%d", (int)getpid());
    assert_int_equal(link_bind(abstract, endpoint, NULL), ERR_OK);
    assert_int_equal(link_bind(second, endpoint, NULL), ERR_CONFLICT);
    snprintf(endpoint, sizeof endpoint, "@seedpress-test-%d.lock", (int)getpid());
    assert_int_equal(access(endpoint, F_OK), -1);
    link_destroy(&wild);
    link_destroy(&abstract);
    link_destroy(&second);
    link_context_destroy(&context);
}

static void a_port_that_is_taken_is_a_conflict(void **state)
{
    struct link_context *context = context_of();
    struct link *first = router_at(context, "tcp://127.0.0.1:*");
    struct link *second = link_of(context, LINK_ROUTER);
    struct err e;

    (void)state;
    assert_int_equal(link_bind(second, link_endpoint(first), &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, link_endpoint(first)));
    link_destroy(&first);
    link_destroy(&second);
    link_context_destroy(&context);
}

static void an_endpoint_that_is_none_is_invalid(void **state)
{
    static const char *const BAD[] = { "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://localhost",
                                       "tcp://127.0.0.1:notaport", "tcp://127.0.0.1:65536",
                                       "inproc://" };
    struct link_context *context = context_of();
    struct link *link = link_of(context, LINK_ROUTER);
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (link_bind(link, BAD[i], &e) != ERR_INVALID)
            fail_msg("served on \"%s\"", BAD[i]);
        assert_non_null(strstr(e.msg, BAD[i]));
    }
    link_destroy(&link);
    link_context_destroy(&context);
}

static void plain_tcp_beyond_loopback_is_refused(void **state)
{
    static const char *const BEYOND[] = {
        "tcp://*:*",
        "tcp://0.0.0.0:*",
        "tcp://192.0.2.1:7701",
        "tcp://[::]:7701",
        "tcp://broker.example:7701",
        "tcp://127.evil.example:7701",
        "tcp://localhost.example:7701",
        "tcp://127.0.0.1:0;192.0.2.1:7701",
        "tcp://localhost:0;192.0.2.1:7701",
        "tcp://[::1]:0;192.0.2.1:7701",
        "tcp://",
        "udp://x:1",
        "ws://127.0.0.1:7701",
        "",
        "tcp:/",
    };
    struct link_context *context = context_of();
    struct link *link = link_of(context, LINK_ROUTER);
    struct link *allowed = link_with(context, &(struct link_options){ .kind = LINK_ROUTER,
                                                                      .frame_max = 1,
                                                                      .allow_plain = true });
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof BEYOND / sizeof BEYOND[0]; i++) {
        if (link_bind(link, BEYOND[i], &e) != ERR_DENIED)
            fail_msg("served on \"%s\"", BEYOND[i]);
        assert_non_null(strstr(e.msg, "is not on loopback"));
        if (link_connect(link, BEYOND[i], &e) != ERR_DENIED)
            fail_msg("connected to \"%s\"", BEYOND[i]);
    }
    assert_int_equal(link_connect(link, "tcp://localhost:7701", &e), ERR_OK);
    assert_int_equal(link_connect(link, "tcp://127.1.2.3:7701", &e), ERR_OK);
    assert_int_equal(link_bind(allowed, "tcp://*:*", &e), ERR_OK);
    link_destroy(&link);
    link_destroy(&allowed);
    link_context_destroy(&context);
}

static bool has_ipv6(void)
{
    void *zmq = zmq_ctx_new(), *socket = zmq_socket(zmq, ZMQ_ROUTER);
    int yes = 1, rc;

    zmq_setsockopt(socket, ZMQ_IPV6, &yes, sizeof yes);
    rc = zmq_bind(socket, "tcp://[::1]:*");
    zmq_close(socket);
    zmq_ctx_term(zmq);
    return rc == 0;
}

static void loopback_of_ipv6_is_loopback(void **state)
{
    (void)state;
    if (!has_ipv6())
        skip();
    struct link_context *context = context_of();
    struct link *router = router_at(context, "tcp://[::1]:*"),
                *dealer = link_of(context, LINK_DEALER);
    struct address nobody = { .len = 0 };
    struct parcel parcel;

    assert_int_equal(link_connect(dealer, link_endpoint(router), NULL), ERR_OK);
    assert_true(waits_for(dealer, true));
    assert_int_equal(send_text(dealer, &nobody, "hello"), LINK_SENT);
    parcel = received(router);
    parcel_release(&parcel);
    link_destroy(&dealer);
    link_destroy(&router);
    link_context_destroy(&context);
}

/* Trap: there is no limit by default, and what is beyond closes its connection. Others live on. */
static void a_frame_beyond_its_limit_closes_its_own_connection_only(void **state)
{
    struct link_context *context = context_of();
    struct link *router = link_with(context, &(struct link_options){ .kind = LINK_ROUTER,
                                                                     .frame_max = 1000 });
    struct plain large, good;
    char *data = calloc(1, 1001);
    struct parcel parcel;
    void *monitor;
    zmq_msg_t event;

    (void)state;
    assert_int_equal(link_bind(router, "tcp://127.0.0.1:*", NULL), ERR_OK);
    good = plain_of(ZMQ_DEALER, link_endpoint(router));
    large = plain_of(ZMQ_DEALER, link_endpoint(router));
    assert_int_equal(zmq_socket_monitor(large.socket, "inproc://large", ZMQ_EVENT_DISCONNECTED), 0);
    monitor = plain_socket(large.zmq, ZMQ_PAIR);
    assert_int_equal(zmq_connect(monitor, "inproc://large"), 0);

    assert_int_equal(zmq_send(large.socket, data, 1000, 0), 1000);   /* the limit itself is fine */
    parcel = received(router);
    assert_int_equal(frame_len(&parcel.body[0]), 1000);
    parcel_release(&parcel);
    assert_int_equal(zmq_send(large.socket, data, 1001, 0), 1001);
    zmq_msg_init(&event);
    assert_true(zmq_msg_recv(&event, monitor, 0) > 0);               /* it was disconnected */
    zmq_msg_close(&event);

    SEND(&good, "hello");
    parcel = received(router);
    assert_frame(&parcel.body[0], "hello");
    assert_int_equal(send_text(router, &parcel.from, "answer"), LINK_SENT);
    EXPECT(&good, "answer");
    parcel_release(&parcel);
    zmq_close(monitor);
    plain_end(&large);
    plain_end(&good);
    link_destroy(&router);
    link_context_destroy(&context);
    free(data);
}

/* ---- links among themselves, frames, polling ---- */

static void req_and_dealer_links_talk_over_inproc(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "inproc://here"), *req = link_of(context, LINK_REQ);
    struct address nobody = { .len = 0 };
    struct frame map = frame_of("answer"), bytes = frame_of("bytes");
    struct parcel question, answer;

    (void)state;
    assert_int_equal(link_connect(req, "inproc://here", NULL), ERR_OK);
    assert_int_equal(send_text(req, &nobody, "question"), LINK_SENT);
    question = received(router);
    assert_true(question.from.delimited);
    assert_int_equal(link_send(router, &question.from, &map, &bytes), LINK_SENT);
    answer = received(req);
    assert_int_equal(answer.count, 2);
    assert_int_equal(answer.from.len, 0);
    assert_frame(&answer.body[0], "answer");
    assert_frame(&answer.body[1], "bytes");
    frame_release(&map);
    frame_release(&bytes);
    parcel_release(&question);
    parcel_release(&answer);
    link_destroy(&req);
    link_destroy(&router);
    link_context_destroy(&context);
}

static void frames_are_copied_taken_and_shared(void **state)
{
    char *large = malloc(100000);
    struct frame copy, taken, share, empty;

    (void)state;
    memset(large, 'l', 100000);
    assert_true(frame_init_copy(&copy, large, 100000));
    assert_true(frame_init_take(&taken, large, 100000));
    frame_init_share(&share, &taken);
    assert_ptr_equal(frame_data(&share), frame_data(&taken));
    assert_ptr_not_equal(frame_data(&share), frame_data(&copy));
    frame_release(&taken);
    assert_int_equal(frame_len(&taken), 0);
    assert_int_equal(frame_len(&share), 100000);
    assert_int_equal(((const char *)frame_data(&share))[99999], 'l');
    assert_true(frame_init_copy(&empty, NULL, 0));
    assert_int_equal(frame_len(&empty), 0);
    frame_release(&share);
    frame_release(&copy);
    frame_release(&empty);
    frame_release(&empty);           /* twice is fine */
}

static void a_poll_ends_with_a_descriptor_or_at_its_time(void **state)
{
    struct link_context *context = context_of();
    struct link *router = router_at(context, "inproc://quiet");
    int pair[2];
    int64_t wake_ms;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct link_wait waits[] = { { .link = router }, { .fd = pair[0] } };

    wake_ms = clock_ms() + 3;
    link_poll(waits, 2, wake_ms);
    assert_true(clock_ms() >= wake_ms);
    assert_false(waits[0].ready);
    assert_false(waits[1].ready);
    wake_ms = clock_ms();
    link_poll(waits, 2, INT64_MIN);  /* past: does not wait */
    assert_true(clock_ms() < wake_ms + 10000);
    assert_int_equal(write(pair[1], "x", 1), 1);
    link_poll(waits, 2, INT64_MAX);
    assert_false(waits[0].ready);
    assert_true(waits[1].ready);
    close(pair[0]);
    close(pair[1]);
    link_destroy(&router);
    link_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_req_socket_is_answered_over_tcp_and_ipc),
        cmocka_unit_test(a_correlated_req_socket_is_answered),
        cmocka_unit_test(a_bare_dealer_gets_bare_answers_with_their_bytes),
        cmocka_unit_test(eight_envelope_frames_are_echoed),
        cmocka_unit_test(malformed_messages_are_dropped_and_counted),
        cmocka_unit_test(a_peer_that_sends_nothing_right_cannot_hold_the_loop),
        cmocka_unit_test(peers_with_the_longest_ids_are_told_apart),
        cmocka_unit_test(the_envelope_is_no_part_of_the_peer),
        cmocka_unit_test(a_peer_that_never_was_is_gone),
        cmocka_unit_test(a_peer_that_left_is_gone),
        cmocka_unit_test(a_slow_peer_is_full_and_loses_nothing_and_blocks_nobody),
        cmocka_unit_test(nothing_is_queued_for_a_side_that_is_not_there_yet),
        cmocka_unit_test(a_lost_connection_is_told_once),
        cmocka_unit_test(a_second_bind_on_a_live_ipc_path_is_refused),
        cmocka_unit_test(a_link_serves_one_ipc_path),
        cmocka_unit_test(ipc_names_without_a_file_leave_no_lock),
        cmocka_unit_test(a_port_that_is_taken_is_a_conflict),
        cmocka_unit_test(an_endpoint_that_is_none_is_invalid),
        cmocka_unit_test(plain_tcp_beyond_loopback_is_refused),
        cmocka_unit_test(loopback_of_ipv6_is_loopback),
        cmocka_unit_test(a_frame_beyond_its_limit_closes_its_own_connection_only),
        cmocka_unit_test(req_and_dealer_links_talk_over_inproc),
        cmocka_unit_test(frames_are_copied_taken_and_shared),
        cmocka_unit_test(a_poll_ends_with_a_descriptor_or_at_its_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
