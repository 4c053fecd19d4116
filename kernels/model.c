#include "kernels/model.h"

#include "base/file.h"
#include "kernels/container.h"
#include "kernels/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_FLOATS = 16 };     /* every tensor starts where any vector unit likes it */

static const size_t FILE_BYTES_MAX = (size_t)16 << 30;

struct model {
    enum model_arch arch;
    union {                                 /* arch says which */
        struct stylegan1_arch stylegan1;
        struct stylegan2_arch stylegan2;
        struct stylegan3_arch stylegan3;
    };
    struct model_facts facts;
    const char *file_word;
    struct notes *notes;
    struct tensor_need need[ARCH_TENSORS_MAX];   /* names of tensor[] lie here */
    struct model_tensor tensor[ARCH_TENSORS_MAX];
    size_t count;                           /* of tensor[], in name order */
    float *values;                          /* of all tensors; NULL once dropped */
};

/* ---- what differs between architectures ---- */

static const char *const ARCH_WORDS[] = {
    [MODEL_STYLEGAN1] = "stylegan1",
    [MODEL_STYLEGAN2] = "stylegan2",
    [MODEL_STYLEGAN3] = "stylegan3",
};
enum { ARCH_COUNT = sizeof ARCH_WORDS / sizeof ARCH_WORDS[0] };

static enum err_code read_arch(struct model *self, struct err *e)
{
    const char *word;
    int arch = 0;
    enum err_code rc = notes_need(self->notes, "arch", &word, e);

    if (rc)
        return rc;
    while (arch < ARCH_COUNT && strcmp(word, ARCH_WORDS[arch]) != 0)
        arch++;
    if (arch == ARCH_COUNT)
        return err_set(e, ERR_UNSUPPORTED, "architecture \"%.40s\" is not known", word);
    self->arch = (enum model_arch)arch;
    switch (self->arch) {
    case MODEL_STYLEGAN1:
        return stylegan1_arch_read(self->notes, &self->stylegan1, e);
    case MODEL_STYLEGAN2:
        return stylegan2_arch_read(self->notes, &self->stylegan2, e);
    case MODEL_STYLEGAN3:
        return stylegan3_arch_read(self->notes, &self->stylegan3, e);
    }
    return err_set(e, ERR_BUG, "architecture %d", arch);
}

static size_t list_tensors(const struct model *self, struct tensor_need *out)
{
    switch (self->arch) {
    case MODEL_STYLEGAN1:
        return stylegan1_arch_tensors(&self->stylegan1, out);
    case MODEL_STYLEGAN2:
        return stylegan2_arch_tensors(&self->stylegan2, out);
    case MODEL_STYLEGAN3:
        return stylegan3_arch_tensors(&self->stylegan3, out);
    }
    return 0;
}

static size_t arch_text(const struct model *self, char *out)
{
    switch (self->arch) {
    case MODEL_STYLEGAN1:
        return stylegan1_arch_text(&self->stylegan1, out);
    case MODEL_STYLEGAN2:
        return stylegan2_arch_text(&self->stylegan2, out);
    case MODEL_STYLEGAN3:
        return stylegan3_arch_text(&self->stylegan3, out);
    }
    return 0;
}

static struct model_facts facts_of(int resolution, int num_ws, int z_dim, int w_dim, int c_dim)
{
    return (struct model_facts){ .width = resolution,
                                 .height = resolution,
                                 .num_ws = num_ws,
                                 .z_dim = z_dim,
                                 .w_dim = w_dim,
                                 .c_dim = c_dim,
                                 .noise_modes = (1u << RECIPE_NOISE_COUNT) - 1 };
}

/* All facts but the digest. */
static void fill_facts(struct model *self)
{
    const struct stylegan1_arch *a1 = &self->stylegan1;
    const struct stylegan2_arch *a2 = &self->stylegan2;
    const struct stylegan3_arch *a3 = &self->stylegan3;

    switch (self->arch) {
    case MODEL_STYLEGAN1:
        self->facts = facts_of(a1->resolution, a1->num_ws, a1->z_dim, a1->w_dim, a1->c_dim);
        break;
    case MODEL_STYLEGAN2:
        self->facts = facts_of(a2->resolution, a2->num_ws, a2->z_dim, a2->w_dim, a2->c_dim);
        break;
    case MODEL_STYLEGAN3:
        self->facts = facts_of(a3->resolution, a3->num_ws, a3->z_dim, a3->w_dim, a3->c_dim);
        self->facts.noise_modes = 1u << RECIPE_NOISE_NONE;
        self->facts.has_transform = true;
        break;
    }
}

/* A StyleGAN 1 file from the middle of its training makes its pictures of other ToRGB layers. */
static enum err_code check_lod(const struct container *file, struct err *e)
{
    static const char *const NAMES[] = { "lod", "synthesis/lod" };
    struct container_tensor t;
    float lod;

    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        enum err_code rc;

        if (!container_find(file, NAMES[i], &t))
            continue;
        if (t.count != 1)
            return err_set(e, ERR_INVALID, "tensor \"%s\" is not one number", NAMES[i]);
        rc = container_floats(file, &t, &lod, e);
        if (rc)
            return rc;
        if (lod != 0.0f)
            return err_set(e, ERR_UNSUPPORTED, "%s is %g: a network that is not fully grown is "
                           "not supported", NAMES[i], (double)lod);
    }
    return ERR_OK;
}

/* ---- tensors ---- */

static bool has_shape(const struct container_tensor *stored, const struct tensor_need *need)
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

/* Finds the stored tensor of each need, checks its shape, and sums up the room for all. */
static enum err_code match_tensors(const struct model *self, const struct container *file,
                                   struct container_tensor *stored, size_t *floats, struct err *e)
{
    char shape[64];

    *floats = 0;
    for (size_t i = 0; i < self->count; i++) {
        const struct tensor_need *need = &self->need[i];

        if (!container_find(file, need->name, &stored[i]))
            return err_set(e, ERR_INVALID, "tensor \"%s\" is missing", need->name);
        if (!has_shape(&stored[i], need))
            return err_set(e, ERR_INVALID, "tensor \"%s\" has not the shape %s", need->name,
                           shape_text(need, shape));
        /* Cannot overflow: a file has no more values than bytes. */
        *floats += (stored[i].count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    return ERR_OK;
}

static enum err_code copy_tensors(struct model *self, const struct container *file,
                                  struct err *e)
{
    struct container_tensor stored[ARCH_TENSORS_MAX];
    size_t floats, at = 0;
    enum err_code rc = match_tensors(self, file, stored, &floats, e);

    if (rc)
        return rc;
    self->values = aligned_alloc(ALIGN_FLOATS * sizeof(float), floats * sizeof(float));
    if (!self->values)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes of tensors", floats * sizeof(float));
    for (size_t i = 0; i < self->count; i++) {
        struct model_tensor *t = &self->tensor[i];

        rc = container_floats(file, &stored[i], self->values + at, e);
        if (rc)
            return rc;
        *t = (struct model_tensor){ .name = self->need[i].name,
                                    .rank = self->need[i].rank,
                                    .data = self->values + at,
                                    .count = stored[i].count };
        memcpy(t->shape, self->need[i].shape, sizeof t->shape);
        at += (t->count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    return ERR_OK;
}

static void digest_floats(struct digest_state *state, const float *values, size_t count)
{
    uint8_t bytes[4096];

    for (size_t done = 0; done < count;) {
        size_t part = count - done < sizeof bytes / 4 ? count - done : sizeof bytes / 4;

        safetensors_put_floats(bytes, values + done, part);
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
    digest_add(state, text, arch_text(self, text));
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

/* ---- in and out ---- */

enum err_code model_parse(const void *data, size_t len, struct model **out, struct err *e)
{
    struct container *file = NULL;
    struct model *self = NULL;
    enum err_code rc = ERR_OK;

    *out = NULL;
    rc = container_parse(data, len, &file, e);
    if (rc)
        goto done;
    self = calloc(1, sizeof *self);
    if (!self) {
        rc = err_set(e, ERR_NOMEM, "no memory for a model");
        goto done;
    }
    self->file_word = container_word(file);
    self->notes = container_take_notes(file);
    rc = read_arch(self, e);
    if (!rc && self->arch == MODEL_STYLEGAN1)
        rc = check_lod(file, e);
    if (rc)
        goto done;
    self->count = list_tensors(self, self->need);
    rc = copy_tensors(self, file, e);
    if (rc)
        goto done;
    fill_facts(self);
    rc = digest_model(self, &self->facts.digest, e);
    if (rc)
        goto done;
    *out = self;
    self = NULL;
done:
    model_destroy(&self);
    container_destroy(&file);
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

void model_drop_values(struct model *self)
{
    free(self->values);
    self->values = NULL;
    for (size_t i = 0; i < self->count; i++)
        self->tensor[i].data = NULL;
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

enum err_code model_format(const struct model *self, uint8_t **out, size_t *len, struct err *e)
{
    struct safetensors_item items[ARCH_TENSORS_MAX];

    *out = NULL;
    if (!self->values)
        return err_set(e, ERR_BUG, "the model's values were dropped");
    for (size_t i = 0; i < self->count; i++) {
        const struct model_tensor *t = &self->tensor[i];

        items[i] = (struct safetensors_item){ t->name, t->rank, t->shape, t->data, t->count };
    }
    return safetensors_format(self->notes, items, self->count, out, len, e);
}

/* ---- what it says ---- */

enum model_arch model_arch(const struct model *self)
{
    return self->arch;
}

const char *model_arch_word(const struct model *self)
{
    return ARCH_WORDS[self->arch];
}

const char *model_file_word(const struct model *self)
{
    return self->file_word;
}

const struct stylegan1_arch *model_stylegan1(const struct model *self)
{
    return self->arch == MODEL_STYLEGAN1 ? &self->stylegan1 : NULL;
}

const struct stylegan2_arch *model_stylegan2(const struct model *self)
{
    return self->arch == MODEL_STYLEGAN2 ? &self->stylegan2 : NULL;
}

const struct stylegan3_arch *model_stylegan3(const struct model *self)
{
    return self->arch == MODEL_STYLEGAN3 ? &self->stylegan3 : NULL;
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
