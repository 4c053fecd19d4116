/* segments -- pictures' bytes in append-only files of one folder, for ledgers whose database should
 * not carry them: bytes are on the disk before the row that names them is sent. One object belongs
 * to one thread; any number of programs may have the folder open.
 *
 * A file "0000000007.seg" holds segment 7 and has one writer, ever: a program that starts again
 * begins a new one, so that what a crash left behind at a file's end is never written over. Numbers
 * are little-endian:
 *     file    64 bytes: "seedpress-seg\n" and two zeros, u32 version 1, u32 id, zeros; then
 *             records, each at a multiple of 8
 *     record  "sprc", u32 length, 32 bytes recipe key, 32 bytes SHA-256 of the picture, the
 *             picture, zeros up to a multiple of 8
 * A record is found by segment and place, which only a row of the ledger knows. It is answered when
 * all of it is as the row says, the hash too, and never otherwise. */
#ifndef SQL_SEGMENTS_H
#define SQL_SEGMENTS_H

#include "proto/digest.h"
#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SEGMENTS_FILE_BYTES = 1 << 30,  /* a file that has as many is followed by a new one */
    SEGMENTS_RECORD_MAX = 64 << 20, /* bytes of one picture */
    SEGMENTS_BATCH_MAX = 64,        /* records between two syncs */
    SEGMENTS_OPEN_MAX = 32,         /* files that a reader holds open */
};

struct segments_place {
    int32_t segment;                /* 1.., 0: none */
    int64_t place;                  /* byte of the file at which the record begins */
};

/* What a record is. */
struct segments_record {
    struct digest key;              /* of the recipe */
    struct digest file_sha;         /* of the picture's bytes */
    const uint8_t *data;            /* borrowed, [len]; of no matter to read and erase */
    size_t len;                     /* 1..SEGMENTS_RECORD_MAX */
};

enum segments_use { SEGMENTS_READ, SEGMENTS_WRITE };

struct segments;

/* ERR_FILE: the folder is missing, no folder, not readable or, to write, not writable; ERR_NOMEM.
 * file_bytes 0: SEGMENTS_FILE_BYTES. */
enum err_code segments_open(const char *folder, enum segments_use use, int64_t file_bytes,
                            struct segments **out, struct err *e);
void segments_close(struct segments **self);

/* ---- writing ---- */

/* The segment that is written; 0: none. */
int32_t segments_current(const struct segments *self);
/* A batch of len bytes in count records needs a new file first, which segments_begin makes. */
bool segments_is_full(const struct segments *self, size_t count, size_t len);
/* Before the first one: checks the folder's mark, the empty file "seedpress-segments", and makes it
 * where is_first says that the ledger has no segment yet. Without it later the folder is not the
 * one it was, perhaps because a disk is not mounted. ERR_FILE. */
enum err_code segments_check(const struct segments *self, bool is_first, struct err *e);
/* Begins segment id, which has no file yet. ERR_FILE: it still has none. */
enum err_code segments_begin(struct segments *self, int32_t id, struct err *e);
/* Appends records[0..count), count <= SEGMENTS_BATCH_MAX, and returns when they are on the disk,
 * with places[i] of records[i]. ERR_FILE (full disk, failed sync): none of them is to be named by a
 * row; after a failed sync the file is given up and segments_is_full says true. */
enum err_code segments_append(struct segments *self, const struct segments_record *records,
                              size_t count, struct segments_place *places, struct err *e);
/* What segments_append wrote and no row names: removed as far as can be. */
void segments_forget(struct segments *self, struct segments_place at,
                     const struct segments_record *record);

/* ---- reading ---- */

/* Reads the picture that lies there; *data is the caller's to free(). ERR_NOT_FOUND: what lies
 * there is not the record (damaged, erased, torn by a crash): its bytes are lost. ERR_FILE: the
 * file cannot be read now, or is not there. ERR_NOMEM. */
enum err_code segments_read(struct segments *self, struct segments_place at,
                            const struct segments_record *record, uint8_t **data, struct err *e);

/* ---- removing ---- */

/* Removes records' bytes from the disk (holes in the files, or zeros where the file system makes
 * none) and returns when that is on the disk too; in the order of segments it is fastest. Erasing
 * again, or what is no such record, does nothing. Before, a committed transaction must have said
 * that no row keeps the bytes; the rows' segment and place are cleared after it, so that what a
 * crash interrupts is done again. ERR_FILE, also for a segment that is not there: records[0..*done)
 * are erased. */
enum err_code segments_erase(const char *folder, const struct segments_place *places,
                             const struct segments_record *records, size_t count, size_t *done,
                             struct err *e);

#endif
