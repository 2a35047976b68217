/* Streams of a tunnel: their fields, their queue of bytes to send, their end. */
#include <stdio.h>
#include <stdlib.h>

#include "net/tunnel_impl.h"

enum { FIELD_OVERHEAD = 32 }; /* RFC 9113 §6.5.2 */

/* ---- Header blocks ---- */

int tunnel_block_add(struct tunnel_block *b, size_t max, struct span name, struct span value)
{
    uint32_t lens[2] = {(uint32_t)name.len, (uint32_t)value.len};

    b->size += name.len + value.len + FIELD_OVERHEAD;
    if (b->size > max)
        return E_TOO_LARGE;
    buf_append(&b->bytes, SPAN_OF(lens));
    buf_append(&b->bytes, name);
    buf_append(&b->bytes, value);
    return 0;
}

static bool block_next(struct span *rest, struct span *name, struct span *value)
{
    uint32_t lens[2];

    if (rest->len == 0)
        return false;
    memcpy(lens, rest->data, sizeof(lens));
    *name = span_cut(*rest, sizeof(lens), lens[0]);
    *value = span_cut(*rest, sizeof(lens) + lens[0], lens[1]);
    *rest = span_from(*rest, sizeof(lens) + lens[0] + lens[1]);
    return true;
}

struct span tunnel_block_find(const struct tunnel_block *b, struct span wanted)
{
    struct span rest = buf_span(&b->bytes);
    struct span name, value;

    while (block_next(&rest, &name, &value))
        if (span_eq(name, wanted))
            return span_of(value.data ? value.data : (const uint8_t *)"", value.len);
    return (struct span){0};
}

void tunnel_block_fini(struct tunnel_block *b)
{
    buf_fini(&b->bytes);
    b->size = 0;
}

/* ---- Life ---- */

struct tunnel_stream *tunnel_stream_new(struct tunnel *t, int32_t id)
{
    struct tunnel_stream *s = mem_zero(sizeof(*s));

    s->tunnel = t;
    s->id = id;
    list_push(&t->streams, &s->link);
    t->stream_count++;
    return s;
}

static void stream_free(void *arg)
{
    struct tunnel_stream *s = arg;

    tunnel_block_fini(&s->head);
    tunnel_block_fini(&s->trailers);
    tunnel_block_fini(&s->out_trailers);
    buf_wipe(&s->out);
    free(s);
}

void tunnel_stream_close(struct tunnel_stream *s, int error)
{
    list_del(&s->link);
    s->tunnel->stream_count--;
    if (s->tunnel->h2)
        (void)nghttp2_session_set_stream_user_data(s->tunnel->h2, s->id, NULL);
    loop_defer_free(s->tunnel->loop, s, stream_free);
    if (s->ev.closed)
        s->ev.closed(s->arg, s, error);
}

void tunnel_stream_reset(struct tunnel_stream *s)
{
    if (s->tunnel->state != TUNNEL_OPEN || s->reset)
        return;
    s->reset = true;
    (void)nghttp2_submit_rst_stream(s->tunnel->h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    tunnel_dirty(s->tunnel);
}

/* ---- Sending ---- */

struct field_list {
    nghttp2_nv *nv;
    size_t count;
};

static void list_add(struct field_list *list, struct span name, struct span value)
{
    /* nghttp2 copies both: its pointers are only by habit not const. */
    list->nv[list->count++] = (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.data,
        .namelen = name.len,
        .value = (uint8_t *)(uintptr_t)value.data,
        .valuelen = value.len,
    };
}

static void list_new(struct field_list *list, const struct tunnel_field *fields, size_t count,
                     const struct tunnel_field *pseudo, size_t pseudo_count)
{
    *list = (struct field_list){mem_zero((count + pseudo_count + 1) * sizeof(nghttp2_nv)), 0};
    for (size_t i = 0; i < pseudo_count; i++)
        list_add(list, pseudo[i].name, pseudo[i].value);
    for (size_t i = 0; i < count; i++)
        list_add(list, fields[i].name, fields[i].value);
}

static void submit_trailers(struct tunnel_stream *s)
{
    struct span rest = buf_span(&s->out_trailers.bytes);
    struct span name, value;
    struct field_list list = {mem_zero((rest.len / sizeof(uint32_t[2]) + 1) * sizeof(nghttp2_nv)),
                              0};

    while (block_next(&rest, &name, &value))
        list_add(&list, name, value);
    (void)nghttp2_submit_trailer(s->tunnel->h2, s->id, list.nv, list.count);
    free(list.nv);
}

ssize_t tunnel_stream_read(nghttp2_session *h2, int32_t id, uint8_t *out, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct tunnel_stream *s = nghttp2_session_get_stream_user_data(h2, id);

    (void)source;
    (void)arg;
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t n = s->out.len < len ? s->out.len : len;
    if (n > 0) {
        memcpy(out, s->out.data, n);
        buf_consume(&s->out, n);
    }
    if (s->out.len == 0 && s->out_end) {
        buf_fini(&s->out);
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->out_trailers.bytes.len > 0) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            submit_trailers(s);
        }
        return (ssize_t)n;
    }
    s->deferred = n == 0;
    return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

/* There is something new to send on s. */
static void wake(struct tunnel_stream *s)
{
    if (s->deferred) {
        s->deferred = false;
        (void)nghttp2_session_resume_data(s->tunnel->h2, s->id);
    }
    tunnel_dirty(s->tunnel);
}

static bool is_live(const struct tunnel_stream *s)
{
    return s->tunnel->state == TUNNEL_OPEN && !s->reset && !list_empty(&s->link);
}

size_t tunnel_room(const struct tunnel *t)
{
    if (!tunnel_is_open(t) || t->worker)
        return 0;
    size_t theirs =
        nghttp2_session_get_remote_settings(t->h2, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    size_t most = t->limits.streams < theirs ? t->limits.streams : theirs;
    return most > t->stream_count ? most - t->stream_count : 0;
}

int tunnel_request(struct tunnel *t, const char *method, const char *path,
                   const struct tunnel_field *fields, size_t count, struct buf *take_body,
                   const struct tunnel_stream_events *ev, void *arg, struct tunnel_stream **out)
{
    const struct tunnel_field pseudo[] = {
        {SPAN(":method"), span_str(method)},
        {SPAN(":scheme"), SPAN("https")},
        {SPAN(":authority"), SPAN("worker")},
        {SPAN(":path"), span_str(path)},
    };
    nghttp2_data_provider body = {.read_callback = tunnel_stream_read};
    struct field_list list;

    if (!tunnel_is_open(t) || t->worker)
        return E_CLOSED;
    if (tunnel_room(t) == 0)
        return E_BUSY;
    struct tunnel_stream *s = tunnel_stream_new(t, 0);
    list_new(&list, fields, count, pseudo, sizeof(pseudo) / sizeof(pseudo[0]));
    s->id = nghttp2_submit_request(t->h2, NULL, list.nv, list.count, take_body ? &body : NULL, s);
    free(list.nv);
    if (s->id < 0) { /* the ids of this connection are used up */
        list_del(&s->link);
        t->stream_count--;
        stream_free(s);
        return E_CLOSED;
    }
    if (take_body)
        buf_take(&s->out, take_body);
    s->out_end = true;
    s->ev = *ev;
    s->arg = arg;
    tunnel_dirty(t);
    *out = s;
    return 0;
}

void tunnel_stream_attach(struct tunnel_stream *s, const struct tunnel_stream_events *ev, void *arg)
{
    s->ev = *ev;
    s->arg = arg;
}

void tunnel_respond(struct tunnel_stream *s, unsigned status, const struct tunnel_field *fields,
                    size_t count, bool end)
{
    nghttp2_data_provider body = {.read_callback = tunnel_stream_read};
    char digits[16];
    struct field_list list;

    CHECK(!s->answered && status >= 200 && status <= 599);
    s->answered = true;
    s->out_end = end;
    if (!is_live(s))
        return;
    (void)snprintf(digits, sizeof(digits), "%u", status);
    const struct tunnel_field pseudo = {SPAN(":status"), span_str(digits)};
    list_new(&list, fields, count, &pseudo, 1);
    (void)nghttp2_submit_response(s->tunnel->h2, s->id, list.nv, list.count, end ? NULL : &body);
    free(list.nv);
    tunnel_dirty(s->tunnel);
}

void tunnel_stream_write(struct tunnel_stream *s, struct buf *take)
{
    CHECK(s->answered && !s->out_end);
    if (!is_live(s) || take->len == 0) {
        buf_wipe(take);
        return;
    }
    if (s->out.len == 0) {
        buf_take(&s->out, take);
    } else {
        buf_append(&s->out, buf_span(take));
        buf_wipe(take);
    }
    wake(s);
}

void tunnel_stream_end(struct tunnel_stream *s, const struct tunnel_field *trailers, size_t count)
{
    CHECK(s->answered && !s->out_end);
    s->out_end = true;
    if (!is_live(s))
        return;
    for (size_t i = 0; i < count; i++)
        CHECK(tunnel_block_add(&s->out_trailers, SIZE_MAX, trailers[i].name, trailers[i].value) ==
              0);
    wake(s);
}

void tunnel_stream_drop_queued(struct tunnel_stream *s)
{
    buf_wipe(&s->out);
}

void tunnel_reply(struct tunnel_stream *s, unsigned status, const struct tunnel_field *fields,
                  size_t count, struct buf *take_body)
{
    bool empty = !take_body || take_body->len == 0;

    tunnel_respond(s, status, fields, count, empty);
    if (empty)
        return;
    tunnel_stream_write(s, take_body);
    tunnel_stream_end(s, NULL, 0);
}

/* ---- Receiving ---- */

void tunnel_stream_consume(struct tunnel_stream *s, size_t n)
{
    if (!is_live(s) || n == 0)
        return;
    (void)nghttp2_session_consume_stream(s->tunnel->h2, s->id, n);
    tunnel_dirty(s->tunnel);
}

size_t tunnel_stream_queued(const struct tunnel_stream *s)
{
    return s->out.len;
}

struct span tunnel_stream_method(const struct tunnel_stream *s)
{
    return tunnel_block_find(&s->head, SPAN(":method"));
}

struct span tunnel_stream_path(const struct tunnel_stream *s)
{
    return tunnel_block_find(&s->head, SPAN(":path"));
}

unsigned tunnel_stream_status(const struct tunnel_stream *s)
{
    return s->status;
}

struct span tunnel_stream_field(const struct tunnel_stream *s, const char *name)
{
    return tunnel_block_find(&s->head, span_str(name));
}

struct span tunnel_stream_trailer(const struct tunnel_stream *s, const char *name)
{
    return tunnel_block_find(&s->trailers, span_str(name));
}

bool tunnel_stream_ended(const struct tunnel_stream *s)
{
    return s->ended;
}

struct tunnel *tunnel_stream_tunnel(const struct tunnel_stream *s)
{
    return s->tunnel;
}
