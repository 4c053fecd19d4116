#include "kernels/model.h"

#include "base/file.h"
#include "kernels/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_FLOATS = 16 };     /* every tensor starts where any vector unit likes it */

static const size_t FILE_BYTES_MAX = (size_t)16 << 30;

struct model {
    enum model_arch arch;
    struct stylegan2_arch stylegan2;        /* where arch says so */
    struct model_facts facts;
    struct notes *notes;
    struct tensor_need need[ARCH_TENSORS_MAX];   /* names of tensor[] lie here */
    struct model_tensor tensor[ARCH_TENSORS_MAX];
    size_t count;                           /* of tensor[], in name order */
    float *values;                          /* of all tensors */
};

static const char *const ARCH_WORDS[] = { "stylegan1", "stylegan2", "stylegan3" };

static enum err_code read_arch(struct model *self, struct err *e)
{
    const char *word;
    enum err_code rc = notes_need(self->notes, "arch", &word, e);

    if (rc)
        return rc;
    for (int i = 0; i < 3; i++)
        if (strcmp(word, ARCH_WORDS[i]) == 0) {
            self->arch = (enum model_arch)i;
            switch (self->arch) {
            case MODEL_STYLEGAN2:
                return stylegan2_arch_read(self->notes, &self->stylegan2, e);
            case MODEL_STYLEGAN1:
            case MODEL_STYLEGAN3:
                return err_set(e, ERR_UNSUPPORTED, "architecture \"%s\" is not supported yet",
                               word);
            }
        }
    return err_set(e, ERR_UNSUPPORTED, "architecture \"%.40s\" is not known", word);
}

static bool has_shape(const struct safetensors_tensor *stored, const struct tensor_need *need)
{
    if (stored->rank != need->rank)
        return false;
    for (int i = 0; i < need->rank; i++)
        if (stored->shape[i] != need->shape[i])
            return false;
    return true;
}

/* "[32,64,3,3]", "[]" for a scalar: in messages and in the digest. */
static const char *shape_text(const struct tensor_need *need, char out[64])
{
    size_t at = 1;

    out[0] = '[';
    for (int i = 0; i < need->rank; i++)
        at += (size_t)snprintf(out + at, 64 - at, "%s%d", i ? "," : "", need->shape[i]);
    snprintf(out + at, 64 - at, "]");
    return out;
}

/* Finds the stored tensor of each need, checks its shape and gives it a place in values. */
static enum err_code match_tensors(struct model *self, const struct safetensors *file,
                                   const struct safetensors_tensor **stored, size_t *floats,
                                   struct err *e)
{
    char shape[64];

    *floats = 0;
    for (size_t i = 0; i < self->count; i++) {
        const struct tensor_need *need = &self->need[i];

        stored[i] = safetensors_find(file, need->name);
        if (!stored[i])
            return err_set(e, ERR_INVALID, "tensor \"%s\" is missing", need->name);
        if (!has_shape(stored[i], need))
            return err_set(e, ERR_INVALID, "tensor \"%s\" has not the shape %s", need->name,
                           shape_text(need, shape));
        /* Cannot overflow: what is counted lies in the file, with 2 bytes or more a value. */
        *floats += (stored[i]->count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    return ERR_OK;
}

static enum err_code copy_tensors(struct model *self, const struct safetensors *file,
                                  struct err *e)
{
    const struct safetensors_tensor *stored[ARCH_TENSORS_MAX];
    size_t floats, at = 0;
    enum err_code rc = match_tensors(self, file, stored, &floats, e);

    if (rc)
        return rc;
    self->values = aligned_alloc(ALIGN_FLOATS * sizeof(float), floats * sizeof(float));
    if (!self->values)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of tensors", floats * sizeof(float));
    for (size_t i = 0; i < self->count; i++) {
        struct model_tensor *t = &self->tensor[i];

        rc = safetensors_floats(stored[i], self->values + at, e);
        if (rc)
            return rc;
        *t = (struct model_tensor){ .name = self->need[i].name,
                                    .rank = self->need[i].rank,
                                    .data = self->values + at,
                                    .count = stored[i]->count };
        memcpy(t->shape, self->need[i].shape, sizeof t->shape);
        at += (t->count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    return ERR_OK;
}

/* float32 as the digest takes them: little-endian, whatever this machine is. */
static void digest_floats(struct digest_state *state, const float *values, size_t count)
{
    uint8_t bytes[4096];

    for (size_t done = 0; done < count;) {
        size_t part = count - done < sizeof bytes / 4 ? count - done : sizeof bytes / 4;

        for (size_t i = 0; i < part; i++) {
            uint32_t bits;

            memcpy(&bits, &values[done + i], sizeof bits);
            for (int b = 0; b < 4; b++)
                bytes[4 * i + b] = (uint8_t)(bits >> 8 * b);
        }
        digest_add(state, bytes, part * 4);
        done += part;
    }
}

/* kernels/README.md, "The model's digest". */
static enum err_code digest_model(const struct model *self, struct digest *out, struct err *e)
{
    char text[ARCH_TEXT_MAX], line[160], shape[64];
    struct digest_state *state = digest_create();

    if (!state)
        return err_set(e, ERR_NOMEM, "no memory for the model's digest");
    digest_add(state, "seedpress-model/1\n", strlen("seedpress-model/1\n"));
    digest_add(state, text, stylegan2_arch_text(&self->stylegan2, text));
    snprintf(line, sizeof line, "tensors=%zu\n", self->count);
    digest_add(state, line, strlen(line));
    for (size_t i = 0; i < self->count; i++) {
        snprintf(line, sizeof line, "%s=%s\n", self->need[i].name,
                 shape_text(&self->need[i], shape));
        digest_add(state, line, strlen(line));
        digest_floats(state, self->tensor[i].data, self->tensor[i].count);
    }
    *out = digest_finish(&state);
    return ERR_OK;
}

static void fill_facts(struct model *self)
{
    const struct stylegan2_arch *a = &self->stylegan2;

    self->facts = (struct model_facts){
        .digest = self->facts.digest,
        .width = a->resolution,
        .height = a->resolution,
        .num_ws = a->num_ws,
        .z_dim = a->z_dim,
        .w_dim = a->w_dim,
        .c_dim = a->c_dim,
        .noise_modes = 1u << RECIPE_NOISE_NONE | 1u << RECIPE_NOISE_CONST,
        .has_transform = false,
    };
}

enum err_code model_parse(const void *data, size_t len, struct model **out, struct err *e)
{
    struct safetensors *file = NULL;
    struct model *self = NULL;
    enum err_code rc = ERR_OK;

    *out = NULL;
    rc = safetensors_parse(data, len, &file, e);
    if (rc)
        goto done;
    self = calloc(1, sizeof *self);
    if (!self) {
        rc = err_set(e, ERR_NOMEM, "no memory for a model");
        goto done;
    }
    self->notes = safetensors_take_notes(file);
    rc = read_arch(self, e);
    if (rc)
        goto done;
    self->count = stylegan2_arch_tensors(&self->stylegan2, self->need);
    rc = copy_tensors(self, file, e);
    if (rc)
        goto done;
    rc = digest_model(self, &self->facts.digest, e);
    if (rc)
        goto done;
    fill_facts(self);
    *out = self;
    self = NULL;
done:
    model_destroy(&self);
    safetensors_destroy(&file);
    return rc;
}

/* Read and not mapped: a mapped file that someone shortens kills the process, and one that someone
 * overwrites changes the pictures under their digest. */
enum err_code model_open(const char *path, struct model **out, struct err *e)
{
    uint8_t *data;
    size_t len;
    struct err why;
    enum err_code rc = file_read(path, FILE_BYTES_MAX, &data, &len, e);

    *out = NULL;
    if (rc)
        return rc;
    rc = model_parse(data, len, out, &why);
    if (rc)
        err_set(e, rc, "model \"%.90s\": %s", path, why.msg);
    free(data);
    return rc;
}

void model_destroy(struct model **self)
{
    if (!*self)
        return;
    notes_destroy(&(*self)->notes);
    free((*self)->values);
    free(*self);
    *self = NULL;
}

enum model_arch model_arch(const struct model *self)
{
    return self->arch;
}

const char *model_arch_word(const struct model *self)
{
    return ARCH_WORDS[self->arch];
}

const struct stylegan2_arch *model_stylegan2(const struct model *self)
{
    return self->arch == MODEL_STYLEGAN2 ? &self->stylegan2 : NULL;
}

const struct model_facts *model_facts(const struct model *self)
{
    return &self->facts;
}

const char *model_note(const struct model *self, const char *key)
{
    return notes_find(self->notes, key);
}

size_t model_tensor_count(const struct model *self)
{
    return self->count;
}

const struct model_tensor *model_tensor_at(const struct model *self, size_t index)
{
    return &self->tensor[index];
}

static int by_name(const void *key, const void *tensor)
{
    return strcmp(key, ((const struct model_tensor *)tensor)->name);
}

const struct model_tensor *model_tensor_find(const struct model *self, const char *name)
{
    return bsearch(name, self->tensor, self->count, sizeof self->tensor[0], by_name);
}
