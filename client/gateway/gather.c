#include "client/gateway/gather.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

static void end(struct gather *self, struct agent *agent, bool is_gone)
{
    agent_unwatch(agent, &self->watch);
    self->kind->end(self, agent, is_gone);
    gather_destroy(self);
}

static void end_piece(struct gather *self, struct gather_piece *piece,
                      const struct seedpress_error *error)
{
    piece->is_ended = true;
    piece->error = *error;
    self->left--;
    if (self->kind->each && !self->kind->each(self, piece))
        self->is_unwanted = true;
}

static void give_up(struct gather *self, struct agent *agent)
{
    for (size_t i = 0; i < self->count; i++)
        if (!self->piece[i].is_ended)
            agent_drop(agent, &self->piece[i].ask);
    end(self, agent, true);
}

/* Ends it when it is time; self is then gone. */
static void settle(struct gather *self, struct agent *agent)
{
    if (self->is_unwanted)
        give_up(self, agent);
    else if (self->left == 0)
        end(self, agent, false);
}

static void on_done(struct ask *ask, struct agent *agent, const struct seedpress_error *error,
                    struct picture *picture, const struct picture_times *times, const char *recipe)
{
    struct gather_piece *piece =
        (struct gather_piece *)(void *)((char *)ask - offsetof(struct gather_piece, ask));
    struct gather *self = piece->gather;

    (void)picture;
    (void)times;
    (void)recipe;
    end_piece(self, piece, error);
    if (!self->is_asking)
        settle(self, agent);
}

static void on_gone(struct agent_watch *watch, struct agent *agent)
{
    give_up((struct gather *)(void *)((char *)watch - offsetof(struct gather, watch)), agent);
}

static void ask(struct gather *self, struct agent *agent, struct gather_piece *piece)
{
    static const struct seedpress_error NONE = { .code = SEEDPRESS_OK };
    int64_t now_ms = clock_ms(), left_ms = self->end_ms - now_ms;
    struct picture *picture;
    struct response *ready;

    if (album_find(self->gateway->album, &piece->ask.what.key, now_ms, &picture, &ready) ==
        ALBUM_FRESH) {
        end_piece(self, piece, &NONE);
    } else {
        piece->ask.deadline_ms = left_ms > 1 ? (int)left_ms : 1;
        self->asked++;
        agent_ask(agent, &piece->ask);
    }
    response_unref(&ready);
    picture_unref(&picture);
}

static void run(struct agent_task *task, struct agent *agent)
{
    struct gather *self = (struct gather *)(void *)task;

    agent_watch(agent, &self->watch, visit_fd(self->visit));
    if (self->kind->begin && !self->kind->begin(self, agent)) {
        end(self, agent, true);
        return;
    }
    /* One may end before agent_ask returns, and the last must not free what goes on here. */
    self->is_asking = true;
    for (size_t i = 0; i < self->count && !self->is_unwanted; i++)
        ask(self, agent, &self->piece[i]);
    self->is_asking = false;
    if (self->asked != 1)            /* the visit has paid for one, and gets it back for none */
        rates_charge(self->gateway->rates, self->piece[0].ask.visitor, clock_ms(),
                     (int64_t)self->asked - 1);
    settle(self, agent);
}

struct gather *gather_create(struct gateway *gateway, struct visit *visit,
                             const struct gather_kind *kind, size_t count, int deadline_ms)
{
    struct gather *self = calloc(1, sizeof *self + count * sizeof self->piece[0]);

    if (!self)
        return NULL;
    self->task.run = run;
    self->watch.gone = on_gone;
    self->kind = kind;
    self->gateway = gateway;
    self->visit = visit;
    self->end_ms = clock_ms() + deadline_ms;
    self->count = self->left = count;
    for (size_t i = 0; i < count; i++) {
        struct ask *each = &self->piece[i].ask;

        each->kind = ASK_RENDER;
        each->priority = SEEDPRESS_NORMAL;
        each->done = on_done;
        memcpy(each->visitor, visit_visitor(visit), sizeof each->visitor);
        self->piece[i].gather = self;
    }
    return self;
}

void gather_destroy(struct gather *self)
{
    free(self->arg);
    free(self);
}

void gather_start(struct gather *take)
{
    if (!gateway_post(take->gateway, take->visit, &take->task))
        gather_destroy(take);
}
