/* report -- a broker's status for people and programs: a page, one line, or an object. Rates come
 * from the report before. */
#ifndef CLIENT_REPORT_H
#define CLIENT_REPORT_H

#include "client/seedpress.h"

#include <stdio.h>

/* What the next report is compared with. All zero: nothing yet, and so no rates. */
struct report {
    int64_t uptime_ms, submitted, answered, failed;
    struct report_worker {
        char worker[128];
        int64_t rendered;
    } *workers;                     /* [worker_count] */
    size_t worker_count;
};
/* Keeps what is needed of status. Without memory the next one has no rates of workers. */
void report_keep(struct report *self, const struct seedpress_status *status);
void report_release(struct report *self);           /* leaves it zero */

/* before: the report before, or one that is all zero. */
void report_page(FILE *out, const char *broker, const struct seedpress_status *status,
                 const struct report *before);
void report_line(FILE *out, const struct seedpress_status *status, const struct report *before);
/* One line on standard output. */
void report_json(const struct seedpress_status *status, const struct report *before);

#endif
