#include "proto/message.h"

#include "proto/number.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MAX = 4,                  /* map, list, map, value: the grammar needs no more */
    ZONE_MAX = 8192,                /* bytes that the decoder takes at once */
    OBJECTS_MAX = 1 << 16,          /* in one map: bounds the decoder's memory, 24 bytes each */
};

/* ---- texts ---- */

struct text text_of(const char *string)
{
    return (struct text){ string, strlen(string) };
}

bool text_is(struct text text, const char *string)
{
    return strlen(string) == text.len &&
           (text.len == 0 || memcmp(text.data, string, text.len) == 0);
}

const char *text_copy(struct text text, char *out, size_t cap)
{
    size_t len = text.len < cap ? text.len : cap - 1;

    if (len > 0)
        memcpy(out, text.data, len);
    out[len] = '\0';
    return out;
}

static bool is_plain(char c)
{
    return (c >= 0x20 && c <= 0x7e) || c == '\n';
}

/* Whether eight bytes are plain, all at once: with LF moved to a printable place, none is below
 * 0x20 (which would borrow) and none above 0x7e (which would carry). */
static bool are_plain(const char *eight_bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = 0x80 * ones;
    uint64_t v, not_lf;

    memcpy(&v, eight_bytes, sizeof v);
    not_lf = v ^ '\n' * ones;
    not_lf = ((not_lf & ~tops) + ~tops) | not_lf;        /* top bit of each byte that is no LF */
    v += (~not_lf & tops) >> 2;                          /* LF becomes '*' */
    return (((v - 0x20 * ones) | (v + ones) | v) & tops) == 0;
}

/* How many bytes from the start are plain. Eight at a time: most of what is sent is text. */
static size_t plain_len(const char *text, size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t end = len - at >= 8 ? at + 8 : len;

        if (end - at == 8 && are_plain(text + at))
            at = end;
        for (; at < end; at++)
            if (!is_plain(text[at]))
                return at;
    }
    return at;
}

/* ---- a scan before the decoder ----
 * msgpack-c reserves room for as many items as an array's header claims before it has seen them, so
 * five bytes can ask for gigabytes. This pass follows the same grammar without any memory and lets
 * through only what is whole: counts are then bounded by the bytes that are there. */

struct scan {
    const uint8_t *at, *end;
    size_t objects;
};

static bool scan_skip(struct scan *s, uint64_t len)
{
    if ((uint64_t)(s->end - s->at) < len)
        return false;
    s->at += len;
    return true;
}

static bool scan_size(struct scan *s, int width, uint64_t *out)
{
    uint64_t v = 0;

    if (s->end - s->at < width)
        return false;
    for (int i = 0; i < width; i++)
        v = v << 8 | *s->at++;
    *out = v;
    return true;
}

/* One object with all that it holds. The recursion is bounded by DEPTH_MAX. */
static bool scan_object(struct scan *s, int depth)
{
    uint64_t len = 0, items = 0;

    if (s->at == s->end || ++s->objects > OBJECTS_MAX)
        return false;
    uint8_t b = *s->at++;

    if (b <= 0x7f || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3)
        return true;                                     /* small integers, nil, false, true */
    if (b <= 0x8f)
        items = 2u * (b & 15u);                          /* fixmap */
    else if (b <= 0x9f)
        items = b & 15u;                                 /* fixarray */
    else if (b <= 0xbf)
        return scan_skip(s, b & 31u);                    /* fixstr */
    else if (b >= 0xc4 && b <= 0xc6)
        return scan_size(s, 1 << (b - 0xc4), &len) && scan_skip(s, len);      /* bin */
    else if (b >= 0xc7 && b <= 0xc9)
        return scan_size(s, 1 << (b - 0xc7), &len) && scan_skip(s, len + 1);  /* ext */
    else if (b == 0xca || b == 0xce || b == 0xd2)
        return scan_skip(s, 4);
    else if (b == 0xcb || b == 0xcf || b == 0xd3)
        return scan_skip(s, 8);
    else if (b == 0xcc || b == 0xd0)
        return scan_skip(s, 1);
    else if (b == 0xcd || b == 0xd1)
        return scan_skip(s, 2);
    else if (b >= 0xd4 && b <= 0xd8)
        return scan_skip(s, (1u << (b - 0xd4)) + 1);     /* fixext */
    else if (b >= 0xd9 && b <= 0xdb)
        return scan_size(s, 1 << (b - 0xd9), &len) && scan_skip(s, len);      /* str */
    else if (b == 0xdc || b == 0xdd) {
        if (!scan_size(s, b == 0xdc ? 2 : 4, &items))
            return false;
    } else if (b == 0xde || b == 0xdf) {
        if (!scan_size(s, b == 0xde ? 2 : 4, &items))
            return false;
        items *= 2;
    } else
        return false;                                    /* 0xc1 is never used */

    if (depth == DEPTH_MAX || items > (uint64_t)(s->end - s->at))
        return false;
    for (uint64_t i = 0; i < items; i++)
        if (!scan_object(s, depth + 1))
            return false;
    return true;
}

/* ---- a look without decoding ---- */

/* The string at s, which is then behind it. */
static bool scan_text(struct scan *s, struct text *out)
{
    uint64_t len;
    uint8_t b;

    if (s->at == s->end)
        return false;
    b = *s->at++;
    if (b >= 0xa0 && b <= 0xbf)
        len = b & 31u;
    else if (b < 0xd9 || b > 0xdb || !scan_size(s, 1 << (b - 0xd9), &len))
        return false;
    *out = (struct text){ (const char *)s->at, (size_t)len };
    return scan_skip(s, len);
}

/* The whole number at s, which is then behind it. */
static bool scan_number(struct scan *s, int64_t *out)
{
    uint64_t v;
    uint8_t b;

    if (s->at == s->end)
        return false;
    b = *s->at++;
    if (b <= 0x7f || b >= 0xe0) {
        *out = (int8_t)b;
        return true;
    }
    if (b < 0xcc || b > 0xd3 || !scan_size(s, 1 << ((b - 0xcc) & 3), &v))
        return false;
    if (b >= 0xd0) {                 /* signed: the upper bits are those of the highest one */
        int unused = 64 - (8 << (b - 0xd0));

        *out = (int64_t)(v << unused) >> unused;
    } else
        *out = (int64_t)v;
    return b != 0xcf || v <= INT64_MAX;
}

static void peek(struct scan value, struct text key, struct message_peek *peeks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct message_peek *p = &peeks[i];
        struct scan text = value;

        if (key.len > 0 && key.data[0] == p->key[0] && text_is(key, p->key) && !p->found)
            p->found = scan_number(&value, &p->number) || scan_text(&text, &p->text);
    }
}

bool message_peek(const void *data, size_t len, struct message_peek *peeks, size_t count)
{
    struct scan s = { data, (const uint8_t *)data + len, 0 };
    uint64_t entries;

    for (size_t i = 0; i < count; i++)
        peeks[i] = (struct message_peek){ .key = peeks[i].key };
    if (len == 0)
        return false;
    uint8_t b = *s.at++;

    if (b >= 0x80 && b <= 0x8f)
        entries = b & 15u;
    else if ((b != 0xde && b != 0xdf) || !scan_size(&s, b == 0xde ? 2 : 4, &entries))
        return false;
    for (uint64_t i = 0; i < entries; i++) {
        struct text key;
        struct scan value;

        if (!scan_text(&s, &key))
            return false;
        value = s;
        if (!scan_object(&s, 1))
            return false;
        peek(value, key, peeks, count);
    }
    return s.at == s.end;
}

/* ---- decoding ---- */

static bool is_name(const msgpack_object *key, const char *name, size_t len)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == len &&
           memcmp(key->via.str.ptr, name, len) == 0;
}

static const msgpack_object *find(const msgpack_object_map *map, const char *name)
{
    size_t len = strlen(name);

    for (uint32_t i = 0; i < map->size; i++)
        if (is_name(&map->ptr[i].key, name, len))
            return map->ptr[i].val.type == MSGPACK_OBJECT_NIL ? NULL : &map->ptr[i].val;
    return NULL;                    /* nil counts as not there */
}

static bool read_int(const msgpack_object *o, int64_t *out)
{
    if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *out = o->via.i64;
    else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= INT64_MAX)
        *out = (int64_t)o->via.u64;
    else
        return false;
    return true;
}

static enum err_code bad_range(const struct field *f, struct err *e)
{
    return err_set(e, ERR_RANGE,
                   "field \"%s\" is out of range: it goes from %" PRId64 " to %" PRId64, f->name,
                   f->min, f->max);
}

static enum err_code read_number(const msgpack_object *o, const struct field *f, int64_t *out,
                                 struct err *e)
{
    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 > INT64_MAX)
        return bad_range(f, e);
    if (!read_int(o, out))
        return err_set(e, ERR_INVALID, "field \"%s\" needs a whole number", f->name);
    return *out < f->min || *out > f->max ? bad_range(f, e) : ERR_OK;
}

/* Any number as a double; what lies beyond int64 is only good to be found out of range. */
static bool read_double(const msgpack_object *o, double *out)
{
    int64_t v;

    if (o->type == MSGPACK_OBJECT_FLOAT64 || o->type == MSGPACK_OBJECT_FLOAT32)
        *out = o->via.f64;
    else if (read_int(o, &v))
        *out = (double)v;
    else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *out = (double)o->via.u64;
    else
        return false;
    return true;
}

static enum err_code read_decimal(const msgpack_object *o, const struct field *f, int64_t *out,
                                  struct err *e)
{
    double d;

    if (!read_double(o, &d))
        return err_set(e, ERR_INVALID, "field \"%s\" needs a number", f->name);
    if (!(d >= (double)f->min / 1e6 && d <= (double)f->max / 1e6))
        return err_set(e, ERR_RANGE, "field \"%s\" is out of range: it goes from %" PRId64
                                     " to %" PRId64, f->name, f->min / 1000000, f->max / 1000000);
    if (!number_millionths_of(d, out))
        return err_set(e, ERR_RANGE, "field \"%s\" has more than six decimal places", f->name);
    return ERR_OK;
}

static enum err_code read_float(const msgpack_object *o, const struct field *f, float *out,
                                struct err *e)
{
    double d;

    if (!read_double(o, &d))
        return err_set(e, ERR_INVALID, "field \"%s\" needs a list of numbers", f->name);
    if (!(fabs(d) <= FLT_MAX))       /* also refuses NaN */
        return err_set(e, ERR_RANGE, "field \"%s\" holds a number that is no finite float32",
                       f->name);
    *out = (float)d;
    return ERR_OK;
}

static enum err_code read_word(const msgpack_object *o, const struct field *f, int64_t *out,
                               struct err *e)
{
    if (o->type == MSGPACK_OBJECT_STR)
        for (int64_t i = 0; i <= f->max; i++)
            if (text_is((struct text){ o->via.str.ptr, o->via.str.size }, f->words[i])) {
                *out = i;
                return ERR_OK;
            }
    return err_set(e, ERR_INVALID, "field \"%s\" needs one of its words (\"%s\", ...)", f->name,
                   f->words[0]);
}

static enum err_code read_text(const msgpack_object *o, const struct field *f, struct text *out,
                               struct err *e)
{
    if (o->type != MSGPACK_OBJECT_STR)
        return err_set(e, ERR_INVALID, "field \"%s\" needs a string", f->name);
    if (o->via.str.size < f->min || o->via.str.size > f->max)
        return err_set(e, ERR_RANGE, "field \"%s\" has %u bytes: %" PRId64 "..%" PRId64
                                     " are allowed", f->name, o->via.str.size, f->min, f->max);
    if (plain_len(o->via.str.ptr, o->via.str.size) < o->via.str.size)
        return err_set(e, ERR_INVALID, "field \"%s\" holds a byte that is not plain ASCII",
                       f->name);
    *out = (struct text){ o->via.str.ptr, o->via.str.size };
    return ERR_OK;
}

static enum err_code read_digest(const msgpack_object *o, const struct field *f,
                                 struct digest *out, struct err *e)
{
    if (o->type != MSGPACK_OBJECT_STR || !digest_parse(o->via.str.ptr, o->via.str.size, out))
        return err_set(e, ERR_INVALID, "field \"%s\" needs 64 lower-case hex digits", f->name);
    return ERR_OK;
}

static enum err_code take_items(msgpack_zone *zone, size_t count, size_t size,
                                const struct field *f, void **out, struct err *e)
{
    *out = NULL;
    if (count > f->most)
        return err_set(e, ERR_RANGE, "field \"%s\" has %zu items: at most %zu are allowed", f->name,
                       count, f->most);
    if (count == 0)
        return ERR_OK;
    *out = msgpack_zone_malloc(zone, count * size);
    if (!*out)
        return err_set(e, ERR_NOMEM, "no memory for %zu items of \"%s\"", count, f->name);
    memset(*out, 0, count * size);
    return ERR_OK;
}

static enum err_code read_range(msgpack_zone *zone, const msgpack_object *o, const struct field *f,
                                struct numbers *out, struct err *e)
{
    const msgpack_object *first = find(&o->via.map, "first"), *last = find(&o->via.map, "last");
    int64_t lo, hi, *items;
    enum err_code rc;

    if (!first || !last)
        return err_set(e, ERR_INVALID, "field \"%s\" needs \"first\" and \"last\"", f->name);
    if ((rc = read_number(first, f, &lo, e)) || (rc = read_number(last, f, &hi, e)))
        return rc;
    if (lo > hi)
        return err_set(e, ERR_RANGE, "field \"%s\" runs backwards: %" PRId64 " to %" PRId64,
                       f->name, lo, hi);
    rc = take_items(zone, (size_t)(hi - lo + 1), sizeof *items, f, (void **)&items, e);
    if (rc)
        return rc;
    for (int64_t i = lo; i <= hi; i++)
        items[i - lo] = i;
    *out = (struct numbers){ items, (size_t)(hi - lo + 1) };
    return ERR_OK;
}

static enum err_code read_numbers(msgpack_zone *zone, const msgpack_object *o,
                                  const struct field *f, struct numbers *out, struct err *e)
{
    int64_t *items;
    enum err_code rc;

    if (f->kind == FIELD_SEEDS && o->type == MSGPACK_OBJECT_MAP)
        return read_range(zone, o, f, out, e);
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return err_set(e, ERR_INVALID, "field \"%s\" needs a list of whole numbers", f->name);
    rc = take_items(zone, o->via.array.size, sizeof *items, f, (void **)&items, e);
    for (uint32_t i = 0; !rc && i < o->via.array.size; i++)
        rc = read_number(&o->via.array.ptr[i], f, &items[i], e);
    if (!rc)
        *out = (struct numbers){ items, o->via.array.size };
    return rc;
}

/* A list that has just as many items as it must. */
static enum err_code check_list(const msgpack_object *o, const struct field *f, struct err *e)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return err_set(e, ERR_INVALID, "field \"%s\" needs a list of numbers", f->name);
    if (o->via.array.size != f->most)
        return err_set(e, ERR_RANGE, "field \"%s\" needs %zu numbers, not %u", f->name,
                       f->most, o->via.array.size);
    return ERR_OK;
}

static enum err_code read_decimals(const msgpack_object *o, const struct field *f,
                                   struct decimals *out, struct err *e)
{
    enum err_code rc = check_list(o, f, e);

    for (size_t i = 0; !rc && i < f->most; i++)
        rc = read_decimal(&o->via.array.ptr[i], f, &out->items[i], e);
    if (!rc)
        out->count = f->most;
    return rc;
}

static enum err_code read_floats(const msgpack_object *o, const struct field *f,
                                 struct floats *out, struct err *e)
{
    enum err_code rc = check_list(o, f, e);

    for (size_t i = 0; !rc && i < f->most; i++)
        rc = read_float(&o->via.array.ptr[i], f, &out->items[i], e);
    if (!rc)
        out->count = f->most;
    return rc;
}

static enum err_code read_fields(msgpack_zone *zone, const msgpack_object_map *map,
                                 const struct field_table *table, void *record, struct err *e);

static enum err_code read_records(msgpack_zone *zone, const msgpack_object *o,
                                  const struct field *f, struct records *out, struct err *e)
{
    char *items;
    enum err_code rc;

    if (o->type != MSGPACK_OBJECT_ARRAY)
        return err_set(e, ERR_INVALID, "field \"%s\" needs a list of maps", f->name);
    rc = take_items(zone, o->via.array.size, f->sub->size, f, (void **)&items, e);
    for (uint32_t i = 0; !rc && i < o->via.array.size; i++) {
        const msgpack_object *item = &o->via.array.ptr[i];

        if (item->type != MSGPACK_OBJECT_MAP)
            return err_set(e, ERR_INVALID, "field \"%s\" needs a list of maps", f->name);
        rc = read_fields(zone, &item->via.map, f->sub, items + i * f->sub->size, e);
    }
    if (!rc)
        *out = (struct records){ items, o->via.array.size };
    return rc;
}

static enum err_code read_field(msgpack_zone *zone, const msgpack_object *o, const struct field *f,
                                void *at, struct err *e)
{
    switch (f->kind) {
    case FIELD_INT:
        return read_number(o, f, at, e);
    case FIELD_DECIMAL:
        return read_decimal(o, f, at, e);
    case FIELD_WORD:
        return read_word(o, f, at, e);
    case FIELD_TEXT:
        return read_text(o, f, at, e);
    case FIELD_DIGEST:
        return read_digest(o, f, at, e);
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        return read_numbers(zone, o, f, at, e);
    case FIELD_DECIMALS:
        return read_decimals(o, f, at, e);
    case FIELD_FLOATS:
        return read_floats(o, f, at, e);
    case FIELD_RECORDS:
        return read_records(zone, o, f, at, e);
    case FIELD_FLAG:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return err_set(e, ERR_INVALID, "field \"%s\" needs true or false", f->name);
        *(bool *)at = o->via.boolean;
        return ERR_OK;
    }
    return err_set(e, ERR_BUG, "field \"%s\" has no kind", f->name);
}

static void set_defaults(const struct field_table *table, void *record)
{
    memset(record, 0, table->size);
    for (size_t i = 0; i < table->count; i++) {
        const struct field *f = &table->fields[i];

        if (f->kind == FIELD_INT || f->kind == FIELD_DECIMAL || f->kind == FIELD_WORD)
            memcpy((char *)record + f->offset, &f->def, sizeof f->def);
    }
}

/* The row of that name, or count. Writers keep the table's order, so the row after the last one is
 * looked at first. */
static size_t find_row(const struct field_table *table, const msgpack_object *key, size_t next)
{
    for (size_t i = 0; i < table->count; i++, next++) {
        size_t row = next < table->count ? next : next - table->count;

        if (is_name(key, table->fields[row].name, table->fields[row].name_len))
            return row;
    }
    return table->count;
}

static enum err_code read_fields(msgpack_zone *zone, const msgpack_object_map *map,
                                 const struct field_table *table, void *record, struct err *e)
{
    uint64_t seen = 0, given = 0;    /* bits of rows: see MESSAGE_FIELDS_MAX */

    set_defaults(table, record);
    for (uint32_t i = 0, row = 0, next = 0; i < map->size; i++) {
        const msgpack_object *value = &map->ptr[i].val;
        enum err_code rc;

        row = (uint32_t)find_row(table, &map->ptr[i].key, next);
        if (row == table->count || seen >> row & 1)
            continue;                /* unknown; or there already: the first one counts */
        seen |= UINT64_C(1) << row;
        next = row + 1 < table->count ? row + 1 : 0;
        if (value->type == MSGPACK_OBJECT_NIL)
            continue;                /* as if it were not there */
        given |= UINT64_C(1) << row;
        rc = read_field(zone, value, &table->fields[row],
                        (char *)record + table->fields[row].offset, e);
        if (rc)
            return rc;
    }
    for (size_t row = 0; row < table->count; row++)
        if (table->fields[row].required && !(given >> row & 1))
            return err_set(e, ERR_INVALID, "field \"%s\" is missing", table->fields[row].name);
    return ERR_OK;
}

static enum err_code check_parts(const struct records *parts, struct err *e)
{
    const struct message_bulk_part *part = parts->items;

    if (parts->count == 0)
        return err_set(e, ERR_INVALID, "a bulk job needs at least one of \"parts\"");
    for (size_t i = 1; i <= parts->count; i++, part++) {
        if (part->first > part->last)
            return err_set(e, ERR_RANGE,
                           "part %zu: its seeds are reversed: first is %" PRId64
                           ", last is %" PRId64, i, part->first, part->last);
        if (part->class_mod > 0 && part->class_index >= 0)
            return err_set(e, ERR_INVALID,
                           "part %zu: give \"class\" or \"class_mod\", not both", i);
        if (part->transform.count > 0 && (part->translate.count > 0 || part->rotate != INT64_MIN))
            return err_set(e, ERR_INVALID,
                           "part %zu: give \"transform\", or \"translate\" and \"rotate\"", i);
    }
    return ERR_OK;
}

/* The rules that no single field can state. */
static enum err_code check_whole(const struct message *m, struct err *e)
{
    static const struct digest none;

    if (m->type == MESSAGE_GENERATE) {
        const struct message_generate *g = &m->generate;

        if ((g->seed >= 0) == (g->seeds.count > 0))
            return err_set(e, ERR_INVALID, "give either \"seed\" or \"seeds\"");
        if (g->transform.count > 0 && (g->translate.count > 0 || g->rotate != INT64_MIN))
            return err_set(e, ERR_INVALID,
                           "give either \"transform\" or \"translate\" and \"rotate\"");
    } else if (m->type == MESSAGE_LOOKUP) {
        const struct message_lookup *l = &m->lookup;
        int given = !digest_equal(&l->recipe_key, &none) + !digest_equal(&l->sha256, &none) +
                    !digest_equal(&l->core_sha256, &none) + (l->seed >= 0) + (l->job > 0) +
                    (l->since >= 0) + (l->like.len > 0);

        if (given != 1)
            return err_set(e, ERR_INVALID, "give one of \"recipe_key\", \"sha256\", "
                                           "\"core_sha256\", \"seed\", \"job\", \"since\", "
                                           "\"like\"");
        if (l->seed < 0 && l->psi != INT64_MIN)
            return err_set(e, ERR_INVALID, "\"psi\" goes with \"seed\" only");
        if (l->seed < 0 && l->since < 0 && l->model.len > 0)
            return err_set(e, ERR_INVALID, "\"model\" goes with \"seed\" and \"since\" only");
        if (l->job == 0 && l->first > 0)
            return err_set(e, ERR_INVALID, "\"first\" goes with \"job\" only");
        if (l->like.len % 32 != 0)
            return err_set(e, ERR_INVALID, "\"like\" is pairs of hashes, of 16 hex digits each");
    } else if (m->type == MESSAGE_BULK_SUBMIT) {
        return check_parts(&m->bulk_submit.parts, e);
    } else if (m->type == MESSAGE_WITHDRAW) {
        if (digest_equal(&m->withdraw.recipe_key, &none) ==
            digest_equal(&m->withdraw.sha256, &none))
            return err_set(e, ERR_INVALID, "give either \"recipe_key\" or \"sha256\"");
    } else if (m->type == MESSAGE_FETCH) {
        if (digest_equal(&m->fetch.recipe_key, &none) == digest_equal(&m->fetch.sha256, &none))
            return err_set(e, ERR_INVALID, "give either \"recipe_key\" or \"sha256\"");
    }
    return ERR_OK;
}

/* Whatever came as a type, in words that are safe to show. */
static enum err_code unknown_type(const msgpack_object_str *type, struct err *e)
{
    char word[32];
    size_t len = type->size < sizeof word ? type->size : sizeof word;

    for (size_t i = 0; i < len; i++)
        word[i] = is_plain(type->ptr[i]) && type->ptr[i] != '\n' ? type->ptr[i] : '?';
    return err_set(e, ERR_TYPE, "unknown message type \"%.*s\"", (int)len, word);
}

static enum err_code read_head(const msgpack_object_map *map, enum message_sender from,
                               struct message *out, struct err *e)
{
    const msgpack_object *v = find(map, "v"), *type = find(map, "type"), *id = find(map, "id");
    int64_t number;

    if (id && (!read_int(id, &out->id) || out->id < 0 || out->id > (int64_t)1 << 53)) {
        out->id = 0;
        return err_set(e, ERR_INVALID, "field \"id\" needs a whole number from 0 to 2^53");
    }
    if (!v)
        return err_set(e, ERR_INVALID, "field \"v\" is missing: it is the protocol's version, %d",
                       MESSAGE_VERSION);
    if (!read_int(v, &number))
        return err_set(e, ERR_INVALID, "field \"v\" needs a whole number");
    if (number != MESSAGE_VERSION)
        return err_set(e, ERR_VERSION, "protocol version %" PRId64 " is not spoken here; %d is",
                       number, MESSAGE_VERSION);
    if (!type)
        return err_set(e, ERR_INVALID, "field \"type\" is missing");
    if (type->type != MSGPACK_OBJECT_STR)
        return err_set(e, ERR_INVALID, "field \"type\" needs a string");
    for (int t = 0; t < MESSAGE_TYPE_COUNT; t++) {
        const struct message_info *info = message_info((enum message_type)t);

        if ((info->from & (unsigned)from) &&
            text_is((struct text){ type->via.str.ptr, type->via.str.size }, info->word)) {
            out->type = (enum message_type)t;
            return ERR_OK;
        }
    }
    return unknown_type(&type->via.str, e);
}

/* msgpack-c's own choice of 8 KiB is too large for what malloc hands out fast, and most messages
 * need a tenth of it. */
static size_t zone_bytes(size_t len)
{
    size_t bytes = 4 * len + 128;

    return bytes < ZONE_MAX ? bytes : ZONE_MAX;
}

enum err_code message_decode(const void *data, size_t len, enum message_sender from,
                             struct message *out, struct err *e)
{
    struct scan scan = { data, (const uint8_t *)data + len, 0 };
    msgpack_object map;
    enum err_code rc;

    memset(out, 0, sizeof *out);
    if (len > MESSAGE_MAP_MAX)
        return err_set(e, ERR_TOO_LARGE, "a message of %zu bytes is too large: at most %d", len,
                       MESSAGE_MAP_MAX);
    if (len == 0 || !scan_object(&scan, 0) || scan.at != scan.end)
        return err_set(e, ERR_INVALID, "the frame is not one whole msgpack map within the limits");

    out->zone = msgpack_zone_new(zone_bytes(len));
    if (!out->zone ||
        msgpack_unpack(data, len, NULL, out->zone, &map) != MSGPACK_UNPACK_SUCCESS)
        return err_set(e, ERR_NOMEM, "no memory to decode %zu bytes", len);
    if (map.type != MSGPACK_OBJECT_MAP)
        return err_set(e, ERR_INVALID, "a message is a map");
    rc = read_head(&map.via.map, from, out, e);
    if (!rc)
        rc = read_fields(out->zone, &map.via.map, message_info(out->type)->table, &out->generate,
                         e);
    return rc ? rc : check_whole(out, e);
}

void message_release(struct message *self)
{
    if (self->zone)
        msgpack_zone_free(self->zone);
    self->zone = NULL;
}

/* ---- what a generate asks for ---- */

static struct recipe_transform transform_of(const struct message_generate *g)
{
    struct recipe_transform t = { .kind = RECIPE_TRANSFORM_NONE };

    if (g->transform.count > 0) {
        t.kind = RECIPE_TRANSFORM_MATRIX;
        memcpy(t.m, g->transform.items, sizeof t.m);
    } else if (g->translate.count > 0 || g->rotate != INT64_MIN) {
        t.kind = RECIPE_TRANSFORM_TR;
        t.tx = g->translate.count > 0 ? g->translate.items[0] : 0;
        t.ty = g->translate.count > 0 ? g->translate.items[1] : 0;
        t.degrees = g->rotate != INT64_MIN ? g->rotate : 0;
    }
    return t;
}

struct recipe_request message_recipe_request(const struct message_generate *g, uint32_t seed)
{
    return (struct recipe_request){
        .seed = seed, .psi = g->psi, .cutoff = (int)g->cutoff, .class_index = (int)g->class_index,
        .noise = (int)g->noise_mode, .noise_seed = g->noise_seed, .transform = transform_of(g),
        .quality = (int)g->quality, .mark = (int)g->mark, .rev = (uint32_t)g->rev,
    };
}

/* ---- encoding ---- */

void message_init(struct message *self, enum message_type type, int64_t id)
{
    memset(self, 0, sizeof *self);
    self->type = type;
    self->id = id;
    set_defaults(message_info(type)->table, &self->generate);
}

static void write_string(msgpack_packer *pk, const char *string)
{
    msgpack_pack_str_with_body(pk, string, strlen(string));
}

static void write_name(msgpack_packer *pk, const struct field *f)
{
    msgpack_pack_str_with_body(pk, f->name, f->name_len);
}

static void write_text(msgpack_packer *pk, struct text text)
{
    size_t from = 0;

    msgpack_pack_str(pk, text.len);
    while (from < text.len) {        /* runs of plain bytes, '?' for the others */
        size_t run = plain_len(text.data + from, text.len - from);

        if (run > 0)
            msgpack_pack_str_body(pk, text.data + from, run);
        from += run;
        if (from < text.len) {
            msgpack_pack_str_body(pk, "?", 1);
            from++;
        }
    }
}

static bool is_absent(const struct field *f, const void *at)
{
    static const struct digest none;

    if (f->required)
        return false;
    switch (f->kind) {
    case FIELD_FLAG:
        return !*(const bool *)at;
    case FIELD_TEXT:
        return ((const struct text *)at)->len == 0;
    case FIELD_DIGEST:
        return digest_equal(at, &none);
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        return ((const struct numbers *)at)->count == 0;
    case FIELD_DECIMALS:
        return ((const struct decimals *)at)->count == 0;
    case FIELD_FLOATS:
        return ((const struct floats *)at)->count == 0;
    case FIELD_RECORDS:
        return ((const struct records *)at)->count == 0;
    default:
        return *(const int64_t *)at == f->def;
    }
}

static bool is_writable(const struct field *f, const void *at)
{
    const struct decimals *d = at;
    const struct numbers *n = at;
    const struct floats *x = at;

    switch (f->kind) {
    case FIELD_INT:
    case FIELD_DECIMAL:
    case FIELD_WORD:
        return *(const int64_t *)at >= f->min && *(const int64_t *)at <= f->max;
    case FIELD_TEXT:
        return ((const struct text *)at)->len >= (size_t)f->min &&
               ((const struct text *)at)->len <= (size_t)f->max;
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        for (size_t i = 0; i < n->count; i++)
            if (n->items[i] < f->min || n->items[i] > f->max)
                return false;
        return n->count <= f->most;
    case FIELD_DECIMALS:
        for (size_t i = 0; i < f->most; i++)
            if (d->items[i] < f->min || d->items[i] > f->max)
                return false;
        return d->count == f->most;
    case FIELD_FLOATS:
        for (size_t i = 0; i < f->most; i++)
            if (!isfinite(x->items[i]))
                return false;
        return x->count == f->most;
    case FIELD_RECORDS:
        return ((const struct records *)at)->count <= f->most;
    default:
        return true;
    }
}

static enum err_code write_fields(msgpack_packer *pk, const struct field_table *table,
                                  const void *record, uint32_t extra, struct err *e);

static enum err_code write_field(msgpack_packer *pk, const struct field *f, const void *at,
                                 struct err *e)
{
    const struct decimals *d = at;
    const struct numbers *n = at;
    const struct records *r = at;
    const struct floats *x = at;
    enum err_code rc = ERR_OK;

    switch (f->kind) {
    case FIELD_INT:
        msgpack_pack_int64(pk, *(const int64_t *)at);
        break;
    case FIELD_FLAG:
        *(const bool *)at ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
        break;
    case FIELD_DECIMAL:
        msgpack_pack_double(pk, (double)*(const int64_t *)at / 1e6);
        break;
    case FIELD_WORD:
        write_string(pk, f->words[*(const int64_t *)at]);
        break;
    case FIELD_TEXT:
        write_text(pk, *(const struct text *)at);
        break;
    case FIELD_DIGEST:
        write_string(pk, digest_hex(at).text);
        break;
    case FIELD_NUMBERS:
    case FIELD_SEEDS:
        msgpack_pack_array(pk, n->count);
        for (size_t i = 0; i < n->count; i++)
            msgpack_pack_int64(pk, n->items[i]);
        break;
    case FIELD_DECIMALS:
        msgpack_pack_array(pk, d->count);
        for (size_t i = 0; i < d->count; i++)
            msgpack_pack_double(pk, (double)d->items[i] / 1e6);
        break;
    case FIELD_FLOATS:
        msgpack_pack_array(pk, x->count);
        for (size_t i = 0; i < x->count; i++)
            msgpack_pack_double(pk, x->items[i]);    /* as most languages write any number */
        break;
    case FIELD_RECORDS:
        msgpack_pack_array(pk, r->count);
        for (size_t i = 0; !rc && i < r->count; i++)
            rc = write_fields(pk, f->sub, (const char *)r->items + i * f->sub->size, 0, e);
        break;
    }
    return rc;
}

/* Writes the head of a map with room for extra entries that the caller has still to write, then the
 * fields; the caller's entries come last. */
static enum err_code write_fields(msgpack_packer *pk, const struct field_table *table,
                                  const void *record, uint32_t extra, struct err *e)
{
    enum err_code rc = ERR_OK;
    size_t present = 0;

    for (size_t i = 0; i < table->count; i++)
        present += !is_absent(&table->fields[i], (const char *)record + table->fields[i].offset);
    msgpack_pack_map(pk, present + extra);
    for (size_t i = 0; !rc && i < table->count; i++) {
        const struct field *f = &table->fields[i];
        const char *at = (const char *)record + f->offset;

        if (is_absent(f, at))
            continue;
        if (!is_writable(f, at))
            return err_set(e, ERR_BUG, "field \"%s\" cannot be sent: out of range", f->name);
        write_name(pk, f);
        rc = write_field(pk, f, at, e);
    }
    return rc;
}

/* The packer's buffer: the caller's room, then the heap. It remembers a failed write, so that no
 * caller in this file has to look. */
struct sink {
    char *data;
    size_t len, cap;
    bool is_own, failed;
};

static bool sink_grow(struct sink *sink, size_t len)
{
    size_t cap = 2 * sink->cap + len;
    char *data = sink->is_own ? realloc(sink->data, cap) : malloc(cap);

    if (!data)
        return false;
    if (!sink->is_own && sink->len > 0)
        memcpy(data, sink->data, sink->len);
    sink->data = data;
    sink->cap = cap;
    sink->is_own = true;
    return true;
}

static int sink_write(void *arg, const char *data, size_t len)
{
    struct sink *sink = arg;

    if (sink->failed || (sink->cap - sink->len < len && !sink_grow(sink, len))) {
        sink->failed = true;
        return -1;
    }
    memcpy(sink->data + sink->len, data, len);
    sink->len += len;
    return 0;
}

enum err_code message_encode_in(const struct message *self, void *room, size_t cap, void **data,
                                size_t *len, struct err *e)
{
    const struct message_info *info = message_info(self->type);
    struct sink sink = { .data = room, .cap = cap };
    msgpack_packer pk;
    enum err_code rc;

    *data = NULL;
    *len = 0;
    msgpack_packer_init(&pk, &sink, sink_write);
    rc = write_fields(&pk, info->table, &self->generate, self->id ? 3 : 2, e);
    if (!rc) {
        write_string(&pk, "v");
        msgpack_pack_int(&pk, MESSAGE_VERSION);
        write_string(&pk, "type");
        write_string(&pk, info->word);
        if (self->id) {
            write_string(&pk, "id");
            msgpack_pack_int64(&pk, self->id);
        }
        if (sink.failed)
            rc = err_set(e, ERR_NOMEM, "no memory to encode a %s", info->word);
    }
    if (rc) {
        if (sink.is_own)
            free(sink.data);
        return rc;
    }
    *len = sink.len;
    *data = sink.data;
    return ERR_OK;
}

enum err_code message_encode(const struct message *self, void **data, size_t *len, struct err *e)
{
    return message_encode_in(self, NULL, 0, data, len, e);
}

/* One entry fewer in the head of a map, which is a byte, or one and a number of two bytes. */
static void count_down(uint8_t *map)
{
    if (map[0] == 0xde && map[2]-- == 0)
        map[1]--;
    else if (map[0] != 0xde)
        map[0]--;
}

static int append(void *arg, const char *data, size_t len)
{
    char **end = arg;

    memcpy(*end, data, len);
    *end += len;
    return 0;
}

/* message_encode writes the id last: "id" as three bytes, MESSAGE_ID_BLANK as one. */
size_t message_with_id(const void *data, size_t len, int64_t id, void *out)
{
    char *end = (char *)out + len - 1;
    msgpack_packer pk;

    memcpy(out, data, len);
    if (id == 0) {
        count_down(out);
        return len - 4;
    }
    msgpack_packer_init(&pk, &end, append);
    msgpack_pack_int64(&pk, id);
    return (size_t)(end - (char *)out);
}
