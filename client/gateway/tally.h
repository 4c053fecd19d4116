/* tally -- what the gateway counts: the rows of its table of metrics. */
#ifndef GATEWAY_TALLY_H
#define GATEWAY_TALLY_H

#include "base/metrics.h"

#include <stddef.h>

enum tally_row { TALLY_REQUESTS, TALLY_ANSWERS, TALLY_ALBUM, TALLY_NOT_MODIFIED, TALLY_ASKED,
                 TALLY_JOINED, TALLY_CANCELLED, TALLY_SHARED, TALLY_LIMITED, TALLY_VISITORS,
                 TALLY_WAITING, TALLY_ALBUM_BYTES, TALLY_ASK_SECONDS, TALLY_ROWS };
enum { TALLY_ROUTES_MAX = 32 };
/* Series of TALLY_ALBUM and TALLY_ASKED. */
enum tally_album { TALLY_HIT, TALLY_STALE, TALLY_MISS };
enum tally_asked { TALLY_RENDER, TALLY_STORED, TALLY_CHECK };

extern const struct metric TALLY[TALLY_ROWS];

/* The series of TALLY_ANSWERS for a status. */
size_t tally_status(unsigned status);

#endif
