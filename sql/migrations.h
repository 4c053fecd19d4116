/* migrations -- the files of sql/migrations, inside the program. The definitions are made by
 * sql/embed.sh when the program is built. */
#ifndef SQL_MIGRATIONS_H
#define SQL_MIGRATIONS_H

#include <stddef.h>

struct migration {
    int number;                     /* 1, 2, 3, ...: the schema after it was applied */
    const char *name;               /* "initial" */
    const char *text;               /* SQL; may hold several statements */
};

extern const struct migration MIGRATIONS[];     /* [MIGRATION_COUNT], in number order, no gaps */
extern const size_t MIGRATION_COUNT;

#endif
