#include "base/concise.h"

#include <cbor.h>
#include <string.h>

/* ---- writing ---- */

enum { HEAD_MAX = 9 };              /* bytes of any item without its content */

void concise_put_raw(struct concise_out *out, const void *data, size_t len)
{
    out->full |= len > out->cap - out->len;
    if (out->full || len == 0)
        return;
    memcpy(out->data + out->len, data, len);
    out->len += len;
}

void concise_put_number(struct concise_out *out, int64_t v)
{
    uint8_t head[HEAD_MAX];
    size_t len = v < 0 ? cbor_encode_negint((uint64_t)(-1 - v), head, sizeof head)
                       : cbor_encode_uint((uint64_t)v, head, sizeof head);

    concise_put_raw(out, head, len);
}

void concise_put_text(struct concise_out *out, const char *text)
{
    uint8_t head[HEAD_MAX];

    concise_put_raw(out, head, cbor_encode_string_start(strlen(text), head, sizeof head));
    concise_put_raw(out, text, strlen(text));
}

void concise_put_bytes_head(struct concise_out *out, size_t len)
{
    uint8_t head[HEAD_MAX];

    concise_put_raw(out, head, cbor_encode_bytestring_start(len, head, sizeof head));
}

void concise_put_bytes(struct concise_out *out, const void *data, size_t len)
{
    concise_put_bytes_head(out, len);
    concise_put_raw(out, data, len);
}

void concise_put_null(struct concise_out *out)
{
    uint8_t head[HEAD_MAX];

    concise_put_raw(out, head, cbor_encode_null(head, sizeof head));
}

void concise_put_tag(struct concise_out *out, uint64_t tag)
{
    uint8_t head[HEAD_MAX];

    concise_put_raw(out, head, cbor_encode_tag(tag, head, sizeof head));
}

void concise_put_array(struct concise_out *out, size_t count)
{
    uint8_t head[HEAD_MAX];

    concise_put_raw(out, head, cbor_encode_array_start(count, head, sizeof head));
}

void concise_put_map(struct concise_out *out, size_t count)
{
    uint8_t head[HEAD_MAX];

    concise_put_raw(out, head, cbor_encode_map_start(count, head, sizeof head));
}

/* ---- reading ---- */

/* libcbor's decoder calls the function of what it has read; each fills the item in. What has no
 * function here (floats, true, undefined) leaves it as it was: OTHER. */
static void on_number8(void *item, uint8_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NUMBER, .number = v };
}

static void on_number16(void *item, uint16_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NUMBER, .number = v };
}

static void on_number32(void *item, uint32_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NUMBER, .number = v };
}

static void on_number64(void *item, uint64_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NUMBER, .number = v };
}

static void on_negative8(void *item, uint8_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NEGATIVE, .number = v };
}

static void on_negative16(void *item, uint16_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NEGATIVE, .number = v };
}

static void on_negative32(void *item, uint32_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NEGATIVE, .number = v };
}

static void on_negative64(void *item, uint64_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NEGATIVE, .number = v };
}

static void on_bytes(void *item, cbor_data data, size_t len)
{
    *(struct concise_item *)item =
        (struct concise_item){ .kind = CONCISE_BYTES, .data = data, .len = len };
}

static void on_text(void *item, cbor_data data, size_t len)
{
    *(struct concise_item *)item =
        (struct concise_item){ .kind = CONCISE_TEXT, .data = data, .len = len };
}

static void on_array(void *item, size_t count)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_ARRAY, .number = count };
}

static void on_map(void *item, size_t count)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_MAP, .number = count };
}

static void on_tag(void *item, uint64_t v)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_TAG, .number = v };
}

static void on_null(void *item)
{
    *(struct concise_item *)item = (struct concise_item){ .kind = CONCISE_NULL };
}

/* Heads without a length, and the break that ends what they begin. */
enum { UNBOUNDED = CONCISE_OTHER + 1 };
/* Tags of one byte. libcbor 0.8 refuses those that had no meaning in its day, COSE's among them. */
enum { FIRST_TAG = 0xc0, LAST_SHORT_TAG = 0xd7 };

static void on_unbounded(void *item)
{
    ((struct concise_item *)item)->kind = (enum concise_kind)UNBOUNDED;
}

bool concise_next(struct concise_in *in, struct concise_item *out)
{
    struct cbor_callbacks calls = cbor_empty_callbacks;
    struct cbor_decoder_result got;

    calls.uint8 = on_number8;
    calls.uint16 = on_number16;
    calls.uint32 = on_number32;
    calls.uint64 = on_number64;
    calls.negint8 = on_negative8;
    calls.negint16 = on_negative16;
    calls.negint32 = on_negative32;
    calls.negint64 = on_negative64;
    calls.byte_string = on_bytes;
    calls.string = on_text;
    calls.array_start = on_array;
    calls.map_start = on_map;
    calls.tag = on_tag;
    calls.null = on_null;
    calls.byte_string_start = on_unbounded;
    calls.string_start = on_unbounded;
    calls.indef_array_start = on_unbounded;
    calls.indef_map_start = on_unbounded;
    calls.indef_break = on_unbounded;
    if (in->at >= in->end)
        return false;
    if (*in->at >= FIRST_TAG && *in->at <= LAST_SHORT_TAG) {
        *out = (struct concise_item){ .kind = CONCISE_TAG, .number = *in->at - FIRST_TAG };
        in->at++;
        return true;
    }
    *out = (struct concise_item){ .kind = CONCISE_OTHER };
    got = cbor_stream_decode(in->at, (size_t)(in->end - in->at), &calls, out);
    if (got.status != CBOR_DECODER_FINISHED || out->kind == (enum concise_kind)UNBOUNDED)
        return false;
    in->at += got.read;
    return true;
}

bool concise_skip(struct concise_in *in)
{
    uint64_t left = 1;
    struct concise_item item;

    while (left > 0) {
        uint64_t room = (uint64_t)(in->end - in->at);
        uint64_t held = 0;

        if (!concise_next(in, &item))
            return false;
        if (item.kind == CONCISE_ARRAY || item.kind == CONCISE_TAG)
            held = item.kind == CONCISE_TAG ? 1 : item.number;
        else if (item.kind == CONCISE_MAP)
            held = item.number <= room ? 2 * item.number : item.number;
        if (held > room || left > room)
            return false;            /* an item is a byte at least */
        left += held - 1;
    }
    return true;
}

static bool is_number(const struct concise_item *item, int64_t v)
{
    return v < 0 ? item->kind == CONCISE_NEGATIVE && item->number == (uint64_t)(-1 - v)
                 : item->kind == CONCISE_NUMBER && item->number == (uint64_t)v;
}

/* key NULL: number is the key. */
static bool find(struct concise_in map, const char *key, int64_t number, struct concise_in *value)
{
    struct concise_item head, item;
    int found = 0;

    if (!concise_next(&map, &head) || head.kind != CONCISE_MAP)
        return false;
    for (uint64_t i = 0; i < head.number; i++) {
        struct concise_in at = map;

        if (!concise_next(&at, &item) || !concise_skip(&map))
            return false;
        if (key ? concise_is_text(&item, key) : is_number(&item, number)) {
            *value = map;
            found++;
        }
        if (!concise_skip(&map))
            return false;
    }
    return found == 1;
}

bool concise_find(struct concise_in map, const char *key, struct concise_in *value)
{
    return find(map, key, 0, value);
}

bool concise_find_number(struct concise_in map, int64_t key, struct concise_in *value)
{
    return find(map, NULL, key, value);
}

bool concise_find_kind(struct concise_in map, const char *key, enum concise_kind kind,
                       struct concise_item *out)
{
    struct concise_in value;

    return concise_find(map, key, &value) && concise_next(&value, out) && out->kind == kind;
}

bool concise_is_text(const struct concise_item *item, const char *text)
{
    return item->kind == CONCISE_TEXT && item->len == strlen(text) &&
           memcmp(item->data, text, item->len) == 0;
}
