/* link -- messages over sockets; the one file that sees zmq.h. A link is one socket and belongs to
 * one thread. Nothing here blocks but link_poll.
 *
 * What libzmq does silently is made visible: ROUTER links refuse to send to a peer that is gone
 * (LINK_GONE) or slow (LINK_FULL) instead of dropping; a second program cannot steal an ipc path;
 * plain TCP is refused beyond loopback; who may connect is decided before the first message
 * (link_gate.h); a link that finds no descriptor for who comes listens no more for a while instead
 * of spinning. */
#ifndef BASE_LINK_H
#define BASE_LINK_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LINK_ENVELOPE_MAX = 8,          /* frames before the empty one that a broker echoes */
    LINK_ADDRESS_MAX = 320,         /* bytes of a peer's id and its envelope together */
    LINK_USER_MAX = 48,             /* with its NUL */
    LINK_POLL_MAX = 64,             /* what one link_poll waits for */
    LINK_KEY_SIZE = 41,             /* a key in Z85, with its NUL */
};

/* ---- frames: bytes that are counted, not copied ---- */

struct frame {
    _Alignas(8) unsigned char opaque[64];       /* a zmq_msg_t; link.c checks the size */
};
void frame_init(struct frame *self);                                /* empty */
/* Copies data. False: no memory, the frame is empty. */
bool frame_init_copy(struct frame *self, const void *data, size_t len);
/* Takes data, which free() will end; on failure (no memory) it is freed and the frame is empty. The
 * free runs on whatever thread drops the last share. */
bool frame_init_take(struct frame *self, void *data, size_t len);
/* A message as the bytes of one frame. Fails as message_encode does; the frame is then empty. */
struct message;
enum err_code frame_init_message(struct frame *self, const struct message *message, struct err *e);
/* Both frames then show the same bytes. */
void frame_init_share(struct frame *self, struct frame *other);
void frame_release(struct frame *self);                             /* leaves it empty */
const void *frame_data(const struct frame *self);
size_t frame_len(const struct frame *self);

/* ---- addresses: where an answer goes ---- */

struct address {
    uint16_t len;                   /* 0: a DEALER's or REQ's one other side */
    uint16_t peer_len;              /* the id's part of it, for comparing peers; at most 256 */
    bool delimited;                 /* an empty frame stands before the map: a REQ socket */
    uint8_t bytes[LINK_ADDRESS_MAX];/* frames, each after its length */
};
bool address_same_peer(const struct address *a, const struct address *b);
/* The peer chose its id itself (ZMQ_ROUTING_ID), or none is there. Such a peer could take the id of
 * one that has gone, and read what is still sent there. */
bool address_is_chosen(const struct address *self);

/* What came in: frames and who sent them. */
struct parcel {
    struct address from;
    struct frame body[2];           /* the map; the bytes after it */
    int count;                      /* of body: 1 or 2 */
};
void parcel_release(struct parcel *self);
/* The descriptor of the connection that it came over, which link_take_closed will name; -1: none
 * (inproc). One connection's parcels all have the same, and no other live connection has it. */
int parcel_fd(const struct parcel *self);
/* Who sent it, as the connection proves: a CURVE public key (40 characters of Z85), "uid:1000" over
 * ipc, "" over plain TCP, where nobody knows. The same for all parcels of a peer. */
void parcel_user(const struct parcel *self, char out[LINK_USER_MAX]);

/* ---- links ---- */

struct link_context;
enum err_code link_context_create(struct link_context **out, struct err *e);
void link_context_destroy(struct link_context **self);  /* after its links */

/* CURVE: each side has a pair of keys, and who connects knows whom it connects to. Borrowed until
 * link_create returns. TCP alone is encrypted: over ipc the kernel says who is there. */
struct link_curve {
    const char *public_key, *secret_key;    /* one's own */
    const char *server_key;         /* of the side that is connected to; NULL: this side is bound */
};
/* False: the message library was built without it. */
bool link_curve_pair(char public_key[LINK_KEY_SIZE], char secret_key[LINK_KEY_SIZE]);
bool link_curve_public(const char *secret_key, char public_key[LINK_KEY_SIZE]);
bool link_curve_is_key(const char *text);

struct link_gate;
enum link_kind { LINK_ROUTER, LINK_DEALER, LINK_REQ };
struct link_options {
    enum link_kind kind;
    int send_hwm, receive_hwm;      /* messages a peer; 0: 1000 */
    int64_t frame_max;              /* bytes of one frame; larger ones close the connection */
    bool allow_plain;               /* TCP beyond loopback without encryption */
    bool watch;                     /* link_was_lost or link_take_closed tell of connections that
                                       are gone */
    int linger_ms;                  /* how long unsent messages outlive the link */
    const struct link_curve *curve; /* NULL: none */
    struct link_gate *gate;         /* ROUTER: asked for each connection; the link is then watched.
                                       NULL: everybody may enter */
    int domain;                     /* enum link_domain, for the gate: one link each */
    int handshake_ms;               /* a connection that has not introduced itself by then is
                                       closed; 0: 30 s */
    int heartbeat_ms;               /* an idle connection is asked whether it lives, and closed when
                                       three such times pass without a word; 0: never */
    int ipc_mode;                   /* of an ipc path's file; 0: 0660 */
};
struct link;
/* ERR_NOMEM; ERR_INVALID: the keys are none. */
enum err_code link_create(struct link_context *context, const struct link_options *options,
                          struct link **out, struct err *e);
void link_destroy(struct link **self);

/* Endpoints as libzmq writes them: "tcp://127.0.0.1:7701", "tcp://127.0.0.1:*", "ipc:///run/x". One
 * ipc path a link. ERR_DENIED: TCP beyond loopback; ERR_CONFLICT: somebody serves it already. */
enum err_code link_bind(struct link *self, const char *endpoint, struct err *e);
enum err_code link_connect(struct link *self, const char *endpoint, struct err *e);
/* The last endpoint bound, with its real port. */
const char *link_endpoint(const struct link *self);

/* The next message, if one is there. Malformed ones (no body, too many frames, an address too long)
 * are dropped and counted; after several in a row the answer is false although more may be there,
 * so that a peer that sends nothing else cannot hold a loop. */
bool link_receive(struct link *self, struct parcel *out);
int64_t link_malformed(const struct link *self);

/* ROUTER: descriptors of connections that have closed since the last call, at most most of them;
 * call again while the answer is most. What such a peer sent before may still be waiting: receive
 * first, then act. A descriptor may by then belong to a new connection. Needs options.watch, and
 * with it must be called each turn, at least every second: here the link also stops listening when
 * no descriptor is left, and begins again. */
size_t link_take_closed(struct link *self, int *fds, size_t most);

/* DEALER, REQ: true once after each time that a connection broke. What was sent over it and not
 * answered may be lost, although libzmq connects again by itself and nothing else shows it. Needs
 * options.watch. */
bool link_was_lost(struct link *self);
/* DEALER, REQ with options.watch: the other side did not let it in when it last tried, as
 * link_was_lost has seen it: its key is not known there, or one side speaks plainly. It goes on
 * trying. */
bool link_is_refused(const struct link *self);

enum link_sent { LINK_SENT, LINK_FULL, LINK_GONE };
/* Sends map and, if payload is not NULL, its bytes (shared, not copied). Neither is consumed unless
 * the answer is LINK_SENT; map is then empty. */
enum link_sent link_send(struct link *self, const struct address *to, struct frame *map,
                         struct frame *payload);

struct link_wait {
    struct link *link;              /* or NULL: fd */
    int fd;
    bool ready;                     /* out */
    bool wants_room;                /* ready also when the link can send */
};
/* Until one of waits[0..count) can be read (or a watched one was lost), or wake_ms (clock_ms's
 * scale), or a signal. */
void link_poll(struct link_wait *waits, size_t count, int64_t wake_ms);
/* The last link_poll has found nothing at this link, and nothing was sent since: a call of
 * link_receive would find nothing either, at the price of some system calls. */
bool link_is_quiet(const struct link *self);

/* For a poll loop that is not ours. The descriptor turns readable when something happened to the
 * link, which may be nothing to receive, and need not turn readable again before everything was
 * received and sent: ask the other two before waiting for it. Valid until link_destroy. */
int link_fd(const struct link *self);
bool link_is_readable(struct link *self);
bool link_has_room(const struct link *self);            /* to send */

const char *link_library(void);     /* "libzmq 4.3.4" */

#endif
