/* seedpress -- pictures by (model, seed, psi) from a seedpress broker, and where they came from.
 *
 *     struct seedpress *sp = NULL;
 *     struct seedpress_request request;
 *     struct seedpress_image image;
 *     struct seedpress_error error;
 *
 *     seedpress_request_init(&request);
 *     request.model = "avatars64";
 *     request.seed = 42;
 *     if (seedpress_create(NULL, &sp, &error) || seedpress_generate(sp, &request, &image, &error))
 *         fprintf(stderr, "%s\n", error.message);
 *     else
 *         fwrite(image.data, 1, image.len, stdout);
 *     seedpress_destroy(&sp);
 *
 * Threads: a handle belongs to one thread at a time; several handles are independent. There is no
 * global state. After fork() only the parent may use a handle.
 *
 * Lent memory: every pointer that a call puts into an image, an event, rows, models or a status
 * stays valid until the next call with the same handle (seedpress_destroy included); copy what must
 * live longer. What a call is given is only read during the call.
 *
 * Promises: every picture asked for ends exactly once, with an image or an error, at most half a
 * second after its deadline. A broker that falls silent, goes away or is restarted is noticed; what
 * it still owes is asked again, at the next endpoint if there are several, as long as there is
 * time. A picture is only given when its bytes, its recipe and its seed agree with each other and
 * with what was asked.
 *
 * Link with `pkg-config --cflags --libs seedpress`. */
#ifndef SEEDPRESS_H
#define SEEDPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SEEDPRESS_DEFAULT_BROKER "tcp://127.0.0.1:7701"

enum {
    SEEDPRESS_SEEDS_MAX = 1000,     /* pictures of one submit; ask for more in several */
    SEEDPRESS_HEX = 65,             /* a SHA-256 as lower-case hex digits, with its NUL */
    SEEDPRESS_ROWS_MAX = 100,       /* rows of one look-up */
    SEEDPRESS_LIKE_MAX = 144,       /* perceptual hashes of one look-up, two a window */
    SEEDPRESS_PARTS_MAX = 1000      /* parts of one bulk job */
};

/* ---- errors ---- */

/* Every function that can fail gives one of these, SEEDPRESS_OK (0) when it did not. The list grows
 * at its end; numbers and words stay. */
enum seedpress_code {
    SEEDPRESS_OK = 0,
    SEEDPRESS_INVALID = 1,          /* malformed */
    SEEDPRESS_RANGE = 2,            /* well-formed, but outside its limits */
    SEEDPRESS_NO_MEMORY = 3,
    SEEDPRESS_DEVICE = 4,           /* the engine failed on this picture */
    SEEDPRESS_UNKNOWN_TYPE = 5,
    SEEDPRESS_VERSION_UNKNOWN = 6,
    SEEDPRESS_USE_DEALER = 7,
    SEEDPRESS_UNKNOWN_MODEL = 8,
    SEEDPRESS_CLASS_REQUIRED = 9,   /* a conditional model needs class_index */
    SEEDPRESS_UNSUPPORTED = 10,     /* the model has no such option */
    SEEDPRESS_NOT_FOUND = 11,       /* nothing is stored under that name */
    SEEDPRESS_CLASS_CONFLICT = 12,  /* stored by another numerics class than require_class */
    SEEDPRESS_WRONG_CLASS = 13,
    SEEDPRESS_NOT_REPRODUCIBLE = 14,
    SEEDPRESS_WITHDRAWN = 15,
    SEEDPRESS_OVERLOADED = 16,
    SEEDPRESS_DEADLINE = 17,        /* a broker is there, but the answer would be or was too late */
    SEEDPRESS_NO_WORKER = 18,
    SEEDPRESS_LEDGER_DOWN = 19,
    SEEDPRESS_RETRY = 20,
    SEEDPRESS_POISON = 21,          /* the render failed on every attempt */
    SEEDPRESS_CANCELLED = 22,
    SEEDPRESS_TOO_LARGE = 23,
    SEEDPRESS_UNREACHABLE = 24,     /* no broker was heard at all */
    SEEDPRESS_DENIED = 25,
    SEEDPRESS_FILE = 26,
    SEEDPRESS_BUG = 27,             /* ours or the broker's: an answer that contradicts itself */
    SEEDPRESS_CONFLICT = 28
};

struct seedpress_error {
    int code;                       /* enum seedpress_code */
    char word[32];                  /* the code as a word that does not change: "unknown_model" */
    char message[256];              /* for a person; lower case, no full stop */
    bool retry;                     /* the same request may succeed later */
    int retry_after_ms;             /* with retry: not before; 0: nothing is known */
    int exit_code;                  /* what the command seedpress exits with */
    int http_status;                /* what a gateway answers */
};

/* ---- the handle ---- */

/* All zero means all defaults. */
struct seedpress_options {
    const char *brokers;            /* endpoints, ',' between; the first is used until it fails.
                                       NULL: the environment's SEEDPRESS_BROKER, else
                                       SEEDPRESS_DEFAULT_BROKER */
    bool allow_plain;               /* connect without encryption beyond this machine, too */
    int silence_ms;                 /* a broker silent for this long is given up: 3000. It is pinged
                                       three times as often while it owes anything */
    int unreachable_ms;             /* requests end with SEEDPRESS_UNREACHABLE when no broker was
                                       heard for this long, though their deadline is later: 30000 */
    int answer_ms;                  /* deadline of everything that is not a picture: 10000 */
    const char *key_file;           /* one's own pair of keys, from `seedpress keygen`: tcp is then
                                       encrypted, and the broker knows who asks. NULL: the
                                       environment's SEEDPRESS_KEY_FILE, else none; "": none */
    const char *broker_key;         /* with key_file: the public key of the brokers, the same for
                                       all, as 40 characters or the path of a .pub file. NULL: the
                                       environment's SEEDPRESS_BROKER_KEY */
};

struct seedpress;

/* Connects in the background: that nobody is there shows when something is asked. options may be
 * NULL. On failure *out is NULL. INVALID (an endpoint; one key without the other), DENIED (an
 * endpoint beyond this machine without keys), FILE (a key), NO_MEMORY. error may be NULL here and
 * everywhere. */
enum seedpress_code seedpress_create(const struct seedpress_options *options,
                                     struct seedpress **out, struct seedpress_error *error);
/* What is still waiting is given up; *self becomes NULL, and may be it before. */
void seedpress_destroy(struct seedpress **self);

const char *seedpress_version(void);            /* of the library: "0.1.0" */

/* ---- asking for pictures ---- */

enum seedpress_noise { SEEDPRESS_NOISE_DEFAULT = -1, SEEDPRESS_NOISE_NONE = 0,
                       SEEDPRESS_NOISE_CONST = 1, SEEDPRESS_NOISE_RANDOM = 2,
                       SEEDPRESS_NOISE_STREAM = 3 };
enum seedpress_mark { SEEDPRESS_MARK_DEFAULT = -1, SEEDPRESS_MARK_NONE = 0, SEEDPRESS_MARK_XMP = 1,
                      SEEDPRESS_MARK_C2PA = 2 };
enum seedpress_priority { SEEDPRESS_HIGH = 0, SEEDPRESS_NORMAL = 1, SEEDPRESS_LOW = 2 };
enum seedpress_want { SEEDPRESS_WANT_IMAGE = 0, SEEDPRESS_WANT_RECEIPT = 1 };
enum seedpress_cache { SEEDPRESS_CACHE_USE = 0, SEEDPRESS_CACHE_ONLY = 1,
                       SEEDPRESS_CACHE_BYPASS = 2 };

enum seedpress_keep { SEEDPRESS_KEEP_IMAGE = 0,
                      SEEDPRESS_KEEP_PROVENANCE = 1,    /* a new picture's file is not stored */
                      SEEDPRESS_KEEP_REFILL = 2 };      /* a file that its row has lost is put
                                                           back */

/* Fill with seedpress_request_init, then set what should differ. Before version 1.0 a new minor
 * version may add fields: build with the header of the library that is linked. */
struct seedpress_request {
    const char *model;              /* "cats", "cats@1a2b3c4d" or 64 hex digits; required */
    const uint32_t *seeds;          /* a list, [count]; NULL: seed, seed + 1, ..., count of them */
    size_t count;                   /* 1; at most SEEDPRESS_SEEDS_MAX */
    uint32_t seed;                  /* 0; with seeds NULL */
    double psi;                     /* 1; -2..2, at most six decimal places */
    int cutoff;                     /* -1: psi reaches all rows of w; else 0..64 of them */
    int class_index;                /* -1: none; conditional models require one */
    int noise_mode;                 /* enum seedpress_noise; -1: const where the model has noise */
    int64_t noise_seed;             /* -1: none; SEEDPRESS_NOISE_RANDOM requires one, 0..2^32-1 */
    double translate[2];            /* 0, 0; StyleGAN 3 only: x and y in widths and heights of the
                                       picture, -1000..1000, at most six decimal places */
    double rotate;                  /* 0; StyleGAN 3 only: degrees, likewise */
    const double *transform;        /* NULL: none; StyleGAN 3 only: [9], row by row, what the
                                       official code puts into synthesis.input.transform, rounded
                                       to float32. Without translate and rotate */
    int quality;                    /* 90; of the JPEG, 1..100 */
    int mark;                       /* enum seedpress_mark; -1: xmp */
    uint32_t rev;                   /* 0 */
    int priority;                   /* SEEDPRESS_NORMAL */
    int deadline_ms;                /* 10000; 1..3600000, from now */
    int want;                       /* SEEDPRESS_WANT_IMAGE; a receipt is an image without bytes */
    int cache;                      /* SEEDPRESS_CACHE_USE; ONLY: nothing is rendered; BYPASS:
                                       rendered even when stored (the stored picture still wins) */
    const char *require_class;      /* NULL: any; numerics class that must have made the picture */
    const char *trace;              /* NULL: none; goes into the broker's log */
    const char *visitor;            /* NULL: none; from a proxy: whom it asks for, at most 64 bytes
                                       of ASCII. Each has turns and bounds of his own at the
                                       broker. Needs a key with the role proxy or admin, or a plain
                                       connection on the broker's machine; else DENIED */
    int keep;                       /* SEEDPRESS_KEEP_IMAGE */
    int64_t job;                    /* 0; bulk job that it belongs to */
};
void seedpress_request_init(struct seedpress_request *request);

enum seedpress_source { SEEDPRESS_SOURCE_RENDER = 0, SEEDPRESS_SOURCE_LEDGER = 1,
                        SEEDPRESS_SOURCE_MEMORY = 2 };     /* the broker's */

struct seedpress_image {
    const void *data;               /* the JPEG, lent; NULL of a receipt */
    size_t len;                     /* its bytes, also of a receipt */
    uint32_t seed;
    double psi;
    char model[SEEDPRESS_HEX];      /* digest */
    char recipe_key[SEEDPRESS_HEX]; /* SHA-256 of recipe */
    char sha256[SEEDPRESS_HEX];     /* of the file */
    char core_sha256[SEEDPRESS_HEX];/* of the file without APPn and COM segments */
    char recipe[640];               /* canonical text */
    char numerics_class[64];        /* the arithmetic that made the pixels */
    char encoder[64];
    int64_t run;                    /* the worker's start in the ledger */
    int source;                     /* enum seedpress_source; LEDGER, MEMORY: nothing was rendered
                                       for this answer */
    int64_t queue_ms, render_ms, encode_ms, store_ms;
    int batch;                      /* pictures rendered together */
    char warning[161];              /* "" when there is none */
    /* What a new render gave, where a picture was stored before: that one is the answer, and may
     * differ. "": nothing was rendered, or what was is this picture. */
    char rendered_sha256[SEEDPRESS_HEX], rendered_core_sha256[SEEDPRESS_HEX], rendered_class[64];
    int64_t rendered_run;
    int rendered_levels;            /* largest difference of a pixel from the stored picture's, */
    double rendered_psnr;           /* 0..255, and PSNR in dB, 99 at most; -1: not compared */
};

/* One picture (request->count is 1), waited for. Its error is the function's. */
enum seedpress_code seedpress_generate(struct seedpress *self,
                                       const struct seedpress_request *request,
                                       struct seedpress_image *image,
                                       struct seedpress_error *error);

/* Asks without waiting; *id names the request in its events. Errors here are of the request's form;
 * nothing is pending then. Any number may be pending, each seed costs about 200 bytes and, once its
 * picture came, the picture: bound what is pending. */
enum seedpress_code seedpress_submit(struct seedpress *self,
                                     const struct seedpress_request *request, int64_t *id,
                                     struct seedpress_error *error);

enum seedpress_event_kind {
    SEEDPRESS_EVENT_IMAGE = 1,      /* one picture, in image */
    SEEDPRESS_EVENT_ERROR = 2,      /* why there is no picture of this seed, in error */
    SEEDPRESS_EVENT_DONE = 3        /* after the last picture or error of every submit */
};
struct seedpress_event {
    int kind;                       /* enum seedpress_event_kind; says which fields below count */
    int64_t id;
    uint32_t seed;                  /* of IMAGE and ERROR; named twice, answered twice */
    struct seedpress_image image;
    struct seedpress_error error;
    size_t count, failed;           /* of DONE: pictures asked for; those that ended in errors */
};

/* The next event of what was submitted, in the order of arrival; waits for it up to timeout_ms (0:
 * not at all; -1: as long as it takes). False: none came in time, or nothing is pending. Call it at
 * least once a second while something is pending: it also pings, sends again and ends what is late.
 * Signals do not end it. */
bool seedpress_next(struct seedpress *self, int timeout_ms, struct seedpress_event *event);

/* Ends what is still waiting of a submit: each such seed with the error SEEDPRESS_CANCELLED, then
 * DONE. Events that came before stay. NOT_FOUND when nothing of it is waiting. */
enum seedpress_code seedpress_cancel(struct seedpress *self, int64_t id,
                                     struct seedpress_error *error);

/* For a poll loop of one's own: readable (level-triggered) when seedpress_next with timeout 0 has
 * an event or something to do. Read nothing from it. The same descriptor until seedpress_destroy,
 * which closes it; -1 when there is none left to open. */
int seedpress_fd(struct seedpress *self);

/* ---- what is known of pictures ---- */

/* Exactly one of the three digests (64 hex digits), seed, job, since and like; all zero is no
 * question. */
struct seedpress_query {
    const char *recipe_key, *sha256, *core_sha256;
    bool has_seed;
    uint32_t seed;
    const char *model;              /* with seed; NULL: any */
    bool has_psi;
    double psi;                     /* with seed and has_psi; else any */
    int limit;                      /* rows, newest first; 0: 10; at most SEEDPRESS_ROWS_MAX */
    int64_t job, first;             /* pictures of a bulk job, in its order, from that item on */
    bool has_since;
    int64_t since;                  /* pictures stored from then on (seconds since 1970), of
                                       model */
    const uint64_t *like;           /* [like_count] perceptual hashes: pictures that look alike,
                                       nearest first */
    size_t like_count;              /* at most SEEDPRESS_LIKE_MAX */
};

struct seedpress_row {
    uint32_t seed;
    double psi;
    char model[SEEDPRESS_HEX];      /* digest */
    char model_name[65];            /* bound to it now, "" if none is */
    char recipe_key[SEEDPRESS_HEX], sha256[SEEDPRESS_HEX], core_sha256[SEEDPRESS_HEX];
    char recipe[640];
    int64_t run;
    int batch;                      /* pictures rendered together */
    int64_t bytes;                  /* of the file */
    bool kept;                      /* seedpress_fetch would give the bytes */
    bool withdrawn;
    char created[41];               /* ISO 8601, UTC */
    char worker[128], version[64], backend[32], device[128], driver[64], libraries[160];
    char numerics_class[64], encoder[64];
    int64_t job;                    /* bulk job that had it made; 0: none */
    int distance;                   /* of a look-up by like: bits that differ; else -1 */
};

/* *rows is lent, [*count]; 0 rows is no error. */
enum seedpress_code seedpress_lookup(struct seedpress *self, const struct seedpress_query *query,
                                     const struct seedpress_row **rows, size_t *count,
                                     struct seedpress_error *error);

/* The stored file with that recipe key or file hash (one is NULL). NOT_FOUND, WITHDRAWN, ... */
enum seedpress_code seedpress_fetch(struct seedpress *self, const char *recipe_key,
                                    const char *sha256, struct seedpress_image *image,
                                    struct seedpress_error *error);

/* Takes the subject of that recipe key or file hash (one is NULL) back for ever: no picture of it,
 * whatever its psi and encoding, is stored or answered with bytes again. Needs the role admin. */
struct seedpress_withdrawal {
    char subject[SEEDPRESS_HEX];
    int64_t pictures, files;        /* rows of the subject; files that were there till now */
    const struct seedpress_row *rows;           /* lent, [row_count]: the newest of them */
    size_t row_count;
};
enum seedpress_code seedpress_withdraw(struct seedpress *self, const char *recipe_key,
                                       const char *sha256, const char *reason,
                                       struct seedpress_withdrawal *out,
                                       struct seedpress_error *error);

/* ---- bulk jobs ---- */

/* Seeds first..last, all with the options of request: model, psi, cutoff, class_index, noise,
 * transform, quality, mark and rev count. */
struct seedpress_part {
    struct seedpress_request request;
    uint32_t first, last;
    int class_mod;                  /* class is seed % class_mod; 0: request.class_index says it */
};
struct seedpress_submission {
    const char *name;               /* one's own; the same again with the same content is the same
                                       job, with other content SEEDPRESS_CONFLICT */
    int keep;                       /* SEEDPRESS_KEEP_IMAGE, or PROVENANCE: files go to an exporter
                                       only */
    int priority;                   /* SEEDPRESS_LOW is usual */
    int chunk;                      /* items that a broker leases at once; 0: 1000 */
    bool dry;                       /* only say what it would be: job is 0 in the answer */
    const struct seedpress_part *parts;         /* [part_count], at most SEEDPRESS_PARTS_MAX */
    size_t part_count;
};
enum seedpress_bulk_state { SEEDPRESS_BULK_RUNNING = 0, SEEDPRESS_BULK_PAUSED = 1,
                            SEEDPRESS_BULK_CANCELLED = 2, SEEDPRESS_BULK_DONE = 3 };
enum seedpress_bulk_action { SEEDPRESS_BULK_PAUSE = 0, SEEDPRESS_BULK_RESUME = 1,
                             SEEDPRESS_BULK_CANCEL = 2 };
struct seedpress_job {
    int64_t job;                    /* its number; 0: it was only tried */
    char name[65];
    int state;                      /* enum seedpress_bulk_state */
    int keep, priority, chunk;
    int64_t total, done, failed;    /* items; with a row; ended in an error */
    int64_t rendering;              /* items under lease and not yet counted */
    int64_t exporter_ms;            /* since an exporter was heard; -1: never */
    int64_t picture_us;             /* what one more takes; 0: unknown */
    int64_t picture_bytes;          /* mean of recent files of its first model; 0: unknown */
    char created[41], finished[41]; /* ISO 8601, UTC; "": not yet */
};
enum seedpress_code seedpress_bulk_submit(struct seedpress *self,
                                          const struct seedpress_submission *submission,
                                          struct seedpress_job *job, bool *is_new,
                                          struct seedpress_error *error);
/* Newest first; job 0 and name NULL: any; limit 1..100. *jobs is lent. */
enum seedpress_code seedpress_bulk_list(struct seedpress *self, int64_t job, const char *name,
                                        int limit, const struct seedpress_job **jobs,
                                        size_t *count, struct seedpress_error *error);
enum seedpress_code seedpress_bulk_control(struct seedpress *self, int64_t job, int action,
                                           struct seedpress_job *out,
                                           struct seedpress_error *error);

/* What a job is made of. Item n is seed first + n - item of the last range whose item is not above
 * n; its recipe is the range's with that seed and, with class_mod, that class. */
struct seedpress_range {
    int64_t item;                   /* number of its first one */
    uint32_t first, last;
    int class_mod;
    char recipe[640];               /* of seed first */
};
struct seedpress_failure {
    int64_t item;
    uint32_t seed;
    char code[33], message[257];
};
struct seedpress_plan {             /* lists are lent */
    struct seedpress_job job;
    const struct seedpress_range *ranges;
    size_t range_count;
    const struct seedpress_failure *failures;   /* of items after the one asked for, by item */
    size_t failure_count;
};
/* failures_after: -1: from the first. */
enum seedpress_code seedpress_bulk_show(struct seedpress *self, int64_t job,
                                        int64_t failures_after, struct seedpress_plan *plan,
                                        struct seedpress_error *error);
/* For exporters of a job without files: items first .. first + count - 1 are safe; count 0: only a
 * sign of life, every 5 s. */
enum seedpress_code seedpress_bulk_exported(struct seedpress *self, int64_t job, int64_t first,
                                            int count, struct seedpress_error *error);

/* ---- models and brokers ---- */

struct seedpress_model {
    char name[65];                  /* "" when no name is bound to it */
    char digest[SEEDPRESS_HEX];
    char arch[33];
    char licence[129];
    int width, height;              /* pixels */
    int num_ws, z_dim, w_dim;
    int c_dim;                      /* classes; 0: unconditional */
    unsigned noise_modes;           /* bits (1 << enum seedpress_noise) */
    bool has_transform;
    bool bound;                     /* the ledger binds name to this digest */
    int64_t workers;                /* live ones that have it */
};
enum seedpress_code seedpress_models(struct seedpress *self,
                                     const struct seedpress_model **models, size_t *count,
                                     struct seedpress_error *error);
/* Binds name, for everybody, to the known model whose digest begins with these 4..64 hex digits. */
enum seedpress_code seedpress_model_use(struct seedpress *self, const char *name,
                                        const char *digest, struct seedpress_error *error);

struct seedpress_worker {
    char worker[128];               /* host, process, start */
    char numerics_class[64], device[128];
    int64_t run, credit, leased, rendered, backlog_ms, silent_ms;
    bool draining;
};
struct seedpress_status {
    char version[64];               /* of the broker */
    int64_t uptime_ms;
    bool ledger_up, draining;
    int64_t looking_up, queued_high, queued_normal, queued_low;     /* renders, by state */
    int64_t held, rendering, committing;
    int64_t waiters;
    int64_t submitted, answered, failed, cancelled, joined, ledger_hits, retried, late;
                                    /* pictures since the broker's start */
    const struct seedpress_worker *workers;     /* lent, [worker_count] */
    size_t worker_count;
    int64_t memory_hits;            /* pictures answered from the broker's memory */
    int64_t memory_bytes;           /* that they take there now */
    int64_t refused;                /* pictures refused at once, by a bound or as too late */
    int64_t expired;                /* pictures whose deadline came first */
    int64_t poison;                 /* renders given up after failing on every attempt */
    int64_t workers_lost;           /* that died, fell silent or hung */
    int64_t clients, clients_dropped;           /* now; those that did not read, ever */
    int64_t denied, malformed;      /* messages not allowed; not readable */
    int64_t oldest_ms;              /* how long the oldest queued picture has waited */
    int64_t wait_p50_ms, wait_p99_ms;           /* from arrival to dispatch, of the last minute */
};
enum seedpress_code seedpress_status(struct seedpress *self, struct seedpress_status *status,
                                     struct seedpress_error *error);

/* Whether a broker answers within timeout_ms; UNREACHABLE if not. */
enum seedpress_code seedpress_ping(struct seedpress *self, int timeout_ms,
                                   struct seedpress_error *error);

#ifdef __cplusplus
}
#endif

#endif
