#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One standard error has one threshold: the only state that is the process's own. */
static _Atomic int threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
    threshold = level;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    static const char *const WORDS[] = { "error", "warn", "info", "debug" };
    int64_t ms = clock_wall_ms();
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char line[1024], when[32];
    va_list args;

    if ((int)level > threshold)
        return;
    gmtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    int len = snprintf(line, sizeof line, "%s.%03dZ %s %s ", when, (int)(ms % 1000), WORDS[level],
                       event);

    va_start(args, fmt);
    int more = vsnprintf(line + len, sizeof line - (size_t)len, fmt, args);
    va_end(args);
    len += more < 0 ? 0 : more;
    if ((size_t)len > sizeof line - 2)
        len = sizeof line - 2;
    for (int i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[len] = '\n';
    /* One write keeps lines of several threads whole; a log that cannot be written is no reason to
     * stop. */
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)len + 1);

    (void)ignored;
}
