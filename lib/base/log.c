/* One event a line on stderr, written by one write(2) so that lines of threads do not mix. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

enum { LINE_MAX_LEN = 4096 }; // with the newline

// Set once before threads start; the one accepted pair of globals.
static const char *log_program = "cocoon";
static enum log_level log_lowest = LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

enum log_level log_level_of(const char *name)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
        if (strcmp(name, level_names[i]) == 0)
            return (enum log_level)i;
    return LOG_INFO;
}

void log_init(const char *program, enum log_level level)
{
    log_program = program;
    log_lowest = level;
}

// Length after appending what snprintf says it wanted to append.
static size_t advance(size_t len, int wanted)
{
    const size_t room = LINE_MAX_LEN - 1 - len;

    if (wanted < 0)
        return len;
    return len + ((size_t)wanted < room ? (size_t)wanted : room);
}

static size_t put_head(char line[static LINE_MAX_LEN], enum log_level level, const char *event)
{
    struct timespec now = {0};
    struct tm tm = {0};
    char date[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    return advance(0,
                   snprintf(line, LINE_MAX_LEN, "time=%s.%03ldZ level=%s program=%s event=%s", date,
                            now.tv_nsec / 1000000, level_names[level], log_program, event));
}

static void clean(char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            line[i] = '?';
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    const int saved_errno = errno; // also for %m
    char line[LINE_MAX_LEN];
    va_list args;

    if (level < log_lowest)
        return;
    size_t len = put_head(line, level, event);
    const size_t head = len;
    len = advance(len, snprintf(line + len, LINE_MAX_LEN - len, " "));
    errno = saved_errno;
    va_start(args, fmt);
    const int wanted = vsnprintf(line + len, LINE_MAX_LEN - len, fmt, args);
    va_end(args);
    len = wanted > 0 ? advance(len, wanted) : head;
    clean(line, len);
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0) {
        // There is no other place to say it.
    }
    errno = saved_errno;
}
