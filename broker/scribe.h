/* scribe -- the broker's one thread that talks to the ledger. The poll loop hands it errands
 * through a bounded channel and gets them back, answered, through another; it never waits for it.
 * Look-ups of recipe keys that wait together are asked together. */
#ifndef BROKER_SCRIBE_H
#define BROKER_SCRIBE_H

#include "base/link.h"
#include "proto/message.h"
#include "sql/ledger.h"
#include "sql/ledger_withdraw.h"

#include <stdbool.h>
#include <stdint.h>

enum errand_kind {
    ERRAND_FIND,                    /* a render's look-up: key; rows has at most one, with data */
    ERRAND_LOOKUP,                  /* a client's: query */
    ERRAND_FETCH,                   /* a client's: query; rows has at most one, with data */
    ERRAND_NAMES,                   /* models, bindings of names; how many withdrawals there are */
    ERRAND_BIND,                    /* name to digest, for a client */
    ERRAND_WITHDRAW,                /* what query names, by key or file hash; reason */
    ERRAND_CALL,                    /* anything else: call, on the thread */
};

struct broker;

/* Owned by whoever holds it; errand_destroy ends it with what the answer brought. */
struct errand {
    enum errand_kind kind;
    struct digest key;
    struct ledger_query query;
    char name[RECIPE_NAME_MAX + 1];
    struct digest digest;
    char reason[LEDGER_REASON_MAX + 1];
    struct address to;              /* of the client that waits */
    int64_t id;
    enum err_code (*call)(struct ledger *ledger, void *extra, struct err *e);      /* CALL */
    void *extra;                    /* call's question and answer; ended by end_extra with the
                                       errand */
    void (*end_extra)(void *extra);
    void (*take)(struct broker *b, struct errand *errand, int64_t now_ms);  /* for the loop, when
                                       it is answered; does not own it */

    enum err_code rc;               /* the answer */
    struct err err;
    struct ledger_rows rows;
    struct ledger_name *names;      /* [name_count], NAMES */
    size_t name_count;
    struct ledger_model_row *models;        /* [model_count], NAMES */
    size_t model_count;
    int64_t withdrawals;            /* NAMES: subjects withdrawn so far */
    struct ledger_withdrawal withdrawal;
};
struct errand *errand_create(enum errand_kind kind);   /* NULL: no memory */
void errand_destroy(struct errand **self);

struct scribe;
/* Starts the thread; the ledger may be down. conninfo is copied. NULL: there is no ledger and no
 * thread, and every errand is refused. segments is the ledger's folder of segments, "": none.
 * ERR_FILE: it cannot be read. */
enum err_code scribe_create(const char *conninfo, const char *segments, struct scribe **out,
                            struct err *e);
/* Ends the thread and every errand. */
void scribe_destroy(struct scribe **self);

/* Takes the errand; false when too many wait: it stays the caller's. */
bool scribe_ask(struct scribe *self, struct errand *errand);
/* The next answered one, the caller's; NULL when there is none. */
struct errand *scribe_answer(struct scribe *self);
int scribe_fd(const struct scribe *self);          /* readable while answers wait */
bool scribe_ledger_is_up(const struct scribe *self);

#endif
