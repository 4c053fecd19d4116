/* ledger_check -- whether the ledger holds what it says: a walk over all pictures in the order of
 * their keys, then over all files, page by page. It only reads, each page by one snapshot, so that
 * it may run beside everything else and be stopped and gone on with anywhere. */
#ifndef SQL_LEDGER_CHECK_H
#define SQL_LEDGER_CHECK_H

#include "sql/ledger.h"

enum {
    LEDGER_CHECK_PAGE = 500,        /* pictures of one call */
    LEDGER_CHECK_READ_BYTES = 16 << 20,     /* of files read at once, unless one alone is larger */
};

/* What can be wrong; ledger_fault_word gives the words, which do not change. */
enum ledger_fault {
    LEDGER_MODEL_MISSING,           /* the row's model is not in models */
    LEDGER_OPTIONS_MISSING, LEDGER_RUN_MISSING,
    LEDGER_RECIPE_KEY,              /* the recipe does not hash to the row's key */
    LEDGER_SUBJECT,                 /* nor to its subject: a withdrawal would miss it */
    LEDGER_BYTES_MISSING,           /* the row says that the file is there; it is not */
    LEDGER_BYTES_UNKNOWN,           /* the row says that it is not there; it is */
    LEDGER_BYTES_LENGTH, LEDGER_BYTES_HASH, LEDGER_CORE_HASH,   /* not what the row says */
    LEDGER_WITHDRAWN_BYTES,         /* withdrawn, and the file is still there */
    LEDGER_ORPHAN_BLOB,             /* a file without a row */
    LEDGER_UNREADABLE,              /* the file is no picture of the recipe's size; the caller's */
    LEDGER_FAULT_COUNT
};
const char *ledger_fault_word(enum ledger_fault fault);     /* "bytes_missing" */

struct ledger_finding {
    enum ledger_fault fault;
    struct digest key;
    char words[256];
};

struct ledger_check {
    /* Set before the first call; all zero is a whole check of everything. */
    bool one_model;
    struct digest model;            /* with one_model: of this one only, and no orphans */
    int64_t sample;                 /* files of one picture in so many are read, chosen by their
                                       keys; 0 and 1: all */
    bool has_after;
    struct digest after;            /* with has_after: begin behind this key */
    void (*found)(void *arg, const struct ledger_finding *finding);
    void (*was_read)(void *arg, const struct ledger_row *row);  /* a file whose hash is right, to
                                       look at; NULL: nobody wants to */
    void *arg;

    /* What came of it; after, too, moves on. */
    bool done;                      /* the walk is over; the next one begins from the start */
    int64_t pictures, files;        /* rows looked at; files read */
    int64_t not_kept, withdrawn;    /* rows without a file, with the reason */
    int64_t findings;
};

/* The next page of pictures. On failure after still says where the page began, and what was found
 * in it so far has been told: the next call tells it again. ERR_LEDGER_DOWN, ERR_VERSION,
 * ERR_NOMEM, ERR_BUG. */
enum err_code ledger_check_pictures(struct ledger *self, struct ledger_check *check,
                                    struct err *e);
/* The next page of files, for those that have no row. */
enum err_code ledger_check_files(struct ledger *self, struct ledger_check *check, struct err *e);

#endif
