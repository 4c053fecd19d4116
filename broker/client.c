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

static void drop_letter(struct clients *self, struct client *client, struct letter *letter)
{
    client->outbox_bytes -= letter->bytes;
    self->letters--;
    DL_DELETE(client->outbox, letter);
    frame_release(&letter->map);
    frame_release(&letter->payload);
    free(letter);
}

static void keep_letter(struct clients *self, struct client *client, const struct address *to,
                        struct frame *map, struct frame *payload)
{
    size_t bytes = frame_len(map) + (payload ? frame_len(payload) : 0);
    struct letter *letter = NULL;

    if (client->outbox_bytes + bytes <= self->outbox_max)
        letter = calloc(1, sizeof *letter);
    if (!letter) {
        client->gone = true;
        self->dropped++;
        frame_release(map);
        return;
    }
    letter->to = *to;
    letter->bytes = bytes;
    frame_init_share(&letter->map, map);
    frame_release(map);
    letter->has_payload = payload != NULL;
    if (payload)
        frame_init_share(&letter->payload, payload);
    else
        frame_init(&letter->payload);
    client->outbox_bytes += bytes;
    self->letters++;
    DL_APPEND(client->outbox, letter);
}

void clients_send(struct clients *self, struct client *client, const struct address *to,
                  struct frame *map, struct frame *payload)
{
    enum link_sent sent = LINK_FULL;

    if (client->gone) {
        frame_release(map);
        return;
    }
    if (!client->outbox)            /* else: behind what waits there, in order */
        sent = link_send(self->link, to, map, payload);
    if (sent == LINK_FULL) {
        keep_letter(self, client, to, map, payload);
    } else {
        client->gone |= sent == LINK_GONE;
        frame_release(map);
    }
}

static void flush(struct clients *self, struct client *client)
{
    struct letter *letter, *next;

    DL_FOREACH_SAFE(client->outbox, letter, next) {
        enum link_sent sent = link_send(self->link, &letter->to, &letter->map,
                                        letter->has_payload ? &letter->payload : NULL);

        if (sent == LINK_FULL)
            return;
        client->gone |= sent == LINK_GONE;
        drop_letter(self, client, letter);
    }
}

void clients_flush(struct clients *self)
{
    struct client *client, *next;

    if (self->letters == 0)
        return;
    HASH_ITER(hh, self->by_peer, client, next)
        flush(self, client);
}

void clients_end(struct clients *self, struct client *client)
{
    while (client->outbox)
        drop_letter(self, client, client->outbox);
    HASH_DEL(self->by_peer, client);
    free(client);
}

void clients_release(struct clients *self)
{
    struct client *client, *next;

    HASH_ITER(hh, self->by_peer, client, next)
        clients_end(self, client);
}
