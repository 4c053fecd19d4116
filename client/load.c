#include "client/load.h"

#include "proto/number.h"

#include <math.h>
#include <string.h>

enum { WEIGHT_MAX = 1000000 };

void load_init(struct load *self, const struct load_options *options)
{
    *self = (struct load){ .options = *options, .dice = options->dice,
                           .next_seed = options->seeds_from + LOAD_HOT_SEEDS };
    for (int i = 0; i < MESSAGE_PRIORITY_COUNT; i++)
        self->weights += options->weight[i];
}

/* SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). */
static uint64_t roll(struct load *self)
{
    uint64_t z = self->dice += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static int roll_below(struct load *self, int sides)
{
    return (int)((roll(self) >> 32) * (uint64_t)sides >> 32);
}

/* Gaps of a Poisson process are exponential: -ln(u) / rate, u uniform in (0, 1]. */
int64_t load_next_arrival_us(struct load *self)
{
    double u = ((double)(roll(self) >> 11) + 1) * 0x1p-53;

    self->at_us += -log(u) * 1e6 / (double)self->options.rate;
    return (int64_t)self->at_us;
}

int load_next_level(struct load *self)
{
    int left = roll_below(self, self->weights), level = 0;

    while (left >= self->options.weight[level])
        left -= self->options.weight[level++];
    return level;
}

uint32_t load_next_seed(struct load *self)
{
    if (self->options.duplicates > 0 && roll_below(self, 100) < self->options.duplicates)
        return self->options.seeds_from + (uint32_t)roll_below(self, LOAD_HOT_SEEDS);
    return self->next_seed++;
}

/* One "level=weight". */
static enum err_code parse_share(const char *text, size_t len, int weight[MESSAGE_PRIORITY_COUNT],
                                 unsigned *seen, struct err *e)
{
    static const char *const LEVELS[] = { "high", "normal", "low" };
    const char *eq = memchr(text, '=', len);
    size_t word_len = eq ? (size_t)(eq - text) : len;
    int64_t v;

    for (unsigned i = 0; eq && i < MESSAGE_PRIORITY_COUNT; i++) {
        if (strlen(LEVELS[i]) != word_len || memcmp(LEVELS[i], text, word_len) != 0)
            continue;
        if (*seen & 1u << i || !number_parse(eq + 1, len - word_len - 1, &v))
            break;
        if (v < 0 || v > WEIGHT_MAX)
            return err_set(e, ERR_RANGE, "--mix: the share of %s is out of range: 0..%d", LEVELS[i],
                           WEIGHT_MAX);
        *seen |= 1u << i;
        weight[i] = (int)v;
        return ERR_OK;
    }
    return err_set(e, ERR_INVALID, "--mix needs shares such as high=10,normal=80,low=10, not "
                                   "\"%.*s\"", (int)(len > 40 ? 40 : len), text);
}

enum err_code load_parse_mix(const char *text, int weight[MESSAGE_PRIORITY_COUNT], struct err *e)
{
    enum err_code rc = ERR_OK;
    unsigned seen = 0;
    int sum = 0;

    memset(weight, 0, MESSAGE_PRIORITY_COUNT * sizeof weight[0]);
    for (const char *at = text; !rc && at;) {
        const char *comma = strchr(at, ',');

        rc = parse_share(at, comma ? (size_t)(comma - at) : strlen(at), weight, &seen, e);
        at = comma ? comma + 1 : NULL;
    }
    for (int i = 0; i < MESSAGE_PRIORITY_COUNT; i++)
        sum += weight[i];
    return !rc && sum == 0 ? err_set(e, ERR_INVALID, "--mix has no share above 0") : rc;
}
