/* seedpress-broker: reads settings, builds the objects, runs the loop, tears down. */
#include "base/clock.h"
#include "base/link.h"
#include "base/log.h"
#include "base/settings.h"
#include "base/stop.h"
#include "broker/broker.h"
#include "broker/scribe.h"
#include "proto/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum setting_row { LISTEN, WORKER_LISTEN, LEDGER, LOOKUP, GRACE, SILENCE, STALL, DRAIN, WAITERS,
                   CLIENT_WAITERS, OUTBOX, ATTEMPTS };

static const struct setting SETTINGS[] = {
    [LISTEN] = { "listen", SETTING_TEXT, 0, 200, 0, "tcp://127.0.0.1:7701",
                 "endpoint for clients; loopback or ipc" },
    [WORKER_LISTEN] = { "worker_listen", SETTING_TEXT, 0, 200, 0, "tcp://127.0.0.1:7702",
                        "endpoint for workers; loopback or ipc" },
    [LEDGER] = { "ledger", SETTING_SECRET, 0, 1000, 0, "dbname=seedpress",
                 "PostgreSQL, as libpq's connection string; none: for measuring with dummy workers" },
    [LOOKUP] = { "lookup_ms", SETTING_INT, 0, 10000, 20, "",
                 "how long a render waits for the ledger's look-up" },
    [GRACE] = { "grace_ms", SETTING_INT, 0, 600000, 5000, "",
                "how long a request waits for any worker that has its model" },
    [SILENCE] = { "silence_ms", SETTING_INT, 100, 600000, 3000, "",
                  "a worker not heard for this long is lost" },
    [STALL] = { "stall_ms", SETTING_INT, 100, 3600000, 30000, "",
                "a worker with no progress for this long is hung, until a batch was measured" },
    [DRAIN] = { "drain_ms", SETTING_INT, 0, 600000, 20000, "",
                "how long SIGTERM waits for what has started" },
    [WAITERS] = { "waiters_max", SETTING_INT, 1, 10000000, 100000, "",
                  "pictures waited for, in all" },
    [CLIENT_WAITERS] = { "client_waiters_max", SETTING_INT, 1, 10000000, 10000, "",
                         "pictures one client waits for" },
    [OUTBOX] = { "outbox_bytes", SETTING_INT, 1 << 20, 1 << 30, 64 << 20, "",
                 "replies kept for a client that does not read" },
    [ATTEMPTS] = { "attempts_max", SETTING_INT, 1, 100, 3, "",
                   "tries of a render before it counts as poison" },
};
enum { ROWS = sizeof SETTINGS / sizeof SETTINGS[0], TURN_MAX = 32 };

static struct broker_options options_of(const struct settings *s)
{
    struct broker_options o = BROKER_OPTIONS_DEFAULT;

    o.lookup_ms = settings_int(s, LOOKUP);
    o.grace_ms = settings_int(s, GRACE);
    o.silence_ms = settings_int(s, SILENCE);
    o.stall_ms = settings_int(s, STALL);
    o.drain_ms = settings_int(s, DRAIN);
    o.waiters_max = (size_t)settings_int(s, WAITERS);
    o.client_waiters_max = (size_t)settings_int(s, CLIENT_WAITERS);
    o.outbox_max = (size_t)settings_int(s, OUTBOX);
    /* Milliseconds modulo 2^33 (99 days), room for a million leases in each: below 2^53. */
    o.first_lease = (clock_wall_ms() & ((INT64_C(1) << 33) - 1)) << 20;
    o.attempts_max = (int)settings_int(s, ATTEMPTS);
    o.without_ledger = strcmp(settings_text(s, LEDGER), "none") == 0;
    return o;
}

/* Every connection is a descriptor, and libzmq spins when it runs out of them. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void loop(struct broker *broker, struct link *clients, struct link *workers,
                 struct scribe *scribe, int stop_fd)
{
    struct link_wait waits[] = { { .link = clients }, { .link = workers },
                                 { .fd = scribe_fd(scribe) }, { .fd = stop_fd } };
    struct parcel parcel;
    int64_t wake_ms = 0;             /* already past: do not wait */
    int64_t now_ms = clock_ms();

    while (!broker_is_drained(broker, now_ms)) {
        link_poll(waits, sizeof waits / sizeof waits[0], wake_ms);
        now_ms = clock_ms();         /* the one clock read of this turn */
        for (int i = 0; i < TURN_MAX && link_receive(workers, &parcel); i++)
            broker_on_worker(broker, now_ms, &parcel);
        for (int i = 0; i < TURN_MAX && link_receive(clients, &parcel); i++)
            broker_on_client(broker, now_ms, &parcel);
        if (stop_is_asked(stop_fd)) {
            log_event(LOG_INFO, "broker_drain", "reason=signal");
            broker_drain(broker, now_ms);
        }
        wake_ms = broker_tick(broker, now_ms);
    }
}

static enum err_code serve(const struct settings *s, struct err *e)
{
    struct broker_options options = options_of(s);
    struct link_options client_side = { .kind = LINK_ROUTER, .send_hwm = 8,
                                        .frame_max = MESSAGE_MAP_MAX, .linger_ms = 2000 };
    struct link_options worker_side = { .kind = LINK_ROUTER, .frame_max = MESSAGE_IMAGE_MAX,
                                        .linger_ms = 500 };
    struct link_context *context = NULL;
    struct link *clients = NULL, *workers = NULL;
    struct scribe *scribe = NULL;
    struct broker *broker = NULL;
    int stop_fd = stop_open();
    enum err_code rc;

    raise_descriptors();
    if (stop_fd < 0)
        return err_set(e, ERR_NOMEM, "no file descriptor for signals");
    if ((rc = link_context_create(&context, e)) ||
        (rc = link_create(context, &client_side, &clients, e)) ||
        (rc = link_create(context, &worker_side, &workers, e)) ||
        (rc = link_bind(clients, settings_text(s, LISTEN), e)) ||
        (rc = link_bind(workers, settings_text(s, WORKER_LISTEN), e)) ||
        (rc = scribe_create(options.without_ledger ? NULL : settings_text(s, LEDGER), &scribe,
                            e)) ||
        (rc = broker_create(&options, clients, workers, scribe, clock_ms(), &broker, e)))
        goto done;
    log_event(LOG_INFO, "broker_ready", "version=%s clients=%s workers=%s", SEEDPRESS_VERSION,
              link_endpoint(clients), link_endpoint(workers));
    if (options.without_ledger)
        log_event(LOG_WARN, "no_ledger", "hint=\"nothing is stored or can be proved: for measuring "
                                         "with dummy workers only\"");
    loop(broker, clients, workers, scribe, stop_fd);
    log_event(LOG_INFO, "broker_end", "reason=drained");
done:
    broker_destroy(&broker);
    scribe_destroy(&scribe);
    link_destroy(&workers);
    link_destroy(&clients);
    link_context_destroy(&context);
    return rc;
}

int main(int argc, char **argv)
{
    return settings_main(SETTINGS, ROWS, "seedpress-broker", argc, argv, serve);
}
