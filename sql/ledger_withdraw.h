/* ledger_withdraw -- takes a subject back for ever: no picture of it, whatever its psi and
 * encoding, is stored or answered with bytes again. Its rows of images stay, to say that it
 * existed. */
#ifndef SQL_LEDGER_WITHDRAW_H
#define SQL_LEDGER_WITHDRAW_H

#include "sql/ledger.h"

enum {
    LEDGER_WITHDRAW_ROWS_MAX = 100, /* rows that are told of */
    LEDGER_WITHDRAW_FILES_MAX = 1000,   /* files that one call removes */
    LEDGER_REASON_MAX = 200,        /* bytes of a reason */
};

struct ledger_withdrawal {
    struct digest subject;
    int64_t pictures;               /* rows of the subject */
    int64_t files;                  /* removed by the calls so far */
    bool more;                      /* files are left: call again */
    struct ledger_rows rows;        /* the newest of them; ledger_rows_release */
};

/* Withdraws the subject of the picture under that recipe key (BY_KEY) or with that file hash
 * (BY_FILE_SHA). The tombstone is committed first, alone with all writers kept out: from then on
 * nothing of the subject is stored or read. Then its files go, at most LEDGER_WITHDRAW_FILES_MAX a
 * call, so that who shares the connection is not kept waiting; while out->more the same call goes
 * on, and adds to out->files. *out is zeroed before the first. Repeated, also after a failure, it
 * does no harm; the first reason stays.
 *
 * ERR_NOT_FOUND: no such row. ERR_CONFLICT: the file is that of several subjects, as files without
 * metadata at psi 0 are; a key names one. ERR_INVALID: by, or the reason (1..LEDGER_REASON_MAX
 * bytes). ERR_LEDGER_DOWN, ERR_VERSION, ERR_NOMEM, ERR_BUG. */
enum err_code ledger_withdraw(struct ledger *self, enum ledger_by by, const struct digest *digest,
                              const char *reason, struct ledger_withdrawal *out, struct err *e);

#endif
