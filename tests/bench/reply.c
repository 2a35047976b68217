/* An HTTP/1.1 answer, line by line, and its body as it comes. */
#include "tests/bench/reply.h"

#include <stdlib.h>

enum { MAX_LINE = 16 * 1024 };

static int read_status(struct reply *r, struct span line)
{
    uint64_t status;

    if (!span_starts(line, SPAN("HTTP/1.")) ||
        span_u64(span_cut(line, strlen("HTTP/1.1 "), 3), 999, &status) < 0)
        return E_PROTOCOL;
    r->status = (unsigned)status;
    return 0;
}

static int read_field(struct reply *r, struct span line)
{
    struct span value = line;
    const struct span name = span_split(&value, ':');

    value = span_trim(value);
    if (span_ieq(name, SPAN("content-length"))) {
        r->sized = true;
        return span_u64(value, UINT32_MAX, &r->left) < 0 ? E_PROTOCOL : 0;
    }
    if (span_ieq(name, SPAN("transfer-encoding")))
        r->chunked = span_ieq(value, SPAN("chunked"));
    if (span_ieq(name, SPAN("connection")))
        r->closes = span_ieq(value, SPAN("close"));
    if (span_ieq(name, SPAN("content-type")))
        r->events = span_starts(value, SPAN("text/event-stream"));
    return 0;
}

static void end_head(struct reply *r)
{
    if (r->status == 100)
        r->status = 0; /* the answer is yet to come */
    else if (r->chunked)
        r->state = REPLY_CHUNK_LINE;
    else if (r->sized)
        r->state = r->left > 0 ? REPLY_SIZED : REPLY_DONE;
    else
        r->state = REPLY_TO_CLOSE;
}

static int read_chunk_line(struct reply *r, struct span line)
{
    char text[17] = "", *end;

    if (line.len == 0 || line.len >= sizeof(text))
        return E_PROTOCOL;
    memcpy(text, line.data, line.len);
    r->left = strtoull(text, &end, 16);
    if (*end != 0)
        return E_PROTOCOL;
    r->state = r->left > 0 ? REPLY_CHUNK : REPLY_TRAILERS;
    return 0;
}

static int read_line(struct reply *r, struct span line)
{
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    switch (r->state) {
    case REPLY_CHUNK_LINE:
        return read_chunk_line(r, line);
    case REPLY_CHUNK_END:
        r->state = REPLY_CHUNK_LINE;
        return line.len == 0 ? 0 : E_PROTOCOL;
    case REPLY_TRAILERS:
        r->state = line.len == 0 ? REPLY_DONE : REPLY_TRAILERS;
        return 0;
    default:
        break;
    }
    if (r->status == 0)
        return read_status(r, line);
    if (line.len > 0)
        return read_field(r, line);
    end_head(r);
    return 0;
}

/* Up to and with the end of a line, or all there is of it; *bytes moves on. */
static int feed_line(struct reply *r, struct span *bytes)
{
    const uint8_t *lf = memchr(bytes->data, '\n', bytes->len);
    const size_t len = lf ? (size_t)(lf - bytes->data) : bytes->len;
    struct span line = span_cut(*bytes, 0, len);

    if (r->line.len + len > MAX_LINE)
        return E_PROTOCOL;
    if (!lf || r->line.len > 0) {
        buf_append(&r->line, line);
        line = buf_span(&r->line);
    }
    *bytes = span_from(*bytes, len + (lf != NULL));
    if (!lf)
        return 0;
    const int error = read_line(r, line);
    buf_clear(&r->line);
    return error;
}

static int feed_body(struct reply *r, struct span *bytes, reply_body_fn *fn, void *arg)
{
    struct span part = *bytes;

    if (r->state != REPLY_TO_CLOSE) {
        part = span_cut(part, 0, r->left);
        r->left -= part.len;
    }
    *bytes = span_from(*bytes, part.len);
    if (r->state != REPLY_TO_CLOSE && r->left == 0)
        r->state = r->state == REPLY_CHUNK ? REPLY_CHUNK_END : REPLY_DONE;
    return fn(arg, part);
}

int reply_feed(struct reply *r, struct span bytes, reply_body_fn *fn, void *arg)
{
    while (bytes.len > 0) {
        if (r->state == REPLY_DONE)
            return E_PROTOCOL;
        if (r->state == REPLY_SIZED || r->state == REPLY_CHUNK || r->state == REPLY_TO_CLOSE)
            TRY(feed_body(r, &bytes, fn, arg));
        else
            TRY(feed_line(r, &bytes));
    }
    return 0;
}

void reply_reset(struct reply *r)
{
    struct buf line = r->line;

    buf_clear(&line);
    *r = (struct reply){.line = line};
}

void reply_fini(struct reply *r)
{
    buf_fini(&r->line);
}
