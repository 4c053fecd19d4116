/* session -- one connection to PostgreSQL as the ledger uses it, and all that knows libpq: it
 * connects when it must, prepares statements at their first use, sends any number of them before it
 * reads the first answer (libpq's pipeline mode, a Sync after each, so that each has the server's
 * time limits to itself), and makes words and codes of what goes wrong.
 *
 * Nothing here waits without an end. The server's limits are SESSION_LIMIT_MS a statement; behind
 * them stands our own clock, SESSION_ANSWER_MS from session_ready on, for a server that is frozen
 * or cut off. After that, or after any trouble with the connection, the session has none, every
 * call says ERR_LEDGER_DOWN, and the next session_ready connects again. */
#ifndef SQL_SESSION_H
#define SQL_SESSION_H

#include "proto/digest.h"
#include "proto/err.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SESSION_CONNECT_S = 2,          /* libpq takes no less */
    SESSION_LIMIT_MS = 2000,        /* statement, lock and idle in transaction; also in SETTINGS */
    SESSION_TCP_MS = 5000,          /* unacknowledged data */
    SESSION_ANSWER_MS = 5000,       /* all of a call after it is connected */
    SESSION_MIGRATE_MS = 6 * 3600 * 1000,   /* building an index over a billion rows takes hours */
    SESSION_PARAMS_MAX = 24,
    SESSION_STATEMENTS_MAX = 96,    /* kinds of statements prepared on one connection */
};

enum session_use {
    SESSION_LEDGER,                 /* pipeline mode, short limits, the schema must fit */
    SESSION_MIGRATE,                /* plain mode for session_script, any schema */
};

/* A statement; a constant, told apart by its address. Parameters are cast in the SQL ("$1::bytea"),
 * columns are read in the order in which the SQL lists them. */
struct statement {
    const char *name;               /* prepared under this name */
    const char *doing;              /* for words: "could not <doing>: <why>"; the same for all
                                       statements that are sent as one series */
    const char *sql;
};

struct session;

/* Does not connect yet. ERR_INVALID: conninfo is malformed (the words do not quote it: it may hold
 * a password); ERR_NOMEM. */
enum err_code session_create(const char *conninfo, const char *application, enum session_use use,
                             struct session **out, struct err *e);
void session_destroy(struct session **self);

/* Before each piece of work: connects if there is no live connection, and starts the clock. After
 * an attempt that failed there is no other for as long as that one took. ERR_LEDGER_DOWN,
 * ERR_VERSION (the schema does not fit). */
enum err_code session_ready(struct session *self, struct err *e);
/* Starts the clock anew, for a call whose work has several parts. */
void session_extend(struct session *self);
/* How many connections there were: when it changes, what was learnt from the server is stale. */
unsigned session_number(const struct session *self);

/* ---- parameters: borrowed until session_send returns ---- */

struct params {
    int count;
    const char *value[SESSION_PARAMS_MAX];
    int len[SESSION_PARAMS_MAX];
    int format[SESSION_PARAMS_MAX];             /* 0 text, 1 binary */
    uint8_t number[SESSION_PARAMS_MAX][8];      /* what value points to, for numbers */
};
void params_int4(struct params *self, int32_t v);
void params_int8(struct params *self, int64_t v);
void params_bool(struct params *self, bool v);
void params_text(struct params *self, const char *text);
void params_bytes(struct params *self, const void *data, size_t len);   /* len <= INT_MAX */
void params_digest(struct params *self, const struct digest *digest);
void params_null(struct params *self);

/* ---- statements ---- */

/* Prepares statement unless this connection has it. Before the first session_send of a series. */
enum err_code session_prepare(struct session *self, const struct statement *statement,
                              struct err *e);
/* Queues a prepared statement. params NULL: none. */
enum err_code session_send(struct session *self, const struct statement *statement,
                           const struct params *params, struct err *e);
/* The answer to the oldest statement that has none yet. *out is the caller's to PQclear, NULL on
 * failure. Every statement sent is asked for, also after an earlier one failed. ERR_INVALID: the
 * values were refused; anything else is ERR_LEDGER_DOWN (sql/README.md has the table). */
enum err_code session_result(struct session *self, PGresult **out, struct err *e);
/* prepare, send and result in one. */
enum err_code session_ask(struct session *self, const struct statement *statement,
                          const struct params *params, PGresult **out, struct err *e);
/* ready and ask in one, for work of one statement. */
enum err_code session_call(struct session *self, const struct statement *statement,
                           const struct params *params, PGresult **out, struct err *e);
/* SESSION_MIGRATE only: runs text, which may hold several statements. out may be NULL. */
enum err_code session_script(struct session *self, const char *text, PGresult **out,
                             struct err *e);
/* The number of the newest migration that was applied; 0: the database is empty. */
enum err_code session_schema(struct session *self, int *number, struct err *e);

/* ---- columns of a result in binary form; the caller knows their types ---- */

bool result_is_null(const PGresult *result, int row, int column);
int32_t result_int4(const PGresult *result, int row, int column);
int64_t result_int8(const PGresult *result, int row, int column);
bool result_bool(const PGresult *result, int row, int column);
/* All zeros when the column is not a digest. */
struct digest result_digest(const PGresult *result, int row, int column);
/* Cut to what out[0..size) holds, NUL included; "" for NULL. */
void result_text(const PGresult *result, int row, int column, char *out, size_t size);
/* A copy to free(); NULL only for want of memory. */
uint8_t *result_copy(const PGresult *result, int row, int column, size_t *len);

#endif
