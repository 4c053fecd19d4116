/* First image wins, with several processes that write the same pictures at once, each with bytes of
 * its own and in an order of its own: everybody is told of the same winner, nothing is there twice,
 * nothing is half there, even when writers are killed at any instruction. */
#include "sql/ledger.h"
#include "tests/kit_postgres.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

enum {
    KEYS = 2000,
    KILL_KEYS = 300,                /* of a round with a kill */
    BATCH = 32,
    FILE_BYTES = 3000,              /* more than fits a row: the out-of-line path, as real files */
    KILLS = 12,
    KILL_WITHIN_US = 120000,        /* about the time of KILL_KEYS */
};

/* Between the test and one writer, in shared memory. */
struct shared {
    struct digest answer[KEYS];     /* what the writer would send for each seed */
    int stored, same, other;        /* outcomes */
};

struct fixture {
    struct kit_postgres pg;
    struct shared *writer[2];
};

static struct model_facts model_facts(void)
{
    return (struct model_facts){ .digest = digest_of("model", 5), .width = 64, .height = 64,
                                 .num_ws = 10, .z_dim = 32, .w_dim = 32, .noise_modes = 1 };
}

/* The writer's own picture of seed: as long as all others, other bytes. */
static void paint(uint8_t data[FILE_BYTES], int writer, uint32_t seed)
{
    for (size_t i = 0; i < FILE_BYTES; i++)
        data[i] = (uint8_t)(i * 7 + seed);
    data[0] = (uint8_t)writer;
}

/* xorshift: an order that is the same on every run. */
static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void shuffle(uint32_t *order, uint32_t count, uint32_t state)
{
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t k = next_random(&state) % (i + 1), kept = order[i];
        order[i] = order[k];
        order[k] = kept;
    }
}

static void note(struct shared *shared, uint32_t seed, const struct digest *own,
                 struct ledger_stored *stored)
{
    shared->stored += stored->outcome == LEDGER_STORED;
    shared->same += stored->outcome == LEDGER_SAME;
    shared->other += stored->outcome == LEDGER_WINNER;
    shared->answer[seed] = *own;
    if (stored->outcome == LEDGER_WINNER)
        shared->answer[seed] = digest_of(stored->data, stored->len);
    free(stored->data);
}

/* A writer of seeds 0..keys: 0 when every batch was stored. A batch that could not be is repeated,
 * as the archive does; only faults that a repeat is meant for may come. */
static int write_all(const char *conninfo, int writer, uint32_t keys, uint32_t order_seed,
                     struct shared *shared)
{
    static uint8_t data[BATCH][FILE_BYTES];
    struct ledger_image images[BATCH];
    struct ledger_stored stored[BATCH];
    char numerics_class[32];
    struct ledger_run run = { "host", "0", "cpu", "cpu", "", numerics_class, "jpeg", "" };
    struct model_facts facts = model_facts();
    struct ledger_model model = { "model", &facts, "stylegan2", "" };
    struct ledger *ledger;
    uint32_t order[KEYS];
    int64_t run_id;
    struct err e = { ERR_OK };

    snprintf(numerics_class, sizeof numerics_class, "class-%d", writer);
    shuffle(order, keys, order_seed);
    if (ledger_open(conninfo, "racing writer", &ledger, &e) ||
        ledger_put_model(ledger, &model, &e) || ledger_start_run(ledger, &run, &run_id, &e))
        goto failed;
    for (size_t first = 0; first < keys; first += BATCH) {
        size_t count = keys - first < BATCH ? keys - first : BATCH;
        enum err_code rc;
        for (size_t i = 0; i < count; i++) {
            uint32_t seed = order[first + i];
            paint(data[i], writer, seed);
            images[i] = (struct ledger_image){
                .recipe = { .model = facts.digest, .seed = seed, .psi = 700000, .cutoff = 10,
                            .class_index = -1, .width = 64, .height = 64, .quality = 90 },
                .file_sha = digest_of(data[i], FILE_BYTES),
                .core_sha = digest_of(data[i], FILE_BYTES),
                .run_id = run_id, .numerics_class = numerics_class, .encoder = "jpeg",
                .batch_size = BATCH, .data = data[i], .len = FILE_BYTES, .keep = true
            };
        }
        do {
            rc = ledger_store(ledger, images, count, stored, &e);
            if (rc && (rc != ERR_LEDGER_DOWN || strstr(e.msg, "deadlock")))
                goto failed;
        } while (rc);
        for (size_t i = 0; i < count; i++)
            note(shared, order[first + i], &images[i].file_sha, &stored[i]);
    }
    ledger_close(&ledger);
    return 0;
failed:
    fprintf(stderr, "writer %d: %s\n", writer, e.msg);
    return 1;
}

/* Forked before anything connects. die_us > 0: the kernel kills it after that time, wherever it
 * is. */
static pid_t start_writer(struct fixture *f, int writer, uint32_t keys, uint32_t order_seed,
                          long die_us)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (die_us > 0) {
        struct sigevent by_kill = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
        struct itimerspec after = { .it_value = { .tv_nsec = die_us * 1000 } };
        timer_t timer;
        if (timer_create(CLOCK_MONOTONIC, &by_kill, &timer) ||
            timer_settime(timer, 0, &after, NULL))
            _exit(2);
    }
    _exit(write_all(f->pg.conninfo, writer, keys, order_seed, f->writer[writer]));
}

static int wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int64_t count_of(struct fixture *f, const char *sql)
{
    return kit_postgres_int(f->pg.conninfo, sql);
}

static void assert_nothing_is_half_there(struct fixture *f)
{
    assert_int_equal(count_of(f, "SELECT count(*) FROM images i FULL JOIN blobs b USING (key) "
                                 "WHERE i.key IS NULL OR b.key IS NULL OR NOT i.kept"), 0);
    assert_int_equal(count_of(f, "SELECT count(*) FROM images i JOIN blobs b USING (key) "
                                 "WHERE sha256(b.data) <> i.file_sha"), 0);
}

/* What writer would have sent is what is stored, for every seed. */
static void assert_answers_are_the_stored_files(struct fixture *f, int writer, uint32_t keys)
{
    struct recipe recipe = { .model = model_facts().digest, .psi = 700000, .cutoff = 10,
                             .class_index = -1, .width = 64, .height = 64, .quality = 90 };
    struct ledger *ledger;
    struct ledger_rows rows;
    struct err e;

    assert_int_equal(ledger_open(f->pg.conninfo, "reader", &ledger, &e), ERR_OK);
    for (recipe.seed = 0; recipe.seed < keys; recipe.seed++) {
        struct digest key = recipe_key(&recipe);
        assert_int_equal(ledger_find_keys(ledger, &key, 1, true, &rows, &e), ERR_OK);
        assert_int_equal(rows.count, 1);
        struct digest file = digest_of(rows.row[0].data, rows.row[0].len);
        assert_true(digest_equal(&file, &rows.row[0].file_sha));
        assert_true(digest_equal(&file, &f->writer[writer]->answer[recipe.seed]));
        ledger_rows_release(&rows);
    }
    ledger_close(&ledger);
}

static int start_server(void **state)
{
    static struct fixture f;
    struct err e;
    kit_postgres_start(&f.pg);
    for (size_t i = 0; i < COUNT(f.writer); i++) {
        f.writer[i] = mmap(NULL, sizeof *f.writer[i], PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(f.writer[i] != MAP_FAILED);
    }
    *state = &f;
    return ledger_migrate(f.pg.conninfo, false, NULL, NULL, &e) == ERR_OK ? 0 : -1;
}

static int end_server(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT(f->writer); i++)
        munmap(f->writer[i], sizeof *f->writer[i]);
    kit_postgres_destroy(&f->pg);
    return 0;
}

static int empty_tables(void **state)
{
    struct fixture *f = *state;
    kit_postgres_exec(f->pg.conninfo, "TRUNCATE images, blobs");
    for (size_t i = 0; i < COUNT(f->writer); i++)
        memset(f->writer[i], 0, sizeof *f->writer[i]);
    return 0;
}

static void racing_writers_all_answer_with_the_winners_bytes(void **state)
{
    struct fixture *f = *state;
    pid_t pid[2];

    for (int i = 0; i < 2; i++)
        pid[i] = start_writer(f, i, KEYS, (uint32_t)i + 1, 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(wait_for(pid[i]), 0);
    assert_int_equal(count_of(f, "SELECT count(*) FROM images"), KEYS);
    assert_nothing_is_half_there(f);
    for (int i = 0; i < 2; i++) {
        assert_answers_are_the_stored_files(f, i, KEYS);
        assert_int_equal(f->writer[i]->stored + f->writer[i]->same + f->writer[i]->other, KEYS);
        assert_true(f->writer[i]->other > 0);           /* there was a race */
    }
    /* A repeat after a lost connection would say SAME; there was none here. */
    assert_int_equal(f->writer[0]->stored + f->writer[1]->stored, KEYS);
}

static void a_killed_writer_leaves_nothing_half_written(void **state)
{
    struct fixture *f = *state;
    uint32_t random = 12345;
    int killed = 0;

    for (uint32_t round = 0; round < KILLS; round++) {
        long die_us = 1 + (long)(next_random(&random) % KILL_WITHIN_US);
        pid_t survivor, victim;
        int status;

        empty_tables(state);
        victim = start_writer(f, 1, KILL_KEYS, 2 * round + 1, die_us);
        survivor = start_writer(f, 0, KILL_KEYS, 2 * round + 2, 0);
        status = wait_for(victim);
        assert_true(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        killed += status != 0;
        assert_nothing_is_half_there(f);
        assert_int_equal(wait_for(survivor), 0);
        assert_nothing_is_half_there(f);
        assert_int_equal(count_of(f, "SELECT count(*) FROM images"), KILL_KEYS);
        assert_answers_are_the_stored_files(f, 0, KILL_KEYS);
        /* Whoever comes after a killed writer finds its pictures, or stores what it did not. */
        assert_int_equal(wait_for(start_writer(f, 1, KILL_KEYS, round + 1, 0)), 0);
        assert_answers_are_the_stored_files(f, 1, KILL_KEYS);
    }
    assert_true(killed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(racing_writers_all_answer_with_the_winners_bytes, empty_tables),
        cmocka_unit_test_setup(a_killed_writer_leaves_nothing_half_written, empty_tables),
    };
    return cmocka_run_group_tests(tests, start_server, end_server);
}
