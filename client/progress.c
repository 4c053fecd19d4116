#include "client/progress.h"

#include <inttypes.h>
#include <unistd.h>

enum { QUIET_MS = 2000, LINE_EVERY_MS = 2000, REWRITE_EVERY_MS = 200 };

#define WIPE_LINE "\r\033[K"

enum progress_style progress_style_of(FILE *to)
{
    return isatty(fileno(to)) ? PROGRESS_TERMINAL : PROGRESS_LINES;
}

void progress_init(struct progress *self, FILE *to, enum progress_style style, uint64_t total,
                   int64_t now_ms)
{
    *self = (struct progress){ .to = to, .style = style, .total = total, .start_ms = now_ms,
                               .last_ms = now_ms };
}

void progress_print_duration(FILE *to, int64_t seconds)
{
    if (seconds < 60)
        fprintf(to, "%" PRId64 " s", seconds);
    else if (seconds < 3600)
        fprintf(to, "%" PRId64 " min %" PRId64 " s", seconds / 60, seconds % 60);
    else
        fprintf(to, "%" PRId64 " h %" PRId64 " min", seconds / 3600, seconds % 3600 / 60);
}

void progress_show(struct progress *self, uint64_t done, int64_t now_ms)
{
    int64_t elapsed_ms = now_ms - self->start_ms;
    int64_t every_ms = self->style == PROGRESS_TERMINAL ? REWRITE_EVERY_MS : LINE_EVERY_MS;
    double rate;

    if (self->style == PROGRESS_SILENT || elapsed_ms < QUIET_MS || done >= self->total ||
        now_ms - self->last_ms < every_ms)
        return;
    self->last_ms = now_ms;
    rate = (double)done * 1000 / (double)elapsed_ms;
    if (self->style == PROGRESS_TERMINAL)
        fputs(WIPE_LINE, self->to);
    fprintf(self->to, "%" PRIu64 " of %" PRIu64 " pictures, %.1f/s", done, self->total, rate);
    if (done > 0) {
        fputs(", ", self->to);
        progress_print_duration(self->to, (int64_t)((double)(self->total - done) / rate + 0.5));
        fputs(" left", self->to);
    }
    if (self->style == PROGRESS_LINES)
        fputc('\n', self->to);
    self->is_line_open = self->style == PROGRESS_TERMINAL;
    fflush(self->to);
}

void progress_end(struct progress *self)
{
    if (self->is_line_open)
        fputs(WIPE_LINE, self->to);
    self->is_line_open = false;
    fflush(self->to);
}
