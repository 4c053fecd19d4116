#include "client/member.h"

#include "proto/number.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct member_name member_of_shard(int64_t item, const char *ending)
{
    struct member_name name;

    snprintf(name.text, sizeof name.text, "%09" PRId64 ".%s", item, ending);
    return name;
}

/* ---- folders ---- */

/* True when a folder that is made of model, psi and class may be that of both. */
static bool may_share(const struct items_range *a, const struct items_range *b)
{
    return digest_equal(&a->recipe.model, &b->recipe.model) && a->recipe.psi == b->recipe.psi &&
           (a->class_mod > 0 || b->class_mod > 0 ||
            a->recipe.class_index == b->recipe.class_index);
}

struct member_folders member_folders_of(const struct items *items)
{
    struct member_folders folders = { .by_model = false };
    const struct items_range *first = &items->ranges[0];

    for (size_t i = 0; i < items->count; i++) {
        const struct items_range *range = &items->ranges[i];

        folders.by_model |= !digest_equal(&range->recipe.model, &first->recipe.model);
        folders.by_psi |= range->recipe.psi != first->recipe.psi;
        folders.by_class |= range->class_mod > 0 ||
                            range->recipe.class_index != first->recipe.class_index;
        for (size_t k = 0; k < i && !folders.by_range; k++) {
            const struct items_range *other = &items->ranges[k];

            folders.by_range = may_share(range, other) && range->first <= other->last &&
                               other->first <= range->last;
        }
    }
    return folders;
}

static void append(struct member_name *name, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A '-' between the pieces. */
static void append(struct member_name *name, const char *fmt, ...)
{
    size_t len = strlen(name->text);
    va_list args;

    if (len > 0)
        len += (size_t)snprintf(name->text + len, sizeof name->text - len, "-");
    va_start(args, fmt);
    vsnprintf(name->text + len, sizeof name->text - len, fmt, args);
    va_end(args);
}

struct member_name member_of_folder(const struct items *items, const struct member_folders *folders,
                                    int64_t item)
{
    struct recipe recipe = items_recipe(items, item);
    struct member_name name = { "" };
    char psi[24];
    size_t len;

    number_format_millionths(recipe.psi, psi);
    if (folders->by_model)
        append(&name, "%.8s", digest_hex(&recipe.model).text);
    if (folders->by_psi)
        append(&name, "psi%s", psi);
    if (folders->by_class && recipe.class_index >= 0)
        append(&name, "class%d", recipe.class_index);
    else if (folders->by_class)
        append(&name, "noclass");
    if (folders->by_range)
        append(&name, "part%td", items_range_of(items, item) - items->ranges + 1);
    len = strlen(name.text);
    snprintf(name.text + len, sizeof name.text - len, "%sseed%04" PRIu32 ".jpg", len ? "/" : "",
             recipe.seed);
    return name;
}

/* ---- facts ---- */

enum err_code member_facts(int64_t item, const struct recipe *recipe,
                           const struct seedpress_image *image, char **out, struct err *e)
{
    cJSON *facts = cJSON_CreateObject();
    char key[24];

    snprintf(key, sizeof key, "%09" PRId64, item);
    cJSON_AddStringToObject(facts, "key", key);
    cJSON_AddNumberToObject(facts, "seed", recipe->seed);
    cJSON_AddNumberToObject(facts, "psi", (double)recipe->psi / 1e6);
    if (recipe->class_index >= 0)
        cJSON_AddNumberToObject(facts, "class", recipe->class_index);
    else
        cJSON_AddNullToObject(facts, "class");
    cJSON_AddStringToObject(facts, "model", image->model);
    cJSON_AddStringToObject(facts, "recipe_key", image->recipe_key);
    cJSON_AddStringToObject(facts, "sha256", image->sha256);
    cJSON_AddStringToObject(facts, "core_sha256", image->core_sha256);
    cJSON_AddStringToObject(facts, "numerics_class", image->numerics_class);
    cJSON_AddStringToObject(facts, "recipe", image->recipe);
    *out = cJSON_PrintUnformatted(facts);
    cJSON_Delete(facts);
    return *out ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for the facts of a picture");
}
