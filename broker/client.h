/* client -- who asks: one ROUTER peer, its requests in flight, and what could not be sent to it
 * yet. A peer that does not read cannot make the broker grow: its outbox is bounded in bytes, and
 * so are all of them together; then it is dropped and counted. */
#ifndef BROKER_CLIENT_H
#define BROKER_CLIENT_H

#include "base/link.h"
#include "base/outbox.h"
#include "broker/access.h"
#include "broker/account.h"
#include "proto/message.h"

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

struct waiter;
struct client;
struct bulk_chunk;

/* One generate. It ends, and is freed, with its last waiter. */
struct request {
    struct client *client;
    struct bulk_chunk *chunk;       /* of a bulk job: nothing of it goes out; NULL: a client's */
    struct account *account;        /* who pays */
    struct waiter *waiters;         /* those still waiting */
    struct request *prev, *next;    /* of the client */
    int64_t id;
    int64_t job;                    /* bulk job that it belongs to; 0: none */
    int32_t count, failed, left;    /* pictures: answered, of them errors, still waiting */
    uint16_t envelope_len;
    uint8_t want, keep;             /* enum message_want, message_keep */
    bool many;                      /* "seeds": `done` follows the last answer */
    bool delimited;                 /* as in its address */
    char text[];                    /* the class that is required ("": any) and its NUL; then the
                                       envelope */
};

struct client {
    uint8_t peer[256];              /* the key: its address's part that names the peer */
    size_t peer_len;
    struct request *requests;
    struct outbox outbox;           /* replies that the socket did not take yet */
    struct client *blocked_prev, *blocked_next; /* of those whose outbox is not empty */
    int64_t seen_ms;
    struct access access;
    bool gone;                      /* unroutable or dropped; ended by the next tick */
    UT_hash_handle hh;
};

struct clients {
    struct client *by_peer;
    struct link *link;              /* borrowed */
    size_t outbox_max, outbox_total_max;    /* bytes a client; of all of them together */
    struct client *blocked;
    size_t letters, outbox_bytes;   /* in all outboxes */
    int64_t dropped;                /* clients that did not read */
};

/* A request of the client's, in its list and held by the account, of a generate with that address.
 * NULL: no memory. */
struct request *request_open(struct client *client, struct accounts *accounts,
                               struct account *account, const struct address *to, int64_t id,
                               const struct message_generate *g);
void request_close(struct request *self, struct accounts *accounts);
struct address request_address(const struct request *self);
size_t request_bytes(const struct request *self);
/* Whether it takes a picture of that numerics class: ERR_CLASS_CONFLICT if not. */
enum err_code request_check_class(const struct request *self, const char *made_by, struct err *e);

/* Who pays for what it asks on behalf of somebody ("": of itself). */
struct account_key client_account(const struct client *self, struct text on_behalf);

/* The client of that address, made when it is new. NULL: no memory. */
struct client *clients_get(struct clients *self, const struct address *address, int64_t now_ms);
/* NULL: there is none. */
struct client *clients_find(struct clients *self, const struct address *address);
/* Sends or keeps map and payload (NULL: none; shared). Consumes map. Marks the client gone when it
 * is unroutable or its outbox full; where all of them together are full, the fullest one's. */
void clients_send(struct clients *self, struct client *client, const struct address *to,
                  struct frame *map, struct frame *payload);
/* Tries the outboxes again. */
void clients_flush(struct clients *self);
/* Ends a client that has no requests any more. */
void clients_end(struct clients *self, struct client *client);
void clients_release(struct clients *self);

#endif
