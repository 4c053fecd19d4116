/* A subject is withdrawn through a broker: what happens at once, to whom, and what others notice.
 * A real PostgreSQL; the clock is turned by hand. */
#include "tests/kit_broker.h"
#include "tests/kit_pictures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PSI_ONE = 1000000 };

static struct kit_pictures k;

struct scene {
    struct desk d;
    struct peer client, worker;
};

static int start(void **state)
{
    (void)state;
    pictures_start(&k);
    k.facts = desk_cats();
    return 0;
}

static int end(void **state)
{
    (void)state;
    pictures_destroy(&k);
    return 0;
}

static void answer_of_scribe(struct scene *s)
{
    desk_feed(&s->d);
    desk_await_scribe(&s->d);
    desk_turn(&s->d, 0);
}

static int open_scene(void **state)
{
    struct broker_options options = desk_patient();
    struct scene *s = calloc(1, sizeof *s);

    assert_non_null(s);
    pictures_open(&k);
    desk_open(&s->d, k.pg.conninfo, &options);
    client_join(&s->d, &s->client, LINK_DEALER);
    worker_joins(&s->d, &s->worker, "host:1:1", 4);
    desk_await_scribe(&s->d);                /* the first tick asks for names */
    desk_turn(&s->d, 0);
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;

    peer_leave(&s->client);
    peer_leave(&s->worker);
    desk_close(&s->d);
    free(s);
    pictures_close(&k);
    return 0;
}

/* Stores seed as clients ask for it by default. */
static struct digest store(uint32_t seed)
{
    struct kit_picture picture = picture_paint(&k, seed, PSI_ONE, 0);
    struct ledger_stored stored;
    struct err e;

    assert_int_equal(ledger_store(k.ledger, &picture.image, 1, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_STORED);
    struct digest key = recipe_key(&picture.image.recipe);

    picture_forget(&picture);
    return key;
}

static struct message withdraw_of(int64_t id, const struct digest *key)
{
    struct message m;

    message_init(&m, MESSAGE_WITHDRAW, id);
    m.withdraw.recipe_key = *key;
    m.withdraw.reason = text_of("a person asked");
    return m;
}

static struct message wish_at(int64_t id, int64_t seed, int64_t psi)
{
    struct message m = wish_of(id, seed);

    m.generate.psi = psi;
    return m;
}

static void hears_image(struct scene *s, int64_t id, enum message_source source)
{
    struct heard h;

    assert_true(peer_hears(&s->client, &h));
    assert_int_equal(h.m.type, MESSAGE_IMAGE);
    assert_int_equal(h.m.id, id);
    assert_int_equal(h.m.image.source, source);
    heard_release(&h);
}

static void hears_withdrawal(struct scene *s, int64_t id, int64_t pictures, int64_t files)
{
    struct heard h;

    assert_true(peer_hears(&s->client, &h));
    if (h.m.type == MESSAGE_ERROR)
        fail_msg("%.*s", (int)h.m.error.message.len, h.m.error.message.data);
    assert_int_equal(h.m.type, MESSAGE_WITHDRAWAL);
    assert_int_equal(h.m.id, id);
    assert_int_equal(h.m.withdrawal.pictures, pictures);
    assert_int_equal(h.m.withdrawal.files, files);
    assert_int_equal(h.m.withdrawal.rows.count, pictures);
    for (int64_t i = 0; i < pictures; i++) {
        const struct message_row *rows = h.m.withdrawal.rows.items;

        assert_true(rows[i].withdrawn);
        assert_true(text_is(rows[i].model, "cats"));
    }
    heard_release(&h);
}

/* Lets the broker ask for the names, with which it reads how much is withdrawn. */
static void ask_names(struct scene *s)
{
    desk_turn(&s->d, 2000);
    desk_await_scribe(&s->d);
    desk_turn(&s->d, 0);
}

/* ---- what is stored ---- */

static void what_is_withdrawn_is_gone_from_every_path_at_once(void **state)
{
    struct scene *s = *state;
    struct digest key = store(5);
    struct message m = wish_at(1, 5, PSI_ONE), fetch;

    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    hears_image(s, 1, MESSAGE_SOURCE_LEDGER);
    m = wish_at(2, 5, PSI_ONE);
    peer_say(&s->client, &m, NULL);
    desk_turn(&s->d, 0);
    hears_image(s, 2, MESSAGE_SOURCE_MEMORY);

    m = withdraw_of(3, &key);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    hears_withdrawal(s, 3, 1, 1);
    assert_null(s->d.b->cache.by_key);

    m = wish_at(4, 5, PSI_ONE);              /* memory, then the ledger's look-up */
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    client_gets_error(&s->client, 4, ERR_WITHDRAWN);
    peer_hears_nothing(&s->worker);
    message_init(&fetch, MESSAGE_FETCH, 5);
    fetch.fetch.recipe_key = key;
    peer_say(&s->client, &fetch, NULL);
    answer_of_scribe(s);
    client_gets_error(&s->client, 5, ERR_WITHDRAWN);
    m = wish_at(6, 5, PSI_ONE);
    m.generate.cache = MESSAGE_CACHE_ONLY;
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    client_gets_error(&s->client, 6, ERR_WITHDRAWN);

    m = withdraw_of(7, &key);                /* again: nothing is left, and that is fine */
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    hears_withdrawal(s, 7, 1, 0);
}

static void a_file_hash_names_it_too(void **state)
{
    struct scene *s = *state;
    struct kit_picture picture = picture_paint(&k, 5, PSI_ONE, 0);
    struct message m;

    store(5);
    message_init(&m, MESSAGE_WITHDRAW, 1);
    m.withdraw.sha256 = picture.image.file_sha;
    m.withdraw.reason = text_of("a person asked");
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    hears_withdrawal(s, 1, 1, 1);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM withdrawn"
                                      " WHERE reason = 'a person asked'"), 1);
    picture_forget(&picture);
}

static void what_is_not_stored_is_not_withdrawn(void **state)
{
    struct scene *s = *state;
    struct digest nobody = digest_of("nobody", 6);
    struct message m = wish_at(1, 5, PSI_ONE);

    store(5);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    hears_image(s, 1, MESSAGE_SOURCE_LEDGER);
    m = withdraw_of(2, &nobody);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    client_gets_error(&s->client, 2, ERR_NOT_FOUND);
    assert_non_null(s->d.b->cache.by_key);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM withdrawn"), 0);
}

/* ---- what is under way ---- */

static void who_waits_for_the_subject_is_told_and_nobody_else(void **state)
{
    struct scene *s = *state;
    struct digest key = store(5);
    struct job_seen jobs[DESK_JOBS_MAX];
    struct message m = wish_at(1, 5, 500000);       /* the subject, not stored at this psi */

    peer_say(&s->client, &m, NULL);
    m = wish_at(2, 6, PSI_ONE);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    while (s->d.b->renders.count[RENDER_LOOKUP] > 0)
        answer_of_scribe(s);
    assert_int_equal(worker_gets(&s->worker, jobs), 2);
    worker_says(&s->worker, MESSAGE_STARTED, jobs[0].lease);
    desk_turn(&s->d, 0);
    m = withdraw_of(3, &key);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    client_gets_error(&s->client, 1, ERR_WITHDRAWN);
    hears_withdrawal(s, 3, 1, 1);
    /* The picture was committed just before and comes late: nobody gets it, memory neither. */
    worker_says_result(&s->worker, &jobs[0]);
    worker_says_result(&s->worker, &jobs[1]);
    desk_turn(&s->d, 0);
    client_gets_image(&s->client, 2, 6);
    peer_hears_nothing(&s->client);
    assert_null(s->d.b->cache.by_key);
    assert_null(s->d.b->renders.by_key);
}

static void a_render_in_any_state_ends_for_who_waits(void **state)
{
    struct scene *s = *state;
    struct digest key = store(5);
    struct message m;

    worker_says_heartbeat(&s->worker, 0, 0, 0);     /* no room: it stays queued */
    desk_turn(&s->d, 0);
    m = wish_at(1, 5, 500000);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    m = wish_at(2, 5, 400000);
    peer_say(&s->client, &m, NULL);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    assert_int_equal(s->d.b->renders.count[RENDER_QUEUED], 2);
    m = withdraw_of(3, &key);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    assert_null(s->d.b->renders.by_key);
    for (int i = 0; i < 3; i++) {
        struct heard h;

        assert_true(peer_hears(&s->client, &h));
        assert_int_equal(h.m.type, MESSAGE_ERROR);
        assert_true(text_is(h.m.error.code, "withdrawn"));
        heard_release(&h);
    }
    hears_withdrawal(s, 3, 1, 1);
}

/* Another broker withdraws; ours hears of it by the count. A picture that was leased before may
 * have been committed before, and its result may come after: it must not go into memory. */
static void a_result_that_is_older_than_a_withdrawal_is_not_remembered(void **state)
{
    struct scene *s = *state;
    struct digest subject;
    struct recipe recipe = pictures_recipe(&k, 7, PSI_ONE);
    struct message m = wish_at(1, 7, PSI_ONE);
    struct job_seen job;

    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    job = worker_gets_one(&s->worker);
    subject = recipe_subject(&recipe);
    pictures_sql(&k, "INSERT INTO withdrawn (subject, reason) VALUES ('\\x%s', 'elsewhere')",
                 digest_hex(&subject).text);
    ask_names(s);
    worker_says_result(&s->worker, &job);
    desk_turn(&s->d, 0);
    client_gets_image(&s->client, 1, 7);
    assert_null(s->d.b->cache.by_key);

    m = wish_at(2, 8, PSI_ONE);              /* leased after it: kept as ever */
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);
    job = worker_gets_one(&s->worker);
    worker_says_result(&s->worker, &job);
    desk_turn(&s->d, 0);
    client_gets_image(&s->client, 2, 8);
    assert_int_equal(HASH_COUNT(s->d.b->cache.by_key), 1);
}

static void many_files_leave_room_for_others_between(void **state)
{
    struct scene *s = *state;
    struct digest key = store(5);
    struct message m = withdraw_of(1, &key);
    struct heard h;

    /* Not rows that a worker stored: told of, they are refused as what they are. */
    pictures_sql(&k, "INSERT INTO images SELECT seed, run_id, render_us, created, model_id,"
                     " options_id, n, batch_size, bytes, true, sha256(n::text::bytea), subject,"
                     " file_sha, core_sha FROM images, generate_series(1, 2500) n");
    peer_say(&s->client, &m, NULL);
    m = wish_at(2, 9, PSI_ONE);
    peer_say(&s->client, &m, NULL);
    answer_of_scribe(s);                     /* the look-up comes before the withdrawal's end */
    assert_int_equal(worker_gets_one(&s->worker).recipe.seed, 9);
    while (!peer_hears(&s->client, &h))
        answer_of_scribe(s);
    assert_int_equal(h.m.id, 1);
    assert_true(text_is(h.m.error.code, "bug"));
    heard_release(&h);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images WHERE kept"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_withdrawn_is_gone_from_every_path_at_once),
        TEST(a_file_hash_names_it_too),
        TEST(what_is_not_stored_is_not_withdrawn),
        TEST(who_waits_for_the_subject_is_told_and_nobody_else),
        TEST(a_render_in_any_state_ends_for_who_waits),
        TEST(a_result_that_is_older_than_a_withdrawal_is_not_remembered),
        TEST(many_files_leave_room_for_others_between),
    };
    return cmocka_run_group_tests(tests, start, end);
}
