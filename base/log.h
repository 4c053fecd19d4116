/* log -- one line an event, on standard error:
 *     2026-11-22T04:42:46.123Z info worker_ready worker=host:17 models=2
 * error: someone must act; warn: degraded but handled; info: state changed; debug: off by default.
 * Whoever decides logs; whoever returns an error does not. Never tokens, never payloads. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The process's threshold: lines above it are dropped. Set once, by main. */
void log_set_level(enum log_level level);

/* fmt makes "key=value key=value"; control characters become spaces. Safe from any thread. */
void log_event(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
