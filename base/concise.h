/* concise -- CBOR (RFC 8949: "concise binary object representation") as C2PA uses it: items of
 * known length put one after the other, and a cursor that reads them where they lie. libcbor codes
 * each item's head; nothing here takes memory. */
#ifndef BASE_CONCISE_H
#define BASE_CONCISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- writing ---- */

struct concise_out {
    uint8_t *data;                  /* the caller's, [cap] */
    size_t len, cap;
    bool full;                      /* something did not fit and was left out */
};
void concise_put_number(struct concise_out *out, int64_t v);
void concise_put_text(struct concise_out *out, const char *text);
void concise_put_bytes(struct concise_out *out, const void *data, size_t len);
void concise_put_null(struct concise_out *out);
/* What follows is the tag's item, count items, count pairs. */
void concise_put_tag(struct concise_out *out, uint64_t tag);
void concise_put_array(struct concise_out *out, size_t count);
void concise_put_map(struct concise_out *out, size_t count);
/* The head of bytes that are not put here. */
void concise_put_bytes_head(struct concise_out *out, size_t len);
/* No item: these bytes as they are. */
void concise_put_raw(struct concise_out *out, const void *data, size_t len);

/* ---- reading: every byte is hostile ---- */

enum concise_kind {
    CONCISE_NUMBER,                 /* number */
    CONCISE_NEGATIVE,               /* -1 - number */
    CONCISE_BYTES, CONCISE_TEXT,    /* data[len], which may be no UTF-8 */
    CONCISE_ARRAY, CONCISE_MAP,     /* number of items, of pairs; they follow */
    CONCISE_TAG,                    /* number; its item follows */
    CONCISE_NULL,
    CONCISE_OTHER,                  /* true, false, undefined, a float */
};
struct concise_item {
    enum concise_kind kind;
    uint64_t number;
    const uint8_t *data;            /* lent by the input */
    size_t len;
};
struct concise_in {
    const uint8_t *at, *end;
};
/* The next item, or the head of one that holds others. False at the end, on what is no CBOR, and on
 * lengths that are not known in advance, which no signed part of C2PA has. */
bool concise_next(struct concise_in *in, struct concise_item *out);
/* Steps over an item with all that it holds, however deep, in linear time. */
bool concise_skip(struct concise_in *in);
/* The value under a key of the map at map, as a cursor that stands before it. False: no map, no
 * such key, or the key is there twice, which every reader takes otherwise. */
bool concise_find(struct concise_in map, const char *key, struct concise_in *value);
bool concise_find_number(struct concise_in map, int64_t key, struct concise_in *value);
/* The same, where the value is of this kind. */
bool concise_find_kind(struct concise_in map, const char *key, enum concise_kind kind,
                       struct concise_item *out);
bool concise_is_text(const struct concise_item *item, const char *text);

#endif
