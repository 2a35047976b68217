/* Binary HTTP of both kinds: the same bytes cut anywhere must tell the same. First byte: kind;
 * second: seed of the cuts. */
#include "ohttp/bhttp.h"

enum { CONTENT_MAX = 5000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note_fields(struct buf *log, const struct bhttp_field *fields, size_t count)
{
    CHECK(count <= BHTTP_MAX_FIELDS);
    for (size_t i = 0; i < count; i++) {
        buf_append(log, fields[i].name);
        buf_byte(log, ':');
        buf_append(log, fields[i].value);
        buf_byte(log, '\n');
    }
}

static void note_head(struct buf *log, const struct bhttp_head *head)
{
    buf_printf(log, "%u\n", head->status);
    buf_append(log, head->method);
    buf_append(log, head->scheme);
    buf_append(log, head->authority);
    buf_append(log, head->path);
    note_fields(log, head->fields, head->count);
}

static int drain(struct bhttp_reader *r, struct buf *log, struct buf *body, bool *ended)
{
    const struct bhttp_field *trailers;
    enum bhttp_event event;
    struct span content;
    size_t count;

    for (;;) {
        TRY(bhttp_next(r, &event, &content));
        CHECK(!*ended || event == BHTTP_NEED_MORE);
        switch (event) {
        case BHTTP_NEED_MORE:
            return 0;
        case BHTTP_HEAD:
            note_head(log, bhttp_head_of(r));
            break;
        case BHTTP_CONTENT:
            CHECK(content.len > 0 && body->len + content.len <= CONTENT_MAX);
            buf_append(body, content);
            break;
        case BHTTP_TRAILERS:
            trailers = bhttp_trailers_of(r, &count);
            note_fields(log, trailers, count);
            break;
        case BHTTP_END:
            *ended = true;
            break;
        }
    }
}

static int read_cut(bool request, struct span in, unsigned cuts, struct buf *log, struct buf *body)
{
    AUTO(bhttp_reader_free) struct bhttp_reader *r = bhttp_reader_new(request, CONTENT_MAX);
    bool ended = false;

    while (in.len > 0) {
        size_t step = cuts == 0 ? in.len : 1 + cuts % 13;

        bhttp_feed(r, span_cut(in, 0, step));
        in = span_from(in, step);
        cuts = cuts * 1103515245U + 12345U;
        cuts += cuts == 0;
        TRY(drain(r, log, body, &ended));
        CHECK(!ended);
    }
    bhttp_finish(r);
    TRY(drain(r, log, body, &ended));
    CHECK(ended);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf_fini) struct buf log = {0}, body = {0}, log_cut = {0}, body_cut = {0};
    struct span in = span_from(span_of(data, size), 2);
    int whole, cut;

    if (size < 3)
        return 0;
    whole = read_cut(data[0] & 1, in, 0, &log, &body);
    cut = read_cut(data[0] & 1, in, 1U + data[1], &log_cut, &body_cut);
    CHECK(whole == cut);
    CHECK(span_eq(buf_span(&log), buf_span(&log_cut)));
    CHECK(span_eq(buf_span(&body), buf_span(&body_cut)));
    return 0;
}
