/* metrics -- a program's figures, as Prometheus reads them. One table holds names, labels and help;
 * the manual prints that same table. Any thread may change and read values; nobody waits for
 * anybody. A reader sees each value whole, but not all values of one moment.
 *
 * Labels hold words of the program only: never a seed, a key of a client's or other text from
 * outside that could grow without bound. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "proto/err.h"

#include <stddef.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum { METRIC_LABELS_MAX = 2, METRIC_WORD_MAX = 128 /* bytes of a label's value, with its NUL */ };

struct metric {
    const char *name;               /* whole: "seedpress_queue_wait_seconds" */
    enum metric_kind kind;
    int64_t per;                    /* values in a printed unit, a power of ten: 1000 where values
                                       are milliseconds and seconds are printed; 0 is 1 */
    const char *label[METRIC_LABELS_MAX];       /* names; NULL: none */
    const char *const *words;       /* [series] values of label[0]; NULL: metrics_name says them */
    size_t series;                  /* values that the labels have; 0 is 1 */
    const int64_t *bounds;          /* HISTOGRAM: [bound_count] upper bounds, ascending */
    size_t bound_count;
    const char *help;               /* one line */
};

struct metrics;
/* All values 0. table[rows] is borrowed and must outlive *out. ERR_NOMEM. */
enum err_code metrics_create(const struct metric *table, size_t rows, struct metrics **out,
                             struct err *e);
void metrics_destroy(struct metrics **self);                    /* NULL is fine */

/* series < the row's. NULL for self is fine in these three: nothing is counted. */
void metrics_add(struct metrics *self, size_t row, size_t series, int64_t by);
void metrics_set(struct metrics *self, size_t row, size_t series, int64_t value);
void metrics_observe(struct metrics *self, size_t row, size_t series, int64_t value);

/* Gives a series of a row without words its labels (second NULL: ""), once: a later name is
 * ignored, and what is too long is cut. Before that the series is not printed. One thread names. */
void metrics_name(struct metrics *self, size_t row, size_t series, const char *first,
                  const char *second);

/* What a series holds; of a histogram, how many were observed. */
int64_t metrics_value(const struct metrics *self, size_t row, size_t series);

/* Everything in Prometheus' text format 0.0.4; *out[*len] is the caller's to free(). ERR_NOMEM. */
enum err_code metrics_print(const struct metrics *self, char **out, size_t *len, struct err *e);

/* The manual's line for a row: "| `name` | kind | `label`: its words | help |". Returns the length;
 * cut at cap. */
size_t metric_describe(const struct metric *metric, char *out, size_t cap);

#endif
