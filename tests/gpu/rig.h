/* rig -- a model on the backend under check, and the pictures that it made. */
#ifndef TESTS_GPU_RIG_H
#define TESTS_GPU_RIG_H

#include "kernels/backend.h"
#include "kernels/model.h"

#include <stddef.h>

/* The backend under check: of kernels/cuda, built for a device or for the emulator. */
extern const struct backend seedpress_backend;

struct rig {
    struct model *model;
    const struct model_facts *facts;
    struct engine *engine;
    struct net *net;
    int max_batch;
    size_t values, ws_values;       /* of one sample's image and ws */
    /* of the last batch, [max_batch] */
    double *z;
    float *ws, *image;
    uint8_t *rgb;
};

/* Takes the model, on failure too; NULL: e says why there is none. A rig that could not be opened
 * needs no rig_close. */
enum err_code rig_open(struct rig *self, struct model *model, enum precision precision,
                       int max_batch, struct err *e);
void rig_close(struct rig *self);

/* Everything that a capture can hold, but the trace. */
enum err_code rig_render(struct rig *self, const struct sample *samples, int count, struct err *e);

/* A model of the repository, or of random weights (kit_arch), by its name in these checks: a path,
 * or "random-2-7": family 1, 2 or 3, and a seed. NULL and e when there is none. */
struct model *rig_model(const char *name, struct err *e);

/* count samples that differ in everything: seed, psi, cutoff, class, noise, transform. */
void rig_samples(struct sample *out, int count, const struct model_facts *facts);

#endif
