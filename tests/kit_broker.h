/* kit_broker -- a broker in the test's own thread, its clock turned by hand, and the clients and
 * workers that the test plays. Links are inproc and everybody shares one thread, so that what was
 * sent is there at once: nothing sleeps. What must not happen fails the test through cmocka. */
#ifndef TESTS_KIT_BROKER_H
#define TESTS_KIT_BROKER_H

#include "broker/core.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DESK_JOBS_MAX = 256 };

struct desk {
    struct link_context *context;
    struct link *clients, *workers; /* the broker's ends */
    struct scribe *scribe;
    struct broker *b;
    int64_t now_ms;
};
/* conninfo NULL: a ledger that cannot be reached, and the broker knows it. */
void desk_open(struct desk *self, const char *conninfo, const struct broker_options *options);
void desk_close(struct desk *self);
/* Turns the clock on by ms, feeds the broker with all that was sent, ticks. Returns what
 * broker_tick does. */
int64_t desk_turn(struct desk *self, int64_t ms);
/* Feeds without a tick: the scribe's answers wait, nothing is dispatched. */
void desk_feed(struct desk *self);
/* Waits until the scribe has an answer; the next turn takes it. */
void desk_await_scribe(struct desk *self);
/* Fails the test when the broker's books do not agree with each other. */
void desk_audit(struct desk *self);

/* ---- who talks to it ---- */

struct peer {
    struct link *link;              /* NULL: gone */
};
void client_join(struct desk *desk, struct peer *self, enum link_kind kind);
/* One whose socket holds only few answers that are not read. */
void client_join_slow(struct desk *desk, struct peer *self);
void peer_leave(struct peer *self);
void peer_say(struct peer *self, const struct message *message, const char *payload);
/* count frames of raw bytes. */
struct bytes {
    const void *data;
    size_t len;
};
void peer_say_bytes(struct peer *self, const struct bytes *frames, size_t count);

struct heard {                      /* message borrows from parcel */
    struct message m;
    struct parcel parcel;
};
/* The next message that is no heartbeat; false when there is none. */
bool peer_hears(struct peer *self, struct heard *out);
void heard_release(struct heard *self);
void peer_hears_nothing(struct peer *self);

/* What most tests begin with: a desk with one DEALER and one worker of that credit. */
struct stage {
    struct desk d;
    struct peer client, worker;
};
void stage_open(struct stage *self, struct broker_options options, int64_t credit);
void stage_close(struct stage *self);
/* Options that forgive workers that say nothing, for tests that turn the clock far. */
struct broker_options desk_patient(void);

/* ---- clients ---- */

/* What stands for the picture of a seed everywhere here. */
void desk_picture(int64_t seed, char out[32]);
/* A generate for model "cats" with the defaults and a deadline of a minute. */
struct message wish_of(int64_t id, int64_t seed);
void client_wishes(struct peer *self, int64_t id, int64_t seed);
void client_cancels(struct peer *self, int64_t id, int64_t request);
/* The next message must be that. */
void client_gets_image(struct peer *self, int64_t id, int64_t seed);
void client_gets_error(struct peer *self, int64_t id, enum err_code code);
void client_gets_done(struct peer *self, int64_t id, int64_t count, int64_t failed);

/* ---- workers ---- */

struct model_facts desk_cats(void);

struct job_seen {
    int64_t lease, priority, deadline_ms;
    int64_t want, keep, bulk;
    bool alone;
    struct recipe recipe;
};
/* Sends ready with the models "cats"; "kinds", of 3 classes and without noise; "moves", with a
 * transform and every noise mode. */
void worker_joins(struct desk *desk, struct peer *self, const char *name, int64_t credit);
void worker_says_ready(struct peer *self, const char *name, int64_t credit);
/* With some of these models: bit 0 is cats, 1 kinds, 2 moves. */
void worker_says_ready_with(struct peer *self, const char *name, int64_t credit, unsigned models);
/* Reads all jobs that are there, in order; anything else but heartbeats fails the test. */
size_t worker_gets(struct peer *self, struct job_seen *jobs);
/* Exactly one. */
struct job_seen worker_gets_one(struct peer *self);
/* The next message must be of that type, which is recall, drain or introduce; returns its first
 * lease, 0 when it has none. */
int64_t worker_hears(struct peer *self, enum message_type type);
/* STARTED, RENDERED, HANDBACK. */
void worker_says(struct peer *self, enum message_type type, int64_t lease);
/* Without its file where the job wants a receipt only. */
void worker_says_result(struct peer *self, const struct job_seen *job);
void worker_says_result_after(struct peer *self, const struct job_seen *job, int64_t render_us);
void worker_says_fail(struct peer *self, int64_t lease, const char *code);
void worker_says_heartbeat(struct peer *self, int64_t credit, int64_t held, int64_t progress);
void worker_says_bye(struct peer *self);

#endif
