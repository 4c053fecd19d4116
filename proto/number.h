/* number -- numbers out of text and into it, the same everywhere: no locale, no sign tricks, no
 * silent wrap. Used by the recipe, the settings and the command line. */
#ifndef PROTO_NUMBER_H
#define PROTO_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole of text[0..len) as a decimal integer: an optional '-', then digits. No '+', no spaces,
 * no leading zeros, no "-0", nothing outside int64. False leaves *out untouched. */
bool number_parse(const char *text, size_t len, int64_t *out);

/* The same for decimals with at most six places: "0.7" gives 700000. "-1.5", "2", "0.000001" are
 * fine; "1e3", ".5", "5.", "-0" and more than six places are not. */
bool number_parse_millionths(const char *text, size_t len, int64_t *out);

/* A double that stands for a decimal with at most six places (what a JSON or msgpack writer makes
 * of 0.7): false for NaN, infinities, anything finer, and beyond +-1e9. */
bool number_millionths_of(double value, int64_t *out);

/* Any finite number as JSON writes it, to the nearest double: "0.7", "-1.5e-3", "-0". No '+' before
 * it, no ".5" or "5.", no more than 64 bytes. */
bool number_parse_double(const char *text, size_t len, double *out);

/* The shortest decimal: 700000 gives "0.7". Returns the text's length; out holds 24 bytes. */
size_t number_format_millionths(int64_t millionths, char out[24]);

#endif
