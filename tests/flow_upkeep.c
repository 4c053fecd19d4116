/* The upkeep of the ledger with the real command: what `ledger check` finds of every kind of
 * damage, what `ledger prune` removes and what it leaves. */
#include "sql/ledger_withdraw.h"
#include "tests/kit_pictures.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 24, PICTURES = 30 };

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

/* Seeds 1..PICTURES. */
static int open_tables(void **state)
{
    (void)state;
    pictures_open(&k);
    pictures_store(&k, 1, PICTURES);
    return 0;
}

static int close_tables(void **state)
{
    (void)state;
    pictures_close(&k);
    return 0;
}

/* ---- running it ---- */

static struct ran seedpress(const char *const *args)
{
    const char *argv[ARGS_MAX];
    const char *build = getenv("SEEDPRESS_BUILD");
    char program[256];
    size_t count = 0;

    snprintf(program, sizeof program, "%s/seedpress", build ? build : "build");
    argv[count++] = program;
    argv[count++] = "ledger";
    while (*args) {
        assert_true(count < ARGS_MAX - 3);
        argv[count++] = *args++;
    }
    argv[count++] = "--ledger";
    argv[count++] = k.pg.conninfo;
    argv[count] = NULL;
    return run_program(argv);
}

/* Runs it and wants that exit code, and these words on standard output, or else on standard
 * error. NULL: any. */
static void wants(int exit_code, const char *words, const char *const *args)
{
    struct ran ran = seedpress(args);

    if (ran.exit_code != exit_code || (words && !strstr(ran.out, words) && !strstr(ran.err, words)))
        fail_msg("wanted %d and \"%s\", not %d: %s%s", exit_code, words ? words : "",
                 ran.exit_code, ran.out, ran.err);
    ran_release(&ran);
}
#define WANTS(code, words, ...) wants(code, words, (const char *const[]){ __VA_ARGS__, NULL })

/* ---- check ---- */

static void a_ledger_that_is_whole_has_no_finding(void **state)
{
    (void)state;
    WANTS(0, "30 pictures: 30 files read, 30 of them decoded; 0 files not kept, "
             "0 pictures withdrawn; nothing is wrong", "check", "--decode");
    WANTS(0, "\"findings\":0", "check", "--json");
}

/* One damage a row: what SQL does to the picture of seed 7, and what check says of it. */
static const struct damage {
    const char *sql;                /* :key stands for the recipe key */
    const char *word;               /* the one finding */
} DAMAGES[] = {
    { "DELETE FROM blobs WHERE key = :key", "bytes_missing" },
    { "UPDATE images SET kept = false WHERE key = :key", "bytes_unknown" },
    { "UPDATE blobs SET data = substr(data, 2) WHERE key = :key", "bytes_length" },
    { "UPDATE blobs SET data = set_byte(data, 200, get_byte(data, 200) # 1) WHERE key = :key",
      "bytes_hash" },
    { "UPDATE images SET core_sha = sha256('x') WHERE key = :key", "core_hash" },
    { "UPDATE blobs SET data = 'no picture' WHERE key = :key;"
      "UPDATE images SET bytes = 10, file_sha = sha256('no picture') WHERE key = :key",
      "core_hash" },
    { "UPDATE images SET model_id = 4711 WHERE key = :key", "model_missing" },
    { "UPDATE images SET options_id = 4711 WHERE key = :key", "options_missing" },
    { "UPDATE images SET run_id = 4711 WHERE key = :key", "run_missing" },
    { "UPDATE images SET seed = 4711 WHERE key = :key", "recipe_key" },
    { "UPDATE images SET subject = sha256('x') WHERE key = :key", "subject" },
    { "INSERT INTO withdrawn (subject, reason) SELECT subject, 'x' FROM images WHERE key = :key",
      "withdrawn_bytes" },
    { "INSERT INTO blobs VALUES (sha256('nobody'), 'x')", "orphan_blob" },
    { "DELETE FROM images WHERE key = :key", "orphan_blob" },
};

/* sql with the key in its places, for execution. */
static void damage(const char *sql)
{
    struct kit_literal key = pictures_literal(&k, 7);
    char whole[1000];
    size_t len = 0;

    for (const char *at = sql; *at; )
        if (strncmp(at, ":key", 4) == 0) {
            len += (size_t)snprintf(whole + len, sizeof whole - len, "%s", key.text);
            at += 4;
        } else
            whole[len++] = *at++;
    whole[len] = '\0';
    pictures_sql(&k, "%s", whole);
}

static void every_kind_of_damage_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof DAMAGES / sizeof DAMAGES[0]; i++) {
        struct ran ran;
        char line[100];

        pictures_close(&k);
        pictures_open(&k);
        pictures_store(&k, 5, 9);
        damage(DAMAGES[i].sql);
        ran = seedpress((const char *const[]){ "check", NULL });
        snprintf(line, sizeof line, "%s ", DAMAGES[i].word);
        if (ran.exit_code != 1 || !strstr(ran.out, line))
            fail_msg("not found: %s, after %s\n%s%s", DAMAGES[i].word, DAMAGES[i].sql, ran.out,
                     ran.err);
        ran_release(&ran);
    }
}

static void a_file_that_is_no_picture_of_its_size_is_found(void **state)
{
    struct kit_pictures larger = k;
    struct kit_picture picture;
    char data[3700];
    size_t len = 0;

    (void)state;
    larger.facts.width = larger.facts.height = 32;
    picture = picture_paint(&larger, 7, 700000, 0);
    assert_in_range(picture.image.len, 1, 1800);     /* fits into a statement of the kit */
    for (size_t i = 0; i < picture.image.len; i++)
        len += (size_t)snprintf(data + len, sizeof data - len, "%02x", picture.image.data[i]);
    pictures_sql(&k, "UPDATE blobs SET data = '\\x%s' WHERE key = %s", data,
                 pictures_literal(&k, 7).text);
    pictures_sql(&k, "UPDATE images SET bytes = %d, file_sha = '\\x%s', core_sha = '\\x%s'"
                     " WHERE key = %s", (int)picture.image.len,
                 digest_hex(&picture.image.file_sha).text, digest_hex(&picture.image.core_sha).text,
                 pictures_literal(&k, 7).text);
    WANTS(1, "unreadable", "check", "--decode");
    picture_forget(&picture);
}

static void rows_without_files_have_their_reasons(void **state)
{
    struct digest key = pictures_key(&k, 1);
    struct ledger_withdrawal w = { .files = 0 };
    struct err e;

    (void)state;
    assert_int_equal(ledger_withdraw(k.ledger, LEDGER_BY_KEY, &key, "x", &w, &e), ERR_OK);
    ledger_rows_release(&w.rows);
    pictures_sql(&k, "DELETE FROM blobs WHERE key = %s; UPDATE images SET kept = false"
                     " WHERE key = %s", pictures_literal(&k, 2).text,
                 pictures_literal(&k, 2).text);
    WANTS(0, "30 pictures: 28 files read, ", "check");
    WANTS(0, "1 files not kept, 1 pictures withdrawn", "check");
}

static void a_sample_reads_fewer_files_and_all_rows(void **state)
{
    struct ran ran = seedpress((const char *const[]){ "check", "--sample", "4", NULL });
    int pictures, files;

    (void)state;
    assert_int_equal(ran.exit_code, 0);
    assert_int_equal(sscanf(ran.out, "%d pictures: %d files", &pictures, &files), 2);
    assert_int_equal(pictures, PICTURES);
    assert_in_range(files, 1, PICTURES - 1);
    ran_release(&ran);
}

static void a_check_goes_on_where_it_is_told(void **state)
{
    struct digest key = pictures_key(&k, 7);
    int64_t behind = pictures_int(&k, "SELECT count(*) FROM images WHERE key > %s",
                                  pictures_literal(&k, 7).text);
    char words[64], files[80];

    (void)state;
    snprintf(words, sizeof words, "%d pictures: %d files", (int)behind, (int)behind);
    WANTS(0, words, "check", "--from", digest_hex(&key).text);
    snprintf(files, sizeof files, "files:%s", digest_hex(&key).text);
    WANTS(0, "0 pictures: 0 files read", "check", "--from", files);
}

/* More than a page of pictures, in two models, of which one is looked at. */
static void pages_follow_each_other(void **state)
{
    (void)state;
    pictures_sql(&k, "INSERT INTO images SELECT seed, run_id, render_us, created, model_id,"
                     " options_id, n, batch_size, bytes, false, sha256(n::text::bytea), subject,"
                     " file_sha, core_sha FROM images, generate_series(1, 1500) n WHERE seed = 7;"
                     "INSERT INTO models (digest, arch, width, height, num_ws, z_dim, w_dim, c_dim,"
                     " noise_modes, has_transform, licence)"
                     " VALUES (sha256('dogs'), 'stylegan2', 16, 16, 10, 32, 32, 0, 1, false, '')");
    WANTS(1, "1530 pictures: 30 files read", "check");       /* those keys are nobody's recipes */
    WANTS(1, "1500 findings", "check", "--model", "cats");
    pictures_sql(&k, "UPDATE images SET model_id = 2 WHERE psi < 700000");
    WANTS(0, "30 pictures: 30 files read", "check", "--model", "cats");
}

static void words_that_cannot_be_meant_so_are_refused(void **state)
{
    (void)state;
    WANTS(2, "64 hex digits", "check", "--from", "abc");
    WANTS(2, "--sample", "check", "--sample", "0");
    WANTS(1, "no model \"dogs\"", "check", "--model", "dogs");
    WANTS(2, "of which model?", "prune", "--keep-days", "3");
    WANTS(2, "--keep-bytes needs a size", "prune", "--model", "cats", "--keep-bytes", "10X");
    WANTS(2, "out of range", "prune", "--model", "cats", "--keep-days", "0");
    WANTS(2, "removes nothing", "prune", "--model", "cats", "--keep-days", "3", "--set",
          "--dry-run");
    WANTS(1, "no rule is recorded for cats", "prune", "--model", "cats");
    WANTS(2, "--since needs a date", "refill", "--since", "yesterday");
    WANTS(2, "known: migrate, check, prune, refill", "mend");
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM blobs"), PICTURES);
}

/* ---- prune ---- */

/* Seed n was stored n days ago, less an hour; the model is older than all. */
static void spread_over_days(void)
{
    pictures_sql(&k, "UPDATE models SET created = now() - interval '100 days';"
                     "UPDATE images SET created = now() - seed * interval '1 day'"
                     " + interval '1 hour'");
}

static int64_t kept(const char *condition)
{
    return pictures_int(&k, "SELECT count(*) FROM images i JOIN blobs USING (key)"
                            " WHERE kept AND %s", condition);
}

static void files_older_than_the_days_go_and_no_row(void **state)
{
    (void)state;
    spread_over_days();
    WANTS(0, "20 files of", "prune", "--model", "cats", "--keep-days", "10", "--dry-run");
    assert_int_equal(kept("true"), PICTURES);
    WANTS(0, "20 files of", "prune", "--model", "cats", "--keep-days", "10");
    assert_int_equal(kept("seed <= 10"), 10);
    assert_int_equal(kept("true"), 10);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM blobs"), 10);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images"), PICTURES);
    WANTS(0, "0 files of 0 bytes removed", "prune", "--model", "cats", "--keep-days", "10");
    WANTS(0, "20 files not kept, 0 pictures withdrawn; nothing is wrong", "check");
}

static void the_newest_files_stay_up_to_the_bytes(void **state)
{
    char bytes[32];

    (void)state;
    spread_over_days();
    snprintf(bytes, sizeof bytes, "%lld",
             (long long)pictures_int(&k, "SELECT sum(bytes) FROM images WHERE seed <= 12"));
    WANTS(0, "18 files of", "prune", "--model", "cats", "--keep-bytes", bytes);
    assert_int_equal(kept("seed <= 12"), 12);
    assert_int_equal(kept("true"), 12);
    /* One byte less than what the newest takes: even that one is too much. */
    snprintf(bytes, sizeof bytes, "%lld",
             (long long)pictures_int(&k, "SELECT bytes - 1 FROM images WHERE seed = 1"));
    WANTS(0, "12 files of", "prune", "--model", "cats", "--keep-bytes", bytes);
    assert_int_equal(kept("true"), 0);
}

static void the_stricter_of_days_and_bytes_counts(void **state)
{
    char bytes[32];

    (void)state;
    spread_over_days();
    snprintf(bytes, sizeof bytes, "%lld",
             (long long)pictures_int(&k, "SELECT sum(bytes) FROM images WHERE seed <= 12"));
    WANTS(0, "25 files of", "prune", "--model", "cats", "--keep-bytes", bytes, "--keep-days", "5");
    assert_int_equal(kept("seed <= 5"), 5);
    WANTS(0, "0 files of", "prune", "--model", "cats", "--keep-bytes", "1G", "--keep-days", "5");
}

static void a_recorded_rule_is_what_a_plain_prune_enforces(void **state)
{
    (void)state;
    spread_over_days();
    WANTS(0, "no rule is recorded", "prune");
    WANTS(0, "files of the last 10 days are kept", "prune", "--model", "cats", "--keep-days", "10",
          "--set");
    assert_int_equal(kept("true"), PICTURES);
    WANTS(0, "20 files of", "prune", "--dry-run");
    WANTS(0, "20 files of", "prune");
    assert_int_equal(kept("true"), 10);
    WANTS(0, "\"keep_bytes\":1024", "prune", "--model", "cats", "--keep-bytes", "1K", "--set",
          "--json");
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM retention WHERE days IS NULL"
                                      " AND bytes = 1024"), 1);
    WANTS(0, "all files are kept", "prune", "--model", "cats", "--set");
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM retention"), 0);
}

static void another_models_files_stay(void **state)
{
    (void)state;
    spread_over_days();
    pictures_sql(&k, "INSERT INTO models (digest, arch, width, height, num_ws, z_dim, w_dim, c_dim,"
                     " noise_modes, has_transform, licence, created)"
                     " VALUES (sha256('dogs'), 'stylegan2', 16, 16, 10, 32, 32, 0, 1, false, '',"
                     " now() - interval '100 days');"
                     "UPDATE images SET model_id = 2 WHERE seed %% 2 = 0");
    WANTS(0, "10 files of", "prune", "--model", "cats", "--keep-days", "10");
    assert_int_equal(kept("model_id = 2"), PICTURES / 2);
}

/* Several transactions of 1000, over windows that grow and shrink. */
static void thousands_of_files_go_oldest_first(void **state)
{
    (void)state;
    spread_over_days();
    pictures_sql(&k, "INSERT INTO images SELECT seed, run_id, render_us,"
                     " now() - interval '40 days' + n * interval '1 minute', model_id,"
                     " options_id, n, batch_size, bytes, true, sha256(n::text::bytea), subject,"
                     " file_sha, core_sha FROM images, generate_series(1, 3500) n WHERE seed = 7;"
                     "INSERT INTO blobs SELECT key, 'x' FROM images WHERE psi < 700000");
    WANTS(0, "3500 files of", "prune", "--model", "cats", "--keep-days", "31");
    assert_int_equal(kept("true"), PICTURES);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM blobs"), PICTURES);
}

/* ---- files in segments ---- */

static void flip_last_byte(const char *path)
{
    FILE *file = fopen(path, "r+");
    int byte;

    assert_non_null(file);
    assert_int_equal(fseek(file, -20, SEEK_END), 0);
    byte = fgetc(file);
    assert_int_equal(fseek(file, -20, SEEK_END), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    assert_int_equal(fclose(file), 0);
}

static void files_in_segments_are_checked_and_pruned(void **state)
{
    struct temp temp = temp_create();
    struct ledger_segments options = { .folder = temp.folder, .writer = "test" };
    struct temp_path file = temp_path(&temp, "0000000001.seg");
    struct err e = { .code = ERR_OK };

    (void)state;
    if (ledger_use_segments(k.ledger, &options, &e))
        fail_msg("%s", e.msg);
    pictures_store(&k, 41, 45);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images WHERE segment = 1"), 5);
    WANTS(0, "35 files read", "check", "--segments", temp.folder);
    WANTS(1, "bytes_missing", "check");              /* nobody said where they are */
    flip_last_byte(file.text);                       /* of the last picture */
    WANTS(1, "34 files read", "check", "--segments", temp.folder);
    pictures_sql(&k, "UPDATE models SET created = now() - interval '9 days';"
                     "UPDATE images SET created = now() - interval '5 days' WHERE seed > 40");
    WANTS(7, "5 files of", "prune", "--model", "cats", "--keep-days", "3");
    WANTS(1, "still to be erased", "check", "--segments", temp.folder);
    WANTS(0, "0 files of", "prune", "--model", "cats", "--keep-days", "3", "--segments",
          temp.folder);
    assert_int_equal(pictures_int(&k, "SELECT count(*) FROM images WHERE segment IS NOT NULL"), 0);
    WANTS(0, "5 files not kept", "check", "--segments", temp.folder);
    WANTS(7, "seedpress: ", "check", "--segments", "/nowhere");
    temp_destroy(&temp);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_tables, close_tables)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_ledger_that_is_whole_has_no_finding),
        TEST(every_kind_of_damage_is_found),
        TEST(a_file_that_is_no_picture_of_its_size_is_found),
        TEST(rows_without_files_have_their_reasons),
        TEST(a_sample_reads_fewer_files_and_all_rows),
        TEST(a_check_goes_on_where_it_is_told),
        TEST(pages_follow_each_other),
        TEST(words_that_cannot_be_meant_so_are_refused),
        TEST(files_older_than_the_days_go_and_no_row),
        TEST(the_newest_files_stay_up_to_the_bytes),
        TEST(the_stricter_of_days_and_bytes_counts),
        TEST(a_recorded_rule_is_what_a_plain_prune_enforces),
        TEST(another_models_files_stay),
        TEST(thousands_of_files_go_oldest_first),
        TEST(files_in_segments_are_checked_and_pruned),
    };
    return cmocka_run_group_tests(tests, start, end);
}
