/* seedpress-gateway: reads settings, builds the objects, waits for the end, tears down. */
#include "base/clock.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/settings.h"
#include "base/stop.h"
#include "client/gateway/gateway.h"
#include "client/gateway/routes.h"
#include "client/gateway/tally.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum setting_row { LISTEN, BROKERS, KEY_FILE, BROKER_KEY, ALLOW_PLAIN, THREADS, DEADLINE, ALBUM,
                   FRESH, PSI, IMMUTABLE, CORS, TRUST_PROXY, CONNECTIONS, ADDRESS, IDLE, QUEUE,
                   BODY, BODIES, PROOFS, SITES, DRAIN, SEED_KEY, VISITOR_RATE, VISITOR_BURST };

static const struct setting SETTINGS[] = {
    [LISTEN] = { "listen", SETTING_TEXT, 0, 60, 0, "127.0.0.1:7780", "address and port for HTTP" },
    [BROKERS] = { "broker", SETTING_TEXT, 0, 1000, 0, SEEDPRESS_DEFAULT_BROKER,
                  "endpoints of brokers, ',' between" },
    [KEY_FILE] = { "key_file", SETTING_TEXT, 0, 1000, 0, "",
                   "the gateway's key pair, with the role proxy at the broker" },
    [BROKER_KEY] = { "broker_key", SETTING_TEXT, 0, 1000, 0, "",
                     "the brokers' public key, or the path of its .pub file" },
    [ALLOW_PLAIN] = { "allow_plain", SETTING_INT, 0, 1, 0, "",
                      "1: reach brokers on other machines without encryption" },
    [THREADS] = { "threads", SETTING_INT, 1, 64, 2, "", "threads that serve HTTP" },
    [DEADLINE] = { "deadline_ms", SETTING_INT, 100, 600000, 10000, "", "of a picture" },
    [ALBUM] = { "album_bytes", SETTING_INT, 0, INT64_C(1) << 40, 256 << 20, "",
                "recent pictures kept in memory; 0: none" },
    [FRESH] = { "fresh_ms", SETTING_INT, 0, 3600000, 5000, "",
                "how long one is trusted before the broker is asked whether it is withdrawn" },
    [PSI] = { "psi", SETTING_TEXT, 0, 8, 0, "steps",
              "steps: others are sent on to the nearest step of 0.05; any: every psi is rendered" },
    [IMMUTABLE] = { "immutable", SETTING_INT, 0, 1, 0, "",
                    "1: caches never ask again, and no withdrawal reaches them" },
    [CORS] = { "cors", SETTING_TEXT, 0, 4000, 0, "",
               "origins whose pages may read answers, ',' between; *: all" },
    [TRUST_PROXY] = { "trust_proxy", SETTING_TEXT, 0, 1000, 0, "",
                      "addresses whose X-Forwarded-For counts: 127.0.0.1, 10.0.0.0/8" },
    [CONNECTIONS] = { "connections_max", SETTING_INT, 1, 1000000, 4096, "", "open connections" },
    [ADDRESS] = { "connections_address_max", SETTING_INT, 0, 1000000, 0, "",
                  "of them from one address; 0: no bound, as behind a proxy" },
    [IDLE] = { "idle_s", SETTING_INT, 1, 3600, 30, "",
               "a connection on which nothing moves for so long is closed" },
    [QUEUE] = { "waiting_max", SETTING_INT, 1, 1000000, 10000, "",
                "pictures that the broker is asked for at once; beyond it 503" },
    [BODY] = { "body_max_bytes", SETTING_INT, 1024, 1 << 30, 20 << 20, "", "a file that is sent" },
    [BODIES] = { "bodies_max_bytes", SETTING_INT, 1024, INT64_C(1) << 40, 200 << 20, "",
                 "all files that are being sent" },
    [PROOFS] = { "proof_threads", SETTING_INT, 1, 64, 2, "",
                 "files that are verified or graded at once; eight times as many may wait" },
    [SITES] = { "sites", SETTING_TEXT, 0, 1000, 0, "",
                "folder whose files are served at /; none: only /v1 is" },
    [DRAIN] = { "drain_ms", SETTING_INT, 0, 600000, 5000, "",
                "how long SIGTERM waits for what was asked" },
    [SEED_KEY] = { "seed_key_file", SETTING_TEXT, 0, 1000, 0, "",
                   "file of 16 random bytes or more: random.jpg goes on after a restart" },
    [VISITOR_RATE] = { "visitor_rate", SETTING_INT, 0, 1000000, 0, "",
                       "questions to the broker a second of one visitor; 0: any number" },
    [VISITOR_BURST] = { "visitor_burst", SETTING_INT, 1, 1000000, 200, "",
                        "that may come at once, with visitor_rate" },
};
enum { ROWS = sizeof SETTINGS / sizeof SETTINGS[0], WAIT_MS = 500, VISITORS_MAX = 65536,
       DRAWS_A_SECOND = 64, PROOFS_WAITING = 8, LOOK_UP_THREADS = 2, LOOK_UPS_WAITING = 256 };

static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

/* Of the texts, settings are the owner. */
static struct seedpress_options broker_of(const struct settings *s)
{
    return (struct seedpress_options){
        .brokers = settings_text(s, BROKERS), .key_file = or_null(settings_text(s, KEY_FILE)),
        .broker_key = or_null(settings_text(s, BROKER_KEY)),
        .allow_plain = settings_int(s, ALLOW_PLAIN) == 1, .unreachable_ms = 3000,
        .answer_ms = (int)settings_int(s, DEADLINE),
    };
}

static enum err_code server_of(const struct settings *s, struct gateway *gateway,
                               struct server_options *out, struct err *e)
{
    *out = (struct server_options){
        .listen = settings_text(s, LISTEN), .threads = (int)settings_int(s, THREADS),
        .connections_max = (int)settings_int(s, CONNECTIONS),
        .address_max = (int)settings_int(s, ADDRESS), .idle_s = (int)settings_int(s, IDLE),
        .body_max = (size_t)settings_int(s, BODY), .bodies_max = (size_t)settings_int(s, BODIES),
        .cors = settings_text(s, CORS), .routes = ROUTES, .route_count = ROUTE_COUNT,
        .gateway = gateway, .metrics = gateway->metrics,
    };
    return visitor_read_proxies(settings_text(s, TRUST_PROXY), &out->proxies, e);
}

/* Two descriptors a connection: its own, and the agent's copy while it waits. */
static void raise_limit(int64_t connections)
{
    const rlim_t wanted = (rlim_t)connections * 2 + 256;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        log_event(LOG_WARN, "few_descriptors", "limit=%lld wanted=%lld",
                  (long long)limit.rlim_cur, (long long)wanted);
}

static enum err_code check(const struct settings *s, struct err *e)
{
    const char *psi = settings_text(s, PSI);

    if (strcmp(psi, "steps") != 0 && strcmp(psi, "any") != 0)
        return err_set(e, ERR_INVALID, "psi is \"steps\" or \"any\", not \"%.20s\"", psi);
    return ERR_OK;
}

/* With a key of its own for each start, counting begins at 0. With the file's, at the number of
 * this moment: behind what an earlier start drew, unless that were more than 64 seeds a second from
 * its beginning to its end; 2^32 last two years. */
static enum err_code choose_seeds(const struct settings *s, struct gateway *g, struct err *e)
{
    const char *path = settings_text(s, SEED_KEY);
    struct digest key;
    enum err_code rc = *path ? permutation_read_key(path, &key, e) : permutation_draw_key(&key, e);

    if (rc)
        return rc;
    g->seeds = permutation_of(&key, 32);
    g->drawn = *path ? (uint32_t)(clock_wall_ms() * DRAWS_A_SECOND / 1000) : 0;
    return ERR_OK;
}

static enum err_code build_desks(const struct settings *s, struct gateway *g, struct err *e)
{
    struct desk_options proofs = { .broker = g->broker, .name = "proofs",
                                   .threads = (int)settings_int(s, PROOFS) };
    struct desk_options look_ups = { .broker = g->broker, .name = "look-ups",
                                     .threads = LOOK_UP_THREADS, .queue = LOOK_UPS_WAITING };
    enum err_code rc = ERR_OK;

    proofs.queue = (size_t)proofs.threads * PROOFS_WAITING;
    if (*settings_text(s, SITES))
        rc = site_create(settings_text(s, SITES), &g->site, e);
    if (!rc)
        rc = desk_create(&proofs, &g->proofs, e);
    return rc ? rc : desk_create(&look_ups, &g->look_ups, e);
}

static enum err_code build(const struct settings *s, struct gateway *g, struct err *e)
{
    struct album_options album = { .bytes_max = (size_t)settings_int(s, ALBUM),
                                   .fresh_ms = settings_int(s, FRESH), .make = route_picture_ready,
                                   .arg = g };
    struct agent_options agent = { .broker = g->broker,
                                   .tasks_max = (size_t)settings_int(s, QUEUE),
                                   .asks_max = (size_t)settings_int(s, QUEUE) };
    struct catalogue_options catalogue = { .broker = g->broker, .on_news = gallery_on_news };
    struct rates_options rates = { .rate = settings_int(s, VISITOR_RATE),
                                   .burst = settings_int(s, VISITOR_BURST),
                                   .visitors_max = VISITORS_MAX };
    struct server_options server;
    enum err_code rc;

    if ((rc = choose_seeds(s, g, e)) || (rc = metrics_create(TALLY, TALLY_ROWS, &g->metrics, e)) ||
        (rc = server_of(s, g, &server, e)) || (rc = server_create(&server, &g->server, e)))
        return rc;
    for (size_t i = 0; i <= ROUTE_COUNT; i++)
        metrics_name(g->metrics, TALLY_REQUESTS, i, i < ROUTE_COUNT ? ROUTES[i].name : "none",
                     NULL);
    album.metrics = agent.metrics = rates.metrics = g->metrics;
    if ((rc = album_create(&album, &g->album, e)) || (rc = gallery_create(&g->gallery, e)) ||
        (rc = rates_create(&rates, &g->rates, e)))
        return rc;
    agent.album = g->album;
    catalogue.arg = g->gallery;
    if ((rc = agent_create(&agent, &g->agent, e)) ||
        (rc = catalogue_create(&catalogue, &g->catalogue, e)) || (rc = build_desks(s, g, e)))
        return rc;
    return server_start(g->server, e);
}

/* Who waits is answered before the threads that would tell him end. */
static void tear_down(struct gateway *g, int drain_ms)
{
    int64_t end_ms = clock_ms() + drain_ms;

    if (g->server)
        server_quiesce(g->server);
    if (g->agent)
        agent_finish(g->agent, drain_ms);
    desk_finish(g->proofs, end_ms);
    desk_finish(g->look_ups, end_ms);
    server_destroy(&g->server);
    desk_destroy(&g->proofs);
    desk_destroy(&g->look_ups);
    site_destroy(&g->site);
    catalogue_destroy(&g->catalogue);
    agent_destroy(&g->agent);
    album_destroy(&g->album);
    gallery_destroy(&g->gallery);
    rates_destroy(&g->rates);
    metrics_destroy(&g->metrics);
}

static void wait_for_end(int stop_fd, struct notify *notify)
{
    struct pollfd fds = { .fd = stop_fd, .events = POLLIN };

    while (!stop_is_asked(stop_fd)) {
        int64_t now_ms = clock_ms(), wake_ms = notify_turn(notify, now_ms);
        int64_t wait_ms = wake_ms - now_ms < WAIT_MS ? wake_ms - now_ms : WAIT_MS;

        poll(&fds, 1, wait_ms > 0 ? (int)wait_ms : 0);
    }
}

static enum err_code serve(const struct settings *s, struct err *e)
{
    struct gateway g = { .broker = broker_of(s), .deadline_ms = (int)settings_int(s, DEADLINE),
                         .any_psi = strcmp(settings_text(s, PSI), "any") == 0,
                         .immutable = settings_int(s, IMMUTABLE) == 1 };
    int drain_ms = 0, stop_fd = stop_open();
    struct notify notify;
    enum err_code rc;

    if (stop_fd < 0)
        return err_set(e, ERR_NOMEM, "no file descriptor for signals");
    notify_init(&notify);
    raise_limit(settings_int(s, CONNECTIONS));
    rc = check(s, e);
    if (!rc && !(rc = build(s, &g, e))) {
        log_event(LOG_INFO, "gateway_ready", "version=%s listen=%s broker=%s", SEEDPRESS_VERSION,
                  server_endpoint(g.server), g.broker.brokers);
        notify_ready(&notify);
        wait_for_end(stop_fd, &notify);
        log_event(LOG_INFO, "gateway_drain", "reason=signal");
        notify_stopping(&notify);
        g.is_draining = true;
        drain_ms = (int)settings_int(s, DRAIN);
    }
    tear_down(&g, drain_ms);
    notify_release(&notify);
    close(stop_fd);
    if (!rc)
        log_event(LOG_INFO, "gateway_end", "reason=drained");
    return rc;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--routes") == 0) {
        routes_print(stdout);
        return 0;
    }
    return settings_main(SETTINGS, ROWS, "seedpress-gateway", argc, argv, serve);
}
