#include "kernels/safetensors.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    LENGTH_BYTES = 8,           /* in front of the JSON */
    ALIGN_BYTES = 64,           /* where the tensors of a file that is written begin */
};

static const struct dtype {
    const char *word;
    size_t bytes;
} DTYPES[] = {
    { "F32", 4 },  { "F16", 2 }, { "BF16", 2 }, { "F64", 8 }, { "F8_E4M3", 1 },
    { "F8_E5M2", 1 }, { "I64", 8 }, { "I32", 4 },  { "I16", 2 }, { "I8", 1 },
    { "U64", 8 },  { "U32", 4 }, { "U16", 2 },  { "U8", 1 },  { "BOOL", 1 },
};

struct safetensors {
    cJSON *header;              /* owns the names */
    struct notes *notes;
    size_t count;
    struct safetensors_tensor *tensor;   /* [count], in name order */
};

/* How many values JSON text has at most: one more than its commas and opening brackets outside
 * strings. Counted first: the tree of a header of nothing but commas would take a gigabyte. */
static size_t count_values(const char *json, size_t len)
{
    size_t values = 1;
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        if (quoted && json[i] == '\\')
            i++;
        else if (json[i] == '"')
            quoted = !quoted;
        else if (!quoted && (json[i] == ',' || json[i] == '[' || json[i] == '{'))
            values++;
    }
    return values;
}

/* A JSON number that is a whole one from 0 to 2^53, which a double holds exactly. */
static bool read_whole(const cJSON *item, uint64_t *out)
{
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1.0;

    if (!(v >= 0.0 && v <= 9007199254740992.0) || v != floor(v))
        return false;
    *out = (uint64_t)v;
    return true;
}

static bool is_name(const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return len >= 1 && len <= SAFETENSORS_NAME_MAX;
}

static enum err_code read_notes(const cJSON *object, struct notes *notes, struct err *e)
{
    const cJSON *item;

    if (!cJSON_IsObject(object))
        return err_set(e, ERR_INVALID, "__metadata__ is not an object");
    cJSON_ArrayForEach(item, object) {
        enum err_code rc;

        if (!cJSON_IsString(item))
            return err_set(e, ERR_INVALID, "metadata \"%.60s\" is not a string", item->string);
        rc = notes_add(notes, item->string, item->valuestring, e);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static enum err_code read_shape(const cJSON *shape, struct safetensors_tensor *t, struct err *e)
{
    const cJSON *item;
    uint64_t v;

    if (!cJSON_IsArray(shape))
        return err_set(e, ERR_INVALID, "tensor \"%s\" has no shape", t->name);
    t->count = 1;
    cJSON_ArrayForEach(item, shape) {
        if (t->rank == SAFETENSORS_RANK_MAX)
            return err_set(e, ERR_INVALID, "tensor \"%s\" has more than %d dimensions", t->name,
                           SAFETENSORS_RANK_MAX);
        if (!read_whole(item, &v))
            return err_set(e, ERR_INVALID, "tensor \"%s\": a dimension is not a whole number",
                           t->name);
        t->shape[t->rank++] = (int64_t)v;
        if (__builtin_mul_overflow(t->count, v, &t->count))
            return err_set(e, ERR_INVALID, "tensor \"%s\" has too many values", t->name);
    }
    return ERR_OK;
}

static const struct dtype *find_dtype(const cJSON *word)
{
    for (size_t i = 0; cJSON_IsString(word) && i < sizeof DTYPES / sizeof DTYPES[0]; i++)
        if (strcmp(word->valuestring, DTYPES[i].word) == 0)
            return &DTYPES[i];
    return NULL;
}

/* One entry of the header; body[0..body_len) are the bytes after the JSON. */
static enum err_code read_tensor(const cJSON *item, const uint8_t *body, size_t body_len,
                                 struct safetensors_tensor *t, struct err *e)
{
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(item, "data_offsets");
    const struct dtype *dtype = find_dtype(cJSON_GetObjectItemCaseSensitive(item, "dtype"));
    uint64_t begin, end;
    size_t bytes;
    enum err_code rc;

    if (!is_name(item->string))
        return err_set(e, ERR_INVALID, "a tensor's name is empty, too long or not printable");
    t->name = item->string;
    if (!dtype)
        return err_set(e, ERR_UNSUPPORTED, "tensor \"%s\" has no known dtype", t->name);
    t->dtype = dtype->word;
    rc = read_shape(cJSON_GetObjectItemCaseSensitive(item, "shape"), t, e);
    if (rc)
        return rc;
    if (cJSON_GetArraySize(offsets) != 2 || !read_whole(cJSON_GetArrayItem(offsets, 0), &begin) ||
        !read_whole(cJSON_GetArrayItem(offsets, 1), &end) || begin > end)
        return err_set(e, ERR_INVALID, "tensor \"%s\" has no valid data_offsets", t->name);
    if (end > body_len)
        return err_set(e, ERR_FILE, "tensor \"%s\" ends behind the end of the file", t->name);
    if (__builtin_mul_overflow(t->count, dtype->bytes, &bytes) || bytes != end - begin)
        return err_set(e, ERR_INVALID, "tensor \"%s\": shape and data_offsets disagree", t->name);
    t->data = body + begin;
    t->len = bytes;
    return ERR_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;

    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->len < y->len ? -1 : x->len > y->len;   /* empty ones first */
}

static int by_name(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static enum err_code check_cover(struct safetensors *self, const uint8_t *body, size_t body_len,
                                 struct err *e)
{
    const uint8_t *at = body;

    qsort(self->tensor, self->count, sizeof self->tensor[0], by_place);
    for (size_t i = 0; i < self->count; i++) {
        const struct safetensors_tensor *t = &self->tensor[i];

        if (t->data != at)
            return err_set(e, ERR_INVALID, "tensor \"%s\" %s", t->name,
                           t->data < at ? "overlaps another" : "follows bytes that no tensor has");
        at += t->len;
    }
    if (at != body + body_len)
        return err_set(e, ERR_INVALID, "%zu bytes follow the last tensor",
                       (size_t)(body + body_len - at));
    return ERR_OK;
}

static enum err_code read_header(struct safetensors *self, const uint8_t *body, size_t body_len,
                                 struct err *e)
{
    const cJSON *item;
    enum err_code rc;
    bool noted = false;
    int entries = cJSON_GetArraySize(self->header);

    if (!cJSON_IsObject(self->header))
        return err_set(e, ERR_INVALID, "the header is not a JSON object");
    if (entries > SAFETENSORS_TENSORS_MAX + 1)
        return err_set(e, ERR_INVALID, "more than %d tensors", SAFETENSORS_TENSORS_MAX);
    self->tensor = calloc((size_t)entries + 1, sizeof self->tensor[0]);
    if (!self->tensor)
        return err_set(e, ERR_NOMEM, "no memory for %d tensors", entries);
    cJSON_ArrayForEach(item, self->header) {
        if (strcmp(item->string, "__metadata__") != 0) {
            rc = read_tensor(item, body, body_len, &self->tensor[self->count++], e);
        } else if (noted) {
            rc = err_set(e, ERR_INVALID, "__metadata__ is there twice");
        } else {
            noted = true;
            rc = read_notes(item, self->notes, e);
        }
        if (rc)
            return rc;
    }
    rc = check_cover(self, body, body_len, e);
    if (rc)
        return rc;
    qsort(self->tensor, self->count, sizeof self->tensor[0], by_name);
    for (size_t i = 1; i < self->count; i++)
        if (strcmp(self->tensor[i - 1].name, self->tensor[i].name) == 0)
            return err_set(e, ERR_INVALID, "tensor \"%s\" is there twice", self->tensor[i].name);
    return ERR_OK;
}

static bool is_blank(const char *text, const char *end)
{
    while (text < end && (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r'))
        text++;
    return text == end;
}

enum err_code safetensors_parse(const void *data, size_t len, struct safetensors **out,
                                struct err *e)
{
    const uint8_t *bytes = data;
    const char *json, *stop = NULL;
    uint64_t json_len = 0;
    enum err_code rc = ERR_OK;
    struct safetensors *self = NULL;

    *out = NULL;
    if (len < LENGTH_BYTES)
        return err_set(e, ERR_FILE, "%zu bytes are too few for a model file", len);
    for (int i = LENGTH_BYTES; i-- > 0;)
        json_len = json_len << 8 | bytes[i];
    if (json_len < 2 || json_len > SAFETENSORS_HEADER_MAX)
        return err_set(e, ERR_INVALID, "neither a .safetensors file nor an official .pkl: the "
                       "header's length is %llu, not 2 to %d",
                       (unsigned long long)json_len, SAFETENSORS_HEADER_MAX);
    if (json_len > len - LENGTH_BYTES)
        return err_set(e, ERR_FILE, "the file ends inside its header");
    json = (const char *)bytes + LENGTH_BYTES;
    if (count_values(json, json_len) > SAFETENSORS_VALUES_MAX)
        return err_set(e, ERR_INVALID, "the header has more than %d values",
                       SAFETENSORS_VALUES_MAX);
    self = calloc(1, sizeof *self);
    if (self)
        self->notes = notes_create();
    if (!self || !self->notes) {
        rc = err_set(e, ERR_NOMEM, "no memory for the header");
        goto done;
    }
    self->header = cJSON_ParseWithLengthOpts(json, json_len, &stop, false);
    if (!self->header || !is_blank(stop, json + json_len)) {
        rc = err_set(e, ERR_INVALID, "the header is not valid JSON");
        goto done;
    }
    rc = read_header(self, bytes + LENGTH_BYTES + json_len, len - LENGTH_BYTES - json_len, e);
    if (rc)
        goto done;
    *out = self;
    self = NULL;
done:
    safetensors_destroy(&self);
    return rc;
}

void safetensors_destroy(struct safetensors **self)
{
    if (!*self)
        return;
    notes_destroy(&(*self)->notes);
    cJSON_Delete((*self)->header);
    free((*self)->tensor);
    free(*self);
    *self = NULL;
}

struct notes *safetensors_take_notes(struct safetensors *self)
{
    struct notes *notes = self->notes;

    self->notes = NULL;
    return notes;
}

size_t safetensors_count(const struct safetensors *self)
{
    return self->count;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *self, size_t index)
{
    return &self->tensor[index];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *self, const char *name)
{
    struct safetensors_tensor key = { .name = name };

    if (self->count == 0)
        return NULL;
    return bsearch(&key, self->tensor, self->count, sizeof key, by_name);
}

/* IEEE 754 binary16 to binary32: exact. */
static uint32_t widen(uint16_t half)
{
    uint32_t sign = (uint32_t)(half >> 15) << 31;
    uint32_t exponent = half >> 10 & 31, fraction = half & 1023;

    if (exponent == 31)
        return sign | 0x7f800000u | fraction << 13;
    if (exponent == 0) {
        if (fraction == 0)
            return sign;
        for (exponent = 1; !(fraction & 1024); exponent--)
            fraction <<= 1;     /* a subnormal half is a normal float */
        fraction &= 1023;
    }
    return sign | (exponent + 112) << 23 | fraction << 13;
}

enum err_code safetensors_floats(const struct safetensors_tensor *tensor, float *out, struct err *e)
{
    bool wide = strcmp(tensor->dtype, "F32") == 0;
    const uint8_t *p = tensor->data;

    if (!wide && strcmp(tensor->dtype, "F16") != 0)
        return err_set(e, ERR_UNSUPPORTED, "tensor \"%s\" is %s; F32 and F16 are supported",
                       tensor->name, tensor->dtype);
    for (size_t i = 0; i < tensor->count; i++) {
        uint32_t bits;

        if (wide)
            bits = (uint32_t)p[4 * i] | (uint32_t)p[4 * i + 1] << 8 |
                   (uint32_t)p[4 * i + 2] << 16 | (uint32_t)p[4 * i + 3] << 24;
        else
            bits = widen((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
        if ((bits & 0x7f800000u) == 0x7f800000u)
            return err_set(e, ERR_INVALID, "tensor \"%s\" holds a value that is not finite",
                           tensor->name);
        memcpy(&out[i], &bits, sizeof bits);
    }
    return ERR_OK;
}

/* ---- writing ---- */

void safetensors_put_floats(uint8_t *out, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;

        memcpy(&bits, &values[i], sizeof bits);
        for (int b = 0; b < 4; b++)
            out[4 * i + b] = (uint8_t)(bits >> 8 * b);
    }
}

static bool add_notes(cJSON *header, const struct notes *notes)
{
    cJSON *object = cJSON_AddObjectToObject(header, "__metadata__");
    const char *key, *value;

    for (size_t i = 0; object && i < notes_count(notes); i++) {
        notes_at(notes, i, &key, &value);
        if (!cJSON_AddStringToObject(object, key, value))
            return false;
    }
    return object != NULL;
}

static bool add_item(cJSON *header, const struct safetensors_item *item, size_t begin)
{
    cJSON *entry = cJSON_AddObjectToObject(header, item->name);
    cJSON *offsets = cJSON_CreateDoubleArray(
        (double[]){ (double)begin, (double)(begin + 4 * item->count) }, 2);
    cJSON *shape = cJSON_CreateIntArray(item->shape, item->rank);

    if (entry && offsets && shape && cJSON_AddStringToObject(entry, "dtype", "F32") &&
        cJSON_AddItemToObject(entry, "shape", shape)) {
        shape = NULL;               /* now the entry's */
        if (cJSON_AddItemToObject(entry, "data_offsets", offsets))
            return true;
    }
    cJSON_Delete(offsets);
    cJSON_Delete(shape);
    return false;
}

/* The JSON as text, for cJSON_free(); *body_len becomes how many bytes of tensors follow it. */
static char *format_header(const struct notes *notes, const struct safetensors_item *items,
                           size_t count, size_t *body_len)
{
    cJSON *header = cJSON_CreateObject();
    bool good = header && add_notes(header, notes);
    char *json = NULL;

    *body_len = 0;
    for (size_t i = 0; good && i < count; i++) {
        good = add_item(header, &items[i], *body_len);
        *body_len += 4 * items[i].count;
    }
    if (good)
        json = cJSON_PrintUnformatted(header);
    cJSON_Delete(header);
    return json;
}

enum err_code safetensors_format(const struct notes *notes, const struct safetensors_item *items,
                                 size_t count, uint8_t **out, size_t *len, struct err *e)
{
    size_t body_len, json_len, header_len;
    char *json = format_header(notes, items, count, &body_len);
    uint8_t *at;
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (!json)
        return err_set(e, ERR_NOMEM, "no memory for the header of %zu tensors", count);
    json_len = strlen(json);
    header_len = (LENGTH_BYTES + json_len + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES -
                 LENGTH_BYTES;
    if (header_len > SAFETENSORS_HEADER_MAX || count > SAFETENSORS_TENSORS_MAX) {
        rc = err_set(e, ERR_RANGE, "a header of %zu bytes for %zu tensors is too long", header_len,
                     count);
        goto done;
    }
    *len = LENGTH_BYTES + header_len + body_len;
    *out = at = malloc(*len);
    if (!at) {
        rc = err_set(e, ERR_NOMEM, "no memory for a file of %zu bytes", *len);
        goto done;
    }
    for (int i = 0; i < LENGTH_BYTES; i++)
        *at++ = (uint8_t)((uint64_t)header_len >> 8 * i);
    memcpy(at, json, json_len);
    memset(at + json_len, ' ', header_len - json_len);
    at += header_len;
    for (size_t i = 0; i < count; i++) {
        safetensors_put_floats(at, items[i].data, items[i].count);
        at += 4 * items[i].count;
    }
done:
    cJSON_free(json);
    return rc;
}
