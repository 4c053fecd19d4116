#include "sql/ledger.h"

#include "sql/ledger_self.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define READ "read the ledger"

/* One column list for all look-ups; enum row_column is its order. A withdrawn picture keeps its
 * row: that it existed may be told, its bytes may not. */
#define ROW_COLUMNS                                                                                \
    "SELECT i.key, i.model_id, i.seed, i.psi, i.options_id, i.file_sha, i.core_sha, i.run_id,"     \
    " i.batch_size, i.bytes, i.kept, w.subject IS NOT NULL, i.created, coalesce(i.job_id, 0)"
#define TOMBSTONES " LEFT JOIN withdrawn w ON w.subject = i.subject"
#define ROW_TABLES " FROM images i" TOMBSTONES
#define ROW_TABLES_BY_MODEL                                                                        \
    " FROM images i JOIN models m ON m.id = i.model_id" TOMBSTONES
#define NEWEST_FIRST " ORDER BY i.created DESC, i.key LIMIT "

enum row_column { ROW_KEY, ROW_MODEL, ROW_SEED, ROW_PSI, ROW_OPTIONS, ROW_FILE_SHA, ROW_CORE_SHA,
                  ROW_RUN, ROW_BATCH_SIZE, ROW_BYTES, ROW_KEPT, ROW_WITHDRAWN, ROW_CREATED, ROW_JOB,
                  ROW_SEGMENT, ROW_PLACE, ROW_DATA };

/* One row at most: to sort it would cost a quarter of the look-up. */
static const struct statement FIND_KEY = {
    "find_key", READ, ROW_COLUMNS ROW_TABLES " WHERE i.key = $1::bytea"
};
/* The bytes too, by the same snapshot that says whether they may be given. */
static const struct statement FETCH_KEY = {
    "fetch_key", READ,
    ROW_COLUMNS ", i.segment, i.place, CASE WHEN i.kept AND w.subject IS NULL AND i.segment IS NULL"
                "       THEN (SELECT b.data FROM blobs b WHERE b.key = $1::bytea) END"
    ROW_TABLES " WHERE i.key = $1::bytea"
};
static const struct statement FIND_FILE_SHA = {
    "find_file_sha", READ,
    ROW_COLUMNS ROW_TABLES " WHERE i.file_sha = $1::bytea" NEWEST_FIRST "$2::bigint"
};
static const struct statement FIND_CORE_SHA = {
    "find_core_sha", READ,
    ROW_COLUMNS ROW_TABLES " WHERE i.core_sha = $1::bytea" NEWEST_FIRST "$2::bigint"
};
static const struct statement FIND_SUBJECT = {
    "find_subject", READ,
    ROW_COLUMNS ROW_TABLES " WHERE i.subject = $1::bytea" NEWEST_FIRST "$2::bigint"
};
/* Model and psi may be NULL, for any. There are few models: one look into the index for each. */
static const struct statement FIND_SEED = {
    "find_seed", READ,
    ROW_COLUMNS ROW_TABLES_BY_MODEL " WHERE i.seed = $1::bigint"
    " AND ($2::bytea IS NULL OR m.digest = $2::bytea) AND ($3::int IS NULL OR i.psi = $3::int)"
    NEWEST_FIRST "$4::bigint"
};

/* What was stored from $1 to $2 seconds before now and not before $3, in seconds since 1970. The
 * index by time holds ranges of blocks: it cannot sort, so that the caller asks for short times
 * first. */
static const struct statement FIND_SINCE = {
    "find_since", READ,
    ROW_COLUMNS ROW_TABLES_BY_MODEL
    " WHERE i.created >= greatest(now() - $1::bigint * interval '1 second',"
    "                             to_timestamp($3::bigint))"
    " AND i.created < now() - $2::bigint * interval '1 second'"
    " AND ($4::bytea IS NULL OR m.digest = $4::bytea)"
    NEWEST_FIRST "$5::bigint"
};
static const struct statement SECONDS_SINCE = {
    "seconds_since", READ, "SELECT extract(epoch FROM now())::bigint - $1::bigint"
};

/* Bounded: it looks at 64 keys, whoever made them. */
static const struct statement SAMPLE = {
    "sample", READ,
    ROW_COLUMNS " FROM (SELECT * FROM images WHERE key >= $1::bytea ORDER BY key LIMIT 64) i"
    " JOIN runs r ON r.id = i.run_id" TOMBSTONES
    " WHERE r.numerics_class = $2::text AND r.encoder = $3::text AND w.subject IS NULL"
    " ORDER BY i.key LIMIT 1"
};

void ledger_rows_release(struct ledger_rows *self)
{
    for (size_t i = 0; i < self->count; i++)
        free(self->row[i].data);
    free(self->row);
    *self = (struct ledger_rows){ 0 };
}

bool ledger_recipe(const struct digest *model, int64_t seed, int32_t psi, const char *options,
                   struct recipe *out)
{
    char text[RECIPE_TEXT_MAX];
    int len = snprintf(text, sizeof text,
                       "seedpress-recipe/1\nmodel=%s\nlatent=seed:%lld\npsi=%d\n%s",
                       digest_hex(model).text, (long long)seed, (int)psi, options);

    return len > 0 && (size_t)len < sizeof text && !recipe_parse(text, (size_t)len, out, NULL);
}

/* ISO 8601 of PostgreSQL's microseconds since the year 2000; the server takes longer for it than
 * for the rest of a look-up's columns together. */
static void write_time(int64_t us, char *out, size_t size)
{
    int64_t seconds = us / 1000000, rest = us % 1000000;
    char date[32];
    struct tm tm;
    time_t at;

    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    at = (time_t)(seconds + 946684800);
    if (!gmtime_r(&at, &tm) || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        date[0] = '\0';
    snprintf(out, size, "%s.%06uZ", date, (unsigned)rest % 1000000);
}

/* The recipe out of its parts; its key must be the row's, or the row is not what was stored. */
static enum err_code rebuild(struct ledger *self, const PGresult *result, int line,
                             struct ledger_row *row, struct err *e)
{
    const struct known_model *model;
    const struct known_options *options;
    struct digest key;
    enum err_code rc = known_model(self->known, self->session,
                                   result_int4(result, line, ROW_MODEL), &model, e);
    bool whole;

    if (!rc)
        rc = known_options(self->known, self->session, result_int4(result, line, ROW_OPTIONS),
                           &options, e);
    if (rc)
        return rc;
    whole = ledger_recipe(&model->digest, result_int8(result, line, ROW_SEED),
                          result_int4(result, line, ROW_PSI), options->text, &row->recipe);
    row->key = result_digest(result, line, ROW_KEY);
    if (whole)
        key = recipe_key(&row->recipe);
    if (!whole || !digest_equal(&key, &row->key))
        return err_set(e, ERR_BUG, "the ledger's row %s does not hold the recipe of its key",
                       digest_hex(&row->key).text);
    return ERR_OK;
}

/* The file: from the answer, or from the segment that it names. One that is not there, or not
 * readable, is not kept: whoever asked makes it again, and the write decides which stands. */
static enum err_code read_data(struct ledger *self, const PGresult *result, int line,
                               struct ledger_row *row, struct err *e)
{
    enum err_code rc;

    if (!result_is_null(result, line, ROW_DATA)) {
        row->data = result_copy(result, line, ROW_DATA, &row->len);
        return row->data ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for a picture of the ledger");
    }
    if (row->kept && !row->withdrawn && !result_is_null(result, line, ROW_SEGMENT)) {
        struct segments_place at = { result_int4(result, line, ROW_SEGMENT),
                                     result_int8(result, line, ROW_PLACE) };
        struct segments_record record = { row->key, row->file_sha, NULL, (size_t)row->bytes };

        rc = shelf_get(self->shelf, at, &record, &row->data, e);
        row->len = row->data ? record.len : 0;
        if (rc == ERR_OK || rc == ERR_NOMEM)
            return rc;
    }
    row->kept = row->kept && row->withdrawn;
    return ERR_OK;
}

/* What row->run_id says of the run. */
static enum err_code read_run(struct ledger *self, struct ledger_row *row, struct err *e)
{
    const struct known_run *run;
    enum err_code rc = known_run(self->known, self->session, row->run_id, &run, e);

    if (rc)
        return rc;
    memcpy(row->numerics_class, run->numerics_class, sizeof row->numerics_class);
    memcpy(row->encoder, run->encoder, sizeof row->encoder);
    memcpy(row->worker, run->worker, sizeof row->worker);
    memcpy(row->version, run->version, sizeof row->version);
    memcpy(row->backend, run->backend, sizeof row->backend);
    memcpy(row->device, run->device, sizeof row->device);
    memcpy(row->driver, run->driver, sizeof row->driver);
    memcpy(row->libraries, run->libraries, sizeof row->libraries);
    return ERR_OK;
}

static enum err_code read_row(struct ledger *self, const PGresult *result, int line,
                              struct ledger_row *row, struct err *e)
{
    enum err_code rc = rebuild(self, result, line, row, e);
    if (rc)
        return rc;
    row->file_sha = result_digest(result, line, ROW_FILE_SHA);
    row->core_sha = result_digest(result, line, ROW_CORE_SHA);
    row->run_id = result_int8(result, line, ROW_RUN);
    row->batch_size = result_int4(result, line, ROW_BATCH_SIZE);
    row->bytes = result_int4(result, line, ROW_BYTES);
    row->kept = result_bool(result, line, ROW_KEPT);
    row->withdrawn = result_bool(result, line, ROW_WITHDRAWN);
    write_time(result_int8(result, line, ROW_CREATED), row->created, sizeof row->created);
    row->distance = -1;
    row->job_id = result_int8(result, line, ROW_JOB);
    rc = read_run(self, row, e);
    if (rc)
        return rc;
    return PQnfields(result) <= ROW_DATA ? ERR_OK : read_data(self, result, line, row, e);
}

/* Appends result's rows to out, which has room for them. */
static enum err_code add_rows(struct ledger *self, const PGresult *result, struct ledger_rows *out,
                              struct err *e)
{
    enum err_code rc = ERR_OK;
    for (int line = 0; !rc && line < PQntuples(result); line++)
        rc = read_row(self, result, line, &out->row[out->count++], e);
    return rc;
}

static enum err_code make_room(struct ledger_rows *out, size_t rows, struct err *e)
{
    out->row = calloc(rows ? rows : 1, sizeof *out->row);
    return out->row ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for %zu rows of the ledger", rows);
}

/* A statement a key: its plan is the same few index look-ups whatever the tables' sizes. */
static enum err_code find_each(struct ledger *self, const struct statement *find,
                               const struct digest *keys, size_t count, struct ledger_rows *out,
                               struct err *e)
{
    PGresult *results[LEDGER_BATCH_MAX];
    struct err later;
    enum err_code rc = session_ready(self->session, e), code;

    if (!rc)
        rc = session_prepare(self->session, find, e);
    if (rc)
        return rc;
    for (size_t i = 0; !rc && i < count; i++) {
        struct params p = { 0 };
        params_digest(&p, &keys[i]);
        rc = session_send(self->session, find, &p, e);
    }
    /* All answers first: a row may name a run that is still to be asked for. */
    for (size_t i = 0; i < count; i++) {
        code = session_result(self->session, &results[i], rc ? &later : e);
        rc = rc ? rc : code;
    }
    for (size_t i = 0; i < count; i++) {
        if (!rc)
            rc = add_rows(self, results[i], out, e);
        PQclear(results[i]);
    }
    return rc;
}

/* Those of keys that have a row. To fetch locks all parts of blobs, also for a key that has none:
 * most keys of a broker that is at work. */
static enum err_code select_present(struct ledger *self, const struct digest *keys, size_t count,
                                    struct digest *there, size_t *there_count, struct err *e)
{
    bool present[LEDGER_BATCH_MAX];
    enum err_code rc = ledger_bulk_present(self, keys, count, present, e);

    *there_count = 0;
    for (size_t i = 0; !rc && i < count; i++)
        if (present[i])
            there[(*there_count)++] = keys[i];
    return rc;
}

enum err_code ledger_find_keys(struct ledger *self, const struct digest *keys, size_t count,
                               bool with_data, struct ledger_rows *out, struct err *e)
{
    struct digest there[LEDGER_BATCH_MAX];
    enum err_code rc;

    *out = (struct ledger_rows){ 0 };
    if (count > LEDGER_BATCH_MAX)
        return err_set(e, ERR_BUG, "%zu keys in one look-up, %d fit", count, LEDGER_BATCH_MAX);
    if (with_data && (rc = select_present(self, keys, count, there, &count, e)))
        return rc;
    rc = make_room(out, count, e);
    if (!rc && count > 0)
        rc = find_each(self, with_data ? &FETCH_KEY : &FIND_KEY, with_data ? there : keys, count,
                       out, e);
    if (rc)
        ledger_rows_release(out);
    return rc;
}

static enum err_code set_query(const struct ledger_query *query, const struct statement **find,
                               struct params *p, struct err *e)
{
    switch (query->by) {
    case LEDGER_BY_KEY:
        *find = &FIND_KEY;
        break;
    case LEDGER_BY_FILE_SHA:
        *find = &FIND_FILE_SHA;
        break;
    case LEDGER_BY_CORE_SHA:
        *find = &FIND_CORE_SHA;
        break;
    case LEDGER_BY_SEED:
        *find = &FIND_SEED;
        break;
    case LEDGER_BY_SINCE:
    case LEDGER_BY_JOB:             /* by other functions */
        break;
    }
    if (query->limit < 1 || query->limit > LEDGER_ROWS_MAX)
        return err_set(e, ERR_RANGE, "1 to %d rows can be asked for", LEDGER_ROWS_MAX);
    if (query->by != LEDGER_BY_SEED) {
        params_digest(p, &query->digest);
    } else {
        bool any_psi = query->psi == INT64_MIN;
        if (!any_psi && (query->psi < -RECIPE_PSI_MAX || query->psi > RECIPE_PSI_MAX))
            return err_set(e, ERR_RANGE, "psi is -2 to 2");
        params_int8(p, query->seed);
        if (query->any_model)
            params_null(p);
        else
            params_digest(p, &query->model);
        if (any_psi)
            params_null(p);
        else
            params_int4(p, (int32_t)query->psi);
    }
    if (query->by != LEDGER_BY_KEY)
        params_int8(p, (int64_t)query->limit);
    return ERR_OK;
}

/* find's rows, however many it gives. The caller has called session_ready. */
static enum err_code find_rows(struct ledger *self, const struct statement *find,
                               const struct params *p, struct ledger_rows *out, struct err *e)
{
    PGresult *result = NULL;
    enum err_code rc = session_ask(self->session, find, p, &result, e);

    if (!rc)
        rc = make_room(out, (size_t)PQntuples(result), e);
    if (!rc)
        rc = add_rows(self, result, out, e);
    PQclear(result);
    if (rc)
        ledger_rows_release(out);
    return rc;
}

/* The newest second, then eight times as long, and so on: what is looked at is about what is
 * answered, also in a ledger of years. */
static enum err_code find_since(struct ledger *self, const struct ledger_query *query,
                                struct ledger_rows *out, struct err *e)
{
    enum { FIRST_S = 1, GROWTH = 8, MARGIN_S = 3600 };      /* a row may be of the next moment */
    int64_t from = FIRST_S, to = -MARGIN_S, age;
    struct params age_of = { 0 };
    PGresult *result;
    enum err_code rc;

    params_int8(&age_of, query->since);
    rc = session_call(self->session, &SECONDS_SINCE, &age_of, &result, e);
    age = rc ? 0 : result_int8(result, 0, 0);
    PQclear(result);
    if (!rc)
        rc = make_room(out, query->limit, e);
    while (!rc && out->count < query->limit && to <= age) {
        struct params p = { 0 };

        params_int8(&p, from);
        params_int8(&p, to);
        params_int8(&p, query->since);
        if (query->any_model)
            params_null(&p);
        else
            params_digest(&p, &query->model);
        params_int8(&p, (int64_t)(query->limit - out->count));
        rc = session_call(self->session, &FIND_SINCE, &p, &result, e);
        if (!rc)
            rc = add_rows(self, result, out, e);
        PQclear(result);
        to = from;
        from *= GROWTH;
    }
    if (rc)
        ledger_rows_release(out);
    return rc;
}

/* Appends what is stored of count recipes, count <= LEDGER_BATCH_MAX. out has room. */
static enum err_code add_keys(struct ledger *self, const struct digest *keys, size_t count,
                              struct ledger_rows *out, struct err *e)
{
    struct ledger_rows rows;
    enum err_code rc = ledger_find_keys(self, keys, count, false, &rows, e);

    for (size_t i = 0; !rc && i < rows.count; i++)
        out->row[out->count++] = rows.row[i];   /* without data: nothing else to give away */
    free(rows.row);
    return rc;
}

/* By the job's parts: a picture's row names the job that had it made first, others may share it. */
static enum err_code find_job(struct ledger *self, const struct ledger_query *query,
                              struct ledger_rows *out, struct err *e)
{
    struct ledger_chunk chunk = { .job = query->job, .item = query->first,
                                  .count = (int)query->limit };
    struct digest keys[LEDGER_BATCH_MAX];
    struct ledger_part *parts = NULL;
    size_t part_count = 0, count = 0;
    enum err_code rc = ledger_bulk_parts_of(self, &chunk, &parts, &part_count, e);

    if (!rc)
        rc = make_room(out, query->limit, e);
    for (size_t i = 0; !rc && i < part_count; i++) {
        int64_t end = parts[i].item + (int64_t)parts[i].last - parts[i].first + 1;
        int64_t item = parts[i].item > query->first ? parts[i].item : query->first;

        for (; !rc && item < end && item - query->first < (int64_t)query->limit; item++) {
            struct recipe recipe = ledger_part_recipe(&parts[i], item);

            keys[count++] = recipe_key(&recipe);
            if (count == LEDGER_BATCH_MAX) {
                rc = add_keys(self, keys, count, out, e);
                count = 0;
            }
        }
    }
    if (!rc && count > 0)
        rc = add_keys(self, keys, count, out, e);
    free(parts);
    if (rc)
        ledger_rows_release(out);
    return rc;
}

enum err_code ledger_find(struct ledger *self, const struct ledger_query *query,
                          struct ledger_rows *out, struct err *e)
{
    const struct statement *find = NULL;
    struct params p = { 0 };
    enum err_code rc;

    *out = (struct ledger_rows){ 0 };
    rc = set_query(query, &find, &p, e);
    if (rc)
        return rc;
    if (query->by == LEDGER_BY_SINCE)
        return find_since(self, query, out, e);
    if (query->by == LEDGER_BY_JOB)
        return find_job(self, query, out, e);
    rc = session_ready(self->session, e);
    return rc ? rc : find_rows(self, find, &p, out, e);
}

enum err_code ledger_sample(struct ledger *self, const char *numerics_class, const char *encoder,
                            const struct digest *from, struct ledger_rows *out, struct err *e)
{
    static const struct digest FIRST;
    const struct digest *const starts[] = { from, &FIRST };
    enum err_code rc = session_ready(self->session, e);

    *out = (struct ledger_rows){ 0 };
    for (size_t i = 0; !rc && out->count == 0 && i < sizeof starts / sizeof starts[0]; i++) {
        struct params p = { 0 };

        ledger_rows_release(out);
        params_digest(&p, starts[i]);
        params_text(&p, numerics_class);
        params_text(&p, encoder);
        rc = find_rows(self, &SAMPLE, &p, out, e);
    }
    return rc;
}

enum err_code ledger_find_subject(struct ledger *self, const struct digest *subject, size_t max,
                                  struct ledger_rows *out, struct err *e)
{
    struct params p = { 0 };

    *out = (struct ledger_rows){ 0 };
    params_digest(&p, subject);
    params_int8(&p, (int64_t)max);
    return find_rows(self, &FIND_SUBJECT, &p, out, e);
}
