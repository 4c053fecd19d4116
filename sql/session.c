#include "sql/session.h"

#include "base/clock.h"
#include "sql/ledger.h"

#include <ctype.h>
#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What every connection of the ledger runs under. Durability is not the database's default to
 * decide: an answer leaves after its commit. The time limits keep a lock, a slow disk or our own
 * death from holding up other writers. Plans are made once a connection, perhaps over tables that
 * are empty yet: nested loops over indexes are right for every statement here at every size. */
static const char LEDGER_SETTINGS[] =
    "SET synchronous_commit TO on;"
    "SET statement_timeout TO '2s';"
    "SET lock_timeout TO '2s';"
    "SET idle_in_transaction_session_timeout TO '2s';"
    "SET default_transaction_isolation TO 'read committed';"
    "SET plan_cache_mode TO force_generic_plan;"
    "SET enable_seqscan TO off;"
    "SET enable_hashjoin TO off;"
    "SET enable_mergejoin TO off;"
    "SET jit TO off;"
    "SET client_min_messages TO warning;"
    "SELECT current_setting('synchronous_commit')";

/* A migration may take its time, but not wait for ever behind a lock that all others then queue
 * behind too. */
static const char MIGRATE_SETTINGS[] =
    "SET synchronous_commit TO on;"
    "SET statement_timeout TO 0;"
    "SET lock_timeout TO '30s';"
    "SET idle_in_transaction_session_timeout TO '1min';"
    "SET client_min_messages TO warning;"
    "SELECT current_setting('synchronous_commit')";

static const char HAS_SCHEMA[] = "SELECT to_regclass('schema_version') IS NOT NULL";
static const char SCHEMA[] = "SELECT coalesce(max(number), 0) FROM schema_version";

struct session {
    char *conninfo, *application;
    enum session_use use;
    PGconn *conn;                   /* NULL: not connected */
    unsigned number;                /* connections so far */
    int pending;                    /* statements sent and not yet answered */
    int64_t deadline_ms;            /* for all waiting until the next session_ready */
    int64_t retry_ms;               /* no attempt to connect before */
    const char *doing;
    struct err last;                /* why there is no connection */
    const struct statement *prepared[SESSION_STATEMENTS_MAX];   /* on conn */
    size_t prepared_count;
};

/* libpq's messages have several lines; ours have one. */
static enum err_code set_words(struct err *e, enum err_code code, const char *doing,
                               const char *why)
{
    char line[sizeof e->msg];
    size_t len = 0;
    for (; *why && len + 1 < sizeof line; why++) {
        bool space = isspace((unsigned char)*why);
        if (space && (len == 0 || line[len - 1] == ' '))
            continue;
        line[len++] = space ? ' ' : *why;
    }
    while (len > 0 && line[len - 1] == ' ')
        len--;
    line[len] = '\0';
    return err_set(e, code, "could not %s: %s", doing, line);
}

static void disconnect(struct session *self)
{
    PQfinish(self->conn);
    self->conn = NULL;
    self->pending = 0;
    self->prepared_count = 0;
}

/* The connection can no longer be trusted. why may point into it. */
static enum err_code lose(struct session *self, const char *why, struct err *e)
{
    set_words(&self->last, ERR_LEDGER_DOWN, self->doing, why);
    disconnect(self);
    return err_set(e, ERR_LEDGER_DOWN, "%s", self->last.msg);
}

/* ---- waiting ---- */

static enum err_code wait_for(struct session *self, short events, struct err *e)
{
    struct pollfd p = { .fd = PQsocket(self->conn), .events = events };
    int64_t left_ms = self->deadline_ms - clock_ms();
    if (left_ms <= 0)
        return lose(self, "the server did not answer in time", e);
    if (poll(&p, 1, (int)(left_ms < INT32_MAX ? left_ms : INT32_MAX)) > 0 &&
        (p.revents & ~POLLOUT) && !PQconsumeInput(self->conn))
        return lose(self, PQerrorMessage(self->conn), e);
    return ERR_OK;
}

/* Hands all that libpq has buffered to the kernel; reads meanwhile, or two full sockets would wait
 * for each other. */
static enum err_code flush(struct session *self, struct err *e)
{
    for (;;) {
        int left = PQflush(self->conn);
        if (left < 0)
            return lose(self, PQerrorMessage(self->conn), e);
        if (left == 0)
            return ERR_OK;
        enum err_code rc = wait_for(self, POLLIN | POLLOUT, e);
        if (rc)
            return rc;
    }
}

/* PQgetResult with an end to its waiting. */
static enum err_code next_result(struct session *self, PGresult **out, struct err *e)
{
    enum err_code rc = ERR_OK;
    *out = NULL;
    while (PQisBusy(self->conn)) {
        rc = wait_for(self, POLLIN, e);
        if (rc)
            return rc;
    }
    *out = PQgetResult(self->conn);
    return ERR_OK;
}

/* Values that this row cannot have, or a fault that goes away when the same is asked again: there
 * is no third kind. A missing right or table is of the second, since the caller has done nothing
 * wrong and all goes on when an operator has put it right. */
static enum err_code code_of(const char *sqlstate)
{
    static const char *const BAD_VALUES[] = {
        "22",                       /* data exception */
        "23",                       /* integrity constraint violation */
        "54",                       /* program limit exceeded: too wide for an index */
    };
    for (size_t i = 0; sqlstate && i < sizeof BAD_VALUES / sizeof BAD_VALUES[0]; i++)
        if (strncmp(sqlstate, BAD_VALUES[i], 2) == 0)
            return ERR_INVALID;
    return ERR_LEDGER_DOWN;
}

static enum err_code refuse(struct session *self, const PGresult *result, struct err *e)
{
    const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    return set_words(e, code_of(PQresultErrorField(result, PG_DIAG_SQLSTATE)), self->doing,
                     words ? words : PQresultErrorMessage(result));
}

/* ---- connecting ---- */

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;                   /* libpq would print it to stderr */
}

static enum err_code run_script(struct session *self, const char *text, PGresult **out,
                                struct err *e)
{
    PGresult *last = NULL, *result;
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!PQsendQuery(self->conn, text))
        return lose(self, PQerrorMessage(self->conn), e);
    rc = flush(self, e);
    while (!rc) {
        rc = next_result(self, &result, e);
        if (rc || !result)
            break;
        PQclear(last);
        last = result;
    }
    if (rc)
        goto done;
    if (!last || PQresultStatus(last) == PGRES_FATAL_ERROR) {
        rc = last ? refuse(self, last, e) : lose(self, "the server gave no answer", e);
        if (self->conn && PQstatus(self->conn) == CONNECTION_BAD)
            rc = lose(self, PQerrorMessage(self->conn), e);
        goto done;
    }
    *out = last;
    last = NULL;
done:
    PQclear(last);
    return rc;
}

enum err_code session_schema(struct session *self, int *number, struct err *e)
{
    PGresult *result;
    enum err_code rc = run_script(self, HAS_SCHEMA, &result, e);
    bool has = !rc && PQgetvalue(result, 0, 0)[0] == 't';

    *number = 0;
    PQclear(result);
    if (rc || !has)
        return rc;
    rc = run_script(self, SCHEMA, &result, e);
    if (!rc)
        *number = (int)strtol(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return rc;
}

static enum err_code check_schema(struct session *self, struct err *e)
{
    int number;
    enum err_code rc = session_schema(self, &number, e);
    if (rc)
        return rc;
    if (number < LEDGER_SCHEMA)
        return err_set(e, ERR_VERSION,
                       "the ledger's schema is %d and too old, %d is needed: run \"seedpress "
                       "ledger migrate\"", number, LEDGER_SCHEMA);
    if (number > LEDGER_SCHEMA + 1)
        return err_set(e, ERR_VERSION,
                       "the ledger's schema is %d and too new, this program knows up to %d: "
                       "install a newer seedpress", number, LEDGER_SCHEMA + 1);
    return ERR_OK;
}

/* On failure the caller disconnects. */
static enum err_code set_up(struct session *self, struct err *e)
{
    PGresult *result;
    enum err_code rc;

    PQsetNoticeReceiver(self->conn, ignore_notice, NULL);
    if (PQsetnonblocking(self->conn, 1))
        return lose(self, PQerrorMessage(self->conn), e);
    rc = run_script(self, self->use == SESSION_LEDGER ? LEDGER_SETTINGS : MIGRATE_SETTINGS, &result,
                    e);
    if (!rc && strcmp(PQgetvalue(result, 0, 0), "on") != 0)
        rc = err_set(e, ERR_LEDGER_DOWN, "the ledger's synchronous_commit is \"%s\", not \"on\"",
                     PQgetvalue(result, 0, 0));
    PQclear(result);
    if (rc || self->use == SESSION_MIGRATE)
        return rc;
    rc = check_schema(self, e);
    if (!rc && !PQenterPipelineMode(self->conn))
        rc = lose(self, PQerrorMessage(self->conn), e);
    return rc;
}

static enum err_code open_connection(struct session *self, struct err *e)
{
    char connect_s[16], tcp_ms[16];
    /* Later ones win: conninfo's own choice of these is not asked for. */
    const char *keys[] = { "dbname", "application_name", "connect_timeout", "tcp_user_timeout",
                           "keepalives", "keepalives_idle", "keepalives_interval",
                           "keepalives_count", "client_encoding", NULL };
    const char *values[] = { self->conninfo, self->application, connect_s, tcp_ms,
                             "1", "5", "2", "3", "UTF8", NULL };
    int64_t began_ms = clock_ms();
    struct err why = { .code = ERR_OK };
    enum err_code rc = ERR_OK;

    if (began_ms < self->retry_ms)
        return err_set(e, self->last.code, "%s", self->last.msg);
    self->doing = "connect to the ledger";
    snprintf(connect_s, sizeof connect_s, "%d", SESSION_CONNECT_S);
    snprintf(tcp_ms, sizeof tcp_ms, "%d", SESSION_TCP_MS);
    self->conn = PQconnectdbParams(keys, values, 1);
    self->deadline_ms = clock_ms() + SESSION_ANSWER_MS;
    self->number++;
    if (!self->conn)
        rc = err_set(&why, ERR_LEDGER_DOWN, "no memory for a connection to the ledger");
    else if (PQstatus(self->conn) != CONNECTION_OK)
        rc = lose(self, PQerrorMessage(self->conn), &why);
    else
        rc = set_up(self, &why);
    if (rc) {
        int64_t ended_ms = clock_ms();
        disconnect(self);
        self->last = why;
        self->retry_ms = ended_ms + (ended_ms - began_ms);
        err_set(e, rc, "%s", why.msg);
    }
    return rc;
}

/* The server went away while nobody asked it anything: then there is something to read, its last
 * words or the end of the stream. */
static bool is_dead(struct session *self)
{
    struct pollfd p = { .fd = PQsocket(self->conn), .events = POLLIN };
    for (int reads = 0; reads < 8 && poll(&p, 1, 0) > 0; reads++)
        if (!PQconsumeInput(self->conn))
            return true;
    return PQstatus(self->conn) != CONNECTION_OK;
}

enum err_code session_ready(struct session *self, struct err *e)
{
    enum err_code rc = ERR_OK;
    /* Unread answers would be taken for those of the next statements. */
    if (self->conn && (self->pending > 0 || is_dead(self)))
        disconnect(self);
    if (!self->conn)
        rc = open_connection(self, e);
    session_extend(self);
    return rc;
}

void session_extend(struct session *self)
{
    self->deadline_ms = clock_ms() +
                        (self->use == SESSION_LEDGER ? SESSION_ANSWER_MS : SESSION_MIGRATE_MS);
}

unsigned session_number(const struct session *self)
{
    return self->number;
}

enum err_code session_create(const char *conninfo, const char *application, enum session_use use,
                             struct session **out, struct err *e)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    enum err_code rc = ERR_OK;
    struct session *self = NULL;

    *out = NULL;
    if (!options) {
        rc = err_set(e, ERR_INVALID, "the ledger's address is not of the form "
                     "\"host=... dbname=...\" or \"postgresql://...\"");
        goto done;
    }
    self = calloc(1, sizeof *self);
    if (self) {
        self->use = use;
        self->doing = "connect to the ledger";
        self->conninfo = strdup(conninfo);
        self->application = strdup(application);
    }
    if (!self || !self->conninfo || !self->application) {
        rc = err_set(e, ERR_NOMEM, "no memory for a connection to the ledger");
        goto done;
    }
    *out = self;
    self = NULL;
done:
    PQconninfoFree(options);
    session_destroy(&self);
    return rc;
}

void session_destroy(struct session **self)
{
    if (*self) {
        disconnect(*self);
        free((*self)->conninfo);
        free((*self)->application);
    }
    free(*self);
    *self = NULL;
}

/* ---- parameters ---- */

static void add_param(struct params *self, const void *value, size_t len, int format)
{
    self->value[self->count] = value;
    self->len[self->count] = (int)len;
    self->format[self->count] = format;
    self->count++;
}

void params_int4(struct params *self, int32_t v)
{
    uint32_t wire = htobe32((uint32_t)v);
    memcpy(self->number[self->count], &wire, sizeof wire);
    add_param(self, self->number[self->count], sizeof wire, 1);
}

void params_int8(struct params *self, int64_t v)
{
    uint64_t wire = htobe64((uint64_t)v);
    memcpy(self->number[self->count], &wire, sizeof wire);
    add_param(self, self->number[self->count], sizeof wire, 1);
}

void params_bool(struct params *self, bool v)
{
    self->number[self->count][0] = v;
    add_param(self, self->number[self->count], 1, 1);
}

void params_text(struct params *self, const char *text)
{
    add_param(self, text, 0, 0);
}

void params_bytes(struct params *self, const void *data, size_t len)
{
    add_param(self, data, len, 1);
}

void params_digest(struct params *self, const struct digest *digest)
{
    add_param(self, digest->bytes, DIGEST_LEN, 1);
}

void params_null(struct params *self)
{
    add_param(self, NULL, 0, 1);
}

/* ---- statements ---- */

/* The end of each send: the Sync that gives a statement time limits and a failure of its own. */
static enum err_code finish_send(struct session *self, int sent, struct err *e)
{
    if (!sent || !PQpipelineSync(self->conn))
        return lose(self, PQerrorMessage(self->conn), e);
    self->pending++;
    return flush(self, e);
}

static enum err_code no_connection(const struct session *self, struct err *e)
{
    return err_set(e, ERR_LEDGER_DOWN, "%s", self->last.msg);
}

enum err_code session_prepare(struct session *self, const struct statement *statement,
                              struct err *e)
{
    PGresult *result;
    enum err_code rc;

    if (!self->conn)
        return no_connection(self, e);
    for (size_t i = 0; i < self->prepared_count; i++)
        if (self->prepared[i] == statement)
            return ERR_OK;
    if (self->prepared_count == SESSION_STATEMENTS_MAX)
        return err_set(e, ERR_BUG, "more than %d kinds of statements", SESSION_STATEMENTS_MAX);
    self->doing = statement->doing;
    rc = finish_send(self, PQsendPrepare(self->conn, statement->name, statement->sql, 0, NULL), e);
    if (!rc)
        rc = session_result(self, &result, e);
    if (rc)
        return rc;
    PQclear(result);
    self->prepared[self->prepared_count++] = statement;
    return ERR_OK;
}

enum err_code session_send(struct session *self, const struct statement *statement,
                           const struct params *params, struct err *e)
{
    static const struct params NONE;
    const struct params *p = params ? params : &NONE;

    if (!self->conn)
        return no_connection(self, e);
    self->doing = statement->doing;
    return finish_send(self, PQsendQueryPrepared(self->conn, statement->name, p->count, p->value,
                                                 p->len, p->format, 1), e);
}

enum err_code session_result(struct session *self, PGresult **out, struct err *e)
{
    PGresult *answer = NULL, *result;
    enum err_code rc = ERR_OK, failed = ERR_OK;
    bool in_step = true;            /* a statement ends in one NULL, then comes its Sync */

    *out = NULL;
    if (!self->conn)
        return no_connection(self, e);
    for (;;) {
        rc = next_result(self, &result, e);
        if (rc)
            goto done;
        if (!result && !in_step) {
            rc = lose(self, "the server's answers are out of step", e);
            goto done;
        }
        in_step = result != NULL;
        if (!result)
            continue;
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
            PQclear(answer);
            answer = result;
            continue;
        }
        if (status != PGRES_PIPELINE_SYNC && !failed)
            failed = refuse(self, result, e);
        PQclear(result);
        if (PQstatus(self->conn) == CONNECTION_BAD) {
            rc = lose(self, PQerrorMessage(self->conn), e);
            goto done;
        }
        if (status == PGRES_PIPELINE_SYNC)
            break;
    }
    self->pending--;
    rc = failed;
    if (!rc) {
        *out = answer;
        answer = NULL;
    }
done:
    PQclear(answer);
    return rc;
}

enum err_code session_ask(struct session *self, const struct statement *statement,
                          const struct params *params, PGresult **out, struct err *e)
{
    enum err_code rc = session_prepare(self, statement, e);
    *out = NULL;
    if (!rc)
        rc = session_send(self, statement, params, e);
    return rc ? rc : session_result(self, out, e);
}

enum err_code session_call(struct session *self, const struct statement *statement,
                           const struct params *params, PGresult **out, struct err *e)
{
    enum err_code rc = session_ready(self, e);
    *out = NULL;
    return rc ? rc : session_ask(self, statement, params, out, e);
}

enum err_code session_script(struct session *self, const char *text, PGresult **out,
                             struct err *e)
{
    PGresult *result;
    enum err_code rc = self->conn ? run_script(self, text, &result, e) : no_connection(self, e);
    if (rc)
        return rc;
    if (out)
        *out = result;
    else
        PQclear(result);
    return ERR_OK;
}

/* ---- columns ---- */

bool result_is_null(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column);
}

int32_t result_int4(const PGresult *result, int row, int column)
{
    uint32_t wire = 0;
    if (PQgetlength(result, row, column) == sizeof wire)
        memcpy(&wire, PQgetvalue(result, row, column), sizeof wire);
    return (int32_t)be32toh(wire);
}

int64_t result_int8(const PGresult *result, int row, int column)
{
    uint64_t wire = 0;
    if (PQgetlength(result, row, column) == sizeof wire)
        memcpy(&wire, PQgetvalue(result, row, column), sizeof wire);
    return (int64_t)be64toh(wire);
}

bool result_bool(const PGresult *result, int row, int column)
{
    return PQgetlength(result, row, column) == 1 && *PQgetvalue(result, row, column) != 0;
}

struct digest result_digest(const PGresult *result, int row, int column)
{
    struct digest digest = { { 0 } };
    if (PQgetlength(result, row, column) == DIGEST_LEN)
        memcpy(digest.bytes, PQgetvalue(result, row, column), DIGEST_LEN);
    return digest;
}

void result_text(const PGresult *result, int row, int column, char *out, size_t size)
{
    snprintf(out, size, "%s", PQgetvalue(result, row, column));
}

uint8_t *result_copy(const PGresult *result, int row, int column, size_t *len)
{
    size_t got = (size_t)PQgetlength(result, row, column);
    uint8_t *copy = malloc(got + 1);    /* never of size 0, whose NULL would look like no memory */
    if (copy) {
        memcpy(copy, PQgetvalue(result, row, column), got);
        *len = got;
    }
    return copy;
}
