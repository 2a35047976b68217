/* Answers: whole ones, streams of chunks with back-pressure, and what is written past
 * libmicrohttpd. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "net/http_impl.h"

enum { FRAME_KEPT = 64 << 10 }; /* the buffer for framing a chunk is kept up to this */

/* One HTTP chunk that waits for the socket. */
struct chunk {
    struct list link;
    size_t len, taken;
    uint8_t bytes[];
};

static struct http_server *server_of(const struct http_exchange *ex)
{
    return ex->conn->daemon->server;
}

/* ---- Giving an answer ---- */

static void add_fields(struct MHD_Response *r, const struct http_field *fields, size_t count)
{
    /* MHD refuses what would break the header block (CR, LF); such a field is left out. */
    for (size_t i = 0; i < count; i++)
        (void)!MHD_add_response_header(r, fields[i].name, fields[i].value);
}

/* MHD takes answers only inside its own callback: a resting connection is woken for it. */
static void answer(struct http_exchange *ex, unsigned status, struct MHD_Response *take)
{
    CHECK(take);
    if ((ex->conn->daemon->server->closing || ex->conn->from.stranger) &&
        !MHD_get_response_header(take, MHD_HTTP_HEADER_CONNECTION))
        (void)!MHD_add_response_header(take, MHD_HTTP_HEADER_CONNECTION, "close");
    ex->answered = true;
    ex->status = status;
    ex->response = take;
    if (ex->suspended)
        http_wake(ex);
    else if (ex->at == HTTP_AT_BODY && !ex->in_part && !ex->stream)
        http_body_answered(ex);
}

void http_reply(struct http_exchange *ex, unsigned status, const struct http_field *fields,
                size_t count, struct buf *take_body, bool close)
{
    if (ex->gone) {
        if (take_body)
            buf_wipe(take_body);
        return;
    }
    CHECK(!ex->answered);
    if (take_body)
        buf_take(&ex->body, take_body);
    struct MHD_Response *r =
        MHD_create_response_from_buffer(ex->body.len, ex->body.data, MHD_RESPMEM_PERSISTENT);
    CHECK(r);
    add_fields(r, fields, count);
    /* A request whose framing is doubtful must not be followed by another on the same connection.
     */
    if (close || ex->content_length == -3)
        (void)!MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    answer(ex, status, r);
}

/* MHD writes head, chunks and end one by one. What is there together leaves in as few packets as
 * it fits: the kernel holds it back until MHD has come to rest. A UNIX socket has no packets. */
static void gather(struct http_exchange *ex, bool on)
{
    const int value = on;

    if (ex->gathering == on || ex->conn->from.peer.sa.ss_family == AF_UNIX)
        return;
    ex->gathering = on;
    (void)setsockopt(ex->conn->fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
}

enum MHD_Result http_queue(struct http_exchange *ex)
{
    ex->queued = true;
    if (!list_empty(&ex->chunks))
        gather(ex, true);
    return MHD_queue_response(ex->conn->mhd, ex->status, ex->response);
}

/* ---- Past MHD ---- */

static enum MHD_Result raw_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    (void)kind;
    buf_printf(cls, "%s: %s\r\n", name, value);
    return MHD_YES;
}

void http_write_raw(struct http_exchange *ex)
{
    AUTO(buf_wipe) struct buf out = {0};
    char date[CLOCK_HTTP_LEN];

    clock_http_format(date, (time_t)(clock_wall_ms() / 1000));
    if (!MHD_get_response_header(ex->response, MHD_HTTP_HEADER_CONNECTION))
        (void)!MHD_add_response_header(ex->response, MHD_HTTP_HEADER_CONNECTION, "close");
    buf_printf(&out, "HTTP/1.1 %u %s\r\nDate: %s\r\nContent-Length: %zu\r\n", ex->status,
               MHD_get_reason_phrase_for(ex->status), date, ex->body.len);
    (void)MHD_get_response_headers(ex->response, raw_field, &out);
    buf_append_str(&out, "\r\n");
    if (!http_is_head_request(ex))
        buf_append(&out, buf_span(&ex->body));
    /* Nothing was sent of this exchange, so a small answer finds room; what does not fit is lost
     * with the connection. */
    ssize_t n = send(ex->conn->fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    ex->raw = n == (ssize_t)out.len;
    ex->early = true;
}

/* ---- Streams ---- */

static void chunk_free(struct chunk *c)
{
    list_del(&c->link);
    explicit_bzero(c->bytes, c->len);
    free(c);
}

/* At most one chunk a call, so that each goes out as it was written. */
static size_t chunk_take(struct http_exchange *ex, char *out, size_t max)
{
    struct chunk *c = CONTAINER(ex->chunks.next, struct chunk, link);
    const size_t left = c->len - c->taken, n = left < max ? left : max;

    memcpy(out, c->bytes + c->taken, n);
    c->taken += n;
    ex->queued_bytes -= n;
    if (c->taken == c->len)
        chunk_free(c);
    return n;
}

static ssize_t on_read(void *cls, uint64_t pos, char *out, size_t max)
{
    struct http_exchange *ex = cls;
    struct http_server *s = server_of(ex);

    (void)pos;
    if (ex->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!list_empty(&ex->chunks)) {
        size_t n = chunk_take(ex, out, max);
        if (s->h.drained)
            s->h.drained(s->arg, ex);
        return (ssize_t)n;
    }
    if (ex->aborted)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (ex->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    /* 0 without suspending would be a busy loop. */
    ex->suspended = ex->resting = true;
    gather(ex, false);
    MHD_suspend_connection(ex->conn->mhd);
    return 0;
}

void http_stream_begin(struct http_exchange *ex, unsigned status, const struct http_field *fields,
                       size_t count)
{
    if (ex->gone)
        return;
    CHECK(!ex->answered);
    ex->stream = true;
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, on_read, ex, NULL);
    CHECK(r);
    add_fields(r, fields, count);
    answer(ex, status, r);
}

/* ---- Chunks past MHD ----
 *
 * A run of MHD's daemon for each event costs more than the event. While the connection rests, with
 * its head and all chunks so far in the socket, MHD has nothing to write, and the next chunk is
 * written in its place, framed as it would be (RFC 9112 §7.1). MHD wakes for the end. */

static void want_writable(struct http_exchange *ex, bool wanted)
{
    const uint32_t always = EPOLLIN | EPOLLRDHUP | EPOLLET;

    loop_fd_want(server_of(ex)->loop, &ex->conn->watch, wanted ? always | EPOLLOUT : always);
}

static void put_frame(struct buf *out, struct span bytes)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t size[2 * sizeof(bytes.len)];
    size_t at = sizeof(size);

    for (size_t left = bytes.len; left > 0; left >>= 4)
        size[--at] = (uint8_t)digits[left & 15];
    buf_append(out, span_of(size + at, sizeof(size) - at));
    buf_append(out, SPAN("\r\n"));
    buf_append(out, bytes);
    buf_append(out, SPAN("\r\n"));
}

static void rest_keep(struct http_exchange *ex, struct span rest)
{
    buf_append(&ex->rest, rest);
    ex->queued_bytes += rest.len;
    want_writable(ex, true);
}

/* False: nothing was sent, MHD has to. An error of the socket is MHD's to find, too. */
static bool write_past(struct http_exchange *ex, struct span bytes)
{
    struct buf *frame = &server_of(ex)->frame;

    if (!ex->chunked || !ex->resting || ex->rest.len > 0 || !list_empty(&ex->chunks))
        return false;
    buf_clear(frame);
    put_frame(frame, bytes);
    ssize_t n = send(ex->conn->fd, frame->data, frame->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0 && (size_t)n < frame->len)
        rest_keep(ex, span_from(buf_span(frame), (size_t)n));
    explicit_bzero(frame->data, frame->len);
    if (frame->cap > FRAME_KEPT)
        buf_fini(frame);
    return n >= 0;
}

void http_stream_writable(struct http_exchange *ex)
{
    struct http_server *s = server_of(ex);

    if (ex->rest.len == 0 || ex->gone)
        return;
    ssize_t n = send(ex->conn->fd, ex->rest.data, ex->rest.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        http_exchange_gone(ex);
        return;
    }
    ex->queued_bytes -= (size_t)n;
    buf_consume(&ex->rest, (size_t)n);
    if (ex->rest.len == 0) {
        buf_wipe(&ex->rest);
        want_writable(ex, false);
        if (!list_empty(&ex->chunks) || ex->ended || ex->aborted)
            http_wake(ex);
    }
    if (s->h.drained)
        s->h.drained(s->arg, ex);
}

/* What is left of a chunk goes before all that MHD would write. */
static void wake_after_rest(struct http_exchange *ex)
{
    if (ex->rest.len == 0)
        http_wake(ex);
}

void http_stream_write(struct http_exchange *ex, struct span bytes)
{
    if (ex->gone || bytes.len == 0)
        return;
    CHECK(ex->stream && !ex->ended && !ex->aborted);
    if (write_past(ex, bytes))
        return;
    struct chunk *c = mem_alloc(sizeof(*c) + bytes.len);
    *c = (struct chunk){.len = bytes.len};
    memcpy(c->bytes, bytes.data, bytes.len);
    ex->queued_bytes += bytes.len;
    list_push(&ex->chunks, &c->link);
    wake_after_rest(ex);
}

size_t http_stream_queued(const struct http_exchange *ex)
{
    return ex->queued_bytes;
}

void http_stream_end(struct http_exchange *ex, const struct http_field *trailers, size_t count)
{
    if (ex->gone)
        return;
    CHECK(ex->stream && !ex->ended && !ex->aborted);
    for (size_t i = 0; i < count; i++)
        (void)!MHD_add_response_footer(ex->response, trailers[i].name, trailers[i].value);
    ex->ended = true;
    wake_after_rest(ex);
}

void http_stream_ending(struct http_exchange *ex)
{
    if (!ex->gone && ex->queued && ex->stream)
        gather(ex, true);
}

void http_stream_abort(struct http_exchange *ex)
{
    if (ex->gone || ex->ended)
        return;
    ex->aborted = true;
    wake_after_rest(ex);
}

void http_cut(struct http_exchange *ex)
{
    http_exchange_gone(ex);
}

void http_answer_free(struct http_exchange *ex)
{
    struct list *link;

    gather(ex, false);
    while ((link = list_pop(&ex->chunks)))
        chunk_free(CONTAINER(link, struct chunk, link));
    if (ex->response)
        MHD_destroy_response(ex->response);
    buf_wipe(&ex->body);
    buf_wipe(&ex->rest);
}
