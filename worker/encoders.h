/* encoders -- threads that turn what was rendered into JPEG files, one handle each, sign those
 * whose recipe says so, and take the perceptual hashes by which a changed copy is found. */
#ifndef WORKER_ENCODERS_H
#define WORKER_ENCODERS_H

#include "base/c2pa.h"
#include "base/channel.h"
#include "proto/err.h"

#include <stdbool.h>

struct encoders;
struct encoders_parts {
    struct channel *encode, *archive, *events;
    const struct c2pa_signer *signer;   /* NULL: what is to be signed fails */
    bool likeness;                  /* take perceptual hashes */
};
/* Takes jobs from encode, puts files into archive and failures into events; all are borrowed. */
enum err_code encoders_create(int threads, const struct encoders_parts *parts,
                              struct encoders **out, struct err *e);
/* Waits for the threads, which end when encode is closed and empty. */
void encoders_destroy(struct encoders **self);

#endif
