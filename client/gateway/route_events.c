/* GET /v1/cats/events: server-sent events of a page's pictures, each as it is there. Who closes the
 * connection cancels what is left. */
#include "base/clock.h"
#include "client/gateway/gather.h"
#include "client/gateway/routes.h"
#include "client/gateway/series.h"
#include "client/gateway/stream.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A hundred events of the longest kind fit, so that a reader who is slow loses none. */
enum { DEADLINE_MS = 60000, KEEP_ALIVE_MS = 15000, EVENT_MAX = 2048,
       STREAM_BYTES_MAX = 100 * EVENT_MAX };

struct watcher {
    struct agent_alarm alarm;       /* for the next sign of life */
    struct stream *stream;
    size_t failed;
};

/* False: nobody reads it. */
static bool say(struct watcher *watcher, const char *event, struct cJSON *data)
{
    char *text = data ? cJSON_PrintUnformatted(data) : NULL;
    char block[EVENT_MAX];
    int len = snprintf(block, sizeof block, "event: %s\ndata: %s\n\n", event, text ? text : "{}");

    free(text);
    cJSON_Delete(data);
    return len > 0 && (size_t)len < sizeof block &&
           stream_write(watcher->stream, block, (size_t)len);
}

static void ring(struct agent_alarm *alarm, struct agent *agent)
{
    static const char LIFE[] = ": still here\n\n";
    struct watcher *watcher = (struct watcher *)(void *)alarm;

    stream_write(watcher->stream, LIFE, sizeof LIFE - 1);
    alarm->at_ms = clock_ms() + KEEP_ALIVE_MS;
    agent_set_alarm(agent, alarm);
}

static void answer(struct visit *visit, struct response *response)
{
    response_header(response, "Cache-Control", "no-store");
    response_header(response, "X-Accel-Buffering", "no");   /* nginx: pass each on as it comes */
    visit_answer(visit, response);
}

static bool begin(struct gather *gather, struct agent *agent)
{
    struct watcher *watcher = gather->arg;

    watcher->stream = stream_create(STREAM_BYTES_MAX);
    answer(gather->visit, watcher->stream ? response_stream("text/event-stream", watcher->stream)
                                          : NULL);
    if (!watcher->stream)
        return false;
    watcher->alarm.ring = ring;
    watcher->alarm.at_ms = clock_ms() + KEEP_ALIVE_MS;
    agent_set_alarm(agent, &watcher->alarm);
    return true;
}

static bool each(struct gather *gather, const struct gather_piece *piece)
{
    struct watcher *watcher = gather->arg;
    struct cJSON *data = cJSON_CreateObject();
    char url[PERMALINK_MAX];

    cJSON_AddNumberToObject(data, "seed", piece->ask.what.key.seed);
    if (piece->error.code) {
        watcher->failed++;
        cJSON_AddStringToObject(data, "code", piece->error.word);
        cJSON_AddStringToObject(data, "message", piece->error.message);
        return say(watcher, "failed", data);
    }
    permalink_write(&piece->ask.what, url);
    cJSON_AddStringToObject(data, "url", url);
    return say(watcher, "picture", data);
}

/* The visit was answered with the stream, which ends now. */
static void end(struct gather *gather, struct agent *agent, bool is_gone)
{
    struct watcher *watcher = gather->arg;
    struct cJSON *data;

    if (!watcher->stream)
        return;
    agent_clear_alarm(agent, &watcher->alarm);
    if (!is_gone) {
        data = cJSON_CreateObject();
        cJSON_AddNumberToObject(data, "count", (double)gather->count);
        cJSON_AddNumberToObject(data, "failed", (double)watcher->failed);
        say(watcher, "done", data);
    }
    stream_end(watcher->stream);
}

static const struct gather_kind EVENTS = { .begin = begin, .each = each, .end = end };

void route_events(struct gateway *gateway, struct visit *visit)
{
    struct gather *gather;
    struct series series;
    struct err e;

    if (series_read(gateway, visit_url(visit), &series, &e)) {
        visit_refuse(visit, &e);
        return;
    }
    if (visit_is_head(visit)) {      /* what nobody reads is not rendered */
        answer(visit, response_stream_head("text/event-stream"));
        return;
    }
    if (!gateway_admit(gateway, visit))
        return;
    gather = gather_create(gateway, visit, &EVENTS, (size_t)series.count, DEADLINE_MS);
    if (gather)
        gather->arg = calloc(1, sizeof(struct watcher));
    if (!gather || !gather->arg) {
        if (gather)
            gather_destroy(gather);
        err_set(&e, ERR_NOMEM, "no memory for %d pictures", series.count);
        visit_refuse(visit, &e);
        return;
    }
    for (int i = 0; i < series.count; i++) {
        gather->piece[i].ask.what = series.first;
        gather->piece[i].ask.what.key.seed += (uint32_t)i;
    }
    gather_start(gather);
}
