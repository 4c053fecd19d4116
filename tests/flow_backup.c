/* A ledger is backed up without its files, restored elsewhere, and made whole again: the commands
 * are those of deploy/BACKUP.md, the programs are real. Before it one picture is withdrawn with the
 * command, and one pruned: neither comes back by itself. */
#include "base/file.h"
#include "tests/kit_stack.h"
#include "tests/kit_temp.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE_MAX = 1 << 20, PICTURES = 12, WITHDRAWN = 3 };

/* Lines of deploy/BACKUP.md. */
static const char DUMP[] = "pg_dump --format=custom --exclude-table-data='blobs*' "
                           "--file=ledger.dump --dbname=\"$SEEDPRESS_LEDGER\"";
static const char RESTORE[] = "pg_restore --exit-on-error --no-owner --dbname=\"$RESTORED\" "
                              "ledger.dump";
static const char *const PATIENT[] = { "--lookup-ms", "10000", NULL };

static struct kit_stack stack;
static struct kit_postgres restored;    /* stack.pg after the restoration */
static struct kit_postgres first;       /* what it was before */
static struct temp temp;

/* ---- running it ---- */

static struct ran seedpress(const char *const *args)
{
    setenv("SEEDPRESS_LEDGER", stack.pg.conninfo, 1);
    return run_seedpress((const char *const[]){ "--broker", stack.clients, NULL }, args);
}

/* These words must stand in what it prints. */
static void wants(int exit_code, const char *words, const char *const *args)
{
    struct ran ran = seedpress(args);

    if (ran.exit_code != exit_code || (!strstr(ran.out, words) && !strstr(ran.err, words)))
        fail_msg("wanted %d and \"%s\", not %d: %s%s", exit_code, words, ran.exit_code, ran.out,
                 ran.err);
    ran_release(&ran);
}
#define WANTS(code, words, ...) wants(code, words, (const char *const[]){ __VA_ARGS__, NULL })

static int64_t number(const struct kit_postgres *pg, const char *sql)
{
    return kit_postgres_int(pg->conninfo, sql);
}

static void shell(const char *line)
{
    struct ran ran;
    char script[1000];

    snprintf(script, sizeof script, "cd '%s' && %s", temp.folder, line);
    ran = run_program((const char *const[]){ "sh", "-c", script, NULL });
    if (ran.exit_code != 0)
        fail_msg("%s: %s", line, ran.err);
    ran_release(&ran);
}

/* Of every file that is there, told apart by their keys: a number for all of them. */
static int64_t files_of(const struct kit_postgres *pg)
{
    return number(pg, "SELECT ('x' || left(encode(sha256(string_agg(key || sha256(data), ''"
                      " ORDER BY key)), 'hex'), 15))::bit(60)::bigint FROM blobs");
}

/* ---- before ---- */

static void a_page_is_made(void **state)
{
    struct temp_path path = temp_path(&temp, "made");

    (void)state;
    WANTS(0, "", "generate", "--model", "avatars64", "--seeds", "0-11", "--psi", "0.7", "-o",
          path.text);
    assert_int_equal(number(&stack.pg, "SELECT count(*) FROM blobs"), PICTURES);
    WANTS(0, "12 files read, 12 of them decoded", "ledger", "check", "--decode");
    WANTS(0, "nothing to do: no file is lost", "ledger", "refill");
}

static void key_of(int seed, char key[65])
{
    struct ran ran;
    char text[16];
    const char *at;

    snprintf(text, sizeof text, "%d", seed);
    ran = seedpress((const char *const[]){ "provenance", "--seed", text, "--psi", "0.7", "--json",
                                           NULL });
    assert_int_equal(ran.exit_code, 0);
    at = strstr(ran.out, "\"recipe_key\":\"");
    assert_non_null(at);
    snprintf(key, 65, "%s", at + strlen("\"recipe_key\":\""));
    ran_release(&ran);
}

static void a_withdrawal_says_what_to_purge(void **state)
{
    struct temp_path path = temp_path(&temp, "again.jpg");
    char key[65];

    (void)state;
    key_of(WITHDRAWN, key);
    WANTS(2, "why? Say --reason", "withdraw", key);
    WANTS(2, "64 hex digits", "withdraw", "abc", "--reason", "a person asked");
    WANTS(2, "which picture?", "withdraw", key, "--sha256", key, "--reason", "a person asked");
    WANTS(1, "nothing was withdrawn", "withdraw", "--sha256", key, "--reason", "a person asked");
    WANTS(0, "1 file removed, 1 row stays\npurge from caches in front of gateways:\n"
             "  /v1/avatars64@", "withdraw", key, "--reason", "a person asked");
    WANTS(0, "/3.jpg?psi=0.7\"", "withdraw", key, "--reason", "a person asked", "--json");
    WANTS(1, "withdrawn", "generate", "--model", "avatars64", "--seed", "3", "--psi", "0.7", "-o",
          path.text);
    WANTS(1, "withdrawn", "generate", "--model", "avatars64", "--seed", "3", "--psi", "0.2", "-o",
          path.text);
    assert_int_equal(number(&stack.pg, "SELECT count(*) FROM blobs"), PICTURES - 1);
}

/* ---- backup, restoration ---- */

static void the_page_about_backups_has_these_commands(void **state)
{
    uint8_t *page;
    size_t len;
    struct err e;

    (void)state;
    if (file_read("deploy/BACKUP.md", PAGE_MAX, &page, &len, &e))
        fail_msg("%s", e.msg);
    if (!memmem(page, len, DUMP, strlen(DUMP)))
        fail_msg("deploy/BACKUP.md does not say %s", DUMP);
    if (!memmem(page, len, RESTORE, strlen(RESTORE)))
        fail_msg("deploy/BACKUP.md does not say %s", RESTORE);
    free(page);
}

static void everything_but_the_files_is_dumped_and_restored(void **state)
{
    (void)state;
    kit_postgres_exec(stack.pg.conninfo,
                      "DELETE FROM blobs USING images i WHERE blobs.key = i.key AND seed = 4;"
                      "UPDATE images SET kept = false WHERE seed = 4");
    setenv("SEEDPRESS_LEDGER", stack.pg.conninfo, 1);
    shell(DUMP);
    program_signal(&stack.worker[0], SIGTERM);
    program_wait(&stack.worker[0]);
    program_signal(&stack.broker, SIGTERM);
    program_wait(&stack.broker);
    kit_postgres_start(&restored);
    setenv("RESTORED", restored.conninfo, 1);
    shell(RESTORE);
    first = stack.pg;
    stack.pg = restored;
    assert_int_equal(number(&stack.pg, "SELECT count(*) FROM images"), PICTURES);
    assert_int_equal(number(&stack.pg, "SELECT count(*) FROM blobs"), 0);
    assert_int_equal(number(&stack.pg, "SELECT count(*) FROM withdrawn"), 1);
}

static void a_check_says_which_files_are_missing(void **state)
{
    struct ran ran = seedpress((const char *const[]){ "ledger", "check", NULL });
    int missing = 0;

    (void)state;
    assert_int_equal(ran.exit_code, 1);
    for (const char *at = ran.out; (at = strstr(at, "bytes_missing ")); at++)
        missing++;
    assert_int_equal(missing, PICTURES - 2);
    assert_non_null(strstr(ran.out, "1 files not kept, 1 pictures withdrawn; 10 findings"));
    ran_release(&ran);
}

/* ---- refill ---- */

static void nobody_there_is_said(void **state)
{
    (void)state;
    WANTS(5, "seedpress: ", "ledger", "refill");
    stack_restart_broker(&stack, PATIENT);
    stack_start_worker(&stack, 0, NULL);
}

static void what_is_lost_is_rendered_again_to_the_byte(void **state)
{
    (void)state;
    kit_postgres_exec(stack.pg.conninfo, "UPDATE images SET job_id = 17 WHERE seed IN (7, 8)");
    WANTS(1, "no model \"dogs\"", "ledger", "refill", "--model", "dogs");
    WANTS(0, "2 files were lost: 2 refilled, 0 differ, 0 failed", "ledger", "refill", "--job",
          "17");
    WANTS(0, "nothing to do", "ledger", "refill", "--since", "2999-01-01");
    WANTS(0, "\"lost\":8,\"refilled\":8", "ledger", "refill", "--model", "avatars64", "--since",
          "2020-01-01", "--json");
    assert_int_equal(files_of(&stack.pg), files_of(&first));
    assert_int_equal(number(&stack.pg, "SELECT count(*) FROM blobs"), PICTURES - 2);
    WANTS(0, "12 pictures: 10 files read, 10 of them decoded; 1 files not kept, "
             "1 pictures withdrawn; nothing is wrong", "ledger", "check", "--decode");
}

static void what_was_pruned_comes_back_when_asked_for(void **state)
{
    (void)state;
    WANTS(0, "nothing to do", "ledger", "refill");
    WANTS(0, "1 files were lost: 1 refilled", "ledger", "refill", "--pruned");
    assert_int_equal(number(&stack.pg, "SELECT count(*) FROM images i JOIN blobs USING (key)"
                                       " WHERE seed = 4 AND kept"), 1);
    WANTS(0, "nothing to do", "ledger", "refill", "--pruned");  /* the withdrawn one stays away */
    assert_int_equal(number(&stack.pg, "SELECT count(*) FROM blobs"), PICTURES - 1);
}

static void a_file_that_comes_out_otherwise_is_told_of(void **state)
{
    (void)state;
    kit_postgres_exec(stack.pg.conninfo,
                      "DELETE FROM blobs USING images i WHERE blobs.key = i.key AND seed IN (5, 6);"
                      "UPDATE images SET file_sha = sha256('x') WHERE seed = 5");
    WANTS(3, "2 files were lost: 1 refilled, 1 differ, 0 failed", "ledger", "refill");
    WANTS(3, "differs ", "ledger", "refill");
    WANTS(1, "bytes_missing ", "ledger", "check");
}

static int set_up(void **state)
{
    (void)state;
    temp = temp_create();
    stack_start(&stack, PATIENT);
    stack_start_worker(&stack, 0, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    stack_destroy(&stack);
    kit_postgres_destroy(&first);
    temp_destroy(&temp);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(a_page_is_made),
        cmocka_unit_test(a_withdrawal_says_what_to_purge),
        cmocka_unit_test(the_page_about_backups_has_these_commands),
        cmocka_unit_test(everything_but_the_files_is_dumped_and_restored),
        cmocka_unit_test(a_check_says_which_files_are_missing),
        cmocka_unit_test(nobody_there_is_said),
        cmocka_unit_test(what_is_lost_is_rendered_again_to_the_byte),
        cmocka_unit_test(what_was_pruned_comes_back_when_asked_for),
        cmocka_unit_test(a_file_that_comes_out_otherwise_is_told_of),
    };
    return cmocka_run_group_tests(TESTS, set_up, tear_down);
}
