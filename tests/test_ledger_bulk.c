/* Bulk jobs in a real PostgreSQL: leases, fences, counts. */
#include "sql/ledger.h"
#include "tests/kit_postgres.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

enum { PARTS_MAX = 4, ITEMS_MAX = 200 };
static const char CLASS[] = "cpu-fp32-test-1";
static const char ENCODER[] = "libjpeg-turbo-2.1.5";

/* Two ledgers, as two brokers have them. */
struct fixture {
    struct kit_postgres pg;
    struct ledger *a, *b;
    struct model_facts facts;
    int64_t run_id;
};

static void must(enum err_code rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

static struct recipe recipe_of(const struct fixture *f, uint32_t seed)
{
    return (struct recipe){ .model = f->facts.digest, .seed = seed, .psi = 700000, .cutoff = 10,
                            .class_index = -1, .noise = RECIPE_NOISE_CONST, .width = 64,
                            .height = 64, .quality = 90, .mark = RECIPE_MARK_XMP };
}

static int start_server(void **state)
{
    static struct fixture f;
    struct err e;

    kit_postgres_start(&f.pg);
    f.facts = (struct model_facts){ .digest = digest_of("cats", 4), .width = 64, .height = 64,
                                    .num_ws = 10, .z_dim = 32, .w_dim = 32,
                                    .noise_modes = 1u << RECIPE_NOISE_CONST };
    must(ledger_migrate(f.pg.conninfo, false, NULL, NULL, &e), &e);
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
    struct ledger_model model = { "cats", &f->facts, "stylegan2", "CC0" };
    struct ledger_run run = { .worker = "host:1:2", .version = "0.1", .backend = "cpu",
                              .device = "test", .driver = "none", .libraries = "none",
                              .numerics_class = CLASS, .encoder = ENCODER };
    struct err e;

    kit_postgres_exec(f->pg.conninfo,
                      "DELETE FROM blobs; DELETE FROM images; DELETE FROM bulk_failures;"
                      "DELETE FROM chunks; DELETE FROM bulk_parts; DELETE FROM bulk_jobs");
    must(ledger_open(f->pg.conninfo, "broker a", &f->a, &e), &e);
    must(ledger_open(f->pg.conninfo, "broker b", &f->b, &e), &e);
    must(ledger_put_model(f->a, &model, &e), &e);
    must(ledger_start_run(f->a, &run, &f->run_id, &e), &e);
    return 0;
}

static int close_ledgers(void **state)
{
    struct fixture *f = *state;

    ledger_close(&f->a);
    ledger_close(&f->b);
    return 0;
}

static int64_t count_of(const struct fixture *f, const char *sql)
{
    return kit_postgres_int(f->pg.conninfo, sql);
}

/* ---- jobs ---- */

struct job {
    struct ledger_job job;
    struct ledger_part parts[PARTS_MAX];
    size_t count;
};

/* Seeds first..last of one part, in chunks of that many. */
static struct job job_of(const struct fixture *f, const char *name, uint32_t first, uint32_t last,
                         int chunk)
{
    struct job self = { .job = { .keep = true, .priority = 2, .chunk = chunk }, .count = 1 };

    snprintf(self.job.owner, sizeof self.job.owner, "ann");
    snprintf(self.job.name, sizeof self.job.name, "%s", name);
    self.parts[0] = (struct ledger_part){ .first = first, .last = last,
                                          .recipe = recipe_of(f, first) };
    return self;
}

static enum err_code submit(struct ledger *ledger, struct job *job, bool *is_new, struct err *e)
{
    return ledger_bulk_submit(ledger, &job->job, job->parts, job->count, is_new, e);
}

/* Returns its number. */
static int64_t submitted(struct fixture *f, struct job job)
{
    struct err e;
    bool is_new;

    must(submit(f->a, &job, &is_new, &e), &e);
    assert_true(is_new);
    return job.job.id;
}

static struct ledger_job look_at(struct fixture *f, int64_t id)
{
    struct ledger_job job;
    size_t count;
    struct err e;

    must(ledger_bulk_list(f->b, id, "", &job, 1, &count, &e), &e);
    assert_int_equal(count, 1);
    return job;
}

static void control(struct fixture *f, int64_t job, enum ledger_bulk_state to)
{
    struct err e;

    must(ledger_bulk_control(f->a, job, "", to, &e), &e);
    assert_int_equal(look_at(f, job).state, to);
}

/* Stores seeds first..last. */
static void store(struct fixture *f, uint32_t first, uint32_t last)
{
    for (uint32_t seed = first; seed <= last; seed++) {
        char bytes[32];
        size_t len = (size_t)snprintf(bytes, sizeof bytes, "picture %u", seed);
        struct ledger_image image = {
            .recipe = recipe_of(f, seed), .file_sha = digest_of(bytes, len),
            .core_sha = digest_of(bytes, len), .run_id = f->run_id, .numerics_class = CLASS,
            .encoder = ENCODER, .batch_size = 1, .data = (const uint8_t *)bytes, .len = len,
            .keep = true,
        };
        struct ledger_stored stored;
        struct err e;

        must(ledger_store(f->a, &image, 1, &stored, &e), &e);
        assert_int_equal(stored.outcome, LEDGER_STORED);
    }
}

/* Of a job of one part whose seeds are its items' numbers plus first. */
static void keys_of(const struct fixture *f, uint32_t first, int64_t item, int count,
                    struct digest *keys)
{
    for (int i = 0; i < count; i++) {
        struct recipe recipe = recipe_of(f, first + (uint32_t)(item + i));

        keys[i] = recipe_key(&recipe);
    }
}

static struct ledger_chunk lease(struct ledger *ledger, const char *holder)
{
    struct ledger_chunk chunk;
    bool found;
    struct err e;

    must(ledger_bulk_lease(ledger, NULL, 0, holder, &chunk, &found, &e), &e);
    assert_true(found);
    assert_string_equal(chunk.holder, holder);
    return chunk;
}

static void lease_finds_nothing(struct ledger *ledger)
{
    struct ledger_chunk chunk;
    bool found;
    struct err e;

    must(ledger_bulk_lease(ledger, NULL, 0, "anybody", &chunk, &found, &e), &e);
    assert_false(found);
}

/* Of a job whose seeds are its items' numbers. */
static bool finish(struct fixture *f, struct ledger *ledger, const struct ledger_chunk *chunk)
{
    struct digest keys[ITEMS_MAX];
    bool held;
    struct err e;

    keys_of(f, 0, chunk->item, chunk->count, keys);
    must(ledger_bulk_finish(ledger, chunk, keys, NULL, 0, &held, &e), &e);
    return held;
}

static bool renew(struct ledger *ledger, struct ledger_chunk *chunk, enum ledger_bulk_state *state)
{
    struct err e;
    bool held;

    must(ledger_bulk_renew(ledger, chunk, 1, state, &held, &e), &e);
    return held;
}

static bool take(struct ledger *ledger, const char *holder, struct ledger_chunk *chunk)
{
    struct err e;
    bool won;

    must(ledger_bulk_take(ledger, holder, chunk, &won, &e), &e);
    return won;
}

static void give_back(struct ledger *ledger, const struct ledger_chunk *chunk)
{
    struct err e;

    must(ledger_bulk_return(ledger, chunk, &e), &e);
}

/* ---- what was submitted ---- */

static void the_same_submission_is_the_same_job(void **state)
{
    struct fixture *f = *state;
    struct job job = job_of(f, "million", 0, 99, 10), again = job, bobs = job;
    bool is_new;
    struct err e;

    must(submit(f->a, &job, &is_new, &e), &e);
    assert_true(is_new);
    assert_true(job.job.id > 0);
    assert_int_equal(job.job.total, 100);
    assert_int_equal(job.job.state, LEDGER_BULK_RUNNING);
    assert_int_equal(job.job.exporter_ms, -1);
    assert_int_equal(job.job.chunk, 10);
    assert_int_equal(job.job.priority, 2);
    assert_true(job.job.keep);
    assert_string_equal(job.job.finished, "");
    assert_int_equal(strlen(job.job.created), strlen("2020-01-01T00:00:00.000000Z"));
    must(submit(f->b, &again, &is_new, &e), &e);
    assert_false(is_new);
    assert_int_equal(again.job.id, job.job.id);
    snprintf(bobs.job.owner, sizeof bobs.job.owner, "bob");
    must(submit(f->b, &bobs, &is_new, &e), &e);
    assert_true(is_new);
    assert_int_not_equal(bobs.job.id, job.job.id);
    assert_string_equal(bobs.job.owner, "bob");
    assert_int_equal(count_of(f, "SELECT count(*) FROM bulk_jobs"), 2);
    assert_int_equal(count_of(f, "SELECT count(*) FROM bulk_parts"), 2);
}

static void a_name_stands_for_one_content(void **state)
{
    struct fixture *f = *state;
    struct job changed[5];
    bool is_new;
    struct err e;

    submitted(f, job_of(f, "million", 0, 99, 10));
    for (size_t i = 0; i < COUNT(changed); i++)
        changed[i] = job_of(f, "million", 0, 99, 10);
    changed[0].parts[0].last = 98;
    changed[1].parts[0].recipe.psi = 1;
    changed[2].parts[0].class_mod = 3;
    changed[3].job.keep = false;
    changed[4].job.priority = 1;
    for (size_t i = 0; i < COUNT(changed); i++) {
        assert_int_equal(submit(f->a, &changed[i], &is_new, &e), ERR_CONFLICT);
        assert_non_null(strstr(e.msg, "\"million\""));
    }
}

static void parts_must_follow_each_other(void **state)
{
    struct fixture *f = *state;
    struct job job = job_of(f, "gap", 0, 9, 10);
    bool is_new;
    struct err e;

    job.count = 2;
    job.parts[1] = job.parts[0];
    job.parts[1].item = 11;
    assert_int_equal(submit(f->a, &job, &is_new, &e), ERR_INVALID);
    job.count = 0;
    assert_int_equal(submit(f->a, &job, &is_new, &e), ERR_INVALID);
    job.count = 1;
    job.parts[0].first = 10;
    assert_int_equal(submit(f->a, &job, &is_new, &e), ERR_INVALID);
    assert_int_equal(count_of(f, "SELECT count(*) FROM bulk_jobs"), 0);
}

static void the_parts_come_back(void **state)
{
    struct fixture *f = *state;
    struct job job = job_of(f, "parts", 5, 9, 10);
    struct ledger_part *parts;
    struct recipe recipe;
    size_t count;
    int64_t id;
    struct err e;

    job.count = 3;
    job.parts[1] = (struct ledger_part){ .item = 5, .first = UINT32_MAX - 1, .last = UINT32_MAX,
                                         .class_mod = 10, .recipe = recipe_of(f, UINT32_MAX - 1) };
    job.parts[1].recipe.class_index = 4;
    job.parts[2] = (struct ledger_part){ .item = 7, .first = 0, .last = UINT32_MAX,
                                         .recipe = recipe_of(f, 0) };
    id = submitted(f, job);
    assert_int_equal(look_at(f, id).total, 7 + (INT64_C(1) << 32));
    assert_memory_equal(look_at(f, id).model.bytes, f->facts.digest.bytes, DIGEST_LEN);
    must(ledger_bulk_parts(f->b, id, &parts, &count, &e), &e);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        struct digest there = recipe_key(&parts[i].recipe), here = recipe_key(&job.parts[i].recipe);

        assert_int_equal(parts[i].item, job.parts[i].item);
        assert_int_equal(parts[i].first, job.parts[i].first);
        assert_int_equal(parts[i].last, job.parts[i].last);
        assert_int_equal(parts[i].class_mod, job.parts[i].class_mod);
        assert_true(digest_equal(&there, &here));
    }
    recipe = ledger_part_recipe(&parts[0], 2);
    assert_int_equal(recipe.seed, 7);
    assert_int_equal(recipe.class_index, -1);
    recipe = ledger_part_recipe(&parts[1], 6);
    assert_int_equal(recipe.seed, UINT32_MAX);
    assert_int_equal(recipe.class_index, 5);
    free(parts);
    must(ledger_bulk_parts_of(f->b, &(struct ledger_chunk){ .job = id, .item = 6, .count = 2 },
                              &parts, &count, &e), &e);
    assert_int_equal(count, 2);
    assert_int_equal(parts[0].item, 5);
    assert_int_equal(parts[1].item, 7);
    free(parts);
    must(ledger_bulk_parts_of(f->b, &(struct ledger_chunk){ .job = id, .item = 6, .count = 1 },
                              &parts, &count, &e), &e);
    assert_int_equal(count, 1);
    free(parts);
    assert_int_equal(ledger_bulk_parts(f->b, id + 1, &parts, &count, &e), ERR_NOT_FOUND);
    assert_null(parts);
}

static void jobs_are_listed_newest_first_and_by_name(void **state)
{
    struct fixture *f = *state;
    int64_t first = submitted(f, job_of(f, "one", 0, 9, 10));
    int64_t second = submitted(f, job_of(f, "two", 0, 9, 10));
    struct ledger_job jobs[3];
    size_t count;
    struct err e;

    must(ledger_bulk_list(f->a, 0, "", jobs, 3, &count, &e), &e);
    assert_int_equal(count, 2);
    assert_int_equal(jobs[0].id, second);
    assert_int_equal(jobs[1].id, first);
    must(ledger_bulk_list(f->a, 0, "", jobs, 1, &count, &e), &e);
    assert_int_equal(count, 1);
    must(ledger_bulk_list(f->a, 0, "one", jobs, 3, &count, &e), &e);
    assert_int_equal(count, 1);
    assert_int_equal(jobs[0].id, first);
    must(ledger_bulk_list(f->a, second, "one", jobs, 3, &count, &e), &e);
    assert_int_equal(count, 0);
}

static void files_of_the_model_say_what_a_picture_takes(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "sizes", 0, 9, 10)), bytes;
    struct err e;

    assert_int_equal(look_at(f, job).picture_bytes, 0);
    store(f, 0, 9);
    assert_int_equal(look_at(f, job).picture_bytes, strlen("picture 0"));
    must(ledger_bulk_picture_bytes(f->a, &f->facts.digest, &bytes, &e), &e);
    assert_int_equal(bytes, strlen("picture 0"));
}

/* ---- leases ---- */

static void leases_of_two_brokers_cover_all_and_never_overlap(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "cover", 0, 94, 10));
    bool seen[95] = { false };

    for (int i = 0; i < 10; i++) {
        struct ledger_chunk c = lease(i % 2 ? f->b : f->a, i % 2 ? "b" : "a");

        assert_int_equal(c.job, job);
        assert_int_equal(c.count, i < 9 ? 10 : 5);
        for (int at = 0; at < c.count; at++) {
            assert_false(seen[c.item + at]);
            seen[c.item + at] = true;
        }
    }
    lease_finds_nothing(f->a);
    lease_finds_nothing(f->b);
    assert_int_equal(look_at(f, job).next, 95);
    assert_int_equal(look_at(f, job).leased, 95);
}

static void jobs_take_turns(void **state)
{
    struct fixture *f = *state;
    int64_t huge = submitted(f, job_of(f, "huge", 0, 999999, 10));
    int64_t small = submitted(f, job_of(f, "small", 0, 19, 10));
    int64_t late = submitted(f, job_of(f, "late", 0, 9, 10));
    const int64_t order[] = { huge, small, late, huge, small, huge, huge };
    struct ledger_chunk chunk;
    bool found;
    struct err e;

    for (size_t i = 0; i < COUNT(order); i++)
        assert_int_equal(lease(f->a, "a").job, order[i]);
    must(ledger_bulk_lease(f->a, &huge, 1, "a", &chunk, &found, &e), &e);
    assert_false(found);                /* of the others there is nothing left */
}

static void a_chunk_that_came_back_goes_out_at_once_and_its_old_holder_is_fenced(void **state)
{
    struct fixture *f = *state;
    enum ledger_bulk_state job_state;
    struct ledger_chunk first, again;

    submitted(f, job_of(f, "back", 0, 99, 10));
    first = lease(f->a, "a");
    give_back(f->a, &first);
    again = lease(f->b, "b");
    assert_int_equal(again.item, first.item);
    assert_true(again.epoch > first.epoch);
    assert_false(renew(f->a, &first, &job_state));
    give_back(f->a, &first);            /* does nothing */
    assert_true(renew(f->b, &again, &job_state));
    assert_int_equal(job_state, LEDGER_BULK_RUNNING);
}

static void only_what_stood_still_is_taken_over(void **state)
{
    struct fixture *f = *state;
    struct ledger_chunk held, seen, after = { 0 };
    enum ledger_bulk_state job_state;
    size_t count;
    struct err e;

    submitted(f, job_of(f, "take", 0, 99, 10));
    held = lease(f->a, "a");
    must(ledger_bulk_leased(f->b, &after, &seen, 1, &count, &e), &e);
    assert_int_equal(count, 1);
    assert_string_equal(seen.holder, "a");
    assert_int_equal(seen.item, held.item);
    assert_true(renew(f->a, &held, &job_state));
    assert_false(take(f->b, "b", &seen));       /* its beat has gone on */
    must(ledger_bulk_leased(f->b, &after, &seen, 1, &count, &e), &e);
    assert_int_equal(seen.beat, held.beat);
    assert_true(take(f->b, "b", &seen));
    assert_int_equal(seen.epoch, held.epoch + 1);
    assert_false(take(f->a, "a", &held));       /* and now its epoch */
    assert_false(renew(f->a, &held, &job_state));
    assert_true(renew(f->b, &seen, &job_state));
    store(f, 0, 9);
    assert_false(finish(f, f->a, &held));
    assert_int_equal(look_at(f, held.job).done, 0);
    assert_true(finish(f, f->b, &seen));
    assert_int_equal(look_at(f, held.job).done, 10);
    assert_false(finish(f, f->b, &seen));       /* once */
    assert_false(renew(f->b, &seen, &job_state));
}

static void only_held_chunks_of_running_jobs_are_watched(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "watch", 0, 49, 10));
    struct ledger_chunk chunks[5], seen[5], after = { 0 };
    size_t count;
    struct err e;

    for (size_t i = 0; i < COUNT(chunks); i++)
        chunks[i] = lease(f->a, "a");
    give_back(f->a, &chunks[1]);
    store(f, 0, 9);
    assert_true(finish(f, f->a, &chunks[0]));
    must(ledger_bulk_leased(f->b, &after, seen, 2, &count, &e), &e);
    assert_int_equal(count, 2);
    assert_int_equal(seen[0].item, 20);
    assert_int_equal(seen[1].item, 30);
    must(ledger_bulk_leased(f->b, &seen[1], seen, 5, &count, &e), &e);
    assert_int_equal(count, 1);
    assert_int_equal(seen[0].item, 40);
    control(f, job, LEDGER_BULK_PAUSED);
    assert_false(take(f->b, "b", &seen[0]));
    must(ledger_bulk_leased(f->b, &after, seen, 5, &count, &e), &e);
    assert_int_equal(count, 0);
}

/* ---- the end of a chunk ---- */

static void keys_with_a_row_are_present(void **state)
{
    struct fixture *f = *state;
    static struct digest keys[LEDGER_CHUNK_MAX];
    static bool present[LEDGER_CHUNK_MAX];
    struct err e;

    store(f, 3, 4);
    store(f, 9999, 9999);
    keys_of(f, 0, 0, LEDGER_CHUNK_MAX, keys);
    keys[7] = keys[3];                  /* twice the same */
    must(ledger_bulk_present(f->a, keys, LEDGER_CHUNK_MAX, present, &e), &e);
    for (int i = 0; i < LEDGER_CHUNK_MAX; i++)
        assert_true(present[i] == (i == 3 || i == 4 || i == 7 || i == 9999));
    must(ledger_bulk_present(f->a, keys, 0, present, &e), &e);
    assert_int_equal(ledger_bulk_present(f->a, keys, LEDGER_CHUNK_MAX + 1, present, &e), ERR_BUG);
}

static void every_item_needs_a_row_or_a_failure(void **state)
{
    struct fixture *f = *state;
    struct ledger_failure failures[] = { { 4, "poison", "the render failed 3 times" },
                                         { 1, "poison", "but it has a row" } }, read[3];
    int64_t job = submitted(f, job_of(f, "count", 0, 4, 5));
    struct ledger_chunk chunk = lease(f->a, "a");
    struct digest keys[5];
    struct ledger_job seen;
    size_t count;
    bool held;
    struct err e;

    keys_of(f, 0, 0, 5, keys);
    store(f, 0, 2);
    assert_int_equal(ledger_bulk_finish(f->a, &chunk, keys, failures, 2, &held, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "item 3"));
    assert_int_equal(look_at(f, job).done, 0);
    store(f, 3, 3);
    must(ledger_bulk_finish(f->a, &chunk, keys, failures, 2, &held, &e), &e);
    assert_true(held);
    seen = look_at(f, job);
    assert_int_equal(seen.done, 4);
    assert_int_equal(seen.failed, 1);
    assert_int_equal(seen.leased, 0);
    assert_int_equal(seen.state, LEDGER_BULK_DONE);
    assert_string_not_equal(seen.finished, "");
    must(ledger_bulk_failures(f->b, job, -1, read, 3, &count, &e), &e);
    assert_int_equal(count, 1);
    assert_int_equal(read[0].item, 4);
    assert_string_equal(read[0].code, "poison");
    assert_string_equal(read[0].message, "the render failed 3 times");
    must(ledger_bulk_failures(f->b, job, 4, read, 3, &count, &e), &e);
    assert_int_equal(count, 0);
}

static void failures_of_other_chunks_are_refused(void **state)
{
    struct fixture *f = *state;
    struct ledger_failure stray = { 10, "poison", "of the next chunk" };
    struct ledger_chunk chunk;
    struct digest keys[10];
    bool held;
    struct err e;

    submitted(f, job_of(f, "stray", 0, 99, 10));
    chunk = lease(f->a, "a");
    store(f, 0, 9);
    keys_of(f, 0, 0, 10, keys);
    assert_int_equal(ledger_bulk_finish(f->a, &chunk, keys, &stray, 1, &held, &e), ERR_CONFLICT);
    assert_false(held);
}

static void a_job_is_done_with_its_last_chunk_in_whatever_order(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "done", 0, 29, 10));
    struct ledger_chunk first = lease(f->a, "a"), second = lease(f->b, "b"), third;

    store(f, 0, 29);
    assert_true(finish(f, f->b, &second));
    assert_true(finish(f, f->a, &first));
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_RUNNING);   /* none open, one to come */
    third = lease(f->a, "a");
    control(f, job, LEDGER_BULK_PAUSED);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_PAUSED);
    assert_true(finish(f, f->a, &third));       /* what was started finishes */
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_DONE);
    assert_int_equal(look_at(f, job).done, 30);
}

struct ending {
    struct fixture *f;
    struct ledger_chunk chunk;
    atomic_bool has_ended;
    enum err_code rc;
    bool held;
};

static void *end_chunk(void *arg)
{
    struct ending *self = arg;
    struct digest key;
    struct err e;

    keys_of(self->f, 0, self->chunk.item, 1, &key);
    self->rc = ledger_bulk_finish(self->f->b, &self->chunk, &key, NULL, 0, &self->held, &e);
    atomic_store(&self->has_ended, true);
    return NULL;
}

/* Two brokers end the last two chunks at the same time: the second waits for the first, or each
 * would take the other's for still open. */
static void the_last_two_chunks_at_once_end_the_job(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "race", 0, 1, 1));
    struct ledger_chunk first = lease(f->a, "a");
    struct ending second = { .f = f, .chunk = lease(f->b, "b") };
    PGconn *conn = PQconnectdb(f->pg.conninfo);
    pthread_t thread;
    char sql[300];

    store(f, 0, 1);
    snprintf(sql, sizeof sql, "BEGIN; SELECT 1 FROM bulk_jobs WHERE id = %lld FOR NO KEY UPDATE;"
             "UPDATE chunks SET state = 'done', done = 1 WHERE job_id = %lld AND item = %lld",
             (long long)job, (long long)job, (long long)first.item);
    PQclear(PQexec(conn, sql));
    assert_int_equal(PQtransactionStatus(conn), PQTRANS_INTRANS);
    assert_int_equal(pthread_create(&thread, NULL, end_chunk, &second), 0);
    while (!atomic_load(&second.has_ended) &&
           count_of(f, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 0)
        ;                               /* until it waits for the first */
    PQclear(PQexec(conn, "COMMIT"));
    PQfinish(conn);
    pthread_join(thread, NULL);
    assert_int_equal(second.rc, ERR_OK);
    assert_true(second.held);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_DONE);
    assert_int_equal(look_at(f, job).done, 2);
}

/* ---- control ---- */

static void a_paused_job_gives_out_nothing_until_it_is_resumed(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "pause", 0, 99, 10));
    struct ledger_chunk chunk = lease(f->a, "a");
    enum ledger_bulk_state told;

    control(f, job, LEDGER_BULK_PAUSED);
    control(f, job, LEDGER_BULK_PAUSED);
    lease_finds_nothing(f->a);
    assert_true(renew(f->a, &chunk, &told));
    assert_int_equal(told, LEDGER_BULK_PAUSED);
    give_back(f->a, &chunk);
    lease_finds_nothing(f->a);
    control(f, job, LEDGER_BULK_RUNNING);
    assert_int_equal(lease(f->b, "b").item, 0);
    assert_int_equal(lease(f->b, "b").item, 10);
}

static void a_cancelled_job_stays_cancelled(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "cancel", 0, 9, 10));
    struct ledger_chunk chunk = lease(f->a, "a");
    enum ledger_bulk_state told;
    struct err e;

    control(f, job, LEDGER_BULK_CANCELLED);
    control(f, job, LEDGER_BULK_CANCELLED);
    assert_true(renew(f->a, &chunk, &told));
    assert_int_equal(told, LEDGER_BULK_CANCELLED);
    assert_int_equal(ledger_bulk_control(f->a, job, "", LEDGER_BULK_RUNNING, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "is cancelled"));
    assert_int_equal(ledger_bulk_control(f->a, job, "", LEDGER_BULK_PAUSED, &e), ERR_CONFLICT);
    store(f, 0, 9);
    assert_true(finish(f, f->a, &chunk));
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_CANCELLED);
    assert_int_equal(ledger_bulk_control(f->a, job + 1, "", LEDGER_BULK_PAUSED, &e),
                     ERR_NOT_FOUND);
    lease_finds_nothing(f->a);          /* no transaction was left open */
}

static void only_its_owner_may_control_a_job(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "mine", 0, 9, 10));
    struct err e;

    assert_int_equal(ledger_bulk_control(f->a, job, "bob", LEDGER_BULK_PAUSED, &e), ERR_DENIED);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_RUNNING);
    must(ledger_bulk_control(f->a, job, "ann", LEDGER_BULK_PAUSED, &e), &e);
    must(ledger_bulk_control(f->a, job, "", LEDGER_BULK_RUNNING, &e), &e);
}

static void what_failed_is_tried_again_on_demand(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted(f, job_of(f, "again", 0, 19, 10));
    struct ledger_failure failure = { 13, "poison", "three times" };
    struct ledger_chunk first = lease(f->a, "a"), second = lease(f->a, "a"), again;
    struct digest keys[10];
    struct ledger_job seen;
    bool held;
    struct err e;

    store(f, 0, 12);
    store(f, 14, 19);
    assert_true(finish(f, f->a, &first));
    keys_of(f, 0, 10, 10, keys);
    must(ledger_bulk_finish(f->a, &second, keys, &failure, 1, &held, &e), &e);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_DONE);
    assert_int_equal(ledger_bulk_control(f->a, job, "", LEDGER_BULK_CANCELLED, &e), ERR_CONFLICT);
    control(f, job, LEDGER_BULK_RUNNING);
    seen = look_at(f, job);
    assert_int_equal(seen.done, 10);
    assert_int_equal(seen.failed, 0);
    assert_string_equal(seen.finished, "");
    again = lease(f->b, "b");
    assert_int_equal(again.item, 10);
    lease_finds_nothing(f->b);
    store(f, 13, 13);
    assert_false(finish(f, f->a, &second));     /* the old epoch */
    assert_true(finish(f, f->b, &again));
    seen = look_at(f, job);
    assert_int_equal(seen.state, LEDGER_BULK_DONE);
    assert_int_equal(seen.done, 20);
    assert_int_equal(ledger_bulk_control(f->a, job, "", LEDGER_BULK_RUNNING, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "nothing of it has failed"));
}

/* ---- exporters ---- */

static enum err_code exported(struct fixture *f, int64_t job, int64_t item, int count,
                              struct err *e)
{
    struct digest keys[ITEMS_MAX];

    keys_of(f, 0, item, count, keys);
    return ledger_bulk_exported(f->a, job, item, count, keys, e);
}

static int64_t submitted_provenance(struct fixture *f, uint32_t last)
{
    struct job job = job_of(f, "provenance", 0, last, 10);

    job.job.keep = false;
    return submitted(f, job);
}

static void an_exporter_ends_the_chunks_of_a_job_without_keep(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted_provenance(f, 99);
    struct err e;

    lease_finds_nothing(f->a);
    must(exported(f, job, 0, 0, &e), &e);
    assert_true(look_at(f, job).exporter_ms >= 0);
    assert_int_equal(count_of(f, "SELECT count(*) FROM chunks"), 0);
    store(f, 0, 97);
    must(exported(f, job, 0, 50, &e), &e);
    must(exported(f, job, 0, 50, &e), &e);              /* the same again */
    assert_int_equal(look_at(f, job).done, 50);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_RUNNING);
    must(exported(f, job, 50, 50, &e), &e);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_DONE);
    assert_int_equal(look_at(f, job).done, 98);
    assert_int_equal(look_at(f, job).failed, 2);        /* never stored */
    assert_int_equal(count_of(f, "SELECT min(item) FROM bulk_failures WHERE code = 'not_found'"),
                     98);
    control(f, job, LEDGER_BULK_RUNNING);
    lease_finds_nothing(f->a);                          /* not a broker's to lease */
    store(f, 98, 99);
    must(exported(f, job, 50, 50, &e), &e);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_DONE);
    assert_int_equal(look_at(f, job).done, 100);
    assert_int_equal(count_of(f, "SELECT count(*) FROM chunks"), 2);
}

static void shards_cut_anew_count_no_item_twice(void **state)
{
    struct fixture *f = *state;
    int64_t job = submitted_provenance(f, 99);
    struct err e;

    store(f, 0, 99);
    must(exported(f, job, 20, 20, &e), &e);
    must(exported(f, job, 60, 10, &e), &e);
    must(exported(f, job, 10, 55, &e), &e);     /* over one whole, into another */
    assert_int_equal(look_at(f, job).done, 60);
    must(exported(f, job, 25, 5, &e), &e);      /* within one */
    assert_int_equal(look_at(f, job).done, 60);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_RUNNING);
    must(exported(f, job, 0, 100, &e), &e);
    assert_int_equal(look_at(f, job).done, 100);
    assert_int_equal(look_at(f, job).state, LEDGER_BULK_DONE);
    assert_int_equal(count_of(f, "SELECT sum(count) FROM chunks"), 100);
}

static void an_exporter_is_told_what_it_may_not_say(void **state)
{
    struct fixture *f = *state;
    int64_t kept = submitted(f, job_of(f, "kept", 0, 9, 10)), job = submitted_provenance(f, 9);
    struct err e;

    assert_int_equal(exported(f, kept, 0, 10, &e), ERR_CONFLICT);
    must(exported(f, kept, 0, 0, &e), &e);
    assert_int_equal(exported(f, job, 5, 6, &e), ERR_RANGE);
    assert_int_equal(exported(f, job + 1, 0, 10, &e), ERR_NOT_FOUND);
    control(f, job, LEDGER_BULK_CANCELLED);
    assert_int_equal(exported(f, job, 0, 10, &e), ERR_CONFLICT);
    assert_int_equal(count_of(f, "SELECT count(*) FROM chunks"), 0);
}

/* ---- faults ---- */

static void a_broker_that_lost_its_connection_goes_on(void **state)
{
    struct fixture *f = *state;
    struct ledger_chunk chunk;
    enum ledger_bulk_state job_state;
    bool found;
    struct err e;

    submitted(f, job_of(f, "outage", 0, 99, 10));
    chunk = lease(f->a, "a");
    kit_postgres_stop_server(&f->pg);
    assert_int_equal(ledger_bulk_lease(f->a, NULL, 0, "a", &chunk, &found, &e), ERR_LEDGER_DOWN);
    assert_false(found);
    kit_postgres_start_server(&f->pg);
    for (enum err_code rc = ERR_LEDGER_DOWN; rc == ERR_LEDGER_DOWN;)
        rc = ledger_ping(f->a, &e);
    assert_true(renew(f->a, &chunk, &job_state));
    assert_int_equal(lease(f->a, "a").item, 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, empty_tables, close_ledgers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_submission_is_the_same_job),
        TEST(a_name_stands_for_one_content),
        TEST(parts_must_follow_each_other),
        TEST(the_parts_come_back),
        TEST(jobs_are_listed_newest_first_and_by_name),
        TEST(files_of_the_model_say_what_a_picture_takes),
        TEST(leases_of_two_brokers_cover_all_and_never_overlap),
        TEST(jobs_take_turns),
        TEST(a_chunk_that_came_back_goes_out_at_once_and_its_old_holder_is_fenced),
        TEST(only_what_stood_still_is_taken_over),
        TEST(only_held_chunks_of_running_jobs_are_watched),
        TEST(keys_with_a_row_are_present),
        TEST(every_item_needs_a_row_or_a_failure),
        TEST(failures_of_other_chunks_are_refused),
        TEST(a_job_is_done_with_its_last_chunk_in_whatever_order),
        TEST(the_last_two_chunks_at_once_end_the_job),
        TEST(a_paused_job_gives_out_nothing_until_it_is_resumed),
        TEST(a_cancelled_job_stays_cancelled),
        TEST(only_its_owner_may_control_a_job),
        TEST(what_failed_is_tried_again_on_demand),
        TEST(an_exporter_ends_the_chunks_of_a_job_without_keep),
        TEST(shards_cut_anew_count_no_item_twice),
        TEST(an_exporter_is_told_what_it_may_not_say),
        TEST(a_broker_that_lost_its_connection_goes_on),
    };
    return cmocka_run_group_tests(tests, start_server, end_server);
}
