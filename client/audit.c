#include "client/audit.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mark.h"
#include "client/image.h"
#include "client/manifest.h"
#include "client/member.h"

#include <archive.h>
#include <archive_entry.h>
#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIST_BYTES_MAX = MANIFEST_SHARD_SIZE_MAX * 256, READ_BYTES = 1 << 20, FACTS_MAX = 1 << 16 };

/* A shard that is looked at. */
struct audit {
    const struct audit_options *o;
    struct audit_report *report;
    const struct manifest *manifest;
    const struct manifest_shard *shard;
    struct member_folders folders;
    const char *name;               /* for words: "00003.tar" */
    char *list, *line;              /* ours, ended by NUL; the next line of it */
    int64_t item;                   /* the next that a picture may be of */
    int64_t pictures;
    /* The picture that came last, for its facts. */
    struct digest file_sha, core_sha;
    bool has_facts;                 /* they came */
    /* The tar. */
    int fd;
    struct digest_state *hash;
    int64_t bytes;
    uint8_t *buffer;                /* [READ_BYTES] */
    uint8_t *member;                /* grows */
    size_t member_room;

    struct progress progress;
    uint64_t shown;
};

static void tell(struct audit *self, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void tell(struct audit *self, const char *fmt, ...)
{
    char words[400];
    size_t len = (size_t)snprintf(words, sizeof words, "%s: ", self->name);
    va_list args;

    va_start(args, fmt);
    vsnprintf(words + len, sizeof words - len, fmt, args);
    va_end(args);
    progress_end(&self->progress);
    self->o->tell(self->o->arg, words);
    self->report->wrong++;
}

static bool path_in(const struct audit *self, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/%s", self->o->folder, name) < PATH_MAX;
}

/* ---- the list ---- */

static bool open_list(struct audit *self)
{
    struct manifest_name name = manifest_list_name(self->shard->number);
    struct digest hash;
    char path[PATH_MAX];
    struct err e;
    uint8_t *data;
    size_t len;

    if (!path_in(self, name.text, path) || file_read(path, LIST_BYTES_MAX, &data, &len, &e)) {
        tell(self, "its list %s cannot be read", name.text);
        return false;
    }
    hash = digest_of(data, len);
    self->list = self->line = (char *)data;
    if (digest_equal(&hash, &self->shard->list_sha256) && strlen(self->list) == len)
        return true;
    tell(self, "its list %s has other bytes than the manifest says", name.text);
    return false;
}

/* "<64 hex>  <name>\n" */
static bool next_line(struct audit *self, struct digest *sha, char name[256])
{
    char *end = strchr(self->line, '\n');

    if (!end || end - self->line < DIGEST_HEX_LEN + 3 || end - self->line > 300 ||
        !digest_parse(self->line, DIGEST_HEX_LEN, sha))
        return false;
    snprintf(name, 256, "%.*s", (int)(end - self->line) - DIGEST_HEX_LEN - 2,
             self->line + DIGEST_HEX_LEN + 2);
    self->line = end + 1;
    return true;
}

/* ---- one picture ---- */

static struct recipe_text recipe_of(const struct audit *self, int64_t item)
{
    struct recipe recipe = items_recipe(&self->manifest->items, item);

    return recipe_text(&recipe);
}

static void check_picture(struct audit *self, const char *name, const struct digest *listed,
                          const uint8_t *file, size_t len)
{
    struct recipe_text marked, wanted = recipe_of(self, self->item);
    struct image image;
    struct err e;

    self->file_sha = digest_of(file, len);
    if (!digest_equal(&self->file_sha, listed))
        tell(self, "%s has other bytes than its list says", name);
    if (image_decode(file, len, &image, &e))
        tell(self, "%s cannot be decoded: %s", name, e.msg);
    else
        image_release(&image);
    if (!mark_core_sha256(file, len, &self->core_sha))
        tell(self, "%s is no whole JPEG", name);
    if (mark_find(file, len, &marked) && strcmp(marked.text, wanted.text) != 0)
        tell(self, "%s carries another recipe than its item", name);
    self->pictures++;
    self->report->pictures++;
    progress_show(&self->progress, ++self->shown, clock_ms());
}

/* Steps to the item of that name. False: the shard has none such after the last one. */
static bool find_item(struct audit *self, const char *name)
{
    int64_t end = self->shard->number * self->manifest->subject.shard_size +
                  manifest_count_of(self->manifest, self->shard->number);
    int64_t item = self->item + 1;

    if (self->manifest->subject.kind == MANIFEST_WEBDATASET) {
        int64_t number = strtoll(name, NULL, 10);

        if (number >= item && number < end &&
            strcmp(member_of_shard(number, "jpg").text, name) == 0) {
            self->item = number;
            return true;
        }
        item = end;
    }
    for (; item < end; item++)
        if (strcmp(member_of_folder(&self->manifest->items, &self->folders, item).text, name) ==
            0) {
            self->item = item;
            return true;
        }
    tell(self, "%.100s is not of this shard, or not in its place", name);
    return false;
}

/* ---- a tar ---- */

static la_ssize_t on_read(struct archive *tar, void *arg, const void **out)
{
    struct audit *self = arg;
    ssize_t got;

    do
        got = read(self->fd, self->buffer, READ_BYTES);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        archive_set_error(tar, errno, "read");
        return -1;
    }
    digest_add(self->hash, self->buffer, (size_t)got);
    self->bytes += got;
    *out = self->buffer;
    return got;
}

/* The member's bytes; false when they cannot be had. */
static bool read_member(struct audit *self, struct archive *tar, int64_t size)
{
    size_t have = 0;

    if (size < 0 || size > IMAGE_FILE_MAX)
        return false;
    if ((size_t)size + 1 > self->member_room) {
        uint8_t *grown = realloc(self->member, (size_t)size + 1);

        if (!grown)
            return false;
        self->member = grown;
        self->member_room = (size_t)size + 1;
    }
    while (have < (size_t)size) {
        la_ssize_t got = archive_read_data(tar, self->member + have, (size_t)size - have);

        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    self->member[have] = '\0';
    return true;
}

static bool has_text(const cJSON *facts, const char *key, const char *wanted)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(facts, key));

    return text && strcmp(text, wanted) == 0;
}

/* Beside a picture: what is said of it must be true of it. */
static void check_facts(struct audit *self, const char *name, size_t len)
{
    struct recipe_text recipe = recipe_of(self, self->item);
    struct digest key = digest_of(recipe.text, recipe.len);
    cJSON *facts = len <= FACTS_MAX ? cJSON_ParseWithLength((const char *)self->member, len) : NULL;

    self->has_facts = true;
    if (!facts)
        tell(self, "%s is no JSON", name);
    else if (!has_text(facts, "recipe", recipe.text) ||
             !has_text(facts, "recipe_key", digest_hex(&key).text))
        tell(self, "%s names another recipe than its item", name);
    else if (!has_text(facts, "sha256", digest_hex(&self->file_sha).text) ||
             !has_text(facts, "core_sha256", digest_hex(&self->core_sha).text))
        tell(self, "%s has hashes of another picture", name);
    cJSON_Delete(facts);
}

static void check_member(struct audit *self, struct archive *tar, struct archive_entry *entry)
{
    const char *name = archive_entry_pathname(entry);
    int64_t size = archive_entry_size(entry);
    char listed_name[256];
    struct digest listed;

    if (!name)
        name = "";
    if (!read_member(self, tar, size)) {
        tell(self, "%.100s cannot be read", name);
        return;
    }
    if (strcmp(name, member_of_shard(self->item, "json").text) == 0 && self->pictures > 0)
        check_facts(self, name, (size_t)size);
    else if (strcmp(name, member_of_shard(self->item, "w.npy").text) == 0 &&
             self->manifest->subject.with_w)
        return;                      /* by the shard's hash */
    else {
        if (self->pictures > 0 && !self->has_facts)
            tell(self, "the picture before %.100s has no .json", name);
        if (!find_item(self, name))
            return;
        if (!next_line(self, &listed, listed_name) || strcmp(listed_name, name) != 0)
            tell(self, "%.100s is not next in its list", name);
        check_picture(self, name, &listed, self->member, (size_t)size);
        self->has_facts = false;
    }
}

/* False: interrupted. */
static bool walk_tar(struct audit *self, struct archive *tar)
{
    struct archive_entry *entry;
    const void *rest;
    int rc;

    while ((rc = archive_read_next_header(tar, &entry)) == ARCHIVE_OK) {
        if (*self->o->interrupted)
            return false;
        check_member(self, tar, entry);
    }
    if (rc != ARCHIVE_EOF)
        tell(self, "it is no whole tar file: %.120s", archive_error_string(tar));
    while (on_read(tar, self, &rest) > 0)        /* what pads it is hashed, too */
        ;
    return true;
}

static bool audit_tar(struct audit *self)
{
    struct archive *tar = archive_read_new();
    struct digest hash;
    char path[PATH_MAX];
    bool goes_on = true;

    self->fd = path_in(self, self->name, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    self->hash = digest_create();
    self->bytes = 0;
    self->has_facts = true;
    if (self->fd < 0)
        tell(self, "it cannot be opened: %s", file_reason(errno));
    else if (!tar || !self->hash || archive_read_support_format_tar(tar) != ARCHIVE_OK ||
             archive_read_open(tar, self, NULL, on_read, NULL) != ARCHIVE_OK)
        tell(self, "it cannot be read as a tar file");
    else
        goes_on = walk_tar(self, tar);
    if (tar)
        archive_read_free(tar);
    hash = digest_finish(&self->hash);
    if (self->fd >= 0 && goes_on && (self->bytes != self->shard->bytes ||
                                     !digest_equal(&hash, &self->shard->sha256)))
        tell(self, "its SHA-256 is not the manifest's");
    if (self->fd >= 0)
        close(self->fd);
    return goes_on;
}

/* ---- a folder ---- */

static bool audit_loose(struct audit *self)
{
    char name[256], path[PATH_MAX];
    struct digest listed;
    struct err e;

    while (next_line(self, &listed, name)) {
        uint8_t *file;
        size_t len;

        if (*self->o->interrupted)
            return false;
        if (!find_item(self, name))
            continue;
        if (!path_in(self, name, path) || file_read(path, IMAGE_FILE_MAX, &file, &len, &e)) {
            tell(self, "%.100s cannot be read", name);
            continue;
        }
        check_picture(self, name, &listed, file, len);
        free(file);
    }
    return true;
}

/* ---- all of it ---- */

/* False: interrupted. */
static bool audit_shard(struct audit *self, int64_t number)
{
    bool is_tar = self->manifest->subject.kind == MANIFEST_WEBDATASET, goes_on = true;
    struct manifest_name name = is_tar ? manifest_shard_name(number) : manifest_list_name(number);

    self->name = name.text;
    self->shard = manifest_find(self->manifest, number);
    if (!self->shard) {
        tell(self, "it has not been exported yet");
        return true;
    }
    self->item = number * self->manifest->subject.shard_size - 1;
    self->pictures = 0;
    self->report->shards++;
    self->report->failed += manifest_count_of(self->manifest, number) - self->shard->pictures;
    if (open_list(self)) {
        goes_on = is_tar ? audit_tar(self) : audit_loose(self);
        if (goes_on && (self->pictures != self->shard->pictures || *self->line))
            tell(self, "it holds %" PRId64 " pictures, the manifest says %" PRId64, self->pictures,
                 self->shard->pictures);
    }
    free(self->list);
    self->list = NULL;
    return goes_on;
}

static enum err_code audit_manifest(struct audit *self, const char *name, struct err *e)
{
    struct manifest manifest;
    enum err_code rc = ERR_OK;
    char path[PATH_MAX];
    bool found;

    if (!path_in(self, name, path))
        return err_set(e, ERR_FILE, "the name of the folder is too long");
    rc = manifest_load(path, &manifest, &found, e);
    if (rc || !found)
        return rc;
    self->manifest = &manifest;
    self->folders = member_folders_of(&manifest.items);
    for (int64_t number = 0; !rc && number < manifest_shards_of(&manifest); number++)
        if (manifest_is_mine(&manifest, number) && !audit_shard(self, number))
            rc = err_set(e, ERR_CANCELLED, "interrupted after %" PRId64 " shards",
                         self->report->shards);
    manifest_release(&manifest);
    return rc;
}

static uint64_t pictures_of(const struct audit *self, const char *name)
{
    struct manifest manifest;
    uint64_t pictures = 0;
    char path[PATH_MAX];
    struct err e;
    bool found;

    if (!path_in(self, name, path) || manifest_load(path, &manifest, &found, &e))
        return 0;                    /* it is told when it is its turn */
    for (size_t i = 0; i < manifest.shard_count; i++)
        pictures += (uint64_t)manifest.shards[i].pictures;
    manifest_release(&manifest);
    return pictures;
}

static int is_manifest(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return strncmp(entry->d_name, "manifest", 8) == 0 && len > 5 &&
           strcmp(entry->d_name + len - 5, ".json") == 0;
}

enum err_code audit_run(const struct audit_options *options, struct audit_report *report,
                        struct err *e)
{
    struct audit self = { .o = options, .report = report, .fd = -1 };
    struct dirent **names = NULL;
    int count = scandir(options->folder, &names, is_manifest, alphasort);
    uint64_t total = 0;
    enum err_code rc = ERR_OK;

    *report = (struct audit_report){ .shards = 0 };
    if (count < 0)
        return err_set(e, ERR_FILE, "could not read folder \"%.120s\": %s", options->folder,
                       file_reason(errno));
    self.buffer = malloc(READ_BYTES);
    if (!self.buffer)
        rc = err_set(e, ERR_NOMEM, "no memory to read shards");
    else if (count == 0)
        rc = err_set(e, ERR_FILE, "\"%.120s\" holds no manifest.json of an export",
                     options->folder);
    for (int i = 0; !rc && i < count; i++)
        total += pictures_of(&self, names[i]->d_name);
    progress_init(&self.progress, options->progress_to, options->style, total, clock_ms());
    for (int i = 0; !rc && i < count; i++)
        rc = audit_manifest(&self, names[i]->d_name, e);
    progress_end(&self.progress);
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    free(self.buffer);
    free(self.member);
    free(self.list);
    return rc;
}
