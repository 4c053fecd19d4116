#include "kernels/container.h"

#include "kernels/checkpoint.h"
#include "kernels/safetensors.h"

#include <stdlib.h>
#include <string.h>

struct container {
    struct safetensors *safetensors;    /* one of the two is NULL */
    struct checkpoint *checkpoint;
};

/* What people take for a model file and is none, by its first bytes. As the length of a header,
 * with which a .safetensors file begins, each of them is far too large. */
static const struct stranger {
    const char *begins;
    const char *words;
} STRANGERS[] = {
    { "PK\3\4", "this is a zip file, as torch.save writes it; official networks are plain pickles, "
                "and ours .safetensors" },
    { "version https://git-lfs",
      "this is a pointer of Git LFS, not the file that it stands for; try: git lfs pull" },
    { "<!DOCTYPE", "this is a web page, not the file that it was downloaded for" },
    { "<!doctype", "this is a web page, not the file that it was downloaded for" },
    { "<html", "this is a web page, not the file that it was downloaded for" },
};

static enum err_code check_kind(const void *data, size_t len, struct err *e)
{
    for (size_t i = 0; i < sizeof STRANGERS / sizeof STRANGERS[0]; i++) {
        size_t begins_len = strlen(STRANGERS[i].begins);

        if (len >= begins_len && memcmp(data, STRANGERS[i].begins, begins_len) == 0)
            return err_set(e, ERR_UNSUPPORTED, "%s", STRANGERS[i].words);
    }
    return ERR_OK;
}

enum err_code container_parse(const void *data, size_t len, struct container **out,
                              struct err *e)
{
    struct container *self = calloc(1, sizeof *self);
    enum err_code rc;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a model file");
    rc = check_kind(data, len, e);
    if (!rc)
        rc = checkpoint_recognises(data, len) ? checkpoint_parse(data, len, &self->checkpoint, e)
                                              : safetensors_parse(data, len, &self->safetensors, e);
    if (rc)
        container_destroy(&self);
    *out = self;
    return rc;
}

void container_destroy(struct container **self)
{
    if (!*self)
        return;
    checkpoint_destroy(&(*self)->checkpoint);
    safetensors_destroy(&(*self)->safetensors);
    free(*self);
    *self = NULL;
}

const char *container_word(const struct container *self)
{
    return self->checkpoint ? "pkl" : "safetensors";
}

struct notes *container_take_notes(struct container *self)
{
    return self->checkpoint ? checkpoint_take_notes(self->checkpoint)
                            : safetensors_take_notes(self->safetensors);
}

bool container_find(const struct container *self, const char *name, struct container_tensor *out)
{
    const struct safetensors_tensor *s;
    const struct checkpoint_tensor *c;

    if (self->checkpoint) {
        c = checkpoint_find(self->checkpoint, name);
        if (c)
            *out = (struct container_tensor){ c->rank, c->shape, c->count, c };
        return c != NULL;
    }
    s = safetensors_find(self->safetensors, name);
    if (s)
        *out = (struct container_tensor){ s->rank, s->shape, s->count, s };
    return s != NULL;
}

enum err_code container_floats(const struct container *self, const struct container_tensor *tensor,
                               float *out, struct err *e)
{
    return self->checkpoint ? checkpoint_floats(tensor->stored, out, e)
                            : safetensors_floats(tensor->stored, out, e);
}
