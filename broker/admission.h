/* admission -- says when a picture would be done, and so whether it is worth waiting for; and what
 * the bounds leave room for. Who is refused is told at once, with the figures and with when to ask
 * again. While nothing is measured, nobody is refused for time. */
#ifndef BROKER_ADMISSION_H
#define BROKER_ADMISSION_H

#include "broker/queue.h"
#include "broker/roster.h"

/* When a picture would be done that were queued now, in microseconds from now. */
struct forecast {
    bool is_known;                  /* else the rest is 0 */
    int64_t alone_us;               /* if nobody else wanted anything */
    int64_t total_us;               /* with all that is ahead of it */
};
struct forecast admission_forecast(const struct roster *roster, const struct queue *queue,
                                   const struct account *account,
                                   const struct model_entry *model, int level, int64_t now_ms);
/* ERR_DEADLINE: left_ms is not enough for the picture alone. ERR_OVERLOADED: it would be but for
 * what is ahead; e->retry_after_ms says when it would fit. */
enum err_code admission_judge(const struct forecast *forecast, int64_t left_ms, struct err *e);
/* Whether the worker can make a picture within left_ms, alone. True while nothing is measured. */
bool admission_fits(const struct roster *roster, const struct worker *worker,
                    const struct model_entry *model, int64_t left_ms, int64_t now_ms);

/* A bound and what stands against it now: "<what> <have> <unit>, and <setting> is <most>". */
struct bound {
    const char *what, *unit, *setting;
    size_t have, more, most;        /* more: what is asked for */
};
/* The first of bounds[0..count) that more does not fit under: ERR_OVERLOADED. queue and roster say
 * when to ask again. */
enum err_code admission_check(const struct bound *bounds, size_t count, const struct queue *queue,
                              const struct roster *roster, struct err *e);

#endif
