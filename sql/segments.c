#include "sql/segments.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { HEAD_BYTES = 64, ALIGN = 8, VERSION = 1 };

static const char MARK[] = "seedpress-segments";
static const char FILE_MAGIC[16] = "seedpress-seg\n";
static const char RECORD_MAGIC[4] = { 's', 'p', 'r', 'c' };

struct file_head {
    char magic[16];
    uint32_t version, id;
    uint8_t zeros[40];
};
struct record_head {
    char magic[4];
    uint32_t len;
    struct digest key, file_sha;
};
_Static_assert(sizeof(struct file_head) == HEAD_BYTES, "as segments.h tells it");
_Static_assert(sizeof(struct record_head) == 72, "as segments.h tells it");

struct open_file {
    int fd;                         /* -1: free */
    int32_t segment;
    uint64_t used;                  /* when, in look-ups: the oldest is closed for another */
};

struct segments {
    char *folder;
    int64_t file_bytes;
    int fd;                         /* of the segment that is written; -1: none */
    int32_t segment;
    int64_t end;                    /* where the next record begins */
    uint64_t look_ups;
    struct open_file open[SEGMENTS_OPEN_MAX];
};

static int64_t padded(size_t len)
{
    return (int64_t)((sizeof(struct record_head) + len + ALIGN - 1) / ALIGN * ALIGN);
}

static enum err_code path_of(const char *folder, int32_t segment, char path[static PATH_MAX],
                             struct err *e)
{
    if (snprintf(path, PATH_MAX, "%s/%010d.seg", folder, (int)segment) < PATH_MAX)
        return ERR_OK;
    return err_set(e, ERR_FILE, "the name of the folder of segments is too long");
}

static enum err_code fail(struct err *e, const char *doing, int32_t segment, int errnum)
{
    return err_set(e, ERR_FILE, "could not %s segment %d: %s", doing, (int)segment,
                   strerror(errnum));
}

/* ---- the folder ---- */

enum err_code segments_open(const char *folder, enum segments_use use, int64_t file_bytes,
                            struct segments **out, struct err *e)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct segments *self = NULL;

    *out = NULL;
    if (fd < 0)
        return err_set(e, ERR_FILE, "could not open the folder of segments \"%s\": %s", folder,
                       strerror(errno));
    close(fd);
    if (access(folder, use == SEGMENTS_WRITE ? R_OK | W_OK | X_OK : R_OK | X_OK))
        return err_set(e, ERR_FILE, "the folder of segments \"%s\" is not for this user to %s: %s",
                       folder, use == SEGMENTS_WRITE ? "write to" : "read", strerror(errno));
    self = calloc(1, sizeof *self);
    if (!self || !(self->folder = strdup(folder))) {
        free(self);
        return err_set(e, ERR_NOMEM, "no memory for segments");
    }
    self->file_bytes = file_bytes ? file_bytes : SEGMENTS_FILE_BYTES;
    self->fd = -1;
    for (size_t i = 0; i < SEGMENTS_OPEN_MAX; i++)
        self->open[i].fd = -1;
    *out = self;
    return ERR_OK;
}

static void end_file(struct segments *self)
{
    if (self->fd >= 0)
        close(self->fd);            /* and with it the lock that says it is written */
    self->fd = -1;
}

void segments_close(struct segments **self)
{
    if (!*self)
        return;
    end_file(*self);
    for (size_t i = 0; i < SEGMENTS_OPEN_MAX; i++)
        if ((*self)->open[i].fd >= 0)
            close((*self)->open[i].fd);
    free((*self)->folder);
    free(*self);
    *self = NULL;
}

static int sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int errnum = fd < 0 || fsync(fd) ? errno : 0;

    if (fd >= 0)
        close(fd);
    return errnum;
}

/* ---- writing ---- */

int32_t segments_current(const struct segments *self)
{
    return self->fd >= 0 ? self->segment : 0;
}

bool segments_is_full(const struct segments *self, size_t count, size_t len)
{
    int64_t more = (int64_t)len + (int64_t)count * padded(0);

    return self->fd < 0 || (self->end > HEAD_BYTES && self->end + more > self->file_bytes);
}

/* An unmounted disk leaves an empty folder behind: what is written there would be lost to all
 * others once it is mounted again. */
enum err_code segments_check(const struct segments *self, bool is_first, struct err *e)
{
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof path, "%s/%s", self->folder, MARK) >= PATH_MAX)
        return err_set(e, ERR_FILE, "the name of the folder of segments is too long");
    fd = open(path, is_first ? O_RDONLY | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0666);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, ERR_FILE, "\"%.100s\" is not the ledger's folder of segments, it has no "
                       "\"%s\": is its disk mounted?", self->folder, MARK);
    if (fd < 0)
        return err_set(e, ERR_FILE, "could not open \"%.150s\": %s", path, strerror(errno));
    close(fd);
    return ERR_OK;
}

/* All of iov at offset; 0 or errno. Changes iov. */
static int write_all(int fd, struct iovec *iov, size_t count, int64_t offset)
{
    while (count > 0) {
        ssize_t put = pwritev(fd, iov, (int)count, offset);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? errno : ENOSPC;
        offset += put;
        for (; count > 0 && (size_t)put >= iov->iov_len; iov++, count--)
            put -= (ssize_t)iov->iov_len;
        if (count > 0) {
            iov->iov_base = (char *)iov->iov_base + put;
            iov->iov_len -= (size_t)put;
        }
    }
    return 0;
}

enum err_code segments_begin(struct segments *self, int32_t id, struct err *e)
{
    struct file_head head = { .version = htole32(VERSION), .id = htole32((uint32_t)id) };
    struct iovec iov = { &head, sizeof head };
    char path[PATH_MAX];
    int fd, errnum;
    enum err_code rc = path_of(self->folder, id, path, e);

    if (rc)
        return rc;
    memcpy(head.magic, FILE_MAGIC, sizeof head.magic);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(e, "make", id, errno);
    errnum = write_all(fd, &iov, 1, 0);
    if (!errnum && fsync(fd))
        errnum = errno;
    if (!errnum)
        errnum = sync_folder(self->folder);
    if (errnum) {
        unlink(path);
        close(fd);
        return fail(e, "make", id, errnum);
    }
    end_file(self);
    self->fd = fd;
    self->segment = id;
    self->end = HEAD_BYTES;
    return ERR_OK;
}

enum err_code segments_append(struct segments *self, const struct segments_record *records,
                              size_t count, struct segments_place *places, struct err *e)
{
    static const uint8_t ZEROS[ALIGN];
    struct record_head heads[SEGMENTS_BATCH_MAX];
    struct iovec iov[3 * SEGMENTS_BATCH_MAX];
    int64_t at = self->end;
    int errnum;

    if (count > SEGMENTS_BATCH_MAX || self->fd < 0)
        return err_set(e, ERR_BUG, "%zu records for a segment that is not begun or takes %d", count,
                       SEGMENTS_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct segments_record *r = &records[i];
        size_t rest = (size_t)padded(r->len) - sizeof heads[i] - r->len;

        if (r->len < 1 || r->len > SEGMENTS_RECORD_MAX)
            return err_set(e, ERR_BUG, "a record of %zu bytes", r->len);
        heads[i] = (struct record_head){ .len = htole32((uint32_t)r->len), .key = r->key,
                                         .file_sha = r->file_sha };
        memcpy(heads[i].magic, RECORD_MAGIC, sizeof RECORD_MAGIC);
        iov[3 * i] = (struct iovec){ &heads[i], sizeof heads[i] };
        iov[3 * i + 1] = (struct iovec){ (void *)(uintptr_t)r->data, r->len };
        iov[3 * i + 2] = (struct iovec){ (void *)(uintptr_t)ZEROS, rest };
        places[i] = (struct segments_place){ self->segment, at };
        at += padded(r->len);
    }
    errnum = write_all(self->fd, iov, 3 * count, self->end);
    if (errnum) {
        (void)!ftruncate(self->fd, self->end);  /* gives the room back; or written over */
        return fail(e, "write to", self->segment, errnum);
    }
    if (fdatasync(self->fd)) {
        /* The kernel may have dropped what it could not write and call the next sync good. */
        errnum = errno;
        end_file(self);
        return fail(e, "sync", self->segment, errnum);
    }
    self->end = at;
    return ERR_OK;
}

/* ---- removing ---- */

/* 0 or errno. */
static int write_zeros(int fd, int64_t at, int64_t len)
{
    static const uint8_t ZEROS[64 * 1024];

    while (len > 0) {
        struct iovec iov = { (void *)(uintptr_t)ZEROS,
                             len < (int64_t)sizeof ZEROS ? (size_t)len : sizeof ZEROS };
        int64_t part = (int64_t)iov.iov_len;
        int errnum = write_all(fd, &iov, 1, at);

        if (errnum)
            return errnum;
        at += part;
        len -= part;
    }
    return 0;
}

static int punch(int fd, int64_t at, int64_t len)
{
    int errnum;

    if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len))
        return 0;
    errnum = errno;
    return errnum == EOPNOTSUPP || errnum == ENOSYS ? write_zeros(fd, at, len) : errnum;
}

void segments_forget(struct segments *self, struct segments_place at,
                     const struct segments_record *record)
{
    if (self->fd >= 0 && at.segment == self->segment)
        (void)punch(self->fd, at.place, padded(record->len));
}

/* Whether head is that of a whole segment file. */
static bool is_file_head(const struct file_head *head, int32_t segment)
{
    return memcmp(head->magic, FILE_MAGIC, sizeof head->magic) == 0 &&
           le32toh(head->version) == VERSION && le32toh(head->id) == (uint32_t)segment;
}

static bool is_record_head(const struct record_head *head, const struct segments_record *record)
{
    return memcmp(head->magic, RECORD_MAGIC, sizeof head->magic) == 0 &&
           le32toh(head->len) == record->len && digest_equal(&head->key, &record->key) &&
           digest_equal(&head->file_sha, &record->file_sha);
}

/* Reads size bytes at offset; fewer only where the file ends. -1 with errno. */
static ssize_t read_all(int fd, void *out, size_t size, int64_t offset)
{
    size_t have = 0;

    while (have < size) {
        ssize_t got = pread(fd, (char *)out + have, size - have, offset + (int64_t)have);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

static bool is_place(struct segments_place at, size_t len)
{
    return at.segment > 0 && at.place >= HEAD_BYTES && at.place % ALIGN == 0 &&
           at.place < INT64_MAX - 2 * SEGMENTS_RECORD_MAX && len >= 1 &&
           len <= SEGMENTS_RECORD_MAX;
}

/* 0 or errno. */
static int erase_one(int fd, struct segments_place at, const struct segments_record *record)
{
    struct record_head head;
    ssize_t got;

    if (!is_place(at, record->len))
        return 0;
    got = read_all(fd, &head, sizeof head, at.place);
    if (got < 0)
        return errno;
    if (got < (ssize_t)sizeof head || !is_record_head(&head, record))
        return 0;
    return punch(fd, at.place, padded(record->len));
}

/* Those of one segment; 0 or errno. */
static int erase_in_file(const char *path, const struct segments_place *places,
                         const struct segments_record *records, size_t count)
{
    int fd = open(path, O_RDWR | O_CLOEXEC), errnum = 0;

    if (fd < 0)
        return errno;
    for (size_t i = 0; !errnum && i < count; i++)
        errnum = erase_one(fd, places[i], &records[i]);
    if (!errnum && fsync(fd))
        errnum = errno;
    close(fd);
    return errnum;
}

enum err_code segments_erase(const char *folder, const struct segments_place *places,
                             const struct segments_record *records, size_t count, size_t *done,
                             struct err *e)
{
    char path[PATH_MAX];
    int errnum;

    for (*done = 0; *done < count;) {
        int32_t segment = places[*done].segment;
        size_t same = 1;
        enum err_code rc = path_of(folder, segment, path, e);

        if (rc)
            return rc;
        while (*done + same < count && places[*done + same].segment == segment)
            same++;
        errnum = erase_in_file(path, &places[*done], &records[*done], same);
        if (errnum)
            return fail(e, "erase from", segment, errnum);
        *done += same;
    }
    return ERR_OK;
}

/* ---- reading ---- */

static struct open_file *oldest(struct segments *self)
{
    struct open_file *found = &self->open[0];

    for (size_t i = 1; i < SEGMENTS_OPEN_MAX; i++)
        if (self->open[i].fd < 0 || (found->fd >= 0 && self->open[i].used < found->used))
            found = &self->open[i];
    return found;
}

static void shut(struct open_file *file)
{
    close(file->fd);
    file->fd = -1;
}

static enum err_code find_file(struct segments *self, int32_t segment, struct open_file **out,
                               struct err *e)
{
    struct open_file *file;
    struct file_head head;
    char path[PATH_MAX];
    ssize_t got;
    enum err_code rc;

    self->look_ups++;
    for (size_t i = 0; i < SEGMENTS_OPEN_MAX; i++)
        if (self->open[i].fd >= 0 && self->open[i].segment == segment) {
            self->open[i].used = self->look_ups;
            *out = &self->open[i];
            return ERR_OK;
        }
    rc = path_of(self->folder, segment, path, e);
    if (rc)
        return rc;
    file = oldest(self);
    if (file->fd >= 0)
        shut(file);
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0)
        return fail(e, "open", segment, errno);
    got = read_all(file->fd, &head, sizeof head, 0);
    if (got != (ssize_t)sizeof head || !is_file_head(&head, segment)) {
        rc = got < 0 ? fail(e, "read", segment, errno)
                     : err_set(e, ERR_NOT_FOUND, "\"%.150s\" does not hold segment %d", path,
                               (int)segment);
        shut(file);
        return rc;
    }
    file->segment = segment;
    file->used = self->look_ups;
    *out = file;
    return ERR_OK;
}

/* Whether bytes, a head and as many as the record has, are the record. */
static bool is_record(const uint8_t *bytes, const struct segments_record *record)
{
    struct digest sha = digest_of(bytes + sizeof(struct record_head), record->len);
    struct record_head head;

    memcpy(&head, bytes, sizeof head);
    return is_record_head(&head, record) && digest_equal(&sha, &record->file_sha);
}

enum err_code segments_read(struct segments *self, struct segments_place at,
                            const struct segments_record *record, uint8_t **data, struct err *e)
{
    const size_t head_len = sizeof(struct record_head);
    struct open_file *file = NULL;
    uint8_t *bytes = NULL;
    ssize_t got;
    enum err_code rc;

    *data = NULL;
    if (!is_place(at, record->len))
        return err_set(e, ERR_NOT_FOUND, "%lld of segment %d is no place of a picture",
                       (long long)at.place, (int)at.segment);
    rc = find_file(self, at.segment, &file, e);
    if (rc)
        return rc;
    bytes = malloc(head_len + record->len);
    if (!bytes)
        return err_set(e, ERR_NOMEM, "no memory for a picture of %zu bytes", record->len);
    got = read_all(file->fd, bytes, head_len + record->len, at.place);
    if (got < 0) {
        rc = fail(e, "read", at.segment, errno);
        shut(file);                 /* a file system that was lost may be back by the next time */
        goto done;
    }
    if ((size_t)got < head_len + record->len || !is_record(bytes, record)) {
        rc = err_set(e, ERR_NOT_FOUND, "the picture at %lld of segment %d is damaged or erased",
                     (long long)at.place, (int)at.segment);
        goto done;
    }
    memmove(bytes, bytes + head_len, record->len);
    *data = bytes;
    bytes = NULL;
done:
    free(bytes);
    return rc;
}
