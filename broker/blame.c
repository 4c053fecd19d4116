#include "broker/blame.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { KEYS_MAX = 1024 };           /* that one worker renders at once; a batch is smaller */

struct blamed {
    char name[128];
    int64_t serial;
    struct digest *keys;            /* [room] */
    size_t count, room;
    struct blamed *prev, *next;     /* the oldest first */
};

static void drop(struct blame *self, struct blamed *worker)
{
    DL_DELETE(self->workers, worker);
    self->count--;
    free(worker->keys);
    free(worker);
}

/* Calls for one worker follow each other. */
static struct blamed *last_of(struct blame *self, const char *name, int64_t serial)
{
    struct blamed *last = self->workers ? self->workers->prev : NULL;

    if (last && last->serial == serial)
        return last;
    last = calloc(1, sizeof *last);
    if (!last)
        return NULL;
    strncpy(last->name, name, sizeof last->name - 1);
    last->serial = serial;
    if (self->count == BLAME_WORKERS_MAX)
        drop(self, self->workers);
    DL_APPEND(self->workers, last);
    self->count++;
    return last;
}

void blame_add(struct blame *self, const char *worker, int64_t serial, const struct digest *key)
{
    struct blamed *w = last_of(self, worker, serial);

    if (!w || w->count == KEYS_MAX)
        return;
    if (w->count == w->room) {
        size_t room = w->room ? 2 * w->room : 16;
        struct digest *keys = realloc(w->keys, room * sizeof *keys);

        if (!keys)
            return;
        w->keys = keys;
        w->room = room;
    }
    w->keys[w->count++] = *key;
}

static void forgive(const struct blamed *worker, struct renders *renders)
{
    for (size_t i = 0; i < worker->count; i++) {
        struct render *r = renders_find(renders, &worker->keys[i]);

        if (!r || r->attempts == 0)
            continue;
        r->attempts--;
        if (r->avoid == worker->serial)
            r->avoid = 0;
    }
}

void blame_forgive(struct blame *self, const char *worker, struct renders *renders)
{
    struct blamed *w, *next;

    DL_FOREACH_SAFE(self->workers, w, next)
        if (strcmp(w->name, worker) == 0) {
            forgive(w, renders);
            drop(self, w);
        }
}

void blame_release(struct blame *self)
{
    while (self->workers)
        drop(self, self->workers);
}
