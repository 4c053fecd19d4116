/* contact -- what the commands that speak to a broker share. */
#ifndef CLIENT_CONTACT_H
#define CLIENT_CONTACT_H

#include "client/command.h"
#include "client/seedpress.h"

/* A handle whose broker has just answered. Gives the exit code after saying what is wrong; *out is
 * then NULL. */
int contact_open(const struct command_context *ctx, struct seedpress **out);

/* Says error on stderr and gives its exit code. */
int contact_fail(const struct command_context *ctx, const struct seedpress_error *error);

/* The bulk job of that number or, of digits that are none or other words, of that name. Its own
 * refusals: NOT_FOUND, CONFLICT (several clients have one of that name). */
enum seedpress_code contact_find_job(struct seedpress *sp, const char *word,
                                     struct seedpress_job *out, struct seedpress_error *error);

/* "avatars64@7ab672d3", or the digits alone where no name is bound. */
struct contact_model {
    char text[80];
};
struct contact_model contact_model_of(const char *name, const char *digest);

/* psi as it is written everywhere: "0.7". */
struct contact_psi {
    char text[24];
};
struct contact_psi contact_psi_of(double psi);

/* Waits, at most until a signal comes. */
void contact_pause(int64_t wait_ms);

#endif
