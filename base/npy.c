#include "base/npy.h"

#include "base/file.h"
#include "proto/number.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file is "\x93NUMPY", version 1.0, the header's length (2 bytes, little-endian), the header - a
 * Python dict as text, padded with spaces and ended by LF so that data begins at a multiple of 64 -
 * and the data. (numpy.lib.format describes it.) */
enum { PRELUDE_LEN = 10, ALIGNMENT = 64, HEADER_MAX = 512 };
static const uint8_t MAGIC[8] = { 0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0 };

static const struct dtype_row {
    const char *descr;
    size_t item_bytes;
} DTYPES[NPY_DTYPE_COUNT] = {
    [NPY_FLOAT64] = { "<f8", 8 },
    [NPY_FLOAT32] = { "<f4", 4 },
    [NPY_UINT8] = { "|u1", 1 },
};

size_t npy_item_bytes(enum npy_dtype dtype)
{
    return DTYPES[dtype].item_bytes;
}

/* Multiplies shape out; false when a length is not positive or the bytes go past the file limit. */
static bool count_items(const struct npy *array, size_t *count)
{
    size_t limit = NPY_FILE_MAX_BYTES / npy_item_bytes(array->dtype), product = 1;

    for (int i = 0; i < array->rank; i++) {
        if (array->shape[i] < 1 || (size_t)array->shape[i] > limit / product)
            return false;
        product *= (size_t)array->shape[i];
    }
    *count = product;
    return true;
}

/* ---- writing ---- */

/* Header with prelude; gives its length, a multiple of ALIGNMENT. */
static size_t print_header(const struct npy *array, char out[HEADER_MAX])
{
    size_t at = PRELUDE_LEN;

    at += (size_t)snprintf(out + at, HEADER_MAX - at, "{'descr': '%s', 'fortran_order': False, "
                                                      "'shape': (", DTYPES[array->dtype].descr);
    for (int i = 0; i < array->rank; i++)   /* Python: (), (3,), (3, 4) */
        at += (size_t)snprintf(out + at, HEADER_MAX - at, i == 0 && array->rank == 1 ? "%d,"
                                                          : i == 0                   ? "%d"
                                                                                     : ", %d",
                               array->shape[i]);
    at += (size_t)snprintf(out + at, HEADER_MAX - at, "), }");
    while ((at + 1) % ALIGNMENT != 0)
        out[at++] = ' ';
    out[at++] = '\n';
    memcpy(out, MAGIC, sizeof MAGIC);
    out[8] = (char)((at - PRELUDE_LEN) & 0xff);
    out[9] = (char)((at - PRELUDE_LEN) >> 8);
    return at;
}

enum err_code npy_encode(const struct npy *array, uint8_t **out, size_t *len, struct err *e)
{
    char header[HEADER_MAX];
    size_t count, header_len, data_len;

    *out = NULL;
    *len = 0;
    if (array->rank < 0 || array->rank > NPY_RANK_MAX || !count_items(array, &count))
        return err_set(e, ERR_RANGE, "an array file cannot have such a shape");
    header_len = print_header(array, header);
    data_len = count * npy_item_bytes(array->dtype);
    *out = malloc(header_len + data_len);
    if (!*out)
        return err_set(e, ERR_NOMEM, "no memory for an array of %zu bytes", data_len);
    memcpy(*out, header, header_len);
    memcpy(*out + header_len, array->data, data_len);
    *len = header_len + data_len;
    return ERR_OK;
}

enum err_code npy_write(const char *path, const struct npy *array, struct err *e)
{
    uint8_t *file;
    size_t len;
    enum err_code rc = npy_encode(array, &file, &len, e);

    if (rc == ERR_RANGE)
        return err_set(e, rc, "could not write \"%s\": an array of such a shape", path);
    if (!rc)
        rc = file_write_atomic(path, file, len, e);
    free(file);
    return rc;
}

/* ---- reading ---- */

struct text {                        /* what is left of the header */
    const char *at, *end;
};

static void skip_spaces(struct text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n'))
        t->at++;
}

/* Takes word, with spaces before it, if it comes next. */
static bool take(struct text *t, const char *word)
{
    size_t len = strlen(word);

    skip_spaces(t);
    if ((size_t)(t->end - t->at) < len || memcmp(t->at, word, len) != 0)
        return false;
    t->at += len;
    return true;
}

static bool take_dtype(struct text *t, enum npy_dtype *out)
{
    for (int dtype = 0; dtype < NPY_DTYPE_COUNT; dtype++) {
        char quoted[8];

        snprintf(quoted, sizeof quoted, "'%s'", DTYPES[dtype].descr);
        if (take(t, quoted)) {
            *out = (enum npy_dtype)dtype;
            return true;
        }
    }
    return false;
}

static bool take_shape(struct text *t, struct npy *out)
{
    if (!take(t, "("))
        return false;
    while (!take(t, ")")) {
        int64_t v;
        const char *digits;

        skip_spaces(t);
        digits = t->at;
        while (t->at < t->end && *t->at >= '0' && *t->at <= '9')
            t->at++;
        if (out->rank == NPY_RANK_MAX || !number_parse(digits, (size_t)(t->at - digits), &v) ||
            v > INT_MAX)
            return false;
        out->shape[out->rank++] = (int)v;
        if (!take(t, ",") && (t->at == t->end || *t->at != ')'))
            return false;
    }
    return true;
}

/* The three keys, in any order, each once. */
static enum err_code parse_header(struct text t, const char *path, struct npy *out, struct err *e)
{
    bool has_dtype = false, has_order = false, has_shape = false, closed;

    if (!take(&t, "{"))
        return err_set(e, ERR_INVALID, "\"%s\" is not an array file: its header is no dict", path);
    while (!(closed = take(&t, "}"))) {
        if (!has_dtype && take(&t, "'descr':")) {
            if (!take_dtype(&t, &out->dtype))
                return err_set(e, ERR_UNSUPPORTED, "array \"%s\" is not of float64, float32 or "
                                                   "uint8, little-endian", path);
            has_dtype = true;
        } else if (!has_order && take(&t, "'fortran_order':")) {
            if (!take(&t, "False"))
                return err_set(e, ERR_UNSUPPORTED, "array \"%s\" is not in C order", path);
            has_order = true;
        } else if (!has_shape && take(&t, "'shape':")) {
            if (!take_shape(&t, out))
                return err_set(e, ERR_UNSUPPORTED, "array \"%s\" has no shape of at most %d "
                                                   "lengths", path, NPY_RANK_MAX);
            has_shape = true;
        } else {
            break;
        }
        if (!take(&t, ",") && (t.at == t.end || *t.at != '}'))
            break;
    }
    if (!closed || !has_dtype || !has_order || !has_shape)
        return err_set(e, ERR_INVALID, "\"%s\" is not an array file: its header is malformed",
                       path);
    return ERR_OK;
}

enum err_code npy_read(const char *path, struct npy *out, struct err *e)
{
    struct npy array = { .rank = 0 };
    uint8_t *file = NULL;
    size_t len, header_end, data_len;
    enum err_code rc = file_read(path, NPY_FILE_MAX_BYTES, &file, &len, e);

    *out = (struct npy){ .rank = 0 };
    if (rc)
        goto done;
    if (len < PRELUDE_LEN || memcmp(file, MAGIC, 6) != 0) {
        rc = err_set(e, ERR_INVALID, "\"%s\" is not an array file (.npy)", path);
        goto done;
    }
    if (memcmp(file, MAGIC, sizeof MAGIC) != 0) {
        rc = err_set(e, ERR_UNSUPPORTED, "array \"%s\" is of version %d.%d, not 1.0", path, file[6],
                     file[7]);
        goto done;
    }
    header_end = PRELUDE_LEN + (size_t)file[8] + ((size_t)file[9] << 8);
    if (header_end > len) {
        rc = err_set(e, ERR_FILE, "array \"%s\" is cut short in its header", path);
        goto done;
    }
    rc = parse_header((struct text){ (char *)file + PRELUDE_LEN, (char *)file + header_end }, path,
                      &array, e);
    if (rc)
        goto done;
    if (!count_items(&array, &array.count)) {
        rc = err_set(e, ERR_INVALID, "array \"%s\" is empty or too large", path);
        goto done;
    }
    data_len = array.count * npy_item_bytes(array.dtype);
    if (len - header_end != data_len) {
        rc = err_set(e, ERR_FILE, "array \"%s\" has %zu bytes of data, its shape says %zu", path,
                     len - header_end, data_len);
        goto done;
    }
    /* The file's own buffer becomes the data: moved to its start, aligned as malloc gives it. */
    memmove(file, file + header_end, data_len);
    array.data = file;
    file = NULL;
    *out = array;
done:
    free(file);
    return rc;
}

void npy_release(struct npy *self)
{
    free(self->data);
    *self = (struct npy){ .rank = 0 };
}
