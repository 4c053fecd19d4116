/* The gateway from outside, over a real broker, worker and PostgreSQL: every header and status of
 * its picture routes, withdrawals, visitors who go, who are slow and who are hostile. */
#include "base/clock.h"
#include "base/file.h"
#include "client/gateway/permutation.h"
#include "client/seedpress.h"
#include "proto/digest.h"
#include "tests/kit_http.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000, FRESH_MS = 300, SLOW_COUNT = 1000, VALUE_MAX = 200 };

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A busy machine is no ledger that is away. */
static const char *const FLAGS[] = { "--lookup-ms", "10000", NULL };

static struct kit_stack stack;
static struct kit_program gateway;
static char at[64];                 /* where it listens */
static char model[32];              /* "avatars64@4a9f879d" */

/* ---- a gateway ---- */

static void start_gateway(struct kit_program *program, char endpoint[64], const char *broker,
                          const char *const *flags)
{
    stack_run_gateway(program, endpoint, broker, flags);
    http_await(endpoint, "/readyz", 200, "ok");
}

static const char *const SHORT_TRUST[] = { "--fresh-ms", "300", "--trust-proxy", "127.0.0.1",
                                           NULL };

static int set_up(void **state)
{
    char *models;
    const char *digest8;

    (void)state;
    stack_start(&stack, FLAGS);
    stack_start_worker(&stack, 0, NULL);
    start_gateway(&gateway, at, stack.clients, SHORT_TRUST);
    models = http_get(at, "/v1/models", 200);
    digest8 = strstr(models, "\"digest8\":\"");
    assert_non_null(digest8);
    snprintf(model, sizeof model, "avatars64@%.8s", digest8 + 11);
    free(models);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    program_signal(&gateway, SIGTERM);
    assert_int_equal(program_wait(&gateway), 0);
    stack_destroy(&stack);
    return 0;
}

/* ---- asking ---- */

/* headers: "Name: value\r\n" each. */
static int say(const char *endpoint, const char *method, const char *path, const char *headers)
{
    char request[8192];
    int fd = http_connect(endpoint);
    int len = snprintf(request, sizeof request,
                       "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s\r\n", method, path,
                       headers);

    assert_true(len < (int)sizeof request);
    http_say(fd, request, (size_t)len);
    return fd;
}

static struct http_answer ask_with(const char *endpoint, const char *method, const char *path,
                                   const char *headers)
{
    return http_read(say(endpoint, method, path, headers));
}

/* A header's value; "" when it is not there. */
struct value {
    char text[VALUE_MAX];
};
static struct value header_of(const struct http_answer *answer, const char *name)
{
    struct value value = { "" };
    char line[64];
    const char *found;

    snprintf(line, sizeof line, "\r\n%s: ", name);
    found = strstr(answer->text, line);
    if (found && found < answer->body) {
        found += strlen(line);
        snprintf(value.text, sizeof value.text, "%.*s", (int)strcspn(found, "\r"), found);
    }
    return value;
}

static void assert_header(const struct http_answer *answer, const char *name, const char *wanted)
{
    struct value value = header_of(answer, name);

    if (strcmp(value.text, wanted) != 0)
        fail_msg("%s is \"%s\" and not \"%s\" in\n%.600s", name, value.text, wanted, answer->text);
}

static void assert_status(const struct http_answer *answer, int status)
{
    if (answer->status != status)
        fail_msg("answered with %d and not %d:\n%.900s", answer->status, status, answer->text);
}

/* The body: Content-Length bytes, a JPEG whose digest is the one that the header says. */
static void assert_picture(const struct http_answer *answer)
{
    size_t len = (size_t)strtoul(header_of(answer, "Content-Length").text, NULL, 10);
    struct digest digest = digest_of(answer->body, len);
    unsigned char text[64];
    char wanted[80];

    assert_status(answer, 200);
    EVP_EncodeBlock(text, digest.bytes, DIGEST_LEN);
    snprintf(wanted, sizeof wanted, "sha-256=:%s:", (const char *)text);
    assert_header(answer, "Content-Digest", wanted);
    assert_header(answer, "Content-Type", "image/jpeg");
    assert_memory_equal(answer->body, "\xff\xd8\xff", 3);
    assert_memory_equal(answer->body + len - 2, "\xff\xd9", 2);
}

struct path {
    char text[200];
};
static struct path path_of(const char *name, const char *rest)
{
    struct path path;

    snprintf(path.text, sizeof path.text, "/v1/%s/%s", name, rest);
    return path;
}

static struct http_answer get(const char *rest)
{
    return ask_with(at, "GET", path_of(model, rest).text, "");
}

static double value_of(const char *endpoint, const char *series)
{
    char *text = prometheus_scrape(endpoint);
    double value = prometheus_value(text, series);

    free(text);
    return value;
}

static void await_value(const char *endpoint, const char *series, double value)
{
    int64_t give_up_ms = clock_ms() + WAIT_MS;
    double got;

    while ((got = value_of(endpoint, series)) != value)
        if (clock_ms() > give_up_ms)
            fail_msg("%s is %g and not %g", series, got, value);
}

static const char ANSWERS_200[] = "seedpress_gateway_answers_total{status=\"200\"}";
static const char RENDERS[] = "seedpress_gateway_asked_total{what=\"render\"}";
static const char CHECKS[] = "seedpress_gateway_asked_total{what=\"check\"}";
static const char WAITING[] = "seedpress_gateway_waiting";
static const char CANCELLED[] = "seedpress_gateway_cancelled_total";

/* Pictures that workers made, as the ledger counts them. */
static int64_t rendered(void)
{
    return kit_postgres_int(stack.pg.conninfo, "SELECT count(*) FROM images");
}

/* ---- permanent pictures ---- */

static void a_permanent_picture_has_every_header(void **state)
{
    struct http_answer first = get("42.jpg?psi=0.7"), second = get("42.jpg?psi=0.7");
    struct http_answer head = ask_with(at, "HEAD", path_of(model, "42.jpg?psi=0.7").text, "");
    struct value recipe = header_of(&first, "X-Recipe");
    static const char *const SAME[] = { "ETag", "Content-Digest", "X-Recipe", "Content-Type",
                                        "Cache-Control", "Content-Length", "X-Seed", "X-Psi",
                                        "X-Content-Type-Options" };
    char tag[80];

    (void)state;
    assert_picture(&first);
    assert_picture(&second);
    assert_status(&head, 200);
    snprintf(tag, sizeof tag, "W/\"%.32s\"", recipe.text);
    assert_int_equal(strlen(recipe.text), 64);
    assert_header(&first, "ETag", tag);
    assert_header(&first, "Cache-Control", "public, max-age=31536000");
    assert_header(&first, "X-Seed", "42");
    assert_header(&first, "X-Psi", "0.7");
    assert_header(&first, "X-Content-Type-Options", "nosniff");
    assert_header(&first, "Vary", "");
    assert_header(&first, "Link", "");
    assert_memory_equal(header_of(&first, "Server-Timing").text, "queue;dur=", 10);
    assert_memory_equal(header_of(&second, "Server-Timing").text, "cache;desc=\"gateway\"", 20);
    for (size_t i = 0; i < COUNT(SAME); i++) {
        assert_header(&second, SAME[i], header_of(&first, SAME[i]).text);
        assert_header(&head, SAME[i], header_of(&first, SAME[i]).text);
    }
    assert_string_equal(head.body, "");
    http_answer_release(&first);
    http_answer_release(&second);
    http_answer_release(&head);
}

static void a_bare_name_is_the_model_bound_now(void **state)
{
    struct http_answer answer = ask_with(at, "GET", path_of("avatars64", "43.jpg").text, "");
    char link[300];

    (void)state;
    assert_picture(&answer);
    snprintf(link, sizeof link, "<%s>; rel=\"canonical\"", path_of(model, "43.jpg").text);
    assert_header(&answer, "Link", link);
    assert_header(&answer, "Cache-Control", "public, max-age=60");
    http_answer_release(&answer);
}

static void other_forms_are_redirected_to_the_canonical_one(void **state)
{
    static const struct {
        const char *rest, *to;
        int status;
    } ROWS[] = {
        { "7.jpg?psi=0.70", "7.jpg?psi=0.7", 308 },
        { "7.jpg?psi=1", "7.jpg", 308 },
        { "7.jpg?psi=+0.5", "7.jpg?psi=0.5", 308 },
        { "7.jpg?psi=-0", "7.jpg?psi=0", 308 },
        { "7.jpg?q=90", "7.jpg", 308 },
        { "7.jpg?q=80&psi=0.5", "7.jpg?psi=0.5&q=80", 308 },
        { "7.jpg?class=3", "7.jpg", 308 },
        { "7.jpg?", "7.jpg", 308 },
        { "%37.jpg", "7.jpg", 308 },
        { "7.jpg?psi=0.7%30", "7.jpg?psi=0.7", 308 },
        { "7.jpg?psi=0.71", "7.jpg?psi=0.7", 307 },
        { "7.jpg?psi=-1.024&q=80", "7.jpg?psi=-1&q=80", 307 },
        { "7.jpg?psi=1.999999", "7.jpg?psi=2", 307 },
        { "7.jpg?psi=0.975", "7.jpg", 307 },
    };
    char upper[32];
    struct http_answer answer;

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        answer = get(ROWS[i].rest);
        assert_status(&answer, ROWS[i].status);
        assert_header(&answer, "Location", path_of(model, ROWS[i].to).text);
        http_answer_release(&answer);
    }
    snprintf(upper, sizeof upper, "%s", model);
    for (char *c = strchr(upper, '@'); *c; c++)
        *c = (char)(*c >= 'a' && *c <= 'f' ? *c - 32 : *c);
    answer = ask_with(at, "GET", path_of(upper, "7.jpg").text, "");
    assert_status(&answer, 308);
    assert_header(&answer, "Location", path_of(model, "7.jpg").text);
    http_answer_release(&answer);
}

static void what_cannot_be_meant_is_refused_in_words(void **state)
{
    static const struct {
        const char *path;
        int status;
        const char *words;
    } ROWS[] = {
        { "/v1/nope/1.jpg", 404, "unknown_model" },
        { "/v1/avatars64@ffffffff/1.jpg", 404, "unknown_model" },
        { "/v1/avatars64@12/1.jpg", 400, "8 to 64 hex digits" },
        { "/v1/a%20b/1.jpg", 400, "no model's name" },
        { "/v1/avatars64/-1.jpg", 400, "\"range\"" },
        { "/v1/avatars64/4294967296.jpg", 400, "\"range\"" },
        { "/v1/avatars64/99999999999999999999.jpg", 404, "not_found" },
        { "/v1/avatars64/007.jpg", 404, "not_found" },
        { "/v1/avatars64/1.png", 404, "not_found" },
        { "/v1/avatars64/", 404, "not_found" },
        { "/v1/avatars64/1.jpg?psi=2.1", 400, "outside -2..2" },
        { "/v1/avatars64/1.jpg?psi=1e1", 400, "decimal" },
        { "/v1/avatars64/1.jpg?psi=nan", 400, "decimal" },
        { "/v1/avatars64/1.jpg?q=0", 400, "1..100" },
        { "/v1/avatars64/1.jpg?q=101", 400, "1..100" },
        { "/v1/avatars64/1.jpg?size=9", 400, "\\\"size\\\"" },
        { "/v1/avatars64/1.jpg?psi=1&psi=1", 400, "twice" },
        { "/v1/avatars64/1.jpg?=1", 400, "no name" },
        { "/v1/avatars64/1%00.jpg", 400, "printable" },
        { "/v1/avatars64/1%.jpg", 400, "printable" },
        { "/v1/avatars64/%e4.jpg", 400, "printable" },
        { "/v1/../v1/models", 400, "dot" },
        { "/v1/%2e%2e/models", 400, "dot" },
        { "/v1/a%2fb/1.jpg", 400, "slash" },
        { "//v1/models", 400, "empty" },
        { "/v1/models?x=1", 400, "\\\"x\\\"" },
        { "/nothing/here", 404, "not_found" },
        { "/1/2/3/4/5/6/7/8/9", 413, "parts" },
        { "/v1/avatars64/1.jpg?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q", 413, "parameters" },
        { "/v1/avatars64/random.jpg?fresh=maybe", 400, "prefer" },
        { "/v1/avatars64/random.jpg?wait_ms=30001", 400, "30000" },
        { "/v1/avatars64/random.jpg?seed=1", 400, "\\\"seed\\\"" },
        { "/v1/avatars64/latest.jpg?every=7", 400, "3600" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct http_answer answer = ask_with(at, "GET", ROWS[i].path, "");

        if (answer.status != ROWS[i].status || !strstr(answer.body, ROWS[i].words))
            fail_msg("%s is answered with\n%s", ROWS[i].path, answer.text);
        assert_header(&answer, "Content-Type", "application/json");
        assert_header(&answer, "Cache-Control", "no-store");
        assert_header(&answer, "Retry-After", "");
        assert_memory_equal(answer.body, "{\"code\":\"", 9);
        http_answer_release(&answer);
    }
}

static void methods_that_do_not_fit_are_refused(void **state)
{
    static const char *const METHODS[] = { "POST", "PUT", "DELETE", "BREW" };
    struct http_answer answer;

    (void)state;
    for (size_t i = 0; i < COUNT(METHODS); i++) {
        answer = ask_with(at, METHODS[i], "/v1/models", "Content-Length: 0\r\n");
        assert_status(&answer, 405);
        assert_header(&answer, "Allow", "GET, HEAD, OPTIONS");
        http_answer_release(&answer);
    }
    answer = ask_with(at, "OPTIONS", "/v1/models", "Origin: https://a.example\r\n");
    assert_status(&answer, 204);
    assert_header(&answer, "Access-Control-Allow-Methods", "");
    http_answer_release(&answer);
}

static void huge_requests_harm_nobody(void **state)
{
    static char big[40000];
    struct http_answer answer;
    int fd;

    (void)state;
    memset(big, 'a', sizeof big - 1);
    memcpy(big, "GET /", 5);
    fd = http_connect(at);
    http_say(fd, big, 3000);
    http_say(fd, " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", 42);
    answer = http_read(fd);
    assert_status(&answer, 413);
    http_answer_release(&answer);
    fd = http_connect(at);
    http_say(fd, big, sizeof big - 1);
    answer = http_read(fd);
    assert_true(answer.status == 414 || answer.status == 431 || answer.status == 0);
    http_answer_release(&answer);
    fd = http_connect(at);
    http_say(fd, "GET /livez HTTP/1.1\r\nHost: t\r\nX-Big: ", 38);
    http_say(fd, big, sizeof big - 1);
    answer = http_read(fd);
    assert_true(answer.status == 431 || answer.status == 413 || answer.status == 0);
    http_answer_release(&answer);
    free(http_get(at, "/livez", 200));
}

/* ---- 304 and withdrawals ---- */

static void what_the_visitor_has_is_neither_sent_nor_rendered(void **state)
{
    struct http_answer first = get("50.jpg"), answer;
    double renders = value_of(at, RENDERS), checks = value_of(at, CHECKS);
    int64_t rows = rendered(), give_up_ms = clock_ms() + WAIT_MS;
    char headers[300];

    (void)state;
    assert_picture(&first);
    snprintf(headers, sizeof headers, "If-None-Match: \"x\", %s\r\n",
             header_of(&first, "ETag").text);
    /* While it is trusted the broker is not asked, afterwards it is, without a render. */
    while (value_of(at, CHECKS) == checks) {
        answer = ask_with(at, "GET", path_of(model, "50.jpg").text, headers);
        assert_status(&answer, 304);
        assert_string_equal(answer.body, "");
        assert_header(&answer, "ETag", header_of(&first, "ETag").text);
        assert_header(&answer, "Cache-Control", "public, max-age=31536000");
        http_answer_release(&answer);
        assert_true(clock_ms() < give_up_ms);
    }
    assert_true(value_of(at, RENDERS) == renders);
    assert_int_equal(rendered(), rows);
    answer = ask_with(at, "GET", path_of(model, "50.jpg").text, "If-None-Match: \"other\"\r\n");
    assert_picture(&answer);
    http_answer_release(&answer);
    http_answer_release(&first);
}

/* The question whether it is stored has nothing rendered: the answer after it is a new picture. */
static void asking_whether_a_picture_is_stored_renders_nothing(void **state)
{
    struct http_answer answer = ask_with(at, "GET", path_of(model, "52.jpg").text,
                                         "If-None-Match: \"other\"\r\n");

    (void)state;
    assert_picture(&answer);
    assert_memory_equal(header_of(&answer, "Server-Timing").text, "queue;dur=", 10);
    http_answer_release(&answer);
}

/* Another gateway has never seen the picture; the broker says that it is stored. */
static void a_304_needs_no_picture_in_memory(void **state)
{
    struct http_answer first = get("51.jpg"), answer;
    struct kit_program other;
    char other_at[64], headers[300];

    (void)state;
    start_gateway(&other, other_at, stack.clients, NULL);
    snprintf(headers, sizeof headers, "If-None-Match: %s\r\n", header_of(&first, "ETag").text);
    answer = ask_with(other_at, "GET", path_of(model, "51.jpg").text, headers);
    assert_status(&answer, 304);
    assert_true(value_of(other_at, RENDERS) == 0);
    assert_true(value_of(other_at, CHECKS) == 1);
    http_answer_release(&answer);
    http_answer_release(&first);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
}

static void withdraw(const char *recipe)
{
    struct seedpress_options options = { .brokers = stack.clients };
    struct seedpress_withdrawal withdrawal;
    struct seedpress_error error;
    struct seedpress *sp;

    assert_int_equal(seedpress_create(&options, &sp, &error), SEEDPRESS_OK);
    if (seedpress_withdraw(sp, recipe, NULL, "a person asked", &withdrawal, &error))
        fail_msg("%s", error.message);
    seedpress_destroy(&sp);
}

static void a_withdrawal_is_heard_within_the_trusted_time(void **state)
{
    struct http_answer answer = get("60.jpg");
    char headers[300];
    int64_t since_ms;

    (void)state;
    assert_picture(&answer);
    snprintf(headers, sizeof headers, "If-None-Match: %s\r\n", header_of(&answer, "ETag").text);
    withdraw(header_of(&answer, "X-Recipe").text);
    since_ms = clock_ms();
    for (;;) {
        int64_t asked_ms = clock_ms();

        http_answer_release(&answer);
        answer = get("60.jpg");
        if (answer.status == 410)
            break;
        assert_status(&answer, 200);
        assert_true(asked_ms - since_ms <= FRESH_MS);
    }
    assert_non_null(strstr(answer.body, "withdrawn"));
    assert_header(&answer, "Cache-Control", "no-store");
    http_answer_release(&answer);
    answer = ask_with(at, "GET", path_of(model, "60.jpg").text, headers);
    assert_status(&answer, 410);
    http_answer_release(&answer);
    /* Nor in another form: what is withdrawn is the subject. */
    answer = get("60.jpg?psi=0.5");
    assert_status(&answer, 410);
    http_answer_release(&answer);
}

/* ---- random and latest ---- */

static void random_leads_to_new_pictures_that_are_there(void **state)
{
    struct value seen[5];

    (void)state;
    for (size_t i = 0; i < COUNT(seen); i++) {
        struct http_answer answer = get("random.jpg?psi=0.6&wait_ms=30000"), picture;

        assert_status(&answer, 303);
        assert_header(&answer, "Cache-Control", "no-store");
        assert_header(&answer, "X-Fresh", "1");
        seen[i] = header_of(&answer, "Location");
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(seen[i].text, seen[k].text);
        picture = ask_with(at, "GET", seen[i].text, "");
        assert_picture(&picture);
        http_answer_release(&answer);
        http_answer_release(&picture);
    }
}

/* The number, in the key's order, of the next seed that a gateway draws. */
static uint32_t draw_number(const char *endpoint, const struct permutation *order)
{
    struct path path = path_of(model, "random.jpg?fresh=must&wait_ms=30000");
    struct http_answer answer = ask_with(endpoint, "GET", path.text, "");
    struct value to = header_of(&answer, "Location");

    assert_status(&answer, 303);
    http_answer_release(&answer);
    return permutation_invert(order, (uint32_t)strtoul(strrchr(to.text, '/') + 1, NULL, 10));
}

/* Two gateways in turn: each begins at the number of its own moment, so that even a restart within
 * one second goes on behind what was drawn at less than 64 a second. */
static void with_a_key_file_a_restart_draws_no_seed_again(void **state)
{
    struct temp temp = temp_create();
    struct temp_path file = temp_path(&temp, "key");
    const char *const flags[] = { "--seed-key-file", file.text, NULL };
    struct digest key = digest_of("sixteen bytes...", 16);
    struct permutation order = permutation_of(&key, 32);
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(file.text, "sixteen bytes...", 16, &e), ERR_OK);
    for (int turn = 0; turn < 2; turn++) {
        int64_t before_ms = clock_wall_ms(), after_ms;
        struct kit_program other;
        char there[64];
        uint32_t first;

        start_gateway(&other, there, stack.clients, flags);
        after_ms = clock_wall_ms();
        first = draw_number(there, &order);
        assert_in_range(first - (uint32_t)(before_ms * 64 / 1000), 0,
                        (after_ms - before_ms) * 64 / 1000 + 1);
        assert_int_equal(draw_number(there, &order), first + 1);
        program_signal(&other, SIGTERM);
        assert_int_equal(program_wait(&other), 0);
    }
    temp_destroy(&temp);
}

static void without_time_a_picture_is_shared_or_refused(void **state)
{
    struct http_answer first = get("random.jpg?psi=0.6&wait_ms=30000");
    struct http_answer shared = get("random.jpg?psi=0.6&wait_ms=1");
    struct http_answer refused = get("random.jpg?psi=0.6&wait_ms=1&fresh=must");
    struct http_answer picture;
    struct value to = header_of(&shared, "Location");
    int64_t rows = rendered();

    (void)state;
    assert_status(&shared, 303);
    assert_header(&shared, "X-Fresh", "0");
    assert_true(value_of(at, "seedpress_gateway_shared_total") >= 1);
    picture = ask_with(at, "GET", to.text, "");
    assert_picture(&picture);
    assert_int_equal(rendered(), rows);
    assert_status(&refused, 503);
    assert_header(&refused, "Retry-After", "1");
    http_answer_release(&first);
    http_answer_release(&shared);
    http_answer_release(&refused);
    http_answer_release(&picture);
}

/* A gateway that has just started knows of pictures what the ledger does. */
static void stored_pictures_are_shared_from_the_start(void **state)
{
    struct kit_program other;
    struct http_answer first = get("random.jpg?psi=0.6&wait_ms=30000"), answer;
    struct path path = path_of(model, "random.jpg?psi=0.6&wait_ms=1");
    int64_t give_up_ms = clock_ms() + WAIT_MS;
    char there[64];

    (void)state;
    start_gateway(&other, there, stack.clients, NULL);
    do {                             /* until it has read them */
        answer = ask_with(there, "GET", path.text, "");
        assert_status(&answer, 303);
        http_answer_release(&answer);
        assert_true(clock_ms() < give_up_ms);
    } while (value_of(there, "seedpress_gateway_asked_total{what=\"stored\"}") == 0);
    http_answer_release(&first);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
}

static void psi_of_random_pictures_goes_in_steps(void **state)
{
    struct http_answer answer = get("random.jpg?fresh=must&psi=0.33&wait_ms=900");

    (void)state;
    assert_status(&answer, 307);
    assert_header(&answer, "Location",
                  path_of(model, "random.jpg?psi=0.35&fresh=must&wait_ms=900").text);
    http_answer_release(&answer);
}

static void latest_is_the_same_on_every_gateway(void **state)
{
    struct http_answer here = get("latest.jpg?every=3600&psi=0.5"), there, picture;
    struct value to = header_of(&here, "Location");
    struct kit_program other;
    char other_at[64];

    (void)state;
    start_gateway(&other, other_at, stack.clients, NULL);
    there = ask_with(other_at, "GET", path_of(model, "latest.jpg?every=3600&psi=0.5").text, "");
    assert_status(&here, 303);
    assert_status(&there, 303);
    assert_memory_equal(header_of(&here, "Cache-Control").text, "public, max-age=", 16);
    /* Unless the hour ended between the two. */
    if (strcmp(header_of(&there, "Location").text, to.text) != 0) {
        http_answer_release(&here);
        here = get("latest.jpg?every=3600&psi=0.5");
        assert_header(&here, "Location", header_of(&there, "Location").text);
    }
    picture = ask_with(at, "GET", to.text, "");
    assert_picture(&picture);
    http_answer_release(&here);
    http_answer_release(&there);
    http_answer_release(&picture);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
}

/* ---- who reads, who waits, who goes ---- */

static void cors_is_by_list(void **state)
{
    static const char *const LISTS[] = { "--cors", "https://a.example,https://b.example", NULL };
    static const char *const ALL[] = { "--cors", "*", "--immutable", "1", NULL };
    struct kit_program other;
    struct http_answer answer;
    char there[64];

    (void)state;
    start_gateway(&other, there, stack.clients, LISTS);
    for (int again = 0; again < 2; again++) {    /* rendered, then from memory */
        answer = ask_with(there, "GET", path_of(model, "42.jpg").text,
                          "Origin: https://b.example\r\n");
        assert_picture(&answer);
        assert_header(&answer, "Access-Control-Allow-Origin", "https://b.example");
        assert_non_null(strstr(header_of(&answer, "Access-Control-Expose-Headers").text,
                               "X-Recipe"));
        assert_header(&answer, "Vary", "Origin");
        http_answer_release(&answer);
        answer = ask_with(there, "GET", path_of(model, "42.jpg").text,
                          "Origin: https://c.example\r\n");
        assert_header(&answer, "Access-Control-Allow-Origin", "");
        assert_header(&answer, "Vary", "Origin");
        http_answer_release(&answer);
    }
    answer = ask_with(there, "OPTIONS", "/v1/models", "Origin: https://a.example\r\n");
    assert_status(&answer, 204);
    assert_header(&answer, "Access-Control-Allow-Origin", "https://a.example");
    assert_header(&answer, "Access-Control-Allow-Methods", "GET, HEAD, OPTIONS");
    http_answer_release(&answer);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
    start_gateway(&other, there, stack.clients, ALL);
    for (int again = 0; again < 2; again++) {
        answer = ask_with(there, "GET", path_of(model, "42.jpg").text,
                          "Origin: https://c.example\r\n");
        assert_header(&answer, "Access-Control-Allow-Origin", "*");
        assert_header(&answer, "Cache-Control", "public, max-age=31536000, immutable");
        assert_header(&answer, "Vary", "");
        http_answer_release(&answer);
    }
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
}

static void who_goes_cancels_unless_another_waits(void **state)
{
    double cancelled = value_of(at, CANCELLED), joined;
    double at_broker = value_of(stack.metrics,
                                "seedpress_jobs_finished_total{outcome=\"cancelled\"}");
    struct http_answer answer;
    int first, second;

    (void)state;
    program_signal(&stack.worker[0], SIGSTOP);
    first = say(at, "GET", path_of(model, "70.jpg").text, "");
    await_value(at, WAITING, 1);
    close(first);
    await_value(at, CANCELLED, cancelled + 1);
    await_value(at, WAITING, 0);
    await_value(stack.metrics, "seedpress_jobs_finished_total{outcome=\"cancelled\"}",
                at_broker + 1);
    joined = value_of(at, "seedpress_gateway_joined_total");
    first = say(at, "GET", path_of(model, "71.jpg").text, "");
    await_value(at, WAITING, 1);
    second = say(at, "GET", path_of(model, "71.jpg").text, "");
    await_value(at, "seedpress_gateway_joined_total", joined + 1);
    close(first);
    program_signal(&stack.worker[0], SIGCONT);
    answer = http_read(second);
    assert_picture(&answer);
    http_answer_release(&answer);
    assert_true(value_of(at, CANCELLED) == cancelled + 1);
}

/* Half of them never end their request, half ask for much and read nothing. */
static void a_thousand_slow_connections_stop_nobody(void **state)
{
    static int fds[SLOW_COUNT];
    struct rlimit limit;
    struct path path = path_of(model, "42.jpg?psi=0.7");
    struct http_answer answer;
    char request[300];
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: t\r\n\r\n", path.text);

    (void)state;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < SLOW_COUNT; i++) {
        fds[i] = http_connect(at);
        if (i % 2)
            http_say(fds[i], request, (size_t)len - 3);
        else
            for (int k = 0; k < 100; k++)
                send(fds[i], request, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    for (uint32_t seed = 80; seed < 85; seed++) {
        char file[32];

        snprintf(file, sizeof file, "%u.jpg", seed);
        answer = get(file);
        assert_picture(&answer);
        http_answer_release(&answer);
    }
    for (int i = 0; i < SLOW_COUNT; i++)
        close(fds[i]);
}

/* An open connection that has been answered once. */
static int hold_connection(const char *endpoint)
{
    static const char REQUEST[] = "GET /livez HTTP/1.1\r\nHost: t\r\n\r\n";
    int64_t give_up_ms = clock_ms() + WAIT_MS;
    char text[512];
    int fd;

    for (;;) {                       /* those of before may not have been let go of yet */
        fd = http_connect(endpoint);
        http_say(fd, REQUEST, sizeof REQUEST - 1);
        if (recv(fd, text, sizeof text, 0) > 0)
            return fd;
        close(fd);
        assert_true(clock_ms() < give_up_ms);
    }
}

static void one_address_has_so_many_connections(void **state)
{
    static const char *const LIMITS[] = { "--connections-address-max", "2", NULL };
    struct kit_program other;
    struct http_answer answer;
    char there[64];
    int first, second;

    (void)state;
    start_gateway(&other, there, stack.clients, LIMITS);
    first = hold_connection(there);
    second = hold_connection(there);
    answer = ask_with(there, "GET", "/livez", "");
    assert_int_equal(answer.status, 0);
    http_answer_release(&answer);
    close(first);
    close(hold_connection(there));
    close(second);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
}

static void each_visitor_has_a_rate(void **state)
{
    static const char *const LIMITS[] = { "--visitor-rate", "1", "--visitor-burst", "2",
                                          "--trust-proxy", "127.0.0.1", NULL };
    static const char A[] = "X-Forwarded-For: 9.9.9.9, 2001:db8::1\r\n";
    static const char SAME_NET[] = "X-Forwarded-For: 2001:db8::2\r\n";
    static const char B[] = "X-Forwarded-For: 192.0.2.7\r\n";
    struct kit_program other;
    struct http_answer answer;
    char there[64];
    int fds[4], limited = 0;

    (void)state;
    start_gateway(&other, there, stack.clients, LIMITS);
    for (int i = 0; i < 4; i++) {                /* at once: time brings more of them */
        char file[32];

        snprintf(file, sizeof file, "%d.jpg", 90 + i);
        fds[i] = say(there, "GET", path_of(model, file).text, i % 2 ? A : SAME_NET);
    }
    for (int i = 0; i < 4; i++) {
        answer = http_read(fds[i]);
        if (answer.status == 429) {
            limited++;
            assert_header(&answer, "Retry-After", "1");
            assert_non_null(strstr(answer.body, "\"overloaded\""));
        } else
            assert_picture(&answer);
        http_answer_release(&answer);
    }
    assert_true(limited > 0);
    answer = ask_with(there, "GET", path_of(model, "95.jpg").text, B);
    assert_picture(&answer);
    http_answer_release(&answer);
    for (int i = 0; i < 20; i++) {               /* what memory has is free */
        answer = ask_with(there, "GET", path_of(model, "95.jpg").text, B);
        assert_picture(&answer);
        http_answer_release(&answer);
    }
    assert_true(value_of(there, "seedpress_gateway_limited_total") == limited);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
}

static void a_composite_out_of_memory_is_free(void **state)
{
    static const char *const LIMITS[] = { "--visitor-rate", "1", "--visitor-burst", "3",
                                          "--fresh-ms", "600000", NULL };
    struct kit_program other;
    char there[64];

    (void)state;
    start_gateway(&other, there, stack.clients, LIMITS);
    for (int i = 0; i < 100; i++)                /* more than the rate gives meanwhile */
        free(http_get(there, "/v1/composite?items=avatars64:2&seed=150", 200));
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
}

/* A proxy may add its line behind the one that the visitor made up. */
static void a_claim_in_a_line_of_its_own_counts_for_nothing(void **state)
{
    static const char *const LIMITS[] = { "--visitor-rate", "1", "--trust-proxy", "127.0.0.1",
                                          NULL };
    struct kit_program other;
    struct http_answer answer;
    char there[64];

    (void)state;
    start_gateway(&other, there, stack.clients, LIMITS);
    for (int i = 0; i < 3; i++) {
        char lines[128];

        snprintf(lines, sizeof lines, "X-Forwarded-For: 192.0.2.%d\r\nx-forwarded-for: "
                 "198.51.100.1, 198.51.100.7\r\n", i);
        answer = ask_with(there, "GET", "/v1/provenance?seed=42", lines);
        assert_status(&answer, 200);
        http_answer_release(&answer);
    }
    assert_true(value_of(there, "seedpress_gateway_visitors") == 1);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
}

/* A broker that lets each of its clients wait for one picture only tells visitors apart. */
static void the_broker_hears_of_each_visitor(void **state)
{
    static const char *const ONE_EACH[] = { "--listen", "tcp://127.0.0.1:*", "--worker-listen",
                                            "tcp://127.0.0.1:*", "--metrics-listen", "127.0.0.1:0",
                                            "--client-waiters-max", "1", "--lookup-ms", "10000",
                                            NULL };
    static const char A[] = "X-Forwarded-For: 192.0.2.1\r\n";
    static const char B[] = "X-Forwarded-For: 192.0.2.2\r\n";
    static const char C[] = "X-Forwarded-For: 192.0.2.3\r\n";
    struct kit_program broker, other;
    struct http_answer answer;
    char clients[64], workers[64], there[64];
    int first, second, third, fourth;

    (void)state;
    stack_run_broker(&stack, &broker, clients, workers, ONE_EACH);
    stack_run_worker(&stack, 1, workers, NULL);
    start_gateway(&other, there, clients, SHORT_TRUST);
    program_signal(&stack.worker[1], SIGSTOP);
    first = say(there, "GET", path_of(model, "110.jpg").text, A);
    await_value(there, WAITING, 1);
    answer = ask_with(there, "GET", path_of(model, "111.jpg").text, A);
    assert_status(&answer, 503);
    assert_non_null(strstr(answer.body, "\"overloaded\""));
    assert_true(strtol(header_of(&answer, "Retry-After").text, NULL, 10) > 0);
    http_answer_release(&answer);
    second = say(there, "GET", path_of(model, "112.jpg").text, B);
    await_value(there, WAITING, 2);
    /* Who joins a question for which there is no room is not refused for another's sake. */
    program_signal(&broker, SIGSTOP);
    third = say(there, "GET", path_of(model, "113.jpg").text, A);
    await_value(there, WAITING, 3);
    fourth = say(there, "GET", path_of(model, "113.jpg").text, C);
    await_value(there, "seedpress_gateway_joined_total", 1);
    program_signal(&broker, SIGCONT);
    answer = http_read(third);
    assert_status(&answer, 503);
    http_answer_release(&answer);
    program_signal(&stack.worker[1], SIGCONT);
    answer = http_read(first);
    assert_picture(&answer);
    http_answer_release(&answer);
    answer = http_read(second);
    assert_picture(&answer);
    http_answer_release(&answer);
    answer = http_read(fourth);
    assert_picture(&answer);
    http_answer_release(&answer);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
    program_kill(&stack.worker[1]);
    program_kill(&broker);
}

/* Any port that is free now; nginx needs a number. */
static int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    close(fd);
    return ntohs(address.sin_port);
}

/* 0 once somebody listens there. */
static int try_to_connect(const char *endpoint)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), failed;

    address.sin_port = htons((uint16_t)strtol(strchr(endpoint, ':') + 1, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    failed = connect(fd, (struct sockaddr *)&address, sizeof address);
    close(fd);
    return failed;
}

/* deploy/nginx.conf with other ports, in a folder of the test's: Debian's nginx would write into
 * /var. */
static pid_t start_nginx(const struct temp *temp, int port, const char *upstream)
{
    static const char EDIT[] = "sed -e 's/listen 80;/listen 127.0.0.1:%d;/' "
                               "-e 's/127.0.0.1:7780/%s/' -e 's|^http {|&access_log off; "
                               "client_body_temp_path %s/a; proxy_temp_path %s/b; "
                               "fastcgi_temp_path %s/c; uwsgi_temp_path %s/d; "
                               "scgi_temp_path %s/e;|' deploy/nginx.conf >%s";
    const char *in = temp->folder;
    struct temp_path conf = temp_path(temp, "nginx.conf"), log = temp_path(temp, "error.log");
    char command[1200], globals[400];
    pid_t parent = getpid(), pid;

    snprintf(command, sizeof command, EDIT, port, upstream, in, in, in, in, in, conf.text);
    assert_int_equal(system(command), 0);
    snprintf(globals, sizeof globals, "daemon off; pid %s/pid; error_log %s;", temp->folder,
             log.text);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() == parent)
            execlp("nginx", "nginx", "-p", temp->folder, "-c", conf.text, "-e", log.text, "-g",
                   globals, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* What a visitor claims of himself stands before what nginx says of him, and counts for nothing. */
static void behind_nginx_each_visitor_is_himself(void **state)
{
    static const char *const LIMITS[] = { "--visitor-rate", "1", "--visitor-burst", "1",
                                          "--trust-proxy", "127.0.0.1", NULL };
    struct temp temp = temp_create();
    struct kit_program other;
    struct http_answer answer;
    char there[64], front[64];
    int port = free_port(), status, fds[4], limited = 0;
    pid_t nginx;

    (void)state;
    if (system("command -v nginx >/dev/null") != 0)
        fail_msg("there is no nginx; deploy/packages.sh test installs it");
    start_gateway(&other, there, stack.clients, LIMITS);
    nginx = start_nginx(&temp, port, there);
    snprintf(front, sizeof front, "127.0.0.1:%d", port);
    while (try_to_connect(front) != 0)
        assert_int_equal(waitpid(nginx, &status, WNOHANG), 0);
    for (int i = 0; i < 4; i++) {
        char file[32], claim[64];

        snprintf(file, sizeof file, "%d.jpg", 140 + i);
        snprintf(claim, sizeof claim, "X-Forwarded-For: 192.0.2.%d\r\n", i + 1);
        fds[i] = say(front, "GET", path_of(model, file).text, claim);
    }
    for (int i = 0; i < 4; i++) {
        answer = http_read(fds[i]);
        limited += answer.status == 429;
        if (answer.status != 429)
            assert_picture(&answer);
        http_answer_release(&answer);
    }
    assert_true(limited > 0);
    answer = ask_with(front, "GET", "/metrics", "");
    assert_status(&answer, 404);
    http_answer_release(&answer);
    kill(nginx, SIGTERM);
    assert_int_equal(waitpid(nginx, &status, 0), nginx);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
    temp_destroy(&temp);
}

static void who_waits_is_answered_when_the_gateway_ends(void **state)
{
    static const char *const AT_ONCE[] = { "--drain-ms", "100", NULL };
    struct kit_program other;
    struct http_answer answer;
    char there[64];
    int fd;

    (void)state;
    start_gateway(&other, there, stack.clients, AT_ONCE);
    program_signal(&stack.worker[0], SIGSTOP);
    fd = say(there, "GET", path_of(model, "120.jpg").text, "");
    await_value(there, WAITING, 1);
    program_signal(&other, SIGTERM);
    answer = http_read(fd);
    assert_status(&answer, 503);
    assert_non_null(strstr(answer.body, "\"code\":\"retry\""));
    http_answer_release(&answer);
    assert_int_equal(program_wait(&other), 0);
    program_signal(&stack.worker[0], SIGCONT);
}

/* Over a connection of before; whatever the moment, it hears why. */
static void who_comes_while_it_drains_is_told_so(void **state)
{
    struct kit_program other;
    struct http_answer answer;
    char there[64], request[300];
    int late, fd, len;

    (void)state;
    start_gateway(&other, there, stack.clients, NULL);
    late = hold_connection(there);
    program_signal(&stack.worker[0], SIGSTOP);
    fd = say(there, "GET", path_of(model, "125.jpg").text, "");
    await_value(there, WAITING, 1);
    program_signal(&other, SIGTERM);
    program_wait_for(&other, " gateway_drain ", NULL, 0);
    len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                   "\r\n", path_of(model, "126.jpg").text);
    http_say(late, request, (size_t)len);
    answer = http_read(late);
    assert_status(&answer, 503);
    assert_non_null(strstr(answer.body, "\"code\":\"retry\""));
    http_answer_release(&answer);
    program_signal(&stack.worker[0], SIGCONT);
    answer = http_read(fd);          /* what was asked before is answered */
    assert_picture(&answer);
    http_answer_release(&answer);
    assert_int_equal(program_wait(&other), 0);
}

static void a_dead_broker_is_an_error_until_it_is_back(void **state)
{
    struct http_answer answer = get("130.jpg");
    struct kit_program other;
    char other_at[64];

    (void)state;
    assert_picture(&answer);
    http_answer_release(&answer);
    start_gateway(&other, other_at, stack.clients, NULL);       /* has no picture in memory */
    program_kill(&stack.broker);
    answer = get("131.jpg");
    assert_true(answer.status == 502 || answer.status == 503);
    assert_true(strtol(header_of(&answer, "Retry-After").text, NULL, 10) > 0);
    assert_null(strstr(answer.body, "tcp://"));  /* strangers need not know where it was */
    http_answer_release(&answer);
    answer = http_ask(at, "GET", "/v1/composite?items=avatars64:1");
    assert_non_null(strstr(answer.body, "\"ok\":false"));
    assert_null(strstr(answer.body, "tcp://"));
    http_answer_release(&answer);
    answer = http_ask(at, "GET", "/v1/provenance?seed=42");
    assert_status(&answer, 502);
    assert_null(strstr(answer.body, "tcp://"));
    http_answer_release(&answer);
    http_await(at, "/readyz", 503, "no broker");
    program_signal(&stack.worker[0], SIGSTOP);   /* the new broker hears of no model */
    stack_restart_broker(&stack, FLAGS);
    http_await(at, "/readyz", 503, "no worker");
    answer = ask_with(other_at, "GET", path_of(model, "130.jpg").text, "");
    assert_picture(&answer);                     /* it is stored: that is enough */
    assert_non_null(strstr(header_of(&answer, "Server-Timing").text, "ledger"));
    http_answer_release(&answer);
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
    answer = http_ask(at, "GET", "/v1/models");
    assert_non_null(strstr(answer.body, "\"workers\":0"));
    http_answer_release(&answer);
    answer = get("131.jpg");
    assert_status(&answer, 503);
    assert_non_null(strstr(answer.body, "\"no_worker\""));
    http_answer_release(&answer);
    program_signal(&stack.worker[0], SIGCONT);
    program_wait_for(&stack.worker[0], " broker_joined ", NULL, 0);
    http_await(at, "/readyz", 200, "ok");
    answer = get("131.jpg");
    assert_picture(&answer);
    http_answer_release(&answer);
    assert_true(value_of(at, ANSWERS_200) > 0);
    http_await(at, "/v1/models", 200, "\"workers\":1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_permanent_picture_has_every_header),
        cmocka_unit_test(a_bare_name_is_the_model_bound_now),
        cmocka_unit_test(other_forms_are_redirected_to_the_canonical_one),
        cmocka_unit_test(what_cannot_be_meant_is_refused_in_words),
        cmocka_unit_test(methods_that_do_not_fit_are_refused),
        cmocka_unit_test(huge_requests_harm_nobody),
        cmocka_unit_test(what_the_visitor_has_is_neither_sent_nor_rendered),
        cmocka_unit_test(asking_whether_a_picture_is_stored_renders_nothing),
        cmocka_unit_test(a_304_needs_no_picture_in_memory),
        cmocka_unit_test(a_withdrawal_is_heard_within_the_trusted_time),
        cmocka_unit_test(random_leads_to_new_pictures_that_are_there),
        cmocka_unit_test(with_a_key_file_a_restart_draws_no_seed_again),
        cmocka_unit_test(without_time_a_picture_is_shared_or_refused),
        cmocka_unit_test(stored_pictures_are_shared_from_the_start),
        cmocka_unit_test(psi_of_random_pictures_goes_in_steps),
        cmocka_unit_test(latest_is_the_same_on_every_gateway),
        cmocka_unit_test(cors_is_by_list),
        cmocka_unit_test(who_goes_cancels_unless_another_waits),
        cmocka_unit_test(a_thousand_slow_connections_stop_nobody),
        cmocka_unit_test(one_address_has_so_many_connections),
        cmocka_unit_test(each_visitor_has_a_rate),
        cmocka_unit_test(a_composite_out_of_memory_is_free),
        cmocka_unit_test(a_claim_in_a_line_of_its_own_counts_for_nothing),
        cmocka_unit_test(the_broker_hears_of_each_visitor),
        cmocka_unit_test(behind_nginx_each_visitor_is_himself),
        cmocka_unit_test(who_waits_is_answered_when_the_gateway_ends),
        cmocka_unit_test(who_comes_while_it_drains_is_told_so),
        cmocka_unit_test(a_dead_broker_is_an_error_until_it_is_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
