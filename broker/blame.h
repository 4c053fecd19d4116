/* blame -- which renders a lost worker was at. Whoever's connection closed may have died of what it
 * rendered, so that counts as an attempt; if it comes back under its name (host, process and
 * start), it was alive all the time and only cut off, and the attempt is taken back. */
#ifndef BROKER_BLAME_H
#define BROKER_BLAME_H

#include "broker/render.h"

enum { BLAME_WORKERS_MAX = 64 };    /* lost ones that are remembered; the oldest goes first */

struct blamed;                      /* one lost worker */
/* All zero is an empty one. */
struct blame {
    struct blamed *workers;
    size_t count;
};

/* The worker of that name and serial was rendering this when it was lost. Without memory nothing is
 * remembered: the attempt stays. */
void blame_add(struct blame *self, const char *worker, int64_t serial, const struct digest *key);
/* That worker is back: what it was at has one attempt less. */
void blame_forgive(struct blame *self, const char *worker, struct renders *renders);
void blame_release(struct blame *self);

#endif
