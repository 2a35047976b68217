/* Server-sent events from bytes split anywhere: whole lines are read in place, only a line's split
 * part is copied. */
#include "net/sse.h"

enum { FIELD_SLACK = 16 }; /* a line may be longer than its data by the field's name */

/* A line after its end: joins `data` fields, keeps the `event` field, passes over id, retry and
 * comments (§9.2.6). */
static int read_field(struct sse_parser *p, struct span line)
{
    struct span value = line;
    struct span field = span_split(&value, ':');

    if (value.len > 0 && value.data[0] == ' ')
        value = span_from(value, 1);
    if (span_is(field, "data")) {
        if (p->data.len + p->has_data + value.len > p->max_event)
            return E_TOO_LARGE;
        if (p->has_data)
            buf_byte(&p->data, '\n');
        buf_append(&p->data, value);
        p->has_data = true;
    } else if (span_is(field, "event")) {
        buf_clear(&p->name);
        buf_append(&p->name, value);
    }
    return 0;
}

/* A block without a data line is no event. */
static int dispatch(struct sse_parser *p, sse_event_fn *fn, void *arg)
{
    int result = p->has_data ? fn(arg, buf_span(&p->name), buf_span(&p->data)) : 0;

    p->has_data = false;
    buf_clear(&p->data);
    buf_clear(&p->name);
    return result;
}

static int read_line(struct sse_parser *p, struct span line, sse_event_fn *fn, void *arg)
{
    if (!p->past_bom && span_starts(line, SPAN("\xEF\xBB\xBF")))
        line = span_from(line, 3);
    p->past_bom = true;
    return line.len > 0 ? read_field(p, line) : dispatch(p, fn, arg);
}

static size_t line_end(struct span s)
{
    const uint8_t *lf = memchr(s.data, '\n', s.len);
    size_t end = lf ? (size_t)(lf - s.data) : s.len;
    const uint8_t *cr = memchr(s.data, '\r', end);

    return cr ? (size_t)(cr - s.data) : end;
}

/* Reads up to and with the first end of a line, or keeps what there is of it; *bytes moves on. */
static int feed_line(struct sse_parser *p, struct span *bytes, sse_event_fn *fn, void *arg)
{
    size_t end = line_end(*bytes);
    struct span line = span_cut(*bytes, 0, end);

    if (p->line.len + line.len > p->max_event + FIELD_SLACK)
        return E_TOO_LARGE;
    if (p->line.len > 0 || end == bytes->len) {
        buf_append(&p->line, line);
        line = buf_span(&p->line);
    }
    if (end == bytes->len) {
        *bytes = (struct span){0};
        return 0;
    }
    p->skip_lf = bytes->data[end] == '\r';
    *bytes = span_from(*bytes, end + 1);
    int result = read_line(p, line, fn, arg);
    buf_clear(&p->line);
    return result;
}

int sse_feed(struct sse_parser *p, struct span bytes, sse_event_fn *fn, void *arg)
{
    while (bytes.len > 0) {
        if (p->skip_lf && bytes.data[0] == '\n')
            bytes = span_from(bytes, 1);
        p->skip_lf = false;
        if (bytes.len > 0)
            TRY(feed_line(p, &bytes, fn, arg));
    }
    return 0;
}

void sse_fini(struct sse_parser *p)
{
    buf_wipe(&p->line);
    buf_wipe(&p->data);
    buf_wipe(&p->name);
}
