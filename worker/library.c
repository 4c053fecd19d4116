#include "worker/library.h"

#include "base/clock.h"
#include "base/log.h"
#include "proto/message.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const SUFFIXES[] = { ".safetensors", ".pkl" };

/* Bytes of file's name before a suffix that models have; 0: it is no model's. */
static size_t name_len(const char *file)
{
    size_t len = strlen(file);

    for (size_t i = 0; i < sizeof SUFFIXES / sizeof SUFFIXES[0]; i++) {
        size_t tail = strlen(SUFFIXES[i]);

        if (len > tail && strcmp(file + len - tail, SUFFIXES[i]) == 0)
            return len - tail;
    }
    return 0;
}

static int is_model_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && name_len(entry->d_name) > 0;
}

static bool has_name(const struct library *self, const char *name)
{
    for (size_t i = 0; i < self->count; i++)
        if (strcmp(self->models[i].name, name) == 0)
            return true;
    return false;
}

int64_t model_cost_us(const struct loaded_model *self)
{
    return atomic_load(&self->cost_us);
}

void model_measured(struct loaded_model *self, int64_t batch_us, size_t pictures)
{
    int64_t now = batch_us / (int64_t)pictures, before = model_cost_us(self);

    atomic_store(&self->cost_us, before ? (7 * before + now) / 8 : now);
}

/* Renders one picture: proof that the model works on this engine, and the first measure. */
static enum err_code warm_up(struct library *self, struct loaded_model *m, struct err *e)
{
    struct sample sample = { .psi = 0.7f, .cutoff = m->facts->num_ws,
                             .class_index = m->facts->c_dim ? 0 : -1 };
    struct output_batch batch = { m->net, m->facts, &sample, &(int){ 90 }, 1 };
    struct output output;
    int64_t from_us;
    enum err_code rc = output_init(&output, self->backend, self->engine, self->kind,
                                   output_bytes(self->kind, m->facts), e);

    sample.noise = m->facts->noise_modes & 1u << RECIPE_NOISE_CONST ? RECIPE_NOISE_CONST
                                                                    : RECIPE_NOISE_NONE;
    /* a device's first render loads code: its second one is the measure */
    if (!rc && self->backend->pin)
        rc = output_render(&output, &batch, NULL, e);
    from_us = clock_us();
    if (!rc)
        rc = output_render(&output, &batch, NULL, e);
    if (!rc)
        model_measured(m, clock_us() - from_us, 1);
    output_release(&output);
    return rc;
}

static enum err_code load(struct library *self, const char *dir, const char *file, int batch_max,
                          struct err *e)
{
    struct loaded_model m = { .cost_us = 0 };
    const struct loaded_model *twin;
    char path[4096];
    enum err_code rc;

    if (self->count == MESSAGE_MODELS_MAX)
        return err_set(e, ERR_RANGE, "at most %d models are served", MESSAGE_MODELS_MAX);
    if (!recipe_name_is_valid(file, name_len(file)))
        return err_set(e, ERR_INVALID, "a model's name is 1..%d of A-Z a-z 0-9 . _ -; rename the "
                       "file", RECIPE_NAME_MAX);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, file) >= sizeof path)
        return err_set(e, ERR_FILE, "path \"%.80s/...\" is too long", dir);
    snprintf(m.name, sizeof m.name, "%.*s", (int)name_len(file), file);
    if ((rc = model_open(path, &m.model, e)))
        return rc;
    m.facts = model_facts(m.model);
    if ((twin = library_find(self, &m.facts->digest)))
        rc = err_set(e, ERR_CONFLICT, "the same model is served as \"%s\"", twin->name);
    else if (has_name(self, m.name))
        rc = err_set(e, ERR_CONFLICT, "another model has the name \"%s\"", m.name);
    if (!rc)
        rc = self->backend->load(self->engine, m.model, batch_max, &m.net, e);
    if (!rc && (rc = warm_up(self, &m, e)))
        self->backend->unload(&m.net);
    if (rc) {
        model_destroy(&m.model);
        return rc;
    }
    size_t picture = output_bytes(self->kind, m.facts);

    self->picture_max = picture > self->picture_max ? picture : self->picture_max;
    self->models[self->count++] = m;
    log_event(LOG_INFO, "model_loaded", "name=%s digest=%s arch=%s size=%dx%d ms_a_picture=%lld",
              m.name, digest_hex(&m.facts->digest).text, model_arch_word(m.model), m.facts->width,
              m.facts->height, (long long)(model_cost_us(&m) / 1000));
    return ERR_OK;
}

enum err_code library_open(const char *dir, const struct backend *backend, struct engine *engine,
                           int batch_max, struct library *out, struct err *e)
{
    struct dirent **entries;
    int count = scandir(dir, &entries, is_model_file, alphasort);
    struct err why;

    *out = (struct library){ .backend = backend, .engine = engine,
                             .kind = output_kind_of(backend) };
    if (count < 0)
        return err_set(e, ERR_FILE, "could not read models folder \"%.120s\": %s", dir,
                       strerror(errno));
    out->models = calloc((size_t)count + 1, sizeof *out->models);
    for (int i = 0; i < count; i++) {
        if (out->models && load(out, dir, entries[i]->d_name, batch_max, &why))
            log_event(LOG_ERROR, "model_refused", "file=%s reason=\"%s\"", entries[i]->d_name,
                      why.msg);
        free(entries[i]);
    }
    free(entries);
    if (out->count == 0) {
        library_close(out);
        return err_set(e, ERR_FILE, "no usable model (*.safetensors, *.pkl) in folder \"%.120s\"",
                       dir);
    }
    return ERR_OK;
}

void library_close(struct library *self)
{
    for (size_t i = 0; i < self->count; i++) {
        self->backend->unload(&self->models[i].net);
        model_destroy(&self->models[i].model);
    }
    free(self->models);
    *self = (struct library){ 0 };
}

struct loaded_model *library_find(const struct library *self, const struct digest *digest)
{
    for (size_t i = 0; i < self->count; i++)
        if (digest_equal(&self->models[i].facts->digest, digest))
            return &self->models[i];
    return NULL;
}
