/* How a request gets its answer though brokers die: it is sent once the socket has a connection; a
 * broker that owes something is pinged; one that is silent, or whose connection breaks, has lost
 * what it was told, so everything unanswered is sent again over a new socket, with the rest of its
 * time. What comes twice is dropped the second time.
 *
 * `retry` is the word of a program that goes away. With another endpoint everything unanswered goes
 * there at once; with one it is asked again after a moment, until the broker is back. */
#include "client/exchange.h"

#include "base/clock.h"
#include "client/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    ENDPOINT_MAX = 256,             /* bytes of one */
    PINGS_IN_SILENCE = 3,
    RECEIVE_MAX = 1000,             /* messages of one turn: nobody can keep us in it */
    REOPEN_MS = 100,                /* between sockets: a broker may break every connection */
    AGAIN_MS = 200,                 /* after a `retry` that names no time, at the same broker */
    CONNECT_MS = 2000,              /* an endpoint without a connection is left sooner than one
                                       that is silent; a handshake is several ways there and back */
};

struct exchange {
    struct link_context *context;
    struct link *link;
    struct exchange_options options;
    char *brokers;                  /* as given */
    char *endpoints[EXCHANGE_ENDPOINTS_MAX];
    size_t endpoint_count, endpoint;
    struct request *requests;       /* that wait, by id */
    size_t unsent;                  /* of them */
    int64_t last_id;
    struct reply *first, *last;     /* that ended, for exchange_take */
    int64_t heard;                  /* messages from any broker */
    int64_t silent_since_ms;        /* nothing was heard since, though we listened */
    int64_t tried_ms;               /* the present socket is as old */
    size_t refusals;                /* endpoints in a row that did not let us in */
    bool is_lost;                   /* its connection broke, or its broker goes away: nothing is
                                       sent over it any more */
    bool was_connected;             /* it has been there, */
    int64_t connected_ms;           /* since then */
    int64_t again_ms;               /* the first of the requests'; INT64_MAX: none */
    int64_t pinged_ms, worked_ms;
    int64_t check_ms;               /* no request ends by itself before */
    int epoll_fd, timer_fd, link_fd;/* -1: exchange_fd was not called */
};

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ping_every_ms(const struct exchange *self)
{
    return later(self->options.silence_ms / PINGS_IN_SILENCE, 1);
}

/* ---- requests ---- */

static size_t text_bytes(const struct message *ask)
{
    const struct field_table *table = message_info(ask->type)->table;
    size_t bytes = 1;

    for (size_t i = 0; i < table->count; i++)
        if (table->fields[i].kind == FIELD_TEXT)
            bytes += ((const struct text *)((const char *)&ask->generate +
                                            table->fields[i].offset))->len;
    return bytes;
}

static void own_texts(struct request *r)
{
    const struct field_table *table = message_info(r->ask.type)->table;
    char *to = r->texts;

    for (size_t i = 0; i < table->count; i++) {
        struct text *text = (struct text *)((char *)&r->ask.generate + table->fields[i].offset);

        if (table->fields[i].kind != FIELD_TEXT || text->len == 0)
            continue;
        memcpy(to, text->data, text->len);
        text->data = to;
        to += text->len;
    }
}

void request_destroy(struct request **self)
{
    struct request *r = *self;

    if (!r)
        return;
    for (size_t i = 0; r->replies && i < r->count; i++) {
        frame_release(&r->replies[i].map);
        frame_release(&r->replies[i].payload);
    }
    free(r->replies);
    free(r->texts);
    free(r);
    *self = NULL;
}

static enum err_code request_create(const struct message *ask, struct request **out, struct err *e)
{
    const struct numbers *seeds = &ask->generate.seeds;
    bool many = ask->type == MESSAGE_GENERATE && seeds->count > 0;
    struct request *r = calloc(1, sizeof *r);

    *out = NULL;
    if (r) {
        r->ask = *ask;
        r->many = many;
        r->count = r->waiting = many ? seeds->count : 1;
        r->texts = malloc(text_bytes(ask));
        r->replies = calloc(r->count + 1, sizeof *r->replies);
    }
    if (!r || !r->texts || !r->replies) {
        request_destroy(&r);
        return err_set(e, ERR_NOMEM, "no memory for a request");
    }
    own_texts(r);
    for (size_t i = 0; i <= r->count; i++) {
        r->replies[i].request = r;
        if (ask->type == MESSAGE_GENERATE && i < r->count)
            r->replies[i].seed = (uint32_t)(many ? seeds->items[i] : ask->generate.seed);
        frame_init(&r->replies[i].map);
        frame_init(&r->replies[i].payload);
    }
    if (many)                        /* the replies know them */
        r->ask.generate.seeds = (struct numbers){ NULL, 0 };
    *out = r;
    return ERR_OK;
}

static enum err_code bad_range(const struct field *f, struct err *e)
{
    int64_t unit = f->kind == FIELD_DECIMAL || f->kind == FIELD_DECIMALS ? 1000000 : 1;

    return err_set(e, ERR_RANGE, "%s is out of range: it goes from %" PRId64 " to %" PRId64,
                   f->name, f->min / unit, f->max / unit);
}

static enum err_code check_records(const struct field *f, const struct records *list,
                                   struct err *e);

/* What the codec would refuse as a bug of ours is here the user's value. */
static enum err_code check_fields(const struct field_table *table, const void *record,
                                  struct err *e)
{
    enum err_code rc;

    for (size_t i = 0; i < table->count; i++) {
        const struct field *f = &table->fields[i];
        const void *at = (const char *)record + f->offset;
        const struct text *text = at;
        const struct decimals *list = at;

        switch (f->kind) {
        case FIELD_INT:
        case FIELD_DECIMAL:
        case FIELD_WORD:
            if (*(const int64_t *)at != f->def &&
                (*(const int64_t *)at < f->min || *(const int64_t *)at > f->max))
                return bad_range(f, e);
            break;
        case FIELD_DECIMALS:
            for (size_t k = 0; k < list->count; k++)
                if (list->items[k] < f->min || list->items[k] > f->max)
                    return bad_range(f, e);
            break;
        case FIELD_TEXT:
            if (text->len > (size_t)f->max || (f->required && text->len < (size_t)f->min))
                return err_set(e, ERR_RANGE, "%s has %zu bytes: %" PRId64 " to %" PRId64
                                             " are allowed", f->name, text->len, f->min, f->max);
            break;
        case FIELD_SEEDS:
            if (((const struct numbers *)at)->count > f->most)
                return err_set(e, ERR_RANGE, "%zu seeds are too many for one request: at most %zu",
                               ((const struct numbers *)at)->count, f->most);
            break;
        case FIELD_RECORDS:
            if ((rc = check_records(f, at, e)))
                return rc;
            break;
        default:
            break;
        }
    }
    return ERR_OK;
}

/* "parts" are told as "part 3: ...". */
static enum err_code check_records(const struct field *f, const struct records *list,
                                   struct err *e)
{
    struct err why;

    if (list->count > f->most)
        return err_set(e, ERR_RANGE, "%zu %s are too many for one request: at most %zu",
                       list->count, f->name, f->most);
    for (size_t i = 0; i < list->count; i++)
        if (check_fields(f->sub, (const char *)list->items + i * f->sub->size, &why))
            return err_set(e, why.code, "%.*s %zu: %s", (int)f->name_len - 1, f->name, i + 1,
                           why.msg);
    return ERR_OK;
}

/* When a request ends by itself if nothing is heard. */
static int64_t end_ms(const struct exchange *self, const struct request *r)
{
    int64_t grace_ms = r->ask.type == MESSAGE_GENERATE ? EXCHANGE_GRACE_MS : 0;

    return sooner(r->deadline_ms + grace_ms,
                  later(self->silent_since_ms, r->asked_ms) + self->options.unreachable_ms);
}

enum err_code exchange_ask(struct exchange *self, const struct message *ask, int64_t timeout_ms,
                           bool awaited, int64_t now_ms, struct request **out, struct err *e)
{
    struct request *r;
    enum err_code rc = check_fields(message_info(ask->type)->table, &ask->generate, e);

    *out = NULL;
    if (!rc)
        rc = request_create(ask, &r, e);
    if (rc)
        return rc;
    if (exchange_is_idle(self)) {    /* nobody had a reason to speak until now */
        self->silent_since_ms = self->pinged_ms = now_ms;
        self->check_ms = INT64_MAX;
    }
    r->ask.id = ++self->last_id;
    r->awaited = awaited;
    r->asked_ms = now_ms;
    r->deadline_ms = now_ms + timeout_ms;
    r->heard_before = self->heard;
    HASH_ADD(hh, self->requests, ask.id, sizeof r->ask.id, r);
    if (!r->hh.tbl) {
        request_destroy(&r);
        return err_set(e, ERR_NOMEM, "no memory for a request");
    }
    self->unsent++;
    self->check_ms = sooner(self->check_ms, end_ms(self, r));
    *out = r;
    return ERR_OK;
}

bool exchange_is_idle(const struct exchange *self)
{
    return self->requests == NULL;
}

/* ---- replies that end ---- */

static void queue_event(struct exchange *self, struct reply *reply)
{
    reply->next = NULL;
    if (self->first)
        self->last->next = reply;
    else
        self->first = reply;
    self->last = reply;
}

struct reply *exchange_take(struct exchange *self)
{
    struct reply *reply = self->first;

    if (reply)
        self->first = reply->next;
    return reply;
}

static void end_reply(struct exchange *self, struct reply *reply, enum reply_state state,
                      int64_t now_ms)
{
    struct request *r = reply->request;

    reply->state = state;
    r->failed += state != REPLY_ARRIVED;
    if (!r->awaited)
        queue_event(self, reply);
    if (--r->waiting > 0)
        return;
    r->ended_ms = now_ms;
    self->unsent -= !r->sent;
    HASH_DEL(self->requests, r);
    if (!r->awaited)
        queue_event(self, &r->replies[r->count]);
}

static void fail_reply(struct exchange *self, struct reply *reply, enum err_code code,
                       const char *words, int64_t now_ms)
{
    reply->code = code;
    reply->words = words;
    end_reply(self, reply, REPLY_FAILED, now_ms);
}

/* Everything that still waits of r ends; with its last reply r leaves the table. */
static void fail_waiting(struct exchange *self, struct request *r, enum err_code code,
                         const char *words, int64_t now_ms)
{
    for (size_t i = 0, count = r->count; i < count; i++)
        if (r->replies[i].state == REPLY_WAITING)
            fail_reply(self, &r->replies[i], code, words, now_ms);
}

static struct reply *find_waiting(struct request *r, int64_t seed)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->replies[i].state == REPLY_WAITING && r->replies[i].seed == seed)
            return &r->replies[i];
    return NULL;
}

/* ---- what comes in ---- */

static void keep(struct reply *reply, struct parcel *parcel)
{
    frame_release(&reply->map);
    frame_init_share(&reply->map, &parcel->body[0]);
    if (parcel->count > 1) {
        frame_release(&reply->payload);
        frame_init_share(&reply->payload, &parcel->body[1]);
    }
}

static void on_image(struct exchange *self, struct request *r, const struct message *m,
                     struct parcel *parcel, int64_t now_ms)
{
    const struct message_generate *asked = &r->ask.generate;
    struct reply *reply = find_waiting(r, m->image.seed);
    const struct frame *file = parcel->count > 1 ? &parcel->body[1] : NULL;
    bool is_receipt = m->type == MESSAGE_RECEIPT;
    const char *why = NULL;

    if (!reply && !r->many)          /* it can only have meant this one */
        reply = &r->replies[0];
    if (!reply)
        return;                      /* the second answer to something that was sent twice */
    if (is_receipt != (asked->want == MESSAGE_WANT_RECEIPT))
        why = "the broker sent a receipt for a picture, or a picture for a receipt";
    else if (!is_receipt && !file)
        why = "the broker sent a picture without its bytes";
    if (!why)
        why = answer_check_asked(&m->image, asked, reply->seed);
    if (!why)
        why = answer_check_image(&m->image, is_receipt ? NULL : file);
    if (why) {
        fail_reply(self, reply, ERR_BUG, why, now_ms);
        return;
    }
    keep(reply, parcel);
    end_reply(self, reply, REPLY_ARRIVED, now_ms);
}

/* Whether what says `retry` can be asked again in time; then it will be. */
static bool is_referred(struct exchange *self, struct request *r, const struct message *m,
                        int64_t now_ms)
{
    int64_t again_ms = now_ms + (m->error.retry_after_ms ? m->error.retry_after_ms : AGAIN_MS);

    if (!text_is(m->error.code, err_info(ERR_RETRY)->word))
        return false;
    if (self->endpoint_count > 1) {
        self->is_lost = true;
        return now_ms < r->deadline_ms;
    }
    if (again_ms >= r->deadline_ms)
        return false;
    if (r->again_ms == 0)
        r->again_ms = again_ms;
    self->again_ms = sooner(self->again_ms, r->again_ms);
    return true;
}

static void refuse_reply(struct exchange *self, struct reply *reply, struct parcel *parcel,
                         bool referred, int64_t now_ms)
{
    keep(reply, parcel);
    reply->is_referred = referred;
    if (!referred)
        end_reply(self, reply, REPLY_REFUSED, now_ms);
}

static void on_error(struct exchange *self, struct request *r, const struct message *m,
                     struct parcel *parcel, int64_t now_ms)
{
    bool of_one = r->many && m->error.seed >= 0, referred = is_referred(self, r, m, now_ms);
    struct reply *one = of_one ? find_waiting(r, m->error.seed) : NULL;

    if (one)
        refuse_reply(self, one, parcel, referred, now_ms);
    if (of_one)
        return;
    for (size_t i = 0, count = r->count; i < count; i++)
        if (r->replies[i].state == REPLY_WAITING)
            refuse_reply(self, &r->replies[i], parcel, referred, now_ms);
}

/* The broker will say nothing more of it. What it referred is asked again all the same. */
static void on_done(struct exchange *self, struct request *r, int64_t now_ms)
{
    for (size_t i = 0, count = r->count; i < count; i++)
        if (r->replies[i].state == REPLY_WAITING && !r->replies[i].is_referred)
            fail_reply(self, &r->replies[i], ERR_RETRY,
                       "the broker ended the request without this picture", now_ms);
}

/* What answers a request not for pictures; who asked looks whether it is the right thing. */
static void on_answer(struct exchange *self, struct request *r, struct parcel *parcel,
                      int64_t now_ms)
{
    keep(&r->replies[0], parcel);
    end_reply(self, &r->replies[0], REPLY_ARRIVED, now_ms);
}

static void on_message(struct exchange *self, struct request *r, const struct message *m,
                       struct parcel *parcel, int64_t now_ms)
{
    if (m->type == MESSAGE_ERROR)
        on_error(self, r, m, parcel, now_ms);
    else if (r->ask.type != MESSAGE_GENERATE)
        on_answer(self, r, parcel, now_ms);
    else if (m->type == MESSAGE_IMAGE || m->type == MESSAGE_RECEIPT)
        on_image(self, r, m, parcel, now_ms);
    else if (m->type == MESSAGE_DONE && r->many)
        on_done(self, r, now_ms);
}

static void on_parcel(struct exchange *self, struct parcel *parcel, int64_t now_ms)
{
    struct request *r = NULL;
    struct message m;
    enum err_code rc = message_decode(frame_data(&parcel->body[0]), frame_len(&parcel->body[0]),
                                      MESSAGE_FROM_BROKER, &m, NULL);

    HASH_FIND(hh, self->requests, &m.id, sizeof m.id, r);
    if (!rc) {
        self->heard++;
        self->silent_since_ms = now_ms;
    }
    if (r && !rc)
        on_message(self, r, &m, parcel, now_ms);
    else if (r && !r->many)          /* of several, nobody knows which one it should have been */
        fail_waiting(self, r, ERR_BUG, "the broker's answer could not be read", now_ms);
    message_release(&m);
}

static void receive(struct exchange *self, int64_t now_ms)
{
    struct parcel parcel;

    for (int i = 0; i < RECEIVE_MAX && link_receive(self->link, &parcel); i++) {
        self->refusals = 0;
        on_parcel(self, &parcel, now_ms);
        parcel_release(&parcel);
    }
}

/* ---- what goes out ---- */

static bool send_message(struct exchange *self, const struct message *m)
{
    struct frame map;
    bool sent;

    if (frame_init_message(&map, m, NULL))
        return false;
    sent = link_send(self->link, NULL, &map, NULL) == LINK_SENT;
    frame_release(&map);
    return sent;
}

/* A generate asks for what is still waiting, in the time that is left. */
static bool send_generate(struct exchange *self, const struct request *r, int64_t now_ms)
{
    struct message m = r->ask;
    int64_t *seeds = NULL;
    size_t count = 0;
    bool sent;

    m.generate.deadline_ms = later(r->deadline_ms - now_ms, 1);
    if (r->many) {
        seeds = malloc(r->waiting * sizeof *seeds);
        if (!seeds)
            return false;
        for (size_t i = 0; i < r->count; i++)
            if (r->replies[i].state == REPLY_WAITING)
                seeds[count++] = r->replies[i].seed;
        m.generate.seeds = (struct numbers){ seeds, count };
    }
    sent = send_message(self, &m);
    free(seeds);
    return sent;
}

/* Those that were referred and may now ask the same broker again. */
static void ask_again(struct exchange *self, int64_t now_ms)
{
    if (now_ms < self->again_ms)
        return;
    self->again_ms = INT64_MAX;
    for (struct request *r = self->requests; r; r = r->hh.next) {
        if (r->again_ms == 0)
            continue;
        if (now_ms < r->again_ms) {
            self->again_ms = sooner(self->again_ms, r->again_ms);
            continue;
        }
        r->again_ms = 0;
        self->unsent += r->sent;
        r->sent = false;
    }
}

static void send_unsent(struct exchange *self, int64_t now_ms)
{
    for (struct request *r = self->requests; r && self->unsent > 0; r = r->hh.next) {
        if (r->sent)
            continue;
        r->sent = r->ask.type == MESSAGE_GENERATE ? send_generate(self, r, now_ms)
                                                  : send_message(self, &r->ask);
        if (!r->sent)
            return;                  /* no connection, or no room in it */
        self->unsent--;
    }
}

static void send_ping(struct exchange *self, int64_t now_ms)
{
    struct message ping;

    if (now_ms < later(self->silent_since_ms, self->pinged_ms) + ping_every_ms(self))
        return;
    self->pinged_ms = now_ms;
    message_init(&ping, MESSAGE_PING, 0);
    send_message(self, &ping);       /* not sent: the silence goes on, and is acted upon */
}

bool exchange_cancel(struct exchange *self, int64_t id, int64_t now_ms)
{
    struct message cancel;
    struct request *r = NULL;

    HASH_FIND(hh, self->requests, &id, sizeof id, r);
    if (!r || r->awaited)
        return false;
    if (r->sent) {
        message_init(&cancel, MESSAGE_CANCEL, ++self->last_id);
        cancel.cancel.request = id;
        send_message(self, &cancel); /* not sent: the broker's answers will find nobody */
    }
    fail_waiting(self, r, ERR_CANCELLED, "cancelled", now_ms);
    return true;
}

/* ---- brokers ---- */

static enum err_code open_link(struct exchange *self, size_t endpoint, struct link **out,
                               struct err *e)
{
    struct link_options options = { .kind = LINK_DEALER, .frame_max = MESSAGE_IMAGE_MAX,
                                    .allow_plain = self->options.allow_plain, .watch = true };
    struct link_curve curve = { self->options.own.public_key, self->options.own.secret_key,
                                self->options.broker_key };

    if (self->options.has_keys)
        options.curve = &curve;
    enum err_code rc = link_create(self->context, &options, out, e);

    if (!rc)
        rc = link_connect(*out, self->endpoints[endpoint], e);
    if (rc)
        link_destroy(out);
    return rc;
}

static void forget_sent(struct exchange *self)
{
    for (struct request *r = self->requests; r; r = r->hh.next) {
        r->sent = false;
        r->again_ms = 0;
        for (size_t i = 0; i < r->count; i++)
            r->replies[i].is_referred = false;
    }
    self->again_ms = INT64_MAX;
    self->unsent = HASH_COUNT(self->requests);
}

static void watch_link(struct exchange *self)
{
    struct epoll_event event = { .events = EPOLLIN };

    if (self->epoll_fd < 0)
        return;
    self->link_fd = link_fd(self->link);
    epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, self->link_fd, &event);
}

/* A new socket: with one endpoint to the same, because only that forgets what the old one's queues
 * still hold. If there is none to be had, the old one stays for another silence. */
static void change_broker(struct exchange *self, int64_t now_ms)
{
    size_t next = (self->endpoint + 1) % self->endpoint_count;
    struct link *fresh;

    self->tried_ms = now_ms;
    if (open_link(self, next, &fresh, NULL))
        return;
    self->is_lost = self->was_connected = false;
    if (self->epoll_fd >= 0)
        epoll_ctl(self->epoll_fd, EPOLL_CTL_DEL, self->link_fd, NULL);
    link_destroy(&self->link);
    self->link = fresh;
    self->endpoint = next;
    watch_link(self);
    forget_sent(self);
}

/* No broker lets us in: nothing is gained by waiting for the deadline. */
static void deny_waiting(struct exchange *self, int64_t now_ms)
{
    struct request *r, *next;

    self->refusals = 0;
    HASH_ITER(hh, self->requests, r, next)
        fail_waiting(self, r, ERR_DENIED,
                     self->options.has_keys
                         ? "the broker does not admit this key: is it on its keyring, as client, "
                           "proxy or admin, and is the broker encrypted?"
                         : "the broker admits no plain connection: give a key file and its key",
                     now_ms);
}

/* libzmq connects again by itself, but a broker that was restarted then knows nothing of us, and
 * for a moment the socket still takes messages for the connection that is gone. */
static void check_connection(struct exchange *self, int64_t now_ms)
{
    bool lost = link_was_lost(self->link);

    self->is_lost |= lost;
    self->refusals += lost && link_is_refused(self->link);
    if (self->refusals >= self->endpoint_count)
        deny_waiting(self, now_ms);
    self->is_lost |= link_was_lost(self->link);
    if (!self->was_connected && link_has_room(self->link)) {
        self->was_connected = true;
        self->connected_ms = now_ms;
    }
    if (self->is_lost && now_ms >= self->tried_ms + REOPEN_MS)
        change_broker(self, now_ms);
}

/* When the present endpoint has had its time, if nothing is heard. */
static int64_t leave_ms(const struct exchange *self)
{
    int64_t silence_ms = self->options.silence_ms;

    if (self->endpoint_count > 1 && !self->was_connected)
        return self->tried_ms + sooner(silence_ms, CONNECT_MS);
    if (self->was_connected)         /* the handshake over a slow line is no silence */
        return later(self->silent_since_ms, self->connected_ms) + silence_ms;
    return later(self->silent_since_ms, self->tried_ms) + silence_ms;
}

/* ---- turns ---- */

static void end_waiting(struct exchange *self, struct request *r, int64_t now_ms)
{
    bool is_late = self->heard != r->heard_before && now_ms >= r->deadline_ms;

    for (size_t i = 0, count = r->count; i < count; i++) {
        struct reply *reply = &r->replies[i];

        if (reply->state != REPLY_WAITING)
            continue;
        if (reply->is_referred)
            end_reply(self, reply, REPLY_REFUSED, now_ms);
        else if (is_late)
            fail_reply(self, reply, ERR_DEADLINE, "no answer came before the deadline", now_ms);
        else
            fail_reply(self, reply, ERR_UNREACHABLE, NULL, now_ms);
    }
}

static void end_late(struct exchange *self, int64_t now_ms)
{
    struct request *r, *next;

    if (now_ms < self->check_ms)
        return;
    self->check_ms = INT64_MAX;
    HASH_ITER(hh, self->requests, r, next) {
        if (now_ms < end_ms(self, r))
            self->check_ms = sooner(self->check_ms, end_ms(self, r));
        else
            end_waiting(self, r, now_ms);
    }
}

void exchange_work(struct exchange *self, int64_t now_ms)
{
    /* Whoever was away has not listened: what he did not hear is no silence. */
    if (now_ms - self->worked_ms > self->options.silence_ms / 2)
        self->silent_since_ms = now_ms;
    self->worked_ms = now_ms;
    receive(self, now_ms);
    check_connection(self, now_ms);
    if (exchange_is_idle(self))
        return;
    end_late(self, now_ms);
    if (!exchange_is_idle(self) && now_ms >= leave_ms(self))
        change_broker(self, now_ms);
    if (self->is_lost)
        return;
    ask_again(self, now_ms);
    send_unsent(self, now_ms);
    if (!exchange_is_idle(self))
        send_ping(self, now_ms);
}

/* When exchange_work is due though nothing comes. */
static int64_t wake_ms_of(const struct exchange *self)
{
    if (exchange_is_idle(self))
        return INT64_MAX;
    if (self->is_lost)
        return self->tried_ms + REOPEN_MS;
    return sooner(sooner(self->check_ms, self->again_ms),
                  sooner(leave_ms(self),
                         later(self->silent_since_ms, self->pinged_ms) + ping_every_ms(self)));
}

void exchange_sleep(struct exchange *self, int64_t wake_ms)
{
    struct link_wait wait = { .link = self->link,
                              .wants_room = self->unsent > 0 && !self->is_lost };

    link_poll(&wait, 1, sooner(wake_ms, wake_ms_of(self)));
}

/* ---- for other poll loops ---- */

int exchange_fd(struct exchange *self)
{
    struct epoll_event event = { .events = EPOLLIN };

    if (self->epoll_fd >= 0)
        return self->epoll_fd;
    self->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    self->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (self->epoll_fd < 0 || self->timer_fd < 0 ||
        epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, self->timer_fd, &event) != 0) {
        close(self->epoll_fd);
        close(self->timer_fd);
        self->epoll_fd = self->timer_fd = -1;
        return -1;
    }
    watch_link(self);
    return self->epoll_fd;
}

/* The socket's descriptor alone would not do: it tells of changes once, goes with the socket, and
 * knows no time. So a timer stands beside it, due at once while there is something to take. */
void exchange_arm(struct exchange *self, int64_t now_ms)
{
    bool is_due = self->first || link_is_readable(self->link) ||
                  (self->unsent > 0 && !self->is_lost && link_has_room(self->link));
    int64_t wake_ms = wake_ms_of(self), wait_ms = is_due ? 0 : wake_ms - now_ms;
    struct itimerspec timer = { .it_value = { .tv_sec = 0 } };

    if (self->epoll_fd < 0)
        return;
    if (is_due || wake_ms != INT64_MAX) {        /* all zero: never */
        timer.it_value.tv_sec = wait_ms > 0 ? wait_ms / 1000 : 0;
        timer.it_value.tv_nsec = wait_ms > 0 ? wait_ms % 1000 * 1000000 : 1;
    }
    timerfd_settime(self->timer_fd, 0, &timer, NULL);
}

/* ---- life ---- */

static enum err_code split_endpoints(struct exchange *self, struct err *e)
{
    for (char *at = self->brokers; at;) {
        char *comma = strchr(at, ',');
        size_t len = comma ? (size_t)(comma - at) : strlen(at);

        if (len == 0 || len >= ENDPOINT_MAX || self->endpoint_count == EXCHANGE_ENDPOINTS_MAX)
            return err_set(e, ERR_INVALID, "brokers \"%.120s\": this needs 1 to %d endpoints such "
                                           "as tcp://127.0.0.1:7701, ',' between", self->brokers,
                           EXCHANGE_ENDPOINTS_MAX);
        self->endpoints[self->endpoint_count] = strndup(at, len);
        if (!self->endpoints[self->endpoint_count++])
            return err_set(e, ERR_NOMEM, "no memory for the endpoints");
        at = comma ? comma + 1 : NULL;
    }
    return ERR_OK;
}

/* An endpoint that is wrong shows now, not when it is needed. */
static enum err_code check_endpoints(struct exchange *self, struct err *e)
{
    enum err_code rc = ERR_OK;

    for (size_t i = 1; !rc && i < self->endpoint_count; i++) {
        struct link *link;

        rc = open_link(self, i, &link, e);
        link_destroy(&link);
    }
    return rc;
}

enum err_code exchange_create(const struct exchange_options *options, struct exchange **out,
                              struct err *e)
{
    struct exchange *self = calloc(1, sizeof *self);
    int64_t now_ms = clock_ms();
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a handle");
    self->options = *options;
    self->tried_ms = self->worked_ms = now_ms;
    self->again_ms = INT64_MAX;
    self->epoll_fd = self->timer_fd = self->link_fd = -1;
    self->brokers = strdup(options->brokers);
    if (!self->brokers)
        rc = err_set(e, ERR_NOMEM, "no memory for the endpoints");
    if (!rc)
        rc = split_endpoints(self, e);
    if (!rc)
        rc = link_context_create(&self->context, e);
    if (!rc)
        rc = check_endpoints(self, e);
    if (!rc)
        rc = open_link(self, 0, &self->link, e);
    if (rc)
        exchange_destroy(&self);
    *out = self;
    return rc;
}

static void destroy_requests(struct exchange *self)
{
    struct request *r, *next;
    struct reply *reply;

    HASH_ITER(hh, self->requests, r, next) {
        r->waiting = 0;              /* its events are dropped below; it goes with its DONE */
        HASH_DEL(self->requests, r);
        if (!r->awaited)
            queue_event(self, &r->replies[r->count]);
    }
    while ((reply = exchange_take(self))) {
        r = reply->request;
        if (reply == &r->replies[r->count])
            request_destroy(&r);
    }
}

void exchange_destroy(struct exchange **self)
{
    struct exchange *x = *self;

    if (!x)
        return;
    destroy_requests(x);
    link_destroy(&x->link);
    link_context_destroy(&x->context);
    for (size_t i = 0; i < x->endpoint_count; i++)
        free(x->endpoints[i]);
    free(x->brokers);
    key_pair_wipe(&x->options.own);
    if (x->epoll_fd >= 0) {
        close(x->timer_fd);
        close(x->epoll_fd);
    }
    free(x);
    *self = NULL;
}

const char *exchange_brokers(const struct exchange *self)
{
    return self->brokers;
}
