#include "client/manifest.h"

#include "base/file.h"
#include "client/seedpress.h"
#include "proto/number.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1 };
#define WHOLE_MAX 9007199254740992.0            /* 2^53: what a JSON number holds exactly */

static const char *const KINDS[] = { "webdataset", "folder", NULL };
static const char *const KEEPS[] = { "image", "provenance", NULL };
static const char *const PRIORITIES[] = { "high", "normal", "low", NULL };
static const char *const NOISES[] = { "none", "const", "random", "stream", NULL };
static const char *const MARKS[] = { "none", "xmp", "c2pa", NULL };

/* ---- names and counts ---- */

static struct manifest_name numbered(int64_t number, const char *ending)
{
    struct manifest_name name;

    snprintf(name.text, sizeof name.text, "%05" PRId64 ".%s", number, ending);
    return name;
}

struct manifest_name manifest_shard_name(int64_t number)
{
    return numbered(number, "tar");
}

struct manifest_name manifest_list_name(int64_t number)
{
    return numbered(number, "sha256");
}

struct manifest_name manifest_name(int part, int of)
{
    struct manifest_name name = { "manifest.json" };

    if (of > 1)
        snprintf(name.text, sizeof name.text, "manifest-%d-of-%d.json", part, of);
    return name;
}

int64_t manifest_shards_of(const struct manifest *self)
{
    int64_t size = self->subject.shard_size;

    return (self->items.total + size - 1) / size;
}

bool manifest_is_mine(const struct manifest *self, int64_t number)
{
    return number % self->subject.of == self->subject.part - 1;
}

int64_t manifest_count_of(const struct manifest *self, int64_t number)
{
    int64_t size = self->subject.shard_size, left = self->items.total - number * size;

    return left < size ? left : size;
}

/* ---- life ---- */

void manifest_init(struct manifest *self, const struct manifest_subject *subject,
                   struct items *take_items)
{
    *self = (struct manifest){ .subject = *subject, .items = *take_items };
    *take_items = (struct items){ .ranges = NULL };
}

void manifest_release(struct manifest *self)
{
    items_release(&self->items);
    free(self->shards);
    free(self->failures);
    *self = (struct manifest){ .shards = NULL };
}

/* The place of a number among the shards, or where it belongs. */
static size_t place_of(const struct manifest *self, int64_t number)
{
    size_t low = 0, high = self->shard_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (self->shards[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct manifest_shard *manifest_find(const struct manifest *self, int64_t number)
{
    size_t at = place_of(self, number);

    return at < self->shard_count && self->shards[at].number == number ? &self->shards[at] : NULL;
}

static enum err_code make_room(struct manifest *self, size_t failures, struct err *e)
{
    struct manifest_failure *more;

    if (self->shard_count == self->shard_room) {
        size_t room = self->shard_room ? 2 * self->shard_room : 64;
        struct manifest_shard *grown = realloc(self->shards, room * sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory for a manifest of %zu shards", room);
        self->shards = grown;
        self->shard_room = room;
    }
    if (failures == 0)
        return ERR_OK;
    more = realloc(self->failures, (self->failure_count + failures) * sizeof *more);
    if (!more)
        return err_set(e, ERR_NOMEM, "no memory for a manifest of %zu failures",
                       self->failure_count + failures);
    self->failures = more;
    return ERR_OK;
}

static int by_item(const void *a, const void *b)
{
    int64_t x = ((const struct manifest_failure *)a)->item;
    int64_t y = ((const struct manifest_failure *)b)->item;

    return (x > y) - (x < y);
}

static void replace_failures(struct manifest *self, int64_t number,
                             const struct manifest_failure *failures, size_t count)
{
    int64_t first = number * self->subject.shard_size;
    size_t kept = 0;

    for (size_t i = 0; i < self->failure_count; i++)
        if (self->failures[i].item < first ||
            self->failures[i].item >= first + self->subject.shard_size)
            self->failures[kept++] = self->failures[i];
    if (count > 0)
        memcpy(self->failures + kept, failures, count * sizeof *failures);
    self->failure_count = kept + count;
    if (self->failure_count > 1)
        qsort(self->failures, self->failure_count, sizeof *self->failures, by_item);
    if (self->failure_count > MANIFEST_FAILURES_MAX)
        self->failure_count = MANIFEST_FAILURES_MAX;
}

enum err_code manifest_add(struct manifest *self, const struct manifest_shard *shard,
                           const struct manifest_failure *failures, size_t count, struct err *e)
{
    size_t at = place_of(self, shard->number);
    enum err_code rc = make_room(self, count, e);

    if (rc)
        return rc;
    if (at == self->shard_count || self->shards[at].number != shard->number) {
        memmove(self->shards + at + 1, self->shards + at,
                (self->shard_count - at) * sizeof *self->shards);
        self->shard_count++;
    }
    self->shards[at] = *shard;
    replace_failures(self, shard->number, failures, count);
    return ERR_OK;
}

/* ---- writing ---- */

static void add_millionths(cJSON *to, const char *key, int64_t millionths)
{
    cJSON_AddNumberToObject(to, key, (double)millionths / 1e6);
}

static void add_transform(cJSON *to, const struct recipe_transform *t)
{
    if (t->kind == RECIPE_TRANSFORM_TR) {
        double shift[2] = { (double)t->tx / 1e6, (double)t->ty / 1e6 };

        if (t->tx != 0 || t->ty != 0)
            cJSON_AddItemToObject(to, "translate", cJSON_CreateDoubleArray(shift, 2));
        if (t->degrees != 0)
            add_millionths(to, "rotate", t->degrees);
    } else if (t->kind == RECIPE_TRANSFORM_MATRIX) {
        double matrix[9];

        for (int i = 0; i < 9; i++)
            matrix[i] = t->m[i];
        cJSON_AddItemToObject(to, "transform", cJSON_CreateDoubleArray(matrix, 9));
    }
}

/* As a job file has it: nothing is left to a default, so that next year's are not asked. */
static cJSON *part_of(const struct items_range *range)
{
    const struct recipe *recipe = &range->recipe;
    cJSON *part = cJSON_CreateObject();
    char text[32];

    cJSON_AddStringToObject(part, "model", digest_hex(&recipe->model).text);
    snprintf(text, sizeof text, "%" PRIu32 "-%" PRIu32, range->first, range->last);
    cJSON_AddStringToObject(part, "seeds", text);
    add_millionths(part, "psi", recipe->psi);
    cJSON_AddNumberToObject(part, "cutoff", recipe->cutoff);
    snprintf(text, sizeof text, "seed%%%d", range->class_mod);
    if (range->class_mod > 0)
        cJSON_AddStringToObject(part, "class_rule", text);
    else if (recipe->class_index >= 0)
        cJSON_AddNumberToObject(part, "class", recipe->class_index);
    cJSON_AddStringToObject(part, "noise_mode", NOISES[recipe->noise]);
    if (recipe->noise == RECIPE_NOISE_RANDOM)
        cJSON_AddNumberToObject(part, "noise_seed", recipe->noise_seed);
    add_transform(part, &recipe->transform);
    cJSON_AddNumberToObject(part, "quality", recipe->quality);
    cJSON_AddStringToObject(part, "mark", MARKS[recipe->mark]);
    cJSON_AddNumberToObject(part, "rev", recipe->rev);
    return part;
}

static void add_format(const struct manifest *self, cJSON *root)
{
    const struct manifest_subject *subject = &self->subject;
    cJSON *format = cJSON_AddObjectToObject(root, "format"), *ranges;

    cJSON_AddNumberToObject(format, "version", VERSION);
    cJSON_AddStringToObject(format, "kind", KINDS[subject->kind]);
    cJSON_AddNumberToObject(format, "shard_size", (double)subject->shard_size);
    cJSON_AddNumberToObject(format, "part", subject->part);
    cJSON_AddNumberToObject(format, "of", subject->of);
    cJSON_AddBoolToObject(format, "with_w", subject->with_w);
    ranges = cJSON_AddArrayToObject(format, "ranges");
    for (size_t i = 0; i < self->items.count; i++) {
        const struct items_range *range = &self->items.ranges[i];
        cJSON *row = cJSON_CreateObject();

        cJSON_AddNumberToObject(row, "item", (double)range->item);
        cJSON_AddNumberToObject(row, "first", range->first);
        cJSON_AddNumberToObject(row, "last", range->last);
        cJSON_AddNumberToObject(row, "class_mod", range->class_mod);
        cJSON_AddStringToObject(row, "recipe", recipe_text(&range->recipe).text);
        cJSON_AddItemToArray(ranges, row);
    }
}

static void add_shards(const struct manifest *self, cJSON *root)
{
    cJSON *shards = cJSON_AddArrayToObject(root, "shards");

    for (size_t i = 0; i < self->shard_count; i++) {
        const struct manifest_shard *shard = &self->shards[i];
        bool is_tar = self->subject.kind == MANIFEST_WEBDATASET;
        cJSON *row = cJSON_CreateObject();

        if (is_tar)
            cJSON_AddStringToObject(row, "name", manifest_shard_name(shard->number).text);
        cJSON_AddNumberToObject(row, "first",
                                (double)(shard->number * self->subject.shard_size));
        cJSON_AddNumberToObject(row, "count", (double)manifest_count_of(self, shard->number));
        cJSON_AddNumberToObject(row, "pictures", (double)shard->pictures);
        cJSON_AddNumberToObject(row, "bytes", (double)shard->bytes);
        if (is_tar)
            cJSON_AddStringToObject(row, "sha256", digest_hex(&shard->sha256).text);
        cJSON_AddStringToObject(row, "list", manifest_list_name(shard->number).text);
        cJSON_AddStringToObject(row, "list_sha256", digest_hex(&shard->list_sha256).text);
        cJSON_AddItemToArray(shards, row);
    }
}

static void add_failures(const struct manifest *self, cJSON *root)
{
    cJSON *failures = cJSON_AddArrayToObject(root, "failures");

    for (size_t i = 0; i < self->failure_count; i++) {
        const struct manifest_failure *failure = &self->failures[i];
        cJSON *row = cJSON_CreateObject();

        cJSON_AddNumberToObject(row, "item", (double)failure->item);
        cJSON_AddNumberToObject(row, "seed", failure->seed);
        cJSON_AddStringToObject(row, "code", failure->code);
        cJSON_AddStringToObject(row, "message", failure->message);
        cJSON_AddItemToArray(failures, row);
    }
}

enum err_code manifest_save(const struct manifest *self, const char *path, struct err *e)
{
    const struct manifest_subject *subject = &self->subject;
    cJSON *root = cJSON_CreateObject(), *parts;
    enum err_code rc;
    char *text;

    cJSON_AddStringToObject(root, "name", subject->name);
    cJSON_AddStringToObject(root, "keep", KEEPS[subject->keep]);
    cJSON_AddStringToObject(root, "priority", PRIORITIES[subject->priority]);
    cJSON_AddNumberToObject(root, "chunk", subject->chunk);
    parts = cJSON_AddArrayToObject(root, "parts");
    for (size_t i = 0; i < self->items.count; i++)
        cJSON_AddItemToArray(parts, part_of(&self->items.ranges[i]));
    add_format(self, root);
    cJSON_AddNumberToObject(root, "job", (double)subject->job);
    cJSON_AddNumberToObject(root, "total", (double)self->items.total);
    cJSON_AddStringToObject(root, "made_by", "seedpress " SEEDPRESS_VERSION);
    add_shards(self, root);
    add_failures(self, root);
    text = cJSON_Print(root);
    cJSON_Delete(root);
    if (!text)
        return err_set(e, ERR_NOMEM, "no memory for a manifest of %zu shards", self->shard_count);
    rc = file_write_atomic(path, text, strlen(text), e);
    cJSON_free(text);
    return rc;
}

/* ---- reading ---- */

/* Where the reader is, for its words; what it fails with is kept, so that a caller may read several
 * fields and look once. */
struct reader {
    const char *path;
    const char *list;               /* "shards"; NULL: the object itself */
    size_t index;                   /* in list */
    enum err_code rc;
    struct err *e;
};

static void blame(struct reader *r, const char *key)
{
    if (r->rc)
        return;
    if (r->list)
        r->rc = err_set(r->e, ERR_FILE, "manifest \"%.100s\" is broken: %s[%zu] has no good \"%s\"",
                        r->path, r->list, r->index, key);
    else
        r->rc = err_set(r->e, ERR_FILE, "manifest \"%.100s\" is broken: it has no good \"%s\"",
                        r->path, key);
}

static int64_t whole(struct reader *r, const cJSON *object, const char *key, int64_t min,
                     int64_t max)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1;

    if (!(v >= 0 && v <= WHOLE_MAX) || v != floor(v) || (int64_t)v < min || (int64_t)v > max) {
        blame(r, key);
        return min;
    }
    return (int64_t)v;
}

/* Lent by the object; "" when it is not there. */
static const char *text(struct reader *r, const cJSON *object, const char *key, size_t max)
{
    const char *found =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));

    if (found && strlen(found) <= max)
        return found;
    blame(r, key);
    return "";
}

static int word(struct reader *r, const cJSON *object, const char *key, const char *const *words)
{
    const char *found = text(r, object, key, 32);

    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], found) == 0)
            return i;
    blame(r, key);
    return 0;
}

static struct digest hash(struct reader *r, const cJSON *object, const char *key)
{
    struct digest digest = { { 0 } };
    const char *found = text(r, object, key, DIGEST_HEX_LEN);

    if (!r->rc && !digest_parse(found, strlen(found), &digest))
        blame(r, key);
    return digest;
}

static const cJSON *list(struct reader *r, const cJSON *object, const char *key, int max)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(object, key);

    if (cJSON_IsArray(found) && cJSON_GetArraySize(found) <= max)
        return found;
    blame(r, key);
    return NULL;
}

static void read_ranges(struct reader *r, const cJSON *format, struct items *out)
{
    const cJSON *rows = list(r, format, "ranges", SEEDPRESS_PARTS_MAX), *row;
    struct seedpress_range *ranges = calloc(SEEDPRESS_PARTS_MAX, sizeof *ranges);
    struct err why;
    size_t count = 0;

    if (!ranges && !r->rc)
        r->rc = err_set(r->e, ERR_NOMEM, "no memory for the ranges of a manifest");
    r->list = "ranges";
    for (row = !r->rc && rows ? rows->child : NULL; row && !r->rc; row = row->next) {
        struct seedpress_range *range = &ranges[count];

        r->index = count++;
        range->item = whole(r, row, "item", 0, INT64_MAX);
        range->first = (uint32_t)whole(r, row, "first", 0, UINT32_MAX);
        range->last = (uint32_t)whole(r, row, "last", range->first, UINT32_MAX);
        range->class_mod = (int)whole(r, row, "class_mod", 0, RECIPE_CLASS_MAX + 1);
        snprintf(range->recipe, sizeof range->recipe, "%s",
                 text(r, row, "recipe", sizeof range->recipe - 1));
    }
    r->list = NULL;
    if (!r->rc && items_init(out, ranges, count, &why))
        r->rc = err_set(r->e, why.code == ERR_NOMEM ? ERR_NOMEM : ERR_FILE,
                        "manifest \"%.100s\" is broken: %.80s", r->path, why.msg);
    free(ranges);
}

static void read_subject(struct reader *r, const cJSON *root, struct manifest *out)
{
    struct manifest_subject *subject = &out->subject;
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(root, "format");

    if (!cJSON_IsObject(format))
        blame(r, "format");
    if (!r->rc && whole(r, format, "version", 1, INT64_MAX) > VERSION && !r->rc)
        r->rc = err_set(r->e, ERR_FILE, "manifest \"%.100s\" was written by a later version of "
                                        "seedpress", r->path);
    snprintf(subject->name, sizeof subject->name, "%s", text(r, root, "name", RECIPE_NAME_MAX));
    subject->keep = word(r, root, "keep", KEEPS);
    subject->priority = word(r, root, "priority", PRIORITIES);
    subject->chunk = (int)whole(r, root, "chunk", 1, 1000000);
    subject->job = whole(r, root, "job", 1, INT64_MAX);
    subject->kind = (enum manifest_kind)word(r, format, "kind", KINDS);
    subject->shard_size = whole(r, format, "shard_size", 1, MANIFEST_SHARD_SIZE_MAX);
    subject->of = (int)whole(r, format, "of", 1, MANIFEST_PARTS_MAX);
    subject->part = (int)whole(r, format, "part", 1, subject->of);
    subject->with_w = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(format, "with_w"));
    read_ranges(r, format, &out->items);
    if (!r->rc && whole(r, root, "total", 1, INT64_MAX) != out->items.total)
        blame(r, "total");
}

static void read_shards(struct reader *r, const cJSON *root, struct manifest *out)
{
    const cJSON *rows = r->rc ? NULL : list(r, root, "shards", MANIFEST_SHARDS_MAX), *row;
    int64_t size = out->subject.shard_size, last = -1;

    r->list = "shards";
    r->index = 0;
    for (row = rows ? rows->child : NULL; row && !r->rc; row = row->next, r->index++) {
        int64_t first = whole(r, row, "first", 0, out->items.total - 1);
        struct manifest_shard shard = { .number = first / size };
        int64_t count = manifest_count_of(out, shard.number);

        if (first % size != 0 || shard.number <= last || !manifest_is_mine(out, shard.number))
            blame(r, "first");
        last = shard.number;
        whole(r, row, "count", count, count);
        shard.pictures = whole(r, row, "pictures", 0, count);
        shard.bytes = whole(r, row, "bytes", 0, INT64_MAX);
        shard.list_sha256 = hash(r, row, "list_sha256");
        if (out->subject.kind == MANIFEST_WEBDATASET)
            shard.sha256 = hash(r, row, "sha256");
        if (!r->rc)
            r->rc = manifest_add(out, &shard, NULL, 0, r->e);
    }
    r->list = NULL;
}

static void read_failures(struct reader *r, const cJSON *root, struct manifest *out)
{
    const cJSON *rows = r->rc ? NULL : list(r, root, "failures", MANIFEST_FAILURES_MAX), *row;
    size_t count = rows ? (size_t)cJSON_GetArraySize(rows) : 0;

    if (count > 0 && !r->rc)
        r->rc = make_room(out, count, r->e);
    r->list = "failures";
    r->index = 0;
    for (row = rows ? rows->child : NULL; row && !r->rc; row = row->next, r->index++) {
        struct manifest_failure *failure = &out->failures[out->failure_count];

        *failure = (struct manifest_failure){ .item = -1 };
        failure->item = whole(r, row, "item", 0, out->items.total - 1);
        failure->seed = (uint32_t)whole(r, row, "seed", 0, UINT32_MAX);
        snprintf(failure->code, sizeof failure->code, "%s", text(r, row, "code", 32));
        snprintf(failure->message, sizeof failure->message, "%s", text(r, row, "message", 256));
        out->failure_count++;
    }
    r->list = NULL;
}

enum err_code manifest_load(const char *path, struct manifest *out, bool *found, struct err *e)
{
    struct reader reader = { .path = path, .e = e };
    uint8_t *data;
    size_t len;
    cJSON *root;

    *out = (struct manifest){ .shards = NULL };
    *found = access(path, F_OK) == 0 || errno != ENOENT;
    if (!*found)
        return ERR_OK;
    reader.rc = file_read(path, MANIFEST_BYTES_MAX, &data, &len, e);
    if (reader.rc)
        return reader.rc;
    root = cJSON_ParseWithLength((const char *)data, len);
    free(data);
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return err_set(e, ERR_FILE, "manifest \"%.120s\" is broken: it is no JSON object", path);
    }
    read_subject(&reader, root, out);
    read_shards(&reader, root, out);
    read_failures(&reader, root, out);
    cJSON_Delete(root);
    if (reader.rc)
        manifest_release(out);
    return reader.rc;
}

/* ---- going on with one ---- */

enum err_code manifest_check_same(const struct manifest *there, const struct manifest *wanted,
                                  const char *folder, struct err *e)
{
    const struct manifest_subject *a = &there->subject, *b = &wanted->subject;

    if (a->job != b->job || !items_are_same(&there->items, &wanted->items))
        return err_set(e, ERR_CONFLICT, "\"%.60s\" holds shards of job %" PRId64 " (%.40s), not of "
                                        "this job %" PRId64 "; give another folder", folder, a->job,
                       a->name, b->job);
    if (a->kind != b->kind)
        return err_set(e, ERR_CONFLICT, "\"%.60s\" holds an export with --format %s, not %s",
                       folder, KINDS[a->kind], KINDS[b->kind]);
    if (a->shard_size != b->shard_size)
        return err_set(e, ERR_CONFLICT, "\"%.60s\" holds shards of %" PRId64 " items, not of "
                                        "%" PRId64 "; say --shard-size %" PRId64 " to go on with it",
                       folder, a->shard_size, b->shard_size, a->shard_size);
    if (a->with_w != b->with_w)
        return err_set(e, ERR_CONFLICT, "\"%.60s\" holds shards %s w; go on %s --with-w", folder,
                       a->with_w ? "with" : "without", a->with_w ? "with" : "without");
    return ERR_OK;
}
