/* manifest -- what an export has made so far: JSON that is a job file as well, so that the manifest
 * of a dataset is what makes it again.
 *
 * Beside the job file's own keys (name, keep, priority, chunk, parts; models by digest):
 *     format    {"version", "kind", "shard_size", "part", "of", "with_w", "ranges"}; ranges hold
 *               the job's whole recipes, so that names of shards mean the same everywhere
 *     job, total, made_by
 *     shards    [{"name", "first", "count", "pictures", "bytes", "sha256", "list", "list_sha256"}]:
 *               items first .. first + count - 1; pictures is less where some failed; a folder's
 *               shard has no sha256 of its own
 *     failures  [{"item", "seed", "code", "message"}], the first MANIFEST_FAILURES_MAX of them
 * The hash of every picture stands in its shard's list, 00000.sha256, as sha256sum writes and
 * checks it: a manifest grows with its shards, never with its pictures. */
#ifndef CLIENT_MANIFEST_H
#define CLIENT_MANIFEST_H

#include "client/items.h"
#include "proto/digest.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MANIFEST_SHARD_SIZE_MAX = 100000,           /* items of a shard */
    MANIFEST_SHARDS_MAX = 1000000,              /* of a job */
    MANIFEST_PARTS_MAX = 1000,                  /* hosts that share an export */
    MANIFEST_FAILURES_MAX = 10000,
    MANIFEST_BYTES_MAX = 512 << 20,
};

enum manifest_kind { MANIFEST_WEBDATASET, MANIFEST_FOLDER };

struct manifest_shard {
    int64_t number;                 /* items from number * shard_size on */
    int64_t pictures, bytes;
    struct digest sha256;           /* of the tar; all zero in a folder */
    struct digest list_sha256;
};

struct manifest_failure {
    int64_t item;
    uint32_t seed;
    char code[33], message[257];
};

/* What an export is of, and how it is cut. */
struct manifest_subject {
    char name[65];                  /* of the job */
    int64_t job;
    int keep, priority, chunk;      /* as seedpress_job has them */
    enum manifest_kind kind;
    int64_t shard_size;
    int part, of;                   /* part 1..of; 1 of 1: all of it */
    bool with_w;
};

struct manifest {
    struct manifest_subject subject;
    struct items items;             /* ours */
    struct manifest_shard *shards;  /* [shard_count], by number */
    size_t shard_count, shard_room;
    struct manifest_failure *failures;          /* [failure_count], by item */
    size_t failure_count;
};

/* An empty one. take_items becomes ours and is left empty. */
void manifest_init(struct manifest *self, const struct manifest_subject *subject,
                   struct items *take_items);
void manifest_release(struct manifest *self);   /* all zero is fine */

/* "manifest.json", or "manifest-2-of-4.json" of a part. */
struct manifest_name {
    char text[64];
};
struct manifest_name manifest_name(int part, int of);
/* "00000.tar" or "00000.sha256". */
struct manifest_name manifest_shard_name(int64_t number);
struct manifest_name manifest_list_name(int64_t number);

/* Reads a file, every byte of which is hostile. *found false: there is none, and *out is all zero,
 * as it is on failure. ERR_FILE (cannot be read; no manifest: says what is wrong), ERR_NOMEM. */
enum err_code manifest_load(const char *path, struct manifest *out, bool *found, struct err *e);
/* Writes it, whole or not at all. ERR_FILE, ERR_NOMEM. */
enum err_code manifest_save(const struct manifest *self, const char *path, struct err *e);

/* Notes a finished shard and its failures, in place of what is known of it. ERR_NOMEM; then nothing
 * has changed. */
enum err_code manifest_add(struct manifest *self, const struct manifest_shard *shard,
                           const struct manifest_failure *failures, size_t count, struct err *e);
/* NULL: not finished. */
const struct manifest_shard *manifest_find(const struct manifest *self, int64_t number);

int64_t manifest_shards_of(const struct manifest *self);        /* of the whole job */
bool manifest_is_mine(const struct manifest *self, int64_t number);     /* of the part */
/* Items of a shard: its last one has fewer. */
int64_t manifest_count_of(const struct manifest *self, int64_t number);

/* Whether what is there can be gone on with as what is wanted. ERR_CONFLICT: another job's shards,
 * or cut otherwise: says what to do. */
enum err_code manifest_check_same(const struct manifest *there, const struct manifest *wanted,
                                  const char *folder, struct err *e);

#endif
