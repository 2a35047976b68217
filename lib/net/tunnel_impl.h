/* What the tunnel's files share: tunnel.c (life), tunnel_io.c (TLS and bytes), tunnel_h2.c
 * (frames), tunnel_stream.c (streams). */
#ifndef NET_TUNNEL_IMPL_H
#define NET_TUNNEL_IMPL_H

#include <nghttp2/nghttp2.h>

#include "net/tls_impl.h"
#include "net/tunnel.h"

enum {
    TUNNEL_RECORD = 16 << 10,    /* bytes of a TLS record: frames are gathered up to it */
    TUNNEL_LOW_WATER = 64 << 10, /* `drained` fires when a stream's queue falls below */
};

enum tunnel_state { TUNNEL_CONNECTING, TUNNEL_HANDSHAKE, TUNNEL_OPEN, TUNNEL_CLOSING };

/* How often something happened in the present window of time. */
struct tunnel_meter {
    uint64_t since_ms;
    unsigned count;
};

struct tunnel {
    struct loop *loop;
    struct tunnel_limits limits;
    struct tunnel_events ev;
    void *arg;
    bool worker; /* dialled: HTTP/2 server */
    enum tunnel_state state;
    int error; /* what `closed` will say */

    int fd;
    struct loop_fd watch;
    struct loop_timer timer; /* handshake's deadline, then pings */
    struct loop_timer more;  /* bytes are left inside OpenSSL after a turn's share */
    struct loop_hook flush;  /* in the loop's list only while there is something to say */
    bool flush_due;
    SSL *ssl;
    struct tls_peer peer;
    struct net_addr addr;
    struct buf out; /* frames that OpenSSL has not taken yet */

    nghttp2_session *h2;
    struct list streams;
    size_t stream_count;
    bool goaway_sent, goaway_seen;
    uint64_t heard_ms, ping_ms, rtt_ms;
    struct tunnel_meter settings, resets, control;
};

/* Fields of one header block, one after the other: two 32-bit lengths, name, value. */
struct tunnel_block {
    struct buf bytes;
    size_t size; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts: 32 more a field */
};

struct tunnel_stream {
    struct tunnel *tunnel;
    struct list link;
    int32_t id;
    struct tunnel_stream_events ev; /* all NULL until attached */
    void *arg;
    struct tunnel_block head, trailers; /* of the peer */
    unsigned status;
    bool head_done, ended; /* the peer's head is whole; it has ended its side */

    struct buf out;
    bool answered, out_end, deferred, out_done; /* …, END_STREAM was sent */
    bool reset;                                 /* by us, on purpose */
    struct tunnel_block out_trailers;
};

/* ---- tunnel.c ---- */

/* Remembers why and ends the tunnel at the end of this turn. */
void tunnel_fail(struct tunnel *t, int error);
/* The handshake is done. */
void tunnel_opened(struct tunnel *t);
/* Counts one event; false above max in a window. */
bool tunnel_meter_ok(struct tunnel_meter *m, uint64_t now_ms, uint64_t window_ms, unsigned max);

/* ---- tunnel_io.c ---- */

/* Something happened on the descriptor. */
void tunnel_on_event(void *arg, uint32_t events);
/* There is something to send: once, at the end of this turn. */
void tunnel_dirty(struct tunnel *t);
/* Sends what the socket takes. */
void tunnel_flush(struct tunnel *t);
/* Watches the flush hook from now on. */
void tunnel_io_init(struct tunnel *t);

/* ---- tunnel_h2.c ---- */

MUST_CHECK int tunnel_h2_new(struct tunnel *t);
void tunnel_h2_ping(struct tunnel *t);

/* ---- tunnel_stream.c ---- */

struct tunnel_stream *tunnel_stream_new(struct tunnel *t, int32_t id);
/* Tells the owner and frees s at the end of the turn. */
void tunnel_stream_close(struct tunnel_stream *s, int error);
/* E_TOO_LARGE above the limit of header_max. */
MUST_CHECK int tunnel_block_add(struct tunnel_block *b, size_t max, struct span name,
                                struct span value);
struct span tunnel_block_find(const struct tunnel_block *b, struct span name);
void tunnel_block_fini(struct tunnel_block *b);
/* nghttp2's source of a stream's DATA. */
ssize_t tunnel_stream_read(nghttp2_session *h2, int32_t id, uint8_t *out, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *arg);

#endif
