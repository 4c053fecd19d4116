/* shard -- a tar file of pictures, made so that the same members give the same bytes wherever and
 * whenever it is made: ustar, no times, no owners, mode 0644, padded to 10240 bytes. It appears
 * under its name when it is whole and on the disk, or not at all. The same members may go to a
 * descriptor instead, as one stream without names of files.
 *
 * libarchive writes the format; what is hashed is what was written. */
#ifndef CLIENT_SHARD_H
#define CLIENT_SHARD_H

#include "proto/digest.h"
#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum { SHARD_NAME_MAX = 99 };       /* bytes of a member's name in ustar without a prefix */

struct shard;

/* Starts folder/name under a temporary name of its own, ".<name>.tmp": one that an earlier run left
 * there is replaced. ERR_FILE, ERR_NOMEM. On failure *out is NULL. */
enum err_code shard_create(const char *folder, const char *name, struct shard **out,
                           struct err *e);
/* Starts a stream into fd, which stays the caller's to close. */
enum err_code shard_create_stream(int fd, struct shard **out, struct err *e);

/* Adds a member. After a failure only shard_abandon is left. ERR_FILE (a full disk, most of all),
 * ERR_RANGE (a name too long), ERR_NOMEM. */
enum err_code shard_add(struct shard *self, const char *name, const void *data, size_t len,
                        struct err *e);

struct shard_sum {
    int64_t bytes;
    struct digest sha256;
};
/* Ends the tar, syncs it, gives it its name and syncs the folder; sets *self NULL in any case, and
 * on failure nothing of it is left, and what had its name before still has it. A stream is only
 * ended. expected: the hash that it is to have; NULL: any. ERR_FILE, ERR_NOT_REPRODUCIBLE (another
 * hash). */
enum err_code shard_finish(struct shard **self, const struct digest *expected,
                           struct shard_sum *sum, struct err *e);
/* Removes what there is of it. NULL is fine. */
void shard_abandon(struct shard **self);

#endif
