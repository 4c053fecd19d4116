#include "broker/connections.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    FDS_MAX = 1 << 20,              /* no program gets a higher descriptor */
    DELAYED_MAX = 16,               /* under a flood events are looked at all the same */
    EVENTS = 64,                    /* read in one call */
};

static bool is_peer(const struct connection *c, const struct address *from)
{
    return c->peer_len == from->peer_len && memcmp(c->peer, from->bytes, from->peer_len) == 0;
}

static bool make_room(struct connections *self, int fd)
{
    struct connection_place *places;
    int room = self->room ? self->room : 64;

    if (fd >= FDS_MAX)
        return false;
    while (room <= fd)
        room *= 2;
    places = realloc(self->by_fd, (size_t)room * sizeof *places);
    if (!places)
        return false;
    memset(places + self->room, 0, (size_t)(room - self->room) * sizeof *places);
    self->by_fd = places;
    self->room = room;
    return true;
}

static void end(struct connections *self, struct connection_place *place)
{
    HASH_DEL(self->by_peer, place->who);
    LL_PREPEND(self->gone, place->who);
    place->who = NULL;
}

/* What a peer sent before its connection closed may be read after the first message of the peer
 * that came in its place. */
static bool was_replaced(const struct connections *self, int fd, const struct address *from)
{
    const struct connection *c;

    LL_FOREACH(self->gone, c)
        if (c->fd == fd && is_peer(c, from))
            return true;
    return false;
}

/* A client that chose its own id may come back with it over another descriptor. */
static struct connection *find_peer(struct connections *self, const struct address *from)
{
    struct connection *c = NULL;

    HASH_FIND(hh, self->by_peer, from->bytes, from->peer_len, c);
    if (c && self->by_fd[c->fd].who == c)
        self->by_fd[c->fd] = (struct connection_place){ NULL, self->turn };
    return c;
}

static struct connection *add_peer(struct connections *self, const struct address *from)
{
    struct connection *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    memcpy(c->peer, from->bytes, from->peer_len);
    c->peer_len = from->peer_len;
    HASH_ADD(hh, self->by_peer, peer, c->peer_len, c);
    return c;
}

/* Two who are both new on one descriptor: who came first is not known. */
static void forget(struct connections *self, struct connection_place *place)
{
    HASH_DEL(self->by_peer, place->who);
    free(place->who);
    place->who = NULL;
}

void connections_note(struct connections *self, int fd, const struct address *from)
{
    struct connection_place *place;

    if (fd < 0 || (fd >= self->room && !make_room(self, fd)))
        return;
    place = &self->by_fd[fd];
    if (place->who && is_peer(place->who, from))
        return;
    if (self->turn == 0)
        self->turn = 1;              /* so that 0 is before every turn */
    if (place->turn == self->turn) {
        if (place->who && !was_replaced(self, fd, from))
            forget(self, place);
        return;
    }
    if (place->who)
        end(self, place);
    place->who = find_peer(self, from);
    if (!place->who)
        place->who = add_peer(self, from);
    if (place->who)
        place->who->fd = fd;
    place->turn = self->turn;
}

bool connections_may_check(struct connections *self, bool is_drained)
{
    if (!is_drained && ++self->delayed < DELAYED_MAX)
        return false;
    self->delayed = 0;
    return true;
}

void connections_closed(struct connections *self, int fd)
{
    struct connection_place *place;

    if (fd < 0 || fd >= self->room)
        return;
    place = &self->by_fd[fd];
    if (place->who && place->turn < self->turn)
        end(self, place);
}

void connections_end_turn(struct connections *self)
{
    self->turn++;
}

void connections_check(struct connections *self, struct link *link)
{
    int fds[EVENTS];
    size_t count;

    do {
        count = link_take_closed(link, fds, EVENTS);
        for (size_t i = 0; i < count; i++)
            connections_closed(self, fds[i]);
    } while (count == EVENTS);
    connections_end_turn(self);
}

bool connections_take(struct connections *self, struct address *peer)
{
    struct connection *c = self->gone;

    if (!c)
        return false;
    LL_DELETE(self->gone, c);
    *peer = (struct address){ .len = (uint16_t)c->peer_len, .peer_len = (uint16_t)c->peer_len };
    memcpy(peer->bytes, c->peer, c->peer_len);
    free(c);
    return true;
}

void connections_release(struct connections *self)
{
    struct connection *c, *next;

    LL_FOREACH_SAFE(self->gone, c, next)
        free(c);
    HASH_ITER(hh, self->by_peer, c, next) {
        HASH_DEL(self->by_peer, c);
        free(c);
    }
    free(self->by_fd);
    *self = (struct connections){ .room = 0 };
}
