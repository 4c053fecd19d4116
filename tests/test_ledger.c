#include "sql/ledger.h"

#include "base/clock.h"
#include "sql/ledger_withdraw.h"
#include "sql/migrations.h"
#include "sql/segments.h"
#include "tests/kit_postgres.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

enum { BYTES_MAX = 64 };
static const char CLASS[] = "cpu-fp32-test-1";
static const char ENCODER[] = "libjpeg-turbo-2.1.5";

/* One server for all tests; each finds the tables empty, and a model, a run and a ledger. */
struct fixture {
    struct kit_postgres pg;
    struct ledger *ledger;
    struct model_facts facts;
    int64_t run_id;
    char segments[300];             /* folder, of the tests that have one */
};

/* A picture with its bytes. */
struct picture {
    struct ledger_image image;
    uint8_t data[BYTES_MAX];
};

static struct model_facts facts_of(const char *name)
{
    return (struct model_facts){ .digest = digest_of(name, strlen(name)), .width = 64,
                                 .height = 64, .num_ws = 10, .z_dim = 32, .w_dim = 32,
                                 .noise_modes = 1u << RECIPE_NOISE_CONST };
}

static struct recipe recipe_of(const struct fixture *f, uint32_t seed, int32_t psi)
{
    return (struct recipe){ .model = f->facts.digest, .seed = seed, .psi = psi, .cutoff = 10,
                            .class_index = -1, .noise = RECIPE_NOISE_CONST, .width = 64,
                            .height = 64, .quality = 90, .mark = RECIPE_MARK_XMP };
}

/* The picture of seed at psi 0.7 whose bytes and core are told by words. */
static void paint(struct picture *self, const struct fixture *f, uint32_t seed, const char *bytes,
                  const char *core)
{
    size_t len = strlen(bytes);
    assert_true(len > 0 && len <= BYTES_MAX);
    *self = (struct picture){ .image = { .recipe = recipe_of(f, seed, 700000),
                                         .file_sha = digest_of(bytes, len),
                                         .core_sha = digest_of(core, strlen(core)),
                                         .run_id = f->run_id, .numerics_class = CLASS,
                                         .encoder = ENCODER, .batch_size = 8, .render_us = 12345,
                                         .len = len, .keep = true } };
    memcpy(self->data, bytes, len);
    self->image.data = self->data;
}

static enum err_code store_one(struct fixture *f, struct picture *picture,
                               struct ledger_stored *stored, struct err *e)
{
    picture->image.data = picture->data;
    return ledger_store(f->ledger, &picture->image, 1, stored, e);
}

static void assert_stored(struct fixture *f, struct picture *picture, enum ledger_outcome outcome)
{
    struct ledger_stored stored;
    struct err e = { ERR_OK };
    if (store_one(f, picture, &stored, &e) != ERR_OK)
        fail_msg("%s", e.msg);
    assert_int_equal(stored.outcome, outcome);
    assert_false(stored.alarm);
    free(stored.data);
}

static void start_run(struct fixture *f, const char *numerics_class, const char *encoder,
                      int64_t *run_id)
{
    struct ledger_run run = { .worker = "host:1:2", .version = "0.1", .backend = "cpu",
                              .device = "test", .driver = "none", .libraries = "none",
                              .numerics_class = numerics_class, .encoder = encoder };
    struct err e;
    assert_int_equal(ledger_start_run(f->ledger, &run, run_id, &e), ERR_OK);
}

static void put_model(struct fixture *f, const struct model_facts *facts, const char *name)
{
    struct ledger_model model = { .name = name, .facts = facts, .arch = "stylegan2",
                                  .licence = "CC0" };
    struct err e;
    assert_int_equal(ledger_put_model(f->ledger, &model, &e), ERR_OK);
}

static struct digest key_of(const struct picture *picture)
{
    return recipe_key(&picture->image.recipe);
}

static struct ledger_rows find_by(struct fixture *f, struct ledger_query query)
{
    struct ledger_rows rows;
    struct err e;
    if (ledger_find(f->ledger, &query, &rows, &e) != ERR_OK)
        fail_msg("%s", e.msg);
    return rows;
}

static void assert_found(struct fixture *f, struct ledger_query query, size_t count)
{
    struct ledger_rows rows = find_by(f, query);
    assert_int_equal(rows.count, count);
    ledger_rows_release(&rows);
}

static struct ledger_row fetch(struct fixture *f, const struct digest *key, uint8_t *data)
{
    struct ledger_rows rows;
    struct ledger_row row;
    struct err e;
    assert_int_equal(ledger_find_keys(f->ledger, key, 1, true, &rows, &e), ERR_OK);
    assert_int_equal(rows.count, 1);
    row = rows.row[0];
    assert_true(row.len <= BYTES_MAX);
    if (row.data) {
        memcpy(data, row.data, row.len);
        row.data = data;
    }
    ledger_rows_release(&rows);
    return row;
}

static void run_sql(struct fixture *f, const char *sql)
{
    kit_postgres_exec(f->pg.conninfo, sql);
}

static int64_t count_of(struct fixture *f, const char *sql)
{
    return kit_postgres_int(f->pg.conninfo, sql);
}

static int start_server(void **state)
{
    static struct fixture f;
    struct err e;
    kit_postgres_start(&f.pg);
    f.facts = facts_of("model a");
    assert_int_equal(ledger_migrate(f.pg.conninfo, false, NULL, NULL, &e), ERR_OK);
    *state = &f;
    return 0;
}

static int end_server(void **state)
{
    struct fixture *f = *state;
    kit_postgres_destroy(&f->pg);
    return 0;
}

static int empty_tables(void **state)
{
    struct fixture *f = *state;
    struct err e;
    run_sql(f, "TRUNCATE models, model_names, runs, options, images, blobs, withdrawn, bulk_jobs, "
               "bulk_parts, chunks, bulk_failures, likenesses, segments, retention");
    assert_int_equal(ledger_open(f->pg.conninfo, "test_ledger", &f->ledger, &e), ERR_OK);
    put_model(f, &f->facts, "cats");
    start_run(f, CLASS, ENCODER, &f->run_id);
    return 0;
}

/* As empty_tables, with a folder of segments of the test's own. */
static int empty_tables_and_segments(void **state)
{
    static int folders;
    struct fixture *f = *state;
    struct err e;

    empty_tables(state);
    run_sql(f, "TRUNCATE segments");
    snprintf(f->segments, sizeof f->segments, "%s/segments%d", f->pg.dir, folders++);
    assert_int_equal(mkdir(f->segments, 0700), 0);
    struct ledger_segments options = { .folder = f->segments, .writer = "test" };
    assert_int_equal(ledger_use_segments(f->ledger, &options, &e), ERR_OK);
    return 0;
}

static int close_ledger(void **state)
{
    struct fixture *f = *state;
    ledger_close(&f->ledger);
    return 0;
}

/* ---- migrations ---- */

static void note_migration(void *arg, int number, const char *name)
{
    char *notes = arg;
    size_t len = strlen(notes);
    snprintf(notes + len, 256 - len, "%d %s;", number, name);
}

static void new_database(struct fixture *f, const char *name, char conninfo[600])
{
    char sql[200];
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", name);
    run_sql(f, sql);
    snprintf(conninfo, 600, "%s dbname=%s", f->pg.conninfo, name);
}

#define ALL_MIGRATIONS "1 initial;2 bulk_and_proof;"

static void migrates_from_nothing_and_only_once(void **state)
{
    struct fixture *f = *state;
    char conninfo[600], notes[256] = "";
    struct ledger *ledger;
    struct err e;

    assert_int_equal(MIGRATION_COUNT, LEDGER_SCHEMA);
    new_database(f, "fresh", conninfo);
    assert_int_equal(ledger_migrate(conninfo, true, note_migration, notes, &e), ERR_OK);
    assert_string_equal(notes, ALL_MIGRATIONS);
    assert_int_equal(kit_postgres_int(conninfo, "SELECT count(*) FROM pg_class WHERE relname IN "
                                                "('images', 'schema_version')"), 0);
    notes[0] = '\0';
    assert_int_equal(ledger_migrate(conninfo, false, note_migration, notes, &e), ERR_OK);
    assert_string_equal(notes, ALL_MIGRATIONS);
    notes[0] = '\0';
    assert_int_equal(ledger_migrate(conninfo, false, note_migration, notes, &e), ERR_OK);
    assert_int_equal(ledger_migrate(conninfo, true, note_migration, notes, &e), ERR_OK);
    assert_string_equal(notes, "");
    assert_int_equal(kit_postgres_int(conninfo, "SELECT count(*) FROM schema_version"),
                     MIGRATION_COUNT);
    assert_int_equal(ledger_open(conninfo, "test", &ledger, &e), ERR_OK);
    ledger_close(&ledger);
}

static void two_migrators_at_once_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    char conninfo[600];
    pid_t pid[3];

    new_database(f, "raced", conninfo);
    for (size_t i = 0; i < COUNT(pid); i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            struct err e;
            _exit(ledger_migrate(conninfo, false, NULL, NULL, &e) == ERR_OK ? 0 : 1);
        }
    }
    for (size_t i = 0; i < COUNT(pid); i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(kit_postgres_int(conninfo, "SELECT count(*) FROM schema_version"),
                     MIGRATION_COUNT);
}

static void a_schema_too_old_or_too_new_is_refused_with_words(void **state)
{
    struct fixture *f = *state;
    char conninfo[600], sql[200];
    struct ledger *ledger;
    struct err e;

    new_database(f, "aged", conninfo);
    assert_int_equal(ledger_open(conninfo, "test", &ledger, &e), ERR_VERSION);
    assert_null(ledger);
    assert_non_null(strstr(e.msg, "run \"seedpress ledger migrate\""));

    assert_int_equal(ledger_migrate(conninfo, false, NULL, NULL, &e), ERR_OK);
    snprintf(sql, sizeof sql, "INSERT INTO schema_version VALUES (%d, 'next')", LEDGER_SCHEMA + 1);
    kit_postgres_exec(conninfo, sql);
    assert_int_equal(ledger_open(conninfo, "test", &ledger, &e), ERR_OK);
    ledger_close(&ledger);

    snprintf(sql, sizeof sql, "INSERT INTO schema_version VALUES (%d, 'later')",
             LEDGER_SCHEMA + 2);
    kit_postgres_exec(conninfo, sql);
    assert_int_equal(ledger_open(conninfo, "test", &ledger, &e), ERR_VERSION);
    assert_null(ledger);
    assert_non_null(strstr(e.msg, "too new"));
    assert_int_equal(ledger_migrate(conninfo, false, NULL, NULL, &e), ERR_VERSION);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int embed(const char *folder, char *out, size_t size)
{
    char command[400];
    snprintf(command, sizeof command, "sh sql/embed.sh %s 2>/dev/null", folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    out[fread(out, 1, size - 1, pipe)] = '\0';
    return pclose(pipe);
}

static void migrations_are_embedded_byte_for_byte(void **state)
{
    struct fixture *f = *state;
    char out[2048], folder[300];

    snprintf(folder, sizeof folder, "%s/migrations", f->pg.dir);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_not_equal(embed(folder, out, sizeof out), 0);    /* nothing there */
    write_file(folder, "0001_odd_one.sql", "SELECT 'it''s';\nx \"q\" \\d ?" "?/ %s\n");
    write_file(folder, "0002_tail.sql", "no line end");
    assert_int_equal(embed(folder, out, sizeof out), 0);
    assert_non_null(strstr(out, "{ 1, \"odd_one\", \"\"\n      \"SELECT 'it''s';\\n\"\n"));
    assert_non_null(strstr(out, "      \"x \\\"q\\\" \\\\d \\?\\?/ %s\\n\"\n"));
    assert_non_null(strstr(out, "{ 2, \"tail\", \"\"\n      \"no line end\\n\"\n"));
    write_file(folder, "0004_gap.sql", "");
    assert_int_not_equal(embed(folder, out, sizeof out), 0);
}

/* ---- storing and finding ---- */

static void a_stored_picture_is_found_in_every_way(void **state)
{
    struct fixture *f = *state;
    struct picture p, q;
    struct digest key;
    uint8_t data[BYTES_MAX];
    struct ledger_row row;
    struct digest other = digest_of("other", 5);

    paint(&p, f, 4294967295u, "bytes of one", "core of one");
    paint(&q, f, 4294967295u, "bytes of two", "core of two");
    q.image.recipe.psi = -2000000;
    q.image.keep = false;
    assert_stored(f, &p, LEDGER_STORED);
    assert_stored(f, &q, LEDGER_STORED);
    assert_stored(f, &p, LEDGER_SAME);
    assert_stored(f, &q, LEDGER_SAME);

    key = key_of(&p);
    row = fetch(f, &key, data);
    assert_true(digest_equal(&row.key, &key));
    assert_true(digest_equal(&row.file_sha, &p.image.file_sha));
    assert_true(digest_equal(&row.core_sha, &p.image.core_sha));
    assert_string_equal(row.numerics_class, CLASS);
    assert_string_equal(row.encoder, ENCODER);
    assert_string_equal(row.worker, "host:1:2");
    assert_int_equal(row.run_id, f->run_id);
    assert_int_equal(row.batch_size, 8);
    assert_int_equal(row.bytes, p.image.len);
    assert_true(row.kept && !row.withdrawn);
    assert_int_equal(row.len, p.image.len);
    assert_memory_equal(row.data, p.data, row.len);
    assert_int_equal(strlen(row.created), strlen("2026-01-02T03:04:05.678901Z"));
    static const char *const TIMES[] = { "2026-01-02T03:04:05.678901Z", "1999-12-31T23:59:59.000009Z",
                                         "2000-02-29T00:00:00.000000Z" };
    for (size_t i = 0; i < COUNT(TIMES); i++) {
        char sql[100];
        snprintf(sql, sizeof sql, "UPDATE images SET created = '%s'", TIMES[i]);
        run_sql(f, sql);
        assert_string_equal(fetch(f, &key, data).created, TIMES[i]);
    }
    run_sql(f, "UPDATE images SET created = now() - interval '1 hour' * (psi / 1000000 + 2)");

    key = key_of(&q);
    row = fetch(f, &key, data);
    assert_false(row.kept);
    assert_null(row.data);
    assert_int_equal(row.bytes, q.image.len);

    struct ledger_query by = { .by = LEDGER_BY_KEY, .digest = key, .limit = 10 };
    assert_found(f, by, 1);
    by = (struct ledger_query){ .by = LEDGER_BY_FILE_SHA, .digest = p.image.file_sha, .limit = 10 };
    assert_found(f, by, 1);
    by = (struct ledger_query){ .by = LEDGER_BY_CORE_SHA, .digest = p.image.core_sha, .limit = 10 };
    assert_found(f, by, 1);
    by.digest = other;
    assert_found(f, by, 0);
    by = (struct ledger_query){ .by = LEDGER_BY_SEED, .model = f->facts.digest,
                                .seed = 4294967295u, .psi = INT64_MIN, .limit = 10 };
    assert_found(f, by, 2);
    by.limit = 1;
    struct ledger_rows rows = find_by(f, by);
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.row[0].recipe.psi, -2000000);         /* the newer one */
    ledger_rows_release(&rows);
    by.limit = 10;
    by.psi = 700000;
    assert_found(f, by, 1);
    by.psi = 700001;
    assert_found(f, by, 0);
    by.psi = INT64_MIN;
    by.model = other;
    assert_found(f, by, 0);
    by.any_model = true;
    assert_found(f, by, 2);
    by.seed = 1;
    assert_found(f, by, 0);
}

static void look_ups_beyond_their_limits_are_refused(void **state)
{
    struct fixture *f = *state;
    struct ledger_query by = { .by = LEDGER_BY_SEED, .any_model = true, .psi = 2000001,
                               .limit = 1 };
    struct ledger_rows rows;
    struct err e;
    assert_int_equal(ledger_find(f->ledger, &by, &rows, &e), ERR_RANGE);
    by.psi = INT64_MIN;
    by.limit = 0;
    assert_int_equal(ledger_find(f->ledger, &by, &rows, &e), ERR_RANGE);
    by.limit = LEDGER_ROWS_MAX + 1;
    assert_int_equal(ledger_find(f->ledger, &by, &rows, &e), ERR_RANGE);
    assert_int_equal(rows.count, 0);
}

/* What a sample from that first byte on gives; count 0: nothing. */
static void assert_sampled(struct fixture *f, const char *numerics_class, const char *encoder,
                           int first_byte, const struct digest *key)
{
    struct digest from = { { (uint8_t)first_byte } };
    struct ledger_rows rows;
    struct err e;

    assert_int_equal(ledger_sample(f->ledger, numerics_class, encoder, &from, &rows, &e), ERR_OK);
    assert_int_equal(rows.count, key != NULL);
    if (key) {
        assert_true(digest_equal(&rows.row[0].key, key));
        assert_null(rows.row[0].data);
    }
    ledger_rows_release(&rows);
}

static void a_sample_is_of_one_s_own_class_and_goes_round(void **state)
{
    struct fixture *f = *state;
    struct digest low, high;
    struct picture picture;
    char sql[200];

    assert_sampled(f, CLASS, ENCODER, 0, NULL);
    paint(&picture, f, 1, "bytes 1", "core 1");
    assert_stored(f, &picture, LEDGER_STORED);
    low = high = key_of(&picture);
    paint(&picture, f, 2, "bytes 2", "core 2");
    assert_stored(f, &picture, LEDGER_STORED);
    if (memcmp(key_of(&picture).bytes, low.bytes, DIGEST_LEN) < 0)
        low = key_of(&picture);
    else
        high = key_of(&picture);
    assert_int_not_equal(low.bytes[0], high.bytes[0]);
    assert_sampled(f, CLASS, ENCODER, 0, &low);
    assert_sampled(f, CLASS, ENCODER, low.bytes[0] + 1, &high);
    assert_sampled(f, CLASS, ENCODER, high.bytes[0] + 1, &low);  /* round */
    assert_sampled(f, "cpu-other-1", ENCODER, 0, NULL);
    assert_sampled(f, CLASS, "other-1", 0, NULL);
    snprintf(sql, sizeof sql, "INSERT INTO withdrawn SELECT subject, 'test' FROM images "
             "WHERE key = '\\x%s'", digest_hex(&low).text);
    run_sql(f, sql);
    assert_sampled(f, CLASS, ENCODER, 0, &high);
}

static void a_full_batch_is_stored_and_found_by_its_keys(void **state)
{
    struct fixture *f = *state;
    static struct picture picture[LEDGER_BATCH_MAX];
    struct ledger_image images[LEDGER_BATCH_MAX];
    struct ledger_stored stored[LEDGER_BATCH_MAX];
    struct digest keys[LEDGER_BATCH_MAX];
    struct ledger_rows rows;
    struct err e;

    for (size_t i = 0; i < COUNT(images); i++) {
        char bytes[32];
        snprintf(bytes, sizeof bytes, "picture %zu", i);
        paint(&picture[i], f, (uint32_t)i, bytes, bytes);
        images[i] = picture[i].image;
        keys[i] = key_of(&picture[i]);
    }
    assert_int_equal(ledger_store(f->ledger, images, COUNT(images), stored, &e), ERR_OK);
    for (size_t i = 0; i < COUNT(images); i++)
        assert_int_equal(stored[i].outcome, LEDGER_STORED);
    keys[0] = digest_of("nothing", 7);
    assert_int_equal(ledger_find_keys(f->ledger, keys, COUNT(keys), true, &rows, &e), ERR_OK);
    assert_int_equal(rows.count, COUNT(keys) - 1);
    for (size_t i = 0; i < rows.count; i++) {
        struct digest got = digest_of(rows.row[i].data, rows.row[i].len);
        assert_true(digest_equal(&got, &images[rows.row[i].recipe.seed].file_sha));
    }
    ledger_rows_release(&rows);
    assert_int_equal(ledger_find_keys(f->ledger, keys, COUNT(keys), false, &rows, &e), ERR_OK);
    assert_int_equal(rows.count, COUNT(keys) - 1);
    assert_null(rows.row[0].data);
    assert_true(rows.row[0].kept);
    ledger_rows_release(&rows);
    assert_int_equal(ledger_find_keys(f->ledger, keys, 0, false, &rows, &e), ERR_OK);
    assert_int_equal(rows.count, 0);
    ledger_rows_release(&rows);
    assert_int_equal(count_of(f, "SELECT count(*) FROM options"), 1);
}

static void every_recipe_comes_back_as_the_same_text(void **state)
{
    struct fixture *f = *state;
    struct recipe kinds[9];
    for (size_t i = 0; i < COUNT(kinds); i++)
        kinds[i] = recipe_of(f, (uint32_t)i, -1300000);
    kinds[1].cutoff = 3;
    kinds[2].class_index = 65535;
    kinds[3].noise = RECIPE_NOISE_RANDOM;
    kinds[3].noise_seed = 4294967295u;
    kinds[4].noise = RECIPE_NOISE_STREAM;
    kinds[5].transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR, .tx = -1,
                                                    .ty = 250000, .degrees = 90000000 };
    kinds[6].transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_MATRIX,
                                                    .m = { 1, 0.5f, -0.25f, 0, 1, 3, 0, 0, 1 } };
    kinds[7].mark = RECIPE_MARK_C2PA;
    kinds[7].quality = 100;
    kinds[8].rev = 7;
    kinds[8].noise = RECIPE_NOISE_NONE;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        struct picture p;
        uint8_t data[BYTES_MAX];
        struct digest key = recipe_key(&kinds[i]);
        paint(&p, f, 0, "bytes", "core");
        p.image.recipe = kinds[i];
        assert_stored(f, &p, LEDGER_STORED);
        struct ledger_row row = fetch(f, &key, data);
        struct recipe_text asked = recipe_text(&kinds[i]), got = recipe_text(&row.recipe);
        assert_string_equal(got.text, asked.text);
    }
    assert_int_equal(count_of(f, "SELECT count(*) FROM options"), COUNT(kinds));
}

static void more_options_than_are_remembered_are_stored_all_the_same(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 80; i++) {
            struct picture p;
            paint(&p, f, i, "bytes", "core");
            p.image.recipe.noise = RECIPE_NOISE_RANDOM;
            p.image.recipe.noise_seed = i;
            assert_stored(f, &p, round == 0 ? LEDGER_STORED : LEDGER_SAME);
        }
    assert_int_equal(count_of(f, "SELECT count(*) FROM options"), 80);
}

static void a_row_that_was_tampered_with_is_not_answered(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    struct ledger_rows rows;
    struct err e;
    paint(&p, f, 5, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
    run_sql(f, "UPDATE images SET seed = 6");
    struct digest key = key_of(&p);
    assert_int_equal(ledger_find_keys(f->ledger, &key, 1, true, &rows, &e), ERR_BUG);
    assert_int_equal(rows.count, 0);
    assert_non_null(strstr(e.msg, digest_hex(&key).text));
    assert_int_equal(ledger_ping(f->ledger, &e), ERR_OK);
}

/* ---- models and names ---- */

static void a_name_is_proposed_once_and_moved_on_demand(void **state)
{
    struct fixture *f = *state;
    struct model_facts b = facts_of("model b");
    struct digest nobody = digest_of("nobody", 6);
    struct ledger_name names[4];
    size_t count;
    struct err e;

    put_model(f, &b, "cats");       /* taken: b is registered without it */
    put_model(f, &b, "avatars");
    put_model(f, &f->facts, "cats");
    assert_int_equal(ledger_names(f->ledger, names, COUNT(names), &count, &e), ERR_OK);
    assert_int_equal(count, 2);
    assert_string_equal(names[0].name, "avatars");
    assert_string_equal(names[1].name, "cats");
    assert_true(digest_equal(&names[0].digest, &b.digest));
    assert_true(digest_equal(&names[1].digest, &f->facts.digest));

    assert_int_equal(ledger_bind_name(f->ledger, "cats", &b.digest, &e), ERR_OK);
    assert_int_equal(ledger_bind_name(f->ledger, "Dogs-2", &b.digest, &e), ERR_OK);
    assert_int_equal(ledger_names(f->ledger, names, COUNT(names), &count, &e), ERR_OK);
    assert_int_equal(count, 3);
    assert_string_equal(names[0].name, "Dogs-2");       /* bytewise, whatever the locale */
    assert_true(digest_equal(&names[2].digest, &b.digest));
    assert_int_equal(ledger_names(f->ledger, names, 1, &count, &e), ERR_OK);
    assert_int_equal(count, 1);

    assert_int_equal(ledger_bind_name(f->ledger, "cats", &nobody, &e), ERR_UNKNOWN_MODEL);
    assert_int_equal(ledger_bind_name(f->ledger, "../cats", &b.digest, &e), ERR_INVALID);
    assert_int_equal(ledger_bind_name(f->ledger, "", &b.digest, &e), ERR_INVALID);
}

static void all_facts_of_a_registered_model_can_be_read(void **state)
{
    struct fixture *f = *state;
    struct model_facts b = facts_of("model b");
    struct ledger_model model = { "dogs", &b, "stylegan3-r", "CC0 1.0" };
    struct ledger_model_row rows[3];
    size_t count;
    struct err e;

    b.c_dim = 7;
    b.noise_modes = 13;
    b.has_transform = true;
    assert_int_equal(ledger_put_model(f->ledger, &model, &e), ERR_OK);
    assert_int_equal(ledger_models(f->ledger, rows, COUNT(rows), &count, &e), ERR_OK);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].arch, "stylegan3-r");   /* the newest first */
    assert_string_equal(rows[0].licence, "CC0 1.0");
    assert_true(digest_equal(&rows[0].facts.digest, &b.digest));
    assert_int_equal(rows[0].facts.width, b.width);
    assert_int_equal(rows[0].facts.height, b.height);
    assert_int_equal(rows[0].facts.num_ws, b.num_ws);
    assert_int_equal(rows[0].facts.z_dim, b.z_dim);
    assert_int_equal(rows[0].facts.w_dim, b.w_dim);
    assert_int_equal(rows[0].facts.c_dim, 7);
    assert_int_equal(rows[0].facts.noise_modes, 13);
    assert_true(rows[0].facts.has_transform);
    assert_true(digest_equal(&rows[1].facts.digest, &f->facts.digest));
    assert_int_equal(ledger_models(f->ledger, rows, 1, &count, &e), ERR_OK);
    assert_int_equal(count, 1);
}

static void models_are_found_by_the_beginning_of_their_digest(void **state)
{
    struct fixture *f = *state;
    struct model_facts b = facts_of("model b");
    struct digest found[4];
    char prefix[DIGEST_HEX_LEN + 1];
    size_t count;
    struct err e;

    put_model(f, &b, "avatars");
    snprintf(prefix, sizeof prefix, "%s", digest_hex(&b.digest).text);
    assert_int_equal(ledger_models_with_prefix(f->ledger, prefix, found, 4, &count, &e), ERR_OK);
    assert_int_equal(count, 1);
    assert_true(digest_equal(&found[0], &b.digest));
    prefix[2] = '\0';
    assert_int_equal(ledger_models_with_prefix(f->ledger, prefix, found, 4, &count, &e), ERR_OK);
    assert_int_equal(count, 1);
    static const char *const BAD[] = { "", "a", "AB", "a%", "abc ", "zz" };
    for (size_t i = 0; i < COUNT(BAD); i++)
        assert_int_equal(ledger_models_with_prefix(f->ledger, BAD[i], found, 4, &count, &e),
                         ERR_INVALID);
}

/* ---- first image wins ---- */

static void the_loser_gets_the_winners_bytes_run_and_class(void **state)
{
    struct fixture *f = *state;
    struct picture first, second;
    struct ledger_stored stored;
    int64_t winner = f->run_id;
    struct err e;

    paint(&first, f, 1, "first bytes", "first core");
    assert_stored(f, &first, LEDGER_STORED);
    start_run(f, "cuda-test-1", ENCODER, &f->run_id);
    paint(&second, f, 1, "second bytes", "second core");
    second.image.numerics_class = "cuda-test-1";
    assert_int_equal(store_one(f, &second, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_WINNER);
    assert_int_equal(stored.run_id, winner);
    assert_string_equal(stored.numerics_class, CLASS);
    assert_string_equal(stored.encoder, ENCODER);
    assert_int_equal(stored.len, first.image.len);
    assert_memory_equal(stored.data, first.data, stored.len);
    assert_true(digest_equal(&stored.file_sha, &first.image.file_sha));
    assert_true(digest_equal(&stored.core_sha, &first.image.core_sha));
    assert_false(stored.alarm);     /* another class may differ */
    free(stored.data);
}

static void another_core_of_the_same_class_and_encoder_is_an_alarm(void **state)
{
    struct fixture *f = *state;
    struct picture first, second;
    struct ledger_stored stored;
    struct err e;

    paint(&first, f, 1, "first bytes", "first core");
    assert_stored(f, &first, LEDGER_STORED);
    paint(&second, f, 1, "second bytes", "first core");         /* only the metadata differ */
    assert_int_equal(store_one(f, &second, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_WINNER);
    assert_false(stored.alarm);
    free(stored.data);

    second.image.core_sha = digest_of("second core", 11);
    assert_int_equal(store_one(f, &second, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_WINNER);
    assert_true(stored.alarm);
    free(stored.data);

    start_run(f, CLASS, "another encoder", &second.image.run_id);
    second.image.encoder = "another encoder";
    assert_int_equal(store_one(f, &second, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_WINNER);
    assert_false(stored.alarm);
    free(stored.data);
}

static void what_was_pruned_must_come_out_the_same(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    struct ledger_stored stored;
    uint8_t data[BYTES_MAX];
    struct err e;

    paint(&p, f, 1, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
    run_sql(f, "DELETE FROM blobs; UPDATE images SET kept = false");
    struct digest key = key_of(&p);
    struct ledger_row row = fetch(f, &key, data);
    assert_false(row.kept);
    assert_null(row.data);

    assert_stored(f, &p, LEDGER_SAME);
    paint(&p, f, 1, "other bytes", "core");                     /* only the metadata differ */
    assert_stored(f, &p, LEDGER_SAME);
    paint(&p, f, 1, "other bytes", "other core");
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_REFUSED);
    assert_int_equal(stored.why.code, ERR_NOT_REPRODUCIBLE);
    assert_true(stored.alarm);

    start_run(f, "cuda-test-1", ENCODER, &p.image.run_id);
    p.image.numerics_class = "cuda-test-1";
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_REFUSED);
    assert_int_equal(stored.why.code, ERR_WRONG_CLASS);
    assert_string_equal(stored.numerics_class, CLASS);
    assert_false(stored.alarm);
    assert_int_equal(count_of(f, "SELECT count(*) FROM blobs"), 0);
}

static int64_t blobs_of(struct fixture *f, const struct picture *picture)
{
    struct digest key = key_of(picture);
    char sql[200];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM images JOIN blobs USING (key) "
                              "WHERE kept AND key = '\\x%s'", digest_hex(&key).text);
    return count_of(f, sql);
}

static void a_file_that_its_row_has_lost_is_put_back_by_who_asks_for_it(void **state)
{
    struct fixture *f = *state;
    struct digest key;
    struct picture p, other;
    uint8_t data[BYTES_MAX];

    paint(&p, f, 6, "bytes", "core");
    paint(&other, f, 6, "other", "core");
    p.image.keep = false;
    p.image.refill = true;                       /* of what is not kept: means nothing */
    assert_stored(f, &p, LEDGER_STORED);
    assert_stored(f, &p, LEDGER_SAME);
    assert_int_equal(blobs_of(f, &p), 0);
    p.image.keep = true;
    p.image.refill = false;
    assert_stored(f, &p, LEDGER_SAME);           /* nobody asked for it */
    assert_int_equal(blobs_of(f, &p), 0);
    other.image.refill = p.image.refill = true;
    assert_stored(f, &other, LEDGER_SAME);       /* the same pixels, but not the row's file */
    assert_int_equal(blobs_of(f, &p), 0);
    assert_stored(f, &p, LEDGER_SAME);
    assert_int_equal(blobs_of(f, &p), 1);
    key = key_of(&p);
    assert_memory_equal(fetch(f, &key, data).data, p.data, p.image.len);
    assert_stored(f, &p, LEDGER_SAME);

    run_sql(f, "DELETE FROM blobs");             /* as after a backup without them */
    p.image.refill = false;
    assert_stored(f, &p, LEDGER_SAME);
    assert_int_equal(blobs_of(f, &p), 0);
    p.image.refill = true;
    assert_stored(f, &p, LEDGER_SAME);
    assert_int_equal(blobs_of(f, &p), 1);

    run_sql(f, "DELETE FROM blobs");             /* pruned, from a file of many */
    run_sql(f, "UPDATE images SET kept = false, segment = 1, place = 10");
    assert_stored(f, &p, LEDGER_SAME);
    assert_int_equal(blobs_of(f, &p), 1);
    assert_int_equal(count_of(f, "SELECT count(*) FROM images WHERE segment IS NOT NULL"), 0);

    paint(&p, f, 7, "seven", "core of seven");
    p.image.refill = true;
    assert_stored(f, &p, LEDGER_STORED);         /* there was no row at all */
    assert_int_equal(blobs_of(f, &p), 1);
}

static void a_batch_is_refilled_where_it_is_asked_for(void **state)
{
    enum { COUNT_OF = 6 };
    struct fixture *f = *state;
    static struct picture picture[COUNT_OF];
    struct ledger_image images[COUNT_OF];
    struct ledger_stored stored[COUNT_OF];
    struct err e;

    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < COUNT_OF; i++) {
            char bytes[32];

            snprintf(bytes, sizeof bytes, "picture %u", i);
            paint(&picture[i], f, i, bytes, bytes);
            picture[i].image.keep = round == 1;
            picture[i].image.refill = i % 2 == 1;
            images[i] = picture[i].image;
        }
        assert_int_equal(ledger_store(f->ledger, images, COUNT_OF, stored, &e), ERR_OK);
        for (size_t i = 0; i < COUNT_OF; i++)
            assert_int_equal(stored[i].outcome, round ? LEDGER_SAME : LEDGER_STORED);
    }
    for (size_t i = 0; i < COUNT_OF; i++)
        assert_int_equal(blobs_of(f, &picture[i]), i % 2);
}

static void a_withdrawn_file_is_not_put_back(void **state)
{
    struct fixture *f = *state;
    struct ledger_stored stored;
    struct digest subject;
    struct picture p;
    char sql[200];
    struct err e;

    paint(&p, f, 6, "bytes", "core");
    subject = recipe_subject(&p.image.recipe);
    p.image.keep = false;
    assert_stored(f, &p, LEDGER_STORED);
    snprintf(sql, sizeof sql, "INSERT INTO withdrawn (subject, reason) VALUES ('\\x%s', 'asked')",
             digest_hex(&subject).text);
    run_sql(f, sql);
    p.image.keep = p.image.refill = true;
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_REFUSED);
    assert_int_equal(stored.why.code, ERR_WITHDRAWN);
    assert_int_equal(count_of(f, "SELECT count(*) FROM blobs"), 0);
    assert_int_equal(count_of(f, "SELECT count(*) FROM images WHERE kept"), 0);
}

static void a_row_names_the_bulk_job_that_had_it_made(void **state)
{
    struct fixture *f = *state;
    struct picture p, q, r;
    struct digest key;
    uint8_t data[BYTES_MAX];
    int64_t job;

    run_sql(f, "INSERT INTO bulk_jobs (owner, name, digest, state, keep, priority, chunk, total) "
               "VALUES ('me', 'a', sha256('a'), 'running', 'image', 2, 10, 10)");
    job = count_of(f, "SELECT id FROM bulk_jobs");
    paint(&p, f, 1, "one", "one");
    paint(&q, f, 2, "two", "two");
    paint(&r, f, 3, "three", "three");
    p.image.job_id = job;
    r.image.job_id = job + 1;                    /* there is no such job */
    assert_stored(f, &p, LEDGER_STORED);
    assert_stored(f, &q, LEDGER_STORED);
    assert_stored(f, &r, LEDGER_STORED);
    q.image.job_id = job;
    assert_stored(f, &q, LEDGER_SAME);           /* it was there before the job was */
    key = key_of(&p);
    assert_int_equal(fetch(f, &key, data).job_id, job);
    key = key_of(&q);
    assert_int_equal(fetch(f, &key, data).job_id, 0);
    key = key_of(&r);
    assert_int_equal(fetch(f, &key, data).job_id, 0);
}

static void withdrawn_subjects_are_neither_stored_nor_answered(void **state)
{
    struct fixture *f = *state;
    struct picture p, q;
    struct ledger_stored stored[2];
    struct ledger_image images[2];
    uint8_t data[BYTES_MAX];
    char sql[300];
    struct err e;

    paint(&p, f, 1, "bytes", "core");
    paint(&q, f, 2, "more bytes", "more core");
    assert_stored(f, &p, LEDGER_STORED);
    struct digest subject = recipe_subject(&p.image.recipe), key = key_of(&p);
    snprintf(sql, sizeof sql, "INSERT INTO withdrawn VALUES ('\\x%s', 'asked for')",
             digest_hex(&subject).text);
    run_sql(f, sql);                /* the bytes are still there: reading must not rely on that */

    struct ledger_row row = fetch(f, &key, data);
    assert_true(row.withdrawn);
    assert_null(row.data);
    images[0] = p.image;
    images[1] = q.image;
    assert_int_equal(ledger_store(f->ledger, images, 2, stored, &e), ERR_OK);
    assert_int_equal(stored[0].outcome, LEDGER_REFUSED);
    assert_int_equal(stored[0].why.code, ERR_WITHDRAWN);
    assert_null(stored[0].data);
    assert_int_equal(stored[1].outcome, LEDGER_STORED);

    p.image.recipe.psi = 0;         /* the same subject, a key that was never stored */
    assert_int_equal(store_one(f, &p, &stored[0], &e), ERR_OK);
    assert_int_equal(stored[0].why.code, ERR_WITHDRAWN);
    images[0] = p.image;            /* other bytes do not bring the winner's out */
    images[0].recipe.psi = 700000;
    images[0].file_sha = digest_of("x", 1);
    assert_int_equal(ledger_store(f->ledger, images, 1, stored, &e), ERR_OK);
    assert_int_equal(stored[0].why.code, ERR_WITHDRAWN);
    assert_null(stored[0].data);
    assert_int_equal(count_of(f, "SELECT count(*) FROM images"), 2);
}

/* ---- faults ---- */

static void a_bad_row_costs_only_itself(void **state)
{
    struct fixture *f = *state;
    struct picture picture[6];
    struct ledger_image images[6];
    struct ledger_stored stored[6];
    struct err e;

    for (size_t i = 0; i < COUNT(images); i++) {
        char bytes[32];
        snprintf(bytes, sizeof bytes, "picture %zu", i);
        paint(&picture[i], f, (uint32_t)i, bytes, bytes);
        images[i] = picture[i].image;
    }
    images[1].batch_size = 0;                                   /* refused by the table */
    images[2].run_id = f->run_id + 1000;                        /* no such run */
    images[3].numerics_class = "not the run's";
    images[4].recipe.model = digest_of("unregistered", 12);
    images[5].len = 0;                                          /* not even sent */
    assert_int_equal(ledger_store(f->ledger, images, COUNT(images), stored, &e), ERR_OK);
    assert_int_equal(stored[0].outcome, LEDGER_STORED);
    for (size_t i = 1; i < COUNT(images); i++) {
        assert_int_equal(stored[i].outcome, LEDGER_REFUSED);
        assert_int_equal(stored[i].why.code, ERR_INVALID);
        assert_true(stored[i].why.msg[0] != '\0');
    }
    assert_int_equal(count_of(f, "SELECT count(*) FROM images"), 1);
    assert_int_equal(count_of(f, "SELECT count(*) FROM blobs"), 1);
}

static void a_run_whose_words_do_not_fit_is_refused(void **state)
{
    struct fixture *f = *state;
    struct ledger_run run = { "w", "v", "b", "d", "d", "", ENCODER, "l" };
    int64_t id;
    struct err e;
    assert_int_equal(ledger_start_run(f->ledger, &run, &id, &e), ERR_INVALID);
    run.numerics_class = CLASS;
    run.device = "\xff not UTF-8";
    assert_int_equal(ledger_start_run(f->ledger, &run, &id, &e), ERR_INVALID);
}

static void a_ledger_opens_while_its_server_is_down_and_recovers(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    struct ledger_stored stored;
    struct ledger_rows rows;
    struct ledger *late = NULL;
    struct digest key;
    struct err e;

    paint(&p, f, 1, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
    key = key_of(&p);
    kit_postgres_stop_server(&f->pg);
    assert_int_equal(ledger_open(f->pg.conninfo, "late", &late, &e), ERR_LEDGER_DOWN);
    assert_non_null(late);
    assert_int_equal(ledger_ping(late, &e), ERR_LEDGER_DOWN);
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_LEDGER_DOWN);
    assert_non_null(strstr(e.msg, "could not connect to the ledger"));
    assert_int_equal(ledger_find_keys(f->ledger, &key, 1, true, &rows, &e), ERR_LEDGER_DOWN);
    assert_int_equal(rows.count, 0);

    kit_postgres_start_server(&f->pg);
    assert_int_equal(ledger_ping(late, &e), ERR_OK);
    ledger_close(&late);
    assert_stored(f, &p, LEDGER_SAME);
    paint(&p, f, 2, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
}

static void a_connection_lost_while_idle_is_not_noticed(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    kit_postgres_stop_server(&f->pg);
    kit_postgres_start_server(&f->pg);
    paint(&p, f, 1, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
}

static PGconn *hold(struct fixture *f, const char *sql)
{
    PGconn *conn = PQconnectdb(f->pg.conninfo);
    PGresult *result = PQexec(conn, sql);
    assert_int_not_equal(PQresultStatus(result), PGRES_FATAL_ERROR);
    PQclear(result);
    return conn;
}

static void a_lock_held_by_another_is_a_repeat_within_the_limits(void **state)
{
    static const char *const LOCKS[] = {
        "BEGIN; SELECT pg_advisory_xact_lock(7301)",            /* a withdrawal */
        "BEGIN; LOCK TABLE blobs IN ACCESS EXCLUSIVE MODE",
    };
    struct fixture *f = *state;
    struct picture p;
    struct ledger_stored stored;
    struct err e;

    for (size_t i = 0; i < COUNT(LOCKS); i++) {
        PGconn *holder = hold(f, LOCKS[i]);
        int64_t began_ms = clock_ms();
        paint(&p, f, (uint32_t)i, "bytes", "core");
        assert_int_equal(store_one(f, &p, &stored, &e), ERR_LEDGER_DOWN);
        assert_non_null(strstr(e.msg, "timeout"));
        assert_true(clock_ms() - began_ms < 5500);
        PQfinish(holder);
        assert_stored(f, &p, LEDGER_STORED);
    }
}

static void a_frozen_server_is_given_up_and_found_again(void **state)
{
    struct fixture *f = *state;
    struct err e;
    pid_t backend = (pid_t)count_of(f, "SELECT pid FROM pg_stat_activity "
                                       "WHERE application_name = 'test_ledger'");
    int64_t began_ms = clock_ms();
    assert_int_equal(kill(backend, SIGSTOP), 0);
    assert_int_equal(ledger_ping(f->ledger, &e), ERR_LEDGER_DOWN);
    assert_true(clock_ms() - began_ms < 7000);
    assert_int_equal(ledger_ping(f->ledger, &e), ERR_OK);       /* by another backend */
    assert_int_equal(kill(backend, SIGCONT), 0);
}

static void a_full_disk_is_a_repeat_and_says_so(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    struct ledger_stored stored;
    struct err e;

    run_sql(f, "CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$"
               "BEGIN RAISE 'could not extend file: No space left on device' "
               "USING ERRCODE = '53100'; END $$;"
               "CREATE TRIGGER full_disk BEFORE INSERT ON images FOR EACH ROW "
               "EXECUTE FUNCTION full_disk()");
    paint(&p, f, 1, "bytes", "core");
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_LEDGER_DOWN);
    assert_string_equal(e.msg, "could not write to the ledger: could not extend file: "
                               "No space left on device");
    run_sql(f, "DROP TRIGGER full_disk ON images");
    assert_stored(f, &p, LEDGER_STORED);
}

static void what_cannot_be_read_back_is_never_called_stored(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    struct ledger_stored stored;
    struct err e;

    run_sql(f, "CREATE OR REPLACE FUNCTION lose_row() RETURNS trigger LANGUAGE plpgsql AS $$"
               "BEGIN RETURN NULL; END $$;"
               "CREATE TRIGGER lose_row BEFORE INSERT ON images FOR EACH ROW "
               "EXECUTE FUNCTION lose_row()");
    paint(&p, f, 1, "bytes", "core");
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_LEDGER_DOWN);
    run_sql(f, "DROP TRIGGER lose_row ON images");
    run_sql(f, "CREATE OR REPLACE FUNCTION no_commit() RETURNS trigger LANGUAGE plpgsql AS $$"
               "BEGIN RAISE 'not now' USING ERRCODE = '40001'; END $$;"
               "CREATE CONSTRAINT TRIGGER no_commit AFTER INSERT ON images DEFERRABLE "
               "INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no_commit()");
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_LEDGER_DOWN);   /* fails at COMMIT */
    run_sql(f, "DROP TRIGGER no_commit ON images");
    assert_stored(f, &p, LEDGER_STORED);
}

static void a_malformed_address_is_refused_and_not_quoted(void **state)
{
    struct ledger *ledger;
    struct err e;
    (void)state;
    assert_int_equal(ledger_open("host=x password='secret", "test", &ledger, &e), ERR_INVALID);
    assert_null(ledger);
    assert_null(strstr(e.msg, "secret"));
    assert_int_equal(ledger_open("password=secret host=/nowhere", "test", &ledger, &e),
                     ERR_LEDGER_DOWN);
    assert_null(strstr(e.msg, "secret"));
    ledger_close(&ledger);
    assert_null(ledger);
}

/* ---- segments ---- */

/* The place in the segments' files of the one row that is stored. */
static struct segments_place place_of_row(struct fixture *f)
{
    return (struct segments_place){ (int32_t)count_of(f, "SELECT segment FROM images"),
                                    count_of(f, "SELECT place FROM images") };
}

static void change_byte(struct fixture *f, struct segments_place at, int offset)
{
    char path[400];
    uint8_t byte;

    snprintf(path, sizeof path, "%s/%010d.seg", f->segments, (int)at.segment);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at.place + offset), 1);
    byte ^= 0x20;
    assert_int_equal(pwrite(fd, &byte, 1, at.place + offset), 1);
    assert_int_equal(close(fd), 0);
}

static void files_lie_in_segments_and_not_in_blobs(void **state)
{
    struct fixture *f = *state;
    struct picture p, q;
    uint8_t data[BYTES_MAX];

    paint(&p, f, 1, "bytes", "core");
    paint(&q, f, 2, "no bytes", "core");
    q.image.keep = false;
    assert_stored(f, &p, LEDGER_STORED);
    assert_stored(f, &q, LEDGER_STORED);
    assert_int_equal(count_of(f, "SELECT count(*) FROM blobs"), 0);
    assert_int_equal(count_of(f, "SELECT count(*) FROM images WHERE segment IS NOT NULL AND kept"),
                     1);
    assert_int_equal(count_of(f, "SELECT count(*) FROM segments WHERE writer = 'test'"), 1);
    struct digest key = key_of(&p);
    struct ledger_row row = fetch(f, &key, data);
    assert_memory_equal(row.data, p.data, p.image.len);
}

/* A ledger changes over: what is in blobs stays there, and both are answered. */
static void blobs_and_segments_are_answered_alike(void **state)
{
    struct fixture *f = *state;
    struct picture p, q;
    struct ledger *plain, *with = f->ledger;
    struct ledger_stored stored;
    uint8_t data[BYTES_MAX];
    struct err e;

    paint(&p, f, 1, "in blobs", "core");
    paint(&q, f, 2, "in a segment", "core");
    assert_int_equal(ledger_open(f->pg.conninfo, "plain", &plain, &e), ERR_OK);
    f->ledger = plain;
    assert_stored(f, &p, LEDGER_STORED);
    f->ledger = with;
    assert_stored(f, &q, LEDGER_STORED);
    struct digest a = key_of(&p), b = key_of(&q);
    assert_memory_equal(fetch(f, &a, data).data, "in blobs", p.image.len);
    assert_memory_equal(fetch(f, &b, data).data, "in a segment", q.image.len);

    paint(&p, f, 1, "late", "core");
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_WINNER);
    assert_memory_equal(stored.data, "in blobs", stored.len);
    free(stored.data);

    f->ledger = plain;              /* its host was not told where the segments are */
    struct ledger_row row = fetch(f, &b, data);
    assert_null(row.data);
    assert_false(row.kept);
    assert_stored(f, &q, LEDGER_SAME);
    paint(&q, f, 2, "late", "core");
    assert_int_equal(store_one(f, &q, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_REFUSED);       /* not "late": the winner has bytes */
    assert_int_equal(stored.why.code, ERR_FILE);
    assert_non_null(strstr(stored.why.msg, "no folder of segments is set"));
    f->ledger = with;
    ledger_close(&plain);
}

static void damaged_bytes_of_a_segment_are_never_answered(void **state)
{
    struct fixture *f = *state;
    struct picture p, q;
    struct ledger_stored stored;
    uint8_t data[BYTES_MAX];
    struct err e;

    paint(&p, f, 1, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
    struct segments_place at = place_of_row(f);
    struct digest key = key_of(&p);
    static const int OFFSETS[] = { 0, 4, 7, 8, 39, 40, 71, 72, 76 };    /* head and picture */
    for (size_t i = 0; i < COUNT(OFFSETS); i++) {
        change_byte(f, at, OFFSETS[i]);
        struct ledger_row row = fetch(f, &key, data);
        assert_null(row.data);
        assert_false(row.kept);
        change_byte(f, at, OFFSETS[i]);
    }
    assert_non_null(fetch(f, &key, data).data);
    change_byte(f, at, 75);
    assert_stored(f, &p, LEDGER_SAME);                      /* rendered again, the same */
    paint(&q, f, 1, "other bytes", "other core");
    assert_int_equal(store_one(f, &q, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_REFUSED);
    assert_int_equal(stored.why.code, ERR_NOT_REPRODUCIBLE);
    assert_null(stored.data);
}

static void a_segment_that_is_away_is_no_reason_for_another_picture(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    struct ledger_stored stored;
    char away[400], path[400];
    struct err e;

    paint(&p, f, 1, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
    struct segments_place at = place_of_row(f);
    snprintf(path, sizeof path, "%s/%010d.seg", f->segments, (int)at.segment);
    snprintf(away, sizeof away, "%s/away", f->segments);
    assert_int_equal(rename(path, away), 0);
    paint(&p, f, 1, "other bytes", "core");
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_REFUSED);
    assert_int_equal(stored.why.code, ERR_FILE);
    assert_non_null(strstr(stored.why.msg, "No such file"));
    assert_int_equal(rename(away, path), 0);
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_WINNER);
    free(stored.data);
}

/* A transaction that fails has put its bytes on the disk; its repeats find them there. */
static void repeats_do_not_fill_the_disk(void **state)
{
    struct fixture *f = *state;
    struct picture p, q;
    struct ledger_stored stored;
    struct segments_place at;
    struct err e;

    paint(&p, f, 1, "bytes", "core");
    PGconn *holder = hold(f, "BEGIN; LOCK TABLE images IN ACCESS EXCLUSIVE MODE");
    for (int i = 0; i < 2; i++)
        assert_int_equal(store_one(f, &p, &stored, &e), ERR_LEDGER_DOWN);
    PQfinish(holder);
    assert_stored(f, &p, LEDGER_STORED);
    at = place_of_row(f);
    assert_int_equal(at.place, 64);                         /* the first record */
    paint(&q, f, 1, "lost the race", "core");
    assert_int_equal(store_one(f, &q, &stored, &e), ERR_OK);
    assert_int_equal(stored.outcome, LEDGER_WINNER);
    free(stored.data);
    run_sql(f, "DELETE FROM images");
    assert_stored(f, &q, LEDGER_STORED);                    /* settled: not the bytes of before */
    assert_int_equal(place_of_row(f).place, 64 + 80 + 88);
}

static void the_loser_of_a_race_leaves_no_bytes(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    struct ledger_stored stored;
    char path[400], bytes[BYTES_MAX + 72];
    struct err e;

    paint(&p, f, 1, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
    struct segments_place at = place_of_row(f);
    paint(&p, f, 1, "lost the race", "core");
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_OK);
    free(stored.data);
    snprintf(path, sizeof path, "%s/%010d.seg", f->segments, (int)at.segment);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, bytes, 88, at.place + 80), 88);
    close(fd);
    for (int i = 0; i < 88; i++)
        assert_int_equal(bytes[i], 0);
}

static void a_folder_that_lost_its_mark_is_not_written(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    struct ledger_stored stored;
    char other[400];
    struct err e;

    paint(&p, f, 1, "bytes", "core");
    assert_stored(f, &p, LEDGER_STORED);
    snprintf(other, sizeof other, "%s/unmounted", f->segments);
    assert_int_equal(mkdir(other, 0700), 0);
    struct ledger_segments options = { .folder = other, .writer = "test" };
    assert_int_equal(ledger_use_segments(f->ledger, &options, &e), ERR_OK);
    paint(&p, f, 2, "bytes", "core");
    assert_int_equal(store_one(f, &p, &stored, &e), ERR_LEDGER_DOWN);
    assert_non_null(strstr(e.msg, "is its disk mounted?"));
    options.folder = f->segments;
    assert_int_equal(ledger_use_segments(f->ledger, &options, &e), ERR_OK);
    assert_stored(f, &p, LEDGER_STORED);
    assert_int_equal(place_of_row(f).segment != 0, 1);
    assert_int_equal(count_of(f, "SELECT count(*) FROM segments"), 2);
    options.folder = "/nowhere";
    assert_int_equal(ledger_use_segments(f->ledger, &options, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "/nowhere"));
}

static void run_on_row(struct fixture *f, const struct picture *p, const char *sql)
{
    struct digest key = key_of(p);
    char text[300];

    snprintf(text, sizeof text, "UPDATE images SET %s WHERE key = '\\x%s'", sql,
             digest_hex(&key).text);
    run_sql(f, text);
}

static void a_refilled_file_lies_in_a_segment_again(void **state)
{
    struct fixture *f = *state;
    struct picture p;
    uint8_t data[BYTES_MAX];

    paint(&p, f, 1, "bytes", "core");
    p.image.keep = false;
    assert_stored(f, &p, LEDGER_STORED);
    p.image.keep = p.image.refill = true;
    assert_stored(f, &p, LEDGER_SAME);
    struct digest key = key_of(&p);
    assert_memory_equal(fetch(f, &key, data).data, "bytes", 5);
    assert_int_equal(count_of(f, "SELECT count(*) FROM blobs"), 0);
    struct segments_place first = place_of_row(f);
    assert_stored(f, &p, LEDGER_SAME);          /* nothing is lost: what stands stays */
    assert_int_equal(place_of_row(f).place, first.place);
    run_on_row(f, &p, "kept = false");
    assert_stored(f, &p, LEDGER_SAME);
    assert_true(place_of_row(f).place > first.place);
    assert_memory_equal(fetch(f, &key, data).data, "bytes", 5);
}

static bool file_holds(struct fixture *f, int32_t segment, const char *word)
{
    char path[400], bytes[4096];

    snprintf(path, sizeof path, "%s/%010d.seg", f->segments, (int)segment);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, bytes, sizeof bytes);
    close(fd);
    assert_true(len > 0);
    return memmem(bytes, (size_t)len, word, strlen(word)) != NULL;
}

static void what_no_row_keeps_is_erased_from_its_segment(void **state)
{
    struct fixture *f = *state;
    struct picture p, q, r;
    struct ledger *plain, *with = f->ledger;
    uint8_t data[BYTES_MAX];
    size_t erased;
    bool more;
    struct err e;

    paint(&p, f, 1, "the first one", "core");
    paint(&q, f, 2, "the second one", "core");
    paint(&r, f, 3, "the third one", "core");
    assert_stored(f, &p, LEDGER_STORED);
    int32_t segment = place_of_row(f).segment;
    assert_stored(f, &q, LEDGER_STORED);
    assert_stored(f, &r, LEDGER_STORED);
    assert_int_equal(ledger_erase(f->ledger, NULL, &erased, &more, &e), ERR_OK);
    assert_int_equal(erased, 0);
    run_on_row(f, &p, "kept = false");
    run_on_row(f, &q, "kept = false");
    assert_int_equal(ledger_open(f->pg.conninfo, "plain", &plain, &e), ERR_OK);
    assert_int_equal(ledger_erase(plain, NULL, &erased, &more, &e), ERR_FILE);
    assert_non_null(strstr(e.msg, "no folder of segments is set"));
    ledger_close(&plain);
    f->ledger = with;

    struct digest subject = recipe_subject(&q.image.recipe);
    assert_int_equal(ledger_erase(f->ledger, &subject, &erased, &more, &e), ERR_OK);
    assert_int_equal(erased, 1);
    assert_false(more);
    assert_true(file_holds(f, segment, "the first one"));
    assert_false(file_holds(f, segment, "the second one"));
    assert_int_equal(ledger_erase(f->ledger, NULL, &erased, &more, &e), ERR_OK);
    assert_int_equal(erased, 1);
    assert_false(file_holds(f, segment, "the first one"));
    struct digest key = key_of(&r);
    assert_memory_equal(fetch(f, &key, data).data, "the third one", 13);
    assert_int_equal(count_of(f, "SELECT count(*) FROM images WHERE segment IS NOT NULL"), 1);
}

static void a_withdrawal_takes_the_bytes_out_of_the_segment(void **state)
{
    struct fixture *f = *state;
    struct ledger_withdrawal out = { .more = false };
    struct picture p;
    struct err e;

    paint(&p, f, 1, "taken back", "core");
    assert_stored(f, &p, LEDGER_STORED);
    int32_t segment = place_of_row(f).segment;
    assert_true(file_holds(f, segment, "taken back"));
    struct digest key = key_of(&p);
    if (ledger_withdraw(f->ledger, LEDGER_BY_KEY, &key, "asked for", &out, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(out.files, 1);
    assert_false(out.more);
    ledger_rows_release(&out.rows);
    assert_false(file_holds(f, segment, "taken back"));
    assert_int_equal(count_of(f, "SELECT count(*) FROM images WHERE segment IS NOT NULL"), 0);
}

#define TEST_WITH_SEGMENTS(name)                                                                   \
    { #name " (segments)", name, empty_tables_and_segments, close_ledger, NULL }
#define TEST(name) cmocka_unit_test_setup_teardown(name, empty_tables, close_ledger)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(migrates_from_nothing_and_only_once),
        TEST(two_migrators_at_once_wait_for_each_other),
        TEST(a_schema_too_old_or_too_new_is_refused_with_words),
        TEST(migrations_are_embedded_byte_for_byte),
        TEST(a_stored_picture_is_found_in_every_way),
        TEST(look_ups_beyond_their_limits_are_refused),
        TEST(a_sample_is_of_one_s_own_class_and_goes_round),
        TEST(a_full_batch_is_stored_and_found_by_its_keys),
        TEST(every_recipe_comes_back_as_the_same_text),
        TEST(more_options_than_are_remembered_are_stored_all_the_same),
        TEST(a_row_that_was_tampered_with_is_not_answered),
        TEST(a_name_is_proposed_once_and_moved_on_demand),
        TEST(all_facts_of_a_registered_model_can_be_read),
        TEST(models_are_found_by_the_beginning_of_their_digest),
        TEST(the_loser_gets_the_winners_bytes_run_and_class),
        TEST(another_core_of_the_same_class_and_encoder_is_an_alarm),
        TEST(what_was_pruned_must_come_out_the_same),
        TEST(a_file_that_its_row_has_lost_is_put_back_by_who_asks_for_it),
        TEST(a_batch_is_refilled_where_it_is_asked_for),
        TEST(a_withdrawn_file_is_not_put_back),
        TEST(a_row_names_the_bulk_job_that_had_it_made),
        TEST(withdrawn_subjects_are_neither_stored_nor_answered),
        TEST(a_bad_row_costs_only_itself),
        TEST(a_run_whose_words_do_not_fit_is_refused),
        TEST(a_ledger_opens_while_its_server_is_down_and_recovers),
        TEST(a_connection_lost_while_idle_is_not_noticed),
        TEST(a_lock_held_by_another_is_a_repeat_within_the_limits),
        TEST(a_frozen_server_is_given_up_and_found_again),
        TEST(a_full_disk_is_a_repeat_and_says_so),
        TEST(what_cannot_be_read_back_is_never_called_stored),
        TEST(a_malformed_address_is_refused_and_not_quoted),
        TEST_WITH_SEGMENTS(a_stored_picture_is_found_in_every_way),
        TEST_WITH_SEGMENTS(a_full_batch_is_stored_and_found_by_its_keys),
        TEST_WITH_SEGMENTS(every_recipe_comes_back_as_the_same_text),
        TEST_WITH_SEGMENTS(the_loser_gets_the_winners_bytes_run_and_class),
        TEST_WITH_SEGMENTS(another_core_of_the_same_class_and_encoder_is_an_alarm),
        TEST_WITH_SEGMENTS(what_was_pruned_must_come_out_the_same),
        TEST_WITH_SEGMENTS(withdrawn_subjects_are_neither_stored_nor_answered),
        TEST_WITH_SEGMENTS(a_full_disk_is_a_repeat_and_says_so),
        TEST_WITH_SEGMENTS(what_cannot_be_read_back_is_never_called_stored),
        TEST_WITH_SEGMENTS(a_connection_lost_while_idle_is_not_noticed),
        TEST_WITH_SEGMENTS(files_lie_in_segments_and_not_in_blobs),
        TEST_WITH_SEGMENTS(blobs_and_segments_are_answered_alike),
        TEST_WITH_SEGMENTS(damaged_bytes_of_a_segment_are_never_answered),
        TEST_WITH_SEGMENTS(a_segment_that_is_away_is_no_reason_for_another_picture),
        TEST_WITH_SEGMENTS(repeats_do_not_fill_the_disk),
        TEST_WITH_SEGMENTS(the_loser_of_a_race_leaves_no_bytes),
        TEST_WITH_SEGMENTS(a_folder_that_lost_its_mark_is_not_written),
        TEST_WITH_SEGMENTS(a_refilled_file_lies_in_a_segment_again),
        TEST_WITH_SEGMENTS(what_no_row_keeps_is_erased_from_its_segment),
        TEST_WITH_SEGMENTS(a_withdrawal_takes_the_bytes_out_of_the_segment),
    };
    return cmocka_run_group_tests(tests, start_server, end_server);
}
