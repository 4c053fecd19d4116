/* message -- what travels between clients, brokers and workers: one msgpack map a message, at times
 * followed by a frame of raw bytes (a JPEG). PROTOCOL.md is the grammar for people; the tables in
 * message_tables.c are the same grammar for programs, read by the codec, the page's test and the
 * fuzzers.
 *
 * To add a message: a struct here, a table there, a section in PROTOCOL.md, a handler, a test. */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include "proto/digest.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MESSAGE_VERSION = 1,            /* spoken: MESSAGE_VERSION and the one before it (none yet) */
    MESSAGE_MAP_MAX = 1 << 20,      /* bytes of a map */
    MESSAGE_IMAGE_MAX = 64 << 20,   /* bytes of the frame after it */
    MESSAGE_SEEDS_MAX = 1000,       /* seeds of one generate */
    MESSAGE_JOBS_MAX = 64,          /* jobs of one message, and results */
    MESSAGE_MODELS_MAX = 256,
    MESSAGE_DECIMALS_MAX = 2,       /* items of a list of decimals: translate */
    MESSAGE_FLOATS_MAX = 9,         /* items of a list of floats: transform */
    MESSAGE_PARTS_MAX = 1000,       /* parts of one bulk job */
    MESSAGE_FAILURES_MAX = 500,     /* failures of one bulk_plan */
    MESSAGE_LIKE_MAX = 144,         /* perceptual hashes of one lookup, two a window */
    MESSAGE_FIELDS_MAX = 64,        /* rows of one table; a test holds them to it */
};

enum message_type {
    /* client to broker */
    MESSAGE_GENERATE, MESSAGE_CANCEL, MESSAGE_LOOKUP, MESSAGE_FETCH, MESSAGE_MODELS,
    MESSAGE_MODEL_USE, MESSAGE_STATUS, MESSAGE_PING,
    MESSAGE_BULK_SUBMIT, MESSAGE_BULK_LIST, MESSAGE_BULK_SHOW, MESSAGE_BULK_CONTROL,
    MESSAGE_BULK_EXPORTED, MESSAGE_WITHDRAW,
    /* broker to client */
    MESSAGE_IMAGE, MESSAGE_RECEIPT, MESSAGE_ERROR, MESSAGE_DONE, MESSAGE_PROVENANCE,
    MESSAGE_MODEL_LIST, MESSAGE_STATUS_REPORT, MESSAGE_PONG,
    MESSAGE_BULK_REPORT, MESSAGE_BULK_PLAN, MESSAGE_WITHDRAWAL,
    /* worker to broker */
    MESSAGE_READY, MESSAGE_CREDIT, MESSAGE_HEARTBEAT, MESSAGE_STARTED, MESSAGE_RENDERED,
    MESSAGE_RESULTS, MESSAGE_FAIL, MESSAGE_HANDBACK, MESSAGE_BYE,
    /* broker to worker (and HEARTBEAT) */
    MESSAGE_INTRODUCE, MESSAGE_JOBS, MESSAGE_RECALL, MESSAGE_DRAIN,
    MESSAGE_TYPE_COUNT
};

/* Who may send a type, as bits. */
enum message_sender { MESSAGE_FROM_CLIENT = 1, MESSAGE_FROM_BROKER = 2, MESSAGE_FROM_WORKER = 4 };

enum message_priority { MESSAGE_HIGH, MESSAGE_NORMAL, MESSAGE_LOW, MESSAGE_PRIORITY_COUNT };
enum message_want { MESSAGE_WANT_IMAGE, MESSAGE_WANT_RECEIPT };
enum message_cache { MESSAGE_CACHE_USE, MESSAGE_CACHE_ONLY, MESSAGE_CACHE_BYPASS };
/* IMAGE: file and provenance; PROVENANCE: the file is not stored; REFILL: as IMAGE, and where the
 * picture's row has lost its file the same file is put back. */
enum message_keep { MESSAGE_KEEP_IMAGE, MESSAGE_KEEP_PROVENANCE, MESSAGE_KEEP_REFILL };
enum message_bulk_state { MESSAGE_BULK_RUNNING, MESSAGE_BULK_PAUSED, MESSAGE_BULK_CANCELLED,
                          MESSAGE_BULK_DONE };
enum message_bulk_action { MESSAGE_BULK_PAUSE, MESSAGE_BULK_RESUME, MESSAGE_BULK_CANCEL };
enum message_source { MESSAGE_SOURCE_RENDER, MESSAGE_SOURCE_LEDGER, MESSAGE_SOURCE_MEMORY };

/* Borrowed from the decoded bytes (or, before encoding, from the caller). data may be NULL when len
 * is 0; it does not end in NUL. ASCII, no control characters but LF. */
struct text {
    const char *data;
    size_t len;
};
struct numbers {
    const int64_t *items;
    size_t count;
};
struct records {                    /* of the struct that the field's table describes */
    const void *items;
    size_t count;
};
/* Short lists of one length, held in place: count is 0 (not given) or the most of the field. */
struct decimals {
    size_t count;
    int64_t items[MESSAGE_DECIMALS_MAX];        /* millionths */
};
struct floats {
    size_t count;
    float items[MESSAGE_FLOATS_MAX];
};

/* A digest field that is not there is all zeros. */

struct message_generate {
    struct text model;              /* "cats", "cats@1a2b3c4d", or 64 hex digits */
    int64_t seed;                   /* -1: seeds holds them */
    struct numbers seeds;           /* a list, or a range expanded */
    int64_t psi;                    /* millionths */
    int64_t cutoff, class_index;    /* -1: not given */
    int64_t noise_mode, noise_seed; /* -1: not given */
    struct decimals translate;      /* x, y */
    int64_t rotate;                 /* millionths of a degree; INT64_MIN: not given */
    struct floats transform;        /* row by row */
    int64_t quality;
    int64_t mark;                   /* -1: not given */
    int64_t rev;
    int64_t priority;               /* enum message_priority */
    int64_t deadline_ms;            /* from arrival at the broker */
    int64_t want;                   /* enum message_want */
    int64_t cache;                  /* enum message_cache */
    struct text require_class;      /* "": any */
    struct text trace;              /* echoed into the log */
    struct text on_behalf;          /* "for": whom a proxy speaks for; "": itself */
    int64_t keep;                   /* enum message_keep */
    int64_t job;                    /* bulk job that it belongs to; 0: none */
};
struct message_cancel {
    int64_t request;                /* id of the generate */
};
struct message_lookup {
    struct digest recipe_key, sha256, core_sha256;
    struct text model;              /* with seed; "": any model */
    int64_t seed;                   /* -1: not given */
    int64_t psi;                    /* millionths; INT64_MIN: any */
    int64_t job;                    /* pictures of a bulk job, from item first on; 0: not given */
    int64_t first;                  /* with job */
    int64_t since;                  /* seconds since 1970; -1: not given */
    struct text like;               /* perceptual hashes, 16 hex digits each, two a window
                                       (base/likeness.h); "": not given */
    int64_t limit;
};
struct message_fetch {
    struct digest recipe_key, sha256;
};
struct message_model_use {
    struct text name;
    struct text digest;             /* 4..64 hex digits */
};
/* Seeds first..last, all with these options. */
struct message_bulk_part {
    struct text model;
    int64_t first, last;            /* seeds */
    int64_t psi;                    /* millionths */
    int64_t cutoff, class_index;    /* -1: not given */
    int64_t class_mod;              /* class is seed % class_mod; 0: class_index says it */
    int64_t noise_mode, noise_seed; /* -1: not given */
    struct decimals translate;      /* x, y */
    int64_t rotate;                 /* millionths of a degree; INT64_MIN: not given */
    struct floats transform;        /* row by row */
    int64_t quality;
    int64_t mark;                   /* -1: not given */
    int64_t rev;
};
struct message_bulk_submit {
    struct text name;               /* the submitter's own */
    int64_t keep;                   /* enum message_keep: IMAGE or PROVENANCE */
    int64_t priority;               /* enum message_priority */
    int64_t chunk;                  /* items under one lease */
    bool dry;                       /* only says what it would be: job is 0 in the answer */
    struct records parts;           /* struct message_bulk_part; items are counted through them */
};
struct message_bulk_list {
    int64_t job;                    /* 0: any */
    struct text name;               /* "": any */
    int64_t limit;
};
struct message_bulk_show {
    int64_t job;
    int64_t after;                  /* failures of items after this one; -1: from the first */
};
struct message_bulk_control {
    int64_t job;
    int64_t action;                 /* enum message_bulk_action */
};
struct message_bulk_exported {
    int64_t job;
    int64_t first, count;           /* items that are safe on the exporter's disk; count 0: only a
                                       sign of life */
};
struct message_withdraw {
    struct digest recipe_key, sha256;
    struct text reason;
};
struct message_empty {
    char unused;                    /* C has no empty struct */
};

struct message_image {              /* IMAGE (a frame with the JPEG follows) and RECEIPT (none) */
    int64_t seed;
    int64_t psi;
    struct digest model, recipe_key, sha256, core_sha256;
    struct text recipe;
    struct text numerics_class, encoder;
    int64_t run;
    int64_t bytes;
    int64_t source;                 /* enum message_source */
    int64_t queue_ms, render_ms, encode_ms, store_ms;
    int64_t batch;
    struct text warning;
    /* What a new render gave, where a picture was stored before: that one is the answer, and may
     * differ. All zero: nothing was rendered, or what was is this picture. */
    struct digest rendered_sha256, rendered_core_sha256;
    struct text rendered_class;
    int64_t rendered_run;
    int64_t rendered_levels;        /* its pixels' largest difference from the stored ones,
                                       0..255 */
    int64_t rendered_psnr;          /* in millionths of a dB; INT64_MIN, levels -1: not compared */
};
struct message_error {
    struct text code;               /* err_info()->word */
    struct text message;
    bool retry;
    int64_t retry_after_ms;
    int64_t seed;                   /* -1: the request as a whole */
};
struct message_done {
    int64_t count, failed;
};
struct message_row {
    struct digest recipe_key, sha256, core_sha256;
    struct text recipe;
    struct text model;              /* the name bound to it now, "" if none */
    struct text numerics_class, encoder;
    int64_t run, batch, bytes;
    bool kept, withdrawn;
    struct text created;
    struct text worker, version, backend, device, driver, libraries;
    int64_t job;                    /* bulk job that had it made; 0: none */
    int64_t distance;               /* bits that differ, of a lookup by `like`; -1: no such */
};
struct message_provenance {
    struct records rows;            /* struct message_row */
};
struct message_model {
    struct text name;
    struct digest digest;
    struct text arch, licence;
    int64_t width, height, num_ws, z_dim, w_dim, c_dim;
    int64_t noise_modes;            /* bits, see struct model_facts */
    bool has_transform;
    bool bound;                     /* MODEL_LIST: the ledger binds name to this digest */
    int64_t workers;                /* MODEL_LIST: live workers that have it */
};
struct message_model_list {
    struct records models;          /* struct message_model */
};
struct message_worker {
    struct text worker, numerics_class, device;
    int64_t run, credit, leased, rendered, backlog_ms, silent_ms;
    bool draining;
};
struct message_status_report {
    struct text version;
    int64_t uptime_ms;
    bool ledger_up;
    bool draining;
    int64_t looking_up, queued_high, queued_normal, queued_low, held, rendering, committing;
    int64_t waiters;
    int64_t submitted, answered, failed, cancelled, joined, ledger_hits, retried, late;
    int64_t memory_hits, memory_bytes, refused, expired, poison, workers_lost;
    int64_t clients, clients_dropped, denied, malformed;
    int64_t oldest_ms, wait_p50_ms, wait_p99_ms;
    struct records workers;         /* struct message_worker */
};

struct message_bulk_job {
    int64_t job;
    struct text name;
    int64_t state;                  /* enum message_bulk_state */
    int64_t keep, priority, chunk;
    int64_t total;                  /* items */
    int64_t done, failed;           /* items with a row, with a failure; counted, not summed up */
    int64_t rendering;              /* items under lease now */
    int64_t exporter_ms;            /* since an exporter was last heard; -1: never */
    int64_t picture_us;             /* what one more takes, by measured costs; 0: unknown */
    int64_t picture_bytes;          /* mean of recent files of its first model; 0: unknown */
    struct text created, finished;  /* ISO 8601, UTC; "": not yet */
};
struct message_bulk_report {
    struct records jobs;            /* struct message_bulk_job, newest first */
    bool is_new;                    /* to bulk_submit: it was not there before */
};
struct message_bulk_range {
    int64_t item;                   /* number of its first one */
    int64_t first, last;            /* seeds */
    int64_t class_mod;              /* 0: the recipe's class */
    struct text recipe;             /* of seed first */
};
struct message_bulk_failure {
    int64_t item, seed;
    struct text code, message;
};
struct message_bulk_plan {
    struct records jobs;            /* one struct message_bulk_job */
    struct records parts;           /* struct message_bulk_range, by item */
    struct records failures;        /* struct message_bulk_failure, by item */
};
struct message_withdrawal {
    struct digest subject;
    int64_t pictures, files;        /* rows that the subject has; files that were there till now */
    struct records rows;            /* struct message_row: the first of them */
};

struct message_ready {
    struct text worker;             /* "host:pid:start" */
    int64_t run;
    struct text version, numerics_class, encoder, device;
    int64_t credit, batch_max;
    bool dummy;                     /* makes bytes, not pictures: for measuring brokers */
    struct records models;          /* struct message_model */
};
struct message_credit {
    int64_t credit;                 /* leases this broker may have out at this worker */
};
struct message_heartbeat {
    int64_t credit;                 /* as in CREDIT */
    int64_t held, started, rendered, stored;    /* totals since the worker's start but held */
    int64_t backlog_ms;
    bool ledger_up;
    int64_t demand;                 /* from a broker: pictures queued that this worker could make */
};
struct message_leases {             /* STARTED, RENDERED, HANDBACK, RECALL */
    struct numbers leases;
};
struct message_result {
    int64_t lease;
    struct digest recipe_key, sha256, core_sha256;
    struct text numerics_class, encoder;
    int64_t run;
    int64_t render_us, encode_us, store_us;
    int64_t batch;
    int64_t bytes;                  /* of the winner's file */
    int64_t want;                   /* enum message_want: a receipt's file is not in the frame */
    struct digest rendered_sha256, rendered_core_sha256;    /* as in message_image */
    struct text rendered_class;
    int64_t rendered_run, rendered_levels, rendered_psnr;
};
struct message_results {            /* a frame with the files follows, one after the other */
    struct records results;         /* struct message_result */
};
struct message_fail {
    int64_t lease;
    struct text code, message;
};
struct message_job {
    int64_t lease;
    struct text recipe;
    int64_t priority;
    int64_t deadline_ms;            /* from arrival at the worker */
    bool alone;                     /* not to be batched with others: it may have killed a worker */
    int64_t want;                   /* enum message_want: nobody waits for a receipt's file */
    int64_t keep;                   /* enum message_keep */
    int64_t bulk;                   /* bulk job for its row; 0: none */
};
struct message_jobs {
    struct records jobs;            /* struct message_job */
};

struct message {
    enum message_type type;
    int64_t id;                     /* ties answers to requests; 0 when not given */
    union {
        struct message_generate generate;
        struct message_cancel cancel;
        struct message_lookup lookup;
        struct message_fetch fetch;
        struct message_model_use model_use;
        struct message_bulk_submit bulk_submit;
        struct message_bulk_list bulk_list;
        struct message_bulk_show bulk_show;
        struct message_bulk_control bulk_control;
        struct message_bulk_exported bulk_exported;
        struct message_withdraw withdraw;
        struct message_empty empty;
        struct message_image image;
        struct message_error error;
        struct message_done done;
        struct message_provenance provenance;
        struct message_model_list model_list;
        struct message_status_report status_report;
        struct message_bulk_report bulk_report;
        struct message_bulk_plan bulk_plan;
        struct message_withdrawal withdrawal;
        struct message_ready ready;
        struct message_credit credit;
        struct message_heartbeat heartbeat;
        struct message_leases leases;
        struct message_results results;
        struct message_fail fail;
        struct message_jobs jobs;
    };
    void *zone;                     /* the decoder's memory; message_release frees it */
};

/* Decodes one map from data[0..len), which must outlive the message. Unknown fields are ignored;
 * everything else that PROTOCOL.md does not allow is an error that names the field: ERR_INVALID,
 * ERR_RANGE, ERR_TYPE (unknown, or not from this sender), ERR_VERSION, ERR_TOO_LARGE, ERR_NOMEM.
 * In every case out->id is the map's id if one could be read, else 0; *out is to be released. */
enum err_code message_decode(const void *data, size_t len, enum message_sender from,
                             struct message *out, struct err *e);
void message_release(struct message *self);

/* A look at some entries of a map without decoding it, for programs that count answers by the
 * hundred thousand and check none. Each peek whose key is in the map gets its value if that is a
 * whole number or a string, borrowed from data; the others found = false. False when data is not
 * one whole map. */
struct message_peek {
    const char *key;
    bool found;
    int64_t number;                 /* 0 for a string */
    struct text text;               /* "" for a number */
};
bool message_peek(const void *data, size_t len, struct message_peek *peeks, size_t count);

/* Sets the fields of a type to their defaults, ready to be filled in and encoded. */
void message_init(struct message *self, enum message_type type, int64_t id);
/* The map as bytes; fields at their defaults are left out. *data is the caller's to free().
 * Characters that a text may not hold become '?'. ERR_NOMEM; ERR_BUG for a value out of range. */
enum err_code message_encode(const struct message *self, void **data, size_t *len, struct err *e);
/* The same into room[0..cap): *data is room when that was enough, else the caller's to free(). */
enum err_code message_encode_in(const struct message *self, void *room, size_t cap, void **data,
                                size_t *len, struct err *e);

/* A map that is encoded once and sent many times: data[0..len) is what message_encode made with the
 * id MESSAGE_ID_BLANK; out gets the same map with another id, 0 being none. out has room for
 * len + MESSAGE_ID_MORE bytes; returns how many were written. */
enum { MESSAGE_ID_BLANK = 1, MESSAGE_ID_MORE = 8 };
size_t message_with_id(const void *data, size_t len, int64_t id, void *out);

const char *message_word(enum message_type type);       /* "generate" */

/* One picture of a generate, as recipe_resolve takes it. */
struct recipe_request message_recipe_request(const struct message_generate *g, uint32_t seed);

/* For a text literal or string; the string is borrowed. */
struct text text_of(const char *string);
bool text_is(struct text text, const char *string);
/* Copies into out[cap] and ends it in NUL; cut when it does not fit. Returns out. */
const char *text_copy(struct text text, char *out, size_t cap);

/* ---- the grammar as tables ---- */

enum field_kind {
    FIELD_INT,                      /* int64_t */
    FIELD_FLAG,                     /* bool */
    FIELD_DECIMAL,                  /* int64_t millionths; a float or integer on the wire */
    FIELD_WORD,                     /* int64_t index into words; a string on the wire */
    FIELD_TEXT,                     /* struct text; min and max are lengths */
    FIELD_DIGEST,                   /* struct digest; 64 lower-case hex digits on the wire */
    FIELD_NUMBERS,                  /* struct numbers; min, max are of each; at most most items */
    FIELD_DECIMALS,                 /* struct decimals; min, max are of each; exactly most items */
    FIELD_FLOATS,                   /* struct floats; finite; exactly most items; any number on the
                                       wire, rounded to float32 */
    FIELD_SEEDS,                    /* struct numbers; a list, or the map {first, last} */
    FIELD_RECORDS,                  /* struct records; each a map, described by sub */
};
struct field {
    const char *name;
    size_t name_len;
    enum field_kind kind;
    bool required;
    int64_t min, max;
    int64_t def;                    /* the value when it is not there; INT64_MIN: printed as "-" */
    size_t most;                    /* items of NUMBERS, SEEDS, RECORDS, DECIMALS, FLOATS */
    size_t offset;                  /* in the struct */
    const char *const *words;       /* WORD: the values, [max + 1] */
    const struct field_table *sub;  /* RECORDS */
    const char *help;               /* one line for the page */
};
struct field_table {
    const struct field *fields;
    size_t count;
    size_t size;                    /* of the struct */
};
struct message_info {
    const char *word;
    unsigned from;                  /* bits of enum message_sender */
    const struct field_table *table;
    const char *frame;              /* what the frame of raw bytes after the map is; NULL: none */
    const char *help;
};
const struct message_info *message_info(enum message_type type);

/* One line of the page for a field, as there: "| `seed` | int | 0..4294967295 | - | ...|".
 * Returns the length; cut at cap. */
size_t message_describe(const struct field *field, char *out, size_t cap);

#endif
