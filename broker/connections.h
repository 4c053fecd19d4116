/* connections -- which peer of a link sits behind which descriptor, so that a connection that
 * closes ends its peer at once instead of after a silence.
 *
 * Descriptors are used again: a closed event and a new peer on the same number may both be there
 * before either is looked at. So time goes in turns: everything that came is noted, then the closed
 * events are, then those who are gone are taken. A peer that another one has replaced is gone; a
 * closed event ends only who was known before this turn. Where a turn leaves it open whom an event
 * meant, nobody is ended: the next message to him finds out. */
#ifndef BROKER_CONNECTIONS_H
#define BROKER_CONNECTIONS_H

#include "base/link.h"

#include <stdbool.h>
#include <stdint.h>
#include <uthash.h>

struct connection {                 /* of one peer */
    int fd;
    size_t peer_len;
    uint8_t peer[256];              /* the key */
    struct connection *next;        /* of those that are gone */
    UT_hash_handle hh;
};

/* All zero is an empty one. */
struct connections {
    struct connection_place {
        struct connection *who;     /* NULL: nobody, or nobody knows */
        int64_t turn;               /* in which that began */
    } *by_fd;                       /* [room] */
    int room;
    int64_t turn;
    struct connection *by_peer;
    struct connection *gone;        /* in no table any more */
    int delayed;                    /* calls of connections_may_check since the last turn's end */
};

/* A parcel came over fd. fd < 0 (inproc) is nothing; without memory the peer is not known here. */
void connections_note(struct connections *self, int fd, const struct address *from);
/* Whether it is time to look at closed events: when nothing is left to receive, or when that was
 * not so for too many turns of the loop. */
bool connections_may_check(struct connections *self, bool is_drained);
/* Reads the link's closed events and ends the turn. */
void connections_check(struct connections *self, struct link *link);
/* One closed event, and the turn's end: what connections_check is made of. */
void connections_closed(struct connections *self, int fd);
void connections_end_turn(struct connections *self);
/* The next peer that is gone, as the begin of an address; false when there is none. To be asked
 * until then after each turn. */
bool connections_take(struct connections *self, struct address *peer);
void connections_release(struct connections *self);

#endif
