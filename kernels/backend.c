#include "kernels/backend.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

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
