#include "client/depot.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool path_in(const struct depot *self, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/%s", self->folder, name) < PATH_MAX;
}

/* ---- the folder ---- */

static enum err_code make_folder(struct depot *self, const char *folder, struct err *e)
{
    struct stat st;

    if (snprintf(self->folder, sizeof self->folder, "%s", folder) >= (int)sizeof self->folder)
        return err_set(e, ERR_FILE, "the name of the output folder is too long");
    if (mkdir(folder, 0777) == 0)
        return ERR_OK;
    if (errno != EEXIST)
        return err_set(e, ERR_FILE, "could not make folder \"%.120s\": %s", folder,
                       file_reason(errno));
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(e, ERR_FILE, "\"%.120s\" is there and is no folder; -o needs one", folder);
    return ERR_OK;
}

/* A lock of the system's: it goes with the process, however that ends. Where a network's disk has
 * no locks, all goes on without. */
static enum err_code lock(struct depot *self, const struct manifest_subject *subject,
                          struct err *e)
{
    char path[PATH_MAX], name[64] = ".seedpress-export.lock";

    if (subject->of > 1)
        snprintf(name, sizeof name, ".seedpress-export-%d-of-%d.lock", subject->part, subject->of);
    if (!path_in(self, name, path))
        return err_set(e, ERR_FILE, "the name of the output folder is too long");
    self->lock_fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (self->lock_fd < 0)
        return err_set(e, ERR_FILE, "could not write into folder \"%.100s\": %s", self->folder,
                       file_reason(errno));
    if (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return err_set(e, ERR_CONFLICT, "another export is writing into \"%.100s\"; wait for it, "
                                        "or give another folder", self->folder);
    return ERR_OK;
}

/* ---- what is in it ---- */

static bool begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* What an export could have written. */
static bool is_picture(const char *name)
{
    return (name[0] >= '0' && name[0] <= '9' && ends(name, ".tar")) ||
           (begins(name, "seed") && ends(name, ".jpg"));
}

struct found {
    bool own;                       /* the manifest of this part */
    bool any;                       /* one of any part */
    char picture[NAME_MAX + 1];     /* a file that some export wrote; "": none */
};

static enum err_code take_manifest(struct depot *self, const char *name, struct manifest *wanted,
                                   struct found *found, struct err *e)
{
    const struct manifest_subject *subject = &wanted->subject;
    struct manifest there;
    char path[PATH_MAX];
    bool is_there;
    enum err_code rc;

    if (!path_in(self, name, path))
        return err_set(e, ERR_FILE, "the name of the output folder is too long");
    rc = manifest_load(path, &there, &is_there, e);
    if (rc || !is_there)
        return rc;
    rc = manifest_check_same(&there, wanted, self->folder, e);
    if (!rc && there.subject.of != subject->of)
        rc = err_set(e, ERR_CONFLICT, "\"%.60s\" holds part %d of %d; parts of another cut need "
                                      "another folder", self->folder, there.subject.part,
                     there.subject.of);
    found->any = true;
    if (!rc && there.subject.part == subject->part) {
        found->own = true;
        free(wanted->shards);
        free(wanted->failures);
        wanted->shards = there.shards;
        wanted->shard_count = there.shard_count;
        wanted->shard_room = there.shard_room;
        wanted->failures = there.failures;
        wanted->failure_count = there.failure_count;
        there.shards = NULL;
        there.failures = NULL;
    }
    manifest_release(&there);
    return rc;
}

static enum err_code look_around(struct depot *self, struct manifest *wanted, struct found *found,
                                 struct err *e)
{
    DIR *dir = opendir(self->folder);
    enum err_code rc = ERR_OK;
    const struct dirent *entry;

    *found = (struct found){ .own = false };
    if (!dir)
        return err_set(e, ERR_FILE, "could not read folder \"%.120s\": %s", self->folder,
                       file_reason(errno));
    while (!rc && (entry = readdir(dir))) {
        if (begins(entry->d_name, "manifest") && ends(entry->d_name, ".json"))
            rc = take_manifest(self, entry->d_name, wanted, found, e);
        else if (!found->picture[0] && is_picture(entry->d_name))
            snprintf(found->picture, sizeof found->picture, "%s", entry->d_name);
    }
    closedir(dir);
    return rc;
}

/* ".00003.tar.tmp" of a shard of ours, or ".seed0042.jpg.tmp", which may be another part's at work:
 * its writer's next run replaces it. */
static bool is_leftover(const char *name, const struct manifest *manifest)
{
    int64_t number;
    char *end;

    if (name[0] != '.' || !ends(name, ".tmp"))
        return false;
    if (begins(name, ".seed"))       /* a manifest's or a list's, too: base/file.h */
        return manifest->subject.of == 1;
    if (name[1] < '0' || name[1] > '9')
        return false;
    number = strtoll(name + 1, &end, 10);
    return strcmp(end, ".tar.tmp") == 0 && manifest_is_mine(manifest, number);
}

/* In the folder and its subfolders, as far down as an export writes. What cannot be removed is in
 * nobody's way. */
static void remove_leftovers(const char *folder, const struct manifest *manifest, int depth)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    char path[PATH_MAX];

    while (dir && (entry = readdir(dir))) {
        if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path)
            continue;
        if (is_leftover(entry->d_name, manifest))
            unlink(path);
        else if (depth > 0 && entry->d_name[0] != '.' && entry->d_type == DT_DIR)
            remove_leftovers(path, manifest, depth - 1);
    }
    if (dir)
        closedir(dir);
}

enum err_code depot_open(struct depot *self, const char *folder, struct manifest *wanted,
                         struct err *e)
{
    const struct manifest_subject *subject = &wanted->subject;
    struct found found;
    enum err_code rc;

    *self = (struct depot){ .lock_fd = -1 };
    rc = make_folder(self, folder, e);
    if (!rc && !path_in(self, manifest_name(subject->part, subject->of).text,
                        self->manifest_path))
        rc = err_set(e, ERR_FILE, "the name of the output folder is too long");
    if (!rc)
        rc = look_around(self, wanted, &found, e);
    if (!rc && !found.any && found.picture[0])
        rc = err_set(e, ERR_CONFLICT, "\"%.80s\" holds %.40s, but no manifest that says of which "
                                      "job; give another folder", folder, found.picture);
    if (!rc)
        rc = lock(self, subject, e);
    if (!rc)                         /* once more: another export may have ended just now */
        rc = look_around(self, wanted, &found, e);
    if (!rc)
        remove_leftovers(self->folder, wanted, subject->kind == MANIFEST_FOLDER);
    if (!rc && !found.own)
        rc = manifest_save(wanted, self->manifest_path, e);
    if (rc)
        depot_close(self);
    return rc;
}

void depot_close(struct depot *self)
{
    if (self->lock_fd >= 0)
        close(self->lock_fd);
    self->lock_fd = -1;
}

bool depot_has(const struct depot *self, const struct manifest *manifest,
               const struct manifest_shard *shard)
{
    char path[PATH_MAX];
    struct stat st;

    if (!path_in(self, manifest_list_name(shard->number).text, path) || stat(path, &st) != 0)
        return false;
    if (manifest->subject.kind == MANIFEST_FOLDER)
        return true;
    return path_in(self, manifest_shard_name(shard->number).text, path) && stat(path, &st) == 0 &&
           S_ISREG(st.st_mode) && st.st_size == shard->bytes;
}
