#include "client/when.h"

#include "proto/number.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

static const struct unit {
    const char *word;
    int64_t seconds;
} UNITS[] = { { "s", 1 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 } };

/* "36h" as seconds. */
static bool read_span(const char *text, int64_t *out)
{
    size_t digits = strspn(text, "0123456789");

    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++)
        if (strcmp(text + digits, UNITS[i].word) == 0 && number_parse(text, digits, out) &&
            *out <= INT64_MAX / 86400) {
            *out *= UNITS[i].seconds;
            return true;
        }
    return false;
}

/* The digits at the places where form has a '0'; elsewhere text must be as form. */
static bool has_form(const char *text, const char *form)
{
    for (; *form; text++, form++)
        if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
            return false;
    return !*text;
}

static int number_at(const char *text, size_t len)
{
    int64_t v = 0;

    while (len > 1 && *text == '0') {       /* number_parse takes no leading zeros */
        text++;
        len--;
    }
    number_parse(text, len, &v);
    return (int)v;
}

enum err_code when_parse(const char *option, const char *text, int64_t now_s, int64_t *out,
                         struct err *e)
{
    bool has_time = has_form(text, "0000-00-00T00:00:00Z");
    struct tm asked = { 0 }, was;

    if (read_span(text, out)) {
        *out = now_s - *out;
        return *out >= 0 ? ERR_OK : err_set(e, ERR_RANGE, "%s %.40s is before 1970", option, text);
    }
    if (!has_time && !has_form(text, "0000-00-00"))
        return err_set(e, ERR_INVALID, "%s needs a date such as 2026-01-31 or "
                       "2026-01-31T12:00:00Z (UTC), or a time that has passed such as 36h or 2d, "
                       "not \"%.40s\"", option, text);
    asked.tm_year = number_at(text, 4) - 1900;
    asked.tm_mon = number_at(text + 5, 2) - 1;
    asked.tm_mday = number_at(text + 8, 2);
    if (has_time) {
        asked.tm_hour = number_at(text + 11, 2);
        asked.tm_min = number_at(text + 14, 2);
        asked.tm_sec = number_at(text + 17, 2);
    }
    was = asked;
    *out = timegm(&was);             /* makes 2026-02-30 the second of March: then it was no date */
    if (was.tm_mon != asked.tm_mon || was.tm_mday != asked.tm_mday ||
        was.tm_hour != asked.tm_hour || was.tm_min != asked.tm_min || was.tm_sec != asked.tm_sec)
        return err_set(e, ERR_RANGE, "%s: there is no \"%.40s\"", option, text);
    return *out >= 0 ? ERR_OK : err_set(e, ERR_RANGE, "%s %.40s is before 1970", option, text);
}
