#include "broker/client.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct client *clients_find(struct clients *self, const struct address *address)
{
    struct client *c = NULL;

    HASH_FIND(hh, self->by_peer, address->bytes, address->peer_len, c);
    return c;
}

struct client *clients_get(struct clients *self, const struct address *address, int64_t now_ms)
{
    struct client *c = clients_find(self, address);

    if (!c) {
        c = calloc(1, sizeof *c);
        if (!c)
            return NULL;
        memcpy(c->peer, address->bytes, address->peer_len);
        c->peer_len = address->peer_len;
        for (int level = 0; level < MESSAGE_PRIORITY_COUNT; level++)
            c->lines[level].client = c;
        HASH_ADD(hh, self->by_peer, peer, c->peer_len, c);
    }
    c->seen_ms = now_ms;
    return c;
}

bool client_may_speak_for(const struct client *client)
{
    return access_may_speak_for(&client->access);
}

/* After a change of the client's outbox, which had count letters of that many bytes. */
static void note_outbox(struct clients *self, struct client *client, size_t count, size_t bytes)
{
    self->letters += client->outbox.count - count;
    self->outbox_bytes += client->outbox.bytes - bytes;
    if (count == 0 && client->outbox.count > 0)
        DL_APPEND2(self->blocked, client, blocked_prev, blocked_next);
    else if (count > 0 && client->outbox.count == 0)
        DL_DELETE2(self->blocked, client, blocked_prev, blocked_next);
}

static void clear(struct clients *self, struct client *client)
{
    size_t count = client->outbox.count, bytes = client->outbox.bytes;

    outbox_clear(&client->outbox);
    note_outbox(self, client, count, bytes);
}

/* It does not read: what waits for it is of no use. The next tick ends the rest of it. */
static void drop(struct clients *self, struct client *client)
{
    clear(self, client);
    client->gone = true;
    self->dropped++;
}

static void drop_fullest(struct clients *self)
{
    struct client *client, *fullest = self->blocked;

    DL_FOREACH2(self->blocked, client, blocked_next)
        if (client->outbox.bytes > fullest->outbox.bytes)
            fullest = client;
    drop(self, fullest);
}

static void keep(struct clients *self, struct client *client, const struct address *to,
                 struct frame *map, struct frame *payload)
{
    size_t count = client->outbox.count, bytes = client->outbox.bytes;

    if (outbox_keep(&client->outbox, to, map, payload, self->outbox_max, 0))
        note_outbox(self, client, count, bytes);
    else
        drop(self, client);
    while (self->outbox_bytes > self->outbox_total_max)
        drop_fullest(self);
}

void clients_send(struct clients *self, struct client *client, const struct address *to,
                  struct frame *map, struct frame *payload)
{
    enum link_sent sent = LINK_FULL;

    if (client->gone) {
        frame_release(map);
        return;
    }
    if (!client->outbox.first)      /* else: behind what waits there, in order */
        sent = link_send(self->link, to, map, payload);
    if (sent == LINK_FULL)
        keep(self, client, to, map, payload);
    client->gone |= sent == LINK_GONE;
    frame_release(map);
}

void clients_flush(struct clients *self)
{
    struct client *client, *next;

    DL_FOREACH_SAFE2(self->blocked, client, next, blocked_next) {
        size_t count = client->outbox.count, bytes = client->outbox.bytes;
        enum link_sent sent = outbox_flush(&client->outbox, self->link);

        note_outbox(self, client, count, bytes);
        if (sent == LINK_GONE) {
            clear(self, client);
            client->gone = true;
        }
    }
}

void clients_end(struct clients *self, struct client *client)
{
    clear(self, client);
    HASH_DEL(self->by_peer, client);
    free(client);
}

void clients_release(struct clients *self)
{
    struct client *client, *next;

    HASH_ITER(hh, self->by_peer, client, next)
        clients_end(self, client);
}
