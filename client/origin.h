/* origin -- where a picture file came from, by everything that can show it: its bytes, the picture
 * without its metadata, the recipe that it names, and what looks like it. What is only claimed or
 * looks alike is fetched or rendered again and compared; that decides. */
#ifndef CLIENT_ORIGIN_H
#define CLIENT_ORIGIN_H

#include "base/c2pa.h"
#include "client/compare.h"
#include "client/seedpress.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum origin_grade {                 /* the best first */
    ORIGIN_SIGNED,                  /* its Content Credentials hold and name the recipe; their
                                       signer is trusted */
    ORIGIN_EXACT,                   /* the ledger has exactly this file */
    ORIGIN_EXACT_PICTURE,           /* it has this picture; only the metadata differs */
    ORIGIN_CONFIRMED,               /* made again and compared: it is this one */
    ORIGIN_POSSIBLE,                /* looks alike, or could not be compared */
    ORIGIN_CLAIMED,                 /* the file names a recipe that could not be checked */
    ORIGIN_NO_RECORD
};
/* "exact (metadata differs)". Static. */
const char *origin_grade_name(enum origin_grade grade);

/* A picture that may be the one. */
struct origin_match {
    enum origin_grade grade;
    bool has_row;
    struct seedpress_row row;       /* has_row: what the ledger says */
    struct recipe_text recipe;
    bool has_fit;
    struct compare_fit fit;         /* has_fit: how the original lies in the file's picture */
    bool is_rendered;               /* has_fit: it was rendered for this; else stored bytes */
    struct err why;                 /* not ERR_OK: why it could not be compared */
};

/* What the file says of itself. */
struct origin_claim {
    bool is_made;
    bool is_refuted;                /* its recipe makes another picture: see fit */
    struct recipe_text recipe;
    struct compare_fit fit;         /* is_refuted */
};

struct origin {
    enum origin_grade grade;        /* of the best match; NO_RECORD when there is none */
    struct origin_match *matches;   /* [count], the best first */
    size_t count;
    struct origin_claim claim;
    struct c2pa_finding credentials;
};

struct origin_search {
    struct seedpress *sp;           /* borrowed */
    const char *name;               /* the file's, for words; NULL: not needed */
    int limit;                      /* matches at most, 1..SEEDPRESS_ROWS_MAX */
    bool no_render;                 /* compare with stored bytes only */
    const char *visitor;            /* whom a proxy asks for; NULL: itself */
    const char *trust_file;         /* PEM certificates of signers; NULL: none is trusted */
    /* Called before each of count candidates is made and compared, and several times a second
     * while one is made; false ends the search with SEEDPRESS_CANCELLED. NULL: nobody asks. */
    bool (*go_on)(void *arg, size_t done, size_t count);
    void *arg;
};
/* *out is to be released in every case. A file that is unknown and no picture is SEEDPRESS_FILE;
 * else as look-ups fail. */
enum seedpress_code origin_find(const struct origin_search *search, const uint8_t *file,
                                size_t len, struct origin *out, struct seedpress_error *error);
/* What the ledger says to a question that is no file: matches are ORIGIN_EXACT. Likewise. */
enum seedpress_code origin_look_up(struct seedpress *sp, const struct seedpress_query *query,
                                   struct origin *out, struct seedpress_error *error);
void origin_release(struct origin *self);

/* How the original lies in the picture, in words: "all of it, scaled to 50 %". */
struct origin_place {
    char text[120];
};
struct origin_place origin_place_of(const struct compare_fit *fit);

#endif
