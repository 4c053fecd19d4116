/* outbox -- messages that a socket did not take yet, in order; bounded in bytes. Frames are shared,
 * and counted in full all the same: whoever else holds them may let go. */
#ifndef BASE_OUTBOX_H
#define BASE_OUTBOX_H

#include "base/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outbox_letter {
    struct address to;
    struct frame map, payload;
    bool has_payload;
    size_t bytes;                   /* of both, and of this struct */
    int64_t since_ms;
    struct outbox_letter *prev, *next;
};

struct outbox {                     /* all zeros: empty */
    struct outbox_letter *first;
    size_t count, bytes;
};

/* Keeps shares of map and payload (NULL: none) behind what is there. to NULL: the one other side.
 * False: there would be more than bytes_max then, or no memory; nothing has changed. */
bool outbox_keep(struct outbox *self, const struct address *to, struct frame *map,
                 struct frame *payload, size_t bytes_max, int64_t now_ms);
/* Sends what the link takes. LINK_SENT: nothing is left; LINK_FULL: some is; LINK_GONE: the peer of
 * the first one is not there, and it stays. */
enum link_sent outbox_flush(struct outbox *self, struct link *link);
/* Forgets what came before before_ms. */
void outbox_expire(struct outbox *self, int64_t before_ms);
void outbox_clear(struct outbox *self);

#endif
