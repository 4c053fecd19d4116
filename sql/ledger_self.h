/* ledger_self -- what is inside a ledger, for the files ledger*.c only. */
#ifndef SQL_LEDGER_SELF_H
#define SQL_LEDGER_SELF_H

#include "proto/recipe.h"
#include "sql/ledger.h"
#include "sql/known.h"
#include "sql/session.h"
#include "sql/shelf.h"

enum { LEDGER_OPTIONS_MAX = 32 };   /* texts whose ids are remembered */

struct ledger_option {
    char text[RECIPE_TEXT_MAX];     /* the recipe's text from "cutoff=" on */
    int32_t id;                     /* in table options */
};

struct ledger {
    struct session *session;
    struct ledger_option option[LEDGER_OPTIONS_MAX];    /* learnt on connection option_session */
    size_t option_count;            /* ever learnt; the newest LEDGER_OPTIONS_MAX are held */
    unsigned option_session;
    int64_t bulk_turn;              /* the job that had the last chunk; the next one's turn comes */
    struct known *known;
    struct shelf *shelf;            /* NULL: no files outside the database */
};

/* Ends a transaction whose statement failed, so that the next call begins outside of one. */
void ledger_rollback(struct ledger *self);
/* How many rows a statement without RETURNING changed. */
int64_t ledger_rows_changed(PGresult *result);
/* A row's recipe out of its parts; false: they make none. Whether it is the row's, its key
 * tells. */
bool ledger_recipe(const struct digest *model, int64_t seed, int32_t psi, const char *options,
                   struct recipe *out);
/* The newest pictures of a subject, without data; max <= LEDGER_ROWS_MAX. Not ready: the caller
 * has called session_ready. */
enum err_code ledger_find_subject(struct ledger *self, const struct digest *subject, size_t max,
                                  struct ledger_rows *out, struct err *e);

#endif
