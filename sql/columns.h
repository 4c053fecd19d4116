/* columns -- the rows of one insert of images as arrays, a column each: many rows in one statement
 * cost a third of as many statements. Only for ledger_store.c. */
#ifndef SQL_COLUMNS_H
#define SQL_COLUMNS_H

#include "sql/array.h"
#include "sql/ledger.h"
#include "sql/segments.h"

#include <stdbool.h>

struct columns_row {
    struct digest key, subject;
    int32_t options_id;
    const struct ledger_image *image;
    struct segments_place at;       /* segment 0: the file goes into blobs, where it is kept */
};

enum { COLUMNS = 20 };

struct columns {
    struct array array[COLUMNS];
};

/* Room for rows rows whose files in blobs have file_bytes together. *self is to be released in
 * every case. False: no memory. */
bool columns_init(struct columns *self, size_t rows, size_t file_bytes);
void columns_release(struct columns *self);
void columns_add(struct columns *self, const struct columns_row *row);
/* Bytes that the row's file takes in blobs. */
size_t columns_file_len(const struct columns_row *row);
/* Borrowed until columns_release. */
void columns_params(const struct columns *self, struct params *p);

/* What the statement selects from: a row for each that was added, with these columns. data is empty
 * where no file goes into blobs, likeness where there is none; 0 stands for NULL in job_id, segment
 * and place. */
#define COLUMNS_TABLE                                                                              \
    "unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[],"        \
    " $7::int[], $8::int[], $9::bigint[], $10::text[], $11::text[], $12::int[], $13::bigint[],"    \
    " $14::int[], $15::int[], $16::bigint[], $17::int[], $18::bigint[], $19::bytea[],"             \
    " $20::bytea[])"                                                                               \
    " AS c (key, subject, file_sha, core_sha, model, seed, psi, options_id, run_id, class,"        \
    " encoder, batch_size, render_us, bytes, kept, job_id, segment, place, likeness, data)"

#endif
