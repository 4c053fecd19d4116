/* progress -- how far a long command is: count, rate and time left, on standard error. Silent for
 * the first two seconds. On a terminal a line that rewrites itself; else plain lines, one every two
 * seconds at most, so that a log stays readable. */
#ifndef CLIENT_PROGRESS_H
#define CLIENT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum progress_style { PROGRESS_SILENT, PROGRESS_LINES, PROGRESS_TERMINAL };

struct progress {
    FILE *to;                       /* borrowed */
    enum progress_style style;
    uint64_t total;
    int64_t start_ms, last_ms;      /* monotonic; last_ms: of the last line */
    bool is_line_open;              /* a terminal's line stands without LF */
};

/* TERMINAL when to is one, else LINES. */
enum progress_style progress_style_of(FILE *to);

void progress_init(struct progress *self, FILE *to, enum progress_style style, uint64_t total,
                   int64_t now_ms);

/* done of total are ready; writes a line if one is due. None at the end: a summary follows. */
void progress_show(struct progress *self, uint64_t done, int64_t now_ms);

/* "42 s", "3 min 5 s", "2 h 10 min". */
void progress_print_duration(FILE *to, int64_t seconds);

/* Wipes a terminal's line, so that what is printed next begins at its start. */
void progress_end(struct progress *self);

#endif
