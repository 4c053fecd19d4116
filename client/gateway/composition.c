#include "client/gateway/composition.h"

#include "client/gateway/permalink.h"
#include "proto/digest.h"
#include "proto/number.h"
#include "proto/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PART_MAX = 160 };

/* A count, and a class if another ':' follows. */
static bool read_numbers(const char *text, size_t len, int64_t *count, int64_t *class_index)
{
    const char *colon = memchr(text, ':', len);
    size_t count_len = colon ? (size_t)(colon - text) : len;

    *class_index = -1;
    return number_parse(text, count_len, count) &&
           (!colon || (number_parse(colon + 1, len - count_len - 1, class_index) &&
                       *class_index >= 0));
}

/* "rooms:4", "rooms:4:2". */
static enum err_code read_part(const char *text, size_t len, struct composition *out,
                               struct err *e)
{
    struct composition_part *part = &out->part[out->part_count];
    const char *colon = memchr(text, ':', len);
    size_t name_len = colon ? (size_t)(colon - text) : 0;
    int64_t count, class_index;
    char name[PART_MAX];
    enum err_code rc;

    if (name_len == 0 || name_len >= sizeof name ||
        !read_numbers(colon + 1, len - name_len - 1, &count, &class_index))
        return err_set(e, ERR_INVALID, "items: \"%.*s\" is not like rooms:4, or rooms:4:2 for "
                       "class 2", (int)(len < 80 ? len : 80), text);
    if (count < 1 || count > COMPOSITION_PICTURES_MAX - (int64_t)out->count)
        return err_set(e, ERR_RANGE, "items: a composite has 1 to %d pictures, and each part "
                       "at least one", COMPOSITION_PICTURES_MAX);
    if (class_index > RECIPE_CLASS_MAX)
        return err_set(e, ERR_RANGE, "items: class %" PRId64 " is outside 0..%d", class_index,
                       RECIPE_CLASS_MAX);
    memcpy(name, text, name_len);
    name[name_len] = '\0';
    rc = permalink_read_model(name, part->name, part->digest, e);
    part->count = (int)count;
    part->class_index = (int)class_index;
    out->part_count++;
    out->count += (size_t)count;
    return rc;
}

enum err_code composition_read(const char *text, struct composition *out, struct err *e)
{
    enum err_code rc = ERR_OK;

    out->part_count = out->count = 0;
    for (bool more = true; more && !rc;) {
        size_t len = strcspn(text, ",");

        rc = read_part(text, len, out, e);
        more = text[len] == ',';
        text += len + 1;
    }
    return rc;
}

uint32_t composition_seed(uint32_t seed, const char *digest, int index)
{
    char text[160];
    int len = snprintf(text, sizeof text,
                       "seedpress-composite/1\nseed=%" PRIu32 "\nmodel=%.64s\nindex=%d\n", seed,
                       digest, index);
    struct digest sum = digest_of(text, (size_t)len);

    return (uint32_t)sum.bytes[0] << 24 | (uint32_t)sum.bytes[1] << 16 |
           (uint32_t)sum.bytes[2] << 8 | sum.bytes[3];
}
