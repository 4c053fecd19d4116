#include "client/job_file.h"

#include "base/file.h"
#include "client/seeds.h"
#include "proto/digest.h"
#include "proto/number.h"

#include <cjson/cJSON.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MAX = 10000, NAME_MODEL_MAX = 48, NAME_DIGITS = 8 };

static const char *const KEEPS[] = { "image", "provenance", NULL };
static const char *const PRIORITIES[] = { "high", "normal", "low", NULL };
/* In the order of enum recipe_noise and enum recipe_mark. */
static const char *const NOISES[] = { "none", "const", "random", "stream", NULL };
static const char *const MARKS[] = { "none", "xmp", "c2pa", NULL };

/* ---- life ---- */

void job_file_init(struct job_file *self)
{
    *self = (struct job_file){ .keep = SEEDPRESS_KEEP_IMAGE, .priority = SEEDPRESS_LOW,
                               .chunk = JOB_FILE_CHUNK };
}

void job_file_release(struct job_file *self)
{
    free(self->parts);
    job_file_init(self);
}

static enum err_code add_range(struct job_file *self, const struct job_part *like, uint32_t first,
                               uint32_t last, struct err *e)
{
    struct job_part *grown;

    if (self->part_count == SEEDPRESS_PARTS_MAX)
        return err_set(e, ERR_RANGE, "more than %d ranges of seeds: the rest goes into another job",
                       SEEDPRESS_PARTS_MAX);
    grown = realloc(self->parts, (self->part_count + 1) * sizeof *grown);
    if (!grown)
        return err_set(e, ERR_NOMEM, "no memory for %zu parts", self->part_count + 1);
    self->parts = grown;
    self->parts[self->part_count] = *like;
    self->parts[self->part_count].first = first;
    self->parts[self->part_count++].last = last;
    self->total += (uint64_t)last - first + 1;
    return ERR_OK;
}

enum err_code job_file_add(struct job_file *self, const struct job_part *like, const char *seeds,
                           struct err *e)
{
    struct seeds list;
    enum err_code rc = seeds_parse_ranges(seeds, SEEDPRESS_PARTS_MAX, &list, e);

    for (size_t i = 0; !rc && i < list.range_count; i++)
        rc = add_range(self, like, list.ranges[i].first, list.ranges[i].last, e);
    seeds_release(&list);
    return rc;
}

/* ---- values ---- */

/* Whatever is wrong is said with the key before it. */
static enum err_code refuse(const cJSON *item, enum err_code code, const char *needs,
                            struct err *e)
{
    return err_set(e, code, "\"%.40s\" %s", item->string ? item->string : "", needs);
}

static enum err_code read_whole(const cJSON *item, int64_t min, int64_t max, int64_t *out,
                                struct err *e)
{
    double v = item->valuedouble;

    if (!cJSON_IsNumber(item) || v != floor(v))
        return refuse(item, ERR_INVALID, "needs a whole number", e);
    if (!(v >= (double)min && v <= (double)max))
        return err_set(e, ERR_RANGE, "\"%.40s\" is out of range: %" PRId64 "..%" PRId64,
                       item->string, min, max);
    *out = (int64_t)v;
    return ERR_OK;
}

static enum err_code read_int(const cJSON *item, int min, int max, int *out, struct err *e)
{
    int64_t v = 0;
    enum err_code rc = read_whole(item, min, max, &v, e);

    if (!rc)
        *out = (int)v;
    return rc;
}

/* limit: millionths. name: of the key, where item is one of its list. */
static enum err_code read_decimal(const cJSON *item, const char *name, int64_t limit, int64_t *out,
                                  struct err *e)
{
    if (!cJSON_IsNumber(item) || !number_millionths_of(item->valuedouble, out))
        return err_set(e, ERR_INVALID, "\"%s\" needs a number with at most six places", name);
    if (*out < -limit || *out > limit)
        return err_set(e, ERR_RANGE, "\"%s\" is out of range: %" PRId64 "..%" PRId64, name,
                       -limit / 1000000, limit / 1000000);
    return ERR_OK;
}

static enum err_code read_word(const cJSON *item, const char *const *words, int *out,
                               struct err *e)
{
    char known[80] = "";
    size_t len = 0;

    for (int i = 0; words[i]; i++) {
        if (cJSON_IsString(item) && strcmp(words[i], item->valuestring) == 0) {
            *out = i;
            return ERR_OK;
        }
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", i ? ", " : "", words[i]);
    }
    return err_set(e, ERR_INVALID, "\"%.40s\" is one of %s", item->string, known);
}

enum err_code job_file_read_rule(const char *text, int *class_mod, struct err *e)
{
    static const char HEAD[] = "seed%";
    int64_t v = 0;

    if (strncmp(text, HEAD, sizeof HEAD - 1) != 0 ||
        !number_parse(text + sizeof HEAD - 1, strlen(text + sizeof HEAD - 1), &v))
        return err_set(e, ERR_INVALID, "a class rule is such as seed%%10, not \"%.40s\"", text);
    if (v < 1 || v > RECIPE_CLASS_MAX + 1)
        return err_set(e, ERR_RANGE, "class rule seed%%%" PRId64 " is out of range: 1..%d classes",
                       v, RECIPE_CLASS_MAX + 1);
    *class_mod = (int)v;
    return ERR_OK;
}

/* ---- a part ---- */

/* A part as it is read; what may be a list is kept for the end. */
struct reading {
    struct job_part part;
    const cJSON *seeds, *psi, *class_index;
};

static enum err_code read_shift(const cJSON *item, struct recipe_transform *out, struct err *e)
{
    int64_t *const axes[] = { &out->tx, &out->ty };
    enum err_code rc = ERR_OK;

    if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2)
        return refuse(item, ERR_INVALID, "needs two numbers, [x, y]", e);
    for (int i = 0; !rc && i < 2; i++)
        rc = read_decimal(cJSON_GetArrayItem(item, i), "translate", RECIPE_SHIFT_MAX, axes[i], e);
    return rc;
}

static enum err_code read_matrix(const cJSON *item, struct recipe_transform *out, struct err *e)
{
    if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 9)
        return refuse(item, ERR_INVALID, "needs nine numbers, row by row", e);
    for (int i = 0; i < 9; i++) {
        const cJSON *one = cJSON_GetArrayItem(item, i);

        if (!cJSON_IsNumber(one) || !(fabs(one->valuedouble) <= FLT_MAX))
            return refuse(item, ERR_INVALID, "needs nine numbers that float32 can hold", e);
        out->m[i] = (float)one->valuedouble;
    }
    return ERR_OK;
}

/* A transform is of one kind. */
static enum err_code take_transform(const cJSON *item, enum recipe_transform_kind kind,
                                    struct recipe_transform *t, struct err *e)
{
    if (t->kind != RECIPE_TRANSFORM_NONE && t->kind != kind)
        return err_set(e, ERR_INVALID, "give either \"transform\" or \"translate\" and \"rotate\"");
    t->kind = kind;
    if (kind == RECIPE_TRANSFORM_MATRIX)
        return read_matrix(item, t, e);
    return strcmp(item->string, "rotate") == 0
               ? read_decimal(item, "rotate", RECIPE_SHIFT_MAX, &t->degrees, e)
               : read_shift(item, t, e);
}

static enum err_code take_model(const cJSON *item, struct reading *r, struct err *e)
{
    if (!cJSON_IsString(item) || !*item->valuestring)
        return refuse(item, ERR_INVALID, "needs a name, name@digest or digest", e);
    if (strlen(item->valuestring) > JOB_FILE_MODEL_MAX)
        return refuse(item, ERR_RANGE, "is too long: at most 160 bytes", e);
    snprintf(r->part.model, sizeof r->part.model, "%s", item->valuestring);
    return ERR_OK;
}

static enum err_code take_seeds(const cJSON *item, struct reading *r, struct err *e)
{
    (void)e;
    r->seeds = item;
    return ERR_OK;
}

static enum err_code take_psi(const cJSON *item, struct reading *r, struct err *e)
{
    (void)e;
    r->psi = item;
    return ERR_OK;
}

static enum err_code take_class(const cJSON *item, struct reading *r, struct err *e)
{
    r->class_index = item;
    return read_int(item, 0, RECIPE_CLASS_MAX, &r->part.wish.class_index, e);
}

static enum err_code take_rule(const cJSON *item, struct reading *r, struct err *e)
{
    if (!cJSON_IsString(item))
        return refuse(item, ERR_INVALID, "needs a text such as \"seed%10\"", e);
    return job_file_read_rule(item->valuestring, &r->part.class_mod, e);
}

static enum err_code take_cutoff(const cJSON *item, struct reading *r, struct err *e)
{
    return read_int(item, 0, RECIPE_WS_MAX, &r->part.wish.cutoff, e);
}

static enum err_code take_noise_mode(const cJSON *item, struct reading *r, struct err *e)
{
    return read_word(item, NOISES, &r->part.wish.noise, e);
}

static enum err_code take_noise_seed(const cJSON *item, struct reading *r, struct err *e)
{
    return read_whole(item, 0, UINT32_MAX, &r->part.wish.noise_seed, e);
}

static enum err_code take_moves(const cJSON *item, struct reading *r, struct err *e)
{
    return take_transform(item, RECIPE_TRANSFORM_TR, &r->part.wish.transform, e);
}

static enum err_code take_matrix(const cJSON *item, struct reading *r, struct err *e)
{
    return take_transform(item, RECIPE_TRANSFORM_MATRIX, &r->part.wish.transform, e);
}

static enum err_code take_quality(const cJSON *item, struct reading *r, struct err *e)
{
    return read_int(item, 1, 100, &r->part.wish.quality, e);
}

static enum err_code take_mark(const cJSON *item, struct reading *r, struct err *e)
{
    return read_word(item, MARKS, &r->part.wish.mark, e);
}

static enum err_code take_rev(const cJSON *item, struct reading *r, struct err *e)
{
    int64_t v = 0;
    enum err_code rc = read_whole(item, 0, UINT32_MAX, &v, e);

    r->part.wish.rev = (uint32_t)v;
    return rc;
}

static const struct part_key {
    const char *name;
    enum err_code (*take)(const cJSON *item, struct reading *r, struct err *e);
} PART_KEYS[] = {
    { "model", take_model }, { "seeds", take_seeds }, { "psi", take_psi },
    { "class", take_class }, { "class_rule", take_rule }, { "cutoff", take_cutoff },
    { "noise_mode", take_noise_mode }, { "noise_seed", take_noise_seed },
    { "translate", take_moves }, { "rotate", take_moves }, { "transform", take_matrix },
    { "quality", take_quality }, { "mark", take_mark }, { "rev", take_rev },
};
enum { PART_KEY_COUNT = sizeof PART_KEYS / sizeof PART_KEYS[0] };

/* One number or text of "seeds", or one of a list. Single seeds that follow each other make one
 * range: *open says that the last part may grow. */
static enum err_code add_seeds(struct job_file *self, const struct job_part *like,
                               const cJSON *item, bool *open, struct err *e)
{
    struct job_part *last = *open ? &self->parts[self->part_count - 1] : NULL;
    double v = item->valuedouble;

    *open = cJSON_IsNumber(item);
    if (cJSON_IsString(item))
        return job_file_add(self, like, item->valuestring, e);
    if (!cJSON_IsNumber(item) || v != floor(v))
        return err_set(e, ERR_INVALID, "\"seeds\" needs whole numbers, texts such as \"0-9,12\", "
                                       "or a list of them");
    if (!(v >= 0 && v <= (double)UINT32_MAX))
        return err_set(e, ERR_RANGE, "\"seeds\" is out of range: 0..4294967295");
    if (last && last->last < UINT32_MAX && (uint32_t)v == last->last + 1) {
        last->last++;
        self->total++;
        return ERR_OK;
    }
    return add_range(self, like, (uint32_t)v, (uint32_t)v, e);
}

static enum err_code add_all_seeds(struct job_file *self, const struct job_part *like,
                                   const cJSON *seeds, struct err *e)
{
    const cJSON *item;
    bool open = false;
    enum err_code rc = ERR_OK;

    if (!cJSON_IsArray(seeds))
        return add_seeds(self, like, seeds, &open, e);
    if (!seeds->child)
        return err_set(e, ERR_INVALID, "\"seeds\" is an empty list");
    cJSON_ArrayForEach(item, seeds)
        if (!rc)
            rc = add_seeds(self, like, item, &open, e);
    return rc;
}

static enum err_code add_psi(struct job_file *self, struct job_part *like, const cJSON *psi,
                             const cJSON *seeds, struct err *e)
{
    enum err_code rc = read_decimal(psi, "psi", RECIPE_PSI_MAX, &like->wish.psi, e);

    return rc ? rc : add_all_seeds(self, like, seeds, e);
}

static enum err_code check_part(const struct reading *r, struct err *e)
{
    const struct recipe_request *wish = &r->part.wish;
    bool is_random = wish->noise == RECIPE_NOISE_RANDOM;

    if (!*r->part.model)
        return err_set(e, ERR_INVALID, "\"model\" is missing");
    if (!r->seeds)
        return err_set(e, ERR_INVALID, "\"seeds\" is missing");
    if (r->class_index && r->part.class_mod > 0)
        return err_set(e, ERR_INVALID, "give either \"class\" or \"class_rule\"");
    if (is_random != (wish->noise_seed >= 0))
        return err_set(e, ERR_INVALID, "\"noise_mode\" \"random\" and \"noise_seed\" go together");
    return ERR_OK;
}

static enum err_code add_part(struct job_file *self, struct reading *r, struct err *e)
{
    const cJSON *psi;
    enum err_code rc = check_part(r, e);

    if (rc || !r->psi)
        return rc ? rc : add_all_seeds(self, &r->part, r->seeds, e);
    if (!cJSON_IsArray(r->psi))
        return add_psi(self, &r->part, r->psi, r->seeds, e);
    if (!r->psi->child)
        return err_set(e, ERR_INVALID, "\"psi\" is an empty list");
    cJSON_ArrayForEach(psi, r->psi)
        if (!rc)
            rc = add_psi(self, &r->part, psi, r->seeds, e);
    return rc;
}

static enum err_code unknown_key(const char *name, struct err *e)
{
    return err_set(e, ERR_INVALID, "unknown key \"%.40s\"", name);
}

static enum err_code twice(const char *name, struct err *e)
{
    return err_set(e, ERR_INVALID, "key \"%.40s\" is there twice", name);
}

static enum err_code read_part(struct job_file *self, const cJSON *object, struct err *e)
{
    struct reading r = { .part = { .wish = RECIPE_REQUEST_DEFAULT } };
    unsigned seen = 0;
    const cJSON *item;
    enum err_code rc = ERR_OK;

    if (!cJSON_IsObject(object))
        return err_set(e, ERR_INVALID, "a part is an object");
    cJSON_ArrayForEach(item, object) {
        size_t k = 0;

        while (k < PART_KEY_COUNT && strcmp(PART_KEYS[k].name, item->string) != 0)
            k++;
        if (k == PART_KEY_COUNT)
            return unknown_key(item->string, e);
        if (seen & 1u << k)
            return twice(item->string, e);
        seen |= 1u << k;
        if ((rc = PART_KEYS[k].take(item, &r, e)))
            return rc;
    }
    return add_part(self, &r, e);
}

/* ---- the whole ---- */

static enum err_code take_name(struct job_file *self, const cJSON *item, struct err *e)
{
    if (!cJSON_IsString(item) ||
        !recipe_name_is_valid(item->valuestring, strlen(item->valuestring)))
        return refuse(item, ERR_INVALID, "needs 1 to 64 letters, digits, '.', '_' and '-', not '.' "
                                         "or '-' first", e);
    snprintf(self->name, sizeof self->name, "%s", item->valuestring);
    return ERR_OK;
}

static enum err_code take_keep(struct job_file *self, const cJSON *item, struct err *e)
{
    return read_word(item, KEEPS, &self->keep, e);
}

static enum err_code take_priority(struct job_file *self, const cJSON *item, struct err *e)
{
    return read_word(item, PRIORITIES, &self->priority, e);
}

static enum err_code take_chunk(struct job_file *self, const cJSON *item, struct err *e)
{
    return read_int(item, 1, CHUNK_MAX, &self->chunk, e);
}

static enum err_code take_parts(struct job_file *self, const cJSON *item, struct err *e)
{
    const cJSON *part;
    size_t number = 0;
    struct err why;

    if (!cJSON_IsArray(item) || !item->child)
        return refuse(item, ERR_INVALID, "needs a list of at least one part", e);
    cJSON_ArrayForEach(part, item) {
        number++;
        if (read_part(self, part, &why))
            return err_set(e, why.code, "part %zu: %s", number, why.msg);
    }
    return ERR_OK;
}

/* NULL: an export's, and of no meaning for the job. */
static const struct file_key {
    const char *name;
    enum err_code (*take)(struct job_file *self, const cJSON *item, struct err *e);
} FILE_KEYS[] = {
    { "name", take_name }, { "keep", take_keep }, { "priority", take_priority },
    { "chunk", take_chunk }, { "parts", take_parts }, { "shards", NULL }, { "made_by", NULL },
    { "format", NULL }, { "job", NULL }, { "total", NULL }, { "failures", NULL },
};
enum { FILE_KEY_COUNT = sizeof FILE_KEYS / sizeof FILE_KEYS[0] };

static enum err_code read_file(struct job_file *self, const cJSON *root, struct err *e)
{
    unsigned seen = 0;
    const cJSON *item;
    enum err_code rc;

    if (!cJSON_IsObject(root))
        return err_set(e, ERR_INVALID, "a job file is an object with \"parts\"");
    cJSON_ArrayForEach(item, root) {
        size_t k = 0;

        while (k < FILE_KEY_COUNT && strcmp(FILE_KEYS[k].name, item->string) != 0)
            k++;
        if (k == FILE_KEY_COUNT)
            return unknown_key(item->string, e);
        if (seen & 1u << k)
            return twice(item->string, e);
        seen |= 1u << k;
        if (FILE_KEYS[k].take && (rc = FILE_KEYS[k].take(self, item, e)))
            return rc;
    }
    if (self->part_count == 0)
        return err_set(e, ERR_INVALID, "\"parts\" is missing");
    return ERR_OK;
}

static enum err_code no_json(const char *text, const char *at, struct err *e)
{
    size_t line = 1;

    for (const char *c = text; c < at; c++)
        line += *c == '\n';
    return err_set(e, ERR_INVALID, "line %zu is no JSON", line);
}

static bool is_blank(const char *from, const char *end)
{
    while (from < end && *from && strchr(" \t\r\n", *from))
        from++;
    return from == end;
}

enum err_code job_file_parse(const char *text, size_t len, struct job_file *out, struct err *e)
{
    struct job_file self;
    const char *end = text;
    cJSON *root;
    enum err_code rc;

    job_file_init(&self);
    job_file_init(out);
    if (len > JOB_FILE_BYTES_MAX)
        return err_set(e, ERR_RANGE, "a job file of %zu bytes is too long: at most %d", len,
                       JOB_FILE_BYTES_MAX);
    root = cJSON_ParseWithLengthOpts(text, len, &end, false);
    if (!root || !is_blank(end, text + len))
        rc = no_json(text, end < text + len ? end : text + len, e);
    else
        rc = read_file(&self, root, e);
    cJSON_Delete(root);
    if (rc)
        job_file_release(&self);
    *out = self;
    return rc;
}

enum err_code job_file_load(const char *path, struct job_file *out, struct err *e)
{
    bool is_standard = strcmp(path, "-") == 0;
    struct err why = { .code = ERR_OK };
    uint8_t *text;
    size_t len;

    job_file_init(out);
    if (file_read(is_standard ? "/dev/stdin" : path, JOB_FILE_BYTES_MAX, &text, &len, e))
        return e->code;
    if (job_file_parse((const char *)text, len, out, &why))
        err_set(e, why.code == ERR_NOMEM ? ERR_NOMEM : ERR_FILE, "job file \"%.60s\": %s", path,
                why.msg);
    free(text);
    return why.code ? e->code : ERR_OK;
}

/* ---- writing ---- */

static void add_millionths(cJSON *to, const char *key, int64_t millionths)
{
    cJSON_AddNumberToObject(to, key, (double)millionths / 1e6);
}

static void add_transform(cJSON *to, const struct recipe_transform *t)
{
    double shift[2] = { (double)t->tx / 1e6, (double)t->ty / 1e6 }, matrix[9];

    if (t->kind == RECIPE_TRANSFORM_TR) {
        cJSON_AddItemToObject(to, "translate", cJSON_CreateDoubleArray(shift, 2));
        add_millionths(to, "rotate", t->degrees);
    } else if (t->kind == RECIPE_TRANSFORM_MATRIX) {
        for (int i = 0; i < 9; i++)
            matrix[i] = t->m[i];
        cJSON_AddItemToObject(to, "transform", cJSON_CreateDoubleArray(matrix, 9));
    }
}

static cJSON *text_of_part(const struct job_part *part)
{
    const struct recipe_request *wish = &part->wish;
    cJSON *object = cJSON_CreateObject();
    char text[32];

    cJSON_AddStringToObject(object, "model", part->model);
    snprintf(text, sizeof text, part->first == part->last ? "%" PRIu32 : "%" PRIu32 "-%" PRIu32,
             part->first, part->last);
    cJSON_AddStringToObject(object, "seeds", text);
    add_millionths(object, "psi", wish->psi);
    if (wish->cutoff >= 0)
        cJSON_AddNumberToObject(object, "cutoff", wish->cutoff);
    snprintf(text, sizeof text, "seed%%%d", part->class_mod);
    if (part->class_mod > 0)
        cJSON_AddStringToObject(object, "class_rule", text);
    else if (wish->class_index >= 0)
        cJSON_AddNumberToObject(object, "class", wish->class_index);
    if (wish->noise >= 0)
        cJSON_AddStringToObject(object, "noise_mode", NOISES[wish->noise]);
    if (wish->noise_seed >= 0)
        cJSON_AddNumberToObject(object, "noise_seed", (double)wish->noise_seed);
    add_transform(object, &wish->transform);
    cJSON_AddNumberToObject(object, "quality", wish->quality);
    if (wish->mark >= 0)
        cJSON_AddStringToObject(object, "mark", MARKS[wish->mark]);
    cJSON_AddNumberToObject(object, "rev", wish->rev);
    return object;
}

enum err_code job_file_text(const struct job_file *self, char **out, struct err *e)
{
    cJSON *root = cJSON_CreateObject(), *parts;
    char *text;
    size_t len;

    if (*self->name)
        cJSON_AddStringToObject(root, "name", self->name);
    cJSON_AddStringToObject(root, "keep", KEEPS[self->keep]);
    cJSON_AddStringToObject(root, "priority", PRIORITIES[self->priority]);
    cJSON_AddNumberToObject(root, "chunk", self->chunk);
    parts = cJSON_AddArrayToObject(root, "parts");
    for (size_t i = 0; i < self->part_count; i++)
        cJSON_AddItemToArray(parts, text_of_part(&self->parts[i]));
    text = cJSON_Print(root);
    cJSON_Delete(root);
    len = text ? strlen(text) : 0;
    *out = text ? malloc(len + 2) : NULL;
    if (*out) {
        memcpy(*out, text, len);
        memcpy(*out + len, "\n", 2);
    }
    cJSON_free(text);
    return *out ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for a job file");
}

enum err_code job_file_name(struct job_file *self, struct err *e)
{
    const char *model = self->part_count ? self->parts[0].model : "";
    size_t len = strcspn(model, "@");
    bool is_name = recipe_name_is_valid(model, len);
    struct digest digest;
    char *text;

    if (*self->name)
        return ERR_OK;
    if (job_file_text(self, &text, e))
        return e->code;
    digest = digest_of(text, strlen(text));
    free(text);
    snprintf(self->name, sizeof self->name, "%.*s-%.*s",
             !is_name || len > NAME_MODEL_MAX ? NAME_MODEL_MAX : (int)len,
             is_name ? model : "job", NAME_DIGITS, digest_hex(&digest).text);
    return ERR_OK;
}

/* ---- to the library ---- */

static void set_request(const struct recipe_request *wish, struct job_file_matrix *matrix,
                        struct seedpress_request *out)
{
    out->psi = (double)wish->psi / 1e6;
    out->cutoff = wish->cutoff;
    out->class_index = wish->class_index;
    out->noise_mode = wish->noise;
    out->noise_seed = wish->noise_seed;
    out->quality = wish->quality;
    out->mark = wish->mark;
    out->rev = wish->rev;
    out->translate[0] = (double)wish->transform.tx / 1e6;
    out->translate[1] = (double)wish->transform.ty / 1e6;
    out->rotate = (double)wish->transform.degrees / 1e6;
    for (int i = 0; i < 9; i++)
        matrix->m[i] = wish->transform.m[i];
    if (wish->transform.kind == RECIPE_TRANSFORM_MATRIX)
        out->transform = matrix->m;
}

struct seedpress_submission job_file_submission(const struct job_file *self,
                                                struct seedpress_part *parts,
                                                struct job_file_matrix *matrices)
{
    for (size_t i = 0; i < self->part_count; i++) {
        const struct job_part *part = &self->parts[i];

        parts[i] = (struct seedpress_part){ .first = part->first, .last = part->last,
                                            .class_mod = part->class_mod };
        seedpress_request_init(&parts[i].request);
        parts[i].request.model = part->model;
        set_request(&part->wish, &matrices[i], &parts[i].request);
    }
    return (struct seedpress_submission){
        .name = self->name, .keep = self->keep, .priority = self->priority, .chunk = self->chunk,
        .parts = parts, .part_count = self->part_count,
    };
}
