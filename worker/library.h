/* library -- the models that a worker has: every .safetensors and .pkl of one folder, loaded into
 * the engine, checked and warmed up before anybody is told of them. A model is named after its
 * file. */
#ifndef WORKER_LIBRARY_H
#define WORKER_LIBRARY_H

#include "kernels/backend.h"
#include "kernels/model.h"
#include "kernels/output.h"
#include "proto/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct loaded_model {
    char name[RECIPE_NAME_MAX + 1];
    struct model *model;            /* NULL: a dummy's */
    struct net *net;
    const struct model_facts *facts;        /* the model's */
    _Atomic int64_t cost_us;        /* of one picture, measured; smoothed */
};

struct library {
    const struct backend *backend;  /* borrowed */
    struct engine *engine;          /* borrowed */
    struct loaded_model *models;    /* [count] */
    size_t count;
    enum output_kind kind;          /* what its models are rendered into */
    size_t picture_max;             /* bytes of the largest model's picture as that */
};

/* Loads dir's models for batches of batch_max, in the order of their files' names. A file that
 * cannot be used is logged and left out: malformed, of a name that no model may have, of a name or
 * a model that an earlier file has brought, of more memory than the device has. ERR_FILE when the
 * folder cannot be read or holds no usable model at all. */
enum err_code library_open(const char *dir, const struct backend *backend, struct engine *engine,
                           int batch_max, struct library *out, struct err *e);
void library_close(struct library *self);

struct loaded_model *library_find(const struct library *self, const struct digest *digest);

/* What one picture takes in a batch, so far. */
int64_t model_cost_us(const struct loaded_model *self);
void model_measured(struct loaded_model *self, int64_t batch_us, size_t pictures);

#endif
