/* finder -- answers which stored pictures look like a query. It holds the perceptual hashes of the
 * ledger in memory (base/likeness_index.h), reads them when it is first asked and what is new
 * before each answer, all on a scribe's thread of its own: the loop never waits, and other look-ups
 * do not wait behind a search. */
#ifndef BROKER_FINDER_H
#define BROKER_FINDER_H

#include "broker/scribe.h"
#include "proto/message.h"

#include <stddef.h>
#include <stdint.h>

struct finder;

/* bytes: of the index, taken as it fills. When it is full the newest pictures are the ones that are
 * found. ERR_NOMEM. */
enum err_code finder_create(size_t bytes, struct finder **out, struct err *e);
/* Nothing asked may be under way. */
void finder_destroy(struct finder **self);

/* An errand for the thread that the finder belongs to: pictures like the hashes of a `lookup`, at
 * most limit, likeliest first, each row with its distance; finder_rows has them when it is
 * answered. ERR_INVALID: like is not whole windows of 32 hex digits; ERR_NOMEM. Answered with
 * ERR_OVERLOADED when the hashes were not all read in time: each question reads on, so asking again
 * helps. */
enum err_code finder_ask(struct finder *self, struct text like, size_t limit, struct errand **out,
                         struct err *e);
/* Gives the rows of an answered errand away. */
struct ledger_rows finder_rows(struct errand *errand);

#endif
