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
    LEDGER_SCHEMA = 2,              /* the newest migration this program knows; LEDGER_SCHEMA + 1 is
                                       accepted too (migrations expand first) */
    LEDGER_BATCH_MAX = 64,          /* images of one transaction, keys of one look-up */
    LEDGER_ROWS_MAX = 1000,         /* rows of one answer */
    LEDGER_FILE_MAX = 64 << 20,     /* bytes of one picture */
    LEDGER_LIKENESS_MAX = 64,       /* perceptual hashes of one picture */
    LEDGER_ERASE_MAX = 256,         /* files that one call takes out of segments */
    LEDGER_CHUNK_MAX = 10000,       /* items of one chunk */
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
/* How many connections there were so far: what was watched over one is not known over the next. */
unsigned ledger_connections(const struct ledger *self);

/* Files in segments (sql/segments.h) instead of the database. All workers and brokers of a ledger
 * have the same folder or none; who has none writes into the database and does not find what lies
 * in segments. */
struct ledger_segments {
    const char *folder;             /* there already */
    const char *writer;             /* for people: who begins segments; NULL: only to read */
    int64_t file_bytes;             /* of one segment; 0: SEGMENTS_FILE_BYTES */
};
/* ERR_FILE: the folder is missing or not for this user; ERR_NOMEM. */
enum err_code ledger_use_segments(struct ledger *self, const struct ledger_segments *options,
                                  struct err *e);
/* Removes from the segments the bytes of rows that name a place and keep nothing: of a subject, or
 * (NULL) of any; at most LEDGER_ERASE_MAX a call. *more: call again. Whoever stops keeping a file
 * clears images.kept, leaves segment and place, commits, and calls this; interrupted, it goes on at
 * the next call. ERR_FILE: a segment is away, or no folder is set here: what is left stays
 * named. */
enum err_code ledger_erase(struct ledger *self, const struct digest *subject, size_t *erased,
                           bool *more, struct err *e);
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

struct ledger_model_row {
    struct model_facts facts;
    char arch[33], licence[129];    /* cut where a row has more */
};
/* Registered models, the newest first; at most max. */
enum err_code ledger_models(struct ledger *self, struct ledger_model_row *rows, size_t max,
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
    bool refill;                    /* with keep: where the row has lost its file and ours is the
                                       same, it is put back */
    int64_t job_id;                 /* bulk job for a new row; 0: none */
    const uint64_t *likeness;       /* [likeness_count] perceptual hashes for a new row, borrowed;
                                       NULL: none */
    size_t likeness_count;          /* at most LEDGER_LIKENESS_MAX */
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
    int64_t job_id;                 /* bulk job that had it made; 0: none */
    int distance;                   /* to what was asked for by likeness (base/likeness.h); else
                                       -1 */
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

enum ledger_by { LEDGER_BY_KEY, LEDGER_BY_FILE_SHA, LEDGER_BY_CORE_SHA, LEDGER_BY_SEED,
                 LEDGER_BY_SINCE, LEDGER_BY_JOB };
struct ledger_query {
    enum ledger_by by;
    struct digest digest;           /* BY_KEY, BY_FILE_SHA, BY_CORE_SHA */
    struct digest model;            /* BY_SEED, BY_SINCE; with any_model it does not matter */
    bool any_model;
    uint32_t seed;
    int64_t psi;                    /* BY_SEED: millionths; INT64_MIN: any */
    int64_t since;                  /* BY_SINCE: seconds since 1970 */
    int64_t job, first;             /* BY_JOB: items first..first + limit - 1 that have a row, in
                                       their order */
    size_t limit;                   /* 1..LEDGER_ROWS_MAX */
};
/* Newest first (but BY_JOB), without data. ERR_RANGE: psi, limit; ERR_NOT_FOUND: no such job. */
enum err_code ledger_find(struct ledger *self, const struct ledger_query *query,
                          struct ledger_rows *out, struct err *e);
/* A picture that numerics_class and encoder made, not withdrawn, without data: among the next 64
 * from key from on, else among the first 64; no row when there is none either. With a random key
 * every picture is as likely as the gap before it is wide. */
enum err_code ledger_sample(struct ledger *self, const char *numerics_class, const char *encoder,
                            const struct digest *from, struct ledger_rows *out, struct err *e);

/* ---- perceptual hashes: ledger_likeness.c ---- */

struct ledger_likeness {
    int64_t id;                     /* of its own: they count up, with gaps */
    size_t count;
    uint64_t hashes[LEDGER_LIKENESS_MAX];
};
/* Transactions as the server numbers them, when rows were read: what had a number below oldest had
 * ended, next is above all that had begun. Rows do not show in the order of their ids: a smaller
 * one may still come from a transaction that was under way, whose number is then below next. */
struct ledger_horizon {
    int64_t oldest, next;
};
/* Those with ids first..last, by id, at most max; the horizon as of the same moment. */
enum err_code ledger_likenesses(struct ledger *self, int64_t first, int64_t last,
                                struct ledger_likeness *rows, size_t max, size_t *count,
                                struct ledger_horizon *horizon, struct err *e);
/* The largest id; 0: there is none. */
enum err_code ledger_likeness_newest(struct ledger *self, int64_t *id, struct err *e);
/* The recipe key of each id, at most LEDGER_BATCH_MAX; all zeros: it is gone. ERR_BUG: count. */
enum err_code ledger_likeness_keys(struct ledger *self, const int64_t *ids, size_t count,
                                   struct digest *keys, struct err *e);

/* ---- bulk jobs: ledger_bulk.c; from their leases on, ledger_bulk_chunks.c ---- */

enum ledger_bulk_state { LEDGER_BULK_RUNNING, LEDGER_BULK_PAUSED, LEDGER_BULK_CANCELLED,
                         LEDGER_BULK_DONE };            /* as enum message_bulk_state */

/* Seeds first..last; item numbers of a job go through its parts in order. */
struct ledger_part {
    int64_t item;                   /* number of its first one */
    uint32_t first, last;
    int class_mod;                  /* class is seed % class_mod; 0: the recipe's */
    struct recipe recipe;           /* of seed first */
};
/* The recipe of an item that lies in the part. */
struct recipe ledger_part_recipe(const struct ledger_part *part, int64_t item);

struct ledger_job {
    int64_t id;
    char owner[80], name[RECIPE_NAME_MAX + 1];
    enum ledger_bulk_state state;
    bool keep;                      /* false: provenance only, an exporter takes the files */
    int priority;                   /* enum message_priority */
    int chunk;                      /* items */
    int64_t total, next;            /* items; those below next are in chunks */
    int64_t done, failed, leased;   /* items: counted chunks' rows and failures; under lease */
    int64_t exporter_ms;            /* since one was heard; -1: never */
    struct digest model;            /* of its first part */
    int64_t picture_bytes;          /* mean of recent files of its first part's model; 0: none */
    char created[40], finished[40]; /* ISO 8601, UTC; "": not yet */
};

/* Adds the job, or finds it: the same owner, name and content is the same job (*is_new false).
 * job->owner, name, keep, priority, chunk and parts[0..count), whose items begin at 0 and have no
 * gap, are read; all of *job is then filled in. ERR_CONFLICT: the name stands for other content. */
enum err_code ledger_bulk_submit(struct ledger *self, struct ledger_job *job,
                                 const struct ledger_part *parts, size_t count, bool *is_new,
                                 struct err *e);
/* Jobs, newest first; id 0 and name "": any. *count at most max. */
enum err_code ledger_bulk_list(struct ledger *self, int64_t id, const char *name,
                               struct ledger_job *jobs, size_t max, size_t *count, struct err *e);
/* Mean length of some files of the model; 0: there are none. */
enum err_code ledger_bulk_picture_bytes(struct ledger *self, const struct digest *model,
                                        int64_t *bytes, struct err *e);
/* *parts is the caller's to free(). ERR_NOT_FOUND. */
enum err_code ledger_bulk_parts(struct ledger *self, int64_t job, struct ledger_part **parts,
                                size_t *count, struct err *e);
struct ledger_failure {
    int64_t item;
    char code[33], message[201];
};
/* Failures of items after the given one (-1: from the first), by item; at most max. */
enum err_code ledger_bulk_failures(struct ledger *self, int64_t job, int64_t after,
                                   struct ledger_failure *failures, size_t max, size_t *count,
                                   struct err *e);
/* Pauses (RUNNING -> PAUSED), resumes (PAUSED -> RUNNING; DONE with failures -> RUNNING, whose
 * failed items are forgotten and leased again), cancels. The same again is fine. ERR_NOT_FOUND,
 * ERR_CONFLICT: not from this state. owner "": anybody's, else ERR_DENIED when it is not his. */
enum err_code ledger_bulk_control(struct ledger *self, int64_t job, const char *owner,
                                  enum ledger_bulk_state to, struct err *e);

struct ledger_chunk {
    int64_t job, item;              /* first item */
    int count;
    int64_t epoch, beat;
    char holder[128];
};
/* The parts that the chunk's items lie in, in order; as ledger_bulk_parts. */
enum err_code ledger_bulk_parts_of(struct ledger *self, const struct ledger_chunk *chunk,
                                   struct ledger_part **parts, size_t *count, struct err *e);
/* Leases a chunk of a running job with keep: one that came back, else a new one. Jobs take turns:
 * this ledger goes round the running ones by id, a chunk a turn, and passes over except[0..count).
 * *found false: there is none. */
enum err_code ledger_bulk_lease(struct ledger *self, const int64_t *except, size_t count,
                                const char *holder, struct ledger_chunk *chunk, bool *found,
                                struct err *e);
/* Chunks of running jobs that somebody holds, for watching: at most max, by job and item after
 * (job, item) = *after. */
enum err_code ledger_bulk_leased(struct ledger *self, const struct ledger_chunk *after,
                                 struct ledger_chunk *chunks, size_t max, size_t *count,
                                 struct err *e);
/* Takes over a chunk that was watched standing still: only if epoch and beat are still those of
 * *chunk, which then has the new epoch. *won says so. */
enum err_code ledger_bulk_take(struct ledger *self, const char *holder, struct ledger_chunk *chunk,
                               bool *won, struct err *e);
/* Says that the holder lives, for chunks[0..count). states[i]: the job's state; held[i] false: the
 * chunk is another's now or done, drop it. */
enum err_code ledger_bulk_renew(struct ledger *self, struct ledger_chunk *chunks, size_t count,
                                enum ledger_bulk_state *states, bool *held, struct err *e);
/* Gives a chunk back unfinished (its job was paused, the broker leaves), to be leased again. */
enum err_code ledger_bulk_return(struct ledger *self, const struct ledger_chunk *chunk,
                                 struct err *e);
/* Which of keys[0..count) have a row: present[i]. count <= LEDGER_CHUNK_MAX. */
enum err_code ledger_bulk_present(struct ledger *self, const struct digest *keys, size_t count,
                                  bool *present, struct err *e);
/* Ends a chunk, fenced by its epoch, in one transaction: its failures become rows, its done is
 * counted over keys[0..chunk->count) (the keys of its items), and the job is done when this was its
 * last. *held false: the chunk is another's now, nothing was changed. ERR_CONFLICT: an item has
 * neither row nor failure. */
enum err_code ledger_bulk_finish(struct ledger *self, const struct ledger_chunk *chunk,
                                 const struct digest *keys, const struct ledger_failure *failures,
                                 size_t failure_count, bool *held, struct err *e);
/* A job without keep: items [item, item + count) are safe at its exporter. The chunk is made here,
 * done at once, its items counted over keys. The same again is fine. count 0: only a sign of life
 * of the exporter. */
enum err_code ledger_bulk_exported(struct ledger *self, int64_t job, int64_t item, int count,
                                   const struct digest *keys, struct err *e);

#endif
