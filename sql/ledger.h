/* ledger -- the database as the code sees it; the only module that sees libpq. One ledger is one
 * connection and belongs to one thread. Every call either does its work or says why not; after a
 * lost connection (ERR_LEDGER_DOWN) the next call connects again by itself, so a caller only has to
 * repeat (with a pause: a call tries once). No call blocks without an end: connecting takes at most
 * 2 s an address, and is not tried again before as much time has passed as it took to fail; the
 * server gives a statement, a lock and an idle transaction 2 s; the whole answer has 5 s, a batch
 * with a bad row twice that.
 *
 * First image wins: of several writers of one recipe key exactly one row stays, and every writer is
 * told of that row. */
#ifndef SQL_LEDGER_H
#define SQL_LEDGER_H

#include "proto/digest.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LEDGER_SCHEMA = 1,              /* the newest migration this program knows; LEDGER_SCHEMA + 1 is
                                       accepted too (migrations expand first) */
    LEDGER_BATCH_MAX = 64,          /* images of one transaction, keys of one look-up */
    LEDGER_ROWS_MAX = 1000,         /* rows of one answer */
    LEDGER_FILE_MAX = 64 << 20,     /* bytes of one picture */
};

struct ledger;

/* Connects to conninfo (libpq's form; never logged, it may hold a password) and checks schema and
 * settings (synchronous_commit must be on). ERR_LEDGER_DOWN: no connection, *out is still given and
 * will connect at the next call; ERR_VERSION: the schema is too old ("run seedpress ledger
 * migrate") or too new; ERR_INVALID: conninfo is malformed; ERR_NOMEM: *out is NULL. application
 * names the program for the server's own views. */
enum err_code ledger_open(const char *conninfo, const char *application, struct ledger **out,
                          struct err *e);
void ledger_close(struct ledger **self);
/* A round trip: ERR_OK, or why the ledger cannot be used now. Reconnects. */
enum err_code ledger_ping(struct ledger *self, struct err *e);

/* Applies the migrations that are missing, each in its own transaction, all under one advisory
 * lock, and reports each through report (NULL: quiet) once it is done; a second migrator waits 30 s
 * for the first. dry_run only reports what it would do. May take hours on a large ledger.
 * ERR_LEDGER_DOWN, ERR_INVALID, ERR_VERSION (too new), ERR_NOMEM. */
enum err_code ledger_migrate(const char *conninfo, bool dry_run,
                             void (*report)(void *arg, int number, const char *name), void *arg,
                             struct err *e);

/* ---- what is known of programs and models ---- */

/* One start of a worker: everything besides the recipe that can change a pixel or a byte. Texts are
 * borrowed, none is NULL. */
struct ledger_run {
    const char *worker;             /* "host:pid:start" */
    const char *version;            /* of seedpress, with commit where known */
    const char *backend, *device, *driver;
    const char *numerics_class;
    const char *encoder;            /* "libjpeg-turbo-2.1.5"; class and encoder: 1..63 bytes */
    const char *libraries;          /* "libzmq 4.3.4, libpq 15.18, glibc 2.36" */
};
/* ERR_INVALID: a text is not UTF-8 or too long. Repeated after ERR_LEDGER_DOWN it may leave a
 * second row, which nothing points to. */
enum err_code ledger_start_run(struct ledger *self, const struct ledger_run *run, int64_t *run_id,
                               struct err *e);

struct ledger_model {
    const char *name;               /* proposed; bound only when the name is still free */
    const struct model_facts *facts;
    const char *arch;               /* "stylegan2" */
    const char *licence;            /* "" when the file says nothing */
};
/* Registers the model (again is fine) and binds name to it if nothing has that name yet.
 * ERR_INVALID: the name or a fact. */
enum err_code ledger_put_model(struct ledger *self, const struct ledger_model *model,
                               struct err *e);

struct ledger_name {
    char name[RECIPE_NAME_MAX + 1];
    struct digest digest;
};
/* Names and what they are bound to, by name; at most max. */
enum err_code ledger_names(struct ledger *self, struct ledger_name *names, size_t max,
                           size_t *count, struct err *e);
/* How many subjects are withdrawn: when it changes, what was read before may be withdrawn now. */
enum err_code ledger_withdrawals(struct ledger *self, int64_t *count, struct err *e);
/* Binds name to the registered model with that digest, whatever it named before. ERR_UNKNOWN_MODEL,
 * ERR_INVALID: the name. */
enum err_code ledger_bind_name(struct ledger *self, const char *name, const struct digest *digest,
                               struct err *e);
/* The registered models whose digest begins with hex prefix (2..64 digits, else ERR_INVALID); at
 * most max. */
enum err_code ledger_models_with_prefix(struct ledger *self, const char *prefix,
                                        struct digest *digests, size_t max, size_t *count,
                                        struct err *e);

/* ---- the write ---- */

struct ledger_image {
    struct recipe recipe;
    struct digest file_sha;         /* of data */
    struct digest core_sha;         /* of the JPEG without APPn and COM */
    int64_t run_id;
    const char *numerics_class, *encoder;   /* of the run, as in ledger_start_run; borrowed. The
                                       row holds only run_id; these must agree with it */
    int batch_size;
    int64_t render_us;              /* the batch's time */
    const uint8_t *data;            /* borrowed, [len] */
    size_t len;
    bool keep;                      /* false: provenance only, the bytes are not stored */
};

enum ledger_outcome {
    LEDGER_STORED,                  /* ours is the picture */
    LEDGER_SAME,                    /* it was there already, with our bytes; or its bytes are not
                                       kept and our render has the same core hash, of any class:
                                       answer our bytes */
    LEDGER_WINNER,                  /* it was there with other bytes: data holds them */
    LEDGER_REFUSED,                 /* why says it: withdrawn, wrong_class, not_reproducible, a bad
                                       row (invalid) */
};

struct ledger_stored {
    enum ledger_outcome outcome;
    struct err why;
    bool alarm;                     /* same class and encoder, other core hash: someone must look;
                                       with WINNER and with REFUSED not_reproducible */
    struct digest file_sha, core_sha;       /* the winner's, as are the next three; all zeros */
    char numerics_class[64], encoder[64];   /* when refused as withdrawn or invalid */
    int64_t run_id;
    uint8_t *data;                  /* WINNER only: owned by the caller, free() */
    size_t len;
};

/* Stores images[0..count), count <= LEDGER_BATCH_MAX, keys distinct, in one transaction in pipeline
 * mode; returns after the commit with stored[i] for images[i], as it was then read back. A bad row
 * (values out of range, no such model or run, 0 or more than LEDGER_FILE_MAX bytes) costs only
 * itself: the batch is rolled back and each is stored alone. ERR_LEDGER_DOWN (also: lock timeout,
 * lost connection, full disk), ERR_VERSION, ERR_NOMEM: nothing is known, and no stored[i] owns
 * data; repeat the call, it can do no harm. ERR_BUG: count. */
enum err_code ledger_store(struct ledger *self, const struct ledger_image *images, size_t count,
                           struct ledger_stored *stored, struct err *e);

/* ---- look-ups ---- */

struct ledger_row {
    struct digest key;
    struct recipe recipe;
    struct digest file_sha, core_sha;
    char numerics_class[64], encoder[64];
    int64_t run_id;
    int batch_size;
    int64_t bytes;                  /* length of the file */
    bool kept;                      /* its bytes are in the ledger; when they were asked for and
                                       are not there, false whatever the row says */
    bool withdrawn;
    char created[40];               /* ISO 8601, UTC */
    char worker[128], version[64], backend[32], device[128], driver[64], libraries[160];
    uint8_t *data;                  /* only when asked for and kept and not withdrawn; else NULL */
    size_t len;
};
struct ledger_rows {
    struct ledger_row *row;         /* [count]; may be NULL when count is 0 */
    size_t count;
};
void ledger_rows_release(struct ledger_rows *self);     /* frees rows and data; zeroes *self */

/* What is stored under keys[0..count), count <= LEDGER_BATCH_MAX, in any order; a key with no row
 * gives none. On failure *out is empty. ERR_BUG (here and below): count, or a row's recipe does not
 * have the row's key, so that someone has changed it. */
enum err_code ledger_find_keys(struct ledger *self, const struct digest *keys, size_t count,
                               bool with_data, struct ledger_rows *out, struct err *e);

enum ledger_by { LEDGER_BY_KEY, LEDGER_BY_FILE_SHA, LEDGER_BY_CORE_SHA, LEDGER_BY_SEED };
struct ledger_query {
    enum ledger_by by;
    struct digest digest;           /* BY_KEY, BY_FILE_SHA, BY_CORE_SHA */
    struct digest model;            /* BY_SEED; with any_model the model does not matter */
    bool any_model;
    uint32_t seed;
    int64_t psi;                    /* BY_SEED: millionths; INT64_MIN: any */
    size_t limit;                   /* 1..LEDGER_ROWS_MAX */
};
/* Newest first, without data. ERR_RANGE: psi, limit. */
enum err_code ledger_find(struct ledger *self, const struct ledger_query *query,
                          struct ledger_rows *out, struct err *e);

#endif
