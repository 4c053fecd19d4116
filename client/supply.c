#include "client/supply.h"

#include "base/clock.h"
#include "client/contact.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = 512,                   /* items between the one that is next and the last asked for */
    FLIGHTS = 2 * WINDOW,           /* requests that have not said that they are done */
    GROUP = 32,                     /* seeds of one request */
    UNKNOWN_SIZE_FLIGHT = 32,       /* in flight while nobody knows how large pictures are */
    FLIGHT_BYTES = 12 << 20,        /* in flight: a broker drops a client that 16 MiB wait for */
    READY_BYTES = 256 << 20,        /* that wait for their turn here */
    FAILURES = 500,                 /* of one answer */
    ATTEMPTS = 3,                   /* at a picture that an engine failed on */
    LOOKUPS = 64,                   /* a poll */
    TURN_MS = 200, RETRY_MS = 1000, POLL_MS = 1000, LIFE_MS = 5000,
    ASK_DEADLINE_MS = 60000, RENDER_DEADLINE_MS = 3600000,
};

enum slot_state {
    SLOT_NEW,                       /* to be asked for */
    SLOT_ASKED,
    SLOT_ABSENT,                    /* not there yet; asked again after the next poll */
    SLOT_LATER,                     /* refused for now; asked again at due_ms */
    SLOT_PICTURE, SLOT_FAILED       /* it has ended */
};

struct slot {
    int64_t item;
    enum slot_state state;
    int64_t due_ms;
    int absences, attempts;
    bool is_pruned;                 /* its row is there, its file is not: may be rendered */
    void *file;                     /* ours; what image.data points to */
    struct seedpress_image image;
    char code[33], message[257];
};

/* A request on its way: count items from sequence number seq on. */
struct flight {
    int64_t id;
    uint64_t seq;
    int count;
    uint32_t first_seed;
};

struct supply {
    struct supply_options o;        /* o.job is kept up to date */
    struct slot slots[WINDOW];      /* of sequence number seq: seq % WINDOW */
    uint64_t head, tail;            /* the next to be given; one behind the last taken in */
    bool is_lent;                   /* head has been given and not been freed */
    size_t range;                   /* of o.ranges, and in it: the next item to take in */
    int64_t offset;
    struct flight flights[FLIGHTS];
    int flight_count, flying;       /* requests; items in them */
    int fresh;                      /* slots that are NEW */
    int64_t next_due_ms;            /* of slots that are LATER; INT64_MAX: none */
    int64_t ready_bytes;
    int64_t given_bytes, given;     /* for their mean */
    int64_t poll_ms, life_ms;       /* when due */
    int64_t good_ms;                /* when something last came */
    struct seedpress_failure *failures;         /* [FAILURES]; of items in
                                                   [failures_from, failures_to) */
    size_t failure_count;
    int64_t failures_from, failures_to;
    struct seedpress_error refusal; /* the last one; code 0: none since something came */
    struct err fatal;               /* code 0: none */
    char waits_for[300];
};

/* ---- life ---- */

enum err_code supply_create(const struct supply_options *options, struct supply **out,
                            struct err *e)
{
    struct supply *self = calloc(1, sizeof *self);

    *out = self;
    if (self)
        self->failures = calloc(FAILURES, sizeof *self->failures);
    if (!self || !self->failures) {
        supply_destroy(out);
        return err_set(e, ERR_NOMEM, "no memory for the pictures under way");
    }
    self->o = *options;
    self->next_due_ms = INT64_MAX;
    self->good_ms = clock_ms();
    self->poll_ms = self->good_ms + POLL_MS;
    self->life_ms = self->good_ms;
    return ERR_OK;
}

void supply_destroy(struct supply **self)
{
    struct supply *s = *self;

    if (!s)
        return;
    for (int i = 0; i < s->flight_count; i++)
        seedpress_cancel(s->o.sp, s->flights[i].id, NULL);
    for (int i = 0; i < WINDOW; i++)
        free(s->slots[i].file);
    free(s->failures);
    free(s);
    *self = NULL;
}

static struct slot *slot_at(struct supply *self, uint64_t seq)
{
    return &self->slots[seq % WINDOW];
}

static void stop(struct supply *self, enum err_code code, const char *words)
{
    if (!self->fatal.code)
        err_set(&self->fatal, code, "%s", words);
}

/* ---- how a slot ends ---- */

static void fail_slot(struct slot *slot, const char *code, const char *message)
{
    slot->state = SLOT_FAILED;
    snprintf(slot->code, sizeof slot->code, "%s", code);
    snprintf(slot->message, sizeof slot->message, "%s", message);
}

static void take_picture(struct supply *self, struct slot *slot,
                         const struct seedpress_image *image)
{
    struct recipe recipe = items_recipe(self->o.items, slot->item);
    void *file;

    if (strcmp(image->recipe, recipe_text(&recipe).text) != 0) {
        stop(self, ERR_BUG, "the broker made another recipe of what the job's plan says");
        return;
    }
    file = malloc(image->len ? image->len : 1);
    if (!file) {
        stop(self, ERR_NOMEM, "no memory for a picture");
        return;
    }
    memcpy(file, image->data, image->len);
    slot->file = file;
    slot->image = *image;
    slot->image.data = file;
    slot->state = SLOT_PICTURE;
    self->ready_bytes += (int64_t)image->len;
    self->given_bytes += (int64_t)image->len;
    self->given++;
}

/* ---- failures that the ledger has ---- */

static bool is_finished(const struct supply *self)
{
    return self->o.job.state == SEEDPRESS_BULK_DONE ||
           self->o.job.state == SEEDPRESS_BULK_CANCELLED;
}

/* Reads the failures from an item on. */
static void read_failures(struct supply *self, int64_t item)
{
    struct seedpress_error error;
    struct seedpress_plan plan;

    if (seedpress_bulk_show(self->o.sp, self->o.job.job, item - 1, &plan, &error)) {
        if (!error.retry)
            stop(self, (enum err_code)error.code, error.message);
        return;
    }
    self->failure_count = plan.failure_count < FAILURES ? plan.failure_count : FAILURES;
    if (self->failure_count > 0)
        memcpy(self->failures, plan.failures, self->failure_count * sizeof *self->failures);
    self->failures_from = item;
    self->failures_to = self->failure_count == FAILURES
                            ? self->failures[FAILURES - 1].item + 1 : INT64_MAX;
}

/* NULL: none is known. */
static const struct seedpress_failure *known_failure(const struct supply *self, int64_t item)
{
    for (size_t i = 0; i < self->failure_count; i++)
        if (self->failures[i].item == item)
            return &self->failures[i];
    return NULL;
}

/* Of a job that has ended the failures are final: nobody is asked for such an item. */
static bool note_failure(struct supply *self, struct slot *slot)
{
    const struct seedpress_failure *failure;

    if (self->o.job.failed == 0 || !is_finished(self) || self->o.retry_failed)
        return false;
    if (slot->item < self->failures_from || slot->item >= self->failures_to)
        read_failures(self, slot->item);
    failure = known_failure(self, slot->item);
    if (failure)
        fail_slot(slot, failure->code, failure->message);
    return failure != NULL;
}

/* ---- asking ---- */

/* Whether a slot may be rendered for us. All that a finished job has was rendered once. */
static bool may_render(const struct supply *self, const struct slot *slot)
{
    if (slot->is_pruned || self->o.job.state == SEEDPRESS_BULK_DONE)
        return true;
    return self->o.job.keep == SEEDPRESS_KEEP_PROVENANCE &&
           self->o.job.state == SEEDPRESS_BULK_RUNNING;
}

static int flight_limit(const struct supply *self)
{
    int64_t mean = self->given ? self->given_bytes / self->given : self->o.job.picture_bytes;
    int64_t limit = mean > 0 ? FLIGHT_BYTES / mean : UNKNOWN_SIZE_FLIGHT;

    return limit < 8 ? 8 : limit > WINDOW ? WINDOW : (int)limit;
}

/* Slots from seq on that one request can ask for. */
static int run_of(struct supply *self, uint64_t seq, int most)
{
    const struct slot *first = slot_at(self, seq);
    const struct items_range *range = items_range_of(self->o.items, first->item);
    int64_t last = range->item + (int64_t)(range->last - range->first);
    bool may = may_render(self, first);
    int count = 1;

    while (range->class_mod == 0 && count < most && seq + (uint64_t)count < self->tail) {
        const struct slot *slot = slot_at(self, seq + (uint64_t)count);

        if (slot->state != SLOT_NEW || slot->item != first->item + count || slot->item > last ||
            may_render(self, slot) != may)
            break;
        count++;
    }
    return count;
}

static void submit(struct supply *self, uint64_t seq, int count)
{
    struct slot *first = slot_at(self, seq);
    const struct items_range *range = items_range_of(self->o.items, first->item);
    struct flight *flight = &self->flights[self->flight_count];
    struct seedpress_request request;
    struct seedpress_error error;
    struct items_room room;
    bool may = may_render(self, first);

    items_request(range, &room, &request);
    request.seed = range->first + (uint32_t)(first->item - range->item);
    request.count = (size_t)count;
    if (range->class_mod > 0)
        request.class_index = (int)(request.seed % (uint32_t)range->class_mod);
    request.priority = self->o.job.priority;
    request.cache = may ? SEEDPRESS_CACHE_USE : SEEDPRESS_CACHE_ONLY;
    request.deadline_ms = may ? RENDER_DEADLINE_MS : ASK_DEADLINE_MS;
    if (self->o.job.keep == SEEDPRESS_KEEP_PROVENANCE) {
        request.keep = SEEDPRESS_KEEP_PROVENANCE;
        request.job = self->o.job.job;
    }
    *flight = (struct flight){ .seq = seq, .count = count, .first_seed = request.seed };
    if (seedpress_submit(self->o.sp, &request, &flight->id, &error)) {
        stop(self, (enum err_code)error.code, error.message);
        return;
    }
    self->flight_count++;
    self->flying += count;
    self->fresh -= count;
    for (int i = 0; i < count; i++)
        slot_at(self, seq + (uint64_t)i)->state = SLOT_ASKED;
}

/* Takes items in while there is room: several at a time, so that requests hold several. */
static void take_in(struct supply *self)
{
    int room = WINDOW - (int)(self->tail - self->head);

    if (self->ready_bytes >= READY_BYTES || (room < GROUP && self->flying > 0))
        return;
    for (; room > 0 && self->range < self->o.range_count && !self->fatal.code; room--) {
        const struct supply_range *range = &self->o.ranges[self->range];
        struct slot *slot = slot_at(self, self->tail);

        *slot = (struct slot){ .item = range->first + self->offset, .state = SLOT_NEW };
        self->tail++;
        if (!note_failure(self, slot))
            self->fresh++;
        if (++self->offset == range->count) {
            self->offset = 0;
            self->range++;
        }
    }
}

static void wake_later(struct supply *self, int64_t now_ms)
{
    if (now_ms < self->next_due_ms)
        return;
    self->next_due_ms = INT64_MAX;
    for (uint64_t seq = self->head; seq < self->tail; seq++) {
        struct slot *slot = slot_at(self, seq);

        if (slot->state != SLOT_LATER)
            continue;
        if (slot->due_ms <= now_ms) {
            slot->state = SLOT_NEW;
            self->fresh++;
        } else if (slot->due_ms < self->next_due_ms)
            self->next_due_ms = slot->due_ms;
    }
}

/* Nothing new is begun for a job without files that has been paused. */
static bool is_held(const struct supply *self)
{
    return self->o.job.keep == SEEDPRESS_KEEP_PROVENANCE &&
           self->o.job.state == SEEDPRESS_BULK_PAUSED;
}

static void ask(struct supply *self, int64_t now_ms)
{
    int limit = flight_limit(self);
    int group = limit / 4 < GROUP ? limit / 4 : GROUP;

    take_in(self);
    wake_later(self, now_ms);
    if (is_held(self))
        return;
    for (uint64_t seq = self->head; self->fresh > 0 && seq < self->tail && !self->fatal.code; ) {
        int room = limit - self->flying;

        if (room <= 0 || (room < group && self->fresh > room && self->flying > 0) ||
            self->flight_count == FLIGHTS)
            return;
        if (slot_at(self, seq)->state != SLOT_NEW) {
            seq++;
            continue;
        }
        int count = run_of(self, seq, room < group ? room : group);

        submit(self, seq, count);
        seq += (uint64_t)count;
    }
}

/* ---- answers ---- */

/* Asking again may help. That no worker has been here with the model since the broker's start is
 * an unknown digest to it. */
static bool is_for_now(int code)
{
    static const int CODES[] = { SEEDPRESS_OVERLOADED, SEEDPRESS_NO_WORKER, SEEDPRESS_RETRY,
                                 SEEDPRESS_LEDGER_DOWN, SEEDPRESS_DEADLINE, SEEDPRESS_UNREACHABLE,
                                 SEEDPRESS_UNKNOWN_MODEL, SEEDPRESS_NO_MEMORY };

    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++)
        if (CODES[i] == code)
            return true;
    return false;
}

/* Other items may still succeed. */
static bool is_of_one_item(int code)
{
    static const int CODES[] = { SEEDPRESS_DEVICE, SEEDPRESS_NOT_FOUND, SEEDPRESS_CLASS_CONFLICT,
                                 SEEDPRESS_WRONG_CLASS, SEEDPRESS_NOT_REPRODUCIBLE,
                                 SEEDPRESS_WITHDRAWN, SEEDPRESS_POISON, SEEDPRESS_BUG };

    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++)
        if (CODES[i] == code)
            return true;
    return false;
}

static void take_error(struct supply *self, struct slot *slot,
                       const struct seedpress_error *error, int64_t now_ms)
{
    if (error->code == SEEDPRESS_NOT_FOUND && !may_render(self, slot)) {
        slot->state = SLOT_ABSENT;
        slot->absences++;
        self->good_ms = now_ms;      /* an answer all the same */
    } else if (is_for_now(error->code) ||
               (error->code == SEEDPRESS_DEVICE && ++slot->attempts < ATTEMPTS)) {
        slot->state = SLOT_LATER;
        slot->due_ms = now_ms + (error->retry_after_ms > 0 ? error->retry_after_ms : RETRY_MS);
        if (slot->due_ms < self->next_due_ms)
            self->next_due_ms = slot->due_ms;
        self->refusal = *error;
    } else if (is_of_one_item(error->code)) {
        fail_slot(slot, error->word, error->message);
        self->good_ms = now_ms;
    } else
        stop(self, (enum err_code)error->code, error->message);
}

static struct flight *flight_of(struct supply *self, int64_t id)
{
    for (int i = 0; i < self->flight_count; i++)
        if (self->flights[i].id == id)
            return &self->flights[i];
    return NULL;
}

static void on_event(struct supply *self, const struct seedpress_event *event, int64_t now_ms)
{
    struct flight *flight = flight_of(self, event->id);
    struct slot *slot;

    if (!flight)
        return;
    if (event->kind == SEEDPRESS_EVENT_DONE) {
        *flight = self->flights[--self->flight_count];
        return;
    }
    if (event->seed - flight->first_seed >= (uint32_t)flight->count)
        return;
    slot = slot_at(self, flight->seq + (event->seed - flight->first_seed));
    if (slot->state != SLOT_ASKED)
        return;
    self->flying--;
    if (event->kind == SEEDPRESS_EVENT_IMAGE) {
        self->good_ms = now_ms;
        self->refusal.code = SEEDPRESS_OK;
        take_picture(self, slot, &event->image);
    } else
        take_error(self, slot, &event->error, now_ms);
}

/* ---- what is not there ---- */

/* A row without its file: pruned, so it may be rendered again. */
static void look_up(struct supply *self, struct slot *slot)
{
    struct recipe recipe = items_recipe(self->o.items, slot->item);
    struct digest key = recipe_key(&recipe);
    struct digest_hex hex = digest_hex(&key);
    struct seedpress_query query = { .recipe_key = hex.text };
    const struct seedpress_row *rows;
    struct seedpress_error error;
    size_t count;

    if (seedpress_lookup(self->o.sp, &query, &rows, &count, &error)) {
        if (error.code != SEEDPRESS_NOT_FOUND)
            return;                  /* the next poll asks again */
        count = 0;
    }
    if (count > 0 && rows[0].withdrawn)
        fail_slot(slot, "withdrawn", "this picture has been withdrawn");
    else if (count > 0)
        slot->is_pruned = !rows[0].kept;
    else if (self->o.job.state == SEEDPRESS_BULK_CANCELLED)
        fail_slot(slot, "cancelled", "the job was cancelled before this picture was made");
}

/* Every slot that was not there: it failed, it was pruned, or it is asked for once more. */
static void review_absent(struct supply *self)
{
    int left = self->o.job.state == SEEDPRESS_BULK_CANCELLED ? WINDOW : LOOKUPS;

    for (uint64_t seq = self->head; seq < self->tail; seq++) {
        struct slot *slot = slot_at(self, seq);
        const struct seedpress_failure *failure;

        if (slot->state != SLOT_ABSENT)
            continue;
        failure = known_failure(self, slot->item);
        if (failure) {
            fail_slot(slot, failure->code, failure->message);
            continue;
        }
        if ((slot->absences > 1 || is_finished(self)) && left-- > 0)
            look_up(self, slot);
        if (slot->state != SLOT_ABSENT)
            continue;
        slot->state = SLOT_NEW;
        self->fresh++;
    }
}

static void say_life(struct supply *self, int64_t now_ms)
{
    if (self->o.job.keep != SEEDPRESS_KEEP_PROVENANCE || now_ms < self->life_ms)
        return;
    self->life_ms = now_ms + LIFE_MS;
    seedpress_bulk_exported(self->o.sp, self->o.job.job, 0, 0, NULL);   /* or the next one */
}

static void read_job(struct supply *self)
{
    const struct seedpress_job *jobs;
    struct seedpress_error error;
    size_t count;

    if (seedpress_bulk_list(self->o.sp, self->o.job.job, NULL, 1, &jobs, &count, &error)) {
        self->refusal = error;
        if (!error.retry)
            stop(self, (enum err_code)error.code, error.message);
    } else if (count == 1)
        self->o.job = jobs[0];
    else
        stop(self, ERR_NOT_FOUND, "the job is not there any more");
}

/* How the job stands, once a second while the next item is not there. */
static void poll_job(struct supply *self, int64_t now_ms)
{
    const struct slot *head = slot_at(self, self->head);
    bool is_absent = self->head < self->tail && head->state == SLOT_ABSENT;

    if (now_ms < self->poll_ms || (!is_absent && self->o.job.keep == SEEDPRESS_KEEP_IMAGE))
        return;
    self->poll_ms = now_ms + POLL_MS;
    read_job(self);
    if (!is_absent || self->fatal.code)
        return;
    if (self->o.job.failed > 0)
        read_failures(self, head->item);
    review_absent(self);
}

/* ---- giving ---- */

static void release_lent(struct supply *self)
{
    struct slot *slot = slot_at(self, self->head);

    if (!self->is_lent)
        return;
    if (slot->file)
        self->ready_bytes -= (int64_t)slot->image.len;
    free(slot->file);
    slot->file = NULL;
    self->head++;
    self->is_lent = false;
}

static bool give_head(struct supply *self, struct supply_item *out)
{
    struct slot *slot = slot_at(self, self->head);

    if (self->head == self->tail ||
        (slot->state != SLOT_PICTURE && slot->state != SLOT_FAILED))
        return false;
    *out = (struct supply_item){ .item = slot->item };
    if (slot->state == SLOT_PICTURE)
        out->image = &slot->image;
    else {
        out->code = slot->code;
        out->message = slot->message;
    }
    self->is_lent = true;
    self->waits_for[0] = '\0';
    return true;
}

static void describe_wait(struct supply *self)
{
    const struct slot *head = slot_at(self, self->head);
    const struct seedpress_job *job = &self->o.job;

    self->waits_for[0] = '\0';
    if (job->state == SEEDPRESS_BULK_PAUSED &&
        (is_held(self) || (self->head < self->tail && head->state == SLOT_ABSENT)))
        snprintf(self->waits_for, sizeof self->waits_for, "the job is paused");
    else if (self->head < self->tail && head->state == SLOT_ABSENT)
        snprintf(self->waits_for, sizeof self->waits_for, "the job has not rendered that far yet");
    else if (self->refusal.code)
        snprintf(self->waits_for, sizeof self->waits_for, "%s", self->refusal.message);
}

const char *supply_waits_for(const struct supply *self)
{
    return self->waits_for[0] ? self->waits_for : NULL;
}

static void give_up_when_late(struct supply *self, int64_t now_ms)
{
    if (self->refusal.code && !is_held(self) && now_ms - self->good_ms > self->o.timeout_ms)
        stop(self, (enum err_code)self->refusal.code, self->refusal.message);
}

/* Waits for events a while; true when there was one. */
static bool wait_for_events(struct supply *self, int wait_ms)
{
    struct seedpress_event event;
    bool any = false;

    if (self->flight_count == 0) {
        contact_pause(wait_ms);
        return false;
    }
    while (!self->fatal.code && seedpress_next(self->o.sp, any ? 0 : wait_ms, &event)) {
        on_event(self, &event, clock_ms());
        any = true;
    }
    return any;
}

enum supply_state supply_next(struct supply *self, struct supply_item *out, struct err *e)
{
    release_lent(self);
    for (int turn = 0; ; turn++) {
        int64_t now_ms = clock_ms();

        say_life(self, now_ms);
        poll_job(self, now_ms);
        ask(self, now_ms);
        if (self->flight_count > 0)
            wait_for_events(self, 0);
        give_up_when_late(self, now_ms);
        if (self->fatal.code) {
            *e = self->fatal;
            return SUPPLY_FAILED;
        }
        if (give_head(self, out))
            return SUPPLY_ITEM;
        if (self->head == self->tail && self->range == self->o.range_count &&
            self->flight_count == 0)
            return SUPPLY_END;
        if (!wait_for_events(self, TURN_MS) || turn > 100) {
            describe_wait(self);
            return SUPPLY_IDLE;
        }
    }
}
