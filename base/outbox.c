#include "base/outbox.h"

#include <stdlib.h>
#include <utlist.h>

bool outbox_keep(struct outbox *self, const struct address *to, struct frame *map,
                 struct frame *payload, size_t bytes_max, int64_t now_ms)
{
    struct outbox_letter *letter = NULL;
    size_t bytes = sizeof *letter + frame_len(map) + (payload ? frame_len(payload) : 0);

    if (self->bytes + bytes <= bytes_max)
        letter = calloc(1, sizeof *letter);
    if (!letter)
        return false;
    if (to)
        letter->to = *to;
    letter->bytes = bytes;
    letter->since_ms = now_ms;
    letter->has_payload = payload != NULL;
    frame_init_share(&letter->map, map);
    if (payload)
        frame_init_share(&letter->payload, payload);
    else
        frame_init(&letter->payload);
    self->bytes += bytes;
    self->count++;
    DL_APPEND(self->first, letter);
    return true;
}

static void drop_first(struct outbox *self)
{
    struct outbox_letter *letter = self->first;

    self->bytes -= letter->bytes;
    self->count--;
    DL_DELETE(self->first, letter);
    frame_release(&letter->map);
    frame_release(&letter->payload);
    free(letter);
}

enum link_sent outbox_flush(struct outbox *self, struct link *link)
{
    struct outbox_letter *letter;

    while ((letter = self->first)) {
        enum link_sent sent = link_send(link, &letter->to, &letter->map,
                                        letter->has_payload ? &letter->payload : NULL);

        if (sent != LINK_SENT)
            return sent;
        drop_first(self);
    }
    return LINK_SENT;
}

void outbox_expire(struct outbox *self, int64_t before_ms)
{
    while (self->first && self->first->since_ms < before_ms)
        drop_first(self);
}

void outbox_clear(struct outbox *self)
{
    while (self->first)
        drop_first(self);
}
