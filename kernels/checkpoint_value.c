#include "kernels/checkpoint_inside.h"

#include "proto/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COUNT_OF_STREAMS = 5, STREAMS_MAX_BYTES = 4096, SHOWN_ITEMS_MAX = 8 };

const struct pickle_global CHECKPOINT_GLOBALS[] = {
    { "collections", "OrderedDict", GLOBAL_DICT },
    { "dnnlib.util", "EasyDict", GLOBAL_DICT },
    { "builtins", "set", GLOBAL_IGNORED },
    { "builtins", "frozenset", GLOBAL_IGNORED },
    { "__builtin__", "set", GLOBAL_IGNORED },
    { "__builtin__", "frozenset", GLOBAL_IGNORED },
    { "torch", "Size", GLOBAL_SIZE },
    { "_codecs", "encode", GLOBAL_ENCODE },
    { "numpy", "ndarray", GLOBAL_IGNORED },
    { "numpy", "dtype", GLOBAL_DTYPE },
    { "numpy.core.multiarray", "_reconstruct", GLOBAL_NDARRAY },
    { "numpy._core.multiarray", "_reconstruct", GLOBAL_NDARRAY },
    { "numpy.core.numeric", "_frombuffer", GLOBAL_NDARRAY_BUFFER },
    { "numpy._core.numeric", "_frombuffer", GLOBAL_NDARRAY_BUFFER },
    { "numpy.core.multiarray", "scalar", GLOBAL_SCALAR },
    { "numpy._core.multiarray", "scalar", GLOBAL_SCALAR },
    { "torch._utils", "_rebuild_parameter", GLOBAL_PARAMETER },
    { "torch._utils", "_rebuild_tensor_v2", GLOBAL_TENSOR },
    { "torch.storage", "_load_from_bytes", GLOBAL_STORAGE },
    { "torch_utils.persistence", "_reconstruct_persistent_obj", GLOBAL_MODULE },
    { "dnnlib.tflib.network", "Network", GLOBAL_NETWORK },
};
const size_t CHECKPOINT_GLOBALS_COUNT = sizeof CHECKPOINT_GLOBALS / sizeof CHECKPOINT_GLOBALS[0];

/* What the little pickles of a storage name; the id is the type. */
static const struct pickle_global STORAGE_GLOBALS[] = {
    { "torch", "HalfStorage", CHECKPOINT_F16 },   { "torch", "BFloat16Storage", CHECKPOINT_BF16 },
    { "torch", "FloatStorage", CHECKPOINT_F32 },  { "torch", "DoubleStorage", CHECKPOINT_F64 },
    { "torch", "LongStorage", CHECKPOINT_I64 },
};
enum { STORAGE_GLOBALS_COUNT = sizeof STORAGE_GLOBALS / sizeof STORAGE_GLOBALS[0] };

static const struct pickle_value NO_PAIRS = { .kind = PICKLE_DICT };

/* ---- small values ---- */

bool value_is_object(const struct pickle_value *value, enum checkpoint_global id)
{
    return value && value->kind == PICKLE_OBJECT && value->callable->id == (int)id;
}

/* Item index of a tuple; NULL when value is no tuple or has fewer. */
static const struct pickle_value *item_of(const struct pickle_value *value, size_t index)
{
    if (!value || value->kind != PICKLE_TUPLE || index >= value->count)
        return NULL;
    return value->item[index];
}

static bool is_none(const struct pickle_value *value)
{
    return !value || value->kind == PICKLE_NONE;
}

static bool is_empty(const struct pickle_value *value)
{
    return is_none(value) || (value->kind == PICKLE_DICT && value->count == 0);
}

const struct pickle_value *value_dict(const struct pickle_value *value)
{
    if (value && value->kind == PICKLE_DICT)
        return value;
    if (!value_is_object(value, GLOBAL_DICT) || value->args->count || !is_empty(value->state))
        return NULL;
    return value->pairs ? value->pairs : &NO_PAIRS;
}

/* The single number of a numpy scalar. */
static bool scalar_real(const struct pickle_value *value, double *out)
{
    const struct pickle_value *dtype, *data;
    uint64_t bits = 0;

    if (!value_is_object(value, GLOBAL_SCALAR))
        return false;
    dtype = item_of(value->args, 0);
    data = item_of(value->args, 1);
    if (!value_is_object(dtype, GLOBAL_DTYPE) || !data || data->kind != PICKLE_BYTES ||
        !pickle_is_text(item_of(dtype->state, 1), "<") || data->len > sizeof bits)
        return false;
    for (size_t i = data->len; i-- > 0;)
        bits = bits << 8 | data->data[i];
    dtype = item_of(dtype->args, 0);
    if (pickle_is_text(dtype, "f8") && data->len == 8) {
        memcpy(out, &bits, sizeof bits);
    } else if (pickle_is_text(dtype, "f4") && data->len == 4) {
        uint32_t half = (uint32_t)bits;
        float real;

        memcpy(&real, &half, sizeof real);
        *out = (double)real;
    } else if (pickle_is_text(dtype, "i8") && data->len == 8) {
        *out = (double)(int64_t)bits;
    } else if (pickle_is_text(dtype, "i4") && data->len == 4) {
        *out = (double)(int32_t)(uint32_t)bits;
    } else {
        return false;
    }
    return true;
}

bool value_real(const struct pickle_value *value, double *out)
{
    if (value && value->kind == PICKLE_FLOAT)
        *out = value->real;
    else if (value && value->kind == PICKLE_INT)
        *out = (double)value->whole;
    else if (!scalar_real(value, out))
        return false;
    return isfinite(*out);
}

bool value_whole(const struct pickle_value *value, int64_t *out)
{
    double real;

    if (value && value->kind == PICKLE_INT) {
        *out = value->whole;
        return true;
    }
    if (!value_real(value, &real) || fabs(real) > 0x1p53 || real != floor(real))
        return false;
    *out = (int64_t)real;
    return true;
}

const char *real_show(double value, char out[static VALUE_SHOWN_MAX])
{
    char text[VALUE_SHOWN_MAX] = "", *comma;
    double back;

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        comma = strchr(text, ',');  /* the program's locale may have one */
        if (comma)
            *comma = '.';
        if (number_parse_double(text, strlen(text), &back) && back == value)
            break;
    }
    memcpy(out, text, sizeof text);
    return out;
}

/* The text of value, which is no container. */
static const char *show_one(const struct pickle_value *value, char out[static VALUE_SHOWN_MAX])
{
    double real;

    if (is_none(value)) {
        snprintf(out, VALUE_SHOWN_MAX, "None");
    } else if (value->kind == PICKLE_BOOL) {
        snprintf(out, VALUE_SHOWN_MAX, "%s", value->whole ? "True" : "False");
    } else if (value->kind == PICKLE_INT) {
        snprintf(out, VALUE_SHOWN_MAX, "%" PRId64, value->whole);
    } else if (value_real(value, &real)) {
        real_show(real, out);
    } else if (value->kind == PICKLE_TEXT) {
        size_t len = value->len < VALUE_SHOWN_MAX - 1 ? value->len : VALUE_SHOWN_MAX - 1;

        for (size_t i = 0; i < len; i++)
            out[i] = value->data[i] >= 0x20 && value->data[i] < 0x7f ? (char)value->data[i] : '?';
        out[len] = '\0';
    } else {
        snprintf(out, VALUE_SHOWN_MAX, "(something else)");
    }
    return out;
}

const char *value_show(const struct pickle_value *value, char out[static VALUE_SHOWN_MAX])
{
    char one[VALUE_SHOWN_MAX];
    size_t at = 1;

    if (!value || (value->kind != PICKLE_LIST && value->kind != PICKLE_TUPLE))
        return show_one(value, out);
    out[0] = '[';
    for (size_t i = 0; i < value->count && i <= SHOWN_ITEMS_MAX && at < VALUE_SHOWN_MAX - 1; i++) {
        show_one(value->item[i], one);
        at += (size_t)snprintf(out + at, VALUE_SHOWN_MAX - at, "%s%s", i ? "," : "",
                               i == SHOWN_ITEMS_MAX ? "..." : one);
    }
    if (at < VALUE_SHOWN_MAX - 1)
        snprintf(out + at, VALUE_SHOWN_MAX - at, "]");
    return out;
}

/* ---- bytes ---- */

/* Text in which each character stands for one byte, as bytes. */
static enum err_code decode_latin1(struct checkpoint *file, const struct pickle_value *text,
                                   const uint8_t **data, size_t *len, struct err *e)
{
    uint8_t *out;
    size_t n = 0;

    if (text->len > file->decode_left)
        return err_set(e, ERR_INVALID, "too many bytes are written as text");
    out = arena_take(&file->arena, text->len);
    if (!out)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes", text->len);
    file->decode_left -= text->len;
    for (size_t i = 0; i < text->len; i++) {
        uint8_t byte = text->data[i];

        if (byte >= 0x80) {         /* U+0080 to U+00FF: two bytes of UTF-8 */
            if ((byte != 0xc2 && byte != 0xc3) || i + 1 == text->len ||
                (text->data[i + 1] & 0xc0) != 0x80)
                return err_set(e, ERR_INVALID, "bytes written as text are not latin1");
            byte = (uint8_t)(byte << 6 | (text->data[++i] & 0x3f));
        }
        out[n++] = byte;
    }
    *data = out;
    *len = n;
    return ERR_OK;
}

static enum err_code read_bytes(struct checkpoint *file, const struct pickle_value *value,
                                const uint8_t **data, size_t *len, struct err *e)
{
    if (value && value->kind == PICKLE_BYTES) {
        *data = value->data;
        *len = value->len;
        return ERR_OK;
    }
    if (value_is_object(value, GLOBAL_ENCODE)) {
        const struct pickle_value *text = item_of(value->args, 0);

        if (text && text->kind == PICKLE_TEXT &&
            pickle_is_text(item_of(value->args, 1), "latin1"))
            return decode_latin1(file, text, data, len, e);
    }
    return err_set(e, ERR_INVALID, "bytes are missing");
}

/* ---- tensors ---- */

/* Fills numbers[CHECKPOINT_RANK_MAX] from a tuple of ints. */
static enum err_code read_ints(const struct pickle_value *value, const char *what, int *rank,
                               int64_t *numbers, struct err *e)
{
    if (value_is_object(value, GLOBAL_SIZE))
        value = item_of(value->args, 0);
    if (!value || value->kind != PICKLE_TUPLE)
        return err_set(e, ERR_INVALID, "its %s is no tuple", what);
    if (value->count > CHECKPOINT_RANK_MAX)
        return err_set(e, ERR_INVALID, "its %s has %zu dimensions; %d at most are possible", what,
                       value->count, CHECKPOINT_RANK_MAX);
    *rank = (int)value->count;
    for (size_t i = 0; i < value->count; i++) {
        if (value->item[i]->kind != PICKLE_INT)
            return err_set(e, ERR_INVALID, "its %s is not of whole numbers", what);
        numbers[i] = value->item[i]->whole;
    }
    return ERR_OK;
}

static enum err_code check_view(struct checkpoint_tensor *out, struct err *e)
{
    const char *wrong = tensor_check(out);

    return wrong ? err_set(e, ERR_INVALID, "it %s", wrong) : ERR_OK;
}

/* The five little pickles in front of a storage's numbers. */
static enum err_code check_stream(int index, const struct pickle_value *root,
                                  const struct pickle_value **id, struct err *e)
{
    static const uint8_t MAGIC[] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };
    const struct pickle_value *little;

    switch (index) {
    case 0:
        if (root->kind != PICKLE_BIG || root->len != sizeof MAGIC ||
            memcmp(root->data, MAGIC, sizeof MAGIC) != 0)
            return err_set(e, ERR_INVALID, "its storage is not one of torch");
        return ERR_OK;
    case 1:
        if (root->kind != PICKLE_INT || root->whole != 1001)
            return err_set(e, ERR_UNSUPPORTED, "its storage has another protocol than 1001");
        return ERR_OK;
    case 2:
        little = pickle_find(root, "little_endian");
        if (!little || little->kind != PICKLE_BOOL || !little->whole)
            return err_set(e, ERR_UNSUPPORTED, "its storage is not little-endian");
        return ERR_OK;
    case 3:
        if (root->kind != PICKLE_PERSID || !pickle_is_text(item_of(root->args, 0), "storage") ||
            !is_none(item_of(root->args, 5)))
            return err_set(e, ERR_INVALID, "its storage has no valid id");
        *id = root->args;
        return ERR_OK;
    default:
        if (root->kind != PICKLE_LIST || root->count != 1)
            return err_set(e, ERR_INVALID, "its storage has not one key");
        return ERR_OK;
    }
}

/* From the id of a storage: what its numbers are, and how many. */
static enum err_code read_storage_id(const struct pickle_value *id, struct checkpoint_tensor *out,
                                     struct err *e)
{
    const struct pickle_value *type = item_of(id, 1), *numbers = item_of(id, 4);

    if (!type || type->kind != PICKLE_GLOBAL || !numbers || numbers->kind != PICKLE_INT ||
        numbers->whole < 0)
        return err_set(e, ERR_INVALID, "its storage has no valid id");
    out->type = (enum checkpoint_type)type->global->id;
    out->numbers = (size_t)numbers->whole;
    return ERR_OK;
}

/* data[0..len) is a whole file as torch.save wrote it for one storage, in the form before zip. */
static enum err_code read_storage(const uint8_t *data, size_t len, struct checkpoint_tensor *out,
                                  struct err *e)
{
    size_t at = 0, bytes;
    uint64_t numbers = 0;

    for (int i = 0; i < COUNT_OF_STREAMS; i++) {
        struct pickle *stream;
        const struct pickle_value *id = NULL;
        size_t left = len - at < STREAMS_MAX_BYTES ? len - at : STREAMS_MAX_BYTES;
        enum err_code rc = pickle_parse(data + at, left, STORAGE_GLOBALS, STORAGE_GLOBALS_COUNT,
                                        &stream, e);

        if (rc)
            return rc;
        rc = check_stream(i, pickle_root(stream), &id, e);
        if (!rc && id)
            rc = read_storage_id(id, out, e);
        at += pickle_len(stream);
        pickle_destroy(&stream);
        if (rc)
            return rc;
    }
    if (len - at < sizeof numbers)
        return err_set(e, ERR_FILE, "its storage ends before its numbers");
    for (size_t i = sizeof numbers; i-- > 0;)
        numbers = numbers << 8 | data[at + i];
    at += sizeof numbers;
    if (numbers != out->numbers ||
        __builtin_mul_overflow(out->numbers, checkpoint_type_bytes(out->type), &bytes) ||
        bytes != len - at)
        return err_set(e, ERR_INVALID, "its storage has not the length that it says");
    out->data = data + at;
    return ERR_OK;
}

enum err_code value_torch_tensor(struct checkpoint *file, const struct pickle_value *value,
                                 struct checkpoint_tensor *out, struct err *e)
{
    const struct pickle_value *storage, *offset;
    const uint8_t *data;
    size_t len;
    int strides;
    enum err_code rc;

    *out = (struct checkpoint_tensor){ 0 };
    if (value_is_object(value, GLOBAL_PARAMETER))
        value = item_of(value->args, 0);
    if (!value_is_object(value, GLOBAL_TENSOR))
        return err_set(e, ERR_INVALID, "it is no tensor");
    storage = item_of(value->args, 0);
    offset = item_of(value->args, 1);
    if (!value_is_object(storage, GLOBAL_STORAGE) || !offset || offset->kind != PICKLE_INT)
        return err_set(e, ERR_INVALID, "it has no storage");
    if (!is_empty(item_of(value->args, 6)))
        return err_set(e, ERR_UNSUPPORTED, "its numbers are not as they are stored");
    out->start = offset->whole;
    rc = read_ints(item_of(value->args, 2), "size", &out->rank, out->shape, e);
    if (!rc)
        rc = read_ints(item_of(value->args, 3), "stride", &strides, out->stride, e);
    if (!rc && strides != out->rank)
        rc = err_set(e, ERR_INVALID, "it has %d sizes and %d strides", out->rank, strides);
    if (!rc)
        rc = read_bytes(file, item_of(storage->args, 0), &data, &len, e);
    if (!rc)
        rc = read_storage(data, len, out, e);
    return rc ? rc : check_view(out, e);
}

static enum err_code read_dtype(const struct pickle_value *dtype, struct checkpoint_tensor *out,
                                struct err *e)
{
    static const struct {
        const char *word;
        enum checkpoint_type type;
    } TYPES[] = {
        { "f2", CHECKPOINT_F16 }, { "f4", CHECKPOINT_F32 }, { "f8", CHECKPOINT_F64 },
        { "i4", CHECKPOINT_I32 }, { "i8", CHECKPOINT_I64 },
    };
    const struct pickle_value *order, *word;
    char shown[VALUE_SHOWN_MAX];

    if (!value_is_object(dtype, GLOBAL_DTYPE))
        return err_set(e, ERR_INVALID, "it has no dtype");
    word = item_of(dtype->args, 0);
    order = item_of(dtype->state, 1);
    out->big_endian = pickle_is_text(order, ">");
    if (!out->big_endian && !pickle_is_text(order, "<"))
        return err_set(e, ERR_UNSUPPORTED, "its dtype has no byte order");
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++)
        if (pickle_is_text(word, TYPES[i].word)) {
            out->type = TYPES[i].type;
            return ERR_OK;
        }
    return err_set(e, ERR_UNSUPPORTED, "its dtype %.20s is not supported",
                   value_show(word, shown));
}

/* How a numpy object keeps its numbers; NULL: it has none. */
struct array_parts {
    const struct pickle_value *shape, *dtype, *data;
    bool columns;                       /* Fortran's order */
};

static bool array_parts_of(const struct pickle_value *value, struct array_parts *out)
{
    const struct pickle_value *columns;

    if (value_is_object(value, GLOBAL_SCALAR)) {
        *out = (struct array_parts){ .dtype = item_of(value->args, 0),
                                     .data = item_of(value->args, 1) };
        return true;
    }
    if (value_is_object(value, GLOBAL_NDARRAY)) {
        columns = item_of(value->state, 3);
        *out = (struct array_parts){ .shape = item_of(value->state, 1),
                                     .dtype = item_of(value->state, 2),
                                     .data = item_of(value->state, 4) };
        out->columns = columns && columns->whole != 0;
        return out->shape && columns && columns->kind == PICKLE_BOOL;
    }
    if (value_is_object(value, GLOBAL_NDARRAY_BUFFER)) {
        columns = item_of(value->args, 3);
        *out = (struct array_parts){ .shape = item_of(value->args, 2),
                                     .dtype = item_of(value->args, 1),
                                     .data = item_of(value->args, 0) };
        out->columns = pickle_is_text(columns, "F");
        return out->shape && (out->columns || pickle_is_text(columns, "C"));
    }
    return false;
}

enum err_code value_numpy_tensor(struct checkpoint *file, const struct pickle_value *value,
                                 struct checkpoint_tensor *out, struct err *e)
{
    struct array_parts parts;
    size_t len, bytes;
    enum err_code rc;

    *out = (struct checkpoint_tensor){ 0 };
    if (!array_parts_of(value, &parts))
        return err_set(e, ERR_INVALID, "it is no array");
    rc = read_dtype(parts.dtype, out, e);
    if (!rc && parts.shape)
        rc = read_ints(parts.shape, "shape", &out->rank, out->shape, e);
    if (!rc)
        rc = read_bytes(file, parts.data, &out->data, &len, e);
    if (rc)
        return rc;
    bytes = checkpoint_type_bytes(out->type);
    out->numbers = len / bytes;
    if (!(parts.columns ? tensor_lay_columns(out) : tensor_lay_rows(out)))
        return err_set(e, ERR_INVALID, "it has too many values");
    rc = check_view(out, e);
    if (!rc && (out->count != out->numbers || len % bytes))
        rc = err_set(e, ERR_INVALID, "it has %zu bytes for %zu values", len, out->count);
    return rc;
}

/* ---- options and notes ---- */

const struct pickle_value *scope_find(const struct scope *self, const char *key)
{
    const struct pickle_value *found = NULL;

    for (size_t i = 0; !found && i < sizeof self->dict / sizeof self->dict[0]; i++)
        found = pickle_find(self->dict[i], key);
    return found;
}

/* True when word is one of the words in list, "a|b". */
static bool is_listed(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, word, len) == 0 && (at[len] == '\0' || at[len] == '|'))
            return true;
    }
    return false;
}

enum err_code expected_check(const struct expected *row, const struct pickle_value *value,
                             struct err *e)
{
    char shown[VALUE_SHOWN_MAX];

    if (!value || !row->values || is_listed(row->values, value_show(value, shown)))
        return ERR_OK;
    return err_set(e, ERR_UNSUPPORTED, "%s %s is not supported; %s is", row->key, shown,
                   row->values);
}

static enum err_code note_from_value(struct checkpoint *file, const struct note_row *row,
                                     const struct pickle_value *value, struct err *e)
{
    char text[VALUE_SHOWN_MAX], shown[VALUE_SHOWN_MAX];
    const char *kind = "whole number";
    int64_t whole;
    double real;
    bool good = false;

    switch (row->form) {
    case NOTE_WHOLE:
    case NOTE_TWICE:
        good = value_whole(value, &whole);
        if (good && row->form == NOTE_TWICE)
            good = !__builtin_mul_overflow(whole, 2, &whole);
        if (good)
            snprintf(text, sizeof text, "%" PRId64, whole);
        break;
    case NOTE_CLAMP:
    case NOTE_REAL:
        kind = "number";
        good = value_real(value, &real);
        if (good) {
            real_show(real, text);
        } else if (row->form == NOTE_CLAMP && is_none(value)) {
            good = true;
            snprintf(text, sizeof text, "none");
        }
        break;
    case NOTE_TRUTH:
        kind = "truth";
        good = value->kind == PICKLE_BOOL;
        if (good)
            snprintf(text, sizeof text, "%s", value->whole ? "true" : "false");
        break;
    }
    if (!good)
        return err_set(e, ERR_INVALID, "%s is %s, no %s", row->key, value_show(value, shown),
                       kind);
    return notes_add(file->notes, row->note, text, e);
}

enum err_code notes_from_scopes(struct checkpoint *file, const struct note_row *table, size_t rows,
                                const struct scope *scopes, struct err *e)
{
    enum err_code rc = ERR_OK;

    for (size_t i = 0; !rc && i < rows; i++) {
        const struct pickle_value *value = scope_find(&scopes[table[i].scope], table[i].key);

        if (value)
            rc = note_from_value(file, &table[i], value, e);
        else if (table[i].fallback)
            rc = notes_add(file->notes, table[i].note, table[i].fallback, e);
        else
            rc = err_set(e, ERR_INVALID, "%s is missing", table[i].key);
    }
    return rc;
}
