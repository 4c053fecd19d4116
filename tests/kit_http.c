#include "tests/kit_http.h"

#include "base/clock.h"
#include "proto/number.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_S = 60, ANSWER_MAX = 1 << 20, NAME_MAX_LEN = 120 };

/* ---- HTTP ---- */

static int64_t number_in(const char *text)
{
    int64_t number = 0;

    assert_true(number_parse(text, strspn(text, "0123456789"), &number));
    return number;
}

int http_connect(const char *endpoint)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct timeval patience = { .tv_sec = PATIENCE_S };
    const char *colon = strchr(endpoint, ':');
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_non_null(colon);
    assert_true(fd >= 0);
    address.sin_port = htons((uint16_t)number_in(colon + 1));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail_msg("could not connect to %s: %s", endpoint, strerror(errno));
    return fd;
}

void http_say(int fd, const char *text, size_t len)
{
    ssize_t sent = 1;

    for (; len > 0 && sent > 0; text += sent, len -= (size_t)sent)
        if ((sent = send(fd, text, len, MSG_NOSIGNAL)) < 0)
            sent = 0;
}

struct http_answer http_read(int fd)
{
    struct http_answer answer = { .text = malloc(ANSWER_MAX + 1) };
    size_t len = 0;
    ssize_t got;

    assert_non_null(answer.text);
    while (len < ANSWER_MAX && (got = recv(fd, answer.text + len, ANSWER_MAX - len, 0)) > 0)
        len += (size_t)got;
    if (got < 0 && errno == EAGAIN)
        fail_msg("no answer came within %d s", PATIENCE_S);
    close(fd);
    answer.text[len] = '\0';
    answer.body = strstr(answer.text, "\r\n\r\n");
    answer.body = answer.body ? answer.body + 4 : answer.text + len;
    if (strncmp(answer.text, "HTTP/1.", 7) == 0)
        answer.status = (int)number_in(answer.text + 9);
    return answer;
}

struct http_answer http_ask(const char *endpoint, const char *method, const char *path)
{
    char request[400];
    int fd = http_connect(endpoint);
    int len = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                                                "\r\n", method, path);

    http_say(fd, request, (size_t)len);
    return http_read(fd);
}

void http_answer_release(struct http_answer *self)
{
    free(self->text);
    self->text = NULL;
}

char *http_get(const char *endpoint, const char *path, int status)
{
    struct http_answer answer = http_ask(endpoint, "GET", path);
    char *body;

    if (answer.status != status)
        fail_msg("GET %s is answered with %d and not %d: %s", path, answer.status, status,
                 answer.text);
    body = strdup(answer.body);
    assert_non_null(body);
    http_answer_release(&answer);
    return body;
}

void http_await(const char *endpoint, const char *path, int status, const char *words)
{
    int64_t give_up_ms = clock_ms() + PATIENCE_S * 1000;
    bool found = false;

    while (!found) {
        struct http_answer answer = http_ask(endpoint, "GET", path);

        found = answer.status == status && strstr(answer.body, words);
        if (!found && clock_ms() > give_up_ms)
            fail_msg("GET %s was not answered with %d \"%s\" but: %s", path, status, words,
                     answer.text);
        http_answer_release(&answer);
    }
}

/* ---- Prometheus' text ---- */

struct reading {
    const char *text, *at;
    char name[NAME_MAX_LEN], kind[16];          /* of the row that is being read */
    double bucket, last_bucket;     /* of the series of a histogram that is being read */
};

static void bad(const struct reading *r, const char *why)
{
    fail_msg("%s at \"%.*s\"", why, (int)strcspn(r->at, "\n"), r->at);
}

static size_t name_len(const char *at)
{
    size_t len = 0;

    if (isalpha((unsigned char)*at) || *at == '_' || *at == ':')
        while (isalnum((unsigned char)at[len]) || at[len] == '_' || at[len] == ':')
            len++;
    return len;
}

/* "# HELP name words\n# TYPE name kind\n": both, once, in this order. */
static void read_head(struct reading *r)
{
    char again[NAME_MAX_LEN + 8];
    size_t len;

    r->at += strlen("# HELP ");
    len = name_len(r->at);
    if (len == 0 || len >= sizeof r->name || r->at[len] != ' ' || r->at[len + 1] == '\n')
        bad(r, "a HELP without name or words");
    snprintf(r->name, sizeof r->name, "%.*s", (int)len, r->at);
    snprintf(again, sizeof again, "# HELP %s ", r->name);
    if (strstr(r->at, again))
        bad(r, "a HELP twice");
    r->at = strchr(r->at, '\n');
    if (!r->at || strncmp(r->at, "\n# TYPE ", 8) != 0 ||
        strncmp(r->at + 8, r->name, len) != 0 || r->at[8 + len] != ' ')
        fail_msg("no TYPE follows the HELP of %s", r->name);
    r->at += 8 + len + 1;
    len = strcspn(r->at, "\n");
    snprintf(r->kind, sizeof r->kind, "%.*s", (int)len, r->at);
    if (strcmp(r->kind, "counter") != 0 && strcmp(r->kind, "gauge") != 0 &&
        strcmp(r->kind, "histogram") != 0)
        bad(r, "no kind of metric");
    if ((strcmp(r->kind, "counter") == 0) != (strstr(r->name, "_total") != NULL))
        fail_msg("%s is a %s: counters, and only they, end in _total", r->name, r->kind);
    r->at += len + 1;
}

/* {a="b",c="d"}; le, if there is one, into *le. */
static void read_labels(struct reading *r, char le[32])
{
    *le = '\0';
    if (*r->at != '{')
        return;
    do {
        const char *name = ++r->at, *value;
        size_t len = name_len(name);

        r->at += len;
        if (len == 0 || strncmp(r->at, "=\"", 2) != 0)
            bad(r, "a label that is none");
        for (value = r->at += 2; *r->at && *r->at != '"' && *r->at != '\n'; r->at++)
            if (*r->at == '\\' && !strchr("\\\"n", *++r->at))
                bad(r, "an escape that is none");
        if (*r->at != '"')
            bad(r, "a label's value without its end");
        if (len == 2 && strncmp(name, "le", 2) == 0)
            snprintf(le, 32, "%.*s", (int)(r->at - value), value);
        r->at++;
    } while (*r->at == ',');
    if (*r->at++ != '}')
        bad(r, "labels without their end");
}

static void check_histogram(struct reading *r, const char *suffix, const char *le, double value)
{
    double bound = strcmp(le, "+Inf") == 0 ? 1e300 : atof(le);

    if (strcmp(suffix, "_bucket") == 0) {
        if (!*le)
            bad(r, "a bucket without its bound");
        if (r->bucket >= 0 && (bound <= r->bucket || value < r->last_bucket))
            bad(r, "buckets that do not rise");
        r->bucket = bound;
        r->last_bucket = value;
    } else if (strcmp(suffix, "_sum") == 0) {
        if (r->bucket < 1e300)
            bad(r, "a histogram without +Inf");
        r->bucket = -1;
    } else if (strcmp(suffix, "_count") != 0 || value != r->last_bucket)
        bad(r, "a count that is not the last bucket");
}

static void read_sample(struct reading *r)
{
    const char *begin = r->at;
    char suffix[16] = "", le[32], twice[400], *end;
    size_t len = name_len(r->at), own = strlen(r->name);
    double value;

    if (len < own || strncmp(r->at, r->name, own) != 0 || len - own >= sizeof suffix)
        bad(r, "a sample that stands apart from its HELP and TYPE");
    snprintf(suffix, sizeof suffix, "%.*s", (int)(len - own), r->at + own);
    r->at += len;
    read_labels(r, le);
    if (*r->at != ' ' || isspace((unsigned char)r->at[1]))
        bad(r, "a sample without its value");
    snprintf(twice, sizeof twice, "\n%.*s ", (int)(r->at - begin), begin);
    value = strtod(r->at + 1, &end);
    if (end == r->at + 1 || *end != '\n')
        bad(r, "a value that is no number");
    r->at = end + 1;
    if (strstr(end, twice))
        fail_msg("a series twice: %s", twice);
    if (strcmp(r->kind, "histogram") == 0)
        check_histogram(r, suffix, le, value);
    else if (*suffix)
        fail_msg("%s%s is no sample of a %s", r->name, suffix, r->kind);
    else if (strcmp(r->kind, "counter") == 0 && value < 0)
        fail_msg("the counter %s is below 0", r->name);
}

void prometheus_check(const char *text)
{
    struct reading r = { .text = text, .at = text, .bucket = -1 };

    assert_true(*text && text[strlen(text) - 1] == '\n');
    while (*r.at)
        if (strncmp(r.at, "# HELP ", 7) == 0)
            read_head(&r);
        else
            read_sample(&r);
}

double prometheus_value(const char *text, const char *series)
{
    size_t len = strlen(series);

    for (const char *at = text; at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, series, len) == 0 && at[len] == ' ')
            return atof(at + len + 1);
    }
    fail_msg("no series %s in\n%s", series, text);
    return 0;
}

char *prometheus_scrape(const char *endpoint)
{
    char *text = http_get(endpoint, "/metrics", 200);

    prometheus_check(text);
    return text;
}
