/* when -- moments as people write them: a date, a date and time in UTC, or how long ago. */
#ifndef CLIENT_WHEN_H
#define CLIENT_WHEN_H

#include "proto/err.h"

#include <stdint.h>

/* "2026-01-01", "2026-01-01T12:30:00Z", or "90min", "36h", "2d" before now_s. *out and now_s are
 * seconds since 1970. e names the option. ERR_INVALID; ERR_RANGE: before 1970, or not a date. */
enum err_code when_parse(const char *option, const char *text, int64_t now_s, int64_t *out,
                         struct err *e);

#endif
