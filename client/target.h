/* target -- where -o puts pictures: one file, or a folder where they are named as the official
 * tools name them, seed0000.jpg and so on. */
#ifndef CLIENT_TARGET_H
#define CLIENT_TARGET_H

#include "proto/err.h"

#include <limits.h>
#include <stdint.h>

enum target_kind { TARGET_NONE, TARGET_JPEG, TARGET_PNG, TARGET_FOLDER };

struct target {
    enum target_kind kind;
    const char *path;               /* borrowed */
};

struct target_file {
    char path[PATH_MAX];
};

/* What path means; NULL is this folder. A folder that is there is one whatever its name; else the
 * ending decides. ERR_INVALID: the ending of a format that nobody here writes. */
enum err_code target_of(const char *path, struct target *out, struct err *e);

/* Whether that many pictures have a place there. ERR_INVALID: several, and it is one file. */
enum err_code target_takes(const struct target *self, uint32_t pictures, struct err *e);

/* Makes the folder if that is what it is and none is there. ERR_FILE. */
enum err_code target_prepare(const struct target *self, struct err *e);

/* The file for a seed's picture. ERR_FILE: the name is too long. */
enum err_code target_file_of(const struct target *self, uint32_t seed, struct target_file *out,
                             struct err *e);

#endif
