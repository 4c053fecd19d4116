/* ledger_lost -- pictures whose files are not in the ledger, page by page in the order of their
 * keys, for whoever has them rendered again. */
#ifndef SQL_LEDGER_LOST_H
#define SQL_LEDGER_LOST_H

#include "sql/ledger.h"

enum { LEDGER_LOST_PAGE = 1000 };   /* rows looked at in one call */

struct ledger_lost_row {
    struct digest key;
    struct recipe recipe;
    struct digest file_sha;
};

struct ledger_lost {
    /* Set before the first call; all zero is all that the ledger should have and has not, as after
     * a backup without files was restored. */
    bool one_model;
    struct digest model;            /* with one_model: of this one only */
    int64_t job;                    /* of this bulk job only; 0: of any and none */
    int64_t since_s;                /* stored from then on, seconds since 1970 */
    bool pruned;                    /* also those whose files are not kept: pruned, or never
                                       stored */
    bool has_after;
    struct digest after;            /* with has_after: begin behind this key */

    bool done;                      /* no page is left */
    struct ledger_lost_row rows[LEDGER_LOST_PAGE];
    size_t count;
};

/* Looks at the next page: rows are those of it without a file that are not withdrawn. A row whose
 * recipe does not hash to its key is left out: ledger check tells of it. ERR_LEDGER_DOWN,
 * ERR_VERSION; after is then as it was. */
enum err_code ledger_lost_page(struct ledger *self, struct ledger_lost *lost, struct err *e);
/* Which of rows are lost still: count becomes how many, in the same order. */
enum err_code ledger_lost_again(struct ledger *self, struct ledger_lost *lost, struct err *e);

#endif
