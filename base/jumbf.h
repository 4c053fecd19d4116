/* jumbf -- the boxes that hold a C2PA manifest (ISO/IEC 19566-5) and the APP11 segments that carry
 * them inside a JPEG (ISO/IEC 18477-3, B.3). A box is its length, its type and its content; a
 * superbox holds a description with a label, then other boxes. */
#ifndef BASE_JUMBF_H
#define BASE_JUMBF_H

#include "base/concise.h"
#include "proto/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- writing ---- */

/* Begins a superbox whose description says kind (four letters: the start of the UUID that C2PA and
 * JUMBF have for it) and label; gives what jumbf_close takes. */
size_t jumbf_open(struct concise_out *out, const char *kind, const char *label);
/* Begins a box of content. */
size_t jumbf_open_content(struct concise_out *out, const char *type);
/* Ends the box that began at start: its length is known now. */
void jumbf_close(struct concise_out *out, size_t start);
/* SHA-256 of a closed superbox as C2PA hashes it: without length and type. */
struct digest jumbf_digest(const struct concise_out *out, size_t start);

/* Bytes of the APP11 segments for a box of box_len bytes, and the segments themselves into
 * out[jumbf_segments_len(box_len)]. */
size_t jumbf_segments_len(size_t box_len);
void jumbf_write_segments(const uint8_t *box, size_t box_len, uint8_t *out);

/* ---- reading: every byte is hostile ---- */

enum { JUMBF_HEAD = 8 };            /* bytes of a box's length and type */

struct jumbf_in {
    const uint8_t *at, *end;
};
struct jumbf_box {
    const uint8_t *type;            /* [4] */
    const uint8_t *body;            /* behind length and type */
    size_t body_len;
};
struct jumbf_super {
    const uint8_t *kind;            /* [16] */
    const char *label;              /* ended by NUL within the input */
    const uint8_t *body;            /* of the box itself, description included */
    size_t body_len;
    struct jumbf_in boxes;          /* behind the description */
};
/* The next box; false at the end and on a length that goes past it. */
bool jumbf_next(struct jumbf_in *in, struct jumbf_box *out);
/* The next box as a superbox with a label. False when it is none. */
bool jumbf_next_super(struct jumbf_in *in, struct jumbf_super *out);
/* True for a description of that kind, as jumbf_open writes it. */
bool jumbf_is_kind(const struct jumbf_super *self, const char *kind);
/* The one box that a superbox of content has, when it is of that type. */
bool jumbf_only_content(const struct jumbf_super *self, const char *type, struct concise_in *out);

enum jumbf_found { JUMBF_NONE, JUMBF_FOUND, JUMBF_BROKEN, JUMBF_NOMEM };
struct jumbf_store {
    uint8_t *data;                  /* FOUND: the superbox of kind "c2pa"; the caller's to free() */
    size_t len;
    size_t start, span;             /* where its segments lie in the file, and their bytes */
    const char *why;                /* BROKEN: static words */
};
/* The C2PA store before a JPEG's first scan. JUMBF of another kind is stepped over. BROKEN: there
 * are two, or its segments are not one whole box, in order, side by side. */
enum jumbf_found jumbf_find_store(const uint8_t *jpeg, size_t len, struct jumbf_store *out);

#endif
