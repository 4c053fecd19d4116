/* broker -- what the broker costs beside the least that could stand in its place: zmq_proxy, a
 * ROUTER and a DEALER with nothing between.
 *
 *     broker [ROUNDS]
 *
 * In each round every system is loaded in turn by 8 connections that keep 8 requests each under
 * way, with 8 workers that answer at once: so a ratio compares figures of the same minute. Clients,
 * workers and the proxy of the peer are here; ours are the programs of $SEEDPRESS_BUILD (seedpress
 * bench, seedpress-worker --dummy). Each system is three processes: client, broker, 8 workers in
 * one thread. A request of the peer has as many bytes as ours, a reply the payload alone; ours
 * carries the picture's facts as well, about 650 bytes. Both workers copy the payload for each
 * reply.
 *
 * Prints each round, then tables for RESULTS.md: medians, lowest and highest. */
#include "base/clock.h"
#include "client/histogram.h"
#include "proto/number.h"
#include "tests/kit_stack.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum {
    ROUNDS = 6, ROUNDS_MAX = 50,
    CONNECTIONS = 8, WINDOW = 8, WORKERS = 8,
    MEASURED_US = 1000000, WARMUP_US = 200000,
    CALM_US = 500000, CALM_PAUSE_US = 1000,     /* one request at a time */
    REQUEST_MAX = 4096,
    QUEUED = 100000, QUEUED_CLIENTS = 16, HELD = 8,
};

static const size_t SIZES[] = { 64, 32768, 200000 };
enum { SIZE_COUNT = sizeof SIZES / sizeof SIZES[0], CURVE_SIZE = 1 };

static void die(const char *what)
{
    fprintf(stderr, "bench/broker: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- processes ---- */

/* Forks into role, which must not return; it dies with this process. */
static pid_t start_role(void (*role)(void *arg), void *arg)
{
    pid_t parent = getpid(), pid;

    fflush(stdout);                  /* else the role prints it again */
    pid = fork();
    if (pid < 0)
        die("could not fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            role(arg);
        _exit(1);
    }
    return pid;
}

static void end_role(pid_t *pid)
{
    if (*pid > 0) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
    }
    *pid = 0;
}

static int64_t cpu_us_of(pid_t pid)
{
    struct timespec t;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        die("could not read a process's CPU time");
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t cpu_us_of_usage(const struct rusage *u)
{
    return (int64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000 + u->ru_utime.tv_usec +
           u->ru_stime.tv_usec;
}

/* ---- the peer: zmq_proxy, its workers, its clients ---- */

struct curve_keys {
    char public[41], secret[41];
};

struct proxy_ends {                 /* what the proxy says when it is ready */
    char front[64], back[64];
};

struct peer {
    bool is_curve;
    struct curve_keys server, user;
    struct proxy_ends ends;
    int pipe[2];
    pid_t proxy, workers;
};

/* What a client's process says at its end. */
struct load_result {
    int64_t in_time, in_all;        /* answers */
    int64_t p50_us, p99_us;
};

struct peer_load {
    const struct peer *peer;
    size_t request_bytes, reply_bytes;
    int connections, window;
    int64_t warmup_us, measured_us, pause_us;
    int pipe[2];
};

/* A request of the peer: these, then padding. A reply begins with the id. */
struct peer_head {
    uint64_t id;
    uint64_t reply_bytes;
};

static void *open_socket(void *context, int type, const struct peer *peer, bool is_server)
{
    void *socket = zmq_socket(context, type);
    int zero = 0, one = 1;

    if (!socket)
        die("could not make a socket");
    zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero);
    if (peer->is_curve && is_server) {
        zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &one, sizeof one);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, peer->server.secret, 41);
    } else if (peer->is_curve) {
        zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, peer->server.public, 41);
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, peer->user.public, 41);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, peer->user.secret, 41);
    }
    return socket;
}

static void bind_anywhere(void *socket, char *endpoint, size_t cap)
{
    if (zmq_bind(socket, "tcp://127.0.0.1:*") != 0 ||
        zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &cap) != 0)
        die("could not listen");
}

static void be_proxy(void *arg)
{
    const struct peer *peer = arg;
    struct proxy_ends ends = { .front = "" };
    void *context = zmq_ctx_new();
    void *front = open_socket(context, ZMQ_ROUTER, peer, true);
    void *back = open_socket(context, ZMQ_DEALER, peer, true);

    bind_anywhere(front, ends.front, sizeof ends.front);
    bind_anywhere(back, ends.back, sizeof ends.back);
    if (write(peer->pipe[1], &ends, sizeof ends) != (ssize_t)sizeof ends)
        die("could not tell the proxy's ends");
    zmq_proxy(front, back, NULL);
}

/* [client's id, request] in, [client's id, payload] out. */
static bool answer_one(void *socket, const uint8_t *payload)
{
    zmq_msg_t client, request, reply;
    struct peer_head head = { 0 };

    zmq_msg_init(&client);
    zmq_msg_init(&request);
    if (zmq_msg_recv(&client, socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&client);
        return false;
    }
    zmq_msg_recv(&request, socket, 0);
    if (zmq_msg_size(&request) < sizeof head)
        die("a request of the peer is too short");
    memcpy(&head, zmq_msg_data(&request), sizeof head);
    zmq_msg_init_size(&reply, head.reply_bytes);
    memcpy(zmq_msg_data(&reply), payload, head.reply_bytes);
    memcpy(zmq_msg_data(&reply), &head.id, sizeof head.id);
    zmq_msg_send(&client, socket, ZMQ_SNDMORE);
    zmq_msg_send(&reply, socket, 0);
    zmq_msg_close(&request);
    return true;
}

static void be_workers(void *arg)
{
    const struct peer *peer = arg;
    void *context = zmq_ctx_new();
    uint8_t *payload = calloc(1, SIZES[SIZE_COUNT - 1]);
    zmq_pollitem_t items[WORKERS];

    if (!payload)
        die("no memory");
    for (int i = 0; i < WORKERS; i++) {
        items[i] = (zmq_pollitem_t){ .socket = open_socket(context, ZMQ_DEALER, peer, false),
                                     .events = ZMQ_POLLIN };
        if (zmq_connect(items[i].socket, peer->ends.back) != 0)
            die("could not connect a worker");
    }
    for (;;) {
        zmq_poll(items, WORKERS, -1);
        for (int i = 0; i < WORKERS; i++)
            while (items[i].revents && answer_one(items[i].socket, payload))
                ;
    }
}

static void peer_start(struct peer *self, bool is_curve)
{
    *self = (struct peer){ .is_curve = is_curve };
    if (is_curve && (zmq_curve_keypair(self->server.public, self->server.secret) != 0 ||
                     zmq_curve_keypair(self->user.public, self->user.secret) != 0))
        die("could not make keys");
    if (pipe(self->pipe) != 0)
        die("could not make a pipe");
    self->proxy = start_role(be_proxy, self);
    if (read(self->pipe[0], &self->ends, sizeof self->ends) != (ssize_t)sizeof self->ends)
        die("the proxy did not start");
    close(self->pipe[0]);
    close(self->pipe[1]);
    self->workers = start_role(be_workers, self);
}

static void peer_stop(struct peer *self)
{
    end_role(&self->workers);
    end_role(&self->proxy);
}

struct client {                     /* of the peer */
    const struct peer_load *load;
    zmq_pollitem_t items[CONNECTIONS];
    int64_t sent_us[CONNECTIONS * WINDOW];      /* by id */
    int64_t from_us, until_us;
    struct histogram latency;
    struct load_result result;
};

static void ask(struct client *self, uint64_t id)
{
    const struct peer_load *l = self->load;
    struct peer_head head = { id, l->reply_bytes };
    zmq_msg_t request;

    zmq_msg_init_size(&request, l->request_bytes);
    memset(zmq_msg_data(&request), 0, l->request_bytes);
    memcpy(zmq_msg_data(&request), &head, sizeof head);
    self->sent_us[id] = clock_us();
    if (zmq_msg_send(&request, self->items[id % (uint64_t)l->connections].socket, 0) < 0)
        die("could not send a request");
}

static bool take_reply(struct client *self, void *socket)
{
    int64_t now_us;
    zmq_msg_t reply;
    uint64_t id;

    zmq_msg_init(&reply);
    if (zmq_msg_recv(&reply, socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&reply);
        return false;
    }
    if (zmq_msg_size(&reply) != self->load->reply_bytes)
        die("a reply of the peer has another length");
    now_us = clock_us();
    memcpy(&id, zmq_msg_data(&reply), sizeof id);
    zmq_msg_close(&reply);
    self->result.in_all++;
    if (now_us >= self->from_us && now_us < self->until_us) {
        self->result.in_time++;
        histogram_add(&self->latency, now_us - self->sent_us[id]);
    }
    if (self->load->pause_us > 0)
        usleep((useconds_t)self->load->pause_us);
    if (now_us < self->until_us)
        ask(self, id);
    return true;
}

static void be_client(void *arg)
{
    struct peer_load *load = arg;
    struct client *self = calloc(1, sizeof *self);
    void *context = zmq_ctx_new();

    if (!self)
        die("no memory");
    self->load = load;
    for (int i = 0; i < load->connections; i++) {
        self->items[i] = (zmq_pollitem_t){
            .socket = open_socket(context, ZMQ_DEALER, load->peer, false), .events = ZMQ_POLLIN
        };
        if (zmq_connect(self->items[i].socket, load->peer->ends.front) != 0)
            die("could not connect a client");
    }
    self->from_us = clock_us() + load->warmup_us;
    self->until_us = self->from_us + load->measured_us;
    for (int i = 0; i < load->connections * load->window; i++)
        ask(self, (uint64_t)i);
    while (clock_us() < self->until_us) {
        zmq_poll(self->items, load->connections, 100);
        for (int i = 0; i < load->connections; i++)
            while (self->items[i].revents && take_reply(self, self->items[i].socket))
                ;
    }
    self->result.p50_us = histogram_percentile(&self->latency, 50000);
    self->result.p99_us = histogram_percentile(&self->latency, 99000);
    if (write(load->pipe[1], &self->result, sizeof self->result) != (ssize_t)sizeof self->result)
        die("could not tell a result");
    _exit(0);
}

/* ---- figures ---- */

struct figure {                     /* of one run */
    bool is_there;
    double rate;                    /* requests a second */
    double client_us, broker_us, worker_us;     /* CPU of a request */
    double p50_us, p99_us;
    double from_memory;             /* share of the answers */
};

static void add_costs(struct figure *out, int64_t client_us, int64_t broker_us, int64_t worker_us,
                      int64_t requests)
{
    double n = requests > 0 ? (double)requests : 1;

    out->client_us = (double)client_us / n;
    out->broker_us = (double)broker_us / n;
    out->worker_us = (double)worker_us / n;
}

/* How a run loads a system. */
struct pace {
    int connections, window;
    int64_t warmup_us, measured_us, pause_us;
};
static const struct pace FULL = { CONNECTIONS, WINDOW, WARMUP_US, MEASURED_US, 0 };
static const struct pace CALM = { 1, 1, WARMUP_US / 4, CALM_US, CALM_PAUSE_US };

static struct figure measure_peer(const struct peer *peer, size_t request_bytes, size_t bytes,
                                  const struct pace *pace)
{
    struct peer_load load = { .peer = peer, .request_bytes = request_bytes, .reply_bytes = bytes,
                              .connections = pace->connections, .window = pace->window,
                              .warmup_us = pace->warmup_us, .measured_us = pace->measured_us,
                              .pause_us = pace->pause_us };
    int64_t broker_us = cpu_us_of(peer->proxy), worker_us = cpu_us_of(peer->workers);
    struct load_result result = { 0 };
    struct figure out = { .is_there = true };
    struct rusage usage;
    pid_t client;

    if (pipe(load.pipe) != 0)
        die("could not make a pipe");
    client = start_role(be_client, &load);
    close(load.pipe[1]);
    if (read(load.pipe[0], &result, sizeof result) != (ssize_t)sizeof result ||
        wait4(client, NULL, 0, &usage) < 0)
        die("a client of the peer did not end well");
    close(load.pipe[0]);
    out.rate = (double)result.in_time * 1e6 / (double)pace->measured_us;
    out.p50_us = (double)result.p50_us;
    out.p99_us = (double)result.p99_us;
    add_costs(&out, cpu_us_of_usage(&usage), cpu_us_of(peer->proxy) - broker_us,
              cpu_us_of(peer->workers) - worker_us, result.in_all);
    return out;
}

/* ---- ours: the programs ---- */

struct keys {                       /* CURVE, as files; path "": plain sockets */
    char folder[64];
    char ring[128], broker[128], broker_public[128], worker[128], client[128];
};

struct press {
    struct kit_program broker, workers;
    char clients_end[64], workers_end[64];
    const struct keys *keys;        /* NULL: plain */
};

enum { ARGS_MAX = 48 };
struct args {
    const char *list[ARGS_MAX];
    size_t count;
};

static void add_args(struct args *self, const char *const *list)
{
    for (; list && *list && self->count < ARGS_MAX - 1; list++)
        self->list[self->count++] = *list;
    self->list[self->count] = NULL;
}

static void copy_value(const char *line, const char *key, char *out, size_t cap)
{
    const char *at = strstr(line, key);

    if (!at)
        die("a log line without its value");
    at += strlen(key);
    snprintf(out, cap, "%.*s", (int)strcspn(at, " "), at);
}

static void press_start_broker(struct press *self, const char *const *flags)
{
    static const char *const PLAIN[] = { "seedpress-broker", "--ledger", "none", "--listen",
                                         "tcp://127.0.0.1:*", "--worker-listen",
                                         "tcp://127.0.0.1:*", "--metrics-listen", "",
                                         "--supervise", "0", NULL };   /* CPU of one process */
    struct args args = { .count = 0 };
    char line[512];

    add_args(&args, PLAIN);
    if (self->keys)
        add_args(&args, (const char *[]){ "--key-file", self->keys->broker, "--keyring",
                                          self->keys->ring, NULL });
    add_args(&args, flags);
    program_start(&self->broker, args.list);
    program_wait_for(&self->broker, " broker_ready ", line, sizeof line);
    copy_value(line, "clients=", self->clients_end, sizeof self->clients_end);
    copy_value(line, "workers=", self->workers_end, sizeof self->workers_end);
}

static void start_workers(const struct press *self, struct kit_program *out, const char *dummy)
{
    struct args args = { .count = 0 };

    add_args(&args, (const char *[]){ "seedpress-worker", "--brokers", self->workers_end,
                                      "--dummy", dummy, NULL });
    if (self->keys)
        add_args(&args, (const char *[]){ "--key-file", self->keys->worker, "--broker-key",
                                          self->keys->broker_public, NULL });
    program_start(out, args.list);
    program_wait_for(out, " broker_joined ", NULL, 0);
}

static void press_start(struct press *self, size_t bytes, const struct keys *keys)
{
    char dummy[64];

    *self = (struct press){ .keys = keys };
    press_start_broker(self, NULL);
    snprintf(dummy, sizeof dummy, "bytes=%zu,count=%d", bytes, WORKERS);
    start_workers(self, &self->workers, dummy);
    for (int i = 1; i < WORKERS; i++)
        program_wait_for(&self->workers, " broker_joined ", NULL, 0);
}

static void press_stop(struct press *self)
{
    program_kill(&self->workers);
    program_kill(&self->broker);
}

/* Runs a program of the build, takes what it prints, up to cap - 1 bytes, and what it cost. Returns
 * its exit code. */
static int run_program(const struct args *args, char *out, size_t cap, struct rusage *usage)
{
    const char *build = getenv("SEEDPRESS_BUILD");
    int ends[2], status;
    char path[512];
    size_t len = 0;
    ssize_t got;
    pid_t pid;

    snprintf(path, sizeof path, "%s/%s", build ? build : "build", args->list[0]);
    if (pipe2(ends, O_CLOEXEC) != 0)
        die("could not make a pipe");
    pid = fork();
    if (pid < 0)
        die("could not fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        execv(path, (char *const *)(uintptr_t)args->list);
        _exit(127);
    }
    close(ends[1]);
    while (len < cap - 1 && (got = read(ends[0], out + len, cap - 1 - len)) > 0)
        len += (size_t)got;
    out[len] = '\0';
    close(ends[0]);
    if (wait4(pid, &status, 0, usage) < 0)
        die("could not wait for a program");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static double number_in(const cJSON *object, const char *outer, const char *name)
{
    if (outer)
        object = cJSON_GetObjectItemCaseSensitive(object, outer);
    object = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(object) ? object->valuedouble : 0;
}

/* seedpress bench at that pace, with extra options; NULL when it does not end well. The caller's to
 * delete. */
static cJSON *run_bench(const struct press *self, const struct pace *pace, const char *const *extra,
                        struct rusage *usage)
{
    char connections[16], window[16], seconds[32], warmup[32], pause[32], out[16384];
    struct args args = { .count = 0 };
    int code;

    snprintf(connections, sizeof connections, "%d", pace->connections);
    snprintf(window, sizeof window, "%d", pace->window);
    snprintf(pause, sizeof pause, "%lld", (long long)pace->pause_us);
    snprintf(seconds, sizeof seconds, "%.2f", (double)pace->measured_us / 1e6);
    snprintf(warmup, sizeof warmup, "%.2f", (double)pace->warmup_us / 1e6);
    add_args(&args, (const char *[]){
        "seedpress", "--json", "--broker", self->clients_end, "bench", "--model", "dummy",
        "--connections", connections, "--window", window, "--pause-us", pause, "--seconds", seconds,
        "--warmup", warmup, NULL });
    if (self->keys)
        add_args(&args, (const char *[]){ "--key-file", self->keys->client, "--broker-key",
                                          self->keys->broker_public, NULL });
    add_args(&args, extra);
    code = run_program(&args, out, sizeof out, usage);
    return code == 0 ? cJSON_Parse(out) : NULL;
}

static struct figure measure_press(const struct press *self, const struct pace *pace,
                                   const char *const *extra)
{
    int64_t broker_us = cpu_us_of(self->broker.pid), worker_us = cpu_us_of(self->workers.pid);
    struct figure out = { .is_there = false };
    struct rusage usage;
    cJSON *json = run_bench(self, pace, extra, &usage);

    if (!json)
        return out;
    out.is_there = true;
    out.rate = number_in(json, NULL, "requests_per_s");
    out.p50_us = number_in(json, "latency_us", "p50");
    out.p99_us = number_in(json, "latency_us", "p99");
    out.from_memory = number_in(json, "sources", "memory") / (number_in(json, NULL, "ok") + 1e-9);
    add_costs(&out, cpu_us_of_usage(&usage), cpu_us_of(self->broker.pid) - broker_us,
              cpu_us_of(self->workers.pid) - worker_us,
              (int64_t)number_in(json, "in_all", "ended"));
    cJSON_Delete(json);
    return out;
}

/* ---- keys ---- */

/* Makes NAME.key and NAME.pub; the line for the keyring goes to ring, if there is one. */
static void make_key(const struct keys *keys, const char *name, const char *role, FILE *ring)
{
    struct args args = { .list = { "seedpress", "--json", "keygen", name, "--role", role, "-o",
                                   keys->folder }, .count = 8 };
    struct rusage usage;
    char out[1024];
    const cJSON *line;
    cJSON *json;

    if (run_program(&args, out, sizeof out, &usage) != 0)
        die("seedpress keygen failed");
    json = cJSON_Parse(out);
    line = cJSON_GetObjectItemCaseSensitive(json, "keyring_line");
    if (!cJSON_IsString(line))
        die("seedpress keygen gives no line for the keyring");
    if (ring)
        fprintf(ring, "%s\n", line->valuestring);
    cJSON_Delete(json);
}

static void keys_make(struct keys *self)
{
    FILE *ring;

    snprintf(self->folder, sizeof self->folder, "/tmp/seedpress-bench-XXXXXX");
    if (!mkdtemp(self->folder))
        die("could not make a folder");
    snprintf(self->ring, sizeof self->ring, "%s/keyring", self->folder);
    snprintf(self->broker, sizeof self->broker, "%s/broker.key", self->folder);
    snprintf(self->broker_public, sizeof self->broker_public, "%s/broker.pub", self->folder);
    snprintf(self->worker, sizeof self->worker, "%s/worker.key", self->folder);
    snprintf(self->client, sizeof self->client, "%s/client.key", self->folder);
    ring = fopen(self->ring, "w");
    if (!ring)
        die("could not write a keyring");
    make_key(self, "broker", "worker", NULL);
    make_key(self, "worker", "worker", ring);
    make_key(self, "client", "client", ring);
    fclose(ring);
}

static void keys_remove(const struct keys *self)
{
    static const char *const NAMES[] = { "keyring", "broker.key", "broker.pub", "worker.key",
                                         "worker.pub", "client.key", "client.pub" };
    char path[128];

    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", self->folder, NAMES[i]);
        unlink(path);
    }
    rmdir(self->folder);
}

/* ---- rounds ---- */

enum { ROW_CACHE = SIZE_COUNT, ROW_CURVE, ROW_COUNT };     /* before them a row for each size */

struct round {
    struct figure peer[ROW_COUNT], press[ROW_COUNT];
    struct figure calm_peer[ROW_COUNT], calm_press[ROW_COUNT];
};

struct bench {
    size_t request_bytes;           /* of ours */
    struct peer plain, curved;
    struct press press[SIZE_COUNT], press_curved;
    struct keys keys;
    struct round rounds[ROUNDS_MAX];
    int count;
};

static size_t size_of_row(int row)
{
    return SIZES[row < SIZE_COUNT ? row : CURVE_SIZE];
}

static const char *const ALL_HOT[] = { "--duplicates", "100", NULL };

static void run_row(struct bench *self, struct round *round, int row)
{
    bool is_curve = row == ROW_CURVE;
    const struct peer *peer = is_curve ? &self->curved : &self->plain;
    const struct press *press = is_curve ? &self->press_curved
                                         : &self->press[row < SIZE_COUNT ? row : CURVE_SIZE];
    const char *const *extra = row == ROW_CACHE ? ALL_HOT : NULL;
    size_t bytes = size_of_row(row);

    if (row == ROW_CACHE) {          /* beside the peer of that size in the same round */
        round->peer[row] = round->peer[CURVE_SIZE];
        round->calm_peer[row] = round->calm_peer[CURVE_SIZE];
    } else {
        round->peer[row] = measure_peer(peer, self->request_bytes, bytes, &FULL);
        round->calm_peer[row] = measure_peer(peer, self->request_bytes, bytes, &CALM);
    }
    round->press[row] = measure_press(press, &FULL, extra);
    round->calm_press[row] = measure_press(press, &CALM, extra);
    if (row == ROW_CACHE && round->press[row].from_memory < 0.9)     /* something else, then */
        round->press[row].is_there = round->calm_press[row].is_there = false;
}

static const char *name_of_row(int row, char out[48])
{
    if (row == ROW_CACHE)
        snprintf(out, 48, "hits in memory, %zu bytes", SIZES[CURVE_SIZE]);
    else if (row == ROW_CURVE)
        snprintf(out, 48, "CURVE, %zu bytes", SIZES[CURVE_SIZE]);
    else
        snprintf(out, 48, "%zu bytes", SIZES[row]);
    return out;
}

static void run_round(struct bench *self)
{
    struct round *round = &self->rounds[self->count++];
    char name[48];

    for (int row = 0; row < ROW_COUNT; row++) {
        run_row(self, round, row);
        printf("round %d, %s: zmq_proxy %.0f/s", self->count, name_of_row(row, name),
               round->peer[row].rate);
        if (round->press[row].is_there)
            printf(", seedpress %.0f/s, ratio %.2f\n", round->press[row].rate,
                   round->press[row].rate / round->peer[row].rate);
        else
            printf(", seedpress: no figure\n");
        fflush(stdout);
    }
}

/* ---- tables ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct spread {
    double median, low, high;
    int count;
};

/* Of what pick reads out of the rounds; NAN-free: rounds without the figure are left out. */
static struct spread spread_of(const struct bench *b, int row,
                               bool (*pick)(const struct round *round, int row, double *out))
{
    double values[ROUNDS_MAX];
    int count = 0;

    for (int i = 0; i < b->count; i++)
        count += pick(&b->rounds[i], row, &values[count]);
    if (count == 0)
        return (struct spread){ 0 };
    qsort(values, (size_t)count, sizeof values[0], by_size);
    return (struct spread){ (values[(count - 1) / 2] + values[count / 2]) / 2, values[0],
                            values[count - 1], count };
}

/* One function for each column: what it is of which system. */
#define PICK(name, where, what)                                                                    \
    static bool name(const struct round *round, int row, double *out)                              \
    {                                                                                              \
        *out = round->where[row].what;                                                             \
        return round->where[row].is_there;                                                         \
    }
PICK(peer_rate, peer, rate)
PICK(peer_client, peer, client_us)
PICK(peer_broker, peer, broker_us)
PICK(peer_worker, peer, worker_us)
PICK(peer_p50, calm_peer, p50_us)
PICK(peer_p99, calm_peer, p99_us)
PICK(press_rate, press, rate)
PICK(press_client, press, client_us)
PICK(press_broker, press, broker_us)
PICK(press_worker, press, worker_us)
PICK(press_p50, calm_press, p50_us)
PICK(press_p99, calm_press, p99_us)
#undef PICK

static bool ratio(const struct round *round, int row, double *out)
{
    *out = round->press[row].rate / round->peer[row].rate;
    return round->press[row].is_there;
}

static bool calm_ratio(const struct round *round, int row, double *out)
{
    *out = round->calm_press[row].p50_us / round->calm_peer[row].p50_us;
    return round->calm_press[row].is_there;
}

static void print_cell(struct spread s, int places)
{
    if (s.count == 0)
        printf(" - |");
    else
        printf(" %.*f (%.*f to %.*f) |", places, s.median, places, s.low, places, s.high);
}

static void print_rates(const struct bench *b)
{
    char name[48];

    printf("\n| replies | system | requests/s | **ratio** | broker, CPU us a request | worker | "
           "client |\n| --- | --- | --- | --- | --- | --- | --- |\n");
    for (int row = 0; row < ROW_COUNT; row++) {
        if (row != ROW_CACHE) {
            printf("| %s | zmq_proxy |", name_of_row(row, name));
            print_cell(spread_of(b, row, peer_rate), 0);
            printf(" 1.00 |");
            print_cell(spread_of(b, row, peer_broker), 1);
            print_cell(spread_of(b, row, peer_worker), 1);
            print_cell(spread_of(b, row, peer_client), 1);
            putchar('\n');
        }
        printf("| %s | seedpress |", name_of_row(row, name));
        print_cell(spread_of(b, row, press_rate), 0);
        print_cell(spread_of(b, row, ratio), 2);
        print_cell(spread_of(b, row, press_broker), 1);
        print_cell(spread_of(b, row, press_worker), 1);
        print_cell(spread_of(b, row, press_client), 1);
        putchar('\n');
    }
}

static void print_calm(const struct bench *b)
{
    char name[48];

    printf("\nOne request at a time, %d us between an answer and the next request:\n\n"
           "| replies | zmq_proxy p50, us | p99 | seedpress p50 | p99 | ratio of p50 |\n"
           "| --- | --- | --- | --- | --- | --- |\n", CALM_PAUSE_US);
    for (int row = 0; row < ROW_COUNT; row++) {
        printf("| %s |", name_of_row(row, name));
        print_cell(spread_of(b, row, peer_p50), 0);
        print_cell(spread_of(b, row, peer_p99), 0);
        print_cell(spread_of(b, row, press_p50), 0);
        print_cell(spread_of(b, row, press_p99), 0);
        print_cell(spread_of(b, row, calm_ratio), 2);
        putchar('\n');
    }
}

/* ---- a long queue, a killed worker: stories in a process of their own ---- */

struct story {
    struct press press;
    struct kit_program other;       /* a second worker */
    int pipe[2];
};

/* What the broker reports; false when it does not answer in time. */
static bool ask_status(struct kit_asker *asker, struct message_status_report *out)
{
    struct message m;
    struct parcel parcel;
    bool done;

    message_init(&m, MESSAGE_STATUS, 999999);
    asker_send(asker, &m);
    done = asker_receive(asker, &m, &parcel, 60000);
    if (done && m.type == MESSAGE_ERROR)
        fprintf(stderr, "bench/broker: %.*s\n", (int)m.error.message.len, m.error.message.data);
    if (done && m.type != MESSAGE_STATUS_REPORT)
        exit(1);
    if (done) {
        *out = m.status_report;      /* its texts and workers are not read */
        message_release(&m);
        parcel_release(&parcel);
    }
    return done;
}

static int64_t resident_bytes(pid_t pid)
{
    char path[64];
    long pages = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    file = fopen(path, "r");
    if (!file || fscanf(file, "%*s %ld", &pages) != 1)
        die("could not read a process's memory");
    fclose(file);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static struct message dummy_wish(int64_t id)
{
    struct message m = generate_of(id, id, 1000000);

    m.generate.model = text_of("dummy");
    m.generate.deadline_ms = 3600000;
    return m;
}

/* Bytes of the broker's memory for each of QUEUED jobs that no worker takes. */
static void be_queue_filler(void *arg)
{
    struct story *story = arg;
    struct kit_asker askers[QUEUED_CLIENTS];
    struct message_status_report st = { .waiters = 0 };
    int64_t before, after;

    for (int i = 0; i < QUEUED_CLIENTS; i++) {
        asker_open(&askers[i], story->press.clients_end, LINK_DEALER);
        if (!ask_status(&askers[i], &st))
            die("the broker does not answer");
    }
    before = resident_bytes(story->press.broker.pid);
    for (int i = 0; i < QUEUED; i++) {
        struct message m = dummy_wish(i + 1);

        asker_send(&askers[i % QUEUED_CLIENTS], &m);
    }
    for (int i = 0; i < QUEUED_CLIENTS; i++)         /* answered behind all that was sent there */
        if (!ask_status(&askers[i], &st))
            die("the broker does not answer");
    after = resident_bytes(story->press.broker.pid);
    if (st.queued_high + st.queued_normal + st.queued_low != QUEUED)
        die("the broker did not queue every job");
    after -= before;
    if (write(story->pipe[1], &after, sizeof after) != (ssize_t)sizeof after)
        die("could not tell a result");
    _exit(0);
}

struct rescue {
    int64_t answered, twice, ms;
};

/* HELD jobs lie at a worker that will not finish; it is killed while another one is there. */
static void be_witness(void *arg)
{
    struct story *story = arg;
    struct message_status_report st = { .held = 0 };
    int seen[HELD + 1] = { 0 };
    struct rescue out = { 0 };
    struct kit_asker asker;
    struct message m;
    struct parcel parcel;
    int64_t killed_ms;

    asker_open(&asker, story->press.clients_end, LINK_DEALER);
    for (int i = 1; i <= HELD; i++) {
        m = dummy_wish(i);
        asker_send(&asker, &m);
    }
    while (st.held + st.rendering < HELD)
        if (!ask_status(&asker, &st))
            die("the broker does not answer");
    start_workers(&story->press, &story->other, "bytes=64");
    killed_ms = clock_ms();
    kill(story->press.workers.pid, SIGKILL);
    /* Another second after the last one, for what might come twice. */
    while (asker_receive(&asker, &m, &parcel, out.answered < HELD ? 60000 : 1000)) {
        if (m.type == MESSAGE_IMAGE && m.id >= 1 && m.id <= HELD) {
            out.answered += seen[m.id] == 0;
            out.twice += seen[m.id]++ > 0;
            out.ms = clock_ms() - killed_ms;
        }
        message_release(&m);
        parcel_release(&parcel);
    }
    if (write(story->pipe[1], &out, sizeof out) != (ssize_t)sizeof out)
        die("could not tell a result");
    program_kill(&story->other);
    _exit(0);
}

static void run_story(struct story *story, void (*role)(void *arg), void *out, size_t size)
{
    pid_t pid;

    if (pipe(story->pipe) != 0)
        die("could not make a pipe");
    pid = start_role(role, story);
    close(story->pipe[1]);
    if (read(story->pipe[0], out, size) != (ssize_t)size || waitpid(pid, NULL, 0) < 0)
        die("a story did not end well");
    close(story->pipe[0]);
}

static void print_queued_bytes(void)
{
    static const char *const ROOMY[] = { "--grace-ms", "600000", "--waiters-max", "1000000",
                                         "--client-waiters-max", "1000000",
                                         "--level-waiters-max", "1000000", NULL };
    struct story story = { .pipe = { -1, -1 } };
    int64_t bytes = 0;

    press_start_broker(&story.press, ROOMY);
    start_workers(&story.press, &story.press.workers, "bytes=64");
    program_signal(&story.press.workers, SIGTERM);   /* it leaves: the model stays known */
    program_wait(&story.press.workers);
    run_story(&story, be_queue_filler, &bytes, sizeof bytes);
    printf("\n%d jobs queued, no worker: %lld bytes of the broker's memory each\n", QUEUED,
           (long long)(bytes / QUEUED));
    press_stop(&story.press);
}

static void print_rescue(void)
{
    struct story story = { .pipe = { -1, -1 } };
    struct rescue rescue = { 0 };

    press_start_broker(&story.press, NULL);
    start_workers(&story.press, &story.press.workers, "bytes=64,b_us=600000000");
    run_story(&story, be_witness, &rescue, sizeof rescue);
    printf("a worker killed with %d jobs under way: %lld answered by another one after %lld ms, "
           "%lld twice\n", HELD, (long long)rescue.answered, (long long)rescue.ms,
           (long long)rescue.twice);
    press_stop(&story.press);
}

/* ---- main ---- */

static void start_systems(struct bench *self)
{
    struct rusage usage;
    cJSON *json;

    peer_start(&self->plain, false);
    peer_start(&self->curved, true);
    for (int i = 0; i < SIZE_COUNT; i++)
        press_start(&self->press[i], SIZES[i], NULL);
    keys_make(&self->keys);
    press_start(&self->press_curved, SIZES[CURVE_SIZE], &self->keys);
    json = run_bench(&self->press[0], &CALM, NULL, &usage);
    if (!json)
        die("seedpress bench failed");
    self->request_bytes = (size_t)number_in(json, NULL, "request_bytes");
    cJSON_Delete(json);
    if (self->request_bytes < sizeof(struct peer_head) || self->request_bytes > REQUEST_MAX)
        die("a request of ours has no length");
}

static void stop_systems(struct bench *self)
{
    for (int i = 0; i < SIZE_COUNT; i++)
        press_stop(&self->press[i]);
    press_stop(&self->press_curved);
    keys_remove(&self->keys);
    peer_stop(&self->curved);
    peer_stop(&self->plain);
}

int main(int argc, char **argv)
{
    struct bench *self = calloc(1, sizeof *self);
    int64_t rounds = ROUNDS;

    if (!self)
        die("no memory");
    if (argc > 1 && (!number_parse(argv[1], strlen(argv[1]), &rounds) || rounds < 1 ||
                     rounds > ROUNDS_MAX)) {
        fprintf(stderr, "usage: broker [ROUNDS]\n");
        return 2;
    }
    start_systems(self);
    printf("requests of %zu bytes, %d connections with %d each, %d workers\n", self->request_bytes,
           CONNECTIONS, WINDOW, WORKERS);
    for (int64_t i = 0; i < rounds; i++)
        run_round(self);
    stop_systems(self);
    print_rates(self);
    print_calm(self);
    print_queued_bytes();
    print_rescue();
    free(self);
    return 0;
}
