/* shelf -- where a ledger keeps files outside its database: segments (sql/segments.h) and their
 * rows in table segments. Only for ledger.c, ledger_store.c and ledger_find.c. */
#ifndef SQL_SHELF_H
#define SQL_SHELF_H

#include "sql/segments.h"
#include "sql/session.h"

#include <stdbool.h>

struct shelf;

/* writer names the program in table segments; NULL: only to read. ERR_FILE, ERR_NOMEM. */
enum err_code shelf_open(const char *folder, const char *writer, int64_t file_bytes,
                         struct shelf **out, struct err *e);
void shelf_close(struct shelf **self);
bool shelf_is_written(const struct shelf *self);       /* NULL: false */

/* Puts records[0..count), count <= SEGMENTS_BATCH_MAX, on the disk: places[i] of records[i]. What
 * it put since the last shelf_settle is found again by key and hash, so that a write that is
 * repeated does not fill the disk. ERR_LEDGER_DOWN: database or disk, repeat; ERR_BUG,
 * ERR_NOMEM. */
enum err_code shelf_put(struct shelf *self, struct session *session,
                        const struct segments_record *records, size_t count,
                        struct segments_place *places, struct err *e);
/* No row has come to name the record, nor will. */
void shelf_drop(struct shelf *self, struct segments_place at,
                const struct segments_record *record);
/* What became of all that was put is known now. */
void shelf_settle(struct shelf *self);

/* Reads a picture. self NULL, or the file is away: ERR_FILE, and it may be there another time;
 * ERR_NOT_FOUND: its bytes are lost. Both are logged. ERR_NOMEM. */
enum err_code shelf_get(struct shelf *self, struct segments_place at,
                        const struct segments_record *record, uint8_t **data, struct err *e);
/* As segments_erase. self NULL: ERR_FILE. */
enum err_code shelf_erase(struct shelf *self, const struct segments_place *places,
                          const struct segments_record *records, size_t count, size_t *done,
                          struct err *e);

#endif
