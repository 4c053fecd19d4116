#include "client/gateway/desk.h"

#include "base/channel.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { RETRY_MS = 2000 };

struct desk_seat {
    struct desk *desk;
    struct seedpress *sp;
    struct visit *visit;            /* NULL between two */
    pthread_t thread;
    bool is_started;
};

struct desk {
    struct desk_options options;
    struct channel *queue;          /* of struct order */
    atomic_bool is_ending;
    struct desk_seat seat[];        /* [options.threads] */
};

struct order {
    struct visit *visit;
    desk_work *work;
};

struct seedpress *desk_handle(struct desk_seat *seat)
{
    return seat->sp;
}

bool desk_goes_on(void *arg)
{
    const struct desk_seat *seat = arg;
    struct pollfd peer = { .fd = visit_fd(seat->visit), .events = POLLRDHUP };

    return !atomic_load(&seat->desk->is_ending) && poll(&peer, 1, 0) == 0;
}

static struct response *refuse_to_end(void)
{
    struct err e;

    err_set(&e, ERR_RETRY, "the gateway is going away");
    return response_refuse(&e);
}

static void *serve(void *arg)
{
    struct desk_seat *seat = arg;
    struct desk *desk = seat->desk;
    struct order *order;

    while ((order = channel_take(desk->queue, CHANNEL_FOREVER)) != NULL) {
        struct response *response;

        seat->visit = order->visit;
        /* One who has gone gets no answer, and costs no render. */
        response = desk_goes_on(seat) ? order->work(seat, order->visit) : NULL;
        if (atomic_load(&desk->is_ending)) {
            response_unref(&response);
            response = refuse_to_end();
        }
        seat->visit = NULL;
        visit_answer(order->visit, response);
        free(order);
    }
    return NULL;
}

static enum err_code start(struct desk *self, struct err *e)
{
    const struct desk_options *o = &self->options;
    struct seedpress_error error;
    sigset_t all, before;
    int failed = 0;

    /* Signals stay the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < o->threads && !failed; i++) {
        struct desk_seat *seat = &self->seat[i];

        seat->desk = self;
        if (seedpress_create(&o->broker, &seat->sp, &error)) {
            failed = err_set(e, (enum err_code)error.code, "%.190s", error.message);
        } else if (pthread_create(&seat->thread, NULL, serve, seat)) {
            failed = err_set(e, ERR_NOMEM, "no thread for %s", o->name);
        } else {
            seat->is_started = true;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return (enum err_code)failed;
}

enum err_code desk_create(const struct desk_options *options, struct desk **out, struct err *e)
{
    struct desk *self = calloc(1, sizeof *self +
                                      (size_t)options->threads * sizeof self->seat[0]);
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for %s", options->name);
    self->options = *options;
    atomic_init(&self->is_ending, false);
    rc = channel_create(options->queue, &self->queue, e);
    if (!rc)
        rc = start(self, e);
    if (rc)
        desk_destroy(&self);
    *out = self;
    return rc;
}

/* Until end_ms, if the thread has not ended before. */
static void join(struct desk_seat *seat, int64_t end_ms)
{
    const struct timespec end = { end_ms / 1000, end_ms % 1000 * 1000000 };

    if (seat->is_started && pthread_clockjoin_np(seat->thread, NULL, CLOCK_MONOTONIC, &end) == 0)
        seat->is_started = false;
}

void desk_finish(struct desk *self, int64_t end_ms)
{
    if (!self)
        return;
    if (self->queue)
        channel_close(self->queue);      /* the threads end when it is empty */
    for (int i = 0; i < self->options.threads; i++)
        join(&self->seat[i], end_ms);
    atomic_store(&self->is_ending, true);
    for (int i = 0; i < self->options.threads; i++) {
        if (self->seat[i].is_started)
            pthread_join(self->seat[i].thread, NULL);
        self->seat[i].is_started = false;
    }
}

void desk_destroy(struct desk **self)
{
    struct desk *desk = *self;

    if (!desk)
        return;
    desk_finish(desk, 0);
    for (int i = 0; i < desk->options.threads; i++)
        seedpress_destroy(&desk->seat[i].sp);
    channel_destroy(&desk->queue);
    free(desk);
    *self = NULL;
}

static void refuse_full(const struct desk *self, struct visit *visit)
{
    struct err e;

    err_set(&e, ERR_OVERLOADED, "%zu requests for %s wait already, which is the bound",
            self->options.queue, self->options.name);
    e.retry_after_ms = RETRY_MS;
    visit_refuse(visit, &e);
}

void desk_hand(struct desk *self, struct visit *visit, desk_work *work)
{
    struct order *order = malloc(sizeof *order);

    if (!order) {
        visit_answer(visit, NULL);
        return;
    }
    *order = (struct order){ .visit = visit, .work = work };
    visit_suspend(visit);
    if (channel_put(self->queue, order, 0))
        return;
    free(order);
    if (channel_is_closed(self->queue))
        visit_answer(visit, refuse_to_end());
    else
        refuse_full(self, visit);
}
