/* loose -- many files of one folder that appear together: each is written under a temporary name,
 * then all are synced at once and get their names. A file that was there is replaced. After a kill
 * some may have their names and others not; who writes the same files again ends where he would
 * have ended. Syncing them one by one would take longer than rendering them. */
#ifndef CLIENT_LOOSE_H
#define CLIENT_LOOSE_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

struct loose;

/* folder is there, and borrowed. ERR_FILE, ERR_NOMEM. On failure *out is NULL. */
enum err_code loose_create(const char *folder, struct loose **out, struct err *e);

/* Writes folder/name, for a name such as "seed0000.jpg" or "psi0.7/seed0000.jpg", whose subfolder
 * is made; under ".seed0000.jpg.tmp" for now. After a failure only loose_abandon is left. ERR_FILE,
 * ERR_NOMEM. */
enum err_code loose_add(struct loose *self, const char *name, const void *data, size_t len,
                        struct err *e);

/* Syncs the disk and gives the files their names; *self is NULL in any case, and on failure no
 * temporary file is left. *bytes is their sum. ERR_FILE. */
enum err_code loose_finish(struct loose **self, int64_t *bytes, struct err *e);
/* Removes the temporary files. NULL is fine. */
void loose_abandon(struct loose **self);

#endif
