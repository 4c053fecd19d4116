/* Who may do what at the real broker's ports, over TCP: keys, roles, keys that are taken away while
 * their owner is connected, and what is refused without any. The ledger is away throughout but for
 * the last test, which goes the whole way with the real worker. */
#include "base/clock.h"
#include "base/key.h"
#include "client/seedpress.h"
#include "tests/kit_broker.h"
#include "tests/kit_http.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"
#include "tests/kit_zmtp.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000, FLAGS_MAX = 24 };

enum who { ALICE, BOB, GATEWAY, GPU_1, GPU_2, ROOT, PEOPLE, STRANGER = PEOPLE, BROKER, PAIRS };
static const char *const NAMES[PAIRS] = { "alice", "bob", "gateway", "gpu-1", "gpu-2", "root",
                                          "stranger", "broker" };
static const char *const ROLES[PEOPLE] = { "client", "client", "proxy", "worker", "worker",
                                           "admin" };

static struct temp temp;
static struct key_pair pairs[PAIRS];

/* The broker of a test, and what the test plays. */
struct fort {
    struct kit_program broker;
    struct link_context *context;
    char clients[128], workers[128];
};

static void must(enum err_code rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

/* Everybody but those in without, which ends in PAIRS. */
static void write_keyring(const enum who *without)
{
    FILE *file = fopen(temp_path(&temp, "keyring").text, "w");

    assert_non_null(file);
    fputs("# role key name\n", file);
    for (int i = 0; i < PEOPLE; i++) {
        bool is_out = false;

        for (const enum who *w = without; *w != PAIRS; w++)
            is_out |= (int)*w == i;
        if (!is_out)
            fprintf(file, "%s %s %s\n", ROLES[i], pairs[i].public_key, NAMES[i]);
    }
    fclose(file);
}

#define WITHOUT(...) ((const enum who[]){ __VA_ARGS__, PAIRS })
#define EVERYBODY    ((const enum who[]){ PAIRS })

static int begin(void **state)
{
    struct err e;

    (void)state;
    temp = temp_create();
    for (int i = 0; i < PAIRS; i++)
        if (key_pair_create(&pairs[i], &e) ||
            key_pair_write(&pairs[i], temp_path(&temp, NAMES[i]).text, NAMES[i], &e)) {
            print_error("%s\n", e.msg);
            return -1;
        }
    return 0;
}

static int end(void **state)
{
    (void)state;
    temp_destroy(&temp);
    return 0;
}

static void copy_word(const char *line, const char *key, char out[128])
{
    const char *at = strstr(line, key);

    assert_non_null(at);
    at += strlen(key);
    snprintf(out, 128, "%.*s", (int)strcspn(at, " "), at);
}

static void fort_open(struct fort *self, const char *const *flags)
{
    const char *argv[FLAGS_MAX] = { "seedpress-broker", "--ledger", "host=/nonexistent dbname=none",
                                    "--listen", "tcp://127.0.0.1:*", "--worker-listen",
                                    "tcp://127.0.0.1:*", "--supervise", "0", "--metrics-listen",
                                    "" };
    size_t count = 11;
    char line[512];

    memset(self, 0, sizeof *self);
    while (flags && *flags)
        argv[count++] = *flags++;
    argv[count] = NULL;
    program_start(&self->broker, argv);
    program_wait_for(&self->broker, " broker_ready ", line, sizeof line);
    copy_word(line, "clients=", self->clients);
    copy_word(line, "workers=", self->workers);
    assert_int_equal(link_context_create(&self->context, NULL), ERR_OK);
}

static void fort_open_keyed(struct fort *self)
{
    struct temp_path key = temp_path(&temp, "broker.key"), ring = temp_path(&temp, "keyring");

    write_keyring(EVERYBODY);
    fort_open(self, (const char *const[]){ "--key-file", key.text, "--keyring", ring.text, NULL });
}

static void fort_close(struct fort *self)
{
    link_context_destroy(&self->context);
    program_signal(&self->broker, SIGTERM);
    assert_int_equal(program_wait(&self->broker), 0);
}

static void reload_without(struct fort *self, const enum who *without)
{
    write_keyring(without);
    program_signal(&self->broker, SIGHUP);
    program_wait_for(&self->broker, " keyring_read ", NULL, 0);
}

/* ---- peers with keys ---- */

/* own STRANGER and so on; PAIRS: none. */
static struct peer peer_of(struct fort *fort, enum who own, const char *server_key,
                           const char *endpoint)
{
    struct link_curve curve = { own == PAIRS ? NULL : pairs[own].public_key,
                                own == PAIRS ? NULL : pairs[own].secret_key, server_key };
    struct link_options options = { .kind = LINK_DEALER, .frame_max = MESSAGE_IMAGE_MAX,
                                    .watch = true, .curve = own == PAIRS ? NULL : &curve };
    struct peer peer;
    struct err e;

    must(link_create(fort->context, &options, &peer.link, &e), &e);
    must(link_connect(peer.link, endpoint, &e), &e);
    return peer;
}

enum fate { ENTERED, REFUSED, LOST };

static enum fate fate_of(struct peer *peer)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    struct link_wait wait = { .link = peer->link, .wants_room = true };

    while (clock_ms() < end_ms) {
        if (link_has_room(peer->link))
            return ENTERED;
        if (link_was_lost(peer->link))
            return link_is_refused(peer->link) ? REFUSED : LOST;
        link_poll(&wait, 1, end_ms);
    }
    fail_msg("nothing became of a connection");
    return LOST;
}

/* Of a plain and an encrypted side the first to notice hangs up, and the other may not learn why
 * before it tries again. */
static void is_refused_in_the_end(struct peer *peer)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    enum fate fate;

    do
        fate = fate_of(peer);
    while (fate == LOST && clock_ms() < end_ms);
    assert_int_equal(fate, REFUSED);
}

static struct peer entered(struct fort *fort, enum who own, const char *endpoint)
{
    struct peer peer = peer_of(fort, own, own == PAIRS ? NULL : pairs[BROKER].public_key, endpoint);

    assert_int_equal(fate_of(&peer), ENTERED);
    return peer;
}

/* The next message that is no heartbeat must be of that type. */
static void hears(struct peer *self, enum message_type type, struct heard *h)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;

    while (!peer_hears(self, h)) {
        struct link_wait wait = { .link = self->link };

        if (clock_ms() > end_ms)
            fail_msg("nothing came, where %s was expected", message_word(type));
        link_poll(&wait, 1, end_ms);
        link_was_lost(self->link);
    }
    if (h->m.type != type)
        fail_msg("%s came, where %s was expected", message_word(h->m.type), message_word(type));
}

static void hears_error(struct peer *self, int64_t id, enum err_code code)
{
    struct heard h;

    hears(self, MESSAGE_ERROR, &h);
    assert_int_equal(h.m.id, id);
    if (!text_is(h.m.error.code, err_info(code)->word))
        fail_msg("%.*s came", (int)h.m.error.code.len, h.m.error.code.data);
    heard_release(&h);
}

static void pings(struct peer *self)
{
    struct message m;
    struct heard h;

    message_init(&m, MESSAGE_PING, 77);
    peer_say(self, &m, NULL);
    hears(self, MESSAGE_PONG, &h);
    assert_int_equal(h.m.id, 77);
    heard_release(&h);
}

/* A stranger's heartbeat is answered: the broker speaks with it. */
static void is_introduced(struct peer *self)
{
    struct heard h;

    worker_says_heartbeat(self, 1, 0, 0);
    hears(self, MESSAGE_INTRODUCE, &h);
    heard_release(&h);
}

static struct job_seen gets_job(struct peer *self)
{
    struct job_seen job;
    struct heard h;
    struct err e;

    hears(self, MESSAGE_JOBS, &h);
    const struct message_job *in = h.m.jobs.jobs.items;

    assert_int_equal(h.m.jobs.jobs.count, 1);
    job = (struct job_seen){ .lease = in->lease };
    must(recipe_parse(in->recipe.data, in->recipe.len, &job.recipe, &e), &e);
    heard_release(&h);
    return job;
}

static void gets_image(struct peer *self, int64_t id, int64_t seed)
{
    struct heard h;

    hears(self, MESSAGE_IMAGE, &h);
    assert_int_equal(h.m.id, id);
    assert_int_equal(h.m.image.seed, seed);
    heard_release(&h);
}

/* By somebody who may enter. */
static int64_t denied_so_far(struct peer *self)
{
    struct message m;
    struct heard h;
    int64_t denied;

    message_init(&m, MESSAGE_STATUS, 78);
    peer_say(self, &m, NULL);
    hears(self, MESSAGE_STATUS_REPORT, &h);
    denied = h.m.status_report.denied;
    heard_release(&h);
    return denied;
}

static void await_denied(struct peer *self, int64_t least)
{
    int64_t end_ms = clock_ms() + PATIENCE_MS;

    while (denied_so_far(self) < least)
        if (clock_ms() > end_ms)
            fail_msg("fewer than %lld were denied", (long long)least);
}

/* ---- who enters where ---- */

static void each_role_enters_its_own_port_only(void **state)
{
    struct fort fort;

    (void)state;
    fort_open_keyed(&fort);
    for (int i = 0; i < PEOPLE; i++) {
        bool is_worker = strcmp(ROLES[i], "worker") == 0;
        struct peer right = entered(&fort, (enum who)i, is_worker ? fort.workers : fort.clients);
        struct peer wrong = peer_of(&fort, (enum who)i, pairs[BROKER].public_key,
                                    is_worker ? fort.clients : fort.workers);

        if (is_worker)
            is_introduced(&right);
        else
            pings(&right);
        assert_int_equal(fate_of(&wrong), REFUSED);
        peer_leave(&right);
        peer_leave(&wrong);
    }
    fort_close(&fort);
}

static void an_unknown_key_is_refused_and_counted(void **state)
{
    struct fort fort;

    (void)state;
    fort_open_keyed(&fort);
    struct peer alice = entered(&fort, ALICE, fort.clients);
    struct peer a = peer_of(&fort, STRANGER, pairs[BROKER].public_key, fort.clients);
    struct peer b = peer_of(&fort, STRANGER, pairs[BROKER].public_key, fort.workers);

    assert_int_equal(denied_so_far(&alice), 0);
    assert_int_equal(fate_of(&a), REFUSED);
    assert_int_equal(fate_of(&b), REFUSED);
    program_wait_for(&fort.broker, pairs[STRANGER].public_key, NULL, 0);
    assert_true(denied_so_far(&alice) >= 2);
    peer_leave(&alice);
    peer_leave(&a);
    peer_leave(&b);
    fort_close(&fort);
}

static void plain_and_encrypted_do_not_meet(void **state)
{
    struct fort keyed, plain;

    (void)state;
    fort_open_keyed(&keyed);
    fort_open(&plain, NULL);
    struct peer a = peer_of(&keyed, PAIRS, NULL, keyed.clients);
    struct peer b = peer_of(&keyed, PAIRS, NULL, keyed.workers);
    struct peer c = peer_of(&plain, ALICE, pairs[BROKER].public_key, plain.clients);
    /* Who answers is not the broker whose key was given: nothing is said to him. */
    struct peer d = peer_of(&keyed, ALICE, pairs[STRANGER].public_key, keyed.clients);

    is_refused_in_the_end(&a);
    is_refused_in_the_end(&b);
    is_refused_in_the_end(&c);
    assert_int_not_equal(fate_of(&d), ENTERED);
    peer_leave(&a);
    peer_leave(&b);
    peer_leave(&c);
    peer_leave(&d);
    fort_close(&keyed);
    fort_close(&plain);
}

/* ---- keys that are taken away ---- */

static void a_client_whose_key_is_taken_away_ends(void **state)
{
    struct fort fort;
    struct message cancel;

    (void)state;
    fort_open_keyed(&fort);
    struct peer worker = entered(&fort, GPU_1, fort.workers);
    struct peer alice = entered(&fort, ALICE, fort.clients);
    struct peer bob = entered(&fort, BOB, fort.clients);

    worker_says_ready(&worker, "w", 4);
    client_wishes(&alice, 1, 7);
    struct job_seen job = gets_job(&worker);

    client_wishes(&bob, 1, 7);       /* joins */
    pings(&bob);
    reload_without(&fort, WITHOUT(ALICE));
    hears_error(&alice, 1, ERR_DENIED);
    message_init(&cancel, MESSAGE_PING, 5);
    peer_say(&alice, &cancel, NULL);
    hears_error(&alice, 5, ERR_DENIED);
    client_wishes(&alice, 6, 8);
    hears_error(&alice, 6, ERR_DENIED);
    worker_says_result(&worker, &job);
    gets_image(&bob, 1, 7);
    peer_hears_nothing(&alice);
    struct peer again = peer_of(&fort, ALICE, pairs[BROKER].public_key, fort.clients);

    assert_int_equal(fate_of(&again), REFUSED);
    reload_without(&fort, EVERYBODY);           /* and given back */
    pings(&alice);
    peer_leave(&again);
    peer_leave(&alice);
    peer_leave(&bob);
    peer_leave(&worker);
    fort_close(&fort);
}

static void a_worker_whose_key_is_taken_away_is_lost(void **state)
{
    struct fort fort;

    (void)state;
    fort_open_keyed(&fort);
    struct peer first = entered(&fort, GPU_1, fort.workers);
    struct peer second = entered(&fort, GPU_2, fort.workers);
    struct peer alice = entered(&fort, ALICE, fort.clients);

    worker_says_ready(&first, "first", 4);
    program_wait_for(&fort.broker, " worker_ready ", NULL, 0);
    client_wishes(&alice, 1, 7);
    struct job_seen job = gets_job(&first);

    worker_says_ready(&second, "second", 4);
    program_wait_for(&fort.broker, " worker_ready ", NULL, 0);
    reload_without(&fort, WITHOUT(GPU_1));
    struct job_seen other = gets_job(&second);

    worker_says_result(&first, &job);           /* too late, and not his to say */
    worker_says_ready(&first, "first", 4);
    worker_says_heartbeat(&first, 4, 0, 0);
    worker_says_result(&second, &other);
    gets_image(&alice, 1, 7);
    client_wishes(&alice, 2, 8);
    gets_job(&second);
    await_denied(&alice, 3);         /* all three were dropped, with nothing said */
    peer_hears_nothing(&first);
    peer_leave(&first);
    peer_leave(&second);
    peer_leave(&alice);
    fort_close(&fort);
}

static void a_keyring_that_is_wrong_changes_nothing(void **state)
{
    struct fort fort;
    FILE *file;

    (void)state;
    fort_open_keyed(&fort);
    struct peer alice = entered(&fort, ALICE, fort.clients);
    char line[512];

    file = fopen(temp_path(&temp, "keyring").text, "w");
    fputs("worker\n", file);
    fclose(file);
    program_signal(&fort.broker, SIGHUP);
    program_wait_for(&fort.broker, " keyring_kept ", line, sizeof line);
    assert_non_null(strstr(line, "line 1"));
    pings(&alice);
    struct peer bob = entered(&fort, BOB, fort.clients);

    pings(&bob);
    peer_leave(&alice);
    peer_leave(&bob);
    fort_close(&fort);
}

/* ---- what roles may say ---- */

static void only_proxies_and_admins_ask_for_others(void **state)
{
    struct fort fort;
    struct message m = wish_of(3, 9);

    (void)state;
    fort_open_keyed(&fort);
    struct peer worker = entered(&fort, GPU_1, fort.workers);
    struct peer alice = entered(&fort, ALICE, fort.clients);
    struct peer gateway = entered(&fort, GATEWAY, fort.clients);
    struct peer root = entered(&fort, ROOT, fort.clients);

    worker_says_ready(&worker, "w", 4);
    program_wait_for(&fort.broker, " worker_ready ", NULL, 0);
    m.generate.on_behalf = text_of("somebody");
    peer_say(&alice, &m, NULL);
    hears_error(&alice, 3, ERR_DENIED);
    peer_say(&gateway, &m, NULL);
    struct job_seen job = gets_job(&worker);

    worker_says_result(&worker, &job);
    gets_image(&gateway, 3, 9);
    m.generate.seed = 10;
    peer_say(&root, &m, NULL);
    job = gets_job(&worker);
    worker_says_result(&worker, &job);
    gets_image(&root, 3, 10);
    peer_leave(&alice);
    peer_leave(&gateway);
    peer_leave(&root);
    peer_leave(&worker);
    fort_close(&fort);
}

static void only_admins_bind_names_and_withdraw(void **state)
{
    struct model_facts cats = desk_cats();
    struct digest_hex hex = digest_hex(&cats.digest);
    struct fort fort;
    struct message m;

    (void)state;
    fort_open_keyed(&fort);
    struct peer worker = entered(&fort, GPU_1, fort.workers);
    struct peer alice = entered(&fort, ALICE, fort.clients);
    struct peer gateway = entered(&fort, GATEWAY, fort.clients);
    struct peer root = entered(&fort, ROOT, fort.clients);

    worker_says_ready(&worker, "w", 4);
    program_wait_for(&fort.broker, " worker_ready ", NULL, 0);
    message_init(&m, MESSAGE_MODEL_USE, 4);
    m.model_use.name = text_of("best");
    m.model_use.digest = text_of(hex.text);
    peer_say(&alice, &m, NULL);
    hears_error(&alice, 4, ERR_DENIED);
    peer_say(&gateway, &m, NULL);
    hears_error(&gateway, 4, ERR_DENIED);
    peer_say(&root, &m, NULL);
    hears_error(&root, 4, ERR_LEDGER_DOWN);     /* allowed; there is none to write it down */
    message_init(&m, MESSAGE_WITHDRAW, 5);
    m.withdraw.recipe_key = cats.digest;
    m.withdraw.reason = text_of("a person asked");
    peer_say(&alice, &m, NULL);
    hears_error(&alice, 5, ERR_DENIED);
    peer_say(&gateway, &m, NULL);
    hears_error(&gateway, 5, ERR_DENIED);
    peer_say(&root, &m, NULL);
    hears_error(&root, 5, ERR_LEDGER_DOWN);
    peer_leave(&alice);
    peer_leave(&gateway);
    peer_leave(&root);
    peer_leave(&worker);
    fort_close(&fort);
}

/* Two connections of one key are two peers still. */
static void nobody_ends_or_reads_what_another_asked(void **state)
{
    static const enum who OTHERS[] = { BOB, ALICE, ROOT };
    struct fort fort;

    (void)state;
    fort_open_keyed(&fort);
    struct peer worker = entered(&fort, GPU_1, fort.workers);
    struct peer alice = entered(&fort, ALICE, fort.clients);

    worker_says_ready(&worker, "w", 4);
    program_wait_for(&fort.broker, " worker_ready ", NULL, 0);
    for (int i = 0; i < 3; i++) {
        struct peer other = entered(&fort, OTHERS[i], fort.clients);
        struct heard h;

        client_wishes(&alice, 1, 100 + i);
        struct job_seen job = gets_job(&worker);

        client_cancels(&other, 2, 1);
        hears(&other, MESSAGE_DONE, &h);
        assert_int_equal(h.m.done.count, 0);
        heard_release(&h);
        worker_says_result(&worker, &job);
        gets_image(&alice, 1, 100 + i);
        pings(&other);
        peer_hears_nothing(&other);
        peer_leave(&other);
    }
    peer_leave(&alice);
    peer_leave(&worker);
    fort_close(&fort);
}

/* A worker that knows another's lease cannot answer it. */
static void nobody_answers_for_another_worker(void **state)
{
    struct fort fort;

    (void)state;
    fort_open_keyed(&fort);
    struct peer first = entered(&fort, GPU_1, fort.workers);
    struct peer alice = entered(&fort, ALICE, fort.clients);

    worker_says_ready(&first, "first", 4);
    program_wait_for(&fort.broker, " worker_ready ", NULL, 0);
    client_wishes(&alice, 1, 7);
    struct job_seen job = gets_job(&first);
    struct peer second = entered(&fort, GPU_2, fort.workers);

    worker_says_ready(&second, "second", 4);
    program_wait_for(&fort.broker, " worker_ready ", NULL, 0);
    worker_says_result(&second, &job);
    worker_says_fail(&second, job.lease, "device");
    worker_says(&second, MESSAGE_HANDBACK, job.lease);
    worker_says_bye(&second);
    program_wait_for(&fort.broker, " worker_lost ", NULL, 0);
    pings(&alice);
    peer_hears_nothing(&alice);
    worker_says_result(&first, &job);
    gets_image(&alice, 1, 7);
    peer_leave(&first);
    peer_leave(&second);
    peer_leave(&alice);
    fort_close(&fort);
}

/* ---- ids and names that peers give themselves ---- */

struct raw {
    void *zmq, *socket;
};

static struct raw raw_with_id(const char *endpoint, const char *id)
{
    struct raw raw = { .zmq = zmq_ctx_new() };
    int none = 0, patience = PATIENCE_MS;

    raw.socket = zmq_socket(raw.zmq, ZMQ_DEALER);
    zmq_setsockopt(raw.socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(raw.socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    zmq_setsockopt(raw.socket, ZMQ_ROUTING_ID, id, strlen(id));
    assert_int_equal(zmq_connect(raw.socket, endpoint), 0);
    return raw;
}

static void raw_say(const struct raw *raw, const struct message *m)
{
    void *data;
    size_t len;
    struct err e;

    must(message_encode(m, &data, &len, &e), &e);
    assert_int_equal(zmq_send(raw->socket, data, len, 0), (int)len);
    free(data);
}

static void raw_end(struct raw *raw)
{
    zmq_close(raw->socket);
    zmq_ctx_term(raw->zmq);
}

static void a_client_that_sets_its_routing_id_is_told_not_to(void **state)
{
    struct fort fort;
    struct message m;
    uint8_t answer[1000];
    struct err e;

    (void)state;
    fort_open(&fort, NULL);
    struct peer alice = entered(&fort, PAIRS, fort.clients);
    struct raw raw = raw_with_id(fort.clients, "me");

    message_init(&m, MESSAGE_PING, 9);
    raw_say(&raw, &m);
    int len = zmq_recv(raw.socket, answer, sizeof answer, 0);

    assert_in_range(len, 1, sizeof answer);
    must(message_decode(answer, (size_t)len, MESSAGE_FROM_BROKER, &m, &e), &e);
    assert_int_equal(m.type, MESSAGE_ERROR);
    assert_int_equal(m.id, 9);
    assert_true(text_is(m.error.code, "denied"));
    char words[200];

    assert_non_null(strstr(text_copy(m.error.message, words, sizeof words), "ZMQ_ROUTING_ID"));
    message_release(&m);
    assert_int_equal(denied_so_far(&alice), 1);
    raw_end(&raw);
    peer_leave(&alice);
    fort_close(&fort);
}

static void a_worker_that_sets_its_routing_id_is_dropped(void **state)
{
    struct fort fort;
    struct message m;

    (void)state;
    fort_open(&fort, NULL);
    struct peer alice = entered(&fort, PAIRS, fort.clients);
    struct raw raw = raw_with_id(fort.workers, "gpu");

    message_init(&m, MESSAGE_HEARTBEAT, 0);
    raw_say(&raw, &m);
    await_denied(&alice, 1);
    assert_int_equal(zmq_recv(raw.socket, &m, sizeof m, ZMQ_DONTWAIT), -1);
    raw_end(&raw);
    peer_leave(&alice);
    fort_close(&fort);
}

/* ZMTP lets a peer send properties of its own; libzmq shows those that it did not set itself under
 * the same names as what the gate found out. */
static void a_peer_cannot_say_whose_key_it_has(void **state)
{
    struct link_options options = { .kind = LINK_ROUTER, .frame_max = 1 << 20,
                                    .domain = LINK_CLIENTS };
    struct link_gate_options open_gate = { .keyring = NULL };
    struct link_context *context;
    struct parcel parcel;
    struct link *link;
    char user[LINK_USER_MAX];
    struct err e;

    (void)state;
    must(link_context_create(&context, &e), &e);
    must(link_gate_create(context, &open_gate, &options.gate, &e), &e);
    must(link_create(context, &options, &link, &e), &e);
    must(link_bind(link, "tcp://127.0.0.1:*", &e), &e);
    struct zmtp liar = zmtp_connect(link_endpoint(link));

    assert_true(zmtp_greet(&liar));
    zmtp_ready(&liar, NULL, 0, "User-Id", pairs[ROOT].public_key);
    assert_true(zmtp_is_ready(&liar));
    zmtp_send(&liar, "x", 1);
    while (!link_receive(link, &parcel)) {
        struct link_wait wait = { .link = link };
        int fds[4];

        link_poll(&wait, 1, clock_ms() + PATIENCE_MS);
        link_take_closed(link, fds, 4);
    }
    parcel_user(&parcel, user);
    assert_string_equal(user, "");
    parcel_release(&parcel);
    zmtp_close(&liar);
    link_destroy(&link);
    link_gate_destroy(&options.gate);
    link_context_destroy(&context);
}

/* ---- limits ---- */

static void more_connections_than_allowed_wait_outside(void **state)
{
    struct fort fort;

    (void)state;
    fort_open(&fort, (const char *const[]){ "--connections-max", "2", NULL });
    struct peer a = entered(&fort, PAIRS, fort.clients), b = entered(&fort, PAIRS, fort.clients);
    struct peer c = peer_of(&fort, PAIRS, NULL, fort.clients);
    struct peer w = entered(&fort, PAIRS, fort.workers);        /* the other port has its own */

    assert_int_equal(fate_of(&c), LOST);
    assert_true(denied_so_far(&a) >= 1);
    pings(&b);
    peer_leave(&a);
    for (int64_t end_ms = clock_ms() + PATIENCE_MS; fate_of(&c) != ENTERED;)
        assert_true(clock_ms() < end_ms);       /* it tries again by itself */
    pings(&c);
    peer_leave(&b);
    peer_leave(&c);
    peer_leave(&w);
    fort_close(&fort);
}

static void one_address_does_not_take_all_connections(void **state)
{
    struct fort fort;

    (void)state;
    fort_open(&fort, (const char *const[]){ "--connections-address-max", "1", NULL });
    struct peer a = entered(&fort, PAIRS, fort.clients);
    struct peer b = peer_of(&fort, PAIRS, NULL, fort.clients);
    char other[200], *port = strrchr(fort.clients, ':');

    assert_int_equal(fate_of(&b), LOST);
    snprintf(other, sizeof other, "tcp://127.0.0.2:0;127.0.0.1%s", port);
    /* From another address of this machine; libzmq's own words for it, which link refuses. */
    void *zmq = zmq_ctx_new(), *socket = zmq_socket(zmq, ZMQ_REQ);
    int none = 0, patience = PATIENCE_MS;
    struct message m;
    void *data;
    size_t len;

    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(zmq_connect(socket, other), 0);
    message_init(&m, MESSAGE_PING, 1);
    must(message_encode(&m, &data, &len, NULL), &(struct err){ 0 });
    zmq_send(socket, data, len, 0);
    assert_true(zmq_recv(socket, other, sizeof other, 0) > 0);
    free(data);
    zmq_close(socket);
    zmq_ctx_term(zmq);
    peer_leave(&a);
    peer_leave(&b);
    fort_close(&fort);
}

static void who_does_not_introduce_himself_is_put_out(void **state)
{
    struct fort fort;

    (void)state;
    fort_open(&fort, (const char *const[]){ "--handshake-ms", "100", NULL });
    struct zmtp silent = zmtp_connect(fort.clients), half = zmtp_connect(fort.workers);

    assert_true(zmtp_greet(&half));
    assert_true(zmtp_await_close(&silent, PATIENCE_MS));
    assert_true(zmtp_await_close(&half, PATIENCE_MS));
    zmtp_close(&silent);
    zmtp_close(&half);
    fort_close(&fort);
}

/* ---- what does not start ---- */

static void assert_refuses(const char *words, const char *const *flags)
{
    const char *argv[FLAGS_MAX] = { NULL, "--ledger", "host=/nonexistent dbname=none",
                                    "--supervise", "0", "--worker-listen", "tcp://127.0.0.1:*" };
    const char *build = getenv("SEEDPRESS_BUILD");
    char path[300];
    size_t count = 7;
    struct ran ran;

    snprintf(path, sizeof path, "%s/seedpress-broker", build ? build : "build");
    argv[0] = path;
    while (*flags)
        argv[count++] = *flags++;
    argv[count] = NULL;
    ran = run_program(argv);
    assert_int_not_equal(ran.exit_code, 0);
    if (!strstr(ran.err, words))
        fail_msg("\"%s\" does not say \"%s\"", ran.err, words);
    for (int i = 0; i < PAIRS; i++)
        assert_null(strstr(ran.err, pairs[i].secret_key));
    ran_release(&ran);
}

#define FLAGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void what_would_be_open_to_all_does_not_start(void **state)
{
    struct temp_path key = temp_path(&temp, "broker.key"), ring = temp_path(&temp, "keyring");
    struct fort fort;

    (void)state;
    write_keyring(EVERYBODY);
    assert_refuses("give a key_file, or allow_plain", FLAGS("--listen", "tcp://0.0.0.0:*"));
    assert_refuses("\"keyring\" is missing", FLAGS("--key-file", key.text));
    assert_refuses("\"key_file\" is missing", FLAGS("--keyring", ring.text));
    assert_refuses("ipc_mode \"rw\"", FLAGS("--ipc-mode", "rw"));
    assert_int_equal(chmod(key.text, 0644), 0);
    assert_refuses("chmod 600 it", FLAGS("--key-file", key.text, "--keyring", ring.text));
    assert_int_equal(chmod(key.text, 0600), 0);

    fort_open(&fort, FLAGS("--listen", "tcp://0.0.0.0:*", "--allow-plain", "1"));
    fort_close(&fort);
    fort_open(&fort, FLAGS("--listen", "tcp://0.0.0.0:*", "--key-file", key.text, "--keyring",
                           ring.text));
    fort_close(&fort);
}

static void an_ipc_file_lets_in_whom_its_mode_lets_in(void **state)
{
    static const struct {
        const char *flag;
        mode_t mode;
    } CASES[] = { { "0660", 0660 }, { "0600", 0600 }, { "666", 0666 } };
    struct temp_path path = temp_path(&temp, "ipc");
    struct temp_path key = temp_path(&temp, "broker.key"), ring = temp_path(&temp, "keyring");
    char endpoint[300];

    (void)state;
    write_keyring(EVERYBODY);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path.text);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct fort fort;
        struct stat st;

        /* With keys too: over ipc the kernel says who is there, and whose keys TCP has may stay. */
        fort_open(&fort, FLAGS("--listen", endpoint, "--ipc-mode", CASES[i].flag, "--key-file",
                               key.text, "--keyring", ring.text));
        assert_int_equal(stat(path.text, &st), 0);
        assert_int_equal(st.st_mode & 0777, CASES[i].mode);
        struct peer plain = entered(&fort, PAIRS, endpoint);
        struct peer keyed = entered(&fort, ALICE, endpoint);

        pings(&plain);
        pings(&keyed);
        peer_leave(&plain);
        peer_leave(&keyed);
        fort_close(&fort);
    }
}

/* ---- the library, the command, the worker ---- */

static enum seedpress_code pinged(const char *broker, enum who own, struct seedpress_error *error)
{
    char key[300];
    struct seedpress_options options = { .brokers = broker, .key_file = key,
                                         .broker_key = pairs[BROKER].public_key };
    struct seedpress *sp;
    enum seedpress_code code;

    if (own == PAIRS)
        options.key_file = options.broker_key = "";
    else
        snprintf(key, sizeof key, "%s/%s.key", temp.folder, NAMES[own]);
    if (seedpress_create(&options, &sp, error))
        fail_msg("%s", error->message);
    code = seedpress_ping(sp, PATIENCE_MS, error);
    seedpress_destroy(&sp);
    return code;
}

static void the_library_has_keys_and_is_told_when_they_do_not_fit(void **state)
{
    struct seedpress_options half = { .brokers = "tcp://192.0.2.1:7701", .key_file = "x" };
    struct seedpress_error error;
    struct seedpress *sp;
    struct fort fort;

    (void)state;
    fort_open_keyed(&fort);
    assert_int_equal(pinged(fort.clients, ALICE, &error), SEEDPRESS_OK);
    assert_int_equal(pinged(fort.clients, STRANGER, &error), SEEDPRESS_DENIED);
    assert_non_null(strstr(error.message, "keyring"));
    assert_int_equal(pinged(fort.clients, GPU_1, &error), SEEDPRESS_DENIED);
    assert_int_equal(pinged(fort.clients, PAIRS, &error), SEEDPRESS_DENIED);
    assert_non_null(strstr(error.message, "give a key file"));
    assert_int_equal(seedpress_create(&half, &sp, &error), SEEDPRESS_INVALID);
    half.broker_key = pairs[BROKER].public_key;
    assert_int_equal(seedpress_create(&half, &sp, &error), SEEDPRESS_FILE);
    struct temp_path key = temp_path(&temp, "alice.key");

    half.key_file = key.text;        /* beyond this machine, with keys */
    assert_int_equal(seedpress_create(&half, &sp, &error), SEEDPRESS_OK);
    seedpress_destroy(&sp);
    fort_close(&fort);
}

static struct ran command(const char *const *words)
{
    const char *argv[FLAGS_MAX];
    const char *build = getenv("SEEDPRESS_BUILD");
    char path[300];
    size_t count = 1;

    snprintf(path, sizeof path, "%s/seedpress", build ? build : "build");
    argv[0] = path;
    while (*words)
        argv[count++] = *words++;
    argv[count] = NULL;
    return run_program(argv);
}

static void the_command_makes_keys_and_uses_them(void **state)
{
    struct temp_path carol = temp_path(&temp, "carol.key"), pub = temp_path(&temp, "broker.pub"),
                     ring = temp_path(&temp, "keyring");
    struct fort fort;
    struct ran ran;
    struct stat st;
    FILE *file;

    (void)state;
    fort_open_keyed(&fort);
    ran = command(FLAGS("keygen", "carol", "--role", "admin", "-o", temp.folder));
    assert_int_equal(ran.exit_code, 0);
    assert_int_equal(strncmp(ran.out, "admin ", 6), 0);
    assert_int_equal(stat(carol.text, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    file = fopen(ring.text, "a");
    fputs(ran.out, file);
    fclose(file);
    ran_release(&ran);
    program_signal(&fort.broker, SIGHUP);
    program_wait_for(&fort.broker, " keyring_read ", NULL, 0);

    ran = command(FLAGS("--broker", fort.clients, "--key-file", carol.text, "--broker-key",
                        pub.text, "status"));
    if (ran.exit_code != 0)
        fail_msg("%s", ran.err);
    ran_release(&ran);
    ran = command(FLAGS("--broker", fort.clients, "status"));
    assert_int_equal(ran.exit_code, 6);
    ran_release(&ran);
    ran = command(FLAGS("keygen", "carol", "-o", temp.folder));
    assert_int_equal(ran.exit_code, 7);
    ran_release(&ran);
    ran = command(FLAGS("keygen", "dave", "--role", "king", "-o", temp.folder));
    assert_int_equal(ran.exit_code, 2);
    ran_release(&ran);
    ran = command(FLAGS("status", "--key-file"));
    assert_int_equal(ran.exit_code, 2);
    assert_non_null(strstr(ran.err, "--key-file needs a value"));
    ran_release(&ran);
    fort_close(&fort);
}

static void a_picture_goes_the_whole_way_encrypted(void **state)
{
    struct temp_path key = temp_path(&temp, "broker.key"), ring = temp_path(&temp, "keyring");
    struct temp_path gpu = temp_path(&temp, "gpu-1.key"), pub = temp_path(&temp, "broker.pub");
    struct temp_path alice = temp_path(&temp, "alice.key");
    struct seedpress_options options = { .key_file = alice.text, .broker_key = pub.text };
    struct seedpress_request request;
    struct seedpress_image image;
    struct seedpress_error error;
    struct kit_stack stack;
    struct seedpress *sp;

    (void)state;
    write_keyring(EVERYBODY);
    stack_start(&stack, FLAGS("--key-file", key.text, "--keyring", ring.text));
    stack_start_worker(&stack, 0, FLAGS("--key-file", gpu.text, "--broker-key", pub.text));
    options.brokers = stack.clients;
    assert_int_equal(seedpress_create(&options, &sp, &error), SEEDPRESS_OK);
    seedpress_request_init(&request);
    request.model = "avatars64";
    request.seed = 42;
    request.deadline_ms = PATIENCE_MS;
    if (seedpress_generate(sp, &request, &image, &error))
        fail_msg("%s", error.message);
    assert_int_equal(image.seed, 42);
    seedpress_destroy(&sp);

    /* A worker whose key is another's says so, and gets nothing. */
    const char *argv[] = { "seedpress-worker", "--ledger", stack.pg.conninfo, "--brokers",
                           stack.workers, "--models-dir", "deploy/models", "--key-file",
                           alice.text, "--broker-key", pub.text, NULL };

    program_start(&stack.worker[1], argv);
    program_wait_for(&stack.worker[1], " broker_refuses ", NULL, 0);
    stack_destroy(&stack);
}

/* A gateway with the key of owner in front of a stack; what a visitor gets from it. */
static void ask_gateway_of(const struct kit_stack *stack, enum who owner, int status,
                           const char *words)
{
    struct temp_path key = temp_path(&temp, NAMES[owner]), pub = temp_path(&temp, "broker.pub");
    char file[300], listen[64], *body;
    struct kit_program gateway;

    snprintf(file, sizeof file, "%s.key", key.text);
    stack_run_gateway(&gateway, listen, stack->clients,
                      FLAGS("--key-file", file, "--broker-key", pub.text));
    http_await(listen, "/v1/models", 200, "avatars64");
    body = http_get(listen, "/v1/avatars64/42.jpg?psi=0.7", status);
    if (words)
        assert_non_null(strstr(body, words));
    free(body);
    program_signal(&gateway, SIGTERM);
    assert_int_equal(program_wait(&gateway), 0);
}

static void a_gateway_with_a_proxys_key_asks_for_its_visitors(void **state)
{
    struct temp_path key = temp_path(&temp, "broker.key"), ring = temp_path(&temp, "keyring");
    struct temp_path gpu = temp_path(&temp, "gpu-1.key"), pub = temp_path(&temp, "broker.pub");
    struct kit_stack stack;

    (void)state;
    write_keyring(EVERYBODY);
    stack_start(&stack, FLAGS("--key-file", key.text, "--keyring", ring.text));
    stack_start_worker(&stack, 0, FLAGS("--key-file", gpu.text, "--broker-key", pub.text));
    ask_gateway_of(&stack, GATEWAY, 200, NULL);
    ask_gateway_of(&stack, ALICE, 403, "\"code\":\"denied\"");
    stack_destroy(&stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_role_enters_its_own_port_only),
        cmocka_unit_test(an_unknown_key_is_refused_and_counted),
        cmocka_unit_test(plain_and_encrypted_do_not_meet),
        cmocka_unit_test(a_client_whose_key_is_taken_away_ends),
        cmocka_unit_test(a_worker_whose_key_is_taken_away_is_lost),
        cmocka_unit_test(a_keyring_that_is_wrong_changes_nothing),
        cmocka_unit_test(only_proxies_and_admins_ask_for_others),
        cmocka_unit_test(only_admins_bind_names_and_withdraw),
        cmocka_unit_test(nobody_ends_or_reads_what_another_asked),
        cmocka_unit_test(nobody_answers_for_another_worker),
        cmocka_unit_test(a_client_that_sets_its_routing_id_is_told_not_to),
        cmocka_unit_test(a_worker_that_sets_its_routing_id_is_dropped),
        cmocka_unit_test(a_peer_cannot_say_whose_key_it_has),
        cmocka_unit_test(more_connections_than_allowed_wait_outside),
        cmocka_unit_test(one_address_does_not_take_all_connections),
        cmocka_unit_test(who_does_not_introduce_himself_is_put_out),
        cmocka_unit_test(what_would_be_open_to_all_does_not_start),
        cmocka_unit_test(an_ipc_file_lets_in_whom_its_mode_lets_in),
        cmocka_unit_test(the_library_has_keys_and_is_told_when_they_do_not_fit),
        cmocka_unit_test(the_command_makes_keys_and_uses_them),
        cmocka_unit_test(a_picture_goes_the_whole_way_encrypted),
        cmocka_unit_test(a_gateway_with_a_proxys_key_asks_for_its_visitors),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
