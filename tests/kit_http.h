/* kit_http -- a plain HTTP client over a socket of the test's own, for what monitoring reads; and a
 * strict reader of Prometheus' text. What must not happen fails the test through cmocka. */
#ifndef TESTS_KIT_HTTP_H
#define TESTS_KIT_HTTP_H

#include <stddef.h>
#include <stdint.h>

/* endpoint: "127.0.0.1:7703". */
int http_connect(const char *endpoint);
/* All of text; what the other side no longer takes is left out. */
void http_say(int fd, const char *text, size_t len);

struct http_answer {
    int status;                     /* 0: the connection ended without one */
    char *text;                     /* all of it, ended by NUL */
    const char *body;               /* in text */
};
/* Reads to the connection's end and closes it. */
struct http_answer http_read(int fd);
struct http_answer http_ask(const char *endpoint, const char *method, const char *path);
void http_answer_release(struct http_answer *self);

/* The body of a GET that must be answered with status. For free(). */
char *http_get(const char *endpoint, const char *path, int status);
/* Asks until the answer is that status and its body holds words. */
void http_await(const char *endpoint, const char *path, int status, const char *words);

/* ---- Prometheus' text ---- */

/* Fails on anything that the format does not allow: a sample without HELP and TYPE, one that stands
 * apart from its like, a name, label, escape or number that is none, a series twice, a histogram
 * whose buckets do not rise to its count. */
void prometheus_check(const char *text);
/* The value of a series as it is written: "seedpress_queue_depth{level=\"high\"}". It must be
 * there. */
double prometheus_value(const char *text, const char *series);
/* GET /metrics, checked. For free(). */
char *prometheus_scrape(const char *endpoint);

#endif
