#include "base/jumbf.h"

#include "base/segment.h"

#include <stdlib.h>
#include <string.h>

/* What follows the four letters of a kind (ISO/IEC 19566-5, B.2; C2PA, "Use of JUMBF"). */
static const uint8_t KIND_TAIL[12] = { 0x00, 0x11, 0x00, 0x10, 0x80, 0x00,
                                       0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71 };

enum {
    KIND_LEN = 16,
    REQUESTABLE = 1, HAS_LABEL = 2, TOGGLES_MAX = 31,    /* of a description */
    /* A segment: marker and length, "JP", number of the box, number of the packet. The box's own
     * head stands in each segment again. */
    CARRIER_HEAD = 2 + 2 + 2 + 2 + 4,
    PACKET_HEAD = CARRIER_HEAD - 4,  /* of them in the segment's body */
    SEGMENT_MAX = 65535 + 2,
    PIECE_MAX = SEGMENT_MAX - CARRIER_HEAD - JUMBF_HEAD,
};

static void put_be32(uint8_t *at, size_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (24 - 8 * i));
}

static size_t be32(const uint8_t *at)
{
    return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

/* ---- writing ---- */

size_t jumbf_open_content(struct concise_out *out, const char *type)
{
    size_t start = out->len;

    concise_put_raw(out, "\0\0\0\0", 4);
    concise_put_raw(out, type, 4);
    return start;
}

size_t jumbf_open(struct concise_out *out, const char *kind, const char *label)
{
    const uint8_t toggles = REQUESTABLE | HAS_LABEL;
    size_t start = jumbf_open_content(out, "jumb");
    size_t description = jumbf_open_content(out, "jumd");

    concise_put_raw(out, kind, 4);
    concise_put_raw(out, KIND_TAIL, sizeof KIND_TAIL);
    concise_put_raw(out, &toggles, 1);
    concise_put_raw(out, label, strlen(label) + 1);
    jumbf_close(out, description);
    return start;
}

void jumbf_close(struct concise_out *out, size_t start)
{
    if (!out->full)
        put_be32(out->data + start, out->len - start);
}

struct digest jumbf_digest(const struct concise_out *out, size_t start)
{
    if (out->full)
        return (struct digest){ { 0 } };
    return digest_of(out->data + start + JUMBF_HEAD, out->len - start - JUMBF_HEAD);
}

static size_t segment_count(size_t box_len)
{
    return (box_len - JUMBF_HEAD + PIECE_MAX - 1) / PIECE_MAX;
}

size_t jumbf_segments_len(size_t box_len)
{
    return box_len - JUMBF_HEAD + segment_count(box_len) * (CARRIER_HEAD + JUMBF_HEAD);
}

void jumbf_write_segments(const uint8_t *box, size_t box_len, uint8_t *out)
{
    size_t at = JUMBF_HEAD;

    for (size_t number = 1; at < box_len; number++) {
        size_t piece = box_len - at < PIECE_MAX ? box_len - at : PIECE_MAX;
        size_t segment_len = CARRIER_HEAD - 2 + JUMBF_HEAD + piece;
        const uint8_t head[8] = { 0xff, SEGMENT_APP11, (uint8_t)(segment_len >> 8),
                                  (uint8_t)segment_len, 'J', 'P', 0, 1 };

        memcpy(out, head, sizeof head);
        put_be32(out + sizeof head, number);
        memcpy(out + CARRIER_HEAD, box, JUMBF_HEAD);
        memcpy(out + CARRIER_HEAD + JUMBF_HEAD, box + at, piece);
        out += CARRIER_HEAD + JUMBF_HEAD + piece;
        at += piece;
    }
}

/* ---- reading ---- */

bool jumbf_next(struct jumbf_in *in, struct jumbf_box *out)
{
    size_t room = (size_t)(in->end - in->at), box_len;

    if (room < JUMBF_HEAD)
        return false;
    box_len = be32(in->at);
    /* 0 (up to the end) and 1 (a length of 64 bits) are for boxes that no manifest has. */
    if (box_len < JUMBF_HEAD || box_len > room)
        return false;
    *out = (struct jumbf_box){ in->at + 4, in->at + JUMBF_HEAD, box_len - JUMBF_HEAD };
    in->at += box_len;
    return true;
}

static bool is_type(const struct jumbf_box *box, const char *type)
{
    return memcmp(box->type, type, 4) == 0;
}

/* C2PA's boxes are requestable and have a label; a hash, an id or salt may follow it. */
static bool is_labelled(uint8_t toggles)
{
    const uint8_t needed = REQUESTABLE | HAS_LABEL;

    return (toggles & needed) == needed && toggles <= TOGGLES_MAX;
}

bool jumbf_next_super(struct jumbf_in *in, struct jumbf_super *out)
{
    struct jumbf_box box, description;
    struct jumbf_in boxes;
    const uint8_t *label, *nul;

    if (!jumbf_next(in, &box) || !is_type(&box, "jumb"))
        return false;
    boxes = (struct jumbf_in){ box.body, box.body + box.body_len };
    if (!jumbf_next(&boxes, &description) || !is_type(&description, "jumd") ||
        description.body_len <= KIND_LEN + 1 || !is_labelled(description.body[KIND_LEN]))
        return false;
    label = description.body + KIND_LEN + 1;
    nul = memchr(label, 0, description.body_len - KIND_LEN - 1);
    if (!nul)
        return false;
    *out = (struct jumbf_super){ description.body, (const char *)label, box.body, box.body_len,
                                 boxes };
    return true;
}

bool jumbf_is_kind(const struct jumbf_super *self, const char *kind)
{
    return memcmp(self->kind, kind, 4) == 0 &&
           memcmp(self->kind + 4, KIND_TAIL, sizeof KIND_TAIL) == 0;
}

bool jumbf_only_content(const struct jumbf_super *self, const char *type, struct concise_in *out)
{
    struct jumbf_in boxes = self->boxes;
    struct jumbf_box box;

    if (!jumbf_next(&boxes, &box) || !is_type(&box, type) || boxes.at != boxes.end)
        return false;
    *out = (struct concise_in){ box.body, box.body + box.body_len };
    return true;
}

/* ---- the segments of a file ---- */

struct packet {
    size_t box_number, number;
    const uint8_t *piece;           /* begins with the box's head */
    size_t piece_len;
};

static bool read_packet(const struct segment *s, struct packet *out)
{
    if (s->marker != SEGMENT_APP11 || s->body_len < PACKET_HEAD + JUMBF_HEAD ||
        !segment_starts_with(s, "JP", 2))
        return false;
    *out = (struct packet){ (size_t)s->body[2] << 8 | s->body[3], be32(s->body + 4),
                            s->body + PACKET_HEAD, s->body_len - PACKET_HEAD };
    return true;
}

/* The first packet of a C2PA store: its description's kind begins within it. */
static bool begins_store(const struct packet *p)
{
    return p->number == 1 && p->piece_len >= 2 * JUMBF_HEAD + 4 &&
           memcmp(p->piece + 4, "jumb", 4) == 0 &&
           memcmp(p->piece + JUMBF_HEAD + 4, "jumd", 4) == 0 &&
           memcmp(p->piece + 2 * JUMBF_HEAD, "c2pa", 4) == 0;
}

/* The packets of the store; only sizes and places. */
struct trail {
    size_t count;                   /* of packets; 0: no store yet */
    const uint8_t *head;            /* the box's, which stands in each of them */
    size_t box_number, box_len, held, start, end;
};

static const char *follow(struct trail *trail, const struct packet *p, size_t start, size_t end)
{
    if (begins_store(p)) {
        if (trail->count > 0)
            return "there are two manifest stores";
        *trail = (struct trail){ 1, p->piece, p->box_number, be32(p->piece), p->piece_len,
                                 start, end };
        return NULL;
    }
    if (trail->count == 0 || p->box_number != trail->box_number)
        return NULL;                 /* another box than ours */
    if (p->number != trail->count + 1 || start != trail->end ||
        memcmp(p->piece, trail->head, JUMBF_HEAD) != 0)
        return "the segments of the manifest store are not one box";
    trail->count++;
    trail->held += p->piece_len - JUMBF_HEAD;
    trail->end = end;
    return NULL;
}

/* Puts the packets of a trail that holds together into one piece. */
static void gather(const uint8_t *jpeg, const struct trail *trail, uint8_t *out)
{
    size_t at = trail->start, len = 0;
    struct segment s;
    struct packet p;

    while (at < trail->end && segment_next(jpeg, trail->end, &at, &s) && read_packet(&s, &p)) {
        size_t skip = len == 0 ? 0 : JUMBF_HEAD;

        memcpy(out + len, p.piece + skip, p.piece_len - skip);
        len += p.piece_len - skip;
    }
}

enum jumbf_found jumbf_find_store(const uint8_t *jpeg, size_t len, struct jumbf_store *out)
{
    struct trail trail = { 0 };
    struct segment s;
    struct packet p;
    size_t at = 0;

    *out = (struct jumbf_store){ .data = NULL };
    if (!segment_next(jpeg, len, &at, &s) || s.marker != SEGMENT_SOI)
        return JUMBF_NONE;
    while (!out->why && segment_next(jpeg, len, &at, &s) && s.marker != SEGMENT_SOS &&
           s.marker != SEGMENT_EOI)
        if (read_packet(&s, &p))
            out->why = follow(&trail, &p, (size_t)(s.start - jpeg), at);
    if (!out->why && trail.count == 0)
        return JUMBF_NONE;
    if (!out->why && trail.held != trail.box_len)
        out->why = "the manifest store is not whole";
    if (out->why)
        return JUMBF_BROKEN;
    out->data = malloc(trail.held);
    if (!out->data)
        return JUMBF_NOMEM;
    gather(jpeg, &trail, out->data);
    out->len = trail.held;
    out->start = trail.start;
    out->span = trail.end - trail.start;
    return JUMBF_FOUND;
}
