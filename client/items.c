#include "client/items.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- from ranges as they came ---- */

static int class_of(const struct items_range *range, uint32_t seed)
{
    return range->class_mod ? (int)(seed % (uint32_t)range->class_mod)
                            : range->recipe.class_index;
}

static enum err_code read_range(const struct seedpress_range *from, size_t index, int64_t item,
                                struct items_range *out, struct err *e)
{
    enum err_code rc;

    *out = (struct items_range){ .item = from->item, .first = from->first, .last = from->last,
                                 .class_mod = from->class_mod };
    if (from->item != item || from->last < from->first || from->class_mod < 0 ||
        from->class_mod > RECIPE_CLASS_MAX + 1)
        return err_set(e, ERR_INVALID, "range %zu of the job does not follow the one before it",
                       index);
    rc = recipe_parse(from->recipe, strnlen(from->recipe, sizeof from->recipe), &out->recipe, e);
    if (rc)
        return rc;
    if (out->recipe.seed != from->first ||
        (from->class_mod > 0 && out->recipe.class_index != class_of(out, from->first)))
        return err_set(e, ERR_INVALID, "the recipe of range %zu is not that of its first seed",
                       index);
    return ERR_OK;
}

enum err_code items_init(struct items *out, const struct seedpress_range *ranges, size_t count,
                         struct err *e)
{
    struct items items = { .count = count };
    enum err_code rc = ERR_OK;

    *out = (struct items){ .ranges = NULL };
    if (count < 1 || count > SEEDPRESS_PARTS_MAX)
        return err_set(e, ERR_INVALID, "a job has 1..%d ranges, not %zu", SEEDPRESS_PARTS_MAX,
                       count);
    items.ranges = calloc(count, sizeof *items.ranges);
    if (!items.ranges)
        return err_set(e, ERR_NOMEM, "no memory for %zu ranges", count);
    for (size_t i = 0; !rc && i < count; i++) {
        rc = read_range(&ranges[i], i, items.total, &items.ranges[i], e);
        items.total += (int64_t)ranges[i].last - ranges[i].first + 1;
    }
    if (rc)
        items_release(&items);
    *out = items;
    return rc;
}

void items_release(struct items *self)
{
    free(self->ranges);
    *self = (struct items){ .ranges = NULL };
}

/* ---- one item ---- */

const struct items_range *items_range_of(const struct items *self, int64_t item)
{
    size_t low = 0, high = self->count;

    while (high - low > 1) {         /* ranges[low].item <= item < ranges[high].item */
        size_t middle = low + (high - low) / 2;

        if (self->ranges[middle].item <= item)
            low = middle;
        else
            high = middle;
    }
    return &self->ranges[low];
}

struct recipe items_recipe(const struct items *self, int64_t item)
{
    const struct items_range *range = items_range_of(self, item);
    struct recipe recipe = range->recipe;

    recipe.seed = range->first + (uint32_t)(item - range->item);
    recipe.class_index = class_of(range, recipe.seed);
    return recipe;
}

bool items_are_same(const struct items *a, const struct items *b)
{
    if (a->count != b->count || a->total != b->total)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct items_range *x = &a->ranges[i], *y = &b->ranges[i];
        struct digest xk = recipe_key(&x->recipe), yk = recipe_key(&y->recipe);

        if (x->item != y->item || x->first != y->first || x->last != y->last ||
            x->class_mod != y->class_mod || !digest_equal(&xk, &yk))
            return false;
    }
    return true;
}

/* ---- asking for it ---- */

static int noise_of(enum recipe_noise noise)
{
    static const int WORDS[RECIPE_NOISE_COUNT] = {
        [RECIPE_NOISE_NONE] = SEEDPRESS_NOISE_NONE,
        [RECIPE_NOISE_CONST] = SEEDPRESS_NOISE_CONST,
        [RECIPE_NOISE_RANDOM] = SEEDPRESS_NOISE_RANDOM,
        [RECIPE_NOISE_STREAM] = SEEDPRESS_NOISE_STREAM,
    };

    return WORDS[noise];
}

static int mark_of(enum recipe_mark mark)
{
    static const int WORDS[RECIPE_MARK_COUNT] = {
        [RECIPE_MARK_NONE] = SEEDPRESS_MARK_NONE,
        [RECIPE_MARK_XMP] = SEEDPRESS_MARK_XMP,
        [RECIPE_MARK_C2PA] = SEEDPRESS_MARK_C2PA,
    };

    return WORDS[mark];
}

void items_request(const struct items_range *range, struct items_room *room,
                   struct seedpress_request *out)
{
    const struct recipe *recipe = &range->recipe;
    const struct recipe_transform *transform = &recipe->transform;

    seedpress_request_init(out);
    memcpy(room->model, digest_hex(&recipe->model).text, sizeof room->model);
    out->model = room->model;
    out->psi = (double)recipe->psi / 1e6;
    out->cutoff = recipe->cutoff;
    out->class_index = recipe->class_index;
    out->noise_mode = noise_of(recipe->noise);
    out->noise_seed = recipe->noise == RECIPE_NOISE_RANDOM ? (int64_t)recipe->noise_seed : -1;
    out->translate[0] = (double)transform->tx / 1e6;
    out->translate[1] = (double)transform->ty / 1e6;
    out->rotate = (double)transform->degrees / 1e6;
    for (int i = 0; i < 9; i++)
        room->matrix[i] = transform->m[i];
    if (transform->kind == RECIPE_TRANSFORM_MATRIX)
        out->transform = room->matrix;
    out->quality = recipe->quality;
    out->mark = mark_of(recipe->mark);
    out->rev = recipe->rev;
}
