/* ledger_prune -- removes old files of a model, by age or by what is kept at most. Rows of images
 * stay: a pruned picture is rendered again and must come out the same.
 *
 * Files are found by when their rows were written: the walk goes through time in windows that a
 * statement reads well within its limit, with the help of the block range index on created. */
#ifndef SQL_LEDGER_PRUNE_H
#define SQL_LEDGER_PRUNE_H

#include "sql/ledger.h"

#include <signal.h>

enum {
    LEDGER_PRUNE_FILES_MAX = 1000,  /* files of one transaction */
    LEDGER_RULES_MAX = 256,
};

/* What is kept of a model's files. 0: no such bound. */
struct ledger_rule {
    struct digest model;
    int days;                       /* files of pictures stored within them */
    int64_t bytes;                  /* the newest files that take no more */
};
/* The rules that are recorded, by model; at most max. */
enum err_code ledger_rules(struct ledger *self, struct ledger_rule *rules, size_t max,
                           size_t *count, struct err *e);
/* Records the rule in place of the model's last one; without days and bytes it has none from now
 * on. ERR_UNKNOWN_MODEL, ERR_RANGE. */
enum err_code ledger_set_rule(struct ledger *self, const struct ledger_rule *rule, struct err *e);

struct ledger_prune {
    struct ledger_rule rule;        /* set before ledger_prune_begin */
    bool dry;                       /* only count */

    int64_t from_us, to_us;         /* files stored in [from, to) go: microseconds since 1970 */
    int64_t at_us, width_us;        /* the walk: where it is, its window */

    bool done;
    int64_t files, bytes;           /* that went, or would */
};
/* Finds out up to when files go. With bytes this walks back from now until the newest files fill
 * them, and ends early, with nothing to do, when *interrupted is not 0 any more. ERR_UNKNOWN_MODEL,
 * ERR_RANGE, ERR_CANCELLED, ERR_LEDGER_DOWN, ERR_VERSION. */
enum err_code ledger_prune_begin(struct ledger *self, struct ledger_prune *prune,
                                 const volatile sig_atomic_t *interrupted, struct err *e);
/* One step: at most LEDGER_PRUNE_FILES_MAX files in a transaction of their own, oldest first. What
 * lay in segments is not kept any more then; ledger_erase takes its bytes from the disk. */
enum err_code ledger_prune_step(struct ledger *self, struct ledger_prune *prune, struct err *e);

#endif
