/* ledger -- what storing and finding pictures costs, as ratios within one run.
 *
 *     ledger [store | path | find]...      all of them if none is named
 *
 * store: ledger_store beside plain pipelined inserts of the same bytes into the same PostgreSQL, by
 *        one connection each: files in the database, and in segments.
 * path:  the whole path of a bulk job (queue, JPEG, hashes, ledger, and its export to shards at the
 *        same time) with an engine that costs next to nothing (tests/backend_quick.c), beside plain
 *        inserts of files of that size.
 * find:  the ledger's look-ups beside SELECT 1 on the same connection, at 10,000 and 1,000,000
 *        rows.
 *
 * fsync is on. The rounds of a part give every variant its turn; printed are median, lowest and
 * highest. */
#include "base/clock.h"
#include "base/file.h"
#include "sql/ledger.h"
#include "tests/kit_model.h"
#include "tests/kit_stack.h"

#include <endian.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 5, BATCH = 64, PICTURES_MAX = 2048, SIZE_MAX_BYTES = 160000 };

static const char CLASS[] = "bench-class-1", ENCODER[] = "bench-encoder-1";

static void die(const char *words)
{
    fprintf(stderr, "ledger: %s\n", words);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- the database ---- */

static void pass(PGconn *conn, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_PIPELINE_SYNC)
        die(PQerrorMessage(conn));
    PQclear(result);
}

static void run_sql(PGconn *conn, const char *sql)
{
    pass(conn, PQexec(conn, sql));
}

static PGconn *connect_plain(const char *conninfo)
{
    PGconn *conn = PQconnectdb(conninfo);

    if (PQstatus(conn) != CONNECTION_OK)
        die(PQerrorMessage(conn));
    run_sql(conn, "SET synchronous_commit TO on");
    run_sql(conn, "SET plan_cache_mode TO force_generic_plan");
    return conn;
}

/* ---- pictures ---- */

static struct digest model;
static int64_t run_id;

static struct recipe recipe_of(uint32_t seed)
{
    return (struct recipe){ .model = model, .seed = seed, .psi = 700000, .cutoff = 10,
                            .class_index = -1, .noise = RECIPE_NOISE_CONST, .width = 64,
                            .height = 64, .quality = 90, .mark = RECIPE_MARK_XMP };
}

/* Files that do not compress, each another one. */
struct pictures {
    uint8_t *bytes;                 /* [count, size] */
    size_t count, size;
    struct ledger_image image[PICTURES_MAX];
    struct digest key[PICTURES_MAX];
};

static void pictures_paint(struct pictures *self, size_t count, size_t size, uint32_t first_seed)
{
    static uint64_t state = 88172645463325252u;

    self->count = count;
    self->size = size;
    for (size_t i = 0; i + 8 <= count * size; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(self->bytes + i, &state, 8);
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t *data = self->bytes + i * size;
        struct digest sha = digest_of(data, size);

        self->image[i] = (struct ledger_image){
            .recipe = recipe_of(first_seed + (uint32_t)i), .file_sha = sha, .core_sha = sha,
            .run_id = run_id, .numerics_class = CLASS, .encoder = ENCODER, .batch_size = 16,
            .render_us = 1000, .data = data, .len = size, .keep = true,
        };
        self->key[i] = recipe_key(&self->image[i].recipe);
    }
}

/* ---- writing ---- */

/* The peers: prepared inserts in libpq's pipeline mode, BATCH a transaction, one Sync each. */
static const char MAKE_PLAIN[] =
    "CREATE TABLE plain (key bytea PRIMARY KEY, model int NOT NULL, seed bigint NOT NULL,"
    " psi int NOT NULL, sha bytea NOT NULL, created timestamptz NOT NULL DEFAULT now(),"
    " data bytea NOT NULL);"
    "CREATE INDEX plain_sha ON plain (sha);"
    "ALTER TABLE plain ALTER COLUMN data SET STORAGE EXTERNAL";
static const char INSERT_PLAIN[] =
    "INSERT INTO plain (key, model, seed, psi, sha, data)"
    " VALUES ($1::bytea, 1, $2::bigint, 700000, $3::bytea, $4::bytea)";
static const char INSERT_SCHEMA[] =
    "WITH row AS (INSERT INTO images (key, subject, file_sha, core_sha, model_id, seed, psi,"
    "  options_id, run_id, batch_size, render_us, bytes, kept)"
    " VALUES ($1::bytea, $1::bytea, $3::bytea, $3::bytea, 1, $2::bigint, 700000, 1, 1, 16, 1000,"
    "  octet_length($4::bytea), true))"
    "INSERT INTO blobs (key, data) VALUES ($1::bytea, $4::bytea)";

static void prepare(PGconn *conn, const char *name, const char *sql)
{
    pass(conn, PQprepare(conn, name, sql, 0, NULL));
}

static void insert_batch(PGconn *conn, const char *name, const struct pictures *p, size_t first,
                         size_t count)
{
    PGresult *result;

    for (size_t i = first; i < first + count; i++) {
        int64_t seed = (int64_t)htobe64((uint64_t)p->image[i].recipe.seed);
        const char *values[] = { (const char *)p->key[i].bytes, (const char *)&seed,
                                 (const char *)p->image[i].file_sha.bytes,
                                 (const char *)p->image[i].data };
        int lens[] = { DIGEST_LEN, 8, DIGEST_LEN, (int)p->image[i].len };
        int formats[] = { 1, 1, 1, 1 };

        if (!PQsendQueryPrepared(conn, name, 4, values, lens, formats, 1))
            die(PQerrorMessage(conn));
    }
    if (!PQpipelineSync(conn))
        die(PQerrorMessage(conn));
    for (size_t i = 0; i < count; i++)
        while ((result = PQgetResult(conn)))
            pass(conn, result);
    pass(conn, PQgetResult(conn));
}

static double insert_all(PGconn *conn, const char *name, const struct pictures *p)
{
    int64_t from_us = clock_us();

    PQenterPipelineMode(conn);
    for (size_t at = 0; at < p->count; at += BATCH)
        insert_batch(conn, name, p, at, p->count - at < BATCH ? p->count - at : BATCH);
    PQexitPipelineMode(conn);
    return (double)p->count * 1e6 / (double)(clock_us() - from_us);
}

static double store_all(struct ledger *ledger, const struct pictures *p)
{
    int64_t from_us = clock_us();
    struct err e;

    for (size_t at = 0; at < p->count; at += BATCH) {
        struct ledger_stored stored[BATCH];
        size_t count = p->count - at < BATCH ? p->count - at : BATCH;

        if (ledger_store(ledger, &p->image[at], count, stored, &e))
            die(e.msg);
        for (size_t i = 0; i < count; i++)
            if (stored[i].outcome != LEDGER_STORED)
                die("a picture was not stored");
    }
    return (double)p->count * 1e6 / (double)(clock_us() - from_us);
}

/* ---- figures ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct spread {
    double median, lowest, highest;
};

static struct spread spread_of(const double *values, size_t count)
{
    double sorted[64];

    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_size);
    return (struct spread){ sorted[count / 2], sorted[0], sorted[count - 1] };
}

/* ---- store ---- */

enum variant { PLAIN, SCHEMA, BLOBS, SEGMENTS, VARIANTS };
static const char *const VARIANT_WORDS[VARIANTS] = {
    "one table, plain inserts", "our tables, plain inserts", "ledger_store", "with segments"
};

struct bench {
    struct kit_postgres pg;
    PGconn *conn;                   /* of the peers, and for all else */
    struct ledger *ledger, *with_segments;
    char folder[300];
};

static void open_ledger(struct bench *b, const char *folder, struct ledger **out)
{
    struct ledger_segments segments = { .folder = folder, .writer = "bench" };
    struct err e;

    if (ledger_open(b->pg.conninfo, "bench", out, &e) ||
        (folder && ledger_use_segments(*out, &segments, &e)))
        die(e.msg);
}

static void bench_open(struct bench *b)
{
    struct model_facts facts = { .digest = digest_of("bench", 5), .width = 64, .height = 64,
                                 .num_ws = 10, .z_dim = 32, .w_dim = 32,
                                 .noise_modes = 1u << RECIPE_NOISE_CONST };
    struct ledger_model named = { "bench", &facts, "stylegan2", "" };
    struct ledger_run run = { "bench", "0", "bench", "", "", CLASS, ENCODER, "" };
    struct err e;

    model = facts.digest;
    setenv("SEEDPRESS_PG_FSYNC", "on", 1);
    kit_postgres_start(&b->pg);
    if (ledger_migrate(b->pg.conninfo, false, NULL, NULL, &e))
        die(e.msg);
    snprintf(b->folder, sizeof b->folder, "%s/segments", b->pg.dir);
    if (mkdir(b->folder, 0700))
        die("no folder for segments");
    open_ledger(b, NULL, &b->ledger);
    open_ledger(b, b->folder, &b->with_segments);
    if (ledger_put_model(b->ledger, &named, &e) || ledger_start_run(b->ledger, &run, &run_id, &e))
        die(e.msg);
    b->conn = connect_plain(b->pg.conninfo);
}

static void bench_close(struct bench *b)
{
    PQfinish(b->conn);
    ledger_close(&b->ledger);
    ledger_close(&b->with_segments);
    kit_postgres_destroy(&b->pg);
}

static double run_variant(struct bench *b, enum variant variant, const struct pictures *p)
{
    run_sql(b->conn, "CHECKPOINT");
    switch (variant) {
    case PLAIN:
        return insert_all(b->conn, "plain", p);
    case SCHEMA:
        return insert_all(b->conn, "schema", p);
    case BLOBS:
        return store_all(b->ledger, p);
    case SEGMENTS:
        return store_all(b->with_segments, p);
    case VARIANTS:
        break;
    }
    return 0;
}

static void print_variants(double rates[VARIANTS][ROUNDS], size_t size)
{
    for (int v = 0; v < VARIANTS; v++) {
        double ratios[ROUNDS];

        for (int round = 0; round < ROUNDS; round++)
            ratios[round] = rates[v][round] / rates[PLAIN][round];
        struct spread rate = spread_of(rates[v], ROUNDS), ratio = spread_of(ratios, ROUNDS);

        printf("store %6zu bytes  %-26s %8.0f pictures/s (%.0f to %.0f)  %6.1f MB/s  "
               "ratio %.2f (%.2f to %.2f)\n", size, VARIANT_WORDS[v], rate.median, rate.lowest,
               rate.highest, rate.median * (double)size / 1e6, ratio.median, ratio.lowest,
               ratio.highest);
    }
    fflush(stdout);
}

static void bench_store(void)
{
    static const struct { size_t size, count; } LOADS[] = {
        { 3000, 2048 }, { 25000, 768 }, { 150000, 192 }
    };
    static struct pictures p;
    static double rates[VARIANTS][ROUNDS];
    struct bench b;
    uint32_t seed = 0;

    p.bytes = malloc((size_t)PICTURES_MAX * 20000 > 192u * SIZE_MAX_BYTES
                         ? (size_t)PICTURES_MAX * 20000 : 192u * SIZE_MAX_BYTES);
    if (!p.bytes)
        die("no memory");
    bench_open(&b);
    run_sql(b.conn, MAKE_PLAIN);
    prepare(b.conn, "plain", INSERT_PLAIN);
    prepare(b.conn, "schema", INSERT_SCHEMA);
    for (size_t load = 0; load < sizeof LOADS / sizeof LOADS[0]; load++) {
        for (int round = -1; round < ROUNDS; round++)       /* the first one warms all up */
            for (int v = 0; v < VARIANTS; v++) {
                pictures_paint(&p, LOADS[load].count, LOADS[load].size, seed);
                seed += (uint32_t)LOADS[load].count;
                double rate = run_variant(&b, (enum variant)v, &p);

                if (round >= 0)
                    rates[v][round] = rate;
            }
        print_variants(rates, LOADS[load].size);
    }
    free(p.bytes);
    bench_close(&b);
}

/* ---- find ---- */

enum look { FLOOR, BY_KEY, BY_KEY_FILE, BY_SEED, BY_FILE_SHA, BY_CORE_SHA, LOOKS };
static const char *const LOOK_WORDS[LOOKS] = {
    "SELECT 1", "recipe key", "recipe key, with the file", "model and seed", "file hash",
    "core hash"
};
enum { LOOKS_A_ROUND = 300, FIND_ROUNDS = 15 };

/* Indexes are made after the rows: ten times as fast. Hashes can be computed from the seed; of the
 * keys the ledger itself checks that they are right. */
static const char DROP_INDEXES[] =
    "CREATE TEMP TABLE dropped AS SELECT indexname AS name, indexdef AS def FROM pg_indexes"
    " WHERE tablename = 'images' AND indexname <> 'images_pkey';"
    "DO $$ DECLARE d record; BEGIN FOR d IN SELECT * FROM dropped LOOP"
    " EXECUTE 'DROP INDEX ' || d.name; END LOOP; END $$";
static const char ADD_ROWS[] =
    "INSERT INTO images (key, subject, file_sha, core_sha, model_id, seed, psi, options_id, run_id,"
    "  batch_size, render_us, bytes, kept)"
    " SELECT sha256(convert_to(format("
    "   E'seedpress-recipe/1\\nmodel=%%s\\nlatent=seed:%%s\\npsi=700000\\n',"
    "   encode(m.digest, 'hex'), s) || o.text, 'UTF8')),"
    "  sha256(convert_to('subject' || s, 'UTF8')),"
    "  sha256(convert_to('file' || s, 'UTF8')), sha256(convert_to('core' || s, 'UTF8')),"
    "  m.id, s, 700000, o.id, r.id, 16, 1000, 3000, false"
    " FROM generate_series(%u, %u) s, models m, options o, runs r";
static const char MAKE_INDEXES[] =
    "DO $$ DECLARE d record; BEGIN FOR d IN SELECT * FROM dropped LOOP"
    " EXECUTE d.def; END LOOP; END $$;"
    "DROP TABLE dropped; ANALYZE; CHECKPOINT";

static void fill(struct bench *b, uint32_t first, uint32_t last)
{
    char sql[sizeof ADD_ROWS + 64];

    run_sql(b->conn, DROP_INDEXES);
    snprintf(sql, sizeof sql, ADD_ROWS, first, last);
    run_sql(b->conn, sql);
    run_sql(b->conn, MAKE_INDEXES);
}

static struct digest digest_of_words(const char *words, uint32_t seed)
{
    char text[40];

    snprintf(text, sizeof text, "%s%u", words, seed);
    return digest_of(text, strlen(text));
}

/* The time of one, in microseconds; a look-up that finds anything but its row ends the program. */
static double look(struct ledger *ledger, enum look kind, uint32_t seed)
{
    struct recipe recipe = recipe_of(seed);
    struct ledger_query by = { .limit = 10, .model = model, .seed = seed, .psi = INT64_MIN };
    struct digest key = recipe_key(&recipe);
    struct ledger_rows rows = { 0 };
    enum err_code rc = ERR_BUG;
    struct err e = { 0 };

    if (kind == BY_SEED)
        by.by = LEDGER_BY_SEED;
    else
        by.by = kind == BY_FILE_SHA ? LEDGER_BY_FILE_SHA : LEDGER_BY_CORE_SHA;
    by.digest = digest_of_words(kind == BY_FILE_SHA ? "file" : "core", seed);
    int64_t from_ns = now_ns();

    if (kind == FLOOR)
        rc = ledger_ping(ledger, &e);
    else if (kind == BY_KEY || kind == BY_KEY_FILE)
        rc = ledger_find_keys(ledger, &key, 1, kind == BY_KEY_FILE, &rows, &e);
    else
        rc = ledger_find(ledger, &by, &rows, &e);
    double took_us = (double)(now_ns() - from_ns) / 1000;

    if (rc)
        die(e.msg);
    if (kind != FLOOR && (rows.count != 1 || rows.row[0].recipe.seed != seed))
        die("a look-up did not find its row");
    ledger_rows_release(&rows);
    return took_us;
}

static double median_of(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

/* Fills p50[round] of every kind. The kinds take turns one by one, so that all have the same
 * neighbours on the machine. */
static void measure_looks(struct bench *b, uint32_t rows, double p50[LOOKS][FIND_ROUNDS])
{
    static double times[LOOKS][LOOKS_A_ROUND];
    static uint32_t state = 12345;

    for (int round = -1; round < FIND_ROUNDS; round++) {    /* the first one warms all up */
        for (int i = 0; i < LOOKS_A_ROUND; i++)
            for (int kind = 0; kind < LOOKS; kind++) {
                state = state * 1664525u + 1013904223u;
                times[kind][i] = look(b->ledger, (enum look)kind,
                                      (uint32_t)(((uint64_t)state * rows) >> 32));
            }
        for (int kind = 0; round >= 0 && kind < LOOKS; kind++)
            p50[kind][round] = median_of(times[kind], LOOKS_A_ROUND);
    }
}

static void bench_find(void)
{
    static const uint32_t ROWS[] = { 10000, 1000000 };
    static double p50[2][LOOKS][FIND_ROUNDS];
    struct bench b;
    struct ledger_stored stored;
    static struct pictures p;
    struct err e;

    bench_open(&b);
    p.bytes = malloc(64);
    pictures_paint(&p, 1, 64, 4000000000u);     /* brings its options along */
    if (!p.bytes || ledger_store(b.ledger, p.image, 1, &stored, &e))
        die("could not store");
    for (int at = 0; at < 2; at++) {
        fill(&b, at ? ROWS[at - 1] : 0, ROWS[at] - 1);
        measure_looks(&b, ROWS[at], p50[at]);
        for (int kind = 0; kind < LOOKS; kind++) {
            double ratios[FIND_ROUNDS];

            for (int round = 0; round < FIND_ROUNDS; round++)
                ratios[round] = p50[at][kind][round] / p50[at][FLOOR][round];
            struct spread us = spread_of(p50[at][kind], FIND_ROUNDS);
            struct spread ratio = spread_of(ratios, FIND_ROUNDS);

            printf("find %8u rows  %-26s p50 %7.1f us (%.1f to %.1f)  ratio %.2f (%.2f to %.2f)\n",
                   ROWS[at], LOOK_WORDS[kind], us.median, us.lowest, us.highest, ratio.median,
                   ratio.lowest, ratio.highest);
        }
        fflush(stdout);
    }
    free(p.bytes);
    bench_close(&b);
}

/* ---- path ---- */

enum { PATH_CHUNKS = 16, PATH_WAIT_MS = 600000, PATH_BYTES_MAX = 400 << 20 };
enum path_variant { PATH_PLAIN, PATH_JOB, PATH_EXPORT, PATH_SEGMENTS, PATH_NO_HASHES,
                    PATH_VARIANTS };
static const char *const PATH_WORDS[PATH_VARIANTS] = {
    "one table, plain inserts", "a bulk job", "a bulk job and its export", "same, segments",
    "same, no hashes"
};

/* Larger pictures spend more in the encoder and less in everything else. */
static const struct path_load {
    int side, pictures;
} PATH_LOADS[] = { { 64, 16384 }, { 256, 4096 }, { 1024, 512 } };

/* Of one variant and round. */
struct path_figures {
    double rate;                    /* pictures/s */
    double cpu_us;                  /* of all processes of this machine, per picture */
};

/* How a round is run: with a worker of its own, so that no other takes part. */
struct path_way {
    const char *folder;             /* of segments; NULL: files in the database */
    const char *likeness;
    bool is_exported;
};

static void path_answer(struct kit_asker *a, const struct message *question, struct message *out,
                        struct parcel *parcel)
{
    asker_send(a, question);
    if (!asker_receive(a, out, parcel, PATH_WAIT_MS) || out->type != MESSAGE_BULK_REPORT ||
        out->bulk_report.jobs.count != 1)
        die("no report of a bulk job");
}

/* Microseconds that the machine's processors have worked since it started. */
static double busy_us(void)
{
    FILE *f = fopen("/proc/stat", "r");
    double user, nice, system;

    if (!f || fscanf(f, "cpu %lf %lf %lf", &user, &nice, &system) != 3)
        die("no /proc/stat");
    fclose(f);
    return (user + nice + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

/* A model of that size, whose weights nobody uses, as "quickSIDE" in folder. */
static void path_make_model(const char *folder, int side)
{
    struct kit_model_options options = { .resolution = side, .channels = side / 8 };
    char path[400];
    size_t len;
    uint8_t *bytes = kit_model_bytes(&options, &len);
    struct err e;

    snprintf(path, sizeof path, "%s/quick%d.safetensors", folder, side);
    if (file_write_atomic(path, bytes, len, &e))
        die(e.msg);
    free(bytes);
}

static int64_t path_submit(struct kit_asker *a, const struct path_load *load, int64_t first)
{
    char name[40], model_name[24];
    struct message_bulk_part part = { .first = first, .last = first + load->pictures - 1,
                                      .psi = 700000, .cutoff = -1, .class_index = -1,
                                      .noise_mode = -1, .noise_seed = -1, .rotate = INT64_MIN,
                                      .quality = 90, .mark = -1 };
    struct message m, report;
    struct parcel parcel;

    snprintf(name, sizeof name, "path-%d-%lld", load->side, (long long)first);
    snprintf(model_name, sizeof model_name, "quick%d", load->side);
    part.model = text_of(model_name);
    message_init(&m, MESSAGE_BULK_SUBMIT, 1);
    m.bulk_submit.name = text_of(name);
    m.bulk_submit.chunk = load->pictures / PATH_CHUNKS;
    m.bulk_submit.parts = (struct records){ &part, 1 };
    path_answer(a, &m, &report, &parcel);
    int64_t job = ((const struct message_bulk_job *)report.bulk_report.jobs.items)->job;

    message_release(&report);
    parcel_release(&parcel);
    return job;
}

/* The broker's log tells of each chunk once it is counted: to watch costs the path nothing. */
static void path_await(struct kit_stack *stack, struct kit_asker *a, int64_t job, int pictures)
{
    struct message m, report;
    struct parcel parcel;
    char words[60];

    snprintf(words, sizeof words, " bulk_chunk job=%lld ", (long long)job);
    for (int chunk = 0; chunk < PATH_CHUNKS; chunk++)
        program_wait_for(&stack->broker, words, NULL, 0);
    message_init(&m, MESSAGE_BULK_LIST, 2);
    m.bulk_list.job = job;
    path_answer(a, &m, &report, &parcel);
    const struct message_bulk_job *j = report.bulk_report.jobs.items;

    if (j->state != MESSAGE_BULK_DONE || j->done != pictures || j->failed > 0)
        die("pictures of a bulk job have failed");
    message_release(&report);
    parcel_release(&parcel);
}

static struct path_figures path_run(struct kit_stack *stack, struct kit_asker *a,
                                    const struct path_load *load, const struct path_way *way,
                                    int64_t *seed)
{
    char models[300], job_text[24], shards[340];
    const char *const flags[] = { "--backend", "quick", "--models-dir", models, "--batch-max", "64",
                                  "--reserve-batches", "4", "--encoders", "2", "--replay-one-in",
                                  "0", "--likeness", way->likeness,
                                  way->folder ? "--segments" : NULL, way->folder, NULL };
    struct kit_program exporter;

    snprintf(models, sizeof models, "%s/models", stack->pg.dir);
    stack_start_worker(stack, 0, flags);
    double worked_us = busy_us();
    int64_t from_us = clock_us(), job = path_submit(a, load, *seed);

    snprintf(job_text, sizeof job_text, "%lld", (long long)job);
    snprintf(shards, sizeof shards, "%s/shards-%s", stack->pg.dir, job_text);
    const char *const argv[] = { "seedpress", "--broker", stack->clients, "bulk", "export", job_text,
                                 "-o", shards, NULL };

    if (way->is_exported) {
        program_start(&exporter, argv);
        if (program_wait(&exporter))
            die("an export has failed");
    }
    path_await(stack, a, job, load->pictures);
    struct path_figures out = { load->pictures * 1e6 / (double)(clock_us() - from_us),
                                (busy_us() - worked_us) / load->pictures };

    *seed += load->pictures;
    program_kill(&stack->worker[0]);
    return out;
}

static struct path_figures path_peer(PGconn *conn, struct pictures *p, const struct path_load *load,
                                     const char *conninfo, uint32_t *seed)
{
    static const char SQL[] = "SELECT avg(bytes)::int FROM"
                              " (SELECT bytes FROM images ORDER BY created DESC LIMIT 100) last";
    size_t bytes = (size_t)kit_postgres_int(conninfo, SQL);
    size_t count = (size_t)load->pictures < PICTURES_MAX ? (size_t)load->pictures : PICTURES_MAX;

    if (bytes * count > PATH_BYTES_MAX)
        die("the pictures of a path do not fit");
    pictures_paint(p, count, bytes, *seed);
    *seed += (uint32_t)count;
    double worked_us = busy_us(), rate = insert_all(conn, "plain", p);

    return (struct path_figures){ rate, (busy_us() - worked_us) / (double)count };
}

static void path_print(struct path_figures figures[PATH_VARIANTS][ROUNDS], int side, size_t size)
{
    for (int v = 0; v < PATH_VARIANTS; v++) {
        double rates[ROUNDS], ratios[ROUNDS], cpu[ROUNDS];

        for (int round = 0; round < ROUNDS; round++) {
            rates[round] = figures[v][round].rate;
            ratios[round] = rates[round] / figures[PATH_PLAIN][round].rate;
            cpu[round] = figures[v][round].cpu_us;
        }
        struct spread rate = spread_of(rates, ROUNDS), ratio = spread_of(ratios, ROUNDS);
        struct spread work = spread_of(cpu, ROUNDS);

        printf("path %4d px %6zu bytes  %-26s %8.0f pictures/s (%.0f to %.0f)  "
               "ratio %.2f (%.2f to %.2f)  processors %.0f us a picture (%.0f to %.0f)\n", side,
               size, PATH_WORDS[v], rate.median, rate.lowest, rate.highest, ratio.median,
               ratio.lowest, ratio.highest, work.median, work.lowest, work.highest);
    }
    fflush(stdout);
}

static void path_open(struct kit_stack *stack, char segments[300])
{
    char models[300];

    setenv("SEEDPRESS_PG_FSYNC", "on", 1);
    stack_start(stack, NULL);
    snprintf(segments, 300, "%s/segments", stack->pg.dir);
    snprintf(models, sizeof models, "%s/models", stack->pg.dir);
    if (mkdir(segments, 0700) || mkdir(models, 0700))
        die("no folder for segments or models");
    for (size_t i = 0; i < sizeof PATH_LOADS / sizeof PATH_LOADS[0]; i++)
        path_make_model(models, PATH_LOADS[i].side);
    const char *const flags[] = { "--segments", segments, NULL };

    program_kill(&stack->broker);                /* the folder is known only now */
    stack_restart_broker(stack, flags);
}

static void bench_path(void)
{
    static struct path_figures figures[PATH_VARIANTS][ROUNDS];
    static struct pictures p;
    struct kit_stack stack;
    struct kit_asker asker;
    char folder[300];
    int64_t seed = 0;
    uint32_t peer_seed = 0;

    p.bytes = malloc(PATH_BYTES_MAX);
    if (!p.bytes)
        die("no memory");
    path_open(&stack, folder);
    PGconn *conn = connect_plain(stack.pg.conninfo);

    run_sql(conn, MAKE_PLAIN);
    prepare(conn, "plain", INSERT_PLAIN);
    asker_open(&asker, stack.clients, LINK_DEALER);
    const struct path_way ways[PATH_VARIANTS] = {
        [PATH_JOB] = { NULL, "on", false }, [PATH_EXPORT] = { NULL, "on", true },
        [PATH_SEGMENTS] = { folder, "on", true }, [PATH_NO_HASHES] = { folder, "off", true },
    };

    for (size_t i = 0; i < sizeof PATH_LOADS / sizeof PATH_LOADS[0]; i++) {
        const struct path_load *load = &PATH_LOADS[i];

        path_run(&stack, &asker, load, &ways[PATH_JOB], &seed);
        for (int round = 0; round < ROUNDS; round++) {
            figures[PATH_PLAIN][round] = path_peer(conn, &p, load, stack.pg.conninfo, &peer_seed);
            for (int v = PATH_JOB; v < PATH_VARIANTS; v++)
                figures[v][round] = path_run(&stack, &asker, load, &ways[v], &seed);
        }
        path_print(figures, load->side, p.size);
    }
    asker_close(&asker);
    PQfinish(conn);
    free(p.bytes);
    stack_destroy(&stack);
}

static const struct {
    const char *name;
    void (*run)(void);
} PARTS[] = {
    { "store", bench_store },
    { "path", bench_path },
    { "find", bench_find },
};

int main(int argc, char **argv)
{
    size_t parts = sizeof PARTS / sizeof PARTS[0];

    for (int i = 1; i < argc; i++) {
        size_t part = 0;

        while (part < parts && strcmp(argv[i], PARTS[part].name) != 0)
            part++;
        if (part == parts)
            die("usage: ledger [store | path | find]...");
    }
    for (size_t part = 0; part < parts; part++)
        for (int i = 1; i == 1 || i < argc; i++)
            if (argc == 1 || strcmp(argv[i], PARTS[part].name) == 0)
                PARTS[part].run();
    return 0;
}
