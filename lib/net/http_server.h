/* HTTP/1.1 server: our accept feeds many libmicrohttpd daemons with external epoll; an exchange is
 * one request and its answer. */
#ifndef NET_HTTP_SERVER_H
#define NET_HTTP_SERVER_H

#include "base/buf.h"
#include "net/loop.h"
#include "net/addr.h"

struct http_server;
struct http_exchange;
struct tls_client;
struct tls_ctx;

struct http_field {
    const char *name;
    const char *value;
};

/* All run in the loop's thread. `ex` is alive until `done` has returned. NULL, but for `head`:
 * nothing is to be done. */
struct http_handler {
    /* Optional. Nobody who comes to us: by the certificate, or by the user at the other end of a
     * UNIX socket (-1: it is none). A few of these are served at a time, apart from
     * connection_limit, and with one request each. */
    bool (*stranger)(void *arg, const struct tls_client *client, int64_t uid);
    /* The header block is there, nothing of the body has been read (nor 100 Continue sent). Answer
     * with http_reply, or call http_receive, now or in a later turn: until then the connection
     * rests. */
    void (*head)(void *arg, struct http_exchange *ex);
    /* A part of the body. http_reply is allowed here: the answer goes out at once, the rest is read
     * and thrown away for a while (5 s, 64 MiB), and the connection closes. */
    void (*body)(void *arg, struct http_exchange *ex, struct span part);
    /* The body is complete. Answer now or later. */
    void (*body_end)(void *arg, struct http_exchange *ex);
    /* Bytes of a stream that had to wait went out: http_stream_queued has shrunk. Also after the
     * stream's end. */
    void (*drained)(void *arg, struct http_exchange *ex);
    /* The body's deadline passed (http_server_options): answer 408, or do nothing and the
     * connection is closed. */
    void (*body_late)(void *arg, struct http_exchange *ex);
    /* The client left (FIN, RST, a deadline of ours) before the answer was complete; noticed within
     * the same turn, also while the connection rests. Nothing can be sent any more. `done` follows.
     */
    void (*gone)(void *arg, struct http_exchange *ex);
    /* The last call for ex. complete: the whole answer was handed to the socket. */
    void (*done)(void *arg, struct http_exchange *ex, bool complete);
};

struct http_server_options {
    unsigned daemons;          /* 64: parked connections per daemon stay few (libraries.md §7) */
    unsigned connection_limit; /* over all daemons, of who is no stranger */
    struct span full_answer; /* a whole answer as bytes, borrowed, for connections beyond the limit;
                                empty: they are closed */
    size_t header_max;  /* bytes of a request's header block that head accepts: 431 is the caller's
                           to send */
    uint64_t header_ms; /* from accept to a whole first header block; on kept connections from a
                           request's first byte where MHD lets us see it */
    uint64_t body_ms;   /* slow bodies: this … */
    uint64_t body_ms_per_64k; /* … plus this for each 64 KiB received; beyond: handler->body_late
                                 decides */
    unsigned idle_s;          /* keep-alive and inactivity */
    uint64_t drain_ms;        /* how long http_server_free lets exchanges finish */
    struct tls_ctx *tls; /* clients come with TLS and certificates (tls_services_new), borrowed;
                            NULL: they speak plain text */
};
extern const struct http_server_options http_server_defaults;

MUST_CHECK int http_server_new(struct http_server **out, struct loop *l,
                               const struct http_server_options *o, const struct http_handler *h,
                               void *arg);
/* Adds a listening socket; several are fine. fd_inherited ≥ 0: listen on that descriptor instead of
 * `at`. */
MUST_CHECK int http_server_listen(struct http_server *s, const struct net_addr *at,
                                  int fd_inherited);
/* Adds one that shares its port with nobody (net_listen_alone). */
MUST_CHECK int http_server_listen_alone(struct http_server *s, const struct net_addr *at);
/* As http_server_listen, but clients come only after http_server_hold(…, false). */
MUST_CHECK int http_server_bind(struct http_server *s, const struct net_addr *at);
/* The address of the i-th listener. */
void http_server_addr(const struct http_server *s, size_t i, struct net_addr *out);
/* Held: nothing is accepted, connections wait in the sockets' backlogs. */
void http_server_hold(struct http_server *s, bool held);
/* Takes nobody new and loses nobody (net_listener_retire); exchanges go on, and requests that still
 * come on connections that are there are served, each the last one of its connection. */
void http_server_quiesce(struct http_server *s);
/* Some listening socket is still open. */
bool http_server_listens(const struct http_server *s);
/* The listening sockets, to be given to another process too; borrowed. How many, at most max. */
size_t http_server_fds(const struct http_server *s, int *fds, size_t max);
/* As http_server_quiesce, but for what waits in the sockets: it is the other process'. */
void http_server_let_go(struct http_server *s);
size_t http_server_exchanges(const struct http_server *s);
size_t http_server_connections(const struct http_server *s);
/* Connections beyond the limit, or of too many strangers, so far. */
uint64_t http_server_refused(const struct http_server *s);
/* Handshakes of who comes from now on are made with it; borrowed. Only where options.tls was set.
 */
void http_server_use_tls(struct http_server *s, struct tls_ctx *tls);
/* Handshakes that failed so far. */
uint64_t http_server_tls_refused(const struct http_server *s);
/* libraries.md §6: every exchange must have been answered or aborted; runs the daemons until none
 * is left, then frees. What is still open is cut (`gone`, `done`). Never inside a handler. */
void http_server_free(struct http_server *s);

/* ---- Reading a request ---- */

void http_set_user(struct http_exchange *ex, void *user);
void *http_user(const struct http_exchange *ex);
struct span http_method(const struct http_exchange *ex);
/* As sent, without the query; of a target in absolute form only the path. */
struct span http_path(const struct http_exchange *ex);
struct span http_query(const struct http_exchange *ex); /* without '?'; empty when none */
/* The first field of that name (case-insensitive); data NULL when absent. */
struct span http_header(const struct http_exchange *ex, const char *name);
/* How often the field stands in the request. */
size_t http_header_count(const struct http_exchange *ex, const char *name);
typedef void http_header_fn(void *arg, struct span name, struct span value);
void http_headers_each(const struct http_exchange *ex, http_header_fn *fn, void *arg);
size_t http_header_bytes(const struct http_exchange *ex);
/* ≥ 0; -1: chunked; -2: no body; -3: not a number, or contradictory (two lengths, or one beside
 * Transfer-Encoding), or the host is named twice: to be refused. */
int64_t http_content_length(const struct http_exchange *ex);
const struct net_addr *http_peer(const struct http_exchange *ex);
/* The user at the other end of a UNIX socket, as the kernel says (SO_PEERCRED); -1: it is none. */
int64_t http_peer_uid(const struct http_exchange *ex);
/* Whom the certificate names (tls_front.h); lives as long as ex. NULL: it came without TLS. */
const struct tls_client *http_peer_tls(const struct http_exchange *ex);
uint64_t http_started_us(const struct http_exchange *ex); /* monotonic µs of the head */
bool http_is_head_request(const struct http_exchange *ex);
/* The client speaks HTTP/1.1: a stream is chunked and may have trailers. */
bool http_is_chunked(const struct http_exchange *ex);

/* ---- Answering ---- */

/* Go on and receive the body (sends 100 Continue if asked for). */
void http_receive(struct http_exchange *ex);
/* A whole answer with Content-Length; takes the body's bytes. close: Connection: close afterwards.
 * Exactly one answer. */
void http_reply(struct http_exchange *ex, unsigned status, const struct http_field *fields,
                size_t count, struct buf *take_body, bool close);
/* Starts a chunked answer. */
void http_stream_begin(struct http_exchange *ex, unsigned status, const struct http_field *fields,
                       size_t count);
/* Sends one HTTP chunk at once when nothing waits before it and the socket has room; queues a copy
 * of what is left otherwise. Empty does nothing. */
void http_stream_write(struct http_exchange *ex, struct span bytes);
/* Bytes queued and not yet given to the socket. */
size_t http_stream_queued(const struct http_exchange *ex);
/* Optional, right before the last write and the end: they leave in as few packets as they fit. */
void http_stream_ending(struct http_exchange *ex);
/* Ends the stream properly after what is queued. */
void http_stream_end(struct http_exchange *ex, const struct http_field *trailers, size_t count);
/* After what is queued, closes without the last chunk: the client sees a broken answer (api.md §0
 * rule 1). */
void http_stream_abort(struct http_exchange *ex);
/* Closes the connection now, with all that is queued: for a client that does not read. `gone` and
 * `done` follow. */
void http_cut(struct http_exchange *ex);

#endif
