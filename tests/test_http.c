/* The port for monitoring: what it answers, and what hostile peers cannot do to it. */
#include "base/clock.h"
#include "base/http.h"
#include "tests/kit_http.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ASKED, DEPTH, ROWS };
static const char *const LEVELS[] = { "high", "low" };
static const struct metric TABLE[ROWS] = {
    [ASKED] = { .name = "t_asked_total", .kind = METRIC_COUNTER, .help = "Asked." },
    [DEPTH] = { .name = "t_depth", .kind = METRIC_GAUGE, .label = { "level" }, .words = LEVELS,
                .series = 2, .help = "Waiting." },
};

static struct metrics *metrics;
static struct health health;
static struct http *http;
static const char *at;

static int set_up(void **state)
{
    struct http_options options = { .listen = "127.0.0.1:0", .health = &health };
    struct err e;

    (void)state;
    if (metrics_create(TABLE, ROWS, &metrics, &e))
        return -1;
    options.metrics = metrics;
    health_init(&health, clock_ms());
    health_turn(&health, clock_ms(), NULL);
    if (http_create(&options, &http, &e)) {
        print_error("%s\n", e.msg);
        return -1;
    }
    at = http_endpoint(http);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_destroy(&http);
    metrics_destroy(&metrics);
    return 0;
}

static void assert_answer(const char *method, const char *path, int status, const char *body)
{
    struct http_answer a = http_ask(at, method, path);

    if (a.status != status || strcmp(a.body, body) != 0)
        fail_msg("%s %s: not %d \"%s\" but: %s", method, path, status, body, a.text);
    http_answer_release(&a);
}

static void the_three_pages_are_served(void **state)
{
    struct http_answer a;
    char *text;

    (void)state;
    metrics_add(metrics, ASKED, 0, 3);
    text = prometheus_scrape(at);
    assert_true(prometheus_value(text, "t_asked_total") == 3);
    assert_true(prometheus_value(text, "t_depth{level=\"low\"}") == 0);
    free(text);
    a = http_ask(at, "GET", "/metrics");
    assert_non_null(strstr(a.text, "\r\nContent-Type: text/plain; version=0.0.4; "
                                   "charset=utf-8\r\n"));
    http_answer_release(&a);
    assert_answer("GET", "/livez", 200, "ok\n");
    assert_answer("GET", "/readyz", 200, "ok\n");
    assert_answer("HEAD", "/metrics", 200, "");
    assert_answer("HEAD", "/readyz", 200, "");
}

static void anything_else_is_refused(void **state)
{
    struct http_answer a = http_ask(at, "POST", "/metrics");

    (void)state;
    assert_int_equal(a.status, 405);
    assert_non_null(strstr(a.text, "\r\nAllow: GET, HEAD\r\n"));
    http_answer_release(&a);
    assert_answer("DELETE", "/livez", 405, "only GET and HEAD\n");
    assert_answer("GET", "/", 404, "there are /metrics, /livez and /readyz\n");
    assert_answer("GET", "/metrics/", 404, "there are /metrics, /livez and /readyz\n");
    assert_answer("GET", "/../metrics", 404, "there are /metrics, /livez and /readyz\n");
}

static void a_stuck_loop_is_neither_live_nor_ready(void **state)
{
    (void)state;
    health_turn(&health, clock_ms() - HEALTH_STUCK_MS, NULL);
    assert_answer("GET", "/livez", 503, "the loop does not turn\n");
    assert_answer("GET", "/readyz", 503, "the loop does not turn\n");
    health_turn(&health, clock_ms(), "draining");
    assert_answer("GET", "/livez", 200, "ok\n");
    assert_answer("GET", "/readyz", 503, "draining\n");
}

/* ---- hostile peers ---- */

static void a_huge_header_is_refused(void **state)
{
    enum { HUGE = 1 << 20 };
    static const char HEAD[] = "GET /metrics HTTP/1.1\r\nHost: t\r\nX-Long: ";
    char *filler = malloc(HUGE);
    int64_t from_ms = clock_ms();
    int fd = http_connect(at);
    struct http_answer a;

    (void)state;
    assert_non_null(filler);
    memset(filler, 'a', HUGE);
    http_say(fd, HEAD, sizeof HEAD - 1);
    http_say(fd, filler, HUGE);
    a = http_read(fd);
    assert_true(a.status == 0 || (a.status >= 400 && a.status < 500));
    assert_true(clock_ms() - from_ms < 5000);    /* at once, not when its time has run out */
    http_answer_release(&a);
    free(filler);
    assert_answer("GET", "/livez", 200, "ok\n");
}

static void garbage_is_refused(void **state)
{
    static const char *const GARBAGE[] = {
        "\r\n\r\n\r\n", "GET", "GET /metrics", "GET /metrics HTTP/9.9\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET  /metrics  \r\n\r\n",
        "POST /metrics HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n",
        "POST /metrics HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n",
        "GET /%00%ff%zz HTTP/1.1\r\nHost: t\r\n\r\n", "\xff\xfe\xfd\xfc",
    };

    (void)state;
    for (size_t i = 0; i < sizeof GARBAGE / sizeof GARBAGE[0]; i++) {
        int fd = http_connect(at);

        http_say(fd, GARBAGE[i], strlen(GARBAGE[i]));
        close(fd);                   /* some of it would be waited for: it has its time */
    }
    assert_answer("GET", "/livez", 200, "ok\n");
}

/* More than the port has places: each holds a request that never ends. */
static void two_hundred_that_send_nothing_do_not_stop_a_scrape(void **state)
{
    enum { COUNT = 200 };
    static const char HEAD[] = "GET /metrics HTTP/1.1\r\nHost: t\r\nX-Slow: ";
    int fds[COUNT], closed = 0;

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        fds[i] = http_connect(at);
        http_say(fds[i], HEAD, sizeof HEAD - 1);
    }
    for (int i = 0; i < 20; i++) {
        int64_t from_ms = clock_ms();
        char *text = prometheus_scrape(at);

        assert_true(clock_ms() - from_ms < 5000);        /* not after their time has run out */
        free(text);
        for (int k = 0; k < COUNT; k++)
            http_say(fds[k], "a", 1);
    }
    for (int i = 0; i < COUNT; i++) {
        char byte;

        closed += recv(fds[i], &byte, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN;
        close(fds[i]);
    }
    assert_in_range(closed, COUNT - 64, COUNT - 1);      /* the oldest went, the youngest stayed */
}

/* ---- the address ---- */

static void assert_refused(const char *listen, enum err_code code, const char *words)
{
    struct http_options options = { .listen = listen, .metrics = metrics, .health = &health };
    struct http *other;
    struct err e = { 0 };

    if (http_create(&options, &other, &e) != code || !strstr(e.msg, words))
        fail_msg("\"%s\": %s \"%s\"", listen, err_info(e.code)->word, e.msg);
    assert_null(other);
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const BAD[] = {
        "7703", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
        "localhost:7703", ":7703", "[::1:7703", "[]:7703", "tcp://127.0.0.1:7703",
    };

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_refused(BAD[i], ERR_INVALID, "is no address in digits and port");
    assert_refused(at, ERR_CONFLICT, "choose another metrics_listen");
}

static void an_empty_address_is_no_port(void **state)
{
    struct http_options options = { .listen = "", .metrics = metrics, .health = &health };
    struct http *none = (struct http *)1;
    struct err e;

    (void)state;
    assert_int_equal(http_create(&options, &none, &e), ERR_OK);
    assert_null(none);
    assert_string_equal(http_endpoint(none), "off");
    http_destroy(&none);
}

static void an_offset_moves_the_port(void **state)
{
    struct http_options options = { .port_offset = 1, .metrics = metrics, .health = &health };
    char listen[32], expect[32];
    struct http *other = NULL;
    struct err e;

    (void)state;
    /* The next port may be somebody's: then the one after. */
    for (int port = (int)strtol(strchr(at, ':') + 1, NULL, 10); !other; port++) {
        snprintf(listen, sizeof listen, "127.0.0.1:%d", port);
        snprintf(expect, sizeof expect, "127.0.0.1:%d", port + 1);
        options.listen = listen;
        if (http_create(&options, &other, &e) && e.code != ERR_CONFLICT)
            fail_msg("%s", e.msg);
    }
    assert_string_equal(http_endpoint(other), expect);
    http_destroy(&other);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_three_pages_are_served, set_up, tear_down),
        cmocka_unit_test_setup_teardown(anything_else_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stuck_loop_is_neither_live_nor_ready, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_huge_header_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_hundred_that_send_nothing_do_not_stop_a_scrape, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_address_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_address_is_no_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_offset_moves_the_port, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
