/* Two steps. The tombstone is committed under lock 7301, taken alone: every writer holds it shared
 * from before its insert to its commit, so a writer either committed before (then the second step
 * sees its row) or finds the tombstone. After that nobody can add a file of the subject, and files
 * are removed in small transactions without the lock: writers of other pictures go on meanwhile. */
#include "sql/ledger_withdraw.h"

#include "sql/ledger_self.h"

#include <string.h>

#define WITHDRAW "withdraw a picture"

static const struct statement SUBJECT_OF_KEY = {
    "subject_of_key", WITHDRAW, "SELECT subject FROM images WHERE key = $1::bytea"
};
/* Two are enough to know that it is not one. */
static const struct statement SUBJECT_OF_FILE = {
    "subject_of_file", WITHDRAW,
    "SELECT DISTINCT subject FROM images WHERE file_sha = $1::bytea LIMIT 2"
};
static const struct statement BEGIN_WITHDRAW = { "begin_withdraw", WITHDRAW, "BEGIN" };
static const struct statement LOCK_WITHDRAW = {
    "lock_withdraw", WITHDRAW, "SELECT pg_advisory_xact_lock(7301)"
};
static const struct statement ADD_TOMBSTONE = {
    "add_tombstone", WITHDRAW,
    "INSERT INTO withdrawn (subject, reason) VALUES ($1::bytea, $2::text)"
    " ON CONFLICT (subject) DO NOTHING"
};
static const struct statement TELL_WITHDRAWN = {
    "tell_withdrawn", WITHDRAW,
    "SELECT pg_notify('seedpress_withdrawn', encode($1::bytea, 'hex'))"
};
static const struct statement COMMIT_WITHDRAW = { "commit_withdraw", WITHDRAW, "COMMIT" };
/* In the order of keys, as writers lock. What lies in blobs goes whatever images says of it. */
static const struct statement REMOVE_FILES = {
    "remove_files", WITHDRAW,
    "WITH chosen AS ("
    " SELECT i.key FROM images i WHERE i.subject = $1::bytea"
    "  AND (i.kept OR EXISTS (SELECT 1 FROM blobs b WHERE b.key = i.key))"
    " ORDER BY i.key LIMIT $2::bigint FOR UPDATE"
    "), file AS ("
    " DELETE FROM blobs b USING chosen c WHERE b.key = c.key"
    ") UPDATE images i SET kept = false"
    " FROM chosen c WHERE i.key = c.key"
};
static const struct statement COUNT_SUBJECT = {
    "count_subject", WITHDRAW, "SELECT count(*) FROM images WHERE subject = $1::bytea"
};

static enum err_code find_subject(struct ledger *self, enum ledger_by by,
                                  const struct digest *digest, struct digest *subject,
                                  struct err *e)
{
    const struct statement *find = by == LEDGER_BY_KEY ? &SUBJECT_OF_KEY : &SUBJECT_OF_FILE;
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_digest(&p, digest);
    rc = session_ask(self->session, find, &p, &result, e);
    if (rc)
        return rc;
    if (PQntuples(result) == 0)
        rc = err_set(e, ERR_NOT_FOUND, "no picture is stored under that %s: nothing was withdrawn",
                     by == LEDGER_BY_KEY ? "recipe key" : "file hash");
    else if (PQntuples(result) > 1)
        rc = err_set(e, ERR_CONFLICT, "several subjects have that very file: name the one that is "
                     "meant by its recipe key");
    else
        *subject = result_digest(result, 0, 0);
    PQclear(result);
    return rc;
}

/* Sends and reads one statement after another: the lock is waited for at its place. */
static enum err_code add_tombstone(struct ledger *self, const struct digest *subject,
                                   const char *reason, struct err *e)
{
    static const struct statement *const STEPS[] = {
        &BEGIN_WITHDRAW, &LOCK_WITHDRAW, &ADD_TOMBSTONE, &TELL_WITHDRAWN, &COMMIT_WITHDRAW
    };
    enum err_code rc = ERR_OK;
    bool committed = false;

    for (size_t i = 0; !rc && i < sizeof STEPS / sizeof STEPS[0]; i++) {
        struct params p = { 0 };
        PGresult *result;

        if (STEPS[i] == &ADD_TOMBSTONE || STEPS[i] == &TELL_WITHDRAWN)
            params_digest(&p, subject);
        if (STEPS[i] == &ADD_TOMBSTONE)
            params_text(&p, reason);
        rc = session_ask(self->session, STEPS[i], &p, &result, e);
        committed = !rc && STEPS[i] == &COMMIT_WITHDRAW &&
                    strcmp(PQcmdStatus(result), "COMMIT") == 0;
        PQclear(result);
    }
    if (!rc && !committed)
        rc = err_set(e, ERR_LEDGER_DOWN, "could not " WITHDRAW ": the transaction was rolled back");
    if (rc)
        ledger_rollback(self);
    return rc;
}

static enum err_code remove_files(struct ledger *self, struct ledger_withdrawal *out,
                                  struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    int64_t count = 0;
    enum err_code rc;

    params_digest(&p, &out->subject);
    params_int8(&p, LEDGER_WITHDRAW_FILES_MAX);
    rc = session_ask(self->session, &REMOVE_FILES, &p, &result, e);
    if (!rc)
        count = ledger_rows_changed(result);
    PQclear(result);
    out->files += count;
    out->more = count == LEDGER_WITHDRAW_FILES_MAX;
    return rc;
}

/* What lay in segments, which no row keeps any more. */
static enum err_code erase_files(struct ledger *self, struct ledger_withdrawal *out, struct err *e)
{
    size_t erased;

    return ledger_erase(self, &out->subject, &erased, &out->more, e);
}

static enum err_code count_pictures(struct ledger *self, struct ledger_withdrawal *out,
                                    struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    params_digest(&p, &out->subject);
    rc = session_ask(self->session, &COUNT_SUBJECT, &p, &result, e);
    if (!rc)
        out->pictures = result_int8(result, 0, 0);
    PQclear(result);
    return rc;
}

enum err_code ledger_withdraw(struct ledger *self, enum ledger_by by, const struct digest *digest,
                              const char *reason, struct ledger_withdrawal *out, struct err *e)
{
    size_t len = strlen(reason);
    enum err_code rc;

    if (by != LEDGER_BY_KEY && by != LEDGER_BY_FILE_SHA)
        return err_set(e, ERR_INVALID, "a recipe key or a file hash says what is withdrawn");
    if (len == 0 || len > LEDGER_REASON_MAX)
        return err_set(e, ERR_INVALID, "a reason for a withdrawal has 1 to %d bytes, not %zu",
                       LEDGER_REASON_MAX, len);
    rc = session_ready(self->session, e);
    if (!rc)
        rc = find_subject(self, by, digest, &out->subject, e);
    if (!rc && !out->more)
        rc = add_tombstone(self, &out->subject, reason, e);
    if (!rc)
        rc = remove_files(self, out, e);
    if (!rc && !out->more)
        rc = erase_files(self, out, e);
    if (rc || out->more)
        return rc;
    rc = count_pictures(self, out, e);
    return rc ? rc : ledger_find_subject(self, &out->subject, LEDGER_WITHDRAW_ROWS_MAX, &out->rows,
                                         e);
}
