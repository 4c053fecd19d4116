/* What libseedpress says for bulk jobs, withdrawals and the newer look-ups, and which answers it
 * believes: against a broker that the test plays in a thread of its own, since the calls wait. */
#include "base/clock.h"
#include "base/link.h"
#include "client/seedpress.h"
#include "proto/message.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE_MS = 10000 };

/* Answers one question with one message. */
struct scene {
    struct link_context *context;
    struct link *broker;
    struct seedpress *client;
    struct message answer;
    pthread_t thread;
    bool is_asked;                  /* what follows was read */
    struct parcel parcel;
    struct message ask;             /* borrows from parcel */
};

static int set_up(void **state)
{
    struct link_options options = { .kind = LINK_ROUTER, .frame_max = MESSAGE_IMAGE_MAX };
    struct seedpress_options client = { .answer_ms = PATIENCE_MS };
    struct scene *s = calloc(1, sizeof *s);

    assert_int_equal(link_context_create(&s->context, NULL), ERR_OK);
    assert_int_equal(link_create(s->context, &options, &s->broker, NULL), ERR_OK);
    assert_int_equal(link_bind(s->broker, "tcp://127.0.0.1:*", NULL), ERR_OK);
    client.brokers = link_endpoint(s->broker);
    assert_int_equal(seedpress_create(&client, &s->client, NULL), SEEDPRESS_OK);
    *state = s;
    return 0;
}

static void forget_question(struct scene *s)
{
    if (!s->is_asked)
        return;
    message_release(&s->ask);
    parcel_release(&s->parcel);
    s->is_asked = false;
}

static int tear_down(void **state)
{
    struct scene *s = *state;

    forget_question(s);
    seedpress_destroy(&s->client);
    link_destroy(&s->broker);
    link_context_destroy(&s->context);
    free(s);
    return 0;
}

static void *serve(void *arg)
{
    struct scene *s = arg;
    int64_t end_ms = clock_ms() + PATIENCE_MS;
    struct link_wait wait = { .link = s->broker };
    struct frame map;

    while (!s->is_asked && clock_ms() < end_ms) {
        link_poll(&wait, 1, end_ms);
        if (!link_receive(s->broker, &s->parcel))
            continue;
        if (message_decode(frame_data(&s->parcel.body[0]), frame_len(&s->parcel.body[0]),
                           MESSAGE_FROM_CLIENT, &s->ask, NULL)) {
            parcel_release(&s->parcel);
            return NULL;
        }
        s->is_asked = true;
        s->answer.id = s->ask.id;
        if (!frame_init_message(&map, &s->answer, NULL))
            link_send(s->broker, &s->parcel.from, &map, NULL);
        frame_release(&map);
    }
    return NULL;
}

static struct message *begin_answer(struct scene *s, enum message_type type)
{
    forget_question(s);
    message_init(&s->answer, type, 0);
    return &s->answer;
}

static void await_question(struct scene *s, enum message_type type)
{
    pthread_join(s->thread, NULL);
    assert_true(s->is_asked);
    assert_int_equal(s->ask.type, type);
}

/* The call with the broker beside it. */
#define ASK(s, type, call, code)                                                                   \
    do {                                                                                           \
        pthread_create(&(s)->thread, NULL, serve, (s));                                            \
        assert_int_equal((call), (code));                                                          \
        await_question((s), (type));                                                               \
    } while (0)

static const struct message_bulk_job JOB = {
    .job = 7, .name = { "wall", 4 }, .state = MESSAGE_BULK_PAUSED,
    .keep = MESSAGE_KEEP_PROVENANCE, .priority = MESSAGE_NORMAL, .chunk = 100, .total = 30,
    .done = 5, .failed = 2, .rendering = 3, .exporter_ms = 4000, .picture_us = 900,
    .picture_bytes = 5000, .created = { "2026-11-22T00:00:00Z", 20 },
    .finished = { "2026-11-23T00:00:00Z", 20 },
};

static void is_job(const struct seedpress_job *job)
{
    assert_int_equal(job->job, 7);
    assert_string_equal(job->name, "wall");
    assert_int_equal(job->state, SEEDPRESS_BULK_PAUSED);
    assert_int_equal(job->keep, SEEDPRESS_KEEP_PROVENANCE);
    assert_int_equal(job->priority, SEEDPRESS_NORMAL);
    assert_int_equal(job->chunk, 100);
    assert_int_equal(job->total, 30);
    assert_int_equal(job->done, 5);
    assert_int_equal(job->failed, 2);
    assert_int_equal(job->rendering, 3);
    assert_int_equal(job->exporter_ms, 4000);
    assert_int_equal(job->picture_us, 900);
    assert_int_equal(job->picture_bytes, 5000);
    assert_string_equal(job->created, "2026-11-22T00:00:00Z");
    assert_string_equal(job->finished, "2026-11-23T00:00:00Z");
}

static struct seedpress_part part_of(const char *model, uint32_t first, uint32_t last)
{
    struct seedpress_part part = { .first = first, .last = last };

    seedpress_request_init(&part.request);
    part.request.model = model;
    return part;
}

static void a_submission_goes_out_with_all_its_parts(void **state)
{
    struct scene *s = *state;
    struct seedpress_part parts[] = { part_of("cats", 0, 9), part_of("kinds", 5, 4294967295u) };
    struct seedpress_submission submission = {
        .name = "wall", .keep = SEEDPRESS_KEEP_PROVENANCE, .priority = SEEDPRESS_NORMAL,
        .chunk = 100, .dry = true, .parts = parts, .part_count = 2,
    };
    struct seedpress_error error;
    struct seedpress_job job;
    bool is_new;

    parts[0].request.psi = 0.7;
    parts[0].request.translate[0] = 0.25;
    parts[0].request.rotate = -90;
    parts[1].request.cutoff = 3;
    parts[1].request.noise_mode = SEEDPRESS_NOISE_RANDOM;
    parts[1].request.noise_seed = 8;
    parts[1].request.quality = 75;
    parts[1].request.mark = SEEDPRESS_MARK_NONE;
    parts[1].request.rev = 2;
    parts[1].class_mod = 10;
    begin_answer(s, MESSAGE_BULK_REPORT)->bulk_report.is_new = true;
    s->answer.bulk_report.jobs = (struct records){ &JOB, 1 };
    ASK(s, MESSAGE_BULK_SUBMIT,
        seedpress_bulk_submit(s->client, &submission, &job, &is_new, &error), SEEDPRESS_OK);
    is_job(&job);
    assert_true(is_new);
    const struct message_bulk_submit *b = &s->ask.bulk_submit;
    const struct message_bulk_part *p = b->parts.items;

    assert_true(text_is(b->name, "wall") && b->dry);
    assert_int_equal(b->keep, MESSAGE_KEEP_PROVENANCE);
    assert_int_equal(b->priority, MESSAGE_NORMAL);
    assert_int_equal(b->chunk, 100);
    assert_int_equal(b->parts.count, 2);
    assert_true(text_is(p[0].model, "cats") && text_is(p[1].model, "kinds"));
    assert_int_equal(p[0].first, 0);
    assert_int_equal(p[0].last, 9);
    assert_int_equal(p[0].psi, 700000);
    assert_int_equal(p[0].cutoff, -1);
    assert_int_equal(p[0].class_index, -1);
    assert_int_equal(p[0].class_mod, 0);
    assert_int_equal(p[0].noise_mode, -1);
    assert_int_equal(p[0].translate.items[0], 250000);
    assert_int_equal(p[0].rotate, -90000000);
    assert_int_equal(p[0].quality, 90);
    assert_int_equal(p[1].last, 4294967295);
    assert_int_equal(p[1].psi, 1000000);
    assert_int_equal(p[1].cutoff, 3);
    assert_int_equal(p[1].class_mod, 10);
    assert_int_equal(p[1].noise_mode, RECIPE_NOISE_RANDOM);
    assert_int_equal(p[1].noise_seed, 8);
    assert_int_equal(p[1].quality, 75);
    assert_int_equal(p[1].mark, RECIPE_MARK_NONE);
    assert_int_equal(p[1].rev, 2);
}

/* None of these leaves the house: the broker would have to be asked for the words. */
static void a_part_that_cannot_be_meant_is_named(void **state)
{
    struct scene *s = *state;
    struct seedpress_part parts[3];
    struct seedpress_submission submission = { .name = "wall", .parts = parts };
    struct seedpress_error error;
    struct seedpress_job job;
    bool is_new;

    for (int i = 0; i < 3; i++)
        parts[i] = part_of("cats", 0, 9);
    assert_int_equal(seedpress_bulk_submit(s->client, &submission, &job, &is_new, &error),
                     SEEDPRESS_RANGE);
    submission.part_count = SEEDPRESS_PARTS_MAX + 1;
    assert_int_equal(seedpress_bulk_submit(s->client, &submission, &job, &is_new, &error),
                     SEEDPRESS_RANGE);
    submission.part_count = 3;
    parts[2].request.psi = 0.1234567;
    assert_int_equal(seedpress_bulk_submit(s->client, &submission, &job, &is_new, &error),
                     SEEDPRESS_RANGE);
    assert_non_null(strstr(error.message, "part 3: psi needs"));
    parts[2].request.psi = 3;
    assert_int_equal(seedpress_bulk_submit(s->client, &submission, &job, &is_new, &error),
                     SEEDPRESS_RANGE);
    assert_string_equal(error.message, "part 3: psi is out of range: it goes from -2 to 2");
    parts[2] = part_of(NULL, 0, 9);
    assert_int_equal(seedpress_bulk_submit(s->client, &submission, &job, &is_new, &error),
                     SEEDPRESS_INVALID);
    assert_string_equal(error.message, "part 3: a request needs a model");
    parts[2] = parts[0];
    submission.name = "";
    assert_int_equal(seedpress_bulk_submit(s->client, &submission, &job, &is_new, &error),
                     SEEDPRESS_RANGE);
    submission.name = "wall";
    submission.chunk = 10001;
    assert_int_equal(seedpress_bulk_submit(s->client, &submission, &job, &is_new, &error),
                     SEEDPRESS_RANGE);
    assert_int_equal(job.job, 0);
}

static void jobs_are_listed_and_controlled(void **state)
{
    struct scene *s = *state;
    struct message_bulk_job two[] = { JOB, { .job = 3, .name = { "old", 3 } } };
    const struct seedpress_job *jobs;
    struct seedpress_error error;
    struct seedpress_job job;
    size_t count;

    begin_answer(s, MESSAGE_BULK_REPORT)->bulk_report.jobs = (struct records){ two, 2 };
    ASK(s, MESSAGE_BULK_LIST,
        seedpress_bulk_list(s->client, 0, "wall", 50, &jobs, &count, &error), SEEDPRESS_OK);
    assert_int_equal(count, 2);
    is_job(&jobs[0]);
    assert_int_equal(jobs[1].job, 3);
    assert_int_equal(s->ask.bulk_list.job, 0);
    assert_int_equal(s->ask.bulk_list.limit, 50);
    assert_true(text_is(s->ask.bulk_list.name, "wall"));
    assert_int_equal(seedpress_bulk_list(s->client, 0, NULL, 101, &jobs, &count, &error),
                     SEEDPRESS_RANGE);

    begin_answer(s, MESSAGE_BULK_REPORT)->bulk_report.jobs = (struct records){ two, 1 };
    ASK(s, MESSAGE_BULK_CONTROL,
        seedpress_bulk_control(s->client, 7, SEEDPRESS_BULK_RESUME, &job, &error), SEEDPRESS_OK);
    is_job(&job);
    assert_int_equal(s->ask.bulk_control.job, 7);
    assert_int_equal(s->ask.bulk_control.action, MESSAGE_BULK_RESUME);
    assert_int_equal(seedpress_bulk_control(s->client, 7, 3, &job, &error), SEEDPRESS_RANGE);

    begin_answer(s, MESSAGE_BULK_REPORT)->bulk_report.jobs = (struct records){ two, 2 };
    ASK(s, MESSAGE_BULK_CONTROL,
        seedpress_bulk_control(s->client, 7, SEEDPRESS_BULK_PAUSE, &job, &error), SEEDPRESS_BUG);
}

static void what_was_exported_is_told(void **state)
{
    struct scene *s = *state;
    struct seedpress_error error;

    begin_answer(s, MESSAGE_DONE);
    ASK(s, MESSAGE_BULK_EXPORTED, seedpress_bulk_exported(s->client, 7, 20000, 10000, &error),
        SEEDPRESS_OK);
    assert_int_equal(s->ask.bulk_exported.job, 7);
    assert_int_equal(s->ask.bulk_exported.first, 20000);
    assert_int_equal(s->ask.bulk_exported.count, 10000);
}

/* A plan of 30 items, and what the test spoils of it. */
struct plan {
    struct message_bulk_job job;
    struct recipe_text texts[2];
    struct message_bulk_range ranges[2];
    struct message_bulk_failure failures[2];
};

static void plan_of(struct plan *p)
{
    static const int64_t FIRST[] = { 100, 7 }, LAST[] = { 119, 16 }, ITEM[] = { 0, 20 };

    *p = (struct plan){ .job = JOB };
    for (int i = 0; i < 2; i++) {
        struct recipe recipe = { .model = digest_of("cats", 4), .seed = (uint32_t)FIRST[i],
                                 .psi = 700000, .cutoff = 10, .class_index = -1,
                                 .noise = RECIPE_NOISE_CONST, .width = 64, .height = 64,
                                 .quality = 90, .mark = RECIPE_MARK_XMP };

        p->texts[i] = recipe_text(&recipe);
        p->ranges[i] = (struct message_bulk_range){
            .item = ITEM[i], .first = FIRST[i], .last = LAST[i], .class_mod = 3 * i,
            .recipe = { p->texts[i].text, p->texts[i].len },
        };
    }
    p->failures[0] = (struct message_bulk_failure){ 19, 119, text_of("poison"), text_of("why") };
    p->failures[1] = (struct message_bulk_failure){ 20, 7, text_of("withdrawn"), text_of("") };
}

static void show(struct scene *s, struct plan *p, struct seedpress_plan *out,
                 enum seedpress_code code, const char *words)
{
    struct message *m = begin_answer(s, MESSAGE_BULK_PLAN);
    struct seedpress_error error;

    m->bulk_plan = (struct message_bulk_plan){ { &p->job, 1 }, { p->ranges, 2 },
                                               { p->failures, 2 } };
    ASK(s, MESSAGE_BULK_SHOW, seedpress_bulk_show(s->client, 7, 18, out, &error), code);
    assert_int_equal(s->ask.bulk_show.job, 7);
    assert_int_equal(s->ask.bulk_show.after, 18);
    if (words)
        assert_non_null(strstr(error.message, words));
}

static void a_plan_comes_with_its_ranges_and_failures(void **state)
{
    struct scene *s = *state;
    struct seedpress_plan plan;
    struct plan p;

    plan_of(&p);
    show(s, &p, &plan, SEEDPRESS_OK, NULL);
    is_job(&plan.job);
    assert_int_equal(plan.range_count, 2);
    assert_int_equal(plan.ranges[1].item, 20);
    assert_int_equal(plan.ranges[1].first, 7);
    assert_int_equal(plan.ranges[1].last, 16);
    assert_int_equal(plan.ranges[1].class_mod, 3);
    assert_string_equal(plan.ranges[0].recipe, p.texts[0].text);
    assert_int_equal(plan.failure_count, 2);
    assert_int_equal(plan.failures[0].item, 19);
    assert_int_equal(plan.failures[0].seed, 119);
    assert_string_equal(plan.failures[0].code, "poison");
    assert_string_equal(plan.failures[0].message, "why");
}

static void a_plan_that_does_not_agree_with_itself_is_refused(void **state)
{
    struct scene *s = *state;
    struct seedpress_plan plan;
    struct plan p;

    plan_of(&p);
    p.job.job = 8;
    show(s, &p, &plan, SEEDPRESS_BUG, "another job");
    plan_of(&p);
    p.ranges[1].item = 21;
    show(s, &p, &plan, SEEDPRESS_BUG, "gaps");
    plan_of(&p);
    p.ranges[0].first = 120;
    show(s, &p, &plan, SEEDPRESS_BUG, "gaps");
    plan_of(&p);
    p.ranges[1].recipe = text_of("seedpress-recipe/1\n");
    show(s, &p, &plan, SEEDPRESS_BUG, "damaged");
    plan_of(&p);
    p.ranges[1].recipe = p.ranges[0].recipe;
    show(s, &p, &plan, SEEDPRESS_BUG, "damaged");
    plan_of(&p);
    p.job.total = 31;
    show(s, &p, &plan, SEEDPRESS_BUG, "not all");
    plan_of(&p);
    p.failures[1].seed = 8;
    show(s, &p, &plan, SEEDPRESS_BUG, "failures");
    plan_of(&p);
    p.failures[0].item = 18;
    p.failures[0].seed = 118;        /* not after the one that was asked for */
    show(s, &p, &plan, SEEDPRESS_BUG, "failures");
    assert_null(plan.ranges);
}

/* ---- withdrawals and look-ups ---- */

static void a_withdrawal_tells_what_it_took(void **state)
{
    struct scene *s = *state;
    struct recipe recipe = { .model = digest_of("cats", 4), .seed = 5, .psi = 700000, .cutoff = 10,
                             .class_index = -1, .noise = RECIPE_NOISE_CONST, .width = 64,
                             .height = 64, .quality = 90, .mark = RECIPE_MARK_XMP };
    struct recipe_text text = recipe_text(&recipe);
    struct message_row row = { .recipe_key = recipe_key(&recipe), .sha256 = digest_of("f", 1),
                               .core_sha256 = digest_of("c", 1), .recipe = { text.text, text.len },
                               .withdrawn = true, .job = 9, .distance = -1 };
    struct seedpress_withdrawal out;
    struct seedpress_error error;
    const char *hex = digest_hex(&row.recipe_key).text;
    struct message *m = begin_answer(s, MESSAGE_WITHDRAWAL);
    char key[SEEDPRESS_HEX];

    snprintf(key, sizeof key, "%s", hex);
    m->withdrawal = (struct message_withdrawal){ recipe_subject(&recipe), 3, 2, { &row, 1 } };
    ASK(s, MESSAGE_WITHDRAW,
        seedpress_withdraw(s->client, key, NULL, "it was asked for", &out, &error), SEEDPRESS_OK);
    assert_true(digest_equal(&s->ask.withdraw.recipe_key, &row.recipe_key));
    assert_true(text_is(s->ask.withdraw.reason, "it was asked for"));
    assert_string_equal(out.subject, digest_hex(&m->withdrawal.subject).text);
    assert_int_equal(out.pictures, 3);
    assert_int_equal(out.files, 2);
    assert_int_equal(out.row_count, 1);
    assert_int_equal(out.rows[0].seed, 5);
    assert_int_equal(out.rows[0].job, 9);
    assert_int_equal(out.rows[0].distance, -1);
    assert_int_equal(seedpress_withdraw(s->client, key, key, "why", &out, &error),
                     SEEDPRESS_INVALID);
    assert_int_equal(seedpress_withdraw(s->client, NULL, NULL, "why", &out, &error),
                     SEEDPRESS_INVALID);
    assert_int_equal(seedpress_withdraw(s->client, "ab", NULL, "why", &out, &error),
                     SEEDPRESS_INVALID);
    assert_int_equal(seedpress_withdraw(s->client, key, NULL, NULL, &out, &error),
                     SEEDPRESS_RANGE);
}

static void look_up(struct scene *s, const struct seedpress_query *query)
{
    const struct seedpress_row *rows;
    struct seedpress_error error;
    size_t count;

    begin_answer(s, MESSAGE_PROVENANCE);
    ASK(s, MESSAGE_LOOKUP, seedpress_lookup(s->client, query, &rows, &count, &error),
        SEEDPRESS_OK);
    assert_int_equal(count, 0);
}

static void pictures_are_asked_for_by_job_time_and_likeness(void **state)
{
    static const uint64_t LIKE[] = { 0, 0xfedcba9876543210u };
    static uint64_t many[SEEDPRESS_LIKE_MAX + 1];
    struct scene *s = *state;
    const struct message_lookup *l = &s->ask.lookup;

    look_up(s, &(struct seedpress_query){ .job = 7, .first = 300, .limit = 100 });
    assert_int_equal(l->job, 7);
    assert_int_equal(l->first, 300);
    assert_int_equal(l->limit, 100);
    assert_int_equal(l->since, -1);
    assert_int_equal(l->seed, -1);
    look_up(s, &(struct seedpress_query){ .has_since = true, .since = 0, .model = "cats" });
    assert_int_equal(l->since, 0);
    assert_true(text_is(l->model, "cats"));
    look_up(s, &(struct seedpress_query){ .like = LIKE, .like_count = 2 });
    assert_true(text_is(l->like, "0000000000000000fedcba9876543210"));
    look_up(s, &(struct seedpress_query){ .like = many, .like_count = SEEDPRESS_LIKE_MAX });
    assert_int_equal(l->like.len, 16 * SEEDPRESS_LIKE_MAX);
}

static void questions_that_cannot_be_meant_are_refused(void **state)
{
    static uint64_t many[SEEDPRESS_LIKE_MAX + 1];
    static const struct {
        struct seedpress_query query;
        enum seedpress_code code;
    } CASES[] = {
        { { .job = 7, .has_seed = true }, SEEDPRESS_INVALID },
        { { .job = 7, .has_since = true }, SEEDPRESS_INVALID },
        { { .like = many, .like_count = 1, .has_since = true }, SEEDPRESS_INVALID },
        { { .job = 7, .model = "cats" }, SEEDPRESS_INVALID },
        { { .has_since = true, .has_psi = true }, SEEDPRESS_INVALID },
        { { .has_since = true, .first = 5 }, SEEDPRESS_INVALID },
        { { .job = -1 }, SEEDPRESS_RANGE },
        { { .job = 1, .first = -5 }, SEEDPRESS_RANGE },
        { { .like = many, .like_count = SEEDPRESS_LIKE_MAX + 1 }, SEEDPRESS_RANGE },
    };
    struct scene *s = *state;
    const struct seedpress_row *rows;
    struct seedpress_error error;
    size_t count;

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        assert_int_equal(seedpress_lookup(s->client, &CASES[i].query, &rows, &count, &error),
                         CASES[i].code);
}

static void what_is_kept_and_for_which_job_goes_with_a_request(void **state)
{
    struct scene *s = *state;
    struct seedpress_request request;
    struct seedpress_image image;

    seedpress_request_init(&request);
    request.model = "cats";
    assert_int_equal(request.keep, SEEDPRESS_KEEP_IMAGE);
    assert_int_equal(request.job, 0);
    request.keep = SEEDPRESS_KEEP_PROVENANCE;
    request.job = 7;
    begin_answer(s, MESSAGE_ERROR)->error.code = text_of("overloaded");
    ASK(s, MESSAGE_GENERATE, seedpress_generate(s->client, &request, &image, NULL),
        SEEDPRESS_OVERLOADED);
    assert_int_equal(s->ask.generate.keep, MESSAGE_KEEP_PROVENANCE);
    assert_int_equal(s->ask.generate.job, 7);
}

int main(void)
{
#define AT_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    static const struct CMUnitTest TESTS[] = {
        AT_SCENE(a_submission_goes_out_with_all_its_parts),
        AT_SCENE(a_part_that_cannot_be_meant_is_named),
        AT_SCENE(jobs_are_listed_and_controlled),
        AT_SCENE(what_was_exported_is_told),
        AT_SCENE(a_plan_comes_with_its_ranges_and_failures),
        AT_SCENE(a_plan_that_does_not_agree_with_itself_is_refused),
        AT_SCENE(a_withdrawal_tells_what_it_took),
        AT_SCENE(pictures_are_asked_for_by_job_time_and_likeness),
        AT_SCENE(questions_that_cannot_be_meant_are_refused),
        AT_SCENE(what_is_kept_and_for_which_job_goes_with_a_request),
    };

    return cmocka_run_group_tests(TESTS, NULL, NULL);
}
