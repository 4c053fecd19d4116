#include "kernels/backend.h"

#include "kernels/model.h"

#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, BATCH_MAX = 4096 };

/* A name becomes part of a path: small letters and digits only. */
static bool is_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");

    return len > 0 && len < BACKEND_NAME_MAX && name[len] == '\0';
}

/* The folder of the running program; false where the system does not say. */
static bool program_folder(char out[static PATH_BYTES])
{
    ssize_t len = readlink("/proc/self/exe", out, PATH_BYTES - 1);

    if (len <= 0 || len >= PATH_BYTES - 1)
        return false;
    out[len] = '\0';
    char *slash = strrchr(out, '/');

    if (!slash)
        return false;
    *slash = '\0';
    return true;
}

/* Opens a shared object that lies at path and takes its table. It stays open as long as the program
 * runs: the table is static. */
static enum err_code load(const char *path, const char *name, const struct backend **out,
                          struct err *e)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct backend *found = handle ? dlsym(handle, "seedpress_backend") : NULL;
    enum err_code rc = ERR_OK;

    if (!found) {
        const char *why = dlerror();

        rc = err_set(e, ERR_UNSUPPORTED, "could not open backend %s: %.150s", name,
                     why ? why : "it has no table");
    }
    if (found && found->abi != BACKEND_ABI)
        rc = err_set(e, ERR_UNSUPPORTED,
                     "backend %s is of another version (interface %d, not %d): install the one "
                     "that came with this program", name, found->abi, BACKEND_ABI);
    else if (found && strcmp(found->name, name) != 0)
        rc = err_set(e, ERR_UNSUPPORTED, "the file of backend %s holds another one", name);
    if (!rc)
        *out = found;
    else if (handle)
        dlclose(handle);
    return rc;
}

static enum err_code find_shared(const char *name, const struct backend **out, struct err *e)
{
    static const char *const PLACES[] = { "", "/../lib/seedpress" };
    char folder[PATH_BYTES], path[PATH_BYTES + 128];

    if (!program_folder(folder))
        return err_set(e, ERR_UNSUPPORTED, "backend %s: the program's own folder is not known",
                       name);
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        snprintf(path, sizeof path, "%s%s/libseedpress-%s.so", folder, PLACES[i], name);
        if (access(path, F_OK) == 0)
            return load(path, name, out, e);
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "there is no backend \"%s\" here: libseedpress-%s.so lies neither beside this "
                   "program nor in ../lib/seedpress; use the backend cpu", name, name);
}

static bool opens(const struct backend *backend)
{
    struct engine *engine = NULL;

    if (backend->open(&(struct backend_options){ 0 }, &engine, NULL))
        return false;
    backend->close(&engine);
    return true;
}

enum err_code backend_find(const char *name, const struct backend **out, struct err *e)
{
    *out = NULL;
    if (!is_name(name))
        return err_set(e, ERR_INVALID, "\"%.40s\" is no backend's name; auto, cpu or cuda", name);
    if (strcmp(name, "auto") == 0) {
        if (find_shared("cuda", out, NULL) || !opens(*out))
            *out = &backend_cpu;
        return ERR_OK;
    }
    if (strcmp(name, "cpu") == 0) {
        *out = &backend_cpu;
        return ERR_OK;
    }
    return find_shared(name, out, e);
}

struct sample sample_of_recipe(const struct recipe *recipe)
{
    return (struct sample){
        .seed = recipe->seed,
        .psi = recipe_psi_float(recipe->psi),
        .cutoff = recipe->cutoff,
        .class_index = recipe->class_index,
        .noise = recipe->noise,
        .noise_seed = recipe->noise_seed,
        .transform = recipe->transform,
    };
}

static enum err_code check_sample(const struct sample *s, const struct model_facts *facts, int index,
                                  struct err *e)
{
    if (!isfinite(s->psi))
        return err_set(e, ERR_RANGE, "sample %d: psi is not a finite number", index);
    if (s->cutoff < 0 || s->cutoff > facts->num_ws)
        return err_set(e, ERR_RANGE, "sample %d: cutoff %d is not 0 to %d", index, s->cutoff,
                       facts->num_ws);
    if (facts->c_dim > 0 && s->class_index < 0)
        return err_set(e, ERR_CLASS_REQUIRED, "sample %d: this model needs a class, 0 to %d", index,
                       facts->c_dim - 1);
    if (facts->c_dim > 0 && s->class_index >= facts->c_dim)
        return err_set(e, ERR_RANGE, "sample %d: class %d is not 0 to %d", index, s->class_index,
                       facts->c_dim - 1);
    if ((unsigned)s->noise >= RECIPE_NOISE_COUNT || !(facts->noise_modes >> s->noise & 1))
        return err_set(e, ERR_UNSUPPORTED, "sample %d: the model has no such noise", index);
    if (s->transform.kind != RECIPE_TRANSFORM_NONE && !facts->has_transform)
        return err_set(e, ERR_UNSUPPORTED, "sample %d: the model has no transform", index);
    return ERR_OK;
}

enum err_code load_check(const struct model *model, int max_batch, struct err *e)
{
    if (max_batch < 1 || max_batch > BATCH_MAX)
        return err_set(e, ERR_RANGE, "a batch of %d; 1 to %d are possible", max_batch, BATCH_MAX);
    if (model_tensor_count(model) > 0 && !model_tensor_at(model, 0)->data)
        return err_set(e, ERR_BUG, "the model's values have been dropped: it was loaded before");
    return ERR_OK;
}

enum err_code batch_check(const struct sample *samples, int count, int max_batch,
                          const struct model_facts *facts, struct err *e)
{
    enum err_code rc = ERR_OK;

    if (count < 0 || count > max_batch)
        return err_set(e, ERR_RANGE, "a batch of %d; the net was loaded for %d", count, max_batch);
    for (int i = 0; !rc && i < count; i++)
        rc = check_sample(&samples[i], facts, i, e);
    return rc;
}
