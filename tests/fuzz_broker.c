/* Any bytes as what clients and workers send to a broker whose ledger is away, the clock turning
 * between: it must not crash, leak, or answer a request twice or never.
 *
 * The input is a list of messages. Each begins with a head of four bytes, followed by its body:
 *     who     bits 0..2: 0..3 are clients, 4..7 workers. 0x20: one that is gone; 0x40: with a REQ
 *             socket's delimiter; 0x80: a second frame of four bytes follows the body
 *     clock   bits 0..2: how far the clock is turned after it, times 300 ms; 0x08: and the broker
 *             ticks; bits 4..7: see below
 *     length  of the body, two bytes, low first
 * A body of no bytes is one of the messages below, by bits 4..7 of clock. They let the fuzzer meet
 * the states of a render without having to find msgpack first. */
#include "base/clock.h"
#include "base/log.h"
#include "broker/core.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { HEAD = 4, PEERS = 8, MESSAGES_MAX = 200, SEEDS = 4 };

/* Made once: the broker of each input borrows them. */
static struct link_context *context;
static struct link *clients, *workers, *peers[PEERS];
static struct address addresses[PEERS];
static struct scribe *scribe;

struct play {
    struct broker *b;
    int64_t now_ms;
    int64_t lease;                  /* the last one that the broker gave */
};

static void await_scribe(void)
{
    struct errand *errand = errand_create(ERRAND_FIND);
    struct link_wait wait = { .fd = scribe_fd(scribe) };

    if (!errand || !scribe_ask(scribe, errand))
        abort();
    while (!wait.ready)
        link_poll(&wait, 1, clock_ms() + 1000);
    errand = scribe_answer(scribe);
    errand_destroy(&errand);
    if (scribe_ledger_is_up(scribe))
        abort();                     /* there must be none */
}

/* Somebody who can be answered; what the broker calls him becomes known by a first message. */
static void add_peer(int number)
{
    struct link_options options = { .kind = LINK_DEALER, .frame_max = MESSAGE_IMAGE_MAX };
    struct link *port = number < 4 ? clients : workers;
    struct parcel parcel;
    struct frame hello;
    struct err e;

    if (link_create(context, &options, &peers[number], &e) ||
        link_connect(peers[number], number < 4 ? "inproc://clients" : "inproc://workers", &e) ||
        !frame_init_copy(&hello, "hello", 5) ||
        link_send(peers[number], NULL, &hello, NULL) != LINK_SENT || !link_receive(port, &parcel))
        abort();
    addresses[number] = parcel.from;
    parcel_release(&parcel);
}

static void set_up(void)
{
    struct link_options options = { .kind = LINK_ROUTER, .frame_max = MESSAGE_IMAGE_MAX };
    struct err e;

    log_set_level(LOG_ERROR);
    if (link_context_create(&context, &e) || link_create(context, &options, &clients, &e) ||
        link_create(context, &options, &workers, &e) ||
        link_bind(clients, "inproc://clients", &e) ||
        link_bind(workers, "inproc://workers", &e) ||
        scribe_create("host=/nonexistent dbname=none", "", &scribe, &e))
        abort();
    for (int i = 0; i < PEERS; i++)
        add_peer(i);
    await_scribe();
}

static void read_answers(void)
{
    struct parcel parcel;

    for (int i = 0; i < PEERS; i++)
        while (link_receive(peers[i], &parcel))
            parcel_release(&parcel);
}

/* ---- messages that are there to begin with ---- */

static void make_ready(struct message *m)
{
    static struct message_model models[2];

    models[0] = (struct message_model){ .name = text_of("cats"), .digest = digest_of("cats", 4),
                                        .width = 64, .height = 64, .num_ws = 10, .noise_modes = 3 };
    models[1] = (struct message_model){ .name = text_of("kinds"), .digest = digest_of("kinds", 5),
                                        .width = 32, .height = 32, .num_ws = 8, .c_dim = 3,
                                        .noise_modes = 1 };
    message_init(m, MESSAGE_READY, 0);
    m->ready = (struct message_ready){ .worker = text_of("host:1:1"), .credit = 3, .batch_max = 8,
                                       .numerics_class = text_of("x"), .models = { models, 2 } };
}

static void make_generate(struct message *m, int64_t seed)
{
    static const int64_t PAGE[] = { 0, 1, 2, 3, 2 };

    message_init(m, MESSAGE_GENERATE, seed);
    m->generate.model = text_of("cats");
    m->generate.deadline_ms = 2000;
    m->generate.seed = seed;
    if (seed == SEEDS) {
        m->generate.seed = -1;
        m->generate.seeds = (struct numbers){ PAGE, 5 };
    }
}

static void make_result(struct message *m, const struct play *play)
{
    struct render *r = renders_find_lease(&play->b->renders, play->lease);

    static struct message_result result;

    result = (struct message_result){ .lease = play->lease, .numerics_class = text_of("x"),
                                      .recipe_key = r ? r->key : digest_of("", 0),
                                      .sha256 = digest_of("", 0), .core_sha256 = digest_of("", 0),
                                      .bytes = 9 };
    message_init(m, MESSAGE_RESULTS, 0);
    m->results.results = (struct records){ &result, 1 };
}

static void make(struct message *m, const struct play *play, unsigned number)
{
    static const enum message_type OF_LEASES[] = { MESSAGE_STARTED, MESSAGE_RENDERED,
                                                   MESSAGE_HANDBACK };

    if (number == 0)
        make_ready(m);
    else if (number <= SEEDS + 1)
        make_generate(m, (int64_t)number - 1);
    else if (number < 9) {
        message_init(m, OF_LEASES[number - 6], 0);
        m->leases.leases = (struct numbers){ &play->lease, 1 };
    } else if (number == 9)
        make_result(m, play);
    else if (number == 10) {
        message_init(m, MESSAGE_FAIL, 0);
        m->fail = (struct message_fail){ play->lease, text_of("device"), text_of("") };
    } else if (number == 11) {
        message_init(m, MESSAGE_HEARTBEAT, 0);
        m->heartbeat.credit = 3;
        m->heartbeat.started = play->now_ms & 1;
    } else if (number == 12) {
        message_init(m, MESSAGE_CANCEL, 7);
        m->cancel.request = 1;
    } else
        message_init(m, number == 13 ? MESSAGE_BYE : number == 14 ? MESSAGE_STATUS : MESSAGE_MODELS,
                     1);
}

static bool make_frame(const struct play *play, unsigned number, struct frame *out)
{
    struct message m;
    void *bytes;
    size_t len;

    make(&m, play, number);
    if (play->lease == 0 && number >= 6 && number <= 10)
        return false;                /* no lease to speak of */
    if (message_encode(&m, &bytes, &len, NULL))
        abort();
    return frame_init_take(out, bytes, len);
}

/* ---- one input ---- */

static void send(struct play *play, unsigned who, unsigned clock, const uint8_t *body, size_t len)
{
    struct parcel parcel = { .count = 1 };
    bool is_worker = who & 4;

    parcel.from = addresses[who % PEERS];
    if (who & 0x20)
        parcel.from.bytes[1] ^= 0x55;
    if (who & 0x40) {
        parcel.from.bytes[parcel.from.len++] = 0;
        parcel.from.delimited = true;
    }
    if (len > 0 ? !frame_init_copy(&parcel.body[0], body, len)
                : !make_frame(play, clock >> 4, &parcel.body[0]))
        return;
    if (who & 0x80 && frame_init_copy(&parcel.body[1], "jpeg", 4))
        parcel.count = 2;
    if (is_worker)
        broker_on_worker(play->b, play->now_ms, &parcel);
    else
        broker_on_client(play->b, play->now_ms, &parcel);
}

static void check(const struct broker *b)
{
    size_t waiters = 0, leases = 0;

    for (const struct render *r = b->renders.by_key; r; r = r->hh.next) {
        for (const struct waiter *w = r->waiters; w; w = w->next)
            waiters++;
        leases += r->lease != 0;
        if ((r->lease != 0) != (r->state >= RENDER_HELD) || (!r->waiters && !r->lease))
            abort();
    }
    for (const struct worker *w = b->roster.by_peer; w; w = w->hh.next)
        leases -= w->leased;
    if (waiters != b->waiters || waiters != b->deadlines.count || leases != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct broker_options options = BROKER_OPTIONS_DEFAULT;
    struct play play = { .now_ms = 1000000 };
    struct err e;

    if (!scribe)
        set_up();
    options.waiters_max = 20;
    options.client_waiters_max = 10;
    options.stall_ms = 3000;
    if (broker_create(&options, clients, workers, scribe, play.now_ms, &play.b, &e))
        return 0;
    for (int i = 0; i < MESSAGES_MAX && len >= HEAD; i++) {
        size_t body = data[2] | (size_t)data[3] << 8;

        body = body < len - HEAD ? body : len - HEAD;
        send(&play, data[0], data[1], data + HEAD, body);
        if (data[1] & 8)             /* else in the same turn */
            broker_tick(play.b, play.now_ms += (data[1] & 7) * 300);
        if (play.b->renders.by_lease)
            play.lease = play.b->renders.by_lease->number;
        check(play.b);
        read_answers();
        data += HEAD + body;
        len -= HEAD + body;
    }
    for (int i = 0; i < 30; i++)     /* whoever still waits is answered */
        broker_tick(play.b, play.now_ms += 1000);
    check(play.b);
    broker_destroy(&play.b);
    read_answers();
    return 0;
}
