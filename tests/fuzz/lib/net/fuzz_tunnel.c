/* A peer's HTTP/2 frames, in both roles, behind a TLS that is taken for granted. The first byte
 * picks the role; a gateway has calls under way, a worker answers some, so that responses,
 * trailers, resets and windows have something to refer to. */
#include <stdlib.h>

#include "net/tunnel_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzzed {
    unsigned requests;
};

static void on_data(void *arg, struct tunnel_stream *s, struct span b)
{
    (void)arg;
    tunnel_stream_consume(s, b.len / 2);
}

static void on_end(void *arg, struct tunnel_stream *s)
{
    struct buf body = {0};

    (void)arg;
    (void)tunnel_stream_trailer(s, "cocoon-usage");
    if (!tunnel_stream_tunnel(s)->worker || s->answered)
        return;
    buf_append_str(&body, "answer");
    tunnel_reply(s, 200, NULL, 0, &body);
}

static void on_closed(void *arg, struct tunnel_stream *s, int error)
{
    (void)arg;
    (void)s;
    CHECK(error <= 0);
}

static const struct tunnel_stream_events stream_events = {
    .data = on_data, .end = on_end, .closed = on_closed};

static void on_request(void *arg, struct tunnel *t, struct tunnel_stream *s)
{
    struct fuzzed *f = arg;
    const struct tunnel_field field = {SPAN("cocoon-load"), SPAN("running=1")};

    (void)t;
    CHECK(tunnel_stream_method(s).data);
    switch (f->requests++ % 4) {
    case 0:
        tunnel_reply(s, 503, &field, 1, NULL);
        break;
    case 1:
        tunnel_stream_attach(s, &stream_events, NULL);
        tunnel_respond(s, 200, &field, 1, false);
        tunnel_stream_end(s, &field, 1);
        break;
    case 2:
        tunnel_stream_attach(s, &stream_events, NULL);
        break;
    default:
        break; /* nobody takes it */
    }
}

static const struct tunnel_events events = {.request = on_request};

/* What a flush would write is thrown away. */
static void swallow(struct tunnel *t)
{
    const uint8_t *bytes;

    while (t->state == TUNNEL_OPEN && nghttp2_session_mem_send(t->h2, &bytes) > 0)
        ;
}

static struct tunnel *tunnel_make(struct loop *l, SSL_CTX *ctx, bool worker, struct fuzzed *f)
{
    struct tunnel *t = mem_zero(sizeof(*t));
    struct tunnel_stream *s;
    struct buf body = {0};

    *t = (struct tunnel){.loop = l, .limits = tunnel_gateway_limits, .ev = events, .arg = f};
    t->worker = worker;
    t->fd = -1;
    t->ssl = SSL_new(ctx);
    t->state = TUNNEL_OPEN;
    t->limits.header_max = 4096;
    list_init(&t->streams);
    tunnel_io_init(t);
    CHECK(tunnel_h2_new(t) == 0);
    buf_append_str(&body, "a body");
    if (!worker) {
        CHECK(tunnel_request(t, "GET", "/", NULL, 0, NULL, &stream_events, NULL, &s) == 0);
        CHECK(tunnel_request(t, "POST", "/", NULL, 0, &body, &stream_events, NULL, &s) == 0);
    }
    buf_fini(&body);
    swallow(t);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct fuzzed f = {0};
    struct loop *l;

    if (len == 0)
        return 0;
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    CHECK(loop_new(&l) == 0);
    bool worker = data[0] & 1;
    struct tunnel *t = tunnel_make(l, ctx, worker, &f);
    ssize_t used = 0;
    if (worker)
        used = nghttp2_session_mem_recv(t->h2, (const uint8_t *)magic, sizeof(magic) - 1);
    /* In two parts, as TCP would. */
    for (size_t at = 1; at < len && used >= 0 && t->state == TUNNEL_OPEN; at += len / 2 + 1) {
        size_t n = len - at < len / 2 + 1 ? len - at : len / 2 + 1;
        used = nghttp2_session_mem_recv(t->h2, data + at, n);
        swallow(t);
    }
    tunnel_close(t);
    loop_free(l); /* runs the end of the tunnel */
    SSL_CTX_free(ctx);
    return 0;
}
