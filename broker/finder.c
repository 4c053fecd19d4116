/* Rows of likenesses become visible in another order than their ids: one transaction may commit id
 * 7 while another, with id 5, is under way. So a number that is missing between two that were read
 * is remembered as a gap and asked for again until no transaction can bring it any more: once all
 * that had begun when it was first missed have ended. An id is taken after its transaction has a
 * number, since the picture's own row is inserted before. */
#include "broker/finder.h"

#include "base/clock.h"
#include "base/likeness.h"
#include "base/likeness_index.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGE_ROWS = 2048,
    READ_MS = 1000,                 /* what one question may take to read on */
    AGAIN_MS = 200,
    GAPS_MAX = 256,                 /* more: the oldest are given up */
};

/* Ids first..last were not there; they may still come while a transaction below next is under
 * way. */
struct gap {
    int64_t first, last, next;
};

struct finder {                     /* the thread's own after finder_create */
    struct likeness_index *index;
    struct ledger_likeness *page;   /* [PAGE_ROWS] */
    bool has_begun;
    int64_t last;                   /* the largest id read */
    struct gap gaps[GAPS_MAX];
    size_t gap_count;
};

struct question {
    struct finder *finder;
    uint64_t hashes[MESSAGE_LIKE_MAX];
    size_t count, limit;
    struct ledger_rows rows;
};

enum err_code finder_create(size_t bytes, struct finder **out, struct err *e)
{
    struct finder *self = calloc(1, sizeof *self);
    enum err_code rc = ERR_OK;

    *out = NULL;
    if (self)
        self->page = malloc(PAGE_ROWS * sizeof *self->page);
    if (!self || !self->page)
        rc = err_set(e, ERR_NOMEM, "no memory for a finder");
    else
        rc = likeness_index_create(bytes, &self->index, e);
    if (rc)
        finder_destroy(&self);
    *out = self;
    return rc;
}

void finder_destroy(struct finder **self)
{
    if (!*self)
        return;
    likeness_index_destroy(&(*self)->index);
    free((*self)->page);
    free(*self);
    *self = NULL;
}

/* ---- on the thread: what there is ---- */

static void add_gap(struct finder *self, int64_t first, int64_t last, int64_t next)
{
    if (first > last)
        return;
    if (self->gap_count == GAPS_MAX)
        memmove(self->gaps, self->gaps + 1, --self->gap_count * sizeof self->gaps[0]);
    self->gaps[self->gap_count++] = (struct gap){ first, last, next };
}

/* Adds a page of rows, which begin at first, and notes what is missing between them. */
static enum err_code add_page(struct finder *self, int64_t first, size_t count, int64_t next,
                              struct err *e)
{
    enum err_code rc = ERR_OK;

    for (size_t i = 0; !rc && i < count; i++) {
        const struct ledger_likeness *row = &self->page[i];

        rc = likeness_index_add(self->index, row->id, row->hashes, row->count, e);
        if (rc)
            return rc;
        add_gap(self, first, row->id - 1, next);
        first = row->id + 1;
    }
    return rc;
}

/* Asks for the gaps once more, and forgets those that can no longer be filled. */
static enum err_code read_gaps(struct finder *self, struct ledger *ledger, struct err *e)
{
    struct gap gaps[GAPS_MAX];
    size_t count = self->gap_count;
    enum err_code rc = ERR_OK;

    memcpy(gaps, self->gaps, count * sizeof gaps[0]);
    self->gap_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct ledger_horizon horizon;
        int64_t first = gaps[i].first;
        size_t found = 0;

        if (!rc)
            rc = ledger_likenesses(ledger, first, gaps[i].last, self->page, PAGE_ROWS, &found,
                                   &horizon, e);
        if (rc) {
            self->gaps[self->gap_count++] = gaps[i];
            continue;
        }
        for (size_t k = 0; !rc && k < found; k++)
            rc = likeness_index_add(self->index, self->page[k].id, self->page[k].hashes,
                                    self->page[k].count, e);
        if (horizon.oldest >= gaps[i].next)
            continue;               /* read after all that could fill it had ended */
        for (size_t k = 0; k < found; k++) {
            add_gap(self, first, self->page[k].id - 1, gaps[i].next);
            first = self->page[k].id + 1;
        }
        add_gap(self, first, gaps[i].last, gaps[i].next);
    }
    return rc;
}

/* Where to begin: a ledger of more than fits is not read through from its start. */
static enum err_code begin(struct finder *self, struct ledger *ledger, struct err *e)
{
    int64_t fit = (int64_t)likeness_index_capacity(self->index), newest;
    enum err_code rc = ledger_likeness_newest(ledger, &newest, e);

    if (rc)
        return rc;
    self->last = newest > fit ? newest - fit : 0;
    self->has_begun = true;
    if (self->last > 0)
        log_event(LOG_WARN, "likeness_partial", "newest=%lld of=%lld "
                  "hint=\"older pictures are not found by likeness: raise likeness_bytes\"",
                  (long long)fit, (long long)newest);
    return ERR_OK;
}

static enum err_code read_on(struct finder *self, struct ledger *ledger, struct err *e)
{
    int64_t until_ms = clock_ms() + READ_MS;
    enum err_code rc = self->has_begun ? read_gaps(self, ledger, e) : begin(self, ledger, e);

    while (!rc) {
        struct ledger_horizon horizon;
        size_t count;

        rc = ledger_likenesses(ledger, self->last + 1, INT64_MAX, self->page, PAGE_ROWS, &count,
                               &horizon, e);
        if (!rc)
            rc = add_page(self, self->last + 1, count, horizon.next, e);
        if (rc)
            return rc;
        if (count > 0)
            self->last = self->page[count - 1].id;
        if (count < PAGE_ROWS)
            return ERR_OK;
        if (clock_ms() >= until_ms) {
            rc = err_set(e, ERR_OVERLOADED, "perceptual hashes are still being read, %zu so far; "
                         "ask again", likeness_index_count(self->index));
            e->retry_after_ms = AGAIN_MS;
        }
    }
    return rc;
}

/* ---- on the thread: the answer ---- */

/* The rows of matches[0..count), count <= LEDGER_BATCH_MAX, in their order. out has room. */
static enum err_code add_rows(struct ledger *ledger, const struct likeness_match *matches,
                              size_t count, struct ledger_rows *out, struct err *e)
{
    struct digest keys[LEDGER_BATCH_MAX];
    int64_t ids[LEDGER_BATCH_MAX];
    struct ledger_rows rows = { 0 };
    enum err_code rc;

    for (size_t i = 0; i < count; i++)
        ids[i] = matches[i].id;
    rc = ledger_likeness_keys(ledger, ids, count, keys, e);
    if (!rc)
        rc = ledger_find_keys(ledger, keys, count, false, &rows, e);
    for (size_t i = 0, at = 0; !rc && i < count && at < rows.count; i++)
        if (digest_equal(&keys[i], &rows.row[at].key)) {
            out->row[out->count] = rows.row[at++];      /* without data: nothing to give away */
            out->row[out->count++].distance = matches[i].distance;
        }
    ledger_rows_release(&rows);
    return rc;
}

static enum err_code answer(struct ledger *ledger, void *extra, struct err *e)
{
    struct question *q = extra;
    struct likeness_match matches[LIKENESS_MATCHES_MAX];
    enum err_code rc = read_on(q->finder, ledger, e);
    size_t found, part;

    if (rc)
        return rc;
    found = likeness_index_search(q->finder->index, q->hashes, q->count, matches, q->limit);
    q->rows.row = calloc(found + 1, sizeof *q->rows.row);
    if (!q->rows.row)
        return err_set(e, ERR_NOMEM, "no memory for %zu rows of the ledger", found);
    for (size_t i = 0; !rc && i < found; i += part) {
        part = found - i < LEDGER_BATCH_MAX ? found - i : LEDGER_BATCH_MAX;
        rc = add_rows(ledger, matches + i, part, &q->rows, e);
    }
    return rc;
}

/* ---- the loop's side ---- */

static void end_question(void *extra)
{
    struct question *q = extra;

    ledger_rows_release(&q->rows);
    free(q);
}

static bool read_hash(const char *digits, uint64_t *out)
{
    static const char HEX[] = "0123456789abcdef";

    *out = 0;
    for (int i = 0; i < 16; i++) {
        const char *at = digits[i] ? strchr(HEX, digits[i]) : NULL;

        if (!at)
            return false;
        *out = *out << 4 | (uint64_t)(at - HEX);
    }
    return true;
}

enum err_code finder_ask(struct finder *self, struct text like, size_t limit, struct errand **out,
                         struct err *e)
{
    struct question *q = calloc(1, sizeof *q);
    struct errand *errand = q ? errand_create(ERRAND_CALL) : NULL;

    *out = NULL;
    if (!errand) {
        free(q);
        return err_set(e, ERR_NOMEM, "no memory for another look-up");
    }
    *q = (struct question){ .finder = self, .limit = limit };
    errand->call = answer;
    errand->extra = q;
    errand->end_extra = end_question;
    for (; q->count < MESSAGE_LIKE_MAX && 16 * q->count < like.len; q->count++)
        if (like.len - 16 * q->count < 16 || !read_hash(like.data + 16 * q->count,
                                                        &q->hashes[q->count])) {
            errand_destroy(&errand);
            return err_set(e, ERR_INVALID, "\"like\" is hashes of 16 digits of 0-9 a-f each");
        }
    *out = errand;
    return ERR_OK;
}

struct ledger_rows finder_rows(struct errand *errand)
{
    struct question *q = errand->extra;
    struct ledger_rows rows = q->rows;

    q->rows = (struct ledger_rows){ 0 };
    return rows;
}
