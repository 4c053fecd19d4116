/* array -- a one-dimensional array of PostgreSQL in its binary form, as one parameter of a
 * statement ("$1::bytea[]"): many values in one statement. */
#ifndef SQL_ARRAY_H
#define SQL_ARRAY_H

#include "sql/session.h"

enum array_type {                   /* the OIDs of the items' types, which never change */
    ARRAY_BYTEA = 17, ARRAY_INT8 = 20, ARRAY_INT4 = 23, ARRAY_TEXT = 25,
};
struct array {
    uint8_t *data;                  /* owned; NULL: there was no memory, adds do nothing */
    size_t len, cap;
};

/* Room for items of at most item_bytes each; adding more of either is a bug. *self is to be
 * released in every case. False: no memory. */
bool array_init(struct array *self, enum array_type type, size_t items, size_t item_bytes);
void array_release(struct array *self);
void array_add_int8(struct array *self, int64_t v);
void array_add_int4(struct array *self, int32_t v);
void array_add_bytes(struct array *self, const void *data, size_t len);     /* BYTEA, TEXT */
void params_array(struct params *params, const struct array *array);

#endif
