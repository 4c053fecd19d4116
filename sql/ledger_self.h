/* ledger_self -- what is inside a ledger, for ledger.c, ledger_store.c and ledger_find.c only. */
#ifndef SQL_LEDGER_SELF_H
#define SQL_LEDGER_SELF_H

#include "proto/recipe.h"
#include "sql/session.h"

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
};

#endif
