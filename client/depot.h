/* depot -- a folder that an export goes into: there, writable, of this job and of nobody else now.
 * What an export that was killed left half-written is removed when the next one comes. */
#ifndef CLIENT_DEPOT_H
#define CLIENT_DEPOT_H

#include "client/manifest.h"
#include "proto/err.h"

#include <limits.h>

struct depot {
    char folder[PATH_MAX / 2];
    char manifest_path[PATH_MAX];
    int lock_fd;                    /* held while the export runs; -1: not open */
};

/* Makes the folder if it is not there (its parent must be), locks it for this part, and checks
 * every manifest in it against wanted. If there is one of this part, its shards and failures go
 * into wanted; else an empty one is written, so that whose the folder is shows from the first
 * shard on.
 * Temporary files of this part are removed. ERR_FILE (no folder, not writable, a broken manifest),
 * ERR_CONFLICT (another job's shards, cut otherwise, pictures without a manifest, another export at
 * work there), ERR_NOMEM. */
enum err_code depot_open(struct depot *self, const char *folder, struct manifest *wanted,
                         struct err *e);
void depot_close(struct depot *self);

/* Whether what the manifest says of a shard is there: its file of that size, its list. A folder's
 * pictures are not looked at. */
bool depot_has(const struct depot *self, const struct manifest *manifest,
               const struct manifest_shard *shard);

#endif
