#include "client/shard.h"

#include "base/file.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TAR_RECORD = 10240,             /* what tar pads a file to */
    BLOCK_BYTES = 100 * TAR_RECORD, /* written at once */
    START_SYNC_BYTES = 8 << 20,     /* handed to the disk while the next ones come */
};

struct shard {
    struct archive *tar;
    struct archive_entry *entry;
    struct digest_state *hash;
    int fd;
    bool is_file;                   /* fd, temp and path are ours */
    int errnum;                     /* of the write that failed; 0: none */
    bool is_given_up;               /* what still comes goes nowhere */
    int64_t bytes, handed;          /* written; of those, handed to the disk */
    char folder[PATH_MAX], temp[PATH_MAX], path[PATH_MAX];
};

/* ---- what libarchive writes ---- */

static void hand_to_disk(struct shard *self)
{
    if (!self->is_file || self->bytes - self->handed < START_SYNC_BYTES)
        return;
    /* Only a hint: the sync at the end then waits for little. */
    sync_file_range(self->fd, self->handed, self->bytes - self->handed, SYNC_FILE_RANGE_WRITE);
    self->handed = self->bytes;
}

static la_ssize_t on_write(struct archive *tar, void *arg, const void *data, size_t len)
{
    struct shard *self = arg;
    const uint8_t *at = data;
    size_t left = len;

    (void)tar;
    while (left > 0 && !self->is_given_up) {
        ssize_t put = write(self->fd, at, left);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {               /* told by errnum: libarchive would lose its memory */
            self->errnum = errno;
            self->is_given_up = true;
            break;
        }
        at += put;
        left -= (size_t)put;
    }
    digest_add(self->hash, data, len);
    self->bytes += (int64_t)len;
    hand_to_disk(self);
    return (la_ssize_t)len;
}

static enum err_code say(const struct shard *self, int errnum, struct err *e)
{
    const char *name = self->is_file ? self->path : "standard output";

    if (errnum == EPIPE)
        return err_set(e, ERR_FILE, "could not write to %s: nobody reads it any more", name);
    return err_set(e, ERR_FILE, "could not write \"%s\": %s", name, file_reason(errnum));
}

static enum err_code open_tar(struct shard *self, struct err *e)
{
    self->tar = archive_write_new();
    self->entry = archive_entry_new();
    self->hash = digest_create();
    if (!self->tar || !self->entry || !self->hash)
        return err_set(e, ERR_NOMEM, "no memory for a tar file");
    if (archive_write_set_format_ustar(self->tar) != ARCHIVE_OK ||
        archive_write_add_filter_none(self->tar) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(self->tar, BLOCK_BYTES) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(self->tar, TAR_RECORD) != ARCHIVE_OK ||
        archive_write_open(self->tar, self, NULL, on_write, NULL) != ARCHIVE_OK)
        return err_set(e, ERR_BUG, "could not begin a tar file: %.100s",
                       archive_error_string(self->tar));
    return ERR_OK;
}

/* ---- life ---- */

static enum err_code open_temp(struct shard *self, const char *folder, const char *name,
                               struct err *e)
{
    if (snprintf(self->folder, sizeof self->folder, "%s", folder) >= (int)sizeof self->folder ||
        snprintf(self->path, sizeof self->path, "%s/%s", folder, name) >=
            (int)sizeof self->path ||
        snprintf(self->temp, sizeof self->temp, "%s/.%s.tmp", folder, name) >=
            (int)sizeof self->temp)
        return err_set(e, ERR_FILE, "the name of the output folder is too long");
    unlink(self->temp);
    self->fd = open(self->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    return self->fd < 0 ? say(self, errno, e) : ERR_OK;
}

static enum err_code take_self(struct shard **out, struct err *e)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return err_set(e, ERR_NOMEM, "no memory for a shard");
    (*out)->fd = -1;
    return ERR_OK;
}

enum err_code shard_create(const char *folder, const char *name, struct shard **out,
                           struct err *e)
{
    enum err_code rc = take_self(out, e);

    if (rc)
        return rc;
    (*out)->is_file = true;
    rc = open_temp(*out, folder, name, e);
    if (!rc)
        rc = open_tar(*out, e);
    if (rc)
        shard_abandon(out);
    return rc;
}

enum err_code shard_create_stream(int fd, struct shard **out, struct err *e)
{
    enum err_code rc = take_self(out, e);

    if (rc)
        return rc;
    (*out)->fd = fd;
    rc = open_tar(*out, e);
    if (rc)
        shard_abandon(out);
    return rc;
}

/* Frees all but what is on the disk. */
static void release(struct shard **self)
{
    struct shard *s = *self;

    /* libarchive closes what it frees, and leaks what it is kept from closing. */
    s->is_given_up = true;
    archive_write_free(s->tar);
    archive_entry_free(s->entry);
    digest_finish(&s->hash);
    if (s->is_file && s->fd >= 0)
        close(s->fd);
    free(s);
    *self = NULL;
}

void shard_abandon(struct shard **self)
{
    if (!*self)
        return;
    if ((*self)->is_file && (*self)->fd >= 0)
        unlink((*self)->temp);
    release(self);
}

/* ---- members ---- */

/* libarchive's own words name no file. */
static enum err_code fail(const struct shard *self, struct err *e)
{
    if (self->errnum)
        return say(self, self->errnum, e);
    return err_set(e, ERR_BUG, "could not write a tar file: %.100s",
                   archive_error_string(self->tar));
}

enum err_code shard_add(struct shard *self, const char *name, const void *data, size_t len,
                        struct err *e)
{
    if (strlen(name) > SHARD_NAME_MAX)
        return err_set(e, ERR_RANGE, "\"%.40s...\" is too long a name for a tar file", name);
    archive_entry_clear(self->entry);
    archive_entry_set_pathname(self->entry, name);
    archive_entry_set_filetype(self->entry, AE_IFREG);
    archive_entry_set_perm(self->entry, 0644);
    archive_entry_set_size(self->entry, (la_int64_t)len);
    archive_entry_set_mtime(self->entry, 0, 0);
    archive_entry_set_uid(self->entry, 0);
    archive_entry_set_gid(self->entry, 0);
    if (archive_write_header(self->tar, self->entry) != ARCHIVE_OK ||
        (len > 0 && archive_write_data(self->tar, data, len) != (la_ssize_t)len) ||
        archive_write_finish_entry(self->tar) != ARCHIVE_OK || self->errnum)
        return fail(self, e);
    return ERR_OK;
}

/* ---- the end ---- */

/* The rename lasts through a power cut once the folder is on the disk; some file systems refuse to
 * sync one, and the file is whole all the same. */
static void sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!fsync(fd);
        close(fd);
    }
}

static int publish(struct shard *self)
{
    int errnum = fsync(self->fd) != 0 ? errno : 0;

    if (close(self->fd) != 0 && !errnum)         /* a network's disk may be full only here */
        errnum = errno;
    self->fd = -1;
    if (!errnum && rename(self->temp, self->path) != 0)
        errnum = errno;
    if (errnum)
        unlink(self->temp);
    else
        sync_folder(self->folder);
    return errnum;
}

enum err_code shard_finish(struct shard **self, const struct digest *expected,
                           struct shard_sum *sum, struct err *e)
{
    struct shard *s = *self;
    enum err_code rc = ERR_OK;
    int errnum;

    *sum = (struct shard_sum){ .bytes = 0 };
    if (archive_write_close(s->tar) != ARCHIVE_OK || s->errnum) {
        rc = fail(s, e);
        shard_abandon(self);
        return rc;
    }
    sum->bytes = s->bytes;
    sum->sha256 = digest_finish(&s->hash);
    if (expected && !digest_equal(expected, &sum->sha256)) {
        rc = err_set(e, ERR_NOT_REPRODUCIBLE, "\"%.120s\" came out with other bytes than before",
                     s->path);
        shard_abandon(self);
        return rc;
    }
    errnum = s->is_file ? publish(s) : 0;
    if (errnum)
        rc = say(s, errnum, e);
    release(self);
    return rc;
}
