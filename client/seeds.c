#include "client/seeds.h"

#include "proto/number.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN_MAX = 40 };            /* bytes of a wrong part that a message repeats */

static int shown(size_t len)
{
    return len < SHOWN_MAX ? (int)len : SHOWN_MAX;
}

static enum err_code parse_seed(const char *text, size_t len, uint32_t *out, struct err *e)
{
    int64_t v;

    /* Digits that number_parse cannot hold are a number too large, not nonsense. */
    if (!number_parse(text, len, &v)) {
        if (len > 0 && text[0] >= '1' && strspn(text, "0123456789") >= len)
            return err_set(e, ERR_RANGE, "seed %.*s is out of range: 0..4294967295", shown(len),
                           text);
        return err_set(e, ERR_INVALID, "\"%.*s\" is not a seed: a whole number, 0..4294967295",
                       shown(len), text);
    }
    if (v < 0 || v > UINT32_MAX)
        return err_set(e, ERR_RANGE, "seed %.*s is out of range: 0..4294967295", shown(len), text);
    *out = (uint32_t)v;
    return ERR_OK;
}

static enum err_code parse_range(const char *text, size_t len, struct seed_range *out,
                                 struct err *e)
{
    /* From the second byte: a '-' before the first number is a sign, and refused as such. */
    const char *dash = len > 1 ? memchr(text + 1, '-', len - 1) : NULL;
    size_t first_len = dash ? (size_t)(dash - text) : len;
    enum err_code rc = parse_seed(text, first_len, &out->first, e);

    out->last = out->first;
    if (rc || !dash)
        return rc;
    rc = parse_seed(dash + 1, len - first_len - 1, &out->last, e);
    if (!rc && out->last < out->first)
        rc = err_set(e, ERR_INVALID, "seeds \"%.*s\" run backwards: the smaller one comes first",
                     shown(len), text);
    return rc;
}

static size_t count_parts(const char *text)
{
    size_t count = 1;

    for (; *text; text++)
        count += *text == ',';
    return count;
}

enum err_code seeds_parse_ranges(const char *text, size_t max, struct seeds *out, struct err *e)
{
    size_t parts = count_parts(text);
    enum err_code rc = ERR_OK;

    *out = (struct seeds){ .ranges = NULL };
    if (parts > max)
        return err_set(e, ERR_RANGE, "these are %zu ranges of seeds: at most %zu", parts, max);
    out->ranges = calloc(parts, sizeof *out->ranges);
    if (!out->ranges)
        return err_set(e, ERR_NOMEM, "no memory for the seeds");
    for (const char *part = text; !rc && part;) {
        const char *comma = strchr(part, ',');
        size_t len = comma ? (size_t)(comma - part) : strlen(part);

        rc = parse_range(part, len, &out->ranges[out->range_count++], e);
        part = comma ? comma + 1 : NULL;
    }
    if (rc)
        seeds_release(out);
    return rc;
}

enum err_code seeds_parse(const char *text, struct seeds *out, struct err *e)
{
    enum err_code rc = seeds_parse_ranges(text, SIZE_MAX, out, e);
    uint64_t count = 0;

    if (rc)
        return rc;
    for (size_t i = 0; i < out->range_count && count <= SEEDS_MAX; i++)
        count += (uint64_t)out->ranges[i].last - out->ranges[i].first + 1;
    if (count > SEEDS_MAX) {
        seeds_release(out);
        return err_set(e, ERR_RANGE, "these are more than %d seeds: too many for one command",
                       SEEDS_MAX);
    }
    out->count = (uint32_t)count;
    return ERR_OK;
}

enum err_code seeds_choose(const char *seed, const char *seeds, struct seeds *out, struct err *e)
{
    enum err_code rc = seeds_parse(seed ? seed : seeds, out, e);

    if (!rc && seed && strpbrk(seed, "-,")) {
        seeds_release(out);
        rc = err_set(e, ERR_INVALID, "--seed is one seed; for several there is --seeds");
    }
    return rc;
}

void seeds_release(struct seeds *self)
{
    free(self->ranges);
    *self = (struct seeds){ .ranges = NULL };
}

bool seeds_next(const struct seeds *self, struct seeds_walk *walk, uint32_t *seed)
{
    const struct seed_range *range = &self->ranges[walk->range];

    if (walk->range == self->range_count)
        return false;
    *seed = range->first + walk->offset;
    if (*seed == range->last) {      /* before the step: it may be the last uint32 there is */
        walk->range++;
        walk->offset = 0;
    } else {
        walk->offset++;
    }
    return true;
}
