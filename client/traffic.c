#include "client/traffic.h"

#include "base/alarm.h"
#include "base/clock.h"
#include "base/link.h"
#include "client/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

enum {
    PROBE_MS = 10000,               /* a broker that has just started waits 5 s for its workers */
    CONNECT_MS = 3000,
    GRACE_US = 1000000,             /* behind the deadline: then a request counts as unanswered */
    PROGRESS_US = 2000000,
    TURN_MAX = 256,                 /* answers that one connection is read for in a row */
    PLACEHOLDER = 0x10000,          /* the least number that takes five bytes on the wire */
};

/* A request's map, encoded once; its id and seed are written into the bytes. */
struct stencil {
    uint8_t *bytes;
    size_t len, id_at, seed_at;     /* where the four bytes of the numbers are */
};

struct request {
    int64_t id;
    int64_t meant_us, give_up_us;
    uint32_t seed;
    int level, connection;
    int left;                       /* pictures without an answer */
    struct request *prev, *next;    /* under way, in order of give_up_us; or free */
    struct request *unsent_next;    /* of the connection */
};

struct connection {
    struct link *link;
    struct request *unsent, **unsent_end;       /* what the socket did not take yet */
};

struct pause {                      /* a place of the closed loop that waits for its next request */
    int64_t due_us;
    int connection;
};

struct traffic {
    const struct traffic_options *options;
    struct traffic_tally *tally;
    struct load load;
    struct stencil stencils[MESSAGE_PRIORITY_COUNT];
    struct link_context *context;
    struct connection connections[TRAFFIC_CONNECTIONS_MAX];
    int next_connection;
    struct request *places;         /* [place_count] */
    size_t place_count;
    struct request *free, *flying;
    int64_t generation;             /* of ids, so that a late answer meets no other request */
    struct pause *pauses;           /* [place_count], a ring in order of due_us */
    size_t pause_first, pause_count;
    int64_t *page_seeds;            /* [page] */
    int64_t from_us, until_us;      /* what is measured */
    int64_t start_us, arrival_us;   /* open loop: the next request's moment */
    int alarm_fd;
    int64_t alarm_us;               /* what it is set to */
};

/* ---- what is sent ---- */

static struct message wish_of(const struct traffic *self, int level)
{
    const struct traffic_options *o = self->options;
    struct message m;

    message_init(&m, MESSAGE_GENERATE, PLACEHOLDER);
    m.generate.model = text_of(o->model);
    m.generate.seed = PLACEHOLDER;
    m.generate.priority = level;
    m.generate.deadline_ms = o->deadline_ms;
    m.generate.want = (int64_t)o->want;
    m.generate.cache = (int64_t)o->cache;
    return m;
}

/* Where the four bytes of an entry's number are: behind its key and the mark of a uint32. */
static size_t number_at(const struct stencil *s, const char *entry, size_t entry_len)
{
    const uint8_t *at = memmem(s->bytes, s->len, entry, entry_len);

    return at ? (size_t)(at - s->bytes) + entry_len : 0;
}

static enum err_code cut_stencil(struct traffic *self, int level, struct err *e)
{
    static const char ID[] = "\xa2id\xce", SEED[] = "\xa4seed\xce";
    struct stencil *s = &self->stencils[level];
    struct message wish = wish_of(self, level);
    enum err_code rc = message_encode(&wish, (void **)&s->bytes, &s->len, e);

    if (rc)
        return rc;
    s->id_at = number_at(s, ID, sizeof ID - 1);
    s->seed_at = number_at(s, SEED, sizeof SEED - 1);
    if (!s->id_at || !s->seed_at)
        return err_set(e, ERR_BUG, "a request is not encoded as the benchmark takes it to be");
    self->tally->request_bytes = s->len;
    return ERR_OK;
}

static void write_number(struct stencil *s, size_t at, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        s->bytes[at + (size_t)i] = (uint8_t)(number >> (24 - 8 * i));
}

/* One request's map. False: no memory. */
static bool fill_one(struct traffic *self, const struct request *r, struct frame *out)
{
    struct stencil *s = &self->stencils[r->level];

    write_number(s, s->id_at, (uint32_t)r->id);
    write_number(s, s->seed_at, r->seed);
    return frame_init_copy(out, s->bytes, s->len);
}

static bool fill_page(struct traffic *self, const struct request *r, struct frame *out)
{
    struct message m = wish_of(self, r->level);
    size_t count = (size_t)self->options->page;
    struct err e;

    m.id = r->id;
    m.generate.seed = -1;
    for (size_t i = 0; i < count; i++)
        self->page_seeds[i] = load_next_seed(&self->load);
    m.generate.seeds = (struct numbers){ self->page_seeds, count };
    return !frame_init_message(out, &m, &e);
}

static bool is_paged(const struct traffic *self)
{
    return self->options->page > 1;
}

/* False when the socket is full, or there is no memory: another try later. */
static bool send_request(struct traffic *self, struct request *r)
{
    struct frame map;
    bool sent = is_paged(self) ? fill_page(self, r, &map) : fill_one(self, r, &map);

    if (sent)
        sent = link_send(self->connections[r->connection].link, NULL, &map, NULL) == LINK_SENT;
    frame_release(&map);
    return sent;
}

static void send_unsent(struct traffic *self, struct connection *c)
{
    while (c->unsent && send_request(self, c->unsent))
        c->unsent = c->unsent->unsent_next;
    if (!c->unsent)
        c->unsent_end = &c->unsent;
}

static bool is_closed_loop(const struct traffic *self)
{
    return self->options->load.rate == 0;
}

static bool is_measured(const struct traffic *self, int64_t us)
{
    return us >= self->from_us && us < self->until_us;
}

static void start(struct traffic *self, int64_t meant_us, int connection)
{
    struct connection *c = &self->connections[connection];
    struct request *r = self->free;

    if (!r) {                        /* open loop only */
        self->tally->unsent += is_measured(self, meant_us) ? self->options->page : 0;
        return;
    }
    DL_DELETE(self->free, r);
    DL_APPEND(self->flying, r);
    r->id = PLACEHOLDER + (r - self->places) + (int64_t)self->place_count * self->generation;
    self->generation = (self->generation + 1) % (INT64_C(0xfff00000) / (int64_t)self->place_count);
    r->meant_us = meant_us;
    r->give_up_us = meant_us + self->options->deadline_ms * 1000 + GRACE_US;
    r->level = load_next_level(&self->load);
    r->seed = is_paged(self) ? 0 : load_next_seed(&self->load);
    r->connection = connection;
    r->left = self->options->page;
    self->tally->all_asked += r->left;
    if (c->unsent || !send_request(self, r)) {
        r->unsent_next = NULL;
        *c->unsent_end = r;
        c->unsent_end = &r->unsent_next;
    }
}

/* ---- what comes back ---- */

static void pause_place(struct traffic *self, int connection, int64_t due_us)
{
    self->pauses[(self->pause_first + self->pause_count++) % self->place_count] =
        (struct pause){ due_us, connection };
}

static void end_request(struct traffic *self, struct request *r, int64_t now_us)
{
    DL_DELETE(self->flying, r);
    DL_PREPEND(self->free, r);
    r->id = 0;
    if (is_closed_loop(self))
        pause_place(self, r->connection, now_us + self->options->pause_us);
}

/* Whether what came now for r belongs to the figures. */
static bool counts(const struct traffic *self, const struct request *r, int64_t now_us)
{
    return is_measured(self, is_closed_loop(self) ? now_us : r->meant_us);
}

static struct request *find_request(const struct traffic *self, int64_t id)
{
    struct request *r;

    if (id < PLACEHOLDER)
        return NULL;
    r = &self->places[(size_t)(id - PLACEHOLDER) % self->place_count];
    return r->id == id ? r : NULL;
}

static void note(struct traffic_tally *tally, enum err_code code, struct text words)
{
    if (!tally->first.code)
        err_set(&tally->first, code, "%.*s", (int)(words.len > 190 ? 190 : words.len), words.data);
}

/* What is wrong with a picture, as libseedpress would see it; NULL: nothing. */
static const char *check_picture(const struct traffic *self, const struct request *r,
                                 const struct parcel *parcel)
{
    struct message_generate asked = wish_of(self, r->level).generate;
    const struct frame *file = parcel->count > 1 ? &parcel->body[1] : NULL;
    const char *why = NULL;
    struct message m;
    struct err e;

    if (message_decode(frame_data(&parcel->body[0]), frame_len(&parcel->body[0]),
                       MESSAGE_FROM_BROKER, &m, &e))
        why = "the broker sent a malformed answer";
    else if ((m.type == MESSAGE_IMAGE) != (file != NULL))
        why = "the broker sent a picture without its bytes, or bytes that nobody asked for";
    else
        why = answer_check_image(&m.image, file);
    if (!why)
        why = answer_check_asked(&m.image, &asked,
                                 is_paged(self) ? (uint32_t)m.image.seed : r->seed);
    message_release(&m);
    return why;
}

static void take_picture(struct traffic *self, struct request *r, const struct parcel *parcel,
                         struct text source, int64_t now_us)
{
    static const char *const SOURCES[] = { "render", "ledger", "memory" };
    struct traffic_tally *t = self->tally;
    const char *why = self->options->verify ? check_picture(self, r, parcel) : NULL;

    if (!counts(self, r, now_us))
        return;
    if (why) {
        t->damaged++;
        note(t, ERR_BUG, text_of(why));
        return;
    }
    t->ok++;
    t->bytes += parcel->count > 1 ? (int64_t)frame_len(&parcel->body[1]) : 0;
    for (size_t i = 0; i < sizeof SOURCES / sizeof SOURCES[0]; i++)
        t->source[i] += text_is(source, SOURCES[i]) || (i == 0 && source.len == 0);
    histogram_add(&t->latency[r->level], now_us - r->meant_us);
}

static void take_failure(struct traffic *self, struct request *r, int pictures, struct text code,
                         struct text words, int64_t now_us)
{
    enum err_code rc = err_from_word(code.data, code.len);

    if (rc == ERR_OK || rc == ERR_COUNT)
        rc = ERR_BUG;
    note(self->tally, rc, words);
    if (counts(self, r, now_us))
        self->tally->failed[rc] += pictures;
}

static void take_answer(struct traffic *self, struct parcel *parcel, int64_t now_us)
{
    enum { TYPE, ID, SEED, SOURCE, CODE, WORDS, PEEKS };
    struct message_peek p[PEEKS] = { { .key = "type" }, { .key = "id" }, { .key = "seed" },
                                     { .key = "source" }, { .key = "code" },
                                     { .key = "message" } };
    static const char WRONG_SEED[] = "the broker sent another seed's picture";
    bool whole = message_peek(frame_data(&parcel->body[0]), frame_len(&parcel->body[0]), p, PEEKS);
    struct request *r = whole ? find_request(self, p[ID].number) : NULL;
    int pictures = 1;

    if (!r)
        return;                      /* the probe's or given up */
    if (text_is(p[TYPE].text, "image") || text_is(p[TYPE].text, "receipt")) {
        if (!is_paged(self) && p[SEED].number != r->seed)
            take_failure(self, r, 1, text_of("bug"), text_of(WRONG_SEED), now_us);
        else
            take_picture(self, r, parcel, p[SOURCE].text, now_us);
    } else if (text_is(p[TYPE].text, "error")) {
        if (!p[SEED].found)          /* of the request as a whole */
            pictures = r->left;
        take_failure(self, r, pictures, p[CODE].text, p[WORDS].text, now_us);
    } else
        pictures = text_is(p[TYPE].text, "done") ? r->left : 0;
    r->left -= pictures;
    self->tally->all_ended += pictures;
    if (r->left <= 0 && (!is_paged(self) || !p[SEED].found))
        end_request(self, r, now_us);
}

static void receive(struct traffic *self, struct connection *c)
{
    struct parcel parcel;

    if (link_is_quiet(c->link))
        return;
    for (int i = 0; i < TURN_MAX && link_receive(c->link, &parcel); i++) {
        take_answer(self, &parcel, clock_us());
        parcel_release(&parcel);
    }
}

static void give_up(struct traffic *self, int64_t now_us)
{
    static const char WORDS[] = "no answer, not even an error, a second after the deadline";
    struct request *r;

    while ((r = self->flying) && now_us >= r->give_up_us) {
        note(self->tally, ERR_DEADLINE, text_of(WORDS));
        if (counts(self, r, now_us) || now_us >= self->until_us)
            self->tally->unanswered += r->left;
        self->tally->all_ended += r->left;
        end_request(self, r, now_us);
    }
}

/* ---- the loop ---- */

/* What is due now is sent; returns when the next is. 0: nothing more. */
static int64_t start_due(struct traffic *self, int64_t now_us)
{
    const struct traffic_options *o = self->options;

    if (now_us >= self->until_us)
        return 0;
    if (!is_closed_loop(self)) {
        while (self->arrival_us <= now_us) {
            start(self, self->arrival_us, self->next_connection);
            self->next_connection = (self->next_connection + 1) % o->connections;
            self->arrival_us = self->start_us + load_next_arrival_us(&self->load);
        }
        return self->arrival_us;
    }
    while (self->pause_count > 0 && self->pauses[self->pause_first].due_us <= now_us) {
        int connection = self->pauses[self->pause_first].connection;

        self->pause_first = (self->pause_first + 1) % self->place_count;
        self->pause_count--;
        start(self, now_us, connection);
    }
    return self->pause_count > 0 ? self->pauses[self->pause_first].due_us : 0;
}

static void wait_for_news(struct traffic *self, struct link_wait *waits, int64_t next_us,
                          int64_t now_us)
{
    size_t count = (size_t)self->options->connections;
    int64_t wake_us = now_us + 100000;               /* to look who is to be given up */

    if (next_us != self->alarm_us)
        alarm_set(self->alarm_fd, next_us);
    self->alarm_us = next_us;
    if (self->until_us > now_us && self->until_us < wake_us)
        wake_us = self->until_us + 999;
    for (size_t i = 0; i < count; i++)
        waits[i].wants_room = self->connections[i].unsent != NULL;
    link_poll(waits, count + 1, wake_us / 1000);
}

static bool is_interrupted(const struct traffic *self)
{
    return self->options->interrupted && *self->options->interrupted;
}

static void loop(struct traffic *self)
{
    const struct traffic_options *o = self->options;
    struct link_wait waits[TRAFFIC_CONNECTIONS_MAX + 1];
    int64_t now_us = clock_us(), progress_us = now_us + PROGRESS_US;

    for (int i = 0; i < o->connections; i++)
        waits[i] = (struct link_wait){ .link = self->connections[i].link };
    waits[o->connections] = (struct link_wait){ .fd = self->alarm_fd };
    while (!is_interrupted(self) && (now_us < self->until_us || self->flying)) {
        wait_for_news(self, waits, start_due(self, now_us), now_us);
        for (int i = 0; i < o->connections; i++) {
            if (waits[i].ready)
                receive(self, &self->connections[i]);
            if (self->connections[i].unsent)
                send_unsent(self, &self->connections[i]);
        }
        now_us = clock_us();
        give_up(self, now_us);
        if (o->on_progress && now_us >= progress_us) {
            o->on_progress(o->arg, self->tally);
            progress_us = now_us + PROGRESS_US;
        }
    }
    self->until_us = now_us < self->until_us ? now_us : self->until_us;
}

/* ---- the first picture ---- */

static enum err_code await(struct link *link, int64_t until_ms, struct parcel *parcel)
{
    while (!link_receive(link, parcel)) {
        struct link_wait wait = { .link = link };

        if (clock_ms() >= until_ms)
            return ERR_UNREACHABLE;
        link_poll(&wait, 1, until_ms);
    }
    return ERR_OK;
}

static enum err_code ask(struct link *link, struct message *m, struct err *e)
{
    int64_t until_ms = clock_ms() + CONNECT_MS;
    struct frame map;
    enum err_code rc = frame_init_message(&map, m, e);

    while (!rc && link_send(link, NULL, &map, NULL) != LINK_SENT) {
        struct link_wait wait = { .link = link, .wants_room = true };

        if (clock_ms() >= until_ms)
            rc = ERR_UNREACHABLE;
        else
            link_poll(&wait, 1, until_ms);
    }
    frame_release(&map);
    return rc;
}

/* One picture over each connection, so that all are up before anything is measured. */
static enum err_code probe(struct traffic *self, int connection, struct err *e)
{
    struct link *link = self->connections[connection].link;
    struct message m = wish_of(self, MESSAGE_NORMAL), answer = { .zone = NULL };
    struct parcel parcel = { .count = 0 };
    enum err_code rc;

    m.id = 1;
    m.generate.seed = load_next_seed(&self->load);
    m.generate.deadline_ms = PROBE_MS;
    rc = ask(link, &m, e);
    if (!rc)
        rc = await(link, clock_ms() + PROBE_MS + CONNECT_MS, &parcel);
    if (rc == ERR_UNREACHABLE)
        err_set(e, rc, "no broker answers at %.100s", self->options->brokers);
    if (!rc)
        rc = message_decode(frame_data(&parcel.body[0]), frame_len(&parcel.body[0]),
                            MESSAGE_FROM_BROKER, &answer, e);
    if (!rc && answer.type == MESSAGE_ERROR) {
        rc = err_from_word(answer.error.code.data, answer.error.code.len);
        rc = err_set(e, rc == ERR_COUNT || rc == ERR_OK ? ERR_BUG : rc, "%.*s",
                     (int)answer.error.message.len, answer.error.message.data);
    }
    self->tally->all_asked++;
    self->tally->all_ended++;
    message_release(&answer);
    parcel_release(&parcel);
    return rc;
}

/* ---- building ---- */

/* The next endpoint of the list from *at on, which then begins anew behind the last. */
static enum err_code take_endpoint(const char *list, const char **at, char *out, size_t cap,
                                   struct err *e)
{
    size_t len = strcspn(*at, ",");

    if (len == 0 || len >= cap)
        return err_set(e, ERR_INVALID, "an endpoint of a broker is empty or too long");
    memcpy(out, *at, len);
    out[len] = '\0';
    *at = (*at)[len] ? *at + len + 1 : list;
    return ERR_OK;
}

static enum err_code connect_all(struct traffic *self, struct err *e)
{
    struct link_options options = { .kind = LINK_DEALER, .frame_max = MESSAGE_IMAGE_MAX,
                                    .curve = self->options->curve };
    const char *brokers = self->options->brokers, *at = brokers;
    char endpoint[256];
    enum err_code rc = link_context_create(&self->context, e);

    for (int i = 0; !rc && i < self->options->connections; i++) {
        struct connection *c = &self->connections[i];

        c->unsent_end = &c->unsent;
        rc = take_endpoint(brokers, &at, endpoint, sizeof endpoint, e);
        if (!rc)
            rc = link_create(self->context, &options, &c->link, e);
        if (!rc)
            rc = link_connect(c->link, endpoint, e);
    }
    return rc;
}

static enum err_code build(struct traffic *self, struct err *e)
{
    const struct traffic_options *o = self->options;
    enum err_code rc = ERR_OK;

    load_init(&self->load, &o->load);
    self->place_count = is_closed_loop(self) ? (size_t)(o->connections * o->window)
                                             : TRAFFIC_FLIGHT_MAX;
    self->places = calloc(self->place_count, sizeof *self->places);
    self->pauses = calloc(self->place_count, sizeof *self->pauses);
    self->page_seeds = calloc((size_t)o->page, sizeof *self->page_seeds);
    if (!self->places || !self->pauses || !self->page_seeds)
        return err_set(e, ERR_NOMEM, "no memory for %zu requests", self->place_count);
    for (size_t i = 0; i < self->place_count; i++)
        DL_APPEND(self->free, &self->places[i]);
    self->alarm_fd = alarm_open();
    if (self->alarm_fd < 0)
        return err_set(e, ERR_NOMEM, "no file descriptor for an alarm");
    for (int level = 0; !rc && level < MESSAGE_PRIORITY_COUNT; level++)
        rc = cut_stencil(self, level, e);
    return rc ? rc : connect_all(self, e);
}

static void tear_down(struct traffic *self)
{
    for (int i = 0; i < self->options->connections; i++)
        link_destroy(&self->connections[i].link);
    link_context_destroy(&self->context);
    for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
        free(self->stencils[level].bytes);
    if (self->alarm_fd >= 0)
        close(self->alarm_fd);
    free(self->page_seeds);
    free(self->pauses);
    free(self->places);
}

enum err_code traffic_run(const struct traffic_options *options, struct traffic_tally *out,
                          struct err *e)
{
    struct traffic self = { .options = options, .tally = out, .alarm_fd = -1 };
    enum err_code rc;

    *out = (struct traffic_tally){ 0 };
    rc = build(&self, e);
    for (int i = 0; !rc && i < options->connections; i++)
        rc = probe(&self, i, e);
    if (!rc) {
        self.start_us = clock_us();
        self.from_us = self.start_us + options->warmup_us;
        self.until_us = self.from_us + options->measured_us;
        if (is_closed_loop(&self))
            for (size_t i = 0; i < self.place_count; i++)
                pause_place(&self, (int)(i % (size_t)options->connections), self.start_us);
        else
            self.arrival_us = self.start_us + load_next_arrival_us(&self.load);
        loop(&self);
        out->measured_us = self.until_us > self.from_us ? self.until_us - self.from_us : 0;
    }
    tear_down(&self);
    return rc;
}
