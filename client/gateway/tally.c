#include "client/gateway/tally.h"

#include <stdio.h>
#include <string.h>

/* The last one stands for all others. */
static const char *const STATUSES[] = { "200", "204", "303", "304", "307", "308", "400", "403",
                                        "404", "405", "409", "410", "413", "422", "429", "500",
                                        "502", "503", "504", "other" };
static const char *const ALBUM[] = { "hit", "stale", "miss" };
static const char *const ASKED[] = { "render", "stored", "check" };
static const int64_t SECONDS[] = { 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000 };

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

const struct metric TALLY[TALLY_ROWS] = {
    [TALLY_REQUESTS] = { "seedpress_gateway_requests_total", METRIC_COUNTER,
                         .label = { "route" }, .series = TALLY_ROUTES_MAX + 1,
                         .help = "Requests, by the route that took them." },
    [TALLY_ANSWERS] = { "seedpress_gateway_answers_total", METRIC_COUNTER, .label = { "status" },
                        .words = STATUSES, .series = COUNT(STATUSES),
                        .help = "Answers, by HTTP status." },
    [TALLY_ALBUM] = { "seedpress_gateway_album_total", METRIC_COUNTER, .label = { "found" },
                      .words = ALBUM, .series = COUNT(ALBUM),
                      .help = "Pictures looked for in memory: there, there but to be checked, not "
                              "there." },
    [TALLY_NOT_MODIFIED] = { "seedpress_gateway_not_modified_total", METRIC_COUNTER,
                             .help = "Answers 304: the visitor has the picture." },
    [TALLY_ASKED] = { "seedpress_gateway_asked_total", METRIC_COUNTER, .label = { "what" },
                      .words = ASKED, .series = COUNT(ASKED),
                      .help = "Questions to the broker: for a picture that may be rendered, for a "
                              "stored one, whether one is still stored." },
    [TALLY_JOINED] = { "seedpress_gateway_joined_total", METRIC_COUNTER,
                       .help = "Questions that shared another one's answer." },
    [TALLY_CANCELLED] = { "seedpress_gateway_cancelled_total", METRIC_COUNTER,
                          .help = "Questions taken back, as everybody who had asked has gone." },
    [TALLY_SHARED] = { "seedpress_gateway_shared_total", METRIC_COUNTER,
                       .help = "Answers of random.jpg with a picture of others, as a new one would "
                               "have been too late." },
    [TALLY_LIMITED] = { "seedpress_gateway_limited_total", METRIC_COUNTER,
                        .help = "Answers 429: visitors beyond visitor_rate." },
    [TALLY_VISITORS] = { "seedpress_gateway_visitors", METRIC_GAUGE,
                         .help = "Visitors whose rate is remembered." },
    [TALLY_WAITING] = { "seedpress_gateway_waiting", METRIC_GAUGE,
                        .help = "Questions that the broker has not answered yet." },
    [TALLY_ALBUM_BYTES] = { "seedpress_gateway_album_bytes", METRIC_GAUGE,
                            .help = "Of pictures in memory." },
    [TALLY_ASK_SECONDS] = { "seedpress_gateway_ask_seconds", METRIC_HISTOGRAM, .per = 1000,
                               .label = { "what" }, .words = ASKED, .series = COUNT(ASKED),
                               .bounds = SECONDS, .bound_count = COUNT(SECONDS),
                               .help = "From a question to the broker's answer." },
};

size_t tally_status(unsigned status)
{
    char text[8];
    size_t i = 0;

    snprintf(text, sizeof text, "%u", status % 1000);
    while (i + 1 < COUNT(STATUSES) && strcmp(STATUSES[i], text) != 0)
        i++;
    return i;
}
