/* handle -- what the public calls have in common: entering and leaving a handle of libseedpress,
 * failing in words, and asking a broker one thing. */
#ifndef CLIENT_HANDLE_H
#define CLIENT_HANDLE_H

#include "client/exchange.h"
#include "client/seedpress.h"

struct seedpress {
    struct exchange *exchange;
    int answer_ms;
    struct frame lent_file;         /* until the next call */
    void *lent_list;
};

/* Every public call begins and ends with these. What the last call lent comes back. */
void handle_enter(struct seedpress *self);
enum seedpress_code handle_leave(struct seedpress *self, enum seedpress_code code);

/* What a call returns, with its words in error (NULL: nobody wants them). */
enum seedpress_code handle_report(const struct err *e, struct seedpress_error *error);
enum seedpress_code handle_refuse(struct seedpress_error *error, enum err_code code,
                                  const char *fmt, ...) __attribute__((format(printf, 3, 4)));
enum seedpress_code handle_succeed(struct seedpress_error *error);

/* Decodes a reply that has ended into *m, which borrows from it and is to be released. What is not
 * SEEDPRESS_OK is the reply's error. */
enum seedpress_code handle_read_reply(const struct seedpress *self, const struct reply *reply,
                                      struct message *m, struct seedpress_error *error);
/* Until all that request asks for has ended. */
void handle_wait(struct seedpress *self, const struct request *request);

/* One question, one answer. */
struct talk {
    struct request *request;
    struct message answer;          /* borrows from request */
};
/* Asks and waits. SEEDPRESS_OK: talk->answer is of that type. Release talk in any case. */
enum seedpress_code handle_talk(struct seedpress *self, const struct message *ask, int timeout_ms,
                                enum message_type type, struct talk *talk,
                                struct seedpress_error *error);
void handle_talk_release(struct talk *talk);

/* Room for a list to lend, zeroed; never NULL when it gives true. */
bool handle_take_list(struct seedpress *self, size_t count, size_t size,
                      struct seedpress_error *error);

#endif
