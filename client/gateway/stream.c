#include "client/gateway/stream.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct stream {
    pthread_mutex_t lock;
    struct MHD_Connection *connection;
    bool is_waiting;                /* the connection is suspended */
    bool is_ended, is_closed, is_full;
    char *text;                     /* [begin..end) is not sent yet */
    size_t begin, end, room, bytes_max;
    int users;
};

struct stream *stream_create(size_t bytes_max)
{
    struct stream *self = calloc(1, sizeof *self);

    if (!self)
        return NULL;
    pthread_mutex_init(&self->lock, NULL);
    self->bytes_max = bytes_max;
    self->users = 2;
    return self;
}

/* Unlocks; frees it when nobody is left. */
static void leave(struct stream *self)
{
    bool is_last = self->users == 0;

    pthread_mutex_unlock(&self->lock);
    if (is_last) {
        pthread_mutex_destroy(&self->lock);
        free(self->text);
        free(self);
    }
}

static void wake(struct stream *self)
{
    if (self->is_waiting) {
        self->is_waiting = false;
        MHD_resume_connection(self->connection);
    }
}

static bool make_room(struct stream *self, size_t len)
{
    size_t used = self->end - self->begin, room = self->room ? self->room : 1024;
    char *text;

    if (used + len > self->bytes_max)
        return false;
    if (self->begin > 0) {
        memmove(self->text, self->text + self->begin, used);
        self->begin = 0;
        self->end = used;
    }
    while (room < used + len)
        room *= 2;
    if (room == self->room)
        return true;
    text = realloc(self->text, room);
    if (!text)
        return false;
    self->text = text;
    self->room = room;
    return true;
}

bool stream_write(struct stream *self, const char *text, size_t len)
{
    bool is_fine;

    pthread_mutex_lock(&self->lock);
    if (!self->is_closed && !self->is_full && !make_room(self, len))
        self->is_full = true;
    is_fine = !self->is_closed && !self->is_full;
    if (is_fine) {
        memcpy(self->text + self->end, text, len);
        self->end += len;
    }
    wake(self);
    pthread_mutex_unlock(&self->lock);
    return is_fine;
}

void stream_end(struct stream *self)
{
    pthread_mutex_lock(&self->lock);
    self->is_ended = true;
    self->users--;
    wake(self);
    leave(self);
}

void stream_attach(struct stream *self, struct MHD_Connection *connection)
{
    pthread_mutex_lock(&self->lock);
    self->connection = connection;
    pthread_mutex_unlock(&self->lock);
}

ssize_t stream_read(struct stream *self, char *out, size_t cap)
{
    size_t len;
    ssize_t got;

    pthread_mutex_lock(&self->lock);
    len = self->end - self->begin;
    len = len < cap ? len : cap;
    got = (ssize_t)len;
    if (len > 0) {
        memcpy(out, self->text + self->begin, len);
        self->begin += len;
    } else if (self->is_ended || self->is_full) {
        got = -1;
    } else {
        self->is_waiting = true;
        MHD_suspend_connection(self->connection);
    }
    pthread_mutex_unlock(&self->lock);
    return got;
}

void stream_close(struct stream *self)
{
    pthread_mutex_lock(&self->lock);
    self->is_closed = true;
    self->is_waiting = false;
    self->users--;
    leave(self);
}
