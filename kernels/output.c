#include "kernels/output.h"

#include "kernels/jpeg_transform.h"

#include <stdlib.h>

enum output_kind output_kind_of(const struct backend *backend)
{
    return backend->render_coefficients ? OUTPUT_COEFFICIENTS : OUTPUT_PIXELS;
}

size_t output_bytes(enum output_kind kind, const struct model_facts *facts)
{
    if (kind == OUTPUT_COEFFICIENTS)
        return jpeg_coefficients_layout(facts->width, facts->height).count * sizeof(int16_t);
    return (size_t)facts->width * (size_t)facts->height * 3;
}

enum err_code output_init(struct output *self, const struct backend *backend,
                          struct engine *engine, enum output_kind kind, size_t bytes,
                          struct err *e)
{
    struct output made = { .backend = backend, .engine = engine, .kind = kind, .bytes = bytes };
    enum err_code rc = ERR_OK;

    *self = (struct output){ .backend = NULL };
    if (kind == OUTPUT_COEFFICIENTS)
        rc = backend->pin(engine, bytes, &made.memory, e);
    else if (!(made.memory = malloc(bytes)))
        rc = err_set(e, ERR_NOMEM, "no memory for %zu bytes of pixels", bytes);
    if (!rc)
        *self = made;
    return rc;
}

void output_release(struct output *self)
{
    if (self->kind == OUTPUT_COEFFICIENTS)
        self->backend->unpin(self->engine, &self->memory);
    else
        free(self->memory);
    *self = (struct output){ .backend = NULL };
}

enum err_code output_render(struct output *self, const struct output_batch *batch,
                            const struct capture *capture, struct err *e)
{
    self->stride = output_bytes(self->kind, batch->facts);
    if (batch->count > 0 && (size_t)batch->count > self->bytes / self->stride)
        return err_set(e, ERR_BUG, "%d pictures of %zu bytes do not fit into %zu", batch->count,
                       self->stride, self->bytes);
    if (self->kind == OUTPUT_COEFFICIENTS)
        return self->backend->render_coefficients(batch->net, batch->samples, batch->qualities,
                                                  batch->count, self->memory, e);
    return self->backend->render(batch->net, batch->samples, batch->count, self->memory, capture,
                                 e);
}

struct picture_source output_at(const struct output *self, size_t index)
{
    const uint8_t *at = (const uint8_t *)self->memory + index * self->stride;

    if (self->kind == OUTPUT_COEFFICIENTS)
        return (struct picture_source){ .coefficients = (const int16_t *)(const void *)at };
    return (struct picture_source){ .rgb = at };
}
