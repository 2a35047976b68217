/* The tunnel (wire.md §1): HTTP/2 over TLS 1.3 with transposed roles: the gateway accepts and is
 * the HTTP/2 client, the worker dials and is the HTTP/2 server. One struct serves both; nghttp2 and
 * OpenSSL stay inside. Loop's thread only. */
#ifndef NET_TUNNEL_H
#define NET_TUNNEL_H

#include "base/buf.h"
#include "net/loop.h"
#include "net/addr.h"
#include "net/tls.h"

struct tunnel;
struct tunnel_stream;

struct tunnel_field {
    struct span name; /* lower case; pseudo-fields are not among them */
    struct span value;
};

/* Beside the calls: heartbeats, evidence, records. */
enum { TUNNEL_SMALL_STREAMS = 64 };

struct tunnel_limits {
    size_t header_max;            /* 32 KiB a header block */
    unsigned streams;             /* at a time: 1,000 calls, and TUNNEL_SMALL_STREAMS */
    unsigned settings_per_minute; /* 64 */
    unsigned resets_per_second;   /* 200: rapid-reset guard */
    uint32_t stream_window; /* bytes we let a peer send a stream before we consume: 64 KiB gateway,
                               1 MiB worker */
    uint32_t connection_window; /* 16 MiB */
    uint64_t ping_ms, dead_ms;  /* 5 s; 15 s without any byte */
    uint64_t handshake_ms;      /* 10 s */
};
extern const struct tunnel_limits tunnel_gateway_limits, tunnel_worker_limits;

struct tunnel_events {
    /* TLS and ALPN are done; streams may be opened (gateway). A gateway that refuses the worker's
     * certificate says so only after this (TLS 1.3): for a worker `open` is no acceptance yet. */
    void (*open)(void *arg, struct tunnel *t);
    /* Worker: a request's header block is complete. Call tunnel_stream_attach now, or
     * tunnel_respond. */
    void (*request)(void *arg, struct tunnel *t, struct tunnel_stream *s);
    /* The peer sent GOAWAY: nothing new on this tunnel. */
    void (*goaway)(void *arg, struct tunnel *t);
    /* The last call for t, after every stream's `closed`. error: E_CLOSED, E_TIMEOUT, E_PROTOCOL,
     * E_AUTH (pin), E_IO. */
    void (*closed)(void *arg, struct tunnel *t, int error);
};

/* Takes an accepted descriptor (gateway). On failure the descriptor is closed. ctx outlives t. */
MUST_CHECK int tunnel_accept(struct tunnel **out, struct loop *l, struct tls_ctx *ctx, int fd,
                             const struct tunnel_limits *limits, const struct tunnel_events *ev,
                             void *arg);
/* Dials (worker). pins: SPKI hashes of CAs, copied. */
MUST_CHECK int tunnel_dial(struct tunnel **out, struct loop *l, struct tls_ctx *ctx,
                           const struct net_addr *to, const uint8_t (*pins)[TLS_SPKI_LEN],
                           size_t pin_count, const struct tunnel_limits *limits,
                           const struct tunnel_events *ev, void *arg);
/* Sends GOAWAY; what runs goes on, and after the last stream the tunnel closes (either side's
 * GOAWAY does that). */
void tunnel_goaway(struct tunnel *t);
/* Ends everything: streams get `closed` with E_CLOSED, then the tunnel's `closed`, at the end of
 * this turn at the latest. */
void tunnel_close(struct tunnel *t);
bool tunnel_is_open(const struct tunnel *t); /* open, no GOAWAY seen or sent */
/* SHA-256 of the peer certificate's SPKI, and of the pinned CA that matched (worker: the tunnel's
 * `op`; gateway: its own `op`). */
void tunnel_peer_spki(const struct tunnel *t, uint8_t out[static TLS_SPKI_LEN]);
void tunnel_pin(const struct tunnel *t, uint8_t out[static TLS_SPKI_LEN]);
const struct net_addr *tunnel_peer(const struct tunnel *t);
size_t tunnel_streams(const struct tunnel *t);
/* Gateway: how many more streams tunnel_request would open now. */
size_t tunnel_room(const struct tunnel *t);
uint64_t tunnel_rtt_ms(const struct tunnel *t); /* of the last PING; 0 before */

/* ---- Streams ---- */

struct tunnel_stream_events {
    void (*head)(void *arg, struct tunnel_stream *s); /* gateway: the response's head */
    void (*data)(void *arg, struct tunnel_stream *s,
                 struct span b); /* consume with tunnel_stream_consume */
    void (*end)(void *arg,
                struct tunnel_stream *s); /* the peer ended its side; trailers are there */
    void (*drained)(void *arg, struct tunnel_stream *s); /* our queue fell below 64 KiB */
    /* The last call for s. 0: both sides ended properly, or the answer is whole and the rest of the
     * request was not wanted. E_BUSY: the peer never looked at it (GOAWAY, refused), so it may be
     * sent elsewhere. E_CLOSED: reset, or the tunnel ended. */
    void (*closed)(void *arg, struct tunnel_stream *s, int error);
};

/* Gateway: sends a request; takes the body (NULL: none). *out lives until its `closed`. E_BUSY at
 * the peer's or our limit of streams, E_CLOSED. Fields are copied. */
MUST_CHECK int tunnel_request(struct tunnel *t, const char *method, const char *path,
                              const struct tunnel_field *fields, size_t count,
                              struct buf *take_body, const struct tunnel_stream_events *ev,
                              void *arg, struct tunnel_stream **out);
/* Worker: who gets this request's events. */
void tunnel_stream_attach(struct tunnel_stream *s, const struct tunnel_stream_events *ev,
                          void *arg);
/* Worker: the answer's head; end: nothing follows. */
void tunnel_respond(struct tunnel_stream *s, unsigned status, const struct tunnel_field *fields,
                    size_t count, bool end);
/* Worker: queues bytes of the answer (takes them). */
void tunnel_stream_write(struct tunnel_stream *s, struct buf *take);
/* Worker: the answer ends after what is queued, with trailers if count > 0; all in one flight. */
void tunnel_stream_end(struct tunnel_stream *s, const struct tunnel_field *trailers, size_t count);
/* Worker: forgets queued bytes that were not sent yet (cancel, wire.md §11). */
void tunnel_stream_drop_queued(struct tunnel_stream *s);
/* Worker: whole small answer. */
void tunnel_reply(struct tunnel_stream *s, unsigned status, const struct tunnel_field *fields,
                  size_t count, struct buf *take_body);
/* RST_STREAM; `closed` follows. */
void tunnel_stream_reset(struct tunnel_stream *s);
/* n bytes given to `data` are done with: opens the stream's window (the connection's is opened on
 * receipt). */
void tunnel_stream_consume(struct tunnel_stream *s, size_t n);
size_t tunnel_stream_queued(const struct tunnel_stream *s);
struct span tunnel_stream_method(const struct tunnel_stream *s);
struct span tunnel_stream_path(const struct tunnel_stream *s);
unsigned tunnel_stream_status(const struct tunnel_stream *s);
/* Field of the peer's header block (trailer: of its trailers); data NULL when absent. */
struct span tunnel_stream_field(const struct tunnel_stream *s, const char *name);
struct span tunnel_stream_trailer(const struct tunnel_stream *s, const char *name);
/* The peer has ended its side (END_STREAM received). */
bool tunnel_stream_ended(const struct tunnel_stream *s);
struct tunnel *tunnel_stream_tunnel(const struct tunnel_stream *s);

#endif
