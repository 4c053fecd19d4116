/* traffic -- the requests of a benchmark: sends them over several connections, when their moment
 * has come, and measures the answers.
 *
 * Closed loop (rate 0): each of connections * window places asks again as soon as it is answered.
 * Open loop: requests come at random moments, rate a second on average, whatever the broker does.
 * A duration counts from the moment at which a request was meant to be sent, so that requests that
 * pile up before a broker that stands still are measured as long as a user would wait for them. */
#ifndef CLIENT_TRAFFIC_H
#define CLIENT_TRAFFIC_H

#include "base/link.h"
#include "client/histogram.h"
#include "client/load.h"
#include "proto/err.h"
#include "proto/message.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    TRAFFIC_CONNECTIONS_MAX = 48,
    TRAFFIC_WINDOW_MAX = 10000,     /* of each connection */
    TRAFFIC_FLIGHT_MAX = 100000,    /* requests under way in an open loop */
};

struct traffic_tally {
    /* Pictures of the measured time: those whose answers came in it (closed loop), or that were
     * meant to be asked in it (open loop). */
    int64_t ok, failed[ERR_COUNT];  /* by code */
    int64_t unanswered;             /* nothing until a second behind the deadline */
    int64_t unsent;                 /* open loop: too many were under way */
    int64_t damaged;                /* verify: not what was asked, or not its hash */
    int64_t bytes;                  /* of pictures */
    int64_t source[3];              /* by enum message_source */
    struct histogram latency[MESSAGE_PRIORITY_COUNT];       /* of those that are ok */
    int64_t measured_us;
    /* Since the start, with warm-up and what came after the end. */
    int64_t all_asked, all_ended;
    size_t request_bytes;           /* of one request's map */
    struct err first;               /* failure or damage; code 0: none */
};

struct traffic_options {
    const char *brokers;            /* endpoints with commas between; connections take turns */
    const struct link_curve *curve; /* NULL: no encryption. All three are borrowed */
    const char *model;
    int connections, window;
    struct load_options load;       /* rate 0: closed loop */
    int64_t warmup_us, measured_us;
    int64_t pause_us;               /* closed loop: between an answer and the next request */
    int64_t deadline_ms;
    int page;                       /* seeds of one request; 1: a request for one picture */
    enum message_want want;
    enum message_cache cache;
    bool verify;                    /* check hashes, recipes and seeds */
    const volatile sig_atomic_t *interrupted;       /* or NULL */
    /* Called about every two seconds; NULL: not. */
    void (*on_progress)(void *arg, const struct traffic_tally *tally);
    void *arg;
};

/* Asks for one picture first: what is wrong with the model or the connection is the error of the
 * call, in the broker's own words; ERR_UNREACHABLE when nobody answers. An interruption ends the
 * measured time; the tally says how long it was. */
enum err_code traffic_run(const struct traffic_options *options, struct traffic_tally *out,
                          struct err *e);

#endif
