/* gateway -- what a picture over HTTP costs, as ratios within one run.
 *
 *     gateway [hits | page | crowd]...     all of them if none is named
 *
 * hits:  requests a second for a picture that the gateway has in memory, beside nginx serving the
 *        same file; wrk asks both, with the same connections, in turn.
 * page:  56 avatars that nobody has asked for yet, by curl over so many connections, to the last
 *        one; beside `seedpress render` of 56 (its own time, without loading the model). With
 *        events, one connection more reads the page's events meanwhile, as deploy/sites does.
 * crowd: visitors, each with an address of his own, who all ask for random.jpg at once and follow
 *        to the picture. Errors, and the share of pictures that are new.
 *
 * Needs Debian's wrk, nginx-light and curl. */
#include "base/clock.h"
#include "base/file.h"
#include "tests/kit_model.h"
#include "tests/kit_stack.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 5, WRK_S = 4, WRK_CONNECTIONS = 64, PAGE = 56, CROWD = 2000, LINE = 512,
       ANSWER_MAX = 16384, CROWD_MS = 120000 };

static _Noreturn void die(const char *words)
{
    fprintf(stderr, "gateway: %s\n", words);
    exit(1);
}

/* ---- the programs ---- */

struct scene {
    struct kit_stack stack;
    struct kit_program gateway;
    char at[64], models[300], folder[300];
    int nginx_port;
};

/* The first line of what a shell's line prints. */
static void ask_shell(const char *command, char out[LINE])
{
    FILE *f = popen(command, "r");

    out[0] = '\0';
    if (!f || !fgets(out, LINE, f))
        fprintf(stderr, "gateway: nothing came from: %s\n", command);
    while (f && fgetc(f) != EOF)
        ;
    if (!f || pclose(f) != 0)
        die("a program has failed");
    out[strcspn(out, "\n")] = '\0';
}

static void start_gateway(struct scene *s)
{
    static const char *const FLAGS[] = { "--trust-proxy", "127.0.0.1", NULL };
    char line[LINE], command[LINE];

    stack_run_gateway(&s->gateway, s->at, s->stack.clients, FLAGS);
    snprintf(command, sizeof command, "curl -s --retry 50 --retry-delay 0 --retry-all-errors -f "
             "-o /dev/null -w '%%{http_code}\\n' http://%s/readyz", s->at);
    ask_shell(command, line);
}

/* backend: NULL: avatars64 on the CPU; else pictures of these models that cost nothing. */
static void scene_open(struct scene *s, const char *backend)
{
    const char *const flags[] = { "--replay-one-in", "0", backend ? "--backend" : NULL, backend,
                                  "--models-dir", s->models, NULL };

    stack_start(&s->stack, NULL);
    snprintf(s->models, sizeof s->models, "%s/models", s->stack.pg.dir);
    snprintf(s->folder, sizeof s->folder, "%s/nginx", s->stack.pg.dir);
    if (mkdir(s->models, 0700) || mkdir(s->folder, 0755))
        die("no folder");
    for (int side = 64; backend && side <= 1024; side *= 4) {
        struct kit_model_options options = { .resolution = side, .channels = side / 8 };
        char path[400];
        size_t len;
        uint8_t *bytes = kit_model_bytes(&options, &len);
        struct err e;

        snprintf(path, sizeof path, "%s/quick%d.safetensors", s->models, side);
        if (file_write_atomic(path, bytes, len, &e))
            die(e.msg);
        free(bytes);
    }
    stack_start_worker(&s->stack, 0, backend ? flags : NULL);
    start_gateway(s);
}

static void scene_close(struct scene *s)
{
    program_signal(&s->gateway, SIGTERM);
    program_wait(&s->gateway);
    stack_destroy(&s->stack);
}

/* The permanent path of a model's pictures: "/v1/avatars64@4a9f879d". */
static void find_model(const struct scene *s, const char *name, char out[LINE])
{
    char command[LINE], line[LINE];
    const char *slash;

    snprintf(command, sizeof command,
             "curl -sf http://%s/v1/%s/0.jpg -o /dev/null -D - | grep -i '^Link:'", s->at, name);
    ask_shell(command, line);
    slash = strrchr(line, '/');
    if (!strchr(line, '<') || !slash)
        die("a picture has no canonical URL");
    snprintf(out, LINE, "%.*s", (int)(slash - strchr(line, '<') - 1), strchr(line, '<') + 1);
}

/* ---- figures ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_spread(const char *words, double values[ROUNDS])
{
    qsort(values, ROUNDS, sizeof *values, by_size);
    printf("%s %.2f (%.2f to %.2f)", words, values[ROUNDS / 2], values[0], values[ROUNDS - 1]);
}

/* ---- hits ---- */

static int free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) ||
        getsockname(fd, (struct sockaddr *)&a, &len))
        die("no free port");
    close(fd);
    return ntohs(a.sin_port);
}

static void start_nginx(struct scene *s)
{
    char path[400], text[2000], command[1000], line[LINE];
    struct err e;
    int len;

    s->nginx_port = free_port();
    snprintf(path, sizeof path, "%s/nginx.conf", s->folder);
    len = snprintf(text, sizeof text,
                   "user root;\nworker_processes auto;\npid %s/pid;\nerror_log %s/error.log;\n"
                   "events { worker_connections 4096; }\n"
                   "http { access_log off; sendfile on; tcp_nopush on; open_file_cache max=100;\n"
                   "keepalive_requests 100000000; types { image/jpeg jpg; }\n"
                   "server { listen 127.0.0.1:%d backlog=1024; root %s; } }\n",
                   s->folder, s->folder, s->nginx_port, s->folder);
    if (file_write_atomic(path, text, (size_t)len, &e))
        die(e.msg);
    snprintf(command, sizeof command, "/usr/sbin/nginx -p %s -c %s && echo started", s->folder,
             path);
    ask_shell(command, line);
}

static double wrk(const char *url)
{
    char command[1000], line[LINE];
    double rate;

    snprintf(command, sizeof command, "wrk -t1 -c%d -d%ds %s | tee /tmp/seedpress-wrk.$$ | "
             "grep Requests/sec; if grep -q Non-2xx /tmp/seedpress-wrk.$$; then rm -f "
             "/tmp/seedpress-wrk.$$; exit 1; fi; rm -f /tmp/seedpress-wrk.$$",
             WRK_CONNECTIONS, WRK_S, url);
    ask_shell(command, line);
    if (sscanf(line, " Requests/sec: %lf", &rate) != 1)
        die("wrk gave no figure");
    return rate;
}

static void measure_hits(struct scene *s, int side)
{
    char name[24], path[LINE], ours[LINE + 100], theirs[LINE], command[3 * LINE], line[LINE];
    double mine[ROUNDS], peer[ROUNDS], ratio[ROUNDS];
    struct stat st;

    snprintf(name, sizeof name, "quick%d", side);
    find_model(s, name, path);
    snprintf(ours, sizeof ours, "http://%s%s/7.jpg", s->at, path);
    snprintf(theirs, sizeof theirs, "http://127.0.0.1:%d/%d.jpg", s->nginx_port, side);
    snprintf(command, sizeof command, "curl -sf %s -o %s/%d.jpg && chmod a+r %s/%d.jpg && echo got",
             ours, s->folder, side, s->folder, side);
    ask_shell(command, line);
    snprintf(command, sizeof command, "%s/%d.jpg", s->folder, side);
    if (stat(command, &st))
        die("the picture was not saved");
    for (int round = 0; round < ROUNDS; round++) {
        peer[round] = wrk(theirs);
        mine[round] = wrk(ours);
        ratio[round] = mine[round] / peer[round];
    }
    printf("hits  %7lld bytes  ", (long long)st.st_size);
    print_spread("nginx", peer);
    print_spread("/s  gateway", mine);
    print_spread("/s  ratio", ratio);
    printf("\n");
    fflush(stdout);
}

static void bench_hits(void)
{
    static struct scene s;
    char command[400], line[LINE];

    scene_open(&s, "quick");
    start_nginx(&s);
    for (int side = 64; side <= 1024; side *= 4)
        measure_hits(&s, side);
    snprintf(command, sizeof command, "kill $(cat %s/pid) && echo ended", s.folder);
    ask_shell(command, line);
    scene_close(&s);
}

/* ---- page ---- */

struct way {
    int connections;                /* for pictures */
    bool has_events;
};

static double curl_page(const struct scene *s, const char *path, int first, struct way way)
{
    char command[4 * LINE], events[2 * LINE] = "", line[LINE];
    int64_t from_us = clock_us();
    int good;

    if (way.has_events)
        snprintf(events, sizeof events, "curl -sN -o /dev/null 'http://%s%s/events?seed=%d&n=%d"
                 "&psi=0.7' & ", s->at, path, first, PAGE);
    snprintf(command, sizeof command, "%scurl -sS --no-progress-meter -Z --parallel-immediate "
             "--parallel-max %d -o /dev/null -w '%%{http_code}\\n' "
             "'http://%s%s/[%d-%d].jpg?psi=0.7' | grep -c '^200$'; wait",
             events, way.connections, s->at, path, first, first + PAGE - 1);
    ask_shell(command, line);
    double took_s = (double)(clock_us() - from_us) / 1e6;

    if (sscanf(line, "%d", &good) != 1 || good != PAGE)
        die("a page has pictures missing");
    return took_s;
}

static double render_page(const struct scene *s, int first)
{
    const char *build = getenv("SEEDPRESS_BUILD");
    char command[3 * LINE], line[LINE];
    const char *took;

    snprintf(command, sizeof command,
             "%s/seedpress render --model-file deploy/models/avatars64.safetensors --psi 0.7"
             " --seeds %d-%d -o %s/page-%d 2>/dev/null | grep 'pictures in'",
             build ? build : "build", first, first + PAGE - 1, s->folder, first);
    ask_shell(command, line);
    took = strstr(line, ": ");
    if (!took)
        die("render gave no figure");
    return strtod(took + 2, NULL);
}

static void bench_page(void)
{
    static const struct way WAYS[] = { { PAGE, false }, { 6, false }, { 5, true } };
    static struct scene s;
    char path[LINE];
    int first = 1000;

    scene_open(&s, NULL);
    find_model(&s, "avatars64", path);
    curl_page(&s, path, 500, WAYS[0]);          /* the first one warms all up */
    for (size_t c = 0; c < sizeof WAYS / sizeof WAYS[0]; c++) {
        double ours[ROUNDS], render[ROUNDS], ratio[ROUNDS];

        for (int round = 0; round < ROUNDS; round++, first += PAGE) {
            render[round] = render_page(&s, first);
            ours[round] = curl_page(&s, path, first, WAYS[c]);
            ratio[round] = ours[round] / render[round];
        }
        printf("page  %d pictures over %2d connections%s  ", PAGE, WAYS[c].connections,
               WAYS[c].has_events ? " and events" : "");
        print_spread("render", render);
        print_spread(" s  page", ours);
        print_spread(" s  ratio", ratio);
        printf("\n");
        fflush(stdout);
    }
    scene_close(&s);
}

/* ---- crowd ---- */

struct visitor {
    int fd;
    bool is_followed, is_fresh;
    char path[LINE];
    char answer[ANSWER_MAX];
    size_t len;
    int64_t done_us;                /* 0: not yet */
    int status;
};

static void visitor_ask(struct visitor *self, const char *at, int number, const char *path)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)strtol(strrchr(at, ':') + 1, NULL, 10)) };
    char request[2 * LINE];
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                       "X-Forwarded-For: 10.1.%d.%d\r\n\r\n", path, number / 250, number % 250);

    self->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    self->len = 0;
    if (self->fd < 0 || connect(self->fd, (struct sockaddr *)&a, sizeof a) ||
        write(self->fd, request, (size_t)len) != len)
        die("a visitor could not connect");
}

/* The whole answer is there. */
static void visitor_take(struct visitor *self, const char *at, int number)
{
    const char *location = strstr(self->answer, "\r\nLocation: ");

    close(self->fd);
    self->fd = -1;
    self->status = 0;
    sscanf(self->answer, "HTTP/1.1 %d", &self->status);
    if (self->is_followed || self->status != 303 || !location) {
        self->done_us = clock_us();
        return;
    }
    self->is_followed = true;
    self->is_fresh = strstr(self->answer, "\r\nX-Fresh: 1") != NULL;
    snprintf(self->path, sizeof self->path, "%.*s", (int)strcspn(location + 12, "\r"),
             location + 12);
    visitor_ask(self, at, number, self->path);
}

static void visitor_read(struct visitor *self, const char *at, int number)
{
    ssize_t n = read(self->fd, self->answer + self->len, sizeof self->answer - 1 - self->len);

    if (n > 0 && self->len + (size_t)n < sizeof self->answer - 1) {
        self->len += (size_t)n;
        return;
    }
    self->answer[self->len] = '\0';
    visitor_take(self, at, number);
}

static void bench_crowd(void)
{
    static struct visitor visitors[CROWD];
    static struct pollfd fds[CROWD];
    static struct scene s;
    struct rlimit limit = { 8192, 8192 };
    int open = CROWD, good = 0, fresh = 0;
    int64_t from_us, last_us = 0;
    char path[LINE];

    setrlimit(RLIMIT_NOFILE, &limit);
    scene_open(&s, NULL);
    find_model(&s, "avatars64", path);
    curl_page(&s, path, 500, (struct way){ .connections = PAGE });     /* something to share */
    from_us = clock_us();
    for (int i = 0; i < CROWD; i++)
        visitor_ask(&visitors[i], s.at, i, "/v1/avatars64/random.jpg?psi=0.7");
    while (open > 0) {
        for (int i = 0; i < CROWD; i++)
            fds[i] = (struct pollfd){ visitors[i].done_us ? -1 : visitors[i].fd, POLLIN, 0 };
        if (poll(fds, CROWD, CROWD_MS) <= 0)
            die("visitors wait for ever");
        for (int i = 0; i < CROWD; i++)
            if (fds[i].revents) {
                visitor_read(&visitors[i], s.at, i);
                open -= visitors[i].done_us != 0;
            }
    }
    for (int i = 0; i < CROWD; i++) {
        good += visitors[i].is_followed && visitors[i].status == 200;
        fresh += visitors[i].is_fresh;
        last_us = visitors[i].done_us > last_us ? visitors[i].done_us : last_us;
        if (visitors[i].status != 200)
            fprintf(stderr, "gateway: a visitor got %.300s\n", visitors[i].answer);
    }
    printf("crowd %d visitors on random.jpg: %d with a picture, %d errors; %.1f %% of the pictures "
           "are new; the last after %.2f s\n", CROWD, good, CROWD - good,
           100.0 * fresh / CROWD, (double)(last_us - from_us) / 1e6);
    scene_close(&s);
}

static const struct {
    const char *name;
    void (*run)(void);
} PARTS[] = { { "hits", bench_hits }, { "page", bench_page }, { "crowd", bench_crowd } };

int main(int argc, char **argv)
{
    size_t parts = sizeof PARTS / sizeof PARTS[0];

    for (int i = 1; i < argc; i++) {
        size_t part = 0;

        while (part < parts && strcmp(argv[i], PARTS[part].name) != 0)
            part++;
        if (part == parts)
            die("usage: gateway [hits | page | crowd]...");
    }
    for (size_t part = 0; part < parts; part++)
        for (int i = 1; i == 1 || i < argc; i++)
            if (argc == 1 || strcmp(argv[i], PARTS[part].name) == 0)
                PARTS[part].run();
    return 0;
}
