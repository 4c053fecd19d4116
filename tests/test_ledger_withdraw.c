#include "sql/ledger_withdraw.h"

#include "base/clock.h"
#include "tests/kit_pictures.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct kit_pictures k;

static int start(void **state)
{
    (void)state;
    pictures_start(&k);
    return 0;
}

static int end(void **state)
{
    (void)state;
    pictures_destroy(&k);
    return 0;
}

static int open_tables(void **state)
{
    (void)state;
    pictures_open(&k);
    return 0;
}

static int close_tables(void **state)
{
    (void)state;
    pictures_close(&k);
    return 0;
}

/* All of it, however many calls it takes. */
static struct ledger_withdrawal withdraw(enum ledger_by by, const struct digest *digest)
{
    struct ledger_withdrawal w = { .files = 0 };
    struct err e = { .code = ERR_OK };

    do
        if (ledger_withdraw(k.ledger, by, digest, "a person asked", &w, &e))
            fail_msg("%s", e.msg);
    while (w.more);
    return w;
}

static void store(uint32_t seed, int32_t psi)
{
    struct kit_picture picture = picture_paint(&k, seed, psi, 0);
    struct ledger_stored stored;
    struct err e;

    assert_int_equal(ledger_store(k.ledger, &picture.image, 1, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_STORED);
    picture_forget(&picture);
}

static enum err_code outcome_of(const struct kit_picture *picture)
{
    struct ledger_stored stored;
    struct err e;

    assert_int_equal(ledger_store(k.ledger, &picture->image, 1, &stored, &e), ERR_OK);
    free(stored.data);
    return stored.outcome == LEDGER_REFUSED ? stored.why.code : ERR_OK;
}

static void a_subject_goes_with_all_its_files_and_nothing_else(void **state)
{
    struct digest key = pictures_key(&k, 1);
    struct ledger_withdrawal w;

    (void)state;
    pictures_store(&k, 1, 3);
    store(1, 500000);
    store(1, 0);
    w = withdraw(LEDGER_BY_KEY, &key);
    assert_int_equal(w.pictures, 3);
    assert_int_equal(w.files, 3);
    assert_int_equal(w.rows.count, 3);
    for (size_t i = 0; i < w.rows.count; i++) {
        assert_int_equal(w.rows.row[i].recipe.seed, 1);
        assert_true(w.rows.row[i].withdrawn);
        assert_false(w.rows.row[i].kept);
    }
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images"), 5);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images WHERE kept"), 2);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM blobs"), 2);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM withdrawn"), 1);
    ledger_rows_release(&w.rows);
}

static void the_same_again_finds_nothing_left_and_keeps_the_first_reason(void **state)
{
    struct digest key = pictures_key(&k, 1);
    struct ledger_withdrawal w = { .files = 0 };
    struct err e;

    (void)state;
    pictures_store(&k, 1, 1);
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_KEY, &key, "first", &w, &e), ERR_OK);
    assert_int_equal(w.files, 1);
    ledger_rows_release(&w.rows);
    w = withdraw(LEDGER_BY_KEY, &key);
    assert_int_equal(w.files, 0);
    assert_int_equal(w.pictures, 1);
    ledger_rows_release(&w.rows);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM withdrawn WHERE reason = 'first'"), 1);
}

static void a_file_names_its_subject_unless_several_have_it(void **state)
{
    struct kit_picture picture = picture_paint(&k, 2, 700000, 0);
    struct digest file = picture.image.file_sha;
    struct ledger_withdrawal w;
    struct err e;

    (void)state;
    pictures_store(&k, 1, 3);
    w = withdraw(LEDGER_BY_FILE_SHA, &file);
    assert_int_equal(w.pictures, 1);
    ledger_rows_release(&w.rows);

    /* As without metadata at psi 0: every seed has the mean face, to the byte. */
    picture.image.recipe.seed = 3;
    file = pictures_key(&k, 3);
    pictures_sql(&k, "UPDATE images SET file_sha = (SELECT file_sha FROM images WHERE seed = 2)"
                     " WHERE seed = 3");
    w = (struct ledger_withdrawal){ .files = 0 };
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_FILE_SHA, &picture.image.file_sha, "x",
                                     &w, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "recipe key"));
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM withdrawn"), 1);
    picture_forget(&picture);
}

static void what_cannot_be_meant_so_is_refused_and_changes_nothing(void **state)
{
    struct digest key = pictures_key(&k, 1), nobody = digest_of("nobody", 6);
    struct ledger_withdrawal w = { .files = 0 };
    char reason[LEDGER_REASON_MAX + 2];
    struct err e;

    (void)state;
    pictures_store(&k, 1, 1);
    memset(reason, 'r', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_KEY, &nobody, "x", &w, &e),
                     ERR_NOT_FOUND);
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_KEY, &key, "", &w, &e), ERR_INVALID);
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_KEY, &key, reason, &w, &e), ERR_INVALID);
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_KEY, &key, "\xff", &w, &e), ERR_INVALID);
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_CORE_SHA, &key, "x", &w, &e),
                     ERR_INVALID);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM withdrawn"), 0);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM blobs"), 1);
    /* After a statement that failed within its transaction the connection is as good as new. */
    w = withdraw(LEDGER_BY_KEY, &key);
    assert_int_equal(w.files, 1);
    ledger_rows_release(&w.rows);
}

static void a_subject_of_many_files_goes_in_parts(void **state)
{
    struct digest key = pictures_key(&k, 1);
    struct ledger_withdrawal w = { .files = 0 };
    struct err e;

    (void)state;
    pictures_store(&k, 1, 1);
    pictures_sql(&k, "INSERT INTO images SELECT seed, run_id, render_us, created, model_id,"
                     " options_id, n, batch_size, bytes, true, sha256(n::text::bytea), subject,"
                     " file_sha, core_sha FROM images, generate_series(1, 2500) n;"
                     "INSERT INTO blobs SELECT key, 'x' FROM images WHERE psi < 700000");
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_KEY, &key, "x", &w, &e), ERR_OK);
    assert_true(w.more);
    assert_int_equal(w.files, LEDGER_WITHDRAW_FILES_MAX);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM withdrawn"), 1);    /* from then on */
    while (w.more && !ledger_withdraw(k.ledger, LEDGER_BY_KEY, &key, "x", &w, &e))
        ;
    /* Only then are rows told of: these were not stored by a worker, and their keys show it. */
    assert_int_equal(e.code, ERR_BUG);
    assert_int_equal(w.files, 2501);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM blobs"), 0);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images WHERE kept"), 0);
}

static void others_are_told(void **state)
{
    struct digest key = pictures_key(&k, 1);
    struct recipe recipe = pictures_recipe(&k, 1, 0);
    struct digest subject = recipe_subject(&recipe);
    PGconn *listener = PQconnectdb(k.pg.conninfo);
    struct ledger_withdrawal w;
    PGnotify *news;

    (void)state;
    pictures_store(&k, 1, 1);
    PQclear(PQexec(listener, "LISTEN seedpress_withdrawn"));
    w = withdraw(LEDGER_BY_KEY, &key);
    PQclear(PQexec(listener, "SELECT 1"));          /* brings what was sent before */
    news = PQnotifies(listener);
    assert_non_null(news);
    assert_string_equal(news->extra, digest_hex(&subject).text);
    PQfreemem(news);
    PQfinish(listener);
    ledger_rows_release(&w.rows);
}

/* ---- writers beside it ---- */

enum { RACERS = 3, ROUNDS = 25 };

struct racer {
    struct kit_picture picture;
    pthread_barrier_t *start;
    pthread_t thread;
};

/* Stores a picture of the round's subject, each racer at a psi of its own. */
static void *race(void *arg)
{
    struct racer *self = arg;
    struct ledger *ledger = NULL;
    struct err e;

    if (ledger_open(k.pg.conninfo, "racer", &ledger, &e))
        return (void *)"could not open the ledger";
    for (int i = 0; i < ROUNDS; i++) {
        struct ledger_stored stored;

        pthread_barrier_wait(self->start);
        self->picture.image.recipe.seed = (uint32_t)i;
        if (ledger_store(ledger, &self->picture.image, 1, &stored, &e))
            return (void *)"could not store";
        free(stored.data);
        pthread_barrier_wait(self->start);
    }
    ledger_close(&ledger);
    return NULL;
}

/* Whoever comes first, no file of the subject is left: a writer either committed before the
 * tombstone, and its file is removed, or it is refused. */
static void a_withdrawal_in_the_middle_of_writes_leaves_no_file(void **state)
{
    struct racer racer[RACERS];
    pthread_barrier_t barrier;
    int64_t written = 0;

    (void)state;
    pictures_store(&k, 0, ROUNDS - 1);
    pthread_barrier_init(&barrier, NULL, RACERS + 1);
    for (int i = 0; i < RACERS; i++) {
        racer[i] = (struct racer){ .picture = picture_paint(&k, 0, i + 1, 0), .start = &barrier };
        assert_int_equal(pthread_create(&racer[i].thread, NULL, race, &racer[i]), 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        struct digest key = pictures_key(&k, (uint32_t)round);
        struct ledger_withdrawal w;

        pthread_barrier_wait(&barrier);
        w = withdraw(LEDGER_BY_KEY, &key);
        written += w.pictures - 1;
        pthread_barrier_wait(&barrier);
        ledger_rows_release(&w.rows);
        assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images WHERE seed = %d AND kept",
                                      round), 0);
        assert_int_equal(pictures_int(&k, "SELECT count(*) FROM blobs b JOIN images i USING (key)"
                                          " WHERE i.seed = %d", round), 0);
        /* Nobody got in behind it: what it counted is all there is. */
        assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images WHERE seed = %d", round),
                         w.pictures);
    }
    for (int i = 0; i < RACERS; i++) {
        void *words;

        pthread_join(racer[i].thread, &words);
        if (words)
            fail_msg("%s", (char *)words);
        picture_forget(&racer[i].picture);
    }
    pthread_barrier_destroy(&barrier);
    print_message("%d of %d writes came before the tombstone\n", (int)written, RACERS * ROUNDS);
}

/* The writer's transaction is open, its row in, when the withdrawal comes: it waits. */
static void a_write_under_way_is_waited_for_within_the_limits(void **state)
{
    struct digest key = pictures_key(&k, 1);
    struct ledger_withdrawal w = { .files = 0 };
    PGconn *writer = PQconnectdb(k.pg.conninfo);
    struct err e;

    (void)state;
    pictures_store(&k, 1, 1);
    PQclear(PQexec(writer, "BEGIN; SELECT pg_advisory_xact_lock_shared(7301)"));
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_KEY, &key, "x", &w, &e),
                     ERR_LEDGER_DOWN);
    assert_non_null(strstr(e.msg, "timeout"));
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM withdrawn"), 0);
    PQfinish(writer);
    w = withdraw(LEDGER_BY_KEY, &key);
    assert_int_equal(w.files, 1);
    ledger_rows_release(&w.rows);
}

static void nothing_brings_a_withdrawn_file_back(void **state)
{
    struct kit_picture picture = picture_paint(&k, 1, 700000, 0);
    struct digest key = pictures_key(&k, 1);
    struct ledger_rows rows;
    struct ledger_withdrawal w;
    struct err e;

    (void)state;
    pictures_store(&k, 1, 1);
    w = withdraw(LEDGER_BY_KEY, &key);
    ledger_rows_release(&w.rows);
    assert_int_equal(outcome_of(&picture), ERR_WITHDRAWN);
    picture.image.refill = true;
    assert_int_equal(outcome_of(&picture), ERR_WITHDRAWN);
    picture.image.recipe.psi = 1;
    assert_int_equal(outcome_of(&picture), ERR_WITHDRAWN);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM blobs"), 0);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images"), 1);
    assert_int_equal(ledger_find_keys(k.ledger, &key, 1, true, &rows, &e), ERR_OK);
    assert_true(rows.row[0].withdrawn);
    assert_null(rows.row[0].data);
    ledger_rows_release(&rows);
    picture_forget(&picture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_tables, close_tables)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_subject_goes_with_all_its_files_and_nothing_else),
        TEST(the_same_again_finds_nothing_left_and_keeps_the_first_reason),
        TEST(a_file_names_its_subject_unless_several_have_it),
        TEST(what_cannot_be_meant_so_is_refused_and_changes_nothing),
        TEST(a_subject_of_many_files_goes_in_parts),
        TEST(others_are_told),
        TEST(a_withdrawal_in_the_middle_of_writes_leaves_no_file),
        TEST(a_write_under_way_is_waited_for_within_the_limits),
        TEST(nothing_brings_a_withdrawn_file_back),
    };
    return cmocka_run_group_tests(tests, start, end);
}
