/* Two schemas side by side: what a program of the first one says to a ledger of the second, word
 * for word (git show 222edd2:sql/ledger_store.c, ledger_find.c), and what becomes of its rows. */
#include "sql/ledger_check.h"
#include "sql/migrations.h"
#include "tests/kit_pictures.h"

#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the statements of schema 1, as they were ---- */

static const char OLD_PUT_MODEL[] =
    "INSERT INTO models (digest, arch, width, height, num_ws, z_dim, w_dim, c_dim, noise_modes,"
    "                    has_transform, licence)"
    " SELECT $1::bytea, $2::text, $3::int, $4::int, $5::int, $6::int, $7::int, $8::int, $9::int,"
    "        $10::boolean, $11::text"
    " WHERE NOT EXISTS (SELECT 1 FROM models WHERE digest = $1::bytea)"
    " ON CONFLICT (digest) DO NOTHING";
static const char OLD_START_RUN[] =
    "INSERT INTO runs (worker, version, backend, device, driver, numerics_class, encoder,"
    "                  libraries)"
    " VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text)"
    " RETURNING id";
static const char OLD_ADD_OPTIONS[] =
    "INSERT INTO options (text) VALUES ($1::text) ON CONFLICT (text) DO NOTHING";
static const char OLD_STORE_IMAGE[] =
    "WITH won AS ("
    " INSERT INTO images (key, subject, file_sha, core_sha, model_id, seed, psi, options_id,"
    "                     run_id, batch_size, render_us, bytes, kept)"
    " SELECT $1::bytea, $2::bytea, $3::bytea, $4::bytea,"
    "        (SELECT id FROM models WHERE digest = $5::bytea),"
    "        $6::bigint, $7::int,"
    "        (SELECT id FROM options WHERE id = $8::int),"
    "        (SELECT id FROM runs WHERE id = $9::bigint AND numerics_class = $10::text"
    "                               AND encoder = $11::text),"
    "        $12::int, $13::bigint, $14::int, $15::boolean"
    " WHERE NOT EXISTS (SELECT 1 FROM withdrawn WHERE subject = $2::bytea)"
    " ON CONFLICT (key) DO NOTHING RETURNING key"
    "), file AS ("
    " INSERT INTO blobs (key, data) SELECT key, $16::bytea FROM won WHERE $15::boolean"
    ") SELECT 1 FROM won";
static const char OLD_FETCH_WINNER[] =
    "SELECT i.file_sha, i.core_sha, r.numerics_class, r.encoder, i.run_id, w.withdrawn,"
    " CASE WHEN i.kept AND NOT w.withdrawn"
    "      THEN (SELECT b.data FROM blobs b WHERE b.key = $1::bytea) END"
    " FROM (SELECT EXISTS (SELECT 1 FROM withdrawn WHERE subject = $2::bytea) AS withdrawn) w"
    " LEFT JOIN images i ON i.key = $1::bytea"
    " LEFT JOIN runs r ON r.id = i.run_id";
static const char OLD_FETCH_KEY[] =
    "SELECT i.key, m.digest, i.seed, i.psi, o.text, i.file_sha, i.core_sha, r.numerics_class,"
    " r.encoder, i.run_id, i.batch_size, i.bytes, i.kept, w.subject IS NOT NULL,"
    " to_char(i.created AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),"
    " r.worker, r.version, r.backend, r.device, r.driver, r.libraries,"
    " CASE WHEN i.kept AND w.subject IS NULL"
    "      THEN (SELECT b.data FROM blobs b WHERE b.key = $1::bytea) END"
    " FROM images i"
    " JOIN models m ON m.id = i.model_id"
    " JOIN options o ON o.id = i.options_id"
    " JOIN runs r ON r.id = i.run_id"
    " LEFT JOIN withdrawn w ON w.subject = i.subject"
    " WHERE i.key = $1::bytea";

enum { VALUES_MAX = 16, VALUE_MAX = 8000 };

/* Values as text, so that a page of code is a page of SQL. */
struct values {
    char text[VALUES_MAX][VALUE_MAX];
    int count;
};

static void add(struct values *self, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct values *self, const char *fmt, ...)
{
    va_list args;

    assert_true(self->count < VALUES_MAX);
    va_start(args, fmt);
    assert_in_range(vsnprintf(self->text[self->count++], VALUE_MAX, fmt, args), 0, VALUE_MAX - 1);
    va_end(args);
}

static void add_digest(struct values *self, const struct digest *digest)
{
    add(self, "\\x%s", digest_hex(digest).text);
}

static void add_bytes(struct values *self, const uint8_t *data, size_t len)
{
    char *out = self->text[self->count++];

    assert_true(2 * len + 3 <= VALUE_MAX);
    out += snprintf(out, VALUE_MAX, "\\x");
    for (size_t i = 0; i < len; i++)
        out += snprintf(out, sizeof "00", "%02x", data[i]);
}

static struct kit_pictures k;
static PGconn *old;                 /* the program of schema 1 */

static PGresult *ask(const char *sql, const struct values *values)
{
    const char *list[VALUES_MAX];
    PGresult *result;

    for (int i = 0; i < values->count; i++)
        list[i] = values->text[i];
    result = PQexecParams(old, sql, values->count, NULL, list, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(old));
    return result;
}

static void run_old(const char *sql, const struct values *values)
{
    PQclear(ask(sql, values));
}

/* Model, run and options as an old worker registers them at its start. */
static void old_worker_starts(const struct recipe *recipe)
{
    static const char *const RUN[] = { "host:1:1", "0.0.9", "cpu", "test", "none",
                                       "cpu-fp32-test-1", "libjpeg-turbo-old", "none" };
    struct recipe_text text = recipe_text(recipe);
    struct values *v = calloc(1, sizeof *v);

    add_digest(v, &k.facts.digest);
    add(v, "stylegan2");
    for (int i = 0; i < 2; i++)
        add(v, "%d", PICTURES_SIZE);
    add(v, "10");
    add(v, "32");
    add(v, "32");
    add(v, "0");
    add(v, "2");
    add(v, "false");
    add(v, "CC0");
    run_old(OLD_PUT_MODEL, v);
    v->count = 0;
    for (size_t i = 0; i < sizeof RUN / sizeof RUN[0]; i++)
        add(v, "%s", RUN[i]);
    run_old(OLD_START_RUN, v);
    v->count = 0;
    add(v, "%s", strstr(text.text, "cutoff="));
    run_old(OLD_ADD_OPTIONS, v);
    free(v);
}

/* Whether it was the first. */
static bool old_worker_stores(const struct ledger_image *image)
{
    struct digest key = recipe_key(&image->recipe), subject = recipe_subject(&image->recipe);
    struct values *v = calloc(1, sizeof *v);
    PGresult *result;
    bool won;

    add_digest(v, &key);
    add_digest(v, &subject);
    add_digest(v, &image->file_sha);
    add_digest(v, &image->core_sha);
    add_digest(v, &image->recipe.model);
    add(v, "%u", (unsigned)image->recipe.seed);
    add(v, "%d", (int)image->recipe.psi);
    add(v, "1");
    add(v, "1");
    add(v, "cpu-fp32-test-1");
    add(v, "libjpeg-turbo-old");
    add(v, "8");
    add(v, "1000");
    add(v, "%zu", image->len);
    add(v, "true");
    add_bytes(v, image->data, image->len);
    run_old("BEGIN", &(struct values){ .count = 0 });
    run_old("SELECT pg_advisory_xact_lock_shared(7301)", &(struct values){ .count = 0 });
    result = ask(OLD_STORE_IMAGE, v);
    won = PQntuples(result) == 1;
    PQclear(result);
    run_old("COMMIT", &(struct values){ .count = 0 });
    free(v);
    return won;
}

/* Length of the file that an old program is given; -1: none. */
static int old_program_fetches(const struct recipe *recipe, const char *sql, int column)
{
    struct digest key = recipe_key(recipe), subject = recipe_subject(recipe);
    struct values *v = calloc(1, sizeof *v);
    PGresult *result;
    int len;

    add_digest(v, &key);
    if (sql == OLD_FETCH_WINNER)
        add_digest(v, &subject);
    result = ask(sql, v);
    assert_int_equal(PQntuples(result), 1);
    len = PQgetisnull(result, 0, column) ? -1 : (PQgetlength(result, 0, column) - 2) / 2;
    PQclear(result);
    free(v);
    return len;
}

/* ---- the tests ---- */

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

static int connect_old(void **state)
{
    (void)state;
    old = PQconnectdb(k.pg.conninfo);
    return PQstatus(old) == CONNECTION_OK ? 0 : -1;
}

static int disconnect_old(void **state)
{
    (void)state;
    PQfinish(old);
    if (k.ledger)
        pictures_close(&k);
    return 0;
}

/* Back to what the first migration alone leaves. */
static void make_schema_1(void)
{
    kit_postgres_exec(k.pg.conninfo, "SET client_min_messages TO warning;"
                                     "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    assert_int_equal(MIGRATIONS[0].number, 1);
    kit_postgres_exec(k.pg.conninfo, MIGRATIONS[0].text);
    kit_postgres_exec(k.pg.conninfo, "INSERT INTO schema_version (number, name)"
                                     " VALUES (1, 'initial')");
}

static void fail_finding(void *arg, const struct ledger_finding *finding)
{
    (void)arg;
    fail_msg("%s: %s", ledger_fault_word(finding->fault), finding->words);
}

/* A new program finds it whole, with its file. */
static void new_program_has(uint32_t seed)
{
    struct ledger_check check = { .found = fail_finding };
    struct digest key = pictures_key(&k, seed);
    struct ledger_rows rows;
    struct err e;

    assert_int_equal(ledger_find_keys(k.ledger, &key, 1, true, &rows, &e), ERR_OK);
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.row[0].job_id, 0);
    assert_string_equal(rows.row[0].encoder, "libjpeg-turbo-old");
    assert_non_null(rows.row[0].data);
    ledger_rows_release(&rows);
    assert_int_equal(ledger_check_pictures(k.ledger, &check, &e), ERR_OK);
    assert_true(check.done);
    assert_true(check.files > 0);
}

static void rows_of_the_first_schema_survive_the_second(void **state)
{
    struct kit_picture picture;
    struct err e;

    (void)state;
    make_schema_1();
    picture = picture_paint(&k, 7, 700000, 0);
    old_worker_starts(&picture.image.recipe);
    assert_true(old_worker_stores(&picture.image));
    assert_int_equal(ledger_open(k.pg.conninfo, "new", &k.ledger, &e), ERR_VERSION);
    assert_null(k.ledger);
    assert_int_equal(ledger_migrate(k.pg.conninfo, false, NULL, NULL, &e), ERR_OK);
    assert_int_equal(ledger_open(k.pg.conninfo, "new", &k.ledger, &e), ERR_OK);
    new_program_has(7);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images WHERE job_id IS NULL"
                                      " AND segment IS NULL AND place IS NULL AND kept"), 1);
    picture_forget(&picture);
}

/* The database is migrated first, the programs one after another later: for a while old ones write
 * into the new schema and read what new ones wrote. */
static void a_program_of_the_first_schema_goes_on_running_on_the_second(void **state)
{
    struct kit_picture before = picture_paint(&k, 7, 700000, 0), after, other;
    struct ledger_stored stored;
    struct err e;

    (void)state;
    make_schema_1();
    old_worker_starts(&before.image.recipe);        /* connected before ... */
    assert_int_equal(ledger_migrate(k.pg.conninfo, false, NULL, NULL, &e), ERR_OK);
    assert_true(old_worker_stores(&before.image));  /* ... and writing after it */
    assert_false(old_worker_stores(&before.image));
    assert_int_equal(old_program_fetches(&before.image.recipe, OLD_FETCH_KEY, 21),
                     before.image.len);
    assert_int_equal(ledger_open(k.pg.conninfo, "new", &k.ledger, &e), ERR_OK);
    new_program_has(7);

    after = picture_paint(&k, 8, 700000, 0);        /* the new worker is first: the old one sees */
    after.image.run_id = 1;
    after.image.encoder = "libjpeg-turbo-old";
    assert_int_equal(ledger_store(k.ledger, &after.image, 1, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_STORED);
    other = picture_paint(&k, 8, 700000, 1);
    assert_false(old_worker_stores(&other.image));
    assert_int_equal(old_program_fetches(&after.image.recipe, OLD_FETCH_WINNER, 6),
                     after.image.len);
    picture_forget(&before);
    picture_forget(&after);
    picture_forget(&other);
}

/* N and N + 1: a release may find that its database was migrated for the next one. */
static void a_program_runs_on_the_next_schema_and_not_on_the_one_behind_it(void **state)
{
    struct err e;

    (void)state;
    pictures_open(&k);
    pictures_store(&k, 1, 1);
    pictures_close(&k);
    pictures_sql(&k, "INSERT INTO schema_version (number, name) VALUES (%d, 'next');"
                     "ALTER TABLE images ADD COLUMN next int;"
                     "CREATE TABLE nexts (id int)", LEDGER_SCHEMA + 1);
    assert_int_equal(ledger_open(k.pg.conninfo, "new", &k.ledger, &e), ERR_OK);
    pictures_store(&k, 2, 2);
    pictures_close(&k);
    pictures_sql(&k, "INSERT INTO schema_version (number, name) VALUES (%d, 'after')",
                 LEDGER_SCHEMA + 2);
    assert_int_equal(ledger_open(k.pg.conninfo, "new", &k.ledger, &e), ERR_VERSION);
    assert_non_null(strstr(e.msg, "install a newer seedpress"));
    assert_null(k.ledger);
    assert_int_equal(ledger_migrate(k.pg.conninfo, false, NULL, NULL, &e), ERR_VERSION);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, connect_old, disconnect_old)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_of_the_first_schema_survive_the_second),
        TEST(a_program_of_the_first_schema_goes_on_running_on_the_second),
        TEST(a_program_runs_on_the_next_schema_and_not_on_the_one_behind_it),
    };
    return cmocka_run_group_tests(tests, start, end);
}
