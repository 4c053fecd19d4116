#include "base/metrics.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_SHOWN = 8 };           /* more would not fit a line of the manual */

struct name {
    atomic_bool known;
    char word[METRIC_LABELS_MAX][METRIC_WORD_MAX];
};

struct place {                      /* of a row */
    size_t value;                   /* its first in values */
    size_t name;                    /* its first in names, when it has no words */
};

struct metrics {
    const struct metric *table;     /* borrowed, [rows] */
    size_t rows;
    struct place *places;           /* [rows] */
    struct name *names;
    _Atomic int64_t *values;
};

static const char *const KIND_WORDS[] = { "counter", "gauge", "histogram" };

static size_t series_of(const struct metric *m)
{
    return m->series ? m->series : 1;
}

/* A histogram keeps a bucket for each bound, one for what is above them, and the sum. */
static size_t width_of(const struct metric *m)
{
    return m->kind == METRIC_HISTOGRAM ? m->bound_count + 2 : 1;
}

static bool is_named_late(const struct metric *m)
{
    return m->label[0] && !m->words;
}

enum err_code metrics_create(const struct metric *table, size_t rows, struct metrics **out,
                             struct err *e)
{
    struct metrics *self = calloc(1, sizeof *self);
    size_t values = 0, names = 0;

    *out = NULL;
    if (!self || !(self->places = calloc(rows + 1, sizeof *self->places)))
        goto no_memory;
    self->table = table;
    self->rows = rows;
    for (size_t row = 0; row < rows; row++) {
        self->places[row] = (struct place){ values, names };
        values += series_of(&table[row]) * width_of(&table[row]);
        names += is_named_late(&table[row]) ? series_of(&table[row]) : 0;
    }
    self->values = calloc(values + 1, sizeof *self->values);
    self->names = calloc(names + 1, sizeof *self->names);
    if (!self->values || !self->names)
        goto no_memory;
    *out = self;
    return ERR_OK;

no_memory:
    metrics_destroy(&self);
    return err_set(e, ERR_NOMEM, "no memory for %zu metrics", rows);
}

void metrics_destroy(struct metrics **self)
{
    if (!*self)
        return;
    free((*self)->names);
    free((*self)->values);
    free((*self)->places);
    free(*self);
    *self = NULL;
}

/* ---- changes ---- */

static _Atomic int64_t *values_of(const struct metrics *self, size_t row, size_t series)
{
    return &self->values[self->places[row].value + series * width_of(&self->table[row])];
}

void metrics_add(struct metrics *self, size_t row, size_t series, int64_t by)
{
    if (self)
        atomic_fetch_add_explicit(values_of(self, row, series), by, memory_order_relaxed);
}

void metrics_set(struct metrics *self, size_t row, size_t series, int64_t value)
{
    if (self)
        atomic_store_explicit(values_of(self, row, series), value, memory_order_relaxed);
}

void metrics_observe(struct metrics *self, size_t row, size_t series, int64_t value)
{
    size_t bucket = 0;

    if (!self)
        return;
    const struct metric *m = &self->table[row];
    _Atomic int64_t *values = values_of(self, row, series);

    while (bucket < m->bound_count && value > m->bounds[bucket])
        bucket++;
    atomic_fetch_add_explicit(&values[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&values[m->bound_count + 1], value, memory_order_relaxed);
}

void metrics_name(struct metrics *self, size_t row, size_t series, const char *first,
                  const char *second)
{
    struct name *name = &self->names[self->places[row].name + series];

    if (atomic_load_explicit(&name->known, memory_order_relaxed))
        return;
    snprintf(name->word[0], sizeof name->word[0], "%s", first);
    snprintf(name->word[1], sizeof name->word[1], "%s", second ? second : "");
    atomic_store_explicit(&name->known, true, memory_order_release);
}

/* ---- what they hold ---- */

static int64_t load(const _Atomic int64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

int64_t metrics_value(const struct metrics *self, size_t row, size_t series)
{
    const _Atomic int64_t *values = values_of(self, row, series);
    int64_t sum = load(&values[0]);

    if (self->table[row].kind == METRIC_HISTOGRAM)
        for (size_t i = 1; i <= self->table[row].bound_count; i++)
            sum += load(&values[i]);
    return sum;
}

/* The label's value of a series; NULL: the series has no name yet. */
static const char *word_of(const struct metrics *self, size_t row, size_t series, int label)
{
    const struct metric *m = &self->table[row];
    struct name *name;

    if (m->words)
        return m->words[series];
    name = &self->names[self->places[row].name + series];
    return atomic_load_explicit(&name->known, memory_order_acquire) ? name->word[label] : NULL;
}

static void print_number(FILE *out, int64_t value, int64_t per)
{
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint64_t unit = per ? (uint64_t)per : 1;
    uint64_t rest = size % unit;

    fprintf(out, "%s%" PRIu64, value < 0 ? "-" : "", size / unit);
    if (rest > 0)
        putc('.', out);
    for (unit /= 10; rest > 0; rest %= unit, unit /= 10)
        putc((int)('0' + rest / unit), out);
}

static void print_label(FILE *out, const char *before, const char *name, const char *word)
{
    fprintf(out, "%s%s=\"", before, name);
    for (; *word; word++)
        if (*word == '\n')
            fputs("\\n", out);
        else {
            if (*word == '"' || *word == '\\')
                putc('\\', out);
            putc(*word, out);
        }
    putc('"', out);
}

/* "name_suffix{labels" without the end; true when a label was printed. */
static bool print_series(FILE *out, const struct metrics *self, size_t row, size_t series,
                         const char *suffix)
{
    const struct metric *m = &self->table[row];

    fprintf(out, "%s%s", m->name, suffix);
    for (int i = 0; i < METRIC_LABELS_MAX && m->label[i]; i++)
        print_label(out, i ? "," : "{", m->label[i], word_of(self, row, series, i));
    return m->label[0] != NULL;
}

static void print_value(FILE *out, const struct metrics *self, size_t row, size_t series,
                        const char *suffix, int64_t value, int64_t per)
{
    fputs(print_series(out, self, row, series, suffix) ? "} " : " ", out);
    print_number(out, value, per);
    putc('\n', out);
}

static void print_histogram(FILE *out, const struct metrics *self, size_t row, size_t series)
{
    const struct metric *m = &self->table[row];
    const _Atomic int64_t *values = values_of(self, row, series);
    int64_t count = 0;

    for (size_t i = 0; i <= m->bound_count; i++) {
        count += load(&values[i]);
        fputs(print_series(out, self, row, series, "_bucket") ? ",le=\"" : "{le=\"", out);
        if (i < m->bound_count)
            print_number(out, m->bounds[i], m->per);
        else
            fputs("+Inf", out);
        fprintf(out, "\"} %" PRId64 "\n", count);
    }
    print_value(out, self, row, series, "_sum", load(&values[m->bound_count + 1]), m->per);
    print_value(out, self, row, series, "_count", count, 1);
}

static void print_row(FILE *out, const struct metrics *self, size_t row)
{
    const struct metric *m = &self->table[row];

    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, KIND_WORDS[m->kind]);
    for (size_t series = 0; series < series_of(m); series++)
        if (is_named_late(m) && !word_of(self, row, series, 0))
            continue;
        else if (m->kind == METRIC_HISTOGRAM)
            print_histogram(out, self, row, series);
        else
            print_value(out, self, row, series, "", load(values_of(self, row, series)), m->per);
}

enum err_code metrics_print(const struct metrics *self, char **out, size_t *len, struct err *e)
{
    FILE *text;

    *out = NULL;
    if ((text = open_memstream(out, len))) {
        for (size_t row = 0; row < self->rows; row++)
            print_row(text, self, row);
        if (fclose(text) == 0)
            return ERR_OK;
    }
    free(*out);
    *out = NULL;
    return err_set(e, ERR_NOMEM, "no memory for the text of %zu metrics", self->rows);
}

size_t metric_describe(const struct metric *m, char *out, size_t cap)
{
    char labels[512] = "-";
    size_t at = 0;
    int len;

    for (int i = 0; i < METRIC_LABELS_MAX && m->label[i]; i++)
        at += (size_t)snprintf(labels + at, sizeof labels - at, "%s`%s`", i ? ", " : "",
                               m->label[i]);
    for (size_t i = 0; m->words && m->series <= WORDS_SHOWN && i < m->series; i++)
        at += (size_t)snprintf(labels + at, sizeof labels - at, "%s%s", i ? ", " : ": ",
                               m->words[i]);
    len = snprintf(out, cap, "| `%s` | %s | %s | %s |", m->name, KIND_WORDS[m->kind], labels,
                   m->help);
    return (size_t)len < cap ? (size_t)len : cap - 1;
}
