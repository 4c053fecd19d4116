#include "sql/ledger.h"

#include "sql/array.h"
#include "sql/bulk_self.h"
#include "sql/ledger_self.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ "read the ledger"
#define WRITE "write to the ledger"

static const char *const STATES[] = { "running", "paused", "cancelled", "done" };
enum { STATE_COUNT = sizeof STATES / sizeof STATES[0] };

static const struct statement BEGIN_BULK = { "begin_bulk", WRITE, "BEGIN" };
static const struct statement COMMIT_BULK = { "commit_bulk", WRITE, "COMMIT" };
static const struct statement ROLLBACK_BULK = { "rollback_bulk", WRITE, "ROLLBACK" };

static const struct statement FIND_JOB = {
    "find_job", WRITE,
    "SELECT id, digest FROM bulk_jobs WHERE owner = $1::text AND name = $2::text"
};
/* Job and parts in one statement: there is never the one without the other. */
static const struct statement ADD_JOB = {
    "add_job", WRITE,
    "WITH job AS ("
    " INSERT INTO bulk_jobs (owner, name, digest, state, keep, priority, chunk, total)"
    " VALUES ($1::text, $2::text, $3::bytea, 'running', $4::text, $5::int, $6::int, $7::bigint)"
    " ON CONFLICT (owner, name) DO NOTHING RETURNING id"
    "), parts AS ("
    " INSERT INTO bulk_parts (job_id, item, first_seed, last_seed, class_mod, recipe)"
    " SELECT job.id, p.* FROM job, unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::int[],"
    "                                     $12::text[]) p"
    ") SELECT id, $3::bytea FROM job"
};

/* A model's rows through their index: any hundred of them, whichever come first. */
#define PICTURE_BYTES                                                                              \
    "(SELECT coalesce(avg(i.bytes), 0)::bigint FROM"                                               \
    " (SELECT bytes FROM images WHERE model_id = (SELECT id FROM models WHERE digest = "
#define PICTURE_BYTES_END ") LIMIT 100) i)"
#define TIME_TEXT "AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
/* A recipe's text begins "seedpress-recipe/1\nmodel=" and 64 digits. */
#define FIRST_MODEL                                                                                \
    "(SELECT decode(substr(p.recipe, 26, 64), 'hex') FROM bulk_parts p"                            \
    " WHERE p.job_id = j.id AND p.item = 0)"
static const struct statement LIST_JOBS = {
    "list_jobs", READ,
    "SELECT j.id, j.owner, j.name, j.state, j.keep = 'image', j.priority::int, j.chunk, j.total,"
    " j.next, coalesce(c.done, 0), coalesce(c.failed, 0), coalesce(c.leased, 0),"
    " coalesce(extract(epoch FROM now() - j.exporter) * 1000, -1)::bigint, "
    PICTURE_BYTES FIRST_MODEL PICTURE_BYTES_END ","
    " to_char(j.created " TIME_TEXT ", to_char(j.finished " TIME_TEXT ", " FIRST_MODEL
    " FROM bulk_jobs j LEFT JOIN LATERAL ("
    "  SELECT sum(done)::bigint AS done, sum(failed)::bigint AS failed,"
    "         sum(count) FILTER (WHERE state = 'leased' AND holder <> '')::bigint AS leased"
    "  FROM chunks WHERE job_id = j.id) c ON true"
    " WHERE ($1::bigint = 0 OR j.id = $1::bigint) AND ($2::text = '' OR j.name = $2::text)"
    " ORDER BY j.id DESC LIMIT $3::bigint"
};
enum job_column { JOB_ID, JOB_OWNER, JOB_NAME, JOB_STATE, JOB_KEEP, JOB_PRIORITY, JOB_CHUNK,
                  JOB_TOTAL, JOB_NEXT, JOB_DONE, JOB_FAILED, JOB_LEASED, JOB_EXPORTER, JOB_BYTES,
                  JOB_CREATED, JOB_FINISHED, JOB_MODEL };
static const struct statement MEAN_BYTES = {
    "mean_bytes", READ, "SELECT " PICTURE_BYTES "$1::bytea" PICTURE_BYTES_END
};
#define PARTS "SELECT item, first_seed, last_seed, class_mod, recipe FROM bulk_parts"              \
              " WHERE job_id = $1::bigint"
static const struct statement LIST_PARTS = { "list_parts", READ, PARTS " ORDER BY item" };
static const struct statement PARTS_OF = {
    "parts_of", READ,
    PARTS " AND item < $2::bigint + $3::int AND item >="
    " (SELECT max(item) FROM bulk_parts WHERE job_id = $1::bigint AND item <= $2::bigint)"
    " ORDER BY item"
};
static const struct statement LIST_FAILURES = {
    "list_failures", READ,
    "SELECT item, code, message FROM bulk_failures WHERE job_id = $1::bigint AND item > $2::bigint"
    " ORDER BY item LIMIT $3::bigint"
};

/* Whoever changes a job or the last of its chunks holds its row until the end: what is then looked
 * at, each statement by a snapshot of its own, no other changes. */
static const struct statement LOCK_JOB = {
    "lock_job", WRITE,
    "SELECT state, owner, keep = 'image', total FROM bulk_jobs WHERE id = $1::bigint"
    " FOR NO KEY UPDATE"
};
static const struct statement SET_STATE = {
    "set_state", WRITE,
    "UPDATE bulk_jobs SET state = $2::text,"
    " finished = CASE WHEN $2::text IN ('done', 'cancelled') THEN now() END WHERE id = $1::bigint"
};
static const struct statement FORGET_FAILURES = {
    "forget_failures", WRITE, "DELETE FROM bulk_failures WHERE job_id = $1::bigint"
};
static const struct statement OPEN_FAILED = {
    "open_failed", WRITE,
    "UPDATE chunks SET state = 'leased', holder = '', epoch = epoch + 1, done = 0, failed = 0"
    " WHERE job_id = $1::bigint AND failed > 0"
};

/* ---- what all of them need ---- */

enum err_code bulk_run(struct ledger *self, const struct statement *statement,
                       const struct params *params, struct err *e)
{
    PGresult *result;
    enum err_code rc = session_ask(self->session, statement, params, &result, e);

    PQclear(result);
    return rc;
}

enum err_code bulk_begin(struct ledger *self, struct err *e)
{
    enum err_code rc = session_ready(self->session, e);

    /* Nothing can be prepared any more within a transaction that has failed. */
    if (!rc)
        rc = session_prepare(self->session, &COMMIT_BULK, e);
    if (!rc)
        rc = session_prepare(self->session, &ROLLBACK_BULK, e);
    return rc ? rc : bulk_run(self, &BEGIN_BULK, NULL, e);
}

enum err_code bulk_end(struct ledger *self, enum err_code rc, struct err *e)
{
    struct err ignored;
    PGresult *result;

    if (rc) {
        bulk_run(self, &ROLLBACK_BULK, NULL, &ignored);
        return rc;
    }
    rc = session_ask(self->session, &COMMIT_BULK, NULL, &result, e);
    if (!rc && strcmp(PQcmdStatus(result), "COMMIT") != 0)
        rc = err_set(e, ERR_LEDGER_DOWN, "could not " WRITE ": the transaction was rolled back");
    PQclear(result);
    return rc;
}

enum ledger_bulk_state bulk_read_state(const PGresult *result, int row, int column)
{
    char word[16];
    size_t i = 0;

    result_text(result, row, column, word, sizeof word);
    while (i + 1 < STATE_COUNT && strcmp(STATES[i], word) != 0)
        i++;
    return (enum ledger_bulk_state)i;
}

static enum err_code no_job(int64_t job, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "there is no bulk job %" PRId64, job);
}

struct recipe ledger_part_recipe(const struct ledger_part *part, int64_t item)
{
    struct recipe recipe = part->recipe;

    recipe.seed = part->first + (uint32_t)(item - part->item);
    if (part->class_mod > 0)
        recipe.class_index = (int)(recipe.seed % (uint32_t)part->class_mod);
    return recipe;
}

/* ---- jobs ---- */

/* Over all that was submitted; ERR_INVALID: the parts' items do not follow each other. */
static enum err_code digest_job(struct ledger_job *job, const struct ledger_part *parts,
                                size_t count, struct digest *out, struct err *e)
{
    struct digest_state *state = digest_create();
    char line[120];
    int len = snprintf(line, sizeof line, "%d %d %d\n", job->keep, job->priority, job->chunk);
    bool whole = count > 0;

    if (!state)
        return err_set(e, ERR_NOMEM, "no memory for a bulk job");
    digest_add(state, line, (size_t)len);
    job->total = 0;
    for (size_t i = 0; i < count; i++) {
        struct recipe_text text = recipe_text(&parts[i].recipe);

        whole &= parts[i].item == job->total && parts[i].first <= parts[i].last;
        job->total += (int64_t)parts[i].last - parts[i].first + 1;
        len = snprintf(line, sizeof line, "%" PRIu32 " %" PRIu32 " %d\n", parts[i].first,
                       parts[i].last, parts[i].class_mod);
        digest_add(state, line, (size_t)len);
        digest_add(state, text.text, text.len);
    }
    *out = digest_finish(&state);
    if (whole)
        return ERR_OK;
    return err_set(e, ERR_INVALID, "a bulk job's parts must follow each other without a gap");
}

enum { PART_COLUMNS = 5 };

static bool fill_parts(struct array columns[PART_COLUMNS], const struct ledger_part *parts,
                       size_t count)
{
    static const enum array_type TYPES[PART_COLUMNS] = { ARRAY_INT8, ARRAY_INT8, ARRAY_INT8,
                                                         ARRAY_INT4, ARRAY_TEXT };
    bool whole = true;

    for (size_t i = 0; i < PART_COLUMNS; i++)
        whole &= array_init(&columns[i], TYPES[i], count,
                            TYPES[i] == ARRAY_TEXT ? RECIPE_TEXT_MAX : sizeof(int64_t));
    for (size_t i = 0; whole && i < count; i++) {
        struct recipe_text text = recipe_text(&parts[i].recipe);

        array_add_int8(&columns[0], parts[i].item);
        array_add_int8(&columns[1], parts[i].first);
        array_add_int8(&columns[2], parts[i].last);
        array_add_int4(&columns[3], parts[i].class_mod);
        array_add_bytes(&columns[4], text.text, text.len);
    }
    return whole;
}

static enum err_code add_job(struct ledger *self, const struct ledger_job *job,
                             const struct digest *digest, const struct ledger_part *parts,
                             size_t count, PGresult **result, struct err *e)
{
    struct array columns[PART_COLUMNS];
    struct params p = { 0 };
    enum err_code rc;

    *result = NULL;
    if (fill_parts(columns, parts, count)) {
        params_text(&p, job->owner);
        params_text(&p, job->name);
        params_digest(&p, digest);
        params_text(&p, job->keep ? "image" : "provenance");
        params_int4(&p, job->priority);
        params_int4(&p, job->chunk);
        params_int8(&p, job->total);
        for (size_t i = 0; i < PART_COLUMNS; i++)
            params_array(&p, &columns[i]);
        rc = session_ask(self->session, &ADD_JOB, &p, result, e);
    } else
        rc = err_set(e, ERR_NOMEM, "no memory for a bulk job of %zu parts", count);
    for (size_t i = 0; i < PART_COLUMNS; i++)
        array_release(&columns[i]);
    return rc;
}

enum err_code ledger_bulk_submit(struct ledger *self, struct ledger_job *job,
                                 const struct ledger_part *parts, size_t count, bool *is_new,
                                 struct err *e)
{
    struct params p = { 0 };
    struct digest digest, theirs;
    PGresult *result = NULL;
    int64_t id = 0;
    size_t found;
    enum err_code rc = digest_job(job, parts, count, &digest, e);

    *is_new = false;
    params_text(&p, job->owner);
    params_text(&p, job->name);
    if (!rc)
        rc = session_call(self->session, &FIND_JOB, &p, &result, e);
    if (!rc && PQntuples(result) == 0) {
        PQclear(result);
        rc = add_job(self, job, &digest, parts, count, &result, e);
        *is_new = !rc && PQntuples(result) == 1;
        if (!rc && !*is_new) {      /* another was quicker */
            PQclear(result);
            rc = session_call(self->session, &FIND_JOB, &p, &result, e);
        }
    }
    if (!rc && PQntuples(result) == 1) {
        id = result_int8(result, 0, 0);
        theirs = result_digest(result, 0, 1);
        if (!digest_equal(&theirs, &digest))
            rc = err_set(e, ERR_CONFLICT, "bulk job \"%s\" (%" PRId64 ") has other content; give "
                         "this one another name", job->name, id);
    }
    PQclear(result);
    if (!rc)
        rc = ledger_bulk_list(self, id, "", job, 1, &found, e);
    return !rc && (id == 0 || found == 0)
               ? err_set(e, ERR_LEDGER_DOWN, "could not " WRITE ": the job was gone") : rc;
}

static void read_job(const PGresult *result, int row, struct ledger_job *job)
{
    *job = (struct ledger_job){
        .id = result_int8(result, row, JOB_ID), .state = bulk_read_state(result, row, JOB_STATE),
        .keep = result_bool(result, row, JOB_KEEP),
        .priority = result_int4(result, row, JOB_PRIORITY),
        .chunk = result_int4(result, row, JOB_CHUNK), .total = result_int8(result, row, JOB_TOTAL),
        .next = result_int8(result, row, JOB_NEXT), .done = result_int8(result, row, JOB_DONE),
        .failed = result_int8(result, row, JOB_FAILED),
        .leased = result_int8(result, row, JOB_LEASED),
        .exporter_ms = result_int8(result, row, JOB_EXPORTER),
        .picture_bytes = result_int8(result, row, JOB_BYTES),
        .model = result_digest(result, row, JOB_MODEL),
    };
    result_text(result, row, JOB_OWNER, job->owner, sizeof job->owner);
    result_text(result, row, JOB_NAME, job->name, sizeof job->name);
    result_text(result, row, JOB_CREATED, job->created, sizeof job->created);
    result_text(result, row, JOB_FINISHED, job->finished, sizeof job->finished);
}

enum err_code ledger_bulk_list(struct ledger *self, int64_t id, const char *name,
                               struct ledger_job *jobs, size_t max, size_t *count, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_int8(&p, id);
    *count = 0;
    params_text(&p, name);
    params_int8(&p, (int64_t)max);
    rc = session_call(self->session, &LIST_JOBS, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++)
        read_job(result, row, &jobs[(*count)++]);
    PQclear(result);
    return rc;
}

enum err_code ledger_bulk_picture_bytes(struct ledger *self, const struct digest *model,
                                        int64_t *bytes, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_digest(&p, model);
    rc = session_call(self->session, &MEAN_BYTES, &p, &result, e);
    *bytes = rc ? 0 : result_int8(result, 0, 0);
    PQclear(result);
    return rc;
}

static enum err_code read_part(const PGresult *result, int row, int64_t job,
                               struct ledger_part *part, struct err *e)
{
    part->item = result_int8(result, row, 0);
    part->first = (uint32_t)result_int8(result, row, 1);
    part->last = (uint32_t)result_int8(result, row, 2);
    part->class_mod = result_int4(result, row, 3);
    if (recipe_parse(PQgetvalue(result, row, 4), (size_t)PQgetlength(result, row, 4),
                     &part->recipe, NULL))
        return err_set(e, ERR_BUG, "item %" PRId64 " of bulk job %" PRId64 " begins a part whose "
                       "recipe cannot be read", part->item, job);
    return ERR_OK;
}

static enum err_code list_parts(struct ledger *self, const struct statement *statement,
                                const struct params *params, int64_t job,
                                struct ledger_part **parts, size_t *count, struct err *e)
{
    struct ledger_part *list = NULL;
    PGresult *result;
    enum err_code rc;
    int rows;

    *parts = NULL;
    *count = 0;
    rc = session_call(self->session, statement, params, &result, e);
    rows = rc ? 0 : PQntuples(result);
    if (!rc && rows == 0)
        rc = no_job(job, e);
    if (!rc && !(list = calloc((size_t)rows, sizeof *list)))
        rc = err_set(e, ERR_NOMEM, "no memory for a bulk job of %d parts", rows);
    for (int row = 0; !rc && row < rows; row++)
        rc = read_part(result, row, job, &list[row], e);
    if (!rc) {
        *parts = list;
        *count = (size_t)rows;
        list = NULL;
    }
    free(list);
    PQclear(result);
    return rc;
}

enum err_code ledger_bulk_parts(struct ledger *self, int64_t job, struct ledger_part **parts,
                                size_t *count, struct err *e)
{
    struct params p = { 0 };

    params_int8(&p, job);
    return list_parts(self, &LIST_PARTS, &p, job, parts, count, e);
}

enum err_code ledger_bulk_parts_of(struct ledger *self, const struct ledger_chunk *chunk,
                                   struct ledger_part **parts, size_t *count, struct err *e)
{
    struct params p = { 0 };

    params_int8(&p, chunk->job);
    params_int8(&p, chunk->item);
    params_int4(&p, chunk->count);
    return list_parts(self, &PARTS_OF, &p, chunk->job, parts, count, e);
}

enum err_code ledger_bulk_failures(struct ledger *self, int64_t job, int64_t after,
                                   struct ledger_failure *failures, size_t max, size_t *count,
                                   struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_int8(&p, job);
    *count = 0;
    params_int8(&p, after);
    params_int8(&p, (int64_t)max);
    rc = session_call(self->session, &LIST_FAILURES, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++) {
        struct ledger_failure *f = &failures[(*count)++];

        f->item = result_int8(result, row, 0);
        result_text(result, row, 1, f->code, sizeof f->code);
        result_text(result, row, 2, f->message, sizeof f->message);
    }
    PQclear(result);
    return rc;
}

/* ---- control ---- */

enum err_code bulk_lock_job(struct ledger *self, int64_t job, PGresult **result, struct err *e)
{
    struct params p = { 0 };
    enum err_code rc;

    params_int8(&p, job);
    rc = session_ask(self->session, &LOCK_JOB, &p, result, e);
    return !rc && PQntuples(*result) == 0 ? no_job(job, e) : rc;
}

static enum err_code check_control(const PGresult *row, int64_t job, const char *owner,
                                   enum ledger_bulk_state to, struct err *e)
{
    enum ledger_bulk_state from = bulk_read_state(row, 0, LOCK_STATE);
    bool again = from == LEDGER_BULK_DONE && to == LEDGER_BULK_RUNNING;
    char theirs[sizeof ((struct ledger_job *)0)->owner];

    result_text(row, 0, LOCK_OWNER, theirs, sizeof theirs);
    if (*owner && strcmp(owner, theirs) != 0)
        return err_set(e, ERR_DENIED, "bulk job %" PRId64 " is another's: its owner or a key with "
                       "the role admin may do this", job);
    if (from == to || again || (from == LEDGER_BULK_RUNNING && to == LEDGER_BULK_PAUSED) ||
        (from == LEDGER_BULK_PAUSED && to == LEDGER_BULK_RUNNING) ||
        (to == LEDGER_BULK_CANCELLED && from != LEDGER_BULK_DONE))
        return ERR_OK;
    return err_set(e, ERR_CONFLICT, "bulk job %" PRId64 " is %s and cannot become %s", job,
                   STATES[from], STATES[to]);
}

/* Its failed items are to be tried again. */
static enum err_code open_failed(struct ledger *self, int64_t job, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_int8(&p, job);
    rc = session_ask(self->session, &FORGET_FAILURES, &p, &result, e);
    if (!rc && strcmp(PQcmdTuples(result), "0") == 0)
        rc = err_set(e, ERR_CONFLICT, "bulk job %" PRId64 " is done, and nothing of it has failed",
                     job);
    PQclear(result);
    return rc ? rc : bulk_run(self, &OPEN_FAILED, &p, e);
}

enum err_code ledger_bulk_control(struct ledger *self, int64_t job, const char *owner,
                                  enum ledger_bulk_state to, struct err *e)
{
    struct params p = { 0 };
    PGresult *row = NULL;
    enum ledger_bulk_state from = to;
    enum err_code rc = bulk_begin(self, e);

    params_int8(&p, job);
    if (rc)
        return rc;
    rc = bulk_lock_job(self, job, &row, e);
    if (!rc)
        rc = check_control(row, job, owner, to, e);
    if (!rc)
        from = bulk_read_state(row, 0, LOCK_STATE);
    PQclear(row);
    params_text(&p, STATES[to]);
    if (!rc && from == LEDGER_BULK_DONE && to == LEDGER_BULK_RUNNING)
        rc = open_failed(self, job, e);
    if (!rc && from != to)
        rc = bulk_run(self, &SET_STATE, &p, e);
    return bulk_end(self, rc, e);
}
