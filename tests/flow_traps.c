/* What libzmq 4.3.4 does silently, or to the whole process, and that none of it hits us. What a
 * link alone shows is in test_link: messages to nobody and to slow peers, frames beyond their
 * limit, connections to nobody, a second program on an ipc path, a lost connection. */
#include "base/clock.h"
#include "base/link.h"
#include "base/link_gate.h"
#include "client/seedpress.h"
#include "broker/client.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"
#include "tests/kit_zmtp.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000 };

/* ---- a link behind a gate ---- */

struct post {
    struct link_context *context;
    struct link_gate *gate;
    struct link *link;
};

static struct post post_with(struct link_options options)
{
    struct link_gate_options none = { .keyring = NULL };
    struct post post;
    struct err e;

    options.kind = LINK_ROUTER;
    options.frame_max = 1 << 20;
    options.domain = LINK_CLIENTS;
    if (link_context_create(&post.context, &e) ||
        link_gate_create(post.context, &none, &post.gate, &e))
        fail_msg("%s", e.msg);
    options.gate = post.gate;
    if (link_create(post.context, &options, &post.link, &e) ||
        link_bind(post.link, "tcp://127.0.0.1:*", &e))
        fail_msg("%s", e.msg);
    return post;
}

static void post_end(struct post *self)
{
    link_destroy(&self->link);
    link_gate_destroy(&self->gate);
    link_context_destroy(&self->context);
}

static struct parcel received(struct link *link)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    struct parcel parcel;
    int fds[16];

    while (!link_receive(link, &parcel)) {
        struct link_wait wait = { .link = link };

        assert_true(clock_ms() < end_ms);
        link_poll(&wait, 1, end_ms);
        link_take_closed(link, fds, 16);
    }
    return parcel;
}

static bool holds(const struct parcel *parcel, const char *text)
{
    return frame_len(&parcel->body[0]) == strlen(text) &&
           memcmp(frame_data(&parcel->body[0]), text, strlen(text)) == 0;
}

static void answer(struct link *link, const struct address *to, const char *text)
{
    struct frame frame;

    assert_true(frame_init_copy(&frame, text, strlen(text)));
    assert_int_equal(link_send(link, to, &frame, NULL), LINK_SENT);
    frame_release(&frame);
}

/* The body of the next message at a raw peer must be text. */
static void hears(struct zmtp *peer, const char *text)
{
    uint8_t got[258];
    size_t have = 0, want = strlen(text) + 2;

    while (have < want) {
        struct pollfd fd = { peer->fd, POLLIN, 0 };
        ssize_t len;

        assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
        len = recv(peer->fd, got + have, want - have, 0);
        assert_true(len > 0);
        have += (size_t)len;
    }
    assert_int_equal(got[0], 0);
    assert_int_equal(got[1], strlen(text));
    assert_memory_equal(got + 2, text, strlen(text));
}

/* ---- ids ---- */

/* Trap: of two peers with one id the second is ignored without a word, or (HANDOVER) robs the
 * first. That one keeps what is its own; a broker answers neither, as flow_security shows. */
static void a_second_peer_with_the_same_id_takes_nothing(void **state)
{
    struct post post = post_with((struct link_options){ .send_hwm = 8 });
    struct zmtp first = zmtp_open(link_endpoint(post.link), "twin", 4), second, third;
    struct parcel parcel, other;

    (void)state;
    zmtp_send(&first, "one", 3);
    parcel = received(post.link);
    assert_true(holds(&parcel, "one"));
    assert_true(address_is_chosen(&parcel.from));
    second = zmtp_open(link_endpoint(post.link), "twin", 4);
    zmtp_send(&second, "two", 3);
    third = zmtp_open(link_endpoint(post.link), NULL, 0);
    zmtp_send(&third, "three", 5);
    other = received(post.link);
    assert_true(holds(&other, "three"));
    assert_false(address_is_chosen(&other.from));
    answer(post.link, &parcel.from, "yours");
    hears(&first, "yours");
    parcel_release(&parcel);
    parcel_release(&other);
    zmtp_close(&first);
    zmtp_close(&second);
    zmtp_close(&third);
    post_end(&post);
}

/* Trap: ZMQ_PROBE_ROUTER sends an empty message first. */
static void a_probe_is_no_message(void **state)
{
    struct post post = post_with((struct link_options){ .send_hwm = 8 });
    void *zmq = zmq_ctx_new(), *socket = zmq_socket(zmq, ZMQ_DEALER);
    int yes = 1, none = 0;
    struct parcel parcel;

    (void)state;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_PROBE_ROUTER, &yes, sizeof yes);
    assert_int_equal(zmq_connect(socket, link_endpoint(post.link)), 0);
    assert_int_equal(zmq_send(socket, "hello", 5, 0), 5);
    parcel = received(post.link);
    assert_true(holds(&parcel, "hello"));
    assert_int_equal(link_malformed(post.link), 1);
    parcel_release(&parcel);
    zmq_close(socket);
    zmq_ctx_term(zmq);
    post_end(&post);
}

/* ---- who is there ---- */

/* Trap: without a handler for it, also with a domain alone, CURVE lets every key in. Here no key
 * enters without a keyring, and none is taken for a plain peer of this machine. */
static void a_gate_without_a_keyring_lets_no_key_in(void **state)
{
    char public_key[LINK_KEY_SIZE], secret_key[LINK_KEY_SIZE];
    struct link_curve server = { public_key, secret_key, NULL };
    struct link_curve client = { public_key, secret_key, public_key };
    struct link_options options = { .kind = LINK_DEALER, .frame_max = 1 << 20, .watch = true,
                                    .curve = &client };
    struct link *dealer;
    struct link_wait wait;
    struct post post;

    (void)state;
    assert_true(link_curve_pair(public_key, secret_key));
    post = post_with((struct link_options){ .curve = &server });
    assert_int_equal(link_create(post.context, &options, &dealer, NULL), ERR_OK);
    assert_int_equal(link_connect(dealer, link_endpoint(post.link), NULL), ERR_OK);
    wait = (struct link_wait){ .link = dealer, .wants_room = true };
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; !link_was_lost(dealer);) {
        assert_true(clock_ms() < end_ms);
        assert_false(link_has_room(dealer));
        link_poll(&wait, 1, end_ms);
    }
    assert_true(link_is_refused(dealer));
    assert_true(link_gate_counts(post.gate).refused > 0);
    link_destroy(&dealer);
    post_end(&post);
}

/* A cut cable says nothing; libzmq's own heartbeats are answered by its thread, so that they tell
 * of machines and not of programs (those are the broker's: flow_broker). */
static void a_peer_that_answers_no_heartbeat_is_put_out(void **state)
{
    struct post post = post_with((struct link_options){ .heartbeat_ms = 50 });
    struct zmtp dead = zmtp_open(link_endpoint(post.link), NULL, 0);
    void *zmq = zmq_ctx_new(), *alive = zmq_socket(zmq, ZMQ_DEALER);
    struct parcel parcel;
    int none = 0, fds[4];

    (void)state;
    zmq_setsockopt(alive, ZMQ_LINGER, &none, sizeof none);
    assert_int_equal(zmq_connect(alive, link_endpoint(post.link)), 0);
    assert_int_equal(zmq_send(alive, "one", 3, 0), 3);
    parcel = received(post.link);
    assert_true(zmtp_await_close(&dead, PATIENCE_MS));
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; link_take_closed(post.link, fds, 4) == 0;) {
        struct link_wait wait = { .link = post.link };

        assert_true(clock_ms() < end_ms);
        link_poll(&wait, 1, end_ms);
    }
    answer(post.link, &parcel.from, "still here");      /* though its program does nothing at all */
    parcel_release(&parcel);
    zmtp_close(&dead);
    zmq_close(alive);
    zmq_ctx_term(zmq);
    post_end(&post);
}

/* Trap: the monitor's queue has a bound, at which libzmq's thread waits, and all connections with
 * it; closing the link would then wait for that thread. */
static void news_that_nobody_reads_stop_nothing(void **state)
{
    enum { VISITS = 2300 };          /* twice the default bound, and more */
    struct post post = post_with((struct link_options){ .send_hwm = 8 });
    struct parcel parcel;
    struct zmtp last;

    (void)state;
    for (int i = 0; i < VISITS; i++) {
        struct zmtp visitor = zmtp_open(link_endpoint(post.link), NULL, 0);

        zmtp_close(&visitor);
    }
    last = zmtp_open(link_endpoint(post.link), NULL, 0);
    zmtp_send(&last, "hello", 5);
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; !link_receive(post.link, &parcel);) {
        struct link_wait wait = { .fd = link_fd(post.link) };

        assert_true(clock_ms() < end_ms);
        link_poll(&wait, 1, clock_ms() + PATIENCE_MS);
    }
    assert_true(holds(&parcel, "hello"));
    parcel_release(&parcel);
    zmtp_close(&last);
    post_end(&post);
}

/* Another thread counts. */
static void await_counts(const struct link_gate *gate, size_t open, int64_t failed)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    struct link_gate_counts counts;

    do {
        counts = link_gate_counts(gate);
        if (clock_ms() > end_ms)
            fail_msg("%zu connections are open, %lld handshakes failed", counts.open[LINK_CLIENTS],
                     (long long)counts.failed);
    } while (counts.open[LINK_CLIENTS] != open || counts.failed != failed);
}

/* Connections are counted right whatever becomes of them. */
static void every_connection_is_counted_and_forgotten(void **state)
{
    struct post post = post_with((struct link_options){ .handshake_ms = 200 });
    struct zmtp peers[8];

    (void)state;
    for (int i = 0; i < 8; i++)
        peers[i] = i % 2 ? zmtp_open(link_endpoint(post.link), NULL, 0)
                         : zmtp_connect(link_endpoint(post.link));
    for (int i = 0; i < 8; i += 2)
        assert_true(zmtp_await_close(&peers[i], PATIENCE_MS));   /* no handshake */
    await_counts(post.gate, 4, 4);
    assert_int_equal(link_gate_counts(post.gate).refused, 0);
    for (int i = 0; i < 8; i++)
        zmtp_close(&peers[i]);
    await_counts(post.gate, 0, 4);
    post_end(&post);
}

/* ---- ends ---- */

/* Trap: by default a context waits for ever for what a dead peer has not taken. */
static void a_link_ends_though_its_peer_takes_nothing(void **state)
{
    struct post post = post_with((struct link_options){ .send_hwm = 1000 });
    struct zmtp deaf = zmtp_open(link_endpoint(post.link), NULL, 0);
    char *data = calloc(1, 100000);
    struct parcel parcel;
    enum link_sent sent;
    int64_t begin_ms;

    (void)state;
    zmtp_send(&deaf, "hello", 5);
    parcel = received(post.link);
    do {
        struct frame frame;

        assert_true(frame_init_copy(&frame, data, 100000));
        sent = link_send(post.link, &parcel.from, &frame, NULL);
        frame_release(&frame);
    } while (sent == LINK_SENT);
    assert_int_equal(sent, LINK_FULL);
    begin_ms = clock_ms();
    parcel_release(&parcel);
    post_end(&post);
    assert_true(clock_ms() - begin_ms < PATIENCE_MS);
    zmtp_close(&deaf);
    free(data);
}

/* ---- descriptors ---- */

static int count_fds(pid_t pid)
{
    char path[64];
    DIR *folder;
    int count = -2;                  /* . and .. */

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void start_alone(struct kit_program *broker, const char *const *flags, char clients[128])
{
    const char *argv[24] = { "seedpress-broker", "--ledger", "host=/nonexistent dbname=none",
                             "--listen", "tcp://127.0.0.1:*", "--worker-listen",
                             "tcp://127.0.0.1:*", "--supervise", "0", "--metrics-listen", "" };
    size_t count = 11;
    char line[512], *at;

    while (flags && *flags)
        argv[count++] = *flags++;
    program_start(broker, argv);
    program_wait_for(broker, " broker_ready ", line, sizeof line);
    at = strstr(line, "clients=") + strlen("clients=");
    snprintf(clients, 128, "%.*s", (int)strcspn(at, " "), at);
}

static bool is_listening(const char *endpoint)
{
    struct zmtp probe;
    bool good;

    if (!zmtp_try(endpoint, &probe))
        return false;
    good = zmtp_greet(&probe);
    zmtp_close(&probe);
    return good;
}

/* Trap: when no descriptor is left for who comes, libzmq's thread asks for one for ever, at full
 * speed. A port that listens no more cannot. */
static void a_broker_without_descriptors_says_so_and_comes_back(void **state)
{
    enum { MANY = 24 };
    struct kit_program broker;
    struct rlimit limit;
    struct zmtp visitors[MANY];
    struct kit_asker asker;
    struct message m, answered;
    struct parcel parcel;
    char clients[128];
    int came = 0;

    (void)state;
    start_alone(&broker, NULL, clients);
    asker_open(&asker, clients, LINK_DEALER);
    message_init(&m, MESSAGE_PING, 1);
    asker_send(&asker, &m);
    assert_true(asker_receive(&asker, &answered, &parcel, PATIENCE_MS));
    message_release(&answered);
    parcel_release(&parcel);
    limit.rlim_cur = limit.rlim_max = (rlim_t)count_fds(broker.pid) + 6;
    assert_int_equal(prlimit(broker.pid, RLIMIT_NOFILE, &limit, NULL), 0);
    while (came < MANY && zmtp_try(clients, &visitors[came]))
        came++;
    program_wait_for(&broker, " listen_paused ", NULL, 0);
    for (int i = 0; i < came; i++)
        zmtp_close(&visitors[i]);
    program_wait_for(&broker, " listen_resumed ", NULL, 0);
    /* With the port libzmq closes its connections, but for what they still owe: who was in asks
     * again. */
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; clock_ms() < end_ms;) {
        asker_send(&asker, &m);
        if (asker_receive(&asker, &answered, &parcel, 1000))
            break;
    }
    assert_int_equal(answered.type, MESSAGE_PONG);
    message_release(&answered);
    parcel_release(&parcel);
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; !is_listening(clients);)
        assert_true(clock_ms() < end_ms);       /* it may have paused again for the backlog */
    asker_close(&asker);
    program_signal(&broker, SIGTERM);
    assert_int_equal(program_wait(&broker), 0);
}

static void a_limit_below_what_was_asked_for_is_said(void **state)
{
    struct kit_program broker;
    char clients[128], line[512];
    struct rlimit limit;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= 2000064)
        skip();                      /* no number that may be asked for is too large here */
    const char *argv[] = { "seedpress-broker", "--ledger", "host=/nonexistent dbname=none",
                           "--listen", "tcp://127.0.0.1:*", "--worker-listen",
                           "tcp://127.0.0.1:*", "--supervise", "0", "--metrics-listen", "",
                           "--connections-max", "1000000", NULL };

    program_start(&broker, argv);
    program_wait_for(&broker, " descriptors_few ", line, sizeof line);
    assert_non_null(strstr(line, "connections_max=1000000"));
    program_wait_for(&broker, " broker_ready ", clients, sizeof clients);
    program_signal(&broker, SIGTERM);
    assert_int_equal(program_wait(&broker), 0);
}

/* ---- the abort ---- */

static pid_t child_of(pid_t pid)
{
    char path[96], text[32] = "";
    int fd;
    ssize_t len;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    len = read(fd, text, sizeof text - 1);
    close(fd);
    return len > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

enum { IDS_MAX = 64, GENERATED = 5 };
struct ids {
    uint32_t at[IDS_MAX];
    int count;
};

/* A struct client begins with its peer's id, after its length, and zeros up to peer_len. */
static void find_ids(const uint8_t *data, size_t len, struct ids *out)
{
    const size_t end = offsetof(struct client, peer_len), step = 8;

    for (size_t at = 0; at + end + sizeof(size_t) <= len && out->count < IDS_MAX; at += step) {
        size_t peer_len, zeros = GENERATED + 1;

        if (data[at] != GENERATED || data[at + 1] != 0)
            continue;
        memcpy(&peer_len, data + at + end, sizeof peer_len);
        while (zeros < end && data[at + zeros] == 0)
            zeros++;
        if (peer_len == GENERATED + 1 && zeros == end)
            out->at[out->count++] = (uint32_t)data[at + 2] << 24 | (uint32_t)data[at + 3] << 16 |
                                    (uint32_t)data[at + 4] << 8 | data[at + 5];
    }
}

/* The ids that the broker's peers have, read out of its memory: who attacks would have to guess. */
static struct ids ids_in(pid_t pid)
{
    struct ids ids = { .count = 0 };
    char path[64], line[512];
    FILE *maps;
    int mem;

    snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    mem = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    assert_non_null(maps);
    while (mem >= 0 && fgets(line, sizeof line, maps)) {
        uint64_t from, to;
        char mode[8];

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &from, &to, mode) != 3 ||
            strncmp(mode, "rw", 2) != 0 || to - from > 64u << 20)
            continue;
        uint8_t *data = malloc(to - from);
        ssize_t len = data ? pread(mem, data, to - from, (off_t)from) : -1;

        if (len > 0)
            find_ids(data, (size_t)len, &ids);
        free(data);
    }
    fclose(maps);
    if (mem >= 0)
        close(mem);
    return ids;
}

/* Trap: libzmq makes ids by counting, and aborts when a peer has come with the next one. */
static bool kill_with_an_id(pid_t served, const char *clients)
{
    struct pollfd end = { (int)syscall(SYS_pidfd_open, served, 0), POLLIN, 0 };
    struct ids ids = ids_in(served);
    struct zmtp peers[IDS_MAX * 3], last;
    int count = 0;
    bool died;

    assert_true(end.fd >= 0);
    for (int i = 0; i < ids.count; i++)
        for (uint32_t next = 1; next <= 3; next++) {
            uint32_t id = ids.at[i] + next;
            uint8_t bytes[GENERATED] = { 0, (uint8_t)(id >> 24), (uint8_t)(id >> 16),
                                         (uint8_t)(id >> 8), (uint8_t)id };

            if (zmtp_try(clients, &peers[count]) && zmtp_greet(&peers[count]))
                zmtp_ready(&peers[count++], bytes, sizeof bytes, NULL, NULL);
        }
    for (int i = 0; i < 3; i++)      /* the ones whom it gives those ids */
        if (zmtp_try(clients, &last)) {
            if (zmtp_greet(&last)) {
                zmtp_ready(&last, NULL, 0, NULL, NULL);
                zmtp_is_ready(&last);
            }
            zmtp_close(&last);
        }
    died = poll(&end, 1, 5000) == 1;
    close(end.fd);
    for (int i = 0; i < count; i++)
        zmtp_close(&peers[i]);
    return died;
}

static void take_answers(struct seedpress *sp, int count)
{
    struct seedpress_event event;

    for (int i = 0; i < count; i++) {
        assert_true(seedpress_next(sp, PATIENCE_MS, &event));
        if (event.kind == SEEDPRESS_EVENT_ERROR)
            fail_msg("seed %u: %s", event.seed, event.error.message);
    }
}

static void a_broker_that_is_killed_by_a_peer_answers_all_the_same(void **state)
{
    enum { SEEDS = 40 };
    struct seedpress_options options = { .silence_ms = 1000 };
    struct seedpress_request request;
    struct seedpress_error error;
    struct seedpress_event event;
    struct kit_stack stack;
    struct seedpress *sp;
    pid_t served;
    int64_t id;

    (void)state;
    stack_start(&stack, (const char *const[]){ "--supervise", "1", NULL });
    stack_start_worker(&stack, 0, NULL);
    options.brokers = stack.clients;
    assert_int_equal(seedpress_create(&options, &sp, &error), SEEDPRESS_OK);
    seedpress_request_init(&request);
    request.model = "avatars64";
    request.count = SEEDS;
    request.deadline_ms = PATIENCE_MS;
    assert_int_equal(seedpress_submit(sp, &request, &id, &error), SEEDPRESS_OK);
    take_answers(sp, 1);
    served = child_of(stack.broker.pid);
    assert_true(served > 0);
    assert_true(kill_with_an_id(served, stack.clients));
    program_wait_for(&stack.broker, " guard_restarts signal=6 ", NULL, 0);
    take_answers(sp, SEEDS - 1);
    assert_true(seedpress_next(sp, PATIENCE_MS, &event));
    assert_int_equal(event.kind, SEEDPRESS_EVENT_DONE);
    assert_int_equal(event.failed, 0);

    program_wait_for(&stack.broker, " broker_ready ", NULL, 0);
    served = child_of(stack.broker.pid);         /* and again, whoever kills it */
    request.seed = SEEDS;
    assert_int_equal(seedpress_submit(sp, &request, &id, &error), SEEDPRESS_OK);
    kill(served, SIGKILL);
    take_answers(sp, SEEDS + 1);
    seedpress_destroy(&sp);
    program_signal(&stack.broker, SIGHUP);       /* reaches it, and does not end it */
    program_wait_for(&stack.broker, " keyring_kept ", NULL, 0);
    program_signal(&stack.broker, SIGTERM);
    assert_int_equal(program_wait(&stack.broker), 0);
    stack_destroy(&stack);
}

/* Who has no key gets no further than the greeting: its id is never looked at. */
static void without_a_key_nobody_gets_so_far(void **state)
{
    char public_key[LINK_KEY_SIZE], secret_key[LINK_KEY_SIZE];
    struct link_curve curve = { public_key, secret_key, NULL };
    struct post post;
    struct zmtp peer;

    (void)state;
    assert_true(link_curve_pair(public_key, secret_key));
    post = post_with((struct link_options){ .curve = &curve });
    peer = zmtp_connect(link_endpoint(post.link));
    if (zmtp_greet(&peer)) {
        zmtp_ready(&peer, "\0\1\2\3\4", 5, NULL, NULL);
        assert_true(zmtp_await_close(&peer, PATIENCE_MS));
    }
    await_counts(post.gate, 0, 1);
    zmtp_close(&peer);
    post_end(&post);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_peer_with_the_same_id_takes_nothing),
        cmocka_unit_test(a_probe_is_no_message),
        cmocka_unit_test(a_gate_without_a_keyring_lets_no_key_in),
        cmocka_unit_test(a_peer_that_answers_no_heartbeat_is_put_out),
        cmocka_unit_test(news_that_nobody_reads_stop_nothing),
        cmocka_unit_test(every_connection_is_counted_and_forgotten),
        cmocka_unit_test(a_link_ends_though_its_peer_takes_nothing),
        cmocka_unit_test(a_broker_without_descriptors_says_so_and_comes_back),
        cmocka_unit_test(a_limit_below_what_was_asked_for_is_said),
        cmocka_unit_test(a_broker_that_is_killed_by_a_peer_answers_all_the_same),
        cmocka_unit_test(without_a_key_nobody_gets_so_far),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
