/* pickle -- bounded reader of Python's pickle format, protocols 2 to 5. It never calls anything: a
 * pickle is a program that builds objects, and what that program would call is only written down,
 * as a value that names the callable and its arguments. Callables come from a table that the caller
 * gives; any other is refused by name before anything behind it is read.
 *
 * Every byte is hostile. Time and memory grow with the number of opcodes and no faster: long
 * strings are skipped, not copied, and each kind of growth has a maximum below. Values may contain
 * each other and themselves (a list that holds itself is a legal pickle), so whoever walks them
 * must bound how deep and how often. */
#ifndef KERNELS_PICKLE_H
#define KERNELS_PICKLE_H

#include "proto/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PICKLE_VALUES_MAX = 1 << 20,
    PICKLE_ITEMS_MAX = 1 << 22,     /* places in all lists, tuples, dicts and sets together */
    PICKLE_STACK_MAX = 1 << 16,     /* values, and marks, at a time */
    PICKLE_MEMO_MAX = 1 << 20,
    PICKLE_PAIRS_MAX = 4096,        /* of one dict: it is searched from end to end */
    PICKLE_DEPTH_MAX = 256,         /* containers in containers, as far as built from the inside */
};

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,        /* whole: 0 or 1 */
    PICKLE_INT,         /* whole */
    PICKLE_BIG,         /* data[0..len): an int beyond int64, little-endian, two's complement */
    PICKLE_FLOAT,       /* real */
    PICKLE_BYTES,       /* data[0..len); a bytearray too */
    PICKLE_TEXT,        /* data[0..len): UTF-8 as it stands in the file, not checked */
    PICKLE_LIST,        /* item[0..count) */
    PICKLE_TUPLE,
    PICKLE_SET,
    PICKLE_DICT,        /* item[0..count): key, value, key, value ... as they were set */
    PICKLE_GLOBAL,      /* global */
    PICKLE_OBJECT,      /* what calling `callable` with `args` would have given */
    PICKLE_PERSID,      /* args: the id of something that is kept elsewhere */
};

/* What a file may name: "collections", "OrderedDict". */
struct pickle_global {
    const char *module, *name;
    int id;             /* the caller's: several names may mean one thing */
};

struct pickle_value {
    enum pickle_kind kind;
    int depth;                  /* 1 more than that of what was in it when it was built */
    size_t offset;              /* of the opcode that made it */
    union {
        int64_t whole;
        double real;
        struct {
            const uint8_t *data;    /* in the caller's memory */
            size_t len;
        };
        struct {
            const struct pickle_value **item;
            size_t count, room;
        };
        const struct pickle_global *global;     /* a row of the caller's table */
        struct {
            const struct pickle_global *callable;
            const struct pickle_value *args;    /* a tuple; of a PERSID anything */
            const struct pickle_value *state;   /* given by BUILD; or NULL */
            struct pickle_value *pairs;         /* a dict of what SETITEM set; or NULL */
        };
    };
};

struct pickle;

/* Reads one pickle at the start of data[0..len), which is borrowed, as table[0..rows) is, and must
 * outlive *out. ERR_FILE when it ends too early, ERR_INVALID when it is malformed or beyond a
 * maximum (e names the offset), ERR_UNSUPPORTED for an opcode or a global that is not known
 * ("refused: global os.system at offset 14"), ERR_NOMEM. On success *out is the caller's to
 * destroy; on failure it is NULL. */
enum err_code pickle_parse(const void *data, size_t len, const struct pickle_global *table,
                           size_t rows, struct pickle **out, struct err *e);
void pickle_destroy(struct pickle **self);

const struct pickle_value *pickle_root(const struct pickle *self);
/* Bytes that it takes; others may follow. */
size_t pickle_len(const struct pickle *self);

/* What a dict, or an object with pairs, holds under key (the last that was set); NULL when there is
 * nothing, or when value is NULL or of another kind. */
const struct pickle_value *pickle_find(const struct pickle_value *value, const char *key);
/* True for exactly that text. False for NULL. */
bool pickle_is_text(const struct pickle_value *value, const char *text);

#endif
