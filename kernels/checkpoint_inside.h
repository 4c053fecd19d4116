/* checkpoint_inside -- what the files of `checkpoint` share: checkpoint_torch.c and checkpoint_tf.c
 * walk the two kinds of file and fill a struct checkpoint, checkpoint_value.c says what the objects
 * in them mean, checkpoint_tensor.c knows views. Nobody else includes it. */
#ifndef KERNELS_CHECKPOINT_INSIDE_H
#define KERNELS_CHECKPOINT_INSIDE_H

#include "kernels/arena.h"
#include "kernels/checkpoint.h"
#include "kernels/pickle.h"

struct checkpoint {
    struct arena arena;                 /* names, and bytes that had to be decoded */
    struct notes *notes;
    struct checkpoint_tensor *tensor;   /* [room] */
    size_t count, room;
    size_t values_left;                 /* that tensors may still have, all together */
    size_t decode_left;                 /* bytes that may still be decoded */
};

/* ---- checkpoint.c ---- */

/* Adds tensor under a copy of name. ERR_INVALID when it cannot be one, or for one too many. */
enum err_code checkpoint_add(struct checkpoint *self, const char *name,
                             const struct checkpoint_tensor *tensor, struct err *e);
/* Brings the tensors into name order, so that checkpoint_find works. ERR_INVALID when two have the
 * same name. */
enum err_code checkpoint_sort(struct checkpoint *self, struct err *e);

/* ---- checkpoint_tensor.c ---- */

size_t checkpoint_type_bytes(enum checkpoint_type type);
/* Row-major strides for tensor's shape. False when its count overflows. */
bool tensor_lay_rows(struct checkpoint_tensor *self);
/* Column-major ones, as of Fortran's arrays. */
bool tensor_lay_columns(struct checkpoint_tensor *self);
/* Sets count. NULL when every value lies inside the numbers and no number need be two values;
 * otherwise what is wrong, in words. */
const char *tensor_check(struct checkpoint_tensor *self);
/* Axis i of the result is axis order[i] of self; [rank]. */
void tensor_permute(struct checkpoint_tensor *self, const int *order);
/* Turns the values along axis round. The axis has one at least. */
void tensor_flip(struct checkpoint_tensor *self, int axis);
/* Takes away the first `axes`, which all have the size 1. */
void tensor_drop(struct checkpoint_tensor *self, int axes);

/* ---- checkpoint_value.c ---- */

enum checkpoint_global {
    GLOBAL_DICT,            /* EasyDict, OrderedDict */
    GLOBAL_IGNORED,         /* sets and the like: may be there, are not looked at */
    GLOBAL_SIZE,
    GLOBAL_ENCODE,
    GLOBAL_NDARRAY,
    GLOBAL_NDARRAY_BUFFER,
    GLOBAL_DTYPE,
    GLOBAL_SCALAR,
    GLOBAL_PARAMETER,
    GLOBAL_TENSOR,
    GLOBAL_STORAGE,
    GLOBAL_MODULE,
    GLOBAL_NETWORK,
};

/* All that an official file names. */
extern const struct pickle_global CHECKPOINT_GLOBALS[];
extern const size_t CHECKPOINT_GLOBALS_COUNT;

enum { VALUE_SHOWN_MAX = 64 };

bool value_is_object(const struct pickle_value *value, enum checkpoint_global id);
/* value as a plain dict: itself, or what an EasyDict or an OrderedDict holds. NULL for others. */
const struct pickle_value *value_dict(const struct pickle_value *value);
/* Python's int, and numpy's; a float when it is whole. */
bool value_whole(const struct pickle_value *value, int64_t *out);
bool value_real(const struct pickle_value *value, double *out);
/* value for comparing and for messages, as Python would print it, but 1.0 as 1 and lists without
 * spaces: "True", "None", "0.01", "[1,3,3,1]", "lrelu". */
const char *value_show(const struct pickle_value *value, char out[static VALUE_SHOWN_MAX]);
/* The shortest decimal that reads back as the same double. */
const char *real_show(double value, char out[static VALUE_SHOWN_MAX]);

/* A torch tensor or parameter; a numpy array or scalar. Name is not set. */
enum err_code value_torch_tensor(struct checkpoint *file, const struct pickle_value *value,
                                 struct checkpoint_tensor *out, struct err *e);
enum err_code value_numpy_tensor(struct checkpoint *file, const struct pickle_value *value,
                                 struct checkpoint_tensor *out, struct err *e);

/* Dicts that are asked one after the other; NULL ones are skipped. */
struct scope {
    const struct pickle_value *dict[4];
};

const struct pickle_value *scope_find(const struct scope *self, const char *key);

/* A key whose value the engine cannot choose: values are what it can do, "a|b"; NULL for a key that
 * is read elsewhere or makes no difference. */
struct expected {
    const char *key, *values;
};

/* ERR_UNSUPPORTED unless value is one of row's; e names key and value. NULL (absent) is fine. */
enum err_code expected_check(const struct expected *row, const struct pickle_value *value,
                             struct err *e);

enum note_form {
    NOTE_WHOLE,
    NOTE_TWICE,             /* a whole number; the note is its double */
    NOTE_REAL,
    NOTE_TRUTH,             /* True, False; the note is true or false */
    NOTE_CLAMP,             /* None or a number; the note is none or the number */
};

/* How a note is made from an official key. */
struct note_row {
    const char *note;
    int scope;              /* index into the caller's scopes */
    const char *key;
    enum note_form form;
    const char *fallback;   /* the note where the key is absent; NULL: it must be there */
};

/* Adds the notes of table[0..rows). e names the key. */
enum err_code notes_from_scopes(struct checkpoint *file, const struct note_row *table, size_t rows,
                                const struct scope *scopes, struct err *e);

/* ---- the two kinds of file ---- */

/* Fill file from the pickle's root: a dict of modules; a tuple of networks. */
enum err_code checkpoint_torch_read(struct checkpoint *file, const struct pickle_value *root,
                                    struct err *e);
enum err_code checkpoint_tf_read(struct checkpoint *file, const struct pickle_value *root,
                                 struct err *e);

#endif
