/* origin_report -- what an origin says, as the objects that `seedpress provenance --json`
 * prints. */
#ifndef CLIENT_ORIGIN_REPORT_H
#define CLIENT_ORIGIN_REPORT_H

#include "client/origin.h"

#include <stddef.h>

/* Objects that an origin gives: one for each match, and one that says "no record" for none. */
size_t origin_report_count(const struct origin *origin);
/* index < origin_report_count. The caller's to print or delete. NULL: no memory. */
struct cJSON *origin_report_object(const struct origin *origin, size_t index);

#endif
