#include "base/channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct channel {
    pthread_mutex_t lock;
    pthread_cond_t changed;         /* room, an item, or closed */
    int fd;                         /* eventfd: 1 while count > 0 */
    bool closed;
    size_t first, count, capacity;
    void *items[];                  /* [capacity], a ring */
};

enum err_code channel_create(size_t capacity, struct channel **out, struct err *e)
{
    struct channel *self = calloc(1, sizeof *self + capacity * sizeof self->items[0]);
    pthread_condattr_t attr;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a channel of %zu", capacity);
    self->capacity = capacity;
    self->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (self->fd < 0) {
        free(self);
        return err_set(e, ERR_NOMEM, "no file descriptor for a channel: %s", strerror(errno));
    }
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, &attr);
    pthread_condattr_destroy(&attr);
    *out = self;
    return ERR_OK;
}

void channel_destroy(struct channel **self)
{
    if (!*self)
        return;
    close((*self)->fd);
    pthread_cond_destroy(&(*self)->changed);
    pthread_mutex_destroy(&(*self)->lock);
    free(*self);
    *self = NULL;
}

/* Called locked. False when wake_ms has passed. */
static bool wait_changed(struct channel *self, int64_t wake_ms)
{
    struct timespec t = { wake_ms / 1000, wake_ms % 1000 * 1000000 };

    if (wake_ms == CHANNEL_FOREVER)
        return pthread_cond_wait(&self->changed, &self->lock) == 0;
    return wake_ms > 0 && pthread_cond_timedwait(&self->changed, &self->lock, &t) == 0;
}

bool channel_put(struct channel *self, void *item, int64_t wake_ms)
{
    bool done = false;

    pthread_mutex_lock(&self->lock);
    while (!self->closed && self->count == self->capacity)
        if (!wait_changed(self, wake_ms))
            break;
    if (!self->closed && self->count < self->capacity) {
        self->items[(self->first + self->count) % self->capacity] = item;
        if (self->count++ == 0)
            eventfd_write(self->fd, 1);
        pthread_cond_broadcast(&self->changed);
        done = true;
    }
    pthread_mutex_unlock(&self->lock);
    return done;
}

void *channel_take(struct channel *self, int64_t wake_ms)
{
    void *item = NULL;
    eventfd_t ignored;

    pthread_mutex_lock(&self->lock);
    while (!self->closed && self->count == 0)
        if (!wait_changed(self, wake_ms))
            break;
    if (self->count > 0) {
        item = self->items[self->first];
        self->first = (self->first + 1) % self->capacity;
        if (--self->count == 0)
            eventfd_read(self->fd, &ignored);
        pthread_cond_broadcast(&self->changed);
    }
    pthread_mutex_unlock(&self->lock);
    return item;
}

void channel_close(struct channel *self)
{
    pthread_mutex_lock(&self->lock);
    self->closed = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

bool channel_is_closed(struct channel *self)
{
    pthread_mutex_lock(&self->lock);
    bool closed = self->closed;

    pthread_mutex_unlock(&self->lock);
    return closed;
}

size_t channel_count(struct channel *self)
{
    pthread_mutex_lock(&self->lock);
    size_t count = self->count;

    pthread_mutex_unlock(&self->lock);
    return count;
}

int channel_fd(const struct channel *self)
{
    return self->fd;
}
