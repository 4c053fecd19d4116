/* The gateway's answers that are no pictures: pages, ladders, composites, events, verify and
 * provenance, files of a folder, and the file that describes them all; with the real programs. */
#include "base/file.h"
#include "tests/kit_http.h"
#include "tests/kit_json.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <cjson/cJSON.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILE_BYTES_MAX = 1 << 20, BODY_MAX = 200000, QUEUE = 8 };

/* A worker that is stopped for a while stays a worker, and what it has stays its. */
static const char *const PATIENT[] = { "--lookup-ms", "10000", "--silence-ms", "60000",
                                       "--stall-ms", "60000", NULL };

static struct kit_stack stack;
static struct temp temp;
static struct kit_program gateway;
static char at[64];                 /* its address */
static char base[64];               /* "/v1/avatars64@4a9f879d" */
static uint8_t *file;               /* a picture as it was made */
static size_t file_len;
static char heard[8192];            /* by read_until */

static const char ROOMY[] = "10000000";   /* for all bodies */

/* ---- programs ---- */

static struct ran seedpress(const char *const *args)
{
    return run_seedpress((const char *const[]){ "--broker", stack.clients, "--json", NULL }, args);
}
#define SEEDPRESS(...) seedpress((const char *const[]){ __VA_ARGS__, NULL })

static void start_gateway(struct kit_program *program, char address[64], const char *bodies_max)
{
    struct temp_path www = temp_path(&temp, "www");
    const char *const flags[] = { "--sites", www.text, "--proof-threads", "1", "--body-max-bytes",
                                  "200000", "--bodies-max-bytes", bodies_max, NULL };

    stack_run_gateway(program, address, stack.clients, flags);
    http_await(address, "/readyz", 200, "ok");
    http_await(address, "/v1/models", 200, "avatars64");
}

static void put(const char *name, const char *text)
{
    struct err e;

    if (file_write_atomic(temp_path(&temp, name).text, text, strlen(text), &e))
        fail_msg("%s", e.msg);
}

/* ---- asking ---- */

static struct http_answer post(const char *path, const void *body, size_t len)
{
    char head[400];
    int fd = http_connect(at);
    int head_len = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: t\r\nConnection: close"
                            "\r\nContent-Length: %zu\r\n\r\n", path, len);

    http_say(fd, head, (size_t)head_len);
    http_say(fd, body, len);
    return http_read(fd);
}

static int begin(const char *method, const char *path)
{
    char head[400];
    int fd = http_connect(at);
    int len = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: t\r\n\r\n", method, path);

    http_say(fd, head, (size_t)len);
    return fd;
}

static int begin_post(const char *path)
{
    char head[400];
    int fd = http_connect(at);
    int len = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n"
                       "\r\n", path, file_len);

    http_say(fd, head, (size_t)len);
    http_say(fd, (const char *)file, file_len);
    return fd;
}

/* Reads on until what was heard holds words. */
static void read_until(int fd, const char *words)
{
    size_t len = 0;

    heard[0] = '\0';
    while (!strstr(heard, words)) {
        ssize_t got = recv(fd, heard + len, sizeof heard - 1 - len, 0);

        if (got <= 0)
            fail_msg("\"%s\" did not come, but: %s", words, heard);
        len += (size_t)got;
        heard[len] = '\0';
    }
}

static cJSON *json_of(struct http_answer *answer, int status)
{
    cJSON *json = cJSON_ParseWithOpts(answer->body, NULL, 0);

    if (answer->status != status || !json)
        fail_msg("%d and not %d: %s", answer->status, status, answer->text);
    http_answer_release(answer);
    return json;
}

static cJSON *get(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static cJSON *get(int status, const char *fmt, ...)
{
    struct http_answer answer;
    char path[300];
    va_list args;

    va_start(args, fmt);
    vsnprintf(path, sizeof path, fmt, args);
    va_end(args);
    answer = http_ask(at, "GET", path);
    return json_of(&answer, status);
}

static void assert_url(const cJSON *object, const char *rest)
{
    char url[200];

    snprintf(url, sizeof url, "%s%s", base, rest);
    assert_string_equal(json_string(object, "url"), url);
}

/* A figure of the broker's. */
static double figure(const char *series)
{
    char *text = prometheus_scrape(stack.metrics);
    double value = prometheus_value(text, series);

    free(text);
    return value;
}
#define SUBMITTED "seedpress_jobs_submitted_total"
#define CANCELLED "seedpress_jobs_finished_total{outcome=\"cancelled\"}"

static void await_figure(const char *series, double wanted)
{
    char words[160];

    snprintf(words, sizeof words, "%s %.0f\n", series, wanted);
    http_await(stack.metrics, "/metrics", 200, words);
}

/* ---- pages and ladders ---- */

static void a_page_names_pictures_and_renders_none(void **state)
{
    double before = figure(SUBMITTED);
    cJSON *page = get(200, "%s/page?seed=1000&n=3&psi=0.70", base), *list, *bare;
    char next[200];

    (void)state;
    list = cJSON_GetObjectItem(page, "pictures");
    assert_int_equal(cJSON_GetArraySize(list), 3);
    assert_int_equal(json_number(cJSON_GetArrayItem(list, 2), "seed"), 1002);
    assert_url(cJSON_GetArrayItem(list, 2), "/1002.jpg?psi=0.7");
    assert_string_equal(json_string(page, "model"), "avatars64");
    assert_int_equal(json_number(page, "width"), 64);
    snprintf(next, sizeof next, "%s/page?seed=1003&n=3&psi=0.7", base);
    assert_string_equal(json_string(page, "next"), next);
    bare = get(200, "/v1/avatars64/page?seed=1000&n=3&psi=0.7");
    assert_true(cJSON_Compare(page, bare, true));
    cJSON_Delete(bare);
    cJSON_Delete(page);
    assert_true(figure(SUBMITTED) == before);
}

static void a_page_ends_with_the_last_seed(void **state)
{
    cJSON *page = get(200, "%s/page?seed=4294967294&n=56", base), *list;

    (void)state;
    list = cJSON_GetObjectItem(page, "pictures");
    assert_int_equal(cJSON_GetArraySize(list), 2);
    assert_url(cJSON_GetArrayItem(list, 1), "/4294967295.jpg");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(page, "next")));
    cJSON_Delete(page);
}

static void a_ladder_has_the_steps_that_strangers_may_ask_for(void **state)
{
    cJSON *ladder = get(200, "%s/ladder?seed=42&from=0&to=1&steps=11", base), *list;

    (void)state;
    list = cJSON_GetObjectItem(ladder, "pictures");
    assert_int_equal(cJSON_GetArraySize(list), 11);
    assert_url(cJSON_GetArrayItem(list, 0), "/42.jpg?psi=0");
    assert_url(cJSON_GetArrayItem(list, 7), "/42.jpg?psi=0.7");
    assert_true(json_number(cJSON_GetArrayItem(list, 7), "psi") == 0.7);
    assert_url(cJSON_GetArrayItem(list, 10), "/42.jpg");
    cJSON_Delete(ladder);
    /* A hundred steps of a tenth are three that may be asked for. */
    ladder = get(200, "%s/ladder?seed=42&from=0.1&to=0.2&steps=100", base);
    list = cJSON_GetObjectItem(ladder, "pictures");
    assert_int_equal(cJSON_GetArraySize(list), 3);
    assert_url(cJSON_GetArrayItem(list, 1), "/42.jpg?psi=0.15");
    cJSON_Delete(ladder);
}

/* ---- composites ---- */

static void a_composite_is_the_same_for_the_same_question(void **state)
{
    cJSON *one = get(200, "/v1/composite?items=avatars64:3&seed=7&psi=0.7"), *two, *list;
    double before = figure(SUBMITTED);

    (void)state;
    assert_int_equal(json_number(one, "ready"), 3);
    assert_int_equal(json_number(one, "failed"), 0);
    list = cJSON_GetObjectItem(one, "items");
    assert_true(json_number(cJSON_GetArrayItem(list, 0), "seed") !=
                json_number(cJSON_GetArrayItem(list, 1), "seed"));
    for (int i = 0; i < 3; i++) {
        const cJSON *item = cJSON_GetArrayItem(list, i);
        char rest[60];

        snprintf(rest, sizeof rest, "/%.0f.jpg?psi=0.7", json_number(item, "seed"));
        assert_url(item, rest);
        assert_true(cJSON_IsTrue(cJSON_GetObjectItem(item, "ok")));
        free(http_get(at, json_string(item, "url"), 200));
    }
    two = get(200, "/v1/composite?items=avatars64:3&seed=7&psi=0.7");
    assert_true(cJSON_Compare(one, two, true));
    cJSON_Delete(two);
    cJSON_Delete(one);
    /* The pictures lie in the gateway's memory: nobody was asked again. */
    assert_true(figure(SUBMITTED) == before);
}

static void equal_pictures_of_a_composite_are_rendered_once(void **state)
{
    double before = figure(SUBMITTED);
    cJSON *answer = get(200, "/v1/composite?items=avatars64:2,avatars64:2&seed=8"), *list;

    (void)state;
    list = cJSON_GetObjectItem(answer, "items");
    assert_int_equal(cJSON_GetArraySize(list), 4);
    assert_true(cJSON_Compare(cJSON_GetArrayItem(list, 1), cJSON_GetArrayItem(list, 3), true));
    assert_true(figure(SUBMITTED) == before + 2);
    cJSON_Delete(answer);
}

static void a_composite_keeps_its_deadline(void **state)
{
    cJSON *answer, *item;

    (void)state;
    program_signal(&stack.worker[0], SIGSTOP);
    answer = get(200, "/v1/composite?items=avatars64:4&seed=9&deadline_ms=300");
    program_signal(&stack.worker[0], SIGCONT);
    assert_int_equal(json_number(answer, "failed"), 4);
    assert_int_equal(json_number(answer, "ready"), 0);
    item = cJSON_GetArrayItem(cJSON_GetObjectItem(answer, "items"), 3);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(item, "ok")));
    assert_string_equal(json_string(item, "code"), "deadline");
    cJSON_Delete(answer);
}

static int begin_composite(int seed, int deadline_ms)
{
    char path[200];

    snprintf(path, sizeof path, "/v1/composite?items=avatars64:1&seed=%d&deadline_ms=%d", seed,
             deadline_ms);
    return begin("GET", path);
}

static void await_joined(double wanted)
{
    char words[100];

    snprintf(words, sizeof words, "seedpress_gateway_joined_total %.0f\n", wanted);
    http_await(at, "/metrics", 200, words);
}

/* Two want the same picture, one for a second, one for a minute: whoever came first, the hasty one
 * hears in time that it is not there, and the patient one gets it. */
static void each_who_waits_has_his_own_deadline(void **state)
{
    double submitted = figure(SUBMITTED);
    char *metrics = prometheus_scrape(at);
    double joined = prometheus_value(metrics, "seedpress_gateway_joined_total");
    int hasty, patient;

    (void)state;
    free(metrics);
    program_signal(&stack.worker[0], SIGSTOP);
    hasty = begin_composite(11, 1000);
    await_figure(SUBMITTED, submitted + 1);
    patient = begin_composite(11, 60000);
    await_joined(joined + 1);
    read_until(hasty, "\"code\":\"deadline\"");
    close(hasty);
    await_figure(SUBMITTED, submitted + 2);      /* for who has time left */
    program_signal(&stack.worker[0], SIGCONT);
    read_until(patient, "\"ready\":1");
    close(patient);
    program_signal(&stack.worker[0], SIGSTOP);
    patient = begin_composite(12, 60000);
    await_figure(SUBMITTED, submitted + 3);
    hasty = begin_composite(12, 1000);
    read_until(hasty, "\"code\":\"deadline\"");
    close(hasty);
    program_signal(&stack.worker[0], SIGCONT);
    read_until(patient, "\"ready\":1");
    close(patient);
}

static void who_leaves_a_composite_cancels_it(void **state)
{
    double before = figure(CANCELLED), submitted = figure(SUBMITTED);
    int fd;

    (void)state;
    program_signal(&stack.worker[0], SIGSTOP);
    fd = begin("GET", "/v1/composite?items=avatars64:5&seed=10");
    await_figure(SUBMITTED, submitted + 5);
    close(fd);
    await_figure(CANCELLED, before + 5);
    program_signal(&stack.worker[0], SIGCONT);
}

/* ---- events ---- */

static void events_tell_of_each_picture_and_of_the_end(void **state)
{
    struct http_answer answer;
    char path[200], url[200];

    (void)state;
    snprintf(path, sizeof path, "%s/events?seed=2000&n=3&psi=0.7", base);
    answer = http_ask(at, "GET", path);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.text, "text/event-stream"));
    for (int i = 0; i < 3; i++) {
        snprintf(url, sizeof url, "event: picture\ndata: {\"seed\":%d,\"url\":\"%s/%d.jpg?psi=0.7"
                 "\"}\n\n", 2000 + i, base, 2000 + i);
        if (!strstr(answer.body, url))
            fail_msg("\"%s\" is not in %s", url, answer.body);
    }
    assert_non_null(strstr(answer.body, "event: done\ndata: {\"count\":3,\"failed\":0}\n\n"));
    http_answer_release(&answer);
}

static void who_leaves_the_events_cancels_what_is_left(void **state)
{
    double before = figure(CANCELLED), submitted = figure(SUBMITTED);
    char path[200];
    int fd;

    (void)state;
    program_signal(&stack.worker[0], SIGSTOP);
    snprintf(path, sizeof path, "%s/events?seed=2100&n=7", base);
    fd = begin("GET", path);
    read_until(fd, "text/event-stream");
    await_figure(SUBMITTED, submitted + 7);
    close(fd);
    await_figure(CANCELLED, before + 7);
    program_signal(&stack.worker[0], SIGCONT);
}

static void the_head_of_events_renders_nothing(void **state)
{
    double submitted = figure(SUBMITTED);
    struct http_answer answer;
    char path[200];

    (void)state;
    snprintf(path, sizeof path, "%s/events?seed=2150&n=5", base);
    answer = http_ask(at, "HEAD", path);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.text, "\r\nContent-Type: text/event-stream\r\n"));
    assert_non_null(strstr(answer.text, "\r\nCache-Control: no-store\r\n"));
    assert_string_equal(answer.body, "");
    http_answer_release(&answer);
    /* Asked after it, over the same thread and the same connection to the broker. */
    snprintf(path, sizeof path, "%s/2160.jpg", base);
    free(http_get(at, path, 200));
    assert_true(figure(SUBMITTED) == submitted + 1);
}

static void events_show_that_they_live(void **state)
{
    char path[200];
    int fd;

    (void)state;
    program_signal(&stack.worker[0], SIGSTOP);
    snprintf(path, sizeof path, "%s/events?seed=2200&n=1", base);
    fd = begin("GET", path);
    read_until(fd, ": still here\n\n");
    program_signal(&stack.worker[0], SIGCONT);
    read_until(fd, "event: done\n");
    close(fd);
}

/* ---- verify and provenance ---- */

static void verify_says_what_the_command_says(void **state)
{
    struct http_answer answer = post("/v1/verify", file, file_len);
    struct temp_path path = temp_path(&temp, "made.jpg");
    cJSON *got = json_of(&answer, 200), *wanted;
    struct ran ran = SEEDPRESS("verify", path.text);

    (void)state;
    wanted = cJSON_Parse(ran.out);
    assert_string_equal(json_string(got, "answer"), "identical");
    if (!cJSON_Compare(got, wanted, true))
        fail_msg("%s", ran.out);
    ran_release(&ran);
    cJSON_Delete(wanted);
    cJSON_Delete(got);
}

/* The command's lines, as a list. */
static void assert_lines(const cJSON *list, struct ran *ran)
{
    const char *line = ran->out;

    assert_true(cJSON_GetArraySize(list) > 0);
    for (int i = 0; i < cJSON_GetArraySize(list); i++) {
        cJSON *wanted = cJSON_ParseWithOpts(line, &line, 0);

        if (!cJSON_Compare(cJSON_GetArrayItem(list, i), wanted, true))
            fail_msg("line %d is another one: %s", i, ran->out);
        cJSON_Delete(wanted);
        line += *line == '\n';
    }
    assert_int_equal(*line, '\0');
    ran_release(ran);
}

static void provenance_says_what_the_command_says(void **state)
{
    struct temp_path path = temp_path(&temp, "made.jpg");
    struct http_answer answer = post("/v1/provenance", file, file_len);
    cJSON *got = json_of(&answer, 200);
    struct ran ran = SEEDPRESS("provenance", path.text);
    char recipe[80];

    (void)state;
    assert_string_equal(json_string(got, "grade"), "exact");
    snprintf(recipe, sizeof recipe, "%s",
             json_string(cJSON_GetArrayItem(cJSON_GetObjectItem(got, "matches"), 0), "recipe_key"));
    assert_lines(cJSON_GetObjectItem(got, "matches"), &ran);
    cJSON_Delete(got);

    got = get(200, "/v1/provenance?seed=42&psi=0.7&model=avatars64");
    ran = SEEDPRESS("provenance", "--seed", "42", "--psi", "0.7", "--model", "avatars64");
    assert_lines(cJSON_GetObjectItem(got, "rows"), &ran);
    cJSON_Delete(got);
    got = get(200, "/v1/provenance?recipe=%s", recipe);
    ran = SEEDPRESS("provenance", "--recipe", recipe);
    assert_lines(cJSON_GetObjectItem(got, "rows"), &ran);
    cJSON_Delete(got);
    got = get(200, "/v1/provenance?seed=77777");
    ran = SEEDPRESS("provenance", "--seed", "77777");
    assert_lines(cJSON_GetObjectItem(got, "rows"), &ran);
    cJSON_Delete(got);
}

static void a_body_that_is_no_picture_is_refused(void **state)
{
    char *large = calloc(1, BODY_MAX + 1);
    struct http_answer answer = post("/v1/verify", "words", 5);
    cJSON *got = json_of(&answer, 422);

    (void)state;
    assert_string_equal(json_string(got, "code"), "file");
    cJSON_Delete(got);
    answer = post("/v1/provenance", "words", 5);
    cJSON_Delete(json_of(&answer, 422));
    answer = post("/v1/verify", "", 0);
    cJSON_Delete(json_of(&answer, 400));
    answer = post("/v1/verify?x=1", file, file_len);
    cJSON_Delete(json_of(&answer, 400));
    assert_non_null(large);
    answer = post("/v1/verify", large, BODY_MAX);
    cJSON_Delete(json_of(&answer, 422));
    answer = post("/v1/verify", large, BODY_MAX + 1);
    cJSON_Delete(json_of(&answer, 413));
    free(large);
}

/* Chunks of len bytes until at least so many are sent, and the last if it is to end. */
static struct http_answer post_chunks(size_t bytes, bool ends)
{
    static const char HEAD[] = "POST /v1/verify HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    static char chunk[6 + 4096 + 2];
    int fd = http_connect(at);

    memset(chunk, 'a', sizeof chunk);
    memcpy(chunk, "1000\r\n", 6);
    memcpy(chunk + sizeof chunk - 2, "\r\n", 2);
    http_say(fd, HEAD, sizeof HEAD - 1);
    for (size_t sent = 0; sent < bytes; sent += 4096)
        http_say(fd, chunk, sizeof chunk);
    if (ends)
        http_say(fd, "0\r\n\r\n", 5);
    return http_read(fd);
}

static void a_body_of_unknown_length_is_refused_in_words(void **state)
{
    struct http_answer answer = post_chunks(BODY_MAX / 2, true);
    cJSON *got = json_of(&answer, 422);

    (void)state;
    cJSON_Delete(got);
    answer = post_chunks(BODY_MAX + 4096, true);
    got = json_of(&answer, 413);
    assert_string_equal(json_string(got, "code"), "too_large");
    cJSON_Delete(got);
    /* Nobody sends without end. */
    answer = post_chunks(3 * BODY_MAX, false);
    assert_int_equal(answer.status, 0);
    http_answer_release(&answer);
}

/* A file within its own limit, for which there is no room among all that are being sent. */
static void a_body_that_has_no_room_now_comes_again(void **state)
{
    char usual[64], *body = calloc(1, BODY_MAX);
    struct kit_program other;
    struct http_answer answer;

    (void)state;
    assert_non_null(body);
    snprintf(usual, sizeof usual, "%s", at);
    start_gateway(&other, at, "100000");
    answer = post("/v1/verify", body, BODY_MAX);
    assert_non_null(strstr(answer.text, "\r\nRetry-After: 1\r\n"));
    cJSON_Delete(json_of(&answer, 503));
    answer = post("/v1/verify", body, BODY_MAX / 4);     /* the room was given back */
    cJSON_Delete(json_of(&answer, 422));
    program_signal(&other, SIGTERM);
    assert_int_equal(program_wait(&other), 0);
    snprintf(at, sizeof at, "%s", usual);
    free(body);
}

/* One thread and its queue are taken: whoever comes last is told to come again; those who leave are
 * no work, and look-ups have a desk of their own. */
static void proofs_beyond_the_bound_are_refused(void **state)
{
    double submitted = figure(SUBMITTED), cancelled = figure(CANCELLED);
    struct pollfd fds[1 + QUEUE + 1];
    int refused = 0;
    struct http_answer answer;

    (void)state;
    program_signal(&stack.worker[0], SIGSTOP);
    fds[0] = (struct pollfd){ .fd = begin_post("/v1/verify"), .events = POLLIN };
    await_figure(SUBMITTED, submitted + 1);
    for (int i = 1; i < 1 + QUEUE + 1; i++)
        fds[i] = (struct pollfd){ .fd = begin_post("/v1/verify"), .events = POLLIN };
    assert_int_equal(poll(fds, 1 + QUEUE + 1, 60000), 1);
    while (!fds[refused].revents)
        refused++;
    read_until(fds[refused].fd, "}");
    assert_non_null(strstr(heard, "HTTP/1.1 503 "));
    assert_non_null(strstr(heard, "\r\nRetry-After: 2\r\n"));
    assert_non_null(strstr(heard, "\"overloaded\""));
    cJSON_Delete(get(200, "/v1/provenance?seed=42"));
    for (int i = 0; i < 1 + QUEUE + 1; i++)
        close(fds[i].fd);
    await_figure(CANCELLED, cancelled + 1);
    program_signal(&stack.worker[0], SIGCONT);
    answer = post("/v1/verify", file, file_len);
    cJSON_Delete(json_of(&answer, 200));
    assert_true(figure(SUBMITTED) == submitted + 2);
}

/* ---- classes ---- */

/* A worker that has a model with ten classes, called ten. */
static void start_worker_with_classes(void)
{
    struct temp_path models = temp_path(&temp, "models");
    char command[1200];

    snprintf(command, sizeof command, "mkdir %s && cp tests/golden/sg2_cond_32/sg2_cond_32."
             "safetensors %s/ten.safetensors", models.text, models.text);
    assert_int_equal(system(command), 0);
    stack_start_worker(&stack, 1, (const char *const[]){ "--models-dir", models.text, NULL });
    http_await(at, "/v1/models", 200, "\"name\":\"ten\"");
}

/* The picture that an object's "url" names is there, and its url ends so. */
static void assert_picture_at(const cJSON *object, const char *end)
{
    const char *url = json_string(object, "url");

    if (strlen(url) < strlen(end) || strcmp(url + strlen(url) - strlen(end), end) != 0)
        fail_msg("\"%s\" does not end with \"%s\"", url, end);
    free(http_get(at, url, 200));
}

static void refuses(const char *path, const char *code, const char *words)
{
    cJSON *got = get(400, "%s", path);

    if (strcmp(json_string(got, "code"), code) != 0 || !strstr(json_string(got, "message"), words))
        fail_msg("%s: %s: %s", path, json_string(got, "code"), json_string(got, "message"));
    cJSON_Delete(got);
}

static void a_class_is_in_every_url_of_a_model_that_has_classes(void **state)
{
    struct http_answer answer;
    cJSON *json, *list;

    (void)state;
    start_worker_with_classes();
    json = get(200, "/v1/ten/page?seed=5&n=2&psi=0.7&class=9");
    list = cJSON_GetObjectItem(json, "pictures");
    assert_picture_at(cJSON_GetArrayItem(list, 1), "/6.jpg?psi=0.7&class=9");
    assert_non_null(strstr(json_string(json, "next"), "page?seed=7&n=2&psi=0.7&class=9"));
    cJSON_Delete(json);
    json = get(200, "/v1/ten/ladder?seed=5&steps=3&class=0");
    list = cJSON_GetObjectItem(json, "pictures");
    assert_picture_at(cJSON_GetArrayItem(list, 0), "/5.jpg?psi=0&class=0");
    assert_picture_at(cJSON_GetArrayItem(list, 2), "/5.jpg?class=0");
    cJSON_Delete(json);
    answer = http_ask(at, "GET", "/v1/ten/events?seed=5&n=2&class=3");
    assert_non_null(strstr(answer.body, "/6.jpg?class=3\"}"));
    assert_non_null(strstr(answer.body, "{\"count\":2,\"failed\":0}"));
    http_answer_release(&answer);
    json = get(200, "/v1/composite?items=ten:2:4,avatars64:1,ten:1:5&seed=3");
    assert_int_equal(json_number(json, "ready"), 4);
    list = cJSON_GetObjectItem(json, "items");
    assert_picture_at(cJSON_GetArrayItem(list, 1), ".jpg?class=4");
    assert_picture_at(cJSON_GetArrayItem(list, 2), ".jpg");
    assert_picture_at(cJSON_GetArrayItem(list, 3), ".jpg?class=5");
    cJSON_Delete(json);
    json = get(200, "/v1/composite?items=avatars64:1:7&seed=3");      /* it has none */
    assert_picture_at(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "items"), 0), ".jpg");
    cJSON_Delete(json);
    answer = http_ask(at, "GET", "/v1/ten/random.jpg?class=2");
    assert_int_equal(answer.status, 303);
    assert_non_null(strstr(answer.text, ".jpg?class=2\r\n"));
    http_answer_release(&answer);
    refuses("/v1/ten/5.jpg", "class_required", "0..9");
    refuses("/v1/ten/5.jpg?class=10", "range", "0..9");
    refuses("/v1/ten/page", "class_required", "0..9");
    refuses("/v1/ten/events", "class_required", "0..9");
    refuses("/v1/ten/random.jpg", "class_required", "0..9");
    refuses("/v1/composite?items=avatars64:1,ten:1", "class_required", "model ten");
    refuses("/v1/composite?items=ten:1:10", "range", "class 10");
    program_kill(&stack.worker[1]);
}

/* ---- bad questions ---- */

static void what_cannot_be_meant_is_refused_in_words(void **state)
{
    static const struct {
        const char *path;
        int status;
        const char *code, *words;
    } CASES[] = {
        { "/v1/avatars64/page?n=0", 400, "range", "n=0" },
        { "/v1/avatars64/page?n=101", 400, "range", "n=101" },
        { "/v1/avatars64/page?seed=-1", 400, "range", "seed=-1" },
        { "/v1/avatars64/page?seed=4294967296", 400, "range", "seed=4294967296" },
        { "/v1/avatars64/page?seed=1e3", 400, "invalid", "seed=1e3" },
        { "/v1/avatars64/page?psi=3", 400, "range", "psi=3" },
        { "/v1/avatars64/page?size=3", 400, "invalid", "size" },
        { "/v1/dogs/page", 404, "unknown_model", "dogs" },
        { "/v1/avatars64@00000000/page", 404, "unknown_model", "00000000" },
        { "/v1/avatars64@12/page", 400, "invalid", "8 to 64" },
        { "/v1/avatars64/ladder?steps=1", 400, "range", "steps=1" },
        { "/v1/avatars64/ladder?from=x", 400, "invalid", "from=x" },
        { "/v1/avatars64/ladder?psi=1", 400, "invalid", "psi" },
        { "/v1/avatars64/events?n=1000", 400, "range", "n=1000" },
        { "/v1/dogs/events", 404, "unknown_model", "dogs" },
        { "/v1/composite", 400, "invalid", "items" },
        { "/v1/composite?items=", 400, "invalid", "items" },
        { "/v1/composite?items=avatars64", 400, "invalid", "items" },
        { "/v1/composite?items=avatars64:0", 400, "range", "items" },
        { "/v1/composite?items=avatars64:101", 400, "range", "items" },
        { "/v1/composite?items=avatars64:60,avatars64:41", 400, "range", "items" },
        { "/v1/composite?items=avatars64:1,", 400, "invalid", "items" },
        { "/v1/composite?items=:1", 400, "invalid", "items" },
        { "/v1/composite?items=dogs:1", 404, "unknown_model", "dogs" },
        { "/v1/composite?items=avatars64:1&deadline_ms=0", 400, "range", "deadline_ms=0" },
        { "/v1/provenance", 400, "invalid", "one of" },
        { "/v1/provenance?seed=1&recipe=12", 400, "invalid", "64 hex" },
        { "/v1/provenance?sha256=xyz", 400, "invalid", "64 hex" },
        { "/v1/provenance?model=avatars64", 400, "invalid", "one of" },
        { "/v1/provenance?seed=1&limit=101", 400, "range", "limit=101" },
        { "/v1/openapi.json?x=1", 400, "invalid", "x" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cJSON *got = get(CASES[i].status, "%s", CASES[i].path);

        if (strcmp(json_string(got, "code"), CASES[i].code) != 0 ||
            !strstr(json_string(got, "message"), CASES[i].words))
            fail_msg("%s: %s: %s", CASES[i].path, json_string(got, "code"),
                     json_string(got, "message"));
        cJSON_Delete(got);
    }
}

/* ---- files of a folder ---- */

static struct http_answer ask_file(const char *path, const char *header)
{
    char head[600];
    int fd = http_connect(at);
    int len = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s"
                       "\r\n", path, header);

    http_say(fd, head, (size_t)len);
    return http_read(fd);
}

static void assert_header(const struct http_answer *answer, const char *line)
{
    if (!strstr(answer->text, line))
        fail_msg("\"%s\" is not in %s", line, answer->text);
}

static void files_of_the_folder_are_served_safely(void **state)
{
    struct http_answer answer = ask_file("/", "");
    char header[120], *etag;

    (void)state;
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "<p>home");
    assert_header(&answer, "Content-Type: text/html; charset=utf-8\r\n");
    assert_header(&answer, "X-Content-Type-Options: nosniff\r\n");
    assert_header(&answer, "Content-Security-Policy: default-src 'self'; img-src 'self' blob: "
                           "data:\r\n");
    assert_header(&answer, "Last-Modified: ");
    etag = strstr(answer.text, "ETag: ") + 6;
    snprintf(header, sizeof header, "If-None-Match: %.*s\r\n", (int)strcspn(etag, "\r"), etag);
    http_answer_release(&answer);
    answer = ask_file("/index.html", header);
    assert_int_equal(answer.status, 304);
    assert_string_equal(answer.body, "");
    http_answer_release(&answer);
    answer = ask_file("/wall", "");
    assert_int_equal(answer.status, 308);
    assert_header(&answer, "Location: /wall/\r\n");
    assert_header(&answer, "Cache-Control: no-cache\r\n");
    http_answer_release(&answer);
    answer = ask_file("/a%20b?x=%3f", "");
    assert_int_equal(answer.status, 308);
    assert_header(&answer, "Location: /a%20b/?x=%3f\r\n");
    http_answer_release(&answer);
    answer = ask_file("/wall/", "");
    assert_string_equal(answer.body, "<p>wall");
    http_answer_release(&answer);
    answer = http_ask(at, "HEAD", "/site.mjs");
    assert_int_equal(answer.status, 200);
    assert_header(&answer, "Content-Type: text/javascript; charset=utf-8\r\n");
    assert_string_equal(answer.body, "");
    http_answer_release(&answer);
}

static void nothing_but_those_files_is_served(void **state)
{
    static const struct {
        const char *path;
        int status;
    } CASES[] = {
        { "/nothing.html", 404 }, { "/.hidden.txt", 400 }, { "/../made.jpg", 400 },
        { "/wall/../../made.jpg", 400 }, { "/%2e%2e/made.jpg", 400 }, { "/..%2fmade.jpg", 400 },
        { "/wall/%2e%2e%2f%2e%2e%2fmade.jpg", 400 }, { "/out.jpg", 404 }, { "/up/made.jpg", 404 },
        { "/index.html%00.txt", 400 }, { "//index.html", 400 }, { "/index.html/", 404 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct http_answer answer = ask_file(CASES[i].path, "");

        if (answer.status != CASES[i].status)
            fail_msg("%s: %s", CASES[i].path, answer.text);
        http_answer_release(&answer);
    }
}

/* ---- the description, and the end ---- */

static void every_route_is_as_the_file_describes_it(void **state)
{
    const char *build = getenv("SEEDPRESS_BUILD");
    struct temp_path picture = temp_path(&temp, "made.jpg");
    char shell[800];
    struct ran ran;

    (void)state;
    snprintf(shell, sizeof shell, "%s/seedpress-gateway --routes | exec /usr/bin/python3 "
             "tests/openapi_check.py %s %s", build ? build : "build", at, picture.text);
    ran = run_program((const char *const[]){ "sh", "-c", shell, NULL });
    if (ran.exit_code != 0 || !strstr(ran.out, " answers, 0 failures"))
        fail_msg("%s%s", ran.out, ran.err);
    ran_release(&ran);
}

static void the_file_is_the_one_in_the_repository(void **state)
{
    char *got = http_get(at, "/v1/openapi.json", 200);
    uint8_t *wanted;
    struct err e;
    size_t len;

    (void)state;
    if (file_read("client/gateway/openapi.json", FILE_BYTES_MAX, &wanted, &len, &e))
        fail_msg("%s", e.msg);
    assert_string_equal(got, (const char *)wanted);
    free(wanted);
    free(got);
}

/* What was asked before the end is answered, if it can be in time. */
static void a_proof_that_is_under_way_is_finished(void **state)
{
    double submitted = figure(SUBMITTED);
    int proof;

    (void)state;
    program_signal(&stack.worker[0], SIGSTOP);
    proof = begin_post("/v1/verify");
    await_figure(SUBMITTED, submitted + 1);
    program_signal(&gateway, SIGTERM);
    program_wait_for(&gateway, " gateway_drain ", NULL, 0);
    program_signal(&stack.worker[0], SIGCONT);
    read_until(proof, "\"identical\"");
    close(proof);
    assert_int_equal(program_wait(&gateway), 0);
    start_gateway(&gateway, at, ROOMY);
}

/* Whatever is under way, nobody who waits keeps the program. */
static void the_end_does_not_wait_for_a_worker(void **state)
{
    double submitted = figure(SUBMITTED);
    char path[200], here[64];
    int events, proof;

    (void)state;
    snprintf(here, sizeof here, "%s", at);
    snprintf(path, sizeof path, "%s/events?seed=2300&n=2", base);
    program_signal(&stack.worker[0], SIGSTOP);
    events = begin("GET", path);
    proof = begin_post("/v1/verify");
    await_figure(SUBMITTED, submitted + 3);
    program_signal(&gateway, SIGTERM);
    read_until(proof, "HTTP/1.1 503 ");
    read_until(events, "event: done\n");
    assert_int_equal(program_wait(&gateway), 0);
    program_signal(&stack.worker[0], SIGCONT);
    close(events);
    close(proof);
    start_gateway(&gateway, at, ROOMY);
}

/* ---- all of it ---- */

static int setup(void **state)
{
    struct temp_path path;
    struct ran ran;
    cJSON *models;
    struct err e;

    (void)state;
    temp = temp_create();
    stack_start(&stack, PATIENT);
    stack_start_worker(&stack, 0, NULL);
    assert_int_equal(mkdir(temp_path(&temp, "www").text, 0700), 0);
    assert_int_equal(mkdir(temp_path(&temp, "www/wall").text, 0700), 0);
    assert_int_equal(mkdir(temp_path(&temp, "www/a b").text, 0700), 0);
    put("www/index.html", "<p>home");
    put("www/wall/index.html", "<p>wall");
    put("www/site.mjs", "export {}");
    put("www/.hidden.txt", "hidden");
    assert_int_equal(symlink("../made.jpg", temp_path(&temp, "www/out.jpg").text), 0);
    assert_int_equal(symlink("..", temp_path(&temp, "www/up").text), 0);
    start_gateway(&gateway, at, ROOMY);
    models = get(200, "/v1/models");
    snprintf(base, sizeof base, "%s", json_string(
        cJSON_GetArrayItem(cJSON_GetObjectItem(models, "models"), 0), "url"));
    base[strlen(base) - 1] = '\0';
    cJSON_Delete(models);
    path = temp_path(&temp, "made.jpg");
    ran = SEEDPRESS("generate", "--model", "avatars64", "--seed", "42", "--psi", "0.7", "-o",
                    path.text);
    assert_int_equal(ran.exit_code, 0);
    ran_release(&ran);
    if (file_read(path.text, FILE_BYTES_MAX, &file, &file_len, &e))
        fail_msg("%s", e.msg);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    program_kill(&gateway);
    stack_destroy(&stack);
    free(file);
    temp_destroy(&temp);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_names_pictures_and_renders_none),
        cmocka_unit_test(a_page_ends_with_the_last_seed),
        cmocka_unit_test(a_ladder_has_the_steps_that_strangers_may_ask_for),
        cmocka_unit_test(a_composite_is_the_same_for_the_same_question),
        cmocka_unit_test(equal_pictures_of_a_composite_are_rendered_once),
        cmocka_unit_test(a_composite_keeps_its_deadline),
        cmocka_unit_test(each_who_waits_has_his_own_deadline),
        cmocka_unit_test(who_leaves_a_composite_cancels_it),
        cmocka_unit_test(events_tell_of_each_picture_and_of_the_end),
        cmocka_unit_test(who_leaves_the_events_cancels_what_is_left),
        cmocka_unit_test(the_head_of_events_renders_nothing),
        cmocka_unit_test(events_show_that_they_live),
        cmocka_unit_test(verify_says_what_the_command_says),
        cmocka_unit_test(provenance_says_what_the_command_says),
        cmocka_unit_test(a_body_that_is_no_picture_is_refused),
        cmocka_unit_test(a_body_of_unknown_length_is_refused_in_words),
        cmocka_unit_test(a_body_that_has_no_room_now_comes_again),
        cmocka_unit_test(proofs_beyond_the_bound_are_refused),
        cmocka_unit_test(a_class_is_in_every_url_of_a_model_that_has_classes),
        cmocka_unit_test(what_cannot_be_meant_is_refused_in_words),
        cmocka_unit_test(files_of_the_folder_are_served_safely),
        cmocka_unit_test(nothing_but_those_files_is_served),
        cmocka_unit_test(every_route_is_as_the_file_describes_it),
        cmocka_unit_test(the_file_is_the_one_in_the_repository),
        cmocka_unit_test(a_proof_that_is_under_way_is_finished),
        cmocka_unit_test(the_end_does_not_wait_for_a_worker),
    };

    return cmocka_run_group_tests_name("gateway_pages", tests, setup, teardown);
}
