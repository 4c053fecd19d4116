#include "sql/ledger.h"

#include "sql/ledger_self.h"

#include <endian.h>
#include <string.h>

#define READ "read the ledger"

/* Always a row, for the horizon: it must be the snapshot's that read the others. */
static const struct statement LIKENESSES = {
    "likenesses", READ,
    "SELECT pg_snapshot_xmin(s.now)::text::bigint, pg_snapshot_xmax(s.now)::text::bigint, l.id,"
    "       l.hashes"
    " FROM (SELECT pg_current_snapshot() AS now) s"
    " LEFT JOIN (SELECT id, hashes FROM likenesses WHERE id BETWEEN $1::bigint AND $2::bigint"
    "            ORDER BY id LIMIT $3::bigint) l ON true"
    " ORDER BY l.id"
};
static const struct statement NEWEST_LIKENESS = {
    "newest_likeness", READ, "SELECT coalesce(max(id), 0) FROM likenesses"
};
static const struct statement LIKENESS_KEY = {
    "likeness_key", READ, "SELECT key FROM likenesses WHERE id = $1::bigint"
};

enum likeness_column { LIKENESS_OLDEST, LIKENESS_NEXT, LIKENESS_ID, LIKENESS_HASHES };

/* What does not fit is cut: more hashes than a picture may have were not written by this
 * program. */
static void read_hashes(const PGresult *result, int line, struct ledger_likeness *out)
{
    const char *bytes = PQgetvalue(result, line, LIKENESS_HASHES);

    out->id = result_int8(result, line, LIKENESS_ID);
    out->count = (size_t)PQgetlength(result, line, LIKENESS_HASHES) / sizeof out->hashes[0];
    out->count = out->count < LEDGER_LIKENESS_MAX ? out->count : LEDGER_LIKENESS_MAX;
    for (size_t i = 0; i < out->count; i++) {
        uint64_t big_endian;

        memcpy(&big_endian, bytes + i * sizeof big_endian, sizeof big_endian);
        out->hashes[i] = be64toh(big_endian);
    }
}

enum err_code ledger_likenesses(struct ledger *self, int64_t first, int64_t last,
                                struct ledger_likeness *rows, size_t max, size_t *count,
                                struct ledger_horizon *horizon, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    *count = 0;
    params_int8(&p, first);
    params_int8(&p, last);
    params_int8(&p, (int64_t)max);
    rc = session_call(self->session, &LIKENESSES, &p, &result, e);
    if (!rc)
        *horizon = (struct ledger_horizon){ result_int8(result, 0, LIKENESS_OLDEST),
                                            result_int8(result, 0, LIKENESS_NEXT) };
    for (int line = 0; !rc && line < PQntuples(result); line++)
        if (!result_is_null(result, line, LIKENESS_ID))
            read_hashes(result, line, &rows[(*count)++]);
    PQclear(result);
    return rc;
}

enum err_code ledger_likeness_newest(struct ledger *self, int64_t *id, struct err *e)
{
    PGresult *result;
    enum err_code rc = session_call(self->session, &NEWEST_LIKENESS, NULL, &result, e);

    *id = rc ? 0 : result_int8(result, 0, 0);
    PQclear(result);
    return rc;
}

enum err_code ledger_likeness_keys(struct ledger *self, const int64_t *ids, size_t count,
                                   struct digest *keys, struct err *e)
{
    struct err later;
    enum err_code rc, code;
    size_t sent = 0;

    if (count > LEDGER_BATCH_MAX)
        return err_set(e, ERR_BUG, "%zu ids in one look-up, %d fit", count, LEDGER_BATCH_MAX);
    memset(keys, 0, count * sizeof *keys);
    rc = session_ready(self->session, e);
    if (!rc)
        rc = session_prepare(self->session, &LIKENESS_KEY, e);
    for (; !rc && sent < count; sent += !rc) {
        struct params p = { 0 };

        params_int8(&p, ids[sent]);
        rc = session_send(self->session, &LIKENESS_KEY, &p, e);
    }
    for (size_t i = 0; i < sent; i++) {
        PGresult *result;

        code = session_result(self->session, &result, rc ? &later : e);
        rc = rc ? rc : code;
        if (!rc && PQntuples(result) > 0)
            keys[i] = result_digest(result, 0, 0);
        PQclear(result);
    }
    return rc;
}
