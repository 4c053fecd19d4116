/* Pictures lie in blocks, hashes of one kind side by side, so that a query's window runs through
 * them as fast as memory gives them: an exclusive or, a count of bits, a comparison. Few pass, and
 * only those cost more. */
#include "base/likeness_index.h"

#include "base/likeness.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    BLOCK_PICTURES = 4096,
    BLOCK_WINDOWS = 65536,
    WINDOWS_MAX = 32,               /* of a picture */
    FAR = 2 * LIKENESS_NEAR,        /* in bits of both hashes: beyond it nothing is alike */
};

struct block {
    size_t count;                   /* pictures */
    int64_t id[BLOCK_PICTURES];
    uint32_t first[BLOCK_PICTURES + 1];         /* window of each, and where the last one ends */
    uint64_t whole_brightness[BLOCK_PICTURES], whole_colour[BLOCK_PICTURES];
    uint64_t brightness[BLOCK_WINDOWS], colour[BLOCK_WINDOWS];
    struct block *prev, *next;
};

struct likeness_index {
    struct block *blocks;           /* oldest first */
    size_t block_count, block_max;
    size_t count;                   /* pictures */
};

/* What a query found in one block. */
struct tally {
    uint32_t score[BLOCK_PICTURES];
    uint8_t nearest[BLOCK_PICTURES];            /* bits; FAR + 1: none */
};

/* Places of hashes that differ from query by LIKENESS_NEAR at most; hits has room for count. */
typedef size_t scan_fn(const uint64_t *hashes, size_t count, uint64_t query, uint32_t *hits);

/* ---- the scan, for the processor that is there ---- */

static inline __attribute__((always_inline)) size_t scan(const uint64_t *hashes, size_t count,
                                                         uint64_t query, uint32_t *hits)
{
    size_t found = 0;

    /* No branch: whether a hash is a hit cannot be foretold. */
    for (size_t i = 0; i < count; i++) {
        hits[found] = (uint32_t)i;
        found += __builtin_popcountll(hashes[i] ^ query) <= LIKENESS_NEAR;
    }
    return found;
}

static size_t scan_anywhere(const uint64_t *hashes, size_t count, uint64_t query, uint32_t *hits)
{
    return scan(hashes, count, query, hits);
}

#if defined(__x86_64__)
static __attribute__((target("popcnt"))) size_t scan_popcnt(const uint64_t *hashes, size_t count,
                                                            uint64_t query, uint32_t *hits)
{
    return scan(hashes, count, query, hits);
}

static scan_fn *best_scan(void)
{
    return __builtin_cpu_supports("popcnt") ? scan_popcnt : scan_anywhere;
}
#else
static scan_fn *best_scan(void)
{
    return scan_anywhere;           /* AArch64 counts bits in its vectors anyway */
}
#endif

/* ---- what is held ---- */

enum err_code likeness_index_create(size_t bytes, struct likeness_index **out, struct err *e)
{
    struct likeness_index *self = calloc(1, sizeof *self);

    *out = self;
    if (!self)
        return err_set(e, ERR_NOMEM, "no memory for an index of perceptual hashes");
    self->block_max = bytes / sizeof(struct block) > 1 ? bytes / sizeof(struct block) : 1;
    return ERR_OK;
}

void likeness_index_destroy(struct likeness_index **self)
{
    struct block *block, *next;

    if (!*self)
        return;
    DL_FOREACH_SAFE((*self)->blocks, block, next)
        free(block);
    free(*self);
    *self = NULL;
}

/* A block with room at the end of the list; the oldest one again when there may be no more. */
static struct block *block_with_room(struct likeness_index *self)
{
    struct block *last = self->blocks ? self->blocks->prev : NULL, *block;

    if (last && last->count < BLOCK_PICTURES &&
        last->first[last->count] + WINDOWS_MAX <= BLOCK_WINDOWS)
        return last;
    if (self->block_count < self->block_max) {
        block = malloc(sizeof *block);
        if (!block)
            return NULL;
        self->block_count++;
    } else {
        block = self->blocks;
        DL_DELETE(self->blocks, block);
        self->count -= block->count;
    }
    block->count = 0;
    block->first[0] = 0;
    DL_APPEND(self->blocks, block);
    return block;
}

enum err_code likeness_index_add(struct likeness_index *self, int64_t id, const uint64_t *hashes,
                                 size_t count, struct err *e)
{
    struct block *block;

    if (count == 0 || count % LIKENESS_WINDOW != 0 || count / LIKENESS_WINDOW > WINDOWS_MAX)
        return ERR_OK;
    block = block_with_room(self);
    if (!block)
        return err_set(e, ERR_NOMEM, "no memory for more perceptual hashes");
    size_t at = block->count++;
    uint32_t window = block->first[at];

    block->id[at] = id;
    block->whole_brightness[at] = hashes[0];
    block->whole_colour[at] = hashes[1];
    for (size_t i = 0; i < count; i += LIKENESS_WINDOW, window++) {
        block->brightness[window] = hashes[i];
        block->colour[window] = hashes[i + 1];
    }
    block->first[at + 1] = window;
    self->count++;
    return ERR_OK;
}

size_t likeness_index_count(const struct likeness_index *self)
{
    return self->count;
}

size_t likeness_index_capacity(const struct likeness_index *self)
{
    return self->block_max * (BLOCK_WINDOWS / (LIKENESS_STORED_MAX / LIKENESS_WINDOW));
}

/* ---- the search ---- */

static void note(struct tally *tally, size_t picture, int bits)
{
    if (bits > FAR)
        return;
    tally->score[picture] += (uint32_t)((FAR - bits) * (FAR - bits));
    if (bits < tally->nearest[picture])
        tally->nearest[picture] = (uint8_t)bits;
}

/* A window counts once for a picture, by the picture's window nearest to it. */
static void match_windows(const struct block *block, const uint64_t *query, scan_fn *scan_with,
                          uint32_t *hits, struct tally *tally)
{
    size_t found = scan_with(block->brightness, block->first[block->count], query[0], hits);
    size_t picture = 0, i = 0;

    while (i < found) {
        int least = FAR + 1;

        while (block->first[picture + 1] <= hits[i])
            picture++;
        for (; i < found && hits[i] < block->first[picture + 1]; i++) {
            int bits = likeness_bits(block->brightness[hits[i]], block->colour[hits[i]], query);

            least = bits < least ? bits : least;
        }
        note(tally, picture, least);
    }
}

static bool is_better(const struct likeness_match *a, const struct likeness_match *b)
{
    if (a->score != b->score)
        return a->score > b->score;
    return a->distance != b->distance ? a->distance < b->distance : a->id < b->id;
}

/* Puts a match into its place among the best; there is room for one more than max. */
static size_t keep_best(struct likeness_match *best, size_t count, size_t max,
                        const struct likeness_match *match)
{
    size_t at = count;

    if (count == max && !is_better(match, &best[count - 1]))
        return count;
    while (at > 0 && is_better(match, &best[at - 1])) {
        best[at] = best[at - 1];
        at--;
    }
    best[at] = *match;
    return count < max ? count + 1 : count;
}

struct work {
    struct tally tally;
    uint32_t hits[BLOCK_WINDOWS + 1];           /* the scan writes one behind the last */
    struct likeness_match best[LIKENESS_MATCHES_MAX + 1];
    size_t found, max;
};

static void keep(struct work *work, int64_t id, uint32_t score, int bits)
{
    struct likeness_match match = { id, bits / 2, score };

    work->found = keep_best(work->best, work->found, work->max, &match);
}

static void search_wholes(const struct block *block, const uint64_t *query, scan_fn *scan_with,
                          struct work *work)
{
    size_t count = scan_with(block->whole_brightness, block->count, query[0], work->hits);

    for (size_t i = 0; i < count; i++) {
        size_t at = work->hits[i];
        int bits = likeness_bits(block->whole_brightness[at], block->whole_colour[at], query);

        if (bits <= FAR)
            keep(work, block->id[at], (uint32_t)((FAR - bits) * (FAR - bits)), bits);
    }
}

static void search_windows(const struct block *block, const uint64_t *query, size_t count,
                           scan_fn *scan_with, struct work *work)
{
    struct tally *tally = &work->tally;

    memset(tally->score, 0, block->count * sizeof tally->score[0]);
    memset(tally->nearest, FAR + 1, block->count);
    for (size_t i = 0; i < count; i += LIKENESS_WINDOW)
        match_windows(block, query + i, scan_with, work->hits, tally);
    for (size_t i = 0; i < block->count; i++)
        if (tally->nearest[i] <= FAR)
            keep(work, block->id[i], tally->score[i], tally->nearest[i]);
}

size_t likeness_index_search(const struct likeness_index *self, const uint64_t *query, size_t count,
                             struct likeness_match *matches, size_t max)
{
    struct work *work = malloc(sizeof *work);
    scan_fn *scan_with = best_scan();
    const struct block *block;
    size_t found;

    count -= count % LIKENESS_WINDOW;
    if (!work || max == 0 || count == 0) {
        free(work);
        return 0;
    }
    work->found = 0;
    work->max = max < LIKENESS_MATCHES_MAX ? max : LIKENESS_MATCHES_MAX;
    DL_FOREACH(self->blocks, block)
        if (count == LIKENESS_WINDOW)
            search_wholes(block, query, scan_with, work);
        else
            search_windows(block, query, count, scan_with, work);
    found = work->found;
    memcpy(matches, work->best, found * sizeof *matches);
    free(work);
    return found;
}
