/* kit_pictures -- a ledger of one's own with real pictures in it: small JPEGs whose hashes, cores
 * and recipes agree, as a worker would have stored them. Failures end the test through cmocka. */
#ifndef TESTS_KIT_PICTURES_H
#define TESTS_KIT_PICTURES_H

#include "sql/ledger.h"
#include "tests/kit_postgres.h"

enum { PICTURES_SIZE = 16 };        /* pixels, both ways, unless facts say otherwise */

struct kit_pictures {
    struct kit_postgres pg;
    struct ledger *ledger;
    struct model_facts facts;       /* of the model "cats"; may be set after pictures_start */
    int64_t run_id;
};
/* A server with empty tables; one for all tests of a program. */
void pictures_start(struct kit_pictures *self);
void pictures_destroy(struct kit_pictures *self);
/* Empties all tables, registers model and run, opens the ledger; before each test. */
void pictures_open(struct kit_pictures *self);
void pictures_close(struct kit_pictures *self);

struct recipe pictures_recipe(const struct kit_pictures *self, uint32_t seed, int32_t psi);

/* A picture that is not stored yet; image.data is its file. Another look: another picture of the
 * same recipe. */
struct kit_picture {
    struct ledger_image image;
    uint8_t *file;                  /* picture_forget frees it */
};
struct kit_picture picture_paint(const struct kit_pictures *self, uint32_t seed, int32_t psi,
                                 int look);
void picture_forget(struct kit_picture *self);

/* Paints and stores seeds first..last at psi 0.7; they must be new. */
void pictures_store(struct kit_pictures *self, uint32_t first, uint32_t last);
struct digest pictures_key(const struct kit_pictures *self, uint32_t seed);

void pictures_sql(const struct kit_pictures *self, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int64_t pictures_int(const struct kit_pictures *self, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The recipe key of seed at psi 0.7 as SQL: '\x...'. */
struct kit_literal {
    char text[80];
};
struct kit_literal pictures_literal(const struct kit_pictures *self, uint32_t seed);

#endif
