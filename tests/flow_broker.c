/* The table of states in broker/README.md, row by row, and what else a broker promises: with
 * clients and workers that the test plays, and a ledger that is away (flow_broker_ledger.c has
 * one). */
#include "tests/kit_broker.h"

#include "base/clock.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct broker_options usual(void)
{
    return BROKER_OPTIONS_DEFAULT;
}

/* Seed 5 under request 1, leased. */
static struct job_seen lease_one(struct stage *s)
{
    client_wishes(&s->client, 1, 5);
    desk_turn(&s->d, 0);
    return worker_gets_one(&s->worker);
}

static void say_started(struct stage *s, int64_t lease)
{
    worker_says(&s->worker, MESSAGE_STARTED, lease);
    desk_turn(&s->d, 0);
}

/* ---- new ---- */

static void a_picture_goes_from_client_to_worker_and_back(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    assert_int_equal(job.recipe.seed, 5);
    assert_int_equal(job.recipe.psi, 1000000);
    assert_int_equal(job.priority, MESSAGE_NORMAL);
    assert_int_equal(job.deadline_ms, 60000);
    assert_false(job.alone);
    assert_int_equal(s.d.b->renders.count[RENDER_HELD], 1);
    say_started(&s, job.lease);
    assert_int_equal(s.d.b->renders.count[RENDER_RENDERING], 1);
    worker_says(&s.worker, MESSAGE_RENDERED, job.lease);
    desk_turn(&s.d, 0);
    assert_int_equal(s.d.b->renders.count[RENDER_COMMITTING], 1);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_hears_nothing(&s.client);
    assert_null(s.d.b->renders.by_key);
    assert_int_equal(s.d.b->count.answered, 1);
    stage_close(&s);
}

static void a_wish_that_no_recipe_can_be_is_refused_at_once(void **state)
{
    struct message wish = wish_of(3, 5);
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish.generate.cutoff = 60;
    wish.generate.noise_mode = RECIPE_NOISE_STREAM;
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 3, ERR_UNSUPPORTED);
    wish = wish_of(4, 5);
    wish.generate.model = text_of("kinds");
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 4, ERR_CLASS_REQUIRED);
    wish.generate.class_index = 3;
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 4, ERR_RANGE);
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&s.worker);
    stage_close(&s);
}

static void a_class_for_an_unconditional_model_is_dropped_with_a_warning(void **state)
{
    struct message wish = wish_of(1, 5);
    struct heard h;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish.generate.class_index = 2;
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    assert_int_equal(job.recipe.class_index, -1);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_IMAGE);
    assert_true(h.m.image.warning.len > 0);
    heard_release(&h);
    stage_close(&s);
}

/* ---- options ---- */

static struct message wish_of_model(const char *model, int64_t id)
{
    struct message wish = wish_of(id, 5);

    wish.generate.model = text_of(model);
    wish.generate.psi = 500000;
    return wish;
}

static void say_wish(struct stage *s, const struct message *wish)
{
    peer_say(&s->client, wish, NULL);
    desk_turn(&s->d, 0);
}

static void options_reach_the_worker_as_the_lines_of_the_recipe(void **state)
{
    static const struct {
        const char *model;
        struct message_generate g;   /* what differs from nothing asked */
        const char *lines;
    } CASES[] = {
        { "moves", { .cutoff = -1, .class_index = -1, .noise_mode = -1, .noise_seed = -1,
                     .rotate = INT64_MIN },
          "\ncutoff=16\nclass=none\nnoise=const\ntransform=none\n" },
        { "moves", { .cutoff = 7, .class_index = -1, .noise_mode = RECIPE_NOISE_NONE,
                     .noise_seed = -1, .rotate = INT64_MIN },
          "\ncutoff=7\nclass=none\nnoise=none\ntransform=none\n" },
        { "moves", { .cutoff = 60, .class_index = -1, .noise_mode = RECIPE_NOISE_RANDOM,
                     .noise_seed = 4294967295, .rotate = INT64_MIN },
          "\ncutoff=16\nclass=none\nnoise=random:4294967295\ntransform=none\n" },
        { "moves", { .cutoff = -1, .class_index = -1, .noise_mode = RECIPE_NOISE_STREAM,
                     .noise_seed = -1, .translate = { 2, { 250000, -1 } }, .rotate = INT64_MIN },
          "\nnoise=stream\ntransform=tr:250000,-1,0\n" },
        { "moves", { .cutoff = -1, .class_index = -1, .noise_mode = -1, .noise_seed = -1,
                     .rotate = -90500000 },
          "\ntransform=tr:0,0,-90500000\n" },
        { "moves", { .cutoff = -1, .class_index = -1, .noise_mode = -1, .noise_seed = -1,
                     .translate = { 2, { 1, 2 } }, .rotate = 3 },
          "\ntransform=tr:1,2,3\n" },
        { "moves", { .cutoff = -1, .class_index = -1, .noise_mode = -1, .noise_seed = -1,
                     .translate = { 2, { 0, 0 } }, .rotate = 0 },
          "\ntransform=none\n" },
        { "moves", { .cutoff = -1, .class_index = -1, .noise_mode = -1, .noise_seed = -1,
                     .rotate = INT64_MIN, .transform = { 9, { 1, 0, 0.5f, -0.0f, -1.25f } } },
          "\ntransform=m:3f800000,00000000,3f000000,00000000,bfa00000,00000000,00000000,00000000,"
          "00000000\n" },
        { "kinds", { .cutoff = -1, .class_index = 2, .noise_mode = RECIPE_NOISE_STREAM,
                     .noise_seed = -1, .rotate = INT64_MIN },
          "\ncutoff=8\nclass=2\nnoise=none\ntransform=none\n" },
    };
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct message wish = wish_of_model(CASES[i].model, 1);
        struct message_generate *g = &wish.generate;

        g->cutoff = CASES[i].g.cutoff;
        g->class_index = CASES[i].g.class_index;
        g->noise_mode = CASES[i].g.noise_mode;
        g->noise_seed = CASES[i].g.noise_seed;
        g->translate = CASES[i].g.translate;
        g->rotate = CASES[i].g.rotate;
        g->transform = CASES[i].g.transform;
        say_wish(&s, &wish);
        struct job_seen job = worker_gets_one(&s.worker);
        struct recipe_text text = recipe_text(&job.recipe);

        if (!strstr(text.text, CASES[i].lines))
            fail_msg("case %zu is\n%s", i, text.text);
        worker_says_result(&s.worker, &job);
        desk_turn(&s.d, 0);
        client_gets_image(&s.client, 1, 5);
    }
    stage_close(&s);
}

static void options_that_cannot_be_meant_are_refused_in_words(void **state)
{
    static const struct {
        const char *model;
        int64_t noise_mode, noise_seed, tx;
        bool has_matrix;
        enum err_code code;
        const char *words;
    } CASES[] = {
        { "cats", -1, -1, 1, false, ERR_UNSUPPORTED, "only StyleGAN 3 models have one" },
        { "cats", -1, -1, 0, true, ERR_UNSUPPORTED, "this model has no transform; only" },
        { "moves", -1, -1, 1, true, ERR_INVALID, "either \"transform\" or \"translate\" and" },
        { "cats", RECIPE_NOISE_STREAM, -1, 0, false, ERR_UNSUPPORTED, "noise mode stream is not" },
        { "cats", RECIPE_NOISE_RANDOM, 5, 0, false, ERR_UNSUPPORTED, "noise mode random is not" },
        { "moves", RECIPE_NOISE_RANDOM, -1, 0, false, ERR_INVALID, "random needs a noise seed" },
        { "moves", -1, 5, 0, false, ERR_INVALID, "goes with noise mode random only" },
        { "moves", RECIPE_NOISE_STREAM, 5, 0, false, ERR_INVALID, "with noise mode random only" },
        { "kinds", -1, -1, 0, false, ERR_CLASS_REQUIRED, "this model needs a class: 0..2" },
    };
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct message wish = wish_of_model(CASES[i].model, 1);
        struct heard h;

        wish.generate.noise_mode = CASES[i].noise_mode;
        wish.generate.noise_seed = CASES[i].noise_seed;
        if (CASES[i].tx)
            wish.generate.translate = (struct decimals){ 2, { CASES[i].tx, 0 } };
        if (CASES[i].has_matrix)
            wish.generate.transform = (struct floats){ 9, { 2 } };
        say_wish(&s, &wish);
        assert_true(peer_hears(&s.client, &h));
        assert_int_equal(h.m.type, MESSAGE_ERROR);
        assert_true(text_is(h.m.error.code, err_info(CASES[i].code)->word));
        if (!memmem(h.m.error.message.data, h.m.error.message.len, CASES[i].words,
                    strlen(CASES[i].words)))
            fail_msg("case %zu says %.*s", i, (int)h.m.error.message.len, h.m.error.message.data);
        heard_release(&h);
    }
    peer_hears_nothing(&s.worker);
    stage_close(&s);
}

/* They reach the worker together, neither to be alone: it may render them as one batch. */
static void transforms_make_renders_of_their_own_that_may_share_a_batch(void **state)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    for (int64_t id = 1; id <= 4; id++) {        /* the last two are one */
        struct message wish = wish_of_model("moves", id);

        wish.generate.rotate = id < 4 ? id * 1000000 : 3000000;
        peer_say(&s.client, &wish, NULL);
    }
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(jobs[i].recipe.seed, 5);
        assert_int_equal(jobs[i].recipe.transform.degrees, (i + 1) * 1000000);
        assert_false(jobs[i].alone);
        worker_says_result(&s.worker, &jobs[i]);
    }
    desk_turn(&s.d, 0);
    for (int64_t id = 1; id <= 4; id++)
        client_gets_image(&s.client, id, 5);
    assert_int_equal(s.d.b->count.joined, 1);
    stage_close(&s);
}

static void a_noise_that_nothing_reads_is_dropped_with_a_warning(void **state)
{
    struct message wish = wish_of_model("kinds", 1);
    struct heard h;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish.generate.class_index = 0;
    wish.generate.noise_mode = RECIPE_NOISE_RANDOM;
    wish.generate.noise_seed = 5;
    say_wish(&s, &wish);
    struct job_seen job = worker_gets_one(&s.worker);

    assert_int_equal(job.recipe.noise, RECIPE_NOISE_NONE);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    assert_true(peer_hears(&s.client, &h));
    assert_true(text_is(h.m.image.warning,
                        "noise mode has no effect on a model without noise inputs"));
    heard_release(&h);
    stage_close(&s);
}

/* ---- joining ---- */

static void two_clients_share_one_render(void **state)
{
    struct peer other;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    client_join(&s.d, &other, LINK_DEALER);
    struct job_seen job = lease_one(&s);

    client_wishes(&other, 9, 5);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);
    assert_int_equal(s.d.b->count.joined, 1);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    client_gets_image(&other, 9, 5);
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&other);
    peer_leave(&other);
    stage_close(&s);
}

static void a_waiter_may_join_a_render_in_every_state(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 0);
    client_wishes(&s.client, 1, 5);
    client_wishes(&s.client, 2, 5);          /* QUEUED */
    desk_turn(&s.d, 0);
    worker_says_heartbeat(&s.worker, 1, 0, 0);
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    client_wishes(&s.client, 3, 5);          /* HELD */
    say_started(&s, job.lease);
    client_wishes(&s.client, 4, 5);          /* RENDERING */
    worker_says(&s.worker, MESSAGE_RENDERED, job.lease);
    desk_turn(&s.d, 0);
    client_wishes(&s.client, 5, 5);          /* COMMITTING */
    desk_turn(&s.d, 0);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    for (int64_t id = 1; id <= 5; id++)
        client_gets_image(&s.client, id, 5);
    peer_hears_nothing(&s.client);
    stage_close(&s);
}

static void seeds_are_answered_one_by_one_and_then_done(void **state)
{
    static const int64_t SEEDS[] = { 7, 8, 9, 8 };      /* one of them twice */
    struct message wish = wish_of(1, -1);
    struct job_seen jobs[DESK_JOBS_MAX];
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 8);
    wish.generate.seeds = (struct numbers){ SEEDS, 4 };
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 3);
    worker_says_result(&s.worker, &jobs[2]);
    worker_says_fail(&s.worker, jobs[0].lease, "not_reproducible");
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 9);
    client_gets_error(&s.client, 1, ERR_NOT_REPRODUCIBLE);
    peer_hears_nothing(&s.client);
    worker_says_result(&s.worker, &jobs[1]);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 8);
    client_gets_image(&s.client, 1, 8);
    client_gets_done(&s.client, 1, 4, 1);
    peer_hears_nothing(&s.client);
    stage_close(&s);
}

static void seeds_that_are_all_refused_are_done_at_once(void **state)
{
    static const int64_t SEEDS[] = { 1, 2 };
    struct message wish = wish_of(1, -1);
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 8);
    wish.generate.seeds = (struct numbers){ SEEDS, 2 };
    wish.generate.noise_mode = RECIPE_NOISE_STREAM;
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 1, ERR_UNSUPPORTED);
    client_gets_error(&s.client, 1, ERR_UNSUPPORTED);
    client_gets_done(&s.client, 1, 2, 2);
    peer_hears_nothing(&s.client);
    stage_close(&s);
}

static void seeds_over_req_are_refused_with_use_dealer(void **state)
{
    static const int64_t SEEDS[] = { 1, 2 };
    struct message wish = wish_of(1, -1);
    struct peer req;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 8);
    client_join(&s.d, &req, LINK_REQ);
    wish.generate.seeds = (struct numbers){ SEEDS, 2 };
    peer_say(&req, &wish, NULL);
    desk_turn(&s.d, 0);
    client_gets_error(&req, 1, ERR_USE_DEALER);
    client_wishes(&req, 2, 5);               /* one seed is fine */
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&req, 2, 5);
    peer_leave(&req);
    stage_close(&s);
}

static void the_broker_holds_no_more_than_waiters_max(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    options.waiters_max = 2;
    stage_open(&s, options, 0);
    for (int64_t id = 1; id <= 3; id++)
        client_wishes(&s.client, id, 5);     /* a join counts as well */
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 3, ERR_OVERLOADED);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->waiters, 2);
    stage_close(&s);
}

static void one_client_holds_no_more_than_client_waiters_max(void **state)
{
    static const int64_t SEEDS[] = { 1, 2, 3 };
    struct broker_options options = usual();
    struct message wish = wish_of(1, -1);
    struct peer other;
    struct stage s;

    (void)state;
    options.client_waiters_max = 2;
    stage_open(&s, options, 8);
    client_join(&s.d, &other, LINK_DEALER);
    wish.generate.seeds = (struct numbers){ SEEDS, 3 };
    peer_say(&s.client, &wish, NULL);
    client_wishes(&other, 1, 5);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 1, ERR_OVERLOADED);
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&other);
    peer_leave(&other);
    stage_close(&s);
}

/* ---- no worker ---- */

static void an_early_request_waits_for_the_first_worker(void **state)
{
    struct broker_options options = usual();
    struct peer client, worker;
    struct desk d;

    (void)state;
    desk_open(&d, NULL, &options);
    client_join(&d, &client, LINK_DEALER);
    client_wishes(&client, 1, 5);
    desk_turn(&d, 4000);
    peer_hears_nothing(&client);
    worker_joins(&d, &worker, "host:1:1", 4);
    struct job_seen job = worker_gets_one(&worker);

    assert_int_equal(job.deadline_ms, 60000);    /* it arrived in this turn */
    worker_says_result(&worker, &job);
    desk_turn(&d, 0);
    client_gets_image(&client, 1, 5);
    peer_leave(&client);
    peer_leave(&worker);
    desk_close(&d);
}

static void an_early_request_that_no_worker_comes_for_is_an_unknown_model(void **state)
{
    struct broker_options options = usual();
    struct peer client;
    struct desk d;

    (void)state;
    desk_open(&d, NULL, &options);
    client_join(&d, &client, LINK_DEALER);
    client_wishes(&client, 1, 5);
    desk_turn(&d, 0);
    desk_turn(&d, options.grace_ms - 1);
    peer_hears_nothing(&client);
    desk_turn(&d, 1001);                     /* looked at once a second */
    client_gets_error(&client, 1, ERR_UNKNOWN_MODEL);
    client_wishes(&client, 2, 5);            /* no longer early */
    desk_turn(&d, 0);
    client_gets_error(&client, 2, ERR_UNKNOWN_MODEL);
    peer_hears_nothing(&client);
    peer_leave(&client);
    desk_close(&d);
}

static void an_early_request_is_answered_by_its_deadline(void **state)
{
    struct message wish = wish_of(1, 5);
    struct broker_options options = usual();
    struct peer client;
    struct desk d;

    (void)state;
    desk_open(&d, NULL, &options);
    client_join(&d, &client, LINK_DEALER);
    wish.generate.deadline_ms = 300;
    peer_say(&client, &wish, NULL);
    assert_true(desk_turn(&d, 0) <= d.now_ms + 300);     /* it wants to be woken for it */
    desk_turn(&d, 299);
    peer_hears_nothing(&client);
    desk_turn(&d, 1);
    client_gets_error(&client, 1, ERR_DEADLINE);
    desk_turn(&d, options.grace_ms);
    peer_hears_nothing(&client);
    peer_leave(&client);
    desk_close(&d);
}

static void an_early_request_can_be_cancelled(void **state)
{
    struct broker_options options = usual();
    struct peer client, other, worker;
    struct desk d;

    (void)state;
    desk_open(&d, NULL, &options);
    client_join(&d, &client, LINK_DEALER);
    client_join(&d, &other, LINK_DEALER);
    client_wishes(&client, 1, 5);
    client_wishes(&other, 1, 6);
    desk_turn(&d, 0);
    client_cancels(&client, 2, 1);
    desk_turn(&d, 0);
    client_gets_done(&client, 2, 1, 0);
    worker_joins(&d, &worker, "host:1:1", 4);
    assert_int_equal(worker_gets_one(&worker).recipe.seed, 6);
    desk_turn(&d, options.grace_ms - 1);
    peer_hears_nothing(&client);
    peer_leave(&client);
    peer_leave(&other);
    peer_leave(&worker);
    desk_close(&d);
}

static void early_requests_are_bounded_in_number_and_bytes(void **state)
{
    enum { BIG_BYTES = 900000 };
    struct broker_options options = usual();
    char *big = calloc(1, BIG_BYTES);
    int refused = 0, kept = 0;
    struct peer client;
    struct heard h;
    struct desk d;

    (void)state;
    assert_non_null(big);
    desk_open(&d, NULL, &options);
    client_join(&d, &client, LINK_DEALER);
    /* {"v":1,"type":"generate","id":1,"model":"m","seed":1,"x":bytes} */
    static const char HEAD[] = "\x86\xa1v\x01\xa4type\xa8generate\xa2id\x01\xa5model\xa1m\xa4seed"
                               "\x01\xa1x\xc6";
    size_t head = sizeof HEAD - 1, rest = BIG_BYTES - head - 4;

    memcpy(big, HEAD, head);
    for (int i = 0; i < 4; i++)
        big[head + (size_t)i] = (char)(rest >> (24 - 8 * i));
    for (int i = 0; i < 100; i++) {
        struct bytes frame = { big, BIG_BYTES };

        peer_say_bytes(&client, &frame, 1);
        desk_turn(&d, 0);
        while (peer_hears(&client, &h)) {
            assert_int_equal(h.m.type, MESSAGE_ERROR);
            assert_true(text_is(h.m.error.code, "unknown_model"));
            refused++;
            heard_release(&h);
        }
    }
    for (const struct parked *p = d.b->parked; p; p = p->next)
        kept++;
    assert_int_equal(kept + refused, 100);
    assert_true(kept > 0 && kept * BIG_BYTES <= PARKED_BYTES_MAX);
    for (int64_t id = 1; id <= PARKED_MAX + 10; id++)
        client_wishes(&client, id, 5);
    desk_feed(&d);
    assert_true(d.b->parked_count <= PARKED_MAX);
    peer_leave(&client);
    desk_close(&d);
    free(big);
}

static void what_is_queued_ends_when_no_worker_has_its_model_for_the_grace(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    stage_open(&s, options, 0);
    client_wishes(&s.client, 1, 5);
    desk_turn(&s.d, 1000);
    worker_says_bye(&s.worker);
    desk_turn(&s.d, options.grace_ms - 1000);
    client_wishes(&s.client, 2, 6);          /* still within the grace: it may wait too */
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    desk_turn(&s.d, 1001);
    client_gets_error(&s.client, 1, ERR_NO_WORKER);
    client_gets_error(&s.client, 2, ERR_NO_WORKER);
    client_wishes(&s.client, 3, 7);          /* known to be unserved: refused at once */
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 3, ERR_NO_WORKER);
    peer_hears_nothing(&s.client);
    stage_close(&s);
}

/* ---- QUEUED ---- */

static void credit_is_never_exceeded(void **state)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 2);
    for (int64_t id = 1; id <= 5; id++)
        client_wishes(&s.client, id, id);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 2);
    worker_says_result(&s.worker, &jobs[0]);
    desk_turn(&s.d, 0);
    struct job_seen third = worker_gets_one(&s.worker);

    worker_says_heartbeat(&s.worker, 1, 2, 1);           /* less than it holds */
    worker_says_result(&s.worker, &jobs[1]);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 0);
    worker_says_result(&s.worker, &third);
    desk_turn(&s.d, 0);
    worker_gets_one(&s.worker);
    stage_close(&s);
}

static void high_goes_before_normal_before_low(void **state)
{
    static const int64_t LEVELS[] = { MESSAGE_LOW, MESSAGE_NORMAL, MESSAGE_HIGH };
    struct job_seen jobs[DESK_JOBS_MAX];
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 0);
    for (int64_t i = 0; i < 3; i++) {
        struct message wish = wish_of(i, i);

        wish.generate.priority = LEVELS[i];
        peer_say(&s.client, &wish, NULL);
    }
    worker_says_heartbeat(&s.worker, 3, 0, 0);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(jobs[i].recipe.seed, 2 - i);
        assert_int_equal(jobs[i].priority, LEVELS[2 - i]);
    }
    stage_close(&s);
}

static void clients_take_turns_inside_a_level(void **state)
{
    static const uint32_t ORDER[] = { 1, 11, 2, 3, 4 };
    struct job_seen jobs[DESK_JOBS_MAX];
    struct peer other;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 0);
    client_join(&s.d, &other, LINK_DEALER);
    for (int64_t seed = 1; seed <= 4; seed++)
        client_wishes(&s.client, seed, seed);
    desk_turn(&s.d, 0);
    client_wishes(&other, 1, 11);
    worker_says_heartbeat(&s.worker, 8, 0, 0);
    desk_turn(&s.d, 0);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(jobs[i].recipe.seed, ORDER[i]);
    peer_leave(&other);
    stage_close(&s);
}

static void a_short_queue_is_spread_over_the_workers(void **state)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    struct peer second;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 16);
    worker_joins(&s.d, &second, "host:2:2", 16);
    for (int64_t seed = 1; seed <= 4; seed++)
        client_wishes(&s.client, seed, seed);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 2);
    assert_int_equal(worker_gets(&second, jobs), 2);
    peer_leave(&second);
    stage_close(&s);
}

/* ---- HELD ---- */

static void what_is_handed_back_goes_to_the_head_and_is_no_attempt(void **state)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 1);
    struct job_seen job = lease_one(&s);

    client_wishes(&s.client, 2, 6);
    worker_says(&s.worker, MESSAGE_HANDBACK, job.lease);
    worker_says_heartbeat(&s.worker, 2, 0, 0);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 2);
    assert_int_equal(jobs[0].recipe.seed, 5);
    assert_int_equal(jobs[1].recipe.seed, 6);
    assert_true(jobs[0].lease > job.lease);
    assert_false(jobs[0].alone);
    stage_close(&s);
}

static void a_worker_that_hands_back_gets_nothing_before_its_next_word(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    worker_says(&s.worker, MESSAGE_HANDBACK, job.lease);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);
    worker_says_heartbeat(&s.worker, 4, 0, 0);
    desk_turn(&s.d, 0);
    worker_gets_one(&s.worker);
    stage_close(&s);
}

static void a_recall_takes_no_credit_from_the_worker(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 1);
    struct job_seen job = lease_one(&s);

    client_cancels(&s.client, 2, 1);
    desk_turn(&s.d, 0);
    client_gets_done(&s.client, 2, 1, 0);
    assert_int_equal(worker_hears(&s.worker, MESSAGE_RECALL), job.lease);
    client_wishes(&s.client, 3, 6);
    worker_says(&s.worker, MESSAGE_HANDBACK, job.lease);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets_one(&s.worker).recipe.seed, 6);
    assert_null(renders_find_lease(&s.d.b->renders, job.lease));
    stage_close(&s);
}

static void what_a_lost_worker_had_not_started_is_no_attempt(void **state)
{
    struct broker_options options = usual();
    struct peer second;
    struct stage s;

    (void)state;
    options.attempts_max = 1;
    stage_open(&s, options, 4);
    lease_one(&s);
    worker_says_bye(&s.worker);
    desk_turn(&s.d, 0);
    worker_joins(&s.d, &second, "host:2:2", 4);
    struct job_seen job = worker_gets_one(&second);

    assert_false(job.alone);
    worker_says_result(&second, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_leave(&second);
    stage_close(&s);
}

static void a_worker_that_leaves_in_the_middle_of_a_handover_loses_nothing(void **state)
{
    struct broker_options options = desk_patient();
    struct job_seen jobs[DESK_JOBS_MAX];
    int64_t give_up_ms = clock_ms() + 60000;
    struct peer second;
    struct stage s;

    (void)state;
    stage_open(&s, options, 64);
    peer_leave(&s.worker);
    client_wishes(&s.client, 1, 5);
    while (s.d.b->roster.by_peer) {          /* until libzmq has seen it go */
        struct link_wait wait = { .link = s.d.workers };

        assert_true(clock_ms() < give_up_ms);
        link_poll(&wait, 1, clock_ms() + 5);
        desk_turn(&s.d, 1000);
    }
    worker_joins(&s.d, &second, "host:2:2", 64);
    assert_int_equal(worker_gets(&second, jobs), 1);
    worker_says_result(&second, &jobs[0]);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_leave(&second);
    stage_close(&s);
}

static void status_is_answered_while_a_worker_is_going(void **state)
{
    struct message status;
    struct heard h;
    struct stage s;
    struct worker *w;

    (void)state;
    stage_open(&s, desk_patient(), 64);
    w = s.d.b->roster.by_peer;
    w->to.bytes[1] ^= 0x55;                  /* a peer that libzmq does not know: it is gone */
    client_wishes(&s.client, 1, 5);
    message_init(&status, MESSAGE_STATUS, 2);
    desk_turn(&s.d, 0);
    peer_say(&s.client, &status, NULL);
    desk_turn(&s.d, 0);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_STATUS_REPORT);
    assert_int_equal(h.m.status_report.queued_normal + h.m.status_report.held, 0);
    heard_release(&h);
    desk_turn(&s.d, 1000);
    assert_null(s.d.b->roster.by_peer);
    stage_close(&s);
}

/* ---- RENDERING ---- */

static void a_silent_worker_is_lost_after_silence_ms(void **state)
{
    struct broker_options options = usual();
    struct peer second;
    struct stage s;

    (void)state;
    stage_open(&s, options, 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    desk_turn(&s.d, options.silence_ms);
    assert_non_null(s.d.b->roster.by_peer);
    desk_turn(&s.d, 1001);
    assert_null(s.d.b->roster.by_peer);
    worker_joins(&s.d, &second, "host:2:2", 4);
    struct job_seen again = worker_gets_one(&second);

    assert_int_equal(again.recipe.seed, 5);
    assert_true(again.alone);
    peer_leave(&second);
    stage_close(&s);
}

static void heartbeats_keep_a_worker(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    stage_open(&s, options, 4);
    for (int i = 0; i < 10; i++) {
        worker_says_heartbeat(&s.worker, 4, 0, 0);
        desk_turn(&s.d, 1000);
    }
    assert_non_null(s.d.b->roster.by_peer);
    stage_close(&s);
}

static void a_hung_worker_loses_its_leases_and_gets_nothing_until_it_moves(void **state)
{
    struct broker_options options = usual();
    struct peer second;
    struct stage s;

    (void)state;
    options.stall_ms = 5000;
    stage_open(&s, options, 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    worker_says_heartbeat(&s.worker, 4, 1, 1);
    desk_turn(&s.d, 1000);
    for (int i = 0; i < 6; i++) {
        worker_says_heartbeat(&s.worker, 4, 1, 1);
        desk_turn(&s.d, 1000);
    }
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
    peer_hears_nothing(&s.worker);
    worker_joins(&s.d, &second, "host:2:2", 1);
    struct job_seen again = worker_gets_one(&second);

    assert_true(again.alone);
    worker_says_result(&second, &again);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    worker_says_bye(&second);
    client_wishes(&s.client, 2, 6);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);           /* still hung */
    worker_says_result(&s.worker, &job);     /* it moves: late, but alive */
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets_one(&s.worker).recipe.seed, 6);
    assert_int_equal(s.d.b->count.late, 1);
    peer_hears_nothing(&s.client);
    peer_leave(&second);
    stage_close(&s);
}

static void a_worker_that_holds_nothing_is_not_hung(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    options.stall_ms = 2000;
    stage_open(&s, options, 4);
    lease_one(&s);                           /* lost on its way: the worker never heard of it */
    for (int i = 0; i < 3; i++) {
        worker_says_heartbeat(&s.worker, 4, 0, 0);
        desk_turn(&s.d, 1000);
    }
    struct job_seen again = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &again);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    stage_close(&s);
}

static void progress_keeps_a_slow_render(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    options.stall_ms = 2000;
    stage_open(&s, options, 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    for (int i = 0; i < 10; i++) {
        worker_says_heartbeat(&s.worker, 4, 1, i);
        desk_turn(&s.d, 1000);
    }
    assert_int_equal(s.d.b->renders.count[RENDER_RENDERING], 1);
    stage_close(&s);
}

static void a_measured_batch_bounds_the_stall(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    stage_open(&s, options, 4);
    struct job_seen job = lease_one(&s);

    worker_says_result(&s.worker, &job);     /* of 5 ms: 2 s are enough from now on */
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    client_wishes(&s.client, 2, 6);
    desk_turn(&s.d, 0);
    job = worker_gets_one(&s.worker);
    say_started(&s, job.lease);
    worker_says_heartbeat(&s.worker, 4, 1, 1);
    desk_turn(&s.d, 1000);
    for (int i = 0; i < 3; i++) {
        worker_says_heartbeat(&s.worker, 4, 1, 1);
        desk_turn(&s.d, 1000);
    }
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
    stage_close(&s);
}

static void a_batch_larger_than_any_before_gets_the_time_it_needs(void **state)
{
    enum { PICTURES = 4, SECOND_US = 1000000 };
    struct job_seen jobs[MESSAGE_JOBS_MAX];
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    stage_open(&s, options, PICTURES);
    struct job_seen job = lease_one(&s);

    worker_says_result_after(&s.worker, &job, SECOND_US);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    for (int i = 0; i < PICTURES; i++)
        client_wishes(&s.client, 2 + i, 6 + i);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), PICTURES);
    for (int i = 0; i < PICTURES; i++)
        say_started(&s, jobs[i].lease);
    for (int i = 0; i < 11; i++) {           /* four pictures at a second each: twelve seconds */
        worker_says_heartbeat(&s.worker, PICTURES, PICTURES, 1 + PICTURES);
        desk_turn(&s.d, 1000);
    }
    assert_int_equal(s.d.b->renders.count[RENDER_RENDERING], PICTURES);
    for (int i = 0; i < 3; i++) {
        worker_says_heartbeat(&s.worker, PICTURES, PICTURES, 1 + PICTURES);
        desk_turn(&s.d, 1000);
    }
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], PICTURES);
    stage_close(&s);
}

/* Else it would be taken for hung three times, and its picture for poison. */
static void a_worker_that_has_become_slow_is_taken_for_hung_once(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    for (int64_t id = 1; id <= 5; id++) {
        client_wishes(&s.client, id, id);
        desk_turn(&s.d, 0);
        struct job_seen quick = worker_gets_one(&s.worker);

        worker_says_result(&s.worker, &quick);
        desk_turn(&s.d, 0);
        client_gets_image(&s.client, id, id);
    }
    client_wishes(&s.client, 6, 6);
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    say_started(&s, job.lease);
    for (int i = 0; i < 8; i++) {
        worker_says_heartbeat(&s.worker, 4, 1, 1);
        desk_turn(&s.d, 1000);
    }
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
    worker_says_result_after(&s.worker, &job, 8000000);  /* late: eight seconds, not five ms */
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 6, 6);      /* it is still what somebody waits for */
    client_wishes(&s.client, 7, 7);
    desk_turn(&s.d, 0);
    job = worker_gets_one(&s.worker);
    say_started(&s, job.lease);
    for (int i = 0; i < 8; i++) {
        worker_says_heartbeat(&s.worker, 4, 1, 2);
        desk_turn(&s.d, 1000);
    }
    assert_int_equal(s.d.b->renders.count[RENDER_RENDERING], 1);
    worker_says_result_after(&s.worker, &job, 8000000);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 7, 7);
    assert_int_equal(s.d.b->count.late, 1);
    stage_close(&s);
}

/* Both numbers are within what the wire allows; their product is within no integer. */
static void a_worker_that_claims_to_be_endlessly_slow_is_not_believed(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, desk_patient(), 2000);
    struct job_seen job = lease_one(&s);

    for (int64_t seed = 10; seed < 1510; seed++)
        client_wishes(&s.client, seed, seed);
    desk_turn(&s.d, 0);
    worker_says_result_after(&s.worker, &job, (int64_t)1 << 53);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    desk_turn(&s.d, 1000);                   /* looks for hung workers */
    assert_int_equal(s.d.b->renders.count[RENDER_HELD], 1500);
    stage_close(&s);
}

static void a_fail_that_may_pass_is_tried_alone_by_another_worker(void **state)
{
    struct peer second;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    worker_joins(&s.d, &second, "host:2:2", 4);
    say_started(&s, job.lease);
    worker_says_fail(&s.worker, job.lease, "device");
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);
    struct job_seen again = worker_gets_one(&second);

    assert_true(again.alone);
    assert_int_equal(again.recipe.seed, 5);
    worker_says_fail(&second, again.lease, "device");
    desk_turn(&s.d, 0);
    peer_hears_nothing(&second);
    job = worker_gets_one(&s.worker);        /* the third attempt may go back */
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_leave(&second);
    stage_close(&s);
}

static void where_there_is_one_worker_it_tries_again_itself(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    worker_says_fail(&s.worker, job.lease, "device");
    desk_turn(&s.d, 0);
    assert_true(worker_gets_one(&s.worker).alone);
    stage_close(&s);
}

static void a_render_that_fails_attempts_max_times_is_poison(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    stage_open(&s, options, 4);
    client_wishes(&s.client, 1, 5);
    for (int i = 0; i < options.attempts_max; i++) {
        desk_turn(&s.d, 0);
        peer_hears_nothing(&s.client);
        struct job_seen job = worker_gets_one(&s.worker);

        say_started(&s, job.lease);
        worker_says_fail(&s.worker, job.lease, "device");
    }
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 1, ERR_POISON);
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&s.worker);
    assert_null(s.d.b->renders.by_key);
    stage_close(&s);
}

static void workers_that_leave_do_not_make_a_render_poison(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    stage_open(&s, options, 4);
    client_wishes(&s.client, 1, 5);
    for (int i = 0; i < 2 * options.attempts_max; i++) {
        desk_turn(&s.d, 0);
        struct job_seen job = worker_gets_one(&s.worker);

        say_started(&s, job.lease);
        worker_says_fail(&s.worker, job.lease, "retry");
        desk_turn(&s.d, 0);
        peer_hears_nothing(&s.worker);       /* nothing new before its next word */
        worker_says_heartbeat(&s.worker, 4, 0, i);
    }
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    stage_close(&s);
}

static void a_fail_that_will_not_pass_ends_with_its_own_code(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    worker_says_fail(&s.worker, job.lease, "withdrawn");
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 1, ERR_WITHDRAWN);
    peer_hears_nothing(&s.worker);
    client_wishes(&s.client, 2, 6);
    desk_turn(&s.d, 0);
    job = worker_gets_one(&s.worker);
    worker_says_fail(&s.worker, job.lease, "no such word");
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 2, ERR_BUG);
    stage_close(&s);
}

static void batch_mates_of_a_deadly_render_run_alone(void **state)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    struct peer second;
    struct stage s;
    size_t count;

    (void)state;
    stage_open(&s, usual(), 4);
    for (int64_t seed = 1; seed <= 3; seed++)
        client_wishes(&s.client, seed, seed);
    desk_turn(&s.d, 0);
    count = worker_gets(&s.worker, jobs);
    assert_int_equal(count, 3);
    worker_says(&s.worker, MESSAGE_STARTED, jobs[0].lease);
    worker_says(&s.worker, MESSAGE_STARTED, jobs[1].lease);
    worker_says_bye(&s.worker);              /* with two on the device, one not started */
    desk_turn(&s.d, 0);
    worker_joins(&s.d, &second, "host:2:2", 4);
    count = worker_gets(&second, jobs);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++)
        assert_true(jobs[i].alone == (jobs[i].recipe.seed != 3));
    peer_leave(&second);
    stage_close(&s);
}

/* What a worker that lies may send under a good lease. */
static void lie(struct stage *s, const struct job_seen *job, int kind)
{
    struct message m;
    struct message_result result = {
        .lease = job->lease, .recipe_key = recipe_key(&job->recipe), .numerics_class = text_of("x"),
        .encoder = text_of("x"), .sha256 = digest_of("x", 1), .core_sha256 = digest_of("x", 1),
        .bytes = (int64_t)strlen("a picture"),
    };

    if (kind == 0)
        result.recipe_key = digest_of("another", 7);
    message_init(&m, MESSAGE_RESULTS, 0);
    m.results.results = (struct records){ &result, 1 };
    peer_say(&s->worker, &m, kind == 0 ? "a picture" : kind == 1 ? NULL : "a longer picture");
}

static void a_worker_that_lies_is_not_believed(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {   /* another recipe's picture, none, other lengths */
        struct peer second;
        struct stage s;

        stage_open(&s, usual(), 4);
        struct job_seen job = lease_one(&s);

        worker_joins(&s.d, &second, "host:2:2", 4);
        lie(&s, &job, kind);
        desk_turn(&s.d, 0);
        peer_hears_nothing(&s.client);
        job = worker_gets_one(&second);
        assert_true(job.alone);
        worker_says_result(&second, &job);
        desk_turn(&s.d, 0);
        client_gets_image(&s.client, 1, 5);
        peer_leave(&second);
        stage_close(&s);
    }
}

/* Its frame is taken for the end of an envelope, so the broker never sees it. */
static void an_empty_picture_is_no_result(void **state)
{
    struct message m;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    struct message_result result = {
        .lease = job.lease, .recipe_key = recipe_key(&job.recipe), .numerics_class = text_of("x"),
        .encoder = text_of("x"), .sha256 = digest_of("", 0), .core_sha256 = digest_of("", 0),
        .bytes = 1,
    };

    message_init(&m, MESSAGE_RESULTS, 0);
    m.results.results = (struct records){ &result, 1 };
    peer_say(&s.worker, &m, "");
    for (int i = 0; i < 4; i++) {
        desk_turn(&s.d, 1000);
        worker_says_heartbeat(&s.worker, 4, 0, 0);
    }
    job = worker_gets_one(&s.worker);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    stage_close(&s);
}

static void another_workers_lease_is_nobodys_business(void **state)
{
    struct peer second;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    worker_joins(&s.d, &second, "host:2:2", 4);
    worker_says(&second, MESSAGE_STARTED, job.lease);
    worker_says(&second, MESSAGE_HANDBACK, job.lease);
    worker_says_fail(&second, job.lease, "invalid");
    worker_says_result(&second, &job);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->renders.count[RENDER_HELD], 1);
    assert_non_null(renders_find_lease(&s.d.b->renders, job.lease));
    assert_int_equal(s.d.b->count.late, 2);
    peer_leave(&second);
    stage_close(&s);
}

/* ---- COMMITTING ---- */

static void what_a_dead_worker_was_committing_is_no_attempt(void **state)
{
    struct broker_options options = usual();
    struct peer second;
    struct stage s;

    (void)state;
    options.attempts_max = 1;
    stage_open(&s, options, 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    worker_says(&s.worker, MESSAGE_RENDERED, job.lease);
    worker_says_bye(&s.worker);
    desk_turn(&s.d, 0);
    worker_joins(&s.d, &second, "host:2:2", 4);
    assert_false(worker_gets_one(&second).alone);
    peer_leave(&second);
    stage_close(&s);
}

static void without_the_ledger_what_is_committing_stays_where_it_is(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    options.stall_ms = 2000;
    stage_open(&s, options, 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    worker_says(&s.worker, MESSAGE_RENDERED, job.lease);
    for (int i = 0; i < 10; i++) {
        worker_says_heartbeat(&s.worker, 4, 1, 2);
        desk_turn(&s.d, 1000);
    }
    assert_int_equal(s.d.b->renders.count[RENDER_COMMITTING], 1);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    stage_close(&s);
}

/* ---- END ---- */

static void a_late_result_is_counted_and_frees_no_credit_twice(void **state)
{
    struct job_seen jobs[DESK_JOBS_MAX];
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 2);
    struct job_seen job = lease_one(&s);

    worker_says_result(&s.worker, &job);
    worker_says_result(&s.worker, &job);
    worker_says_fail(&s.worker, job.lease, "device");
    worker_says(&s.worker, MESSAGE_HANDBACK, job.lease);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->count.late, 2);
    worker_says_heartbeat(&s.worker, 2, 0, 1);
    for (int64_t seed = 1; seed <= 4; seed++)
        client_wishes(&s.client, seed, seed);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets(&s.worker, jobs), 2);
    stage_close(&s);
}

/* ---- waiters that end by themselves ---- */

static void a_waiter_ends_at_its_deadline_and_the_held_render_is_recalled(void **state)
{
    struct message wish = wish_of(1, 5);
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish.generate.deadline_ms = 400;
    peer_say(&s.client, &wish, NULL);
    assert_int_equal(desk_turn(&s.d, 0), s.d.now_ms + 400);
    struct job_seen job = worker_gets_one(&s.worker);

    assert_int_equal(job.deadline_ms, 400);
    desk_turn(&s.d, 399);
    peer_hears_nothing(&s.client);
    desk_turn(&s.d, 1);
    client_gets_error(&s.client, 1, ERR_LEDGER_DOWN);
    assert_int_equal(worker_hears(&s.worker, MESSAGE_RECALL), job.lease);
    worker_says(&s.worker, MESSAGE_HANDBACK, job.lease);
    desk_turn(&s.d, 0);
    assert_null(s.d.b->renders.by_key);
    peer_hears_nothing(&s.worker);
    stage_close(&s);
}

static void a_render_that_has_started_finishes_though_nobody_waits(void **state)
{
    struct message wish = wish_of(1, 5);
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish.generate.deadline_ms = 400;
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    say_started(&s, job.lease);
    desk_turn(&s.d, 400);
    client_gets_error(&s.client, 1, ERR_LEDGER_DOWN);
    peer_hears_nothing(&s.worker);           /* no recall */
    assert_int_equal(s.d.b->renders.count[RENDER_RENDERING], 1);
    client_wishes(&s.client, 2, 5);          /* and whoever comes meanwhile has it */
    desk_turn(&s.d, 0);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 2, 5);
    peer_hears_nothing(&s.client);
    stage_close(&s);
}

static void a_render_that_nobody_waits_for_is_not_tried_again(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    client_cancels(&s.client, 2, 1);
    desk_turn(&s.d, 0);
    client_gets_done(&s.client, 2, 1, 0);
    worker_says_fail(&s.worker, job.lease, "device");
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);
    assert_null(s.d.b->renders.by_key);
    stage_close(&s);
}

static void a_cancelled_waiter_does_not_cancel_the_other(void **state)
{
    struct peer other;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    client_join(&s.d, &other, LINK_DEALER);
    struct job_seen job = lease_one(&s);

    client_wishes(&other, 9, 5);
    desk_turn(&s.d, 0);
    client_cancels(&s.client, 2, 1);
    desk_turn(&s.d, 0);
    client_gets_done(&s.client, 2, 1, 0);
    peer_hears_nothing(&s.worker);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&other, 9, 5);
    peer_hears_nothing(&s.client);
    peer_leave(&other);
    stage_close(&s);
}

static void a_request_is_cancelled_from_its_own_socket_only(void **state)
{
    struct peer other;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    client_join(&s.d, &other, LINK_DEALER);
    struct job_seen job = lease_one(&s);

    client_cancels(&other, 2, 1);
    desk_turn(&s.d, 0);
    client_gets_done(&other, 2, 0, 0);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_leave(&other);
    stage_close(&s);
}

static void a_cancel_ends_what_is_left_of_seeds(void **state)
{
    static const int64_t SEEDS[] = { 1, 2, 3 };
    struct message wish = wish_of(1, -1);
    struct job_seen jobs[DESK_JOBS_MAX];
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 1);
    wish.generate.seeds = (struct numbers){ SEEDS, 3 };
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    jobs[0] = worker_gets_one(&s.worker);
    say_started(&s, jobs[0].lease);
    worker_says_result(&s.worker, &jobs[0]);
    worker_says_heartbeat(&s.worker, 0, 0, 1);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 1);
    client_cancels(&s.client, 2, 1);
    desk_turn(&s.d, 0);
    client_gets_done(&s.client, 2, 2, 0);
    peer_hears_nothing(&s.client);
    assert_null(s.d.b->renders.by_key);
    assert_null(s.d.b->clients.by_peer->requests);
    stage_close(&s);
}

static void a_recalled_render_may_be_wanted_again(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    client_cancels(&s.client, 2, 1);
    desk_turn(&s.d, 0);
    client_gets_done(&s.client, 2, 1, 0);
    assert_int_equal(worker_hears(&s.worker, MESSAGE_RECALL), job.lease);
    client_wishes(&s.client, 3, 5);
    worker_says(&s.worker, MESSAGE_HANDBACK, job.lease);
    desk_turn(&s.d, 0);
    job = worker_gets_one(&s.worker);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 3, 5);
    stage_close(&s);
}

/* ---- cache, class ---- */

static void without_the_ledger_only_stored_pictures_are_ledger_down(void **state)
{
    struct message wish = wish_of(1, 5);
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish.generate.cache = MESSAGE_CACHE_ONLY;
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 1, ERR_LEDGER_DOWN);
    peer_hears_nothing(&s.worker);
    assert_null(s.d.b->renders.by_key);
    stage_close(&s);
}

static void who_wants_only_stored_ones_may_share_a_render_but_not_keep_it(void **state)
{
    struct message wish = wish_of(2, 5);
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 0);
    wish.generate.cache = MESSAGE_CACHE_ONLY;
    client_wishes(&s.client, 1, 5);
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    client_cancels(&s.client, 3, 1);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 2, ERR_NOT_FOUND);
    client_gets_done(&s.client, 3, 1, 0);
    assert_null(s.d.b->renders.by_key);
    stage_close(&s);
}

static void a_picture_of_another_class_than_required_is_a_conflict(void **state)
{
    struct message wish = wish_of(1, 5);
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish.generate.require_class = text_of("cuda-test-1");
    peer_say(&s.client, &wish, NULL);
    client_wishes(&s.client, 2, 5);
    wish.id = 3;
    wish.generate.require_class = text_of("cpu-test-1");
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 1, ERR_CLASS_CONFLICT);
    client_gets_image(&s.client, 2, 5);
    client_gets_image(&s.client, 3, 5);
    stage_close(&s);
}

static void a_receipt_is_an_image_without_its_frame(void **state)
{
    struct message wish = wish_of(1, 5);
    struct heard h;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish.generate.want = MESSAGE_WANT_RECEIPT;
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_RECEIPT);
    assert_int_equal(h.parcel.count, 1);
    assert_true(h.m.image.bytes > 0);
    heard_release(&h);
    stage_close(&s);
}

/* ---- what is kept and sent ---- */

struct wanted {
    int64_t want, keep, job;
};

static void wish_wanted(struct stage *s, int64_t id, struct wanted wanted)
{
    struct message wish = wish_of(id, 5);

    wish.generate.want = wanted.want;
    wish.generate.keep = wanted.keep;
    wish.generate.job = wanted.job;
    peer_say(&s->client, &wish, NULL);
}

static void client_gets_receipt(struct peer *client, int64_t id)
{
    struct heard h;

    assert_true(peer_hears(client, &h));
    assert_int_equal(h.m.type, MESSAGE_RECEIPT);
    assert_int_equal(h.m.id, id);
    assert_int_equal(h.m.image.seed, 5);
    assert_int_equal(h.parcel.count, 1);
    assert_true(h.m.image.bytes > 0);
    heard_release(&h);
}

static void a_worker_is_told_the_most_that_anybody_who_waits_wants(void **state)
{
    enum { I = MESSAGE_WANT_IMAGE, R = MESSAGE_WANT_RECEIPT, KI = MESSAGE_KEEP_IMAGE,
           KP = MESSAGE_KEEP_PROVENANCE, KR = MESSAGE_KEEP_REFILL };
    static const struct {
        struct wanted of[2], told;
    } CASES[] = {
        { { { I, KI, 0 }, { I, KI, 0 } }, { I, KI, 0 } },
        { { { R, KP, 7 }, { R, KP, 8 } }, { R, KP, 7 } },
        { { { R, KP, 0 }, { R, KP, 8 } }, { R, KP, 8 } },
        { { { R, KP, 7 }, { I, KP, 0 } }, { I, KP, 7 } },
        { { { I, KP, 0 }, { R, KI, 0 } }, { I, KI, 0 } },
        { { { R, KI, 0 }, { R, KP, 0 } }, { R, KI, 0 } },
        { { { R, KP, 0 }, { R, KR, 0 } }, { R, KR, 0 } },
        { { { R, KR, 0 }, { R, KI, 0 } }, { R, KR, 0 } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct stage s;

        stage_open(&s, usual(), 4);
        wish_wanted(&s, 1, CASES[i].of[0]);
        wish_wanted(&s, 2, CASES[i].of[1]);
        desk_turn(&s.d, 0);
        struct job_seen job = worker_gets_one(&s.worker);

        assert_int_equal(job.want, CASES[i].told.want);
        assert_int_equal(job.keep, CASES[i].told.keep);
        assert_int_equal(job.bulk, CASES[i].told.job);
        worker_says_result(&s.worker, &job);
        desk_turn(&s.d, 0);
        for (int64_t id = 1; id <= 2; id++)
            if (CASES[i].of[id - 1].want == R)
                client_gets_receipt(&s.client, id);
            else
                client_gets_image(&s.client, id, 5);
        assert_null(s.d.b->renders.by_key);
        stage_close(&s);
    }
}

/* Here the ledger cannot be asked for the file that did not come: it is made again. */
static void who_joins_late_and_wants_more_than_the_worker_was_told_waits_on(void **state)
{
    static const struct wanted FIRST = { MESSAGE_WANT_RECEIPT, MESSAGE_KEEP_IMAGE, 7 };
    static const struct wanted LATE[] = { { MESSAGE_WANT_IMAGE, MESSAGE_KEEP_IMAGE, 0 },
                                          { MESSAGE_WANT_RECEIPT, MESSAGE_KEEP_REFILL, 0 } };

    (void)state;
    for (size_t i = 0; i < sizeof LATE / sizeof LATE[0]; i++) {
        struct stage s;

        stage_open(&s, usual(), 4);
        wish_wanted(&s, 1, FIRST);
        desk_turn(&s.d, 0);
        struct job_seen job = worker_gets_one(&s.worker);

        wish_wanted(&s, 2, LATE[i]);
        desk_turn(&s.d, 0);
        peer_hears_nothing(&s.worker);           /* it joins */
        worker_says_result(&s.worker, &job);
        desk_turn(&s.d, 0);
        client_gets_receipt(&s.client, 1);
        peer_hears_nothing(&s.client);
        struct job_seen again = worker_gets_one(&s.worker);

        assert_int_not_equal(again.lease, job.lease);
        assert_int_equal(again.want, LATE[i].want);
        assert_int_equal(again.keep, LATE[i].keep);
        assert_false(again.alone);               /* it was nobody's fault */
        worker_says_result(&s.worker, &again);
        desk_turn(&s.d, 0);
        if (LATE[i].want == MESSAGE_WANT_IMAGE)
            client_gets_image(&s.client, 2, 5);
        else
            client_gets_receipt(&s.client, 2);
        peer_hears_nothing(&s.client);
        assert_null(s.d.b->renders.by_key);
        desk_audit(&s.d);
        stage_close(&s);
    }
}

static void who_would_wait_on_at_a_broker_that_leaves_is_referred(void **state)
{
    static const struct wanted FIRST = { MESSAGE_WANT_RECEIPT, MESSAGE_KEEP_IMAGE, 0 };
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    wish_wanted(&s, 1, FIRST);
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    say_started(&s, job.lease);
    client_wishes(&s.client, 2, 5);
    desk_turn(&s.d, 0);
    broker_drain(s.d.b, s.d.now_ms);
    desk_turn(&s.d, 0);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_receipt(&s.client, 1);
    client_gets_error(&s.client, 2, ERR_RETRY);
    stage_close(&s);
}

static void a_receipt_where_a_file_was_asked_for_is_no_result(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    job.want = MESSAGE_WANT_RECEIPT;
    worker_says(&s.worker, MESSAGE_STARTED, job.lease);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    job = worker_gets_one(&s.worker);
    assert_true(job.alone);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    stage_close(&s);
}

/* ---- clients that are a burden ---- */

static void a_client_that_vanished_costs_nothing_after_a_second(void **state)
{
    int64_t give_up_ms = clock_ms() + 60000;
    struct job_seen job;
    struct peer gone;
    struct stage s;

    (void)state;
    stage_open(&s, desk_patient(), 4);
    client_join(&s.d, &gone, LINK_DEALER);
    client_wishes(&gone, 1, 5);
    desk_turn(&s.d, 0);
    job = worker_gets_one(&s.worker);
    client_wishes(&gone, 2, 6);
    worker_says_heartbeat(&s.worker, 1, 1, 0);
    desk_turn(&s.d, 0);
    peer_leave(&gone);
    while (s.d.b->clients.by_peer) {         /* an answer is what shows that it is gone */
        struct link_wait wait = { .link = s.d.clients };

        assert_true(clock_ms() < give_up_ms);
        worker_says_result(&s.worker, &job);
        link_poll(&wait, 1, clock_ms() + 5);
        desk_turn(&s.d, 1000);
        job.lease++;
        job.recipe.seed = 6;
    }
    assert_int_equal(s.d.b->waiters, 0);
    client_wishes(&s.client, 1, 7);
    desk_turn(&s.d, 0);
    stage_close(&s);
}

static void a_client_that_does_not_read_is_dropped_and_the_others_are_served(void **state)
{
    struct broker_options options = desk_patient();
    struct peer lazy;
    struct stage s;

    (void)state;
    options.outbox_max = 20000;
    stage_open(&s, options, 4);
    client_join_slow(&s.d, &lazy);
    for (int64_t id = 1; id <= 200 && s.d.b->clients.dropped == 0; id++) {
        struct message ping;

        message_init(&ping, MESSAGE_PING, id);
        peer_say(&lazy, &ping, NULL);
        desk_turn(&s.d, 0);                  /* audits the outbox */
    }
    assert_int_equal(s.d.b->clients.dropped, 1);
    desk_turn(&s.d, 1000);
    assert_int_equal(s.d.b->clients.letters, 0);
    struct job_seen job = lease_one(&s);

    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_leave(&lazy);
    stage_close(&s);
}

static void a_client_that_reads_slowly_gets_everything_in_order(void **state)
{
    enum { PINGS = 60 };
    struct broker_options options = desk_patient();
    struct peer slow;
    struct stage s;
    int64_t next = 1;
    struct heard h;

    (void)state;
    stage_open(&s, options, 4);
    client_join_slow(&s.d, &slow);
    for (int64_t id = 1; id <= PINGS; id++) {
        struct message ping;

        message_init(&ping, MESSAGE_PING, id);
        peer_say(&slow, &ping, NULL);
        desk_turn(&s.d, 0);
    }
    assert_true(s.d.b->clients.letters > 0);
    for (int turn = 0; turn < PINGS && next <= PINGS; turn++) {
        while (peer_hears(&slow, &h)) {
            assert_int_equal(h.m.type, MESSAGE_PONG);
            assert_int_equal(h.m.id, next++);
            heard_release(&h);
        }
        desk_turn(&s.d, 5);
    }
    assert_int_equal(next, PINGS + 1);
    assert_int_equal(s.d.b->clients.letters, 0);
    peer_leave(&slow);
    stage_close(&s);
}

/* ---- workers that come and go ---- */

static void a_strangers_heartbeat_is_answered_by_introduce(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    stage_open(&s, options, 4);
    desk_turn(&s.d, options.silence_ms + 1001);          /* forgotten */
    assert_null(s.d.b->roster.by_peer);
    worker_says_heartbeat(&s.worker, 4, 0, 0);
    desk_turn(&s.d, 0);
    worker_hears(&s.worker, MESSAGE_INTRODUCE);
    worker_says_ready(&s.worker, "host:1:1", 4);
    desk_turn(&s.d, 0);
    lease_one(&s);
    stage_close(&s);
}

static void a_worker_that_comes_back_over_a_new_connection_begins_anew(void **state)
{
    struct peer again;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen old = lease_one(&s);

    say_started(&s, old.lease);
    worker_joins(&s.d, &again, "host:1:1", 4);
    assert_int_equal(HASH_COUNT(s.d.b->roster.by_peer), 1);
    struct job_seen job = worker_gets_one(&again);

    assert_true(job.lease > old.lease);
    assert_false(job.alone);                 /* it lives: nothing speaks against the picture */
    worker_says_result(&again, &old);        /* of a lease that has ended, while another holds it */
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->count.late, 1);
    worker_says_result(&again, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    peer_hears_nothing(&s.client);
    peer_leave(&again);
    stage_close(&s);
}

static void a_result_of_a_lost_lease_still_answers_what_waits_again(void **state)
{
    struct peer again;
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s), other = job;

    say_started(&s, job.lease);
    worker_joins(&s.d, &again, "host:1:1", 0);           /* no room: it waits in the queue */
    other.lease += 100;
    worker_says_result(&again, &other);                  /* never a lease of this picture */
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    worker_says_result(&again, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    worker_says_result(&again, &job);
    worker_says_heartbeat(&again, 4, 0, 1);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&again);
    peer_leave(&again);
    stage_close(&s);
}

static void a_worker_that_was_only_cut_off_spoils_no_picture(void **state)
{
    struct broker_options options = usual();
    struct peer other;
    struct stage s;

    (void)state;
    stage_open(&s, options, 4);
    struct job_seen job = lease_one(&s);

    for (int i = 0; i < 2 * options.attempts_max; i++) {
        say_started(&s, job.lease);
        desk_turn(&s.d, options.silence_ms + 1001);
        assert_null(s.d.b->roster.by_peer);
        worker_says_ready(&s.worker, "host:1:1", 4);
        desk_turn(&s.d, 0);
        job = worker_gets_one(&s.worker);
        assert_false(job.alone);
    }
    say_started(&s, job.lease);
    desk_turn(&s.d, options.silence_ms + 1001);
    worker_joins(&s.d, &other, "host:2:2", 4);           /* the first one did not come back */
    assert_true(worker_gets_one(&other).alone);
    peer_leave(&other);
    stage_close(&s);
}

static void a_result_lost_on_its_way_is_noticed(void **state)
{
    struct broker_options options = usual();
    struct stage s;

    (void)state;
    stage_open(&s, options, 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    for (int i = 0; i < 5; i++) {            /* busy with other brokers' work all the time */
        worker_says_heartbeat(&s.worker, 4, 0, i + 1);
        desk_turn(&s.d, 1000);
    }
    job = worker_gets_one(&s.worker);
    assert_false(job.alone);                 /* nothing speaks against it */
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    stage_close(&s);
}

static void workers_are_told_how_much_waits(void **state)
{
    struct heard h;
    struct stage s;
    bool is_told = false;

    (void)state;
    stage_open(&s, usual(), 1);
    for (int64_t seed = 1; seed <= 8; seed++)
        client_wishes(&s.client, seed, seed);
    desk_turn(&s.d, 0);
    desk_turn(&s.d, 1001);
    while (link_receive(s.worker.link, &h.parcel)) {
        assert_int_equal(message_decode(frame_data(&h.parcel.body[0]),
                                        frame_len(&h.parcel.body[0]), MESSAGE_FROM_BROKER, &h.m,
                                        NULL), ERR_OK);
        is_told |= h.m.type == MESSAGE_HEARTBEAT && h.m.heartbeat.demand == 7;
        heard_release(&h);
    }
    assert_true(is_told);
    stage_close(&s);
}

/* ---- drain ---- */

static void a_drain_tells_early_waiters_to_ask_again_and_lets_renders_finish(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 2);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    client_wishes(&s.client, 2, 6);
    client_wishes(&s.client, 3, 7);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets_one(&s.worker).recipe.seed, 6);
    assert_false(broker_is_drained(s.d.b, s.d.now_ms));
    broker_drain(s.d.b, s.d.now_ms);
    worker_hears(&s.worker, MESSAGE_DRAIN);
    client_gets_error(&s.client, 2, ERR_RETRY);          /* HELD */
    client_gets_error(&s.client, 3, ERR_RETRY);          /* QUEUED */
    client_wishes(&s.client, 4, 8);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 4, ERR_RETRY);
    assert_false(broker_is_drained(s.d.b, s.d.now_ms));
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    assert_true(broker_is_drained(s.d.b, s.d.now_ms));
    peer_hears_nothing(&s.worker);
    stage_close(&s);
}

static void a_drain_ends_after_drain_ms_and_nobody_is_left_without_an_answer(void **state)
{
    struct broker_options options = desk_patient();
    struct stage s;

    (void)state;
    stage_open(&s, options, 2);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    broker_drain(s.d.b, s.d.now_ms);
    desk_turn(&s.d, options.drain_ms - 1);
    assert_false(broker_is_drained(s.d.b, s.d.now_ms));
    peer_hears_nothing(&s.client);
    desk_turn(&s.d, 1);
    assert_true(broker_is_drained(s.d.b, s.d.now_ms));
    client_gets_error(&s.client, 1, ERR_RETRY);
    stage_close(&s);
}

static void a_second_word_ends_a_drain_at_once(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    broker_drain(s.d.b, s.d.now_ms);
    desk_turn(&s.d, 1);
    assert_false(broker_is_drained(s.d.b, s.d.now_ms));
    peer_hears_nothing(&s.client);
    broker_drain(s.d.b, s.d.now_ms);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 1, ERR_RETRY);
    assert_true(broker_is_drained(s.d.b, s.d.now_ms));
    stage_close(&s);
}

static void a_drain_starts_nothing_again(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s, usual(), 2);
    struct job_seen job = lease_one(&s);

    say_started(&s, job.lease);
    broker_drain(s.d.b, s.d.now_ms);
    worker_hears(&s.worker, MESSAGE_DRAIN);
    worker_says_fail(&s.worker, job.lease, "device");
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);
    client_gets_error(&s.client, 1, ERR_RETRY);
    assert_true(broker_is_drained(s.d.b, s.d.now_ms));
    stage_close(&s);
}

static void a_drain_answers_early_requests_too(void **state)
{
    struct broker_options options = usual();
    struct peer client;
    struct desk d;

    (void)state;
    desk_open(&d, NULL, &options);
    client_join(&d, &client, LINK_DEALER);
    client_wishes(&client, 1, 5);
    desk_turn(&d, 0);
    broker_drain(d.b, d.now_ms);
    client_gets_error(&client, 1, ERR_RETRY);
    assert_true(broker_is_drained(d.b, d.now_ms));
    peer_leave(&client);
    desk_close(&d);
}

/* ---- what is malformed ---- */

static void malformed_parcels_are_answered_or_dropped_and_hurt_nobody(void **state)
{
    static const uint8_t SOME[] = { 0x81, 0xa1, 'v', 0x01, 0xc1, 0xff, 0x00, 0x93 };
    struct stage s;
    struct heard h;
    uint32_t random = 1;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    for (int i = 0; i < 3000; i++) {
        struct bytes frames[2];
        uint8_t noise[2][64];
        size_t count = 1 + (size_t)(i % 2);

        for (size_t f = 0; f < 2; f++) {
            frames[f] = (struct bytes){ noise[f], (size_t)(i % 64) };
            for (size_t at = 0; at < sizeof noise[f]; at++) {
                random = random * 1664525u + 1013904223u;
                noise[f][at] = random >> 30 ? (uint8_t)(random >> 16)
                                            : SOME[random >> 16 & 7];
            }
        }
        peer_say_bytes(&s.client, frames, count);
        peer_say_bytes(&s.worker, frames, count);
        desk_turn(&s.d, 0);
        while (peer_hears(&s.client, &h)) {
            assert_int_equal(h.m.type, MESSAGE_ERROR);
            heard_release(&h);
        }
    }
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 5);
    stage_close(&s);
}

static void each_port_takes_its_own_messages_only(void **state)
{
    struct stage s;
    struct message m;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    for (int type = 0; type < MESSAGE_TYPE_COUNT; type++) {
        unsigned from = message_info((enum message_type)type)->from;
        int64_t lease = job.lease;

        message_init(&m, (enum message_type)type, 77);
        if (message_info((enum message_type)type)->table ==
            message_info(MESSAGE_STARTED)->table)
            m.leases.leases = (struct numbers){ &lease, 1 };
        else if (type == MESSAGE_FAIL)
            m.fail = (struct message_fail){ lease, text_of("invalid"), text_of("") };
        else if (type != MESSAGE_CREDIT && type != MESSAGE_HEARTBEAT && type != MESSAGE_BYE)
            continue;                /* others need more; the wire's own tests have them */
        if (!(from & MESSAGE_FROM_CLIENT)) {
            peer_say(&s.client, &m, NULL);
            desk_turn(&s.d, 0);
            client_gets_error(&s.client, 77, ERR_TYPE);
        }
    }
    m = wish_of(78, 9);
    peer_say(&s.worker, &m, NULL);           /* a client's message at the workers' port */
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);
    assert_int_equal(s.d.b->renders.count[RENDER_HELD], 1);
    assert_int_equal(s.d.b->count.submitted, 1);
    m = wish_of(79, 9);
    peer_say(&s.client, &m, "a second frame");
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 79, ERR_INVALID);
    stage_close(&s);
}

static void strangers_at_the_workers_port_change_nothing(void **state)
{
    struct link_options options = { .kind = LINK_DEALER, .frame_max = MESSAGE_MAP_MAX };
    struct peer stranger;
    struct stage s;
    struct err e;

    (void)state;
    stage_open(&s, usual(), 4);
    struct job_seen job = lease_one(&s);

    assert_int_equal(link_create(s.d.context, &options, &stranger.link, &e), ERR_OK);
    assert_int_equal(link_connect(stranger.link, "inproc://workers", &e), ERR_OK);
    worker_says(&stranger, MESSAGE_STARTED, job.lease);
    worker_says(&stranger, MESSAGE_HANDBACK, job.lease);
    worker_says_result(&stranger, &job);
    worker_says_fail(&stranger, job.lease, "invalid");
    worker_says_bye(&stranger);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&stranger);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->count.late, 2);
    assert_int_equal(s.d.b->renders.count[RENDER_HELD], 1);
    peer_leave(&stranger);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_goes_from_client_to_worker_and_back),
        cmocka_unit_test(a_wish_that_no_recipe_can_be_is_refused_at_once),
        cmocka_unit_test(a_class_for_an_unconditional_model_is_dropped_with_a_warning),
        cmocka_unit_test(options_reach_the_worker_as_the_lines_of_the_recipe),
        cmocka_unit_test(options_that_cannot_be_meant_are_refused_in_words),
        cmocka_unit_test(transforms_make_renders_of_their_own_that_may_share_a_batch),
        cmocka_unit_test(a_noise_that_nothing_reads_is_dropped_with_a_warning),
        cmocka_unit_test(two_clients_share_one_render),
        cmocka_unit_test(a_waiter_may_join_a_render_in_every_state),
        cmocka_unit_test(seeds_are_answered_one_by_one_and_then_done),
        cmocka_unit_test(seeds_that_are_all_refused_are_done_at_once),
        cmocka_unit_test(seeds_over_req_are_refused_with_use_dealer),
        cmocka_unit_test(the_broker_holds_no_more_than_waiters_max),
        cmocka_unit_test(one_client_holds_no_more_than_client_waiters_max),
        cmocka_unit_test(an_early_request_waits_for_the_first_worker),
        cmocka_unit_test(an_early_request_that_no_worker_comes_for_is_an_unknown_model),
        cmocka_unit_test(an_early_request_is_answered_by_its_deadline),
        cmocka_unit_test(an_early_request_can_be_cancelled),
        cmocka_unit_test(early_requests_are_bounded_in_number_and_bytes),
        cmocka_unit_test(what_is_queued_ends_when_no_worker_has_its_model_for_the_grace),
        cmocka_unit_test(credit_is_never_exceeded),
        cmocka_unit_test(high_goes_before_normal_before_low),
        cmocka_unit_test(clients_take_turns_inside_a_level),
        cmocka_unit_test(a_short_queue_is_spread_over_the_workers),
        cmocka_unit_test(what_is_handed_back_goes_to_the_head_and_is_no_attempt),
        cmocka_unit_test(a_worker_that_hands_back_gets_nothing_before_its_next_word),
        cmocka_unit_test(a_recall_takes_no_credit_from_the_worker),
        cmocka_unit_test(what_a_lost_worker_had_not_started_is_no_attempt),
        cmocka_unit_test(a_worker_that_leaves_in_the_middle_of_a_handover_loses_nothing),
        cmocka_unit_test(status_is_answered_while_a_worker_is_going),
        cmocka_unit_test(a_silent_worker_is_lost_after_silence_ms),
        cmocka_unit_test(heartbeats_keep_a_worker),
        cmocka_unit_test(a_hung_worker_loses_its_leases_and_gets_nothing_until_it_moves),
        cmocka_unit_test(a_worker_that_holds_nothing_is_not_hung),
        cmocka_unit_test(progress_keeps_a_slow_render),
        cmocka_unit_test(a_measured_batch_bounds_the_stall),
        cmocka_unit_test(a_batch_larger_than_any_before_gets_the_time_it_needs),
        cmocka_unit_test(a_worker_that_has_become_slow_is_taken_for_hung_once),
        cmocka_unit_test(a_worker_that_claims_to_be_endlessly_slow_is_not_believed),
        cmocka_unit_test(a_fail_that_may_pass_is_tried_alone_by_another_worker),
        cmocka_unit_test(where_there_is_one_worker_it_tries_again_itself),
        cmocka_unit_test(a_render_that_fails_attempts_max_times_is_poison),
        cmocka_unit_test(workers_that_leave_do_not_make_a_render_poison),
        cmocka_unit_test(a_fail_that_will_not_pass_ends_with_its_own_code),
        cmocka_unit_test(batch_mates_of_a_deadly_render_run_alone),
        cmocka_unit_test(a_worker_that_lies_is_not_believed),
        cmocka_unit_test(an_empty_picture_is_no_result),
        cmocka_unit_test(another_workers_lease_is_nobodys_business),
        cmocka_unit_test(what_a_dead_worker_was_committing_is_no_attempt),
        cmocka_unit_test(without_the_ledger_what_is_committing_stays_where_it_is),
        cmocka_unit_test(a_late_result_is_counted_and_frees_no_credit_twice),
        cmocka_unit_test(a_waiter_ends_at_its_deadline_and_the_held_render_is_recalled),
        cmocka_unit_test(a_render_that_has_started_finishes_though_nobody_waits),
        cmocka_unit_test(a_render_that_nobody_waits_for_is_not_tried_again),
        cmocka_unit_test(a_cancelled_waiter_does_not_cancel_the_other),
        cmocka_unit_test(a_request_is_cancelled_from_its_own_socket_only),
        cmocka_unit_test(a_cancel_ends_what_is_left_of_seeds),
        cmocka_unit_test(a_recalled_render_may_be_wanted_again),
        cmocka_unit_test(without_the_ledger_only_stored_pictures_are_ledger_down),
        cmocka_unit_test(who_wants_only_stored_ones_may_share_a_render_but_not_keep_it),
        cmocka_unit_test(a_picture_of_another_class_than_required_is_a_conflict),
        cmocka_unit_test(a_receipt_is_an_image_without_its_frame),
        cmocka_unit_test(a_worker_is_told_the_most_that_anybody_who_waits_wants),
        cmocka_unit_test(who_joins_late_and_wants_more_than_the_worker_was_told_waits_on),
        cmocka_unit_test(who_would_wait_on_at_a_broker_that_leaves_is_referred),
        cmocka_unit_test(a_receipt_where_a_file_was_asked_for_is_no_result),
        cmocka_unit_test(a_client_that_vanished_costs_nothing_after_a_second),
        cmocka_unit_test(a_client_that_does_not_read_is_dropped_and_the_others_are_served),
        cmocka_unit_test(a_client_that_reads_slowly_gets_everything_in_order),
        cmocka_unit_test(a_strangers_heartbeat_is_answered_by_introduce),
        cmocka_unit_test(a_worker_that_comes_back_over_a_new_connection_begins_anew),
        cmocka_unit_test(a_result_of_a_lost_lease_still_answers_what_waits_again),
        cmocka_unit_test(a_worker_that_was_only_cut_off_spoils_no_picture),
        cmocka_unit_test(a_result_lost_on_its_way_is_noticed),
        cmocka_unit_test(workers_are_told_how_much_waits),
        cmocka_unit_test(a_drain_tells_early_waiters_to_ask_again_and_lets_renders_finish),
        cmocka_unit_test(a_drain_ends_after_drain_ms_and_nobody_is_left_without_an_answer),
        cmocka_unit_test(a_second_word_ends_a_drain_at_once),
        cmocka_unit_test(a_drain_starts_nothing_again),
        cmocka_unit_test(a_drain_answers_early_requests_too),
        cmocka_unit_test(malformed_parcels_are_answered_or_dropped_and_hurt_nobody),
        cmocka_unit_test(each_port_takes_its_own_messages_only),
        cmocka_unit_test(strangers_at_the_workers_port_change_nothing),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
