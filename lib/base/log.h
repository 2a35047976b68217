/* Logs: one event a line on stderr, key=value, the call id first where there is one; never content,
 * keys or tokens. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/span.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* "debug", "info", "warn" or "error"; LOG_INFO for anything else. */
enum log_level log_level_of(const char *name);
/* Names the program in every line; lines below `level` are dropped. Any thread may log. */
void log_init(const char *program, enum log_level level);
/* fmt yields "key=value key=value". `event` is a constant word. The line gets a time, level and
 * program. Control bytes (below 0x20, 0x7F) in the result are replaced by '?', and it is cut at 4
 * KiB. */
void log_event(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
