#include "proto/number.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MILLION = 1000000, DOUBLE_TEXT_MAX = 64 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool number_parse(const char *text, size_t len, int64_t *out)
{
    bool negative = len > 0 && text[0] == '-';
    size_t i = negative ? 1 : 0;
    uint64_t v = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;

    if (i == len || (text[i] == '0' && (len > i + 1 || negative)))
        return false;
    for (; i < len; i++) {
        unsigned digit = (unsigned)(text[i] - '0');

        if (!is_digit(text[i]) || v > (limit - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool number_parse_millionths(const char *text, size_t len, int64_t *out)
{
    const char *dot = memchr(text, '.', len);
    size_t whole_len = dot ? (size_t)(dot - text) : len;
    bool negative = len > 0 && text[0] == '-';
    size_t first = negative ? 1 : 0;   /* "-0.5" is fine though "-0" is no integer */
    int64_t whole, fraction = 0;

    if (!number_parse(text + first, whole_len - first, &whole) || whole < 0 ||
        whole > 1000000000)
        return false;
    if (dot) {
        size_t places = len - whole_len - 1;

        if (places < 1 || places > 6)
            return false;
        for (size_t i = 0; i < 6; i++) {
            if (i < places && !is_digit(dot[1 + i]))
                return false;
            fraction = fraction * 10 + (i < places ? dot[1 + i] - '0' : 0);
        }
    }
    int64_t v = whole * MILLION + fraction;

    if (negative && v == 0)
        return false;
    *out = negative ? -v : v;
    return true;
}

/* Steps over digits; false when there is none. */
static bool skip_digits(const char *text, size_t len, size_t *at)
{
    size_t from = *at;

    while (*at < len && is_digit(text[*at]))
        ++*at;
    return *at > from;
}

/* -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static bool is_json_number(const char *text, size_t len)
{
    size_t at = len > 0 && text[0] == '-' ? 1 : 0, whole = at;

    if (!skip_digits(text, len, &at) || (text[whole] == '0' && at > whole + 1))
        return false;
    if (at < len && text[at] == '.') {
        at++;
        if (!skip_digits(text, len, &at))
            return false;
    }
    if (at < len && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        at += at < len && (text[at] == '+' || text[at] == '-');
        if (!skip_digits(text, len, &at))
            return false;
    }
    return at == len;
}

bool number_parse_double(const char *text, size_t len, double *out)
{
    char copy[DOUBLE_TEXT_MAX + 1];
    locale_t c_locale;
    double v;

    if (len > DOUBLE_TEXT_MAX || !is_json_number(text, len))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);   /* the program's may have a comma */
    if (c_locale == (locale_t)0)
        return false;
    v = strtod_l(copy, NULL, c_locale);
    freelocale(c_locale);
    if (!isfinite(v))
        return false;
    *out = v;
    return true;
}

bool number_millionths_of(double value, int64_t *out)
{
    if (!(fabs(value) <= 1e9))   /* also refuses NaN */
        return false;
    int64_t m = llround(value * MILLION);

    if ((double)m / MILLION != value && (float)((double)m / MILLION) != value)
        return false;            /* neither the nearest double nor the nearest float32 of m/1e6 */
    *out = m;
    return true;
}

size_t number_format_millionths(int64_t millionths, char out[24])
{
    uint64_t v = millionths < 0 ? 0 - (uint64_t)millionths : (uint64_t)millionths;
    int len = snprintf(out, 24, "%s%llu.%06llu", millionths < 0 ? "-" : "",
                       (unsigned long long)(v / MILLION), (unsigned long long)(v % MILLION));

    while (out[len - 1] == '0')
        len--;
    if (out[len - 1] == '.')
        len--;
    out[len] = '\0';
    return (size_t)len;
}
