#include "sql/ledger.h"

#include "sql/array.h"
#include "sql/ledger_self.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ "read the ledger"
#define WRITE "write to the ledger"

enum { KEYS_AT_ONCE = 1000 };       /* of one look: within a statement's time limit on a cold disk */

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
enum lock_column { LOCK_STATE, LOCK_OWNER, LOCK_KEEP, LOCK_TOTAL };
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

/* In turn: the next job after the one that had the last chunk of this connection, and round. */
static const struct statement PICK_JOB = {
    "pick_job", WRITE,
    "SELECT id FROM bulk_jobs j WHERE state = 'running' AND keep = 'image'"
    " AND id <> ALL ($1::bigint[])"
    " AND (next < total OR EXISTS (SELECT 1 FROM chunks c WHERE c.job_id = j.id"
    "                              AND c.state = 'leased' AND c.holder = ''))"
    " ORDER BY id <= $2::bigint, id LIMIT 1 FOR NO KEY UPDATE OF j"
};
#define CHUNK_COLUMNS "job_id, item, count, epoch, beat, holder"
enum chunk_column { CHUNK_JOB, CHUNK_ITEM, CHUNK_COUNT, CHUNK_EPOCH, CHUNK_BEAT, CHUNK_HOLDER };
static const struct statement TAKE_RETURNED = {
    "take_returned", WRITE,
    "UPDATE chunks SET holder = $2::text, epoch = epoch + 1, beat = 0"
    " WHERE job_id = $1::bigint AND item = (SELECT min(item) FROM chunks WHERE job_id = $1::bigint"
    "                                       AND state = 'leased' AND holder = '')"
    " RETURNING " CHUNK_COLUMNS
};
static const struct statement NEW_CHUNK = {
    "new_chunk", WRITE,
    "WITH new AS ("
    " INSERT INTO chunks (job_id, item, count, holder, state)"
    " SELECT id, next, least(chunk, total - next), $2::text, 'leased' FROM bulk_jobs"
    " WHERE id = $1::bigint AND next < total RETURNING " CHUNK_COLUMNS
    "), job AS ("
    " UPDATE bulk_jobs SET next = new.item + new.count FROM new WHERE id = new.job_id"
    ") SELECT " CHUNK_COLUMNS " FROM new"
};
static const struct statement LEASED_CHUNKS = {
    "leased_chunks", READ,
    "SELECT " CHUNK_COLUMNS " FROM chunks c WHERE state = 'leased' AND holder <> ''"
    " AND (job_id, item) > ($1::bigint, $2::bigint)"
    " AND EXISTS (SELECT 1 FROM bulk_jobs WHERE id = c.job_id AND state = 'running')"
    " ORDER BY job_id, item LIMIT $3::bigint"
};
/* Whatever a holder says names its epoch. */
#define OF_EPOCH " WHERE job_id = $1::bigint AND item = $2::bigint AND epoch = $3::bigint"        \
                 " AND state = 'leased'"
static const struct statement TAKE_CHUNK = {
    "take_chunk", WRITE,
    "UPDATE chunks SET holder = $5::text, epoch = epoch + 1, beat = 0"
    OF_EPOCH " AND beat = $4::bigint"
    " AND EXISTS (SELECT 1 FROM bulk_jobs WHERE id = $1::bigint AND state = 'running')"
    " RETURNING epoch"
};
static const struct statement RENEW_CHUNK = {
    "renew_chunk", WRITE,
    "WITH mine AS (UPDATE chunks SET beat = beat + 1" OF_EPOCH " RETURNING beat)"
    " SELECT j.state, (SELECT beat FROM mine) FROM bulk_jobs j WHERE j.id = $1::bigint"
};
static const struct statement RETURN_CHUNK = {
    "return_chunk", WRITE, "UPDATE chunks SET holder = '', epoch = epoch + 1" OF_EPOCH
};
static const struct statement PRESENT = {
    "present", READ,
    "SELECT k.n FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, n)"
    " WHERE EXISTS (SELECT 1 FROM images i WHERE i.key = k.key)"
};
static const struct statement END_CHUNK = {
    "end_chunk", WRITE,
    "UPDATE chunks SET state = 'done', done = $4::int, failed = $5::int" OF_EPOCH
};
static const struct statement ADD_FAILURES = {
    "add_failures", WRITE,
    "INSERT INTO bulk_failures (job_id, item, code, message)"
    " SELECT $1::bigint, f.* FROM unnest($2::bigint[], $3::text[], $4::text[]) f"
    " ON CONFLICT (job_id, item) DO UPDATE SET code = EXCLUDED.code, message = EXCLUDED.message"
};
/* Counted, not added up: every item in a chunk, no chunk open. */
static const struct statement END_JOB = {
    "end_job", WRITE,
    "UPDATE bulk_jobs SET state = 'done', finished = now()"
    " WHERE id = $1::bigint AND state IN ('running', 'paused')"
    " AND total = (SELECT sum(count) FROM chunks WHERE job_id = $1::bigint AND state = 'done')"
};
static const struct statement HEAR_EXPORTER = {
    "hear_exporter", WRITE, "UPDATE bulk_jobs SET exporter = now() WHERE id = $1::bigint"
};
static const struct statement OVERLAPPING = {
    "overlapping", WRITE,
    "SELECT item, count, state = 'done' FROM chunks WHERE job_id = $1::bigint"
    " AND item < $2::bigint + $3::int AND item + count > $2::bigint ORDER BY item"
};
static const struct statement PUT_EXPORTED = {
    "put_exported", WRITE,
    "INSERT INTO chunks (job_id, item, count, holder, state, done, failed)"
    " VALUES ($1::bigint, $2::bigint, $3::int, 'exporter', 'done', $4::int, $5::int)"
    " ON CONFLICT (job_id, item) DO UPDATE SET state = 'done', holder = 'exporter',"
    "  done = EXCLUDED.done, failed = EXCLUDED.failed"
};

/* ---- what all of them need ---- */

/* Without looking at the answer. */
static enum err_code run(struct ledger *self, const struct statement *statement,
                         const struct params *params, struct err *e)
{
    PGresult *result;
    enum err_code rc = session_ask(self->session, statement, params, &result, e);
    PQclear(result);
    return rc;
}

static enum err_code begin(struct ledger *self, struct err *e)
{
    enum err_code rc = session_ready(self->session, e);

    /* Nothing can be prepared any more within a transaction that has failed. */
    if (!rc)
        rc = session_prepare(self->session, &COMMIT_BULK, e);
    if (!rc)
        rc = session_prepare(self->session, &ROLLBACK_BULK, e);
    return rc ? rc : run(self, &BEGIN_BULK, NULL, e);
}

/* Commits, or rolls back after a failure, which it passes on. */
static enum err_code end(struct ledger *self, enum err_code rc, struct err *e)
{
    struct err ignored;
    PGresult *result;

    if (rc) {
        run(self, &ROLLBACK_BULK, NULL, &ignored);
        return rc;
    }
    rc = session_ask(self->session, &COMMIT_BULK, NULL, &result, e);
    if (!rc && strcmp(PQcmdStatus(result), "COMMIT") != 0)
        rc = err_set(e, ERR_LEDGER_DOWN, "could not " WRITE ": the transaction was rolled back");
    PQclear(result);
    return rc;
}

static enum ledger_bulk_state read_state(const PGresult *result, int row, int column)
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
    return whole ? ERR_OK
                 : err_set(e, ERR_INVALID, "a bulk job's parts must follow each other without a gap");
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
        .id = result_int8(result, row, JOB_ID), .state = read_state(result, row, JOB_STATE),
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

/* Within a transaction. *result is the caller's to PQclear, also on failure. */
static enum err_code lock_job(struct ledger *self, int64_t job, PGresult **result, struct err *e)
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
    enum ledger_bulk_state from = read_state(row, 0, LOCK_STATE);
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
    return rc ? rc : run(self, &OPEN_FAILED, &p, e);
}

enum err_code ledger_bulk_control(struct ledger *self, int64_t job, const char *owner,
                                  enum ledger_bulk_state to, struct err *e)
{
    struct params p = { 0 };
    PGresult *row = NULL;
    enum ledger_bulk_state from = to;
    enum err_code rc = begin(self, e);

    params_int8(&p, job);
    if (rc)
        return rc;
    rc = lock_job(self, job, &row, e);
    if (!rc)
        rc = check_control(row, job, owner, to, e);
    if (!rc)
        from = read_state(row, 0, LOCK_STATE);
    PQclear(row);
    params_text(&p, STATES[to]);
    if (!rc && from == LEDGER_BULK_DONE && to == LEDGER_BULK_RUNNING)
        rc = open_failed(self, job, e);
    if (!rc && from != to)
        rc = run(self, &SET_STATE, &p, e);
    return end(self, rc, e);
}

/* ---- leases ---- */

static void read_chunk(const PGresult *result, int row, struct ledger_chunk *chunk)
{
    *chunk = (struct ledger_chunk){
        .job = result_int8(result, row, CHUNK_JOB), .item = result_int8(result, row, CHUNK_ITEM),
        .count = result_int4(result, row, CHUNK_COUNT),
        .epoch = result_int8(result, row, CHUNK_EPOCH),
        .beat = result_int8(result, row, CHUNK_BEAT),
    };
    result_text(result, row, CHUNK_HOLDER, chunk->holder, sizeof chunk->holder);
}

/* A chunk of the job, whose row is locked: one that came back, else a new one. */
static enum err_code lease_of(struct ledger *self, int64_t job, const char *holder,
                              struct ledger_chunk *chunk, bool *found, struct err *e)
{
    const struct statement *const ways[] = { &TAKE_RETURNED, &NEW_CHUNK };
    struct params p = { 0 };
    enum err_code rc = ERR_OK;

    params_int8(&p, job);
    params_text(&p, holder);
    for (size_t i = 0; !rc && !*found && i < sizeof ways / sizeof ways[0]; i++) {
        PGresult *result;

        rc = session_ask(self->session, ways[i], &p, &result, e);
        *found = !rc && PQntuples(result) == 1;
        if (*found)
            read_chunk(result, 0, chunk);
        PQclear(result);
    }
    return rc;
}

static enum err_code pick_job(struct ledger *self, const int64_t *except, size_t count,
                              PGresult **picked, struct err *e)
{
    struct params p = { 0 };
    struct array array;
    enum err_code rc;

    *picked = NULL;
    if (array_init(&array, ARRAY_INT8, count, sizeof(int64_t))) {
        for (size_t i = 0; i < count; i++)
            array_add_int8(&array, except[i]);
        params_array(&p, &array);
        params_int8(&p, self->bulk_turn);
        rc = session_ask(self->session, &PICK_JOB, &p, picked, e);
    } else
        rc = err_set(e, ERR_NOMEM, "no memory for %zu bulk jobs", count);
    array_release(&array);
    return rc;
}

enum err_code ledger_bulk_lease(struct ledger *self, const int64_t *except, size_t count,
                                const char *holder, struct ledger_chunk *chunk, bool *found,
                                struct err *e)
{
    PGresult *picked;
    enum err_code rc = begin(self, e);

    *found = false;
    if (rc)
        return rc;
    rc = pick_job(self, except, count, &picked, e);
    if (!rc && PQntuples(picked) == 1)
        rc = lease_of(self, result_int8(picked, 0, 0), holder, chunk, found, e);
    PQclear(picked);
    rc = end(self, rc, e);
    *found = *found && !rc;
    if (*found)
        self->bulk_turn = chunk->job;
    return rc;
}

enum err_code ledger_bulk_leased(struct ledger *self, const struct ledger_chunk *after,
                                 struct ledger_chunk *chunks, size_t max, size_t *count,
                                 struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_int8(&p, after->job);
    *count = 0;
    params_int8(&p, after->item);
    params_int8(&p, (int64_t)max);
    rc = session_call(self->session, &LEASED_CHUNKS, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++)
        read_chunk(result, row, &chunks[(*count)++]);
    PQclear(result);
    return rc;
}

static void add_chunk(struct params *params, const struct ledger_chunk *chunk)
{
    params_int8(params, chunk->job);
    params_int8(params, chunk->item);
    params_int8(params, chunk->epoch);
}

enum err_code ledger_bulk_take(struct ledger *self, const char *holder, struct ledger_chunk *chunk,
                               bool *won, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    add_chunk(&p, chunk);
    params_int8(&p, chunk->beat);
    params_text(&p, holder);
    rc = session_call(self->session, &TAKE_CHUNK, &p, &result, e);
    *won = !rc && PQntuples(result) == 1;
    if (*won) {
        chunk->epoch = result_int8(result, 0, 0);
        chunk->beat = 0;
        snprintf(chunk->holder, sizeof chunk->holder, "%s", holder);
    }
    PQclear(result);
    return rc;
}

enum err_code ledger_bulk_renew(struct ledger *self, struct ledger_chunk *chunks, size_t count,
                                enum ledger_bulk_state *states, bool *held, struct err *e)
{
    enum err_code rc = session_ready(self->session, e);

    for (size_t i = 0; !rc && i < count; i++) {
        struct params p = { 0 };
        PGresult *result;

        add_chunk(&p, &chunks[i]);
        rc = session_ask(self->session, &RENEW_CHUNK, &p, &result, e);
        held[i] = !rc && PQntuples(result) == 1 && !result_is_null(result, 0, 1);
        states[i] = !rc && PQntuples(result) == 1 ? read_state(result, 0, 0)
                                                  : LEDGER_BULK_CANCELLED;
        if (held[i])
            chunks[i].beat = result_int8(result, 0, 1);
        PQclear(result);
    }
    return rc;
}

enum err_code ledger_bulk_return(struct ledger *self, const struct ledger_chunk *chunk,
                                 struct err *e)
{
    struct params p = { 0 };
    enum err_code rc = session_ready(self->session, e);

    add_chunk(&p, chunk);
    return rc ? rc : run(self, &RETURN_CHUNK, &p, e);
}

static enum err_code look_for(struct ledger *self, const struct digest *keys, size_t count,
                              bool *present, struct err *e)
{
    struct params p = { 0 };
    struct array array;
    PGresult *result = NULL;
    enum err_code rc;

    memset(present, 0, count * sizeof *present);
    if (array_init(&array, ARRAY_BYTEA, count, DIGEST_LEN)) {
        for (size_t i = 0; i < count; i++)
            array_add_bytes(&array, keys[i].bytes, DIGEST_LEN);
        params_array(&p, &array);
        rc = session_call(self->session, &PRESENT, &p, &result, e);
    } else
        rc = err_set(e, ERR_NOMEM, "no memory for a look-up of %zu keys", count);
    for (int row = 0; !rc && row < PQntuples(result); row++) {
        int64_t number = result_int8(result, row, 0);

        if (number >= 1 && (size_t)number <= count)
            present[number - 1] = true;
    }
    PQclear(result);
    array_release(&array);
    return rc;
}

enum err_code ledger_bulk_present(struct ledger *self, const struct digest *keys, size_t count,
                                  bool *present, struct err *e)
{
    enum err_code rc = ERR_OK;

    if (count > LEDGER_CHUNK_MAX)
        return err_set(e, ERR_BUG, "%zu keys in one look-up, %d fit", count, LEDGER_CHUNK_MAX);
    for (size_t i = 0; !rc && i < count; i += KEYS_AT_ONCE)
        rc = look_for(self, keys + i, count - i < KEYS_AT_ONCE ? count - i : KEYS_AT_ONCE,
                      present + i, e);
    return rc;
}

/* ---- the end of a chunk ---- */

static int count_of(const bool *flags, size_t count)
{
    int n = 0;
    for (size_t i = 0; i < count; i++)
        n += flags[i];
    return n;
}

static enum err_code add_failures(struct ledger *self, int64_t job,
                                  const struct ledger_failure *failures, size_t count,
                                  struct err *e)
{
    struct params p = { 0 };
    struct array items, codes, words;
    enum err_code rc;

    if (count == 0)
        return ERR_OK;
    bool whole = array_init(&items, ARRAY_INT8, count, sizeof(int64_t));

    whole &= array_init(&codes, ARRAY_TEXT, count, sizeof failures->code);
    whole &= array_init(&words, ARRAY_TEXT, count, sizeof failures->message);
    if (whole) {
        for (size_t i = 0; i < count; i++) {
            array_add_int8(&items, failures[i].item);
            array_add_bytes(&codes, failures[i].code, strlen(failures[i].code));
            array_add_bytes(&words, failures[i].message, strlen(failures[i].message));
        }
        params_int8(&p, job);
        params_array(&p, &items);
        params_array(&p, &codes);
        params_array(&p, &words);
        rc = run(self, &ADD_FAILURES, &p, e);
    } else
        rc = err_set(e, ERR_NOMEM, "no memory for %zu failures", count);
    array_release(&items);
    array_release(&codes);
    array_release(&words);
    return rc;
}

/* The failures of items that have no row after all, in out[0..count of the chunk). ERR_CONFLICT: an
 * item has neither. */
static enum err_code sift(const struct ledger_chunk *chunk, const bool *present,
                          const struct ledger_failure *failures, size_t count,
                          struct ledger_failure *out, size_t *out_count, struct err *e)
{
    bool settled[LEDGER_CHUNK_MAX];

    *out_count = 0;
    memcpy(settled, present, (size_t)chunk->count * sizeof settled[0]);
    for (size_t i = 0; i < count; i++) {
        int64_t at = failures[i].item - chunk->item;

        if (at < 0 || at >= chunk->count)
            return err_set(e, ERR_CONFLICT, "item %" PRId64 " is not of the chunk at %" PRId64,
                           failures[i].item, chunk->item);
        if (settled[at])
            continue;
        settled[at] = true;
        out[(*out_count)++] = failures[i];
    }
    for (int at = 0; at < chunk->count; at++)
        if (!settled[at])
            return err_set(e, ERR_CONFLICT, "item %" PRId64 " of bulk job %" PRId64 " has neither "
                           "a row nor a failure", chunk->item + at, chunk->job);
    return ERR_OK;
}

/* One transaction, the job's row locked. */
static enum err_code end_chunk(struct ledger *self, const struct ledger_chunk *chunk,
                               const struct ledger_failure *failures, size_t failed, bool *held,
                               struct err *e)
{
    struct params p = { 0 }, job = { 0 };
    PGresult *result = NULL;
    enum err_code rc = begin(self, e);

    add_chunk(&p, chunk);
    params_int8(&job, chunk->job);
    if (rc)
        return rc;
    rc = lock_job(self, chunk->job, &result, e);
    PQclear(result);
    result = NULL;
    params_int4(&p, chunk->count - (int)failed);
    params_int4(&p, (int)failed);
    if (!rc)
        rc = session_ask(self->session, &END_CHUNK, &p, &result, e);
    *held = !rc && strcmp(PQcmdTuples(result), "1") == 0;
    PQclear(result);
    if (!rc && *held)
        rc = add_failures(self, chunk->job, failures, failed, e);
    if (!rc && *held)
        rc = run(self, &END_JOB, &job, e);
    rc = end(self, rc, e);
    *held = *held && !rc;
    return rc;
}

enum err_code ledger_bulk_finish(struct ledger *self, const struct ledger_chunk *chunk,
                                 const struct digest *keys, const struct ledger_failure *failures,
                                 size_t failure_count, bool *held, struct err *e)
{
    bool present[LEDGER_CHUNK_MAX];
    struct ledger_failure *real;
    size_t failed;
    enum err_code rc;

    *held = false;
    if (chunk->count < 1 || chunk->count > LEDGER_CHUNK_MAX)
        return err_set(e, ERR_BUG, "a chunk of %d items", chunk->count);
    real = calloc((size_t)chunk->count, sizeof *real);
    if (!real)
        return err_set(e, ERR_NOMEM, "no memory for the end of a chunk");
    /* Before the transaction: rows do not go away again. */
    rc = ledger_bulk_present(self, keys, (size_t)chunk->count, present, e);
    if (!rc)
        rc = sift(chunk, present, failures, failure_count, real, &failed, e);
    if (!rc)
        rc = end_chunk(self, chunk, real, failed, held, e);
    free(real);
    return rc;
}

/* ---- what an exporter says ---- */

/* Items [item, item + count) that were in no done chunk: a chunk of their own, done. present: of
 * them. */
static enum err_code put_exported(struct ledger *self, int64_t job, int64_t item, int count,
                                  const bool *present, struct err *e)
{
    struct params p = { 0 };
    int done = count_of(present, (size_t)count);
    struct ledger_failure *failures = calloc((size_t)count, sizeof *failures);
    size_t failed = 0;
    enum err_code rc;

    params_int8(&p, job);
    if (!failures)
        return err_set(e, ERR_NOMEM, "no memory for %d failures", count);
    for (int i = 0; i < count; i++)
        if (!present[i])
            failures[failed++] = (struct ledger_failure){
                .item = item + i, .code = "not_found",
                .message = "the exporter went on without this picture: it was never stored",
            };
    params_int8(&p, item);
    params_int4(&p, count);
    params_int4(&p, done);
    params_int4(&p, count - done);
    rc = run(self, &PUT_EXPORTED, &p, e);
    if (!rc)
        rc = add_failures(self, job, failures, failed, e);
    free(failures);
    return rc;
}

/* Shards may be cut anew between two tries, so that ranges overlap: what lies in a done chunk stays
 * as it was counted, the gaps between them become chunks. One that was opened again (its failures
 * are tried anew) is counted anew when it is covered whole. */
static enum err_code fill_gaps(struct ledger *self, int64_t job, int64_t item, int count,
                               const bool *present, struct err *e)
{
    struct params p = { 0 };
    int64_t at = item;
    PGresult *result;
    enum err_code rc;

    params_int8(&p, job);
    params_int8(&p, item);
    params_int4(&p, count);
    rc = session_ask(self->session, &OVERLAPPING, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++) {
        int64_t first = result_int8(result, row, 0);
        int of = result_int4(result, row, 1);

        if (first > at)
            rc = put_exported(self, job, at, (int)(first - at), present + (at - item), e);
        if (!rc && !result_bool(result, row, 2) && first >= item && first + of <= item + count)
            rc = put_exported(self, job, first, of, present + (first - item), e);
        at = first + of;
    }
    PQclear(result);
    if (!rc && at < item + count)
        rc = put_exported(self, job, at, (int)(item + count - at), present + (at - item), e);
    return rc;
}

static enum err_code check_exported(const PGresult *row, int64_t job, int64_t item, int count,
                                    struct err *e)
{
    int64_t total = result_int8(row, 0, LOCK_TOTAL);

    if (result_bool(row, 0, LOCK_KEEP))
        return err_set(e, ERR_CONFLICT, "bulk job %" PRId64 " keeps its pictures: brokers make "
                       "them, and say themselves what is done", job);
    if (item < 0 || item + count > total)
        return err_set(e, ERR_RANGE, "bulk job %" PRId64 " has %" PRId64 " items, not %d from "
                       "%" PRId64 " on", job, total, count, item);
    if (read_state(row, 0, LOCK_STATE) == LEDGER_BULK_CANCELLED)
        return err_set(e, ERR_CONFLICT, "bulk job %" PRId64 " is cancelled", job);
    return ERR_OK;
}

enum err_code ledger_bulk_exported(struct ledger *self, int64_t job, int64_t item, int count,
                                   const struct digest *keys, struct err *e)
{
    struct params p = { 0 };
    bool present[LEDGER_CHUNK_MAX];
    PGresult *row = NULL;
    enum err_code rc;

    params_int8(&p, job);
    if (count < 0 || count > LEDGER_CHUNK_MAX)
        return err_set(e, ERR_BUG, "%d exported items at once, %d fit", count, LEDGER_CHUNK_MAX);
    rc = ledger_bulk_present(self, keys, (size_t)count, present, e);
    if (!rc)
        rc = begin(self, e);
    if (rc)
        return rc;
    rc = lock_job(self, job, &row, e);
    if (!rc && count > 0)
        rc = check_exported(row, job, item, count, e);
    PQclear(row);
    if (!rc)
        rc = run(self, &HEAR_EXPORTER, &p, e);
    if (!rc && count > 0)
        rc = fill_gaps(self, job, item, count, present, e);
    if (!rc && count > 0)
        rc = run(self, &END_JOB, &p, e);
    return end(self, rc, e);
}
