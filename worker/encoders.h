/* encoders -- threads that turn what was rendered into JPEG files, one handle each, and take the
 * perceptual hashes by which a changed copy is found. */
#ifndef WORKER_ENCODERS_H
#define WORKER_ENCODERS_H

#include "base/channel.h"
#include "proto/err.h"

#include <stdbool.h>

struct encoders_options {
    int threads;
    bool likeness;                  /* take perceptual hashes */
};

struct encoders;
/* Takes jobs from encode, puts files into archive and failures into events; all are borrowed. */
enum err_code encoders_create(const struct encoders_options *options, struct channel *encode,
                              struct channel *archive, struct channel *events,
                              struct encoders **out, struct err *e);
/* Waits for the threads, which end when encode is closed and empty. */
void encoders_destroy(struct encoders **self);

#endif
