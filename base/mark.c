#include "base/mark.h"

#include "base/segment.h"

#include <stdio.h>
#include <string.h>

/* ---- the packet ---- */

/* LF is an entity because XML turns a bare one inside an attribute into a space. */
static const struct entity {
    char c;
    const char *text;
} ENTITIES[] = {
    { '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '"', "&quot;" }, { '\'', "&apos;" },
    { '\n', "&#xA;" }, { '\n', "&#10;" },      /* written as the first, read as either */
};
enum { ENTITY_COUNT = sizeof ENTITIES / sizeof ENTITIES[0] };

/* The namespaces are names, not addresses; ours has no host that somebody else could own. The
 * bytes after begin= are U+FEFF, as XMP part 1, 7.3.2, asks. */
static const char PACKET_HEAD[] =
    "<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n"
    "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n"
    " <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n"
    "  <rdf:Description rdf:about=\"\"\n"
    "    xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\"\n"
    "    xmlns:seedpress=\"urn:seedpress:1.0/\"\n"
    "    Iptc4xmpExt:DigitalSourceType="
    "\"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia\"\n"
    "    seedpress:Recipe=\"";
static const char PACKET_TAIL[] =
    "\"/>\n"
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    "<?xpacket end=\"r\"?>";

/* Appends text to out at *len while it fits with a NUL behind it. */
static bool append(char *out, size_t cap, size_t *len, const char *text, size_t text_len)
{
    if (*len >= cap || text_len >= cap - *len)
        return false;
    memcpy(out + *len, text, text_len);
    *len += text_len;
    return true;
}

size_t mark_xmp(const struct recipe_text *recipe, char *out, size_t cap)
{
    size_t len = 0;
    bool fits = append(out, cap, &len, PACKET_HEAD, sizeof PACKET_HEAD - 1);

    for (size_t i = 0; fits && i < recipe->len; i++) {
        const char *text = &recipe->text[i];
        size_t text_len = 1;

        for (int k = 0; k < ENTITY_COUNT; k++)
            if (recipe->text[i] == ENTITIES[k].c) {
                text = ENTITIES[k].text;
                text_len = strlen(text);
                break;
            }
        fits = append(out, cap, &len, text, text_len);
    }
    if (!fits || !append(out, cap, &len, PACKET_TAIL, sizeof PACKET_TAIL - 1))
        return 0;
    out[len] = '\0';
    return len;
}

/* ---- reading the packet ---- */

struct span {
    const char *at, *end;
};

/* Steps behind the first word in s; false when it is not there. */
static bool skip_past(struct span *s, const char *word)
{
    const char *hit = memmem(s->at, (size_t)(s->end - s->at), word, strlen(word));

    if (hit)
        s->at = hit + strlen(word);
    return hit != NULL;
}

/* Undoes the entities from s up to the first stop character. */
static bool unescape(struct span s, char stop, struct recipe_text *out)
{
    out->len = 0;
    while (s.at < s.end && *s.at != stop && out->len < sizeof out->text - 1) {
        char c = *s.at;
        size_t used = 1;

        for (int k = 0; c == '&' && k < ENTITY_COUNT; k++) {
            size_t text_len = strlen(ENTITIES[k].text);

            if ((size_t)(s.end - s.at) >= text_len &&
                memcmp(s.at, ENTITIES[k].text, text_len) == 0) {
                out->text[out->len++] = ENTITIES[k].c;
                used = text_len;
                break;
            }
        }
        if (used == 1) {
            if (c == '&')
                return false;       /* an entity that no packet of ours has */
            out->text[out->len++] = c;
        }
        s.at += used;
    }
    out->text[out->len] = '\0';
    return s.at < s.end && *s.at == stop;
}

/* Ours, and the two forms that other programs turn it into when they write metadata anew. */
static const struct form {
    const char *before;
    char stop;
} FORMS[] = {
    { "seedpress:Recipe=\"", '"' },
    { "seedpress:Recipe='", '\'' },
    { "<seedpress:Recipe>", '<' },
};

static bool find_in_packet(const uint8_t *packet, size_t len, struct recipe_text *out)
{
    struct recipe ignored;

    for (size_t k = 0; k < sizeof FORMS / sizeof FORMS[0]; k++) {
        struct span s = { (const char *)packet, (const char *)packet + len };

        if (skip_past(&s, FORMS[k].before) && unescape(s, FORMS[k].stop, out) &&
            recipe_parse(out->text, out->len, &ignored, NULL) == ERR_OK)
            return true;
    }
    return false;
}

/* ---- JPEG ---- */

static bool find_in_jpeg(const uint8_t *file, size_t len, struct recipe_text *out)
{
    size_t prefix_len = sizeof MARK_JPEG_PREFIX;   /* with its NUL */
    struct segment s;
    size_t at = 0;

    if (!segment_next(file, len, &at, &s) || s.marker != SEGMENT_SOI)
        return false;
    /* Metadata lies before the first scan; what a later scan hides is not looked for. */
    while (segment_next(file, len, &at, &s) && s.marker != SEGMENT_SOS && s.marker != SEGMENT_EOI)
        if (s.marker == SEGMENT_APP1 && segment_starts_with(&s, MARK_JPEG_PREFIX, prefix_len) &&
            find_in_packet(s.body + prefix_len, s.body_len - prefix_len, out))
            return true;
    return false;
}

/* Length of the entropy-coded data at data: up to the first marker that is not RSTn. */
static size_t scan_len(const uint8_t *data, size_t len)
{
    size_t i = 0;

    while (i < len) {
        const uint8_t *ff = memchr(data + i, 0xff, len - i);

        if (!ff || (size_t)(ff - data) + 1 == len)
            return len;
        uint8_t next = ff[1];

        if (next != 0 && !(next >= SEGMENT_RST0 && next <= SEGMENT_RST7))
            return (size_t)(ff - data);
        i = (size_t)(ff - data) + 2;
    }
    return len;
}

static bool is_core(const struct segment *s)
{
    if (s->marker == SEGMENT_APP14)
        return segment_starts_with(s, "Adobe", 5);
    return !(s->marker >= SEGMENT_APP0 && s->marker <= SEGMENT_APP15) && s->marker != SEGMENT_COM;
}

bool mark_core_sha256(const uint8_t *jpeg, size_t len, struct digest *out)
{
    struct digest_state *hash = digest_create();
    struct digest sum;
    struct segment s;
    size_t at = 0;
    bool has_scan = false;
    bool ok = hash && segment_next(jpeg, len, &at, &s) && s.marker == SEGMENT_SOI;

    while (ok) {
        if (is_core(&s))
            digest_add(hash, s.start, s.len);
        if (s.marker == SEGMENT_EOI)
            break;
        if (s.marker == SEGMENT_SOS) {
            size_t data_len = scan_len(jpeg + at, len - at);

            digest_add(hash, jpeg + at, data_len);
            at += data_len;
            has_scan = true;
        }
        ok = segment_next(jpeg, len, &at, &s) && s.marker != SEGMENT_SOI;
    }
    sum = digest_finish(&hash);
    if (!ok || !has_scan)
        return false;
    *out = sum;
    return true;
}

/* ---- PNG ---- */

static const uint8_t PNG_SIGNATURE[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };

/* Body of an iTXt chunk: keyword NUL, compressed?, method, language NUL, translated keyword NUL,
 * text. The checksum is not looked at: a damaged recipe is no recipe. */
static bool find_in_itxt(const uint8_t *body, size_t len, struct recipe_text *out)
{
    size_t at = sizeof MARK_PNG_KEYWORD;           /* with its NUL */

    if (len < at + 2 || memcmp(body, MARK_PNG_KEYWORD, at) != 0 || body[at] != 0)
        return false;
    at += 2;
    for (int skipped = 0; skipped < 2; skipped++) {
        const uint8_t *nul = memchr(body + at, 0, len - at);

        if (!nul)
            return false;
        at = (size_t)(nul - body) + 1;
    }
    return find_in_packet(body + at, len - at, out);
}

static bool find_in_png(const uint8_t *file, size_t len, struct recipe_text *out)
{
    enum { AROUND_BODY = 12 };                     /* length and type before it, checksum behind */
    size_t at = sizeof PNG_SIGNATURE;

    while (len - at >= AROUND_BODY) {
        size_t body_len = (size_t)file[at] << 24 | (size_t)file[at + 1] << 16 |
                          (size_t)file[at + 2] << 8 | file[at + 3];

        if (body_len > len - at - AROUND_BODY)
            return false;
        if (memcmp(file + at + 4, "iTXt", 4) == 0 && find_in_itxt(file + at + 8, body_len, out))
            return true;
        at += AROUND_BODY + body_len;
    }
    return false;
}

bool mark_find(const uint8_t *file, size_t len, struct recipe_text *out)
{
    if (len >= sizeof PNG_SIGNATURE && memcmp(file, PNG_SIGNATURE, sizeof PNG_SIGNATURE) == 0)
        return find_in_png(file, len, out);
    return find_in_jpeg(file, len, out);
}
