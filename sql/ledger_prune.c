#include "sql/ledger_prune.h"

#include "base/clock.h"
#include "sql/ledger_self.h"

#include <string.h>

#define PRUNE "prune the ledger"
#define AT(param) "'epoch'::timestamptz + " param "::bigint * interval '1 microsecond'"
#define MICROSECONDS(time) "(extract(epoch FROM " time ") * 1000000)::bigint"

static const int64_t DAY_US = 86400LL * 1000000;

enum {
    FAST_MS = 100, SLOW_MS = 500,   /* a statement: below the window grows, above it shrinks */
    WINDOW_MIN_US = 1000000, WINDOW_FIRST_US = 600 * 1000000,
    DAYS_MAX = 36500,
};

static const struct statement RULES = {
    "rules", PRUNE,
    "SELECT m.digest, coalesce(t.days, 0), coalesce(t.bytes, 0)"
    " FROM retention t JOIN models m ON m.id = t.model_id ORDER BY m.digest LIMIT $1::bigint"
};
static const struct statement SET_RULE = {
    "set_rule", PRUNE,
    "INSERT INTO retention (model_id, days, bytes)"
    " SELECT id, nullif($2::int, 0), nullif($3::bigint, 0) FROM models WHERE digest = $1::bytea"
    " ON CONFLICT (model_id) DO UPDATE SET days = EXCLUDED.days, bytes = EXCLUDED.bytes"
};
static const struct statement DROP_RULE = {
    "drop_rule", PRUNE,
    "DELETE FROM retention t USING models m WHERE m.id = t.model_id AND m.digest = $1::bytea"
};
/* No picture of a model is older than its model. */
static const struct statement SPAN = {
    "span", PRUNE,
    "SELECT " MICROSECONDS("created") ", " MICROSECONDS("now()") " FROM models"
    " WHERE digest = $1::bytea"
};
#define OF_WINDOW                                                                                  \
    " FROM images WHERE created >= " AT("$2") " AND created < " AT("$3")                           \
    " AND model_id = (SELECT id FROM models WHERE digest = $1::bytea) AND kept"
static const struct statement WINDOW_BYTES = {
    "window_bytes", PRUNE, "SELECT count(*), coalesce(sum(bytes), 0)::bigint" OF_WINDOW
};
/* The oldest moment such that the files from then to the window's end fill at most $4 bytes. What
 * was stored at one moment stays or goes together: the frame of a sum holds its peers. */
static const struct statement WINDOW_CUT = {
    "window_cut", PRUNE,
    "SELECT " MICROSECONDS("min(created)") " FROM"
    " (SELECT created, sum(bytes) OVER (ORDER BY created DESC) AS filled" OF_WINDOW ") f"
    " WHERE filled <= $4::bigint"
};
/* Chosen by age, locked in the order of keys, as writers and withdrawals lock. */
static const struct statement PRUNE_WINDOW = {
    "prune_window", PRUNE,
    "WITH chosen AS MATERIALIZED ("
    " SELECT key" OF_WINDOW " ORDER BY created, key LIMIT $4::bigint"
    "), locked AS MATERIALIZED ("
    " SELECT i.key FROM images i JOIN chosen c ON c.key = i.key WHERE i.kept"
    " ORDER BY i.key FOR UPDATE OF i"
    "), file AS ("
    " DELETE FROM blobs b USING locked l WHERE b.key = l.key"
    "), cleared AS ("
    " UPDATE images i SET kept = false FROM locked l"
    " WHERE i.key = l.key RETURNING i.bytes"
    ") SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM cleared"
};

/* ---- rules ---- */

enum err_code ledger_rules(struct ledger *self, struct ledger_rule *rules, size_t max,
                           size_t *count, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    enum err_code rc;

    *count = 0;
    params_int8(&p, (int64_t)max);
    rc = session_call(self->session, &RULES, &p, &result, e);
    for (int row = 0; !rc && row < PQntuples(result); row++)
        rules[(*count)++] = (struct ledger_rule){ .model = result_digest(result, row, 0),
                                                  .days = result_int4(result, row, 1),
                                                  .bytes = result_int8(result, row, 2) };
    PQclear(result);
    return rc;
}

static enum err_code check_rule(const struct ledger_rule *rule, struct err *e)
{
    if (rule->days < 0 || rule->days > DAYS_MAX || rule->bytes < 0)
        return err_set(e, ERR_RANGE, "files are kept for 1 to %d days or up to 1 byte or more",
                       DAYS_MAX);
    return ERR_OK;
}

enum err_code ledger_set_rule(struct ledger *self, const struct ledger_rule *rule, struct err *e)
{
    bool has_rule = rule->days > 0 || rule->bytes > 0;
    struct params p = { 0 };
    PGresult *result = NULL;
    enum err_code rc = check_rule(rule, e);

    if (rc)
        return rc;
    params_digest(&p, &rule->model);
    if (has_rule) {
        params_int4(&p, rule->days);
        params_int8(&p, rule->bytes);
    }
    rc = session_call(self->session, has_rule ? &SET_RULE : &DROP_RULE, &p, &result, e);
    if (!rc && has_rule && ledger_rows_changed(result) == 0)
        rc = err_set(e, ERR_UNKNOWN_MODEL, "no model with digest %s is registered",
                     digest_hex(&rule->model).text);
    PQclear(result);
    return rc;
}

/* ---- windows ---- */

/* Asks about [from, to); most is the fourth parameter, if the statement has one. */
static enum err_code ask_window(struct ledger *self, const struct statement *statement,
                                const struct ledger_prune *prune, int64_t from_us, int64_t to_us,
                                const int64_t *most, PGresult **result, struct err *e)
{
    struct params p = { 0 };

    params_digest(&p, &prune->rule.model);
    params_int8(&p, from_us);
    params_int8(&p, to_us);
    if (most)
        params_int8(&p, *most);
    return session_call(self->session, statement, &p, result, e);
}

/* A window that took long, or was given up for that, is made smaller. True: try again. */
static bool fit_window(struct ledger_prune *prune, int64_t took_ms, enum err_code rc)
{
    if (took_ms > SLOW_MS && prune->width_us > WINDOW_MIN_US)
        prune->width_us /= 4;
    else if (took_ms < FAST_MS && prune->width_us < 365 * DAY_US)
        prune->width_us *= 2;
    if (prune->width_us < WINDOW_MIN_US)
        prune->width_us = WINDOW_MIN_US;
    return rc == ERR_LEDGER_DOWN && took_ms > SLOW_MS && prune->width_us > WINDOW_MIN_US;
}

static int64_t earlier(int64_t a_us, int64_t b_us)
{
    return a_us < b_us ? a_us : b_us;
}

/* Within [from, to), whose files are more than left bytes. *cut_us: where those that stay begin. */
static enum err_code cut_window(struct ledger *self, const struct ledger_prune *prune,
                                int64_t from_us, int64_t to_us, int64_t left, int64_t *cut_us,
                                struct err *e)
{
    PGresult *result;
    enum err_code rc = ask_window(self, &WINDOW_CUT, prune, from_us, to_us, &left, &result, e);

    *cut_us = to_us;
    if (!rc && !result_is_null(result, 0, 0))
        *cut_us = result_int8(result, 0, 0);
    PQclear(result);
    return rc;
}

/* Walks back from to_us until the files seen fill the rule's bytes: those before *cut_us go. */
static enum err_code find_cut(struct ledger *self, struct ledger_prune *prune, int64_t now_us,
                              int64_t *cut_us, const volatile sig_atomic_t *interrupted,
                              struct err *e)
{
    int64_t end_us = now_us, left = prune->rule.bytes;
    enum err_code rc = ERR_OK;

    *cut_us = prune->from_us;
    while (!rc && end_us > prune->from_us) {
        int64_t begin_us = end_us - prune->width_us, began_ms = clock_ms(), bytes = 0;
        PGresult *result;

        if (*interrupted)
            return err_set(e, ERR_CANCELLED, "stopped before anything was removed");
        if (begin_us < prune->from_us)
            begin_us = prune->from_us;
        rc = ask_window(self, &WINDOW_BYTES, prune, begin_us, end_us, NULL, &result, e);
        if (!rc)
            bytes = result_int8(result, 0, 1);
        PQclear(result);
        if (fit_window(prune, clock_ms() - began_ms, rc)) {
            rc = ERR_OK;
            continue;
        }
        if (!rc && bytes > left)
            return cut_window(self, prune, begin_us, end_us, left, cut_us, e);
        left -= bytes;
        end_us = begin_us;
    }
    return rc;
}

/* ---- the walk ---- */

enum err_code ledger_prune_begin(struct ledger *self, struct ledger_prune *prune,
                                 const volatile sig_atomic_t *interrupted, struct err *e)
{
    struct params p = { 0 };
    PGresult *result;
    int64_t now_us = 0, cut_us = 0;
    enum err_code rc = check_rule(&prune->rule, e);

    if (rc)
        return rc;
    params_digest(&p, &prune->rule.model);
    rc = session_call(self->session, &SPAN, &p, &result, e);
    if (!rc && PQntuples(result) == 0)
        rc = err_set(e, ERR_UNKNOWN_MODEL, "no model with digest %s is registered",
                     digest_hex(&prune->rule.model).text);
    if (!rc) {
        prune->from_us = result_int8(result, 0, 0);
        now_us = result_int8(result, 0, 1);
    }
    PQclear(result);
    if (rc)
        return rc;
    prune->width_us = WINDOW_FIRST_US;
    prune->to_us = prune->rule.days > 0 ? now_us - prune->rule.days * DAY_US : prune->from_us;
    if (prune->rule.bytes > 0)
        rc = find_cut(self, prune, now_us + 1, &cut_us, interrupted, e);
    if (cut_us > prune->to_us)
        prune->to_us = cut_us;
    prune->at_us = prune->from_us;
    prune->width_us = WINDOW_FIRST_US;
    prune->done = prune->at_us >= prune->to_us;
    return rc;
}

enum err_code ledger_prune_step(struct ledger *self, struct ledger_prune *prune, struct err *e)
{
    int64_t end_us = earlier(prune->at_us + prune->width_us, prune->to_us);
    int64_t most = LEDGER_PRUNE_FILES_MAX, count = 0, began_ms = clock_ms();
    PGresult *result;
    enum err_code rc;

    if (prune->done)
        return ERR_OK;
    if (prune->dry)
        rc = ask_window(self, &WINDOW_BYTES, prune, prune->at_us, end_us, NULL, &result, e);
    else
        rc = ask_window(self, &PRUNE_WINDOW, prune, prune->at_us, end_us, &most, &result, e);
    if (!rc) {
        count = result_int8(result, 0, 0);
        prune->files += count;
        prune->bytes += result_int8(result, 0, 1);
    }
    PQclear(result);
    if (fit_window(prune, clock_ms() - began_ms, rc))
        return ERR_OK;
    if (!rc && (prune->dry || count < most)) {      /* else more of it is left */
        prune->at_us = end_us;
        prune->done = end_us >= prune->to_us;
    }
    return rc;
}
