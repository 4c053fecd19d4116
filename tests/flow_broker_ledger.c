/* The rows of the broker's table of states that need a ledger: a real PostgreSQL, whose answers
 * come when the test lets them, and the clock turned by hand. */
#include "base/clock.h"
#include "base/log.h"
#include "tests/kit_broker.h"
#include "tests/kit_postgres.h"

#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONG_MS = 1000000000, STORED = 5, MISSING = 6 };

static struct kit_postgres pg;

/* ---- the ledger ---- */

static struct recipe recipe_of(int64_t seed)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct model_facts facts = desk_cats();
    struct recipe recipe;
    struct err e = { .code = ERR_OK };

    request.seed = (uint32_t)seed;
    if (recipe_resolve(&request, &facts, &recipe, NULL, &e))
        fail_msg("%s", e.msg);
    return recipe;
}

/* Stores seeds first..last under another numerics class than the test's workers have. */
static void store(int64_t first, int64_t last)
{
    struct ledger_run run = { .worker = "test:1:1", .version = "0", .backend = "cpu", .device = "",
                              .driver = "", .numerics_class = "cpu-stored-1", .encoder = "test-1",
                              .libraries = "" };
    struct model_facts facts = desk_cats();
    struct ledger_model model = { "cats", &facts, "stylegan2", "" };
    struct ledger *ledger;
    int64_t run_id;
    struct err e = { .code = ERR_OK };

    if (ledger_open(pg.conninfo, "test", &ledger, &e) ||
        ledger_start_run(ledger, &run, &run_id, &e) || ledger_put_model(ledger, &model, &e))
        fail_msg("%s", e.msg);
    for (int64_t seed = first; seed <= last; seed++) {
        struct ledger_stored stored;
        struct ledger_image image;
        char jpeg[32];

        desk_picture(seed, jpeg);
        image = (struct ledger_image){
            .recipe = recipe_of(seed), .file_sha = digest_of(jpeg, strlen(jpeg)),
            .core_sha = digest_of(jpeg, strlen(jpeg)), .run_id = run_id,
            .numerics_class = run.numerics_class, .encoder = run.encoder, .batch_size = 1,
            .data = (const uint8_t *)jpeg, .len = strlen(jpeg), .keep = true,
        };
        if (ledger_store(ledger, &image, 1, &stored, &e))
            fail_msg("%s", e.msg);
        free(stored.data);
    }
    ledger_close(&ledger);
}

static int begin(void **state)
{
    struct err e = { .code = ERR_OK };

    (void)state;
    kit_postgres_start(&pg);
    if (ledger_migrate(pg.conninfo, false, NULL, NULL, &e)) {
        print_error("%s\n", e.msg);
        return -1;
    }
    store(STORED, STORED);
    return 0;
}

static int end(void **state)
{
    (void)state;
    kit_postgres_destroy(&pg);
    return 0;
}

/* Look-ups wait from here until let_go. */
static PGconn *hold_images(void)
{
    PGconn *conn = PQconnectdb(pg.conninfo);
    PGresult *result = PQexec(conn, "BEGIN; LOCK TABLE images IN ACCESS EXCLUSIVE MODE");

    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    return conn;
}

static void let_go(PGconn *conn)
{
    PQfinish(conn);
}

/* ---- the scene ---- */

struct scene {
    struct desk d;
    struct peer client, worker;
};

static struct broker_options patient(void)
{
    struct broker_options o = BROKER_OPTIONS_DEFAULT;

    o.silence_ms = LONG_MS;
    o.stall_ms = LONG_MS;
    return o;
}

/* The first tick asks for names: that answer is taken before anything else happens. */
static void open_scene(struct scene *s, struct broker_options options, int64_t credit)
{
    desk_open(&s->d, pg.conninfo, &options);
    client_join(&s->d, &s->client, LINK_DEALER);
    worker_joins(&s->d, &s->worker, "host:1:1", credit);
    desk_await_scribe(&s->d);
    desk_turn(&s->d, 0);
}

static void close_scene(struct scene *s)
{
    peer_leave(&s->client);
    peer_leave(&s->worker);
    desk_close(&s->d);
}

static void wish_with(struct scene *s, int64_t id, int64_t seed, enum message_cache cache)
{
    struct message wish = wish_of(id, seed);

    wish.generate.cache = cache;
    peer_say(&s->client, &wish, NULL);
}

/* Takes the answers to what was asked so far. */
static void look_up(struct scene *s)
{
    desk_feed(&s->d);
    desk_await_scribe(&s->d);
    desk_turn(&s->d, 0);
}

/* The same where names may be asked for as well, whose answer comes when it likes. */
static void look_all_up(struct scene *s)
{
    desk_feed(&s->d);
    while (s->d.b->renders.count[RENDER_LOOKUP] > 0) {
        desk_await_scribe(&s->d);
        desk_turn(&s->d, 0);
    }
}

/* Asks until the scribe has seen the ledger go or come. */
static void await_ledger(struct scene *s, bool up)
{
    while (scribe_ledger_is_up(s->d.scribe) != up) {
        struct errand *errand = errand_create(ERRAND_FIND);

        assert_non_null(errand);
        assert_true(scribe_ask(s->d.scribe, errand));
        desk_await_scribe(&s->d);
        desk_turn(&s->d, 0);
    }
}

/* ---- new, LOOKUP ---- */

static void a_stored_picture_needs_no_worker(void **state)
{
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    client_wishes(&s.client, 1, STORED);
    look_up(&s);
    client_gets_image(&s.client, 1, STORED);
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&s.worker);
    assert_int_equal(s.d.b->count.ledger_hits, 1);
    assert_null(s.d.b->renders.by_key);
    close_scene(&s);
}

/* A broker that no worker has come to yet. */
static void open_without_worker(struct scene *s, struct broker_options options)
{
    desk_open(&s->d, pg.conninfo, &options);
    client_join(&s->d, &s->client, LINK_DEALER);
}

static void a_stored_picture_needs_no_worker_that_ever_came(void **state)
{
    struct broker_options options = patient();
    struct model_facts cats = desk_cats();
    struct digest_hex hex = digest_hex(&cats.digest);
    struct message wish;
    char spec[32];
    struct scene s;

    (void)state;
    snprintf(spec, sizeof spec, "gone@%.8s", hex.text);
    open_without_worker(&s, options);
    client_wishes(&s.client, 1, STORED);         /* kept till the ledger's models are there */
    desk_turn(&s.d, 0);
    assert_int_equal(s.d.b->parked_count, 1);
    desk_await_scribe(&s.d);
    desk_turn(&s.d, 0);
    assert_int_equal(s.d.b->parked_count, 0);
    look_all_up(&s);
    client_gets_image(&s.client, 1, STORED);
    desk_turn(&s.d, options.grace_ms + 1000);
    wish = wish_of(2, STORED);
    wish.generate.model = text_of(spec);
    wish.generate.quality = 89;                  /* not in memory, and not stored */
    peer_say(&s.client, &wish, NULL);
    look_all_up(&s);
    client_gets_error(&s.client, 2, ERR_NO_WORKER);
    wish = wish_of(3, STORED);
    wish.generate.model = text_of(hex.text);
    wish.generate.cache = MESSAGE_CACHE_ONLY;
    peer_say(&s.client, &wish, NULL);
    look_all_up(&s);
    client_gets_image(&s.client, 3, STORED);
    wish_with(&s, 4, MISSING, MESSAGE_CACHE_ONLY);
    look_all_up(&s);
    client_gets_error(&s.client, 4, ERR_NOT_FOUND);
    wish_with(&s, 5, STORED, MESSAGE_CACHE_BYPASS);
    desk_feed(&s.d);
    client_gets_error(&s.client, 5, ERR_NO_WORKER);      /* there is nothing to look up */
    assert_null(s.d.b->renders.by_key);
    peer_leave(&s.client);
    desk_close(&s.d);
}

static void what_is_not_stored_waits_the_grace_for_a_worker(void **state)
{
    struct broker_options options = patient();
    struct scene s;

    (void)state;
    open_without_worker(&s, options);
    desk_turn(&s.d, 0);                          /* asks for the models */
    desk_await_scribe(&s.d);
    desk_turn(&s.d, options.grace_ms - 1000);
    client_wishes(&s.client, 1, MISSING);
    look_all_up(&s);
    peer_hears_nothing(&s.client);
    worker_joins(&s.d, &s.worker, "host:1:1", 4);
    desk_turn(&s.d, 0);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, MISSING);
    close_scene(&s);
}

static void a_picture_that_is_not_stored_is_rendered(void **state)
{
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    client_wishes(&s.client, 1, MISSING);
    desk_feed(&s.d);
    assert_int_equal(s.d.b->renders.count[RENDER_LOOKUP], 1);
    look_up(&s);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, MISSING);
    close_scene(&s);
}

static void a_page_is_looked_up_together(void **state)
{
    enum { PAGE = 150 };             /* more than one look-up takes */
    int64_t seeds[PAGE];
    struct message wish = wish_of(1, -1);
    struct scene s;

    (void)state;
    store(1000, 1000 + PAGE - 1);
    open_scene(&s, patient(), 4);
    for (int i = 0; i < PAGE; i++)
        seeds[i] = 1000 + i;
    wish.generate.seeds = (struct numbers){ seeds, PAGE };
    peer_say(&s.client, &wish, NULL);
    desk_feed(&s.d);
    while (s.d.b->waiters > 0) {
        desk_await_scribe(&s.d);
        desk_turn(&s.d, 0);
    }
    for (int i = 0; i < PAGE; i++)
        client_gets_image(&s.client, 1, 1000 + i);
    client_gets_done(&s.client, 1, PAGE, 0);
    peer_hears_nothing(&s.worker);
    close_scene(&s);
}

static void a_waiter_joins_a_look_up(void **state)
{
    struct peer other;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    client_join(&s.d, &other, LINK_DEALER);
    client_wishes(&s.client, 1, STORED);
    client_wishes(&other, 2, STORED);
    look_up(&s);
    client_gets_image(&s.client, 1, STORED);
    client_gets_image(&other, 2, STORED);
    assert_int_equal(s.d.b->count.ledger_hits, 1);
    peer_leave(&other);
    close_scene(&s);
}

static void a_look_up_that_nobody_waits_for_ends(void **state)
{
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    client_wishes(&s.client, 1, STORED);
    client_cancels(&s.client, 2, 1);
    desk_feed(&s.d);
    client_gets_done(&s.client, 2, 1, 0);
    assert_null(s.d.b->renders.by_key);
    look_up(&s);                             /* the answer finds nobody */
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&s.worker);
    close_scene(&s);
}

static void a_slow_look_up_holds_a_render_for_lookup_ms_only(void **state)
{
    struct broker_options options = patient();
    struct scene s;
    PGconn *conn;

    (void)state;
    open_scene(&s, options, 4);
    conn = hold_images();
    client_wishes(&s.client, 1, MISSING);
    assert_true(desk_turn(&s.d, 0) <= s.d.now_ms + options.lookup_ms);
    desk_turn(&s.d, options.lookup_ms - 1);
    peer_hears_nothing(&s.worker);
    desk_turn(&s.d, 1);
    struct job_seen job = worker_gets_one(&s.worker);

    let_go(conn);
    desk_await_scribe(&s.d);                 /* the miss comes late and changes nothing */
    desk_turn(&s.d, 0);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, MISSING);
    peer_hears_nothing(&s.client);
    close_scene(&s);
}

static void a_late_hit_still_saves_what_is_queued(void **state)
{
    struct broker_options options = patient();
    struct scene s;
    PGconn *conn;

    (void)state;
    open_scene(&s, options, 0);
    conn = hold_images();
    client_wishes(&s.client, 1, STORED);
    desk_turn(&s.d, 0);
    desk_turn(&s.d, options.lookup_ms);
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
    let_go(conn);
    look_up(&s);
    client_gets_image(&s.client, 1, STORED);
    assert_null(s.d.b->renders.by_key);
    worker_says_heartbeat(&s.worker, 4, 0, 0);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.worker);
    close_scene(&s);
}

static void a_late_hit_leaves_a_leased_render_alone(void **state)
{
    struct broker_options options = patient();
    struct scene s;
    PGconn *conn;

    (void)state;
    open_scene(&s, options, 4);
    conn = hold_images();
    client_wishes(&s.client, 1, STORED);
    desk_turn(&s.d, 0);
    desk_turn(&s.d, options.lookup_ms);
    struct job_seen job = worker_gets_one(&s.worker);

    let_go(conn);
    look_up(&s);
    peer_hears_nothing(&s.client);           /* the worker's commit finds the winner */
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, STORED);
    peer_hears_nothing(&s.client);
    close_scene(&s);
}

static void a_lookup_ms_of_nothing_waits_for_no_look_up(void **state)
{
    struct broker_options options = patient();
    struct scene s;
    PGconn *conn;

    (void)state;
    options.lookup_ms = 0;
    open_scene(&s, options, 4);
    conn = hold_images();
    client_wishes(&s.client, 1, MISSING);
    wish_with(&s, 2, STORED, MESSAGE_CACHE_ONLY);        /* this one has to */
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets_one(&s.worker).recipe.seed, MISSING);
    peer_hears_nothing(&s.client);
    let_go(conn);
    while (s.d.b->renders.count[RENDER_LOOKUP] > 0)
        look_up(&s);
    client_gets_image(&s.client, 2, STORED);
    close_scene(&s);
}

static void a_withdrawn_picture_is_not_rendered_again(void **state)
{
    char sql[256];
    struct scene s;
    struct recipe recipe = recipe_of(77);
    struct digest subject = recipe_subject(&recipe);

    (void)state;
    store(77, 77);
    snprintf(sql, sizeof sql, "INSERT INTO withdrawn (subject, reason) VALUES ('\\x%s', 'test')",
             digest_hex(&subject).text);
    kit_postgres_exec(pg.conninfo, sql);
    open_scene(&s, patient(), 4);
    client_wishes(&s.client, 1, 77);
    look_up(&s);
    client_gets_error(&s.client, 1, ERR_WITHDRAWN);
    peer_hears_nothing(&s.worker);
    close_scene(&s);
}

/* ---- cache, class ---- */

static void only_answers_what_is_stored(void **state)
{
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    wish_with(&s, 1, STORED, MESSAGE_CACHE_ONLY);
    look_up(&s);
    client_gets_image(&s.client, 1, STORED);
    wish_with(&s, 2, MISSING, MESSAGE_CACHE_ONLY);
    look_up(&s);
    client_gets_error(&s.client, 2, ERR_NOT_FOUND);
    peer_hears_nothing(&s.worker);
    assert_null(s.d.b->renders.by_key);
    close_scene(&s);
}

static void only_waits_for_its_look_up_while_others_go_on(void **state)
{
    struct broker_options options = patient();
    struct scene s;
    PGconn *conn;

    (void)state;
    open_scene(&s, options, 0);
    conn = hold_images();
    wish_with(&s, 1, MISSING, MESSAGE_CACHE_ONLY);
    client_wishes(&s.client, 2, MISSING);
    desk_turn(&s.d, 0);
    desk_turn(&s.d, options.lookup_ms);
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
    peer_hears_nothing(&s.client);
    let_go(conn);
    look_up(&s);
    client_gets_error(&s.client, 1, ERR_NOT_FOUND);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
    close_scene(&s);
}

static void only_still_waits_for_its_look_up_when_the_others_have_gone(void **state)
{
    struct broker_options options = patient();
    struct scene s;
    PGconn *conn;

    (void)state;
    open_scene(&s, options, 0);
    conn = hold_images();
    wish_with(&s, 1, STORED, MESSAGE_CACHE_ONLY);
    client_wishes(&s.client, 2, STORED);
    desk_turn(&s.d, 0);
    desk_turn(&s.d, options.lookup_ms);
    client_cancels(&s.client, 3, 2);
    desk_turn(&s.d, 0);
    client_gets_done(&s.client, 3, 1, 0);
    peer_hears_nothing(&s.client);
    let_go(conn);
    look_up(&s);
    client_gets_image(&s.client, 1, STORED);
    assert_null(s.d.b->renders.by_key);
    close_scene(&s);
}

static void what_is_stored_is_not_refused_for_lack_of_time(void **state)
{
    struct message wish = wish_of(2, STORED);
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    client_wishes(&s.client, 1, MISSING);
    look_up(&s);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result_after(&s.worker, &job, 1000000);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, MISSING);
    wish.generate.deadline_ms = 500;
    peer_say(&s.client, &wish, NULL);
    look_up(&s);
    client_gets_image(&s.client, 2, STORED);
    wish.id = 3;
    wish.generate.seed = MISSING + 1;
    peer_say(&s.client, &wish, NULL);
    look_up(&s);
    client_gets_error(&s.client, 3, ERR_DEADLINE);
    close_scene(&s);
}

static void bypass_renders_what_is_stored(void **state)
{
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    wish_with(&s, 1, STORED, MESSAGE_CACHE_BYPASS);
    desk_turn(&s.d, 0);
    assert_int_equal(worker_gets_one(&s.worker).recipe.seed, STORED);
    close_scene(&s);
}

static void bypass_takes_no_stored_picture_from_those_who_want_only_that(void **state)
{
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 0);
    wish_with(&s, 1, STORED, MESSAGE_CACHE_ONLY);
    wish_with(&s, 2, STORED, MESSAGE_CACHE_BYPASS);
    look_up(&s);
    client_gets_image(&s.client, 1, STORED);
    peer_hears_nothing(&s.client);
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
    close_scene(&s);
}

static void a_stored_picture_of_another_class_than_required_is_a_conflict(void **state)
{
    struct message wish = wish_of(1, STORED);
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    wish.generate.require_class = text_of("cpu-test-1");
    peer_say(&s.client, &wish, NULL);
    look_up(&s);
    client_gets_error(&s.client, 1, ERR_CLASS_CONFLICT);
    wish.id = 2;
    wish.generate.require_class = text_of("cpu-stored-1");
    peer_say(&s.client, &wish, NULL);
    desk_turn(&s.d, 0);                      /* it is in memory now */
    client_gets_image(&s.client, 2, STORED);
    close_scene(&s);
}

/* ---- memory ---- */

/* The next answer is seed's picture from there. */
static void gets_image_from(struct scene *s, int64_t id, int64_t seed, enum message_source source)
{
    struct heard h;
    char jpeg[32];

    if (!peer_hears(&s->client, &h))
        fail_msg("nothing came, where a picture was expected");
    desk_picture(seed, jpeg);
    assert_int_equal(h.m.type, MESSAGE_IMAGE);
    assert_int_equal(h.m.id, id);
    assert_int_equal(h.m.image.seed, seed);
    assert_int_equal(h.m.image.source, source);
    assert_int_equal(h.m.image.bytes, strlen(jpeg));
    assert_int_equal(frame_len(&h.parcel.body[1]), strlen(jpeg));
    assert_memory_equal(frame_data(&h.parcel.body[1]), jpeg, strlen(jpeg));
    heard_release(&h);
}

/* Made by the worker, or found in the ledger; then in memory. */
static void make(struct scene *s, int64_t seed)
{
    struct job_seen job;

    client_wishes(&s->client, 1, seed);
    look_up(s);
    job = worker_gets_one(&s->worker);
    worker_says_result(&s->worker, &job);
    desk_turn(&s->d, 0);
    gets_image_from(s, 1, seed, MESSAGE_SOURCE_RENDER);
}

static void find(struct scene *s, int64_t seed)
{
    client_wishes(&s->client, 1, seed);
    look_up(s);
    gets_image_from(s, 1, seed, MESSAGE_SOURCE_LEDGER);
}

static void what_was_made_is_answered_from_memory(void **state)
{
    struct message m;
    struct heard h;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    make(&s, MISSING);
    client_wishes(&s.client, 2, MISSING);
    client_wishes(&s.client, 0, MISSING);    /* no id */
    desk_feed(&s.d);
    assert_null(s.d.b->renders.by_key);      /* no render, no look-up, no worker */
    gets_image_from(&s, 2, MISSING, MESSAGE_SOURCE_MEMORY);
    gets_image_from(&s, 0, MISSING, MESSAGE_SOURCE_MEMORY);
    desk_turn(&s.d, 0);
    peer_hears_nothing(&s.client);
    peer_hears_nothing(&s.worker);
    message_init(&m, MESSAGE_STATUS, 3);
    peer_say(&s.client, &m, NULL);
    desk_turn(&s.d, 0);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.status_report.memory_hits, 2);
    assert_int_equal(h.m.status_report.ledger_hits, 0);
    assert_int_equal(h.m.status_report.answered, 3);
    assert_int_equal(h.m.status_report.memory_bytes, s.d.b->cache.bytes);
    assert_true(h.m.status_report.memory_bytes > 0);
    heard_release(&h);
    close_scene(&s);
}

static void what_was_found_is_answered_from_memory(void **state)
{
    struct scene s;
    PGconn *conn;

    (void)state;
    open_scene(&s, patient(), 4);
    find(&s, STORED);
    conn = hold_images();                    /* the ledger is not asked */
    client_wishes(&s.client, 2, STORED);
    wish_with(&s, 3, STORED, MESSAGE_CACHE_ONLY);
    desk_feed(&s.d);
    gets_image_from(&s, 2, STORED, MESSAGE_SOURCE_MEMORY);
    gets_image_from(&s, 3, STORED, MESSAGE_SOURCE_MEMORY);
    let_go(conn);
    close_scene(&s);
}

/* The worker was told to send no file; by now it is stored. */
static void who_joins_late_and_wants_the_file_gets_it_from_the_ledger(void **state)
{
    enum { SEED = 80 };
    struct message wish = wish_of(1, SEED);
    struct heard h;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    wish.generate.want = MESSAGE_WANT_RECEIPT;
    peer_say(&s.client, &wish, NULL);
    look_up(&s);
    struct job_seen job = worker_gets_one(&s.worker);

    assert_int_equal(job.want, MESSAGE_WANT_RECEIPT);
    client_wishes(&s.client, 2, SEED);
    desk_turn(&s.d, 0);
    store(SEED, SEED);
    worker_says_result(&s.worker, &job);
    look_up(&s);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_RECEIPT);
    heard_release(&h);
    gets_image_from(&s, 2, SEED, MESSAGE_SOURCE_LEDGER);
    peer_hears_nothing(&s.worker);
    close_scene(&s);
}

static void a_receipts_picture_is_not_in_memory_but_in_the_ledger(void **state)
{
    enum { SEED = 82 };
    struct message wish = wish_of(1, SEED);
    struct heard h;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    wish.generate.want = MESSAGE_WANT_RECEIPT;
    peer_say(&s.client, &wish, NULL);
    look_up(&s);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_RECEIPT);
    heard_release(&h);
    assert_null(s.d.b->cache.by_key);
    store(SEED, SEED);
    client_wishes(&s.client, 2, SEED);
    look_up(&s);
    gets_image_from(&s, 2, SEED, MESSAGE_SOURCE_LEDGER);
    close_scene(&s);
}

/* The memory may have what the ledger has lost. */
static void who_wants_a_file_put_back_is_not_answered_from_memory(void **state)
{
    enum { SEED = 81 };
    struct message wish = wish_of(2, SEED);
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    client_wishes(&s.client, 1, SEED);
    look_up(&s);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says_result(&s.worker, &job);         /* it says so, but nothing is stored */
    desk_turn(&s.d, 0);
    gets_image_from(&s, 1, SEED, MESSAGE_SOURCE_RENDER);
    wish.generate.keep = MESSAGE_KEEP_REFILL;
    peer_say(&s.client, &wish, NULL);
    look_up(&s);
    job = worker_gets_one(&s.worker);
    assert_int_equal(job.keep, MESSAGE_KEEP_REFILL);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    gets_image_from(&s, 2, SEED, MESSAGE_SOURCE_RENDER);
    store(SEED, SEED);
    wish.id = 3;
    peer_say(&s.client, &wish, NULL);
    look_up(&s);                                 /* it is there: nothing to put back */
    gets_image_from(&s, 3, SEED, MESSAGE_SOURCE_LEDGER);
    peer_hears_nothing(&s.worker);
    close_scene(&s);
}

/* Word for word, beside where it comes from and what the making took. */
static void an_answer_from_memory_says_what_the_first_one_said(void **state)
{
    enum { ANSWERS = 4 };
    struct heard h[ANSWERS];
    struct message wish = wish_of(1, 70);
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    for (int i = 0; i < ANSWERS; i++) {
        wish.id = i + 1;
        wish.generate.class_index = i == 2 ? 1 : -1;     /* the same recipe, with a warning */
        wish.generate.want = i == 3 ? MESSAGE_WANT_RECEIPT : MESSAGE_WANT_IMAGE;
        peer_say(&s.client, &wish, NULL);
        if (i == 0) {
            look_up(&s);
            struct job_seen job = worker_gets_one(&s.worker);

            worker_says_result(&s.worker, &job);
        }
        desk_turn(&s.d, 0);
        assert_true(peer_hears(&s.client, &h[i]));
    }
    for (int i = 1; i < ANSWERS; i++) {
        const struct message_image *a = &h[0].m.image, *b = &h[i].m.image;

        assert_int_equal(h[i].m.type, i == 3 ? MESSAGE_RECEIPT : MESSAGE_IMAGE);
        assert_int_equal(h[i].parcel.count, i == 3 ? 1 : 2);
        assert_int_equal(h[i].m.id, i + 1);
        assert_true(digest_equal(&a->recipe_key, &b->recipe_key));
        assert_true(digest_equal(&a->sha256, &b->sha256));
        assert_true(digest_equal(&a->core_sha256, &b->core_sha256));
        assert_true(digest_equal(&a->model, &b->model));
        assert_int_equal(a->recipe.len, b->recipe.len);
        assert_memory_equal(a->recipe.data, b->recipe.data, a->recipe.len);
        assert_true(text_is(b->numerics_class, "cpu-test-1"));
        assert_true(text_is(b->encoder, "test-1"));
        assert_int_equal(a->run, b->run);
        assert_int_equal(a->batch, b->batch);
        assert_int_equal(a->bytes, b->bytes);
        assert_int_equal(a->psi, b->psi);
        assert_int_equal(b->source, MESSAGE_SOURCE_MEMORY);
        assert_int_equal(b->render_ms + b->encode_ms + b->store_ms + b->queue_ms, 0);
        assert_true((b->warning.len > 0) == (i == 2));
    }
    for (int i = 0; i < ANSWERS; i++)
        heard_release(&h[i]);
    assert_int_equal(s.d.b->count.memory_hits, ANSWERS - 1);
    close_scene(&s);
}

static void a_page_is_answered_from_where_each_picture_is(void **state)
{
    int64_t seeds[] = { 70, STORED, 71 };
    struct message wish = wish_of(2, -1);
    struct job_seen job;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    make(&s, 70);
    wish.generate.seeds = (struct numbers){ seeds, 3 };
    peer_say(&s.client, &wish, NULL);
    desk_feed(&s.d);
    gets_image_from(&s, 2, 70, MESSAGE_SOURCE_MEMORY);
    while (s.d.b->renders.count[RENDER_LOOKUP] > 0)
        look_up(&s);
    gets_image_from(&s, 2, STORED, MESSAGE_SOURCE_LEDGER);
    job = worker_gets_one(&s.worker);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    gets_image_from(&s, 2, 71, MESSAGE_SOURCE_RENDER);
    client_gets_done(&s.client, 2, 3, 0);
    peer_say(&s.client, &wish, NULL);        /* and once more, all of it from memory */
    desk_feed(&s.d);
    for (int i = 0; i < 3; i++)
        gets_image_from(&s, 2, seeds[i], MESSAGE_SOURCE_MEMORY);
    client_gets_done(&s.client, 2, 3, 0);
    close_scene(&s);
}

static void another_class_in_memory_is_a_conflict(void **state)
{
    struct message wish = wish_of(2, STORED);
    struct heard h;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    find(&s, STORED);
    wish.generate.require_class = text_of("cpu-test-1");
    peer_say(&s.client, &wish, NULL);
    desk_feed(&s.d);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_ERROR);
    assert_true(text_is(h.m.error.code, "class_conflict"));
    assert_true(text_is(h.m.error.message, "the picture was made by cpu-stored-1, not cpu-test-1"));
    assert_int_equal(h.m.error.seed, STORED);
    heard_release(&h);
    wish.id = 3;
    wish.generate.require_class = text_of("cpu-stored-1");
    peer_say(&s.client, &wish, NULL);
    desk_feed(&s.d);
    gets_image_from(&s, 3, STORED, MESSAGE_SOURCE_MEMORY);
    close_scene(&s);
}

static void memory_answers_when_no_worker_is_left(void **state)
{
    struct broker_options options = patient();
    struct scene s;

    (void)state;
    open_scene(&s, options, 4);
    find(&s, STORED);
    worker_says_bye(&s.worker);
    desk_turn(&s.d, 0);
    desk_turn(&s.d, options.grace_ms + 1000);
    client_wishes(&s.client, 2, STORED);
    client_wishes(&s.client, 3, MISSING);
    desk_feed(&s.d);
    gets_image_from(&s, 2, STORED, MESSAGE_SOURCE_MEMORY);
    look_all_up(&s);
    client_gets_error(&s.client, 3, ERR_NO_WORKER);
    close_scene(&s);
}

static void bypass_passes_memory_and_the_first_picture_stays(void **state)
{
    struct job_seen job;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    find(&s, STORED);
    wish_with(&s, 2, STORED, MESSAGE_CACHE_BYPASS);
    desk_turn(&s.d, 0);
    job = worker_gets_one(&s.worker);
    client_wishes(&s.client, 3, STORED);     /* does not wait for it */
    desk_feed(&s.d);
    gets_image_from(&s, 3, STORED, MESSAGE_SOURCE_MEMORY);
    worker_says_result(&s.worker, &job);     /* says class cpu-test-1, the ledger cpu-stored-1 */
    desk_turn(&s.d, 0);
    gets_image_from(&s, 2, STORED, MESSAGE_SOURCE_RENDER);
    struct message wish = wish_of(4, STORED);

    wish.generate.require_class = text_of("cpu-stored-1");
    peer_say(&s.client, &wish, NULL);
    desk_feed(&s.d);
    gets_image_from(&s, 4, STORED, MESSAGE_SOURCE_MEMORY);
    close_scene(&s);
}

static void bulk_comes_into_memory_when_it_is_asked_for_again(void **state)
{
    struct message wish = wish_of(1, 72);
    struct job_seen job;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    wish.generate.priority = MESSAGE_LOW;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(s.d.b->cache.bytes, 0);
        peer_say(&s.client, &wish, NULL);
        look_up(&s);
        job = worker_gets_one(&s.worker);
        worker_says_result(&s.worker, &job);
        desk_turn(&s.d, 0);
        gets_image_from(&s, 1, 72, MESSAGE_SOURCE_RENDER);
    }
    peer_say(&s.client, &wish, NULL);
    desk_feed(&s.d);
    gets_image_from(&s, 1, 72, MESSAGE_SOURCE_MEMORY);
    close_scene(&s);
}

static void without_memory_every_wish_goes_to_the_ledger(void **state)
{
    struct broker_options options = patient();
    struct scene s;

    (void)state;
    options.cache_bytes = 0;
    open_scene(&s, options, 4);
    find(&s, STORED);
    find(&s, STORED);
    assert_int_equal(s.d.b->count.ledger_hits, 2);
    close_scene(&s);
}

static void memory_is_trusted_for_a_minute_without_the_ledger(void **state)
{
    struct job_seen job;
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    find(&s, STORED);
    kit_postgres_stop_server(&pg);
    await_ledger(&s, false);
    desk_turn(&s.d, CACHE_TRUST_MS);
    wish_with(&s, 2, STORED, MESSAGE_CACHE_ONLY);
    client_wishes(&s.client, 3, 73);
    desk_turn(&s.d, 0);
    gets_image_from(&s, 2, STORED, MESSAGE_SOURCE_MEMORY);
    job = worker_gets_one(&s.worker);
    worker_says_result(&s.worker, &job);     /* is not kept: nobody says whether it may be */
    desk_turn(&s.d, 0);
    gets_image_from(&s, 3, 73, MESSAGE_SOURCE_RENDER);
    assert_int_equal(HASH_COUNT(s.d.b->cache.by_key), 1);
    desk_turn(&s.d, 1);
    wish_with(&s, 4, STORED, MESSAGE_CACHE_ONLY);
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 4, ERR_LEDGER_DOWN);
    kit_postgres_start_server(&pg);
    await_ledger(&s, true);
    desk_turn(&s.d, 0);
    assert_null(s.d.b->cache.by_key);
    client_wishes(&s.client, 5, STORED);
    desk_feed(&s.d);
    while (s.d.b->renders.count[RENDER_LOOKUP] > 0)
        look_up(&s);
    gets_image_from(&s, 5, STORED, MESSAGE_SOURCE_LEDGER);
    client_wishes(&s.client, 6, STORED);
    desk_feed(&s.d);
    gets_image_from(&s, 6, STORED, MESSAGE_SOURCE_MEMORY);
    close_scene(&s);
}

static void withdraw(int64_t seed)
{
    struct recipe recipe = recipe_of(seed);
    struct digest subject = recipe_subject(&recipe);
    char sql[256];

    snprintf(sql, sizeof sql, "INSERT INTO withdrawn (subject, reason) VALUES ('\\x%s', 'test')",
             digest_hex(&subject).text);
    kit_postgres_exec(pg.conninfo, sql);
}

static void what_is_withdrawn_leaves_memory_without_a_question(void **state)
{
    struct scene s;

    (void)state;
    store(78, 78);
    open_scene(&s, patient(), 4);
    find(&s, 78);
    withdraw(78);
    desk_turn(&s.d, 2000);                   /* asks for the names, and how much is withdrawn */
    desk_await_scribe(&s.d);
    desk_turn(&s.d, 0);
    client_wishes(&s.client, 2, 78);
    look_up(&s);
    client_gets_error(&s.client, 2, ERR_WITHDRAWN);
    close_scene(&s);
}

static void a_withdrawal_that_anybody_hears_of_ends_the_picture_in_memory(void **state)
{
    struct message lookup;
    struct job_seen job;
    struct heard h;
    struct scene s;

    (void)state;
    store(79, 79);
    open_scene(&s, patient(), 4);
    find(&s, 79);
    find(&s, STORED);
    withdraw(79);
    message_init(&lookup, MESSAGE_LOOKUP, 2);
    lookup.lookup.seed = 79;
    peer_say(&s.client, &lookup, NULL);
    look_up(&s);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_PROVENANCE);
    heard_release(&h);
    assert_int_equal(HASH_COUNT(s.d.b->cache.by_key), 1);
    wish_with(&s, 3, STORED, MESSAGE_CACHE_BYPASS);
    desk_turn(&s.d, 0);
    job = worker_gets_one(&s.worker);
    worker_says_fail(&s.worker, job.lease, "withdrawn");
    desk_turn(&s.d, 0);
    client_gets_error(&s.client, 3, ERR_WITHDRAWN);
    assert_null(s.d.b->cache.by_key);
    close_scene(&s);
}

/* ---- waiters that leave ---- */

enum leaving { CANCELS, VANISHES };

/* One of two leaves while their render is in that state: the other gets its picture. */
static void leave_in(enum render_state state, enum leaving how)
{
    int64_t give_up_ms = clock_ms() + 60000, ping = 100;
    struct peer other;
    struct scene s;

    open_scene(&s, patient(), state == RENDER_QUEUED ? 0 : 4);
    client_join(&s.d, &other, LINK_DEALER);
    client_wishes(&other, 1, 90);
    client_wishes(&s.client, 9, 90);
    desk_feed(&s.d);
    assert_int_equal(s.d.b->renders.count[RENDER_LOOKUP], 1);
    struct job_seen job = { .lease = 0 };

    if (state != RENDER_LOOKUP)
        look_up(&s);
    if (state >= RENDER_HELD)
        job = worker_gets_one(&s.worker);
    if (state >= RENDER_RENDERING)
        worker_says(&s.worker, MESSAGE_STARTED, job.lease);
    if (state >= RENDER_COMMITTING)
        worker_says(&s.worker, MESSAGE_RENDERED, job.lease);
    desk_feed(&s.d);
    assert_int_equal(s.d.b->renders.count[state], 1);
    if (how == CANCELS) {
        client_cancels(&other, 2, 1);
        desk_feed(&s.d);
    } else {                                 /* an answer is what shows that it is gone */
        struct address gone = request_address(s.d.b->renders.by_key->waiters->request);

        peer_leave(&other);
        while (s.d.b->waiters > 1) {
            struct client *client = clients_get(&s.d.b->clients, &gone, s.d.now_ms);
            struct message pong;

            assert_true(clock_ms() < give_up_ms);
            message_init(&pong, MESSAGE_PONG, ping++);
            reply_message(s.d.b, client, &gone, &pong, NULL);
            if (client->gone)
                client_gone(s.d.b, client);
        }
    }
    assert_int_equal(s.d.b->waiters, 1);
    assert_int_equal(s.d.b->renders.count[state], 1);
    if (state == RENDER_LOOKUP)
        look_up(&s);
    if (state == RENDER_QUEUED)
        worker_says_heartbeat(&s.worker, 4, 0, 0);
    desk_turn(&s.d, 0);
    if (state < RENDER_HELD)
        job = worker_gets_one(&s.worker);
    peer_hears_nothing(&s.worker);           /* no recall */
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 9, 90);
    peer_hears_nothing(&s.client);
    if (how == CANCELS)
        peer_leave(&other);
    close_scene(&s);
}

static void one_who_leaves_takes_nothing_from_the_other_in_any_state(void **state)
{
    (void)state;
    for (int at = RENDER_LOOKUP; at < RENDER_STATE_COUNT; at++) {
        leave_in((enum render_state)at, CANCELS);
        leave_in((enum render_state)at, VANISHES);
    }
}

/* ---- time ---- */

static void with_the_ledger_there_the_deadline_is_a_deadline(void **state)
{
    struct message wish = wish_of(1, MISSING);
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 0);
    wish.generate.deadline_ms = 500;
    peer_say(&s.client, &wish, NULL);
    look_up(&s);
    desk_turn(&s.d, 499);
    peer_hears_nothing(&s.client);
    desk_turn(&s.d, 1);
    client_gets_error(&s.client, 1, ERR_DEADLINE);
    assert_null(s.d.b->renders.by_key);
    close_scene(&s);
}

static void what_is_committing_has_its_whole_time_once_the_ledger_is_back(void **state)
{
    struct broker_options options = patient();
    struct scene s;

    (void)state;
    options.stall_ms = 5000;
    open_scene(&s, options, 4);
    client_wishes(&s.client, 1, MISSING);
    look_up(&s);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says(&s.worker, MESSAGE_STARTED, job.lease);
    worker_says(&s.worker, MESSAGE_RENDERED, job.lease);
    desk_turn(&s.d, 0);
    kit_postgres_stop_server(&pg);
    await_ledger(&s, false);
    for (int i = 0; i < 20; i++)
        desk_turn(&s.d, 1000);
    kit_postgres_start_server(&pg);
    await_ledger(&s, true);
    for (int i = 0; i < 4; i++)
        desk_turn(&s.d, 1000);
    assert_int_equal(s.d.b->renders.count[RENDER_COMMITTING], 1);
    while (s.d.b->ledger_seen_ms < s.d.now_ms) {                 /* stalled, and not the ledger's */
        desk_turn(&s.d, 2000);
        desk_await_scribe(&s.d);
        desk_turn(&s.d, 0);
    }
    desk_turn(&s.d, 1000);
    assert_int_equal(s.d.b->renders.count[RENDER_QUEUED], 1);
    assert_int_equal(s.d.b->renders.by_key->attempts, 0);
    close_scene(&s);
}

/* Nothing answers and nothing fails: only silence shows it, and the broker's bound is shorter. */
static void a_frozen_ledger_holds_no_look_up_and_condemns_no_worker(void **state)
{
    struct broker_options options = patient();
    struct scene s;

    (void)state;
    options.stall_ms = 2000;
    open_scene(&s, options, 4);
    kit_postgres_freeze(&pg);
    client_wishes(&s.client, 1, 95);
    desk_turn(&s.d, 0);
    desk_turn(&s.d, options.lookup_ms);
    struct job_seen job = worker_gets_one(&s.worker);

    worker_says(&s.worker, MESSAGE_STARTED, job.lease);
    worker_says(&s.worker, MESSAGE_RENDERED, job.lease);
    for (int i = 0; i < 5; i++)
        desk_turn(&s.d, 1000);
    assert_true(scribe_ledger_is_up(s.d.scribe));    /* as far as anybody knows */
    assert_int_equal(s.d.b->renders.count[RENDER_COMMITTING], 1);
    await_ledger(&s, false);
    for (int i = 0; i < 5; i++)
        desk_turn(&s.d, 1000);
    kit_postgres_thaw(&pg);
    await_ledger(&s, true);
    desk_turn(&s.d, 1000);
    assert_int_equal(s.d.b->renders.count[RENDER_COMMITTING], 1);
    assert_int_equal(s.d.b->count.retried, 0);
    worker_says_result(&s.worker, &job);
    desk_turn(&s.d, 0);
    client_gets_image(&s.client, 1, 95);
    close_scene(&s);
}

static void a_ledger_that_goes_stops_no_render(void **state)
{
    struct scene s;

    (void)state;
    open_scene(&s, patient(), 4);
    kit_postgres_stop_server(&pg);
    client_wishes(&s.client, 1, STORED);
    wish_with(&s, 2, MISSING, MESSAGE_CACHE_ONLY);
    desk_feed(&s.d);
    while (s.d.b->renders.count[RENDER_LOOKUP] > 0)
        look_up(&s);
    assert_int_equal(worker_gets_one(&s.worker).recipe.seed, STORED);
    client_gets_error(&s.client, 2, ERR_LEDGER_DOWN);
    kit_postgres_start_server(&pg);
    close_scene(&s);
}

/* ---- drain ---- */

static void a_drain_waits_for_a_clients_look_up(void **state)
{
    struct message lookup;
    struct heard h;
    struct scene s;
    PGconn *conn;

    (void)state;
    open_scene(&s, patient(), 4);
    conn = hold_images();
    message_init(&lookup, MESSAGE_LOOKUP, 1);
    lookup.lookup.seed = STORED;
    peer_say(&s.client, &lookup, NULL);
    desk_turn(&s.d, 0);
    broker_drain(s.d.b, s.d.now_ms);
    desk_turn(&s.d, 0);
    assert_false(broker_is_drained(s.d.b, s.d.now_ms));
    let_go(conn);
    while (!broker_is_drained(s.d.b, s.d.now_ms))
        look_up(&s);
    assert_true(peer_hears(&s.client, &h));
    assert_int_equal(h.m.type, MESSAGE_PROVENANCE);
    assert_int_equal(h.m.provenance.rows.count, 1);
    heard_release(&h);
    close_scene(&s);
}

static void a_drain_ends_look_ups_with_retry(void **state)
{
    struct scene s;
    PGconn *conn;

    (void)state;
    open_scene(&s, patient(), 4);
    conn = hold_images();
    client_wishes(&s.client, 1, MISSING);
    desk_feed(&s.d);
    broker_drain(s.d.b, s.d.now_ms);
    client_gets_error(&s.client, 1, ERR_RETRY);
    assert_true(broker_is_drained(s.d.b, s.d.now_ms));
    let_go(conn);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stored_picture_needs_no_worker),
        cmocka_unit_test(a_stored_picture_needs_no_worker_that_ever_came),
        cmocka_unit_test(what_is_not_stored_waits_the_grace_for_a_worker),
        cmocka_unit_test(a_picture_that_is_not_stored_is_rendered),
        cmocka_unit_test(a_page_is_looked_up_together),
        cmocka_unit_test(a_waiter_joins_a_look_up),
        cmocka_unit_test(a_look_up_that_nobody_waits_for_ends),
        cmocka_unit_test(a_slow_look_up_holds_a_render_for_lookup_ms_only),
        cmocka_unit_test(a_late_hit_still_saves_what_is_queued),
        cmocka_unit_test(a_late_hit_leaves_a_leased_render_alone),
        cmocka_unit_test(a_lookup_ms_of_nothing_waits_for_no_look_up),
        cmocka_unit_test(a_withdrawn_picture_is_not_rendered_again),
        cmocka_unit_test(only_answers_what_is_stored),
        cmocka_unit_test(only_waits_for_its_look_up_while_others_go_on),
        cmocka_unit_test(only_still_waits_for_its_look_up_when_the_others_have_gone),
        cmocka_unit_test(what_is_stored_is_not_refused_for_lack_of_time),
        cmocka_unit_test(bypass_renders_what_is_stored),
        cmocka_unit_test(bypass_takes_no_stored_picture_from_those_who_want_only_that),
        cmocka_unit_test(a_stored_picture_of_another_class_than_required_is_a_conflict),
        cmocka_unit_test(what_was_made_is_answered_from_memory),
        cmocka_unit_test(what_was_found_is_answered_from_memory),
        cmocka_unit_test(who_joins_late_and_wants_the_file_gets_it_from_the_ledger),
        cmocka_unit_test(a_receipts_picture_is_not_in_memory_but_in_the_ledger),
        cmocka_unit_test(who_wants_a_file_put_back_is_not_answered_from_memory),
        cmocka_unit_test(an_answer_from_memory_says_what_the_first_one_said),
        cmocka_unit_test(a_page_is_answered_from_where_each_picture_is),
        cmocka_unit_test(another_class_in_memory_is_a_conflict),
        cmocka_unit_test(memory_answers_when_no_worker_is_left),
        cmocka_unit_test(bypass_passes_memory_and_the_first_picture_stays),
        cmocka_unit_test(bulk_comes_into_memory_when_it_is_asked_for_again),
        cmocka_unit_test(without_memory_every_wish_goes_to_the_ledger),
        cmocka_unit_test(memory_is_trusted_for_a_minute_without_the_ledger),
        cmocka_unit_test(what_is_withdrawn_leaves_memory_without_a_question),
        cmocka_unit_test(a_withdrawal_that_anybody_hears_of_ends_the_picture_in_memory),
        cmocka_unit_test(one_who_leaves_takes_nothing_from_the_other_in_any_state),
        cmocka_unit_test(with_the_ledger_there_the_deadline_is_a_deadline),
        cmocka_unit_test(what_is_committing_has_its_whole_time_once_the_ledger_is_back),
        cmocka_unit_test(a_frozen_ledger_holds_no_look_up_and_condemns_no_worker),
        cmocka_unit_test(a_ledger_that_goes_stops_no_render),
        cmocka_unit_test(a_drain_waits_for_a_clients_look_up),
        cmocka_unit_test(a_drain_ends_look_ups_with_retry),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, begin, end);
}
