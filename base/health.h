/* health -- whether a program's loop turns and whether it takes work: told by the loop, read from
 * any thread. */
#ifndef BASE_HEALTH_H
#define BASE_HEALTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { HEALTH_STUCK_MS = 5000 };    /* loops turn at least once a second: this one is stuck */

struct health {
    _Atomic int64_t turned_ms;
    const char *_Atomic why_not;
};

/* Alive, and not ready: "starting". */
void health_init(struct health *self, int64_t now_ms);
/* Once a turn. why_not: static words, "draining"; NULL: ready. */
void health_turn(struct health *self, int64_t now_ms, const char *why_not);

bool health_is_live(const struct health *self, int64_t now_ms);
const char *health_why_not(const struct health *self);      /* NULL: ready */

#endif
