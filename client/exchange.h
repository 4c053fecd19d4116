/* exchange -- what was asked of the brokers and what came back: requests in flight over one socket,
 * sent again when a broker falls silent, goes away, is restarted or is left for the next one.
 * Every request is idempotent, so asking twice does no harm. The inside of libseedpress; one
 * thread; nothing blocks but exchange_sleep. */
#ifndef CLIENT_EXCHANGE_H
#define CLIENT_EXCHANGE_H

#include "base/key.h"
#include "base/link.h"
#include "proto/err.h"
#include "proto/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_NONFATAL_OOM 1         /* a library does not end its program */
#include <uthash.h>

enum {
    EXCHANGE_GRACE_MS = 500,        /* a broker ends what is late by itself, and says more of it */
    EXCHANGE_ENDPOINTS_MAX = 16,
};

struct exchange_options {
    const char *brokers;            /* endpoints, ',' between */
    bool allow_plain;               /* TCP beyond this machine without encryption */
    bool has_keys;                  /* the next two count: TCP is encrypted */
    struct key_pair own;
    char broker_key[KEY_SIZE];      /* public, of every broker */
    int64_t silence_ms;             /* after it: the next endpoint */
    int64_t unreachable_ms;         /* after it: requests end */
};

enum reply_state {
    REPLY_WAITING,
    REPLY_ARRIVED,                  /* map holds what came, payload the bytes after it */
    REPLY_REFUSED,                  /* map holds the broker's error */
    REPLY_FAILED,                   /* ours: code and words */
};
/* The broker's word `retry` ends nothing while there is time to ask again. */

struct request;
/* One answer that is owed: a picture of a generate, or the whole of any other request. */
struct reply {
    struct request *request;
    uint32_t seed;
    enum reply_state state;
    bool is_referred;               /* WAITING, and map holds a `retry` */
    struct frame map, payload;
    enum err_code code;
    const char *words;              /* static */
    struct reply *next;             /* in the order in which they ended */
};

struct request {
    struct message ask;             /* as it is sent, but for deadline and seeds; owns its texts */
    char *texts;
    bool many;                      /* several seeds: the broker ends them with `done` */
    bool awaited;                   /* somebody waits for this one: it gives no events */
    bool sent;                      /* over the present connection */
    int64_t asked_ms, deadline_ms, ended_ms;
    int64_t again_ms;               /* to be sent again at the same broker then; 0: no need */
    int64_t heard_before;           /* messages heard when it was asked */
    size_t count, waiting, failed;  /* replies: all, those that are owed, those without an answer */
    struct reply *replies;          /* [count + 1]; the last one stands for DONE */
    UT_hash_handle hh;              /* by ask.id, while it waits */
};

struct exchange;

/* ERR_INVALID, ERR_DENIED (an endpoint), ERR_NOMEM. */
enum err_code exchange_create(const struct exchange_options *options, struct exchange **out,
                              struct err *e);
void exchange_destroy(struct exchange **self);  /* with the requests that wait or have events */
const char *exchange_brokers(const struct exchange *self);

/* Takes a copy of ask, whose id is ignored; out->ask.id is its own. Lists of records are not
 * copied: they stay the caller's, until the request has ended. Nothing is sent before
 * exchange_work. An awaited request is the caller's to destroy, after it has ended; others end with
 * their DONE. ERR_RANGE or ERR_INVALID: a field that no broker would take; ERR_NOMEM. */
enum err_code exchange_ask(struct exchange *self, const struct message *ask, int64_t timeout_ms,
                           bool awaited, int64_t now_ms, struct request **out, struct err *e);
/* Ends what waits of it with ERR_CANCELLED and tells the broker. False: nothing waits. */
bool exchange_cancel(struct exchange *self, int64_t id, int64_t now_ms);

/* One turn: takes in what came, ends what is late, pings, changes brokers, sends. */
void exchange_work(struct exchange *self, int64_t now_ms);
/* Waits for something to work on until wake_ms, at most until the next turn is due. */
void exchange_sleep(struct exchange *self, int64_t wake_ms);
bool exchange_is_idle(const struct exchange *self);     /* nothing is waiting */

/* The next reply that ended, of requests that are not awaited; at last the one at replies[count],
 * after which the request is the caller's to destroy. NULL: none. */
struct reply *exchange_take(struct exchange *self);
void request_destroy(struct request **self);

/* A descriptor for poll loops that are not ours (-1: none left), and what keeps it right: to be
 * called when a call into the library ends. */
int exchange_fd(struct exchange *self);
void exchange_arm(struct exchange *self, int64_t now_ms);

#endif
