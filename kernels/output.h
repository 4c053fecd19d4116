/* output -- what a batch is rendered into, for picture_encode to read: JPEG coefficients where the
 * backend makes them, in memory that it has pinned; pixels elsewhere. Either gives the same files.
 *
 * One thread renders into it; once that is done, any may read. */
#ifndef KERNELS_OUTPUT_H
#define KERNELS_OUTPUT_H

#include "kernels/backend.h"
#include "kernels/picture.h"
#include "proto/err.h"
#include "proto/recipe.h"

#include <stddef.h>

enum output_kind { OUTPUT_PIXELS, OUTPUT_COEFFICIENTS };

struct output {
    const struct backend *backend;
    struct engine *engine;
    enum output_kind kind;
    void *memory;
    size_t bytes;                   /* of memory */
    size_t stride;                  /* of a picture of the last batch */
};

/* What is best for JPEG files on a backend. */
enum output_kind output_kind_of(const struct backend *backend);
/* Bytes of one picture of a model. */
size_t output_bytes(enum output_kind kind, const struct model_facts *facts);

/* Takes memory. engine is borrowed: it is closed after output_release. OUTPUT_COEFFICIENTS only
 * where output_kind_of says so. On failure (ERR_NOMEM) *self holds nothing. */
enum err_code output_init(struct output *self, const struct backend *backend,
                          struct engine *engine, enum output_kind kind, size_t bytes,
                          struct err *e);
void output_release(struct output *self);   /* all zero is fine, and left */

/* A batch for backend->render or render_coefficients. */
struct output_batch {
    struct net *net;
    const struct model_facts *facts;        /* the net's model's */
    const struct sample *samples;           /* [count] */
    const int *qualities;                   /* [count]; for coefficients */
    int count;
};
/* Fills self with a batch. capture may be NULL; beside coefficients there is none. As the backend's
 * functions fail; ERR_BUG when the batch is larger than the memory. */
enum err_code output_render(struct output *self, const struct output_batch *batch,
                            const struct capture *capture, struct err *e);
/* The picture at index of the last batch; lent until the next. */
struct picture_source output_at(const struct output *self, size_t index);

#endif
