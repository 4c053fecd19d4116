/* seedpress-worker as a broker sees it: the real program on the shipped model and a real
 * PostgreSQL, led by a broker that the test plays. */
#include "base/clock.h"
#include "sql/ledger.h"
#include "tests/kit_postgres.h"
#include "tests/kit_stack.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE_MS = 120000, FLAGS_MAX = 24, LEASES_MAX = 128 };

static struct kit_postgres pg;
static uint32_t next_seed;          /* no test asks for a picture that another one has stored */

/* What became of a lease. */
struct fate {
    int started, rendered, results, fails, handbacks;
    int at_started, at_result;      /* how many messages came before */
    int64_t batch;
    int64_t sent;                   /* bytes of its file that came */
    char code[33];
    struct digest sha256;
};

struct scene {
    struct link_context *context;
    struct link *link;              /* the broker's port */
    char endpoint[64];
    struct kit_program worker;
    struct address worker_at;
    struct model_facts facts;
    int64_t credit;
    struct fate fate[LEASES_MAX];   /* by lease, from 1 */
    int heard;
    bool bye;
    struct message_heartbeat heartbeat;
};

static void must(enum err_code rc, const struct err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
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
    return 0;
}

static int end(void **state)
{
    (void)state;
    kit_postgres_destroy(&pg);
    return 0;
}

/* ---- the broker's port ---- */

static void open_port(struct scene *s, const char *endpoint)
{
    struct link_options options = { .kind = LINK_ROUTER, .frame_max = MESSAGE_IMAGE_MAX,
                                    .linger_ms = 1000 };
    struct err e;

    must(link_create(s->context, &options, &s->link, &e), &e);
    must(link_bind(s->link, endpoint, &e), &e);
    snprintf(s->endpoint, sizeof s->endpoint, "%s", link_endpoint(s->link));
}

/* The port is free when this returns: ending the context waits for that. */
static void close_port(struct scene *s)
{
    link_destroy(&s->link);
    link_context_destroy(&s->context);
}

static void reopen_port(struct scene *s)
{
    char endpoint[sizeof s->endpoint];
    struct err e;

    must(link_context_create(&s->context, &e), &e);
    snprintf(endpoint, sizeof endpoint, "%s", s->endpoint);
    open_port(s, endpoint);
}

static void await_parcel(struct scene *s, struct parcel *parcel)
{
    int64_t give_up_ms = clock_ms() + PATIENCE_MS;

    while (!link_receive(s->link, parcel)) {
        struct link_wait wait = { .link = s->link };

        if (clock_ms() > give_up_ms)
            fail_msg("the worker says nothing");
        link_poll(&wait, 1, give_up_ms);
    }
}

struct heard {                      /* message borrows from parcel */
    struct message m;
    struct parcel parcel;
};

static void heard_release(struct heard *h)
{
    message_release(&h->m);
    parcel_release(&h->parcel);
}

static void await_message(struct scene *s, struct heard *h)
{
    struct err e = { .code = ERR_OK };

    await_parcel(s, &h->parcel);
    must(message_decode(frame_data(&h->parcel.body[0]), frame_len(&h->parcel.body[0]),
                        MESSAGE_FROM_WORKER, &h->m, &e), &e);
}

static void say(struct scene *s, const struct message *message)
{
    struct frame map;
    struct err e;
    void *data;
    size_t len;

    must(message_encode(message, &data, &len, &e), &e);
    assert_true(frame_init_take(&map, data, len));
    assert_int_equal(link_send(s->link, &s->worker_at, &map, NULL), LINK_SENT);
    frame_release(&map);
}

/* The next message must be ready: the first one of a connection. */
static void await_ready(struct scene *s)
{
    const struct message_model *models;
    struct heard h;

    await_message(s, &h);
    if (h.m.type != MESSAGE_READY)
        fail_msg("%s came, where ready was expected", message_word(h.m.type));
    s->worker_at = h.parcel.from;
    s->credit = h.m.ready.credit;
    models = h.m.ready.models.items;
    assert_int_equal(h.m.ready.models.count, 1);
    assert_true(text_is(models[0].name, "avatars64"));
    s->facts = (struct model_facts){
        .digest = models[0].digest, .width = (int)models[0].width,
        .height = (int)models[0].height, .num_ws = (int)models[0].num_ws,
        .z_dim = (int)models[0].z_dim, .w_dim = (int)models[0].w_dim,
        .c_dim = (int)models[0].c_dim, .noise_modes = (unsigned)models[0].noise_modes,
        .has_transform = models[0].has_transform,
    };
    heard_release(&h);
}

/* ---- scenes ---- */

static void open_scene(struct scene *s, const char *const *flags)
{
    const char *argv[FLAGS_MAX] = { "seedpress-worker", "--ledger", pg.conninfo, "--models-dir",
                                    "deploy/models", "--brokers" };
    size_t count = 6;
    struct err e;

    memset(s, 0, sizeof *s);
    must(link_context_create(&s->context, &e), &e);
    open_port(s, "tcp://127.0.0.1:*");
    argv[count++] = s->endpoint;
    while (*flags && count < FLAGS_MAX - 1)
        argv[count++] = *flags++;
    program_start(&s->worker, argv);
    await_ready(s);
}
#define OPEN_SCENE(s, ...) open_scene(s, (const char *const[]){ __VA_ARGS__, NULL })

static void close_scene(struct scene *s)
{
    program_kill(&s->worker);
    close_port(s);
}

static struct recipe recipe_of(const struct scene *s, uint32_t seed)
{
    struct recipe_request request = RECIPE_REQUEST_DEFAULT;
    struct recipe recipe;
    struct err e = { .code = ERR_OK };

    request.seed = seed;
    request.psi = 700000;
    must(recipe_resolve(&request, &s->facts, &recipe, NULL, &e), &e);
    return recipe;
}

struct batch {                      /* jobs of one message */
    struct message_job jobs[MESSAGE_JOBS_MAX];
    struct recipe_text texts[MESSAGE_JOBS_MAX];
    size_t count;
};

/* The first job's lease is 1, and so on. */
static struct message_job *add_job(struct batch *b, const struct recipe *recipe)
{
    struct message_job *job = &b->jobs[b->count];

    b->texts[b->count] = recipe_text(recipe);
    *job = (struct message_job){ .lease = (int64_t)b->count + 1, .priority = MESSAGE_NORMAL,
                                 .recipe = { b->texts[b->count].text, b->texts[b->count].len },
                                 .deadline_ms = 600000 };
    b->count++;
    return job;
}

static void add_seeds(struct scene *s, struct batch *b, size_t count)
{
    while (count-- > 0) {
        struct recipe recipe = recipe_of(s, next_seed++);

        add_job(b, &recipe);
    }
}

static void say_jobs(struct scene *s, const struct batch *b)
{
    struct message m;

    message_init(&m, MESSAGE_JOBS, 0);
    m.jobs.jobs = (struct records){ b->jobs, b->count };
    say(s, &m);
}

static void note_leases(struct scene *s, const struct message *m)
{
    for (size_t i = 0; i < m->leases.leases.count; i++) {
        int64_t lease = m->leases.leases.items[i];

        assert_true(lease < LEASES_MAX);
        struct fate *f = &s->fate[lease];

        f->started += m->type == MESSAGE_STARTED;
        f->rendered += m->type == MESSAGE_RENDERED;
        f->handbacks += m->type == MESSAGE_HANDBACK;
        if (m->type == MESSAGE_STARTED)
            f->at_started = s->heard;
        assert_false(m->type == MESSAGE_RENDERED && !f->started);
    }
}

/* Small files come several in a frame. */
static void note_results(struct scene *s, const struct heard *h)
{
    const struct message_result *results = h->m.results.results.items;
    bool has_files = h->parcel.count == 2;
    const char *at = has_files ? frame_data(&h->parcel.body[1]) : NULL;
    const char *end = has_files ? at + frame_len(&h->parcel.body[1]) : NULL;

    for (size_t i = 0; i < h->m.results.results.count; i++) {
        int64_t sent = results[i].want == MESSAGE_WANT_RECEIPT ? 0 : results[i].bytes;

        assert_true(results[i].lease < LEASES_MAX && results[i].bytes > 0);
        assert_true(sent == 0 || sent <= end - at);
        struct fate *f = &s->fate[results[i].lease];

        f->sha256 = results[i].sha256;
        if (sent > 0) {
            struct digest of_file = digest_of(at, (size_t)sent);

            assert_true(digest_equal(&of_file, &f->sha256));
            at += sent;
        }
        f->sent = sent;
        f->results++;
        f->batch = results[i].batch;
        f->at_result = s->heard;
    }
    assert_true(at == end);
}

static void note(struct scene *s, const struct heard *h)
{
    switch (h->m.type) {
    case MESSAGE_STARTED: case MESSAGE_RENDERED: case MESSAGE_HANDBACK:
        note_leases(s, &h->m);
        break;
    case MESSAGE_RESULTS:
        note_results(s, h);
        break;
    case MESSAGE_FAIL:
        assert_true(h->m.fail.lease < LEASES_MAX);
        s->fate[h->m.fail.lease].fails++;
        text_copy(h->m.fail.code, s->fate[h->m.fail.lease].code, 33);
        break;
    case MESSAGE_HEARTBEAT:
        s->heartbeat = h->m.heartbeat;
        break;
    case MESSAGE_CREDIT:
        s->heartbeat.credit = h->m.credit.credit;
        break;
    case MESSAGE_BYE:
        s->bye = true;
        break;
    default:
        fail_msg("%s came", message_word(h->m.type));
    }
    s->heard++;
}

static void hear_one(struct scene *s)
{
    struct heard h;

    await_message(s, &h);
    note(s, &h);
    heard_release(&h);
}

static int ended(const struct fate *f)
{
    return f->results + f->fails + f->handbacks;
}

/* Until leases 1..count have all ended, each once. */
static void await_ends(struct scene *s, size_t count)
{
    for (size_t lease = 1; lease <= count; lease++)
        while (!ended(&s->fate[lease]))
            hear_one(s);
    for (size_t lease = 1; lease <= count; lease++)
        assert_int_equal(ended(&s->fate[lease]), 1);
}

static void forget(struct scene *s)
{
    memset(s->fate, 0, sizeof s->fate);
}

static int64_t count_rows(const struct recipe *recipe)
{
    struct digest key = recipe_key(recipe);
    char sql[256];

    snprintf(sql, sizeof sql, "SELECT count(*) FROM images JOIN blobs USING (key) "
                              "WHERE key = '\\x%s'", digest_hex(&key).text);
    return kit_postgres_int(pg.conninfo, sql);
}

/* ---- tests ---- */

static void it_says_what_it_has_and_how_much_it_takes(void **state)
{
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "4", "--reserve-batches", "3");
    assert_int_equal(s.credit, 12);
    assert_int_equal(s.facts.width, 64);
    hear_one(&s);
    assert_int_equal(s.heartbeat.credit, 12);
    assert_int_equal(s.heartbeat.held, 0);
    assert_true(s.heartbeat.ledger_up);
    close_scene(&s);
}

static void a_result_is_sent_after_its_row_is_committed(void **state)
{
    struct batch b = { .count = 0 };
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "4");
    struct recipe recipe = recipe_of(&s, next_seed);

    add_seeds(&s, &b, 1);
    say_jobs(&s, &b);
    await_ends(&s, 1);
    assert_int_equal(count_rows(&recipe), 1);
    assert_int_equal(s.fate[1].started, 1);
    assert_int_equal(s.fate[1].rendered, 1);
    assert_int_equal(s.fate[1].results, 1);
    assert_int_equal(s.fate[1].batch, 1);
    close_scene(&s);
}

/* The file of a receipt stays where it is stored; those of the others come in their order. */
static void a_file_that_nobody_waits_for_is_stored_and_not_sent(void **state)
{
    struct batch b = { .count = 0 };
    struct recipe recipes[4];
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "4");
    for (size_t i = 0; i < 4; i++) {
        recipes[i] = recipe_of(&s, next_seed++);
        add_job(&b, &recipes[i])->want = i % 2 ? MESSAGE_WANT_IMAGE : MESSAGE_WANT_RECEIPT;
    }
    say_jobs(&s, &b);
    await_ends(&s, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(s.fate[i + 1].results, 1);
        assert_int_equal(s.fate[i + 1].sent > 0, i % 2);
        assert_int_equal(count_rows(&recipes[i]), 1);
    }
    close_scene(&s);
}

static int64_t ask_row(const struct recipe *recipe, const char *columns)
{
    struct digest key = recipe_key(recipe);
    char sql[256];

    snprintf(sql, sizeof sql, "SELECT %s FROM images WHERE key = '\\x%s'", columns,
             digest_hex(&key).text);
    return kit_postgres_int(pg.conninfo, sql);
}

/* One job at a time, of the same picture: as it is told, then kept or not, and put back. */
static void what_is_kept_and_for_which_bulk_job_is_as_the_broker_says(void **state)
{
    static const struct {
        enum message_keep keep;
        int64_t files;              /* afterwards */
    } STEPS[] = {
        { MESSAGE_KEEP_PROVENANCE, 0 }, { MESSAGE_KEEP_PROVENANCE, 0 }, { MESSAGE_KEEP_IMAGE, 0 },
        { MESSAGE_KEEP_REFILL, 1 }, { MESSAGE_KEEP_IMAGE, 1 },
    };
    struct digest sha256 = { .bytes = { 0 } };
    struct scene s;
    int64_t bulk;

    (void)state;
    kit_postgres_exec(pg.conninfo,
                      "INSERT INTO bulk_jobs (owner, name, digest, state, keep, priority, chunk, "
                      "total) VALUES ('me', 'a', sha256('a'), 'running', 'provenance', 2, 9, 9)");
    bulk = kit_postgres_int(pg.conninfo, "SELECT id FROM bulk_jobs");
    OPEN_SCENE(&s, "--batch-max", "4");
    struct recipe recipe = recipe_of(&s, next_seed++);

    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++) {
        struct batch b = { .count = 0 };
        struct message_job *job = add_job(&b, &recipe);

        job->keep = STEPS[i].keep;
        job->bulk = i == 0 ? bulk : 0;
        say_jobs(&s, &b);
        await_ends(&s, 1);
        assert_int_equal(s.fate[1].results, 1);
        assert_true(s.fate[1].sent > 0);
        if (i > 0)
            assert_true(digest_equal(&sha256, &s.fate[1].sha256));
        sha256 = s.fate[1].sha256;
        assert_int_equal(count_rows(&recipe), STEPS[i].files);
        assert_int_equal(ask_row(&recipe, "kept::int::bigint"), STEPS[i].files);
        assert_int_equal(ask_row(&recipe, "job_id"), bulk);
        forget(&s);
    }
    close_scene(&s);
}

static void more_jobs_than_it_takes_are_handed_back(void **state)
{
    struct batch b = { .count = 0 };
    int results = 0;
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "1", "--reserve-batches", "2");
    add_seeds(&s, &b, 10);
    say_jobs(&s, &b);
    await_ends(&s, 10);
    for (int lease = 1; lease <= 10; lease++)
        results += s.fate[lease].results;
    assert_int_equal(results, 2);
    close_scene(&s);
}

/* One that is urgent has a place beyond the credit; a second one has not. */
static void an_urgent_job_has_a_place_beyond_the_credit(void **state)
{
    struct batch b = { .count = 0 };
    int results = 0;
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "1", "--reserve-batches", "2");
    add_seeds(&s, &b, 6);
    b.jobs[4].priority = b.jobs[5].priority = MESSAGE_HIGH;
    say_jobs(&s, &b);
    await_ends(&s, 6);
    for (int lease = 1; lease <= 6; lease++)
        results += s.fate[lease].results;
    assert_int_equal(results, 3);
    assert_int_equal(s.fate[5].results, 1);
    assert_int_equal(s.fate[6].handbacks, 1);
    close_scene(&s);
}

static void what_is_recalled_in_time_is_handed_back(void **state)
{
    static const int64_t LAST[] = { 9, 10, 11, 12, 13, 14, 15, 16 };
    struct batch b = { .count = 0 };
    struct message recall;
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "1", "--reserve-batches", "16");
    add_seeds(&s, &b, 16);
    say_jobs(&s, &b);
    message_init(&recall, MESSAGE_RECALL, 0);
    recall.leases.leases = (struct numbers){ LAST, 8 };
    say(&s, &recall);
    await_ends(&s, 16);
    for (int lease = 1; lease <= 16; lease++)
        assert_true(s.fate[lease].handbacks == 0 || (lease > 8 && !s.fate[lease].started));
    assert_int_equal(s.fate[16].handbacks, 1);
    close_scene(&s);
}

static void a_job_that_cannot_be_rendered_fails_alone_and_says_why(void **state)
{
    static const char *const CODES[] = { "", "unknown_model", "invalid", "invalid", "invalid",
                                         "invalid", "unsupported", "unsupported" };
    struct batch b = { .count = 0 };
    struct recipe recipe;
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "16");
    recipe = recipe_of(&s, next_seed);
    recipe.model = digest_of("nobody's", 8);
    add_job(&b, &recipe);
    recipe = recipe_of(&s, next_seed);
    add_job(&b, &recipe)->recipe.len--;          /* no line's end */
    recipe.width = 128;
    add_job(&b, &recipe);
    recipe = recipe_of(&s, next_seed);
    recipe.cutoff = s.facts.num_ws + 1;          /* would be read outside the model */
    add_job(&b, &recipe);
    recipe = recipe_of(&s, next_seed);
    recipe.class_index = 3;
    add_job(&b, &recipe);
    recipe = recipe_of(&s, next_seed);
    recipe.mark = RECIPE_MARK_C2PA;              /* this worker has no certificate */
    add_job(&b, &recipe);
    recipe = recipe_of(&s, next_seed);
    recipe.transform = (struct recipe_transform){ .kind = RECIPE_TRANSFORM_TR, .tx = 1 };
    add_job(&b, &recipe);
    add_seeds(&s, &b, 4);
    say_jobs(&s, &b);
    await_ends(&s, 11);
    for (int lease = 1; lease <= 7; lease++)
        assert_string_equal(s.fate[lease].code, CODES[lease]);
    for (int lease = 8; lease <= 11; lease++)
        assert_int_equal(s.fate[lease].results, 1);
    close_scene(&s);
}

static void sigterm_hands_back_what_has_not_started_and_finishes_the_rest(void **state)
{
    struct batch b = { .count = 0 };
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "1", "--reserve-batches", "16");
    add_seeds(&s, &b, 16);
    say_jobs(&s, &b);
    while (!s.fate[1].started)
        hear_one(&s);
    program_signal(&s.worker, SIGTERM);
    while (!s.bye)
        hear_one(&s);
    for (int lease = 1; lease <= 16; lease++) {
        assert_int_equal(ended(&s.fate[lease]), 1);
        assert_int_equal(s.fate[lease].fails, 0);
        assert_int_equal(s.fate[lease].results, s.fate[lease].started);
    }
    assert_int_equal(program_wait(&s.worker), 0);
    assert_int_equal(s.heartbeat.credit, 0);
    close_scene(&s);
}

static void it_answers_the_bytes_that_were_there_first(void **state)
{
    static const char FIRST[] = "the picture that was first";
    struct ledger_run run = { .worker = "test:1:1", .version = "0", .backend = "cpu", .device = "",
                              .driver = "", .numerics_class = "cpu-first-1", .encoder = "test-1",
                              .libraries = "" };
    struct digest sha = digest_of(FIRST, strlen(FIRST));
    struct batch b = { .count = 0 };
    struct ledger_stored stored;
    struct ledger *ledger;
    struct heard h;
    struct scene s;
    int64_t run_id;
    struct err e;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "4");
    struct ledger_image image = {
        .recipe = recipe_of(&s, next_seed), .file_sha = sha, .core_sha = sha,
        .numerics_class = run.numerics_class, .encoder = run.encoder, .batch_size = 1,
        .data = (const uint8_t *)FIRST, .len = strlen(FIRST), .keep = true,
    };
    must(ledger_open(pg.conninfo, "test", &ledger, &e), &e);
    must(ledger_start_run(ledger, &run, &run_id, &e), &e);
    image.run_id = run_id;
    must(ledger_store(ledger, &image, 1, &stored, &e), &e);
    assert_int_equal(stored.outcome, LEDGER_STORED);
    ledger_close(&ledger);

    add_seeds(&s, &b, 1);
    say_jobs(&s, &b);
    for (await_message(&s, &h); h.m.type != MESSAGE_RESULTS; await_message(&s, &h))
        heard_release(&h);
    const struct message_result *result = h.m.results.results.items;

    assert_int_equal(h.m.results.results.count, 1);
    assert_true(digest_equal(&result->sha256, &sha));
    assert_int_equal(frame_len(&h.parcel.body[1]), strlen(FIRST));
    assert_memory_equal(frame_data(&h.parcel.body[1]), FIRST, strlen(FIRST));
    assert_true(text_is(result->numerics_class, "cpu-first-1"));
    assert_int_equal(result->run, run_id);
    heard_release(&h);
    close_scene(&s);
}

/* Whatever is in the batch already when it forms is the machine's business, so this asks until the
 * seed was in a full one. */
static void a_seed_gives_the_same_bytes_alone_and_in_a_batch_of_32(void **state)
{
    enum { ROUNDS = 20, JOBS = 64 };
    struct digest alone;
    struct scene s;
    int64_t batch = 0;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "32", "--batch-ms", "3600000");
    struct recipe recipe = recipe_of(&s, next_seed++);
    struct batch one = { .count = 0 };

    add_job(&one, &recipe);
    say_jobs(&s, &one);
    await_ends(&s, 1);
    assert_int_equal(s.fate[1].batch, 1);
    alone = s.fate[1].sha256;
    for (int round = 0; round < ROUNDS && batch < 32; round++) {
        struct batch b = { .count = 0 };

        kit_postgres_exec(pg.conninfo, "DELETE FROM blobs; DELETE FROM images");
        forget(&s);
        add_seeds(&s, &b, 36);
        add_job(&b, &recipe);
        add_seeds(&s, &b, JOBS - b.count);
        say_jobs(&s, &b);
        await_ends(&s, JOBS);
        assert_true(digest_equal(&s.fate[37].sha256, &alone));
        batch = s.fate[37].batch;
    }
    assert_int_equal(batch, 32);
    close_scene(&s);
}

static void a_job_that_is_to_run_alone_runs_alone(void **state)
{
    struct batch b = { .count = 0 };
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "16");
    add_seeds(&s, &b, 20);
    b.jobs[10].alone = true;
    b.jobs[11].alone = true;
    say_jobs(&s, &b);
    await_ends(&s, 20);
    assert_int_equal(s.fate[11].batch, 1);
    assert_int_equal(s.fate[12].batch, 1);
    close_scene(&s);
}

static void high_overtakes_low_and_near_deadlines_overtake_far_ones(void **state)
{
    struct batch b = { .count = 0 };
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "1", "--reserve-batches", "16");
    add_seeds(&s, &b, 16);
    for (int i = 0; i < 14; i++)
        b.jobs[i].priority = MESSAGE_LOW;
    b.jobs[14].deadline_ms = 500000;             /* normal, and sooner than the next */
    b.jobs[13].priority = MESSAGE_NORMAL;
    b.jobs[15].priority = MESSAGE_HIGH;
    say_jobs(&s, &b);
    await_ends(&s, 16);
    assert_true(s.fate[16].at_started < s.fate[15].at_started);
    assert_true(s.fate[15].at_started < s.fate[14].at_started);
    assert_true(s.fate[14].at_started < s.fate[13].at_started);
    close_scene(&s);
}

static void a_broker_that_comes_back_is_told_ready_before_anything_else(void **state)
{
    static const char STORED[] = "SELECT count(*) FROM images";
    int64_t stored = kit_postgres_int(pg.conninfo, STORED);
    struct batch b = { .count = 0 };
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "1", "--reserve-batches", "16");
    add_seeds(&s, &b, 16);
    say_jobs(&s, &b);
    while (!s.fate[1].started)
        hear_one(&s);
    close_port(&s);
    while (kit_postgres_int(pg.conninfo, STORED) < stored + 16)
        ;                                        /* it works on, and keeps what it has to say */
    reopen_port(&s);
    await_ready(&s);
    b = (struct batch){ .count = 0 };
    add_seeds(&s, &b, 1);
    b.jobs[0].lease = 100;                       /* a broker never gives a lease twice */
    say_jobs(&s, &b);
    while (!ended(&s.fate[100]))
        hear_one(&s);
    assert_int_equal(s.fate[100].results, 1);
    assert_int_equal(s.fate[16].results, 1);     /* an old lease's, which does no harm */
    close_scene(&s);
}

static void a_broker_that_left_and_comes_back_gets_its_credit_again(void **state)
{
    struct message drain;
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "4", "--reserve-batches", "3");
    message_init(&drain, MESSAGE_DRAIN, 0);
    say(&s, &drain);
    do
        hear_one(&s);
    while (s.heartbeat.credit > 0);
    close_port(&s);
    reopen_port(&s);
    await_ready(&s);
    assert_int_equal(s.credit, 12);
    close_scene(&s);
}

static void introduce_makes_it_forget_what_has_not_started(void **state)
{
    struct batch b = { .count = 0 };
    struct message introduce;
    struct heard h;
    struct scene s;
    bool is_ready = false, has_settled = false;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "1", "--reserve-batches", "16");
    add_seeds(&s, &b, 16);
    say_jobs(&s, &b);
    message_init(&introduce, MESSAGE_INTRODUCE, 0);
    say(&s, &introduce);
    while (!has_settled) {
        await_message(&s, &h);
        if (h.m.type == MESSAGE_READY)
            is_ready = true;
        else
            note(&s, &h);
        has_settled = is_ready && h.m.type == MESSAGE_HEARTBEAT && s.heartbeat.held == 0;
        heard_release(&h);
    }
    assert_int_equal(s.fate[16].started, 0);
    assert_int_equal(ended(&s.fate[16]), 0);
    close_scene(&s);
}

static void malformed_messages_do_not_stop_it(void **state)
{
    static const uint8_t NOISE[] = { 0x93, 0xc1, 0xff, 0x00, 0x81, 0xa1, 'v' };
    struct batch b = { .count = 0 };
    struct message wrong;
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "4");
    for (size_t len = 0; len <= sizeof NOISE; len++) {
        struct frame frame;

        assert_true(frame_init_copy(&frame, NOISE, len));
        assert_int_equal(link_send(s.link, &s.worker_at, &frame, NULL), LINK_SENT);
        frame_release(&frame);
    }
    message_init(&wrong, MESSAGE_PONG, 1);       /* a broker's, but not for workers */
    say(&s, &wrong);
    add_seeds(&s, &b, 1);
    say_jobs(&s, &b);
    await_ends(&s, 1);
    assert_int_equal(s.fate[1].results, 1);
    close_scene(&s);
}

static void without_the_ledger_it_keeps_what_it_has_and_stores_it_later(void **state)
{
    struct batch b = { .count = 0 };
    struct scene s;

    (void)state;
    OPEN_SCENE(&s, "--batch-max", "4");
    kit_postgres_stop_server(&pg);
    add_seeds(&s, &b, 8);
    say_jobs(&s, &b);
    while (s.heartbeat.ledger_up || !s.fate[8].rendered)
        hear_one(&s);
    for (int lease = 1; lease <= 8; lease++)
        assert_int_equal(ended(&s.fate[lease]), 0);
    kit_postgres_start_server(&pg);
    await_ends(&s, 8);
    for (int lease = 1; lease <= 8; lease++)
        assert_int_equal(s.fate[lease].results, 1);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_has_and_how_much_it_takes),
        cmocka_unit_test(a_result_is_sent_after_its_row_is_committed),
        cmocka_unit_test(a_file_that_nobody_waits_for_is_stored_and_not_sent),
        cmocka_unit_test(what_is_kept_and_for_which_bulk_job_is_as_the_broker_says),
        cmocka_unit_test(more_jobs_than_it_takes_are_handed_back),
        cmocka_unit_test(an_urgent_job_has_a_place_beyond_the_credit),
        cmocka_unit_test(what_is_recalled_in_time_is_handed_back),
        cmocka_unit_test(a_job_that_cannot_be_rendered_fails_alone_and_says_why),
        cmocka_unit_test(sigterm_hands_back_what_has_not_started_and_finishes_the_rest),
        cmocka_unit_test(it_answers_the_bytes_that_were_there_first),
        cmocka_unit_test(a_seed_gives_the_same_bytes_alone_and_in_a_batch_of_32),
        cmocka_unit_test(a_job_that_is_to_run_alone_runs_alone),
        cmocka_unit_test(high_overtakes_low_and_near_deadlines_overtake_far_ones),
        cmocka_unit_test(a_broker_that_comes_back_is_told_ready_before_anything_else),
        cmocka_unit_test(a_broker_that_left_and_comes_back_gets_its_credit_again),
        cmocka_unit_test(introduce_makes_it_forget_what_has_not_started),
        cmocka_unit_test(malformed_messages_do_not_stop_it),
        cmocka_unit_test(without_the_ledger_it_keeps_what_it_has_and_stores_it_later),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
