/* seedpress-worker: reads settings, builds the stages, runs the loop, tears down in reverse. */
#include "base/c2pa.h"
#include "base/channel.h"
#include "base/clock.h"
#include "base/key.h"
#include "base/http.h"
#include "base/link.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/settings.h"
#include "base/stop.h"
#include "kernels/backend.h"
#include "proto/message.h"
#include "proto/number.h"
#include "sql/ledger.h"
#include "worker/archive.h"
#include "worker/batcher.h"
#include "worker/dummy.h"
#include "worker/dials.h"
#include "worker/encoders.h"
#include "worker/fleet.h"
#include "worker/library.h"
#include "worker/renderer.h"
#include "worker/sampler.h"
#include "worker/uplink.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum setting_row { BROKERS, LEDGER, MODELS, BACKEND, DEVICE, PRECISION, THREADS, BATCH, RESERVE,
                   BATCH_MS, FILL, BULK, ENCODERS, DRAIN, DUMMY, KEY_FILE, BROKER_KEY, ALLOW_PLAIN,
                   METRICS, REPLAY, SEGMENTS, LIKENESS, C2PA_CERT, C2PA_KEY };

static const struct setting SETTINGS[] = {
    [BROKERS] = { "brokers", SETTING_TEXT, 0, 2000, 0, "tcp://127.0.0.1:7702",
                  "endpoints of the brokers, with commas between; all are served" },
    [LEDGER] = { "ledger", SETTING_SECRET, 0, 1000, 0, "dbname=seedpress",
                 "PostgreSQL, as libpq's connection string" },
    [MODELS] = { "models_dir", SETTING_TEXT, 0, 2000, 0, "models",
                 "folder whose *.safetensors and *.pkl are served, each named after its file" },
    [BACKEND] = { "backend", SETTING_TEXT, 0, 16, 0, "auto", "auto, cpu or cuda" },
    [DEVICE] = { "device", SETTING_TEXT, 0, 8, 0, "0",
                 "which GPU, from 0; all: a worker process for each" },
    [PRECISION] = { "precision", SETTING_TEXT, 0, 8, 0, "auto",
                    "auto, fp16, tf32 or fp32; auto is fp16 on a GPU, fp32 on the CPU" },
    [THREADS] = { "threads", SETTING_INT, 0, 1024, 0, "",
                  "of one render on the CPU; 0: every core" },
    [BATCH] = { "batch_max", SETTING_INT, 1, 256, 16, "", "pictures rendered together" },
    [RESERVE] = { "reserve_batches", SETTING_INT, 1, 16, 3, "",
                  "how many batches of jobs the worker holds in all its stages" },
    [BATCH_MS] = { "batch_ms", SETTING_INT, 1, 3600000, 2000, "",
                   "a batch is not made longer than this" },
    [FILL] = { "fill_ms", SETTING_INT, 0, 3600000, 50, "",
               "how much low work may lengthen a batch that somebody waits for" },
    [BULK] = { "bulk_batch_ms", SETTING_INT, 1, 3600000, 250, "",
               "how long a batch of low work alone may be" },
    [ENCODERS] = { "encoders", SETTING_INT, 1, 256, 2, "", "JPEG threads" },
    [DRAIN] = { "drain_ms", SETTING_INT, 0, 600000, 20000, "",
                "how long SIGTERM waits for what has started" },
    [DUMMY] = { "dummy", SETTING_TEXT, 0, 200, 0, "",
                "makes bytes, not pictures, to measure brokers: a_us=0,b_us=0,bytes=64,count=8" },
    [KEY_FILE] = { "key_file", SETTING_TEXT, 0, 1000, 0, "",
                   "the worker's key pair (seedpress keygen); TCP is then encrypted" },
    [BROKER_KEY] = { "broker_key", SETTING_TEXT, 0, 1000, 0, "",
                     "with key_file: public key of all brokers, or the path of its .pub file" },
    [ALLOW_PLAIN] = { "allow_plain", SETTING_INT, 0, 1, 0, "",
                      "1: use TCP beyond loopback without encryption" },
    [METRICS] = { "metrics_listen", SETTING_TEXT, 0, 60, 0, "",
                  "address and port of /metrics, /livez and /readyz; empty: none" },
    [REPLAY] = { "replay_one_in", SETTING_INT, 0, 1000000000, 1000, "",
                 "when idle, one stored picture in so many is rendered again; 0: none" },
    [SEGMENTS] = { "segments", SETTING_TEXT, 0, 1000, 0, "",
                   "folder for files in place of the database, the same for all; empty: none" },
    [LIKENESS] = { "likeness", SETTING_TEXT, 0, 3, 0, "on",
                   "on or off: perceptual hashes, by which changed copies are found" },
    [C2PA_CERT] = { "c2pa_cert", SETTING_TEXT, 0, 1000, 0, "",
                    "PEM, with its chain; signs pictures of mark c2pa; empty: they are refused" },
    [C2PA_KEY] = { "c2pa_key", SETTING_TEXT, 0, 1000, 0, "",
                   "with c2pa_cert: its private key, PEM, on P-256, for the owner alone" },
};
enum { ROWS = sizeof SETTINGS / sizeof SETTINGS[0], RETRY_MS = 500, RENEW_DAYS = 30 };

/* Everything that main builds, in the order in which it is built. */
struct worker_parts {
    const struct backend *backend;
    struct engine *engine;
    struct library library;
    struct ledger *ledger;
    struct batcher *batcher;
    struct channel *encode, *files, *events;
    struct c2pa_signer *signer;     /* NULL: pictures are not signed here */
    struct renderer *renderer;
    struct encoders *encoders;
    struct archive *archive;
    struct sampler *sampler;        /* NULL: nothing is rendered again */
    struct link_context *context;
    struct uplink *uplink;
    struct dials dials;
    struct http *http;
    struct notify notify;
    int stop_fd;
    bool stopped;                   /* a signal came before everything was up */
    int64_t run_id;
    char name[128];                 /* "host:pid:start" */
    bool has_keys;
    struct key_pair own;
    char broker_key[KEY_SIZE];
    struct link_curve curve;        /* of these */
};

static void name_worker(char *out, size_t cap)
{
    char host[64] = "host";

    gethostname(host, sizeof host - 1);
    snprintf(out, cap, "%s:%d:%lld", host, (int)getpid(), (long long)(clock_wall_ms() / 1000));
}

static enum err_code open_signer(const struct settings *s, struct worker_parts *w, struct err *e)
{
    const char *cert = settings_text(s, C2PA_CERT), *key = settings_text(s, C2PA_KEY);
    struct c2pa_signer_facts facts;
    enum err_code rc;

    if (!*cert && !*key)
        return ERR_OK;
    if (!*cert || !*key)
        return err_set(e, ERR_INVALID, "c2pa_cert and c2pa_key go together, and %s is missing",
                       *cert ? "c2pa_key" : "c2pa_cert");
    if ((rc = c2pa_signer_create(cert, key, &w->signer, e)))
        return rc;
    facts = c2pa_signer_facts(w->signer);
    log_event(facts.days_left < RENEW_DAYS ? LOG_WARN : LOG_INFO, "certificate",
              "signer=\"%s\" until=%s days_left=%lld", facts.name, facts.until,
              (long long)facts.days_left);
    return ERR_OK;
}

static enum err_code open_engine(const struct settings *s, int device, struct worker_parts *w,
                                 struct err *e)
{
    struct backend_options options = { .drop_values = true, .device = device,
                                       .threads = (int)settings_int(s, THREADS) };
    enum err_code rc = precision_of(settings_text(s, PRECISION), &options.precision, e);

    if (!rc)
        rc = backend_find(settings_text(s, BACKEND), &w->backend, e);
    if (!rc)
        rc = w->backend->open(&options, &w->engine, e);
    if (!rc)
        rc = library_open(settings_text(s, MODELS), w->backend, w->engine,
                          (int)settings_int(s, BATCH), &w->library, e);
    return rc;
}

static enum err_code register_run(struct worker_parts *w, struct err *e)
{
    char libraries[160];
    struct ledger_run run = {
        .worker = w->name, .version = SEEDPRESS_VERSION, .backend = w->backend->name,
        .device = w->backend->device(w->engine), .driver = w->backend->driver(w->engine),
        .numerics_class = w->backend->numerics_class(w->engine), .encoder = jpeg_encoder_name(),
        .libraries = libraries,
    };
    enum err_code rc;

    snprintf(libraries, sizeof libraries, "%s, glibc %s", link_library(), gnu_get_libc_version());
    rc = ledger_start_run(w->ledger, &run, &w->run_id, e);
    for (size_t i = 0; !rc && i < w->library.count; i++) {
        const struct loaded_model *m = &w->library.models[i];
        const char *licence = model_note(m->model, "licence");
        struct ledger_model model = { m->name, m->facts, model_arch_word(m->model),
                                      licence ? licence : "" };

        rc = ledger_put_model(w->ledger, &model, e);
    }
    return rc;
}

/* A name stays with the model that had it first, also when another file has that name now. */
static void warn_of_names(struct worker_parts *w)
{
    struct ledger_name *names = calloc(LEDGER_ROWS_MAX, sizeof *names);
    size_t count = 0;
    struct err e;

    if (names && ledger_names(w->ledger, names, LEDGER_ROWS_MAX, &count, &e))
        count = 0;                   /* the ledger has gone away again: this is only a hint */
    for (size_t i = 0; i < w->library.count; i++)
        for (size_t k = 0; k < count; k++) {
            const struct loaded_model *m = &w->library.models[i];

            if (strcmp(names[k].name, m->name) == 0 &&
                !digest_equal(&names[k].digest, &m->facts->digest))
                log_event(LOG_WARN, "name_is_taken", "name=%s bound_to=%.8s here=%.8s "
                          "hint=\"seedpress model use %s@%.8s\"", m->name,
                          digest_hex(&names[k].digest).text, digest_hex(&m->facts->digest).text,
                          m->name, digest_hex(&m->facts->digest).text);
        }
    free(names);
}

static enum err_code open_ledger(const struct settings *s, struct worker_parts *w, struct err *e)
{
    struct ledger_segments segments = { .folder = settings_text(s, SEGMENTS), .writer = w->name };
    enum err_code rc = ledger_open(settings_text(s, LEDGER), "seedpress-worker", &w->ledger, e);
    struct err why;

    if (w->ledger && *segments.folder && ledger_use_segments(w->ledger, &segments, &why))
        return err_set(e, why.code, "%s", why.msg);
    return rc;
}

/* No picture without provenance: a worker that the ledger does not know does not start. It waits
 * for a ledger that is away, but not for one whose schema does not fit. */
static enum err_code join_ledger(const struct settings *s, struct worker_parts *w, struct err *e)
{
    struct link_wait wait = { .fd = w->stop_fd };
    bool told = false;
    enum err_code rc;

    rc = open_ledger(s, w, e);
    if (!rc)
        rc = register_run(w, e);
    while (rc == ERR_LEDGER_DOWN && !w->stopped) {
        if (!told)
            log_event(LOG_WARN, "ledger_down", "reason=\"%s\"", e->msg);
        told = true;
        link_poll(&wait, 1, clock_ms() + RETRY_MS);
        health_turn(&w->dials.health, clock_ms(), "ledger down");
        notify_turn(&w->notify, clock_ms());
        w->stopped = stop_is_asked(w->stop_fd);
        rc = w->ledger ? register_run(w, e) : open_ledger(s, w, e);
    }
    if (!rc)
        warn_of_names(w);
    return rc;
}

static struct stages_report report_stages(void *arg, int64_t now_ms)
{
    const struct worker_parts *w = arg;

    return (struct stages_report){
        .started = renderer_started(w->renderer), .rendered = renderer_rendered(w->renderer),
        .stored = archive_stored(w->archive),
        .left_us = renderer_left_us(w->renderer, now_ms * 1000),
        .ledger_up = archive_ledger_is_up(w->archive),
    };
}

static int64_t count_stored(void *arg)
{
    return archive_stored(((const struct worker_parts *)arg)->archive);
}

static bool is_idle(void *arg)
{
    const struct worker_parts *w = arg;

    return batcher_count(w->batcher) == 0 && renderer_left_us(w->renderer, clock_us()) == 0 &&
           channel_count(w->encode) == 0 && channel_count(w->files) == 0;
}

static enum err_code start_sampler(const struct settings *s, struct worker_parts *w,
                                   struct err *e)
{
    struct sampler_parts parts = {
        .conninfo = settings_text(s, LEDGER), .one_in = settings_int(s, REPLAY),
        .numerics_class = w->backend->numerics_class(w->engine), .encoder = jpeg_encoder_name(),
        .library = &w->library, .batcher = w->batcher, .dials = &w->dials,
        .stored = count_stored, .is_idle = is_idle, .arg = w,
    };

    return parts.one_in == 0 ? ERR_OK : sampler_create(&parts, &w->sampler, e);
}

static struct batcher_options batches_of(const struct settings *s, struct dials *dials)
{
    return (struct batcher_options){ (size_t)settings_int(s, BATCH), settings_int(s, BATCH_MS),
                                     settings_int(s, FILL), settings_int(s, BULK), dials };
}

/* Monitoring begins before the ledger answers, so that it shows what a worker waits for. */
static enum err_code open_dials(const struct settings *s, int port_offset, struct worker_parts *w,
                                struct err *e)
{
    struct http_options monitoring = { .listen = settings_text(s, METRICS),
                                       .port_offset = port_offset, .health = &w->dials.health };
    enum err_code rc = dials_init(&w->dials, clock_ms(), w->backend->numerics_class(w->engine), e);

    for (size_t i = 0; !rc && i < w->library.count && i < MESSAGE_MODELS_MAX; i++) {
        const struct loaded_model *m = &w->library.models[i];
        int64_t bytes = 0;

        for (size_t t = 0; t < model_tensor_count(m->model); t++)
            bytes += (int64_t)(model_tensor_at(m->model, t)->count * sizeof(float));
        dials_model(&w->dials, i, m->name, bytes);
    }
    monitoring.metrics = w->dials.metrics;
    if (!rc && !(rc = http_create(&monitoring, &w->http, e)) && w->http)
        log_event(LOG_INFO, "metrics_ready", "endpoint=%s", http_endpoint(w->http));
    return rc;
}

static int64_t turn_dials(struct worker_parts *w, int64_t now_ms, bool draining)
{
    struct dials_state state = {
        .started = renderer_started(w->renderer), .rendered = renderer_rendered(w->renderer),
        .stored = archive_stored(w->archive), .oldest_ms = archive_oldest_ms(w->archive),
        .brokers = uplink_brokers(w->uplink), .ledger_up = archive_ledger_is_up(w->archive),
        .draining = draining,
    };

    dials_turn(&w->dials, now_ms, &state);
    return notify_turn(&w->notify, now_ms);
}

static enum err_code start_encoders(const struct settings *s, struct worker_parts *w,
                                    struct err *e)
{
    const char *likeness = settings_text(s, LIKENESS);
    struct encoders_parts parts = { w->encode, w->files, w->events, w->signer,
                                    strcmp(likeness, "on") == 0 };

    if (!parts.likeness && strcmp(likeness, "off") != 0)
        return err_set(e, ERR_INVALID, "likeness \"%s\" is neither on nor off", likeness);
    return encoders_create((int)settings_int(s, ENCODERS), &parts, &w->encoders, e);
}

static enum err_code build_stages(const struct settings *s, struct worker_parts *w, struct err *e)
{
    size_t batch_max = (size_t)settings_int(s, BATCH);
    size_t capacity = batch_max * (size_t)settings_int(s, RESERVE), most = uplink_most(capacity);
    struct batcher_options options = batches_of(s, &w->dials);
    const char *numerics_class = w->backend->numerics_class(w->engine);
    struct archive_run run = { w->run_id, numerics_class, jpeg_encoder_name(), &w->dials };
    enum err_code rc;

    if ((rc = batcher_create(&options, &w->batcher, e)) ||
        (rc = channel_create(most, &w->encode, e)) ||
        (rc = channel_create(most, &w->files, e)) ||
        (rc = channel_create(3 * most + 64, &w->events, e)) ||   /* each job: three at most */
        (rc = renderer_create(&w->library, batch_max, w->batcher, w->encode, w->events,
                              &w->dials, &w->renderer, e)) ||
        (rc = start_encoders(s, w, e)) ||
        (rc = archive_create(w->ledger, &run, w->files, w->events, &w->archive, e)) ||
        (rc = start_sampler(s, w, e)) ||
        (rc = link_context_create(&w->context, e)))
        return rc;

    struct uplink_parts parts = {
        .library = &w->library, .batcher = w->batcher, .events = w->events,
        .signer = w->signer,
        .report = report_stages, .report_arg = w, .batch_max = (int64_t)batch_max,
        .worker = w->name,
        .numerics_class = numerics_class, .encoder = jpeg_encoder_name(),
        .device = w->backend->device(w->engine), .run_id = w->run_id, .capacity = capacity,
        .curve = w->has_keys ? &w->curve : NULL, .allow_plain = settings_int(s, ALLOW_PLAIN) == 1,
    };
    return uplink_create(w->context, settings_text(s, BROKERS), &parts, &w->uplink, e);
}

static void loop(struct worker_parts *w, int64_t drain_ms)
{
    struct link_wait waits[UPLINK_BROKERS_MAX + 2];
    size_t count = uplink_waits(w->uplink, waits);
    int64_t wake_ms = 0, give_up_ms = INT64_MAX, now_ms = clock_ms();

    waits[count++] = (struct link_wait){ .fd = w->stop_fd };
    while (!uplink_is_drained(w->uplink) && now_ms < give_up_ms) {
        link_poll(waits, count, wake_ms < give_up_ms ? wake_ms : give_up_ms);
        now_ms = clock_ms();         /* the one clock read of this turn */
        bool lost = renderer_is_lost(w->renderer), asked = stop_is_asked(w->stop_fd);

        if ((lost || asked) && give_up_ms == INT64_MAX) {
            log_event(LOG_INFO, "worker_drain", "reason=%s", lost ? "device_lost" : "signal");
            notify_stopping(&w->notify);
            if (w->sampler)
                sampler_stop(w->sampler);
            uplink_drain(w->uplink, now_ms);
            give_up_ms = now_ms + drain_ms;
        } else if (asked)
            give_up_ms = now_ms;     /* the second one: enough */
        wake_ms = uplink_turn(w->uplink, now_ms);
        int64_t watchdog_ms = turn_dials(w, now_ms, give_up_ms != INT64_MAX);

        wake_ms = watchdog_ms < wake_ms ? watchdog_ms : wake_ms;
    }
    uplink_leave(w->uplink);
}

/* Front to back: each stage ends when the one before it has. */
static void end_stages(struct worker_parts *w)
{
    struct event *event;

    if (w->sampler)
        sampler_stop(w->sampler);
    if (w->batcher)
        batcher_close(w->batcher);
    if (w->renderer)
        renderer_finish(w->renderer);
    if (w->encode)
        channel_close(w->encode);
    encoders_destroy(&w->encoders);
    sampler_destroy(&w->sampler);    /* what it had in the stages has come out */
    renderer_destroy(&w->renderer);  /* they have read from its buffers until now */
    if (w->archive)
        archive_hurry(w->archive);
    if (w->files)
        channel_close(w->files);
    archive_destroy(&w->archive);
    while (w->events && (event = channel_take(w->events, 0)))
        if (event->kind == EVENT_ENDED) {    /* given up by a drain that took too long */
            picture_release(&event->job->picture);
            free(event->job->stored.data);
            free(event->job);
        } else
            free(event);
}

static void tear_down(struct worker_parts *w)
{
    http_destroy(&w->http);
    notify_release(&w->notify);
    end_stages(w);
    uplink_destroy(&w->uplink);
    link_context_destroy(&w->context);
    channel_destroy(&w->events);
    channel_destroy(&w->files);
    channel_destroy(&w->encode);
    batcher_destroy(&w->batcher);
    ledger_close(&w->ledger);
    dials_release(&w->dials);
    library_close(&w->library);
    if (w->engine)
        w->backend->close(&w->engine);
    c2pa_signer_destroy(&w->signer);
    key_pair_wipe(&w->own);
}

static enum err_code serve_device(const struct settings *s, int device, int port_offset,
                                  struct err *e)
{
    struct worker_parts w = { .stop_fd = stop_open() };
    enum err_code rc;

    if (w.stop_fd < 0)
        return err_set(e, ERR_NOMEM, "no file descriptor for signals");
    name_worker(w.name, sizeof w.name);
    rc = key_find_both(settings_text(s, KEY_FILE), settings_text(s, BROKER_KEY), &w.own,
                       w.broker_key, &w.has_keys, e);
    w.curve = (struct link_curve){ w.own.public_key, w.own.secret_key, w.broker_key };
    if (!rc)
        rc = open_signer(s, &w, e);
    if (!rc)
        rc = open_engine(s, device, &w, e);
    notify_init(&w.notify);
    if (!rc)
        rc = open_dials(s, port_offset, &w, e);
    if (!rc)
        rc = join_ledger(s, &w, e);
    if (w.stopped)
        rc = ERR_OK;                 /* asked to stop while it waited for the ledger */
    else if (!rc && !(rc = build_stages(s, &w, e))) {
        log_event(LOG_INFO, "worker_ready", "worker=%s run=%lld class=%s device=\"%s\" models=%zu",
                  w.name, (long long)w.run_id, w.backend->numerics_class(w.engine),
                  w.backend->device(w.engine), w.library.count);
        notify_ready(&w.notify);
        loop(&w, settings_int(s, DRAIN));
        log_event(LOG_INFO, "worker_end", "stored=%lld", (long long)archive_stored(w.archive));
        if (renderer_is_lost(w.renderer))
            rc = err_set(e, ERR_DEVICE, "the device is lost to this process; another may find it well");
    }
    tear_down(&w);
    return rc;
}

/* How many workers "all" is. */
static enum err_code count_devices(void *arg, int *out, struct err *e)
{
    const struct settings *s = arg;
    const struct backend *backend;
    enum err_code rc = backend_find(settings_text(s, BACKEND), &backend, e);

    if (rc)
        return rc;
    *out = backend->device_count();
    return *out > 0 ? ERR_OK : err_set(e, ERR_DEVICE, "backend %s has no device here",
                                       backend->name);
}

static enum err_code serve_dummy(const struct settings *s, struct err *e)
{
    char name[128], broker_key[KEY_SIZE];
    struct key_pair own;
    struct link_curve curve = { own.public_key, own.secret_key, broker_key };
    struct dummy_parts parts = {
        .batches = batches_of(s, NULL), .brokers = settings_text(s, BROKERS), .name = name,
        .capacity = (size_t)(settings_int(s, BATCH) * settings_int(s, RESERVE)),
        .drain_ms = settings_int(s, DRAIN), .allow_plain = settings_int(s, ALLOW_PLAIN) == 1,
    };
    bool has_keys = false;
    enum err_code rc = dummy_parse(settings_text(s, DUMMY), &parts.options, e);

    if (rc)
        return rc;
    parts.stop_fd = stop_open();
    if (parts.stop_fd < 0)
        return err_set(e, ERR_NOMEM, "no file descriptor for signals");
    name_worker(name, sizeof name);
    rc = key_find_both(settings_text(s, KEY_FILE), settings_text(s, BROKER_KEY), &own, broker_key,
                       &has_keys, e);
    parts.curve = has_keys ? &curve : NULL;
    if (!rc)
        rc = dummy_run(&parts, e);
    key_pair_wipe(&own);
    return rc;
}

static enum err_code serve(const struct settings *s, struct err *e)
{
    const char *text = settings_text(s, DEVICE);
    int64_t device;
    int place = FLEET_ENDED;
    enum err_code rc;

    if (*settings_text(s, DUMMY))
        return serve_dummy(s, e);
    if (number_parse(text, strlen(text), &device) && device >= 0 && device < FLEET_MAX)
        return serve_device(s, (int)device, 0, e);
    if (strcmp(text, "all") != 0)
        return err_set(e, ERR_INVALID, "device \"%.20s\" is neither all nor a number of 0..%d",
                       text, FLEET_MAX - 1);
    rc = fleet_run(count_devices, (void *)(uintptr_t)s, &place, e);
    return rc || place == FLEET_ENDED ? rc : serve_device(s, place, place, e);
}

int main(int argc, char **argv)
{
    return settings_main(SETTINGS, ROWS, "seedpress-worker", argc, argv, serve);
}
