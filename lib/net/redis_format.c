/* Commands from a format of plain words. */
#include <stdarg.h>

#include "net/redis.h"

enum { WORDS_MAX = 64 /* of one format */ };

struct words {
    struct buf bytes;
    size_t ends[WORDS_MAX]; /* of each word in bytes */
    size_t count;
};

/* *args is a va_list of the caller's. Returns the format behind the conversion. */
static const char *convert(struct words *w, const char *fmt, va_list *args)
{
    if (strncmp(fmt, "%s", 2) == 0) {
        buf_append_str(&w->bytes, va_arg(*args, const char *));
        return fmt + 2;
    }
    if (strncmp(fmt, "%b", 2) == 0) {
        buf_append(&w->bytes, *va_arg(*args, const struct span *));
        return fmt + 2;
    }
    CHECK(strncmp(fmt, "%lld", 4) == 0);
    buf_printf(&w->bytes, "%lld", va_arg(*args, long long));
    return fmt + 4;
}

static void split_format(struct words *w, const char *fmt, va_list *args)
{
    while (*fmt) {
        CHECK(w->count < WORDS_MAX);
        while (*fmt && *fmt != ' ') {
            if (*fmt == '%')
                fmt = convert(w, fmt, args);
            else
                buf_byte(&w->bytes, (uint8_t)*fmt++);
        }
        w->ends[w->count++] = w->bytes.len;
        while (*fmt == ' ')
            fmt++;
    }
}

int redis_commandf(struct redis *r, redis_reply_fn *fn, void *arg, const char *fmt, ...)
{
    struct words w = {0};
    struct span argv[WORDS_MAX];
    va_list args;

    va_start(args, fmt);
    split_format(&w, fmt, &args);
    va_end(args);
    size_t begin = 0;
    for (size_t i = 0; i < w.count; begin = w.ends[i++])
        argv[i] = span_cut(buf_span(&w.bytes), begin, w.ends[i] - begin);
    int error = redis_command(r, w.count > 1 ? argv[1] : (struct span){0}, argv, w.count, fn, arg);
    buf_fini(&w.bytes);
    return error;
}
