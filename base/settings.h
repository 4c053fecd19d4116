/* settings -- a daemon's configuration. One table holds keys, ranges, defaults and help; --help,
 * the manual and --print-config print that same table. A flag beats the environment, which beats
 * the file, which beats the default. Unknown keys and flags are refused. */
#ifndef BASE_SETTINGS_H
#define BASE_SETTINGS_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum setting_kind { SETTING_INT, SETTING_TEXT, SETTING_SECRET /* text that is never printed */ };

struct setting {
    const char *key;                /* ends in its unit: "lease_ms"; the flag is --lease-ms, the
                                       environment's name SEEDPRESS_LEASE_MS */
    enum setting_kind kind;
    int64_t min, max, def;          /* INT: inclusive range and default. TEXT: max bytes in max */
    const char *text;               /* TEXT: default */
    const char *help;               /* one line */
};

/* What the command line asks for besides running. */
enum settings_action { SETTINGS_RUN, SETTINGS_HELP, SETTINGS_VERSION, SETTINGS_PRINT };

struct settings;                    /* opaque; immutable once made, so threads may share it */

/* Reads argv (flags --key VALUE, --config FILE, --help, --version, --print-config), the environment
 * and the file: lines "key = value" of at most 198 bytes; ';' after a blank begins a comment, at a
 * line's start '#' too. Where help or the version is asked for, flags alone are read. table[rows]
 * is borrowed and must outlive *out. ERR_INVALID, ERR_RANGE, ERR_FILE, ERR_NOMEM: e names the flag,
 * variable or line. */
enum err_code settings_create(const struct setting *table, size_t rows, int argc, char **argv,
                              struct settings **out, enum settings_action *action, struct err *e);
void settings_destroy(struct settings **self);

int64_t settings_int(const struct settings *self, size_t row);
const char *settings_text(const struct settings *self, size_t row);    /* never NULL */

/* The whole of a daemon's main: reads the settings, does what they ask for, runs serve if that is
 * it, says on stderr what went wrong. Returns the exit code. program is its name. */
int settings_main(const struct setting *table, size_t rows, const char *program, int argc,
                  char **argv,
                  enum err_code (*serve)(const struct settings *settings, struct err *e));

void settings_print_help(const struct setting *table, size_t rows, const char *program, FILE *out);
/* "key = value    ; from: flag": lines that --config reads back. Secrets are hidden. */
void settings_print(const struct settings *self, FILE *out);

#endif
