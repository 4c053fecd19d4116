/* bench -- how fast a broker and its workers answer, and how long one waits for them. */
#include "client/command.h"

#include "base/clock.h"
#include "base/key.h"
#include "client/traffic.h"

#include <cjson/cJSON.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char cmd_bench_help[] =
    "seedpress bench - load a broker, and measure its answers\n"
    "\n"
    "usage: seedpress bench --model MODEL [OPTIONS]\n"
    "\n"
    "  --model MODEL        as in generate\n"
    "  --rate N             open loop: N requests a second at random moments (a Poisson\n"
    "                       process), whatever the broker does; times count from the moment\n"
    "                       that a request was meant for\n"
    "  --connections N      how many; default 8\n"
    "  --window N           without --rate, closed loop: requests that each connection keeps\n"
    "                       under way; default 8\n"
    "  --pause-us N         closed loop: between an answer and the next request; default 0\n"
    "  --seconds N          measured; default 10\n"
    "  --warmup N           seconds before them, not measured; default 1\n"
    "  --mix LIST           shares of the levels; default high=0,normal=100,low=0\n"
    "  --duplicates N       of 100 seeds, how many come again and again, from 64; default 0\n"
    "  --seeds-from N       the first seed; default: one that differs each time, so that\n"
    "                       nothing is stored already\n"
    "  --page N             seeds of one request; default 1\n"
    "  --cache WORD         use or bypass; default use\n"
    "  --deadline-ms N      default 10000\n"
    "  --receipts           ask for receipts, not for pictures\n"
    "  --verify             check every picture's hash, recipe and seed\n"
    "\n"
    "The broker is asked for one picture over each connection first. Ends with 0, with 3 when\n"
    "some pictures failed, with the first error's code when all did.\n"
    "\n"
    "examples:\n"
    "  seedpress bench --model avatars64 --seconds 30\n"
    "  seedpress bench --model avatars64 --rate 200 --mix high=10,normal=80,low=10\n"
    "  seedpress --json bench --model avatars64 --duplicates 90\n";

static const char *const CACHE_WORDS[] = { "use", "bypass", NULL };
static const enum message_cache CACHES[] = { MESSAGE_CACHE_USE, MESSAGE_CACHE_BYPASS };
static const char *const LEVELS[] = { "high", "normal", "low" };
static const char *const SOURCES[] = { "render", "ledger", "memory" };

/* ---- options ---- */

enum option_id { MODEL = 256, RATE, CONNECTIONS, WINDOW, PAUSE, SECONDS, WARMUP, MIX, DUPLICATES,
                 SEEDS_FROM, PAGE, CACHE, DEADLINE, RECEIPTS, VERIFY };

static const struct option OPTIONS[] = {
    { "model", required_argument, NULL, MODEL },
    { "rate", required_argument, NULL, RATE },
    { "connections", required_argument, NULL, CONNECTIONS },
    { "window", required_argument, NULL, WINDOW },
    { "pause-us", required_argument, NULL, PAUSE },
    { "seconds", required_argument, NULL, SECONDS },
    { "warmup", required_argument, NULL, WARMUP },
    { "mix", required_argument, NULL, MIX },
    { "duplicates", required_argument, NULL, DUPLICATES },
    { "seeds-from", required_argument, NULL, SEEDS_FROM },
    { "page", required_argument, NULL, PAGE },
    { "cache", required_argument, NULL, CACHE },
    { "deadline-ms", required_argument, NULL, DEADLINE },
    { "receipts", no_argument, NULL, RECEIPTS },
    { "verify", no_argument, NULL, VERIFY },
    { NULL, 0, NULL, 0 },
};

struct given {                      /* what only a closed or only an open loop takes */
    bool window, pause, rate;
};

/* Seconds with at most six places, as microseconds. */
static enum err_code read_seconds(const char *option, const char *text, int64_t max, int64_t *out,
                                  struct err *e)
{
    enum err_code rc = command_read_millionths(option, text, out, e);

    if (!rc && (*out < 0 || *out > max * 1000000))
        rc = err_set(e, ERR_RANGE, "%s %.20s is out of range: 0..%" PRId64, option, text, max);
    return rc;
}

static enum err_code read_load_option(int opt, const char *text, struct load_options *load,
                                      struct err *e)
{
    int64_t v = 0;
    enum err_code rc;

    switch (opt) {
    case RATE:
        return command_read_whole("--rate", text, 1, 1000000, &load->rate, e);
    case MIX:
        return load_parse_mix(text, load->weight, e);
    case DUPLICATES:
        return command_read_int("--duplicates", text, 0, 100, &load->duplicates, e);
    default:
        rc = command_read_whole("--seeds-from", text, 0, UINT32_MAX, &v, e);
        load->seeds_from = (uint32_t)v;
        return rc;
    }
}

static enum err_code read_option(int opt, const char *text, struct traffic_options *o,
                                 struct given *given, struct err *e)
{
    int cache = 0;
    enum err_code rc = ERR_OK;

    given->window |= opt == WINDOW;
    given->pause |= opt == PAUSE;
    given->rate |= opt == RATE;
    switch (opt) {
    case MODEL:
        o->model = text;
        break;
    case CONNECTIONS:
        return command_read_int("--connections", text, 1, TRAFFIC_CONNECTIONS_MAX, &o->connections,
                                e);
    case WINDOW:
        return command_read_int("--window", text, 1, TRAFFIC_WINDOW_MAX, &o->window, e);
    case PAUSE:
        return command_read_whole("--pause-us", text, 0, 60000000, &o->pause_us, e);
    case SECONDS:
        return read_seconds("--seconds", text, 86400, &o->measured_us, e);
    case WARMUP:
        return read_seconds("--warmup", text, 86400, &o->warmup_us, e);
    case PAGE:
        return command_read_int("--page", text, 1, MESSAGE_SEEDS_MAX, &o->page, e);
    case CACHE:
        rc = command_read_word("--cache", text, CACHE_WORDS, &cache, e);
        o->cache = CACHES[cache];
        break;
    case DEADLINE:
        return command_read_whole("--deadline-ms", text, 1, 3600000, &o->deadline_ms, e);
    case RECEIPTS:
        o->want = MESSAGE_WANT_RECEIPT;
        break;
    case VERIFY:
        o->verify = true;
        break;
    default:
        return read_load_option(opt, text, &o->load, e);
    }
    return rc;
}

/* EXIT_OK, or the code to end with after saying why. */
static int parse(const struct command_context *ctx, int argc, char **argv,
                 struct traffic_options *o)
{
    struct given given = { 0 };
    struct err e;
    int opt;

    optind = 0;                      /* glibc: begin anew, also after another command line */
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        if (opt < MODEL)
            return command_bad_option(ctx, argv, opt);
        if (read_option(opt, optarg, o, &given, &e))
            return command_usage(ctx, argv[0], "%s", e.msg);
    }
    if (optind < argc)
        return command_usage(ctx, argv[0], "unexpected argument \"%.40s\"", argv[optind]);
    if (!o->model)
        return command_usage(ctx, argv[0], "--model is missing");
    if (given.rate && (given.window || given.pause))
        return command_usage(ctx, argv[0], "--rate makes an open loop, which has no %s",
                             given.window ? "--window" : "--pause-us");
    if (o->measured_us == 0)
        return command_usage(ctx, argv[0], "--seconds must be more than 0");
    return EXIT_OK;
}

/* ---- figures ---- */

struct figures {
    double requests, pictures;      /* a second */
    int64_t failed;                 /* of all kinds */
    struct histogram all;           /* of all levels */
};

static void sum_up(const struct traffic_options *o, const struct traffic_tally *t,
                   struct figures *out)
{
    double seconds = (double)t->measured_us / 1e6;

    *out = (struct figures){ .failed = t->unanswered + t->unsent + t->damaged };
    for (int i = 0; i < ERR_COUNT; i++)
        out->failed += t->failed[i];
    for (int i = 0; i < MESSAGE_PRIORITY_COUNT; i++)
        histogram_merge(&out->all, &t->latency[i]);
    out->pictures = seconds > 0 ? (double)t->ok / seconds : 0;
    out->requests = out->pictures / o->page;
}

static const struct {
    const char *key, *title;
    int64_t share;
} PERCENTILES[] = {
    { "p50", "p50", 50000 },
    { "p90", "p90", 90000 },
    { "p99", "p99", 99000 },
    { "p99_9", "p99.9", 99900 },
    { "max", "max", 100000 },
};
enum { PERCENTILE_COUNT = sizeof PERCENTILES / sizeof PERCENTILES[0] };

static void print_latency(const char *name, const struct histogram *h)
{
    printf("  %-10s", name);
    for (int i = 0; i < PERCENTILE_COUNT; i++)
        printf(" %9.3f", (double)histogram_percentile(h, PERCENTILES[i].share) / 1000);
    printf("   %" PRId64 "\n", h->count);
}

static void print_failures(const struct traffic_tally *t)
{
    for (int i = 0; i < ERR_COUNT; i++)
        if (t->failed[i] > 0)
            printf("  %-14s %" PRId64 "\n", err_info((enum err_code)i)->word, t->failed[i]);
    if (t->unanswered > 0)
        printf("  %-14s %" PRId64 "\n", "unanswered", t->unanswered);
    if (t->unsent > 0)
        printf("  %-14s %" PRId64 " (%d were under way)\n", "unsent", t->unsent,
               TRAFFIC_FLIGHT_MAX);
    if (t->damaged > 0)
        printf("  %-14s %" PRId64 "\n", "damaged", t->damaged);
    if (t->first.code)
        printf("  the first: %s\n", t->first.msg);
}

static void print_text(const struct traffic_options *o, const struct traffic_tally *t)
{
    struct figures f;

    sum_up(o, t, &f);
    if (o->load.rate > 0)
        printf("open loop, %" PRId64 " requests/s over %d connections", o->load.rate,
               o->connections);
    else
        printf("closed loop, %d connections with %d requests each", o->connections, o->window);
    printf(", %.1f s: model %s\n", (double)t->measured_us / 1e6, o->model);
    printf("answered   %.1f requests/s, %.1f pictures/s, %.2f MB/s\n", f.requests, f.pictures,
           t->measured_us > 0 ? (double)t->bytes / (double)t->measured_us : 0);
    printf("pictures   %" PRId64 " ok, %" PRId64 " failed\n", t->ok, f.failed);
    print_failures(t);
    printf("source    ");
    for (int i = 0; i < 3; i++)
        printf(" %" PRId64 " %s%s", t->source[i], SOURCES[i], i < 2 ? "," : "\n");
    printf("latency, ms ");
    for (int i = 0; i < PERCENTILE_COUNT; i++)
        printf(" %9s", PERCENTILES[i].title);
    printf("   pictures\n");
    print_latency("all", &f.all);
    for (int i = 0; i < MESSAGE_PRIORITY_COUNT; i++)
        if (t->latency[i].count > 0)
            print_latency(LEVELS[i], &t->latency[i]);
}

static void add(cJSON *object, const char *name, int64_t value)
{
    cJSON_AddNumberToObject(object, name, (double)value);
}

static void add_settings(cJSON *root, const struct traffic_options *o)
{
    cJSON *s = cJSON_AddObjectToObject(root, "settings"), *mix;

    cJSON_AddStringToObject(s, "model", o->model);
    cJSON_AddStringToObject(s, "loop", o->load.rate > 0 ? "open" : "closed");
    if (o->load.rate > 0)
        add(s, "rate", o->load.rate);
    else {
        add(s, "window", o->window);
        add(s, "pause_us", o->pause_us);
    }
    add(s, "connections", o->connections);
    cJSON_AddNumberToObject(s, "seconds", (double)o->measured_us / 1e6);
    cJSON_AddNumberToObject(s, "warmup", (double)o->warmup_us / 1e6);
    mix = cJSON_AddObjectToObject(s, "mix");
    for (int i = 0; i < MESSAGE_PRIORITY_COUNT; i++)
        add(mix, LEVELS[i], o->load.weight[i]);
    add(s, "duplicates", o->load.duplicates);
    add(s, "seeds_from", o->load.seeds_from);
    add(s, "page", o->page);
    cJSON_AddStringToObject(s, "cache", o->cache == MESSAGE_CACHE_USE ? "use" : "bypass");
    add(s, "deadline_ms", o->deadline_ms);
    cJSON_AddBoolToObject(s, "receipts", o->want == MESSAGE_WANT_RECEIPT);
    cJSON_AddBoolToObject(s, "verify", o->verify);
}

static void add_latency(cJSON *parent, const char *name, const struct histogram *h)
{
    cJSON *object = cJSON_AddObjectToObject(parent, name);

    add(object, "count", h->count);
    for (int i = 0; i < PERCENTILE_COUNT; i++)
        add(object, PERCENTILES[i].key, histogram_percentile(h, PERCENTILES[i].share));
}

static void print_json(const struct traffic_options *o, const struct traffic_tally *t)
{
    cJSON *root = cJSON_CreateObject(), *object;
    double seconds = (double)t->measured_us / 1e6;
    struct figures f;

    sum_up(o, t, &f);
    add_settings(root, o);
    cJSON_AddNumberToObject(root, "measured_s", seconds);
    cJSON_AddNumberToObject(root, "requests_per_s", f.requests);
    cJSON_AddNumberToObject(root, "pictures_per_s", f.pictures);
    cJSON_AddNumberToObject(root, "bytes_per_s", seconds > 0 ? (double)t->bytes / seconds : 0);
    add(root, "ok", t->ok);
    add(root, "failed", f.failed);
    object = cJSON_AddObjectToObject(root, "errors");
    for (int i = 0; i < ERR_COUNT; i++)
        if (t->failed[i] > 0)
            add(object, err_info((enum err_code)i)->word, t->failed[i]);
    add(root, "unanswered", t->unanswered);
    add(root, "unsent", t->unsent);
    add(root, "damaged", t->damaged);
    if (t->first.code)
        cJSON_AddStringToObject(root, "first_error", t->first.msg);
    object = cJSON_AddObjectToObject(root, "sources");
    for (int i = 0; i < 3; i++)
        add(object, SOURCES[i], t->source[i]);
    add_latency(root, "latency_us", &f.all);
    object = cJSON_AddObjectToObject(root, "levels");
    for (int i = 0; i < MESSAGE_PRIORITY_COUNT; i++)
        if (t->latency[i].count > 0)
            add_latency(object, LEVELS[i], &t->latency[i]);
    add(root, "request_bytes", (int64_t)t->request_bytes);
    object = cJSON_AddObjectToObject(root, "in_all");
    add(object, "asked", t->all_asked);
    add(object, "ended", t->all_ended);
    command_print(root);
}

/* ---- the command ---- */

struct meter {                      /* the rate since the last word */
    int64_t at_us, ended;
};

static void show_progress(void *arg, const struct traffic_tally *t)
{
    struct meter *meter = arg;
    int64_t now_us = clock_us();

    fprintf(stderr, "%.0f pictures/s, %" PRId64 " in all, %" PRId64 " under way\n",
            (double)(t->all_ended - meter->ended) * 1e6 / (double)(now_us - meter->at_us),
            t->all_ended, t->all_asked - t->all_ended);
    *meter = (struct meter){ now_us, t->all_ended };
}

static int exit_code(const struct command_context *ctx, const struct traffic_options *o,
                     const struct traffic_tally *t)
{
    struct figures f;

    sum_up(o, t, &f);
    if (*ctx->interrupted)
        return err_info(ERR_CANCELLED)->exit_code;
    if (f.failed == 0)
        return EXIT_OK;
    return t->ok > 0 || !t->first.code ? EXIT_PARTLY : err_info(t->first.code)->exit_code;
}

static const char *or_environment(const char *given, const char *name)
{
    return given ? given : getenv(name);
}

/* Runs the load with the keys that the command line or the environment name. */
static enum err_code run_load(const struct command_context *ctx, struct traffic_options *options,
                              struct traffic_tally *tally, struct err *e)
{
    char broker_key[KEY_SIZE];
    struct key_pair own;
    struct link_curve curve = { own.public_key, own.secret_key, broker_key };
    bool has_keys = false;
    enum err_code rc;

    rc = key_find_both(or_environment(ctx->key_file, "SEEDPRESS_KEY_FILE"),
                       or_environment(ctx->broker_key, "SEEDPRESS_BROKER_KEY"), &own, broker_key,
                       &has_keys, e);
    options->curve = has_keys ? &curve : NULL;
    if (!rc)
        rc = traffic_run(options, tally, e);
    options->curve = NULL;
    key_pair_wipe(&own);
    return rc;
}

int cmd_bench_run(const struct command_context *ctx, int argc, char **argv)
{
    struct meter meter = { clock_us(), 0 };
    struct traffic_options options = {
        .brokers = ctx->broker, .connections = 8, .window = 8,
        .load = { .weight = { [MESSAGE_NORMAL] = 100 },
                  .seeds_from = (uint32_t)(clock_wall_ms() * 1000),
                  .dice = (uint64_t)clock_us() },
        .warmup_us = 1000000, .measured_us = 10000000, .deadline_ms = 10000, .page = 1,
        .interrupted = ctx->interrupted, .on_progress = ctx->json ? NULL : show_progress,
        .arg = &meter,
    };
    struct traffic_tally *tally = malloc(sizeof *tally);
    struct err e;
    int code = parse(ctx, argc, argv, &options);

    if (!tally && !code) {
        err_set(&e, ERR_NOMEM, "no memory for the figures");
        code = command_fail(ctx, &e);
    }
    if (!code && run_load(ctx, &options, tally, &e))
        code = command_fail(ctx, &e);
    else if (!code) {
        if (ctx->json)
            print_json(&options, tally);
        else
            print_text(&options, tally);
        code = exit_code(ctx, &options, tally);
    }
    free(tally);
    return code;
}
