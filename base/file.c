#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_READ_BYTES = 64 * 1024 };

/* errno's own text is the last resort. */
const char *file_reason(int errnum)
{
    switch (errnum) {
    case ENOSPC:
        return "the disk is full";
    case EDQUOT:
        return "the disk quota is used up";
    case EFBIG:
        return "the file would be larger than allowed";
    case EACCES:
    case EPERM:
        return "no permission";
    case EROFS:
        return "the disk is read-only";
    case ENOENT:
        return "no such file or folder";
    case ENOTDIR:
        return "a part of the path is not a folder";
    case EISDIR:
        return "it is a folder";
    case ENAMETOOLONG:
        return "the name is too long";
    default:
        return strerror(errnum);
    }
}

enum err_code file_read(const char *path, size_t max_bytes, uint8_t **out, size_t *len,
                        struct err *e)
{
    enum err_code rc = ERR_OK;
    uint8_t *data = NULL;
    size_t have = 0, room = 0;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    *out = NULL;
    *len = 0;
    if (fd < 0) {
        rc = err_set(e, ERR_FILE, "could not open \"%s\": %s", path, file_reason(errno));
        goto done;
    }
    /* The size is a hint for the first buffer only: files grow and shrink while they are read. One
     * byte more than it, so that the read that finds the end needs no second buffer. */
    room = fstat(fd, &st) == 0 && st.st_size > 0 && (uintmax_t)st.st_size <= max_bytes
               ? (size_t)st.st_size + 1
               : FIRST_READ_BYTES;
    for (;;) {
        if (!data || have == room) {
            size_t next = !data ? room : room > max_bytes / 2 ? max_bytes + 1 : room * 2;
            uint8_t *grown = realloc(data, next + 1);   /* + 1: the NUL */

            if (!grown) {
                rc = err_set(e, ERR_NOMEM, "no memory for %zu bytes of \"%s\"", next, path);
                goto done;
            }
            data = grown;
            room = next;
        }
        ssize_t got = read(fd, data + have, room - have);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            rc = err_set(e, ERR_FILE, "could not read \"%s\": %s", path, file_reason(errno));
            goto done;
        }
        if (got == 0)
            break;
        have += (size_t)got;
        if (have > max_bytes) {
            rc = err_set(e, ERR_FILE, "could not read \"%s\": it is larger than %zu bytes", path,
                         max_bytes);
            goto done;
        }
    }
    data[have] = '\0';
    *out = data;
    *len = have;
    data = NULL;                     /* now the caller's */
done:
    free(data);
    if (fd >= 0)
        close(fd);
    return rc;
}

int file_write_all(int fd, const void *bytes, size_t len)
{
    const uint8_t *data = bytes;

    while (len > 0) {
        ssize_t put = write(fd, data, len);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return errno;
        data += put;
        len -= (size_t)put;
    }
    return 0;
}

/* Opens a new file beside path, with a name that nobody else has: hidden, so that a glob for
 * pictures never meets it. Gives the descriptor, or -1 with errno set. */
static int open_beside(const char *path, char temp[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    int folder_len = slash ? (int)(slash - path) + 1 : 0;

    for (int attempt = 0; attempt < 16; attempt++) {
        uint64_t nonce;

        if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
            return -1;
        int len = snprintf(temp, PATH_MAX, "%.*s.seedpress-%016" PRIx64 ".tmp", folder_len, path,
                           nonce);

        if (len >= PATH_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* The rename itself lasts through a power cut only once its folder is on the disk. Some file
 * systems refuse to sync a folder; the file is whole all the same. */
static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];
    int fd;

    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!fsync(fd);
        close(fd);
    }
}

static int replace_file(const char *path, const void *data, size_t len)
{
    char temp[PATH_MAX];
    int fd = open_beside(path, temp);
    int errnum = 0;

    if (fd < 0)
        return errno;
    errnum = file_write_all(fd, data, len);
    if (!errnum && fsync(fd) != 0)
        errnum = errno;
    if (close(fd) != 0 && !errnum)   /* network file systems tell of a full disk only here */
        errnum = errno;
    if (!errnum && rename(temp, path) != 0)
        errnum = errno;
    if (errnum)
        unlink(temp);
    else
        sync_folder_of(path);
    return errnum;
}

/* A rename would put a file where the pipe or the device is. */
static int write_through(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int errnum;

    if (fd < 0)
        return errno;
    errnum = file_write_all(fd, data, len);
    if (close(fd) != 0 && !errnum)
        errnum = errno;
    return errnum;
}

enum err_code file_write_atomic(const char *path, const void *data, size_t len, struct err *e)
{
    struct stat st;
    bool exists = stat(path, &st) == 0;
    int errnum;

    if (exists && S_ISDIR(st.st_mode)) {
        errnum = EISDIR;
    } else if (exists && !S_ISREG(st.st_mode)) {
        errnum = write_through(path, data, len);
    } else {
        char *target = exists ? realpath(path, NULL) : NULL;   /* past symbolic links */

        errnum = replace_file(target ? target : path, data, len);
        free(target);
    }
    if (errnum == ENOENT)
        return err_set(e, ERR_FILE, "could not write \"%s\": its folder does not exist", path);
    return errnum ? err_set(e, ERR_FILE, "could not write \"%s\": %s", path, file_reason(errnum))
                  : ERR_OK;
}
