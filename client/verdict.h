/* verdict -- whether a picture file is what its recipe makes: the recipe is found, its picture made
 * anew, and both are compared. The steps are called in this order:
 *     verdict_init, verdict_find, verdict_render (or a render of one's own), verdict_conclude */
#ifndef CLIENT_VERDICT_H
#define CLIENT_VERDICT_H

#include "client/seedpress.h"
#include "kernels/levels.h"
#include "proto/digest.h"
#include "proto/recipe.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum verdict_answer {
    VERDICT_IDENTICAL,              /* the new render is this very file */
    VERDICT_SAME_PIXELS,            /* it is this picture; what stands around it differs */
    VERDICT_TOLERABLE,              /* what another numerics class may give */
    VERDICT_DIFFERENT,              /* the recipe does not make this picture */
    VERDICT_NO_RECORD               /* it is a picture, of which nobody knows a recipe */
};
/* "same pixels". Static. */
const char *verdict_answer_name(enum verdict_answer answer);

struct verdict {
    bool (*go_on)(void *arg);       /* see again.h; NULL, or set after verdict_init */
    void *arg;
    const char *visitor;            /* whom a proxy asks for; NULL, or set after verdict_init */

    const uint8_t *file;            /* borrowed, [len] */
    size_t len;
    struct digest sha, core;
    bool has_core;                  /* a whole JPEG has one */
    const char *found;              /* how the recipe was found; NULL: it was not. Static */
    struct recipe_text text;        /* found */
    struct recipe recipe;           /* found */
    bool is_stored;                 /* the ledger has the recipe */
    char stored_class[64];          /* is_stored */

    /* What a new render gave. */
    struct digest new_sha, new_core;
    char new_class[64];
    int64_t run;                    /* of the worker that rendered; 0: rendered here */
    uint8_t *new_file;              /* owned; NULL: only hashes and off are known */
    size_t new_len;

    enum verdict_answer answer;
    bool has_off;                   /* off says how the new pixels differ from the file's */
    struct levels off;
    char note[160];                 /* what to know beside the figures; "" when there is nothing */
};

/* To be released in every case. */
void verdict_init(struct verdict *self, const uint8_t *file, size_t len);
void verdict_release(struct verdict *self);

/* Looks for the recipe: in the ledger by the file's hash and by its picture's, then in the file. sp
 * NULL: what the file says is all there is. Found or not is no failure; FILE: it is no picture.
 * INVALID: the recipe cannot be read; else as look-ups fail. */
enum seedpress_code verdict_find(struct verdict *self, struct seedpress *sp,
                                 struct seedpress_error *error);
/* Has a worker make the recipe's picture anew, also when it is stored. found is not NULL. RETRY:
 * the answer was no new render; CANCELLED: go_on said so; else as seedpress_generate fails. */
enum seedpress_code verdict_render(struct verdict *self, struct seedpress *sp,
                                   struct seedpress_error *error);
/* Compares, and gives self its answer. Nothing need be rendered when there is no recipe. */
void verdict_conclude(struct verdict *self);

/* What `seedpress verify --json` prints; the caller's to print or delete. NULL: no memory. */
struct cJSON *verdict_object(const struct verdict *self);

#endif
