#include "client/loose.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct loose {
    const char *folder;             /* borrowed */
    int fd;                         /* of the folder */
    char **names;                   /* [count], ours, as they were given */
    size_t count, room;
    int64_t bytes;
};

enum err_code loose_create(const char *folder, struct loose **out, struct err *e)
{
    struct loose *self = calloc(1, sizeof *self);

    *out = NULL;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for a folder of pictures");
    self->folder = folder;
    self->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->fd < 0) {
        free(self);
        return err_set(e, ERR_FILE, "could not open \"%s\": %s", folder, file_reason(errno));
    }
    *out = self;
    return ERR_OK;
}

/* "psi0.7/.seed0000.jpg.tmp" of "psi0.7/seed0000.jpg". False: too long. */
static bool temp_of(const char *name, char temp[PATH_MAX])
{
    const char *slash = strrchr(name, '/');
    int folder_len = slash ? (int)(slash - name) + 1 : 0;

    return snprintf(temp, PATH_MAX, "%.*s.%s.tmp", folder_len, name, name + folder_len) < PATH_MAX;
}

static enum err_code say(const struct loose *self, const char *name, int errnum, struct err *e)
{
    return err_set(e, ERR_FILE, "could not write \"%s/%s\": %s", self->folder, name,
                   file_reason(errnum));
}

/* Room for one more name, so that what is written is never forgotten. */
static enum err_code remember(struct loose *self, const char *name, struct err *e)
{
    if (self->count == self->room) {
        size_t room = self->room ? 2 * self->room : 256;
        char **grown = realloc(self->names, room * sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory for %zu names", room);
        self->names = grown;
        self->room = room;
    }
    self->names[self->count] = strdup(name);
    if (!self->names[self->count])
        return err_set(e, ERR_NOMEM, "no memory for a name");
    self->count++;
    return ERR_OK;
}

static void make_subfolder(const struct loose *self, const char *name)
{
    const char *slash = strrchr(name, '/');
    char path[PATH_MAX];

    if (slash && snprintf(path, sizeof path, "%.*s", (int)(slash - name), name) < PATH_MAX)
        mkdirat(self->fd, path, 0777);           /* the open below says what is wrong */
}

enum err_code loose_add(struct loose *self, const char *name, const void *data, size_t len,
                        struct err *e)
{
    char temp[PATH_MAX];
    enum err_code rc;
    int fd, errnum;

    if (!temp_of(name, temp))
        return say(self, name, ENAMETOOLONG, e);
    rc = remember(self, name, e);
    if (rc)
        return rc;
    make_subfolder(self, name);
    unlinkat(self->fd, temp, 0);
    fd = openat(self->fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return say(self, name, errno, e);
    errnum = file_write_all(fd, data, len);
    if (close(fd) != 0 && !errnum)
        errnum = errno;
    self->bytes += (int64_t)len;
    return errnum ? say(self, name, errnum, e) : ERR_OK;
}

static void release(struct loose **self)
{
    struct loose *s = *self;

    for (size_t i = 0; i < s->count; i++)
        free(s->names[i]);
    free(s->names);
    close(s->fd);
    free(s);
    *self = NULL;
}

/* Those from index on. */
static void remove_temps(struct loose *self, size_t index)
{
    char temp[PATH_MAX];

    for (size_t i = index; i < self->count; i++)
        if (temp_of(self->names[i], temp))
            unlinkat(self->fd, temp, 0);
}

void loose_abandon(struct loose **self)
{
    if (!*self)
        return;
    remove_temps(*self, 0);
    release(self);
}

enum err_code loose_finish(struct loose **self, int64_t *bytes, struct err *e)
{
    struct loose *s = *self;
    enum err_code rc = ERR_OK;
    size_t named = 0;

    *bytes = s->bytes;
    /* One for all files of the disk, and it tells of writes that failed. */
    if (syncfs(s->fd) != 0)
        rc = say(s, "", errno, e);
    for (; !rc && named < s->count; named++) {
        char temp[PATH_MAX];

        if (!temp_of(s->names[named], temp) ||
            renameat(s->fd, temp, s->fd, s->names[named]) != 0) {
            rc = say(s, s->names[named], errno, e);
            break;
        }
    }
    if (!rc && syncfs(s->fd) != 0)               /* the names */
        rc = say(s, "", errno, e);
    if (rc)
        remove_temps(s, named);
    release(self);
    return rc;
}
