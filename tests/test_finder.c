/* The finder on its own ledger, and the look-ups of a ledger by time and by bulk job: a real
 * PostgreSQL, transactions that the test holds open. */
#include "broker/finder.h"

#include "sql/ledger_withdraw.h"
#include "tests/kit_postgres.h"

#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { BYTES = 4 << 20, HASHES = 6 };

static struct kit_postgres pg;
static struct ledger *ledger;
static int64_t run_id;

static void must(enum err_code rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

static struct recipe recipe_of(const char *model, uint32_t seed)
{
    return (struct recipe){ .model = digest_of(model, strlen(model)), .seed = seed, .psi = 700000,
                            .cutoff = 10, .class_index = -1, .noise = RECIPE_NOISE_CONST,
                            .width = 64, .height = 64, .quality = 90, .mark = RECIPE_MARK_XMP };
}

static struct digest key_of(uint32_t seed)
{
    struct recipe recipe = recipe_of("cats", seed);

    return recipe_key(&recipe);
}

/* Three windows that belong to a seed alone. */
static void hashes_of(uint32_t seed, uint64_t out[HASHES])
{
    struct digest d = digest_of(&seed, sizeof seed);

    for (int i = 0; i < HASHES; i++) {
        memcpy(&out[i], d.bytes + 4 * i, sizeof out[i]);
        out[i] |= 1;
    }
}

static void store(const char *model, uint32_t seed, bool with_hashes)
{
    struct recipe recipe = recipe_of(model, seed);
    uint64_t hashes[HASHES];
    struct ledger_stored stored;
    struct err e;
    struct ledger_image image = {
        .recipe = recipe, .file_sha = recipe_key(&recipe), .core_sha = recipe_key(&recipe),
        .run_id = run_id, .numerics_class = "cpu-1", .encoder = "test-1", .batch_size = 1,
        .data = (const uint8_t *)"jpeg", .len = 4, .keep = true,
        .likeness = hashes, .likeness_count = with_hashes ? HASHES : 0,
    };

    hashes_of(seed, hashes);
    must(ledger_store(ledger, &image, 1, &stored, &e), &e);
    free(stored.data);
}

static void put_model(const char *name)
{
    struct model_facts facts = { .digest = digest_of(name, strlen(name)), .width = 64, .height = 64,
                                 .num_ws = 10, .z_dim = 32, .w_dim = 32,
                                 .noise_modes = 1u << RECIPE_NOISE_CONST };
    struct ledger_model model = { name, &facts, "stylegan2", "" };
    struct err e;

    must(ledger_put_model(ledger, &model, &e), &e);
}

static int begin(void **state)
{
    struct ledger_run run = { .worker = "w", .version = "0", .backend = "cpu", .device = "",
                              .driver = "", .numerics_class = "cpu-1", .encoder = "test-1",
                              .libraries = "" };
    struct err e;

    (void)state;
    kit_postgres_start(&pg);
    must(ledger_migrate(pg.conninfo, false, NULL, NULL, &e), &e);
    must(ledger_open(pg.conninfo, "test", &ledger, &e), &e);
    must(ledger_start_run(ledger, &run, &run_id, &e), &e);
    put_model("cats");
    put_model("dogs");
    return 0;
}

static int end(void **state)
{
    (void)state;
    ledger_close(&ledger);
    kit_postgres_destroy(&pg);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    kit_postgres_exec(pg.conninfo, "TRUNCATE images, blobs, likenesses, withdrawn RESTART IDENTITY");
    return 0;
}

/* ---- the finder ---- */

static struct finder *finder_new(void)
{
    struct finder *finder;
    struct err e;

    must(finder_create(BYTES, &finder, &e), &e);
    return finder;
}

static struct errand *asked(struct finder *finder, const uint64_t *hashes, size_t count)
{
    char text[16 * MESSAGE_LIKE_MAX + 1];
    struct errand *errand;
    struct err e;

    for (size_t i = 0; i < count; i++)
        snprintf(text + 16 * i, sizeof text - 16 * i, "%016llx", (unsigned long long)hashes[i]);
    must(finder_ask(finder, (struct text){ text, 16 * count }, 10, &errand, &e), &e);
    must(errand->call(ledger, errand->extra, &e), &e);
    return errand;
}

/* Rows for the first `windows` windows of seed, all of one bit changed. */
static struct ledger_rows find(struct finder *finder, uint32_t seed, size_t windows)
{
    uint64_t hashes[HASHES];
    struct ledger_rows rows;

    hashes_of(seed, hashes);
    for (int i = 0; i < HASHES; i++)
        hashes[i] ^= 2;
    struct errand *errand = asked(finder, hashes, 2 * windows);

    rows = finder_rows(errand);
    errand_destroy(&errand);
    return rows;
}

static void assert_finds(struct finder *finder, uint32_t seed, bool found)
{
    struct ledger_rows rows = find(finder, seed, 3);
    struct digest key = key_of(seed);

    assert_int_equal(rows.count, found);
    if (found) {
        assert_true(digest_equal(&rows.row[0].key, &key));
        assert_int_equal(rows.row[0].distance, 1);
    }
    ledger_rows_release(&rows);
}

static void what_was_stored_is_found_at_once(void **state)
{
    struct finder *finder = finder_new();

    (void)state;
    assert_finds(finder, 1, false);             /* of an empty ledger */
    store("cats", 1, true);
    store("cats", 2, false);
    assert_finds(finder, 1, true);
    assert_finds(finder, 2, false);
    for (uint32_t seed = 10; seed < 40; seed++)
        store("cats", seed, true);
    for (uint32_t seed = 10; seed < 40; seed++)
        assert_finds(finder, seed, true);
    store("cats", 1, true);                     /* again: no second row of hashes */
    assert_int_equal(kit_postgres_int(pg.conninfo, "SELECT count(*) FROM likenesses"), 31);
    finder_destroy(&finder);
}

static void a_picture_that_commits_after_a_later_one_is_found(void **state)
{
    struct finder *finder = finder_new();
    PGconn *slow = PQconnectdb(pg.conninfo);
    uint64_t hashes[HASHES];
    char sql[400];
    int at;

    (void)state;
    store("cats", 1, true);
    store("cats", 2, false);                    /* its hashes come by another transaction */
    hashes_of(2, hashes);
    at = snprintf(sql, sizeof sql, "BEGIN; INSERT INTO likenesses (key, hashes) SELECT "
                                   "'\\x%s'::bytea, '\\x", digest_hex(&(struct digest[]){
                                   key_of(2) }[0]).text);
    for (int i = 0; i < HASHES; i++)
        at += snprintf(sql + at, sizeof sql - (size_t)at, "%016llx", (unsigned long long)hashes[i]);
    snprintf(sql + at, sizeof sql - (size_t)at, "'::bytea");
    PQclear(PQexec(slow, sql));
    store("cats", 3, true);
    store("cats", 4, true);
    assert_finds(finder, 3, true);
    assert_finds(finder, 2, false);
    assert_finds(finder, 2, false);             /* and is still missed */
    PGresult *result = PQexec(slow, "COMMIT");

    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    assert_finds(finder, 2, true);
    assert_finds(finder, 4, true);
    PQfinish(slow);
    finder_destroy(&finder);
}

static void a_withdrawn_picture_is_told_as_such(void **state)
{
    struct finder *finder = finder_new();
    struct ledger_rows rows;

    (void)state;
    store("cats", 1, true);
    kit_postgres_exec(pg.conninfo, "INSERT INTO withdrawn (subject, reason) SELECT subject, 'asked' "
                                   "FROM images");
    rows = find(finder, 1, 3);
    assert_int_equal(rows.count, 1);
    assert_true(rows.row[0].withdrawn);
    ledger_rows_release(&rows);
    kit_postgres_exec(pg.conninfo, "DELETE FROM likenesses");
    assert_finds(finder, 1, false);             /* its key is gone */
    finder_destroy(&finder);
}

static void the_likeliest_come_first(void **state)
{
    struct finder *finder = finder_new();
    uint64_t hashes[4], other[HASHES];
    struct ledger_rows rows;

    (void)state;
    for (uint32_t seed = 1; seed <= 100; seed++)
        store("cats", seed, true);
    hashes_of(40, other);
    memcpy(hashes, (uint64_t[]){ other[2] ^ 0xf0, other[3] ^ 0xf0 }, 2 * sizeof *hashes);
    hashes_of(60, other);
    memcpy(hashes + 2, (uint64_t[]){ other[4], other[5] }, 2 * sizeof *hashes);
    struct errand *errand = asked(finder, hashes, 4);
    struct digest first = key_of(60), second = key_of(40);

    rows = finder_rows(errand);
    errand_destroy(&errand);
    assert_int_equal(rows.count, 2);
    assert_true(digest_equal(&rows.row[0].key, &first) && rows.row[0].distance == 0);
    assert_true(digest_equal(&rows.row[1].key, &second) && rows.row[1].distance == 4);
    ledger_rows_release(&rows);
    finder_destroy(&finder);
}

static void hashes_that_are_none_are_refused(void **state)
{
    static const char *const BAD[] = { "0123", "00000000000000000", "0000000000000000000000000000000g",
                                       "0000000000000000000000000000000F" };
    struct finder *finder = finder_new();
    struct errand *errand;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct text like = { BAD[i], strlen(BAD[i]) };

        assert_int_equal(finder_ask(finder, like, 10, &errand, &e), ERR_INVALID);
        assert_null(errand);
    }
    finder_destroy(&finder);
}

/* ---- by time and by job ---- */

static struct ledger_rows rows_of(const struct ledger_query *query)
{
    struct ledger_rows rows;
    struct err e;

    must(ledger_find(ledger, query, &rows, &e), &e);
    return rows;
}

static void what_was_stored_since_comes_newest_first(void **state)
{
    static const int AGES[] = { 0, 3, 100, 4000, 90000, 40000000 };
    int64_t now = (int64_t)time(NULL);
    char sql[200];

    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        struct recipe recipe = recipe_of(i % 2 ? "dogs" : "cats", i);
        struct digest key = recipe_key(&recipe);

        store(i % 2 ? "dogs" : "cats", i, false);
        snprintf(sql, sizeof sql, "UPDATE images SET created = now() - interval '%d s' WHERE key = "
                                  "'\\x%s'", AGES[i], digest_hex(&key).text);
        kit_postgres_exec(pg.conninfo, sql);
    }
    for (int limit = 1; limit <= 7; limit += 3)
        for (int i = 0; i < 6; i++) {
            struct ledger_query q = { .by = LEDGER_BY_SINCE, .any_model = true,
                                      .since = now - AGES[i] - 60, .limit = (size_t)limit };
            int count = 0, expected = 0;
            struct ledger_rows rows = rows_of(&q);

            for (int k = 0; k < 6; k++)
                count += AGES[k] <= AGES[i] + 58;
            expected = count < limit ? count : limit;
            assert_int_equal(rows.count, expected);
            for (int k = 0; k < expected; k++)
                assert_int_equal(rows.row[k].recipe.seed, k);
            ledger_rows_release(&rows);
        }
    struct ledger_query q = { .by = LEDGER_BY_SINCE, .limit = 10, .since = 0,
                              .model = digest_of("dogs", 4) };
    struct ledger_rows rows = rows_of(&q);

    assert_int_equal(rows.count, 3);
    for (int k = 0; k < 3; k++)
        assert_int_equal(rows.row[k].recipe.seed, 2 * k + 1);
    ledger_rows_release(&rows);
    q.since = now + 100000;
    rows = rows_of(&q);
    assert_int_equal(rows.count, 0);
    ledger_rows_release(&rows);
}

static void the_pictures_of_a_job_come_in_its_order(void **state)
{
    struct ledger_job job = { .owner = "me", .name = "both", .keep = true, .chunk = 10,
                              .priority = 2 };
    struct ledger_part parts[2] = {
        { .item = 0, .first = 500, .last = 599, .recipe = recipe_of("cats", 500) },
        { .item = 100, .first = 7, .last = 206, .recipe = recipe_of("dogs", 7) },
    };
    struct ledger_query q = { .by = LEDGER_BY_JOB, .first = 30, .limit = 100 };
    struct ledger_rows rows;
    struct err e;
    bool is_new;

    (void)state;
    must(ledger_bulk_submit(ledger, &job, parts, 2, &is_new, &e), &e);
    for (uint32_t seed = 599; seed >= 500; seed--)
        if (seed != 550)                        /* not made yet */
            store("cats", seed, false);
    for (uint32_t seed = 7; seed < 60; seed++)
        store("dogs", seed, false);
    q.job = job.id;
    rows = rows_of(&q);
    assert_int_equal(rows.count, 99);
    for (uint32_t i = 0; i < 99; i++) {
        uint32_t item = 30 + i + (i >= 20);     /* of the hundred from item 30 on, without 50 */

        assert_int_equal(rows.row[i].recipe.seed, item < 100 ? 500 + item : item - 93);
    }
    ledger_rows_release(&rows);
    q.first = 298;
    rows = rows_of(&q);
    assert_int_equal(rows.count, 0);
    ledger_rows_release(&rows);
    q.first = 1000;                             /* behind its end */
    rows = rows_of(&q);
    assert_int_equal(rows.count, 0);
    ledger_rows_release(&rows);
    q.job = 999999;
    assert_int_equal(ledger_find(ledger, &q, &rows, &e), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_stored_is_found_at_once, clean),
        cmocka_unit_test_setup(a_picture_that_commits_after_a_later_one_is_found, clean),
        cmocka_unit_test_setup(a_withdrawn_picture_is_told_as_such, clean),
        cmocka_unit_test_setup(the_likeliest_come_first, clean),
        cmocka_unit_test_setup(hashes_that_are_none_are_refused, clean),
        cmocka_unit_test_setup(what_was_stored_since_comes_newest_first, clean),
        cmocka_unit_test_setup(the_pictures_of_a_job_come_in_its_order, clean),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
