#include "client/handle.h"

#include "base/clock.h"
#include "client/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- entering and leaving ---- */

void handle_enter(struct seedpress *self)
{
    frame_release(&self->lent_file);
    free(self->lent_list);
    self->lent_list = NULL;
}

enum seedpress_code handle_leave(struct seedpress *self, enum seedpress_code code)
{
    exchange_arm(self->exchange, clock_ms());
    return code;
}

enum seedpress_code handle_report(const struct err *e, struct seedpress_error *error)
{
    answer_own_error(e, error);
    return (enum seedpress_code)e->code;
}

enum seedpress_code handle_refuse(struct seedpress_error *error, enum err_code code,
                                  const char *fmt, ...)
{
    struct err e = { .code = code };
    va_list args;

    va_start(args, fmt);
    vsnprintf(e.msg, sizeof e.msg, fmt, args);
    va_end(args);
    return handle_report(&e, error);
}

enum seedpress_code handle_succeed(struct seedpress_error *error)
{
    if (error)
        *error = (struct seedpress_error){ .code = SEEDPRESS_OK, .word = "ok",
                                           .http_status = err_info(ERR_OK)->http_status };
    return SEEDPRESS_OK;
}

/* ---- replies ---- */

static enum seedpress_code fill_unreachable(const struct seedpress *self, const struct request *r,
                                            struct seedpress_error *error)
{
    int64_t tenths = (r->ended_ms - r->asked_ms + 50) / 100;
    char seconds[32];

    if (tenths % 10)
        snprintf(seconds, sizeof seconds, "%d.%d", (int)(tenths / 10), (int)(tenths % 10));
    else
        snprintf(seconds, sizeof seconds, "%d", (int)(tenths / 10));
    return handle_refuse(error, ERR_UNREACHABLE, "no broker answered at %.100s within %s s; is "
                                                 "seedpress-broker running?",
                         exchange_brokers(self->exchange), seconds);
}

static enum seedpress_code fill_refusal(const struct message *m, struct seedpress_error *error)
{
    struct seedpress_error words;

    answer_error(&m->error, &words);
    if (error)
        *error = words;
    return (enum seedpress_code)words.code;
}

enum seedpress_code handle_read_reply(const struct seedpress *self, const struct reply *reply,
                                      struct message *m, struct seedpress_error *error)
{
    struct err e;

    *m = (struct message){ .zone = NULL };
    if (reply->state == REPLY_FAILED)
        return reply->code == ERR_UNREACHABLE
                   ? fill_unreachable(self, reply->request, error)
                   : handle_refuse(error, reply->code, "%s", reply->words);
    /* It was decoded when it came, so only memory can be missing now. */
    if (message_decode(frame_data(&reply->map), frame_len(&reply->map), MESSAGE_FROM_BROKER, m, &e))
        return handle_report(&e, error);
    return reply->state == REPLY_REFUSED ? fill_refusal(m, error) : handle_succeed(error);
}

void handle_wait(struct seedpress *self, const struct request *request)
{
    for (;;) {
        exchange_work(self->exchange, clock_ms());
        if (request->waiting == 0)
            return;
        exchange_sleep(self->exchange, INT64_MAX);
    }
}

/* ---- one question, one answer ---- */

void handle_talk_release(struct talk *talk)
{
    message_release(&talk->answer);
    request_destroy(&talk->request);
}

enum seedpress_code handle_talk(struct seedpress *self, const struct message *ask, int timeout_ms,
                                enum message_type type, struct talk *talk,
                                struct seedpress_error *error)
{
    enum seedpress_code code;
    struct err e;

    *talk = (struct talk){ .request = NULL };
    if (exchange_ask(self->exchange, ask, timeout_ms, true, clock_ms(), &talk->request, &e))
        return handle_report(&e, error);
    handle_wait(self, talk->request);
    code = handle_read_reply(self, &talk->request->replies[0], &talk->answer, error);
    if (!code && talk->answer.type != type)
        code = handle_refuse(error, ERR_BUG, "the broker answered \"%s\" to \"%s\"",
                             message_word(talk->answer.type), message_word(ask->type));
    return code;
}

bool handle_take_list(struct seedpress *self, size_t count, size_t size,
                      struct seedpress_error *error)
{
    self->lent_list = calloc(count ? count : 1, size);
    if (!self->lent_list)
        handle_refuse(error, ERR_NOMEM, "no memory for an answer of %zu items", count);
    return self->lent_list != NULL;
}
