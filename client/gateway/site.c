#include "client/gateway/site.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct site {
    int folder;
};

/* What is not here is not given out: a folder may hold more than pages. */
static const struct {
    const char *ending, *type;
} TYPES[] = {
    { ".html", "text/html; charset=utf-8" },
    { ".css", "text/css; charset=utf-8" },
    { ".js", "text/javascript; charset=utf-8" },
    { ".mjs", "text/javascript; charset=utf-8" },
    { ".json", "application/json" },
    { ".svg", "image/svg+xml" },
    { ".png", "image/png" },
    { ".jpg", "image/jpeg" },
    { ".ico", "image/x-icon" },
    { ".webmanifest", "application/manifest+json" },
    { ".txt", "text/plain; charset=utf-8" },
};

/* -1 with errno. The kernel resolves links, and refuses what leads out. */
static int open_beneath(int folder, const char *path, uint64_t flags)
{
    struct open_how how = { .flags = flags | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };

    return (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
}

enum err_code site_create(const char *folder, struct site **out, struct err *e)
{
    struct site *self = malloc(sizeof *self);
    int probe;

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for the site \"%.80s\"", folder);
    self->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self->folder < 0) {
        err_set(e, ERR_FILE, "could not open the folder \"%.80s\": %s", folder,
                file_reason(errno));
        free(self);
        return ERR_FILE;
    }
    probe = open_beneath(self->folder, ".", O_PATH);
    if (probe < 0) {
        err_set(e, ERR_UNSUPPORTED, "could not look into \"%.80s\" with openat2: %s; Linux 5.6 "
                "has it, and some containers forbid it", folder, file_reason(errno));
        site_destroy(&self);
        return ERR_UNSUPPORTED;
    }
    close(probe);
    *out = self;
    return ERR_OK;
}

void site_destroy(struct site **self)
{
    if (*self)
        close((*self)->folder);
    free(*self);
    *self = NULL;
}

static const char *type_of(const char *path)
{
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot && i < sizeof TYPES / sizeof TYPES[0]; i++)
        if (strcmp(dot, TYPES[i].ending) == 0)
            return TYPES[i].type;
    return NULL;
}

/* Whether every name in it may be asked for: "/a/b.html" and "/a/". Names that are empty would make
 * "//host/" of a folder, which browsers take for another host. */
static bool is_proper(const char *path)
{
    size_t len = strnlen(path, SITE_PATH_MAX);

    if (len == SITE_PATH_MAX || path[0] != '/')
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)path[i];

        if (c < 0x20 || c == 0x7f || c == '\\')
            return false;
        if (c == '/' && (path[i + 1] == '.' || path[i + 1] == '/'))
            return false;
    }
    return true;
}

static void describe(const struct stat *st, const char *type, struct site_file *out)
{
    struct tm tm;

    out->len = st->st_size;
    out->type = type;
    snprintf(out->etag, sizeof out->etag, "W/\"%" PRIx64 "-%" PRIx64 ".%lx\"",
             (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    gmtime_r(&st->st_mtim.tv_sec, &tm);
    strftime(out->modified, sizeof out->modified, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

enum site_answer site_open(const struct site *self, const char *path, struct site_file *out)
{
    char name[SITE_PATH_MAX + sizeof "index.html"];
    const char *type;
    struct stat st;

    if (!is_proper(path))
        return SITE_NOT_FOUND;
    snprintf(name, sizeof name, "%s%s", path + 1,
             path[strlen(path) - 1] == '/' ? "index.html" : "");
    /* A pipe would wait for its other end. */
    out->fd = open_beneath(self->folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (out->fd < 0)
        return SITE_NOT_FOUND;
    type = type_of(name);
    if (fstat(out->fd, &st))
        st.st_mode = 0;
    if (S_ISREG(st.st_mode) && type && st.st_size <= SITE_FILE_MAX) {
        describe(&st, type, out);
        return SITE_FILE;
    }
    close(out->fd);
    out->fd = -1;
    return S_ISDIR(st.st_mode) ? SITE_FOLDER : SITE_NOT_FOUND;
}
