#include "worker/dummy.h"

#include "base/alarm.h"
#include "base/channel.h"
#include "base/clock.h"
#include "base/link.h"
#include "base/log.h"
#include "base/stop.h"
#include "proto/message.h"
#include "proto/number.h"
#include "worker/library.h"
#include "worker/uplink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COST_MAX_US = 600000000 };

struct hand {                       /* one worker */
    struct uplink *uplink;
    struct batcher *batcher;
    struct channel *events;
    struct job **batch;             /* [batch_max]: on the "device" until due_us */
    size_t count;
    int64_t due_us;
    int64_t started, ended;
    char name[128];
};

struct dummy {
    struct dummy_options options;
    struct model_facts facts;
    struct loaded_model model;
    struct library library;
    uint8_t *bytes;                 /* [options.bytes]: what every answer is */
    struct digest sha;              /* of it */
    int alarm_fd;
    int64_t alarm_us;               /* what it is set to */
    struct link_context *context;
    struct hand hands[DUMMY_MAX];
    size_t count;
};

/* ---- options ---- */

struct key {
    const char *word;
    int64_t min, max;
    int64_t *value;
};

static enum err_code parse_pair(const char *pair, size_t len, const struct key *keys, size_t count,
                                unsigned *seen, struct err *e)
{
    const char *eq = memchr(pair, '=', len);
    size_t word_len = eq ? (size_t)(eq - pair) : len;
    int64_t v;

    for (size_t i = 0; eq && i < count; i++) {
        const struct key *k = &keys[i];

        if (strlen(k->word) != word_len || memcmp(k->word, pair, word_len) != 0)
            continue;
        if (*seen & 1u << i)
            return err_set(e, ERR_INVALID, "dummy has %s twice", k->word);
        *seen |= 1u << i;
        if (!number_parse(eq + 1, len - word_len - 1, &v))
            return err_set(e, ERR_INVALID, "dummy: %s needs a whole number, not \"%.*s\"", k->word,
                           (int)(len - word_len - 1 > 40 ? 40 : len - word_len - 1), eq + 1);
        if (v < k->min || v > k->max)
            return err_set(e, ERR_RANGE, "dummy: %s %lld is out of range: %lld..%lld", k->word,
                           (long long)v, (long long)k->min, (long long)k->max);
        *k->value = v;
        return ERR_OK;
    }
    return err_set(e, ERR_INVALID, "dummy is a list such as a_us=0,b_us=0,bytes=64,count=8; it "
                                   "does not know \"%.*s\"", (int)(len > 40 ? 40 : len), pair);
}

enum err_code dummy_parse(const char *text, struct dummy_options *out, struct err *e)
{
    const struct key keys[] = {
        { "a_us", 0, COST_MAX_US, &out->a_us },
        { "b_us", 0, COST_MAX_US, &out->b_us },
        { "bytes", 1, MESSAGE_IMAGE_MAX, &out->bytes },
        { "count", 1, DUMMY_MAX, &out->count },
    };
    unsigned seen = 0;
    enum err_code rc = ERR_OK;

    *out = (struct dummy_options){ .bytes = 64, .count = 1 };
    for (const char *at = text; !rc && at;) {
        const char *comma = strchr(at, ',');

        rc = parse_pair(at, comma ? (size_t)(comma - at) : strlen(at), keys,
                        sizeof keys / sizeof keys[0], &seen, e);
        at = comma ? comma + 1 : NULL;
    }
    return rc;
}

/* ---- work ---- */

static void free_job(struct job *job)
{
    picture_release(&job->picture);
    free(job->stored.data);
    free(job);
}

/* The channel has room for all that its jobs can say: a start each and an end each. */
static void tell(struct hand *hand, struct event *event)
{
    if (!channel_put(hand->events, event, 0))
        log_event(LOG_ERROR, "event_lost", "worker=%s", hand->name);
}

static void tell_started(struct hand *hand)
{
    struct event *event = calloc(1, sizeof *event + hand->count * sizeof event->leases[0]);

    if (!event)
        return;                      /* the broker then gets a result for what it takes as held */
    event->kind = EVENT_STARTED;
    event->count = hand->count;
    for (size_t i = 0; i < hand->count; i++)
        event->leases[i] = (struct event_lease){ hand->batch[i]->broker, hand->batch[i]->lease };
    tell(hand, event);
}

static void end_job(const struct dummy *self, struct hand *hand, struct job *job, int64_t cost_us)
{
    size_t len = (size_t)self->options.bytes;

    job->batch_size = (int)hand->count;
    job->render_us = cost_us;
    job->picture.file = malloc(len);
    if (job->picture.file) {
        memcpy(job->picture.file, self->bytes, len);
        job->picture.len = len;
        job->picture.file_sha = job->picture.core_sha = self->sha;
        job->stored = (struct ledger_stored){ .outcome = LEDGER_STORED, .file_sha = self->sha,
                                              .core_sha = self->sha, .numerics_class = "dummy",
                                              .encoder = "dummy" };
    } else
        err_set(&job->why, ERR_NOMEM, "no memory for %zu bytes", len);
    tell(hand, &job->ended);
}

static void end_batch(struct dummy *self, struct hand *hand)
{
    int64_t cost_us = self->options.a_us * (int64_t)hand->count + self->options.b_us;

    for (size_t i = 0; i < hand->count; i++)
        end_job(self, hand, hand->batch[i], cost_us);
    model_measured(&self->model, cost_us, hand->count);
    hand->ended += (int64_t)hand->count;
    hand->count = 0;
}

/* Ends the batch that is due and begins the next. A batch that costs nothing ends at once: nobody
 * need hear that it started. True when there is something to tell. */
static bool work(struct dummy *self, struct hand *hand, int64_t now_us)
{
    bool costs = self->options.a_us > 0 || self->options.b_us > 0, any = false;

    if (hand->count > 0 && now_us >= hand->due_us) {
        end_batch(self, hand);
        any = true;
    }
    while (hand->count == 0 && batcher_count(hand->batcher) > 0) {
        hand->count = batcher_take(hand->batcher, hand->batch);
        hand->started += (int64_t)hand->count;
        hand->due_us = now_us + self->options.a_us * (int64_t)hand->count + self->options.b_us;
        if (costs)
            tell_started(hand);
        else
            end_batch(self, hand);
        any = true;
    }
    return any;
}

/* What it makes needs no ledger to be kept, so it always can. */
static struct stages_report report(void *arg, int64_t now_ms)
{
    const struct hand *hand = arg;
    int64_t left_us = hand->count > 0 ? hand->due_us - now_ms * 1000 : 0;

    return (struct stages_report){ .started = hand->started, .rendered = hand->ended,
                                   .stored = hand->ended, .left_us = left_us > 0 ? left_us : 0,
                                   .ledger_up = true };
}

/* ---- building ---- */

static enum err_code fill_bytes(struct dummy *self, struct err *e)
{
    size_t len = (size_t)self->options.bytes;

    self->bytes = malloc(len);
    if (!self->bytes)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes", len);
    for (size_t i = 0; i < len; i++)
        self->bytes[i] = (uint8_t)(i * 31 + 7);
    self->sha = digest_of(self->bytes, len);
    return ERR_OK;
}

static void name_model(struct dummy *self)
{
    static const char NAMED_AFTER[] = "seedpress dummy";

    self->facts = (struct model_facts){
        .digest = digest_of(NAMED_AFTER, sizeof NAMED_AFTER - 1), .width = 64, .height = 64,
        .num_ws = 10, .z_dim = 512, .w_dim = 512, .noise_modes = 1u << RECIPE_NOISE_NONE,
    };
    snprintf(self->model.name, sizeof self->model.name, "dummy");
    self->model.facts = &self->facts;
    self->library = (struct library){ .models = &self->model, .count = 1 };
}

static enum err_code build_hand(struct dummy *self, const struct dummy_parts *parts,
                                struct err *e)
{
    struct hand *hand = &self->hands[self->count++];
    size_t batch_max = parts->batches.batch_max;
    enum err_code rc;

    snprintf(hand->name, sizeof hand->name, "%.100s:%zu", parts->name, self->count);
    hand->batch = calloc(batch_max, sizeof(struct job *));
    if (!hand->batch)
        return err_set(e, ERR_NOMEM, "no memory for a batch of %zu", batch_max);
    if ((rc = batcher_create(&parts->batches, &hand->batcher, e)) ||
        (rc = channel_create(3 * uplink_most(parts->capacity) + 64, &hand->events, e)))
        return rc;

    struct uplink_parts up = {
        .library = &self->library, .batcher = hand->batcher, .events = hand->events,
        .report = report, .report_arg = hand, .batch_max = (int64_t)batch_max, .dummy = true,
        .worker = hand->name, .numerics_class = "dummy", .encoder = "dummy", .device = "none",
        .capacity = parts->capacity, .curve = parts->curve, .allow_plain = parts->allow_plain,
    };
    return uplink_create(self->context, parts->brokers, &up, &hand->uplink, e);
}

static enum err_code build(struct dummy *self, const struct dummy_parts *parts, struct err *e)
{
    enum err_code rc;

    self->options = parts->options;
    name_model(self);
    self->alarm_fd = alarm_open();
    if (self->alarm_fd < 0)
        return err_set(e, ERR_NOMEM, "no file descriptor for an alarm");
    if ((rc = fill_bytes(self, e)) || (rc = link_context_create(&self->context, e)))
        return rc;
    while (!rc && self->count < (size_t)self->options.count)
        rc = build_hand(self, parts, e);
    return rc;
}

static void end_hand(struct hand *hand)
{
    struct event *event;
    struct job *job;

    for (size_t i = 0; i < hand->count; i++)
        free_job(hand->batch[i]);
    while (hand->batcher && (job = batcher_recall_any(hand->batcher)))
        free_job(job);
    while (hand->events && (event = channel_take(hand->events, 0)))
        if (event->kind == EVENT_ENDED)
            free_job(event->job);
        else
            free(event);
    uplink_destroy(&hand->uplink);
    channel_destroy(&hand->events);
    batcher_destroy(&hand->batcher);
    free(hand->batch);
}

static void tear_down(struct dummy *self)
{
    for (size_t i = 0; i < self->count; i++)
        end_hand(&self->hands[i]);
    link_context_destroy(&self->context);
    if (self->alarm_fd >= 0)
        close(self->alarm_fd);
    free(self->bytes);
}

/* ---- the loop ---- */

static enum err_code gather_waits(const struct dummy *self, const struct dummy_parts *parts,
                                  struct link_wait waits[LINK_POLL_MAX], size_t *count,
                                  struct err *e)
{
    struct link_wait own[UPLINK_BROKERS_MAX + 1];

    waits[0] = (struct link_wait){ .fd = parts->stop_fd };
    waits[1] = (struct link_wait){ .fd = self->alarm_fd };
    *count = 2;
    for (size_t i = 0; i < self->count; i++) {
        size_t n = uplink_waits(self->hands[i].uplink, own);

        if (*count + n > LINK_POLL_MAX)
            return err_set(e, ERR_RANGE, "dummy: count %zu is too many workers for as many "
                                         "brokers; start another process", self->count);
        memcpy(&waits[*count], own, n * sizeof own[0]);
        *count += n;
    }
    return ERR_OK;
}

static int64_t turn(struct dummy *self, int64_t now_us)
{
    int64_t wake_ms = INT64_MAX, due_us = INT64_MAX;

    for (size_t i = 0; i < self->count; i++) {
        struct hand *hand = &self->hands[i];
        int64_t hand_ms = uplink_turn(hand->uplink, now_us / 1000);

        if (work(self, hand, now_us))            /* told in this turn, not after another poll */
            hand_ms = uplink_turn(hand->uplink, now_us / 1000);
        if (hand->count == 0 && batcher_count(hand->batcher) > 0)
            hand_ms = 0;                         /* they came with that second look */
        if (hand->count > 0 && hand->due_us < due_us)
            due_us = hand->due_us;
        wake_ms = hand_ms < wake_ms ? hand_ms : wake_ms;
    }
    due_us = due_us == INT64_MAX ? 0 : due_us;
    if (due_us != self->alarm_us)
        alarm_set(self->alarm_fd, due_us);
    self->alarm_us = due_us;
    return wake_ms;
}

static bool is_drained(const struct dummy *self)
{
    for (size_t i = 0; i < self->count; i++)
        if (!uplink_is_drained(self->hands[i].uplink))
            return false;
    return true;
}

static void loop(struct dummy *self, const struct dummy_parts *parts, struct link_wait *waits,
                 size_t count)
{
    int64_t wake_ms = 0, give_up_ms = INT64_MAX, now_us = clock_us();

    while (!is_drained(self) && now_us / 1000 < give_up_ms) {
        link_poll(waits, count, wake_ms < give_up_ms ? wake_ms : give_up_ms);
        now_us = clock_us();         /* the one clock read of this turn */
        if (stop_is_asked(parts->stop_fd) && give_up_ms == INT64_MAX) {
            log_event(LOG_INFO, "worker_drain", "reason=signal");
            for (size_t i = 0; i < self->count; i++)
                uplink_drain(self->hands[i].uplink, now_us / 1000);
            give_up_ms = now_us / 1000 + parts->drain_ms;
        }
        wake_ms = turn(self, now_us);
    }
    for (size_t i = 0; i < self->count; i++)
        uplink_leave(self->hands[i].uplink);
}

enum err_code dummy_run(const struct dummy_parts *parts, struct err *e)
{
    struct link_wait waits[LINK_POLL_MAX];
    struct dummy self = { .alarm_fd = -1 };
    int64_t ended = 0;
    size_t count;
    enum err_code rc;

    rc = build(&self, parts, e);
    if (!rc)
        rc = gather_waits(&self, parts, waits, &count, e);
    if (!rc) {
        log_event(LOG_WARN, "dummy_ready", "workers=%zu bytes=%lld a_us=%lld b_us=%lld "
                  "hint=\"makes bytes, not pictures: for measuring brokers\"", self.count,
                  (long long)self.options.bytes, (long long)self.options.a_us,
                  (long long)self.options.b_us);
        loop(&self, parts, waits, count);
        for (size_t i = 0; i < self.count; i++)
            ended += self.hands[i].ended;
        log_event(LOG_INFO, "worker_end", "ended=%lld", (long long)ended);
    }
    tear_down(&self);
    return rc;
}
