/* upkeep -- what the words after `seedpress ledger` share: the database by hand, a model by its
 * name there, how far a walk is. Each word is a file cmd_ledger_<word>.c and a row in WORDS[]
 * of cmd_ledger.c. */
#ifndef CLIENT_UPKEEP_H
#define CLIENT_UPKEEP_H

#include "client/command.h"
#include "client/progress.h"
#include "proto/digest.h"
#include "sql/ledger.h"

/* argv[0] is "ledger", for words about the command line. */
command_run cmd_ledger_check_run, cmd_ledger_prune_run, cmd_ledger_refill_run;

/* The ledger under conninfo, NULL: of $SEEDPRESS_LEDGER, with its files in that folder of segments,
 * NULL: it has none. Gives the exit code after saying what is wrong; *out is then NULL. */
int upkeep_open(const struct command_context *ctx, const char *conninfo, const char *segments,
                struct ledger **out);

/* "cats", "cats@1a2b3c4d" or the first digits of a digest. ERR_UNKNOWN_MODEL, ERR_CONFLICT (digits
 * of several), and the ledger's. */
enum err_code upkeep_model(struct ledger *ledger, const char *text, struct digest *out,
                           struct err *e);

/* 64 hex digits of option's value. ERR_INVALID. */
enum err_code upkeep_read_key(const char *option, const char *text, struct digest *out,
                              struct err *e);

/* Where a walk in the order of keys is: keys are evenly spread, so how far the last one is tells
 * how many there are. Counts what is done from first on. */
void upkeep_show(struct progress *progress, const struct digest *first, const struct digest *at,
                 int64_t done);

#endif
