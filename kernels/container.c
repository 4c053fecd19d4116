#include "kernels/container.h"

#include "kernels/safetensors.h"

#include <stdlib.h>

struct container {
    struct safetensors *safetensors;
};

enum err_code container_parse(const void *data, size_t len, struct container **out,
                              struct err *e)
{
    struct container *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a model file");
    rc = safetensors_parse(data, len, &self->safetensors, e);
    if (rc)
        container_destroy(&self);
    *out = self;
    return rc;
}

void container_destroy(struct container **self)
{
    if (!*self)
        return;
    safetensors_destroy(&(*self)->safetensors);
    free(*self);
    *self = NULL;
}

const char *container_word(const struct container *self)
{
    (void)self;
    return "safetensors";
}

struct notes *container_take_notes(struct container *self)
{
    return safetensors_take_notes(self->safetensors);
}

bool container_find(const struct container *self, const char *name, struct container_tensor *out)
{
    const struct safetensors_tensor *t = safetensors_find(self->safetensors, name);

    if (t)
        *out = (struct container_tensor){ t->rank, t->shape, t->count, t };
    return t != NULL;
}

enum err_code container_floats(const struct container *self, const struct container_tensor *tensor,
                               float *out, struct err *e)
{
    (void)self;
    return safetensors_floats(tensor->stored, out, e);
}
