#include "client/labels.h"

#include "base/file.h"
#include "client/member.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct labels {
    const struct manifest *manifest;
    const char *folder;
    struct member_folders folders;
    FILE *to;
    int64_t written;
};

static bool has_classes(const struct items *items)
{
    for (size_t i = 0; i < items->count; i++)
        if (items->ranges[i].recipe.class_index >= 0)
            return true;
    return false;
}

/* One pair, printed by cJSON; the brackets around all of them are ours, since together they may be
 * larger than memory. */
static enum err_code put_pair(struct labels *self, const char *name, int class_index,
                              struct err *e)
{
    cJSON *pair = cJSON_CreateArray();
    char *text;

    cJSON_AddItemToArray(pair, cJSON_CreateString(name));
    cJSON_AddItemToArray(pair, class_index >= 0 ? cJSON_CreateNumber(class_index)
                                                : cJSON_CreateNull());
    text = cJSON_PrintUnformatted(pair);
    cJSON_Delete(pair);
    if (!text)
        return err_set(e, ERR_NOMEM, "no memory for a label");
    fprintf(self->to, "%s\n%s", self->written++ ? "," : "", text);
    cJSON_free(text);
    return ERR_OK;
}

/* The pictures that a shard has are those of its list, in the order of items. */
static enum err_code put_shard(struct labels *self, int64_t number, struct err *e)
{
    int64_t first = number * self->manifest->subject.shard_size;
    int64_t end = first + manifest_count_of(self->manifest, number);
    enum err_code rc;
    char path[PATH_MAX];
    uint8_t *list;
    size_t len;
    const char *at, *list_end;

    snprintf(path, sizeof path, "%s/%s", self->folder, manifest_list_name(number).text);
    rc = file_read(path, (size_t)MANIFEST_SHARD_SIZE_MAX * 256, &list, &len, e);
    if (rc)
        return rc;
    at = (const char *)list;
    list_end = at + len;
    for (int64_t item = first; !rc && item < end; item++) {
        struct member_name name = member_of_folder(&self->manifest->items, &self->folders, item);
        size_t name_len = strlen(name.text);

        if ((size_t)(list_end - at) < DIGEST_HEX_LEN + 3 + name_len ||
            strncmp(at + DIGEST_HEX_LEN + 2, name.text, name_len) != 0 ||
            at[DIGEST_HEX_LEN + 2 + name_len] != '\n')
            continue;                /* it failed */
        rc = put_pair(self, name.text, items_recipe(&self->manifest->items, item).class_index, e);
        at += DIGEST_HEX_LEN + 3 + name_len;
    }
    free(list);
    return rc;
}

static enum err_code put_all(struct labels *self, struct err *e)
{
    enum err_code rc = ERR_OK;

    if (!has_classes(&self->manifest->items)) {
        fputs("{\"labels\": null}\n", self->to);
        return ERR_OK;
    }
    fputs("{\"labels\": [", self->to);
    for (size_t i = 0; !rc && i < self->manifest->shard_count; i++)
        rc = put_shard(self, self->manifest->shards[i].number, e);
    fputs("\n]}\n", self->to);
    return rc;
}

enum err_code labels_write(const struct manifest *manifest, const char *folder, struct err *e)
{
    struct labels self = { .manifest = manifest, .folder = folder,
                           .folders = member_folders_of(&manifest->items) };
    const struct manifest_subject *subject = &manifest->subject;
    char path[PATH_MAX], temp[PATH_MAX], name[64] = "dataset.json";
    enum err_code rc = ERR_OK;
    bool is_whole;

    if (subject->of > 1)
        snprintf(name, sizeof name, "dataset-%d-of-%d.json", subject->part, subject->of);
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
        snprintf(temp, sizeof temp, "%s/.seedpress-%s.tmp", folder, name) >= (int)sizeof temp)
        return err_set(e, ERR_FILE, "the name of the output folder is too long");
    unlink(temp);
    self.to = fopen(temp, "wxe");
    if (!self.to)
        return err_set(e, ERR_FILE, "could not write \"%.120s\": %s", path, file_reason(errno));
    rc = put_all(&self, e);
    is_whole = fflush(self.to) == 0 && !ferror(self.to) && fsync(fileno(self.to)) == 0;
    if (fclose(self.to) != 0 || !is_whole || (!rc && rename(temp, path) != 0))
        rc = rc ? rc : err_set(e, ERR_FILE, "could not write \"%.120s\": %s", path,
                               file_reason(errno));
    if (rc)
        unlink(temp);
    return rc;
}
