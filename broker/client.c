#include "broker/client.h"

#include "broker/block.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- requests ---- */

static size_t request_size(size_t class_len, size_t envelope_len)
{
    return offsetof(struct request, text) + class_len + 1 + envelope_len;
}

struct request *request_open(struct client *client, struct accounts *accounts,
                               struct account *account, const struct address *to, int64_t id,
                               const struct message_generate *g)
{
    size_t envelope_len = (size_t)(to->len - to->peer_len), class_len = g->require_class.len;
    struct request *self = calloc(1, request_size(class_len, envelope_len));

    if (!self)
        return NULL;
    self->client = client;
    self->account = account;
    self->id = id;
    self->want = (uint8_t)g->want;
    self->keep = (uint8_t)g->keep;
    self->job = g->job;
    self->many = g->seeds.count > 0;
    self->delimited = to->delimited;
    self->envelope_len = (uint16_t)envelope_len;
    text_copy(g->require_class, self->text, class_len + 1);
    memcpy(self->text + class_len + 1, to->bytes + to->peer_len, envelope_len);
    DL_APPEND(client->requests, self);
    account_hold(accounts, account);
    account->bytes += request_bytes(self);
    return self;
}

void request_close(struct request *self, struct accounts *accounts)
{
    self->account->bytes -= request_bytes(self);
    account_drop(accounts, self->account);
    DL_DELETE(self->client->requests, self);
    free(self);
}

struct address request_address(const struct request *self)
{
    const struct client *client = self->client;
    struct address to = { .peer_len = (uint16_t)client->peer_len, .delimited = self->delimited };

    to.len = (uint16_t)(to.peer_len + self->envelope_len);
    memcpy(to.bytes, client->peer, client->peer_len);
    memcpy(to.bytes + to.peer_len, self->text + strlen(self->text) + 1, self->envelope_len);
    return to;
}

size_t request_bytes(const struct request *self)
{
    return block_bytes(request_size(strlen(self->text), self->envelope_len));
}

enum err_code request_check_class(const struct request *self, const char *made_by, struct err *e)
{
    if (!*self->text || strcmp(self->text, made_by) == 0)
        return ERR_OK;
    return err_set(e, ERR_CLASS_CONFLICT, "the picture was made by %s, not %s", made_by,
                   self->text);
}

/* ---- who pays ---- */

struct account_key client_account(const struct client *self, struct text on_behalf)
{
    if (on_behalf.len > 0)
        return account_key(ACCOUNT_BEHALF, on_behalf.data, on_behalf.len);
    if (*self->access.user)
        return account_key(ACCOUNT_USER, self->access.user, strlen(self->access.user));
    return account_key(ACCOUNT_CONNECTION, self->peer, self->peer_len);
}

/* ---- clients ---- */

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
        HASH_ADD(hh, self->by_peer, peer, c->peer_len, c);
    }
    c->seen_ms = now_ms;
    return c;
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
