/* seedpress-broker: reads settings, builds the objects, runs the loop, tears down. */
#include "base/clock.h"
#include "base/guard.h"
#include "base/http.h"
#include "base/link.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/settings.h"
#include "base/stop.h"
#include "broker/broker.h"
#include "broker/bulk_work.h"
#include "broker/ports.h"
#include "broker/scribe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum setting_row { LISTEN, WORKER_LISTEN, LEDGER, LOOKUP, GRACE, SILENCE, STALL, DRAIN, WAITERS,
                   CLIENT_WAITERS, LEVEL_WAITERS, QUEUE_BYTES, CLIENT_BYTES, CLIENT_RATE,
                   CLIENT_BURST, AFFINITY, OUTBOX, OUTBOX_TOTAL, CACHE, ATTEMPTS, KEY_FILE,
                   KEYRING, ALLOW_PLAIN, IPC_MODE, HANDSHAKE, CONNECTIONS, ADDRESS, SUPERVISE,
                   METRICS, LIKENESS, BULK_LEASE_TIME, BULK_CHUNKS, SEGMENTS };

static const struct setting SETTINGS[] = {
    [LISTEN] = { "listen", SETTING_TEXT, 0, 200, 0, "tcp://127.0.0.1:7701",
                 "endpoint for clients; beyond loopback and ipc with keys" },
    [WORKER_LISTEN] = { "worker_listen", SETTING_TEXT, 0, 200, 0, "tcp://127.0.0.1:7702",
                        "endpoint for workers; beyond loopback and ipc with keys" },
    [LEDGER] = { "ledger", SETTING_SECRET, 0, 1000, 0, "dbname=seedpress",
                 "PostgreSQL, as libpq's connection string; none: only to measure, with dummies" },
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
    [OUTBOX_TOTAL] = { "outbox_total_bytes", SETTING_INT, 1 << 20, INT64_C(1) << 40, 512 << 20, "",
                       "the same for all clients together; the fullest is dropped first" },
    [CACHE] = { "cache_bytes", SETTING_INT, 0, INT64_C(1) << 40, 256 << 20, "",
                "recent pictures kept in memory; 0: none" },
    [ATTEMPTS] = { "attempts_max", SETTING_INT, 1, 100, 3, "",
                   "tries of a render before it counts as poison" },
    [KEY_FILE] = { "key_file", SETTING_TEXT, 0, 1000, 0, "",
                   "the broker's key pair (seedpress keygen); TCP is then encrypted" },
    [KEYRING] = { "keyring", SETTING_TEXT, 0, 1000, 0, "",
                  "file of keys and roles that may enter; read again on SIGHUP" },
    [ALLOW_PLAIN] = { "allow_plain", SETTING_INT, 0, 1, 0, "",
                      "1: serve TCP beyond loopback without encryption" },
    [IPC_MODE] = { "ipc_mode", SETTING_TEXT, 0, 8, 0, "0660",
                   "mode of an ipc endpoint's file: who may write to it may connect" },
    [HANDSHAKE] = { "handshake_ms", SETTING_INT, 100, 600000, 5000, "",
                    "a connection that does not introduce itself in this time is closed" },
    [CONNECTIONS] = { "connections_max", SETTING_INT, 1, 1000000, 4096, "",
                      "open connections of a port" },
    [ADDRESS] = { "connections_address_max", SETTING_INT, 0, 1000000, 2048, "",
                  "open connections of a port from one IP address; 0: no bound of its own" },
    [SUPERVISE] = { "supervise", SETTING_INT, 0, 1, 1, "",
                    "1: a second process starts the broker again when it is killed" },
    [METRICS] = { "metrics_listen", SETTING_TEXT, 0, 60, 0, "127.0.0.1:7703",
                  "address and port of /metrics, /livez and /readyz; empty: none" },
    [SEGMENTS] = { "segments", SETTING_TEXT, 0, 1000, 0, "",
                   "folder of files that are not in the database, as the workers have it" },
    [LEVEL_WAITERS] = { "level_waiters_max", SETTING_INT, 1, 10000000, 80000, "",
                        "of them of one priority" },
    [QUEUE_BYTES] = { "queue_bytes", SETTING_INT, 1 << 20, INT64_C(1) << 40, 128 << 20, "",
                      "memory for what is waited for, in all" },
    [CLIENT_BYTES] = { "client_bytes", SETTING_INT, 1 << 16, INT64_C(1) << 40, 16 << 20, "",
                       "memory for what one client waits for" },
    [CLIENT_RATE] = { "client_rate", SETTING_INT, 0, 1000000, 0, "",
                      "pictures a second one client may ask for; 0: any number" },
    [CLIENT_BURST] = { "client_burst", SETTING_INT, 1, 1000000, 100, "",
                       "pictures it may ask for at once, with client_rate" },
    [AFFINITY] = { "affinity_ms", SETTING_INT, 0, 60000, 200, "",
                   "work for which a worker stays on its model though another's turn has come" },
    [LIKENESS] = { "likeness_bytes", SETTING_INT, 1 << 21, INT64_C(1) << 40, 512 << 20, "",
                   "perceptual hashes in memory, once somebody asks for one: 436 a picture" },
    [BULK_LEASE_TIME] = { "bulk_lease_ms", SETTING_INT, 1000, 600000, 10000, "",
                          "a chunk of a bulk job that stood still for this long is taken over" },
    [BULK_CHUNKS] = { "bulk_chunks", SETTING_INT, 0, BULK_CHUNKS_MAX, 2, "",
                      "chunks of bulk jobs that this broker has made at once; 0: none" },
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
    o.level_waiters_max = (size_t)settings_int(s, LEVEL_WAITERS);
    o.queue_bytes = (size_t)settings_int(s, QUEUE_BYTES);
    o.client_bytes = (size_t)settings_int(s, CLIENT_BYTES);
    o.client_rate = settings_int(s, CLIENT_RATE);
    o.client_burst = settings_int(s, CLIENT_BURST);
    o.affinity_ms = settings_int(s, AFFINITY);
    o.outbox_max = (size_t)settings_int(s, OUTBOX);
    o.outbox_total_max = (size_t)settings_int(s, OUTBOX_TOTAL);
    o.cache_bytes = (size_t)settings_int(s, CACHE);
    /* Milliseconds modulo 2^33 (99 days), room for a million leases in each: below 2^53. */
    o.first_lease = (clock_wall_ms() & ((INT64_C(1) << 33) - 1)) << 20;
    o.attempts_max = (int)settings_int(s, ATTEMPTS);
    o.bulk_lease_ms = settings_int(s, BULK_LEASE_TIME);
    o.bulk_chunks = (size_t)settings_int(s, BULK_CHUNKS);
    o.without_ledger = strcmp(settings_text(s, LEDGER), "none") == 0;
    return o;
}

static struct ports_options ports_of(const struct settings *s)
{
    return (struct ports_options){
        .listen = settings_text(s, LISTEN), .worker_listen = settings_text(s, WORKER_LISTEN),
        .key_file = settings_text(s, KEY_FILE), .keyring = settings_text(s, KEYRING),
        .ipc_mode = settings_text(s, IPC_MODE), .allow_plain = settings_int(s, ALLOW_PLAIN) == 1,
        .handshake_ms = (int)settings_int(s, HANDSHAKE),
        .connections_max = ports_raise_limit((size_t)settings_int(s, CONNECTIONS)),
        .address_max = (size_t)settings_int(s, ADDRESS),
    };
}

static void take_signal(struct broker *broker, struct ports *ports, struct notify *notify,
                        int stop_fd, int64_t now_ms)
{
    enum stop_wish wish = stop_take(stop_fd);

    if (wish == STOP_END) {
        log_event(LOG_INFO, "broker_drain", "reason=signal");
        notify_stopping(notify);
        broker_drain(broker, now_ms);
    } else if (wish == STOP_RELOAD && ports_reload(ports))
        broker_recheck(broker, now_ms);
}

/* The broker's two threads to the ledger. */
struct scribes {
    struct scribe *looks, *bulk;    /* for what somebody waits for; for bulk jobs */
    struct scribe *finder;          /* for searches by likeness */
};

static enum err_code open_scribes(const char *conninfo, const char *segments, struct scribes *out,
                                  struct err *e)
{
    enum err_code rc = scribe_create(conninfo, segments, &out->looks, e);

    if (!rc && conninfo)
        rc = scribe_create(conninfo, segments, &out->bulk, e);
    return rc || !conninfo ? rc : scribe_create(conninfo, segments, &out->finder, e);
}

static void close_scribes(struct scribes *self)
{
    scribe_destroy(&self->looks);
    scribe_destroy(&self->bulk);
    scribe_destroy(&self->finder);
}

/* As a holder of leases: no two starts of any broker have the same name. */
static void name_broker(char *out, size_t cap)
{
    char host[64] = "host";

    gethostname(host, sizeof host - 1);
    snprintf(out, cap, "%s:%d:%lld", host, (int)getpid(), (long long)clock_wall_ms());
}

static void loop(struct broker *broker, struct ports *ports, const struct scribes *scribes,
                 int stop_fd, struct notify *notify)
{
    struct link *clients = ports->clients, *workers = ports->workers;
    struct link_wait waits[] = { { .link = clients }, { .link = workers },
                                 { .fd = scribe_fd(scribes->looks) }, { .fd = stop_fd },
                                 { .fd = scribes->bulk ? scribe_fd(scribes->bulk) : -1 },
                                 { .fd = scribes->finder ? scribe_fd(scribes->finder) : -1 } };
    size_t wait_count = sizeof waits / sizeof waits[0] - (scribes->bulk ? 0 : 2);
    struct parcel parcel;
    int64_t wake_ms = 0;             /* already past: do not wait */
    int64_t now_ms = clock_ms();

    while (!broker_is_drained(broker, now_ms)) {
        int from_workers = 0, from_clients = 0;

        link_poll(waits, wait_count, wake_ms);
        now_ms = clock_ms();         /* the one clock read of this turn */
        for (; from_workers < TURN_MAX && link_receive(workers, &parcel); from_workers++)
            broker_on_worker(broker, now_ms, &parcel);
        for (; from_clients < TURN_MAX && link_receive(clients, &parcel); from_clients++)
            broker_on_client(broker, now_ms, &parcel);
        broker_check_connections(broker, from_workers < TURN_MAX && from_clients < TURN_MAX,
                                 now_ms);
        take_signal(broker, ports, notify, stop_fd, now_ms);
        wake_ms = broker_tick(broker, now_ms);
        int64_t watchdog_ms = notify_turn(notify, now_ms);

        wake_ms = watchdog_ms < wake_ms ? watchdog_ms : wake_ms;
    }
}

static enum err_code serve_here(const struct settings *s, struct ports_memory *memory,
                                struct err *e)
{
    struct broker_options options = options_of(s);
    struct ports_options wanted = ports_of(s);
    struct http_options monitoring = { .listen = settings_text(s, METRICS) };
    struct ports ports = { .context = NULL };
    struct scribes scribes = { NULL, NULL, NULL };
    struct finder *finder = NULL;
    char holder[128];
    struct broker *broker = NULL;
    struct http *http = NULL;
    struct notify notify;
    int stop_fd = stop_open_reload();
    enum err_code rc;

    notify_init(&notify);
    if (stop_fd < 0)
        return err_set(e, ERR_NOMEM, "no file descriptor for signals");
    if ((rc = ports_open(&ports, &wanted, memory, e)))
        goto done;
    options.keyring = ports.keyring;
    options.gate = ports.gate;
    if ((rc = open_scribes(options.without_ledger ? NULL : settings_text(s, LEDGER),
                           settings_text(s, SEGMENTS), &scribes, e)))
        goto done;
    name_broker(holder, sizeof holder);
    options.bulk_holder = holder;
    options.bulk_scribe = scribes.bulk;
    if ((rc = finder_create((size_t)settings_int(s, LIKENESS), &finder, e)))
        goto done;
    options.finder_scribe = scribes.finder;
    options.finder = finder;
    if ((rc = broker_create(&options, ports.clients, ports.workers, scribes.looks, clock_ms(),
                            &broker, e)))
        goto done;
    monitoring.metrics = broker_metrics(broker);
    monitoring.health = broker_health(broker);
    if ((rc = http_create(&monitoring, &http, e)))
        goto done;
    log_event(LOG_INFO, "broker_ready", "version=%s clients=%s workers=%s metrics=%s",
              SEEDPRESS_VERSION, link_endpoint(ports.clients), link_endpoint(ports.workers),
              http_endpoint(http));
    if (options.without_ledger)
        log_event(LOG_WARN, "no_ledger", "hint=\"nothing is stored or can be proved: for measuring "
                                         "with dummy workers only\"");
    notify_ready(&notify);
    loop(broker, &ports, &scribes, stop_fd, &notify);
    log_event(LOG_INFO, "broker_end", "reason=drained");
done:
    http_destroy(&http);
    notify_release(&notify);
    broker_destroy(&broker);
    close_scribes(&scribes);
    finder_destroy(&finder);
    ports_close(&ports);
    return rc;
}

/* What the guard's process ends with is what the broker's has, which has said why. */
static enum err_code serve(const struct settings *s, struct err *e)
{
    struct ports_memory here = { "", "" }, *shared;
    enum guard_side side;
    int code = 0;
    enum err_code rc;

    if (!settings_int(s, SUPERVISE))
        return serve_here(s, &here, e);
    /* Ports that the system chose are the same in the next broker. */
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return err_set(e, ERR_NOMEM, "no memory to share with the guarded process");
    rc = guard_run(&side, &code, e);
    if (!rc && side == GUARD_SERVES)
        rc = serve_here(s, shared, e);
    munmap(shared, sizeof *shared);
    if (code != 0)
        exit(code);
    return rc;
}

int main(int argc, char **argv)
{
    return settings_main(SETTINGS, ROWS, "seedpress-broker", argc, argv, serve);
}
