#include "kernels/checkpoint_inside.h"

#include "proto/digest.h"

#include <stdlib.h>
#include <string.h>

bool checkpoint_recognises(const void *data, size_t len)
{
    const uint8_t *bytes = data;

    return len >= 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5;
}

static bool is_name(const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || (unsigned char)text[i] >= 0x7f)
            return false;
    return len >= 1 && len <= CHECKPOINT_NAME_MAX;
}

enum err_code checkpoint_add(struct checkpoint *self, const char *name,
                             const struct checkpoint_tensor *tensor, struct err *e)
{
    char *copy;

    if (!is_name(name))
        return err_set(e, ERR_INVALID, "a tensor's name is empty, too long or not printable");
    if (self->count == CHECKPOINT_TENSORS_MAX)
        return err_set(e, ERR_INVALID, "more than %d tensors", CHECKPOINT_TENSORS_MAX);
    if (tensor->count > self->values_left)
        return err_set(e, ERR_INVALID, "tensor \"%s\": all together have more values than the "
                                       "file has bytes", name);
    if (self->count == self->room) {
        size_t room = self->room ? self->room * 2 : 128;
        struct checkpoint_tensor *bigger = realloc(self->tensor, room * sizeof bigger[0]);

        if (!bigger)
            return err_set(e, ERR_NOMEM, "no memory for %zu tensors", room);
        self->tensor = bigger;
        self->room = room;
    }
    copy = arena_take(&self->arena, strlen(name) + 1);
    if (!copy)
        return err_set(e, ERR_NOMEM, "no memory for a tensor's name");
    memcpy(copy, name, strlen(name) + 1);
    self->values_left -= tensor->count;
    self->tensor[self->count] = *tensor;
    self->tensor[self->count++].name = copy;
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct checkpoint_tensor *x = a, *y = b;

    return strcmp(x->name, y->name);
}

enum err_code checkpoint_sort(struct checkpoint *self, struct err *e)
{
    if (self->count == 0)
        return err_set(e, ERR_INVALID, "there is no tensor");
    qsort(self->tensor, self->count, sizeof self->tensor[0], by_name);
    for (size_t i = 1; i < self->count; i++)
        if (strcmp(self->tensor[i - 1].name, self->tensor[i].name) == 0)
            return err_set(e, ERR_INVALID, "tensor \"%s\" is there twice", self->tensor[i].name);
    return ERR_OK;
}

static enum err_code read_root(struct checkpoint *self, const struct pickle_value *root,
                               struct err *e)
{
    if (value_dict(root))
        return checkpoint_torch_read(self, root, e);
    if (root->kind == PICKLE_TUPLE)
        return checkpoint_tf_read(self, root, e);
    return err_set(e, ERR_UNSUPPORTED, "the pickle is neither a dict with G_ema nor (G, D, Gs)");
}

enum err_code checkpoint_parse(const void *data, size_t len, struct checkpoint **out,
                               struct err *e)
{
    struct checkpoint *self = NULL;
    struct pickle *pickle = NULL;
    struct digest digest;
    enum err_code rc;

    *out = NULL;
    rc = pickle_parse(data, len, CHECKPOINT_GLOBALS, CHECKPOINT_GLOBALS_COUNT, &pickle, e);
    if (rc)
        goto done;
    if (pickle_len(pickle) != len) {
        rc = err_set(e, ERR_INVALID, "%zu bytes follow the pickle", len - pickle_len(pickle));
        goto done;
    }
    self = calloc(1, sizeof *self);
    if (self)
        self->notes = notes_create();
    if (!self || !self->notes) {
        rc = err_set(e, ERR_NOMEM, "no memory for a checkpoint");
        goto done;
    }
    self->values_left = len;
    self->decode_left = len;
    rc = read_root(self, pickle_root(pickle), e);
    if (rc)
        goto done;
    digest = digest_of(data, len);
    rc = notes_add(self->notes, "source_sha256", digest_hex(&digest).text, e);
    if (rc)
        goto done;
    *out = self;
    self = NULL;
done:
    pickle_destroy(&pickle);
    checkpoint_destroy(&self);
    return rc;
}

void checkpoint_destroy(struct checkpoint **self)
{
    if (!*self)
        return;
    notes_destroy(&(*self)->notes);
    arena_release(&(*self)->arena);
    free((*self)->tensor);
    free(*self);
    *self = NULL;
}

struct notes *checkpoint_take_notes(struct checkpoint *self)
{
    struct notes *notes = self->notes;

    self->notes = NULL;
    return notes;
}

size_t checkpoint_count(const struct checkpoint *self)
{
    return self->count;
}

const struct checkpoint_tensor *checkpoint_at(const struct checkpoint *self, size_t index)
{
    return &self->tensor[index];
}

const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *self, const char *name)
{
    struct checkpoint_tensor key = { .name = name };

    if (self->count == 0)
        return NULL;
    return bsearch(&key, self->tensor, self->count, sizeof key, by_name);
}
