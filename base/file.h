/* file -- whole files in and out. A file that is written appears whole under its name or not at
 * all: whoever reads beside us never sees half of one, and an interrupted program leaves the old
 * file as it was. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

/* Reads all of path, which may be a pipe. On success *out is the caller's to free() (never NULL;
 * one NUL stands behind data[0..len), so that text may be used as a string); on failure it is NULL.
 * ERR_FILE (missing, unreadable, a folder, longer than max_bytes), ERR_NOMEM. */
enum err_code file_read(const char *path, size_t max_bytes, uint8_t **out, size_t *len,
                        struct err *e);

/* Writes data[0..len) as path: under a temporary name in the same folder, synced, then renamed over
 * what was there. A symbolic link stays and what it points to is replaced; a pipe or a device is
 * simply written to. The mode is 0666 less the umask. ERR_FILE with words (full disk, no
 * permission, missing folder); the temporary file is then gone and path as it was. */
enum err_code file_write_atomic(const char *path, const void *data, size_t len, struct err *e);

/* All of bytes[0..len), however many calls it takes. 0, or errno. */
int file_write_all(int fd, const void *bytes, size_t len);

/* What errno's value means, in words a person can act on: "the disk is full". Static, or errno's
 * own text until the next call. */
const char *file_reason(int errnum);

#endif
