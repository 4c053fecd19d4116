/* Bulk jobs as a broker drives them, row by row of its table: a real PostgreSQL, the clock turned
 * by hand, clients and workers the test's own. */
#include "base/clock.h"
#include "tests/kit_broker.h"
#include "tests/kit_postgres.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEASE_MS = 10000, SECOND_MS = 1000, PATIENCE_MS = 60000, CREDIT = 200 };

static struct kit_postgres pg;

static void must(enum err_code rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

/* ---- the ledger, beside the brokers ---- */

static struct ledger *ledger;       /* the test's own */
static int64_t run_id;

static int begin(void **state)
{
    struct ledger_run run = { .worker = "test:1:1", .version = "0", .backend = "cpu", .device = "",
                              .driver = "", .numerics_class = "cpu-test-1", .encoder = "test-1",
                              .libraries = "" };
    struct model_facts facts = desk_cats();
    struct model_facts moves = facts;
    struct ledger_model model = { "cats", &facts, "stylegan2", "" };
    struct ledger_model other = { "moves", &moves, "stylegan3", "" };
    struct err e = { .code = ERR_OK };

    (void)state;
    moves.digest = digest_of("moves", 5);       /* as the desk's worker announces it */
    kit_postgres_start(&pg);
    if (ledger_migrate(pg.conninfo, false, NULL, NULL, &e) ||
        ledger_open(pg.conninfo, "test", &ledger, &e) ||
        ledger_start_run(ledger, &run, &run_id, &e) || ledger_put_model(ledger, &model, &e) ||
        ledger_put_model(ledger, &other, &e)) {
        print_error("%s\n", e.msg);
        return -1;
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    ledger_close(&ledger);
    kit_postgres_destroy(&pg);
    return 0;
}

static int empty_tables(void **state)
{
    (void)state;
    kit_postgres_exec(pg.conninfo,
                      "DELETE FROM blobs; DELETE FROM images; DELETE FROM bulk_failures;"
                      "DELETE FROM chunks; DELETE FROM bulk_parts; DELETE FROM bulk_jobs");
    return 0;
}

static int64_t count_of(const char *sql)
{
    return kit_postgres_int(pg.conninfo, sql);
}

/* What a worker does before it answers. */
static void store(const struct recipe *recipe)
{
    char jpeg[32];

    desk_picture(recipe->seed, jpeg);
    struct ledger_image image = {
        .recipe = *recipe, .file_sha = digest_of(jpeg, strlen(jpeg)),
        .core_sha = digest_of(jpeg, strlen(jpeg)), .run_id = run_id,
        .numerics_class = "cpu-test-1", .encoder = "test-1", .batch_size = 1,
        .data = (const uint8_t *)jpeg, .len = strlen(jpeg), .keep = true,
    };
    struct ledger_stored stored;
    struct err e;

    must(ledger_store(ledger, &image, 1, &stored, &e), &e);
    assert_true(stored.outcome == LEDGER_STORED || stored.outcome == LEDGER_SAME);
    free(stored.data);
}

static void store_seed(uint32_t seed)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = desk_cats();
    struct recipe recipe;
    struct err e;

    request.seed = seed;
    must(recipe_resolve(&request, &facts, &recipe, NULL, &e), &e);
    store(&recipe);
}

static struct ledger_job job_now(int64_t id)
{
    struct ledger_job job;
    size_t count;
    struct err e;

    must(ledger_bulk_list(ledger, id, "", &job, 1, &count, &e), &e);
    assert_int_equal(count, 1);
    return job;
}

/* ---- the scene: a broker with one client and one worker ---- */

struct scene {
    struct desk d;
    struct scribe *bulk_scribe;
    struct peer client, worker;
    struct job_seen jobs[DESK_JOBS_MAX];        /* that the worker was given and has not answered */
    size_t job_count;
};

/* Turns the clock on by ms, then lets the ledger's thread answer all that it was asked. */
static void settle(struct scene *s, int64_t ms)
{
    desk_turn(&s->d, ms);
    while (s->d.b->bulk.errands > 0) {
        struct link_wait wait = { .fd = scribe_fd(s->bulk_scribe) };

        link_poll(&wait, 1, clock_ms() + PATIENCE_MS);
        if (!wait.ready)
            fail_msg("the ledger's thread does not answer");
        desk_turn(&s->d, 0);
    }
}

/* Until no render of a client's waits for its look-up. */
static void settle_lookups(struct scene *s)
{
    settle(s, 0);
    while (s->d.b->renders.count[RENDER_LOOKUP] > 0) {
        desk_await_scribe(&s->d);
        settle(s, 0);
    }
}

static void scene_open(struct scene *s, const char *holder, struct broker_options options)
{
    struct err e;

    *s = (struct scene){ .job_count = 0 };
    must(scribe_create(pg.conninfo, "", &s->bulk_scribe, &e), &e);
    options.bulk_scribe = s->bulk_scribe;
    options.bulk_holder = holder;
    options.bulk_lease_ms = LEASE_MS;
    desk_open(&s->d, pg.conninfo, &options);
    client_join(&s->d, &s->client, LINK_DEALER);
    worker_joins(&s->d, &s->worker, holder, CREDIT);
    settle(s, 0);
}

static void scene_close(struct scene *s)
{
    peer_leave(&s->client);
    if (s->worker.link)
        peer_leave(&s->worker);
    desk_close(&s->d);
    scribe_destroy(&s->bulk_scribe);
}

/* ---- what clients say ---- */

static struct message_bulk_part part_of(const char *model, int64_t first, int64_t last)
{
    return (struct message_bulk_part){
        .model = text_of(model), .first = first, .last = last, .psi = 1000000, .cutoff = -1,
        .class_index = -1, .noise_mode = -1, .noise_seed = -1, .rotate = INT64_MIN, .quality = 90,
        .mark = -1,
    };
}

static struct message submit_of(const struct message_bulk_part *parts, size_t count, int chunk)
{
    struct message m;

    message_init(&m, MESSAGE_BULK_SUBMIT, 1);
    m.bulk_submit.name = text_of("job");
    m.bulk_submit.chunk = chunk;
    m.bulk_submit.parts = (struct records){ parts, count };
    return m;
}

static struct heard answer_to(struct scene *s, const struct message *message)
{
    struct heard h;

    peer_say(&s->client, message, NULL);
    settle(s, 0);
    if (!peer_hears(&s->client, &h))
        fail_msg("no answer came");
    return h;
}

/* The one job of the answer; its texts are gone. */
static struct message_bulk_job job_of(struct scene *s, const struct message *message)
{
    struct heard h = answer_to(s, message);
    struct message_bulk_job job;

    if (h.m.type == MESSAGE_ERROR)
        fail_msg("%.*s", (int)h.m.error.message.len, h.m.error.message.data);
    assert_int_equal(h.m.type, MESSAGE_BULK_REPORT);
    assert_int_equal(h.m.bulk_report.jobs.count, 1);
    job = *(const struct message_bulk_job *)h.m.bulk_report.jobs.items;
    heard_release(&h);
    return job;
}

/* Seeds first..last of cats. Returns its number. */
static int64_t submit(struct scene *s, const char *name, int64_t first, int64_t last, int chunk)
{
    struct message_bulk_part part = part_of("cats", first, last);
    struct message m = submit_of(&part, 1, chunk);

    m.bulk_submit.name = text_of(name);
    return job_of(s, &m).job;
}

static struct message_bulk_job control(struct scene *s, int64_t job,
                                       enum message_bulk_action action)
{
    struct message m;

    message_init(&m, MESSAGE_BULK_CONTROL, 2);
    m.bulk_control = (struct message_bulk_control){ job, (int64_t)action };
    return job_of(s, &m);
}

static void is_refused(struct scene *s, const struct message *m, const char *code,
                       const char *words)
{
    struct heard h = answer_to(s, m);
    char text[300];

    assert_int_equal(h.m.type, MESSAGE_ERROR);
    text_copy(h.m.error.message, text, sizeof text);
    if (!text_is(h.m.error.code, code) || !strstr(text, words))
        fail_msg("%.*s: %s", (int)h.m.error.code.len, h.m.error.code.data, text);
    heard_release(&h);
}

/* ---- what the worker does ---- */

/* Takes what it was given; returns how many it has now. */
static size_t work(struct scene *s)
{
    s->job_count += worker_gets(&s->worker, s->jobs + s->job_count);
    return s->job_count;
}

/* The one that it had first is stored and answered. */
static void finish_one(struct scene *s)
{
    assert_true(s->job_count > 0);
    store(&s->jobs[0].recipe);
    worker_says_result(&s->worker, &s->jobs[0]);
    s->job_count--;
    memmove(s->jobs, s->jobs + 1, s->job_count * sizeof s->jobs[0]);
}

static void finish_all(struct scene *s)
{
    while (s->job_count > 0)
        finish_one(s);
}

/* Until nothing is left to do at once. */
static void work_off(struct scene *s)
{
    settle(s, 0);
    while (work(s) > 0) {
        finish_all(s);
        settle(s, 0);
    }
}

/* ---- a job from end to end ---- */

static void a_submitted_job_begins_at_once_and_is_done_at_its_last_seed(void **state)
{
    struct scene s;
    int64_t job;
    struct ledger_job seen;

    (void)state;
    scene_open(&s, "a", desk_patient());
    job = submit(&s, "cats-25", 0, 24, 10);
    assert_int_equal(work(&s), 20);         /* two chunks, no turn of the clock */
    assert_int_equal(s.jobs[0].priority, MESSAGE_LOW);
    assert_int_equal(job_now(job).leased, 20);
    work_off(&s);
    seen = job_now(job);
    assert_int_equal(seen.state, LEDGER_BULK_DONE);
    assert_int_equal(seen.done, 25);
    assert_int_equal(seen.failed, 0);
    assert_int_equal(count_of("SELECT count(*) FROM images WHERE seed BETWEEN 0 AND 24"), 25);
    assert_int_equal(s.d.b->bulk.done, 25);
    assert_int_equal(s.d.b->bulk.chunk_count, 0);
    peer_hears_nothing(&s.client);
    scene_close(&s);
}

static void a_job_of_another_broker_begins_within_a_second(void **state)
{
    struct ledger_part part = { .first = 0, .last = 4 };
    struct ledger_job job = { .owner = "ann", .name = "elsewhere", .keep = true, .priority = 1,
                              .chunk = 5 };
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = desk_cats();
    struct scene s;
    bool is_new;
    struct err e;

    (void)state;
    scene_open(&s, "a", desk_patient());
    must(recipe_resolve(&request, &facts, &part.recipe, NULL, &e), &e);
    must(ledger_bulk_submit(ledger, &job, &part, 1, &is_new, &e), &e);
    settle(&s, SECOND_MS);
    assert_int_equal(work(&s), 5);
    assert_int_equal(s.jobs[0].priority, MESSAGE_NORMAL);
    work_off(&s);
    assert_int_equal(job_now(job.id).state, LEDGER_BULK_DONE);
    scene_close(&s);
}

static void what_is_stored_is_not_made_again(void **state)
{
    struct scene s;
    int64_t job;

    (void)state;
    for (uint32_t seed = 0; seed < 10; seed += 2)
        store_seed(seed);
    scene_open(&s, "a", desk_patient());
    job = submit(&s, "half", 0, 9, 10);
    assert_int_equal(work(&s), 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(s.jobs[i].recipe.seed % 2, 1);
    work_off(&s);
    assert_int_equal(job_now(job).done, 10);
    assert_int_equal(s.d.b->count.ledger_hits, 0);      /* no look-up of their own */
    scene_close(&s);
}

static void classes_and_parts_become_the_recipes_that_they_say(void **state)
{
    struct message_bulk_part parts[2] = { part_of("kinds", 4, 6), part_of("cats", 4294967295,
                                                                           4294967295) };
    struct scene s;
    struct message m;

    (void)state;
    parts[0].class_mod = 3;
    parts[0].psi = 500000;
    scene_open(&s, "a", desk_patient());
    m = submit_of(parts, 2, 10);
    assert_int_equal(job_of(&s, &m).total, 4);
    assert_int_equal(work(&s), 4);
    for (size_t i = 0; i < 4; i++) {
        const struct recipe *r = &s.jobs[i].recipe;

        if (r->seed == UINT32_MAX) {
            assert_int_equal(r->class_index, -1);
            assert_int_equal(r->psi, 1000000);
        } else {
            assert_int_equal(r->class_index, r->seed % 3);
            assert_int_equal(r->psi, 500000);
        }
    }
    scene_close(&s);
}

static void a_huge_chunk_queues_a_bounded_number(void **state)
{
    struct broker_options o = desk_patient();
    struct scene s;

    (void)state;
    o.bulk_chunks = 1;
    scene_open(&s, "a", o);
    submit(&s, "huge", 0, 9999, 10000);
    for (int i = 0; i < 100; i++)
        desk_turn(&s.d, 0);
    assert_int_equal(s.d.b->waiters, BULK_WAITERS_MAX);
    work(&s);
    finish_one(&s);
    settle(&s, 0);
    assert_int_equal(s.d.b->waiters, BULK_WAITERS_MAX); /* one ended, one more came in */
    scene_close(&s);
}

static void a_job_leaves_its_owner_half_of_what_he_may_have(void **state)
{
    struct broker_options o = desk_patient();
    struct scene s;

    (void)state;
    o.client_waiters_max = 20;
    scene_open(&s, "a", o);
    worker_says_heartbeat(&s.worker, 0, 0, 0);
    submit(&s, "cats", 0, 99, 100);
    assert_int_equal(s.d.b->waiters, 10);
    scene_close(&s);
}

static void a_person_goes_before_a_job_and_shares_its_renders(void **state)
{
    struct broker_options o = desk_patient();
    struct scene s;

    (void)state;
    scene_open(&s, "a", o);
    worker_says_heartbeat(&s.worker, 0, 0, 0);  /* no room */
    submit(&s, "cats", 0, 9, 10);
    client_wishes(&s.client, 7, 5);             /* one of the job's */
    client_wishes(&s.client, 8, 100);
    settle_lookups(&s);
    assert_int_equal(s.d.b->count.joined, 1);
    worker_says_heartbeat(&s.worker, 1, 0, 0);
    settle(&s, 0);
    assert_int_equal(work(&s), 1);
    assert_true(s.jobs[0].recipe.seed == 5 || s.jobs[0].recipe.seed == 100);
    scene_close(&s);
}

/* ---- failures ---- */

static void what_cannot_be_made_is_a_failure_and_a_row(void **state)
{
    struct scene s;
    struct ledger_failure failure;
    struct ledger_job seen;
    int64_t job;
    size_t count;
    struct err e;

    (void)state;
    scene_open(&s, "a", desk_patient());
    job = submit(&s, "bad", 0, 4, 5);
    assert_int_equal(work(&s), 5);
    worker_says_fail(&s.worker, s.jobs[0].lease, "withdrawn");
    uint32_t seed = s.jobs[0].recipe.seed;
    memmove(s.jobs, s.jobs + 1, --s.job_count * sizeof s.jobs[0]);
    finish_all(&s);
    work_off(&s);
    seen = job_now(job);
    assert_int_equal(seen.state, LEDGER_BULK_DONE);
    assert_int_equal(seen.done, 4);
    assert_int_equal(seen.failed, 1);
    must(ledger_bulk_failures(ledger, job, -1, &failure, 1, &count, &e), &e);
    assert_int_equal(count, 1);
    assert_int_equal(failure.item, seed);
    assert_string_equal(failure.code, "withdrawn");
    assert_int_equal(s.d.b->bulk.failed, 1);
    scene_close(&s);
}

static void what_failed_is_made_after_resume(void **state)
{
    struct broker_options o = desk_patient();
    struct scene s;
    int64_t job;

    (void)state;
    o.attempts_max = 1;
    scene_open(&s, "a", o);
    job = submit(&s, "again", 0, 4, 5);
    work(&s);
    worker_says(&s.worker, MESSAGE_STARTED, s.jobs[0].lease);
    worker_says_fail(&s.worker, s.jobs[0].lease, "device");     /* poison: the last attempt */
    memmove(s.jobs, s.jobs + 1, --s.job_count * sizeof s.jobs[0]);
    finish_all(&s);
    work_off(&s);
    assert_int_equal(job_now(job).failed, 1);
    control(&s, job, MESSAGE_BULK_RESUME);
    work_off(&s);
    assert_int_equal(job_now(job).state, LEDGER_BULK_DONE);
    assert_int_equal(job_now(job).done, 5);
    assert_int_equal(job_now(job).failed, 0);
    scene_close(&s);
}

static void an_error_that_passes_is_tried_again_after_a_pause(void **state)
{
    struct broker_options o = desk_patient();
    struct scene s;
    int64_t job;

    (void)state;
    o.grace_ms = 5000;
    scene_open(&s, "a", o);
    worker_says_heartbeat(&s.worker, 0, 0, 0);
    job = submit(&s, "no-worker", 0, 4, 5);
    worker_says_bye(&s.worker);                 /* nobody is left */
    settle(&s, 0);
    for (int i = 0; i < 8; i++)
        settle(&s, SECOND_MS);                  /* the grace of the renders: no_worker */
    assert_true(s.d.b->count.failed > 0);
    assert_int_equal(s.d.b->waiters, 0);
    assert_int_equal(job_now(job).failed, 0);
    worker_says_ready(&s.worker, "a", CREDIT);
    settle(&s, 0);
    for (int i = 0; i < 60 && job_now(job).state != LEDGER_BULK_DONE; i++) {
        settle(&s, SECOND_MS);
        work_off(&s);
    }
    assert_int_equal(job_now(job).state, LEDGER_BULK_DONE);
    assert_int_equal(job_now(job).done, 5);
    scene_close(&s);
}

static void a_job_that_nobody_here_serves_goes_back_for_others(void **state)
{
    struct broker_options o = desk_patient();
    struct message_bulk_part part = part_of("moves", 0, 9);
    struct scene s;
    struct message m;
    int64_t moves, cats;

    (void)state;
    o.bulk_chunks = 1;
    scene_open(&s, "a", o);
    worker_says_bye(&s.worker);
    worker_says_ready_with(&s.worker, "b", CREDIT, 1);  /* cats alone */
    desk_turn(&s.d, 0);
    m = submit_of(&part, 1, 5);
    m.bulk_submit.name = text_of("moves");
    moves = job_of(&s, &m).job;
    cats = submit(&s, "cats", 0, 4, 5);
    assert_int_equal(job_now(moves).leased, 5);         /* it holds the only place */
    for (int i = 0; i < 8; i++) {
        settle(&s, SECOND_MS);
        work_off(&s);
    }
    assert_int_equal(job_now(moves).leased, 0);
    assert_int_equal(job_now(cats).state, LEDGER_BULK_DONE);
    worker_says_bye(&s.worker);
    worker_says_ready_with(&s.worker, "c", CREDIT, 4);
    settle(&s, 0);                                      /* the model comes: at once */
    work_off(&s);
    assert_int_equal(job_now(moves).state, LEDGER_BULK_DONE);
    scene_close(&s);
}

/* ---- pause, cancel, drain ---- */

static void a_pause_drops_what_is_queued_and_lets_finish_what_was_started(void **state)
{
    struct scene s;
    int64_t job;

    (void)state;
    scene_open(&s, "a", desk_patient());
    worker_says_heartbeat(&s.worker, 3, 0, 0);
    job = submit(&s, "pause", 0, 9, 10);
    assert_int_equal(work(&s), 3);
    worker_says(&s.worker, MESSAGE_STARTED, s.jobs[0].lease);
    settle(&s, 0);
    assert_int_equal(control(&s, job, MESSAGE_BULK_PAUSE).state, MESSAGE_BULK_PAUSED);
    assert_int_equal(s.d.b->bulk.waiters, 1);
    assert_int_equal(s.d.b->bulk.chunk_count, 1);       /* held until it is made */
    assert_int_equal(worker_hears(&s.worker, MESSAGE_RECALL), s.jobs[1].lease);
    assert_int_equal(worker_hears(&s.worker, MESSAGE_RECALL), s.jobs[2].lease);
    worker_says(&s.worker, MESSAGE_HANDBACK, s.jobs[1].lease);
    worker_says(&s.worker, MESSAGE_HANDBACK, s.jobs[2].lease);
    s.job_count = 1;
    finish_all(&s);
    settle(&s, 0);
    assert_int_equal(s.d.b->bulk.chunk_count, 0);
    assert_int_equal(count_of("SELECT count(*) FROM chunks WHERE holder = ''"), 1);
    for (int i = 0; i < 5; i++)
        settle(&s, SECOND_MS);
    assert_int_equal(work(&s), 0);
    worker_says_heartbeat(&s.worker, CREDIT, 0, 0);
    control(&s, job, MESSAGE_BULK_RESUME);
    settle(&s, 0);
    assert_int_equal(work(&s), 9);
    work_off(&s);
    assert_int_equal(job_now(job).state, LEDGER_BULK_DONE);
    assert_int_equal(job_now(job).done, 10);
    scene_close(&s);
}

static void a_pause_through_another_broker_is_seen_at_the_next_renewal(void **state)
{
    struct scene s;
    int64_t job;
    struct err e;

    (void)state;
    scene_open(&s, "a", desk_patient());
    worker_says_heartbeat(&s.worker, 0, 0, 0);
    job = submit(&s, "cancel", 0, 9, 10);
    assert_int_equal(s.d.b->bulk.waiters, 10);
    must(ledger_bulk_control(ledger, job, "", LEDGER_BULK_CANCELLED, &e), &e);
    settle(&s, LEASE_MS / 3);
    assert_int_equal(s.d.b->bulk.waiters, 0);
    assert_int_equal(s.d.b->bulk.chunk_count, 0);
    scene_close(&s);
}

static void a_drain_gives_its_chunks_back(void **state)
{
    struct scene s;

    (void)state;
    scene_open(&s, "a", desk_patient());
    worker_says_heartbeat(&s.worker, 2, 0, 0);
    submit(&s, "drain", 0, 9, 5);
    assert_int_equal(work(&s), 2);
    worker_says(&s.worker, MESSAGE_STARTED, s.jobs[0].lease);
    settle(&s, 0);
    assert_int_equal(s.d.b->bulk.chunk_count, 2);
    broker_drain(s.d.b, s.d.now_ms);
    settle(&s, 0);
    assert_int_equal(s.d.b->bulk.chunk_count, 1);       /* the other holds what was started */
    assert_false(broker_is_drained(s.d.b, s.d.now_ms));
    finish_one(&s);
    settle(&s, 0);
    assert_true(broker_is_drained(s.d.b, s.d.now_ms));
    assert_int_equal(count_of("SELECT count(*) FROM chunks WHERE holder = '' AND state = 'leased'"),
                     2);
    scene_close(&s);
}

static void a_chunk_that_comes_during_a_drain_goes_back(void **state)
{
    struct message_bulk_part part = part_of("cats", 0, 9);
    struct message m = submit_of(&part, 1, 10);
    struct scene s;

    (void)state;
    scene_open(&s, "a", desk_patient());
    peer_say(&s.client, &m, NULL);
    desk_turn(&s.d, 0);
    while (!s.d.b->bulk.is_opening) {
        struct link_wait wait = { .fd = scribe_fd(s.bulk_scribe) };

        link_poll(&wait, 1, clock_ms() + PATIENCE_MS);
        desk_turn(&s.d, 0);
    }
    broker_drain(s.d.b, s.d.now_ms);
    assert_false(broker_is_drained(s.d.b, s.d.now_ms));
    settle(&s, 0);
    assert_true(broker_is_drained(s.d.b, s.d.now_ms));
    assert_int_equal(s.d.b->waiters, 0);
    assert_int_equal(count_of("SELECT count(*) FROM chunks WHERE holder = ''"), 1);
    scene_close(&s);
}

/* ---- several brokers, and those that die ---- */

static void a_dead_brokers_chunk_is_taken_over_after_a_whole_lease(void **state)
{
    struct broker_options o = desk_patient();
    struct scene dead, s;
    int64_t job;

    (void)state;
    scene_open(&dead, "dead", o);
    job = submit(&dead, "orphan", 0, 9, 5);             /* both chunks are its */
    assert_int_equal(work(&dead), 10);
    for (int i = 0; i < 3; i++)
        finish_one(&dead);
    scene_open(&s, "alive", o);
    settle(&s, 0);
    assert_int_equal(s.d.b->bulk.chunk_count, 0);
    for (int64_t ms = 0; ms < 3 * LEASE_MS; ms += SECOND_MS) {
        settle(&dead, SECOND_MS);                       /* it renews */
        settle(&s, SECOND_MS);
        assert_int_equal(s.d.b->bulk.chunk_count, 0);
    }
    settle(&dead, LEASE_MS / 3);                        /* its last word */
    settle(&s, SECOND_MS);
    for (int64_t ms = 0; ms < LEASE_MS - SECOND_MS; ms += SECOND_MS) {
        settle(&s, SECOND_MS);
        assert_int_equal(s.d.b->bulk.chunk_count, 0);
    }
    for (int i = 0; i < 4; i++)
        settle(&s, SECOND_MS);
    assert_int_equal(s.d.b->bulk.chunk_count, 2);
    assert_int_equal(work(&s), 7);                      /* only what is missing */
    work_off(&s);
    assert_int_equal(job_now(job).state, LEDGER_BULK_DONE);
    assert_int_equal(job_now(job).done, 10);
    settle(&dead, SECOND_MS * 4);                       /* it was only slow, and is told */
    assert_int_equal(dead.d.b->bulk.chunk_count, 0);
    assert_int_equal(dead.d.b->bulk.waiters, 0);
    assert_int_equal(job_now(job).done, 10);
    scene_close(&dead);
    scene_close(&s);
}

/* What stood still was perhaps the database. */
static void a_broken_connection_begins_the_watch_anew(void **state)
{
    struct broker_options o = desk_patient();
    struct ledger_chunk chunk;
    struct scene s;
    bool found;
    struct err e;

    (void)state;
    o.bulk_chunks = 0;
    scene_open(&s, "submitter", o);
    submit(&s, "watched", 0, 9, 10);
    scene_close(&s);
    must(ledger_bulk_lease(ledger, NULL, 0, "gone", &chunk, &found, &e), &e);
    assert_true(found);
    o.bulk_chunks = 2;
    scene_open(&s, "watcher", o);
    for (int64_t ms = 0; ms < LEASE_MS - SECOND_MS; ms += SECOND_MS)
        settle(&s, SECOND_MS);
    kit_postgres_exec(pg.conninfo,
                      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                      " WHERE application_name = 'seedpress-broker'");
    for (int64_t ms = 0; ms < LEASE_MS; ms += SECOND_MS) {
        settle(&s, SECOND_MS);
        assert_int_equal(s.d.b->bulk.chunk_count, 0);
    }
    for (int i = 0; i < 4; i++)
        settle(&s, SECOND_MS);
    assert_int_equal(s.d.b->bulk.chunk_count, 1);
    assert_int_equal(work(&s), 10);
    scene_close(&s);
}

static void two_brokers_share_a_job_and_make_each_seed_once(void **state)
{
    struct broker_options o = desk_patient();
    struct scene a, b;
    int64_t job;

    (void)state;
    scene_open(&a, "a", o);
    scene_open(&b, "b", o);
    job = submit(&a, "shared", 0, 99, 10);
    for (int i = 0; i < 20 && job_now(job).state != LEDGER_BULK_DONE; i++) {
        settle(&a, SECOND_MS);
        settle(&b, SECOND_MS);
        work(&a);
        work(&b);
        finish_all(&a);
        finish_all(&b);
    }
    settle(&a, 0);
    settle(&b, 0);
    assert_int_equal(job_now(job).state, LEDGER_BULK_DONE);
    assert_int_equal(job_now(job).done, 100);
    assert_int_equal(a.d.b->bulk.done + b.d.b->bulk.done, 100);
    assert_true(a.d.b->bulk.done > 0 && b.d.b->bulk.done > 0);
    assert_int_equal(a.d.b->count.answered + b.d.b->count.answered, 100);
    scene_close(&a);
    scene_close(&b);
}

static void a_ledger_that_goes_away_loses_nothing(void **state)
{
    struct scene s;
    int64_t job;
    struct err e;

    (void)state;
    scene_open(&s, "a", desk_patient());
    job = submit(&s, "outage", 0, 24, 5);
    assert_int_equal(work(&s), 10);
    for (size_t i = 0; i < 10; i++)
        store(&s.jobs[i].recipe);
    kit_postgres_stop_server(&pg);
    for (size_t i = 0; i < 10; i++)
        worker_says_result(&s.worker, &s.jobs[i]);      /* committed before */
    s.job_count = 0;
    for (int i = 0; i < 5; i++)
        settle(&s, SECOND_MS);
    assert_int_equal(s.d.b->bulk.chunk_count, 2);       /* neither counted nor dropped */
    kit_postgres_start_server(&pg);
    while (ledger_ping(ledger, &e))
        ;
    for (int i = 0; i < 200 && job_now(job).state != LEDGER_BULK_DONE; i++) {
        settle(&s, SECOND_MS);
        work_off(&s);
    }
    assert_int_equal(job_now(job).state, LEDGER_BULK_DONE);
    assert_int_equal(job_now(job).done, 25);
    assert_int_equal(s.d.b->bulk.done, 25);
    scene_close(&s);
}

/* ---- what clients are told ---- */

static void bad_submissions_are_refused_with_the_part(void **state)
{
    struct message_bulk_part parts[2];
    struct scene s;
    struct message m;

    (void)state;
    scene_open(&s, "a", desk_patient());
    m = submit_of(parts, 2, 1000);
    parts[0] = part_of("cats", 0, 99);
    parts[1] = part_of("cats", 99, 200);
    is_refused(&s, &m, "invalid", "part 2: it overlaps part 1: both make seed 99");
    parts[1] = part_of("cats", 5, 4);
    is_refused(&s, &m, "range", "part 2: its seeds are reversed: first is 5, last is 4");
    parts[1] = part_of("dogs", 0, 4);
    is_refused(&s, &m, "unknown_model", "part 2: unknown model \"dogs\"");
    parts[1] = part_of("kinds", 0, 4);
    is_refused(&s, &m, "class_required", "part 2: ");
    parts[1].class_mod = 4;
    is_refused(&s, &m, "range", "part 2: class is seed % 4, but the model has 3 classes");
    parts[1].class_mod = 3;
    parts[1].class_index = 1;
    is_refused(&s, &m, "invalid", "part 2: give \"class\" or \"class_mod\"");
    parts[0] = part_of("kinds", 0, 10);
    parts[0].class_mod = 2;
    parts[1] = part_of("kinds", 2, 5);
    parts[1].class_mod = 3;             /* of 6 seeds the first two have the same class */
    m.bulk_submit.parts.count = 2;
    parts[1].last = 6;
    is_refused(&s, &m, "invalid", "both make seed 6");
    parts[0].class_mod = 0;
    parts[0].class_index = 2;
    is_refused(&s, &m, "invalid", "both make seed 2");
    parts[0].psi = 0;
    assert_true(job_of(&s, &m).job > 0);        /* other pictures */
    parts[0] = part_of("cats", 0, 4294967295);
    m.bulk_submit.parts.count = 1;
    is_refused(&s, &m, "range", "4294967296 pictures in chunks of 1000");
    m.bulk_submit.name = text_of("a b");
    is_refused(&s, &m, "invalid", "\"a b\" is no valid name for a bulk job");
    m.bulk_submit.name = text_of("none");
    m.bulk_submit.parts.count = 0;
    is_refused(&s, &m, "invalid", "at least one of \"parts\"");
    assert_int_equal(count_of("SELECT count(*) FROM bulk_jobs"), 1);
    scene_close(&s);
}

static void parts_that_only_look_alike_are_taken(void **state)
{
    struct message_bulk_part parts[2] = { part_of("kinds", 2, 5), part_of("kinds", 2, 5) };
    struct scene s;
    struct message m;

    (void)state;
    scene_open(&s, "a", desk_patient());
    m = submit_of(parts, 2, 1000);
    parts[0].class_mod = 2;
    parts[1].class_mod = 3;             /* 2: 0, 2. 3: 1, 0. 4: 0, 1. 5: 1, 2 */
    assert_int_equal(job_of(&s, &m).total, 8);
    scene_close(&s);
}

static void a_dry_submission_writes_nothing_and_tells_what_it_would_take(void **state)
{
    struct message_bulk_part part = part_of("cats", 0, 999999);
    struct scene s;
    struct message m;
    struct message_bulk_job job;

    (void)state;
    store_seed(1);
    scene_open(&s, "a", desk_patient());
    m = submit_of(&part, 1, 1000);
    m.bulk_submit.dry = true;
    client_wishes(&s.client, 7, 3);
    settle_lookups(&s);
    assert_int_equal(work(&s), 1);
    worker_says_result_after(&s.worker, &s.jobs[0], 8000);
    s.job_count = 0;
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 7, 3);
    job = job_of(&s, &m);
    assert_int_equal(job.job, 0);
    assert_int_equal(job.total, 1000000);
    assert_int_equal(job.picture_bytes, strlen("jpeg of seed 1"));
    assert_in_range(job.picture_us, 7000, 9000);
    assert_int_equal(count_of("SELECT count(*) FROM bulk_jobs"), 0);
    settle(&s, SECOND_MS);
    assert_int_equal(work(&s), 0);
    scene_close(&s);
}

static void the_same_job_is_found_again_and_shown(void **state)
{
    struct message_bulk_part parts[2] = { part_of("cats", 0, 4), part_of("cats", 10, 14) };
    struct scene s;
    struct message m, show, list;
    struct heard h;
    const struct message_bulk_range *ranges;
    const struct message_bulk_failure *failure;
    int64_t job;

    (void)state;
    scene_open(&s, "a", desk_patient());
    m = submit_of(parts, 2, 10);
    h = answer_to(&s, &m);
    assert_true(h.m.bulk_report.is_new);
    job = ((const struct message_bulk_job *)h.m.bulk_report.jobs.items)->job;
    heard_release(&h);
    h = answer_to(&s, &m);
    assert_false(h.m.bulk_report.is_new);
    assert_int_equal(((const struct message_bulk_job *)h.m.bulk_report.jobs.items)->job, job);
    heard_release(&h);
    parts[0].last = 5;
    is_refused(&s, &m, "conflict", "\"job\"");
    work(&s);
    for (size_t i = 0; i < s.job_count; i++)
        if (s.jobs[i].recipe.seed == 12)
            worker_says_fail(&s.worker, s.jobs[i].lease, "withdrawn");
        else {
            store(&s.jobs[i].recipe);
            worker_says_result(&s.worker, &s.jobs[i]);
        }
    s.job_count = 0;
    settle(&s, 0);
    message_init(&show, MESSAGE_BULK_SHOW, 4);
    show.bulk_show.job = job;
    h = answer_to(&s, &show);
    assert_int_equal(h.m.type, MESSAGE_BULK_PLAN);
    assert_int_equal(h.m.bulk_plan.parts.count, 2);
    ranges = h.m.bulk_plan.parts.items;
    assert_int_equal(ranges[1].item, 5);
    assert_int_equal(ranges[1].first, 10);
    assert_int_equal(ranges[1].last, 14);
    assert_int_equal(h.m.bulk_plan.failures.count, 1);
    failure = h.m.bulk_plan.failures.items;
    assert_int_equal(failure->item, 7);
    assert_int_equal(failure->seed, 12);
    assert_true(text_is(failure->code, "withdrawn"));
    heard_release(&h);
    show.bulk_show.job = job + 1;
    is_refused(&s, &show, "not_found", "no bulk job");
    message_init(&list, MESSAGE_BULK_LIST, 5);
    list.bulk_list.name = text_of("job");
    assert_int_equal(job_of(&s, &list).done, 9);
    list.bulk_list.name = text_of("other");
    h = answer_to(&s, &list);
    assert_int_equal(h.m.bulk_report.jobs.count, 0);
    heard_release(&h);
    scene_close(&s);
}

static void an_exporters_word_counts_what_has_rows(void **state)
{
    struct message_bulk_part part = part_of("cats", 0, 19);
    struct scene s;
    struct message m, exported;
    struct heard h;
    int64_t job;

    (void)state;
    scene_open(&s, "a", desk_patient());
    m = submit_of(&part, 1, 10);
    m.bulk_submit.keep = MESSAGE_KEEP_PROVENANCE;
    job = job_of(&s, &m).job;
    settle(&s, SECOND_MS);
    assert_int_equal(work(&s), 0);              /* no broker makes them */
    for (uint32_t seed = 0; seed < 20; seed++)
        store_seed(seed);
    message_init(&exported, MESSAGE_BULK_EXPORTED, 6);
    exported.bulk_exported = (struct message_bulk_exported){ job, 0, 20 };
    h = answer_to(&s, &exported);
    assert_int_equal(h.m.type, MESSAGE_DONE);
    assert_int_equal(h.m.done.count, 20);
    heard_release(&h);
    assert_int_equal(job_now(job).state, LEDGER_BULK_DONE);
    assert_int_equal(job_now(job).done, 20);
    exported.bulk_exported.first = 15;
    is_refused(&s, &exported, "range", "has 20 items");
    exported.bulk_exported.job = job + 1;
    is_refused(&s, &exported, "not_found", "no bulk job");
    scene_close(&s);
}

static void a_broker_without_a_ledger_says_so(void **state)
{
    struct message_bulk_part part = part_of("cats", 0, 9);
    struct message m = submit_of(&part, 1, 10);
    struct stage s;

    (void)state;
    stage_open(&s, desk_patient(), 10);
    peer_say(&s.client, &m, NULL);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 1, ERR_LEDGER_DOWN);
    stage_close(&s);
}

#define TEST(name) cmocka_unit_test_setup(name, empty_tables)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_submitted_job_begins_at_once_and_is_done_at_its_last_seed),
        TEST(a_job_of_another_broker_begins_within_a_second),
        TEST(what_is_stored_is_not_made_again),
        TEST(classes_and_parts_become_the_recipes_that_they_say),
        TEST(a_huge_chunk_queues_a_bounded_number),
        TEST(a_job_leaves_its_owner_half_of_what_he_may_have),
        TEST(a_person_goes_before_a_job_and_shares_its_renders),
        TEST(what_cannot_be_made_is_a_failure_and_a_row),
        TEST(what_failed_is_made_after_resume),
        TEST(an_error_that_passes_is_tried_again_after_a_pause),
        TEST(a_job_that_nobody_here_serves_goes_back_for_others),
        TEST(a_pause_drops_what_is_queued_and_lets_finish_what_was_started),
        TEST(a_pause_through_another_broker_is_seen_at_the_next_renewal),
        TEST(a_drain_gives_its_chunks_back),
        TEST(a_chunk_that_comes_during_a_drain_goes_back),
        TEST(a_dead_brokers_chunk_is_taken_over_after_a_whole_lease),
        TEST(a_broken_connection_begins_the_watch_anew),
        TEST(two_brokers_share_a_job_and_make_each_seed_once),
        TEST(a_ledger_that_goes_away_loses_nothing),
        TEST(bad_submissions_are_refused_with_the_part),
        TEST(parts_that_only_look_alike_are_taken),
        TEST(a_dry_submission_writes_nothing_and_tells_what_it_would_take),
        TEST(the_same_job_is_found_again_and_shown),
        TEST(an_exporters_word_counts_what_has_rows),
        TEST(a_broker_without_a_ledger_says_so),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
