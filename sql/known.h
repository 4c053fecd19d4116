/* known -- rows of models, options and runs by their ids. They never change, and a handful of them
 * stands behind millions of images: remembered here they need not be joined to each row that is
 * read, which halves a look-up. Only for the files ledger*.c. */
#ifndef SQL_KNOWN_H
#define SQL_KNOWN_H

#include "proto/recipe.h"
#include "sql/session.h"

struct known_model {
    int64_t id;                     /* 0: an empty place */
    struct digest digest;
};
struct known_options {
    int64_t id;
    char text[RECIPE_TEXT_MAX];     /* the recipe's from "cutoff=" on */
};
struct known_run {
    int64_t id;
    char numerics_class[64], encoder[64];
    char worker[128], version[64], backend[32], device[128], driver[64], libraries[160];
};

struct known;                       /* belongs to one session's thread */

/* NULL: no memory. */
struct known *known_create(void);
void known_destroy(struct known **self);

/* The row of that id, asked for when it is not remembered: no statement of the session may be
 * without its answer. Lent until the next call of the same function. ERR_BUG: there is no such row; ERR_LEDGER_DOWN. */
enum err_code known_model(struct known *self, struct session *session, int64_t id,
                          const struct known_model **out, struct err *e);
enum err_code known_options(struct known *self, struct session *session, int64_t id,
                            const struct known_options **out, struct err *e);
enum err_code known_run(struct known *self, struct session *session, int64_t id,
                        const struct known_run **out, struct err *e);

#endif
