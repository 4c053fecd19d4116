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

enum { KEYS_AT_ONCE = 1000 };       /* within a statement's time limit on a cold disk */

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
    enum err_code rc = bulk_begin(self, e);

    *found = false;
    if (rc)
        return rc;
    rc = pick_job(self, except, count, &picked, e);
    if (!rc && PQntuples(picked) == 1)
        rc = lease_of(self, result_int8(picked, 0, 0), holder, chunk, found, e);
    PQclear(picked);
    rc = bulk_end(self, rc, e);
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
        states[i] = !rc && PQntuples(result) == 1 ? bulk_read_state(result, 0, 0)
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
    return rc ? rc : bulk_run(self, &RETURN_CHUNK, &p, e);
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
        rc = bulk_run(self, &ADD_FAILURES, &p, e);
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
    enum err_code rc = bulk_begin(self, e);

    add_chunk(&p, chunk);
    params_int8(&job, chunk->job);
    if (rc)
        return rc;
    rc = bulk_lock_job(self, chunk->job, &result, e);
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
        rc = bulk_run(self, &END_JOB, &job, e);
    rc = bulk_end(self, rc, e);
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
    rc = bulk_run(self, &PUT_EXPORTED, &p, e);
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
    if (bulk_read_state(row, 0, LOCK_STATE) == LEDGER_BULK_CANCELLED)
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
        rc = bulk_begin(self, e);
    if (rc)
        return rc;
    rc = bulk_lock_job(self, job, &row, e);
    if (!rc && count > 0)
        rc = check_exported(row, job, item, count, e);
    PQclear(row);
    if (!rc)
        rc = bulk_run(self, &HEAR_EXPORTER, &p, e);
    if (!rc && count > 0)
        rc = fill_gaps(self, job, item, count, present, e);
    if (!rc && count > 0)
        rc = bulk_run(self, &END_JOB, &p, e);
    return bulk_end(self, rc, e);
}
