/* core -- what the broker's own files share: the object, the moves of a render through its states,
 * and the replies. Nobody outside broker/ includes it. */
#ifndef BROKER_CORE_H
#define BROKER_CORE_H

#include "base/heap.h"
#include "broker/account.h"
#include "broker/blame.h"
#include "broker/broker.h"
#include "broker/bulk.h"
#include "broker/cache.h"
#include "broker/client.h"
#include "broker/connections.h"
#include "broker/meter.h"
#include "broker/models.h"
#include "broker/picture.h"
#include "broker/queue.h"
#include "broker/render.h"
#include "broker/roster.h"

enum { PARKED_MAX = 1000, PARKED_BYTES_MAX = 16 << 20 };

/* A generate that came before the first worker did; tried again when one is ready. */
struct parked {
    struct parcel parcel;
    int64_t id;
    int64_t count;                  /* pictures */
    int64_t arrived_ms, deadline_ms;
    struct parked *prev, *next;
};

struct broker_counts {              /* since the start */
    int64_t submitted, answered, failed, cancelled, joined, ledger_hits, retried, late;
    int64_t refused;                /* for a bound, a rate or a deadline that could not be met */
    int64_t expired;                /* accepted, and ended by the deadline */
    int64_t poison, workers_lost, leases_lost, denied, malformed;
    int64_t memory_hits;
};

struct broker {
    struct broker_options options;
    struct link *worker_link;       /* borrowed; the clients' is in clients */
    struct scribe *scribe;          /* borrowed */
    struct clients clients;
    struct accounts accounts;
    struct renders renders;
    struct queue queue;
    struct roster roster;
    struct models models;
    struct connections client_connections, worker_connections;
    struct blame blame;
    struct cache cache;
    struct bulk bulk;
    int64_t withdrawals;            /* as the ledger last said */
    int64_t withdrawn_lease;        /* leases up to this one are older than the last of them */
    int64_t ledger_seen_ms;         /* when it last answered anything */
    struct heap deadlines;          /* of waiters */
    size_t waiters;
    size_t level_waiters[MESSAGE_PRIORITY_COUNT];
    size_t request_bytes;           /* of all requests */
    size_t asking;                  /* look-ups and the like that clients wait for */
    size_t asking_alike;            /* of them, those by likeness */
    struct parked *parked;
    size_t parked_count, parked_bytes;
    int64_t last_lease;
    int64_t started_ms, drain_since_ms, next_second_ms, names_asked_ms;
    bool draining;
    struct broker_counts count;
    struct meter meter;
};

/* ---- moves.c: a render through its states ---- */

/* Attaches a waiter; the render moves on by itself. NULL: no memory. */
struct waiter *waiter_add(struct broker *b, struct render *render, struct request *request,
                          const struct message_generate *g, const char *warning,
                          int64_t arrived_ms);
/* What a waiter for a render of its own takes (transform may be of kind NONE), and what all that is
 * waited for takes now. */
size_t waiter_bytes(const struct recipe_transform *transform);
size_t waiters_bytes(const struct broker *b);
/* Ends a waiter with an error and lets its render know. */
void waiter_fail(struct broker *b, struct waiter *waiter, enum err_code code,
                 const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Ends a waiter without a word, as cancelled. */
void waiter_drop(struct broker *b, struct waiter *waiter);
/* Ends all that still waits of a request, without a word to its client, and so the request. Returns
 * how many. May end waiters of other requests too, and with them those requests. */
int64_t request_drop(struct broker *b, struct request *request);
/* The caller's own share of request->left is given back. */
void request_end_if_done(struct broker *b, struct request *request);

void render_start(struct broker *b, struct render *render, int64_t now_ms);
/* Queues each waiter that can still be served in time and refuses the others; when none is left the
 * render ends. */
void render_enqueue(struct broker *b, struct render *render, int64_t now_ms);
/* Ends the waiters that want a stored picture only; the others, and so the render, may stay. False:
 * the render has ended. */
bool render_fail_only(struct broker *b, struct render *render, enum err_code code,
                      const char *words);
/* A worker gave it back unstarted, or died before it started: to the front, attempts unchanged. */
void render_return(struct broker *b, struct render *render, int64_t now_ms);
/* An attempt died or failed: to the front, to run alone; the last one ends as poison. */
void render_retry(struct broker *b, struct render *render, int64_t now_ms, const char *why);
/* Its worker is dead or hung: an attempt is only lost where it was rendering. */
void render_lost(struct broker *b, struct render *render, int64_t now_ms, const char *why);
/* What its worker made: END with it for all waiters whom it serves; for the others, who joined late
 * and want more than the worker was told, the render is in LOOKUP again. */
void render_take_result(struct broker *b, struct render *render, const struct picture *picture,
                        int64_t now_ms);
/* END with a picture for all waiters. jpeg is shared, not consumed. */
void render_finish(struct broker *b, struct render *render, const struct picture *picture);
/* The same for the waiters that want a stored picture only; the others may stay, and the render. */
void render_finish_only(struct broker *b, struct render *render, const struct picture *picture);
/* END with an error for all waiters. */
void render_fail(struct broker *b, struct render *render, enum err_code code,
                 const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Ends whoever waits for a picture of recipe's subject; what a worker makes of it the ledger will
 * refuse. */
void render_withdraw(struct broker *b, const struct recipe *recipe);
/* END because this broker leaves. */
void render_refer(struct broker *b, struct render *render);
void worker_lost(struct broker *b, struct worker *worker, int64_t now_ms, const char *why);
void client_gone(struct broker *b, struct client *client);
/* Hands queued renders to workers that have room. */
void dispatch(struct broker *b, int64_t now_ms);

/* ---- reply.c: what goes out ---- */

/* Borrows from both. */
struct picture picture_of_row(const struct ledger_row *row, struct frame *jpeg);

void reply_message(struct broker *b, struct client *client, const struct address *to,
                   const struct message *message, struct frame *payload);
void reply_error(struct broker *b, struct client *client, const struct address *to, int64_t id,
                 int64_t seed, const struct err *e);
/* To one waiter of a render; warning may be NULL. */
void reply_picture(struct broker *b, const struct request *request, const struct picture *picture,
                   int64_t queue_ms, const char *warning);
/* One picture of the request from memory; warning may be NULL. */
void reply_cached(struct broker *b, const struct request *request, struct cache_entry *entry,
                  const char *warning);
/* To a fetch. */
void reply_fetch(struct broker *b, struct client *client, const struct address *to, int64_t id,
                 const struct picture *picture);
void reply_provenance(struct broker *b, struct client *client, const struct address *to,
                      int64_t id, const struct ledger_rows *rows);
void reply_withdrawal(struct broker *b, struct client *client, const struct address *to,
                      int64_t id, const struct ledger_withdrawal *withdrawal);
void reply_models(struct broker *b, struct client *client, const struct address *to, int64_t id);
void reply_status(struct broker *b, struct client *client, const struct address *to, int64_t id,
                  int64_t now_ms);
/* To a worker; false when it cannot be reached now. Sends what message holds. */
bool send_worker(struct broker *b, struct worker *worker, const struct message *message);

/* ---- from_client.c, from_worker.c ---- */
/* A client's message with who sent it and how to answer. */
struct call {
    struct client *client;
    const struct address *to;
    int64_t id, now_ms, arrived_ms;
    const struct message *message;
    struct parcel *parcel;
};
void retry_parked(struct broker *b, int64_t now_ms);
/* Answers those whose deadline has come; returns when the next one's comes. */
int64_t end_parked(struct broker *b, int64_t now_ms);
/* Ends those of a client that is gone. */
void drop_parked(struct broker *b, const struct address *peer);
void take_errand(struct broker *b, struct errand *errand, int64_t now_ms);
/* Of the finder's scribe. */
void take_alike(struct broker *b, struct errand *errand, int64_t now_ms);

/* ---- from_client_bulk.c ---- */
void on_bulk_submit(struct broker *b, const struct call *c);
void on_bulk_list(struct broker *b, const struct call *c);
void on_bulk_show(struct broker *b, const struct call *c);
void on_bulk_control(struct broker *b, const struct call *c);
void on_bulk_exported(struct broker *b, const struct call *c);

/* ---- broker.c ---- */
/* The ledger answers, or this broker has none: what is in memory is then as good as stored. */
bool ledger_is_fine(const struct broker *b);

#endif
