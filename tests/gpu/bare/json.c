#include "tests/gpu/bare/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NESTING_MAX = 1000, NUMBER_MAX = 63 };

struct reader {
    const char *at, *end;
    int depth;
};

static bool parse_value(struct reader *r, struct bare_json *out);

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && (unsigned char)*r->at <= ' ')
        r->at++;
}

/* Takes the word when it is next. */
static bool take(struct reader *r, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
        return false;
    r->at += len;
    return true;
}

static bool parse_number(struct reader *r, struct bare_json *out)
{
    char text[NUMBER_MAX + 1], *end;
    size_t len = 0;

    while (len < NUMBER_MAX && r->at + len < r->end && strchr("0123456789+-eE.", r->at[len]) &&
           r->at[len])
        len++;
    memcpy(text, r->at, len);
    text[len] = '\0';
    out->kind = BARE_JSON_NUMBER;
    out->valuedouble = strtod(text, &end);
    r->at += end - text;
    return end != text;
}

/* Four hex digits; 0 when they are none, as cJSON has it. */
static uint32_t hex4(const char *text)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

        if (!digit)
            return 0;
        v = v << 4 | (uint32_t)((digit - digits) % 16);
    }
    return v;
}

static char *put_utf8(char *out, uint32_t code)
{
    static const unsigned char LEAD[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    int bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    for (int i = bytes; i-- > 1; code >>= 6)
        out[i] = (char)((code & 0x3f) | 0x80);
    out[0] = (char)(bytes == 1 ? code : code | LEAD[bytes]);
    return out + bytes;
}

/* After the backslash and the u; *from moves behind what belongs to the character. */
static bool parse_unicode(const char **from, const char *end, uint32_t *code)
{
    const char *at = *from;

    if (end - at < 4)
        return false;
    *code = hex4(at);
    *from = at + 4;
    if (*code >= 0xdc00 && *code <= 0xdfff)
        return false;
    if (*code < 0xd800 || *code > 0xdbff)
        return true;
    if (end - at < 10 || at[4] != '\\' || at[5] != 'u')
        return false;

    uint32_t low = hex4(at + 6);

    *code = 0x10000 + ((*code & 0x3ff) << 10 | (low & 0x3ff));
    *from = at + 10;
    return low >= 0xdc00 && low <= 0xdfff;
}

static bool unescape(const char **from, const char *end, char **out)
{
    static const char LETTERS[] = "bfnrt\"\\/", MEAN[] = "\b\f\n\r\t\"\\/";
    const char *letter;
    uint32_t code;
    char c = *(*from)++;

    if (c == 'u') {
        if (!parse_unicode(from, end, &code))
            return false;
        *out = put_utf8(*out, code);
        return true;
    }
    letter = c ? strchr(LETTERS, c) : NULL;
    if (letter)
        *(*out)++ = MEAN[letter - LETTERS];
    return letter != NULL;
}

/* The string at r as an own one; NULL when it is none. */
static char *parse_string(struct reader *r)
{
    const char *from = r->at + 1, *end = from;

    if (r->at >= r->end || *r->at != '"')
        return NULL;
    for (; end < r->end && *end != '"'; end++)
        if (*end == '\\')
            end++;
    if (end >= r->end)
        return NULL;
    r->at = end + 1;

    char *text = malloc((size_t)(end - from) + 1), *out = text;

    while (text && from < end) {
        if (*from != '\\') {
            *out++ = *from++;
            continue;
        }
        from++;
        if (!unescape(&from, end, &out)) {
            free(text);
            return NULL;
        }
    }
    if (text)
        *out = '\0';
    return text;
}

/* Up to the closing bracket; in an object each value has its key before it. */
static bool parse_children(struct reader *r, struct bare_json *out, char close)
{
    struct bare_json **place = &out->child;

    if (++r->depth > NESTING_MAX)
        return false;
    r->at++;
    skip_blanks(r);
    if (r->at < r->end && *r->at == close) {
        r->at++;
        r->depth--;
        return true;
    }
    do {
        struct bare_json *item = *place = calloc(1, sizeof *item);

        if (!item)
            return false;
        skip_blanks(r);
        if (close == '}') {
            item->string = parse_string(r);
            skip_blanks(r);
            if (!item->string || !take(r, ":"))
                return false;
            skip_blanks(r);
        }
        if (!parse_value(r, item))
            return false;
        skip_blanks(r);
        place = &item->next;
    } while (take(r, ","));
    r->depth--;
    return r->at < r->end && *r->at++ == close;
}

static bool parse_value(struct reader *r, struct bare_json *out)
{
    static const char *const WORDS[] = { "null", "false", "true" };

    for (int i = BARE_JSON_NULL; i <= BARE_JSON_TRUE; i++)
        if (take(r, WORDS[i])) {
            out->kind = (enum bare_json_kind)i;
            return true;
        }
    if (r->at >= r->end)
        return false;
    switch (*r->at) {
    case '"':
        out->kind = BARE_JSON_STRING;
        out->valuestring = parse_string(r);
        return out->valuestring != NULL;
    case '[':
        out->kind = BARE_JSON_ARRAY;
        return parse_children(r, out, ']');
    case '{':
        out->kind = BARE_JSON_OBJECT;
        return parse_children(r, out, '}');
    default:
        return (*r->at == '-' || (*r->at >= '0' && *r->at <= '9')) && parse_number(r, out);
    }
}

struct bare_json *bare_json_parse(const char *text, size_t len, const char **end)
{
    struct reader r = { .at = text, .end = text + len };
    struct bare_json *self = calloc(1, sizeof *self);

    if (len > 4)
        take(&r, "\xef\xbb\xbf");       /* a byte order mark */
    skip_blanks(&r);
    if (self && !parse_value(&r, self)) {
        bare_json_delete(self);
        self = NULL;
    }
    if (end)
        *end = r.at;
    return self;
}

void bare_json_delete(struct bare_json *self)
{
    while (self) {
        struct bare_json *next = self->next;

        bare_json_delete(self->child);
        free(self->string);
        free(self->valuestring);
        free(self);
        self = next;
    }
}

int bare_json_size(const struct bare_json *self)
{
    int size = 0;

    for (const struct bare_json *item = self ? self->child : NULL; item; item = item->next)
        size++;
    return size;
}

struct bare_json *bare_json_at(const struct bare_json *self, int index)
{
    struct bare_json *item = self ? self->child : NULL;

    while (item && index-- > 0)
        item = item->next;
    return item;
}

struct bare_json *bare_json_find(const struct bare_json *self, const char *key)
{
    struct bare_json *item = self ? self->child : NULL;

    while (item && (!item->string || strcmp(item->string, key) != 0))
        item = item->next;
    return item;
}
