#include "worker/uplink.h"

#include "base/log.h"
#include "base/outbox.h"
#include "proto/message.h"
#include "worker/credit.h"
#include "worker/job.h"

#include <stdlib.h>
#include <string.h>

enum {
    HEARTBEAT_MS = 1000,
    FLUSH_MS = 20,   /* how soon a refused send is tried again */
    SETTLE_MS = 50,  /* after a lost connection: link_was_lost may tell before libzmq
                        has closed the old pipe, which still takes messages and loses
                        them. It does not connect again any sooner either */
    KEEP_MS = 60000, /* how long a result waits for a broker that is gone: the picture
                        is stored, whoever asks again will have it */
    TURN_MAX = 256,
    PACKED_FILE_MAX = 4096,         /* smaller files travel several in a message: what a message
                                       costs is then more than a copy. Larger ones go alone, and
                                       the broker passes their frame on as it came */
    PACKED_MAX = 64 << 10,
    OUTBOX_MAX = 256 << 20,         /* bytes that wait for one broker */
};

struct side {                       /* one broker */
    char endpoint[256];
    struct link *link;
    bool introduced;
    bool refused;                   /* by the broker's keyring, when it last tried */
    int64_t settled_ms;             /* not greeted before */
    bool draining;                  /* it said so: nothing new comes from it */
    size_t held;                    /* its jobs in the worker */
    size_t express;                 /* of them: in the place beyond the credit */
    int64_t told_credit;
    struct job *packed[MESSAGE_JOBS_MAX];       /* stored; their results go in one message */
    size_t packed_count, packed_bytes;
    struct outbox outbox;
};

struct uplink {
    struct uplink_parts parts;
    struct side sides[UPLINK_BROKERS_MAX];
    struct credit_side credits[UPLINK_BROKERS_MAX];     /* [count], as sides */
    size_t count;
    size_t capacity;                /* the parts', and one for every broker at least */
    int64_t next_heartbeat_ms;
    bool draining;
    bool told_expired;              /* the certificate has, and the log says so */
};

static const struct address BROKER = { .len = 0 };

/* ---- sending ---- */

static void flush(struct side *side, int64_t now_ms)
{
    outbox_expire(&side->outbox, now_ms - KEEP_MS);
    if (side->introduced)
        outbox_flush(&side->outbox, side->link);
}

/* Behind what waits already, in order. READY goes first: on a new connection all else would come
 * from a stranger, whom the broker does not listen to. */
static bool may_send(const struct side *side, enum message_type type)
{
    return type == MESSAGE_READY || (side->introduced && !side->outbox.first);
}

/* False when the socket took nothing (not connected); what was kept is sent later. */
enum on_refusal { KEEP, FORGET };

static bool post(struct side *side, const struct message *message, struct frame *payload,
                 enum on_refusal refusal, int64_t now_ms)
{
    struct frame map;
    struct err e;
    bool sent;

    if (frame_init_message(&map, message, &e)) {
        log_event(LOG_ERROR, "send_failed", "type=%s reason=\"%s\"", message_word(message->type),
                  e.msg);
        return false;
    }
    sent = may_send(side, message->type) &&
           link_send(side->link, &BROKER, &map, payload) == LINK_SENT;
    if (!sent && refusal == KEEP)    /* no room: the lease ends by itself, the picture is stored */
        outbox_keep(&side->outbox, &BROKER, &map, payload, OUTBOX_MAX, now_ms);
    frame_release(&map);
    return sent;
}

static void send_leases(struct side *side, enum message_type type, const int64_t *leases,
                        size_t count, int64_t now_ms)
{
    struct message m;

    if (count == 0)
        return;
    message_init(&m, type, 0);
    m.leases.leases = (struct numbers){ leases, count };
    post(side, &m, NULL, KEEP, now_ms);
}

static void split_credit(struct uplink *self)
{
    for (size_t i = 0; i < self->count; i++) {
        self->credits[i].is_there = self->sides[i].introduced && !self->sides[i].draining;
        self->credits[i].held = self->sides[i].held - self->sides[i].express;
    }
    credit_split(self->credits, self->count, self->capacity);
}

static int64_t credit_of(const struct uplink *self, const struct side *side)
{
    return self->draining || side->draining ? 0 : (int64_t)self->credits[side - self->sides].credit;
}

static void end_job(struct uplink *self, struct job *job)
{
    self->sides[job->broker].held--;
    self->sides[job->broker].express -= job->express;
    picture_release(&job->picture);
    free(job->stored.data);
    free(job);
}

/* Its broker has forgotten what it leased: what has not started is not worth starting. */
static void forget_unstarted(struct uplink *self, size_t broker)
{
    struct job *job;

    while ((job = batcher_recall_broker(self->parts.batcher, broker)))
        end_job(self, job);
}

static void send_ready(struct uplink *self, struct side *side, int64_t now_ms)
{
    const struct library *library = self->parts.library;
    struct message_model models[MESSAGE_MODELS_MAX];
    struct message m;

    for (size_t i = 0; i < library->count; i++) {
        const struct loaded_model *l = &library->models[i];
        const char *licence = l->model ? model_note(l->model, "licence") : NULL;

        models[i] = (struct message_model){
            .name = text_of(l->name), .digest = l->facts->digest,
            .arch = text_of(l->model ? model_arch_word(l->model) : "dummy"),
            .licence = { licence ? licence : "", licence ? strnlen(licence, 128) : 0 },
            .width = l->facts->width, .height = l->facts->height, .num_ws = l->facts->num_ws,
            .z_dim = l->facts->z_dim, .w_dim = l->facts->w_dim, .c_dim = l->facts->c_dim,
            .noise_modes = l->facts->noise_modes, .has_transform = l->facts->has_transform,
        };
    }
    side->introduced = true;         /* as far as the split is concerned */
    split_credit(self);
    message_init(&m, MESSAGE_READY, 0);
    m.ready = (struct message_ready){
        .worker = text_of(self->parts.worker), .run = self->parts.run_id,
        .version = text_of(SEEDPRESS_VERSION),
        .numerics_class = text_of(self->parts.numerics_class),
        .encoder = text_of(self->parts.encoder), .device = text_of(self->parts.device),
        .credit = credit_of(self, side), .batch_max = self->parts.batch_max,
        .dummy = self->parts.dummy, .models = { models, library->count },
    };
    side->introduced = post(side, &m, NULL, FORGET, now_ms);
    if (!side->introduced) {
        split_credit(self);
        return;
    }
    side->told_credit = m.ready.credit;
    forget_unstarted(self, (size_t)(side - self->sides));    /* it knows of no lease from before */
    log_event(LOG_INFO, "broker_joined", "endpoint=%s credit=%lld", side->endpoint,
              (long long)m.ready.credit);
}

static void send_heartbeat(struct uplink *self, struct side *side, int64_t now_ms)
{
    struct stages_report report = self->parts.report(self->parts.report_arg, now_ms);
    struct message m;

    message_init(&m, MESSAGE_HEARTBEAT, 0);
    m.heartbeat = (struct message_heartbeat){
        .credit = credit_of(self, side), .held = (int64_t)side->held, .started = report.started,
        .rendered = report.rendered, .stored = report.stored,
        .backlog_ms = (batcher_cost_us(self->parts.batcher) + report.left_us) / 1000,
        .ledger_up = report.ledger_up,
    };
    if (post(side, &m, NULL, FORGET, now_ms))
        side->told_credit = m.heartbeat.credit;
}

/* Between heartbeats, where the split has changed: who gets less hears of it at once. */
static void send_credit(struct uplink *self, struct side *side, int64_t now_ms)
{
    struct message m;

    message_init(&m, MESSAGE_CREDIT, 0);
    m.credit.credit = credit_of(self, side);
    if (m.credit.credit != side->told_credit && post(side, &m, NULL, FORGET, now_ms))
        side->told_credit = m.credit.credit;
}

/* ---- what brokers send ---- */

static void send_fail(struct side *side, int64_t lease, const struct err *e, int64_t now_ms)
{
    struct message m;

    message_init(&m, MESSAGE_FAIL, 0);
    m.fail = (struct message_fail){ lease, text_of(err_info(e->code)->word), text_of(e->msg) };
    post(side, &m, NULL, KEEP, now_ms);
}

/* A recipe is what recipe_resolve makes of it for its model; anything else would reach the engine
 * with values that its whole batch would fail by. */
static enum err_code check_recipe(const struct recipe *recipe, struct text text,
                                  const struct model_facts *facts, struct err *e)
{
    struct recipe_request wish = {
        .seed = recipe->seed, .psi = recipe->psi, .cutoff = recipe->cutoff,
        .class_index = recipe->class_index, .noise = (int)recipe->noise,
        .noise_seed = recipe->noise == RECIPE_NOISE_RANDOM ? (int64_t)recipe->noise_seed : -1,
        .transform = recipe->transform, .quality = recipe->quality, .mark = (int)recipe->mark,
        .rev = recipe->rev,
    };
    struct recipe whole;
    enum err_code rc = recipe_resolve(&wish, facts, &whole, NULL, e);

    if (rc)
        return rc;
    if (!text_is(text, recipe_text(&whole).text))
        return err_set(e, ERR_INVALID, "the recipe is not one of the model's");
    return ERR_OK;
}

/* Asked before anything is rendered for it. */
static enum err_code check_mark(struct uplink *self, const struct recipe *recipe, struct err *e)
{
    const struct c2pa_signer *signer = self->parts.signer;
    enum err_code rc = recipe->mark == RECIPE_MARK_C2PA ? c2pa_signer_check(signer, e) : ERR_OK;

    if (rc && signer && !self->told_expired) {
        self->told_expired = true;
        log_event(LOG_ERROR, "certificate_expired", "reason=\"%s\"", e->msg);
    }
    return rc;
}

static enum err_code take_job(struct uplink *self, size_t broker, const struct message_job *in,
                              bool express, int64_t now_ms, struct err *e)
{
    struct job *job = calloc(1, sizeof *job);
    enum err_code rc;

    if (!job)
        return err_set(e, ERR_NOMEM, "no memory for another job");
    *job = (struct job){ .broker = broker, .lease = in->lease, .level = (int)in->priority,
                         .deadline_ms = now_ms + in->deadline_ms, .alone = in->alone,
                         .is_receipt = in->want == MESSAGE_WANT_RECEIPT,
                         .keep = (enum message_keep)in->keep, .bulk = in->bulk,
                         .express = express };
    job->ended = (struct event){ .kind = EVENT_ENDED, .job = job };
    rc = recipe_parse(in->recipe.data, in->recipe.len, &job->recipe, e);
    if (!rc) {
        job->key = digest_of(in->recipe.data, in->recipe.len);   /* what was read is canonical */
        job->model = library_find(self->parts.library, &job->recipe.model);
        if (!job->model)
            rc = err_set(e, ERR_UNKNOWN_MODEL, "this worker does not have model %.16s",
                         digest_hex(&job->recipe.model).text);
        else
            rc = check_recipe(&job->recipe, in->recipe, job->model->facts, e);
        if (!rc)
            rc = check_mark(self, &job->recipe, e);
    }
    if (!rc && !batcher_add(self->parts.batcher, job))
        rc = err_set(e, ERR_RETRY, "this worker takes no more work");
    if (rc) {
        free(job);
        return rc;
    }
    self->sides[broker].held++;
    self->sides[broker].express += express;
    return ERR_OK;
}

/* Express places count apart. */
static size_t held_in_all(const struct uplink *self)
{
    size_t held = 0;

    for (size_t i = 0; i < self->count; i++)
        held += self->sides[i].held - self->sides[i].express;
    return held;
}

/* Which place a job gets. A broker has one beyond its credit for what is urgent, so that this never
 * waits behind a full pipe. */
static bool find_place(const struct uplink *self, size_t broker, const struct message_job *job,
                       bool *express)
{
    const struct side *side = &self->sides[broker];
    bool is_full = held_in_all(self) >= self->capacity ||
                   side->held - side->express >= self->credits[broker].credit;

    *express = is_full && job->priority == MESSAGE_HIGH && side->express == 0;
    return *express || held_in_all(self) < self->capacity;
}

static void on_jobs(struct uplink *self, size_t broker, const struct message *m, int64_t now_ms)
{
    const struct message_job *jobs = m->jobs.jobs.items;
    int64_t back[MESSAGE_JOBS_MAX];
    size_t back_count = 0;
    bool express;
    struct err e;

    for (size_t i = 0; i < m->jobs.jobs.count; i++)
        if (self->draining || !find_place(self, broker, &jobs[i], &express))
            back[back_count++] = jobs[i].lease;
        else if (take_job(self, broker, &jobs[i], express, now_ms, &e))
            send_fail(&self->sides[broker], jobs[i].lease, &e, now_ms);
    send_leases(&self->sides[broker], MESSAGE_HANDBACK, back, back_count, now_ms);
}

static void on_recall(struct uplink *self, size_t broker, const struct message *m, int64_t now_ms)
{
    const struct numbers *leases = &m->leases.leases;

    for (size_t i = 0; i < leases->count; i++) {
        struct job *job = batcher_recall(self->parts.batcher, broker, leases->items[i]);

        if (!job)
            continue;                /* it has started: its result will come */
        end_job(self, job);
        send_leases(&self->sides[broker], MESSAGE_HANDBACK, &leases->items[i], 1, now_ms);
    }
}

static void on_introduce(struct uplink *self, size_t broker, const struct message *m,
                         int64_t now_ms)
{
    (void)m;
    self->sides[broker].draining = false;
    send_ready(self, &self->sides[broker], now_ms);
}

static void on_drain(struct uplink *self, size_t broker, const struct message *m, int64_t now_ms)
{
    (void)m;
    (void)now_ms;
    forget_unstarted(self, broker);
    self->sides[broker].draining = true;
}

static void on_heartbeat(struct uplink *self, size_t broker, const struct message *m,
                         int64_t now_ms)
{
    (void)now_ms;
    credit_note_demand(&self->credits[broker], m->heartbeat.demand);
    split_credit(self);
}

static void (*const HANDLERS[MESSAGE_TYPE_COUNT])(struct uplink *self, size_t broker,
                                                  const struct message *m, int64_t now_ms) = {
    [MESSAGE_JOBS] = on_jobs, [MESSAGE_RECALL] = on_recall, [MESSAGE_INTRODUCE] = on_introduce,
    [MESSAGE_DRAIN] = on_drain, [MESSAGE_HEARTBEAT] = on_heartbeat,
};

static void take_message(struct uplink *self, size_t broker, struct parcel *parcel, int64_t now_ms)
{
    struct message m;
    struct err e = { 0 };

    if (message_decode(frame_data(&parcel->body[0]), frame_len(&parcel->body[0]),
                       MESSAGE_FROM_BROKER, &m, &e) || !HANDLERS[m.type])
        log_event(LOG_WARN, "broker_malformed", "endpoint=%s reason=\"%s\"",
                  self->sides[broker].endpoint, e.msg);
    else
        HANDLERS[m.type](self, broker, &m, now_ms);
    message_release(&m);
    parcel_release(parcel);
}

/* ---- what the stages say ---- */

static size_t file_len(const struct job *job)
{
    return job->stored.outcome == LEDGER_WINNER ? job->stored.len : job->picture.len;
}

static const uint8_t *file_data(const struct job *job)
{
    return job->stored.outcome == LEDGER_WINNER ? job->stored.data : job->picture.file;
}

/* Bytes that go to its broker. */
static size_t sent_len(const struct job *job)
{
    return job->is_receipt ? 0 : file_len(job);
}

/* Of the file that is sent. Where the stored bytes are gone, that is this render's: a signed one is
 * another file each time, of the same core hash. */
static struct digest file_sha(const struct job *job)
{
    return job->stored.outcome == LEDGER_WINNER ? job->stored.file_sha : job->picture.file_sha;
}

static uint8_t *take_file(struct job *job)
{
    uint8_t **at = job->stored.outcome == LEDGER_WINNER ? &job->stored.data : &job->picture.file;
    uint8_t *file = *at;

    *at = NULL;
    return file;
}

/* One file as its frame, several copied into one; an empty frame when all are receipts. */
static bool frame_files(struct job *const *jobs, size_t count, struct frame *out)
{
    uint8_t *bytes;
    size_t len = 0;

    if (count == 1 && !jobs[0]->is_receipt) {
        len = file_len(jobs[0]);
        return frame_init_take(out, take_file(jobs[0]), len);
    }
    frame_init(out);
    for (size_t i = 0; i < count; i++)
        len += sent_len(jobs[i]);
    if (len == 0)
        return true;
    bytes = malloc(len);
    if (!bytes)
        return false;
    len = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + len, file_data(jobs[i]), sent_len(jobs[i]));
        len += sent_len(jobs[i]);
    }
    return frame_init_take(out, bytes, len);
}

/* Who wants a new render of what was stored before learns what this one gave. */
static void say_rendered(const struct uplink *self, const struct job *job,
                         struct message_result *result)
{
    if (job->stored.outcome == LEDGER_STORED)
        return;
    result->rendered_sha256 = job->picture.file_sha;
    result->rendered_core_sha256 = job->picture.core_sha;
    result->rendered_class = text_of(self->parts.numerics_class);
    result->rendered_run = self->parts.run_id;
    if (job->is_measured) {
        result->rendered_levels = job->off.max;
        result->rendered_psnr = (int64_t)(job->off.psnr_db * 1e6);
    }
}

static void send_results(struct uplink *self, struct side *side, struct job *const *jobs,
                         size_t count, int64_t now_ms)
{
    struct message_result results[MESSAGE_JOBS_MAX];
    struct frame files;
    struct message m;

    for (size_t i = 0; i < count; i++) {
        const struct job *job = jobs[i];
        const struct ledger_stored *s = &job->stored;

        results[i] = (struct message_result){
            .lease = job->lease, .recipe_key = job->key, .sha256 = file_sha(job),
            .core_sha256 = s->core_sha, .numerics_class = text_of(s->numerics_class),
            .encoder = text_of(s->encoder), .run = s->run_id, .render_us = job->render_us,
            .encode_us = job->encode_us, .store_us = job->store_us, .batch = job->batch_size,
            .bytes = (int64_t)file_len(job),
            .want = job->is_receipt ? MESSAGE_WANT_RECEIPT : MESSAGE_WANT_IMAGE,
            .rendered_levels = -1, .rendered_psnr = INT64_MIN,
        };
        say_rendered(self, job, &results[i]);
    }
    message_init(&m, MESSAGE_RESULTS, 0);
    m.results.results = (struct records){ results, count };
    if (frame_files(jobs, count, &files))
        post(side, &m, frame_len(&files) > 0 ? &files : NULL, KEEP, now_ms);
    else
        for (size_t i = 0; i < count; i++) {     /* stored all the same: the next try finds it */
            err_set(&jobs[i]->why, ERR_NOMEM, "no memory to send the picture");
            send_fail(side, jobs[i]->lease, &jobs[i]->why, now_ms);
        }
    frame_release(&files);
    for (size_t i = 0; i < count; i++)
        end_job(self, jobs[i]);
}

static void send_packed(struct uplink *self, struct side *side, int64_t now_ms)
{
    if (side->packed_count > 0)
        send_results(self, side, side->packed, side->packed_count, now_ms);
    side->packed_count = side->packed_bytes = 0;
}

static void pack(struct uplink *self, struct side *side, struct job *job, int64_t now_ms)
{
    size_t len = sent_len(job);

    if (len > PACKED_FILE_MAX) {
        send_results(self, side, &job, 1, now_ms);
        return;
    }
    if (side->packed_count == MESSAGE_JOBS_MAX || side->packed_bytes + len > PACKED_MAX)
        send_packed(self, side, now_ms);
    side->packed[side->packed_count++] = job;
    side->packed_bytes += len;
}

static void take_ended(struct uplink *self, struct job *job, int64_t now_ms)
{
    struct side *side = &self->sides[job->broker];

    if (!job->why.code) {
        pack(self, side, job, now_ms);
        return;
    }
    send_fail(side, job->lease, &job->why, now_ms);
    end_job(self, job);
}

static void take_leases(struct uplink *self, const struct event *event, int64_t now_ms)
{
    enum message_type type = event->kind == EVENT_STARTED ? MESSAGE_STARTED : MESSAGE_RENDERED;
    int64_t *leases = calloc(event->count, sizeof *leases);

    for (size_t broker = 0; leases && broker < self->count; broker++) {
        size_t count = 0;

        for (size_t i = 0; i < event->count; i++)
            if (event->leases[i].broker == broker)
                leases[count++] = event->leases[i].lease;
        send_leases(&self->sides[broker], type, leases, count, now_ms);
    }
    free(leases);
}

static void take_events(struct uplink *self, int64_t now_ms)
{
    struct event *event;

    while ((event = channel_take(self->parts.events, 0)))
        if (event->kind == EVENT_ENDED)
            take_ended(self, event->job, now_ms);
        else {
            take_leases(self, event, now_ms);
            free(event);
        }
    for (size_t i = 0; i < self->count; i++)
        send_packed(self, &self->sides[i], now_ms);
}

/* ---- the loop's side ---- */

static enum err_code add_side(struct uplink *self, struct link_context *context,
                              const char *endpoint, size_t len, struct err *e)
{
    struct link_options options = { .kind = LINK_DEALER, .frame_max = MESSAGE_MAP_MAX,
                                    .watch = true, .linger_ms = 2000,
                                    .curve = self->parts.curve,
                                    .allow_plain = self->parts.allow_plain };
    struct side *side = &self->sides[self->count];
    enum err_code rc;

    if (self->count == UPLINK_BROKERS_MAX)
        return err_set(e, ERR_RANGE, "at most %d brokers", UPLINK_BROKERS_MAX);
    if (len == 0 || len >= sizeof side->endpoint)
        return err_set(e, ERR_INVALID, "an endpoint of a broker is empty or too long");
    memcpy(side->endpoint, endpoint, len);
    rc = link_create(context, &options, &side->link, e);
    if (!rc)
        rc = link_connect(side->link, side->endpoint, e);
    if (rc)
        link_destroy(&side->link);
    else
        self->count++;
    return rc;
}

enum err_code uplink_create(struct link_context *context, const char *endpoints,
                            const struct uplink_parts *parts, struct uplink **out, struct err *e)
{
    struct uplink *self = calloc(1, sizeof *self);
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the uplink");
    self->parts = *parts;
    self->capacity = parts->capacity;
    for (const char *at = endpoints; !rc && at;) {
        const char *comma = strchr(at, ',');

        rc = add_side(self, context, at, comma ? (size_t)(comma - at) : strlen(at), e);
        at = comma ? comma + 1 : NULL;
    }
    if (rc) {
        uplink_destroy(&self);
        return rc;
    }
    if (self->capacity < self->count)
        self->capacity = self->count;
    for (size_t i = 0; i < self->count; i++)
        self->credits[i].credit = credit_least(self->capacity, self->count);
    *out = self;
    return ERR_OK;
}

void uplink_destroy(struct uplink **self)
{
    for (size_t i = 0; *self && i < (*self)->count; i++) {
        struct side *side = &(*self)->sides[i];

        outbox_clear(&side->outbox);
        link_destroy(&side->link);
    }
    free(*self);
    *self = NULL;
}

size_t uplink_most(size_t capacity)
{
    return capacity + 2 * UPLINK_BROKERS_MAX;
}

size_t uplink_waits(const struct uplink *self, struct link_wait *waits)
{
    for (size_t i = 0; i < self->count; i++)
        waits[i] = (struct link_wait){ .link = self->sides[i].link };
    waits[self->count] = (struct link_wait){ .fd = channel_fd(self->parts.events) };
    return self->count + 1;
}

/* Said once: libzmq tries again every second. */
static void log_refusal(struct side *side)
{
    bool is_refused = link_is_refused(side->link);

    if (is_refused && !side->refused)
        log_event(LOG_ERROR, "broker_refuses", "broker=%s reason=\"it does not admit this worker's "
                  "key, or one side is not encrypted\"", side->endpoint);
    side->refused = is_refused;
}

int64_t uplink_turn(struct uplink *self, int64_t now_ms)
{
    bool is_second = now_ms >= self->next_heartbeat_ms, is_waiting = false;
    struct parcel parcel;

    for (size_t i = 0; i < self->count; i++) {
        struct side *side = &self->sides[i];

        if (link_is_quiet(side->link))
            continue;
        if (link_was_lost(side->link)) {
            log_refusal(side);
            side->introduced = false;        /* the next connection is a stranger to the broker */
            self->credits[i].demand = 0;
            side->settled_ms = now_ms + SETTLE_MS;
            side->draining = false;          /* who left is back, or another in his place */
        }
        for (int n = 0; n < TURN_MAX && link_receive(side->link, &parcel); n++)
            take_message(self, i, &parcel, now_ms);
    }
    take_events(self, now_ms);
    for (size_t i = 0; i < self->count; i++) {
        struct side *side = &self->sides[i];

        if (!side->introduced && now_ms >= side->settled_ms)
            send_ready(self, side, now_ms);
        else if (side->introduced && is_second)
            send_heartbeat(self, side, now_ms);
        else if (side->introduced)
            send_credit(self, side, now_ms);
        flush(side, now_ms);
        is_waiting |= !side->introduced || side->outbox.first;
    }
    if (is_second)
        self->next_heartbeat_ms = now_ms + HEARTBEAT_MS;
    return is_waiting ? now_ms + FLUSH_MS : self->next_heartbeat_ms;
}

void uplink_drain(struct uplink *self, int64_t now_ms)
{
    struct job *job;

    self->draining = true;
    for (size_t i = 0; i < self->count; i++)
        while ((job = batcher_recall_broker(self->parts.batcher, i))) {
            send_leases(&self->sides[i], MESSAGE_HANDBACK, &job->lease, 1, now_ms);
            end_job(self, job);
        }
    for (size_t i = 0; i < self->count; i++)
        if (self->sides[i].introduced)
            send_heartbeat(self, &self->sides[i], now_ms);   /* credit is 0 now */
}

bool uplink_is_drained(const struct uplink *self)
{
    for (size_t i = 0; i < self->count; i++)
        if (self->sides[i].held > 0 ||
            (self->sides[i].introduced && self->sides[i].outbox.first))
            return false;
    return self->draining;
}

void uplink_leave(struct uplink *self)
{
    struct message m;

    message_init(&m, MESSAGE_BYE, 0);
    for (size_t i = 0; i < self->count; i++)
        if (self->sides[i].introduced)
            post(&self->sides[i], &m, NULL, FORGET, 0);
}

size_t uplink_brokers(const struct uplink *self)
{
    size_t count = 0;

    for (size_t i = 0; i < self->count; i++)
        count += self->sides[i].introduced && !self->sides[i].draining;
    return count;
}
