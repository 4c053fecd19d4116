/* What monitoring sees of real programs: the figures after known work, who is ready and who is not,
 * hostile peers at the port, systemd's notifications, and status --watch. */
#include "base/clock.h"
#include "tests/kit_http.h"
#include "tests/kit_stack.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 120000, PSI = 700000 };

/* A busy machine is no ledger that is away; no grace, so that what is unknown is said at once. */
static const char *const FLAGS[] = { "--lookup-ms", "10000", "--grace-ms", "0", NULL };

static struct kit_stack stack;
static char worker_at[64];          /* its port for monitoring */

static int set_up(void **state)
{
    (void)state;
    stack_start(&stack, FLAGS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stack_destroy(&stack);
    return 0;
}

/* device: "0", or "all" for a fleet. Returns when its port is there. */
static void launch_worker(const char *device)
{
    const char *const argv[] = { "seedpress-worker", "--ledger", stack.pg.conninfo, "--brokers",
                                 stack.workers, "--models-dir", "deploy/models", "--backend", "cpu",
                                 "--device", device, "--metrics-listen", "127.0.0.1:0", NULL };
    const char *at;
    char line[512];

    program_start(&stack.worker[0], argv);
    program_wait_for(&stack.worker[0], " metrics_ready ", line, sizeof line);
    at = strstr(line, " endpoint=");
    assert_non_null(at);
    snprintf(worker_at, sizeof worker_at, "%.*s", (int)strcspn(at + 10, " "), at + 10);
}

static void start_worker(void)
{
    launch_worker("0");
    http_await(stack.metrics, "/readyz", 200, "ok");
    http_await(worker_at, "/readyz", 200, "ok");
}

static void ask(struct kit_asker *a, int64_t id, int64_t seed, int64_t cache)
{
    struct message m = generate_of(id, seed, PSI);

    m.generate.cache = cache;
    asker_send(a, &m);
}

/* The next answer; of an image its source. */
static enum message_type answer_of(struct kit_asker *a, int64_t *source)
{
    enum message_type type;
    struct message m;
    struct parcel parcel;

    if (!asker_receive(a, &m, &parcel, WAIT_MS))
        fail_msg("no answer came");
    type = m.type;
    if (source && type == MESSAGE_IMAGE)
        *source = m.image.source;
    message_release(&m);
    parcel_release(&parcel);
    return type;
}

static void await_value(const char *endpoint, const char *series, double value)
{
    int64_t give_up_ms = clock_ms() + WAIT_MS;
    double got;

    do {
        char *text = prometheus_scrape(endpoint);

        got = prometheus_value(text, series);
        free(text);
        if (clock_ms() > give_up_ms)
            fail_msg("%s is %g and not %g", series, got, value);
    } while (got != value);
}

static double sum_of(const char *text, const char *const *series)
{
    double sum = 0;

    for (; *series; series++)
        sum += prometheus_value(text, *series);
    return sum;
}
#define SUM(text, ...) sum_of(text, (const char *const[]){ __VA_ARGS__, NULL })

static struct message_status_report status_of_broker(void)
{
    struct message_status_report report;
    struct message m;
    struct parcel parcel;
    struct kit_asker a;

    message_init(&m, MESSAGE_STATUS, 1);
    asker_open(&a, stack.clients, LINK_REQ);
    asker_send(&a, &m);
    assert_true(asker_receive(&a, &m, &parcel, WAIT_MS));
    report = m.status_report;        /* its texts are not looked at */
    message_release(&m);
    parcel_release(&parcel);
    asker_close(&a);
    return report;
}

/* ---- the figures ---- */

enum { SEEDS = 5 };

static void check_broker(void)
{
    struct message_status_report r = status_of_broker();
    char *text = prometheus_scrape(stack.metrics);

    assert_true(prometheus_value(text, "seedpress_jobs_submitted_total") == 3 * SEEDS + 1);
    assert_true(SUM(text, "seedpress_dedupe_total{kind=\"inflight\"}",
                    "seedpress_dedupe_total{kind=\"memory\"}",
                    "seedpress_dedupe_total{kind=\"store\"}") == 2 * SEEDS);
    assert_true(prometheus_value(text, "seedpress_waiters") == 0);
    assert_true(prometheus_value(text, "seedpress_worker_up") == 1);
    assert_true(prometheus_value(text, "seedpress_ledger_up") == 1);
    assert_true(prometheus_value(text, "seedpress_result_bytes_count") == 3 * SEEDS + 1);
    assert_true(prometheus_value(text, "seedpress_queue_wait_seconds_count") >= SEEDS + 1);
    assert_true(prometheus_value(text, "seedpress_messages_failed_total{reason=\"unknown_model\"}")
                == 1);
    assert_true(prometheus_value(text, "seedpress_build_info{version=\"" SEEDPRESS_VERSION "\"}")
                == 1);
    assert_null(strstr(text, "seed=\""));
    assert_true(prometheus_value(text, "seedpress_connections{port=\"workers\"}") >= 1);
    assert_true(prometheus_value(text, "seedpress_memory_bytes") == (double)r.memory_bytes);
    assert_true(prometheus_value(text, "seedpress_dedupe_total{kind=\"memory\"}") ==
                (double)r.memory_hits);
    assert_int_equal(r.submitted, 3 * SEEDS + 1);
    assert_int_equal(r.answered, 3 * SEEDS + 1);
    assert_int_equal(r.joined + r.ledger_hits + r.memory_hits, 2 * SEEDS);
    assert_true(r.clients >= 1);
    free(text);
}

static void check_worker(void)
{
    char *text = prometheus_scrape(worker_at);

    assert_true(prometheus_value(text, "seedpress_pictures_total{stage=\"started\"}") == SEEDS + 1);
    assert_true(prometheus_value(text, "seedpress_batch_size_sum") == SEEDS + 1);
    assert_true(prometheus_value(text, "seedpress_batch_size_count") ==
                SUM(text, "seedpress_batch_left_total{reason=\"empty\"}",
                    "seedpress_batch_left_total{reason=\"batch_max\"}",
                    "seedpress_batch_left_total{reason=\"batch_ms\"}"));
    assert_true(prometheus_value(text, "seedpress_batch_size_count") ==
                prometheus_value(text, "seedpress_stage_seconds_count{stage=\"render\"}"));
    assert_true(prometheus_value(text, "seedpress_stage_seconds_sum{stage=\"render\"}") > 0);
    assert_true(prometheus_value(text, "seedpress_stage_seconds_count{stage=\"encode\"}") ==
                SEEDS + 1);
    assert_true(prometheus_value(text, "seedpress_stage_seconds_count{stage=\"store\"}") >= 2);
    assert_true(prometheus_value(text, "seedpress_replay_checks_total{outcome=\"equal\"}") == 1);
    assert_true(prometheus_value(text, "seedpress_replay_checks_total{outcome=\"differs\"}") == 0);
    assert_true(prometheus_value(text, "seedpress_model_loaded_bytes{model=\"avatars64\"}") > 1e6);
    assert_true(prometheus_value(text, "seedpress_worker_up") == 1);
    assert_true(prometheus_value(text, "seedpress_brokers") == 1);
    assert_true(prometheus_value(text, "seedpress_ledger_lag_seconds") == 0);
    assert_non_null(strstr(text, "\nseedpress_build_info{version=\"" SEEDPRESS_VERSION
                                 "\",numerics_class=\"cpu-"));
    free(text);
}

static void the_figures_are_those_of_the_work(void **state)
{
    struct message unknown = generate_of(900, 1, PSI);
    struct kit_asker a;

    (void)state;
    http_await(stack.metrics, "/readyz", 503, "no worker");
    start_worker();
    asker_open(&a, stack.clients, LINK_DEALER);
    for (int64_t id = 0; id < 2 * SEEDS; id++)   /* each twice at once */
        ask(&a, id, id % SEEDS, MESSAGE_CACHE_USE);
    for (int i = 0; i < 2 * SEEDS; i++)
        assert_int_equal(answer_of(&a, NULL), MESSAGE_IMAGE);
    for (int64_t id = 0; id < SEEDS; id++) {     /* and again, when they are stored */
        int64_t source = MESSAGE_SOURCE_RENDER;

        ask(&a, 100 + id, id, MESSAGE_CACHE_USE);
        assert_int_equal(answer_of(&a, &source), MESSAGE_IMAGE);
        assert_int_not_equal(source, MESSAGE_SOURCE_RENDER);
    }
    ask(&a, 200, 0, MESSAGE_CACHE_BYPASS);       /* rendered again, and compared */
    assert_int_equal(answer_of(&a, NULL), MESSAGE_IMAGE);
    unknown.generate.model = text_of("nobody");
    asker_send(&a, &unknown);
    assert_int_equal(answer_of(&a, NULL), MESSAGE_ERROR);
    /* The last answer may be here before its turn has ended. */
    await_value(stack.metrics, "seedpress_messages_failed_total{reason=\"unknown_model\"}", 1);
    await_value(stack.metrics, "seedpress_jobs_finished_total{outcome=\"ok\"}", 3 * SEEDS + 1);
    http_await(stack.metrics, "/metrics", 200, "seedpress_model_workers{model=\"avatars64@");
    check_broker();
    await_value(worker_at, "seedpress_pictures_total{stage=\"stored\"}", SEEDS + 1);
    check_worker();
    asker_close(&a);
}

/* ---- hostile peers ---- */

static void a_besieged_port_hinders_neither_scrape_nor_picture(void **state)
{
    enum { COUNT = 200, HUGE = 100000 };
    static const char HEAD[] = "GET /metrics HTTP/1.1\r\nHost: t\r\nX: ";
    char *filler = malloc(HUGE);
    struct kit_asker a;
    int fds[COUNT];

    (void)state;
    assert_non_null(filler);
    memset(filler, 'x', HUGE);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = http_connect(stack.metrics);
        http_say(fds[i], HEAD, i % 3 == 0 ? 4 : sizeof HEAD - 1);
        if (i % 10 == 0)
            http_say(fds[i], filler, HUGE);
    }
    asker_open(&a, stack.clients, LINK_DEALER);
    ask(&a, 1, 1000, MESSAGE_CACHE_USE);
    assert_int_equal(answer_of(&a, NULL), MESSAGE_IMAGE);
    free(prometheus_scrape(stack.metrics));
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    http_await(stack.metrics, "/livez", 200, "ok");
    asker_close(&a);
    free(filler);
}

/* ---- status --watch ---- */

static void watch_on_a_pipe_prints_lines(void **state)
{
    const char *const lines[] = { "seedpress", "--broker", stack.clients, "status", "--watch",
                                  "--interval", "0.1", NULL };
    const char *const objects[] = { "seedpress", "--broker", stack.clients, "--json", "status",
                                    "--watch", "--interval", "0.1", NULL };
    struct kit_program p;
    char line[4096];
    cJSON *object;

    (void)state;
    program_start(&p, lines);
    program_wait_for(&p, "/s), failed ", line, sizeof line);     /* the second: it has rates */
    assert_memory_equal(line, "up ", 3);
    assert_null(strchr(line, '\033'));
    assert_non_null(strstr(line, ", workers 1"));
    program_signal(&p, SIGINT);
    assert_int_equal(program_wait(&p), 130);

    program_start(&p, objects);
    program_wait_for(&p, "\"answered_per_s\":", line, sizeof line);
    object = cJSON_Parse(line);
    assert_non_null(object);
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(object, "wait_p99_ms")));
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(
        cJSON_GetArrayItem(cJSON_GetObjectItem(object, "workers"), 0), "rendered_per_s")));
    cJSON_Delete(object);
    program_signal(&p, SIGINT);
    assert_int_equal(program_wait(&p), 130);
}

/* Reads the terminal until what came holds words times times, or its other side is closed. */
static void read_terminal(int fd, char *text, size_t cap, const char *words, int times)
{
    size_t len = strlen(text);
    int64_t give_up_ms = clock_ms() + WAIT_MS;

    for (;;) {
        struct pollfd wait = { fd, POLLIN, 0 };
        int found = 0;
        ssize_t got;

        for (const char *at = text; words && (at = strstr(at, words)); at++)
            found++;
        if (words && found >= times)
            return;
        if (poll(&wait, 1, (int)(give_up_ms - clock_ms())) <= 0 || len == cap - 1)
            fail_msg("the terminal shows no \"%s\" but: %s", words ? words : "end", text);
        got = read(fd, text + len, cap - 1 - len);
        if (got <= 0)
            return;
        len += (size_t)got;
        text[len] = '\0';
    }
}

static void watch_on_a_terminal_redraws_and_leaves_it_as_it_was(void **state)
{
    enum { CAP = 1 << 16 };
    static const char END[] = "\033[?7h\033[?25h\033[?1049l";
    const char *build = getenv("SEEDPRESS_BUILD");
    char *text = calloc(1, CAP), program[256];
    int terminal, status;
    pid_t pid;

    (void)state;
    assert_non_null(text);
    snprintf(program, sizeof program, "%s/seedpress", build ? build : "build");
    pid = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, program, "--broker", stack.clients, "status", "--watch", "--interval", "0.1",
              (char *)NULL);
        _exit(127);
    }
    read_terminal(terminal, text, CAP, " answered\033[K", 1);    /* the second page: with rates */
    assert_memory_equal(text, "\033[?1049h\033[?25l\033[?7l\033[H", 21);
    assert_non_null(strstr(text, "seedpress " SEEDPRESS_VERSION " at tcp://"));
    assert_non_null(strstr(text, "\033[J\033[H"));
    assert_int_equal(write(terminal, "\003", 1), 1);             /* what Ctrl-C sends */
    read_terminal(terminal, text, CAP, NULL, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    assert_string_equal(text + strlen(text) - strlen(END), END);
    close(terminal);
    free(text);
}

/* ---- who is ready ---- */

static void readiness_follows_ledger_worker_and_drain(void **state)
{
    struct kit_asker a;

    (void)state;
    kit_postgres_stop_server(&stack.pg);
    http_await(stack.metrics, "/readyz", 503, "ledger down");
    await_value(stack.metrics, "seedpress_ledger_up", 0);
    asker_open(&a, stack.clients, LINK_DEALER);
    ask(&a, 1, 2000, MESSAGE_CACHE_USE);         /* rendered, and not stored */
    http_await(worker_at, "/readyz", 503, "ledger down");
    for (double lag = 0; lag < 0.2;) {           /* it grows */
        char *text = prometheus_scrape(worker_at);

        lag = prometheus_value(text, "seedpress_ledger_lag_seconds");
        free(text);
    }
    program_signal(&stack.broker, SIGTERM);      /* it waits for that picture */
    http_await(stack.metrics, "/readyz", 503, "draining");
    http_await(stack.metrics, "/livez", 200, "ok");
    kit_postgres_start_server(&stack.pg);
    assert_int_equal(answer_of(&a, NULL), MESSAGE_IMAGE);
    assert_int_equal(program_wait(&stack.broker), 0);
    http_await(worker_at, "/readyz", 503, "no broker");
    stack_restart_broker(&stack, FLAGS);
    http_await(stack.metrics, "/readyz", 200, "ok");             /* the worker has come back */
    http_await(worker_at, "/readyz", 200, "ok");
    program_kill(&stack.worker[0]);
    http_await(stack.metrics, "/readyz", 503, "no worker");
    await_value(stack.metrics, "seedpress_workers_lost_total", 1);
    await_value(stack.metrics, "seedpress_worker_up", 0);
    asker_close(&a);
}

static void a_worker_that_drains_says_so(void **state)
{
    struct kit_asker a;

    (void)state;
    start_worker();
    kit_postgres_stop_server(&stack.pg);
    http_await(stack.metrics, "/readyz", 503, "ledger down");
    asker_open(&a, stack.clients, LINK_DEALER);
    ask(&a, 1, 3000, MESSAGE_CACHE_USE);
    http_await(worker_at, "/readyz", 503, "ledger down");
    program_signal(&stack.worker[0], SIGTERM);
    http_await(worker_at, "/readyz", 503, "draining");
    await_value(worker_at, "seedpress_worker_up", 0);
    kit_postgres_start_server(&stack.pg);
    assert_int_equal(answer_of(&a, NULL), MESSAGE_IMAGE);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
    asker_close(&a);
}

static void a_worker_without_a_ledger_yet_is_alive_and_not_ready(void **state)
{
    (void)state;
    kit_postgres_stop_server(&stack.pg);
    launch_worker("0");
    program_wait_for(&stack.worker[0], " ledger_down ", NULL, 0);
    http_await(worker_at, "/readyz", 503, "ledger down");
    http_await(worker_at, "/livez", 200, "ok");
    kit_postgres_start_server(&stack.pg);
    http_await(worker_at, "/readyz", 200, "ok");
    program_signal(&stack.worker[0], SIGTERM);
    assert_int_equal(program_wait(&stack.worker[0]), 0);
}

/* ---- systemd ---- */

static void await_notice(int fd, const char *expect)
{
    char text[64] = "";

    while (strcmp(text, expect) != 0) {
        ssize_t len = recv(fd, text, sizeof text - 1, 0);

        if (len < 0)
            fail_msg("no %s came: %s", expect, strerror(errno));
        text[len] = '\0';
        if (strcmp(text, expect) != 0 && strcmp(text, "WATCHDOG=1") != 0)
            fail_msg("\"%s\" came before %s", text, expect);
    }
}

/* Where programs that are started from now on say how they do. */
static int open_notices(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = WAIT_MS / 1000 };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), len;
    char name[64];

    len = snprintf(name, sizeof name, "@seedpress-flow-%d", (int)getpid());
    memcpy(address.sun_path + 1, name + 1, (size_t)len - 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "400000", 1);
    return fd;
}

static void close_notices(int fd)
{
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    close(fd);
}

static void systemd_hears_of_start_life_and_end(void **state)
{
    int fd;

    (void)state;
    program_kill(&stack.broker);
    fd = open_notices();
    stack_restart_broker(&stack, FLAGS);
    await_notice(fd, "READY=1");
    for (int i = 0; i < 3; i++)
        await_notice(fd, "WATCHDOG=1");
    program_signal(&stack.broker, SIGTERM);
    await_notice(fd, "STOPPING=1");
    assert_int_equal(program_wait(&stack.broker), 0);
    close_notices(fd);
    stack_restart_broker(&stack, FLAGS);         /* for the workers to join */

    static const char *const DEVICES[] = { "0", "all" };         /* of a fleet its first process */
    for (int i = 0; i < 2; i++) {
        fd = open_notices();
        launch_worker(DEVICES[i]);
        await_notice(fd, "READY=1");
        http_await(worker_at, "/readyz", 200, "ok");
        for (int k = 0; k < 3; k++)
            await_notice(fd, "WATCHDOG=1");      /* and not READY once more */
        program_signal(&stack.worker[0], SIGTERM);
        await_notice(fd, "STOPPING=1");
        assert_int_equal(program_wait(&stack.worker[0]), 0);
        while (recv(fd, (char[64]){ 0 }, 64, MSG_DONTWAIT) == 10)
            ;                        /* WATCHDOG=1 */
        assert_int_equal(errno, EAGAIN);
        close_notices(fd);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_figures_are_those_of_the_work),
        cmocka_unit_test(a_besieged_port_hinders_neither_scrape_nor_picture),
        cmocka_unit_test(watch_on_a_pipe_prints_lines),
        cmocka_unit_test(watch_on_a_terminal_redraws_and_leaves_it_as_it_was),
        cmocka_unit_test(readiness_follows_ledger_worker_and_drain),
        cmocka_unit_test(a_worker_that_drains_says_so),
        cmocka_unit_test(a_worker_without_a_ledger_yet_is_alive_and_not_ready),
        cmocka_unit_test(systemd_hears_of_start_life_and_end),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
