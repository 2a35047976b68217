/* A tunnel's frames: the nghttp2 session, what its callbacks mean for streams, and the guards
 * against floods (wire.md §1). */
#include <stdlib.h>

#include "base/clock.h"
#include "net/tunnel_impl.h"

enum {
    CONTROL_PER_SECOND = 20000, /* frames without content: each is cheap, but not free */
    MINUTE_MS = 60000,
    SECOND_MS = 1000,
};

/* Ends nghttp2's work on this input; the tunnel is closing already or fails now. */
static int stop(struct tunnel *t, int error)
{
    tunnel_fail(t, error);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int go_on(const struct tunnel *t)
{
    return t->state == TUNNEL_OPEN ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static struct tunnel_stream *stream_of(nghttp2_session *h2, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h2, id);
}

/* ---- Header blocks ---- */

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
    struct tunnel *t = arg;

    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST)
        return go_on(t);
    if (t->stream_count >= t->limits.streams)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    struct tunnel_stream *s = tunnel_stream_new(t, f->hd.stream_id);
    (void)nghttp2_session_set_stream_user_data(h2, s->id, s);
    return go_on(t);
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct tunnel *t = arg;
    struct tunnel_stream *s = stream_of(h2, f->hd.stream_id);

    (void)flags;
    if (!s || f->hd.type != NGHTTP2_HEADERS)
        return go_on(t);
    struct tunnel_block *b = s->head_done ? &s->trailers : &s->head;
    if (tunnel_block_add(b, t->limits.header_max, span_of(name, name_len),
                         span_of(value, value_len)) < 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return go_on(t);
}

static void request_arrived(struct tunnel_stream *s)
{
    s->tunnel->ev.request(s->tunnel->arg, s->tunnel, s);
    if (!s->ev.closed && !s->answered)
        tunnel_stream_reset(s);
}

/* An interim answer (1xx) is forgotten. */
static void response_arrived(struct tunnel_stream *s)
{
    uint64_t status = 0;

    /* nghttp2 has checked that it is three digits. */
    (void)!span_u64(tunnel_block_find(&s->head, SPAN(":status")), 999, &status);
    if (status < 200) {
        tunnel_block_fini(&s->head);
        s->head_done = false;
        return;
    }
    s->status = (unsigned)status;
    if (s->ev.head && !s->reset)
        s->ev.head(s->arg, s);
}

static void block_arrived(struct tunnel_stream *s)
{
    if (s->head_done)
        return; /* trailers: `end` tells */
    s->head_done = true;
    if (s->tunnel->worker)
        request_arrived(s);
    else
        response_arrived(s);
}

static void side_ended(struct tunnel_stream *s)
{
    s->ended = true;
    if (s->ev.end && !s->reset)
        s->ev.end(s->arg, s);
}

/* ---- Floods ---- */

/* A peer's reset costs us a started call; a reset after a whole answer is only a courtesy. */
static bool resets_ok(struct tunnel *t, const struct tunnel_stream *s, uint32_t code)
{
    if (s && code == NGHTTP2_NO_ERROR && s->ended)
        return true;
    return tunnel_meter_ok(&t->resets, loop_now(t->loop), SECOND_MS, t->limits.resets_per_second);
}

static bool frame_is_modest(struct tunnel *t, const nghttp2_frame *f)
{
    uint64_t now = loop_now(t->loop);
    bool carries =
        (f->hd.type == NGHTTP2_DATA && f->hd.length > 0) || f->hd.type == NGHTTP2_HEADERS;

    if (f->hd.type == NGHTTP2_SETTINGS && !(f->hd.flags & NGHTTP2_FLAG_ACK))
        return tunnel_meter_ok(&t->settings, now, MINUTE_MS, t->limits.settings_per_minute);
    if (f->hd.type == NGHTTP2_RST_STREAM)
        return resets_ok(t, stream_of(t->h2, f->hd.stream_id), f->rst_stream.error_code);
    return carries || tunnel_meter_ok(&t->control, now, SECOND_MS, CONTROL_PER_SECOND);
}

/* ---- Frames ---- */

static void pong(struct tunnel *t, const nghttp2_ping *ping)
{
    uint64_t sent_us;

    memcpy(&sent_us, ping->opaque_data, sizeof(sent_us));
    uint64_t now_us = clock_mono_us();
    if (sent_us <= now_us)
        t->rtt_ms = (now_us - sent_us + 999) / 1000;
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
    struct tunnel *t = arg;
    struct tunnel_stream *s = stream_of(h2, f->hd.stream_id);

    if (!frame_is_modest(t, f))
        return stop(t, E_PROTOCOL);
    switch (f->hd.type) {
    case NGHTTP2_HEADERS:
        if (s)
            block_arrived(s);
        break;
    case NGHTTP2_PING:
        if (f->hd.flags & NGHTTP2_FLAG_ACK)
            pong(t, &f->ping);
        break;
    case NGHTTP2_GOAWAY:
        t->goaway_seen = true;
        if (t->ev.goaway)
            t->ev.goaway(t->arg, t);
        break;
    default:
        break;
    }
    bool ends = f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS;
    if (t->state == TUNNEL_OPEN && s && ends && (f->hd.flags & NGHTTP2_FLAG_END_STREAM))
        side_ended(s);
    return go_on(t);
}

/* The connection's window opens on receipt, so that one stream nobody reads never shuts it for the
 * others. */
static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *arg)
{
    struct tunnel *t = arg;
    struct tunnel_stream *s = stream_of(h2, id);

    (void)flags;
    if (nghttp2_session_consume_connection(h2, len) != 0)
        return stop(t, E_PROTOCOL);
    if (s && s->ev.data && !s->reset)
        s->ev.data(s->arg, s, span_of(data, len));
    else
        (void)nghttp2_session_consume_stream(h2, id, len);
    return go_on(t);
}

static void out_ended(struct tunnel_stream *s)
{
    s->out_done = true;
    /* RFC 9113 §8.1: the answer is whole, the rest of the request is not wanted. */
    if (s->tunnel->worker && !s->ended)
        (void)nghttp2_submit_rst_stream(s->tunnel->h2, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
}

static int on_frame_sent(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
    struct tunnel *t = arg;
    struct tunnel_stream *s = stream_of(h2, f->hd.stream_id);

    /* Resets that the peer's faults force upon us count as its own. */
    if (f->hd.type == NGHTTP2_RST_STREAM && f->rst_stream.error_code != NGHTTP2_NO_ERROR &&
        !(s && s->reset) &&
        !tunnel_meter_ok(&t->resets, loop_now(t->loop), SECOND_MS, t->limits.resets_per_second))
        return stop(t, E_PROTOCOL);
    bool ends = f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS;
    if (s && ends && (f->hd.flags & NGHTTP2_FLAG_END_STREAM))
        out_ended(s);
    if (s && f->hd.type == NGHTTP2_DATA && s->ev.drained && t->state == TUNNEL_OPEN &&
        s->out.len < TUNNEL_LOW_WATER && s->out.len + f->hd.length >= TUNNEL_LOW_WATER)
        s->ev.drained(s->arg, s);
    return 0;
}

static int close_error(const struct tunnel_stream *s, uint32_t code)
{
    if (code == NGHTTP2_NO_ERROR && s->ended && (s->out_done || !s->tunnel->worker))
        return 0;
    if (code == NGHTTP2_NO_ERROR && s->out_done)
        return 0; /* we answered without the rest of the request */
    if (code == NGHTTP2_REFUSED_STREAM)
        return E_BUSY;
    return code == NGHTTP2_PROTOCOL_ERROR ? E_PROTOCOL : E_CLOSED;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
    struct tunnel_stream *s = stream_of(h2, id);

    (void)arg;
    if (s) {
        (void)nghttp2_session_set_stream_user_data(h2, id, NULL);
        tunnel_stream_close(s, close_error(s, code));
    }
    return 0;
}

/* A request that never went out (GOAWAY came first) has no stream that could close. */
static int on_not_sent(nghttp2_session *h2, const nghttp2_frame *f, int error, void *arg)
{
    struct tunnel *t = arg;

    (void)h2;
    (void)error;
    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    LIST_FOREACH(it, &t->streams) {
        struct tunnel_stream *s = CONTAINER(it, struct tunnel_stream, link);
        if (s->id == f->hd.stream_id) {
            tunnel_stream_close(s, E_BUSY);
            break;
        }
    }
    return 0;
}

/* ---- The session ---- */

static nghttp2_session_callbacks *callbacks_new(void)
{
    nghttp2_session_callbacks *cb;

    CHECK(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    return cb;
}

static nghttp2_option *options_new(const struct tunnel_limits *limits)
{
    nghttp2_option *opt;

    CHECK(nghttp2_option_new(&opt) == 0);
    nghttp2_option_set_no_auto_window_update(opt, 1);
    nghttp2_option_set_no_closed_streams(opt, 1);
    nghttp2_option_set_max_send_header_block_length(opt, 2 * limits->header_max);
    /* Ours decides; the library's own, tighter in the long run, must not come before it. */
    nghttp2_option_set_stream_reset_rate_limit(opt, 2ull * limits->resets_per_second,
                                               2ull * limits->resets_per_second);
    return opt;
}

static int settings_send(struct tunnel *t)
{
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, t->worker ? t->limits.streams : 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, t->limits.stream_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)t->limits.header_max},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    size_t count = sizeof(entries) / sizeof(entries[0]) - (t->worker ? 1 : 0);

    if (nghttp2_submit_settings(t->h2, NGHTTP2_FLAG_NONE, entries, count) != 0 ||
        nghttp2_session_set_local_window_size(t->h2, NGHTTP2_FLAG_NONE, 0,
                                              (int32_t)t->limits.connection_window) != 0)
        return E_PROTOCOL;
    return 0;
}

int tunnel_h2_new(struct tunnel *t)
{
    nghttp2_session_callbacks *cb = callbacks_new();
    nghttp2_option *opt = options_new(&t->limits);
    int error = t->worker ? nghttp2_session_server_new2(&t->h2, cb, t, opt)
                          : nghttp2_session_client_new2(&t->h2, cb, t, opt);

    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    CHECK(error == 0);
    return settings_send(t);
}

void tunnel_h2_ping(struct tunnel *t)
{
    uint8_t opaque[8];
    uint64_t now_us = clock_mono_us();

    memcpy(opaque, &now_us, sizeof(now_us));
    (void)nghttp2_submit_ping(t->h2, NGHTTP2_FLAG_NONE, opaque);
    tunnel_dirty(t);
}
