#include "sql/ledger_lost.h"

#include "sql/ledger_self.h"

#define LOST "look for lost files"

/* A page is cut before anything is filtered, so that each costs the same. */
static const struct statement LOST_PAGE = {
    "lost_page", LOST,
    "SELECT p.key, m.digest, p.seed, p.psi, o.text, p.file_sha,"
    " m.id IS NOT NULL AND o.id IS NOT NULL"
    " AND ($3::bytea IS NULL OR m.digest = $3::bytea)"
    " AND ($4::bigint = 0 OR coalesce(p.job_id, 0) = $4::bigint)"
    " AND p.created >= to_timestamp($5::bigint) AND w.subject IS NULL"
    " AND (p.kept OR $6::boolean) AND p.segment IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM blobs b WHERE b.key = p.key)"
    " FROM (SELECT * FROM images WHERE key > $1::bytea ORDER BY key LIMIT $2::bigint) p"
    " LEFT JOIN models m ON m.id = p.model_id"
    " LEFT JOIN options o ON o.id = p.options_id"
    " LEFT JOIN withdrawn w ON w.subject = p.subject"
    " ORDER BY p.key"
};
enum lost_column { LOST_KEY, LOST_MODEL, LOST_SEED, LOST_PSI, LOST_OPTIONS, LOST_FILE_SHA,
                   LOST_WANTED };

static const struct statement LOST_AGAIN = {
    "lost_again", LOST,
    "SELECT NOT EXISTS (SELECT 1 FROM images p WHERE p.key = $1::bytea AND p.kept"
    " AND (p.segment IS NOT NULL OR EXISTS (SELECT 1 FROM blobs b WHERE b.key = p.key)))"
};

static enum err_code ask(struct ledger *self, const struct ledger_lost *lost, PGresult **page,
                         struct err *e)
{
    struct params p = { 0 };

    params_bytes(&p, lost->after.bytes, lost->has_after ? DIGEST_LEN : 0);
    params_int8(&p, LEDGER_LOST_PAGE);
    if (lost->one_model)
        params_digest(&p, &lost->model);
    else
        params_null(&p);
    params_int8(&p, lost->job);
    params_int8(&p, lost->since_s);
    params_bool(&p, lost->pruned);
    return session_call(self->session, &LOST_PAGE, &p, page, e);
}

static bool read_row(const PGresult *page, int line, struct ledger_lost_row *row)
{
    struct digest model = result_digest(page, line, LOST_MODEL), key;

    row->key = result_digest(page, line, LOST_KEY);
    row->file_sha = result_digest(page, line, LOST_FILE_SHA);
    if (!result_bool(page, line, LOST_WANTED) ||
        !ledger_recipe(&model, result_int8(page, line, LOST_SEED),
                       result_int4(page, line, LOST_PSI), PQgetvalue(page, line, LOST_OPTIONS),
                       &row->recipe))
        return false;
    key = recipe_key(&row->recipe);
    return digest_equal(&key, &row->key);
}

enum err_code ledger_lost_page(struct ledger *self, struct ledger_lost *lost, struct err *e)
{
    PGresult *page;
    enum err_code rc = ask(self, lost, &page, e);
    int count = rc ? 0 : PQntuples(page);

    if (rc)
        return rc;
    lost->count = 0;
    for (int line = 0; line < count && line < LEDGER_LOST_PAGE; line++)
        lost->count += read_row(page, line, &lost->rows[lost->count]);
    lost->done = count < LEDGER_LOST_PAGE;
    if (count > 0) {
        lost->after = result_digest(page, count - 1, LOST_KEY);
        lost->has_after = true;
    }
    PQclear(page);
    return ERR_OK;
}

/* By what the tables say now, not by what became of a request. */
enum err_code ledger_lost_again(struct ledger *self, struct ledger_lost *lost, struct err *e)
{
    size_t left = 0;
    enum err_code rc = ERR_OK;

    for (size_t i = 0; !rc && i < lost->count; i++) {
        struct params p = { 0 };
        PGresult *result;

        params_digest(&p, &lost->rows[i].key);
        rc = session_call(self->session, &LOST_AGAIN, &p, &result, e);
        if (!rc && result_bool(result, 0, 0))
            lost->rows[left++] = lost->rows[i];
        PQclear(result);
    }
    if (!rc)
        lost->count = left;
    return rc;
}
