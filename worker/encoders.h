/* encoders -- threads that turn what was rendered into JPEG files, one handle each. */
#ifndef WORKER_ENCODERS_H
#define WORKER_ENCODERS_H

#include "base/channel.h"
#include "proto/err.h"

struct encoders;
/* Takes jobs from encode, puts files into archive and failures into events; all are borrowed. */
enum err_code encoders_create(int threads, struct channel *encode, struct channel *archive,
                              struct channel *events, struct encoders **out, struct err *e);
/* Waits for the threads, which end when encode is closed and empty. */
void encoders_destroy(struct encoders **self);

#endif
