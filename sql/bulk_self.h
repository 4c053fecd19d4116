/* bulk_self -- what ledger_bulk.c and ledger_bulk_chunks.c share, and nobody else. */
#ifndef SQL_BULK_SELF_H
#define SQL_BULK_SELF_H

#include "sql/ledger.h"
#include "sql/session.h"

/* Begins a transaction, connected. */
enum err_code bulk_begin(struct ledger *self, struct err *e);
/* Commits, or rolls back after a failure, which it passes on. */
enum err_code bulk_end(struct ledger *self, enum err_code rc, struct err *e);
/* A statement whose answer nobody looks at. */
enum err_code bulk_run(struct ledger *self, const struct statement *statement,
                       const struct params *params, struct err *e);

enum bulk_lock_column { LOCK_STATE, LOCK_OWNER, LOCK_KEEP, LOCK_TOTAL };
/* Holds the job's row until the transaction ends. *result is the caller's to PQclear, also on
 * failure. ERR_NOT_FOUND. */
enum err_code bulk_lock_job(struct ledger *self, int64_t job, PGresult **result, struct err *e);
enum ledger_bulk_state bulk_read_state(const PGresult *result, int row, int column);

#endif
